//! Clearing: payments to oneself along cycles, which bring debts on two of our lines back towards
//! zero (protocol, section 7).
//!
//! ```text
//!   a friend that owes us <--- amount and fees --- this node <--- amount --- a friend whom we owe
//!            |                                                                        ^
//!            '------------------------- friends of friends --------------------------'
//! ```
//!
//! Nothing of a clearing is durable before its cycle is known. Then an internal invoice, the payment
//! of it and the request on the first line are written in one batch, and from there on it is a
//! payment as any other, with this node as buyer and destination: it survives crashes, is committed
//! once, and has a receipt. It is not retried over another cycle: the amount is that of its cycle.
//! Whoever wants more asks again.

use std::collections::{BTreeMap, VecDeque};

use offset_crypto::{HashResult, Nonce, PaymentId, PublicKey, RequestId, Rng};
use offset_proto::{
    Credits, Currency, Text, Timestamp,
    app::{AppError, AppReply, AppRequestId, ClearRequest, ErrorCode},
    canonical::Writer,
    friend::MAX_ROUTE_KEYS,
    index::{
        Cycle, CycleEnd, CycleQuery, Edge, MAX_CYCLE_ENDS, MAX_EXCLUDED_EDGES, Route, share_of,
    },
    payment::Invoice,
};

use crate::{
    api::{AppId, Effect, Payer, RoutesError},
    buyer::report,
    configure::unknown,
    destination::app_error,
    dirty::Key,
    funder::{Funder, Place, Timer},
    side::Side,
    state::{Decision, InvoicePhase, InvoiceRow, PaymentRow, Phase},
};

/// What is known of clearings only while we run.
#[derive(Debug, Default)]
pub(crate) struct Clearings {
    /// Those for which cycles were asked and not yet answered. Nothing of them is durable.
    asked: BTreeMap<PaymentId, Asked>,
    /// Edges that failed lately, and until when they are left alone.
    avoided: VecDeque<(Timestamp, Edge)>,
}

impl Clearings {
    /// An application is gone: what nobody waits for any more is not begun.
    pub(crate) fn forget(&mut self, app: AppId) {
        self.asked.retain(|_, asked| {
            asked.waiting.retain(|(waiter, _)| *waiter != app);
            !asked.waiting.is_empty()
        });
    }

    /// Leaves edges alone for a while; of too many the oldest are forgotten.
    fn avoid(&mut self, until: Timestamp, edges: &[Edge]) {
        for edge in edges {
            self.avoided.retain(|(_, known)| known != edge);
            if self.avoided.len() == MAX_EXCLUDED_EDGES {
                self.avoided.pop_front();
            }
            self.avoided.push_back((until, *edge));
        }
    }

    fn avoided(&mut self, now: Timestamp) -> Vec<Edge> {
        self.avoided.retain(|(until, _)| now < *until);
        self.avoided.iter().map(|(_, edge)| *edge).collect()
    }
}

/// A clearing whose cycle is looked for.
#[derive(Debug)]
struct Asked {
    terms: Terms,
    payer: Option<Payer>,
    waiting: Vec<(AppId, AppRequestId)>,
}

/// What was ordered.
#[derive(Debug)]
struct Terms {
    /// Identifies them.
    contents: HashResult,
    currency: Currency,
    friend: Option<PublicKey>,
    max_fee: Option<Credits>,
    max_fee_ppm: u32,
}

impl Terms {
    /// The most that mediators may take of a cycle that pays `amount`.
    fn max_fee(&self, amount: Credits) -> Credits {
        let share = share_of(amount, self.max_fee_ppm);
        self.max_fee.map_or(share, |most| most.min(share))
    }
}

/// The lines that a clearing may use, and how much may move over each: what is owed and not yet
/// promised otherwise.
#[derive(Debug, Default)]
struct Ends {
    /// With friends that owe us.
    first: Vec<CycleEnd>,
    /// With friends whom we owe.
    last: Vec<CycleEnd>,
}

