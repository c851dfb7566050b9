//! Rows of a node's database as somebody may have written them, with a checksum that is right. A
//! database is refused with a sentence, or holds a state that a node can run on.

use std::path::{Path, PathBuf};

use offset_crypto::{PublicKey, checksum};
use offset_funder::{Change, Config, Funder, state::State};
use offset_proto::{Timestamp, app::Hold, app::PaymentTarget};
use offset_store::{SqliteStore, Store as _, init};
use rusqlite::{Connection, types::Value};

use super::{Bytes, support::Net};

/// A table with its columns but the checksum, and those of its key.
struct Table {
    name: String,
    columns: Vec<String>,
}

/// A database with something in many of its tables.
struct Base {
    path: PathBuf,
    net: Net,
    tables: Vec<Table>,
    key: PublicKey,
}

thread_local! {
    static BASE: Base = Base::new();
}

impl Base {
    fn new() -> Self {
        let net = busy_network();
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let path = directory.join(format!("offset-fuzz-rows-{}.db", std::process::id()));
        remove(&path);
        let key = net.key(1);
        init(&path, &key).expect("a database is made");
        let mut store = SqliteStore::open(&path, &key).expect("and opened");
        store.commit(&net.nodes[1].log).expect("and written");
        // Something that is in its table, and waits to be written there again.
        store.commit(&rows_again(&net.nodes[1].disk)).expect("and written again");
        drop(store);
        let db = Connection::open(&path).expect("it is SQLite");
        let tables: Vec<_> = strings(&db, "SELECT name FROM sqlite_schema WHERE type = 'table'")
            .into_iter()
            .map(|name| {
                let info = format!("SELECT name FROM pragma_table_info('{name}')");
                let columns = strings(&db, &info).into_iter().filter(|it| it != "row_check");
                Table { columns: columns.collect(), name }
            })
            .collect();
        // Those whose checksum is made over the columns in this order.
        let tables: Vec<_> = tables.into_iter().filter(|table| is_checked(&db, table)).collect();
        let names: Vec<_> = tables.iter().map(|table| &table.name).collect();
        assert!(8 <= tables.len(), "a busy database has something in many tables: {names:?}");
        drop(db);
        Self { path, net, tables, key }
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// A mediator through which something passes, with an invoice of its own that is held.
fn busy_network() -> Net {
    let mut net = Net::chain(3, 1_000, 1);
    for (buyer, seller) in [(0, 1), (0, 2)] {
        let invoice = net.held_invoice(seller, 50, Hold::Standard);
        let request = net.pay_request(PaymentTarget::Invoice(Box::new(invoice)));
        net.pay(buyer, request);
    }
    net.send_funds(1, 2, 30);
    net.settle();
    // One that is on its way.
    net.send_funds(1, 0, 20);
    net
}

/// Rows of the live tables as they are.
fn rows_again(state: &State) -> Vec<Change> {
    let mut again = Vec::new();
    for (key, friend) in &state.friends {
        again.push(Change::Channel(*key, friend.channel.clone()));
        again.push(Change::Received(*key, friend.received.clone()));
        for (currency, line) in friend.lines.iter().filter(|(_, line)| line.credit.is_some()) {
            again.push(Change::Line(*key, currency.clone(), Some(line.row())));
        }
    }
    again.extend(state.payments.iter().map(|(id, row)| Change::Payment(*id, row.clone())));
    again
}

fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm", ".lock"] {
        // It may not be there.
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
}

fn strings(db: &Connection, sql: &str) -> Vec<String> {
    let mut statement = db.prepare(sql).expect("it is right");
    let rows = statement.query_map([], |row| row.get(0)).expect("it is right");
    rows.map(|row| row.expect("text")).collect()
}

fn count(db: &Connection, table: &Table) -> i64 {
    let sql = format!("SELECT count(*) FROM {}", table.name);
    db.query_row(&sql, [], |row| row.get(0)).expect("a table")
}

/// Plays it: which table, row and column, what kind of value, and the value.
pub fn stored_rows(bytes: &[u8]) {
    BASE.with(|base| {
        let path = base.path.with_extension("copy.db");
        remove(&path);
        std::fs::copy(&base.path, &path).expect("there is room");
        spoil(base, &path, bytes);
        let loaded = SqliteStore::open(&path, &base.key).and_then(|mut store| {
            store.check_books()?;
            store.load()
        });
        match loaded {
            Err(error) => assert!(!error.to_string().is_empty()),
            Ok(state) => {
                let identity = base.net.nodes[1].identity.clone();
                let now = Timestamp(base.net.now.0);
                // It may still contradict itself, and then is refused.
                drop(Funder::new(identity, state, Config::default(), now));
            }
        }
        remove(&path);
    });
}

/// A row with its number, its values and its checksum; `None` in a table without row numbers.
fn read(db: &Connection, table: &Table, row: i64) -> Option<(i64, Vec<Value>, i64)> {
    let columns = table.columns.join(", ");
    let sql =
        format!("SELECT rowid, {columns}, row_check FROM {} LIMIT 1 OFFSET {row}", table.name);
    let read = db.query_row(&sql, [], |row| {
        let values = (1..=table.columns.len()).map(|at| row.get(at));
        let check = row.get(table.columns.len() + 1)?;
        Ok((row.get(0)?, values.collect::<Result<Vec<Value>, _>>()?, check))
    });
    read.ok()
}

fn is_checked(db: &Connection, table: &Table) -> bool {
    read(db, table, 0).is_some_and(|(_, values, check)| row_check(&table.name, &values) == check)
}

fn spoil(base: &Base, path: &Path, bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let db = Connection::open(path).expect("it is SQLite");
    let table = &base.tables[usize::from(bytes.byte()) % base.tables.len()];
    let row = i64::from(bytes.byte()) % count(&db, table);
    let column = usize::from(bytes.byte()) % table.columns.len();
    let Some((id, mut values, _)) = read(&db, table, row) else { return };
    values[column] = value(&values[column], &mut bytes);
    let check = row_check(&table.name, &values);
    let name = &table.columns[column];
    let sql = format!("UPDATE {} SET {name} = ?1, row_check = ?2 WHERE rowid = ?3", table.name);
    // SQLite itself refuses some.
    let _ = db.execute(&sql, (&values[column], check, id));
}

/// Another value, or the one that is there with something else in its middle.
fn value(old: &Value, bytes: &mut Bytes<'_>) -> Value {
    let text = |bytes: &[u8]| Value::Text(String::from_utf8_lossy(bytes).into_owned());
    match (bytes.byte() % 5, old) {
        (0, _) => Value::Null,
        (1, _) => {
            let mut number = [0; 8];
            number.iter_mut().rev().for_each(|byte| *byte = bytes.byte());
            Value::Integer(i64::from_be_bytes(number))
        }
        (2, Value::Text(old)) => {
            let mut new = old.clone().into_bytes();
            splice(&mut new, bytes);
            text(&new)
        }
        (2, Value::Blob(old)) => {
            let mut new = old.clone();
            splice(&mut new, bytes);
            Value::Blob(new)
        }
        (3, _) => Value::Blob(bytes.0.to_vec()),
        (_, _) => text(bytes.0),
    }
}

fn splice(old: &mut Vec<u8>, bytes: &mut Bytes<'_>) {
    let at = (usize::from(bytes.byte()) << 8 | usize::from(bytes.byte())) % (old.len() + 1);
    let gone = usize::from(bytes.byte()).min(old.len() - at);
    old.splice(at..at + gone, bytes.0.iter().copied());
}

/// The checksum of a row.
fn row_check(table: &str, values: &[Value]) -> i64 {
    let mut kinds = table.as_bytes().to_vec();
    let mut parts: Vec<&[u8]> = Vec::new();
    for value in values {
        let (kind, number) = match value {
            Value::Null => (0, [0; 8]),
            Value::Integer(number) => (1, number.to_be_bytes()),
            Value::Real(number) => (2, number.to_be_bytes()),
            Value::Text(text) => (3, (text.len() as u64).to_be_bytes()),
            Value::Blob(blob) => (4, (blob.len() as u64).to_be_bytes()),
        };
        kinds.push(kind);
        kinds.extend_from_slice(&number);
        match value {
            Value::Text(text) => parts.push(text.as_bytes()),
            Value::Blob(blob) => parts.push(blob),
            Value::Null | Value::Integer(_) | Value::Real(_) => {}
        }
    }
    parts.insert(0, &kinds);
    checksum(&parts).cast_signed()
}
