//! Payments over several routes (protocol, sections 6.3 to 6.9 and 7): the node buys, its friends
//! are mediators made by hand, and so are the receiver and the index server.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, and picks out what it looks at"
)]

mod support;

use std::{collections::BTreeSet, sync::Arc};

use offset_crypto::{Identity, PaymentId, PlainLock, SeededRng};
use offset_funder::{
    api::{Command, Effect, RoutesError, RoutesFor},
    state::Phase,
};
use offset_proto::{
    Credits,
    app::{
        AppReply, ConfigRequest, NoLine, PayRequest, PaymentFailure, PaymentStatus, PaymentTarget,
        QuoteReport,
    },
    friend::{CancelReason, FriendOp, Request},
    history::{HistoryEntry, HistoryEvent},
    index::{Edge, MultiRoute, Route, RouteQuery},
};
use support::{
    credit,
    lab::{LIMIT, Lab, cancel, collect, friend_name, terms},
    puppet::response_by,
};

/// A node with friends, and a receiver behind them.
struct Shop {
    lab: Lab,
    receiver: Arc<Identity>,
    dest_lock: PlainLock,
    order: u64,
    id: PaymentId,
}

impl Shop {
    fn new(friends: usize) -> Self {
        Self {
            lab: Lab::new(friends),
            receiver: Arc::new(Identity::random(&mut SeededRng::new(50))),
            dest_lock: PlainLock::from_bytes([9; 32]),
            order: 0,
            id: PaymentId::from_bytes([1; 16]),
        }
    }

    fn request(&self, amount: u128, max_fee: Option<u128>) -> PayRequest {
        let destination = self.receiver.public_key();
        PayRequest {
            payment_id: self.id,
            target: PaymentTarget::Spontaneous {
                destination,
                amount: Credits(amount),
                currency: None,
            },
            max_fee: max_fee.map(Credits),
            deadline_ms: None,
            note: "for the bicycle".parse().unwrap(),
            max_parts: None,
        }
    }

    fn order(&mut self, request: PayRequest) {
        let request = Box::new(request);
        self.order = self.lab.order(Command::Pay { request, ended: None, payer: None });
    }

    /// What the index server is asked, if it is.
    fn asked(&mut self) -> Option<(RoutesFor, RouteQuery)> {
        let mut asked = self.lab.effects.drain(..).filter_map(|effect| match effect {
            Effect::FindRoutes { asker, query } => Some((asker, query)),
            _ => None,
        });
        asked.next_back()
    }

    fn query(&mut self) -> RouteQuery {
        self.asked().expect("the index server is asked").1
    }

    /// A way over a friend to the receiver.
    fn over(&self, friend: usize, amount: u128, fee: u128) -> Route {
        let keys = vec![self.lab.key(), self.lab.puppets[friend].key(), self.receiver.public_key()];
        Route { keys, amount: Credits(amount), fee: Credits(fee) }
    }

    fn answer(&mut self, asker: RoutesFor, routes: Result<Vec<Vec<Route>>, RoutesError>) {
        let multi = |routes: Vec<Route>| {
            let total_fee = Credits(routes.iter().map(|route| route.fee.0).sum());
            MultiRoute { routes, total_fee, age_ms: 0 }
        };
        let answer = routes.map(|routes| routes.into_iter().map(multi).collect());
        let (now, rng) = (self.lab.now, &mut self.lab.rng);
        self.lab.funder.handle_routes(now, rng, asker, answer);
        self.lab.pump();
    }

    fn find(&mut self, routes: Vec<Route>) {
        self.answer(RoutesFor::Payment(self.id), Ok(vec![routes]));
    }

    /// The one request that a friend got.
    fn sent(&mut self, friend: usize) -> Request {
        match self.lab.got_one(friend) {
            FriendOp::Request(request) => request,
            other => panic!("{other:?}"),
        }
    }

