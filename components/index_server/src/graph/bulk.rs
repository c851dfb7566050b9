//! A graph of many reports at once: sorted by counting, and laid out in one piece each.
//!
//! The reports of each node come together and name nodes by numbers. Where both ends of a line
//! report it, they are brought together by a transposition: of every node there is the list of what
//! it says, by friend, and of what is said of it, by who says it; both are in order, and one pass
//! over both gives its block. A line's place at its other end is known without a search, for the
//! blocks are filled in the order of the nodes, and so is each block.

use std::{collections::HashMap, hash::BuildHasher as _};

use hashbrown::HashTable;
use offset_crypto::PublicKey;
use offset_proto::{Currency, Rate, index::IndexLine};

use super::{
    CurrencyGraph, Graph, Number, index,
    pool::{Block, Link, Said, Slot},
    rates::{FREE, RateNumber, Rates},
    small,
};

/// What one node says of one line, by numbers into the [`Reports`] that it is part of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report {
    node: u32,
    friend: u32,
    /// Which of the rates.
    rate: RateNumber,
    send: u64,
    receive: u64,
}

/// What all nodes say in one currency.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    /// Those of one node side by side, sorted by friend, none twice.
    reports: Vec<Report>,
    /// Those that say more than fits into 64 bits, whole.
    large: HashMap<(u32, u32), IndexLine>,
}

impl Reports {
    /// Adds what a node says of its line with a friend. Nodes come one after the other, and the
    /// friends of each in rising order.
    pub(crate) fn push(&mut self, node: u32, friend: u32, rate: u32, line: &IndexLine) {
        if node == friend {
            return;
        }
        let (send, large_send) = small(line.send_capacity);
        let (receive, large_receive) = small(line.recv_capacity);
        if large_send || large_receive {
            self.large.insert((node, friend), *line);
        }
        self.reports.push(Report { node, friend, rate, send, receive });
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.reports.len()
    }
}

impl Graph {
    /// The graph of these reports; `keys` and `rates` are what their numbers stand for.
    pub(crate) fn of_reports(
        keys: &[PublicKey],
        rates: &[Rate],
        reports: impl IntoIterator<Item = (Currency, Reports)>,
    ) -> Self {
        let mut graph = Self::default();
        let mut names = Names { local: vec![NONE; keys.len()] };
        for (currency, reports) in reports {
            if reports.reports.is_empty() {
                continue;
            }
            let one = CurrencyGraph::of_reports(keys, rates, reports, &mut names);
            graph.edges += one.edges;
            graph.currencies.insert(currency, one);
        }
        graph
    }
}

/// No number.
const NONE: u32 = u32::MAX;

/// The numbers that nodes have in the currency at hand, by those that they have everywhere.
struct Names {
    local: Vec<u32>,
}

impl Names {
    /// Gives a number to every node that is named, in the order of those that they have.
    fn number(&mut self, reports: &[Report]) -> Vec<u32> {
        let mut members = Vec::new();
        for named in reports.iter().flat_map(|report| [report.node, report.friend]) {
            if self.local[index(named)] == NONE {
                self.local[index(named)] = 0;
                members.push(named);
            }
        }
        members.sort_unstable();
        for (number, member) in (0..).zip(&members) {
            self.local[index(*member)] = number;
        }
        members
    }

    fn of(&self, named: u32) -> Number {
        self.local[index(named)]
    }

    fn forget(&mut self, members: &[u32]) {
        for member in members {
            self.local[index(*member)] = NONE;
        }
    }
}

/// The reports of one currency by both of their ends.
struct Sorted<'a> {
    reports: &'a [Report],
    names: &'a Names,
    /// Where the reports of each node lie.
    own: Vec<(u32, u32)>,
    /// Where those about each node lie in `about`, and at the end how many there are.
    about_from: Vec<u32>,
    /// Reports by their friend, and those of one friend by their node.
    about: Vec<u32>,
}

impl<'a> Sorted<'a> {
    fn new(reports: &'a [Report], names: &'a Names, nodes: usize) -> Self {
        let mut own = vec![(0, 0); nodes];
        let mut about_from = vec![0_u32; nodes + 1];
        let mut at = 0;
        for same in reports.chunk_by(|one, other| one.node == other.node) {
            let end = at + count(same.len());
            own[index(names.of(same[0].node))] = (at, end);
            at = end;
        }
        for report in reports {
            about_from[index(names.of(report.friend)) + 1] += 1;
        }
        for node in 0..nodes {
            about_from[node + 1] += about_from[node];
        }
        let mut next = about_from.clone();
        let mut about = vec![0_u32; reports.len()];
        for (from, to) in &own {
            for number in *from..*to {
                let place = &mut next[index(names.of(reports[index(number)].friend))];
                about[index(*place)] = number;
                *place += 1;
            }
        }
        Self { reports, names, own, about_from, about }
    }

