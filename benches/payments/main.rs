//! Payments over real daemons on loopback: a chain of nodes with databases on disk, a relay and two
//! index servers, every daemon a process of its own.
//!
//! `cargo bench --bench payments -- --help`
//!
//! Each payment is an invoice made by the seller's application, paid by the buyer's over a route that
//! an index server found, durable at every node at every step, and ends with a receipt that is
//! verified. The load generator's own work is done on the same processors. It prints and asserts
//! nothing but that every payment succeeds; beside what payments take stands what this machine can do
//! of what they are made of, measured in the same run.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

mod counts;
mod limits;
mod load;

use std::{ffi::OsString, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Parser;
use counts::{Counts, sizes};
use limits::Limits;
use load::{Load, Pace, Ran};
use offset::stnet::{network::Network, process::be_daemon, topology::Choice};
use offset_proto::Credits;

/// Measures payments over a chain of real daemons.
#[derive(Debug, Parser)]
struct Arguments {
    /// Payments one after the other, for the latency of a single one.
    #[arg(long, default_value_t = 300)]
    single: usize,
    /// How many payments to keep under way; a line of the table for each.
    #[arg(long, value_delimiter = ',', default_value = "1,16,128,512,2048,4096")]
    in_flight: Vec<usize>,
    /// How many times each is run; the line shows the median run, and the rate of the worst.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// How long each run lasts, in seconds.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Then run on for so many minutes with 128 under way, and show now and then what has grown.
    #[arg(long, default_value_t = 0)]
    minutes: u32,
    /// Nodes in the chain.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=16))]
    nodes: u8,
    /// Pay the seller's key, without invoices.
    #[arg(long)]
    spontaneous: bool,
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
    let limits = Limits::measure(directory)?;
    limits.print();

    let pattern: Choice =
        format!("line:{}", arguments.nodes).parse().map_err(anyhow::Error::msg)?;
    let mut topology = pattern.topology()?;
    for line in &mut topology.lines {
        line.max_debt = Credits(1 << 60);
    }
    let network = Network::start(directory, &topology).await?;
    sizes("\nidle", &network, directory)?;
    let most = arguments.in_flight.iter().copied().max().unwrap_or(1);
    let load = Load::connect(&network, most.max(128), arguments.spontaneous).await?;
    let bench = Bench { arguments, limits, network, load };

    let mut paid = bench.single().await?;
    let mut best = 0.0_f64;
    println!("\n{}", Row::HEAD);
    for in_flight in &arguments.in_flight {
        let (rate, count) = bench.sustained(Pace::InFlight(*in_flight)).await?;
        best = best.max(rate);
        paid += count;
    }
    println!("at half of the best rate, whether or not earlier ones have ended:");
    paid += bench.sustained(Pace::PerSecond(best / 2.0)).await?.1;
    for minute in 1..=arguments.minutes {
        let ran = bench.load.run(Pace::InFlight(128), MINUTE).await?;
        paid += ran.times.len();
        let when = format!("\nminute {minute}, {paid} payments, {:.0} a second", ran.rate());
        sizes(&when, &bench.network, directory)?;
    }
    sizes(&format!("\nafter {paid} payments"), &bench.network, directory)?;
    drop(bench.load);
    bench.network.stop().await;
    Ok(())
}

struct Bench<'a> {
    arguments: &'a Arguments,
    limits: Limits,
    network: Network,
    load: Load,
}

impl Bench<'_> {
    /// One payment at a time, beside the syncs that it cannot do without: the request, the response,
    /// the commit and the collect are each made durable at every node that they reach, the last of
    /// them at the buyer too.
    async fn single(&self) -> anyhow::Result<usize> {
        let times = self.load.single(self.arguments.single).await?;
        let hops = u32::from(self.arguments.nodes) - 1;
        println!("\none payment after the other:");
        for (what, syncs, times) in
            [("commit in hand", 2 * hops + 1, &times[0]), ("receipt", 4 * hops + 1, &times[1])]
        {
            let (median, least) = (percentile(times, 50), self.limits.sync * syncs);
            println!(
                "  {what:<16} median {:.2} ms, p99 {:.2} ms; {syncs} syncs one after the other: \
                 {:.1} times that",
                median.as_secs_f64() * 1e3,
                percentile(times, 99).as_secs_f64() * 1e3,
                median.as_secs_f64() / least.as_secs_f64(),
            );
        }
        Ok(2 * self.arguments.single)
    }

    /// Several runs of one pace. Gives the rate of the median run, and the payments of all.
    async fn sustained(&self, pace: Pace) -> anyhow::Result<(f64, usize)> {
        let mut runs = Vec::new();
        for _ in 0..self.arguments.runs.max(1) {
            let before = Counts::take(&self.network).await?;
            let lasts = Duration::from_secs(self.arguments.seconds);
            let ran = self.load.run(pace, lasts).await?;
            let used = Counts::take(&self.network).await?.since(&before, ran.times.len());
            runs.push((ran, used));
        }
        runs.sort_by(|(a, _), (b, _)| a.rate().total_cmp(&b.rate()));
        let paid = runs.iter().map(|(ran, _)| ran.times.len()).sum();
        let worst = runs[0].0.rate();
        let (ran, used) = &runs[runs.len() / 2];
        Row { pace, worst, ran, used, limits: &self.limits }.print();
        Ok((ran.rate(), paid))
    }
}

impl Ran {
    fn rate(&self) -> f64 {
        let count = u32::try_from(self.times.len()).unwrap_or(u32::MAX);
        f64::from(count) / self.took.as_secs_f64()
    }
}

/// A line of the table.
struct Row<'a> {
    pace: Pace,
    worst: f64,
    ran: &'a Ran,
    used: &'a Counts,
    limits: &'a Limits,
}

impl Row<'_> {
    const HEAD: &'static str = "  in flight  a second    worst     median        p99 | of each payment: \
                                syncs   rows  relayed  to disk | us of processors";

    fn print(&self) {
        let Self { ran, used, .. } = self;
        let ms = |percent| percentile(&ran.times, percent).as_secs_f64() * 1e3;
        let pace = match self.pace {
            Pace::InFlight(count) => count.to_string(),
            Pace::PerSecond(_) => "paced".to_owned(),
        };
        let cpu: Duration = used.cpu.iter().map(|(_, time)| *time).sum();
        println!(
            "  {pace:>9} {:>9.0} {:>8.0} {:>7.1} ms {:>7.1} ms | {:>22.2} {:>6.1} {:>6.0} B {:>6.0} B | \
             {} in all:{}",
            ran.rate(),
            self.worst,
            ms(50),
            ms(99),
            used.commits,
            used.rows,
            used.relayed,
            used.written,
            cpu.as_micros(),
            used.cpu.iter().fold(String::new(), |text, (name, time)| {
                format!("{text} {name} {}", time.as_micros())
            }),
        );
        // A chain of three signs once and verifies twice.
        let signatures = self.limits.sign + 2 * self.limits.verify;
        println!(
            "  {:>9} {:.1} times one signature and two verifications; {:.2} payments in the time of a sync",
            "",
            cpu.as_secs_f64() / signatures.as_secs_f64(),
            ran.rate() * self.limits.sync.as_secs_f64(),
        );
    }
}

/// Of sorted times.
fn percentile(times: &[Duration], percent: usize) -> Duration {
    let place = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(place).copied().unwrap_or_default()
}

const MINUTE: Duration = Duration::from_secs(60);
