//! Random networks: payments under delays, lost sessions, crashes at every point, and owners who
//! change everything meanwhile; then calm, in which everything must end, with every payment having
//! its whole effect or none.
//!
//! `OFFSET_SEEDS=5000 cargo test --test random` runs that many seeds, `OFFSET_SEED=7` just that.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;

use offset_crypto::PaymentId;
use offset_funder::{api::Command, state::Phase};
use offset_proto::{
    Balance, Credits, Currency, Rate, ServerAddress,
    app::{ConfigRequest, PaymentStatus, PaymentTarget},
};
use support::{Net, credit, name, seeds};

#[test]
fn every_payment_has_its_whole_effect_or_none() {
    let (mut sum, mut count) = (Done::default(), 0);
    for seed in seeds(60) {
        println!("replay with OFFSET_SEED={seed}");
        let done = run(seed);
        sum.paid += done.paid;
        sum.in_parts += done.in_parts;
        sum.cleared += done.cleared;
        count += 1;
    }
    println!("in {count} runs: {sum:?}");
    if 50 <= count {
        assert!(20 * count < 2 * sum.paid, "payments succeed: {sum:?}");
        assert!(sum.paid < 50 * sum.in_parts, "more than 2 % over several routes: {sum:?}");
        assert!(count < 8 * sum.cleared, "clearings succeed: {sum:?}");
    }
}

/// What succeeded.
#[derive(Debug, Default)]
struct Done {
    paid: u32,
    /// Of them, over more than one route.
    in_parts: u32,
    cleared: u32,
}

/// What a seed plays.
struct Play {
    count: usize,
    /// In how many of a thousand steps a node crashes, and in how many a session is lost. Where that
    /// happens all the time, hardly anything that takes many steps succeeds.
    faults: usize,
    /// What each side of a line may owe.
    limit: u128,
    /// The smallest and the largest payment. Above the limit it takes several routes.
    amounts: (usize, usize),
    /// Whether there is more than one way.
    ring: bool,
}

impl Play {
    fn of(seed: u64) -> Self {
        let count = 3 + usize::try_from(seed % 3).unwrap();
        let faults = [30, 8, 2][usize::try_from(seed / 2 % 3).unwrap()];
        if matches!(seed % 4, 1 | 2) {
            // Narrow lines, and more of them.
            return Self {
                count: count.max(4),
                faults,
                limit: 200,
                amounts: (150, 450),
                ring: true,
            };
        }
        Self { count, faults, limit: 1_000, amounts: (1, 400), ring: seed.is_multiple_of(2) }
    }

    fn net(&self, seed: u64) -> Net {
        let mut net = Net::chain(self.count, self.limit, seed);
        if self.ring {
            // A ring has two ways for everything, with a line across it some have three.
            net.befriend(self.count - 1, 0, self.limit);
            if 3 < self.count {
                net.befriend(0, 2, self.limit);
            }
            net.settle();
        }
        for node in 1..self.count {
            if seed.is_multiple_of(3) {
                net.set_rate(node, node - 1, 10_000, 1);
            }
        }
        net.settle();
        net
    }
}

type Payments = BTreeMap<PaymentId, (usize, usize, u128)>;

fn run(seed: u64) -> Done {
    let play = Play::of(seed);
    let mut net = play.net(seed);
    let count = play.count;
    let mut payments = BTreeMap::new();
    if play.ring {
        // Everybody owes the next one: debts that can be set off.
        for node in 0..count {
            let (next, amount) = ((node + 1) % count, play.limit / 4);
            payments.insert(net.send_funds(node, next, amount), (node, next, amount));
            net.settle();
        }
    }
    for _ in 0..300 {
        // Owners who change nothing leave more to succeed.
        if !seed.is_multiple_of(4) && below(&mut net, 12) == 0 {
            change(&mut net, count);
        } else {
            step(&mut net, &play, &mut payments);
        }
    }
    calm(&mut net, count, seed);
    let done = check(&net, count, &payments);
    check_lines_work(&mut net, seed);
    done
}

fn below(net: &mut Net, bound: usize) -> usize {
    usize::try_from(net.rng.below(u64::try_from(bound).unwrap())).unwrap()
}

