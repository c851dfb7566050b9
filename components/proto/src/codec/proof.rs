//! `proof.capnp`: what a side that lost its latest state is shown.

use super::{
    CONTROL_WORDS, Decoded, balance, build, check_sorted, count, fixed, friend, invalid, limit,
    list, parse, read, reset, set_balance, set_credits, set_list,
};
use crate::{
    friend::{MAX_CURRENCIES, Proposal},
    proof::{
        ActiveState, BegunEpoch, CurrencyState, LineState, MAX_PROOF_BYTES, MAX_PROVEN_PENDING,
        PROOF_PAGE_BYTES, PendingState, ProofPage, Signed, StateProof,
    },
    schema::{
        friend_capnp::state_proof_page,
        proof_capnp::{
            active_state, begun_epoch, currency_state, pending_state, proposal, state_proof,
        },
    },
};

pub(super) fn set_page(value: &ProofPage, mut page: state_proof_page::Builder<'_>) {
    page.set_page(value.page);
    page.set_total_bytes(value.total_bytes);
    page.set_bytes(&value.bytes);
}

pub(super) fn page_of(page: state_proof_page::Reader<'_>) -> Decoded<ProofPage> {
    let total_bytes = page.get_total_bytes();
    if usize::try_from(total_bytes).is_ok_and(|total| MAX_PROOF_BYTES < total) {
        return Err(invalid("totalBytes", "a proof has at most 64 MiB"));
    }
    let bytes = page.get_bytes()?;
    if PROOF_PAGE_BYTES < bytes.len() {
        return Err(invalid("bytes", "a page has at most 256 KiB"));
    }
    Ok(ProofPage { page: page.get_page(), total_bytes, bytes: bytes.to_vec() })
}

pub(crate) fn encode(proof: &StateProof) -> Vec<u8> {
    build::<state_proof::Owned>(words(proof), |mut root| {
        if let Some(token) = &proof.my_token {
            friend::set_token(token, root.reborrow().init_my_token());
        }
        match &proof.signed {
            Signed::Token { token, state } => {
                let mut signed = root.init_signed();
                friend::set_token(token, signed.reborrow().init_your_token());
                set_list(signed.init_state(count(state.len())), state, set_currency);
            }
            Signed::Reset(begun) => set_begun(begun, root.init_reset()),
        }
    })
}

pub(crate) fn decode(bytes: &[u8]) -> Decoded<StateProof> {
    read::<state_proof::Owned, _>(bytes, |root| {
        let my_token = root.has_my_token().then(|| friend::token_of(root.get_my_token()?));
        let signed = match root.which()? {
            state_proof::Which::Signed(signed) => {
                let state = list("state", signed.get_state()?, MAX_CURRENCIES, currency_of)?;
                check_sorted("state", state.iter().map(|state| &state.currency))?;
                let token = friend::token_of(signed.get_your_token()?)?;
                Signed::Token { token: Box::new(token), state }
            }
            state_proof::Which::Reset(begun) => Signed::Reset(Box::new(begun_of(begun?)?)),
        };
        Ok(StateProof { signed, my_token: my_token.transpose()? })
    })
}

pub(super) fn set_begun(value: &BegunEpoch, mut begun: begun_epoch::Builder<'_>) {
    begun.set_by_asker(value.by_asker);
    reset::set_terms(&value.terms, begun.reborrow().init_terms());
    reset::set_accept(&value.acceptance, begun.init_acceptance());
}

pub(super) fn begun_of(begun: begun_epoch::Reader<'_>) -> Decoded<BegunEpoch> {
    Ok(BegunEpoch {
        by_asker: begun.get_by_asker(),
        terms: reset::terms_of(begun.get_terms()?)?,
        acceptance: reset::accept_of(begun.get_acceptance()?)?,
    })
}

fn words(proof: &StateProof) -> usize {
    let token = |token| TOKEN_WORDS + friend::token_words(token);
    let signed = match &proof.signed {
        Signed::Token { token: signed, state } => {
            token(signed.as_ref()) + state.iter().map(state_words).sum::<usize>()
        }
        Signed::Reset(begun) => BEGUN_WORDS + 8 * begun.terms.body.balances.len(),
    };
    CONTROL_WORDS + signed + proof.my_token.as_ref().map_or(0, token)
}

