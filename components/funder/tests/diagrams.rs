//! The diagrams of the seeds, played exactly: B, C, D and E are friends in a line, B buys from E.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use offset_crypto::PaymentId;
use offset_funder::api::Command;
use offset_proto::{
    app::{
        AppReply, ConfigRequest, ErrorCode, Hold, InvoiceStatus, PaymentFailure, PaymentStatus,
        PaymentTarget,
    },
    friend::CancelReason,
    payment::{Commit, Invoice},
};
use support::{Net, name};

const B: usize = 0;
const C: usize = 1;
const D: usize = 2;
const E: usize = 3;

/// Arrows of a diagram: what came over which lines, in this order.
fn arrows(net: &mut Net) -> Vec<(&'static str, Vec<usize>)> {
    let mut arrows: Vec<(&'static str, Vec<usize>)> = Vec::new();
    for (from, to, word) in std::mem::take(&mut net.trace) {
        match arrows.last_mut() {
            Some((last, path)) if *last == word && path.last() == Some(&from) => path.push(to),
            Some(_) | None => arrows.push((word, vec![from, to])),
        }
    }
    arrows
}

fn line() -> Net {
    let mut net = Net::chain(4, 1_000, 1);
    for (node, friend) in [(C, B), (D, C)] {
        net.set_rate(node, friend, 0, 1);
    }
    net.settle();
    net.trace.clear();
    net
}

/// B orders a payment whose commit it hands to E itself.
fn pay(net: &mut Net, invoice: &Invoice) -> PaymentId {
    let request = net.pay_request(PaymentTarget::Invoice(Box::new(invoice.clone())));
    let payment_id = request.payment_id;
    let request = Box::new(request);
    net.command(B, Command::PayByCommit { request, ended: None, payer: None });
    net.settle();
    payment_id
}

fn commit_of(net: &mut Net, payment_id: PaymentId) -> Result<Commit, ErrorCode> {
    let ended = net.nodes[B].archive.get(&payment_id).cloned().map(Box::new);
    match net.ask(B, Command::PaymentCommit { payment_id, ended }) {
        Ok(AppReply::Commit(commit)) => Ok(*commit),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.code),
    }
}

fn hand_in(net: &mut Net, commit: &Commit) -> Result<InvoiceStatus, ErrorCode> {
    let command = Command::CommitInvoice { commit: Box::new(commit.clone()), ended: None };
    let result = net.ask(E, command);
    match result {
        Ok(AppReply::Invoice(report)) => Ok(report.status),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.code),
    }
}

fn balances(net: &Net) -> [i128; 3] {
    [(B, C), (C, D), (D, E)].map(|(node, friend)| net.balance(node, friend))
}

/// Nothing is frozen anywhere.
fn assert_thawed(net: &Net) {
    for node in &net.nodes {
        for friend in node.funder.state().friends.values() {
            for line in friend.lines.values() {
                let credit = line.credit.as_ref().unwrap();
                for side in offset_funder::Side::BOTH {
                    assert!(credit.pending(side).is_empty(), "something is frozen");
                }
            }
        }
        assert!(node.funder.state().sets.is_empty());
    }
}

#[test]
fn mutual_credit_protocol() {
    for crashes in [false, true] {
        let mut net = line();
        let invoice = net.invoice(E, 10);
        let id = pay(&mut net, &invoice);
        let expected = [("request", vec![B, C, D, E]), ("response", vec![E, D, C, B])];
        assert_eq!(arrows(&mut net), expected);
        // 12, 11 and 10 credits are frozen.
        let frozen = [(B, C, 12), (C, D, 11), (D, E, 10)];
        for (node, friend, credits) in frozen {
            let friend = &net.nodes[node].funder.state().friends[&net.key(friend)];
            let credit = friend.lines[&support::credit()].credit.as_ref().unwrap();
            let debt = credit.numbers().pending_debt[offset_funder::Side::Local];
            assert_eq!(debt.0, credits);
        }
        let commit = commit_of(&mut net, id).unwrap();
        assert_eq!(commit.verify(&invoice), Ok(()));
        if crashes {
            // Both ends lose everything but their disks, and the buyer is away when the seller
            // collects.
            net.crash(B, true);
            net.crash(E, true);
            assert_eq!(hand_in(&mut net, &commit), Err(ErrorCode::NotYet));
            // It was kept, and is accepted when the friend is back.
            net.connect(D, E);
        } else {
            assert!(hand_in(&mut net, &commit).is_ok());
        }
        net.settle();
        assert_eq!(net.nodes[E].invoices[&invoice.id()].status, InvoiceStatus::Collected);
        if crashes {
            assert_eq!(net.balance(E, D), 10, "the seller has it while the buyer is away");
            assert_eq!(commit_of(&mut net, id), Ok(commit.clone()), "the commit stays the same");
            net.connect(B, C);
            net.settle();
        } else {
            assert_eq!(arrows(&mut net), [("collect", vec![E, D, C, B])]);
        }
        let PaymentStatus::Succeeded { receipt, fee } = net.outcome(B, id) else { panic!() };
        assert_eq!(receipt.verify(&invoice), Ok(()));
        assert_eq!(fee.0, 2);
        assert_eq!(balances(&net), [-12, -11, -10]);
        assert_eq!(commit_of(&mut net, id), Err(ErrorCode::Refused));
        assert_thawed(&net);
    }
}

