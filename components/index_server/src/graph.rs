//! The capacity graph of each currency, kept up to date in place.
//!
//! Both ends of a line report it. The edge `A -> B` exists only while both reports stand; its
//! capacity is `min(A's send capacity to B, B's receive capacity from A)` and its rate is the one
//! that B set for A, the fee that B takes for forwarding what A sends (protocol, section 9).
//!
//! Nodes of a currency have dense numbers, and each node's incoming edges lie in one `Vec`, because
//! the search walks backwards from the destination. Whoever uses the graph sees only
//! [`Graph::set_line`], [`Graph::remove_line`] and, inside this crate, the arrays of one currency.

use std::collections::BTreeMap;

use offset_crypto::PublicKey;
use offset_proto::{Credits, Currency, Rate, index::IndexLine};

/// The graphs of all currencies.
#[derive(Debug, Default)]
pub struct Graph {
    currencies: BTreeMap<Currency, CurrencyGraph>,
    /// Of all of them.
    edges: usize,
}

impl Graph {
    /// What `node` says of its line with `friend` is now `line`.
    pub fn set_line(
        &mut self,
        node: PublicKey,
        friend: PublicKey,
        currency: &Currency,
        line: IndexLine,
    ) {
        if let Some(graph) = self.currencies.get_mut(currency) {
            let before = graph.edges;
            graph.set_line(node, friend, line);
            self.edges = self.edges - before + graph.edges;
            graph.debug_check();
        } else {
            let mut graph = CurrencyGraph::default();
            graph.set_line(node, friend, line);
            self.edges += graph.edges;
            self.currencies.insert(currency.clone(), graph);
        }
    }

    /// `node` no longer reports this line.
    pub fn remove_line(&mut self, node: PublicKey, friend: PublicKey, currency: &Currency) {
        if let Some(graph) = self.currencies.get_mut(currency) {
            let before = graph.edges;
            graph.remove_line(node, friend);
            self.edges = self.edges - before + graph.edges;
            graph.debug_check();
            if graph.reports.is_empty() {
                self.currencies.remove(currency);
            }
        }
    }

    /// The graph of one currency, where any line is reported.
    #[must_use]
    pub fn currency(&self, currency: &Currency) -> Option<&CurrencyGraph> {
        self.currencies.get(currency)
    }

    /// How many directed edges exist, over all currencies.
    #[must_use]
    pub const fn edge_count(&self) -> usize {
        self.edges
    }

    /// Whether the arrays agree with the reports they were made from.
    pub fn check_invariants(&self) {
        let edges: usize = self.currencies.values().map(|graph| graph.edges).sum();
        assert_eq!(self.edges, edges);
        for graph in self.currencies.values() {
            graph.check_invariants();
        }
    }
}

/// The graph of one currency.
#[derive(Debug, Default)]
pub struct CurrencyGraph {
    numbers: BTreeMap<PublicKey, Number>,
    nodes: Vec<NodeSlot>,
    /// Numbers whose slots are empty.
    free: Vec<Number>,
    /// By who reports and about which friend.
    reports: BTreeMap<(Number, Number), Report>,
    edges: usize,
}

/// A node's place in the arrays of its currency.
pub(crate) type Number = u32;

/// An edge, kept at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Incoming {
    /// Where it begins.
    pub(crate) from: Number,
    /// The most that it carries, fees included.
    pub(crate) capacity: Credits,
    /// What the node at its end takes for forwarding.
    pub(crate) rate: Rate,
}

#[derive(Debug)]
struct NodeSlot {
    key: PublicKey,
    incoming: Vec<Incoming>,
    /// How many reports name this node, by it or about it.
    named: u32,
}

#[derive(Debug)]
struct Report {
    line: IndexLine,
    /// Where the edge from the friend lies among the reporter's incoming ones, while it exists.
    position: Option<usize>,
}

impl CurrencyGraph {
    /// The node's number, where any report names it.
    pub(crate) fn number(&self, key: &PublicKey) -> Option<Number> {
        self.numbers.get(key).copied()
    }

    /// The key of a number that this graph gave out.
    pub(crate) fn key(&self, number: Number) -> PublicKey {
        self.nodes[index(number)].key
    }

    /// The edges that end at a node.
    pub(crate) fn incoming(&self, number: Number) -> &[Incoming] {
        &self.nodes[index(number)].incoming
    }

