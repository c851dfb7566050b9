//! What a node recovers that it has forgotten altogether: friends of whom its database knows nothing,
//! and epochs in which it has signed no token.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use offset_crypto::{HashResult, Identity, Seed, Signature};
use offset_funder::{
    api::{Command, Effect, Greeting, Liveness, SessionId},
    state::State,
};
use offset_proto::{
    app::{AppReply, ConfigRequest, PaymentStatus},
    friend::{FriendMessage, Resume},
    proof::{PROOF_PAGE_BYTES, ProofPage, Signed, StateProof},
    report::{CurrencyStatus, NodeReport},
};
use support::{Net, lab::Lab, name};

fn pay(net: &mut Net, buyer: usize, seller: usize, amount: u128) {
    let id = net.send_funds(buyer, seller, amount);
    let outcome = net.outcome(buyer, id);
    assert!(matches!(outcome, PaymentStatus::Succeeded { .. }), "{outcome:?}");
    net.settle();
}

fn report(net: &mut Net, node: usize) -> NodeReport {
    match net.ask(node, Command::Report) {
        Ok(AppReply::Report(report)) => *report,
        other => panic!("{other:?}"),
    }
}

/// The owner takes everybody who proves to have been a friend for one.
fn recover_strangers(net: &mut Net, node: usize) -> usize {
    let nodes = report(net, node).recoverable;
    for shown in &nodes {
        let friend = name(&format!("n{}", net.index_of(shown.public_key)));
        let request = ConfigRequest::RecoverFriend {
            friend,
            token: shown.token,
            public_key: Some(shown.public_key),
        };
        net.config(node, request);
    }
    nodes.len()
}

#[test]
fn an_empty_database_gets_its_friends_back_one_by_one() {
    let mut net = Net::chain(3, 1_000, 1);
    for (buyer, seller, amount) in [(0, 2, 100), (2, 1, 30), (1, 0, 7)] {
        pay(&mut net, buyer, seller, amount);
    }
    let balances = [net.balance(1, 0), net.balance(1, 2)];
    net.restore(1, &State::default(), true);
    for friend in [0, 2] {
        net.connect(1, friend);
    }
    net.settle();
    let shown = report(&mut net, 1);
    assert!(shown.friends.is_empty() && shown.recovering);
    assert_eq!(shown.recoverable.len(), 2);
    for node in &shown.recoverable {
        let at = net.index_of(node.public_key);
        let CurrencyStatus::Active(line) = &node.currencies[0].status else { panic!("active") };
        assert_eq!(line.balance.get(), -net.balance(at, 1));
    }
    // Nothing of it is on the disk before the owner has said so.
    assert!(net.nodes[1].disk.friends.is_empty());

    let refused = |net: &mut Net, friend: &str, token: HashResult| {
        let public_key = Some(shown.recoverable[0].public_key);
        let request = ConfigRequest::RecoverFriend { friend: name(friend), token, public_key };
        net.ask(1, Command::Config(request)).unwrap_err().message.to_string()
    };
    let other = offset_crypto::hash(b"another state");
    assert!(refused(&mut net, "a", other).contains("another state by now"));

    assert_eq!(recover_strangers(&mut net, 1), 2);
    assert!(refused(&mut net, "b", shown.recoverable[0].token).contains("a friend already"));
    assert!(report(&mut net, 1).recoverable.is_empty());
    for friend in [0, 2] {
        net.connect(1, friend);
    }
    net.settle();
    assert_eq!([net.balance(1, 0), net.balance(1, 2)], balances);
    net.check_at_rest(true);
    net.config(1, ConfigRequest::EndRecovery { cancel_unknown: false });
    // Limits and open requests are as they were declared.
    pay(&mut net, 0, 2, 50);
    pay(&mut net, 2, 0, 20);
    net.check_at_rest(true);
}

#[test]
fn a_friend_that_was_added_by_its_file_recovers_as_well() {
    let mut net = Net::chain(2, 1_000, 1);
    pay(&mut net, 0, 1, 40);
    net.restore(0, &State::default(), true);
    let public_key = net.key(1);
    let opening_balance = offset_proto::Balance::ZERO;
    let (currency, relays) = (None, Vec::new());
    let friend = name("n1");
    let name = friend.clone();
    net.config(0, ConfigRequest::AddFriend { name, public_key, relays, currency, opening_balance });
    net.config(0, ConfigRequest::SetFriendEnabled { friend, enabled: true });
    net.connect(0, 1);
    net.settle();
    assert_eq!((net.balance(0, 1), net.balance(1, 0)), (-40, 40));
    net.check_at_rest(true);
    pay(&mut net, 1, 0, 3);
}

