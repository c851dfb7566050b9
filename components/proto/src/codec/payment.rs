//! `payment.capnp`: invoices, commits and receipts.

use super::{Decoded, credits, fixed, invalid, key, parse, set_credits};
use crate::{
    Timestamp,
    payment::{Commit, Invoice, Receipt},
    schema::payment_capnp::{commit, invoice, receipt},
};

pub(super) fn set_invoice(value: &Invoice, mut invoice: invoice::Builder<'_>) {
    invoice.set_version(Invoice::VERSION);
    invoice.set_registered(value.registered);
    invoice.set_currency(value.currency.as_str());
    invoice.set_dest_public_key(value.dest_public_key.as_bytes());
    set_credits(value.dest_payment, invoice.reborrow().init_dest_payment());
    invoice.set_description(value.description.as_str());
    invoice.set_created_at(value.created_at.0);
    invoice.set_expires_at(value.expires_at.0);
    match value.hold_until {
        None => invoice.reborrow().init_hold_until().set_none(()),
        Some(until) => invoice.reborrow().init_hold_until().set_at(until.0),
    }
    invoice.set_nonce(value.nonce.as_bytes());
}

/// The invoice as it was sent. Whether its terms agree ([`Invoice::check`]) is for the receiver to
/// answer, not a reason to close the connection.
pub(super) fn invoice(invoice: invoice::Reader<'_>) -> Decoded<Invoice> {
    use invoice::hold_until::Which;
    if invoice.get_version() != Invoice::VERSION {
        let reason = format_args!("{}, only 1 is known", invoice.get_version());
        return Err(invalid("version", reason));
    }
    Ok(Invoice {
        registered: invoice.get_registered(),
        currency: parse("currency", invoice.get_currency())?,
        dest_public_key: key("destPublicKey", invoice.get_dest_public_key())?,
        dest_payment: credits(invoice.get_dest_payment()?),
        description: parse("description", invoice.get_description())?,
        created_at: Timestamp(invoice.get_created_at()),
        expires_at: Timestamp(invoice.get_expires_at()),
        hold_until: match invoice.get_hold_until().which()? {
            Which::None(()) => None,
            Which::At(until) => Some(Timestamp(until)),
        },
        nonce: fixed("nonce", invoice.get_nonce())?,
    })
}

pub(super) fn set_commit(value: &Commit, mut commit: commit::Builder<'_>) {
    commit.set_response_hash(value.response_hash.as_bytes());
    commit.set_src_plain_lock(value.src_plain_lock.as_bytes());
    commit.set_dest_hashed_lock(value.dest_hashed_lock.as_bytes());
    set_credits(value.dest_payment, commit.reborrow().init_dest_payment());
    set_credits(value.total_dest_payment, commit.reborrow().init_total_dest_payment());
    commit.set_invoice_id(value.invoice_id.as_bytes());
    commit.set_currency(value.currency.as_str());
    commit.set_signature(value.signature.as_bytes());
}

pub(super) fn commit(commit: commit::Reader<'_>) -> Decoded<Commit> {
    Ok(Commit {
        response_hash: fixed("responseHash", commit.get_response_hash())?,
        src_plain_lock: fixed("srcPlainLock", commit.get_src_plain_lock())?,
        dest_hashed_lock: fixed("destHashedLock", commit.get_dest_hashed_lock())?,
        dest_payment: credits(commit.get_dest_payment()?),
        total_dest_payment: credits(commit.get_total_dest_payment()?),
        invoice_id: fixed("invoiceId", commit.get_invoice_id())?,
        currency: parse("currency", commit.get_currency())?,
        signature: fixed("signature", commit.get_signature())?,
    })
}

pub(super) fn set_receipt(value: &Receipt, mut receipt: receipt::Builder<'_>) {
    receipt.set_response_hash(value.response_hash.as_bytes());
    receipt.set_invoice_id(value.invoice_id.as_bytes());
    receipt.set_currency(value.currency.as_str());
    receipt.set_src_plain_lock(value.src_plain_lock.as_bytes());
    receipt.set_dest_plain_lock(value.dest_plain_lock.as_bytes());
    receipt.set_is_complete(value.is_complete);
    set_credits(value.dest_payment, receipt.reborrow().init_dest_payment());
    set_credits(value.total_dest_payment, receipt.reborrow().init_total_dest_payment());
    receipt.set_signature(value.signature.as_bytes());
}

pub(super) fn receipt(receipt: receipt::Reader<'_>) -> Decoded<Receipt> {
    Ok(Receipt {
        response_hash: fixed("responseHash", receipt.get_response_hash())?,
        invoice_id: fixed("invoiceId", receipt.get_invoice_id())?,
        currency: parse("currency", receipt.get_currency())?,
        src_plain_lock: fixed("srcPlainLock", receipt.get_src_plain_lock())?,
        dest_plain_lock: fixed("destPlainLock", receipt.get_dest_plain_lock())?,
        is_complete: receipt.get_is_complete(),
        dest_payment: credits(receipt.get_dest_payment()?),
        total_dest_payment: credits(receipt.get_total_dest_payment()?),
        signature: fixed("signature", receipt.get_signature())?,
    })
}
