//! Attempts: reserving over several routes under one lock, and the one decision about it (protocol,
//! section 6.5).

use offset_crypto::{PaymentId, PlainLock, PublicKey, RequestId, Rng};
use offset_proto::{
    Credits, Timestamp,
    app::{JournalEntry, PaymentFailure},
    friend::{CancelReason, Collect, Commit, FriendOp, Request, Response},
    index::{Edge, MultiRoute, Route},
    payment::Receipt,
};

use super::{
    report,
    ways::{Way, edges, put_edge},
};
use crate::{
    api::{Effect, RoutesError, RoutesFor},
    dirty::Key,
    funder::{Funder, Place, Timer},
    side::Side,
    state::{Attempt, Decision, Link, Part, PartState, PaymentRow, Pending, Phase, sum},
};

/// Looking for ways, and reserving along them.
impl Funder {
    /// Looks for ways for all payments that are to be started or started again.
    pub(crate) fn start_payments(&mut self, now: Timestamp, rng: &mut dyn Rng) {
        while let Some(id) = self.starting.pop_first() {
            self.find_way(now, rng, id);
        }
    }

    /// A way for what is missing of a payment.
    fn find_way(&mut self, now: Timestamp, rng: &mut dyn Rng, id: PaymentId) {
        let Some(row) = self.state.payments.get(&id).filter(|row| is_searching(row)) else {
            return;
        };
        if row.deadline <= now {
            return self.give_up(now, id);
        }
        if self.finding.contains_key(&id) {
            return;
        }
        if MAX_ATTEMPTS <= row.attempts.len() && row.current().is_none() {
            let failure = row.last_failure.clone().unwrap_or(PaymentFailure::NoRoute);
            return self.fail(now, id, failure);
        }
        match self.seek(now, rng, row) {
            Way::Ready(routes) => self.reserve(now, rng, id, routes),
            Way::None { failure, waiting_helps } => self.no_way(now, id, failure, waiting_helps),
            Way::Ask(query, asked) => {
                self.finding.insert(id, asked);
                let asker = RoutesFor::Payment(id);
                self.effects.push(Effect::FindRoutes { asker, query });
            }
        }
    }

    /// The index server's answer.
    pub(crate) fn routes_found(
        &mut self,
        now: Timestamp,
        rng: &mut dyn Rng,
        id: PaymentId,
        answer: Result<Vec<MultiRoute>, RoutesError>,
    ) {
        let Some(asked) = self.finding.remove(&id) else {
            return;
        };
        let Some(row) = self.state.payments.get(&id).filter(|row| is_searching(row)) else {
            return;
        };
        if row.deadline <= now {
            return self.give_up(now, id);
        }
        if asked.missing != row.missing() {
            // More came back, or was lost, in the meantime.
            return self.find_way(now, rng, id);
        }
        match answer {
            Err(RoutesError::NotConnected | RoutesError::NoAnswer) => {
                self.no_way(now, id, PaymentFailure::NoIndexServer, true);
            }
            Ok(answer) => match self.choose(now, rng, row, (asked, answer)) {
                Ok(routes) => self.reserve(now, rng, id, routes),
                Err(failure) => self.no_way(now, id, failure, true),
            },
        }
    }

    /// Reserves along routes that were checked, under the lock of the attempt or a fresh one.
    fn reserve(&mut self, now: Timestamp, rng: &mut dyn Rng, id: PaymentId, routes: Vec<Route>) {
        let Some(row) = self.state.payments.get_mut(&id) else {
            return;
        };
        if row.current().is_none() {
            let src_plain_lock = PlainLock::random(rng);
            let decision = Decision::Open;
            row.attempts.push(Attempt { src_plain_lock, decision, parts: Vec::new() });
        }
        let (total, invoice_id, spontaneous) = (row.amount, row.invoice_id, row.spontaneous);
        let hold_seconds = row.hold_seconds;
        let currency = row.currency.clone();
        let Some(attempt) = row.current_mut() else {
            return;
        };
        let mut requests = Vec::new();
        for Route { keys, amount, fee } in routes {
            let Some(first) = keys.get(1).copied() else {
                continue;
            };
            let request = Request {
                request_id: RequestId::random(rng),
                src_hashed_lock: attempt.src_plain_lock.hashed(),
                route: keys.get(2..).unwrap_or_default().to_vec(),
                dest_payment: amount,
                total_dest_payment: total,
                invoice_id,
                left_fees: fee,
                spontaneous,
                hold_seconds,
            };
            attempt.parts.push(Part {
                route: keys,
                request_id: request.request_id,
                amount,
                fee,
                since: now,
                response: None,
                state: PartState::Requested,
            });
            let id = request.request_id;
            requests.push((Place { friend: first, currency: currency.clone(), id }, request));
        }
        row.phase = Phase::Requesting;
        let patience = now.plus_ms(patience_ms(row, self.config.part_patience_ms));
        self.timers.insert((patience, Timer::Payment(id)));
        let moved = JournalEntry::Payment(Box::new(report(id, row)));
        self.journal(moved);
        self.dirty.mark(Key::Payment(id));
        for (out, request) in requests {
            self.enqueue(now, &out, FriendOp::Request(request), Link::Payment(id));
        }
    }

