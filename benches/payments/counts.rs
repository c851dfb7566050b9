//! What the daemons have used so far: processors, commits, rows, bytes.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, time::Duration};

use anyhow::Context as _;
use offset::stnet::{network::Network, process::Program};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Of one moment; the difference of two is what happened between them.
pub(crate) struct Counts {
    /// Of the processors, by daemon; the load generator is the last.
    pub(crate) cpu: Vec<(String, Duration)>,
    /// Of all nodes' databases.
    pub(crate) commits: f64,
    pub(crate) rows: f64,
    /// Through the relay.
    pub(crate) relayed: f64,
    /// By all daemons to disks.
    pub(crate) written: f64,
}

impl Counts {
    pub(crate) async fn take(network: &Network) -> anyhow::Result<Self> {
        let mut counts =
            Self { cpu: Vec::new(), commits: 0.0, rows: 0.0, relayed: 0.0, written: 0.0 };
        for daemon in &network.daemons {
            let pid = daemon.pid().context("a daemon has stopped")?.to_string();
            counts.cpu.push((daemon.name.clone(), cpu_time(&pid)));
            counts.written += written_bytes(&pid);
            let page = scrape(daemon.metrics).await?;
            let of = |name: &str| page.get(name).copied().unwrap_or(0.0);
            counts.commits += of("offset_node_commit_seconds_count");
            counts.rows += of("offset_node_rows_total");
            counts.relayed += of("offset_relay_bytes_total");
        }
        counts.cpu.push(("load".to_owned(), cpu_time("self")));
        Ok(counts)
    }

    /// What was used since `before`, by each of so many payments.
    pub(crate) fn since(mut self, before: &Self, payments: usize) -> Self {
        let count = payments.max(1);
        for ((_, cpu), (_, earlier)) in self.cpu.iter_mut().zip(&before.cpu) {
            *cpu = cpu.saturating_sub(*earlier) / u32::try_from(count).unwrap_or(u32::MAX);
        }
        #[expect(clippy::cast_precision_loss, reason = "it is printed with three digits")]
        let share = |now: &mut f64, earlier: f64| *now = (*now - earlier) / count as f64;
        share(&mut self.commits, before.commits);
        share(&mut self.rows, before.rows);
        share(&mut self.relayed, before.relayed);
        share(&mut self.written, before.written);
        self
    }
}

/// In ticks of 10 ms.
fn cpu_time(pid: &str) -> Duration {
    let time = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, which may hold anything, ends with the last parenthesis; then fields 3 and on.
        let (_, fields) = stat.rsplit_once(')')?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        Some(Duration::from_millis(10 * ticks.sum::<Result<u64, _>>().ok()?))
    };
    time().unwrap_or_default()
}

fn written_bytes(pid: &str) -> f64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0.0)
}

/// A daemon's counters by name; those told apart by a label are added up.
async fn scrape(address: SocketAddr) -> anyhow::Result<BTreeMap<String, f64>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await?;
    let mut counters = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("offset_")) {
        let (name, value) = line.rsplit_once(' ').context("a counter without a value")?;
        let name = name.split('{').next().unwrap_or(name);
        *counters.entry(name.to_owned()).or_default() += value.parse::<f64>()?;
    }
    Ok(counters)
}

/// Resident memory of each daemon, and the database of each node with its log.
pub(crate) fn sizes(when: &str, network: &Network, directory: &Path) -> anyhow::Result<()> {
    println!("{when}:");
    for daemon in &network.daemons {
        let pid = daemon.pid().context("a daemon has stopped")?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.map_or("not known here", str::trim);
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        let database = if daemon.program == Program::Node {
            let size = |file: &str| {
                let path = directory.join(&daemon.name).join(file);
                fs::metadata(path).map_or(0, |metadata| metadata.len() / 1024)
            };
            format!(", database {} kB, its log {} kB", size("node.db"), size("node.db-wal"))
        } else {
            String::new()
        };
        println!("  {:<8} resident {resident}, {descriptors} descriptors{database}", daemon.name);
    }
    Ok(())
}
