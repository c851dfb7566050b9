//! Whether an update is to be applied.

use std::collections::BTreeSet;

use offset_crypto::PublicKey;
use offset_proto::{
    Timestamp,
    index::{SignedUpdate, UpdateKind, UpdateMutation},
};

use super::{
    Directory, MUTATION_BYTES, Refusal, Verdict, entry::Entry, epoch_too_far_ahead, line_of,
    mutations, update_bytes, version,
};
use crate::limits::MAX_AGE_MS;

impl Directory {
    /// `Err(fresh)` when the update is to be applied.
    pub(super) fn judge(
        &mut self,
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
        let newest = self.nodes.get(&body.node).map(|entry| entry.newest.version).or_else(gone);
        if let Some(newest) = newest.filter(|newest| new <= *newest) {
            return Ok(Verdict::NotNewer { newest });
        }
        if let Some(entry) = self.nodes.get_mut(&body.node) {
            entry.open();
        }
        let entry = self.nodes.get(&body.node);
        if mutations(&body.kind).iter().any(|mutation| line_of(mutation).0 == body.node) {
            return Ok(Verdict::Refused(Refusal::OwnLine));
        }
        let (lines, freed) = match (&body.kind, entry) {
            (UpdateKind::Snapshot(_), None) => (0, 0),
            (UpdateKind::Snapshot(_), Some(entry)) => (0, entry.chain_bytes),
            (UpdateKind::Delta(_) | UpdateKind::Alive { .. }, Some(entry)) => {
                let (epoch, counter) = entry.newest.version;
                let next = epoch == body.epoch && counter.checked_add(1) == Some(body.counter);
                let most = 2 * self.refresh_bytes(entry);
                if !next || most < entry.chain_bytes + update_bytes(update) {
                    return Ok(Verdict::Gap);
                }
                (lines(entry), 0)
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
    pub(super) fn larger_than(&self, bytes: usize, but: &PublicKey) -> Option<PublicKey> {
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

    /// Above this many stored bytes a new snapshot is worth asking for. Of a node that is not open it
    /// is not known how many lines it has: then it is less.
    pub(super) fn refresh_bytes(&self, entry: &Entry) -> usize {
        self.limits.min_chain_bytes + 4 * lines(entry) * MUTATION_BYTES
    }
}

/// How many lines of an entry are known.
fn lines(entry: &Entry) -> usize {
    entry.opened().map_or(0, |open| open.table.len())
}

/// How many lines at most an update adds to those that the entry keeps.
fn added_lines(kind: &UpdateKind, entry: Option<&Entry>) -> usize {
    let kept = match kind {
        UpdateKind::Delta(_) | UpdateKind::Alive { .. } => entry.and_then(Entry::opened),
        UpdateKind::Snapshot(_) => None,
    };
    let sets = mutations(kind).iter().filter(|mutation| {
        let (friend, currency) = line_of(mutation);
        let known = kept.is_some_and(|open| open.table.contains_key(&(friend, currency.clone())));
        matches!(mutation, UpdateMutation::Set { .. }) && !known
    });
    sets.count()
}

/// In how many currencies at most the entry has lines after an update.
fn currencies_after(kind: &UpdateKind, entry: Option<&Entry>) -> usize {
    let kept = match kind {
        UpdateKind::Delta(_) | UpdateKind::Alive { .. } => entry.and_then(Entry::opened),
        UpdateKind::Snapshot(_) => None,
    };
    let is_kept = |currency| kept.is_some_and(|open| open.currencies.contains_key(currency));
    let new = mutations(kind).iter().filter_map(|mutation| match mutation {
        UpdateMutation::Set { currency, .. } => (!is_kept(currency)).then_some(currency),
        UpdateMutation::Remove { .. } => None,
    });
    kept.map_or(0, |open| open.currencies.len()) + new.collect::<BTreeSet<_>>().len()
}
