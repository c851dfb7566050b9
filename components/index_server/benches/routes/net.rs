//! The networks that are searched: real ones from files, and generated ones.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use offset_crypto::PublicKey;
use offset_index_server::graph::Graph;
use offset_proto::{Credits, Currency, Rate, index::IndexLine};

/// A directed edge: the rate is that of `to` for what `from` sends.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Edge {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) capacity: u64,
    pub(crate) rate: Rate,
}

pub(crate) struct Net {
    pub(crate) name: String,
    pub(crate) nodes: usize,
    pub(crate) edges: Vec<Edge>,
    pub(crate) keys: Vec<PublicKey>,
}

impl Net {
    fn new(name: String, nodes: usize, edges: Vec<Edge>) -> Self {
        let mut dice = Dice(0x5eed);
        let mut key = || loop {
            let mut bytes = [0; 32];
            for eight in bytes.chunks_mut(8) {
                eight.copy_from_slice(&dice.next().to_le_bytes());
            }
            if let Ok(key) = PublicKey::from_bytes(bytes) {
                return key;
            }
        };
        let keys = (0..nodes).map(|_| key()).collect();
        Self { name, nodes, edges, keys }
    }

    /// The files of the directory that `OFFSET_GRAPHS` names: `from,to,capacity,base_fee,ppm`.
    pub(crate) fn files() -> Vec<PathBuf> {
        let Some(folder) = std::env::var_os("OFFSET_GRAPHS") else { return Vec::new() };
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> =
            entries.filter(|path| path.extension().is_some_and(|end| end == "csv")).collect();
        files.sort();
        files
    }

    pub(crate) fn read(path: &Path) -> Self {
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let mut edges: HashMap<(u32, u32), Edge> = HashMap::new();
        for line in fs::read_to_string(path).unwrap().lines() {
            let fields: Vec<&str> = line.split(',').collect();
            let [from, to, capacity, base, ppm] = fields[..] else { panic!("{line}") };
            let Ok(capacity) = capacity.parse::<u64>() else { continue };
            let mut number = |name: &str| {
                let next = u32::try_from(numbers.len()).unwrap();
                *numbers.entry(name.to_owned()).or_insert(next)
            };
            let (from, to) = (number(from), number(to));
            let rate = Rate { ppm: ppm.parse().unwrap(), add: base.parse().unwrap() };
            // Of several channels between two nodes a line is one.
            let edge = edges.entry((from, to)).or_insert(Edge { from, to, capacity: 0, rate });
            edge.capacity += capacity;
        }
        let mut edges: Vec<Edge> =
            edges.into_values().filter(|edge| edge.from != edge.to).collect();
        edges.sort_by_key(|edge| (edge.from, edge.to));
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        Self::new(name, numbers.len(), edges)
    }

    /// Preferential attachment: every new node has five lines, rather with nodes that have many.
    pub(crate) fn generated(nodes: usize) -> Self {
        const LINES: usize = 5;
        let mut dice = Dice(42);
        let mut ends: Vec<u32> = vec![0];
        let mut edges = Vec::with_capacity(2 * LINES * nodes);
        for node in 1..u32::try_from(nodes).unwrap() {
            let mut friends: Vec<u32> = Vec::with_capacity(LINES);
            for _ in 0..4 * LINES {
                let friend = ends[dice.below(ends.len())];
                if friends.len() < LINES && friend != node && !friends.contains(&friend) {
                    friends.push(friend);
                }
            }
            for friend in friends {
                for (from, to) in [(node, friend), (friend, node)] {
                    edges.push(Edge { from, to, capacity: dice.capacity(), rate: dice.rate() });
                }
                ends.extend([node, friend]);
            }
        }
        Self::new(format!("generated-{}k", nodes / 1_000), nodes, edges)
    }

    /// What the two ends of every line report, in the order in which `report` is to be told.
    pub(crate) fn report(&self, mut report: impl FnMut(PublicKey, PublicKey, IndexLine)) {
        let key = |node: u32| self.keys[node as usize];
        self.report_by_number(|node, friend, line| report(key(node), key(friend), line));
    }

    /// The same by the numbers of the nodes.
    pub(crate) fn report_by_number(&self, mut report: impl FnMut(u32, u32, IndexLine)) {
        let back: HashMap<(u32, u32), Edge> =
            self.edges.iter().map(|edge| ((edge.from, edge.to), *edge)).collect();
        for edge in &self.edges {
            let other = back.get(&(edge.to, edge.from));
            let [there, here] =
                [edge.capacity, other.map_or(0, |edge| edge.capacity)].map(|c| Credits(c.into()));
            let rate_of_from = other.map_or(Rate::default(), |edge| edge.rate);
            report(
                edge.from,
                edge.to,
                IndexLine { send_capacity: there, recv_capacity: here, rate: rate_of_from },
            );
            if other.is_none() {
                let line = IndexLine { send_capacity: here, recv_capacity: there, rate: edge.rate };
                report(edge.to, edge.from, line);
            }
        }
    }

    pub(crate) fn graph(&self) -> Graph {
        let mut graph = Graph::default();
        let currency = Currency::fallback();
        self.report(|node, friend, line| graph.set_line(node, friend, &currency, line));
        graph
    }

    /// Half of the edges that carry anything carry at least so much.
    pub(crate) fn median_capacity(&self) -> u64 {
        let mut capacities: Vec<u64> =
            self.edges.iter().map(|edge| edge.capacity).filter(|capacity| *capacity != 0).collect();
        capacities.sort_unstable();
        capacities[capacities.len() / 2]
    }
}

/// SplitMix64: numbers that are the same in every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    /// As likely between 1,000 and 2,000 as between 100,000 and 200,000.
    pub(crate) fn capacity(&mut self) -> u64 {
        1_000 * (1 << self.below(12)) * (100 + self.next() % 100) / 100
    }

    /// One node in three takes nothing.
    pub(crate) fn rate(&mut self) -> Rate {
        let ppm = [0, 0, 100, 500, 1_000, 2_500][self.below(6)];
        Rate {
            ppm: ppm + u32::try_from(self.below(10)).unwrap() * ppm / 100,
            add: u64::from(ppm / 500),
        }
    }

    /// As likely of any order of magnitude.
    pub(crate) fn amount(&mut self, most: u64) -> u64 {
        let bits = most.max(2).ilog2() as usize;
        (1 << self.below(bits + 1)).min(most)
    }
}
