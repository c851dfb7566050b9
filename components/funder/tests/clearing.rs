//! Clearing: payments to oneself along cycles.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use offset_crypto::{InvoiceId, PaymentId};
use offset_funder::api::{Command, Payer};
use offset_proto::{
    Credits,
    app::{AppError, AppLimits, AppReply, ClearRequest, ConfigRequest, ErrorCode, PaymentStatus},
    history::HistoryEvent,
};
use support::{Net, credit, name};

/// Four nodes in a ring, with everything open: 1 owes 0 so much, and 0 owes 3 so much.
fn ring(owed: u128, owes: u128) -> Net {
    let mut net = Net::chain(4, 1_000, 5);
    net.befriend(3, 0, 1_000);
    net.settle();
    for (from, to, amount) in [(1, 0, owed), (0, 3, owes)] {
        if amount != 0 {
            let id = net.send_funds(from, to, amount);
            assert!(matches!(net.outcome(from, id), PaymentStatus::Succeeded { .. }));
        }
    }
    assert_eq!(debts(&net), (int(owed), -int(owes)));
    net
}

fn int(amount: u128) -> i128 {
    amount.try_into().unwrap()
}

/// Of 0, with 1 and with 3.
fn debts(net: &Net) -> (i128, i128) {
    (net.balance(0, 1), net.balance(0, 3))
}

/// Clears once and waits for the end.
fn clear(net: &mut Net, friend: Option<usize>) -> Result<PaymentStatus, AppError> {
    let (id, number) = net.clear(0, friend);
    if let Some(Err(error)) = net.nodes[0].replies.remove(&number) {
        return Err(error);
    }
    let status = net.outcome(0, id);
    let reply = net.nodes[0].replies.remove(&number).unwrap().unwrap();
    assert!(matches!(reply, AppReply::Payment(report) if report.status == status));
    Ok(status)
}

fn nothing(result: Result<PaymentStatus, AppError>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.code, ErrorCode::NothingToClear);
    error.message.to_string()
}

/// The invoice of a clearing cannot be cancelled, collected or looked at by its id.
fn no_seller_knows(net: &mut Net, invoice_id: InvoiceId) {
    let ended = || None;
    for command in [
        Command::CancelInvoice { invoice_id, ended: ended() },
        Command::CollectInvoice { invoice_id, ended: ended() },
        Command::InvoiceStatus { invoice_id, ended: ended() },
    ] {
        assert_eq!(net.ask(0, command).unwrap_err().code, ErrorCode::NotFound);
    }
}

#[test]
fn both_debts_shrink_by_the_smaller_one() {
    let mut net = ring(60, 40);
    let totals: Vec<i128> = (0..4).map(|node| net.total(node)).collect();
    let (id, _) = net.clear(0, None);
    let internal = |net: &Net| {
        let mut rows = net.nodes[0].disk.invoices.values();
        rows.find(|row| row.clears == Some(id)).map(|row| row.invoice.clone())
    };
    let invoice = internal(&net).unwrap();
    no_seller_knows(&mut net, invoice.id());
    let PaymentStatus::Succeeded { receipt, fee } = net.outcome(0, id) else { panic!() };
    assert_eq!((debts(&net), fee), ((20, 0), Credits::ZERO));
    assert_eq!((0..4).map(|node| net.total(node)).collect::<Vec<_>>(), totals);
    net.settle();
    net.check_at_rest(true);
    // The receipt is one of an invoice of our own, which is shown to nobody.
    let row = net.nodes[0].archive[&id].clone();
    assert!(row.clearing && row.destination == net.key(0));
    assert!(receipt.verify(&invoice).is_ok());
    assert_eq!(internal(&net), None, "it has ended");
    assert!(!net.nodes[0].invoices.contains_key(&row.invoice_id));
    no_seller_knows(&mut net, invoice.id());
    let cleared = net.nodes[0].books.of(|event| matches!(event, HistoryEvent::Cleared { .. }));
    let moved: Vec<i128> = cleared.iter().map(|entry| entry.delta.get()).collect();
    assert_eq!(moved, [40, -40], "in the books of both lines");
    // What is left has no other side.
    assert!(nothing(clear(&mut net, None)).contains("you owe no friend"));
}

