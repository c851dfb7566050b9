//! Paying by files: the flow of 2020, holds, and what is given back, over real daemons.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use support::{
    Sandbox, eventually,
    transcript::{Player, Transcript},
};

const BUYER: &str = "stctrl -I net/node0/app.ident -T net/node0/node.ticket";
const SELLER: &str = "stctrl -I net/node2/app.ident -T net/node2/node.ticket";

fn until(sandbox: &Sandbox, line: &str, first: &str) {
    eventually(line, || {
        let shown = sandbox.run(line).success();
        if shown.lines().next() == Some(first) { Ok(()) } else { Err(shown) }
    });
}

/// Nothing is pending at any of the three nodes.
fn until_thawed(sandbox: &Sandbox) {
    for node in ["node0", "node1", "node2"] {
        let line = format!("stctrl -I net/{node}/app.ident -T net/{node}/node.ticket info pending");
        until(sandbox, &line, "Nothing is pending.");
    }
}

#[test]
fn the_flow_of_2020() {
    let mut player = Player::new();
    let _network = player.sandbox.network("line:3");
    let transcript = Transcript::parse(include_str!("data/flow_2020.txt"));
    for section in ["Invoice", "Buyer", "Seller"] {
        player.play(transcript.section(section));
    }
    let sandbox = &player.sandbox;
    let mode = std::fs::metadata(sandbox.file("bananas.commit")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "whoever has the commit is taken for the buyer");
    assert!(!sandbox.file("bananas.receipt").exists(), "there was no receipt yet");
    until(
        sandbox,
        &format!("{BUYER} buyer payment-status -p bananas.payment"),
        "Payment successful!",
    );
    player.play(transcript.section("Receipt"));
    player.play(transcript.section("Again"));
    let sandbox = &player.sandbox;
    until_thawed(sandbox);

    // As text, in a chat.
    let text = sandbox.run("stmgr show bananas.commit --text").success();
    // Its picture is the same text.
    sandbox.run("stmgr show bananas.commit --png commit.png --svg commit.svg").success();
    for picture in ["commit.png", "commit.svg"] {
        let mode = std::fs::metadata(sandbox.file(picture)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{picture}");
    }
    let verify = format!("stregister verify-commit -i bananas.invoice -c '{}'", text.trim());
    assert_eq!(sandbox.run(&verify).success(), "Commit is valid!\n");

    // Another buyer's commit pays nothing, and neither does one of another invoice.
    let other = "stctrl -I net/node2/app.ident -T net/node2/node.ticket seller";
    sandbox.run(&format!("{other} create-invoice -a 5 -i other.invoice")).success();
    let wrong = "-i other.invoice -c bananas.commit";
    sandbox.run(&format!("{other} commit-invoice {wrong}")).failure(1, &["another invoice"]);
    sandbox.run(&format!("stregister verify-commit {wrong}")).failure(1, &["another invoice"]);
    sandbox
        .run(&format!("{BUYER} buyer pay-invoice -i bananas.invoice -p p -c c"))
        .failure(1, &["paid already", "nothing is owed"]);
    assert!(!sandbox.file("p").exists() && !sandbox.file("c").exists());
    sandbox
        .run(&format!("{BUYER} buyer cancel-payment -p bananas.payment"))
        .failure(1, &["has arrived"]);
}

#[test]
fn what_nobody_hands_in_comes_back() {
    let sandbox = Sandbox::new();
    let _network = sandbox.network("line:3");
    sandbox
        .run(&format!("{SELLER} seller create-invoice -a 60 -i a.invoice --expires 8s"))
        .success();
    sandbox
        .run(&format!("{BUYER} buyer pay-invoice -i a.invoice -p a.payment -c a.commit"))
        .success();
    sandbox
        .run(&format!("{BUYER} buyer cancel-payment -p a.payment"))
        .failure(1, &["committed", "ask the seller"]);
    // The commit can be written again.
    sandbox.run(&format!("{BUYER} buyer payment-status -p a.payment -c again.commit")).success();
    assert_eq!(sandbox.read("a.commit"), sandbox.read("again.commit"));
    let status = format!("{BUYER} buyer payment-status -p a.payment");
    until(&sandbox, &status, "state: cancelled");
    sandbox
        .run(&format!("{SELLER} seller commit-invoice -i a.invoice -c a.commit"))
        .failure(1, &["expired", "pays nothing"]);
    until_thawed(&sandbox);
    // An invoice that no node knows takes no commit.
    let key = sandbox.public_key("net/node2/node.ident");
    sandbox.run(&format!("stregister gen-invoice -a 60 -p {key} -o b.invoice")).success();
    sandbox
        .run(&format!("{BUYER} buyer pay-invoice -i b.invoice -p b.payment -c b.commit"))
        .failure(1, &["without the seller's node", "funds pay-invoice"]);
}

#[test]
fn a_payment_whose_command_was_stopped_is_asked_for_by_its_id() {
    let sandbox = Sandbox::new();
    let _network = sandbox.network("line:3");
    sandbox.run(&format!("{SELLER} seller create-invoice -a 9 -i a.invoice")).success();
    eventually("a way to the seller", || {
        let shown = sandbox.run(&format!("{BUYER} funds quote -i a.invoice")).stdout;
        if shown.contains("It can be paid now.") { Ok(()) } else { Err(shown) }
    });
    // The seller's node is silent while the command is stopped; the one between passes it on.
    sandbox.run("kill -STOP $(cat net/node2/node.db.lock)").success();
    let pay = format!(
        "{BUYER} funds pay-invoice -i a.invoice -r a.receipt 2>error & echo $! >pid; wait; cat error"
    );
    let stopped = std::thread::scope(|scope| {
        let paying = scope.spawn(|| sandbox.run(&pay));
        eventually("what is frozen", || {
            let shown = sandbox.run(&format!("{BUYER} info pending")).success();
            if shown.starts_with("Nothing") { Err(shown) } else { Ok(()) }
        });
        sandbox.run("kill -TERM $(cat pid)").success();
        paying.join().unwrap().stdout
    });
    sandbox.run("kill -CONT $(cat net/node2/node.db.lock)").success();
    assert!(stopped.starts_with("error: stopped waiting; payment "), "{stopped}");
    let (_, command) = stopped.split_once("`stctrl ").unwrap();
    let (command, _) = command.split_once(" -r FILE`").unwrap();
    until(&sandbox, &format!("{BUYER} {command}"), "Payment successful!");
    sandbox.run(&format!("{BUYER} {command} -r a.receipt")).success();
    sandbox.run("stregister verify-receipt -i a.invoice -r a.receipt").success();
    let id = command.rsplit(' ').next().unwrap();
    sandbox.run(&format!("{BUYER} buyer cancel-payment -p {id}")).failure(1, &["has arrived"]);
    // Neither an id nor the name of a file.
    sandbox
        .run(&format!("{BUYER} buyer payment-status -p {}", &id[1..]))
        .failure(1, &["cannot open", "check the name"]);
}

#[test]
fn holds_are_collected_or_given_back() {
    let sandbox = Sandbox::new();
    let _network = sandbox.network("line:3");
    for (name, expires, hold) in
        [("back", "1h", ""), ("kept", "1h", ""), ("soon", "1h", ""), ("timed", "8s", "1s")]
    {
        let create = format!(
            "{SELLER} seller create-invoice -a 7 -i {name}.invoice --expires {expires} --hold {hold}"
        );
        sandbox.run(&create).success();
    }
    let pay = |name: &str| {
        let line = format!("{BUYER} funds pay-invoice -i {name}.invoice -r {name}.receipt --json");
        let json: Value = serde_json::from_str(&sandbox.run(&line).success()).unwrap();
        assert_eq!(json["status"], "committed");
        json["payment"].as_str().unwrap().to_owned()
    };
    let [back, kept, timed] = ["back", "kept", "timed"].map(pay);
    let seller = |what: &str, name: &str| format!("{SELLER} seller {what} -i {name}.invoice");
    until(&sandbox, &seller("invoice-status", "back"), "state: committed, held");
    until(&sandbox, &seller("invoice-status", "kept"), "state: committed, held");
    let shown = sandbox.run(&seller("invoice-status", "kept")).success();
    assert!(shown.contains("\nheld until: 20"), "{shown}");
    // The commit of this one may be on its way: the seller's command waits for it.
    pay("soon");
    sandbox.run(&seller("collect-invoice", "soon")).success();
    sandbox.run(&seller("cancel-invoice", "back")).success();
    sandbox.run(&seller("collect-invoice", "kept")).success();
    let status = |payment: &str| format!("{BUYER} buyer payment-status -p {payment}");
    until(&sandbox, &status(&back), "state: cancelled");
    until(&sandbox, &status(&kept), "Payment successful!");
    sandbox.run(&format!("{} -r kept.receipt", status(&kept))).success();
    let verify = "stregister verify-receipt -i kept.invoice -r kept.receipt";
    assert_eq!(sandbox.run(verify).success(), "Receipt is valid!\n");
    // The end of the hold collects by itself.
    until(&sandbox, &status(&timed), "Payment successful!");
    until_thawed(&sandbox);
    assert_eq!(sandbox.run(&format!("{SELLER} info balance")).success(), "21\n");
}
