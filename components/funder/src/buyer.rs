//! The buyer's part: orders and their ends (protocol, sections 6.5 and 7).
//!
//! ```text
//!   order --> routing --> requesting --> complete --> committed --> succeeded
//!             ^ ways.rs   | attempt.rs                |
//!             '-----------'  (released, another lock) '--> cancelled, unknown
//! ```
//!
//! A payment has one attempt at a time: a lock, and requests under it over several routes. What
//! comes back is replaced under the same lock; what hangs ends the attempt. The lock is revealed only
//! when every request under it is answered and complete, and from then on the payment is never
//! released, retried or replaced.
//!
//! A payment has its answer at the first valid collect, or when it is taken back. Its row stays in
//! memory until nothing of it is pending any more: the rest of a paid one is collected, the rest of
//! a released one is cancelled back.

mod attempt;
mod handed;
mod inquiries;
mod ways;

use offset_crypto::{InvoiceId, Label, LabelHasher, PaymentId};
use offset_proto::{
    Credits, Timestamp,
    app::{
        AppError, AppReply, AppRequestId, ErrorCode, JournalEntry, PayRequest, PaymentReport,
        PaymentTarget,
    },
    canonical::Writer,
    index::MAX_PARTS,
};

pub(crate) use self::{attempt::patience_ms, inquiries::Inquiry, ways::Asked};
use crate::{
    api::{AppId, Payer},
    destination::app_error,
    dirty::Key,
    funder::{Funder, Timer},
    spending::cost,
    state::{PartState, PaymentRow, Phase},
};

impl Funder {
    /// Orders a payment, or asks again for one. `None`: the answer comes when the payment ends.
    pub(crate) fn pay(
        &mut self,
        now: Timestamp,
        from: (AppId, AppRequestId),
        order: Order,
        ended: Option<&PaymentRow>,
        payer: Option<&Payer>,
    ) -> Option<Result<AppReply, AppError>> {
        let id = order.request.payment_id;
        let mut row = match self.new_payment(now, order) {
            Ok(row) => row,
            Err(error) => return Some(Err(error)),
        };
        match self.state.payments.get(&id).or(ended) {
            Some(known) if known.contents != row.contents => Some(Err(app_error(
                ErrorCode::AlreadyExists,
                "this payment id was used for another payment; choose a new random id",
            ))),
            Some(known) if known.has_answer() => {
                Some(Ok(AppReply::Payment(Box::new(report(id, known)))))
            }
            Some(_) => {
                self.waiters.entry(id).or_default().push(from);
                None
            }
            None => match self
                .check_new_payment(now, &row)
                .and_then(|()| self.allow_spending(now, &mut row, payer))
            {
                Err(error) => Some(Err(error)),
                Ok(()) => {
                    self.timers.insert((row.deadline, Timer::Payment(id)));
                    self.state.payments.insert(id, row);
                    self.dirty.mark(Key::Payment(id));
                    self.starting.insert(id);
                    self.waiters.entry(id).or_default().push(from);
                    None
                }
            },
        }
    }

    fn new_payment(&self, now: Timestamp, order: Order) -> Result<PaymentRow, AppError> {
        let Order { request, by_commit } = order;
        let id = request.payment_id;
        let hold_seconds = hold_seconds(&request.target);
        if by_commit && !takes_commits(&request.target) {
            return Err(app_error(ErrorCode::Invalid, NO_COMMIT));
        }
        let (invoice_id, destination, currency, amount, expires_at, spontaneous) =
            match request.target {
                PaymentTarget::Invoice(invoice) => {
                    let wrong = |wrong: &dyn std::fmt::Display| {
                        app_error(ErrorCode::Invalid, &wrong.to_string())
                    };
                    invoice.check().map_err(|error| wrong(&error))?;
                    let spontaneous = !invoice.registered;
                    let expires_at = Some(invoice.expires_at);
                    let terms = (invoice.dest_public_key, invoice.currency.clone());
                    (invoice.id(), terms.0, terms.1, invoice.dest_payment, expires_at, spontaneous)
                }
                PaymentTarget::Spontaneous { destination, amount, currency } => {
                    let currency =
                        currency.unwrap_or_else(|| self.state.settings.default_currency.clone());
                    (self.spontaneous_id(id), destination, currency, amount, None, true)
                }
            };
        let mut contents = Writer::default();
        contents
            .fixed(&invoice_id)
            .fixed(&destination)
            .text(currency.as_str())
            .u128(amount.0)
            .bool(spontaneous)
            .option(request.max_fee, |out, fee| {
                out.u128(fee.0);
            })
            .option(request.max_parts, |out, parts| {
                out.u8(parts);
            })
            .bool(by_commit);
        let deadline_ms = request.deadline_ms.unwrap_or(self.config.payment_deadline_ms);
        let deadline = now.plus_ms(deadline_ms);
        Ok(PaymentRow {
            app: None,
            contents: offset_crypto::hash(&contents.into_bytes()),
            invoice_id,
            clearing: false,
            spontaneous,
            destination,
            currency,
            amount,
            expires_at,
            max_fee: request.max_fee,
            created_at: now,
            deadline: expires_at.map_or(deadline, |expires| deadline.min(expires)),
            note: request.note,
            max_parts: request.max_parts.unwrap_or(self.config.max_parts),
            hold_seconds,
            by_commit,
            exclude: Vec::new(),
            searching_since: now,
            attempts: Vec::new(),
            last_failure: None,
            phase: Phase::Routing,
        })
    }

