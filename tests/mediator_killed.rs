//! Payments that need three mediators, one of whom is killed in the middle, at several moments and
//! with and without coming back: the payment ends, nothing stays frozen between nodes that run, and
//! all balances agree.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::cell::{Cell, RefCell};

use serde_json::Value;
use support::{Daemon, Network, Ran, Sandbox, eventually};

/// Three ways of 50 from the buyer to the seller, and a fourth that is closed.
const TOPOLOGY: &str = r#"
nodes = ["buyer", "one", "two", "three", "four", "seller"]
lines = [
    { between = ["buyer", "one"], max_debt = "1000" },
    { between = ["buyer", "two"], max_debt = "1000" },
    { between = ["buyer", "three"], max_debt = "1000" },
    { between = ["buyer", "four"], max_debt = "1000" },
    { between = ["one", "seller"], max_debt = "50" },
    { between = ["two", "seller"], max_debt = "50" },
    { between = ["three", "seller"], max_debt = "50" },
    { between = ["four", "seller"], max_debt = "50" },
]
"#;

const NODES: [&str; 6] = ["buyer", "one", "two", "three", "four", "seller"];
const MEDIATORS: [&str; 3] = ["one", "two", "three"];
/// Whoever is killed.
const VICTIM: &str = "one";
const AMOUNT: i128 = 120;

/// When the one that was killed starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Back {
    /// While the payment is under way.
    AtOnce,
    /// When everything else has ended.
    Late,
}

struct Ways {
    sandbox: Sandbox,
    network: Network,
    /// The victim, once it was started again.
    again: RefCell<Option<Daemon>>,
    payments: Cell<u32>,
}

impl Ways {
    fn start() -> Self {
        let sandbox = Sandbox::new();
        sandbox.write("ways.toml", TOPOLOGY);
        let network = sandbox.network("ways.toml");
        let ways = Self { sandbox, network, again: RefCell::default(), payments: Cell::default() };
        for mediator in MEDIATORS {
            ways.ctl(mediator, "config set-friend-rate -n buyer --add 1").success();
        }
        ways.ctl("four", "config close-friend -n buyer").success();
        ways
    }

    fn ctl(&self, node: &str, command: &str) -> Ran {
        let prefix = format!("stctrl -I net/{node}/app.ident -T net/{node}/node.ticket");
        self.sandbox.run(&format!("{prefix} {command}"))
    }

    fn json(&self, node: &str, command: &str) -> Value {
        serde_json::from_str(&self.ctl(node, &format!("--json {command}")).success()).unwrap()
    }

    /// Makes an invoice; gives the name of its files.
    fn invoice(&self, hold: &str) -> String {
        let name = format!("p{}", self.payments.replace(self.payments.get() + 1));
        let create = format!("seller create-invoice -a {AMOUNT} -i {name}.invoice {hold}");
        self.ctl("seller", &create).success();
        // The way back of the payment before may not be in the index server's graph yet.
        let quote = format!("--json funds quote -i {name}.invoice");
        eventually("there are three ways", || match self.ctl("buyer", &quote) {
            ran if ran.code == Some(0) && ran.stdout.contains("\"fee\": \"3\"") => Ok(()),
            other => Err(format!("{other:?}")),
        });
        name
    }

    /// Kills the victim while another node is stopped, which goes on before the victim is back.
    fn kill(&self, back: Back, stopped: Option<&str>) {
        match self.again.borrow_mut().take() {
            Some(daemon) => daemon.kill(),
            None => self.network.kill(VICTIM),
        }
        if let Some(node) = stopped {
            self.network.signal(node, "CONT");
        }
        if back == Back::AtOnce {
            self.start_victim();
        }
    }

    fn start_victim(&self) {
        let mut again = self.again.borrow_mut();
        if again.is_none() {
            *again = Some(self.network.start_again(&self.sandbox, VICTIM));
        }
    }

    /// What is pending at a node: with whom, frozen by whom, and how far it has come.
    fn pending(&self, node: &str) -> Vec<[String; 3]> {
        let pending = self.json(node, "info pending");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let entries = pending["pending"].as_array().unwrap().iter();
        entries.map(|it| ["friend", "frozen_by", "stage"].map(|key| text(&it[key]))).collect()
    }

