//! Questions about ways that pay nothing: quotes, how much the ways to a node carry, and how much
//! of a payment would have found one. They use the checks of payments, and are forgotten at a start.

use offset_crypto::{PaymentId, PublicKey, Rng};
use offset_proto::{
    Credits, Currency, Text, Timestamp,
    app::{
        AppError, AppReply, AppRequestId, ErrorCode, PayRequest, PaymentFailure, PaymentTarget,
        QuoteReport,
    },
    index::{MultiRoute, Route, RouteQuery},
};

use super::{
    Order,
    ways::{Asked, Way},
};
use crate::{
    api::{AppId, Effect, RoutesError, RoutesFor},
    destination::app_error,
    funder::Funder,
    side::Side,
    spending::usual_max_fee,
    state::{PaymentRow, Phase, sum},
};

/// A question that waits for the index server.
pub(crate) struct Inquiry {
    goal: Goal,
    /// The payment that is asked about; of the amount that is tried at the moment.
    row: PaymentRow,
    /// What the index server was asked last.
    asked: Option<Asked>,
    /// How much works is looked for by halving; `None`: whether the whole amount does.
    halving: Option<Halving>,
}

/// Who wants to know what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// An application, what a payment of this amount would take.
    Quote((AppId, AppRequestId), Credits),
    /// An application, how much can be sent.
    Send((AppId, AppRequestId)),
    /// An application, how much can be received.
    Receive((AppId, AppRequestId)),
    /// A payment that found no way, how much would have.
    Payment(PaymentId),
}

/// Between what works and what does not.
#[derive(Debug, Clone, Copy)]
struct Halving {
    /// The most that is known to work.
    works: Credits,
    /// The least that is known not to.
    fails: Credits,
    /// How many questions are left.
    left: u32,
}

impl Halving {
    /// What to try next: first the number of bits is halved, so that a way that carries little is
    /// found in few steps however much the own lines carry, and then the amount.
    fn next(&self) -> Credits {
        let bits = |amount: Credits| u128::BITS - amount.0.leading_zeros();
        let (least, most) = (bits(self.works), bits(self.fails));
        if 1 < most.saturating_sub(least) {
            // Above what works and below what does not: their numbers of bits are not its own.
            return Credits(1 << (u32::midpoint(least, most) - 1));
        }
        Credits(u128::midpoint(self.works.0, self.fails.0))
    }
}

/// What became of one question: its answer, or `None` while the index server is asked.
type Answer = Option<Result<MultiRoute, PaymentFailure>>;

impl Inquiry {
    const fn new(goal: Goal, row: PaymentRow, halving: Option<Halving>) -> Self {
        Self { goal, row, asked: None, halving }
    }

    /// Whether an application waits for it.
    pub(crate) fn is_of(&self, app: AppId) -> bool {
        match self.goal {
            Goal::Quote(from, _) | Goal::Send(from) | Goal::Receive(from) => from.0 == app,
            Goal::Payment(_) => false,
        }
    }
}

impl Funder {
    /// What a payment would take now. The answer is an effect.
    ///
    /// # Errors
    /// Why such a payment would be refused.
    pub(crate) fn quote(
        &mut self,
        now: Timestamp,
        rng: &mut dyn Rng,
        from: (AppId, AppRequestId),
        request: PayRequest,
    ) -> Result<(), AppError> {
        let mut row = self.new_payment(now, Order { request, by_commit: false })?;
        self.check_new_payment(now, &row)?;
        row.max_fee.get_or_insert(usual_max_fee(row.amount));
        let goal = Goal::Quote(from, row.amount);
        self.inquire(now, rng, Inquiry::new(goal, row, None));
        Ok(())
    }

