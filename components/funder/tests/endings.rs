//! How requests ended that a restored node had passed on in the time that it lost: own kept locks, what
//! friends say, and what a friend may ask.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use offset_crypto::{PaymentId, PlainLock, RequestId};
use offset_funder::{
    Side,
    api::Effect,
    state::{KeptCollect, State},
};
use offset_proto::{
    Credits,
    app::{ConfigRequest, PaymentStatus},
    friend::{Collect, Endings, EndingsAnswer, FriendMessage, FriendOp, Response},
    payment::ResponseTerms,
    reset::Collected,
};
use support::{
    Net, credit,
    lab::{Lab, cancel, collect, commit},
    puppet::response_by,
};

/// A payment of 10 over a mediator; the session of `lost` is cut when its first message that `ends`
/// is under way, and everything else goes on. Gives the mediator's copy from before.
fn cut(lost: (usize, usize), ends: fn(&FriendOp) -> bool) -> (Net, PaymentId, State) {
    let mut net = Net::chain(3, 1_000, 11);
    net.set_rate(1, 0, 0, 1);
    net.settle();
    let copy = net.nodes[1].disk.clone();
    let id = net.send_funds(0, 2, 10);
    for _ in 0..1_000 {
        for node in 0..3 {
            net.flush(node);
        }
        let carries = |message: &FriendMessage| {
            let FriendMessage::MoveToken(token) = message else { return false };
            token.body.currency_ops.iter().flat_map(|ops| &ops.ops).any(ends)
        };
        if net.link(lost.0, lost.1).front().is_some_and(carries) {
            net.disconnect(lost.0, lost.1);
            net.settle();
            return (net, id, copy);
        }
        for (from, to) in [(0, 1), (1, 0), (1, 2), (2, 1)] {
            if !net.link(from, to).front().is_some_and(carries) || (from, to) != lost {
                net.deliver(from, to);
            }
        }
    }
    panic!("what was to be lost was never sent")
}

fn is_collect(op: &FriendOp) -> bool {
    matches!(op, FriendOp::Collect(_))
}

/// The mediator signs another token for a friend: what went before is no longer in its last one.
fn move_on(net: &mut Net, friend: usize) {
    let max_debt = Credits(999);
    let friend_name = support::name("n1");
    net.config(friend, ConfigRequest::SetMaxDebt { friend: friend_name, currency: None, max_debt });
    net.settle();
}

fn reconnect(net: &mut Net, friend: usize) {
    net.connect(1, friend);
    net.settle();
    net.recover_all(1);
    net.settle();
}

/// The buyer paid 10 and a fee of 1, and the mediator has its fee.
fn assert_paid(net: &mut Net, id: PaymentId) {
    let outcome = net.outcome(0, id);
    assert!(matches!(outcome, PaymentStatus::Succeeded { .. }), "{outcome:?}");
    net.settle();
    net.check_at_rest(true);
    assert_eq!((net.total(0), net.total(1), net.total(2)), (-11, 1, 10));
}

#[test]
fn what_was_collected_in_the_lost_time_is_passed_on_whoever_comes_first() {
    for order in [[0, 2], [2, 0]] {
        for at_once in [true, false] {
            let (mut net, id, copy) = cut((1, 0), is_collect);
            assert_eq!(net.balance(1, 2), -10, "paid downstream");
            move_on(&mut net, 2);
            net.restore(1, &copy, at_once);
            assert_eq!(net.nodes[1].kept.len(), 0, "its own locks are lost as well");
            for friend in order {
                reconnect(&mut net, friend);
            }
            assert_paid(&mut net, id);
        }
    }
}

#[test]
fn what_was_collected_without_a_partner_is_answered_without_asking() {
    let (mut net, id, copy) = cut((2, 1), is_collect);
    net.disconnect(0, 1);
    net.restore(1, &copy, true);
    reconnect(&mut net, 2);
    assert_eq!(net.nodes[1].disk.alone.len(), 1, "collected for nobody");
    net.disconnect(1, 2);
    net.crash(1, false);
    reconnect(&mut net, 0);
    assert!(net.nodes[1].disk.alone.is_empty(), "used up");
    reconnect(&mut net, 2);
    assert_paid(&mut net, id);
}