    /// No way at this moment: tried again while there is patience, else the payment fails.
    fn no_way(&mut self, now: Timestamp, id: PaymentId, failure: PaymentFailure, again: bool) {
        let Some(row) = self.state.payments.get(&id) else {
            return;
        };
        // After a start, friends and index servers need the same time to come online.
        let since = row.searching_since.max(self.started);
        let patience = since.plus_ms(self.config.route_patience_ms).min(row.deadline);
        if again && now < patience {
            let retry = now.plus_ms(self.config.route_retry_ms).min(patience);
            self.timers.insert((retry, Timer::Payment(id)));
            return;
        }
        self.fail(now, id, failure);
    }

    pub(crate) fn payment_timer(&mut self, now: Timestamp, rng: &mut dyn Rng, id: PaymentId) {
        let Some(row) = self.state.payments.get(&id) else {
            return;
        };
        match row.phase {
            Phase::Routing => self.find_way(now, rng, id),
            Phase::Requesting | Phase::Complete if row.deadline <= now => self.give_up(now, id),
            Phase::Requesting => {
                let patience = patience_ms(row, self.config.part_patience_ms);
                let hangs = |part: &&Part| {
                    let since = part.since.max(self.started);
                    part.state == PartState::Requested && since.plus_ms(patience) <= now
                };
                let hanging: Vec<_> =
                    row.standing().filter(hangs).map(|part| part.route.clone()).collect();
                if hanging.is_empty() {
                    self.find_way(now, rng, id);
                } else {
                    self.parts_hang(now, id, &hanging);
                }
            }
            Phase::Complete => self.commit(now, id),
            // A committed payment waits as long as it takes.
            Phase::Committed
            | Phase::Succeeded { .. }
            | Phase::Failed(_)
            | Phase::Cancelled
            | Phase::Unknown => {}
        }
    }

    /// Parts that do not come back may not be replaced: another attempt, around them. Where one
    /// hangs is not known; its last edge, which may be the receiver's only one, is not suspected as
    /// long as there is another.
    fn parts_hang(&mut self, now: Timestamp, id: PaymentId, routes: &[Vec<PublicKey>]) {
        if let Some(row) = self.state.payments.get_mut(&id) {
            for route in routes {
                let suspects = route.len().saturating_sub(2).max(1);
                for edge in edges(route).take(suspects) {
                    put_edge(&mut row.exclude, edge);
                }
                if let Some(friend) = route.get(1).copied() {
                    row.last_failure = Some(PaymentFailure::NoAnswer { friend });
                }
            }
        }
        self.abandon(now, id);
    }
}

/// Answers of the parts, and the decision.
impl Funder {
    /// The destination answered a part.
    pub(crate) fn part_responded(
        &mut self,
        now: Timestamp,
        id: PaymentId,
        at: &Place,
        response: Response,
    ) {
        let Some(row) = self.state.payments.get_mut(&id) else {
            return;
        };
        let Some((attempt, part)) = row.part_mut(at.id) else {
            return;
        };
        part.response = Some(Box::new(response));
        part.state = PartState::Responded;
        self.dirty.mark(Key::Payment(id));
        if attempt == Decision::Open {
            self.judge(now, id);
        }
    }