#[test]
fn cancelled_on_the_way() {
    let mut net = line();
    let invoice = net.invoice(E, 10);
    // The index server does not know yet that D and E cannot reach each other.
    let stale = [D, E].map(|node| net.nodes[node].lines.clone());
    net.disconnect(D, E);
    net.settle();
    for (node, lines) in [D, E].into_iter().zip(stale) {
        net.nodes[node].lines = lines;
    }
    let id = pay(&mut net, &invoice);
    let seen = arrows(&mut net);
    assert_eq!(seen[..2], [("request", vec![B, C, D]), ("cancel", vec![D, C, B])]);
    assert!(matches!(net.outcome(B, id), PaymentStatus::Failed(_)));
    assert_eq!(balances(&net), [0, 0, 0]);
    assert_thawed(&net);
}

#[test]
fn cancelled_by_a_seller_who_does_not_know_the_invoice() {
    let mut net = line();
    let invoice = net.invoice(E, 10);
    let cancel = Command::CancelInvoice { invoice_id: invoice.id(), ended: None };
    assert_eq!(net.ask(E, cancel), Ok(AppReply::Done));
    let id = pay(&mut net, &invoice);
    let expected = [("request", vec![B, C, D, E]), ("cancel", vec![E, D, C, B])];
    assert_eq!(arrows(&mut net), expected);
    let refused = PaymentFailure::Refused {
        reason: CancelReason::UnknownInvoice,
        reporter: Some(net.key(E)),
    };
    assert_eq!(net.outcome(B, id), PaymentStatus::Failed(refused));
    assert_thawed(&net);
}

#[test]
fn cancelled_by_a_seller_who_waited_too_long() {
    for taken in [false, true] {
        let mut net = line();
        let invoice = net.invoice(E, 10);
        let id = pay(&mut net, &invoice);
        arrows(&mut net);
        // A buyer who has the commit in hand cannot take the payment back, and no mediator ends it.
        let commit = taken.then(|| commit_of(&mut net, id).unwrap());
        let cancel = Command::CancelPayment { payment_id: id, ended: None };
        assert_eq!(net.ask(B, cancel).unwrap_err().code, ErrorCode::Refused);
        net.pass(3_599_000);
        net.settle();
        assert_eq!(arrows(&mut net), []);
        net.pass(2_000);
        net.settle();
        assert_eq!(arrows(&mut net), [("cancel", vec![E, D, C, B])]);
        assert_eq!(net.outcome(B, id), PaymentStatus::Cancelled);
        if let Some(commit) = commit {
            assert!(hand_in(&mut net, &commit).is_err());
        }
        net.settle();
        assert_eq!(balances(&net), [0, 0, 0]);
        assert_thawed(&net);
    }
}

#[test]
fn a_buyer_takes_back_what_is_not_complete() {
    let mut net = line();
    let invoice = net.invoice(E, 10);
    let request = net.pay_request(PaymentTarget::Invoice(Box::new(invoice)));
    let payment_id = request.payment_id;
    let request = Box::new(request);
    net.command(B, Command::PayByCommit { request, ended: None, payer: None });
    for node in [B, C, B, C] {
        net.flush(node);
        for (from, to) in net.busy_links() {
            net.deliver(from, to);
        }
    }
    assert_eq!(commit_of(&mut net, payment_id), Err(ErrorCode::NotYet));
    let cancel = || Command::CancelPayment { payment_id, ended: None };
    assert_eq!(net.ask(B, cancel()), Ok(AppReply::Done));
    net.settle();
    assert_eq!(net.outcome(B, payment_id), PaymentStatus::Failed(PaymentFailure::TakenBack));
    assert_thawed(&net);
}

