//! Payments that a test orders, how they ended, and what they did to balances.

use std::collections::BTreeMap;

use offset_crypto::{Nonce, PublicKey, SystemRng};
use offset_proto::{
    Credits, Currency, Rate, Text,
    app::{PayRequest, PaymentFailure, PaymentReport, PaymentStatus},
    payment::Invoice,
};

use super::trio::{ALICE, BOB, CHARLI, now};

/// The fee of the mediator: 1 % and one credit.
pub const FEE: Rate = Rate { ppm: 10_000, add: 1 };

/// A payment that was ordered, and what it needs to be ordered again.
#[derive(Debug, Clone)]
pub struct Order {
    /// Who pays.
    pub from: usize,
    /// Who is paid.
    pub to: usize,
    /// How much is to arrive.
    pub amount: Credits,
    /// What is sent each time.
    pub request: PayRequest,
    /// What is paid, where there is an invoice.
    pub invoice: Option<Invoice>,
}

/// What payments that ended did, as their reports say.
#[derive(Debug, Default)]
pub struct Ledger {
    pub(super) ended: Vec<(Order, PaymentReport)>,
}

impl Order {
    /// What the mediator takes.
    pub(super) fn fee(&self) -> Credits {
        let ends_there = self.from == ALICE || self.to == ALICE;
        if ends_there { Credits::ZERO } else { FEE.fee(self.amount).unwrap() }
    }
}

impl Ledger {
    /// Writes down how a payment ended.
    pub fn ended(&mut self, order: Order, report: PaymentReport) {
        self.ended.push((order, report));
    }

    /// How many payments ended how.
    pub fn tally(&self) -> BTreeMap<String, usize> {
        let mut tally = BTreeMap::new();
        for (_, report) in &self.ended {
            let how = match &report.status {
                PaymentStatus::Succeeded { .. } => "paid".to_owned(),
                PaymentStatus::Failed(PaymentFailure::Refused { reason, .. }) => {
                    format!("{reason:?}")
                }
                PaymentStatus::Failed(failure) => format!("{failure:?}"),
                PaymentStatus::Cancelled => "cancelled".to_owned(),
                PaymentStatus::Routing
                | PaymentStatus::Requesting
                | PaymentStatus::Complete
                | PaymentStatus::Committed
                | PaymentStatus::Unknown => "not ended".to_owned(),
            };
            *tally.entry(how).or_default() += 1;
        }
        tally
    }

    /// What the balances of Bob and of Charli with Alice must be.
    pub(super) fn ends(&self) -> [i128; 2] {
        let mut ends = [0; 3];
        for (order, _) in self.ended.iter().filter(|(_, report)| is_paid(report)) {
            let number = |credits: Credits| i128::try_from(credits.0).unwrap();
            ends[order.from] -= number(order.amount) + number(order.fee());
            ends[order.to] += number(order.amount);
        }
        [ends[BOB], ends[CHARLI]]
    }
}

/// Whether a payment arrived.
pub fn is_paid(report: &PaymentReport) -> bool {
    matches!(report.status, PaymentStatus::Succeeded { .. })
}

/// An invoice that its seller was not told of.
pub fn unregistered(dest_public_key: PublicKey, dest_payment: Credits) -> Invoice {
    let created_at = now();
    Invoice {
        registered: false,
        currency: Currency::fallback(),
        dest_public_key,
        dest_payment,
        description: Text::cut("apples"),
        created_at,
        expires_at: created_at.plus_ms(3_600_000),
        hold_until: None,
        nonce: Nonce::random(&mut SystemRng),
    }
}
