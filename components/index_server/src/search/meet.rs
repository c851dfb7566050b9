//! The search from both ends at once: the fast one, exact for a single route.
//!
//! The backward half is Dijkstra's search with the amount as it really grows. The forward half does
//! not know the fees that come later, so it asks of an edge no more than the amount and the fee at
//! its end. Where
//! both meet, the sum is never above the cost of a feasible route, so a meeting that turns out to be
//! feasible is the cheapest route there is. Where it is not, the rest of the way after an edge that
//! fails is itself the cheapest from there on: no route at all can use that edge for this amount. It
//! is left out, and the search is made again.
//!
//! While fees are 0 (they are for most of mutual credit) a search in breadth from both ends is as
//! good and faster. It is tried first wherever most edges are free: a way without fees is the
//! cheapest.
//!
//! A cost is the fee times 64 plus the number of hops, in 64 bits, so of equally dear routes the
//! shortest wins. A route has at most 31 hops, so among routes the order is exact; what is longer
//! than a route may be only looks dearer than it is.

use std::cmp::Reverse;

use offset_proto::Credits;

use super::{
    ground::Ground,
    path::{Part, Path},
    scratch::{BEGINS, ENDS, Scratch},
};
use crate::graph::{CurrencyGraph, FREE, Number, RateNumber, index};

/// How a search from both ends ended.
enum Meeting {
    /// At this node, or nowhere.
    At(Option<Number>),
    /// Nothing was found, and some fees are too large for this search.
    TooLarge,
}

