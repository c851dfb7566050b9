//! Writing a batch of changes, exactly as [`offset_funder::state::State::apply`] would apply them.

use std::{collections::BTreeMap, path::Path};

use offset_crypto::PublicKey;
use offset_funder::{Change, state::JournalRow};
use offset_proto::{Currency, history::HistoryEntry};
use rusqlite::Connection;

use crate::{
    Error,
    column::Values,
    rows::{self, journal::Run},
};

/// The last row of the journal, as it is in the database; not known before the first batch.
pub(crate) type Tail = Option<Run>;

/// Writes all changes of a batch. Entries of the journal share rows, and of each line the books' last
/// entry is noted once.
pub(crate) fn write_all(
    (db, path): (&Connection, &Path),
    tail: &mut Tail,
    changes: &[Change],
) -> Result<(), Error> {
    let sqlite = |error| Error::sqlite(path, error);
    let mut journal = Journal { db: (db, path), tail, is_written: true };
    let mut ends: BTreeMap<(&PublicKey, &Currency), &HistoryEntry> = BTreeMap::new();
    for change in changes {
        if let Change::Journal(number, row) = change {
            journal.add(*number, *row)?;
        } else if let Change::ForgetJournal(up_to) = change {
            journal.forget(*up_to)?;
        } else {
            if let Change::Entry(entry) = change {
                ends.insert((&entry.friend, &entry.currency), entry);
            }
            write(db, change).map_err(sqlite)?;
        }
    }
    journal.flush()?;
    for entry in ends.into_values() {
        rows::history::ENDS.put(db, rows::history::write_end(entry)).map_err(sqlite)?;
    }
    Ok(())
}

/// The journal's last row, to which new entries are added.
struct Journal<'a> {
    db: (&'a Connection, &'a Path),
    tail: &'a mut Tail,
    is_written: bool,
}

impl Journal<'_> {
    fn add(&mut self, number: u64, row: JournalRow) -> Result<(), Error> {
        if self.tail.is_none() {
            *self.tail = self.find("TRUE ORDER BY first DESC LIMIT 1", Values::default())?;
        }
        match self.tail {
            Some(tail) if tail.takes(number) => tail.entries.push(row),
            Some(_) | None => {
                self.flush()?;
                *self.tail = Some(Run::beginning(number, row));
            }
        }
        self.is_written = false;
        Ok(())
    }

    /// Forgets the entries up to a number.
    fn forget(&mut self, up_to: u64) -> Result<(), Error> {
        self.flush()?;
        let up_to_key = rows::journal::key(up_to);
        let Some(cut) = self.find("first <= ? ORDER BY first DESC LIMIT 1", up_to_key)? else {
            return Ok(());
        };
        let (db, path) = self.db;
        let first = rows::journal::key(cut.first);
        rows::journal::TABLE.delete_up_to(db, first).map_err(|e| Error::sqlite(path, e))?;
        // It is found again when something is added.
        *self.tail = None;
        cut.cut(up_to).map_or(Ok(()), |left| self.put(&left))
    }

    fn flush(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.is_written, true) {
            return Ok(());
        }
        self.tail.as_ref().map_or(Ok(()), |tail| self.put(tail))
    }

    fn put(&self, run: &Run) -> Result<(), Error> {
        let (db, path) = self.db;
        let written = rows::journal::TABLE.put(db, rows::journal::write(run));
        written.map_err(|error| Error::sqlite(path, error))
    }

    fn find(&self, condition: &str, parameters: Values) -> Result<Option<Run>, Error> {
        let mut found = None;
        rows::journal::TABLE.each(self.db, condition, parameters, |row| {
            found = Some(rows::journal::read(row)?);
            Ok(())
        })?;
        Ok(found)
    }
}

