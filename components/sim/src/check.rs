//! What must be true: always, after a restart, and when all has settled.

use offset_crypto::PublicKey;
use offset_funder::{
    Side,
    state::{PaymentRow, Phase},
};
use offset_proto::{Credits, Currency, app::PaymentStatus, friend::FriendMessage, index::share_of};

use crate::{
    app::{is_final, may_follow},
    world::World,
};

impl World {
    /// What holds after every event.
    pub(crate) fn check_always(&self) {
        for node in &self.nodes {
            if let Some(process) = &node.process {
                process.funder.check_invariants();
            }
        }
        for a in 0..self.nodes.len() {
            for b in 0..a {
                self.check_mirror(a, b);
            }
        }
    }

    /// M1: where both sides hold the same token, each line is the mirror image of the other's.
    fn check_mirror(&self, a: usize, b: usize) {
        let channel = |node: usize, other: usize| {
            let process = self.nodes[node].process.as_ref()?;
            process.funder.state().friends.get(&self.key(other))
        };
        let (Some(mine), Some(theirs)) = (channel(a, b), channel(b, a)) else { return };
        for friend in [mine, theirs] {
            let why = &friend.channel.inconsistent;
            assert!(why.is_none(), "honest nodes {a} and {b} are inconsistent: {why:?}");
        }
        if mine.channel.token_id != theirs.channel.token_id {
            return;
        }
        for (currency, line) in &mine.lines {
            let other = theirs.lines.get(currency).and_then(|line| line.credit.as_ref());
            match (line.credit.as_ref(), other) {
                (None, None) => {}
                (Some(x), Some(y)) => {
                    let (x, y) = (x.numbers(), y.numbers());
                    assert_eq!(x.balance, y.balance.mirrored(), "M1 between {a} and {b}");
                    for side in Side::BOTH {
                        assert_eq!(x.pending_debt[side], y.pending_debt[!side], "M1 pending");
                    }
                }
                (Some(_), None) | (None, Some(_)) => {
                    panic!("{currency} is active on one side only of {a} and {b}")
                }
            }
        }
    }

    /// T3: never two different tokens for one counter.
    pub(crate) fn remember_sent(
        &mut self,
        node: usize,
        friend: PublicKey,
        message: &FriendMessage,
    ) {
        if let FriendMessage::MoveToken(token) = message {
            let key = (node, self.by_key[&friend], token.body.epoch, token.body.counter);
            let id = token.id();
            let before = self.sent.insert(key, id);
            assert!(before.is_none_or(|before| before == id), "T3: two tokens for {key:?}");
        }
    }

    /// T1: a process that starts remembers every token that ever left.
    pub(crate) fn check_nothing_forgotten(&self, node: usize) {
        for (key, friend) in &self.nodes[node].disk.state.friends {
            let other = self.by_key[key];
            let last = self.sent.range((node, other, 0, 0)..=(node, other, u64::MAX, u64::MAX));
            if let Some(((_, _, epoch, counter), _)) = last.last() {
                let known = (friend.channel.epoch, friend.channel.counter);
                assert!((*epoch, *counter) <= known, "T1: node {node} forgot a token to {other}");
            }
        }
    }

    /// Lets everything come to its end.
    pub(crate) fn settle(&mut self) {
        for _ in 0..240 {
            self.pass(1_000);
            for node in 0..self.nodes.len() {
                self.read_replies(node);
            }
            if self.is_settled() {
                // What is under way between apps and index servers, too.
                self.pass(2_000);
                return;
            }
        }
        panic!("does not settle: {}", self.unsettled().join("; "));
    }

    fn is_settled(&self) -> bool {
        self.unsettled().is_empty()
    }

