//! `stctrl history`: the node's books.

mod export;
mod formats;

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use offset_app::AppClient;
use offset_crypto::PublicKey;
use offset_proto::{
    Credits, Currency, Name, Timestamp,
    history::{Adjustment, HistoryEntry, HistoryEvent, HistoryQuery},
    report::NodeReport,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

use super::Session;
use crate::manners::{
    Answer,
    amount::{decimals_of, show},
    moment::{Moment, rfc3339},
    names,
    table::{Header, draw},
};

/// The commands of `stctrl history`.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum History {
    /// Print the last changes of balances, oldest first.
    List(List),
    /// Write all changes of balances, for a spreadsheet or a bookkeeping program.
    Export(export::Export),
    /// Print what was earned by passing on payments of others, by friend and currency.
    Fees(Fees),
}

/// Which entries of the books.
#[derive(Debug, Args)]
pub(super) struct Filter {
    #[command(flatten)]
    period: Period,
    /// Only with this friend.
    #[arg(short = 'n', long, visible_alias = "name")]
    friend: Option<Name>,
    /// Only in this currency; all if none is given.
    #[arg(short, long)]
    currency: Option<Currency>,
}

/// From when and until when.
#[derive(Debug, Args)]
pub(super) struct Period {
    /// From this moment on: 2026-03-01, 2026-03-01T12:00:00Z, or how long ago, as 7d or 12h.
    #[arg(long)]
    since: Option<Moment>,
    /// Until before this moment.
    #[arg(long)]
    until: Option<Moment>,
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    filter: Filter,
    /// How many entries at most.
    #[arg(short, long, default_value_t = 50)]
    limit: usize,
}

#[derive(Debug, Args)]
pub(super) struct Fees {
    #[command(flatten)]
    period: Period,
}

impl History {
    /// Reads the node's books.
    ///
    /// # Errors
    /// When the node cannot be reached, or a file cannot be written.
    pub(super) async fn run(self, session: &Session, json: bool) -> anyhow::Result<Answer> {
        match self {
            Self::List(list) => list.run(session).await,
            Self::Export(export) => export.run(session, json).await,
            Self::Fees(fees) => fees.run(session).await,
        }
    }
}

impl List {
    async fn run(self, session: &Session) -> anyhow::Result<Answer> {
        let client = session.connect().await?;
        let query = HistoryQuery { newest_first: true, ..self.filter.query()? };
        let mut entries = Vec::new();
        let limit = self.limit;
        each(&client, query, |entry| {
            if entries.len() < limit {
                entries.push(entry);
            }
            Ok(entries.len() < limit)
        })
        .await?;
        if entries.is_empty() {
            self.filter.check_friend(&client.report().await?)?;
        }
        let decimals = client.report_without_friends().await?.decimals;
        entries.reverse();
        let values: Vec<_> = entries.iter().map(entry_json).collect();
        let text = if entries.is_empty() {
            "No entries.".to_owned()
        } else {
            let titles = ["time", "friend", "what", "change", "balance", "currency", "note"];
            let row = |entry: &HistoryEntry| {
                let decimals = decimals_of(&decimals, &entry.currency);
                [
                    rfc3339(entry.time),
                    entry.friend_name.to_string(),
                    kind(&entry.event).to_owned(),
                    show(entry.delta, decimals),
                    show(entry.balance, decimals),
                    entry.currency.to_string(),
                    remark(&entry.event, decimals),
                ]
            };
            draw(Header::Plain, titles, entries.iter().map(row))
        };
        Ok(Answer::new(text, json!({ "entries": values })))
    }
}

impl Fees {
    async fn run(self, session: &Session) -> anyhow::Result<Answer> {
        let client = session.connect().await?;
        let query = HistoryQuery { only_fees: true, ..self.period.query()? };
        let mut sums: BTreeMap<(PublicKey, Currency), (Name, u64, Credits)> = BTreeMap::new();
        each(&client, query, |entry| {
            if let HistoryEvent::ForwardedIn { fee, .. } = entry.event {
                let key = (entry.friend, entry.currency);
                let sum = sums.entry(key).or_insert((entry.friend_name.clone(), 0, Credits::ZERO));
                // The last name is the one that the user knows.
                sum.0 = entry.friend_name;
                sum.1 = sum.1.saturating_add(1);
                sum.2 = sum.2.checked_add(fee).context("the sum of the fees is too large")?;
            }
            Ok(true)
        })
        .await?;
        let decimals = client.report_without_friends().await?.decimals;
        let mut rows: Vec<_> = sums.into_iter().collect();
        rows.sort_by(|((_, a), (name_a, ..)), ((_, b), (name_b, ..))| {
            (a, name_a).cmp(&(b, name_b))
        });
        let values: Vec<_> = rows
            .iter()
            .map(|((friend, currency), (name, payments, fees))| {
                json!({
                    "friend": name.as_str(),
                    "friend_key": friend.to_string(),
                    "currency": currency.as_str(),
                    "payments": payments,
                    "fees": fees.to_string(),
                })
            })
            .collect();
        let text = if rows.is_empty() {
            "No fees.".to_owned()
        } else {
            let shown = rows.iter().map(|((_, currency), (name, payments, fees))| {
                let fees = show(*fees, decimals_of(&decimals, currency));
                [currency.to_string(), name.to_string(), payments.to_string(), fees]
            });
            draw(Header::Plain, ["currency", "friend", "payments", "fees"], shown)
        };
        Ok(Answer::new(text, json!({ "fees": values })))
    }
}

