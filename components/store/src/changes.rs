//! Writing a batch of changes, exactly as [`offset_funder::state::State::apply`] would apply them.

use std::{collections::BTreeMap, path::Path};

use offset_crypto::PublicKey;
use offset_funder::{Change, state::JournalRow};
use offset_proto::{Currency, history::HistoryEntry};
use rusqlite::Connection;

use crate::{
    Error,
    column::Values,
    later::{Later, Target},
    rows::{self, journal::Run},
};

/// The last row of the journal, as it is in the database; not known before the first batch.
pub(crate) type Tail = Option<Run>;

/// Writes all changes of a batch, or of several that share a transaction; rows that change often wait
/// in `later`. Entries of the journal share rows, and of each line the books' last entry is noted once.
pub(crate) fn write_all(
    (db, path): (&Connection, &Path),
    later: &mut Later,
    tail: &mut Tail,
    changes: &[Change],
) -> Result<(), Error> {
    let sqlite = |error| Error::sqlite(path, error);
    let mut to = if changes.iter().any(takes_others_along) {
        Target::tables(db, later).map_err(sqlite)?
    } else {
        Target::later(db, later)
    };
    let mut journal = Journal { path, tail, is_written: true };
    let mut ends: BTreeMap<(&PublicKey, &Currency), &HistoryEntry> = BTreeMap::new();
    for change in changes {
        if let Change::Journal(number, row) = change {
            journal.add(&mut to, *number, *row)?;
        } else if let Change::ForgetJournal(up_to) = change {
            journal.forget(&mut to, *up_to)?;
        } else {
            if let Change::Entry(entry) = change {
                ends.insert((&entry.friend, &entry.currency), entry);
            }
            write(&mut to, change).map_err(sqlite)?;
        }
    }
    journal.flush(&mut to)?;
    for entry in ends.into_values() {
        // Whoever shortens the books reads it in its table.
        rows::history::ENDS.put(db, rows::history::write_end(entry)).map_err(sqlite)?;
    }
    to.finish().map_err(sqlite)
}

/// Whether a change deletes rows that it does not name, or makes what others need.
const fn takes_others_along(change: &Change) -> bool {
    match change {
        Change::NewFriend(..) | Change::RemovedFriend(_) | Change::ForgetJournal(_) => true,
        Change::Line(_, _, None) => true,
        Change::Line(_, _, Some(row)) => row.numbers.is_none(),
        Change::Settings(_)
        | Change::Relay(..)
        | Change::IndexServer(..)
        | Change::Archived(..)
        | Change::Friend(..)
        | Change::Channel(..)
        | Change::Pending(..)
        | Change::Queued(..)
        | Change::Invoice(..)
        | Change::Set(..)
        | Change::Payment(..)
        | Change::Journal(..)
        | Change::Spent(..)
        | Change::Settled(_)
        | Change::Entry(_)
        | Change::Received(..)
        | Change::BeforeSent(..)
        | Change::Collected(_)
        | Change::Alone(..)
        | Change::FriendRecovery(..)
        | Change::Recovery(_) => false,
    }
}

/// The journal's last row, to which new entries are added.
struct Journal<'a> {
    path: &'a Path,
    tail: &'a mut Tail,
    is_written: bool,
}

impl Journal<'_> {
    fn add(&mut self, to: &mut Target<'_>, number: u64, row: JournalRow) -> Result<(), Error> {
        if self.tail.is_none() {
            *self.tail = self.find(to, "TRUE ORDER BY first DESC LIMIT 1", Values::default())?;
        }
        match self.tail {
            Some(tail) if tail.takes(number) => tail.entries.push(row),
            Some(_) | None => {
                self.flush(to)?;
                *self.tail = Some(Run::beginning(number, row));
            }
        }
        self.is_written = false;
        Ok(())
    }

    /// Forgets the entries up to a number. All others are in their table.
    fn forget(&mut self, to: &mut Target<'_>, up_to: u64) -> Result<(), Error> {
        self.flush(to)?;
        let up_to_key = rows::journal::key(up_to);
        let Some(cut) = self.find(to, "first <= ? ORDER BY first DESC LIMIT 1", up_to_key)? else {
            return Ok(());
        };
        let first = rows::journal::key(cut.first);
        let deleted = rows::journal::TABLE.delete_up_to(to.db, first);
        deleted.map_err(|error| Error::sqlite(self.path, error))?;
        // It is found again when something is added.
        *self.tail = None;
        cut.cut(up_to).map_or(Ok(()), |left| self.put(to, &left))
    }

    fn flush(&mut self, to: &mut Target<'_>) -> Result<(), Error> {
        if std::mem::replace(&mut self.is_written, true) {
            return Ok(());
        }
        self.tail.as_ref().map_or(Ok(()), |tail| self.put(to, tail))
    }

    fn put(&self, to: &mut Target<'_>, run: &Run) -> Result<(), Error> {
        let written = to.put(&rows::journal::TABLE, rows::journal::write(run));
        written.map_err(|error| Error::sqlite(self.path, error))
    }

    /// A row in its table. The tail is not known only when nothing of the journal waits elsewhere.
    fn find(
        &self,
        to: &Target<'_>,
        condition: &str,
        parameters: Values,
    ) -> Result<Option<Run>, Error> {
        let mut found = None;
        rows::journal::TABLE.each((to.db, self.path), condition, parameters, |row| {
            found = Some(rows::journal::read(row)?);
            Ok(())
        })?;
        Ok(found)
    }
}

