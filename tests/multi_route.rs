//! Payments over several routes, and what the node says of them before and when they fail.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use serde_json::Value;
use support::{Network, Ran, Sandbox, eventually};

/// Three ways of 50 from the buyer to the seller, and nothing between the mediators.
const TOPOLOGY: &str = r#"
nodes = ["buyer", "one", "two", "three", "seller"]
lines = [
    { between = ["buyer", "one"], max_debt = "100" },
    { between = ["buyer", "two"], max_debt = "100" },
    { between = ["buyer", "three"], max_debt = "100" },
    { between = ["one", "seller"], max_debt = "50" },
    { between = ["two", "seller"], max_debt = "50" },
    { between = ["three", "seller"], max_debt = "50" },
]
"#;

const MEDIATORS: [&str; 3] = ["one", "two", "three"];

/// The buyer, three mediators who take one credit each, and the seller, all online.
fn network(sandbox: &Sandbox) -> Network {
    sandbox.write("ways.toml", TOPOLOGY);
    let network = sandbox.network("ways.toml");
    for mediator in MEDIATORS {
        ask(sandbox, mediator, "config set-friend-rate -n buyer --add 1").success();
    }
    network
}

fn ask(sandbox: &Sandbox, node: &str, command: &str) -> Ran {
    sandbox.run(&format!("stctrl -I net/{node}/app.ident -T net/{node}/node.ticket {command}"))
}

fn balance(sandbox: &Sandbox, node: &str) -> String {
    ask(sandbox, node, "info balance").success().trim().to_owned()
}

/// What is frozen on the lines of a node, both ways, with the friends that it names.
fn frozen(sandbox: &Sandbox, node: &str) -> Vec<(String, String, String)> {
    let friends = ask(sandbox, node, "--json info friends").success();
    let friends: Value = serde_json::from_str(&friends).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut frozen = Vec::new();
    for friend in friends["friends"].as_array().unwrap() {
        for line in friend["currencies"].as_array().unwrap() {
            let debts = ["local_pending_debt", "remote_pending_debt"]
                .map(|key| text(&line["status"]["active"][key]));
            if debts != ["0", "0"] {
                let [local, remote] = debts;
                frozen.push((text(&friend["name"]), local, remote));
            }
        }
    }
    frozen
}

/// Waits until a node answers this line.
fn until(sandbox: &Sandbox, node: &str, command: &str, expected: &str) {
    eventually(command, || match ask(sandbox, node, command) {
        ran if ran.prints(expected) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn three_routes_carry_what_no_single_one_could() {
    let sandbox = Sandbox::new();
    let _network = network(&sandbox);
    let seller = sandbox.public_key("net/seller/node.ident");

    // What could be paid: on our own lines, and over all ways together.
    until(&sandbox, "buyer", "info max-send", "300");
    until(&sandbox, "seller", "info max-receive", "150");
    eventually("the index server knows all ways and their fees", || {
        match ask(&sandbox, "buyer", &format!("funds quote -d {seller} -a 120")) {
            ran if ran.stdout.starts_with("It can be paid now.\nFees: 3\n") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let quote = ask(&sandbox, "buyer", &format!("--json funds quote -d {seller} -a 120")).success();
    let quote: Value = serde_json::from_str(&quote).unwrap();
    assert_eq!((&quote["amount"], &quote["fee"]), (&"120".into(), &"3".into()));
    assert_eq!(quote["routes"].as_array().unwrap().len(), 3);
    let buyer = sandbox.public_key("net/buyer/node.ident");
    until(&sandbox, "buyer", &format!("info max-send --dest {seller}"), "150");
    until(&sandbox, "seller", &format!("info max-receive --dest {buyer}"), "150");

    // What could not: the cause comes first that lies nearest.
    let quote = |what: &str| ask(&sandbox, "buyer", &format!("funds quote {what}"));
    let none_is_owed = "nothing was paid and nothing is owed";
    let too_much = format!("-d {seller} -a 301");
    quote(&too_much).failure(1, &["your own lines have no room", "300 could be sent", "pay less"]);
    let pay = |what: &str| ask(&sandbox, "buyer", &format!("funds send-funds {what}"));
    pay(&too_much).failure(1, &["your own lines have no room", "300 could be", none_is_owed]);
    let more = format!("-d {seller} -a 151");
    quote(&more)
        .failure(1, &["the ways to the receiver carry 1", "now, but not this much: pay less"]);
    pay(&more)
        .failure(1, &["the ways to the receiver carry 1", "now, but not this much", none_is_owed]);
    let dear = format!("-d {seller} -a 120 --max-fee 2");
    quote(&dear).failure(1, &["costs 3", "allow it with --max-fee"]);
    pay(&dear).failure(1, &["costs 3", none_is_owed]);
    quote("-a 5").failure(2, &["--dest"]);
    quote("").failure(2, &["an invoice with -i, or -d KEY"]);
    assert_eq!(balance(&sandbox, "buyer"), "0");

    // One payment over all three: one fee each, one receipt that verifies.
    ask(&sandbox, "seller", "seller create-invoice -a 120 -i bananas.invoice").success();
    let pay = "funds pay-invoice -i bananas.invoice -r bananas.receipt";
    let paid = ask(&sandbox, "buyer", pay).success();
    assert_eq!(paid, "Payment successful!\nFees: 3\n");
    let verify = sandbox.run("stregister verify-receipt -i bananas.invoice -r bananas.receipt");
    assert_eq!(verify.success(), "Receipt is valid!\n");
    for (node, expected) in
        [("buyer", "-123"), ("one", "1"), ("two", "1"), ("three", "1"), ("seller", "120")]
    {
        until(&sandbox, node, "info balance", expected);
        eventually("nothing is frozen", || match frozen(&sandbox, node) {
            none if none.is_empty() => Ok(()),
            some => Err(format!("{node}: {some:?}")),
        });
    }
}
