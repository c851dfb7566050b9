//! The seller's part: the sets of parts that pay invoices (protocol, section 6.3). The invoices
//! themselves are in [`crate::invoices`].
//!
//! A set stands and falls together. Nothing is promised before all of it is here, and once a commit
//! is accepted nothing of it is cancelled any more, except all of it while its invoice holds it.

use offset_crypto::{
    HashedLock, InvoiceId, Nonce, PlainLock, PublicKey, RequestId, Rng, hash_parts,
};
use offset_proto::{
    Credits, Text, Timestamp,
    app::{AppError, ErrorCode},
    friend::{CancelReason, Collect, FriendOp, Request, Response},
    payment::ResponseTerms,
};

use crate::{
    dirty::Key,
    funder::{Funder, Place, Timer},
    past::Past,
    side::Side,
    state::{InvoicePhase, Link, Pending, SetKey, SetRow, Stage, settled_id},
};

impl Funder {
    /// A request for us: joins its set and is answered.
    ///
    /// # Errors
    /// Why the request must be cancelled.
    pub(crate) fn destination_received(
        &mut self,
        now: Timestamp,
        rng: &mut dyn Rng,
        at: &Place,
        request: &Request,
    ) -> Result<(), CancelReason> {
        self.check_invoice(now, at, request)?;
        let key =
            SetKey { invoice_id: request.invoice_id, src_hashed_lock: request.src_hashed_lock };
        let sum = match self.state.sets.get(&key) {
            None => Credits::ZERO,
            Some(set) if set.accepted => return Err(CancelReason::AlreadyPaid),
            Some(set) => {
                let same = set.currency == at.currency
                    && set.total == request.total_dest_payment
                    && set.spontaneous == request.spontaneous;
                if !same || MAX_PARTS <= set.parts.len() {
                    return Err(CancelReason::UnknownInvoice);
                }
                self.sum_of(set, |_| true)
            }
        };
        let sum = sum.checked_add(request.dest_payment).ok_or(CancelReason::UnknownInvoice)?;
        if request.total_dest_payment < sum {
            return Err(CancelReason::AlreadyPaid);
        }
        let set = self.state.sets.entry(key).or_insert_with(|| SetRow {
            currency: at.currency.clone(),
            total: request.total_dest_payment,
            spontaneous: request.spontaneous,
            since: now,
            parts: Vec::new(),
            src_plain_lock: None,
            accepted: false,
            held: false,
            rebuilt: false,
            arrived: false,
        });
        set.parts.push((at.friend, at.id));
        if set.parts.len() == 1 {
            self.timers.insert((now.plus_ms(self.config.set_patience_ms), Timer::Set(key)));
        }
        self.dirty.mark(Key::Set(key));
        self.annotate(at, Side::Remote, |row| row.link = Link::Destination);
        let response = self.respond(rng, at, request, sum == request.total_dest_payment);
        self.enqueue(now, at, FriendOp::Response(response), Link::None);
        Ok(())
    }

    fn check_invoice(
        &self,
        now: Timestamp,
        at: &Place,
        request: &Request,
    ) -> Result<(), CancelReason> {
        match self.state.invoices.get(&request.invoice_id) {
            // A registered invoice is never paid as a spontaneous one, not even when it has ended.
            Some(_) if request.spontaneous => Err(CancelReason::UnknownInvoice),
            None => match self.past_of(&at.currency, request) {
                // Unknown is not unpaid.
                None => Err(CancelReason::Busy),
                Some(Past::Paid) => Err(CancelReason::AlreadyPaid),
                Some(Past::Ended) => Err(CancelReason::UnknownInvoice),
                Some(Past::Nothing) if !request.spontaneous => Err(CancelReason::UnknownInvoice),
                Some(Past::Nothing) if self.state.settings.accepts_spontaneous => Ok(()),
                Some(Past::Nothing) => Err(CancelReason::Declined),
            },
            Some(row) => match row.phase {
                InvoicePhase::Committed | InvoicePhase::Collected => Err(CancelReason::AlreadyPaid),
                InvoicePhase::Cancelled => Err(CancelReason::UnknownInvoice),
                InvoicePhase::Expired => Err(CancelReason::Expired),
                InvoicePhase::Open if row.invoice.expires_at < now => Err(CancelReason::Expired),
                InvoicePhase::Open => {
                    let fits = row.invoice.currency == at.currency
                        && row.invoice.dest_payment == request.total_dest_payment;
                    if fits { Ok(()) } else { Err(CancelReason::UnknownInvoice) }
                }
            },
        }
    }

