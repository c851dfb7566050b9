//! A payment that needs three mediators, one of whom goes at every step of it: falls silent, comes
//! back from its disk or from an older copy, or is removed by, or removes, the friend on either side.
//! The payment ends, and nothing stays frozen that need not be.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;

use offset_crypto::PaymentId;
use offset_funder::{Side, api::Command, state::Phase};
use offset_proto::app::{ConfigRequest, PaymentTarget};
use support::{Net, name};

const BUYER: usize = 0;
const MEDIATORS: [usize; 3] = [1, 2, 3];
const SELLER: usize = 4;
const AMOUNT: i128 = 120;

/// Three ways of 50, each for a fee of 1.
fn three_ways() -> Net {
    let mut net = Net::new(5, 3);
    for mediator in MEDIATORS {
        net.befriend(BUYER, mediator, 1_000);
        net.befriend(mediator, SELLER, 50);
        net.set_rate(mediator, BUYER, 0, 1);
    }
    net.settle();
    net
}

/// Plays every step of the payment, each with `gone` after it, in two orders of the messages. Gives
/// how the payments ended.
fn at_every_step(gone: impl Fn(&mut Net, usize)) -> BTreeMap<&'static str, u32> {
    let mut ends = BTreeMap::new();
    for order in [1, 7] {
        for step in 0.. {
            let mut net = three_ways();
            let invoice = net.invoice(SELLER, AMOUNT.try_into().unwrap());
            let request = net.pay_request(PaymentTarget::Invoice(Box::new(invoice)));
            let id = net.pay(BUYER, request);
            let more = deliver(&mut net, step, order);
            let victim = MEDIATORS[step % 3];
            println!("step {step}, order {order}, mediator {victim}");
            gone(&mut net, victim);
            let phase = phase(&net, id);
            *ends.entry(check(&net, victim, &phase)).or_default() += 1;
            if !more {
                assert!(30 < step, "it takes some steps");
                break;
            }
        }
    }
    println!("{ends:?}");
    ends
}

/// Delivers so many messages, one after the other; whether there were as many.
fn deliver(net: &mut Net, count: usize, order: usize) -> bool {
    for at in 0..count {
        for node in 0..net.nodes.len() {
            net.flush(node);
        }
        let links = net.busy_links();
        if links.is_empty() {
            return false;
        }
        let (from, to) = links[(at * order) % links.len()];
        net.deliver(from, to);
    }
    true
}

/// Time passes until nothing more can happen by itself.
fn wait(net: &mut Net) {
    for _ in 0..40 {
        net.settle();
        net.pass(1_000);
    }
    // The invoice expires, and so does what waits for nothing else.
    for ms in [3_600_000, 1_000, 61_000, 1_000] {
        net.settle();
        net.pass(ms);
    }
    net.settle();
}

fn phase(net: &Net, id: PaymentId) -> Phase {
    let buyer = &net.nodes[BUYER];
    let row = buyer.archive.get(&id).or_else(|| buyer.funder.state().payments.get(&id));
    row.unwrap().phase.clone()
}

/// The payment has ended, whole or not at all, and nobody lost anything; but who parted from a friend
/// may lose what was under way between them.
fn check(net: &Net, victim: usize, phase: &Phase) -> &'static str {
    assert!(phase.is_final(), "{phase:?}");
    let has = |node| net.total(node) + given_up(net, node);
    let at_stake = if net.nodes[victim].funder.state().archive.is_empty() { 0 } else { 50 };
    for mediator in MEDIATORS {
        let most = if mediator == victim { at_stake } else { 0 };
        assert!(-most <= has(mediator), "{mediator} lost {}", -has(mediator));
    }
    let (paid, got) = (-has(BUYER), has(SELLER));
    let whole = (AMOUNT - at_stake..=AMOUNT).contains(&got);
    match phase {
        Phase::Succeeded { fee, .. } => {
            let fee = i128::try_from(fee.0).unwrap();
            assert!(whole, "the seller has {got}");
            assert!(paid <= AMOUNT + fee && (2..=3).contains(&fee), "{paid} {fee}");
            "succeeded"
        }
        Phase::Failed(_) | Phase::Cancelled => {
            assert_eq!((paid, got), (0, 0), "{phase:?}");
            "nothing paid"
        }
        Phase::Unknown => {
            assert!(got == 0 || whole, "{got}");
            "unknown"
        }
        Phase::Routing | Phase::Requesting | Phase::Complete | Phase::Committed => unreachable!(),
    }
}