/// Stopped at every step of payments in both directions, and with nothing left of its database.
#[test]
fn every_state_of_two_friends_comes_back_to_an_empty_database() {
    for steps in 0..40 {
        let mut net = Net::chain(2, 1_000, 3);
        for (buyer, amount) in [(0, 10), (1, 4)] {
            net.send_funds(buyer, 1 - buyer, amount);
        }
        for _ in 0..steps {
            let _ = net.flush(0) | net.flush(1) | net.deliver(0, 1) | net.deliver(1, 0);
        }
        net.restore(0, &State::default(), true);
        net.connect(0, 1);
        net.settle();
        assert_eq!(recover_strangers(&mut net, 0), 1, "after {steps} steps");
        net.connect(0, 1);
        net.settle();
        for _ in 0..3 {
            net.pass(61_000);
            net.settle();
        }
        assert_eq!(net.balance(0, 1), -net.balance(1, 0), "after {steps} steps");
        net.check_at_rest(false);
        pay(&mut net, 1, 0, 1);
    }
}

#[test]
fn junk_of_strangers_leaves_nothing_behind() {
    let mut net = Net::chain(3, 1_000, 1);
    pay(&mut net, 0, 1, 40);
    pay(&mut net, 2, 1, 5);
    let mut proofs = Vec::new();
    net.restore(1, &State::default(), true);
    for friend in [0, 2] {
        net.connect(1, friend);
        while proofs.len() <= friend / 2 {
            net.flush(friend);
            net.flush(1);
            if let Some(FriendMessage::StateProof(page)) = net.link(friend, 1).front() {
                proofs.push(page.bytes.clone());
                break;
            }
            net.deliver(friend, 1);
            net.deliver(1, friend);
        }
        net.disconnect(1, friend);
    }
    let page = |bytes: &[u8], page, total: usize| {
        let total_bytes = u32::try_from(total).unwrap();
        FriendMessage::StateProof(ProofPage { page, total_bytes, bytes: bytes.to_vec() })
    };
    let spoilt = {
        let mut proof = StateProof::decode(&proofs[0]).unwrap();
        let Signed::Token { token, .. } = &mut proof.signed else { panic!("a token") };
        token.signature = Signature::from_bytes([7; 64]);
        proof.encode()
    };
    let big = vec![0; PROOF_PAGE_BYTES];
    let cases = [
        ("what was signed for another", page(&proofs[1], 0, proofs[1].len())),
        ("a signature that is none", page(&spoilt, 0, spoilt.len())),
        ("no proof", page(b"nonsense", 0, 8)),
        ("nothing", page(b"", 0, 0)),
        ("less than it says", page(b"nonsense", 0, 9)),
        ("not the first page", page(b"nonsense", 1, 8)),
        ("more than a stranger may show", page(&big, 0, 2 * 1024 * 1024)),
    ];
    for (case, message) in cases {
        net.connect(1, 0);
        while !matches!(net.link(0, 1).front(), Some(FriendMessage::StateProof(_))) {
            net.flush(0);
            net.flush(1);
            if !matches!(net.link(0, 1).front(), Some(FriendMessage::StateProof(_))) {
                net.deliver(0, 1);
                net.deliver(1, 0);
            }
        }
        *net.link(0, 1).front_mut().unwrap() = message;
        net.settle();
        assert_eq!(net.connected_pairs(), [], "{case}");
        assert!(report(&mut net, 1).recoverable.is_empty(), "{case}");
    }
    // It was only the messenger.
    net.connect(1, 0);
    net.settle();
    assert_eq!(recover_strangers(&mut net, 1), 1);
}

