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
//! Invariants: *chain* (stored updates have one epoch and counters without gap, the first is a
//! snapshot), *newest only* (nothing at or below the newest known epoch and counter is applied, for
//! a day also of a node that is gone), *bounds* (nodes, lines of a node and stored bytes stay below
//! their limits).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
    sync::Arc,
};

use offset_crypto::PublicKey;
use offset_proto::{
    Currency, Timestamp,
    canonical::index_table_hash,
    index::{
        DigestEntry, IndexLine, IndexTable, NodeDown, SignedUpdate, UpdateKind, UpdateMutation,
    },
};

use crate::limits::{
    COMPARE_EVERY_MS, DirectoryLimits, MAX_AGE_MS, MAX_EPOCH_AHEAD_S, REMEMBER_MS, STAGED_FOR_MS,
};

/// An update whose signature was found to be its node's. Only such ones reach the directory, so the
/// check can be made on another thread.
#[derive(Debug, Clone)]
pub struct VerifiedUpdate(Arc<SignedUpdate>);

impl VerifiedUpdate {
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

#[derive(Debug)]
struct Entry {
    /// The last snapshot, then what followed it.
    chain: VecDeque<VerifiedUpdate>,
    chain_bytes: usize,
    table: IndexTable,
    /// How many lines of the table are in each currency.
    currencies: BTreeMap<Currency, usize>,
    /// When the table's hash was last compared with what the node says.
    compared_at: Timestamp,
    life: Life,
    /// Its key in `deadlines`.
    deadline: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// Not in the graph: nothing fresh was seen of it.
    Staged,
    /// In the graph.
    Alive {
        /// When the last fresh update came.
        heard_at: Timestamp,
    },
}

#[derive(Debug)]
struct Gone {
    /// Of what the node itself said.
    newest: Version,
    /// The home server's word, where that is how it went, and which server that was.
    down: Option<(PublicKey, NodeDown)>,
    deadline: Timestamp,
}

impl Gone {
    /// Up to where updates that name this home server are old. A home server may speak of updates
    /// that did not come here yet, but of those alone that name it: else one that a node has left
    /// could keep what the node says at its new home from everybody.
    fn known(&self, home_server: &PublicKey) -> Version {
        match &self.down {
            Some((home, down)) if home == home_server => (down.epoch, down.counter),
            Some(_) | None => self.newest,
        }
    }
}

impl Entry {
    fn newest(&self) -> &SignedUpdate {
        self.chain.back().expect("an entry is made with a snapshot").update()
    }

    fn version(&self) -> Version {
        version(self.newest())
    }

    fn is_alive(&self) -> bool {
        self.life != Life::Staged
    }
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
        let home = entry.newest().body.home_server;
        if said < entry.version() || epoch_too_far_ahead(now, down.epoch) || !down.verify(&home) {
            return false;
        }
        let (node, newest) = (down.node, entry.version());
        self.remove(now, &node, newest, Some((home, down)));
        self.debug_check();
        true
    }

