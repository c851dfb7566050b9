//! The buyer (protocol, sections 6.5 and 7), between sellers, mediators and an index server made by
//! hand.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, and picks out what it looks at"
)]

mod support;

use offset_crypto::{Identity, PaymentId, PlainLock, PublicKey, SeededRng};
use offset_funder::{
    api::{Command, Effect, RoutesError, RoutesFor},
    state::Phase,
};
use offset_proto::{
    Credits, Timestamp,
    app::{
        AppError, AppReply, ErrorCode, NoLine, PayRequest, PaymentFailure, PaymentStatus,
        PaymentTarget,
    },
    friend::{CancelReason, FriendOp, Request},
    index::{Edge, MultiRoute, Route, RouteQuery},
    payment::Invoice,
};
use support::{
    credit,
    lab::{LIMIT, Lab, cancel, collect},
    puppet::response_by,
};

fn key(n: u64) -> PublicKey {
    Identity::random(&mut SeededRng::new(n)).public_key()
}

fn dest_lock() -> PlainLock {
    PlainLock::from_bytes([9; 32])
}

fn request(lab: &mut Lab, destination: PublicKey, amount: u128) -> PayRequest {
    PayRequest {
        payment_id: PaymentId::random(&mut lab.rng),
        target: PaymentTarget::Spontaneous { destination, amount: Credits(amount), currency: None },
        max_fee: None,
        deadline_ms: None,
        note: "".parse().unwrap(),
        max_parts: None,
    }
}

fn order(lab: &mut Lab, request: &PayRequest) -> u64 {
    let ended = lab.archive.get(&request.payment_id).cloned().map(Box::new);
    lab.order(Command::Pay { request: Box::new(request.clone()), ended, payer: None })
}

/// The answer to an order, if it has come.
fn answer(lab: &mut Lab, order: u64) -> Option<Result<PaymentStatus, ErrorCode>> {
    let reply = lab.replies.remove(&order)?;
    Some(match reply {
        Ok(AppReply::Payment(report)) => Ok(report.status),
        Ok(other) => panic!("{other:?}"),
        Err(AppError { code, .. }) => Err(code),
    })
}

fn failure(lab: &mut Lab, order: u64) -> PaymentFailure {
    match answer(lab, order) {
        Some(Ok(PaymentStatus::Failed(failure))) => failure,
        other => panic!("{other:?}"),
    }
}

fn sent_request(lab: &mut Lab, at: usize) -> Request {
    match lab.got_one(at) {
        FriendOp::Request(request) => request,
        other => panic!("{other:?}"),
    }
}

/// The seller, a friend, answers, and collects what was committed.
fn answer_request(lab: &mut Lab, at: usize, request: &Request) {
    let identity = lab.puppets[at].identity.clone();
    let response = response_by(&identity, request, &dest_lock(), true, &credit());
    lab.send(at, &[FriendOp::Response(response)]);
}

fn collect_committed(lab: &mut Lab, at: usize, request: &Request) {
    match lab.got_one(at) {
        FriendOp::Commit(commit) => {
            lab.send(at, &[collect(request, commit.src_plain_lock, dest_lock())]);
        }
        other => panic!("{other:?}"),
    }
}

/// What the index server is asked for payments, the last time. How much of one would find a way, it
/// does not know.
fn asked(lab: &mut Lab) -> Option<(PaymentId, RouteQuery)> {
    let inquiry = lab.effects.iter().find_map(|effect| match effect {
        Effect::FindRoutes { asker: asker @ RoutesFor::Inquiry(_), .. } => Some(*asker),
        _ => None,
    });
    if let Some(asker) = inquiry {
        lab.effects.clear();
        lab.funder.handle_routes(lab.now, &mut lab.rng, asker, Ok(Vec::new()));
        lab.pump();
        return asked(lab);
    }
    let asked = lab.effects.drain(..).filter_map(|effect| match effect {
        Effect::FindRoutes { asker: RoutesFor::Payment(id), query } => Some((id, query)),
        _ => None,
    });
    asked.fold(None, |_, last| Some(last))
}

fn routes(lab: &mut Lab, id: PaymentId, answer: Result<Vec<Route>, RoutesError>) {
    let multi = |route: Route| {
        let total_fee = route.fee;
        MultiRoute { routes: vec![route], total_fee, age_ms: 0 }
    };
    let answer = answer.map(|routes| routes.into_iter().map(multi).collect());
    lab.funder.handle_routes(lab.now, &mut lab.rng, RoutesFor::Payment(id), answer);
    lab.pump();
}

