//! What everybody has in the end, and why: payments, fees, and what owners gave up.

use std::collections::BTreeMap;

use offset_crypto::{HashedLock, PublicKey};
use offset_funder::{
    Change,
    state::{Friend, Phase},
};
use offset_proto::{
    Credits, Currency,
    app::PaymentStatus,
    index::share_of,
    payment::{Receipt, ResponseTerms},
    reset::ResetTerms,
};

use crate::{app::may_follow, sum::Sum, world::World};

/// What a payment that was paid moved.
struct Paid {
    buyer: usize,
    seller: usize,
    amount: u128,
    fee: u128,
}

impl World {
    /// Makes a batch durable, and notes what it gave up.
    pub(crate) fn commit(&mut self, node: usize, local: PublicKey, changes: &[Change]) {
        let (mut removed, mut moved) = (Vec::new(), Vec::new());
        for change in changes {
            let friend = |key: &PublicKey| self.nodes[node].disk.state.friends.get(key);
            match change {
                Change::RemovedFriend(key) => {
                    if let Some(friend) = friend(key) {
                        removed.push((*key, hoped_for(friend)));
                    }
                }
                Change::Channel(key, channel) => {
                    let before = friend(key).filter(|it| it.channel.epoch != channel.epoch);
                    if let Some(before) = before {
                        let own = before.channel.inconsistent.as_ref();
                        moved.push((*key, own.map(|row| row.local.clone())));
                    }
                }
                _ => {}
            }
        }
        self.nodes[node].disk.commit(local, changes);
        for (key, hoped) in removed {
            let honest = self.is_honest(self.by_key[&key]);
            let most = i128::try_from(self.options.limit).unwrap_or(i128::MAX);
            for (currency, hoped) in hoped {
                let hoped = if honest { hoped } else { hoped.min(most) };
                *self.given_up.entry((node, currency)).or_default() -= hoped;
            }
        }
        for (key, own) in moved {
            self.note_new_epoch(node, key, own.as_ref());
        }
        for change in changes {
            if let Change::Received(key, Some(token)) = change
                && self.is_honest(node)
            {
                self.check_kept(node, *key, token);
                if self.is_honest(self.by_key[key]) {
                    self.ledger.kept(*key, local, token);
                }
            }
        }
    }

    /// An epoch began: what its balances are beyond the node's own terms.
    fn note_new_epoch(&mut self, node: usize, key: PublicKey, own: Option<&ResetTerms>) {
        let Some(friend) = self.nodes[node].disk.state.friends.get(&key) else { return };
        let now = friend.lines.iter().filter_map(|(currency, line)| {
            let numbers = line.credit.as_ref()?.numbers();
            Some((currency.clone(), numbers.balance.get()))
        });
        let now: Vec<_> = now.collect();
        for (currency, balance) in now {
            *self.given_up.entry((node, currency)).or_default() += balance;
        }
        for row in own.into_iter().flat_map(|own| &own.body.balances) {
            let given_up = self.given_up.entry((node, row.currency.clone())).or_default();
            *given_up -= row.balance.get();
        }
    }

    /// The whole of what a node's friends owe it, less what it owes.
    fn total(&self, node: usize, currency: &Currency) -> Sum {
        let mut sum = Sum::default();
        let Some(process) = &self.nodes[node].process else { return sum };
        for friend in process.funder.state().friends.values() {
            let line = friend.lines.get(currency).and_then(|line| line.credit.as_ref());
            sum += line.map_or(0, |credit| credit.numbers().balance.get());
        }
        sum
    }

    /// M2, M7, M10: every payment had its whole effect or none, mediators earned the fees, and
    /// nobody anything else. Where owners gave something up, nobody lost more than that.
    pub(crate) fn check_end(&self) {
        self.check_always();
        let ordinary = self.is_ordinary();
        for currency in 0..self.options.currencies {
            let name = self.currency(currency);
            let (mut expected, fees) = self.expected(&name);
            let (mut earned, mut all) = (Sum::default(), Sum::default());
            for (n, least) in expected.iter_mut().enumerate() {
                let mut surplus = self.total(n, &name);
                all += surplus;
                surplus -= *least;
                earned += surplus;
                let checked = self.is_honest(n) && !self.restored.contains(&n);
                assert!(!checked || !surplus.is_negative(), "M7: node {n} lost {surplus:?} {name}");
            }
            if ordinary {
                assert_eq!(all, Sum::default(), "M2: conservation in {name}");
                assert_eq!(earned, fees, "what buyers paid is what mediators earned");
            } else if self.parted.is_empty() && self.betrayer.is_none() {
                assert_eq!(all, Sum::default(), "M2: conservation in {name}");
            }
        }
        self.check_moves();
    }

