//! Clearing over real daemons: debts on both sides of a node shrink along a cycle, and a line that is
//! emptied so can go.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use offset_proto::{
    Credits,
    file::{OffsetFile as _, ReceiptFile},
    payment::ResponseTerms,
};
use serde_json::Value;
use support::{Sandbox, eventually};

/// A sandbox whose commands go to one of the nodes.
fn as_node(sandbox: &mut Sandbox, node: usize) {
    sandbox.set("OFFSET_IDFILE", &format!("net/node{node}/app.ident"));
    sandbox.set("OFFSET_TICKET", &format!("net/node{node}/node.ticket"));
}

fn json(sandbox: &Sandbox, line: &str) -> Value {
    serde_json::from_str(&sandbox.run(&format!("{line} --json")).success()).unwrap()
}

/// What a node has in all.
fn balance(sandbox: &mut Sandbox, node: usize) -> i64 {
    as_node(sandbox, node);
    sandbox.run("stctrl info balance").success().trim().parse().unwrap()
}

/// The receipt is of the clearing that it came with, and signed by the node that paid itself.
fn check_receipt(clearing: &Value, node: &str) {
    let receipt = ReceiptFile::parse(clearing["receipt"].as_str().unwrap()).unwrap().0;
    assert_eq!(receipt.invoice_id.to_string(), clearing["invoice_id"]);
    assert_eq!((receipt.is_complete, receipt.total_dest_payment), (true, Credits(40)));
    let terms = ResponseTerms {
        response_hash: receipt.response_hash,
        src_hashed_lock: receipt.src_plain_lock.hashed(),
        dest_hashed_lock: receipt.dest_plain_lock.hashed(),
        is_complete: true,
        dest_payment: receipt.dest_payment,
        total_dest_payment: receipt.total_dest_payment,
        invoice_id: receipt.invoice_id,
        currency: &receipt.currency,
    };
    assert!(terms.verify(&node.parse().unwrap(), &receipt.signature));
}

#[test]
fn debts_shrink_along_a_cycle_and_an_emptied_line_can_go() {
    let mut sandbox = Sandbox::new();
    let _network = sandbox.network("ring:4");
    let keys: Vec<String> =
        (0..4).map(|node| sandbox.public_key(&format!("net/node{node}/node.ident"))).collect();
    // 1 owes 0, and 0 owes 3.
    for (from, to, amount) in [(1, 0, 60), (0, 3, 40)] {
        as_node(&mut sandbox, from);
        sandbox.run(&format!("stctrl funds send-funds -a {amount} -d {}", keys[to])).success();
    }
    let before: Vec<i64> = (0..4).map(|node| balance(&mut sandbox, node)).collect();
    assert_eq!(before, [20, -60, 0, 40]);

    as_node(&mut sandbox, 0);
    sandbox.run("stctrl funds rebalance --max-fee 5x").failure(2, &["credits", "0.5%"]);
    sandbox.run("stctrl funds rebalance -n nobody").failure(1, &["nobody"]);
    let cleared = eventually("the index server knows the lines", || {
        let shown = json(&sandbox, "stctrl funds rebalance -n node3");
        if shown["total"] == "40" { Ok(shown) } else { Err(shown.to_string()) }
    });
    assert_eq!(cleared["fees"], "0");
    assert_eq!(cleared["cleared"].as_array().unwrap().len(), 1);
    assert!(cleared["reason"].as_str().unwrap().contains("it is at zero"), "{cleared}");
    check_receipt(&cleared["cleared"][0], &keys[0]);
    let list = json(&sandbox, "stctrl seller list");
    assert_eq!(list["invoices"], serde_json::json!([]), "an internal invoice is shown: {list}");
    let after: Vec<i64> = (0..4).map(|node| balance(&mut sandbox, node)).collect();
    assert_eq!(after, before, "nobody lost or earned anything");

    as_node(&mut sandbox, 0);
    let nothing = sandbox.run("stctrl funds rebalance").success();
    assert!(nothing.contains("Nothing was cleared: you owe no friend"), "{nothing}");
    sandbox.run("stctrl config remove-currency -n node3 -c credit").success();
    eventually("the currency is gone on both sides", || {
        let shown = sandbox.run("stctrl info friends -n node3").success();
        if shown.contains("LMD") { Err(shown) } else { Ok(()) }
    });
    // The other line is as it was, but for what was cleared.
    let shown = sandbox.run("stctrl info friends -n node1").success();
    assert!(shown.contains("B  =20"), "{shown}");
}
