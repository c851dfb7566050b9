//! The end of a friendship and its beginning again (protocol, section 8, *Removal*), with friends
//! made by hand.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, and picks out what it looks at"
)]

mod support;

use offset_crypto::{PlainLock, PublicKey};
use offset_funder::{
    api::{Command, Effect},
    state::Phase,
};
use offset_proto::{
    Balance,
    app::{AppReply, ConfigRequest, ErrorCode},
    friend::{CancelReason, FriendMessage, FriendOp, Request, Resume},
    history::{Adjustment, HistoryEvent},
    report::FriendStanding,
};
use support::{
    credit,
    lab::{Lab, cancel, friend_name, release},
    puppet::Puppet,
};

/// Asks to remove a friend; the error, if it is refused.
fn remove(lab: &mut Lab, at: usize, forfeit: bool) -> Result<(), String> {
    let request = ConfigRequest::RemoveFriend { friend: friend_name(at), forfeit };
    match lab.ask(Command::Config(request)) {
        Ok(AppReply::Done) => Ok(()),
        Ok(other) => panic!("{other:?}"),
        Err(error) => {
            assert_eq!(error.code, ErrorCode::Refused);
            Err(error.message.to_string())
        }
    }
}

fn is_gone(lab: &Lab, at: usize) -> bool {
    !lab.funder.state().friends.contains_key(&lab.puppets[at].key())
}

fn standing(lab: &mut Lab, at: usize) -> FriendStanding {
    let key = lab.puppets[at].key();
    let report = lab.funder_report();
    report.friends.into_iter().find(|friend| friend.public_key == key).unwrap().standing
}

/// A request from one puppet to another, pending on both lines.
fn passing(lab: &mut Lab, from: usize, to: usize) -> (Request, Request, PlainLock) {
    let seller = lab.puppets[to].key();
    let (request, lock) = lab.request(&[seller]);
    lab.send(from, &[FriendOp::Request(request.clone())]);
    let FriendOp::Request(forwarded) = lab.got_one(to) else { panic!() };
    (request, forwarded, lock)
}

fn add_again(lab: &mut Lab, at: usize) {
    let public_key = lab.puppets[at].key();
    lab.set(ConfigRequest::AddFriend {
        name: friend_name(at),
        public_key,
        relays: Vec::new(),
        currency: None,
        opening_balance: Balance::ZERO,
    });
    lab.set(ConfigRequest::SetFriendEnabled { friend: friend_name(at), enabled: true });
}

#[test]
fn a_friendship_at_zero_ends_once_the_friend_has_our_last_word() {
    let mut lab = Lab::new(2);
    passing(&mut lab, 1, 0);
    lab.send(0, &[cancel(&forwarded_of(&lab, 0), CancelReason::Declined, None)]);
    lab.got(1);
    lab.effects.clear();
    lab.puppets[0].raw.clear();
    assert_eq!(remove(&mut lab, 0, false), Ok(()));
    lab.pass(1_000);
    assert!(is_gone(&lab, 0));
    let key = lab.puppets[0].key();
    assert!(lab.puppets[0].raw.contains(&FriendMessage::Removed { epoch: 0 }));
    let told = |effect: &Effect| *effect == Effect::Contact { friend: key, contact: None };
    assert!(lab.effects.iter().any(told), "it is not called any more");
    let archived = &lab.funder.state().archive[&key];
    assert_eq!((archived.balances.len(), archived.name.as_str()), (0, "p0"));
    assert_eq!(archived.channel.token_id, lab.puppets[0].token_id);
    assert_eq!(lab.funder.removed_epoch(&key), Some(0));
    assert_eq!(lab.funder.removed_epoch(&lab.puppets[1].key()), None);
    lab.restart();
    assert!(is_gone(&lab, 0));
    assert_eq!(lab.funder.state().archive.len(), 1);
}

/// What the puppet has pending from the node.
fn forwarded_of(lab: &Lab, at: usize) -> Request {
    let pending = &lab.puppets[at].credit(&credit()).pending[support::puppet::THEIRS];
    pending.values().next().unwrap().request.clone()
}

