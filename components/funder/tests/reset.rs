//! Inconsistent channels (protocol, section 8): terms, proofs, acceptances, and the beginning of a
//! new epoch, with friends made by hand.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, and picks out what it looks at"
)]

mod support;

use offset_crypto::{Identity, Nonce, PlainLock, SeededRng, Signature, hash};
use offset_funder::{
    Side,
    api::Command,
    state::{InvoicePhase, Phase},
};
use offset_proto::{
    Credits,
    app::{AppReply, ConfigRequest, CreateInvoice, ErrorCode, Hold, InvoiceStatus},
    friend::{CancelReason, FriendMessage, FriendOp, MAX_EPOCH, Request, Response, Resume},
    history::{Adjustment, HistoryEvent},
    payment::{Invoice, ResponseTerms},
    report::{CurrencyStatus, FriendStanding, InconsistentReport},
    reset::{AcceptReset, Collected, Inconsistency, ResetTerms},
};
use support::{
    credit,
    lab::{Lab, cancel, commit, friend_name},
    puppet::{THEIRS, response_by},
    rows,
};

/// A token that nobody signed comes.
fn break_channel(lab: &mut Lab, at: usize) {
    lab.fetch_token(at);
    lab.puppets[at].raw.clear();
    let mut token = lab.puppets[at].compose(&[], &[]);
    token.signature = Signature::from_bytes([1; 64]);
    lab.deliver(at, token);
    assert!(lab.inconsistent(at).is_some());
}

/// The node's terms, as they came last, and all that it has proven.
fn told(lab: &Lab, at: usize) -> (ResetTerms, Vec<Collected>) {
    let mut collected = Vec::new();
    let mut terms = None;
    for message in &lab.puppets[at].raw {
        if let FriendMessage::Inconsistency(message) = message {
            collected.extend(message.collected.clone());
            terms = Some(message.terms.clone());
        }
    }
    (terms.expect("terms were told"), collected)
}

fn balances(terms: &ResetTerms) -> Vec<(String, i128)> {
    let rows = terms.body.balances.iter();
    rows.map(|row| (row.currency.to_string(), row.balance.get())).collect()
}

/// The puppet's own terms, with this balance as it sees it.
fn terms_of(lab: &Lab, at: usize, epoch: u64, balance: i128, pending: bool) -> ResetTerms {
    lab.puppets[at].terms(epoch, &[(credit(), balance)], pending)
}

fn say(lab: &mut Lab, at: usize, terms: &ResetTerms, collected: Vec<Collected>) {
    let message = Inconsistency { terms: terms.clone(), collected };
    lab.message(at, FriendMessage::Inconsistency(Box::new(message)));
}

fn accept(lab: &mut Lab, at: usize, terms: &ResetTerms) {
    let acceptance = lab.puppets[at].acceptance(terms);
    lab.message(at, FriendMessage::AcceptReset(acceptance));
}

/// The node's person accepts what is shown.
fn reset_friend(lab: &mut Lab, at: usize) {
    let reset_token = inconsistent_report(lab, at).remote.unwrap().reset_token;
    lab.set(ConfigRequest::ResetFriend { friend: friend_name(at), reset_token });
}

fn inconsistent_report(lab: &mut Lab, at: usize) -> InconsistentReport {
    let key = lab.puppets[at].key();
    let report = lab.funder_report();
    let friend = report.friends.into_iter().find(|friend| friend.public_key == key).unwrap();
    match friend.standing {
        FriendStanding::Inconsistent(report) => *report,
        other => panic!("{other:?}"),
    }
}

fn acceptances(lab: &Lab, at: usize) -> Vec<AcceptReset> {
    let accepted = |message: &FriendMessage| match message {
        FriendMessage::AcceptReset(acceptance) => Some(*acceptance),
        _ => None,
    };
    lab.puppets[at].raw.iter().filter_map(accepted).collect()
}

fn last_resume(lab: &Lab, at: usize) -> Resume {
    let resume = |message: &FriendMessage| match message {
        FriendMessage::Resume(resume) => Some(resume.clone()),
        _ => None,
    };
    lab.puppets[at].raw.iter().rev().find_map(resume).unwrap()
}

/// The puppet begins the epoch of these terms, which `proposer` made, and says so.
fn begin(lab: &mut Lab, at: usize, epoch: u64, balance: i128) {
    lab.puppets[at].begin_epoch(epoch, &[(credit(), balance)]);
    let resume = lab.resume_of(at);
    lab.message(at, FriendMessage::Resume(resume));
}

/// A friend whose key is lower than the node's, and one whose key is higher.
fn low_and_high(lab: &Lab) -> (usize, usize) {
    let at = |low: bool| {
        let fits = |at: &usize| (lab.puppets[*at].key() < lab.key()) == low;
        (0..lab.puppets.len()).find(fits).expect("enough puppets")
    };
    (at(true), at(false))
}

fn many() -> Lab {
    Lab::new(8)
}

/// A request from one puppet to another through the node, pending on both lines.
fn passing(lab: &mut Lab, from: usize, to: usize) -> (Request, Request, PlainLock) {
    let seller = lab.puppets[to].key();
    let (request, lock) = lab.request(&[seller]);
    lab.send(from, &[FriendOp::Request(request.clone())]);
    let FriendOp::Request(forwarded) = lab.got_one(to) else { panic!() };
    (request, forwarded, lock)
}

fn dest_lock() -> PlainLock {
    PlainLock::from_bytes([9; 32])
}

/// The seller's answer to what arrived at a puppet.
fn answer_of(lab: &Lab, at: usize, request: &Request) -> Response {
    response_by(&lab.puppets[at].identity, request, &dest_lock(), true, &credit())
}

