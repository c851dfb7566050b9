//! A node that was restored from an older copy: proofs, quarantine, installing, and what is due
//! then.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use offset_funder::{
    api::Command,
    state::{FriendRecovery, State},
};
use offset_proto::{
    Balance, Credits,
    app::{AppReply, ConfigRequest, Hold, PaymentStatus, PaymentTarget},
    friend::{FriendMessage, FriendOp, MoveToken},
    history::{Adjustment, HistoryEvent},
    payment::Invoice,
    proof::{CurrencyState, LineState, PROOF_PAGE_BYTES, ProofPage, Signed, StateProof},
    report::{self, CurrencyStatus, FriendStanding},
};
use support::{Net, credit, name};

/// Two friends, of whom the first has an old copy of its database: three payments were made since.
fn with_old_copy() -> (Net, State) {
    let mut net = Net::chain(2, 1_000, 1);
    pay(&mut net, 0, 1, 10);
    let copy = net.nodes[0].disk.clone();
    for amount in [20, 30, 40] {
        pay(&mut net, 0, 1, amount);
    }
    (net, copy)
}

fn pay(net: &mut Net, buyer: usize, seller: usize, amount: u128) {
    let id = net.send_funds(buyer, seller, amount);
    let outcome = net.outcome(buyer, id);
    assert!(matches!(outcome, PaymentStatus::Succeeded { .. }), "{outcome:?}");
    net.settle();
}

fn report(net: &mut Net, node: usize) -> report::NodeReport {
    match net.ask(node, Command::Report) {
        Ok(AppReply::Report(report)) => *report,
        other => panic!("{other:?}"),
    }
}

fn proven_balance(net: &mut Net, node: usize) -> Option<i128> {
    match &report(net, node).friends[0].recovery {
        report::FriendRecovery::Proven { currencies, .. } => match &currencies[0].status {
            CurrencyStatus::Active(line) => Some(line.balance.get()),
            CurrencyStatus::Proposed { .. } => panic!("the line is active"),
        },
        report::FriendRecovery::None | report::FriendRecovery::Waiting => None,
    }
}

#[test]
fn a_restored_node_is_quarantined_and_recovers_by_the_owners_word() {
    let (mut net, copy) = with_old_copy();
    net.restore(0, &copy, false);
    assert_eq!(net.balance(0, 1), -10);
    net.connect(0, 1);
    net.settle();
    assert_eq!(proven_balance(&mut net, 0), Some(-100), "shown beside its own");
    assert_eq!(net.balance(0, 1), -10, "and not installed");
    assert!(!report(&mut net, 0).friends[0].online);
    assert!(report(&mut net, 0).recovering);

    // It signs nothing, whatever it is asked for, and a start does not free it.
    let id = net.send_funds(0, 1, 5);
    assert!(matches!(net.outcome(0, id), PaymentStatus::Failed(_)));
    let disk = net.nodes[0].disk.clone();
    net.restore(0, &disk, false);
    assert_eq!(proven_balance(&mut net, 0), Some(-100), "after a start");
    net.connect(0, 1);
    net.settle();
    assert_eq!(net.balance(1, 0), 100);
    assert_eq!(net.balance(0, 1), -10);

    assert_eq!(net.recover_all(0), 1);
    net.settle();
    assert_eq!((net.balance(0, 1), net.balance(1, 0)), (-100, 100));
    // What the proof says is booked as a difference, and what came behind it as ever.
    let books = &net.nodes[0].books;
    let recovered = books.of(|event| *event == HistoryEvent::Adjusted(Adjustment::Recovered));
    assert_eq!(recovered.len(), 1);
    assert_eq!(books.entries.last().unwrap().balance.get(), -100);
    net.check_at_rest(false);
    assert_eq!(report(&mut net, 0).friends[0].recovery, report::FriendRecovery::None);
    net.config(0, ConfigRequest::EndRecovery { cancel_unknown: false });
    assert!(!report(&mut net, 0).recovering);
    pay(&mut net, 0, 1, 7);
    pay(&mut net, 1, 0, 3);
    net.check_at_rest(true);
}

