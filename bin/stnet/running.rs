//! `stnet up`, `down` and `status`: a network that stays, and how others find it.
//!
//! Who runs a network holds the lock of its directory. Locks end with their process, so a pid that
//! was written down is never taken for a process that happens to have the same number.

use std::{
    fs::{self, File, TryLockError},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Directory,
    network::Network,
    topology::{Choice, Topology},
};
use crate::manners::{
    Access, Answer,
    answer::{print_line, say},
    daemon::signals,
    files,
    table::{self, Header},
};

/// Arguments of `up`.
#[derive(Debug, Args)]
pub(super) struct Up {
    #[command(flatten)]
    directory: Directory,
    /// line:N, ring:N, star:N (N nodes) or a TOML file with `nodes` and `[[lines]]`; line:3, or what
    /// the directory holds already.
    #[arg(long)]
    topology: Option<Choice>,
}

impl Up {
    /// Starts the network and stays until it is to stop.
    ///
    /// # Errors
    /// When it does not start, or another network is in the directory.
    pub(super) fn run(&self, as_json: bool) -> anyhow::Result<Answer> {
        let directory = &self.directory.dir;
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let Some(_lock) = lock(directory)? else {
            bail!(
                "a network runs in {} already; stop it with `stnet down --dir {0}`, or choose \
                 another directory",
                directory.display()
            );
        };
        let topology = self.topology(directory)?;
        remove(&directory.join(STOP_FILE))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        runtime.block_on(stay(directory, &topology, as_json))
    }

    fn topology(&self, directory: &Path) -> anyhow::Result<Topology> {
        let file = directory.join(TOPOLOGY_FILE);
        let known = if file.exists() { Some(Topology::read(&file)?) } else { None };
        let wanted = self.topology.as_ref().map(Choice::topology).transpose()?;
        let topology = match (known, wanted) {
            (Some(known), Some(wanted)) if known != wanted => bail!(
                "{} holds a network of another topology; choose another directory",
                directory.display()
            ),
            (Some(known), _) => return Ok(known),
            (None, Some(wanted)) => wanted,
            (None, None) => "line:3".parse::<Choice>().map_err(anyhow::Error::msg)?.topology()?,
        };
        files::write(&file, Access::Public, false, &topology.to_toml())?;
        Ok(topology)
    }
}

async fn stay(directory: &Path, topology: &Topology, as_json: bool) -> anyhow::Result<Answer> {
    let signals = signals().context("cannot handle signals")?;
    let mut signals = std::pin::pin!(signals);
    let started = tokio::select! {
        network = Network::start(directory, topology) => Some(network?),
        () = &mut signals => None,
        () = stop_wanted(directory) => None,
    };
    let Some(mut network) = started else { return Ok(Answer::silent()) };
    let running = Running::of(&network);
    let text = toml::to_string(&running).context("cannot write down what runs")?;
    files::write(&directory.join(RUNNING_FILE), Access::Public, true, &text)?;
    let answer = prefixes(&network);
    print_line(&if as_json { format!("{:#}", answer.json()) } else { answer.text().to_owned() })?;
    tokio::select! {
        () = &mut signals => {}
        () = stop_wanted(directory) => {}
        () = watch(&mut network) => {}
    }
    network.stop().await;
    remove(&directory.join(RUNNING_FILE))?;
    remove(&directory.join(STOP_FILE))?;
    Ok(Answer::silent())
}

/// How to talk to each node.
fn prefixes(network: &Network) -> Answer {
    let shown = |path: &Path| path.display().to_string();
    let nodes = network.nodes.iter();
    let lines: Vec<String> = nodes
        .clone()
        .map(|node| {
            format!("{}: stctrl -I {} -T {}", node.name, shown(&node.app), shown(&node.ticket))
        })
        .collect();
    let json: Vec<_> = nodes
        .map(|node| {
            json!({
                "name": node.name.as_str(),
                "public_key": node.client.node().to_string(),
                "idfile": shown(&node.app),
                "ticket": shown(&node.ticket),
            })
        })
        .collect();
    Answer::new(lines.join("\n"), json!({ "nodes": json }))
}

