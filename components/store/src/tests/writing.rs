//! The writer: order, grouping, bounds, failures, and lookups of what is under way.

use std::{
    collections::BTreeMap,
    sync::mpsc::{Receiver, Sender, channel},
    time::Duration,
};

use offset_crypto::{InvoiceId, PaymentId, SeededRng};
use offset_funder::{
    Change,
    state::{InvoiceRow, PaymentRow, SpentKey, State},
};

use offset_proto::{Credits, Currency, Timestamp};

use super::{generator::Generator, made, node, open};
use crate::{Error, QUEUED_BATCHES, Rejected, SqliteStore, Store, Unsettled, Writer};

const SOON: Duration = Duration::from_secs(60);

/// A store that waits for leave before each commit, and tells what it commits. When there is nobody
/// left to give leave, commits fail.
struct Gated {
    store: SqliteStore,
    leave: Receiver<()>,
    commits: Sender<usize>,
}

impl Store for Gated {
    fn load(&mut self) -> Result<State, Error> {
        self.store.load()
    }

    fn is_unsettled(&self) -> Unsettled {
        self.store.is_unsettled()
    }

    fn settle(&mut self) -> Result<(), Error> {
        self.store.settle()
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), Error> {
        self.commits.send(changes.len()).unwrap();
        match self.leave.recv_timeout(SOON) {
            Ok(()) => self.store.commit(changes),
            Err(_) => Err(Error::DiskFull("gate".into())),
        }
    }

    fn payment(&self, id: &PaymentId) -> Result<Option<PaymentRow>, Error> {
        self.store.payment(id)
    }

    fn invoice(&self, id: &InvoiceId) -> Result<Option<InvoiceRow>, Error> {
        self.store.invoice(id)
    }

    fn forget_history(&mut self, before: Timestamp) -> Result<bool, Error> {
        self.store.forget_history(before)
    }

    fn check_some(&mut self) -> Result<bool, Error> {
        self.store.check_some()
    }

    fn next_index_epoch(&mut self, at_least: u64) -> Result<u64, Error> {
        self.store.next_index_epoch(at_least)
    }
}

struct Gate {
    leave: Sender<()>,
    commits: Receiver<usize>,
}

fn gated(store: SqliteStore) -> (Gated, Gate) {
    let (leave, leave_in) = channel();
    let (commits_out, commits) = channel();
    (Gated { store, leave: leave_in, commits: commits_out }, Gate { leave, commits })
}

/// A row with this number, to be told from others.
fn marked(number: u8) -> Change {
    let key = SpentKey { app: node(), currency: Currency::fallback(), hour: number.into() };
    Change::Spent(key, Some(Credits(1)))
}

type Done = Receiver<Result<u8, Error>>;

fn spawn<S: Store + Send + 'static>(store: S, reader: crate::Reader) -> (Writer<u8>, Done) {
    let (done_out, done) = channel();
    let writer = Writer::spawn(store, reader, move |result| drop(done_out.send(result))).unwrap();
    (writer, done)
}

#[test]
fn batches_are_durable_in_order_when_reported() {
    let (_directory, path) = made();
    let store = open(&path);
    let reader = store.reader().unwrap();
    let (mut writer, done) = spawn(store, reader);
    for ticket in 0..50 {
        let mut batch = (ticket, vec![marked(ticket)]);
        while let Err(rejected) = writer.submit(batch.0, batch.1) {
            let Rejected::Full(back) = rejected else { panic!("stopped") };
            batch = back;
            std::thread::yield_now();
        }
    }
    for ticket in 0..50 {
        assert_eq!(done.recv_timeout(SOON).unwrap().unwrap(), ticket);
    }
    writer.close();
    assert_eq!(open(&path).load().unwrap().spent.len(), 50);
}

#[test]
fn waiting_batches_share_a_commit_and_are_bounded() {
    let (_directory, path) = made();
    let store = open(&path);
    let reader = store.reader().unwrap();
    let (store, gate) = gated(store);
    let (mut writer, done) = spawn(store, reader);
    writer.submit(0, vec![marked(0)]).unwrap();
    assert_eq!(gate.commits.recv_timeout(SOON).unwrap(), 1);
    for ticket in 1..=4 {
        writer.submit(ticket, vec![marked(ticket), marked(100 + ticket)]).unwrap();
    }
    assert_eq!(QUEUED_BATCHES, 4);
    let batch = vec![marked(5)];
    assert_eq!(writer.submit(5, batch.clone()), Err(Rejected::Full((5, batch))));
    assert_eq!(writer.next_index_epoch(0, |_| ()), Err(Rejected::Full(())));
    assert!(done.try_recv().is_err(), "nothing is durable yet");
    gate.leave.send(()).unwrap();
    assert_eq!(gate.commits.recv_timeout(SOON).unwrap(), 8, "four batches in one commit");
    gate.leave.send(()).unwrap();
    for ticket in 0..=4 {
        assert_eq!(done.recv_timeout(SOON).unwrap().unwrap(), ticket);
    }
    writer.close();
}