    /// Orders 100 over three friends, and gives what they got.
    fn three(&mut self) -> [Request; 3] {
        let request = self.request(100, Some(6));
        self.order(request);
        let query = self.query();
        assert_eq!((query.amount, query.max_parts), (Credits(100), 8));
        self.find(vec![self.over(0, 50, 1), self.over(1, 30, 2), self.over(2, 20, 3)]);
        [self.sent(0), self.sent(1), self.sent(2)]
    }

    fn respond(&mut self, friend: usize, request: &Request, complete: bool) {
        self.respond_under(friend, request, complete, self.dest_lock);
    }

    fn respond_under(&mut self, friend: usize, request: &Request, complete: bool, lock: PlainLock) {
        let response = response_by(&self.receiver, request, &lock, complete, &credit());
        self.lab.send(friend, &[FriendOp::Response(response)]);
    }

    fn status(&mut self) -> Option<PaymentStatus> {
        match self.lab.replies.remove(&self.order)? {
            Ok(AppReply::Payment(report)) => Some(report.status),
            other => panic!("{other:?}"),
        }
    }

    fn phase(&self) -> Option<Phase> {
        let state = self.lab.funder.state();
        state.payments.get(&self.id).map(|row| row.phase.clone())
    }

    /// The lock that a friend got with its commit.
    fn committed(&mut self, friend: usize) -> PlainLock {
        match self.lab.got_one(friend) {
            FriendOp::Commit(commit) => commit.src_plain_lock,
            other => panic!("{other:?}"),
        }
    }

    fn nothing_sent(&mut self) {
        for friend in 0..self.lab.puppets.len() {
            assert_eq!(self.lab.got(friend), [], "to {friend}");
        }
    }

    fn released(&mut self, friend: usize) {
        assert!(matches!(self.lab.got_one(friend), FriendOp::Release(_)), "{friend}");
    }

    fn restart(&mut self) {
        self.lab.restart();
        for friend in 0..self.lab.puppets.len() {
            self.lab.connect(friend);
        }
        // Who waits for the answer asks again.
        let request = self.request(100, Some(6));
        self.order(request);
    }
}

#[test]
fn three_parts_one_commit_one_receipt() {
    // The node is started again before one of the steps, or never.
    for restart in 0..=5 {
        let mut shop = Shop::new(3);
        let sent = shop.three();
        let mut at = 0;
        let mut step = |shop: &mut Shop| {
            at += 1;
            if at == restart {
                shop.restart();
            }
        };
        let locks: BTreeSet<_> = sent.iter().map(|request| request.src_hashed_lock).collect();
        assert_eq!(locks.len(), 1, "one lock");
        let ids: BTreeSet<_> = sent.iter().map(|request| request.request_id).collect();
        assert_eq!(ids.len(), 3);
        let parts = sent.each_ref().map(|request| (request.dest_payment.0, request.left_fees.0));
        assert_eq!(parts, [(50, 1), (30, 2), (20, 3)]);
        assert!(sent.iter().all(|request| request.total_dest_payment == Credits(100)));
        step(&mut shop);
        // The complete answer may come first: it is the last that counts.
        shop.respond(1, &sent[1], true);
        step(&mut shop);
        shop.respond(0, &sent[0], false);
        shop.nothing_sent();
        step(&mut shop);
        shop.respond(2, &sent[2], false);
        let lock = shop.committed(0);
        assert_eq!(lock.hashed(), sent[0].src_hashed_lock);
        assert_eq!((shop.committed(1), shop.committed(2)), (lock, lock));
        step(&mut shop);
        assert_eq!((shop.status(), shop.phase()), (None, Some(Phase::Committed)));
        if restart == 4 {
            shop.restart();
        }
        shop.lab.send(2, &[collect(&sent[2], lock, shop.dest_lock)]);
        let Some(PaymentStatus::Succeeded { receipt, fee }) = shop.status() else { panic!() };
        assert_eq!((fee, receipt.dest_payment), (Credits(6), Credits(30)), "of the complete part");
        assert!(receipt.is_complete);
        assert_eq!(receipt.total_dest_payment, Credits(100));
        // The rest is still to be collected: the row stays.
        assert!(matches!(shop.phase(), Some(Phase::Succeeded { .. })));
        step(&mut shop);
        for friend in [0, 1] {
            shop.lab.send(friend, &[collect(&sent[friend], lock, shop.dest_lock)]);
        }
        assert_eq!(shop.phase(), None);
        let balances = [0, 1, 2].map(|friend| shop.lab.balance(friend));
        assert_eq!(balances, [-51, -32, -23]);
        assert_eq!([0, 1, 2].map(|friend| shop.lab.frozen(friend)), [(0, 0); 3]);
        // Every part is in the books with its share, those that came after the end too.
        let entries = shop.lab.books.of(|event| matches!(event, HistoryEvent::Paid { .. }));
        let parts: Vec<_> = entries.iter().map(|entry| part_of(&shop, entry)).collect();
        assert_eq!(parts, [(-23, 20, 3), (-51, 50, 1), (-32, 30, 2)]);
    }
}

