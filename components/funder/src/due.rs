//! What is due after a state was installed or agreed in a recovery, derived from the rows alone
//! (protocol, section 8, *installing*): nothing of what was queued in the lost time is remembered.

use std::collections::{BTreeMap, BTreeSet};

use offset_crypto::{PublicKey, RequestId};
use offset_proto::{
    Currency, Timestamp,
    friend::{CancelReason, Collect, Commit, FriendOp, Release, Request, Response},
};

use crate::{
    dirty::Key,
    funder::{Funder, Place},
    past::Past,
    side::Side,
    state::{Link, Pending, SetKey, SetRow, Stage},
};

/// What is queued already, by friend: an operation is never queued twice.
#[derive(Default)]
struct Queues(BTreeMap<PublicKey, BTreeSet<(Currency, RequestId, Kind)>>);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Request,
    Response,
    Commit,
    Collect,
    Cancel,
    Release,
}

impl Kind {
    const fn of(op: &FriendOp) -> Self {
        match op {
            FriendOp::Request(_) => Self::Request,
            FriendOp::Response(_) => Self::Response,
            FriendOp::Commit(_) => Self::Commit,
            FriendOp::Collect(_) => Self::Collect,
            FriendOp::Cancel(_) => Self::Cancel,
            FriendOp::Release(_) => Self::Release,
        }
    }
}

impl Funder {
    /// Queues everything that the rows of a friend make due, on its side and on the other side of
    /// what passes between it and others.
    pub(crate) fn derive_due(&mut self, now: Timestamp, key: PublicKey) {
        let (mut queues, mut asking) = (Queues::default(), BTreeSet::new());
        let own = self.rows_of(key, Side::Remote);
        let passing = self.rows_of(key, Side::Local);
        let passing = passing.into_iter().filter_map(|(at, link)| match link {
            Link::Upstream(friend, id) => Some(Place { friend, currency: at.currency, id }),
            Link::None | Link::Destination | Link::Downstream(..) | Link::Payment(_) => None,
        });
        let waiting = self.rows(Side::Remote, |row| {
            row.link == Link::None && !row.closing && row.request.route.first() == Some(&key)
        });
        let incoming: BTreeSet<_> =
            own.into_iter().map(|(at, _)| at).chain(passing).chain(waiting).collect();
        for at in incoming {
            self.derive_incoming(now, (&mut queues, &mut asking), &at);
        }
        for next in asking {
            self.ask_endings(next);
        }
        let sets: BTreeSet<_> = self
            .state
            .sets
            .iter()
            .filter(|(_, set)| set.parts.iter().any(|(friend, _)| *friend == key))
            .map(|(key, _)| *key)
            .collect();
        for set in sets {
            self.accept(now, set);
        }
    }

    fn rows_of(&self, key: PublicKey, side: Side) -> Vec<(Place, Link)> {
        let lines = self.friend(&key).into_iter().flat_map(|friend| &friend.lines);
        lines
            .flat_map(|(currency, line)| {
                let rows = line.credit.iter().flat_map(move |credit| credit.pending(side));
                rows.map(move |(id, row)| {
                    (Place { friend: key, currency: currency.clone(), id: *id }, row.link)
                })
            })
            .collect()
    }

    fn derive_incoming(
        &mut self,
        now: Timestamp,
        (queues, asking): (&mut Queues, &mut BTreeSet<PublicKey>),
        at: &Place,
    ) {
        let Some(row) = self.pending(at, Side::Remote).filter(|row| !row.closing).cloned() else {
            return;
        };
        if row.request.route.is_empty() {
            return self.derive_part(now, queues, at, &row);
        }
        if row.link == Link::None && !self.pair(at, &row) {
            if !self.settle_alone(now, at) {
                // It waits for what its next friend shows or says, or for the operator's word.
                asking.extend(self.ending_wanted(at));
            }
            return;
        }
        if let Some(Link::Downstream(friend, id)) = self.pending(at, Side::Remote).map(|r| r.link) {
            let out = Place { friend, currency: at.currency.clone(), id };
            self.derive_pair(now, queues, at, &out);
        }
    }

    /// What was sent for a request is still pending, or was collected, though the request itself has
    /// only come now (again): it is paired or answered (protocol, section 6.1).
    pub(crate) fn had_partner(&mut self, now: Timestamp, at: &Place) -> bool {
        let Some(row) = self.pending(at, Side::Remote).cloned() else {
            return false;
        };
        if self.settle_alone(now, at) {
            return true;
        }
        if !self.pair(at, &row) {
            return false;
        }
        if let Some(Link::Downstream(friend, id)) = self.pending(at, Side::Remote).map(|r| r.link) {
            let out = Place { friend, currency: at.currency.clone(), id };
            self.derive_pair(now, &mut Queues::default(), at, &out);
        }
        true
    }

