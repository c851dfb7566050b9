//! Friends that break rules or conspire, made by hand.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, and picks out what it looks at"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use offset_crypto::{HashedLock, PaymentId, PlainLock, Rng as _, SeededRng};
use offset_funder::{
    api::{Command, Effect, SessionId},
    state::Phase,
};
use offset_proto::{
    Credits,
    app::{PayRequest, PaymentTarget},
    friend::{CancelReason, FriendOp, Request},
    index::{MultiRoute, Route},
};
use support::{
    credit,
    lab::{Lab, cancel, collect, commit, release},
    puppet::{MINE, Row, THEIRS, response_by},
    seeds,
};

/// Buyer and seller share the locks in private, and the seller answers and collects in one token.
/// The mediator must be paid as well.
#[test]
fn answer_and_collect_in_one_token_are_passed_up() {
    let mut lab = Lab::new(2);
    let seller = lab.puppets[1].key();
    let (request, src) = lab.request(&[seller]);
    lab.send(0, &[FriendOp::Request(request)]);
    let FriendOp::Request(forwarded) = lab.got_one(1) else { panic!() };
    let dest = PlainLock::random(&mut lab.rng);
    let response = response_by(&lab.puppets[1].identity, &forwarded, &dest, true, &credit());
    lab.send(1, &[FriendOp::Response(response), collect(&forwarded, src, dest)]);
    assert!(matches!(lab.got(0)[..], [FriendOp::Response(_), FriendOp::Collect(_)]));
    assert_eq!((lab.balance(0), lab.balance(1)), (100, -100));
}

/// A random run of a node between friends who share all their secrets: every operation that the
/// protocol allows them, many of them in one token, over sessions that break and a node that stops.
struct Run {
    lab: Lab,
    /// The locks of the friends' own requests, and what the node revealed.
    locks: BTreeMap<HashedLock, PlainLock>,
    /// What a friend asked for last: its lock is used again, to form sets.
    last: Option<(Request, PlainLock)>,
    payments: Vec<(PaymentId, Credits)>,
}

const FRIENDS: usize = 3;
const DEST_LOCK: [u8; 32] = [9; 32];
const MAX_FEE: u128 = 7;

impl Run {
    fn new(seed: u64) -> Self {
        let mut lab = Lab::new(FRIENDS);
        lab.rng = SeededRng::new(seed);
        Self { lab, locks: BTreeMap::new(), last: None, payments: Vec::new() }
    }

    fn below(&mut self, n: usize) -> usize {
        let mut bytes = [0; 8];
        self.lab.rng.fill(&mut bytes);
        usize::try_from(u64::from_be_bytes(bytes) % u64::try_from(n).unwrap()).unwrap()
    }

    fn is_up(&self, at: usize) -> bool {
        self.lab.puppets[at].session != SessionId(0)
    }

    fn step(&mut self) {
        let at = self.below(FRIENDS);
        match self.below(24) {
            0 if self.is_up(at) => self.lab.disconnect(at),
            1 => self.lab.restart(),
            2 => {
                let ms = [1, 1_000, 11_000, 61_000][self.below(4)];
                self.lab.pass(ms);
            }
            3..6 => self.pay(),
            6 => {
                let silent = self.below(2) == 0;
                self.lab.puppets[at].silent = silent;
            }
            _ => self.speak(at),
        }
        self.answer_routes();
    }

    fn pay(&mut self) {
        let at = self.below(FRIENDS);
        let destination = self.lab.puppets[at].key();
        let amount = Credits(u128::try_from(1 + self.below(1_200)).unwrap());
        let request = PayRequest {
            payment_id: PaymentId::random(&mut self.lab.rng),
            target: PaymentTarget::Spontaneous { destination, amount, currency: None },
            max_fee: Some(Credits(MAX_FEE)),
            deadline_ms: Some(300_000),
            note: "".parse().unwrap(),
            max_parts: None,
        };
        let id = request.payment_id;
        let request = Box::new(request);
        self.lab.order(Command::Pay { request, ended: None, payer: None });
        self.payments.push((id, amount));
    }

    /// The friends' index server splits over two friends, with a fee.
    fn answer_routes(&mut self) {
        let asked: Vec<_> = self.lab.effects.drain(..).collect();
        for effect in asked {
            let Effect::FindRoutes { asker, query } = effect else { continue };
            let half = Credits(query.amount.0 / 2);
            let rest = query.amount.checked_sub(half).unwrap();
            let mut routes = Vec::new();
            let from = self.below(FRIENDS);
            for (n, amount) in [half, rest].into_iter().enumerate() {
                let first = self.lab.puppets[(from + n) % FRIENDS].key();
                let mut keys = vec![self.lab.key(), first];
                if first != query.destination {
                    keys.push(query.destination);
                }
                let fee = if keys.len() == 3 { Credits(1) } else { Credits(0) };
                routes.push(Route { keys, amount, fee });
            }
            let total_fee = Credits(routes.iter().map(|route| route.fee.0).sum());
            let answer = Ok(vec![MultiRoute { routes, total_fee, age_ms: 0 }]);
            self.lab.funder.handle_routes(self.lab.now, &mut self.lab.rng, asker, answer);
            self.lab.pump();
        }
    }

