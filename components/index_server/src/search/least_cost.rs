//! The flow of least cost: successive shortest paths with prices (Ahuja, Magnanti and Orlin,
//! *Network Flows*, 1993, section 9.7), each path found from both ends at once.
//!
//! Every path is the cheapest on which flow may still be sent, or sent back where an earlier path
//! sent it. With prices of nodes no edge of what is left costs less than nothing, so each path is a
//! search as `meet` makes it. After it, prices move only where the search has been: by the
//! distance from each end, up to radii that add up to the length of the path. Of the methods for
//! such flows this is the one that does no work for the part of the graph that the flow has nothing
//! to do with; cost scaling and network simplex look at all of it (Király and Kovács, *Efficient
//! implementations of minimum-cost flow algorithms*, 2012). A payment takes few paths.
//!
//! Fees are not linear: each has a fixed part, and is rounded up. An edge costs here what its end
//! would really take for a part of the size that is expected, as Pickhardt and Richter (*Optimally
//! reliable and cheap payment flows on the Lightning network*, 2021) leave the fixed part out or
//! count it in; the parts that come of it are then reckoned exactly.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use offset_proto::Credits;

use super::{
    flow::{Flow, Hop},
    ground::Ground,
    scratch::{BEGINS, ENDS, FLOWS, Scratch},
};
use crate::graph::{FREE, Link, Number, RateNumber};

/// Which flow is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) amount: u64,
    /// How much a part is expected to pay: fees are those of such a part.
    pub(super) part: u64,
    /// Edges with less room are not used.
    pub(super) least_room: u64,
    /// Every path carries a multiple of so much.
    pub(super) unit: u64,
}

impl Ground<'_> {
    /// A flow of least cost by the plan, with what is not held; less than the amount where there is
    /// no more. `None` where fees do not fit into 64 bits.
    pub(super) fn least_cost(&mut self, plan: Plan, max_paths: usize) -> Option<Flow> {
        if plan.part == 0 || plan.unit == 0 || MOST < plan.amount {
            return None;
        }
        let bound = self.bound();
        self.scratch.prices.begin(bound);
        let mut rest = Rest { ground: self, plan, carried: BTreeMap::new(), back: BTreeSet::new() };
        let mut missing = plan.amount.div_ceil(plan.unit) * plan.unit;
        for _ in 0..max_paths {
            if missing == 0 {
                break;
            }
            let Some(path) = rest.cheapest() else { break };
            let width = rest.width(&path, missing)?;
            for step in path.windows(2) {
                rest.push(step[0], step[1], width);
            }
            missing -= width;
        }
        rest.flow()
    }
}

/// What is left of the graph beside what flows already.
struct Rest<'g, 'a> {
    ground: &'g mut Ground<'a>,
    plan: Plan,
    /// What flows, by where from and where to.
    carried: BTreeMap<(Number, Number), u64>,
    /// The same edges by where to and where from.
    back: BTreeSet<(Number, Number)>,
}

impl Rest<'_, '_> {
    /// The nodes of the cheapest path on which something can still flow. The prices are those after
    /// it.
    fn cheapest(&mut self) -> Option<Vec<Number>> {
        let (source, destination) = (self.ground.source, self.ground.destination);
        let bound = self.ground.bound();
        self.ground.scratch.begin_search(bound);
        for (side, node) in [source, destination].into_iter().enumerate() {
            self.ground.scratch.labels[side].set(node, 0, node);
            self.ground.scratch.queues[side].push(Reverse((0, node)));
        }
        let mut seen = Seen {
            touched: [vec![source], vec![destination]],
            known: [0, 0],
            left_out: [u64::MAX, u64::MAX],
            length: u64::MAX,
            meeting: None,
        };
        loop {
            for side in 0..2 {
                let top = self.ground.scratch.queues[side].peek();
                let top = top.map_or(u64::MAX, |Reverse((cost, _))| *cost);
                seen.known[side] = top.min(seen.left_out[side]);
            }
            // Where one side has seen everything, nothing better is left either.
            if seen.length <= seen.known[0].saturating_add(seen.known[1]) {
                break;
            }
            let [forward, backward] = &self.ground.scratch.queues;
            let side = usize::from(backward.len() < forward.len());
            let Some(Reverse((cost, node))) = self.ground.scratch.queues[side].pop() else { break };
            if cost != self.ground.scratch.labels[side].cost(node) {
                continue;
            }
            let degree =
                if side == 0 { self.ground.degree_out(node) } else { self.ground.degree_in(node) };
            if !self.ground.spend(degree) {
                return None;
            }
            self.expand(side, node, cost, &mut seen);
        }
        let nodes = self.nodes(seen.meeting?);
        // The radii add up to the length of the path, and neither goes beyond what is settled.
        let near = seen.known[0].min(seen.length);
        self.set_prices([near, seen.length - near], &seen.touched);
        Some(nodes)
    }

