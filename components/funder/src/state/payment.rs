//! What is remembered of our own payments.

use offset_crypto::{HashResult, InvoiceId, PlainLock, PublicKey, RequestId};
use offset_proto::{
    Credits, Currency, Text, Timestamp,
    app::{PaymentFailure, PaymentStatus},
    friend::Response,
    index::Edge,
    payment::Receipt,
};

/// A payment of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentRow {
    /// The application that ordered it; `None`: the node itself.
    pub app: Option<PublicKey>,
    /// What identifies its contents: the same id with another hash is another payment.
    pub contents: HashResult,
    /// What is paid.
    pub invoice_id: InvoiceId,
    /// Whether it is a payment to ourselves along a cycle.
    pub clearing: bool,
    /// Whether the destination's node does not know the invoice.
    pub spontaneous: bool,
    /// To whom.
    pub destination: PublicKey,
    /// In which currency.
    pub currency: Currency,
    /// How much arrives.
    pub amount: Credits,
    /// When the invoice expires, if there is one.
    pub expires_at: Option<Timestamp>,
    /// The most that mediators may take.
    pub max_fee: Option<Credits>,
    /// When it was ordered.
    pub created_at: Timestamp,
    /// When an undecided payment is given up.
    pub deadline: Timestamp,
    /// For the user's own books.
    pub note: Text,
    /// Over how many routes at once.
    pub max_parts: u8,
    /// How long after the invoice's expiry the seller may hold it, in seconds; 0: not at all.
    pub hold_seconds: u64,
    /// Whether the commit is handed to the seller by the buyer, and not sent.
    pub by_commit: bool,
    /// Directed edges that failed.
    pub exclude: Vec<Edge>,
    /// Since when what is missing has been looked for: an index server's *no* is not final at once.
    pub searching_since: Timestamp,
    /// The attempts of which something is left, oldest first. At most one is not released, the last.
    pub attempts: Vec<Attempt>,
    /// What to say if no other way is found.
    pub last_failure: Option<PaymentFailure>,
    /// Where it is.
    pub phase: Phase,
}

/// Where a payment is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Looking for routes.
    Routing,
    /// Requests are under way; the lock is not revealed.
    Requesting,
    /// All requests are answered and complete; the lock is not revealed.
    Complete,
    /// The lock is revealed; it cannot be taken back.
    Committed,
    /// Paid.
    Succeeded {
        /// The proof.
        receipt: Box<Receipt>,
        /// What the mediators took.
        fee: Credits,
    },
    /// Not paid.
    Failed(PaymentFailure),
    /// Committed, then cancelled back by the seller.
    Cancelled,
    /// Parts were lost with a friendship. A committed payment still succeeds when another part is
    /// collected.
    Unknown,
}

impl Phase {
    /// Whether the one who ordered the payment has an answer. Parts may still be pending, see
    /// [`PaymentRow::is_ended`].
    #[must_use]
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Routing | Self::Requesting | Self::Complete | Self::Committed => false,
            Self::Succeeded { .. } | Self::Failed(_) | Self::Cancelled | Self::Unknown => true,
        }
    }

    /// As applications see it.
    #[must_use]
    pub fn status(&self) -> PaymentStatus {
        match self {
            Self::Routing => PaymentStatus::Routing,
            Self::Requesting => PaymentStatus::Requesting,
            Self::Complete => PaymentStatus::Complete,
            Self::Committed => PaymentStatus::Committed,
            Self::Succeeded { receipt, fee } => {
                PaymentStatus::Succeeded { receipt: receipt.clone(), fee: *fee }
            }
            Self::Failed(failure) => PaymentStatus::Failed(failure.clone()),
            Self::Cancelled => PaymentStatus::Cancelled,
            Self::Unknown => PaymentStatus::Unknown,
        }
    }
}

impl PaymentRow {
    /// Whether nothing more will happen to the payment: it has its answer and nothing is pending.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.phase.is_final() && !self.attempts.iter().any(Attempt::is_pending)
    }

    /// The attempt that is not released, if there is one.
    #[must_use]
    pub fn current(&self) -> Option<&Attempt> {
        self.attempts.last().filter(|attempt| attempt.decision != Decision::Released)
    }

    /// See [`PaymentRow::current`].
    pub(crate) fn current_mut(&mut self) -> Option<&mut Attempt> {
        self.attempts.last_mut().filter(|attempt| attempt.decision != Decision::Released)
    }

    /// The requests of the current attempt that have not come back.
    pub fn standing(&self) -> impl Iterator<Item = &Part> {
        let parts = self.current().into_iter().flat_map(|attempt| &attempt.parts);
        parts.filter(|part| part.state != PartState::Cancelled)
    }

    /// What no request of the current attempt pays.
    #[must_use]
    pub fn missing(&self) -> Credits {
        let standing = sum(self.standing().map(|part| part.amount));
        self.amount.checked_sub(standing).unwrap_or_default()
    }

    /// What mediators take of the current attempt.
    #[must_use]
    pub fn fees(&self) -> Credits {
        sum(self.standing().map(|part| part.fee))
    }
}

/// A sum that stays at the largest amount instead of passing it.
pub(crate) fn sum(amounts: impl Iterator<Item = Credits>) -> Credits {
    amounts.fold(Credits::ZERO, |sum, amount| sum.checked_add(amount).unwrap_or(Credits(u128::MAX)))
}

/// One fresh lock and all requests sent under it (protocol, section 6.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Random, durable before the first request leaves, never used again.
    pub src_plain_lock: PlainLock,
    /// Whether the lock was revealed or never will be; made once.
    pub decision: Decision,
    /// The requests. Those that came back before the decision are not among them.
    pub parts: Vec<Part>,
}

impl Attempt {
    /// Whether a request of it is queued or pending.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.parts.iter().any(|part| part.state.is_pending())
    }
}

/// The one decision about an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Not made yet.
    Open,
    /// The lock is revealed, which cannot be taken back.
    Committed,
    /// The lock is never revealed.
    Released,
}

/// One request of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The whole route, us first.
    pub route: Vec<PublicKey>,
    /// The id on our first line.
    pub request_id: RequestId,
    /// What arrives.
    pub amount: Credits,
    /// What the mediators take.
    pub fee: Credits,
    /// Since when it is under way.
    pub since: Timestamp,
    /// The destination's answer, kept for the receipt.
    pub response: Option<Box<Response>>,
    /// How it stands.
    pub state: PartState,
}

/// How a part stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartState {
    /// Queued or pending.
    Requested,
    /// Answered.
    Responded,
    /// Cancelled back over our own first link.
    Cancelled,
    /// Collected.
    Collected,
    /// Ended by a reset, a removal or a recovery: it may have been collected further down.
    Lost,
}

impl PartState {
    /// Whether the request is queued or pending.
    #[must_use]
    pub const fn is_pending(self) -> bool {
        match self {
            Self::Requested | Self::Responded => true,
            Self::Cancelled | Self::Collected | Self::Lost => false,
        }
    }
}
