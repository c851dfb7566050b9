//! The commands that make tickets.

use std::path::PathBuf;

use clap::Args;
use offset_proto::{
    NetworkAddress, ServerAddress,
    app::Permissions,
    file::{AppTicket, NodeEntry, OffsetFile},
};

use super::Output;
use crate::manners::{Access, Answer, inputs};

/// Arguments of the tickets of nodes, relays and index servers.
#[derive(Debug, Args)]
pub(super) struct ServerArguments {
    /// Identity file of the server.
    #[arg(short, long)]
    idfile: PathBuf,
    /// Where others reach it, as HOST:PORT. It is not resolved here.
    #[arg(short, long)]
    address: NetworkAddress,
    #[command(flatten)]
    output: Output,
}

impl ServerArguments {
    pub(super) fn run<F: OffsetFile>(
        &self,
        ticket: fn(ServerAddress) -> F,
    ) -> anyhow::Result<Answer> {
        let public_key = inputs::public_key(&self.idfile)?;
        let server = ServerAddress { public_key, address: self.address.clone() };
        self.output.write(Access::Public, &ticket(server).to_toml())
    }
}

/// Arguments of `app-ticket`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one flag a permission, as users type them")]
pub(super) struct AppTicketArguments {
    /// Identity file of the application.
    #[arg(short, long)]
    idfile: PathBuf,
    /// Allow asking for routes.
    #[arg(long)]
    proutes: bool,
    /// Allow paying.
    #[arg(long)]
    pbuyer: bool,
    /// Allow invoices and collecting.
    #[arg(long)]
    pseller: bool,
    /// Allow changing the node's configuration.
    #[arg(long)]
    pconfig: bool,
    /// The same as --pbuyer and --pseller together.
    #[arg(long)]
    pfunds: bool,
    #[command(flatten)]
    output: Output,
}

impl AppTicketArguments {
    pub(super) fn run(&self) -> anyhow::Result<Answer> {
        let permissions = Permissions {
            routes: self.proutes,
            buyer: self.pbuyer || self.pfunds,
            seller: self.pseller || self.pfunds,
            config: self.pconfig,
        };
        let public_key = inputs::public_key(&self.idfile)?;
        self.output.write(Access::Public, &AppTicket { public_key, permissions }.to_toml())
    }
}

/// Arguments of `node-entry`.
#[derive(Debug, Args)]
pub(super) struct NodeEntryArguments {
    /// Identity file of the node.
    #[arg(short, long)]
    nodeid: PathBuf,
    /// Identity file of the application. Its secret key becomes part of the entry.
    #[arg(short = 'p', long)]
    appid: PathBuf,
    /// Where applications reach the node, as HOST:PORT. It is not resolved here.
    #[arg(short, long)]
    address: NetworkAddress,
    #[command(flatten)]
    output: Output,
}

impl NodeEntryArguments {
    pub(super) fn run(&self) -> anyhow::Result<Answer> {
        let public_key = inputs::public_key(&self.nodeid)?;
        let node = ServerAddress { public_key, address: self.address.clone() };
        let app = inputs::seed(&self.appid)?;
        self.output.write(Access::Secret, &NodeEntry { node, app }.to_toml())
    }
}
