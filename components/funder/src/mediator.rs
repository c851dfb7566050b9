//! The mediator's part: passing requests on and everything else back and forth (protocol, section
//! 6.2). A mediator never ends by time what it has forwarded.

use offset_crypto::{PublicKey, RequestId, Rng};
use offset_proto::{
    Credits, Currency, Timestamp,
    friend::{CancelReason, Collect, Commit, FriendOp, MAX_PENDING, Release, Request, Response},
};

use crate::{
    credit::check_structure,
    funder::{Funder, Place},
    side::Side,
    state::{Link, Pending, Stage},
};

impl Funder {
    /// A friend's request is pending: for us, or to be passed on.
    pub(crate) fn request_received(
        &mut self,
        now: Timestamp,
        rng: &mut dyn Rng,
        at: &Place,
        allowed: bool,
    ) {
        let Some(row) = self.pending(at, Side::Remote) else {
            return;
        };
        let request = row.request.clone();
        let refused = if !self.is_serving(&at.friend) {
            Some(CancelReason::Offline)
        } else if !allowed {
            Some(CancelReason::NoRoom)
        } else if request.route.is_empty() {
            self.destination_received(now, rng, at, &request).err()
        } else if self.waits_for(&request.route[0]) {
            return;
        } else {
            self.forward(now, at, &request).err()
        };
        if let Some(reason) = refused {
            self.cancel_incoming(now, at, reason, Some(self.local));
        }
    }

    fn forward(
        &mut self,
        now: Timestamp,
        at: &Place,
        request: &Request,
    ) -> Result<(), CancelReason> {
        let rate = self.friend(&at.friend).and_then(|friend| friend.lines.get(&at.currency));
        let fee = rate.and_then(|line| line.rate.fee(request.dest_payment));
        let left_fees = fee.and_then(|fee| request.left_fees.checked_sub(fee));
        let left_fees = left_fees.ok_or(CancelReason::FeeTooLow)?;
        if self.config.max_hold_seconds < request.hold_seconds {
            return Err(CancelReason::Declined);
        }
        let (next, rest) = request.route.split_first().ok_or(CancelReason::NoRoute)?;
        let id = self.hop_id(at);
        let forwarded =
            Request { request_id: id, route: rest.to_vec(), left_fees, ..request.clone() };
        check_structure(&forwarded, *next).map_err(|_| CancelReason::Declined)?;
        let out = Place { friend: *next, currency: at.currency.clone(), id };
        let frozen = forwarded.frozen().ok_or(CancelReason::Declined)?;
        self.check_line(now, &out, frozen, Some(at.friend))?;
        self.annotate(at, Side::Remote, |row| row.link = Link::Downstream(out.friend, out.id));
        self.guard.add(&out, at.friend, frozen, now);
        let link = Link::Upstream(at.friend, at.id);
        self.enqueue(now, &out, FriendOp::Request(forwarded), link);
        Ok(())
    }

    /// Whether a new request that freezes `frozen` can be queued for a line; `passing_from` names
    /// the friend whose request it is, `None` our own.
    pub(crate) fn check_line(
        &self,
        now: Timestamp,
        out: &Place,
        frozen: Credits,
        passing_from: Option<PublicKey>,
    ) -> Result<(), CancelReason> {
        let credit = self.credit(&out.friend, &out.currency).ok_or(CancelReason::NoRoute)?;
        if !self.is_serving(&out.friend) {
            return Err(CancelReason::Offline);
        }
        let numbers = credit.numbers();
        let queued = self.queued(&out.friend, &out.currency);
        let with_queued = frozen.checked_add(queued.sum).ok_or(CancelReason::NoRoom)?;
        if !numbers.allows(Side::Local, with_queued) {
            return Err(CancelReason::NoRoom);
        }
        let pending = credit.pending(Side::Local);
        let room = numbers.balance.room_above(numbers.max_debt[Side::Local]);
        let line = (out.friend, out.currency.clone());
        if MAX_PENDING <= pending.len() + queued.count
            || pending.contains_key(&out.id)
            || self.queued_request(out.friend, out.id).is_some()
            || passing_from.is_some_and(|from| !self.guard.allows(&line, from, frozen, room, now))
        {
            return Err(CancelReason::Busy);
        }
        Ok(())
    }

    /// What waits in the queue for a line.
    pub(crate) fn queued(&self, friend: &PublicKey, currency: &Currency) -> crate::funder::Queued {
        let live = self.live.get(friend);
        live.and_then(|live| live.queued.get(currency)).copied().unwrap_or_default()
    }

