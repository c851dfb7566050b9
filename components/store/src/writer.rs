//! The thread that writes: batches in, in order; word of their durability out, in order.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use offset_crypto::{InvoiceId, Nonce, PaymentId, PublicKey};
use offset_funder::{
    Change, Past, PastQuestion, Side,
    state::{InvoicePhase, InvoiceRow, KeptCollect, PaymentRow},
};
use offset_proto::{app::InvoiceCursor, friend::Endings};

use offset_proto::{
    Timestamp,
    history::{HistoryPage, HistoryQuery},
};

use crate::{Error, Reader, Store, Unsettled};

/// How many batches may wait while one is being committed.
pub const QUEUED_BATCHES: usize = 4;

/// How long nothing waits to be written before old entries of the books are dropped.
const IDLE: Duration = Duration::from_millis(20);
/// After how many new entries of the books some old ones are dropped although more waits to be
/// written. One round drops more than these, so that books which are limited do not grow.
const DUE_AFTER_ENTRIES: usize = 100;
/// After how many batches in a row some old entries are dropped although more waits to be written.
const DUE_AFTER_BATCHES: usize = 256;
/// How long nothing waits to be written before what is durable is put where a start reads it.
const SETTLE: Duration = Duration::from_secs(1);
/// How often an idle thread looks whether there is something to drop.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Hands batches to a thread of their own that commits them. `T` is the caller's name for a batch.
#[derive(Debug)]
pub struct Writer<T> {
    queue: SyncSender<Job<T>>,
    thread: JoinHandle<()>,
    reader: Reader,
    /// Jobs accepted so far.
    accepted: u64,
    /// Jobs durable so far.
    durable: Arc<AtomicU64>,
    /// Entries of the books from before this moment are to be dropped.
    forget_before: Arc<AtomicU64>,
    /// What ended in batches that may not be durable yet, by job: neither state nor reader has it.
    ended: VecDeque<(u64, Vec<Change>)>,
}

/// Why a batch was not taken. It is given back.
#[derive(Debug, PartialEq, Eq)]
pub enum Rejected<B> {
    /// [`QUEUED_BATCHES`] wait already: try again when one is durable.
    Full(B),
    /// The thread has stopped after a failure, which it reported.
    Stopped(B),
}

enum Job<T> {
    Batch(T, Vec<Change>),
    IndexEpoch(u64, Box<dyn FnOnce(u64) + Send>),
}

impl<T> Job<T> {
    fn into_batch(self) -> (T, Vec<Change>) {
        match self {
            Self::Batch(ticket, changes) => (ticket, changes),
            Self::IndexEpoch(..) => unreachable!("only a batch was sent"),
        }
    }
}

