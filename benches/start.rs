//! How long a node takes until it listens: with an empty database, and with 1,000 friends and a
//! million past payments.
//!
//! `cargo bench --bench start -- --help`
//!
//! It starts real `stnode` processes and waits for what they print. Beside each figure stands what the
//! system and SQLite take for themselves, measured in the same run: a `stnode --version`, and opening
//! the same file with SQLite and reading its schema.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use clap::Parser;
use offset_crypto::{
    HashResult, Identity, InvoiceId, PaymentId, PlainLock, PublicKey, RequestId, SeededRng,
    Signature,
};
use offset_funder::{
    Change, Side,
    credit::{Ends, Numbers},
    state::{
        Attempt, Channel, Decision, FriendInfo, JournalRow, KeptCollect, LineRow, Part, PartState,
        PaymentRow, Phase,
    },
};
use offset_proto::{
    Balance, Credits, Currency, Rate, Text, Timestamp,
    friend::{Collect, Response},
    history::{HistoryEntry, HistoryEvent},
    payment::Receipt,
    reset::Collected,
};
use offset_store::{SqliteStore, Store as _, backup};

/// Measures how long a node takes to start.
#[derive(Debug, Parser)]
struct Arguments {
    /// Friends, with one line each.
    #[arg(long, default_value_t = 1_000)]
    friends: u32,
    /// Past payments, each with its receipt, its entry in the books and the locks that are kept.
    #[arg(long, default_value_t = 1_000_000)]
    payments: u32,
    /// Starts of each, of which the median and the worst are printed.
    #[arg(long, default_value_t = 15)]
    starts: usize,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let parent = std::env::current_exe()?.parent().context("no directory")?.to_owned();
    let directory = tempfile::tempdir_in(parent)?;
    let directory = directory.path();
    let version = median(arguments.starts, || {
        let began = Instant::now();
        Command::new(STNODE).arg("--version").stdout(Stdio::null()).status()?;
        Ok(began.elapsed())
    })?;
    println!("a process that does nothing (stnode --version): {}", shown(version));

    std::fs::create_dir(directory.join("trusted"))?;
    stmgr(&["gen-ident", "--output"], &directory.join("node.ident"))?;
    for (name, friends, payments) in [
        ("empty", 0, 0),
        ("friends", arguments.friends, 0),
        ("full", arguments.friends, arguments.payments),
    ] {
        let database = directory.join(format!("{name}.db"));
        let identity = directory.join("node.ident");
        let identity = identity.to_str().context("a path")?;
        stmgr(&["init-node-db", "--idfile", identity, "--output"], &database)?;
        let key = backup::verify(&database)?.public_key;
        let began = Instant::now();
        fill(&database, key, friends, payments)?;
        // Otherwise the first starts would wait until all of it is on the disk.
        std::fs::File::open(&database)?.sync_all()?;
        let size = std::fs::metadata(&database)?.len() >> 20;
        println!(
            "{friends} friends, {payments} past payments: {size} MiB, made in {:.0?}",
            began.elapsed()
        );
        let bare = median(arguments.starts, || bare(&database))?;
        let started = median(arguments.starts, || start(directory, &database))?;
        println!("  SQLite opens it: {}; the node listens: {}", shown(bare), shown(started));
    }
    Ok(())
}

/// Median and worst.
fn median(
    times: usize,
    mut measure: impl FnMut() -> anyhow::Result<Duration>,
) -> anyhow::Result<(Duration, Duration)> {
    let mut found = Vec::new();
    for _ in 0..times.max(1) {
        found.push(measure()?);
    }
    found.sort();
    Ok((found[found.len() / 2], found[found.len() - 1]))
}

fn shown((median, worst): (Duration, Duration)) -> String {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    format!("{:.1} ms (worst {:.1} ms)", ms(median), ms(worst))
}

fn stmgr(arguments: &[&str], output: &Path) -> anyhow::Result<()> {
    let status = Command::new(STMGR).args(arguments).arg(output).stdout(Stdio::null()).status()?;
    if !status.success() {
        bail!("stmgr {} failed", arguments.join(" "));
    }
    Ok(())
}

/// What SQLite takes to open the file and read its schema.
fn bare(database: &Path) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let db = rusqlite::Connection::open(database)?;
    let _: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(began.elapsed())
}

