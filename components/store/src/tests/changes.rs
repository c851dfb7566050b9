//! The store holds what the state holds.

use std::collections::{BTreeMap, BTreeSet};

use offset_crypto::SeededRng;
use offset_funder::{Change, Side, state::State};
use proptest::prelude::*;

use super::{generator::Generator, made, node, open, rows_of};
use crate::{Store as _, column::Values, rows, shared::last_of_each};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Random changes, applied to a state and committed, give equal rows, however often the
    /// database is opened in between; what has ended is still found.
    #[test]
    fn store_equals_state(seed: u64, sizes in prop::collection::vec((1usize..12, any::<bool>()), 1..12)) {
        let (_directory, path) = made();
        let mut store = open(&path);
        let mut state = State::default();
        let mut generator = Generator(SeededRng::new(seed));
        let (mut payments, mut invoices) = (BTreeMap::new(), BTreeMap::new());
        let mut settled = BTreeSet::new();
        for (size, reopen) in sizes {
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
            if reopen {
                drop(store);
                store = open(&path);
            }
            let loaded = store.load().unwrap();
            prop_assert_eq!(rows_of(&loaded), rows_of(&state));
            prop_assert_eq!(roots(&loaded), roots(&state));
            store.check_books().unwrap();
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
            let all = batch.len();
            let left = last_of_each(batch);
            prop_assert!(left.len() <= all);
            store.commit(&left).unwrap();
            let loaded = store.load().unwrap();
            prop_assert_eq!(rows_of(&loaded), rows_of(&state));
            prop_assert_eq!(roots(&loaded), roots(&state));
        }
    }
}

#[test]
fn of_a_row_only_the_last_change_is_written() {
    let change = |op| Change::Queued(super::key(1), 5, op);
    let recovery = Change::Recovery(None);
    let twice = vec![change(None), recovery.clone(), change(None), recovery.clone()];
    assert_eq!(last_of_each(twice), [recovery.clone(), change(None), recovery.clone()]);
    let gone = vec![change(None), Change::RemovedFriend(super::key(1)), change(None)];
    assert_eq!(last_of_each(gone.clone()), gone);
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