impl Ground<'_> {
    /// The cheapest way for `amount` with what is not held; among equally cheap ones the shortest.
    pub(super) fn cheapest(&mut self, amount: Credits) -> Option<Path> {
        let Some(small) = u64::try_from(amount.0).ok().filter(|small| *small < MOST) else {
            return self.cheapest_backwards(amount);
        };
        if self.graph.dear_count() <= self.graph.edge_count() / MOSTLY_FREE {
            let path = self.meet_free(small).and_then(|node| self.path_over(node));
            if let Some(path) = path.filter(|path| self.is_short(path)) {
                return Some(path);
            }
            if self.graph.dear_count() == 0 || self.cut_short {
                return None;
            }
        }
        let mut unusable = Vec::new();
        let found = self.cheapest_by_meeting(small, &mut unusable);
        // What was left out for this amount is there for others.
        for (from, to, held) in unusable.into_iter().rev() {
            self.held.set(from, to, held);
        }
        found.unwrap_or_else(|Undecided| self.cheapest_backwards(amount))
    }

    fn cheapest_by_meeting(
        &mut self,
        amount: u64,
        unusable: &mut Vec<(Number, Number, Credits)>,
    ) -> Result<Option<Path>, Undecided> {
        let credits = Credits(u128::from(amount));
        for _ in 0..MEETINGS {
            let path = match self.meet(amount) {
                Meeting::At(node) => node.and_then(|node| self.path_over(node)),
                Meeting::TooLarge => return Err(Undecided),
            };
            let Some(path) = path else { return Ok(None) };
            if self.cut_short {
                let usable = self.is_short(&path) && path.is_simple();
                return Ok(Some(path).filter(|path| usable && self.part(path, credits).is_some()));
            }
            if !self.is_short(&path) {
                return Err(Undecided);
            }
            let Some(fee) = path.fee(credits) else { return Err(Undecided) };
            let part = Part { path, amount: credits, fee };
            let failing: Vec<(Number, Number)> = part
                .carried()
                .zip(&part.path.edges)
                .filter(|((from, to, carried), edge)| {
                    self.room(*from, *to, edge.capacity) < *carried
                })
                .map(|((from, to, _), _)| (from, to))
                .collect();
            if failing.is_empty() {
                return Ok(Some(part.path));
            }
            for (from, to) in failing {
                unusable.push((from, to, self.held.of(from, to)));
                self.hold(from, to, Credits(u128::MAX));
            }
        }
        Err(Undecided)
    }

    fn is_short(&self, path: &Path) -> bool {
        path.nodes.len() <= index(self.max_keys)
    }

    /// The path over the node at which both halves met.
    fn path_over(&self, node: Number) -> Option<Path> {
        let [forward, backward] = &self.scratch.labels;
        let mut nodes = vec![node];
        let mut at = node;
        while at != self.source {
            at = self.node_before(forward.via(at), at);
            nodes.push(at);
        }
        nodes.reverse();
        at = node;
        while at != self.destination {
            at = self.next_node(backward.via(at), at);
            nodes.push(at);
        }
        self.path(nodes)
    }

    /// Dijkstra's search from both ends.
    fn meet(&mut self, amount: u64) -> Meeting {
        self.begin_meeting();
        let mut meeting = Best { cost: u64::MAX, node: None, too_large: false };
        let [forward, backward] = &mut self.scratch.queues;
        forward.push(Reverse((0, self.source)));
        backward.push(Reverse((0, self.destination)));
        loop {
            let [forward, backward] = &self.scratch.queues;
            let (Some(Reverse((near, from))), Some(Reverse((far, to)))) =
                (forward.peek().copied(), backward.peek().copied())
            else {
                break;
            };
            if meeting.cost <= near.saturating_add(far) {
                break;
            }
            // The side with less to do goes on.
            if forward.len() <= backward.len() {
                self.scratch.queues[0].pop();
                if near == self.scratch.labels[0].cost(from) {
                    if !self.spend(self.degree_out(from)) {
                        break;
                    }
                    self.go_forward((near, from), far, amount, &mut meeting);
                }
            } else {
                self.scratch.queues[1].pop();
                if far == self.scratch.labels[1].cost(to) {
                    if !self.spend(self.degree_in(to)) {
                        break;
                    }
                    self.go_backward((far, to), near, amount, &mut meeting);
                }
            }
        }
        if meeting.too_large && DEAREST <= meeting.cost {
            return Meeting::TooLarge;
        }
        Meeting::At(meeting.node)
    }

    fn begin_meeting(&mut self) {
        self.scratch.begin_search(self.graph.bound());
        let [forward, backward] = &mut self.scratch.labels;
        forward.set(self.source, 0, 0);
        backward.set(self.destination, 0, 0);
    }

    /// Looks at every edge that begins at a node. `rest` is the least that a way costs from a node
    /// that the other half has not settled.
    fn go_forward(
        &mut self,
        (before, node): (u64, Number),
        rest: u64,
        amount: u64,
        best: &mut Best,
    ) {
        let (graph, destination, real) = (self.graph, self.destination, self.real(node));
        let Scratch { labels: [forward, backward], queues: [queue, _], marks, .. } =
            &mut *self.scratch;
        let held = marks.has(node, BEGINS);
        for (slot, link) in (0..).zip(graph.outward(real)) {
            if link.capacity < amount {
                continue;
            }
            let to = link.peer;
            let known = forward.cost(to);
            if known <= before {
                continue;
            }
            let Some(cost) = step(graph, link.rate, amount, before, to == destination) else {
                best.too_large = true;
                continue;
            };
            // At least the next one's fee goes over the edge with the amount.
            let carried = amount + (cost - before) / HOP_COSTS;
            if known <= cost || link.capacity < carried {
                continue;
            }
            if held && marks.has(to, ENDS) {
                let capacity = graph.capacity(real, to, link.capacity);
                if self.held.room(node, to, capacity) < Credits(u128::from(carried)) {
                    continue;
                }
            }
            let other = backward.cost(to);
            if best.cost <= cost.saturating_add(rest.min(other)) {
                continue;
            }
            forward.set(to, cost, slot_number(graph.slots(real).start, slot));
            best.meet(cost, other, to);
            if to != destination {
                queue.push(Reverse((cost, to)));
            }
        }
    }

    /// Looks at every edge that ends at a node; the mirror image of [`Ground::go_forward`], but for
    /// the amount, which grows.
    fn go_backward(
        &mut self,
        (cost, node): (u64, Number),
        rest: u64,
        amount: u64,
        best: &mut Best,
    ) {
        let graph = self.graph;
        let (source, seam, is_end) =
            (self.source, self.real(self.source), node == self.destination);
        let Scratch { labels: [forward, backward], queues: [_, queue], marks, .. } =
            &mut *self.scratch;
        let held = marks.has(node, ENDS);
        for (slot, link) in (0..).zip(graph.inward(node)) {
            if link.capacity < amount {
                continue;
            }
            let from = if link.peer == seam { source } else { link.peer };
            let known = backward.cost(from);
            if known <= cost {
                continue;
            }
            let Some(cost) = step(graph, link.rate, amount, cost, is_end) else {
                best.too_large = true;
                continue;
            };
            // The fees of the node and of all after it go over the edge with the amount.
            let carried = amount + cost / HOP_COSTS;
            if known <= cost || link.capacity < carried {
                continue;
            }
            if held && marks.has(from, BEGINS) {
                let capacity = graph.capacity(link.peer, node, link.capacity);
                if self.held.room(from, node, capacity) < Credits(u128::from(carried)) {
                    continue;
                }
            }
            let other = forward.cost(from);
            if best.cost <= cost.saturating_add(rest.min(other)) {
                continue;
            }
            backward.set(from, cost, slot_number(graph.slots(node).start, slot));
            best.meet(cost, other, from);
            if from != source {
                queue.push(Reverse((cost, from)));
            }
        }
    }

    /// Where searches in breadth over free edges meet, one from each end: on a shortest way.
    fn meet_free(&mut self, amount: u64) -> Option<Number> {
        self.begin_meeting();
        let mut sides = [vec![self.source], vec![self.destination]];
        let mut edges = [self.degree_out(self.source), self.degree_in(self.destination)];
        let mut next = Vec::new();
        while !sides.iter().any(Vec::is_empty) {
            let side = usize::from(edges[1] < edges[0]);
            if !self.spend(edges[side]) {
                return None;
            }
            edges[side] = 0;
            for node in std::mem::take(&mut sides[side]) {
                let met = if side == 0 {
                    self.spread_forward(node, amount, &mut next)
                } else {
                    self.spread_backward(node, amount, &mut next)
                };
                if met.is_some() {
                    return met;
                }
            }
            for node in &next {
                edges[side] +=
                    if side == 0 { self.degree_out(*node) } else { self.degree_in(*node) };
            }
            std::mem::swap(&mut sides[side], &mut next);
        }
        None
    }

    fn spread_forward(
        &mut self,
        node: Number,
        amount: u64,
        next: &mut Vec<Number>,
    ) -> Option<Number> {
        let (graph, destination, real) = (self.graph, self.destination, self.real(node));
        let Scratch { labels: [forward, backward], marks, .. } = &mut *self.scratch;
        let held = marks.has(node, BEGINS);
        for (slot, link) in (0..).zip(graph.outward(real)) {
            let to = link.peer;
            let usable = amount <= link.capacity && (link.rate == FREE || to == destination);
            if !usable || forward.cost(to) != u64::MAX {
                continue;
            }
            if held && marks.has(to, ENDS) {
                let capacity = graph.capacity(real, to, link.capacity);
                if self.held.room(node, to, capacity) < Credits(u128::from(amount)) {
                    continue;
                }
            }
            forward.set(to, 0, slot_number(graph.slots(real).start, slot));
            if backward.cost(to) != u64::MAX {
                return Some(to);
            }
            next.push(to);
        }
        None
    }

    fn spread_backward(
        &mut self,
        node: Number,
        amount: u64,
        next: &mut Vec<Number>,
    ) -> Option<Number> {
        let graph = self.graph;
        let (source, seam, is_end) =
            (self.source, self.real(self.source), node == self.destination);
        let Scratch { labels: [forward, backward], marks, .. } = &mut *self.scratch;
        let held = marks.has(node, ENDS);
        for (slot, link) in (0..).zip(graph.inward(node)) {
            let from = if link.peer == seam { source } else { link.peer };
            let usable = amount <= link.capacity && (link.rate == FREE || is_end);
            if !usable || backward.cost(from) != u64::MAX {
                continue;
            }
            if held && marks.has(from, BEGINS) {
                let capacity = graph.capacity(link.peer, node, link.capacity);
                if self.held.room(from, node, capacity) < Credits(u128::from(amount)) {
                    continue;
                }
            }
            backward.set(from, 0, slot_number(graph.slots(node).start, slot));
            if forward.cost(from) != u64::MAX {
                return Some(from);
            }
            next.push(from);
        }
        None
    }
}

