//! Friends, payments, and servers that die and come back.

use offset_app::Error;
use offset_proto::{
    Balance, Credits, Rate,
    app::{
        AppEvent, ConfigRequest, ErrorCode, InvoiceStatus, JournalEntry, JournalEvent,
        PaymentStatus,
    },
};

use crate::harness::{Index, Node, Relay, chain, order, until};

fn balance(value: i128) -> Balance {
    Balance::new(value).unwrap()
}

#[tokio::test]
async fn two_friends_pay_each_other() {
    let (_relay, _index, nodes) = chain(2).await;
    let [buyer, seller] = &nodes[..] else { panic!("two nodes") };
    let invoice = seller.invoice(100).await;
    let order = order(&invoice);
    let report = until("a payment", || async {
        let mut order = order.clone();
        order.payment_id = offset_crypto::PaymentId::random(&mut offset_crypto::SystemRng);
        let paid = buyer.app.pay(order.clone()).await.unwrap();
        matches!(paid.status, PaymentStatus::Succeeded { .. }).then_some((order, paid))
    })
    .await;
    let (order, paid) = report;
    let PaymentStatus::Succeeded { receipt, fee } = &paid.status else { panic!("{paid:?}") };
    receipt.verify(&invoice).unwrap();
    assert_eq!(*fee, Credits(0));
    until("the debt", || async { (buyer.line("n1").await.balance == balance(-100)).then_some(()) })
        .await;
    until("the credit", || async {
        (seller.line("n0").await.balance == balance(100)).then_some(())
    })
    .await;

    // Ended payments and invoices come from the store.
    assert_eq!(buyer.app.payment_status(order.payment_id).await.unwrap(), paid);
    assert_eq!(buyer.app.pay(order.clone()).await.unwrap(), paid, "paid once");
    let mut other = order;
    other.max_fee = Some(Credits(7));
    match buyer.app.pay(other).await {
        Err(Error::Refused(error)) => assert_eq!(error.code, ErrorCode::AlreadyExists),
        result => panic!("{result:?}"),
    }
    until("the collected invoice", || async {
        let report = seller.app.invoice_status(invoice.id()).await.unwrap();
        (report.status == InvoiceStatus::Collected).then_some(())
    })
    .await;
    assert!(seller.app.cancel_invoice(invoice.id()).await.is_err());
}

#[tokio::test]
async fn a_mediator_takes_its_fee_and_survives_a_restart() {
    let (_relay, _index, mut nodes) = chain(3).await;
    let rate = Rate { ppm: 0, add: 5 };
    let friend = "n0".parse().unwrap();
    nodes[1].config(ConfigRequest::SetRate { friend, currency: None, rate }).await;
    let invoice = nodes[2].invoice(100).await;
    assert_eq!(nodes[0].pay_until_paid(&invoice).await, Credits(5));
    until("the mediator's lines", || async {
        let (left, right) = (nodes[1].line("n0").await, nodes[1].line("n2").await);
        (left.balance == balance(105) && right.balance == balance(-100)).then_some(())
    })
    .await;

    let mediator = nodes.remove(1).restart().await;
    assert_eq!(mediator.line("n0").await.balance, balance(105));
    let invoice = nodes[1].invoice(10).await;
    assert_eq!(nodes[0].pay_until_paid(&invoice).await, Credits(5));
    mediator.stop().await.unwrap();
}

#[tokio::test]
async fn relay_and_index_server_may_come_and_go() {
    let (mut relay, mut index, nodes) = chain(2).await;
    let [buyer, seller] = &nodes[..] else { panic!("two nodes") };
    let first = seller.invoice(1).await;
    buyer.pay_until_paid(&first).await;

    relay.stop().await;
    index.stop().await;
    until("both to be missed", || async {
        let report = buyer.report().await;
        let gone = !report.relays[0].connected
            && !report.index_servers[0].connected
            && !report.friends[0].online;
        gone.then_some(())
    })
    .await;
    until("errors to be told", || async {
        let report = buyer.report().await;
        let told = !report.relays[0].last_error.as_str().is_empty()
            && !report.index_servers[0].last_error.as_str().is_empty()
            && !report.friends[0].last_error.as_str().is_empty();
        told.then_some(())
    })
    .await;

    relay.restart().await;
    index.restart().await;
    buyer.line("n1").await;
    let second = seller.invoice(2).await;
    buyer.pay_until_paid(&second).await;
    let report = buyer.report().await;
    assert!(report.friends[0].last_error.as_str().is_empty());
    assert!(report.relays[0].connected && report.index_servers[0].connected);
}

#[tokio::test]
async fn subscribers_see_connections_and_payments() {
    let (relay, index) = (Relay::start().await, Index::start().await);
    let node = Node::start().await;
    let mut events = node.app.subscribe().await.unwrap();
    assert!(events.report().relays.is_empty());
    node.use_servers(&relay, &index).await;
    loop {
        let report = events.report();
        let up = |servers: &[offset_proto::report::ServerReport]| {
            servers.first().is_some_and(|server| server.connected)
        };
        if up(&report.relays) && up(&report.index_servers) {
            break;
        }
        events.next().await.unwrap();
    }
    assert_eq!(*events.report(), node.report().await);

    let invoice = node.invoice(3).await;
    node.app.cancel_invoice(invoice.id()).await.unwrap();
    loop {
        if let AppEvent::Journal(JournalEvent { entry: JournalEntry::Invoice(report), .. }) =
            events.next().await.unwrap()
            && report.status == InvoiceStatus::Cancelled
        {
            break assert_eq!(report.invoice, invoice);
        }
    }
    drop(events);
}
