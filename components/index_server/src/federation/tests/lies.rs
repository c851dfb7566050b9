//! A federated server that lies: it can keep things to itself, and make nothing up.

use super::*;
use offset_proto::index::SignedUpdate;

const LIAR: usize = 1;
/// A node in league with the liar.
const ACCOMPLICE: u8 = 60;

/// Two honest servers on both sides of a liar that has kept all that it ever heard.
struct Plot {
    world: World,
    heard: Vec<IndexPeerMessage>,
    /// Every table that an honest node signed.
    signed: BTreeMap<(PublicKey, Version), IndexTable>,
    /// What an honest server knew last of whom.
    known: BTreeMap<(usize, PublicKey), Version>,
    forged: usize,
}

impl Plot {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed, 3, false);
        for server in &mut world.servers {
            server.directory = Directory::new(DirectoryLimits::default());
        }
        for honest in [0, 2] {
            let liar = world.servers[LIAR].key;
            world.servers[honest].federation.handle_connected(liar);
        }
        let (signed, known) = (BTreeMap::new(), BTreeMap::new());
        Self { world, heard: Vec::new(), signed, known, forged: 0 }
    }

    fn honest(&mut self) -> usize {
        [0, 2][self.world.pick(2)]
    }

    fn any_node(&mut self) -> PublicKey {
        let node = self.world.pick(self.world.nodes.len());
        key(self.world.nodes[node].number)
    }

    /// The liar listens to everything that an honest server has for it.
    fn listen(&mut self) {
        let liar = self.world.servers[LIAR].key;
        for honest in [0, 2] {
            let Server { directory, federation, .. } = &mut self.world.servers[honest];
            while let Some(message) = federation.next_message(directory, &liar) {
                self.heard.push(message);
            }
        }
    }

    /// An honest node moves to any server, the liar included, or changes its lines.
    fn node_acts(&mut self) {
        let node = self.world.pick(self.world.nodes.len());
        if self.world.pick(3) == 0 {
            match self.world.nodes[node].home {
                Some(LIAR) => self.world.nodes[node].home = None,
                Some(_) | None => self.world.leave(node),
            }
            self.world.nodes[node].home = Some(self.world.pick(3));
        }
        let Some(home) = self.world.nodes[node].home else { return };
        let friend = key(u8::try_from(50 + self.world.pick(5)).unwrap());
        let line = line(self.world.pick(100) as u128, 1, 1);
        self.world.nodes[node].table.insert((friend, Currency::fallback()), line);
        self.world.snapshot(node);
        let state = &self.world.nodes[node];
        let node = key(state.number);
        self.signed.insert((node, state.version), state.table.clone());
        if home == LIAR {
            let update = self.world.servers[LIAR].directory.update_after(&node, None).unwrap();
            self.heard.push(IndexPeerMessage::Update(Box::new(update.update().clone())));
        }
    }

    /// The connection of an honest server with the liar, who says this.
    fn tell(&mut self, honest: usize, message: IndexPeerMessage) {
        let (now, liar) = (self.world.now, self.world.servers[LIAR].key);
        let Server { directory, federation, .. } = &mut self.world.servers[honest];
        match PeerInput::check(message) {
            Ok(input) => {
                // It may be refused; then nothing has changed.
                let _ = federation.handle_message(now, directory, &liar, input);
            }
            Err(BadSignature(_)) => {
                self.forged += 1;
                federation.handle_disconnected(&liar);
                federation.handle_connected(liar);
            }
        }
    }

    fn some_update(&mut self) -> Option<SignedUpdate> {
        let updates = self.heard.iter().filter_map(|message| match message {
            IndexPeerMessage::Update(update) => Some(update.as_ref().clone()),
            IndexPeerMessage::Digest { .. }
            | IndexPeerMessage::Wanted { .. }
            | IndexPeerMessage::NodeDown(_) => None,
        });
        let updates: Vec<SignedUpdate> = updates.collect();
        if updates.is_empty() {
            return None;
        }
        let at = self.world.pick(updates.len());
        updates.into_iter().nth(at)
    }

    fn lie(&mut self) {
        let honest = self.honest();
        match self.world.pick(8) {
            // Replayed, stale, out of order, to whom it came from, or passed on as it should be.
            0..=2 if !self.heard.is_empty() => {
                let at = self.world.pick(self.heard.len());
                self.tell(honest, self.heard[at].clone());
            }
            // Changed, with the signature of what it was, or signed anew by somebody else.
            3 => {
                let Some(mut update) = self.some_update() else { return };
                match self.world.pick(3) {
                    0 => update.body.counter += 1,
                    1 => update.body.kind = UpdateKind::Snapshot(vec![]),
                    _ => update.body.home_server = self.world.servers[LIAR].key,
                }
                if self.world.pick(2) == 0 {
                    update = update.body.sign(&identity(FIRST_SERVER + 1));
                }
                self.tell(honest, IndexPeerMessage::Update(Box::new(update)));
            }
            // That a node left: in its own name, as far ahead as it may be, or in another's.
            4 => {
                let (node, (epoch, _)) = (self.any_node(), self.world.nodes[0].version);
                let counter = self.world.rng.below(u64::MAX);
                let ahead = self.world.rng.below(90_000);
                let liar = identity(FIRST_SERVER + 1);
                let mut down = NodeDown::sign(node, epoch + ahead, counter, &liar);
                if self.world.pick(4) == 0 {
                    down.node = self.any_node();
                }
                self.tell(honest, IndexPeerMessage::NodeDown(down));
            }
            // That it has what it has not, or nothing.
            5 => {
                let mut nodes: Vec<PublicKey> = (0..3).map(|_| self.any_node()).collect();
                nodes.sort();
                nodes.dedup();
                let version = |world: &mut World| world.rng.below(u64::MAX);
                let world = &mut self.world;
                let entries = nodes.into_iter().map(|node| DigestEntry {
                    node,
                    epoch: version(world),
                    counter: version(world),
                });
                let entries = entries.collect();
                let last = self.world.pick(2) == 0;
                self.tell(honest, IndexPeerMessage::Digest { entries, last });
            }
            6 => {
                let node = self.any_node();
                self.tell(honest, IndexPeerMessage::Wanted { node });
            }
            // An accomplice says one thing here and another one there, under the same number.
            _ => {
                let friend = self.any_node();
                for honest in [0, 2] {
                    let line = line(self.world.pick(1_000_000) as u128, 1, 1);
                    let currency = Currency::fallback();
                    let body = UpdateBody {
                        node: key(ACCOMPLICE),
                        home_server: self.world.servers[LIAR].key,
                        epoch: self.world.now.0 / 1_000,
                        counter: 1,
                        time: self.world.now,
                        kind: UpdateKind::Snapshot(vec![UpdateMutation::Set {
                            friend,
                            currency,
                            line,
                        }]),
                    };
                    let update = Box::new(body.sign(&identity(ACCOMPLICE)));
                    self.tell(honest, IndexPeerMessage::Update(update));
                }
            }
        }
    }

    /// Whatever an honest server holds of an honest node, that node signed, and it never goes back.
    fn check(&mut self, seed: u64) {
        for honest in [0, 2] {
            for node in &self.world.nodes {
                let (number, node) = (node.number, key(node.number));
                let directory = &self.world.servers[honest].directory;
                let Some(version) = directory.version(&node) else { continue };
                if let Some(table) = directory.table(&node) {
                    let said = self.signed.get(&(node, version));
                    assert_eq!(Some(&*table), said, "node {number} at {honest}, seed {seed}");
                }
                let before = self.known.insert((honest, node), version);
                assert!(before <= Some(version), "node {number} at {honest}, seed {seed}");
            }
            // Nor can anybody but the home server make it forget one of its own.
            for node in self.world.nodes.iter().filter(|node| node.home == Some(honest)) {
                let known = self.world.servers[honest].directory.table(&key(node.number));
                assert_eq!(known.as_deref(), Some(&node.table), "a node of {honest}, seed {seed}");
            }
        }
    }
}