    /// Waits until so much is pending at a node as wanted.
    fn until_pending(&self, node: &str, what: &str, wanted: impl Fn(&[[String; 3]]) -> bool) {
        eventually(what, || {
            let pending = self.pending(node);
            if wanted(&pending) { Ok(()) } else { Err(format!("{node}: {pending:?}")) }
        });
    }

    /// Nothing is pending where both sides are up.
    fn until_thawed(&self, but: Option<&str>) {
        for node in NODES.into_iter().filter(|node| Some(*node) != but) {
            self.until_pending(node, "nothing is pending", |pending| {
                pending.iter().all(|[friend, ..]| Some(friend.as_str()) == but)
            });
        }
    }

    /// The balances of a node, by friend.
    fn balances(&self, node: &str) -> Vec<(String, i128)> {
        let friends = self.json(node, "info friends");
        let friends = friends["friends"].as_array().unwrap().iter();
        let balance = |friend: &Value| {
            let line = &friend["currencies"][0]["status"]["active"];
            let balance = line["balance"].as_str().unwrap().parse().unwrap();
            (friend["name"].as_str().unwrap().to_owned(), balance)
        };
        friends.map(balance).collect()
    }

    fn total(&self, node: &str) -> i128 {
        self.balances(node).iter().map(|(_, balance)| balance).sum()
    }

    /// The victim comes back, if it did not: then nothing is frozen anywhere, the two sides of each
    /// line agree, and buyer and seller have what the end of the payment says.
    fn check(&self, before: [i128; 2], paid: bool) {
        let down = self.again.borrow().is_none().then_some(VICTIM);
        self.until_thawed(down);
        self.start_victim();
        self.until_thawed(None);
        for node in NODES {
            for (friend, balance) in self.balances(node) {
                let theirs = self.balances(&friend);
                assert!(theirs.contains(&(node.to_owned(), -balance)), "{node} and {friend}");
            }
        }
        let [buyer, seller] = before;
        let moved = if paid { AMOUNT } else { 0 };
        assert_eq!(self.total("seller") - seller, moved);
        let fees = buyer - self.total("buyer") - moved;
        assert!(if paid { (2..=3).contains(&fees) } else { fees == 0 }, "fees of {fees}");
        assert_eq!(NODES.iter().map(|node| self.total(node)).sum::<i128>(), 0);
        if paid {
            self.pay_back();
        }
    }

    /// What the seller got goes back over the lines on which it came, so that all of them carry what
    /// they did before.
    fn pay_back(&self) {
        for (mediator, amount) in self.balances("seller") {
            if amount == 0 {
                continue;
            }
            for (from, to) in [("seller", mediator.as_str()), (&mediator, "buyer")] {
                let key = self.sandbox.public_key(&format!("net/{to}/node.ident"));
                let paid = self.ctl(from, &format!("funds send-funds -d {key} -a {amount}"));
                assert_eq!(paid.success(), "Payment successful!\nFees: 0\n");
            }
        }
        self.until_thawed(None);
    }

    fn totals(&self) -> [i128; 2] {
        ["buyer", "seller"].map(|node| self.total(node))
    }

    /// Pays in the background; meanwhile something happens. Gives how the command ended.
    fn pay_while(&self, name: &str, deadline: u32, meanwhile: impl FnOnce()) -> Ran {
        let pay =
            format!("funds pay-invoice -i {name}.invoice -r {name}.receipt --deadline {deadline}");
        let line = format!("stctrl -I net/buyer/app.ident -T net/buyer/node.ticket {pay}");
        let sandbox = &self.sandbox;
        std::thread::scope(|scope| {
            let paying = scope.spawn(|| sandbox.run(&line));
            meanwhile();
            paying.join().unwrap()
        })
    }

