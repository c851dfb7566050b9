//! `stctrl funds`: pays.

use std::{
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use offset_app::{AppClient, Error};
use offset_crypto::{PaymentId, PublicKey, SystemRng};
use offset_proto::{
    Credits, Text, Timestamp,
    app::{
        AppEvent, ErrorCode, JournalEntry, JournalEvent, PayRequest, PaymentReport, PaymentStatus,
        PaymentTarget,
    },
    file::{InvoiceFile, OffsetFile as _, PaymentFile, PublicFile as _, ReceiptFile},
    payment::Receipt,
};
use serde_json::json;

use super::{CurrencyChoice, Session, failure, quote::QuoteArguments};
use crate::manners::{
    Access, Answer, OutputFile,
    amount::{self, Amount},
    answer::say,
    daemon::signals,
    inputs,
    time::moment,
};

/// The commands of `stctrl funds`.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum Funds {
    /// Pay a node whose public key is known, without an invoice.
    #[command(after_help = SEND_EXAMPLE)]
    SendFunds(SendFunds),
    /// Pay an invoice and keep the receipt. Of a payment that the seller may hold, the receipt comes
    /// later: see `stctrl buyer payment-status`.
    #[command(after_help = INVOICE_EXAMPLE)]
    PayInvoice(PayInvoice),
    /// Set off what friends owe you against what you owe others, along cycles.
    #[command(after_help = REBALANCE_EXAMPLE)]
    Rebalance(super::rebalance::Rebalance),
    /// Ask what a payment would cost now, without paying.
    Quote(QuoteArguments),
}

/// What every payment may say.
#[derive(Debug, Args)]
pub(super) struct Terms {
    /// The most that mediators may take; if not given, 5% of the amount, or up to 100 of its smallest
    /// units but no more than the amount.
    #[arg(long, allow_negative_numbers = true)]
    max_fee: Option<Amount>,
    /// Seconds after which to give up, as long as nothing is paid.
    #[arg(long, allow_negative_numbers = true)]
    deadline: Option<u32>,
    /// Over how many routes at once, at most 16; 8 if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16), allow_negative_numbers = true)]
    max_parts: Option<u8>,
    /// A note for your own books.
    #[arg(long, default_value = "")]
    note: Text,
    /// Replace files that exist.
    #[arg(long)]
    pub(super) force: bool,
}

#[derive(Debug, Args)]
pub(super) struct SendFunds {
    /// Public key of the node to pay.
    #[arg(short, long, allow_hyphen_values = true)]
    dest: PublicKey,
    /// How much is to arrive.
    #[arg(short, long, allow_negative_numbers = true)]
    amount: Amount,
    #[command(flatten)]
    currency: CurrencyChoice,
    /// Receipt file to write.
    #[arg(short, long)]
    receipt: Option<PathBuf>,
    #[command(flatten)]
    terms: Terms,
}

#[derive(Debug, Args)]
pub(super) struct PayInvoice {
    /// Invoice file to pay.
    #[arg(short, long)]
    invoice: PathBuf,
    /// Receipt file to write.
    #[arg(short, long)]
    receipt: PathBuf,
    #[command(flatten)]
    terms: Terms,
}

