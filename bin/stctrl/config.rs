//! `stctrl config`: changes of the node's configuration.

use std::path::PathBuf;

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand, ValueEnum};
use offset_proto::{
    Credits, Currency, Name, Rate,
    app::ConfigRequest,
    file::{FriendFile, IndexTicket, RelayTicket},
};

use super::{
    CurrencyChoice, FriendName, Session,
    friends::PPM_PER_PERCENT,
    recover::{EndRecovery, RecoverFriend},
    repair::{RemoveFriend, ResetFriend},
};
use crate::manners::{
    Answer,
    amount::{Amount, SignedAmount},
    inputs,
};

/// The commands of `stctrl config`.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum Config {
    #[command(flatten)]
    Change(Change),
    /// Accept a friend's terms to begin a channel again that is inconsistent.
    ResetFriend(ResetFriend),
    /// End a friendship.
    RemoveFriend(RemoveFriend),
    /// Accept the state that a friend proves with this node's own signature.
    RecoverFriend(RecoverFriend),
}

/// Commands that only ask the node for a change. Asking for what is already so changes nothing and
/// succeeds.
#[derive(Debug, Subcommand)]
pub(super) enum Change {
    /// Listen at a relay.
    AddRelay(AddRelay),
    /// Stop using a relay.
    RemoveRelay(ServerName),
    /// Use an index server.
    AddIndex(AddIndex),
    /// Stop using an index server.
    RemoveIndex(ServerName),
    /// Add a friend, disabled at first.
    AddFriend(AddFriend),
    /// Say where a friend listens, with a newer friend file.
    SetFriendRelays(SetFriendRelays),
    /// Call a friend otherwise.
    SetFriendName(SetFriendName),
    /// Communicate with a friend.
    EnableFriend(FriendName),
    /// Stop communicating with a friend.
    DisableFriend(FriendName),
    /// Let a friend send requests through this node.
    #[command(alias = "open-currency", alias = "open-friend-currency")]
    OpenFriend(FriendCurrency),
    /// No longer let a friend send requests through this node.
    #[command(alias = "close-currency", alias = "close-friend-currency")]
    CloseFriend(FriendCurrency),
    /// Set the most that a friend may owe.
    #[command(alias = "set-currency-max-debt")]
    SetFriendMaxDebt(SetFriendMaxDebt),
    /// Set the fee that is asked of a friend for forwarding.
    #[command(alias = "set-currency-rate")]
    SetFriendRate(SetFriendRate),
    /// Propose a currency to a friend.
    AddCurrency(AddCurrency),
    /// Withdraw a currency, or end it at balance 0.
    RemoveCurrency(RemoveCurrency),
    /// Set the currency that is used where none is given.
    SetDefaultCurrency(SetDefaultCurrency),
    /// Set with how many digits behind the point amounts of a currency are shown and typed. Files
    /// and --json always count in the smallest unit.
    SetDecimals(SetDecimals),
    /// Say whether payments without a registered invoice are taken.
    SetSpontaneous(SetSpontaneous),
    /// For how long to keep the entries of the books: all of them if nothing is said. What is older
    /// is dropped, and each line's balance is carried forward. Payments, invoices and receipts are
    /// not touched.
    SetRetention(SetRetention),
    /// Wait for nobody any more after a recovery.
    EndRecovery(EndRecovery),
}

