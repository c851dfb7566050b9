//! The diagrams of the 2020 documentation over real daemons: B, C, D and E are friends in a line, B
//! buys from E. What each node has frozen, and for what, stands for the arrows.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use serde_json::Value;
use support::{Network, Ran, Sandbox, eventually};

const LINE: &str = r#"
nodes = ["B", "C", "D", "E"]
lines = [
    { between = ["B", "C"], max_debt = "1000" },
    { between = ["C", "D"], max_debt = "1000" },
    { between = ["D", "E"], max_debt = "1000" },
]
"#;

/// No single way carries ten.
const TWO_WAYS: &str = r#"
nodes = ["B", "C", "D", "E"]
lines = [
    { between = ["B", "C"], max_debt = "1000" },
    { between = ["B", "D"], max_debt = "1000" },
    { between = ["C", "E"], max_debt = "6" },
    { between = ["D", "E"], max_debt = "6" },
]
"#;

struct Diagram {
    sandbox: Sandbox,
    network: Network,
}

impl Diagram {
    fn new(topology: &str, rates: &[(&str, &str)]) -> Self {
        let sandbox = Sandbox::new();
        sandbox.write("diagram.toml", topology);
        let network = sandbox.network("diagram.toml");
        let diagram = Self { sandbox, network };
        for (node, friend) in rates {
            diagram.ctl(node, &format!("config set-friend-rate -n {friend} --add 1")).success();
        }
        diagram
    }

    /// Each mediator takes one credit.
    fn line() -> Self {
        let diagram = Self::new(LINE, &[("C", "B"), ("D", "C")]);
        diagram.until_quoted("E", "Fees: 2");
        diagram
    }

