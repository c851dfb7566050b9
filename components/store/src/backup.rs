//! Copies of a database: made while a node runs, checked without a node, put back where none is.
//!
//! A copy is one file. SQLite writes it from one snapshot (`VACUUM INTO`), so the node that writes
//! meanwhile is not held up and the copy shows one moment. Nothing is taken for a copy that was not
//! read again with every check that a node makes when it starts, and of every row besides.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt::Write as _,
    fs::OpenOptions,
    path::{Path, PathBuf},
};

use offset_crypto::PublicKey;
use offset_funder::state::State;
use rusqlite::OpenFlags;

use crate::{
    Error, SqliteStore, Store as _,
    column::Values,
    later::{self, Later},
    lock::Lock,
    opening::{SCHEMA_VERSION, check_kind, check_one_name, check_whole, connect, owner},
    rows,
};

/// What a database holds, once all of it was checked.
#[derive(Debug)]
pub struct Contents {
    /// Which file.
    pub path: PathBuf,
    /// Whose it is.
    pub public_key: PublicKey,
    /// The version of its schema.
    pub schema_version: i64,
    /// Everything that the node must remember.
    pub state: State,
    /// How many rows each table has.
    pub rows: BTreeMap<&'static str, u64>,
}

/// Writes a copy of the database into `copy`, an empty file that is there already, and checks the
/// copy. A node that runs on the database goes on meanwhile. The caller syncs the file.
///
/// # Errors
/// Every way in which `database` is not the sound database of a node; what the file system says.
/// Then `copy` is to be thrown away.
pub fn copy(database: &Path, copy: &Path) -> Result<Contents, Error> {
    let path = plain_file(database)?;
    check_one_name(&path)?;
    // For writing, so that a log that a crash left behind is taken up and goes away again; a reader
    // would leave its helper files behind, perhaps such as the node cannot open.
    OpenOptions::new().read(true).write(true).open(&path).map_err(|e| Error::path(&path, e))?;
    let access = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_URI;
    let db = connect(&path, access)?;
    check_kind(&db, &path)?;
    copy_into(&db, &path, copy)?;
    verify(copy)
}

/// Puts a copy into `database`, an empty file that is there already, after checking it; and checks
/// what was put there. The caller syncs the file and gives it its name.
///
/// # Errors
/// As [`verify`]; what the file system says. Then `database` is to be thrown away.
pub fn restore(copy: &Path, database: &Path) -> Result<Contents, Error> {
    verify(copy)?;
    let path = plain_file(copy)?;
    let db = connect_to_read(&path)?;
    copy_into(&db, &path, database)?;
    verify(database)
}

/// Whether a copy of `database` may replace what is at `path`: an earlier copy may be replaced, a
/// database may not, be it this one or another. What a node writes beside its database shows which
/// it is.
///
/// # Errors
/// [`Error::InUse`].
pub fn check_replaceable(database: &Path, path: &Path) -> Result<(), Error> {
    let itself =
        path.canonicalize().is_ok_and(|path| database.canonicalize().is_ok_and(|db| db == path));
    let kept = ["-wal", "-shm", "-journal", ".lock", ".starts"];
    let used = || kept.iter().any(|suffix| std::fs::symlink_metadata(beside(path, suffix)).is_ok());
    if itself || used() { Err(Error::InUse(path.to_owned())) } else { Ok(()) }
}

/// Whether a database could be put at `path`: nothing of another one is there, and nobody has it.
///
/// # Errors
/// [`Error::Exists`] names what is in the way; [`Error::Locked`].
pub fn check_free(path: &Path) -> Result<(), Error> {
    // A log that is left would be taken for that of the new file.
    // A count of starts that is left could make the new file pass for the one that was there.
    for suffix in ["", "-wal", "-shm", "-journal", ".starts"] {
        let file = beside(path, suffix);
        if std::fs::symlink_metadata(&file).is_ok() {
            return Err(if suffix.is_empty() {
                Error::Exists(file)
            } else {
                Error::Leftover(file)
            });
        }
    }
    let Some(name) = path.file_name() else { return Err(Error::Exists(path.to_owned())) };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let directory = directory.canonicalize().map_err(|error| Error::path(directory, error))?;
    // A node may run on a database whose file was deleted.
    if std::fs::exists(beside(&directory.join(name), ".lock")).unwrap_or(true) {
        Lock::take(&directory.join(name))?;
    }
    Ok(())
}

