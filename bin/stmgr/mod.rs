//! `stmgr`: makes identities, databases, their backups and tickets, and says what a file is.

mod backup;
mod identities;
mod show;
mod tickets;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::manners::{
    Access, Answer,
    cli::{Arguments, start},
    files, inputs,
};

/// Makes identities, databases and tickets, and says what a file is.
#[derive(Debug, Parser)]
#[command(name = "stmgr", version, after_help = EXAMPLES)]
struct StmgrArguments {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON document instead of text.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new identity: a key pair of a node, an application, a relay or an index server.
    GenIdent(identities::GenIdent),
    /// Seal the secret key in an identity file with a passphrase.
    EncryptIdent(identities::EncryptIdent),
    /// Take the passphrase off an identity file.
    DecryptIdent(identities::DecryptIdent),
    /// Make the empty database of a node.
    InitNodeDb(InitNodeDb),
    /// Make the ticket that lets an application use a node.
    AppTicket(tickets::AppTicketArguments),
    /// Make the ticket with which applications find a node.
    NodeTicket(tickets::ServerArguments),
    /// Make the ticket with which nodes find a relay.
    RelayTicket(tickets::ServerArguments),
    /// Make the ticket with which nodes, or other index servers, find an index server.
    IndexTicket(tickets::ServerArguments),
    /// Make a file with all that an application needs to use a node, its secret key included.
    NodeEntry(tickets::NodeEntryArguments),
    /// Copy the database of a node, which may run meanwhile.
    Backup(backup::Backup),
    /// Make a database of a backup, where none is.
    Restore(backup::Restore),
    /// Check all of a backup, and say whose it is and what it holds.
    VerifyBackup(backup::VerifyBackup),
    /// Say what a file is and holds, never a secret.
    Show(show::ShowArguments),
}

/// Where a file is to be written.
#[derive(Debug, Args)]
struct Output {
    /// File to write.
    #[arg(short, long)]
    output: PathBuf,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
}

impl Output {
    fn write(&self, access: Access, contents: &str) -> anyhow::Result<Answer> {
        files::write(&self.output, access, self.force, contents)?;
        Ok(Answer::silent())
    }
}

#[derive(Debug, Args)]
struct InitNodeDb {
    /// Identity file of the node.
    #[arg(short, long)]
    idfile: PathBuf,
    /// Database file to make. A database is never replaced.
    #[arg(short, long)]
    output: PathBuf,
}

impl Arguments for StmgrArguments {
    fn json(&self) -> bool {
        self.json
    }
}

/// Its commands and arguments.
pub(crate) fn command_line() -> clap::Command {
    <StmgrArguments as clap::CommandFactory>::command()
}

/// Runs the program with these arguments, the first of which is its name.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    start(arguments, |parsed: StmgrArguments| match parsed.command {
        Command::GenIdent(arguments) => arguments.run(),
        Command::EncryptIdent(arguments) => arguments.run(),
        Command::DecryptIdent(arguments) => arguments.run(),
        Command::InitNodeDb(arguments) => init_node_db(&arguments),
        Command::AppTicket(arguments) => arguments.run(),
        Command::NodeTicket(arguments) => arguments.run(offset_proto::file::NodeTicket),
        Command::RelayTicket(arguments) => arguments.run(offset_proto::file::RelayTicket),
        Command::IndexTicket(arguments) => arguments.run(offset_proto::file::IndexTicket),
        Command::NodeEntry(arguments) => arguments.run(),
        Command::Backup(arguments) => arguments.run(),
        Command::Restore(arguments) => arguments.run(),
        Command::VerifyBackup(arguments) => arguments.run(),
        Command::Show(arguments) => arguments.run(),
    })
}

fn init_node_db(arguments: &InitNodeDb) -> anyhow::Result<Answer> {
    let public_key = inputs::public_key(&arguments.idfile)?;
    offset_store::init(&arguments.output, &public_key)?;
    Ok(Answer::silent())
}

const EXAMPLES: &str = "\
Examples:
  stmgr gen-ident --output node/node.ident
  stmgr gen-ident --encrypt --output node/node.ident
  stmgr init-node-db --idfile node/node.ident --output node/node.db
  stmgr node-ticket --address 127.0.0.1:9876 --idfile node/node.ident --output node/node.ticket
  stmgr app-ticket --idfile app/app.ident --pbuyer --pseller --pconfig --proutes \\
        --output node/trusted/app.ticket
  stmgr backup --database node/node.db --output backups/monday.db
  stmgr verify-backup backups/monday.db
  stmgr show node/node.ticket
  stmgr show relay.ticket --qr
  stmgr show alice.friend --text | stmgr show -";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn arguments_do_not_contradict_each_other() {
        super::StmgrArguments::command().debug_assert();
    }
}