fn route(lab: &Lab, keys: &[PublicKey], fee: u128) -> Route {
    let keys = std::iter::once(lab.key()).chain(keys.iter().copied()).collect();
    Route { keys, amount: Credits(100), fee: Credits(fee) }
}

#[test]
fn a_direct_payment_succeeds_with_a_receipt() {
    let mut lab = Lab::new(1);
    let (seller, now) = (lab.puppets[0].key(), lab.now);
    let invoice = Invoice {
        registered: true,
        currency: credit(),
        dest_public_key: seller,
        dest_payment: Credits(100),
        description: "".parse().unwrap(),
        created_at: now,
        expires_at: now.plus_ms(60_000),
        hold_until: None,
        nonce: offset_crypto::Nonce::random(&mut lab.rng),
    };
    let mut order_it = request(&mut lab, seller, 100);
    order_it.target = PaymentTarget::Invoice(Box::new(invoice.clone()));
    let first = order(&mut lab, &order_it);
    let sent = sent_request(&mut lab, 0);
    assert!(!sent.spontaneous && sent.left_fees == Credits(0) && sent.route.is_empty());
    assert_eq!(lab.frozen(0), (100, 0));
    // Asked again while it runs, and with other contents.
    let second = order(&mut lab, &order_it);
    let other = PayRequest { max_fee: Some(Credits(1)), ..order_it.clone() };
    let third = order(&mut lab, &other);
    assert_eq!(answer(&mut lab, third), Some(Err(ErrorCode::AlreadyExists)));
    answer_request(&mut lab, 0, &sent);
    assert_eq!((answer(&mut lab, first), answer(&mut lab, second)), (None, None));
    lab.restart();
    lab.connect(0);
    let fourth = order(&mut lab, &order_it);
    collect_committed(&mut lab, 0, &sent);
    let Some(Ok(PaymentStatus::Succeeded { receipt, fee })) = answer(&mut lab, fourth) else {
        panic!()
    };
    assert_eq!((receipt.verify(&invoice), fee), (Ok(()), Credits(0)));
    assert_eq!((lab.balance(0), lab.frozen(0)), (-100, (0, 0)));
    // After its end, also after a start, the same id gives the same answer and moves nothing.
    assert!(lab.funder.state().payments.is_empty());
    lab.restart();
    let again = order(&mut lab, &order_it);
    let same = PaymentStatus::Succeeded { receipt, fee };
    assert_eq!(answer(&mut lab, again), Some(Ok(same)));
    let other = order(&mut lab, &other);
    assert_eq!(answer(&mut lab, other), Some(Err(ErrorCode::AlreadyExists)));
    assert_eq!(lab.got(0), []);
}

#[test]
fn orders_are_checked() {
    let mut lab = Lab::new(1);
    let seller = lab.puppets[0].key();
    let own = lab.key();
    for (destination, amount) in [(seller, 0), (seller, Credits::LIMIT.0 + 1), (own, 1)] {
        let request = request(&mut lab, destination, amount);
        let order = order(&mut lab, &request);
        assert_eq!(answer(&mut lab, order), Some(Err(ErrorCode::Invalid)), "{amount}");
    }
    let invoice = |lab: &Lab, created: u64, expires: u64, hold: Option<u64>| Invoice {
        registered: false,
        currency: credit(),
        dest_public_key: seller,
        dest_payment: Credits(1),
        description: "".parse().unwrap(),
        created_at: Timestamp(created),
        expires_at: Timestamp(expires),
        hold_until: hold.map(|hold| Timestamp(lab.now.0 + hold)),
        nonce: offset_crypto::Nonce::from_bytes([0; 16]),
    };
    let now = lab.now.0;
    for (created, expires, hold, ok) in [
        (now, now - 1, None, false),
        (now - 9, now - 1, None, false),
        (now, now + 9, Some(8), false),
        (now, now + 9, None, true),
    ] {
        let invoice = invoice(&lab, created, expires, hold);
        let mut request = request(&mut lab, seller, 1);
        request.target = PaymentTarget::Invoice(Box::new(invoice));
        let order = order(&mut lab, &request);
        let expected = (!ok).then_some(Err(ErrorCode::Invalid));
        assert_eq!(answer(&mut lab, order), expected);
    }
    assert!(sent_request(&mut lab, 0).spontaneous, "its node does not know such an invoice");
    lab.config.max_payments = 0;
    lab.restart();
    let refused = request(&mut lab, seller, 1);
    let order = order(&mut lab, &refused);
    assert_eq!(answer(&mut lab, order), Some(Err(ErrorCode::Busy)));
    let status = Command::PaymentStatus { payment_id: refused.payment_id, ended: None };
    assert_eq!(lab.ask(status).unwrap_err().code, ErrorCode::NotFound);
}