#[test]
fn what_is_accepted_is_exactly_what_was_shown() {
    let (mut net, copy) = with_old_copy();
    net.restore(0, &copy, false);
    let recover =
        |token| ConfigRequest::RecoverFriend { friend: name("n1"), token, public_key: None };
    let other = offset_crypto::hash(b"another state");
    let refused = net.ask(0, Command::Config(recover(other))).unwrap_err();
    assert!(refused.message.as_str().contains("has proven no later state"), "{refused:?}");
    net.connect(0, 1);
    net.settle();
    let refused = net.ask(0, Command::Config(recover(other))).unwrap_err();
    assert!(refused.message.as_str().contains("another state by now"), "{refused:?}");
    assert_eq!(net.balance(0, 1), -10);
}

#[test]
fn under_recover_a_proven_state_is_installed_at_once() {
    let (mut net, copy) = with_old_copy();
    net.restore(0, &copy, true);
    assert_eq!(report(&mut net, 0).friends[0].recovery, report::FriendRecovery::Waiting);
    net.connect(0, 1);
    net.settle();
    assert_eq!((net.balance(0, 1), net.balance(1, 0)), (-100, 100));
    net.check_at_rest(true);
    pay(&mut net, 1, 0, 3);
}

/// Every counter at which the copy could have been taken, with the friend's token last, or ours.
#[test]
fn every_older_copy_recovers() {
    let mut net = Net::chain(2, 1_000, 2);
    let mut copies = vec![net.nodes[0].disk.clone()];
    for (buyer, amount) in [(0, 10), (1, 4), (0, 3)] {
        net.send_funds(buyer, 1 - buyer, amount);
        for _ in 0..60 {
            let busy = net.flush(0) | net.flush(1) | net.deliver(0, 1) | net.deliver(1, 0);
            let disk = &net.nodes[0].disk;
            let counter = |state: &State| state.friends[&net.key(1)].channel.counter;
            if counter(disk) != counter(copies.last().unwrap()) {
                copies.push(disk.clone());
            }
            if !busy {
                break;
            }
        }
    }
    net.settle();
    let (balance, count) = (net.balance(1, 0), copies.len());
    assert!(8 <= count, "{count}");
    for copy in copies.into_iter().rev() {
        net.restore(0, &copy, true);
        net.connect(0, 1);
        net.settle();
        assert_eq!((net.balance(0, 1), net.balance(1, 0)), (-balance, balance));
        net.check_at_rest(true);
    }
}

/// The proof that the friend of a restored node sends, in one page.
fn proof_under_way(net: &mut Net) -> StateProof {
    net.connect(0, 1);
    for _ in 0..20 {
        let page = net.link(1, 0).front().cloned();
        if let Some(FriendMessage::StateProof(page)) = page {
            assert_eq!(usize::try_from(page.total_bytes).unwrap(), page.bytes.len());
            return StateProof::decode(&page.bytes).unwrap();
        }
        net.flush(0);
        net.flush(1);
        if !matches!(net.link(1, 0).front(), Some(FriendMessage::StateProof(_))) {
            net.deliver(0, 1);
            net.deliver(1, 0);
        }
    }
    panic!("no proof was sent")
}

fn signed(proof: &mut StateProof) -> (&mut MoveToken, &mut Vec<CurrencyState>) {
    match &mut proof.signed {
        Signed::Token { token, state } => (token, state),
        Signed::Reset(_) => panic!("a token"),
    }
}

