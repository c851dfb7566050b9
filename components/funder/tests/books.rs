//! What the books say of each kind of change.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;

use offset_crypto::{InvoiceId, Nonce, PaymentId};
use offset_funder::api::Command;
use offset_proto::{
    Balance, Credits, Currency,
    app::{AppReply, ConfigRequest, CreateInvoice, Hold, PaymentStatus, PaymentTarget},
    history::{HistoryEntry, HistoryEvent, MAX_PAGE, PendingKey, PendingPage},
};
use support::{Net, credit, name, seeds};

fn last(net: &Net, node: usize) -> &HistoryEntry {
    net.nodes[node].books.entries.last().unwrap()
}

fn numbers(entry: &HistoryEntry) -> (i128, i128) {
    (entry.delta.get(), entry.balance.get())
}

#[test]
fn a_payment_is_in_the_books_of_everybody_on_its_way() {
    let mut net = Net::chain(3, 1_000, 1);
    net.set_rate(1, 0, 10_000, 2);
    net.settle();
    let invoice = net.invoice(2, 300);
    let id = invoice.id();
    let mut request = net.pay_request(PaymentTarget::Invoice(Box::new(invoice)));
    request.note = "for soup".parse().unwrap();
    let payment = net.pay(0, request);
    let fee = Credits(5);
    assert!(matches!(net.outcome(0, payment), PaymentStatus::Succeeded { fee: f, .. } if f == fee));

    let paid = last(&net, 0);
    assert_eq!(numbers(paid), (-305, -305));
    assert_eq!((paid.friend, &paid.friend_name), (net.key(1), &name("n1")));
    let expected = HistoryEvent::Paid {
        payment_id: payment,
        invoice_id: id,
        destination: net.key(2),
        amount: Credits(300),
        fee,
        note: "for soup".parse().unwrap(),
    };
    assert_eq!(paid.event, expected);

    let entries = &net.nodes[1].books.entries;
    let [.., out, incoming] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!((numbers(out), numbers(incoming)), ((-300, -300), (305, 305)));
    assert_eq!((out.friend, incoming.friend), (net.key(2), net.key(0)));
    let (
        HistoryEvent::ForwardedOut { from, forward_id },
        HistoryEvent::ForwardedIn { to, forward_id: same, fee: earned },
    ) = (&out.event, &incoming.event)
    else {
        panic!("{out:?} {incoming:?}")
    };
    assert_eq!((*from, *to), (Some(net.key(0)), Some(net.key(2))));
    assert_eq!((forward_id, *earned), (same, fee));

    let received = last(&net, 2);
    assert_eq!(numbers(received), (300, 300));
    let description = "".parse().unwrap();
    assert_eq!(received.event, HistoryEvent::Received { invoice_id: id, description });
}

/// The fee is what was kept, whatever the rate is by the time it is collected, and also when the
/// node stopped between the two sides.
#[test]
fn a_fee_survives_a_restart_and_a_new_rate() {
    let mut net = Net::chain(3, 1_000, 2);
    net.set_rate(1, 0, 0, 7);
    net.settle();
    net.send_funds(0, 2, 100);
    // The seller collects, and the buyer cannot be reached.
    while net.balance(2, 1) == 0 {
        step(&mut net);
    }
    net.disconnect(0, 1);
    net.settle();
    assert_eq!((net.balance(1, 0), net.balance(1, 2)), (0, -100));
    net.set_rate(1, 0, 0, 50);
    net.crash(1, true);
    net.connect(0, 1);
    net.connect(1, 2);
    net.settle();
    assert_eq!((net.balance(1, 0), net.balance(1, 2)), (107, -100));
    assert_eq!(net.nodes[1].books.fees(), 7);
}

/// One node's work, or one message.
fn step(net: &mut Net) {
    if let Some((from, to)) = net.busy_links().first().copied() {
        net.deliver(from, to);
        net.flush(to);
        return;
    }
    assert!((0..3).any(|node| net.flush(node)), "nothing moves");
}

#[test]
fn a_currency_opens_and_closes_in_the_books() {
    let mut net = Net::chain(2, 1_000, 3);
    let gold: Currency = "gold".parse().unwrap();
    let add = |net: &mut Net, opening: i128| {
        for (node, friend, sign) in [(0, "n1", 1), (1, "n0", -1)] {
            let opening_balance = Balance::new(sign * opening).unwrap();
            let (friend, currency) = (name(friend), gold.clone());
            let add = ConfigRequest::AddCurrency { friend, currency, opening_balance };
            net.config(node, add);
        }
        net.settle();
    };
    add(&mut net, 0);
    assert_eq!(last(&net, 0).event, HistoryEvent::Opened);
    assert_eq!(numbers(last(&net, 0)), (0, 0));
    net.config(0, ConfigRequest::RemoveCurrency { friend: name("n1"), currency: gold.clone() });
    net.settle();
    for node in 0..2 {
        assert_eq!(last(&net, node).event, HistoryEvent::Closed, "{node}");
        assert_eq!(numbers(last(&net, node)), (0, 0));
    }
    // The user's name for the friend is that of the moment.
    let rename =
        ConfigRequest::SetFriendName { friend: name("n1"), new_name: name("the goldsmith") };
    net.config(0, rename);
    add_again(&mut net, &gold);
    let (here, there) = (last(&net, 0), last(&net, 1));
    assert_eq!((numbers(here), numbers(there)), ((70, 70), (-70, -70)));
    assert_eq!((&here.event, here.friend_name.as_str()), (&HistoryEvent::Opened, "the goldsmith"));
    let opened = net.nodes[0].books.of(|event| *event == HistoryEvent::Opened);
    let currencies: Vec<_> = opened.iter().map(|entry| &entry.currency).collect();
    assert_eq!(currencies, [&credit(), &gold, &gold]);
}

