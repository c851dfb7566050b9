//! What our searches are compared with: simple, well known, and exact where they say so.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
};

use offset_crypto::PublicKey;
use offset_proto::Credits;
use petgraph::{
    Direction,
    graph::{DiGraph, NodeIndex},
    visit::{EdgeFiltered, EdgeRef, Reversed},
};

use crate::net::Net;

/// Dijkstra's search of the library petgraph, backwards, with our fees. It cannot let an amount
/// grow, so it asks of an edge only the bare amount.
pub(crate) struct Petgraph {
    graph: DiGraph<(), (u64, offset_proto::Rate)>,
}

impl Petgraph {
    pub(crate) fn new(net: &Net) -> Self {
        let mut graph = DiGraph::with_capacity(net.nodes, net.edges.len());
        for _ in 0..net.nodes {
            graph.add_node(());
        }
        for edge in &net.edges {
            let [from, to] = [edge.from, edge.to].map(|node| NodeIndex::new(node as usize));
            graph.add_edge(from, to, (edge.capacity, edge.rate));
        }
        Self { graph }
    }

    pub(crate) fn cheapest(&self, source: u32, destination: u32, amount: u64) -> Option<u64> {
        let [source, destination] = [source, destination].map(|n| NodeIndex::new(n as usize));
        let usable = EdgeFiltered::from_fn(&self.graph, |edge| amount <= edge.weight().0);
        let cost = |edge: petgraph::visit::ReversedEdgeReference<_>| {
            let edge: petgraph::graph::EdgeReference<'_, (u64, offset_proto::Rate)> =
                edge.into_unreversed();
            if edge.target() == destination {
                return 0;
            }
            let rate = edge.weight().1;
            (amount * u64::from(rate.ppm)).div_ceil(1_000_000) + rate.add
        };
        let costs = petgraph::algo::dijkstra(Reversed(&usable), destination, Some(source), cost);
        costs.get(&source).copied()
    }

    /// Whether the node has any edge in this direction that carries something.
    pub(crate) fn is_connected(&self, node: u32, direction: Direction) -> bool {
        let mut edges = self.graph.edges_directed(NodeIndex::new(node as usize), direction);
        edges.any(|edge| edge.weight().0 != 0)
    }
}

/// A search in breadth over maps of keys: what one writes first.
pub(crate) struct Maps(HashMap<PublicKey, Vec<(PublicKey, u64)>>);

impl Maps {
    pub(crate) fn new(net: &Net) -> Self {
        let mut maps: HashMap<PublicKey, Vec<(PublicKey, u64)>> = HashMap::new();
        for edge in &net.edges {
            let [from, to] = [edge.from, edge.to].map(|node| net.keys[node as usize]);
            maps.entry(from).or_default().push((to, edge.capacity));
        }
        Self(maps)
    }

    pub(crate) fn shortest(&self, source: PublicKey, destination: PublicKey, amount: u64) -> bool {
        let mut before = HashMap::from([(source, source)]);
        let mut queue = VecDeque::from([source]);
        while let Some(node) = queue.pop_front() {
            if node == destination {
                return true;
            }
            for (to, capacity) in self.0.get(&node).into_iter().flatten() {
                if amount <= *capacity && !before.contains_key(to) {
                    before.insert(*to, node);
                    queue.push_back(*to);
                }
            }
        }
        false
    }
}

/// A graph for exact flows, with an edge back for every edge.
pub(crate) struct Flows {
    /// Where the edges of each node begin in `order`.
    first: Vec<u32>,
    order: Vec<u32>,
    ends: Vec<u32>,
    capacities: Vec<u64>,
    /// Of each million, and besides.
    costs: Vec<(u32, u64)>,
}

impl Flows {
    pub(crate) fn new(net: &Net) -> Self {
        let count = net.edges.len();
        let (mut ends, mut capacities, mut costs) =
            (Vec::with_capacity(2 * count), Vec::with_capacity(2 * count), Vec::new());
        let mut degrees = vec![0_u32; net.nodes + 1];
        for edge in &net.edges {
            ends.extend([edge.to, edge.from]);
            capacities.extend([edge.capacity, 0]);
            costs.extend([(edge.rate.ppm, edge.rate.add); 2]);
            degrees[edge.from as usize] += 1;
            degrees[edge.to as usize] += 1;
        }
        let mut first = vec![0; net.nodes + 1];
        for node in 0..net.nodes {
            first[node + 1] = first[node] + degrees[node];
        }
        let mut at = first.clone();
        let mut order = vec![0; 2 * count];
        for (number, edge) in net.edges.iter().enumerate() {
            for (begin, number) in [(edge.from, 2 * number), (edge.to, 2 * number + 1)] {
                order[at[begin as usize] as usize] = u32::try_from(number).unwrap();
                at[begin as usize] += 1;
            }
        }
        Self { first, order, ends, capacities, costs }
    }

