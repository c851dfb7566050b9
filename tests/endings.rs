//! Endings over real daemons: whatever ends a payment, nothing of it is pending at any node
//! afterwards; and what cannot even begin says why.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use serde_json::Value;
use support::{Network, Ran, Sandbox, eventually};

struct Line {
    sandbox: Sandbox,
    network: Network,
}

const BUYER: usize = 0;
const MEDIATOR: usize = 1;
const SELLER: usize = 2;

impl Line {
    /// Done when the index servers know the way.
    fn start() -> Self {
        let sandbox = Sandbox::new();
        let network = sandbox.network("line:3");
        let line = Self { sandbox, network };
        let quote = format!("funds quote -d {} -a 60", line.seller_key());
        eventually("the index servers know the way", || match line.ctl(BUYER, &quote) {
            ran if ran.code == Some(0) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        line
    }

    fn ctl(&self, node: usize, command: &str) -> Ran {
        let node = format!("net/node{node}");
        self.sandbox.run(&format!("stctrl -I {node}/app.ident -T {node}/node.ticket {command}"))
    }

    fn seller_key(&self) -> String {
        self.sandbox.public_key("net/node2/node.ident")
    }

    fn invoice(&self, name: &str) {
        self.ctl(SELLER, &format!("seller create-invoice -a 60 -i {name}.invoice")).success();
    }

    /// Runs a command of the buyer while the seller answers nobody; meanwhile, when the buyer's
    /// request is under way, something happens. Gives how the command ended.
    fn unanswered(&self, command: &str, meanwhile: impl FnOnce()) -> Ran {
        self.network.signal("node2", "STOP");
        let ran = std::thread::scope(|scope| {
            let sandbox = &self.sandbox;
            let prefix = "stctrl -I net/node0/app.ident -T net/node0/node.ticket";
            let running = scope.spawn(move || sandbox.run(&format!("{prefix} {command}")));
            eventually("the mediator has the request", || {
                let pending = self.ctl(MEDIATOR, "--json info pending").success();
                let pending: Value = serde_json::from_str(&pending).unwrap();
                if pending["pending"][0]["amount"] == "60" {
                    Ok(())
                } else {
                    Err(pending.to_string())
                }
            });
            meanwhile();
            running.join().unwrap()
        });
        self.network.signal("node2", "CONT");
        ran
    }

    fn until_nothing_is_pending(&self) {
        for node in [BUYER, MEDIATOR, SELLER] {
            eventually("nothing is pending", || match self.ctl(node, "info pending").success() {
                nothing if nothing == "Nothing is pending.\n" => Ok(()),
                other => Err(other),
            });
            assert_eq!(self.ctl(node, "info balance").success(), "0\n");
        }
    }
}

const NOTHING_OWED: &str = "nothing was paid and nothing is owed";

#[test]
fn after_the_buyer_takes_it_back() {
    let line = Line::start();
    line.invoice("a");
    let pay = "buyer pay-invoice -i a.invoice -p a.payment -c a.commit";
    let ran = line.unanswered(pay, || {
        let cancelled = line.ctl(BUYER, "--json buyer cancel-payment -p a.payment").success();
        assert_eq!(cancelled, "", "docs/json.md says that it prints nothing");
    });
    ran.failure(1, &["taken back", "order it again", NOTHING_OWED]);
    assert!(!line.sandbox.file("a.commit").exists());
    line.until_nothing_is_pending();
}

#[test]
fn after_the_deadline_of_the_payment() {
    let line = Line::start();
    line.invoice("a");
    let pay = "funds pay-invoice -i a.invoice -r a.receipt --deadline 2";
    let ran = line.unanswered(pay, || {});
    ran.failure(1, &[NOTHING_OWED]);
    line.until_nothing_is_pending();
    // The invoice is as good as before.
    let pay = "funds pay-invoice -i a.invoice -r a.receipt";
    assert_eq!(line.ctl(BUYER, pay).success(), "Payment successful!\nFees: 0\n");
}

#[test]
fn what_cannot_begin_says_why_and_what_to_do() {
    let line = Line::start();
    let seller = line.seller_key();
    let quote = format!("funds quote -d {seller} -a 5");
    let pay = format!("funds send-funds -d {seller} -a 5");
    line.ctl(BUYER, "config disable-friend -n node1").success();
    line.ctl(BUYER, &quote).failure(1, &["is enabled", "config enable-friend"]);
    line.ctl(BUYER, "config enable-friend -n node1").success();
    line.ctl(MEDIATOR, "config close-friend -n node0").success();
    let closed = ["takes requests of this node", "config open-friend"];
    eventually("the buyer knows that it is closed", || match line.ctl(BUYER, &quote) {
        ran if ran.stderr.contains(closed[0]) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    line.ctl(BUYER, &pay).failure(1, &[closed[0], closed[1], NOTHING_OWED]);
    line.ctl(MEDIATOR, "config open-friend -n node0").success();
    let most = ["max-send", "max-receive"].map(|most| format!("info {most} --dest {seller}"));
    for index in ["index0", "index1"] {
        line.network.kill(index);
    }
    let next = ["no index server", "info index", "config add-index"];
    eventually("the buyer knows that they are gone", || match line.ctl(BUYER, &quote) {
        ran if ran.stderr.contains(next[0]) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    line.ctl(BUYER, &quote).failure(1, &next);
    line.ctl(BUYER, &pay).failure(1, &[next[0], next[1], next[2], NOTHING_OWED]);
    for most in &most {
        line.ctl(BUYER, most).failure(1, &next);
    }

    line.network.kill("node1");
    eventually("the buyer knows that its friend is gone", || match line.ctl(BUYER, &quote) {
        ran if ran.stderr.contains("friend") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let offline = ["no friend with this currency is online", "wait until one comes back"];
    line.ctl(BUYER, &quote).failure(1, &offline);
    line.ctl(BUYER, &pay).failure(1, &[offline[0], offline[1], NOTHING_OWED]);
    for most in ["info max-send".to_owned(), "info max-receive".to_owned()].iter().chain(&most) {
        assert_eq!(line.ctl(BUYER, most).success(), "0\n", "{most}");
    }
}
