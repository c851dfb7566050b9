//! The destination: invoices and sets (protocol, sections 6.3, 6.5, 6.8 and 7), paid by buyers made
//! by hand.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, and picks out what it looks at"
)]

mod support;

use offset_crypto::{Nonce, PlainLock};
use offset_funder::api::Command;
use offset_proto::{
    Credits,
    app::{AppReply, ConfigRequest, CreateInvoice, ErrorCode, Hold, InvoiceStatus},
    friend::{CancelReason, FriendMessage, FriendOp, Request},
    payment::{Invoice, Receipt},
};
use support::{
    credit,
    lab::{Lab, collect, commit, disable, release},
};

fn create(lab: &mut Lab, amount: u128, expires_in_ms: Option<u64>) -> Command {
    let create = CreateInvoice {
        nonce: Nonce::random(&mut lab.rng),
        currency: None,
        amount: Credits(amount),
        description: "".parse().unwrap(),
        expires_in_ms,
        hold: Hold::None,
    };
    Command::CreateInvoice { create: Box::new(create), ended: None }
}

fn invoice(lab: &mut Lab, amount: u128) -> Invoice {
    let create = create(lab, amount, None);
    match lab.ask(create) {
        Ok(AppReply::Invoice(report)) => report.invoice,
        other => panic!("{other:?}"),
    }
}

fn status(lab: &Lab, invoice: &Invoice) -> Option<InvoiceStatus> {
    // An invoice that has ended is the store's to remember.
    let id = invoice.id();
    let row = lab.funder.state().invoices.get(&id).or(lab.invoice_archive.get(&id))?;
    Some(lab.funder.invoice_report(row).status)
}

/// A part of `amount` for an invoice.
fn part(lab: &mut Lab, invoice: &Invoice, lock: PlainLock, amount: u128) -> Request {
    Request {
        src_hashed_lock: lock.hashed(),
        dest_payment: Credits(amount),
        total_dest_payment: invoice.dest_payment,
        invoice_id: invoice.id(),
        spontaneous: false,
        ..lab.request(&[]).0
    }
}

fn lock(n: u8) -> PlainLock {
    PlainLock::from_bytes([n; 32])
}

/// Sends a request; gives whether it completed its set, or why it was cancelled.
fn ask(lab: &mut Lab, at: usize, request: &Request) -> Result<bool, CancelReason> {
    lab.got(at);
    lab.send(at, &[FriendOp::Request(request.clone())]);
    assert_eq!(lab.inconsistent(at), None);
    match lab.got_one(at) {
        FriendOp::Response(response) => Ok(response.is_complete),
        FriendOp::Cancel(cancel) => Err(cancel.reason),
        other => panic!("{other:?}"),
    }
}

fn reasons(lab: &mut Lab, at: usize) -> Vec<CancelReason> {
    let ops = lab.got(at).into_iter();
    ops.map(|op| match op {
        FriendOp::Cancel(cancel) => cancel.reason,
        other => panic!("{other:?}"),
    })
    .collect()
}

fn paid(lab: &mut Lab, at: usize) -> bool {
    lab.got(at).iter().any(|op| matches!(op, FriendOp::Collect(_)))
}

#[test]
fn a_registered_invoice_is_paid_once() {
    let mut lab = Lab::new(2);
    let invoice = invoice(&mut lab, 100);
    let (a, b) = (part(&mut lab, &invoice, lock(1), 100), part(&mut lab, &invoice, lock(2), 100));
    assert_eq!(ask(&mut lab, 0, &a), Ok(true));
    assert_eq!(ask(&mut lab, 1, &b), Ok(true), "sets do not hinder each other");
    lab.send(1, &[commit(&b, lock(2))]);
    assert!(paid(&mut lab, 1));
    assert_eq!(reasons(&mut lab, 0), [CancelReason::AlreadyPaid]);
    assert_eq!(status(&lab, &invoice), Some(InvoiceStatus::Collected));
    assert_eq!((lab.balance(0), lab.balance(1)), (0, 100));
    for spontaneous in [false, true] {
        let late = part(&mut lab, &invoice, lock(3), 100);
        let late = Request { spontaneous, ..late };
        assert_eq!(ask(&mut lab, 0, &late), Err(CancelReason::AlreadyPaid));
    }
    assert!(lab.funder.state().sets.is_empty());
}

