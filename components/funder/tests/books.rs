//! What the books say of each kind of change.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use offset_proto::{
    Balance, Credits, Currency,
    app::{ConfigRequest, PaymentStatus, PaymentTarget},
    history::{HistoryEntry, HistoryEvent},
};
use support::{Net, credit, name};

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