#[test]
fn fees_are_bounded_by_a_share_and_a_sum() {
    let mut net = ring(60, 40);
    for (node, friend) in [(1, 0), (2, 1), (3, 2)] {
        net.set_rate(node, friend, 10_000, 1);
    }
    net.settle();
    let order = |max_fee: Option<u128>, max_fee_ppm| ClearRequest {
        payment_id: PaymentId::from_bytes([7; 16]),
        currency: Some(credit()),
        friend: None,
        max_fee: max_fee.map(Credits),
        max_fee_ppm,
    };
    for dear in [order(None, 100_000), order(Some(5), 1_000_000)] {
        let number = net.order_clearing(0, dear);
        let reply = net.nodes[0].replies.remove(&number).unwrap();
        assert!(nothing(reply.map(|_| PaymentStatus::Unknown)).contains("within the fee limit"));
    }
    assert_eq!(debts(&net), (60, -40));
    // 2 is the least of each mediator of 37 to 40: one percent and one.
    let number = net.order_clearing(0, order(Some(6), 1_000_000));
    net.settle();
    let reply = net.nodes[0].replies.remove(&number).unwrap();
    let Ok(AppReply::Payment(report)) = reply else { panic!("{reply:?}") };
    let PaymentStatus::Succeeded { fee, .. } = report.status else { panic!("{report:?}") };
    assert_eq!(fee, Credits(6));
    let amount = int(report.amount.0);
    assert_eq!(debts(&net), (60 - amount - 6, amount - 40));
}

#[test]
fn a_line_is_emptied_by_name() {
    let mut net = ring(30, 80);
    assert!(clear(&mut net, Some(1)).is_ok());
    assert_eq!(debts(&net), (0, -50));
    assert!(nothing(clear(&mut net, Some(1))).contains("it is at zero"));
    assert!(nothing(clear(&mut net, Some(3))).contains("no friend that is online owes you"));
    let unknown = net.order_clearing(
        0,
        ClearRequest {
            payment_id: PaymentId::from_bytes([1; 16]),
            currency: None,
            friend: Some(name("nobody")),
            max_fee: None,
            max_fee_ppm: 0,
        },
    );
    let reply = net.nodes[0].replies.remove(&unknown).unwrap();
    assert_eq!(reply.unwrap_err().code, ErrorCode::NotFound);
    // The emptied line can go.
    let currency = credit();
    net.config(0, ConfigRequest::RemoveCurrency { friend: name("n1"), currency });
    net.settle();
    assert_eq!(net.nodes[0].funder.state().friends[&net.key(1)].lines.len(), 0);
}

#[test]
fn the_same_id_is_the_same_clearing() {
    let mut net = ring(60, 40);
    let order = |max_fee_ppm| ClearRequest {
        payment_id: PaymentId::from_bytes([7; 16]),
        currency: None,
        friend: None,
        max_fee: None,
        max_fee_ppm,
    };
    let first = net.order_clearing(0, order(5));
    // While it is under way, and when it has ended.
    let second = net.order_clearing(0, order(5));
    net.settle();
    let third = net.order_clearing(0, order(5));
    let other = net.order_clearing(0, order(6));
    net.settle();
    assert_eq!(debts(&net), (20, 0));
    let mut reply = |number| net.nodes[0].replies.remove(&number).unwrap();
    let report = reply(first).unwrap();
    assert_eq!((reply(second).unwrap(), reply(third).unwrap()), (report.clone(), report));
    assert_eq!(reply(other).unwrap_err().code, ErrorCode::AlreadyExists);
}

#[test]
fn without_an_index_server_nothing_begins() {
    let mut net = ring(60, 40);
    net.index_up = false;
    assert_eq!(clear(&mut net, None).unwrap_err().code, ErrorCode::NoConnection);
    assert!(net.nodes[0].disk.payments.values().all(|row| !row.clearing));
    net.index_up = true;
    assert!(clear(&mut net, None).is_ok());
}