/// Change, amount and fee of a part that was paid.
fn part_of(shop: &Shop, entry: &HistoryEntry) -> (i128, u128, u128) {
    let HistoryEvent::Paid { payment_id, destination, amount, fee, note, .. } = &entry.event else {
        panic!("{entry:?}")
    };
    assert_eq!((*payment_id, *destination), (shop.id, shop.receiver.public_key()));
    assert_eq!(note.as_str(), "for the bicycle", "whenever it was collected");
    (entry.delta.get(), amount.0, fee.0)
}

/// Which part is answered, whether as complete, and the byte of the lock it is answered under.
type Answered = (usize, bool, u8);

#[test]
fn a_receiver_that_contradicts_itself_is_never_paid() {
    // Who answers with complete and under which lock, in order; the answer that gives it away.
    let cases: [(&[Answered], &str); 5] = [
        (&[(0, true, 9), (1, true, 9)], "two complete answers"),
        (&[(0, false, 9), (1, true, 8)], "another lock"),
        (&[(0, true, 9), (1, false, 8)], "another lock after the complete answer"),
        (&[(0, false, 9), (1, false, 9), (2, false, 9)], "none is complete"),
        (&[(0, true, 9), (1, false, 9), (2, true, 9)], "two, the second last"),
    ];
    for (answers, what) in cases {
        let mut shop = Shop::new(3);
        let sent = shop.three();
        for (friend, complete, lock) in answers {
            let lock = PlainLock::from_bytes([*lock; 32]);
            shop.respond_under(*friend, &sent[*friend], *complete, lock);
        }
        let reporter = Some(shop.receiver.public_key());
        let failure = PaymentFailure::Refused { reason: CancelReason::Declined, reporter };
        assert_eq!(shop.status(), Some(PaymentStatus::Failed(failure)), "{what}");
        for friend in 0..3 {
            shop.released(friend);
        }
        // Answers after the release change nothing, and everything comes back in one round trip.
        for (friend, sent) in sent.iter().enumerate() {
            if !answers.iter().any(|(answered, ..)| *answered == friend) {
                shop.respond(friend, sent, true);
            }
            shop.lab.send(friend, &[cancel(sent, CancelReason::Released, reporter)]);
            assert_eq!((shop.lab.got(friend), shop.lab.frozen(friend)), (Vec::new(), (0, 0)));
        }
        assert_eq!(shop.phase(), None, "{what}: nothing is left");
    }
}

