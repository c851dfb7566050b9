//! Payments as an application asks for them and hears of them.

use offset_crypto::{InvoiceId, PaymentId, PublicKey};

use crate::{
    Credits, Currency, Name, Text, Timestamp,
    friend::CancelReason,
    index::MultiRoute,
    payment::{Invoice, Receipt},
};

/// A payment to make. The id makes it idempotent: the same id with the same contents is the same
/// payment, for ever; with other contents it is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayRequest {
    /// Chosen at random by the app.
    pub payment_id: PaymentId,
    /// What to pay.
    pub target: PaymentTarget,
    /// The most that mediators may take; `None`: a twentieth of the amount, or up to 100 for a small
    /// one but no more than the amount.
    pub max_fee: Option<Credits>,
    /// After how many milliseconds to give up, as long as nothing is committed; `None`: 30,000.
    pub deadline_ms: Option<u64>,
    /// For the user's own books.
    pub note: Text,
    /// Over how many routes at once, 1 to [`crate::index::MAX_PARTS`]; `None`: 8.
    pub max_parts: Option<u8>,
}

/// A payment to oneself along a cycle (protocol, section 7, clearing): out to a friend that owes us,
/// back from one whom we owe. The id makes it idempotent, as that of [`PayRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClearRequest {
    /// Chosen at random by the app.
    pub payment_id: PaymentId,
    /// `None`: the node's default.
    pub currency: Option<Currency>,
    /// Only cycles over the line with this friend, whichever of the two owes.
    pub friend: Option<Name>,
    /// The most that mediators may take; `None`: no limit but the share.
    pub max_fee: Option<Credits>,
    /// The most that mediators may take of each million that moves, at most a million.
    pub max_fee_ppm: u32,
}

impl ClearRequest {
    /// The share of what moves that mediators may take where the user says nothing: one percent, in
    /// millionths.
    pub const MAX_FEE_PPM: u32 = 10_000;
}

/// What a payment pays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentTarget {
    /// An invoice.
    Invoice(Box<Invoice>),
    /// A key, without an invoice.
    Spontaneous {
        /// To whom.
        destination: PublicKey,
        /// How much.
        amount: Credits,
        /// `None`: the node's default.
        currency: Option<Currency>,
    },
}

/// What a payment would take now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuoteReport {
    /// To whom.
    pub destination: PublicKey,
    /// In which currency.
    pub currency: Currency,
    /// How much would arrive.
    pub amount: Credits,
    /// How it could be paid, or why not, as a payment would fail.
    pub ways: Result<MultiRoute, PaymentFailure>,
}

/// How a payment stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentReport {
    /// Which.
    pub payment_id: PaymentId,
    /// What it pays.
    pub invoice_id: InvoiceId,
    /// To whom; the node itself for a clearing.
    pub destination: PublicKey,
    /// In which currency.
    pub currency: Currency,
    /// How much arrives.
    pub amount: Credits,
    /// When it was ordered.
    pub created_at: Timestamp,
    /// Where it is.
    pub status: PaymentStatus,
    /// Over how many routes it is reserved now.
    pub parts: u8,
}

/// Where a payment is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentStatus {
    /// Looking for routes.
    Routing,
    /// Reserving along the routes.
    Requesting,
    /// All of it is reserved and answered; not committed yet.
    Complete,
    /// Committed: it cannot be taken back.
    Committed,
    /// Paid.
    Succeeded {
        /// The proof.
        receipt: Box<Receipt>,
        /// What the mediators took.
        fee: Credits,
    },
    /// Not paid; nothing is owed.
    Failed(PaymentFailure),
    /// Committed, then all of it was cancelled back by the seller; nothing is owed.
    Cancelled,
    /// Parts were lost with a friendship: it may have been paid, and may still turn out as paid.
    Unknown,
}

/// Why a payment failed, in the order in which a user would ask.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PaymentFailure {
    /// Our own lines cannot carry it.
    #[error("your own lines have no room for this payment: {available} could be sent at most")]
    NoRoom {
        /// The most that our lines could push out now.
        available: Credits,
    },
    /// All ways to the receiver together carry less.
    #[error(
        "the ways to the receiver carry {available} now, but not this much: pay less, or ask the receiver to \
         let its friends send it more"
    )]
    NoCapacity {
        /// The most that would have found a way.
        available: Credits,
    },
    /// No line of our own can be used at all.
    #[error("{0}")]
    NoLine(NoLine),
    /// No index server answered.
    #[error("no index server is connected, so no route could be searched")]
    NoIndexServer,
    /// There is no way with this capacity.
    #[error(
        "no route with room for this payment was found: the receiver may be offline, unknown, or without room"
    )]
    NoRoute,
    /// There is a way, but it costs more than allowed.
    #[error("the cheapest route costs {fee}, more than the fee limit")]
    FeeTooHigh {
        /// What it would cost.
        fee: Credits,
    },
    /// Somebody on the way said no.
    #[error("{}", refusal(*.reason, .reporter.as_ref()))]
    Refused {
        /// The last reason.
        reason: CancelReason,
        /// Who gave it, as far as it can be known.
        reporter: Option<PublicKey>,
    },
    /// A part was not answered in time.
    #[error(
        "what went out over friend {friend} was not answered in time, and no other way was found; \
         it was taken back, but stays frozen there until that side answers"
    )]
    NoAnswer {
        /// The first node of its route.
        friend: PublicKey,
    },
    /// The buyer took it back.
    #[error("the payment was taken back before it was committed")]
    TakenBack,
    /// The deadline passed before the payment was complete.
    #[error("the payment did not complete before its deadline, and was taken back")]
    Deadline,
    /// The invoice's time is over.
    #[error("the invoice has expired")]
    Expired,
}

/// Why no line of our own can be used; of several friends, what is nearest to one that can: the later
/// here, the nearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum NoLine {
    /// No friend shares the currency.
    #[error("no friend shares this currency")]
    Unknown,
    /// Only one side has proposed it, or both differ.
    #[error("this currency is proposed, but not agreed with any friend")]
    Proposed,
    /// The friend ended the friendship.
    #[error("the friend with this currency has ended the friendship")]
    RemovedByFriend,
    /// We are ending it.
    #[error("the friend with this currency is being removed")]
    Removing,
    /// The channel waits for a reset.
    #[error("the channel with the friend that has this currency is inconsistent")]
    Inconsistent,
    /// The friend proves that this node lost state.
    #[error("the friend with this currency proves that this node has lost state")]
    Quarantined,
    /// We do not communicate with the friend.
    #[error("no friend with this currency is enabled")]
    Disabled,
    /// The friend is not connected.
    #[error("no friend with this currency is online")]
    Offline,
    /// The friend takes no requests of ours.
    #[error("no friend with this currency takes requests of this node")]
    Closed,
}

fn refusal(reason: CancelReason, reporter: Option<&PublicKey>) -> String {
    let who = match reporter {
        Some(key) => format!("node {key}"),
        None => "a node on the way".to_owned(),
    };
    format!("{who} {reason}")
}
