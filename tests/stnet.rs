//! `stnet`: the demonstration, and networks that stay.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::process::Command;

use support::{Sandbox, eventually};

#[test]
fn the_demonstration_pays_through_alice() {
    let sandbox = Sandbox::new();
    let printed = sandbox.run("stnet demo").success();
    for line in [
        "  Bob     -50",
        "  Charli   50",
        "Payment successful!",
        "Fees: 0",
        "Receipt is valid!",
        "  Bob       0",
        "  Alice     0",
        "  Charli    0",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line:?} in {printed}");
    }
    // Settings of other daemons are not for those of a network.
    let elsewhere = "STNODE_CONFIG=none.toml STRELAY_METRICS=none:1 STINDEX_CONFIG=none.toml";
    let json = sandbox.run(&format!("{elsewhere} stnet demo --json")).success();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["receipt_valid"], true);
    assert_eq!(json["before"]["Charli"], "50");
    assert_eq!(json["after"]["Charli"], "0");
}

#[test]
fn a_network_that_stays_is_stopped_and_started_again() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.run("stnet status --dir net").success(), "No network runs in net.\n");
    assert_eq!(sandbox.run("stnet down --dir net").success(), "No network runs in net.\n");

    let network = sandbox.network("ring:3");
    assert_eq!(network.printed[0], "node0: stctrl -I net/node0/app.ident -T net/node0/node.ticket");
    assert_eq!(network.status["daemons"].as_array().unwrap().len(), 6);
    let prefix = network.printed[0].strip_prefix("node0: ").unwrap().to_owned();
    let friend = sandbox.public_key("net/node2/node.ident");
    sandbox.run(&format!("{prefix} funds send-funds -a 3 -d {friend}")).success();
    sandbox.run("stnet up --dir net").failure(1, &["runs in net already", "stnet down --dir net"]);
    sandbox.run("stnet down --dir net").success();
    assert_eq!(network.ended(), Some(0));
    assert_eq!(sandbox.run("stnet status --dir net").success(), "No network runs in net.\n");

    sandbox
        .run("stnet up --dir net --topology line:2")
        .failure(1, &["another topology", "choose another directory"]);
    // What was paid stays paid.
    let _again = sandbox.network("ring:3");
    assert_eq!(sandbox.run(&format!("{prefix} info balance")).success(), "-3\n");
}

#[test]
fn no_daemon_outlives_it() {
    let sandbox = Sandbox::new();
    let network = sandbox.network("line:2");
    let daemons = network.status["daemons"].as_array().unwrap().clone();
    // As if `stnet` itself had crashed.
    drop(network);
    for daemon in daemons {
        let pid = daemon["pid"].to_string();
        eventually("the daemon ends", || {
            let alive =
                Command::new("sh").args(["-c", &format!("kill -0 {pid}")]).output().unwrap();
            if alive.status.success() { Err(daemon.to_string()) } else { Ok(()) }
        });
    }
}
