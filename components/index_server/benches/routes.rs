//! What searching costs: one route, and several that share an amount.
//!
//! `cargo bench -p offset-index-server --bench routes`
//!
//! Generated graphs with preferential attachment, five lines a node. Asks the same questions once
//! for what a single route carries and once for more than that, and prints the times with their
//! ratio, how many were answered, and over how many routes.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking")]

use std::time::{Duration, Instant};

use offset_crypto::{Identity, PublicKey, SeededRng};
use offset_index_server::{
    graph::{CurrencyGraph, Graph},
    search::{Work, cheapest_route, multi_routes},
};
use offset_proto::{
    Credits, Currency, Rate,
    index::{IndexLine, RouteQuery},
};

const QUESTIONS: usize = 300;
const LINES_PER_NODE: usize = 5;
/// As the server's defaults.
const WORK: Work = Work { single: 200_000, split: 800_000 };

fn main() {
    for nodes in [1_000, 10_000] {
        let mut rng = SeededRng::new(7);
        let (graph, keys) = network(&mut rng, nodes);
        let graph = graph.currency(&Currency::fallback()).unwrap();
        let pairs: Vec<_> = (0..QUESTIONS)
            .map(|_| (keys[below(&mut rng, nodes)], keys[below(&mut rng, nodes)]))
            .filter(|(source, destination)| source != destination)
            .collect();
        println!("{nodes} nodes, {} lines", nodes * LINES_PER_NODE);
        let single = singles(graph, &pairs);
        for (name, share) in [("as much again", 200), ("three times as much", 300)] {
            splits(graph, &single, (name, share));
        }
    }
}

struct Single {
    pair: (PublicKey, PublicKey),
    /// The most that one route carries, found by halving.
    most: u128,
    time: Duration,
}

/// The time of a search for what one route just carries.
fn singles(graph: &CurrencyGraph, pairs: &[(PublicKey, PublicKey)]) -> Vec<Single> {
    let mut singles = Vec::new();
    for pair in pairs {
        let carries =
            |amount| cheapest_route(graph, &query(*pair, amount, 1), usize::MAX).route.is_some();
        let (mut most, mut above) = (0, 1 << 20);
        while 1 < above - most {
            let middle = (most + above) / 2;
            if carries(middle) { most = middle } else { above = middle }
        }
        if most == 0 {
            continue;
        }
        let began = Instant::now();
        assert!(cheapest_route(graph, &query(*pair, most, 1), WORK.single).route.is_some());
        singles.push(Single { pair: *pair, most, time: began.elapsed() });
    }
    let times = singles.iter().map(|single| single.time).collect();
    println!("  one route: {}", spread(times));
    singles
}

/// The times of searches for more than one route carries.
fn splits(graph: &CurrencyGraph, singles: &[Single], (name, share): (&str, u128)) {
    let (mut found, mut cut, mut parts) = (0, 0, 0);
    let mut times = Vec::new();
    for single in singles {
        let query = query(single.pair, single.most * share / 100, 16);
        let began = Instant::now();
        let ways = multi_routes(graph, &query, WORK);
        times.push(began.elapsed());
        cut += usize::from(ways.cut_short);
        found += usize::from(!ways.multi_routes.is_empty());
        parts += ways.multi_routes.first().map_or(0, Vec::len);
    }
    let sum = |times: &mut dyn Iterator<Item = Duration>| times.sum::<Duration>().as_secs_f64();
    let ratio = sum(&mut times.iter().copied()) / sum(&mut singles.iter().map(|one| one.time));
    println!(
        "  {name}: {}, {ratio:.1} times one route; {found} of {} found, {:.1} routes each, {cut} cut \
         short",
        spread(times),
        singles.len(),
        parts as f64 / f64::from(u32::try_from(found.max(1)).unwrap()),
    );
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    format!("median {:.2?}, 99 of 100 under {:.2?}", at(50), at(99))
}

fn query((source, destination): (PublicKey, PublicKey), amount: u128, max_parts: u8) -> RouteQuery {
    RouteQuery {
        currency: Currency::fallback(),
        amount: Credits(amount),
        source,
        destination,
        exclude: vec![],
        max_parts,
    }
}

/// Every node has lines with earlier ones, rather with those that have many.
fn network(rng: &mut SeededRng, nodes: usize) -> (Graph, Vec<PublicKey>) {
    let keys: Vec<PublicKey> = (0..nodes).map(|_| Identity::random(rng).public_key()).collect();
    let mut graph = Graph::default();
    let mut ends: Vec<usize> = vec![0];
    for node in 1..nodes {
        for _ in 0..LINES_PER_NODE {
            let friend = ends[below(rng, ends.len())];
            if friend == node {
                continue;
            }
            for (from, to) in [(node, friend), (friend, node)] {
                let capacity = Credits(10 + u128::from(rng.below(1_000)));
                let ppm = u32::try_from(rng.below(5_000)).unwrap();
                let rate = Rate { ppm, add: rng.below(2) };
                let line = IndexLine { send_capacity: capacity, recv_capacity: capacity, rate };
                graph.set_line(keys[from], keys[to], &Currency::fallback(), line);
            }
            ends.extend([node, friend]);
        }
    }
    (graph, keys)
}

fn below(rng: &mut SeededRng, bound: usize) -> usize {
    usize::try_from(rng.below(bound as u64)).unwrap()
}
