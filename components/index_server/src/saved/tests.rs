//! What is written is read again, and nothing else is.

use std::sync::{Arc, LazyLock};

use super::*;
use crate::{
    directory::{
        Directory, Verdict, VerifiedUpdate,
        tests::{NOW, identity},
    },
    graph::{
        Graph,
        tests::{Model, check_against, key},
    },
    limits::DirectoryLimits,
    search::{Scratch, Work, multi_routes},
};
use offset_crypto::{PublicKey, SeededRng};
use offset_proto::{
    Credits, Currency, Rate, Timestamp,
    canonical::index_table_hash,
    index::{IndexLine, NodeDown, RouteQuery, UpdateBody, UpdateKind, UpdateMutation},
};

const HOME: u8 = 100;
const EPOCH: u64 = 1_800_000_000;

fn secret(n: u8) -> Secret {
    Secret::of(&identity(n))
}

/// The whole file of a directory, written a few bytes at a time.
fn file(directory: &Directory, secret: &Secret) -> Vec<u8> {
    let (mut encoder, mut bytes, mut after) = (Encoder::default(), Vec::new(), None);
    loop {
        after = directory.save_some(&mut encoder, after, 1);
        bytes.extend(encoder.take());
        if after.is_none() {
            break;
        }
    }
    directory.save_gone(&mut encoder);
    bytes.extend(encoder.finish());
    let mut seal = Seal::default();
    bytes.chunks(PIECE).for_each(|piece| seal.piece(piece));
    bytes.extend_from_slice(seal.finish(secret).as_bytes());
    bytes
}

fn read(bytes: Vec<u8>) -> Arc<Saved> {
    Arc::new(Saved::read(bytes, &secret(HOME)).unwrap())
}

/// A directory and its graph, fed by random nodes with what they would say.
struct Fed {
    directory: Directory,
    graph: Graph,
    model: Model,
    rng: SeededRng,
    now: Timestamp,
}

impl Fed {
    fn new(seed: u64) -> Self {
        let limits = DirectoryLimits::default();
        let (directory, graph) = (Directory::new(limits), Graph::default());
        Self { directory, graph, model: Model::new(), rng: SeededRng::new(seed), now: NOW }
    }

    fn pick(&mut self, bound: u64) -> u64 {
        self.rng.below(bound)
    }

    fn mutation(&mut self, node: u8) -> UpdateMutation {
        let mut friend = u8::try_from(self.pick(12)).unwrap();
        if friend == node {
            friend = 12;
        }
        let currency: Currency =
            ["a", "b", "c"][usize::try_from(self.pick(3)).unwrap()].parse().unwrap();
        if self.pick(4) == 0 {
            return UpdateMutation::Remove { friend: key(friend), currency };
        }
        let mut amount = || {
            let much = if self.pick(6) == 0 { u128::from(u64::MAX) - 20 } else { 0 };
            Credits(much + u128::from(self.pick(60)))
        };
        let (send_capacity, recv_capacity) = (amount(), amount());
        let rate = Rate { ppm: u32::try_from(self.pick(3)).unwrap() * 1_000, add: self.pick(3) };
        let line = IndexLine { send_capacity, recv_capacity, rate };
        UpdateMutation::Set { friend: key(friend), currency, line }
    }

    /// One of twelve nodes says something.
    fn step(&mut self) {
        self.now = self.now.plus_ms(1_000);
        let node = u8::try_from(self.pick(12)).unwrap();
        let newest = self.directory.version(&key(node));
        let known = newest.is_some() && self.directory.table(&key(node)).is_some();
        if known && self.pick(15) == 0 {
            let (epoch, counter) = newest.unwrap();
            let down = NodeDown::sign(key(node), epoch, counter, &identity(HOME));
            assert!(self.directory.handle_node_down(self.now, down));
        } else {
            let count = self.pick(5);
            let changes: Vec<UpdateMutation> = (0..count).map(|_| self.mutation(node)).collect();
            let kind = match self.pick(4) {
                _ if !known => UpdateKind::Snapshot(changes),
                0 => UpdateKind::Snapshot(changes),
                1 => {
                    let table = self.directory.table(&key(node)).unwrap();
                    UpdateKind::Alive { table: index_table_hash(&table) }
                }
                _ => UpdateKind::Delta(changes),
            };
            let counter = newest.map_or(1, |(_, counter)| counter + 1);
            let (home_server, time) = (key(HOME), self.now);
            let body =
                UpdateBody { node: key(node), home_server, epoch: EPOCH, counter, time, kind };
            let update = VerifiedUpdate::check(body.sign(&identity(node))).unwrap();
            let verdict = self.directory.handle_update(self.now, update, true);
            assert_eq!(verdict, Verdict::Applied { refresh: false });
        }
        for change in self.directory.take_changes() {
            self.graph.apply(&change);
            let name = (change.currency, change.node, change.friend);
            match change.line {
                Some(line) => self.model.insert(name, line),
                None => self.model.remove(&name),
            };
        }
    }
}

