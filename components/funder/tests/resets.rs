//! Random networks in which tokens are spoilt on the way, and owners reset, part and meet again in
//! the middle of payments, under lost sessions and crashes at every point. In the end every channel
//! works again, nothing is pending, balances mirror each other, and nobody has lost more than the
//! terms that its owner consented to.
//!
//! `OFFSET_SEEDS=5000 cargo test --test resets` runs that many seeds, `OFFSET_SEED=7` just that.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, and picks out what it looks at"
)]

mod support;

use std::collections::BTreeMap;

use offset_crypto::{PaymentId, PublicKey, Signature};
use offset_funder::{
    api::Command,
    state::{Friend, Phase},
};
use offset_proto::{
    Balance, Credits,
    app::{ConfigRequest, PaymentStatus, PaymentTarget},
    friend::FriendMessage,
    reset::ResetTerms,
};
use support::{Net, credit, name, seeds};

#[test]
fn nobody_loses_more_than_it_consents_to() {
    for seed in seeds(40) {
        println!("replay with OFFSET_SEED={seed}");
        Run::new(seed).run();
    }
}

struct Run {
    net: Net,
    count: usize,
    seed: u64,
    payments: BTreeMap<PaymentId, (usize, usize, i128)>,
    /// What each node has beyond its own terms by every end of an epoch, negative: what it gave up.
    consented: Vec<i128>,
    /// The same, of what is not durable yet.
    undurable: Vec<i128>,
    resets: usize,
}

impl Run {
    fn new(seed: u64) -> Self {
        let count = 2 + usize::try_from(seed % 3).unwrap();
        let mut net = Net::chain(count, 1_000, seed);
        if count == 4 && seed.is_multiple_of(2) {
            net.befriend(count - 1, 0, 1_000);
            net.settle();
        }
        let zeros = vec![0; count];
        Self {
            net,
            count,
            seed,
            payments: BTreeMap::new(),
            consented: zeros.clone(),
            undurable: zeros,
            resets: 0,
        }
    }

