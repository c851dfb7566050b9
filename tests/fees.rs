//! Fees of a mediator, for each friend and currency, and what a buyer allows.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use support::{Ran, Sandbox, eventually};

fn ask(sandbox: &Sandbox, node: usize, command: &str) -> Ran {
    let prefix = format!("stctrl -I net/node{node}/app.ident -T net/node{node}/node.ticket");
    sandbox.run(&format!("{prefix} {command}"))
}

fn balance(sandbox: &Sandbox, node: usize, currency: &str) -> String {
    ask(sandbox, node, &format!("info balance -c {currency}")).success().trim().to_owned()
}

#[test]
fn a_mediator_takes_its_fee_and_no_more_than_the_buyer_allows() {
    let sandbox = Sandbox::new();
    let _network = sandbox.network("line:3");
    for (node, friend) in [(0, "node1"), (1, "node0"), (1, "node2"), (2, "node1")] {
        for command in ["add-currency", "set-friend-max-debt -m 10000", "open-friend"] {
            ask(&sandbox, node, &format!("config {command} -n {friend} -c EUR")).success();
        }
        let limit = format!("config set-friend-max-debt -n {friend} -m 10000");
        ask(&sandbox, node, &limit).success();
    }
    // Half a percent and one credit of node 0; another fee in the other currency.
    ask(&sandbox, 1, "config set-friend-rate -n node0 --percent 0.5 --add 1").success();
    ask(&sandbox, 1, "config set-friend-rate -n node0 -c EUR --percent 10").success();
    let detail = ask(&sandbox, 1, "info friends -n node0").success();
    assert!(detail.contains("credit rate: 0.5% + 1"), "{detail}");
    let seller = sandbox.public_key("net/node2/node.ident");
    let pay = |what: &str| ask(&sandbox, 0, &format!("funds send-funds -d {seller} {what}"));

    // The index server hears of lines and rates a moment later.
    eventually("the dear route is refused", || match pay("-a 1001 --max-fee 6") {
        refused if refused.code == Some(1) && refused.stderr.contains("costs 7") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(balance(&sandbox, 0, "credit"), "0");
    let paid = pay("-a 1001 --max-fee 7").success();
    assert_eq!(paid, "Payment successful!\nFees: 7\n", "ceil(1001 * 0.5%) + 1");
    let paid = eventually("EUR arrives", || match pay("-a 30 -c EUR") {
        paid if paid.code == Some(0) => Ok(paid.stdout),
        other => Err(other.stderr),
    });
    assert_eq!(paid, "Payment successful!\nFees: 3\n");
    for (currency, balances) in [("credit", ["-1008", "7", "1001"]), ("EUR", ["-33", "3", "30"])] {
        for (node, expected) in balances.into_iter().enumerate() {
            eventually("the fee is booked", || match balance(&sandbox, node, currency) {
                found if found == expected => Ok(()),
                found => Err(format!("node{node}: {found} {currency}")),
            });
        }
    }
    // Nobody else takes anything: straight to the mediator it costs nothing.
    let mediator = sandbox.public_key("net/node1/node.ident");
    let direct = ask(&sandbox, 0, &format!("funds send-funds -d {mediator} -a 100 --max-fee 0"));
    assert_eq!(direct.success(), "Payment successful!\nFees: 0\n");
}