/// What is known of every node, for comparison.
fn summary(directory: &Directory) -> Vec<String> {
    let all = (0..=12).map(|n| {
        let key = key(n);
        let mut chain = Vec::new();
        let mut after = None;
        while let Some(update) = directory.update_after(&key, after) {
            let body = &update.update().body;
            after = Some((body.epoch, body.counter));
            chain.push(update);
        }
        let (table, stated) = (directory.table(&key), directory.stated_at(&key));
        let (version, down) = (directory.version(&key), directory.down(&key));
        format!("{n}: {table:?} {stated:?} {version:?} {down:?} {chain:?}")
    });
    all.collect()
}

/// Fees and lengths of the answers to many questions: of equally good routes any may be found.
fn answers(graph: &Graph, seed: u64) -> Vec<Vec<Vec<(u128, u128, usize)>>> {
    let (mut rng, mut scratch) = (SeededRng::new(seed), Scratch::default());
    let mut all = Vec::new();
    for _ in 0..20 {
        let mut pick = |bound| u8::try_from(rng.below(bound)).unwrap();
        let query = RouteQuery {
            currency: ["a", "b", "c"][usize::from(pick(3))].parse().unwrap(),
            source: key(pick(12)),
            destination: key(pick(12)),
            amount: Credits(u128::from(pick(70)) + 1),
            exclude: vec![],
            max_parts: 1,
        };
        let Some(graph) = graph.currency(&query.currency) else { continue };
        let ways =
            multi_routes(&mut scratch, graph, &query, Work { single: 10_000, split: 10_000 });
        let first = ways.multi_routes.into_iter().take(1);
        let short = first.map(|routes| {
            routes.iter().map(|route| (route.amount.0, route.fee.0, route.keys.len())).collect()
        });
        all.push(short.collect());
    }
    all
}

/// Whatever was said: the directory that is read says the same, the graph that is laid out at once is
/// the one that grew, and both go on alike.
#[test]
fn what_was_known_is_known_again_and_goes_on() {
    for seed in 0..60 {
        let mut fed = Fed::new(seed);
        for _ in 0..seed * 2 {
            fed.step();
        }
        let saved = read(file(&fed.directory, &secret(HOME)));
        let (directory, graph) =
            Directory::load(DirectoryLimits::default(), fed.now, &saved).unwrap();
        directory.check_invariants();
        check_against(&graph, &fed.model);
        assert_eq!(summary(&directory), summary(&fed.directory), "seed {seed}");
        assert_eq!(answers(&graph, seed), answers(&fed.graph, seed), "seed {seed}");
        assert_eq!(directory.node_count(), fed.directory.node_count());
        // A file of what was read is as good as the first one.
        let again = read(file(&directory, &secret(HOME)));
        let (again, _) = Directory::load(DirectoryLimits::default(), fed.now, &again).unwrap();
        assert_eq!(summary(&again), summary(&fed.directory), "seed {seed}");

        // The same goes on with what was read.
        (fed.directory, fed.graph) = (directory, graph);
        for _ in 0..100 {
            fed.step();
        }
        fed.directory.check_invariants();
        check_against(&fed.graph, &fed.model);
    }
}

static SOME: LazyLock<(Directory, Timestamp)> = LazyLock::new(|| {
    let mut fed = Fed::new(7);
    (0..80).for_each(|_| fed.step());
    (fed.directory, fed.now)
});

