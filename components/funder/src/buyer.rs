//! The buyer's part: finding a way, reserving, deciding once, and the receipt (protocol, sections
//! 6.5 and 7).
//!
//! A payment has one attempt at a time. Its lock is revealed only when the complete response is
//! here, and from then on the payment is never released, retried or replaced.

use offset_crypto::{
    InvoiceId, Label, LabelHasher, PaymentId, PlainLock, PublicKey, RequestId, Rng,
};
use offset_proto::{
    Credits, Currency, Timestamp,
    app::{
        AppError, AppReply, AppRequestId, ErrorCode, PayRequest, PaymentFailure, PaymentReport,
        PaymentTarget,
    },
    canonical::Writer,
    friend::{CancelReason, Collect, Commit, FriendOp, MAX_ROUTE_KEYS, Request, Response},
    index::{Edge, MAX_EXCLUDED_EDGES, MultiRoute, Route, RouteQuery},
    payment::{Receipt, ResponseTerms},
};

use crate::{
    api::{AppId, Effect, Payer, RoutesError},
    credit::check_structure,
    destination::app_error,
    dirty::Key,
    funder::{Funder, Place, Timer},
    side::Side,
    state::{Attempt, Link, Part, PartState, PaymentRow, Pending, Phase},
};

impl Funder {
    /// Orders a payment, or asks again for one. `None`: the answer comes when the payment ends.
    pub(crate) fn pay(
        &mut self,
        now: Timestamp,
        from: (AppId, AppRequestId),
        request: PayRequest,
        ended: Option<&PaymentRow>,
        payer: Option<&Payer>,
    ) -> Option<Result<AppReply, AppError>> {
        let id = request.payment_id;
        let mut row = match self.new_payment(now, request) {
            Ok(row) => row,
            Err(error) => return Some(Err(error)),
        };
        match self.state.payments.get(&id).or(ended) {
            Some(known) if known.contents != row.contents => Some(Err(app_error(
                ErrorCode::AlreadyExists,
                "this payment id was used for another payment; choose a new random id",
            ))),
            Some(known) if known.phase.is_final() => {
                Some(Ok(AppReply::Payment(Box::new(report(id, known)))))
            }
            Some(_) => {
                self.waiters.entry(id).or_default().push(from);
                None
            }
            None => match self
                .check_new_payment(now, &row)
                .and_then(|()| self.allow_spending(now, &mut row, payer))
            {
                Err(error) => Some(Err(error)),
                Ok(()) => {
                    self.timers.insert((row.deadline, Timer::Payment(id)));
                    self.state.payments.insert(id, row);
                    self.dirty.mark(Key::Payment(id));
                    self.starting.insert(id);
                    self.waiters.entry(id).or_default().push(from);
                    None
                }
            },
        }
    }

    fn new_payment(&self, now: Timestamp, request: PayRequest) -> Result<PaymentRow, AppError> {
        let id = request.payment_id;
        let (invoice_id, destination, currency, amount, expires_at, spontaneous) =
            match request.target {
                PaymentTarget::Invoice(invoice) => {
                    let wrong = |wrong: &dyn std::fmt::Display| {
                        app_error(ErrorCode::Invalid, &wrong.to_string())
                    };
                    invoice.check().map_err(|error| wrong(&error))?;
                    if invoice.hold_until.is_some() {
                        return Err(wrong(&"this node does not pay invoices with a hold"));
                    }
                    let spontaneous = !invoice.registered;
                    let expires_at = Some(invoice.expires_at);
                    let terms = (invoice.dest_public_key, invoice.currency.clone());
                    (invoice.id(), terms.0, terms.1, invoice.dest_payment, expires_at, spontaneous)
                }
                PaymentTarget::Spontaneous { destination, amount, currency } => {
                    let currency =
                        currency.unwrap_or_else(|| self.state.settings.default_currency.clone());
                    (self.spontaneous_id(id), destination, currency, amount, None, true)
                }
            };
        let mut contents = Writer::default();
        contents
            .fixed(&invoice_id)
            .fixed(&destination)
            .text(currency.as_str())
            .u128(amount.0)
            .bool(spontaneous)
            .option(request.max_fee, |out, fee| {
                out.u128(fee.0);
            });
        let deadline_ms = request.deadline_ms.unwrap_or(self.config.payment_deadline_ms);
        let deadline = now.plus_ms(deadline_ms);
        Ok(PaymentRow {
            app: None,
            contents: offset_crypto::hash(&contents.into_bytes()),
            invoice_id,
            spontaneous,
            destination,
            currency,
            amount,
            expires_at,
            max_fee: request.max_fee,
            created_at: now,
            deadline: expires_at.map_or(deadline, |expires| deadline.min(expires)),
            note: request.note,
            exclude: Vec::new(),
            attempt: None,
            last_failure: None,
            phase: Phase::Routing,
        })
    }

