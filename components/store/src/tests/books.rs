//! The books: looked through page by page, and shortened.

use std::time::{Duration, Instant};

use offset_crypto::RequestId;
use offset_funder::{
    Change,
    credit::Numbers,
    state::{Channel, FriendInfo, LineRow},
};
use offset_proto::{
    Balance, Credits, Currency, Name, Rate, Timestamp,
    history::{HistoryEntry, HistoryEvent, HistoryQuery, MAX_PAGE},
};

use super::{key, made, node, open};
use crate::{Rejected, SqliteStore, Store as _, Writer};

const COUNT: u64 = 2_500;

fn name(friend: u8) -> Name {
    format!("friend{friend}").parse().unwrap()
}

fn currency(text: &str) -> Currency {
    text.parse().unwrap()
}

/// Two friends with two currencies each, whose entries take turns; entry `n` is of time `n`.
fn filled(store: &mut SqliteStore) -> Vec<HistoryEntry> {
    let mut changes = Vec::new();
    for friend in [1, 2] {
        let (name, relays) = (name(friend), Vec::new());
        let info = FriendInfo {
            name,
            enabled: true,
            removing: false,
            relays,
            previous_relays: Vec::new(),
        };
        let channel = Channel::new(&offset_funder::credit::Ends::new(node(), key(friend)));
        changes.push(Change::NewFriend(key(friend), info, channel));
    }
    let lines = [(1, "EUR"), (1, "USD"), (2, "EUR"), (2, "USD")];
    let mut balances = [0i128; 4];
    let mut entries = Vec::new();
    for sequence in 1..=COUNT {
        let at = usize::try_from(sequence % 4).unwrap();
        let (friend, code) = lines[at];
        let delta = i128::from(sequence % 7) - 3;
        balances[at] += delta;
        let forward_id = RequestId::from_bytes([1; 16]);
        let fee = Credits(u128::from(sequence % 50 == 0));
        entries.push(HistoryEntry {
            sequence,
            time: Timestamp(sequence),
            friend: key(friend),
            friend_name: if sequence < 100 { "old".parse().unwrap() } else { name(friend) },
            currency: currency(code),
            delta: Balance::new(delta).unwrap(),
            balance: Balance::new(balances[at]).unwrap(),
            event: HistoryEvent::ForwardedIn { to: None, forward_id, fee },
        });
    }
    for ((friend, code), balance) in lines.into_iter().zip(balances) {
        let balance = Balance::new(balance).unwrap();
        let row = LineRow {
            wanted: None,
            rate: Rate::default(),
            local_proposal: None,
            remote_proposal: None,
            numbers: Some(Numbers { balance, ..Numbers::default() }),
        };
        changes.push(Change::Line(key(friend), currency(code), Some(row)));
    }
    changes.extend(entries.iter().map(|entry| Change::Entry(Box::new(entry.clone()))));
    store.commit(&changes).unwrap();
    entries
}

/// All pages of a question.
fn all(store: &SqliteStore, mut query: HistoryQuery, friend: Option<u8>) -> Vec<u64> {
    let reader = store.reader().unwrap();
    let mut found = Vec::new();
    loop {
        let page = reader.history(&query, friend.map(key).as_ref()).unwrap();
        assert!(page.entries.len() <= MAX_PAGE);
        found.extend(page.entries.into_iter().map(|entry| entry.sequence));
        if page.next == 0 {
            return found;
        }
        query.after = page.next;
    }
}

#[test]
fn pages_give_every_entry_once_in_order() {
    let (_directory, path) = made();
    let mut store = open(&path);
    let entries = filled(&mut store);
    let of = |wanted: &dyn Fn(&HistoryEntry) -> bool| -> Vec<u64> {
        entries.iter().filter(|entry| wanted(entry)).map(|entry| entry.sequence).collect()
    };
    let query = HistoryQuery::default;
    assert_eq!(all(&store, query(), None), of(&|_| true));
    let newest = all(&store, HistoryQuery { newest_first: true, ..query() }, None);
    assert!(newest.into_iter().rev().eq(1..=COUNT));
    let (since, until) = (Timestamp(37), Timestamp(2_222));
    for newest_first in [false, true] {
        let ordered = |mut found: Vec<u64>| {
            if newest_first {
                found.reverse();
            }
            found
        };
        let query = || HistoryQuery { newest_first, ..query() };
        let between = all(&store, HistoryQuery { since, until, ..query() }, None);
        assert_eq!(ordered(between), of(&|e| since <= e.time && e.time < until));
        let friend = || Some(name(1));
        let with_friend = all(&store, HistoryQuery { friend: friend(), ..query() }, Some(1));
        assert_eq!(ordered(with_friend), of(&|e| e.friend == key(1)), "whatever its name was");
        let old = Some("old".parse().unwrap());
        let named = all(&store, HistoryQuery { friend: old, ..query() }, None);
        assert_eq!(ordered(named), of(&|e| e.sequence < 100), "by the name of then");
        let in_usd = HistoryQuery { currency: Some(currency("USD")), ..query() };
        assert_eq!(ordered(all(&store, in_usd, None)), of(&|e| e.currency == currency("USD")));
        let fees = HistoryQuery { only_fees: true, ..query() };
        assert_eq!(ordered(all(&store, fees, None)), of(&|e| e.sequence % 50 == 0));
    }
    let nothing = HistoryQuery { after: u64::MAX, ..query() };
    assert!(all(&store, nothing, None).is_empty());
}

