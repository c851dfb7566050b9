//! Ways from a node back to itself, by which the debts on both sides of it shrink (protocol, section
//! 7, clearing).
//!
//! A cycle is a route from the node to the node: the search sees the node as two, one where ways
//! begin and one where they end. What cycles move is better the more it is, so the widest way is
//! found first, and then the cheapest for what that carries.

use offset_proto::{
    Credits,
    index::{CycleQuery, MAX_CYCLES, Route},
};

use super::{
    flow::{Flow, Hop},
    ground::Ground,
    path::{Part, Path},
    scratch::Scratch,
};
use crate::graph::CurrencyGraph;

/// What a search for cycles found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cycles {
    /// Feasible together; at most [`MAX_CYCLES`].
    pub routes: Vec<Route>,
    /// The bound of work ended the search: there may be more.
    pub cut_short: bool,
}

/// Cycles that fulfil the query, looking at no more than `max_edges` edges. Where there is any
/// within the share for fees, one is found unless the work is used up or the only ones are beside
/// many that are too dear.
#[must_use]
pub fn cycles(
    scratch: &mut Scratch,
    graph: &CurrencyGraph,
    query: &CycleQuery,
    max_edges: usize,
) -> Cycles {
    let Some(mut ground) = Ground::for_cycle(scratch, graph, query, max_edges) else {
        return Cycles::default();
    };
    let mut found = Cycles::default();
    let mut failures = 0;
    while found.routes.len() < MAX_CYCLES && failures < MAX_FAILURES && !ground.cut_short {
        let Some((hops, width)) = ground.widest(&Flow::default(), Credits::LIMIT) else { break };
        let Some(path) = path_of(&hops) else { break };
        if let Some(part) = best_part(&mut ground, query, &path, width) {
            ground.take(&part);
            found.routes.push(ground.route(&part));
        } else {
            // Nothing fits over this way: its narrowest edge is left alone from here on.
            failures += 1;
            let narrowest = path
                .hops()
                .map(|(from, to, edge)| (ground.room(from, to, edge.capacity), (from, to)));
            let Some((_, (from, to))) = narrowest.min_by_key(|(room, _)| *room) else { break };
            ground.hold(from, to, Credits(u128::MAX));
        }
    }
    found.cut_short = ground.cut_short;
    found
}

/// What to send over the widest way or a cheaper one, within the share for fees.
fn best_part(
    ground: &mut Ground<'_>,
    query: &CycleQuery,
    widest: &Path,
    width: Credits,
) -> Option<Part> {
    let affordable = |part: &Part| part.fee <= query.max_fee(part.amount);
    let most = ground.largest_part(widest, width)?;
    let mut amount = most.amount;
    for _ in 0..SMALLER_AMOUNTS {
        let cheapest = ground.cheapest(amount);
        let cheapest = cheapest.and_then(|path| ground.largest_part(&path, most.amount));
        if let Some(part) = cheapest.filter(affordable) {
            return Some(part);
        }
        amount = Credits(amount.0 / 4);
        if amount == Credits::ZERO {
            break;
        }
    }
    affordable(&most).then_some(most)
}

fn path_of(hops: &[Hop]) -> Option<Path> {
    let first = hops.first()?.from;
    let nodes = std::iter::once(first).chain(hops.iter().map(|hop| hop.to)).collect();
    let edges = hops.iter().map(|hop| hop.forward).collect::<Option<Vec<_>>>()?;
    Some(Path { nodes, edges })
}

