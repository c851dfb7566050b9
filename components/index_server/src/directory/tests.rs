use super::*;
use crate::{
    graph::tests::{key, line},
    limits::{COMPARE_EVERY_MS, STAGED_FOR_MS},
};
use offset_crypto::{Identity, Seed};
use offset_proto::{canonical::index_table_hash, index::UpdateBody};

/// The identity of a small number.
pub(crate) fn identity(n: u8) -> Identity {
    Identity::from_seed(Seed::from_bytes([n; 32]))
}

pub(crate) const NOW: Timestamp = Timestamp(1_800_000_000_000);
const EPOCH: u64 = 1_800_000_000;
const HOME: u8 = 100;
const MINUTE: u64 = 60_000;

fn set(friend: u8, send: u128) -> UpdateMutation {
    UpdateMutation::Set {
        friend: key(friend),
        currency: Currency::fallback(),
        line: line(send, 5, 1),
    }
}

fn unset(friend: u8) -> UpdateMutation {
    UpdateMutation::Remove { friend: key(friend), currency: Currency::fallback() }
}

fn body(node: u8, epoch: u64, counter: u64, kind: UpdateKind) -> UpdateBody {
    let (node, home_server) = (key(node), key(HOME));
    UpdateBody { node, home_server, epoch, counter, time: NOW, kind }
}

fn signed(body: UpdateBody) -> VerifiedUpdate {
    let signer = (0..=255).map(identity).find(|id| id.public_key() == body.node).unwrap();
    VerifiedUpdate::check(body.sign(&signer)).unwrap()
}

fn update(node: u8, epoch: u64, counter: u64, kind: UpdateKind) -> VerifiedUpdate {
    signed(body(node, epoch, counter, kind))
}

fn alive(table: &IndexTable) -> UpdateKind {
    UpdateKind::Alive { table: index_table_hash(table) }
}

fn directory() -> Directory {
    Directory::new(DirectoryLimits {
        max_nodes: 3,
        max_lines_per_node: 3,
        max_currencies: 2,
        max_currencies_per_node: 2,
        max_stored_bytes: 64 << 10,
        min_chain_bytes: 2_000,
        ..DirectoryLimits::default()
    })
}

const APPLIED: Verdict = Verdict::Applied { refresh: false };

fn changed(directory: &mut Directory) -> Vec<(PublicKey, Option<u128>)> {
    let changes = directory.take_changes().into_iter();
    changes.map(|change| (change.friend, change.line.map(|line| line.send_capacity.0))).collect()
}

fn sorted<const N: usize>(
    mut changes: [(PublicKey, Option<u128>); N],
) -> Vec<(PublicKey, Option<u128>)> {
    changes.sort();
    changes.into()
}

#[test]
fn an_update_needs_its_nodes_signature() {
    let body = body(1, EPOCH, 1, UpdateKind::Snapshot(vec![]));
    assert!(VerifiedUpdate::check(body.clone().sign(&identity(2))).is_none());
    assert!(VerifiedUpdate::check(body.sign(&identity(1))).is_some());
}

