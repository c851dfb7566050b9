//! The seller's side: idempotent invoices, holds and commits that came out of band (protocol,
//! sections 6.3, 6.5, 6.9 and 7), paid by buyers made by hand.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, and picks out what it looks at"
)]

mod support;

use offset_crypto::{Nonce, PlainLock};
use offset_funder::api::Command;
use offset_proto::{
    Credits, Timestamp,
    app::{AppReply, CreateInvoice, ErrorCode, Hold, InvoiceReport, InvoiceStatus},
    friend::{CancelReason, FriendMessage, FriendOp, Request, Response},
    payment::{Commit, Invoice},
};
use support::{
    credit,
    lab::{Lab, commit, release},
};

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

fn terms(lab: &mut Lab, hold: Hold) -> CreateInvoice {
    CreateInvoice {
        nonce: Nonce::random(&mut lab.rng),
        currency: None,
        amount: Credits(100),
        description: "soup".parse().unwrap(),
        expires_in_ms: None,
        hold,
    }
}

fn create(lab: &mut Lab, terms: CreateInvoice) -> Result<InvoiceReport, ErrorCode> {
    // The shell looks up what has ended.
    let ended = lab.invoice_archive.values().find(|row| row.invoice.nonce == terms.nonce);
    let ended = ended.cloned().map(Box::new);
    match lab.ask(Command::CreateInvoice { create: Box::new(terms), ended }) {
        Ok(AppReply::Invoice(report)) => Ok(*report),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.code),
    }
}

fn invoice(lab: &mut Lab, hold: Hold) -> Invoice {
    let terms = terms(lab, hold);
    create(lab, terms).unwrap().invoice
}

fn report(lab: &Lab, invoice: &Invoice) -> (InvoiceStatus, bool) {
    let id = invoice.id();
    let row = lab.funder.state().invoices.get(&id).or(lab.invoice_archive.get(&id)).unwrap();
    let report = lab.funder.invoice_report(row);
    (report.status, report.held)
}

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

fn pass_until(lab: &mut Lab, time: Timestamp) {
    let ms = time.ms_since(lab.now);
    lab.pass(ms);
}

/// Sends a request that is answered.
fn ask(lab: &mut Lab, at: usize, request: &Request) -> Response {
    lab.got(at);
    lab.send(at, &[FriendOp::Request(request.clone())]);
    match lab.got_one(at) {
        FriendOp::Response(response) => response,
        other => panic!("{other:?}"),
    }
}

/// What a buyer hands to the seller, of the complete response.
fn handed(request: &Request, response: &Response, lock: PlainLock) -> Commit {
    Commit {
        response_hash: response.response_hash,
        src_plain_lock: lock,
        dest_hashed_lock: response.dest_hashed_lock,
        dest_payment: request.dest_payment,
        total_dest_payment: request.total_dest_payment,
        invoice_id: request.invoice_id,
        currency: credit(),
        signature: response.signature,
    }
}

fn hand_in(lab: &mut Lab, commit: &Commit) -> Result<InvoiceStatus, ErrorCode> {
    let ended = lab.invoice_archive.get(&commit.invoice_id).cloned().map(Box::new);
    match lab.ask(Command::CommitInvoice { commit: Box::new(commit.clone()), ended }) {
        Ok(AppReply::Invoice(report)) => Ok(report.status),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.code),
    }
}

fn collect(lab: &mut Lab, invoice: &Invoice) -> Result<(), ErrorCode> {
    let ended = lab.invoice_archive.get(&invoice.id()).cloned().map(Box::new);
    let result = lab.ask(Command::CollectInvoice { invoice_id: invoice.id(), ended });
    result.map(drop).map_err(|error| error.code)
}

fn cancel(lab: &mut Lab, invoice: &Invoice) -> Result<(), ErrorCode> {
    let ended = lab.invoice_archive.get(&invoice.id()).cloned().map(Box::new);
    let result = lab.ask(Command::CancelInvoice { invoice_id: invoice.id(), ended });
    result.map(drop).map_err(|error| error.code)
}

