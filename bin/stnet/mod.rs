//! `stnet`: a whole network on one machine, for trying out, developing and testing.
//!
//! Every daemon is a process of its own: this same program, started with the hidden command
//! `daemon`, because `cargo run --bin stnet` builds no other. Each stops when its standard input
//! ends, so none outlives the `stnet` that started it, however that ends.
//!
//! ```text
//!   DIR/topology.toml              who is a friend of whom
//!   DIR/lock, running.toml, stop   whether it runs, what runs, the wish to stop
//!   DIR/relay/ index0/ index1/     identity and tickets of the servers
//!   DIR/NODE/                      identity, database, tickets, the application that stctrl is
//!   DIR/log/                       what the daemons say on stderr
//! ```

mod demo;
pub mod network;
pub mod process;
mod running;
pub mod topology;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::manners::cli::{Arguments, start};

/// Runs a whole network on this machine: a relay, two index servers and nodes.
#[derive(Debug, Parser)]
#[command(name = "stnet", version, after_help = EXAMPLES)]
struct StnetArguments {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON document instead of text.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start three nodes, let one pay another through the third, show the receipt, and stop.
    Demo,
    /// Start a network, print how to talk to each node, and stay until `stnet down` or Ctrl-C.
    Up(running::Up),
    /// Stop the network of a directory.
    Down(Directory),
    /// Print what runs in a directory.
    Status(Directory),
}

/// Where a network keeps its files.
#[derive(Debug, Args)]
struct Directory {
    /// Directory of the network.
    #[arg(long, default_value = "stnet")]
    dir: PathBuf,
}

impl Arguments for StnetArguments {
    fn json(&self) -> bool {
        self.json
    }
}

/// Its commands and arguments.
pub(crate) fn command_line() -> clap::Command {
    <StnetArguments as clap::CommandFactory>::command()
}

/// Runs the program with these arguments, the first of which is its name.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // A daemon parses its own arguments and has its own exit codes.
    if let Some(code) = process::be_daemon(&arguments) {
        return code;
    }
    start(arguments, |parsed: StnetArguments| match parsed.command {
        Command::Demo => demo::run(),
        Command::Up(arguments) => arguments.run(parsed.json),
        Command::Down(directory) => running::down(&directory.dir),
        Command::Status(directory) => running::status(&directory.dir),
    })
}

const EXAMPLES: &str = "\
Examples:
  stnet demo
  stnet up --dir my_net --topology ring:5 &
  stnet status --dir my_net
  stnet down --dir my_net";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn arguments_do_not_contradict_each_other() {
        super::StnetArguments::command().debug_assert();
    }
}
