//! `strelay`: a relay server.

use std::{ffi::OsString, path::PathBuf, process::ExitCode, sync::Arc};

use clap::Parser;
use offset_proto::NetworkAddress;
use offset_relay::RelayConfig;
use offset_secure_channel::ChannelIdentity;

use crate::manners::{
    Answer,
    cli::{Arguments, start},
    daemon::{self, Stopping},
    inputs,
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
    #[command(flatten)]
    stopping: Stopping,
}

impl Arguments for StrelayArguments {
    const DAEMON: bool = true;

    fn json(&self) -> bool {
        false
    }
}

/// Runs the program with these arguments, the first of which is its name.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    start(arguments, run)
}

fn run(arguments: StrelayArguments) -> anyhow::Result<Answer> {
    let identity = Arc::new(ChannelIdentity::new(&inputs::identity(&arguments.idfile)?));
    daemon::run(async move {
        let stop = arguments.stopping.wait()?;
        let listener = daemon::listen(&arguments.laddr).await?;
        let address = listener.local_addr()?;
        let run = offset_relay::run(RelayConfig::default(), identity, vec![listener], stop);
        daemon::serve(run, || daemon::announce(address, "")).await
    })
}

const EXAMPLES: &str = "\
Example:
  strelay --idfile relay/relay.ident --laddr 0.0.0.0:4567";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn arguments_do_not_contradict_each_other() {
        super::StrelayArguments::command().debug_assert();
    }
}