    fn edges(&self, node: u32) -> &[u32] {
        let node = node as usize;
        &self.order[self.first[node] as usize..self.first[node + 1] as usize]
    }

    /// The most that flows, fees apart, up to `enough` (Dinic's method).
    pub(crate) fn most(&self, source: u32, destination: u32, enough: u64) -> u64 {
        self.most_over(source, destination, enough, self.capacities.clone())
    }

    /// More than any so many parts can pay together, fees apart. If the n-th largest of them pays `a`,
    /// then n routes can carry `a` each, and a flow of n units exists where an edge carries as many as
    /// `a` goes into its capacity. So each part is bounded by the largest such `a`.
    pub(crate) fn most_by_parts(&self, source: u32, destination: u32, parts: u64) -> u64 {
        let units = |unit: u64, enough| {
            let room = self.capacities.iter().map(|capacity| capacity / unit).collect();
            self.most_over(source, destination, enough, room)
        };
        let (mut sum, mut above) = (0, self.widest(source, destination) + 1);
        for part in 1..=parts {
            let mut fits = 0;
            // Halved to a thousandth, and taken from above.
            while 1 < above - fits && fits / 1_000 < above - fits {
                let middle = fits + (above - fits) / 2;
                if part <= units(middle, part) { fits = middle } else { above = middle }
            }
            sum += above;
            above += 1;
        }
        sum
    }

    fn most_over(&self, source: u32, destination: u32, enough: u64, mut room: Vec<u64>) -> u64 {
        let mut sum = 0;
        while sum < enough {
            let mut levels = vec![u32::MAX; self.first.len() - 1];
            levels[source as usize] = 0;
            let mut queue = VecDeque::from([source]);
            while let Some(node) = queue.pop_front() {
                for edge in self.edges(node) {
                    let to = self.ends[*edge as usize];
                    if room[*edge as usize] != 0 && levels[to as usize] == u32::MAX {
                        levels[to as usize] = levels[node as usize] + 1;
                        queue.push_back(to);
                    }
                }
            }
            if levels[destination as usize] == u32::MAX {
                break;
            }
            let mut next = self.first.clone();
            let before = sum;
            sum += self.push((source, destination), enough - sum, &levels, &mut next, &mut room);
            if sum == before {
                break;
            }
        }
        sum
    }

    /// Fills every shortest way, depth first, without recursion.
    fn push(
        &self,
        (source, destination): (u32, u32),
        enough: u64,
        levels: &[u32],
        next: &mut [u32],
        room: &mut [u64],
    ) -> u64 {
        let mut sum = 0;
        let mut path: Vec<u32> = Vec::new();
        while sum < enough {
            let node = path.last().map_or(source, |edge| self.ends[*edge as usize]);
            if node == destination {
                let width = path.iter().map(|edge| room[*edge as usize]).min().unwrap();
                let width = width.min(enough - sum);
                for edge in &path {
                    room[*edge as usize] -= width;
                    room[*edge as usize ^ 1] += width;
                }
                sum += width;
                let full = path.iter().position(|edge| room[*edge as usize] == 0);
                path.truncate(full.unwrap_or(0));
                continue;
            }
            let at = next[node as usize];
            if at < self.first[node as usize + 1] {
                let edge = self.order[at as usize];
                let to = self.ends[edge as usize];
                if room[edge as usize] != 0 && levels[to as usize] == levels[node as usize] + 1 {
                    path.push(edge);
                } else {
                    next[node as usize] += 1;
                }
            } else if let Some(edge) = path.pop() {
                let from = self.ends[edge as usize ^ 1];
                next[from as usize] += 1;
            } else {
                break;
            }
        }
        sum
    }

    /// What a flow of least cost costs over any number of paths, and below what any payment of at most
    /// `parts` parts costs, in thousandths of a millionth. Parts that
    /// pay less than some threshold pay less than `parts - 1` of them together; the others use edges
    /// that carry the threshold, and cost no less than a flow of least cost there.
    pub(crate) fn least_cost_by_parts(
        &self,
        ends: (u32, u32),
        amount: u64,
        widest: u64,
        parts: u64,
    ) -> Option<(u128, u128)> {
        let least = self.least_cost(ends, amount, widest, 0)?;
        let others = [16, 8, 4, 2].map(|narrow| {
            let threshold = amount / parts / narrow;
            let rest = amount - (parts - 1) * threshold;
            self.least_cost(ends, rest, widest, threshold).unwrap_or(0)
        });
        Some((least, others.into_iter().fold(least, u128::max)))
    }

