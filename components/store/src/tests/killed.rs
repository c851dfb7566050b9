//! A process that is killed in the middle of commits loses nothing that it reported durable.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use offset_funder::{
    Change,
    state::{Settings, SpentKey},
};
use offset_proto::{Credits, Currency};

use super::{made, node, open};
use crate::{Error, SqliteStore, Store as _, Writer};

const DATABASE: &str = "OFFSET_STORE_TEST_DATABASE";

/// The child: does nothing unless the test below starts it. Each batch writes its number in two
/// places, and the number is printed when it is durable.
#[test]
fn child_writes_until_it_is_killed() {
    let Some(path) = env::var_os(DATABASE).map(PathBuf::from) else { return };
    let mut store = SqliteStore::open(&path, &node()).unwrap();
    let mut number = u32::try_from(store.load().unwrap().spent.len()).unwrap();
    let reader = store.reader().unwrap();
    let mut writer = Writer::spawn(store, reader, |done: Result<u32, Error>| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "durable {}", done.unwrap()).unwrap();
        out.flush().unwrap();
    })
    .unwrap();
    loop {
        number += 1;
        while writer.submit(number, changes(number)).is_err() {
            std::thread::yield_now();
        }
    }
}

fn changes(number: u32) -> Vec<Change> {
    let default_currency: Currency = number.to_string().parse().unwrap();
    let key = SpentKey { app: node(), currency: Currency::fallback(), hour: number.into() };
    vec![
        Change::Spent(key, Some(Credits(1))),
        Change::Settings(Settings { default_currency, ..Settings::default() }),
    ]
}

fn start(path: &std::path::Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "tests::killed::child_writes_until_it_is_killed", "--nocapture"])
        .env(DATABASE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn nothing_durable_is_lost() {
    let (_directory, path) = made();
    for round in 1..=4u32 {
        let mut child = start(&path);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut durable = || loop {
            // The test harness prints before the first number, on the same line.
            let line = lines.next().map(Result::unwrap)?;
            if let Some((_, number)) = line.split_once("durable ") {
                return number.parse::<u32>().ok();
            }
        };
        let mut reported = 0;
        for _ in 0..20 * round {
            reported = durable().unwrap();
        }
        let locked = SqliteStore::open(&path, &node()).unwrap_err();
        let pid = child.id();
        assert!(matches!(&locked, Error::Locked { pid: Some(found), .. } if *found == pid));
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had printed before it died counts as well.
        while let Some(number) = durable() {
            reported = number;
        }
        let state = open(&path).load().unwrap();
        let kept = u32::try_from(state.spent.len()).unwrap();
        assert!(reported <= kept, "{reported} was reported, {kept} is there");
        assert_eq!(state.settings.default_currency.as_str(), kept.to_string(), "whole batches");
    }
}