#[test]
fn a_claim_that_is_not_proven_changes_nothing() {
    type Forge = fn(&mut StateProof, &mut Net);
    let cases: [(&str, Forge); 9] = [
        ("another balance", |proof, _| {
            let LineState::Active(line) = &mut signed(proof).1[0].line else { panic!("active") };
            line.balance = Balance::new(1).unwrap();
        }),
        ("another limit", |proof, _| {
            let LineState::Active(line) = &mut signed(proof).1[0].line else { panic!("active") };
            line.max_debt[0] = Credits(7);
        }),
        ("no currency", |proof, _| signed(proof).1.clear()),
        ("the friend's own signature", |proof, net| {
            let token = signed(proof).0;
            *token = token.body.clone().sign(&net.nodes[1].identity);
        }),
        ("another counter", |proof, _| signed(proof).0.body.counter += 2),
        ("a counter that is the friend's", |proof, net| {
            signed(proof).0.body.counter += 1;
            let token = signed(proof).0;
            *token = token.body.clone().sign(&net.nodes[0].identity);
        }),
        ("a token that this node remembers", |proof, net| {
            let friend = &net.nodes[0].disk.friends[&net.key(1)];
            let counter = friend.channel.counter;
            let low = net.key(0) < net.key(1);
            let own = if (counter % 2 == 1) == low { counter } else { counter - 1 };
            signed(proof).0.body.counter = own;
            let token = signed(proof).0;
            *token = token.body.clone().sign(&net.nodes[0].identity);
        }),
        ("a token on top that follows nothing", |proof, net| {
            let mut body = signed(proof).0.body.clone();
            body.counter += 1;
            body.prev_token = offset_crypto::hash(b"x");
            proof.my_token = Some(body.sign(&net.nodes[1].identity));
        }),
        ("a token on top that is not valid", |proof, net| {
            let mut body = signed(proof).0.body.clone();
            body.counter += 1;
            body.prev_token = proof.signed_id();
            body.currency_ops.clear();
            proof.my_token = Some(body.sign(&net.nodes[1].identity));
        }),
    ];
    for (case, forge) in cases {
        let (mut net, copy) = with_old_copy();
        net.restore(0, &copy, false);
        let mut proof = proof_under_way(&mut net);
        forge(&mut proof, &mut net);
        let bytes = proof.encode();
        let total_bytes = u32::try_from(bytes.len()).unwrap();
        *net.link(1, 0).front_mut().unwrap() =
            FriendMessage::StateProof(ProofPage { page: 0, total_bytes, bytes });
        let before = support::rows(net.nodes[0].funder.state());
        net.settle();
        assert_eq!(support::rows(net.nodes[0].funder.state()), before, "{case}");
        let friend = &report(&mut net, 0).friends[0];
        assert_eq!(friend.recovery, report::FriendRecovery::None, "{case}");
        assert!(friend.last_error.as_str().contains("does not prove it"), "{case}");
        // The truth is believed in the next session all the same.
        net.connect(0, 1);
        net.settle();
        assert_eq!(proven_balance(&mut net, 0), Some(-100), "{case}");
    }
}

#[test]
fn pages_that_were_not_asked_for_close_the_session() {
    let page = |page, total_bytes, length| {
        FriendMessage::StateProof(ProofPage { page, total_bytes, bytes: vec![7; length] })
    };
    let whole = PROOF_PAGE_BYTES;
    let total = u32::try_from(2 * whole + 5).unwrap();
    // What comes, and whether the session stands after it.
    let cases: [(&str, Vec<FriendMessage>, bool); 7] = [
        (
            "the right pages of nonsense",
            vec![page(0, total, whole), page(1, total, whole), page(2, total, 5)],
            true,
        ),
        ("the second page first", vec![page(1, total, whole)], false),
        ("a page twice", vec![page(0, total, whole), page(0, total, whole)], false),
        ("too short", vec![page(0, total, whole - 1)], false),
        ("too long at its end", vec![page(0, 5, 6)], false),
        ("an empty page of something", vec![page(0, 5, 0)], false),
        ("another total", vec![page(0, total, whole), page(1, total + 1, whole)], false),
    ];
    for (case, pages, stands) in cases {
        let (mut net, copy) = with_old_copy();
        net.restore(0, &copy, false);
        proof_under_way(&mut net);
        net.link(1, 0).clear();
        for page in pages {
            net.link(1, 0).push_back(page);
            net.deliver(1, 0);
            net.flush(0);
        }
        assert_eq!(net.connected_pairs().contains(&(0, 1)), stands, "{case}");
        assert_eq!(net.balance(0, 1), -10);
        assert_eq!(proven_balance(&mut net, 0), None, "{case}");
    }
}