    /// Pays a hold invoice; done when the seller holds it. Gives the payment's file as text.
    fn hold(&self) -> (String, String) {
        let name = self.invoice("--hold");
        let pay = format!("funds pay-invoice -i {name}.invoice -r {name}.receipt");
        let paying = self.json("buyer", &pay);
        assert_eq!(paying["status"], "committed");
        let status = format!("seller invoice-status -i {name}.invoice");
        eventually("it is held", || match self.ctl("seller", &status).success() {
            held if held.starts_with("state: committed, held") => Ok(()),
            other => Err(other),
        });
        (name, paying["payment"].as_str().unwrap().to_owned())
    }

    fn until_paid(&self, payment: &str) {
        let status = format!("buyer payment-status -p {payment}");
        eventually("it is paid", || match self.ctl("buyer", &status) {
            ran if ran.stdout.starts_with("Payment successful!") => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
}

#[test]
fn killed_before_it_has_answered() {
    let ways = Ways::start();
    for (back, other_way) in [(Back::AtOnce, false), (Back::Late, true), (Back::Late, false)] {
        let (name, before) = (ways.invoice(""), ways.totals());
        // The seller answers nobody for a while.
        ways.network.signal("seller", "STOP");
        let deadline = if back == Back::AtOnce { 60 } else { 6 };
        let ran = ways.pay_while(&name, if other_way { 21 } else { deadline }, || {
            for mediator in MEDIATORS {
                ways.until_pending(mediator, "all have their part", |parts| !parts.is_empty());
            }
            if other_way {
                ways.ctl("four", "config open-friend -n buyer").success();
            }
            ways.kill(back, Some("seller"));
        });
        let paid = ran.code == Some(0);
        match (back, other_way) {
            // Its part goes on where it was, or is given up when that took too long.
            (Back::AtOnce, _) => {}
            (Back::Late, true) => assert!(paid, "paid over the fourth way: {ran:?}"),
            (Back::Late, false) => assert!(!paid, "two ways carry only 100: {ran:?}"),
        }
        if !paid {
            ran.failure(1, &["nothing was paid and nothing is owed"]);
        }
        if other_way {
            ways.ctl("four", "config close-friend -n buyer").success();
        }
        ways.check(before, paid);
    }
}

#[test]
fn killed_between_its_answer_and_the_commit() {
    let ways = Ways::start();
    for back in [Back::AtOnce, Back::Late] {
        // The decision is not made, as the third part is not answered.
        let (name, before) = (ways.invoice(""), ways.totals());
        ways.network.signal("three", "STOP");
        let ran = ways.pay_while(&name, 60, || {
            ways.until_pending("buyer", "two parts are answered", |parts| {
                parts.iter().filter(|[.., stage]| stage == "responded").count() == 2
            });
            ways.kill(back, Some("three"));
        });
        assert_eq!(ran.success(), "Payment successful!\nFees: 3\n", "{back:?}");
        ways.check(before, true);

        // The decision is made, and the commit is handed over.
        let (name, before) = (ways.invoice(""), ways.totals());
        let pay = format!("buyer pay-invoice -i {name}.invoice -p {name}.payment -c {name}.commit");
        ways.ctl("buyer", &pay).success();
        ways.kill(back, None);
        let commit = format!("seller commit-invoice -i {name}.invoice -c {name}.commit");
        ways.ctl("seller", &commit).success();
        ways.until_paid(&format!("{name}.payment"));
        ways.check(before, true);
    }
}

#[test]
fn killed_before_and_while_it_is_collected() {
    let ways = Ways::start();
    for back in [Back::AtOnce, Back::Late] {
        let before = ways.totals();
        let (name, payment) = ways.hold();
        ways.kill(back, None);
        let collect = |name: &str| {
            ways.ctl("seller", &format!("seller collect-invoice -i {name}.invoice")).success();
        };
        collect(&name);
        ways.until_paid(&payment);
        ways.check(before, true);

        // The victim has paid the seller, and its buyer does not listen.
        let before = ways.totals();
        let (name, payment) = ways.hold();
        ways.network.signal("buyer", "STOP");
        collect(&name);
        ways.until_pending(VICTIM, "the seller is paid", |parts| {
            parts.iter().all(|[friend, ..]| friend == "buyer")
        });
        ways.kill(back, Some("buyer"));
        ways.until_paid(&payment);
        ways.check(before, true);
    }
}
