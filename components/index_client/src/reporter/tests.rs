use super::*;
use offset_crypto::{Identity, Seed, SeededRng};
use offset_index_server::{
    directory::{Directory, Verdict, VerifiedUpdate},
    limits::DirectoryLimits,
};
use offset_proto::Rate;

const NOW: Timestamp = Timestamp(1_800_000_000_500);
const EPOCH: u64 = 1_800_000_000;

fn identity(n: u8) -> Identity {
    Identity::from_seed(Seed::from_bytes([n; 32]))
}

fn key(n: u8) -> PublicKey {
    identity(n).public_key()
}

fn line(send: u128, recv: u128) -> IndexLine {
    IndexLine { send_capacity: Credits(send), recv_capacity: Credits(recv), rate: Rate::default() }
}

fn set(friend: u8, send: u128, recv: u128) -> UpdateMutation {
    let (friend, currency) = (key(friend), Currency::fallback());
    UpdateMutation::Set { friend, currency, line: line(send, recv) }
}

fn remove(friend: u8) -> UpdateMutation {
    UpdateMutation::Remove { friend: key(friend), currency: Currency::fallback() }
}

/// A reporter with one line, its snapshot sent.
fn reporting() -> Reporter {
    let mut reporter = Reporter::new(key(1), 0, NOW);
    reporter.handle_lines(vec![set(2, 100, 100)]);
    reporter.handle_connected(NOW, key(9));
    let bodies = reporter.take_updates(NOW);
    assert_eq!(kinds(&bodies), [UpdateKind::Snapshot(vec![set(2, 100, 100)])]);
    assert_eq!((bodies[0].epoch, bodies[0].counter), (EPOCH, 1));
    assert_eq!((bodies[0].node, bodies[0].home_server), (key(1), key(9)));
    reporter
}

fn kinds(bodies: &[UpdateBody]) -> Vec<UpdateKind> {
    bodies.iter().map(|body| body.kind.clone()).collect()
}

fn after(ms: u64) -> Timestamp {
    NOW.plus_ms(ms)
}

#[test]
fn the_epoch_rises_with_every_start() {
    assert_eq!(Reporter::new(key(1), 0, NOW).epoch(), EPOCH);
    assert_eq!(Reporter::new(key(1), EPOCH + 7, NOW).epoch(), EPOCH + 8);
}

#[test]
fn nothing_without_a_connection() {
    let mut reporter = Reporter::new(key(1), 0, NOW);
    reporter.handle_lines(vec![set(2, 1, 1)]);
    assert_eq!((reporter.next_timeout(), reporter.take_updates(NOW)), (None, vec![]));
    let mut reporter = reporting();
    reporter.handle_disconnected();
    assert_eq!(reporter.next_timeout(), None);
}

#[test]
fn deltas_are_a_second_apart() {
    let mut reporter = reporting();
    reporter.handle_lines(vec![set(2, 90, 90), set(3, 5, 5)]);
    assert_eq!(reporter.next_timeout(), Some(after(DELTA_EVERY_MS)));
    assert_eq!(reporter.take_updates(after(999)), vec![]);
    reporter.handle_lines(vec![set(2, 80, 90), remove(3)]);
    let bodies = reporter.take_updates(after(1_000));
    assert_eq!(kinds(&bodies), [UpdateKind::Delta(vec![set(2, 80, 90)])]);
    assert_eq!(bodies[0].counter, 2);
}

#[test]
fn a_change_that_is_taken_back_is_none() {
    let mut reporter = reporting();
    reporter.handle_lines(vec![set(2, 90, 90)]);
    reporter.handle_lines(vec![set(2, 100, 100)]);
    assert_eq!(reporter.next_timeout(), Some(after(ALIVE_EVERY_MS)));
}

#[test]
fn a_capacity_under_half_is_told_at_once() {
    let rows = [
        (set(2, 50, 50), false),
        (set(2, 49, 100), true),
        (set(2, 100, 49), true),
        (set(2, 200, 200), false),
        (remove(2), true),
        (set(3, 1, 1), false),
    ];
    for (change, at_once) in rows {
        let mut reporter = reporting();
        reporter.handle_lines(vec![change.clone()]);
        assert_eq!(!reporter.take_updates(after(1)).is_empty(), at_once, "{change:?}");
    }
}