    /// Looks at every hop that begins (side 0) or ends (side 1) at a node.
    fn expand(&mut self, side: usize, node: Number, cost: u64, seen: &mut Seen) {
        let graph = self.ground.graph;
        let real = self.ground.real(node);
        // Nothing goes through the ends.
        let end = if side == 0 { self.ground.destination } else { self.ground.source };
        if node != end {
            let links = if side == 0 { graph.outward(real) } else { graph.inward(node) };
            for link in links {
                let other = if side == 0 { link.peer } else { self.ground.begin_of(link.peer) };
                let (from, to) = if side == 0 { (node, other) } else { (other, node) };
                if self.ground.scratch.labels[side].cost(other) <= cost {
                    continue;
                }
                if self.room(from, to, link) == 0 {
                    continue;
                }
                let Some(price) = self.price(link.rate, to) else { continue };
                self.reach(side, (from, to), price, cost, seen);
            }
        }
        if !self.ground.scratch.marks.has(node, FLOWS) {
            return;
        }
        // Back over what flows into the node (side 0), or out of it (side 1).
        let others: Vec<Number> = if side == 0 {
            self.back.range((node, 0)..=(node, Number::MAX)).map(|(_, from)| *from).collect()
        } else {
            self.carried.range((node, 0)..=(node, Number::MAX)).map(|((_, to), _)| *to).collect()
        };
        for other in others {
            let (from, to) = if side == 0 { (node, other) } else { (other, node) };
            let edge = self.link(to, from);
            let Some(price) = edge.and_then(|link| self.price(link.rate, from)) else { continue };
            self.reach(side, (from, to), -price, cost, seen);
        }
    }

    /// Notes that a hop leads on for a price.
    fn reach(
        &mut self,
        side: usize,
        (from, to): (Number, Number),
        price: i64,
        cost: u64,
        seen: &mut Seen,
    ) {
        let Scratch { labels, queues, prices, .. } = &mut *self.ground.scratch;
        let reduced = price + prices.of(from) - prices.of(to);
        debug_assert!(0 <= reduced, "no hop costs less than nothing");
        let Ok(reduced) = u64::try_from(reduced.max(0)) else { return };
        let (node, other) = if side == 0 { (from, to) } else { (to, from) };
        let cost = cost.saturating_add(reduced);
        let known = labels[side].cost(other);
        if known <= cost {
            return;
        }
        let there = labels[1 - side].cost(other);
        let length = cost.saturating_add(there);
        if known == u64::MAX {
            seen.touched[side].push(other);
        }
        labels[side].set(other, cost, node);
        if length < seen.length {
            (seen.length, seen.meeting) = (length, Some(other));
        }
        // What leads on from a node so far away is on no shorter path.
        if seen.length <= cost.saturating_add(seen.known[1 - side]) {
            seen.left_out[side] = seen.left_out[side].min(cost);
        } else {
            queues[side].push(Reverse((cost, other)));
        }
    }

    /// Moves the prices of what the search settled, so that the path costs nothing and no hop less.
    fn set_prices(&mut self, radii: [u64; 2], touched: &[Vec<Number>; 2]) {
        let Scratch { labels, prices, .. } = &mut *self.ground.scratch;
        for side in 0..2 {
            for node in &touched[side] {
                let inside = radii[side].saturating_sub(labels[side].cost(*node));
                let by = i64::try_from(inside).unwrap_or(i64::MAX);
                if by != 0 {
                    prices.raise(*node, if side == 0 { -by } else { by });
                }
            }
        }
    }

