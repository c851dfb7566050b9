//! What one question searches: a graph, its two ends, what is held of the edges, and the work that
//! may still be done.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use offset_crypto::PublicKey;
use offset_proto::{
    Credits,
    index::{CycleEnd, CycleQuery, Edge, Route, RouteQuery},
};

use super::{
    MAX_ROUTE_KEYS,
    flow::{Flow, Hop},
};
use crate::graph::{CurrencyGraph, Incoming, Number, index};

/// The ground of one question. Every search on it counts against the same bound of work.
pub(super) struct Ground<'a> {
    graph: &'a CurrencyGraph,
    /// Where ways begin. For cycles a number of its own, above all others: the destination, seen
    /// from its other side.
    pub(super) source: Number,
    pub(super) destination: Number,
    /// The node at which a cycle begins and ends; for routes no node.
    seam: Option<Number>,
    source_key: PublicKey,
    /// The most keys of a way, both ends included.
    pub(super) max_keys: u32,
    pub(super) held: Held,
    pub(super) edges_left: usize,
    /// Whether the bound of work ended any search.
    pub(super) cut_short: bool,
}

impl<'a> Ground<'a> {
    /// The ground of a question for routes; `None` where there is nothing to find.
    pub(super) fn for_route(
        graph: &'a CurrencyGraph,
        query: &RouteQuery,
        max_edges: usize,
    ) -> Option<Self> {
        let (source, destination) =
            graph.number(&query.source).zip(graph.number(&query.destination))?;
        if source == destination || query.amount == Credits::ZERO || Credits::LIMIT < query.amount {
            return None;
        }
        let mut ground = Self {
            graph,
            source,
            destination,
            seam: None,
            source_key: query.source,
            max_keys: MAX_ROUTE_KEYS,
            held: Held::new(graph.bound()),
            edges_left: max_edges,
            cut_short: false,
        };
        ground.exclude(&query.exclude);
        Some(ground)
    }

    /// The ground of a question for cycles; `None` where there is nothing to find. Of the node's own
    /// lines there is as much room as it says, and none but on the side that it says.
    pub(super) fn for_cycle(
        graph: &'a CurrencyGraph,
        query: &CycleQuery,
        max_edges: usize,
    ) -> Option<Self> {
        let node = graph.number(&query.node)?;
        let source = Number::try_from(graph.bound()).ok()?;
        let mut ground = Self {
            graph,
            source,
            destination: node,
            seam: Some(node),
            source_key: query.node,
            max_keys: MAX_ROUTE_KEYS,
            held: Held::new(graph.bound()),
            edges_left: max_edges.checked_sub(graph.incoming(node).len())?,
            cut_short: false,
        };
        let ends = |ends: &[CycleEnd]| -> BTreeMap<Number, Credits> {
            let known = ends.iter().filter_map(|end| Some((graph.number(&end.friend)?, end.most)));
            known.collect()
        };
        let (first, last) = (ends(&query.first), ends(&query.last));
        // Edges come in pairs, so these are all friends of the node.
        for edge in graph.incoming(node) {
            let friend = edge.from;
            let most = last.get(&friend).copied().unwrap_or_default();
            ground.held.leave(friend, node, edge.capacity, most);
            if let Some(out) = graph.edge(node, friend) {
                let most = first.get(&friend).copied().unwrap_or_default();
                ground.held.leave(source, friend, out.capacity, most);
            }
        }
        ground.exclude(&query.exclude);
        Some(ground)
    }

    fn exclude(&mut self, edges: &[Edge]) {
        for edge in edges {
            if let Some((from, to)) = self.graph.number(&edge.from).zip(self.graph.number(&edge.to))
            {
                let from = if self.seam == Some(from) { self.source } else { from };
                self.held.hold(from, to, Credits(u128::MAX));
            }
        }
    }

    /// The number of the node where an edge begins, as a way of this ground sees it.
    fn begin_of(&self, edge: &Incoming) -> Number {
        if self.seam == Some(edge.from) { self.source } else { edge.from }
    }