    /// What is not at its end.
    fn unsettled(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (n, node) in self.nodes.iter().enumerate() {
            let Some(process) = &node.process else {
                found.push(format!("node {n} is down"));
                continue;
            };
            let state = process.funder.state();
            for (key, friend) in &state.friends {
                let other = self.by_key[key];
                if !process.sessions.contains_key(key) {
                    found.push(format!("node {n} has no session with {other}"));
                }
                if !friend.queue.is_empty() {
                    found.push(format!("node {n} has {} queued for {other}", friend.queue.len()));
                }
                for (currency, line) in &friend.lines {
                    let credit = line.credit.as_ref();
                    let pending = credit.map_or(0, |credit| {
                        credit.pending(Side::Local).len() + credit.pending(Side::Remote).len()
                    });
                    if 0 < pending {
                        found.push(format!("{pending} pending on {n} to {other} in {currency}"));
                    }
                }
            }
            for (id, row) in &state.payments {
                if !row.phase.is_final() {
                    found.push(format!("payment {id:?} of {n} is {:?}", row.phase));
                }
            }
            for (id, order) in &node.app.orders {
                if !order.is_final() {
                    found.push(format!("app {n} has no last word of {id:?}"));
                }
            }
            for (id, (_, status)) in &node.app.clearings {
                if !status.as_ref().is_some_and(is_final) {
                    found.push(format!("app {n} has no last word of clearing {id:?}"));
                }
            }
            // That of a clearing of which parts were lost waits until it expires.
            let unknown = |id| {
                let told = node.app.clearings.get(&id).and_then(|(_, status)| status.as_ref());
                told == Some(&PaymentStatus::Unknown)
            };
            if state.invoices.values().filter_map(|row| row.clears).any(|id| !unknown(id)) {
                found.push(format!("node {n} has the invoice of a clearing"));
            }
            if !process.writing.is_empty() {
                found.push(format!("node {n} is writing"));
            }
        }
        found
    }

    /// The whole of what a node's friends owe it, less what it owes, in all currencies.
    fn total(&self, node: usize, currency: usize) -> i128 {
        let Some(process) = &self.nodes[node].process else { return 0 };
        let friends = process.funder.state().friends.values();
        let lines = friends.filter_map(|friend| friend.lines.get(&self.currency(currency)));
        lines.filter_map(|line| Some(line.credit.as_ref()?.numbers().balance.get())).sum()
    }

    /// M2, M7, M10: every payment had its whole effect or none, mediators earned the fees, and
    /// nobody anything else.
    pub(crate) fn check_end(&self) {
        self.check_always();
        for currency in 0..self.options.currencies {
            let name = self.currency(currency);
            let mut expected = vec![0i128; self.nodes.len()];
            let mut fees = 0;
            for (n, node) in self.nodes.iter().enumerate() {
                for (id, order) in &node.app.orders {
                    let row = node.disk.payments.get(id).expect("the last word is on the disk");
                    let told = order.status.as_ref().expect("the app was told");
                    self.check_told(n, told, &row.phase);
                    if row.currency != name {
                        continue;
                    }
                    if let (Phase::Succeeded { fee, receipt }, PaymentStatus::Succeeded { .. }) =
                        (&row.phase, told)
                    {
                        assert_eq!(receipt.total_dest_payment, order.amount);
                        let cap = order.request.max_fee.unwrap_or(Credits::LIMIT);
                        assert!(*fee <= cap, "M10: a fee above the cap");
                        let amount = i128::try_from(order.amount.0).expect("small amounts");
                        let fee = i128::try_from(fee.0).expect("small fees");
                        expected[n] -= amount + fee;
                        expected[order.seller] += amount;
                        fees += fee;
                    } else {
                        let lost = *told == PaymentStatus::Unknown;
                        assert!(!lost || self.parted.contains(&n), "nobody lost anything here");
                    }
                }
            }
            for (n, expected) in expected.iter_mut().enumerate() {
                let paid = self.fees_of_clearings(n, &name);
                *expected -= paid;
                fees += paid;
            }
            let totals: Vec<_> = (0..self.nodes.len()).map(|n| self.total(n, currency)).collect();
            for (n, (total, expected)) in totals.iter().zip(&expected).enumerate() {
                let earned = total - expected;
                let may_lose = self.parted.contains(&n);
                assert!(0 <= earned || may_lose, "M7: node {n} lost {} {name}", -earned);
                fees -= earned;
            }
            if self.parted.is_empty() {
                assert_eq!(totals.iter().sum::<i128>(), 0, "M2: conservation in {name}");
                assert_eq!(fees, 0, "what buyers paid is what mediators earned");
            }
        }
    }

    /// M10: one outcome, for ever. Where a friendship ended, a crash may have swallowed the news of
    /// what that did to a payment that had ended before; an app that asks again is told.
    fn check_told(&self, n: usize, told: &PaymentStatus, phase: &Phase) {
        let status = phase.status();
        let later = self.parted.contains(&n) && may_follow(told, &status);
        assert!(status == *told || later, "M10: {status:?}, but the app heard {told:?}");
    }

