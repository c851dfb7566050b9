//! What goes into the funder and what comes out.

use std::collections::BTreeMap;

use offset_crypto::{InvoiceId, PaymentId, PublicKey};
use offset_proto::{
    Currency, Name, ServerAddress,
    app::{
        AppError, AppLimits, AppReply, AppRequestId, ClearRequest, ConfigRequest, CreateInvoice,
        JournalEvent, PayRequest,
    },
    friend::{Endings, FriendMessage},
    history::PendingKey,
    index::{CycleQuery, IndexLine, RouteQuery},
    payment::Commit,
    report::ReportMutation,
};

use crate::{
    change::Change,
    past::PastQuestion,
    side::Side,
    state::{InvoiceRow, PaymentRow},
};

/// One connection of an application; numbered by the shell, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppId(pub u64);

/// One session with a friend; numbered by the shell, never reused. What was meant for one session
/// must not be sent on another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Numbers batches from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BatchNumber(pub u64);

/// Whether a secure session with a friend stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// A new session; an earlier one is over.
    Connected(SessionId),
    /// No session.
    Disconnected,
}

/// The application that orders a payment, and what its tickets allow it to spend: every one of
/// these limits holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payer {
    /// The application.
    pub app: PublicKey,
    /// Those of its tickets.
    pub limits: Vec<AppLimits>,
}

/// What an application wants of the funder. Permissions were checked by the shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The node's report, with all friends.
    Report,
    /// What is frozen, after this request or from the first.
    Pending(Option<PendingKey>),
    /// The node's report, with a page of the friends in the order of their keys.
    ReportPage {
        /// The last friend of the page before; `None`: from the first.
        friends_after: Option<PublicKey>,
        /// No more than so many friends.
        friends_at_most: u32,
    },
    /// A page of what a friend signed last.
    LastToken {
        /// Which friend.
        friend: Name,
        /// From 0 on.
        page: u32,
    },
    /// A page of the journal.
    Events {
        /// The last number that the application has seen.
        after: u64,
        /// What the store keeps of the payments and invoices that `Funder::journal_page` names and
        /// that are no longer part of the state.
        ended: Ended,
    },
    /// A change of configuration.
    Config(ConfigRequest),
    /// A payment.
    Pay {
        /// The order.
        request: Box<PayRequest>,
        /// What the store keeps under this id, if such a payment has ended already. To be read
        /// with no `Funder::handle_durable` between the reading and this command: the funder
        /// forgets an ended payment there, and would pay once more.
        ended: Option<Box<PaymentRow>>,
        /// Who orders it; `None`: the node itself, which nothing limits.
        payer: Option<Payer>,
    },
    /// A payment to ourselves along a cycle.
    Clear {
        /// The order.
        request: Box<ClearRequest>,
        /// As with [`Command::Pay`].
        ended: Option<Box<PaymentRow>>,
        /// As with [`Command::Pay`].
        payer: Option<Payer>,
    },
    /// What a payment would take now. Nothing is paid.
    Quote(Box<PayRequest>),
    /// How much the ways between this node and another carry now.
    Capacity {
        /// `None`: the default.
        currency: Option<Currency>,
        /// The other node.
        peer: PublicKey,
        /// From it to us, not from us to it.
        receive: bool,
    },
    /// A payment whose commit the buyer hands to the seller.
    PayByCommit {
        /// The order.
        request: Box<PayRequest>,
        /// As that of [`Command::Pay`].
        ended: Option<Box<PaymentRow>>,
        /// As that of [`Command::Pay`].
        payer: Option<Payer>,
    },
    /// The commit of a payment that was made for it.
    PaymentCommit {
        /// Which.
        payment_id: PaymentId,
        /// What the store keeps under this id, if such a payment has ended already.
        ended: Option<Box<PaymentRow>>,
    },
    /// Takes back a payment that was not committed.
    CancelPayment {
        /// Which.
        payment_id: PaymentId,
        /// What the store keeps under this id, if such a payment has ended already.
        ended: Option<Box<PaymentRow>>,
    },
    /// How a payment stands.
    PaymentStatus {
        /// Which.
        payment_id: PaymentId,
        /// What the store keeps under this id, if such a payment has ended already.
        ended: Option<Box<PaymentRow>>,
    },
    /// A new registered invoice.
    CreateInvoice {
        /// Its terms.
        create: Box<CreateInvoice>,
        /// What the store keeps of an invoice with this nonce, if such a one has ended already. To
        /// be read as that of a payment.
        ended: Option<Box<InvoiceRow>>,
    },
    /// Ends an invoice that was not committed, or is held.
    CancelInvoice {
        /// Which.
        invoice_id: InvoiceId,
        /// What the store keeps under this id, if such an invoice has ended already.
        ended: Option<Box<InvoiceRow>>,
    },
    /// How an invoice stands.
    InvoiceStatus {
        /// Which.
        invoice_id: InvoiceId,
        /// What the store keeps under this id, if such an invoice has ended already.
        ended: Option<Box<InvoiceRow>>,
    },
    /// The buyer's commit, handed to the seller.
    CommitInvoice {
        /// The commit.
        commit: Box<Commit>,
        /// What the store keeps of its invoice, if that has ended already.
        ended: Option<Box<InvoiceRow>>,
    },
    /// Ends the hold of a committed invoice.
    CollectInvoice {
        /// Which.
        invoice_id: InvoiceId,
        /// What the store keeps under this id, if such an invoice has ended already.
        ended: Option<Box<InvoiceRow>>,
    },
}

