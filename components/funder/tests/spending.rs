//! What applications may spend: the limits of their tickets hold for what a payment may cost, over
//! a day, across restarts.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, and picks out what it looks at"
)]

mod support;

use offset_crypto::{Identity, Nonce, PaymentId, PlainLock, PublicKey, SeededRng};
use offset_funder::api::{Command, Payer};
use offset_proto::{
    Credits,
    app::{AppError, AppLimits, AppReply, ErrorCode, PayRequest, PaymentTarget},
    friend::{CancelReason, FriendOp},
    payment::Invoice,
};
use support::{
    credit,
    lab::{Lab, cancel, collect},
    puppet::response_by,
};

const HOUR: u64 = 3_600_000;

fn app(n: u64) -> PublicKey {
    Identity::random(&mut SeededRng::new(n)).public_key()
}

fn limits(max_payment: Option<u128>, budget: Option<u128>) -> AppLimits {
    let of = |most: Option<u128>| most.map(|most| (credit(), Credits(most))).into_iter().collect();
    AppLimits { max_payment: of(max_payment), budget: of(budget), commands_per_second: None }
}

fn by(limits: &[AppLimits]) -> Payer {
    Payer { app: app(1), limits: limits.to_vec() }
}

/// Orders a payment to the only friend; gives the number of the order.
fn order(lab: &mut Lab, payer: &Payer, amount: u128, max_fee: Option<u128>) -> u64 {
    let request = PayRequest {
        payment_id: PaymentId::random(&mut lab.rng),
        target: PaymentTarget::Spontaneous {
            destination: lab.puppets[0].key(),
            amount: Credits(amount),
            currency: None,
        },
        max_fee: max_fee.map(Credits),
        deadline_ms: None,
        note: "".parse().unwrap(),
        max_parts: None,
    };
    let payer = Some(payer.clone());
    lab.order(Command::Pay { request: Box::new(request), ended: None, payer })
}

/// Why an order was refused.
fn refused(lab: &mut Lab, payer: &Payer, amount: u128, max_fee: Option<u128>) -> String {
    let order = order(lab, payer, amount, max_fee);
    match lab.replies.remove(&order) {
        Some(Err(AppError { code: ErrorCode::LimitReached, message })) => message.to_string(),
        other => panic!("{other:?}"),
    }
}

/// An order that is taken, and what then came to the friend.
fn taken(lab: &mut Lab, payer: &Payer, amount: u128, max_fee: Option<u128>) -> u64 {
    let order = order(lab, payer, amount, max_fee);
    assert!(!lab.replies.contains_key(&order), "{:?}", lab.replies[&order]);
    order
}