fn proof(response: &Response, src_plain_lock: PlainLock) -> Collected {
    let collect = offset_proto::friend::Collect {
        request_id: response.request_id,
        src_plain_lock,
        dest_plain_lock: dest_lock(),
    };
    Collected::of(credit(), response, &collect)
}

#[test]
fn terms_are_made_once_and_told_in_every_session() {
    let mut lab = Lab::new(3);
    // The friend owes 100, has 100 pending to us, and we have 100 pending to it.
    lab.balance_by_payment(0, 100);
    passing(&mut lab, 0, 1);
    passing(&mut lab, 2, 0);
    break_channel(&mut lab, 0);
    let (terms, proofs) = told(&lab, 0);
    assert_eq!(balances(&terms), [("credit".to_owned(), 200)], "balance and what it sends us");
    assert_eq!((terms.body.epoch, terms.body.pending, proofs.len()), (1, true, 0));
    assert_eq!([terms.body.last, terms.body.previous], lab.puppets[0].last_two[THEIRS]);
    assert!(lab.puppets[0].verify_terms(&terms), "signed for this friend, by the text");
    for restart in [false, true] {
        if restart {
            lab.restart();
        }
        lab.puppets[0].raw.clear();
        lab.connect(0);
        assert_eq!(told(&lab, 0).0, terms);
    }
    assert!(!lab.funder_report().friends[0].online);
    let report = inconsistent_report(&mut lab, 0);
    assert_eq!(report.local.reset_token, lab.puppets[0].token_of(&terms, false));
    assert_eq!((report.remote, report.accepted), (None, false));
}

#[test]
fn nothing_moves_over_an_inconsistent_channel() {
    let mut lab = Lab::new(2);
    break_channel(&mut lab, 0);
    let before = rows(lab.funder.state());
    let token = lab.puppets[0].compose(&[], &[]);
    lab.message(0, FriendMessage::MoveToken(Box::new(token)));
    let counter = lab.puppets[0].counter;
    lab.message(0, FriendMessage::TokenWanted { counter });
    let resume = lab.resume_of(0);
    lab.message(0, FriendMessage::Resume(resume));
    assert_eq!(rows(lab.funder.state()), before);
    let (request, _) = lab.request(&[lab.puppets[0].key()]);
    lab.send(1, &[FriendOp::Request(request)]);
    let FriendOp::Cancel(cancelled) = lab.got_one(1) else { panic!() };
    assert_eq!(cancelled.reason, CancelReason::Offline);
}

#[test]
fn a_friend_that_says_so_is_believed_when_it_signed() {
    let mut lab = Lab::new(2);
    let mut forged = terms_of(&lab, 0, 1, 0, false);
    forged.body.balances[0].balance = offset_proto::Balance::new(7).unwrap();
    say(&mut lab, 0, &forged, Vec::new());
    let for_another = terms_of(&lab, 1, 1, 0, false);
    say(&mut lab, 0, &for_another, Vec::new());
    let of_this_epoch = terms_of(&lab, 0, 0, 0, false);
    say(&mut lab, 0, &of_this_epoch, Vec::new());
    assert_eq!(lab.inconsistent(0), None);
    let terms = terms_of(&lab, 0, 1, -30, true);
    say(&mut lab, 0, &terms, Vec::new());
    assert!(lab.inconsistent(0).is_some());
    let report = inconsistent_report(&mut lab, 0);
    let remote = report.remote.unwrap();
    assert_eq!(remote.balances[0].balance.get(), 30, "as we see it");
    assert_eq!((remote.epoch, remote.pending), (1, true));
    assert_eq!(remote.reset_token, lab.puppets[0].token_of(&terms, true));
    told(&lab, 0);
}

#[test]
fn a_higher_epoch_makes_new_terms_and_old_acceptances_lapse() {
    let mut lab = many();
    let (low, high) = low_and_high(&lab);
    for at in [low, high] {
        break_channel(&mut lab, at);
        let (old, _) = told(&lab, at);
        let resume = Resume { epoch: 4, ..lab.resume_of(at) };
        lab.message(at, FriendMessage::Resume(resume));
        let (new, _) = told(&lab, at);
        assert_eq!((old.body.epoch, new.body.epoch), (1, 5));
        assert!(lab.puppets[at].verify_terms(&new));
        // What it proposes does not count.
        let far = terms_of(&lab, at, 9, 1, false);
        say(&mut lab, at, &far, Vec::new());
        assert_eq!(told(&lab, at).0, new);
        lab.connect(at);
        assert_eq!(told(&lab, at).0, new, "a lower epoch changes nothing");
        accept(&mut lab, at, &old);
        assert_eq!(lab.friend(at).channel.epoch, 0);
        accept(&mut lab, at, &new);
        assert_eq!(lab.friend(at).channel.epoch, 5);
    }
}

#[test]
fn only_a_signed_acceptance_of_the_terms_begins_an_epoch() {
    let mut lab = Lab::new(1);
    break_channel(&mut lab, 0);
    let (terms, _) = told(&lab, 0);
    let right = lab.puppets[0].acceptance(&terms);
    let stranger = Identity::random(&mut SeededRng::new(1));
    for wrong in [
        AcceptReset { reset_token: hash(b"x"), ..right },
        AcceptReset::sign(hash(b"x"), &lab.puppets[0].identity.clone()),
        AcceptReset::sign(right.reset_token, &stranger),
        AcceptReset { signature: terms.signature, ..right },
    ] {
        lab.message(0, FriendMessage::AcceptReset(wrong));
        assert!(lab.inconsistent(0).is_some(), "{wrong:?}");
    }
    lab.message(0, FriendMessage::AcceptReset(right));
    assert_eq!(lab.inconsistent(0), None);
    // Repeated, as after a lost session, it does nothing more.
    let before = rows(lab.funder.state());
    lab.message(0, FriendMessage::AcceptReset(right));
    assert_eq!(rows(lab.funder.state()), before);
}