    /// How much the ways between this node and another carry now. The answer is an effect.
    ///
    /// # Errors
    /// Why no payment could be made.
    pub(crate) fn capacity(
        &mut self,
        now: Timestamp,
        rng: &mut dyn Rng,
        from: (AppId, AppRequestId),
        (currency, peer, receive): (Option<Currency>, PublicKey, bool),
    ) -> Result<(), AppError> {
        let request = PayRequest {
            payment_id: PaymentId::random(rng),
            target: PaymentTarget::Spontaneous { destination: peer, amount: Credits(1), currency },
            max_fee: None,
            deadline_ms: None,
            note: Text::cut(""),
            max_parts: None,
        };
        let row = self.new_payment(now, Order { request, by_commit: false })?;
        self.check_new_payment(now, &row)?;
        let friends = self.state.friends.keys();
        let most = if receive {
            sum(friends.filter_map(|friend| self.receiving_room(friend, &row.currency)))
        } else {
            sum(friends.filter_map(|friend| self.own_room(friend, &row.currency)))
        };
        let most = most.min(Credits::LIMIT);
        let goal = if receive { Goal::Receive(from) } else { Goal::Send(from) };
        let fails = sum([most, Credits(1)].into_iter());
        let halving = Halving { works: Credits::ZERO, fails, left: CAPACITY_QUESTIONS };
        // Often all of it works.
        let inquiry = Inquiry::new(goal, PaymentRow { amount: most, ..row }, Some(halving));
        if most == Credits::ZERO {
            self.tell(now, &inquiry, Ok(most));
        } else {
            self.inquire(now, rng, inquiry);
        }
        Ok(())
    }

    /// What a friend could freeze on its line to us with new requests.
    fn receiving_room(&self, friend: &PublicKey, currency: &Currency) -> Option<Credits> {
        let credit = self.credit(friend, currency).filter(|_| self.is_online(friend))?;
        let numbers = credit.numbers();
        numbers.requests_open[Side::Local].then(|| numbers.room(Side::Remote))
    }

    /// No way carries a payment: asks how much of it one would carry, and then lets it fail.
    pub(super) fn ask_how_much(&mut self, now: Timestamp, rng: &mut dyn Rng, id: PaymentId) {
        if let Some(row) = self.state.payments.get(&id) {
            let inquiry = Inquiry::new(Goal::Payment(id), row.clone(), None);
            self.halve(now, rng, inquiry);
        }
    }

    /// Looks for the part of an amount that works. Whether there is any way at all is known first.
    fn halve(&mut self, now: Timestamp, rng: &mut dyn Rng, inquiry: Inquiry) {
        let fails = inquiry.row.amount;
        let halving = Halving { works: Credits::ZERO, fails, left: FAILURE_QUESTIONS };
        let row = PaymentRow { amount: Credits(1), ..inquiry.row };
        self.inquire(now, rng, Inquiry::new(inquiry.goal, row, Some(halving)));
    }

    /// Asks one question after the other until the end is known.
    fn inquire(&mut self, now: Timestamp, rng: &mut dyn Rng, inquiry: Inquiry) {
        let mut next = Some(inquiry);
        while let Some(mut inquiry) = next.take() {
            match self.question(now, rng, &mut inquiry) {
                Some(answer) => next = self.narrow(now, inquiry, answer),
                None => {
                    self.inquiries.insert(self.next_inquiry, inquiry);
                    self.next_inquiry = self.next_inquiry.wrapping_add(1);
                }
            }
        }
    }

    /// One question, answered here where that is possible.
    fn question(&mut self, now: Timestamp, rng: &mut dyn Rng, inquiry: &mut Inquiry) -> Answer {
        let row = &inquiry.row;
        let query = if let Goal::Receive(_) = inquiry.goal {
            RouteQuery {
                currency: row.currency.clone(),
                amount: row.amount,
                source: row.destination,
                destination: self.local,
                exclude: Vec::new(),
                max_parts: row.max_parts,
            }
        } else {
            match self.seek(now, rng, row) {
                Way::Ready(routes) => return Some(Ok(together(routes, 0))),
                Way::None { failure, .. } => return Some(Err(failure)),
                Way::Ask(query, asked) => {
                    inquiry.asked = Some(asked);
                    query
                }
            }
        };
        let asker = RoutesFor::Inquiry(self.next_inquiry);
        self.effects.push(Effect::FindRoutes { asker, query });
        None
    }