#[test]
fn every_way_to_fail_before_anything_is_sent() {
    // Nobody online; no room on any line; no index server; no route.
    let mut lab = Lab::new(1);
    lab.disconnect(0);
    let pay = request(&mut lab, key(1), 100);
    let number = order(&mut lab, &pay);
    lab.pass(2_999);
    assert_eq!(answer(&mut lab, number), None, "patience");
    lab.pass(1);
    assert_eq!(failure(&mut lab, number), PaymentFailure::NoLine(NoLine::Offline));
    for (max_parts, available) in [(1, LIMIT), (2, 2 * LIMIT), (8, 3 * LIMIT)] {
        let mut lab = Lab::new(3);
        let mut pay = request(&mut lab, key(1), available + 1);
        pay.max_parts = Some(max_parts);
        let number = order(&mut lab, &pay);
        let available = Credits(available);
        assert_eq!(failure(&mut lab, number), PaymentFailure::NoRoom { available }, "at once");
    }
    type Answer = fn(&Lab) -> Result<Vec<Route>, RoutesError>;
    let cases: [(Option<u128>, PaymentFailure, Answer); 8] = [
        (None, PaymentFailure::NoIndexServer, |_| Err(RoutesError::NotConnected)),
        (None, PaymentFailure::NoIndexServer, |_| Err(RoutesError::NoAnswer)),
        (None, PaymentFailure::NoRoute, |_| Ok(Vec::new())),
        (Some(4), PaymentFailure::FeeTooHigh { fee: Credits(5) }, |lab| {
            Ok(vec![route(lab, &[lab.puppets[0].key(), key(1)], 5)])
        }),
        // Routes that are none: elsewhere, over a stranger, with a key twice, too dear to fit.
        (None, PaymentFailure::NoRoute, |lab| {
            Ok(vec![route(lab, &[lab.puppets[0].key(), key(2)], 0)])
        }),
        (None, PaymentFailure::NoRoute, |lab| Ok(vec![route(lab, &[key(3), key(1)], 0)])),
        (None, PaymentFailure::NoRoute, |lab| {
            Ok(vec![route(lab, &[lab.puppets[0].key(), lab.key(), key(1)], 0)])
        }),
        (None, PaymentFailure::NoRoute, |lab| {
            Ok(vec![route(lab, &[lab.puppets[0].key(), key(1)], u128::MAX)])
        }),
    ];
    for (max_fee, expected, answers) in cases {
        let mut lab = Lab::new(1);
        let mut pay = request(&mut lab, key(1), 100);
        pay.max_fee = max_fee.map(Credits);
        let number = order(&mut lab, &pay);
        let began = lab.now;
        while answer_is_missing(&lab, number) {
            if let Some((id, query)) = asked(&mut lab) {
                assert_eq!((id, query.destination), (pay.payment_id, key(1)));
                let answers = answers(&lab);
                routes(&mut lab, id, answers);
            }
            lab.pass(50);
        }
        assert_eq!(failure(&mut lab, number), expected);
        assert!((2_900..3_500).contains(&lab.now.ms_since(began)), "tried for three seconds");
        assert_eq!(lab.got(0), []);
    }
}

fn answer_is_missing(lab: &Lab, number: u64) -> bool {
    !lab.replies.contains_key(&number)
}

#[test]
fn an_index_server_that_never_answers_does_not_hold_a_payment() {
    let mut lab = Lab::new(1);
    let pay = request(&mut lab, key(1), 100);
    let number = order(&mut lab, &pay);
    let (id, _) = asked(&mut lab).unwrap();
    lab.pass(30_000);
    assert_eq!(failure(&mut lab, number), PaymentFailure::Deadline);
    // Its answer comes when nobody waits for it.
    let late = route(&lab, &[lab.puppets[0].key(), key(1)], 0);
    routes(&mut lab, id, Ok(vec![late]));
    assert_eq!(lab.got(0), []);
}