    /// Answers a request that was collected while it had no partner.
    fn settle_alone(&mut self, now: Timestamp, at: &Place) -> bool {
        let next =
            self.pending(at, Side::Remote).and_then(|row| row.request.route.first().copied());
        let Some(next) = next else {
            return false;
        };
        let kept = self.take_alone(at, next);
        kept.is_some_and(|kept| {
            self.settle_incoming(now, at, next, (&kept.collected, Some(kept.amount)))
        })
    }

    /// Finds the request that was sent for an incoming one, by the id that it must have. It is the
    /// one only if everything but the fee agrees.
    pub(crate) fn pair(&mut self, at: &Place, row: &Pending) -> bool {
        let Some((next, rest)) = row.request.route.split_first() else {
            return false;
        };
        let out = Place { friend: *next, currency: at.currency.clone(), id: self.hop_id(at) };
        let Some(sent) = self.pending(&out, Side::Local) else {
            return false;
        };
        let same = |a: &Request, b: &Request| {
            a.src_hashed_lock == b.src_hashed_lock
                && a.invoice_id == b.invoice_id
                && a.dest_payment == b.dest_payment
                && a.total_dest_payment == b.total_dest_payment
                && a.left_fees <= b.left_fees
                && a.spontaneous == b.spontaneous
                && a.hold_seconds == b.hold_seconds
                && a.route == *rest
        };
        if sent.link != Link::None || sent.closing || !same(&sent.request, &row.request) {
            return false;
        }
        let (frozen, since) = (sent.request.frozen().unwrap_or_default(), sent.since);
        self.annotate(&out, Side::Local, |sent| sent.link = Link::Upstream(at.friend, at.id));
        self.annotate(at, Side::Remote, |row| row.link = Link::Downstream(out.friend, out.id));
        self.guard.add(&out, at.friend, frozen, since);
        self.exposed.remove(&out);
        self.line_changed(out.friend, &out.currency);
        true
    }

    /// What one half of a passing request makes due on the other.
    fn derive_pair(&mut self, now: Timestamp, queues: &mut Queues, at: &Place, out: &Place) {
        let (Some(incoming), Some(sent)) =
            (self.pending(at, Side::Remote).cloned(), self.pending(out, Side::Local).cloned())
        else {
            return;
        };
        if let (Stage::Requested, Some(response)) = (incoming.stage, &sent.response) {
            let response = Response { request_id: at.id, ..response.as_ref().clone() };
            self.queue_due(now, queues, at, FriendOp::Response(response));
        }
        if let (Some(src_plain_lock), Stage::Responded, false) =
            (incoming.src_plain_lock, sent.stage, sent.released)
        {
            let commit = Commit { request_id: out.id, src_plain_lock };
            self.queue_due(now, queues, out, FriendOp::Commit(commit));
        }
        if incoming.released && !sent.released && sent.stage != Stage::Committed {
            let release = Release { request_id: out.id };
            self.queue_due(now, queues, out, FriendOp::Release(release));
        }
    }

    fn queue_due(&mut self, now: Timestamp, queues: &mut Queues, at: &Place, op: FriendOp) {
        let queue = queues.0.entry(at.friend).or_insert_with(|| {
            let rows = self.friend(&at.friend).into_iter().flat_map(|f| f.queue.values());
            rows.map(|row| (row.currency.clone(), row.op.request_id(), Kind::of(&row.op))).collect()
        });
        if queue.insert((at.currency.clone(), at.id, Kind::of(&op))) {
            self.enqueue(now, at, op, Link::None);
        }
    }

