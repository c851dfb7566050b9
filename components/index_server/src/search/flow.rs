//! What parts pay together, where some of it may be pushed back.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use offset_proto::Credits;

use super::{
    ground::Ground,
    path::{Part, Path},
};
use crate::graph::{Edge, Number, index};

/// One hop of a way that may push flow back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hop {
    pub(super) from: Number,
    pub(super) to: Number,
    /// The edge that is taken; `None` where flow from `to` to `from` is pushed back.
    pub(super) forward: Option<Edge>,
}

/// What parts pay over the edges together, fees apart.
#[derive(Debug, Default)]
pub(super) struct Flow {
    edges: BTreeMap<(Number, Number), (Credits, Edge)>,
}

impl Flow {
    /// The flow of parts.
    pub(super) fn of(parts: &[Part]) -> Self {
        let mut flow = Self::default();
        for Part { path, amount, .. } in parts {
            for (from, to, edge) in path.hops() {
                flow.push(Hop { from, to, forward: Some(*edge) }, *amount);
            }
        }
        flow
    }

    /// The edges that carry anything from a node, and how much.
    pub(super) fn from(&self, node: Number) -> impl Iterator<Item = (Number, Credits)> {
        let edges = self.edges.range((node, 0)..=(node, Number::MAX));
        edges.map(|(&(_, to), &(flow, _))| (to, flow))
    }

    /// Pushes so much over a hop. What flows the other way is pushed back first.
    pub(super) fn push(&mut self, hop: Hop, credits: Credits) {
        let back = self.edges.get(&(hop.to, hop.from)).map_or(Credits::ZERO, |(flow, _)| *flow);
        let pushed_back = back.min(credits);
        if pushed_back != Credits::ZERO {
            self.pull((hop.to, hop.from), pushed_back);
        }
        let more = credits.checked_sub(pushed_back).unwrap_or_default();
        if let Some(edge) = hop.forward
            && more != Credits::ZERO
        {
            let (flow, _) = self.edges.entry((hop.from, hop.to)).or_insert((Credits::ZERO, edge));
            *flow = flow.checked_add(more).unwrap_or(Credits(u128::MAX));
        }
    }

    fn pull(&mut self, edge: (Number, Number), credits: Credits) {
        if let Some((flow, _)) = self.edges.get_mut(&edge) {
            *flow = flow.checked_sub(credits).unwrap_or_default();
            if *flow == Credits::ZERO {
                self.edges.remove(&edge);
            }
        }
    }

    /// Takes out the widest way from `source` to `destination` and how much flows over it.
    pub(super) fn take_path(
        &mut self,
        source: Number,
        destination: Number,
    ) -> Option<(Path, Credits)> {
        let mut queue = BinaryHeap::from([(Credits(u128::MAX), Reverse(0), source, source)]);
        let mut before: BTreeMap<Number, Number> = BTreeMap::new();
        let width = loop {
            let (width, Reverse(hops), node, from) = queue.pop()?;
            if before.contains_key(&node) {
                continue;
            }
            before.insert(node, from);
            if node == destination {
                break width;
            }
            for (to, flow) in self.from(node) {
                if !before.contains_key(&to) {
                    queue.push((width.min(flow), Reverse(hops + 1), to, node));
                }
            }
        };
        let mut nodes = vec![destination];
        let mut edges = Vec::new();
        let mut node = destination;
        while node != source {
            let from = *before.get(&node)?;
            edges.push(self.edges.get(&(from, node))?.1);
            self.pull((from, node), width);
            nodes.push(from);
            node = from;
        }
        nodes.reverse();
        edges.reverse();
        Some((Path { nodes, edges }, width))
    }
}

impl Ground<'_> {
    /// The widest way, where `flow` may be pushed back over the edges that it takes. At most `most`
    /// counts as width; of equally wide ways the shortest wins. Fees are not looked at.
    pub(super) fn widest(&mut self, flow: &Flow, most: Credits) -> Option<(Vec<Hop>, Credits)> {
        let graph = self.graph;
        self.scratch.begin_search(self.bound());
        let mut labels = vec![Reached { node: self.destination, by: None }];
        let mut queue = BinaryHeap::from([(most, Reverse((0, 0)))]);
        while let Some((width, Reverse((hops, label)))) = queue.pop() {
            let node = labels[label].node;
            if node == self.source {
                return Some((hops_from(&labels, label), width));
            }
            // A node that is settled has some cost.
            if self.scratch.labels[0].cost(node) == 0 || hops + 1 == index(self.max_keys) {
                continue;
            }
            self.scratch.labels[0].set(node, 0, 0);
            if !self.spend(self.degree_in(node)) {
                return None;
            }
            let settled = &self.scratch.labels[0];
            let mut push = |hop: Hop, room: Credits| {
                if room != Credits::ZERO && settled.cost(hop.from) != 0 {
                    queue.push((width.min(room), Reverse((hops + 1, labels.len()))));
                    labels.push(Reached { node: hop.from, by: Some((label, hop)) });
                }
            };
            for (to, flow) in flow.from(node) {
                push(Hop { from: to, to: node, forward: None }, flow);
            }
            for link in graph.inward(node) {
                let from = self.begin_of(link.peer);
                let capacity = graph.capacity(link.peer, node, link.capacity);
                let edge = Edge { capacity, rate: graph.rate(link.rate) };
                let room = self.room(from, node, capacity);
                push(Hop { from, to: node, forward: Some(edge) }, room);
            }
        }
        None
    }
}

/// How the search for the widest way came to a node.
struct Reached {
    node: Number,
    /// The hop that begins here, and where it led from.
    by: Option<(usize, Hop)>,
}

fn hops_from(reached: &[Reached], mut at: usize) -> Vec<Hop> {
    let mut hops = Vec::new();
    while let Some((next, hop)) = reached[at].by {
        hops.push(hop);
        at = next;
    }
    hops
}