    /// What the clearings of a node cost: they move nothing else between nodes.
    fn fees_of_clearings(&self, n: usize, currency: &Currency) -> i128 {
        let node = &self.nodes[n];
        let rows = node.disk.payments.iter().filter(|(_, row)| row.clearing);
        let mut fees = 0;
        for (id, row) in rows.filter(|(_, row)| row.currency == *currency) {
            let known = node.app.clearings.get(id);
            let (order, told) = known.expect("what began was not refused");
            self.check_told(n, told.as_ref().expect("the app was told"), &row.phase);
            if row.phase == Phase::Unknown {
                assert!(self.parted.contains(&n), "nobody lost anything here");
                continue;
            }
            let clears = node.disk.invoices.get(&row.invoice_id).and_then(|row| row.clears);
            assert_eq!(clears, Some(*id), "the invoice has ended with its clearing");
            if let Phase::Succeeded { fee, receipt } = &row.phase {
                assert_eq!(receipt.total_dest_payment, row.amount);
                let share = share_of(row.amount, order.max_fee_ppm);
                let cap = order.max_fee.map_or(share, |most| most.min(share));
                assert!(*fee <= cap, "M10: a fee above the cap");
                fees += i128::try_from(fee.0).expect("small fees");
            }
        }
        fees
    }

    /// T5: over every line, in each direction, a payment passes.
    pub(crate) fn check_lines_work(&mut self) {
        for node in 0..self.nodes.len() {
            let friends: Vec<_> = self.nodes[node].disk.state.friends.keys().copied().collect();
            for key in friends {
                for currency in 0..self.options.currencies {
                    self.check_line_works(node, self.by_key[&key], currency);
                }
            }
        }
    }

    fn check_line_works(&mut self, node: usize, other: usize, currency: usize) {
        let line = |world: &Self| {
            let state = world.nodes[node].process.as_ref()?.funder.state();
            let line =
                state.friends.get(&world.key(other))?.lines.get(&world.currency(currency))?;
            line.credit.as_ref().map(|credit| *credit.numbers())
        };
        let room = line(self).map(|numbers| numbers.room(Side::Local)).unwrap_or_default();
        if room == Credits::ZERO {
            return;
        }
        let id = self.send_funds(node, other, currency, room.min(Credits(1 << 60)));
        self.nodes[node].app.orders.get_mut(&id).expect("just ordered").request.max_fee = None;
        for _ in 0..60 {
            self.pass(500);
            if self.nodes[node].app.orders.get(&id).is_some_and(super::app::Order::is_final) {
                break;
            }
        }
        let status = self.nodes[node].app.orders.get(&id).and_then(|order| order.status.clone());
        let paid = matches!(status, Some(PaymentStatus::Succeeded { .. }));
        assert!(paid, "T5: {node} cannot pay {other}: {status:?}");
    }

    /// How many payments were ordered, and how many paid.
    pub(crate) fn count_payments(&self) -> (usize, usize) {
        let orders = || self.nodes.iter().flat_map(|node| node.app.orders.values());
        let paid = orders()
            .filter(|order| matches!(order.status, Some(PaymentStatus::Succeeded { .. })))
            .count();
        (orders().count(), paid)
    }

    /// How many payments were paid over more than one route.
    pub(crate) fn count_in_parts(&self) -> usize {
        let rows = self.nodes.iter().flat_map(|node| node.disk.payments.values());
        let parts = |row: &PaymentRow| row.current().map_or(0, |attempt| attempt.parts.len());
        rows.filter(|row| matches!(row.phase, Phase::Succeeded { .. }) && 1 < parts(row)).count()
    }

    /// How many payments were given back after their commit, or whose commit nobody handed in.
    pub(crate) fn count_given_back(&self) -> usize {
        let orders = self.nodes.iter().flat_map(|node| node.app.orders.values());
        orders.filter(|order| order.status == Some(PaymentStatus::Cancelled)).count()
    }

    /// How many clearings were paid.
    pub(crate) fn count_clearings(&self) -> usize {
        let clearings = self.nodes.iter().flat_map(|node| node.app.clearings.values());
        clearings
            .filter(|(_, status)| matches!(status, Some(PaymentStatus::Succeeded { .. })))
            .count()
    }
}
