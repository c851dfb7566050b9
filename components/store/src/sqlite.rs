//! The database file: made, opened with everything checked, read and written.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use offset_crypto::{InvoiceId, PaymentId, PublicKey};
use offset_funder::{
    Change, CorruptState,
    state::{InvoiceRow, PaymentRow, State},
};
use offset_proto::Timestamp;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, config::DbConfig, types::FromSql};

use crate::{
    Error, Reader, Store, books,
    column::{Reading, Values},
    lock::Lock,
    reader, rows,
    starts::Mark,
};

/// Makes an empty database for the node with this key, readable by its owner only.
///
/// # Errors
/// [`Error::Exists`] when there is a file already; what the file system says.
pub fn init(path: &Path, public_key: &PublicKey) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            Error::Exists(path.to_owned())
        } else {
            Error::path(path, error)
        }
    })?;
    let made = make(path, public_key);
    if made.is_err() {
        // Ours since `create_new`; a half-made database would only be in the way.
        for suffix in ["", "-wal", "-shm"] {
            let mut file = path.as_os_str().to_owned();
            file.push(suffix);
            drop(std::fs::remove_file(file));
        }
    }
    made
}

/// The database of a running node.
#[derive(Debug)]
pub struct SqliteStore {
    db: Connection,
    path: PathBuf,
    public_key: PublicKey,
    /// After a failed commit, or never to be written.
    stopped: bool,
    /// None for one that is only read.
    _lock: Option<Lock>,
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
        check_whole(&db, &path)?;
        match owner(&db, &path)? {
            Some(found) if found == *public_key => {}
            Some(found) => {
                return Err(Error::OtherIdentity { path, found, expected: *public_key });
            }
            None => return Err(Error::NotOurs(path)),
        }
        Ok(Self { db, path, public_key: *public_key, stopped: false, _lock: Some(lock) })
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
    pub(crate) const fn of_reader(db: Connection, path: PathBuf, public_key: PublicKey) -> Self {
        Self { db, path, public_key, stopped: true, _lock: None }
    }

    /// Whether the database is an older copy than the one that was started last, or was moved
    /// without the file that counts beside it: then friends may know more than it does.
    ///
    /// # Errors
    /// What cannot be read, or is not as it was written.
    pub fn is_older(&self) -> Result<bool, Error> {
        Ok(Mark::is_older(Mark::read(&self.path)?, self.starts()?))
    }

    /// Counts a start, from which on the database is the one that was started last.
    ///
    /// # Errors
    /// What the file system says, and as [`Store::commit`].
    pub fn count_start(&mut self) -> Result<(), Error> {
        let path = self.path.clone();
        let next = Mark::next(Mark::read(&path)?, self.starts()?);
        Mark::begins(next).write(&path)?;
        self.transact(|db| {
            let written = rows::starts::TABLE.put(db, rows::starts::write(next));
            written.map_err(|error| Error::sqlite(&path, error))
        })?;
        Mark::done(next).write(&path)
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

    /// The connection, for looking behind the store's back.
    #[cfg(test)]
    pub(crate) const fn db(&self) -> &Connection {
        &self.db
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
            self.stopped = true;
            // Closing the database would move the log into it, which would be writing again; the
            // next start does that. Failing to say so is no worse than the failure itself.
            drop(self.db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true));
        }
        written
    }

    fn load_network(&self, state: &mut State) -> Result<(), Error> {
        let db = (&self.db, self.path.as_path());
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
        let db = (&self.db, self.path.as_path());
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
        let db = (&self.db, self.path.as_path());
        let none = Values::default;
        rows::invoice::TABLE.each(db, rows::invoice::NOT_ENDED, none(), |row| {
            let (id, row) = rows::invoice::read(row)?;
            state.invoices.insert(id, row);
            Ok(())
        })?;
        each(db, &rows::set::TABLE, rows::set::read, |(key, row)| {
            self.apply(state, &Change::Set(key, Some(row)))
        })?;
        rows::payment::TABLE.each(db, rows::payment::NOT_ENDED, none(), |row| {
            let (id, row) = rows::payment::read(row)?;
            state.payments.insert(id, row);
            Ok(())
        })?;
        each(db, &rows::journal::TABLE, rows::journal::read, |(number, row)| {
            self.apply(state, &Change::Journal(number, row))
        })?;
        each(db, &rows::spent::TABLE, rows::spent::read, |(key, amount)| {
            self.apply(state, &Change::Spent(key, Some(amount)))
        })?;
        each(db, &rows::collected::ALONE, rows::collected::read, |row| {
            let key = (row.friend, row.collected.currency.clone(), row.collected.request_id);
            drop(state.alone.insert(key, row));
            Ok(())
        })?;
        each(db, &rows::settled::TABLE, rows::settled::read, |id| {
            self.apply(state, &Change::Settled(id))
        })
    }

    fn apply(&self, state: &mut State, change: &Change) -> Result<(), Error> {
        state.apply(self.public_key, change).map_err(|error| self.corrupt(error))
    }

    fn corrupt(&self, error: CorruptState) -> Error {
        Error::Corrupt { path: self.path.clone(), error }
    }

    fn damaged(&self, why: String) -> Error {
        Error::Damaged { path: self.path.clone(), why }
    }
}

