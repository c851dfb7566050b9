//! Several currencies on one friendship: proposed and matched, paid apart from each other, shown
//! with the point that belongs to them, and ended at zero. The largest amounts that there are.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use serde_json::Value;
use support::{Ran, Sandbox, eventually};

/// 2^127-1.
const LARGEST: &str = "170141183460469231731687303715884105727";

/// A command of a node's application.
fn ask(sandbox: &Sandbox, node: usize, command: &str) -> Ran {
    let prefix = format!("stctrl -I net/node{node}/app.ident -T net/node{node}/node.ticket");
    sandbox.run(&format!("{prefix} {command}"))
}

fn shows(sandbox: &Sandbox, node: usize, what: &str) {
    eventually(what, || match ask(sandbox, node, "info friends").success() {
        table if table.contains(what) => Ok(()),
        table => Err(table),
    });
}

/// A currency of the only friend, as JSON; `None` when it is gone.
fn currency(sandbox: &Sandbox, node: usize, name: &str) -> Option<Value> {
    let json = ask(sandbox, node, "--json info friends").success();
    let json: Value = serde_json::from_str(&json).unwrap();
    let currencies = json["friends"][0]["currencies"].as_array().unwrap().clone();
    currencies.into_iter().find(|currency| currency["currency"] == name)
}

