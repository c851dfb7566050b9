//! The loop around the funder (architecture, the node's core loop).
//!
//! ```text
//!   inputs that wait --> funder --> batch: changes --> store's thread --.
//!                                          effects, kept back           |
//!   effects leave  <--- in order, when their batch is durable  <--------'
//! ```
//!
//! Invariants:
//! - *durable first*: the effects of a batch are performed after its changes are on the disk, and
//!   after those of every earlier batch.
//! - *bounded*: at most [`limits::WAITING_BATCHES`] batches wait for the disk; meanwhile inputs wait,
//!   and the next batch is bigger.
//! - *stop at the first failure*: when the store fails, no effect is performed any more.

use std::{collections::VecDeque, future::Future, pin::Pin};

use futures::{FutureExt as _, StreamExt as _};
use offset_crypto::{InvoiceId, PaymentId, SystemRng};
use offset_funder::{
    Funder,
    api::{AppId, Batch, BatchNumber, Command, Effect, Ended, Greeting, Liveness, Payer},
    state::{InvoicePhase, InvoiceRow, JournalRow, PaymentRow},
};
use offset_proto::{
    Text, Timestamp,
    app::{
        AppError, AppLimits, AppReply, AppRequest, AppRequestId, ErrorCode, InvoiceCursor,
        InvoicePage, InvoiceReport, InvoiceStatus, MAX_INVOICE_PAGE,
    },
    friend::FriendMessage,
};
use offset_store::{Rejected, Writer};
use tokio::{
    sync::mpsc,
    time::{Duration, Instant, sleep},
};

use crate::{
    Error, Metrics,
    config::Clock,
    input::Input,
    limits,
    metrics::Depths,
    outside::{Found, Outside},
};

/// What the store's thread says of each batch.
pub(crate) type Durable = Result<(), offset_store::Error>;

/// The owner of the funder.
pub(crate) struct Core {
    pub(crate) funder: Funder,
    pub(crate) clock: Clock,
    pub(crate) writer: Writer<()>,
    pub(crate) durable: mpsc::Receiver<Durable>,
    pub(crate) inputs: mpsc::Receiver<Input>,
    pub(crate) outside: Outside,
    /// Batches that are not durable yet, oldest first.
    pub(crate) waiting: VecDeque<Waiting>,
    pub(crate) metrics: Metrics,
    /// Whether something was looked up since the last batch, which the next one acts on.
    pub(crate) found: bool,
}

/// A batch that waits for the disk, with the batches without changes that came after it.
pub(crate) struct Waiting {
    last: BatchNumber,
    effects: Vec<Effect>,
    since: Instant,
}

/// What the loop has to do next.
enum Next {
    Inputs,
    Found(Found),
    IndexStatus,
    Timeout,
    Durable(Option<Durable>),
    Look,
    Shutdown,
}