/// Writes one change; the journal is written by [`Journal`].
fn write(db: &Connection, change: &Change) -> rusqlite::Result<()> {
    match change {
        Change::Settings(row) => rows::settings::TABLE.put(db, rows::settings::write(row)),
        Change::Relay(name, Some(row)) => rows::relay::TABLE.put(db, rows::relay::write(name, row)),
        Change::Relay(name, None) => rows::relay::TABLE.delete(db, Values::default().put(name)),
        Change::IndexServer(name, Some(row)) => {
            rows::index_server::TABLE.put(db, rows::index_server::write(name, row))
        }
        Change::IndexServer(name, None) => {
            rows::index_server::TABLE.delete(db, Values::default().put(name))
        }
        Change::NewFriend(key, info, channel) => {
            // A friend that is new has nothing of an earlier one.
            rows::friend::TABLE.delete(db, Values::default().put(key))?;
            rows::friend::TABLE.put(db, rows::friend::write(key, info))?;
            rows::channel::TABLE.put(db, rows::channel::write(key, channel))
        }
        Change::RemovedFriend(key) => rows::friend::TABLE.delete(db, Values::default().put(key)),
        Change::Archived(key, Some(row)) => {
            rows::archived::TABLE.put(db, rows::archived::write(key, row))
        }
        Change::Archived(key, None) => rows::archived::TABLE.delete(db, Values::default().put(key)),
        Change::Friend(key, info) => rows::friend::TABLE.put(db, rows::friend::write(key, info)),
        Change::Channel(key, row) => rows::channel::TABLE.put(db, rows::channel::write(key, row)),
        Change::Line(key, currency, row) => {
            let line = || Values::default().put(key).put(currency);
            let Some(row) = row else {
                return rows::line::TABLE.delete(db, line());
            };
            rows::line::TABLE.put(db, rows::line::write(key, currency, row))?;
            if row.numbers.is_none() {
                // What is not active has nothing pending.
                rows::pending::TABLE.delete(db, line())?;
            }
            Ok(())
        }
        Change::Pending(friend, currency, sender, id, row) => {
            let key = rows::pending::key(friend, currency, *sender);
            match row {
                Some(row) => rows::pending::TABLE.put(db, rows::pending::write(key, row)),
                None => rows::pending::TABLE.delete(db, key.put(id)),
            }
        }
        Change::Queued(key, at, Some(op)) => {
            rows::queued::TABLE.put(db, rows::queued::write(key, *at, op))
        }
        Change::Queued(key, at, None) => {
            rows::queued::TABLE.delete(db, Values::default().put(key).put(at))
        }
        Change::Invoice(id, row) => rows::invoice::put(db, id, row),
        Change::Set(key, Some(row)) => rows::set::TABLE.put(db, rows::set::write(key, row)),
        Change::Set(key, None) => rows::set::TABLE.delete(db, rows::set::key(key)),
        Change::Payment(id, row) => rows::payment::put(db, id, row),
        Change::Journal(..) | Change::ForgetJournal(_) => Ok(()),
        Change::Spent(key, Some(amount)) => {
            rows::spent::TABLE.put(db, rows::spent::write(key, amount))
        }
        Change::Spent(key, None) => rows::spent::TABLE.delete(db, rows::spent::key(key)),
        Change::Settled(id) => rows::settled::TABLE.put(db, rows::settled::write(id)),
        Change::Entry(entry) => rows::history::TABLE.put(db, rows::history::write(entry)),
        Change::Received(key, Some(token)) => {
            rows::received::TABLE.put(db, rows::received::write(key, token))
        }
        Change::Received(key, None) => rows::received::TABLE.delete(db, Values::default().put(key)),
        Change::BeforeSent(key, row) if row.is_empty() => {
            rows::before_sent::TABLE.delete(db, Values::default().put(key))
        }
        Change::BeforeSent(key, row) => {
            rows::before_sent::TABLE.put(db, rows::before_sent::write(key, row))
        }
        Change::FriendRecovery(key, Some(row)) => {
            rows::friend_recovery::TABLE.put(db, rows::friend_recovery::write(key, row))
        }
        Change::FriendRecovery(key, None) => {
            rows::friend_recovery::TABLE.delete(db, Values::default().put(key))
        }
        Change::Recovery(Some(row)) => rows::recovery::TABLE.put(db, rows::recovery::write(row)),
        Change::Collected(row) => rows::collected::keep(db, row),
        Change::Alone(_, Some(row)) => rows::collected::ALONE.put(db, rows::collected::write(row)),
        Change::Alone(key, None) => {
            rows::collected::ALONE.delete(db, rows::collected::alone_key(key))
        }
        Change::Recovery(None) => rows::recovery::TABLE.delete(db, Values::default().put(&1u32)),
    }
}
