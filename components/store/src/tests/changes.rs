//! The store holds what the state holds.

use std::collections::{BTreeMap, BTreeSet};

use offset_crypto::SeededRng;
use offset_funder::{
    Change, Side,
    state::{Friend, SpentKey, State},
};
use offset_proto::{Credits, Currency};
use proptest::prelude::*;

use super::{generator::Generator, made, node, open, rows_of};
use crate::{Store as _, Unsettled, column::Values, rows};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Random changes, applied to a state and committed, give equal rows, however often the
    /// database is opened in between and whatever waits to be written into its tables; what has ended
    /// is still found.
    #[test]
    fn store_equals_state(seed: u64, sizes in prop::collection::vec((1usize..12, 0..4), 1..16)) {
        let (_directory, path) = made();
        let mut store = open(&path);
        let mut state = State::default();
        let mut generator = Generator(SeededRng::new(seed));
        let (mut payments, mut invoices) = (BTreeMap::new(), BTreeMap::new());
        let mut settled = BTreeSet::new();
        for (size, then) in sizes {
            let mut batch = Vec::new();
            for _ in 0..size {
                let changes = generator.batch(&state);
                for change in &changes {
                    state.apply(node(), change).unwrap();
                }
                batch.extend(changes);
            }
            store.commit(&batch).unwrap();
            for change in batch {
                if let Change::Payment(id, row) = change {
                    payments.insert(id, row);
                } else if let Change::Invoice(id, row) = change {
                    invoices.insert(id, row);
                } else if let Change::Settled(id) = change {
                    settled.insert(id);
                }
            }
            match then {
                0 => {
                    drop(store);
                    store = open(&path);
                }
                1 => store.settle().unwrap(),
                2 => {
                    let loaded = store.load().unwrap();
                    prop_assert_eq!(rows_of(&loaded), rows_of(&state));
                    prop_assert_eq!(roots(&loaded), roots(&state));
                    store.check_books().unwrap();
                }
                _ => {}
            }
            // What ended and began again is in both, and the state's is the one that counts.
            for (id, row) in payments.iter().filter(|(_, row)| row.is_ended()) {
                prop_assert_eq!(store.payment(id).unwrap(), Some(row.clone()));
            }
            for (id, row) in invoices.iter().filter(|(_, row)| row.is_final()) {
                prop_assert_eq!(store.invoice(id).unwrap(), Some(row.clone()));
            }
            for id in &settled {
                let db = (store.connection(), path.as_path());
                let key = Values::default().put(id);
                let found = rows::settled::TABLE.find(db, key, rows::settled::read).unwrap();
                prop_assert_eq!(found, Some(*id));
            }
        }
        drop(store);
        let loaded = open(&path).load().unwrap();
        prop_assert_eq!(rows_of(&loaded), rows_of(&state));
        prop_assert_eq!(roots(&loaded), roots(&state));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Batches that share a transaction give what they give one after the other.
    #[test]
    fn batches_may_share_a_transaction(seed: u64, sizes in prop::collection::vec(1usize..30, 1..6)) {
        let (_directory, path) = made();
        let mut store = open(&path);
        let mut state = State::default();
        let mut generator = Generator(SeededRng::new(seed));
        for size in sizes {
            let mut batch = Vec::new();
            for _ in 0..size {
                let changes = generator.batch(&state);
                for change in &changes {
                    state.apply(node(), change).unwrap();
                }
                batch.extend(changes);
            }
            store.commit(&batch).unwrap();
            let loaded = store.load().unwrap();
            prop_assert_eq!(rows_of(&loaded), rows_of(&state));
            prop_assert_eq!(roots(&loaded), roots(&state));
        }
    }
}

/// A request that comes and goes never reaches its table, and what was written there is taken back.
#[test]
fn what_comes_and_goes_does_not_reach_its_table() {
    let (_directory, path) = made();
    let mut store = open(&path);
    let key = SpentKey { app: node(), currency: Currency::fallback(), hour: 7 };
    let spent = |amount: Option<u128>| Change::Spent(key.clone(), amount.map(Credits));
    let count = |store: &crate::SqliteStore, table: &str| -> u64 {
        let sql = format!("SELECT count(*) FROM {table}");
        store.connection().query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap().cast_unsigned()
    };
    store.commit(&[spent(Some(1))]).unwrap();
    store.commit(&[spent(Some(2)), spent(Some(3))]).unwrap();
    assert_eq!((count(&store, "spent"), count(&store, "batches")), (0, 2));
    assert_eq!(store.is_unsettled(), Unsettled::Some);
    store.commit(&[spent(None)]).unwrap();
    store.settle().unwrap();
    assert_eq!((count(&store, "spent"), count(&store, "batches")), (0, 0));
    assert_eq!(store.is_unsettled(), Unsettled::Nothing);
    store.commit(&[spent(Some(4))]).unwrap();
    store.settle().unwrap();
    assert_eq!(count(&store, "spent"), 1);
    store.commit(&[spent(None)]).unwrap();
    drop(store);
    let mut store = open(&path);
    assert_eq!((count(&store, "spent"), count(&store, "batches")), (0, 0));
    assert!(store.load().unwrap().spent.is_empty());
}

