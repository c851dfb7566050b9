//! Tests of the whole crate, and what they share.

mod audit;
mod books;
mod changes;
mod collected;
mod copies;
mod generator;
mod invoices;
mod killed;
mod opening;
mod tampered;
mod writing;

use std::path::PathBuf;

use offset_crypto::{Identity, PublicKey, Seed};
use offset_funder::{Change, Side, state::State};
use offset_proto::{
    Balance, Currency, Timestamp,
    history::{HistoryEntry, HistoryEvent},
};
use tempfile::TempDir;

use crate::{Error, SqliteStore, init};

/// The key of the node in most tests.
fn node() -> PublicKey {
    key(0)
}

fn key(number: u8) -> PublicKey {
    Identity::from_seed(Seed::from_bytes([number; 32])).public_key()
}

/// A directory with an empty database.
fn made() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.db");
    init(&path, &node()).unwrap();
    (directory, path)
}

/// Opens a database that is free, or will be in a moment: a process that another test starts holds
/// this one's locks until it runs its own program.
fn open(path: &std::path::Path) -> SqliteStore {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        match SqliteStore::open(path, &node()) {
            Err(Error::Locked { .. }) if std::time::Instant::now() < deadline => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            opened => return opened.unwrap(),
        }
    }
}

/// Stands for the number of the last entry of the books, all that a state knows of them.
fn last_entry(sequence: u64) -> Change {
    let (time, friend_name) = (Timestamp(0), "any".parse().unwrap());
    let (friend, currency) = (node(), Currency::fallback());
    let (delta, balance) = (Balance::ZERO, Balance::ZERO);
    let event = HistoryEvent::Opened;
    Change::Entry(Box::new(HistoryEntry {
        sequence,
        time,
        friend,
        friend_name,
        currency,
        delta,
        balance,
        event,
    }))
}

/// The rows of a state, in order: what can be compared.
fn rows_of(state: &State) -> Vec<Change> {
    let mut rows = vec![Change::Settings(state.settings.clone())];
    for (name, relay) in &state.relays {
        rows.push(Change::Relay(name.clone(), Some(relay.clone())));
    }
    for (name, row) in &state.index_servers {
        rows.push(Change::IndexServer(name.clone(), Some(row.clone())));
    }
    for (key, row) in &state.archive {
        rows.push(Change::Archived(*key, Some(Box::new(row.clone()))));
    }
    for (key, friend) in &state.friends {
        rows.push(Change::NewFriend(*key, friend.info.clone(), friend.channel.clone()));
        for (currency, line) in &friend.lines {
            rows.push(Change::Line(*key, currency.clone(), Some(line.row())));
            let Some(credit) = &line.credit else { continue };
            for side in Side::BOTH {
                for (id, row) in credit.pending(side) {
                    let row = Some(row.clone());
                    rows.push(Change::Pending(*key, currency.clone(), side, *id, row));
                }
            }
        }
        rows.push(Change::Received(*key, friend.received.clone()));
        rows.push(Change::BeforeSent(*key, friend.before_sent.clone()));
        rows.push(Change::FriendRecovery(*key, friend.recovery.clone()));
        for (at, op) in &friend.queue {
            rows.push(Change::Queued(*key, *at, Some(op.clone())));
        }
    }
    rows.extend(state.invoices.iter().map(|(id, row)| Change::Invoice(*id, row.clone())));
    rows.extend(state.sets.iter().map(|(key, row)| Change::Set(*key, Some(row.clone()))));
    rows.extend(state.payments.iter().map(|(id, row)| Change::Payment(*id, row.clone())));
    rows.extend(state.journal.iter().map(|(number, row)| Change::Journal(*number, *row)));
    rows.extend(state.spent.iter().map(|(key, amount)| Change::Spent(key.clone(), Some(*amount))));
    rows.extend((1..=state.last_entry).rev().take(1).map(last_entry));
    for (key, row) in &state.alone {
        rows.push(Change::Alone(key.clone(), Some(Box::new(row.clone()))));
    }
    rows.extend(state.recovery.map(|row| Change::Recovery(Some(row))));
    rows
}
