//! The beginning of a new epoch of a channel (protocol, section 8), and what becomes of everything
//! that the old one carried.

use offset_crypto::{PublicKey, RequestId};
use offset_proto::{
    Balance, Rate, Timestamp,
    friend::{CancelReason, FriendOp},
    history::Adjustment,
};

use crate::{
    channel::genesis,
    credit::{MutualCredit, Numbers},
    destination::set_key,
    dirty::Key,
    funder::{Funder, Place},
    proof::agreed_balances,
    reset::proofs,
    side::Side,
    state::{Agreement, BeforeSent, Line, Link, Pending},
};

impl Funder {
    /// Installs the terms that both sides agreed on: counter 0, these currencies active, limits 0,
    /// requests closed, nothing proposed, nothing pending. What is wanted of the currencies, and our
    /// relays, go into the first token.
    pub(crate) fn begin_epoch(&mut self, now: Timestamp, key: PublicKey, agreement: Agreement) {
        let ends = self.ends(key);
        let balances = agreed_balances(&agreement);
        let epoch = agreement.terms.body.epoch;
        log::warn!("the channel with friend {key:?} begins again, epoch {epoch}");
        self.end_everything(now, key, agreement.proposer == Side::Local);
        let Some(friend) = self.state.friends.get_mut(&key) else {
            return;
        };
        for (currency, line) in &mut friend.lines {
            line.local_proposal = None;
            line.remote_proposal = None;
            if line.credit.take().is_some()
                && let Some(wanted) = &mut line.wanted
            {
                // The balance with which the currency once began is history.
                wanted.opening_balance = Balance::ZERO;
            }
            self.dirty.mark(Key::Line(key, currency.clone()));
        }
        for row in &balances {
            let numbers = Numbers { balance: row.balance, ..Numbers::default() };
            let line = friend.lines.entry(row.currency.clone()).or_insert_with(|| Line {
                wanted: None,
                rate: Rate::default(),
                local_proposal: None,
                remote_proposal: None,
                credit: None,
            });
            line.credit = Some(MutualCredit::new(numbers));
            self.dirty.mark(Key::Line(key, row.currency.clone()));
        }
        friend.lines.retain(|_, line| line.wanted.is_some() || line.credit.is_some());
        let channel = &mut friend.channel;
        channel.settle();
        channel.epoch = epoch;
        channel.highest_epoch = channel.highest_epoch.max(epoch);
        channel.counter = 0;
        channel.token_id = genesis(&ends, epoch, &balances);
        channel.last_sent = None;
        channel.relays_sent = None;
        channel.reset = Some(Box::new(agreement));
        friend.received = None;
        friend.before_sent = BeforeSent::default();
        self.dirty.mark(Key::Channel(key));
        self.book_adjustments(now, key, Adjustment::Reset);
        self.dirty.mark(Key::Received(key));
        self.dirty.mark(Key::BeforeSent(key));
        self.dirty.own_relays = true;
        self.availability_changed(key);
        self.dirty.touch(key);
    }

    /// Ends everything that is pending or queued with a friend, as no time and nobody else may: what
    /// goes to the friend is cancelled backwards, what comes from it is released forwards. `counted`:
    /// whether the channel goes on with a balance that counts what came from it as paid, as our own
    /// terms do.
    pub(crate) fn end_everything(&mut self, now: Timestamp, key: PublicKey, counted: bool) {
        self.keep_promised(now, key);
        let queued: Vec<u64> =
            self.friend(&key).into_iter().flat_map(|friend| friend.queue.keys().copied()).collect();
        for number in queued {
            if let Some(row) = self.dequeue(key, number)
                && matches!(row.op, FriendOp::Request(_))
            {
                self.request_not_sent(now, key, &row, CancelReason::Offline);
            }
        }
        for (at, side, row) in self.take_pending(key) {
            match side {
                Side::Local => self.outgoing_lost(now, &at, &row),
                Side::Remote => self.incoming_lost(now, &at, (&row, counted)),
            }
        }
    }

    /// What was collected of the friend and never went into a token: it was told of it, or may ask.
    fn keep_promised(&mut self, now: Timestamp, key: PublicKey) {
        for proof in self.friend(&key).map(proofs).unwrap_or_default() {
            let at = Place { friend: key, currency: proof.currency.clone(), id: proof.request_id };
            if let Some(row) = self.pending(&at, Side::Remote) {
                let row = Pending { response: Some(proof.response().into()), ..row.clone() };
                self.keep_collected(now, &at, Side::Remote, (&row, &proof.collect()));
            }
        }
    }

    /// Takes all pending requests off a friend's lines, which then carry none.
    fn take_pending(&mut self, key: PublicKey) -> Vec<(Place, Side, Pending)> {
        let ends = self.ends(key);
        let Some(friend) = self.state.friends.get_mut(&key) else {
            return Vec::new();
        };
        let mut taken = Vec::new();
        for (currency, line) in &mut friend.lines {
            let Some(credit) = &mut line.credit else {
                continue;
            };
            for side in Side::BOTH {
                let ids: Vec<RequestId> = credit.pending(side).keys().copied().collect();
                for id in ids {
                    let at = Place { friend: key, currency: currency.clone(), id };
                    taken.extend(
                        credit.pending(side).get(&id).map(|row| (at.clone(), side, row.clone())),
                    );
                    credit.put(&ends, side, id, None);
                    self.dirty.pending(&at, side);
                }
            }
            let numbers = Numbers { pending_debt: Default::default(), ..*credit.numbers() };
            credit.set_numbers(numbers);
        }
        for currency in friend.lines.keys() {
            self.dirty.mark(Key::Line(key, currency.clone()));
        }
        taken
    }

    /// A request of ours is gone without an end that the friend would have given it.
    fn outgoing_lost(&mut self, now: Timestamp, at: &Place, row: &Pending) {
        match row.link {
            Link::Payment(payment) => self.part_lost(now, payment, at.id),
            Link::Upstream(..) | Link::None | Link::Destination | Link::Downstream(..) => {
                let reporter = Some(self.local);
                self.outgoing_cancelled(now, at, row.link, CancelReason::Offline, reporter);
            }
        }
    }

    /// A request of the friend's is gone: what it led to is given up, as far as it can be.
    fn incoming_lost(&mut self, now: Timestamp, at: &Place, (row, counted): (&Pending, bool)) {
        match row.link {
            Link::Downstream(friend, id) => {
                let downstream = Place { friend, currency: at.currency.clone(), id };
                self.guard.remove(&downstream, at.friend);
                if self.pending(&downstream, Side::Local).is_some() {
                    // Nobody will pay us for it: exposure until it ends.
                    self.exposed.insert(downstream.clone());
                    self.annotate(&downstream, Side::Local, |row| row.link = Link::None);
                    self.line_changed(friend, &at.currency);
                }
                self.release_outgoing(now, &downstream);
            }
            Link::Destination => {
                self.part_lost_from(now, set_key(row), ((at.friend, at.id), counted));
            }
            Link::None | Link::Upstream(..) | Link::Payment(_) => {}
        }
    }
}
