//! The state machine of a node: inputs in, batches out.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use offset_crypto::{HashResult, Identity, InvoiceId, Nonce, PaymentId, PublicKey, RequestId, Rng};
use offset_proto::{
    Credits, Currency, Text, Timestamp,
    app::{AppError, AppReply, AppRequestId},
    friend::{Cancel, CancelReason, FriendMessage, FriendOp, Resume},
    index::{Cycle, IndexLine, MultiRoute},
};

use crate::{
    api::{
        AppId, Batch, BatchNumber, Command, Effect, Liveness, RoutesError, RoutesFor, SessionId,
    },
    asking::Proofs,
    books::Books,
    buyer::{Asked, Inquiry, Order},
    change::{Change, CorruptState},
    clearing::Clearings,
    config::Config,
    credit::{Ends, MutualCredit},
    dirty::{Dirty, Key},
    endings::{Answering, Asking},
    guard::Guard,
    past::{Past, PastQuestion},
    proof::Lines,
    side::Side,
    state::{Friend, KeptCollect, Link, Pending, QueuedOp, State},
    strangers::Strangers,
};

/// A node's decisions about money. See the crate's documentation.
pub struct Funder {
    pub(crate) identity: Arc<Identity>,
    pub(crate) local: PublicKey,
    pub(crate) config: Config,
    pub(crate) state: State,
    pub(crate) dirty: Dirty,
    pub(crate) effects: Vec<Effect>,
    /// What is known of each friend only while we run.
    pub(crate) live: BTreeMap<PublicKey, Live>,
    /// When something is to be looked at again.
    pub(crate) timers: BTreeSet<(Timestamp, Timer)>,
    /// Requests that wait in a queue, by the friend and id they will have.
    pub(crate) queued_requests: BTreeMap<(PublicKey, RequestId), u64>,
    pub(crate) guard: Guard,
    pub(crate) books: Books,
    /// What was collected since the last batch.
    pub(crate) kept: Vec<KeptCollect>,
    /// Outgoing requests whose incoming side ended with a friendship.
    pub(crate) exposed: BTreeSet<Place>,
    /// Our invoices in memory, by what makes them unique.
    pub(crate) invoice_nonces: BTreeMap<Nonce, InvoiceId>,
    pub(crate) next_queued: u64,
    /// Requests of apps that are answered when the payment ends.
    pub(crate) waiters: BTreeMap<PaymentId, Vec<(AppId, AppRequestId)>>,
    /// Payments for which a way is to be found at the end of this step.
    pub(crate) starting: BTreeSet<PaymentId>,
    /// Payments whose routes were asked for and not yet answered, with what was asked.
    pub(crate) finding: BTreeMap<PaymentId, Asked>,
    /// Clearings that have not begun, and what they avoid.
    pub(crate) clearings: Clearings,
    /// Questions that pay nothing, by number.
    pub(crate) inquiries: BTreeMap<u64, Inquiry>,
    pub(crate) next_inquiry: u64,
    /// What ended in which batch, until that is durable.
    pub(crate) ended: VecDeque<(BatchNumber, EndedRow)>,
    /// What was looked up of the past for the messages of this batch.
    pub(crate) looked_up: BTreeMap<PastQuestion, Past>,
    /// What is to be looked up of parts that a recovery found, by friend.
    pub(crate) unknown_past: BTreeMap<PublicKey, BTreeSet<PastQuestion>>,
    pub(crate) reported: BTreeMap<(PublicKey, Currency), IndexLine>,
    pub(crate) observed: bool,
    /// Proofs of lost state, on their way in and out.
    pub(crate) proofs: Proofs,
    /// Nodes that are no friends and may have been.
    pub(crate) strangers: Strangers,
    pub(crate) number: BatchNumber,
    /// When this node started.
    pub(crate) started: Timestamp,
    /// Payments that were under way then. Not told by times: the clock may have been set back.
    pub(crate) loaded_payments: BTreeSet<PaymentId>,
    steps: u64,
}

/// A row that leaves memory once its end is durable.
#[derive(Debug, Clone, Copy)]
pub(crate) enum EndedRow {
    Payment(PaymentId),
    Invoice(InvoiceId),
    Settled(HashResult),
}

