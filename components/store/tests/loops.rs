//! The crash and I/O loops of the funder's tests over real databases in a real process: at its n-th
//! call to write, cut or sync a file the process is killed, loses power, tears what it writes, or its
//! disk fails. Afterwards, in a new process where the first one died, everything settles as it must.
//!
//! An ordinary run plays a few places of every scenario; `OFFSET_LOOPS=1` plays each, `OFFSET_LOOPS=5`
//! each fifth, and `OFFSET_LOOP="direct payment" OFFSET_LOOP_MODE=torn OFFSET_LOOP_AT=7` one again.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, and picks out what it looks at"
)]

#[path = "../../funder/tests/loops/scenarios.rs"]
mod scenarios;
#[path = "../../funder/tests/support/mod.rs"]
mod support;

use std::{
    collections::BTreeSet,
    env, fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use offset_crypto::HashResult;
use offset_funder::{Change, state::State};
use offset_store::{SqliteStore, Store as _, backup, init};
use scenarios::{INVOICES, PAYMENTS, SCENARIOS, Scenario, Script};
use support::{
    Net,
    faults::{Disks, Fate, Opened},
};
use tempfile::TempDir;

const MODES: [&str; 6] = ["kill", "torn", "power", "once", "ever", "full"];
const CHILD: &str = "OFFSET_LOOP_CHILD";

/// Databases of all nodes of a network.
struct Databases {
    directory: PathBuf,
    keys: Vec<offset_crypto::PublicKey>,
    stores: Vec<Option<SqliteStore>>,
    stops: u32,
}

/// After how many stops somebody mends the disk.
const PATIENCE: u32 = 3;

fn database(directory: &Path, node: usize) -> PathBuf {
    directory.join(format!("{node}.db"))
}

impl Disks for Databases {
    fn write(&mut self, node: usize, changes: &[Change]) -> Fate {
        let store = self.stores[node].as_mut().unwrap();
        match store.commit(changes) {
            Ok(()) => Fate::Durable,
            Err(error) => {
                let again = store.commit(changes).unwrap_err().to_string();
                assert!(again.contains("restart the node"), "nothing more is written: {again}");
                println!("stops: {error}");
                self.stores[node] = None;
                self.stops += 1;
                if self.stops == PATIENCE {
                    fs::write(self.directory.join("mended"), "").unwrap();
                }
                Fate::Lost
            }
        }
    }

    fn open(&mut self, node: usize) -> Opened {
        let opened = SqliteStore::open(&database(&self.directory, node), &self.keys[node]);
        let started = opened.and_then(|mut store| {
            store.count_start(0)?;
            let mut state = store.load()?;
            state.settled = settled(&database(&self.directory, node));
            self.stores[node] = Some(store);
            Ok(state)
        });
        match started {
            Ok(state) => Opened::Found(Box::new(state)),
            Err(error) => {
                println!("does not start: {error}");
                self.stops += 1;
                if self.stops == PATIENCE {
                    fs::write(self.directory.join("mended"), "").unwrap();
                }
                Opened::Fails
            }
        }
    }
}

/// Databases as they are when a scenario begins.
fn set_up(scenario: &Scenario, directory: &Path) {
    let (net, _) = (scenario.set_up)();
    for (node, it) in net.nodes.iter().enumerate() {
        let (path, key) = (database(directory, node), it.identity.public_key());
        init(&path, &key).unwrap();
        let mut store = SqliteStore::open(&path, &key).unwrap();
        store.count_start(0).unwrap();
        store.commit(&it.log).unwrap();
    }
}

/// The network of a scenario over what the databases hold.
fn over_databases(scenario: &Scenario, directory: &Path) -> Script {
    let (mut net, pairs) = (scenario.set_up)();
    let keys: Vec<_> = net.nodes.iter().map(|node| node.identity.public_key()).collect();
    let stores = keys.iter().map(|_| None).collect();
    let mut disks = Databases { directory: directory.to_owned(), keys, stores, stops: 0 };
    for node in 0..net.nodes.len() {
        let mut opened = None;
        // The first start may fail as any other.
        for _ in 0..=PATIENCE {
            if let Opened::Found(state) = disks.open(node) {
                opened = Some(state);
                break;
            }
        }
        let state = *opened.expect("once the disk is mended, it starts");
        known(&mut net, node, disks.stores[node].as_ref().unwrap());
        load(&mut net, node, state);
    }
    net.disks = Some(Box::new(disks));
    Script { net, pairs }
}

/// What was settled, which a node looks up piece by piece.
fn settled(database: &Path) -> BTreeSet<HashResult> {
    let db = rusqlite::Connection::open(database).unwrap();
    let mut ids = db.prepare("SELECT id FROM settled").unwrap();
    let ids = ids.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    ids.map(|id| HashResult::try_from(&id.unwrap()[..]).unwrap()).collect()
}

/// What a node looks up of payments and invoices that have ended.
fn known(net: &mut Net, node: usize, store: &SqliteStore) {
    let it = &mut net.nodes[node];
    for id in PAYMENTS {
        let row = store.payment(&id).unwrap().filter(|row| row.is_ended());
        it.archive.extend(row.map(|row| (id, row)));
    }
    let reader = store.reader().unwrap();
    for nonce in INVOICES {
        let row = reader.invoice_by_nonce(&nonce).unwrap().filter(|row| row.is_final());
        it.invoice_archive.extend(row.map(|row| (row.invoice.id(), row)));
    }
}

fn load(net: &mut Net, node: usize, state: State) {
    net.nodes[node].books.torn = true;
    net.nodes[node].disk = state;
    net.crash(node, false);
}

/// The child: does nothing unless a test below starts it.
#[test]
fn child_plays_a_scenario() {
    let Some(directory) = env::var_os(CHILD).map(PathBuf::from) else { return };
    let name = env::var("OFFSET_LOOP").unwrap();
    match name.as_str() {
        "first opening" => return first_opening(&directory),
        "backup" => return back_up(&directory),
        _ => {}
    }
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).unwrap();
    let mut script = over_databases(scenario, &directory);
    if directory.join("fired").exists() {
        // It is a minute later.
        script.net.pass(60_000);
    }
    (scenario.play)(&mut script);
    script.finish();
    script.net.disks = None;
    fs::write(directory.join("mended"), "").unwrap();
    for node in 0..script.net.nodes.len() {
        let key = script.net.key(node);
        let open = || SqliteStore::open(&database(&directory, node), &key);
        // The one error may come only now.
        let mut store = open().or_else(|_| open()).unwrap();
        store.check_books().unwrap();
        let (stored, held) = (store.load().unwrap(), &script.net.nodes[node].disk);
        assert_eq!(support::rows(&stored), support::rows(held), "database {node}");
        assert_eq!(settled(&database(&directory, node)), held.settled, "database {node}");
    }
    (scenario.check)(&script.net, !directory.join("fired").exists());
    script.check_lines_work();
}