/// Payments and invoices that have ended, as the store keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ended {
    /// By id.
    pub payments: BTreeMap<PaymentId, PaymentRow>,
    /// By id.
    pub invoices: BTreeMap<InvoiceId, InvoiceRow>,
}

/// For what routes are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoutesFor {
    /// For a payment.
    Payment(PaymentId),
    /// For a question that pays nothing, by its number.
    Inquiry(u64),
}

/// For what collected requests are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CollectedFor {
    /// For requests of our own to this friend that lost their partner.
    Recovery(PublicKey, SessionId),
    /// For this friend, who asked in this session.
    Friend(PublicKey, SessionId),
}

impl CollectedFor {
    /// With whom the line of the requests is.
    #[must_use]
    pub const fn friend(&self) -> PublicKey {
        match self {
            Self::Recovery(friend, _) | Self::Friend(friend, _) => *friend,
        }
    }
}

/// Why no routes came for a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoutesError {
    /// Not connected to any index server.
    NotConnected,
    /// The server did not answer, or refused.
    NoAnswer,
}

/// What a batch of inputs led to. The effects must not leave before the changes are durable, and
/// batches must be made durable, and their effects performed, in order.
#[must_use]
#[derive(Debug, Default)]
pub struct Batch {
    /// To be given to `Funder::handle_durable`.
    pub number: BatchNumber,
    /// For the store, one transaction.
    pub changes: Vec<Change>,
    /// For the shell, afterwards, in order.
    pub effects: Vec<Effect>,
}

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Sends a message to a friend, if that session still stands; drops it otherwise.
    Send {
        /// To whom.
        friend: PublicKey,
        /// Over which session.
        session: SessionId,
        /// What.
        message: FriendMessage,
    },
    /// Ends a session with a friend that is disabled or broke a rule below the token channel. The
    /// shell tries again as after any lost session, as long as the friend has a [`Contact`].
    Disconnect {
        /// Whom.
        friend: PublicKey,
        /// Which session.
        session: SessionId,
    },
    /// Ends a session that has served its purpose, with somebody who did nothing wrong.
    Goodbye {
        /// Whom.
        friend: PublicKey,
        /// Which session.
        session: SessionId,
    },
    /// Asks the index server; the answer comes back through `Funder::handle_routes`. A question may
    /// leave before its batch is durable: nobody is owed anything by it, and after a crash it is
    /// asked again.
    FindRoutes {
        /// For what.
        asker: RoutesFor,
        /// What to ask.
        query: RouteQuery,
    },
    /// Asks the index server for cycles; the answer comes back through `Funder::handle_cycles`. As
    /// with routes, the question may leave at once; after a crash it is forgotten, and with it the
    /// clearing, of which nothing has begun.
    FindCycles {
        /// For which clearing.
        payment_id: PaymentId,
        /// What to ask.
        query: CycleQuery,
    },
    /// Looks up which of these requests were collected, in what the store keeps of them and in all
    /// that was handed to it; the answer comes back through `Funder::handle_collected`, always.
    FindCollected {
        /// For what.
        asker: CollectedFor,
        /// Who sent the requests: this node, or the friend.
        sender: Side,
        /// Which requests, on the line with the asker's friend.
        question: Endings,
    },
    /// Looks up what became of what parts of payments to us pay, which a recovery found; the answers
    /// come back through `Funder::handle_past_found`, always.
    FindPast {
        /// Over whose line the parts came.
        friend: PublicKey,
        /// What they pay.
        questions: Vec<PastQuestion>,
    },
    /// The one answer to an application's request.
    Reply {
        /// To whom.
        app: AppId,
        /// To which request.
        request_id: AppRequestId,
        /// The answer.
        result: Result<AppReply, AppError>,
    },
    /// A change of the report, while someone observes it.
    Mutation(ReportMutation),
    /// A payment or invoice of ours moved on.
    Journal(JournalEvent),
    /// What index servers are to know of a line; `None`: nothing, it cannot be used now.
    IndexLine {
        /// With whom.
        friend: PublicKey,
        /// In which currency.
        currency: Currency,
        /// The line.
        line: Option<IndexLine>,
    },
    /// How a friend is to be reached from now on; `None`: not at all.
    Contact {
        /// Who.
        friend: PublicKey,
        /// Where.
        contact: Option<Contact>,
    },
    /// The relays at which to listen from now on, those included that some friend still knows us
    /// by (protocol, section 4).
    Relays(Vec<ServerAddress>),
    /// The index servers to use from now on, in the order in which to try them.
    IndexServers(Vec<(Name, ServerAddress)>),
}

/// What to do with somebody who has completed the handshake and is no enabled friend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Greeting {
    /// The session is closed without a word.
    Silence,
    /// It is told that it is no friend.
    Removed {
        /// The highest epoch that we were in with it.
        epoch: u64,
    },
    /// It may be a friend that this node has forgotten: what it says goes to the funder.
    Hear,
}

/// How a friend is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// The newest list: tried first.
    pub relays: Vec<ServerAddress>,
    /// The list before it: tried until a session stands.
    pub previous_relays: Vec<ServerAddress>,
}
