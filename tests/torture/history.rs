//! What applications were told of their payments, and what must therefore be.

use std::time::{Duration, Instant};

use offset_app::{AppClient, Error};
use offset_crypto::{Nonce, PaymentId, SeededRng, SystemRng};
use offset_proto::{
    Credits, Text,
    app::{
        CreateInvoice, ErrorCode, Hold, InvoiceStatus, PayRequest, PaymentReport, PaymentStatus,
        PaymentTarget,
    },
    payment::Invoice,
};
use tokio::time::{sleep, timeout};

use crate::{
    network::Five,
    support::{DEADLINE, payments::unregistered, trio::Node},
};

/// How a payment ended, as a node says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Paid, with this fee.
    Paid(Credits),
    /// Nothing was paid and nothing is owed.
    Not,
}

/// A payment that an application ordered.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) request: PayRequest,
    pub(crate) amount: Credits,
    invoice: Option<Invoice>,
    /// What its application was told; `None` while that is unknown to it.
    pub(crate) told: Option<Outcome>,
}

impl Entry {
    /// Thinks up a payment to somebody else, mostly small. `None` when the seller was not there to
    /// make an invoice; it may have made one, which nobody pays.
    pub(crate) async fn think_up(five: &Five, from: usize, rng: &mut SeededRng) -> Option<Self> {
        let others = u64::try_from(five.nodes.len()).unwrap() - 1;
        let to = (from + 1 + usize::try_from(rng.below(others)).unwrap()) % five.nodes.len();
        // Now and then more than one way carries.
        let most = if rng.below(8) == 0 { Five::MAX_DEBT.0 * 3 / 2 } else { Five::MAX_DEBT.0 / 20 };
        let amount = Credits(1 + u128::from(rng.below(u64::try_from(most).unwrap())));
        let destination = five.nodes[to].server.address.public_key;
        let invoice = match rng.below(4) {
            0 => Some(unregistered(destination, amount)),
            1 | 2 => {
                let made = timeout(Duration::from_secs(2), invoice(&five.nodes[to], amount)).await;
                Some(made.ok()?.ok()?)
            }
            _ => None,
        };
        Some(Self::of(from, to, amount, invoice, five))
    }

    /// A payment over one route at most.
    pub(crate) fn direct(from: usize, to: usize, amount: Credits, five: &Five) -> Self {
        let mut entry = Self::of(from, to, amount, None, five);
        entry.request.max_parts = Some(1);
        entry
    }

    fn of(from: usize, to: usize, amount: Credits, invoice: Option<Invoice>, five: &Five) -> Self {
        let destination = five.nodes[to].server.address.public_key;
        let target = match &invoice {
            Some(invoice) => PaymentTarget::Invoice(Box::new(invoice.clone())),
            None => PaymentTarget::Spontaneous { destination, amount, currency: None },
        };
        let request = PayRequest {
            payment_id: PaymentId::random(&mut SystemRng),
            target,
            max_fee: None,
            deadline_ms: Some(3_000),
            note: Text::cut(""),
            max_parts: None,
        };
        Self { from, to, request, amount, invoice, told: None }
    }

    /// Orders it, up to three times, with so little patience that the end often stays unknown;
    /// sometimes it is taken back.
    pub(crate) async fn order(&mut self, five: &Five, rng: &mut SeededRng) {
        let node = &five.nodes[self.from];
        for _ in 0..3 {
            let patience = Duration::from_millis(200 + rng.below(5_000));
            let pays = async { node.client().await?.pay(self.request.clone()).await };
            match timeout(patience, pays).await {
                Ok(Ok(report)) => return self.is_told(&report),
                Ok(Err(error)) => {
                    expected(&error);
                    // It may be starting again.
                    sleep(Duration::from_millis(100 + rng.below(400))).await;
                }
                Err(_) => {}
            }
            if rng.below(6) == 0 {
                let id = self.request.payment_id;
                let takes_back = async { node.client().await?.cancel_payment(id).await };
                // Either way it has to end.
                let _ = timeout(patience, takes_back).await;
            }
        }
    }

