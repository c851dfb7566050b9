//! Messages between an application and its node (protocol, section 10).

use std::collections::BTreeMap;

use offset_crypto::{HashResult, InvoiceId, Nonce, PaymentId, PublicKey};

use crate::{
    Balance, Credits, Currency, Name, Rate, ServerAddress, Text, Timestamp,
    friend::CancelReason,
    history::{HistoryPage, HistoryQuery, PendingKey, PendingPage},
    index::{Edge, MultiRoute},
    payment::{Commit, Invoice, Receipt},
    report::{FriendReport, NodeReport, ReportMutation},
};

/// Matches a response to its request on one connection; chosen by the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppRequestId(pub u64);

/// What an application may do besides reading, which every trusted application may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions {
    /// Ask for routes.
    pub routes: bool,
    /// Pay.
    pub buyer: bool,
    /// Make invoices.
    pub seller: bool,
    /// Change the node's configuration.
    pub config: bool,
}

/// One of the [`Permissions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// Reports and history: every trusted application has it.
    Read,
    /// Ask for routes.
    Routes,
    /// Pay.
    Buyer,
    /// Make invoices.
    Seller,
    /// Change the node's configuration.
    Config,
}

impl Permissions {
    /// Whether `permission` is among these.
    #[must_use]
    pub const fn allows(self, permission: Permission) -> bool {
        match permission {
            Permission::Read => true,
            Permission::Routes => self.routes,
            Permission::Buyer => self.buyer,
            Permission::Seller => self.seller,
            Permission::Config => self.config,
        }
    }
}

impl Permission {
    /// The word for it in tickets and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Routes => "routes",
            Self::Buyer => "buyer",
            Self::Seller => "seller",
            Self::Config => "config",
        }
    }
}

/// What one ticket bounds of an application, besides its permissions. Amounts are in the smallest
/// unit of their currency and count what mediators may take.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppLimits {
    /// The most that one payment may cost.
    pub max_payment: BTreeMap<Currency, Credits>,
    /// The most that all payments of a day may cost together.
    pub budget: BTreeMap<Currency, Credits>,
    /// How many requests a second are taken; `None`: the node's default.
    pub commands_per_second: Option<u32>,
}

/// The most currencies that a ticket may name in one of its limits.
pub const MAX_LIMITS: usize = 64;

impl AppLimits {
    /// Whether money is limited at all. If so, only currencies that are named can be paid.
    #[must_use]
    pub fn limits_money(&self) -> bool {
        !(self.max_payment.is_empty() && self.budget.is_empty())
    }

    /// Whether a currency is named.
    #[must_use]
    pub fn names(&self, currency: &Currency) -> bool {
        self.max_payment.contains_key(currency) || self.budget.contains_key(currency)
    }
}

/// A request and the number that its response will carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppToNode {
    /// Chosen by the app; not that of a request that still waits.
    pub request_id: AppRequestId,
    /// What is asked.
    pub request: AppRequest,
}