#[test]
fn a_sum_that_is_too_small_is_not_committed() {
    // The receiver calls it complete while a part is still under way, which then comes back.
    let mut shop = Shop::new(3);
    let sent = shop.three();
    shop.respond(0, &sent[0], true);
    shop.respond(1, &sent[1], false);
    let hop = Some(shop.lab.puppets[2].key());
    shop.lab.send(2, &[cancel(&sent[2], CancelReason::NoRoom, hop)]);
    shop.nothing_sent();
    assert_eq!(shop.query().amount, Credits(20));
    shop.find(vec![shop.over(1, 20, 0)]);
    let again = shop.sent(1);
    assert_eq!(again.src_hashed_lock, sent[0].src_hashed_lock);
    shop.respond(1, &again, false);
    let lock = shop.committed(0);
    let commits = shop.lab.got(1);
    assert_eq!(commits.len(), 2, "one for each part");
    shop.lab.send(1, &[collect(&again, lock, shop.dest_lock)]);
    let Some(PaymentStatus::Succeeded { fee, .. }) = shop.status() else { panic!() };
    assert_eq!(fee, Credits(3), "the part that came back costs nothing");
}

#[test]
fn what_comes_back_is_replaced_under_the_same_lock_around_the_failing_edge() {
    let mut shop = Shop::new(4);
    let sent = shop.three();
    let (mediator, receiver) = (shop.lab.puppets[0].key(), shop.receiver.public_key());
    // Half of the parts, by hostile or unlucky mediators.
    for friend in [0, 1] {
        let hop = Some(shop.lab.puppets[friend].key());
        shop.lab.send(friend, &[cancel(&sent[friend], CancelReason::Offline, hop)]);
    }
    let query = shop.query();
    assert_eq!((query.amount, query.max_parts), (Credits(50), 6), "asked at the first one");
    assert_eq!(query.exclude, [Edge { from: mediator, to: receiver }]);
    // By now more is missing: the answer does not fit, and the question is asked again.
    shop.find(vec![shop.over(3, 50, 0)]);
    let query = shop.query();
    assert_eq!((query.amount, query.max_parts, query.exclude.len()), (Credits(80), 7, 2));
    // A way over what failed is not taken; nor one that costs more than is left of 6.
    shop.find(vec![shop.over(0, 80, 0)]);
    shop.nothing_sent();
    shop.lab.pass(250);
    assert!(shop.asked().is_some());
    shop.find(vec![shop.over(3, 80, 4)]);
    shop.nothing_sent();
    shop.lab.pass(250);
    assert!(shop.asked().is_some());
    shop.find(vec![shop.over(3, 80, 3)]);
    let again = shop.sent(3);
    assert_eq!(again.src_hashed_lock, sent[0].src_hashed_lock);
    shop.respond(2, &sent[2], false);
    shop.respond(3, &again, true);
    shop.committed(2);
    let lock = shop.committed(3);
    shop.lab.send(3, &[collect(&again, lock, shop.dest_lock)]);
    let Some(PaymentStatus::Succeeded { fee, .. }) = shop.status() else { panic!() };
    assert_eq!(fee, Credits(6));
}

#[test]
fn without_a_replacement_everything_is_released() {
    let mut shop = Shop::new(3);
    let sent = shop.three();
    shop.respond(0, &sent[0], false);
    let hop = Some(shop.lab.puppets[1].key());
    shop.lab.send(1, &[cancel(&sent[1], CancelReason::NoRoom, hop)]);
    let mut status = None;
    while status.is_none() {
        if let Some((asker, _)) = shop.asked() {
            shop.answer(asker, Ok(Vec::new()));
        }
        shop.lab.pass(250);
        status = shop.status();
    }
    let failure = PaymentFailure::Refused { reason: CancelReason::NoRoom, reporter: hop };
    assert_eq!(status, Some(PaymentStatus::Failed(failure)));
    for friend in [0, 2] {
        shop.released(friend);
        shop.lab.send(friend, &[cancel(&sent[friend], CancelReason::Released, None)]);
        assert_eq!(shop.lab.frozen(friend), (0, 0));
    }
    assert_eq!(shop.phase(), None);
}

