//! State proofs: what a friend that lost its latest state is shown, and what is believed of what a
//! friend shows us (protocol, section 8). Pure functions; sessions are in `asking`.
//!
//! ```text
//!   a friend's last token        our last token                   a friend that remembers less
//!   (kept: `received`)           (kept: `last_sent`)              than its own last token is shown
//!        |                            |                           that token, the state at it, and
//!   ---- c-1 ------------------------ c ---- lines as they are    our token after it
//!        ^-- undone with the token itself and `before_sent` --'
//! ```

use std::{collections::BTreeMap, sync::Arc};

use offset_crypto::HashResult;
use offset_proto::{
    Credits, Currency, Timestamp,
    friend::{CurrencyOps, FriendOp, MoveToken, MoveTokenBody, Proposal},
    proof::{ActiveState, BegunEpoch, CurrencyState, LineState, PendingState, Signed, StateProof},
    reset::ResetBalance,
    token::{CurrencySummary, InvalidToken, LastSigned},
};

use crate::{
    change::apply_line,
    channel::{genesis, is_shared, signer, state_hash, summaries},
    credit::{Ends, MutualCredit, Numbers},
    reset::mirrored,
    side::{Side, Sided},
    state::{Agreement, BeforeSent, Channel, Friend, Line, Link, Pending, Stage},
    tokens::apply_body,
};

/// Lines by currency.
pub(crate) type Lines = BTreeMap<Currency, Line>;

/// What to show a friend that remembers less than we do: its last token, or in an epoch in which it
/// has signed none how that began. `None` when what we keep does not lead back to what it signed.
pub(crate) fn shown(friend: &Friend, ends: &Ends) -> Option<StateProof> {
    let channel = &friend.channel;
    let Some(your_token) = friend.received.as_deref() else {
        return begun(channel, ends);
    };
    let my_token = match signer(ends, channel.counter) {
        Side::Local => Some(channel.last_sent.as_deref()?.clone()),
        Side::Remote => None,
    };
    let state = state_of(&lines_signed(your_token, friend, ends)?, ends);
    Some(StateProof {
        signed: Signed::Token { token: Box::new(your_token.clone()), state },
        my_token,
    })
}

/// What a friend signed last in this epoch, for anybody to see; `None` when it has signed nothing, or
/// what it signed is forgotten here.
pub(crate) fn last_signed(friend: &Friend, ends: &Ends) -> Option<LastSigned> {
    let Some(token) = friend.received.as_deref() else {
        return match begun(&friend.channel, ends)?.signed {
            Signed::Reset(begun) => Some(LastSigned::Reset(begun)),
            Signed::Token { .. } => None,
        };
    };
    let lines = lines_signed(token, friend, ends)?;
    let rows = summaries(ends, &lines).into_iter();
    let state = rows.map(|(currency, line)| CurrencySummary { currency: currency.clone(), line });
    Some(LastSigned::Token { token: Box::new(token.clone()), state: state.collect() })
}

fn lines_signed(token: &MoveToken, friend: &Friend, ends: &Ends) -> Option<Lines> {
    let lines = lines_at(token, friend, ends);
    if lines.is_none() {
        log::error!("the state that friend {:?} signed cannot be told", ends.keys.remote);
        debug_assert!(false, "the state before our own token cannot be told");
    }
    lines
}

/// The lines as they were at the friend's last token; `None` when what is kept does not lead back to
/// what it signed.
pub(crate) fn lines_at(token: &MoveToken, friend: &Friend, ends: &Ends) -> Option<Lines> {
    let channel = &friend.channel;
    let mut lines = friend.lines.clone();
    if signer(ends, channel.counter) == Side::Local {
        undo(&mut lines, &channel.last_sent.as_deref()?.body, &friend.before_sent, ends)?;
    }
    let body = &token.body;
    (state_hash(ends, body.epoch, body.counter, &lines) == body.state_hash).then_some(lines)
}

