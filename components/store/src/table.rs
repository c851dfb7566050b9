//! Tables by name: the statements that write, delete and read their rows, each row with its checksum.

use std::{path::Path, sync::OnceLock};

use rusqlite::{Connection, params_from_iter, types::ValueRef};

use crate::{
    Error,
    column::{Reading, Values, row_check},
};

/// A table of the schema. Its columns begin with its key; `row_check` follows them.
pub(crate) struct Table {
    name: &'static str,
    key: usize,
    columns: &'static [&'static str],
    insert: OnceLock<String>,
    delete: OnceLock<String>,
    /// Rows are only appended: nothing makes the key unique.
    past: bool,
}

impl Table {
    /// A table whose first `key` columns are its key.
    pub(crate) const fn new(
        name: &'static str,
        key: usize,
        columns: &'static [&'static str],
    ) -> Self {
        Self { name, key, columns, insert: OnceLock::new(), delete: OnceLock::new(), past: false }
    }

    /// A table of what is over, with an index of its key. Of rows with one key the last one counts.
    pub(crate) const fn past(
        name: &'static str,
        key: usize,
        columns: &'static [&'static str],
    ) -> Self {
        Self { name, key, columns, insert: OnceLock::new(), delete: OnceLock::new(), past: true }
    }

    /// Its name in the schema.
    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    /// How many columns a row has, its checksum not counted.
    pub(crate) const fn columns(&self) -> usize {
        self.columns.len()
    }

    /// How many of them are its key.
    pub(crate) const fn key_columns(&self) -> usize {
        self.key
    }

    /// Writes a row, new or not; of a table of what is over always a new one. Rows that belong to it
    /// stay.
    pub(crate) fn put(&self, db: &Connection, values: Values) -> rusqlite::Result<()> {
        let values = values.put_check(self.name);
        let sql = self.insert.get_or_init(|| self.insert_sql());
        db.prepare_cached(sql)?.execute(params_from_iter(values.parameters()))?;
        Ok(())
    }

    /// Deletes the rows whose key begins with `key`, with everything that belongs to them; all of them
    /// if it is empty.
    pub(crate) fn delete(&self, db: &Connection, key: Values) -> rusqlite::Result<()> {
        self.remove(db, key).map(drop)
    }

    /// As [`Table::delete`], and says how many rows there were.
    pub(crate) fn remove(&self, db: &Connection, key: Values) -> rusqlite::Result<usize> {
        let sql = || format!("DELETE FROM {} WHERE {}", self.name, self.key_condition(key.len()));
        let mut statement = if key.len() == self.key {
            db.prepare_cached(self.delete.get_or_init(sql))?
        } else {
            db.prepare_cached(&sql())?
        };
        statement.execute(params_from_iter(key.parameters()))
    }

    /// Deletes the rows whose key, of one column, is not above this.
    pub(crate) fn delete_up_to(&self, db: &Connection, key: Values) -> rusqlite::Result<()> {
        let sql = format!("DELETE FROM {} WHERE {} <= ?", self.name, self.columns[0]);
        db.prepare_cached(&sql)?.execute(params_from_iter(key.parameters()))?;
        Ok(())
    }

    /// Deletes those of the rows that were written first, no more than `most`, that fit the condition.
    pub(crate) fn delete_oldest(
        &self,
        db: &Connection,
        most: usize,
        condition: &str,
        parameters: Values,
    ) -> rusqlite::Result<()> {
        let name = self.name;
        let oldest = format!("SELECT rowid FROM {name} ORDER BY rowid LIMIT {most}");
        let sql = format!("DELETE FROM {name} WHERE rowid IN ({oldest}) AND {condition}");
        db.prepare_cached(&sql)?.execute(params_from_iter(parameters.parameters()))?;
        Ok(())
    }

    /// The row with this key.
    pub(crate) fn find<T>(
        &self,
        (db, path): (&Connection, &Path),
        key: Values,
        read: fn(&mut Reading<'_>) -> Result<T, String>,
    ) -> Result<Option<T>, Error> {
        let mut condition = self.key_condition(key.len());
        if self.past {
            condition += " ORDER BY rowid DESC LIMIT 1";
        }
        let mut found = None;
        self.each((db, path), &condition, key, |row| {
            found = Some(read(row)?);
            Ok(())
        })?;
        Ok(found)
    }

    /// Gives every row that fits the condition to `each`.
    pub(crate) fn each(
        &self,
        (db, path): (&Connection, &Path),
        condition: &str,
        parameters: Values,
        mut each: impl FnMut(&mut Reading<'_>) -> Result<(), String>,
    ) -> Result<(), Error> {
        let sqlite = |error| Error::sqlite(path, error);
        let columns = self.columns.join(", ");
        let sql = format!("SELECT {columns}, row_check FROM {} WHERE {condition}", self.name);
        let mut statement = db.prepare_cached(&sql).map_err(sqlite)?;
        let mut rows =
            statement.query(params_from_iter(parameters.parameters())).map_err(sqlite)?;
        while let Some(row) = rows.next().map_err(sqlite)? {
            let checked = self.check(row).and_then(|()| each(&mut Reading::new(row)));
            checked.map_err(|why| Error::DamagedRow {
                path: path.to_owned(),
                table: self.name,
                row: self.row_name(row),
                why,
            })?;
        }
        Ok(())
    }

    fn check(&self, row: &rusqlite::Row<'_>) -> Result<(), String> {
        let values = (0..self.columns.len()).map(|at| row.get_ref(at).unwrap_or(ValueRef::Null));
        let check = row_check(self.name, values);
        match row.get_ref(self.columns.len()).ok().and_then(|stored| stored.as_i64().ok()) {
            Some(stored) if stored == check => Ok(()),
            Some(_) | None => Err("its contents do not match its checksum".to_owned()),
        }
    }

    fn row_name(&self, row: &rusqlite::Row<'_>) -> String {
        let part = |at| match row.get_ref(at) {
            Ok(ValueRef::Text(text)) => String::from_utf8_lossy(text).escape_debug().to_string(),
            Ok(ValueRef::Integer(number)) => number.to_string(),
            // As SQLite's shell takes it.
            Ok(ValueRef::Blob(bytes)) => {
                let hex: String = bytes.iter().take(32).map(|byte| format!("{byte:02X}")).collect();
                format!("x'{hex}'")
            }
            Ok(ValueRef::Null | ValueRef::Real(_)) | Err(_) => "?".to_owned(),
        };
        (0..self.key).map(part).collect::<Vec<_>>().join("/")
    }

    fn key_condition(&self, columns: usize) -> String {
        if columns == 0 {
            return "TRUE".to_owned();
        }
        let equal = |column: &&str| format!("{column} = ?");
        self.columns[..columns].iter().map(equal).collect::<Vec<_>>().join(" AND ")
    }

    fn insert_sql(&self) -> String {
        let set = |column: &&str| format!("{column} = excluded.{column}");
        let sets: Vec<_> = self.columns[self.key..].iter().chain([&"row_check"]).map(set).collect();
        let insert = format!(
            "INSERT INTO {} ({}, row_check) VALUES ({}?)",
            self.name,
            self.columns.join(", "),
            "?, ".repeat(self.columns.len()),
        );
        if self.past {
            return insert;
        }
        let key = self.columns[..self.key].join(", ");
        format!("{insert} ON CONFLICT ({key}) DO UPDATE SET {}", sets.join(", "))
    }
}