impl<T: Send + 'static> Writer<T> {
    /// Starts the thread. It calls `done` for every batch, in order, once the batch is durable; or
    /// once with the error that stopped it, after which nothing is written and the node must stop.
    /// `done` must not block. `reader` looks into the same database as `store`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn spawn<S: Store + Send + 'static>(
        store: S,
        reader: Reader,
        done: impl FnMut(Result<T, Error>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel(QUEUED_BATCHES);
        let durable = Arc::new(AtomicU64::new(0));
        let forget_before = Arc::new(AtomicU64::new(0));
        let mut worker = Worker {
            store,
            done,
            durable: durable.clone(),
            forget_before: forget_before.clone(),
            forgotten: 0,
            entries: 0,
            batches: 0,
            checked: false,
            unchecked: 0,
        };
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || {
            if let Err(error) = worker.run(&jobs) {
                // Later callers must see that nobody takes their batches.
                drop(jobs);
                (worker.done)(Err(error));
            }
        })?;
        let ended = VecDeque::new();
        Ok(Self { queue, thread, reader, accepted: 0, durable, forget_before, ended })
    }

    /// Hands over a batch. It becomes durable as a whole or not at all, after all earlier ones.
    ///
    /// # Errors
    /// Gives the batch back, see [`Rejected`].
    pub fn submit(
        &mut self,
        ticket: T,
        changes: Vec<Change>,
    ) -> Result<(), Rejected<(T, Vec<Change>)>> {
        let ended: Vec<_> = changes.iter().filter(|change| is_end(change)).cloned().collect();
        match self.queue.try_send(Job::Batch(ticket, changes)) {
            Ok(()) => {
                self.accepted = self.accepted.saturating_add(1);
                self.forget_durable();
                if !ended.is_empty() {
                    self.ended.push_back((self.accepted, ended));
                }
                Ok(())
            }
            Err(TrySendError::Full(job)) => Err(Rejected::Full(job.into_batch())),
            Err(TrySendError::Disconnected(job)) => Err(Rejected::Stopped(job.into_batch())),
        }
    }

    /// Asks for a fresh epoch for index servers (see [`Store::next_index_epoch`]), after the batches
    /// before it. `done` is called on the thread and must not block.
    ///
    /// # Errors
    /// See [`Rejected`].
    pub fn next_index_epoch(
        &mut self,
        at_least: u64,
        done: impl FnOnce(u64) + Send + 'static,
    ) -> Result<(), Rejected<()>> {
        match self.queue.try_send(Job::IndexEpoch(at_least, Box::new(done))) {
            Ok(()) => {
                self.accepted = self.accepted.saturating_add(1);
                Ok(())
            }
            Err(TrySendError::Full(_)) => Err(Rejected::Full(())),
            Err(TrySendError::Disconnected(_)) => Err(Rejected::Stopped(())),
        }
    }

    /// Lets the thread drop entries of the books from before this moment, a few at a time: whenever
    /// nothing waits to be written, and now and then while there always is something.
    pub fn forget_history(&self, before: Timestamp) {
        self.forget_before.store(before.0, Ordering::Relaxed);
    }

    /// A page of the books, see [`Reader::history`].
    ///
    /// # Errors
    /// What cannot be read, or is not as it was written.
    pub fn history(
        &self,
        query: &HistoryQuery,
        friend: Option<&PublicKey>,
    ) -> Result<HistoryPage, Error> {
        self.reader.history(query, friend)
    }

    /// A payment of our own that was submitted as ended, durable or not yet. (One that has not ended
    /// is in the state, which is to be asked first.)
    ///
    /// # Errors
    /// What cannot be read, or is not as it was written.
    pub fn payment(&self, id: &PaymentId) -> Result<Option<PaymentRow>, Error> {
        for change in self.recent() {
            if let Change::Payment(found, row) = change
                && found == id
            {
                return Ok(Some(row.clone()));
            }
        }
        self.reader.payment(id)
    }

    /// A registered invoice of our own that was submitted as ended, durable or not yet.
    ///
    /// # Errors
    /// What cannot be read, or is not as it was written.
    pub fn invoice(&self, id: &InvoiceId) -> Result<Option<InvoiceRow>, Error> {
        for change in self.recent() {
            if let Change::Invoice(found, row) = change
                && found == id
            {
                return Ok(Some(row.clone()));
            }
        }
        self.reader.invoice(id)
    }

    /// A registered invoice of our own with this nonce that was submitted as ended, durable or not
    /// yet.
    ///
    /// # Errors
    /// What cannot be read, or is not as it was written.
    pub fn invoice_by_nonce(&self, nonce: &Nonce) -> Result<Option<InvoiceRow>, Error> {
        for change in self.recent() {
            if let Change::Invoice(_, row) = change
                && row.invoice.nonce == *nonce
            {
                return Ok(Some(row.clone()));
            }
        }
        self.reader.invoice_by_nonce(nonce)
    }

    /// Those of these requests on a friend's line that were collected, as submitted, durable or not
    /// yet.
    ///
    /// # Errors
    /// What cannot be read, or is not as it was written.
    pub fn collected(
        &self,
        friend: &PublicKey,
        sender: Side,
        question: &Endings,
    ) -> Result<Vec<KeptCollect>, Error> {
        let mut found = self.reader.collected(friend, sender, question)?;
        let wanted = |row: &KeptCollect| {
            let id = &row.collected.request_id;
            row.friend == *friend
                && row.sender == sender
                && row.collected.currency == question.currency
                && question.request_ids.contains(id)
        };
        for change in self.recent() {
            if let Change::Collected(row) = change
                && wanted(row)
                && found.iter().all(|it| it.collected.request_id != row.collected.request_id)
            {
                found.push(row.as_ref().clone());
            }
        }
        Ok(found)
    }

    /// What became of what these questions name. The funder knows itself what is not durable yet.
    ///
    /// # Errors
    /// What cannot be read, or is not as it was written.
    pub fn past(&self, questions: Vec<PastQuestion>) -> Result<Vec<(PastQuestion, Past)>, Error> {
        self.reader.past(questions)
    }

    /// See [`Reader::invoices`]: as they are in the database, which is what applications were told.
    ///
    /// # Errors
    /// What cannot be read, or is not as it was written.
    pub fn invoices(
        &self,
        phase: Option<InvoicePhase>,
        after: Option<InvoiceCursor>,
        most: usize,
    ) -> Result<Vec<InvoiceRow>, Error> {
        self.reader.invoices(phase, after, most)
    }

    /// Waits until everything submitted is durable, or the thread has failed, and `done` was told;
    /// then closes the database.
    pub fn close(self) {
        // First, as the last connection to be closed is the one that tidies up.
        drop(self.reader);
        drop(self.queue);
        // A panic of the thread has ended it, which is all that is waited for.
        drop(self.thread.join());
    }

    /// What ended and may not be in the database yet, newest first.
    fn recent(&self) -> impl Iterator<Item = &Change> {
        self.ended.iter().rev().flat_map(|(_, changes)| changes.iter().rev())
    }

    fn forget_durable(&mut self) {
        let durable = self.durable.load(Ordering::Acquire);
        while self.ended.front().is_some_and(|(number, _)| *number <= durable) {
            self.ended.pop_front();
        }
    }
}

