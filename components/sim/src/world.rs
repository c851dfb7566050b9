//! The world: events in order of time, the sites, and the run from storm to calm.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use offset_crypto::{HashResult, Identity, PublicKey, Rng as _, Seed, SeededRng};
use offset_proto::{Currency, ServerAddress, Timestamp, index::IndexLine};

use crate::{
    app::App,
    betrayer::Betrayer,
    disk::Disk,
    index::IndexSite,
    ledger::Ledger,
    node::{Node, Process},
    options::{Draw, Options},
    relay::RelaySite,
    sum::Sum,
    wire::{Packet, Site, WireId, Wires},
};

/// What happens at a moment.
#[derive(Debug)]
pub(crate) enum Event {
    Arrive {
        wire: WireId,
        end: usize,
        packet: Box<Packet>,
    },
    Gone {
        wire: WireId,
        end: usize,
    },
    /// A process begins.
    Start(Site),
    /// The oldest batch of a node was synced.
    Synced {
        node: usize,
        boot: u64,
    },
    /// A node's funder or reporter has something due.
    NodeTimer {
        node: usize,
        boot: u64,
    },
    /// What inputs of a node led to is taken.
    Flush {
        node: usize,
        boot: u64,
    },
    /// A node tries to reach a friend or a relay.
    Dial {
        node: usize,
        boot: u64,
    },
    RelayTimer {
        relay: usize,
        boot: u64,
    },
    IndexTimer {
        index: usize,
        boot: u64,
    },
    /// An app acts.
    Order,
    Fault(Fault),
    Unblock,
    /// The storm is over.
    Calm,
}

/// What befalls the world in the storm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Cut,
    Crash,
    Partition,
    Disk,
    Change,
    Part,
    Clock,
    Pause,
    Meet,
    Spoil,
    Accept,
    Restore,
    RollBack,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Of everything that happened.
    pub hash: u64,
    /// How many events there were.
    pub events: u64,
    /// Move tokens that honest nodes signed and sent.
    pub tokens: usize,
    /// Payments that were ordered.
    pub ordered: usize,
    /// Of those, how many were paid.
    pub paid: usize,
    /// Of those, how many over more than one route.
    pub in_parts: usize,
    /// How many were committed and then given back.
    pub given_back: usize,
    /// How many clearings were paid.
    pub cleared: usize,
    /// How many nodes parted from a friend, or were parted from.
    pub parted: usize,
    /// How often a process crashed.
    pub crashes: usize,
    /// How often a node came back from an older copy of its disk.
    pub restores: usize,
    /// How many tokens of honest nodes arrived as nobody signed them.
    pub spoils: usize,
    /// How often a friend was added again.
    pub met_again: usize,
    /// How often a betrayer did anything but say the truth.
    pub betrayals: usize,
    /// How often relays and index servers lied.
    pub lies: usize,
    /// How often a lie was found out at once: a channel that broke, a signature that was none.
    pub lies_found: usize,
}

/// A simulated network.
pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) now: u64,
    pub(crate) draw: Draw,
    queue: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) relays: Vec<RelaySite>,
    pub(crate) indexes: Vec<IndexSite>,
    pub(crate) wires: Wires,
    pub(crate) by_key: BTreeMap<PublicKey, usize>,
    pub(crate) calm: bool,
    /// Every token that was sent, by sender, receiver, epoch and counter.
    pub(crate) sent: BTreeMap<(usize, usize, u64, u64), HashResult>,
    pub(crate) crashes: usize,
    /// Who parted from a friend in the middle of everything, or was parted from.
    pub(crate) parted: BTreeSet<usize>,
    /// Whose payments may be unknown in the end, as a friendship or a disk was lost.
    pub(crate) may_lose: BTreeSet<usize>,
    /// Pairs of whom one had a reason to find the other inconsistent, the lower number first.
    pub(crate) mistrusted: BTreeSet<(usize, usize)>,
    /// What nodes gave up, as negative sums, by parting or by the terms of a new beginning.
    pub(crate) given_up: BTreeMap<(usize, Currency), Sum>,
    pub(crate) ledger: Ledger,
    /// What nodes signed of their lines.
    pub(crate) said: BTreeMap<(PublicKey, PublicKey, Currency), Vec<IndexLine>>,
    /// What no relay knows.
    pub(crate) word: u64,
    pub(crate) betrayer: Option<Betrayer>,
    /// Who was a friend of the betrayer.
    pub(crate) betrayed: BTreeSet<usize>,
    pub(crate) betrayals: usize,
    pub(crate) lies: usize,
    pub(crate) lies_found: usize,
    pub(crate) broken_channels: usize,
    pub(crate) spoilt: Option<(usize, PublicKey)>,
    pub(crate) spoils: usize,
    pub(crate) restored: BTreeSet<usize>,
    pub(crate) restores: usize,
    pub(crate) met_again: usize,
    /// Of the disk of the node that comes back from one.
    pub(crate) copies: Vec<Disk>,
    /// Nodes at which something may have changed since invariants were checked.
    pub(crate) touched: BTreeSet<usize>,
    hasher: DefaultHasher,
    events: u64,
}