/// Proposes a currency on both sides of the friendship of node 0 and node 1, and opens it.
fn open(sandbox: &Sandbox, name: &str, balance: i64, max_debt: &str) {
    for (node, friend, balance) in [(0, "node1", balance), (1, "node0", -balance)] {
        let add = format!("config add-currency -n {friend} -c {name} --balance={balance}");
        ask(sandbox, node, &add).success();
        let limit = format!("config set-friend-max-debt -n {friend} -c {name} -m {max_debt}");
        ask(sandbox, node, &limit).success();
        ask(sandbox, node, &format!("config open-friend -n {friend} -c {name}")).success();
    }
    for node in [0, 1] {
        eventually("the currency is open", || match currency(sandbox, node, name) {
            Some(line) if line["status"]["active"]["remote_requests_open"] == true => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
}

fn pay(sandbox: &Sandbox, from: usize, to: usize, what: &str) -> Ran {
    let key = sandbox.public_key(&format!("net/node{to}/node.ident"));
    ask(sandbox, from, &format!("funds send-funds -d {key} {what}"))
}

#[test]
fn two_currencies_on_one_friendship_are_kept_apart() {
    let sandbox = Sandbox::new();
    let _network = sandbox.network("line:2");
    // Balances that do not agree are shown on both sides, and nothing begins.
    ask(&sandbox, 0, "config add-currency -n node1 -c EUR --balance=100").success();
    ask(&sandbox, 1, "config add-currency -n node0 -c EUR --balance=-50").success();
    shows(&sandbox, 0, "P: you=100, friend=-50");
    shows(&sandbox, 1, "P: you=-50, friend=100");
    pay(&sandbox, 0, 1, "-a 1 -c EUR").failure(1, &["no friend with this currency"]);
    ask(&sandbox, 1, "config remove-currency -n node0 -c EUR").success();
    open(&sandbox, "EUR", 100, "500");

    pay(&sandbox, 0, 1, "-a 40 -c EUR").success();
    pay(&sandbox, 1, 0, "-a 7").success();
    assert_eq!(ask(&sandbox, 0, "info balance --all").success(), "credit: 7\nEUR: 60\n");
    assert_eq!(ask(&sandbox, 1, "info balance -c EUR").success(), "-60\n");

    // With a point, where the node is told so; programs always see the smallest unit.
    ask(&sandbox, 0, "config set-default-currency -c EUR --decimals 2").success();
    assert_eq!(ask(&sandbox, 0, "info balance").success(), "0.60\n");
    let json = ask(&sandbox, 0, "--json info balance").success();
    assert!(json.contains("\"60\""), "{json}");
    shows(&sandbox, 0, "B  =0.60");
    pay(&sandbox, 0, 1, "-a 0.101").failure(1, &["more than 2 digits"]);
    pay(&sandbox, 0, 1, "-a 1.5 -c credit").failure(1, &["whole number", "set-decimals"]);
    pay(&sandbox, 0, 1, "-a 0.10").success();
    assert_eq!(ask(&sandbox, 1, "info balance -c EUR").success(), "-50\n");
    every_amount_that_people_read_has_its_point(&sandbox);
    ask(&sandbox, 0, "config set-decimals -d 0").success();

    // It ends at zero, not before, and the other currency stays.
    ask(&sandbox, 0, "config remove-currency -n node1 -c EUR").failure(1, &["has balance 50"]);
    pay(&sandbox, 0, 1, "-a 50 -c EUR").success();
    ask(&sandbox, 0, "config remove-currency -n node1 -c EUR").success();
    for node in [0, 1] {
        eventually("it is gone", || match currency(&sandbox, node, "EUR") {
            Some(line) if !line["status"]["active"].is_null() => Err(line.to_string()),
            Some(_) | None => Ok(()),
        });
    }
    assert_eq!(ask(&sandbox, 0, "info balance -c credit").success(), "7\n");
}

/// Node 0 has EUR with two digits behind the point, owes nobody, and node 1 owes it 0.50.
fn every_amount_that_people_read_has_its_point(sandbox: &Sandbox) {
    let shows = |command: &str, parts: &[&str]| {
        let shown = ask(sandbox, 0, command).success();
        for part in parts {
            assert!(shown.contains(part), "no {part:?} after {command}: {shown}");
        }
    };
    ask(sandbox, 0, "config set-friend-rate -n node1 --percent 0.5 --add 1.05").success();
    shows("info friends -n node1", &["EUR rate: 0.5% + 1.05", "EUR B  =0.50"]);
    let rate = currency(sandbox, 0, "EUR").unwrap()["rate"]["add"].clone();
    assert_eq!(rate, "105");
    let too_much = "config set-friend-rate -n node1 --add 184467440737095516.16";
    ask(sandbox, 0, too_much).failure(1, &["2^64-1"]);
    shows("history list -c EUR", &["| 1.00 ", "| -0.40 ", "| -0.10 ", "| 0.50 "]);
    let json = ask(sandbox, 0, "--json history list -c EUR").success();
    assert!(json.contains("\"-40\""), "{json}");
    ask(sandbox, 0, "seller create-invoice -a 1.25 -i a.invoice --hold").success();
    shows("seller list", &["1.25 EUR"]);
    shows("seller invoice-status -i a.invoice", &["amount: 1.25 EUR"]);
    let json = ask(sandbox, 0, "--json seller list").success();
    assert!(json.contains("\"125\""), "{json}");
    // What is held is frozen: it is shown with its point as long as it is.
    ask(sandbox, 1, "funds pay-invoice -i a.invoice -r a.receipt").success();
    shows("info pending", &["| 1.25 "]);
    shows("info status", &["pending: 0.00 EUR with node1 by our requests, 1.25 by theirs"]);
    shows("info friends", &["RPD=1.25"]);
    ask(sandbox, 0, "seller cancel-invoice -i a.invoice").success();
    eventually("it is given back", || match ask(sandbox, 0, "info pending").success() {
        shown if shown == "Nothing is pending.\n" => Ok(()),
        shown => Err(shown),
    });
    let remove = "config remove-friend -n node1";
    ask(sandbox, 0, remove).failure(1, &["node1 owes 0.50 EUR", "--forfeit"]);
    let remove = "config remove-currency -n node1 -c EUR";
    ask(sandbox, 0, remove).failure(1, &["has balance 0.50"]);
    pay(sandbox, 0, 1, "-a 9.99").failure(1, &["5.50 could be sent at most"]);
}

#[test]
fn the_largest_amount_is_paid_and_kept_to_the_last_unit() {
    let sandbox = Sandbox::new();
    let network = sandbox.network("line:2");
    open(&sandbox, "big", 0, LARGEST);
    pay(&sandbox, 0, 1, &format!("-a {LARGEST} -c big")).success();
    assert_eq!(ask(&sandbox, 0, "info balance -c big").success(), format!("-{LARGEST}\n"));
    pay(&sandbox, 0, 1, "-a 1 -c big").failure(1, &["no room"]);
    let too_much = "170141183460469231731687303715884105728";
    pay(&sandbox, 1, 0, &format!("-a {too_much} -c big")).failure(1, &["2^127-1"]);

    sandbox.run("stnet down --dir net").success();
    assert_eq!(network.ended(), Some(0));
    let _network = sandbox.network("line:2");
    assert_eq!(ask(&sandbox, 1, "info balance -c big").success(), format!("{LARGEST}\n"));
    ask(&sandbox, 0, "config set-decimals -c big -d 18").success();
    let shown = ask(&sandbox, 0, "info balance -c big").success();
    assert_eq!(shown, "-170141183460469231731.687303715884105727\n");
    // All of it back, in the form in which it is shown.
    ask(&sandbox, 1, "config set-decimals -c big -d 18").success();
    pay(&sandbox, 1, 0, "-a 170141183460469231731.687303715884105727 -c big").success();
    assert_eq!(ask(&sandbox, 1, "info balance -c big").success(), "0.000000000000000000\n");
}

#[test]
fn a_sum_that_is_too_large_hides_no_other() {
    let sandbox = Sandbox::new();
    let _network = sandbox.network("line:3");
    for node in [0, 2] {
        let add = |friend: &str, sign: &str| {
            format!("config add-currency -n {friend} -c big --balance={sign}{LARGEST}")
        };
        ask(&sandbox, 1, &add(&format!("node{node}"), "")).success();
        ask(&sandbox, node, &add("node1", "-")).success();
    }
    eventually("both lines are active", || {
        let shown = ask(&sandbox, 1, "info balance --all").success();
        if shown.contains("big: too large to add up") { Ok(shown) } else { Err(shown) }
    });
    assert!(ask(&sandbox, 1, "info balance --all").success().starts_with("credit: 0\n"));
    let json = ask(&sandbox, 1, "info balance --all --json").success();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["balances"][1], serde_json::json!({ "currency": "big", "balance": null }));
    ask(&sandbox, 1, "info balance -c big").failure(1, &["too large", "info friends"]);
}
