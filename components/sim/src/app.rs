//! The app of each node: it orders payments, remembers what it was told, and asks again with the
//! same id when its node came back without an answer.

use std::collections::BTreeMap;

use offset_crypto::{Nonce, PaymentId};
use offset_funder::api::Command;
use offset_proto::{
    Credits,
    app::{
        AppError, AppReply, AppRequestId, CreateInvoice, Hold, PayRequest, PaymentReport,
        PaymentStatus, PaymentTarget,
    },
};

use crate::world::{Event, World};

#[derive(Debug, Default)]
pub(crate) struct App {
    next_request: u64,
    pub(crate) orders: BTreeMap<PaymentId, Order>,
    /// What requests of this connection were for.
    waiting: BTreeMap<AppRequestId, Waiting>,
    /// Replies to requests that nobody waits for any more but this test of them.
    pub(crate) replies: BTreeMap<AppRequestId, Result<AppReply, AppError>>,
}

#[derive(Debug, Clone)]
enum Waiting {
    Payment(PaymentId),
    /// An invoice that this other node is to pay.
    Invoice(usize),
}

/// A payment that was ordered, and what the app knows of it.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) request: PayRequest,
    pub(crate) seller: usize,
    pub(crate) amount: Credits,
    /// The last that was told of it. A final status never changes.
    pub(crate) status: Option<PaymentStatus>,
}

impl Order {
    pub(crate) fn is_final(&self) -> bool {
        self.status.as_ref().is_some_and(is_final)
    }
}

pub(crate) const fn is_final(status: &PaymentStatus) -> bool {
    match status {
        PaymentStatus::Routing
        | PaymentStatus::Requesting
        | PaymentStatus::Complete
        | PaymentStatus::Committed => false,
        PaymentStatus::Succeeded { .. }
        | PaymentStatus::Failed(_)
        | PaymentStatus::Cancelled
        | PaymentStatus::Unknown => true,
    }
}

impl App {
    pub(crate) fn next_request(&mut self) -> AppRequestId {
        self.next_request += 1;
        AppRequestId(self.next_request)
    }

    /// The connection is gone; nothing that it asked will be answered.
    pub(crate) fn disconnected(&mut self) {
        self.waiting.clear();
    }

    pub(crate) fn payment_reported(&mut self, report: &PaymentReport) {
        let Some(order) = self.orders.get_mut(&report.payment_id) else { return };
        if let Some(before) = &order.status
            && is_final(before)
        {
            assert_eq!(*before, report.status, "what was said of an ended payment stays true");
        }
        order.status = Some(report.status.clone());
    }

    pub(crate) fn replied(&mut self, id: AppRequestId, result: Result<AppReply, AppError>) {
        self.replies.insert(id, result);
    }
}

impl World {
    /// An app acts, and another will.
    pub(crate) fn order(&mut self) {
        if self.calm {
            return;
        }
        let mean = self.options.order_every_ms;
        let next = self.now + self.draw.between(0, 2 * mean);
        self.schedule(next, Event::Order);
        let (buyer, seller) =
            (self.draw.index(self.nodes.len()), self.draw.index(self.nodes.len()));
        if buyer == seller {
            return;
        }
        let amount = self.draw.between(1, u64::try_from(self.options.largest_order).unwrap_or(1));
        let (amount, currency) = (Credits(amount.into()), self.draw.index(self.options.currencies));
        if self.draw.coin() {
            self.send_funds(buyer, seller, currency, amount);
        } else {
            let create = CreateInvoice {
                nonce: Nonce::random(&mut self.draw.0),
                currency: Some(self.currency(currency)),
                amount,
                description: "".parse().expect("a text"),
                expires_in_ms: Some(self.draw.between(1_000, 60_000)),
                hold: Hold::None,
            };
            let create = Command::CreateInvoice { create: Box::new(create), ended: None };
            if let Some(id) = self.command(seller, create) {
                self.nodes[seller].app.waiting.insert(id, Waiting::Invoice(buyer));
            }
        }
        self.read_replies(seller);
        self.read_replies(buyer);
    }

    pub(crate) fn send_funds(
        &mut self,
        buyer: usize,
        seller: usize,
        currency: usize,
        amount: Credits,
    ) -> PaymentId {
        let target = PaymentTarget::Spontaneous {
            destination: self.key(seller),
            amount,
            currency: Some(self.currency(currency)),
        };
        self.pay(buyer, seller, amount, target)
    }

    fn pay(
        &mut self,
        buyer: usize,
        seller: usize,
        amount: Credits,
        target: PaymentTarget,
    ) -> PaymentId {
        let payment_id = PaymentId::random(&mut self.draw.0);
        let max_fee = if self.draw.coin() { Some(Credits(5)) } else { None };
        let deadline_ms =
            if self.draw.coin() { Some(self.draw.between(100, 20_000)) } else { None };
        let note = "".parse().expect("a text");
        let request =
            PayRequest { payment_id, target, max_fee, deadline_ms, note, max_parts: None };
        let order = Order { request: request.clone(), seller, amount, status: None };
        self.nodes[buyer].app.orders.insert(payment_id, order);
        self.ask_to_pay(buyer, request);
        payment_id
    }

    fn ask_to_pay(&mut self, buyer: usize, request: PayRequest) {
        let payment_id = request.payment_id;
        let command = Command::Pay { request: Box::new(request), ended: None, payer: None };
        if let Some(id) = self.command(buyer, command) {
            self.nodes[buyer].app.waiting.insert(id, Waiting::Payment(payment_id));
        }
    }

    /// The node is back: the app asks again for what it has no last word of.
    pub(crate) fn app_connected(&mut self, node: usize) {
        let open = self.nodes[node].app.orders.values().filter(|order| !order.is_final());
        let requests: Vec<_> = open.map(|order| order.request.clone()).collect();
        for request in requests {
            self.ask_to_pay(node, request);
        }
    }

    /// Invoices that were made are paid by whom they were made for.
    pub(crate) fn read_replies(&mut self, node: usize) {
        for (id, result) in std::mem::take(&mut self.nodes[node].app.replies) {
            let waiting = self.nodes[node].app.waiting.remove(&id);
            match (waiting, result) {
                (Some(Waiting::Invoice(buyer)), Ok(AppReply::Invoice(report))) => {
                    let amount = report.invoice.dest_payment;
                    let target = PaymentTarget::Invoice(Box::new(report.invoice));
                    self.pay(buyer, node, amount, target);
                }
                (Some(Waiting::Payment(payment)), Err(error)) => {
                    // Refused before it began (an invoice that expired, say); it never was.
                    let app = &mut self.nodes[node].app;
                    let order = app.orders.get(&payment);
                    let untold = order.is_some_and(|order| order.status.is_none());
                    assert!(untold, "a payment that began is refused: {error:?}");
                    app.orders.remove(&payment);
                }
                (Some(_), Ok(_)) | (Some(Waiting::Invoice(_)), Err(_)) | (None, _) => {}
            }
        }
    }
}
