//! The database file: made, and opened with everything checked that is loaded.

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io,
    path::Path,
    time::Duration,
};

use offset_crypto::PublicKey;
use rusqlite::{Connection, OpenFlags, config::DbConfig, types::FromSql};

use crate::{Error, column::Values, rows};

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
    // Without it a statement that is used again with other values may be planned again each time.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(sqlite)?;
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
    check_schema(db, path)
}

/// Whether the tables and indexes are those that this program makes, and nothing else is there: a
/// trigger would change rows behind it.
fn check_schema(db: &Connection, path: &Path) -> Result<(), Error> {
    let damaged = |why| Error::Damaged { path: path.to_owned(), why };
    // SQLite would quote what it cannot read as SQL.
    let found = schema_of(db).map_err(|error| {
        let error = Error::sqlite(path, error);
        if matches!(error, Error::Damaged { .. } | Error::Sqlite { .. }) {
            return damaged("what it says of its tables cannot be read".to_owned());
        }
        error
    })?;
    if found == declared() {
        return Ok(());
    }
    let ours = made_here().map_err(|error| Error::sqlite(path, error))?;
    if let Some(Entry { kind, name, .. }) = ours.difference(&found).next() {
        return Err(damaged(format!("its {kind} {name} is not as a node makes it")));
    }
    if let Some(Entry { name, .. }) = found.difference(&ours).next() {
        let name: String = name.chars().take(64).flat_map(char::escape_debug).collect();
        return Err(damaged(format!("its schema has \"{name}\", which no node puts there")));
    }
    Ok(())
}

/// A text of the schema without its comments and as one line, so that a comment may change.
fn plain(sql: &str) -> String {
    let code = sql.lines().flat_map(|line| line.split("--").next());
    code.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

/// What a schema says of a table, an index, a trigger or a view.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    kind: String,
    name: String,
    table: String,
    /// SQLite makes some indexes by itself, without a text.
    sql: Option<String>,
}

/// What SQLite keeps of the text of our schema, as far as that can be told without it. Making the
/// tables to see takes it as long as all else that it does for a small node to start.
fn declared() -> BTreeSet<Entry> {
    let mut entries = BTreeSet::new();
    let mut sql = String::new();
    for line in SCHEMA.lines() {
        if sql.is_empty() && (line.is_empty() || line.starts_with("--")) {
            continue;
        }
        sql.push_str(line);
        let Some(whole) = sql.strip_suffix(';') else {
            sql.push('\n');
            continue;
        };
        let mut words = whole.split_whitespace().skip(1);
        let kind = words.next().unwrap_or_default().to_lowercase();
        let name = words.next().unwrap_or_default().to_owned();
        let on = words.nth(1).filter(|_| kind == "index").unwrap_or(&name).to_owned();
        let has_rowid = !whole.ends_with("WITHOUT ROWID");
        if whole.contains("PRIMARY KEY") && !whole.contains("INTEGER PRIMARY KEY") && has_rowid {
            // SQLite makes it by itself.
            let index = format!("sqlite_autoindex_{name}_1");
            entries.insert(Entry {
                kind: "index".to_owned(),
                name: index,
                table: name.clone(),
                sql: None,
            });
        }
        entries.insert(Entry { kind, name, table: on, sql: Some(plain(whole)) });
        sql.clear();
    }
    entries
}

/// What SQLite keeps of our schema.
fn made_here() -> rusqlite::Result<BTreeSet<Entry>> {
    let db = Connection::open_in_memory()?;
    db.execute_batch(SCHEMA)?;
    schema_of(&db)
}

fn schema_of(db: &Connection) -> rusqlite::Result<BTreeSet<Entry>> {
    let mut statement = db.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema")?;
    let entries = statement.query_map([], |row| {
        let (kind, name) = (row.get(0)?, row.get(1)?);
        let sql: Option<String> = row.get(3)?;
        Ok(Entry { kind, name, table: row.get(2)?, sql: sql.as_deref().map(plain) })
    })?;
    entries.collect()
}

/// Sets what durability needs, and reads it back.
pub(crate) fn set_up(db: &Connection, path: &Path) -> Result<(), Error> {
    let settings = [
        ("journal_mode", "WAL"),
        ("synchronous", "FULL"),
        ("foreign_keys", "ON"),
        ("fullfsync", "ON"),
        ("checkpoint_fullfsync", "ON"),
        // A checkpoint moves at most about 16 MiB, so that no commit waits long for one. With a
        // quarter of that, the same pages were written twice as often.
        ("wal_autocheckpoint", "4000"),
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

/// SQLite's own checks of all of the file. They take about 3 seconds for a million rows.
pub(crate) fn check_whole(db: &Connection, path: &Path) -> Result<(), Error> {
    check_integrity(db, path, None)?;
    check_owners(db, path)
}

/// SQLite's own checks of the tables that are loaded, with their indexes. What is over lies in other
/// tables, of which each row is checked when it is looked up, and all of them while the node runs.
pub(crate) fn check_live(db: &Connection, path: &Path) -> Result<(), Error> {
    // One snapshot, so that what is locked and looked up for each question is so once.
    let snapshot = db.unchecked_transaction().map_err(|error| Error::sqlite(path, error))?;
    let live = rows::ALL.iter().filter(|known| known.is_live);
    for known in live {
        check_integrity(db, path, Some(known.table.name()))?;
    }
    check_owners(db, path)?;
    snapshot.commit().map_err(|error| Error::sqlite(path, error))
}

/// The whole check, not the quick one: that does not compare indexes with their tables.
fn check_integrity(db: &Connection, path: &Path, table: Option<&str>) -> Result<(), Error> {
    let damaged = |why| Err(Error::Damaged { path: path.to_owned(), why });
    let found: String = match table {
        None => pragma(db, path, "integrity_check")?,
        Some(table) => {
            let sql = "SELECT integrity_check FROM pragma_integrity_check(?)";
            let mut statement = db.prepare_cached(sql).map_err(|e| Error::sqlite(path, e))?;
            let found = statement.query_row([table], |row| row.get(0));
            found.map_err(|error| Error::sqlite(path, error))?
        }
    };
    if found == "ok" { Ok(()) } else { damaged(found) }
}

/// Whether every row belongs to a friend or line that is there.
fn check_owners(db: &Connection, path: &Path) -> Result<(), Error> {
    let sqlite = |error| Error::sqlite(path, error);
    let mut statement = db.prepare("PRAGMA foreign_key_check").map_err(sqlite)?;
    let mut orphans = statement.query([]).map_err(sqlite)?;
    match orphans.next().map_err(sqlite)? {
        Some(row) => {
            let table: String = row.get(0).map_err(sqlite)?;
            let why =
                format!("a row of table {table} belongs to a friend or line that is not there");
            Err(Error::Damaged { path: path.to_owned(), why })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sqlite_keeps_of_the_schema_is_known_without_it() {
        assert_eq!(declared(), made_here().unwrap());
    }
}