    fn check_new_payment(&self, now: Timestamp, row: &PaymentRow) -> Result<(), AppError> {
        let invalid = |message| Err(app_error(ErrorCode::Invalid, message));
        if row.amount == Credits::ZERO || Credits::LIMIT < row.amount {
            return invalid("a payment is of at least 1 and at most 2^127-1 credits");
        }
        if row.destination == self.local {
            return invalid("the destination is this node itself; pay somebody else");
        }
        if row.expires_at.is_some_and(|expires| expires < now) {
            return invalid("the invoice has expired; ask the seller for a new one");
        }
        if self.config.max_payments <= self.state.payments.len() {
            let message = "too many payments are under way; try again when some have ended";
            return Err(app_error(ErrorCode::Busy, message));
        }
        Ok(())
    }

    /// `hash(SPONTANEOUS, HKDF of the identity secret and the payment id)`.
    fn spontaneous_id(&self, id: PaymentId) -> InvoiceId {
        let secret: [u8; 32] = self.identity.derive(&[b"offset/1/SPONTANEOUS", id.as_bytes()]);
        let hash = LabelHasher::new(Label::SPONTANEOUS).chain(secret).finish();
        InvoiceId::from_bytes(*hash.as_bytes())
    }

    pub(crate) fn payment_status(
        &self,
        id: PaymentId,
        ended: Option<&PaymentRow>,
    ) -> Result<AppReply, AppError> {
        let row = self.state.payments.get(&id).or(ended);
        let row =
            row.ok_or_else(|| app_error(ErrorCode::NotFound, "this node has no such payment"))?;
        Ok(AppReply::Payment(Box::new(report(id, row))))
    }

    /// Looks for ways for all payments that are to be started or started again.
    pub(crate) fn start_payments(&mut self, now: Timestamp, rng: &mut dyn Rng) {
        while let Some(id) = self.starting.pop_first() {
            self.find_way(now, rng, id);
        }
    }

    /// A way for a payment that has no attempt: straight to a friend, or the index server's.
    fn find_way(&mut self, now: Timestamp, rng: &mut dyn Rng, id: PaymentId) {
        let Some(row) = self.state.payments.get(&id) else {
            return;
        };
        if row.phase != Phase::Routing {
            return;
        }
        if row.deadline <= now {
            return self.give_up(now, id);
        }
        if self.finding.contains(&id) {
            return;
        }
        let excluded = |to| row.exclude.contains(&Edge { from: self.local, to });
        let direct = Place {
            friend: row.destination,
            currency: row.currency.clone(),
            id: RequestId::random(rng),
        };
        if !excluded(row.destination) && self.check_line(now, &direct, row.amount, None).is_ok() {
            let keys = vec![self.local, row.destination];
            let route = Route { keys, amount: row.amount, fee: Credits::ZERO };
            return self.start_attempt(now, rng, id, &route);
        }
        if let Some((failure, waiting_helps)) = self.own_lines_fail(&row.currency, row.amount) {
            return self.no_way(now, id, failure, waiting_helps);
        }
        let query = RouteQuery {
            currency: row.currency.clone(),
            amount: row.amount,
            source: self.local,
            destination: row.destination,
            exclude: row.exclude.clone(),
            max_parts: 1,
        };
        self.finding.insert(id);
        self.effects.push(Effect::FindRoutes { payment_id: id, query });
    }

