//! From and to a file of the server's own.

use std::{collections::BTreeMap, ops::Bound, sync::Arc, thread};

use offset_crypto::PublicKey;
use offset_proto::{Credits, Rate, Timestamp, index::IndexLine};

use super::{
    Directory, MUTATION_BYTES, UPDATE_BYTES,
    entry::{Entry, Gone, Life, Newest, Words},
};
use crate::{
    graph::{Graph, bulk::Reports},
    limits::{DirectoryLimits, REMEMBER_MS},
    saved::{Encoder, PackedMutation, Record, Saved, Unreadable},
};

impl Directory {
    /// What a file says, and the graph of it. Nodes that would have been dropped by `now`, or for
    /// which there is no room any more, are left out.
    ///
    /// # Errors
    /// When the file contradicts itself, or one of its nodes says more than is kept of any.
    pub fn load(
        limits: DirectoryLimits,
        now: Timestamp,
        saved: &Arc<Saved>,
    ) -> Result<(Self, Graph), Unreadable> {
        let of_limits = limits.clone();
        let (known, all) = thread::scope(|scope| {
            // Most often nothing is left out, so this need not wait until that is known.
            let reading = scope.spawn(|| graph_of(saved, saved.places(), &of_limits));
            (Self::known(limits, now, saved), reading.join().expect("reading does not panic"))
        });
        let (mut directory, kept) = known?;
        let (graph, counts) = if kept.len() == saved.places().len() {
            all?
        } else {
            graph_of(saved, &kept, &of_limits)?
        };
        let lines = saved.currencies().iter().cloned().zip(counts);
        directory.currencies = lines.filter(|(_, lines)| *lines != 0).collect();
        if directory.limits.max_currencies < directory.currencies.len() {
            return Err(Unreadable::Limits);
        }
        directory.debug_check();
        Ok((directory, graph))
    }

    /// What a file says but for the currencies, and where the records lie that count.
    fn known(
        limits: DirectoryLimits,
        now: Timestamp,
        saved: &Arc<Saved>,
    ) -> Result<(Self, Vec<usize>), Unreadable> {
        let mut directory = Self::new(limits);
        let (mut nodes, mut kept) = (Vec::new(), Vec::new());
        let mut gone = BTreeMap::new();
        for record in saved.records() {
            let place = record.place();
            let node = Loaded::read(record).ok_or(Unreadable::Nonsense)?;
            if nodes.last().is_some_and(|(before, _)| node.key <= *before) {
                return Err(Unreadable::Nonsense);
            }
            let heard_at = node.heard_at.min(now);
            let deadline = heard_at.plus_ms(directory.limits.alive_for_ms);
            let bytes = directory.stored_bytes + node.bytes;
            if deadline <= now
                || directory.limits.max_nodes <= nodes.len()
                || directory.limits.max_stored_bytes < bytes
            {
                let deadline = now.plus_ms(REMEMBER_MS);
                gone.insert(node.key, Gone { newest: node.newest.version, down: None, deadline });
                continue;
            }
            directory.stored_bytes = bytes;
            kept.push(place);
            nodes.push((node.key, node.entry(heard_at, deadline)));
        }
        for known in saved.gone() {
            let deadline = known.until.min(now.plus_ms(REMEMBER_MS));
            let (newest, down) = (known.newest, known.down.clone());
            if now < deadline && nodes.binary_search_by_key(&known.node, |(key, _)| *key).is_err() {
                gone.insert(known.node, Gone { newest, down, deadline });
            }
        }
        while directory.limits.max_nodes < gone.len() {
            gone.pop_first();
        }
        directory.deadlines = nodes.iter().map(|(key, entry)| (entry.deadline, *key)).collect();
        directory.by_size = nodes.iter().map(|(key, entry)| (entry.chain_bytes, *key)).collect();
        directory.forget = gone.iter().map(|(key, gone)| (gone.deadline, *key)).collect();
        directory.nodes = nodes.into_iter().collect();
        directory.gone = gone;
        Ok((directory, kept))
    }