/// Some edges turned out to be unusable over and over, or the way found is too long for a route.
struct Undecided;

/// The best meeting so far.
struct Best {
    cost: u64,
    node: Option<Number>,
    /// Some edge was left out because of a fee that does not fit.
    too_large: bool,
}

impl Best {
    fn meet(&mut self, cost: u64, other: u64, node: Number) {
        let cost = cost.saturating_add(other);
        if cost < self.cost {
            (self.cost, self.node) = (cost, Some(node));
        }
    }
}

/// What a way costs after one more hop; `None` when that is too large for this search.
fn step(
    graph: &CurrencyGraph,
    rate: RateNumber,
    amount: u64,
    cost: u64,
    last: bool,
) -> Option<u64> {
    // The destination takes nothing.
    if last || rate == FREE {
        return Some(cost + 1);
    }
    let fee = graph.small_fee(rate, amount)?;
    if DEAREST / HOP_COSTS <= fee || LARGEST < cost {
        return None;
    }
    Some(cost + fee * HOP_COSTS + 1)
}

fn slot_number(start: usize, place: usize) -> u32 {
    u32::try_from(start + place).expect("slots have 32 bits")
}

/// So many hops would cost as much as one credit.
const HOP_COSTS: u64 = 64;
/// Amounts from here on are left to the backward search.
const MOST: u64 = 1 << 62;
/// A hop that costs this much is left to the backward search.
const DEAREST: u64 = 1 << 54;
/// No way that costs more is looked at.
const LARGEST: u64 = 1 << 62;
/// Free ways are looked for first where no more than one edge in so many takes a fee.
const MOSTLY_FREE: usize = 4;
/// So often edges are left out before the backward search decides.
const MEETINGS: usize = 8;