#[test]
fn delayed_collection_and_return() {
    for (in_band, back) in [(false, true), (false, false), (true, true), (true, false)] {
        let mut net = line();
        let invoice = net.held_invoice(E, 10, Hold::Standard);
        let id = if in_band {
            let request = net.pay_request(PaymentTarget::Invoice(Box::new(invoice.clone())));
            let id = net.pay(B, request);
            net.settle();
            let seen = arrows(&mut net);
            assert_eq!(seen.last(), Some(&("commit", vec![B, C, D, E])));
            id
        } else {
            let id = pay(&mut net, &invoice);
            let commit = commit_of(&mut net, id).unwrap();
            arrows(&mut net);
            assert_eq!(hand_in(&mut net, &commit), Ok(InvoiceStatus::Committed));
            net.settle();
            id
        };
        // The goods are with the buyer, for more than a day; the credits are frozen.
        net.pass(24 * 3_600_000);
        net.settle();
        assert_eq!(arrows(&mut net), []);
        let replied = net.nodes[B].replies.values().any(|reply| {
            matches!(reply, Ok(AppReply::Payment(report))
                if report.payment_id == id && report.status == PaymentStatus::Committed)
        });
        assert!(replied, "the buyer's application need not wait for the seller");
        let (invoice_id, ended) = (invoice.id(), None);
        if back {
            let cancel = Command::CancelInvoice { invoice_id, ended };
            assert_eq!(net.ask(E, cancel), Ok(AppReply::Done));
            net.settle();
            assert_eq!(arrows(&mut net), [("cancel", vec![E, D, C, B])]);
            assert_eq!(net.outcome(B, id), PaymentStatus::Cancelled);
            assert_eq!(balances(&net), [0, 0, 0], "fees are given back as well");
        } else {
            let collect = Command::CollectInvoice { invoice_id, ended };
            assert_eq!(net.ask(E, collect), Ok(AppReply::Done));
            net.settle();
            assert_eq!(arrows(&mut net), [("collect", vec![E, D, C, B])]);
            assert!(matches!(net.outcome(B, id), PaymentStatus::Succeeded { .. }));
            assert_eq!(balances(&net), [-12, -11, -10]);
        }
        assert_thawed(&net);
    }
}

#[test]
fn whoever_comes_after_a_hold_was_given_back_hears_of_no_such_invoice() {
    for restart in [false, true] {
        let mut net = line();
        let invoice = net.held_invoice(E, 10, Hold::Standard);
        let order = |net: &mut Net| {
            let request = net.pay_request(PaymentTarget::Invoice(Box::new(invoice.clone())));
            net.pay(B, request)
        };
        let first = order(&mut net);
        net.settle();
        let cancel = Command::CancelInvoice { invoice_id: invoice.id(), ended: None };
        assert_eq!(net.ask(E, cancel), Ok(AppReply::Done));
        assert_eq!(net.outcome(B, first), PaymentStatus::Cancelled);
        if restart {
            net.crash(E, false);
            net.connect(D, E);
            net.settle();
        }
        let late = order(&mut net);
        let (reason, reporter) = (CancelReason::UnknownInvoice, Some(net.key(E)));
        let refused = PaymentFailure::Refused { reason, reporter };
        assert_eq!(net.outcome(B, late), PaymentStatus::Failed(refused));
        assert_thawed(&net);
    }
}

#[test]
fn mediators_decline_holds_that_are_too_long() {
    let mut net = line();
    let invoice = net.held_invoice(E, 10, Hold::ForMs(24 * 3_600_000 + 1));
    let id = pay(&mut net, &invoice);
    let seen = arrows(&mut net);
    assert_eq!(seen[..2], [("request", vec![B, C]), ("cancel", vec![C, B])]);
    let PaymentStatus::Failed(PaymentFailure::Refused { reason, .. }) = net.outcome(B, id) else {
        panic!()
    };
    assert_eq!(reason, CancelReason::Declined);
    assert_thawed(&net);
}

