//! Copies: made while the database is written, checked whole, put back where nothing is.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use offset_crypto::SeededRng;
use offset_funder::state::State;
use rusqlite::Connection;

use super::{generator::Generator, made, node, open, rows_of};
use crate::{
    Error, SqliteStore, Store as _,
    backup::{check_free, copy, restore, verify},
};

/// An empty file, as whoever wants a copy makes it.
fn empty(directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(name);
    File::create(&path).unwrap();
    path
}

/// Commits batches until `enough` says so; gives what they led to.
fn write(store: &mut SqliteStore, seed: u64, mut enough: impl FnMut(u32) -> bool) -> State {
    let (mut state, mut batches) = (store.load().unwrap(), 0);
    let mut generator = Generator(SeededRng::new(seed));
    while !enough(batches) {
        let batch = generator.batch(&state);
        for change in &batch {
            state.apply(node(), change).unwrap();
        }
        store.commit(&batch).unwrap();
        batches += 1;
    }
    state
}

#[test]
fn a_copy_of_a_running_database_holds_what_was_committed() {
    let (directory, path) = made();
    let mut store = open(&path);
    let state = write(&mut store, 1, |batches| batches == 60);
    // A name with everything that a URI would misread.
    let file = empty(directory.path(), "co py?mode=ro#%41ä.db");
    let contents = copy(&path, &file).unwrap();
    assert_eq!(contents.public_key, node());
    assert_eq!(rows_of(&contents.state), rows_of(&state));
    assert_eq!(rows_of(&store.load().unwrap()), rows_of(&state), "the original is as it was");

    // Nothing was left beside either file but what the open database has.
    let names = fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(names, 5, "database, log, index of the log, lock, copy");
    // What comes later is not in the copy, and the database is still written.
    write(&mut store, 2, |batches| batches == 5);
    assert_eq!(rows_of(&verify(&file).unwrap().state), rows_of(&state));

    let back = empty(directory.path(), "back.db");
    assert_eq!(rows_of(&restore(&file, &back).unwrap().state), rows_of(&state));
    assert_eq!(rows_of(&open(&back).load().unwrap()), rows_of(&state));
}

#[test]
fn copies_made_while_the_database_is_written_are_each_one_moment() {
    let (directory, path) = made();
    let mut store = open(&path);
    let done = AtomicBool::new(false);
    let counts = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            write(&mut store, 3, |_| done.load(Ordering::Relaxed));
        });
        let mut counts = Vec::new();
        for number in 0..8 {
            let file = empty(directory.path(), &format!("{number}.db"));
            let rows = copy(&path, &file).map(|contents| contents.rows.values().sum::<u64>());
            counts.push(rows.unwrap_or_else(|error| {
                done.store(true, Ordering::Relaxed);
                panic!("{error}")
            }));
        }
        done.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        counts
    });
    assert!(counts.first() < counts.last(), "it was written meanwhile: {counts:?}");
}

#[test]
fn every_table_is_checked() {
    let (_directory, path) = made();
    let db = Connection::open(&path).unwrap();
    let mut names = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").unwrap();
    let there: BTreeSet<String> =
        names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let checked = crate::rows::ALL.iter().map(|known| known.table.name().to_owned()).collect();
    assert_eq!(there, checked);
}

#[test]
fn damage_is_found_in_rows_that_a_node_does_not_load() {
    let (directory, path) = made();
    let mut store = open(&path);
    let ended = |store: &SqliteStore| {
        let sql = "SELECT count(*) FROM past_payments";
        store.connection().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let mut seed = 10;
    while ended(&store) == 0 {
        write(&mut store, seed, |batches| batches == 40);
        seed += 1;
    }
    drop(store);
    let whole = empty(directory.path(), "whole.db");
    copy(&path, &whole).unwrap();
    let db = Connection::open(&path).unwrap();
    let sql = "UPDATE past_payments SET deadline = deadline + 1";
    assert!(0 < db.execute(sql, []).unwrap());
    drop(db);
    open(&path).load().expect("a node does not read what has ended");
    for result in [verify(&path), copy(&path, &empty(directory.path(), "copy.db"))] {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::DamagedRow { table: "past_payments", .. }), "{error}");
    }
    verify(&whole).unwrap();
}

#[test]
fn what_is_no_copy_is_named() {
    let (directory, path) = made();
    let mut store = open(&path);
    write(&mut store, 4, |batches| batches == 5);
    let error = verify(&path).unwrap_err();
    assert!(matches!(error, Error::NotACopy { .. }), "{error}");
    assert!(error.to_string().contains("stmgr backup"), "{error}");
    store.settle().unwrap();
    drop(store);
    verify(&path).expect("a database that was closed is all in one file");

    assert!(matches!(verify(&directory.path().join("no")), Err(Error::Path { .. })));
    assert!(matches!(verify(directory.path()), Err(Error::NotADatabase(_))));
    assert!(matches!(verify(&empty(directory.path(), "empty")), Err(Error::NotOurs(_))));
    let text = directory.path().join("text");
    fs::write(&text, "nothing like a database".repeat(99)).unwrap();
    assert!(matches!(verify(&text), Err(Error::NotADatabase(_))));

    let bytes = fs::read(&path).unwrap();
    let short = directory.path().join("short");
    fs::write(&short, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(verify(&short), Err(Error::Damaged { .. })));
    let newer = directory.path().join("newer");
    fs::write(&newer, [&bytes[..60], &99_u32.to_be_bytes(), &bytes[64..]].concat()).unwrap();
    assert!(matches!(verify(&newer), Err(Error::NewerSchema { found: 99, .. })));
}

#[test]
fn a_database_is_put_only_where_nothing_is_left_of_another() {
    let (directory, path) = made();
    assert!(matches!(check_free(&path), Err(Error::Exists(_))));
    check_free(&directory.path().join("new.db")).unwrap();
    for suffix in ["-wal", "-shm", "-journal"] {
        let left = empty(directory.path(), &format!("old.db{suffix}"));
        let error = check_free(&directory.path().join("old.db")).unwrap_err();
        assert!(matches!(&error, Error::Leftover(path) if *path == left), "{error}");
        fs::remove_file(left).unwrap();
    }
    // A node that runs on a deleted file still has it.
    let store = open(&path);
    fs::remove_file(&path).unwrap();
    for suffix in ["-wal", "-shm"] {
        fs::remove_file(directory.path().join(format!("node.db{suffix}"))).unwrap();
    }
    assert!(matches!(check_free(&path), Err(Error::Locked { .. })));
    drop(store);
    check_free(&path).unwrap();
}