/// How an epoch began in which the friend has signed no token.
fn begun(channel: &Channel, ends: &Ends) -> Option<StateProof> {
    let Agreement { proposer, terms, acceptance } = channel.reset.as_deref()?.clone();
    let my_token = match channel.counter {
        0 => None,
        1 if signer(ends, 1) == Side::Local => Some(channel.last_sent.as_deref()?.clone()),
        // What the friend signed is forgotten here.
        _ => return None,
    };
    if terms.body.epoch != channel.epoch {
        return None;
    }
    let by_asker = proposer == Side::Remote;
    let signed = Signed::Reset(Box::new(BegunEpoch { by_asker, terms, acceptance }));
    Some(StateProof { signed, my_token })
}

/// Whether a friend's proof shows that we signed more than `known`; gives the lines as they are then,
/// after the friend's own token.
///
/// # Errors
/// Why it proves nothing.
pub(crate) fn check(
    ends: &Ends,
    known: &Channel,
    proof: &StateProof,
    now: Timestamp,
) -> Result<Lines, &'static str> {
    let (at, mut lines) = match &proof.signed {
        Signed::Token { token, state } => {
            check_token(ends, (known.epoch, known.counter), token, state)?
        }
        // Terms that we once offered and that came to nothing, accepted now, begin no epoch.
        Signed::Reset(begun) => check_begun(ends, known.epoch.max(known.offered_epoch), begun)?,
    };
    if let Some(theirs) = &proof.my_token {
        let follows = theirs.body.epoch == at.epoch
            && at.counter.checked_add(1) == Some(theirs.body.counter)
            && signer(ends, theirs.body.counter) == Side::Remote
            && theirs.body.prev_token == at.token_id;
        if !follows || theirs.verify(&ends.keys.remote).is_none() {
            return Err("the friend's own token does not follow what this node signed");
        }
        apply_body(&mut lines, ends, now, &theirs.body)
            .map_err(|_| "the friend's own token is not valid after what this node signed")?;
    }
    Ok(lines)
}

/// Where a channel stands after what we signed last.
struct At {
    epoch: u64,
    counter: u64,
    token_id: HashResult,
}

fn check_token(
    ends: &Ends,
    known: (u64, u64),
    token: &MoveToken,
    state: &[CurrencyState],
) -> Result<(At, Lines), &'static str> {
    let (epoch, counter) = (token.body.epoch, token.body.counter);
    if (epoch, counter) <= known {
        return Err("it shows nothing later than what this node remembers");
    }
    let checked = token.check(&ends.keys.local, &ends.keys.remote);
    let token_id = checked.map_err(not_ours)?;
    let lines = lines_of(state, ends).ok_or("its state is not one that can be")?;
    if state_hash(ends, epoch, counter, &lines) != token.body.state_hash {
        return Err(not_ours(InvalidToken::State));
    }
    Ok((At { epoch, counter, token_id }, lines))
}

/// Both sides' word for an epoch: what we signed is the terms, or their acceptance.
fn check_begun(ends: &Ends, known: u64, begun: &BegunEpoch) -> Result<(At, Lines), &'static str> {
    let epoch = begun.terms.body.epoch;
    if epoch <= known {
        return Err("it shows nothing later than what this node remembers");
    }
    begun.check(&ends.keys.local, &ends.keys.remote).map_err(not_ours)?;
    let agreement = agreement_of(begun);
    let balances = agreed_balances(&agreement);
    let token_id = genesis(ends, epoch, &balances);
    let lines = balances.iter().map(|row| (row.currency.clone(), begun_line(row))).collect();
    Ok((At { epoch, counter: 0, token_id }, lines))
}

/// Why what a friend shows is nothing that we signed.
const fn not_ours(why: InvalidToken) -> &'static str {
    match why {
        InvalidToken::Turn => "its token is not one that this node could have sent",
        InvalidToken::Signature => "its token is not signed by this node",
        InvalidToken::State => "its state is not the one that this node signed",
        InvalidToken::Terms => {
            "the terms of the new epoch are not signed by who is said to have made them"
        }
        InvalidToken::Acceptance => "the terms of the new epoch were not accepted",
    }
}

/// What a proof says of the beginning of an epoch, as we would have kept it.
pub(crate) fn agreement_of(begun: &BegunEpoch) -> Agreement {
    Agreement {
        proposer: if begun.by_asker { Side::Local } else { Side::Remote },
        terms: begun.terms.clone(),
        acceptance: begun.acceptance,
    }
}

