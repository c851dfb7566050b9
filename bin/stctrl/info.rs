//! `stctrl info`: looks at the node.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use offset_proto::{
    Balance, Currency, Name,
    file::{FriendFile, OffsetFile as _, PublicFile as _},
    report::{CurrencyStatus, FriendReport, NodeReport},
};
use serde_json::json;

use super::{
    CurrencyChoice, Session, friends, last_token::LastTokenArguments, pending,
    quote::MostArguments, recover, servers, session::find_friend, status,
};
use crate::manners::{Access, Answer, OutputFile, amount, qr::Qr};

/// The commands of `stctrl info`.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum Info {
    /// Print the node's public key.
    PublicKey,
    /// Print the balance, summed over all friends.
    Balance(BalanceArguments),
    /// Print the configured relays.
    Relays,
    /// Print the configured index servers; the connected one is marked with a star.
    Index,
    /// Print the friends and how the lines with them stand.
    Friends(FriendsArguments),
    /// Write what a friend signed last, with which anybody can check what it agreed to.
    FriendLastToken(LastTokenArguments),
    /// Write the friend file with which others add this node as a friend.
    ExportTicket(ExportTicket),
    /// Print in one look what is connected and what is wrong.
    Status,
    /// Print the nodes that are no friends, and prove to this node, which recovers, that they were.
    Recoverable,
    /// Print what pending payments freeze, for how long, and whose turn it is.
    Pending,
    /// Print how much can be sent now.
    MaxSend(MostArguments),
    /// Print how much can be received now.
    MaxReceive(MostArguments),
}

#[derive(Debug, Args)]
pub(super) struct BalanceArguments {
    #[command(flatten)]
    currency: CurrencyChoice,
    /// Print a line for each currency.
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
pub(super) struct FriendsArguments {
    /// Print everything about this friend alone.
    #[arg(short, long)]
    name: Option<Name>,
    #[command(flatten)]
    currency: CurrencyChoice,
}

#[derive(Debug, Args)]
pub(super) struct ExportTicket {
    /// Friend file to write.
    #[arg(short, long, short_alias = 't', required_unless_present = "qr")]
    output: Option<PathBuf>,
    /// Draw it as a QR code; without --output, only that.
    #[arg(long)]
    qr: bool,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
}

impl Info {
    /// Asks the node and says what it reports.
    ///
    /// # Errors
    /// When the node cannot be reached, or a file cannot be written.
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<Answer> {
        match self {
            Self::PublicKey => {
                let key = session.report().await?.public_key.to_string();
                Ok(Answer::new(key.clone(), json!({ "public_key": key })))
            }
            Self::Balance(arguments) => arguments.answer(&session.report().await?),
            Self::Relays => Ok(servers::relays(&session.report().await?.relays)),
            Self::Index => Ok(servers::index_servers(&session.report().await?.index_servers)),
            Self::Friends(arguments) => arguments.answer(&session.report().await?),
            Self::FriendLastToken(arguments) => arguments.run(session).await,
            Self::ExportTicket(arguments) => arguments.run(session).await,
            Self::Recoverable => Ok(recover::recoverable(&session.report().await?)),
            Self::Pending => pending::run(session).await,
            Self::MaxSend(arguments) => arguments.run(session, false).await,
            Self::MaxReceive(arguments) => arguments.run(session, true).await,
            Self::Status => Ok(status::answer(&session.report().await?)),
        }
    }
}

impl BalanceArguments {
    fn answer(self, report: &NodeReport) -> anyhow::Result<Answer> {
        if !self.all {
            let currency = self.currency.of(report);
            let sum = balance(&report.friends, &currency)?;
            let json = json!({ "currency": currency.as_str(), "balance": sum.to_string() });
            let shown = amount::show(sum, amount::decimals_of(&report.decimals, &currency));
            return Ok(Answer::new(shown, json));
        }
        let (mut lines, mut values) = (Vec::new(), Vec::new());
        for currency in currencies(report) {
            // A sum that does not fit hides no other.
            let sum = balance(&report.friends, &currency).ok();
            let decimals = amount::decimals_of(&report.decimals, &currency);
            let shown = sum.map_or(TOO_LARGE.to_owned(), |sum| amount::show(sum, decimals));
            lines.push(format!("{currency}: {shown}"));
            let sum = sum.map(|sum| sum.to_string());
            values.push(json!({ "currency": currency.as_str(), "balance": sum }));
        }
        Ok(Answer::new(lines.join("\n"), json!({ "balances": values })))
    }
}

impl FriendsArguments {
    fn answer(self, report: &NodeReport) -> anyhow::Result<Answer> {
        let Some(name) = self.name else {
            return Ok(friends::table(
                &report.friends,
                &self.currency.of(report),
                &report.decimals,
            ));
        };
        find_friend(report, &name).map(|friend| friends::detail(friend, &report.decimals))
    }
}

impl ExportTicket {
    async fn run(self, session: &Session) -> anyhow::Result<Answer> {
        let prepare = |path| OutputFile::prepare(path, Access::Public, self.force);
        let output = self.output.as_deref().map(prepare).transpose()?;
        let file = friend_file(&session.report().await?);
        let line = file.to_line();
        let drawn = if self.qr { Qr::of(&line)?.for_stdout()? } else { String::new() };
        if let Some(output) = output {
            output.write(file.to_toml().as_bytes())?;
        }
        Ok(Answer::new(drawn, json!({ "text": line })))
    }
}

impl CurrencyChoice {
    /// The chosen currency, else the node's default.
    pub(super) fn of(self, report: &NodeReport) -> Currency {
        self.currency.unwrap_or_else(|| report.default_currency.clone())
    }
}

/// With which others add the node as a friend.
#[must_use]
pub fn friend_file(report: &NodeReport) -> FriendFile {
    FriendFile {
        public_key: report.public_key,
        relays: report.relays.iter().map(|relay| relay.server.clone()).collect(),
    }
}

/// What the node has in a currency, over all its friends. Positive: they owe it.
///
/// # Errors
/// When the sum does not fit.
pub fn balance(friends: &[FriendReport], currency: &Currency) -> anyhow::Result<Balance> {
    let lines = friends.iter().flat_map(|friend| &friend.currencies);
    lines
        .filter(|line| line.currency == *currency)
        .try_fold(Balance::ZERO, |sum, line| match &line.status {
            CurrencyStatus::Active(active) => sum.checked_add_balance(active.balance),
            CurrencyStatus::Proposed { .. } => Some(sum),
        })
        .context("the sum of the balances is too large; look at them with `stctrl info friends`")
}

const TOO_LARGE: &str = "too large to add up; look at the balances with `stctrl info friends`";

/// The default currency and then all others, each once.
fn currencies(report: &NodeReport) -> Vec<Currency> {
    let lines = report.friends.iter().flat_map(|friend| &friend.currencies);
    let mut others: Vec<Currency> = lines
        .map(|line| line.currency.clone())
        .filter(|currency| *currency != report.default_currency)
        .collect();
    others.sort();
    others.dedup();
    std::iter::once(report.default_currency.clone()).chain(others).collect()
}

const EXAMPLES: &str = "\
Examples:
  stctrl info balance --all
  stctrl info friends -n bob
  stctrl --json info friends
  stctrl info friend-last-token -n bob -o bob.token
  stctrl info export-ticket -o me.friend
  stctrl info export-ticket --qr";

#[cfg(test)]
mod tests {
    use offset_crypto::{Identity, SeededRng};
    use offset_proto::{
        Rate,
        friend::Proposal,
        report::{CurrencyReport, FriendRecovery, FriendStanding, LineReport},
    };

