//! `stctrl buyer`: pays by a commit file that the buyer hands to the seller.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use offset_app::{AppClient, Error};
use offset_crypto::{PaymentId, SystemRng};
use offset_proto::{
    app::{PayRequest, PaymentReport, PaymentStatus, PaymentTarget},
    file::{CommitFile, InvoiceFile, OffsetFile as _, PaymentFile, PublicFile as _, ReceiptFile},
    payment::Commit,
};
use serde_json::{Value, json};

use super::{
    Session, failure,
    funds::{Terms, succeeded},
};
use crate::manners::{Access, Answer, OutputFile, amount, daemon::signals, inputs};

/// The commands of `stctrl buyer`.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum Buyer {
    /// Reserve the amount of an invoice and write the commit file for its seller. From then on the
    /// payment cannot be taken back; it is collected when the seller has handed in the commit.
    PayInvoice(Pay),
    /// Say how a payment stands, and write its receipt when there is one.
    PaymentStatus(Status),
    /// Take back a payment, as long as it is not committed.
    CancelPayment(Which),
}

#[derive(Debug, Args)]
pub(super) struct Pay {
    /// Invoice file to pay.
    #[arg(short, long)]
    invoice: PathBuf,
    /// Payment file to write: with it the payment is asked for later.
    #[arg(short, long)]
    payment: PathBuf,
    /// Commit file to write, for the seller alone.
    #[arg(short, long)]
    commit: PathBuf,
    #[command(flatten)]
    terms: Terms,
}

#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    which: Which,
    /// Receipt file to write, if there is a receipt.
    #[arg(short, long)]
    receipt: Option<PathBuf>,
    /// Commit file to write once more, if the seller has not handed it in.
    #[arg(short, long)]
    commit: Option<PathBuf>,
    /// Replace files that exist.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
pub(super) struct Which {
    /// Payment file, or the id that a payment was shown with.
    #[arg(short, long, allow_hyphen_values = true)]
    payment: PathBuf,
}

impl Buyer {
    /// Asks the node.
    ///
    /// # Errors
    /// When a file is wrong or cannot be written, the node cannot be reached or refuses, or the
    /// payment fails.
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<Answer> {
        match self {
            Self::PayInvoice(arguments) => arguments.run(session).await,
            Self::PaymentStatus(arguments) => arguments.run(session).await,
            Self::CancelPayment(which) => {
                let id = which.id()?;
                let client = session.connect().await?;
                client.cancel_payment(id).await?;
                Ok(Answer::silent())
            }
        }
    }
}

impl Which {
    /// A payment that was ordered without a file, as by `funds pay-invoice`, has its id alone.
    fn id(&self) -> anyhow::Result<PaymentId> {
        let typed = self.payment.to_str().and_then(|text| text.parse().ok());
        match typed {
            Some(id) if !self.payment.exists() => Ok(id),
            Some(_) | None => Ok(inputs::read::<PaymentFile>(&self.payment)?.payment_id),
        }
    }
}

impl Pay {
    async fn run(self, session: &Session) -> anyhow::Result<Answer> {
        let InvoiceFile(invoice) = inputs::read(&self.invoice)?;
        let force = self.terms.force;
        let commit_file = OutputFile::prepare(&self.commit, Access::Secret, force)?;
        let payment_file = OutputFile::prepare(&self.payment, Access::Public, force)?;
        let payment = PaymentFile {
            payment_id: PaymentId::random(&mut SystemRng),
            invoice_id: invoice.id(),
            dest_public_key: invoice.dest_public_key,
            currency: invoice.currency.clone(),
            dest_payment: invoice.dest_payment,
        };
        let decimals = session.decimals(Some(&payment.currency)).await?;
        let target = PaymentTarget::Invoice(Box::new(invoice));
        let request = self.terms.order(payment.payment_id, target, decimals)?;
        let client = session.connect().await?;
        // Whatever becomes of this command, the payment can be asked for.
        payment_file.write(payment.to_toml().as_bytes())?;
        let (payment, commit) = (self.payment.display(), self.commit.display());
        let ask = format!("ask for it with `stctrl buyer payment-status -p {payment} -c {commit}`");
        let goes_on = format!(
            "the payment goes on without this command: {ask}, or take it back with `stctrl buyer \
             cancel-payment -p {payment}`"
        );
        let (report, made) = match reserve(&client, request).await {
            Ok(reserved) => reserved,
            Err(Reserving::Stopped) => bail!("stopped waiting; {goes_on}"),
            Err(Reserving::Node(Error::Refused(refused))) => {
                forget(&self.payment);
                return Err(refused.into());
            }
            Err(Reserving::Node(error)) => bail!("{error}; {goes_on}"),
            Err(Reserving::Failed(report)) => {
                forget(&self.payment);
                if let PaymentStatus::Failed(failed) = &report.status {
                    let why = failure::explain(session, &report, failed, decimals).await;
                    bail!("{why}; nothing was paid and nothing is owed");
                }
                succeeded(&report, decimals)?;
                bail!("the node says that the payment has arrived without a commit; look at it");
            }
        };
        commit_file.write(CommitFile(made).to_toml().as_bytes()).with_context(|| {
            format!("the payment is committed, but {commit} was not written; {ask}")
        })?;
        Ok(Answer::new("Payment committed!", json_of(&report)))
    }
}

