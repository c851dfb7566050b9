//! The commands that make tickets.

use std::{collections::BTreeMap, path::PathBuf, str::FromStr};

use clap::Args;
use offset_proto::{
    Credits, Currency, NetworkAddress, ServerAddress,
    app::{AppLimits, MAX_LIMITS, Permissions},
    file::{AppTicket, NodeEntry, OffsetFile},
};

use super::Output;
use crate::manners::{Access, Answer, Usage, inputs};

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
    /// The most that one payment may cost with its fees, as CURRENCY=AMOUNT in the smallest unit.
    /// May be given for several currencies; with a limit for any, others cannot be paid.
    #[arg(long, value_name = "CUR=N")]
    max_payment: Vec<PaymentLimit>,
    /// The most that all payments of a day may cost with their fees, as CURRENCY=AMOUNT/day. May be
    /// given for several currencies; with a limit for any, others cannot be paid.
    #[arg(long, value_name = "CUR=N/day")]
    budget: Vec<Budget>,
    /// How many requests a second the node takes from the application; orders of payments do not
    /// count. 100 if it is not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    commands_per_second: Option<u32>,
    #[command(flatten)]
    output: Output,
}

/// A currency and the most that one payment may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PaymentLimit(Currency, Credits);

/// A currency and the most that all payments of a day may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Budget(Currency, Credits);

impl FromStr for PaymentLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        limit(text).map(|(currency, most)| Self(currency, most))
    }
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let most = text.strip_suffix("/day").ok_or("say it as CURRENCY=AMOUNT/day")?;
        limit(most).map(|(currency, most)| Self(currency, most))
    }
}

fn limit(text: &str) -> Result<(Currency, Credits), String> {
    let (currency, most) = text.split_once('=').ok_or("say it as CURRENCY=AMOUNT")?;
    let currency = currency.parse().map_err(|error| format!("{error}"))?;
    Ok((currency, most.parse().map_err(|error| format!("{error}"))?))
}

/// The limits by currency, each of which may be given once.
fn by_currency(
    flag: &str,
    limits: impl Iterator<Item = (Currency, Credits)>,
) -> anyhow::Result<BTreeMap<Currency, Credits>> {
    let mut map = BTreeMap::new();
    for (currency, most) in limits {
        if map.insert(currency.clone(), most).is_some() {
            return Err(Usage(format!("{flag} is given twice for {currency}: give it once")).into());
        }
    }
    if MAX_LIMITS < map.len() {
        let message = format!("{flag} is given for more than {MAX_LIMITS} currencies: give fewer");
        return Err(Usage(message).into());
    }
    Ok(map)
}

impl AppTicketArguments {
    pub(super) fn run(self) -> anyhow::Result<Answer> {
        let max_payment = self.max_payment.into_iter().map(|PaymentLimit(cur, most)| (cur, most));
        let budget = self.budget.into_iter().map(|Budget(currency, most)| (currency, most));
        let limits = AppLimits {
            max_payment: by_currency("--max-payment", max_payment)?,
            budget: by_currency("--budget", budget)?,
            commands_per_second: self.commands_per_second,
        };
        let permissions = Permissions {
            routes: self.proutes,
            buyer: self.pbuyer || self.pfunds,
            seller: self.pseller || self.pfunds,
            config: self.pconfig,
        };
        let public_key = inputs::public_key(&self.idfile)?;
        let ticket = AppTicket { public_key, permissions, limits };
        self.output.write(Access::Public, &ticket.to_toml())
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
