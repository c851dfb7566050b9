//! Token channels and sessions (protocol, sections 4 and 5), with friends made by hand.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, and picks out what it looks at"
)]

mod support;

use offset_crypto::hash;
use offset_funder::{
    InvalidTerms, Side,
    api::{Effect, SessionId},
};
use offset_proto::{
    Balance, Credits, Currency, ServerAddress,
    app::{ConfigRequest, ErrorCode},
    friend::{
        CancelReason, CurrencyOps, CurrencyTerms, FriendMessage, FriendOp, MoveTokenBody, Resume,
    },
};
use support::{
    credit,
    lab::{Lab, disable, friend_name, terms},
    name, rows,
};

fn other() -> Currency {
    "other".parse().unwrap()
}

fn add_currency(lab: &mut Lab, at: usize, currency: &Currency, opening: i128) {
    lab.set(ConfigRequest::AddCurrency {
        friend: friend_name(at),
        currency: currency.clone(),
        opening_balance: Balance::new(opening).unwrap(),
    });
}

fn remove_currency(lab: &mut Lab, at: usize, currency: &Currency) -> Result<(), ErrorCode> {
    let (friend, currency) = (friend_name(at), currency.clone());
    let request = ConfigRequest::RemoveCurrency { friend, currency };
    let result = lab.ask(offset_funder::api::Command::Config(request));
    result.map(drop).map_err(|error| error.code)
}

fn is_active(lab: &Lab, at: usize, currency: &Currency) -> bool {
    let active = lab.friend(at).lines.get(currency).is_some_and(|line| line.credit.is_some());
    let theirs = lab.puppets[at].lines.get(currency);
    assert_eq!(active, theirs.is_some_and(|line| line.active.is_some()));
    active
}

#[test]
fn a_currency_becomes_active_with_opposite_openings() {
    let mut lab = Lab::new(1);
    add_currency(&mut lab, 0, &other(), 30);
    assert!(!is_active(&lab, 0, &other()), "proposed by the node only");
    lab.declare(0, &other(), 30, 5, true);
    assert!(!is_active(&lab, 0, &other()), "both say that the other owes");
    lab.declare(0, &other(), -29, 5, true);
    assert!(!is_active(&lab, 0, &other()), "the openings differ");
    lab.send_all(0, &[disable(&other())], &[]);
    assert!(lab.friend(0).lines[&other()].remote_proposal.is_none(), "withdrawn");
    lab.declare(0, &other(), -30, 5, true);
    assert!(is_active(&lab, 0, &other()));
    let line = &lab.friend(0).lines[&other()];
    assert_eq!((line.local_proposal, line.remote_proposal), (None, None), "used up");
    let numbers = line.credit.as_ref().unwrap().numbers();
    assert_eq!(numbers.balance.get(), 30);
    assert_eq!(numbers.max_debt[Side::Local], Credits(5));
    assert!(numbers.requests_open[Side::Remote] && !numbers.requests_open[Side::Local]);
}

#[test]
fn a_proposal_can_be_changed_and_withdrawn() {
    let mut lab = Lab::new(1);
    add_currency(&mut lab, 0, &other(), 30);
    add_currency(&mut lab, 0, &other(), 10);
    let proposals = |lab: &Lab| lab.puppets[0].lines.get(&other()).map(|line| line.proposals[1]);
    assert_eq!(proposals(&lab).unwrap().unwrap().opening_balance.get(), 10);
    assert_eq!(remove_currency(&mut lab, 0, &other()), Ok(()));
    assert_eq!(proposals(&lab), Some(None));
    assert!(!lab.friend(0).lines.contains_key(&other()), "forgotten");
    assert_eq!(remove_currency(&mut lab, 0, &other()), Err(ErrorCode::NotFound));
    add_currency(&mut lab, 0, &other(), 1);
    lab.declare(0, &other(), -1, 0, false);
    assert!(is_active(&lab, 0, &other()));
    assert_eq!(remove_currency(&mut lab, 0, &other()), Err(ErrorCode::Refused), "balance 1");
}