#[test]
fn snapshot_delta_alive() {
    let mut dir = directory();
    let first = update(1, EPOCH, 1, UpdateKind::Snapshot(vec![set(2, 10), set(3, 20)]));
    assert_eq!(dir.handle_update(NOW, first, true), APPLIED);
    assert_eq!(changed(&mut dir), sorted([(key(2), Some(10)), (key(3), Some(20))]));
    let delta = update(1, EPOCH, 2, UpdateKind::Delta(vec![set(2, 11), unset(3), unset(4)]));
    assert_eq!(dir.handle_update(NOW, delta, true), APPLIED);
    let expected = sorted([(key(2), Some(11)), (key(3), None), (key(4), None)]);
    assert_eq!(changed(&mut dir), expected);
    let table = dir.table(&key(1)).unwrap().into_owned();
    let fits = update(1, EPOCH, 3, alive(&table));
    assert_eq!(dir.handle_update(NOW, fits, true), APPLIED);
    let differs = |counter| update(1, EPOCH, counter, alive(&IndexTable::new()));
    assert_eq!(dir.handle_update(NOW, differs(4), true), APPLIED, "not compared again so soon");
    let later = NOW.plus_ms(COMPARE_EVERY_MS);
    let wanted = Verdict::Applied { refresh: true };
    assert_eq!(dir.handle_update(later, differs(5), true), wanted);
    assert_eq!(changed(&mut dir), vec![]);
    // A snapshot replaces everything, and may leave a gap behind it.
    let snapshot = update(1, EPOCH, 9, UpdateKind::Snapshot(vec![set(5, 1)]));
    assert_eq!(dir.handle_update(NOW, snapshot, true), APPLIED);
    assert_eq!(changed(&mut dir), sorted([(key(2), None), (key(5), Some(1))]));
    assert_eq!(dir.version(&key(1)), Some((EPOCH, 9)));
    assert_eq!(dir.home_server(&key(1)), Some(key(HOME)));
}

#[test]
fn what_is_not_applied() {
    let mut dir = directory();
    let snapshot = |epoch, counter| update(1, epoch, counter, UpdateKind::Snapshot(vec![]));
    let delta = |epoch, counter| update(1, epoch, counter, UpdateKind::Delta(vec![]));
    let alive = |epoch, counter| update(1, epoch, counter, alive(&IndexTable::new()));
    let behind = Verdict::NotNewer { newest: (EPOCH, 5) };
    let rows = [
        (delta(EPOCH, 5), Verdict::Gap),
        (alive(EPOCH, 5), Verdict::Gap),
        (snapshot(EPOCH, 5), APPLIED),
        (snapshot(EPOCH, 5), behind),
        (snapshot(EPOCH, 4), behind),
        (delta(EPOCH - 1, 6), behind),
        (delta(EPOCH, 7), Verdict::Gap),
        (alive(EPOCH, 7), Verdict::Gap),
        (delta(EPOCH + 1, 6), Verdict::Gap),
        (delta(EPOCH + 1, 1), Verdict::Gap),
        (snapshot(EPOCH + 86_401, 1), Verdict::Refused(Refusal::Epoch)),
        (alive(EPOCH, 6), APPLIED),
        (snapshot(EPOCH + 86_400, 1), APPLIED),
    ];
    for (row, (update, verdict)) in rows.into_iter().enumerate() {
        assert_eq!(dir.handle_update(NOW, update, true), verdict, "row {row}");
    }
}

#[test]
fn bounds() {
    let mut dir = directory();
    let own = update(1, EPOCH, 1, UpdateKind::Snapshot(vec![set(1, 1)]));
    assert_eq!(dir.handle_update(NOW, own, true), Verdict::Refused(Refusal::OwnLine));
    let lines = |range: std::ops::Range<u8>| range.map(|n| set(n, 1)).collect::<Vec<_>>();
    let many = Verdict::Refused(Refusal::TooManyLines);
    let four = update(1, EPOCH, 1, UpdateKind::Snapshot(lines(2..6)));
    assert_eq!(dir.handle_update(NOW, four, true), many);
    let three = update(1, EPOCH, 1, UpdateKind::Snapshot(lines(2..5)));
    assert_eq!(dir.handle_update(NOW, three, true), APPLIED);
    let more = update(1, EPOCH, 2, UpdateKind::Delta(lines(4..6)));
    assert_eq!(dir.handle_update(NOW, more, true), many);
    let same = update(1, EPOCH, 2, UpdateKind::Delta(lines(3..5)));
    assert_eq!(dir.handle_update(NOW, same, true), APPLIED);
    for node in [2, 3] {
        let snapshot = update(node, EPOCH, 1, UpdateKind::Snapshot(vec![]));
        assert_eq!(dir.handle_update(NOW, snapshot, true), APPLIED);
    }
    let fourth = update(4, EPOCH, 1, UpdateKind::Snapshot(vec![]));
    assert_eq!(dir.handle_update(NOW, fourth, true), Verdict::Refused(Refusal::Full));
}

