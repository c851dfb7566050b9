//! Checking what is over while a node runs. Its rows are not read at a start, however many there are;
//! so they are read some at a time afterwards, each against its checksum, and looked for by the
//! indexes with which they are looked up.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, params_from_iter, types::Value};

use crate::{
    Error,
    column::{Reading, Values},
    opening::connect,
    rows::{self, Known},
};

/// How far a check has come.
#[derive(Debug)]
pub(crate) struct Audit {
    /// A connection of its own, so that the pages that a node works on stay in the cache of its own.
    db: Connection,
    /// Which of the tables is read, and after which of its rows.
    table: usize,
    after: Vec<Value>,
}

impl Audit {
    /// Begins with the first row.
    pub(crate) fn new(path: &Path) -> Result<Self, Error> {
        let db = connect(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.pragma_update(None, "cache_size", CACHE).map_err(|e| Error::sqlite(path, e))?;
        Ok(Self { db, table: 0, after: Vec::new() })
    }

    /// Checks some more rows; `false` when that was all.
    ///
    /// # Errors
    /// What cannot be read, is not as it was written, or is not found by an index.
    pub(crate) fn go_on(&mut self, path: &Path) -> Result<bool, Error> {
        let mut past = rows::ALL.iter().filter(|known| !known.is_live);
        let Some(known) = past.nth(self.table) else { return Ok(false) };
        let sqlite = |error| Error::sqlite(path, error);
        // One snapshot, so that an index and its table are of one moment.
        let snapshot = self.db.unchecked_transaction().map_err(sqlite)?;
        let last = check_some((&snapshot, path), known, &self.after)?;
        snapshot.commit().map_err(sqlite)?;
        match last {
            Some(last) => self.after = last,
            None => {
                self.table += 1;
                self.after.clear();
            }
        }
        Ok(true)
    }
}

/// Checks the rows after one; gives the last of them.
fn check_some(
    (db, path): (&Connection, &Path),
    known: &Known,
    after: &[Value],
) -> Result<Option<Vec<Value>>, Error> {
    let sqlite = |error| Error::sqlite(path, error);
    let table = known.table.name();
    let order = known.order;
    let from = if after.is_empty() { "TRUE".to_owned() } else { format!("{order} > ?") };
    // The last of the next rows is found first, so that they are read as any others.
    let sql = format!(
        "SELECT {order} FROM {table} WHERE {from} ORDER BY {order} LIMIT 1 OFFSET {}",
        AT_ONCE - 1
    );
    let mut statement = db.prepare_cached(&sql).map_err(sqlite)?;
    let last: Option<Value> = statement
        .query_row(params_from_iter(after), |row| row.get(0))
        .optional()
        .map_err(sqlite)?;
    let mut condition = from;
    let mut parameters = after.to_vec();
    if let Some(last) = &last {
        condition += &format!(" AND {order} <= ?");
        parameters.push(last.clone());
    }
    let mut values = Values::default();
    for parameter in &parameters {
        values = values.put_ref(parameter.into());
    }
    known.table.each((db, path), &condition, values, |row: &mut Reading<'_>| (known.read)(row))?;
    for index in known.indexes {
        check_index((db, path), table, index, (&condition, &parameters))?;
    }
    Ok(last.map(|last| vec![last]))
}

/// Whether rows are found by an index.
fn check_index(
    (db, path): (&Connection, &Path),
    table: &str,
    (index, columns): &(&str, &[&str]),
    (condition, parameters): (&str, &[Value]),
) -> Result<(), Error> {
    let sqlite = |error| Error::sqlite(path, error);
    let equal: Vec<_> = columns.iter().map(|it| format!("found.{it} = here.{it}")).collect();
    let sql = format!(
        "SELECT count(*) FROM {table} AS here NOT INDEXED WHERE {condition} AND NOT EXISTS \
         (SELECT 1 FROM {table} AS found INDEXED BY {index} WHERE {} AND found.rowid = here.rowid)",
        equal.join(" AND "),
    );
    let mut statement = db.prepare_cached(&sql).map_err(sqlite)?;
    let missing: i64 =
        statement.query_row(params_from_iter(parameters), |row| row.get(0)).map_err(sqlite)?;
    if missing == 0 {
        return Ok(());
    }
    let why = format!("index {index} does not lead to every row of table {table}");
    Err(Error::Damaged { path: path.to_owned(), why })
}

/// How many rows are checked at once: about two milliseconds, which a payment may have to wait.
const AT_ONCE: usize = 100;
/// In KiB.
const CACHE: &str = "-1024";
