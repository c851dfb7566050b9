//! Which ways a payment may take: our own line to the receiver, and the index server's routes,
//! which are hints that are checked here.

use std::collections::BTreeMap;

use offset_crypto::{PublicKey, RequestId, Rng};
use offset_proto::{
    Credits, Currency, Timestamp,
    app::{NoLine, PaymentFailure},
    friend::MAX_ROUTE_KEYS,
    index::{Edge, MAX_EXCLUDED_EDGES, MultiRoute, Route, RouteQuery},
};

use crate::{
    funder::{Funder, Place},
    side::Side,
    state::{Friend, FriendRecovery, PaymentRow, sum},
};

/// What an index server was asked for a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// What was missing.
    pub(crate) missing: Credits,
    /// The part of it that our own line to the receiver is to carry.
    pub(crate) direct: Credits,
}

/// What to do for what is missing of a payment.
pub(crate) enum Way {
    /// Reserve along these routes.
    Ready(Vec<Route>),
    /// Ask the index server first.
    Ask(RouteQuery, Asked),
    /// There is none at this moment.
    None {
        /// What to say.
        failure: PaymentFailure,
        /// Whether it may be different in a moment.
        waiting_helps: bool,
    },
}

impl Funder {
    /// How what is missing of a payment could be paid.
    pub(crate) fn seek(&self, now: Timestamp, rng: &mut dyn Rng, row: &PaymentRow) -> Way {
        let missing = row.missing();
        let standing = u8::try_from(row.standing().count()).unwrap_or(u8::MAX);
        let parts = row.max_parts.saturating_sub(standing).max(1);
        let direct = self.direct_room(now, rng, row).min(missing);
        if direct == missing {
            return Way::Ready(vec![self.direct_route(row, direct)]);
        }
        if let Some((failure, waiting_helps)) = self.own_lines_fail(row, missing, parts) {
            return Way::None { failure, waiting_helps };
        }
        // What our own line to the receiver carries costs nothing, and takes one of the parts.
        let direct = if parts < 2 { Credits::ZERO } else { direct };
        let mut exclude = row.exclude.clone();
        if direct != Credits::ZERO {
            put_edge(&mut exclude, Edge { from: self.local, to: row.destination });
        }
        let query = RouteQuery {
            currency: row.currency.clone(),
            amount: missing.checked_sub(direct).unwrap_or(missing),
            source: self.local,
            destination: row.destination,
            exclude,
            max_parts: parts.saturating_sub(u8::from(direct != Credits::ZERO)),
        };
        Way::Ask(query, Asked { missing, direct })
    }

    /// The first of the index server's answers that can be used now, with what goes directly.
    ///
    /// # Errors
    /// What to say when there is none.
    pub(crate) fn choose(
        &self,
        now: Timestamp,
        rng: &mut dyn Rng,
        row: &PaymentRow,
        (asked, answer): (Asked, Vec<MultiRoute>),
    ) -> Result<Vec<Route>, PaymentFailure> {
        let mut too_dear = None;
        for multi_route in answer {
            let mut routes = multi_route.routes;
            if asked.direct != Credits::ZERO {
                routes.push(self.direct_route(row, asked.direct));
            }
            if !self.are_usable(now, rng, row, &routes) {
                continue;
            }
            let fees = routes.iter().map(|route| route.fee).chain([row.fees()]);
            let fee = sum(fees);
            if row.max_fee.is_some_and(|most| most < fee) {
                too_dear.get_or_insert(PaymentFailure::FeeTooHigh { fee });
                continue;
            }
            return Ok(routes);
        }
        let failure = too_dear.or_else(|| row.last_failure.clone());
        Err(failure.unwrap_or(PaymentFailure::NoRoute))
    }

    /// Whether routes pay together what is missing, each is one that could be, and our own lines
    /// carry now what they freeze together.
    fn are_usable(
        &self,
        now: Timestamp,
        rng: &mut dyn Rng,
        row: &PaymentRow,
        routes: &[Route],
    ) -> bool {
        let mut frozen: BTreeMap<PublicKey, Credits> = BTreeMap::new();
        for route in routes {
            let Some(first) = self.first_line(row, route) else {
                return false;
            };
            let on_line = frozen.entry(first).or_default();
            *on_line = sum([*on_line, route.amount, route.fee].into_iter());
        }
        let parts = routes.len().saturating_add(row.standing().count());
        parts <= usize::from(row.max_parts)
            && sum(routes.iter().map(|route| route.amount)) == row.missing()
            && frozen.into_iter().all(|(friend, frozen)| {
                let id = RequestId::random(rng);
                let line = Place { friend, currency: row.currency.clone(), id };
                self.check_line(now, &line, frozen, None).is_ok()
            })
    }

