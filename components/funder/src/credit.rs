//! Mutual credit of one currency with one friend: balances, frozen amounts, pending requests and
//! the six operations (protocol, section 6).
//!
//! Invariants: the balance mirrors the friend's; each side's pending debt is the sum of what its
//! pending requests freeze; the pending tree holds exactly the pending requests.
#![deny(clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;

use offset_crypto::{HashResult, Label, LabelHasher, PlainLock, PublicKey, RequestId};
use offset_proto::{
    Balance, Credits, Currency, Timestamp,
    canonical::{Canonical as _, Writer},
    friend::{FriendOp, MAX_PENDING, Proposal, Request, Response},
    payment::ResponseTerms,
};

use crate::{
    side::{Side, Sided},
    state::{Link, Pending, Stage},
    tree::PendingTree,
};

/// Who the two sides are; fixed for the life of a friendship.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The key of each side.
    pub keys: Sided<PublicKey>,
}

impl Ends {
    /// Us and a friend.
    #[must_use]
    pub const fn new(local: PublicKey, remote: PublicKey) -> Self {
        Self { keys: Sided { local, remote } }
    }

    /// The side with the lower key.
    #[must_use]
    pub fn low(&self) -> Side {
        if self.keys.local < self.keys.remote { Side::Local } else { Side::Remote }
    }
}

/// The numbers of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Numbers {
    /// Positive: the friend owes us.
    pub balance: Balance,
    /// What each side's own requests freeze.
    pub pending_debt: Sided<Credits>,
    /// The most that each side may owe.
    pub max_debt: Sided<Credits>,
    /// Whether each side lets the other send requests.
    pub requests_open: Sided<bool>,
}

impl Numbers {
    /// The numbers with which a currency becomes active.
    #[must_use]
    pub const fn opening(local: Proposal, remote: Proposal) -> Self {
        Self {
            balance: local.opening_balance,
            pending_debt: Sided { local: Credits::ZERO, remote: Credits::ZERO },
            max_debt: Sided { local: remote.max_debt, remote: local.max_debt },
            requests_open: Sided { local: local.requests_open, remote: remote.requests_open },
        }
    }

    /// The balance as `side` sees it.
    #[must_use]
    pub const fn balance_of(&self, side: Side) -> Balance {
        match side {
            Side::Local => self.balance,
            Side::Remote => self.balance.mirrored(),
        }
    }

    /// How much `side` could still freeze with new requests, whether or not requests are open.
    #[must_use]
    pub fn room(&self, side: Side) -> Credits {
        let room = self.balance_of(side).room_above(self.max_debt[side]);
        room.checked_sub(self.pending_debt[side]).unwrap_or(Credits::ZERO)
    }

    /// Whether a new request of `side` that freezes `amount` is within policy: requests open and
    /// `balance - pending - amount >= -maxDebt` (section 6.1).
    #[must_use]
    pub fn allows(&self, side: Side, amount: Credits) -> bool {
        self.requests_open[!side] && amount <= self.room(side)
    }
}

/// A line in a currency that both sides agreed on.
#[derive(Debug, Clone, Default)]
pub struct MutualCredit {
    numbers: Numbers,
    pending: Sided<BTreeMap<RequestId, Pending>>,
    tree: PendingTree,
}

/// An operation that makes its whole move token invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum InvalidOp {
    /// A request with an id that is pending already.
    #[error("a request repeats the id of a pending one")]
    DuplicateRequest,
    /// Zero, above the total, or above 2^127 - 1.
    #[error("a request's amounts are out of range")]
    AmountOutOfRange,
    /// More than 8,192 pending.
    #[error("too many requests are pending")]
    TooManyPending,
    /// A sum that does not fit.
    #[error("an amount overflows")]
    Overflow,
    /// A route with the receiver or a key twice.
    #[error("a request's route is not a route")]
    BadRoute,
    /// Nothing with this id is pending in this direction.
    #[error("an operation names no pending request")]
    UnknownRequest,
    /// Not allowed at the request's stage, or after its release.
    #[error("an operation does not fit the stage of its request")]
    WrongStage,
    /// The response's signature is not the destination's.
    #[error("a response is not signed by the destination")]
    BadSignature,
    /// A lock does not open what it should.
    #[error("a lock does not open")]
    WrongLock,
}

