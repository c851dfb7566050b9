//! `proof.capnp`: what one side signed last, and the pages of it in `app.capnp`.

use super::{
    CONTROL_WORDS, Decoded, balance, build, check_sorted, count, fixed, friend, invalid, key,
    limit, list, parse,
    proof::{BEGUN_WORDS, TOKEN_WORDS, begun_of, proposal_of, set_begun, set_proposal},
    read, set_balance, set_credits, set_list,
};
use crate::{
    friend::MAX_CURRENCIES,
    schema::{
        app_capnp::token_page,
        proof_capnp::{active_summary, currency_summary, last_token},
    },
    token::{
        ActiveSummary, CurrencySummary, LastSigned, LastToken, LineSummary, MAX_LAST_TOKEN_BYTES,
        TOKEN_PAGE_BYTES, TokenPage,
    },
};

pub(crate) fn encode(value: &LastToken) -> Vec<u8> {
    build::<last_token::Owned>(words(value), |mut root| {
        root.set_signer(value.signer.as_bytes());
        root.set_receiver(value.receiver.as_bytes());
        match &value.signed {
            LastSigned::Token { token, state } => {
                let mut group = root.init_token();
                friend::set_token(token, group.reborrow().init_token());
                set_list(group.init_state(count(state.len())), state, set_currency);
            }
            LastSigned::Reset(begun) => set_begun(begun, root.init_reset()),
        }
    })
}

pub(crate) fn decode(bytes: &[u8]) -> Decoded<LastToken> {
    read::<last_token::Owned, _>(bytes, |root| {
        let signed = match root.which()? {
            last_token::Which::Token(group) => {
                let state = list("state", group.get_state()?, MAX_CURRENCIES, currency_of)?;
                check_sorted("state", state.iter().map(|row| &row.currency))?;
                let token = friend::token_of(group.get_token()?)?;
                LastSigned::Token { token: Box::new(token), state }
            }
            last_token::Which::Reset(begun) => LastSigned::Reset(Box::new(begun_of(begun?)?)),
        };
        let signer = key("signer", root.get_signer())?;
        let receiver = key("receiver", root.get_receiver())?;
        if signer == receiver {
            return Err(invalid("receiver", "the signer itself"));
        }
        Ok(LastToken { signer, receiver, signed })
    })
}

pub(super) fn page_words(page: &TokenPage) -> usize {
    16 + super::words_of(page.bytes.len())
}

pub(super) fn set_page(value: &TokenPage, mut page: token_page::Builder<'_>) {
    page.set_token_id(value.token_id.as_bytes());
    page.set_total_bytes(value.total_bytes);
    page.set_bytes(&value.bytes);
}

pub(super) fn page_of(page: token_page::Reader<'_>) -> Decoded<TokenPage> {
    let total_bytes = page.get_total_bytes();
    if usize::try_from(total_bytes).is_ok_and(|total| MAX_LAST_TOKEN_BYTES < total) {
        return Err(invalid("totalBytes", "what is signed has at most 1 MiB"));
    }
    let bytes = page.get_bytes()?;
    if TOKEN_PAGE_BYTES < bytes.len() {
        return Err(invalid("bytes", "a page has at most 128 KiB"));
    }
    let token_id = fixed("tokenId", page.get_token_id())?;
    Ok(TokenPage { token_id, total_bytes, bytes: bytes.to_vec() })
}

fn words(value: &LastToken) -> usize {
    let signed = match &value.signed {
        LastSigned::Token { token, state } => {
            TOKEN_WORDS + friend::token_words(token) + SUMMARY_WORDS * state.len()
        }
        LastSigned::Reset(begun) => BEGUN_WORDS + 8 * begun.terms.body.balances.len(),
    };
    CONTROL_WORDS + signed
}

fn set_currency(value: &CurrencySummary, mut state: currency_summary::Builder<'_>) {
    state.set_currency(value.currency.as_str());
    match &value.line {
        LineSummary::Proposed { low, high } => {
            let mut proposed = state.init_proposed();
            if let Some(low) = low {
                set_proposal(low, proposed.reborrow().init_low());
            }
            if let Some(high) = high {
                set_proposal(high, proposed.init_high());
            }
        }
        LineSummary::Active(active) => set_active(active, state.init_active()),
    }
}

fn currency_of(state: currency_summary::Reader<'_>) -> Decoded<CurrencySummary> {
    use currency_summary::Which;
    let line = match state.which()? {
        Which::Proposed(proposed) => {
            let low = proposed.has_low().then(|| proposal_of(proposed.get_low()?));
            let high = proposed.has_high().then(|| proposal_of(proposed.get_high()?));
            if low.is_none() && high.is_none() {
                return Err(invalid("proposed", "a currency that nobody proposed"));
            }
            LineSummary::Proposed { low: low.transpose()?, high: high.transpose()? }
        }
        Which::Active(active) => LineSummary::Active(active_of(active?)?),
    };
    Ok(CurrencySummary { currency: parse("currency", state.get_currency())?, line })
}

fn set_active(value: &ActiveSummary, mut active: active_summary::Builder<'_>) {
    set_balance(value.balance, active.reborrow().init_balance());
    set_credits(value.pending_debt[0], active.reborrow().init_low_pending_debt());
    set_credits(value.pending_debt[1], active.reborrow().init_high_pending_debt());
    set_credits(value.max_debt[0], active.reborrow().init_low_max_debt());
    set_credits(value.max_debt[1], active.reborrow().init_high_max_debt());
    active.set_low_requests_open(value.requests_open[0]);
    active.set_high_requests_open(value.requests_open[1]);
    active.set_pending_root(value.pending_root.as_bytes());
}

fn active_of(active: active_summary::Reader<'_>) -> Decoded<ActiveSummary> {
    Ok(ActiveSummary {
        balance: balance("balance", active.get_balance()?)?,
        pending_debt: [
            limit("lowPendingDebt", active.get_low_pending_debt()?)?,
            limit("highPendingDebt", active.get_high_pending_debt()?)?,
        ],
        max_debt: [
            limit("lowMaxDebt", active.get_low_max_debt()?)?,
            limit("highMaxDebt", active.get_high_max_debt()?)?,
        ],
        requests_open: [active.get_low_requests_open(), active.get_high_requests_open()],
        pending_root: fixed("pendingRoot", active.get_pending_root())?,
    })
}

/// A currency with how it stands.
const SUMMARY_WORDS: usize = 32;
