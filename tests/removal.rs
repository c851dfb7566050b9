//! The end of a friendship over real daemons: at zero, with something owed, in the middle of a
//! payment, and begun again.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use serde_json::Value;
use support::{
    Ran, Sandbox, eventually,
    pair::{ALICE, BOB, Pair},
};

#[test]
fn friends_part_at_zero_and_meet_again() {
    let pair = Pair::befriended(20);
    pair.ctl(ALICE, "config remove-friend -n bob").failure(1, &["you owe bob 20 credit"]);
    pair.pay(ALICE, 5);
    pair.pay(BOB, 25);
    assert_eq!(pair.balance(ALICE), Some(0));
    pair.ctl(ALICE, "config remove-friend -n bob").success();
    let gone = |node| {
        eventually("the friend is gone", || {
            let text = pair.ctl(node, "info friends").success();
            if text == "No configured friends.\n" { Ok(()) } else { Err(text) }
        });
    };
    gone(ALICE);
    // Bob is told, and parts in turn; he is not asked about anything.
    let bob = pair.until(BOB, "Bob hears of it", |f| f["standing"] == "removed_by_friend");
    assert_eq!(bob["online"], false);
    let text = pair.ctl(BOB, "info friends -n alice").success();
    assert!(text.contains("removed by the friend"), "{text}");
    pair.ctl(BOB, "config remove-friend -n alice").success();
    gone(BOB);

    // Both begin again, which needs nobody's decision, and never signs a token twice.
    for node in [ALICE, BOB] {
        pair.stop_node(node);
        pair.start_node(node);
    }
    pair.befriend(ALICE, 0);
    pair.befriend(BOB, 0);
    pair.until_online();
    pair.pay(ALICE, 7);
    assert_eq!((pair.balance(ALICE), pair.balance(BOB)), (Some(-7), Some(7)));
}

#[test]
fn a_stranger_is_told_that_it_is_none_of_the_friends() {
    let pair = Pair::start();
    // Alice adds Bob, who does not know her yet: that is no removal.
    pair.befriend(ALICE, 0);
    let alice = pair.until(ALICE, "it is tried", |friend| friend["last_error"] != "");
    assert_eq!(alice["standing"], "consistent");
    pair.befriend(BOB, 0);
    pair.until_online();
    // With something owed, only --forfeit ends it, on each side by itself.
    pair.pay(ALICE, 60);
    pair.ctl(BOB, "config remove-friend -n alice --forfeit").failure(
        2,
        &["a balance of 60 credit", "`stctrl config remove-friend -n alice --forfeit --yes`"],
    );
    assert_eq!(pair.friend(BOB)["standing"], "consistent");
    let text = pair.ctl(BOB, "config remove-friend -n alice --forfeit --yes --json").success();
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["forfeited"][0]["balance"], "60");
    pair.until(ALICE, "Alice hears of it", |f| f["standing"] == "removed_by_friend");
    assert_eq!(pair.balance(ALICE), Some(-60));
    let text = pair.ctl(ALICE, "config remove-friend -n bob --forfeit --yes").success();
    assert!(text.starts_with("given up: a balance of -60 credit"), "{text}");
    assert_eq!(pair.ctl(ALICE, "info friends").success(), "No configured friends.\n");
}

