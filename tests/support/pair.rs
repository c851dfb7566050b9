//! Two friends and a relay, as real daemons that are driven with `stctrl`.

use std::cell::RefCell;

use serde_json::Value;

use super::{Daemon, Port, Ran, Sandbox, eventually};

/// Alice and Bob, and the relay at which both listen. Each calls the other by its name.
#[derive(Debug)]
pub struct Pair {
    daemons: RefCell<[Option<Daemon>; 2]>,
    _relay: Daemon,
    /// Where the files are: `alice/node.ident`, `alice.friend`, `relay.ticket` and so on.
    pub sandbox: Sandbox,
    ports: [Port; 2],
}

/// The names, and the places in [`Pair`].
pub const ALICE: usize = 0;
/// The other.
pub const BOB: usize = 1;
const NAMES: [&str; 2] = ["alice", "bob"];

impl Pair {
    /// Both run and listen at the relay; they are no friends yet.
    pub fn start() -> Self {
        let sandbox = Sandbox::new();
        sandbox.run("stmgr gen-ident -o relay.ident").success();
        let relay = sandbox.daemon("strelay -i relay.ident -l 127.0.0.1:0", 1);
        let address = relay.addresses[0];
        let ticket = format!("stmgr relay-ticket -i relay.ident -a {address} -o relay.ticket");
        sandbox.run(&ticket).success();
        let ports = [Port::free(), Port::free()];
        let pair = Self { daemons: RefCell::default(), _relay: relay, sandbox, ports };
        for (node, name) in NAMES.into_iter().enumerate() {
            let port = pair.ports[node].number;
            for line in [
                "mkdir -p NAME/trusted".to_owned(),
                "stmgr gen-ident -o NAME/node.ident".to_owned(),
                "stmgr gen-ident -o NAME/app.ident".to_owned(),
                "stmgr init-node-db -i NAME/node.ident -o NAME/node.db".to_owned(),
                "stmgr app-ticket -i NAME/app.ident --pconfig --pfunds --proutes \
                 -o NAME/trusted/app.ticket"
                    .to_owned(),
                format!("stmgr node-ticket -i NAME/node.ident -a 127.0.0.1:{port} -o NAME.ticket"),
            ] {
                pair.sandbox.run(&line.replace("NAME", name)).success();
            }
            pair.start_node(node);
            pair.ctl(node, "config add-relay -n home -r relay.ticket").success();
            let export = format!("info export-ticket -o {name}.friend");
            pair.ctl(node, &export).success();
        }
        pair
    }

    /// They are friends: Alice owes Bob `debt`, and each lets the other owe 1,000 more.
    pub fn befriended(debt: i128) -> Self {
        let pair = Self::start();
        pair.befriend(ALICE, -debt);
        pair.befriend(BOB, debt);
        pair.until_online();
        pair
    }

    /// One of them adds the other, with this opening balance, and opens the line.
    pub fn befriend(&self, node: usize, balance: i128) {
        let friend = NAMES[1 - node];
        for line in [
            format!("config add-friend -n {friend} -f {friend}.friend --balance={balance}"),
            format!("config set-friend-max-debt -n {friend} -m 1000"),
            format!("config open-friend -n {friend}"),
            format!("config enable-friend -n {friend}"),
        ] {
            self.ctl(node, &line).success();
        }
    }

    /// Starts a node; done when it listens.
    pub fn start_node(&self, node: usize) {
        let (name, port) = (NAMES[node], self.ports[node].number);
        let line = format!(
            "stnode -i {name}/node.ident -l 127.0.0.1:{port} -d {name}/node.db -t {name}/trusted"
        );
        self.daemons.borrow_mut()[node] = Some(self.sandbox.daemon(&line, 1));
    }

    /// Ends a node as a person does.
    pub fn stop_node(&self, node: usize) {
        let daemon = self.daemons.borrow_mut()[node].take().unwrap();
        assert!(daemon.terminate().success());
    }

    /// Waits until a node has ended by itself; gives its exit code, and what it said on stderr.
    #[track_caller]
    pub fn ended(&self, node: usize) -> (Option<i32>, String) {
        self.daemons.borrow_mut()[node].take().unwrap().ended()
    }

    /// Runs `stctrl` for one of them.
    pub fn ctl(&self, node: usize, line: &str) -> Ran {
        let name = NAMES[node];
        self.sandbox.run(&format!("stctrl -I {name}/app.ident -T {name}.ticket {line}"))
    }

    /// How one of them sees the other, as JSON.
    pub fn friend(&self, node: usize) -> Value {
        let shown = self.ctl(node, &format!("info friends -n {} --json", NAMES[1 - node]));
        serde_json::from_str(&shown.success()).unwrap()
    }

    /// The balance of the default currency as one of them sees it, while it is active.
    pub fn balance(&self, node: usize) -> Option<i128> {
        let status = &self.friend(node)["currencies"][0]["status"]["active"];
        Some(status["balance"].as_str()?.parse().unwrap())
    }

    /// Waits until one of them sees the other as wanted.
    #[track_caller]
    pub fn until(&self, node: usize, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || {
            let friend = self.friend(node);
            if wanted(&friend) { Ok(friend) } else { Err(friend.to_string()) }
        })
    }

    /// Waits until both are online, with requests open both ways.
    #[track_caller]
    pub fn until_online(&self) {
        for node in [ALICE, BOB] {
            self.until(node, "both are online and open", |friend| {
                let line = &friend["currencies"][0]["status"]["active"];
                friend["online"] == true
                    && line["local_requests_open"] == true
                    && line["remote_requests_open"] == true
            });
        }
    }

    /// One of them pays the other, and both see it.
    #[track_caller]
    pub fn pay(&self, from: usize, amount: i128) {
        let before = self.balance(from).unwrap();
        let key = self.sandbox.public_key(&format!("{}/node.ident", NAMES[1 - from]));
        let line = format!("funds send-funds -d {key} -a {amount}");
        let text = self.ctl(from, &line).success();
        assert!(text.contains("Payment successful!"), "{text}");
        eventually("both see the payment", || {
            let seen = (self.balance(from), self.balance(1 - from));
            let wanted = before - amount;
            if seen == (Some(wanted), Some(-wanted)) { Ok(()) } else { Err(format!("{seen:?}")) }
        });
    }
}
