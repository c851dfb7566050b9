//! The chapters Setup, Node, Relay and Index of the tutorial of 2020: its commands, the files that
//! they leave, and the daemons that they start.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::{fs, path::Path};

use support::{
    Port,
    transcript::{Player, Transcript},
};

fn tutorial(ports: &[u16]) -> (Player, Transcript, Vec<Port>) {
    let mut player = Player::new();
    for host in ["www.mynode.com", "www.myrelay.com", "www.myindex.com"] {
        player.substitute(host, "localhost");
    }
    let mut taken = Vec::new();
    for port in ports {
        let free = Port::free();
        player.substitute(&format!("={port}"), &format!("={}", free.number));
        taken.push(free);
    }
    (player, Transcript::parse(include_str!("data/tutorial_2020.txt")), taken)
}

/// All files below a directory, as paths relative to it, sorted.
fn tree(root: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                files.push(path.strip_prefix(root).unwrap().display().to_string());
            }
        }
    }
    files.sort();
    files
}

/// Ends the daemons, as a system does (`TERM`) or a user (`INT`).
fn end(player: &mut Player, signal: &str) {
    for daemon in player.daemons.drain(..) {
        assert!(daemon.signal(signal).success(), "daemons end cleanly");
    }
}

#[test]
fn setup() {
    let (mut player, transcript, _) = tutorial(&[]);
    player.play(transcript.section("Setup"));
}

#[test]
fn node() {
    let (mut player, transcript, ports) = tutorial(&[9876]);
    player.play(transcript.section("Node"));
    assert_eq!(
        tree(player.sandbox.path()),
        [
            "app/app.ident",
            "app/app.ticket",
            "node/node.db",
            "node/node.ident",
            "node/node.rcard",
            "node/node.ticket",
            "node/trusted/app.ticket",
        ]
    );
    player.play(transcript.section("Node start"));
    let daemon = &player.daemons[0];
    assert_eq!(daemon.lines, [format!("listening on 0.0.0.0:{}", ports[0].number)]);
    let friends = "stctrl -I app/app.ident -T node/node.ticket info friends";
    assert_eq!(player.sandbox.run(friends).success(), "No configured friends.\n");
    end(&mut player, "TERM");
}

#[test]
fn relay() {
    let (mut player, transcript, ports) = tutorial(&[4567]);
    player.play(transcript.section("Relay"));
    assert_eq!(tree(player.sandbox.path()), ["relay/relay.ident", "relay/relay.relay"]);
    let daemon = &player.daemons[0];
    assert_eq!(daemon.lines, [format!("listening on 0.0.0.0:{}", ports[0].number)]);
    end(&mut player, "INT");
}

#[test]
fn index() {
    let (mut player, transcript, ports) = tutorial(&[3456, 6543]);
    for other in ["other_index1", "other_index2"] {
        player.sandbox.run(&format!("stmgr gen-ident --output {other}.ident")).success();
        let ticket = format!(
            "stmgr index-ticket --address localhost:1 --idfile {other}.ident --output {other}.index"
        );
        player.sandbox.run(&ticket).success();
    }
    player.play(transcript.section("Index"));
    assert_eq!(
        tree(&player.sandbox.file("index")),
        [
            "index.ident",
            "index_client.index",
            "index_server.index",
            "trusted/other_index1.index",
            "trusted/other_index2.index",
        ]
    );
    let daemon = &player.daemons[0];
    for (i, (port, what)) in ports.iter().zip(["nodes", "servers"]).enumerate() {
        assert_eq!(daemon.addresses[i].port(), port.number);
        assert!(daemon.addresses[i].ip().is_loopback());
        assert!(daemon.lines[i].ends_with(&format!(" ({what})")), "{:?}", daemon.lines);
    }
    end(&mut player, "INT");
}
