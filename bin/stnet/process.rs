//! The daemons as processes.

use std::{
    ffi::OsString,
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{stindex, stnode, strelay};

/// Which daemon a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `stnode`.
    Node,
    /// `strelay`.
    Relay,
    /// `stindex`.
    Index,
}

impl Program {
    /// Its name as a program.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Node => "stnode",
            Self::Relay => "strelay",
            Self::Index => "stindex",
        }
    }

    /// How many addresses it listens on, besides that of its counters.
    const fn ports(self) -> usize {
        match self {
            Self::Node | Self::Relay => 1,
            Self::Index => 2,
        }
    }
}

/// Becomes a daemon when the arguments say so, and gives its exit code.
pub fn be_daemon(arguments: &[OsString]) -> Option<ExitCode> {
    let [_, command, daemon @ ..] = arguments else { return None };
    if command != HIDDEN_COMMAND {
        return None;
    }
    let arguments = daemon.to_vec();
    match daemon.first()?.to_str()? {
        "stnode" => Some(stnode::main(arguments)),
        "strelay" => Some(strelay::main(arguments)),
        "stindex" => Some(stindex::main(arguments)),
        _ => None,
    }
}

/// A running daemon. It stops when this is dropped, at the latest.
#[derive(Debug)]
pub struct Daemon {
    /// What it is in this network.
    pub name: String,
    /// Which program it is.
    pub program: Program,
    /// Where it listens for the network, in the order in which it said so.
    pub addresses: Vec<SocketAddr>,
    /// Where its counters are read (`GET /metrics`).
    pub metrics: SocketAddr,
    child: Child,
}

impl Daemon {
    /// Starts a daemon and waits until it listens. What it says on stderr goes to `log`.
    ///
    /// # Errors
    /// When it ends or does not listen in time; the error ends with what it said.
    pub async fn start(
        name: &str,
        program: Program,
        arguments: &[(&str, PathBuf)],
        log: &Path,
    ) -> anyhow::Result<Self> {
        let said = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let myself = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(myself);
        command.arg(HIDDEN_COMMAND).arg(program.name()).arg("--until-stdin-ends");
        command.args(["--metrics", "127.0.0.1:0"]);
        for (flag, value) in arguments {
            command.arg(flag).arg(value);
        }
        // What is set for daemons outside of this network would be for all of its own.
        for (name, _) in std::env::vars_os() {
            if PREFIXES.iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(said).kill_on_drop(true);
        // Ctrl-C is for this process; it stops the daemons in order.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let addresses = timeout(LONGEST_START, listening(&mut child, program.ports() + 1))
            .await
            .unwrap_or_else(|_| Err(anyhow!("it does not listen")));
        match addresses {
            Ok(mut addresses) => {
                // The last that a daemon says.
                let metrics = addresses.pop().context("it shows no counters")?;
                Ok(Self { name: name.to_owned(), program, addresses, metrics, child })
            }
            Err(error) => {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                let last = said.lines().last().unwrap_or("it said nothing");
                Err(error.context(format!("{name} did not start: {last}")))
            }
        }
    }

    /// The process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)) | Err(_))
    }

    /// Asks it to stop and waits until it has, with force when it takes too long.
    pub async fn stop(mut self) {
        drop(self.child.stdin.take());
        if timeout(LONGEST_STOP, self.child.wait()).await.is_err() {
            log::warn!("{} did not stop by itself and is killed", self.name);
            // If even this fails there is nothing left to stop.
            let _ = self.child.kill().await;
        }
    }
}

async fn listening(child: &mut Child, ports: usize) -> anyhow::Result<Vec<SocketAddr>> {
    let stdout = child.stdout.take().context("it has no output")?;
    let mut lines = BufReader::new(stdout).lines();
    let mut addresses = Vec::new();
    while addresses.len() < ports {
        let line = lines.next_line().await?.context("it ended")?;
        let address = line.strip_prefix("listening on ").and_then(|rest| rest.split(' ').next());
        addresses.push(address.context("it does not say where it listens")?.parse()?);
    }
    Ok(addresses)
}

const HIDDEN_COMMAND: &str = "daemon";
/// With what the names of the daemons' variables begin.
const PREFIXES: [&[u8]; 3] = [b"STNODE_", b"STRELAY_", b"STINDEX_"];
const LONGEST_START: Duration = Duration::from_secs(20);
const LONGEST_STOP: Duration = Duration::from_secs(10);