fn collected(lab: &mut Lab, at: usize) -> bool {
    lab.fetch_token(at);
    lab.got(at).iter().any(|op| matches!(op, FriendOp::Collect(_)))
}

fn cancelled(lab: &mut Lab, at: usize) -> Option<CancelReason> {
    lab.fetch_token(at);
    lab.got(at).iter().find_map(|op| match op {
        FriendOp::Cancel(cancel) => Some(cancel.reason),
        _ => None,
    })
}

#[test]
fn the_same_nonce_gives_the_same_invoice_for_ever() {
    let mut lab = Lab::new(1);
    let first = terms(&mut lab, Hold::None);
    let made = create(&mut lab, first.clone()).unwrap();
    lab.pass(5_000);
    assert_eq!(create(&mut lab, first.clone()), Ok(made.clone()));
    let named = CreateInvoice { currency: Some(credit()), ..first.clone() };
    assert_eq!(
        create(&mut lab, named),
        Ok(made.clone()),
        "what was left to the node is as it chose"
    );
    lab.restart();
    assert_eq!(create(&mut lab, first.clone()), Ok(made.clone()), "after a restart");
    let others = [
        CreateInvoice { amount: Credits(101), ..first.clone() },
        CreateInvoice { description: "salad".parse().unwrap(), ..first.clone() },
        CreateInvoice { currency: Some("other".parse().unwrap()), ..first.clone() },
        CreateInvoice { expires_in_ms: Some(HOUR + 1), ..first.clone() },
        CreateInvoice { hold: Hold::Standard, ..first.clone() },
    ];
    for other in &others {
        assert_eq!(create(&mut lab, other.clone()), Err(ErrorCode::AlreadyExists), "{other:?}");
    }
    lab.pass(HOUR);
    lab.restart();
    let ended = create(&mut lab, first).unwrap();
    assert_eq!((ended.invoice, ended.status), (made.invoice, InvoiceStatus::Expired));
    for other in others {
        assert_eq!(create(&mut lab, other), Err(ErrorCode::AlreadyExists));
    }
}

#[test]
fn what_is_reserved_shows() {
    let mut lab = Lab::new(2);
    let invoice = invoice(&mut lab, Hold::None);
    assert_eq!(report(&lab, &invoice), (InvoiceStatus::Open, false));
    let (a, b) = (part(&mut lab, &invoice, lock(1), 60), part(&mut lab, &invoice, lock(1), 40));
    ask(&mut lab, 0, &a);
    assert_eq!(report(&lab, &invoice), (InvoiceStatus::Requested, false));
    ask(&mut lab, 1, &b);
    assert_eq!(report(&lab, &invoice), (InvoiceStatus::Complete, false));
    lab.send(0, &[release(&a)]);
    assert_eq!(report(&lab, &invoice), (InvoiceStatus::Open, false));
}

#[test]
fn a_hold_is_collected_when_the_seller_says_so() {
    for restarts in [false, true] {
        let mut lab = Lab::new(2);
        let invoice = invoice(&mut lab, Hold::Standard);
        assert_eq!(invoice.hold_until, Some(lab.now.plus_ms(HOUR + DAY)));
        let (a, b) = (part(&mut lab, &invoice, lock(1), 60), part(&mut lab, &invoice, lock(1), 40));
        ask(&mut lab, 0, &a);
        assert_eq!(collect(&mut lab, &invoice), Err(ErrorCode::Refused), "nothing is committed");
        ask(&mut lab, 1, &b);
        assert_eq!(collect(&mut lab, &invoice), Err(ErrorCode::NotYet), "it may be on its way");
        lab.send(0, &[commit(&a, lock(1))]);
        assert_eq!(report(&lab, &invoice), (InvoiceStatus::Committed, true));
        // Neither time nor the buyer ends it, and nobody else pays it.
        lab.pass(HOUR + 1);
        lab.send(1, &[release(&b)]);
        if restarts {
            lab.restart();
            lab.connect(0);
            lab.connect(1);
        }
        assert_eq!(report(&lab, &invoice), (InvoiceStatus::Committed, true));
        assert!(!collected(&mut lab, 0) && !collected(&mut lab, 1));
        assert_eq!(lab.frozen(0).1, 60);
        let late = part(&mut lab, &invoice, lock(2), 100);
        lab.send(0, &[FriendOp::Request(late)]);
        assert_eq!(cancelled(&mut lab, 0), Some(CancelReason::AlreadyPaid));
        assert_eq!(collect(&mut lab, &invoice), Ok(()));
        assert!(collected(&mut lab, 0) && collected(&mut lab, 1));
        assert_eq!(report(&lab, &invoice), (InvoiceStatus::Collected, false));
        assert_eq!((lab.balance(0), lab.balance(1)), (60, 40));
        assert_eq!(collect(&mut lab, &invoice), Ok(()), "once more");
        assert_eq!(cancel(&mut lab, &invoice), Err(ErrorCode::Refused));
        assert_eq!(lab.funder.next_timeout(), None);
    }
}

