//! `stnode`: a node.

mod limits;

use std::{ffi::OsString, path::PathBuf, process::ExitCode, sync::Arc};

use clap::Parser;
use offset_node::{Config, Node};
use offset_proto::NetworkAddress;
use toml::Table;

use self::limits::NodeLimits;

use crate::manners::{
    Answer,
    cli::{Arguments, start},
    daemon::{self, Stopping},
    inputs,
    limits::take,
    metrics, protect,
};

/// A node: keeps the lines with its friends and moves payments over them.
#[derive(Debug, Parser)]
#[command(name = "stnode", version, after_help = EXAMPLES)]
struct StnodeArguments {
    /// Identity file of the node.
    #[arg(short, long, env = "STNODE_IDFILE")]
    idfile: PathBuf,
    /// Where to listen for applications, as HOST:PORT.
    #[arg(short, long, env = "STNODE_LADDR")]
    laddr: NetworkAddress,
    /// Database of the node.
    #[arg(short, long, env = "STNODE_DATABASE")]
    database: PathBuf,
    /// Directory with the tickets of the applications that may connect. It is watched.
    #[arg(short, long, env = "STNODE_TRUSTED")]
    trusted: PathBuf,
    /// The database is an older copy: take over at once what friends prove with this node's own
    /// signatures.
    #[arg(long)]
    recover: bool,
    /// Where to let Prometheus read counters (GET /metrics), as HOST:PORT; best on this machine alone.
    #[arg(long, value_name = "ADDR", env = "STNODE_METRICS")]
    metrics: Option<NetworkAddress>,
    /// Let the system write core dumps, which hold the secret key, and let debuggers in.
    #[arg(long, env = "STNODE_ALLOW_CORE_DUMPS")]
    allow_core_dumps: bool,
    /// File with settings: every option that has an environment variable, and [limits].
    #[arg(long, value_name = "FILE", env = "STNODE_CONFIG")]
    config: Option<PathBuf>,
    #[arg(skip)]
    limits: NodeLimits,
    #[command(flatten)]
    stopping: Stopping,
}

impl Arguments for StnodeArguments {
    const DAEMON: bool = true;
    const PREFIX: Option<&'static str> = Some("STNODE_");
    const TABLES: &'static [&'static str] = &["limits"];

    fn json(&self) -> bool {
        false
    }

    fn take_table(&mut self, _name: &str, table: &Table) -> Result<(), String> {
        take(&limits::known(), &mut self.limits, table)
    }
}

/// Its commands and arguments.
pub(crate) fn command_line() -> clap::Command {
    <StnodeArguments as clap::CommandFactory>::command()
}

/// Runs the program with these arguments, the first of which is its name.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    start(arguments, run)
}

fn run(arguments: StnodeArguments) -> anyhow::Result<Answer> {
    protect::daemon(arguments.allow_core_dumps)?;
    let identity = Arc::new(inputs::identity(&arguments.idfile)?);
    let NodeLimits { funder, apps } = arguments.limits;
    let recover = arguments.recover;
    let config = Config {
        funder,
        recover,
        app_limits: apps,
        ..Config::new(arguments.database, arguments.trusted)
    };
    daemon::run_when(async move {
        let stop = arguments.stopping.wait()?;
        let listener = daemon::listen(&arguments.laddr).await?;
        let readers = metrics::listen(arguments.metrics.as_ref()).await?;
        let (address, counted) = (listener.local_addr()?, config.metrics.clone());
        let page = move || {
            let counted = counted.clone();
            async move { counted.page().await }
        };
        let run = Node::open(config, identity)?.run(listener, stop);
        let announce = move || {
            daemon::announce(address, "")?;
            metrics::serve(readers, page)
        };
        Ok(daemon::serve(run, announce))
    })
}

const EXAMPLES: &str = "\
Examples:
  stnode --idfile node/node.ident --laddr 127.0.0.1:9876 --database node/node.db \\
        --trusted node/trusted
  stnode --config /etc/offset/stnode.toml";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use crate::manners::limits::check_example;

    #[test]
    fn arguments_do_not_contradict_each_other() {
        super::StnodeArguments::command().debug_assert();
    }

    #[test]
    fn the_example_file_has_every_limit_as_it_is() {
        let usual = super::limits::lines();
        check_example(include_str!("../../dist/stnode.toml"), &usual);
    }
}
