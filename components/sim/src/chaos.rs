//! Setting up, what befalls the world, what owners change, and healing.

use offset_crypto::PublicKey;
use offset_funder::api::Command;
use offset_proto::{
    Balance, Credits, Name, Rate,
    app::{AppReply, ConfigRequest},
};

use crate::{
    session::SILENCE_MS,
    wire::Site,
    world::{Event, Fault, World},
};

impl World {
    /// Everything is started, befriended and connected.
    pub(crate) fn set_up(&mut self) {
        for relay in 0..self.relays.len() {
            self.start_relay(relay);
        }
        for index in 0..self.indexes.len() {
            self.start_index(index);
        }
        for node in 0..self.nodes.len() {
            self.start_node(node);
            for relay in 0..self.relays.len() {
                let (name, relay) = (name("relay", relay), self.relay_address(relay));
                self.config(node, ConfigRequest::AddRelay { name, relay });
            }
            for index in 0..self.indexes.len() {
                let (name, server) = (name("index", index), self.index_address(index));
                self.config(node, ConfigRequest::AddIndexServer { name, server });
            }
        }
        for node in 1..self.nodes.len() {
            self.befriend(node - 1, node);
        }
        let ends = (0, self.nodes.len() - 1);
        let ring = (self.options.ring && 2 < self.nodes.len()).then_some(ends);
        let drawn = (0..self.options.extra_lines)
            .map(|_| (self.draw.index(self.nodes.len()), self.draw.index(self.nodes.len())));
        let drawn: Vec<_> = ring.into_iter().chain(drawn).collect();
        for (a, b) in drawn {
            let known = self.nodes[a].disk.state.friends.contains_key(&self.key(b));
            if a != b && !known {
                self.befriend(a, b);
            }
        }
        self.pass(5_000);
        if let Some(betrayer) = self.betrayer.as_ref().map(|it| it.node) {
            let friends = self.nodes[betrayer].disk.state.friends.keys();
            self.betrayed = friends.map(|key| self.by_key[key]).collect();
        }
    }

    fn befriend(&mut self, a: usize, b: usize) {
        for (x, y) in [(a, b), (b, a)] {
            let relays = (0..self.relays.len()).map(|relay| self.relay_address(relay)).collect();
            let friend = name("n", y);
            self.config(
                x,
                ConfigRequest::AddFriend {
                    name: friend.clone(),
                    public_key: self.key(y),
                    relays,
                    currency: None,
                    opening_balance: Balance::ZERO,
                },
            );
            self.config(x, ConfigRequest::SetFriendEnabled { friend, enabled: true });
            for currency in 0..self.options.currencies {
                self.open_line(x, y, currency);
            }
        }
        self.pass(50);
    }

    /// Everything that one side can do for a line to carry payments.
    fn open_line(&mut self, node: usize, other: usize, currency: usize) {
        let friend = name("n", other);
        let (opening_balance, currency) = (Balance::ZERO, self.currency(currency));
        let (max_debt, chosen) = (Credits(self.options.limit), Some(currency.clone()));
        let add = ConfigRequest::AddCurrency { friend: friend.clone(), currency, opening_balance };
        self.config(node, add);
        let limit = ConfigRequest::SetMaxDebt {
            friend: friend.clone(),
            currency: chosen.clone(),
            max_debt,
        };
        self.config(node, limit);
        let (ppm, add) = self.options.fees;
        let rate = Rate { ppm, add };
        let set = ConfigRequest::SetRate { friend: friend.clone(), currency: chosen.clone(), rate };
        self.config(node, set);
        self.config(node, ConfigRequest::SetRequestsOpen { friend, currency: chosen, open: true });
    }

    /// A change that must be accepted.
    pub(crate) fn config(&mut self, node: usize, request: ConfigRequest) {
        let id = self.command(node, Command::Config(request.clone()));
        let id = id.expect("the node runs");
        for _ in 0..1_000 {
            if let Some(result) = self.nodes[node].app.replies.remove(&id) {
                assert_eq!(result, Ok(AppReply::Done), "{request:?}");
                return;
            }
            self.pass(10);
        }
        panic!("{request:?} is not answered");
    }

    /// Faults and orders begin.
    pub(crate) fn begin_storm(&mut self) {
        self.schedule(self.now, Event::Order);
        for fault in FAULTS {
            if let Some(mean) = self.mean(fault) {
                let at = self.now + self.draw.between(0, 2 * mean);
                self.schedule(at, Event::Fault(fault));
            }
        }
    }