    fn run(mut self) {
        for _ in 0..350 {
            self.step();
        }
        self.calm();
        self.check();
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.net.rng.below(u64::try_from(bound).unwrap())).unwrap()
    }

    fn step(&mut self) {
        match self.below(100) {
            0..14 => self.order(),
            14..17 => {
                let (node, after_commit) = (self.below(self.count), self.below(2) == 0);
                self.crash(node, after_commit);
            }
            17..20 => {
                let pairs = self.net.connected_pairs();
                if !pairs.is_empty() {
                    let (a, b) = pairs[self.below(pairs.len())];
                    self.net.disconnect(a, b);
                }
            }
            20..28 => self.reconnect(),
            28..34 => self.net.pass(7),
            34 => self.net.pass(11_000),
            35 => self.spoil(),
            36..39 => self.accept(),
            // Not in the middle of everything all the time.
            39 if self.seed.is_multiple_of(2) => self.part(),
            39..62 => {
                let node = self.below(self.count);
                self.flush(node);
            }
            _ => {
                let links = self.net.busy_links();
                if !links.is_empty() {
                    let (from, to) = links[self.below(links.len())];
                    self.deliver(from, to);
                }
            }
        }
    }

    fn order(&mut self) {
        let (buyer, seller) = (self.below(self.count), self.below(self.count));
        if buyer == seller {
            return;
        }
        let amount = 1 + u128::try_from(self.below(300)).unwrap();
        self.flush(seller);
        let id = if self.below(2) == 0 {
            let invoice = self.net.invoice(seller, amount);
            let request = self.net.pay_request(PaymentTarget::Invoice(Box::new(invoice)));
            self.net.pay(buyer, request)
        } else {
            self.net.send_funds(buyer, seller, amount)
        };
        for node in [buyer, seller] {
            self.durable(node);
        }
        self.payments.insert(id, (buyer, seller, i128::try_from(amount).unwrap()));
    }

    /// A token arrives as nobody signed it.
    fn spoil(&mut self) {
        let links = self.net.busy_links();
        if links.is_empty() {
            return;
        }
        let (from, to) = links[self.below(links.len())];
        for message in self.net.link(from, to) {
            if let FriendMessage::MoveToken(token) = message {
                token.signature = Signature::from_bytes([3; 64]);
                return;
            }
        }
    }

    /// Somebody accepts what the other side of an inconsistent channel proposes.
    fn accept(&mut self) {
        let node = self.below(self.count);
        let friends: Vec<_> = self.net.nodes[node].funder.state().friends.keys().copied().collect();
        if friends.is_empty() {
            return;
        }
        let key = friends[self.below(friends.len())];
        self.accept_terms(node, key);
    }

    fn accept_terms(&mut self, node: usize, key: PublicKey) {
        let local = self.net.key(node);
        let friend = &self.net.nodes[node].funder.state().friends[&key];
        let row = friend.channel.inconsistent.as_ref();
        let Some(remote) = row.and_then(|row| row.remote.as_ref()) else {
            return;
        };
        let reset_token = remote.token(&key, &local);
        let friend = friend.info.name.clone();
        // May be refused when the terms are of an epoch that was.
        self.net.command(node, Command::Config(ConfigRequest::ResetFriend { friend, reset_token }));
    }

    /// Somebody parts with a friend, whatever stands, and adds it again at once or later.
    fn part(&mut self) {
        let node = self.below(self.count);
        let friends: Vec<_> = self.net.nodes[node].funder.state().friends.keys().copied().collect();
        if friends.is_empty() || self.below(4) != 0 {
            return self.meet_again(node);
        }
        let key = friends[self.below(friends.len())];
        let friend = &self.net.nodes[node].funder.state().friends[&key];
        self.undurable[node] -= best(friend);
        let friend = friend.info.name.clone();
        self.flush_config(node, ConfigRequest::RemoveFriend { friend, forfeit: true });
    }

    fn meet_again(&mut self, node: usize) {
        let gone: Vec<_> = self.net.nodes[node].funder.state().archive.keys().copied().collect();
        for public_key in gone {
            let other = self.net.index_of(public_key);
            let friend = name(&format!("n{other}"));
            let (currency, max_debt) = (None, Credits(1_000));
            for request in [
                ConfigRequest::AddFriend {
                    name: friend.clone(),
                    public_key,
                    relays: Vec::new(),
                    currency: None,
                    opening_balance: Balance::ZERO,
                },
                ConfigRequest::SetFriendEnabled { friend: friend.clone(), enabled: true },
                ConfigRequest::SetMaxDebt { friend: friend.clone(), currency, max_debt },
                ConfigRequest::SetRequestsOpen { friend, currency: None, open: true },
            ] {
                self.flush_config(node, request);
            }
            self.net.disconnect(node, other);
        }
    }

    fn flush_config(&mut self, node: usize, request: ConfigRequest) {
        self.net.config(node, request);
        self.durable(node);
    }

    fn flush(&mut self, node: usize) -> bool {
        let busy = self.net.flush(node);
        self.durable(node);
        busy
    }

    fn durable(&mut self, node: usize) {
        self.consented[node] += std::mem::take(&mut self.undurable[node]);
    }

    fn crash(&mut self, node: usize, after_commit: bool) {
        if after_commit {
            self.durable(node);
        }
        self.undurable[node] = 0;
        self.net.crash(node, after_commit);
    }

    /// Delivers a message; sees what it gave up if an epoch began.
    fn deliver(&mut self, from: usize, to: usize) -> bool {
        let key = self.net.key(from);
        let channel = |net: &Net| {
            let friend = net.nodes[to].funder.state().friends.get(&key)?;
            Some(friend.channel.clone())
        };
        let before = channel(&self.net);
        let done = self.net.deliver(from, to);
        if let (Some(before), Some(after)) = (before, channel(&self.net))
            && before.epoch != after.epoch
        {
            let own = before.inconsistent.expect("an epoch ends inconsistent").local;
            let friend = &self.net.nodes[to].funder.state().friends[&key];
            let now = friend.lines.get(&credit()).and_then(|line| line.credit.as_ref());
            let now = now.map_or(0, |credit| credit.numbers().balance.get());
            self.undurable[to] += now - proposed(&own);
            self.resets += 1;
        }
        done
    }

    fn reconnect(&mut self) {
        let missing = self.missing();
        if !missing.is_empty() {
            let (a, b) = missing[self.below(missing.len())];
            self.net.connect(a, b);
        }
    }

    /// Pairs without a session of whom both are friends.
    fn missing(&self) -> Vec<(usize, usize)> {
        let connected = self.net.connected_pairs();
        let pairs = (0..self.count).flat_map(|a| (a + 1..self.count).map(move |b| (a, b)));
        let friends = |a: usize, b: usize| {
            self.net.nodes[a].funder.state().friends.contains_key(&self.net.key(b))
        };
        pairs
            .filter(|(a, b)| friends(*a, *b) && friends(*b, *a) && !connected.contains(&(*a, *b)))
            .collect()
    }

    /// Everybody is a friend again, online, and ready to accept.
    fn calm(&mut self) {
        self.net.index_up = true;
        for round in 0..300 {
            for node in 0..self.count {
                self.meet_again(node);
            }
            for (a, b) in self.missing() {
                self.net.connect(a, b);
            }
            self.settle();
            for a in 0..self.count {
                for key in self.friends(a) {
                    // Of each pair one side gives in, now the one and now the other.
                    if (a < self.net.index_of(key)) == (round % 2 == 0) {
                        self.accept_terms(a, key);
                    }
                }
            }
            self.settle();
            self.net.pass(1_000);
        }
        self.settle();
    }

    fn friends(&self, node: usize) -> Vec<PublicKey> {
        self.net.nodes[node].funder.state().friends.keys().copied().collect()
    }

    fn settle(&mut self) {
        for _ in 0..100_000 {
            let mut busy = false;
            for node in 0..self.count {
                busy |= self.flush(node);
            }
            for (from, to) in self.net.busy_links() {
                busy |= self.deliver(from, to);
            }
            if !busy {
                return;
            }
        }
        panic!("the network does not come to rest");
    }

    fn check(&mut self) {
        self.net.check_at_rest(true);
        let sum: i128 = (0..self.count).map(|node| self.net.total(node)).sum();
        assert_eq!(sum, 0, "conservation");
        // The least that each must have, besides what it consented to.
        let mut least = self.consented.clone();
        let (mut succeeded, mut unknown) = (0, 0);
        for (id, (buyer, seller, amount)) in &self.payments {
            let Some(row) = self.net.nodes[*buyer].archive.get(id) else {
                continue;
            };
            match &row.phase {
                Phase::Succeeded { .. } => {
                    succeeded += 1;
                    least[*buyer] -= amount;
                    least[*seller] += amount;
                }
                Phase::Unknown => {
                    unknown += 1;
                    least[*buyer] -= amount;
                }
                _ => {}
            }
        }
        for (node, least) in least.iter().enumerate() {
            let total = self.net.total(node);
            assert!(*least <= total, "node {node} has {total}, and should have at least {least}");
        }
        for (a, b) in self.net.connected_pairs() {
            for (buyer, seller) in [(a, b), (b, a)] {
                let id = self.net.send_funds(buyer, seller, 1);
                let outcome = self.net.outcome(buyer, id);
                let paid = matches!(outcome, PaymentStatus::Succeeded { .. });
                // A balance that was agreed on may be outside the limits; it moves back only.
                let room = self.net.balance(buyer, seller) > -1_000;
                assert!(paid || !room, "seed {}: {buyer} pays {seller}: {outcome:?}", self.seed);
            }
        }
        println!(
            "{succeeded} of {} payments succeeded, {unknown} unknown, {} ends of epochs",
            self.payments.len(),
            self.resets
        );
    }
}

/// What an owner can hope for at best from a friend: the balance, and all that it has pending to us.
fn best(friend: &Friend) -> i128 {
    let credit = friend.lines.get(&credit()).and_then(|line| line.credit.as_ref());
    let Some(numbers) = credit.map(|credit| *credit.numbers()) else {
        return 0;
    };
    numbers.balance.get() + i128::try_from(numbers.pending_debt.remote.0).unwrap()
}

/// The balance of the default currency in terms, as their proposer sees it.
fn proposed(terms: &ResetTerms) -> i128 {
    let row = terms.body.balances.iter().find(|row| row.currency == credit());
    row.map_or(0, |row| row.balance.get())
}
