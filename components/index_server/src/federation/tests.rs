mod bandwidth;
mod lies;

use super::*;
use crate::{
    directory::tests::{NOW, identity},
    graph::tests::{key, line},
    limits::DirectoryLimits,
};
use offset_crypto::SeededRng;
use offset_proto::{
    Currency,
    canonical::index_table_hash,
    index::{IndexTable, MAX_MUTATIONS, UpdateBody, UpdateKind, UpdateMutation},
    session::{Packet, Wire as _},
};
use std::collections::VecDeque;

struct Server {
    key: PublicKey,
    directory: Directory,
    federation: Federation,
}

/// A node as its reporter would be: a table, and what it said last.
struct Node {
    number: u8,
    home: Option<usize>,
    version: Version,
    table: IndexTable,
}

/// Servers, links between them that keep order and may be cut, and nodes.
struct World {
    now: Timestamp,
    rng: SeededRng,
    servers: Vec<Server>,
    nodes: Vec<Node>,
    edges: Vec<(usize, usize)>,
    links: BTreeMap<(usize, usize), VecDeque<PeerInput>>,
}

const FIRST_SERVER: u8 = 200;

impl World {
    fn new(seed: u64, servers: u8, ring: bool) -> Self {
        let server = |n| Server {
            key: key(FIRST_SERVER + n),
            directory: Directory::new(DirectoryLimits {
                min_chain_bytes: 4_000,
                ..DirectoryLimits::default()
            }),
            federation: Federation::default(),
        };
        let count = usize::from(servers);
        let mut edges: Vec<_> = (1..count).map(|n| (n - 1, n)).collect();
        if ring {
            edges.push((count - 1, 0));
        }
        let node = |number| Node {
            number,
            home: None,
            version: (NOW.0 / 1_000, 0),
            table: IndexTable::new(),
        };
        Self {
            now: NOW,
            rng: SeededRng::new(seed),
            servers: (0..servers).map(server).collect(),
            nodes: (1..=8).map(node).collect(),
            edges,
            links: BTreeMap::new(),
        }
    }

    /// Servers linked in any connected shape: a tree, and as many links more as servers at most.
    fn of_any_shape(seed: u64, servers: u8) -> Self {
        let mut world = Self::new(seed, servers, false);
        let count = usize::from(servers);
        let mut edges: BTreeSet<_> = (1..count).map(|n| (world.pick(n), n)).collect();
        for _ in 0..world.pick(count + 1) {
            let (a, b) = (world.pick(count), world.pick(count));
            if a != b {
                edges.insert((a.min(b), a.max(b)));
            }
        }
        world.edges = edges.into_iter().collect();
        world
    }

    fn pick(&mut self, bound: usize) -> usize {
        usize::try_from(self.rng.below(bound as u64)).unwrap()
    }

    fn any_edge(&mut self) -> (usize, usize) {
        let at = self.pick(self.edges.len());
        self.edges[at]
    }

    fn connect(&mut self, (a, b): (usize, usize)) {
        for (from, to) in [(a, b), (b, a)] {
            let peer = self.servers[to].key;
            self.servers[from].federation.handle_connected(peer);
            self.links.insert((from, to), VecDeque::new());
        }
    }

    fn cut(&mut self, (a, b): (usize, usize)) {
        for (from, to) in [(a, b), (b, a)] {
            let peer = self.servers[to].key;
            self.servers[from].federation.handle_disconnected(&peer);
            self.links.remove(&(from, to));
        }
    }

    /// Puts one message of `from` to `to` on the link, or takes one off it.
    fn step(&mut self, from: usize, to: usize, take: bool) -> bool {
        let (peer, source) = (self.servers[to].key, self.servers[from].key);
        let Some(link) = self.links.get_mut(&(from, to)) else { return false };
        if take {
            let Some(input) = link.pop_front() else { return false };
            let Server { directory, federation, .. } = &mut self.servers[to];
            federation.handle_message(self.now, directory, &source, input).unwrap();
            return true;
        }
        let Server { directory, federation, .. } = &mut self.servers[from];
        if 4 <= link.len() {
            return false;
        }
        let Some(message) = federation.next_message(directory, &peer) else { return false };
        link.push_back(PeerInput::check(message).unwrap());
        true
    }

