//! Relays, index servers and whole networks that stop and start again while payments go on.
//!
//! What was ordered meanwhile ends one way or the other, with one effect on the balances or none, and
//! payments arrive again afterwards without a restart of any node. How long friends take to be online
//! again is printed (`--nocapture`), not checked: it depends on the machine.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::{Duration, Instant};

use futures::future::{join, join_all};
use offset_crypto::SeededRng;
use support::{
    payments::Ledger,
    trio::{ALICE, BOB, CHARLI, Server, Trio, seed},
};
use tokio::{sync::watch, time::sleep};

/// How many payments are under way at the same time, half of them in each direction.
const LANES: usize = 6;

/// How a daemon is ended.
#[derive(Debug, Clone, Copy)]
enum How {
    Killed,
    Terminated,
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_survive_restarts_of_their_servers() {
    let seed = seed();
    println!("OFFSET_SEED={seed}");
    let trio = Trio::start().await;
    let mut ledger = Ledger::default();
    let [first, second] = &trio.index_servers;
    for (server, how) in [
        (&trio.relay, How::Killed),
        (first, How::Terminated),
        (second, How::Killed),
        (&trio.relay, How::Terminated),
    ] {
        let restart = async {
            sleep(Duration::from_millis(300)).await;
            end(server, how);
            sleep(Duration::from_millis(200)).await;
            trio.start_again(server);
            let took = trio.until_online("a server's restart").await;
            println!("{} {how:?}: friends online {took:?} after it listens", server.name);
            sleep(Duration::from_millis(300)).await;
        };
        traffic_while(&trio, seed, &mut ledger, restart).await;
        let took = until_both_paid(&trio, seed, &mut ledger).await;
        println!("{} {how:?}: paid both ways within {took:?}", server.name);
    }
    println!("{:?}", ledger.tally());
    trio.check(&ledger).await;
    trio.check_answers(&ledger).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_index_server_takes_over() {
    let seed = seed();
    println!("OFFSET_SEED={seed}");
    let trio = Trio::start().await;
    let mut ledger = Ledger::default();
    let [first, second] = &trio.index_servers;
    until_both_paid(&trio, seed, &mut ledger).await;
    for (stopped, other) in [(first, second), (second, first)] {
        let stop = async {
            sleep(Duration::from_millis(200)).await;
            end(stopped, How::Terminated);
        };
        traffic_while(&trio, seed, &mut ledger, stop).await;
        let took = until_both_paid(&trio, seed, &mut ledger).await;
        println!("{} is stopped: with {} paid both ways within {took:?}", stopped.name, other.name);
        trio.start_again(stopped);
    }
    println!("{:?}", ledger.tally());
    trio.check(&ledger).await;
    trio.check_answers(&ledger).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_stops_in_the_middle_of_traffic_and_starts_again() {
    let seed = seed();
    println!("OFFSET_SEED={seed}");
    let trio = Trio::start().await;
    let mut ledger = Ledger::default();
    let mut rng = SeededRng::new(seed);
    until_both_paid(&trio, seed, &mut ledger).await;
    let restart = async {
        sleep(Duration::from_millis(300)).await;
        let mut servers: Vec<&Server> = trio.servers().collect();
        // In any order.
        while !servers.is_empty() {
            let any = rng.below(u64::try_from(servers.len()).unwrap());
            let server = servers.swap_remove(usize::try_from(any).unwrap());
            end(server, How::Terminated);
        }
        trio.servers().for_each(|server| trio.start_again(server));
        trio.until_online("all were stopped").await;
    };
    traffic_while(&trio, seed, &mut ledger, restart).await;
    println!("{:?}", ledger.tally());
    until_both_paid(&trio, seed, &mut ledger).await;
    trio.check(&ledger).await;
    trio.check_answers(&ledger).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn friends_are_online_again_after_restarts() {
    let trio = Trio::start().await;
    let one = |i: usize| vec![&trio.nodes[i].server];
    let nodes = || trio.nodes.iter().map(|node| &node.server).collect::<Vec<_>>();
    for how in [How::Killed, How::Terminated] {
        for (what, servers) in [
            ("Bob", one(BOB)),
            ("Alice", one(ALICE)),
            ("the relay", vec![&trio.relay]),
            ("all nodes", nodes()),
            ("everything", trio.servers().collect()),
        ] {
            servers.iter().for_each(|server| end(server, how));
            let begin = Instant::now();
            servers.iter().for_each(|server| trio.start_again(server));
            let listening = begin.elapsed();
            trio.until_online(what).await;
            println!("{what} {how:?}: started in {listening:?}, online in {:?}", begin.elapsed());
        }
    }
}

/// Pays in both directions until `meanwhile` is done and whatever was ordered has ended.
async fn traffic_while(
    trio: &Trio,
    seed: u64,
    ledger: &mut Ledger,
    meanwhile: impl Future<Output = ()>,
) {
    let (done, is_done) = watch::channel(false);
    let pay = async |lane: usize| {
        let mut rng = SeededRng::new(seed ^ u64::try_from(lane).unwrap());
        let (from, to) = if lane.is_multiple_of(2) { (BOB, CHARLI) } else { (CHARLI, BOB) };
        let mut ended = Vec::new();
        while !*is_done.borrow() {
            let order = trio.order(&mut rng, from, to).await;
            let report = trio.settle(&order).await;
            ended.push((order, report));
            sleep(Duration::from_millis(rng.below(30))).await;
        }
        ended
    };
    let disturbing = async {
        meanwhile.await;
        done.send_replace(true);
    };
    let (lanes, ()) = join(join_all((0..LANES).map(pay)), disturbing).await;
    for (order, report) in lanes.into_iter().flatten() {
        ledger.ended(order, report);
    }
}

async fn until_both_paid(trio: &Trio, seed: u64, ledger: &mut Ledger) -> Duration {
    let mut rng = SeededRng::new(seed);
    let there = trio.until_paid(&mut rng, (BOB, CHARLI), ledger).await;
    there + trio.until_paid(&mut rng, (CHARLI, BOB), ledger).await
}

fn end(server: &Server, how: How) {
    match how {
        How::Killed => server.kill(),
        How::Terminated => {
            let status = server.terminate().unwrap();
            assert_eq!(status.code(), Some(0), "{} ends well", server.name);
        }
    }
}
