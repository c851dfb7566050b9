//! What applications may spend: the limits of their tickets (protocol, section 10).
//!
//! A payment counts with the most that it may cost from the moment it is ordered, and with what it
//! cost once it has ended: what is refused or cancelled costs nothing. What is under way is read
//! from the payments themselves; what has ended is kept by application, currency and hour, so that
//! a day is the last 24 hours, and up to an hour more.
#![deny(clippy::arithmetic_side_effects)]

use offset_crypto::{PaymentId, PublicKey};
use offset_proto::{
    Credits, Currency, Timestamp,
    app::{AppError, AppLimits, ErrorCode},
};

use crate::{
    api::Payer,
    destination::app_error,
    dirty::Key,
    funder::Funder,
    state::{Attempt, PaymentRow, Phase, SpentKey},
};

/// An hour in milliseconds.
const HOUR_MS: u64 = 3_600_000;
/// For so many hours after its own, an hour counts.
const HOURS: u64 = 24;

impl Funder {
    /// Notes who pays, and checks that each of the limits allows what the payment may cost. Where
    /// the order names no highest fee, it is the usual one, where they leave that much.
    pub(crate) fn allow_spending(
        &self,
        now: Timestamp,
        row: &mut PaymentRow,
        payer: Option<&Payer>,
    ) -> Result<(), AppError> {
        let named = row.max_fee.is_some();
        row.max_fee.get_or_insert(usual_max_fee(row.amount));
        let Some(payer) = payer else {
            return Ok(());
        };
        row.app = Some(payer.app);
        let limits: Vec<_> = payer.limits.iter().filter(|limits| limits.limits_money()).collect();
        if limits.is_empty() {
            return Ok(());
        }
        let used = self.spent_lately(now, &payer.app, &row.currency);
        let left = |limits: &AppLimits| {
            let budget = limits.budget.get(&row.currency);
            let budget = budget.map(|most| most.checked_sub(used).unwrap_or_default());
            limits.max_payment.get(&row.currency).copied().into_iter().chain(budget).min()
        };
        if !named {
            let left = limits.iter().filter_map(|limits| left(limits)).min().unwrap_or_default();
            let fee = left.checked_sub(row.amount).unwrap_or_default();
            row.max_fee = row.max_fee.min(Some(fee));
        }
        let cost = most(row);
        for limits in limits {
            if !limits.names(&row.currency) {
                return Err(refused(&format!(
                    "this application's ticket limits what it may spend and does not name the \
                     currency {0}: add a limit for {0} to the ticket",
                    row.currency
                )));
            }
            if let Some(most) = limits.max_payment.get(&row.currency)
                && *most < cost
            {
                return Err(self.too_dear(row, cost, *most));
            }
            if let Some(budget) = limits.budget.get(&row.currency)
                && budget.checked_sub(used).is_none_or(|left| left < cost)
            {
                return Err(self.over_budget(now, row, &payer.app, (cost, used, *budget)));
            }
        }
        Ok(())
    }

    /// A payment has ended, or otherwise than was thought: counts what it cost instead of what was
    /// counted `before`.
    pub(crate) fn count_spending(&mut self, id: PaymentId, before: Credits) {
        let Some(row) = self.state.payments.get(&id) else {
            return;
        };
        let (Some(app), cost) = (row.app, cost(row)) else {
            return;
        };
        let currency = row.currency.clone();
        let hour = hour(row.created_at);
        let first = SpentKey { app, currency: currency.clone(), hour: 0 };
        let last = SpentKey { app, currency, hour };
        let old = |key: &&SpentKey| key.hour.saturating_add(HOURS) < hour;
        let forgotten: Vec<_> = self
            .state
            .spent
            .range(first..last.clone())
            .map(|(key, _)| key)
            .filter(old)
            .cloned()
            .collect();
        for key in forgotten {
            self.state.spent.remove(&key);
            self.dirty.mark(Key::Spent(key));
        }
        if cost != before {
            let amount = self.state.spent.entry(last.clone()).or_default();
            *amount = saturating(amount.checked_sub(before).unwrap_or_default(), cost);
            self.dirty.mark(Key::Spent(last));
        }
    }

    /// What an application's payments of the last day cost, or may cost.
    fn spent_lately(&self, now: Timestamp, app: &PublicKey, currency: &Currency) -> Credits {
        let ended = self.spent_hours(now, app, currency).map(|(_, amount)| amount);
        ended.fold(self.under_way(app, currency), saturating)
    }

    /// What its payments under way may cost.
    fn under_way(&self, app: &PublicKey, currency: &Currency) -> Credits {
        let rows = self.state.payments.values().filter(|row| {
            row.app.as_ref() == Some(app) && row.currency == *currency && !row.phase.is_final()
        });
        rows.map(most).fold(Credits::ZERO, saturating)
    }