#[test]
fn the_node_disables_at_zero_and_waits_until_then() {
    let mut lab = Lab::new(2);
    assert_eq!(remove_currency(&mut lab, 0, &credit()), Ok(()));
    assert!(!lab.friend(0).lines.contains_key(&credit()));
    assert!(lab.puppets[0].lines[&credit()].active.is_none());
    // A request becomes pending before the disabling could be sent.
    let mut lab = Lab::new(2);
    lab.fetch_token(0);
    lab.puppets[0].silent = true;
    assert_eq!(remove_currency(&mut lab, 0, &credit()), Ok(()));
    let seller = lab.puppets[1].key();
    let request = lab.request(&[seller]).0;
    lab.puppets[0].silent = false;
    lab.send(0, &[FriendOp::Request(request)]);
    assert!(is_active(&lab, 0, &credit()), "pending");
    let FriendOp::Request(forwarded) = lab.got_one(1) else { panic!() };
    lab.send(1, &[support::lab::cancel(&forwarded, CancelReason::Busy, None)]);
    assert!(matches!(lab.got_one(0), FriendOp::Cancel(_)));
    assert!(!is_active(&lab, 0, &credit()), "disabled as soon as nothing was pending");
}

#[test]
fn a_friend_that_disables_uses_up_what_both_wanted() {
    let mut lab = Lab::alone();
    let at = lab.add_puppet();
    lab.activate(at, &credit(), 0);
    lab.got(0);
    lab.puppets[0].got_terms.clear();
    lab.send_all(0, &[disable(&credit())], &[]);
    assert!(!lab.friend(0).lines.contains_key(&credit()));
    assert_eq!(lab.puppets[0].got_terms, [], "not proposed again by itself");
    lab.pass(60_000);
    assert!(lab.puppets[0].lines[&credit()].proposals[1].is_none());
    // A request that waits for the line comes back at once.
    let mut lab = Lab::new(2);
    lab.fetch_token(1);
    lab.puppets[1].silent = true;
    let seller = lab.puppets[1].key();
    let request = lab.request(&[seller]).0;
    lab.send(0, &[FriendOp::Request(request)]);
    lab.send_all(1, &[disable(&credit())], &[]);
    let FriendOp::Cancel(cancel) = lab.got_one(0) else { panic!() };
    assert_eq!(cancel.reason, CancelReason::NoRoute);
    assert_eq!(lab.frozen(0), (0, 0));
}

#[test]
fn invalid_terms_make_the_token_invalid() {
    let many = || (0..64).map(|n| terms(&format!("c{n:02}").parse().unwrap(), 0, 0, false));
    let cases: [(InvalidTerms, Vec<CurrencyTerms>, i128); 5] = [
        (InvalidTerms::OpeningBalance, vec![terms(&credit(), 1, 0, true)], 0),
        (InvalidTerms::NotClear, vec![disable(&credit())], 3),
        (InvalidTerms::NotProposed, vec![disable(&other())], 0),
        (InvalidTerms::TooManyCurrencies, many().collect(), 0),
        // The first changes an active line, which is put back.
        (InvalidTerms::NotProposed, vec![terms(&credit(), 0, 7, false), disable(&other())], 0),
    ];
    for (invalid, terms, opening) in cases {
        let mut lab = Lab::alone();
        let at = lab.add_puppet();
        if opening != 0 {
            lab.puppets[0].lines.clear();
            lab = Lab::alone();
            let at = lab.add_puppet();
            lab.activate(at, &credit(), opening);
        } else {
            lab.activate(at, &credit(), 0);
        }
        lab.fetch_token(0);
        let before = rows(lab.funder.state());
        lab.send_all(0, &terms, &[]);
        assert_eq!(lab.inconsistent(0), Some(invalid.to_string()));
        assert_eq!(rows(lab.funder.state()).difference(&before).count(), 1, "only the channel");
    }
    // Exactly 64, and then the node's own 65th waits without asking for the token.
    let mut lab = Lab::new(1);
    let mut terms: Vec<_> = many().collect();
    terms.pop();
    lab.send_all(0, &terms, &[]);
    assert_eq!(lab.inconsistent(0), None);
    lab.fetch_token(0);
    let friend = friend_name(0);
    let request =
        ConfigRequest::AddCurrency { friend, currency: other(), opening_balance: Balance::ZERO };
    let error = lab.ask(offset_funder::api::Command::Config(request)).unwrap_err();
    assert_eq!(error.code, ErrorCode::Refused);
}