#[test]
fn a_new_epoch_begins_with_the_agreed_balances_and_nothing_else() {
    for crash in [false, true] {
        let mut lab = Lab::new(2);
        lab.activate(0, &"other".parse().unwrap(), 0);
        lab.balance_by_payment(0, 100);
        passing(&mut lab, 0, 1);
        break_channel(&mut lab, 0);
        let (terms, _) = told(&lab, 0);
        lab.puppets[0].raw.clear();
        accept(&mut lab, 0, &terms);
        if crash {
            lab.restart();
            lab.puppets[0].raw.clear();
            lab.open_session(0);
            lab.connect(1);
        }
        let rows = [(credit(), -200), ("other".parse().unwrap(), 0)];
        lab.puppets[0].begin_epoch(1, &rows);
        let resume = lab.resume_of(0);
        assert_eq!(last_resume(&lab, 0), resume, "the genesis by the text");
        let channel = &lab.friend(0).channel;
        assert_eq!((channel.epoch, channel.counter, channel.highest_epoch), (1, 0, 1));
        let kept = channel.reset.clone().unwrap();
        assert_eq!((kept.proposer, &kept.terms), (Side::Local, &terms));
        let numbers = *lab.friend(0).lines[&credit()].credit.as_ref().unwrap().numbers();
        assert_eq!((numbers.balance.get(), lab.frozen(0)), (200, (0, 0)));
        assert_eq!((numbers.max_debt.local.0, numbers.max_debt.remote.0), (0, 0));
        assert!(!numbers.requests_open.local && !numbers.requests_open.remote);
        // The books say by how much the terms are off what was there before.
        let booked = lab.books.entries.last().unwrap();
        assert_eq!(booked.event, HistoryEvent::Adjusted(Adjustment::Reset));
        assert_eq!((booked.delta.get(), booked.balance.get()), (100, 200));

        // Now both are there: the node declares what is wanted and its relays, and all works.
        lab.message(0, FriendMessage::Resume(resume));
        lab.fetch_token(0);
        assert_eq!(lab.puppets[0].relays, Some(Vec::new()));
        for currency in [credit(), "other".parse().unwrap()] {
            let line = lab.puppets[0].credit(&currency).clone();
            assert_eq!((line.max_debt[0], line.open[1]), (support::lab::LIMIT, true));
            lab.declare(0, &currency, 0, support::lab::LIMIT, true);
        }
        lab.got(1);
        passing(&mut lab, 1, 0);
        passing(&mut lab, 0, 1);
        assert_eq!(lab.inconsistent(0), None);
    }
}

#[test]
fn a_person_accepts_exactly_what_was_shown() {
    let mut lab = many();
    let (low, at) = low_and_high(&lab);
    let ask = |lab: &mut Lab, at, reset_token| {
        let friend = friend_name(at);
        let request = ConfigRequest::ResetFriend { friend, reset_token };
        match lab.ask(Command::Config(request)) {
            Ok(reply) => assert_eq!(reply, AppReply::Done),
            Err(error) => return Err((error.code, error.message.to_string())),
        }
        Ok(())
    };
    let refused = |result: Result<(), (ErrorCode, String)>, says: &str| {
        let (code, message) = result.unwrap_err();
        assert_eq!(code, ErrorCode::Refused);
        assert!(message.contains(says), "{message}");
    };
    refused(ask(&mut lab, low, hash(b"x")), "is consistent");
    break_channel(&mut lab, at);
    refused(ask(&mut lab, at, hash(b"x")), "has not told its terms yet");
    let first = terms_of(&lab, at, 1, 5, false);
    say(&mut lab, at, &first, Vec::new());
    let shown = inconsistent_report(&mut lab, at).remote.unwrap().reset_token;
    let second = terms_of(&lab, at, 1, 6, false);
    say(&mut lab, at, &second, Vec::new());
    refused(ask(&mut lab, at, shown), "new terms meanwhile");
    assert_eq!(acceptances(&lab, at), []);
    let shown = inconsistent_report(&mut lab, at).remote.unwrap().reset_token;
    ask(&mut lab, at, shown).unwrap();
    ask(&mut lab, at, shown).unwrap();
    let [acceptance] = acceptances(&lab, at)[..] else { panic!() };
    assert_eq!(acceptance.reset_token, lab.puppets[at].token_of(&second, true));
    assert!(lab.puppets[at].verify_acceptance(&acceptance));
    assert!(inconsistent_report(&mut lab, at).accepted);
    assert_eq!(lab.friend(at).channel.epoch, 0, "the friend installs first");
}