/// When the world begins, in milliseconds since 1970.
pub(crate) const BEGINNING: u64 = 1_700_000_000_000;

impl World {
    pub(crate) fn new(seed: u64, options: Options) -> Self {
        let identity = |kind: u64, n: usize| {
            let mut bytes = [0; 32];
            SeededRng::new((kind << 32) | u64::try_from(n).unwrap_or(0)).fill(&mut bytes);
            Arc::new(Identity::from_seed(Seed::from_bytes(bytes)))
        };
        let node = |n| Node {
            identity: identity(1, n),
            disk: Disk::default(),
            process: None,
            boot: 0,
            clock_offset: 0,
            app: App::default(),
            paused_until: 0,
            to_recover: false,
        };
        let nodes: Vec<_> = (0..options.nodes).map(node).collect();
        let relays = (0..options.relays).zip(&options.lying_relays);
        let relays = relays.map(|(n, lies)| RelaySite::new(identity(2, n).public_key(), *lies));
        let indexes = (0..options.indexes).zip(&options.lying_indexes);
        let indexes = indexes.map(|(n, lies)| IndexSite::new(identity(3, n), *lies));
        Self {
            now: BEGINNING,
            draw: Draw(SeededRng::new(seed)),
            queue: BTreeMap::new(),
            next_event: 0,
            by_key: nodes.iter().enumerate().map(|(n, node)| (node.key(), n)).collect(),
            relays: relays.collect(),
            indexes: indexes.collect(),
            nodes,
            wires: Wires::default(),
            calm: false,
            sent: BTreeMap::new(),
            crashes: 0,
            parted: BTreeSet::new(),
            may_lose: BTreeSet::new(),
            mistrusted: BTreeSet::new(),
            given_up: BTreeMap::new(),
            ledger: Ledger::default(),
            said: BTreeMap::new(),
            word: seed ^ 0x7761_7264,
            betrayer: options.betrayer.map(Betrayer::new),
            betrayed: BTreeSet::new(),
            betrayals: 0,
            lies: 0,
            lies_found: 0,
            broken_channels: 0,
            spoilt: None,
            spoils: 0,
            restored: BTreeSet::new(),
            restores: 0,
            met_again: 0,
            copies: Vec::new(),
            touched: BTreeSet::new(),
            hasher: DefaultHasher::new(),
            events: 0,
            options,
        }
    }

    pub(crate) fn schedule(&mut self, at: u64, event: Event) {
        self.queue.insert((at.max(self.now), self.next_event), event);
        self.next_event += 1;
    }

    /// Packets that are under way on a connection are lost.
    pub(crate) fn cancel_arrivals(&mut self, id: WireId) {
        self.queue.retain(|_, event| !matches!(event, Event::Arrive { wire, .. } if *wire == id));
    }

