//! The end of a friendship over real daemons: at zero, with something owed, and begun again.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use support::{
    eventually,
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
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["forfeited"][0]["balance"], "60");
    pair.until(ALICE, "Alice hears of it", |f| f["standing"] == "removed_by_friend");
    assert_eq!(pair.balance(ALICE), Some(-60));
    let text = pair.ctl(ALICE, "config remove-friend -n bob --forfeit --yes").success();
    assert!(text.starts_with("given up: a balance of -60 credit"), "{text}");
    assert_eq!(pair.ctl(ALICE, "info friends").success(), "No configured friends.\n");
}