#[test]
fn a_payment_in_routing_survives_a_start() {
    let mut lab = Lab::new(1);
    let seller = lab.puppets[0].key();
    lab.disconnect(0);
    let pay = request(&mut lab, seller, 100);
    order(&mut lab, &pay);
    lab.pass(2_000);
    lab.now = lab.now.plus_ms(5_000);
    lab.restart();
    lab.pass(1);
    let number = order(&mut lab, &pay);
    lab.connect(0);
    lab.pass(250);
    let sent = sent_request(&mut lab, 0);
    answer_request(&mut lab, 0, &sent);
    collect_committed(&mut lab, 0, &sent);
    assert!(matches!(answer(&mut lab, number), Some(Ok(PaymentStatus::Succeeded { .. }))));
}

#[test]
fn a_failing_edge_is_not_used_again() {
    // Reason and reporter (0 node, 1 mediator, 2 destination, 3 stranger), and the edge that the
    // next question excludes (by places on the route), or the payment's end.
    use CancelReason::{Busy, Declined, Expired, FeeTooLow, NoRoom, NoRoute, Offline};
    let cases = [
        (NoRoom, Some(1), Some((1, 2))),
        (Offline, Some(1), Some((1, 2))),
        (NoRoute, Some(1), Some((1, 2))),
        (Declined, Some(1), Some((1, 2))),
        (FeeTooLow, Some(1), Some((0, 1))),
        (NoRoom, Some(2), Some((1, 2))),
        (Offline, Some(3), Some((0, 1))),
        (Offline, None, Some((0, 1))),
        (Expired, Some(2), None),
        (CancelReason::UnknownInvoice, Some(2), None),
        (CancelReason::AlreadyPaid, Some(2), None),
    ];
    for (reason, reporter, edge) in cases {
        let mut lab = Lab::new(2);
        let pay = request(&mut lab, key(1), 100);
        let number = order(&mut lab, &pay);
        let (id, query) = asked(&mut lab).unwrap();
        assert!(query.exclude.is_empty() && query.max_parts == 8);
        let places = [lab.key(), lab.puppets[0].key(), key(1), key(5)];
        let way = route(&lab, &places[1..3], 3);
        routes(&mut lab, id, Ok(vec![way]));
        let sent = sent_request(&mut lab, 0);
        assert_eq!((sent.left_fees, &sent.route[..]), (Credits(3), &places[2..3]));
        let reporter = reporter.map(|at: usize| places[at]);
        lab.send(0, &[cancel(&sent, reason, reporter)]);
        match edge {
            Some((from, to)) => {
                let (_, query) = asked(&mut lab).unwrap();
                assert_eq!(query.exclude, [Edge { from: places[from], to: places[to] }]);
                // Another way, under another lock.
                let way = route(&lab, &[lab.puppets[1].key(), key(1)], 1);
                routes(&mut lab, id, Ok(vec![way]));
                let again = sent_request(&mut lab, 1);
                assert_ne!(again.src_hashed_lock, sent.src_hashed_lock);
                assert_eq!(lab.frozen(0), (0, 0));
                assert_eq!(answer(&mut lab, number), None);
            }
            None => {
                let expected = PaymentFailure::Refused { reason, reporter };
                assert_eq!(failure(&mut lab, number), expected);
                assert_eq!(asked(&mut lab), None);
            }
        }
    }
    // Busy excludes nothing: the node waits, and tries again until the deadline.
    let mut lab = Lab::new(1);
    let seller = lab.puppets[0].key();
    let pay = request(&mut lab, seller, 100);
    let number = order(&mut lab, &pay);
    let mut tries = 0;
    while answer_is_missing(&lab, number) {
        if let Some(FriendOp::Request(sent)) = lab.got(0).pop() {
            tries += 1;
            lab.send(0, &[cancel(&sent, Busy, Some(seller))]);
        }
        lab.pass(250);
    }
    let expected = PaymentFailure::Refused { reason: Busy, reporter: Some(seller) };
    assert_eq!(failure(&mut lab, number), expected);
    assert!(10 < tries, "{tries}");
}