#[derive(Debug, Args)]
pub(super) struct AddRelay {
    /// Your own name for the relay.
    #[arg(short, long)]
    name: Name,
    /// Ticket of the relay.
    #[arg(short, long)]
    relay: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct AddIndex {
    /// Your own name for the index server.
    #[arg(short, long)]
    name: Name,
    /// Ticket of the index server.
    #[arg(short, long)]
    index: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct ServerName {
    /// Your own name for it.
    #[arg(short, long)]
    name: Name,
}

#[derive(Debug, Args)]
pub(super) struct AddFriend {
    /// Your own name for the friend.
    #[arg(short, long)]
    name: Name,
    /// Friend file, as `stctrl info export-ticket` makes it on the friend's node.
    #[arg(short, long)]
    friend: PathBuf,
    /// Opening balance: what the friend owes you already; negative: what you owe.
    #[arg(long, default_value = "0", allow_negative_numbers = true)]
    balance: SignedAmount,
    #[command(flatten)]
    currency: CurrencyChoice,
}

#[derive(Debug, Args)]
pub(super) struct SetFriendRelays {
    #[command(flatten)]
    name: FriendName,
    /// Friend file with the new relays.
    #[arg(short, long = "friend")]
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct SetFriendName {
    #[command(flatten)]
    name: FriendName,
    /// The new name.
    #[arg(short = 'N', long)]
    new_name: Name,
}

#[derive(Debug, Args)]
pub(super) struct FriendCurrency {
    #[command(flatten)]
    name: FriendName,
    #[command(flatten)]
    currency: CurrencyChoice,
}

#[derive(Debug, Args)]
pub(super) struct SetFriendMaxDebt {
    #[command(flatten)]
    name: FriendName,
    /// The most that the friend may owe.
    #[arg(short, long, allow_negative_numbers = true)]
    max_debt: Amount,
    #[command(flatten)]
    currency: CurrencyChoice,
}

#[derive(Debug, Args)]
pub(super) struct SetFriendRate {
    #[command(flatten)]
    name: FriendName,
    /// Part of each amount, in percent with at most four decimals.
    #[arg(long, value_parser = parse_percent, default_value = "0", allow_negative_numbers = true)]
    percent: u32,
    /// Fixed part of each fee.
    #[arg(short, long, default_value = "0", allow_negative_numbers = true)]
    add: Amount,
    #[command(flatten)]
    currency: CurrencyChoice,
}

#[derive(Debug, Args)]
pub(super) struct AddCurrency {
    #[command(flatten)]
    name: FriendName,
    /// Currency to propose.
    #[arg(short, long)]
    currency: Currency,
    /// Opening balance: what the friend owes you already; negative: what you owe.
    #[arg(long, default_value = "0", allow_negative_numbers = true)]
    balance: SignedAmount,
}

#[derive(Debug, Args)]
pub(super) struct RemoveCurrency {
    #[command(flatten)]
    name: FriendName,
    /// Currency to end.
    #[arg(short, long)]
    currency: Currency,
}

#[derive(Debug, Args)]
pub(super) struct SetDefaultCurrency {
    /// The currency.
    #[arg(short, long)]
    currency: Currency,
    /// With how many digits behind the point its amounts are shown and typed, 0 to 18.
    #[arg(long, value_name = "D", value_parser = clap::value_parser!(u8).range(0..=18), allow_negative_numbers = true)]
    decimals: Option<u8>,
}

#[derive(Debug, Args)]
pub(super) struct SetDecimals {
    #[command(flatten)]
    currency: CurrencyChoice,
    /// With how many digits behind the point its amounts are shown and typed, 0 to 18.
    #[arg(short, long, value_name = "D", value_parser = clap::value_parser!(u8).range(0..=18), allow_negative_numbers = true)]
    decimals: u8,
}

#[derive(Debug, Args)]
pub(super) struct SetRetention {
    /// A number of days, or `forever`.
    #[arg(allow_negative_numbers = true)]
    keep: Retention,
}

/// For how many days; `None`: for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Retention(Option<u32>);

impl std::str::FromStr for Retention {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "forever" {
            return Ok(Self(None));
        }
        let days = text.parse().ok().filter(|days: &u32| 0 < *days && !text.starts_with('+'));
        days.map(|days| Self(Some(days))).ok_or("write a number of days from 1 on, or forever")
    }
}

#[derive(Debug, Args)]
pub(super) struct SetSpontaneous {
    /// Whether they are taken.
    accept: OnOff,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OnOff {
    On,
    Off,
}

impl Config {
    /// Does what the command says.
    ///
    /// # Errors
    /// When a file is wrong, the node cannot be reached, or it refuses.
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<Answer> {
        match self {
            Self::Change(change) => {
                let decimals = async |currency: Option<&Currency>| session.decimals(currency).await;
                for request in change.into_requests(&decimals).await? {
                    session.configure(request).await?;
                }
                Ok(Answer::silent())
            }
            Self::ResetFriend(command) => command.run(session).await,
            Self::RemoveFriend(command) => command.run(session).await,
            Self::RecoverFriend(command) => command.run(session).await,
        }
    }
}

impl Change {
    /// What to ask of the node, in this order. `decimals` looks up those of a currency.
    async fn into_requests(
        self,
        decimals: &impl AsyncFn(Option<&Currency>) -> anyhow::Result<u8>,
    ) -> anyhow::Result<Vec<ConfigRequest>> {
        let mut requests = Vec::new();
        let last = match self {
            Self::AddRelay(AddRelay { name, relay }) => {
                let ticket: RelayTicket = inputs::read(&relay)?;
                ConfigRequest::AddRelay { name, relay: ticket.0 }
            }
            Self::RemoveRelay(ServerName { name }) => ConfigRequest::RemoveRelay { name },
            Self::AddIndex(AddIndex { name, index }) => {
                let ticket: IndexTicket = inputs::read(&index)?;
                ConfigRequest::AddIndexServer { name, server: ticket.0 }
            }
            Self::RemoveIndex(ServerName { name }) => ConfigRequest::RemoveIndexServer { name },
            Self::AddFriend(arguments) => arguments.into_request(decimals).await?,
            Self::SetFriendRelays(SetFriendRelays { name, file }) => {
                let FriendFile { public_key, relays } = inputs::read(&file)?;
                ConfigRequest::SetFriendRelays { friend: name.friend, public_key, relays }
            }
            Self::SetFriendName(SetFriendName { name, new_name }) => {
                ConfigRequest::SetFriendName { friend: name.friend, new_name }
            }
            Self::EnableFriend(FriendName { friend }) => {
                ConfigRequest::SetFriendEnabled { friend, enabled: true }
            }
            Self::DisableFriend(FriendName { friend }) => {
                ConfigRequest::SetFriendEnabled { friend, enabled: false }
            }
            Self::OpenFriend(arguments) => arguments.into_request(true),
            Self::CloseFriend(arguments) => arguments.into_request(false),
            Self::SetFriendMaxDebt(SetFriendMaxDebt { name, max_debt, currency }) => {
                let (friend, currency) = (name.friend, currency.currency);
                let max_debt = max_debt.credits(decimals(currency.as_ref()).await?)?;
                if Credits::LIMIT < max_debt {
                    bail!("a limit is at most 2^127-1 of the smallest unit; type less");
                }
                ConfigRequest::SetMaxDebt { friend, currency, max_debt }
            }
            Self::SetFriendRate(SetFriendRate { name, percent, add, currency }) => {
                let (friend, currency) = (name.friend, currency.currency);
                let add = add.credits(decimals(currency.as_ref()).await?)?;
                let too_large = |_| anyhow!("--add is larger than 2^64-1 units: type less");
                let add = add.0.try_into().map_err(too_large)?;
                ConfigRequest::SetRate { friend, currency, rate: Rate { ppm: percent, add } }
            }
            Self::AddCurrency(AddCurrency { name, currency, balance }) => {
                let friend = name.friend;
                let opening_balance = balance.balance(decimals(Some(&currency)).await?)?;
                ConfigRequest::AddCurrency { friend, currency, opening_balance }
            }
            Self::RemoveCurrency(RemoveCurrency { name, currency }) => {
                ConfigRequest::RemoveCurrency { friend: name.friend, currency }
            }
            Self::SetDefaultCurrency(SetDefaultCurrency { currency, decimals }) => {
                let named = Some(currency.clone());
                requests.extend(
                    decimals
                        .map(|decimals| ConfigRequest::SetDecimals { currency: named, decimals }),
                );
                ConfigRequest::SetDefaultCurrency { currency }
            }
            Self::SetRetention(SetRetention { keep: Retention(days) }) => {
                ConfigRequest::SetRetention { days }
            }
            Self::SetDecimals(SetDecimals { currency, decimals: digits }) => {
                ConfigRequest::SetDecimals { currency: currency.currency, decimals: digits }
            }
            Self::EndRecovery(command) => command.into_request(),
            Self::SetSpontaneous(SetSpontaneous { accept }) => {
                ConfigRequest::SetSpontaneous { accept: matches!(accept, OnOff::On) }
            }
        };
        requests.push(last);
        Ok(requests)
    }
}

impl AddFriend {
    async fn into_request(
        self,
        decimals: &impl AsyncFn(Option<&Currency>) -> anyhow::Result<u8>,
    ) -> anyhow::Result<ConfigRequest> {
        let FriendFile { public_key, relays } = inputs::read(&self.friend)?;
        let decimals = decimals(self.currency.currency.as_ref()).await?;
        Ok(ConfigRequest::AddFriend {
            name: self.name,
            public_key,
            relays,
            currency: self.currency.currency,
            opening_balance: self.balance.balance(decimals)?,
        })
    }
}

impl FriendCurrency {
    fn into_request(self, open: bool) -> ConfigRequest {
        let (friend, currency) = (self.name.friend, self.currency.currency);
        ConfigRequest::SetRequestsOpen { friend, currency, open }
    }
}

/// Percent as people write it to parts per million, exactly.
pub(super) fn parse_percent(text: &str) -> Result<u32, String> {
    const EXPECTED: &str = "expected a percentage of 0 or more with at most four decimals, as 0.25";
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(decimals) || 4 < decimals.len() {
        return Err(EXPECTED.to_owned());
    }
    let whole: Option<u32> = whole.parse().ok();
    let rest: Option<u32> = format!("{decimals:0<4}").parse().ok();
    whole
        .and_then(|whole| whole.checked_mul(PPM_PER_PERCENT))
        .zip(rest)
        .and_then(|(whole, rest)| whole.checked_add(rest))
        .ok_or_else(|| EXPECTED.to_owned())
}

const EXAMPLES: &str = "\
Examples:
  stctrl config add-friend -n bob -f bob.friend --balance=100
  stctrl config enable-friend -n bob
  stctrl config set-friend-max-debt -n bob -m 200
  stctrl config open-friend -n bob
  stctrl config set-friend-rate -n bob --percent 0.5 --add 1
  stctrl config remove-friend -n bob
  stctrl config reset-friend -n charli";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        config: Change,
    }

    fn request(line: &str) -> ConfigRequest {
        let words = std::iter::once("config").chain(line.split_whitespace());
        let change = Line::try_parse_from(words).unwrap().config;
        let none = async |_: Option<&Currency>| Ok(0);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let requests = runtime.block_on(change.into_requests(&none)).unwrap();
        requests.into_iter().next_back().unwrap()
    }

    #[test]
    fn percentages_are_exact() {
        for (text, ppm) in
            [("0", 0), ("1", 10_000), ("0.5", 5_000), ("0.0001", 1), ("100", 1_000_000)]
        {
            assert_eq!(parse_percent(text), Ok(ppm), "{text}");
        }
        for bad in ["", ".5", "-1", "1.23456", "1e3", "+1", "429497"] {
            assert!(parse_percent(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn both_generations_of_names_are_one_command() {
        for (old, new) in [
            ("set-friend-max-debt -n bob -m 5", "set-currency-max-debt -n bob --max-debt 5"),
            ("open-friend -n bob", "open-currency -n bob"),
            ("close-friend -n bob -c USD", "close-currency --name bob --currency USD"),
            ("set-friend-rate -n bob --percent 1", "set-currency-rate -n bob --percent 1.0"),
        ] {
            assert_eq!(request(old), request(new), "{old}");
        }
    }

    #[test]
    fn negative_balances_are_values() {
        let proposal = |line| {
            let ConfigRequest::AddCurrency { opening_balance, .. } = request(line) else {
                panic!("{line}")
            };
            opening_balance.get()
        };
        assert_eq!(proposal("add-currency -n bob -c USD --balance -100"), -100);
        assert_eq!(proposal("add-currency -n bob -c USD --balance=-100"), -100);
        assert_eq!(proposal("add-currency -n bob -c USD"), 0);
    }
}
