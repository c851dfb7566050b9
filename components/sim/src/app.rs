//! The app of each node: it orders payments, remembers what it was told, and asks again with the
//! same id when its node came back without an answer.

use std::collections::BTreeMap;

use offset_crypto::{InvoiceId, Nonce, PaymentId};
use offset_funder::api::Command;
use offset_proto::{
    Credits, Currency,
    app::{
        AppError, AppReply, AppRequestId, ClearRequest, CreateInvoice, Hold, PayRequest,
        PaymentReport, PaymentStatus, PaymentTarget,
    },
};

use crate::{
    chaos::name,
    world::{Event, World},
};

#[derive(Debug, Default)]
pub(crate) struct App {
    next_request: u64,
    /// Its node came back from an older copy, and may know less than it told.
    restored: bool,
    pub(crate) orders: BTreeMap<PaymentId, Order>,
    /// Clearings that were ordered and not refused, and the last that was told of each.
    pub(crate) clearings: BTreeMap<PaymentId, (ClearRequest, Option<PaymentStatus>)>,
    /// Invoices that hold what pays them, until the seller decides or their time is over.
    holding: Vec<InvoiceId>,
    /// What requests of this connection were for.
    waiting: BTreeMap<AppRequestId, Waiting>,
    /// Replies to requests that nobody waits for any more but this test of them.
    pub(crate) replies: BTreeMap<AppRequestId, Result<AppReply, AppError>>,
}

#[derive(Debug, Clone)]
enum Waiting {
    Payment(PaymentId),
    Clearing(PaymentId),
    /// An invoice that this other node is to pay.
    Invoice(usize),
    /// The commit of a payment, for its seller.
    Commit(usize),
}

/// A payment that was ordered, and what the app knows of it.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) request: PayRequest,
    pub(crate) seller: usize,
    pub(crate) currency: Currency,
    pub(crate) amount: Credits,
    /// Whether the commit is handed to the seller, and not sent.
    by_commit: bool,
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