#[test]
fn an_acceptance_waits_for_the_friend_to_begin() {
    type Shown = fn(&Lab, usize) -> FriendMessage;
    /// What the friend does next, and what becomes of the acceptance.
    #[derive(Debug, PartialEq)]
    enum Becomes {
        Stands,
        Dropped,
        Begun,
    }
    let cases: [(Shown, Becomes); 7] = [
        (|lab, at| FriendMessage::Resume(lab.resume_of(at)), Becomes::Stands),
        (
            |lab, at| {
                let genesis = lab.puppets[at].genesis(2, &[(credit(), -30)]);
                FriendMessage::Resume(Resume {
                    epoch: 2,
                    counter: 0,
                    token_id: genesis,
                    wants_token: false,
                })
            },
            Becomes::Begun,
        ),
        (
            |_, _| {
                FriendMessage::Resume(Resume {
                    epoch: 2,
                    counter: 3,
                    token_id: hash(b"later"),
                    wants_token: false,
                })
            },
            Becomes::Begun,
        ),
        (
            |_, _| {
                FriendMessage::Resume(Resume {
                    epoch: 2,
                    counter: 0,
                    token_id: hash(b"another genesis"),
                    wants_token: false,
                })
            },
            Becomes::Dropped,
        ),
        (
            |lab, at| FriendMessage::Resume(Resume { epoch: 3, ..lab.resume_of(at) }),
            Becomes::Dropped,
        ),
        (
            |lab, at| {
                let terms = terms_of(lab, at, 2, -31, false);
                FriendMessage::Inconsistency(Box::new(Inconsistency {
                    terms,
                    collected: Vec::new(),
                }))
            },
            Becomes::Dropped,
        ),
        (
            |lab, at| {
                let terms = terms_of(lab, at, 2, -30, true);
                FriendMessage::Inconsistency(Box::new(Inconsistency {
                    terms,
                    collected: Vec::new(),
                }))
            },
            Becomes::Stands,
        ),
    ];
    for (number, (next, expected)) in cases.into_iter().enumerate() {
        for restart in [false, true] {
            let mut lab = many();
            let (_, at) = low_and_high(&lab);
            break_channel(&mut lab, at);
            let resume = Resume { epoch: 1, ..lab.resume_of(at) };
            lab.message(at, FriendMessage::Resume(resume));
            let terms = terms_of(&lab, at, 2, -30, true);
            say(&mut lab, at, &terms, Vec::new());
            reset_friend(&mut lab, at);
            if restart {
                lab.restart();
                lab.puppets[at].raw.clear();
                lab.open_session(at);
                assert_eq!(acceptances(&lab, at).len(), 1, "told in every session");
            }
            let message = next(&lab, at);
            if matches!(&message, FriendMessage::Resume(resume) if resume.epoch == 2) {
                lab.puppets[at].begin_epoch(2, &[(credit(), -30)]);
            }
            lab.message(at, message);
            let channel = &lab.friend(at).channel;
            let became = match &channel.inconsistent {
                None => Becomes::Begun,
                Some(row) if row.accepted.is_some() => Becomes::Stands,
                Some(_) => Becomes::Dropped,
            };
            assert_eq!(became, expected, "case {number}");
            if became == Becomes::Begun {
                assert_eq!((channel.epoch, lab.balance(at)), (2, 30));
                assert_eq!(last_resume(&lab, at).epoch, 2, "the friend is told");
            }
        }
    }
}

#[test]
fn of_two_acceptances_the_lower_keys_counts() {
    let mut lab = many();
    let (low, high) = low_and_high(&lab);
    for at in [low, high] {
        break_channel(&mut lab, at);
        let theirs = terms_of(&lab, at, 1, -30, true);
        say(&mut lab, at, &theirs, Vec::new());
        reset_friend(&mut lab, at);
        let (ours, _) = told(&lab, at);
        accept(&mut lab, at, &ours);
        if at == low {
            // The friend's counts: our terms.
            assert_eq!((lab.friend(at).channel.epoch, lab.balance(at)), (1, 0));
        } else {
            assert!(lab.inconsistent(at).is_some());
            begin(&mut lab, at, 1, -30);
            assert_eq!((lab.friend(at).channel.epoch, lab.balance(at)), (1, 30));
        }
    }
}

#[test]
fn equal_terms_with_nothing_pending_need_no_person() {
    let mut lab = many();
    let (low, high) = low_and_high(&lab);
    // The friend has the higher key: we accept.
    break_channel(&mut lab, high);
    for (balance, pending) in [(1, false), (0, true)] {
        let terms = terms_of(&lab, high, 1, balance, pending);
        say(&mut lab, high, &terms, Vec::new());
        assert_eq!(acceptances(&lab, high), []);
    }
    let terms = terms_of(&lab, high, 1, 0, false);
    say(&mut lab, high, &terms, Vec::new());
    assert_eq!(acceptances(&lab, high).len(), 1);
    begin(&mut lab, high, 1, 0);
    assert_eq!(lab.friend(high).channel.epoch, 1);
    // A currency that is not named stands at 0.
    break_channel(&mut lab, high);
    let terms = lab.puppets[high].terms(2, &[], false);
    say(&mut lab, high, &terms, Vec::new());
    assert_eq!(acceptances(&lab, high).len(), 1);
    lab.puppets[high].begin_epoch(2, &[]);
    let resume = lab.resume_of(high);
    lab.message(high, FriendMessage::Resume(resume));
    // Currencies that we do not have, which would fill our books again and again, need a person.
    break_channel(&mut lab, high);
    let entries = lab.books.entries.len();
    let many: Vec<_> = (0..64).map(|n| (format!("c{n}").parse().unwrap(), 0)).collect();
    let terms = lab.puppets[high].terms(3, &many, false);
    say(&mut lab, high, &terms, Vec::new());
    assert_eq!(acceptances(&lab, high), []);
    assert_eq!(lab.books.entries.len(), entries);
    reset_friend(&mut lab, high);
    assert_eq!(acceptances(&lab, high).len(), 1, "by the owner's word");

    break_channel(&mut lab, low);
    let terms = terms_of(&lab, low, 1, 0, false);
    say(&mut lab, low, &terms, Vec::new());
    assert_eq!(acceptances(&lab, low), [], "the friend accepts");
    let (ours, _) = told(&lab, low);
    accept(&mut lab, low, &ours);
    assert_eq!(lab.friend(low).channel.epoch, 1);
}

#[test]
fn equal_terms_with_something_pending_here_need_a_person() {
    let mut lab = many();
    let (low, high) = low_and_high(&lab);
    passing(&mut lab, low, high);
    break_channel(&mut lab, high);
    let terms = terms_of(&lab, high, 1, 0, false);
    say(&mut lab, high, &terms, Vec::new());
    assert_eq!(acceptances(&lab, high), []);
}

