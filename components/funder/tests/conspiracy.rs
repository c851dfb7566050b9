//! Friends that use a node's recovery against it: what they may take is what moved in the time that
//! the node lost, once, and nothing of what came after.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use offset_crypto::{PaymentId, RequestId};
use offset_funder::{
    Side,
    api::Effect,
    state::{FriendRecovery, State},
};
use offset_proto::{
    Credits, Timestamp,
    app::{ConfigRequest, PaymentStatus},
    friend::{EndingsAnswer, FriendMessage, FriendOp},
    index::{MultiRoute, Route},
    reset::{Collected, Inconsistency, ResetTermsBody},
};
use support::{Net, credit, lab::Lab, name, puppet::Puppet};

fn pay(net: &mut Net, buyer: usize, seller: usize, amount: u128) {
    let id = net.send_funds(buyer, seller, amount);
    let outcome = net.outcome(buyer, id);
    assert!(matches!(outcome, PaymentStatus::Succeeded { .. }), "{outcome:?}");
    net.settle();
}

fn recovery(net: &Net, node: usize, friend: usize) -> Option<&FriendRecovery> {
    net.nodes[node].disk.friends[&net.key(friend)].recovery.as_ref()
}

/// A friend of a node under `--recover` shows first an older state than the last, uses its line up,
/// and then shows the last one, in which it owes nothing.
#[test]
fn a_friend_that_showed_an_older_state_cannot_go_over_to_a_later_one() {
    let mut net = Net::chain(2, 1_000, 1);
    pay(&mut net, 0, 1, 10);
    let copy = net.nodes[0].disk.clone();
    pay(&mut net, 0, 1, 1);
    let early = net.nodes[1].disk.clone();
    for _ in 0..12 {
        pay(&mut net, 0, 1, 1);
    }
    let late = net.nodes[1].disk.clone();

    net.liars.insert(1);
    net.restore(1, &early, false);
    net.restore(0, &copy, true);
    net.connect(0, 1);
    net.settle();
    assert_eq!(net.balance(0, 1), -11, "what the friend shows is installed");
    pay(&mut net, 1, 0, 900);
    assert_eq!(net.balance(0, 1), 889);

    for restart in [false, true] {
        net.restore(1, &late, false);
        if restart {
            net.crash(0, false);
        }
        net.connect(0, 1);
        net.settle();
        assert_eq!(net.balance(0, 1), 889, "not without the owner's word, restarted: {restart}");
        let quarantined = matches!(recovery(&net, 0, 1), Some(FriendRecovery::Quarantined(_)));
        assert!(quarantined, "which is asked for");
    }
    assert_eq!(net.recover_all(0), 1);
    net.settle();
    assert_eq!(net.balance(0, 1), -23, "the owner decides");
    net.check_at_rest(true);
}

/// The same after a start, with another friend that proves a later state in between: one that had
/// agreed as well, or one that was away.
#[test]
fn another_friend_that_proves_something_does_not_help_it() {
    for agreed in [true, false] {
        let mut net = Net::new(3, 1);
        net.befriend(0, 1, 1_000);
        net.befriend(0, 2, 1_000);
        net.settle();
        let copy = net.nodes[0].disk.clone();
        let mut states: [Vec<State>; 2] = Default::default();
        for _ in 0..6 {
            for friend in [1, 2] {
                pay(&mut net, 0, friend, 1);
                states[friend - 1].push(net.nodes[friend].disk.clone());
            }
        }
        net.liars.extend([1, 2]);
        net.restore(0, &copy, true);
        for friend in if agreed { vec![1, 2] } else { vec![1] } {
            net.restore(friend, &states[friend - 1][0], false);
            net.connect(0, friend);
            net.settle();
            assert_eq!(net.balance(0, friend), -1);
        }
        pay(&mut net, 1, 0, 500);
        net.crash(0, false);
        for friend in [2, 1] {
            net.restore(friend, &states[friend - 1][5], false);
            net.connect(0, friend);
            net.settle();
        }
        let other = if agreed { -1 } else { -6 };
        assert_eq!((net.balance(0, 1), net.balance(0, 2)), (499, other));
    }
}