    /// A part of a payment to us.
    fn derive_part(&mut self, now: Timestamp, queues: &mut Queues, at: &Place, row: &Pending) {
        let request = &row.request;
        let key =
            SetKey { invoice_id: request.invoice_id, src_hashed_lock: request.src_hashed_lock };
        let part = (at.friend, at.id);
        let set = self.state.sets.get(&key);
        let joined = set.is_some_and(|set| set.parts.contains(&part));
        if joined && set.is_some_and(|set| set.held) {
            // Its seller still decides.
            return;
        }
        let is_paid = set.filter(|set| set.accepted).and_then(|set| set.src_plain_lock);
        if let (Some(src_plain_lock), Some(_)) = (is_paid, &row.response) {
            let dest_plain_lock = self.dest_plain_lock(&key.invoice_id, &key.src_hashed_lock);
            let collect = Collect { request_id: at.id, src_plain_lock, dest_plain_lock };
            if let Some(set) = self.state.sets.get_mut(&key).filter(|_| !joined) {
                set.parts.push(part);
                self.dirty.mark(Key::Set(key));
            }
            self.annotate(at, Side::Remote, |row| {
                row.link = Link::Destination;
                row.closing = true;
            });
            return self.queue_due(now, queues, at, FriendOp::Collect(collect));
        }
        let over = match self.state.invoices.get(&request.invoice_id) {
            Some(row) => row.accepted.is_some(),
            None => match self.past_of(&at.currency, request) {
                Some(past) => past != Past::Nothing,
                None => return self.past_unknown(at.friend, &at.currency, request),
            },
        };
        if is_paid.is_some() || over {
            return self.cancel_incoming(now, at, CancelReason::AlreadyPaid, Some(self.local));
        }
        if row.response.is_none() {
            // One that has just come in was answered: its response waits in the queue.
            let answered = (at.currency.clone(), at.id, Kind::Response);
            let queue = self.friend(&at.friend).into_iter().flat_map(|f| f.queue.values());
            let waits = queue
                .map(|row| (row.currency.clone(), row.op.request_id(), Kind::of(&row.op)))
                .any(|queued| queued == answered);
            if !(joined && waits) {
                self.leave_set(now, key, part);
                self.cancel_incoming(now, at, CancelReason::Busy, Some(self.local));
            }
            return;
        }
        if !joined {
            self.rejoin(now, at, key, row);
        }
        if row.released {
            self.cancel_set(now, key, CancelReason::Released);
        }
    }

    /// A part that we answered, in a set that we do not know (any more).
    fn rejoin(&mut self, now: Timestamp, at: &Place, key: SetKey, row: &Pending) {
        let request = &row.request;
        let set = self.state.sets.entry(key).or_insert_with(|| SetRow {
            currency: at.currency.clone(),
            total: request.total_dest_payment,
            spontaneous: request.spontaneous,
            since: now,
            parts: Vec::new(),
            src_plain_lock: None,
            accepted: false,
            held: false,
            rebuilt: true,
            arrived: false,
        });
        let same = set.currency == at.currency
            && set.total == request.total_dest_payment
            && set.spontaneous == request.spontaneous;
        if !same {
            return self.cancel_incoming(now, at, CancelReason::UnknownInvoice, Some(self.local));
        }
        set.parts.push((at.friend, at.id));
        if set.src_plain_lock.is_none() {
            set.src_plain_lock = row.src_plain_lock;
        }
        self.dirty.mark(Key::Set(key));
        self.annotate(at, Side::Remote, |row| row.link = Link::Destination);
    }

    /// Without an accepted commit a set that lost a part falls; the part itself is gone already.
    fn leave_set(&mut self, now: Timestamp, key: SetKey, part: (PublicKey, RequestId)) {
        if let Some(set) = self.state.sets.get_mut(&key).filter(|set| !set.accepted)
            && set.parts.contains(&part)
        {
            set.parts.retain(|other| *other != part);
            self.dirty.mark(Key::Set(key));
            self.cancel_set(now, key, CancelReason::Expired);
        }
    }

    /// Parts of sets that are no longer pending are forgotten: an accepted set goes on with the
    /// others, another one falls.
    pub(crate) fn mend_sets(&mut self, now: Timestamp) {
        let keys: Vec<_> = self.state.sets.keys().copied().collect();
        for key in keys {
            let Some(set) = self.state.sets.get(&key) else {
                continue;
            };
            let (currency, accepted) = (set.currency.clone(), set.accepted);
            let gone: Vec<_> = set
                .parts
                .iter()
                .filter(|(friend, id)| {
                    self.state.pending(friend, &currency, Side::Remote, id).is_none()
                })
                .copied()
                .collect();
            for part in gone {
                if accepted {
                    // In the state that was proven we had collected it.
                    self.part_gone_from(key, part, true);
                } else {
                    self.leave_set(now, key, part);
                }
            }
        }
    }

    /// Sets of registered invoices that this node does not know any more, complete and without a
    /// commit: their buyer may hold a commit file. Only the operator's word ends them.
    pub(crate) fn promised_sets(&self) -> Vec<SetKey> {
        let promised = |(key, set): &(&SetKey, &SetRow)| {
            set.rebuilt
                && !set.accepted
                && !set.spontaneous
                && !self.state.invoices.contains_key(&key.invoice_id)
                && self.sum_of(set, |_| true) == set.total
        };
        self.state.sets.iter().filter(promised).map(|(key, _)| *key).collect()
    }
}
