//! `stregister`: invoices, commits, receipts and tokens without a node.

mod token;

use std::{
    ffi::OsString,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, SystemTime},
};

use anyhow::bail;
use clap::{Args, Parser, Subcommand};
use offset_crypto::{Nonce, PublicKey, SystemRng};
use offset_proto::{
    Credits, Currency, Text, Timestamp,
    file::{CommitFile, InvoiceFile, OffsetFile as _, ReceiptFile},
    payment::{Invoice, MAX_EXPIRY_MS},
};
use serde_json::json;

use crate::manners::{
    Access, Answer,
    cli::{Arguments, start},
    files, inputs,
};

/// Makes invoices and verifies commits, receipts and tokens, without a node.
#[derive(Debug, Parser)]
#[command(name = "stregister", version, after_help = EXAMPLES)]
struct StregisterArguments {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON document instead of text.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an invoice that its seller's node needs not know. It can be paid for 30 days.
    GenInvoice(GenInvoice),
    /// Check that a receipt proves the payment of an invoice.
    VerifyReceipt(VerifyReceipt),
    /// Check that a commit is well formed and signed for an invoice. Whether it is accepted only
    /// the seller's node can say, see `stctrl seller commit-invoice`.
    VerifyCommit(VerifyCommit),
    /// Check that somebody signed a token, and print on which balances and limits they agreed.
    VerifyToken(token::VerifyToken),
}

#[derive(Debug, Args)]
struct GenInvoice {
    /// How much is asked, in credits.
    #[arg(short, long, allow_negative_numbers = true)]
    amount: Credits,
    /// Public key of the seller's node.
    #[arg(short, long, allow_hyphen_values = true)]
    pubkey: PublicKey,
    /// Invoice file to write.
    #[arg(short, long)]
    output: PathBuf,
    /// Currency of the amount.
    #[arg(short, long, env = "OFFSET_CURRENCY", default_value_t = Currency::fallback())]
    currency: Currency,
    /// What is sold, for people.
    #[arg(long, default_value = "")]
    description: Text,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct VerifyReceipt {
    /// Invoice file that was to be paid.
    #[arg(short, long)]
    invoice: PathBuf,
    /// Receipt file of the buyer.
    #[arg(short, long)]
    receipt: PathBuf,
}

#[derive(Debug, Args)]
struct VerifyCommit {
    /// Invoice file that is to be paid.
    #[arg(short, long)]
    invoice: PathBuf,
    /// Commit file of the buyer.
    #[arg(short, long)]
    commit: PathBuf,
}

impl Arguments for StregisterArguments {
    fn json(&self) -> bool {
        self.json
    }
}

/// Its commands and arguments.
pub(crate) fn command_line() -> clap::Command {
    <StregisterArguments as clap::CommandFactory>::command()
}

/// Runs the program with these arguments, the first of which is its name.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    start(arguments, |parsed: StregisterArguments| match parsed.command {
        Command::GenInvoice(arguments) => arguments.run(),
        Command::VerifyReceipt(arguments) => arguments.run(),
        Command::VerifyCommit(arguments) => arguments.run(),
        Command::VerifyToken(arguments) => arguments.run(),
    })
}

impl GenInvoice {
    fn run(self) -> anyhow::Result<Answer> {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let invoice = unregistered(
            self.pubkey,
            self.amount,
            self.currency,
            self.description,
            since_1970.unwrap_or(Duration::ZERO),
        );
        invoice.check()?;
        files::write(&self.output, Access::Public, self.force, &InvoiceFile(invoice).to_toml())?;
        Ok(Answer::silent())
    }
}

/// An invoice that its destination does not know: it is paid like a payment without an invoice.
pub(crate) fn unregistered(
    dest_public_key: PublicKey,
    dest_payment: Credits,
    currency: Currency,
    description: Text,
    since_1970: Duration,
) -> Invoice {
    let created_at = Timestamp(u64::try_from(since_1970.as_millis()).unwrap_or(0));
    Invoice {
        registered: false,
        currency,
        dest_public_key,
        dest_payment,
        description,
        created_at,
        expires_at: created_at.plus_ms(MAX_EXPIRY_MS),
        hold_until: None,
        nonce: Nonce::random(&mut SystemRng),
    }
}

impl VerifyReceipt {
    fn run(&self) -> anyhow::Result<Answer> {
        let invoice: InvoiceFile = inputs::read(&self.invoice)?;
        let receipt: ReceiptFile = inputs::read(&self.receipt)?;
        if let Err(reason) = receipt.0.verify(&invoice.0) {
            bail!(
                "the receipt does not prove that the invoice was paid: {reason}; \
                 ask the buyer for the receipt of this invoice"
            );
        }
        let json = json!({ "valid": true, "invoice_id": invoice.0.id().to_string() });
        Ok(Answer::new("Receipt is valid!", json))
    }
}

impl VerifyCommit {
    fn run(&self) -> anyhow::Result<Answer> {
        let invoice: InvoiceFile = inputs::read(&self.invoice)?;
        let commit: CommitFile = inputs::read(&self.commit)?;
        if let Err(reason) = commit.0.verify(&invoice.0) {
            bail!(
                "the commit does not fit the invoice: {reason}; \
                 ask the buyer for the commit of this invoice"
            );
        }
        let json = json!({ "valid": true, "invoice_id": invoice.0.id().to_string() });
        Ok(Answer::new("Commit is valid!", json))
    }
}

const EXAMPLES: &str = "\
Examples:
  stregister gen-invoice -a 60 -p TiTqXCEMBDoAyseEiw8t6r3L7do_k0iXOU1_rk4ERqw -o bananas.invoice
  stregister verify-receipt -i bananas.invoice -r bananas.receipt
  stregister verify-commit -i bananas.invoice -c bananas.commit
  stregister verify-token -t bob.token";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn arguments_do_not_contradict_each_other() {
        super::StregisterArguments::command().debug_assert();
    }
}