#[test]
fn a_hold_is_given_back_as_a_whole() {
    let mut lab = Lab::new(2);
    let invoice = invoice(&mut lab, Hold::Standard);
    let (a, b) = (part(&mut lab, &invoice, lock(1), 60), part(&mut lab, &invoice, lock(1), 40));
    ask(&mut lab, 0, &a);
    let response = ask(&mut lab, 1, &b);
    let commit = handed(&b, &response, lock(1));
    assert_eq!(hand_in(&mut lab, &commit), Ok(InvoiceStatus::Committed));
    lab.restart();
    lab.connect(0);
    lab.connect(1);
    assert_eq!(cancel(&mut lab, &invoice), Ok(()));
    assert!(cancelled(&mut lab, 0).is_some() && cancelled(&mut lab, 1).is_some());
    assert_eq!((lab.balance(0), lab.balance(1)), (0, 0));
    assert_eq!((lab.frozen(0), lab.frozen(1)), ((0, 0), (0, 0)));
    assert_eq!(report(&lab, &invoice), (InvoiceStatus::Cancelled, false));
    assert_eq!(cancel(&mut lab, &invoice), Ok(()), "once more");
    assert_eq!(collect(&mut lab, &invoice), Err(ErrorCode::Refused));
    assert_eq!(hand_in(&mut lab, &commit), Err(ErrorCode::Refused));
    assert_eq!(lab.funder.next_timeout(), None);
}

/// A friend that removed us takes no collect: the seller hears of it, and still decides.
#[test]
fn a_hold_that_no_longer_can_be_collected_says_so() {
    let mut lab = Lab::new(2);
    let invoice = invoice(&mut lab, Hold::Standard);
    let (a, b) = (part(&mut lab, &invoice, lock(1), 60), part(&mut lab, &invoice, lock(1), 40));
    ask(&mut lab, 0, &a);
    ask(&mut lab, 1, &b);
    lab.send(0, &[commit(&a, lock(1))]);
    lab.connect(1);
    lab.message(1, FriendMessage::Removed { epoch: 0 });
    let order = Command::CollectInvoice { invoice_id: invoice.id(), ended: None };
    let error = lab.ask(order).unwrap_err();
    assert_eq!(error.code, ErrorCode::Refused);
    assert!(error.message.as_str().contains("has removed this node"), "{}", error.message);
    assert!(error.message.as_str().contains("seller cancel-invoice"), "{}", error.message);
    assert_eq!(report(&lab, &invoice), (InvoiceStatus::Committed, true));
    // Added again there, it can be collected.
    lab.connect(1);
    assert_eq!(collect(&mut lab, &invoice), Ok(()));
    assert!(collected(&mut lab, 0) && collected(&mut lab, 1));
    assert_eq!(report(&lab, &invoice), (InvoiceStatus::Collected, false));
}