    use super::*;

    fn line(currency: &str, balance: i128) -> CurrencyReport {
        let balance = Balance::new(balance).unwrap();
        let status = CurrencyStatus::Active(LineReport { balance, ..LineReport::default() });
        CurrencyReport { currency: currency.parse().unwrap(), rate: Rate::default(), status }
    }

    fn report(friends: Vec<Vec<CurrencyReport>>) -> NodeReport {
        let public_key = Identity::random(&mut SeededRng::new(1)).public_key();
        let friend = |(i, currencies): (usize, _)| FriendReport {
            name: format!("friend{i}").parse().unwrap(),
            public_key,
            relays: Vec::new(),
            enabled: true,
            online: true,
            standing: FriendStanding::Consistent,
            recovery: FriendRecovery::None,
            last_error: "".parse().unwrap(),
            currencies,
        };
        NodeReport {
            public_key,
            default_currency: Currency::fallback(),
            accepts_spontaneous: true,
            recovering: false,
            recoverable: Vec::new(),
            relays: Vec::new(),
            index_servers: Vec::new(),
            friends: friends.into_iter().enumerate().map(friend).collect(),
            more_friends: false,
            decimals: Default::default(),
            last_event: 0,
        }
    }

    fn shown(all: bool, currency: Option<&str>, report: &NodeReport) -> String {
        let currency = CurrencyChoice { currency: currency.map(|text| text.parse().unwrap()) };
        BalanceArguments { currency, all }.answer(report).unwrap().text().to_owned()
    }

    #[test]
    fn balances_are_summed_over_friends_by_currency() {
        let report =
            report(vec![vec![line("USD", 7), line("credit", 50)], vec![line("credit", -60)]]);
        assert_eq!(shown(false, None, &report), "-10");
        assert_eq!(shown(false, Some("USD"), &report), "7");
        assert_eq!(shown(false, Some("EUR"), &report), "0");
        assert_eq!(shown(true, None, &report), "credit: -10\nUSD: 7");
    }

    #[test]
    fn a_proposal_is_no_balance() {
        let mut proposed = line("credit", 0);
        let local = Proposal {
            opening_balance: Balance::new(100).unwrap(),
            max_debt: offset_proto::Credits(5),
            requests_open: true,
        };
        proposed.status = CurrencyStatus::Proposed { local: Some(local), remote: None };
        assert_eq!(shown(false, None, &report(vec![vec![proposed]])), "0");
    }

    #[test]
    fn sums_that_do_not_fit_are_errors() {
        let report = report(vec![vec![line("credit", i128::MAX)], vec![line("credit", 1)]]);
        assert!(balance(&report.friends, &Currency::fallback()).is_err());
    }
}