    /// The edge between two nodes, where there is one.
    pub(crate) fn edge(&self, from: Number, to: Number) -> Option<Incoming> {
        let position = self.reports.get(&(to, from))?.position?;
        self.incoming(to).get(position).copied()
    }

    /// Above every number in use.
    pub(crate) fn bound(&self) -> usize {
        self.nodes.len()
    }

    fn set_line(&mut self, node: PublicKey, friend: PublicKey, line: IndexLine) {
        if node == friend {
            return;
        }
        let known = self.number(&node).zip(self.number(&friend));
        if let Some(report) = known.and_then(|pair| self.reports.get_mut(&pair)) {
            report.line = line;
        } else {
            let pair = (self.name(node), self.name(friend));
            self.reports.insert(pair, Report { line, position: None });
        }
        if let Some((node, friend)) = self.number(&node).zip(self.number(&friend)) {
            self.refresh(node, friend);
            self.refresh(friend, node);
        }
    }

    fn remove_line(&mut self, node: PublicKey, friend: PublicKey) {
        let Some((node, friend)) = self.number(&node).zip(self.number(&friend)) else { return };
        let Some(report) = self.reports.remove(&(node, friend)) else { return };
        if let Some(position) = report.position {
            self.remove_edge(node, position);
        }
        self.refresh(friend, node);
        self.unname(node);
        self.unname(friend);
    }

    /// Makes the edge `from -> to` what the two reports say now.
    fn refresh(&mut self, to: Number, from: Number) {
        let Some(report) = self.reports.get(&(to, from)) else { return };
        let position = report.position;
        let Some(other) = self.reports.get(&(from, to)) else {
            if let Some(position) = position {
                self.remove_edge(to, position);
                self.place(to, from, None);
            }
            return;
        };
        let capacity = other.line.send_capacity.min(report.line.recv_capacity);
        let edge = Incoming { from, capacity, rate: report.line.rate };
        let incoming = &mut self.nodes[index(to)].incoming;
        if let Some(position) = position {
            incoming[position] = edge;
        } else {
            let position = incoming.len();
            incoming.push(edge);
            self.edges += 1;
            self.place(to, from, Some(position));
        }
    }

    /// Takes an edge out; the last one of the node moves into its place.
    fn remove_edge(&mut self, to: Number, position: usize) {
        let incoming = &mut self.nodes[index(to)].incoming;
        incoming.swap_remove(position);
        self.edges -= 1;
        if let Some(moved) = incoming.get(position).map(|edge| edge.from) {
            self.place(to, moved, Some(position));
        }
    }

    fn place(&mut self, to: Number, from: Number, position: Option<usize>) {
        if let Some(report) = self.reports.get_mut(&(to, from)) {
            report.position = position;
        }
    }

    fn name(&mut self, key: PublicKey) -> Number {
        let number = match self.numbers.get(&key) {
            Some(number) => *number,
            None => {
                let slot = NodeSlot { key, incoming: Vec::new(), named: 0 };
                let number = if let Some(number) = self.free.pop() {
                    self.nodes[index(number)] = slot;
                    number
                } else {
                    self.nodes.push(slot);
                    Number::try_from(self.nodes.len() - 1)
                        .expect("the directory bounds the lines far below 2^32")
                };
                self.numbers.insert(key, number);
                number
            }
        };
        self.nodes[index(number)].named += 1;
        number
    }

    fn unname(&mut self, number: Number) {
        let slot = &mut self.nodes[index(number)];
        slot.named -= 1;
        if slot.named == 0 {
            slot.incoming = Vec::new();
            self.numbers.remove(&slot.key);
            self.free.push(number);
        }
    }

    fn debug_check(&self) {
        // Everything is looked at, so only what is small is checked at every step.
        if cfg!(debug_assertions) && self.reports.len() <= 64 {
            self.check_invariants();
        }
    }

