//! The capacity graph of each currency, kept up to date in place.
//!
//! Both ends of a line report it. The edge `A -> B` exists only while both reports stand; its
//! capacity is `min(A's send capacity to B, B's receive capacity from A)` and its rate is the one
//! that B set for A, the fee that B takes for forwarding what A sends (protocol, section 9).
//!
//! Nodes of a currency have dense numbers. What is known of a node's lines lies in one piece of a
//! few large arrays (`pool`): 44 bytes a line and end, and 16 bytes a node besides its key, so
//! that a search from either side runs over memory in order. Rates have numbers too (`rates`):
//! most edges share one with many others. Capacities have 64 bits there; the few reports that need
//! more are kept whole beside the arrays, and the arrays say "at least so much".
//!
//! Whoever feeds the graph sees only [`Graph::apply`], or [`Graph::set_line`] and
//! [`Graph::remove_line`]; the searches see, inside this crate, the edges of a node in both
//! directions.

pub(crate) mod bulk;
mod pool;
mod rates;

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, RandomState},
    ops::Range,
};

use hashbrown::HashTable;
use offset_crypto::PublicKey;
use offset_proto::{Credits, Currency, Rate, index::IndexLine};

use crate::directory::LineChange;
use pool::{Block, Pool, Said};
use rates::Rates;

pub(crate) use pool::Link;
pub(crate) use rates::{FREE, RateNumber};

/// The graphs of all currencies.
#[derive(Debug, Clone, Default)]
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
        } else if node != friend {
            let mut graph = CurrencyGraph::default();
            graph.set_line(node, friend, line);
            self.currencies.insert(currency.clone(), graph);
        }
    }

    /// Makes a change that the directory tells of.
    pub fn apply(&mut self, change: &LineChange) {
        let LineChange { node, friend, currency, line } = change;
        match line {
            Some(line) => self.set_line(*node, *friend, currency, *line),
            None => self.remove_line(*node, *friend, currency),
        }
    }

    /// `node` no longer reports this line.
    pub fn remove_line(&mut self, node: PublicKey, friend: PublicKey, currency: &Currency) {
        if let Some(graph) = self.currencies.get_mut(currency) {
            let before = graph.edges;
            graph.remove_line(node, friend);
            self.edges = self.edges - before + graph.edges;
            graph.debug_check();
            if graph.numbers.is_empty() {
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

    /// Whether the arrays agree with each other.
    pub fn check_invariants(&self) {
        let edges: usize = self.currencies.values().map(|graph| graph.edges).sum();
        assert_eq!(self.edges, edges);
        for graph in self.currencies.values() {
            graph.check_invariants();
        }
    }
}

/// The graph of one currency.
#[derive(Debug, Clone, Default)]
pub struct CurrencyGraph {
    numbers: HashTable<Number>,
    hasher: RandomState,
    keys: Vec<PublicKey>,
    blocks: Vec<Block>,
    /// Numbers of no node.
    unused: Vec<Number>,
    pool: Pool,
    rates: Rates,
    /// Reports that do not fit into the arrays, by who reports and about which friend.
    large: HashMap<(Number, Number), IndexLine>,
    /// Directed edges that exist.
    edges: usize,
    /// How many of them have a rate that takes anything.
    dear: usize,
}

/// A node's place in the arrays of its currency.
pub(crate) type Number = u32;

/// An edge, with everything that a path needs to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edge {
    /// The most that it carries, fees included.
    pub(crate) capacity: Credits,
    /// What the node at its end takes for forwarding.
    pub(crate) rate: Rate,
}

/// How many bytes a graph takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All that grows with the nodes: keys, their index, where their lines lie.
    pub nodes: usize,
    /// All that grows with the lines.
    pub lines: usize,
}

