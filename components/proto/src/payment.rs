//! Invoices, commits and receipts: what buyer and seller hand each other (protocol, section 7).

use offset_crypto::{
    HashResult, HashedLock, Identity, InvoiceId, Label, Nonce, PlainLock, PublicKey, Signature,
    hash,
};

use crate::{
    Credits, Currency, Text, Timestamp,
    canonical::{Canonical as _, Writer},
    friend::{Request, Response},
};

/// The longest time between creation and expiry of an invoice: 30 days.
pub const MAX_EXPIRY_MS: u64 = 30 * 24 * 3600 * 1000;
/// The longest time between expiry and the end of a hold: 90 days.
pub const MAX_HOLD_MS: u64 = 90 * 24 * 3600 * 1000;

/// A seller's offer. Its id is the hash of all other fields, so a receipt proves payment of exactly
/// these terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// Whether the seller's node knows it (`false`: made without a node, paid as spontaneous).
    pub registered: bool,
    /// What is asked, in this currency.
    pub currency: Currency,
    /// Who asks.
    pub dest_public_key: PublicKey,
    /// How much is asked.
    pub dest_payment: Credits,
    /// For people.
    pub description: Text,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it may be committed.
    pub expires_at: Timestamp,
    /// When a held payment is collected or cancelled; `None`: no hold.
    pub hold_until: Option<Timestamp>,
    /// Makes equal offers different invoices.
    pub nonce: Nonce,
}

/// The terms of an invoice contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidInvoice {
    /// Nothing is asked, or more than can be paid.
    #[error("an invoice asks for at least 1 and at most 2^127-1 credits")]
    Amount,
    /// Expiry before creation, or too long after it.
    #[error("an invoice expires within 30 days after it was made")]
    Expiry,
    /// Hold ends before expiry, or too long after it.
    #[error("a hold ends after the invoice's expiry, by at most 90 days: choose a length between")]
    Hold,
}

impl Invoice {
    /// The version that this code makes and reads.
    pub const VERSION: u32 = 1;

    /// `hash(INVOICE, all fields)`.
    #[must_use]
    pub fn id(&self) -> InvoiceId {
        InvoiceId::from_bytes(*Label::INVOICE.hash(&self.canonical_bytes()).as_bytes())
    }

    /// Checks the rules that hold for every invoice, from a file or a node.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), InvalidInvoice> {
        if self.dest_payment == Credits::ZERO || Credits::LIMIT < self.dest_payment {
            return Err(InvalidInvoice::Amount);
        }
        let within = |from: Timestamp, to: Timestamp, most| from <= to && to.ms_since(from) <= most;
        if !within(self.created_at, self.expires_at, MAX_EXPIRY_MS) {
            return Err(InvalidInvoice::Expiry);
        }
        match self.hold_until {
            Some(until) if !within(self.expires_at, until, MAX_HOLD_MS) => {
                Err(InvalidInvoice::Hold)
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// What the destination signs in a response (section 6.4): the bare bytes of the seeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseTerms<'a> {
    /// `hash(requestId || randNonce)`.
    pub response_hash: HashResult,
    /// The buyer's lock.
    pub src_hashed_lock: HashedLock,
    /// The destination's lock.
    pub dest_hashed_lock: HashedLock,
    /// Whether the total is complete.
    pub is_complete: bool,
    /// This part.
    pub dest_payment: Credits,
    /// All parts.
    pub total_dest_payment: Credits,
    /// What is paid.
    pub invoice_id: InvoiceId,
    /// In which currency.
    pub currency: &'a Currency,
}

impl<'a> ResponseTerms<'a> {
    /// The terms that `response` must sign when it answers `request`.
    #[must_use]
    pub const fn of(request: &Request, response: &Response, currency: &'a Currency) -> Self {
        Self {
            response_hash: response.response_hash,
            src_hashed_lock: request.src_hashed_lock,
            dest_hashed_lock: response.dest_hashed_lock,
            is_complete: response.is_complete,
            dest_payment: request.dest_payment,
            total_dest_payment: request.total_dest_payment,
            invoice_id: request.invoice_id,
            currency,
        }
    }

    /// The signed bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(224);
        out.extend_from_slice(hash(b"FUNDS_RESPONSE").as_bytes());
        out.extend_from_slice(self.response_hash.as_bytes());
        out.extend_from_slice(self.src_hashed_lock.as_bytes());
        out.extend_from_slice(self.dest_hashed_lock.as_bytes());
        out.push(u8::from(self.is_complete));
        out.extend_from_slice(&self.dest_payment.0.to_be_bytes());
        out.extend_from_slice(&self.total_dest_payment.0.to_be_bytes());
        out.extend_from_slice(self.invoice_id.as_bytes());
        out.extend_from_slice(self.currency.as_str().as_bytes());
        out
    }

    /// The destination's signature.
    #[must_use]
    pub fn sign(&self, identity: &Identity) -> Signature {
        identity.sign(&self.bytes())
    }

    /// Whether `signature` is the destination's.
    #[must_use]
    pub fn verify(&self, destination: &PublicKey, signature: &Signature) -> bool {
        destination.verify(&self.bytes(), signature)
    }
}

/// The buyer's irrevocable word, handed to the seller out of band (section 6.5); made of the complete
/// response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Of the complete response.
    pub response_hash: HashResult,
    /// The buyer's lock, opened.
    pub src_plain_lock: PlainLock,
    /// Of the complete response.
    pub dest_hashed_lock: HashedLock,
    /// Of the complete part.
    pub dest_payment: Credits,
    /// Of all parts.
    pub total_dest_payment: Credits,
    /// What is paid.
    pub invoice_id: InvoiceId,
    /// In which currency.
    pub currency: Currency,
    /// Of the complete response.
    pub signature: Signature,
}