    /// The path over the node at which both halves met.
    fn nodes(&self, node: Number) -> Vec<Number> {
        let [forward, backward] = &self.ground.scratch.labels;
        let mut nodes = vec![node];
        let mut at = node;
        while at != self.ground.source {
            at = forward.via(at);
            nodes.push(at);
        }
        nodes.reverse();
        at = node;
        while at != self.ground.destination {
            at = backward.via(at);
            nodes.push(at);
        }
        nodes
    }

    /// What a hop to `to` costs; of equally dear ways the one with fewer hops is cheaper.
    fn price(&self, rate: RateNumber, to: Number) -> Option<i64> {
        if rate == FREE || to == self.ground.destination {
            return Some(1);
        }
        let fee = self.ground.graph.small_fee(rate, self.plan.part)?;
        (fee < DEAREST).then(|| i64::try_from(fee * HOP_COSTS + 1).ok()).flatten()
    }

    /// What can still be sent over an edge.
    fn room(&self, from: Number, to: Number, link: &Link) -> u64 {
        let marks = &self.ground.scratch.marks;
        let mut room = link.capacity;
        if room < self.plan.least_room {
            return 0;
        }
        if marks.has(from, BEGINS) && marks.has(to, ENDS) {
            let held = self.ground.held.room(from, to, Credits(u128::from(room)));
            room = u64::try_from(held.0).unwrap_or(u64::MAX);
        }
        if room < self.plan.least_room {
            return 0;
        }
        if self.plan.unit != 1 {
            room -= room % self.plan.unit;
        }
        if marks.has(from, FLOWS) && marks.has(to, FLOWS) {
            room = room.saturating_sub(self.carried.get(&(from, to)).copied().unwrap_or(0));
        }
        room
    }

    /// The edge between two nodes as it lies in the arrays.
    fn link(&self, from: Number, to: Number) -> Option<Link> {
        self.ground.graph.link(self.ground.real(from), to)
    }

    /// How much can flow over a path, at most `most`.
    fn width(&self, path: &[Number], most: u64) -> Option<u64> {
        path.windows(2).try_fold(most, |width, step| {
            let (from, to) = (step[0], step[1]);
            // What flows the other way is sent back first.
            let back = self.carried.get(&(to, from)).copied();
            let room = match back {
                Some(back) => back,
                None => self.room(from, to, &self.link(from, to)?),
            };
            Some(width.min(room)).filter(|width| *width != 0)
        })
    }

    fn push(&mut self, from: Number, to: Number, amount: u64) {
        if let Some(back) = self.carried.get_mut(&(to, from)) {
            *back -= amount;
            if *back == 0 {
                self.carried.remove(&(to, from));
                self.back.remove(&(from, to));
            }
            return;
        }
        *self.carried.entry((from, to)).or_default() += amount;
        self.back.insert((to, from));
        self.ground.scratch.marks.add(from, FLOWS);
        self.ground.scratch.marks.add(to, FLOWS);
    }

    fn flow(&self) -> Option<Flow> {
        let mut flow = Flow::default();
        for ((from, to), amount) in &self.carried {
            let edge = self.ground.edge(*from, *to)?;
            let hop = Hop { from: *from, to: *to, forward: Some(edge) };
            flow.push(hop, Credits(u128::from(*amount)));
        }
        Some(flow)
    }
}

/// What a search from both ends has seen.
struct Seen {
    /// The nodes with labels, of each side.
    touched: [Vec<Number>; 2],
    /// All that costs less on each side is known.
    known: [u64; 2],
    /// The least that a node costs from which one side did not go on.
    left_out: [u64; 2],
    /// What the best path costs that was found so far.
    length: u64,
    /// A node on it that both sides reached.
    meeting: Option<Number>,
}

/// So many hops cost as much as one credit.
const HOP_COSTS: u64 = 64;
/// Edges with fees from here on are not used.
const DEAREST: u64 = 1 << 40;
/// Amounts from here on are not shared this way.
const MOST: u64 = 1 << 62;