/// What an operation did, besides the numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// The request is pending, or its pending row changed.
    Changed,
    /// The request is gone; this was its row.
    Ended(Box<Pending>),
}

/// What it takes to undo the operations of a move token that turns out invalid.
#[derive(Debug, Default)]
pub(crate) struct Undo {
    numbers: Numbers,
    rows: Vec<(Side, RequestId, Option<Pending>)>,
}

impl MutualCredit {
    /// A line with nothing pending.
    #[must_use]
    pub fn new(numbers: Numbers) -> Self {
        Self { numbers, ..Self::default() }
    }

    /// The numbers.
    #[must_use]
    pub const fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// The pending requests that `side` sent.
    #[must_use]
    pub fn pending(&self, side: Side) -> &BTreeMap<RequestId, Pending> {
        &self.pending[side]
    }

    /// The hash of all that is pending.
    #[must_use]
    pub fn pending_root(&self) -> HashResult {
        self.tree.root()
    }

    /// Whether the currency could be disabled: balance 0, nothing pending.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.numbers.balance == Balance::ZERO
            && Side::BOTH.iter().all(|side| self.pending[*side].is_empty())
    }

    /// Terms that `side` declared for this active currency.
    pub(crate) fn declare(&mut self, side: Side, terms: &Proposal) {
        self.numbers.max_debt[!side] = terms.max_debt;
        self.numbers.requests_open[side] = terms.requests_open;
    }

    /// Changes what only we know of a pending request: where it came from, where it went, and
    /// whether we queued its end. Not part of the hash.
    pub(crate) fn annotate(
        &mut self,
        sender: Side,
        id: RequestId,
        change: impl FnOnce(&mut Pending),
    ) {
        if let Some(row) = self.pending[sender].get_mut(&id) {
            change(row);
        }
    }

    /// Puts or removes a pending row as stored, leaving the numbers to their own row.
    pub(crate) fn put(&mut self, ends: &Ends, sender: Side, id: RequestId, row: Option<Pending>) {
        match row {
            Some(row) => self.store(ends, sender, id, row),
            None => {
                self.pending[sender].remove(&id);
                self.tree.remove(&pending_key(ends, sender, id));
            }
        }
    }

    /// Sets the numbers as stored.
    pub(crate) const fn set_numbers(&mut self, numbers: Numbers) {
        self.numbers = numbers;
    }

    /// Begins a move token that may have to be undone.
    pub(crate) const fn begin(&self) -> Undo {
        Undo { numbers: self.numbers, rows: Vec::new() }
    }

    /// Takes back everything since [`MutualCredit::begin`].
    pub(crate) fn roll_back(&mut self, undo: Undo, ends: &Ends) {
        for (sender, id, row) in undo.rows.into_iter().rev() {
            self.put(ends, sender, id, row);
        }
        self.numbers = undo.numbers;
    }

    /// Applies an operation that `from` sent, as a whole or not at all. Checks structure, not
    /// policy (see [`Numbers::allows`]). The signature of a response is checked when it comes from
    /// the friend; our own were checked when they came to us, or made by us.
    ///
    /// # Errors
    /// [`InvalidOp`]; the line is then unchanged.
    pub(crate) fn apply(
        &mut self,
        ctx: &Context<'_>,
        from: Side,
        op: &FriendOp,
        undo: &mut Undo,
    ) -> Result<Applied, InvalidOp> {
        let id = op.request_id();
        // Requests, commits and releases travel with the request, the others against it.
        let sender = match op {
            FriendOp::Request(_) | FriendOp::Commit(_) | FriendOp::Release(_) => from,
            FriendOp::Response(_) | FriendOp::Collect(_) | FriendOp::Cancel(_) => !from,
        };
        if let FriendOp::Request(request) = op {
            self.request(ctx, sender, request)?;
            undo.rows.push((sender, id, None));
            return Ok(Applied::Changed);
        }
        let before = self.pending[sender].get(&id).ok_or(InvalidOp::UnknownRequest)?.clone();
        let mut row = before.clone();
        let applied = match op {
            FriendOp::Request(_) => return Err(InvalidOp::WrongStage),
            FriendOp::Response(response) => {
                respond(ctx, sender, from, &mut row, response)?;
                self.store(ctx.ends, sender, id, row);
                Applied::Changed
            }
            FriendOp::Commit(commit) => {
                if row.stage != Stage::Responded || row.released {
                    return Err(InvalidOp::WrongStage);
                }
                open(&row, &commit.src_plain_lock)?;
                row.stage = Stage::Committed;
                row.src_plain_lock = Some(commit.src_plain_lock);
                self.store(ctx.ends, sender, id, row);
                Applied::Changed
            }
            FriendOp::Release(_) => {
                if row.stage == Stage::Committed || row.released {
                    return Err(InvalidOp::WrongStage);
                }
                row.released = true;
                self.store(ctx.ends, sender, id, row);
                Applied::Changed
            }
            FriendOp::Collect(collect) => {
                let response = row.response.as_ref().ok_or(InvalidOp::WrongStage)?;
                open(&row, &collect.src_plain_lock)?;
                if !collect.dest_plain_lock.opens(&response.dest_hashed_lock) {
                    return Err(InvalidOp::WrongLock);
                }
                self.end(ctx.ends, sender, row, true)?
            }
            FriendOp::Cancel(_) => self.end(ctx.ends, sender, row, false)?,
        };
        undo.rows.push((sender, id, Some(before)));
        Ok(applied)
    }

    fn request(
        &mut self,
        ctx: &Context<'_>,
        sender: Side,
        request: &Request,
    ) -> Result<(), InvalidOp> {
        let pending = &self.pending[sender];
        check_structure(request, ctx.ends.keys[!sender])?;
        if pending.contains_key(&request.request_id) {
            return Err(InvalidOp::DuplicateRequest);
        }
        if MAX_PENDING <= pending.len() {
            return Err(InvalidOp::TooManyPending);
        }
        let frozen = request.frozen().ok_or(InvalidOp::AmountOutOfRange)?;
        let debt = &mut self.numbers.pending_debt[sender];
        *debt = debt
            .checked_add(frozen)
            .filter(|sum| *sum <= Credits::LIMIT)
            .ok_or(InvalidOp::Overflow)?;
        let row = Pending {
            request: request.clone().into(),
            stage: Stage::Requested,
            released: false,
            response: None,
            src_plain_lock: None,
            link: Link::None,
            closing: false,
            passed_on: None,
            since: ctx.now,
        };
        self.store(ctx.ends, sender, request.request_id, row);
        Ok(())
    }

    fn end(
        &mut self,
        ends: &Ends,
        sender: Side,
        row: Pending,
        paid: bool,
    ) -> Result<Applied, InvalidOp> {
        let frozen = row.request.frozen().ok_or(InvalidOp::Overflow)?;
        let debt = self.numbers.pending_debt[sender].checked_sub(frozen);
        let debt = debt.ok_or(InvalidOp::Overflow)?;
        if paid {
            let moved = match sender {
                Side::Local => self.numbers.balance.checked_sub(frozen),
                Side::Remote => self.numbers.balance.checked_add(frozen),
            };
            self.numbers.balance = moved.ok_or(InvalidOp::Overflow)?;
        }
        self.numbers.pending_debt[sender] = debt;
        let id = row.request.request_id;
        self.pending[sender].remove(&id);
        self.tree.remove(&pending_key(ends, sender, id));
        Ok(Applied::Ended(Box::new(row)))
    }

    fn store(&mut self, ends: &Ends, sender: Side, id: RequestId, row: Pending) {
        self.tree.insert(pending_key(ends, sender, id), content(&row));
        self.pending[sender].insert(id, row);
    }

    /// Panics when an invariant of this module does not hold.
    pub fn check_invariants(&self, ends: &Ends) {
        for side in Side::BOTH {
            let mut sum = Credits::ZERO;
            for (id, row) in &self.pending[side] {
                assert_eq!(*id, row.request.request_id, "a row is filed under its own id");
                assert_eq!(row.response.is_some(), row.stage != Stage::Requested);
                assert_eq!(row.src_plain_lock.is_some(), row.stage == Stage::Committed);
                let frozen = row.request.frozen().expect("checked when it was received");
                sum = sum.checked_add(frozen).expect("checked when it was received");
            }
            assert_eq!(sum, self.numbers.pending_debt[side], "pending debt of {side:?}");
        }
        let mut rebuilt = PendingTree::default();
        for side in Side::BOTH {
            for (id, row) in &self.pending[side] {
                rebuilt.insert(pending_key(ends, side, *id), content(row));
            }
        }
        assert_eq!(rebuilt.root(), self.tree.root(), "the tree holds what is pending");
    }
}

