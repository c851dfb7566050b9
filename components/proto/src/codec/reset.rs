//! The messages of `friend.capnp` with which a channel begins again.

use super::{
    Decoded, balance, check_sorted, count, fixed, friend::epoch_of, list, parse, set_balance,
    set_list,
};
use crate::{
    friend::MAX_CURRENCIES,
    reset::{
        AcceptReset, Collected, Inconsistency, MAX_COLLECTED, ResetBalance, ResetTerms,
        ResetTermsBody,
    },
    schema::friend_capnp::{accept_reset, collected, inconsistency, reset_balance},
};

/// What one entry of `collected` takes.
pub(super) const COLLECTED_WORDS: usize = 42;

pub(super) fn words(message: &Inconsistency) -> usize {
    40 + 8 * message.terms.body.balances.len() + COLLECTED_WORDS * message.collected.len()
}

pub(super) fn set_inconsistency(value: &Inconsistency, mut message: inconsistency::Builder<'_>) {
    set_terms(&value.terms, message.reborrow());
    let collected = message.init_collected(count(value.collected.len()));
    set_list(collected, &value.collected, set_collected);
}

/// The terms alone.
pub(super) fn set_terms(value: &ResetTerms, mut message: inconsistency::Builder<'_>) {
    let terms = &value.body;
    message.set_epoch(terms.epoch);
    let balances = message.reborrow().init_balances(count(terms.balances.len()));
    set_list(balances, &terms.balances, set_row);
    message.set_pending(terms.pending);
    if let Some(last) = &terms.last {
        message.set_last(last.as_bytes());
    }
    if let Some(previous) = &terms.previous {
        message.set_previous(previous.as_bytes());
    }
    message.set_signature(value.signature.as_bytes());
}

pub(super) fn inconsistency_of(message: inconsistency::Reader<'_>) -> Decoded<Inconsistency> {
    let collected = list("collected", message.get_collected()?, MAX_COLLECTED, collected_of)?;
    Ok(Inconsistency { terms: terms_of(message)?, collected })
}

/// The terms alone.
pub(super) fn terms_of(message: inconsistency::Reader<'_>) -> Decoded<ResetTerms> {
    let balances = list("balances", message.get_balances()?, MAX_CURRENCIES, row_of)?;
    check_sorted("balances", balances.iter().map(|row| &row.currency))?;
    let last = message.has_last().then(|| fixed("last", message.get_last()));
    let previous = message.has_previous().then(|| fixed("previous", message.get_previous()));
    let body = ResetTermsBody {
        epoch: epoch_of("epoch", message.get_epoch())?,
        balances,
        pending: message.get_pending(),
        last: last.transpose()?,
        previous: previous.transpose()?,
    };
    let signature = fixed("signature", message.get_signature())?;
    Ok(ResetTerms { body, signature })
}

fn set_row(value: &ResetBalance, mut row: reset_balance::Builder<'_>) {
    row.set_currency(value.currency.as_str());
    set_balance(value.balance, row.init_balance());
}

fn row_of(row: reset_balance::Reader<'_>) -> Decoded<ResetBalance> {
    Ok(ResetBalance {
        currency: parse("currency", row.get_currency())?,
        balance: balance("balance", row.get_balance()?)?,
    })
}

pub(super) fn set_collected(value: &Collected, mut entry: collected::Builder<'_>) {
    entry.set_currency(value.currency.as_str());
    entry.set_request_id(value.request_id.as_bytes());
    entry.set_dest_hashed_lock(value.dest_hashed_lock.as_bytes());
    entry.set_is_complete(value.is_complete);
    entry.set_response_hash(value.response_hash.as_bytes());
    entry.set_signature(value.signature.as_bytes());
    entry.set_src_plain_lock(value.src_plain_lock.as_bytes());
    entry.set_dest_plain_lock(value.dest_plain_lock.as_bytes());
}

pub(super) fn collected_of(entry: collected::Reader<'_>) -> Decoded<Collected> {
    Ok(Collected {
        currency: parse("currency", entry.get_currency())?,
        request_id: fixed("requestId", entry.get_request_id())?,
        dest_hashed_lock: fixed("destHashedLock", entry.get_dest_hashed_lock())?,
        is_complete: entry.get_is_complete(),
        response_hash: fixed("responseHash", entry.get_response_hash())?,
        signature: fixed("signature", entry.get_signature())?,
        src_plain_lock: fixed("srcPlainLock", entry.get_src_plain_lock())?,
        dest_plain_lock: fixed("destPlainLock", entry.get_dest_plain_lock())?,
    })
}

pub(super) fn set_accept(value: &AcceptReset, mut message: accept_reset::Builder<'_>) {
    message.set_reset_token(value.reset_token.as_bytes());
    message.set_signature(value.signature.as_bytes());
}

pub(super) fn accept_of(message: accept_reset::Reader<'_>) -> Decoded<AcceptReset> {
    Ok(AcceptReset {
        reset_token: fixed("resetToken", message.get_reset_token())?,
        signature: fixed("signature", message.get_signature())?,
    })
}