#[test]
fn epochs_come_in_their_turn() {
    let (_directory, path) = made();
    let store = open(&path);
    let reader = store.reader().unwrap();
    let (store, gate) = gated(store);
    let (mut writer, done) = spawn(store, reader);
    writer.submit(0, vec![marked(0)]).unwrap();
    gate.commits.recv_timeout(SOON).unwrap();
    let (epoch_out, epoch) = channel();
    writer.submit(1, vec![marked(1)]).unwrap();
    writer.next_index_epoch(70, move |epoch| epoch_out.send(epoch).unwrap()).unwrap();
    writer.submit(2, vec![marked(2)]).unwrap();
    gate.leave.send(()).unwrap();
    assert_eq!(gate.commits.recv_timeout(SOON).unwrap(), 1);
    assert!(epoch.try_recv().is_err());
    gate.leave.send(()).unwrap();
    assert_eq!(epoch.recv_timeout(SOON).unwrap(), 70);
    gate.leave.send(()).unwrap();
    let tickets: Vec<_> = (0..3).map(|_| done.recv_timeout(SOON).unwrap().unwrap()).collect();
    assert_eq!(tickets, [0, 1, 2]);
    writer.close();
}

/// Batches that share a failing commit are not durable, and nothing behind them is written.
#[test]
fn a_failing_commit_is_reported_once_for_all_that_waits() {
    let (_directory, path) = made();
    let store = open(&path);
    let reader = store.reader().unwrap();
    let (store, gate) = gated(store);
    let (mut writer, done) = spawn(store, reader);
    writer.submit(0, vec![marked(0)]).unwrap();
    gate.commits.recv_timeout(SOON).unwrap();
    writer.submit(1, vec![marked(1)]).unwrap();
    writer.submit(2, vec![marked(2)]).unwrap();
    let (epoch_out, epoch) = channel();
    writer.next_index_epoch(70, move |epoch| epoch_out.send(epoch).unwrap()).unwrap();
    writer.submit(3, vec![marked(3)]).unwrap();
    gate.leave.send(()).unwrap();
    assert_eq!(gate.commits.recv_timeout(SOON).unwrap(), 2);
    drop(gate.leave);
    assert_eq!(done.recv_timeout(SOON).unwrap().unwrap(), 0);
    assert!(matches!(done.recv_timeout(SOON).unwrap(), Err(Error::DiskFull(_))));
    assert!(done.recv_timeout(SOON).is_err(), "told once, and the thread has ended");
    assert!(epoch.recv_timeout(SOON).is_err(), "no epoch");
    assert!(gate.commits.recv_timeout(SOON).is_err(), "no other commit was tried");
    assert_eq!(writer.submit(4, Vec::new()), Err(Rejected::Stopped((4, Vec::new()))));
    writer.close();
    assert_eq!(open(&path).load().unwrap().spent.len(), 1);
}

/// A clean end leaves the whole database in its one file; after a failure the log stays as it is.
#[test]
fn closing_tidies_up_unless_something_failed() {
    let (_directory, path) = made();
    let mut log = path.clone().into_os_string();
    log.push("-wal");
    let log = std::path::PathBuf::from(log);
    let store = open(&path);
    let reader = store.reader().unwrap();
    let (mut writer, done) = spawn(store, reader);
    writer.submit(0, vec![marked(0)]).unwrap();
    done.recv_timeout(SOON).unwrap().unwrap();
    assert!(writer.payment(&PaymentId::from_bytes([0; 16])).unwrap().is_none());
    assert!(log.exists());
    writer.close();
    assert!(!log.exists());

    let mut store = open(&path);
    store.commit(&[marked(1)]).unwrap();
    let orphan = Change::Line(super::key(1), Currency::fallback(), Some(line()));
    store.commit(&[orphan]).unwrap_err();
    let before = (std::fs::read(&path).unwrap(), std::fs::read(&log).unwrap());
    drop(store);
    assert_eq!((std::fs::read(&path).unwrap(), std::fs::read(&log).unwrap()), before);
    assert_eq!(open(&path).load().unwrap().spent.len(), 2);
}

