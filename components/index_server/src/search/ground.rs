//! What one question searches: a graph, its two ends, what is held of the edges, and the work that
//! may still be done.

use std::collections::BTreeMap;

use offset_crypto::PublicKey;
use offset_proto::{
    Credits,
    index::{CycleEnd, CycleQuery, Edge as NamedEdge, Route, RouteQuery},
};

use super::{
    MAX_ROUTE_KEYS,
    path::{Part, Path, total},
    scratch::{BEGINS, ENDS, Marks, Scratch},
};
use crate::graph::{CurrencyGraph, Edge, Number, index};

/// The ground of one question. Every search on it counts against the same bound of work.
pub(super) struct Ground<'a> {
    pub(super) graph: &'a CurrencyGraph,
    pub(super) scratch: &'a mut Scratch,
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
        scratch: &'a mut Scratch,
        graph: &'a CurrencyGraph,
        query: &RouteQuery,
        max_edges: usize,
    ) -> Option<Self> {
        let (source, destination) =
            graph.number(&query.source).zip(graph.number(&query.destination))?;
        if source == destination || query.amount == Credits::ZERO || Credits::LIMIT < query.amount {
            return None;
        }
        scratch.begin(graph.bound());
        let mut ground = Self {
            graph,
            scratch,
            source,
            destination,
            seam: None,
            source_key: query.source,
            max_keys: MAX_ROUTE_KEYS,
            held: Held::default(),
            edges_left: max_edges,
            cut_short: false,
        };
        ground.exclude(&query.exclude);
        Some(ground)
    }

    /// The ground of a question for cycles; `None` where there is nothing to find. Of the node's own
    /// lines there is as much room as it says, and none but on the side that it says.
    pub(super) fn for_cycle(
        scratch: &'a mut Scratch,
        graph: &'a CurrencyGraph,
        query: &CycleQuery,
        max_edges: usize,
    ) -> Option<Self> {
        let node = graph.number(&query.node)?;
        let source = Number::try_from(graph.bound()).ok()?;
        scratch.begin(graph.bound());
        let mut ground = Self {
            graph,
            scratch,
            source,
            destination: node,
            seam: Some(node),
            source_key: query.node,
            max_keys: MAX_ROUTE_KEYS,
            held: Held::default(),
            edges_left: max_edges.checked_sub(graph.inward(node).len())?,
            cut_short: false,
        };
        let ends = |ends: &[CycleEnd]| -> BTreeMap<Number, Credits> {
            let known = ends.iter().filter_map(|end| Some((graph.number(&end.friend)?, end.most)));
            known.collect()
        };
        let (first, last) = (ends(&query.first), ends(&query.last));
        // Those with the same friend lie at the same place of both, so these are all of its edges.
        for (inward, outward) in graph.inward(node).iter().zip(graph.outward(node)) {
            let friend = inward.peer;
            let most = last.get(&friend).copied().unwrap_or_default();
            let capacity = graph.capacity(friend, node, inward.capacity);
            ground.leave(friend, node, capacity, most);
            let most = first.get(&friend).copied().unwrap_or_default();
            let capacity = graph.capacity(node, friend, outward.capacity);
            ground.leave(source, friend, capacity, most);
        }
        ground.exclude(&query.exclude);
        Some(ground)
    }

    fn exclude(&mut self, edges: &[NamedEdge]) {
        for edge in edges {
            if let Some((from, to)) = self.graph.number(&edge.from).zip(self.graph.number(&edge.to))
            {
                let from = self.begin_of(from);
                self.hold(from, to, Credits(u128::MAX));
            }
        }
    }

    /// The number of the node where an edge begins, as a way of this ground sees it.
    pub(super) fn begin_of(&self, node: Number) -> Number {
        if self.seam == Some(node) { self.source } else { node }
    }

    /// The number of a node as the graph knows it.
    pub(super) fn real(&self, node: Number) -> Number {
        if node == self.source { self.seam.unwrap_or(node) } else { node }
    }

    fn key(&self, number: Number) -> PublicKey {
        if number == self.source { self.source_key } else { self.graph.key(number) }
    }

    /// The edge between two nodes, where there is one.
    pub(super) fn edge(&self, from: Number, to: Number) -> Option<Edge> {
        self.graph.edge(self.real(from), to)
    }

    /// Whether edges that begin at the first node and end at the other may be held.
    pub(super) fn may_be_held(marks: &Marks, from: Number, to: Number) -> bool {
        marks.has(from, BEGINS) && marks.has(to, ENDS)
    }

    /// What an edge of this capacity can still carry.
    pub(super) fn room(&self, from: Number, to: Number, capacity: Credits) -> Credits {
        if Self::may_be_held(&self.scratch.marks, from, to) {
            self.held.room(from, to, capacity)
        } else {
            capacity
        }
    }

    /// Counts the edges of a node as looked at; `false` when there is no work left for them.
    pub(super) fn spend(&mut self, edges: usize) -> bool {
        let left = self.edges_left.checked_sub(edges);
        self.cut_short |= left.is_none();
        self.edges_left = left.unwrap_or(self.edges_left);
        self.scratch.looked_at += if left.is_some() { edges } else { 0 };
        left.is_some()
    }

    /// Whether the destination could receive `amount` over all its edges together, and the source
    /// send it.
    pub(super) fn ends_carry(&mut self, amount: Credits) -> bool {
        let (source, destination) = (self.real(self.source), self.destination);
        let (sent, received) = (self.graph.outward(source), self.graph.inward(destination));
        if !self.spend(sent.len() + received.len()) {
            return false;
        }
        let received = received.iter().map(|link| {
            let capacity = self.graph.capacity(link.peer, destination, link.capacity);
            self.room(self.begin_of(link.peer), destination, capacity)
        });
        let sent = sent.iter().map(|link| {
            let capacity = self.graph.capacity(source, link.peer, link.capacity);
            self.room(self.source, link.peer, capacity)
        });
        amount <= total(received) && amount <= total(sent)
    }

    /// Holds so much more of an edge.
    pub(super) fn hold(&mut self, from: Number, to: Number, credits: Credits) {
        self.scratch.marks.add(from, BEGINS);
        self.scratch.marks.add(to, ENDS);
        self.held.hold(from, to, credits);
    }

    /// Holds all of an edge but `most`.
    fn leave(&mut self, from: Number, to: Number, capacity: Credits, most: Credits) {
        let rest = capacity.checked_sub(most).unwrap_or_default();
        if rest != Credits::ZERO {
            self.hold(from, to, rest);
        }
    }

    /// Takes what a part carries off the room of its edges.
    pub(super) fn take(&mut self, part: &Part) {
        for (from, to, carried) in part.carried() {
            self.hold(from, to, carried);
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
        let fee = self.fee_if_fits(path, amount)?;
        Some(Part { path: path.clone(), amount, fee })
    }

    /// The fee of an amount over a path, where every edge has room for both.
    fn fee_if_fits(&self, path: &Path, amount: Credits) -> Option<Credits> {
        let fee = path.fee(amount)?;
        let mut carried = amount.checked_add(fee).filter(|all| *all <= Credits::LIMIT)?;
        for (from, to, edge) in path.hops() {
            if self.room(from, to, edge.capacity) < carried {
                return None;
            }
            carried = carried.checked_sub(edge.rate.fee(amount)?).unwrap_or_default();
        }
        (amount != Credits::ZERO).then_some(fee)
    }

    /// The part that pays as much as there is room for over a path, at most `most`.
    pub(super) fn largest_part(&self, path: &Path, most: Credits) -> Option<Part> {
        let rooms = path.hops().map(|(from, to, edge)| self.room(from, to, edge.capacity));
        let (mut fits, mut above) = (0, rooms.fold(most, Credits::min).0);
        if let Some(part) = self.part(path, Credits(above)) {
            return Some(part);
        }
        // What is carried grows with the amount, so the largest that fits is found by halving.
        while 1 < above.saturating_sub(fits) {
            let middle = fits + (above - fits) / 2;
            if self.fee_if_fits(path, Credits(middle)).is_some() {
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
            (self.room(from, to, edge.capacity).checked_sub(carried), (from, to))
        });
        left.min_by_key(|(left, _)| *left).map(|(_, ends)| ends)
    }

    /// As nodes and applications see it.
    pub(super) fn route(&self, part: &Part) -> Route {
        let keys = part.path.nodes.iter().map(|number| self.key(*number)).collect();
        Route { keys, amount: part.amount, fee: part.fee }
    }

    /// Above every number in use, that of a cycle's source included.
    pub(super) const fn bound(&self) -> usize {
        self.graph.bound()
    }

    /// The node where a backward search goes on from, by the slot that led to `node`.
    pub(super) fn next_node(&self, slot: u32, node: Number) -> Number {
        self.graph.owner(slot, self.real(node))
    }

    /// The node where a forward search came from, by the slot that led to `node`.
    pub(super) fn node_before(&self, slot: u32, node: Number) -> Number {
        self.begin_of(self.graph.owner(slot, node))
    }

    /// The path over these nodes; `None` where an edge is missing.
    pub(super) fn path(&self, nodes: Vec<Number>) -> Option<Path> {
        let steps = nodes.windows(2);
        let edges = steps.map(|step| self.edge(step[0], step[1])).collect::<Option<Vec<Edge>>>()?;
        Some(Path { nodes, edges })
    }

    /// Whether `node` lies outside the graph: the source of cycles.
    pub(super) fn degree_out(&self, node: Number) -> usize {
        self.graph.slots(self.real(node)).len()
    }

    /// How many edges end at a node.
    pub(super) fn degree_in(&self, node: Number) -> usize {
        debug_assert!(index(node) < self.bound());
        self.graph.slots(node).len()
    }
}

/// What is held of edges, by their ends: by parts of the answer, or wholly when it is not to be used.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    edges: BTreeMap<(Number, Number), Credits>,
}

impl Held {
    pub(super) fn room(&self, from: Number, to: Number, capacity: Credits) -> Credits {
        let held = self.edges.get(&(from, to)).copied().unwrap_or_default();
        capacity.checked_sub(held).unwrap_or_default()
    }

    fn hold(&mut self, from: Number, to: Number, credits: Credits) {
        let held = self.edges.entry((from, to)).or_default();
        *held = held.checked_add(credits).unwrap_or(Credits(u128::MAX));
    }

    fn give_back(&mut self, from: Number, to: Number, credits: Credits) {
        if let Some(held) = self.edges.get_mut(&(from, to)) {
            *held = held.checked_sub(credits).unwrap_or_default();
        }
    }

    /// What is held of an edge; to be set again by [`Held::set`].
    pub(super) fn of(&self, from: Number, to: Number) -> Credits {
        self.edges.get(&(from, to)).copied().unwrap_or_default()
    }

    pub(super) fn set(&mut self, from: Number, to: Number, credits: Credits) {
        self.edges.insert((from, to), credits);
    }
}