#[test]
fn after_the_first_collect_nothing_is_given_back() {
    let mut lab = Lab::new(2);
    let invoice = invoice(&mut lab, Hold::Standard);
    let (a, b) = (part(&mut lab, &invoice, lock(1), 60), part(&mut lab, &invoice, lock(1), 40));
    ask(&mut lab, 0, &a);
    ask(&mut lab, 1, &b);
    lab.send(0, &[commit(&a, lock(1))]);
    lab.fetch_token(1);
    lab.puppets[1].silent = true;
    assert_eq!(collect(&mut lab, &invoice), Ok(()));
    assert_eq!(report(&lab, &invoice), (InvoiceStatus::Committed, false), "one friend is silent");
    assert_eq!(cancel(&mut lab, &invoice), Err(ErrorCode::Refused));
    lab.restart();
    assert_eq!(cancel(&mut lab, &invoice), Err(ErrorCode::Refused));
    lab.puppets[1].silent = false;
    lab.connect(0);
    lab.connect(1);
    assert!(collected(&mut lab, 1));
    assert_eq!(report(&lab, &invoice), (InvoiceStatus::Collected, false));
}

#[test]
fn a_hold_that_ends_by_time_is_collected() {
    for away in [false, true] {
        let mut lab = Lab::new(1);
        let invoice = invoice(&mut lab, Hold::ForMs(90 * DAY));
        let request = part(&mut lab, &invoice, lock(1), 100);
        ask(&mut lab, 0, &request);
        lab.send(0, &[commit(&request, lock(1))]);
        let until = invoice.hold_until.unwrap();
        pass_until(&mut lab, Timestamp(until.0 - 1));
        assert_eq!(report(&lab, &invoice), (InvoiceStatus::Committed, true));
        if away {
            // The node did not run when the hold ended.
            lab.now = lab.now.plus_ms(DAY);
            lab.restart();
            lab.pass(0);
            lab.connect(0);
        } else {
            pass_until(&mut lab, until);
        }
        assert!(collected(&mut lab, 0));
        assert_eq!(report(&lab, &invoice), (InvoiceStatus::Collected, false));
    }
}

#[test]
fn a_hold_without_a_commit_ends_with_the_invoice() {
    let mut lab = Lab::new(1);
    let invoice = invoice(&mut lab, Hold::Standard);
    let request = part(&mut lab, &invoice, lock(1), 100);
    ask(&mut lab, 0, &request);
    lab.pass(HOUR + 1);
    assert_eq!(cancelled(&mut lab, 0), Some(CancelReason::Expired));
    assert_eq!(report(&lab, &invoice), (InvoiceStatus::Expired, false));
    assert_eq!(lab.frozen(0), (0, 0));
}

#[test]
fn holds_are_bounded() {
    let mut lab = Lab::new(1);
    for ms in [90 * DAY + 1, u64::MAX] {
        let terms = terms(&mut lab, Hold::ForMs(ms));
        assert_eq!(create(&mut lab, terms), Err(ErrorCode::Invalid));
    }
    // A hold that ends with the invoice is none.
    let invoice = invoice(&mut lab, Hold::ForMs(0));
    let request = part(&mut lab, &invoice, lock(1), 100);
    let response = ask(&mut lab, 0, &request);
    lab.now = invoice.expires_at;
    assert!(hand_in(&mut lab, &handed(&request, &response, lock(1))).is_ok());
    assert!(collected(&mut lab, 0));
}

#[test]
fn a_commit_that_was_handed_in_is_the_same_as_one_over_the_line() {
    let mut lab = Lab::new(2);
    let invoice = invoice(&mut lab, Hold::None);
    let (a, b) = (part(&mut lab, &invoice, lock(1), 60), part(&mut lab, &invoice, lock(1), 40));
    let other = part(&mut lab, &invoice, lock(2), 100);
    ask(&mut lab, 0, &a);
    let rival = ask(&mut lab, 0, &other);
    let response = ask(&mut lab, 1, &b);
    assert!(response.is_complete);
    let commit_file = handed(&b, &response, lock(1));
    assert_eq!(commit_file.verify(&invoice), Ok(()));
    assert!(hand_in(&mut lab, &commit_file).is_ok());
    assert!(collected(&mut lab, 0) && collected(&mut lab, 1));
    assert_eq!((lab.balance(0), lab.balance(1)), (60, 40));
    let rival = handed(&other, &rival, lock(2));
    for _ in 0..2 {
        assert_eq!(hand_in(&mut lab, &commit_file), Ok(InvoiceStatus::Collected), "again");
        assert_eq!(hand_in(&mut lab, &rival), Err(ErrorCode::Refused), "another one");
        lab.restart();
    }
}