/// D unfriends E, and they are apart.
fn unfriend(net: &mut Net) {
    let request = ConfigRequest::RemoveFriend { friend: name(&format!("n{E}")), forfeit: true };
    net.config(D, request);
    net.disconnect(D, E);
    net.settle();
}

#[test]
fn unfriending_in_the_request_period() {
    let mut net = line();
    let invoice = net.invoice(E, 10);
    let request = net.pay_request(PaymentTarget::Invoice(Box::new(invoice)));
    let id = net.pay(B, request);
    // E has the request, and its answer does not arrive.
    net.settle_but((E, D));
    assert_eq!(arrows(&mut net), [("request", vec![B, C, D, E])]);
    unfriend(&mut net);
    assert_eq!(arrows(&mut net), [("cancel", vec![D, C, B])]);
    assert!(matches!(net.outcome(B, id), PaymentStatus::Failed(_)));
    let request = ConfigRequest::RemoveFriend { friend: name(&format!("n{D}")), forfeit: true };
    net.config(E, request);
    net.settle();
    assert_thawed(&net);
}

#[test]
fn unfriending_in_the_response_period() {
    let mut net = line();
    let invoice = net.invoice(E, 10);
    let id = pay(&mut net, &invoice);
    let commit = commit_of(&mut net, id).unwrap();
    let expected = [("request", vec![B, C, D, E]), ("response", vec![E, D, C, B])];
    assert_eq!(arrows(&mut net), expected);
    unfriend(&mut net);
    assert_eq!(arrows(&mut net), [("cancel", vec![D, C, B])]);
    assert_eq!(net.outcome(B, id), PaymentStatus::Cancelled);
    // E parts in turn; the commit pays nothing any more.
    let request = ConfigRequest::RemoveFriend { friend: name(&format!("n{D}")), forfeit: true };
    net.config(E, request);
    assert!(hand_in(&mut net, &commit).is_err());
    net.settle();
    assert_thawed(&net);
}

#[test]
fn multi_route() {
    // No single way carries ten: B pays over C and over D, which are no friends.
    let mut net = Net::new(4, 1);
    for mediator in [C, D] {
        net.befriend(B, mediator, 1_000);
        net.befriend(mediator, E, 6);
        net.set_rate(mediator, B, 0, 1);
    }
    net.settle();
    net.trace.clear();
    let invoice = net.invoice(E, 10);
    let id = pay(&mut net, &invoice);
    // The arrows over each of the two ways.
    let ways = |net: &mut Net| {
        let trace = std::mem::take(&mut net.trace);
        [C, D].map(|mediator| {
            let over = |(from, to, _): &&(usize, usize, _)| *from == mediator || *to == mediator;
            net.trace = trace.iter().filter(over).copied().collect();
            arrows(net)
        })
    };
    let there =
        |mediator| vec![("request", vec![B, mediator, E]), ("response", vec![E, mediator, B])];
    assert_eq!(ways(&mut net), [there(C), there(D)]);
    let row = &net.nodes[B].funder.state().payments[&id];
    let parts: Vec<_> = row.standing().collect();
    let complete = |part: &&&offset_funder::state::Part| {
        part.response.as_ref().is_some_and(|response| response.is_complete)
    };
    assert_eq!((parts.len(), parts.iter().filter(complete).count()), (2, 1));
    let completing = parts.iter().find(complete).unwrap().amount;
    // One commit, collects over both ways, and one receipt: that of the part that completed it.
    let commit = commit_of(&mut net, id).unwrap();
    assert_eq!(commit.dest_payment, completing);
    assert!(hand_in(&mut net, &commit).is_ok());
    net.settle();
    let back = |mediator| vec![("collect", vec![E, mediator, B])];
    assert_eq!(ways(&mut net), [back(C), back(D)]);
    let PaymentStatus::Succeeded { receipt, fee } = net.outcome(B, id) else { panic!() };
    assert_eq!((receipt.verify(&invoice), receipt.dest_payment, fee.0), (Ok(()), completing, 2));
    assert_eq!([B, C, D, E].map(|node| net.total(node)), [-12, 1, 1, 10]);
    assert_thawed(&net);
}
