//! What every node said last, as it signed it (protocol, section 9).
//!
//! Of each node the directory keeps its last snapshot and what followed it without a gap, so that
//! another server can be given exactly this, and the table of lines that results. Whatever changes
//! the tables comes out as [`LineChange`]s for the graph.
//!
//! A node lives from its first fresh update until its home server says that it left, or until
//! nothing fresh came for 15 minutes. What a federated server passes on may begin with a snapshot
//! that is hours old: such a chain is kept aside, invisible to the graph, and comes to life with the
//! first update in it that is fresh.
//!
//! What was loaded from a file of the server's own lies there as it was written until the node says
//! something more (`load`).
//!
//! Invariants: *chain* (stored updates have one epoch and counters without gap, the first is a
//! snapshot), *newest only* (nothing at or below the newest known epoch and counter is applied, for
//! a day also of a node that is gone), *bounds* (nodes, lines of a node and stored bytes stay below
//! their limits).

mod apply;
mod entry;
mod judge;
mod load;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use offset_crypto::PublicKey;
use offset_proto::{
    Currency, Timestamp,
    index::{
        DigestEntry, IndexLine, IndexTable, NodeDown, SignedUpdate, UpdateKind, UpdateMutation,
    },
};

use crate::limits::{DirectoryLimits, MAX_EPOCH_AHEAD_S};
use entry::{Entry, Gone, Life};

/// An update whose signature was found to be its node's. Only such ones reach the directory, so the
/// check can be made on another thread.
#[derive(Debug, Clone)]
pub struct VerifiedUpdate(Arc<SignedUpdate>);

impl VerifiedUpdate {
    /// An update that was checked before it was written into a file of our own.
    fn checked_before(update: SignedUpdate) -> Self {
        Self(Arc::new(update))
    }

    /// Checks the signature.
    #[must_use]
    pub fn check(update: SignedUpdate) -> Option<Self> {
        update.verify().then(|| Self(Arc::new(update)))
    }

    /// What was signed.
    #[must_use]
    pub fn update(&self) -> &SignedUpdate {
        &self.0
    }
}

/// Epoch and counter: what of one node is newer than what.
pub type Version = (u64, u64);

/// What became of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// New, stored, to be passed on. With `refresh` the node should send a new snapshot, because its
    /// table differs from what it says, or because much is stored since its last one.
    Applied {
        /// Whether a snapshot is wanted from the node.
        refresh: bool,
    },
    /// This much of the node is known already.
    NotNewer {
        /// The newest known.
        newest: Version,
    },
    /// Something before it is missing: the last snapshot and what followed it is wanted.
    Gap,
    /// Not acceptable, and nothing was changed.
    Refused(Refusal),
}

/// Why an update was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The time in it is more than an hour away from this server's clock.
    #[error("the update's time is more than an hour off: check the clocks of node and server")]
    Time,
    /// Its epoch is more than a day ahead of this server's clock.
    #[error("the update's epoch is more than a day ahead: check the clocks of node and server")]
    Epoch,
    /// The node reports more lines than are kept of one node, or in too many currencies.
    #[error("the node reports more lines or currencies than this server keeps of one node")]
    TooManyLines,
    /// It reports a line of the node with itself.
    #[error("the update names a line of the node with itself")]
    OwnLine,
    /// No room for another node, another currency, or more bytes where no other node has more.
    #[error("this server is full")]
    Full,
}

/// A change of what nodes report, for the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineChange {
    /// Who reports.
    pub node: PublicKey,
    /// The other end.
    pub friend: PublicKey,
    /// In which currency.
    pub currency: Currency,
    /// The line, or nothing when it is no longer reported.
    pub line: Option<IndexLine>,
}

/// The last statements of all nodes.
#[derive(Debug)]
pub struct Directory {
    limits: DirectoryLimits,
    nodes: BTreeMap<PublicKey, Entry>,
    gone: BTreeMap<PublicKey, Gone>,
    /// When to look at a node again, one entry each.
    deadlines: BTreeSet<(Timestamp, PublicKey)>,
    /// When to forget a node that is gone, one entry each.
    forget: BTreeSet<(Timestamp, PublicKey)>,
    /// How many lines of all tables are in each currency.
    currencies: BTreeMap<Currency, usize>,
    stored_bytes: usize,
    /// The nodes by what is stored of them, one entry each.
    by_size: BTreeSet<(usize, PublicKey)>,
    changes: Vec<LineChange>,
}

impl Directory {
    /// An empty directory.
    #[must_use]
    pub const fn new(limits: DirectoryLimits) -> Self {
        Self {
            limits,
            nodes: BTreeMap::new(),
            gone: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            forget: BTreeSet::new(),
            currencies: BTreeMap::new(),
            stored_bytes: 0,
            by_size: BTreeSet::new(),
            changes: Vec::new(),
        }
    }

    /// An update from the node itself (`first_hand`) or from a federated server.
    pub fn handle_update(
        &mut self,
        now: Timestamp,
        update: VerifiedUpdate,
        first_hand: bool,
    ) -> Verdict {
        let verdict = self.judge(now, update.update(), first_hand).unwrap_or_else(|fresh| {
            let refresh = self.apply(now, update, fresh);
            Verdict::Applied { refresh }
        });
        self.debug_check();
        verdict
    }