    fn check_invariants(&self) {
        let mut edges = 0;
        for (&(to, from), report) in &self.reports {
            let other = self.reports.get(&(from, to));
            assert_eq!(report.position.is_some(), other.is_some(), "an edge needs both reports");
            let Some((position, other)) = report.position.zip(other) else { continue };
            let edge = self.nodes[index(to)].incoming[position];
            let capacity = other.line.send_capacity.min(report.line.recv_capacity);
            assert_eq!(edge, Incoming { from, capacity, rate: report.line.rate });
            edges += 1;
        }
        let stored: usize = self.nodes.iter().map(|slot| slot.incoming.len()).sum();
        assert_eq!((edges, stored), (self.edges, self.edges), "every edge is stored once");
        let named: usize = self.nodes.iter().map(|slot| index(slot.named)).sum();
        assert_eq!(named, 2 * self.reports.len(), "every report names two nodes");
        assert_eq!(self.numbers.len() + self.free.len(), self.nodes.len());
    }
}

/// A number as an index.
pub(crate) const fn index(number: Number) -> usize {
    number as usize
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use offset_crypto::{Identity, Seed, SeededRng};
    use std::sync::LazyLock;

    /// The public key of a small number.
    pub(crate) fn key(n: u8) -> PublicKey {
        static KEYS: LazyLock<Vec<PublicKey>> = LazyLock::new(|| {
            let seeds = (0..=u8::MAX).map(|n| Seed::from_bytes([n; 32]));
            seeds.map(|seed| Identity::from_seed(seed).public_key()).collect()
        });
        KEYS[usize::from(n)]
    }

    pub(crate) fn line(send: u128, recv: u128, add: u64) -> IndexLine {
        IndexLine {
            send_capacity: Credits(send),
            recv_capacity: Credits(recv),
            rate: Rate { ppm: 0, add },
        }
    }

    fn edge(graph: &Graph, from: u8, to: u8) -> Option<(u128, u64)> {
        let graph = graph.currency(&Currency::fallback())?;
        let (from, to) = graph.number(&key(from)).zip(graph.number(&key(to)))?;
        let edge = graph.incoming(to).iter().find(|edge| edge.from == from)?;
        Some((edge.capacity.0, edge.rate.add))
    }

    #[test]
    fn an_edge_needs_both_ends() {
        let credit = Currency::fallback();
        let mut graph = Graph::default();
        graph.set_line(key(1), key(2), &credit, line(10, 20, 1));
        assert_eq!((edge(&graph, 1, 2), edge(&graph, 2, 1)), (None, None));
        graph.set_line(key(2), key(1), &credit, line(15, 7, 2));
        assert_eq!((edge(&graph, 1, 2), edge(&graph, 2, 1)), (Some((7, 2)), Some((15, 1))));
        graph.set_line(key(1), key(2), &credit, line(3, 4, 5));
        assert_eq!((edge(&graph, 1, 2), edge(&graph, 2, 1)), (Some((3, 2)), Some((4, 5))));
        let other: Currency = "other".parse().unwrap();
        graph.remove_line(key(2), key(1), &other);
        assert_eq!(graph.edge_count(), 2);
        graph.remove_line(key(2), key(1), &credit);
        assert_eq!((edge(&graph, 1, 2), edge(&graph, 2, 1)), (None, None));
        graph.remove_line(key(1), key(2), &credit);
        assert!(graph.currency(&credit).is_none());
    }

    #[test]
    fn a_line_with_oneself_is_nothing() {
        let mut graph = Graph::default();
        graph.set_line(key(1), key(1), &Currency::fallback(), line(10, 20, 1));
        graph.check_invariants();
        assert_eq!(graph.edge_count(), 0);
    }

    #[test]
    fn random_updates_keep_the_arrays_right() {
        let keys: Vec<PublicKey> = (1..8).map(key).collect();
        let currencies: Vec<Currency> = ["a", "b"].map(|text| text.parse().unwrap()).into();
        for seed in 0..20 {
            let mut rng = SeededRng::new(seed);
            let mut pick = |bound: usize| usize::try_from(rng.below(bound as u64)).unwrap();
            let mut graph = Graph::default();
            for _ in 0..300 {
                let (node, friend) = (keys[pick(keys.len())], keys[pick(keys.len())]);
                let currency = &currencies[pick(2)];
                if pick(3) == 0 {
                    graph.remove_line(node, friend, currency);
                } else {
                    let capacity = pick(100) as u128;
                    graph.set_line(node, friend, currency, line(capacity, 50, 1));
                }
                graph.check_invariants();
            }
            for node in &keys {
                for friend in &keys {
                    currencies.iter().for_each(|c| graph.remove_line(*node, *friend, c));
                }
            }
            assert!(graph.currencies.is_empty(), "nothing is left behind, seed {seed}");
        }
    }
}