#[test]
fn what_was_forwarded_ends_only_with_the_epoch() {
    let mut lab = Lab::new(3);
    let (request, _, _) = passing(&mut lab, 0, 1);
    // Another waits for the token of puppet 1 and was never in one.
    lab.fetch_token(1);
    lab.puppets[1].silent = true;
    let seller = lab.puppets[1].key();
    let (unsent, _) = lab.request(&[seller]);
    lab.send(2, &[FriendOp::Request(unsent.clone())]);
    let mut token = lab.puppets[1].compose(&[], &[]);
    token.signature = Signature::from_bytes([1; 64]);
    lab.deliver(1, token);
    let FriendOp::Cancel(cancelled) = lab.got_one(2) else { panic!() };
    assert_eq!(
        (cancelled.request_id, cancelled.reason),
        (unsent.request_id, CancelReason::Offline)
    );
    lab.pass(100_000);
    lab.restart();
    lab.connect(0);
    lab.connect(1);
    assert_eq!(lab.got(0), [], "only the end of the epoch ends it");
    let (terms, _) = told(&lab, 1);
    accept(&mut lab, 1, &terms);
    let FriendOp::Cancel(cancelled) = lab.got_one(0) else { panic!() };
    assert_eq!(cancelled.request_id, request.request_id);
    assert_eq!(lab.frozen(0), (0, 0));
}

#[test]
fn what_lost_its_incoming_side_is_released_and_shown_as_exposure() {
    for paid in [false, true] {
        let mut lab = Lab::new(2);
        let (_, forwarded, lock) = passing(&mut lab, 0, 1);
        break_channel(&mut lab, 0);
        let (terms, _) = told(&lab, 0);
        assert_eq!(balances(&terms), [("credit".to_owned(), 100)]);
        assert_eq!(exposure(&mut lab, 1), 0);
        accept(&mut lab, 0, &terms);
        assert_eq!(lab.got_one(1), support::lab::release(&forwarded));
        assert_eq!(exposure(&mut lab, 1), 100);
        lab.restart();
        assert_eq!(exposure(&mut lab, 1), 100);
        lab.connect(1);
        if paid {
            // Buyer and seller had shared the locks: the terms have paid us for it.
            let response = answer_of(&lab, 1, &forwarded);
            lab.send(1, &[FriendOp::Response(response)]);
            lab.send(1, &[support::lab::collect(&forwarded, lock, dest_lock())]);
            assert_eq!((lab.balance(0), lab.balance(1)), (100, -100));
        } else {
            lab.send(1, &[cancel(&forwarded, CancelReason::Released, None)]);
            assert_eq!((lab.balance(0), lab.balance(1)), (100, 0));
        }
        assert_eq!((exposure(&mut lab, 1), lab.frozen(1)), (0, (0, 0)));
        assert_eq!(lab.inconsistent(1), None);
    }
}

fn exposure(lab: &mut Lab, at: usize) -> u128 {
    let key = lab.puppets[at].key();
    let report = lab.funder_report();
    let friend = report.friends.iter().find(|friend| friend.public_key == key).unwrap();
    let CurrencyStatus::Active(line) = &friend.currencies[0].status else { panic!() };
    line.exposure.0
}

#[test]
fn a_committed_request_that_lost_its_incoming_side_is_not_released() {
    let mut lab = Lab::new(2);
    let (request, forwarded, lock) = passing(&mut lab, 0, 1);
    let response = answer_of(&lab, 1, &forwarded);
    lab.send(1, &[FriendOp::Response(response)]);
    lab.got(0);
    lab.send(0, &[commit(&request, lock)]);
    assert_eq!(lab.got_one(1), commit(&forwarded, lock));
    break_channel(&mut lab, 0);
    let (terms, _) = told(&lab, 0);
    accept(&mut lab, 0, &terms);
    assert_eq!(lab.got(1), []);
    lab.send(1, &[support::lab::collect(&forwarded, lock, dest_lock())]);
    assert_eq!((lab.balance(0), lab.balance(1)), (100, -100));
}

#[test]
fn what_the_friend_proves_is_collected_upstream_at_once() {
    for answered in [false, true] {
        let mut lab = Lab::new(2);
        let (request, forwarded, lock) = passing(&mut lab, 0, 1);
        let response = answer_of(&lab, 1, &forwarded);
        if answered {
            lab.send(1, &[FriendOp::Response(response.clone())]);
            assert!(matches!(lab.got_one(0), FriendOp::Response(_)));
        }
        break_channel(&mut lab, 1);
        let good = proof(&response, lock);
        let terms = terms_of(&lab, 1, 1, 100, true);
        for bad in [
            Collected { src_plain_lock: dest_lock(), ..good.clone() },
            Collected { dest_plain_lock: lock, ..good.clone() },
            Collected { is_complete: false, ..good.clone() },
            Collected { response_hash: hash(b"x"), ..good.clone() },
            Collected { request_id: request.request_id, ..good.clone() },
            Collected { currency: "other".parse().unwrap(), ..good.clone() },
        ] {
            say(&mut lab, 1, &terms, vec![bad.clone()]);
            assert_eq!(lab.got(0), [], "{bad:?}");
        }
        say(&mut lab, 1, &terms, vec![good.clone()]);
        let ops = lab.got(0);
        assert_eq!(ops.len(), if answered { 1 } else { 2 }, "{ops:?}");
        assert!(matches!(ops.last(), Some(FriendOp::Collect(_))));
        assert_eq!(lab.balance(0), 100, "the buyer's side has paid");
        let report = inconsistent_report(&mut lab, 1);
        assert_eq!(report.proven.len(), 1);
        assert_eq!((report.proven[0].remote, report.proven[0].local), (Credits(100), Credits(0)));
        // Again, as in the next session, or after a restart: it is collected once.
        lab.restart();
        lab.connect(0);
        lab.connect(1);
        say(&mut lab, 1, &terms, vec![good]);
        assert_eq!(lab.got(0), []);
        // Whichever terms are accepted, upstream has been collected.
        let (ours, _) = told(&lab, 1);
        accept(&mut lab, 1, &ours);
        assert_eq!(lab.got(0), []);
        assert_eq!((lab.balance(0), lab.balance(1), lab.frozen(1)), (100, 0, (0, 0)));
    }
}

