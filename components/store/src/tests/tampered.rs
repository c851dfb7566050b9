//! A database that is not as it was written is refused, with what, where and what to do.

use std::{
    fs,
    io::{Seek as _, SeekFrom, Write as _},
    path::Path,
};

use offset_crypto::SeededRng;
use offset_funder::{
    Change,
    state::{SpentKey, State},
};
use offset_proto::{Credits, Currency};
use rusqlite::Connection;

use super::{generator::Generator, made, node, open};
use crate::{Error, SqliteStore, Store as _, column::row_check};

/// Puts something in every table, and closes the database, so that its file is all of it.
fn filled(path: &Path) {
    let mut store = open(path);
    let mut state = State::default();
    let mut generator = Generator(SeededRng::new(7));
    let full = |state: &State| {
        let friends = || state.friends.values();
        let mut credits = friends().flat_map(|friend| friend.lines.values());
        let pending = credits.any(|line| {
            let credit = line.credit.as_ref();
            credit.is_some_and(|credit| !credit.pending(offset_funder::Side::Local).is_empty())
        });
        let mut lines = friends().flat_map(|friend| friend.lines.values());
        let owed = lines.any(|line| {
            let credit = line.credit.as_ref();
            credit.is_some_and(|credit| credit.numbers().balance.get() != 0)
        });
        pending
            && owed
            && friends().any(|friend| !friend.queue.is_empty())
            && !state.relays.is_empty()
            && 2 <= state.index_servers.len()
            && 2 <= state.friends.len()
            && !state.invoices.is_empty()
            && !state.sets.is_empty()
            && !state.payments.is_empty()
            && !state.archive.is_empty()
            && !state.journal.is_empty()
            && !state.spent.is_empty()
            && 0 < state.last_entry
    };
    while !full(&state) {
        let batch = generator.batch(&state);
        for change in &batch {
            state.apply(node(), change).unwrap();
        }
        store.commit(&batch).unwrap();
    }
    store.settle().unwrap();
}

/// What opening and loading says after another program ran `sql`.
fn refusal(original: &Path, sql: &str) -> Error {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.db");
    fs::copy(original, &path).unwrap();
    let db = Connection::open(&path).unwrap();
    db.execute_batch(&format!(
        "PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON; {sql}"
    ))
    .unwrap();
    recheck(&db);
    drop(db);
    let opened = SqliteStore::open(&path, &node());
    let Err(error) = opened.and_then(|mut store| store.load().map(drop)) else {
        panic!("{sql} is taken");
    };
    error
}

/// Gives rows that were marked with `row_check = 0` a right checksum, so that what they say is
/// judged and not only that they changed.
fn recheck(db: &Connection) {
    let tables: Vec<String> = db
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for table in tables {
        let mut statement =
            db.prepare(&format!("SELECT * FROM {table} WHERE row_check = 0")).unwrap();
        let columns = statement.column_count() - 1;
        let names: Vec<_> = statement.column_names().map(str::to_owned).collect();
        let mut rows = statement.query([]).unwrap();
        let mut checks = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            let values = (0..columns).map(|at| row.get_ref(at).unwrap());
            let check = row_check(&table, values);
            let values: Vec<rusqlite::types::Value> =
                (0..columns).map(|at| row.get(at).unwrap()).collect();
            checks.push((check, values));
        }
        drop(rows);
        for (check, values) in checks {
            let mut clauses = Vec::new();
            for name in &names[..columns] {
                clauses.push(format!("{name} IS ?"));
            }
            let sql =
                format!("UPDATE {table} SET row_check = {check} WHERE {}", clauses.join(" AND "));
            db.execute(&sql, rusqlite::params_from_iter(values)).unwrap();
        }
    }
}

#[test]
fn every_changed_row_is_found() {
    let (_directory, path) = made();
    filled(&path);
    for (table, column, value) in [
        ("settings", "accepts_spontaneous", "1 - accepts_spontaneous"),
        ("relays", "address", "'127.0.0.1:7'"),
        ("index_servers", "position", "position + 77"),
        ("friends", "enabled", "1 - enabled"),
        ("channels", "counter", "counter / 2 + 7"),
        ("archive", "epoch", "epoch + 77"),
        ("lines", "rate_ppm", "5"),
        ("pending", "hold_seconds", "77"),
        ("queued", "since", "77"),
        ("invoices", "created_at", "77"),
        ("sets", "since", "77"),
        ("payments", "deadline", "77"),
        ("journal", "first", "first + 77"),
        ("spent", "hour", "hour + 77"),
        ("history", "time", "77"),
        ("book_ends", "balance", "'77'"),
        ("node", "row_check", "row_check + 1"),
    ] {
        let error = refusal(&path, &format!("UPDATE {table} SET {column} = {value}"));
        let text = error.to_string();
        assert!(
            matches!(&error, Error::DamagedRow { table: found, .. } if *found == table),
            "{text}"
        );
        assert!(text.contains("node.db is damaged: in table"), "{text}");
        assert!(text.contains("do not match its checksum"), "{text}");
        assert!(text.contains("do not put an older copy in its place"), "{text}");
    }
}

