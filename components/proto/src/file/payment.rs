//! Invoices, commits, receipts and payments.

use offset_crypto::{InvoiceId, PaymentId, PublicKey};

use super::{
    FileError, Kind, OffsetFile, PublicFile,
    fields::{Fields, Writer},
};
use crate::{
    Credits, Currency, Timestamp,
    payment::{Commit, Invoice, Receipt},
};

/// What a seller asks. Its terms agree ([`Invoice::check`]) and belong to its id when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoiceFile(pub Invoice);

impl OffsetFile for InvoiceFile {
    const KIND: Kind = Kind::Invoice;

    fn write(&self, out: &mut Writer) {
        let invoice = &self.0;
        out.bare("version", Invoice::VERSION)
            .text("invoice_id", invoice.id())
            .bare("registered", invoice.registered)
            .text("currency", &invoice.currency)
            .text("dest_public_key", invoice.dest_public_key)
            .text("dest_payment", invoice.dest_payment)
            .text("description", &invoice.description)
            .bare("created_at", invoice.created_at.0)
            .bare("expires_at", invoice.expires_at.0);
        if let Some(until) = invoice.hold_until {
            out.bare("hold_until", until.0);
        }
        out.text("nonce", invoice.nonce);
    }

    fn read(fields: &mut Fields) -> Result<Self, FileError> {
        let version = fields.number("version")?;
        if version != u64::from(Invoice::VERSION) {
            return Err(fields.invalid("version", "not known to this program: is it too old?"));
        }
        let id: InvoiceId = fields.parsed("invoice_id")?;
        let invoice = Invoice {
            registered: fields.bool("registered")?,
            currency: fields.parsed("currency")?,
            dest_public_key: fields.parsed("dest_public_key")?,
            dest_payment: fields.parsed("dest_payment")?,
            description: fields.parsed("description")?,
            created_at: Timestamp(fields.number("created_at")?),
            expires_at: Timestamp(fields.number("expires_at")?),
            hold_until: if fields.contains("hold_until") {
                Some(Timestamp(fields.number("hold_until")?))
            } else {
                None
            },
            nonce: fields.parsed("nonce")?,
        };
        invoice.check()?;
        if invoice.id() == id { Ok(Self(invoice)) } else { Err(FileError::InvoiceChanged) }
    }
}

impl PublicFile for InvoiceFile {}

/// The buyer's irrevocable word, for its seller. Whoever has it can hand it to the seller and be taken
/// for the buyer, so it is kept from others until it has been handed over. [`Commit::verify`] says
/// whether it is well formed and signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitFile(pub Commit);

impl OffsetFile for CommitFile {
    const KIND: Kind = Kind::Commit;

    fn write(&self, out: &mut Writer) {
        let commit = &self.0;
        out.text("response_hash", commit.response_hash)
            .text("src_plain_lock", commit.src_plain_lock)
            .text("dest_hashed_lock", commit.dest_hashed_lock)
            .text("dest_payment", commit.dest_payment)
            .text("total_dest_payment", commit.total_dest_payment)
            .text("invoice_id", commit.invoice_id)
            .text("currency", &commit.currency)
            .text("signature", commit.signature);
    }

    fn read(fields: &mut Fields) -> Result<Self, FileError> {
        Ok(Self(Commit {
            response_hash: fields.parsed("response_hash")?,
            src_plain_lock: fields.parsed("src_plain_lock")?,
            dest_hashed_lock: fields.parsed("dest_hashed_lock")?,
            dest_payment: fields.parsed("dest_payment")?,
            total_dest_payment: fields.parsed("total_dest_payment")?,
            invoice_id: fields.parsed("invoice_id")?,
            currency: fields.parsed("currency")?,
            signature: fields.parsed("signature")?,
        }))
    }
}

impl PublicFile for CommitFile {}

/// Names a payment of the node that makes it, and says what it pays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentFile {
    /// By this the node knows it.
    pub payment_id: PaymentId,
    /// What it pays.
    pub invoice_id: InvoiceId,
    /// To whom.
    pub dest_public_key: PublicKey,
    /// In which currency.
    pub currency: Currency,
    /// How much arrives.
    pub dest_payment: Credits,
}

impl OffsetFile for PaymentFile {
    const KIND: Kind = Kind::Payment;

    fn write(&self, out: &mut Writer) {
        out.text("payment_id", self.payment_id)
            .text("invoice_id", self.invoice_id)
            .text("dest_public_key", self.dest_public_key)
            .text("currency", &self.currency)
            .text("dest_payment", self.dest_payment);
    }

    fn read(fields: &mut Fields) -> Result<Self, FileError> {
        Ok(Self {
            payment_id: fields.parsed("payment_id")?,
            invoice_id: fields.parsed("invoice_id")?,
            dest_public_key: fields.parsed("dest_public_key")?,
            currency: fields.parsed("currency")?,
            dest_payment: fields.parsed("dest_payment")?,
        })
    }
}

impl PublicFile for PaymentFile {}

/// Proof that an invoice was paid. [`Receipt::verify`] says whether it proves anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptFile(pub Receipt);

impl OffsetFile for ReceiptFile {
    const KIND: Kind = Kind::Receipt;

    fn write(&self, out: &mut Writer) {
        let receipt = &self.0;
        out.text("response_hash", receipt.response_hash)
            .text("invoice_id", receipt.invoice_id)
            .text("currency", &receipt.currency)
            .text("src_plain_lock", receipt.src_plain_lock)
            .text("dest_plain_lock", receipt.dest_plain_lock)
            .bare("is_complete", receipt.is_complete)
            .text("dest_payment", receipt.dest_payment)
            .text("total_dest_payment", receipt.total_dest_payment)
            .text("signature", receipt.signature);
    }

    fn read(fields: &mut Fields) -> Result<Self, FileError> {
        Ok(Self(Receipt {
            response_hash: fields.parsed("response_hash")?,
            invoice_id: fields.parsed("invoice_id")?,
            currency: fields.parsed("currency")?,
            src_plain_lock: fields.parsed("src_plain_lock")?,
            dest_plain_lock: fields.parsed("dest_plain_lock")?,
            is_complete: fields.bool("is_complete")?,
            dest_payment: fields.parsed("dest_payment")?,
            total_dest_payment: fields.parsed("total_dest_payment")?,
            signature: fields.parsed("signature")?,
        }))
    }
}

impl PublicFile for ReceiptFile {}