    fn respond(
        &self,
        rng: &mut dyn Rng,
        at: &Place,
        request: &Request,
        is_complete: bool,
    ) -> Response {
        let nonce = Nonce::random(rng);
        let lock = self.dest_plain_lock(&request.invoice_id, &request.src_hashed_lock);
        let mut response = Response {
            request_id: at.id,
            dest_hashed_lock: lock.hashed(),
            is_complete,
            response_hash: hash_parts(&[at.id.as_ref(), nonce.as_ref()]),
            signature: offset_crypto::Signature::from_bytes([0; 64]),
        };
        response.signature =
            ResponseTerms::of(request, &response, &at.currency).sign(&self.identity);
        response
    }

    /// The lock of a set: derived, never stored, so that a seller that lost its database can still
    /// collect.
    pub(crate) fn dest_plain_lock(&self, invoice: &InvoiceId, src: &HashedLock) -> PlainLock {
        PlainLock::from_bytes(self.identity.derive(&[
            b"offset/1/DEST_LOCK",
            invoice.as_ref(),
            src.as_ref(),
        ]))
    }

    /// What the parts of a set that fulfil a condition pay together.
    pub(crate) fn sum_of(&self, set: &SetRow, condition: impl Fn(&Pending) -> bool) -> Credits {
        let parts = set.parts.iter().filter_map(|(friend, id)| {
            let row = self.state.pending(friend, &set.currency, Side::Remote, id)?;
            (condition(row) && !row.closing).then_some(row.request.dest_payment)
        });
        parts.fold(Credits::ZERO, |sum, part| sum.checked_add(part).unwrap_or(Credits(u128::MAX)))
    }

    /// The buyer opened its lock on one part: that commits the whole set, now or when it is
    /// complete.
    pub(crate) fn part_committed(&mut self, now: Timestamp, at: &Place) {
        let Some(row) = self.pending(at, Side::Remote) else {
            return;
        };
        let key = set_key(row);
        let lock = row.src_plain_lock;
        if let Some(set) = self.state.sets.get_mut(&key)
            && set.src_plain_lock.is_none()
        {
            set.src_plain_lock = lock;
            self.dirty.mark(Key::Set(key));
        }
        self.accept(now, key);
    }

    /// Accepts the commit of a set if it can be accepted now. It is collected at once, unless the
    /// invoice holds it.
    pub(crate) fn accept(&mut self, now: Timestamp, key: SetKey) {
        let Some(set) = self.state.sets.get(&key) else {
            return;
        };
        let unopened = set.accepted || set.src_plain_lock.is_none();
        if unopened || self.hindrance(now, key, set).is_some() {
            return;
        }
        let hold_until = self.hold_until(&key.invoice_id).filter(|until| now < *until);
        self.settle(key, hold_until.is_some());
        self.end_other_sets(now, key);
        self.invoice_moved(key.invoice_id, InvoicePhase::Committed);
        match hold_until {
            Some(until) => drop(self.timers.insert((until, Timer::Invoice(key.invoice_id)))),
            None => self.collect_set(now, key),
        }
    }

    /// Why the commit of a set cannot be accepted now.
    pub(crate) fn hindrance(&self, now: Timestamp, key: SetKey, set: &SetRow) -> Option<Hindrance> {
        let answered = self.sum_of(set, |row| row.stage != Stage::Requested && !row.released);
        let agreed = |friend| self.live.get(friend).is_some_and(|live| live.agreed_since_start);
        let open = match self.state.invoices.get(&key.invoice_id) {
            Some(row) => row.phase == InvoicePhase::Open && now <= row.invoice.expires_at,
            None => set.spontaneous || set.rebuilt,
        };
        if !open {
            Some(Hindrance::Ended)
        } else if answered != set.total {
            Some(Hindrance::Incomplete)
        } else if !set.parts.iter().all(|(friend, _)| agreed(friend)) {
            Some(Hindrance::FriendAway)
        } else {
            None
        }
    }

