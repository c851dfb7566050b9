//! An application that may pay only so much: the limits of its ticket hold in the node, across a
//! restart, and change with the ticket.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use support::{Ran, Sandbox, eventually};

const TICKET: &str = "stmgr app-ticket -i till.ident --pbuyer -o net/node0/trusted/till.ticket";

fn pay(sandbox: &Sandbox, amount: &str) -> Ran {
    let friend = sandbox.public_key("net/node1/node.ident");
    let prefix = "stctrl -I till.ident -T net/node0/node.ticket";
    sandbox.run(&format!("{prefix} funds send-funds -a {amount} -d {friend}"))
}

#[test]
fn an_app_spends_no_more_than_its_ticket_allows() {
    let sandbox = Sandbox::new();
    let network = sandbox.network("line:2");
    sandbox.run("stmgr gen-ident -o till.ident").success();
    let limits = "--max-payment credit=50 --budget credit=90/day";
    sandbox.run(&format!("{TICKET} {limits}")).success();
    let shown = sandbox.run("stmgr show net/node0/trusted/till.ticket").success();
    for line in ["permissions: buyer", "max payment: credit=50", "budget: credit=90/day"] {
        assert!(shown.lines().any(|have| have == line), "{line}: {shown}");
    }
    eventually("the ticket is taken", || match pay(&sandbox, "50") {
        paid if paid.code == Some(0) => Ok(()),
        Ran { stderr, .. } if stderr.contains("does not let this application in") => Err(stderr),
        other => panic!("{other:?}"),
    });
    pay(&sandbox, "51").failure(1, &["at most 50 credit on one payment", "raise the limit"]);
    let over = &["90 credit a day, 40 are left", "free again in 24 h", "raise the budget"];
    pay(&sandbox, "41").failure(1, over);
    // Another app is not concerned, and what it spends neither.
    let friend = sandbox.public_key("net/node1/node.ident");
    let prefix = network.printed[0].strip_prefix("node0: ").unwrap();
    sandbox.run(&format!("{prefix} funds send-funds -a 70 -d {friend}")).success();

    sandbox.run("stnet down --dir net").success();
    assert_eq!(network.ended(), Some(0));
    let _network = sandbox.network("line:2");
    pay(&sandbox, "41").failure(1, over);
    pay(&sandbox, "40").success();
    pay(&sandbox, "1").failure(1, &["0 are left"]);

    sandbox.run(&format!("{TICKET} --force --budget credit=100/day")).success();
    eventually("the new ticket counts", || match pay(&sandbox, "10") {
        paid if paid.code == Some(0) => Ok(()),
        other => Err(other.stderr),
    });
    pay(&sandbox, "1").failure(1, &["100 credit a day, 0 are left"]);
    sandbox.run(&format!("{TICKET} --force --budget USD=100/day")).success();
    eventually("credit is no longer named", || match pay(&sandbox, "1").stderr {
        stderr if stderr.contains("does not name the currency credit") => Ok(()),
        other => Err(other),
    });

    for (limit, part) in [
        ("--budget credit=100", "CURRENCY=AMOUNT/day"),
        ("--max-payment credit", "CURRENCY=AMOUNT"),
        ("--max-payment credit=1 --max-payment credit=2", "twice"),
        ("--max-payment credit=-1", "amount"),
    ] {
        sandbox.run(&format!("{TICKET} --force {limit}")).failure(2, &[part]);
    }
}
