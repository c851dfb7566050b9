//! The seller's side over real daemons: invoices that the node knows, and how they end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use serde_json::Value;
use support::{Sandbox, eventually};

const BUYER: &str = "stctrl -I net/node0/app.ident -T net/node0/node.ticket";
const SELLER: &str = "stctrl -I net/node2/app.ident -T net/node2/node.ticket";

fn json(sandbox: &Sandbox, line: &str) -> Value {
    serde_json::from_str(&sandbox.run(&format!("{line} --json")).success()).unwrap()
}

fn until_state(sandbox: &Sandbox, invoice: &str, state: &str) {
    let line = format!("{SELLER} seller invoice-status -i {invoice}");
    eventually(&line, || {
        let shown = sandbox.run(&line).success();
        if shown.lines().next() == Some(&format!("state: {state}")) { Ok(()) } else { Err(shown) }
    });
}

#[test]
fn invoices_are_made_listed_paid_cancelled_and_expire() {
    let sandbox = Sandbox::new();
    let _network = sandbox.network("line:3");
    let create = |rest: &str| sandbox.run(&format!("{SELLER} seller create-invoice {rest}"));
    assert_eq!(sandbox.run(&format!("{SELLER} seller list")).success(), "No invoices.\n");
    assert_eq!(create("-a 60 -i paid.invoice --description 'a bunch'").success(), "");
    create("-a 1 -i paid.invoice").failure(1, &["exists already", "--force"]);
    create("-a 7 -i cancelled.invoice").success();
    create("-a 8 -i expired.invoice --expires 1s").success();
    create("-a 9 -i open.invoice --hold 2d").success();
    create("-a 0 -i x.invoice").failure(1, &["at least 1"]);
    create("-a 1 -i x.invoice --expires 31d").failure(1, &["30 days"]);
    create("-a 1 -i x.invoice --hold 91d").failure(1, &["90 days"]);
    create("-a 1 -i x.invoice --expires soon").failure(2, &["90s, 30m, 1h or 7d"]);
    assert!(!sandbox.file("x.invoice").exists(), "nothing is left of what failed");

    let shown = sandbox.run(&format!("{SELLER} seller invoice-status -i paid.invoice")).success();
    for line in ["state: open", "amount: 60 credit", "description: a bunch"] {
        assert!(shown.lines().any(|shown| shown == line), "{line:?} in {shown}");
    }
    let held = json(&sandbox, &format!("{SELLER} seller invoice-status -i open.invoice"));
    let time = |name: &str| held[name].as_u64().unwrap();
    assert_eq!(time("hold_until") - time("expires_at"), 2 * 24 * 3_600_000);

    let pay = format!("{BUYER} funds pay-invoice -i paid.invoice -r paid.receipt");
    sandbox.run(&pay).success();
    until_state(&sandbox, "paid.invoice", "collected");
    sandbox.run(&format!("{SELLER} seller cancel-invoice -i cancelled.invoice")).success();
    sandbox.run(&format!("{SELLER} seller cancel-invoice -i cancelled.invoice")).success();
    sandbox
        .run(&format!("{SELLER} seller cancel-invoice -i paid.invoice"))
        .failure(1, &["is paid and cannot be cancelled"]);
    sandbox
        .run(&format!("{SELLER} seller collect-invoice -i open.invoice"))
        .failure(1, &["nobody has committed"]);
    sandbox
        .run(&format!("{BUYER} seller invoice-status -i paid.invoice"))
        .failure(1, &["no such invoice"]);
    until_state(&sandbox, "expired.invoice", "expired");

    let all = json(&sandbox, &format!("{SELLER} seller list"));
    let all = all["invoices"].as_array().unwrap();
    let seen: Vec<_> =
        all.iter().map(|one| (one["amount"].as_str(), one["state"].as_str())).collect();
    let expected = [("60", "collected"), ("7", "cancelled"), ("8", "expired"), ("9", "open")];
    assert_eq!(seen, expected.map(|(amount, state)| (Some(amount), Some(state))));
    let some = json(&sandbox, &format!("{SELLER} seller list --state expired"));
    assert_eq!(some["invoices"].as_array().unwrap().len(), 1);
    let table = sandbox.run(&format!("{SELLER} seller list --state collected")).success();
    assert!(table.contains("| 60 credit |") && table.contains("| a bunch "), "{table}");
}