#[test]
fn who_was_removed_meanwhile_and_added_again_is_told_that_nothing_is_left_to_show() {
    for at_once in [false, true] {
        let (mut net, copy) = with_old_copy();
        let (key, friend) = (net.key(0), name("n0"));
        net.config(1, ConfigRequest::RemoveFriend { friend: friend.clone(), forfeit: true });
        net.flush(1);
        let (relays, currency, opening_balance) = (Vec::new(), None, Balance::ZERO);
        for request in [
            ConfigRequest::AddFriend {
                name: friend.clone(),
                public_key: key,
                relays,
                currency,
                opening_balance,
            },
            ConfigRequest::SetFriendEnabled { friend, enabled: true },
        ] {
            net.config(1, request);
        }
        net.restore(0, &copy, at_once);
        net.connect(0, 1);
        net.settle();
        // Both know on which terms the other would begin again, and the owner of either may accept.
        for node in [0, 1] {
            let standing = &report(&mut net, node).friends[0].standing;
            let FriendStanding::Inconsistent(row) = standing else { panic!("{standing:?}") };
            assert!(row.remote.is_some(), "node {node} heard no terms");
        }
        let FriendStanding::Inconsistent(row) = &report(&mut net, 0).friends[0].standing else {
            panic!("just looked at")
        };
        let reset_token = row.remote.as_ref().unwrap().reset_token;
        net.config(0, ConfigRequest::ResetFriend { friend: name("n1"), reset_token });
        net.settle();
        for node in [0, 1] {
            let standing = &report(&mut net, node).friends[0].standing;
            assert_eq!(*standing, FriendStanding::Consistent);
        }
    }
}

#[test]
fn a_friend_that_is_not_behind_is_shown_nothing() {
    let mut net = Net::chain(2, 1_000, 3);
    pay(&mut net, 0, 1, 10);
    for page in [0, 1, u32::MAX] {
        net.link(0, 1).push_back(FriendMessage::RequestStateProof { page });
        net.deliver(0, 1);
        net.flush(1);
        assert!(net.link(1, 0).is_empty());
    }
    pay(&mut net, 0, 1, 10);
}

#[test]
fn one_slow_friend_does_not_keep_the_others_from_proving() {
    let mut net = Net::new(4, 5);
    for friend in 1..4 {
        net.befriend(0, friend, 1_000);
    }
    net.settle();
    let copy = net.nodes[0].disk.clone();
    for friend in 1..4 {
        pay(&mut net, 0, friend, 10);
    }
    net.restore(0, &copy, true);
    net.connect(0, 1);
    net.flush(1);
    net.deliver(1, 0);
    net.settle_but((1, 0));
    net.connect(0, 2);
    net.connect(0, 3);
    net.settle_but((1, 0));
    assert_eq!((net.balance(0, 2), net.balance(0, 3)), (0, 0), "one at a time");
    net.pass(60_001);
    net.settle_but((1, 0));
    assert_eq!((net.balance(0, 2), net.balance(0, 3)), (-10, -10));
    net.settle();
    assert_eq!(net.balance(0, 1), -10, "and it gets its turn again");
    net.check_at_rest(true);
}

#[test]
fn limits_that_were_declared_since_the_copy_stay() {
    let (mut net, copy) = with_old_copy();
    let lower =
        ConfigRequest::SetMaxDebt { friend: name("n1"), currency: None, max_debt: Credits(120) };
    net.config(0, lower);
    net.settle();
    net.restore(0, &copy, true);
    net.connect(0, 1);
    net.settle();
    let line = &net.nodes[0].funder.state().friends[&net.key(1)].lines[&credit()];
    assert_eq!(line.wanted.unwrap().max_debt, Credits(120), "not the older, higher one");
    assert_eq!(line.credit.as_ref().unwrap().numbers().max_debt.remote, Credits(120));
}

#[test]
fn a_payment_that_was_unfinished_in_the_copy_is_never_tried_again() {
    let mut net = Net::chain(2, 1_000, 6);
    net.settle();
    let id = net.send_funds(0, 1, 10);
    // The request is durable in the copy; the payment succeeds afterwards.
    let copy = net.nodes[0].disk.clone();
    assert!(!copy.payments.is_empty());
    let outcome = net.outcome(0, id);
    assert!(matches!(outcome, PaymentStatus::Succeeded { .. }));
    net.settle();
    for at_once in [true, false] {
        net.nodes[0].ended_payments.clear();
        net.pass(1);
        net.restore(0, &copy, at_once);
        net.connect(0, 1);
        net.settle();
        net.recover_all(0);
        net.settle();
        // Where the friend's last token holds the collect, it is known to be paid.
        let outcome = net.outcome(0, id);
        let known = matches!(outcome, PaymentStatus::Succeeded { .. } | PaymentStatus::Unknown);
        assert!(known, "{outcome:?}");
        assert_eq!((net.balance(0, 1), net.balance(1, 0)), (-10, 10), "paid once");
        net.check_at_rest(true);
    }
}

