//! `stctrl config reset-friend` and `remove-friend`: beginning a channel again, and ending a
//! friendship.

use std::{
    fmt::Write as _,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
};

use clap::Args;
use offset_crypto::HashResult;
use offset_proto::{
    Balance, Credits, Currency, Name,
    app::ConfigRequest,
    report::{CurrencyStatus, FriendReport, InconsistentReport, LineReport, TermsReport},
};
use serde_json::{Value, json};

use super::{FriendName, Session, friends::Decimals, session::find_friend};
use crate::manners::{
    Answer, Usage,
    amount::{decimals_of, show},
};

/// Accept a friend's terms, and begin the channel again.
#[derive(Debug, Args)]
pub(super) struct ResetFriend {
    #[command(flatten)]
    name: FriendName,
    /// Accept without being asked.
    #[arg(short, long)]
    yes: bool,
}

impl ResetFriend {
    /// Shows the terms of both sides, asks, and accepts exactly the friend's terms that were shown.
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<Answer> {
        let name = &self.name.friend;
        let report = session.report().await?;
        let friend = find_friend(&report, name)?;
        let Some(inconsistent) = friend.standing.inconsistent() else {
            anyhow::bail!("the channel with {name} is consistent; there is nothing to reset");
        };
        let text = terms_lines(friend, inconsistent, &report.decimals).join("\n");
        let Some(remote) = &inconsistent.remote else {
            anyhow::bail!(
                "{name} has not told its terms yet; it does when it is connected next, see \
                 `stctrl info friends -n {name}`"
            );
        };
        if !self.yes {
            let command = format!("stctrl config reset-friend -n {name} --yes");
            ask(session, &text, &format!("Accept the terms of {name}?"), &command).await?;
        }
        let reset_token: HashResult = remote.reset_token;
        let request = ConfigRequest::ResetFriend { friend: name.clone(), reset_token };
        session.configure(request).await?;
        let accepted = InconsistentReport { accepted: true, ..inconsistent.clone() };
        let text = terms_lines(friend, &accepted, &report.decimals).join("\n");
        Ok(Answer::new(text, to_json(&accepted)))
    }
}

/// End a friendship. Without --forfeit nobody may owe anything, and what is pending ends first.
#[derive(Debug, Args)]
pub(super) struct RemoveFriend {
    #[command(flatten)]
    name: FriendName,
    /// Give up what is owed and end what is pending.
    #[arg(long)]
    forfeit: bool,
    /// Give it up without being asked.
    #[arg(short, long, requires = "forfeit")]
    yes: bool,
}

impl RemoveFriend {
    /// Asks the node; says what was given up, or what is still waited for. What would be given up is
    /// shown first, and needs a yes.
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<Answer> {
        let (name, forfeit) = (self.name.friend, self.forfeit);
        let report = session.report().await?;
        let before = find_friend(&report, &name)?;
        let sums = Sums::of(before);
        if forfeit && !self.yes && !sums.0.is_empty() {
            let text = sums.lines(&report.decimals, &name, "to be given up").join("\n");
            let command = format!("stctrl config remove-friend -n {name} --forfeit --yes");
            ask(
                session,
                &text,
                &format!("Give that up and end the friendship with {name}?"),
                &command,
            )
            .await?;
            if Sums::of(&session.friend(&name).await?) != sums {
                anyhow::bail!("the sums have changed meanwhile; look at them and decide again");
            }
        }
        session.configure(ConfigRequest::RemoveFriend { friend: name.clone(), forfeit }).await?;
        if forfeit {
            let text = sums.lines(&report.decimals, &name, "given up").join("\n");
            return Ok(Answer::new(text, json!({ "removed": true, "forfeited": sums.to_json() })));
        }
        let after = session.report().await?;
        let waits = after.friends.iter().any(|friend| friend.public_key == before.public_key);
        let text = if waits {
            format!(
                "{name} goes once it is connected and nothing is pending; \
                 `stctrl info friends -n {name}` shows it"
            )
        } else {
            String::new()
        };
        Ok(Answer::new(text, json!({ "removed": !waits, "forfeited": [] })))
    }
}

/// In which currencies somebody owes, or something is pending, and how the line stands.
#[derive(PartialEq)]
struct Sums(Vec<(Currency, LineReport)>);

impl Sums {
    fn of(friend: &FriendReport) -> Self {
        let active = friend.currencies.iter().filter_map(|report| match &report.status {
            CurrencyStatus::Active(line) => Some((report.currency.clone(), *line)),
            CurrencyStatus::Proposed { .. } => None,
        });
        let something = |line: &LineReport| {
            line.balance != Balance::ZERO
                || line.local_pending_debt != Credits::ZERO
                || line.remote_pending_debt != Credits::ZERO
        };
        Self(active.filter(|(_, line)| something(line)).collect())
    }

    /// What becomes of each currency, and whose loss it is.
    fn lines(&self, decimals: &Decimals, name: &Name, what: &str) -> Vec<String> {
        let line = |(currency, line): &(Currency, LineReport)| {
            let decimals = decimals_of(decimals, currency);
            let ours = show(line.local_pending_debt, decimals);
            let theirs = show(line.remote_pending_debt, decimals);
            let balance = show(line.balance, decimals);
            let owed = if Balance::ZERO < line.balance {
                format!(" ({name} owes it to you, and it is written off)")
            } else if line.balance < Balance::ZERO {
                format!(" (you owe it to {name}, who may not forget it)")
            } else {
                String::new()
            };
            format!(
                "{what}: a balance of {balance} {currency}{owed}, {ours} pending by our requests, \
                 {theirs} by theirs"
            )
        };
        self.0.iter().map(line).collect()
    }