/// A payment of 10 over a mediator with a fee of 1, up to the moment in which a collect is under way
/// between two nodes, whose session is cut. Gives the id that the request has at the seller, and the
/// mediator's copy from before.
fn cut_at_collect(lost: (usize, usize)) -> (Net, PaymentId, RequestId, State) {
    let mut net = Net::chain(3, 1_000, 11);
    net.set_rate(1, 0, 0, 1);
    net.settle();
    let copy = net.nodes[1].disk.clone();
    let id = net.send_funds(0, 2, 10);
    for _ in 0..1_000 {
        for node in 0..3 {
            net.flush(node);
        }
        let ends = |message: &FriendMessage| {
            let FriendMessage::MoveToken(token) = message else { return false };
            let mut ops = token.body.currency_ops.iter().flat_map(|ops| &ops.ops);
            ops.any(|op| matches!(op, FriendOp::Collect(_)))
        };
        if net.link(lost.0, lost.1).front().is_some_and(ends) {
            let passed = net.nodes[2].kept.ids();
            net.disconnect(lost.0, lost.1);
            net.settle();
            return (net, id, passed[0], copy);
        }
        for (from, to) in [(0, 1), (1, 0), (1, 2), (2, 1)] {
            net.deliver(from, to);
        }
    }
    panic!("nothing was collected")
}

/// The mediator signs another token for a friend.
fn move_on(net: &mut Net, friend: usize) {
    let counter = |net: &Net| net.nodes[1].disk.friends[&net.key(friend)].channel.counter;
    let before = counter(net);
    for debt in [998, 999] {
        let (max_debt, friend_name) = (Credits(debt), name("n1"));
        let limit = ConfigRequest::SetMaxDebt { friend: friend_name, currency: None, max_debt };
        net.config(friend, limit);
        net.settle();
    }
    assert!(before + 1 < counter(net));
}

fn assert_paid(net: &mut Net, id: PaymentId) {
    let outcome = net.outcome(0, id);
    assert!(matches!(outcome, PaymentStatus::Succeeded { .. }), "{outcome:?}");
    net.settle();
    assert_eq!(net.balance(1, 0), 11, "collected upstream");
}

/// The proof that a seller's friend gives of what it collected, on a channel that it calls
/// inconsistent.
fn proven(net: &Net, passed: RequestId) -> Inconsistency {
    let row = net.nodes[1].disk.pending(&net.key(2), &credit(), Side::Local, &passed).unwrap();
    let response = row.response.as_ref().unwrap();
    let seller = &net.nodes[2].disk.friends[&net.key(1)];
    let sent = &seller.channel.last_sent.as_ref().unwrap().body.currency_ops[0].ops;
    let collect = sent.iter().find_map(|op| {
        let FriendOp::Collect(collect) = op else { return None };
        Some(collect)
    });
    let body = ResetTermsBody {
        epoch: 1,
        balances: Vec::new(),
        pending: true,
        last: None,
        previous: None,
    };
    let terms = body.sign(&net.nodes[2].identity, &net.key(1));
    Inconsistency { terms, collected: vec![Collected::of(credit(), response, collect.unwrap())] }
}

/// The seller's friend proves on an inconsistent channel that it collected; then the other friend
/// proves a state in which that was not passed on.
#[test]
fn what_an_inconsistent_friend_proved_is_collected_after_an_install_as_well() {
    for at_once in [true, false] {
        let (mut net, id, passed, _) = cut_at_collect((2, 1));
        let copy = net.nodes[1].disk.clone();
        move_on(&mut net, 0);
        net.restore(1, &copy, at_once);
        net.connect(1, 2);
        let proof = proven(&net, passed);
        net.link(2, 1).clear();
        net.link(2, 1).push_back(FriendMessage::Inconsistency(Box::new(proof)));
        net.deliver(2, 1);
        net.flush(1);
        assert!(net.nodes[1].disk.friends[&net.key(2)].channel.inconsistent.is_some());
        net.disconnect(1, 2);
        net.connect(0, 1);
        net.settle();
        assert_eq!(net.recover_all(1), usize::from(!at_once));
        assert_paid(&mut net, id);
        assert!(net.nodes[1].disk.alone.is_empty(), "used up");
    }
}