/// What an application may ask. Every request gets exactly one response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppRequest {
    /// The report, once, with a page of the friends in the order of their keys: answered with
    /// [`AppReply::Report`]. All but the first page come without relays and index servers.
    Report {
        /// The last friend of the page before; `None`: from the first.
        friends_after: Option<PublicKey>,
        /// No more than so many friends, and what fits into a message.
        friends_at_most: u32,
    },
    /// The report as events, then its mutations and what is written into the journal, until the
    /// connection ends.
    Subscribe,
    /// What the journal says after a number, a page of it: answered with [`AppReply::Events`].
    Events {
        /// The last number that the application has seen; 0: from the beginning.
        after: u64,
    },
    /// A change of configuration: answered with [`AppReply::Done`] when it is durable.
    Config(ConfigRequest),
    /// Routes for a payment: answered with [`AppReply::Routes`].
    Routes {
        /// In which currency; `None`: the node's default.
        currency: Option<Currency>,
        /// How much must arrive.
        amount: Credits,
        /// To whom.
        destination: PublicKey,
        /// Directed edges not to use.
        exclude: Vec<Edge>,
    },
    /// Pays, or asks again for a payment of the same id and contents: answered with
    /// [`AppReply::Payment`] when the payment has ended, or when it is committed to an invoice whose
    /// seller may hold it.
    Pay(PayRequest),
    /// As [`AppRequest::Pay`], but the commit is not sent: answered with [`AppReply::Payment`] when
    /// the payment is committed and [`AppRequest::PaymentCommit`] gives what the seller is to be
    /// handed, or when it has failed.
    PayByCommit(PayRequest),
    /// The commit of a payment that was made for it: answered with [`AppReply::Commit`].
    PaymentCommit {
        /// Which.
        payment_id: PaymentId,
    },
    /// Takes back a payment that was not committed: answered with [`AppReply::Done`].
    CancelPayment {
        /// Which.
        payment_id: PaymentId,
    },
    /// How a payment stands: answered with [`AppReply::Payment`] at once.
    PaymentStatus {
        /// Which.
        payment_id: PaymentId,
    },
    /// A new registered invoice: answered with [`AppReply::Invoice`].
    CreateInvoice(CreateInvoice),
    /// Ends an invoice that was not committed, or whose payment is held: answered with
    /// [`AppReply::Done`].
    CancelInvoice {
        /// Which.
        invoice_id: InvoiceId,
    },
    /// How an invoice stands: answered with [`AppReply::Invoice`].
    InvoiceStatus {
        /// Which.
        invoice_id: InvoiceId,
    },
    /// A page of the books: answered with [`AppReply::History`].
    History(HistoryQuery),
    /// A page of what is frozen, after this request or from the first: answered with
    /// [`AppReply::Pending`].
    Pending(Option<PendingKey>),
    /// The buyer's commit, as it was handed to the seller: answered with [`AppReply::Invoice`] once
    /// it is accepted, and again and again when it is repeated.
    CommitInvoice(Box<Commit>),
    /// Ends the hold of a committed invoice, so that it is collected: answered with
    /// [`AppReply::Done`].
    CollectInvoice {
        /// Which.
        invoice_id: InvoiceId,
    },
    /// The node's registered invoices in the order in which they were made: answered with
    /// [`AppReply::Invoices`].
    Invoices {
        /// Only those in this state; `None`: all.
        status: Option<InvoiceStatus>,
        /// Where the last page ended; `None`: from the first one on.
        after: Option<InvoiceCursor>,
    },
}

impl AppRequest {
    /// The report, with the first page of friends.
    #[must_use]
    pub const fn report() -> Self {
        Self::Report { friends_after: None, friends_at_most: u32::MAX }
    }

    /// The permission that a request needs.
    #[must_use]
    pub const fn permission(&self) -> Permission {
        match self {
            Self::Report { .. }
            | Self::Subscribe
            | Self::Events { .. }
            | Self::History(_)
            | Self::Pending(_) => Permission::Read,
            Self::Config(_) => Permission::Config,
            Self::Routes { .. } => Permission::Routes,
            Self::Pay(_)
            | Self::PayByCommit(_)
            | Self::PaymentCommit { .. }
            | Self::CancelPayment { .. }
            | Self::PaymentStatus { .. } => Permission::Buyer,
            Self::CreateInvoice(_)
            | Self::CancelInvoice { .. }
            | Self::InvoiceStatus { .. }
            | Self::CommitInvoice(_)
            | Self::CollectInvoice { .. }
            | Self::Invoices { .. } => Permission::Seller,
        }
    }
}