#[test]
fn what_is_told_at_once_is_a_tenth_of_a_second_apart() {
    let mut reporter = reporting();
    let mut told = |ms, capacity| {
        reporter.handle_lines(vec![set(2, capacity, 100)]);
        reporter.take_updates(after(ms)).len()
    };
    let counts = [(1, 40), (2, 15), (100, 14), (101, 13), (102, 5)].map(|(ms, c)| told(ms, c));
    assert_eq!(counts, [1, 0, 0, 1, 0]);
}

#[test]
fn a_sign_of_life_every_five_minutes() {
    let mut reporter = reporting();
    assert_eq!(reporter.take_updates(after(ALIVE_EVERY_MS - 1)), vec![]);
    let table = IndexTable::from([((key(2), Currency::fallback()), line(100, 100))]);
    let bodies = reporter.take_updates(after(ALIVE_EVERY_MS));
    assert_eq!(kinds(&bodies), [UpdateKind::Alive { table: index_table_hash(&table) }]);
    assert_eq!(reporter.next_timeout(), Some(after(2 * ALIVE_EVERY_MS)));
}

#[test]
fn a_clock_that_is_set_back_silences_nothing() {
    let hour_ago = |ms| Timestamp(NOW.0 - 3_600_000 + ms);
    let mut reporter = reporting();
    reporter.handle_lines(vec![set(2, 90, 90)]);
    assert_eq!(reporter.take_updates(hour_ago(0)), vec![]);
    assert_eq!(reporter.take_updates(hour_ago(DELTA_EVERY_MS)).len(), 1);
    assert_eq!(reporter.take_updates(hour_ago(DELTA_EVERY_MS + ALIVE_EVERY_MS)).len(), 1);
    let mut reporter = reporting();
    reporter.handle_snapshot_wanted();
    assert_eq!(reporter.take_updates(hour_ago(0)), vec![]);
    assert_eq!(reporter.take_updates(hour_ago(SNAPSHOT_EVERY_MS)).len(), 1);
    reporter.handle_lines(vec![set(2, 40, 40)]);
    assert_eq!(reporter.take_updates(hour_ago(SNAPSHOT_EVERY_MS + URGENT_EVERY_MS)).len(), 1);
    reporter.handle_lines(vec![set(2, 10, 10)]);
    assert_eq!(reporter.take_updates(hour_ago(0)), vec![]);
    assert_eq!(reporter.take_updates(hour_ago(URGENT_EVERY_MS)).len(), 1);
}

#[test]
fn snapshots_that_are_wanted_come_a_second_apart() {
    let mut reporter = reporting();
    reporter.handle_snapshot_wanted();
    reporter.handle_lines(vec![set(3, 1, 1)]);
    assert_eq!(reporter.take_updates(after(999)), vec![]);
    let bodies = reporter.take_updates(after(1_000));
    assert!(matches!(&kinds(&bodies)[..], [UpdateKind::Snapshot(sets)] if sets.len() == 2));
}

#[test]
fn behind_goes_on_above() {
    let rows = [
        ((EPOCH, 1), Ok((EPOCH, 2))),
        ((EPOCH, 40), Ok((EPOCH, 41))),
        ((EPOCH + 5, 3), Ok((EPOCH + 5, 4))),
        ((EPOCH + 5, u64::MAX), Ok((EPOCH + 6, 1))),
        ((EPOCH + 86_400, 3), Ok((EPOCH + 86_400, 4))),
        ((EPOCH + 86_401, 3), Err(TooFarAhead)),
        ((u64::MAX, u64::MAX), Err(TooFarAhead)),
    ];
    for ((epoch, counter), expected) in rows {
        let mut reporter = reporting();
        let result = reporter.handle_behind(NOW, epoch, counter);
        let next = result.map(|()| {
            let bodies = reporter.take_updates(after(1_000));
            assert!(matches!(bodies[0].kind, UpdateKind::Snapshot(_)));
            (bodies[0].epoch, bodies[0].counter)
        });
        assert_eq!(next, expected, "{epoch} {counter}");
    }
    let mut reporter = reporting();
    reporter.handle_behind(NOW, EPOCH, 0).unwrap();
    assert_eq!(reporter.take_updates(after(1_000)), vec![], "an old answer");
}