#[test]
fn a_set_that_falls_is_tried_again_under_another_lock() {
    let mut shop = Shop::new(3);
    let sent = shop.three();
    shop.respond(0, &sent[0], false);
    shop.lab.send(0, &[cancel(&sent[0], CancelReason::Released, None)]);
    shop.released(1);
    shop.released(2);
    for friend in [1, 2] {
        shop.lab.send(friend, &[cancel(&sent[friend], CancelReason::Released, None)]);
    }
    shop.lab.pass(250);
    assert_eq!(shop.query().amount, Credits(100));
    shop.find(vec![shop.over(0, 60, 0), shop.over(1, 40, 0)]);
    let again = [shop.sent(0), shop.sent(1)];
    assert_ne!(again[0].src_hashed_lock, sent[0].src_hashed_lock);
    shop.respond(0, &again[0], false);
    shop.respond(1, &again[1], true);
    shop.committed(0);
    shop.committed(1);
}

#[test]
fn a_part_that_hangs_ends_its_attempt_for_ever() {
    for restart in [false, true] {
        let mut shop = Shop::new(4);
        let sent = shop.three();
        shop.respond(0, &sent[0], false);
        shop.respond(1, &sent[1], false);
        shop.lab.pass(5_000);
        if restart {
            // Friends need the time anew.
            shop.restart();
            shop.lab.pass(5_000);
            shop.nothing_sent();
            shop.lab.pass(5_000);
        } else {
            shop.lab.pass(5_000);
        }
        for friend in 0..3 {
            shop.released(friend);
        }
        for friend in [0, 1] {
            shop.lab.send(friend, &[cancel(&sent[friend], CancelReason::Released, None)]);
        }
        shop.lab.pass(250);
        let query = shop.query();
        let suspect = Edge { from: shop.lab.key(), to: shop.lab.puppets[2].key() };
        assert_eq!(query.exclude, [suspect], "not the receiver's own line");
        shop.find(vec![shop.over(3, 100, 1)]);
        let again = shop.sent(3);
        assert_ne!(again.src_hashed_lock, sent[0].src_hashed_lock);
        // What hangs stays frozen, and an answer of it changes nothing.
        assert_eq!(shop.lab.frozen(2), (23, 0));
        shop.respond(2, &sent[2], true);
        shop.nothing_sent();
        shop.respond(3, &again, true);
        let lock = shop.committed(3);
        shop.lab.send(3, &[collect(&again, lock, shop.dest_lock)]);
        assert!(matches!(shop.status(), Some(PaymentStatus::Succeeded { .. })));
        assert!(shop.phase().is_some(), "something of it is pending");
        shop.lab.send(2, &[cancel(&sent[2], CancelReason::Released, None)]);
        assert_eq!((shop.phase(), shop.lab.frozen(2)), (None, (0, 0)));
    }
}

#[test]
fn committed_parts_that_come_back() {
    // All of them: the receiver gave it back. Some: it was content with less.
    for all in [true, false] {
        let mut shop = Shop::new(3);
        let sent = shop.three();
        for (friend, sent) in sent.iter().enumerate() {
            shop.respond(friend, sent, friend == 2);
        }
        let lock = [0, 1, 2].map(|friend| shop.committed(friend))[0];
        for friend in [0, 1] {
            shop.lab.send(friend, &[cancel(&sent[friend], CancelReason::AlreadyPaid, None)]);
        }
        assert_eq!(shop.status(), None);
        if all {
            shop.lab.send(2, &[cancel(&sent[2], CancelReason::AlreadyPaid, None)]);
            assert_eq!(shop.status(), Some(PaymentStatus::Cancelled));
        } else {
            shop.lab.send(2, &[collect(&sent[2], lock, shop.dest_lock)]);
            let Some(PaymentStatus::Succeeded { fee, .. }) = shop.status() else { panic!() };
            assert_eq!(fee, Credits(3), "of the one part");
        }
        assert_eq!(shop.phase(), None);
        assert_eq!(asked_again(&mut shop), None, "never retried");
    }
}

