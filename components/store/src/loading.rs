//! Loading the state: every row of the tables that are its own, and whether they fit each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use offset_funder::{Change, CorruptState, state::State};
use rusqlite::Connection;

use crate::{
    Error, SqliteStore, books,
    column::{Reading, Values},
    rows,
    table::Table,
};

impl SqliteStore {
    /// All of it. The caller holds a snapshot, so that the rows fit each other.
    pub(crate) fn load_all(&self) -> Result<State, Error> {
        let mut state = State::default();
        self.load_network(&mut state)?;
        self.load_friends(&mut state)?;
        self.load_payments(&mut state)?;
        state.check_sums().map_err(|error| self.corrupt(error))?;
        books::check_last(self.connection(), self.path(), &mut state)?;
        Ok(state)
    }

    fn load_network(&self, state: &mut State) -> Result<(), Error> {
        let db = (self.connection(), self.path());
        each(db, &rows::settings::TABLE, rows::settings::read, |settings| {
            self.apply(state, &Change::Settings(settings))
        })?;
        each(db, &rows::relay::TABLE, rows::relay::read, |(name, relay)| {
            self.apply(state, &Change::Relay(name, Some(relay)))
        })?;
        let mut positions = BTreeSet::new();
        each(db, &rows::index_server::TABLE, rows::index_server::read, |(name, row)| {
            if !positions.insert(row.position) {
                return Err(self.damaged(format!("two index servers have place {}", row.position)));
            }
            self.apply(state, &Change::IndexServer(name, Some(row)))
        })
    }

    fn load_friends(&self, state: &mut State) -> Result<(), Error> {
        let db = (self.connection(), self.path());
        let (mut infos, mut names) = (BTreeMap::new(), BTreeSet::new());
        each(db, &rows::friend::TABLE, rows::friend::read, |(key, info)| {
            if !names.insert(info.name.clone()) {
                return Err(self.damaged(format!("two friends are called \"{}\"", info.name)));
            }
            infos.insert(key, info);
            Ok(())
        })?;
        each(db, &rows::channel::TABLE, rows::channel::read, |(key, channel)| {
            let info = infos.remove(&key).ok_or(CorruptState::NoFriend(key));
            let info = info.map_err(|error| self.corrupt(error))?;
            self.apply(state, &Change::NewFriend(key, info, channel))
        })?;
        if let Some(key) = infos.keys().next() {
            return Err(self.damaged(format!("friend {key} has no token channel")));
        }
        each(db, &rows::archived::TABLE, rows::archived::read, |(key, row)| {
            self.apply(state, &Change::Archived(key, Some(Box::new(row))))
        })?;
        each(db, &rows::received::TABLE, rows::received::read, |(key, token)| {
            self.apply(state, &Change::Received(key, Some(token)))
        })?;
        each(db, &rows::before_sent::TABLE, rows::before_sent::read, |(key, row)| {
            self.apply(state, &Change::BeforeSent(key, row))
        })?;
        each(db, &rows::recovery::TABLE, rows::recovery::read, |row| {
            self.apply(state, &Change::Recovery(Some(row)))
        })?;
        each(db, &rows::friend_recovery::TABLE, rows::friend_recovery::read, |(key, row)| {
            self.apply(state, &Change::FriendRecovery(key, Some(row)))
        })?;
        each(db, &rows::line::TABLE, rows::line::read, |(key, currency, row)| {
            self.apply(state, &Change::Line(key, currency, Some(row)))
        })?;
        each(db, &rows::pending::TABLE, rows::pending::read, |(key, row)| {
            let (friend, currency, sender, id) = key;
            self.apply(state, &Change::Pending(friend, currency, sender, id, Some(row)))
        })?;
        each(db, &rows::queued::TABLE, rows::queued::read, |(key, position, op)| {
            self.apply(state, &Change::Queued(key, position, Some(op)))
        })
    }

    fn load_payments(&self, state: &mut State) -> Result<(), Error> {
        let db = (self.connection(), self.path());
        each(db, &rows::invoice::TABLE, rows::invoice::read, |(id, row)| {
            state.invoices.insert(id, row);
            Ok(())
        })?;
        each(db, &rows::set::TABLE, rows::set::read, |(key, row)| {
            self.apply(state, &Change::Set(key, Some(row)))
        })?;
        each(db, &rows::payment::TABLE, rows::payment::read, |(id, row)| {
            state.payments.insert(id, row);
            Ok(())
        })?;
        // All at once: a map of sorted entries is built much faster than they are put into one.
        let mut journal = Vec::new();
        each(db, &rows::journal::TABLE, rows::journal::read, |run| {
            journal.extend(run.numbered());
            Ok(())
        })?;
        state.journal = journal.into_iter().collect();
        each(db, &rows::spent::TABLE, rows::spent::read, |(key, amount)| {
            self.apply(state, &Change::Spent(key, Some(amount)))
        })?;
        each(db, &rows::collected::ALONE, rows::collected::read, |row| {
            let key = (row.friend, row.collected.currency.clone(), row.collected.request_id);
            drop(state.alone.insert(key, row));
            Ok(())
        })
    }

    fn apply(&self, state: &mut State, change: &Change) -> Result<(), Error> {
        state.apply(self.public_key(), change).map_err(|error| self.corrupt(error))
    }

    fn corrupt(&self, error: CorruptState) -> Error {
        Error::Corrupt { path: self.path().to_owned(), error }
    }

    fn damaged(&self, why: String) -> Error {
        Error::Damaged { path: self.path().to_owned(), why }
    }
}

/// Every row of a table.
pub(crate) fn each<T>(
    db: (&Connection, &Path),
    table: &Table,
    read: fn(&mut Reading<'_>) -> Result<T, String>,
    mut each: impl FnMut(T) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut failed = None;
    let read = table.each(db, "TRUE", Values::default(), |row| {
        each(read(row)?).map_err(|error| {
            let why = error.to_string();
            failed = Some(error);
            why
        })
    });
    failed.map_or(read, Err)
}