    fn drain(&mut self) {
        let mut steps = 0;
        loop {
            let mut moved = false;
            for (from, to) in self.links.keys().copied().collect::<Vec<_>>() {
                moved |= self.step(from, to, false);
                moved |= self.step(from, to, true);
            }
            if !moved {
                return;
            }
            steps += 1;
            assert!(steps < 5_000, "the servers never fall silent");
        }
    }

    fn say(&mut self, node: usize, kind: UpdateKind) -> Verdict {
        let state = &mut self.nodes[node];
        let home = state.home.expect("only connected nodes speak");
        state.version.1 += 1;
        let body = UpdateBody {
            node: key(state.number),
            home_server: self.servers[home].key,
            epoch: state.version.0,
            counter: state.version.1,
            time: self.now,
            kind,
        };
        let update = VerifiedUpdate::check(body.sign(&identity(state.number))).unwrap();
        let (key, new) = (key(state.number), version(update.update()));
        let Server { directory, federation, .. } = &mut self.servers[home];
        let verdict = directory.handle_update(self.now, update, true);
        if matches!(verdict, Verdict::Applied { .. }) {
            federation.updated(&key, new, None);
        }
        verdict
    }

    fn snapshot(&mut self, node: usize) {
        let table = self.nodes[node].table.clone().into_iter();
        let sets =
            table.map(|((friend, currency), line)| UpdateMutation::Set { friend, currency, line });
        let verdict = self.say(node, UpdateKind::Snapshot(sets.collect()));
        assert!(matches!(verdict, Verdict::Applied { .. }), "{verdict:?}");
    }

    /// The node leaves its server, which says so; or the server is believed to be lost with it.
    fn leave(&mut self, node: usize) {
        let Some(home) = self.nodes[node].home.take() else { return };
        let node = key(self.nodes[node].number);
        let Server { directory, federation, .. } = &mut self.servers[home];
        let Some((epoch, counter)) = directory.version(&node) else { return };
        let server = identity(FIRST_SERVER + u8::try_from(home).unwrap());
        let down = NodeDown::sign(node, epoch, counter, &server);
        if directory.handle_node_down(self.now, down) {
            federation.node_left(&node, None);
        }
    }

    /// A server dies and starts again, knowing nothing; nobody says that its nodes left.
    fn restart(&mut self, server: usize) {
        for edge in self.edges.clone() {
            if edge.0 == server || edge.1 == server {
                self.cut(edge);
            }
        }
        for node in self.nodes.iter_mut().filter(|node| node.home == Some(server)) {
            node.home = None;
        }
        let fresh = Self::new(0, 1, false).servers.remove(0);
        self.servers[server].directory = fresh.directory;
        self.servers[server].federation = fresh.federation;
    }

    fn random_action(&mut self) {
        let node = self.pick(self.nodes.len());
        let edge = self.any_edge();
        match self.pick(40) {
            0..=3 => self.leave(node),
            4 => self.cut(edge),
            5..=8 => {
                self.cut(edge);
                self.connect(edge);
            }
            9 => {
                let server = self.pick(self.servers.len());
                self.restart(server);
            }
            10..=12 => {
                self.leave(node);
                self.nodes[node].home = Some(self.pick(self.servers.len()));
                self.snapshot(node);
            }
            13..=22 if self.nodes[node].home.is_some() => {
                let friend = key(u8::try_from(50 + self.pick(5)).unwrap());
                let line = line(self.pick(100) as u128, 1, 1);
                self.nodes[node].table.insert((friend, Currency::fallback()), line);
                let currency = Currency::fallback();
                let kind = UpdateKind::Delta(vec![UpdateMutation::Set { friend, currency, line }]);
                let verdict = self.say(node, kind);
                if verdict != (Verdict::Applied { refresh: false }) {
                    self.snapshot(node);
                }
            }
            _ => {
                for _ in 0..10 {
                    let (a, b) = self.any_edge();
                    let (from, to) = if self.pick(2) == 0 { (a, b) } else { (b, a) };
                    let take = self.pick(2) == 0;
                    self.step(from, to, take);
                }
            }
        }
    }

