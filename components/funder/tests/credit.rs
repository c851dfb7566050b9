//! Mutual credit (protocol, section 6.0 to 6.8), operation by operation, from friends made by hand.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, and picks out what it looks at"
)]

mod support;

use offset_crypto::{Identity, PlainLock, PublicKey, RequestId, SeededRng};
use offset_funder::credit::InvalidOp;
use offset_proto::{
    Credits, Rate,
    app::ConfigRequest,
    friend::{CancelReason, FriendOp, Request, Response},
};
use support::{
    credit,
    lab::{LIMIT, Lab, cancel, collect, commit, friend_name, release},
    puppet::response_by,
    rows,
};

/// What happens before the operation under test.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum At {
    Unknown,
    Requested,
    Released,
    Responded,
    RespondedReleased,
    Committed,
}

/// The puppet has sent the node a request that the node passed on to the second puppet, who has
/// answered or not; gives the request as the first sent it, and the buyer's lock.
fn incoming(lab: &mut Lab, at: At) -> (Request, PlainLock) {
    let seller = lab.puppets[1].key();
    let (request, src) = lab.request(&[seller]);
    if at == At::Unknown {
        return (request, src);
    }
    lab.send(0, &[FriendOp::Request(request.clone())]);
    let FriendOp::Request(forwarded) = lab.got_one(1) else { panic!() };
    if at == At::Requested {
        return (request, src);
    }
    if at == At::Released {
        lab.send(0, &[release(&request)]);
        return (request, src);
    }
    let response = lab_response(lab, 1, &forwarded);
    lab.send(1, &[FriendOp::Response(response)]);
    assert!(matches!(lab.got_one(0), FriendOp::Response(_)));
    match at {
        At::RespondedReleased => lab.send(0, &[release(&request)]),
        At::Committed => lab.send(0, &[commit(&request, src)]),
        At::Unknown | At::Requested | At::Released | At::Responded => {}
    }
    (request, src)
}

fn dest_lock() -> PlainLock {
    PlainLock::from_bytes([9; 32])
}

fn lab_response(lab: &Lab, at: usize, request: &Request) -> Response {
    response_by(&lab.puppets[at].identity, request, &dest_lock(), true, &credit())
}

/// Expects that a token is refused as a whole for this reason, and changes nothing.
fn refused(lab: &mut Lab, at: usize, ops: &[FriendOp], why: &str, what: &str) {
    lab.fetch_token(at);
    let before = rows(lab.funder.state());
    let ops: Vec<_> = ops.iter().map(|op| (credit(), op.clone())).collect();
    let token = lab.puppets[at].compose(&[], &ops);
    lab.deliver(at, token);
    assert_eq!(lab.inconsistent(at).as_deref(), Some(why), "{what}");
    let key = format!("{:?}", lab.puppets[at].key());
    let changed: Vec<_> = rows(lab.funder.state()).difference(&before).cloned().collect();
    assert_eq!(changed.len(), 1, "{what}: {changed:?}");
    assert!(changed[0].starts_with(&key) && changed[0].contains("inconsistent: Some"), "{what}");
}

#[test]
fn forward_operations_fit_their_stages() {
    // Stage, whether a commit is allowed, whether a release is.
    let cases = [
        (At::Requested, false, true),
        (At::Released, false, false),
        (At::Responded, true, true),
        (At::RespondedReleased, false, false),
        (At::Committed, false, false),
    ];
    for (at, may_commit, may_release) in cases {
        for (allowed, is_commit) in [(may_commit, true), (may_release, false)] {
            let mut lab = Lab::new(2);
            let (request, src) = incoming(&mut lab, at);
            let op = if is_commit { commit(&request, src) } else { release(&request) };
            if allowed {
                lab.got(1);
                lab.send(0, &[op]);
                assert_eq!(lab.inconsistent(0), None, "{at:?}");
                let passed = lab.got_one(1);
                assert_eq!(matches!(passed, FriendOp::Commit(_)), is_commit, "passed on");
            } else {
                let why = InvalidOp::WrongStage.to_string();
                refused(&mut lab, 0, &[op], &why, &format!("{at:?} {is_commit}"));
            }
        }
    }
}