#[test]
fn nobody_is_removed_while_credits_stand() {
    for (amount, says) in [(70, "p0 owes 70 credit"), (-30, "you owe p0 30 credit")] {
        let mut lab = Lab::alone();
        let at = lab.add_puppet();
        lab.activate(at, &credit(), -amount);
        assert_eq!(lab.balance(at), amount);
        let error = remove(&mut lab, at, false).unwrap_err();
        assert!(error.contains(says) && error.contains("--forfeit"), "{error}");
        assert_eq!(standing(&mut lab, at), FriendStanding::Consistent);
        assert_eq!(remove(&mut lab, at, true), Ok(()));
        assert!(is_gone(&lab, at));
        let archived = &lab.funder.state().archive[&lab.puppets[at].key()];
        assert_eq!(archived.balances[0].balance.get(), amount, "what was given up is kept");
        // The books begin with what was agreed on, and end at nothing.
        let entries = lab.books.entries.iter();
        let entries: Vec<_> =
            entries.map(|entry| (entry.event.clone(), entry.delta.get())).collect();
        let given_up = HistoryEvent::Adjusted(Adjustment::WrittenOff);
        let expected =
            [(HistoryEvent::Opened, amount), (given_up, -amount), (HistoryEvent::Closed, 0)];
        assert_eq!(entries, expected);
    }
}

#[test]
fn a_removal_waits_for_what_is_pending_and_takes_nothing_new() {
    let mut lab = Lab::new(3);
    let (_, forwarded, _) = passing(&mut lab, 1, 0);
    lab.puppets[0].got_terms.clear();
    assert_eq!(remove(&mut lab, 0, false), Ok(()));
    assert_eq!(remove(&mut lab, 0, false), Ok(()), "asking again changes nothing");
    assert_eq!(standing(&mut lab, 0), FriendStanding::Removing);
    lab.fetch_token(0);
    assert!(!lab.puppets[0].credit(&credit()).open[support::puppet::THEIRS], "requests closed");
    // Neither to it nor from it, even where the friend does not know yet.
    let (request, _) = lab.request(&[lab.puppets[0].key()]);
    lab.send(1, &[FriendOp::Request(request)]);
    let FriendOp::Cancel(refused) = lab.got_one(1) else { panic!() };
    assert_eq!(refused.reason, CancelReason::Offline);
    let (request, _) = lab.request(&[lab.puppets[1].key()]);
    lab.send(0, &[FriendOp::Request(request)]);
    let FriendOp::Cancel(refused) = lab.got_one(0) else { panic!() };
    assert_eq!(refused.reason, CancelReason::Offline);
    assert_eq!(lab.got(1), []);
    // It survives a restart, and time ends nothing.
    lab.restart();
    (0..3).for_each(|at| lab.connect(at));
    lab.pass(1_000_000);
    assert_eq!(standing(&mut lab, 0), FriendStanding::Removing);
    lab.send(0, &[cancel(&forwarded, CancelReason::Declined, None)]);
    lab.pass(1_000);
    assert!(matches!(lab.got_one(1), FriendOp::Cancel(_)));
    assert!(is_gone(&lab, 0));
}

#[test]
fn a_removal_can_be_taken_back() {
    let mut lab = Lab::new(2);
    let (_, forwarded, _) = passing(&mut lab, 1, 0);
    remove(&mut lab, 0, false).unwrap();
    lab.set(ConfigRequest::SetFriendEnabled { friend: friend_name(0), enabled: true });
    assert_eq!(standing(&mut lab, 0), FriendStanding::Consistent);
    lab.send(0, &[cancel(&forwarded, CancelReason::Declined, None)]);
    lab.pass(1_000);
    assert!(!is_gone(&lab, 0));
}

#[test]
fn forfeiting_ends_every_request_by_its_role() {
    // Outgoing for another friend: cancelled there. Incoming for another: released there.
    let mut lab = Lab::new(2);
    let (outgoing, _, _) = passing(&mut lab, 0, 1);
    let (_, incoming, _) = passing(&mut lab, 1, 0);
    lab.got(0);
    remove(&mut lab, 1, true).unwrap();
    assert!(is_gone(&lab, 1));
    let got = lab.got(0);
    let cancelled =
        |op: &FriendOp| matches!(op, FriendOp::Cancel(c) if c.request_id == outgoing.request_id);
    assert!(got.iter().any(cancelled), "{got:?}");
    assert!(got.contains(&release(&incoming)), "{got:?}");
    lab.send(0, &[cancel(&incoming, CancelReason::Released, None)]);
    assert_eq!((lab.balance(0), lab.frozen(0)), (0, (0, 0)));

    // A payment of ours may have been paid.
    let mut lab = Lab::new(1);
    let (id, order) = lab.pay(lab.puppets[0].key(), 100);
    remove(&mut lab, 0, true).unwrap();
    assert_eq!(lab.archive[&id].phase, Phase::Unknown);
    assert!(lab.replies.contains_key(&order));

    // A set loses its part, and falls.
    let mut lab = Lab::new(2);
    let (part, _) = lab.request(&[]);
    lab.send(0, &[FriendOp::Request(part)]);
    assert_eq!(lab.funder.state().sets.len(), 1);
    remove(&mut lab, 0, true).unwrap();
    assert!(lab.funder.state().sets.is_empty());
}