#[test]
fn a_part_that_hangs_is_released_for_ever() {
    // The request is under way; or it waits for the token, and then never leaves.
    for waits in [false, true] {
        let mut lab = Lab::new(1);
        let seller = lab.puppets[0].key();
        lab.fetch_token(0);
        lab.puppets[0].silent = waits;
        let mut pay = request(&mut lab, seller, 100);
        pay.deadline_ms = Some(6_000);
        let number = order(&mut lab, &pay);
        let sent = (!waits).then(|| sent_request(&mut lab, 0));
        lab.pass(1_999);
        assert_eq!(lab.got(0), [], "a third of the time is patience");
        lab.pass(1);
        let silent = PaymentFailure::NoAnswer { friend: seller };
        while answer_is_missing(&lab, number) {
            if let Some((id, _)) = asked(&mut lab) {
                routes(&mut lab, id, Ok(Vec::new()));
            }
            lab.pass(250);
        }
        assert_eq!(failure(&mut lab, number), silent);
        let left = lab.funder.state().payments.contains_key(&pay.payment_id);
        assert_eq!(left, !waits, "kept as long as a part is pending");
        lab.puppets[0].silent = false;
        lab.fetch_token(0);
        match sent {
            None => assert_eq!((lab.got(0), lab.frozen(0)), (Vec::new(), (0, 0))),
            Some(sent) => {
                assert!(matches!(lab.got_one(0), FriendOp::Release(_)));
                // An answer that crossed the release changes nothing: the lock stays hidden.
                answer_request(&mut lab, 0, &sent);
                assert_eq!(lab.got(0), []);
                lab.send(0, &[cancel(&sent, CancelReason::Released, Some(seller))]);
                assert_eq!((lab.got(0), lab.frozen(0)), (Vec::new(), (0, 0)));
            }
        }
        let again = order(&mut lab, &pay);
        assert_eq!(failure(&mut lab, again), silent, "for ever");
        assert!(lab.funder.state().payments.is_empty());
    }
}

#[test]
fn an_invoice_that_expires_on_the_way_is_given_up() {
    let mut lab = Lab::new(1);
    let seller = lab.puppets[0].key();
    let invoice = Invoice {
        registered: true,
        currency: credit(),
        dest_public_key: seller,
        dest_payment: Credits(100),
        description: "".parse().unwrap(),
        created_at: lab.now,
        expires_at: lab.now.plus_ms(1_000),
        hold_until: None,
        nonce: offset_crypto::Nonce::from_bytes([0; 16]),
    };
    let mut pay = request(&mut lab, seller, 100);
    pay.target = PaymentTarget::Invoice(Box::new(invoice));
    let number = order(&mut lab, &pay);
    sent_request(&mut lab, 0);
    lab.pass(1_000);
    assert_eq!(failure(&mut lab, number), PaymentFailure::Expired);
}

#[test]
fn an_incomplete_answer_is_never_committed() {
    let mut lab = Lab::new(1);
    let seller = lab.puppets[0].key();
    let pay = request(&mut lab, seller, 100);
    let number = order(&mut lab, &pay);
    let sent = sent_request(&mut lab, 0);
    let response = response_by(&lab.puppets[0].identity, &sent, &dest_lock(), false, &credit());
    lab.send(0, &[FriendOp::Response(response)]);
    assert!(matches!(lab.got_one(0), FriendOp::Release(_)));
    assert!(matches!(failure(&mut lab, number), PaymentFailure::Refused { .. }));
}

#[test]
fn a_committed_payment_waits_and_may_be_cancelled_by_the_seller() {
    let mut lab = Lab::new(1);
    let seller = lab.puppets[0].key();
    let pay = request(&mut lab, seller, 100);
    let number = order(&mut lab, &pay);
    let sent = sent_request(&mut lab, 0);
    answer_request(&mut lab, 0, &sent);
    assert!(matches!(lab.got_one(0), FriendOp::Commit(_)));
    lab.pass(3_600_000);
    lab.restart();
    lab.connect(0);
    assert_eq!(lab.funder.state().payments[&pay.payment_id].phase, Phase::Committed);
    assert_eq!(answer(&mut lab, number), None);
    let waits = order(&mut lab, &pay);
    lab.send(0, &[cancel(&sent, CancelReason::AlreadyPaid, Some(seller))]);
    assert_eq!(answer(&mut lab, waits), Some(Ok(PaymentStatus::Cancelled)));
    assert_eq!((lab.balance(0), lab.frozen(0)), (0, (0, 0)));
    let again = order(&mut lab, &pay);
    assert_eq!(answer(&mut lab, again), Some(Ok(PaymentStatus::Cancelled)));
    assert_eq!(lab.got(0), [], "trying again is the user's decision, with a new id");
}

