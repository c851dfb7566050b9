//! Collected requests: looked up by line and id, kept for their time, and no longer.

use offset_crypto::{RequestId, SeededRng};
use offset_funder::{
    Change, Side,
    state::{KEPT_MS, KeptCollect},
};
use offset_proto::{Timestamp, friend::Endings};

use super::{generator::Generator, key, made, open};
use crate::{Store as _, Writer};

fn row(number: u8, at: u64) -> KeptCollect {
    let currency = "credit".parse().unwrap();
    let id = RequestId::from_bytes([number; 16]);
    let row = Generator(SeededRng::new(number.into())).kept(Some((key(1), currency, id)));
    KeptCollect { at: Timestamp(at), ..row }
}

fn kept(row: &KeptCollect) -> Change {
    Change::Collected(Box::new(row.clone()))
}

fn question(numbers: impl IntoIterator<Item = u8>) -> Endings {
    let request_ids = numbers.into_iter().map(|n| RequestId::from_bytes([n; 16])).collect();
    Endings { currency: "credit".parse().unwrap(), request_ids }
}

#[test]
fn what_is_asked_for_is_found_durable_or_not() {
    let (_directory, path) = made();
    let mut store = open(&path);
    let (first, second) = (row(1, 10), row(2, 20));
    store.commit(&[kept(&first)]).unwrap();
    let reader = store.reader().unwrap();
    let mut writer = Writer::spawn(store, reader, |_: Result<(), _>| {}).unwrap();
    writer.submit((), vec![kept(&second)]).unwrap();
    let ask = |friend, sender, question| writer.collected(&key(friend), sender, &question).unwrap();
    assert_eq!(ask(1, Side::Local, question([2, 3, 1])).len(), 2);
    assert_eq!(ask(1, Side::Local, question([1])), [first]);
    assert_eq!(ask(1, Side::Local, question([2])), [second]);
    assert_eq!(ask(1, Side::Remote, question([1, 2])), []);
    assert_eq!(ask(2, Side::Local, question([1, 2])), []);
    let other = Endings { currency: "other".parse().unwrap(), ..question([1, 2]) };
    assert_eq!(ask(1, Side::Local, other), []);
    writer.close().unwrap();
}

#[test]
fn rows_go_when_their_time_is_over_and_not_before() {
    let (_directory, path) = made();
    let mut store = open(&path);
    let old: Vec<_> = (0..5).map(|n| kept(&row(n, 1_000))).collect();
    store.commit(&old).unwrap();
    let left = |store: &crate::SqliteStore| {
        let reader = store.reader().unwrap();
        reader.collected(&key(1), Side::Local, &question(0..40)).unwrap().len()
    };
    for n in 5..16 {
        store.commit(&[kept(&row(n, 1_000 + KEPT_MS))]).unwrap();
    }
    assert_eq!(left(&store), 16, "exactly its time");
    for n in 16..31 {
        store.commit(&[kept(&row(n, 1_001 + KEPT_MS))]).unwrap();
    }
    assert_eq!(left(&store), 31, "now and then");
    store.commit(&[kept(&row(31, 1_001 + KEPT_MS))]).unwrap();
    assert_eq!(left(&store), 27, "only those whose time is not over");
}