#[test]
fn backward_operations_fit_their_stages() {
    // The second puppet answers, collects or cancels what the node has passed on to it.
    for at in [At::Requested, At::Released, At::Responded, At::RespondedReleased, At::Committed] {
        let requested = at <= At::Released;
        for op in ["response", "collect", "cancel"] {
            let mut lab = Lab::new(2);
            let (_, src) = incoming(&mut lab, at);
            let pending = &lab.puppets[1].credit(&credit()).pending[1];
            let forwarded = pending.values().next().unwrap().request.clone();
            lab.got(0);
            let (op, allowed) = match op {
                "response" => (FriendOp::Response(lab_response(&lab, 1, &forwarded)), requested),
                "collect" => (collect(&forwarded, src, dest_lock()), !requested),
                _ => (cancel(&forwarded, CancelReason::Declined, None), true),
            };
            if allowed {
                lab.send(1, std::slice::from_ref(&op));
                assert_eq!(lab.inconsistent(1), None, "{at:?} {op:?}");
                let passed = lab.got_one(0);
                let same = std::mem::discriminant(&passed) == std::mem::discriminant(&op);
                assert!(same, "{at:?}: {op:?} passed up as {passed:?}");
                let clear = !matches!(op, FriendOp::Response(_));
                assert_eq!(lab.frozen(0) == (0, 0) && lab.frozen(1) == (0, 0), clear);
                let moved = if matches!(op, FriendOp::Collect(_)) { 100 } else { 0 };
                assert_eq!((lab.balance(0), lab.balance(1)), (moved, -moved));
            } else {
                let why = InvalidOp::WrongStage.to_string();
                refused(&mut lab, 1, &[op], &why, &format!("{at:?}"));
            }
        }
    }
}

