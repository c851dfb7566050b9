//! Payments over real daemons on loopback: a chain of three nodes with databases on disk, a relay
//! and two index servers, every daemon a process of its own.
//!
//! `cargo bench --bench payments -- --help`
//!
//! It prints and asserts nothing. What a payment takes stands beside what this machine's disk takes
//! for one sync, measured in the same run.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::{
    ffi::OsString,
    fs,
    io::Write as _,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use clap::Parser;
use futures::{StreamExt as _, stream::FuturesUnordered};
use offset::stnet::{
    network::Network,
    process::{Program, be_daemon},
    topology::Choice,
};
use offset_app::AppClient;
use offset_crypto::{PaymentId, PublicKey, SystemRng};
use offset_proto::{
    Credits, Text,
    app::{PayRequest, PaymentStatus, PaymentTarget},
};

/// Measures payments over a chain of real daemons.
#[derive(Debug, Parser)]
struct Arguments {
    /// Payments one after the other, for the latency of a single one.
    #[arg(long, default_value_t = 200)]
    single: usize,
    /// How many payments to keep under way; one run for each.
    #[arg(long, value_delimiter = ',', default_value = "1,16,128,512,1024")]
    in_flight: Vec<usize>,
    /// How long each of these runs lasts, in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// After all of that, run until so many payments were made in all, and show what memory and
    /// databases have become.
    #[arg(long, default_value_t = 10_000)]
    total: usize,
    /// Nodes in the chain.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Where the databases are; a temporary directory beside the build by default.
    #[arg(long)]
    dir: Option<std::path::PathBuf>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = be_daemon(&arguments) {
        return code;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let run = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(measure(&Arguments::parse())));
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let parent = std::env::current_exe()?.parent().context("no directory")?.to_owned();
    let temporary = tempfile::tempdir_in(parent)?;
    let directory = arguments.dir.as_deref().unwrap_or(temporary.path());
    let sync = sync_time(directory)?;
    println!("one sync of 4 KiB on this disk: {} us (median of {SYNCS})", sync.as_micros());

    let pattern: Choice =
        format!("line:{}", arguments.nodes).parse().map_err(anyhow::Error::msg)?;
    let mut topology = pattern.topology()?;
    for line in &mut topology.lines {
        line.max_debt = Credits(1 << 60);
    }
    let network = Network::start(directory, &topology).await?;
    let load = Load {
        buyer: &network.nodes[0].client,
        seller: network.nodes[arguments.nodes - 1].client.node(),
    };
    sizes("idle", &network, directory)?;

    let mut paid = single(&load, arguments, sync).await?;
    println!("\n  in flight   payments/s    median       p99   payments a sync   CPU a payment");
    for in_flight in &arguments.in_flight {
        paid += sustained(&load, &network, *in_flight, (arguments.seconds, sync)).await?;
    }
    if paid < arguments.total {
        println!("\nrunning on to {} payments in all", arguments.total);
        while paid < arguments.total {
            let (times, _) =
                load.run(128, Until::Count((arguments.total - paid).min(5_000))).await?;
            paid += times.len();
        }
    }
    println!();
    sizes(&format!("after {paid} payments"), &network, directory)?;
    network.stop().await;
    Ok(())
}

/// One payment at a time, beside the syncs that it cannot do without: the request, the response,
/// the commit and the collect are each made durable at every node that they reach, the last of them
/// at the buyer too.
async fn single(load: &Load<'_>, arguments: &Arguments, sync: Duration) -> anyhow::Result<usize> {
    let (times, _) = load.run(1, Until::Count(arguments.single)).await?;
    let hops = u32::try_from(arguments.nodes - 1)?;
    let syncs = 4 * hops + 1;
    let least = sync * syncs;
    println!(
        "\none payment: median {} us, p99 {} us; {syncs} commits one after the other, {} us of \
         syncs: {:.1} times that",
        percentile(&times, 50).as_micros(),
        percentile(&times, 99).as_micros(),
        least.as_micros(),
        percentile(&times, 50).as_secs_f64() / least.as_secs_f64(),
    );
    Ok(times.len())
}