/// When a timer fires, what is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    Queued(PublicKey, u64),
    Payment(PaymentId),
    Set(crate::state::SetKey),
    Invoice(InvoiceId),
    Touch(PublicKey),
    /// A friend's turn to show its proof.
    Proof(SessionId),
    /// A friend may be shown a page of its proof that it asked for.
    ProofPage(PublicKey),
    /// The next question of a friend about endings may be answered.
    Endings(PublicKey),
    /// Somebody who is no friend has had its time to prove that it was one.
    Stranger(PublicKey, SessionId),
}

/// What is known of a friend only while we run.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) session: Option<Session>,
    /// Whether a session agreed since this node started (protocol, section 6.3).
    pub(crate) agreed_since_start: bool,
    /// What queued requests will freeze, and how many there are.
    pub(crate) queued: BTreeMap<Currency, Queued>,
    /// Empty tokens sent in the second that began then.
    pub(crate) empties: (Timestamp, u32),
    /// The friend claims that we lost state, and did not prove it.
    pub(crate) claim: Option<Text>,
    /// The friend lost state and was shown what it signed last.
    pub(crate) shown: bool,
    /// In quarantine: the lines as the friend proves them.
    pub(crate) proven: Lines,
    /// Its questions about endings.
    pub(crate) answering: Answering,
}

/// Requests that wait for one line.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Queued {
    pub(crate) count: usize,
    pub(crate) sum: Credits,
}

/// A session with a friend.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) standing: Standing,
    /// What the friend said of itself.
    pub(crate) theirs: Option<Resume>,
    /// Terms of a reset came before it was known whether we lost state: they must come again.
    pub(crate) withheld: bool,
    /// The counter at which the friend wants the token.
    pub(crate) remote_wants: Option<u64>,
    /// The counter at which we asked for the token.
    pub(crate) asked: Option<u64>,
    /// What was proven to the friend as collected.
    pub(crate) proven: BTreeSet<(Currency, RequestId)>,
    /// Not before this the friend's proof is made anew, and the page that it waits for.
    pub(crate) proof_not_before: Timestamp,
    pub(crate) proof_page: Option<u32>,
    /// Our questions about endings.
    pub(crate) asking: Asking,
}

/// Whether the two `resume`s of a session agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The friend's has not come.
    Resuming,
    /// They do: the friend is online.
    Agreed,
    /// We may have lost state: the friend is asked to prove it, and nothing moves.
    Behind,
    /// The friend may have lost state: nothing moves until it asks for proof and recovers.
    Ahead,
    /// We have lost state: the friend proved it, and nothing moves until that is installed.
    Quarantined,
}

impl Funder {
    /// The funder of a stored state. Nothing is sent before the first input; the first batch tells
    /// the shell how friends, relays and index servers are to be reached.
    ///
    /// # Errors
    /// [`CorruptState`] when the state contradicts itself.
    pub fn new(
        identity: Arc<Identity>,
        state: State,
        config: Config,
        now: Timestamp,
    ) -> Result<Self, CorruptState> {
        let local = identity.public_key();
        let mut funder = Self {
            identity,
            local,
            config,
            state,
            dirty: Dirty::default(),
            effects: Vec::new(),
            live: BTreeMap::new(),
            timers: BTreeSet::new(),
            queued_requests: BTreeMap::new(),
            guard: Guard::default(),
            books: Books::default(),
            kept: Vec::new(),
            exposed: BTreeSet::new(),
            invoice_nonces: BTreeMap::new(),
            next_queued: 0,
            waiters: BTreeMap::new(),
            starting: BTreeSet::new(),
            finding: BTreeMap::new(),
            clearings: Clearings::default(),
            inquiries: BTreeMap::new(),
            next_inquiry: 0,
            ended: VecDeque::new(),
            looked_up: BTreeMap::new(),
            unknown_past: BTreeMap::new(),
            reported: BTreeMap::new(),
            observed: false,
            proofs: Proofs::default(),
            strangers: Strangers::default(),
            number: BatchNumber(0),
            started: now,
            loaded_payments: BTreeSet::new(),
            steps: 0,
        };
        funder.state.check_sums()?;
        funder.rebuild(now);
        Ok(funder)
    }

