//! What must be true: always, after a restart, and when all has settled.

use offset_crypto::PublicKey;
use offset_funder::{
    Side,
    state::{Friend, PaymentRow, Phase},
};
use offset_proto::{
    Credits,
    app::PaymentStatus,
    friend::{FriendMessage, MoveToken},
};

use crate::{app::is_final, ledger::Seen, world::World};

impl World {
    /// What holds at all times, where something may have changed.
    pub(crate) fn check_touched(&mut self) {
        for node in std::mem::take(&mut self.touched) {
            self.check_node(node);
        }
    }

    /// What holds at all times.
    pub(crate) fn check_always(&self) {
        for node in 0..self.nodes.len() {
            self.check_node(node);
        }
    }

    fn check_node(&self, node: usize) {
        let Some(process) = &self.nodes[node].process else { return };
        process.funder.check_invariants();
        if !self.is_honest(node) {
            return;
        }
        for (key, friend) in &process.funder.state().friends {
            let other = self.by_key[key];
            if self.is_honest(other) {
                self.check_mirror(node, other);
                self.check_predicted(node, other, friend);
            } else {
                self.check_granted(node, friend);
            }
        }
    }

    /// What a side of a line sees is what the ledger predicts at that token.
    fn check_predicted(&self, node: usize, other: usize, friend: &Friend) {
        // One that is added again has no lines yet, and goes on from its last token.
        if friend.channel.inconsistent.is_some() {
            return;
        }
        let (local, remote) = (self.key(node), self.key(other));
        let Some(predicted) = self.ledger.at(local, remote, friend.channel.token_id) else {
            return;
        };
        let seen = friend.lines.iter().filter_map(|(currency, line)| {
            let numbers = line.credit.as_ref()?.numbers();
            let (balance, low) = (numbers.balance.get(), local < remote);
            let frozen = [numbers.pending_debt.local.0, numbers.pending_debt.remote.0];
            let [mine, theirs] = frozen;
            let frozen = if low { frozen } else { [theirs, mine] };
            Some((currency.clone(), (if low { balance } else { -balance }, frozen)))
        });
        let seen: Seen = seen.collect();
        assert_eq!(seen, *predicted, "node {node} sees something else of its line with {other}");
    }

    /// Whoever breaks every rule owes no more than it was let.
    fn check_granted(&self, node: usize, friend: &Friend) {
        let most = i128::try_from(self.options.limit).unwrap_or(i128::MAX);
        for line in friend.lines.values() {
            let Some(credit) = &line.credit else { continue };
            let owed = credit.numbers().balance.get();
            assert!(owed <= most, "M3: {owed} is owed to node {node}, that lets nobody owe {most}");
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
            let mistrusted = self.mistrusted.contains(&(a.min(b), a.max(b)));
            let fine = why.is_none() || mistrusted;
            assert!(fine, "honest nodes {a} and {b} are inconsistent: {why:?}");
            if why.is_some() {
                return;
            }
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
        if !self.is_honest(node) {
            return;
        }
        if let FriendMessage::Inconsistency(inconsistency) = message {
            self.ledger.offered(self.key(node), friend, &inconsistency.terms.body);
        } else if let FriendMessage::MoveToken(token) = message {
            let key = (node, self.by_key[&friend], token.body.epoch, token.body.counter);
            let id = token.id();
            let before = self.sent.insert(key, id);
            assert!(before.is_none_or(|before| before == id), "T3: two tokens for {key:?}");
        }
    }

    /// T2: what an honest node keeps of a friend is what that friend sent, or at least signed.
    pub(crate) fn check_kept(&self, node: usize, friend: PublicKey, token: &MoveToken) {
        let other = self.by_key[&friend];
        if self.is_honest(other) {
            let sent = self.sent.get(&(other, node, token.body.epoch, token.body.counter));
            // Of a node that came back from an older disk it is not known what it sent before.
            let fits = sent.is_none_or(|sent| *sent == token.id());
            assert!(fits, "T2: node {node} keeps a token that {other} did not send");
        } else {
            let signed = token.verify(&friend).is_some();
            assert!(signed, "T2: node {node} keeps a token that {other} did not sign");
        }
    }

    /// T1: a process that starts remembers every token that ever left.
    pub(crate) fn check_nothing_forgotten(&self, node: usize) {
        if !self.is_honest(node) {
            return;
        }
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
        let (found, first) = (self.unsettled(), 6);
        let shown = found.iter().take(first).map(String::as_str).collect::<Vec<_>>().join("; ");
        panic!("{} things do not settle: {shown}", found.len());
    }

    fn is_settled(&self) -> bool {
        self.unsettled().is_empty()
    }

    /// What is not at its end.
    fn unsettled(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (n, node) in self.nodes.iter().enumerate() {
            if !self.is_honest(n) {
                continue;
            }
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
                let channel = &friend.channel;
                if let Some(row) = &channel.inconsistent {
                    found.push(format!("node {n} finds {other} inconsistent: {row:?}"));
                }
                if channel.removed_by_friend {
                    found.push(format!("node {n} knows that {other} removed it"));
                }
                if friend.recovery.is_some() {
                    found.push(format!("node {n} waits for the proof of {other}"));
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

    /// T5: over every line, in each direction, a payment passes.
    pub(crate) fn check_lines_work(&mut self) {
        for node in self.honest() {
            let friends: Vec<_> = self.nodes[node].disk.state.friends.keys().copied().collect();
            for key in friends {
                for currency in 0..self.options.currencies {
                    self.check_line_works(node, self.by_key[&key], currency);
                }
            }
        }
    }

    fn check_line_works(&mut self, node: usize, other: usize, currency: usize) {
        let state = self.nodes[node].process.as_ref().map(|process| process.funder.state());
        let line = state.and_then(|state| state.friends.get(&self.key(other)));
        let line = line.and_then(|friend| friend.lines.get(&self.currency(currency)));
        let Some(credit) = line.and_then(|line| line.credit.as_ref()) else { return };
        // Reckoned here, and not asked of what is tested. Nothing is pending any more.
        let (balance, most) = (credit.numbers().balance.get(), credit.numbers().max_debt.local.0);
        let (is_owed, owed) = (0 <= balance, balance.unsigned_abs());
        let room = if is_owed { most.saturating_add(owed) } else { most.saturating_sub(owed) };
        if room == 0 {
            return;
        }
        let id = self.send_funds(node, other, currency, Credits(room).min(Credits::LIMIT));
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

    /// A node had a reason to find this friend inconsistent, and may have lost payments with it.
    pub(crate) fn mistrust(&mut self, node: usize, friend: PublicKey) {
        let other = self.by_key[&friend];
        self.mistrusted.insert((node.min(other), node.max(other)));
        self.may_lose.extend([node, other]);
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