#[test]
fn a_receipt_of_the_collected_set_verifies() {
    let mut lab = Lab::new(1);
    let invoice = invoice(&mut lab, 100);
    let request = part(&mut lab, &invoice, lock(1), 100);
    lab.send(0, &[FriendOp::Request(request.clone())]);
    let FriendOp::Response(response) = lab.got_one(0) else { panic!() };
    lab.send(0, &[commit(&request, lock(1))]);
    let FriendOp::Collect(collect) = lab.got_one(0) else { panic!() };
    let receipt = Receipt {
        response_hash: response.response_hash,
        invoice_id: invoice.id(),
        currency: credit(),
        src_plain_lock: collect.src_plain_lock,
        dest_plain_lock: collect.dest_plain_lock,
        is_complete: response.is_complete,
        dest_payment: request.dest_payment,
        total_dest_payment: request.total_dest_payment,
        signature: response.signature,
    };
    assert_eq!(receipt.verify(&invoice), Ok(()));
}

#[test]
fn requests_that_do_not_fit_their_invoice_are_refused() {
    type Change = fn(&mut Lab, &mut Request);
    let cases: [(CancelReason, Change); 7] = [
        (CancelReason::UnknownInvoice, |_, r| r.total_dest_payment = Credits(101)),
        (CancelReason::UnknownInvoice, |_, r| r.spontaneous = true),
        (CancelReason::UnknownInvoice, |_, r| {
            r.invoice_id = offset_crypto::InvoiceId::from_bytes([1; 32]);
        }),
        (CancelReason::Expired, |lab, _| {
            // The clock jumps, and the timer has not fired yet.
            lab.now = lab.now.plus_ms(3_600_001);
        }),
        // After it: the node no longer knows the invoice.
        (CancelReason::UnknownInvoice, |lab, _| lab.pass(3_600_001)),
        (CancelReason::UnknownInvoice, |lab, r| {
            let invoice_id = r.invoice_id;
            lab.ask(Command::CancelInvoice { invoice_id, ended: None }).unwrap();
        }),
        (CancelReason::Declined, |lab, r| {
            lab.set(ConfigRequest::SetSpontaneous { accept: false });
            *r = lab.request(&[]).0;
        }),
    ];
    for (number, (reason, change)) in cases.into_iter().enumerate() {
        let mut lab = Lab::new(1);
        let invoice = invoice(&mut lab, 100);
        lab.fetch_token(0);
        let mut request = part(&mut lab, &invoice, lock(1), 100);
        change(&mut lab, &mut request);
        assert_eq!(ask(&mut lab, 0, &request), Err(reason), "case {number}");
        assert!(lab.funder.state().sets.is_empty());
    }
    // Another currency than the invoice's.
    let mut lab = Lab::new(1);
    let invoice = invoice(&mut lab, 100);
    let other = "other".parse().unwrap();
    lab.activate(0, &other, 0);
    let request = part(&mut lab, &invoice, lock(1), 100);
    lab.send_all(0, &[], &[(other, FriendOp::Request(request))]);
    assert_eq!(reasons(&mut lab, 0), [CancelReason::UnknownInvoice]);
}

#[test]
fn an_ended_invoice_is_not_paid_as_a_spontaneous_one() {
    for end in 0..2 {
        let mut lab = Lab::new(1);
        let invoice = invoice(&mut lab, 100);
        let invoice_id = invoice.id();
        if end == 0 {
            lab.ask(Command::CancelInvoice { invoice_id, ended: None }).unwrap();
        } else {
            lab.pass(3_600_001);
        }
        lab.restart();
        lab.connect(0);
        let request = part(&mut lab, &invoice, lock(1), 100);
        let request = Request { spontaneous: true, ..request };
        assert_eq!(ask(&mut lab, 0, &request), Err(CancelReason::UnknownInvoice));
    }
}

#[test]
fn the_same_spontaneous_id_is_collected_once() {
    let mut lab = Lab::new(2);
    let a = lab.request(&[]);
    let b = Request { invoice_id: a.0.invoice_id, ..lab.request(&[]).0 };
    assert_eq!(ask(&mut lab, 0, &a.0), Ok(true));
    assert_eq!(ask(&mut lab, 1, &b), Ok(true));
    lab.send(0, &[commit(&a.0, a.1)]);
    assert!(paid(&mut lab, 0));
    assert_eq!(reasons(&mut lab, 1), [CancelReason::AlreadyPaid]);
    lab.restart();
    lab.connect(1);
    let again = Request { invoice_id: a.0.invoice_id, ..lab.request(&[]).0 };
    assert_eq!(ask(&mut lab, 1, &again), Err(CancelReason::AlreadyPaid));
    let total = Credits(101);
    let other = Request { dest_payment: total, total_dest_payment: total, ..again };
    assert_eq!(ask(&mut lab, 1, &other), Ok(true), "another total is another payment");
}