/// Keeps so many payments under way for so many seconds.
async fn sustained(
    load: &Load<'_>,
    network: &Network,
    in_flight: usize,
    (seconds, sync): (u64, Duration),
) -> anyhow::Result<usize> {
    let before = cpu_times(network);
    let (times, took) = load.run(in_flight, Until::Time(Duration::from_secs(seconds))).await?;
    let count = u32::try_from(times.len())?.max(1);
    let rate = f64::from(count) / took.as_secs_f64();
    print!(
        "  {in_flight:>9} {rate:>12.0} {:>6.1} ms {:>6.1} ms {:>17.2}  ",
        percentile(&times, 50).as_secs_f64() * 1e3,
        percentile(&times, 99).as_secs_f64() * 1e3,
        rate * sync.as_secs_f64(),
    );
    for ((name, before), (_, after)) in before.iter().zip(&cpu_times(network)) {
        print!(" {name} {}", (after.saturating_sub(*before) / count).as_micros());
    }
    println!(" us");
    Ok(times.len())
}

/// What each daemon has taken of the processors so far, in ticks of 10 ms.
fn cpu_times(network: &Network) -> Vec<(String, Duration)> {
    let time = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, which may hold anything, ends with the last parenthesis; then fields 3 and on.
        let (_, fields) = stat.rsplit_once(')')?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        Some(Duration::from_millis(10 * ticks.sum::<Result<u64, _>>().ok()?))
    };
    let daemons = network.daemons.iter();
    daemons
        .map(|daemon| (daemon.name.clone(), daemon.pid().and_then(time).unwrap_or_default()))
        .collect()
}

/// Who pays whom.
struct Load<'a> {
    buyer: &'a AppClient,
    seller: PublicKey,
}

/// When to stop.
enum Until {
    Count(usize),
    Time(Duration),
}

impl Load<'_> {
    /// Keeps so many payments under way; gives how long each took, sorted, and all of them
    /// together. A payment that fails ends the benchmark.
    async fn run(
        &self,
        in_flight: usize,
        until: Until,
    ) -> anyhow::Result<(Vec<Duration>, Duration)> {
        let began = Instant::now();
        let (mut times, mut under_way) = (Vec::new(), FuturesUnordered::new());
        let mut ordered = 0;
        loop {
            let more = |ordered: usize| match until {
                Until::Count(count) => ordered < count,
                Until::Time(time) => began.elapsed() < time,
            };
            while under_way.len() < in_flight && more(ordered) {
                under_way.push(self.pay());
                ordered += 1;
            }
            match under_way.next().await {
                Some(time) => times.push(time?),
                None => break,
            }
        }
        times.sort();
        Ok((times, began.elapsed()))
    }

    async fn pay(&self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let report = self.buyer.pay(PayRequest {
            payment_id: PaymentId::random(&mut SystemRng),
            target: PaymentTarget::Spontaneous {
                destination: self.seller,
                amount: Credits(1),
                currency: None,
            },
            max_fee: None,
            deadline_ms: None,
            note: Text::cut(""),
            max_parts: None,
        });
        let status = report.await?.status;
        if !matches!(status, PaymentStatus::Succeeded { .. }) {
            bail!("a payment did not succeed: {status:?}");
        }
        Ok(began.elapsed())
    }
}

/// Resident memory of each daemon, and the database of each node with its log.
fn sizes(when: &str, network: &Network, directory: &Path) -> anyhow::Result<()> {
    println!("{when}:");
    for daemon in &network.daemons {
        let pid = daemon.pid().context("a daemon has stopped")?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.map_or("not known here", str::trim);
        let database = if daemon.program == Program::Node {
            let size = |file: &str| {
                let path = directory.join(&daemon.name).join(file);
                fs::metadata(path).map_or(0, |metadata| metadata.len() / 1024)
            };
            format!(", database {} kB, its log {} kB", size("node.db"), size("node.db-wal"))
        } else {
            String::new()
        };
        println!("  {:<8} resident {resident}{database}", daemon.name);
    }
    Ok(())
}

/// The median time of appending 4 KiB and syncing.
fn sync_time(directory: &Path) -> anyhow::Result<Duration> {
    let path = directory.join("sync-probe");
    let mut file = fs::File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..SYNCS {
        let began = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    fs::remove_file(path)?;
    times.sort();
    Ok(percentile(&times, 50))
}

/// Of sorted times.
fn percentile(times: &[Duration], percent: usize) -> Duration {
    times
        .get((times.len() * percent / 100).min(times.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

const SYNCS: usize = 300;