#[test]
fn what_never_left_comes_back_at_once() {
    let mut lab = Lab::new(2);
    lab.fetch_token(0);
    lab.puppets[0].silent = true;
    let (request, _) = lab.request(&[lab.puppets[0].key()]);
    lab.send(1, &[FriendOp::Request(request.clone())]);
    remove(&mut lab, 0, false).unwrap();
    let FriendOp::Cancel(cancelled) = lab.got_one(1) else { panic!() };
    assert_eq!(
        (cancelled.request_id, cancelled.reason),
        (request.request_id, CancelReason::Offline)
    );
}

#[test]
fn a_friend_that_removed_us_is_shown_and_nothing_more_ends() {
    let mut lab = Lab::new(2);
    let (request, _, _) = passing(&mut lab, 1, 0);
    lab.connect(0);
    lab.message(0, FriendMessage::Removed { epoch: 6 });
    assert_eq!(standing(&mut lab, 0), FriendStanding::RemovedByFriend);
    let (new, _) = lab.request(&[lab.puppets[0].key()]);
    lab.send(1, &[FriendOp::Request(new)]);
    let FriendOp::Cancel(refused) = lab.got_one(1) else { panic!() };
    assert_eq!(refused.reason, CancelReason::Offline);
    lab.pass(1_000_000);
    lab.restart();
    lab.connect(1);
    assert_eq!(lab.got(1), [], "only a person ends what is pending");
    assert_eq!(standing(&mut lab, 0), FriendStanding::RemovedByFriend);
    let error = remove(&mut lab, 0, false).unwrap_err();
    assert!(error.contains("has removed this node"), "{error}");
    // Added again there, it says so with a resume, and begins above the epoch that it named.
    lab.connect(0);
    assert_eq!(standing(&mut lab, 0), FriendStanding::Consistent);
    assert_eq!(lab.friend(0).channel.highest_epoch, 6);
    remove(&mut lab, 0, true).unwrap();
    let FriendOp::Cancel(cancelled) = lab.got_one(1) else { panic!() };
    assert_eq!(cancelled.request_id, request.request_id);
}

#[test]
fn a_friend_that_does_not_know_us_yet_is_waited_for() {
    let mut lab = Lab::alone();
    let puppet = Puppet::new(1, lab.key());
    lab.puppets.push(puppet);
    add_again(&mut lab, 0);
    lab.open_session(0);
    lab.message(0, FriendMessage::Removed { epoch: 0 });
    assert_eq!(standing(&mut lab, 0), FriendStanding::Consistent);
    lab.connect(0);
    lab.activate(0, &credit(), 0);
}

#[test]
fn a_friend_that_is_added_again_begins_above_every_epoch() {
    let mut lab = Lab::new(8);
    // One with a lower key and one with a higher.
    let at = |lab: &Lab, low: bool| {
        (0..8).find(|at| (lab.puppets[*at].key() < lab.key()) == low).unwrap()
    };
    for at in [at(&lab, true), at(&lab, false)] {
        lab.connect(at);
        lab.balance_by_payment(at, 40);
        let last = lab.friend(at).channel.own_tokens;
        remove(&mut lab, at, true).unwrap();
        lab.puppets[at].raw.clear();
        lab.puppets[at].session = offset_funder::api::SessionId(0);
        add_again(&mut lab, at);
        lab.restart();
        lab.open_session(at);
        let puppet = &lab.puppets[at];
        let FriendMessage::Resume(resume) = &puppet.raw[0] else { panic!() };
        assert_eq!((resume.counter, resume.token_id), (puppet.counter, puppet.token_id));
        let FriendMessage::Inconsistency(message) = &puppet.raw[1] else { panic!() };
        let terms = message.terms.clone();
        assert_eq!((terms.body.epoch, terms.body.balances.len()), (1, 0));
        assert_eq!([terms.body.last, terms.body.previous], last);
        // The friend still believes in its balance: a person has to accept, here its own.
        let resume = lab.resume_of(at);
        lab.message(at, FriendMessage::Resume(resume));
        let theirs = lab.puppets[at].terms(1, &[(credit(), -40)], false);
        let message = offset_proto::reset::Inconsistency { terms: theirs, collected: Vec::new() };
        lab.message(at, FriendMessage::Inconsistency(Box::new(message)));
        assert!(lab.inconsistent(at).is_some());
        let acceptance = lab.puppets[at].acceptance(&terms);
        lab.message(at, FriendMessage::AcceptReset(acceptance));
        lab.puppets[at].begin_epoch(1, &[]);
        let resume = lab.resume_of(at);
        lab.message(at, FriendMessage::Resume(resume));
        assert!(lab.funder.state().archive.is_empty());
        lab.activate(at, &credit(), 0);
        assert_eq!(lab.balance(at), 0);
    }
}

