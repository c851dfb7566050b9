//! One honest node among friends who all conspire against it: they know each other's locks, forge,
//! withhold, answer, collect and cancel at random, and sometimes break the rules outright. Whatever
//! they do, the node does not panic, signs only what the protocol's text says (the hand-made friends
//! compare every token with an implementation of their own), and loses nothing but what it paid
//! itself.
//!
//! `OFFSET_SEEDS=5000 cargo test --test betrayal` runs that many seeds, `OFFSET_SEED=7` just that.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    reason = "a test fails by panicking, and picks out what it looks at"
)]

mod support;

use std::collections::BTreeMap;

use offset_crypto::{HashedLock, InvoiceId, Nonce, PlainLock, RequestId, Rng as _, SeededRng};
use offset_funder::{
    api::{Command, Effect, RoutesError},
    state::{Link, PaymentRow, Phase},
};
use offset_proto::{
    Credits, Rate,
    app::{ConfigRequest, CreateInvoice, Hold},
    friend::{CancelReason, FriendOp, MoveToken, Request, Response},
    index::{MultiRoute, Route},
    payment::ResponseTerms,
};
use support::{
    credit,
    lab::{LIMIT, Lab, cancel, collect, commit, friend_name, release},
    puppet::{MINE, Row, THEIRS, response_by},
    seeds,
};

const FRIENDS: usize = 3;

struct Plot {
    lab: Lab,
    rng: SeededRng,
    /// Every lock that the friends chose or saw open.
    known: BTreeMap<HashedLock, PlainLock>,
    invoices: Vec<InvoiceId>,
}

#[test]
fn conspiring_friends_take_nothing() {
    let mut collected = 0;
    for seed in seeds(100) {
        println!("replay with OFFSET_SEED={seed}");
        collected += run(seed);
    }
    println!("{collected} operations collected");
}

fn run(seed: u64) -> usize {
    let mut plot = Plot {
        lab: Lab::new(FRIENDS),
        rng: SeededRng::new(seed),
        known: BTreeMap::new(),
        invoices: vec![InvoiceId::from_bytes([1; 32]), InvoiceId::from_bytes([2; 32])],
    };
    // Locks that are used again and again, by everybody.
    for n in 0..6 {
        let lock = PlainLock::from_bytes([n; 32]);
        plot.known.insert(lock.hashed(), lock);
    }
    let rate = Rate { ppm: 10_000, add: 1 };
    plot.lab.set(ConfigRequest::SetRate { friend: friend_name(0), currency: None, rate });
    let mut collected = 0;
    for _ in 0..120 {
        plot.step();
        plot.check();
        for at in 0..FRIENDS {
            for op in plot.lab.got(at) {
                collected += usize::from(matches!(op, FriendOp::Collect(_)));
                plot.learn(&op);
            }
        }
    }
    collected
}

impl Plot {
    fn below(&mut self, bound: u64) -> u64 {
        self.rng.below(bound)
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        let bound = u64::try_from(from.len()).unwrap();
        (bound > 0).then(|| from[usize::try_from(self.below(bound)).unwrap()].clone())
    }

    fn friend(&mut self) -> usize {
        usize::try_from(self.below(3)).unwrap()
    }

    fn learn(&mut self, op: &FriendOp) {
        let locks = match op {
            FriendOp::Commit(commit) => vec![commit.src_plain_lock],
            FriendOp::Collect(collect) => vec![collect.src_plain_lock, collect.dest_plain_lock],
            _ => Vec::new(),
        };
        self.known.extend(locks.into_iter().map(|lock| (lock.hashed(), lock)));
    }

    fn step(&mut self) {
        let at = self.friend();
        match self.below(100) {
            0..55 => self.conspire(at),
            55..65 => self.pay(),
            65..70 => self.sell(),
            70..75 => {
                self.lab.disconnect(at);
            }
            75..83 => self.lab.connect(at),
            83..86 => {
                self.lab.restart();
            }
            86..94 => {
                let ms = if self.below(10) == 0 { 4_000_000 } else { 3_000 };
                let ms = self.below(ms);
                self.lab.pass(ms);
            }
            94..96 => self.lab.puppets[at].silent ^= true,
            _ => self.configure(at),
        }
        self.answer_index();
    }

    /// A token with a few operations that the friend could send, and now and then a wrong one.
    fn conspire(&mut self, at: usize) {
        if self.lab.puppets[at].session.0 == 0 || self.lab.inconsistent(at).is_some() {
            return;
        }
        if !self.lab.funder_report().friends[at].online {
            return;
        }
        self.lab.fetch_token(at);
        let mut ops: Vec<FriendOp> = Vec::new();
        for _ in 0..=self.below(4) {
            let op = self.operation(at);
            let again = |op: &FriendOp| ops.iter().any(|o| o.request_id() == op.request_id());
            // Several operations on one request: only what can follow.
            if let Some(op) = op.filter(|op| !again(op)) {
                if let FriendOp::Response(response) = &op
                    && self.below(3) == 0
                {
                    ops.push(op.clone());
                    ops.extend(self.follow(at, response));
                } else {
                    ops.push(op);
                }
            }
        }
        let ops: Vec<_> = ops.into_iter().map(|op| (credit(), op)).collect();
        let token = self.lab.puppets[at].compose(&[], &ops);
        let token = if self.below(60) == 0 { self.spoil(at, token) } else { token };
        let counter = token.body.counter;
        self.lab.deliver(at, token);
        if self.lab.inconsistent(at).is_none() {
            assert!(self.lab.puppets[at].counter >= counter, "a valid token is applied");
        }
    }