    /// The least that every node must have, and the fees that buyers paid.
    fn expected(&self, name: &Currency) -> (Vec<Sum>, Sum) {
        let gave_up = |n| self.given_up(n, name);
        let mut expected: Vec<_> = (0..self.nodes.len()).map(gave_up).collect();
        let mut fees = Sum::default();
        for (n, node) in self.nodes.iter().enumerate().filter(|(n, _)| self.is_honest(*n)) {
            for (id, order) in &node.app.orders {
                let told = order.status.as_ref().expect("the app was told");
                let row = node.disk.payments.get(id);
                if let Some(row) = row {
                    self.check_told(n, told, &row.phase);
                }
                assert!(row.is_some() || self.restored.contains(&n), "the last word is durable");
                if order.currency != *name {
                    continue;
                }
                if let PaymentStatus::Succeeded { receipt, fee } = told {
                    assert_eq!(receipt.total_dest_payment, order.amount);
                    check_receipt(receipt, &self.key(order.seller));
                    let cap = order.request.max_fee.unwrap_or(Credits::LIMIT);
                    assert!(*fee <= cap, "M10: a fee above the cap");
                    expected[n] -= signed(order.amount);
                    expected[n] -= signed(*fee);
                    expected[order.seller] += signed(order.amount);
                    fees += signed(*fee);
                } else if *told == PaymentStatus::Unknown {
                    self.check_may_lose(n);
                    expected[n] -= signed(order.amount);
                    expected[n] -= row.map_or(0, |row| signed(row.fees()));
                }
            }
            for fee in self.fees_of_clearings(n, name) {
                expected[n] -= signed(fee);
                fees += signed(fee);
            }
        }
        (expected, fees)
    }

    fn check_may_lose(&self, n: usize) {
        let may = [&self.may_lose, &self.betrayed, &self.restored];
        assert!(may.iter().any(|nodes| nodes.contains(&n)), "node {n} has nothing to lose");
    }

    /// M10: one outcome, for ever. Where a friendship ended, a crash may have swallowed the news of
    /// what that did to a payment that had ended before; an app that asks again is told.
    fn check_told(&self, n: usize, told: &PaymentStatus, phase: &Phase) {
        let status = phase.status();
        let may = [&self.may_lose, &self.betrayed, &self.restored];
        let lost = may.iter().any(|nodes| nodes.contains(&n));
        let later = lost && (may_follow(told, &status) || self.restored.contains(&n));
        assert!(status == *told || later, "M10: {status:?}, but the app heard {told:?}");
    }

    /// What the clearings of a node cost: they move nothing else between nodes. One of which nobody
    /// knows how it ended may have cost what it was allowed.
    fn fees_of_clearings(&self, n: usize, currency: &Currency) -> Vec<Credits> {
        let node = &self.nodes[n];
        let rows = node.disk.payments.iter().filter(|(_, row)| row.clearing);
        let mut fees = Vec::new();
        for (id, row) in rows.filter(|(_, row)| row.currency == *currency) {
            let Some((order, told)) = node.app.clearings.get(id) else {
                assert!(self.restored.contains(&n), "what began was not refused");
                continue;
            };
            self.check_told(n, told.as_ref().expect("the app was told"), &row.phase);
            if row.phase == Phase::Unknown {
                self.check_may_lose(n);
                fees.push(row.amount);
                fees.push(row.fees());
                continue;
            }
            let clears = node.disk.invoices.get(&row.invoice_id).and_then(|row| row.clears);
            let ended = clears == Some(*id) || self.restored.contains(&n);
            assert!(ended, "the invoice has ended with its clearing");
            if let Phase::Succeeded { fee, receipt } = &row.phase {
                assert_eq!(receipt.total_dest_payment, row.amount);
                check_receipt(receipt, &node.key());
                let share = share_of(row.amount, order.max_fee_ppm);
                let cap = order.max_fee.map_or(share, |most| most.min(share));
                assert!(*fee <= cap, "M10: a fee above the cap");
                fees.push(*fee);
            }
        }
        fees
    }