struct Worker<S, F> {
    store: S,
    done: F,
    durable: Arc<AtomicU64>,
    forget_before: Arc<AtomicU64>,
    /// Everything from before this moment was dropped.
    forgotten: u64,
    /// How many entries of the books were written since some were dropped, and in how many batches.
    entries: usize,
    batches: usize,
    /// Whether all that is over was checked, and how many batches were written since some of it was.
    checked: bool,
    unchecked: usize,
}

impl<S: Store, F> Worker<S, F> {
    /// The next job; until it comes, old entries of the books are dropped and what is over is checked.
    fn next<T>(&mut self, jobs: &Receiver<Job<T>>) -> Result<Option<Job<T>>, Error> {
        loop {
            let before = self.forget_before.load(Ordering::Relaxed);
            let some = self.forgotten < before;
            let unsettled = self.store.is_unsettled() != Unsettled::Nothing;
            let wait = if some || !self.checked {
                IDLE
            } else if unsettled {
                SETTLE
            } else {
                LOOK_AGAIN
            };
            match jobs.recv_timeout(wait) {
                Ok(job) => return Ok(Some(job)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) if some => self.forget_some(before)?,
                Err(RecvTimeoutError::Timeout) if !self.checked => self.check_some()?,
                Err(RecvTimeoutError::Timeout) if unsettled => self.store.settle()?,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Drops a few of the entries from before this moment.
    fn forget_some(&mut self, before: u64) -> Result<(), Error> {
        (self.entries, self.batches) = (0, 0);
        if !self.store.forget_history(Timestamp(before))? {
            self.forgotten = before;
        }
        Ok(())
    }

    /// Checks some rows of what is over.
    fn check_some(&mut self) -> Result<(), Error> {
        self.unchecked = 0;
        self.checked = !self.store.check_some()?;
        Ok(())
    }

    /// On a node that is never idle: checks some rows now and then all the same.
    fn check_if_due(&mut self) -> Result<(), Error> {
        let due = !self.checked && DUE_AFTER_BATCHES <= self.unchecked;
        if due { self.check_some() } else { Ok(()) }
    }

    /// On a node that is never idle: drops some of what is too old once enough was written.
    fn forget_if_due(&mut self) -> Result<(), Error> {
        let before = self.forget_before.load(Ordering::Relaxed);
        let due = DUE_AFTER_ENTRIES <= self.entries || DUE_AFTER_BATCHES <= self.batches;
        if due && self.forgotten < before { self.forget_some(before) } else { Ok(()) }
    }

    /// Until the queue is closed and empty, or something fails.
    fn run<T>(&mut self, jobs: &Receiver<Job<T>>) -> Result<(), Error>
    where
        F: FnMut(Result<T, Error>),
    {
        let mut next = self.next(jobs)?;
        while let Some(job) = next.take() {
            match job {
                Job::IndexEpoch(at_least, done) => {
                    let epoch = self.store.next_index_epoch(at_least)?;
                    self.durable.fetch_add(1, Ordering::Release);
                    done(epoch);
                }
                Job::Batch(ticket, mut changes) => {
                    let mut tickets = vec![ticket];
                    // All that waits shares one transaction and one sync.
                    while tickets.len() <= QUEUED_BATCHES {
                        match jobs.try_recv() {
                            Ok(Job::Batch(ticket, more)) => {
                                tickets.push(ticket);
                                changes.extend(more);
                            }
                            Ok(epoch @ Job::IndexEpoch(..)) => {
                                next = Some(epoch);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.store.commit(&changes)?;
                    let entries =
                        changes.iter().filter(|change| matches!(change, Change::Entry(_)));
                    self.entries = self.entries.saturating_add(entries.count());
                    self.batches = self.batches.saturating_add(tickets.len());
                    self.unchecked = self.unchecked.saturating_add(tickets.len());
                    for ticket in tickets {
                        self.durable.fetch_add(1, Ordering::Release);
                        (self.done)(Ok(ticket));
                    }
                    if self.store.is_unsettled() == Unsettled::Much {
                        self.store.settle()?;
                    }
                    self.forget_if_due()?;
                    self.check_if_due()?;
                }
            }
            if next.is_none() {
                next = self.next(jobs)?;
            }
        }
        self.store.settle()
    }
}

/// Whether a change takes something out of the state that the database keeps.
fn is_end(change: &Change) -> bool {
    match change {
        Change::Payment(_, row) => row.is_ended(),
        Change::Invoice(_, row) => row.is_final(),
        Change::Collected(_) => true,
        Change::Settings(_)
        | Change::Relay(..)
        | Change::IndexServer(..)
        | Change::NewFriend(..)
        | Change::RemovedFriend(_)
        | Change::Archived(..)
        | Change::Friend(..)
        | Change::Channel(..)
        | Change::Line(..)
        | Change::Pending(..)
        | Change::Queued(..)
        | Change::Set(..)
        | Change::Journal(..)
        | Change::ForgetJournal(_)
        | Change::Spent(..)
        | Change::Settled(_)
        | Change::Received(..)
        | Change::BeforeSent(..)
        | Change::FriendRecovery(..)
        | Change::Recovery(_)
        | Change::Alone(..)
        | Change::Entry(_) => false,
    }
}