#[test]
fn commits_that_do_not_fit_change_nothing() {
    let mut lab = Lab::new(2);
    let invoice = invoice(&mut lab, Hold::None);
    let another = self::invoice(&mut lab, Hold::None);
    let (a, b) = (part(&mut lab, &invoice, lock(1), 60), part(&mut lab, &invoice, lock(1), 40));
    let first = ask(&mut lab, 0, &a);
    let incomplete = handed(&a, &first, lock(1));
    assert_eq!(hand_in(&mut lab, &incomplete), Err(ErrorCode::Invalid), "not of the last response");
    let response = ask(&mut lab, 1, &b);
    let good = handed(&b, &response, lock(1));
    let bad = [
        Commit { src_plain_lock: lock(2), ..good.clone() },
        Commit { dest_payment: Credits(41), ..good.clone() },
        Commit { dest_payment: Credits(101), ..good.clone() },
        Commit { total_dest_payment: Credits(40), ..good.clone() },
        Commit { currency: "other".parse().unwrap(), ..good.clone() },
        Commit { invoice_id: another.id(), ..good.clone() },
        Commit { dest_hashed_lock: lock(3).hashed(), ..good.clone() },
    ];
    for commit in bad {
        assert_eq!(hand_in(&mut lab, &commit), Err(ErrorCode::Invalid), "{commit:?}");
    }
    let nobody = Commit { invoice_id: [5; 32].into(), ..good.clone() };
    assert_eq!(hand_in(&mut lab, &nobody), Err(ErrorCode::NotFound));
    assert_eq!(report(&lab, &invoice), (InvoiceStatus::Complete, false));
    // What was reserved for it is given back.
    lab.send(1, &[release(&b)]);
    assert_eq!(hand_in(&mut lab, &good), Err(ErrorCode::Refused));
    assert_eq!(report(&lab, &invoice), (InvoiceStatus::Open, false));
    lab.pass(HOUR + 1);
    assert_eq!(hand_in(&mut lab, &good), Err(ErrorCode::Refused), "expired");
    assert_eq!((lab.balance(0), lab.balance(1)), (0, 0));
}

#[test]
fn a_commit_that_is_handed_in_too_early_after_a_start_is_kept() {
    let mut lab = Lab::new(2);
    let invoice = invoice(&mut lab, Hold::None);
    let (a, b) = (part(&mut lab, &invoice, lock(1), 60), part(&mut lab, &invoice, lock(1), 40));
    ask(&mut lab, 0, &a);
    let response = ask(&mut lab, 1, &b);
    let commit = handed(&b, &response, lock(1));
    lab.restart();
    lab.connect(0);
    assert_eq!(hand_in(&mut lab, &commit), Err(ErrorCode::NotYet));
    assert_eq!(hand_in(&mut lab, &commit), Err(ErrorCode::NotYet), "the same again");
    assert_eq!(report(&lab, &invoice), (InvoiceStatus::Complete, false));
    lab.restart();
    lab.connect(1);
    lab.connect(0);
    assert!(collected(&mut lab, 0) && collected(&mut lab, 1));
    assert_eq!(hand_in(&mut lab, &commit), Ok(InvoiceStatus::Collected));
}

#[test]
fn a_commit_is_accepted_at_the_last_moment_and_not_after_it() {
    for late in [0, 1] {
        let mut lab = Lab::new(1);
        let invoice = invoice(&mut lab, Hold::None);
        let request = part(&mut lab, &invoice, lock(1), 100);
        let response = ask(&mut lab, 0, &request);
        // The clock jumps, and no timer has fired yet.
        lab.now = invoice.expires_at.plus_ms(late);
        let result = hand_in(&mut lab, &handed(&request, &response, lock(1)));
        assert_eq!(result.is_ok(), late == 0, "{result:?}");
        lab.pass(0);
        assert_eq!(lab.balance(0), if late == 0 { 100 } else { 0 });
        assert_eq!(lab.frozen(0), (0, 0));
    }
}
