//! Which of the routes that were found pay an amount together at the least fee.
//!
//! Every method that shares an amount comes upon more routes than it uses in the end. Choosing among
//! them needs no look at the graph: a few dozen routes over a few hundred edges fit into a small
//! table, and thousands of choices are reckoned there in the time of a few searches. The choice is
//! bettered by exchanges, one route for another, while any exchange makes it better.
//!
//! A choice is reckoned by filling its routes one after the other, those with the lowest rates first.
//! Fees are taken as proportional with a fixed part, not rounded for each mediator, so what
//! is chosen is to be reckoned exactly by whoever uses it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ground::Ground,
    path::{Part, Path},
};
use crate::graph::Number;

/// Routes that were found for one question, each once.
#[derive(Debug, Default)]
pub(super) struct Pool {
    paths: Vec<Path>,
    known: BTreeSet<Vec<Number>>,
}

impl Pool {
    /// Notes a route, unless there are very many.
    pub(super) fn note(&mut self, path: Path) {
        if self.paths.len() < MOST_PATHS && self.known.insert(path.nodes.clone()) {
            self.paths.push(path);
        }
    }

    /// The routes that pay `amount` together best, of which there are at most `max_parts`, in the
    /// order in which they are to be filled. Begins with those of `parts`.
    pub(super) fn choose(
        &self,
        ground: &Ground<'_>,
        amount: u64,
        max_parts: usize,
        parts: &[Part],
    ) -> Vec<Path> {
        let mut table = Table::new(ground, &self.paths);
        let start: BTreeSet<&[Number]> = parts.iter().map(|part| &*part.path.nodes).collect();
        let is_in = |way: &Way| start.contains(&*self.paths[way.path].nodes);
        let chosen = (0..).zip(&table.ways).filter(|(_, way)| is_in(way)).map(|(place, _)| place);
        let chosen = chosen.take(max_parts).collect();
        let chosen = table.better(amount, max_parts, chosen);
        chosen.into_iter().map(|place| self.paths[table.ways[place].path].clone()).collect()
    }
}

/// The routes as a table, those with the lowest rates first.
struct Table {
    ways: Vec<Way>,
    /// What each edge that any route uses can carry.
    room: Vec<u64>,
    /// What of it is left while a choice is reckoned.
    left: Vec<u64>,
    reckoned: usize,
}

struct Way {
    path: usize,
    hops: Vec<Hop>,
    /// What all mediators take.
    fee: Fee,
}

struct Hop {
    edge: usize,
    /// What the mediators from its end on take: it is carried too.
    fee: Fee,
    /// The share that is paid of what the edge carries besides the fixed part of the fees.
    paid: u64,
}

/// A fee of a proportional and a fixed part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Fee {
    /// Of the amount.
    share: u64,
    add: u64,
}

impl Fee {
    fn of(self, amount: u64) -> u64 {
        times(amount, self.share).saturating_add(self.add)
    }
}

/// How much a choice pays too little, and what it costs.
type Worth = (u64, u64);

impl Table {
    fn new(ground: &Ground<'_>, paths: &[Path]) -> Self {
        let mut edges: BTreeMap<(Number, Number), usize> = BTreeMap::new();
        let mut table = Self { ways: Vec::new(), room: Vec::new(), left: Vec::new(), reckoned: 0 };
        for (number, path) in paths.iter().enumerate() {
            let (mut hops, mut ppm, mut fee) = (Vec::new(), 0, Fee::default());
            let ends: Vec<_> = path.hops().collect();
            for (place, (from, to, edge)) in ends.into_iter().enumerate().rev() {
                // The last edge ends at the destination, which takes nothing.
                if place + 1 < path.edges.len() {
                    ppm += u64::from(edge.rate.ppm);
                    fee.add = fee.add.saturating_add(edge.rate.add);
                }
                fee.share = share(ppm, MILLION);
                let edge = *edges.entry((from, to)).or_insert_with(|| {
                    let room = ground.room(from, to, edge.capacity);
                    table.room.push(u64::try_from(room.0).unwrap_or(u64::MAX));
                    table.room.len() - 1
                });
                hops.push(Hop { edge, fee, paid: share(MILLION, MILLION + ppm) });
            }
            // Who takes more than what is paid is of no use.
            if ppm <= MILLION {
                table.ways.push(Way { path: number, hops, fee });
            }
        }
        table.ways.sort_by_key(|way| (way.fee, way.hops.len()));
        table
    }

    /// What a choice is worth; ways that are of no use fall out of it.
    fn worth(&mut self, amount: u64, chosen: &mut Vec<usize>) -> Worth {
        self.reckoned += 1;
        self.left.clone_from(&self.room);
        let (mut missing, mut fees) = (amount, 0_u64);
        chosen.retain(|place| {
            let way = &self.ways[*place];
            let mut pays = missing;
            for hop in &way.hops {
                let above = self.left[hop.edge].saturating_sub(hop.fee.add);
                pays = pays.min(times(above, hop.paid));
            }
            if pays == 0 {
                return false;
            }
            for hop in &way.hops {
                let carried = pays.saturating_add(hop.fee.of(pays));
                self.left[hop.edge] = self.left[hop.edge].saturating_sub(carried);
            }
            missing -= pays;
            fees = fees.saturating_add(way.fee.of(pays));
            true
        });
        (missing, fees)
    }