    /// What ended, by hour, oldest first.
    fn spent_hours(
        &self,
        now: Timestamp,
        app: &PublicKey,
        currency: &Currency,
    ) -> impl Iterator<Item = (u64, Credits)> {
        let key = |hour| SpentKey { app: *app, currency: currency.clone(), hour };
        let oldest = hour(now).saturating_sub(HOURS);
        let rows = self.state.spent.range(key(oldest)..=key(u64::MAX));
        rows.map(|(key, amount)| (key.hour, *amount))
    }

    fn too_dear(&self, row: &PaymentRow, cost: Credits, most: Credits) -> AppError {
        let currency = &row.currency;
        let next = if row.amount < most {
            "allow a lower fee, pay less, or raise the limit in its ticket"
        } else {
            "pay less, or raise the limit in its ticket"
        };
        refused(&format!(
            "this application may spend at most {} {currency} on one payment, and this one may \
             cost {} with its fees: {next}",
            self.shown(most, currency),
            self.shown(cost, currency)
        ))
    }

    fn over_budget(
        &self,
        now: Timestamp,
        row: &PaymentRow,
        app: &PublicKey,
        (cost, used, budget): (Credits, Credits, Credits),
    ) -> AppError {
        let currency = &row.currency;
        let left = budget.checked_sub(used).unwrap_or_default();
        let what = format!(
            "this application may spend {} {currency} a day, {} are left, and this payment may \
             cost {} with its fees",
            self.shown(budget, currency),
            self.shown(left, currency),
            self.shown(cost, currency)
        );
        let next = if budget < cost {
            "pay less, or raise the budget in its ticket".to_owned()
        } else {
            let mut used = used;
            let mut frees = None;
            for (hour, amount) in self.spent_hours(now, app, currency) {
                used = used.checked_sub(amount).unwrap_or_default();
                if budget.checked_sub(used).is_some_and(|left| cost <= left) {
                    frees = Some(hour);
                    break;
                }
            }
            match frees {
                Some(hour) => format!(
                    "enough of it is free again {}, or raise the budget in its ticket",
                    wait(now, hour)
                ),
                None => "try again when its payments under way have ended, or raise the budget \
                         in its ticket"
                    .to_owned(),
            }
        };
        refused(&format!("{what}: {next}"))
    }
}

/// The highest fee of a payment that names none: a twentieth of its amount, or up to 100 for a small
/// one, but no more than the amount. Who finds the routes and who takes the fees may be in league.
pub(crate) fn usual_max_fee(amount: Credits) -> Credits {
    Credits(amount.0.div_ceil(20)).max(amount.min(Credits(100)))
}

/// What of a payment is gone apart from fees: a clearing comes back to us.
fn gone(row: &PaymentRow) -> Credits {
    if row.clearing { Credits::ZERO } else { row.amount }
}

/// The most that a payment may cost. Without a highest fee: what its requests froze.
fn most(row: &PaymentRow) -> Credits {
    let fees = |attempt: &Attempt| {
        attempt.parts.iter().map(|part| part.fee).fold(Credits::ZERO, saturating)
    };
    let frozen = || row.attempts.iter().map(fees).max().unwrap_or_default();
    saturating(gone(row), row.max_fee.unwrap_or_else(frozen))
}

/// What a payment that has ended cost, as far as it is to be counted; one of which that is not known
/// may have cost the most. What is under way is not counted here.
pub(crate) fn cost(row: &PaymentRow) -> Credits {
    match &row.phase {
        Phase::Succeeded { fee, .. } => saturating(gone(row), *fee),
        Phase::Routing
        | Phase::Requesting
        | Phase::Complete
        | Phase::Committed
        | Phase::Failed(_)
        | Phase::Cancelled => Credits::ZERO,
        Phase::Unknown => most(row),
    }
}

/// When an hour no longer counts.
fn wait(now: Timestamp, hour: u64) -> String {
    let end = hour.saturating_add(HOURS).saturating_add(1).saturating_mul(HOUR_MS);
    let minutes = end.saturating_sub(now.0).div_ceil(60_000);
    match (minutes.checked_div(60), minutes.checked_rem(60)) {
        (Some(hours @ 1..), Some(rest)) => format!("in {hours} h {rest} min"),
        (_, _) => format!("in {minutes} min"),
    }
}

fn hour(time: Timestamp) -> u64 {
    time.0.checked_div(HOUR_MS).unwrap_or_default()
}

fn saturating(sum: Credits, amount: Credits) -> Credits {
    sum.checked_add(amount).unwrap_or(Credits(u128::MAX))
}

fn refused(message: &str) -> AppError {
    app_error(ErrorCode::LimitReached, message)
}
