//! `stctrl funds rebalance`: sets off debts along cycles.

use std::str::FromStr;

use anyhow::bail;
use clap::Args;
use offset_app::Error;
use offset_crypto::{PaymentId, SystemRng};
use offset_proto::{
    Credits, Name,
    app::{ClearRequest, ErrorCode, PaymentReport, PaymentStatus},
    file::{PublicFile as _, ReceiptFile},
    payment::Receipt,
};
use serde_json::json;

use super::{CurrencyChoice, Session, config::parse_percent, failure};
use crate::manners::{
    Answer,
    amount::{Amount, show},
    answer::say,
    daemon::signals,
};

#[derive(Debug, Args)]
pub(super) struct Rebalance {
    #[command(flatten)]
    currency: CurrencyChoice,
    /// Only what empties the line with this friend.
    #[arg(short = 'n', long = "name")]
    friend: Option<Name>,
    /// The most that mediators may take: an amount in all, or a share of what moves with a percent
    /// sign.
    #[arg(long, default_value = "1%", allow_hyphen_values = true)]
    max_fee: MaxFee,
}

/// A bound on fees.
#[derive(Debug, Clone, PartialEq, Eq)]
enum MaxFee {
    /// All of them together.
    Amount(Amount),
    /// Of each million that moves.
    Ppm(u32),
}

impl FromStr for MaxFee {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(percent) = text.strip_suffix('%') else {
            let amount = text.parse().map(Self::Amount);
            return amount.map_err(|_| {
                "give a number of credits (5) or a share of what moves (0.5%)".to_owned()
            });
        };
        let share = parse_percent(percent).ok().filter(|ppm| *ppm <= 1_000_000);
        share.map(Self::Ppm).ok_or_else(|| {
            format!("'{text}' is not a share: give 0% to 100% with at most four decimals")
        })
    }
}

/// A bound on fees in the smallest unit.
#[derive(Debug, Clone, Copy)]
enum Limit {
    Credits(Credits),
    Ppm(u32),
}

/// What was cleared so far.
#[derive(Debug, Default)]
struct Done {
    cleared: Vec<(PaymentReport, Credits)>,
    /// Why there was no more.
    reason: String,
}

impl Done {
    fn total(&self) -> Credits {
        sum(self.cleared.iter().map(|(report, _)| report.amount))
    }

    fn fees(&self) -> Credits {
        sum(self.cleared.iter().map(|(_, fee)| *fee))
    }
}

impl Rebalance {
    /// Clears cycle by cycle until nothing more can be cleared.
    ///
    /// # Errors
    /// When the node cannot be reached or refuses, or how a clearing ended is not known.
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<Answer> {
        let decimals = session.decimals(self.currency.currency.as_ref()).await?;
        let limit = match &self.max_fee {
            MaxFee::Amount(amount) => Limit::Credits(amount.credits(decimals)?),
            MaxFee::Ppm(ppm) => Limit::Ppm(*ppm),
        };
        let client = session.connect().await?;
        let mut done = Done::default();
        let mut stop = std::pin::pin!(signals()?);
        let mut failures = 0;
        while done.cleared.len() < MAX_CYCLES {
            let request = self.next_request(&done, limit);
            let id = request.payment_id;
            let result = tokio::select! {
                result = client.clear(request) => result,
                () = stop.as_mut() => bail!(
                    "stopped waiting; clearing {id} goes on without this command. Cleared before: \
                     {} in {} cycles", show(done.total(), decimals), done.cleared.len()
                ),
            };
            match cleared(result, decimals)? {
                Outcome::Cleared(report, fee) => {
                    failures = 0;
                    done.cleared.push((*report, fee));
                }
                Outcome::Failed(reason) => {
                    failures += 1;
                    say(&format!("a cycle was given up: {reason}"));
                    if failures == MAX_FAILURES {
                        done.reason = format!("{MAX_FAILURES} cycles in a row failed: {reason}");
                        break;
                    }
                }
                Outcome::Nothing(reason) => {
                    done.reason = reason;
                    break;
                }
            }
        }
        if done.reason.is_empty() {
            done.reason = format!("{MAX_CYCLES} cycles at a time; there may be more");
        }
        Ok(finish(&done, decimals))
    }

    fn next_request(&self, done: &Done, limit: Limit) -> ClearRequest {
        let (max_fee, max_fee_ppm) = match limit {
            Limit::Credits(most) => {
                (Some(most.checked_sub(done.fees()).unwrap_or_default()), 1_000_000)
            }
            Limit::Ppm(ppm) => (None, ppm),
        };
        ClearRequest {
            payment_id: PaymentId::random(&mut SystemRng),
            currency: self.currency.currency.clone(),
            friend: self.friend.clone(),
            max_fee,
            max_fee_ppm,
        }
    }
}