    /// Whether the answers so far contradict each other, or are all that is needed.
    fn judge(&mut self, now: Timestamp, id: PaymentId) {
        let Some(row) = self.state.payments.get(&id) else {
            return;
        };
        if row.deadline <= now {
            return self.give_up(now, id);
        }
        let answers = || row.standing().filter_map(|part| part.response.as_ref());
        let complete = answers().filter(|answer| answer.is_complete).count();
        let first = answers().next().map(|answer| answer.dest_hashed_lock);
        let one_lock = answers().all(|answer| Some(answer.dest_hashed_lock) == first);
        // A later operation of the same token may have ended one of them already.
        let is_here = |part: &Part| {
            let pending = |at: Place| self.pending(&at, Side::Local).is_some();
            part.state == PartState::Responded && part.place(&row.currency).is_some_and(pending)
        };
        let all_here = row.missing() == Credits::ZERO && row.standing().all(is_here);
        if 1 < complete || !one_lock || (all_here && complete != 1) {
            // Whoever answers so cannot be paid.
            let reporter = Some(row.destination);
            let failure = PaymentFailure::Refused { reason: CancelReason::Declined, reporter };
            return self.fail(now, id, failure);
        }
        if all_here && let Some(row) = self.state.payments.get_mut(&id) {
            row.phase = Phase::Complete;
            let moved = JournalEntry::Payment(Box::new(report(id, row)));
            self.journal(moved);
            self.dirty.mark(Key::Payment(id));
            self.commit(now, id);
        }
    }

    /// The decision to pay: the lock is revealed over every part, or may be handed to the seller
    /// from here on.
    fn commit(&mut self, now: Timestamp, id: PaymentId) {
        let Some(row) = self.state.payments.get_mut(&id) else {
            return;
        };
        let (currency, by_commit) = (row.currency.clone(), row.by_commit);
        let Some(attempt) = row.current_mut() else {
            return;
        };
        attempt.decision = Decision::Committed;
        let src_plain_lock = attempt.src_plain_lock;
        let places: Vec<_> = attempt
            .parts
            .iter()
            .filter(|part| part.state == PartState::Responded)
            .filter_map(|part| part.place(&currency))
            .collect();
        row.phase = Phase::Committed;
        let (report, answered) = (report(id, row), row.has_answer());
        if answered {
            self.answer(id, &report);
        }
        self.journal(JournalEntry::Payment(Box::new(report)));
        self.dirty.mark(Key::Payment(id));
        if by_commit {
            return;
        }
        for at in places {
            let commit = Commit { request_id: at.id, src_plain_lock };
            self.enqueue(now, &at, FriendOp::Commit(commit), Link::None);
        }
    }

    /// The time of an undecided payment is over.
    fn give_up(&mut self, now: Timestamp, id: PaymentId) {
        let Some(row) = self.state.payments.get(&id) else {
            return;
        };
        let expired = row.expires_at.is_some_and(|expires| expires <= now);
        let over = if expired { PaymentFailure::Expired } else { PaymentFailure::Deadline };
        let failure = row.last_failure.clone().unwrap_or(over);
        self.fail(now, id, failure);
    }

    /// Ends an undecided payment. The decision is durable together with the releases: this lock is
    /// never revealed.
    pub(super) fn fail(&mut self, now: Timestamp, id: PaymentId, failure: PaymentFailure) {
        self.release_current(now, id);
        self.end_payment(id, Phase::Failed(failure));
    }

    /// Gives up the attempt but not the payment: another one begins in a moment, when what is
    /// released may have come back.
    fn abandon(&mut self, now: Timestamp, id: PaymentId) {
        self.release_current(now, id);
        if let Some(row) = self.state.payments.get_mut(&id) {
            row.phase = Phase::Routing;
            row.searching_since = now;
            let moved = JournalEntry::Payment(Box::new(report(id, row)));
            self.journal(moved);
            self.dirty.mark(Key::Payment(id));
            self.timers.insert((now.plus_ms(self.config.route_retry_ms), Timer::Payment(id)));
        }
    }

    /// Releases the attempt that is not decided, for ever.
    pub(crate) fn release_current(&mut self, now: Timestamp, id: PaymentId) {
        let Some(row) = self.state.payments.get_mut(&id) else {
            return;
        };
        let currency = row.currency.clone();
        let Some(attempt) = row.current_mut().filter(|it| it.decision == Decision::Open) else {
            return;
        };
        attempt.decision = Decision::Released;
        let pending = attempt.parts.iter().filter(|part| part.state.is_pending());
        let places: Vec<_> = pending.filter_map(|part| part.place(&currency)).collect();
        self.dirty.mark(Key::Payment(id));
        for at in places {
            self.release_outgoing(now, &at);
        }
    }
}

