//! Index servers: the real directory, graph, search and federation.

use std::{collections::BTreeMap, sync::Arc};

use offset_crypto::{Identity, PublicKey};
use offset_index_server::{
    directory::{Directory, Verdict, VerifiedUpdate, version},
    federation::{Federation, PeerInput},
    graph::Graph,
    limits::{DirectoryLimits, SearchLimits},
    search::{Cycles, Scratch, Ways, Work, cycles, multi_routes},
};
use offset_proto::{
    Credits, Timestamp,
    index::{ClientToIndex, Cycle, IndexPeerMessage, IndexToClient, MultiRoute, NodeDown, Route},
};

use crate::{
    liars::Heard,
    wire::{Packet, Site, WireId},
    world::{Event, World},
};

pub(crate) struct IndexSite {
    pub(crate) identity: Arc<Identity>,
    pub(crate) running: Option<Running>,
    boot: u64,
    /// Whether it tells anybody anything but the truth.
    pub(crate) lies: bool,
    pub(crate) heard: Heard,
}

#[derive(Default)]
pub(crate) struct Running {
    directory: Option<Directory>,
    federation: Federation,
    graph: Graph,
    /// The newest connection of each node.
    clients: BTreeMap<PublicKey, WireId>,
    peers: BTreeMap<PublicKey, WireId>,
}

impl Running {
    fn directory(&mut self) -> &mut Directory {
        self.directory.get_or_insert_with(|| Directory::new(DirectoryLimits::default()))
    }
}

impl IndexSite {
    pub(crate) fn new(identity: Arc<Identity>, lies: bool) -> Self {
        Self { identity, running: None, boot: 0, lies, heard: Heard::default() }
    }
}

impl World {
    pub(crate) fn start_index(&mut self, index: usize) {
        if self.indexes[index].running.is_some() {
            return;
        }
        self.indexes[index].boot += 1;
        self.indexes[index].running = Some(Running::default());
        let boot = self.indexes[index].boot;
        self.schedule(self.now, Event::IndexTimer { index, boot });
    }

    pub(crate) fn stop_index(&mut self, index: usize) {
        self.indexes[index].running = None;
        self.cut_all(Site::Index(index));
    }

    pub(crate) fn index_opened(&mut self, index: usize, node: usize, wire: WireId) {
        let key = self.key(node);
        let Some(running) = &mut self.indexes[index].running else { return };
        if let Some(before) = running.clients.insert(key, wire) {
            self.close(Site::Index(index), before);
        }
    }

    pub(crate) fn peer_opened(&mut self, index: usize, other: usize, wire: WireId) {
        let key = self.indexes[other].identity.public_key();
        let Some(running) = &mut self.indexes[index].running else { return };
        running.federation.handle_connected(key);
        if let Some(before) = running.peers.insert(key, wire) {
            self.close(Site::Index(index), before);
        }
        self.feed_peers(index);
    }

    pub(crate) fn index_message(&mut self, index: usize, wire: WireId, message: ClientToIndex) {
        let now = Timestamp(self.now);
        let Some(running) = &mut self.indexes[index].running else { return };
        let client = running.clients.iter().find(|(_, of)| **of == wire).map(|(key, _)| *key);
        let Some(key) = client else { return };
        let answer = match message {
            ClientToIndex::Update(update) => {
                let update = VerifiedUpdate::check(*update).expect("nodes sign what they report");
                assert_eq!(update.update().body.node, key, "nodes report their own lines");
                let new = version(update.update());
                match running.directory().handle_update(now, update, true) {
                    Verdict::Applied { refresh } => {
                        running.federation.updated(&key, new, None);
                        refresh.then_some(IndexToClient::SnapshotWanted)
                    }
                    Verdict::Gap => Some(IndexToClient::SnapshotWanted),
                    Verdict::NotNewer { newest: (epoch, counter) } => {
                        Some(IndexToClient::Behind { epoch, counter })
                    }
                    Verdict::Refused(_) => {
                        running.clients.remove(&key);
                        return self.close(Site::Index(index), wire);
                    }
                }
            }
            ClientToIndex::RequestRoutes { request_id, query } => {
                let limits = SearchLimits::default();
                let work = Work { single: limits.max_edges, split: limits.max_split_edges };
                let graph = running.graph.currency(&query.currency);
                let ways =
                    graph.map(|graph| multi_routes(&mut Scratch::default(), graph, &query, work));
                let Ways { multi_routes, cut_short } = ways.unwrap_or_default();
                let multi_routes = multi_routes.into_iter().map(with_age).collect();
                Some(IndexToClient::Routes { request_id, multi_routes, cut_short })
            }
            ClientToIndex::RequestCycles { request_id, query } => {
                let most = SearchLimits::default().max_split_edges;
                let graph = running.graph.currency(&query.currency);
                let found = graph.map(|graph| cycles(&mut Scratch::default(), graph, &query, most));
                let Cycles { routes, cut_short } = found.unwrap_or_default();
                let cycles = routes.into_iter().map(|route| Cycle { route, age_ms: 0 }).collect();
                Some(IndexToClient::Cycles { request_id, cycles, cut_short })
            }
        };
        if let Some(answer) = answer.and_then(|answer| self.index_lie(index, answer)) {
            self.transmit(Site::Index(index), wire, Packet::FromIndex(answer));
        }
        self.feed_peers(index);
    }