/// A shell that does not look up what was paid before loses payments, and no money.
#[test]
fn what_was_not_looked_up_is_never_taken_for_unpaid() {
    let mut lab = Lab::new(1);
    let unknown = lab.request(&[]).0;
    lab.fetch_token(0);
    let request = FriendOp::Request(unknown.clone());
    let token = lab.puppets[0].compose(&[], &[(credit(), request)]);
    let message = FriendMessage::MoveToken(Box::new(token.clone()));
    let (key, session) = (lab.puppets[0].key(), lab.puppets[0].session);
    assert_eq!(lab.funder.past_wanted(&message).len(), 1);
    lab.funder.handle_message(lab.now, &mut lab.rng, key, session, message);
    lab.puppets[0].sent(&token);
    lab.pump();
    assert_eq!(reasons(&mut lab, 0), [CancelReason::Busy]);
    let other = lab.request(&[]).0;
    assert_eq!(ask(&mut lab, 0, &other), Ok(true), "as soon as it is looked up");
}

#[test]
fn the_parts_of_a_set_stand_together() {
    let mut lab = Lab::new(2);
    let invoice = invoice(&mut lab, 100);
    let (a, b) = (part(&mut lab, &invoice, lock(1), 60), part(&mut lab, &invoice, lock(1), 40));
    assert_eq!(ask(&mut lab, 0, &a), Ok(false), "isComplete only on the completing one");
    let over = part(&mut lab, &invoice, lock(1), 41);
    assert_eq!(ask(&mut lab, 1, &over), Err(CancelReason::AlreadyPaid), "over the total");
    // A commit that comes before the set is complete is remembered.
    lab.send(0, &[commit(&a, lock(1))]);
    assert_eq!(lab.got(0), []);
    lab.send(1, &[FriendOp::Request(b)]);
    assert!(paid(&mut lab, 0) && paid(&mut lab, 1));
    assert_eq!((lab.balance(0), lab.balance(1)), (60, 40));
    assert_eq!(status(&lab, &invoice), Some(InvoiceStatus::Collected));
}

#[test]
fn one_commit_pays_the_whole_set() {
    let mut lab = Lab::new(2);
    let invoice = invoice(&mut lab, 100);
    let (a, b) = (part(&mut lab, &invoice, lock(1), 60), part(&mut lab, &invoice, lock(1), 40));
    assert_eq!(ask(&mut lab, 0, &a), Ok(false));
    assert_eq!(ask(&mut lab, 1, &b), Ok(true));
    // The second line's friend is silent: its part is collected when the token comes.
    lab.fetch_token(1);
    lab.puppets[1].silent = true;
    lab.send(0, &[commit(&a, lock(1))]);
    assert!(paid(&mut lab, 0) && !paid(&mut lab, 1));
    assert_eq!(status(&lab, &invoice), Some(InvoiceStatus::Committed));
    let refused = lab.ask(Command::CancelInvoice { invoice_id: invoice.id(), ended: None });
    assert_eq!(refused.unwrap_err().code, ErrorCode::Refused);
    // No part of an accepted set is cancelled any more, whatever happens.
    lab.send(1, &[release(&b)]);
    lab.pass(3_600_001);
    assert!(paid(&mut lab, 1));
    assert_eq!(status(&lab, &invoice), Some(InvoiceStatus::Collected));
}