#[test]
fn a_friend_that_breaks_gives_back_what_never_left() {
    let mut lab = Lab::new(2);
    lab.fetch_token(0);
    lab.puppets[0].silent = true;
    let pay = request(&mut lab, key(1), 100);
    let number = order(&mut lab, &pay);
    let (id, _) = asked(&mut lab).unwrap();
    let way = route(&lab, &[lab.puppets[0].key(), key(1)], 0);
    routes(&mut lab, id, Ok(vec![way]));
    assert_eq!(lab.got(0), [], "waits for the token");
    lab.send_all(0, &[support::lab::disable(&"other".parse().unwrap())], &[]);
    assert!(lab.inconsistent(0).is_some());
    let (_, query) = asked(&mut lab).expect("another way at once");
    assert_eq!(query.exclude, [Edge { from: lab.key(), to: lab.puppets[0].key() }]);
    // Nothing else over that friend: its line counts no more.
    let way = route(&lab, &[lab.puppets[0].key(), key(1)], 0);
    routes(&mut lab, id, Ok(vec![way]));
    assert_eq!(lab.got(0), []);
    assert_eq!(answer(&mut lab, number), None);
    // What was forwarded over a channel that broke stays pending, and the app gone is forgotten.
    lab.funder.handle_app_gone(offset_funder::api::AppId(1));
    lab.pass(30_000);
    assert_eq!(answer(&mut lab, number), None, "nobody waits");
    assert!(matches!(lab.archive[&pay.payment_id].phase, Phase::Failed(_)));
}

#[test]
fn an_index_server_that_comes_back_within_patience_is_used() {
    let mut lab = Lab::new(1);
    let pay = request(&mut lab, key(1), 100);
    order(&mut lab, &pay);
    let (id, _) = asked(&mut lab).unwrap();
    routes(&mut lab, id, Err(RoutesError::NotConnected));
    lab.pass(250);
    let (id, _) = asked(&mut lab).expect("asked again");
    let way = route(&lab, &[lab.puppets[0].key(), key(1)], 0);
    routes(&mut lab, id, Ok(vec![way]));
    sent_request(&mut lab, 0);
}

#[test]
fn payments_of_one_id_and_node_have_one_invoice() {
    // The spontaneous invoice id is derived from the payment's, so that a repetition after a loss
    // of everything would be refused by the seller.
    let mut lab = Lab::new(1);
    let seller = lab.puppets[0].key();
    let pay = request(&mut lab, seller, 100);
    order(&mut lab, &pay);
    let first = sent_request(&mut lab, 0);
    let mut other = Lab::new(1);
    order(&mut other, &pay);
    assert_eq!(sent_request(&mut other, 0).invoice_id, first.invoice_id);
}

/// An answer and its end come in one token: nothing is committed, the payment goes on.
#[test]
fn an_answer_that_was_taken_back_in_its_own_token_is_not_committed() {
    let mut lab = Lab::new(1);
    let destination = lab.puppets[0].key();
    let request = request(&mut lab, destination, 100);
    let number = order(&mut lab, &request);
    let first = sent_request(&mut lab, 0);
    let identity = lab.puppets[0].identity.clone();
    let response = response_by(&identity, &first, &dest_lock(), true, &credit());
    let taken_back = cancel(&first, CancelReason::Busy, None);
    lab.send(0, &[FriendOp::Response(response), taken_back]);
    assert!(answer_is_missing(&lab, number));
    lab.pass(300);
    let second = sent_request(&mut lab, 0);
    assert_ne!(first.src_hashed_lock, second.src_hashed_lock, "another attempt");
    answer_request(&mut lab, 0, &second);
    collect_committed(&mut lab, 0, &second);
    assert!(matches!(answer(&mut lab, number), Some(Ok(PaymentStatus::Succeeded { .. }))));
}