/// So many widest ways may turn out too dear.
const MAX_FAILURES: usize = 8;
/// How often a quarter is tried where all that fits is too dear.
const SMALLER_AMOUNTS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::tests::key;
    use crate::search::tests::{Edges, WORK, add, build, numbers};
    use offset_proto::{
        Currency, Rate,
        index::{CycleEnd, Edge},
    };
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn ends(ends: &[(u8, u128)]) -> Vec<CycleEnd> {
        ends.iter()
            .map(|&(friend, most)| CycleEnd { friend: key(friend), most: Credits(most) })
            .collect()
    }

    fn query(first: &[(u8, u128)], last: &[(u8, u128)]) -> CycleQuery {
        CycleQuery {
            currency: Currency::fallback(),
            node: key(0),
            first: ends(first),
            last: ends(last),
            max_fee_ppm: 100_000,
            exclude: vec![],
        }
    }

    fn find(edges: &Edges, query: &CycleQuery, work: usize) -> Cycles {
        let graph = build(edges);
        let found = cycles(
            &mut Scratch::default(),
            graph.currency(&Currency::fallback()).unwrap(),
            query,
            work,
        );
        check(edges, query, &found);
        found
    }

    fn summary(found: &Cycles) -> Vec<(Vec<u8>, u128, u128)> {
        let one = |route: &Route| (numbers(route), route.amount.0, route.fee.0);
        found.routes.iter().map(one).collect()
    }

    /// Checks that the cycles are what was asked for and feasible together.
    fn check(edges: &Edges, query: &CycleQuery, found: &Cycles) {
        assert!(found.routes.len() <= MAX_CYCLES);
        let mut carried_by: BTreeMap<(u8, u8), u128> = BTreeMap::new();
        for route in &found.routes {
            let keys = numbers(route);
            let (origin, rest) = keys.split_first().unwrap();
            assert!(3 <= rest.len() && rest.len() < 32 && rest.last() == Some(origin));
            assert!((1..rest.len()).all(|at| !rest[..at].contains(&rest[at])), "{keys:?}");
            let mut carried = route.amount.0;
            for (at, pair) in keys.windows(2).enumerate().rev() {
                if at + 2 != keys.len() {
                    carried += edges[&(pair[0], pair[1])].1.fee(route.amount).unwrap().0;
                }
                *carried_by.entry((pair[0], pair[1])).or_default() += carried;
            }
            assert_eq!(carried - route.amount.0, route.fee.0);
            assert!(0 < route.amount.0 && route.fee <= query.max_fee(route.amount));
        }
        let most = |ends: &[CycleEnd], friend: u8| {
            ends.iter().find(|end| end.friend == key(friend)).map_or(0, |end| end.most.0)
        };
        for ((from, to), carried) in carried_by {
            assert!(carried <= edges[&(from, to)].0);
            assert!(from != 0 || carried <= most(&query.first, to), "to {to}: {carried}");
            assert!(to != 0 || carried <= most(&query.last, from), "from {from}: {carried}");
            assert!(!query.exclude.contains(&Edge { from: key(from), to: key(to) }));
        }
    }

    /// 0 -> 1 -> 2 -> 3 -> 0, in both directions.
    fn ring(capacity: u128, rate: Rate) -> Edges {
        let pairs = [(0, 1), (1, 2), (2, 3), (3, 0)];
        let both = pairs.into_iter().flat_map(|(a, b)| [(a, b), (b, a)]);
        both.map(|ends| (ends, (capacity, rate))).collect()
    }

    #[test]
    fn a_cycle_goes_the_way_that_is_asked_for() {
        let edges = ring(100, add(0));
        let found = find(&edges, &query(&[(1, 40)], &[(3, 30)]), WORK);
        assert_eq!(summary(&found), [(vec![0, 1, 2, 3, 0], 30, 0)]);
        let found = find(&edges, &query(&[(3, 40)], &[(1, 300)]), WORK);
        assert_eq!(summary(&found), [(vec![0, 3, 2, 1, 0], 40, 0)]);
        // There and back over one line is no cycle, nor is one without an end.
        assert_eq!(find(&edges, &query(&[(1, 40)], &[]), WORK), Cycles::default());
        assert_eq!(find(&edges, &query(&[], &[(1, 40)]), WORK), Cycles::default());
        assert_eq!(find(&edges, &query(&[(9, 40)], &[(1, 40)]), WORK), Cycles::default());
    }

    #[test]
    fn fees_count_on_the_first_line_and_are_bounded() {
        let edges = ring(100, add(2));
        let found = find(&edges, &query(&[(1, 66)], &[(3, 80)]), WORK);
        assert_eq!(summary(&found), [(vec![0, 1, 2, 3, 0], 60, 6)]);
        // Six of 50 is more than a tenth.
        assert_eq!(find(&edges, &query(&[(1, 56)], &[(3, 80)]), WORK), Cycles::default());
    }

    #[test]
    fn a_cheap_narrow_cycle_is_found_beside_a_dear_wide_one() {
        let mut edges = ring(100, Rate { ppm: 90_000, add: 0 });
        edges.insert((1, 3), (10, add(0)));
        edges.insert((0, 1), (100, add(0)));
        let found = find(&edges, &query(&[(1, 90)], &[(3, 90)]), WORK);
        assert_eq!(summary(&found), [(vec![0, 1, 3, 0], 10, 0)]);
    }

    #[test]
    fn several_cycles_are_feasible_together() {
        let mut edges = ring(20, add(0));
        edges.insert((1, 3), (15, add(0)));
        edges.insert((1, 4), (30, add(0)));
        edges.insert((4, 0), (30, add(0)));
        edges.insert((0, 4), (30, add(0)));
        edges.insert((0, 1), (60, add(0)));
        let found = find(&edges, &query(&[(1, 60)], &[(3, 50), (4, 25)]), WORK);
        let moved: u128 = found.routes.iter().map(|route| route.amount.0).sum();
        assert_eq!(moved, 45, "{found:?}");
        let exclude = vec![Edge { from: key(1), to: key(4) }];
        let without = CycleQuery { exclude, ..query(&[(1, 60)], &[(3, 50), (4, 25)]) };
        assert_eq!(summary(&find(&edges, &without, WORK)), [(vec![0, 1, 2, 3, 0], 20, 0)]);
        let exclude = vec![Edge { from: key(0), to: key(1) }];
        let without = CycleQuery { exclude, ..query(&[(1, 60)], &[(3, 50), (4, 25)]) };
        assert_eq!(find(&edges, &without, WORK), Cycles::default());
    }

    #[test]
    fn the_work_of_a_search_is_bounded() {
        let edges = ring(100, add(0));
        let mut found = Vec::new();
        for work in 0..40 {
            let cycles = find(&edges, &query(&[(1, 40)], &[(3, 30)]), work);
            assert!(work < 2 || cycles.cut_short || !cycles.routes.is_empty(), "{work}");
            found.push(cycles.routes.len());
        }
        assert_eq!((found[0], found[39]), (0, 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        /// Whatever is found is right, and where no fee is too high some cycle is found exactly when
        /// there is one.
        #[test]
        fn cycles_are_found_where_there_are_any(
            edges in prop::collection::btree_map(
                (0_u8..8, 0_u8..8),
                (0_u128..60, (0_u32..200_000, 0_u64..4)),
                1..40,
            ),
            sides in prop::collection::vec(prop::option::of(any::<bool>()), 7),
            most in 1_u128..80,
            free in any::<bool>(),
        ) {
            let edges: Edges = edges
                .into_iter()
                .filter(|((from, to), _)| from != to)
                .map(|(ends, (capacity, (ppm, fee)))| {
                    let rate = if free { add(0) } else { Rate { ppm, add: fee } };
                    (ends, (capacity, rate))
                })
                .collect();
            prop_assume!(!edges.is_empty());
            let side = |wanted: bool| -> Vec<(u8, u128)> {
                let friends = (1_u8..).zip(&sides).filter(|(_, side)| **side == Some(wanted));
                friends.map(|(friend, _)| (friend, most)).collect()
            };
            let (first, last) = (side(true), side(false));
            let found = find(&edges, &query(&first, &last), WORK);
            prop_assert!(!found.cut_short);
            let usable = |ends: &(u8, u8)| edges.get(ends).is_some_and(|(room, _)| *room != 0);
            let mut reached: Vec<u8> =
                first.iter().map(|(friend, _)| *friend).filter(|f| usable(&(0, *f))).collect();
            let mut at = 0;
            while let Some(node) = reached.get(at).copied() {
                let next = (1..8).filter(|to| usable(&(node, *to)) && !reached.contains(to));
                let next: Vec<u8> = next.collect();
                reached.extend(next);
                at += 1;
            }
            let exists = last.iter().any(|(f, _)| reached.contains(f) && usable(&(*f, 0)));
            prop_assert!(exists || found.routes.is_empty());
            if free {
                prop_assert_eq!(exists, !found.routes.is_empty());
            }
        }
    }
}
