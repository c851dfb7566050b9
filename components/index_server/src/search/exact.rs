//! The search backwards from the destination: Dijkstra's, over amounts of any size, with as many
//! labels of a node as are needed where routes grow too long. Slow beside `meet`, which
//! leaves to it only what it cannot decide.

use std::{cmp::Reverse, collections::BinaryHeap};

use offset_proto::Credits;

use super::{ground::Ground, path::Path};
use crate::graph::{FREE, Number};

impl Ground<'_> {
    /// The cheapest way for `amount` with what is not held, by searching backwards.
    pub(super) fn cheapest_backwards(&mut self, amount: Credits) -> Option<Path> {
        let mut search =
            Backwards { ground: self, amount, labels: Vec::new(), queue: BinaryHeap::new() };
        let mut end = search.run(u64::MAX);
        let max_keys = u64::from(search.ground.max_keys);
        if end.is_some_and(|label| max_keys <= search.labels[label].hops) {
            end = if search.ground.cut_short { None } else { search.run(max_keys - 1) };
        }
        let nodes = search.nodes(end?);
        self.path(nodes)
    }
}

struct Backwards<'g, 'a> {
    ground: &'g mut Ground<'a>,
    amount: Credits,
    labels: Vec<Label>,
    /// Cheapest first, then fewest hops, then oldest label.
    queue: BinaryHeap<Reverse<(Credits, u64, usize)>>,
}

/// A way from a node to the destination.
#[derive(Clone, Copy)]
struct Label {
    node: Number,
    /// What the next edge of the way carries: the amount and the fees after this node.
    carried: Credits,
    hops: u64,
    /// The label of the next node; of no meaning at the destination.
    next: usize,
}

impl Backwards<'_, '_> {
    /// The best label of the source. With a bound of hops a node may be settled again by a way with
    /// fewer of them: every label counts that no other beats in both. Of a search that was cut short
    /// the best label of the source so far.
    fn run(&mut self, max_hops: u64) -> Option<usize> {
        let pareto = max_hops < u64::MAX;
        self.labels.clear();
        self.queue.clear();
        // The cost of a node is the fewest hops of its settled labels.
        self.ground.scratch.begin_search(self.ground.bound());
        let mut best_at_source: Option<usize> = None;
        let node = self.ground.destination;
        self.push(Label { node, carried: self.amount, hops: 0, next: 0 });
        while let Some(Reverse((_, hops, label))) = self.queue.pop() {
            let node = self.labels[label].node;
            if node == self.ground.source {
                return Some(label);
            }
            let known = self.ground.scratch.labels[0].cost(node);
            if known <= hops || (!pareto && known != u64::MAX) {
                continue;
            }
            self.ground.scratch.labels[0].set(node, hops, 0);
            if hops == max_hops {
                continue;
            }
            if !self.ground.spend(self.ground.degree_in(node)) {
                return best_at_source;
            }
            self.expand(label, pareto, &mut best_at_source);
        }
        None
    }

    /// Looks at every edge that ends at the label's node.
    fn expand(&mut self, label: usize, pareto: bool, best_at_source: &mut Option<usize>) {
        let graph = self.ground.graph;
        let Label { node, carried, hops, .. } = self.labels[label];
        for link in graph.inward(node) {
            let from = self.ground.begin_of(link.peer);
            let known = self.ground.scratch.labels[0].cost(from);
            if known <= hops + 1 || (!pareto && known != u64::MAX) {
                continue;
            }
            let fee = if node == self.ground.destination || link.rate == FREE {
                Some(Credits::ZERO)
            } else {
                graph.rate(link.rate).fee(self.amount)
            };
            let Some(carried) = fee.and_then(|fee| carried.checked_add(fee)) else { continue };
            let capacity = graph.capacity(link.peer, node, link.capacity);
            if Credits::LIMIT < carried || self.ground.room(from, node, capacity) < carried {
                continue;
            }
            let new = self.push(Label { node: from, carried, hops: hops + 1, next: label });
            if from == self.ground.source && hops + 1 < u64::from(self.ground.max_keys) {
                let better = best_at_source.is_none_or(|best| {
                    let best = &self.labels[best];
                    (carried, hops + 1) < (best.carried, best.hops)
                });
                if better {
                    *best_at_source = Some(new);
                }
            }
        }
    }

    fn push(&mut self, label: Label) -> usize {
        let number = self.labels.len();
        self.queue.push(Reverse((label.carried, label.hops, number)));
        self.labels.push(label);
        number
    }

    fn nodes(&self, end: usize) -> Vec<Number> {
        let mut label = &self.labels[end];
        let mut nodes = vec![label.node];
        while label.hops != 0 {
            label = &self.labels[label.next];
            nodes.push(label.node);
        }
        nodes
    }
}