    /// The index server's answer to an inquiry.
    pub(crate) fn inquiry_answered(
        &mut self,
        now: Timestamp,
        rng: &mut dyn Rng,
        number: u64,
        answer: Result<Vec<MultiRoute>, RoutesError>,
    ) {
        let Some(inquiry) = self.inquiries.remove(&number) else {
            return;
        };
        let row = &inquiry.row;
        let answer = match (answer, inquiry.asked) {
            (Err(RoutesError::NotConnected | RoutesError::NoAnswer), _) => {
                return self.tell(now, &inquiry, Err(PaymentFailure::NoIndexServer));
            }
            (Ok(answer), Some(asked)) => {
                let age = answer.first().map_or(0, |multi| multi.age_ms);
                let chosen = self.choose(now, rng, row, (asked, answer));
                chosen.map(|routes| together(routes, age))
            }
            (Ok(answer), None) => {
                let pays = |multi: &MultiRoute| {
                    sum(multi.routes.iter().map(|route| route.amount)) == row.amount
                };
                answer.into_iter().find(pays).ok_or(PaymentFailure::NoRoute)
            }
        };
        let in_one = inquiry.halving.is_none() && Credits(1) < row.amount;
        if in_one && answer == Err(PaymentFailure::NoRoute) {
            self.halve(now, rng, inquiry);
        } else if let Some(next) = self.narrow(now, inquiry, answer) {
            self.inquire(now, rng, next);
        }
    }

    /// Takes an answer into account: the next question, or `None` when the end is told.
    fn narrow(
        &mut self,
        now: Timestamp,
        mut inquiry: Inquiry,
        answer: Result<MultiRoute, PaymentFailure>,
    ) -> Option<Inquiry> {
        let tried = inquiry.row.amount;
        let Some(halving) = &mut inquiry.halving else {
            self.tell_quote(&inquiry, answer);
            return None;
        };
        *(if answer.is_ok() { &mut halving.works } else { &mut halving.fails }) = tried;
        halving.left = halving.left.saturating_sub(1);
        let between = halving.fails.checked_sub(halving.works).unwrap_or_default();
        if between <= Credits(1) || halving.left == 0 {
            let most = halving.works;
            self.tell(now, &inquiry, Ok(most));
            return None;
        }
        inquiry.row.amount = halving.next();
        Some(inquiry)
    }

    /// Tells how much works.
    fn tell(&mut self, now: Timestamp, inquiry: &Inquiry, most: Result<Credits, PaymentFailure>) {
        let failure = || match &most {
            Ok(Credits::ZERO) => PaymentFailure::NoRoute,
            Ok(available) => PaymentFailure::NoCapacity { available: *available },
            Err(failure) => failure.clone(),
        };
        match inquiry.goal {
            Goal::Quote(..) => self.tell_quote(inquiry, Err(failure())),
            Goal::Send((app, id)) | Goal::Receive((app, id)) => {
                let no_index = |failure: PaymentFailure| {
                    let next = "look at `stctrl info index`, or add one with `stctrl config \
                                add-index`";
                    app_error(ErrorCode::NoConnection, &format!("{failure}; {next}"))
                };
                self.reply(app, id, most.map(AppReply::Capacity).map_err(no_index));
            }
            Goal::Payment(id) => {
                let routing = |row: &PaymentRow| row.phase == Phase::Routing;
                if self.state.payments.get(&id).is_some_and(routing) {
                    // The index server was there a moment ago, and knew no way.
                    let failure = if most.is_ok() { failure() } else { PaymentFailure::NoRoute };
                    self.fail(now, id, failure);
                }
            }
        }
    }

    fn tell_quote(&mut self, inquiry: &Inquiry, ways: Result<MultiRoute, PaymentFailure>) {
        if let Goal::Quote((app, id), amount) = inquiry.goal {
            let row = &inquiry.row;
            let (destination, currency) = (row.destination, row.currency.clone());
            let report = QuoteReport { destination, currency, amount, ways };
            self.reply(app, id, Ok(AppReply::Quote(Box::new(report))));
        }
    }
}

/// Routes as one answer.
fn together(routes: Vec<Route>, age_ms: u64) -> MultiRoute {
    let total_fee = sum(routes.iter().map(|route| route.fee));
    MultiRoute { routes, total_fee, age_ms }
}

/// The most questions about how much the ways to a node carry: one for all of it, 7 for its number of
/// bits, and then exact up to some millions, and to a millionth above.
const CAPACITY_QUESTIONS: u32 = 32;
/// The most questions about how much of a payment would have found a way: one for any at all, 7 for
/// its number of bits, and then exact up to some thousands, and to a thousandth above.
const FAILURE_QUESTIONS: u32 = 20;
