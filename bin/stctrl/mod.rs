//! `stctrl`: looks at a node, configures it, pays with it.

pub mod buyer;
pub mod config;
mod failure;
pub mod friends;
pub mod funds;
mod history;
pub mod info;
mod last_token;
mod pending;
mod quote;
mod rebalance;
mod recover;
mod repair;
pub mod seller;
pub mod servers;
mod session;
mod status;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use offset_proto::{Currency, Name};

pub use self::session::Session;
use crate::manners::{
    Answer, Usage,
    cli::{Arguments, start},
    config::user_directory,
};

/// Looks at a node, configures it, and pays with it.
#[derive(Debug, Parser)]
#[command(name = "stctrl", version, after_help = EXAMPLES)]
struct StctrlArguments {
    #[command(flatten)]
    connection: Connection,
    /// Print one JSON document instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    group: Group,
}

/// Which node, and as which application.
#[derive(Debug, Args)]
struct Connection {
    /// Identity file of this application.
    #[arg(short = 'I', long = "idfile", env = "OFFSET_IDFILE", global = true)]
    idfile: Option<PathBuf>,
    /// Ticket of the node.
    #[arg(short = 'T', long = "ticket", env = "OFFSET_TICKET", global = true)]
    node_ticket: Option<PathBuf>,
    /// File with settings: idfile, ticket, currency. Without it, offset/stctrl.toml in your
    /// directory of settings (~/.config), if that is there.
    #[arg(long, value_name = "FILE", env = "OFFSET_CONFIG", global = true)]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Group {
    /// Look at the node.
    #[command(subcommand)]
    Info(info::Info),
    /// Change the node's configuration.
    #[command(subcommand)]
    Config(config::Config),
    /// Pay.
    #[command(subcommand)]
    Funds(funds::Funds),
    /// Look at the node's books.
    #[command(subcommand)]
    History(history::History),
    /// Pay by a commit file that is handed to the seller.
    #[command(subcommand)]
    Buyer(buyer::Buyer),
    /// Sell: make invoices and take commits.
    #[command(subcommand)]
    Seller(seller::Seller),
}

/// A friend, by the user's name for it.
#[derive(Debug, Args)]
struct FriendName {
    /// Name of the friend.
    #[arg(short = 'n', long = "name")]
    friend: Name,
}

/// The currency of a command.
#[derive(Debug, Args)]
struct CurrencyChoice {
    /// Currency; the node's default currency if none is given.
    #[arg(short, long, env = "OFFSET_CURRENCY")]
    currency: Option<Currency>,
}

impl Arguments for StctrlArguments {
    const PREFIX: Option<&'static str> = Some("OFFSET_");

    fn usual_config() -> Option<PathBuf> {
        user_directory().map(|directory| directory.join("stctrl.toml"))
    }

    fn json(&self) -> bool {
        self.json
    }
}

/// Its commands and arguments.
pub(crate) fn command_line() -> clap::Command {
    <StctrlArguments as clap::CommandFactory>::command()
}

/// Runs the program with these arguments, the first of which is its name.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    start(arguments, |parsed: StctrlArguments| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        runtime.block_on(run(parsed))
    })
}

async fn run(arguments: StctrlArguments) -> anyhow::Result<Answer> {
    let Connection { idfile: Some(idfile), node_ticket: Some(ticket), .. } = arguments.connection
    else {
        return Err(Usage(
            "say who you are and to which node to connect: -I APP_IDENT -T NODE_TICKET, or set \
             OFFSET_IDFILE and OFFSET_TICKET, or name both in a file for --config"
                .to_owned(),
        )
        .into());
    };
    let session = Session::new(idfile, ticket);
    let answer = match arguments.group {
        Group::Info(command) => command.run(&session).await,
        Group::Config(command) => command.run(&session).await,
        Group::Funds(command) => command.run(&session).await,
        Group::History(command) => command.run(&session, arguments.json).await,
        Group::Buyer(command) => command.run(&session).await,
        Group::Seller(command) => command.run(&session).await,
    };
    session.close().await;
    answer
}

const EXAMPLES: &str = "\
Examples:
  stctrl -I app/app.ident -T node/node.ticket info friends
  stctrl -I app/app.ident -T node/node.ticket config add-relay -n my_relay -r my_relay.ticket
  export OFFSET_IDFILE=app/app.ident OFFSET_TICKET=node/node.ticket
  stctrl info balance
  stctrl funds pay-invoice -i bananas.invoice -r bananas.receipt";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn arguments_do_not_contradict_each_other() {
        super::StctrlArguments::command().debug_assert();
    }
}
