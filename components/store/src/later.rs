//! Rows that are written later: what a batch does to rows that change often lies in one row of the
//! table `batches`, and reaches their own tables together with what many other batches did to them.
//!
//! ```text
//!   batch --> ended payments, books, ...: their tables --.
//!        `--> all else: one row of `batches` -------------+--> one transaction, synced
//!        `--> the same, by key, in memory
//!                 |  when enough has come, or nothing comes any more, and at the end
//!                 '--> the rows as they are now: their tables; `batches` emptied
//! ```
//!
//! A request is written when it comes, when it is answered, committed and collected, and then is gone:
//! its rows rarely reach their table. What the process had in memory is in `batches`, from which it is
//! made again when the database is opened.
//!
//! Invariant: the live tables with the rows of `batches` applied in order are the state after the last
//! committed batch. Nothing that a change deletes without naming it is deferred: such a batch
//! ([`super::changes`]) goes into the tables at once, after all that waits.

use std::{collections::BTreeMap, path::Path};

use rusqlite::{Connection, types::ValueRef};

use crate::{
    Error,
    column::{Reading, Values},
    rows,
    table::Table,
};

pub(crate) static TABLE: Table = Table::new("batches", 1, &["number", "rows"]);

/// From how many bytes of batches on their rows are written into their tables.
const ENOUGH: usize = 8 << 20;

/// What waits to be written into the tables.
#[derive(Debug, Default)]
pub(crate) struct Later {
    rows: Rows,
    /// The length of the batches they came in.
    bytes: usize,
    /// The number of the last of these.
    last: u64,
}

/// A table, by its place among all, and the key of a row in it, as in a record.
type Key = (usize, Box<[u8]>);

/// Rows as they are to be: all of their columns, or none when they are gone. In an order in which each
/// comes after those it needs.
type Rows = BTreeMap<Key, Option<Box<[u8]>>>;

impl Later {
    /// Reads the batches that were not written into the tables when the database was last closed.
    ///
    /// # Errors
    /// What cannot be read, or is not as it was written.
    pub(crate) fn read((db, path): (&Connection, &Path)) -> Result<Self, Error> {
        let mut later = Self::default();
        TABLE.each((db, path), "TRUE ORDER BY number", Values::default(), |row| {
            let (number, rows) = read(row)?;
            (later.last, later.bytes) = (number, later.bytes.saturating_add(1));
            later.rows.extend(rows);
            Ok(())
        })?;
        Ok(later)
    }

    /// Whether there is nothing to be written into the tables.
    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Whether so much waits that it should be written now.
    pub(crate) const fn is_due(&self) -> bool {
        ENOUGH <= self.bytes
    }

    /// Writes everything into the tables.
    pub(crate) fn write_out(&mut self, db: &Connection) -> rusqlite::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        for ((table, key), row) in std::mem::take(&mut self.rows) {
            let table = rows::ALL[table].table;
            match row {
                Some(row) => table.put(db, values(&mut Bytes(&row)).expect("written here"))?,
                None => table.delete(db, values(&mut Bytes(&key)).expect("written here"))?,
            }
        }
        TABLE.delete(db, Values::default())?;
        self.bytes = 0;
        Ok(())
    }
}

/// Where the rows of one transaction go.
pub(crate) struct Target<'a> {
    pub(crate) db: &'a Connection,
    /// None: everything into the tables.
    later: Option<&'a mut Later>,
    rows: Rows,
}

impl<'a> Target<'a> {
    /// Into the tables at once, after what waits for that.
    pub(crate) fn tables(db: &'a Connection, later: &mut Later) -> rusqlite::Result<Self> {
        later.write_out(db)?;
        Ok(Self { db, later: None, rows: Rows::new() })
    }

    /// Into a batch that is written into the tables later.
    pub(crate) fn later(db: &'a Connection, later: &'a mut Later) -> Self {
        Self { db, later: Some(later), rows: Rows::new() }
    }

    /// Writes a row, new or not.
    pub(crate) fn put(&mut self, table: &'static Table, values: Values) -> rusqlite::Result<()> {
        if self.later.is_none() {
            return table.put(self.db, values);
        }
        let (key, row) = (key_of(table, &values), encode(values.iter()));
        drop(self.rows.insert(key, Some(row)));
        Ok(())
    }

    /// Deletes the row with this key.
    pub(crate) fn delete(&mut self, table: &'static Table, key: Values) -> rusqlite::Result<()> {
        if self.later.is_none() {
            return table.delete(self.db, key);
        }
        drop(self.rows.insert(key_of(table, &key), None));
        Ok(())
    }

    /// Deletes the row with this key, and says whether there was one.
    pub(crate) fn remove(&mut self, table: &'static Table, key: Values) -> rusqlite::Result<bool> {
        let Some(later) = &self.later else { return Ok(table.remove(self.db, key)? != 0) };
        let at = key_of(table, &key);
        let Some(known) = self.rows.get(&at).or_else(|| later.rows.get(&at)) else {
            return Ok(table.remove(self.db, key)? != 0);
        };
        let was_there = known.is_some();
        drop(self.rows.insert(at, None));
        Ok(was_there)
    }

