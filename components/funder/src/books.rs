//! The node's books: every change of a balance is an entry, written in the same batch.
//!
//! Whatever changes a balance books it before the batch is taken: payments where they are
//! collected ([`Funder::book_sent`], [`Funder::book_received`]), terms where they are applied
//! ([`Funder::book_terms`]), and everything that sets a balance without a payment with
//! [`Funder::book_adjustments`] and [`Funder::book_end_of_friend`].
//!
//! **Invariant:** for every line, the balance after its last entry is its balance; so the changes
//! of its entries sum up to it.
#![deny(clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, BTreeSet};

use offset_crypto::PublicKey;
use offset_proto::{
    Balance, Credits, Currency, Text, Timestamp,
    history::{Adjustment, HistoryEntry, HistoryEvent},
};

use crate::{
    change::Change,
    funder::{Funder, Place},
    side::Side,
    state::{Link, Pending},
};

/// What was booked, and what is not yet handed out.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// The balance after the last entry of every active line.
    balances: BTreeMap<(PublicKey, Currency), Balance>,
    /// Entries since the last batch.
    fresh: Vec<HistoryEntry>,
}

impl Books {
    /// The entries since the last call.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Change> {
        std::mem::take(&mut self.fresh).into_iter().map(|entry| Change::Entry(Box::new(entry)))
    }
}

impl Funder {
    /// Takes up the balances of the stored state, which are booked already.
    pub(crate) fn rebuild_books(&mut self) {
        self.books.balances = self.active_balances().collect();
    }

    /// Panics when a balance changed without an entry.
    pub(crate) fn check_books(&self) {
        let active: BTreeMap<_, _> = self.active_balances().collect();
        assert_eq!(self.books.balances, active, "every change of a balance is in the books");
    }

    fn active_balances(&self) -> impl Iterator<Item = ((PublicKey, Currency), Balance)> {
        self.state.friends.iter().flat_map(|(key, friend)| {
            friend.lines.iter().filter_map(|(currency, line)| {
                let balance = line.credit.as_ref()?.numbers().balance;
                Some(((*key, currency.clone()), balance))
            })
        })
    }

    /// Terms were applied to a line: books that it became active, or that it is no longer.
    pub(crate) fn book_terms(&mut self, now: Timestamp, key: PublicKey, currency: &Currency) {
        let balance = self.credit(&key, currency).map(|credit| credit.numbers().balance);
        let booked = self.books.balances.contains_key(&(key, currency.clone()));
        match balance {
            Some(opening) if !booked => {
                self.enter(now, key, currency, opening, HistoryEvent::Opened);
            }
            None if booked => {
                self.enter(now, key, currency, Balance::ZERO, HistoryEvent::Closed);
                self.books.balances.remove(&(key, currency.clone()));
            }
            Some(_) | None => {}
        }
    }

    /// A friend's lines were given other balances, became active or went without payments: to be
    /// called once they are as they are to be, while the friend is still there. Books the
    /// differences to what was booked before.
    pub(crate) fn book_adjustments(&mut self, now: Timestamp, key: PublicKey, kind: Adjustment) {
        let booked = self.books.balances.keys().filter(|(friend, _)| *friend == key);
        let mut lines: BTreeSet<_> = booked.map(|(_, currency)| currency.clone()).collect();
        let friend = self.friend(&key);
        lines.extend(friend.into_iter().flat_map(|friend| friend.lines.keys().cloned()));
        for currency in lines {
            self.book_adjustment(now, key, &currency, kind);
        }
    }

    fn book_adjustment(
        &mut self,
        now: Timestamp,
        key: PublicKey,
        currency: &Currency,
        kind: Adjustment,
    ) {
        let balance = self.credit(&key, currency).map(|credit| credit.numbers().balance);
        let line = (key, currency.clone());
        let booked = self.books.balances.get(&line).copied();
        let (before, after) = (booked.unwrap_or_default(), balance.unwrap_or_default());
        let event = HistoryEvent::Adjusted(kind);
        match after.checked_add_balance(before.mirrored()) {
            Some(delta) if delta == Balance::ZERO => {}
            Some(delta) => self.enter(now, key, currency, delta, event),
            // The two are too far apart for one entry.
            None => {
                self.enter(now, key, currency, before.mirrored(), event.clone());
                self.enter(now, key, currency, after, event);
            }
        }
        match (booked, balance) {
            (None, Some(Balance::ZERO)) => {
                self.enter(now, key, currency, Balance::ZERO, HistoryEvent::Opened);
            }
            (Some(_), None) => {
                self.enter(now, key, currency, Balance::ZERO, HistoryEvent::Closed);
                self.books.balances.remove(&line);
            }
            (None | Some(_), Some(_)) | (None, None) => {}
        }
    }

