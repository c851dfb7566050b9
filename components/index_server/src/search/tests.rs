//! Tests of the search for one route.

use super::*;
use crate::graph::{Graph, index, tests::key};
use offset_proto::{
    Currency, Rate,
    index::{Edge, IndexLine},
};
use proptest::prelude::*;
use std::collections::BTreeMap;

pub(super) const WORK: usize = 200_000;

/// Edges by (from, to): capacity and the rate of `to` for `from`.
pub(super) type Edges = BTreeMap<(u8, u8), (u128, Rate)>;

pub(super) fn build(edges: &Edges) -> Graph {
    let mut graph = Graph::default();
    let absent = (0, Rate::default());
    for (from, to) in edges.keys().flat_map(|&(from, to)| [(from, to), (to, from)]) {
        let (capacity, _) = edges.get(&(from, to)).unwrap_or(&absent);
        let (back, rate) = edges.get(&(to, from)).unwrap_or(&absent);
        let report = IndexLine {
            send_capacity: Credits(*capacity),
            recv_capacity: Credits(*back),
            rate: *rate,
        };
        graph.set_line(key(from), key(to), &Currency::fallback(), report);
    }
    graph.check_invariants();
    graph
}

pub(super) fn query(amount: u128, source: u8, destination: u8, exclude: &[(u8, u8)]) -> RouteQuery {
    RouteQuery {
        currency: Currency::fallback(),
        amount: Credits(amount),
        source: key(source),
        destination: key(destination),
        exclude: exclude.iter().map(|&(a, b)| Edge { from: key(a), to: key(b) }).collect(),
        max_parts: 1,
    }
}

pub(super) fn search(edges: &Edges, query: &RouteQuery, work: usize) -> Found {
    let graph = build(edges);
    cheapest_route(
        &mut Scratch::default(),
        graph.currency(&Currency::fallback()).unwrap(),
        query,
        work,
    )
}

pub(super) fn add(fee: u64) -> Rate {
    Rate { ppm: 0, add: fee }
}

/// (fee, keys) of the best simple path of at most `max` keys, by trying all of them.
fn brute_force(
    edges: &Edges,
    query: &RouteQuery,
    max: usize,
    path: &mut Vec<u8>,
) -> Option<(u128, usize)> {
    if max < path.len() {
        return None;
    }
    let here = *path.last().unwrap();
    if key(here) == query.destination {
        return fees_of(edges, query, path).map(|fee| (fee, path.len()));
    }
    let next: Vec<u8> = edges.keys().filter(|(from, _)| *from == here).map(|(_, to)| *to).collect();
    let mut best = None;
    for to in next {
        let edge = Edge { from: key(here), to: key(to) };
        if path.contains(&to) || query.exclude.contains(&edge) {
            continue;
        }
        path.push(to);
        if let Some(found) = brute_force(edges, query, max, path) {
            best = Some(best.map_or(found, |best: (u128, usize)| best.min(found)));
        }
        path.pop();
    }
    best
}

/// The fee of a path, if every edge carries what passes over it.
fn fees_of(edges: &Edges, query: &RouteQuery, path: &[u8]) -> Option<u128> {
    let mut carried = query.amount.0;
    for (at, pair) in path.windows(2).enumerate().rev() {
        let (capacity, rate) = edges.get(&(pair[0], pair[1]))?;
        if at + 2 != path.len() {
            carried += rate.fee(query.amount)?.0;
        }
        if *capacity < carried {
            return None;
        }
    }
    Some(carried - query.amount.0)
}

pub(super) fn numbers(route: &Route) -> Vec<u8> {
    route.keys.iter().map(|k| (0..80).find(|n| key(*n) == *k).unwrap()).collect()
}

#[test]
fn the_last_rate_never_counts_and_a_direct_payment_is_free() {
    let edges = Edges::from([((1, 2), (100, add(50)))]);
    let found = search(&edges, &query(100, 1, 2, &[]), WORK);
    assert_eq!(found.route.unwrap().fee, Credits::ZERO);
}

#[test]
fn fees_count_against_capacity() {
    let way = |first| Edges::from([((1, 2), (first, add(5))), ((2, 3), (100, add(7)))]);
    let route = search(&way(105), &query(100, 1, 3, &[]), WORK).route.unwrap();
    assert_eq!((route.fee, route.keys), (Credits(5), vec![key(1), key(2), key(3)]));
    assert_eq!(search(&way(104), &query(100, 1, 3, &[]), WORK).route, None);
}

#[test]
fn excluded_edges_and_hopeless_queries() {
    let edges = Edges::from([
        ((1, 2), (100, add(0))),
        ((2, 4), (100, add(1))),
        ((1, 3), (100, add(9))),
        ((3, 4), (100, add(1))),
    ]);
    let route = |query: &RouteQuery| search(&edges, query, WORK).route;
    assert_eq!(numbers(&route(&query(5, 1, 4, &[])).unwrap()), [1, 2, 4]);
    assert_eq!(numbers(&route(&query(5, 1, 4, &[(2, 4)])).unwrap()), [1, 3, 4]);
    assert_eq!(numbers(&route(&query(5, 1, 4, &[(4, 2), (1, 2)])).unwrap()), [1, 3, 4]);
    assert_eq!(route(&query(5, 1, 4, &[(2, 4), (3, 4)])), None);
    assert_eq!(route(&query(5, 1, 1, &[])), None);
    assert_eq!(route(&query(0, 1, 4, &[])), None);
    assert_eq!(route(&query(u128::MAX, 1, 4, &[])), None);
    assert_eq!(route(&query(5, 1, 9, &[])), None);
}

