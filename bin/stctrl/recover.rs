//! `stctrl config recover-friend` and `end-recovery`: a node whose database was older than what its
//! friends know.

use clap::Args;
use offset_proto::{
    Balance,
    app::ConfigRequest,
    report::{CurrencyReport, CurrencyStatus, FriendRecovery, FriendReport},
};
use serde_json::{Value, json};

use super::{
    FriendName, Session,
    friends::{Decimals, currency_json},
    repair::ask,
    session::find_friend,
};
use crate::manners::{
    Answer,
    amount::{decimals_of, show},
};

/// Accept the state that a friend proves with this node's own signature.
#[derive(Debug, Args)]
pub(super) struct RecoverFriend {
    #[command(flatten)]
    name: FriendName,
    /// Accept without being asked.
    #[arg(short, long)]
    yes: bool,
}

impl RecoverFriend {
    /// Shows the proven state beside the node's own, asks, and accepts exactly what was shown.
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<Answer> {
        let name = &self.name.friend;
        let report = session.report().await?;
        let friend = find_friend(&report, name)?;
        let FriendRecovery::Proven { token, .. } = friend.recovery else {
            anyhow::bail!(
                "{name} has proven no later state; nothing is to be recovered, or {name} has not \
                 been connected yet: see `stctrl info friends -n {name}`"
            );
        };
        let text = lines(friend, &report.decimals).join("\n");
        if !self.yes {
            let command = format!("stctrl config recover-friend -n {name} --yes");
            ask(&text, &format!("Accept the state that {name} proves?"), &command)?;
        }
        session.configure(ConfigRequest::RecoverFriend { friend: name.clone(), token }).await?;
        Ok(Answer::new(text, to_json(&friend.recovery)))
    }
}

/// Wait for nobody any more, when every friend that can be reached has been recovered.
#[derive(Debug, Args)]
pub(super) struct EndRecovery {
    /// Cancel requests that may have been paid already while nobody says so. What was paid for them
    /// is lost.
    #[arg(long)]
    cancel_unknown: bool,
}

impl EndRecovery {
    /// The request.
    pub(super) const fn into_request(self) -> ConfigRequest {
        ConfigRequest::EndRecovery { cancel_unknown: self.cancel_unknown }
    }
}

/// What a person decides by: for each currency the balance now and as it is proven.
pub(super) fn lines(friend: &FriendReport, decimals: &Decimals) -> Vec<String> {
    let name = &friend.name;
    let proven = match &friend.recovery {
        FriendRecovery::None => return Vec::new(),
        FriendRecovery::Waiting => {
            return vec![format!("recovery: nothing was agreed with {name} yet")];
        }
        FriendRecovery::Proven { currencies, .. } => currencies,
    };
    let mut lines = vec![format!(
        "recovery: {name} proves, with this node's own signature, that this node has lost state"
    )];
    let mut currencies: Vec<_> = friend.currencies.iter().chain(proven).collect();
    currencies.sort_by(|a, b| a.currency.cmp(&b.currency));
    currencies.dedup_by(|a, b| a.currency == b.currency);
    for CurrencyReport { currency, .. } in currencies {
        let of = |reports: &[CurrencyReport]| {
            let report = reports.iter().find(|report| report.currency == *currency);
            let digits = decimals_of(decimals, currency);
            report.map_or_else(|| "none".to_owned(), |report| show(balance(report), digits))
        };
        lines.push(format!(
            "{currency} balance: {} as this node remembers, {} as is proven",
            of(&friend.currencies),
            of(proven)
        ));
    }
    lines.push(format!("to go on: `stctrl config recover-friend -n {name}`"));
    lines
}

/// Where a friendship stands in a recovery, as JSON.
pub(super) fn to_json(recovery: &FriendRecovery) -> Value {
    match recovery {
        FriendRecovery::None => json!({ "kind": "none" }),
        FriendRecovery::Waiting => json!({ "kind": "waiting" }),
        FriendRecovery::Proven { token, currencies } => json!({
            "kind": "proven",
            "token": token.to_string(),
            "currencies": currencies.iter().map(currency_json).collect::<Vec<_>>(),
        }),
    }
}

const fn balance(report: &CurrencyReport) -> Balance {
    match &report.status {
        CurrencyStatus::Active(line) => line.balance,
        CurrencyStatus::Proposed { .. } => Balance::ZERO,
    }
}