/// Starts a node and stops it again.
fn start(directory: &Path, database: &Path) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let mut node = Command::new(STNODE)
        .args(["--until-stdin-ends", "--laddr", "127.0.0.1:0", "--idfile"])
        .arg(directory.join("node.ident"))
        .arg("--database")
        .arg(database)
        .arg("--trusted")
        .arg(directory.join("trusted"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(node.stdout.take().context("no output")?).read_line(&mut line)?;
    let took = began.elapsed();
    drop(node.stdin.take());
    node.wait()?;
    if !line.starts_with("listening on ") {
        bail!("the node said {line:?}");
    }
    Ok(took)
}

/// Puts friends and past payments into a database, as a node would have left them.
fn fill(database: &Path, own: PublicKey, friends: u32, payments: u32) -> anyhow::Result<()> {
    let mut store = SqliteStore::open(database, &own)?;
    let mut rng = SeededRng::new(1);
    let keys: Vec<_> = (0..friends).map(|_| Identity::random(&mut rng).public_key()).collect();
    let mut lines = Vec::new();
    let mut changes = Vec::new();
    let mut sequence = 0;
    for (number, key) in keys.iter().enumerate() {
        changes.push(friend(&own, *key, number)?);
        changes.push(Change::Line(*key, Currency::fallback(), Some(line(Balance::ZERO))));
        sequence += 1;
        changes.push(entry(sequence, *key, (Balance::ZERO, Balance::ZERO), HistoryEvent::Opened)?);
        lines.push(0_i128);
    }
    store.commit(&changes)?;
    for first in (0..payments).step_by(A_BATCH) {
        changes.clear();
        for number in first..payments.min(first + u32::try_from(A_BATCH)?) {
            let at = usize::try_from(number)? % keys.len();
            lines[at] -= 1;
            sequence += 1;
            let paid = Paid::new(number, own, keys[at]);
            let balances =
                (Balance::new(-1).context("one")?, Balance::new(lines[at]).context("few")?);
            changes.push(Change::Payment(paid.id, paid.row.clone()));
            changes.push(Change::Line(keys[at], Currency::fallback(), Some(line(balances.1))));
            for step in 0..4 {
                let number = u64::from(number) * 4 + step + 1;
                changes.push(Change::Journal(number, JournalRow::Payment(paid.id)));
            }
            changes.push(entry(sequence, keys[at], balances, paid.event())?);
            changes.push(Change::Collected(Box::new(paid.collected(keys[at]))));
        }
        let last = u64::from(first) * 4;
        changes.push(Change::ForgetJournal(last.saturating_sub(JOURNAL)));
        store.commit(&changes)?;
    }
    Ok(())
}

fn friend(own: &PublicKey, key: PublicKey, number: usize) -> anyhow::Result<Change> {
    let info = FriendInfo {
        name: format!("friend{number}").parse()?,
        enabled: true,
        removing: false,
        relays: Vec::new(),
        previous_relays: Vec::new(),
    };
    Ok(Change::NewFriend(key, info, Channel::new(&Ends::new(*own, key))))
}

fn line(balance: Balance) -> LineRow {
    LineRow {
        wanted: None,
        rate: Rate::default(),
        local_proposal: None,
        remote_proposal: None,
        numbers: Some(Numbers { balance, ..Numbers::default() }),
    }
}

fn entry(
    sequence: u64,
    friend: PublicKey,
    (delta, balance): (Balance, Balance),
    event: HistoryEvent,
) -> anyhow::Result<Change> {
    Ok(Change::Entry(Box::new(HistoryEntry {
        sequence,
        time: Timestamp(sequence),
        friend,
        friend_name: "friend".parse()?,
        currency: Currency::fallback(),
        delta,
        balance,
        event,
    })))
}

/// A payment that succeeded over two hops.
struct Paid {
    id: PaymentId,
    row: PaymentRow,
    response: Response,
    locks: [PlainLock; 2],
}

impl Paid {
    fn new(number: u32, own: PublicKey, friend: PublicKey) -> Self {
        let hash = offset_crypto::hash(&number.to_be_bytes());
        let bytes = *hash.as_bytes();
        let mut short = [0; 16];
        short.copy_from_slice(&bytes[..16]);
        let locks = [PlainLock::from_bytes(bytes), PlainLock::from_bytes([7; 32])];
        let invoice_id = InvoiceId::from_bytes(bytes);
        let response = Response {
            request_id: RequestId::from_bytes(short),
            dest_hashed_lock: locks[1].hashed(),
            is_complete: true,
            response_hash: hash,
            signature: Signature::from_bytes([9; 64]),
        };
        let receipt = Receipt {
            response_hash: hash,
            invoice_id,
            currency: Currency::fallback(),
            src_plain_lock: locks[0],
            dest_plain_lock: locks[1],
            is_complete: true,
            dest_payment: Credits(1),
            total_dest_payment: Credits(1),
            signature: Signature::from_bytes([9; 64]),
        };
        let part = Part {
            route: vec![own, friend, own],
            request_id: response.request_id,
            amount: Credits(1),
            fee: Credits::ZERO,
            since: Timestamp(number.into()),
            response: Some(Box::new(response.clone())),
            state: PartState::Collected,
        };
        let attempt =
            Attempt { src_plain_lock: locks[0], decision: Decision::Committed, parts: vec![part] };
        let row = PaymentRow {
            app: Some(own),
            contents: HashResult::from_bytes([3; 32]),
            invoice_id,
            clearing: false,
            spontaneous: false,
            destination: own,
            currency: Currency::fallback(),
            amount: Credits(1),
            expires_at: Some(Timestamp(5)),
            max_fee: Some(Credits(1)),
            created_at: Timestamp(number.into()),
            deadline: Timestamp(number.into()),
            note: Text::cut(""),
            max_parts: 8,
            hold_seconds: 0,
            by_commit: false,
            exclude: Vec::new(),
            searching_since: Timestamp(number.into()),
            attempts: vec![attempt],
            last_failure: None,
            phase: Phase::Succeeded { receipt: Box::new(receipt), fee: Credits::ZERO },
        };
        Self { id: PaymentId::from_bytes(short), row, response, locks }
    }

    fn event(&self) -> HistoryEvent {
        HistoryEvent::Paid {
            payment_id: self.id,
            invoice_id: self.row.invoice_id,
            destination: self.row.destination,
            amount: self.row.amount,
            fee: Credits::ZERO,
            note: Text::cut(""),
        }
    }

    fn collected(&self, friend: PublicKey) -> KeptCollect {
        let [src_plain_lock, dest_plain_lock] = self.locks;
        let request_id = self.response.request_id;
        let collect = Collect { request_id, src_plain_lock, dest_plain_lock };
        KeptCollect {
            friend,
            sender: Side::Local,
            at: self.row.created_at,
            amount: Credits(1),
            collected: Collected::of(Currency::fallback(), &self.response, &collect),
        }
    }
}

const STNODE: &str = env!("CARGO_BIN_EXE_stnode");
const STMGR: &str = env!("CARGO_BIN_EXE_stmgr");
/// Payments in one transaction, while the database is made.
const A_BATCH: usize = 2_000;
/// As many entries as a node keeps of its journal.
const JOURNAL: u64 = 65_536;
