//! What is remembered of a friend: the token channel, its lines and what is pending on them.

use std::{collections::BTreeMap, sync::Arc};

use offset_crypto::{HashResult, PaymentId, PlainLock, PublicKey, RequestId};
use offset_proto::{
    Credits, Currency, Name, Rate, ServerAddress, Text, Timestamp,
    friend::{FriendOp, MoveToken, Proposal, Request, Response},
    proof::StateProof,
    reset::{AcceptReset, ResetBalance, ResetTerms},
};

use crate::{credit::MutualCredit, credit::Numbers, side::Side};

/// A friend with everything shared with it.
#[derive(Debug, Clone)]
pub struct Friend {
    /// Name, relays, whether enabled.
    pub info: FriendInfo,
    /// Where the token channel stands.
    pub channel: Channel,
    /// Currencies, proposed and active.
    pub lines: BTreeMap<Currency, Line>,
    /// Operations that wait for the token, in order.
    pub queue: BTreeMap<u64, QueuedOp>,
    /// The friend's last token of this epoch, to be shown to a friend that lost it.
    pub received: Option<Arc<MoveToken>>,
    /// What it takes to tell the state at `received` after our own last token.
    pub before_sent: BeforeSent,
    /// Where the friendship stands in a recovery of this node; `None` when nothing was lost.
    pub recovery: Option<FriendRecovery>,
}

impl Friend {
    /// A friendship in which nothing has happened.
    #[must_use]
    pub fn new(info: FriendInfo, channel: Channel) -> Self {
        Self {
            info,
            channel,
            lines: BTreeMap::new(),
            queue: BTreeMap::new(),
            received: None,
            before_sent: BeforeSent::default(),
            recovery: None,
        }
    }
}

/// What our own last token ended and declared: with it and the token, the state before that token
/// can be told. The rest of a token can be read backwards from the token itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BeforeSent {
    /// The lines whose terms it changed, as they were; `None`: there was none.
    pub terms: Vec<(Currency, Option<LineRow>)>,
    /// The requests that it collected or cancelled.
    pub ended: Vec<(Currency, Pending)>,
}

impl BeforeSent {
    /// Whether there is nothing to keep.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.terms.is_empty() && self.ended.is_empty()
    }
}

/// A friendship in a recovery of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FriendRecovery {
    /// Nothing has been agreed since the restore.
    Waiting,
    /// The friend proved, with our own signature, that we are behind: nothing is signed until this
    /// state is installed. The proof was checked.
    Quarantined(Arc<StateProof>),
}

/// What the user configured about a friend, and what the friend told of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FriendInfo {
    /// The user's name for the friend; unique.
    pub name: Name,
    /// Whether we communicate with the friend.
    pub enabled: bool,
    /// Whether the friend is to be removed once nothing is pending and nobody owes anything.
    pub removing: bool,
    /// Where the friend listens: the newest list known.
    pub relays: Vec<ServerAddress>,
    /// The list before it, tried until a session stands.
    pub previous_relays: Vec<ServerAddress>,
}

/// A token channel (protocol, section 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Set when something came that cannot be explained: nothing moves until a new epoch begins.
    pub inconsistent: Option<Box<Inconsistent>>,
    /// The highest epoch that either side has been in, as far as it is known here.
    pub highest_epoch: u64,
    /// The highest epoch for which we signed terms, or accepted the friend's, before this channel last
    /// became consistent. What of that came to nothing must not come back as a proof.
    pub offered_epoch: u64,
    /// The friend said that we are none of its friends, and has not resumed since.
    pub removed_by_friend: bool,
    /// The terms with which this epoch began; `None` in epoch 0.
    pub reset: Option<Box<Agreement>>,
    /// 0 until a reset.
    pub epoch: u64,
    /// Of the last move token of either side; 0 after genesis.
    pub counter: u64,
    /// Its id, or the genesis id.
    pub token_id: HashResult,
    /// The ids of the last token that we signed and of the one before it, in whatever epoch.
    pub own_tokens: [Option<HashResult>; 2],
    /// Our own last token, while the friend may not have it.
    pub last_sent: Option<Arc<MoveToken>>,
    /// Our relays as the last token that carried them said, if any did.
    pub relays_sent: Option<Vec<ServerAddress>>,
    /// Our relays as the friend is known to know them.
    pub relays_confirmed: Option<Vec<ServerAddress>>,
}