/// The seller takes what was ordered.
fn sell(lab: &mut Lab, order: u64) {
    let dest_lock = PlainLock::from_bytes([9; 32]);
    let request = match lab.got_one(0) {
        FriendOp::Request(request) => request,
        other => panic!("{other:?}"),
    };
    let identity = lab.puppets[0].identity.clone();
    let response = response_by(&identity, &request, &dest_lock, true, &credit());
    lab.send(0, &[FriendOp::Response(response)]);
    match lab.got_one(0) {
        FriendOp::Commit(commit) => {
            lab.send(0, &[collect(&request, commit.src_plain_lock, dest_lock)]);
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(lab.replies.remove(&order), Some(Ok(AppReply::Payment(_)))));
}

/// The seller does not want it.
fn decline(lab: &mut Lab, order: u64) {
    match lab.got_one(0) {
        FriendOp::Request(request) => {
            let seller = lab.puppets[0].key();
            lab.send(0, &[cancel(&request, CancelReason::Declined, Some(seller))]);
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(lab.replies.remove(&order), Some(Ok(AppReply::Payment(_)))));
}

#[test]
fn one_payment_may_cost_so_much_with_its_fees() {
    let mut lab = Lab::new(1);
    let payer = by(&[limits(Some(100), None)]);
    let message = refused(&mut lab, &payer, 101, None);
    assert!(message.contains("at most 100 credit on one payment"), "{message}");
    let message = refused(&mut lab, &payer, 98, Some(3));
    assert!(message.contains("cost 101") && message.contains("lower fee"), "{message}");
    refused(&mut lab, &payer, 1, Some(u128::MAX));
    let order = taken(&mut lab, &payer, 98, Some(2));
    sell(&mut lab, order);
    // There is no limit on how many.
    let order = taken(&mut lab, &payer, 100, None);
    sell(&mut lab, order);
    assert_eq!(lab.balance(0), -198);
}

#[test]
fn without_a_highest_fee_the_limits_leave_one() {
    let mut lab = Lab::new(1);
    for (amount, left) in [(98, 2), (40, 40), (100, 0)] {
        taken(&mut lab, &by(&[limits(Some(100), None)]), amount, None);
        let rows = lab.funder.state().payments.values();
        let row = rows.max_by_key(|row| (row.created_at, row.deadline)).unwrap();
        assert_eq!((row.max_fee, row.app), (Some(Credits(left)), Some(app(1))), "{amount}");
        lab.pass(1);
    }
    // Without limits it is the usual one.
    taken(&mut lab, &by(&[]), 500, None);
    let mut rows = lab.funder.state().payments.values();
    assert!(rows.any(|row| (row.amount, row.max_fee) == (Credits(500), Some(Credits(100)))));
}

#[test]
fn a_budget_is_what_payments_cost_and_may_cost_over_a_day() {
    let mut lab = Lab::new(1);
    let payer = by(&[limits(None, Some(100))]);
    let message = refused(&mut lab, &payer, 101, Some(0));
    assert!(message.contains("100 credit a day") && message.contains("pay less"), "{message}");
    // Under way it counts with its highest fee, ended with what it cost.
    let first = taken(&mut lab, &payer, 40, Some(30));
    let message = refused(&mut lab, &payer, 31, Some(0));
    assert!(message.contains("30 are left") && message.contains("under way"), "{message}");
    sell(&mut lab, first);
    let second = taken(&mut lab, &payer, 60, Some(0));
    refused(&mut lab, &payer, 1, Some(0));
    decline(&mut lab, second);
    let third = taken(&mut lab, &payer, 50, Some(10));
    sell(&mut lab, third);
    refused(&mut lab, &payer, 11, Some(0));
    // Another application has its own budget.
    let other = Payer { app: app(2), ..payer.clone() };
    let order = taken(&mut lab, &other, 100, Some(0));
    sell(&mut lab, order);
    // A raised or lowered budget counts at once.
    refused(&mut lab, &by(&[limits(None, Some(20))]), 1, Some(0));
    let order = taken(&mut lab, &by(&[limits(None, Some(101))]), 11, Some(0));
    sell(&mut lab, order);

    for (hours, free) in [(0, false), (12, false), (23, false), (25, true)] {
        let mut lab = Lab::new(1);
        let order = taken(&mut lab, &payer, 100, None);
        sell(&mut lab, order);
        lab.restart();
        lab.connect(0);
        lab.pass(hours * HOUR);
        if free {
            taken(&mut lab, &payer, 100, None);
        } else {
            let message = refused(&mut lab, &payer, 1, None);
            let wait = format!("free again in {} h", 24 - hours);
            assert!(message.contains(&wait), "{hours}: {message}");
        }
    }
}

#[test]
fn what_was_spent_long_ago_is_forgotten() {
    let mut lab = Lab::new(1);
    let payer = by(&[limits(None, Some(10))]);
    for _ in 0..5 {
        let order = taken(&mut lab, &payer, 10, Some(0));
        sell(&mut lab, order);
        lab.pass(30 * HOUR);
    }
    assert_eq!(lab.funder.state().spent.len(), 1);
    assert_eq!(lab.disk.spent, lab.funder.state().spent);
}

#[test]
fn every_ticket_limits_and_only_named_currencies_can_be_paid() {
    let mut lab = Lab::new(1);
    let both = by(&[limits(Some(50), None), limits(None, Some(80)), AppLimits::default()]);
    refused(&mut lab, &both, 51, Some(0));
    let order = taken(&mut lab, &both, 50, Some(0));
    sell(&mut lab, order);
    refused(&mut lab, &both, 31, Some(0));
    taken(&mut lab, &both, 30, Some(0));

    let mut elsewhere = AppLimits::default();
    elsewhere.budget.insert("USD".parse().unwrap(), Credits(1_000));
    let message = refused(&mut lab, &by(&[elsewhere]), 1, Some(0));
    assert!(message.contains("does not name the currency credit"), "{message}");
    // A limit on requests alone limits no money.
    let pace = AppLimits { commands_per_second: Some(1), ..AppLimits::default() };
    taken(&mut lab, &by(&[pace]), 1, None);
}

#[test]
fn a_payment_under_way_counts_after_a_restart_and_asking_again_costs_nothing() {
    let mut lab = Lab::new(1);
    let payer = by(&[limits(None, Some(100))]);
    let request = PayRequest {
        payment_id: PaymentId::random(&mut lab.rng),
        target: PaymentTarget::Spontaneous {
            destination: lab.puppets[0].key(),
            amount: Credits(60),
            currency: None,
        },
        max_fee: Some(Credits(0)),
        deadline_ms: None,
        note: "".parse().unwrap(),
        max_parts: None,
    };
    let command =
        Command::Pay { request: Box::new(request), ended: None, payer: Some(payer.clone()) };
    lab.order(command.clone());
    lab.restart();
    lab.connect(0);
    refused(&mut lab, &payer, 41, Some(0));
    let again = lab.order(command);
    assert!(!lab.replies.contains_key(&again), "it waits as the first one did");
    sell(&mut lab, again);
    refused(&mut lab, &payer, 41, Some(0));
    let order = taken(&mut lab, &payer, 40, Some(0));
    sell(&mut lab, order);
}

#[test]
fn the_limits_hold_for_payments_by_commit() {
    let mut lab = Lab::new(1);
    let payer = by(&[limits(Some(100), Some(150))]);
    let seller = lab.puppets[0].identity.clone();
    let mut order = |amount: u128| {
        let invoice = Invoice {
            registered: true,
            currency: credit(),
            dest_public_key: seller.public_key(),
            dest_payment: Credits(amount),
            description: "".parse().unwrap(),
            created_at: lab.now,
            expires_at: lab.now.plus_ms(HOUR),
            hold_until: None,
            nonce: Nonce::random(&mut lab.rng),
        };
        let request = PayRequest {
            payment_id: PaymentId::random(&mut lab.rng),
            target: PaymentTarget::Invoice(Box::new(invoice)),
            max_fee: Some(Credits::ZERO),
            deadline_ms: None,
            note: "".parse().unwrap(),
            max_parts: None,
        };
        let (request, payer) = (Box::new(request), Some(payer.clone()));
        let order = lab.order(Command::PayByCommit { request, ended: None, payer });
        lab.replies.remove(&order).map(|reply| reply.unwrap_err().code)
    };
    assert_eq!(order(101), Some(ErrorCode::LimitReached), "too much for one payment");
    assert_eq!(order(80), None);
    assert_eq!(order(71), Some(ErrorCode::LimitReached), "what is under way counts");
    assert_eq!(order(70), None);
}