/// Reads all of a database and changes nothing: the file as SQLite sees it, every row against its
/// checksum, sums that are stored twice, the books from their first entry on, and whether the rows
/// belong together.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn verify(path: &Path) -> Result<Contents, Error> {
    let path = plain_file(path)?;
    let db = connect_to_read(&path)?;
    check_kind(&db, &path)?;
    check_whole(&db, &path)?;
    let public_key = owner(&db, &path)?.ok_or_else(|| Error::NotOurs(path.clone()))?;
    let mut rows = BTreeMap::new();
    for known in rows::ALL {
        let mut count: u64 = 0;
        known.table.each((&db, &path), "TRUE", Values::default(), |row| {
            count = count.saturating_add(1);
            (known.read)(row)
        })?;
        rows.insert(known.table.name(), count);
    }
    if rows.get(later::TABLE.name()).is_some_and(|waiting| 0 < *waiting) {
        return Err(Error::NotSettled(path));
    }
    let mut store = SqliteStore::of_reader(db, path.clone(), public_key);
    let state = store.load()?;
    store.check_books()?;
    Ok(Contents { path, public_key, schema_version: SCHEMA_VERSION, state, rows })
}

fn copy_into(db: &rusqlite::Connection, path: &Path, copy: &Path) -> Result<(), Error> {
    let written = db.execute("VACUUM INTO ?1", [uri(copy, "")]);
    written.map_err(|error| Error::sqlite(path, error))?;
    set_apart(copy)
}

/// Puts every row of a copy where a start reads it.
fn settle(db: &rusqlite::Connection, path: &Path) -> Result<(), Error> {
    let sqlite = |error| Error::sqlite(path, error);
    let transaction = db.unchecked_transaction().map_err(sqlite)?;
    Later::read((db, path))?.write_out(db).map_err(sqlite)?;
    transaction.commit().map_err(sqlite)
}

/// Gives a copy a count of starts that no file beside a database has: a node that is started on it,
/// wherever it was put, knows that it is not the newest. One that was never started has signed
/// nothing, so that there is nothing to know.
fn set_apart(copy: &Path) -> Result<(), Error> {
    let path = plain_file(copy)?;
    let sqlite = |error| Error::sqlite(&path, error);
    let db = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    settle(&db, &path)?;
    let mut starts = 0;
    rows::starts::TABLE.each((&db, &path), "TRUE", Values::default(), |row| {
        starts = rows::starts::read(row)?;
        Ok(())
    })?;
    if 0 < starts {
        let apart = starts.saturating_add(SET_APART).min(i64::MAX.unsigned_abs());
        rows::starts::TABLE.put(&db, rows::starts::write(apart)).map_err(sqlite)?;
    }
    Ok(())
}

/// More starts than a database has in its life.
const SET_APART: u64 = 1 << 40;

fn connect_to_read(path: &Path) -> Result<rusqlite::Connection, Error> {
    let log = beside(path, "-wal");
    if std::fs::metadata(&log).is_ok_and(|log| 0 < log.len()) {
        // The file alone is not all of it, and whoever writes it may be at work.
        return Err(Error::NotACopy { path: path.to_owned(), log });
    }
    // Without a log the file is all of it: it is read where nothing can be written, too.
    connect(
        Path::new(&uri(path, "?immutable=1")),
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI,
    )
}

/// The resolved path of a file that is no directory or device.
fn plain_file(path: &Path) -> Result<PathBuf, Error> {
    let resolved = path.canonicalize().map_err(|error| Error::path(path, error))?;
    let metadata = std::fs::metadata(&resolved).map_err(|error| Error::path(path, error))?;
    if metadata.is_file() { Ok(resolved) } else { Err(Error::NotADatabase(path.to_owned())) }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// A path as SQLite takes it with parameters, whatever is in it.
fn uri(path: &Path, parameters: &str) -> String {
    let mut text = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(byte) {
            text.push(char::from(*byte));
        } else {
            // Writing to a text does not fail.
            let _ = write!(text, "%{byte:02x}");
        }
    }
    text + parameters
}
