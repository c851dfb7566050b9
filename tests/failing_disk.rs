//! A node whose disk fails stops itself, says why, and has lost nothing when it is started again.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::{path::Path, process::Command};

use support::{
    eventually,
    pair::{ALICE, BOB, Pair},
};

#[test]
fn a_node_stops_itself_when_a_sync_fails() {
    stops("sync", "could not be read or written: check its disk");
}

#[test]
fn a_node_stops_itself_when_the_disk_is_full() {
    stops("space", "no space is left");
}

/// Pays while the disk of one node begins to fail. A disk that is broken is a file of this name.
fn stops(mode: &str, why: &str) {
    let mut pair = Pair::befriended(0);
    pair.stop_node(ALICE);
    let shim = compiled(pair.sandbox.path());
    pair.sandbox.set("OFFSET_FAULT_MODE", mode);
    start_watched(&mut pair, &shim);
    pair.until_online();
    pair.pay(ALICE, 10);

    pair.sandbox.write("alice/broken", "");
    let key = pair.sandbox.public_key("bob/node.ident");
    let line = format!("funds send-funds -d {key} -a 7");
    assert_ne!(
        pair.ctl(ALICE, &line).code,
        Some(0),
        "nobody is told of a payment that is not saved"
    );
    let (code, said) = pair.ended(ALICE);
    assert_eq!(code, Some(1), "{said}");
    let last = said.trim_end().lines().last().unwrap();
    assert!(
        last.starts_with("error: ") && last.contains("node.db") && last.contains(why),
        "{said}"
    );

    std::fs::remove_file(pair.sandbox.file("alice/broken")).unwrap();
    pair.start_node(ALICE);
    pair.until_online();
    // What could not be synced may be there, and then goes on: its whole effect, or none.
    let paid = eventually("both see the same", || {
        let seen = (pair.balance(ALICE), pair.balance(BOB));
        match seen {
            (Some(-10), Some(10)) | (Some(-17), Some(17)) => Ok(seen),
            _ => Err(format!("{seen:?}")),
        }
    });
    assert!(mode == "sync" || paid.0 == Some(-10), "nothing was written: {paid:?}");
    if mode == "space" {
        pair.pay(ALICE, 7);
        pair.pay(BOB, 3);
    }
}

/// Starts Alice's node on a disk that is watched.
fn start_watched(pair: &mut Pair, shim: &str) {
    let directory = pair.sandbox.file("alice").canonicalize().unwrap().display().to_string();
    pair.sandbox.set("OFFSET_FAULT_DIR", &directory);
    pair.sandbox.set("LD_PRELOAD", shim);
    pair.start_node(ALICE);
    pair.sandbox.set("LD_PRELOAD", "");
}

/// What a start waits for besides the processor. It counts itself in the file beside the database (one
/// sync), and in the database, whose log begins (its head, the entry); at the end the log moves into the
/// database (two). Where the file is not there, the node recovers: one transaction more, and one that
/// writes it into its tables.
#[test]
fn a_start_makes_no_more_syncs_than_it_must() {
    let mut pair = Pair::start();
    pair.stop_node(ALICE);
    let shim = compiled(pair.sandbox.path());
    let syncs = |pair: &mut Pair| {
        start_watched(pair, &shim);
        pair.stop_node(ALICE);
        pair.sandbox.read("alice/syncs")
    };
    assert_eq!(syncs(&mut pair), "5");
    std::fs::remove_file(pair.sandbox.file("alice/node.db.starts")).unwrap();
    assert_eq!(syncs(&mut pair), "7");
}

/// The disk that fails.
fn compiled(directory: &Path) -> String {
    let source =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("components/store/tests/loops/faults.c");
    let library = directory.join("faults.so");
    let mut compile = Command::new("cc");
    compile.args(["-O1", "-shared", "-fPIC", "-o"]).args([&library, &source]).arg("-ldl");
    assert!(compile.status().unwrap().success(), "the C compiler that SQLite needs is there");
    library.display().to_string()
}