/// A change of the node's configuration. Friends, relays and index servers go by the user's names.
/// Asking for what is already so succeeds and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigRequest {
    /// Listen at a relay.
    AddRelay {
        /// The user's name for it, new on this node.
        name: Name,
        /// Where it is.
        relay: ServerAddress,
    },
    /// Stop using a relay.
    RemoveRelay {
        /// Which.
        name: Name,
    },
    /// Use an index server, after those already there.
    AddIndexServer {
        /// The user's name for it, new on this node.
        name: Name,
        /// Where it is.
        server: ServerAddress,
    },
    /// Stop using an index server.
    RemoveIndexServer {
        /// Which.
        name: Name,
    },
    /// A new friend, disabled at first, with a proposal for one currency.
    AddFriend {
        /// The user's name for the friend, new on this node.
        name: Name,
        /// The friend's node.
        public_key: PublicKey,
        /// Where the friend listens.
        relays: Vec<ServerAddress>,
        /// `None`: the node's default.
        currency: Option<Currency>,
        /// Positive: the friend owes us.
        opening_balance: Balance,
    },
    /// Where a friend listens, as the friend told outside of the session.
    SetFriendRelays {
        /// Which friend.
        friend: Name,
        /// Must be the friend's own key.
        public_key: PublicKey,
        /// The new list.
        relays: Vec<ServerAddress>,
    },
    /// Another name for a friend.
    SetFriendName {
        /// Which friend.
        friend: Name,
        /// New on this node.
        new_name: Name,
    },
    /// Whether to communicate with a friend.
    SetFriendEnabled {
        /// Which friend.
        friend: Name,
        /// Or not.
        enabled: bool,
    },
    /// Proposes a currency to a friend.
    AddCurrency {
        /// Which friend.
        friend: Name,
        /// Which currency.
        currency: Currency,
        /// Positive: the friend owes us.
        opening_balance: Balance,
    },
    /// Withdraws a proposal, or disables a currency at balance 0 with nothing pending.
    RemoveCurrency {
        /// Which friend.
        friend: Name,
        /// Which currency.
        currency: Currency,
    },
    /// Whether a friend may send us requests.
    SetRequestsOpen {
        /// Which friend.
        friend: Name,
        /// `None`: the node's default.
        currency: Option<Currency>,
        /// Or not.
        open: bool,
    },
    /// The most that a friend may owe us.
    SetMaxDebt {
        /// Which friend.
        friend: Name,
        /// `None`: the node's default.
        currency: Option<Currency>,
        /// At most [`Credits::LIMIT`].
        max_debt: Credits,
    },
    /// The fee that we ask of a friend for forwarding.
    SetRate {
        /// Which friend.
        friend: Name,
        /// `None`: the node's default.
        currency: Option<Currency>,
        /// The fee.
        rate: Rate,
    },
    /// The currency that is used where none is given.
    SetDefaultCurrency {
        /// Which.
        currency: Currency,
    },
    /// With how many digits behind the point people see amounts of a currency.
    SetDecimals {
        /// `None`: the node's default.
        currency: Option<Currency>,
        /// At most [`MAX_DECIMALS`](crate::report::MAX_DECIMALS).
        decimals: u8,
    },
    /// Whether payments without a registered invoice are taken.
    SetSpontaneous {
        /// Or not.
        accept: bool,
    },
    /// For how long the books keep their entries. What is older is dropped, with one entry for each
    /// line that carries its balance forward.
    SetRetention {
        /// At least 1; `None`: for ever.
        days: Option<u32>,
    },
    /// Accepts the friend's terms to begin an inconsistent channel again.
    ResetFriend {
        /// Which friend.
        friend: Name,
        /// Of the terms that the user was shown.
        reset_token: HashResult,
    },
    /// Ends a friendship: refused while anybody owes, waits while anything is pending.
    RemoveFriend {
        /// Which friend.
        friend: Name,
        /// At once, whatever is owed or pending.
        forfeit: bool,
    },
    /// Takes the state that a friend proves for ours.
    RecoverFriend {
        /// Which friend.
        friend: Name,
        /// The token of the state that the owner looked at, see
        /// [`crate::report::FriendRecovery::Proven`].
        token: HashResult,
    },
    /// Waits for nobody any more after a recovery.
    EndRecovery {
        /// Cancels requests that may have been paid while nobody can say so; without it, such
        /// requests keep the recovery from ending.
        cancel_unknown: bool,
    },
}

