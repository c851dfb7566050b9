//! What the system tests share: a directory of their own, the built programs, daemons that do not
//! outlive the test, ports, waiting, and transcripts.
//!
//! ```text
//!   let sandbox = Sandbox::new();
//!   sandbox.run("stmgr gen-ident --output a.ident").success();
//!   let relay = sandbox.daemon("strelay --idfile a.ident --laddr 127.0.0.1:0", 1);
//! ```
#![allow(unreachable_pub, reason = "each system test is a crate of its own")]
#![allow(dead_code, reason = "each system test uses a part of this")]
#![allow(unused_imports, reason = "each system test uses a part of this")]

mod daemon;
mod network;
pub mod pair;
pub mod payments;
mod port;

pub mod transcript;
pub mod trio;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

pub use self::{daemon::Daemon, network::Network, port::Port};

/// How long anything may take that a test waits for. Generous, as machines are busy; nothing waits
/// longer than it has to.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A directory in which commands are run, with the programs that were just built.
#[derive(Debug)]
pub struct Sandbox {
    root: TempDir,
    inner: PathBuf,
    environment: BTreeMap<String, String>,
}

/// What a command that has ended said.
#[derive(Debug)]
pub struct Ran {
    /// The command.
    pub command: String,
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Sandbox {
    /// An empty directory.
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().to_owned();
        Self { root, inner, environment: BTreeMap::new() }
    }

    /// The directory in which commands run.
    pub fn path(&self) -> &Path {
        &self.inner
    }

    /// A file, relative to the directory in which commands run.
    pub fn file(&self, name: &str) -> PathBuf {
        self.inner.join(name)
    }

    /// What a text file holds.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap()
    }

    /// Writes a text file.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.file(name), text).unwrap();
    }

    /// Goes into a subdirectory.
    pub fn enter(&mut self, name: &str) {
        self.inner = self.inner.join(name);
        assert!(self.inner.is_dir(), "{name} is a directory");
    }

    /// Sets a variable for all following commands.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    /// Runs a line of shell to its end.
    pub fn run(&self, line: &str) -> Ran {
        let output = self.shell(line).output().unwrap();
        Ran {
            command: line.to_owned(),
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Starts a daemon and waits until it listens on `ports` addresses.
    pub fn daemon(&self, line: &str, ports: usize) -> Daemon {
        // Without `exec` the shell would be the process that is ended, and not the daemon.
        Daemon::start(self.shell(&format!("exec {line}")), line, ports)
    }

    /// Starts a network with `stnet` in the directory `net`, and waits until it is set up.
    pub fn network(&self, topology: &str) -> Network {
        Network::start(self, topology)
    }

    /// The public key of an identity file.
    pub fn public_key(&self, identity: &str) -> String {
        let shown = self.run(&format!("stmgr show {identity} --json")).success();
        let json: serde_json::Value = serde_json::from_str(&shown).unwrap();
        json["public_key"].as_str().unwrap().to_owned()
    }

    fn shell(&self, line: &str) -> Command {
        let programs = Path::new(env!("CARGO_BIN_EXE_stmgr")).parent().unwrap();
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-c", line])
            .current_dir(&self.inner)
            .env("PATH", format!("{}:{path}", programs.display()))
            .env_remove("RUST_LOG")
            .stdin(Stdio::null());
        for name in ["OFFSET_IDFILE", "OFFSET_TICKET", "OFFSET_CURRENCY", "OFFSET_CONFIG"] {
            command.env_remove(name);
        }
        // The settings of whoever runs the tests are not for them.
        command.env("XDG_CONFIG_HOME", self.root.path().join(".config"));
        command.envs(&self.environment);
        command
    }
}

impl Ran {
    /// Whether the command succeeded and printed exactly this (lines without the last line end),
    /// and nothing on stderr.
    pub fn prints(&self, text: &str) -> bool {
        let end = if text.is_empty() { "" } else { "\n" };
        self.code == Some(0) && self.stderr.is_empty() && self.stdout == format!("{text}{end}")
    }

    /// Checks that the command succeeded; gives what it printed.
    #[track_caller]
    pub fn success(self) -> String {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.stdout
    }

    /// Checks that the command failed with this exit code, with one sentence on stderr that has
    /// all of these parts and nothing that only programmers read, and nothing on stdout.
    #[track_caller]
    pub fn failure(self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert_eq!(self.stdout, "", "{self:#?}");
        for part in parts {
            assert!(self.stderr.contains(part), "no {part:?} in {self:#?}");
        }
        for debug in ["Err(", "Some(", "None", "Error {", "panicked", "os error 0"] {
            assert!(!self.stderr.contains(debug), "{debug:?} in {self:#?}");
        }
        if code == 1 {
            assert_eq!(self.stderr.trim_end().lines().count(), 1, "{self:#?}");
            assert!(self.stderr.starts_with("error: "), "{self:#?}");
        }
    }
}

/// Looks again and again until `look` gives a value; fails with what it said last.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match look() {
            Ok(value) => return value,
            Err(last) => assert!(Instant::now() < deadline, "{what}: {last}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
