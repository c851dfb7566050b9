//! Making and opening: every refusal, and what an open database promises.

use std::{fs, path::Path};

use rusqlite::Connection;

use super::{key, made, node, open};
use crate::{
    Error, SqliteStore, Store as _, init,
    lock::lock_path,
    opening::{APPLICATION_ID, SCHEMA_VERSION},
};

fn refusal(path: &Path) -> Error {
    SqliteStore::open(path, &node()).unwrap_err()
}

/// Changes a database as another program would.
fn tamper(path: &Path, sql: &str) {
    let db = Connection::open(path).unwrap();
    db.execute_batch(sql).unwrap();
}

#[test]
fn a_new_database_is_empty_and_private() {
    let (_directory, path) = made();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let state = open(&path).load().unwrap();
    assert_eq!(super::rows_of(&state).len(), 1, "only the settings' defaults");
}

#[test]
fn init_never_overwrites() {
    let (_directory, path) = made();
    let before = fs::read(&path).unwrap();
    let error = init(&path, &key(1)).unwrap_err();
    assert!(matches!(error, Error::Exists(_)), "{error}");
    assert!(error.to_string().contains("never overwritten"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn init_leaves_one_file_or_none() {
    let (directory, _) = made();
    let files = fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(files, 1);
    let error = init(&directory.path().join("missing/node.db"), &node()).unwrap_err();
    assert!(matches!(error, Error::Path { .. }), "{error}");
}

#[test]
fn a_missing_file_is_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.db");
    let error = refusal(&path);
    assert!(matches!(error, Error::Path { .. }), "{error}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_directory_is_refused_and_nothing_put_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.db");
    fs::create_dir(&path).unwrap();
    let error = refusal(&path);
    assert!(matches!(error, Error::NotADatabase(_)), "{error}");
    assert!(error.to_string().ends_with("node.db is not a database: check the path"), "{error}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[cfg(unix)]
#[test]
fn links_are_followed_to_open_and_never_to_make() {
    let (directory, path) = made();
    let link = directory.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    drop(SqliteStore::open(&link, &node()).unwrap());
    assert!(matches!(init(&link, &node()), Err(Error::Exists(_))));
    let dangling = directory.path().join("dangling.db");
    std::os::unix::fs::symlink(directory.path().join("nowhere.db"), &dangling).unwrap();
    assert!(matches!(init(&dangling, &node()), Err(Error::Exists(_))));
    assert!(!directory.path().join("nowhere.db").exists());
    let error = refusal(&dangling);
    assert!(matches!(error, Error::Path { .. }), "{error}");
}

#[test]
fn other_files_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("text");
    fs::write(&text, "nothing like a database, but long enough to have a header".repeat(99))
        .unwrap();
    assert!(matches!(refusal(&text), Error::NotADatabase(_)));

    let empty = directory.path().join("empty");
    fs::write(&empty, "").unwrap();
    assert!(matches!(refusal(&empty), Error::NotOurs(_)));

    let other = directory.path().join("other");
    tamper(&other, "CREATE TABLE bookmarks (url TEXT)");
    let error = refusal(&other);
    assert!(matches!(error, Error::NotOurs(_)));
    assert!(error.to_string().contains("stmgr init-node-db"), "{error}");
}

#[test]
fn another_identity_is_refused_with_both_keys() {
    let (_directory, path) = made();
    let error = SqliteStore::open(&path, &key(1)).unwrap_err().to_string();
    assert!(error.contains(&node().to_string()) && error.contains(&key(1).to_string()), "{error}");
    drop(open(&path));
}

#[test]
fn a_newer_schema_is_refused_with_both_versions() {
    let (_directory, path) = made();
    for newer in [SCHEMA_VERSION + 1, SCHEMA_VERSION + 6] {
        tamper(&path, &format!("PRAGMA user_version = {newer}"));
        let error = refusal(&path);
        let versions = matches!(
            error,
            Error::NewerSchema { found, known: SCHEMA_VERSION, .. } if found == newer
        );
        assert!(versions, "{error}");
        assert!(error.to_string().contains(&format!("schema version {newer}")), "{error}");
    }

    tamper(&path, "PRAGMA user_version = 0");
    assert!(matches!(refusal(&path), Error::NotOurs(_)));
}

#[test]
fn a_second_opening_names_the_first_process() {
    let (directory, path) = made();
    let first = open(&path);
    let error = refusal(&path);
    let pid = std::process::id();
    assert!(matches!(&error, Error::Locked { pid: Some(found), .. } if *found == pid), "{error}");
    assert!(error.to_string().contains(&format!("pid {pid}")), "{error}");

    #[cfg(unix)]
    {
        let link = directory.path().join("link.db");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(refusal(&link), Error::Locked { .. }), "by another name");
    }

    fs::write(lock_path(&path.canonicalize().unwrap()), "").unwrap();
    assert!(matches!(refusal(&path), Error::Locked { pid: None, .. }));
    drop(first);
    drop(open(&path));
    drop(directory);
}

#[cfg(unix)]
#[test]
fn unreachable_files_are_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_directory, path) = made();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    // Permissions do not bind the superuser.
    if fs::OpenOptions::new().write(true).open(&path).is_err() {
        let error = refusal(&path);
        assert!(matches!(error, Error::ReadOnly(_)), "{error}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let lock = lock_path(&path.canonicalize().unwrap());
    drop(fs::remove_file(&lock));
    fs::create_dir(&lock).unwrap();
    let error = refusal(&path);
    assert!(matches!(&error, Error::Path { path, .. } if *path == lock), "{error}");
}

#[test]
fn an_open_database_is_durable() {
    let (_directory, path) = made();
    let store = open(&path);
    let ask = |pragma: &str| {
        let value: rusqlite::types::Value =
            store.connection().pragma_query_value(None, pragma, |row| row.get(0)).unwrap();
        value
    };
    assert_eq!(ask("synchronous"), 2.into());
    assert_eq!(ask("journal_mode"), "wal".to_owned().into());
    assert_eq!(ask("foreign_keys"), 1.into());
    assert_eq!(ask("application_id"), APPLICATION_ID.into());
    assert_eq!(ask("wal_autocheckpoint"), 4000.into());
}

/// What is over is looked up by its indexes, however much there is.
#[test]
fn what_is_over_is_found_by_index() {
    let (_directory, path) = made();
    let store = open(&path);
    for (table, index, condition) in [
        ("past_payments", "past_payments_by_id", "payment_id = x'00'"),
        ("past_invoices", "past_invoices_by_id", "invoice_id = x'00'"),
        ("past_invoices", "past_invoices_by_id", "created_at = 5 AND invoice_id = x'00'"),
        ("past_invoices", "past_invoices_by_nonce", "nonce = x'00'"),
        (
            "past_invoices",
            "past_invoices_by_time",
            "phase = 'expired' AND created_at >= 5 AND (created_at, invoice_id) > (5, x'00') \
             ORDER BY created_at, invoice_id LIMIT 9",
        ),
    ] {
        let sql = format!("EXPLAIN QUERY PLAN SELECT * FROM {table} WHERE {condition}");
        let plan: String = store.connection().query_row(&sql, [], |row| row.get(3)).unwrap();
        assert!(plan.contains(&format!("USING INDEX {index}")), "{condition}: {plan}");
    }
}

/// The tables that grow are not read when a node starts.
#[test]
fn what_is_over_is_not_read_at_a_start() {
    let past = crate::rows::ALL.iter().filter(|known| !known.is_live);
    let names: Vec<_> = past.map(|known| known.table.name()).collect();
    assert_eq!(names, ["past_invoices", "past_payments", "settled", "history", "collected"]);
}

#[test]
fn index_epochs_only_rise() {
    let (_directory, path) = made();
    let mut store = open(&path);
    assert_eq!(store.next_index_epoch(100).unwrap(), 100);
    assert_eq!(store.next_index_epoch(100).unwrap(), 101);
    drop(store);
    let mut store = open(&path);
    assert_eq!(store.next_index_epoch(50).unwrap(), 102);
    assert_eq!(store.next_index_epoch(200).unwrap(), 200);
}
