//! Taking up a stored state, and checking that a state holds together.

use offset_crypto::PaymentId;
use offset_proto::{Timestamp, friend::FriendOp};

use crate::{
    buyer::patience_ms,
    funder::{Funder, Place, Timer},
    side::Side,
    state::{
        Attempt, Decision, InvoicePhase, Link, Part, PartState, PaymentRow, Pending, Phase, SetKey,
        SetRow, sum,
    },
};

impl Funder {
    /// Fills in everything that is derived from the rows.
    pub(crate) fn rebuild(&mut self, now: Timestamp) {
        let friends: Vec<_> = self.state.friends.keys().copied().collect();
        for key in friends {
            self.rebuild_friend(key);
            self.rebuild_proven(now, key);
        }
        self.dirty.set_first_queued(self.next_queued);
        self.rebuild_books();
        for (key, set) in &self.state.sets {
            let at = set.since.plus_ms(self.config.set_patience_ms);
            self.timers.insert((at, Timer::Set(*key)));
        }
        self.rebuild_invoices();
        for (id, row) in &self.state.payments {
            self.loaded_payments.insert(*id);
            self.timers.insert((row.deadline, Timer::Payment(*id)));
            // Each is looked at: what is missing is to be found, what hangs to be given up in time.
            let patience = patience_ms(row, self.config.part_patience_ms);
            self.timers.insert((now, Timer::Payment(*id)));
            self.timers.insert((now.plus_ms(patience), Timer::Payment(*id)));
        }
        self.dirty.own_relays = true;
        self.dirty.index_servers = true;
    }

    fn rebuild_friend(&mut self, key: offset_crypto::PublicKey) {
        let Some(friend) = self.state.friends.get(&key) else {
            return;
        };
        if let Some((last, _)) = friend.queue.last_key_value() {
            self.next_queued = self.next_queued.max(last.saturating_add(1));
        }
        let live = self.live.entry(key).or_default();
        for (number, row) in &friend.queue {
            let FriendOp::Request(request) = &row.op else {
                continue;
            };
            let frozen = request.frozen().unwrap_or_default();
            live.queued.entry(row.currency.clone()).or_default().add(frozen);
            self.queued_requests.insert((key, request.request_id), *number);
            let at = row.since.plus_ms(self.config.queue_timeout_ms);
            self.timers.insert((at, Timer::Queued(key, *number)));
            if let Link::Upstream(from, _) = row.link {
                let id = request.request_id;
                let place = Place { friend: key, currency: row.currency.clone(), id };
                self.guard.add(&place, from, frozen, row.since);
            }
        }
        for (currency, line) in &friend.lines {
            let Some(credit) = &line.credit else {
                continue;
            };
            for (id, row) in credit.pending(Side::Local) {
                let place = Place { friend: key, currency: currency.clone(), id: *id };
                match row.link {
                    Link::Upstream(from, _) => {
                        let frozen = row.request.frozen().unwrap_or_default();
                        self.guard.add(&place, from, frozen, row.since);
                    }
                    Link::None if !row.closing => drop(self.exposed.insert(place)),
                    Link::None | Link::Payment(_) | Link::Destination | Link::Downstream(..) => {}
                }
            }
        }
        if friend.info.enabled {
            self.dirty.contacts.insert(key);
        }
    }

    /// Panics when an invariant does not hold: a mistake of this code, never of a peer.
    pub fn check_invariants(&self) {
        self.check_books();
        for (key, friend) in &self.state.friends {
            let ends = self.ends(*key);
            for (currency, line) in &friend.lines {
                if let Some(credit) = &line.credit {
                    credit.check_invariants(&ends);
                    assert!(line.local_proposal.is_none() && line.remote_proposal.is_none());
                    for (id, row) in credit.pending(Side::Remote) {
                        let at = Place { friend: *key, currency: currency.clone(), id: *id };
                        self.check_incoming(&at, row.link, row.closing);
                    }
                    for (id, row) in credit.pending(Side::Local) {
                        let at = Place { friend: *key, currency: currency.clone(), id: *id };
                        self.check_outgoing(&at, row.link);
                    }
                }
            }
            if friend.received.is_some() {
                let shown = crate::proof::shown(friend, &ends);
                assert!(shown.is_some(), "what {key:?} signed last cannot be shown to it");
            }
            let queued = self.live.get(key).map(|live| &live.queued);
            let counted: usize = queued.into_iter().flatten().map(|(_, queued)| queued.count).sum();
            let requests =
                friend.queue.values().filter(|row| matches!(row.op, FriendOp::Request(_)));
            assert_eq!(requests.count(), counted, "requests queued for {key:?}");
        }
        for (key, set) in &self.state.sets {
            self.check_set(key, set);
        }
        for (id, row) in &self.state.payments {
            self.check_payment(*id, row);
        }
    }