/// The seller's friend has collected, as the mediator's own store says, and answers that it knows
/// nothing before it is asked.
#[test]
fn an_answer_that_comes_before_its_question_is_nothing() {
    let (mut net, id, passed, copy) = cut_at_collect((1, 0));
    assert_eq!(net.balance(1, 2), -10, "paid downstream");
    move_on(&mut net, 2);
    let kept = std::mem::take(&mut net.nodes[1].kept);
    net.restore(1, &copy, true);
    net.nodes[1].kept = kept;
    net.connect(1, 2);
    net.settle();
    net.connect(0, 1);
    let mut told = 0;
    for _ in 0..100 {
        net.flush(0);
        net.deliver(1, 0);
        while net.deliver(0, 1) {
            let unknown = vec![passed];
            let answer = EndingsAnswer { currency: credit(), collected: Vec::new(), unknown };
            net.link(2, 1).push_back(FriendMessage::EndingsAnswer(answer));
            told += usize::from(net.deliver(2, 1));
        }
        net.flush(1);
    }
    assert_ne!(told, 0);
    assert_paid(&mut net, id);
}

/// A payment that was under way in the copy is unknown, whatever the clock shows now.
#[test]
fn a_clock_that_was_set_back_does_not_make_an_old_payment_a_new_one() {
    let mut net = Net::chain(2, 1_000, 6);
    net.disconnect(0, 1);
    let id = net.send_funds(0, 1, 10);
    let copy = net.nodes[0].disk.clone();
    net.connect(0, 1);
    let outcome = net.outcome(0, id);
    assert!(matches!(outcome, PaymentStatus::Succeeded { .. }), "{outcome:?}");
    net.settle();
    net.nodes[0].ended_payments.clear();

    net.now = Timestamp(net.now.0 - 3_600_000);
    net.restore(0, &copy, false);
    net.connect(0, 1);
    net.settle();
    assert_eq!(net.nodes[0].ended_payments[&id].status, PaymentStatus::Unknown);
}

/// The index server and a mediator far away are in league: the route is the cheapest that the one
/// knows, and the fee is all that the buyer has.
#[test]
fn a_payment_without_a_highest_fee_is_not_sent_at_any_price() {
    for (amount, fee, sent) in
        [(100, 100, true), (100, 101, false), (400, 100, true), (400, 101, false), (7, 8, false)]
    {
        let mut lab = Lab::new(1);
        let seller = Puppet::new(9, lab.key()).key();
        let (payment, _) = lab.pay(seller, amount);
        let asked = lab.effects.iter().find_map(|effect| {
            let Effect::FindRoutes { asker, .. } = effect else { return None };
            Some(*asker)
        });
        let keys = vec![lab.key(), lab.puppets[0].key(), seller];
        let route = Route { keys, amount: Credits(amount), fee: Credits(fee) };
        let answer = MultiRoute { routes: vec![route], total_fee: Credits(fee), age_ms: 0 };
        lab.funder.handle_routes(lab.now, &mut lab.rng, asked.unwrap(), Ok(vec![answer]));
        lab.pump();
        assert_eq!(lab.got(0).len(), usize::from(sent), "{amount} for a fee of {fee}");
        assert!(lab.funder.state().payments.contains_key(&payment));
    }
}

/// Making a proof costs as much as is pending: a friend that claims to have lost state cannot have it
/// made again and again.
#[test]
fn a_proof_is_not_made_for_every_page_that_is_asked_for() {
    let mut lab = Lab::new(2);
    for at in [0, 1] {
        lab.balance_by_payment(at, 10);
        let mut resume = lab.resume_of(at);
        resume.counter -= 3;
        lab.open_session(at);
        lab.message(at, FriendMessage::Resume(resume));
        lab.puppets[at].raw.clear();
    }
    let shown = |lab: &Lab, at: usize| {
        let pages = lab.puppets[at].raw.iter();
        pages.filter(|message| matches!(message, FriendMessage::StateProof(_))).count()
    };
    let ask = |lab: &mut Lab, at, page| {
        lab.message(at, FriendMessage::RequestStateProof { page });
    };
    // Pages that are not there do not throw away what was made.
    for page in [0, u32::MAX, 0] {
        ask(&mut lab, 0, page);
    }
    assert_eq!(shown(&lab, 0), 2);
    // Two that take turns get each other's out of the way, but wait for it.
    ask(&mut lab, 1, 0);
    assert_eq!(shown(&lab, 1), 1);
    for _ in 0..5 {
        ask(&mut lab, 0, 0);
        ask(&mut lab, 1, 0);
    }
    assert_eq!(shown(&lab, 0), 2);
    lab.pass(1_000);
    assert_eq!(shown(&lab, 0), 3, "and none waits for ever");
}