    /// The id of a passing request on its next line: ids of different friends cannot collide, and
    /// a node that lost its database finds the pairs again (section 6.1).
    pub(crate) fn hop_id(&self, at: &Place) -> RequestId {
        let currency = at.currency.as_str();
        let length = [u8::try_from(currency.len()).unwrap_or(u8::MAX)];
        RequestId::from_bytes(self.identity.derive(&[
            b"offset/1/HOP_ID",
            at.friend.as_bytes(),
            &length,
            currency.as_bytes(),
            at.id.as_bytes(),
        ]))
    }

    /// A friend answered our request: passed back, or it is the answer to our own payment. The
    /// request, which belongs to `link`, may have been collected by the same token: its response
    /// must go up all the same, before the collect.
    pub(crate) fn response_received(
        &mut self,
        now: Timestamp,
        at: &Place,
        link: Link,
        response: Response,
    ) {
        match link {
            Link::Upstream(friend, id) => {
                let upstream = Place { friend, currency: at.currency.clone(), id };
                let open = |row: &Pending| row.stage == Stage::Requested && !row.closing;
                if self.pending(&upstream, Side::Remote).is_some_and(open) {
                    let response = Response { request_id: id, ..response };
                    self.enqueue(now, &upstream, FriendOp::Response(response), Link::None);
                }
            }
            Link::Payment(payment) => self.part_responded(now, payment, at, response),
            Link::None | Link::Destination | Link::Downstream(..) => {}
        }
    }

    /// The buyer committed: passed on, or it is for us.
    pub(crate) fn commit_received(&mut self, now: Timestamp, at: &Place) {
        let Some(row) = self.pending(at, Side::Remote) else {
            return;
        };
        let (link, lock) = (row.link, row.src_plain_lock);
        match (link, lock) {
            (Link::Downstream(friend, id), Some(src_plain_lock)) => {
                let downstream = Place { friend, currency: at.currency.clone(), id };
                let answered = |row: &Pending| row.stage == Stage::Responded;
                if self.pending(&downstream, Side::Local).is_some_and(answered) {
                    let commit = Commit { request_id: id, src_plain_lock };
                    self.enqueue(now, &downstream, FriendOp::Commit(commit), Link::None);
                }
            }
            (Link::Destination, Some(_)) => self.part_committed(now, at),
            (Link::Downstream(..) | Link::Destination, None)
            | (Link::None | Link::Upstream(..) | Link::Payment(_), _) => {}
        }
    }

    /// The buyer gave the request up: passed on, or it is for us.
    pub(crate) fn release_received(&mut self, now: Timestamp, at: &Place) {
        match self.pending(at, Side::Remote).map(|row| row.link) {
            Some(Link::Downstream(friend, id)) => {
                let downstream = Place { friend, currency: at.currency.clone(), id };
                self.release_outgoing(now, &downstream);
            }
            Some(Link::Destination) => self.part_released(now, at),
            Some(Link::None | Link::Upstream(..) | Link::Payment(_)) | None => {}
        }
    }

    /// Gives up an outgoing request: taken out of the queue if it never left, else released.
    pub(crate) fn release_outgoing(&mut self, now: Timestamp, at: &Place) {
        if let Some(number) = self.queued_request(at.friend, at.id) {
            if let Some(row) = self.dequeue(at.friend, number) {
                self.request_not_sent(now, at.friend, &row, CancelReason::Released);
            }
            return;
        }
        let open = |row: &Pending| row.stage != Stage::Committed && !row.released;
        if self.pending(at, Side::Local).is_some_and(open) {
            let release = Release { request_id: at.id };
            self.enqueue(now, at, FriendOp::Release(release), Link::None);
        }
    }

    /// Credits moved on our line: collected upstream as well, or our payment is paid.
    pub(crate) fn collect_received(
        &mut self,
        now: Timestamp,
        at: &Place,
        row: &Pending,
        collect: &Collect,
    ) {
        match row.link {
            Link::Upstream(friend, id) => {
                self.guard.remove(at, friend);
                let upstream = Place { friend, currency: at.currency.clone(), id };
                if self.pending(&upstream, Side::Remote).is_some_and(|row| !row.closing) {
                    let passed_on = row.request.frozen();
                    self.annotate(&upstream, Side::Remote, |row| {
                        row.closing = true;
                        row.passed_on = passed_on;
                    });
                    let collect = Collect { request_id: id, ..collect.clone() };
                    self.enqueue(now, &upstream, FriendOp::Collect(collect), Link::None);
                }
            }
            Link::Payment(payment) => self.part_paid(now, payment, at, (row, collect)),
            Link::None => drop(self.exposed.remove(at)),
            Link::Destination | Link::Downstream(..) => {}
        }
    }
}