    /// The least that `amount` costs over as many parts as one likes, none of which pays more than
    /// `widest`, when fees take no room and edges with less than `least_room` are not used, in
    /// thousandths of a millionth. The fixed part of a fee counts in the share that a part has of the
    /// widest. Successive shortest paths with potentials, exact.
    fn least_cost(
        &self,
        (source, destination): (u32, u32),
        amount: u64,
        widest: u64,
        least_room: u64,
    ) -> Option<u128> {
        let nodes = self.first.len() - 1;
        let cost_of = |edge: usize| {
            let (ppm, add) = self.costs[edge & !1];
            let cost = i64::from(ppm) * 1_000
                + i64::try_from(u128::from(add) * 1_000_000_000 / u128::from(widest)).unwrap();
            if edge & 1 == 0 { cost } else { -cost }
        };
        let usable = |capacity: &u64| if *capacity < least_room { 0 } else { *capacity };
        let mut room: Vec<u64> = self.capacities.iter().map(usable).collect();
        let mut prices = vec![0_i64; nodes];
        let (mut sum, mut cost) = (0, 0_i128);
        while sum < amount {
            let mut costs = vec![i64::MAX; nodes];
            let mut by = vec![u32::MAX; nodes];
            costs[source as usize] = 0;
            let mut queue = BinaryHeap::from([Reverse((0_i64, source))]);
            while let Some(Reverse((reached, node))) = queue.pop() {
                if reached != costs[node as usize] {
                    continue;
                }
                if node == destination {
                    break;
                }
                for edge in self.edges(node) {
                    let to = self.ends[*edge as usize];
                    if room[*edge as usize] == 0 {
                        continue;
                    }
                    let mut step = cost_of(*edge as usize);
                    if to == destination || node == destination {
                        step = 0;
                    }
                    let next = reached + step + prices[node as usize] - prices[to as usize];
                    if next < costs[to as usize] {
                        (costs[to as usize], by[to as usize]) = (next, *edge);
                        queue.push(Reverse((next, to)));
                    }
                }
            }
            let end = costs[destination as usize];
            if end == i64::MAX {
                return None;
            }
            for node in 0..nodes {
                prices[node] += costs[node].min(end);
            }
            let (mut width, mut node) = (amount - sum, destination);
            while node != source {
                width = width.min(room[by[node as usize] as usize]);
                node = self.ends[by[node as usize] as usize ^ 1];
            }
            node = destination;
            while node != source {
                let edge = by[node as usize] as usize;
                room[edge] -= width;
                room[edge ^ 1] += width;
                let free = self.ends[edge] == destination || self.ends[edge ^ 1] == destination;
                cost += i128::from(width) * i128::from(if free { 0 } else { cost_of(edge) });
                node = self.ends[edge ^ 1];
            }
            sum += width;
        }
        u128::try_from(cost).ok()
    }

    /// The fee of the cheapest route, with the amount as it grows: Dijkstra's search backwards.
    pub(crate) fn cheapest(
        &self,
        source: u32,
        destination: u32,
        amount: u64,
        rates: &[crate::net::Edge],
    ) -> Option<u64> {
        let mut costs = vec![(u64::MAX, 0_u32); self.first.len() - 1];
        costs[destination as usize] = (amount, 0);
        let mut queue = BinaryHeap::from([Reverse((amount, 0, destination))]);
        while let Some(Reverse((carried, hops, node))) = queue.pop() {
            if node == source {
                return Some(carried - amount);
            }
            if (carried, hops) != costs[node as usize] {
                continue;
            }
            for back in self.edges(node).iter().filter(|edge| *edge % 2 == 1) {
                let edge = &rates[*back as usize / 2];
                if edge.capacity < carried {
                    continue;
                }
                let fee = if node == destination {
                    0
                } else {
                    edge.rate.fee(Credits(amount.into())).unwrap().0.try_into().unwrap()
                };
                let next = (carried + fee, hops + 1);
                if next < costs[edge.from as usize] {
                    costs[edge.from as usize] = next;
                    queue.push(Reverse((next.0, next.1, edge.from)));
                }
            }
        }
        None
    }

    /// The most that one route carries, fees apart.
    pub(crate) fn widest(&self, source: u32, destination: u32) -> u64 {
        let mut widths = vec![0; self.first.len() - 1];
        let mut queue = BinaryHeap::from([(u64::MAX, source)]);
        while let Some((width, node)) = queue.pop() {
            if node == destination {
                return width;
            }
            if width < widths[node as usize] {
                continue;
            }
            for edge in self.edges(node) {
                let to = self.ends[*edge as usize] as usize;
                let width = width.min(self.capacities[*edge as usize]);
                if widths[to] < width {
                    widths[to] = width;
                    queue.push((width, self.ends[*edge as usize]));
                }
            }
        }
        0
    }
}