    fn to_json(&self) -> Vec<Value> {
        let value = |(currency, line): &(Currency, LineReport)| {
            json!({
                "currency": currency.as_str(),
                "balance": line.balance.to_string(),
                "local_pending_debt": line.local_pending_debt.to_string(),
                "remote_pending_debt": line.remote_pending_debt.to_string(),
            })
        };
        self.0.iter().map(value).collect()
    }
}

/// Shows what it is about and waits for a yes on the terminal.
///
/// # Errors
/// When there is no terminal, with what it is about and the `command` that does not ask; or when the
/// answer is another one.
pub(super) async fn ask(
    session: &Session,
    what: &str,
    question: &str,
    command: &str,
) -> anyhow::Result<()> {
    if !io::stdin().is_terminal() {
        let message = format!("{what}\nthis needs a yes typed at a terminal, or `{command}`");
        return Err(Usage(message).into());
    }
    // However long the answer takes, nobody tends to a connection meanwhile.
    session.close().await;
    write!(io::stderr(), "{what}\n{question} [y/N] ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => anyhow::bail!("nothing was changed"),
    }
}

/// What a person decides by: why, and for each currency what would be under whose terms.
pub(super) fn terms_lines(
    friend: &FriendReport,
    report: &InconsistentReport,
    decimals: &Decimals,
) -> Vec<String> {
    let name = &friend.name;
    let mut lines = vec![format!("inconsistent: {}", report.reason)];
    for currency in currencies(friend, report) {
        let digits = decimals_of(decimals, currency);
        let mut line = format!(
            "{currency} balance: {} now, {} by our terms, {} by {name}'s",
            now(friend, currency).map_or_else(|| "none".to_owned(), |now| show(now, digits)),
            balance(Some(&report.local), currency, digits),
            balance(report.remote.as_ref(), currency, digits),
        );
        if let Some(proven) = report.proven.iter().find(|proven| proven.currency == *currency) {
            if proven.local != Credits::ZERO {
                let sum = show(proven.local, digits);
                let _ = write!(line, "; we have proven that {name} owes {sum} of it");
            }
            if proven.remote != Credits::ZERO {
                let sum = show(proven.remote, digits);
                let _ = write!(line, "; {name} has proven that we owe {sum} of it");
            }
        }
        lines.push(line);
    }
    let pending = |terms: &TermsReport| terms.pending;
    match (report.local.pending, report.remote.as_ref().is_some_and(pending)) {
        (true, _) => lines.push("requests that are pending end with the old balances".to_owned()),
        (false, true) => lines.push(format!("{name} has requests pending that would end")),
        (false, false) => {}
    }
    lines.push(match (report.accepted, &report.remote) {
        (true, _) => format!("{name}'s terms are accepted; waiting for {name}"),
        (false, Some(_)) => format!(
            "to begin again: `stctrl config reset-friend -n {name}` accepts {name}'s terms, or \
             {name} accepts ours"
        ),
        (false, None) => format!("{name} has not told its terms yet"),
    });
    lines
}

/// The balance of a currency under some terms, as we see it; `?` while they are not known, 0 in
/// terms that do not name it.
pub(super) fn balance(terms: Option<&TermsReport>, currency: &Currency, decimals: u8) -> String {
    let Some(terms) = terms else {
        return "?".to_owned();
    };
    let row = terms.balances.iter().find(|row| row.currency == *currency);
    show(row.map_or(Balance::ZERO, |row| row.balance), decimals)
}

fn now(friend: &FriendReport, currency: &Currency) -> Option<Balance> {
    let report = friend.currencies.iter().find(|report| report.currency == *currency)?;
    match &report.status {
        CurrencyStatus::Active(line) => Some(line.balance),
        CurrencyStatus::Proposed { .. } => None,
    }
}

fn currencies<'a>(friend: &'a FriendReport, report: &'a InconsistentReport) -> Vec<&'a Currency> {
    let terms = [Some(&report.local), report.remote.as_ref()];
    let named = terms.into_iter().flatten().flat_map(|terms| &terms.balances);
    let active = friend.currencies.iter().filter(|row| now(friend, &row.currency).is_some());
    let mut all: Vec<_> =
        named.map(|row| &row.currency).chain(active.map(|row| &row.currency)).collect();
    all.sort();
    all.dedup();
    all
}

/// The same as JSON.
pub(super) fn to_json(report: &InconsistentReport) -> Value {
    let terms = |terms: &TermsReport| {
        let balances: serde_json::Map<_, _> = terms
            .balances
            .iter()
            .map(|row| (row.currency.to_string(), Value::from(row.balance.to_string())))
            .collect();
        json!({
            "reset_token": terms.reset_token.to_string(),
            "epoch": terms.epoch,
            "pending": terms.pending,
            "balances": balances,
        })
    };
    let proven = report.proven.iter().map(|proven| {
        json!({
            "currency": proven.currency.as_str(),
            "by_us": proven.local.to_string(),
            "by_friend": proven.remote.to_string(),
        })
    });
    json!({
        "reason": report.reason.as_str(),
        "local_terms": terms(&report.local),
        "remote_terms": report.remote.as_ref().map(terms),
        "accepted": report.accepted,
        "proven": proven.collect::<Vec<_>>(),
    })
}