    fn key(&self, number: Number) -> PublicKey {
        if number == self.source { self.source_key } else { self.graph.key(number) }
    }

    /// What an edge that ends at `to` can still carry.
    pub(super) fn room(&self, from: Number, to: Number, edge: &Incoming) -> Credits {
        self.held.room(from, to, edge.capacity)
    }

    /// Whether the destination could receive `amount` over all its edges together, and the source
    /// send it.
    pub(super) fn ends_carry(&mut self, amount: Credits) -> bool {
        let incoming = self.graph.incoming(self.destination);
        let received = incoming.iter().map(|edge| self.room(edge.from, self.destination, edge));
        if total(received) < amount {
            return false;
        }
        // Edges come in pairs, so whoever has an edge to the source has one from it.
        let friends = self.graph.incoming(self.source);
        self.edges_left = self.edges_left.saturating_sub(friends.len());
        let sent = friends.iter().filter_map(|friend| {
            let edge = self.graph.edge(self.source, friend.from)?;
            Some(self.room(self.source, friend.from, &edge))
        });
        amount <= total(sent)
    }

    /// The cheapest way for `amount` with what is not held.
    pub(super) fn cheapest(&mut self, amount: Credits) -> Option<Path> {
        let mut search =
            Cheapest { ground: self, amount, labels: Vec::new(), queue: BinaryHeap::new() };
        let (mut end, mut cut_short) = search.run(u32::MAX);
        let max_keys = search.ground.max_keys;
        if end.is_some_and(|label| max_keys <= search.labels[label].hops) {
            (end, cut_short) = if cut_short { (None, true) } else { search.run(max_keys - 1) };
        }
        let path = end.map(|label| search.path(label));
        self.cut_short |= cut_short;
        path
    }

    /// The widest way, where `flow` may be pushed back over the edges that it takes. At most `most`
    /// counts as width; of equally wide ways the shortest wins. Fees are not looked at.
    pub(super) fn widest(&mut self, flow: &Flow, most: Credits) -> Option<(Vec<Hop>, Credits)> {
        let mut labels = vec![Reached { node: self.destination, by: None }];
        let mut settled = vec![false; self.graph.bound() + 1];
        let mut queue = BinaryHeap::from([(most, Reverse((0, 0)))]);
        while let Some((width, Reverse((hops, label)))) = queue.pop() {
            let node = labels[label].node;
            if node == self.source {
                return Some((hops_from(&labels, label), width));
            }
            if std::mem::replace(&mut settled[index(node)], true) || hops + 1 == self.max_keys {
                continue;
            }
            let mut push = |hop: Hop, room: Credits| {
                if room != Credits::ZERO && !settled[index(hop.from)] {
                    queue.push((width.min(room), Reverse((hops + 1, labels.len()))));
                    labels.push(Reached { node: hop.from, by: Some((label, hop)) });
                }
            };
            for (to, flow) in flow.from(node) {
                let hop = Hop { from: to, to: node, forward: None };
                push(hop, flow);
            }
            for edge in self.graph.incoming(node) {
                let Some(edges_left) = self.edges_left.checked_sub(1) else {
                    self.cut_short = true;
                    return None;
                };
                self.edges_left = edges_left;
                let from = self.begin_of(edge);
                let hop = Hop { from, to: node, forward: Some(*edge) };
                push(hop, self.room(from, node, edge));
            }
        }
        None
    }

    /// Takes what a part carries off the room of its edges.
    pub(super) fn take(&mut self, part: &Part) {
        for (from, to, carried) in part.carried() {
            self.held.hold(from, to, carried);
        }
    }

    /// Undoes [`Ground::take`].
    pub(super) fn give_back(&mut self, part: &Part) {
        for (from, to, carried) in part.carried() {
            self.held.give_back(from, to, carried);
        }
    }

