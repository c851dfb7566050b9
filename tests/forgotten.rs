//! A node that has lost its database altogether, as real daemons: only its identity is left.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use offset_crypto::SeededRng;
use offset_proto::{Name, app::ConfigRequest};
use support::{
    payments::{FEE, Ledger},
    trio::{ALICE, BOB, CHARLI, Trio, seed},
};

/// Payments before the database is thrown away.
const PAYMENTS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_database_is_gone_recovers_its_friends_by_its_identity_alone() {
    let seed = seed();
    println!("OFFSET_SEED={seed}");
    let mut rng = SeededRng::new(seed);
    let trio = Trio::start().await;
    let mut ledger = Ledger::default();
    trio.pay_many(&mut rng, &mut ledger, PAYMENTS).await;
    trio.check(&ledger).await;

    let alice = &trio.nodes[ALICE];
    alice.server.kill();
    trio.forget(&alice.server);
    trio.start_with(&alice.server, "--recover");
    trio.add_servers(ALICE).await.unwrap();
    let nodes = alice
        .until("both friends prove themselves", |report| match &report.recoverable[..] {
            [_, _] => Ok(report.recoverable.clone()),
            other => Err(format!("{other:?}")),
        })
        .await;
    for node in nodes {
        let is_bob = node.public_key == trio.nodes[BOB].server.address.public_key;
        let friend: Name = if is_bob { "bob" } else { "charli" }.parse().unwrap();
        let (token, public_key) = (node.token, Some(node.public_key));
        let request = ConfigRequest::RecoverFriend { friend: friend.clone(), token, public_key };
        alice.config(request).await.unwrap();
        // What no token carries is the owner's to say again.
        let request = ConfigRequest::SetRate { friend, currency: None, rate: FEE };
        alice.config(request).await.unwrap();
    }
    trio.until_online("Alice recovered").await;
    trio.check(&ledger).await;
    alice.config(ConfigRequest::EndRecovery { cancel_unknown: false }).await.unwrap();
    trio.until_paid(&mut rng, (CHARLI, BOB), &mut ledger).await;
    trio.check(&ledger).await;
}