/// Writes one change; the journal is written by [`Journal`].
fn write(to: &mut Target<'_>, change: &Change) -> rusqlite::Result<()> {
    match change {
        Change::Settings(row) => to.put(&rows::settings::TABLE, rows::settings::write(row)),
        Change::Relay(name, Some(row)) => {
            to.put(&rows::relay::TABLE, rows::relay::write(name, row))
        }
        Change::Relay(name, None) => to.delete(&rows::relay::TABLE, Values::default().put(name)),
        Change::IndexServer(name, Some(row)) => {
            to.put(&rows::index_server::TABLE, rows::index_server::write(name, row))
        }
        Change::IndexServer(name, None) => {
            to.delete(&rows::index_server::TABLE, Values::default().put(name))
        }
        Change::NewFriend(key, info, channel) => {
            // A friend that is new has nothing of an earlier one.
            to.delete(&rows::friend::TABLE, Values::default().put(key))?;
            to.put(&rows::friend::TABLE, rows::friend::write(key, info))?;
            to.put(&rows::channel::TABLE, rows::channel::write(key, channel))
        }
        Change::RemovedFriend(key) => to.delete(&rows::friend::TABLE, Values::default().put(key)),
        Change::Archived(key, Some(row)) => {
            to.put(&rows::archived::TABLE, rows::archived::write(key, row))
        }
        Change::Archived(key, None) => {
            to.delete(&rows::archived::TABLE, Values::default().put(key))
        }
        Change::Friend(key, info) => to.put(&rows::friend::TABLE, rows::friend::write(key, info)),
        Change::Channel(key, row) => to.put(&rows::channel::TABLE, rows::channel::write(key, row)),
        Change::Line(key, currency, row) => {
            let line = || Values::default().put(key).put(currency);
            let Some(row) = row else {
                return to.delete(&rows::line::TABLE, line());
            };
            to.put(&rows::line::TABLE, rows::line::write(key, currency, row))?;
            if row.numbers.is_none() {
                // What is not active has nothing pending.
                to.delete(&rows::pending::TABLE, line())?;
            }
            Ok(())
        }
        Change::Pending(friend, currency, sender, id, row) => {
            let key = rows::pending::key(friend, currency, *sender);
            match row {
                Some(row) => to.put(&rows::pending::TABLE, rows::pending::write(key, row)),
                None => to.delete(&rows::pending::TABLE, key.put(id)),
            }
        }
        Change::Queued(key, at, Some(op)) => {
            to.put(&rows::queued::TABLE, rows::queued::write(key, *at, op))
        }
        Change::Queued(key, at, None) => {
            to.delete(&rows::queued::TABLE, Values::default().put(key).put(at))
        }
        Change::Invoice(id, row) => rows::invoice::put(to.db, id, row),
        Change::Set(key, Some(row)) => to.put(&rows::set::TABLE, rows::set::write(key, row)),
        Change::Set(key, None) => to.delete(&rows::set::TABLE, rows::set::key(key)),
        Change::Payment(id, row) => rows::payment::put(to, id, row),
        Change::Journal(..) | Change::ForgetJournal(_) => Ok(()),
        Change::Spent(key, Some(amount)) => {
            to.put(&rows::spent::TABLE, rows::spent::write(key, amount))
        }
        Change::Spent(key, None) => to.delete(&rows::spent::TABLE, rows::spent::key(key)),
        Change::Settled(id) => rows::settled::TABLE.put(to.db, rows::settled::write(id)),
        Change::Entry(entry) => rows::history::TABLE.put(to.db, rows::history::write(entry)),
        Change::Received(key, Some(token)) => {
            to.put(&rows::received::TABLE, rows::received::write(key, token))
        }
        Change::Received(key, None) => {
            to.delete(&rows::received::TABLE, Values::default().put(key))
        }
        Change::BeforeSent(key, row) if row.is_empty() => {
            to.delete(&rows::before_sent::TABLE, Values::default().put(key))
        }
        Change::BeforeSent(key, row) => {
            to.put(&rows::before_sent::TABLE, rows::before_sent::write(key, row))
        }
        Change::FriendRecovery(key, Some(row)) => {
            to.put(&rows::friend_recovery::TABLE, rows::friend_recovery::write(key, row))
        }
        Change::FriendRecovery(key, None) => {
            to.delete(&rows::friend_recovery::TABLE, Values::default().put(key))
        }
        Change::Recovery(Some(row)) => to.put(&rows::recovery::TABLE, rows::recovery::write(row)),
        Change::Collected(row) => rows::collected::keep(to.db, row),
        Change::Alone(_, Some(row)) => to.put(&rows::collected::ALONE, rows::collected::write(row)),
        Change::Alone(key, None) => {
            to.delete(&rows::collected::ALONE, rows::collected::alone_key(key))
        }
        Change::Recovery(None) => to.delete(&rows::recovery::TABLE, Values::default().put(&1u32)),
    }
}