#[test]
fn every_field_of_a_token_is_proven() {
    type Case = (&'static str, fn(&mut MoveTokenBody));
    let cases: [Case; 6] = [
        ("a move token does not follow the last one", |body| body.epoch += 1),
        ("a move token does not follow the last one", |body| body.counter += 1),
        ("a move token does not follow the last one", |body| body.counter += 2),
        ("a move token does not follow the last one", |body| body.prev_token = hash(b"other")),
        ("the two sides do not reach the same state", |body| body.state_hash = hash(b"other")),
        ("operations in a currency that is not active", |body| {
            body.currency_ops[0].currency = other();
        }),
    ];
    for (why, change) in cases {
        let mut lab = Lab::new(1);
        lab.fetch_token(0);
        let good = lab.request(&[]).0;
        let token = lab.puppets[0].compose(&[], &[(credit(), FriendOp::Request(good))]);
        let mut body = token.body;
        change(&mut body);
        let before = rows(lab.funder.state());
        let token = body.sign(&lab.puppets[0].identity);
        lab.deliver(0, token);
        assert_eq!(lab.inconsistent(0).as_deref(), Some(why));
        assert_eq!(rows(lab.funder.state()).difference(&before).count(), 1);
    }
    // Changed after it was signed: every field, and the signature itself.
    type Tamper = fn(&mut offset_proto::friend::MoveToken);
    let tampers: [Tamper; 5] = [
        |token| token.body.state_hash = hash(b"other"),
        |token| token.body.relays = Some(Vec::new()),
        |token| token.body.currency_ops = Vec::<CurrencyOps>::new(),
        |token| token.body.currency_terms = vec![terms(&other(), 0, 0, false)],
        |token| token.signature = offset_crypto::Signature::from_bytes([1; 64]),
    ];
    for tamper in tampers {
        let mut lab = Lab::new(1);
        lab.fetch_token(0);
        let good = lab.request(&[]).0;
        let mut token = lab.puppets[0].compose(&[], &[(credit(), FriendOp::Request(good))]);
        tamper(&mut token);
        lab.deliver(0, token);
        let why = "a move token is not signed by the friend";
        assert_eq!(lab.inconsistent(0).as_deref(), Some(why));
    }
}

#[test]
fn tokens_of_old_counters_and_old_sessions_are_ignored() {
    let mut lab = Lab::new(1);
    lab.fetch_token(0);
    let old = lab.puppets[0].compose(&[], &[]);
    lab.deliver(0, old.clone());
    lab.fetch_token(0);
    let before = rows(lab.funder.state());
    lab.message(0, FriendMessage::MoveToken(Box::new(old)));
    assert_eq!(rows(lab.funder.state()), before);
    // A token that comes out of a session that is over, or before the resume of a new one.
    let token = lab.puppets[0].compose(&[], &[]);
    let session = lab.puppets[0].session;
    lab.open_session(0);
    let key = lab.puppets[0].key();
    for session in [session, lab.puppets[0].session] {
        let message = FriendMessage::MoveToken(Box::new(token.clone()));
        lab.hear(key, session, message);
    }
    lab.pump();
    assert_eq!(rows(lab.funder.state()), before);
    let resume = lab.resume_of(0);
    lab.message(0, FriendMessage::Resume(resume.clone()));
    lab.deliver(0, token);
    assert_eq!(lab.inconsistent(0), None);
    // A second resume in one session breaks a rule.
    lab.effects.clear();
    lab.message(0, FriendMessage::Resume(resume));
    let session = lab.puppets[0].session;
    assert!(lab.effects.contains(&Effect::Disconnect { friend: key, session }));
}

/// What became of a session after the two `resume`s.
#[derive(Debug, PartialEq, Eq)]
enum Stands {
    Agreed,
    /// The friend is asked to prove what we lost.
    Behind,
    /// The friend may ask us.
    Ahead,
    Inconsistent,
}

#[test]
fn resumes_are_compared_by_the_table() {
    use Stands::{Agreed, Ahead, Behind, Inconsistent};
    type Change = fn(&Lab, &mut Resume);
    // The node's last token is its own (the puppet holds the token), or the puppet's.
    let cases: [(bool, Change, Stands); 13] = [
        (true, |_, _| {}, Agreed),
        (false, |_, _| {}, Agreed),
        (true, |_, theirs| theirs.token_id = hash(b"x"), Inconsistent),
        (false, |_, theirs| theirs.token_id = hash(b"x"), Inconsistent),
        // The node's own last token did not arrive.
        (true, |lab, theirs| (theirs.counter, theirs.token_id) = before_last(lab), Agreed),
        (true, |_, theirs| theirs.counter -= 1, Inconsistent),
        // The friend forgot its own token: it waits for our request, and we do nothing.
        (false, |_, theirs| theirs.counter -= 1, Ahead),
        // The friend's token is under way to us.
        (
            true,
            |_, theirs| (theirs.counter, theirs.token_id) = (theirs.counter + 1, hash(b"x")),
            Agreed,
        ),
        // The friend remembers a token of ours that we do not.
        (false, |_, theirs| theirs.counter += 1, Behind),
        (true, |_, theirs| theirs.counter += 2, Behind),
        (true, |_, theirs| theirs.counter -= 2, Ahead),
        (true, |_, theirs| theirs.epoch += 1, Behind),
        (true, |_, theirs| theirs.counter = u64::MAX, Behind),
    ];
    for (number, (own_last, change, expected)) in cases.into_iter().enumerate() {
        let mut lab = Lab::new(1);
        lab.fetch_token(0);
        if !own_last {
            let token = lab.puppets[0].compose(&[], &[]);
            lab.deliver(0, token);
        }
        assert_eq!(lab.puppets[0].holds_token(), own_last);
        lab.open_session(0);
        let mut resume = lab.resume_of(0);
        change(&lab, &mut resume);
        let mut before = lab.funder.state().clone();
        // All that is remembered of a claim is the epoch, so that terms of a reset are above it.
        let channel = &mut before.friends.get_mut(&lab.puppets[0].key()).unwrap().channel;
        channel.highest_epoch = resume.epoch;
        lab.message(0, FriendMessage::Resume(resume));
        let report = lab.funder_report();
        let asked = FriendMessage::RequestStateProof { page: 0 };
        let stands = match (lab.inconsistent(0), report.friends[0].online) {
            (Some(_), _) => Inconsistent,
            (None, true) => Agreed,
            (None, false) if lab.puppets[0].raw.contains(&asked) => Behind,
            (None, false) => Ahead,
        };
        assert_eq!(stands, expected, "case {number}");
        if stands != Inconsistent {
            assert_eq!(rows(lab.funder.state()), rows(&before), "case {number}");
        }
    }
}

/// The counter and id of the token before the node's last.
fn before_last(lab: &Lab) -> (u64, offset_crypto::HashResult) {
    let last = lab.friend(0).channel.last_sent.clone().unwrap();
    (last.body.counter - 1, last.body.prev_token)
}

#[test]
fn a_token_is_sent_again_unchanged_after_a_restart() {
    let mut lab = Lab::new(1);
    lab.fetch_token(0);
    let sent = lab.friend(0).channel.last_sent.clone().unwrap();
    // The puppet lost the session before the token came.
    lab.restart();
    lab.open_session(0);
    let (counter, token_id) = (sent.body.counter - 1, sent.body.prev_token);
    let resume = Resume { epoch: 0, counter, token_id, wants_token: false };
    lab.puppets[0].raw.clear();
    lab.message(0, FriendMessage::Resume(resume));
    assert_eq!(lab.puppets[0].raw, [FriendMessage::MoveToken(Box::new((*sent).clone()))]);
}

#[test]
fn an_idle_channel_is_silent_and_wishes_are_bounded() {
    let mut lab = Lab::new(1);
    let tokens = lab.puppets[0].tokens;
    for _ in 0..10 {
        lab.pass(60_000);
    }
    assert_eq!(lab.puppets[0].tokens, tokens, "idle");
    // The same wish twice is answered once; a wish of an old counter not at all.
    if lab.puppets[0].holds_token() {
        let token = lab.puppets[0].compose(&[], &[]);
        lab.deliver(0, token);
    }
    let counter = lab.puppets[0].counter;
    lab.message(0, FriendMessage::TokenWanted { counter: counter - 1 });
    lab.message(0, FriendMessage::TokenWanted { counter: counter + 1 });
    assert_eq!(lab.puppets[0].counter, counter);
    lab.message(0, FriendMessage::TokenWanted { counter });
    assert_eq!(lab.puppets[0].counter, counter + 1);
    lab.message(0, FriendMessage::TokenWanted { counter });
    assert_eq!(lab.puppets[0].counter, counter + 1);
    // At most 20 empty tokens a second; the next comes when the second is over.
    lab.pass(5_000);
    let empties = lab.puppets[0].empty_tokens;
    for _ in 0..30 {
        if lab.puppets[0].holds_token() {
            let token = lab.puppets[0].compose(&[], &[]);
            lab.deliver(0, token);
        }
        let counter = lab.puppets[0].counter;
        lab.message(0, FriendMessage::TokenWanted { counter });
    }
    assert_eq!(lab.puppets[0].empty_tokens - empties, 20);
    lab.pass(1_000);
    assert_eq!(lab.puppets[0].empty_tokens - empties, 21);
}

#[test]
fn wants_token_is_remembered_until_the_channel_is_there() {
    let mut lab = Lab::new(1);
    if lab.puppets[0].holds_token() {
        let token = lab.puppets[0].compose(&[], &[]);
        lab.deliver(0, token);
    }
    // The node holds the token: a resume that wants it is answered with an empty one.
    lab.pass(5_000);
    lab.open_session(0);
    let resume = Resume { wants_token: true, ..lab.resume_of(0) };
    lab.message(0, FriendMessage::Resume(resume));
    assert!(lab.puppets[0].holds_token());
    // The puppet's own token is under way, and it wants the next one after it.
    lab.pass(5_000);
    let token = lab.puppets[0].compose(&[], &[]);
    lab.open_session(0);
    let (counter, token_id) = (token.body.counter, token.id());
    let resume = Resume { epoch: 0, counter, token_id, wants_token: true };
    lab.message(0, FriendMessage::Resume(resume));
    lab.deliver(0, token);
    assert_eq!(lab.puppets[0].counter, counter + 1, "answered when the channel was there");
    // The node says in its own resume that it has something to send.
    lab.puppets[0].silent = true;
    lab.disconnect(0);
    add_currency(&mut lab, 0, &other(), 0);
    lab.open_session(0);
    assert!(lab.puppets[0].wanted, "wantsToken");
    lab.puppets[0].silent = false;
    let resume = lab.resume_of(0);
    lab.message(0, FriendMessage::Resume(resume));
    assert!(lab.puppets[0].lines[&other()].proposals[1].is_some());
}

#[test]
fn relays_are_told_once_and_listened_at_until_confirmed() {
    let address = |n: u8| -> ServerAddress {
        let key = offset_crypto::Identity::from_seed(offset_crypto::Seed::from_bytes([n; 32]));
        let address = format!("relay{n}.example:1").parse().unwrap();
        ServerAddress { public_key: key.public_key(), address }
    };
    let mut lab = Lab::new(1);
    assert_eq!(lab.puppets[0].relays, Some(Vec::new()), "none, in the first token");
    let listening = |lab: &mut Lab| {
        let relays = lab.effects.drain(..).filter_map(|effect| match effect {
            Effect::Relays(relays) => Some(relays),
            _ => None,
        });
        relays.fold(None, |_, last| Some(last))
    };
    let add = |lab: &mut Lab, n: u8| {
        let (name, relay) = (name(&format!("r{n}")), address(n));
        lab.set(ConfigRequest::AddRelay { name, relay });
    };
    lab.fetch_token(0);
    add(&mut lab, 1);
    assert_eq!(lab.puppets[0].relays, Some(vec![address(1)]));
    lab.fetch_token(0);
    lab.send(0, &[]);
    lab.effects.clear();
    lab.fetch_token(0);
    lab.puppets[0].silent = true;
    lab.set(ConfigRequest::RemoveRelay { name: name("r1") });
    add(&mut lab, 2);
    let mut both = vec![address(1), address(2)];
    both.sort();
    assert_eq!(listening(&mut lab), Some(both.clone()), "the friend knows us by the old one");
    lab.puppets[0].silent = false;
    lab.send(0, &[]);
    assert_eq!(lab.puppets[0].relays, Some(vec![address(2)]), "told");
    assert_eq!(listening(&mut lab), Some(both), "and not confirmed");
    lab.fetch_token(0);
    lab.send(0, &[]);
    assert_eq!(listening(&mut lab), Some(vec![address(2)]), "confirmed by the next token");
    // The friend's own list: newest first, the one before it beside it.
    for list in [vec![address(7)], vec![address(8), address(9)]] {
        lab.fetch_token(0);
        let mut body = lab.puppets[0].compose(&[], &[]).body;
        body.relays = Some(list);
        let token = body.sign(&lab.puppets[0].identity);
        lab.deliver(0, token);
    }
    let info = &lab.friend(0).info;
    assert_eq!(info.relays, [address(8), address(9)]);
    assert_eq!(info.previous_relays, [address(7)]);
}

#[test]
fn effects_belong_to_the_session_they_were_meant_for() {
    let mut lab = Lab::new(1);
    lab.fetch_token(0);
    let (key, old) = (lab.puppets[0].key(), lab.puppets[0].session);
    // Something is sent, and the session is replaced before the batch is taken.
    let message = FriendMessage::MoveToken(Box::new(lab.puppets[0].compose(&[], &[])));
    lab.hear(key, old, message);
    let liveness = offset_funder::api::Liveness::Connected(SessionId(77));
    lab.funder.handle_liveness(lab.now, key, liveness);
    let batch = lab.funder.take_batch(lab.now, &mut lab.rng);
    let sent = batch.effects.iter().filter_map(|effect| match effect {
        Effect::Send { session, message, .. } => Some((*session, message.clone())),
        _ => None,
    });
    let sent: Vec<_> = sent.collect();
    assert!(matches!(sent[..], [(SessionId(77), FriendMessage::Resume(_))]), "{sent:?}");
}

#[test]
fn a_disabled_friend_has_no_session() {
    let mut lab = Lab::new(1);
    let (key, session) = (lab.puppets[0].key(), lab.puppets[0].session);
    let enable = |lab: &mut Lab, enabled| {
        lab.effects.clear();
        lab.set(ConfigRequest::SetFriendEnabled { friend: friend_name(0), enabled });
    };
    enable(&mut lab, false);
    assert!(lab.effects.contains(&Effect::Disconnect { friend: key, session }));
    assert!(lab.effects.contains(&Effect::Contact { friend: key, contact: None }));
    lab.effects.clear();
    lab.open_session(0);
    let session = lab.puppets[0].session;
    assert!(lab.effects.contains(&Effect::Disconnect { friend: key, session }));
    enable(&mut lab, true);
    assert!(lab.effects.iter().any(|e| matches!(e, Effect::Contact { contact: Some(_), .. })));
    lab.connect(0);
    assert!(lab.funder_report().friends[0].online);
}

#[test]
fn a_removal_that_cannot_be_sent_can_be_taken_back() {
    // The node withdraws its proposal while the friend's acceptance is under way.
    let mut lab = Lab::new(1);
    add_currency(&mut lab, 0, &other(), 30);
    lab.fetch_token(0);
    lab.puppets[0].silent = true;
    assert_eq!(remove_currency(&mut lab, 0, &other()), Ok(()));
    lab.puppets[0].silent = false;
    lab.declare(0, &other(), -30, 5, true);
    assert!(is_active(&lab, 0, &other()), "with a balance, so it cannot be disabled");
    let (friend, currency) = (friend_name(0), Some(other()));
    let limit = ConfigRequest::SetMaxDebt { friend, currency, max_debt: Credits(40) };
    let refused = lab.ask(offset_funder::api::Command::Config(limit.clone()));
    assert_eq!(refused.unwrap_err().code, ErrorCode::NotFound);
    add_currency(&mut lab, 0, &other(), 0);
    lab.set(limit);
    assert_eq!(lab.puppets[0].lines[&other()].active.as_ref().unwrap().max_debt[0], 40);
}