    /// Nodes that left may be known a little longer where their last move was not seen,
    /// because only their last home server may say that they left: `left` looks at them too.
    fn assert_all_know_the_same(&self, seed: u64, left: bool) {
        for server in &self.servers {
            for node in self.nodes.iter().filter(|node| left || node.home.is_some()) {
                let known = server.directory.table(&key(node.number));
                let expected = node.home.map(|_| &node.table);
                let (number, at) = (node.number, server.key);
                assert_eq!(known.as_deref(), expected, "node {number} at {at:?}, seed {seed}");
            }
            server.directory.check_invariants();
        }
    }
}

#[test]
fn servers_converge_after_joins_moves_partitions_and_restarts() {
    for seed in 0..60 {
        let mut world = World::of_any_shape(seed, u8::try_from(3 + seed % 4).unwrap());
        world.edges.clone().into_iter().for_each(|edge| world.connect(edge));
        for _ in 0..300 {
            world.random_action();
        }
        let edges = world.edges.clone();
        for edge in edges {
            if !world.links.contains_key(&edge) {
                world.connect(edge);
            }
        }
        world.drain();
        world.assert_all_know_the_same(seed, false);
        // Links that lost nothing carry on; signs of life keep those who give them.
        for _ in 0..4 {
            world.now = world.now.plus_ms(5 * 60_000);
            for node in 0..world.nodes.len() {
                if world.nodes[node].home.is_some() {
                    let table = index_table_hash(&world.nodes[node].table);
                    match world.say(node, UpdateKind::Alive { table }) {
                        Verdict::Applied { refresh: false } => {}
                        Verdict::Applied { refresh: true } | Verdict::Gap => {
                            world.snapshot(node);
                        }
                        other @ (Verdict::NotNewer { .. } | Verdict::Refused(_)) => {
                            panic!("{other:?}, seed {seed}")
                        }
                    }
                }
            }
            world.drain();
            let now = world.now;
            world.servers.iter_mut().for_each(|server| server.directory.handle_timeout(now));
        }
        world.assert_all_know_the_same(seed, true);
    }
}

#[test]
fn a_late_server_learns_of_a_node_whose_snapshot_is_old() {
    let mut world = World::new(1, 3, false);
    for server in &mut world.servers {
        server.directory = Directory::new(DirectoryLimits::default());
    }
    world.connect((0, 1));
    world.nodes[0].home = Some(0);
    world.snapshot(0);
    for _ in 0..30 {
        world.now = world.now.plus_ms(5 * 60_000);
        let table = index_table_hash(&world.nodes[0].table);
        world.say(0, UpdateKind::Alive { table });
        world.drain();
        let now = world.now;
        world.servers.iter_mut().for_each(|server| server.directory.handle_timeout(now));
    }
    world.connect((1, 2));
    world.drain();
    world.assert_all_know_the_same(1, true);
}

#[test]
fn a_gap_is_asked_for_once_in_a_while() {
    let mut world = World::new(1, 2, false);
    world.connect((0, 1));
    world.drain();
    world.nodes[0].home = Some(0);
    world.snapshot(0);
    // The snapshot is lost, as only a faulty server could lose it.
    let peer = world.servers[1].key;
    let Server { directory, federation, .. } = &mut world.servers[0];
    assert!(federation.next_message(directory, &peer).is_some());
    for _ in 0..2 {
        world.say(0, UpdateKind::Delta(vec![]));
        world.step(0, 1, false);
        world.step(0, 1, true);
    }
    assert_eq!(world.servers[1].directory.node_count(), 0);
    let back = world.servers[0].key;
    let Server { directory, federation, .. } = &mut world.servers[1];
    let wanted = IndexPeerMessage::Wanted { node: key(1) };
    assert_eq!(federation.next_message(directory, &back), Some(wanted));
    assert_eq!(federation.next_message(directory, &back), None);
    let wanted = PeerInput::Wanted(key(1));
    let Server { directory, federation, .. } = &mut world.servers[0];
    federation.handle_message(NOW, directory, &peer, wanted).unwrap();
    federation.handle_message(NOW, directory, &peer, PeerInput::Wanted(key(9))).unwrap();
    world.drain();
    world.assert_all_know_the_same(0, true);
}

