//! `stctrl seller`: invoices of this node, and what comes in for them.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use offset_app::{AppClient, Error};
use offset_crypto::{InvoiceId, Nonce, SystemRng};
use offset_proto::{
    Text,
    app::{CreateInvoice, ErrorCode, Hold, InvoiceReport, InvoiceStatus},
    file::{CommitFile, InvoiceFile, OffsetFile as _, PublicFile as _},
    payment::Invoice,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{CurrencyChoice, Session};
use crate::manners::{
    Access, Answer, OutputFile,
    amount::{Amount, decimals_of, show},
    inputs,
    table::{Header, draw},
    time::{Length, moment},
};

/// The commands of `stctrl seller`.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum Seller {
    /// Make an invoice that this node knows, and write its file for the buyer.
    CreateInvoice(Create),
    /// End an invoice that nobody has paid, or give back a payment that is held.
    CancelInvoice(Which),
    /// Hand in the commit file of a buyer: the invoice is paid when it is accepted.
    CommitInvoice(Commit),
    /// Collect a payment that is held.
    CollectInvoice(Which),
    /// Say how an invoice stands.
    InvoiceStatus(Which),
    /// List the invoices of this node in the order in which they were made.
    List(List),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// How much is asked.
    #[arg(short, long, allow_negative_numbers = true)]
    amount: Amount,
    /// Invoice file to write.
    #[arg(short, long)]
    invoice: PathBuf,
    #[command(flatten)]
    currency: CurrencyChoice,
    /// What is sold, for people.
    #[arg(long, default_value = "")]
    description: Text,
    /// How long it can be paid, at most 30 days: a number and s, m, h or d.
    #[arg(long, default_value = "1h")]
    expires: Length,
    /// Hold a payment until collect-invoice or cancel-invoice; how long after the expiry at most,
    /// 1d if not said, at most 90 days. Then it is collected.
    #[arg(long, value_name = "LENGTH", num_args = 0..=1)]
    hold: Option<Option<Length>>,
    /// Replace the invoice file if it exists.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
pub(super) struct Which {
    /// Invoice file.
    #[arg(short, long)]
    invoice: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Commit {
    /// Invoice file that is to be paid.
    #[arg(short, long)]
    invoice: PathBuf,
    /// Commit file of the buyer.
    #[arg(short, long)]
    commit: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only invoices in this state.
    #[arg(long)]
    state: Option<State>,
}

/// Where an invoice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    /// Nobody has paid it yet.
    Open,
    /// A part of the amount is reserved for it.
    Requested,
    /// All of the amount is reserved for it.
    Complete,
    /// It is paid for certain; the credits are on their way, or held.
    Committed,
    /// The credits have arrived.
    Collected,
    /// Ended by the seller.
    Cancelled,
    /// Ran out of time.
    Expired,
}

impl Seller {
    /// Asks the node.
    ///
    /// # Errors
    /// When a file is wrong or cannot be written, or the node cannot be reached or refuses.
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<Answer> {
        match self {
            Self::CreateInvoice(arguments) => arguments.run(session).await,
            Self::CancelInvoice(which) => {
                let id = which.read()?.id();
                let client = session.connect().await?;
                client.cancel_invoice(id).await?;
                Ok(Answer::silent())
            }
            Self::CommitInvoice(arguments) => arguments.run(session).await,
            Self::CollectInvoice(which) => {
                let id = which.read()?.id();
                let client = session.connect().await?;
                collect(&client, id).await?;
                Ok(Answer::silent())
            }
            Self::InvoiceStatus(which) => {
                let id = which.read()?.id();
                let client = session.connect().await?;
                let report = client.invoice_status(id).await?;
                let decimals = client.report_without_friends().await?.decimals;
                Ok(detail(&report, decimals_of(&decimals, &report.invoice.currency)))
            }
            Self::List(arguments) => arguments.run(session).await,
        }
    }
}

/// Ends a hold. A commit that was just made may still be on its way: it is waited for.
async fn collect(client: &AppClient, id: InvoiceId) -> Result<(), Error> {
    let deadline = Instant::now() + COMMIT_PATIENCE;
    loop {
        match client.collect_invoice(id).await {
            Err(Error::Refused(error))
                if error.code == ErrorCode::NotYet && Instant::now() < deadline =>
            {
                sleep(COMMIT_EVERY).await;
            }
            result => return result,
        }
    }
}

impl Create {
    async fn run(self, session: &Session) -> anyhow::Result<Answer> {
        let file = OutputFile::prepare(&self.invoice, Access::Public, self.force)?;
        let decimals = session.decimals(self.currency.currency.as_ref()).await?;
        let terms = CreateInvoice {
            nonce: Nonce::random(&mut SystemRng),
            currency: self.currency.currency,
            amount: self.amount.credits(decimals)?,
            description: self.description,
            expires_in_ms: Some(self.expires.ms),
            hold: match self.hold {
                None => Hold::None,
                Some(None) => Hold::Standard,
                Some(Some(length)) => Hold::ForMs(length.ms),
            },
        };
        let client = session.connect().await?;
        let report = client.create_invoice(terms).await?;
        let written = InvoiceFile(report.invoice.clone());
        file.write(written.to_toml().as_bytes()).with_context(|| {
            format!(
                "the node made the invoice, {}, but its file was not written",
                written.to_line()
            )
        })?;
        Ok(Answer::new("", json_of(&report)))
    }
}

impl Which {
    fn read(&self) -> anyhow::Result<Invoice> {
        read_registered(&self.invoice)
    }
}

/// An invoice that its seller's node knows.
fn read_registered(path: &Path) -> anyhow::Result<Invoice> {
    let InvoiceFile(invoice) = inputs::read(path)?;
    if !invoice.registered {
        bail!(
            "this invoice was made without a node, so no node can say anything of it; the buyer's \
             receipt proves that it was paid, see `stregister verify-receipt`"
        );
    }
    Ok(invoice)
}

impl Commit {
    async fn run(self, session: &Session) -> anyhow::Result<Answer> {
        let invoice = read_registered(&self.invoice)?;
        let CommitFile(commit) = inputs::read(&self.commit)?;
        if let Err(reason) = commit.verify(&invoice) {
            bail!(
                "the commit does not fit the invoice: {reason}; ask the buyer for the commit of \
                 this invoice"
            );
        }
        let client = session.connect().await?;
        let report = client.commit_invoice(commit).await?;
        let mut text = "Commit accepted!".to_owned();
        if let Some(until) = report.invoice.hold_until.filter(|_| report.held) {
            text.push_str(&format!("\nHeld until: {}", moment(until)));
        }
        Ok(Answer::new(text, json_of(&report)))
    }
}

impl List {
    async fn run(self, session: &Session) -> anyhow::Result<Answer> {
        let client = session.connect().await?;
        let (mut invoices, mut after) = (Vec::new(), None);
        loop {
            let page = client.invoices(self.state.map(status_of), after).await?;
            invoices.extend(page.invoices);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let decimals = client.report_without_friends().await?.decimals;
        let json = json!({ "invoices": invoices.iter().map(json_of).collect::<Vec<_>>() });
        if invoices.is_empty() {
            return Ok(Answer::new("No invoices.", json));
        }
        let titles = ["invoice", "state", "amount", "made", "description"];
        let rows = invoices.iter().map(|report| {
            let Invoice { currency, dest_payment, description, created_at, .. } = &report.invoice;
            [
                report.invoice.id().to_string(),
                state(report).to_owned(),
                format!("{} {currency}", show(dest_payment, decimals_of(&decimals, currency))),
                moment(*created_at).to_string(),
                description.brief().into_owned(),
            ]
        });
        Ok(Answer::new(draw(Header::Plain, titles, rows), json))
    }
}

const fn status_of(state: State) -> InvoiceStatus {
    match state {
        State::Open => InvoiceStatus::Open,
        State::Requested => InvoiceStatus::Requested,
        State::Complete => InvoiceStatus::Complete,
        State::Committed => InvoiceStatus::Committed,
        State::Collected => InvoiceStatus::Collected,
        State::Cancelled => InvoiceStatus::Cancelled,
        State::Expired => InvoiceStatus::Expired,
    }
}

const fn word(status: InvoiceStatus) -> &'static str {
    match status {
        InvoiceStatus::Open => "open",
        InvoiceStatus::Requested => "requested",
        InvoiceStatus::Complete => "complete",
        InvoiceStatus::Committed => "committed",
        InvoiceStatus::Collected => "collected",
        InvoiceStatus::Cancelled => "cancelled",
        InvoiceStatus::Expired => "expired",
    }
}

/// The state, and what a committed payment waits for.
fn state(report: &InvoiceReport) -> &'static str {
    if report.held { "committed, held" } else { word(report.status) }
}