    /// Writes the batch, if it is one that waits.
    pub(crate) fn finish(self) -> rusqlite::Result<()> {
        let Some(later) = self.later else { return Ok(()) };
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut record = Vec::with_capacity(1024);
        for ((table, key), row) in &self.rows {
            let name = rows::ALL[*table].table.name().as_bytes();
            record.push(u8::try_from(name.len()).expect("names are short"));
            record.extend_from_slice(name);
            record.push(u8::from(row.is_some()));
            record.extend_from_slice(row.as_ref().unwrap_or(key));
        }
        later.last = later.last.saturating_add(1);
        later.bytes = later.bytes.saturating_add(record.len());
        TABLE.put(self.db, Values::default().put(&later.last).put_blob(&record))?;
        later.rows.extend(self.rows);
        Ok(())
    }
}

/// A batch, with its number.
pub(crate) fn read(row: &mut Reading<'_>) -> Result<(u64, Rows), String> {
    let number = row.take()?;
    let mut bytes = Bytes(row.take_blob()?);
    let mut rows = Rows::new();
    if bytes.0.is_empty() {
        return Err("it has no rows".to_owned());
    }
    while !bytes.0.is_empty() {
        let length = usize::from(bytes.byte()?);
        let name = bytes.take(length)?;
        let is_it = |known: &rows::Known| known.is_live && known.table.name().as_bytes() == name;
        let at =
            rows::ALL.iter().position(is_it).ok_or("it names a table that nothing waits for")?;
        let table = rows::ALL[at].table;
        let (is_there, before) = (bytes.byte()? != 0, bytes.0);
        let values = values(&mut bytes)?;
        let columns = if is_there { table.columns() } else { table.key_columns() };
        if values.len() != columns {
            return Err(format!("a row of table {} has {} columns", table.name(), values.len()));
        }
        let row = is_there.then(|| before[..before.len() - bytes.0.len()].into());
        drop(rows.insert((at, encode(values.iter().take(table.key_columns()))), row));
    }
    Ok((number, rows))
}

fn key_of(table: &'static Table, values: &Values) -> Key {
    let at = rows::ALL.iter().position(|known| std::ptr::eq(known.table, table));
    (at.expect("all tables are known"), encode(values.iter().take(table.key_columns())))
}

/// The number of columns, and each with its kind; texts and blobs with their length.
fn encode<'a>(values: impl Iterator<Item = ValueRef<'a>>) -> Box<[u8]> {
    let mut out = Vec::with_capacity(512);
    out.push(0);
    for value in values {
        out[0] += 1;
        let (kind, bytes) = match value {
            ValueRef::Integer(number) => {
                out.push(INTEGER);
                // So that keys are in the order of their numbers.
                out.extend_from_slice(&(number.cast_unsigned() ^ (1 << 63)).to_be_bytes());
                continue;
            }
            ValueRef::Null | ValueRef::Real(_) => {
                out.push(NULL);
                continue;
            }
            ValueRef::Text(bytes) => (TEXT, bytes),
            ValueRef::Blob(bytes) => (BLOB, bytes),
        };
        out.push(kind);
        let length = u32::try_from(bytes.len()).expect("a row is far below 4 GiB");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(bytes);
    }
    out.into()
}

/// What [`encode`] made, from the front of these bytes.
fn values(bytes: &mut Bytes<'_>) -> Result<Values, String> {
    let mut values = Values::default();
    for _ in 0..bytes.byte()? {
        let kind = bytes.byte()?;
        values = match kind {
            NULL => values.put_ref(ValueRef::Null),
            INTEGER => {
                let number = u64::from_be_bytes(bytes.array()?) ^ (1 << 63);
                values.put_ref(ValueRef::Integer(number.cast_signed()))
            }
            TEXT | BLOB => {
                let length = u32::from_be_bytes(bytes.array()?);
                let content = bytes.take(usize::try_from(length).unwrap_or(usize::MAX))?;
                let is_text = kind == TEXT;
                values.put_ref(if is_text {
                    ValueRef::Text(content)
                } else {
                    ValueRef::Blob(content)
                })
            }
            other => return Err(format!("there is no column of kind {other}")),
        };
    }
    Ok(values)
}

const NULL: u8 = 0;
const INTEGER: u8 = 1;
const TEXT: u8 = 3;
const BLOB: u8 = 4;

/// Bytes that are taken from the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (front, rest) = self.0.split_at_checked(length).ok_or("it ends too early")?;
        self.0 = rest;
        Ok(front)
    }

    fn byte(&mut self) -> Result<u8, String> {
        self.take(1).map(|byte| byte[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        Ok(self.take(N)?.try_into().expect("as many were taken"))
    }
}