    fn operation(&mut self, at: usize) -> Option<FriendOp> {
        let pending = self.lab.puppets[at].credit(&credit()).pending.clone();
        let theirs: Vec<Row> = pending[THEIRS].values().cloned().collect();
        let mine: Vec<Row> = pending[MINE].values().cloned().collect();
        match self.below(10) {
            0..3 => Some(FriendOp::Request(self.request(at))),
            3..8 => {
                let row = self.pick(&theirs)?;
                match (row.stage, self.below(8)) {
                    (_, 0) => Some(cancel(&row.request, CancelReason::Busy, None)),
                    (0, _) => self.response(at, &row.request).map(FriendOp::Response),
                    (_, _) => self.collect(&row, row.response.as_ref()?),
                }
            }
            _ => {
                let row = self.pick(&mine)?;
                let src = self.known.get(&row.request.src_hashed_lock).copied();
                match (row.stage, row.released, self.below(3)) {
                    (0 | 1, false, 0) => Some(release(&row.request)),
                    (1, false, _) => Some(commit(&row.request, src?)),
                    _ => None,
                }
            }
        }
    }

    /// What may follow a response in the same token: the locks are shared among friends.
    fn follow(&mut self, at: usize, response: &Response) -> Option<FriendOp> {
        let row =
            self.lab.puppets[at].credit(&credit()).pending[THEIRS][&response.request_id].clone();
        if self.below(4) == 0 {
            return Some(cancel(&row.request, CancelReason::Declined, None));
        }
        self.collect(&row, response)
    }

    fn collect(&self, row: &Row, response: &Response) -> Option<FriendOp> {
        let src = self.known.get(&row.request.src_hashed_lock)?;
        let dest = self.known.get(&response.dest_hashed_lock)?;
        Some(collect(&row.request, *src, *dest))
    }

    fn request(&mut self, at: usize) -> Request {
        let keys: Vec<_> = self.lab.puppets.iter().map(|puppet| puppet.key()).collect();
        let node = self.lab.key();
        let other = keys[(at + 1 + usize::try_from(self.below(2)).unwrap()) % 3];
        let route = match self.below(10) {
            0..3 => Vec::new(),
            3..8 => vec![other],
            8 => vec![other, node],
            _ => vec![other, keys[at]],
        };
        // A route that leads back to the node is not the node's to receive.
        let route = if route.contains(&node) { vec![other] } else { route };
        let locks: Vec<_> = self.known.values().copied().collect();
        let lock = self.pick(&locks).unwrap();
        let total = 1 + u128::from(self.below(300));
        let part = if self.below(3) == 0 { 1 + total / 2 } else { total };
        let invoices = self.invoices.clone();
        let invoice_id = self.pick(&invoices).unwrap();
        let known = self.lab.funder.state().invoices.get(&invoice_id);
        let total = known.map_or(total, |row| row.invoice.dest_payment.0);
        let mut id = [0; 16];
        self.rng.fill(&mut id);
        Request {
            request_id: RequestId::from_bytes(id),
            src_hashed_lock: lock.hashed(),
            route,
            dest_payment: Credits(part.min(total)),
            total_dest_payment: Credits(total),
            invoice_id,
            left_fees: Credits(u128::from(self.rng.below(8))),
            spontaneous: known.is_none(),
            hold_seconds: 0,
        }
    }

    /// An answer by whoever of the friends is the destination, or one that the node gave elsewhere.
    fn response(&mut self, at: usize, request: &Request) -> Option<Response> {
        let currency = credit();
        let destination = request.destination(self.lab.puppets[at].key());
        let lock = PlainLock::from_bytes([200; 32]);
        self.known.insert(lock.hashed(), lock);
        let complete = self.below(8) != 0;
        let signer = self.lab.puppets.iter().find(|puppet| puppet.key() == destination);
        if let Some(signer) = signer {
            return Some(response_by(&signer.identity, request, &lock, complete, &currency));
        }
        let rows = self.lab.puppets.iter().flat_map(|puppet| {
            puppet.credit(&currency).pending[MINE].values().cloned().collect::<Vec<_>>()
        });
        let answers = rows.filter_map(|row| row.response);
        let mut fitting = answers.filter(|response| {
            let terms = ResponseTerms::of(request, response, &currency);
            terms.verify(&destination, &response.signature)
        });
        let response = fitting.next()?;
        Some(Response { request_id: request.request_id, ..response })
    }

