//! The store of a running node: its database, read and written.

use std::{
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
};

use offset_crypto::{InvoiceId, PaymentId, PublicKey};
use offset_funder::{
    Change,
    state::{InvoiceRow, PaymentRow, State},
};
use offset_proto::Timestamp;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, config::DbConfig};

use crate::{
    Error, Reader, Store, Unsettled,
    audit::Audit,
    books,
    changes::{self, Tail},
    later::Later,
    loading::each,
    lock::Lock,
    opening::{check_kind, check_live, check_one_name, connect, owner, set_up},
    reader, rows,
    starts::Mark,
};

/// Where the check of what is over stands.
#[derive(Debug)]
enum Auditing {
    NotBegun,
    Begun(Box<Audit>),
    Done,
}

/// The database of a running node.
#[derive(Debug)]
pub struct SqliteStore {
    /// May have a connection of its own. Closed before the one that writes, as the last to be closed
    /// tidies up: what it wrote would stay in the log beside the database.
    audit: Auditing,
    db: Connection,
    path: PathBuf,
    public_key: PublicKey,
    /// After a failed commit, or never to be written.
    stopped: bool,
    tail: Tail,
    later: Later,
    /// The file that counts starts, until it is durable that this one is done.
    begun: Option<File>,
    /// None for one that is only read.
    lock: Option<Lock>,
}

impl SqliteStore {
    /// Opens the database of the node with this key, for this process alone.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process has it; every way in which it is not a sound database
    /// of this node.
    pub fn open(path: &Path, public_key: &PublicKey) -> Result<Self, Error> {
        let path = path.canonicalize().map_err(|error| Error::path(path, error))?;
        // Nothing is put beside a directory or a device. The file itself is opened only under the
        // lock: closing it would end the locks of another connection of this process.
        if !std::fs::metadata(&path).map_err(|error| Error::path(&path, error))?.is_file() {
            return Err(Error::NotADatabase(path));
        }
        check_one_name(&path)?;
        let lock = Lock::take(&path)?;
        // SQLite would say only that it cannot open the file, or open it for reading.
        OpenOptions::new().read(true).write(true).open(&path).map_err(|error| {
            match std::fs::metadata(&path) {
                Ok(metadata) if metadata.permissions().readonly() => Error::ReadOnly(path.clone()),
                Ok(_) | Err(_) => Error::path(&path, error),
            }
        })?;
        let db = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        check_kind(&db, &path)?;
        set_up(&db, &path)?;
        check_live(&db, &path)?;
        let later = Later::read((&db, &path))?;
        match owner(&db, &path)? {
            Some(found) if found == *public_key => {}
            Some(found) => {
                return Err(Error::OtherIdentity { path, found, expected: *public_key });
            }
            None => return Err(Error::NotOurs(path)),
        }
        let mut store = Self {
            db,
            path,
            public_key: *public_key,
            stopped: false,
            tail: None,
            later,
            begun: None,
            audit: Auditing::NotBegun,
            lock: Some(lock),
        };
        store.settle()?;
        Ok(store)
    }

    /// A second connection, for looking things up while this one is written to elsewhere.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn reader(&self) -> Result<Reader, Error> {
        let db = connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        Ok(Reader::new(db, self.path.clone()))
    }

    /// Checks every entry of the books. What is loaded is checked on loading, with the last entry of
    /// every line; this is for a copy that nobody has started from yet.
    ///
    /// # Errors
    /// What cannot be read, is not as it was written, or does not add up.
    pub fn check_books(&self) -> Result<(), Error> {
        books::check_all(&self.db, &self.path)
    }

    /// A database that others may have, for loading it once. Nothing is ever written.
    pub(crate) fn of_reader(db: Connection, path: PathBuf, public_key: PublicKey) -> Self {
        let (stopped, tail, later, begun) = (true, None, Later::default(), None);
        Self {
            db,
            path,
            public_key,
            stopped,
            tail,
            later,
            begun,
            audit: Auditing::Done,
            lock: None,
        }
    }

    /// Whether the database is an older copy than the one that was started last, or was moved
    /// without the file that counts beside it: then friends may know more than it does.
    ///
    /// # Errors
    /// What cannot be read, or is not as it was written.
    pub fn is_older(&self) -> Result<bool, Error> {
        Ok(Mark::is_older(Mark::read(&self.path)?, self.starts()?))
    }

    /// Counts a start, from which on the database is the one that was started last, and gives a fresh
    /// epoch for index servers (see [`Store::next_index_epoch`]).
    ///
    /// # Errors
    /// What the file system says, and as [`Store::commit`].
    pub fn count_start(&mut self, at_least: u64) -> Result<u64, Error> {
        let path = self.path.clone();
        let next = Mark::next(Mark::read(&path)?, self.starts()?);
        let mut mark = next.write_begins(&path)?;
        let epoch = self.transact(|db| {
            let written = rows::starts::TABLE.put(db, rows::starts::write(next.starts()));
            written.map_err(|error| Error::sqlite(&path, error))?;
            put_next_index_epoch(db, &path, at_least)
        })?;
        next.write_done(&mut mark, &path)?;
        self.begun = Some(mark);
        Ok(epoch)
    }

    /// Makes durable that the start is done, before anything that follows from it is.
    fn sync_mark(&mut self) -> Result<(), Error> {
        let Some(mark) = self.begun.take() else { return Ok(()) };
        let synced = mark.sync_data().map_err(|error| Error::path(&self.path, error));
        if synced.is_err() {
            self.stop();
        }
        synced
    }

    fn starts(&self) -> Result<u64, Error> {
        let mut counted = 0;
        let db = (&self.db, self.path.as_path());
        each(db, &rows::starts::TABLE, rows::starts::read, |starts| {
            counted = starts;
            Ok(())
        })?;
        Ok(counted)
    }

    pub(crate) const fn connection(&self) -> &Connection {
        &self.db
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) const fn public_key(&self) -> PublicKey {
        self.public_key
    }

    /// Runs `write` in a transaction that is durable when this returns.
    fn transact<T>(
        &mut self,
        write: impl FnOnce(&Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.stopped {
            return Err(Error::Stopped(self.path.clone()));
        }
        let sqlite = |error| Error::sqlite(&self.path, error);
        let transaction =
            self.db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sqlite);
        let written = transaction.and_then(|transaction| {
            let written = write(&transaction)?;
            transaction.commit().map_err(sqlite)?;
            Ok(written)
        });
        if written.is_err() {
            self.stop();
        }
        written
    }

    /// After a failure nothing is written again.
    fn stop(&mut self) {
        self.stopped = true;
        // Closing the database would move the log into it, which would be writing again; the next
        // start does that. Failing to say so is no worse than the failure itself.
        drop(self.db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true));
    }
}

