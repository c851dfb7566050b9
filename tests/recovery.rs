//! Nodes that were restored from older copies of their databases, as real daemons.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use offset_crypto::SeededRng;
use offset_proto::{
    app::ConfigRequest,
    report::{CurrencyStatus, FriendRecovery},
};
use support::{
    pair::{self, Pair},
    payments::Ledger,
    trio::{ALICE, BOB, CHARLI, Trio, seed},
};

/// Payments between the copy and the restore.
const PAYMENTS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_restored_from_a_copy_taken_200_payments_earlier_recovers_by_command() {
    let seed = seed();
    println!("OFFSET_SEED={seed}");
    let mut rng = SeededRng::new(seed);
    let trio = Trio::start().await;
    let mut ledger = Ledger::default();
    trio.until_paid(&mut rng, (BOB, CHARLI), &mut ledger).await;
    trio.check(&ledger).await;

    let alice = &trio.nodes[ALICE];
    let (database, copy) = (trio.file(&alice.server, "db"), trio.file(&alice.server, "copy"));
    alice.server.terminate().unwrap();
    std::fs::copy(&database, &copy).unwrap();
    trio.start_again(&alice.server);
    trio.until_online("the copy was made").await;
    trio.pay_many(&mut rng, &mut ledger, PAYMENTS).await;
    trio.check(&ledger).await;

    // The file that counts starts is put back with the copy, so that nothing warns the node.
    alice.server.terminate().unwrap();
    std::fs::copy(&copy, &database).unwrap();
    std::fs::write(trio.file(&alice.server, "db.starts"), "1\n").unwrap();
    trio.start_again(&alice.server);
    let tokens = alice
        .until("both friends prove what was lost", |report| {
            let proven = report.friends.iter().map(|friend| match &friend.recovery {
                FriendRecovery::Proven { token, .. } => Ok((friend.name.clone(), *token)),
                FriendRecovery::None | FriendRecovery::Waiting => {
                    Err(format!("{}: {}", friend.name, friend.last_error))
                }
            });
            proven.collect::<Result<Vec<_>, _>>()
        })
        .await;
    for (friend, token) in tokens {
        alice
            .config(ConfigRequest::RecoverFriend { friend, token, public_key: None })
            .await
            .unwrap();
    }
    trio.until_online("Alice recovered").await;
    trio.check(&ledger).await;
    alice.config(ConfigRequest::EndRecovery { cancel_unknown: false }).await.unwrap();
    trio.until_paid(&mut rng, (CHARLI, BOB), &mut ledger).await;
    trio.check(&ledger).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_is_noticed_and_takes_over_what_friends_prove() {
    let mut rng = SeededRng::new(seed());
    let trio = Trio::start().await;
    let mut ledger = Ledger::default();
    let bob = &trio.nodes[BOB];
    let (database, copy) = (trio.file(&bob.server, "db"), trio.file(&bob.server, "copy"));
    bob.server.terminate().unwrap();
    std::fs::copy(&database, &copy).unwrap();
    trio.start_again(&bob.server);
    trio.until_online("the copy was made").await;
    trio.until_paid(&mut rng, (CHARLI, BOB), &mut ledger).await;
    trio.check(&ledger).await;

    bob.server.terminate().unwrap();
    std::fs::copy(&copy, &database).unwrap();
    trio.start_again(&bob.server);
    trio.until_online("Bob recovered by itself").await;
    let balance = bob
        .until("the recovery shows", |report| match &report.friends[0].currencies[0].status {
            CurrencyStatus::Active(line) if report.recovering => Ok(line.balance.get()),
            CurrencyStatus::Active(_) | CurrencyStatus::Proposed { .. } => {
                Err("not recovered".to_owned())
            }
        })
        .await;
    assert!(0 < balance);
    trio.check(&ledger).await;
    assert!(Trio::said(&bob.server).contains("starts as with --recover"));
    bob.config(ConfigRequest::EndRecovery { cancel_unknown: false }).await.unwrap();
    trio.until_paid(&mut rng, (BOB, CHARLI), &mut ledger).await;
    trio.check(&ledger).await;
}

#[test]
fn two_copies_of_a_node_used_in_turn_go_on_where_the_other_was() {
    const ALICE: usize = pair::ALICE;
    let pair = Pair::befriended(100);
    let files = ["node.db", "node.db.starts"];
    let copy = |from: &str, to: &str| {
        for file in files {
            let [from, to] = [from, to].map(|place| pair.sandbox.file(&format!("{place}/{file}")));
            std::fs::copy(from, to).unwrap();
        }
    };
    for place in ["first", "second"] {
        std::fs::create_dir(pair.sandbox.file(place)).unwrap();
    }
    pair.stop_node(ALICE);
    copy("alice", "second");
    pair.start_node(ALICE);
    pair.until_online();
    pair.pay(ALICE, 5);
    pair.stop_node(ALICE);
    copy("alice", "first");

    // With the file that counts starts, so that nothing warns a node: first the older copy, then the
    // one that is older by now.
    for (place, remembered, proven) in [("second", -100, -105), ("first", -105, -112)] {
        copy(place, "alice");
        pair.start_node(ALICE);
        let recovery = |friend: &serde_json::Value| friend["recovery"]["kind"] == "proven";
        pair.until(ALICE, "Bob proves what the other copy did", recovery);
        let sums = format!("{remembered} as this node remembers, {proven} as is proven");
        pair.ctl(ALICE, "config recover-friend -n bob")
            .failure(2, &[&sums, "`stctrl config recover-friend -n bob --yes`"]);
        let key = pair.sandbox.public_key("bob/node.ident");
        pair.ctl(ALICE, &format!("funds send-funds -d {key} -a 1"))
            .failure(1, &["nothing is owed"]);
        let text = pair.ctl(ALICE, "config recover-friend -n bob --yes").success();
        assert!(text.contains("state is accepted") && !text.contains("to go on"), "{text}");
        pair.until_online();
        assert_eq!(pair.balance(ALICE), Some(proven));
        assert_eq!(pair.balance(pair::BOB), Some(-proven));
        pair.pay(ALICE, 7);
        pair.stop_node(ALICE);
    }
    pair.start_node(ALICE);
    pair.until_online();
    pair.pay(pair::BOB, 19);
    assert_eq!((pair.balance(ALICE), pair.balance(pair::BOB)), (Some(-100), Some(100)));
}

#[test]
fn two_running_copies_of_a_node_never_give_a_friend_two_tokens_for_one_counter() {
    const ALICE: usize = pair::ALICE;
    let pair = Pair::befriended(100);
    pair.stop_node(ALICE);
    let twin = pair.start_twin(ALICE);
    pair.start_node(ALICE);
    let ctl = |ticket: &str, line: &str| {
        pair.sandbox.run(&format!("stctrl -I alice/app.ident -T {ticket}.ticket {line}"))
    };
    let key = pair.sandbox.public_key("bob/node.ident");
    // Whichever of the two has the session pays; the other one cannot.
    let mut paid = 0;
    let mut told = String::new();
    support::eventually("both have paid, or were stopped from it", || {
        for ticket in ["alice", "alice2"] {
            let ran = ctl(ticket, &format!("funds send-funds -d {key} -a 1 --deadline 2"));
            paid += i128::from(ran.stdout.contains("Payment successful!"));
            told += &ctl(ticket, "info status").success();
        }
        let twice = told.contains("stop the other copy of this node");
        let friend = pair.friend(pair::BOB);
        assert!(friend["inconsistent"].is_null(), "no token contradicts another: {friend}");
        if twice && 0 < paid { Ok(()) } else { Err(format!("{paid} paid: {told}")) }
    });
    assert_eq!(pair.balance(pair::BOB), Some(100 + paid), "what was paid was paid once");

    // As it is told: one is stopped, and what it has done is taken over by the other.
    assert!(twin.terminate().success());
    pair.stop_node(ALICE);
    pair.start_node_with(ALICE, "--recover");
    pair.until_online();
    assert_eq!(pair.balance(ALICE), Some(-100 - paid));
    pair.pay(ALICE, 5);
    pair.pay(pair::BOB, 3);
}