fn finish(done: &Done, decimals: u8) -> Answer {
    let (total, fees) = (done.total(), done.fees());
    let line = |(report, fee): &(PaymentReport, Credits)| {
        let (amount, fee) = (show(report.amount, decimals), show(fee, decimals));
        format!("Cleared {amount} {} (fees: {fee})", report.currency)
    };
    let mut lines: Vec<String> = done.cleared.iter().map(line).collect();
    lines.push(if done.cleared.is_empty() {
        format!("Nothing was cleared: {}.", done.reason)
    } else {
        let (total, fees) = (show(total, decimals), show(fees, decimals));
        format!("Total: {total}\nFees: {fees}\nNo more: {}.", done.reason)
    });
    let one = |(report, fee): &(PaymentReport, Credits)| {
        json!({
            "payment_id": report.payment_id.to_string(),
            "invoice_id": report.invoice_id.to_string(),
            "currency": report.currency.as_str(),
            "amount": report.amount.to_string(),
            "fee": fee.to_string(),
            "receipt": receipt_of(report),
        })
    };
    let json = json!({
        "cleared": done.cleared.iter().map(one).collect::<Vec<_>>(),
        "total": total.to_string(),
        "fees": fees.to_string(),
        "reason": done.reason,
    });
    Answer::new(lines.join("\n"), json)
}

/// That of a clearing that was paid, as one line.
fn receipt_of(report: &PaymentReport) -> Option<String> {
    match &report.status {
        PaymentStatus::Succeeded { receipt, .. } => {
            let receipt = Receipt::clone(receipt);
            Some(ReceiptFile(receipt).to_line())
        }
        PaymentStatus::Routing
        | PaymentStatus::Requesting
        | PaymentStatus::Complete
        | PaymentStatus::Committed
        | PaymentStatus::Failed(_)
        | PaymentStatus::Cancelled
        | PaymentStatus::Unknown => None,
    }
}

/// How one clearing ended.
enum Outcome {
    Cleared(Box<PaymentReport>, Credits),
    Failed(String),
    Nothing(String),
}

fn cleared(result: Result<PaymentReport, Error>, decimals: u8) -> anyhow::Result<Outcome> {
    let report = match result {
        Ok(report) => report,
        Err(Error::Refused(error)) if error.code == ErrorCode::NothingToClear => {
            return Ok(Outcome::Nothing(error.message.to_string()));
        }
        Err(error) => return Err(error.into()),
    };
    let id = report.payment_id;
    match &report.status {
        PaymentStatus::Succeeded { fee, .. } => {
            let fee = *fee;
            Ok(Outcome::Cleared(Box::new(report), fee))
        }
        PaymentStatus::Failed(failed) => Ok(Outcome::Failed(failure::cause(failed, decimals))),
        PaymentStatus::Cancelled => Ok(Outcome::Failed("it was taken back".to_owned())),
        PaymentStatus::Routing
        | PaymentStatus::Requesting
        | PaymentStatus::Complete
        | PaymentStatus::Committed
        | PaymentStatus::Unknown => bail!(
            "whether clearing {id} arrived is not known; compare the balances with your friends \
             before you go on"
        ),
    }
}

fn sum(amounts: impl Iterator<Item = Credits>) -> Credits {
    amounts.fold(Credits::ZERO, |sum, more| sum.checked_add(more).unwrap_or(Credits(u128::MAX)))
}

/// Cycles cleared by one command.
const MAX_CYCLES: usize = 64;
/// Failures in a row after which a command gives up.
const MAX_FAILURES: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fee_limit_is_credits_or_a_share() {
        for amount in ["5", "1.5"] {
            assert_eq!(amount.parse(), Ok(MaxFee::Amount(amount.parse().unwrap())));
        }
        for (text, ppm) in [("0%", 0), ("1%", 10_000), ("0.5%", 5_000), ("0.0001%", 1)] {
            assert_eq!(text.parse(), Ok(MaxFee::Ppm(ppm)), "{text}");
        }
        assert_eq!("100.0%".parse(), Ok(MaxFee::Ppm(1_000_000)));
        for bad in ["", "-1", "5x", "%", "100.0001%", "0.00001%", "-1%", "+1%"] {
            assert!(bad.parse::<MaxFee>().is_err(), "{bad}");
        }
    }
}
