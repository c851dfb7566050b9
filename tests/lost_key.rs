//! The chapter "A lost key" of the guide, played: a new card opened with the old balance.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::{
    eventually,
    pair::{ALICE, BOB, Pair},
};

#[test]
fn a_lost_key_is_replaced_by_a_new_card_with_the_old_balance() {
    let pair = Pair::befriended(100);
    pair.pay(ALICE, 10);
    assert_eq!((pair.balance(ALICE), pair.balance(BOB)), (Some(-110), Some(110)));
    let old = pair.sandbox.public_key("alice/node.ident").to_string();
    pair.stop_node(ALICE);
    pair.new_card(ALICE);
    let new = pair.sandbox.public_key("alice/node.ident").to_string();
    assert_ne!(old, new);

    // Bob opens a line with the new card, with the old balance as he sees it, and parts from the old
    // key, so that nobody who finds it can use it.
    for line in [
        "config set-friend-name -n alice -N old",
        "config add-friend -n alice -f alice.friend --balance=110",
        "config set-friend-max-debt -n alice -m 1000",
        "config open-friend -n alice",
        "config enable-friend -n alice",
    ] {
        pair.ctl(BOB, line).success();
    }
    let given_up = pair.ctl(BOB, "config remove-friend -n old --forfeit --yes").success();
    assert!(given_up.contains("given up: a balance of 110 credit"), "{given_up}");

    // While the signs do not fit, nothing begins and both are shown.
    pair.befriend(ALICE, 110);
    eventually("the balances do not match", || {
        let shown = pair.ctl(ALICE, "info friends").success();
        let both = shown.contains("P: you=110, friend=110");
        if both { Ok(()) } else { Err(shown) }
    });
    assert_eq!(pair.balance(ALICE), None);
    pair.ctl(ALICE, "config remove-currency -n bob -c credit").success();
    pair.ctl(ALICE, "config add-currency -n bob -c credit --balance=-110").success();
    for line in ["config set-friend-max-debt -n bob -m 1000", "config open-friend -n bob"] {
        pair.ctl(ALICE, line).success();
    }
    pair.until_online();
    assert_eq!((pair.balance(ALICE), pair.balance(BOB)), (Some(-110), Some(110)));
    pair.pay(ALICE, 5);
    pair.pay(BOB, 20);
    assert_eq!((pair.balance(ALICE), pair.balance(BOB)), (Some(-95), Some(95)));
}