    /// Drops what is too old; to be called when [`Directory::next_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let alive_for_ms = self.limits.alive_for_ms;
        while let Some((deadline, node)) = self.deadlines.first().copied() {
            if now < deadline {
                break;
            }
            self.deadlines.remove(&(deadline, node));
            let Some(entry) = self.nodes.get_mut(&node) else { continue };
            match entry.life {
                Life::Alive { heard_at } if now < heard_at.plus_ms(alive_for_ms) => {
                    entry.deadline = heard_at.plus_ms(alive_for_ms);
                    self.deadlines.insert((entry.deadline, node));
                }
                Life::Alive { .. } | Life::Staged => {
                    let newest = entry.version();
                    self.remove(now, &node, newest, None);
                }
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
        let entry = self.nodes.get(node).map(Entry::version);
        entry.or_else(|| self.gone.get(node).map(|gone| gone.newest))
    }

    /// The server that a node's newest update names as its home.
    #[must_use]
    pub fn home_server(&self, node: &PublicKey) -> Option<PublicKey> {
        self.nodes.get(node).map(|entry| entry.newest().body.home_server)
    }

    /// When a living node last said anything, by the node's own clock: that statement confirms its
    /// whole table.
    #[must_use]
    pub fn stated_at(&self, node: &PublicKey) -> Option<Timestamp> {
        let entry = self.nodes.get(node).filter(|entry| entry.is_alive())?;
        Some(entry.newest().body.time)
    }

    /// The first stored update that whoever knows `after` of the node lacks.
    #[must_use]
    pub fn update_after(
        &self,
        node: &PublicKey,
        after: Option<Version>,
    ) -> Option<&VerifiedUpdate> {
        let entry = self.nodes.get(node)?;
        if after.is_some_and(|after| entry.version() <= after) {
            return None;
        }
        let (epoch, first) = version(entry.chain.front()?.update());
        let skip = match after {
            Some((after_epoch, after)) if after_epoch == epoch && first <= after => {
                usize::try_from(after - first).ok()? + 1
            }
            Some(_) | None => 0,
        };
        entry.chain.get(skip)
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
                let (epoch, counter) = entry.version();
                DigestEntry { node: *node, epoch, counter }
            },
        )
    }

    /// How many nodes are alive or staged.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// What a living node reports.
    #[must_use]
    pub fn table(&self, node: &PublicKey) -> Option<&IndexTable> {
        self.nodes.get(node).filter(|entry| entry.is_alive()).map(|entry| &entry.table)
    }

    /// Whether the module's invariants hold. Looks at everything.
    pub fn check_invariants(&self) {
        let mut bytes = 0;
        for (node, entry) in &self.nodes {
            let (epoch, first) = version(entry.chain[0].update());
            assert!(matches!(entry.chain[0].update().body.kind, UpdateKind::Snapshot(_)), "chain");
            for (at, update) in (first..).zip(&entry.chain) {
                assert_eq!(version(update.update()), (epoch, at), "chain");
                assert_eq!(update.update().body.node, *node, "chain");
            }
            assert!(entry.table.len() <= self.limits.max_lines_per_node, "bounds");
            assert_eq!(entry.currencies.values().sum::<usize>(), entry.table.len());
            assert!(entry.currencies.len() <= self.limits.max_currencies_per_node, "bounds");
            assert!(self.deadlines.contains(&(entry.deadline, *node)));
            assert!(!self.gone.contains_key(node), "a node is here or gone");
            let sum: usize = entry.chain.iter().map(|update| update_bytes(update.update())).sum();
            assert_eq!(sum, entry.chain_bytes);
            bytes += sum;
            assert!(self.by_size.contains(&(sum, *node)));
        }
        assert_eq!(self.by_size.len(), self.nodes.len());
        assert_eq!(bytes, self.stored_bytes);
        let mut currencies = BTreeMap::<Currency, usize>::new();
        for (_, currency) in self.nodes.values().flat_map(|entry| entry.table.keys()) {
            *currencies.entry(currency.clone()).or_default() += 1;
        }
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

    /// `Err(fresh)` when the update is to be applied.
    fn judge(
        &self,
        now: Timestamp,
        update: &SignedUpdate,
        first_hand: bool,
    ) -> Result<Verdict, bool> {
        let body = &update.body;
        let new = version(update);
        if epoch_too_far_ahead(now, body.epoch) {
            return Ok(Verdict::Refused(Refusal::Epoch));
        }
        let fresh = now.ms_since(body.time) <= MAX_AGE_MS;
        if now.plus_ms(MAX_AGE_MS) < body.time || (first_hand && !fresh) {
            return Ok(Verdict::Refused(Refusal::Time));
        }
        let gone = || self.gone.get(&body.node).map(|gone| gone.known(&body.home_server));
        let newest = self.nodes.get(&body.node).map(Entry::version).or_else(gone);
        if let Some(newest) = newest.filter(|newest| new <= *newest) {
            return Ok(Verdict::NotNewer { newest });
        }
        let entry = self.nodes.get(&body.node);
        if mutations(&body.kind).iter().any(|mutation| line_of(mutation).0 == body.node) {
            return Ok(Verdict::Refused(Refusal::OwnLine));
        }
        let (lines, freed) = match (&body.kind, entry) {
            (UpdateKind::Snapshot(_), None) => (0, 0),
            (UpdateKind::Snapshot(_), Some(entry)) => (0, entry.chain_bytes),
            (UpdateKind::Delta(_) | UpdateKind::Alive { .. }, Some(entry)) => {
                let (epoch, counter) = entry.version();
                let next = epoch == body.epoch && counter.checked_add(1) == Some(body.counter);
                let most = 2 * self.refresh_bytes(entry);
                if !next || most < entry.chain_bytes + update_bytes(update) {
                    return Ok(Verdict::Gap);
                }
                (entry.table.len(), 0)
            }
            (UpdateKind::Delta(_) | UpdateKind::Alive { .. }, None) => return Ok(Verdict::Gap),
        };
        if self.limits.max_lines_per_node < lines + added_lines(&body.kind, entry) {
            return Ok(Verdict::Refused(Refusal::TooManyLines));
        }
        if self.limits.max_currencies_per_node < currencies_after(&body.kind, entry) {
            return Ok(Verdict::Refused(Refusal::TooManyLines));
        }
        let kept = entry.map_or(0, |entry| entry.chain_bytes) - freed;
        let bytes = self.stored_bytes - freed + update_bytes(update);
        let no_room = self.limits.max_stored_bytes < bytes
            && self.larger_than(kept + update_bytes(update), &body.node).is_none();
        let nodes = self.nodes.len() + usize::from(entry.is_none());
        let currencies = self.currencies.len() + self.new_currencies(&body.kind);
        if no_room || self.limits.max_nodes < nodes || self.limits.max_currencies < currencies {
            return Ok(Verdict::Refused(Refusal::Full));
        }
        Err(fresh)
    }

    /// The node of which most is stored, if that is more than so many bytes: it gives way to a smaller
    /// one when there is no room. Honest nodes are seldom as large, and many small ones cost an
    /// attacker more connections than few large ones.
    fn larger_than(&self, bytes: usize, but: &PublicKey) -> Option<PublicKey> {
        let mut largest_first = self.by_size.iter().rev().filter(|(_, node)| node != but);
        largest_first.next().filter(|(size, _)| bytes < *size).map(|(_, node)| *node)
    }

    /// How many currencies an update names that nobody else reports a line in.
    fn new_currencies(&self, kind: &UpdateKind) -> usize {
        let new = mutations(kind).iter().filter_map(|mutation| match mutation {
            UpdateMutation::Set { currency, .. } => {
                (!self.currencies.contains_key(currency)).then_some(currency)
            }
            UpdateMutation::Remove { .. } => None,
        });
        new.collect::<BTreeSet<_>>().len()
    }

    /// Stores an update that was judged to be applicable; whether a snapshot is wanted.
    fn apply(&mut self, now: Timestamp, update: VerifiedUpdate, fresh: bool) -> bool {
        let body = &update.update().body;
        let node = body.node;
        if let Some(deadline) = self.gone.get(&node).map(|gone| gone.deadline) {
            self.forget(deadline, &node);
        }
        let entry = self.nodes.entry(node).or_insert_with(|| {
            let deadline = now.plus_ms(STAGED_FOR_MS.min(self.limits.alive_for_ms));
            self.deadlines.insert((deadline, node));
            Entry {
                chain: VecDeque::new(),
                chain_bytes: 0,
                table: IndexTable::new(),
                currencies: BTreeMap::new(),
                compared_at: Timestamp(0),
                life: Life::Staged,
                deadline,
            }
        });
        self.by_size.remove(&(entry.chain_bytes, node));
        let mut changed = BTreeSet::new();
        if let UpdateKind::Snapshot(_) = &body.kind {
            self.stored_bytes -= entry.chain_bytes;
            entry.chain.clear();
            entry.chain_bytes = 0;
            changed.extend(std::mem::take(&mut entry.table).into_keys());
            for (_, currency) in &changed {
                uncount(&mut self.currencies, currency);
            }
            entry.currencies.clear();
        }
        for mutation in mutations(&body.kind) {
            let (friend, currency) = line_of(mutation);
            let key = (friend, currency.clone());
            match mutation {
                UpdateMutation::Set { line, .. } => {
                    if entry.table.insert(key.clone(), *line).is_none() {
                        *self.currencies.entry(currency.clone()).or_default() += 1;
                        *entry.currencies.entry(currency.clone()).or_default() += 1;
                    }
                }
                UpdateMutation::Remove { .. } => {
                    if entry.table.remove(&key).is_some() {
                        uncount(&mut self.currencies, currency);
                        uncount(&mut entry.currencies, currency);
                    }
                }
            }
            changed.insert(key);
        }
        let mut differs = false;
        if let UpdateKind::Alive { table } = &body.kind {
            // A large table takes long to hash, and a node may say anything at any time.
            if COMPARE_EVERY_MS <= now.ms_since(entry.compared_at) {
                entry.compared_at = now;
                differs = index_table_hash(&entry.table) != *table;
            }
        }
        if fresh {
            if !entry.is_alive() {
                changed = entry.table.keys().cloned().collect();
            }
            entry.life = Life::Alive { heard_at: now };
        }
        if entry.is_alive() {
            self.changes.extend(changed.into_iter().map(|key| {
                let line = entry.table.get(&key).copied();
                LineChange { node, friend: key.0, currency: key.1, line }
            }));
        }
        let bytes = update_bytes(update.update());
        entry.chain.push_back(update);
        entry.chain_bytes += bytes;
        self.stored_bytes += bytes;
        self.by_size.insert((entry.chain_bytes, node));
        if self.limits.max_stored_bytes < self.stored_bytes
            && let Some(largest) = self.larger_than(0, &node)
            && let Some(newest) = self.version(&largest)
        {
            self.remove(now, &largest, newest, None);
        }
        let entry = &self.nodes[&node];
        differs || self.refresh_bytes(entry) < entry.chain_bytes
    }

    /// Above this many stored bytes a new snapshot is worth asking for.
    fn refresh_bytes(&self, entry: &Entry) -> usize {
        self.limits.min_chain_bytes + 4 * entry.table.len() * MUTATION_BYTES
    }

    fn remove(
        &mut self,
        now: Timestamp,
        node: &PublicKey,
        newest: Version,
        down: Option<(PublicKey, NodeDown)>,
    ) {
        let Some(entry) = self.nodes.remove(node) else { return };
        self.deadlines.remove(&(entry.deadline, *node));
        self.by_size.remove(&(entry.chain_bytes, *node));
        self.stored_bytes -= entry.chain_bytes;
        for (_, currency) in entry.table.keys() {
            uncount(&mut self.currencies, currency);
        }
        if entry.is_alive() {
            self.changes.extend(entry.table.into_keys().map(|(friend, currency)| LineChange {
                node: *node,
                friend,
                currency,
                line: None,
            }));
        }
        let deadline = now.plus_ms(REMEMBER_MS);
        self.forget.insert((deadline, *node));
        self.gone.insert(*node, Gone { newest, down, deadline });
        if self.limits.max_nodes < self.gone.len()
            && let Some((deadline, oldest)) = self.forget.first().copied()
        {
            self.forget(deadline, &oldest);
        }
    }

    fn forget(&mut self, deadline: Timestamp, node: &PublicKey) {
        self.forget.remove(&(deadline, *node));
        self.gone.remove(node);
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

/// How many lines at most an update adds to those that the entry keeps.
fn added_lines(kind: &UpdateKind, entry: Option<&Entry>) -> usize {
    let kept = match kind {
        UpdateKind::Delta(_) | UpdateKind::Alive { .. } => entry,
        UpdateKind::Snapshot(_) => None,
    };
    let sets = mutations(kind).iter().filter(|mutation| {
        let (friend, currency) = line_of(mutation);
        let known = kept.is_some_and(|entry| entry.table.contains_key(&(friend, currency.clone())));
        matches!(mutation, UpdateMutation::Set { .. }) && !known
    });
    sets.count()
}

/// In how many currencies at most the entry has lines after an update.
fn currencies_after(kind: &UpdateKind, entry: Option<&Entry>) -> usize {
    let kept = match kind {
        UpdateKind::Delta(_) | UpdateKind::Alive { .. } => entry,
        UpdateKind::Snapshot(_) => None,
    };
    let is_kept = |currency| kept.is_some_and(|entry| entry.currencies.contains_key(currency));
    let new = mutations(kind).iter().filter_map(|mutation| match mutation {
        UpdateMutation::Set { currency, .. } => (!is_kept(currency)).then_some(currency),
        UpdateMutation::Remove { .. } => None,
    });
    kept.map_or(0, |entry| entry.currencies.len()) + new.collect::<BTreeSet<_>>().len()
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
