//! What is remembered of our own invoices and of payments to them.

use offset_crypto::{HashedLock, InvoiceId, PaymentId, PlainLock, PublicKey, RequestId};
use offset_proto::{Credits, Currency, Timestamp, payment::Invoice};

/// A registered invoice of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoiceRow {
    /// Its terms.
    pub invoice: Invoice,
    /// The clearing that it belongs to, if it is an internal one: nobody is shown it.
    pub clears: Option<PaymentId>,
    /// Where it is, apart from what is reserved for it, which its sets tell.
    pub phase: InvoicePhase,
    /// The buyer's lock of the commit that was accepted, if one was: kept for ever, so that the same
    /// commit always gets the same answer.
    pub accepted: Option<HashedLock>,
}

/// Where an invoice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InvoicePhase {
    /// No commit was accepted.
    Open,
    /// One was.
    Committed,
    /// It was collected: all of it, but for parts that were lost with the channels that carried them.
    Collected,
    /// Ended by the seller, before a commit or while it was held; or with the channels that carried
    /// all of it, before any of it was collected.
    Cancelled,
    /// Ran out of time without a commit.
    Expired,
}

impl InvoiceRow {
    /// Whether nothing more will happen to the invoice.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        match self.phase {
            InvoicePhase::Open | InvoicePhase::Committed => false,
            InvoicePhase::Collected | InvoicePhase::Cancelled | InvoicePhase::Expired => true,
        }
    }
}

/// Names a set: the parts that carry one lock for one invoice (protocol, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SetKey {
    /// What is paid.
    pub invoice_id: InvoiceId,
    /// The buyer's lock of the attempt.
    pub src_hashed_lock: HashedLock,
}

/// The parts of a payment to us that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetRow {
    /// Of every part.
    pub currency: Currency,
    /// Of every part.
    pub total: Credits,
    /// Whether it pays no registered invoice.
    pub spontaneous: bool,
    /// When its first part arrived.
    pub since: Timestamp,
    /// The parts that are pending, by friend and id.
    pub parts: Vec<(PublicKey, RequestId)>,
    /// The buyer's lock, once revealed, accepted or not yet.
    pub src_plain_lock: Option<PlainLock>,
    /// Whether the commit was accepted: from then on parts are only collected, unless they are held.
    pub accepted: bool,
    /// Whether an accepted set waits for its seller, who may still give it back as a whole.
    pub held: bool,
    /// Whether it was put together from its parts after this node lost its database: its invoice
    /// may be unknown.
    pub rebuilt: bool,
    /// Whether a part was collected since it was to be, or is in the balance that a reset by our own
    /// terms began with. An accepted set of which nothing arrived was lost with its channels.
    pub arrived: bool,
}
