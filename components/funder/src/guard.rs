//! The guard against freezing: what passing requests of one friend may hold of a line (protocol,
//! section 6.9).
#![deny(clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, BTreeSet};

use offset_crypto::{PublicKey, RequestId};
use offset_proto::{Credits, Currency, Timestamp};

use crate::funder::Place;

/// The most passing requests on one outgoing line.
const MAX_PASSING: usize = 4_096;
/// The most of them from one friend.
const MAX_PASSING_OF_ONE: usize = MAX_PASSING / 2;
/// As long as nothing of a friend is older than this, it may use the whole room.
const FRESH_MS: u64 = 60_000;

/// What passes over each outgoing line, by the friend it comes from. Own payments do not count.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    lines: BTreeMap<(PublicKey, Currency), LineGuard>,
}

#[derive(Debug, Default)]
struct LineGuard {
    count: usize,
    from: BTreeMap<PublicKey, Passing>,
}

#[derive(Debug, Default)]
struct Passing {
    frozen: Credits,
    requests: BTreeMap<RequestId, (Timestamp, Credits)>,
    ages: BTreeSet<(Timestamp, RequestId)>,
}

impl Guard {
    /// Whether a request of `from` that freezes `amount` may pass over a line. `room` is what the
    /// line could carry if nothing were frozen on it.
    pub(crate) fn allows(
        &self,
        line: &(PublicKey, Currency),
        from: PublicKey,
        amount: Credits,
        room: Credits,
        now: Timestamp,
    ) -> bool {
        let Some(passing) = self.lines.get(line) else {
            return true;
        };
        let Some(own) = passing.from.get(&from) else {
            return passing.count < MAX_PASSING;
        };
        let fresh = own.ages.first().is_none_or(|(oldest, _)| now.ms_since(*oldest) <= FRESH_MS);
        let share = room.0.checked_div(2).unwrap_or(0);
        let within = own.frozen.checked_add(amount).is_some_and(|sum| sum.0 <= share);
        passing.count < MAX_PASSING && own.requests.len() < MAX_PASSING_OF_ONE && (fresh || within)
    }

    /// A request passes.
    pub(crate) fn add(&mut self, at: &Place, from: PublicKey, amount: Credits, since: Timestamp) {
        let line = self.lines.entry((at.friend, at.currency.clone())).or_default();
        let passing = line.from.entry(from).or_default();
        passing.frozen = passing.frozen.checked_add(amount).unwrap_or(Credits(u128::MAX));
        passing.requests.insert(at.id, (since, amount));
        passing.ages.insert((since, at.id));
        line.count = line.count.saturating_add(1);
    }

    /// A request has ended, or never left.
    pub(crate) fn remove(&mut self, at: &Place, from: PublicKey) {
        let key = (at.friend, at.currency.clone());
        let Some(line) = self.lines.get_mut(&key) else {
            return;
        };
        if let Some(passing) = line.from.get_mut(&from)
            && let Some((since, amount)) = passing.requests.remove(&at.id)
        {
            passing.ages.remove(&(since, at.id));
            passing.frozen = passing.frozen.checked_sub(amount).unwrap_or_default();
            line.count = line.count.saturating_sub(1);
            if passing.requests.is_empty() {
                line.from.remove(&from);
            }
        }
        if line.from.is_empty() {
            self.lines.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use offset_crypto::{Identity, SeededRng};

    use super::*;

    #[test]
    fn one_friend_keeps_half_when_it_is_slow() {
        let key = |seed| Identity::random(&mut SeededRng::new(seed)).public_key();
        let (out, a, b) = (key(1), key(2), key(3));
        let line = (out, Currency::fallback());
        let place = |n| Place {
            friend: out,
            currency: Currency::fallback(),
            id: RequestId::from_bytes([n; 16]),
        };
        let mut guard = Guard::default();
        let allows = |guard: &Guard, from, amount, now| {
            guard.allows(&line, from, Credits(amount), Credits(100), Timestamp(now))
        };
        assert!(allows(&guard, a, 100, 0));
        guard.add(&place(1), a, Credits(40), Timestamp(0));
        assert!(allows(&guard, a, 60, 60_000), "fresh: all the room");
        assert!(allows(&guard, a, 10, 60_001), "stale: up to half");
        assert!(!allows(&guard, a, 11, 60_001), "stale: no more than half");
        assert!(allows(&guard, b, 60, 60_001), "others are not concerned");
        guard.remove(&place(1), a);
        assert!(allows(&guard, a, 100, 60_001));
        assert!(guard.lines.is_empty());
    }

    #[test]
    fn counts_are_bounded() {
        let key = |seed| Identity::random(&mut SeededRng::new(seed)).public_key();
        let (out, a, b, c) = (key(1), key(2), key(3), key(4));
        let line = (out, Currency::fallback());
        let mut guard = Guard::default();
        for from in [a, b] {
            for n in 0..MAX_PASSING_OF_ONE {
                assert!(guard.allows(&line, from, Credits(1), Credits(1 << 20), Timestamp(0)));
                let mut id = [u8::from(from == a); 16];
                id[..8].copy_from_slice(&n.to_be_bytes());
                let id = RequestId::from_bytes(id);
                let at = Place { friend: out, currency: Currency::fallback(), id };
                guard.add(&at, from, Credits(1), Timestamp(0));
            }
            assert!(!guard.allows(&line, from, Credits(1), Credits(1 << 20), Timestamp(0)));
        }
        assert!(!guard.allows(&line, c, Credits(1), Credits(1 << 20), Timestamp(0)));
    }
}