/// What `stmgr init-node-db` and a first start do. What an earlier try left is moved away.
fn first_opening(directory: &Path) {
    let (path, key) = (database(directory, 0), Net::new(1, 1).key(0));
    for _ in 0..=PATIENCE {
        let opened = SqliteStore::open(&path, &key).and_then(|mut store| {
            store.count_start(0)?;
            store.commit(&[Change::Settings(offset_funder::state::Settings::default())])?;
            store.load()
        });
        match opened {
            Ok(_) => return,
            Err(error) => {
                println!("{error}");
                for entry in fs::read_dir(directory).unwrap() {
                    let name = entry.unwrap().file_name().to_string_lossy().into_owned();
                    if name.contains(".db") {
                        fs::remove_file(directory.join(name)).unwrap();
                    }
                }
                if let Err(error) = init(&path, &key) {
                    println!("{error}");
                    fs::write(directory.join("mended"), "").unwrap();
                }
            }
        }
    }
    panic!("the database is never made");
}

/// What `stmgr backup` does while a node has the database. The copy is whole, or is refused.
fn back_up(directory: &Path) {
    let key = Net::chain(2, 1_000, 1).key(0);
    let path = database(directory, 0);
    let open = || SqliteStore::open(&path, &key);
    let mended = |_| {
        fs::write(directory.join("mended"), "").unwrap();
        open()
    };
    let mut store = open().or_else(mended).unwrap();
    let wanted = support::rows(&store.load().unwrap());
    let copy = directory.join("copy.db");
    let check = || match backup::verify(&copy) {
        Ok(contents) => support::rows(&contents.state) == wanted,
        Err(error) => {
            println!("{error}");
            false
        }
    };
    if copy.exists() {
        // Whatever an earlier try left is the whole, or shows that it is not.
        check();
        fs::remove_file(&copy).unwrap();
    }
    for _ in 0..=PATIENCE {
        fs::write(&copy, "").unwrap();
        let copied = backup::copy(&path, &copy);
        if copied.is_ok() {
            assert!(check(), "a copy that was made is the whole");
            break;
        }
        println!("{}", copied.unwrap_err());
        fs::write(directory.join("mended"), "").unwrap();
        fs::remove_file(&copy).unwrap();
    }
    assert!(copy.exists(), "the copy is never made");
    assert_eq!(support::rows(&store.load().unwrap()), wanted, "the original is as it was");
}