#[test]
fn another_home_gets_a_snapshot_with_the_next_counter() {
    let mut reporter = reporting();
    reporter.handle_connected(after(1), key(8));
    let bodies = reporter.take_updates(after(1));
    assert_eq!((bodies[0].home_server, bodies[0].counter), (key(8), 2));
    assert!(matches!(bodies[0].kind, UpdateKind::Snapshot(_)));
}

fn many(count: usize) -> Vec<UpdateMutation> {
    let mut rng = SeededRng::new(1);
    let sets = (0..count).map(|_| UpdateMutation::Set {
        friend: Identity::random(&mut rng).public_key(),
        currency: Currency::fallback(),
        line: line(1, 1),
    });
    sets.collect()
}

#[test]
fn a_long_snapshot_goes_on_in_deltas() {
    let mut reporter = Reporter::new(key(1), 0, NOW);
    reporter.handle_lines(many(2_500));
    reporter.handle_connected(NOW, key(9));
    let bodies = reporter.take_updates(NOW);
    let sizes: Vec<_> = bodies
        .iter()
        .map(|body| match &body.kind {
            UpdateKind::Snapshot(sets) => (0, sets.len(), body.counter),
            UpdateKind::Delta(sets) => (1, sets.len(), body.counter),
            UpdateKind::Alive { .. } => (2, 0, body.counter),
        })
        .collect();
    assert_eq!(sizes, [(0, 1_000, 1), (1, 1_000, 2), (1, 500, 3)]);
    assert_eq!(reporter.take_updates(NOW), vec![]);
}

#[test]
fn lines_above_the_bound_wait() {
    let lines = many(MAX_LINES + 2);
    let UpdateMutation::Set { friend, currency, .. } = lines[5].clone() else { panic!() };
    let mut reporter = Reporter::new(key(1), 0, NOW);
    reporter.handle_lines(lines);
    assert_eq!((reporter.lines.len(), reporter.unreported()), (MAX_LINES, 2));
    reporter.handle_lines(vec![UpdateMutation::Remove { friend, currency }]);
    assert_eq!((reporter.lines.len(), reporter.unreported()), (MAX_LINES, 1));
}

#[test]
fn a_server_knows_the_table_after_any_changes() {
    for seed in 0..20 {
        let mut rng = SeededRng::new(seed);
        let mut now = NOW;
        let limits = DirectoryLimits { min_chain_bytes: 3_000, ..DirectoryLimits::default() };
        let mut directory = Directory::new(limits);
        let mut reporter = Reporter::new(key(1), 0, now);
        reporter.handle_connected(now, key(9));
        for _ in 0..200 {
            let friend = u8::try_from(10 + rng.below(6)).unwrap();
            let change = match rng.below(4) {
                0 => remove(friend),
                _ => set(friend, u128::from(rng.below(100)), 7),
            };
            reporter.handle_lines(vec![change]);
            now = now.plus_ms(rng.below(700));
            for body in reporter.take_updates(now) {
                if rng.below(10) == 0 {
                    continue;
                }
                let update = VerifiedUpdate::check(body.sign(&identity(1))).unwrap();
                match directory.handle_update(now, update, true) {
                    Verdict::Applied { refresh: false } => {}
                    Verdict::Applied { refresh: true } | Verdict::Gap => {
                        reporter.handle_snapshot_wanted();
                    }
                    Verdict::NotNewer { newest } => {
                        reporter.handle_behind(now, newest.0, newest.1).unwrap();
                    }
                    Verdict::Refused(refusal) => panic!("{refusal}"),
                }
            }
        }
        // The next signs of life show what was lost.
        for _ in 0..3 {
            now = now.plus_ms(ALIVE_EVERY_MS);
            for body in reporter.take_updates(now) {
                let update = VerifiedUpdate::check(body.sign(&identity(1))).unwrap();
                let verdict = directory.handle_update(now, update, true);
                if verdict != (Verdict::Applied { refresh: false }) {
                    reporter.handle_snapshot_wanted();
                }
            }
        }
        assert_eq!(directory.table(&key(1)).as_deref(), Some(&reporter.lines), "seed {seed}");
    }
}