    /// The home server's word that a node left; whether it was accepted and is to be passed on.
    pub fn handle_node_down(&mut self, now: Timestamp, down: NodeDown) -> bool {
        let Some(entry) = self.nodes.get(&down.node) else { return false };
        let said = (down.epoch, down.counter);
        let home = entry.newest.home_server;
        if said < entry.newest.version
            || epoch_too_far_ahead(now, down.epoch)
            || !down.verify(&home)
        {
            return false;
        }
        let (node, newest) = (down.node, entry.newest.version);
        self.remove(now, &node, newest, Some((home, down)));
        self.debug_check();
        true
    }

    /// Drops what is too old; to be called when [`Directory::next_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        while let Some((deadline, node)) = self.deadlines.first().copied() {
            if now < deadline {
                break;
            }
            self.deadlines.remove(&(deadline, node));
            if let Some(newest) = self.nodes.get(&node).map(|entry| entry.newest.version) {
                self.remove(now, &node, newest, None);
            }
        }
        while let Some((deadline, node)) = self.forget.first().copied() {
            if now < deadline {
                break;
            }
            self.forget(deadline, &node);
        }
        self.debug_check();
    }

    /// This computer's clock was set: it showed `before` when it was found to show `now`. Signs of
    /// life are as old as they were, so that a clock set forward drops nobody, and one set back keeps
    /// nobody who is gone.
    pub fn handle_clock_set(&mut self, before: Timestamp, now: Timestamp) {
        let moved = |at: Timestamp| Timestamp(at.0.saturating_add(now.0).saturating_sub(before.0));
        for entry in self.nodes.values_mut() {
            entry.deadline = moved(entry.deadline);
            entry.compared_at = moved(entry.compared_at);
            if let Life::Alive { heard_at } = &mut entry.life {
                *heard_at = moved(*heard_at);
            }
        }
        self.deadlines = self.nodes.iter().map(|(node, entry)| (entry.deadline, *node)).collect();
        for gone in self.gone.values_mut() {
            gone.deadline = moved(gone.deadline);
        }
        self.forget = self.gone.iter().map(|(node, gone)| (gone.deadline, *node)).collect();
        self.debug_check();
    }

    /// When something may be too old.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        let first = |set: &BTreeSet<(Timestamp, PublicKey)>| set.first().map(|(at, _)| *at);
        [first(&self.deadlines), first(&self.forget)].into_iter().flatten().min()
    }

    /// What changed for the graph since the last call.
    #[must_use]
    pub fn take_changes(&mut self) -> Vec<LineChange> {
        std::mem::take(&mut self.changes)
    }

    /// The newest known version of what a node said, alive, staged or gone.
    #[must_use]
    pub fn version(&self, node: &PublicKey) -> Option<Version> {
        let entry = self.nodes.get(node).map(|entry| entry.newest.version);
        entry.or_else(|| self.gone.get(node).map(|gone| gone.newest))
    }

    /// The server that a node's newest update names as its home.
    #[must_use]
    pub fn home_server(&self, node: &PublicKey) -> Option<PublicKey> {
        self.nodes.get(node).map(|entry| entry.newest.home_server)
    }

    /// When a living node last said anything, by the node's own clock: that statement confirms its
    /// whole table.
    #[must_use]
    pub fn stated_at(&self, node: &PublicKey) -> Option<Timestamp> {
        let entry = self.nodes.get(node).filter(|entry| entry.is_alive())?;
        Some(entry.newest.time)
    }

    /// The first stored update that whoever knows `after` of the node lacks.
    #[must_use]
    pub fn update_after(&self, node: &PublicKey, after: Option<Version>) -> Option<VerifiedUpdate> {
        let entry = self.nodes.get(node)?;
        if after.is_some_and(|after| entry.newest.version <= after) {
            return None;
        }
        let (epoch, _) = entry.newest.version;
        let first = entry.first_counter();
        let skip = match after {
            Some((after_epoch, after)) if after_epoch == epoch && first <= after => {
                usize::try_from(after - first).ok()? + 1
            }
            Some(_) | None => 0,
        };
        entry.update(skip)
    }

    /// The home server's word about a node that is gone.
    #[must_use]
    pub fn down(&self, node: &PublicKey) -> Option<&NodeDown> {
        self.gone.get(node).and_then(|gone| gone.down.as_ref()).map(|(_, down)| down)
    }

    /// The living nodes from `after` on, in the order of their keys.
    pub fn digest(&self, after: Option<PublicKey>) -> impl Iterator<Item = DigestEntry> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.nodes.range((from, Bound::Unbounded)).filter(|(_, entry)| entry.is_alive()).map(
            |(node, entry)| {
                let (epoch, counter) = entry.newest.version;
                DigestEntry { node: *node, epoch, counter }
            },
        )
    }

    /// How many nodes are alive or staged.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// The living nodes whose home is this server.
    pub fn at_home(&self, server: &PublicKey) -> impl Iterator<Item = PublicKey> {
        let alive = self.nodes.iter().filter(|(_, entry)| entry.is_alive());
        alive.filter(|(_, entry)| entry.newest.home_server == *server).map(|(node, _)| *node)
    }

    /// When the living node was heard of which nothing was heard for longest; where none is alive,
    /// nothing. A node that waits for a fresh statement may hide it for a minute.
    #[must_use]
    pub fn oldest(&self) -> Option<Timestamp> {
        let (_, node) = self.deadlines.first()?;
        match self.nodes.get(node)?.life {
            Life::Alive { heard_at } => Some(heard_at),
            Life::Staged => None,
        }
    }

    /// The bytes that stored statements are estimated to take.
    #[must_use]
    pub const fn stored_bytes(&self) -> usize {
        self.stored_bytes
    }

    /// What a living node reports.
    #[must_use]
    pub fn table(&self, node: &PublicKey) -> Option<Cow<'_, IndexTable>> {
        let entry = self.nodes.get(node).filter(|entry| entry.is_alive())?;
        let unpacked = entry.unpacked().map(|open| Cow::Owned(open.table));
        unpacked.or_else(|| entry.opened().map(|open| Cow::Borrowed(&open.table)))
    }

    /// Whether the module's invariants hold. Looks at everything.
    pub fn check_invariants(&self) {
        let mut bytes = 0;
        let mut currencies = BTreeMap::<Currency, usize>::new();
        for (node, entry) in &self.nodes {
            assert!(self.deadlines.contains(&(entry.deadline, *node)));
            assert!(!self.gone.contains_key(node), "a node is here or gone");
            assert!(self.by_size.contains(&(entry.chain_bytes, *node)));
            bytes += entry.chain_bytes;
            if let Life::Alive { heard_at } = entry.life {
                assert_eq!(entry.deadline, heard_at.plus_ms(self.limits.alive_for_ms));
            }
            let unpacked = Entry::unpacked(entry);
            let open = unpacked.as_ref().or(entry.opened()).expect("it is packed or open");
            open.check_invariants(node, &entry.newest);
            assert_eq!(open.chain.len(), entry.updates);
            assert!(open.table.len() <= self.limits.max_lines_per_node, "bounds");
            assert!(open.currencies.len() <= self.limits.max_currencies_per_node, "bounds");
            let sum: usize = open.chain.iter().map(|update| update_bytes(update.update())).sum();
            assert_eq!(sum, entry.chain_bytes);
            for (_, currency) in open.table.keys() {
                *currencies.entry(currency.clone()).or_default() += 1;
            }
        }
        assert_eq!(self.by_size.len(), self.nodes.len());
        assert_eq!(bytes, self.stored_bytes);
        assert_eq!(currencies, self.currencies);
        assert!(currencies.len() <= self.limits.max_currencies, "bounds");
        assert!(self.nodes.len() <= self.limits.max_nodes, "bounds");
        assert!(self.stored_bytes <= self.limits.max_stored_bytes, "bounds");
        assert_eq!(self.deadlines.len(), self.nodes.len());
        assert_eq!(self.forget.len(), self.gone.len());
        assert!(self.gone.len() <= self.limits.max_nodes, "bounds");
    }

    fn debug_check(&self) {
        // Everything is looked at, so only what is small enough is checked at every step.
        if cfg!(debug_assertions) && self.nodes.len() <= 64 && self.stored_bytes <= 1 << 16 {
            self.check_invariants();
        }
    }
}