/// A payment to make. The id makes it idempotent: the same id with the same contents is the same
/// payment, for ever; with other contents it is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayRequest {
    /// Chosen at random by the app.
    pub payment_id: PaymentId,
    /// What to pay.
    pub target: PaymentTarget,
    /// The most that mediators may take; `None`: no limit of the app's.
    pub max_fee: Option<Credits>,
    /// After how many milliseconds to give up, as long as nothing is committed; `None`: 30,000.
    pub deadline_ms: Option<u64>,
    /// For the user's own books.
    pub note: Text,
    /// Over how many routes at once, 1 to [`crate::index::MAX_PARTS`]; `None`: 8.
    pub max_parts: Option<u8>,
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

/// The terms of a new registered invoice. The nonce makes it idempotent: the same nonce with the
/// same contents gives the same invoice, for ever; with other contents it is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateInvoice {
    /// Chosen at random by the app; becomes that of the invoice.
    pub nonce: Nonce,
    /// `None`: the node's default.
    pub currency: Option<Currency>,
    /// How much is asked.
    pub amount: Credits,
    /// For people.
    pub description: Text,
    /// Milliseconds until it expires; `None`: an hour.
    pub expires_in_ms: Option<u64>,
    /// Whether a committed payment waits for [`AppRequest::CollectInvoice`].
    pub hold: Hold,
}

/// How long a committed payment may wait for its seller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hold {
    /// It is collected at once.
    #[default]
    None,
    /// Until a day after the invoice's expiry.
    Standard,
    /// Until this many milliseconds after the invoice's expiry.
    ForMs(u64),
}

/// A place in the list of invoices, which is in the order of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InvoiceCursor {
    /// When the invoice was made.
    pub created_at: Timestamp,
    /// Which it is.
    pub invoice_id: InvoiceId,
}

/// What a node tells an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeToApp {
    /// The one answer to a request.
    Response {
        /// As in the request.
        request_id: AppRequestId,
        /// What came of it.
        result: Result<AppReply, AppError>,
    },
    /// Something that happened, for apps that subscribed.
    Event(AppEvent),
}

/// The answer to a request that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppReply {
    /// It is done and durable.
    Done,
    /// See [`AppRequest::Report`].
    Report(Box<NodeReport>),
    /// See [`AppRequest::Routes`].
    Routes(Vec<MultiRoute>),
    /// See [`AppRequest::Pay`].
    Payment(Box<PaymentReport>),
    /// See [`AppRequest::CreateInvoice`].
    Invoice(Box<InvoiceReport>),
    /// See [`AppRequest::History`].
    History(HistoryPage),
    /// See [`AppRequest::Pending`].
    Pending(PendingPage),
    /// See [`AppRequest::Events`].
    Events(EventPage),
    /// See [`AppRequest::Invoices`].
    Invoices(InvoicePage),
    /// See [`AppRequest::PaymentCommit`].
    Commit(Box<Commit>),
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct AppError {
    /// For programs.
    pub code: ErrorCode,
    /// For people: what is wrong and what to do.
    pub message: Text,
}

/// Stable codes of [`AppError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorCode {
    /// The app's ticket does not allow this.
    PermissionDenied,
    /// There is no such friend, relay, server, payment or invoice.
    NotFound,
    /// The name or id is in use with other contents.
    AlreadyExists,
    /// The request contradicts a rule.
    Invalid,
    /// The state of things does not allow it now.
    Refused,
    /// Too many requests at once; try again later.
    Busy,
    /// Nothing to ask: no connection to an index server.
    NoConnection,
    /// The node is stopping.
    Stopping,
    /// The app's ticket limits what it may spend.
    LimitReached,
    /// It waits for something that will come: ask again.
    NotYet,
}