#[test]
fn what_is_forgotten_is_carried_forward() {
    let (_directory, path) = made();
    let mut store = open(&path);
    let entries = filled(&mut store);
    let mut rounds = 0;
    while store.forget_history(Timestamp(2_001)).unwrap() {
        rounds += 1;
        store.check_books().unwrap();
    }
    assert_eq!(rounds, 10, "a few at a time");
    assert!(!store.forget_history(Timestamp(2_001)).unwrap());
    store.check_books().unwrap();
    let left = all(&store, HistoryQuery::default(), None);
    let expected: Vec<u64> = (1_997..=COUNT).collect();
    assert_eq!(left, expected, "one entry for each line stays");
    let page = store.reader().unwrap().history(&HistoryQuery::default(), None).unwrap();
    for (entry, was) in page.entries[..4].iter().zip(&entries[1_996..]) {
        assert_eq!(entry.event, HistoryEvent::CarriedForward);
        assert_eq!((entry.delta, entry.balance), (was.balance, was.balance));
    }
    // Everything, and again: the numbers go on after it.
    while store.forget_history(Timestamp(u64::MAX >> 1)).unwrap() {}
    assert_eq!(
        all(&store, HistoryQuery::default(), None),
        [COUNT - 3, COUNT - 2, COUNT - 1, COUNT]
    );
    drop(store);
    let mut store = open(&path);
    assert_eq!(store.load().unwrap().last_entry, COUNT);
    store.check_books().unwrap();
}

/// The thread drops what is too old by itself when nothing waits to be written, and batches go on.
#[test]
fn the_thread_forgets_when_it_is_idle() {
    let (_directory, path) = made();
    let mut store = open(&path);
    filled(&mut store);
    let reader = store.reader().unwrap();
    let (done_out, done) = std::sync::mpsc::channel();
    let mut writer =
        Writer::spawn(store, reader, move |result| drop(done_out.send(result))).unwrap();
    writer.forget_history(Timestamp(COUNT + 1));
    // The thread may have begun to wait before that was said.
    writer.submit((), vec![Change::Settings(Default::default())]).unwrap();
    done.recv_timeout(Duration::from_secs(60)).unwrap().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let page = writer.history(&HistoryQuery::default(), None).unwrap();
        if page.entries.len() == 4 && page.next == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "not forgotten: {}", page.entries.len());
        std::thread::sleep(Duration::from_millis(5));
    }
    writer.close();
    open(&path).check_books().unwrap();
}

/// A node on which something always waits to be written: what is too old goes nevertheless, faster
/// than new entries come.
#[test]
fn a_thread_that_is_never_idle_forgets_too() {
    let (_directory, path) = made();
    let mut store = open(&path);
    let old = filled(&mut store);
    let reader = store.reader().unwrap();
    let (done_out, done) = std::sync::mpsc::channel();
    let mut writer =
        Writer::spawn(store, reader, move |result| drop(done_out.send(result))).unwrap();
    writer.forget_history(Timestamp(COUNT + 1));
    // As many wait as may, so that the thread is never without work.
    for (sequence, last) in (COUNT + 1..=2 * COUNT).zip(old[old.len() - 4..].iter().cycle()) {
        let (time, delta) = (Timestamp(sequence + 1), Balance::ZERO);
        let entry = HistoryEntry { sequence, time, delta, ..last.clone() };
        let mut changes = vec![Change::Entry(Box::new(entry))];
        loop {
            match writer.submit((), changes) {
                Ok(()) => break,
                Err(Rejected::Full(((), again))) => changes = again,
                Err(Rejected::Stopped(_)) => panic!("the thread stopped"),
            }
            done.recv_timeout(Duration::from_secs(60)).unwrap().unwrap();
        }
    }
    let page = writer.history(&HistoryQuery::default(), None).unwrap();
    let oldest = page.entries[0].sequence;
    writer.close();
    assert!(COUNT - 4 < oldest, "{oldest}: all that was too old is gone but the last of each line");
    open(&path).check_books().unwrap();
}
