//! What could be paid: `stctrl funds quote`, `stctrl info max-send` and `max-receive`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use offset_crypto::{PaymentId, PublicKey, SystemRng};
use offset_proto::{
    Credits, Text,
    app::{PayRequest, PaymentTarget, QuoteReport},
    file::InvoiceFile,
    index::MultiRoute,
    report::{CurrencyStatus, LineReport, NodeReport},
};
use serde_json::json;

use super::{CurrencyChoice, Session, failure};
use crate::manners::{
    Answer, Usage,
    amount::{self, Amount},
    inputs,
};

#[derive(Debug, Args)]
pub(super) struct QuoteArguments {
    /// Public key of the node to pay.
    #[arg(
        short,
        long,
        allow_hyphen_values = true,
        requires = "amount",
        conflicts_with = "invoice"
    )]
    dest: Option<PublicKey>,
    /// How much is to arrive.
    #[arg(short, long, allow_negative_numbers = true, requires = "dest")]
    amount: Option<Amount>,
    /// Invoice file to pay.
    #[arg(short, long)]
    invoice: Option<PathBuf>,
    #[command(flatten)]
    currency: CurrencyChoice,
    /// The most that mediators may take; if not given, as for a payment.
    #[arg(long)]
    max_fee: Option<Amount>,
    /// Over how many routes at once, at most 16; 8 if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    max_parts: Option<u8>,
}

/// How much could be sent or received.
#[derive(Debug, Args)]
pub(super) struct MostArguments {
    /// Over routes to or from this node, not over our own lines alone.
    #[arg(short, long, allow_hyphen_values = true)]
    dest: Option<PublicKey>,
    #[command(flatten)]
    currency: CurrencyChoice,
}

impl QuoteArguments {
    /// Asks the node what a payment would take now.
    ///
    /// # Errors
    /// When a file is wrong, the node cannot be reached, or the payment could not be made.
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<Answer> {
        let (target, decimals) = match (self.invoice, self.dest, self.amount) {
            (Some(path), None, None) => {
                let InvoiceFile(invoice) = inputs::read(&path)?;
                let decimals = session.decimals(Some(&invoice.currency)).await?;
                (PaymentTarget::Invoice(Box::new(invoice)), decimals)
            }
            (None, Some(destination), Some(amount)) => {
                let currency = self.currency.currency;
                let decimals = session.decimals(currency.as_ref()).await?;
                let amount = amount.credits(decimals)?;
                (PaymentTarget::Spontaneous { destination, amount, currency }, decimals)
            }
            (Some(_), ..) | (None, _, _) => {
                let usage = "say what to pay: an invoice with -i, or -d KEY and -a AMOUNT";
                return Err(Usage(usage.to_owned()).into());
            }
        };
        let max_fee = self.max_fee.map(|fee| fee.credits(decimals)).transpose()?;
        let client = session.connect().await?;
        let request = PayRequest {
            payment_id: PaymentId::random(&mut SystemRng),
            target,
            max_fee,
            deadline_ms: None,
            note: Text::cut(""),
            max_parts: self.max_parts,
        };
        let quote = client.quote(request).await?;
        match &quote.ways {
            Ok(ways) => Ok(shown(&quote, ways, decimals)),
            Err(failed) => {
                let friends = session.report().await?.friends;
                let why = failure::sentence(failed, &quote.destination, &friends, decimals);
                bail!("it could not be paid now: {why}")
            }
        }
    }
}

fn shown(quote: &QuoteReport, ways: &MultiRoute, decimals: u8) -> Answer {
    let fees = amount::show(ways.total_fee, decimals);
    let mut lines = vec![format!("It can be paid now.\nFees: {fees}")];
    let mut routes = Vec::new();
    for route in &ways.routes {
        let over = route.keys.len().saturating_sub(2);
        let way = match over {
            0 => "directly".to_owned(),
            1 => "over 1 node".to_owned(),
            many => format!("over {many} nodes"),
        };
        let amount = amount::show(route.amount, decimals);
        lines.push(format!("{amount} {way}, fee {}", amount::show(route.fee, decimals)));
        routes.push(json!({
            "keys": route.keys.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "amount": route.amount.to_string(),
            "fee": route.fee.to_string(),
        }));
    }
    let json = json!({
        "destination": quote.destination.to_string(),
        "currency": quote.currency.as_str(),
        "amount": quote.amount.to_string(),
        "fee": ways.total_fee.to_string(),
        "routes": routes,
    });
    Answer::new(lines.join("\n"), json)
}

impl MostArguments {
    /// How much can be sent, or received.
    ///
    /// # Errors
    /// When the node, or the index server, cannot be reached.
    pub(super) async fn run(self, session: &Session, receive: bool) -> anyhow::Result<Answer> {
        let client = session.connect().await?;
        let report = client.report().await?;
        let currency = self.currency.of(&report);
        let most = match self.dest {
            None => own_lines(&report, &currency, receive),
            Some(dest) => client.capacity(Some(currency.clone()), dest, receive).await?,
        };
        let shown = amount::show(most, amount::decimals_of(&report.decimals, &currency));
        let json = json!({ "currency": currency.as_str(), "amount": most.to_string() });
        Ok(Answer::new(shown, json))
    }
}

/// What the lines with friends who are online carry together.
fn own_lines(report: &NodeReport, currency: &offset_proto::Currency, receive: bool) -> Credits {
    let online = report.friends.iter().filter(|friend| friend.online);
    let lines =
        online.flat_map(|friend| &friend.currencies).filter(|line| line.currency == *currency);
    let rooms = lines.filter_map(|line| match &line.status {
        CurrencyStatus::Active(line) => Some(room(line, receive)),
        CurrencyStatus::Proposed { .. } => None,
    });
    rooms.fold(Credits::ZERO, |sum, room| sum.checked_add(room).unwrap_or(Credits(u128::MAX)))
}

fn room(line: &LineReport, receive: bool) -> Credits {
    let (open, balance, max_debt, frozen) = if receive {
        let balance = line.balance.mirrored();
        (line.local_requests_open, balance, line.remote_max_debt, line.remote_pending_debt)
    } else {
        (line.remote_requests_open, line.balance, line.local_max_debt, line.local_pending_debt)
    };
    let room = balance.room_above(max_debt).checked_sub(frozen).unwrap_or_default();
    if open { room } else { Credits::ZERO }
}