/// Proof that an invoice was paid; it does not say by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Of the complete response.
    pub response_hash: HashResult,
    /// What was paid.
    pub invoice_id: InvoiceId,
    /// In which currency.
    pub currency: Currency,
    /// The buyer's lock, opened.
    pub src_plain_lock: PlainLock,
    /// The destination's lock, opened.
    pub dest_plain_lock: PlainLock,
    /// Always true in a valid receipt.
    pub is_complete: bool,
    /// Of the complete part.
    pub dest_payment: Credits,
    /// Of all parts.
    pub total_dest_payment: Credits,
    /// Of the complete response.
    pub signature: Signature,
}

/// Why a receipt or commit does not belong to an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotPaid {
    /// Another invoice.
    #[error("it is for another invoice")]
    OtherInvoice,
    /// Another currency than the invoice's.
    #[error("its currency is not the invoice's")]
    OtherCurrency,
    /// Another amount than the invoice's.
    #[error("its total is not the invoice's amount")]
    OtherAmount,
    /// Of a response that did not complete the total.
    #[error("it is of a part that did not complete the payment")]
    Incomplete,
    /// The seller did not sign this.
    #[error("the signature is not the seller's")]
    Signature,
}

impl Receipt {
    /// Whether this receipt proves that `invoice` was paid.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn verify(&self, invoice: &Invoice) -> Result<(), NotPaid> {
        if !self.is_complete {
            return Err(NotPaid::Incomplete);
        }
        let terms = ResponseTerms {
            response_hash: self.response_hash,
            src_hashed_lock: self.src_plain_lock.hashed(),
            dest_hashed_lock: self.dest_plain_lock.hashed(),
            is_complete: true,
            dest_payment: self.dest_payment,
            total_dest_payment: self.total_dest_payment,
            invoice_id: self.invoice_id,
            currency: &self.currency,
        };
        verify_terms(&terms, invoice, &self.signature)
    }
}

impl Commit {
    /// Whether this commit is well formed and signed for `invoice`. It says nothing of whether the
    /// seller's node accepts it.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn verify(&self, invoice: &Invoice) -> Result<(), NotPaid> {
        let terms = ResponseTerms {
            response_hash: self.response_hash,
            src_hashed_lock: self.src_plain_lock.hashed(),
            dest_hashed_lock: self.dest_hashed_lock,
            is_complete: true,
            dest_payment: self.dest_payment,
            total_dest_payment: self.total_dest_payment,
            invoice_id: self.invoice_id,
            currency: &self.currency,
        };
        verify_terms(&terms, invoice, &self.signature)
    }
}

fn verify_terms(
    terms: &ResponseTerms<'_>,
    invoice: &Invoice,
    signature: &Signature,
) -> Result<(), NotPaid> {
    if terms.invoice_id != invoice.id() {
        Err(NotPaid::OtherInvoice)
    } else if *terms.currency != invoice.currency {
        Err(NotPaid::OtherCurrency)
    } else if terms.total_dest_payment != invoice.dest_payment
        || terms.total_dest_payment < terms.dest_payment
    {
        Err(NotPaid::OtherAmount)
    } else if terms.verify(&invoice.dest_public_key, signature) {
        Ok(())
    } else {
        Err(NotPaid::Signature)
    }
}

impl crate::canonical::Canonical for Invoice {
    fn write(&self, out: &mut Writer) {
        out.u32(Self::VERSION)
            .bool(self.registered)
            .text(self.currency.as_str())
            .fixed(&self.dest_public_key)
            .u128(self.dest_payment.0)
            .text(self.description.as_str())
            .u64(self.created_at.0)
            .u64(self.expires_at.0)
            .option(self.hold_until, |out, until| {
                out.u64(until.0);
            })
            .fixed(&self.nonce);
    }
}
