//! The token channel's bytes and rules that need no node: genesis, state hash, terms (protocol,
//! section 5).

use std::collections::BTreeMap;

use offset_crypto::{HashResult, Label, LabelHasher, PublicKey};
use offset_proto::{
    Balance, Currency,
    canonical::Writer,
    friend::{CurrencyTerms, MAX_CURRENCIES, Proposal},
    reset::ResetBalance,
    token::{self, ActiveSummary, LineSummary, is_low_turn},
};

use crate::{
    credit::{Ends, MutualCredit, Numbers},
    side::Side,
    state::{Channel, Line},
};

impl Channel {
    /// The channel of a new friendship.
    #[must_use]
    pub fn new(ends: &Ends) -> Self {
        Self {
            inconsistent: None,
            highest_epoch: 0,
            offered_epoch: 0,
            removed_by_friend: false,
            reset: None,
            epoch: 0,
            counter: 0,
            token_id: genesis(ends, 0, &[]),
            own_tokens: [None, None],
            last_sent: None,
            relays_sent: None,
            relays_confirmed: None,
        }
    }

    /// The channel is no longer inconsistent: what we signed meanwhile for a new epoch is used up.
    pub(crate) fn settle(&mut self) {
        if let Some(row) = self.inconsistent.take() {
            let accepted = row.accepted.and(row.remote.as_ref()).map_or(0, |it| it.body.epoch);
            self.offered_epoch = self.offered_epoch.max(row.local.body.epoch).max(accepted);
            self.highest_epoch = self.highest_epoch.max(self.offered_epoch);
        }
    }

    /// Who may send the next move token: the lower key signs the odd counters.
    #[must_use]
    pub fn holder(&self, ends: &Ends) -> Side {
        signer(ends, self.counter.wrapping_add(1))
    }
}

/// Who signs the token with this counter.
pub(crate) fn signer(ends: &Ends, counter: u64) -> Side {
    if is_low_turn(counter) { ends.low() } else { !ends.low() }
}

/// The token id before the first token of an epoch: `hash(GENESIS, lowKey, highKey, 0)`, or
/// `hash(GENESIS, lowKey, highKey, epoch, sorted (currency, low side's balance))` for a later one.
/// The balances are as we see them.
pub(crate) fn genesis(ends: &Ends, epoch: u64, balances: &[ResetBalance]) -> HashResult {
    let (low, high) = low_and_high(ends);
    let mut out = Writer::default();
    out.fixed(&low).fixed(&high).u64(epoch);
    if epoch != 0 {
        out.list(balances, |out, row| {
            let balance = match ends.low() {
                Side::Local => row.balance,
                Side::Remote => row.balance.mirrored(),
            };
            out.text(row.currency.as_str()).i128(balance.get());
        });
    }
    LabelHasher::new(Label::GENESIS).chain(out.into_bytes()).finish()
}

fn low_and_high(ends: &Ends) -> (PublicKey, PublicKey) {
    (ends.keys[ends.low()], ends.keys[!ends.low()])
}

/// What a token with this counter commits to, with lines as these.
pub(crate) fn state_hash(
    ends: &Ends,
    epoch: u64,
    counter: u64,
    lines: &BTreeMap<Currency, Line>,
) -> HashResult {
    let (low, high) = low_and_high(ends);
    token::state_hash(&low, &high, (epoch, counter), &summaries(ends, lines))
}

/// Every currency that is active or proposed by either side, sorted, as the state hash has it.
pub(crate) fn summaries<'a>(
    ends: &Ends,
    lines: &'a BTreeMap<Currency, Line>,
) -> Vec<(&'a Currency, LineSummary)> {
    let sides = [ends.low(), !ends.low()];
    let shared = lines.iter().filter(|(_, line)| is_shared(line));
    shared.map(|(currency, line)| (currency, summary(line, sides))).collect()
}

fn summary(line: &Line, sides: [Side; 2]) -> LineSummary {
    let Some(credit) = &line.credit else {
        let [low, high] = sides.map(|side| match side {
            Side::Local => line.local_proposal,
            Side::Remote => line.remote_proposal,
        });
        return LineSummary::Proposed { low, high };
    };
    let numbers = credit.numbers();
    LineSummary::Active(ActiveSummary {
        balance: numbers.balance_of(sides[0]),
        pending_debt: sides.map(|side| numbers.pending_debt[side]),
        max_debt: sides.map(|side| numbers.max_debt[side]),
        requests_open: sides.map(|side| numbers.requests_open[side]),
        pending_root: credit.pending_root(),
    })
}

