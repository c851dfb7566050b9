//! Repair of a channel that cannot be explained, over real daemons: both sides see both sides'
//! terms, one person accepts, and payments work again with the agreed balances.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::Arc;

use offset_crypto::{HashResult, Identity};
use offset_net::{Connection, NetConfig, connect_over};
use offset_proto::{
    file::{FriendFile, IdentityFile, OffsetFile},
    friend::{FriendMessage, Resume},
};
use offset_relay::{ClientConfig, RelayClient};
use offset_secure_channel::ChannelIdentity;
use support::{
    DEADLINE, Sandbox,
    pair::{ALICE, BOB, Pair},
};
use tokio::time::timeout;

#[test]
fn an_inconsistent_channel_begins_again_on_the_terms_that_one_side_accepts() {
    let pair = Pair::befriended(100);
    pair.pay(BOB, 30);
    assert_eq!((pair.balance(ALICE), pair.balance(BOB)), (Some(-70), Some(70)));

    // Somebody with Alice's identity remembers another token than she signed.
    pair.stop_node(ALICE);
    remember_differently(&pair.sandbox);
    let bob = pair.until(BOB, "Bob is told", |friend| friend["standing"] == "inconsistent");
    assert_eq!(bob["inconsistent"]["local_terms"]["balances"]["credit"], "70");
    assert_eq!(bob["inconsistent"]["remote_terms"], serde_json::Value::Null);
    pair.ctl(BOB, "config reset-friend -n alice --yes").failure(1, &["has not told its terms"]);
    assert!(pair.ctl(BOB, "info friends").success().contains("I: LT=70, RT=?"));

    // Alice comes back. Both say the same, and nothing is pending: that needs no person.
    pair.start_node(ALICE);
    pair.until_online();
    assert_eq!((pair.balance(ALICE), pair.balance(BOB)), (Some(-70), Some(70)));
    pair.pay(ALICE, 5);
    pair.pay(BOB, 25);
    assert_eq!((pair.balance(ALICE), pair.balance(BOB)), (Some(-50), Some(50)));
    pair.ctl(ALICE, "config reset-friend -n bob --yes").failure(1, &["is consistent"]);
}

#[test]
fn a_friend_that_was_forfeited_and_added_again_is_repaired_by_one_side() {
    let pair = Pair::befriended(100);
    pair.ctl(ALICE, "config remove-friend -n bob").failure(1, &["you owe bob 100", "--forfeit"]);
    let text = pair.ctl(ALICE, "config remove-friend -n bob --forfeit --yes").success();
    assert_eq!(
        text,
        "given up: a balance of -100 credit (you owe it to bob, who may not forget it), 0 pending \
         by our requests, 0 by theirs\n"
    );

    // Bob still believes in his balance, and Alice comes to her senses.
    pair.until(BOB, "Bob hears of it", |friend| friend["standing"] == "removed_by_friend");
    assert_eq!(pair.balance(BOB), Some(100));
    pair.befriend(ALICE, 0);
    let terms = |node| {
        let friend = pair.until(node, "both know both terms", |friend| {
            friend["inconsistent"]["remote_terms"].is_object()
        });
        friend["inconsistent"].clone()
    };
    let (alice, bob) = (terms(ALICE), terms(BOB));
    assert_eq!(alice["remote_terms"]["reset_token"], bob["local_terms"]["reset_token"]);
    assert_eq!(alice["remote_terms"]["balances"]["credit"], "-100", "as Alice sees it");
    assert_eq!(alice["local_terms"]["balances"], serde_json::json!({}));
    assert!(pair.ctl(BOB, "info friends").success().contains("I: LT=100, RT=0"));
    let ask = pair.ctl(ALICE, "config reset-friend -n bob");
    ask.failure(2, &["0 by our terms, -100 by bob's", "reset-friend -n bob --yes"]);
    let text = pair.ctl(ALICE, "config reset-friend -n bob --yes").success();
    assert!(text.contains("0 by our terms, -100 by bob's"), "{text}");
    pair.until_online();
    assert_eq!((pair.balance(ALICE), pair.balance(BOB)), (Some(-100), Some(100)));
    pair.pay(BOB, 40);
    assert_eq!((pair.balance(ALICE), pair.balance(BOB)), (Some(-60), Some(60)));
}

/// A session with Bob as Alice, in which the last token is another one than Bob knows.
fn remember_differently(sandbox: &Sandbox) {
    let file = IdentityFile::from_toml(&sandbox.read("alice/node.ident")).unwrap();
    let alice = Identity::from_seed(file.into_seed().unwrap());
    let bob = FriendFile::from_toml(&sandbox.read("bob.friend")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let identity = Arc::new(ChannelIdentity::new(&alice));
        let relays = RelayClient::new(ClientConfig::default(), Arc::clone(&identity));
        let session = async {
            let circuit = relays.connect(&bob.relays[0], bob.public_key).await.unwrap();
            let net = NetConfig::default();
            let mut bob: Connection<FriendMessage, FriendMessage> =
                connect_over(circuit, &identity, bob.public_key, &net).await.unwrap();
            loop {
                match bob.recv().await.unwrap() {
                    FriendMessage::Resume(resume) => {
                        let token_id = HashResult::from_bytes([7; 32]);
                        let other = Resume { token_id, wants_token: false, ..resume };
                        bob.send(FriendMessage::Resume(other)).await.unwrap();
                    }
                    FriendMessage::Inconsistency(_) => break,
                    FriendMessage::MoveToken(_)
                    | FriendMessage::TokenWanted { .. }
                    | FriendMessage::AcceptReset(_)
                    | FriendMessage::Removed { .. }
                    | FriendMessage::RequestStateProof { .. }
                    | FriendMessage::StateProof(_)
                    | FriendMessage::Endings(_)
                    | FriendMessage::EndingsAnswer(_) => {}
                }
            }
        };
        timeout(DEADLINE, session).await.unwrap();
    });
}
