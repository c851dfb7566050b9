//! A node's books: one entry for every change of a balance, and what is frozen just now.
//!
//! Signs are the node's own view of a line: a positive balance is owed to the node by the friend,
//! a positive change moves credits to the node. The changes of a line, summed up from its first
//! entry on, are its balance.

use offset_crypto::{InvoiceId, PaymentId, PublicKey, RequestId};

use crate::{Balance, Credits, Currency, Name, Text, Timestamp};

/// One change of the balance of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Rises from 1 with every entry of a node; never used again.
    pub sequence: u64,
    /// When the balance changed, by the node's clock.
    pub time: Timestamp,
    /// With whom.
    pub friend: PublicKey,
    /// What the user called the friend then.
    pub friend_name: Name,
    /// In which currency.
    pub currency: Currency,
    /// What was added to the balance.
    pub delta: Balance,
    /// The balance of the line afterwards.
    pub balance: Balance,
    /// What changed it.
    pub event: HistoryEvent,
}

/// Why a balance changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HistoryEvent {
    /// The currency became active; the change is its opening balance, which may be 0.
    Opened,
    /// A part of a payment of our own was collected.
    Paid {
        /// The payment.
        payment_id: PaymentId,
        /// What it pays.
        invoice_id: InvoiceId,
        /// To whom.
        destination: PublicKey,
        /// How much of the part arrives there.
        amount: Credits,
        /// What the mediators took of the part.
        fee: Credits,
        /// As it was ordered.
        note: Text,
    },
    /// A part of a payment to us was collected.
    Received {
        /// What was paid.
        invoice_id: InvoiceId,
        /// Of the registered invoice; empty where there is none.
        description: Text,
    },
    /// A payment of others was collected from us by the friend to whom we passed it on.
    ForwardedOut {
        /// The friend for whom it was passed on; `None` when the friendship has ended since.
        from: Option<PublicKey>,
        /// Also in the entry of the incoming side; unique.
        forward_id: RequestId,
    },
    /// A payment of others was collected by us from the friend for whom we passed it on.
    ForwardedIn {
        /// The friend to whom it was passed on; `None` when the friendship has ended since.
        to: Option<PublicKey>,
        /// Also in the entry of the outgoing side; unique.
        forward_id: RequestId,
        /// What we earned: what came in beyond what went out.
        fee: Credits,
    },
    /// A payment to ourselves along a cycle, which changes two of our lines.
    Cleared {
        /// The payment; in the entries of both lines.
        payment_id: PaymentId,
        /// What the mediators took; in the entry of the line on which it left, else 0.
        fee: Credits,
    },
    /// No payment: the two sides, or this node's owner, set the balance.
    Adjusted(Adjustment),
    /// The currency was disabled, at balance 0.
    Closed,
    /// Stands for the line's older entries, which were dropped by the node's retention.
    CarriedForward,
}

/// How a balance came to be set without a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Adjustment {
    /// The friend was removed, and what stood was given up.
    WrittenOff,
    /// An inconsistent channel began anew, with the balances that both sides accepted.
    Reset,
    /// A state that the friend proved took the place of an older one.
    Recovered,
}
