//! What a friend signed last, as applications are given it: it proves itself, whoever holds the token.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;

use offset_crypto::{Identity, SeededRng};
use offset_funder::{Side, api::Command};
use offset_proto::{
    Balance, Credits,
    app::{AppError, AppReply, ConfigRequest, ErrorCode},
    friend::{CancelReason, FriendMessage, FriendOp},
    token::{LastSigned, LastToken, SignerLine, TOKEN_PAGE_BYTES, TokenPage},
};
use support::{
    Net, credit,
    lab::{LIMIT, Lab, cancel, friend_name, terms},
    name,
};

fn page(lab: &mut Lab, at: usize, page: u32) -> Result<TokenPage, AppError> {
    let reply = lab.ask(Command::LastToken { friend: friend_name(at), page })?;
    let AppReply::LastToken(page) = reply else { panic!("{reply:?}") };
    Ok(page)
}

/// All of it, checked.
fn last_token(lab: &mut Lab, at: usize) -> LastToken {
    let first = page(lab, at, 0).unwrap();
    let mut bytes = first.bytes;
    for number in 1.. {
        if bytes.len() == usize::try_from(first.total_bytes).unwrap() {
            break;
        }
        let next = page(lab, at, number).unwrap();
        assert_eq!((next.token_id, next.total_bytes), (first.token_id, first.total_bytes));
        bytes.extend(next.bytes);
    }
    let token = LastToken::decode(&bytes).unwrap();
    assert_eq!(token.verify(), Ok(()));
    assert_eq!((token.signer, token.receiver), (lab.puppets[at].key(), lab.key()));
    assert_eq!(token.id(), first.token_id);
    token
}

/// What the friend owes by it in the default currency, what its requests freeze, and what ours do.
fn numbers(token: &LastToken) -> (i128, u128, u128) {
    let lines = token.lines();
    let (_, line) = lines.iter().find(|(currency, _)| *currency == credit()).unwrap();
    match line {
        SignerLine::Active { balance, signer, receiver } => {
            (-balance.get(), signer.pending_debt.0, receiver.pending_debt.0)
        }
        SignerLine::Begun(balance) => (-balance.get(), 0, 0),
        SignerLine::Proposed { .. } => panic!("the line is active"),
    }
}

#[test]
fn the_last_token_is_shown_whoever_holds_the_token() {
    let mut lab = Lab::new(2);
    lab.balance_by_payment(0, 100);
    // Ours moved the credits, and the friend has not agreed to it yet.
    let token = last_token(&mut lab, 0);
    assert_eq!((numbers(&token), lab.balance(0)), ((0, 100, 0), 100));
    lab.send(0, &[]);
    // The friend's token is the last.
    let token = last_token(&mut lab, 0);
    assert_eq!(numbers(&token), (100, 0, 0));
    assert_eq!(token.position().1, lab.puppets[0].counter);

    // What our own token after it does is not in what the friend signed: it ends a request of the
    // friend, sends one of ours, and changes a limit.
    let [first, second] = [0, 1].map(|at| lab.puppets[at].key());
    let (request, _) = lab.request(&[second]);
    lab.send(0, &[FriendOp::Request(request.clone())]);
    let FriendOp::Request(forwarded) = lab.got_one(1) else { panic!() };
    let frozen = request.frozen().unwrap().0;
    let signed = last_token(&mut lab, 0);
    assert_eq!(numbers(&signed), (100, frozen, 0));
    lab.send(1, &[cancel(&forwarded, CancelReason::Declined, None)]);
    assert!(lab.puppets[0].holds_token(), "our token came last");
    assert_eq!(lab.frozen(0), (0, 0));
    assert_eq!(last_token(&mut lab, 0), signed);
    lab.send(0, &[]);
    let (ours, _) = lab.request(&[first]);
    lab.send(1, &[FriendOp::Request(ours)]);
    lab.set(ConfigRequest::SetMaxDebt {
        friend: friend_name(0),
        currency: None,
        max_debt: Credits(LIMIT + 1),
    });
    lab.fetch_token(0);
    lab.send(0, &[]);
    let later = last_token(&mut lab, 0);
    assert_eq!(numbers(&later), (100, 0, 100), "its next token agrees to all of it");
    assert!(signed.position() < later.position());
}

#[test]
fn a_friend_that_signed_nothing_and_one_that_is_none_are_errors() {
    let mut lab = Lab::alone();
    let at = lab.add_puppet();
    let error = page(&mut lab, at, 0).unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
    assert!(error.message.as_str().contains("has signed nothing yet"), "{error}");
    lab.activate(at, &credit(), 0);
    last_token(&mut lab, at);
    let error = page(&mut lab, at, 1).unwrap_err();
    assert_eq!(error.code, ErrorCode::Invalid);
    assert!(page(&mut lab, at, u32::MAX).is_err());
    let unknown = lab.ask(Command::LastToken { friend: name("nobody"), page: 0 }).unwrap_err();
    assert_eq!(unknown.code, ErrorCode::NotFound);
    assert!(unknown.message.as_str().contains("no friend named nobody"), "{unknown}");
}

#[test]
fn proposals_are_shown_as_each_side_made_them() {
    let mut lab = Lab::new(1);
    let hours = "hours".parse().unwrap();
    lab.send_all(0, &[terms(&hours, -70, 500, true)], &[]);
    let token = last_token(&mut lab, 0);
    let lines = token.lines();
    let SignerLine::Proposed { signer: Some(signer), receiver: None } = lines[1].1 else {
        panic!("{lines:?}")
    };
    assert_eq!(signer.opening_balance, Balance::new(-70).unwrap());
}