fn step(net: &mut Net, play: &Play, payments: &mut Payments) {
    let (count, faults) = (play.count, play.faults);
    match below(net, 1_000) {
        0..150 => {
            let (buyer, seller) = (below(net, count), below(net, count));
            if buyer == seller {
                return;
            }
            let (least, most) = play.amounts;
            let amount = u128::try_from(least + below(net, most - least)).unwrap();
            let id = if below(net, 2) == 0 {
                let invoice = net.invoice(seller, amount);
                let request = net.pay_request(PaymentTarget::Invoice(Box::new(invoice)));
                net.pay(buyer, request)
            } else {
                net.send_funds(buyer, seller, amount)
            };
            payments.insert(id, (buyer, seller, amount));
        }
        150..180 => {
            // Its answer is of no interest: what it did is checked in the end.
            let both = |node: &usize| {
                let debts = net.debts(*node);
                debts.iter().any(|debt| 0 < *debt) && debts.iter().any(|debt| *debt < 0)
            };
            let nodes: Vec<usize> = (0..count).filter(both).collect();
            if !nodes.is_empty() {
                let node = nodes[below(net, nodes.len())];
                net.clear(node, None);
            }
        }
        180..240 => reconnect_one(net, count),
        240..340 => net.pass(7),
        340..580 => {
            let node = below(net, count);
            net.flush(node);
        }
        at if at < 580 + faults => {
            let node = below(net, count);
            let after_commit = below(net, 2) == 0;
            net.crash(node, after_commit);
        }
        at if at < 580 + 2 * faults => {
            let pairs = net.connected_pairs();
            if !pairs.is_empty() {
                let (a, b) = pairs[below(net, pairs.len())];
                net.disconnect(a, b);
            }
        }
        at if at < 580 + 2 * faults + faults.div_ceil(3) => net.pass(11_000),
        _ => {
            let links = net.busy_links();
            if !links.is_empty() {
                let (from, to) = links[below(net, links.len())];
                net.deliver(from, to);
            }
        }
    }
}

/// An owner, or the world, changes something.
fn change(net: &mut Net, count: usize) {
    let node = below(net, count);
    let friends: Vec<_> = net.nodes[node].funder.state().friends.keys().copied().collect();
    let at = below(net, friends.len());
    let friend = name(&format!("n{}", net.index_of(friends[at])));
    let (yes, limit) = (below(net, 3) != 0, Credits(u128::try_from(below(net, 1_001)).unwrap()));
    let extra: Currency = format!("extra{}", below(net, 2)).parse().unwrap();
    let opening = i128::try_from(below(net, 3)).unwrap() - 1;
    let opening_balance = Balance::new(opening).unwrap();
    let request = match below(net, 16) {
        0 | 1 => ConfigRequest::SetFriendEnabled { friend, enabled: yes },
        2 | 3 => ConfigRequest::SetRequestsOpen { friend, currency: None, open: yes },
        4 => ConfigRequest::SetMaxDebt { friend, currency: None, max_debt: limit },
        5 | 6 => {
            let rate = Rate { ppm: 1_000 * u32::try_from(below(net, 20)).unwrap(), add: 1 };
            ConfigRequest::SetRate { friend, currency: None, rate }
        }
        7..10 => ConfigRequest::AddCurrency { friend, currency: extra, opening_balance },
        10 => ConfigRequest::RemoveCurrency { friend, currency: extra },
        11 => ConfigRequest::SetMaxDebt { friend, currency: Some(extra), max_debt: limit },
        12 => return net.index_up ^= true,
        13 => return cancel_invoice(net, node),
        14 => {
            let jump = 10_000 + u64::try_from(below(net, 90_000)).unwrap();
            return net.pass(jump);
        }
        _ => {
            let name = name(&format!("r{}", below(net, 2)));
            let public_key = net.key(0);
            let address = format!("{name}.example:1").parse().unwrap();
            let relay = ServerAddress { public_key, address };
            if yes {
                ConfigRequest::AddRelay { name, relay }
            } else {
                ConfigRequest::RemoveRelay { name }
            }
        }
    };
    // May be refused, and then changes nothing.
    net.command(node, Command::Config(request));
}

