//! A graph of many reports at once: sorted by counting, and laid out in one piece each.
//!
//! The reports of each node come together and name nodes by numbers. Where both ends of a line
//! report it, they are brought together by a transposition: of every node there is the list of what
//! it says, by friend, and of what is said of it, by who says it; both are in order, and one pass
//! over both gives its block. A line's place at its other end is known without a search, for the
//! blocks are filled in the order of the nodes, and so is each block.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    thread,
};

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
#[derive(Debug, Clone, Copy, Default)]
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

/// From so many nodes on their keys are numbered by a thread of its own.
const MANY_NODES: usize = 10_000;
/// No number.
const NONE: u32 = u32::MAX;

/// The numbers that nodes have in the currency at hand, by those that they have everywhere.
struct Names {
    local: Vec<u32>,
}

/// Who is named in a currency.
struct Members {
    /// By their numbers in the graph of the currency, which reports have from here on.
    numbers: Vec<u32>,
    /// Numbers in the graph of those who are not named.
    others: Vec<Number>,
}

impl Names {
    /// Gives a number to every node that is named, in the order of those that they have. Where nearly
    /// all nodes are named these are the same, and the others' are unused.
    fn number(&mut self, reports: &mut [Report]) -> Members {
        if self.local.len() / 2 <= reports.len() {
            let mut is_named = vec![false; self.local.len()];
            for report in reports.iter() {
                is_named[index(report.node)] = true;
                is_named[index(report.friend)] = true;
            }
            let others = is_named.iter().filter(|named| !**named).count();
            let all = || (0..).zip(&is_named);
            if others <= self.local.len() / 16 {
                let others = all().filter(|(_, named)| !**named).map(|(number, _)| number);
                let others = others.collect();
                return Members { numbers: (0..count(self.local.len())).collect(), others };
            }
            let members = all().filter(|(_, named)| **named).map(|(number, _)| number).collect();
            return self.rename(members, reports);
        }
        let mut members = Vec::new();
        for named in reports.iter().flat_map(|report| [report.node, report.friend]) {
            if self.local[index(named)] == NONE {
                self.local[index(named)] = 0;
                members.push(named);
            }
        }
        members.sort_unstable();
        self.rename(members, reports)
    }

    fn rename(&mut self, members: Vec<u32>, reports: &mut [Report]) -> Members {
        for (number, member) in (0..).zip(&members) {
            self.local[index(*member)] = number;
        }
        for report in reports {
            report.node = self.of(report.node);
            report.friend = self.of(report.friend);
        }
        Members { numbers: members, others: Vec::new() }
    }

    /// The number of a node that is named.
    fn of(&self, named: u32) -> Number {
        let local = self.local[index(named)];
        if local == NONE { named } else { local }
    }

    fn forget(&mut self, members: &Members) {
        for member in &members.numbers {
            self.local[index(*member)] = NONE;
        }
    }
}

/// The reports of one currency by both of their ends.
struct Sorted<'a> {
    reports: &'a [Report],
    /// Where the reports of each node lie.
    own: Vec<(u32, u32)>,
    /// Where those about each node lie in `about`, and at the end how many there are.
    about_from: Vec<u32>,
    /// The reports by their friend, and those of one friend by their node.
    about: Vec<About>,
}

/// A report among those about its friend.
#[derive(Debug, Clone, Copy, Default)]
struct About {
    node: Number,
    rate: RateNumber,
    send: u64,
    receive: u64,
}

impl<'a> Sorted<'a> {
    fn new(reports: &'a [Report], nodes: usize) -> Self {
        let mut own = vec![(0, 0); nodes];
        let mut about_from = vec![0_u32; nodes + 1];
        let mut at = 0;
        for same in reports.chunk_by(|one, other| one.node == other.node) {
            let end = at + count(same.len());
            own[index(same[0].node)] = (at, end);
            at = end;
        }
        for report in reports {
            about_from[index(report.friend) + 1] += 1;
        }
        for node in 0..nodes {
            about_from[node + 1] += about_from[node];
        }
        let mut next = about_from.clone();
        let mut about = vec![About::default(); reports.len()];
        for (from, to) in &own {
            for report in &reports[index(*from)..index(*to)] {
                let place = &mut next[index(report.friend)];
                let Report { node, rate, send, receive, .. } = *report;
                about[index(*place)] = About { node, rate, send, receive };
                *place += 1;
            }
        }
        Self { reports, own, about_from, about }
    }