    /// Waits until the index servers know the lines and their rates.
    fn until_quoted(&self, seller: &str, fees: &str) {
        let key = self.key(seller);
        eventually("the rates are known", || {
            match self.ctl("B", &format!("funds quote -d {key} -a 10")) {
                ran if ran.code == Some(0) && ran.stdout.contains(fees) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }

    fn key(&self, node: &str) -> String {
        self.sandbox.public_key(&format!("net/{node}/node.ident"))
    }

    fn ctl(&self, node: &str, command: &str) -> Ran {
        let prefix = format!("stctrl -I net/{node}/app.ident -T net/{node}/node.ticket");
        self.sandbox.run(&format!("{prefix} {command}"))
    }

    fn json(&self, node: &str, command: &str) -> Value {
        serde_json::from_str(&self.ctl(node, &format!("--json {command}")).success()).unwrap()
    }

    fn invoice(&self, seller: &str, name: &str, more: &str) {
        self.ctl(seller, &format!("seller create-invoice -a 10 -i {name}.invoice {more}"))
            .success();
    }

    /// Request and response went over the whole way, and the commit is in hand.
    fn reserve(&self, name: &str) {
        let files = format!("-i {name}.invoice -p {name}.payment -c {name}.commit");
        let said = self.ctl("B", &format!("buyer pay-invoice {files}")).success();
        assert_eq!(said, "Payment committed!\n");
    }

    /// What a node's own requests freeze: with whom, how much, at which stage.
    fn frozen(&self, node: &str) -> Vec<(String, String, String)> {
        let pending = self.json(node, "info pending");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let entries = pending["pending"].as_array().unwrap().iter();
        let ours = entries.filter(|entry| entry["frozen_by"] == "us");
        ours.map(|it| (text(&it["friend"]), text(&it["amount"]), text(&it["stage"]))).collect()
    }

    fn is_frozen(&self, node: &str, friend: &str, amount: &str, stage: &str) {
        let expected = [(friend.to_owned(), amount.to_owned(), stage.to_owned())];
        eventually(stage, || match self.frozen(node) {
            frozen if frozen == expected => Ok(()),
            other => Err(format!("{node}: {other:?}")),
        });
    }

    /// Nothing is pending anywhere, from either side.
    fn until_thawed(&self) {
        for node in ["B", "C", "D", "E"] {
            eventually("nothing is pending", || match self.ctl(node, "info pending").success() {
                nothing if nothing == "Nothing is pending.\n" => Ok(()),
                other => Err(other),
            });
        }
    }

    fn until(&self, node: &str, command: &str, begins: &str) {
        eventually(command, || match self.ctl(node, command) {
            ran if ran.stdout.starts_with(begins) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    fn balances(&self) -> [i128; 4] {
        ["B", "C", "D", "E"].map(|node| {
            let balance = self.ctl(node, "info balance").success();
            balance.trim().parse().unwrap()
        })
    }

    fn verify_receipt(&self, name: &str) {
        self.ctl("B", &format!("buyer payment-status -p {name}.payment -r {name}.receipt"))
            .success();
        let verify = format!("stregister verify-receipt -i {name}.invoice -r {name}.receipt");
        assert_eq!(self.sandbox.run(&verify).success(), "Receipt is valid!\n");
    }
}

#[test]
fn mutual_credit_protocol() {
    let diagram = Diagram::line();
    diagram.invoice("E", "a", "");
    diagram.reserve("a");
    for (node, friend, amount) in [("B", "C", "12"), ("C", "D", "11"), ("D", "E", "10")] {
        diagram.is_frozen(node, friend, amount, "responded");
    }
    assert_eq!(diagram.balances(), [0; 4]);
    let verify = diagram.sandbox.run("stregister verify-commit -i a.invoice -c a.commit");
    assert_eq!(verify.success(), "Commit is valid!\n");
    diagram.ctl("E", "seller commit-invoice -i a.invoice -c a.commit").success();
    diagram.until("B", "buyer payment-status -p a.payment", "Payment successful!\nFees: 2\n");
    diagram.until_thawed();
    assert_eq!(diagram.balances(), [-12, 1, 1, 10]);
    diagram.verify_receipt("a");
}

#[test]
fn cancellation() {
    let diagram = Diagram::line();
    let nothing = "nothing was paid and nothing is owed";
    // A mediator does not pass it on: it would be held for longer than mediators allow.
    diagram.invoice("E", "long", "--hold 2d");
    diagram
        .ctl("B", "funds pay-invoice -i long.invoice -r long.receipt")
        .failure(1, &["friend C declined", nothing]);
    diagram.until_thawed();

    // The seller does not know the invoice.
    diagram.invoice("E", "unknown", "");
    diagram.ctl("E", "seller cancel-invoice -i unknown.invoice").success();
    diagram
        .ctl("B", "funds pay-invoice -i unknown.invoice -r unknown.receipt")
        .failure(1, &["the receiver does not know this invoice", "new invoice", nothing]);
    diagram.until_thawed();

    // The seller waited too long for the commit.
    diagram.invoice("E", "late", "--expires 6s");
    diagram.reserve("late");
    diagram.until("B", "buyer payment-status -p late.payment", "state: cancelled");
    diagram.until_thawed();
    diagram
        .ctl("E", "seller commit-invoice -i late.invoice -c late.commit")
        .failure(1, &["expired", "pays nothing"]);
    assert_eq!(diagram.balances(), [0; 4]);
}

#[test]
fn delayed_collection() {
    let diagram = Diagram::line();
    for (name, command, state) in [
        ("returned", "cancel-invoice", "state: cancelled"),
        ("kept", "collect-invoice", "Payment successful!\nFees: 2\n"),
    ] {
        diagram.invoice("E", name, "--hold");
        diagram.reserve(name);
        let hand_in = format!("seller commit-invoice -i {name}.invoice -c {name}.commit");
        diagram.ctl("E", &hand_in).success();
        let status = format!("seller invoice-status -i {name}.invoice");
        diagram.until("E", &status, "state: committed, held");
        // The goods are with the buyer, and the credits of everybody stay frozen.
        for (node, friend, amount) in [("B", "C", "12"), ("C", "D", "11"), ("D", "E", "10")] {
            diagram.is_frozen(node, friend, amount, "responded");
        }
        diagram.ctl("E", &format!("seller {command} -i {name}.invoice")).success();
        diagram.until("B", &format!("buyer payment-status -p {name}.payment"), state);
        diagram.until_thawed();
        if name == "returned" {
            assert_eq!(diagram.balances(), [0; 4], "fees are given back as well");
            // Whoever comes too late hears that there is no such invoice.
            diagram
                .ctl("B", "funds pay-invoice -i returned.invoice -r returned.receipt")
                .failure(1, &["the receiver does not know this invoice"]);
        }
    }
    assert_eq!(diagram.balances(), [-12, 1, 1, 10]);
    diagram.verify_receipt("kept");
}

#[test]
fn multi_route() {
    let diagram = Diagram::new(TWO_WAYS, &[("C", "B"), ("D", "B")]);
    diagram.until_quoted("E", "Fees: 2");
    diagram.invoice("E", "a", "");
    diagram.reserve("a");
    let parts = diagram.frozen("B");
    assert_eq!(parts.len(), 2, "{parts:?}");
    assert!(parts.iter().all(|(.., stage)| stage == "responded"), "{parts:?}");
    let over = |friend: &str| {
        let part = parts.iter().find(|(name, ..)| name == friend).unwrap();
        part.1.parse::<i128>().unwrap() - 1
    };
    assert_eq!(over("C") + over("D"), 10);
    for mediator in ["C", "D"] {
        diagram.is_frozen(mediator, "E", &over(mediator).to_string(), "responded");
    }
    // One commit, for all of it.
    diagram.ctl("E", "seller commit-invoice -i a.invoice -c a.commit").success();
    diagram.until("B", "buyer payment-status -p a.payment", "Payment successful!\nFees: 2\n");
    diagram.until_thawed();
    assert_eq!(diagram.balances(), [-12, 1, 1, 10]);
    diagram.verify_receipt("a");
}

#[test]
fn unfriending() {
    let diagram = Diagram::line();
    // In the response period: D unfriends E.
    diagram.invoice("E", "a", "");
    diagram.reserve("a");
    diagram.ctl("D", "config remove-friend -n E --forfeit --yes").success();
    diagram.until("B", "buyer payment-status -p a.payment", "state: cancelled");
    for node in ["B", "C", "D"] {
        assert_eq!(diagram.frozen(node), [], "{node}");
    }
    // What E was promised ends when it parts in turn.
    diagram.ctl("E", "config remove-friend -n D --forfeit --yes").success();
    diagram.until_thawed();

    // In the request period: D does not answer, and C unfriends it.
    diagram.until_quoted("D", "Fees: 1");
    diagram.invoice("D", "b", "");
    diagram.network.signal("D", "STOP");
    let pay = "stctrl -I net/B/app.ident -T net/B/node.ticket funds pay-invoice -i b.invoice -r b.receipt";
    let sandbox = &diagram.sandbox;
    let ran = std::thread::scope(|scope| {
        let paying = scope.spawn(|| sandbox.run(pay));
        eventually("C has the request", || match diagram.json("C", "info pending") {
            pending if pending["pending"] != Value::Array(Vec::new()) => Ok(()),
            other => Err(other.to_string()),
        });
        diagram.ctl("C", "config remove-friend -n D --forfeit --yes").success();
        paying.join().unwrap()
    });
    ran.failure(1, &["cannot reach the next node", "nothing was paid and nothing is owed"]);
    diagram.network.signal("D", "CONT");
    eventually("D hears of it", || {
        let friend = diagram.json("D", "info friends -n C");
        if friend["standing"] == "removed_by_friend" { Ok(()) } else { Err(friend.to_string()) }
    });
    diagram.ctl("D", "config remove-friend -n C --forfeit --yes").success();
    diagram.until_thawed();
    assert_eq!(diagram.balances(), [0; 4]);
}