    fn mean(&self, fault: Fault) -> Option<u64> {
        match fault {
            Fault::Cut => self.options.cut_every_ms,
            Fault::Crash => self.options.crash_every_ms,
            Fault::Partition => self.options.partition_every_ms,
            Fault::Disk => self.options.disk_fails_every_ms,
            Fault::Change => self.options.change_every_ms,
            Fault::Part => self.options.part_every_ms,
            Fault::Clock => self.options.clock_jumps.then_some(5_000),
            Fault::Pause => self.options.pause_every_ms,
            Fault::Meet => self.options.meets.then_some(3_000),
            Fault::Spoil => self.options.spoil_every_ms,
            Fault::Accept => self.options.spoil_every_ms.map(|mean| mean / 3),
            Fault::Restore => self.options.restored.map(|_| self.options.restore_every_ms),
            Fault::RollBack => self.options.betrayer.map(|_| 5_000),
        }
    }

    /// Something befalls the world, and will again.
    pub(crate) fn fault(&mut self, fault: Fault) {
        let Some(mean) = self.mean(fault).filter(|_| !self.calm) else { return };
        let at = self.now + self.draw.between(0, 2 * mean);
        self.schedule(at, Event::Fault(fault));
        let node = self.draw.index(self.nodes.len());
        match fault {
            Fault::Cut => {
                let wires: Vec<_> = self.wires.all.keys().copied().collect();
                if !wires.is_empty() {
                    let wire = *self.draw.of(&wires);
                    self.cut(wire);
                }
            }
            Fault::Crash => self.crash(),
            Fault::Partition => self.partition(),
            Fault::Disk => {
                let until = self.now + self.draw.between(1, 2_000);
                self.nodes[node].disk.failing_until = until;
            }
            Fault::Change => self.change(node),
            Fault::Part => self.part(node),
            Fault::Pause => {
                let until = self.now + self.draw.between(1, LONGEST_PAUSE_MS);
                self.nodes[node].paused_until = until;
            }
            Fault::Meet => self.meet_again(node),
            Fault::Spoil => self.spoil(node),
            Fault::Accept => {
                if let Some(key) = self.some_friend(node) {
                    self.accept_terms(node, key);
                }
            }
            Fault::Restore => self.copy_or_restore(),
            Fault::RollBack => self.roll_back(),
            Fault::Clock => {
                // While it runs a node's clock only jumps forwards: the shell absorbs the rest.
                let jump = i64::try_from(self.draw.between(0, 20_000)).unwrap_or(0);
                let back = self.nodes[node].process.is_none() && self.draw.coin();
                self.nodes[node].clock_offset += if back { -jump } else { jump };
            }
        }
    }

    /// A process dies and comes back; mostly a node's.
    fn crash(&mut self) {
        let (relays, indexes) = (self.relays.len(), self.indexes.len());
        let site = match self.draw.index(8) {
            0 => Site::Relay(self.draw.index(relays)),
            1 => Site::Index(self.draw.index(indexes)),
            _ => Site::Node(self.draw.index(self.nodes.len())),
        };
        if !self.is_up(site) {
            return;
        }
        match site {
            Site::Node(n) => self.crash_node(n),
            Site::Relay(n) => self.stop_relay(n),
            Site::Index(n) => self.stop_index(n),
        }
        let again = self.now + self.draw.between(0, 4_000);
        self.schedule(again, Event::Start(site));
    }

    /// For a time nothing passes between two sites, in one direction or both.
    fn partition(&mut self) {
        let sites: Vec<_> = self.sites();
        let (a, b) = (*self.draw.of(&sites), *self.draw.of(&sites));
        let until = self.now + self.draw.between(10, 15_000);
        self.wires.blocked.insert((a, b), until);
        if self.draw.coin() {
            self.wires.blocked.insert((b, a), until);
        }
        self.schedule(until + 1, Event::Unblock);
    }

    fn sites(&self) -> Vec<Site> {
        let nodes = (0..self.nodes.len()).map(Site::Node);
        let relays = (0..self.relays.len()).map(Site::Relay);
        nodes.chain(relays).chain((0..self.indexes.len()).map(Site::Index)).collect()
    }