/// Two copies of one node, of which each thinks it is the one.
/// A mediator's copy in which a request is pending that came in, and what it passed on waits in the
/// queue; then all of it goes on, until the destination holds it.
fn with_queued_copy() -> (Net, State, Invoice) {
    for warm_up in 0..4 {
        let mut net = Net::chain(3, 1_000, 1);
        for _ in 0..warm_up {
            pay(&mut net, 1, 2, 1);
        }
        let invoice = net.held_invoice(2, 50, Hold::Standard);
        let request = net.pay_request(PaymentTarget::Invoice(Box::new(invoice.clone())));
        net.pay(0, request);
        let mut copy = None;
        for _ in 0..60 {
            for (from, to) in [(0, 1), (1, 0), (1, 2), (2, 1)] {
                let _ = net.flush(from) | net.deliver(from, to) | net.flush(to);
                let disk = &net.nodes[1].disk;
                let mut queued = disk.friends[&net.key(2)].queue.values();
                if queued.any(|row| matches!(row.op, FriendOp::Request(_))) {
                    copy = Some(disk.clone());
                }
            }
        }
        net.settle();
        if let Some(copy) = copy {
            return (net, copy, invoice);
        }
    }
    panic!("a request never waits in the queue");
}

#[test]
fn a_request_that_was_queued_in_the_copy_and_sent_since_finds_its_partner() {
    for collects in [false, true] {
        let (mut net, copy, invoice) = with_queued_copy();
        net.restore(1, &copy, true);
        for other in [2, 0] {
            net.connect(1, other);
            net.settle();
        }
        let (invoice_id, ended) = (invoice.id(), None);
        net.command(
            2,
            if collects {
                Command::CollectInvoice { invoice_id, ended }
            } else {
                Command::CancelInvoice { invoice_id, ended }
            },
        );
        net.settle();
        let paid = if collects { -50 } else { 0 };
        assert_eq!(net.total(0), paid, "what the destination says reaches the buyer");
        net.config(1, ConfigRequest::EndRecovery { cancel_unknown: false });
        net.settle();
        net.check_at_rest(true);
    }
}

#[test]
fn a_state_that_is_installed_before_the_friend_has_resumed_is_told_to_it() {
    let (mut net, copy) = with_old_copy();
    net.restore(0, &copy, false);
    net.connect(0, 1);
    net.settle();
    assert!(proven_balance(&mut net, 0).is_some());
    net.disconnect(0, 1);
    net.connect(0, 1);
    net.flush(0);
    let proven = report(&mut net, 0).friends.remove(0).recovery;
    let report::FriendRecovery::Proven { token, .. } = proven else { panic!("{proven:?}") };
    let friend = name("n1");
    net.config(0, ConfigRequest::RecoverFriend { friend, token, public_key: None });
    net.settle();
    pay(&mut net, 0, 1, 5);
    assert_eq!((net.balance(0, 1), net.balance(1, 0)), (-105, 105));
}

#[test]
fn two_copies_never_make_two_tokens_for_one_counter_that_a_friend_takes() {
    let mut net = Net::chain(2, 1_000, 8);
    pay(&mut net, 0, 1, 10);
    let mut other = net.nodes[0].disk.clone();
    let mut switches = 0;
    for round in 0..12 {
        // The other copy is started with what its own disk holds, and takes the sessions over.
        let mine = net.nodes[0].disk.clone();
        net.restore(0, &other, false);
        other = mine;
        net.connect(0, 1);
        net.settle();
        let quarantined = matches!(
            net.nodes[0].disk.friends[&net.key(1)].recovery,
            Some(FriendRecovery::Quarantined(_))
        );
        assert_eq!(quarantined, 0 < round, "each copy learns of the other before it signs");
        if quarantined {
            switches += 1;
            net.recover_all(0);
            net.settle();
        }
        // Whatever is applied is compared with what was applied for that counter before.
        pay(&mut net, 0, 1, 1);
        assert_eq!(net.balance(0, 1), -net.balance(1, 0));
    }
    assert_eq!((switches, net.balance(1, 0)), (11, 22));
}
