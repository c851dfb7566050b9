//! The books as a disk keeps them, checked with every batch.

use std::collections::BTreeMap;

use offset_crypto::PublicKey;
use offset_funder::{Change, state::State};
use offset_proto::{
    Balance, Currency,
    history::{HistoryEntry, HistoryEvent},
};

#[derive(Clone, Default)]
pub struct Books {
    pub entries: Vec<HistoryEntry>,
    /// The sum of the changes of every line that was ever active.
    sums: BTreeMap<(PublicKey, Currency), Balance>,
    /// Whether they begin somewhere in the middle, so that nothing can be said of them.
    pub torn: bool,
}

impl Books {
    /// Takes an entry down; it must follow from those before it.
    pub fn write(&mut self, change: &Change) {
        let Change::Entry(entry) = change else {
            return;
        };
        if self.torn {
            return;
        }
        let last = self.entries.last().map_or(0, |last| last.sequence);
        assert_eq!(entry.sequence, last + 1, "entries are numbered");
        let sum = self.sums.entry((entry.friend, entry.currency.clone())).or_default();
        *sum = sum.checked_add_balance(entry.delta).unwrap();
        assert_eq!(entry.balance, *sum, "{entry:?}");
        self.entries.push((**entry).clone());
    }

    /// The books as they were at an older copy of the disk.
    pub fn restore(&mut self, disk: &State) {
        self.entries.retain(|entry| entry.sequence <= disk.last_entry);
        self.sums.clear();
        for entry in &self.entries {
            self.sums.insert((entry.friend, entry.currency.clone()), entry.balance);
        }
    }

    /// The sums are the balances, of active lines and of lines that are gone.
    pub fn check(&self, disk: &State) {
        if self.torn {
            return;
        }
        let mut sums = self.sums.clone();
        for (key, friend) in &disk.friends {
            for (currency, line) in &friend.lines {
                let Some(credit) = &line.credit else { continue };
                let sum = sums.remove(&(*key, currency.clone()));
                assert_eq!(sum, Some(credit.numbers().balance), "{currency} with {key:?}");
            }
        }
        assert!(sums.values().all(|sum| *sum == Balance::ZERO), "{sums:?}");
        let last = self.entries.last().map_or(0, |last| last.sequence);
        assert_eq!(disk.last_entry, last);
    }

    /// What was earned by forwarding.
    pub fn fees(&self) -> i128 {
        let fee = |entry: &HistoryEntry| match entry.event {
            HistoryEvent::ForwardedIn { fee, .. } => i128::try_from(fee.0).unwrap(),
            _ => 0,
        };
        self.entries.iter().map(fee).sum()
    }

    /// The entries of one kind.
    pub fn of(&self, kind: impl Fn(&HistoryEvent) -> bool) -> Vec<&HistoryEntry> {
        self.entries.iter().filter(|entry| kind(&entry.event)).collect()
    }
}