    fn hold_until(&self, id: &InvoiceId) -> Option<Timestamp> {
        self.state.invoices.get(id)?.invoice.hold_until
    }

    /// From here on the set is only collected, or given back as a whole while it is held, and
    /// nothing else pays the same.
    fn settle(&mut self, key: SetKey, held: bool) {
        if let Some(set) = self.state.sets.get_mut(&key) {
            set.accepted = true;
            set.held = held;
            self.dirty.mark(Key::Set(key));
        }
        if !held {
            self.settled(key);
        }
        if let Some(row) = self.state.invoices.get_mut(&key.invoice_id) {
            row.accepted = Some(key.src_hashed_lock);
        }
    }

    /// What a set pays is paid for ever. An invoice of ours says so itself.
    fn settled(&mut self, key: SetKey) {
        if self.state.invoices.contains_key(&key.invoice_id) {
            return;
        }
        if let Some(set) = self.state.sets.get(&key) {
            let settled = settled_id(&key.invoice_id, &set.currency, set.total);
            self.state.settled.insert(settled);
            self.dirty.mark(Key::Settled(settled));
        }
    }

    /// Collects all parts of an accepted set.
    pub(crate) fn collect_set(&mut self, now: Timestamp, key: SetKey) {
        let dest_plain_lock = self.dest_plain_lock(&key.invoice_id, &key.src_hashed_lock);
        let Some(set) = self.state.sets.get_mut(&key).filter(|set| set.accepted) else {
            return;
        };
        let Some(src_plain_lock) = set.src_plain_lock else {
            return;
        };
        set.held = false;
        self.dirty.mark(Key::Set(key));
        let (parts, currency) = (set.parts.clone(), set.currency.clone());
        self.settled(key);
        for (friend, id) in parts {
            let at = Place { friend, currency: currency.clone(), id };
            self.annotate(&at, Side::Remote, |row| row.closing = true);
            let collect = Collect { request_id: id, src_plain_lock, dest_plain_lock };
            self.enqueue(now, &at, FriendOp::Collect(collect), Link::None);
        }
    }

    fn end_other_sets(&mut self, now: Timestamp, winner: SetKey) {
        for key in self.sets_of(winner.invoice_id) {
            let same_terms = match (self.state.sets.get(&winner), self.state.sets.get(&key)) {
                (Some(a), Some(b)) => a.currency == b.currency && a.total == b.total,
                (None, _) | (_, None) => true,
            };
            if key != winner && same_terms {
                self.cancel_set(now, key, CancelReason::AlreadyPaid);
            }
        }
    }

    /// The sets for an invoice.
    pub(crate) fn sets_of(&self, invoice_id: InvoiceId) -> Vec<SetKey> {
        let first = SetKey { invoice_id, src_hashed_lock: HashedLock::from_bytes([0; 32]) };
        let keys = self.state.sets.range(first..).map(|(key, _)| *key);
        keys.take_while(|key| key.invoice_id == invoice_id).collect()
    }

    /// Cancels all parts of a set without an accepted commit.
    pub(crate) fn cancel_set(&mut self, now: Timestamp, key: SetKey, reason: CancelReason) {
        if self.state.sets.get(&key).is_some_and(|set| !set.accepted) {
            self.give_back(now, key, reason);
        }
    }

    /// Cancels all parts of a set, whose commit was not accepted, or which is held.
    pub(crate) fn give_back(&mut self, now: Timestamp, key: SetKey, reason: CancelReason) {
        if let Some(set) = self.state.sets.remove(&key) {
            self.dirty.mark(Key::Set(key));
            self.timers.remove(&(set.since.plus_ms(self.config.set_patience_ms), Timer::Set(key)));
            for (friend, id) in set.parts {
                let at = Place { friend, currency: set.currency.clone(), id };
                self.cancel_incoming(now, &at, reason, Some(self.local));
            }
        }
    }