fn state_words(state: &CurrencyState) -> usize {
    match &state.line {
        LineState::Proposed { .. } => 24,
        LineState::Active(active) => {
            let pending =
                active.pending.iter().map(|row| PENDING_WORDS + 5 * row.request.route.len());
            24 + pending.sum::<usize>()
        }
    }
}

fn set_currency(value: &CurrencyState, mut state: currency_state::Builder<'_>) {
    state.set_currency(value.currency.as_str());
    match &value.line {
        LineState::Proposed { low, high } => {
            let mut proposed = state.init_proposed();
            if let Some(low) = low {
                set_proposal(low, proposed.reborrow().init_low());
            }
            if let Some(high) = high {
                set_proposal(high, proposed.init_high());
            }
        }
        LineState::Active(active) => set_active(active, state.init_active()),
    }
}

fn currency_of(state: currency_state::Reader<'_>) -> Decoded<CurrencyState> {
    use currency_state::Which;
    let line = match state.which()? {
        Which::Proposed(proposed) => {
            let low = proposed.has_low().then(|| proposal_of(proposed.get_low()?));
            let high = proposed.has_high().then(|| proposal_of(proposed.get_high()?));
            if low.is_none() && high.is_none() {
                return Err(invalid("proposed", "a currency that nobody proposed"));
            }
            LineState::Proposed { low: low.transpose()?, high: high.transpose()? }
        }
        Which::Active(active) => LineState::Active(active_of(active?)?),
    };
    Ok(CurrencyState { currency: parse("currency", state.get_currency())?, line })
}

fn set_active(value: &ActiveState, mut active: active_state::Builder<'_>) {
    set_balance(value.balance, active.reborrow().init_balance());
    set_credits(value.max_debt[0], active.reborrow().init_low_max_debt());
    set_credits(value.max_debt[1], active.reborrow().init_high_max_debt());
    active.set_low_requests_open(value.requests_open[0]);
    active.set_high_requests_open(value.requests_open[1]);
    set_list(active.init_pending(count(value.pending.len())), &value.pending, set_pending);
}

fn active_of(active: active_state::Reader<'_>) -> Decoded<ActiveState> {
    Ok(ActiveState {
        balance: balance("balance", active.get_balance()?)?,
        max_debt: [
            limit("lowMaxDebt", active.get_low_max_debt()?)?,
            limit("highMaxDebt", active.get_high_max_debt()?)?,
        ],
        requests_open: [active.get_low_requests_open(), active.get_high_requests_open()],
        pending: list("pending", active.get_pending()?, MAX_PROVEN_PENDING, pending_of)?,
    })
}

fn set_pending(value: &PendingState, mut row: pending_state::Builder<'_>) {
    row.set_sent_by_high(value.sent_by_high);
    friend::set_request(&value.request, row.reborrow().init_request());
    row.set_released(value.released);
    if let Some(response) = &value.response {
        friend::set_response(response, row.reborrow().init_response());
    }
    if let Some(lock) = &value.src_plain_lock {
        row.set_src_plain_lock(lock.as_bytes());
    }
}

fn pending_of(row: pending_state::Reader<'_>) -> Decoded<PendingState> {
    let response = row.has_response().then(|| friend::response_of(row.get_response()?));
    let lock = row.has_src_plain_lock().then(|| fixed("srcPlainLock", row.get_src_plain_lock()));
    Ok(PendingState {
        sent_by_high: row.get_sent_by_high(),
        request: friend::request_of(row.get_request()?)?,
        released: row.get_released(),
        response: response.transpose()?,
        src_plain_lock: lock.transpose()?,
    })
}

pub(super) fn set_proposal(value: &Proposal, mut proposal: proposal::Builder<'_>) {
    set_balance(value.opening_balance, proposal.reborrow().init_opening_balance());
    set_credits(value.max_debt, proposal.reborrow().init_max_debt());
    proposal.set_requests_open(value.requests_open);
}

pub(super) fn proposal_of(proposal: proposal::Reader<'_>) -> Decoded<Proposal> {
    Ok(Proposal {
        opening_balance: balance("openingBalance", proposal.get_opening_balance()?)?,
        max_debt: limit("maxDebt", proposal.get_max_debt()?)?,
        requests_open: proposal.get_requests_open(),
    })
}

/// Terms of a reset without their balances, and their acceptance.
pub(super) const BEGUN_WORDS: usize = 60;
/// A move token without its lists.
pub(super) const TOKEN_WORDS: usize = 32;
/// A pending request without its route.
const PENDING_WORDS: usize = 64;
