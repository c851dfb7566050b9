//! Messages between two friends: the token channel and the operations of mutual credit (protocol,
//! sections 4 to 6).

use offset_crypto::{
    HashResult, HashedLock, InvoiceId, PlainLock, PublicKey, RequestId, Signature,
};

use crate::{
    Balance, Credits, Currency, ServerAddress,
    proof::ProofPage,
    reset::{AcceptReset, Collected, Inconsistency},
};

/// The most currencies, active and proposed, in one friendship.
pub const MAX_CURRENCIES: usize = 64;
/// The most relays that a node tells its friends.
pub const MAX_RELAYS: usize = 16;
/// The most operations in one move token.
pub const MAX_OPERATIONS: usize = 4_096;
/// The most canonical bytes in one move token.
pub const MAX_TOKEN_BYTES: usize = 512 * 1024;
/// The most keys in a route: the buyer, up to 30 mediators, the destination.
pub const MAX_ROUTE_KEYS: usize = 32;
/// The most keys that remain after the receiver of a request.
pub const MAX_REMAINING_KEYS: usize = 31;
/// The most pending requests in one direction of a currency.
pub const MAX_PENDING: usize = 8_192;

/// The highest epoch of a channel. Each reset begins the next one, so nobody comes near it by them.
pub const MAX_EPOCH: u64 = (1 << 63) - 1;

/// The most requests of one question about endings.
pub const MAX_ENDINGS: usize = 256;

/// What two friends send each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FriendMessage {
    /// First on every session, each way.
    Resume(Resume),
    /// Operations, and the right to send the next ones.
    MoveToken(Box<MoveToken>),
    /// Asks the holder for the token.
    TokenWanted {
        /// The counter of the channel's last token as the asker knows it.
        counter: u64,
    },
    /// The channel is inconsistent: terms to begin again, and what is proven.
    Inconsistency(Box<Inconsistency>),
    /// The friend's terms are accepted.
    AcceptReset(AcceptReset),
    /// The receiver is no friend of the sender (any more).
    Removed {
        /// The highest epoch that the sender was in with the receiver; 0 where it never was a
        /// friend.
        epoch: u64,
    },
    /// Asks for a page of the proof of what the asker has signed.
    RequestStateProof {
        /// From 0 on.
        page: u32,
    },
    /// The page that was asked for.
    StateProof(ProofPage),
    /// Asks how requests of the asker ended.
    Endings(Endings),
    /// How they ended.
    EndingsAnswer(EndingsAnswer),
}

/// A question of a node that recovers: how its requests ended at the friend that received them
/// (section 8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endings {
    /// The line of the requests.
    pub currency: Currency,
    /// As the asker sent them, at most [`MAX_ENDINGS`].
    pub request_ids: Vec<RequestId>,
}

/// The answer to [`Endings`]: each of its ids is in one of the lists, at most [`MAX_ENDINGS`] in
/// both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndingsAnswer {
    /// As in the question.
    pub currency: Currency,
    /// The requests that were collected, with what proves it.
    pub collected: Vec<Collected>,
    /// The others: cancelled, never received, or forgotten.
    pub unknown: Vec<RequestId>,
}

/// What is durable here: compared with the friend's before anything else happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// The epoch of the channel.
    pub epoch: u64,
    /// The counter of the last move token of either side, 0 after genesis.
    pub counter: u64,
    /// Its id, or the genesis id.
    pub token_id: HashResult,
    /// Whether the sender has something to send.
    pub wants_token: bool,
}

/// A batch of declarations and operations, signed, that moves the token to the receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveToken {
    /// Everything that is signed.
    pub body: MoveTokenBody,
    /// The sender's signature of the body.
    pub signature: Signature,
}

/// The signed part of a [`MoveToken`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveTokenBody {
    /// The epoch, 0 until a reset.
    pub epoch: u64,
    /// Rises by one with every token; odd ones are signed by the side with the lower key.
    pub counter: u64,
    /// The id of the other side's last token, or of the genesis.
    pub prev_token: HashResult,
    /// Declarations, sorted by currency, each named once; applied before the operations.
    pub currency_terms: Vec<CurrencyTerms>,
    /// Operations, sorted by currency, each named once, at most [`MAX_OPERATIONS`] in all.
    pub currency_ops: Vec<CurrencyOps>,
    /// The sender's relays, when they changed.
    pub relays: Option<Vec<ServerAddress>>,
    /// The state of the channel after this token.
    pub state_hash: HashResult,
}

/// What the sender declares about a currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrencyTerms {
    /// Which.
    pub currency: Currency,
    /// Proposes or keeps the currency; `false` withdraws or disables it.
    pub enabled: bool,
    /// The proposal. For an active currency `opening_balance` is 0 and means nothing.
    pub proposal: Proposal,
}

/// The terms under which one side offers a currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Proposal {
    /// The balance to begin with, as its proposer sees it; the two proposals must be opposite.
    pub opening_balance: Balance,
    /// The most that the receiver may owe the proposer.
    pub max_debt: Credits,
    /// Whether the receiver may send requests.
    pub requests_open: bool,
}