#[test]
fn every_invalid_operation_makes_the_token_invalid() {
    type Case = (&'static str, InvalidOp, fn(&mut Lab) -> Vec<FriendOp>);
    fn request(lab: &mut Lab, change: impl FnOnce(&mut Request, PublicKey)) -> Vec<FriendOp> {
        let node = lab.key();
        let good = lab.request(&[]).0;
        let mut bad = lab.request(&[]).0;
        change(&mut bad, node);
        // A good one before it, which must leave no trace.
        vec![FriendOp::Request(good), FriendOp::Request(bad)]
    }
    let cases: [Case; 19] = [
        ("8,193 pending", InvalidOp::TooManyPending, |lab| {
            (0..8_193).map(|_| FriendOp::Request(lab.request(&[]).0)).collect()
        }),
        ("id twice", InvalidOp::DuplicateRequest, |lab| {
            let one = FriendOp::Request(lab.request(&[]).0);
            vec![one.clone(), one]
        }),
        ("nothing", InvalidOp::AmountOutOfRange, |lab| {
            request(lab, |r, _| r.dest_payment = Credits(0))
        }),
        ("more than the total", InvalidOp::AmountOutOfRange, |lab| {
            request(lab, |r, _| r.dest_payment = Credits(101))
        }),
        ("above the limit with fees", InvalidOp::AmountOutOfRange, |lab| {
            request(lab, |r, _| r.left_fees = Credits::LIMIT)
        }),
        ("overflow with fees", InvalidOp::AmountOutOfRange, |lab| {
            request(lab, |r, _| r.left_fees = Credits(u128::MAX))
        }),
        ("debts overflow", InvalidOp::Overflow, |lab| {
            request(lab, |r, _| {
                r.dest_payment = Credits::LIMIT;
                r.total_dest_payment = Credits::LIMIT;
            })
        }),
        ("route through its receiver", InvalidOp::BadRoute, |lab| {
            request(lab, |r, node| r.route = vec![node])
        }),
        ("route back to its receiver", InvalidOp::BadRoute, |lab| {
            request(lab, |r, node| {
                let key = Identity::random(&mut SeededRng::new(1)).public_key();
                r.route = vec![key, node];
            })
        }),
        ("route with a key twice", InvalidOp::BadRoute, |lab| {
            request(lab, |r, _| {
                let key = |n| Identity::random(&mut SeededRng::new(n)).public_key();
                r.route = vec![key(1), key(2), key(1)];
            })
        }),
        ("route of 33 keys", InvalidOp::BadRoute, |lab| {
            request(lab, |r, _| {
                let key = |n| Identity::random(&mut SeededRng::new(n)).public_key();
                r.route = (0..32).map(key).collect();
            })
        }),
        ("response to nothing", InvalidOp::UnknownRequest, |lab| {
            let unknown = lab.request(&[]).0;
            vec![FriendOp::Response(lab_response(lab, 0, &unknown))]
        }),
        ("commit of nothing", InvalidOp::UnknownRequest, |lab| {
            let (unknown, lock) = lab.request(&[]);
            vec![commit(&unknown, lock)]
        }),
        ("collect of nothing", InvalidOp::UnknownRequest, |lab| {
            let (unknown, lock) = lab.request(&[]);
            vec![collect(&unknown, lock, lock)]
        }),
        ("cancel of nothing", InvalidOp::UnknownRequest, |lab| {
            let unknown = lab.request(&[]).0;
            vec![cancel(&unknown, CancelReason::Busy, None)]
        }),
        ("release of nothing", InvalidOp::UnknownRequest, |lab| {
            let unknown = lab.request(&[]).0;
            vec![release(&unknown)]
        }),
        ("cancel of its own request", InvalidOp::UnknownRequest, |lab| {
            let own = lab.request(&[]).0;
            vec![FriendOp::Request(own.clone()), cancel(&own, CancelReason::Busy, None)]
        }),
        ("commit before the response", InvalidOp::WrongStage, |lab| {
            let (own, lock) = lab.request(&[]);
            vec![FriendOp::Request(own.clone()), commit(&own, lock)]
        }),
        ("released twice", InvalidOp::WrongStage, |lab| {
            let own = lab.request(&[]).0;
            vec![FriendOp::Request(own.clone()), release(&own), release(&own)]
        }),
    ];
    for (what, invalid, ops) in cases {
        let mut lab = Lab::new(2);
        let ops = ops(&mut lab);
        refused(&mut lab, 0, &ops, &invalid.to_string(), what);
    }
}

#[test]
fn locks_and_signatures_are_checked() {
    // A response that another key signed, or with another field than the signed one.
    for change in 0..6 {
        let mut lab = Lab::new(2);
        incoming(&mut lab, At::Requested);
        let forwarded = lab.puppets[1].credit(&credit()).pending[1].values().next().unwrap();
        let forwarded = forwarded.request.clone();
        let mut response = lab_response(&lab, 1, &forwarded);
        match change {
            0 => response = lab_response(&lab, 0, &forwarded),
            1 => response.is_complete = false,
            2 => response.dest_hashed_lock = PlainLock::from_bytes([1; 32]).hashed(),
            3 => response.response_hash = offset_crypto::hash(b"other"),
            4 => response.signature = offset_crypto::Signature::from_bytes([0; 64]),
            _ => {
                let other = "other".parse().unwrap();
                let identity = &lab.puppets[1].identity;
                response = response_by(identity, &forwarded, &dest_lock(), true, &other);
            }
        }
        let why = InvalidOp::BadSignature.to_string();
        refused(&mut lab, 1, &[FriendOp::Response(response)], &why, &change.to_string());
    }
    let wrong = PlainLock::from_bytes([3; 32]);
    let mut lab = Lab::new(2);
    let (request, _) = incoming(&mut lab, At::Responded);
    let why = InvalidOp::WrongLock.to_string();
    refused(&mut lab, 0, &[commit(&request, wrong)], &why, "commit");
    for which in 0..2 {
        let mut lab = Lab::new(2);
        let (_, src) = incoming(&mut lab, At::Committed);
        let pending = lab.puppets[1].credit(&credit()).pending[1].values().next().unwrap();
        let locks = if which == 0 { (wrong, dest_lock()) } else { (src, wrong) };
        let op = collect(&pending.request, locks.0, locks.1);
        refused(&mut lab, 1, &[op], &why, "collect");
    }
}

/// A friend between answers for a destination behind it: with its own signature, or with the right one.
#[test]
fn a_friend_between_cannot_answer_for_the_destination() {
    let (node, destination) = (1, Identity::random(&mut SeededRng::new(77)));
    for is_destinations in [false, true] {
        let mut lab = Lab::new(2);
        let between = lab.puppets[node].key();
        let (request, _) = lab.request(&[between, destination.public_key()]);
        lab.send(0, &[FriendOp::Request(request)]);
        let FriendOp::Request(forwarded) = lab.got_one(node) else { panic!() };
        assert_eq!(forwarded.route, [destination.public_key()]);
        let signer = if is_destinations { &destination } else { &lab.puppets[node].identity };
        let response = response_by(signer, &forwarded, &dest_lock(), true, &credit());
        if is_destinations {
            lab.send(node, &[FriendOp::Response(response)]);
            assert!(matches!(lab.got_one(0), FriendOp::Response(_)));
        } else {
            let why = InvalidOp::BadSignature.to_string();
            refused(&mut lab, node, &[FriendOp::Response(response)], &why, "its own signature");
        }
    }
}

/// What the node answers to a request that it does not pass on or take.
fn answer(lab: &mut Lab, request: Request) -> Result<FriendOp, CancelReason> {
    for at in 0..lab.puppets.len() {
        lab.got(at);
    }
    lab.send(0, &[FriendOp::Request(request)]);
    assert_eq!(lab.inconsistent(0), None);
    for at in (0..lab.puppets.len()).rev() {
        if let Some(op) = lab.got(at).pop() {
            return match op {
                FriendOp::Cancel(cancel) => {
                    assert_eq!(cancel.reporter, Some(lab.key()));
                    assert_eq!(lab.frozen(0), (0, 0));
                    Err(cancel.reason)
                }
                FriendOp::Request(_)
                | FriendOp::Response(_)
                | FriendOp::Commit(_)
                | FriendOp::Collect(_)
                | FriendOp::Release(_) => Ok(op),
            };
        }
    }
    panic!("no answer");
}

#[test]
fn policy_of_the_incoming_line_is_answered_with_cancel() {
    // Exactly the room, and one more; with something frozen already; requests closed.
    for (first, amount, ok) in
        [(0, LIMIT, true), (0, LIMIT + 1, false), (1, LIMIT - 1, true), (1, LIMIT, false)]
    {
        let mut lab = Lab::new(1);
        if first > 0 {
            let mut request = lab.request(&[]).0;
            (request.dest_payment, request.total_dest_payment) = (Credits(first), Credits(first));
            answer(&mut lab, request).unwrap();
        }
        let mut request = lab.request(&[]).0;
        (request.dest_payment, request.total_dest_payment) = (Credits(amount), Credits(amount));
        lab.send(0, &[FriendOp::Request(request)]);
        assert_eq!(matches!(lab.got(0).pop(), Some(FriendOp::Response(_))), ok, "{first} {amount}");
    }
    let mut lab = Lab::new(1);
    let (friend, currency) = (friend_name(0), Some(credit()));
    lab.set(ConfigRequest::SetRequestsOpen { friend, currency, open: false });
    let request = lab.request(&[]).0;
    assert_eq!(answer(&mut lab, request), Err(CancelReason::NoRoom));
}

#[test]
fn a_lowered_limit_allows_movement_back() {
    let mut lab = Lab::new(1);
    // The puppet owes 500; then the node lowers its limit to 100, and to 0.
    let (mut request, lock) = lab.request(&[]);
    (request.dest_payment, request.total_dest_payment) = (Credits(500), Credits(500));
    assert!(matches!(answer(&mut lab, request.clone()), Ok(FriendOp::Response(_))));
    lab.send(0, &[commit(&request, lock)]);
    assert!(matches!(lab.got_one(0), FriendOp::Collect(_)));
    assert_eq!(lab.balance(0), 500);
    let (friend, currency) = (friend_name(0), Some(credit()));
    lab.set(ConfigRequest::SetMaxDebt { friend, currency, max_debt: Credits(100) });
    let mut more = lab.request(&[]).0;
    (more.dest_payment, more.total_dest_payment) = (Credits(1), Credits(1));
    assert_eq!(answer(&mut lab, more), Err(CancelReason::NoRoom));
    // The node pays back, and that moves the balance towards the limit.
    let puppet = lab.puppets[0].key();
    lab.pay(puppet, 300);
    let FriendOp::Request(request) = lab.got_one(0) else { panic!() };
    let response = lab_response(&lab, 0, &request);
    lab.send(0, &[FriendOp::Response(response)]);
    let FriendOp::Commit(commit) = lab.got_one(0) else { panic!() };
    lab.send(0, &[collect(&request, commit.src_plain_lock, dest_lock())]);
    assert_eq!(lab.balance(0), 200);
}

#[test]
fn a_mediator_says_why_it_does_not_pass_on() {
    let stranger = Identity::random(&mut SeededRng::new(1)).public_key();
    let rate = |lab: &mut Lab, ppm, add| {
        let rate = Rate { ppm, add };
        lab.set(ConfigRequest::SetRate { friend: friend_name(0), currency: None, rate });
    };
    // Fee exact, one too low, a rate that overflows.
    for (ppm, add, fees, expected) in [
        (10_000, 1, 2, Ok(0)),
        (10_000, 1, 5, Ok(3)),
        (10_000, 1, 1, Err(CancelReason::FeeTooLow)),
        (u32::MAX, u64::MAX, 900, Err(CancelReason::FeeTooLow)),
    ] {
        let mut lab = Lab::new(2);
        rate(&mut lab, ppm, add);
        let seller = lab.puppets[1].key();
        let mut request = lab.request(&[seller]).0;
        request.left_fees = Credits(fees);
        let left = answer(&mut lab, request).map(|op| match op {
            FriendOp::Request(request) => request.left_fees.0,
            other => panic!("{other:?}"),
        });
        assert_eq!(left, expected, "{ppm} {add} {fees}");
    }
    let mut lab = Lab::new(2);
    let seller = lab.puppets[1].key();
    let request = lab.request(&[stranger]).0;
    assert_eq!(answer(&mut lab, request), Err(CancelReason::NoRoute));
    let mut request = lab.request(&[seller]).0;
    request.hold_seconds = 24 * 3600;
    assert!(answer(&mut lab, request.clone()).is_ok(), "a day is mediated");
    request.request_id = RequestId::random(&mut lab.rng);
    request.hold_seconds += 1;
    lab.send(0, &[FriendOp::Request(request)]);
    assert_eq!(lab.got_one(0), FriendOp::Cancel(cancel_of(&lab, CancelReason::Declined)));
    type Case = (CancelReason, fn(&mut Lab));
    let cases: [Case; 4] = [
        (CancelReason::Offline, |lab| lab.disconnect(1)),
        (CancelReason::Offline, |lab| {
            lab.set(ConfigRequest::SetFriendEnabled { friend: friend_name(1), enabled: false });
        }),
        (CancelReason::NoRoom, |lab| lab.declare(1, &credit(), 0, LIMIT, false)),
        (CancelReason::NoRoom, |lab| lab.declare(1, &credit(), 0, 99, true)),
    ];
    for (reason, change) in cases {
        let mut lab = Lab::new(2);
        change(&mut lab);
        let seller = lab.puppets[1].key();
        let request = lab.request(&[seller]).0;
        assert_eq!(answer(&mut lab, request), Err(reason));
    }
}

fn cancel_of(lab: &Lab, reason: CancelReason) -> offset_proto::friend::Cancel {
    let last = lab.puppets[0].last_own.as_ref().unwrap();
    let request_id = last.body.currency_ops[0].ops[0].request_id();
    offset_proto::friend::Cancel { request_id, reason, reporter: Some(lab.key()) }
}

#[test]
fn ids_of_the_next_hop_differ_by_friend_and_line() {
    let mut lab = Lab::new(3);
    let seller = lab.puppets[2].key();
    let request = lab.request(&[seller]).0;
    let mut ids = Vec::new();
    for at in [0, 1] {
        lab.send(at, &[FriendOp::Request(request.clone())]);
        ids.push(lab.got_one(2).request_id());
    }
    assert!(ids[0] != ids[1] && !ids.contains(&request.request_id));
}

#[test]
fn a_cycle_may_end_at_its_origin_and_routes_have_32_keys() {
    let mut lab = Lab::new(2);
    // The origin sends along n1 (the node), n2 (the second puppet), and back to itself.
    let (origin, next) = (lab.puppets[0].key(), lab.puppets[1].key());
    let request = lab.request(&[next, origin]).0;
    assert!(matches!(answer(&mut lab, request), Ok(FriendOp::Request(_))));
    let mut lab = Lab::new(2);
    let next = lab.puppets[1].key();
    let far = (0..30).map(|n| Identity::random(&mut SeededRng::new(n)).public_key());
    let route: Vec<_> = std::iter::once(next).chain(far).collect();
    assert_eq!(route.len(), 31);
    let request = lab.request(&route).0;
    let Ok(FriendOp::Request(forwarded)) = answer(&mut lab, request) else { panic!() };
    assert_eq!(forwarded.route, route[1..]);
}

#[test]
fn a_request_that_waits_too_long_for_the_token_is_busy() {
    let mut lab = Lab::new(2);
    lab.fetch_token(1);
    lab.puppets[1].silent = true;
    let seller = lab.puppets[1].key();
    let request = lab.request(&[seller]).0;
    lab.send(0, &[FriendOp::Request(request.clone())]);
    lab.pass(9_800);
    assert_eq!(lab.got(0), []);
    lab.pass(200);
    assert_eq!(lab.got_one(0), FriendOp::Cancel(cancel_of(&lab, CancelReason::Busy)));
    // Released while it waits: it never leaves.
    let request = lab.request(&[seller]).0;
    lab.send(0, &[FriendOp::Request(request.clone())]);
    lab.send(0, &[release(&request)]);
    let FriendOp::Cancel(cancel) = lab.got_one(0) else { panic!() };
    assert_eq!(cancel.reason, CancelReason::Released);
    lab.puppets[1].silent = false;
    lab.pass(1_000);
    assert_eq!(lab.got(1), []);
}

#[test]
fn the_guard_keeps_half_of_a_line_from_one_slow_friend() {
    // After a start it knows what passed before.
    for restarts in [false, true] {
        guard_keeps_half(restarts);
    }
}

fn guard_keeps_half(restarts: bool) {
    let mut lab = Lab::new(3);
    let seller = lab.puppets[2].key();
    let part = |lab: &mut Lab, amount| {
        let mut request = lab.request(&[seller]).0;
        (request.dest_payment, request.total_dest_payment) = (Credits(amount), Credits(amount));
        FriendOp::Request(request)
    };
    let first = part(&mut lab, 400);
    lab.send(0, &[first]);
    lab.pass(61_000);
    lab.got(2);
    if restarts {
        lab.restart();
        for friend in 0..3 {
            lab.connect(friend);
        }
    }
    for (from, amount, reason) in
        [(0, 101, Some(CancelReason::Busy)), (0, 100, None), (1, 500, None)]
    {
        let op = part(&mut lab, amount);
        lab.send(from, &[op]);
        match reason {
            Some(reason) => {
                let FriendOp::Cancel(cancel) = lab.got_one(from) else { panic!() };
                assert_eq!(cancel.reason, reason);
            }
            None => assert!(matches!(lab.got_one(2), FriendOp::Request(_)), "{from} {amount}"),
        }
    }
}