/// What ended is found from the moment it was submitted, before and after it is durable.
#[test]
fn what_ended_is_always_found() {
    let (_directory, path) = made();
    let store = open(&path);
    let reader = store.reader().unwrap();
    let (store, gate) = gated(store);
    let (mut writer, done) = spawn(store, reader);
    let mut generator = Generator(SeededRng::new(3));
    let mut ended = Vec::new();
    let (mut payments, mut invoices) = (0, 0);
    while payments == 0 || invoices == 0 {
        for change in generator.batch(&State::default()) {
            if let Change::Payment(id, row) = &change
                && row.is_ended()
            {
                payments += 1;
                ended.push((id.to_string(), change));
            } else if let Change::Invoice(id, row) = &change
                && row.is_final()
            {
                invoices += 1;
                ended.push((id.to_string(), change));
            }
        }
    }
    // The last word on each counts.
    let last: BTreeMap<_, _> = ended.iter().cloned().collect();
    let ended: Vec<_> = ended.into_iter().map(|(_, change)| change).collect();
    let check = |writer: &Writer<u8>| {
        for change in last.values() {
            if let Change::Payment(id, row) = change {
                assert_eq!(writer.payment(id).unwrap().as_ref(), Some(row));
            } else if let Change::Invoice(id, row) = change {
                assert_eq!(writer.invoice(id).unwrap().as_ref(), Some(row));
            }
        }
    };
    assert_eq!(writer.payment(&PaymentId::from_bytes([77; 16])).unwrap(), None);
    writer.submit(1, ended.clone()).unwrap();
    check(&writer);
    gate.leave.send(()).unwrap();
    done.recv_timeout(SOON).unwrap().unwrap();
    check(&writer);
    writer.submit(2, Vec::new()).unwrap();
    check(&writer);
    gate.leave.send(()).unwrap();
    writer.close();
}

/// A full disk: the batch did not happen, nothing is written after it, and everybody is told.
#[test]
fn the_first_failure_is_the_last_commit() {
    let (_directory, path) = made();
    let mut store = open(&path);
    store.commit(&[marked(0)]).unwrap();
    let pages: i64 =
        store.connection().pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    store.connection().pragma_update(None, "max_page_count", pages).unwrap();
    let reader = store.reader().unwrap();
    let (mut writer, done) = spawn(store, reader);
    let mut generator = Generator(SeededRng::new(1));
    let mut state = State::default();
    let mut big = vec![marked(1)];
    for _ in 0..2_000 {
        let changes = generator.batch(&state);
        for change in &changes {
            state.apply(node(), change).unwrap();
        }
        big.extend(changes);
    }
    for number in 0u32..20_000 {
        big.push(Change::Settled(offset_crypto::hash(&number.to_be_bytes())));
    }
    writer.submit(1, big).unwrap();
    let error = done.recv_timeout(SOON).unwrap().unwrap_err();
    assert!(matches!(error, Error::DiskFull(_)), "{error}");
    assert!(error.to_string().contains("no space is left"), "{error}");
    assert!(done.recv_timeout(SOON).is_err(), "the thread has ended");
    let stopped = Err(Rejected::Stopped((2, vec![marked(2)])));
    assert_eq!(writer.submit(2, vec![marked(2)]), stopped);
    assert_eq!(writer.next_index_epoch(0, |_| ()), Err(Rejected::Stopped(())));
    writer.close();
    let state = open(&path).load().unwrap();
    assert_eq!(state.spent.len(), 1, "as before the batch");
}

#[test]
fn a_store_that_failed_stays_stopped() {
    let (_directory, path) = made();
    let mut store = open(&path);
    // A row of a friend who is not there fits no transaction.
    let currency = Currency::fallback();
    let orphan = Change::Line(super::key(1), currency, Some(line()));
    let error = store.commit(&[marked(1), orphan]).unwrap_err();
    assert!(matches!(error, Error::Sqlite { .. }), "{error}");
    assert!(matches!(store.commit(&[marked(2)]), Err(Error::Stopped(_))));
    assert!(matches!(store.next_index_epoch(1), Err(Error::Stopped(_))));
    drop(store);
    assert!(open(&path).load().unwrap().spent.is_empty());
}

fn line() -> offset_funder::state::LineRow {
    offset_funder::state::LineRow {
        wanted: None,
        rate: offset_proto::Rate::default(),
        local_proposal: None,
        remote_proposal: None,
        numbers: None,
    }
}

/// Another program that keeps the database locked is waited for, then named as the reason.
#[test]
fn a_foreign_lock_is_reported() {
    let (_directory, path) = made();
    let mut store = open(&path);
    store.connection().busy_timeout(Duration::ZERO).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.commit(&[marked(1)]).unwrap_err();
    assert!(matches!(error, Error::Busy(_)), "{error}");
}