impl Funds {
    /// Pays, and writes the receipt.
    ///
    /// # Errors
    /// When a file is wrong or cannot be written, the node cannot be reached, or the payment fails.
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<Answer> {
        let (invoice, send, receipt, terms) = match self {
            Self::Rebalance(rebalance) => return rebalance.run(session).await,
            Self::Quote(arguments) => return arguments.run(session).await,
            Self::SendFunds(SendFunds { dest, amount, currency, receipt, terms }) => {
                (None, Some((dest, amount, currency.currency)), receipt, terms)
            }
            Self::PayInvoice(PayInvoice { invoice, receipt, terms }) => {
                let invoice: InvoiceFile = inputs::read(&invoice)?;
                (Some(invoice.0), None, Some(receipt), terms)
            }
        };
        // Nothing is paid when its receipt could not be kept.
        let force = terms.force;
        let prepare = |path: &Path| OutputFile::prepare(path, Access::Public, force);
        let receipt = receipt.as_deref().map(prepare).transpose()?;
        let hold_until = invoice.as_ref().and_then(|invoice| invoice.hold_until);
        let currency = invoice.as_ref().map(|invoice| &invoice.currency);
        let currency = currency.or(send.as_ref().and_then(|(_, _, currency)| currency.as_ref()));
        let decimals = session.decimals(currency).await?;
        let target = match (invoice, send) {
            (Some(invoice), _) => PaymentTarget::Invoice(Box::new(invoice)),
            (None, Some((destination, amount, currency))) => {
                let amount = amount.credits(decimals)?;
                PaymentTarget::Spontaneous { destination, amount, currency }
            }
            (None, None) => unreachable!("one of the two commands was given"),
        };
        let report = pay(session, target, terms, decimals).await?;
        if let PaymentStatus::Failed(failed) = &report.status {
            let why = failure::explain(session, &report, failed, decimals).await;
            bail!("{why}; nothing was paid and nothing is owed");
        }
        if let (PaymentStatus::Committed, Some(until)) = (&report.status, hold_until) {
            return Ok(held(&report, until));
        }
        finish(&report, receipt, decimals)
    }
}

impl Terms {
    /// The order of a payment with these terms, in a currency with so many digits behind the point.
    ///
    /// # Errors
    /// When the most that mediators may take is no amount of that currency.
    pub(super) fn order(
        self,
        payment_id: PaymentId,
        target: PaymentTarget,
        decimals: u8,
    ) -> anyhow::Result<PayRequest> {
        Ok(PayRequest {
            payment_id,
            target,
            max_fee: self.max_fee.map(|fee| fee.credits(decimals)).transpose()?,
            deadline_ms: self.deadline.map(|seconds| u64::from(seconds) * 1_000),
            note: self.note,
            max_parts: self.max_parts,
        })
    }
}

async fn pay(
    session: &Session,
    target: PaymentTarget,
    terms: Terms,
    decimals: u8,
) -> anyhow::Result<PaymentReport> {
    let request = terms.order(PaymentId::random(&mut SystemRng), target, decimals)?;
    let client = session.connect().await?;
    let id = request.payment_id;
    let stop = signals().context("cannot handle signals")?;
    let paying = async {
        if io::stderr().is_terminal() {
            say(&format!("payment {id}"));
            pay_with_progress(&client, request).await
        } else {
            client.pay(request).await
        }
    };
    let goes_on = format!(
        "payment {id} goes on without this command: ask for it, and for its receipt, with `stctrl \
         buyer payment-status -p {id} -r FILE` before you pay again"
    );
    let result = tokio::select! {
        result = paying => result,
        () = stop => bail!("stopped waiting; {goes_on}"),
    };
    match result {
        Err(Error::Lost(reason)) => bail!("the connection to the node ended: {reason}; {goes_on}"),
        Err(Error::Refused(refused)) if refused.code == ErrorCode::Stopping => {
            bail!("{refused}; {goes_on}")
        }
        result => Ok(result?),
    }
}

/// Pays and tells on stderr where the payment is.
async fn pay_with_progress(
    client: &AppClient,
    request: PayRequest,
) -> Result<PaymentReport, Error> {
    let payment_id = request.payment_id;
    let mut events = client.subscribe().await?;
    let mut paying = std::pin::pin!(client.pay(request));
    let mut shown = String::new();
    loop {
        let event = tokio::select! {
            report = &mut paying => return report,
            event = events.next() => event,
        };
        match event {
            Ok(AppEvent::Journal(JournalEvent {
                entry: JournalEntry::Payment(report), ..
            })) if report.payment_id == payment_id => {
                let step = step(&report);
                if step != shown {
                    say(&step);
                    shown = step;
                }
            }
            Ok(_) => {}
            // Progress is lost, the payment is not.
            Err(_) => return paying.await,
        }
    }
}