/// What several batches say of a row is taken up in the order in which they came, by a start too.
#[test]
fn of_what_waits_in_several_batches_the_last_word_counts() {
    let (_directory, path) = made();
    let mut store = open(&path);
    let key = |hour| SpentKey { app: node(), currency: Currency::fallback(), hour };
    let spent = |hour, amount: Option<u128>| Change::Spent(key(hour), amount.map(Credits));
    for changes in [
        [spent(1, Some(1)), spent(2, Some(1))],
        [spent(1, None), spent(3, Some(1))],
        [spent(2, Some(2)), spent(3, Some(2))],
        [spent(3, None), spent(4, Some(2))],
    ] {
        store.commit(&changes).unwrap();
    }
    drop(store);
    let loaded = open(&path).load().unwrap();
    let expected = [(key(2), Credits(2)), (key(4), Credits(2))];
    assert_eq!(loaded.spent, expected.into_iter().collect());
}

/// A batch that takes along what it does not name finds everything before it in the tables.
#[test]
fn a_friend_that_goes_takes_along_what_waits() {
    let (_directory, path) = made();
    let mut store = open(&path);
    let mut generator = Generator(SeededRng::new(5));
    let mut state = State::default();
    let owes_nothing = |friend: &Friend| {
        let mut credits = friend.lines.values().filter_map(|line| line.credit.as_ref());
        credits.all(|credit| credit.numbers().balance.get() == 0)
    };
    let fits = |friend: &Friend| !friend.queue.is_empty() && owes_nothing(friend);
    while !state.friends.values().any(fits) {
        let batch = generator.batch(&state);
        batch.iter().for_each(|change| state.apply(node(), change).unwrap());
        store.commit(&batch).unwrap();
    }
    let friend = state.friends.iter().find(|(_, friend)| fits(friend)).unwrap();
    let (key, info, channel) = (*friend.0, friend.1.info.clone(), friend.1.channel.clone());
    let batch = [Change::RemovedFriend(key), Change::NewFriend(key, info, channel)];
    batch.iter().for_each(|change| state.apply(node(), change).unwrap());
    store.commit(&batch).unwrap();
    assert!(state.friends[&key].queue.is_empty());
    drop(store);
    assert_eq!(rows_of(&open(&path).load().unwrap()), rows_of(&state));
}

/// The pending roots, which are signed and so must survive.
fn roots(state: &State) -> Vec<offset_crypto::HashResult> {
    let lines = state.friends.values().flat_map(|friend| friend.lines.values());
    lines.filter_map(|line| Some(line.credit.as_ref()?.pending_root())).collect()
}

/// Names are unique in a state, not at every moment within a batch.
#[test]
fn friends_swap_names_in_one_batch() {
    let (_directory, path) = made();
    let mut store = open(&path);
    let mut generator = Generator(SeededRng::new(5));
    let mut state = State::default();
    while state.friends.len() < 2 {
        let batch = generator.batch(&state);
        batch.iter().for_each(|change| state.apply(node(), change).unwrap());
        store.commit(&batch).unwrap();
    }
    let mut friends = state.friends.iter().map(|(key, friend)| (*key, friend.info.clone()));
    let ((a, mut a_info), (b, mut b_info)) = (friends.next().unwrap(), friends.next().unwrap());
    std::mem::swap(&mut a_info.name, &mut b_info.name);
    let batch = [Change::Friend(a, a_info), Change::Friend(b, b_info)];
    batch.iter().for_each(|change| state.apply(node(), change).unwrap());
    store.commit(&batch).unwrap();
    drop(store);
    assert_eq!(rows_of(&open(&path).load().unwrap()), rows_of(&state));
}

/// The generator reaches every table, so that the property means something.
#[test]
fn every_table_is_reached() {
    let mut state = State::default();
    let mut generator = Generator(SeededRng::new(1));
    let mut reached = [false; 4];
    for _ in 0..3_000 {
        for change in generator.batch(&state) {
            state.apply(node(), &change).unwrap();
        }
        for friend in state.friends.values() {
            reached[0] |= !friend.queue.is_empty();
            for credit in friend.lines.values().filter_map(|line| line.credit.as_ref()) {
                reached[1] |= Side::BOTH.iter().all(|side| !credit.pending(*side).is_empty());
            }
        }
        reached[2] |= !state.sets.is_empty() && !state.journal.is_empty();
        reached[3] |= !state.payments.is_empty() && !state.invoices.is_empty();
    }
    assert_eq!(reached, [true; 4]);
}