#[test]
fn currencies_are_bounded() {
    let mut dir = Directory::new(DirectoryLimits {
        max_currencies: 2,
        max_currencies_per_node: 3,
        ..DirectoryLimits::default()
    });
    let line_in = |currency: &str| UpdateMutation::Set {
        friend: key(9),
        currency: currency.parse().unwrap(),
        line: line(1, 1, 1),
    };
    let snapshot = |node, counter, currencies: &[&str]| {
        let sets = currencies.iter().map(|currency| line_in(currency)).collect();
        update(node, EPOCH, counter, UpdateKind::Snapshot(sets))
    };
    let full = Verdict::Refused(Refusal::Full);
    assert_eq!(dir.handle_update(NOW, snapshot(1, 1, &["a", "b", "c"]), true), full);
    assert_eq!(dir.handle_update(NOW, snapshot(1, 1, &["a", "b"]), true), APPLIED);
    assert_eq!(dir.handle_update(NOW, snapshot(2, 1, &["b", "c"]), true), full);
    assert_eq!(dir.handle_update(NOW, snapshot(2, 1, &["b"]), true), APPLIED);
    assert_eq!(dir.handle_update(NOW, snapshot(1, 2, &["b"]), true), APPLIED);
    assert_eq!(dir.handle_update(NOW, snapshot(2, 2, &["b", "c"]), true), APPLIED);
    let mut dir = Directory::new(DirectoryLimits {
        max_currencies_per_node: 2,
        ..DirectoryLimits::default()
    });
    let many = Verdict::Refused(Refusal::TooManyLines);
    assert_eq!(dir.handle_update(NOW, snapshot(1, 1, &["a", "b", "c"]), true), many);
    assert_eq!(dir.handle_update(NOW, snapshot(1, 1, &["a", "b"]), true), APPLIED);
    let third = update(1, EPOCH, 2, UpdateKind::Delta(vec![line_in("c")]));
    assert_eq!(dir.handle_update(NOW, third, true), many);
    assert_eq!(dir.handle_update(NOW, snapshot(1, 2, &["c", "d"]), true), APPLIED);
    dir.check_invariants();
}

#[test]
fn a_long_chain_asks_for_a_snapshot_and_then_stops() {
    let mut dir = directory();
    let snapshot = |counter| update(1, EPOCH, counter, UpdateKind::Snapshot(vec![set(2, 1)]));
    assert_eq!(dir.handle_update(NOW, snapshot(1), true), APPLIED);
    let mut seen = Vec::new();
    let mut counter = 1;
    while seen.last() != Some(&Verdict::Gap) {
        counter += 1;
        let delta = update(1, EPOCH, counter, UpdateKind::Delta(vec![set(2, 1)]));
        let verdict = dir.handle_update(NOW, delta, true);
        if seen.last() != Some(&verdict) {
            seen.push(verdict);
        }
    }
    assert_eq!(seen, [APPLIED, Verdict::Applied { refresh: true }, Verdict::Gap]);
    assert_eq!(dir.handle_update(NOW, snapshot(counter), true), APPLIED);
}

#[test]
fn stored_bytes_are_bounded() {
    let limits = DirectoryLimits { max_stored_bytes: 1_000, ..DirectoryLimits::default() };
    let mut dir = Directory::new(limits);
    let snapshot = |counter, n: u8| {
        update(1, EPOCH, counter, UpdateKind::Snapshot((2..2 + n).map(|f| set(f, 1)).collect()))
    };
    assert_eq!(dir.handle_update(NOW, snapshot(1, 4), true), APPLIED);
    // The old chain goes when the new snapshot comes, so it does not count.
    assert_eq!(dir.handle_update(NOW, snapshot(2, 4), true), APPLIED);
    let full = Verdict::Refused(Refusal::Full);
    assert_eq!(dir.handle_update(NOW, snapshot(3, 5), true), full);
    let delta = update(1, EPOCH, 3, UpdateKind::Delta(vec![set(2, 1)]));
    assert_eq!(dir.handle_update(NOW, delta, true), full);
}