/// Ends of the parts.
impl Funder {
    /// A part was cancelled back over our own first line.
    pub(crate) fn part_cancelled(
        &mut self,
        now: Timestamp,
        id: PaymentId,
        request_id: RequestId,
        reason: CancelReason,
        reporter: Option<PublicKey>,
    ) {
        let Some(row) = self.state.payments.get_mut(&id) else {
            return;
        };
        let Some((decision, part)) = row.part_mut(request_id) else {
            return;
        };
        let was_answered = part.state == PartState::Responded;
        part.state = PartState::Cancelled;
        let route = part.route.clone();
        row.tidy();
        self.dirty.mark(Key::Payment(id));
        match decision {
            Decision::Released => {}
            Decision::Committed => self.committed_part_cancelled(id),
            Decision::Open => {
                row.last_failure = Some(PaymentFailure::Refused { reason, reporter });
                row.searching_since = now;
                if row.current().is_none() {
                    row.phase = Phase::Routing;
                }
                if was_answered {
                    // The receiver had taken it: its whole set has fallen.
                    return self.abandon(now, id);
                }
                self.replace_part(now, id, &route, (reason, reporter));
            }
        }
    }

    /// What a part that came back unanswered leads to.
    fn replace_part(
        &mut self,
        now: Timestamp,
        id: PaymentId,
        route: &[PublicKey],
        (reason, reporter): (CancelReason, Option<PublicKey>),
    ) {
        let Some(row) = self.state.payments.get_mut(&id) else {
            return;
        };
        let passing = reason == CancelReason::Busy || reason == CancelReason::NoRoom;
        let alone = row.current().is_none();
        if alone && reporter == Some(row.destination) && !passing {
            return self.fail(now, id, PaymentFailure::Refused { reason, reporter });
        }
        if reason == CancelReason::Busy {
            self.timers.insert((now.plus_ms(self.config.route_retry_ms), Timer::Payment(id)));
            return;
        }
        if let Some(edge) = failing_edge(route, reason, reporter) {
            put_edge(&mut row.exclude, edge);
        }
        self.starting.insert(id);
    }

    fn committed_part_cancelled(&mut self, id: PaymentId) {
        let Some(row) = self.state.payments.get(&id) else {
            return;
        };
        let fee = row.fees();
        let all = row.standing().next().is_none();
        match &row.phase {
            Phase::Committed if all => self.end_payment(id, Phase::Cancelled),
            // The receiver was content with less: the mediators of this part take nothing.
            Phase::Succeeded { receipt, .. } => {
                let receipt = receipt.clone();
                self.end_payment(id, Phase::Succeeded { receipt, fee });
            }
            Phase::Routing
            | Phase::Requesting
            | Phase::Complete
            | Phase::Committed
            | Phase::Failed(_)
            | Phase::Cancelled
            | Phase::Unknown => {}
        }
    }

    /// A part ended by a reset, a removal or a recovery, in whatever attempt: it counts as possibly
    /// paid (protocol, section 7). A request that never went into a token is cancelled instead.
    pub(crate) fn part_lost(&mut self, now: Timestamp, id: PaymentId, request_id: RequestId) {
        let Some(row) = self.state.payments.get_mut(&id) else {
            return;
        };
        let Some((_, part)) = row.part_mut(request_id) else {
            return;
        };
        part.state = PartState::Lost;
        self.dirty.mark(Key::Payment(id));
        match row.phase {
            // The receipt is here.
            Phase::Succeeded { .. } | Phase::Unknown => {}
            Phase::Routing
            | Phase::Requesting
            | Phase::Complete
            | Phase::Committed
            | Phase::Failed(_)
            | Phase::Cancelled => {
                self.release_current(now, id);
                self.end_payment(id, Phase::Unknown);
            }
        }
    }

    /// Our first line was collected. The first collect reveals the lock: paid, with the receipt.
    pub(crate) fn part_paid(
        &mut self,
        now: Timestamp,
        id: PaymentId,
        at: &Place,
        (pending, collect): (&Pending, &Collect),
    ) {
        let Some(row) = self.state.payments.get_mut(&id) else {
            return;
        };
        let Some((_, part)) = row.part_mut(at.id) else {
            return;
        };
        part.state = PartState::Collected;
        // A proof may bring the answer only now.
        let response = || pending.response.as_deref().cloned().map(Box::new);
        part.response = part.response.take().or_else(response);
        self.dirty.mark(Key::Payment(id));
        if matches!(row.phase, Phase::Succeeded { .. }) {
            return row.tidy();
        }
        let phase = match receipt(row, at.id, collect) {
            Some((receipt, fee)) => Phase::Succeeded { receipt: Box::new(receipt), fee },
            // Credits moved under a lock that this node never revealed, or not for the whole.
            None => Phase::Unknown,
        };
        self.release_current(now, id);
        self.end_payment(id, phase);
    }
}