#[test]
fn digests_go_in_pages() {
    let mut world = World::new(1, 2, false);
    let limits = DirectoryLimits { min_chain_bytes: 1 << 20, ..DirectoryLimits::default() };
    world.servers[0].directory = Directory::new(limits);
    let count = MAX_DIGEST_ENTRIES + 10;
    let mut rng = SeededRng::new(5);
    for _ in 0..count {
        let identity = offset_crypto::Identity::random(&mut rng);
        let body = UpdateBody {
            node: identity.public_key(),
            home_server: world.servers[0].key,
            epoch: 1,
            counter: 1,
            time: NOW,
            kind: UpdateKind::Snapshot(vec![]),
        };
        let update = VerifiedUpdate::check(body.sign(&identity)).unwrap();
        let _ = world.servers[0].directory.handle_update(NOW, update, true);
    }
    world.connect((0, 1));
    let peer = world.servers[1].key;
    let Server { directory, federation, .. } = &mut world.servers[0];
    for (expected, ends) in [(MAX_DIGEST_ENTRIES, false), (10, true)] {
        let Some(IndexPeerMessage::Digest { entries, last }) =
            federation.next_message(directory, &peer)
        else {
            panic!("a page of the digest comes first")
        };
        assert_eq!((entries.len(), last), (expected, ends));
    }
    world.connect((0, 1));
    world.drain();
    assert_eq!(world.servers[1].directory.digest(None).count(), count);
    // Both have everything: after the digests nothing more is sent.
    world.connect((0, 1));
    while world.step(0, 1, false) || world.step(1, 0, false) {}
    let sent = |from, to| world.links[&(from, to)].len();
    assert_eq!((sent(0, 1), sent(1, 0)), (2, 2));
}

#[test]
fn the_longest_messages_fit_into_a_frame() {
    let currency: Currency = "0123456789abcdef".parse().unwrap();
    let set = UpdateMutation::Set { friend: key(2), currency, line: line(u128::MAX, 1, 1) };
    let update = UpdateBody {
        node: key(1),
        home_server: key(2),
        epoch: 1,
        counter: 1,
        time: NOW,
        kind: UpdateKind::Snapshot(vec![set; MAX_MUTATIONS]),
    };
    let update = Box::new(update.sign(&identity(1)));
    let entry = DigestEntry { node: key(1), epoch: u64::MAX, counter: u64::MAX };
    let entries = vec![entry; MAX_DIGEST_ENTRIES];
    let messages =
        [IndexPeerMessage::Update(update), IndexPeerMessage::Digest { entries, last: true }];
    for message in messages {
        let bytes = IndexPeerMessage::encode(&Packet::Message(message)).len();
        assert!(bytes <= IndexPeerMessage::PURPOSE.max_frame_bytes(), "{bytes}");
    }
}

#[test]
fn a_digest_is_compared_once() {
    let mut world = World::new(1, 2, false);
    world.nodes[0].home = Some(0);
    world.snapshot(0);
    world.connect((0, 1));
    world.drain();
    let peer = world.servers[1].key;
    let Server { directory, federation, .. } = &mut world.servers[0];
    let again = PeerInput::Digest { entries: Vec::new(), last: true };
    federation.handle_message(NOW, directory, &peer, again.clone()).unwrap();
    assert!(!federation.has_messages(&peer));
    federation.handle_connected(peer);
    federation.handle_message(NOW, directory, &peer, again).unwrap();
    assert_eq!(federation.peers[&peer].lacks.len(), 1, "a new connection begins anew");
}

#[test]
fn a_forged_update_is_noticed_and_a_refused_one_is_said() {
    let body = UpdateBody {
        node: key(1),
        home_server: key(2),
        epoch: u64::MAX,
        counter: 1,
        time: NOW,
        kind: UpdateKind::Snapshot(vec![]),
    };
    let message = |signer| IndexPeerMessage::Update(Box::new(body.clone().sign(&identity(signer))));
    assert_eq!(PeerInput::check(message(2)).unwrap_err(), BadSignature(key(1)));
    let mut world = World::new(1, 1, false);
    let Server { directory, federation, .. } = &mut world.servers[0];
    let input = PeerInput::check(message(1)).unwrap();
    let result = federation.handle_message(NOW, directory, &key(9), input);
    assert_eq!(result, Err(Refusal::Epoch));
}