#[test]
fn a_clock_that_is_set_changes_no_age() {
    let hours = |n: u64| n * 60 * MINUTE;
    for (before, now) in [
        (NOW.plus_ms(MINUTE), NOW.plus_ms(hours(30))),
        (NOW.plus_ms(MINUTE), Timestamp(NOW.0 - hours(30))),
    ] {
        let mut dir = directory();
        let snapshot = |node| update(node, EPOCH, 1, UpdateKind::Snapshot(vec![set(9, 1)]));
        for node in [1, 2] {
            assert_eq!(dir.handle_update(NOW, snapshot(node), true), APPLIED);
        }
        let down = NodeDown::sign(key(2), EPOCH, 1, &identity(HOME));
        assert!(dir.handle_node_down(NOW, down));
        dir.handle_clock_set(before, now);
        dir.handle_timeout(now.plus_ms(14 * MINUTE - 1));
        assert_eq!(dir.node_count(), 1);
        dir.handle_timeout(now.plus_ms(14 * MINUTE));
        assert_eq!(dir.node_count(), 0);
        dir.handle_timeout(now.plus_ms(hours(24) - MINUTE - 1));
        assert_eq!(dir.version(&key(2)), Some((EPOCH, 1)));
        dir.handle_timeout(now.plus_ms(hours(24) - MINUTE));
        assert_eq!(dir.version(&key(2)), None);
    }
}

#[test]
fn the_largest_node_gives_way_to_a_smaller_one() {
    let limits = DirectoryLimits { max_stored_bytes: 2_700, ..DirectoryLimits::default() };
    let mut dir = Directory::new(limits);
    let snapshot = |node, counter, lines: u8| {
        let sets = (100..100 + lines).map(|friend| set(friend, 1)).collect();
        update(node, EPOCH, counter, UpdateKind::Snapshot(sets))
    };
    assert_eq!(dir.handle_update(NOW, snapshot(1, 1, 3), true), APPLIED);
    assert_eq!(dir.handle_update(NOW, snapshot(2, 1, 9), true), APPLIED);
    let _ = dir.take_changes();
    assert_eq!(dir.handle_update(NOW, snapshot(3, 1, 3), true), APPLIED);
    assert_eq!(dir.table(&key(2)), None, "nine lines make room for three");
    let gone = dir.take_changes().into_iter().filter(|change| change.line.is_none());
    assert_eq!(gone.count(), 9);
    let full = Verdict::Refused(Refusal::Full);
    assert_eq!(dir.handle_update(NOW, snapshot(2, 2, 9), true), full, "and do not come back");
    assert_eq!(dir.handle_update(NOW, snapshot(4, 1, 1), true), APPLIED);
    let grows = update(1, EPOCH, 2, UpdateKind::Delta((110..118).map(|f| set(f, 1)).collect()));
    assert_eq!(dir.handle_update(NOW, grows, true), full);
    dir.check_invariants();
}