    /// Writes the living nodes after `after`, about `most` bytes of them; gives the last one, or
    /// nothing when there is no more.
    pub fn save_some(
        &self,
        encoder: &mut Encoder,
        after: Option<PublicKey>,
        most: usize,
    ) -> Option<PublicKey> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (node, entry) in self.nodes.range((from, Bound::Unbounded)) {
            if let Life::Alive { heard_at } = entry.life {
                match &entry.words {
                    Words::Open(open) => {
                        let updates = open.chain.iter().map(|update| update.update());
                        encoder.node(node, heard_at, updates);
                    }
                    Words::Packed(record) => {
                        let updates = record.unpack(None);
                        let updates = updates.expect("it was read when it was loaded");
                        encoder.node(node, heard_at, updates.iter());
                    }
                }
            }
            if most <= encoder.waiting() {
                return Some(*node);
            }
        }
        None
    }

    /// Writes the nodes that are gone; to be called once, after all others were written.
    pub fn save_gone(&self, encoder: &mut Encoder) {
        for (node, gone) in &self.gone {
            let down = gone.down.as_ref().map(|(home, down)| (home, down));
            encoder.gone(node, gone.newest, gone.deadline, down);
        }
    }
}

/// What of a record is known without looking at its lines.
struct Loaded {
    record: Record,
    key: PublicKey,
    heard_at: Timestamp,
    newest: Newest,
    updates: usize,
    bytes: usize,
}

impl Loaded {
    /// `None` when the record's updates are no chain.
    fn read(record: Record) -> Option<Self> {
        let (number, heard_at) = record.node()?;
        let key = record.key(number)?;
        let (mut newest, mut updates, mut bytes) = (None::<(u64, u64)>, 0, 0);
        let (mut home, mut time, mut is_chain) = (0, Timestamp(0), true);
        record.heads(|head, mutations| {
            let version = (head.epoch, head.counter);
            let next = newest.map(|(epoch, counter)| (epoch, counter.saturating_add(1)));
            is_chain &= next.map_or_else(|| head.is_snapshot(), |next| version == next);
            (newest, home, time) = (Some(version), head.home(), head.time);
            updates += 1;
            bytes += UPDATE_BYTES + mutations * MUTATION_BYTES;
        })?;
        let version = newest.filter(|_| is_chain)?;
        let newest = Newest { home_server: record.key(home)?, version, time };
        Some(Self { record, key, heard_at, newest, updates, bytes })
    }

    fn entry(self, heard_at: Timestamp, deadline: Timestamp) -> Entry {
        Entry {
            newest: self.newest,
            updates: self.updates,
            chain_bytes: self.bytes,
            words: Words::Packed(self.record),
            compared_at: Timestamp(0),
            life: Life::Alive { heard_at },
            deadline,
        }
    }
}

/// The graph of what the records at these places say, and how many lines are in each currency.
fn graph_of(
    saved: &Arc<Saved>,
    places: &[usize],
    limits: &DirectoryLimits,
) -> Result<(Graph, Vec<usize>), Unreadable> {
    let mut reports: Vec<Reports> = saved.currencies().iter().map(|_| Reports::default()).collect();
    let mut changes: Vec<PackedMutation> = Vec::new();
    for place in places {
        let record = saved.record(*place);
        let (number, _) = record.node().ok_or(Unreadable::Nonsense)?;
        changes.clear();
        record.each(|_, _| (), |change| changes.push(change)).ok_or(Unreadable::Nonsense)?;
        // The last change of each line counts.
        changes.sort_by_key(|change| (change.friend, change.currency));
        let (mut lines, mut own) = (0, Vec::new());
        let same = |one: &PackedMutation, other: &PackedMutation| {
            (one.friend, one.currency) == (other.friend, other.currency)
        };
        for line in changes.chunk_by(same) {
            let Some(PackedMutation { friend, currency, line: Some(line) }) = line.last().copied()
            else {
                continue;
            };
            lines += 1;
            own.push(currency);
            reports[currency as usize].push(number, friend, line.0, &of(saved.rates(), line));
        }
        own.sort_unstable();
        own.dedup();
        if limits.max_lines_per_node < lines || limits.max_currencies_per_node < own.len() {
            return Err(Unreadable::Limits);
        }
    }
    let counts = reports.iter().map(Reports::len).collect();
    let reports = saved.currencies().iter().cloned().zip(reports);
    Ok((Graph::of_reports(saved.keys(), saved.rates(), reports), counts))
}

fn of(rates: &[Rate], (rate, send_capacity, recv_capacity): (u32, Credits, Credits)) -> IndexLine {
    let rate = rates.get(rate as usize).copied().unwrap_or_default();
    IndexLine { send_capacity, recv_capacity, rate }
}