/// Why there is no commit.
enum Reserving {
    /// The user stopped the command.
    Stopped,
    /// The payment ended without one.
    Failed(Box<PaymentReport>),
    /// The node refused, or its answer did not come.
    Node(Error),
}

/// Pays and waits for the commit.
async fn reserve(
    client: &AppClient,
    request: PayRequest,
) -> Result<(PaymentReport, Commit), Reserving> {
    let id = request.payment_id;
    let stop = signals().map_err(|_| Reserving::Stopped)?;
    let paying = async {
        let report = client.pay_by_commit(request).await.map_err(Reserving::Node)?;
        if report.status != PaymentStatus::Committed {
            return Err(Reserving::Failed(Box::new(report)));
        }
        let commit = client.payment_commit(id).await.map_err(Reserving::Node)?;
        Ok((report, commit))
    };
    tokio::select! {
        result = paying => result,
        () = stop => Err(Reserving::Stopped),
    }
}

/// The payment file of a payment that came to nothing is worth nothing.
fn forget(payment: &Path) {
    if let Err(error) = fs::remove_file(payment) {
        log::warn!("cannot remove {}: {error}", payment.display());
    }
}

impl Status {
    async fn run(self, session: &Session) -> anyhow::Result<Answer> {
        let id = self.which.id()?;
        let prepare = |path: &Option<PathBuf>, access| {
            path.as_deref().map(|path| OutputFile::prepare(path, access, self.force)).transpose()
        };
        let receipt_file = prepare(&self.receipt, Access::Public)?;
        let commit_file = prepare(&self.commit, Access::Secret)?;
        let client = session.connect().await?;
        let report = client.payment_status(id).await?;
        let commit_file = commit_file.filter(|_| report.status == PaymentStatus::Committed);
        if let Some(file) = commit_file {
            let commit = client.payment_commit(id).await?;
            file.write(CommitFile(commit).to_toml().as_bytes())?;
        }
        if let (PaymentStatus::Succeeded { receipt, .. }, Some(file)) =
            (&report.status, receipt_file)
        {
            file.write(ReceiptFile((**receipt).clone()).to_toml().as_bytes())?;
        }
        let decimals = session.decimals(Some(&report.currency)).await?;
        let mut text = text_of(&report, decimals);
        if let PaymentStatus::Failed(failed) = &report.status {
            let why = failure::explain(session, &report, failed, decimals).await;
            text = format!("{text}\nreason: {why}");
        }
        Ok(Answer::new(text, json_of(&report)))
    }
}

/// How a payment stands, without the reason of one that failed.
fn text_of(report: &PaymentReport, decimals: u8) -> String {
    match &report.status {
        PaymentStatus::Succeeded { fee, .. } => {
            format!("Payment successful!\nFees: {}", amount::show(fee, decimals))
        }
        PaymentStatus::Failed(_)
        | PaymentStatus::Routing
        | PaymentStatus::Requesting
        | PaymentStatus::Complete
        | PaymentStatus::Committed
        | PaymentStatus::Cancelled
        | PaymentStatus::Unknown => format!("state: {}", word(&report.status)),
    }
}

const fn word(status: &PaymentStatus) -> &'static str {
    match status {
        PaymentStatus::Routing => "routing",
        PaymentStatus::Requesting => "requesting",
        PaymentStatus::Complete => "complete",
        PaymentStatus::Committed => "committed",
        PaymentStatus::Succeeded { .. } => "succeeded",
        PaymentStatus::Failed(_) => "failed",
        PaymentStatus::Cancelled => "cancelled",
        PaymentStatus::Unknown => "unknown",
    }
}

/// A payment, whether or not it has ended.
pub(super) fn json_of(report: &PaymentReport) -> Value {
    let mut json = json!({
        "payment_id": report.payment_id.to_string(),
        "invoice_id": report.invoice_id.to_string(),
        "destination": report.destination.to_string(),
        "currency": report.currency.as_str(),
        "amount": report.amount.to_string(),
        "status": word(&report.status),
    });
    if let PaymentStatus::Succeeded { receipt, fee } = &report.status {
        json["fee"] = fee.to_string().into();
        json["receipt"] = ReceiptFile((**receipt).clone()).to_line().into();
    }
    if let PaymentStatus::Failed(failure) = &report.status {
        json["reason"] = failure.to_string().into();
    }
    json
}

const EXAMPLES: &str = "\
Examples:
  stctrl buyer pay-invoice -i bananas.invoice -p bananas.payment -c bananas.commit
  stctrl buyer payment-status -p bananas.payment -r bananas.receipt
  stctrl buyer cancel-payment -p bananas.payment";