#[test]
fn fifteen_minutes_without_a_sign_of_life() {
    let mut dir = directory();
    let snapshot = update(1, EPOCH, 1, UpdateKind::Snapshot(vec![set(2, 1)]));
    assert_eq!(dir.handle_update(NOW, snapshot.clone(), true), APPLIED);
    let later = NOW.plus_ms(14 * MINUTE);
    let sign = update(1, EPOCH, 2, alive(&dir.table(&key(1)).unwrap()));
    assert_eq!(dir.handle_update(later, sign, true), APPLIED);
    let _ = dir.take_changes();
    dir.handle_timeout(later.plus_ms(15 * MINUTE - 1));
    assert_eq!((dir.node_count(), dir.take_changes()), (1, vec![]));
    let end = later.plus_ms(15 * MINUTE);
    assert_eq!(dir.next_timeout(), Some(end));
    dir.handle_timeout(end);
    assert_eq!(dir.node_count(), 0);
    assert_eq!(changed(&mut dir), [(key(2), None)]);
    // What it said before does not bring it back, for a day.
    let known = Verdict::NotNewer { newest: (EPOCH, 2) };
    assert_eq!(dir.handle_update(end, snapshot, false), known);
    let again = signed(UpdateBody {
        time: end,
        ..body(1, EPOCH, 3, UpdateKind::Snapshot(vec![set(2, 4)]))
    });
    assert_eq!(dir.handle_update(end, again, true), APPLIED);
    assert_eq!(changed(&mut dir), [(key(2), Some(4))]);
    dir.handle_timeout(end.plus_ms(15 * MINUTE));
    dir.handle_timeout(end.plus_ms(16 * MINUTE + 24 * 60 * MINUTE));
    assert_eq!((dir.version(&key(1)), dir.next_timeout()), (None, None));
}

#[test]
fn how_long_a_node_lives_without_a_sign_can_be_set() {
    let limits = DirectoryLimits { alive_for_ms: 2_000, ..DirectoryLimits::default() };
    let mut dir = Directory::new(limits);
    let snapshot = |counter| update(1, EPOCH, counter, UpdateKind::Snapshot(vec![]));
    assert_eq!(dir.handle_update(NOW, snapshot(1), true), APPLIED);
    assert_eq!(dir.handle_update(NOW.plus_ms(1_500), snapshot(2), true), APPLIED);
    for (at, nodes) in [(2_000, 1), (3_499, 1), (3_500, 0)] {
        assert!(dir.next_timeout().is_some_and(|next| next <= NOW.plus_ms(3_500)));
        dir.handle_timeout(NOW.plus_ms(at));
        assert_eq!(dir.node_count(), nodes, "after {at} ms");
    }
}

#[test]
fn a_home_server_speaks_for_updates_that_name_it_alone() {
    let mut dir = directory();
    let snapshot = |counter, home| {
        let body = body(1, EPOCH, counter, UpdateKind::Snapshot(vec![]));
        signed(UpdateBody { home_server: key(home), ..body })
    };
    assert_eq!(dir.handle_update(NOW, snapshot(5, HOME), false), APPLIED);
    let down = NodeDown::sign(key(1), EPOCH + 80_000, u64::MAX, &identity(HOME));
    assert!(dir.handle_node_down(NOW, down));
    let known = |newest| Verdict::NotNewer { newest };
    let far = known((EPOCH + 80_000, u64::MAX));
    assert_eq!(dir.handle_update(NOW, snapshot(6, HOME), false), far);
    assert_eq!(dir.handle_update(NOW, snapshot(5, HOME + 1), false), known((EPOCH, 5)));
    assert_eq!(dir.handle_update(NOW, snapshot(6, HOME + 1), false), APPLIED);
}