    /// Breaks a token in one place and signs it again.
    fn spoil(&mut self, at: usize, token: MoveToken) -> MoveToken {
        let mut body = token.body;
        match (self.below(3), body.currency_ops.first_mut()) {
            (0, Some(list)) => list.ops.push(list.ops[0].clone()),
            (1, Some(list)) => drop(list.ops.remove(0)),
            _ => body.state_hash = offset_crypto::hash(b"wrong"),
        }
        body.sign(&self.lab.puppets[at].identity)
    }

    /// The node pays somebody: a friend, or over a friend.
    fn pay(&mut self) {
        let at = self.friend();
        let destination = self.lab.puppets[at].key();
        let amount = 1 + u128::from(self.below(200));
        self.lab.pay(destination, amount);
    }

    /// The index server is theirs too: any way will do.
    fn answer_index(&mut self) {
        let asked: Vec<_> = self.lab.effects.drain(..).collect();
        for effect in asked {
            let Effect::FindRoutes { asker, query } = effect else { continue };
            let over = self.friend();
            let mut keys = vec![query.source, self.lab.puppets[over].key(), query.destination];
            keys.dedup();
            let fee = Credits(u128::from(self.below(10)));
            let route = Route { keys, amount: query.amount, fee };
            let multi = MultiRoute { routes: vec![route], total_fee: fee, age_ms: 0 };
            let answer = match self.below(4) {
                0 => Err(RoutesError::NoAnswer),
                1 => Ok(Vec::new()),
                _ => Ok(vec![multi]),
            };
            let (now, rng) = (self.lab.now, &mut self.lab.rng);
            self.lab.funder.handle_routes(now, rng, asker, answer);
        }
        self.lab.pump();
        self.lab.effects.retain(|effect| matches!(effect, Effect::FindRoutes { .. }));
    }

    fn sell(&mut self) {
        let create = CreateInvoice {
            nonce: Nonce::random(&mut self.lab.rng),
            currency: None,
            amount: Credits(1 + u128::from(self.below(100))),
            description: "".parse().unwrap(),
            expires_in_ms: Some(60_000),
            hold: if self.below(3) == 0 { Hold::ForMs(60_000) } else { Hold::None },
        };
        self.lab.ask(Command::CreateInvoice { create: Box::new(create), ended: None }).unwrap();
        let invoice_id = *self.lab.funder.state().invoices.keys().next().unwrap();
        self.invoices.push(invoice_id);
        if self.below(4) == 0 {
            let ended = self.lab.invoice_archive.get(&invoice_id).cloned().map(Box::new);
            let _ = self.lab.ask(Command::CancelInvoice { invoice_id, ended });
        }
    }

    fn configure(&mut self, at: usize) {
        let (friend, yes) = (friend_name(at), self.below(4) != 0);
        let limit = Credits(u128::from(self.below(1_001)));
        let request = match self.below(4) {
            0 => ConfigRequest::SetFriendEnabled { friend, enabled: yes },
            1 => ConfigRequest::SetRequestsOpen { friend, currency: None, open: yes },
            2 => ConfigRequest::SetMaxDebt { friend, currency: None, max_debt: limit },
            _ => ConfigRequest::SetRate { friend, currency: None, rate: Rate { ppm: 0, add: 2 } },
        };
        self.lab.set(request);
    }

    /// M7 and the limits.
    fn check(&self) {
        let state = self.lab.funder.state();
        let (mut total, mut due) = (0i128, 0i128);
        for (key, friend) in &state.friends {
            let line = friend.lines[&credit()].credit.as_ref().unwrap();
            let balance = line.numbers().balance.get();
            assert!(balance <= i128::try_from(LIMIT).unwrap(), "no more than was granted");
            total += balance;
            for row in friend.queue.values() {
                if let FriendOp::Collect(collect) = &row.op {
                    let side = offset_funder::Side::Remote;
                    let id = &collect.request_id;
                    let row = state.pending(key, &credit(), side, id).expect("collected once");
                    due += i128::try_from(row.request.frozen().unwrap().0).unwrap();
                    let passed = matches!(row.link, Link::Downstream(..) | Link::Destination);
                    assert!(passed && row.closing);
                }
            }
        }
        let running = state.payments.values();
        let paid: i128 = running.chain(self.lab.archive.values()).map(most_paid).sum();
        assert!(0 <= total + due + paid, "lost: {total} {due} {paid}");
    }
}

/// What a payment of the node's own may have cost.
fn most_paid(row: &PaymentRow) -> i128 {
    let whole = row.amount.0 + row.fees().0;
    match row.phase {
        Phase::Committed | Phase::Succeeded { .. } | Phase::Unknown => {
            i128::try_from(whole).unwrap()
        }
        Phase::Routing
        | Phase::Requesting
        | Phase::Complete
        | Phase::Failed(_)
        | Phase::Cancelled => 0,
    }
}