#[test]
fn a_mediator_that_parts_from_the_seller_takes_back_what_is_reserved() {
    let sandbox = Sandbox::new();
    let _network = sandbox.network("line:3");
    ctl(&sandbox, 2, "seller create-invoice -a 60 -i a.invoice").success();
    ctl(&sandbox, 0, "buyer pay-invoice -i a.invoice -p a.payment -c a.commit").success();
    ctl(&sandbox, 2, "seller create-invoice -a 7 -i held.invoice --hold").success();
    ctl(&sandbox, 0, "funds pay-invoice -i held.invoice -r held.receipt").success();
    let until_held = |state: &str| {
        eventually(state, || {
            let text = ctl(&sandbox, 2, "seller invoice-status -i held.invoice").success();
            if text.starts_with(state) { Ok(()) } else { Err(text) }
        });
    };
    until_held("state: committed, held");
    let remove = "config remove-friend -n node2 --forfeit";
    ctl(&sandbox, 1, remove).failure(2, &["a balance of 0 credit, 67 pending by our requests"]);
    let text = ctl(&sandbox, 1, &format!("{remove} --yes")).success();
    assert!(text.contains("67 pending by our requests, 0 by theirs"), "{text}");

    // The buyer has everything back.
    eventually("the payment ends", || {
        let text = ctl(&sandbox, 0, "buyer payment-status -p a.payment").success();
        if text.starts_with("state: cancelled") { Ok(()) } else { Err(text) }
    });
    until_line(&sandbox, (0, 1), "nothing is frozen", |line| {
        line["balance"] == "0" && line["local_pending_debt"] == "0"
    });
    // The seller keeps what was promised, until its owner parts in turn.
    until_friend(&sandbox, (2, 1), "it is told", |f| f["standing"] == "removed_by_friend");
    until_line(&sandbox, (2, 1), "it is kept", |line| line["remote_pending_debt"] == "67");
    ctl(&sandbox, 2, "seller collect-invoice -i held.invoice")
        .failure(1, &["friend node1", "has removed this node", "seller cancel-invoice"]);
    let text = ctl(&sandbox, 2, "config remove-friend -n node1 --forfeit --yes").success();
    assert!(text.contains("0 pending by our requests, 67 by theirs"), "{text}");
    until_held("state: cancelled");
    ctl(&sandbox, 2, "seller commit-invoice -i a.invoice -c a.commit")
        .failure(1, &["nothing is reserved here", "it was given back"]);
    assert_eq!(ctl(&sandbox, 2, "info balance").success(), "0\n");
}

#[test]
fn a_mediator_that_parts_from_the_buyer_bears_what_is_committed() {
    let sandbox = Sandbox::new();
    let _network = sandbox.network("line:3");
    ctl(&sandbox, 2, "seller create-invoice -a 7 -i a.invoice --hold").success();
    let text = ctl(&sandbox, 0, "funds pay-invoice -i a.invoice -r a.receipt --json").success();
    let paying: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(paying["status"], "committed");
    let payment = paying["payment"].as_str().unwrap();
    eventually("the seller holds it", || {
        let text = ctl(&sandbox, 2, "seller invoice-status -i a.invoice").success();
        if text.starts_with("state: committed, held") { Ok(()) } else { Err(text) }
    });
    let text = ctl(&sandbox, 1, "config remove-friend -n node0 --forfeit --yes").success();
    assert!(text.contains("0 pending by our requests, 7 by theirs"), "{text}");
    let text = ctl(&sandbox, 1, "info friends -n node2").success();
    assert!(text.lines().any(|line| line == "credit exposure: 7"), "{text}");

    // The buyer cannot know how it ended, once its owner parts in turn.
    until_friend(&sandbox, (0, 1), "it is told", |f| f["standing"] == "removed_by_friend");
    let status = |state: &str| {
        eventually(state, || {
            let status = format!("buyer payment-status -p {payment}");
            let text = ctl(&sandbox, 0, &status).success();
            if text.starts_with(state) { Ok(()) } else { Err(text) }
        });
    };
    status("state: committed");
    ctl(&sandbox, 0, "config remove-friend -n node1 --forfeit --yes").success();
    status("state: unknown");

    // The seller is paid, by the mediator.
    ctl(&sandbox, 2, "seller collect-invoice -i a.invoice").success();
    until_line(&sandbox, (1, 2), "the mediator pays", |line| {
        line["balance"] == "-7" && line["exposure"] == "0" && line["local_pending_debt"] == "0"
    });
    assert_eq!(ctl(&sandbox, 2, "info balance").success(), "7\n");
}

fn ctl(sandbox: &Sandbox, node: usize, line: &str) -> Ran {
    let node = format!("net/node{node}");
    sandbox.run(&format!("stctrl -I {node}/app.ident -T {node}/node.ticket {line}"))
}

/// Waits until a node of a network sees another as wanted.
fn until_friend(
    sandbox: &Sandbox,
    (node, other): (usize, usize),
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) {
    eventually(what, || {
        let text = ctl(sandbox, node, &format!("info friends -n node{other} --json")).success();
        let friend = serde_json::from_str(&text).unwrap();
        if wanted(&friend) { Ok(()) } else { Err(text) }
    });
}

/// Waits until the line between them is as wanted.
fn until_line(
    sandbox: &Sandbox,
    ends: (usize, usize),
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) {
    until_friend(sandbox, ends, what, |friend| {
        wanted(&friend["currencies"][0]["status"]["active"])
    });
}