    /// Whether none of our own lines can carry `amount`, what to say then, and whether it may be
    /// different in a moment.
    fn own_lines_fail(
        &self,
        currency: &Currency,
        amount: Credits,
    ) -> Option<(PaymentFailure, bool)> {
        let mut online = false;
        let (mut available, mut unfrozen) = (Credits::ZERO, Credits::ZERO);
        for (key, friend) in &self.state.friends {
            let credit = friend.lines.get(currency).and_then(|line| line.credit.as_ref());
            let Some(credit) = credit.filter(|_| self.is_serving(key)) else {
                continue;
            };
            online = true;
            let numbers = credit.numbers();
            if numbers.requests_open[Side::Remote] {
                let queued = self.queued(key, currency).sum;
                let room = numbers.room(Side::Local).checked_sub(queued).unwrap_or_default();
                available = available.max(room);
                unfrozen = unfrozen.max(numbers.balance.room_above(numbers.max_debt[Side::Local]));
            }
        }
        if !online {
            Some((PaymentFailure::FriendsOffline, true))
        } else if available < amount {
            Some((PaymentFailure::NoRoom { available }, amount <= unfrozen))
        } else {
            None
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
        self.finding.remove(&id);
        let Some(row) = self.state.payments.get(&id).filter(|row| row.phase == Phase::Routing)
        else {
            return;
        };
        if row.deadline <= now {
            return self.give_up(now, id);
        }
        let multi_routes = match answer {
            Ok(multi_routes) => multi_routes,
            Err(RoutesError::NotConnected | RoutesError::NoAnswer) => {
                return self.no_way(now, id, PaymentFailure::NoIndexServer, true);
            }
        };
        let mut dearest = None;
        for multi_route in &multi_routes {
            let [route] = multi_route.routes.as_slice() else {
                continue;
            };
            if !self.is_usable(now, rng, row, route) {
                continue;
            }
            if row.max_fee.is_some_and(|most| most < route.fee) {
                dearest.get_or_insert(PaymentFailure::FeeTooHigh { fee: route.fee });
                continue;
            }
            let route = route.clone();
            return self.start_attempt(now, rng, id, &route);
        }
        let failure = dearest.or_else(|| row.last_failure.clone());
        self.no_way(now, id, failure.unwrap_or(PaymentFailure::NoRoute), true);
    }

    /// A route is only a hint: it must begin here, end there, name nobody twice, pay the amount, and
    /// its first line must carry it now.
    fn is_usable(
        &self,
        now: Timestamp,
        rng: &mut dyn Rng,
        row: &PaymentRow,
        route: &Route,
    ) -> bool {
        let keys = &route.keys;
        let Some(frozen) = route.amount.checked_add(route.fee) else {
            return false;
        };
        let ends = keys.first() == Some(&self.local) && keys.last() == Some(&row.destination);
        let (Some(first), true) = (keys.get(1), keys.len() <= MAX_ROUTE_KEYS) else {
            return false;
        };
        let out =
            Place { friend: *first, currency: row.currency.clone(), id: RequestId::random(rng) };
        let distinct = keys.iter().enumerate().all(|(at, key)| !keys[..at].contains(key));
        ends && distinct
            && route.amount == row.amount
            && self.check_line(now, &out, frozen, None).is_ok()
    }

    /// Reserves along a route, under a fresh lock.
    fn start_attempt(&mut self, now: Timestamp, rng: &mut dyn Rng, id: PaymentId, route: &Route) {
        let Some(row) = self.state.payments.get_mut(&id) else {
            return;
        };
        let src_plain_lock = PlainLock::random(rng);
        let request = Request {
            request_id: RequestId::random(rng),
            src_hashed_lock: src_plain_lock.hashed(),
            route: route.keys.get(2..).unwrap_or_default().to_vec(),
            dest_payment: row.amount,
            total_dest_payment: row.amount,
            invoice_id: row.invoice_id,
            left_fees: route.fee,
            spontaneous: row.spontaneous,
            hold_seconds: 0,
        };
        let Some(first) = route.keys.get(1).copied() else {
            return;
        };
        if check_structure(&request, first).is_err() {
            return self.no_way(now, id, PaymentFailure::NoRoute, true);
        }
        let part = Part {
            route: route.keys.clone(),
            request_id: request.request_id,
            amount: row.amount,
            fee: route.fee,
            state: PartState::Requested,
        };
        row.attempt = Some(Attempt { src_plain_lock, parts: vec![part] });
        row.phase = Phase::Requesting;
        let out = Place { friend: first, currency: row.currency.clone(), id: request.request_id };
        self.dirty.mark(Key::Payment(id));
        self.enqueue(now, &out, FriendOp::Request(request), Link::Payment(id));
    }

    /// No way at this moment: tried again while there is patience, else the payment fails.
    fn no_way(&mut self, now: Timestamp, id: PaymentId, failure: PaymentFailure, again: bool) {
        let Some(row) = self.state.payments.get_mut(&id) else {
            return;
        };
        // After a start, friends and index servers need the same time to come online.
        let since = row.created_at.max(self.started);
        let patience = since.plus_ms(self.config.route_patience_ms).min(row.deadline);
        if again && now < patience {
            let retry = now.plus_ms(self.config.route_retry_ms).min(patience);
            self.timers.insert((retry, Timer::Payment(id)));
            return;
        }
        self.end_payment(id, Phase::Failed(failure));
    }

    /// The time of an undecided payment is over.
    fn give_up(&mut self, now: Timestamp, id: PaymentId) {
        let Some(row) = self.state.payments.get(&id) else {
            return;
        };
        let expired = row.expires_at.is_some_and(|expires| expires <= now);
        let last = row.last_failure.clone();
        let over = if expired { PaymentFailure::Expired } else { PaymentFailure::Deadline };
        let attempt = row.attempt.clone();
        let currency = row.currency.clone();
        // The decision is durable together with the releases: this lock is never revealed.
        self.end_payment(id, Phase::Failed(last.unwrap_or(over)));
        for part in attempt.into_iter().flat_map(|attempt| attempt.parts) {
            if let (PartState::Requested | PartState::Responded(_), Some(first)) =
                (&part.state, part.route.get(1))
            {
                let at = Place { friend: *first, currency: currency.clone(), id: part.request_id };
                self.release_outgoing(now, &at);
            }
        }
    }

    pub(crate) fn payment_timer(&mut self, now: Timestamp, rng: &mut dyn Rng, id: PaymentId) {
        match self.state.payments.get(&id).map(|row| (&row.phase, row.deadline)) {
            Some((Phase::Routing, _)) => self.find_way(now, rng, id),
            Some((Phase::Requesting, deadline)) if deadline <= now => self.give_up(now, id),
            // A committed payment waits as long as it takes.
            Some(_) | None => {}
        }
    }

    /// The destination answered. The complete response is the moment of decision.
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
        if row.phase != Phase::Requesting {
            return;
        }
        let Some(attempt) = row.attempt.as_mut() else {
            return;
        };
        let src_plain_lock = attempt.src_plain_lock;
        let Some(part) = attempt.parts.iter_mut().find(|part| part.request_id == at.id) else {
            return;
        };
        let is_complete = response.is_complete;
        part.state = PartState::Responded(Box::new(response));
        self.dirty.mark(Key::Payment(id));
        if row.deadline <= now || !is_complete {
            // A single part is the whole total: a destination that denies it cannot be paid.
            let declined = PaymentFailure::Refused {
                reason: CancelReason::Declined,
                reporter: Some(row.destination),
            };
            row.last_failure = (!is_complete).then_some(declined).or(row.last_failure.take());
            return self.give_up(now, id);
        }
        row.phase = Phase::Committed;
        let moved = Effect::Payment(Box::new(report(id, row)));
        self.effects.push(moved);
        let commit = Commit { request_id: at.id, src_plain_lock };
        self.enqueue(now, at, FriendOp::Commit(commit), Link::None);
    }

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
        let part = row.attempt.as_mut().and_then(|attempt| {
            attempt.parts.iter_mut().find(|part| part.request_id == request_id)
        });
        let Some(part) = part else {
            return;
        };
        part.state = PartState::Cancelled;
        let route = part.route.clone();
        self.dirty.mark(Key::Payment(id));
        match row.phase {
            Phase::Requesting => {}
            Phase::Committed => {
                let cancelled = |part: &Part| part.state == PartState::Cancelled;
                if row.attempt.as_ref().is_some_and(|a| a.parts.iter().all(cancelled)) {
                    self.end_payment(id, Phase::Cancelled);
                }
                return;
            }
            Phase::Routing
            | Phase::Succeeded { .. }
            | Phase::Failed(_)
            | Phase::Cancelled
            | Phase::Unknown => return,
        }
        row.attempt = None;
        row.phase = Phase::Routing;
        let failure = PaymentFailure::Refused { reason, reporter };
        let by_destination = reporter == Some(row.destination);
        if by_destination && reason != CancelReason::Busy && reason != CancelReason::NoRoom {
            return self.end_payment(id, Phase::Failed(failure));
        }
        row.last_failure = Some(failure);
        if reason == CancelReason::Busy {
            self.timers.insert((now.plus_ms(self.config.route_retry_ms), Timer::Payment(id)));
            return;
        }
        let edge = failing_edge(&route, reason, reporter);
        if row.exclude.len() == MAX_EXCLUDED_EDGES {
            row.exclude.remove(0);
        }
        row.exclude.extend(edge.filter(|edge| !row.exclude.contains(edge)));
        self.starting.insert(id);
    }

    /// A part ended with its channel, by a reset or a removal: it may have been paid, so nothing is
    /// tried again.
    pub(crate) fn part_lost(&mut self, now: Timestamp, id: PaymentId, request_id: RequestId) {
        let Some(row) = self.state.payments.get(&id).filter(|row| !row.phase.is_final()) else {
            return;
        };
        let undecided = row.phase != Phase::Committed;
        let (attempt, currency) = (row.attempt.clone(), row.currency.clone());
        self.end_payment(id, Phase::Unknown);
        for part in attempt.into_iter().flat_map(|attempt| attempt.parts) {
            if let (true, true, Some(first)) =
                (undecided, part.request_id != request_id, part.route.get(1))
            {
                let at = Place { friend: *first, currency: currency.clone(), id: part.request_id };
                self.release_outgoing(now, &at);
            }
        }
    }

    /// Our first line was collected: paid, with the receipt.
    pub(crate) fn part_paid(
        &mut self,
        _now: Timestamp,
        id: PaymentId,
        at: &Place,
        pending: &Pending,
        collect: &Collect,
    ) {
        let Some(row) = self.state.payments.get_mut(&id) else {
            return;
        };
        let (Some(attempt), Some(response)) = (row.attempt.as_mut(), &pending.response) else {
            return;
        };
        if let Some(part) = attempt.parts.iter_mut().find(|part| part.request_id == at.id) {
            part.state = PartState::Collected;
        }
        let fee = attempt
            .parts
            .iter()
            .fold(Credits::ZERO, |sum, part| sum.checked_add(part.fee).unwrap_or(Credits::LIMIT));
        let terms = ResponseTerms::of(&pending.request, response, &row.currency);
        let receipt = Receipt {
            response_hash: terms.response_hash,
            invoice_id: terms.invoice_id,
            currency: row.currency.clone(),
            src_plain_lock: collect.src_plain_lock,
            dest_plain_lock: collect.dest_plain_lock,
            is_complete: terms.is_complete,
            dest_payment: terms.dest_payment,
            total_dest_payment: terms.total_dest_payment,
            signature: response.signature,
        };
        self.end_payment(id, Phase::Succeeded { receipt: Box::new(receipt), fee });
    }

    fn end_payment(&mut self, id: PaymentId, phase: Phase) {
        let Some(row) = self.state.payments.get_mut(&id) else {
            return;
        };
        row.phase = phase;
        self.count_spending(id);
        let Some(row) = self.state.payments.get(&id) else {
            return;
        };
        let report = report(id, row);
        self.timers.remove(&(row.deadline, Timer::Payment(id)));
        self.finding.remove(&id);
        self.dirty.mark(Key::Payment(id));
        for (app, request_id) in self.waiters.remove(&id).unwrap_or_default() {
            self.reply(app, request_id, Ok(AppReply::Payment(Box::new(report.clone()))));
        }
        self.effects.push(Effect::Payment(Box::new(report)));
    }
}

/// A payment as applications see it.
pub(crate) fn report(payment_id: PaymentId, row: &PaymentRow) -> PaymentReport {
    PaymentReport {
        payment_id,
        invoice_id: row.invoice_id,
        destination: row.destination,
        currency: row.currency.clone(),
        amount: row.amount,
        created_at: row.created_at,
        status: row.phase.status(),
    }
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