    /// The state, for reading.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// A session with a friend began or ended.
    pub fn handle_liveness(&mut self, now: Timestamp, friend: PublicKey, liveness: Liveness) {
        let known = self.state.friends.contains_key(&friend);
        match liveness {
            Liveness::Connected(session) if known => self.connected(now, friend, session),
            Liveness::Connected(session) => self.stranger_connected(now, friend, session),
            Liveness::Disconnected if known => self.disconnected(now, friend),
            Liveness::Disconnected => self.stranger_gone(friend),
        }
        self.stepped();
    }

    /// A message came over a session. One of a session that is over is ignored.
    pub fn handle_message(
        &mut self,
        now: Timestamp,
        rng: &mut dyn Rng,
        friend: PublicKey,
        session: SessionId,
        message: FriendMessage,
    ) {
        let current = self.live.get(&friend).and_then(|live| live.session.as_ref());
        if current.is_some_and(|current| current.id == session) {
            match message {
                FriendMessage::Resume(resume) => self.resume(now, friend, session, &resume),
                FriendMessage::MoveToken(token) => self.receive(now, rng, friend, *token),
                FriendMessage::TokenWanted { counter } => self.token_wanted(friend, counter),
                FriendMessage::Inconsistency(message) => {
                    self.inconsistency_received(now, friend, *message);
                }
                FriendMessage::AcceptReset(accept) => {
                    self.acceptance_received(now, friend, accept);
                }
                FriendMessage::Removed { epoch } => self.removed_received(now, friend, epoch),
                FriendMessage::RequestStateProof { page } => self.proof_wanted(now, friend, page),
                FriendMessage::StateProof(page) => self.proof_page(now, friend, page),
                FriendMessage::Endings(question) => self.endings_wanted(now, friend, question),
                FriendMessage::EndingsAnswer(answer) => self.endings_told(now, friend, answer),
            }
        } else {
            self.stranger_says(now, friend, session, message);
        }
        self.stepped();
    }

    /// An application asked for something. The answer comes as [`Effect::Reply`], exactly once.
    pub fn handle_command(
        &mut self,
        now: Timestamp,
        rng: &mut dyn Rng,
        app: AppId,
        request_id: AppRequestId,
        command: Command,
    ) {
        let result = match command {
            Command::Report => Some(Ok(AppReply::Report(Box::new(self.report())))),
            Command::Pending(after) => {
                Some(Ok(AppReply::Pending(self.pending_page(now, after.as_ref()))))
            }
            Command::ReportPage { friends_after, friends_at_most } => {
                let report = self.report_page(friends_after, friends_at_most);
                Some(Ok(AppReply::Report(Box::new(report))))
            }
            Command::LastToken { friend, page } => {
                Some(self.last_token_page(&friend, page).map(AppReply::LastToken))
            }
            Command::Events { after, ended } => Some(self.events_after(after, &ended)),
            Command::Config(request) => Some(self.configure(now, request).map(|()| AppReply::Done)),
            Command::Pay { request, ended, payer } => {
                let order = Order { request: *request, by_commit: false };
                self.pay(now, (app, request_id), order, ended.as_deref(), payer.as_ref())
            }
            Command::PayByCommit { request, ended, payer } => {
                let order = Order { request: *request, by_commit: true };
                self.pay(now, (app, request_id), order, ended.as_deref(), payer.as_ref())
            }
            Command::PaymentCommit { payment_id, ended } => {
                Some(self.payment_commit(payment_id, ended.as_deref()))
            }
            Command::CancelPayment { payment_id, ended } => {
                Some(self.cancel_payment(now, payment_id, ended.as_deref()))
            }
            Command::Clear { request, ended, payer } => {
                self.clear(now, (app, request_id), *request, ended.as_deref(), payer)
            }
            Command::Quote(request) => {
                self.quote(now, rng, (app, request_id), *request).err().map(Err)
            }
            Command::Capacity { currency, peer, receive } => {
                let asked = (currency, peer, receive);
                self.capacity(now, rng, (app, request_id), asked).err().map(Err)
            }
            Command::PaymentStatus { payment_id, ended } => {
                Some(self.payment_status(payment_id, ended.as_deref()))
            }
            Command::CreateInvoice { create, ended } => {
                Some(self.create_invoice(now, *create, ended.as_deref()))
            }
            Command::CancelInvoice { invoice_id, ended } => {
                Some(self.cancel_invoice(now, invoice_id, ended.as_deref()))
            }
            Command::InvoiceStatus { invoice_id, ended } => {
                Some(self.invoice_status(invoice_id, ended.as_deref()))
            }
            Command::CommitInvoice { commit, ended } => {
                Some(self.commit_invoice(now, &commit, ended.as_deref()))
            }
            Command::CollectInvoice { invoice_id, ended } => {
                Some(self.collect_invoice(now, invoice_id, ended.as_deref()))
            }
        };
        if let Some(result) = result {
            self.reply(app, request_id, result);
        }
        self.start_payments(now, rng);
        self.stepped();
    }