#[test]
fn what_own_kept_locks_say_needs_no_friend_to_know_it() {
    let (mut net, id, copy) = cut((1, 0), is_collect);
    move_on(&mut net, 2);
    let kept = std::mem::take(&mut net.nodes[1].kept);
    net.restore(1, &copy, true);
    net.nodes[1].kept = kept;
    net.nodes[2].kept = support::Kept::default();
    reconnect(&mut net, 2);
    reconnect(&mut net, 0);
    assert_paid(&mut net, id);
}

#[test]
fn what_nobody_knows_is_cancelled_under_recover_or_on_the_owners_word() {
    for at_once in [true, false] {
        // The request never reached the seller.
        let (mut net, id, copy) = cut((1, 2), |op| matches!(op, FriendOp::Request(_)));
        move_on(&mut net, 0);
        net.restore(1, &copy, at_once);
        reconnect(&mut net, 2);
        reconnect(&mut net, 0);
        if !at_once {
            net.check_at_rest(false);
            assert_eq!(net.nodes[0].ended_payments.get(&id), None, "it waits");
            let end = |cancel_unknown| {
                offset_funder::api::Command::Config(ConfigRequest::EndRecovery { cancel_unknown })
            };
            let refused = net.ask(1, end(false)).unwrap_err();
            assert!(refused.message.as_str().contains("11 "), "with the sum: {refused:?}");
            net.ask(1, end(true)).unwrap();
        }
        net.outcome(0, id);
        net.settle();
        assert!(0 <= net.total(1), "nothing is lost");
        net.check_at_rest(true);
    }
}

#[test]
fn locks_that_open_nothing_are_not_believed() {
    type Forge = fn(&mut Collected);
    let cases: [(&str, Forge); 4] = [
        ("another lock of the buyer", |it| it.src_plain_lock = PlainLock::from_bytes([1; 32])),
        ("another lock of the seller", |it| it.dest_plain_lock = PlainLock::from_bytes([1; 32])),
        ("another signature", |it| it.signature = [3; 64].into()),
        ("another currency", |it| it.currency = "other".parse().unwrap()),
    ];
    for (case, forge) in cases {
        let (mut net, id, copy) = cut((1, 0), is_collect);
        move_on(&mut net, 2);
        net.restore(1, &copy, true);
        reconnect(&mut net, 0);
        net.connect(1, 2);
        let mut forged = false;
        for _ in 0..100 {
            for node in 0..3 {
                net.flush(node);
            }
            if let Some(FriendMessage::EndingsAnswer(answer)) = net.link(2, 1).front_mut() {
                forge(&mut answer.collected[0]);
                forged = true;
            }
            for (from, to) in [(0, 1), (1, 0), (1, 2), (2, 1)] {
                net.deliver(from, to);
            }
        }
        assert!(forged, "{case}");
        net.settle();
        net.check_at_rest(false);
        assert_eq!(net.nodes[0].ended_payments.get(&id), None, "{case}: neither paid nor ended");
        // The truth is believed in the next session.
        reconnect(&mut net, 2);
        assert_paid(&mut net, id);
    }
}

#[test]
fn a_request_that_was_collected_without_a_partner_is_answered_when_it_comes_again() {
    let mut lab = Lab::new(2);
    let seller = lab.puppets[1].key();
    let (request, src) = lab.request(&[seller]);
    lab.send(0, &[FriendOp::Request(request.clone())]);
    let FriendOp::Request(passed) = lab.got_one(1) else { panic!("passed on") };
    lab.send(1, &[cancel(&passed, offset_proto::friend::CancelReason::Busy, None)]);
    assert!(matches!(lab.got_one(0), FriendOp::Cancel(_)));

    let dest = PlainLock::from_bytes([5; 32]);
    let response = response_by(&lab.puppets[1].identity, &passed, &dest, true, &credit());
    let FriendOp::Collect(end) = collect(&passed, src, dest) else { panic!("a collect") };
    let kept = KeptCollect {
        friend: seller,
        sender: Side::Local,
        at: lab.now,
        amount: Credits(100),
        collected: Collected::of(credit(), &response, &end),
    };
    lab.disk.alone.insert((seller, credit(), passed.request_id), kept);
    lab.restart();
    lab.connect(0);
    lab.connect(1);
    // Another request with this id is another one.
    let (mut other, _) = lab.request(&[seller]);
    other.request_id = request.request_id;
    lab.send(0, &[FriendOp::Request(other.clone())]);
    let FriendOp::Request(again) = lab.got_one(1) else { panic!("passed on") };
    lab.send(1, &[cancel(&again, offset_proto::friend::CancelReason::Busy, None)]);
    assert!(matches!(lab.got_one(0), FriendOp::Cancel(_)));

    lab.send(0, &[FriendOp::Request(request.clone())]);
    let got = lab.got(0);
    let [FriendOp::Response(first), FriendOp::Collect(second)] = &got[..] else {
        panic!("{got:?}")
    };
    assert_eq!((first.request_id, second.request_id), (request.request_id, request.request_id));
    assert_eq!(lab.got(1), Vec::new(), "nothing goes down again");
    assert_eq!(lab.balance(0), 100);
    assert!(lab.disk.alone.is_empty(), "once");
}

