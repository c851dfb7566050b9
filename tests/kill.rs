//! Nodes that crash while payments go through them.
//!
//! Each of three nodes is killed (SIGKILL) and started again at random moments, while payments of all
//! kinds go through the mediator in both directions, and some to it or from it. Whoever ordered a payment keeps its id and orders
//! it again until it has ended. Afterwards every payment has either a receipt that verifies and exactly
//! one effect on the balances, or none; the balances of each pair sum to zero; nothing is pending.
//!
//! The variables `OFFSET_KILL_PAYMENTS` (60) and `OFFSET_KILL_KILLS` (a seventh of it) make it longer:
//! ```text
//! OFFSET_KILL_PAYMENTS=300 cargo test --test kill -- --nocapture
//! ```
//! The seed is printed; `OFFSET_SEED` gives it again, though not the same interleaving.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use offset_crypto::SeededRng;
use support::{
    payments::Ledger,
    trio::{ALICE, BOB, CHARLI, Trio, seed},
};
use tokio::time::sleep;

/// How many payments are under way at the same time.
const AT_ONCE: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn every_payment_has_one_effect_or_none() {
    let payments = variable("OFFSET_KILL_PAYMENTS", 60);
    let kills = variable("OFFSET_KILL_KILLS", payments / 7 + 1);
    let seed = seed();
    println!("OFFSET_SEED={seed}");
    let trio = Trio::start().await;
    let begin = Instant::now();
    let ended = AtomicU64::new(0);
    let paying = stream::iter(0..payments)
        .map(|i| {
            let (trio, ended) = (&trio, &ended);
            async move {
                let mut rng = SeededRng::new(seed ^ (i << 32));
                let (from, to) = ends(&mut rng);
                let order = trio.order(&mut rng, from, to).await;
                let report = trio.settle(&order).await;
                ended.fetch_add(1, Ordering::Relaxed);
                (order, report)
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>();
    let killing = kill_at_random(&trio, seed, kills, |kill| {
        kill * payments / (kills + 1) <= ended.load(Ordering::Relaxed)
    });
    let (paid, ()) = tokio::join!(paying, killing);

    let mut ledger = Ledger::default();
    for (order, report) in paid {
        ledger.ended(order, report);
    }
    println!("{payments} payments, {kills} kills in {:?}: {:?}", begin.elapsed(), ledger.tally());
    trio.until_online("the last kill").await;
    trio.check(&ledger).await;
    trio.check_answers(&ledger).await;

    // Payments arrive again, and all of it is on disk.
    let mut rng = SeededRng::new(seed);
    for ends in [(BOB, CHARLI), (CHARLI, BOB)] {
        trio.until_paid(&mut rng, ends, &mut ledger).await;
    }
    trio.nodes.iter().for_each(|node| node.server.kill());
    trio.nodes.iter().for_each(|node| trio.start_again(&node.server));
    trio.until_online("all were killed").await;
    trio.check(&ledger).await;
    trio.check_answers(&ledger).await;
}

/// Mostly through the mediator, sometimes to or from it.
fn ends(rng: &mut SeededRng) -> (usize, usize) {
    match rng.below(10) {
        0..4 => (BOB, CHARLI),
        4..8 => (CHARLI, BOB),
        8 => (ALICE, BOB),
        _ => (CHARLI, ALICE),
    }
}

/// Kills each node in turn, now and then two at once; the next when it `is_due`.
async fn kill_at_random(trio: &Trio, seed: u64, kills: u64, is_due: impl Fn(u64) -> bool) {
    let mut rng = SeededRng::new(seed);
    for kill in 0..kills {
        while !is_due(kill) {
            sleep(Duration::from_millis(1)).await;
        }
        sleep(Duration::from_millis(rng.below(150))).await;
        let first = usize::try_from(kill % 3).unwrap();
        let count = if rng.below(4) == 0 { 2 } else { 1 };
        let victims = (first..first + count).map(|i| &trio.nodes[i % 3].server);
        victims.clone().for_each(|victim| victim.kill());
        sleep(Duration::from_millis(rng.below(300))).await;
        victims.for_each(|victim| trio.start_again(victim));
    }
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}