fn asked_again(shop: &mut Shop) -> Option<RouteQuery> {
    shop.lab.pass(60_000);
    shop.asked().map(|(_, query)| query)
}

#[test]
fn routes_are_checked_together() {
    type Ways = fn(&Shop) -> Vec<Route>;
    let cases: [(&str, Ways); 7] = [
        ("too little", |shop| vec![shop.over(0, 50, 0), shop.over(1, 49, 0)]),
        ("too much", |shop| vec![shop.over(0, 50, 0), shop.over(1, 51, 0)]),
        ("nothing on one", |shop| vec![shop.over(0, 100, 0), shop.over(1, 0, 0)]),
        ("too dear together", |shop| vec![shop.over(0, 50, 4), shop.over(1, 50, 3)]),
        ("a sum beyond all numbers", |shop| vec![shop.over(0, u128::MAX, 1), shop.over(1, 1, 0)]),
        ("no room for both on one line", |shop| {
            vec![shop.over(0, 50, 0), shop.over(0, 50, LIMIT - 99)]
        }),
        ("too many parts", |shop| (0..9).map(|n| shop.over(0, 11 + n / 8, 0)).collect()),
    ];
    for (what, ways) in cases {
        let mut shop = Shop::new(2);
        let request = shop.request(100, (what != "no room for both on one line").then_some(6));
        shop.order(request);
        shop.query();
        let ways = ways(&shop);
        shop.find(ways);
        shop.nothing_sent();
        assert_eq!(shop.phase(), Some(Phase::Routing), "{what}");
        // The next of several answers is taken.
        shop.lab.pass(250);
        let (asker, _) = shop.asked().unwrap();
        let answers =
            vec![vec![shop.over(0, 99, 0)], vec![shop.over(0, 99, 0), shop.over(1, 1, 6)]];
        shop.answer(asker, Ok(answers));
        assert_eq!(shop.phase(), Some(Phase::Requesting), "{what}");
    }
}

#[test]
fn our_own_line_to_the_receiver_carries_what_it_can() {
    let mut shop = Shop::new(2);
    shop.receiver = shop.lab.puppets[0].identity.clone();
    let receiver = shop.lab.puppets[0].key();
    let request = shop.request(LIMIT + 200, None);
    shop.order(request);
    let query = shop.query();
    let direct = Edge { from: shop.lab.key(), to: receiver };
    assert_eq!((query.amount, query.max_parts), (Credits(200), 7));
    assert_eq!(query.exclude, [direct]);
    shop.find(vec![shop.over(1, 200, 5)]);
    let sent = [shop.sent(0), shop.sent(1)];
    assert_eq!(sent.each_ref().map(|request| request.dest_payment.0), [LIMIT, 200]);
    assert!(sent[0].route.is_empty() && sent[0].left_fees == Credits(0));
    shop.respond(0, &sent[0], false);
    shop.respond(1, &sent[1], true);
    let lock = shop.committed(1);
    shop.lab.send(1, &[collect(&sent[1], lock, shop.dest_lock)]);
    let Some(PaymentStatus::Succeeded { fee, .. }) = shop.status() else { panic!() };
    assert_eq!(fee, Credits(5));
    // With one part allowed, there is nothing to share.
    shop.id = PaymentId::from_bytes([2; 16]);
    let mut request = shop.request(100, None);
    request.max_parts = Some(1);
    shop.order(request);
    assert_eq!(shop.query().amount, Credits(100));
}

#[test]
fn how_many_parts_is_checked() {
    for (max_parts, ok) in [(0, false), (1, true), (16, true), (17, false)] {
        let mut shop = Shop::new(1);
        let request = PayRequest { max_parts: Some(max_parts), ..shop.request(1, None) };
        shop.order(request);
        assert_eq!(shop.phase().is_some(), ok, "{max_parts}");
    }
}

