//! A network in a storm: five nodes in a ring with a chord, two relays, two federated index servers.
//! Everything that they send each other passes proxies which refuse, drop, delay, half-close and
//! swallow; daemons are killed (SIGKILL), paused (SIGSTOP) and deprived of room on their disks.
//! Meanwhile an application at each node pays the others, and writes down what it was told: paid, not
//! paid, or nothing.
//!
//! After each storm comes a calm, in which must hold:
//! - every payment is paid or not, and nothing else than its application was told before; sellers
//!   agree; receipts verify;
//! - the two balances of each line sum to zero; nothing is pending; the balances of each node are
//!   what the history says and what it earned by passing on, which is never negative, and all that
//!   was earned is all fees that were paid;
//! - a payment as large as can be passes on every line in both directions;
//! - memory and descriptors of each daemon are near those of the beginning ([`MOST_GROWTH_KB`],
//!   [`MOST_FILES`]).
//!
//! A node without room ends with exit code 1 and says why; when there is room again it goes on.
//!
//! By itself it is one short storm. Longer, in storms of half a minute:
//! ```text
//! OFFSET_TORTURE_SECONDS=600 cargo test --test torture -- --nocapture
//! ```
//! The seed is printed; `OFFSET_TORTURE_SEED` draws the same disturbances again, though not the same
//! interleaving.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "the figures are for whoever runs it")]

#[path = "torture/history.rs"]
mod history;
#[path = "strangers/measure.rs"]
#[allow(dead_code, reason = "the strangers use all of it")]
mod measure;
#[path = "torture/network.rs"]
mod network;
#[path = "torture/proxy.rs"]
mod proxy;
mod support;

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use futures::future::{join, join_all};
use offset_crypto::SeededRng;
use tokio::{sync::watch, time::sleep};

use history::{Entry, Outcome};
use network::Five;
use support::eventually;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_in_a_storm() {
    let total = variable("OFFSET_TORTURE_SECONDS").map_or(SHORT, Duration::from_secs);
    let seed = variable("OFFSET_TORTURE_SEED").unwrap_or_else(support::trio::seed);
    println!("OFFSET_TORTURE_SEED={seed}");
    let five = Five::start(seed).await;
    let begin = Instant::now();
    let before = five.processes().figures("before");
    let mut entries = Vec::new();
    let mut unknown = 0;
    for storm in 0.. {
        let lasts = total.saturating_sub(begin.elapsed()).min(LONGEST_STORM);
        if storm != 0 && lasts < SHORT {
            break;
        }
        let mut new = rage(&five, seed ^ (storm << 32), lasts).await;
        unknown += new.iter().filter(|entry| entry.told.is_none()).count();
        entries.append(&mut new);
        five.check(&mut entries).await;
        let paid = entries.iter().filter(|entry| matches!(entry.told, Some(Outcome::Paid(_))));
        let done = &five.done;
        println!(
            "{:?}: {} payments, {} paid, {unknown} unknown at first; {} kills, {} pauses, {} full \
             disks; {} faults ({})",
            begin.elapsed(),
            entries.len(),
            paid.count(),
            done.kills.load(Relaxed),
            done.pauses.load(Relaxed),
            done.full_disks.load(Relaxed),
            five.faults.total(),
            five.faults.tally(),
        );
        five.pay_full_sizes(&mut entries).await;
        five.check(&mut entries).await;
        // What is still closing is closed soon.
        eventually("memory and descriptors are as before", || {
            five.processes().look().check(&before, MOST_GROWTH_KB, MOST_FILES)
        });
        five.processes().figures("after a storm");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_room_stops_itself_and_loses_nothing() {
    let seed = support::trio::seed();
    println!("OFFSET_SEED={seed}");
    let five = Five::start(seed).await;
    let (ended, is_ended) = watch::channel(false);
    let pays = async |from: usize| {
        let mut rng = SeededRng::new(seed ^ u64::try_from(from).unwrap());
        let mut entries = Vec::new();
        while !*is_ended.borrow() {
            if let Some(mut entry) = Entry::think_up(&five, from, &mut rng).await {
                entry.order(&five, &mut rng).await;
                entries.push(entry);
            }
        }
        entries
    };
    let fills = async {
        for (node, bytes) in [(1, 0), (3, 16 * 1024), (1, 48 * 1024)] {
            sleep(Duration::from_millis(300)).await;
            five.fill_disk(node, bytes).await;
        }
        ended.send_replace(true);
    };
    let (paid, ()) = join(join_all((0..Five::NODES).map(pays)), fills).await;
    let mut entries: Vec<Entry> = paid.into_iter().flatten().collect();
    five.check(&mut entries).await;
    five.pay_full_sizes(&mut entries).await;
    five.check(&mut entries).await;
}

/// Lets everything happen for a while; gives what was ordered.
async fn rage(five: &Five, seed: u64, lasts: Duration) -> Vec<Entry> {
    let begin = Instant::now();
    five.faults.storm(true);
    let pays = async |lane: usize| {
        let mut rng = SeededRng::new(seed ^ u64::try_from(lane + 100).unwrap());
        let mut entries = Vec::new();
        while begin.elapsed() < lasts {
            if let Some(mut entry) = Entry::think_up(five, lane % Five::NODES, &mut rng).await {
                entry.order(five, &mut rng).await;
                entries.push(entry);
            }
            sleep(Duration::from_millis(rng.below(30))).await;
        }
        entries
    };
    let disturbs = async {
        let mut rng = SeededRng::new(seed);
        while begin.elapsed() < lasts {
            sleep(Duration::from_millis(rng.below(700))).await;
            five.disturb(&mut rng).await;
        }
    };
    let ordered = join_all((0..LANES_OF_EACH * Five::NODES).map(pays));
    let (entries, ()) = join(ordered, disturbs).await;
    five.faults.storm(false);
    entries.into_iter().flatten().collect()
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

/// How long the storm of an ordinary run lasts.
const SHORT: Duration = Duration::from_secs(5);
/// After this much a longer one pauses, and everything is checked.
const LONGEST_STORM: Duration = Duration::from_secs(30);
/// Applications of each node that pay at the same time.
const LANES_OF_EACH: usize = 4;
/// The most by which the memory of a daemon may grow: buffers of connections that were taken up
/// again, history of ended payments, and what an allocator keeps.
const MOST_GROWTH_KB: u64 = 32 * 1024;
/// The most by which the descriptors of a daemon may grow: connections that are being taken up again.
const MOST_FILES: usize = 16;