    fn check_new_payment(&self, now: Timestamp, row: &PaymentRow) -> Result<(), AppError> {
        let invalid = |message| Err(app_error(ErrorCode::Invalid, message));
        if row.amount == Credits::ZERO || Credits::LIMIT < row.amount {
            return invalid("a payment is of at least 1 and at most 2^127-1 credits");
        }
        if row.max_parts == 0 || MAX_PARTS < usize::from(row.max_parts) {
            return invalid("a payment goes over 1 to 16 routes at once");
        }
        if row.destination == self.local {
            return invalid("the destination is this node itself; pay somebody else");
        }
        if row.expires_at.is_some_and(|expires| expires < now) {
            return invalid("the invoice has expired; ask the seller for a new one");
        }
        if self.config.max_payments <= self.state.payments.len() {
            let message = "too many payments are under way; try again when some have ended";
            return Err(app_error(ErrorCode::Busy, message));
        }
        Ok(())
    }

    /// `hash(SPONTANEOUS, HKDF of the identity secret and the payment id)`.
    fn spontaneous_id(&self, id: PaymentId) -> InvoiceId {
        let secret: [u8; 32] = self.identity.derive(&[b"offset/1/SPONTANEOUS", id.as_bytes()]);
        let hash = LabelHasher::new(Label::SPONTANEOUS).chain(secret).finish();
        InvoiceId::from_bytes(*hash.as_bytes())
    }

    pub(crate) fn payment_status(
        &self,
        id: PaymentId,
        ended: Option<&PaymentRow>,
    ) -> Result<AppReply, AppError> {
        let row = self.state.payments.get(&id).or(ended);
        let row = row.ok_or_else(handed::unknown_payment)?;
        Ok(AppReply::Payment(Box::new(report(id, row))))
    }

    /// The payment has its answer, or another one than before.
    pub(crate) fn end_payment(&mut self, id: PaymentId, phase: Phase) {
        let Some(row) = self.state.payments.get_mut(&id) else {
            return;
        };
        let before = cost(row);
        row.phase = phase;
        self.count_spending(id, before);
        let Some(row) = self.state.payments.get(&id) else {
            return;
        };
        let report = report(id, row);
        self.timers.remove(&(row.deadline, Timer::Payment(id)));
        self.finding.remove(&id);
        self.dirty.mark(Key::Payment(id));
        self.clearing_failed(id);
        self.answer(id, &report);
        self.journal(JournalEntry::Payment(Box::new(report)));
    }

    /// Answers everybody who waits for a payment.
    fn answer(&mut self, id: PaymentId, report: &PaymentReport) {
        for (app, request_id) in self.waiters.remove(&id).unwrap_or_default() {
            self.reply(app, request_id, Ok(AppReply::Payment(Box::new(report.clone()))));
        }
    }
}

/// What an application orders.
pub(crate) struct Order {
    pub(crate) request: PayRequest,
    /// Whether the commit is handed out instead of sent.
    pub(crate) by_commit: bool,
}

impl PaymentRow {
    /// Whether an order of this payment is answered: when it has ended, or when it is committed and
    /// what follows is the seller's to do in its own time.
    fn has_answer(&self) -> bool {
        let waits_for_seller = self.by_commit || self.hold_seconds != 0;
        self.phase.is_final() || (waits_for_seller && self.phase == Phase::Committed)
    }
}

/// How long after the expiry the seller may hold the payment, in seconds that were begun.
fn hold_seconds(target: &PaymentTarget) -> u64 {
    match target {
        PaymentTarget::Invoice(invoice) => {
            let until = invoice.hold_until.unwrap_or(invoice.expires_at);
            until.ms_since(invoice.expires_at).div_ceil(1_000)
        }
        PaymentTarget::Spontaneous { .. } => 0,
    }
}

/// Whether the seller's node can be handed a commit: only for an invoice that it knows.
fn takes_commits(target: &PaymentTarget) -> bool {
    match target {
        PaymentTarget::Invoice(invoice) => invoice.registered,
        PaymentTarget::Spontaneous { .. } => false,
    }
}

const NO_COMMIT: &str = "this invoice was made without the seller's node, which would not know what \
     the commit is for; pay it with `stctrl funds pay-invoice`";

/// A payment as applications see it.
pub(crate) fn report(payment_id: PaymentId, row: &PaymentRow) -> PaymentReport {
    let pending = row.standing().filter(|part| part.state != PartState::Lost);
    PaymentReport {
        payment_id,
        invoice_id: row.invoice_id,
        destination: row.destination,
        currency: row.currency.clone(),
        amount: row.amount,
        created_at: row.created_at,
        status: row.phase.status(),
        parts: u8::try_from(pending.count()).unwrap_or(u8::MAX),
    }
}