#[test]
fn strangers_are_heard_for_a_while_few_at_once_and_only_in_a_recovery() {
    let others: Vec<_> = (0..40)
        .map(|n| Identity::from_seed(Seed::from_bytes([101 + n; 32])).public_key())
        .collect();
    let mut lab = Lab::alone();
    assert_eq!(lab.funder.greeting(&others[0]), Greeting::Removed { epoch: 0 });
    lab.funder.begin_recovery(lab.now);
    let hears =
        |lab: &Lab| others.iter().filter(|key| lab.funder.greeting(key) == Greeting::Hear).count();
    assert_eq!(hears(&lab), 40);
    for (n, other) in (0..).zip(&others) {
        if lab.funder.greeting(other) == Greeting::Hear {
            let session = SessionId(1_000 + n);
            let connected = Liveness::Connected(session);
            lab.funder.handle_liveness(lab.now, *other, connected);
            // It says where it would be, and then nothing.
            let token_id = offset_crypto::hash(b"x");
            let resume = Resume { epoch: 3, counter: 4, token_id, wants_token: true };
            for _ in 0..3 {
                let resume = FriendMessage::Resume(resume.clone());
                lab.hear(*other, session, resume);
            }
        }
    }
    assert_eq!(hears(&lab), 0, "sixteen are enough");
    let batch = lab.funder.take_batch(lab.now, &mut lab.rng);
    let count =
        |wanted: fn(&Effect) -> bool| batch.effects.iter().filter(|effect| wanted(effect)).count();
    assert_eq!(count(|effect| matches!(effect, Effect::Send { .. })), 32, "each is asked once");
    lab.now = lab.now.plus_ms(20_000);
    lab.funder.handle_timeout(lab.now, &mut lab.rng);
    let batch = lab.funder.take_batch(lab.now, &mut lab.rng);
    let gone = batch.effects.iter().filter(|effect| matches!(effect, Effect::Goodbye { .. }));
    assert_eq!(gone.count(), 16);
    assert_eq!(hears(&lab), 40, "there is room again");
}

/// A channel that began again, stopped at every step of that; then one side loses its database, back
/// to a copy of the epoch before.
#[test]
fn an_epoch_without_a_token_of_ours_is_proven_by_what_began_it() {
    let mut by_reset = 0;
    for (loser, empty, steps) in (0..2).flat_map(|loser| {
        (0..30).flat_map(move |steps| [(loser, false, steps), (loser, true, steps)])
    }) {
        let case = format!("node {loser} after {steps} steps, empty: {empty}");
        let mut net = Net::chain(2, 1_000, 5);
        pay(&mut net, 0, 1, 40);
        let copy = if empty { State::default() } else { net.nodes[loser].disk.clone() };
        let id = net.send_funds(0, 1, 1);
        net.flush(0);
        let mut spoilt = false;
        for message in net.link(0, 1).iter_mut() {
            if let FriendMessage::MoveToken(token) = message {
                token.body.state_hash = offset_crypto::hash(b"spoilt");
                spoilt = true;
            }
        }
        net.settle();
        net.pass(40_000);
        net.settle();
        if !spoilt {
            // The other side held the token; what was ordered has ended some other way.
            assert!(net.nodes[0].ended_payments.contains_key(&id), "{case}");
            net.link(0, 1).clear();
        }
        let Some(remote) = report(&mut net, 1).friends[0]
            .standing
            .inconsistent()
            .and_then(|row| row.remote.clone())
        else {
            continue;
        };
        let reset_token = remote.reset_token;
        net.command(
            1,
            Command::Config(ConfigRequest::ResetFriend { friend: name("n0"), reset_token }),
        );
        for _ in 0..steps {
            let _ = net.flush(0) | net.flush(1) | net.deliver(0, 1) | net.deliver(1, 0);
        }
        let begun = net.nodes[1 - loser].disk.friends[&net.key(loser)].channel.epoch == 1;
        net.restore(loser, &copy, true);
        for _ in 0..2 {
            net.connect(0, 1);
            for _ in 0..60 {
                for node in [0, 1] {
                    net.flush(node);
                }
                if let Some(FriendMessage::StateProof(page)) = net.link(1 - loser, loser).front() {
                    let proof = StateProof::decode(&page.bytes).unwrap();
                    by_reset += usize::from(matches!(proof.signed, Signed::Reset(_)));
                }
                let _ = net.deliver(0, 1) | net.deliver(1, 0);
            }
            net.settle();
            recover_strangers(&mut net, loser);
        }
        net.settle();
        if begun {
            assert_eq!(net.balance(0, 1), -net.balance(1, 0), "{case}");
            for node in [0, 1] {
                let channel = &net.nodes[node].disk.friends[&net.key(1 - node)].channel;
                assert_eq!((channel.epoch, channel.inconsistent.is_none()), (1, true), "{case}");
            }
            net.check_at_rest(false);
        }
    }
    assert!(0 < by_reset, "some were proven by the terms of the reset");
    println!("{by_reset} proofs without a token");
}