/// Rows with a right checksum are still judged by what they say.
#[test]
fn rows_that_make_no_sense_are_refused() {
    let (_directory, path) = made();
    filled(&path);
    for (sql, says) in [
        ("UPDATE pending SET stage = 'requested', response = '{}', row_check = 0", "missing"),
        ("UPDATE pending SET stage = 'lost', row_check = 0", "cannot be \"lost\""),
        (
            "UPDATE pending SET stage = 'responded', response = NULL, src_plain_lock = NULL, row_check = 0",
            "its stage and its response",
        ),
        (
            "UPDATE pending SET stage = 'requested', response = NULL, src_plain_lock = src_hashed_lock, row_check = 0",
            "its stage and its lock",
        ),
        (
            "UPDATE pending SET dest_payment = '340282366920938463463374607431768211455', row_check = 0",
            "out of range",
        ),
        ("UPDATE pending SET dest_payment = '1', left_fees = '6', row_check = 0", "is not the sum"),
        ("DELETE FROM pending", "is not the sum"),
        (
            "UPDATE lines SET balance = 'much', row_check = 0 WHERE balance IS NOT NULL",
            "column balance: not a balance",
        ),
        (
            "UPDATE lines SET local_max_debt = NULL, row_check = 0 WHERE balance IS NOT NULL",
            "column local_max_debt",
        ),
        ("UPDATE lines SET balance = NULL, row_check = 0", "is not active"),
        ("UPDATE friends SET name = 'one', row_check = 0", "two friends are called"),
        ("UPDATE index_servers SET position = 1, row_check = 0", "two index servers"),
        ("DELETE FROM channels", "has no token channel"),
        ("DELETE FROM friends", "is not there"),
        ("UPDATE invoices SET dest_payment = '5', row_check = 0", "its terms do not give its id"),
        (
            "UPDATE payments SET phase = 'committed', fee = '5', row_check = 0",
            "does not fit its receipt",
        ),
        ("UPDATE friends SET relays = '[', row_check = 0", "column relays"),
        (
            "UPDATE friends SET relays = '[{\"public_key\": 5}]', row_check = 0",
            "\"public_key\": expected a text",
        ),
        ("UPDATE queued SET op = '{\"kind\": \"gift\"}', row_check = 0", "no operation \"gift\""),
        ("UPDATE queued SET link = '{\"kind\": \"gift\"}', row_check = 0", "no link \"gift\""),
        ("UPDATE settings SET accepts_spontaneous = 2, row_check = 0", "expected 0 or 1"),
        ("DELETE FROM history", "have no entry"),
        ("DELETE FROM history WHERE balance <> '0'", "the last of its line"),
        (
            "DELETE FROM book_ends WHERE sequence < (SELECT max(sequence) FROM history)",
            "have no entry",
        ),
        (
            "UPDATE lines SET balance = '77', row_check = 0 WHERE balance IS NOT NULL",
            "and its balance is 77",
        ),
        (
            "INSERT INTO history SELECT 1 << 40, time, friend, friend_name, 'x', '1', '1', 'opened', \
             NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0 FROM history LIMIT 1; INSERT INTO \
             book_ends SELECT friend, 'x', 1 << 40, '1', 0 FROM history LIMIT 1",
            "the line is gone",
        ),
        (
            "INSERT INTO history SELECT 1 << 40, time, friend, friend_name, currency, '1', '1', \
             'opened', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0 FROM history LIMIT 1",
            "not known as the last of its line",
        ),
        ("UPDATE journal SET entries = x'03', row_check = 0", "is of kind 3"),
        ("UPDATE journal SET entries = x'0101', row_check = 0", "is cut off"),
        ("UPDATE journal SET entries = x'', row_check = 0", "has no entries"),
        ("UPDATE history SET kind = 'paid', fee = NULL, row_check = 0", "does not fit what it"),
        ("DELETE FROM node", "not the database of an Offset node"),
    ] {
        let text = refusal(&path, sql).to_string();
        assert!(text.contains(says), "{sql}: {text}");
    }
}

/// What waits to be written into the tables is as it was written too, and fits them.
#[test]
fn a_batch_that_makes_no_sense_is_refused() {
    let (_directory, path) = made();
    filled(&path);
    let mut store = open(&path);
    let key = SpentKey { app: node(), currency: Currency::fallback(), hour: 7 };
    store.commit(&[Change::Spent(key, Some(Credits(1)))]).unwrap();
    drop(store);
    for (sql, says) in [
        ("UPDATE batches SET rows = x'00'", "do not match its checksum"),
        ("UPDATE batches SET number = 5", "do not match its checksum"),
        ("UPDATE batches SET rows = x'', row_check = 0", "has no rows"),
        ("UPDATE batches SET rows = substr(rows, 1, 9), row_check = 0", "it ends too early"),
        (
            "UPDATE batches SET rows = CAST(rows || x'05' AS BLOB), row_check = 0",
            "it ends too early",
        ),
        // The length of the name, the name, whether it is there, how many columns.
        ("UPDATE batches SET rows = x'057370656e740101', row_check = 0", "it ends too early"),
        ("UPDATE batches SET rows = x'057370656e740100', row_check = 0", "has 0 columns"),
        ("UPDATE batches SET rows = x'057370656e740000', row_check = 0", "has 0 columns"),
        ("UPDATE batches SET rows = x'057370656e74010109', row_check = 0", "column of kind 9"),
        ("UPDATE batches SET rows = x'057370656e75010100', row_check = 0", "names a table"),
        // What is over is written at once.
        ("UPDATE batches SET rows = x'07736574746c6564000100', row_check = 0", "names a table"),
    ] {
        let text = refusal(&path, sql).to_string();
        assert!(text.contains("node.db is damaged: in table batches, row "), "{sql}: {text}");
        assert!(text.contains(says), "{sql}: {text}");
    }
    // It is no copy, whoever made it; a node takes it up.
    let error = crate::backup::verify(&path).unwrap_err();
    assert!(matches!(error, Error::NotSettled(_)), "{error}");
    open(&path);
    crate::backup::verify(&path).unwrap();
}

