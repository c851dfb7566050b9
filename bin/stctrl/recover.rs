//! `stctrl config recover-friend` and `end-recovery`: a node whose database was older than what its
//! friends know.

use clap::Args;
use offset_crypto::{HashResult, PublicKey};
use offset_proto::{
    Balance,
    app::ConfigRequest,
    report::{
        CurrencyReport, CurrencyStatus, FriendRecovery, FriendReport, NodeReport, RecoverableReport,
    },
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
    /// Public key of a node that is no friend and proves that it was one, see `stctrl info
    /// recoverable`: it becomes a friend of that name.
    #[arg(short, long, allow_hyphen_values = true)]
    key: Option<PublicKey>,
    /// Accept without being asked.
    #[arg(short, long)]
    yes: bool,
}

impl RecoverFriend {
    /// Shows the proven state beside the node's own, asks, and accepts exactly what was shown.
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<Answer> {
        let name = &self.name.friend;
        let report = session.report().await?;
        if let Some(key) = self.key {
            return self.run_for_stranger(session, &report, key).await;
        }
        let friend = find_friend(&report, name).map_err(|error| {
            if report.recoverable.is_empty() {
                return error;
            }
            let what = "nodes that are no friends prove that they were: with --key one of them becomes \
                        a friend of this name, see `stctrl info recoverable`";
            anyhow::anyhow!("{error}; {what}")
        })?;
        let FriendRecovery::Proven { token, .. } = friend.recovery else {
            anyhow::bail!(
                "{name} has proven no later state; nothing is to be recovered, or {name} has not \
                 been connected yet: see `stctrl info friends -n {name}`"
            );
        };
        let text = proven_lines(friend, &report.decimals).join("\n");
        if !self.yes {
            let command = format!("stctrl config recover-friend -n {name} --yes");
            ask(session, &text, &format!("Accept the state that {name} proves?"), &command).await?;
        }
        self.accept(session, token).await?;
        let text = format!("{text}\nthe proven state is accepted");
        Ok(Answer::new(text, to_json(&friend.recovery)))
    }

    /// The same for a node that this one has forgotten.
    async fn run_for_stranger(
        &self,
        session: &Session,
        report: &NodeReport,
        key: PublicKey,
    ) -> anyhow::Result<Answer> {
        let name = &self.name.friend;
        let Some(node) = report.recoverable.iter().find(|node| node.public_key == key) else {
            anyhow::bail!(
                "the node {key} has proven nothing that this node signed; it does when it is \
                 connected and this node recovers (`stnode --recover`): see `stctrl info recoverable`"
            );
        };
        let text = recoverable_lines(node, &report.decimals).join("\n");
        if !self.yes {
            let command = format!("stctrl config recover-friend -n {name} --key={key} --yes");
            let question = format!("Take that node for a friend named {name}, with this state?");
            ask(session, &text, &question, &command).await?;
        }
        self.accept(session, node.token).await?;
        let text = format!("{text}\nthe proven state is accepted; {name} is a friend now");
        Ok(Answer::new(text, recoverable_json(node)))
    }

    async fn accept(&self, session: &Session, token: HashResult) -> anyhow::Result<()> {
        let friend = self.name.friend.clone();
        let request = ConfigRequest::RecoverFriend { friend, token, public_key: self.key };
        session.configure(request).await
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

/// `stctrl info recoverable`.
pub(super) fn recoverable(report: &NodeReport) -> Answer {
    let nodes = &report.recoverable;
    let json = json!({ "recoverable": nodes.iter().map(recoverable_json).collect::<Vec<_>>() });
    let text = if nodes.is_empty() && !report.recovering {
        "this node does not recover: start it with `stnode --recover` after a loss".to_owned()
    } else if nodes.is_empty() {
        "no node that is no friend has proven yet that it was one".to_owned()
    } else {
        let lines = nodes.iter().flat_map(|node| {
            let key = &node.public_key;
            let next = format!("to go on: `stctrl config recover-friend -n NAME --key={key}`");
            recoverable_lines(node, &report.decimals).into_iter().chain([next])
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    Answer::new(text, json)
}

fn recoverable_lines(node: &RecoverableReport, decimals: &Decimals) -> Vec<String> {
    let key = &node.public_key;
    let mut lines =
        vec![format!("{key} proves, with this node's own signature, that it was a friend")];
    for report in &node.currencies {
        let (currency, digits) = (&report.currency, decimals_of(decimals, &report.currency));
        lines.push(format!("{currency} balance: {} as is proven", show(balance(report), digits)));
    }
    lines
}

fn recoverable_json(node: &RecoverableReport) -> Value {
    json!({
        "public_key": node.public_key.to_string(),
        "token": node.token.to_string(),
        "currencies": node.currencies.iter().map(currency_json).collect::<Vec<_>>(),
    })
}

/// What a person decides by, and how to go on.
pub(super) fn lines(friend: &FriendReport, decimals: &Decimals) -> Vec<String> {
    let mut lines = proven_lines(friend, decimals);
    if let FriendRecovery::Proven { .. } = friend.recovery {
        lines.push(format!("to go on: `stctrl config recover-friend -n {}`", friend.name));
    }
    lines
}

/// For each currency the balance now and as it is proven.
fn proven_lines(friend: &FriendReport, decimals: &Decimals) -> Vec<String> {
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