    /// Exchanges ways of a choice for others while that makes it better.
    fn better(&mut self, amount: u64, max_parts: usize, mut best: Vec<usize>) -> Vec<usize> {
        let mut worth = self.worth(amount, &mut best);
        let mut unchanged = 0;
        // Each way in its turn, until the choice withstood all of them.
        for new in (0..self.ways.len()).cycle() {
            if unchanged == self.ways.len() || MOST_RECKONED < self.reckoned {
                break;
            }
            unchanged += 1;
            if let Some((better, other)) = self.exchange(amount, max_parts, &best, new)
                && better < worth
            {
                (worth, best, unchanged) = (better, other, 0);
            }
        }
        best
    }

    /// The best choice with one way more, beside all others or in the place of one.
    fn exchange(
        &mut self,
        amount: u64,
        max_parts: usize,
        chosen: &[usize],
        new: usize,
    ) -> Option<(Worth, Vec<usize>)> {
        if chosen.contains(&new) {
            return None;
        }
        let places = if chosen.len() < max_parts { 0..=chosen.len() } else { 0..=max_parts - 1 };
        let mut best: Option<(Worth, Vec<usize>)> = None;
        let mut other = Vec::with_capacity(chosen.len() + 1);
        for old in places {
            other.clear();
            other
                .extend(chosen.iter().enumerate().filter(|(at, _)| *at != old).map(|(_, way)| way));
            other.insert(other.partition_point(|way| *way < new), new);
            let worth = self.worth(amount, &mut other);
            if best.as_ref().is_none_or(|(best, _)| worth < *best) {
                best = Some((worth, other.clone()));
            }
        }
        best
    }
}

/// A share as a number of 2^63rds, at most [`ONE`].
fn share(part: u64, of: u64) -> u64 {
    let share = u128::from(part) * u128::from(ONE) / u128::from(of.max(1));
    u64::try_from(share).unwrap_or(ONE).min(ONE)
}

/// A share of an amount, rounded down.
fn times(amount: u64, share: u64) -> u64 {
    u64::try_from((u128::from(amount) * u128::from(share)) >> ONE.ilog2()).unwrap_or(u64::MAX)
}

/// The whole, as a share.
const ONE: u64 = 1 << 63;
/// Of rates.
const MILLION: u64 = 1_000_000;
/// More routes of one question are not noted.
const MOST_PATHS: usize = 128;
/// So many choices are reckoned, and those of one more exchange.
const MOST_RECKONED: usize = 8_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// A way over edges that no other uses, or over those given.
    fn way(edges: &[usize], ppm: u64, add: u64) -> Way {
        let fee = Fee { share: share(ppm, MILLION), add };
        let hop = |edge: &usize| Hop { edge: *edge, fee, paid: share(MILLION, MILLION + ppm) };
        Way { path: 0, hops: edges.iter().map(hop).collect(), fee }
    }

    fn table(ways: Vec<Way>, room: &[u64]) -> Table {
        Table { ways, left: Vec::new(), room: room.to_vec(), reckoned: 0 }
    }

    #[test]
    fn one_way_takes_the_place_of_another_and_shares_its_edges() {
        let ways = vec![way(&[0, 1], 0, 0), way(&[0], 1_000, 0), way(&[1], 1_000, 0)];
        let mut table = table(ways, &[1_000_000, 400_000]);
        assert_eq!(table.better(500_000, 1, vec![0]), [1]);
        // The cheapest is filled first, and nothing of the second edge is left.
        assert_eq!(table.better(900_000, 3, vec![2]), [0, 1]);
        // Of a million that an edge carries 999 are a fee.
        assert_eq!(table.worth(2_000_000, &mut vec![1]).0, 2_000_000 - 999_000);
        assert_eq!(table.worth(2_000_000, &mut vec![0, 1]).0, 2_000_000 - 400_000 - 599_400);
    }

    #[test]
    fn no_more_ways_are_chosen_than_may_be_and_none_without_use() {
        let ways = || (0..6).map(|edge| way(&[edge], 10 * edge as u64, 3)).collect::<Vec<_>>();
        let room = [100, 100, 100, 1_000, 1_000, 1_000];
        assert_eq!(table(ways(), &room).better(1_900, 2, vec![0, 1]), [3, 4]);
        // A fixed fee more is dearer than what the narrow ways save.
        assert_eq!(table(ways(), &room).better(900, 6, vec![0, 1, 2, 3]), [3]);
        // What cannot be paid is paid as far as possible.
        assert_eq!(table(ways(), &room).better(9_000, 2, vec![0, 1]).len(), 2);
    }

    #[test]
    fn numbers_that_do_not_fit_are_the_largest() {
        let ways = vec![way(&[0], MILLION, u64::MAX), way(&[1], 0, 0)];
        let mut table = table(ways, &[u64::MAX, u64::MAX]);
        assert_eq!(table.better(u64::MAX, 2, vec![0]), [1]);
        assert_eq!(times(u64::MAX, ONE), u64::MAX);
        assert_eq!(share(u64::MAX, 1), ONE);
    }
}