    /// The part that pays `amount` over a path, where every edge has room for it.
    pub(super) fn part(&self, path: &Path, amount: Credits) -> Option<Part> {
        if amount == Credits::ZERO {
            return None;
        }
        let part = Part { path: path.clone(), amount, fee: path.fee(amount)? };
        let fits = part.carried().zip(&path.edges).all(|((from, to, carried), edge)| {
            carried <= self.room(from, to, edge) && carried <= Credits::LIMIT
        });
        fits.then_some(part)
    }

    /// The part that pays as much as there is room for over a path, at most `most`.
    pub(super) fn largest_part(&self, path: &Path, most: Credits) -> Option<Part> {
        let steps = path.nodes.windows(2).zip(&path.edges);
        let rooms = steps.filter_map(|(step, edge)| match step {
            [from, to] => Some(self.room(*from, *to, edge)),
            _ => None,
        });
        let (mut fits, mut above) = (0, rooms.fold(most, Credits::min).0);
        if let Some(part) = self.part(path, Credits(above)) {
            return Some(part);
        }
        // What is carried grows with the amount, so the largest that fits is found by halving.
        while 1 < above.saturating_sub(fits) {
            let middle = fits + (above - fits) / 2;
            if self.part(path, Credits(middle)).is_some() {
                fits = middle;
            } else {
                above = middle;
            }
        }
        self.part(path, Credits(fits))
    }

    /// The edge of a part that has least room left beside it.
    pub(super) fn narrowest(&self, part: &Part) -> Option<(Number, Number)> {
        let edges = part.carried().zip(&part.path.edges);
        let left = edges.map(|((from, to, carried), edge)| {
            (self.room(from, to, edge).checked_sub(carried), (from, to))
        });
        left.min_by_key(|(left, _)| *left).map(|(_, ends)| ends)
    }

    /// As nodes and applications see it.
    pub(super) fn route(&self, part: &Part) -> Route {
        let keys = part.path.nodes.iter().map(|number| self.key(*number)).collect();
        Route { keys, amount: part.amount, fee: part.fee }
    }
}

/// The sum, or everything when it does not fit.
fn total(credits: impl Iterator<Item = Credits>) -> Credits {
    credits.fold(Credits::ZERO, |sum, more| sum.checked_add(more).unwrap_or(Credits(u128::MAX)))
}

/// What is held of edges, by their ends: by parts of the answer, or wholly when it is not to be used.
#[derive(Debug, Clone)]
pub(super) struct Held {
    edges: BTreeMap<(Number, Number), Credits>,
    /// Whether anything may be held of an edge that ends there.
    ends: Vec<bool>,
}

impl Held {
    fn new(bound: usize) -> Self {
        Self { edges: BTreeMap::new(), ends: vec![false; bound] }
    }

    fn room(&self, from: Number, to: Number, capacity: Credits) -> Credits {
        if !self.ends[index(to)] {
            return capacity;
        }
        let held = self.edges.get(&(to, from)).copied().unwrap_or_default();
        capacity.checked_sub(held).unwrap_or_default()
    }

    /// Holds so much more of an edge.
    pub(super) fn hold(&mut self, from: Number, to: Number, credits: Credits) {
        self.ends[index(to)] = true;
        let held = self.edges.entry((to, from)).or_default();
        *held = held.checked_add(credits).unwrap_or(Credits(u128::MAX));
    }

    /// Holds all of an edge but `most`.
    fn leave(&mut self, from: Number, to: Number, capacity: Credits, most: Credits) {
        self.hold(from, to, capacity.checked_sub(most).unwrap_or_default());
    }

    fn give_back(&mut self, from: Number, to: Number, credits: Credits) {
        if let Some(held) = self.edges.get_mut(&(to, from)) {
            *held = held.checked_sub(credits).unwrap_or_default();
        }
    }
}

/// A way from the source to the destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    /// Source first; none twice.
    pub(super) nodes: Vec<Number>,
    /// From each node but the last to the next one.
    pub(super) edges: Vec<Incoming>,
}