async fn stop_wanted(directory: &Path) {
    let file = directory.join(STOP_FILE);
    while !file.exists() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Says which daemons end by themselves; done when none is left.
async fn watch(network: &mut Network) {
    let mut ended = vec![false; network.daemons.len()];
    while ended.contains(&false) {
        for (daemon, ended) in network.daemons.iter_mut().zip(&mut ended) {
            if !*ended && daemon.has_ended() {
                *ended = true;
                say(&format!("{} has ended; log/{0}.log says why", daemon.name));
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What runs, as written down for `status`.
#[derive(Debug, Serialize, Deserialize)]
struct Running {
    daemons: Vec<RunningDaemon>,
}

#[derive(Debug, Serialize, Deserialize)]
struct RunningDaemon {
    name: String,
    program: String,
    pid: u32,
    addresses: Vec<SocketAddr>,
    metrics: SocketAddr,
}

impl Running {
    fn of(network: &Network) -> Self {
        let daemons = network.daemons.iter().map(|daemon| RunningDaemon {
            name: daemon.name.clone(),
            program: daemon.program.name().to_owned(),
            pid: daemon.pid().unwrap_or(0),
            addresses: daemon.addresses.clone(),
            metrics: daemon.metrics,
        });
        Self { daemons: daemons.collect() }
    }
}

/// Stops the network of a directory.
pub(super) fn down(directory: &Path) -> anyhow::Result<Answer> {
    if !is_running(directory)? {
        return Ok(nothing_runs(directory));
    }
    files::write(&directory.join(STOP_FILE), Access::Public, true, "")?;
    let deadline = Instant::now() + LONGEST_DOWN;
    while is_running(directory)? {
        if deadline < Instant::now() {
            bail!(
                "the network in {} does not stop; end the `stnet up` that started it",
                directory.display()
            );
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(Answer::silent())
}

/// Says what runs in a directory.
pub(super) fn status(directory: &Path) -> anyhow::Result<Answer> {
    let file = directory.join(RUNNING_FILE);
    if !is_running(directory)? {
        return Ok(nothing_runs(directory));
    }
    if !file.exists() {
        let text = format!("The network in {} is starting.", directory.display());
        return Ok(Answer::new(text, json!({ "running": true, "daemons": [] })));
    }
    let (_, text) = files::read_limited(&file)?;
    let running: Running =
        toml::from_str(&text).with_context(|| format!("cannot read {}", file.display()))?;
    let (mut rows, mut values) = (Vec::new(), Vec::new());
    for daemon in running.daemons {
        let listens = daemon.addresses.iter().all(listens);
        let addresses: Vec<String> = daemon.addresses.iter().map(ToString::to_string).collect();
        let state = if listens { "running" } else { "ended" };
        values.push(json!({
            "name": daemon.name, "program": daemon.program, "pid": daemon.pid,
            "addresses": addresses, "metrics": format!("http://{}/metrics", daemon.metrics),
            "state": state,
        }));
        let pid = daemon.pid.to_string();
        rows.push([daemon.name, daemon.program, pid, addresses.join("\n"), state.to_owned()]);
    }
    let titles = ["name", "program", "pid", "address", "state"];
    let json = json!({ "running": true, "daemons": values });
    Ok(Answer::new(table::draw(Header::Plain, titles, rows), json))
}

fn nothing_runs(directory: &Path) -> Answer {
    let text = format!("No network runs in {}.", directory.display());
    Answer::new(text, json!({ "running": false, "daemons": [] }))
}

fn listens(address: &SocketAddr) -> bool {
    TcpStream::connect_timeout(address, LONGEST_CONNECT).is_ok()
}

/// Takes the lock of a directory, or `None` when another process has it.
fn lock(directory: &Path) -> anyhow::Result<Option<File>> {
    let path = lock_path(directory);
    let context = || format!("cannot lock {}", path.display());
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(context)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).with_context(context),
    }
}

fn is_running(directory: &Path) -> anyhow::Result<bool> {
    Ok(lock_path(directory).exists() && lock(directory)?.is_none())
}

fn lock_path(directory: &Path) -> PathBuf {
    directory.join("lock")
}

fn remove(file: &Path) -> anyhow::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", file.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

const TOPOLOGY_FILE: &str = "topology.toml";
const RUNNING_FILE: &str = "running.toml";
const STOP_FILE: &str = "stop";
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LONGEST_DOWN: Duration = Duration::from_secs(30);
const LONGEST_CONNECT: Duration = Duration::from_millis(500);