#[test]
fn the_end_of_one_part_ends_all() {
    type End = fn(&mut Lab, &Invoice, &Request);
    let cases: [(CancelReason, End); 4] = [
        (CancelReason::Released, |lab, _, a| lab.send(0, &[release(a)])),
        (CancelReason::Expired, |lab, _, _| lab.pass(60_000)),
        (CancelReason::Expired, |lab, _, _| lab.pass(3_600_001)),
        (CancelReason::Declined, |lab, invoice, _| {
            lab.ask(Command::CancelInvoice { invoice_id: invoice.id(), ended: None }).unwrap();
        }),
    ];
    for (reason, end) in cases {
        let mut lab = Lab::new(2);
        let invoice = invoice(&mut lab, 100);
        let (a, b) = (part(&mut lab, &invoice, lock(1), 60), part(&mut lab, &invoice, lock(1), 30));
        assert_eq!((ask(&mut lab, 0, &a), ask(&mut lab, 1, &b)), (Ok(false), Ok(false)));
        end(&mut lab, &invoice, &a);
        assert_eq!(reasons(&mut lab, 0), [reason]);
        assert_eq!(reasons(&mut lab, 1), [reason]);
        assert_eq!((lab.frozen(0), lab.frozen(1)), ((0, 0), (0, 0)));
        assert!(lab.funder.state().sets.is_empty());
    }
}

#[test]
fn a_complete_set_of_an_invoice_waits_until_it_expires() {
    for (registered, after, stays) in [
        (true, 3_590_000, true),
        (true, 3_600_001, false),
        (false, 59_000, true),
        (false, 60_000, false),
    ] {
        let mut lab = Lab::new(1);
        let invoice = invoice(&mut lab, 100);
        let mut request = part(&mut lab, &invoice, lock(1), 100);
        if !registered {
            request = Request { src_hashed_lock: lock(1).hashed(), ..lab.request(&[]).0 };
        }
        assert_eq!(ask(&mut lab, 0, &request), Ok(true));
        let began = lab.now;
        lab.pass(after - 1_000);
        lab.pass(1_000);
        let waited = lab.now.ms_since(began);
        assert_eq!(lab.funder.state().sets.len(), usize::from(stays), "{registered} {waited}");
        if stays {
            lab.send(0, &[commit(&request, lock(1))]);
            assert!(paid(&mut lab, 0));
        } else {
            assert_eq!(reasons(&mut lab, 0), [CancelReason::Expired]);
            // The friend may have committed before it saw the cancel: nothing is collected.
            assert_eq!(lab.balance(0), 0);
        }
    }
}

#[test]
fn an_invoice_without_parts_expires_and_is_known_by_the_store() {
    let mut lab = Lab::new(1);
    let invoice = invoice(&mut lab, 100);
    lab.restart();
    lab.pass(3_600_000);
    assert_eq!(status(&lab, &invoice), Some(InvoiceStatus::Open), "the last moment counts");
    lab.pass(1);
    assert_eq!(status(&lab, &invoice), Some(InvoiceStatus::Expired));
    assert!(lab.funder.state().invoices.is_empty());
    let ended = lab.invoice_archive.get(&invoice.id()).cloned().map(Box::new);
    let invoice_id = invoice.id();
    let cancelled = lab.ask(Command::CancelInvoice { invoice_id, ended: ended.clone() });
    assert_eq!(cancelled.unwrap_err().code, ErrorCode::Refused);
    assert!(lab.ask(Command::InvoiceStatus { invoice_id, ended }).is_ok());
    for command in [
        Command::InvoiceStatus { invoice_id, ended: None },
        Command::CancelInvoice { invoice_id, ended: None },
    ] {
        assert_eq!(lab.ask(command).unwrap_err().code, ErrorCode::NotFound);
    }
}

#[test]
fn invoices_are_checked_and_bounded() {
    let mut lab = Lab::new(1);
    let day = 24 * 3_600_000;
    for (amount, expires) in
        [(0, None), (Credits::LIMIT.0 + 1, None), (1, Some(30 * day + 1)), (1, Some(u64::MAX))]
    {
        let create = create(&mut lab, amount, expires);
        assert_eq!(lab.ask(create).unwrap_err().code, ErrorCode::Invalid);
    }
    let longest = create(&mut lab, Credits::LIMIT.0, Some(30 * day));
    assert!(lab.ask(longest).is_ok());
    lab.config.max_invoices = 1;
    lab.restart();
    let more = create(&mut lab, 1, None);
    assert_eq!(lab.ask(more).unwrap_err().code, ErrorCode::Busy);
}