/// Compiles the disk that fails.
fn shim(directory: &Path) -> PathBuf {
    let (source, library) = ("tests/loops/faults.c", directory.join("faults.so"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let compiled = Command::new("cc")
        .args(["-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .status();
    assert!(compiled.unwrap().success(), "the C compiler that SQLite needs is there");
    library
}

struct Loop {
    name: &'static str,
    /// The databases before anything fails.
    base: TempDir,
    shim: PathBuf,
    /// How many calls there are when nothing fails.
    calls: u64,
}

/// A directory in memory, where there is one: every sync would cost time, and here it is the shim that
/// loses what was not synced.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

impl Loop {
    fn new(name: &'static str, shim: &Path) -> Self {
        let base = directory();
        match SCENARIOS.iter().find(|scenario| scenario.name == name) {
            Some(scenario) => set_up(scenario, base.path()),
            None if name == "backup" => {
                set_up(SCENARIOS.iter().find(|it| it.name == "hold").unwrap(), base.path());
            }
            None => {}
        }
        let mut it = Self { name, base, shim: shim.to_owned(), calls: 0 };
        let directory = it.fresh();
        let (status, output) = it.child(directory.path(), Some(("kill", u64::MAX >> 1)));
        assert!(status.success(), "{name} passes when nothing fails: {output}");
        let calls = fs::read_to_string(directory.path().join("calls")).unwrap();
        it.calls = calls.parse().unwrap();
        assert!(3 < it.calls, "{name} writes hardly anything");
        it
    }

    fn fresh(&self) -> TempDir {
        let directory = directory();
        for entry in fs::read_dir(self.base.path()).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, directory.path().join(path.file_name().unwrap())).unwrap();
        }
        directory
    }

    fn child(&self, directory: &Path, fault: Option<(&str, u64)>) -> (ExitStatus, String) {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "child_plays_a_scenario", "--nocapture"]);
        command.env(CHILD, directory).env("OFFSET_LOOP", self.name);
        if let Some((mode, at)) = fault {
            command.env("LD_PRELOAD", &self.shim).env("OFFSET_FAULT_DIR", directory);
            command.env("OFFSET_FAULT_MODE", mode).env("OFFSET_FAULT_AT", at.to_string());
            let scenario = SCENARIOS.iter().find(|scenario| scenario.name == self.name);
            if let Some(victim) = scenario.and_then(|scenario| scenario.victim) {
                command.env("OFFSET_FAULT_ONLY", format!("{victim}.db"));
            }
        }
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status, String::from_utf8_lossy(&said).into_owned())
    }

    /// One failure, and what follows.
    fn play(&self, mode: &str, at: u64) {
        let directory = self.fresh();
        let again =
            format!("OFFSET_LOOP={:?} OFFSET_LOOP_MODE={mode} OFFSET_LOOP_AT={at}", self.name);
        let (status, output) = self.child(directory.path(), Some((mode, at)));
        let fired = directory.path().join("fired").exists();
        let dies = ["kill", "torn", "power"].contains(&mode);
        if fired && dies {
            assert_eq!(status.signal(), Some(9), "{again}: {output}");
            let (status, output) = self.child(directory.path(), None);
            assert!(status.success(), "{again}, then: {output}");
        } else {
            assert!(status.success(), "{again}: {output}");
        }
        // Calls before it are the same each time, so that it came.
        assert!(fired || self.calls <= at || !dies, "{again} did not come");
    }
}

#[test]
fn databases_survive_a_failure_at_every_call() {
    let variable = |name: &str| env::var(name).ok();
    if env::var_os(CHILD).is_some() {
        return;
    }
    let (name, mode) = (variable("OFFSET_LOOP"), variable("OFFSET_LOOP_MODE"));
    let at: Option<u64> = variable("OFFSET_LOOP_AT").map(|at| at.parse().unwrap());
    let step = variable("OFFSET_LOOPS").map(|step| step.parse::<u64>().unwrap());
    let built = directory();
    let shim = shim(built.path());
    let names = SCENARIOS.iter().map(|scenario| scenario.name).chain(["first opening", "backup"]);
    let mut played = 0;
    for (number, scenario) in names.enumerate() {
        if name.as_deref().is_some_and(|name| name != scenario) {
            continue;
        }
        let it = Loop::new(scenario, &shim);
        for (row, wanted) in MODES.iter().enumerate() {
            if mode.as_deref().is_some_and(|mode| mode != *wanted) {
                continue;
            }
            let places: Vec<u64> = match (at, step) {
                (Some(at), _) => vec![at],
                (None, Some(step)) => {
                    (1..=it.calls).step_by(usize::try_from(step).unwrap()).collect()
                }
                // One somewhere in each part, another in each mode; of the modes every other.
                (None, None) if (row + number).is_multiple_of(3) => {
                    let share = it.calls / 7;
                    vec![1 + share * (1 + u64::try_from(row).unwrap())]
                }
                (None, None) => Vec::new(),
            };
            for at in places {
                it.play(wanted, at);
                played += 1;
            }
        }
        println!("{scenario}: {} calls, {played} failures so far", it.calls);
    }
    println!("{played} failures played");
}