#[test]
fn what_is_too_old_or_too_much_by_now_is_left_out() {
    let (directory, now) = &*SOME;
    let saved = read(file(directory, &secret(HOME)));
    let load = |limits: DirectoryLimits, now| Directory::load(limits, now, &saved);
    let (old, graph) = load(DirectoryLimits::default(), now.plus_ms(15 * 60_000)).unwrap();
    old.check_invariants();
    assert_eq!((old.node_count(), graph.edge_count()), (0, 0));
    let nodes: Vec<PublicKey> = directory.digest(None).map(|entry| entry.node).collect();
    assert!(3 < nodes.len());
    for node in &nodes {
        assert_eq!(old.version(node), directory.version(node), "it is remembered");
    }
    let few = DirectoryLimits { max_nodes: 3, ..DirectoryLimits::default() };
    let (few, graph) = load(few, *now).unwrap();
    few.check_invariants();
    graph.check_invariants();
    assert_eq!(few.node_count(), 3);
    let narrow = DirectoryLimits { max_currencies: 1, ..DirectoryLimits::default() };
    assert_eq!(load(narrow, *now).err(), Some(Unreadable::Limits));
    let narrow = DirectoryLimits { max_lines_per_node: 1, ..DirectoryLimits::default() };
    assert_eq!(load(narrow, *now).err(), Some(Unreadable::Limits));
    // A clock that went back makes nobody older or younger than it shows.
    let (back, _) = load(DirectoryLimits::default(), Timestamp(now.0 - 86_400_000)).unwrap();
    assert_eq!(back.oldest(), Some(Timestamp(now.0 - 86_400_000)));
}

#[test]
fn a_file_that_was_cut_or_altered_is_not_read() {
    let (directory, _) = &*SOME;
    let whole = file(directory, &secret(HOME));
    for length in (0..whole.len()).step_by(37).chain(whole.len() - 33..whole.len()) {
        let error = Saved::read(whole[..length].to_vec(), &secret(HOME)).unwrap_err();
        let expected = if length < 24 { Unreadable::Other } else { Unreadable::Broken };
        assert_eq!(error, expected, "{length} of {} bytes", whole.len());
    }
    for at in (0..whole.len()).step_by(13) {
        let mut altered = whole.clone();
        altered[at] ^= 1 << (at % 8);
        assert!(Saved::read(altered, &secret(HOME)).is_err(), "byte {at}");
    }
    let mut longer = whole.clone();
    longer.push(0);
    assert_eq!(Saved::read(longer, &secret(HOME)).err(), Some(Unreadable::Broken));
    let other = Saved::read(whole, &secret(HOME + 1)).err();
    assert_eq!(other, Some(Unreadable::Broken), "the file of another server");
}

/// Even what is sealed does not make the program panic, whatever it says.
#[test]
fn sealed_nonsense_is_refused_or_harmless() {
    let (directory, now) = &*SOME;
    let whole = file(directory, &secret(HOME));
    let content = &whole[..whole.len() - SEAL];
    let mut rng = SeededRng::new(5);
    let (mut refused, mut read) = (0, 0);
    for round in 0..3_000 {
        let mut bytes = content.to_vec();
        for _ in 0..1 + round % 3 {
            let at = MAGIC.len()
                + usize::try_from(rng.below((bytes.len() - MAGIC.len()) as u64)).unwrap();
            bytes[at] = u8::try_from(rng.below(256)).unwrap();
        }
        if round % 5 == 0 {
            bytes.truncate(MAGIC.len() + usize::try_from(rng.below(bytes.len() as u64)).unwrap());
        }
        let mut seal = Seal::default();
        bytes.chunks(PIECE).for_each(|piece| seal.piece(piece));
        bytes.extend_from_slice(seal.finish(&secret(HOME)).as_bytes());
        let loaded = Saved::read(bytes, &secret(HOME))
            .and_then(|saved| Directory::load(DirectoryLimits::default(), *now, &Arc::new(saved)));
        match loaded {
            Ok((mut directory, graph)) => {
                directory.handle_timeout(now.plus_ms(u64::from(u32::MAX)));
                assert_eq!(directory.node_count(), 0);
                graph.check_invariants();
                read += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(100 < refused && 100 < read, "{refused} refused, {read} read");
}