    /// The index server's answer to [`Effect::FindRoutes`].
    pub fn handle_routes(
        &mut self,
        now: Timestamp,
        rng: &mut dyn Rng,
        asker: RoutesFor,
        answer: Result<Vec<MultiRoute>, RoutesError>,
    ) {
        match asker {
            RoutesFor::Payment(id) => self.routes_found(now, rng, id, answer),
            RoutesFor::Inquiry(number) => self.inquiry_answered(now, rng, number, answer),
        }
        self.start_payments(now, rng);
        self.stepped();
    }

    /// The index server's answer to [`Effect::FindCycles`].
    pub fn handle_cycles(
        &mut self,
        now: Timestamp,
        rng: &mut dyn Rng,
        payment_id: PaymentId,
        answer: Result<Vec<Cycle>, RoutesError>,
    ) {
        self.cycles_found(now, rng, payment_id, answer);
        self.start_payments(now, rng);
        self.stepped();
    }

    /// Looks at everything whose time has come. Times are those of [`Funder::next_timeout`].
    pub fn handle_timeout(&mut self, now: Timestamp, rng: &mut dyn Rng) {
        while let Some((_, timer)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.pop_first();
            match timer {
                Timer::Queued(friend, at) => self.queued_too_long(now, friend, at),
                Timer::Payment(id) => self.payment_timer(now, rng, id),
                Timer::Set(key) => self.set_timer(now, key),
                Timer::Invoice(id) => self.invoice_timer(now, id),
                Timer::Touch(friend) => self.dirty.touch(friend),
                Timer::Proof(session) => self.proof_timer(now, session),
                Timer::ProofPage(friend) => self.proof_page_timer(now, friend),
                Timer::Endings(friend) => self.look_up(now, friend),
                Timer::Stranger(key, session) => self.stranger_timer(key, session),
            }
        }
        self.start_payments(now, rng);
        self.stepped();
    }

    /// When [`Funder::handle_timeout`] is due, if ever.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// An application's connection is gone: nothing waits for answers any more.
    pub fn handle_app_gone(&mut self, app: AppId) {
        self.clearings.forget(app);
        self.waiters.retain(|_, waiting| {
            waiting.retain(|(waiter, _)| *waiter != app);
            !waiting.is_empty()
        });
        self.inquiries.retain(|_, inquiry| !inquiry.is_of(app));
    }

    /// The changes of this batch and those before it are durable.
    pub fn handle_durable(&mut self, number: BatchNumber) {
        while let Some((_, row)) = self.ended.pop_front_if(|(ended, _)| *ended <= number) {
            match row {
                EndedRow::Payment(id) => drop(self.state.payments.remove(&id)),
                EndedRow::Invoice(id) => self.forget_invoice(&id),
                EndedRow::Settled(id) => drop(self.state.settled.remove(&id)),
            }
        }
    }

    /// Whether anybody observes the report: without observers no [`Effect::Mutation`] is made.
    pub const fn observe(&mut self, on: bool) {
        self.observed = on;
    }