#[test]
fn our_payment_that_the_friend_proves_has_its_receipt() {
    let mut lab = Lab::new(1);
    let seller = lab.puppets[0].key();
    let (id, _) = lab.pay(seller, 100);
    let FriendOp::Request(sent) = lab.got_one(0) else { panic!() };
    let response = answer_of(&lab, 0, &sent);
    lab.send(0, &[FriendOp::Response(response.clone())]);
    let FriendOp::Commit(commit) = lab.got_one(0) else { panic!() };
    break_channel(&mut lab, 0);
    let terms = terms_of(&lab, 0, 1, 100, true);
    say(&mut lab, 0, &terms, vec![proof(&response, commit.src_plain_lock)]);
    assert!(matches!(lab.archive[&id].phase, Phase::Succeeded { .. }));
    reset_friend(&mut lab, 0);
    begin(&mut lab, 0, 1, 100);
    assert_eq!(lab.balance(0), -100);
    assert!(matches!(lab.archive[&id].phase, Phase::Succeeded { .. }));
}

#[test]
fn our_payment_that_ends_with_the_epoch_is_unknown() {
    for committed in [false, true] {
        let mut lab = Lab::new(1);
        let seller = lab.puppets[0].key();
        let (id, order) = lab.pay(seller, 100);
        let FriendOp::Request(sent) = lab.got_one(0) else { panic!() };
        if committed {
            let response = answer_of(&lab, 0, &sent);
            lab.send(0, &[FriendOp::Response(response)]);
        }
        break_channel(&mut lab, 0);
        assert!(lab.archive.is_empty() || !committed);
        let (terms, _) = told(&lab, 0);
        accept(&mut lab, 0, &terms);
        assert_eq!(lab.archive[&id].phase, Phase::Unknown);
        assert!(lab.replies.contains_key(&order), "whoever waits hears of it");
        lab.pass(100_000);
        assert_eq!(lab.balance(0), 0);
    }
}

#[test]
fn what_we_collected_is_proven_as_it_grows() {
    let mut lab = Lab::new(3);
    // One passes on and is collected downstream later; one that we collect is in the queue.
    let (passed, forwarded, lock) = passing(&mut lab, 0, 1);
    let (own, own_lock) = lab.request(&[]);
    lab.send(0, &[FriendOp::Request(own.clone())]);
    lab.got(0);
    // The puppet keeps the token, so that our collect cannot leave.
    lab.fetch_token(0);
    lab.puppets[0].silent = true;
    let mut token = lab.puppets[0].compose(&[], &[(credit(), commit(&own, own_lock))]);
    let message = FriendMessage::MoveToken(Box::new(token.clone()));
    let (key, session) = (lab.puppets[0].key(), lab.puppets[0].session);
    lab.hear(key, session, message);
    lab.puppets[0].sent(&token);
    token = lab.puppets[0].compose(&[], &[]);
    token.signature = Signature::from_bytes([1; 64]);
    lab.puppets[0].raw.clear();
    let message = FriendMessage::MoveToken(Box::new(token));
    lab.hear(key, session, message);
    lab.pump();
    assert!(lab.inconsistent(0).is_some());
    let ids = |proofs: &[Collected]| proofs.iter().map(|p| p.request_id).collect::<Vec<_>>();
    assert_eq!(ids(&told(&lab, 0).1), [own.request_id]);
    let response = answer_of(&lab, 1, &forwarded);
    lab.send(1, &[FriendOp::Response(response)]);
    lab.send(1, &[support::lab::collect(&forwarded, lock, dest_lock())]);
    let (terms, proofs) = told(&lab, 0);
    assert_eq!(ids(&proofs), [own.request_id, passed.request_id], "each once a session");
    assert_eq!(balances(&terms), [("credit".to_owned(), 200)], "the terms stay");
    for proof in &proofs {
        let request = if proof.request_id == own.request_id { &own } else { &passed };
        assert!(proof.src_plain_lock.opens(&request.src_hashed_lock));
        assert!(proof.dest_plain_lock.opens(&proof.dest_hashed_lock));
    }
    let report = inconsistent_report(&mut lab, 0);
    assert_eq!((report.proven[0].local, report.proven[0].remote), (Credits(200), Credits(0)));
    lab.restart();
    lab.puppets[0].raw.clear();
    lab.connect(0);
    assert_eq!(ids(&told(&lab, 0).1).len(), 2, "and again in the next");
}

#[test]
fn what_our_last_token_collected_is_proven_though_its_response_left_before() {
    let mut lab = Lab::new(1);
    let (own, lock) = lab.request(&[]);
    lab.send(0, &[FriendOp::Request(own.clone())]);
    assert!(matches!(lab.got_one(0), FriendOp::Response(_)));
    lab.send(0, &[commit(&own, lock)]);
    assert!(matches!(lab.got_one(0), FriendOp::Collect(_)));
    break_channel(&mut lab, 0);
    lab.restart();
    lab.puppets[0].raw.clear();
    lab.connect(0);
    let (_, proofs) = told(&lab, 0);
    assert_eq!(proofs.len(), 1);
    assert_eq!(proofs[0].request_id, own.request_id);
    assert!(proofs[0].dest_plain_lock.opens(&proofs[0].dest_hashed_lock));
    let (response, currency) = (proofs[0].response(), credit());
    let terms = ResponseTerms::of(&own, &response, &currency);
    assert!(terms.verify(&lab.key(), &proofs[0].signature));
}

