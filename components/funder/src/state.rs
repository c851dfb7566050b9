//! Everything a node must remember, as rows: what the store keeps and the funder works on.

use std::{collections::BTreeMap, sync::Arc};

use offset_crypto::{
    HashResult, HashedLock, InvoiceId, PaymentId, PlainLock, PublicKey, RequestId,
};
use offset_proto::{
    Credits, Currency, Name, Rate, ServerAddress, Text, Timestamp,
    app::{PaymentFailure, PaymentStatus},
    friend::{FriendOp, MoveToken, Proposal, Request, Response},
    index::Edge,
    payment::{Invoice, Receipt},
    proof::StateProof,
    reset::{AcceptReset, ResetBalance, ResetTerms},
};

use crate::{credit::MutualCredit, credit::Numbers, side::Side};

/// The durable state of a node.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Settings of the whole node.
    pub settings: Settings,
    /// Where we listen, by the user's name.
    pub relays: BTreeMap<Name, ServerAddress>,
    /// Index servers by the user's name.
    pub index_servers: BTreeMap<Name, IndexServer>,
    /// Friends by key.
    pub friends: BTreeMap<PublicKey, Friend>,
    /// Friends that were removed, by key.
    pub archive: BTreeMap<PublicKey, ArchivedFriend>,
    /// Our own registered invoices that have not ended.
    pub invoices: BTreeMap<InvoiceId, InvoiceRow>,
    /// What arrived for invoices, by invoice and buyer's lock.
    pub sets: BTreeMap<SetKey, SetRow>,
    /// Our own payments that have not ended.
    pub payments: BTreeMap<PaymentId, PaymentRow>,
    /// The newest entries of the journal, by number.
    pub journal: BTreeMap<u64, JournalRow>,
    /// What apps spent lately, by hour; what is under way is in [`State::payments`].
    pub spent: BTreeMap<SpentKey, Credits>,
    /// What can be paid no more: what was collected here, see [`settled_id`], and our own
    /// registered invoices that have ended, see [`ended_id`].
    pub settled: std::collections::BTreeSet<HashResult>,
    /// The sequence number of the last entry of the books, 0 when there is none. The entries
    /// themselves are kept by the store alone.
    pub last_entry: u64,
    /// Since this database turned out not to be the newest, until the operator ends the recovery.
    pub recovery: Option<Recovery>,
}

/// A node whose database is older than what its friends know of it (protocol, section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// Since when.
    pub since: Timestamp,
    /// Whether what friends prove is installed at once, and unknown endings are cancelled
    /// (`stnode --recover`); else each waits for the operator's word.
    pub at_once: bool,
}

/// Settings of the whole node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The currency that is used where none is given.
    pub default_currency: Currency,
    /// Whether payments without a registered invoice are taken.
    pub accepts_spontaneous: bool,
    /// For how many days the books keep their entries; `None`: for ever.
    pub retention_days: Option<u32>,
    /// With how many digits behind the point people see amounts; currencies that are not named are
    /// seen as they are.
    pub decimals: BTreeMap<Currency, u8>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_currency: Currency::fallback(),
            accepts_spontaneous: true,
            retention_days: None,
            decimals: BTreeMap::new(),
        }
    }
}

/// A configured index server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexServer {
    /// Where it is.
    pub server: ServerAddress,
    /// Lower ones are tried first; unique.
    pub position: u64,
}

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

/// A registered invoice of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoiceRow {
    /// Its terms.
    pub invoice: Invoice,
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
    /// All of it was collected.
    Collected,
    /// Ended by the seller, before a commit or while it was held; or with the channels that carried
    /// what was held.
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
}

/// What an entry of the journal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum JournalRow {
    /// A payment of our own moved on.
    Payment(PaymentId),
    /// A registered invoice of our own moved on.
    Invoice(InvoiceId),
}

/// Names what an application spent in one hour in one currency.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpentKey {
    /// The application.
    pub app: PublicKey,
    /// In which currency.
    pub currency: Currency,
    /// In which hour since 1970 the payments were ordered.
    pub hour: u64,
}

/// A payment of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentRow {
    /// The application that ordered it; `None`: the node itself.
    pub app: Option<PublicKey>,
    /// What identifies its contents: the same id with another hash is another payment.
    pub contents: HashResult,
    /// What is paid.
    pub invoice_id: InvoiceId,
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

/// What [`State::settled`] holds: the hash of an invoice id, currency and total.
#[must_use]
pub fn settled_id(invoice_id: &InvoiceId, currency: &Currency, total: Credits) -> HashResult {
    let mut out = offset_proto::canonical::Writer::default();
    out.fixed(invoice_id).text(currency.as_str()).u128(total.0);
    offset_crypto::hash(&out.into_bytes())
}

/// What [`State::settled`] holds of an ended invoice of our own, which must not be paid as a
/// spontaneous one instead (protocol, section 6.3).
#[must_use]
pub fn ended_id(invoice_id: &InvoiceId) -> HashResult {
    offset_crypto::hash(invoice_id.as_ref())
}

impl State {
    /// The friend with this name.
    #[must_use]
    pub fn friend_named(&self, name: &Name) -> Option<(&PublicKey, &Friend)> {
        self.friends.iter().find(|(_, friend)| friend.info.name == *name)
    }

    /// A pending request.
    #[must_use]
    pub fn pending(
        &self,
        friend: &PublicKey,
        currency: &Currency,
        sender: Side,
        id: &RequestId,
    ) -> Option<&Pending> {
        let credit = self.friends.get(friend)?.lines.get(currency)?.credit.as_ref()?;
        credit.pending(sender).get(id)
    }
}