impl CurrencyGraph {
    /// How many nodes any report names.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.numbers.len()
    }

    /// How many directed edges exist.
    #[must_use]
    pub const fn edge_count(&self) -> usize {
        self.edges
    }

    /// The bytes of all arrays, with what they have in reserve.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let numbers = self.numbers.allocation_size() + self.unused.capacity() * 4;
        let large = self.large.capacity() * (size_of::<((Number, Number), IndexLine)>() + 1);
        Memory {
            nodes: numbers
                + self.keys.capacity() * size_of::<PublicKey>()
                + self.blocks.capacity() * size_of::<Block>(),
            lines: self.pool.bytes() + self.rates.bytes() + large * 8 / 7,
        }
    }

    /// The node's number, where any report names it.
    pub(crate) fn number(&self, key: &PublicKey) -> Option<Number> {
        let hash = self.hasher.hash_one(key);
        self.numbers.find(hash, |number| self.keys[index(*number)] == *key).copied()
    }

    /// The key of a number that this graph gave out.
    pub(crate) fn key(&self, number: Number) -> PublicKey {
        self.keys[index(number)]
    }

    /// The edges that end at a node.
    pub(crate) fn inward(&self, number: Number) -> &[Link] {
        &self.pool.inward[self.blocks[index(number)].live_slots()]
    }

    /// The edges that begin at a node.
    pub(crate) fn outward(&self, number: Number) -> &[Link] {
        &self.pool.outward[self.blocks[index(number)].live_slots()]
    }

    /// Where a node's edges lie; those with one friend at the same place in both directions.
    pub(crate) fn slots(&self, number: Number) -> Range<usize> {
        self.blocks[index(number)].live_slots()
    }

    /// The node among whose edges this slot is, given the friend that it leads to.
    pub(crate) fn owner(&self, slot: u32, friend: Number) -> Number {
        let twin = self.blocks[index(friend)].at(self.pool.twin(index(slot)));
        self.pool.inward[twin].peer
    }

    /// The edge between two nodes as it lies in the arrays, where there is one.
    pub(crate) fn link(&self, from: Number, to: Number) -> Option<Link> {
        let (_, slot) = self.find(from, to)?;
        let is_live = slot < self.blocks[index(to)].live_slots().end;
        is_live.then(|| self.pool.inward[slot])
    }

    /// The edge between two nodes, where there is one.
    pub(crate) fn edge(&self, from: Number, to: Number) -> Option<Edge> {
        let link = self.link(from, to)?;
        let capacity = self.capacity(from, to, link.capacity);
        Some(Edge { capacity, rate: self.rate(link.rate) })
    }

    /// The capacity of an edge of which the arrays say this much.
    pub(crate) fn capacity(&self, from: Number, to: Number, capacity: u64) -> Credits {
        let small = Credits(u128::from(capacity));
        if capacity < u64::MAX {
            return small;
        }
        let said = |report: Option<&IndexLine>, what: fn(&IndexLine) -> Credits| {
            report.map_or(small, what).max(small)
        };
        let sent = said(self.large.get(&(from, to)), |line| line.send_capacity);
        let received = said(self.large.get(&(to, from)), |line| line.recv_capacity);
        sent.min(received)
    }

    /// The rate with a number.
    pub(crate) fn rate(&self, number: RateNumber) -> Rate {
        self.rates.rate(number)
    }

    /// The fee of the rate with a number, where it and the amount fit into 64 bits.
    pub(crate) fn small_fee(&self, number: RateNumber, amount: u64) -> Option<u64> {
        self.rates.small_fee(number, amount)
    }

    /// Above every number in use.
    pub(crate) const fn bound(&self) -> usize {
        self.blocks.len()
    }

    /// How many edges have a rate that takes anything.
    pub(crate) const fn dear_count(&self) -> usize {
        self.dear
    }

    fn set_line(&mut self, node: PublicKey, friend: PublicKey, line: IndexLine) {
        if node == friend {
            return;
        }
        let known = self.number(&node).zip(self.number(&friend));
        let found = known.and_then(|(node, friend)| {
            let (at_node, at_friend) = self.find(node, friend)?;
            Some((node, friend, at_node, at_friend))
        });
        let (node, friend, mut at_node, mut at_friend) = found.unwrap_or_else(|| {
            let (node, friend) = (self.name(node), self.name(friend));
            let (at_node, at_friend) = self.add(node, friend);
            (node, friend, at_node, at_friend)
        });
        if !self.pool.is_reported(at_node) {
            self.pool.set_reported(at_node, true);
            if self.pool.is_reported(at_friend) {
                (at_node, at_friend) = self.set_live(node, friend, at_node, at_friend);
            }
        }
        let is_live = self.pool.is_reported(at_friend);
        let (send, large_send) = small(line.send_capacity);
        let (receive, large_receive) = small(line.recv_capacity);
        let inward = self.pool.said(at_node);
        self.pool.say(at_node, at_friend, Said { receiver: receive, ..inward });
        let outward = self.pool.said(at_friend);
        self.pool.say(at_friend, at_node, Said { sender: send, ..outward });
        self.set_rate(at_node, at_friend, line.rate, is_live);
        if large_send || large_receive {
            self.large.insert((node, friend), line);
        } else if !self.large.is_empty() {
            self.large.remove(&(node, friend));
        }
    }

    fn remove_line(&mut self, node: PublicKey, friend: PublicKey) {
        let Some((node, friend)) = self.number(&node).zip(self.number(&friend)) else { return };
        let Some((mut at_node, mut at_friend)) = self.find(node, friend) else { return };
        if !self.pool.is_reported(at_node) {
            return;
        }
        let was_live = self.pool.is_reported(at_friend);
        self.set_rate(at_node, at_friend, Rate::default(), was_live);
        self.large.remove(&(node, friend));
        if was_live {
            (at_node, at_friend) = self.set_waiting(node, friend, at_node, at_friend);
            self.pool.set_reported(at_node, false);
            let inward = self.pool.said(at_node);
            self.pool.say(at_node, at_friend, Said { receiver: 0, ..inward });
            let outward = self.pool.said(at_friend);
            self.pool.say(at_friend, at_node, Said { sender: 0, ..outward });
            return;
        }
        for (node, slot) in [(node, at_node), (friend, at_friend)] {
            let block = self.blocks[index(node)];
            self.swap(node, slot, block.at(block.len - 1));
        }
        for node in [node, friend] {
            self.pool.pop(&mut self.blocks[index(node)]);
            if self.blocks[index(node)].len == 0 {
                self.forget(node);
            }
        }
        self.compact_if_sparse();
    }

    fn compact_if_sparse(&mut self) {
        if self.pool.is_sparse() {
            self.pool.compact(self.blocks.iter_mut());
        }
    }

    /// The slots of the line between two nodes, at each of them, where any report names it.
    fn find(&self, one: Number, other: Number) -> Option<(usize, usize)> {
        let (block, other_block) = (self.blocks[index(one)], self.blocks[index(other)]);
        if other_block.len < block.len {
            let (at_other, at_one) = self.find(other, one)?;
            return Some((at_one, at_other));
        }
        let slot = block.at(self.pool.place_of(&block, other)?);
        Some((slot, other_block.at(self.pool.twin(slot))))
    }

    /// Adds a line that nobody reports yet.
    fn add(&mut self, node: Number, friend: Number) -> (usize, usize) {
        let (place, twin) = (self.blocks[index(node)].len, self.blocks[index(friend)].len);
        self.pool.push(&mut self.blocks[index(node)], friend, twin);
        self.pool.push(&mut self.blocks[index(friend)], node, place);
        self.compact_if_sparse();
        (self.blocks[index(node)].at(place), self.blocks[index(friend)].at(twin))
    }

    /// Both ends report the line from now on; gives its slots after the move.
    fn set_live(
        &mut self,
        node: Number,
        friend: Number,
        at_node: usize,
        at_friend: usize,
    ) -> (usize, usize) {
        let moved = [(node, at_node), (friend, at_friend)].map(|(node, slot)| {
            let place = self.blocks[index(node)].live;
            self.blocks[index(node)].live += 1;
            let to = self.blocks[index(node)].at(place);
            self.swap(node, slot, to);
            to
        });
        self.edges += 2;
        let dear = [self.pool.inward[moved[0]], self.pool.outward[moved[0]]];
        self.dear += dear.iter().filter(|link| link.rate != FREE).count();
        (moved[0], moved[1])
    }

    /// From now on only one end reports the line; gives its slots after the move.
    fn set_waiting(
        &mut self,
        node: Number,
        friend: Number,
        at_node: usize,
        at_friend: usize,
    ) -> (usize, usize) {
        let dear = [self.pool.inward[at_node], self.pool.outward[at_node]];
        self.dear -= dear.iter().filter(|link| link.rate != FREE).count();
        self.edges -= 2;
        let moved = [(node, at_node), (friend, at_friend)].map(|(node, slot)| {
            self.blocks[index(node)].live -= 1;
            let block = self.blocks[index(node)];
            let to = block.at(block.live);
            self.swap(node, slot, to);
            to
        });
        (moved[0], moved[1])
    }

    /// Swaps two slots of a node and tells their twins.
    fn swap(&mut self, node: Number, one: usize, other: usize) {
        if one == other {
            return;
        }
        self.pool.swap(one, other);
        let start = index(self.blocks[index(node)].start);
        for slot in [one, other] {
            let friend = self.pool.inward[slot].peer;
            let twin = self.blocks[index(friend)].at(self.pool.twin(slot));
            let place = u32::try_from(slot - start).expect("a place is below the block's length");
            self.pool.set_twin(twin, place);
        }
    }

    /// The rate that the node of the first slot sets for the friend of the second.
    fn set_rate(&mut self, at_node: usize, at_friend: usize, rate: Rate, is_live: bool) {
        let old = self.pool.inward[at_node].rate;
        if self.rates.rate(old) == rate {
            return;
        }
        let new = self.rates.take(rate);
        self.rates.release(old);
        self.pool.inward[at_node].rate = new;
        self.pool.outward[at_friend].rate = new;
        if is_live {
            self.dear -= usize::from(old != FREE);
            self.dear += usize::from(new != FREE);
        }
    }

    /// The number of a node that has one or gets one now.
    fn name(&mut self, key: PublicKey) -> Number {
        if let Some(number) = self.number(&key) {
            return number;
        }
        let number = if let Some(number) = self.unused.pop() {
            self.keys[index(number)] = key;
            number
        } else {
            if self.keys.len() == self.keys.capacity() {
                // Doubling would leave half of the arrays unused.
                let more = (self.keys.len() / 16).max(4);
                self.keys.reserve_exact(more);
                self.blocks.reserve_exact(more);
            }
            self.keys.push(key);
            self.blocks.push(Block::default());
            Number::try_from(self.keys.len() - 1)
                .expect("the directory bounds the nodes far below 2^32")
        };
        let (hash, keys, hasher) = (self.hasher.hash_one(key), &self.keys, &self.hasher);
        self.numbers.insert_unique(hash, number, |number| hasher.hash_one(keys[index(*number)]));
        number
    }

    /// A node that no report names any more.
    fn forget(&mut self, number: Number) {
        let hash = self.hasher.hash_one(self.keys[index(number)]);
        if let Ok(entry) = self.numbers.find_entry(hash, |other| *other == number) {
            entry.remove();
            self.unused.push(number);
        }
    }

    fn debug_check(&self) {
        // Everything is looked at, so only what is small is checked at every step.
        if cfg!(debug_assertions) && self.pool.inward.len() <= 128 {
            self.check_invariants();
        }
    }

    fn check_invariants(&self) {
        self.pool.check_invariants(self.blocks.iter().copied());
        assert_eq!(self.numbers.len() + self.unused.len(), self.keys.len());
        let (mut edges, mut dear, mut uses) = (0, 0, BTreeMap::new());
        for (number, block) in (0..).zip(&self.blocks) {
            let named = self.number(&self.key(number)) == Some(number);
            assert_eq!(named, block.len != 0, "a node is named exactly while it has lines");
            for slot in block.slots() {
                let slot_number = u32::try_from(slot).expect("slots have 32 bits");
                let (inward, outward) = (self.pool.inward[slot], self.pool.outward[slot]);
                assert_eq!(inward.peer, outward.peer);
                let twin = self.blocks[index(inward.peer)].at(self.pool.twin(slot));
                let [in_twin, out_twin] = [self.pool.inward[twin], self.pool.outward[twin]];
                assert_eq!((in_twin.peer, self.owner(slot_number, inward.peer)), (number, number));
                assert_eq!((inward.capacity, inward.rate), (out_twin.capacity, out_twin.rate));
                let (own, other) = (self.pool.is_reported(slot), self.pool.is_reported(twin));
                assert!(own || other);
                let is_live = block.live_slots().contains(&slot);
                assert_eq!(is_live, own && other, "live lines come first, and only they are edges");
                edges += usize::from(is_live);
                dear += usize::from(is_live && inward.rate != FREE);
                *uses.entry(inward.rate).or_insert(0) += 1;
                if !own {
                    let said = self.pool.said(slot);
                    assert_eq!((said.receiver, inward.rate), (0, FREE), "nothing is said");
                }
            }
        }
        assert_eq!((edges, dear), (self.edges, self.dear));
        for (number, count) in self.rates.uses() {
            assert_eq!(uses.get(&number).copied().unwrap_or(0), count, "uses of a rate");
        }
    }
}

/// An amount as the arrays hold it, and whether it is more than they can say.
fn small(credits: Credits) -> (u64, bool) {
    u64::try_from(credits.0).map_or((u64::MAX, true), |small| (small, small == u64::MAX))
}

/// A number as an index.
pub(crate) const fn index(number: Number) -> usize {
    number as usize
}

#[cfg(test)]
pub(crate) mod tests;
