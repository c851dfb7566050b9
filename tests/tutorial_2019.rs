//! The tutorial of 2019, command by command and output by output.
//!
//! Only this is put in place of what it prints: keys by role, the names that its two tables of
//! servers use against its own commands, ports, and copies of tickets to the names that it uses. It
//! was written by hand where balances are concerned: its tables of friends begin with a balance of
//! 100 and its balances with 0. So it is played twice, once with each.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use support::{
    Port,
    transcript::{Player, Transcript},
};

/// The keys that the tutorial prints, and whose identity each is.
const KEYS: [(&str, &str); 4] = [
    ("TiTqXCEMBDoAyseEiw8t6r3L7do_k0iXOU1_rk4ERqw", "node0/node0.ident"),
    ("bUoWZEEInqjDdw8TOBlpY0zpHF7hjLMAX_DdPrTI9y8", "node1/node1.ident"),
    ("Brvo3Fo0O2svzU1rFdcBL6FtLVNL6b8xJNAWgZc7ll0", "relay/relay.ident"),
    ("LMncLsod0HGDG66kEJJ3kki68CAGfjDsPTdGdLsyD5M", "index/index.ident"),
];

struct Tutorial {
    player: Player,
    transcript: Transcript,
    _ports: Vec<Port>,
}

impl Tutorial {
    fn new() -> Self {
        let mut player = Player::new();
        let mut ports = Vec::new();
        for port in [9500, 9501, 8000, 9000, 7000] {
            let free = Port::free();
            player.substitute(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{}", free.number));
            ports.push(free);
        }
        player.substitute("| relay0     |", "| my_relay   |");
        player.substitute("| index0 (*)        |", "| my_index (*)      |");
        let transcript = Transcript::parse(include_str!("data/tutorial_2019.txt"));
        Self { player, transcript, _ports: ports }
    }

    fn section(&mut self, name: &str) {
        self.player.play(self.transcript.section(name));
    }

    /// All of a section but its last command, or that alone: it needs a node that runs.
    fn server_section(&mut self, name: &str, last: bool) {
        let steps = self.transcript.section(name);
        let (end, begin) = steps.split_last().unwrap();
        if last {
            self.player.play(std::slice::from_ref(end));
        } else {
            self.player.play(begin);
        }
    }

    fn know_key(&mut self, identity: &str) {
        let (printed, _) = KEYS.iter().find(|(_, file)| *file == identity).unwrap();
        let key = self.player.sandbox.public_key(identity);
        self.player.substitute(printed, &key);
    }

    fn copy(&self, from: &str, to: &str) {
        std::fs::copy(self.player.sandbox.file(from), self.player.sandbox.file(to)).unwrap();
    }

    /// The whole tutorial; its chapters about servers come first, as they make the tickets.
    fn play(&mut self) {
        self.section("Initial setup");
        self.server_section("Running your own relay", false);
        self.know_key("relay/relay.ident");
        self.copy("relay/relay.ticket", "my_relay.ticket");
        self.copy("relay/relay.ticket", "relay.ticket");
        self.server_section("Running your own index server", false);
        self.know_key("index/index.ident");
        self.copy("index_client.ticket", "my_index.ticket");
        self.section("Cryptographic identity");
        self.know_key("node0/node0.ident");
        for name in [
            "Node database",
            "Node ticket",
            "Application ticket",
            "Starting the node",
            "Connecting with stctrl",
            "Configuring relays",
            "Configuring index servers",
            "Adding an extra node",
        ] {
            self.section(name);
        }
        self.know_key("node1/node1.ident");
        for name in [
            "Configuring mutual credit",
            "Exporting friend tickets",
            "Adding friends",
            "Enabling friends communication",
            "Setting credit limit",
            "Opening requests",
            "send-funds",
            "pay-invoice",
        ] {
            self.section(name);
        }
        // Their last commands add again what is there: nothing changes.
        self.server_section("Running your own relay", true);
        self.server_section("Running your own index server", true);
        self.section("Configuring relays");
        self.section("Configuring index servers");
        for daemon in self.player.daemons.drain(..) {
            assert!(daemon.terminate().success(), "daemons end cleanly");
        }
    }
}

#[test]
fn with_the_opening_balance_of_its_commands() {
    let mut tutorial = Tutorial::new();
    // The balances of its chapters on sending funds begin with 0: shifted by the opening balance.
    for (app, node, printed, shifted) in [
        ("app0", "node0", "0", "100"),
        ("app0", "node0", "-50", "50"),
        ("app1", "node1", "50", "-50"),
        ("app0", "node0", "10", "110"),
        ("app1", "node1", "-10", "-110"),
    ] {
        let command = format!("stctrl -I {app}/{app}.ident -T {node}/{node}.ticket info balance");
        tutorial.player.expect_instead(&command, printed, shifted);
    }
    tutorial.play();
}

#[test]
fn with_the_opening_balance_of_its_balances() {
    let mut tutorial = Tutorial::new();
    tutorial.player.substitute("--balance=100", "--balance=0");
    tutorial.player.substitute("--balance=-100", "--balance=0");
    tutorial.player.substitute("| B  =100       |", "| B  =0         |");
    tutorial.play();
}