    /// The lines of a node in the order of its friends: what it says of each, and what is said of it.
    fn lines(
        &self,
        node: Number,
    ) -> impl Iterator<Item = (Number, Option<&Report>, Option<&Report>)> {
        let (from, to) = self.own[index(node)];
        let mut own = self.reports[index(from)..index(to)].iter().peekable();
        let about = index(self.about_from[index(node)])..index(self.about_from[index(node) + 1]);
        let mut about = self.about[about].iter().map(|at| &self.reports[index(*at)]).peekable();
        std::iter::from_fn(move || {
            let friend = own.peek().map_or(NONE, |report| self.names.of(report.friend));
            let sayer = about.peek().map_or(NONE, |report| self.names.of(report.node));
            let peer = friend.min(sayer);
            (peer != NONE).then(|| {
                let own = if friend == peer { own.next() } else { None };
                (peer, own, if sayer == peer { about.next() } else { None })
            })
        })
    }
}

impl CurrencyGraph {
    fn of_reports(
        keys: &[PublicKey],
        rates: &[Rate],
        mut reports: Reports,
        names: &mut Names,
    ) -> Self {
        let mut graph = Self::default();
        graph.rates.take_all(rates, &mut reports.reports);
        let members = names.number(&reports.reports);
        let sorted = Sorted::new(&reports.reports, names, members.len());
        graph.blocks = graph.lay_out(&sorted, members.len());
        graph.fill(&sorted);
        for ((node, friend), line) in &reports.large {
            graph.large.insert((names.of(*node), names.of(*friend)), *line);
        }
        names.forget(&members);
        graph.keys = members.iter().map(|member| keys[index(*member)]).collect();
        graph.numbers = HashTable::with_capacity(members.len());
        for (number, key) in (0..).zip(&graph.keys) {
            let (hasher, keys) = (&graph.hasher, &graph.keys);
            let rehash = |number: &Number| hasher.hash_one(keys[index(*number)]);
            graph.numbers.insert_unique(hasher.hash_one(key), number, rehash);
        }
        graph
    }

    /// The blocks of all nodes, one behind the other.
    fn lay_out(&mut self, sorted: &Sorted<'_>, nodes: usize) -> Vec<Block> {
        let mut blocks = Vec::with_capacity(nodes);
        let mut start = 0;
        for node in 0..count(nodes) {
            let (mut len, mut live) = (0, 0);
            for (_, own, about) in sorted.lines(node) {
                len += 1;
                live += u32::from(own.is_some() && about.is_some());
            }
            let block = Block::laid_out(start, len, live);
            start = block.end();
            blocks.push(block);
        }
        self.pool.lay_out(start);
        blocks
    }

    /// Fills the blocks, in order.
    fn fill(&mut self, sorted: &Sorted<'_>) {
        // How many lines of each block its friends have found so far: those that both ends report,
        // and the others.
        let mut found = vec![(0_u32, 0_u32); self.blocks.len()];
        for node in 0..count(self.blocks.len()) {
            let block = self.blocks[index(node)];
            let (mut live, mut waiting) = (0, block.live);
            for (friend, own, about) in sorted.lines(node) {
                let is_live = own.is_some() && about.is_some();
                let place = if is_live { &mut live } else { &mut waiting };
                let slot = block.at(*place);
                *place += 1;
                let there = &mut found[index(friend)];
                let twin = if is_live { &mut there.0 } else { &mut there.1 };
                let base = if is_live { 0 } else { self.blocks[index(friend)].live };
                let rate = |of: Option<&Report>| of.map_or(FREE, |of| of.rate);
                let received = Said {
                    sender: about.map_or(0, |about| about.send),
                    receiver: own.map_or(0, |own| own.receive),
                };
                let sent = own.map_or(0, |own| own.send);
                let inward = rate(own);
                let outward = Link {
                    capacity: sent.min(about.map_or(0, |about| about.receive)),
                    peer: friend,
                    rate: rate(about),
                };
                self.pool.fill(
                    slot,
                    Slot { rate: inward, outward, twin: base + *twin, reported: own.is_some() },
                    received,
                );
                *twin += 1;
                self.edges += usize::from(is_live);
                self.dear += usize::from(is_live && inward != FREE);
            }
        }
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("the directory bounds lines and nodes below 2^32")
}

impl Rates {
    /// One use more of each report's rate; the reports have the graph's own numbers from here on.
    fn take_all(&mut self, rates: &[Rate], reports: &mut [Report]) {
        if reports.len() < rates.len() {
            for report in reports {
                report.rate = self.take(rates[index(report.rate)]);
            }
            return;
        }
        let mut known: Vec<Option<RateNumber>> = vec![None; rates.len()];
        for report in reports {
            let known = &mut known[index(report.rate)];
            report.rate = match *known {
                Some(number) => self.take_again(number),
                None => *known.insert(self.take(rates[index(report.rate)])),
            };
        }
    }
}