impl Store for SqliteStore {
    fn load(&mut self) -> Result<State, Error> {
        if self.stopped && self.lock.is_some() {
            // What was not written in time would be missing.
            return Err(Error::Stopped(self.path.clone()));
        }
        self.settle()?;
        // One snapshot, so that the rows fit each other.
        let sqlite = |error| Error::sqlite(&self.path, error);
        let snapshot = self.db.unchecked_transaction().map_err(sqlite)?;
        let state = self.load_all()?;
        snapshot.commit().map_err(sqlite)?;
        Ok(state)
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), Error> {
        self.sync_mark()?;
        let path = self.path.clone();
        let (mut tail, mut later) = (self.tail.take(), std::mem::take(&mut self.later));
        let written =
            self.transact(|db| changes::write_all((db, &path), &mut later, &mut tail, changes));
        (self.tail, self.later) = (tail, later);
        written
    }

    fn is_unsettled(&self) -> Unsettled {
        if self.later.is_due() {
            Unsettled::Much
        } else if self.later.is_empty() {
            Unsettled::Nothing
        } else {
            Unsettled::Some
        }
    }

    fn settle(&mut self) -> Result<(), Error> {
        if self.later.is_empty() {
            return Ok(());
        }
        let (path, mut later) = (self.path.clone(), std::mem::take(&mut self.later));
        self.transact(|db| later.write_out(db).map_err(|error| Error::sqlite(&path, error)))?;
        self.later = later;
        Ok(())
    }

    fn payment(&self, id: &PaymentId) -> Result<Option<PaymentRow>, Error> {
        reader::payment((&self.db, &self.path), id)
    }

    fn invoice(&self, id: &InvoiceId) -> Result<Option<InvoiceRow>, Error> {
        reader::invoice((&self.db, &self.path), id)
    }

    fn forget_history(&mut self, before: Timestamp) -> Result<bool, Error> {
        let path = self.path.clone();
        self.transact(|db| books::forget(db, &path, before))
    }

    fn check_some(&mut self) -> Result<bool, Error> {
        if matches!(self.audit, Auditing::NotBegun) {
            self.audit = Auditing::Begun(Box::new(Audit::new(&self.path)?));
        }
        let Auditing::Begun(audit) = &mut self.audit else { return Ok(false) };
        let more = audit.go_on(&self.path)?;
        if !more {
            self.audit = Auditing::Done;
        }
        Ok(more)
    }

    fn next_index_epoch(&mut self, at_least: u64) -> Result<u64, Error> {
        let path = self.path.clone();
        self.transact(|db| put_next_index_epoch(db, &path, at_least))
    }
}

/// Raises the epoch that the database knows.
fn put_next_index_epoch(db: &Connection, path: &Path, at_least: u64) -> Result<u64, Error> {
    let mut epoch = at_least;
    each((db, path), &rows::index_epoch::TABLE, rows::index_epoch::read, |last| {
        epoch = epoch.max(last.saturating_add(1));
        Ok(())
    })?;
    let written = rows::index_epoch::TABLE.put(db, rows::index_epoch::write(epoch));
    written.map_err(|error| Error::sqlite(path, error))?;
    Ok(epoch)
}