    /// A friend is about to leave the state, with every line: books what that gives up. To be called
    /// while the friend is still there.
    pub(crate) fn book_end_of_friend(&mut self, now: Timestamp, key: PublicKey, kind: Adjustment) {
        let lines = self.friend(&key).into_iter().flat_map(|friend| friend.lines.keys().cloned());
        for currency in lines.collect::<Vec<_>>() {
            let Some(balance) = self.books.balances.get(&(key, currency.clone())).copied() else {
                continue;
            };
            if balance != Balance::ZERO {
                self.enter(now, key, &currency, balance.mirrored(), HistoryEvent::Adjusted(kind));
            }
            self.enter(now, key, &currency, Balance::ZERO, HistoryEvent::Closed);
            self.books.balances.remove(&(key, currency));
        }
    }

    /// A request that we sent was collected: `row` is as it was.
    pub(crate) fn book_sent(&mut self, now: Timestamp, at: &Place, row: &Pending) {
        let event = match row.link {
            Link::Payment(payment_id) => {
                let request = &row.request;
                let destination = request.route.last().copied().unwrap_or(at.friend);
                let payment = self.state.payments.get(&payment_id);
                let note = payment.map_or_else(|| Text::cut(""), |payment| payment.note.clone());
                HistoryEvent::Paid {
                    payment_id,
                    invoice_id: request.invoice_id,
                    destination,
                    amount: request.dest_payment,
                    fee: request.left_fees,
                    note,
                }
            }
            Link::Upstream(from, _) => {
                HistoryEvent::ForwardedOut { from: Some(from), forward_id: at.id }
            }
            Link::None | Link::Destination | Link::Downstream(..) => {
                HistoryEvent::ForwardedOut { from: None, forward_id: at.id }
            }
        };
        self.enter_collected(now, at, Side::Local, row, event);
    }

    /// A request that we received was collected by us: `row` is as it was.
    pub(crate) fn book_received(&mut self, now: Timestamp, at: &Place, row: &Pending) {
        let event = match row.link {
            Link::Downstream(to, forward_id) => {
                let frozen = row.request.frozen().unwrap_or_default();
                let passed_on = row.passed_on.unwrap_or(frozen);
                let fee = frozen.checked_sub(passed_on).unwrap_or_default();
                HistoryEvent::ForwardedIn { to: Some(to), forward_id, fee }
            }
            Link::Destination | Link::None | Link::Upstream(..) | Link::Payment(_) => {
                let invoice_id = row.request.invoice_id;
                let invoice = self.state.invoices.get(&invoice_id);
                let description =
                    invoice.map_or_else(|| Text::cut(""), |row| row.invoice.description.clone());
                HistoryEvent::Received { invoice_id, description }
            }
        };
        self.enter_collected(now, at, Side::Remote, row, event);
    }

    fn enter_collected(
        &mut self,
        now: Timestamp,
        at: &Place,
        sender: Side,
        row: &Pending,
        event: HistoryEvent,
    ) {
        let frozen: Credits = row.request.frozen().unwrap_or_default();
        let moved = frozen.to_balance().unwrap_or_default();
        let delta = match sender {
            Side::Local => moved.mirrored(),
            Side::Remote => moved,
        };
        self.enter(now, at.friend, &at.currency, delta, event);
    }

    fn enter(
        &mut self,
        time: Timestamp,
        friend: PublicKey,
        currency: &Currency,
        delta: Balance,
        event: HistoryEvent,
    ) {
        let Some(friend_name) = self.friend(&friend).map(|row| row.info.name.clone()) else {
            return;
        };
        let balance = self.books.balances.entry((friend, currency.clone())).or_default();
        *balance = balance.checked_add_balance(delta).expect("the balance itself fits");
        self.state.last_entry =
            self.state.last_entry.checked_add(1).expect("2^64 entries are never made");
        self.books.fresh.push(HistoryEntry {
            sequence: self.state.last_entry,
            time,
            friend,
            friend_name,
            currency: currency.clone(),
            delta,
            balance: *balance,
            event,
        });
    }
}