impl Funder {
    /// Orders a clearing, or asks again for one. `None`: the answer comes when it has ended.
    pub(crate) fn clear(
        &mut self,
        now: Timestamp,
        from: (AppId, AppRequestId),
        request: ClearRequest,
        ended: Option<&PaymentRow>,
        payer: Option<Payer>,
    ) -> Option<Result<AppReply, AppError>> {
        let id = request.payment_id;
        let terms = match self.clearing_terms(request) {
            Ok(terms) => terms,
            Err(error) => return Some(Err(error)),
        };
        let known = self.state.payments.get(&id).or(ended);
        let contents = known.map(|row| row.contents);
        let asked = self.clearings.asked.get(&id).map(|asked| asked.terms.contents);
        if contents.or(asked).is_some_and(|contents| contents != terms.contents) {
            return Some(Err(app_error(
                ErrorCode::AlreadyExists,
                "this payment id was used for another payment; choose a new random id",
            )));
        }
        if let Some(row) = known {
            if row.phase.is_final() {
                return Some(Ok(AppReply::Payment(Box::new(report(id, row)))));
            }
            self.waiters.entry(id).or_default().push(from);
            return None;
        }
        if let Some(asked) = self.clearings.asked.get_mut(&id) {
            asked.waiting.push(from);
            return None;
        }
        self.ask_for_cycles(now, id, Asked { terms, payer, waiting: vec![from] }).err().map(Err)
    }

    fn clearing_terms(&self, request: ClearRequest) -> Result<Terms, AppError> {
        let ClearRequest { currency, friend, max_fee, max_fee_ppm, .. } = request;
        let currency = currency.unwrap_or_else(|| self.state.settings.default_currency.clone());
        let friend = match friend {
            None => None,
            Some(name) => {
                let known = self.state.friend_named(&name).map(|(key, _)| *key);
                let names = || self.state.friends.values().map(|friend| &friend.info.name);
                Some(known.ok_or_else(|| unknown("friend", &name, names()))?)
            }
        };
        if MILLION < max_fee_ppm {
            let message = "mediators cannot be allowed more than all that moves";
            return Err(app_error(ErrorCode::Invalid, message));
        }
        let mut contents = Writer::default();
        contents
            .text("clearing")
            .text(currency.as_str())
            .option(friend, |out, friend| {
                out.fixed(&friend);
            })
            .option(max_fee, |out, fee| {
                out.u128(fee.0);
            })
            .u32(max_fee_ppm);
        let contents = offset_crypto::hash(&contents.into_bytes());
        Ok(Terms { contents, currency, friend, max_fee, max_fee_ppm })
    }

    fn ask_for_cycles(
        &mut self,
        now: Timestamp,
        id: PaymentId,
        asked: Asked,
    ) -> Result<(), AppError> {
        let under_way = self.state.payments.len().saturating_add(self.clearings.asked.len());
        if self.config.max_payments <= under_way {
            let message = "too many payments are under way; try again when some have ended";
            return Err(app_error(ErrorCode::Busy, message));
        }
        let Ends { first, last } = self.clearing_ends(&asked.terms);
        let nothing = |message| Err(app_error(ErrorCode::NothingToClear, message));
        match (first.is_empty(), last.is_empty(), asked.terms.friend) {
            (false, false, _) => {}
            (true, true, None) => {
                return nothing("no friend that is online owes you anything, or is owed anything");
            }
            (true, true, Some(_)) => {
                return nothing(
                    "nothing can move over the line with this friend: it is at zero, or the \
                     friend is offline or takes no requests",
                );
            }
            (true, false, _) => {
                return nothing(
                    "no friend that is online owes you anything, so what you owe cannot be set off",
                );
            }
            (false, true, _) => {
                return nothing(
                    "you owe no friend that is online anything, so what you are owed cannot be \
                     set off",
                );
            }
        }
        let query = CycleQuery {
            currency: asked.terms.currency.clone(),
            node: self.local,
            first,
            last,
            max_fee_ppm: asked.terms.max_fee_ppm,
            exclude: self.clearings.avoided(now),
        };
        self.clearings.asked.insert(id, asked);
        self.effects.push(Effect::FindCycles { payment_id: id, query });
        Ok(())
    }