    /// Storm, calm, and what must be true at the end.
    pub(crate) fn run(mut self) -> Summary {
        self.set_up();
        self.begin_storm();
        let end = self.now + self.options.storm_ms;
        self.schedule(end, Event::Calm);
        while !self.calm {
            self.step();
        }
        self.settle();
        self.check_end();
        self.check_lines_work();
        let (ordered, paid) = self.count_payments();
        Summary {
            hash: self.hasher.finish(),
            events: self.events,
            tokens: self.sent.len(),
            ordered,
            paid,
            in_parts: self.count_in_parts(),
            given_back: self.count_given_back(),
            cleared: self.count_clearings(),
            parted: self.parted.len(),
            crashes: self.crashes,
            restores: self.restores,
            spoils: self.spoils,
            met_again: self.met_again,
            betrayals: self.betrayals,
            lies: self.lies,
            lies_found: self.lies_found + self.broken_channels,
        }
    }

    /// Handles the next event.
    pub(crate) fn step(&mut self) {
        let ((at, number), event) = self.queue.pop_first().expect("the world goes on");
        self.now = at;
        if let Some(until) = self.paused(&event) {
            // It waits, with all that comes later, in the same order.
            return self.schedule(until, event);
        }
        self.events += 1;
        (at, number).hash(&mut self.hasher);
        self.hash_event(&event);
        match event {
            Event::Arrive { wire, end, packet } => self.arrive(wire, end, *packet),
            Event::Gone { wire, end } => self.gone(wire, end),
            Event::Start(site) => self.start(site),
            Event::Synced { node, boot } => self.synced(node, boot),
            Event::NodeTimer { node, boot } => self.node_timer(node, boot),
            Event::Flush { node, boot } if self.nodes[node].boot == boot => self.flush(node),
            Event::Flush { .. } => {}
            Event::Dial { node, boot } => self.dial(node, boot),
            Event::RelayTimer { relay, boot } => self.relay_timer(relay, boot),
            Event::IndexTimer { index, boot } => self.index_timer(index, boot),
            Event::Order => self.order(),
            Event::Fault(fault) => self.fault(fault),
            Event::Unblock => self.unblock(),
            Event::Calm => self.heal(),
        }
        self.check_touched();
    }

    /// Until when the process that an event is for does nothing.
    fn paused(&self, event: &Event) -> Option<u64> {
        let node = match event {
            Event::Arrive { wire, end, .. } | Event::Gone { wire, end } => {
                match self.wires.all.get(wire)?.ends[*end] {
                    Site::Node(node) => node,
                    Site::Relay(_) | Site::Index(_) => return None,
                }
            }
            Event::Synced { node, .. }
            | Event::NodeTimer { node, .. }
            | Event::Flush { node, .. }
            | Event::Dial { node, .. } => *node,
            Event::Start(_)
            | Event::RelayTimer { .. }
            | Event::IndexTimer { .. }
            | Event::Order
            | Event::Fault(_)
            | Event::Unblock
            | Event::Calm => return None,
        };
        Some(self.nodes[node].paused_until).filter(|until| self.now < *until)
    }

