//! Messages between an application and its node (protocol, section 10).

mod config;
mod event;
mod invoice;
mod payment;
mod permission;

use offset_crypto::{InvoiceId, PaymentId, PublicKey};

use crate::{
    Credits, Currency, Name, Text,
    history::{HistoryPage, HistoryQuery, PendingKey, PendingPage},
    index::{Edge, MultiRoute},
    payment::Commit,
    report::NodeReport,
    token::TokenPage,
};

pub use config::ConfigRequest;
pub use event::{AppEvent, EventPage, JournalEntry, JournalEvent, MAX_EVENTS};
pub use invoice::{
    CreateInvoice, Hold, InvoiceCursor, InvoicePage, InvoiceReport, InvoiceStatus, MAX_INVOICE_PAGE,
};
pub use payment::{
    ClearRequest, NoLine, PayRequest, PaymentFailure, PaymentReport, PaymentStatus, PaymentTarget,
    QuoteReport,
};
pub use permission::{AppLimits, MAX_LIMITS, Permission, Permissions};

/// Matches a response to its request on one connection; chosen by the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppRequestId(pub u64);

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
    /// Sets off debts along one cycle, or asks again for a clearing of the same id and contents:
    /// answered with [`AppReply::Payment`] when it has ended, or refused with
    /// [`ErrorCode::NothingToClear`].
    Clear(ClearRequest),
    /// What such a payment would take now: answered with [`AppReply::Quote`]. Nothing is paid; the
    /// id, the deadline and the note mean nothing.
    Quote(PayRequest),
    /// How much the ways between this node and another carry now: answered with
    /// [`AppReply::Capacity`].
    Capacity {
        /// In which currency; `None`: the node's default.
        currency: Option<Currency>,
        /// The other node.
        peer: PublicKey,
        /// From it to us, not from us to it.
        receive: bool,
    },
    /// A page of what a friend signed last: answered with [`AppReply::LastToken`].
    LastToken {
        /// Which friend.
        friend: Name,
        /// From 0 on.
        page: u32,
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
            | Self::Pending(_)
            | Self::LastToken { .. } => Permission::Read,
            Self::Config(_) => Permission::Config,
            Self::Routes { .. } | Self::Quote(_) | Self::Capacity { .. } => Permission::Routes,
            Self::Pay(_)
            | Self::PayByCommit(_)
            | Self::PaymentCommit { .. }
            | Self::CancelPayment { .. }
            | Self::PaymentStatus { .. }
            | Self::Clear(_) => Permission::Buyer,
            Self::CreateInvoice(_)
            | Self::CancelInvoice { .. }
            | Self::InvoiceStatus { .. }
            | Self::CommitInvoice(_)
            | Self::CollectInvoice { .. }
            | Self::Invoices { .. } => Permission::Seller,
        }
    }
}

impl AppRequest {
    /// Whether the answer comes only when a payment has ended, which takes as long as it takes.
    #[must_use]
    pub const fn waits_for_payment(&self) -> bool {
        match self {
            Self::Pay(_) | Self::PayByCommit(_) | Self::Clear(_) => true,
            Self::Report { .. }
            | Self::Subscribe
            | Self::Config(_)
            | Self::Routes { .. }
            | Self::PaymentStatus { .. }
            | Self::PaymentCommit { .. }
            | Self::CancelPayment { .. }
            | Self::CreateInvoice(_)
            | Self::CancelInvoice { .. }
            | Self::InvoiceStatus { .. }
            | Self::CommitInvoice(_)
            | Self::CollectInvoice { .. }
            | Self::Invoices { .. }
            | Self::History(_)
            | Self::Pending(_)
            | Self::Quote(_)
            | Self::Capacity { .. }
            | Self::LastToken { .. }
            | Self::Events { .. } => false,
        }
    }
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
    /// See [`AppRequest::Quote`].
    Quote(Box<QuoteReport>),
    /// See [`AppRequest::Capacity`].
    Capacity(Credits),
    /// See [`AppRequest::PaymentCommit`].
    Commit(Box<Commit>),
    /// See [`AppRequest::LastToken`].
    LastToken(TokenPage),
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
    /// No two debts can be set off now.
    NothingToClear,
}