impl Filter {
    fn query(&self) -> anyhow::Result<HistoryQuery> {
        let (friend, currency) = (self.friend.clone(), self.currency.clone());
        Ok(HistoryQuery { friend, currency, ..self.period.query()? })
    }

    /// A name that nobody has and nobody had is a mistake.
    fn check_friend(&self, report: &NodeReport) -> anyhow::Result<()> {
        let Some(name) = &self.friend else { return Ok(()) };
        if report.friends.iter().any(|friend| friend.name == *name) {
            return Ok(());
        }
        let known = report.friends.iter().map(|friend| friend.name.as_str());
        let suggestion = names::suggestion(name.as_str(), known, "stctrl info friends");
        Err(anyhow!("there is no friend named {name} in the books; {suggestion}"))
    }
}

impl Period {
    fn query(&self) -> anyhow::Result<HistoryQuery> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is wrong")?;
        let now = Timestamp(u64::try_from(now.as_millis()).context("the clock is wrong")?);
        let all = HistoryQuery::default();
        Ok(HistoryQuery {
            since: self.since.map_or(all.since, |since| since.at(now)),
            until: self.until.map_or(all.until, |until| until.at(now)),
            ..all
        })
    }
}

/// Gives every entry to `take`, page by page, until it has enough.
async fn each(
    client: &AppClient,
    mut query: HistoryQuery,
    mut take: impl FnMut(HistoryEntry) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    loop {
        let page = client.history(query.clone()).await?;
        for entry in page.entries {
            if !take(entry)? {
                return Ok(());
            }
        }
        if page.next == 0 {
            return Ok(());
        }
        query.after = page.next;
    }
}

/// The word for a kind of entry.
const fn kind(event: &HistoryEvent) -> &'static str {
    match event {
        HistoryEvent::Opened => "opened",
        HistoryEvent::Paid { .. } => "paid",
        HistoryEvent::Received { .. } => "received",
        HistoryEvent::ForwardedOut { .. } => "forwarded-out",
        HistoryEvent::ForwardedIn { .. } => "forwarded-in",
        HistoryEvent::Cleared { .. } => "cleared",
        HistoryEvent::Adjusted(Adjustment::WrittenOff) => "written-off",
        HistoryEvent::Adjusted(Adjustment::Reset) => "reset",
        HistoryEvent::Adjusted(Adjustment::Recovered) => "recovered",
        HistoryEvent::Closed => "closed",
        HistoryEvent::CarriedForward => "carried-forward",
    }
}

/// What there is to say of an entry in a table.
fn remark(event: &HistoryEvent, decimals: u8) -> String {
    let shown = |fee: &Credits| show(fee, decimals);
    match event {
        HistoryEvent::Paid { fee, note, .. } => match (fee.0, note.as_str()) {
            (0, note) => note.to_owned(),
            (_, "") => format!("fees {}", shown(fee)),
            (_, note) => format!("{note} (fees {})", shown(fee)),
        },
        HistoryEvent::Received { description, .. } => description.to_string(),
        HistoryEvent::ForwardedIn { fee, .. } if fee.0 != 0 => format!("earned {}", shown(fee)),
        HistoryEvent::Cleared { fee, .. } if fee.0 != 0 => format!("fees {}", shown(fee)),
        HistoryEvent::Opened
        | HistoryEvent::ForwardedOut { .. }
        | HistoryEvent::ForwardedIn { .. }
        | HistoryEvent::Cleared { .. }
        | HistoryEvent::Adjusted(_)
        | HistoryEvent::Closed
        | HistoryEvent::CarriedForward => String::new(),
    }
}

/// An entry for programs.
fn entry_json(entry: &HistoryEntry) -> Value {
    let mut value = json!({
        "sequence": entry.sequence,
        "time": rfc3339(entry.time),
        "friend": entry.friend_name.as_str(),
        "friend_key": entry.friend.to_string(),
        "currency": entry.currency.as_str(),
        "kind": kind(&entry.event),
        "delta": entry.delta.to_string(),
        "balance": entry.balance.to_string(),
    });
    let details = match &entry.event {
        HistoryEvent::Paid { payment_id, invoice_id, destination, amount, fee, note } => json!({
            "payment_id": payment_id.to_string(),
            "invoice_id": invoice_id.to_string(),
            "destination": destination.to_string(),
            "amount": amount.to_string(),
            "fee": fee.to_string(),
            "note": note.as_str(),
        }),
        HistoryEvent::Received { invoice_id, description } => json!({
            "invoice_id": invoice_id.to_string(),
            "description": description.as_str(),
        }),
        HistoryEvent::ForwardedOut { from, forward_id } => json!({
            "from": from.map(|key| key.to_string()),
            "forward_id": forward_id.to_string(),
        }),
        HistoryEvent::ForwardedIn { to, forward_id, fee } => json!({
            "to": to.map(|key| key.to_string()),
            "forward_id": forward_id.to_string(),
            "fee": fee.to_string(),
        }),
        HistoryEvent::Cleared { payment_id, fee } => json!({
            "payment_id": payment_id.to_string(),
            "fee": fee.to_string(),
        }),
        HistoryEvent::Opened
        | HistoryEvent::Adjusted(_)
        | HistoryEvent::Closed
        | HistoryEvent::CarriedForward => Value::Null,
    };
    if let (Value::Object(value), Value::Object(details)) = (&mut value, details) {
        value.extend(details);
    }
    value
}

const EXAMPLES: &str = "\
Examples:
  stctrl history list --since 7d
  stctrl history export --format csv -o books.csv
  stctrl history fees --since 2026-01-01 --until 2026-02-01";