fn invoice(lab: &mut Lab, amount: u128, hold: Hold) -> Invoice {
    let create = CreateInvoice {
        nonce: Nonce::random(&mut lab.rng),
        currency: None,
        amount: Credits(amount),
        description: "".parse().unwrap(),
        expires_in_ms: None,
        hold,
    };
    match lab.ask(Command::CreateInvoice { create: Box::new(create), ended: None }) {
        Ok(AppReply::Invoice(report)) => report.invoice,
        other => panic!("{other:?}"),
    }
}

fn part(lab: &mut Lab, at: usize, invoice: &Invoice, lock: PlainLock, amount: u128) -> Request {
    let request = Request {
        src_hashed_lock: lock.hashed(),
        invoice_id: invoice.id(),
        dest_payment: Credits(amount),
        total_dest_payment: invoice.dest_payment,
        spontaneous: false,
        ..lab.request(&[]).0
    };
    lab.send(at, &[FriendOp::Request(request.clone())]);
    assert!(matches!(lab.got_one(at), FriendOp::Response(_)));
    request
}

#[test]
fn a_set_that_loses_a_part_falls_until_its_commit_is_accepted() {
    let lock = PlainLock::from_bytes([3; 32]);
    let mut lab = Lab::new(2);
    let bill = invoice(&mut lab, 100, Hold::None);
    part(&mut lab, 0, &bill, lock, 60);
    let other = part(&mut lab, 1, &bill, lock, 40);
    break_channel(&mut lab, 0);
    assert_eq!(lab.got(1), []);
    let (terms, _) = told(&lab, 0);
    accept(&mut lab, 0, &terms);
    let FriendOp::Cancel(cancelled) = lab.got_one(1) else { panic!() };
    assert_eq!(cancelled.request_id, other.request_id);
    assert!(lab.funder.state().sets.is_empty());
    assert_eq!(lab.funder.state().invoices[&bill.id()].phase, InvoicePhase::Open);

    let mut lab = Lab::new(2);
    let bill = invoice(&mut lab, 100, Hold::None);
    let lost = part(&mut lab, 0, &bill, lock, 60);
    part(&mut lab, 1, &bill, lock, 40);
    // Neither collect can leave.
    lab.fetch_token(1);
    lab.puppets[1].silent = true;
    lab.send(0, &[commit(&lost, lock)]);
    lab.got(0);
    break_channel(&mut lab, 0);
    let (terms, _) = told(&lab, 0);
    accept(&mut lab, 0, &terms);
    assert_eq!(lab.funder.state().invoices[&bill.id()].phase, InvoicePhase::Committed);
    let token = lab.puppets[1].compose(&[], &[]);
    lab.deliver(1, token);
    assert!(matches!(lab.got_one(1), FriendOp::Collect(_)));
    assert_eq!((lab.balance(0), lab.balance(1)), (60, 40));
    assert_eq!(lab.ended_invoices[&bill.id()], InvoiceStatus::Collected);
}

#[test]
fn a_hold_whose_parts_are_all_lost_was_not_collected() {
    let lock = PlainLock::from_bytes([3; 32]);
    let mut lab = Lab::new(2);
    let bill = invoice(&mut lab, 100, Hold::Standard);
    let first = part(&mut lab, 0, &bill, lock, 60);
    part(&mut lab, 1, &bill, lock, 40);
    lab.send(0, &[commit(&first, lock)]);
    for at in [0, 1] {
        assert_eq!(lab.got(at), [], "it is held");
        assert_eq!(lab.funder.state().invoices[&bill.id()].phase, InvoicePhase::Committed);
        break_channel(&mut lab, at);
        // The friend's terms count nothing of what it had under way.
        let terms = lab.puppets[at].terms(1, &[(credit(), 0)], false);
        say(&mut lab, at, &terms, Vec::new());
        reset_friend(&mut lab, at);
        lab.puppets[at].begin_epoch(1, &[(credit(), 0)]);
        let resume = lab.resume_of(at);
        lab.message(at, FriendMessage::Resume(resume));
    }
    assert!(lab.funder.state().sets.is_empty());
    assert_eq!((lab.balance(0), lab.balance(1)), (0, 0));
    assert_eq!(lab.ended_invoices[&bill.id()], InvoiceStatus::Cancelled);
}

/// How a part ends that is to be collected and whose collect could not leave.
#[derive(Debug, Clone, Copy)]
enum PartEnd {
    Collected,
    ResetByOurTerms,
    ResetByTheirTerms,
    Forfeited,
}

impl PartEnd {
    fn comes(self, lab: &mut Lab, at: usize) {
        match self {
            Self::Collected => {
                let token = lab.puppets[at].compose(&[], &[]);
                lab.deliver(at, token);
                assert!(matches!(lab.got_one(at), FriendOp::Collect(_)));
            }
            Self::ResetByOurTerms => {
                break_channel(lab, at);
                let (terms, _) = told(lab, at);
                accept(lab, at, &terms);
            }
            Self::ResetByTheirTerms => {
                break_channel(lab, at);
                let terms = lab.puppets[at].terms(1, &[(credit(), 0)], false);
                say(lab, at, &terms, Vec::new());
                reset_friend(lab, at);
                begin(lab, at, 1, 0);
            }
            Self::Forfeited => {
                let friend = friend_name(at);
                lab.set(ConfigRequest::RemoveFriend { friend, forfeit: true });
            }
        }
    }
}