    /// Composes and signs what can go to friends, and hands out all changes and effects since the
    /// last batch.
    pub fn take_batch(&mut self, now: Timestamp, rng: &mut dyn Rng) -> Batch {
        // A token may lead to operations for other friends: until nothing is left to send.
        loop {
            self.start_payments(now, rng);
            let touched = self.dirty.take_touched();
            if touched.is_empty() {
                break;
            }
            for friend in touched {
                self.flush(now, friend);
                self.finish_removal(now, friend);
            }
        }
        self.stepped();
        self.notify();
        self.forget_old_entries();
        self.looked_up.clear();
        self.ask_past();
        self.number = BatchNumber(self.number.0 + 1);
        let mut changes = self.dirty.take_changes(&self.state, self.next_queued);
        changes.extend(self.books.take());
        changes.extend(self.kept.drain(..).map(|kept| Change::Collected(Box::new(kept))));
        for change in &changes {
            if let Change::Payment(id, row) = change
                && row.is_ended()
            {
                self.ended.push_back((self.number, EndedRow::Payment(*id)));
            } else if let Change::Invoice(id, row) = change
                && row.is_final()
            {
                self.ended.push_back((self.number, EndedRow::Invoice(*id)));
            } else if let Change::Settled(id) = change {
                self.ended.push_back((self.number, EndedRow::Settled(*id)));
            }
        }
        Batch { number: self.number, changes, effects: std::mem::take(&mut self.effects) }
    }

    /// Called after every step: checks the invariants every so many of them in debug builds.
    pub(crate) fn stepped(&mut self) {
        self.steps += 1;
        if cfg!(debug_assertions) && self.steps.is_multiple_of(self.config.check_every.max(1)) {
            self.check_invariants();
        }
    }

    pub(crate) fn reply(
        &mut self,
        app: AppId,
        request_id: AppRequestId,
        result: Result<AppReply, AppError>,
    ) {
        self.effects.push(Effect::Reply { app, request_id, result });
    }
}

/// What all roles use: rows, queues, timers.
impl Funder {
    pub(crate) const fn ends(&self, friend: PublicKey) -> Ends {
        Ends::new(self.local, friend)
    }

    pub(crate) fn friend(&self, key: &PublicKey) -> Option<&Friend> {
        self.state.friends.get(key)
    }

    pub(crate) fn credit(&self, friend: &PublicKey, currency: &Currency) -> Option<&MutualCredit> {
        self.friend(friend)?.lines.get(currency)?.credit.as_ref()
    }

    /// Whether a friend is enabled, consistent, and both sides agree where they are.
    pub(crate) fn is_online(&self, key: &PublicKey) -> bool {
        let usable = |friend: &Friend| friend.info.enabled && friend.channel.inconsistent.is_none();
        self.friend(key).is_some_and(usable)
            && self
                .live
                .get(key)
                .and_then(|live| live.session.as_ref())
                .is_some_and(|session| session.standing == Standing::Agreed)
    }

    /// Whether new requests may pass to and from a friend.
    pub(crate) fn is_serving(&self, key: &PublicKey) -> bool {
        self.is_online(key) && self.friend(key).is_some_and(|friend| !friend.info.removing)
    }

    /// Changes what only we know of a pending request.
    pub(crate) fn annotate(&mut self, at: &Place, sender: Side, change: impl FnOnce(&mut Pending)) {
        let line = self.state.friends.get_mut(&at.friend);
        let line = line.and_then(|friend| friend.lines.get_mut(&at.currency));
        if let Some(credit) = line.and_then(|line| line.credit.as_mut()) {
            credit.annotate(sender, at.id, change);
            self.dirty.pending(at, sender);
        }
    }

    /// A pending request.
    pub(crate) fn pending(&self, at: &Place, sender: Side) -> Option<&Pending> {
        self.state.pending(&at.friend, &at.currency, sender, &at.id)
    }

