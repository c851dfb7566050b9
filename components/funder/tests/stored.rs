//! Whether a stored state is one whole: its rows are those that were signed last.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use offset_crypto::{Identity, PublicKey, Seed};
use offset_funder::{
    Change, CorruptState, Side,
    credit::Numbers,
    state::{BeforeSent, Friend, Inconsistent, State},
};
use offset_proto::{
    Balance, Credits, app::ConfigRequest, friend::MoveToken, reset::ResetTermsBody,
};
use support::{Net, credit, name};

/// A network in which requests are pending, as the disk of its node 1 holds it after its own token to
/// node 2 and after a token of node 0.
fn under_way() -> (Net, State) {
    let mut net = Net::chain(3, 1_000, 9);
    net.send_funds(2, 0, 40);
    net.settle();
    net.send_funds(0, 2, 100);
    let ours_last = |net: &Net| {
        let friend = &net.nodes[1].disk.friends[&net.key(2)];
        let credit = friend.lines[&credit()].credit.as_ref().unwrap();
        friend.channel.last_sent.is_some() && !credit.pending(Side::Local).is_empty()
    };
    step_until(&mut net, ours_last);
    let disk = net.nodes[1].disk.clone();
    (net, disk)
}

/// Delivers message by message until it is so.
fn step_until(net: &mut Net, wanted: impl Fn(&Net) -> bool) {
    for _ in 0..200 {
        if wanted(net) {
            return;
        }
        for node in 0..net.nodes.len() {
            net.flush(node);
        }
        let (from, to) = net.busy_links().pop().expect("something is under way");
        net.deliver(from, to);
        net.flush(to);
    }
    panic!("it never is so");
}

fn check(net: &Net, state: &State) -> Result<(), CorruptState> {
    state.check_sums().and_then(|()| state.check_channels(net.key(1)))
}

/// Other numbers of the line with a friend, as a row says them.
fn numbers(friend: &mut Friend, change: impl FnOnce(&mut Numbers)) {
    let key = Identity::from_seed(Seed::from_bytes([1; 32])).public_key();
    let mut state = State::default();
    let mut row = friend.lines[&credit()].row();
    change(row.numbers.as_mut().unwrap());
    state.friends.insert(key, friend.clone());
    state.apply(key, &Change::Line(key, credit(), Some(row))).unwrap();
    *friend = state.friends.remove(&key).unwrap();
}

fn token(token: &mut Option<Arc<MoveToken>>) -> &mut MoveToken {
    Arc::make_mut(token.as_mut().unwrap())
}

/// A change of what is kept of one friend.
type Tamper = fn(&mut Friend);
/// How it is refused, of whichever friend it is.
type Expected = fn(PublicKey) -> CorruptState;

#[test]
fn rows_that_were_not_signed_are_refused() {
    let (net, disk) = under_way();
    check(&net, &disk).unwrap();
    let (theirs_last, ours_last) = (net.key(0), net.key(2));
    let local = net.key(1);
    disk.check_signatures(local).unwrap();
    let cases: [(&str, Tamper, Expected); 10] = [
        (
            "balance",
            |it| numbers(it, |n| n.balance = Balance::new(999).unwrap()),
            CorruptState::State,
        ),
        ("limit", |it| numbers(it, |n| n.max_debt.remote = Credits(999)), CorruptState::State),
        ("open", |it| numbers(it, |n| n.requests_open.local = false), CorruptState::State),
        ("line", |it| it.lines.clear(), CorruptState::State),
        (
            "proposal",
            |it| {
                let mut line = it.lines[&credit()].clone();
                line.credit = None;
                line.local_proposal = line.wanted;
                it.lines.insert("usd".parse().unwrap(), line);
            },
            CorruptState::State,
        ),
        ("counter", |it| it.channel.counter += 2, CorruptState::Tokens),
        ("epoch", |it| it.channel.epoch += 1, CorruptState::Tokens),
        ("token id", |it| it.channel.token_id = [1; 32].into(), CorruptState::Tokens),
        ("genesis", |it| it.channel.counter = 0, CorruptState::State),
        ("no token", |it| (it.channel.last_sent, it.received) = (None, None), CorruptState::Tokens),
    ];
    for key in [theirs_last, ours_last] {
        for (what, change, expected) in &cases {
            let mut state = disk.clone();
            change(state.friends.get_mut(&key).unwrap());
            let refused = check(&net, &state);
            assert_eq!(refused, Err(expected(key)), "{what} of {key:?}");
        }
    }
    // What the friend signed before our last token must be told, too.
    let mut state = disk.clone();
    let friend = state.friends.get_mut(&ours_last).unwrap();
    token(&mut friend.received).body.counter -= 2;
    assert_eq!(check(&net, &state), Err(CorruptState::Tokens(ours_last)));
    // Signatures are looked at when a copy is checked.
    for key in [theirs_last, ours_last] {
        let mut state = disk.clone();
        let friend = state.friends.get_mut(&key).unwrap();
        let forged =
            if key == theirs_last { &mut friend.received } else { &mut friend.channel.last_sent };
        token(forged).signature = [1; 64].into();
        assert_eq!(state.check_signatures(local), Err(CorruptState::Tokens(key)));
    }
    // An inconsistent channel waits for its next epoch, whatever is left of it.
    let mut state = disk.clone();
    let friend = state.friends.get_mut(&theirs_last).unwrap();
    numbers(friend, |n| n.max_debt.remote = Credits(999));
    let terms = ResetTermsBody::default().sign(&net.nodes[1].identity, &theirs_last);
    friend.channel.inconsistent = Some(Box::new(Inconsistent {
        reason: "a test".parse().unwrap(),
        local: terms,
        remote: None,
        accepted: None,
    }));
    check(&net, &state).unwrap();
}

/// Collects and terms that our own token carried are told backwards from rows of their own.
#[test]
fn what_our_last_token_ended_must_be_there() {
    let mut net = Net::chain(2, 1_000, 3);
    net.send_funds(0, 1, 70);
    let ended = |net: &Net| {
        net.nodes[1].disk.friends.values().any(|friend| !friend.before_sent.ended.is_empty())
    };
    step_until(&mut net, ended);
    let disk = net.nodes[1].disk.clone();
    check(&net, &disk).unwrap();
    let mut state = disk;
    let key = net.key(0);
    state.friends.get_mut(&key).unwrap().before_sent = BeforeSent::default();
    assert_eq!(check(&net, &state), Err(CorruptState::State(key)));
}

/// Removed and added again, without a token since: nothing is left of the lines, and that is right.
#[test]
fn a_friendship_that_was_taken_up_again_is_whole() {
    let mut net = Net::chain(2, 1_000, 4);
    net.send_funds(0, 1, 70);
    net.settle();
    for node in [0, 1] {
        let friend = name(&format!("n{}", 1 - node));
        net.config(node, ConfigRequest::RemoveFriend { friend, forfeit: true });
    }
    net.disconnect(0, 1);
    net.befriend(0, 1, 500);
    for _ in 0..20 {
        check(&net, &net.nodes[1].disk.clone()).unwrap();
        for (from, to) in net.busy_links() {
            net.deliver(from, to);
            net.flush(to);
        }
    }
    net.settle();
    check(&net, &net.nodes[1].disk.clone()).unwrap();
    assert_eq!(net.nodes[1].disk.friends[&net.key(0)].channel.epoch, 1);
}