fn detail(report: &InvoiceReport, decimals: u8) -> Answer {
    let invoice = &report.invoice;
    let mut lines = vec![
        format!("state: {}", state(report)),
        format!("invoice id: {}", invoice.id()),
        format!("amount: {} {}", show(invoice.dest_payment, decimals), invoice.currency),
        format!("description: {}", invoice.description),
        format!("made: {}", moment(invoice.created_at)),
        format!("expires: {}", moment(invoice.expires_at)),
    ];
    if let Some(until) = invoice.hold_until {
        lines.push(format!("held until: {}", moment(until)));
    }
    Answer::new(lines.join("\n"), json_of(report))
}

fn json_of(report: &InvoiceReport) -> Value {
    let invoice = &report.invoice;
    json!({
        "invoice_id": invoice.id().to_string(),
        "state": word(report.status),
        "held": report.held,
        "amount": invoice.dest_payment.to_string(),
        "currency": invoice.currency.as_str(),
        "description": invoice.description.as_str(),
        "created_at": invoice.created_at.0,
        "expires_at": invoice.expires_at.0,
        "hold_until": invoice.hold_until.map(|until| until.0),
    })
}

/// How long a commit is waited for that may be on its way, and how often it is looked for.
const COMMIT_PATIENCE: Duration = Duration::from_secs(10);
const COMMIT_EVERY: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "\
Examples:
  stctrl seller create-invoice -a 60 -i bananas.invoice --description bananas
  stctrl seller create-invoice -a 500 -i bicycle.invoice --hold 14d
  stctrl seller commit-invoice -i bananas.invoice -c bananas.commit
  stctrl seller list --state open";