impl PaymentRow {
    /// A request of any attempt, and what was decided about that attempt.
    fn part_mut(&mut self, request_id: RequestId) -> Option<(Decision, &mut Part)> {
        self.attempts.iter_mut().find_map(|attempt| {
            let decision = attempt.decision;
            let part = attempt.parts.iter_mut().find(|part| part.request_id == request_id)?;
            Some((decision, part))
        })
    }

    /// Forgets what came back: requests before the decision, and released attempts of which nothing
    /// is left.
    fn tidy(&mut self) {
        for attempt in &mut self.attempts {
            if attempt.decision != Decision::Committed {
                attempt.parts.retain(|part| part.state != PartState::Cancelled);
            }
        }
        self.attempts.retain(|attempt| !attempt.parts.is_empty());
    }
}

impl Part {
    /// Where the request is or will be.
    fn place(&self, currency: &offset_proto::Currency) -> Option<Place> {
        let friend = self.route.get(1).copied()?;
        Some(Place { friend, currency: currency.clone(), id: self.request_id })
    }
}

/// The receipt that a collect makes possible, and what the mediators of its attempt take.
fn receipt(
    row: &PaymentRow,
    collected: RequestId,
    collect: &Collect,
) -> Option<(Receipt, Credits)> {
    let attempt = row
        .attempts
        .iter()
        .find(|attempt| attempt.parts.iter().any(|part| part.request_id == collected))?;
    let complete = |part: &&Part| part.response.as_ref().is_some_and(|it| it.is_complete);
    let part = attempt.parts.iter().find(complete)?;
    let response = part.response.as_ref()?;
    if collect.dest_plain_lock.hashed() != response.dest_hashed_lock {
        return None;
    }
    let receipt = Receipt {
        response_hash: response.response_hash,
        invoice_id: row.invoice_id,
        currency: row.currency.clone(),
        src_plain_lock: collect.src_plain_lock,
        dest_plain_lock: collect.dest_plain_lock,
        is_complete: true,
        dest_payment: part.amount,
        total_dest_payment: row.amount,
        signature: response.signature,
    };
    let kept = attempt.parts.iter().filter(|part| part.state != PartState::Cancelled);
    Some((receipt, sum(kept.map(|part| part.fee))))
}

/// Whether something of the payment is still to find its way.
fn is_searching(row: &PaymentRow) -> bool {
    match row.phase {
        Phase::Routing => true,
        Phase::Requesting => row.missing() != Credits::ZERO,
        Phase::Complete
        | Phase::Committed
        | Phase::Succeeded { .. }
        | Phase::Failed(_)
        | Phase::Cancelled
        | Phase::Unknown => false,
    }
}

/// How long a part may stay unanswered: at most a third of the payment's time, so that another
/// attempt has a chance.
pub(crate) fn patience_ms(row: &PaymentRow, most: u64) -> u64 {
    (row.deadline.ms_since(row.created_at) / 3).min(most)
}

/// The edge to avoid after a refusal. The reporter is a hint of others: one that is not on the
/// route costs us our first edge, no more.
fn failing_edge(
    route: &[PublicKey],
    reason: CancelReason,
    reporter: Option<PublicKey>,
) -> Option<Edge> {
    let at = reporter.and_then(|key| route.iter().position(|hop| *hop == key)).unwrap_or(0);
    // Whoever asks a higher fee asks it of the one before it.
    let from = if reason == CancelReason::FeeTooLow { at.saturating_sub(1) } else { at };
    let from = from.min(route.len().saturating_sub(2));
    match (route.get(from), route.get(from.saturating_add(1))) {
        (Some(from), Some(to)) => Some(Edge { from: *from, to: *to }),
        (None, _) | (_, None) => None,
    }
}

/// The most attempts of one payment of which something is still pending.
const MAX_ATTEMPTS: usize = 8;