/// Whether the file at a resolved path has no other name. Lock, log and count of starts go by the
/// name: under a second one the same file could be opened twice at once.
#[cfg(unix)]
pub(crate) fn check_one_name(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(path).map_err(|error| Error::path(path, error))?;
    if metadata.nlink() <= 1 { Ok(()) } else { Err(Error::SeveralNames(path.to_owned())) }
}

/// Other systems do not say how many names a file has.
#[cfg(not(unix))]
pub(crate) fn check_one_name(_path: &Path) -> Result<(), Error> {
    Ok(())
}

impl Store for SqliteStore {
    fn load(&self) -> Result<State, Error> {
        // One snapshot, so that the rows fit each other.
        let sqlite = |error| Error::sqlite(&self.path, error);
        let snapshot = self.db.unchecked_transaction().map_err(sqlite)?;
        let mut state = State::default();
        self.load_network(&mut state)?;
        self.load_friends(&mut state)?;
        self.load_payments(&mut state)?;
        state.check_sums().map_err(|error| self.corrupt(error))?;
        books::check_last(&self.db, &self.path, &mut state)?;
        snapshot.commit().map_err(sqlite)?;
        Ok(state)
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), Error> {
        let path = self.path.clone();
        self.transact(|db| {
            changes
                .iter()
                .try_for_each(|change| write(db, change))
                .map_err(|error| Error::sqlite(&path, error))
        })
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

    fn next_index_epoch(&mut self, at_least: u64) -> Result<u64, Error> {
        let path = self.path.clone();
        self.transact(|db| {
            let mut epoch = at_least;
            each((db, &path), &rows::index_epoch::TABLE, rows::index_epoch::read, |last| {
                epoch = epoch.max(last.saturating_add(1));
                Ok(())
            })?;
            let written = rows::index_epoch::TABLE.put(db, rows::index_epoch::write(epoch));
            written.map_err(|error| Error::sqlite(&path, error))?;
            Ok(epoch)
        })
    }
}

/// Writes one change, exactly as [`State::apply`] would apply it.
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
        Change::Invoice(id, row) => rows::invoice::TABLE.put(db, rows::invoice::write(id, row)),
        Change::Set(key, Some(row)) => rows::set::TABLE.put(db, rows::set::write(key, row)),
        Change::Set(key, None) => rows::set::TABLE.delete(db, rows::set::key(key)),
        Change::Payment(id, row) => rows::payment::TABLE.put(db, rows::payment::write(id, row)),
        Change::Journal(number, row) => {
            rows::journal::TABLE.put(db, rows::journal::write(*number, row))
        }
        Change::ForgetJournal(up_to) => {
            rows::journal::TABLE.delete_up_to(db, Values::default().put(up_to))
        }
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

/// Every row of a table.
fn each<T>(
    db: (&Connection, &Path),
    table: &crate::table::Table,
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

fn make(path: &Path, public_key: &PublicKey) -> Result<(), Error> {
    let sqlite = |error| Error::sqlite(path, error);
    let path = path.canonicalize().map_err(|error| Error::path(path, error))?;
    let mut db = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    set_up(&db, &path)?;
    let transaction = db.transaction().map_err(sqlite)?;
    transaction.execute_batch(SCHEMA).map_err(sqlite)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(sqlite)?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(sqlite)?;
    rows::node::TABLE.put(&transaction, rows::node::write(public_key)).map_err(sqlite)?;
    transaction.commit().map_err(sqlite)?;
    db.close().map_err(|(_, error)| sqlite(error))?;
    // The file's name must be as durable as its contents.
    let directory = path.parent().unwrap_or(Path::new("/"));
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| Error::path(directory, error))
}

/// Whose database it is, if that was written.
pub(crate) fn owner(db: &Connection, path: &Path) -> Result<Option<PublicKey>, Error> {
    let mut owner = None;
    rows::node::TABLE.each((db, path), "TRUE", Values::default(), |row| {
        owner = Some(rows::node::read(row)?);
        Ok(())
    })?;
    Ok(owner)
}

pub(crate) fn connect(path: &Path, access: OpenFlags) -> Result<Connection, Error> {
    let sqlite = |error| Error::sqlite(path, error);
    // The path is resolved, so a link in it was put there since.
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let db = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    db.busy_timeout(BUSY_TIMEOUT).map_err(sqlite)?;
    db.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    for (pragma, value) in [("trusted_schema", "OFF"), ("cell_size_check", "ON")] {
        db.pragma_update(None, pragma, value).map_err(sqlite)?;
    }
    Ok(db)
}

/// Whether the file is a node's database that this program can read.
pub(crate) fn check_kind(db: &Connection, path: &Path) -> Result<(), Error> {
    let id: i64 = pragma(db, path, "application_id")?;
    if id != APPLICATION_ID {
        return Err(Error::NotOurs(path.to_owned()));
    }
    let found: i64 = pragma(db, path, "user_version")?;
    if SCHEMA_VERSION < found {
        let path = path.to_owned();
        return Err(Error::NewerSchema { path, found, known: SCHEMA_VERSION });
    }
    if found < SCHEMA_VERSION {
        return Err(Error::NotOurs(path.to_owned()));
    }
    Ok(())
}

/// Sets what durability needs, and reads it back.
fn set_up(db: &Connection, path: &Path) -> Result<(), Error> {
    let settings = [
        ("journal_mode", "WAL"),
        ("synchronous", "FULL"),
        ("foreign_keys", "ON"),
        ("fullfsync", "ON"),
        ("checkpoint_fullfsync", "ON"),
        // A checkpoint moves at most about 4 MiB, so that no commit waits long for one.
        ("wal_autocheckpoint", "1000"),
        ("journal_size_limit", "67108864"),
        // In KiB. What a busy node touches stays in memory, and a batch is not written in pieces.
        ("cache_size", "-16384"),
    ];
    for (name, value) in settings {
        // Some of them answer with their value, some with nothing.
        db.pragma_update(None, name, value).map_err(|error| Error::sqlite(path, error))?;
    }
    let not_durable = |pragma, found, expected| {
        Err(Error::NotDurable { path: path.to_owned(), pragma, found, expected })
    };
    let journal: String = pragma(db, path, "journal_mode")?;
    if journal != "wal" {
        return not_durable("journal_mode", journal, "wal");
    }
    let synchronous: i64 = pragma(db, path, "synchronous")?;
    if synchronous != 2 {
        return not_durable("synchronous", synchronous.to_string(), "2");
    }
    let foreign_keys: i64 = pragma(db, path, "foreign_keys")?;
    if foreign_keys != 1 {
        return not_durable("foreign_keys", foreign_keys.to_string(), "1");
    }
    Ok(())
}

/// SQLite's own checks of the file.
pub(crate) fn check_whole(db: &Connection, path: &Path) -> Result<(), Error> {
    let damaged = |why| Err(Error::Damaged { path: path.to_owned(), why });
    // The whole check, not the quick one: that does not compare the indexes with their tables, and
    // what has not ended is loaded by way of an index. It takes about 3 seconds for a million rows.
    let found: String = pragma(db, path, "integrity_check")?;
    if found != "ok" {
        return damaged(found);
    }
    let sqlite = |error| Error::sqlite(path, error);
    let mut statement = db.prepare("PRAGMA foreign_key_check").map_err(sqlite)?;
    let mut orphans = statement.query([]).map_err(sqlite)?;
    match orphans.next().map_err(sqlite)? {
        Some(row) => {
            let table: String = row.get(0).map_err(sqlite)?;
            damaged(format!("a row of table {table} belongs to a friend or line that is not there"))
        }
        None => Ok(()),
    }
}

fn pragma<T: FromSql>(db: &Connection, path: &Path, name: &str) -> Result<T, Error> {
    let value = db.pragma_query_value(None, name, |row| row.get(0));
    value.map_err(|error| Error::sqlite(path, error))
}

const SCHEMA: &str = include_str!("schema.sql");
/// Rises with every change of the schema.
pub(crate) const SCHEMA_VERSION: i64 = 1;
/// "OFFS", in the header of the file; `file` and SQLite show it.
pub(crate) const APPLICATION_ID: i64 = 0x4f46_4653;
/// How long to wait for a program that reads or writes the database beside us.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// More than there are statements.
const CACHED_STATEMENTS: usize = 64;