    /// An accepted set pays its invoice, and only one that holds payments holds it.
    fn check_set(&self, key: &SetKey, set: &SetRow) {
        if !set.accepted {
            return assert!(!set.held, "a set is held whose commit was not accepted");
        }
        assert!(set.src_plain_lock.is_some_and(|lock| lock.hashed() == key.src_hashed_lock));
        if let Some(row) = self.state.invoices.get(&key.invoice_id) {
            assert_eq!(row.phase, InvoicePhase::Committed, "{key:?} is accepted");
            assert_eq!(row.accepted, Some(key.src_hashed_lock), "{key:?} is accepted");
            assert!(!set.held || row.invoice.hold_until.is_some());
        } else {
            assert!(!set.held, "a set is held without an invoice");
        }
    }

    /// One decision an attempt, one attempt at a time, and never more frozen under it than the
    /// buyer allowed (M10); what a row calls pending is pending.
    fn check_payment(&self, id: PaymentId, row: &PaymentRow) {
        let released = |attempt: &Attempt| attempt.decision == Decision::Released;
        let earlier = row.attempts.len().saturating_sub(1);
        assert!(row.attempts.iter().take(earlier).all(released), "{id:?} has two attempts");
        let decision = row.current().map(|attempt| attempt.decision);
        match row.phase {
            Phase::Routing | Phase::Failed(_) => assert_eq!(decision, None, "{id:?}"),
            Phase::Requesting | Phase::Complete => {
                assert_eq!(decision, Some(Decision::Open), "{id:?}");
                assert!(row.standing().next().is_some(), "{id:?} waits for a part");
            }
            Phase::Committed | Phase::Cancelled => {
                assert_eq!(decision, Some(Decision::Committed), "{id:?}");
            }
            Phase::Succeeded { .. } | Phase::Unknown => {}
        }
        let standing = sum(row.standing().map(|part| part.amount));
        assert!(standing <= row.amount, "{id:?} reserves more than its amount");
        let within = row.max_fee.is_none_or(|most| row.fees() <= most);
        assert!(within, "{id:?} reserves more fees than allowed");
        for part in row.attempts.iter().flat_map(|attempt| &attempt.parts) {
            assert_eq!(part.state.is_pending(), self.is_there(id, row, part), "{id:?}: {part:?}");
            let answered = part.response.is_some();
            assert!(answered || part.state != PartState::Responded, "{id:?}: {part:?}");
        }
    }

    /// Whether the request of a part is queued or pending.
    fn is_there(&self, id: PaymentId, row: &PaymentRow, part: &Part) -> bool {
        let Some(friend) = part.route.get(1).copied() else {
            return false;
        };
        let at = Place { friend, currency: row.currency.clone(), id: part.request_id };
        let ours = |row: &Pending| row.link == Link::Payment(id);
        self.queued_request(friend, at.id).is_some()
            || self.pending(&at, Side::Local).is_some_and(ours)
    }

    /// An incoming request that was passed on and is not ending has its partner downstream (M8).
    fn check_incoming(&self, at: &Place, link: Link, closing: bool) {
        match link {
            Link::Downstream(friend, id) if !closing => {
                let out = Place { friend, currency: at.currency.clone(), id };
                let queued = self.queued_request(friend, id).is_some();
                assert!(
                    queued || self.pending(&out, Side::Local).is_some(),
                    "a passed request ended downstream without word upstream"
                );
            }
            Link::None | Link::Destination => {}
            Link::Downstream(..) => {}
            Link::Upstream(..) | Link::Payment(_) => {
                panic!("an incoming request is linked as an outgoing one")
            }
        }
    }

    /// An outgoing request belongs to an incoming one or to a payment of ours.
    fn check_outgoing(&self, at: &Place, link: Link) {
        match link {
            Link::Upstream(friend, id) => {
                let incoming = Place { friend, currency: at.currency.clone(), id };
                let partner = self.pending(&incoming, Side::Remote);
                assert!(partner.is_some(), "an outgoing request lost its incoming one");
            }
            Link::Payment(id) => {
                let row = self.state.payments.get(&id);
                let parts = row.iter().flat_map(|row| &row.attempts).flat_map(|it| &it.parts);
                let mut parts = parts.filter(|part| part.state.is_pending());
                assert!(parts.any(|part| part.request_id == at.id), "a payment forgot a part");
            }
            Link::None => {}
            Link::Destination | Link::Downstream(..) => {
                panic!("an outgoing request is linked as an incoming one")
            }
        }
    }
}
