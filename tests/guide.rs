//! The guide, command by command and output by output: what it tells to type works, and what it
//! shows is what is printed. Only ports and keys are put in place of its own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use support::{
    Port,
    transcript::{Player, Transcript},
};

/// The keys that the guide prints, and whose identity each is.
const KEYS: [(&str, &str); 2] = [
    ("TiTqXCEMBDoAyseEiw8t6r3L7do_k0iXOU1_rk4ERqw", "alice/node.ident"),
    ("bUoWZEEInqjDdw8TOBlpY0zpHF7hjLMAX_DdPrTI9y8", "bob/node.ident"),
];

#[test]
fn the_guide_is_true() {
    let mut player = Player::new();
    let mut ports = Vec::new();
    for port in [8000, 9000, 7000, 9500, 9501] {
        let free = Port::free();
        player.substitute(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{}", free.number));
        ports.push(free);
    }
    let steps = Transcript::guide(include_str!("../docs/guide.md"));
    assert!(steps.len() > 40, "the commands were found: {steps:#?}");
    for step in &steps {
        player.play(std::slice::from_ref(step));
        for (printed, identity) in KEYS {
            if step.command == format!("stmgr gen-ident --output {identity}") {
                let key = player.sandbox.public_key(identity);
                player.substitute(printed, &key);
            }
        }
    }
    for daemon in player.daemons.drain(..) {
        assert!(daemon.terminate().success(), "daemons end cleanly");
    }
}