    /// A friend says anything that it may say, as one token.
    fn speak(&mut self, at: usize) {
        if !self.is_up(at) {
            return self.lab.connect(at);
        }
        if !self.lab.puppets[at].holds_token() {
            self.lab.fetch_token(at);
        }
        let mut ops = Vec::new();
        for _ in 0..self.below(3) {
            ops.push(self.request());
        }
        let lines = self.lab.puppets[at].credit(&credit()).clone();
        for row in lines.pending[MINE].values() {
            let lock = self.locks[&row.request.src_hashed_lock];
            let open = row.stage < 2 && !row.released;
            match self.below(4) {
                0 if row.stage == 1 && open => ops.push(commit(&row.request, lock)),
                1 if open => ops.push(release(&row.request)),
                _ => {}
            }
        }
        for row in lines.pending[THEIRS].values() {
            if let Some(lock) = row.src_plain_lock {
                self.locks.insert(row.request.src_hashed_lock, lock);
            }
            self.answer(at, row, &mut ops);
        }
        // In any order, but what belongs to one request keeps its own.
        let turn = self.below(ops.len() + 1);
        let (mut first, mut second) = (ops.split_off(turn), ops);
        let ids: BTreeSet<_> = first.iter().map(FriendOp::request_id).collect();
        let (mut held, rest): (Vec<_>, Vec<_>) =
            second.drain(..).partition(|op| ids.contains(&op.request_id()));
        held.append(&mut first);
        held.extend(rest);
        self.lab.send(at, &held);
        assert_eq!(self.lab.inconsistent(at), None);
        self.lab.got(at);
    }

    /// What may be said of a request of the node's: nothing, answer, end, or all in one token.
    fn answer(&mut self, at: usize, row: &Row, ops: &mut Vec<FriendOp>) {
        let request = &row.request;
        let mut stage = row.stage;
        let destination = request.route.last().copied().unwrap_or(self.lab.puppets[at].key());
        let signer = self.lab.puppets.iter().find(|puppet| puppet.key() == destination);
        let signer = signer.map(|puppet| puppet.identity.clone());
        if let Some(signer) = signer.filter(|_| stage == 0)
            && self.below(2) == 0
        {
            let complete = self.below(2) == 0;
            let dest = PlainLock::from_bytes(DEST_LOCK);
            let response = response_by(&signer, request, &dest, complete, &credit());
            ops.push(FriendOp::Response(response));
            stage = 1;
        }
        let lock = self.locks.get(&request.src_hashed_lock).copied();
        match (self.below(4), lock) {
            (0, Some(lock)) if 1 <= stage => {
                ops.push(collect(request, lock, PlainLock::from_bytes(DEST_LOCK)));
            }
            (1, _) => {
                let reasons = [CancelReason::Busy, CancelReason::Released, CancelReason::NoRoom];
                let reason = reasons[self.below(3)];
                ops.push(cancel(request, reason, None));
            }
            _ => {}
        }
    }

    /// A request through the node or for it, in a cycle or as another part of a set.
    fn request(&mut self) -> FriendOp {
        let to = self.below(FRIENDS + 1);
        let route: Vec<_> = self.lab.puppets.get(to).map(|p| p.key()).into_iter().collect();
        let (mut request, mut lock) = self.lab.request(&route);
        if self.below(2) == 0
            && let Some((last, shared)) = &self.last
        {
            request.src_hashed_lock = last.src_hashed_lock;
            request.invoice_id = last.invoice_id;
            lock = *shared;
        }
        request.total_dest_payment = Credits(100);
        request.dest_payment = Credits([50, 100][self.below(2)]);
        self.last = Some((request.clone(), lock));
        self.locks.insert(request.src_hashed_lock, lock);
        FriendOp::Request(request)
    }

    /// Everybody listens again and gives everything back: nothing stays frozen, and the node has
    /// lost nothing but what it paid.
    fn settle(mut self) {
        for at in 0..FRIENDS {
            self.lab.puppets[at].silent = false;
            if !self.is_up(at) {
                self.lab.connect(at);
            }
        }
        self.lab.pass(400_000);
        for _ in 0..8 {
            for at in 0..FRIENDS {
                self.lab.fetch_token(at);
                let lines = self.lab.puppets[at].credit(&credit()).clone();
                let mut ops = Vec::new();
                for row in lines.pending[THEIRS].values() {
                    ops.push(cancel(&row.request, CancelReason::Busy, None));
                }
                for row in lines.pending[MINE].values() {
                    if row.stage < 2 && !row.released {
                        ops.push(release(&row.request));
                    }
                }
                self.lab.send(at, &ops);
            }
            self.answer_routes();
            self.lab.pass(1_000);
        }
        let mut paid = 0;
        for (id, amount) in &self.payments {
            let row = self.lab.archive.get(id).unwrap_or_else(|| panic!("{id:?} has not ended"));
            if let Phase::Succeeded { fee, receipt } = &row.phase {
                assert!(fee.0 <= MAX_FEE);
                assert_eq!(receipt.total_dest_payment, *amount);
                paid += i128::try_from(amount.0 + fee.0).unwrap();
            }
        }
        let mut balance = 0;
        for at in 0..FRIENDS {
            assert_eq!(self.lab.frozen(at), (0, 0), "nothing is frozen");
            assert!(self.lab.friend(at).queue.is_empty());
            balance += self.lab.balance(at);
        }
        assert!(-paid <= balance, "the node paid {paid} and has {balance}");
        assert!(self.lab.funder.state().sets.is_empty());
        assert!(self.lab.funder.state().payments.is_empty());
    }
}

#[test]
fn friends_who_conspire_take_nothing_and_freeze_nothing() {
    for seed in seeds(20) {
        let mut run = Run::new(seed);
        for _ in 0..60 {
            run.step();
        }
        run.settle();
    }
}