#[test]
fn a_liar_can_withhold_and_never_invent() {
    let mut forged = 0;
    for seed in 0..20 {
        let mut plot = Plot::new(seed);
        for _ in 0..300 {
            plot.world.now = plot.world.now.plus_ms(5_000);
            match plot.world.pick(8) {
                0 | 1 => plot.node_acts(),
                2 | 3 => plot.listen(),
                _ => plot.lie(),
            }
            plot.check(seed);
        }
        // As soon as the honest servers speak with each other, nothing that was said matters: what
        // nodes say to either is known to both.
        plot.world.connect((0, 2));
        plot.world.drain();
        plot.check(seed);
        for node in plot.world.nodes.iter().filter(|node| matches!(node.home, Some(0 | 2))) {
            for honest in [0, 2] {
                let known = plot.world.servers[honest].directory.table(&key(node.number));
                let number = node.number;
                assert_eq!(
                    known.as_deref(),
                    Some(&node.table),
                    "node {number} at {honest}, seed {seed}"
                );
            }
        }
        forged += plot.forged;
    }
    assert!(20 < forged, "forgeries are noticed as such");
}

#[test]
fn a_former_home_server_cannot_silence_a_node() {
    let mut world = World::new(1, 3, false);
    world.nodes[0].home = Some(LIAR);
    world.connect((LIAR, 2));
    world.snapshot(0);
    world.drain();
    assert!(world.servers[2].directory.table(&key(1)).is_some());
    // The node leaves for another server, and the former one says that it is gone for a day.
    let liar = identity(FIRST_SERVER + 1);
    let down = NodeDown::sign(key(1), NOW.0 / 1_000 + 86_000, u64::MAX, &liar);
    let Server { directory, federation, .. } = &mut world.servers[2];
    let from = liar.public_key();
    federation.handle_message(NOW, directory, &from, PeerInput::NodeDown(down)).unwrap();
    assert_eq!(world.servers[2].directory.table(&key(1)), None);
    world.cut((LIAR, 2));
    world.nodes[0].home = Some(0);
    world.snapshot(0);
    world.connect((0, 2));
    world.drain();
    assert_eq!(world.servers[2].directory.table(&key(1)).as_deref(), Some(&world.nodes[0].table));
}