/// What was said of an ended payment stays true, but for what a friendship that ends does: a part of a
/// failed one that is lost with it counts as possibly paid; of an unknown one it may become known that
/// it was paid, and of a paid one that a part, with its fee, was given back after all.
pub(crate) fn may_follow(before: &PaymentStatus, after: &PaymentStatus) -> bool {
    match (before, after) {
        (PaymentStatus::Unknown, PaymentStatus::Succeeded { .. })
        | (PaymentStatus::Failed(_) | PaymentStatus::Cancelled, PaymentStatus::Unknown) => true,
        (
            PaymentStatus::Succeeded { receipt, fee: most },
            PaymentStatus::Succeeded { receipt: same, fee },
        ) => receipt == same && fee <= most,
        (before, after) => before == after,
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

    /// What is under way is forgotten: the node does not know it any more.
    pub(crate) fn forget_open(&mut self) {
        self.orders.retain(|_, order| order.is_final());
        self.clearings.retain(|_, (_, status)| status.as_ref().is_some_and(is_final));
        self.restored = true;
    }

    pub(crate) fn payment_reported(&mut self, report: &PaymentReport) {
        let id = &report.payment_id;
        let order = self.orders.get_mut(id).map(|order| &mut order.status);
        let clearing = self.clearings.get_mut(id).map(|(_, status)| status);
        let Some(status) = order.or(clearing) else { return };
        if let Some(before) = status
            && is_final(before)
        {
            let follows = may_follow(before, &report.status) || self.restored;
            assert!(follows, "{before:?}, then {:?}", report.status);
        }
        *status = Some(report.status.clone());
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
        if self.draw.index(6) == 0 {
            return self.order_clearing(buyer);
        }
        if self.options.holds && self.draw.index(6) == 0 {
            return self.decide(seller);
        }
        if buyer == seller {
            return;
        }
        let (amount, currency) = (self.amount(), self.draw.index(self.options.currencies));
        if self.draw.coin() {
            self.send_funds(buyer, seller, currency, amount);
        } else {
            let create = CreateInvoice {
                nonce: Nonce::random(&mut self.draw.0),
                currency: Some(self.currency(currency)),
                amount,
                description: "".parse().expect("a text"),
                expires_in_ms: Some(self.draw.between(1_000, 60_000)),
                hold: if self.options.holds && self.draw.coin() {
                    Hold::ForMs(self.draw.between(1, 20_000))
                } else {
                    Hold::None
                },
            };
            let create = Command::CreateInvoice { create: Box::new(create), ended: None };
            if let Some(id) = self.command(seller, create) {
                self.nodes[seller].app.waiting.insert(id, Waiting::Invoice(buyer));
            }
        }
        self.read_replies(seller);
        self.read_replies(buyer);
    }

    /// Mostly small; now and then as much as a line carries, or one more or less.
    fn amount(&mut self) -> Credits {
        let most = u64::try_from(self.options.largest_order).unwrap_or(1);
        let small = u128::from(self.draw.between(1, most));
        let limit = self.options.limit;
        Credits(match self.draw.index(24) {
            0 => limit.saturating_sub(1).max(1),
            1 => limit,
            2 => limit.saturating_add(1).min(Credits::LIMIT.0),
            3 => limit / 2 + 1,
            _ => small,
        })
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
        self.pay(buyer, seller, (amount, self.currency(currency), false), target)
    }

    /// A seller collects what it holds for an invoice, or gives it back.
    fn decide(&mut self, seller: usize) {
        if self.nodes[seller].app.holding.is_empty() {
            return;
        }
        let at = self.draw.index(self.nodes[seller].app.holding.len());
        // What it holds nothing for yet, or no longer, is refused.
        let invoice_id = self.nodes[seller].app.holding.swap_remove(at);
        let command = if self.draw.coin() {
            Command::CollectInvoice { invoice_id, ended: None }
        } else {
            Command::CancelInvoice { invoice_id, ended: None }
        };
        self.command(seller, command);
        self.read_replies(seller);
    }

    fn pay(
        &mut self,
        buyer: usize,
        seller: usize,
        (amount, currency, by_commit): (Credits, Currency, bool),
        target: PaymentTarget,
    ) -> PaymentId {
        let payment_id = PaymentId::random(&mut self.draw.0);
        let max_fee = if self.draw.coin() { Some(Credits(5)) } else { None };
        let deadline_ms =
            if self.draw.coin() { Some(self.draw.between(100, 20_000)) } else { None };
        let note = "".parse().expect("a text");
        let request =
            PayRequest { payment_id, target, max_fee, deadline_ms, note, max_parts: None };
        let request_again = request.clone();
        let order =
            Order { request: request_again, seller, currency, amount, by_commit, status: None };
        self.nodes[buyer].app.orders.insert(payment_id, order);
        self.ask_to_pay(buyer, request, by_commit);
        payment_id
    }

    fn ask_to_pay(&mut self, buyer: usize, request: PayRequest, by_commit: bool) {
        let payment_id = request.payment_id;
        let request = Box::new(request);
        let command = if by_commit {
            Command::PayByCommit { request, ended: None, payer: None }
        } else {
            Command::Pay { request, ended: None, payer: None }
        };
        if let Some(id) = self.command(buyer, command) {
            self.nodes[buyer].app.waiting.insert(id, Waiting::Payment(payment_id));
        }
    }

    /// The commit of a payment that was made for it.
    fn ask_for_commit(&mut self, buyer: usize, payment_id: PaymentId) {
        let order = self.nodes[buyer].app.orders.get(&payment_id);
        let Some(seller) = order.filter(|order| order.by_commit).map(|order| order.seller) else {
            return;
        };
        let command = Command::PaymentCommit { payment_id, ended: None };
        if let Some(id) = self.command(buyer, command) {
            self.nodes[buyer].app.waiting.insert(id, Waiting::Commit(seller));
        }
    }

    /// Debts of a node, with one friend or with any, are to be set off.
    fn order_clearing(&mut self, node: usize) {
        let (friend, currency) =
            (self.draw.index(self.nodes.len()), self.draw.index(self.options.currencies));
        let request = ClearRequest {
            payment_id: PaymentId::random(&mut self.draw.0),
            currency: Some(self.currency(currency)),
            // It may be no friend, which is refused.
            friend: (self.draw.index(4) == 0).then(|| name("n", friend)),
            max_fee: self.draw.coin().then_some(Credits(9)),
            max_fee_ppm: *self.draw.of(&[0, 10_000, 1_000_000, 1_000_000]),
        };
        self.nodes[node].app.clearings.insert(request.payment_id, (request.clone(), None));
        self.ask_to_clear(node, request);
        self.read_replies(node);
    }

    fn ask_to_clear(&mut self, node: usize, request: ClearRequest) {
        let payment_id = request.payment_id;
        let command = Command::Clear { request: Box::new(request), ended: None, payer: None };
        if let Some(id) = self.command(node, command) {
            self.nodes[node].app.waiting.insert(id, Waiting::Clearing(payment_id));
        }
    }

    /// The node is back: the app asks again for what it has no last word of.
    pub(crate) fn app_connected(&mut self, node: usize) {
        let open = self.nodes[node].app.orders.values().filter(|order| !order.is_final());
        let requests: Vec<_> = open.map(|order| (order.request.clone(), order.by_commit)).collect();
        for (request, by_commit) in requests {
            self.ask_to_pay(node, request, by_commit);
        }
        let open = |status: &Option<_>| !status.as_ref().is_some_and(is_final);
        let clearings = self.nodes[node].app.clearings.values();
        let requests: Vec<_> =
            clearings.filter(|(_, status)| open(status)).map(|(order, _)| order.clone()).collect();
        for request in requests {
            self.ask_to_clear(node, request);
        }
    }

    /// What was ordered of a process that did not listen is asked now.
    pub(crate) fn ask_what_was_not_asked(&mut self, node: usize) {
        let app = &self.nodes[node].app;
        let asked = |id: &PaymentId| {
            let of = |it: &Waiting| matches!(it, Waiting::Payment(of) | Waiting::Clearing(of) if of == id);
            app.waiting.values().any(of)
        };
        let orders = app.orders.iter().filter(|(id, it)| !it.is_final() && !asked(id));
        let orders: Vec<_> = orders.map(|(_, it)| (it.request.clone(), it.by_commit)).collect();
        let open = |status: &Option<_>| !status.as_ref().is_some_and(is_final);
        let clearings = app.clearings.iter().filter(|(id, (_, it))| open(it) && !asked(id));
        let clearings: Vec<_> = clearings.map(|(_, (request, _))| request.clone()).collect();
        for (request, by_commit) in orders {
            self.ask_to_pay(node, request, by_commit);
        }
        for request in clearings {
            self.ask_to_clear(node, request);
        }
    }

    /// Invoices that were made are paid by whom they were made for.
    pub(crate) fn read_replies(&mut self, node: usize) {
        for (id, result) in std::mem::take(&mut self.nodes[node].app.replies) {
            let waiting = self.nodes[node].app.waiting.remove(&id);
            match (waiting, result) {
                (Some(Waiting::Invoice(buyer)), Ok(AppReply::Invoice(report))) => {
                    let amount = report.invoice.dest_payment;
                    if report.invoice.hold_until.is_some() {
                        self.nodes[node].app.holding.push(report.invoice.id());
                    }
                    let currency = report.invoice.currency.clone();
                    let target = PaymentTarget::Invoice(Box::new(report.invoice));
                    let by_commit = self.options.commits && self.draw.coin();
                    self.pay(buyer, node, (amount, currency, by_commit), target);
                }
                (Some(Waiting::Payment(payment)), Ok(AppReply::Payment(report)))
                    if report.status == PaymentStatus::Committed =>
                {
                    self.ask_for_commit(node, payment);
                }
                (Some(Waiting::Commit(seller)), Ok(AppReply::Commit(commit))) => {
                    // A seller that is away, or not ready, gets it when the buyer asks again, or
                    // never: then everything comes back.
                    self.command(seller, Command::CommitInvoice { commit, ended: None });
                }
                (Some(Waiting::Payment(payment)), Err(error)) => {
                    // Refused before it began (an invoice that expired, say); it never was.
                    let app = &mut self.nodes[node].app;
                    let order = app.orders.get(&payment);
                    let untold = order.is_some_and(|order| order.status.is_none());
                    assert!(untold, "a payment that began is refused: {error:?}");
                    app.orders.remove(&payment);
                }
                (Some(Waiting::Clearing(payment)), Err(error)) => {
                    // There was no cycle, or it was lost with a crash before it began.
                    let order = self.nodes[node].app.clearings.remove(&payment);
                    let untold = order.is_some_and(|(_, status)| status.is_none());
                    assert!(untold, "a clearing that began is refused: {error:?}");
                }
                (Some(_), Ok(_))
                | (Some(Waiting::Invoice(_) | Waiting::Commit(_)), Err(_))
                | (None, _) => {}
            }
        }
    }
}
