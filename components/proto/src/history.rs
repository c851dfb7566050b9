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

/// Which entries of the books an application asks for, page by page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Not before this moment.
    pub since: Timestamp,
    /// Before this moment.
    pub until: Timestamp,
    /// With the friend that has this name, or that had it then; `None`: with everybody.
    pub friend: Option<Name>,
    /// `None`: in any.
    pub currency: Option<Currency>,
    /// Only those that earned a fee.
    pub only_fees: bool,
    /// From the last entry backwards.
    pub newest_first: bool,
    /// After the entry of this number, in the order asked; 0: from the first.
    pub after: u64,
}

impl Default for HistoryQuery {
    fn default() -> Self {
        Self {
            since: Timestamp(0),
            until: Timestamp(u64::MAX),
            friend: None,
            currency: None,
            only_fees: false,
            newest_first: false,
            after: 0,
        }
    }
}

/// A page of the books.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HistoryPage {
    /// In the order asked, at most [`MAX_PAGE`]. A page that is not the last may hold few or none,
    /// because a page is also bounded by how many entries are looked through for it.
    pub entries: Vec<HistoryEntry>,
    /// What to give as [`HistoryQuery::after`] for the next page; 0: there is none.
    pub next: u64,
}

/// Names a pending request: a line, who sent it, and its id there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PendingKey {
    /// With whom.
    pub friend: PublicKey,
    /// In which currency.
    pub currency: Currency,
    /// Whether the node sent it, or the friend.
    pub sent_by_us: bool,
    /// Unique among those.
    pub request_id: RequestId,
}

/// A page of what is frozen, in the order of keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PendingPage {
    /// The node's clock.
    pub now: Timestamp,
    /// At most [`MAX_PAGE`].
    pub entries: Vec<PendingEntry>,
    /// Whether there are more after the last of these.
    pub more: bool,
}

/// Credits that a request freezes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingEntry {
    /// Which request.
    pub key: PendingKey,
    /// What the user calls the friend.
    pub friend_name: Name,
    /// Whose payment it belongs to.
    pub direction: Direction,
    /// What it freezes on this line.
    pub amount: Credits,
    /// Since when.
    pub since: Timestamp,
    /// How far it has come.
    pub stage: PendingStage,
    /// Whether the buyer gave it up.
    pub released: bool,
    /// Who has to act for it to go on.
    pub turn: Turn,
    /// The friend from whom word must come; `None` when it is our turn.
    pub through: Option<Name>,
}

/// Whose payment a pending request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// One of the node's own.
    Ours,
    /// One to the node.
    Theirs,
    /// One of others, which is passed on.
    Passing,
}

/// How far a pending request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PendingStage {
    /// Asked.
    Requested,
    /// Answered by the destination.
    Responded,
    /// The buyer's lock is open.
    Committed,
}

/// Who has to act next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Turn {
    /// The node itself, or its user.
    Us,
    /// The next node, or somebody behind it.
    Friend,
    /// The buyer: to commit, or to give up.
    Buyer,
    /// The seller: to collect, or to cancel.
    Seller,
}

/// The most entries of a page: with the longest texts it still fits a frame.
pub const MAX_PAGE: usize = 200;