    /// Runs for a time.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= end) {
            self.step();
        }
        self.now = end;
    }

    fn hash_event(&mut self, event: &Event) {
        std::mem::discriminant(event).hash(&mut self.hasher);
        match event {
            Event::Arrive { wire, end, packet } => {
                (wire.0, end).hash(&mut self.hasher);
                match packet.as_ref() {
                    Packet::ToRelay(offset_proto::relay::ClientToRelay::Data { bytes, .. })
                    | Packet::FromRelay(offset_proto::relay::RelayToClient::Data {
                        bytes, ..
                    }) => bytes.hash(&mut self.hasher),
                    other => format!("{other:?}").hash(&mut self.hasher),
                }
            }
            Event::Gone { wire, end } => (wire.0, end).hash(&mut self.hasher),
            Event::Synced { node, boot }
            | Event::NodeTimer { node, boot }
            | Event::Flush { node, boot }
            | Event::Dial { node, boot } => (node, boot).hash(&mut self.hasher),
            Event::RelayTimer { relay, boot } => (relay, boot).hash(&mut self.hasher),
            Event::IndexTimer { index, boot } => (index, boot).hash(&mut self.hasher),
            Event::Start(_) | Event::Order | Event::Fault(_) | Event::Unblock | Event::Calm => {}
        }
    }

    pub(crate) fn key(&self, node: usize) -> PublicKey {
        self.nodes[node].key()
    }

    pub(crate) fn process(&mut self, node: usize) -> Option<&mut Process> {
        self.nodes[node].process.as_mut()
    }

    /// What the clock of a node shows.
    pub(crate) fn clock(&self, node: usize) -> Timestamp {
        Timestamp(self.now.saturating_add_signed(self.nodes[node].clock_offset))
    }

    pub(crate) fn currency(&self, n: usize) -> Currency {
        if n == 0 { Currency::fallback() } else { format!("cur{n}").parse().expect("a currency") }
    }

    pub(crate) fn relay_address(&self, relay: usize) -> ServerAddress {
        ServerAddress {
            public_key: self.relays[relay].key,
            address: format!("relay{relay}.example:1").parse().expect("an address"),
        }
    }

    pub(crate) fn index_address(&self, index: usize) -> ServerAddress {
        ServerAddress {
            public_key: self.indexes[index].identity.public_key(),
            address: format!("index{index}.example:1").parse().expect("an address"),
        }
    }

    pub(crate) fn relay_named(&self, key: PublicKey) -> Option<usize> {
        self.relays.iter().position(|relay| relay.key == key)
    }

    pub(crate) fn is_up(&self, site: Site) -> bool {
        match site {
            Site::Node(n) => self.nodes[n].process.is_some(),
            Site::Relay(n) => self.relays[n].broker.is_some(),
            Site::Index(n) => self.indexes[n].running.is_some(),
        }
    }

    fn start(&mut self, site: Site) {
        match site {
            // Nobody is a friend of the betrayer any more.
            Site::Node(n) if self.calm && !self.is_honest(n) => {}
            Site::Node(n) => self.start_node(n),
            Site::Relay(n) => self.start_relay(n),
            Site::Index(n) => self.start_index(n),
        }
    }

    /// A connection was opened by `from`, and is here now.
    pub(crate) fn opened(&mut self, to: Site, from: Site, wire: WireId) {
        match (to, from) {
            (Site::Relay(relay), Site::Node(node)) => self.relay_opened(relay, node, wire),
            (Site::Index(index), Site::Node(node)) => self.index_opened(index, node, wire),
            (Site::Index(index), Site::Index(other)) => self.peer_opened(index, other, wire),
            (Site::Node(_) | Site::Relay(_) | Site::Index(_), _) => {}
        }
    }

    /// A packet is here.
    pub(crate) fn receive(&mut self, site: Site, wire: WireId, packet: Packet) {
        match (site, packet) {
            (Site::Relay(relay), Packet::ToRelay(message)) => {
                self.relay_message(relay, wire, message);
            }
            (Site::Node(node), Packet::FromRelay(message)) => {
                self.node_relay_message(node, wire, message);
            }
            (Site::Index(index), Packet::ToIndex(message)) => {
                self.index_message(index, wire, message);
            }
            (Site::Node(node), Packet::FromIndex(message)) => {
                self.node_index_message(node, wire, message);
            }
            (Site::Index(index), Packet::Peer(message)) => self.peer_message(index, wire, message),
            (Site::Node(_) | Site::Relay(_) | Site::Index(_), _) => {
                unreachable!("each site gets its own packets")
            }
        }
    }

    /// A connection is gone here.
    pub(crate) fn closed(&mut self, site: Site, wire: WireId) {
        match site {
            Site::Node(node) => self.node_lost(node, wire),
            Site::Relay(relay) => self.relay_lost(relay, wire),
            Site::Index(index) => self.index_lost(index, wire),
        }
    }

    /// Ends all connections of a site at once, as its process is gone.
    pub(crate) fn cut_all(&mut self, site: Site) {
        let of_site = |(id, wire): (&WireId, &crate::wire::Wire)| {
            let end = wire.ends.iter().position(|end| *end == site)?;
            Some((*id, end))
        };
        let ends: Vec<_> = self.wires.all.iter().filter_map(of_site).collect();
        for (id, end) in ends {
            if let Some(wire) = self.wires.all.get_mut(&id) {
                wire.open[end] = false;
            }
            self.cut(id);
        }
    }
}