/// Whether the friend knows of this currency, or we know of the friend's proposal.
pub(crate) const fn is_shared(line: &Line) -> bool {
    line.credit.is_some() || line.local_proposal.is_some() || line.remote_proposal.is_some()
}

/// The terms that our next token should carry for a line, if any. Judged again each time a token
/// is composed, so what was overtaken meanwhile drops out by itself.
pub(crate) fn terms_due(currency: &Currency, line: &Line) -> Option<CurrencyTerms> {
    let terms =
        |enabled, proposal| Some(CurrencyTerms { currency: currency.clone(), enabled, proposal });
    match (&line.wanted, &line.credit) {
        (Some(wanted), None) => {
            (line.local_proposal != Some(*wanted)).then(|| terms(true, *wanted)).flatten()
        }
        (Some(wanted), Some(credit)) => {
            let numbers = credit.numbers();
            let same = numbers.max_debt[Side::Remote] == wanted.max_debt
                && numbers.requests_open[Side::Local] == wanted.requests_open;
            let proposal = Proposal { opening_balance: Balance::ZERO, ..*wanted };
            (!same).then(|| terms(true, proposal)).flatten()
        }
        (None, None) => line.local_proposal.and_then(|_| terms(false, Proposal::default())),
        (None, Some(credit)) => {
            credit.is_clear().then(|| terms(false, Proposal::default())).flatten()
        }
    }
}

/// Whether our next token would carry terms: those that the bound on the number of currencies
/// refuses wait.
pub(crate) fn is_any_due(lines: &BTreeMap<Currency, Line>) -> bool {
    let full = || MAX_CURRENCIES <= lines.values().filter(|line| is_shared(line)).count();
    lines
        .iter()
        .any(|(currency, line)| terms_due(currency, line).is_some() && (is_shared(line) || !full()))
}

/// Terms that make a move token invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTerms {
    /// A balance other than 0 for a currency that is active.
    #[error("terms name an opening balance for an active currency")]
    OpeningBalance,
    /// A currency is disabled that still holds something.
    #[error("terms disable a currency whose balance is not 0 or with requests pending")]
    NotClear,
    /// Nothing to withdraw.
    #[error("terms withdraw a currency that was not proposed")]
    NotProposed,
    /// More than 64 currencies, active and proposed.
    #[error("terms propose too many currencies")]
    TooManyCurrencies,
}

/// Applies what `side` declared. The same rules for both sides, so that their states stay equal.
///
/// # Errors
/// [`InvalidTerms`]; the lines are then unchanged.
pub(crate) fn apply_terms(
    lines: &mut BTreeMap<Currency, Line>,
    side: Side,
    terms: &CurrencyTerms,
) -> Result<(), InvalidTerms> {
    let known = lines.get(&terms.currency).is_some_and(is_shared);
    if !known && terms.enabled && MAX_CURRENCIES <= lines.values().filter(|l| is_shared(l)).count()
    {
        return Err(InvalidTerms::TooManyCurrencies);
    }
    if !known && !terms.enabled {
        return Err(InvalidTerms::NotProposed);
    }
    let line = lines.entry(terms.currency.clone()).or_insert_with(|| Line {
        wanted: None,
        rate: Default::default(),
        local_proposal: None,
        remote_proposal: None,
        credit: None,
    });
    match (&mut line.credit, terms.enabled) {
        (Some(_), true) if terms.proposal.opening_balance != Balance::ZERO => {
            return Err(InvalidTerms::OpeningBalance);
        }
        (Some(credit), true) => credit.declare(side, &terms.proposal),
        (Some(credit), false) => {
            if !credit.is_clear() {
                return Err(InvalidTerms::NotClear);
            }
            // Proposals are used up, what we wanted for the time after included: who wants the
            // currency again proposes it anew.
            line.credit = None;
            line.wanted = None;
        }
        (None, enabled) => {
            let proposal = match side {
                Side::Local => &mut line.local_proposal,
                Side::Remote => &mut line.remote_proposal,
            };
            if !enabled && proposal.is_none() {
                return Err(InvalidTerms::NotProposed);
            }
            *proposal = enabled.then_some(terms.proposal);
            activate(line);
        }
    }
    Ok(())
}

/// A currency becomes active when both sides proposed it with opposite opening balances; the
/// proposals are then used up.
fn activate(line: &mut Line) {
    if let (Some(local), Some(remote)) = (line.local_proposal, line.remote_proposal)
        && local.opening_balance == remote.opening_balance.mirrored()
    {
        line.credit = Some(MutualCredit::new(Numbers::opening(local, remote)));
        line.local_proposal = None;
        line.remote_proposal = None;
    }
}
