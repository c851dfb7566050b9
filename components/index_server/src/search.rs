//! The cheapest route for an amount.
//!
//! The search is Dijkstra's, backwards from the destination. For a given amount the fee of each
//! mediator is a constant (it is reckoned on what arrives, not on what passes), so fees only add up
//! towards the source. An edge must carry the amount and the fees of every mediator from its end
//! on; the cheaper the rest of the way, the less it must carry, so the cheapest label of a node is
//! also the one that asks least of the edges before it, and the search is exact:
//!
//! ```text
//!   source --- edge ---> u --- edge ---> v ---- ... ---> destination
//!              amount + fee(u) + fee(v)..  amount + fee(v)..       amount
//! ```
//!
//! Among equally cheap routes the shortest wins. A route has at most [`MAX_ROUTE_KEYS`] keys. Where
//! the cheapest one is longer, a second search keeps for each node every label that no other beats
//! in both fee and length, which is exact again. Work is bounded by the number of edges looked at.

use std::{cmp::Reverse, collections::BinaryHeap};

use offset_crypto::PublicKey;
use offset_proto::{
    Credits,
    index::{Edge, Route, RouteQuery},
};

use crate::graph::{CurrencyGraph, Number, index};

/// The most keys of a route, source and destination included (protocol, section 6.1).
pub const MAX_ROUTE_KEYS: u32 = 32;

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// The cheapest route, if there is any.
    pub route: Option<Route>,
    /// The bound of work ended the search: the route need not be the cheapest, and where there is
    /// none there may be one.
    pub cut_short: bool,
}

/// The cheapest route that carries the query's whole amount, looking at no more than `max_edges`
/// edges. A route from a node to itself is not found here.
#[must_use]
pub fn cheapest_route(graph: &CurrencyGraph, query: &RouteQuery, max_edges: usize) -> Found {
    cheapest_route_within(graph, query, max_edges, MAX_ROUTE_KEYS)
}

/// As [`cheapest_route`], with another limit of keys.
fn cheapest_route_within(
    graph: &CurrencyGraph,
    query: &RouteQuery,
    max_edges: usize,
    max_keys: u32,
) -> Found {
    let ends = graph.number(&query.source).zip(graph.number(&query.destination));
    let Some((source, destination)) = ends else { return Found::default() };
    if source == destination || query.amount == Credits::ZERO || Credits::LIMIT < query.amount {
        return Found::default();
    }
    let mut search = Search {
        graph,
        source,
        destination,
        amount: query.amount,
        excluded: excluded_numbers(graph, &query.exclude),
        edges_left: max_edges,
        labels: Vec::new(),
        queue: BinaryHeap::new(),
    };
    let (mut end, mut cut_short) = search.run(u32::MAX);
    let too_long = |label: &Label| max_keys <= label.hops;
    if end.is_some_and(|label| too_long(&search.labels[label])) {
        (end, cut_short) = if cut_short { (None, true) } else { search.run(max_keys - 1) };
    }
    Found { route: end.map(|label| search.route(label)), cut_short }
}

struct Search<'a> {
    graph: &'a CurrencyGraph,
    source: Number,
    destination: Number,
    amount: Credits,
    /// Sorted.
    excluded: Vec<(Number, Number)>,
    edges_left: usize,
    labels: Vec<Label>,
    /// Cheapest first, then fewest hops, then oldest label.
    queue: BinaryHeap<Reverse<(Credits, u32, usize)>>,
}

/// A way from a node to the destination.
#[derive(Clone, Copy)]
struct Label {
    node: Number,
    /// What the next edge of the way carries: the amount and the fees after this node.
    carried: Credits,
    hops: u32,
    /// The label of the next node; of no meaning at the destination.
    next: usize,
}