    /// An owner changes its mind. What is refused changes nothing.
    fn change(&mut self, node: usize) {
        let Some(process) = self.nodes[node].process.as_ref() else { return };
        let friends: Vec<PublicKey> = process.funder.state().friends.keys().copied().collect();
        let invoices: Vec<_> = process.funder.state().invoices.keys().copied().collect();
        if friends.is_empty() {
            return;
        }
        let other = *self.draw.of(&friends);
        let friend = name("n", self.by_key[&other]);
        let chosen = self.draw.index(self.options.currencies);
        let currency = Some(self.currency(chosen));
        let extra = format!("extra{}", self.draw.index(2)).parse().expect("a currency");
        let yes = self.draw.index(3) != 0;
        let limit = u64::try_from(self.options.limit).unwrap_or(u64::MAX);
        let limit = Credits(self.draw.between(0, limit).into());
        let opening = i128::from(self.draw.between(0, 2)) - 1;
        let opening_balance = Balance::new(opening).expect("a small balance");
        let request = match self.draw.index(10) {
            0 => ConfigRequest::SetFriendEnabled { friend, enabled: yes },
            1 | 2 => ConfigRequest::SetRequestsOpen { friend, currency, open: yes },
            3 => ConfigRequest::SetMaxDebt { friend, currency, max_debt: limit },
            4 => {
                let ppm = u32::try_from(self.draw.between(0, 20_000)).unwrap_or(0);
                ConfigRequest::SetRate { friend, currency, rate: Rate { ppm, add: 1 } }
            }
            5 | 6 => ConfigRequest::AddCurrency { friend, currency: extra, opening_balance },
            7 => ConfigRequest::RemoveCurrency { friend, currency: extra },
            8 if !invoices.is_empty() => {
                let invoice_id = *self.draw.of(&invoices);
                self.command(node, Command::CancelInvoice { invoice_id, ended: None });
                return;
            }
            _ => {
                let relay = self.draw.index(self.relays.len());
                if yes {
                    let (name, relay) = (name("relay", relay), self.relay_address(relay));
                    ConfigRequest::AddRelay { name, relay }
                } else {
                    ConfigRequest::RemoveRelay { name: name("relay", relay) }
                }
            }
        };
        self.command(node, Command::Config(request));
    }

    /// An owner parts from a friend, whatever is under way with it.
    fn part(&mut self, node: usize) {
        let Some(process) = self.nodes[node].process.as_ref() else { return };
        let friends: Vec<PublicKey> = process.funder.state().friends.keys().copied().collect();
        if friends.is_empty() {
            return;
        }
        let key = *self.draw.of(&friends);
        let other = self.by_key[&key];
        self.parted.extend([node, other]);
        self.mistrust(node, key);
        let friend = name("n", other);
        let request = ConfigRequest::RemoveFriend { friend, forfeit: true };
        self.command(node, Command::Config(request));
    }

    /// Whoever was parted from parts in turn.
    fn part_in_turn(&mut self) {
        for node in self.honest() {
            let friends: Vec<_> = self.nodes[node].disk.state.friends.keys().copied().collect();
            for key in friends {
                let other = self.by_key[&key];
                let parted = !self.nodes[other].disk.state.friends.contains_key(&self.key(node));
                // It will be added again by who is a friend no more.
                let meets = self.options.meets && self.is_honest(other);
                if !self.is_honest(other) || (parted && !meets) {
                    let friend = name("n", other);
                    self.config(node, ConfigRequest::RemoveFriend { friend, forfeit: true });
                }
            }
        }
    }

    /// The storm is over: everything works, and every owner opens everything again.
    pub(crate) fn heal(&mut self) {
        self.calm = true;
        self.options.delay_ms = (0, 2);
        self.options.half_open = false;
        self.wires.blocked.clear();
        self.unblock();
        for node in &mut self.nodes {
            node.disk.failing_until = 0;
            node.paused_until = 0;
        }
        if let Some(betrayer) = self.betrayer.as_ref().map(|it| it.node) {
            self.crash_node(betrayer);
        }
        for site in self.sites() {
            if !self.is_up(site) {
                self.schedule(self.now, Event::Start(site));
            }
        }
        // What was put off while processes paused comes now, and sessions are given up of which a
        // relay swallowed something.
        let lied = self.relays.iter().any(|relay| relay.lies);
        self.pass(if lied { SILENCE_MS + 2_000 } else { LONGEST_PAUSE_MS });
        for node in self.honest() {
            self.ask_what_was_not_asked(node);
        }
        self.part_in_turn();
        for node in self.honest() {
            for relay in 0..self.relays.len() {
                let (name, relay) = (name("relay", relay), self.relay_address(relay));
                self.config(node, ConfigRequest::AddRelay { name, relay });
            }
            let friends: Vec<_> = self.nodes[node].disk.state.friends.keys().copied().collect();
            for key in friends {
                let friend = name("n", self.by_key[&key]);
                self.config(node, ConfigRequest::SetFriendEnabled { friend, enabled: true });
            }
        }
        self.mend();
        for node in self.honest() {
            let friends: Vec<_> = self.nodes[node].disk.state.friends.keys().copied().collect();
            for key in friends {
                let other = self.by_key[&key];
                for currency in 0..self.options.currencies {
                    self.open_line(node, other, currency);
                }
            }
        }
    }
}

/// The name of the n-th thing of a kind.
pub(crate) fn name(kind: &str, n: usize) -> Name {
    format!("{kind}{n}").parse().expect("a name")
}

const LONGEST_PAUSE_MS: u64 = 8_000;

const FAULTS: [Fault; 13] = [
    Fault::Cut,
    Fault::Crash,
    Fault::Partition,
    Fault::Disk,
    Fault::Change,
    Fault::Part,
    Fault::Clock,
    Fault::Pause,
    Fault::Meet,
    Fault::Spoil,
    Fault::Accept,
    Fault::Restore,
    Fault::RollBack,
];