/// How a payment stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentReport {
    /// Which.
    pub payment_id: PaymentId,
    /// What it pays.
    pub invoice_id: InvoiceId,
    /// To whom.
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
        "the ways to the receiver carry {available} at most now: pay less, or ask the receiver to \
         let its friends send it more"
    )]
    NoCapacity {
        /// The most that would have found a way.
        available: Credits,
    },
    /// No friend with this currency is online.
    #[error("no friend with this currency is online: enable one, or wait until it comes back")]
    FriendsOffline,
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

fn refusal(reason: CancelReason, reporter: Option<&PublicKey>) -> String {
    let who = match reporter {
        Some(key) => format!("node {key}"),
        None => "a node on the way".to_owned(),
    };
    let why = match reason {
        CancelReason::NoRoute => "has no line to the next node of the route",
        CancelReason::NoRoom => "has no room on the next line of the route",
        CancelReason::FeeTooLow => "asks a higher fee",
        CancelReason::Offline => "cannot reach the next node of the route",
        CancelReason::UnknownInvoice => "does not know this invoice, or not with these terms",
        CancelReason::Expired => "says that the invoice has expired",
        CancelReason::AlreadyPaid => "says that the invoice was paid already",
        CancelReason::Busy => "is busy",
        CancelReason::Declined => "declined by its policy",
        CancelReason::Released => "took the payment back",
    };
    format!("{who} {why}")
}

/// How an invoice of ours stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoiceReport {
    /// Its terms; the id follows from them.
    pub invoice: Invoice,
    /// Where it is.
    pub status: InvoiceStatus,
    /// Whether it is committed and waits for [`AppRequest::CollectInvoice`], or for the end of the
    /// hold.
    pub held: bool,
}

/// A part of the list of invoices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InvoicePage {
    /// At most [`MAX_INVOICE_PAGE`]; may be fewer, or none, before the last page.
    pub invoices: Vec<InvoiceReport>,
    /// Where the next page begins; `None`: this is the last one.
    pub next: Option<InvoiceCursor>,
}

/// The most invoices of one answer.
pub const MAX_INVOICE_PAGE: usize = 64;

/// Where an invoice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InvoiceStatus {
    /// Nobody has paid it yet.
    Open,
    /// A part of the amount is reserved for it.
    Requested,
    /// All of the amount is reserved for it.
    Complete,
    /// A payment was accepted: it is certain.
    Committed,
    /// The credits have moved.
    Collected,
    /// Ended by the seller.
    Cancelled,
    /// Ran out of time.
    Expired,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppEvent {
    /// The report, first of all. Where friends are missing, [`AppEvent::Friends`] follow.
    Report {
        /// The sequence number of the first mutation that follows, minus 1.
        sequence: u64,
        /// The report.
        report: Box<NodeReport>,
    },
    /// A change of the report.
    Mutation {
        /// Rises by one with every mutation.
        sequence: u64,
        /// The change.
        mutation: Box<ReportMutation>,
    },
    /// More friends of the report that has just begun, before any mutation.
    Friends {
        /// The friends.
        friends: Vec<FriendReport>,
        /// Whether more follow.
        more: bool,
    },
    /// A payment or invoice of ours moved on.
    Journal(JournalEvent),
}

/// An entry of the journal. The node keeps the last ones, so that an application that remembers the
/// last number it has seen misses none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEvent {
    /// Rises by one with every entry.
    pub number: u64,
    /// What moved.
    pub entry: JournalEntry,
}

/// What moved, as it stands when it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalEntry {
    /// A payment of ours.
    Payment(Box<PaymentReport>),
    /// An invoice of ours.
    Invoice(Box<InvoiceReport>),
}

/// A page of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    /// In the order of their numbers, at most [`MAX_EVENTS`]. A payment or invoice that is no longer
    /// kept is left out.
    pub events: Vec<JournalEvent>,
    /// The page tells everything up to this number.
    pub up_to: u64,
    /// The newest number. More follows while it is above `up_to`.
    pub last: u64,
}

/// The most entries in a page of the journal.
pub const MAX_EVENTS: usize = 64;