#[test]
fn old_updates_wait_for_a_fresh_one() {
    let mut dir = directory();
    let at = |counter, minutes_ago: u64, kind| {
        let time = Timestamp(NOW.0 - minutes_ago * MINUTE);
        signed(UpdateBody { time, ..body(1, EPOCH, counter, kind) })
    };
    let old = at(1, 61, UpdateKind::Snapshot(vec![set(2, 1)]));
    let refused = Verdict::Refused(Refusal::Time);
    assert_eq!(dir.handle_update(NOW, old.clone(), true), refused, "of the node itself");
    assert_eq!(dir.handle_update(NOW, old.clone(), false), APPLIED, "of a server");
    assert_eq!((dir.take_changes(), dir.table(&key(1))), (vec![], None));
    assert_eq!(dir.digest(None).count(), 0);
    assert_eq!(
        dir.handle_update(NOW, at(2, 5, UpdateKind::Delta(vec![set(3, 2)])), false),
        APPLIED
    );
    assert_eq!(changed(&mut dir), sorted([(key(2), Some(1)), (key(3), Some(2))]));
    assert_eq!(dir.stated_at(&key(1)), Some(Timestamp(NOW.0 - 5 * MINUTE)));
    let future = signed(UpdateBody {
        time: NOW.plus_ms(61 * MINUTE),
        ..body(1, EPOCH, 3, UpdateKind::Delta(vec![]))
    });
    assert_eq!(dir.handle_update(NOW, future, false), refused);

    let mut other = directory();
    assert_eq!(other.handle_update(NOW, old, false), APPLIED);
    other.handle_timeout(NOW.plus_ms(STAGED_FOR_MS));
    assert_eq!((other.node_count(), other.take_changes()), (0, vec![]));
}

#[test]
fn the_home_server_says_that_a_node_left() {
    let mut dir = directory();
    let snapshot = |counter| update(1, EPOCH, counter, UpdateKind::Snapshot(vec![set(2, 1)]));
    let down = |counter, server| NodeDown::sign(key(1), EPOCH, counter, &identity(server));
    assert!(!dir.handle_node_down(NOW, down(5, HOME)), "an unknown node");
    assert_eq!(dir.handle_update(NOW, snapshot(5), true), APPLIED);
    assert!(!dir.handle_node_down(NOW, down(4, HOME)), "older than the update");
    assert!(!dir.handle_node_down(NOW, down(5, 7)), "another server");
    let far = NodeDown::sign(key(1), EPOCH + 90_000, 1, &identity(HOME));
    assert!(!dir.handle_node_down(NOW, far), "an epoch that no node may use");
    let _ = dir.take_changes();
    assert!(dir.handle_node_down(NOW, down(6, HOME)));
    assert_eq!(changed(&mut dir), [(key(2), None)]);
    assert_eq!(dir.down(&key(1)), Some(&down(6, HOME)));
    let known = Verdict::NotNewer { newest: (EPOCH, 6) };
    assert_eq!(dir.handle_update(NOW, snapshot(6), true), known);
    assert_eq!(dir.handle_update(NOW, snapshot(7), true), APPLIED);
    assert_eq!(changed(&mut dir), [(key(2), Some(1))]);
}

#[test]
fn those_gone_are_bounded_too() {
    let mut dir = directory();
    for node in 1..8 {
        let snapshot = update(node, EPOCH, 1, UpdateKind::Snapshot(vec![]));
        let now = NOW.plus_ms(node.into());
        assert_eq!(dir.handle_update(now, snapshot, true), APPLIED);
        assert!(dir.handle_node_down(now, NodeDown::sign(key(node), EPOCH, 1, &identity(HOME))));
    }
    assert_eq!((dir.version(&key(4)), dir.version(&key(5))), (None, Some((EPOCH, 1))));
}

#[test]
fn what_another_lacks() {
    let mut dir = directory();
    for counter in 3..6 {
        let kind =
            if counter == 3 { UpdateKind::Snapshot(vec![]) } else { UpdateKind::Delta(vec![]) };
        assert_eq!(dir.handle_update(NOW, update(1, EPOCH, counter, kind), true), APPLIED);
    }
    let rows = [
        (None, Some(3)),
        (Some((EPOCH - 1, 9)), Some(3)),
        (Some((EPOCH, 0)), Some(3)),
        (Some((EPOCH, 2)), Some(3)),
        (Some((EPOCH, 3)), Some(4)),
        (Some((EPOCH, 4)), Some(5)),
        (Some((EPOCH, 5)), None),
        (Some((EPOCH + 1, 0)), None),
    ];
    for (after, counter) in rows {
        let next = dir.update_after(&key(1), after).map(|next| version(next.update()).1);
        assert_eq!(next, counter, "{after:?}");
    }
}