    /// The lines whose debts may shrink now. Of too many those with the largest debts.
    fn clearing_ends(&self, terms: &Terms) -> Ends {
        let mut ends = Ends::default();
        for friend in self.state.friends.keys() {
            let Some(credit) = self.credit(friend, &terms.currency) else { continue };
            let numbers = credit.numbers();
            let owed = numbers.balance.room_above(Credits::ZERO);
            let owe = numbers.balance.mirrored().room_above(Credits::ZERO);
            // What is frozen may still move, and is not promised twice.
            let queued = self.queued(friend, &terms.currency).sum;
            let left =
                |debt: Credits, frozen: Credits| debt.checked_sub(frozen).unwrap_or_default();
            let owed = left(left(owed, numbers.pending_debt[Side::Local]), queued);
            let owe = left(owe, numbers.pending_debt[Side::Remote]);
            let room = self.own_room(friend, &terms.currency).unwrap_or_default();
            let first = owed.min(room);
            let takes = self.is_online(friend) && numbers.requests_open[Side::Local];
            if first != Credits::ZERO {
                ends.first.push(CycleEnd { friend: *friend, most: first });
            } else if owe != Credits::ZERO && takes {
                ends.last.push(CycleEnd { friend: *friend, most: owe });
            }
        }
        self.leave_promised(&mut ends.last, terms);
        if let Some(only) = terms.friend {
            let is_only = |end: &CycleEnd| end.friend == only;
            if ends.first.iter().any(is_only) {
                ends.first.retain(is_only);
            } else if ends.last.iter().any(is_only) {
                ends.last.retain(is_only);
            } else {
                return Ends::default();
            }
        }
        for side in [&mut ends.first, &mut ends.last] {
            side.sort_by_key(|end| std::cmp::Reverse(end.most));
            side.truncate(MAX_CYCLE_ENDS);
        }
        ends
    }

    /// What other clearings under way are to bring back over a line is not promised twice.
    fn leave_promised(&self, last: &mut Vec<CycleEnd>, terms: &Terms) {
        let under_way =
            self.state.payments.values().filter(|row| {
                row.clearing && row.currency == terms.currency && !row.phase.is_final()
            });
        for part in under_way.flat_map(PaymentRow::standing) {
            let Some([friend, _]) = part.route.last_chunk() else { continue };
            if let Some(end) = last.iter_mut().find(|end| end.friend == *friend) {
                end.most = end.most.checked_sub(part.amount).unwrap_or_default();
            }
        }
        last.retain(|end| end.most != Credits::ZERO);
    }

    /// The index server's answer: begins with the first cycle that can be used now.
    pub(crate) fn cycles_found(
        &mut self,
        now: Timestamp,
        rng: &mut dyn Rng,
        id: PaymentId,
        answer: Result<Vec<Cycle>, RoutesError>,
    ) {
        let Some(asked) = self.clearings.asked.remove(&id) else { return };
        let begun = match answer {
            Err(RoutesError::NotConnected | RoutesError::NoAnswer) => Err(app_error(
                ErrorCode::NoConnection,
                "no index server answered, so no cycle could be searched; try again when one is \
                 connected",
            )),
            Ok(cycles) => self.begin_clearing(now, rng, id, (&asked, cycles)),
        };
        match begun {
            Ok(()) => self.waiters.entry(id).or_default().extend(asked.waiting),
            Err(error) => {
                for (app, request_id) in asked.waiting {
                    self.reply(app, request_id, Err(error.clone()));
                }
            }
        }
    }

    fn begin_clearing(
        &mut self,
        now: Timestamp,
        rng: &mut dyn Rng,
        id: PaymentId,
        (asked, cycles): (&Asked, Vec<Cycle>),
    ) -> Result<(), AppError> {
        let terms = &asked.terms;
        let ends = self.clearing_ends(terms);
        let routes = cycles.into_iter().map(|cycle| cycle.route);
        let mut usable = routes.filter(|route| self.is_usable_cycle(now, rng, terms, &ends, route));
        let Some(route) = usable.next() else {
            return Err(app_error(
                ErrorCode::NothingToClear,
                "no cycle with room was found that leads back to you within the fee limit",
            ));
        };
        let invoice = self.internal_invoice(now, rng, terms, route.amount);
        let invoice_id = invoice.id();
        let deadline = now.plus_ms(self.config.payment_deadline_ms).min(invoice.expires_at);
        let mut row = PaymentRow {
            app: None,
            contents: terms.contents,
            invoice_id,
            clearing: true,
            spontaneous: false,
            destination: self.local,
            currency: terms.currency.clone(),
            amount: route.amount,
            expires_at: Some(invoice.expires_at),
            max_fee: Some(terms.max_fee(route.amount)),
            created_at: now,
            deadline,
            note: Text::cut(""),
            max_parts: 1,
            hold_seconds: 0,
            by_commit: false,
            exclude: Vec::new(),
            searching_since: now,
            attempts: Vec::new(),
            last_failure: None,
            phase: Phase::Routing,
        };
        self.allow_spending(now, &mut row, asked.payer.as_ref())?;
        self.timers.insert((invoice.expires_at.plus_ms(1), Timer::Invoice(invoice_id)));
        let phase = InvoicePhase::Open;
        let open = InvoiceRow { invoice, clears: Some(id), phase, accepted: None };
        self.state.invoices.insert(invoice_id, open);
        self.dirty.mark(Key::Invoice(invoice_id));
        self.timers.insert((row.deadline, Timer::Payment(id)));
        self.state.payments.insert(id, row);
        self.dirty.mark(Key::Payment(id));
        self.reserve(now, rng, id, vec![route]);
        Ok(())
    }