#[test]
fn a_clearing_that_cannot_go_on_ends_and_frees_everything() {
    let mut net = ring(60, 40);
    let (id, _) = net.clear(0, None);
    // The next mediator goes while the request is on its way.
    net.disconnect(1, 2);
    assert!(matches!(net.outcome(0, id), PaymentStatus::Failed(_)));
    net.settle();
    net.check_at_rest(true);
    assert_eq!(debts(&net), (60, -40));
    assert!(net.nodes[0].disk.invoices.is_empty(), "the invoice has ended with it");
    // The edge that failed is left alone for a while.
    net.connect(1, 2);
    net.settle();
    assert!(nothing(clear(&mut net, None)).contains("no cycle"));
    net.pass(100_000);
    net.settle();
    assert!(clear(&mut net, None).is_ok());
    assert_eq!(debts(&net), (20, 0));
}

/// What is not committed can never be: its lock is not revealed.
#[test]
fn an_unknown_clearing_that_was_not_committed_leaves_no_invoice() {
    let mut net = ring(60, 40);
    let (id, _) = net.clear(0, None);
    net.settle_but((1, 2));
    assert_eq!(net.nodes[0].disk.invoices.len(), 1);
    net.config(0, ConfigRequest::RemoveFriend { friend: name("n1"), forfeit: true });
    assert_eq!(net.outcome(0, id), PaymentStatus::Unknown);
    assert!(net.nodes[0].disk.invoices.is_empty(), "the invoice has ended with it");
}

/// Stops the node before and after each of its commits: the clearing is done once, or not at all
/// when nothing of it was durable.
#[test]
fn a_crash_anywhere_leaves_all_or_nothing() {
    let mut all = 0;
    for point in 0..40 {
        for after_commit in [false, true] {
            let mut net = ring(60, 40);
            let (id, _) = net.clear(0, None);
            for _ in 0..point {
                let links = net.busy_links();
                if let Some((from, to)) = links.first().copied() {
                    net.deliver(from, to);
                    // The crash loses what 0 has not made durable.
                    if to != 0 {
                        net.flush(to);
                    } else if links.len().is_multiple_of(2) {
                        net.flush(0);
                    }
                } else {
                    net.flush(0);
                }
            }
            net.crash(0, after_commit);
            net.connect(0, 1);
            net.connect(0, 3);
            for _ in 0..70 {
                net.settle();
                net.pass(1_000);
            }
            net.settle();
            net.check_at_rest(true);
            let row = &net.nodes[0].archive[&id];
            let paid = matches!(row.phase.status(), PaymentStatus::Succeeded { .. });
            assert_eq!(debts(&net), if paid { (20, 0) } else { (60, -40) }, "{point}");
            all += u32::from(paid);
        }
    }
    assert!(0 < all && all <= 80, "{all}");
}

#[test]
fn the_limits_of_a_ticket_hold_for_clearings() {
    let mut net = ring(60, 40);
    for (node, friend) in [(1, 0), (2, 1), (3, 2)] {
        net.set_rate(node, friend, 0, 1);
    }
    net.settle();
    // A clearing costs its fees: at most 10 % of 40 here.
    let mut order = |most: u128, byte: u8| {
        let max_payment = [(credit(), Credits(most))].into_iter().collect();
        let limits = vec![AppLimits { max_payment, ..AppLimits::default() }];
        let request = ClearRequest {
            payment_id: PaymentId::from_bytes([byte; 16]),
            currency: None,
            friend: None,
            max_fee: None,
            max_fee_ppm: 100_000,
        };
        let payer = Some(Payer { app: net.key(0), limits });
        let request = Box::new(request);
        let number = net.command(0, Command::Clear { request, ended: None, payer });
        net.settle();
        net.nodes[0].replies.remove(&number).unwrap().map_err(|error| error.code)
    };
    assert_eq!(order(2, 1), Err(ErrorCode::LimitReached));
    let Ok(AppReply::Payment(report)) = order(4, 2) else { panic!() };
    assert!(matches!(report.status, PaymentStatus::Succeeded { fee: Credits(3), .. }));
    assert!(net.nodes[0].disk.invoices.is_empty(), "nothing is left of what was refused");
}