    /// The friend with whom a route begins, if it is one: from here to the receiver, nobody twice,
    /// nothing that failed before, with amounts that a request can carry.
    fn first_line(&self, row: &PaymentRow, route: &Route) -> Option<PublicKey> {
        let keys = &route.keys;
        let ends = keys.first() == Some(&self.local) && keys.last() == Some(&row.destination);
        let distinct = keys.iter().enumerate().all(|(at, key)| !keys[..at].contains(key));
        let failed = edges(keys).any(|edge| row.exclude.contains(&edge));
        let frozen = route.amount.checked_add(route.fee)?;
        let fits = route.amount != Credits::ZERO && frozen <= Credits::LIMIT;
        let usable = ends && distinct && !failed && fits && keys.len() <= MAX_ROUTE_KEYS;
        keys.get(1).copied().filter(|_| usable)
    }

    fn direct_route(&self, row: &PaymentRow, amount: Credits) -> Route {
        Route { keys: vec![self.local, row.destination], amount, fee: Credits::ZERO }
    }

    /// What our own line to the receiver carries now.
    fn direct_room(&self, now: Timestamp, rng: &mut dyn Rng, row: &PaymentRow) -> Credits {
        let edge = Edge { from: self.local, to: row.destination };
        let id = RequestId::random(rng);
        let line = Place { friend: row.destination, currency: row.currency.clone(), id };
        let room = self.own_room(&row.destination, &row.currency).unwrap_or_default();
        let usable = !row.exclude.contains(&edge);
        if usable && self.check_line(now, &line, room, None).is_ok() { room } else { Credits::ZERO }
    }

    /// What a new request of ours could freeze on a line; `None`: the friend cannot be reached, or
    /// does not have the currency.
    pub(crate) fn own_room(&self, friend: &PublicKey, currency: &Currency) -> Option<Credits> {
        let credit = self.credit(friend, currency).filter(|_| self.is_serving(friend))?;
        let numbers = credit.numbers();
        if !numbers.requests_open[Side::Remote] {
            return Some(Credits::ZERO);
        }
        let queued = self.queued(friend, currency).sum;
        Some(numbers.room(Side::Local).checked_sub(queued).unwrap_or_default())
    }

    /// Whether that many of our own lines cannot carry `missing` together, what to say then, and
    /// whether it may be different in a moment.
    fn own_lines_fail(
        &self,
        row: &PaymentRow,
        missing: Credits,
        parts: u8,
    ) -> Option<(PaymentFailure, bool)> {
        let (mut rooms, mut unfrozen) = (Vec::new(), Vec::new());
        for friend in self.state.friends.keys() {
            let credit = self.credit(friend, &row.currency);
            let room = self.own_room(friend, &row.currency);
            if let (Some(room), Some(credit)) = (room, credit) {
                let numbers = credit.numbers();
                rooms.push(room);
                if numbers.requests_open[Side::Remote] {
                    unfrozen.push(numbers.balance.room_above(numbers.max_debt[Side::Local]));
                }
            }
        }
        if rooms.is_empty() {
            let why = self.why_no_line(&row.currency);
            return Some((PaymentFailure::NoLine(why), why == NoLine::Offline));
        }
        if unfrozen.is_empty() {
            return Some((PaymentFailure::NoLine(NoLine::Closed), false));
        }
        let largest = |mut rooms: Vec<Credits>| {
            rooms.sort_unstable_by(|a, b| b.cmp(a));
            sum(rooms.into_iter().take(usize::from(parts)))
        };
        let room = largest(rooms);
        if missing <= room {
            return None;
        }
        let reserved = row.amount.checked_sub(missing).unwrap_or_default();
        let available = sum([room, reserved].into_iter());
        Some((PaymentFailure::NoRoom { available }, missing <= largest(unfrozen)))
    }

    /// Why no line of a currency can be used, when none can.
    fn why_no_line(&self, currency: &Currency) -> NoLine {
        let friends = self.state.friends.values();
        let why = |friend: &Friend| {
            Some(match (&friend.lines.get(currency)?.credit, &friend.channel) {
                (None, _) => NoLine::Proposed,
                (_, channel) if channel.removed_by_friend => NoLine::RemovedByFriend,
                _ if friend.info.removing => NoLine::Removing,
                (_, channel) if channel.inconsistent.is_some() => NoLine::Inconsistent,
                _ if matches!(friend.recovery, Some(FriendRecovery::Quarantined(_))) => {
                    NoLine::Quarantined
                }
                _ if !friend.info.enabled => NoLine::Disabled,
                _ => NoLine::Offline,
            })
        };
        friends.filter_map(why).max().unwrap_or(NoLine::Unknown)
    }
}

/// The directed edges of a route.
pub(super) fn edges(keys: &[PublicKey]) -> impl DoubleEndedIterator<Item = Edge> + '_ {
    keys.iter().zip(keys.iter().skip(1)).map(|(from, to)| Edge { from: *from, to: *to })
}

/// Adds an edge that is not to be used; of too many the oldest is forgotten.
pub(super) fn put_edge(exclude: &mut Vec<Edge>, edge: Edge) {
    if exclude.contains(&edge) {
        return;
    }
    if exclude.len() == MAX_EXCLUDED_EDGES {
        exclude.remove(0);
    }
    exclude.push(edge);
}