/// The balances of an agreement, as we see them.
pub(crate) fn agreed_balances(agreement: &Agreement) -> Vec<ResetBalance> {
    let balances = &agreement.terms.body.balances;
    match agreement.proposer {
        Side::Local => balances.clone(),
        Side::Remote => mirrored(balances),
    }
}

/// A line as an epoch begins with it, wanted as it is.
fn begun_line(row: &ResetBalance) -> Line {
    let numbers = Numbers { balance: row.balance, ..Numbers::default() };
    Line {
        wanted: Some(Proposal::default()),
        rate: Default::default(),
        local_proposal: None,
        remote_proposal: None,
        credit: Some(MutualCredit::new(numbers)),
    }
}

/// The lines after what we signed ourselves, as a checked proof shows them.
pub(crate) fn signed_lines(signed: &Signed, ends: &Ends) -> Option<Lines> {
    match signed {
        Signed::Token { state, .. } => lines_of(state, ends),
        Signed::Reset(begun) => {
            let balances = agreed_balances(&agreement_of(begun));
            let lines = balances.iter().map(|row| (row.currency.clone(), begun_line(row)));
            Some(lines.collect())
        }
    }
}

/// Takes our own last token back.
fn undo(lines: &mut Lines, body: &MoveTokenBody, before: &BeforeSent, ends: &Ends) -> Option<()> {
    let ended: BTreeMap<_, _> =
        before.ended.iter().map(|(c, row)| ((c, row.request.request_id), row)).collect();
    for CurrencyOps { currency, ops } in &body.currency_ops {
        let credit = lines.get_mut(currency)?.credit.as_mut()?;
        for op in ops.iter().rev() {
            let row = ended.get(&(currency, op.request_id())).copied();
            undo_op(credit, op, row, ends)?;
        }
    }
    for (currency, row) in &before.terms {
        match row {
            Some(row) => apply_line(lines, currency, row),
            None => drop(lines.remove(currency)),
        }
    }
    Some(())
}

fn undo_op(
    credit: &mut MutualCredit,
    op: &FriendOp,
    ended: Option<&Pending>,
    ends: &Ends,
) -> Option<()> {
    let id = op.request_id();
    let mut numbers = *credit.numbers();
    let (sender, row) = match op {
        FriendOp::Request(request) => {
            let debt = &mut numbers.pending_debt.local;
            *debt = debt.checked_sub(request.frozen()?)?;
            (Side::Local, None)
        }
        FriendOp::Response(_) => {
            let row = credit.pending(Side::Remote).get(&id)?.clone();
            (Side::Remote, Some(Pending { stage: Stage::Requested, response: None, ..row }))
        }
        FriendOp::Commit(_) => {
            let row = credit.pending(Side::Local).get(&id)?.clone();
            (Side::Local, Some(Pending { stage: Stage::Responded, src_plain_lock: None, ..row }))
        }
        FriendOp::Release(_) => {
            let row = credit.pending(Side::Local).get(&id)?.clone();
            (Side::Local, Some(Pending { released: false, ..row }))
        }
        FriendOp::Collect(_) | FriendOp::Cancel(_) => {
            let row = ended?.clone();
            let frozen = row.request.frozen()?;
            let debt = &mut numbers.pending_debt.remote;
            *debt = debt.checked_add(frozen)?;
            if matches!(op, FriendOp::Collect(_)) {
                numbers.balance = numbers.balance.checked_sub(frozen)?;
            }
            (Side::Remote, Some(row))
        }
    };
    credit.put(ends, sender, id, row);
    credit.set_numbers(numbers);
    Some(())
}

/// The state of lines as a proof names it.
fn state_of(lines: &Lines, ends: &Ends) -> Vec<CurrencyState> {
    let sides = [ends.low(), !ends.low()];
    let shared = lines.iter().filter(|(_, line)| is_shared(line));
    shared
        .map(|(currency, line)| {
            let line = match &line.credit {
                None => {
                    let of = |side| match side {
                        Side::Local => line.local_proposal,
                        Side::Remote => line.remote_proposal,
                    };
                    LineState::Proposed { low: of(sides[0]), high: of(sides[1]) }
                }
                Some(credit) => {
                    let numbers = credit.numbers();
                    LineState::Active(ActiveState {
                        balance: numbers.balance_of(sides[0]),
                        max_debt: sides.map(|side| numbers.max_debt[side]),
                        requests_open: sides.map(|side| numbers.requests_open[side]),
                        pending: pending_of(credit, sides),
                    })
                }
            };
            CurrencyState { currency: currency.clone(), line }
        })
        .collect()
}