    /// The buyer released a part: without an accepted commit the whole set ends at once.
    pub(crate) fn part_released(&mut self, now: Timestamp, at: &Place) {
        if let Some(key) = self.pending(at, Side::Remote).map(set_key) {
            self.cancel_set(now, key, CancelReason::Released);
        }
    }

    /// One part of an accepted set went out as collected.
    pub(crate) fn part_collected(&mut self, at: &Place, row: &Pending) {
        self.part_gone_from(set_key(row), (at.friend, at.id), true);
    }

    /// A part ended with its channel. Without an accepted commit the others fall with it; else they
    /// are held or collected as before. `arrived`: what the channel goes on with counts the part.
    pub(crate) fn part_lost_from(
        &mut self,
        now: Timestamp,
        key: SetKey,
        (part, arrived): ((PublicKey, RequestId), bool),
    ) {
        self.part_gone_from(key, part, arrived);
        self.cancel_set(now, key, CancelReason::Offline);
    }

    /// One part of an accepted set is no longer pending: its amount has arrived, or was lost with its
    /// channel. A set was collected when at least a part arrived; the books say how much did. One that
    /// was still held when its last part ended was not collected: whatever moved in its place is part
    /// of what ended the channel.
    pub(crate) fn part_gone_from(
        &mut self,
        key: SetKey,
        gone: (PublicKey, RequestId),
        arrived: bool,
    ) {
        let Some(set) = self.state.sets.get_mut(&key) else {
            return;
        };
        set.parts.retain(|part| *part != gone);
        set.arrived |= arrived && set.accepted && !set.held;
        self.dirty.mark(Key::Set(key));
        if set.accepted && set.parts.is_empty() {
            let timer = (set.since.plus_ms(self.config.set_patience_ms), Timer::Set(key));
            self.timers.remove(&timer);
            let phase = if set.arrived { InvoicePhase::Collected } else { InvoicePhase::Cancelled };
            self.state.sets.remove(&key);
            self.invoice_moved(key.invoice_id, phase);
        }
    }

    /// A friend agreed for the first time: commits that waited for it may be accepted now.
    pub(crate) fn retry_accepting(&mut self, now: Timestamp, friend: PublicKey) {
        let waiting: Vec<_> = self
            .state
            .sets
            .iter()
            .filter(|(_, set)| {
                !set.accepted
                    && set.src_plain_lock.is_some()
                    && set.parts.iter().any(|(part, _)| *part == friend)
            })
            .map(|(key, _)| *key)
            .collect();
        for key in waiting {
            self.accept(now, key);
        }
    }

    /// Our response went out; a commit may have come early on another part.
    pub(crate) fn response_sent(&mut self, now: Timestamp, at: &Place) {
        if let Some(key) = self.pending(at, Side::Remote).map(set_key) {
            self.accept(now, key);
        }
    }

    /// A set had its time without a commit.
    pub(crate) fn set_timer(&mut self, now: Timestamp, key: SetKey) {
        let Some(set) = self.state.sets.get(&key) else {
            return;
        };
        let complete = self.sum_of(set, |_| true) == set.total;
        if set.rebuilt && self.state.recovery.is_some() {
            // Its other parts may come back; the end of the recovery sets its time.
            return;
        }
        if set.spontaneous || !complete {
            self.cancel_set(now, key, CancelReason::Expired);
        }
    }
}

/// The set that a request for us belongs to.
pub(crate) fn set_key(row: &Pending) -> SetKey {
    SetKey { invoice_id: row.request.invoice_id, src_hashed_lock: row.request.src_hashed_lock }
}

/// An error for an application.
pub(crate) fn app_error(code: ErrorCode, message: &str) -> AppError {
    AppError { code, message: Text::cut(message) }
}

/// Why a commit cannot be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hindrance {
    /// The invoice is paid, cancelled or expired.
    Ended,
    /// Not all of the amount is reserved and answered.
    Incomplete,
    /// A friend that carries a part has not agreed since this node started.
    FriendAway,
}

/// The most parts of a set.
const MAX_PARTS: usize = 64;