/// Asks and answers until the node knows; the ways carry `most`, at a fee of 1 each 50.
fn ask(shop: &mut Shop, command: Command, most: u128) -> (Result<AppReply, String>, usize) {
    let order = shop.lab.order(command);
    let mut questions = 0;
    loop {
        if let Some(reply) = shop.lab.replies.remove(&order) {
            return (reply.map_err(|error| error.message.to_string()), questions);
        }
        let (asker, query) = shop.asked().expect("a question");
        assert!(matches!(asker, RoutesFor::Inquiry(_)));
        questions += 1;
        let way = Route {
            keys: vec![query.source, shop.lab.puppets[0].key(), query.destination],
            amount: query.amount,
            fee: Credits(query.amount.0 / 50),
        };
        let routes = if query.amount.0 <= most { vec![vec![way]] } else { Vec::new() };
        shop.answer(asker, Ok(routes));
    }
}

fn quote(shop: &mut Shop, amount: u128, max_fee: Option<u128>) -> Result<u128, PaymentFailure> {
    let request = Box::new(shop.request(amount, max_fee));
    match ask(shop, Command::Quote(request), 300).0 {
        Ok(AppReply::Quote(quote)) => {
            let QuoteReport { amount: quoted, ways, .. } = *quote;
            assert_eq!(quoted, Credits(amount));
            ways.map(|ways| {
                assert_eq!(ways.routes.iter().map(|route| route.amount.0).sum::<u128>(), amount);
                ways.total_fee.0
            })
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_quote_says_what_a_payment_would() {
    let mut shop = Shop::new(1);
    assert_eq!(quote(&mut shop, 300, None), Ok(6));
    assert_eq!(quote(&mut shop, 300, Some(6)), Ok(6));
    let too_dear = PaymentFailure::FeeTooHigh { fee: Credits(6) };
    assert_eq!(quote(&mut shop, 300, Some(5)), Err(too_dear));
    let most = match quote(&mut shop, 400, None) {
        Err(PaymentFailure::NoCapacity { available }) => available.0,
        other => panic!("{other:?}"),
    };
    assert!((290..=300).contains(&most), "{most}");
    let no_room = PaymentFailure::NoRoom { available: Credits(LIMIT) };
    assert_eq!(quote(&mut shop, LIMIT + 1, None), Err(no_room));
    // To a friend it costs nothing and needs no index server.
    let receiver = shop.receiver.clone();
    shop.receiver = shop.lab.puppets[0].identity.clone();
    assert_eq!(quote(&mut shop, LIMIT, None), Ok(0));
    shop.receiver = receiver;
    shop.lab.disconnect(0);
    assert_eq!(quote(&mut shop, 1, None), Err(PaymentFailure::NoLine(NoLine::Offline)));
    // Nothing was ordered, nothing is remembered.
    assert!(shop.lab.funder.state().payments.is_empty() && shop.lab.archive.is_empty());
    shop.nothing_sent();
    let nothing = Box::new(shop.request(0, None));
    assert!(ask(&mut shop, Command::Quote(nothing), 0).0.is_err());
}

#[test]
fn a_quote_without_an_index_server_says_so() {
    let mut shop = Shop::new(1);
    let request = Box::new(shop.request(5, None));
    let order = shop.lab.order(Command::Quote(request));
    let (asker, _) = shop.asked().unwrap();
    shop.answer(asker, Err(RoutesError::NotConnected));
    let Ok(AppReply::Quote(quote)) = shop.lab.replies.remove(&order).unwrap() else { panic!() };
    assert_eq!(quote.ways, Err(PaymentFailure::NoIndexServer));
    // An app that is gone is not answered.
    let request = Box::new(shop.request(5, None));
    let order = shop.lab.order(Command::Quote(request));
    let (asker, _) = shop.asked().unwrap();
    shop.lab.funder.handle_app_gone(offset_funder::api::AppId(1));
    shop.answer(asker, Ok(Vec::new()));
    assert!(!shop.lab.replies.contains_key(&order) && shop.asked().is_none());
}

#[test]
fn how_much_the_ways_carry_is_found_by_halving() {
    for receive in [false, true] {
        let mut shop = Shop::new(2);
        let peer = shop.receiver.public_key();
        let command = || Command::Capacity { currency: None, peer, receive };
        for (most, expected) in [(5_000, 2 * LIMIT), (300, 300), (1, 1), (0, 0)] {
            // One line carries a thousand; routes over it that cost fees, less.
            let expected = if receive { expected } else { expected.min(LIMIT * 50 / 51 + 1) };
            let (reply, questions) = ask(&mut shop, command(), most);
            assert_eq!(reply, Ok(AppReply::Capacity(Credits(expected))), "{most} {receive}");
            assert!(questions <= 32, "{questions}");
        }
        shop.lab.disconnect(0);
        shop.lab.disconnect(1);
        let (reply, questions) = ask(&mut shop, command(), 300);
        assert_eq!((reply, questions), (Ok(AppReply::Capacity(Credits(0))), 0));
    }
}

/// The answer does not depend on how much more than the ways the own lines carry.
#[test]
fn what_little_ways_carry_is_found_from_the_widest_line() {
    const WIDEST: u128 = Credits::LIMIT.0;
    for (most, expected) in [
        (0, 0),
        (1, 1),
        (2, 2),
        (937, 937),
        (1_000, 1_000),
        (1_023, 1_023),
        (1_024, 1_024),
        (7_999_999, 7_999_999),
    ] {
        let mut shop = Shop::new(1);
        widen(&mut shop, WIDEST);
        let peer = shop.receiver.public_key();
        for receive in [false, true] {
            let command = Command::Capacity { currency: None, peer, receive };
            let (reply, questions) = ask(&mut shop, command, most);
            assert_eq!(reply, Ok(AppReply::Capacity(Credits(expected))), "{receive}");
            assert!(questions <= 32, "{questions} for {most}");
        }
        if most <= 1_024 {
            let failure = match expected {
                0 => PaymentFailure::NoRoute,
                expected => PaymentFailure::NoCapacity { available: Credits(expected) },
            };
            for amount in [5_000, 1_000_000_000_000, WIDEST / 2] {
                let request = Box::new(shop.request(amount, None));
                let (reply, questions) = ask(&mut shop, Command::Quote(request), most);
                let Ok(AppReply::Quote(quote)) = reply else { panic!("{reply:?}") };
                assert_eq!(quote.ways.as_ref().unwrap_err(), &failure, "{amount}");
                // And the first, whether all of it goes.
                assert!(questions <= 21, "{questions} for {amount}");
            }
        }
    }
}

/// Sets the line with the one friend to carry this much each way.
fn widen(shop: &mut Shop, limit: u128) {
    let (friend, max_debt) = (friend_name(0), Credits(limit));
    shop.lab.set(ConfigRequest::SetMaxDebt { friend, currency: None, max_debt });
    shop.lab.send_all(0, &[terms(&credit(), 0, limit, true)], &[]);
}

#[test]
fn a_payment_without_a_way_says_how_much_would_find_one() {
    for (most, expected) in
        [(0, PaymentFailure::NoRoute), (64, PaymentFailure::NoCapacity { available: Credits(64) })]
    {
        let mut shop = Shop::new(1);
        let request = shop.request(100, None);
        shop.order(request);
        let mut status = None;
        while status.is_none() {
            if let Some((asker, query)) = shop.asked() {
                let ways = vec![vec![shop.over(0, query.amount.0, 0)]];
                let ways = if query.amount.0 <= most { ways } else { Vec::new() };
                shop.answer(asker, Ok(ways));
            } else {
                shop.lab.pass(250);
            }
            status = shop.status();
        }
        assert_eq!(status, Some(PaymentStatus::Failed(expected)));
        shop.nothing_sent();
    }
}