/// What an operation is judged by besides the line itself.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// Who the sides are.
    pub(crate) ends: &'a Ends,
    /// The currency of the line.
    pub(crate) currency: &'a Currency,
    /// When the token that carries the operation is applied or composed.
    pub(crate) now: Timestamp,
}

/// The rules of a request that do not depend on what is pending (section 6.1): amounts in range,
/// and a route that does not lead back to its receiver or through a key twice. (A cycle may end at
/// its origin, which its receiver is not.)
pub(crate) fn check_structure(request: &Request, receiver: PublicKey) -> Result<(), InvalidOp> {
    if request.dest_payment == Credits::ZERO
        || request.total_dest_payment < request.dest_payment
        || request.frozen().is_none()
    {
        return Err(InvalidOp::AmountOutOfRange);
    }
    let route = &request.route;
    let distinct = |(at, key): (usize, &PublicKey)| !route[..at].contains(key) && *key != receiver;
    if offset_proto::friend::MAX_REMAINING_KEYS < route.len()
        || !route.iter().enumerate().all(distinct)
    {
        return Err(InvalidOp::BadRoute);
    }
    Ok(())
}

fn respond(
    ctx: &Context<'_>,
    sender: Side,
    from: Side,
    row: &mut Pending,
    response: &Response,
) -> Result<(), InvalidOp> {
    if row.stage != Stage::Requested {
        return Err(InvalidOp::WrongStage);
    }
    if from == Side::Remote {
        let destination = row.request.destination(ctx.ends.keys[!sender]);
        let terms = ResponseTerms::of(&row.request, response, ctx.currency);
        if !terms.verify(&destination, &response.signature) {
            return Err(InvalidOp::BadSignature);
        }
    }
    row.stage = Stage::Responded;
    row.response = Some(response.clone().into());
    Ok(())
}

fn open(row: &Pending, lock: &PlainLock) -> Result<(), InvalidOp> {
    if lock.opens(&row.request.src_hashed_lock) { Ok(()) } else { Err(InvalidOp::WrongLock) }
}

/// `hash(PENDING_KEY, sender (low 0, high 1), requestId)`.
fn pending_key(ends: &Ends, sender: Side, id: RequestId) -> HashResult {
    let high = u8::from(sender != ends.low());
    LabelHasher::new(Label::PENDING_KEY).chain([high]).chain(id).finish()
}

/// `hash(PENDING, request, stage, released, option of the response, option of srcPlainLock)`.
fn content(row: &Pending) -> HashResult {
    let mut out = Writer::default();
    row.request.write(&mut out);
    out.u8(row.stage.number())
        .bool(row.released)
        .option(row.response.as_deref(), |out, response| response.write(out))
        .option(row.src_plain_lock, |out, lock| {
            out.fixed(&lock);
        });
    Label::PENDING.hash(&out.into_bytes())
}