impl Path {
    /// What all mediators take for an amount; `None` when it does not fit.
    pub(super) fn fee(&self, amount: Credits) -> Option<Credits> {
        // The last edge ends at the destination, which takes nothing.
        let (_, to_mediators) = self.edges.split_last()?;
        to_mediators
            .iter()
            .try_fold(Credits::ZERO, |sum, edge| sum.checked_add(edge.rate.fee(amount)?))
    }

    /// What all mediators take of each million, besides the fixed part.
    pub(super) fn ppm(&self) -> u64 {
        let to_mediators = self.edges.split_last().map(|(_, rest)| rest).unwrap_or_default();
        to_mediators.iter().map(|edge| u64::from(edge.rate.ppm)).sum()
    }
}

/// What goes over one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) path: Path,
    pub(super) amount: Credits,
    pub(super) fee: Credits,
}

impl Part {
    /// What each edge carries: the amount, and the fees of every mediator from its end on.
    pub(super) fn carried(&self) -> impl Iterator<Item = (Number, Number, Credits)> + '_ {
        let mut carried = self.amount.checked_add(self.fee).unwrap_or(Credits(u128::MAX));
        self.path.nodes.windows(2).zip(&self.path.edges).filter_map(move |(step, edge)| {
            let [from, to] = step else { return None };
            let here = carried;
            // After the last edge nothing is carried on, so its rate makes no difference.
            let fee = edge.rate.fee(self.amount).unwrap_or_default();
            carried = carried.checked_sub(fee).unwrap_or_default();
            Some((*from, *to, here))
        })
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

/// Dijkstra's search, backwards; see the module that this one belongs to.
struct Cheapest<'g, 'a> {
    ground: &'g mut Ground<'a>,
    amount: Credits,
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
    /// Where the edge to it lies among its incoming ones.
    edge: usize,
}

impl Cheapest<'_, '_> {
    /// The best label of the source, and whether the search was cut short. With `max_hops` below
    /// `u32::MAX` a node may be settled again by a way with fewer hops.
    fn run(&mut self, max_hops: u32) -> (Option<usize>, bool) {
        let pareto = max_hops < u32::MAX;
        self.labels.clear();
        self.queue.clear();
        // The fewest hops of a settled label of each node, and of the source of a cycle.
        let mut settled = vec![u32::MAX; self.ground.graph.bound() + 1];
        let mut best_at_source: Option<usize> = None;
        let node = self.ground.destination;
        self.push(Label { node, carried: self.amount, hops: 0, next: 0, edge: 0 });
        while let Some(Reverse((_, hops, label))) = self.queue.pop() {
            let node = self.labels[label].node;
            if node == self.ground.source {
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
        let graph = self.ground.graph;
        let Label { node, carried, hops, .. } = self.labels[label];
        for (position, edge) in graph.incoming(node).iter().enumerate() {
            let Some(edges_left) = self.ground.edges_left.checked_sub(1) else { return false };
            self.ground.edges_left = edges_left;
            let from = self.ground.begin_of(edge);
            let known = settled[index(from)];
            if known <= hops + 1 || (!pareto && known != u32::MAX) || edge.capacity < carried {
                continue;
            }
            let fee = if node == self.ground.destination {
                Some(Credits::ZERO)
            } else {
                edge.rate.fee(self.amount)
            };
            let Some(carried) = fee.and_then(|fee| carried.checked_add(fee)) else { continue };
            if Credits::LIMIT < carried || self.ground.room(from, node, edge) < carried {
                continue;
            }
            let new = self.push(Label {
                node: from,
                carried,
                hops: hops + 1,
                next: label,
                edge: position,
            });
            if from == self.ground.source {
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

    fn path(&self, end: usize) -> Path {
        let mut label = &self.labels[end];
        let mut path = Path { nodes: vec![label.node], edges: Vec::new() };
        while label.hops != 0 {
            let next = &self.labels[label.next];
            path.edges.push(self.ground.graph.incoming(next.node)[label.edge]);
            path.nodes.push(next.node);
            label = next;
        }
        path
    }
}