#[test]
fn one_with_whom_nothing_was_exchanged_is_as_new() {
    let mut lab = Lab::alone();
    let puppet = Puppet::new(1, lab.key());
    let key: PublicKey = puppet.key();
    lab.puppets.push(puppet);
    for _ in 0..2 {
        add_again(&mut lab, 0);
        assert_eq!(lab.inconsistent(0), None);
        remove(&mut lab, 0, false).unwrap();
        assert!(is_gone(&lab, 0));
    }
    assert!(lab.funder.state().archive.contains_key(&key));
}

#[test]
fn both_removed_and_added_again_need_no_person() {
    let mut lab = Lab::new(1);
    assert!(lab.key() < lab.puppets[0].key(), "we accept");
    remove(&mut lab, 0, true).unwrap();
    lab.puppets[0].raw.clear();
    add_again(&mut lab, 0);
    lab.open_session(0);
    let resume = Resume { epoch: 2, ..lab.resume_of(0) };
    lab.message(0, FriendMessage::Resume(resume));
    let theirs = lab.puppets[0].terms(3, &[], false);
    let message = offset_proto::reset::Inconsistency { terms: theirs, collected: Vec::new() };
    lab.message(0, FriendMessage::Inconsistency(Box::new(message)));
    let accepted = |message: &FriendMessage| matches!(message, FriendMessage::AcceptReset(_));
    assert!(lab.puppets[0].raw.iter().any(accepted));
    lab.puppets[0].begin_epoch(3, &[]);
    let resume = lab.resume_of(0);
    lab.message(0, FriendMessage::Resume(resume));
    assert_eq!(lab.friend(0).channel.epoch, 3);
    lab.activate(0, &credit(), 0);
}

#[test]
fn an_inconsistent_friend_goes_only_by_forfeit() {
    let mut lab = Lab::new(2);
    let (request, _, _) = passing(&mut lab, 1, 0);
    let theirs = lab.puppets[0].terms(1, &[], false);
    let message = offset_proto::reset::Inconsistency { terms: theirs, collected: Vec::new() };
    lab.message(0, FriendMessage::Inconsistency(Box::new(message)));
    let error = remove(&mut lab, 0, false).unwrap_err();
    assert!(error.contains("is inconsistent"), "{error}");
    remove(&mut lab, 0, true).unwrap();
    let FriendOp::Cancel(cancelled) = lab.got_one(1) else { panic!() };
    assert_eq!(cancelled.request_id, request.request_id);
}

/// A friend that has removed us sends no token any more: a removal does not wait for one.
#[test]
fn a_friend_that_removed_us_is_not_waited_for() {
    for removed_first in [true, false] {
        let mut lab = Lab::new(1);
        lab.puppets[0].silent = true;
        let (request, _) = lab.request(&[]);
        lab.send(0, &[FriendOp::Request(Request { spontaneous: false, ..request })]);
        assert!(matches!(lab.got_one(0), FriendOp::Cancel(_)));
        if removed_first {
            lab.message(0, FriendMessage::Removed { epoch: 0 });
        }
        remove(&mut lab, 0, false).unwrap();
        if !removed_first {
            assert!(!is_gone(&lab, 0), "the friend may not have our last operations");
            lab.message(0, FriendMessage::Removed { epoch: 0 });
        }
        assert!(is_gone(&lab, 0));
    }
}