#[test]
fn a_friend_is_answered_one_question_at_a_time() {
    let mut lab = Lab::new(1);
    let (request, lock) = lab.request(&[]);
    lab.send(0, &[FriendOp::Request(request.clone())]);
    lab.send(0, &[commit(&request, lock)]);
    let ended = request.request_id;
    let unknown = RequestId::from_bytes([9; 16]);
    let question = |ids: &[RequestId]| {
        FriendMessage::Endings(Endings { currency: credit(), request_ids: ids.to_vec() })
    };
    let answers = |lab: &mut Lab| {
        let raw = std::mem::take(&mut lab.puppets[0].raw);
        let answer = |message| {
            let FriendMessage::EndingsAnswer(answer) = message else { return None };
            Some(answer)
        };
        raw.into_iter().filter_map(answer).collect::<Vec<EndingsAnswer>>()
    };
    lab.message(0, question(&[unknown, ended, unknown, ended]));
    let first = answers(&mut lab);
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].collected.len(), 1);
    assert_eq!(first[0].collected[0].request_id, ended);
    assert!(first[0].collected[0].src_plain_lock == lock);
    assert_eq!(first[0].unknown, [unknown]);

    // The next one waits for its time, and there is room for one.
    lab.message(0, question(&[ended]));
    assert_eq!(answers(&mut lab), []);
    lab.pass(100);
    assert_eq!(answers(&mut lab).len(), 1);
    lab.effects.clear();
    lab.message(0, question(&[ended]));
    assert_eq!(lab.effects, []);
    lab.message(0, question(&[ended]));
    assert!(matches!(lab.effects[..], [Effect::Disconnect { .. }]), "{:?}", lab.effects);

    // An answer that nobody asked for is nothing.
    let unasked = EndingsAnswer { currency: credit(), collected: Vec::new(), unknown: vec![ended] };
    lab.message(0, FriendMessage::EndingsAnswer(unasked));
    // Nobody is answered before both sides agree.
    lab.pass(100);
    answers(&mut lab);
    lab.open_session(0);
    lab.message(0, question(&[ended]));
    lab.pass(100);
    assert_eq!(answers(&mut lab), []);
}

#[test]
fn terms_prove_a_collect_whose_response_went_out_before() {
    let mut lab = Lab::new(1);
    let (request, lock) = lab.request(&[]);
    lab.send(0, &[FriendOp::Request(request.clone())]);
    assert!(matches!(lab.got_one(0), FriendOp::Response(_)));
    lab.send(0, &[commit(&request, lock)]);
    assert!(matches!(lab.got_one(0), FriendOp::Collect(_)), "in our last token");
    let mut resume = lab.resume_of(0);
    resume.token_id = offset_crypto::hash(b"another token");
    lab.open_session(0);
    lab.puppets[0].raw.clear();
    lab.message(0, FriendMessage::Resume(resume));
    let proven: Vec<_> = lab.puppets[0]
        .raw
        .iter()
        .filter_map(|message| {
            let FriendMessage::Inconsistency(message) = message else { return None };
            Some(&message.collected)
        })
        .flatten()
        .collect();
    assert_eq!(proven.len(), 1, "{:?}", lab.inconsistent(0));
    assert_eq!(proven[0].request_id, request.request_id);
    let terms = ResponseTerms::of(&request, &proven[0].response(), &proven[0].currency);
    assert!(terms.verify(&lab.key(), &proven[0].signature));
    let Collect { src_plain_lock, dest_plain_lock, .. } = proven[0].collect();
    let Response { dest_hashed_lock, .. } = proven[0].response();
    assert!(src_plain_lock == lock && dest_plain_lock.opens(&dest_hashed_lock));
}
