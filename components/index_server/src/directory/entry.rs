//! What is kept of one node.

use std::collections::{BTreeMap, VecDeque};

use offset_crypto::PublicKey;
use offset_proto::{
    Currency, Timestamp,
    index::{IndexTable, NodeDown, SignedUpdate, UpdateKind, UpdateMutation},
};

use super::{VerifiedUpdate, Version, line_of, mutations, uncount, version};
use crate::saved::Record;

/// A node that is alive or staged.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) newest: Newest,
    /// How many updates are stored.
    pub(super) updates: usize,
    pub(super) chain_bytes: usize,
    pub(super) words: Words,
    /// When the table's hash was last compared with what the node says.
    pub(super) compared_at: Timestamp,
    pub(super) life: Life,
    /// Its key in `deadlines`.
    pub(super) deadline: Timestamp,
}

/// What is asked of a node's newest update most often.
#[derive(Debug, Clone, Copy)]
pub(super) struct Newest {
    pub(super) home_server: PublicKey,
    pub(super) version: Version,
    pub(super) time: Timestamp,
}

/// What a node said: its last snapshot, and what followed it.
#[derive(Debug)]
pub(super) enum Words {
    /// As it is worked with.
    Open(Box<Open>),
    /// As it lies in the file from which the server knows it, until the node says something more.
    Packed(Record),
}

#[derive(Debug, Default)]
pub(super) struct Open {
    /// The last snapshot, then what followed it.
    pub(super) chain: VecDeque<VerifiedUpdate>,
    pub(super) table: IndexTable,
    /// How many lines of the table are in each currency.
    pub(super) currencies: BTreeMap<Currency, usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// Not in the graph: nothing fresh was seen of it.
    Staged,
    /// In the graph.
    Alive {
        /// When the last fresh update came.
        heard_at: Timestamp,
    },
}

#[derive(Debug)]
pub(super) struct Gone {
    /// Of what the node itself said.
    pub(super) newest: Version,
    /// The home server's word, where that is how it went, and which server that was.
    pub(super) down: Option<(PublicKey, NodeDown)>,
    pub(super) deadline: Timestamp,
}

impl Gone {
    /// Up to where updates that name this home server are old. A home server may speak of updates
    /// that did not come here yet, but of those alone that name it: else one that a node has left
    /// could keep what the node says at its new home from everybody.
    pub(super) fn known(&self, home_server: &PublicKey) -> Version {
        match &self.down {
            Some((home, down)) if home == home_server => (down.epoch, down.counter),
            Some(_) | None => self.newest,
        }
    }
}

impl Newest {
    pub(super) const fn of(update: &SignedUpdate) -> Self {
        let body = &update.body;
        Self { home_server: body.home_server, version: version(update), time: body.time }
    }
}

impl Entry {
    pub(super) fn is_alive(&self) -> bool {
        self.life != Life::Staged
    }

    /// What is worked with. Unpacks what is packed: once, and for the node itself alone.
    pub(super) fn open(&mut self) -> &mut Open {
        if let Words::Packed(record) = &self.words {
            self.words = Words::Open(Box::new(Open::unpack(record)));
        }
        match &mut self.words {
            Words::Open(open) => open,
            Words::Packed(_) => unreachable!("it was just opened"),
        }
    }

    /// What is worked with, where it is.
    pub(super) const fn opened(&self) -> Option<&Open> {
        match &self.words {
            Words::Open(open) => Some(open),
            Words::Packed(_) => None,
        }
    }

    /// A packed entry as it is worked with; the entry stays as it is. For checks.
    pub(super) fn unpacked(&self) -> Option<Open> {
        match &self.words {
            Words::Open(_) => None,
            Words::Packed(record) => Some(Open::unpack(record)),
        }
    }

    /// The stored update at this place.
    pub(super) fn update(&self, at: usize) -> Option<VerifiedUpdate> {
        match &self.words {
            Words::Open(open) => open.chain.get(at).cloned(),
            Words::Packed(record) => {
                record.unpack(Some(at))?.pop().map(VerifiedUpdate::checked_before)
            }
        }
    }

    /// The counter of the first stored update.
    pub(super) fn first_counter(&self) -> u64 {
        let (_, newest) = self.newest.version;
        newest.saturating_add(1).saturating_sub(self.updates as u64)
    }
}

impl Open {
    fn unpack(record: &Record) -> Self {
        let updates = record.unpack(None).expect("the whole record was read when it was loaded");
        let mut open = Self::default();
        for update in updates {
            for mutation in mutations(&update.body.kind) {
                open.change(mutation);
            }
            open.chain.push_back(VerifiedUpdate::checked_before(update));
        }
        open
    }

    /// Makes a change of a line: how many lines more its currency has by it, -1, 0 or 1.
    pub(super) fn change(&mut self, mutation: &UpdateMutation) -> i8 {
        let (friend, currency) = line_of(mutation);
        let key = (friend, currency.clone());
        match mutation {
            UpdateMutation::Set { line, .. } => {
                if self.table.insert(key, *line).is_some() {
                    return 0;
                }
                *self.currencies.entry(currency.clone()).or_default() += 1;
                1
            }
            UpdateMutation::Remove { .. } => {
                if self.table.remove(&key).is_none() {
                    return 0;
                }
                uncount(&mut self.currencies, currency);
                -1
            }
        }
    }

    /// Whether the chain is one, and the table what follows from it. Looks at everything.
    pub(super) fn check_invariants(&self, node: &PublicKey, newest: &Newest) {
        let (epoch, first) = version(self.chain[0].update());
        assert!(matches!(self.chain[0].update().body.kind, UpdateKind::Snapshot(_)), "chain");
        for (at, update) in (first..).zip(&self.chain) {
            assert_eq!(version(update.update()), (epoch, at), "chain");
            assert_eq!(update.update().body.node, *node, "chain");
        }
        let last = Newest::of(self.chain[self.chain.len() - 1].update());
        assert_eq!(last.version, newest.version);
        assert_eq!((last.home_server, last.time), (newest.home_server, newest.time));
        assert_eq!(self.currencies.values().sum::<usize>(), self.table.len());
    }
}
