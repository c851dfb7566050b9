//! What the database costs: the batches of a chain of three nodes, committed by the store.
//!
//! `cargo bench -p offset-store --bench rows`
//!
//! Prints, for each node and for one to many payments a batch, the processor time of its rows beside
//! that of a bare loop of SQLite that appends as many bytes, in as many rows, to one table in as many
//! transactions, in the same run. How long the disk takes is left out.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a benchmark prints, and fails by panicking"
)]

#[path = "../../funder/tests/chain/mod.rs"]
mod chain;

use std::{path::Path, time::Duration};

use chain::Chain;
use offset_crypto::PublicKey;
use offset_funder::Change;
use offset_proto::app::Hold;
use offset_store::{SqliteStore, Store as _, Unsettled, init};
use rusqlite::Connection;

const NODES: [&str; 3] = ["buyer", "mediator", "seller"];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let wanted = |in_flight: usize| {
        let mut numbers = arguments.iter().filter_map(|it| it.parse().ok()).peekable();
        numbers.peek().is_none() || numbers.any(|it: usize| it == in_flight)
    };
    let parent = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    println!("microseconds of processor a payment; rows, transactions and KiB per 100 payments");
    for in_flight in [1, 16, 128, 512] {
        if !wanted(in_flight) {
            continue;
        }
        let payments = if in_flight == 1 { 1_000 } else { 10_000 };
        let (keys, batches) = record(in_flight, payments);
        for (node, name) in NODES.iter().enumerate() {
            let directory = tempfile::tempdir_in(&parent).unwrap();
            let cost = play(directory.path(), &keys[node], &batches[node]);
            let bare = bare(directory.path(), &batches[node], cost.bytes);
            let each = |time: Duration| time.as_secs_f64() * 1e6 / payments as f64;
            let per = |count: usize| count * 100 / payments;
            println!(
                "{in_flight:>4} in flight, {name:<8} {:>7.1}, bare {:>7.1}: {:>4.1} times; rows \
                 {}, transactions {}, database {} KiB",
                each(cost.time),
                each(bare),
                cost.time.as_secs_f64() / bare.as_secs_f64(),
                per(cost.rows),
                per(batches[node].len()),
                per(cost.bytes) / 1024,
            );
        }
    }
}

/// The batches of three nodes over which so many payments go.
fn record(in_flight: usize, payments: usize) -> (Vec<PublicKey>, Vec<Vec<Vec<Change>>>) {
    let mut chain = Chain::new(3, true);
    let (mut invoices, mut ordered) = (0, 0);
    while chain.succeeded < payments {
        while invoices < payments && invoices - chain.succeeded < 2 * in_flight {
            chain.invoice(Hold::None);
            invoices += 1;
        }
        while ordered - chain.succeeded < in_flight && chain.pay_invoice() {
            ordered += 1;
        }
        chain.round();
    }
    chain.settle();
    (chain.keys.clone(), chain.batches.unwrap())
}

struct Cost {
    time: Duration,
    rows: usize,
    bytes: usize,
}

fn play(directory: &Path, key: &PublicKey, batches: &[Vec<Change>]) -> Cost {
    let path = directory.join("node.db");
    init(&path, key).unwrap();
    let mut store = SqliteStore::open(&path, key).unwrap();
    let (mut time, mut rows) = (Duration::ZERO, 0);
    for batch in batches {
        rows += batch.len();
        let began = processor();
        store.commit(batch).unwrap();
        if store.is_unsettled() == Unsettled::Much {
            store.settle().unwrap();
        }
        time += processor() - began;
    }
    let began = processor();
    store.settle().unwrap();
    time += processor() - began;
    store.load().unwrap();
    store.check_books().unwrap();
    drop(store);
    let bytes = usize::try_from(std::fs::metadata(&path).unwrap().len()).unwrap();
    Cost { time, rows, bytes }
}

/// Appends as many bytes in as many rows and transactions, with the same settings of durability.
fn bare(directory: &Path, batches: &[Vec<Change>], bytes: usize) -> Duration {
    let path = directory.join("bare.db");
    let mut db = Connection::open(&path).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -16384; \
         CREATE TABLE rows (number INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;",
    )
    .unwrap();
    let rows: usize = batches.iter().map(Vec::len).sum();
    let row = vec![7_u8; bytes / rows];
    let mut time = Duration::ZERO;
    for batch in batches {
        let began = processor();
        let transaction = db.transaction().unwrap();
        {
            let mut put =
                transaction.prepare_cached("INSERT INTO rows (bytes) VALUES (?)").unwrap();
            for _ in batch {
                put.execute([&row]).unwrap();
            }
        }
        transaction.commit().unwrap();
        time += processor() - began;
    }
    time
}

/// What this thread has taken of a processor. Only Linux tells.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}