/// Epoch and counter of an update.
#[must_use]
pub const fn version(update: &SignedUpdate) -> Version {
    (update.body.epoch, update.body.counter)
}

/// About how many bytes of memory an update takes.
#[must_use]
pub fn update_bytes(update: &SignedUpdate) -> usize {
    UPDATE_BYTES + mutations(&update.body.kind).len() * MUTATION_BYTES
}

fn mutations(kind: &UpdateKind) -> &[UpdateMutation] {
    match kind {
        UpdateKind::Snapshot(mutations) | UpdateKind::Delta(mutations) => mutations,
        UpdateKind::Alive { .. } => &[],
    }
}

const fn line_of(mutation: &UpdateMutation) -> (PublicKey, &Currency) {
    match mutation {
        UpdateMutation::Set { friend, currency, .. }
        | UpdateMutation::Remove { friend, currency } => (*friend, currency),
    }
}

/// One line less in a currency.
fn uncount(currencies: &mut BTreeMap<Currency, usize>, currency: &Currency) {
    if let Some(lines) = currencies.get_mut(currency) {
        *lines -= 1;
        if *lines == 0 {
            currencies.remove(currency);
        }
    }
}

const fn epoch_too_far_ahead(now: Timestamp, epoch: u64) -> bool {
    (now.0 / 1_000).saturating_add(MAX_EPOCH_AHEAD_S) < epoch
}

/// About what a stored update takes besides its mutations.
const UPDATE_BYTES: usize = 288;
/// About what a stored mutation takes.
const MUTATION_BYTES: usize = 144;

#[cfg(test)]
pub(crate) mod tests;