/// What a node gave up with friendships that it ended.
fn given_up(net: &Net, node: usize) -> i128 {
    let archived = net.nodes[node].funder.state().archive.values();
    archived.flat_map(|friend| &friend.balances).map(|row| row.balance.get()).sum()
}

/// Nothing is pending on lines, but for those of one node.
fn assert_thawed(net: &Net, but: Option<usize>) {
    for (n, node) in net.nodes.iter().enumerate().filter(|(n, _)| Some(*n) != but) {
        for (key, friend) in &node.funder.state().friends {
            let other = net.index_of(*key);
            let credit = friend.lines[&support::credit()].credit.as_ref().unwrap();
            for side in Side::BOTH.into_iter().filter(|_| Some(other) != but) {
                assert!(credit.pending(side).is_empty(), "frozen between {n} and {other}");
            }
        }
        assert!(node.funder.state().sets.is_empty() || but.is_some(), "a set of {n}");
    }
}

#[test]
fn a_mediator_falls_silent() {
    let ends = at_every_step(|net, victim| {
        for friend in [BUYER, SELLER] {
            net.disconnect(victim, friend);
        }
        wait(net);
        assert_thawed(net, Some(victim));
        // When it comes back after all, what it holds ends as well.
        for friend in [BUYER, SELLER] {
            net.connect(victim, friend);
        }
        wait(net);
        net.check_at_rest(true);
    });
    assert_eq!(ends.keys().copied().collect::<Vec<_>>(), ["nothing paid", "succeeded"]);
}

#[test]
fn a_mediator_crashes_and_comes_back() {
    for after_commit in [false, true] {
        let ends = at_every_step(|net, victim| {
            net.crash(victim, after_commit);
            net.settle();
            net.pass(2_000);
            for friend in [BUYER, SELLER] {
                net.connect(victim, friend);
            }
            wait(net);
            net.check_at_rest(true);
        });
        assert!(0 < ends["succeeded"], "{ends:?}");
    }
}

#[test]
fn a_mediator_comes_back_from_an_older_copy() {
    let before = three_ways();
    let ends = at_every_step(|net, victim| {
        net.restore(victim, &before.nodes[victim].disk, true);
        for friend in [BUYER, SELLER] {
            net.connect(victim, friend);
        }
        wait(net);
        net.config(victim, ConfigRequest::EndRecovery { cancel_unknown: true });
        wait(net);
        net.check_at_rest(true);
    });
    assert!(0 < ends["succeeded"], "{ends:?}");
}

/// One removes the other; later the other hears of it and removes it in turn.
fn part(net: &mut Net, node: usize, friend: usize) {
    for (node, friend) in [(node, friend), (friend, node)] {
        let request =
            ConfigRequest::RemoveFriend { friend: name(&format!("n{friend}")), forfeit: true };
        net.command(node, Command::Config(request));
        wait(net);
    }
    assert_thawed(net, None);
}

#[test]
fn buyer_and_mediator_part() {
    for by_buyer in [true, false] {
        let ends = at_every_step(|net, victim| {
            let (node, friend) = if by_buyer { (BUYER, victim) } else { (victim, BUYER) };
            part(net, node, friend);
        });
        assert!(0 < ends["succeeded"] && 0 < ends["unknown"], "{ends:?}");
    }
}

#[test]
fn mediator_and_seller_part() {
    for by_seller in [true, false] {
        let ends = at_every_step(|net, victim| {
            let (node, friend) = if by_seller { (SELLER, victim) } else { (victim, SELLER) };
            part(net, node, friend);
        });
        assert!(0 < ends["succeeded"] && 0 < ends["nothing paid"], "{ends:?}");
    }
}