fn add_again(net: &mut Net, currency: &Currency) {
    for (node, friend, opening) in [(0, "the goldsmith", 70), (1, "n0", -70)] {
        let opening_balance = Balance::new(opening).unwrap();
        let (friend, currency) = (name(friend), currency.clone());
        net.config(node, ConfigRequest::AddCurrency { friend, currency, opening_balance });
    }
    net.settle();
}

/// What a merchant does with an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Paid,
    Cancelled,
    Expired,
    CollectedLate,
    GivenBack,
}

/// Many invoices of one merchant, in two currencies, with crashes of everybody in between: whatever
/// becomes of them, the books of all three add up, entry by entry (checked with each batch), and what
/// they say was bought, sold and earned is what the balances say. `OFFSET_INVOICES` sets how many.
#[test]
fn a_long_run_of_sales_reconciles_to_the_last_credit() {
    let count = std::env::var("OFFSET_INVOICES").map_or(300, |count| count.parse().unwrap());
    for seed in seeds(1) {
        run_of_sales(seed, count);
    }
}

fn run_of_sales(seed: u64, count: u64) {
    let mut net = Net::chain(3, 1_000_000_000, seed);
    let gold: Currency = "gold".parse().unwrap();
    for (node, friend) in [(0, "n1"), (1, "n0"), (1, "n2"), (2, "n1")] {
        let (friend, currency) = (name(friend), Some(gold.clone()));
        let opening_balance = Balance::ZERO;
        let add = ConfigRequest::AddCurrency {
            friend: friend.clone(),
            currency: gold.clone(),
            opening_balance,
        };
        let max_debt = Credits(1_000_000_000);
        let limit = ConfigRequest::SetMaxDebt {
            friend: friend.clone(),
            currency: currency.clone(),
            max_debt,
        };
        let open = ConfigRequest::SetRequestsOpen { friend, currency, open: true };
        for request in [add, limit, open] {
            net.config(node, request);
        }
    }
    net.settle();
    net.set_rate(1, 0, 10_000, 3);
    net.settle();
    let mut expected: BTreeMap<Currency, i128> = BTreeMap::new();
    let mut held = Vec::new();
    for n in 0..count {
        let fate = match net.rng.below(10) {
            0 => Fate::Cancelled,
            1 => Fate::Expired,
            2 => Fate::CollectedLate,
            3 => Fate::GivenBack,
            _ => Fate::Paid,
        };
        let currency = if net.rng.below(2) == 0 { gold.clone() } else { credit() };
        let amount = 1 + u128::from(net.rng.below(1_000));
        let (invoice, payment) = sale(&mut net, fate, &currency, amount);
        match fate {
            Fate::Paid => {
                let outcome = net.outcome(0, payment);
                assert!(matches!(outcome, PaymentStatus::Succeeded { .. }), "{outcome:?}");
            }
            Fate::Cancelled | Fate::Expired => {}
            Fate::CollectedLate | Fate::GivenBack => held.push((fate, invoice)),
        }
        if matches!(fate, Fate::Paid | Fate::CollectedLate) {
            *expected.entry(currency).or_default() += i128::try_from(amount).unwrap();
        }
        // The seller decides on some of what it holds, and now and then somebody stops.
        if net.rng.below(4) == 0 && !held.is_empty() {
            let (fate, invoice) = held.remove(0);
            decide(&mut net, fate, invoice);
        }
        if n % 20 == 19 {
            let (node, after_commit) = (usize::try_from(n / 20 % 3).unwrap(), n % 40 == 39);
            net.crash(node, after_commit);
            net.connect(0, 1);
            net.connect(1, 2);
            net.settle();
        }
    }
    for (fate, invoice) in held {
        decide(&mut net, fate, invoice);
    }
    net.settle();
    net.check_at_rest(true);
    check_sales(&net, &expected);
}

