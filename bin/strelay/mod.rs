//! `strelay`: a relay server.

mod limits;

use std::{ffi::OsString, path::PathBuf, process::ExitCode, sync::Arc};

use clap::Parser;
use offset_crypto::PublicKey;
use offset_proto::NetworkAddress;
use offset_relay::RelayConfig;
use offset_secure_channel::ChannelIdentity;
use toml::Table;

use crate::manners::{
    Answer,
    cli::{Arguments, start},
    daemon::{self, Stopping},
    inputs,
    limits::take,
    metrics,
};

/// A relay: passes encrypted circuits between nodes that cannot reach each other.
#[derive(Debug, Parser)]
#[command(name = "strelay", version, after_help = EXAMPLES)]
struct StrelayArguments {
    /// Identity file of the relay.
    #[arg(short, long, env = "STRELAY_IDFILE")]
    idfile: PathBuf,
    /// Where to listen for nodes, as HOST:PORT.
    #[arg(short, long, env = "STRELAY_LADDR")]
    laddr: NetworkAddress,
    /// Serve only these keys; the option may be given several times. Without it, everybody.
    #[arg(long, env = "STRELAY_ALLOW", value_delimiter = ',', allow_hyphen_values = true)]
    allow: Vec<PublicKey>,
    /// Where to let Prometheus read counters (GET /metrics), as HOST:PORT; best on this machine alone.
    #[arg(long, value_name = "ADDR", env = "STRELAY_METRICS")]
    metrics: Option<NetworkAddress>,
    /// File with settings: every option that has an environment variable, and [limits].
    #[arg(long, value_name = "FILE", env = "STRELAY_CONFIG")]
    config: Option<PathBuf>,
    #[arg(skip)]
    limits: RelayConfig,
    #[command(flatten)]
    stopping: Stopping,
}

impl Arguments for StrelayArguments {
    const DAEMON: bool = true;
    const PREFIX: Option<&'static str> = Some("STRELAY_");
    const TABLES: &'static [&'static str] = &["limits"];

    fn json(&self) -> bool {
        false
    }

    fn take_table(&mut self, _name: &str, table: &Table) -> Result<(), String> {
        take(&limits::known(), &mut self.limits, table)
    }
}

/// Runs the program with these arguments, the first of which is its name.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    start(arguments, run)
}

fn run(arguments: StrelayArguments) -> anyhow::Result<Answer> {
    let identity = Arc::new(ChannelIdentity::new(&inputs::identity(&arguments.idfile)?));
    let allowed = (!arguments.allow.is_empty()).then(|| arguments.allow.into_iter().collect());
    let config = RelayConfig { allowed, ..arguments.limits };
    daemon::run(async move {
        let stop = arguments.stopping.wait()?;
        let listener = daemon::listen(&arguments.laddr).await?;
        let readers = metrics::listen(arguments.metrics.as_ref()).await?;
        let (address, counted) = (listener.local_addr()?, config.metrics.clone());
        let page = move || std::future::ready(counted.page());
        let run = offset_relay::run(config, identity, vec![listener], stop);
        let announce = || {
            daemon::announce(address, "")?;
            metrics::serve(readers, page)
        };
        daemon::serve(run, announce).await
    })
}

const EXAMPLES: &str = "\
Examples:
  strelay --idfile relay/relay.ident --laddr 0.0.0.0:4567
  strelay --config /etc/offset/strelay.toml";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use crate::manners::limits::check_example;

    #[test]
    fn arguments_do_not_contradict_each_other() {
        super::StrelayArguments::command().debug_assert();
    }

    #[test]
    fn the_example_file_has_every_limit_as_it_is() {
        let usual = super::limits::lines();
        check_example(include_str!("../../dist/strelay.toml"), &usual);
    }
}