    pub(crate) fn peer_message(&mut self, index: usize, wire: WireId, message: IndexPeerMessage) {
        let now = Timestamp(self.now);
        let Some(running) = &mut self.indexes[index].running else { return };
        let peer = running.peers.iter().find(|(_, of)| **of == wire).map(|(key, _)| *key);
        let Some(peer) = peer else { return };
        let Ok(input) = PeerInput::check(message) else {
            // It breaks the protocol.
            running.peers.remove(&peer);
            running.federation.handle_disconnected(&peer);
            self.lies_found += 1;
            assert!(self.indexes.iter().any(|it| it.lies), "servers pass on what nodes signed");
            return self.close(Site::Index(index), wire);
        };
        running.directory();
        let Running { directory: Some(directory), federation, .. } = running else { return };
        // A refusal is for the log.
        let _ = federation.handle_message(now, directory, &peer, input);
        self.feed_peers(index);
    }

    pub(crate) fn index_lost(&mut self, index: usize, wire: WireId) {
        let now = Timestamp(self.now);
        let identity = Arc::clone(&self.indexes[index].identity);
        let Some(running) = &mut self.indexes[index].running else { return };
        let peer = running.peers.iter().find(|(_, of)| **of == wire).map(|(key, _)| *key);
        if let Some(peer) = peer {
            running.peers.remove(&peer);
            running.federation.handle_disconnected(&peer);
        }
        let client = running.clients.iter().find(|(_, of)| **of == wire).map(|(key, _)| *key);
        if let Some(key) = client {
            running.clients.remove(&key);
            let home = running.directory().home_server(&key);
            if home == Some(identity.public_key())
                && let Some((epoch, counter)) = running.directory().version(&key)
            {
                let down = NodeDown::sign(key, epoch, counter, &identity);
                if running.directory().handle_node_down(now, down) {
                    running.federation.node_left(&key, None);
                }
            }
        }
        self.feed_peers(index);
    }

    pub(crate) fn index_timer(&mut self, index: usize, boot: u64) {
        if self.indexes[index].boot != boot {
            return;
        }
        let now = Timestamp(self.now);
        let Some(running) = &mut self.indexes[index].running else { return };
        running.directory().handle_timeout(now);
        self.feed_peers(index);
        // Lower ones dial higher ones.
        for other in index + 1..self.indexes.len() {
            let key = self.indexes[other].identity.public_key();
            let known = |running: &Running| running.peers.contains_key(&key);
            if self.indexes[index].running.as_ref().is_some_and(|running| !known(running))
                && let Some(wire) = self.connect(Site::Index(index), Site::Index(other))
                && let Some(running) = &mut self.indexes[index].running
            {
                running.federation.handle_connected(key);
                running.peers.insert(key, wire);
                self.feed_peers(index);
            }
        }
        self.schedule(self.now + 1_000, Event::IndexTimer { index, boot });
    }

    /// Applies what changed to the graph, and tells peers what they lack.
    fn feed_peers(&mut self, index: usize) {
        let Some(running) = &mut self.indexes[index].running else { return };
        for change in running.directory().take_changes() {
            if let Some(line) = &change.line {
                let key = (change.node, change.friend, change.currency.clone());
                let known = self.said.get(&key).is_some_and(|said| said.contains(line));
                assert!(known, "P4: index {index} knows a line that {:?} did not say", key.0);
            }
            let (graph, currency) = (&mut running.graph, &change.currency);
            match change.line {
                Some(line) => graph.set_line(change.node, change.friend, currency, line),
                None => graph.remove_line(change.node, change.friend, currency),
            }
        }
        running.directory().check_invariants();
        running.graph.check_invariants();
        let mut messages = Vec::new();
        let Running { directory: Some(directory), federation, peers, .. } = running else { return };
        for (peer, wire) in peers {
            while let Some(message) = federation.next_message(directory, peer) {
                messages.push((*wire, message));
            }
        }
        for (wire, message) in messages {
            for message in self.peer_lie(index, message) {
                self.transmit(Site::Index(index), wire, Packet::Peer(message));
            }
        }
    }
}

fn with_age(routes: Vec<Route>) -> MultiRoute {
    let fees = routes.iter().map(|route| route.fee);
    let total_fee = fees.fold(Credits::ZERO, |sum, fee| {
        sum.checked_add(fee).expect("the search adds fees up itself")
    });
    MultiRoute { routes, total_fee, age_ms: 0 }
}
