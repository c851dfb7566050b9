//! `stindex`: an index server; `stindex query` asks one.

mod limits;
mod picture;
mod query;

use std::{ffi::OsString, path::PathBuf, process::ExitCode, sync::Arc};

use clap::Parser;
use offset_index_server::Config;
use offset_proto::NetworkAddress;
use toml::Table;

use self::limits::IndexLimits;

use crate::manners::{
    Answer,
    cli::{Arguments, start},
    daemon::{self, Stopping},
    inputs,
    limits::take,
    metrics, protect,
};

/// An index server: keeps the graph of credit lines, shares it with the servers that it trusts, and
/// finds routes.
#[derive(Debug, Parser)]
#[command(name = "stindex", version, after_help = EXAMPLES)]
struct StindexArguments {
    /// Identity file of the index server.
    #[arg(short, long, env = "STINDEX_IDFILE")]
    idfile: PathBuf,
    /// Where to listen for nodes, as HOST:PORT.
    #[arg(short = 'c', long, env = "STINDEX_LCLIENT")]
    lclient: NetworkAddress,
    /// Where to listen for other index servers, as HOST:PORT.
    #[arg(short = 's', long, env = "STINDEX_LSERVER")]
    lserver: NetworkAddress,
    /// Directory with the tickets of the index servers to federate with. It is watched.
    #[arg(short, long, env = "STINDEX_TRUSTED")]
    trusted: PathBuf,
    /// Directory in which to keep what is known, so that it is known at once after a restart.
    #[arg(long, value_name = "DIR", env = "STINDEX_STATE")]
    state: Option<PathBuf>,
    /// Where to let Prometheus read counters (GET /metrics), as HOST:PORT; best on this machine alone.
    #[arg(long, value_name = "ADDR", env = "STINDEX_METRICS")]
    metrics: Option<NetworkAddress>,
    /// Let the system write core dumps, which hold the secret key, and let debuggers in.
    #[arg(long, env = "STINDEX_ALLOW_CORE_DUMPS")]
    allow_core_dumps: bool,
    /// File with settings: every option that has an environment variable, and [limits].
    #[arg(long, value_name = "FILE", env = "STINDEX_CONFIG")]
    config: Option<PathBuf>,
    #[arg(skip)]
    limits: IndexLimits,
    #[command(flatten)]
    stopping: Stopping,
}

impl Arguments for StindexArguments {
    const DAEMON: bool = true;
    const PREFIX: Option<&'static str> = Some("STINDEX_");
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
    use clap::CommandFactory as _;
    StindexArguments::command().subcommand(query::QueryArguments::command().name("query"))
}

/// Runs the program with these arguments, the first of which is its name.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    // The daemon itself has no commands, and its settings are none of a question.
    if arguments.get(1).is_some_and(|first| first == "query") {
        arguments.remove(1);
        return start(arguments, query::run);
    }
    start(arguments, run)
}

fn run(arguments: StindexArguments) -> anyhow::Result<Answer> {
    protect::daemon(arguments.allow_core_dumps)?;
    let identity = Arc::new(inputs::identity(&arguments.idfile)?);
    let IndexLimits { limits, nodes, servers } = arguments.limits;
    let config = Config {
        limits,
        client_connections: nodes,
        server_connections: servers,
        state: arguments.state,
        ..Config::new(identity, arguments.trusted)
    };
    daemon::run(async move {
        let stop = arguments.stopping.wait()?;
        let nodes = daemon::listen(&arguments.lclient).await?;
        let servers = daemon::listen(&arguments.lserver).await?;
        let readers = metrics::listen(arguments.metrics.as_ref()).await?;
        let counted = config.metrics.clone();
        let page = move || std::future::ready(counted.page());
        let addresses = (nodes.local_addr()?, servers.local_addr()?);
        let run = offset_index_server::run(config, nodes, servers, stop);
        let announce = || {
            daemon::announce(addresses.0, "nodes")?;
            daemon::announce(addresses.1, "servers")?;
            metrics::serve(readers, page)
        };
        daemon::serve(run, announce).await
    })
}

const EXAMPLES: &str = "\
Examples:
  stindex --idfile index/index.ident --lclient 0.0.0.0:3456 --lserver 0.0.0.0:6543 \\
        --trusted index/trusted
  stindex --config /etc/offset/stindex.toml
  stindex query --help      how to ask an index server for routes";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use crate::manners::limits::check_example;

    #[test]
    fn arguments_do_not_contradict_each_other() {
        super::StindexArguments::command().debug_assert();
    }

    #[test]
    fn the_example_file_has_every_limit_as_it_is() {
        let usual = super::limits::lines();
        check_example(include_str!("../../dist/stindex.toml"), &usual);
    }
}