    /// Asks in the calm how it ended: not otherwise than was told before, and the seller agrees.
    pub(crate) async fn ends(&mut self, five: &Five) -> Outcome {
        let id = self.request.payment_id;
        let node = &five.nodes[self.from];
        let begin = Instant::now();
        let outcome = loop {
            let asks = async |client: AppClient| match client.payment_status(id).await {
                Err(Error::Refused(refusal)) if refusal.code == ErrorCode::NotFound => Ok(None),
                answer => answer.map(Some),
            };
            let report = node.ask("how a payment stands", asks).await;
            if report.as_ref().is_none_or(|report| self.outcome(report).is_some()) {
                break report;
            }
            assert!(begin.elapsed() < DEADLINE, "it does not end: {report:?}");
            sleep(Duration::from_millis(20)).await;
        };
        match outcome {
            Some(report) => self.is_told(&report),
            // It never arrived at the node.
            None => {
                assert!(!matches!(self.told, Some(Outcome::Paid(_))), "lost: {self:?}");
                self.told = Some(Outcome::Not);
            }
        }
        let outcome = self.told.unwrap();
        if let Some(invoice) = self.invoice.as_ref().filter(|invoice| invoice.registered) {
            let id = invoice.id();
            let asks = async |client: AppClient| client.invoice_status(id).await;
            let status = five.nodes[self.to].ask("an invoice", asks).await.status;
            let paid = outcome != Outcome::Not;
            assert_eq!(status == InvoiceStatus::Collected, paid, "{status:?}: {self:?}");
        }
        outcome
    }

    fn is_told(&mut self, report: &PaymentReport) {
        let outcome = self.outcome(report);
        assert!(self.told.is_none() || self.told == outcome, "{report:?}, but before: {self:?}");
        self.told = outcome;
    }

    /// What a report says; `None` when it is not an end. A receipt is checked.
    fn outcome(&self, report: &PaymentReport) -> Option<Outcome> {
        assert_eq!(report.payment_id, self.request.payment_id);
        assert_eq!(report.amount, self.amount);
        match &report.status {
            PaymentStatus::Succeeded { receipt, fee } => {
                assert_eq!(receipt.invoice_id, report.invoice_id);
                assert_eq!(receipt.total_dest_payment, self.amount);
                if let Some(invoice) = &self.invoice {
                    receipt.verify(invoice).unwrap();
                }
                Some(Outcome::Paid(*fee))
            }
            PaymentStatus::Failed(_) | PaymentStatus::Cancelled => Some(Outcome::Not),
            PaymentStatus::Routing
            | PaymentStatus::Requesting
            | PaymentStatus::Complete
            | PaymentStatus::Committed => None,
            PaymentStatus::Unknown => panic!("no friendship was lost: {report:?}"),
        }
    }
}

/// What all of them did to the sum of the balances of each node, without what it earned by passing
/// on, and all fees.
pub(crate) fn sums(entries: &[Entry]) -> ([i128; Five::NODES], i128) {
    let number = |credits: Credits| i128::try_from(credits.0).unwrap();
    let (mut sums, mut fees) = ([0; Five::NODES], 0);
    for entry in entries {
        if let Some(Outcome::Paid(fee)) = entry.told {
            sums[entry.from] -= number(entry.amount) + number(fee);
            sums[entry.to] += number(entry.amount);
            fees += number(fee);
        }
    }
    (sums, fees)
}

async fn invoice(node: &Node, amount: Credits) -> Result<Invoice, Error> {
    let terms = CreateInvoice {
        nonce: Nonce::random(&mut SystemRng),
        currency: None,
        amount,
        description: Text::cut("bananas"),
        expires_in_ms: None,
        hold: Hold::None,
    };
    let made = node.client().await?.create_invoice(terms).await;
    Ok(made.inspect_err(expected)?.invoice)
}

/// What may go wrong with a node that is killed, stopped, or has no room.
fn expected(error: &Error) {
    let ok = match error {
        Error::Refused(refusal) => matches!(refusal.code, ErrorCode::Stopping | ErrorCode::Busy),
        Error::Unreachable(_) | Error::Lost(_) | Error::NotTrusted { .. } | Error::NoAnswer(_) => {
            true
        }
        Error::WrongKey { .. } | Error::TooLong | Error::TooSlow | Error::Protocol(_) => false,
    };
    assert!(ok, "{error}: {error:?}");
}
