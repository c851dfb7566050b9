//! `stctrl funds rebalance`: sets off debts along cycles.

use std::str::FromStr;

use anyhow::bail;
use clap::Args;
use offset_app::{AppClient, Error};
use offset_crypto::{PaymentId, SystemRng};
use offset_proto::{
    Credits, Name,
    app::{ClearRequest, ErrorCode, PaymentReport, PaymentStatus},
};
use serde_json::json;

use super::{CurrencyChoice, Session, config::parse_percent};
use crate::manners::{Answer, answer::say, daemon::signals};

#[derive(Debug, Args)]
pub(super) struct Rebalance {
    #[command(flatten)]
    currency: CurrencyChoice,
    /// Only what empties the line with this friend.
    #[arg(short = 'n', long = "name")]
    friend: Option<Name>,
    /// The most that mediators may take: credits in all, or a share of what moves with a percent
    /// sign.
    #[arg(long, default_value = "1%")]
    max_fee: MaxFee,
}

/// A bound on fees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MaxFee {
    /// All of them together.
    Credits(Credits),
    /// Of each million that moves.
    Ppm(u32),
}

impl FromStr for MaxFee {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(percent) = text.strip_suffix('%') else {
            let credits = text.parse().map(Self::Credits);
            return credits.map_err(|_| {
                "give a number of credits (5) or a share of what moves (0.5%)".to_owned()
            });
        };
        let share = parse_percent(percent).ok().filter(|ppm| *ppm <= 1_000_000);
        share.map(Self::Ppm).ok_or_else(|| {
            format!("'{text}' is not a share: give 0% to 100% with at most four decimals")
        })
    }
}

/// What was cleared so far.
#[derive(Debug, Default)]
struct Done {
    cleared: Vec<(PaymentReport, Credits)>,
    /// Why there was no more.
    reason: String,
}

impl Done {
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
        let client = session.connect().await?;
        let mut done = Done::default();
        let mut stop = std::pin::pin!(signals()?);
        let mut failures = 0;
        while done.cleared.len() < MAX_CYCLES {
            let request = self.next_request(&done);
            let id = request.payment_id;
            let result = tokio::select! {
                result = client.clear(request) => result,
                () = stop.as_mut() => bail!(
                    "stopped waiting; clearing {id} goes on without this command. Cleared before: \
                     {} in {} cycles", sum(done.cleared.iter().map(|(report, _)| report.amount)),
                    done.cleared.len()
                ),
            };
            match cleared(result)? {
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
        self.finish(client, done).await
    }

    fn next_request(&self, done: &Done) -> ClearRequest {
        let (max_fee, max_fee_ppm) = match self.max_fee {
            MaxFee::Credits(most) => {
                (Some(most.checked_sub(done.fees()).unwrap_or_default()), 1_000_000)
            }
            MaxFee::Ppm(ppm) => (None, ppm),
        };
        ClearRequest {
            payment_id: PaymentId::random(&mut SystemRng),
            currency: self.currency.currency.clone(),
            friend: self.friend.clone(),
            max_fee,
            max_fee_ppm,
        }
    }

    async fn finish(&self, client: AppClient, done: Done) -> anyhow::Result<Answer> {
        client.close().await;
        let total = sum(done.cleared.iter().map(|(report, _)| report.amount));
        let fees = done.fees();
        let mut lines: Vec<String> = done
            .cleared
            .iter()
            .map(|(report, fee)| {
                format!("Cleared {} {} (fees: {fee})", report.amount, report.currency)
            })
            .collect();
        lines.push(match done.cleared.len() {
            0 => format!("Nothing was cleared: {}.", done.reason),
            _ => format!("Total: {total}\nFees: {fees}\nNo more: {}.", done.reason),
        });
        let cleared: Vec<_> = done
            .cleared
            .iter()
            .map(|(report, fee)| {
                json!({
                    "payment_id": report.payment_id.to_string(),
                    "invoice_id": report.invoice_id.to_string(),
                    "currency": report.currency.as_str(),
                    "amount": report.amount.to_string(),
                    "fee": fee.to_string(),
                })
            })
            .collect();
        let json = json!({
            "cleared": cleared,
            "total": total.to_string(),
            "fees": fees.to_string(),
            "reason": done.reason,
        });
        Ok(Answer::new(lines.join("\n"), json))
    }
}

/// How one clearing ended.
enum Outcome {
    Cleared(Box<PaymentReport>, Credits),
    Failed(String),
    Nothing(String),
}

fn cleared(result: Result<PaymentReport, Error>) -> anyhow::Result<Outcome> {
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
        PaymentStatus::Failed(failure) => Ok(Outcome::Failed(failure.to_string())),
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
        assert_eq!("5".parse(), Ok(MaxFee::Credits(Credits(5))));
        for (text, ppm) in [("0%", 0), ("1%", 10_000), ("0.5%", 5_000), ("0.0001%", 1)] {
            assert_eq!(text.parse(), Ok(MaxFee::Ppm(ppm)), "{text}");
        }
        assert_eq!("100.0%".parse(), Ok(MaxFee::Ppm(1_000_000)));
        for bad in ["", "-1", "1.5", "%", "100.0001%", "0.00001%", "-1%", "+1%"] {
            assert!(bad.parse::<MaxFee>().is_err(), "{bad}");
        }
    }
}
