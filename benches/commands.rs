//! What people wait for: commands of `stctrl`, and a network that comes back after everything was
//! stopped.
//!
//! `cargo bench --bench commands -- [TIMES]`
//!
//! Each command is a process of its own, from its start to its end, beside a process that does nothing.
//! It prints and asserts nothing but that every command succeeds.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::{
    ffi::OsString,
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use offset::{
    stctrl,
    stnet::{network::Network, process::be_daemon, topology::Choice},
};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = be_daemon(&arguments) {
        return code;
    }
    match arguments.get(1).and_then(|argument| argument.to_str()) {
        Some("stctrl") => return stctrl::main(arguments.into_iter().skip(1)),
        Some("nothing") => return ExitCode::SUCCESS,
        Some(_) | None => {}
    }
    let times = arguments.iter().find_map(|argument| argument.to_str()?.parse().ok());
    match measure(times.unwrap_or(200)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(times: usize) -> anyhow::Result<()> {
    let parent = std::env::current_exe()?.parent().context("no directory")?.to_owned();
    let directory = tempfile::tempdir_in(parent)?;
    let topology = "line:3".parse::<Choice>().map_err(anyhow::Error::msg)?.topology()?;
    // On threads of its own: this one waits for commands.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let network = runtime.block_on(Network::start(directory.path(), &topology))?;
    let buyer = &network.nodes[0];
    let seller = network.nodes[2].client.node().to_string();
    let of_buyer = [
        OsString::from("stctrl"),
        "-I".into(),
        buyer.app.clone().into(),
        "-T".into(),
        buyer.ticket.clone().into(),
    ];

    println!("{times} times each, from the start of the process to its end:");
    let nothing = each(times, &["nothing".into()])?;
    print("a process that does nothing", &nothing);
    let destination = ["-d", &seller, "-a", "1"];
    let commands: [(&str, Vec<&str>); 4] = [
        ("stctrl info balance", vec!["info", "balance"]),
        ("stctrl info status", vec!["info", "status"]),
        ("stctrl info friends", vec!["info", "friends"]),
        (
            "stctrl funds send-funds",
            ["funds", "send-funds"].into_iter().chain(destination).collect(),
        ),
    ];
    for (name, command) in commands {
        let arguments: Vec<OsString> =
            of_buyer.iter().cloned().chain(command.into_iter().map(Into::into)).collect();
        print(name, &each(times, &arguments)?);
    }
    runtime.block_on(network.stop());

    println!("\nfrom the start of the first daemon until all friends are online and open:");
    let mut took = Vec::new();
    for _ in 0..times.div_ceil(20) {
        let began = Instant::now();
        let network = runtime.block_on(Network::start(directory.path(), &topology))?;
        took.push(began.elapsed());
        runtime.block_on(network.stop());
    }
    took.sort();
    print("a relay, two index servers, three nodes", &took);
    Ok(())
}

/// Runs a command so often, one after the other; gives how long each took, sorted.
fn each(times: usize, arguments: &[OsString]) -> anyhow::Result<Vec<Duration>> {
    let program = std::env::current_exe()?;
    let mut took =
        (0..times).map(|_| once(&program, arguments)).collect::<anyhow::Result<Vec<Duration>>>()?;
    took.sort();
    Ok(took)
}

fn once(program: &Path, arguments: &[OsString]) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).status()?;
    ensure!(status.success(), "{arguments:?} failed");
    Ok(began.elapsed())
}

fn print(what: &str, took: &[Duration]) {
    let of = |percent: usize| {
        let place = (took.len() * percent / 100).min(took.len().saturating_sub(1));
        took.get(place).copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    println!("  {what:<40} median {:>7.2} ms, p99 {:>7.2} ms", of(50), of(99));
}