    /// A cycle is only a hint: it must begin and end here with lines that may be used so, name nobody
    /// else twice, cost no more than allowed, and its first line must carry it now.
    fn is_usable_cycle(
        &self,
        now: Timestamp,
        rng: &mut dyn Rng,
        terms: &Terms,
        ends: &Ends,
        route: &Route,
    ) -> bool {
        let [origin, rest @ ..] = route.keys.as_slice() else { return false };
        let ([first, .., last, end], Some(frozen)) = (rest, route.amount.checked_add(route.fee))
        else {
            return false;
        };
        let distinct = rest.iter().enumerate().all(|(at, key)| !rest[..at].contains(key));
        let carries = |ends: &[CycleEnd], friend: &PublicKey, amount: Credits| {
            ends.iter().any(|end| end.friend == *friend && amount <= end.most)
        };
        let id = RequestId::random(rng);
        let out = Place { friend: *first, currency: terms.currency.clone(), id };
        *origin == self.local
            && *end == self.local
            && distinct
            && route.keys.len() <= MAX_ROUTE_KEYS
            && route.amount != Credits::ZERO
            && frozen <= Credits::LIMIT
            && route.fee <= terms.max_fee(route.amount)
            && carries(&ends.first, first, frozen)
            && carries(&ends.last, last, route.amount)
            && self.check_line(now, &out, frozen, None).is_ok()
    }

    fn internal_invoice(
        &self,
        now: Timestamp,
        rng: &mut dyn Rng,
        terms: &Terms,
        amount: Credits,
    ) -> Invoice {
        Invoice {
            registered: true,
            currency: terms.currency.clone(),
            dest_public_key: self.local,
            dest_payment: amount,
            description: Text::cut("clearing"),
            created_at: now,
            expires_at: now.plus_ms(self.config.invoice_expiry_ms),
            hold_until: None,
            nonce: Nonce::random(rng),
        }
    }

    /// A clearing that was not paid: nobody else can pay its invoice, and its edges are left alone
    /// for a while.
    pub(crate) fn clearing_failed(&mut self, id: PaymentId) {
        let Some(row) = self.state.payments.get(&id).filter(|row| row.clearing) else { return };
        match row.phase {
            Phase::Failed(_) | Phase::Cancelled => {}
            // Without a commit nothing can come any more, unless a newer state than this one, which is
            // lost, has made it.
            Phase::Unknown if self.state.recovery.is_none() && !is_committed(row) => {}
            Phase::Routing
            | Phase::Requesting
            | Phase::Complete
            | Phase::Committed
            | Phase::Succeeded { .. }
            | Phase::Unknown => return,
        }
        self.clearings.avoid(row.deadline.plus_ms(AVOID_MS), &row.exclude);
        let invoice_id = row.invoice_id;
        let open = |invoice: &InvoiceRow| invoice.phase == InvoicePhase::Open;
        if self.state.invoices.get(&invoice_id).is_some_and(open) {
            self.invoice_moved(invoice_id, InvoicePhase::Cancelled);
        }
    }
}

fn is_committed(row: &PaymentRow) -> bool {
    row.attempts.iter().any(|attempt| attempt.decision == Decision::Committed)
}

/// Everything.
const MILLION: u32 = 1_000_000;
/// How much longer than a clearing's deadline its failing edges are left alone.
const AVOID_MS: u64 = 60_000;