fn step(report: &PaymentReport) -> String {
    let step = match &report.status {
        PaymentStatus::Routing => "searching routes",
        PaymentStatus::Requesting if report.parts == 1 => "reserving over 1 route",
        PaymentStatus::Requesting => return format!("reserving over {} routes", report.parts),
        PaymentStatus::Complete => "committing",
        PaymentStatus::Committed => "collecting",
        PaymentStatus::Succeeded { .. } => "collected",
        PaymentStatus::Failed(_) | PaymentStatus::Cancelled => "taken back",
        PaymentStatus::Unknown => "ended",
    };
    step.to_owned()
}

/// The receipt and the fees of a payment that has ended, in a currency with so many digits behind the
/// point.
///
/// # Errors
/// Says why nothing was paid, or that it is not known.
pub fn succeeded(report: &PaymentReport, decimals: u8) -> anyhow::Result<(&Receipt, Credits)> {
    match &report.status {
        PaymentStatus::Succeeded { receipt, fee } => Ok((receipt, *fee)),
        PaymentStatus::Failed(failed) => {
            let why = failure::cause(failed, decimals);
            bail!("{why}; nothing was paid and nothing is owed")
        }
        PaymentStatus::Cancelled => bail!(
            "the seller took the commit and gave everything back; nothing is owed, ask the seller \
             for another invoice"
        ),
        PaymentStatus::Routing
        | PaymentStatus::Requesting
        | PaymentStatus::Complete
        | PaymentStatus::Committed
        | PaymentStatus::Unknown => bail!(
            "whether payment {} arrived is not known; ask the receiver before you pay again",
            report.payment_id
        ),
    }
}

/// What to say of a payment that its seller may still collect or give back.
fn held(report: &PaymentReport, until: Timestamp) -> Answer {
    let payment = PaymentFile {
        payment_id: report.payment_id,
        invoice_id: report.invoice_id,
        dest_public_key: report.destination,
        currency: report.currency.clone(),
        dest_payment: report.amount,
    };
    let line = payment.to_line();
    let mut json = super::buyer::json_of(report);
    json["held_until"] = until.0.into();
    json["payment"] = line.clone().into();
    let text = format!("Payment committed!\nHeld until: {}\nPayment: {line}", moment(until));
    Answer::new(text, json)
}

/// Writes the receipt and says how the payment ended.
fn finish(
    report: &PaymentReport,
    receipt_file: Option<OutputFile>,
    decimals: u8,
) -> anyhow::Result<Answer> {
    let (receipt, fee) = succeeded(report, decimals)?;
    let receipt = ReceiptFile(receipt.clone());
    if let Some(file) = receipt_file {
        // The receipt must not be lost: it proves what was paid.
        file.write(receipt.to_toml().as_bytes()).with_context(|| {
            format!("paid, but the receipt, {}, was not written", receipt.to_line())
        })?;
    }
    let json = json!({
        "payment_id": report.payment_id.to_string(),
        "invoice_id": report.invoice_id.to_string(),
        "destination": report.destination.to_string(),
        "currency": report.currency.as_str(),
        "amount": report.amount.to_string(),
        "fee": fee.to_string(),
        "status": "succeeded",
        "receipt": receipt.to_line(),
    });
    let fees = amount::show(fee, decimals);
    Ok(Answer::new(format!("Payment successful!\nFees: {fees}"), json))
}

const SEND_EXAMPLE: &str = "Example:
  stctrl funds send-funds --amount 50 --dest bUoWZEEInqjDdw8TOBlpY0zpHF7hjLMAX_DdPrTI9y8";

const INVOICE_EXAMPLE: &str = "Example:
  stctrl funds pay-invoice -i bananas.invoice -r bananas.receipt";

const REBALANCE_EXAMPLE: &str =
    "Goes out to friends that owe you and comes back from friends whom \
you owe, as long as there are such cycles with room, so that both debts shrink.

Examples:
  stctrl funds rebalance
  stctrl funds rebalance -n bob --max-fee 0.5%";

const EXAMPLES: &str = "\
Examples:
  stctrl funds send-funds --amount 50 --dest bUoWZEEInqjDdw8TOBlpY0zpHF7hjLMAX_DdPrTI9y8
  stctrl funds pay-invoice -i bananas.invoice -r bananas.receipt --max-fee 2
  stctrl funds rebalance --max-fee 0.5%";
