//! Memory that one search after the other uses, so that none has to clear what it does not touch.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::graph::{Number, index};

/// The memory of a thread that searches: about 50 bytes for each node of the largest graph that it
/// searched. What is found does not depend on what was searched with it before.
#[derive(Debug, Default)]
pub struct Scratch {
    /// From the source, and from the destination.
    pub(super) labels: [Labels; 2],
    pub(super) queues: [BinaryHeap<Reverse<(u64, Number)>>; 2],
    pub(super) marks: Marks,
    pub(super) prices: Prices,
    pub(super) looked_at: usize,
}

impl Scratch {
    /// How many edges were looked at since this was asked last.
    pub fn take_looked_at(&mut self) -> usize {
        std::mem::take(&mut self.looked_at)
    }

    /// Forgets everything; numbers up to and with `bound` may be used from here on.
    pub(super) fn begin(&mut self, bound: usize) {
        self.marks.begin(bound);
        self.begin_search(bound);
    }

    /// Forgets the labels.
    pub(super) fn begin_search(&mut self, bound: usize) {
        for labels in &mut self.labels {
            labels.begin(bound);
        }
        for queue in &mut self.queues {
            queue.clear();
        }
    }
}

/// What is known of the nodes that a search reached.
#[derive(Debug, Default)]
pub(super) struct Labels {
    labels: Vec<Label>,
    search: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Label {
    cost: u64,
    via: u32,
    /// In which search it was set.
    search: u32,
}

impl Labels {
    fn begin(&mut self, bound: usize) {
        if self.labels.len() <= bound {
            self.labels.resize(bound + 1, Label::default());
        }
        self.search = self.search.wrapping_add(1);
        if self.search == 0 {
            self.labels.fill(Label::default());
            self.search = 1;
        }
    }

    /// The cost of the best way known, and [`u64::MAX`] for a node that was not reached.
    pub(super) fn cost(&self, node: Number) -> u64 {
        let label = &self.labels[index(node)];
        if label.search == self.search { label.cost } else { u64::MAX }
    }

    /// How the best way known goes on from a node that was reached.
    pub(super) fn via(&self, node: Number) -> u32 {
        self.labels[index(node)].via
    }

    pub(super) fn set(&mut self, node: Number, cost: u64, via: u32) {
        self.labels[index(node)] = Label { cost, via, search: self.search };
    }
}

/// Flags of nodes, none of them set at first.
#[derive(Debug, Default)]
pub(super) struct Marks {
    marks: Vec<u8>,
    marked: Vec<Number>,
}

/// Something is held of an edge that begins here.
pub(super) const BEGINS: u8 = 1;
/// Something is held of an edge that ends here.
pub(super) const ENDS: u8 = 2;
/// Parts flow through here.
pub(super) const FLOWS: u8 = 4;

impl Marks {
    fn begin(&mut self, bound: usize) {
        for node in self.marked.drain(..) {
            self.marks[index(node)] = 0;
        }
        if self.marks.len() <= bound {
            self.marks.resize(bound + 1, 0);
        }
    }

    pub(super) fn has(&self, node: Number, mark: u8) -> bool {
        self.marks[index(node)] & mark != 0
    }

    pub(super) fn add(&mut self, node: Number, mark: u8) {
        let marks = &mut self.marks[index(node)];
        if *marks == 0 {
            self.marked.push(node);
        }
        *marks |= mark;
    }
}

/// A price of each node, 0 at first.
#[derive(Debug, Default)]
pub(super) struct Prices {
    prices: Vec<i64>,
    changed: Vec<Number>,
}

impl Prices {
    pub(super) fn begin(&mut self, bound: usize) {
        for node in self.changed.drain(..) {
            self.prices[index(node)] = 0;
        }
        if self.prices.len() <= bound {
            self.prices.resize(bound + 1, 0);
        }
    }

    pub(super) fn of(&self, node: Number) -> i64 {
        self.prices[index(node)]
    }

    pub(super) fn raise(&mut self, node: Number, by: i64) {
        let price = &mut self.prices[index(node)];
        if *price == 0 {
            self.changed.push(node);
        }
        *price = price.saturating_add(by);
    }
}