impl Search<'_> {
    /// The best label of the source, and whether the search was cut short. With `max_hops` below
    /// `u32::MAX` a node may be settled again by a way with fewer hops.
    fn run(&mut self, max_hops: u32) -> (Option<usize>, bool) {
        let pareto = max_hops < u32::MAX;
        self.labels.clear();
        self.queue.clear();
        // The fewest hops of a settled label of each node.
        let mut settled = vec![u32::MAX; self.graph.bound()];
        let mut best_at_source: Option<usize> = None;
        self.push(Label { node: self.destination, carried: self.amount, hops: 0, next: 0 });
        while let Some(Reverse((_, hops, label))) = self.queue.pop() {
            let node = self.labels[label].node;
            if node == self.source {
                return (Some(label), false);
            }
            let known = &mut settled[index(node)];
            if *known <= hops || (!pareto && *known != u32::MAX) {
                continue;
            }
            *known = hops;
            if hops == max_hops {
                continue;
            }
            if !self.expand(label, &settled, pareto, &mut best_at_source) {
                return (best_at_source, true);
            }
        }
        (None, false)
    }

    /// Looks at every edge that ends at the label's node; `false` when the work is used up.
    fn expand(
        &mut self,
        label: usize,
        settled: &[u32],
        pareto: bool,
        best_at_source: &mut Option<usize>,
    ) -> bool {
        let graph = self.graph;
        let Label { node, carried, hops, .. } = self.labels[label];
        for edge in graph.incoming(node) {
            let Some(edges_left) = self.edges_left.checked_sub(1) else { return false };
            self.edges_left = edges_left;
            let known = settled[index(edge.from)];
            if known <= hops + 1 || (!pareto && known != u32::MAX) || edge.capacity < carried {
                continue;
            }
            let fee = if node == self.destination {
                Some(Credits::ZERO)
            } else {
                edge.rate.fee(self.amount)
            };
            let Some(carried) = fee.and_then(|fee| carried.checked_add(fee)) else { continue };
            let fits = carried <= edge.capacity && carried <= Credits::LIMIT;
            if !fits || self.is_excluded(edge.from, node) {
                continue;
            }
            let new = self.push(Label { node: edge.from, carried, hops: hops + 1, next: label });
            if edge.from == self.source {
                let better = best_at_source.is_none_or(|best| {
                    let best = &self.labels[best];
                    (carried, hops + 1) < (best.carried, best.hops)
                });
                if better {
                    *best_at_source = Some(new);
                }
            }
        }
        true
    }

    fn push(&mut self, label: Label) -> usize {
        let number = self.labels.len();
        self.queue.push(Reverse((label.carried, label.hops, number)));
        self.labels.push(label);
        number
    }

    fn is_excluded(&self, from: Number, to: Number) -> bool {
        !self.excluded.is_empty() && self.excluded.binary_search(&(from, to)).is_ok()
    }

    fn route(&self, end: usize) -> Route {
        let fee = self.labels[end]
            .carried
            .checked_sub(self.amount)
            .expect("what is carried begins with the amount and only grows");
        let mut keys: Vec<PublicKey> = Vec::new();
        let mut label = &self.labels[end];
        loop {
            keys.push(self.graph.key(label.node));
            if label.node == self.destination {
                break;
            }
            label = &self.labels[label.next];
        }
        Route { keys, amount: self.amount, fee }
    }
}

fn excluded_numbers(graph: &CurrencyGraph, edges: &[Edge]) -> Vec<(Number, Number)> {
    let mut excluded: Vec<_> = edges
        .iter()
        .filter_map(|edge| graph.number(&edge.from).zip(graph.number(&edge.to)))
        .collect();
    excluded.sort_unstable();
    excluded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, tests::key};
    use offset_proto::{Currency, Rate, index::IndexLine};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const WORK: usize = 200_000;

    /// Edges by (from, to): capacity and the rate of `to` for `from`.
    type Edges = BTreeMap<(u8, u8), (u128, Rate)>;

    fn build(edges: &Edges) -> Graph {
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

    fn query(amount: u128, source: u8, destination: u8, exclude: &[(u8, u8)]) -> RouteQuery {
        RouteQuery {
            currency: Currency::fallback(),
            amount: Credits(amount),
            source: key(source),
            destination: key(destination),
            exclude: exclude.iter().map(|&(a, b)| Edge { from: key(a), to: key(b) }).collect(),
            max_parts: 1,
        }
    }

    fn search(edges: &Edges, query: &RouteQuery, work: usize) -> Found {
        let graph = build(edges);
        cheapest_route(graph.currency(&Currency::fallback()).unwrap(), query, work)
    }

    fn add(fee: u64) -> Rate {
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
        let next: Vec<u8> =
            edges.keys().filter(|(from, _)| *from == here).map(|(_, to)| *to).collect();
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

    fn numbers(route: &Route) -> Vec<u8> {
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
        // The source's last edge was seen, its label not yet settled.
        let found = search(&Edges::from([((0, 1), (9, add(0)))]), &query(5, 0, 1, &[]), 1);
        assert!(found.route.is_some() && !found.cut_short);
        let two = Edges::from([((0, 1), (9, add(0))), ((2, 1), (9, add(0)))]);
        let found = search(&two, &query(5, 0, 1, &[]), 1);
        assert!(found.cut_short && found.route.is_some());
    }

    #[test]
    fn fees_that_do_not_fit_are_no_way() {
        let rate = Rate { ppm: u32::MAX, add: u64::MAX };
        let edges = Edges::from([((1, 2), (u128::MAX, rate)), ((2, 3), (u128::MAX, add(0)))]);
        assert_eq!(search(&edges, &query(Credits::LIMIT.0, 1, 3, &[]), WORK).route, None);
        assert!(search(&edges, &query(Credits::LIMIT.0, 2, 3, &[]), WORK).route.is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

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
            let found = cheapest_route_within(graph, &query, WORK, max_keys);
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
}