/// A way that is too long is free, and on another only the fee at the end of an edge is too much.
#[test]
fn an_edge_carries_the_fee_of_the_node_at_its_end() {
    let edges = Edges::from([
        ((0, 2), (22, Rate { ppm: 125_001, add: 3 })),
        ((0, 5), (16, add(0))),
        ((0, 6), (16, Rate { ppm: 1, add: 0 })),
        ((2, 1), (16, add(0))),
        ((5, 2), (16, add(0))),
        ((6, 1), (16, add(0))),
    ]);
    let (graph, query) = (build(&edges), query(16, 0, 1, &[]));
    let graph = graph.currency(&query.currency).unwrap();
    let found = cheapest_route_within(&mut Scratch::default(), graph, &query, WORK, 3);
    assert_eq!(found.route.map(|route| (route.fee.0, numbers(&route))), Some((6, vec![0, 2, 1])));
}

#[test]
fn equal_fees_go_the_shorter_way() {
    let free = |from, to| ((from, to), (100, add(0)));
    let edges = Edges::from([free(1, 2), free(2, 3), free(3, 4), free(1, 3)]);
    let route = search(&edges, &query(5, 1, 4, &[]), WORK).route.unwrap();
    assert_eq!(numbers(&route), [1, 3, 4]);
}

/// A free line of keys 0..=`last`.
fn long_line(last: u8) -> Edges {
    (0..last).map(|n| ((n, n + 1), (100, add(0)))).collect()
}

#[test]
fn a_route_has_at_most_32_keys() {
    let route = search(&long_line(31), &query(5, 0, 31, &[]), WORK).route.unwrap();
    assert_eq!(route.keys.len(), 32);
    assert_eq!(search(&long_line(32), &query(5, 0, 32, &[]), WORK), Found::default());
    // Two shortcuts that cost something: the cheaper one alone is not enough.
    let mut edges = long_line(40);
    edges.insert((2, 8), (100, add(3)));
    edges.insert((20, 26), (100, add(4)));
    edges.insert((3, 30), (100, add(10)));
    let route = search(&edges, &query(5, 0, 40, &[]), WORK).route.unwrap();
    assert_eq!((route.fee, route.keys.len()), (Credits(7), 31));
}

#[test]
fn work_is_bounded() {
    let edges = long_line(10);
    for work in 0..10 {
        let cut = search(&edges, &query(5, 0, 10, &[]), work);
        assert_eq!(cut, Found { route: None, cut_short: true }, "{work}");
    }
    // One end alone shows that there is no other way.
    let found = search(&Edges::from([((0, 1), (9, add(0)))]), &query(5, 0, 1, &[]), 1);
    assert!(found.route.is_some() && !found.cut_short);
    // Two ways, of which the dearer one is seen first: what was found so far is a route.
    let ways = Edges::from([
        ((0, 2), (9, add(5))),
        ((2, 1), (9, add(0))),
        ((0, 3), (9, add(1))),
        ((3, 4), (9, add(1))),
        ((4, 1), (9, add(0))),
    ]);
    let found: Vec<Found> = (0..12).map(|work| search(&ways, &query(1, 0, 1, &[]), work)).collect();
    let fees: Vec<_> = found.iter().map(|found| found.route.as_ref().map(|r| r.fee.0)).collect();
    assert_eq!((fees[0], found[0].cut_short), (None, true));
    assert_eq!((fees[11], found[11].cut_short), (Some(2), false));
    assert!(found.iter().any(|found| found.cut_short && found.route.is_some()), "{fees:?}");
}

#[test]
fn fees_that_do_not_fit_are_no_way() {
    let rate = Rate { ppm: u32::MAX, add: u64::MAX };
    let edges = Edges::from([((1, 2), (u128::MAX, rate)), ((2, 3), (u128::MAX, add(0)))]);
    assert_eq!(search(&edges, &query(Credits::LIMIT.0, 1, 3, &[]), WORK).route, None);
    assert!(search(&edges, &query(Credits::LIMIT.0, 2, 3, &[]), WORK).route.is_some());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn as_cheap_as_the_best_of_all_paths(
        edges in prop::collection::btree_map(
            (0_u8..7, 0_u8..7),
            (0_u128..60, (0_u32..200_000, 0_u64..8)),
            1..30,
        ),
        amount in 1_u128..40,
        exclude in prop::collection::vec((0_u8..7, 0_u8..7), 0..3),
        max_keys in 2_u32..8,
    ) {
        let edges: Edges = edges
            .into_iter()
            .filter(|((from, to), _)| from != to)
            .map(|(pair, (capacity, (ppm, add)))| (pair, (capacity, Rate { ppm, add })))
            .collect();
        prop_assume!(!edges.is_empty());
        let query = query(amount, 0, 1, &exclude);
        let graph = build(&edges);
        let graph = graph.currency(&query.currency).unwrap();
        let found = cheapest_route_within(&mut Scratch::default(), graph, &query, WORK, max_keys);
        let best = brute_force(&edges, &query, index(max_keys), &mut vec![0]);
        prop_assert!(!found.cut_short);
        let summary = found.route.as_ref().map(|route| (route.fee.0, route.keys.len()));
        prop_assert_eq!(summary, best);
        if let Some(route) = &found.route {
            let fee = fees_of(&edges, &query, &numbers(route));
            prop_assert_eq!(fee, Some(route.fee.0));
        }
    }
}
