//! What becomes of the tables by an update, and by a node that goes.

use std::collections::BTreeSet;

use offset_crypto::PublicKey;
use offset_proto::{
    Timestamp,
    canonical::index_table_hash,
    index::{NodeDown, UpdateKind},
};

use super::{
    Directory, LineChange, VerifiedUpdate, Version,
    entry::{Entry, Gone, Life, Newest, Words},
    line_of, mutations, uncount, update_bytes,
};
use crate::limits::{COMPARE_EVERY_MS, REMEMBER_MS, STAGED_FOR_MS};

impl Directory {
    /// Stores an update that was judged to be applicable; whether a snapshot is wanted.
    pub(super) fn apply(&mut self, now: Timestamp, update: VerifiedUpdate, fresh: bool) -> bool {
        let body = &update.update().body;
        let node = body.node;
        if let Some(deadline) = self.gone.get(&node).map(|gone| gone.deadline) {
            self.forget(deadline, &node);
        }
        let newest = Newest::of(update.update());
        let staged_for = STAGED_FOR_MS.min(self.limits.alive_for_ms);
        let entry = self.nodes.entry(node).or_insert_with(|| {
            let deadline = now.plus_ms(staged_for);
            self.deadlines.insert((deadline, node));
            Entry {
                newest,
                updates: 0,
                chain_bytes: 0,
                words: Words::Open(Box::default()),
                compared_at: Timestamp(0),
                life: Life::Staged,
                deadline,
            }
        });
        self.by_size.remove(&(entry.chain_bytes, node));
        let was_alive = entry.is_alive();
        if fresh {
            entry.life = Life::Alive { heard_at: now };
            self.deadlines.remove(&(entry.deadline, node));
            entry.deadline = now.plus_ms(self.limits.alive_for_ms);
            self.deadlines.insert((entry.deadline, node));
        }
        let mut changed = BTreeSet::new();
        let compared = COMPARE_EVERY_MS <= now.ms_since(entry.compared_at);
        let (is_alive, kept_bytes) = (entry.is_alive(), entry.chain_bytes);
        let open = entry.open();
        let is_snapshot = matches!(body.kind, UpdateKind::Snapshot(_));
        if is_snapshot {
            open.chain.clear();
            changed.extend(std::mem::take(&mut open.table).into_keys());
            for (_, currency) in &changed {
                uncount(&mut self.currencies, currency);
            }
            open.currencies.clear();
        }
        for mutation in mutations(&body.kind) {
            let (friend, currency) = line_of(mutation);
            match open.change(mutation) {
                1 => *self.currencies.entry(currency.clone()).or_default() += 1,
                -1 => uncount(&mut self.currencies, currency),
                _ => {}
            }
            changed.insert((friend, currency.clone()));
        }
        let mut differs = false;
        if let UpdateKind::Alive { table } = &body.kind {
            // A large table takes long to hash, and a node may say anything at any time.
            differs = compared && index_table_hash(&open.table) != *table;
        }
        if is_alive {
            if !was_alive {
                changed = open.table.keys().cloned().collect();
            }
            self.changes.extend(changed.into_iter().map(|key| {
                let line = open.table.get(&key).copied();
                LineChange { node, friend: key.0, currency: key.1, line }
            }));
        }
        let is_sign = matches!(body.kind, UpdateKind::Alive { .. });
        let freed = if is_snapshot { kept_bytes } else { 0 };
        let bytes = update_bytes(update.update());
        open.chain.push_back(update);
        let updates = open.chain.len();
        if is_sign && compared {
            entry.compared_at = now;
        }
        entry.newest = newest;
        entry.updates = updates;
        entry.chain_bytes = kept_bytes - freed + bytes;
        self.stored_bytes = self.stored_bytes - freed + bytes;
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

    pub(super) fn remove(
        &mut self,
        now: Timestamp,
        node: &PublicKey,
        newest: Version,
        down: Option<(PublicKey, NodeDown)>,
    ) {
        let Some(mut entry) = self.nodes.remove(node) else { return };
        self.deadlines.remove(&(entry.deadline, *node));
        self.by_size.remove(&(entry.chain_bytes, *node));
        self.stored_bytes -= entry.chain_bytes;
        let table = std::mem::take(&mut entry.open().table);
        for (_, currency) in table.keys() {
            uncount(&mut self.currencies, currency);
        }
        if entry.is_alive() {
            self.changes.extend(table.into_keys().map(|(friend, currency)| LineChange {
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

    pub(super) fn forget(&mut self, deadline: Timestamp, node: &PublicKey) {
        self.forget.remove(&(deadline, *node));
        self.gone.remove(node);
    }
}