/// An invoice, and an order to pay it unless it ends first.
fn sale(net: &mut Net, fate: Fate, currency: &Currency, amount: u128) -> (InvoiceId, PaymentId) {
    let held = matches!(fate, Fate::CollectedLate | Fate::GivenBack);
    let create = CreateInvoice {
        nonce: Nonce::random(&mut net.rng),
        currency: Some(currency.clone()),
        amount: Credits(amount),
        description: "bread".parse().unwrap(),
        expires_in_ms: None,
        hold: if held { Hold::Standard } else { Hold::None },
    };
    let create = Command::CreateInvoice { create: Box::new(create), ended: None };
    let Ok(AppReply::Invoice(report)) = net.ask(2, create) else { panic!("refused") };
    let invoice_id = report.invoice.id();
    match fate {
        Fate::Cancelled => {
            let cancelled = net.ask(2, Command::CancelInvoice { invoice_id, ended: None });
            assert_eq!(cancelled, Ok(AppReply::Done));
        }
        Fate::Expired => net.pass(3_600_001),
        Fate::Paid | Fate::CollectedLate | Fate::GivenBack => {}
    }
    let mut request = net.pay_request(PaymentTarget::Invoice(Box::new(report.invoice)));
    request.note = "for breakfast".parse().unwrap();
    request.max_fee = Some(Credits(100));
    let payment = net.pay(0, request);
    net.settle();
    (invoice_id, payment)
}

fn decide(net: &mut Net, fate: Fate, invoice_id: InvoiceId) {
    let command = if fate == Fate::CollectedLate {
        Command::CollectInvoice { invoice_id, ended: None }
    } else {
        Command::CancelInvoice { invoice_id, ended: None }
    };
    assert_eq!(net.ask(2, command), Ok(AppReply::Done));
    net.settle();
}

fn check_sales(net: &Net, expected: &BTreeMap<Currency, i128>) {
    for (currency, expected) in expected {
        let mut paid = 0;
        for entry in &net.nodes[0].books.entries {
            if let HistoryEvent::Paid { amount, fee, note, .. } = &entry.event
                && entry.currency == *currency
            {
                assert_eq!(note.as_str(), "for breakfast");
                assert_eq!(entry.delta.get(), -i128::try_from(amount.0 + fee.0).unwrap());
                paid += i128::try_from(amount.0).unwrap();
            }
        }
        let received = |entry: &&HistoryEntry| {
            matches!(entry.event, HistoryEvent::Received { .. }) && entry.currency == *currency
        };
        let received = net.nodes[2].books.entries.iter().filter(received);
        let received: i128 = received.map(|entry| entry.delta.get()).sum();
        assert_eq!((paid, received), (*expected, *expected), "{currency}");
        assert_eq!(net.balance_in(2, 1, currency), *expected);
        let earned = net.balance_in(1, 0, currency) + net.balance_in(1, 2, currency);
        assert_eq!(net.balance_in(0, 1, currency), -expected - earned);
        assert_eq!(earned != 0, *currency == credit(), "the rate is that of one currency");
    }
    let earned = net.balance(1, 0) + net.balance(1, 2);
    assert_eq!(net.nodes[1].books.fees(), earned);
}

/// A mediator with more under way than fits one page.
#[test]
fn what_is_pending_comes_in_pages_with_each_request_once() {
    const HELD: usize = 230;
    let mut net = Net::chain(3, 1_000_000, 4);
    for _ in 0..HELD {
        let invoice = net.held_invoice(2, 7, Hold::Standard);
        let request = net.pay_request(PaymentTarget::Invoice(Box::new(invoice)));
        net.pay(0, request);
    }
    net.settle();
    let mut keys = pages(&mut net, 1);
    assert_eq!(keys.iter().map(Vec::len).collect::<Vec<_>>(), [MAX_PAGE, MAX_PAGE, 60]);
    let all: Vec<_> = keys.concat();
    assert!(all.is_sorted_by(|a, b| a < b), "in order, so each once");
    let sent = all.iter().filter(|key| key.sent_by_us).count();
    assert_eq!((all.len(), sent), (2 * HELD, HELD));
    assert_eq!(pages(&mut net, 2).concat().len(), HELD);

    // A place in the list is one although what was there has ended.
    let last = keys[0].pop().unwrap();
    let invoices: Vec<_> = net.nodes[2].funder.state().invoices.keys().copied().collect();
    for invoice in invoices {
        decide(&mut net, Fate::GivenBack, invoice);
    }
    // Only so many empty tokens are given at once.
    for _ in 0..100 {
        net.pass(100);
        net.settle();
    }
    let page = page(&mut net, 1, Some(last));
    assert!(page.entries.is_empty() && !page.more);
}

fn page(net: &mut Net, node: usize, after: Option<PendingKey>) -> PendingPage {
    match net.ask(node, Command::Pending(after)) {
        Ok(AppReply::Pending(page)) => page,
        other => panic!("{other:?}"),
    }
}

/// The keys of all pages.
fn pages(net: &mut Net, node: usize) -> Vec<Vec<PendingKey>> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = page(net, node, after);
        assert!(page.entries.iter().all(|entry| entry.amount == Credits(7)));
        let keys: Vec<_> = page.entries.into_iter().map(|entry| entry.key).collect();
        after = keys.last().cloned();
        all.push(keys);
        if !page.more {
            return all;
        }
    }
}