/// In an epoch in which the friend has signed no token its word is the terms, or their acceptance.
#[test]
fn after_a_reset_the_agreement_is_shown_until_there_is_a_token() {
    for terms_of_friend in [false, true] {
        // Friends whose keys are lower and higher than the node's: either may hold the first token.
        let mut lab = Lab::new(8);
        let low = |lab: &Lab, at: usize| lab.puppets[at].key() < lab.key();
        assert!((0..8).any(|at| low(&lab, at)) && (0..8).any(|at| !low(&lab, at)));
        let mut agreements = 0;
        for at in 0..8 {
            lab.balance_by_payment(at, 100);
            lab.send(at, &[]);
            let before = last_token(&mut lab, at);
            lab.fetch_token(at);
            lab.puppets[at].raw.clear();
            let mut token = lab.puppets[at].compose(&[], &[]);
            token.signature = [1; 64].into();
            lab.deliver(at, token);
            // Nothing new was signed.
            assert_eq!(last_token(&mut lab, at), before);
            let owed = if terms_of_friend {
                let terms = lab.puppets[at].terms(1, &[(credit(), -60)], false);
                let message = offset_proto::reset::Inconsistency {
                    terms: terms.clone(),
                    collected: Vec::new(),
                };
                lab.message(at, FriendMessage::Inconsistency(Box::new(message)));
                let reset_token = lab.puppets[at].token_of(&terms, true);
                lab.set(ConfigRequest::ResetFriend { friend: friend_name(at), reset_token });
                lab.puppets[at].begin_epoch(1, &[(credit(), -60)]);
                let resume = lab.resume_of(at);
                lab.message(at, FriendMessage::Resume(resume));
                60
            } else {
                let terms = lab.puppets[at].raw.iter().find_map(|message| match message {
                    FriendMessage::Inconsistency(message) => Some(message.terms.clone()),
                    FriendMessage::Resume(_)
                    | FriendMessage::MoveToken(_)
                    | FriendMessage::TokenWanted { .. }
                    | FriendMessage::AcceptReset(_)
                    | FriendMessage::Removed { .. }
                    | FriendMessage::RequestStateProof { .. }
                    | FriendMessage::StateProof(_)
                    | FriendMessage::Endings(_)
                    | FriendMessage::EndingsAnswer(_) => None,
                });
                let acceptance = lab.puppets[at].acceptance(&terms.unwrap());
                lab.message(at, FriendMessage::AcceptReset(acceptance));
                lab.puppets[at].begin_epoch(1, &[(credit(), -100)]);
                100
            };
            assert_eq!(lab.inconsistent(at), None);
            let begun = last_token(&mut lab, at);
            // A friend that was asked for the token has passed it on at once.
            if lab.friend(at).received.is_none() {
                assert!(matches!(&begun.signed, LastSigned::Reset(_)));
                assert_eq!(begun.position(), (1, 0));
                agreements += 1;
            }
            assert_eq!(numbers(&begun), (owed, 0, 0));
            let proposer = lab.friend(at).channel.reset.as_ref().unwrap().proposer;
            assert_eq!(proposer == Side::Remote, terms_of_friend);
            let resume = lab.resume_of(at);
            lab.message(at, FriendMessage::Resume(resume));
            lab.fetch_token(at);
            lab.send(at, &[]);
            let token = last_token(&mut lab, at);
            assert!(matches!(token.signed, LastSigned::Token { .. }));
            assert_eq!((token.position().0, numbers(&token).0), (1, owed));
        }
        assert_ne!(agreements, 0);
    }
}

#[test]
fn a_large_token_comes_in_pages() {
    let mut lab = Lab::new(1);
    let mut rng = SeededRng::new(3);
    let route: Vec<_> = (0..31).map(|_| Identity::random(&mut rng).public_key()).collect();
    let ops: Vec<_> = (0..300).map(|_| FriendOp::Request(lab.request(&route).0)).collect();
    lab.send(0, &ops);
    let first = page(&mut lab, 0, 0).unwrap();
    assert_eq!(first.bytes.len(), TOKEN_PAGE_BYTES);
    assert!(2 * TOKEN_PAGE_BYTES < usize::try_from(first.total_bytes).unwrap());
    let LastSigned::Token { token, .. } = last_token(&mut lab, 0).signed else { panic!() };
    assert_eq!(token.body.currency_ops[0].ops.len(), 300);
}

/// Two nodes: each can show what the other signed, and both say the same, wherever a run stops.
#[test]
fn both_sides_show_each_others_word() {
    let mut net = Net::chain(2, 1_000, 5);
    let mut phases = BTreeSet::new();
    for amount in [10, 20, 30] {
        net.send_funds(0, 1, amount);
        net.send_funds(1, 0, 1);
        for _ in 0..7 {
            for at in [0, 1] {
                let friend = name(&format!("n{}", 1 - at));
                let Ok(AppReply::LastToken(page)) =
                    net.ask(at, Command::LastToken { friend, page: 0 })
                else {
                    panic!("no token")
                };
                let token = LastToken::decode(&page.bytes).unwrap();
                assert_eq!(token.verify(), Ok(()));
                let friend = &net.nodes[at].funder.state().friends[&net.key(1 - at)];
                phases.insert(friend.channel.counter - token.position().1);
            }
            if let Some((from, to)) = net.busy_links().pop() {
                net.deliver(from, to);
            }
        }
        net.settle();
    }
    assert_eq!(phases, [0, 1].into(), "the friend's token was the last, and ours");
}