impl Core {
    /// Runs until `shutdown` is done, then finishes the batches in hand.
    pub(crate) async fn run(
        &mut self,
        mut shutdown: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Result<(), Error> {
        let mut inputs = Vec::new();
        self.flush().await?;
        loop {
            match self.next(&mut inputs, shutdown.as_mut()).await {
                Next::Inputs => {
                    for input in inputs.drain(..) {
                        self.handle(input)?;
                    }
                    self.handle_what_waits(&mut inputs)?;
                }
                Next::Found(found) => {
                    self.handle_found(found);
                    self.handle_what_waits(&mut inputs)?;
                }
                Next::IndexStatus => self.outside.index_status_changed(),
                Next::Timeout => {}
                Next::Durable(durable) => self.handle_durable(durable)?,
                Next::Look => self.look(),
                Next::Shutdown => break,
            }
            self.flush().await?;
        }
        while !self.waiting.is_empty() {
            let durable = self.durable.recv().await;
            self.handle_durable(durable)?;
        }
        Ok(())
    }

    /// Takes everything else that has arrived into the same batch.
    fn handle_what_waits(&mut self, inputs: &mut Vec<Input>) -> Result<(), Error> {
        for _ in 0..limits::BATCH_INPUTS {
            match self.outside.searches.next().now_or_never() {
                Some(Some(found)) => self.handle_found(found),
                Some(None) | None => break,
            }
        }
        while inputs.len() < limits::BATCH_INPUTS
            && let Ok(input) = self.inputs.try_recv()
        {
            inputs.push(input);
        }
        inputs.drain(..).try_for_each(|input| self.handle(input))
    }

    /// Waits for work, and takes no more of it while enough waits for the disk. Safe to cancel.
    async fn next(
        &mut self,
        inputs: &mut Vec<Input>,
        shutdown: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Next {
        let effects: usize = self.waiting.iter().map(|batch| batch.effects.len()).sum();
        let ready = self.may_flush() && effects < limits::WAITING_EFFECTS;
        let timeout = self.sleep_time();
        tokio::select! {
            durable = self.durable.recv() => Next::Durable(durable),
            () = shutdown => Next::Shutdown,
            // The shell holds a sender, so the channel is never closed here.
            _ = self.inputs.recv_many(inputs, limits::BATCH_INPUTS), if ready => Next::Inputs,
            Some(found) = self.outside.searches.next(), if ready => Next::Found(found),
            // Without the sender, the index client has stopped.
            Ok(()) = self.outside.index_status.changed() => Next::IndexStatus,
            () = self.metrics.asked() => Next::Look,
            () = sleep(timeout.unwrap_or_default()), if ready && timeout.is_some() => Next::Timeout,
        }
    }

    /// How long until the funder wants to be called.
    fn sleep_time(&self) -> Option<Duration> {
        let left = self.funder.next_timeout()?.ms_since(self.clock.now());
        Some(Duration::from_millis(left).min(limits::LONGEST_SLEEP))
    }

    fn handle(&mut self, input: Input) -> Result<(), Error> {
        let now = self.clock.now();
        match input {
            Input::AppOpened(app, outlet) => self.outside.apps.open(app, outlet),
            Input::AppRequest(app, id, request, payer) => {
                self.handle_request((app, payer), id, *request)?;
            }
            Input::AppClosed(app) => {
                self.funder.handle_app_gone(app);
                if self.outside.apps.remove(app) {
                    self.funder.observe(false);
                    self.outside.view.forget();
                }
            }
            Input::SessionOpened(friend, session, sender) => {
                self.outside.open_session(friend, session, sender);
                self.funder.handle_liveness(now, friend, Liveness::Connected(session));
            }
            Input::FriendMessage(friend, session, message, _permit) => {
                if self.outside.is_current(&friend, session) {
                    log::trace!("from {friend:?}: {message:?}");
                    if matches!(*message, FriendMessage::MoveToken(_)) {
                        self.metrics.counts().tokens_received.raise();
                    }
                    let wanted = self.funder.past_wanted(&message);
                    for (question, past) in self.writer.past(wanted)? {
                        self.funder.handle_past(question, past);
                    }
                    self.funder.handle_message(now, &mut SystemRng, friend, session, *message);
                }
            }
            Input::SessionEnded(friend, session) => {
                if self.outside.is_current(&friend, session) {
                    self.outside.close_session(&friend);
                    self.funder.handle_liveness(now, friend, Liveness::Disconnected);
                }
            }
            Input::Stranger(key, session, sender, heard) => {
                let greeting = self.funder.greeting(&key);
                let is_heard = greeting == Greeting::Hear;
                if is_heard {
                    self.outside.close_session(&key);
                    self.outside.open_session(key, session, sender);
                    self.funder.handle_liveness(now, key, Liveness::Connected(session));
                } else {
                    if let Greeting::Removed { epoch } = greeting {
                        let _gone = sender.try_send(FriendMessage::Removed { epoch });
                    }
                    sender.close("this node does not know you, or does not want to be reached");
                }
                // Its task is gone only when everything stops.
                let _stopping = heard.send(is_heard);
            }
            Input::FriendError(friend, error) => self.outside.set_friend_error(friend, error),
            Input::Relays(statuses) => self.outside.set_relays(statuses),
        }
        Ok(())
    }

    /// The app may ask this: that was checked.
    fn handle_request(
        &mut self,
        (app, payer): (AppId, Payer),
        id: AppRequestId,
        request: AppRequest,
    ) -> Result<(), Error> {
        let command = match request {
            AppRequest::Report { friends_after, friends_at_most } => {
                Command::ReportPage { friends_after, friends_at_most }
            }
            AppRequest::Pending(after) => Command::Pending(after),
            AppRequest::LastToken { friend, page } => Command::LastToken { friend, page },
            AppRequest::History(query) => {
                let named = |name| self.funder.state().friend_named(name).map(|(key, _)| *key);
                let friend = query.friend.as_ref().and_then(named);
                let page = self.writer.history(&query, friend.as_ref())?;
                self.outside.apps.reply(app, id, Ok(AppReply::History(page)));
                return Ok(());
            }
            AppRequest::Events { after } => {
                Command::Events { after, ended: self.ended_page(after)? }
            }
            AppRequest::Subscribe => {
                self.outside.apps.subscribe(app, id);
                self.funder.observe(true);
                Command::Report
            }
            AppRequest::Config(change) => Command::Config(change),
            AppRequest::Routes { currency, amount, destination, exclude } => {
                let default = &self.funder.state().settings.default_currency;
                let currency = currency.unwrap_or_else(|| default.clone());
                self.outside.find_routes_for_app(
                    (app, id),
                    currency,
                    amount,
                    (destination, exclude),
                );
                return Ok(());
            }
            AppRequest::Pay(request) => {
                let ended = self.ended_payment(&request.payment_id)?;
                Command::Pay { request: Box::new(request), ended, payer: Some(payer) }
            }
            AppRequest::Clear(request) => {
                let ended = self.ended_payment(&request.payment_id)?;
                Command::Clear { request: Box::new(request), ended, payer: Some(payer) }
            }
            AppRequest::Quote(request) => Command::Quote(Box::new(request)),
            AppRequest::Capacity { currency, peer, receive } => {
                Command::Capacity { currency, peer, receive }
            }
            AppRequest::PayByCommit(request) => {
                let ended = self.ended_payment(&request.payment_id)?;
                Command::PayByCommit { request: Box::new(request), ended, payer: Some(payer) }
            }
            AppRequest::PaymentCommit { payment_id } => {
                let ended = self.ended_payment(&payment_id)?;
                if let Err(refused) = self.check_own(&payer, &payment_id, ended.as_deref()) {
                    self.outside.apps.reply(app, id, Err(refused));
                    return Ok(());
                }
                Command::PaymentCommit { payment_id, ended }
            }
            AppRequest::CancelPayment { payment_id } => {
                let ended = self.ended_payment(&payment_id)?;
                if let Err(refused) = self.check_own(&payer, &payment_id, ended.as_deref()) {
                    self.outside.apps.reply(app, id, Err(refused));
                    return Ok(());
                }
                Command::CancelPayment { payment_id, ended }
            }
            AppRequest::PaymentStatus { payment_id } => {
                Command::PaymentStatus { payment_id, ended: self.ended_payment(&payment_id)? }
            }
            AppRequest::CreateInvoice(create) => {
                let known = self.funder.invoice_by_nonce(&create.nonce).is_some();
                let ended =
                    if known { None } else { self.writer.invoice_by_nonce(&create.nonce)? };
                Command::CreateInvoice { create: Box::new(create), ended: ended.map(Box::new) }
            }
            AppRequest::CancelInvoice { invoice_id } => {
                Command::CancelInvoice { invoice_id, ended: self.ended_invoice(&invoice_id)? }
            }
            AppRequest::InvoiceStatus { invoice_id } => {
                Command::InvoiceStatus { invoice_id, ended: self.ended_invoice(&invoice_id)? }
            }
            AppRequest::CommitInvoice(commit) => {
                let ended = self.ended_invoice(&commit.invoice_id)?;
                Command::CommitInvoice { commit, ended }
            }
            AppRequest::CollectInvoice { invoice_id } => {
                Command::CollectInvoice { invoice_id, ended: self.ended_invoice(&invoice_id)? }
            }
            AppRequest::Invoices { status, after } => {
                let page = self.invoice_page(status, after)?;
                self.outside.apps.reply(app, id, Ok(AppReply::Invoices(page)));
                return Ok(());
            }
        };
        self.funder.handle_command(self.clock.now(), &mut SystemRng, app, id, command);
        Ok(())
    }

    /// An application whose tickets limit what it may spend has no part in what others ordered: with
    /// the commit of a payment it would be taken for the buyer, whatever that cost.
    fn check_own(
        &self,
        payer: &Payer,
        id: &PaymentId,
        ended: Option<&PaymentRow>,
    ) -> Result<(), AppError> {
        let row = self.funder.state().payments.get(id).or(ended);
        let limited = payer.limits.iter().any(AppLimits::limits_money);
        if limited && row.is_some_and(|row| row.app != Some(payer.app)) {
            let message = "another application ordered this payment, and this one's ticket limits \
                           what it may spend: ask with the application that ordered it";
            return Err(AppError {
                code: ErrorCode::PermissionDenied,
                message: Text::cut(message),
            });
        }
        Ok(())
    }

    fn ended_payment(&self, id: &PaymentId) -> Result<Option<Box<PaymentRow>>, Error> {
        if self.funder.state().payments.contains_key(id) {
            return Ok(None);
        }
        Ok(self.writer.payment(id)?.map(Box::new))
    }

    fn ended_invoice(&self, id: &InvoiceId) -> Result<Option<Box<InvoiceRow>>, Error> {
        if self.funder.state().invoices.contains_key(id) {
            return Ok(None);
        }
        Ok(self.writer.invoice(id)?.map(Box::new))
    }

    /// What the store keeps of what a page of the journal is about.
    fn ended_page(&self, after: u64) -> Result<Ended, Error> {
        let mut ended = Ended::default();
        for row in self.funder.journal_page(after) {
            match row {
                JournalRow::Payment(id) if !ended.payments.contains_key(&id) => {
                    let row = self.ended_payment(&id)?;
                    ended.payments.extend(row.map(|row| (id, *row)));
                }
                JournalRow::Invoice(id) if !ended.invoices.contains_key(&id) => {
                    let row = self.ended_invoice(&id)?;
                    ended.invoices.extend(row.map(|row| (id, *row)));
                }
                JournalRow::Payment(_) | JournalRow::Invoice(_) => {}
            }
        }
        Ok(ended)
    }

    /// A page of the database, as the funder knows its invoices now.
    fn invoice_page(
        &self,
        status: Option<InvoiceStatus>,
        after: Option<InvoiceCursor>,
    ) -> Result<InvoicePage, Error> {
        let phase = status.map(|status| match status {
            InvoiceStatus::Open | InvoiceStatus::Requested | InvoiceStatus::Complete => {
                InvoicePhase::Open
            }
            InvoiceStatus::Committed => InvoicePhase::Committed,
            InvoiceStatus::Collected => InvoicePhase::Collected,
            InvoiceStatus::Cancelled => InvoicePhase::Cancelled,
            InvoiceStatus::Expired => InvoicePhase::Expired,
        });
        let rows = self.writer.invoices(phase, after, MAX_INVOICE_PAGE)?;
        let next = rows.last().filter(|_| rows.len() == MAX_INVOICE_PAGE);
        let next = next.map(|row| InvoiceCursor {
            created_at: row.invoice.created_at,
            invoice_id: row.invoice.id(),
        });
        let reports = rows.iter().map(|row| self.funder.invoice_report(row));
        let wanted = |report: &InvoiceReport| status.is_none_or(|status| report.status == status);
        Ok(InvoicePage { invoices: reports.filter(wanted).collect(), next })
    }

    fn handle_found(&mut self, found: Found) {
        match found {
            Found::ForFunder(asker, answer) => {
                let now = self.clock.now();
                self.funder.handle_routes(now, &mut SystemRng, asker, answer);
            }
            Found::Cycles(payment_id, answer) => {
                let now = self.clock.now();
                self.funder.handle_cycles(now, &mut SystemRng, payment_id, answer);
            }
            Found::ForApp(app, id, result) => self.outside.apps.reply(app, id, result),
        }
    }

    /// Whether there is room for another batch.
    fn may_flush(&self) -> bool {
        self.waiting.len() < limits::WAITING_BATCHES
    }

    /// Takes what the inputs led to, and hands it to the store. While enough waits for the disk, it
    /// is left for later: the end of each batch leads here again.
    pub(crate) async fn flush(&mut self) -> Result<(), Error> {
        while self.may_flush() {
            self.found = false;
            self.flush_batch().await?;
            if !self.found {
                break;
            }
        }
        Ok(())
    }

    async fn flush_batch(&mut self) -> Result<(), Error> {
        let now = self.clock.now();
        if self.funder.next_timeout().is_some_and(|due| due <= now) {
            self.funder.handle_timeout(now, &mut SystemRng);
        }
        self.writer.forget_history(self.kept_since(now));
        let Batch { number, changes, effects } = self.funder.take_batch(now, &mut SystemRng);
        // Questions need not wait for the disk; everything else does.
        let question = |effect: &Effect| {
            matches!(effect, Effect::FindRoutes { .. } | Effect::FindCycles { .. })
        };
        let (questions, effects): (Vec<_>, Vec<_>) = effects.into_iter().partition(question);
        for question in questions {
            self.outside.perform(question);
        }
        if !changes.is_empty() {
            self.metrics.counts().batch(&changes);
            match self.writer.submit((), changes) {
                Ok(()) => {
                    self.waiting.push_back(Waiting { last: number, effects, since: Instant::now() })
                }
                Err(Rejected::Full(_)) => {
                    unreachable!("the writer takes as many batches as may wait")
                }
                Err(Rejected::Stopped(_)) => return Err(self.failure().await),
            }
        } else if let Some(last) = self.waiting.back_mut() {
            last.last = number;
            last.effects.extend(effects);
        } else {
            self.perform(number, effects)?;
        }
        Ok(())
    }

    /// From when on the books are kept, by the hour; the beginning of time without a limit.
    fn kept_since(&self, now: Timestamp) -> Timestamp {
        const HOUR_MS: u64 = 3_600_000;
        self.funder.state().settings.retention_days.map_or(Timestamp(0), |days| {
            let hours = (now.0 / HOUR_MS).saturating_sub(u64::from(days) * 24);
            Timestamp(hours * HOUR_MS)
        })
    }

    /// Why the store takes no more.
    async fn failure(&mut self) -> Error {
        while let Some(durable) = self.durable.recv().await {
            if let Err(error) = durable {
                return error.into();
            }
        }
        Error::WriterGone
    }

    pub(crate) fn handle_durable(&mut self, durable: Option<Durable>) -> Result<(), Error> {
        durable.ok_or(Error::WriterGone)??;
        if let Some(Waiting { last, effects, since }) = self.waiting.pop_front() {
            self.metrics.counts().commits.observe(since.elapsed());
            self.perform(last, effects)?;
        }
        Ok(())
    }

    /// Shows what is counted of the state.
    fn look(&self) {
        let depths = Depths {
            sessions: self.outside.sessions.len(),
            apps: self.outside.apps.count(),
            inputs: self.inputs.len(),
            batches: self.waiting.len(),
        };
        self.metrics.look(self.funder.state(), &depths);
    }

    fn perform(&mut self, number: BatchNumber, effects: Vec<Effect>) -> Result<(), Error> {
        self.funder.handle_durable(number);
        for effect in effects {
            if let Effect::FindCollected { asker, sender, question } = effect {
                let found = self.writer.collected(&asker.friend(), sender, &question)?;
                self.funder.handle_collected(self.clock.now(), asker, found);
                self.found = true;
            } else if let Effect::FindPast { friend, questions } = effect {
                let answers = self.writer.past(questions)?;
                self.funder.handle_past_found(self.clock.now(), friend, answers);
                self.found = true;
            } else {
                self.outside.perform(effect);
            }
        }
        Ok(())
    }
}

// What waits for the disk fits into the writer's queue, even if it has begun with none of it.
const _: () = assert!(limits::WAITING_BATCHES <= offset_store::QUEUED_BATCHES);