/// The schema is ours to the letter, in a database and in a copy.
#[test]
fn a_foreign_schema_is_refused() {
    let (_directory, path) = made();
    filled(&path);
    let edit = |sql: &str| {
        format!(
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET {sql}; PRAGMA user_version = 1"
        )
    };
    for (sql, says) in [
        (
            "CREATE TRIGGER thief AFTER INSERT ON history BEGIN DELETE FROM payments; END"
                .to_owned(),
            "its schema has \"thief\", which no node puts there",
        ),
        // Triggers have names of their own.
        (
            "CREATE TRIGGER history AFTER INSERT ON history BEGIN DELETE FROM payments; END"
                .to_owned(),
            "its schema has \"history\", which no node puts there",
        ),
        ("CREATE TABLE notes (row_check INTEGER)".to_owned(), "its schema has \"notes\""),
        ("CREATE VIEW notes AS SELECT * FROM sets".to_owned(), "its schema has \"notes\""),
        ("CREATE INDEX notes ON sets (since)".to_owned(), "its schema has \"notes\""),
        ("DROP INDEX past_invoices_by_nonce".to_owned(), "its index past_invoices_by_nonce is not"),
        (
            "ALTER TABLE sets ADD COLUMN note TEXT".to_owned(),
            "its table sets is not as a node makes",
        ),
        (
            edit("sql = replace(sql, 'BLOB NOT NULL', 'BLOB') WHERE name = 'sets'"),
            "its table sets is not as a node makes it",
        ),
        (
            edit("sql = replace(sql, 'row_check', 'row_chekk') WHERE name = 'settled'"),
            "its table settled is not as a node makes it",
        ),
        (
            edit("sql = replace(sql, 'CREATE', 'CRQATE') WHERE name = 'sets'"),
            "what it says of its tables cannot be read",
        ),
        (
            edit("sql = replace(sql, 'TEXT', x'00fe') WHERE name = 'sets'"),
            "what it says of its tables cannot be read",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("node.db");
        fs::copy(&path, &copy).unwrap();
        Connection::open(&copy).unwrap().execute_batch(&sql).unwrap();
        let text = SqliteStore::open(&copy, &node()).unwrap_err().to_string();
        assert!(text.contains(&format!("node.db is damaged: {says}")), "{sql}: {text}");
        assert!(!text.contains("SELECT") && !text.contains("syntax"), "{sql}: {text}");
        for suffix in ["-wal", "-shm", ".lock"] {
            drop(fs::remove_file(directory.path().join(format!("node.db{suffix}"))));
        }
        assert_eq!(crate::backup::verify(&copy).unwrap_err().to_string(), text, "{sql}");
    }
}

/// Damage below the rows.
#[test]
fn a_broken_file_is_refused() {
    let (_directory, path) = made();
    filled(&path);
    let length = fs::metadata(&path).unwrap().len();
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(4096)).unwrap();
    file.write_all(&vec![0xa5; usize::try_from(length - 4096).unwrap()]).unwrap();
    drop(file);
    let error = SqliteStore::open(&path, &node()).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}

/// A file that lost its end, wherever, is refused and left as it is. Of less than a page SQLite says
/// that there is nothing in it.
#[test]
fn a_truncated_file_is_refused() {
    let (directory, path) = made();
    filled(&path);
    let bytes = fs::read(&path).unwrap();
    for length in [1, 99, 100, 4_000, 4_096, bytes.len() / 2, bytes.len() - 4_096] {
        let cut = directory.path().join(format!("cut{length}.db"));
        fs::write(&cut, &bytes[..length]).unwrap();
        let opened = SqliteStore::open(&cut, &node());
        let Err(error) = opened.and_then(|mut store| store.load().map(drop)) else {
            panic!("{length} of {} is taken", bytes.len());
        };
        let empty = length < 512 && matches!(error, Error::NotOurs(_));
        let refused = matches!(error, Error::Damaged { .. } | Error::NotADatabase(_));
        assert!(refused || empty, "{length} of {}: {error}", bytes.len());
        assert!(fs::read(&cut).unwrap() == bytes[..length], "{length}: changed");
    }
}
