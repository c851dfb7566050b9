//! What parts pay together, where some of it may be pushed back.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use offset_proto::Credits;

use super::ground::{Part, Path};
use crate::graph::{Incoming, Number};

/// One hop of a way that may push flow back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hop {
    pub(super) from: Number,
    pub(super) to: Number,
    /// The edge that is taken; `None` where flow from `to` to `from` is pushed back.
    pub(super) forward: Option<Incoming>,
}

/// What parts pay over the edges together, fees apart.
#[derive(Debug, Default)]
pub(super) struct Flow {
    edges: BTreeMap<(Number, Number), (Credits, Incoming)>,
}

impl Flow {
    /// The flow of parts.
    pub(super) fn of(parts: &[Part]) -> Self {
        let mut flow = Self::default();
        for Part { path, amount, .. } in parts {
            for (step, edge) in path.nodes.windows(2).zip(&path.edges) {
                if let [from, to] = step {
                    flow.push(Hop { from: *from, to: *to, forward: Some(*edge) }, *amount);
                }
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