/// What is known of a channel that is inconsistent (protocol, section 8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inconsistent {
    /// What could not be explained, for people.
    pub reason: Text,
    /// On which terms we would begin again.
    pub local: ResetTerms,
    /// On which terms the friend would, once it has told.
    pub remote: Option<ResetTerms>,
    /// Our acceptance of the friend's terms.
    pub accepted: Option<AcceptReset>,
}

/// The terms of a reset that both sides agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// Whose terms they are.
    pub proposer: Side,
    /// The terms.
    pub terms: ResetTerms,
    /// The other side's word.
    pub acceptance: AcceptReset,
}

/// What is kept of a friendship that is over, so that no token is ever signed twice if it begins
/// again (protocol, section 8, *Removal*).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedFriend {
    /// The user's name for the friend, last.
    pub name: Name,
    /// When it was removed.
    pub removed_at: Timestamp,
    /// What was given up: the balances other than 0, as we saw them.
    pub balances: Vec<ResetBalance>,
    /// Where the token channel stood.
    pub channel: Channel,
}

/// One currency with one friend.
#[derive(Debug, Clone)]
pub struct Line {
    /// What the user wants; `None`: the currency is to be withdrawn or disabled.
    pub wanted: Option<Proposal>,
    /// The fee that we ask of this friend.
    pub rate: Rate,
    /// What our tokens proposed.
    pub local_proposal: Option<Proposal>,
    /// What the friend's tokens proposed.
    pub remote_proposal: Option<Proposal>,
    /// The line itself, once active.
    pub credit: Option<MutualCredit>,
}

/// A [`Line`] without its pending requests, as one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineRow {
    /// See [`Line::wanted`].
    pub wanted: Option<Proposal>,
    /// See [`Line::rate`].
    pub rate: Rate,
    /// See [`Line::local_proposal`].
    pub local_proposal: Option<Proposal>,
    /// See [`Line::remote_proposal`].
    pub remote_proposal: Option<Proposal>,
    /// The numbers of an active line.
    pub numbers: Option<Numbers>,
}

impl Line {
    /// The row of this line.
    #[must_use]
    pub fn row(&self) -> LineRow {
        LineRow {
            wanted: self.wanted,
            rate: self.rate,
            local_proposal: self.local_proposal,
            remote_proposal: self.remote_proposal,
            numbers: self.credit.as_ref().map(|credit| *credit.numbers()),
        }
    }
}

/// How far a pending request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Asked.
    Requested,
    /// Answered by the destination.
    Responded,
    /// The buyer's lock is open.
    Committed,
}

impl Stage {
    /// The number in hashes and rows.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Requested => 0,
            Self::Responded => 1,
            Self::Committed => 2,
        }
    }

    /// The stage with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Requested),
            1 => Some(Self::Responded),
            2 => Some(Self::Committed),
            _ => None,
        }
    }
}

/// A pending request. The first five fields are shared with the friend and hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// As it was sent on this line.
    pub request: Arc<Request>,
    /// How far it has come.
    pub stage: Stage,
    /// Whether the buyer gave it up.
    pub released: bool,
    /// From stage 1 on.
    pub response: Option<Arc<Response>>,
    /// At stage 2.
    pub src_plain_lock: Option<PlainLock>,
    /// What it belongs to at this node.
    pub link: Link,
    /// Whether its end is known: we queued its collect or cancel, or the friend proved that it
    /// collected a request of ours.
    pub closing: bool,
    /// For a request that was passed on: what the next friend has collected of us for it. The rest
    /// is our fee.
    pub passed_on: Option<Credits>,
    /// When it became pending here.
    pub since: Timestamp,
}

/// What a request belongs to at this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// Nothing: it is only to be cancelled.
    None,
    /// Received from a friend and passed on: the friend and id it has there.
    Downstream(PublicKey, RequestId),
    /// Received from a friend for us as destination.
    Destination,
    /// Sent for this friend, where it has this id.
    Upstream(PublicKey, RequestId),
    /// Sent for a payment of our own.
    Payment(PaymentId),
}

/// An operation that waits for the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedOp {
    /// Its currency.
    pub currency: Currency,
    /// The operation.
    pub op: FriendOp,
    /// For a request: what it belongs to.
    pub link: Link,
    /// Since when it waits.
    pub since: Timestamp,
}