#[test]
fn after_a_start_a_commit_waits_until_every_friend_has_agreed() {
    let mut lab = Lab::new(2);
    let invoice = invoice(&mut lab, 100);
    let (a, b) = (part(&mut lab, &invoice, lock(1), 60), part(&mut lab, &invoice, lock(1), 40));
    assert_eq!(ask(&mut lab, 0, &a), Ok(false));
    assert_eq!(ask(&mut lab, 1, &b), Ok(true));
    lab.restart();
    lab.connect(0);
    lab.send(0, &[commit(&a, lock(1))]);
    assert_eq!(status(&lab, &invoice), Some(InvoiceStatus::Complete), "not yet");
    assert_eq!(lab.got(0), []);
    lab.restart();
    lab.connect(1);
    assert_eq!(status(&lab, &invoice), Some(InvoiceStatus::Complete));
    lab.connect(0);
    lab.fetch_token(0);
    lab.fetch_token(1);
    assert!(paid(&mut lab, 0) && paid(&mut lab, 1));
    assert_eq!(status(&lab, &invoice), Some(InvoiceStatus::Collected));
}

#[test]
fn a_released_part_does_not_count_for_a_commit() {
    let mut lab = Lab::new(2);
    let invoice = invoice(&mut lab, 100);
    let (a, b) = (part(&mut lab, &invoice, lock(1), 60), part(&mut lab, &invoice, lock(1), 40));
    assert_eq!(ask(&mut lab, 0, &a), Ok(false));
    assert_eq!(ask(&mut lab, 1, &b), Ok(true));
    // Released, and in the same token another part committed: the set has ended.
    let more = part(&mut lab, &invoice, lock(2), 1);
    lab.send(0, &[release(&a), FriendOp::Request(more)]);
    lab.got(0);
    lab.send(1, &[commit(&b, lock(1))]);
    assert_eq!(lab.inconsistent(1).as_deref(), Some("an operation names no pending request"));
    assert_eq!((lab.balance(0), lab.balance(1)), (0, 0));
}

#[test]
fn a_buyer_that_collects_or_disables_by_itself_breaks_the_channel() {
    let mut lab = Lab::new(1);
    let (request, src) = lab.request(&[]);
    assert_eq!(ask(&mut lab, 0, &request), Ok(true));
    lab.fetch_token(0);
    lab.send(0, &[collect(&request, src, src)]);
    assert!(lab.inconsistent(0).is_some());
    let mut lab = Lab::new(1);
    let (request, _) = lab.request(&[]);
    assert_eq!(ask(&mut lab, 0, &request), Ok(true));
    lab.send_all(0, &[disable(&credit())], &[]);
    let why = "terms disable a currency whose balance is not 0 or with requests pending";
    assert_eq!(lab.inconsistent(0).as_deref(), Some(why));
}

#[test]
fn parts_of_one_set_agree_in_total_and_kind_and_are_bounded() {
    let mut lab = Lab::new(2);
    let total = Credits(200);
    let first = Request { total_dest_payment: total, ..lab.request(&[]).0 };
    assert_eq!(ask(&mut lab, 0, &first), Ok(false));
    let next = |lab: &mut Lab, amount: u128| Request {
        invoice_id: first.invoice_id,
        src_hashed_lock: first.src_hashed_lock,
        total_dest_payment: total,
        dest_payment: Credits(amount),
        ..lab.request(&[]).0
    };
    let other = Request { total_dest_payment: Credits(300), ..next(&mut lab, 1) };
    assert_eq!(ask(&mut lab, 1, &other), Err(CancelReason::UnknownInvoice));
    let other = Request { spontaneous: false, ..next(&mut lab, 1) };
    assert_eq!(ask(&mut lab, 1, &other), Err(CancelReason::UnknownInvoice));
    for _ in 1..64 {
        let part = next(&mut lab, 1);
        assert_eq!(ask(&mut lab, 1, &part), Ok(false));
    }
    let part = next(&mut lab, 1);
    assert_eq!(ask(&mut lab, 1, &part), Err(CancelReason::UnknownInvoice), "64 parts");
}

#[test]
fn a_request_released_in_its_own_token_leaves_nothing() {
    let mut lab = Lab::new(2);
    let seller = lab.puppets[1].key();
    for route in [vec![], vec![seller]] {
        let request = lab.request(&route).0;
        lab.send(0, &[FriendOp::Request(request.clone()), release(&request)]);
        let last = lab.got(0).pop();
        assert!(matches!(last, Some(FriendOp::Cancel(c)) if c.reason == CancelReason::Released));
        assert_eq!((lab.got(1), lab.frozen(0), lab.frozen(1)), (Vec::new(), (0, 0), (0, 0)));
    }
    assert!(lab.funder.state().sets.is_empty());
}