    /// What moved, by the ledger, is what applications were told.
    fn check_moves(&self) {
        let paid = self.paid();
        let ordinary = self.is_ordinary();
        for (lock, payment) in paid.iter().filter(|_| ordinary) {
            let flow = |node| self.ledger.out_and_in(lock, self.key(node));
            let (out, into) = flow(payment.buyer);
            if payment.buyer == payment.seller {
                assert_eq!(out - into, payment.fee, "a clearing costs its fee");
                continue;
            }
            assert_eq!((out, into), (payment.amount + payment.fee, 0), "what the buyer pays");
            // What mediators did not ask for in the end stays with the seller.
            let (out, into) = flow(payment.seller);
            let fits = out == 0 && payment.amount <= into && into <= payment.amount + payment.fee;
            assert!(fits, "{into} came to the seller, who is owed {}", payment.amount);
        }
        for lock in self.ledger.locks() {
            let of = paid.get(lock);
            assert!(of.is_some() || !ordinary, "something moved of which nobody was told");
            for node in (0..self.nodes.len()).filter(|node| self.is_far_from_loss(*node)) {
                let (out, into) = self.ledger.out_and_in(lock, self.key(node));
                let buyer = of.is_some_and(|payment| payment.buyer == node);
                assert!(buyer || out <= into, "M7: node {node} passed on more than it got");
            }
        }
    }

    /// Whether a node, and all its friends, kept everything and every rule.
    fn is_far_from_loss(&self, node: usize) -> bool {
        let lost = self.restored.contains(&node) || self.may_lose.contains(&node);
        self.is_far_from_betrayal(node) && !lost
    }

    /// Of which payments applications were told that they are paid, by the buyer's lock.
    fn paid(&self) -> BTreeMap<HashedLock, Paid> {
        let mut paid = BTreeMap::new();
        for (buyer, node) in self.nodes.iter().enumerate().filter(|(n, _)| self.is_honest(*n)) {
            for order in node.app.orders.values() {
                if let Some(PaymentStatus::Succeeded { receipt, fee }) = &order.status {
                    let (seller, amount, fee) = (order.seller, order.amount.0, fee.0);
                    let lock = receipt.src_plain_lock.hashed();
                    paid.insert(lock, Paid { buyer, seller, amount, fee });
                }
            }
            for (_, status) in node.app.clearings.values() {
                if let Some(PaymentStatus::Succeeded { receipt, fee }) = status {
                    let (amount, fee) = (receipt.total_dest_payment.0, fee.0);
                    let lock = receipt.src_plain_lock.hashed();
                    paid.insert(lock, Paid { buyer, seller: buyer, amount, fee });
                }
            }
        }
        paid
    }
}

/// M12: what an application was told is paid it can prove.
fn check_receipt(receipt: &Receipt, seller: &PublicKey) {
    let terms = ResponseTerms {
        response_hash: receipt.response_hash,
        src_hashed_lock: receipt.src_plain_lock.hashed(),
        dest_hashed_lock: receipt.dest_plain_lock.hashed(),
        is_complete: receipt.is_complete,
        dest_payment: receipt.dest_payment,
        total_dest_payment: receipt.total_dest_payment,
        invoice_id: receipt.invoice_id,
        currency: &receipt.currency,
    };
    let proves = receipt.is_complete && terms.verify(seller, &receipt.signature);
    assert!(proves, "M12: a receipt that proves nothing");
}

fn signed(amount: Credits) -> i128 {
    i128::try_from(amount.0).expect("amounts are below 2^127")
}

/// What an owner can hope for at best from a friend: the balance, and all that it has pending to us.
fn hoped_for(friend: &Friend) -> Vec<(Currency, i128)> {
    let hoped = |(currency, line): (&Currency, &offset_funder::state::Line)| {
        let numbers = line.credit.as_ref()?.numbers();
        let pending = signed(numbers.pending_debt.remote);
        Some((currency.clone(), numbers.balance.get().saturating_add(pending)))
    };
    friend.lines.iter().filter_map(hoped).collect()
}