fn pending_of(credit: &MutualCredit, sides: [Side; 2]) -> Vec<PendingState> {
    let rows = sides.into_iter().flat_map(|side| {
        credit.pending(side).values().map(move |row| PendingState {
            sent_by_high: side == sides[1],
            request: row.request.as_ref().clone(),
            released: row.released,
            response: row.response.as_deref().cloned(),
            src_plain_lock: row.src_plain_lock,
        })
    });
    rows.collect()
}

/// The lines that a proof names, as we would hold them with nothing of our own beside them: what we
/// want is what was declared. `None` when the numbers contradict each other.
fn lines_of(state: &[CurrencyState], ends: &Ends) -> Option<Lines> {
    let mut lines = Lines::new();
    for CurrencyState { currency, line } in state {
        let line = match line {
            LineState::Proposed { low, high } => {
                let (local, remote) = match ends.low() {
                    Side::Local => (*low, *high),
                    Side::Remote => (*high, *low),
                };
                Line {
                    wanted: local,
                    rate: Default::default(),
                    local_proposal: local,
                    remote_proposal: remote,
                    credit: None,
                }
            }
            LineState::Active(active) => active_line(active, ends)?,
        };
        lines.insert(currency.clone(), line);
    }
    Some(lines)
}

fn active_line(active: &ActiveState, ends: &Ends) -> Option<Line> {
    let low = ends.low();
    let sided = |pair: [Credits; 2]| match low {
        Side::Local => Sided { local: pair[0], remote: pair[1] },
        Side::Remote => Sided { local: pair[1], remote: pair[0] },
    };
    let requests_open = match low {
        Side::Local => Sided { local: active.requests_open[0], remote: active.requests_open[1] },
        Side::Remote => Sided { local: active.requests_open[1], remote: active.requests_open[0] },
    };
    let balance = match low {
        Side::Local => active.balance,
        Side::Remote => active.balance.mirrored(),
    };
    let max_debt = sided(active.max_debt);
    let mut numbers = Numbers { balance, pending_debt: Sided::default(), max_debt, requests_open };
    let mut credit = MutualCredit::default();
    for state in &active.pending {
        let sender = if state.sent_by_high { !low } else { low };
        let row = pending_row(state)?;
        let debt = &mut numbers.pending_debt[sender];
        let sum = debt.checked_add(row.request.frozen()?);
        *debt = sum.filter(|sum| *sum <= Credits::LIMIT)?;
        if credit.pending(sender).contains_key(&row.request.request_id) {
            return None;
        }
        credit.put(ends, sender, row.request.request_id, Some(row));
    }
    credit.set_numbers(numbers);
    let wanted = Proposal {
        opening_balance: offset_proto::Balance::ZERO,
        max_debt: max_debt.remote,
        requests_open: requests_open.local,
    };
    Some(Line {
        wanted: Some(wanted),
        rate: Default::default(),
        local_proposal: None,
        remote_proposal: None,
        credit: Some(credit),
    })
}

fn pending_row(state: &PendingState) -> Option<Pending> {
    let stage = match (&state.response, &state.src_plain_lock) {
        (None, None) => Stage::Requested,
        (Some(_), None) => Stage::Responded,
        (Some(_), Some(lock)) if lock.opens(&state.request.src_hashed_lock) => Stage::Committed,
        (Some(_) | None, Some(_)) => return None,
    };
    let same_id =
        |response: &offset_proto::friend::Response| response.request_id == state.request.request_id;
    if !state.response.as_ref().is_none_or(same_id) {
        return None;
    }
    Some(Pending {
        request: Arc::new(state.request.clone()),
        stage,
        released: state.released,
        response: state.response.clone().map(Arc::new),
        src_plain_lock: state.src_plain_lock,
        link: Link::None,
        closing: false,
        passed_on: None,
        since: Timestamp(0),
    })
}
