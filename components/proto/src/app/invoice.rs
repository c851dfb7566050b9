//! Invoices as an application asks for them and hears of them.

use offset_crypto::{InvoiceId, Nonce};

use crate::{Credits, Currency, Text, Timestamp, payment::Invoice};

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
    /// Whether a committed payment waits for [`super::AppRequest::CollectInvoice`].
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

/// How an invoice of ours stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoiceReport {
    /// Its terms; the id follows from them.
    pub invoice: Invoice,
    /// Where it is.
    pub status: InvoiceStatus,
    /// Whether it is committed and waits for [`super::AppRequest::CollectInvoice`], or for the end of the
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
    /// Ended by the seller; or what it held was lost with the friendships that carried it.
    Cancelled,
    /// Ran out of time.
    Expired,
}
