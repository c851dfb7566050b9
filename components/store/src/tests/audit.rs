//! What is over is checked while a node runs.

use std::{path::Path, sync::mpsc::channel, time::Duration};

use offset_crypto::SeededRng;
use offset_funder::state::State;
use rusqlite::Connection;

use super::{generator::Generator, made, node, open};
use crate::{Error, Store as _, Writer};

/// Puts more into some tables of what is over than is checked at once, and something into each.
fn filled(path: &Path) {
    let mut store = open(path);
    let (mut state, mut generator) = (State::default(), Generator(SeededRng::new(11)));
    loop {
        let mut batch = Vec::new();
        for _ in 0..500 {
            let changes = generator.batch(&state);
            changes.iter().for_each(|change| state.apply(node(), change).unwrap());
            batch.extend(changes);
        }
        store.commit(&batch).unwrap();
        let count = |table: &str| -> i64 {
            let sql = format!("SELECT count(*) FROM {table}");
            store.connection().query_row(&sql, [], |row| row.get(0)).unwrap()
        };
        let some = ["past_payments", "settled", "collected"].iter().all(|table| 1 < count(table));
        if some && 1 < count("past_invoices") && 150 < count("history") {
            return;
        }
    }
}

fn check(path: &Path) -> Result<usize, Error> {
    let mut store = open(path);
    let mut steps = 0;
    while store.check_some()? {
        steps += 1;
    }
    assert!(!store.check_some()?, "once is enough");
    Ok(steps)
}

#[test]
fn a_sound_database_passes_in_steps() {
    let (_directory, path) = made();
    assert_eq!(check(&path).unwrap(), 5, "one step for each table");
    filled(&path);
    assert!(5 < check(&path).unwrap(), "the books take two steps");
}

#[test]
fn damage_is_found_in_every_table() {
    let (directory, path) = made();
    filled(&path);
    let cases = [
        ("UPDATE past_invoices SET expires_at = expires_at / 2 + 7", "table past_invoices"),
        ("UPDATE past_payments SET deadline = deadline / 2 + 7", "table past_payments"),
        ("UPDATE settled SET row_check = 0", "table settled"),
        ("UPDATE history SET time = time / 2 + 7 WHERE sequence = 5", "table history"),
        ("UPDATE collected SET at = at / 2 + 7", "table collected"),
        (LOST_BY_INDEX, "index past_payments_by_id does not lead to every row"),
    ];
    for (number, (sql, says)) in cases.into_iter().enumerate() {
        let copy = directory.path().join(format!("{number}.db"));
        std::fs::copy(&path, &copy).unwrap();
        let db = Connection::open(&copy).unwrap();
        db.execute_batch(sql).unwrap();
        drop(db);
        open(&copy).load().expect("a start does not read it");
        let error = check(&copy).unwrap_err().to_string();
        assert!(error.contains(says), "{sql}: {error}");
    }
}

/// The index leaves out what it should hold: as a lost page would, it says that nothing is there.
const LOST_BY_INDEX: &str = "
    DROP INDEX past_payments_by_id;
    CREATE INDEX past_payments_by_id ON past_payments (payment_id) WHERE payment_id IS NULL;
    PRAGMA writable_schema = ON;
    UPDATE sqlite_schema SET sql = 'CREATE INDEX past_payments_by_id ON past_payments (payment_id)'
        WHERE name = 'past_payments_by_id';
    PRAGMA writable_schema = RESET;";

/// The thread does it by itself, and what it finds stops the node as a failed write does.
#[test]
fn the_thread_reports_what_it_finds() {
    let (_directory, path) = made();
    filled(&path);
    let db = Connection::open(&path).unwrap();
    db.execute_batch("UPDATE past_payments SET deadline = deadline / 2 + 7").unwrap();
    drop(db);
    let store = open(&path);
    let reader = store.reader().unwrap();
    let (told, done) = channel();
    let writer = Writer::spawn(store, reader, move |result: Result<(), Error>| {
        told.send(result).unwrap();
    })
    .unwrap();
    let error = done.recv_timeout(Duration::from_secs(60)).unwrap().unwrap_err();
    assert!(matches!(error, Error::DamagedRow { .. }), "{error}");
    writer.close().unwrap();
}

/// Whoever stops a node and copies the one file has all of it, although not everything was checked yet.
#[test]
fn nothing_stays_in_the_log_when_a_store_is_closed_while_it_checks() {
    let (_directory, path) = made();
    filled(&path);
    let mut store = open(&path);
    assert!(store.check_some().unwrap(), "there is more to check");
    drop(store);
    let log = path.with_file_name(format!("{}-wal", path.file_name().unwrap().to_str().unwrap()));
    assert!(!log.exists(), "{} is left", log.display());
}
