//! Friends that break rules or conspire, made by hand.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, and picks out what it looks at"
)]

mod support;

use offset_crypto::PlainLock;
use offset_proto::friend::FriendOp;
use support::{
    credit,
    lab::{Lab, collect},
    puppet::response_by,
};

/// Buyer and seller share the locks in private, and the seller answers and collects in one token.
/// The mediator must be paid as well.
#[test]
fn answer_and_collect_in_one_token_are_passed_up() {
    let mut lab = Lab::new(2);
    let seller = lab.puppets[1].key();
    let (request, src) = lab.request(&[seller]);
    lab.send(0, &[FriendOp::Request(request)]);
    let FriendOp::Request(forwarded) = lab.got_one(1) else { panic!() };
    let dest = PlainLock::random(&mut lab.rng);
    let response = response_by(&lab.puppets[1].identity, &forwarded, &dest, true, &credit());
    lab.send(1, &[FriendOp::Response(response), collect(&forwarded, src, dest)]);
    assert!(matches!(lab.got(0)[..], [FriendOp::Response(_), FriendOp::Collect(_)]));
    assert_eq!((lab.balance(0), lab.balance(1)), (100, -100));
}