/// The operations of one currency, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrencyOps {
    /// Which.
    pub currency: Currency,
    /// At least one.
    pub ops: Vec<FriendOp>,
}

/// One operation of mutual credit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FriendOp {
    /// Forward: freezes credits.
    Request(Request),
    /// Backward: the destination promises to take the payment.
    Response(Response),
    /// Forward: the buyer pays.
    Commit(Commit),
    /// Backward: moves the credits.
    Collect(Collect),
    /// Backward: unfreezes the credits.
    Cancel(Cancel),
    /// Forward: the buyer will never pay.
    Release(Release),
}

impl FriendOp {
    /// The request that this operation is about.
    #[must_use]
    pub const fn request_id(&self) -> RequestId {
        match self {
            Self::Request(op) => op.request_id,
            Self::Response(op) => op.request_id,
            Self::Commit(op) => op.request_id,
            Self::Collect(op) => op.request_id,
            Self::Cancel(op) => op.request_id,
            Self::Release(op) => op.request_id,
        }
    }
}

/// Freezes `dest_payment + left_fees` and asks for passage to the destination (section 6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Unique among the pending requests of one sender, friend and currency.
    pub request_id: RequestId,
    /// The buyer's lock of this attempt.
    pub src_hashed_lock: HashedLock,
    /// The keys that remain after the receiver; empty at the destination.
    pub route: Vec<PublicKey>,
    /// What this part pays to the destination.
    pub dest_payment: Credits,
    /// What all parts together pay.
    pub total_dest_payment: Credits,
    /// What is paid.
    pub invoice_id: InvoiceId,
    /// What is left for the mediators from the receiver on.
    pub left_fees: Credits,
    /// Whether the invoice is unknown to the destination's node.
    pub spontaneous: bool,
    /// How long at most the seller may keep the request, for policy and alarms.
    pub hold_seconds: u64,
}

impl Request {
    /// What this request freezes, or `None` above [`Credits::LIMIT`].
    #[must_use]
    pub fn frozen(&self) -> Option<Credits> {
        self.dest_payment.checked_add(self.left_fees).filter(|sum| *sum <= Credits::LIMIT)
    }

    /// The destination, as the receiver of this request must see it.
    #[must_use]
    pub fn destination(&self, receiver: PublicKey) -> PublicKey {
        self.route.last().copied().unwrap_or(receiver)
    }
}

/// The destination's signed promise (section 6.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The request that is answered, by its id on this line.
    pub request_id: RequestId,
    /// The destination's lock, the same for all parts of a set.
    pub dest_hashed_lock: HashedLock,
    /// Whether this part completes the total.
    pub is_complete: bool,
    /// `hash(requestId || randNonce)` with the destination's own link's id.
    pub response_hash: HashResult,
    /// The destination's signature, see [`crate::payment::ResponseTerms`].
    pub signature: Signature,
}

/// The buyer's lock, opened, in band (section 6.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Any part of the set.
    pub request_id: RequestId,
    /// Opens the request's `src_hashed_lock`.
    pub src_plain_lock: PlainLock,
}

/// Both locks, opened: the credits move (section 6.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collect {
    /// The part that is collected.
    pub request_id: RequestId,
    /// Opens the request's `src_hashed_lock`.
    pub src_plain_lock: PlainLock,
    /// Opens the response's `dest_hashed_lock`.
    pub dest_plain_lock: PlainLock,
}

/// Ends a request without payment (section 6.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancel {
    /// The request that ends.
    pub request_id: RequestId,
    /// A hint for retrying, never trusted for money.
    pub reason: CancelReason,
    /// The node that could not go on; a hint too.
    pub reporter: Option<PublicKey>,
}

/// Why a request was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CancelReason {
    /// The next key of the route is no friend with this currency.
    NoRoute,
    /// The next line has no room, or its requests are closed.
    NoRoom,
    /// The fees left do not cover what this node asks.
    FeeTooLow,
    /// The next friend is not online.
    Offline,
    /// The destination does not know the invoice, or not with these terms.
    UnknownInvoice,
    /// The invoice or the set ran out of time.
    Expired,
    /// The invoice was paid by another set.
    AlreadyPaid,
    /// A queue or guard is full; trying again later may work.
    Busy,
    /// Against the policy of a node on the way.
    Declined,
    /// The buyer released the request.
    Released,
}

/// What somebody did, as the rest of a sentence that begins with who it was.
impl std::fmt::Display for CancelReason {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::NoRoute => "has no line to the next node of the route",
            Self::NoRoom => "has no room on the next line of the route",
            Self::FeeTooLow => "asks a higher fee",
            Self::Offline => "cannot reach the next node of the route",
            Self::UnknownInvoice => "does not know this invoice, or not with these terms",
            Self::Expired => "says that the invoice has expired",
            Self::AlreadyPaid => "says that the invoice was paid already",
            Self::Busy => "is busy",
            Self::Declined => {
                "declined: it takes no such payment, or passes on no hold as long as this one"
            }
            Self::Released => "took the payment back",
        })
    }
}

/// The buyer will never reveal the lock of this request (section 6.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The request that is given up.
    pub request_id: RequestId,
}