    /// The lines of a node in the order of its friends: what it says of each, and what is said of it.
    fn lines(&self, node: Number) -> impl Iterator<Item = Line<'_>> {
        let (from, to) = self.own[index(node)];
        let mut own = &self.reports[index(from)..index(to)];
        let about = index(self.about_from[index(node)])..index(self.about_from[index(node) + 1]);
        let mut about = &self.about[about];
        std::iter::from_fn(move || {
            let friend = own.first().map_or(NONE, |report| report.friend);
            let sayer = about.first().map_or(NONE, |report| report.node);
            let peer = friend.min(sayer);
            (peer != NONE).then(|| Line {
                friend: peer,
                own: if friend == peer { own.split_off_first() } else { None },
                about: if sayer == peer { about.split_off_first() } else { None },
            })
        })
    }
}

/// A line as one of its ends has it.
#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    friend: Number,
    /// What the node says.
    own: Option<&'a Report>,
    /// What the friend says.
    about: Option<&'a About>,
}

impl Line<'_> {
    const fn is_live(&self) -> bool {
        self.own.is_some() && self.about.is_some()
    }

    fn slot(&self, twin: u32) -> (Slot, Said) {
        let Line { friend, own, about } = *self;
        let outward = Link {
            capacity: own.map_or(0, |own| own.send).min(about.map_or(0, |about| about.receive)),
            peer: friend,
            rate: about.map_or(FREE, |about| about.rate),
        };
        let received = Said {
            sender: about.map_or(0, |about| about.send),
            receiver: own.map_or(0, |own| own.receive),
        };
        let rate = own.map_or(FREE, |own| own.rate);
        (Slot { rate, outward, twin, reported: own.is_some() }, received)
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
        let members = names.number(&mut reports.reports);
        graph.keys = members.numbers.iter().map(|member| keys[index(*member)]).collect();
        let (hasher, named) = (graph.hasher.clone(), graph.keys.clone());
        let others = &members.others;
        let sorted = Sorted::new(&reports.reports, members.numbers.len());
        let fill = |graph: &mut Self| graph.fill(&sorted, named.len());
        if named.len() < MANY_NODES {
            graph.numbers = numbers_of(&named, others, &hasher);
            fill(&mut graph);
        } else {
            graph.numbers = thread::scope(|scope| {
                let numbering = scope.spawn(|| numbers_of(&named, others, &hasher));
                fill(&mut graph);
                numbering.join().expect("keys are numbered without panics")
            });
        }
        for ((node, friend), line) in &reports.large {
            graph.large.insert((names.of(*node), names.of(*friend)), *line);
        }
        names.forget(&members);
        graph.unused = members.others;
        graph
    }

    /// Lays out the blocks of all nodes, one behind the other.
    fn fill(&mut self, sorted: &Sorted<'_>, nodes: usize) {
        self.pool.reserve(sorted.reports.len());
        self.blocks.reserve_exact(nodes);
        // How many lines of each node were found from their other ends: such that both ends report,
        // and others.
        let mut found = vec![(0_u32, 0_u32); nodes];
        let (mut waiting, mut unmatched) = (Vec::new(), Vec::new());
        for node in 0..count(nodes) {
            let start = count(self.pool.inward.len());
            for line in sorted.lines(node) {
                let there = &mut found[index(line.friend)];
                if line.is_live() {
                    let (slot, said) = line.slot(there.0);
                    there.0 += 1;
                    self.dear += usize::from(slot.rate != FREE);
                    self.pool.append(slot, said);
                } else {
                    waiting.push(line.slot(there.1));
                    there.1 += 1;
                }
            }
            let live = count(self.pool.inward.len()) - start;
            self.edges += index(live);
            for (slot, said) in waiting.drain(..) {
                unmatched.push(self.pool.inward.len());
                self.pool.append(slot, said);
            }
            let block = Block::laid_out(start, count(self.pool.inward.len()) - start, live);
            self.pool.append_unused(block.end());
            self.blocks.push(block);
        }
        // The others come behind those that both ends report, of which nobody knew yet how many there
        // are.
        for slot in unmatched {
            let friend = self.pool.inward[slot].peer;
            let place = self.pool.twin(slot) + self.blocks[index(friend)].live;
            self.pool.set_twin(slot, place);
        }
        self.pool.trim();
    }
}

/// Where to find the number of a key; those of nobody are left out.
fn numbers_of(keys: &[PublicKey], others: &[Number], hasher: &RandomState) -> HashTable<Number> {
    let mut numbers = HashTable::with_capacity(keys.len());
    let mut others = others.iter().copied().peekable();
    for (number, key) in (0..).zip(keys) {
        if others.next_if_eq(&number).is_none() {
            let rehash = |number: &Number| hasher.hash_one(keys[index(*number)]);
            numbers.insert_unique(hasher.hash_one(key), number, rehash);
        }
    }
    numbers
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