fn cancel_invoice(net: &mut Net, node: usize) {
    let invoices: Vec<_> = net.nodes[node].funder.state().invoices.keys().copied().collect();
    if !invoices.is_empty() {
        let invoice_id = invoices[below(net, invoices.len())];
        net.command(node, Command::CancelInvoice { invoice_id, ended: None });
    }
}

/// Owners open everything again.
fn reopen(net: &mut Net, count: usize) {
    net.index_up = true;
    for node in 0..count {
        let friends: Vec<_> = net.nodes[node].funder.state().friends.keys().copied().collect();
        for key in friends {
            let friend = name(&format!("n{}", net.index_of(key)));
            let enabled = true;
            net.config(node, ConfigRequest::SetFriendEnabled { friend: friend.clone(), enabled });
            let (currency, max_debt) = (Some(credit()), Credits(10_000));
            let limit = ConfigRequest::SetMaxDebt {
                friend: friend.clone(),
                currency: currency.clone(),
                max_debt,
            };
            net.config(node, limit);
            net.config(node, ConfigRequest::SetRequestsOpen { friend, currency, open: true });
        }
    }
}

/// A payment over every line in each direction works (T5).
fn check_lines_work(net: &mut Net, seed: u64) {
    for (a, b) in net.connected_pairs() {
        for (buyer, seller) in [(a, b), (b, a)] {
            let id = net.send_funds(buyer, seller, 1);
            let outcome = net.outcome(buyer, id);
            let paid = matches!(outcome, PaymentStatus::Succeeded { .. });
            assert!(paid, "seed {seed}: {buyer} pays {seller}: {outcome:?}");
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

fn reconnect_one(net: &mut Net, count: usize) {
    let missing = missing_pairs(net, count);
    if !missing.is_empty() {
        let (a, b) = missing[below(net, missing.len())];
        net.connect(a, b);
    }
}

fn calm(net: &mut Net, count: usize, seed: u64) {
    reopen(net, count);
    for (a, b) in missing_pairs(net, count) {
        net.connect(a, b);
    }
    for _ in 0..200 {
        net.settle();
        net.pass(1_000);
    }
    net.settle();
    println!("seed {seed}: {} tokens", net.tokens);
}

fn check(net: &Net, count: usize, payments: &Payments) -> Done {
    net.check_at_rest(true);
    let sum: i128 = (0..count).map(|node| net.total(node)).sum();
    assert_eq!(sum, 0, "conservation");
    let mut done = Done::default();
    let (mut expected, mut fees) = (vec![0i128; count], 0i128);
    for (id, (buyer, seller, amount)) in payments {
        // A payment that was ordered in a batch which was lost with a crash never was.
        let Some(row) = net.nodes[*buyer].archive.get(id) else {
            continue;
        };
        if let Phase::Succeeded { fee, receipt } = &row.phase {
            done.paid += 1;
            let parts = row.current().map_or(0, |attempt| attempt.parts.len());
            done.in_parts += u32::from(1 < parts);
            assert_eq!(receipt.total_dest_payment.0, *amount);
            let (amount, fee) = (i128::try_from(*amount).unwrap(), i128::try_from(fee.0).unwrap());
            expected[*buyer] -= amount + fee;
            expected[*seller] += amount;
            fees += fee;
        }
    }
    for (node, expected) in expected.iter_mut().enumerate() {
        for row in net.nodes[node].archive.values().filter(|row| row.clearing) {
            if let Phase::Succeeded { fee, .. } = &row.phase {
                done.cleared += 1;
                let fee = i128::try_from(fee.0).unwrap();
                *expected -= fee;
                fees += fee;
            }
        }
    }
    // Mediators earned the fees, and nobody anything else.
    let mut earned = 0;
    for (node, expected) in expected.iter().enumerate() {
        let extra = net.total(node) - expected;
        assert!(0 <= extra, "node {node} lost {extra}");
        assert_eq!(net.nodes[node].books.fees(), extra, "fees in the books of {node}");
        earned += extra;
    }
    assert_eq!(earned, fees);
    println!("{} payments: {done:?}", payments.len());
    done
}