/// An invoice is collected when something of it arrived; what is lost with its channels is not.
#[test]
fn what_was_to_be_collected_and_is_lost_was_not_collected() {
    use InvoiceStatus::{Cancelled, Collected};
    use PartEnd::{
        Collected as Goes, Forfeited, ResetByOurTerms as Ours, ResetByTheirTerms as Lost,
    };
    let lock = PlainLock::from_bytes([3; 32]);
    for (ends, status) in [
        ([Goes, Goes], Collected),
        ([Goes, Forfeited], Collected),
        ([Forfeited, Goes], Collected),
        ([Lost, Goes], Collected),
        ([Goes, Lost], Collected),
        ([Ours, Forfeited], Collected),
        ([Forfeited, Ours], Collected),
        ([Forfeited, Forfeited], Cancelled),
        ([Lost, Forfeited], Cancelled),
        ([Forfeited, Lost], Cancelled),
        ([Lost, Lost], Cancelled),
    ] {
        let mut lab = Lab::new(2);
        let bill = invoice(&mut lab, 100, Hold::Standard);
        let first = part(&mut lab, 0, &bill, lock, 60);
        part(&mut lab, 1, &bill, lock, 40);
        // No collect can leave.
        lab.fetch_token(1);
        lab.puppets[1].silent = true;
        lab.send(0, &[commit(&first, lock)]);
        lab.fetch_token(0);
        lab.puppets[0].silent = true;
        let collect = Command::CollectInvoice { invoice_id: bill.id(), ended: None };
        lab.ask(collect).unwrap();
        for (at, end) in ends.into_iter().enumerate() {
            assert_eq!(lab.funder.state().invoices[&bill.id()].phase, InvoicePhase::Committed);
            end.comes(&mut lab, at);
        }
        assert!(lab.funder.state().sets.is_empty());
        assert_eq!(lab.ended_invoices[&bill.id()], status, "{ends:?}");
    }
}

#[test]
fn opening_balances_do_not_come_back() {
    // The currency began with 50 and is not among the agreed terms: it is proposed at 0.
    let mut lab = Lab::alone();
    let at = lab.add_puppet();
    lab.activate(at, &credit(), 50);
    assert_eq!(lab.balance(at), -50);
    break_channel(&mut lab, at);
    let terms = lab.puppets[at].terms(1, &[], false);
    say(&mut lab, at, &terms, Vec::new());
    reset_friend(&mut lab, at);
    lab.puppets[at].begin_epoch(1, &[]);
    let resume = lab.resume_of(at);
    lab.message(at, FriendMessage::Resume(resume));
    let line = &lab.friend(at).lines[&credit()];
    assert!(line.credit.is_none());
    assert_eq!(line.wanted.unwrap().opening_balance.get(), 0);
}

#[test]
fn a_currency_that_only_the_friend_had_can_be_used_or_ended() {
    let mut lab = Lab::new(1);
    break_channel(&mut lab, 0);
    let extra: offset_proto::Currency = "extra".parse().unwrap();
    let rows = [(credit(), 0), (extra.clone(), 25)];
    let terms = lab.puppets[0].terms(1, &rows, false);
    say(&mut lab, 0, &terms, Vec::new());
    reset_friend(&mut lab, 0);
    lab.puppets[0].begin_epoch(1, &rows);
    let resume = lab.resume_of(0);
    lab.message(0, FriendMessage::Resume(resume));
    let numbers = *lab.friend(0).lines[&extra].credit.as_ref().unwrap().numbers();
    assert_eq!(numbers.balance.get(), -25);
    lab.set(ConfigRequest::AddCurrency {
        friend: friend_name(0),
        currency: extra.clone(),
        opening_balance: offset_proto::Balance::ZERO,
    });
    let (friend, max_debt) = (friend_name(0), Credits(7));
    lab.set(ConfigRequest::SetMaxDebt { friend, currency: Some(extra.clone()), max_debt });
    lab.fetch_token(0);
    assert_eq!(lab.puppets[0].credit(&extra).max_debt[0], 7);
}

#[test]
fn epochs_follow_each_other_and_old_messages_mean_nothing() {
    let mut lab = Lab::new(2);
    let mut old = Vec::new();
    for epoch in 1..4 {
        break_channel(&mut lab, 0);
        let (terms, _) = told(&lab, 0);
        assert_eq!(terms.body.epoch, epoch);
        old.push(terms.clone());
        accept(&mut lab, 0, &terms);
        lab.puppets[0].begin_epoch(epoch, &[(credit(), 0)]);
        let resume = lab.resume_of(0);
        lab.message(0, FriendMessage::Resume(resume));
        lab.fetch_token(0);
        for terms in old.clone() {
            // A late acceptance, and the friend's own terms of an epoch that was.
            accept(&mut lab, 0, &terms);
            let theirs = terms_of(&lab, 0, terms.body.epoch, 77, false);
            say(&mut lab, 0, &theirs, Vec::new());
        }
        assert_eq!(lab.inconsistent(0), None);
        assert_eq!((lab.friend(0).channel.epoch, lab.balance(0)), (epoch, 0));
    }
}

#[test]
fn a_friend_that_claims_the_last_epoch_harms_only_itself() {
    let mut lab = Lab::new(1);
    break_channel(&mut lab, 0);
    let resume = Resume { epoch: MAX_EPOCH, ..lab.resume_of(0) };
    lab.message(0, FriendMessage::Resume(resume));
    let (terms, _) = told(&lab, 0);
    assert_eq!(terms.body.epoch, MAX_EPOCH, "what it is told it can read");
    accept(&mut lab, 0, &terms);
    assert_eq!(lab.friend(0).channel.epoch, MAX_EPOCH);
}