    /// Queues an operation for a friend.
    pub(crate) fn enqueue(&mut self, now: Timestamp, at: &Place, op: FriendOp, link: Link) {
        let number = self.next_queued;
        if let FriendOp::Request(request) = &op {
            self.queued_requests.insert((at.friend, at.id), number);
            self.timers.insert((
                now.plus_ms(self.config.queue_timeout_ms),
                Timer::Queued(at.friend, number),
            ));
            let queued = self.live.entry(at.friend).or_default().queued.entry(at.currency.clone());
            queued.or_default().add(request.frozen().unwrap_or_default());
        }
        let row = QueuedOp { currency: at.currency.clone(), op, link, since: now };
        if let Some(friend) = self.state.friends.get_mut(&at.friend) {
            friend.queue.insert(number, row);
            self.next_queued += 1;
            self.dirty.mark(Key::Queued(at.friend, number));
            self.dirty.touch(at.friend);
        }
    }

    /// Takes an operation out of a friend's queue.
    pub(crate) fn dequeue(&mut self, key: PublicKey, number: u64) -> Option<QueuedOp> {
        let row = self.state.friends.get_mut(&key)?.queue.remove(&number)?;
        self.dirty.mark(Key::Queued(key, number));
        if let FriendOp::Request(request) = &row.op {
            self.queued_requests.remove(&(key, request.request_id));
            self.timers.remove(&(
                row.since.plus_ms(self.config.queue_timeout_ms),
                Timer::Queued(key, number),
            ));
            let live = self.live.entry(key).or_default();
            if let Some(queued) = live.queued.get_mut(&row.currency) {
                queued.remove(request.frozen().unwrap_or_default());
            }
        }
        Some(row)
    }

    /// Ends an incoming request backwards: the friend gets a cancel.
    pub(crate) fn cancel_incoming(
        &mut self,
        now: Timestamp,
        at: &Place,
        reason: CancelReason,
        reporter: Option<PublicKey>,
    ) {
        if self.pending(at, Side::Remote).is_some_and(|row| !row.closing) {
            self.annotate(at, Side::Remote, |row| row.closing = true);
            let cancel = Cancel { request_id: at.id, reason, reporter };
            self.enqueue(now, at, FriendOp::Cancel(cancel), Link::None);
        }
    }

    /// A request of ours that never went into a token has ended: tells whom it was for.
    pub(crate) fn request_not_sent(
        &mut self,
        now: Timestamp,
        key: PublicKey,
        row: &QueuedOp,
        reason: CancelReason,
    ) {
        let local = Some(self.local);
        let at = Place { friend: key, currency: row.currency.clone(), id: row.op.request_id() };
        self.outgoing_cancelled(now, &at, row.link, reason, local);
    }

    /// An outgoing request ended without payment: tells whom it was for.
    pub(crate) fn outgoing_cancelled(
        &mut self,
        now: Timestamp,
        at: &Place,
        link: Link,
        reason: CancelReason,
        reporter: Option<PublicKey>,
    ) {
        match link {
            Link::Upstream(friend, id) => {
                self.guard.remove(at, friend);
                let upstream = Place { friend, currency: at.currency.clone(), id };
                self.cancel_incoming(now, &upstream, reason, reporter);
            }
            Link::Payment(payment) => self.part_cancelled(now, payment, at.id, reason, reporter),
            Link::None => drop(self.exposed.remove(at)),
            Link::Destination | Link::Downstream(..) => {}
        }
    }

    fn queued_too_long(&mut self, now: Timestamp, key: PublicKey, number: u64) {
        if let Some(row) = self.dequeue(key, number) {
            self.request_not_sent(now, key, &row, CancelReason::Busy);
        }
    }

    /// Everything about a line may have changed for index servers and observers.
    pub(crate) fn line_changed(&mut self, friend: PublicKey, currency: &Currency) {
        self.dirty.mark(Key::Line(friend, currency.clone()));
    }
}

/// One pending or future request: a line and an id on it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) friend: PublicKey,
    pub(crate) currency: Currency,
    pub(crate) id: RequestId,
}

impl Queued {
    pub(crate) fn add(&mut self, amount: Credits) {
        self.count += 1;
        self.sum = self.sum.checked_add(amount).unwrap_or(Credits(u128::MAX));
    }

    fn remove(&mut self, amount: Credits) {
        self.count = self.count.saturating_sub(1);
        self.sum = self.sum.checked_sub(amount).unwrap_or_default();
    }
}
