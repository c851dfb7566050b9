//! Random networks in which one node is restored from older copies of its disk, at any moment and more
//! than once, with crashes meanwhile; then friends prove, the owner accepts and ends the recovery, and
//! everything must end: credits conserved, both sides of each line agreed, nothing pending, and nobody
//! but the restored node worse off.
//!
//! `OFFSET_SEEDS=5000 cargo test --test restored` runs that many seeds, `OFFSET_SEED=7` just that.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking")]

mod support;

use offset_funder::state::{Phase, State};
use offset_proto::app::{ConfigRequest, PaymentTarget};
use support::{Net, seeds};

#[test]
fn restored_nodes_recover_and_harm_nobody() {
    for seed in seeds(80) {
        println!("replay with OFFSET_SEED={seed}");
        run(seed);
    }
}

fn run(seed: u64) {
    let count = 3 + usize::try_from(seed % 2).unwrap();
    let mut net = Net::chain(count, 1_000, seed);
    if seed.is_multiple_of(3) {
        net.befriend(count - 1, 0, 1_000);
        net.settle();
    }
    net.settle();
    let restored = below(&mut net, count);
    let mut copies: Vec<State> = vec![net.nodes[restored].disk.clone()];
    for step in 0..240 {
        if step % 20 == 19 {
            copies.push(net.nodes[restored].disk.clone());
        }
        if 60 < step && below(&mut net, 70) == 0 {
            let at = below(&mut net, copies.len());
            // What was copied later is gone with the disk.
            copies.truncate(at + 1);
            let at_once = below(&mut net, 2) == 0;
            let copy = copies[at].clone();
            net.restore(restored, &copy, at_once);
        }
        if below(&mut net, 20) == 0 {
            net.recover_all(restored);
        }
        act(&mut net, count);
    }
    let at_once = below(&mut net, 2) == 0;
    let copy = copies[below(&mut net, copies.len())].clone();
    net.restore(restored, &copy, at_once);
    calm(&mut net, restored, count);
    check(&net, restored, count, seed);
}

fn below(net: &mut Net, bound: usize) -> usize {
    usize::try_from(net.rng.below(u64::try_from(bound).unwrap())).unwrap()
}

fn act(net: &mut Net, count: usize) {
    match below(net, 100) {
        0..15 => {
            let (buyer, seller) = (below(net, count), below(net, count));
            if buyer == seller {
                return;
            }
            let amount = 1 + u128::try_from(below(net, 300)).unwrap();
            if below(net, 2) == 0 {
                let invoice = net.invoice(seller, amount);
                let request = net.pay_request(PaymentTarget::Invoice(Box::new(invoice)));
                net.pay(buyer, request);
            } else {
                net.send_funds(buyer, seller, amount);
            }
        }
        15..17 => {
            let node = below(net, count);
            let after_commit = below(net, 2) == 0;
            net.crash(node, after_commit);
        }
        17..20 => {
            let pairs = net.connected_pairs();
            if !pairs.is_empty() {
                let (a, b) = pairs[below(net, pairs.len())];
                net.disconnect(a, b);
            }
        }
        20..30 => {
            let missing = missing_pairs(net, count);
            if !missing.is_empty() {
                let (a, b) = missing[below(net, missing.len())];
                net.connect(a, b);
            }
        }
        30..40 => net.pass(7),
        40..41 => net.pass(11_000),
        41..65 => {
            let node = below(net, count);
            net.flush(node);
        }
        _ => {
            let links = net.busy_links();
            if !links.is_empty() {
                let (from, to) = links[below(net, links.len())];
                net.deliver(from, to);
            }
        }
    }
}

fn missing_pairs(net: &Net, count: usize) -> Vec<(usize, usize)> {
    let mut missing = Vec::new();
    for a in 0..count {
        for key in net.nodes[a].funder.state().friends.keys() {
            let b = net.index_of(*key);
            if a < b && !net.connected_pairs().contains(&(a, b)) {
                missing.push((a, b));
            }
        }
    }
    missing
}

fn calm(net: &mut Net, restored: usize, count: usize) {
    for (a, b) in missing_pairs(net, count) {
        net.connect(a, b);
    }
    for _ in 0..5 {
        net.settle();
        net.recover_all(restored);
        net.settle();
        for (a, b) in missing_pairs(net, count) {
            net.connect(a, b);
        }
        net.settle();
    }
    net.config(restored, ConfigRequest::EndRecovery { cancel_unknown: true });
    for _ in 0..120 {
        net.settle();
        for (a, b) in missing_pairs(net, count) {
            net.connect(a, b);
        }
        net.pass(1_000);
    }
    // Invoices of the lost time run out.
    net.pass(3_700_000);
    for _ in 0..70 {
        net.settle();
        net.pass(1_000);
    }
    net.settle();
}

fn check(net: &Net, restored: usize, count: usize, seed: u64) {
    net.check_at_rest(true);
    let sum: i128 = (0..count).map(|node| net.total(node)).sum();
    assert_eq!(sum, 0, "conservation");
    for node in (0..count).filter(|node| *node != restored) {
        let paid: i128 = net.nodes[node]
            .archive
            .values()
            .map(|row| {
                let Phase::Succeeded { fee, .. } = &row.phase else { return 0 };
                i128::try_from(row.amount.0 + fee.0).unwrap()
            })
            .sum();
        assert!(-paid <= net.total(node), "seed {seed}: node {node} lost by the restored one");
    }
}
