//! Strangers at every listening port, and clients that break the protocol: honest ones go on, and
//! memory and descriptors of the daemons stay bounded. Measured is what Linux tells of processes.
//!
//! `OFFSET_STRANGERS=n` does it all n times, in one network, for n times as many fresh identities:
//! `OFFSET_STRANGERS=500 cargo test --test strangers -- --nocapture` is 100,000 at each port. The
//! figures are printed with `--nocapture`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "the figures are for whoever runs it")]

#[path = "strangers/attacks.rs"]
mod attacks;
#[path = "strangers/honest.rs"]
mod honest;
#[path = "strangers/measure.rs"]
mod measure;
#[path = "strangers/ports.rs"]
mod ports;
mod support;

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use offset_crypto::{Identity, SystemRng};
use offset_proto::{ServerAddress, session::Purpose};
use offset_secure_channel::ChannelIdentity;
use tokio::runtime::Runtime;

use attacks::{Flood, Port};
use honest::{Client, Honest};
use measure::{Figures, Processes, may_open};
use ports::{another_app, identity};
use support::{Network, Sandbox, eventually};

#[test]
fn honest_clients_go_on_while_strangers_do_what_they_can() {
    let times: usize = std::env::var("OFFSET_STRANGERS").map_or(1, |times| times.parse().unwrap());
    // The daemons inherit it.
    let files = may_open(FLOOD + OWN_FILES);
    let flood = FLOOD.min(files.saturating_sub(OWN_FILES));
    if flood < FLOOD {
        println!("only {files} files may be open, so a flood is {flood} connections, not {FLOOD}");
    }

    let mut sandbox = Sandbox::new();
    // Otherwise nobody but root may count the files that a daemon has open.
    for daemon in ["STNODE", "STRELAY", "STINDEX"] {
        sandbox.set(&format!("{daemon}_ALLOW_CORE_DUMPS"), "true");
    }
    let network = sandbox.network("line:3");
    let processes = Processes::of(&network.status);
    let runtime = Runtime::new().unwrap();
    let _guard = runtime.enter();
    another_app(&sandbox);
    let ports = ports::ports(&sandbox);
    let app = identity(&sandbox, "net/node0/app.ident");
    let (node, relay) = (&ports[0].server, &ports[1].server);
    let payee = identity(&sandbox, "net/node2/node.ident").public_key();
    let honest = Honest::start(runtime.block_on(async {
        vec![
            Client::reports(&app, node).await,
            Client::routes(&app, node, payee).await,
            Client::circuit(relay).await,
        ]
    }));
    honest.goes_on("before");

    let before = processes.figures("before");
    for _ in 0..times {
        for port in &ports {
            let flood = runtime.block_on(Flood::start(port, flood));
            honest.goes_on(&format!("during the flood of {}", port.name));
            newcomers_are_served(&sandbox, &network);
            let what = format!("{} half-open at {}", flood.len(), port.name);
            processes.figures(&what).within(&before, MOST_GROWTH_KB, MOST_FILES);
            drop(flood);
            back_to(&processes, &before);
        }

        let all = runtime.spawn(join_all(ports.iter().cloned().map(attacks::everything)));
        while !all.is_finished() {
            honest.goes_on("during the attacks");
            processes.figures("attacks").within(&before, MOST_GROWTH_KB, MOST_FILES);
            newcomers_are_served(&sandbox, &network);
            std::thread::sleep(Duration::from_secs(2));
        }
        runtime.block_on(all).unwrap();
        back_to(&processes, &before);

        let all = ports.iter().map(|port| attacks::fresh_identities(port, IDENTITIES));
        runtime.block_on(join_all(all));
        honest.goes_on("after the fresh identities");
        println!("honest clients: slowest answers {:?}", honest.slowest());
        back_to(&processes, &before);
    }
    processes.figures("after").within(&before, MOST_GROWTH_KB, FILES_AFTER);
    honest.goes_on("after");
}

#[test]
fn a_relay_that_may_open_few_files_serves_on() {
    let sandbox = Sandbox::new();
    sandbox.run("stmgr gen-ident -o relay.ident").success();
    let relay = "sh -c 'ulimit -n 200; exec strelay -i relay.ident -l 127.0.0.1:0'";
    let daemon = sandbox.daemon(relay, 1);
    let key = identity(&sandbox, "relay.ident").public_key();
    let address = daemon.addresses[0].to_string().parse().unwrap();
    let server = ServerAddress { public_key: key, address };
    let runtime = Runtime::new().unwrap();
    let _guard = runtime.enter();
    let honest = Honest::start(vec![runtime.block_on(Client::circuit(&server))]);
    let known = Arc::new(ChannelIdentity::new(&Identity::random(&mut SystemRng)));
    let purpose = Purpose::Relay;
    let port = Port { name: "relay", purpose, server, open: true, node: key, known };
    let _flood = runtime.block_on(Flood::start(&port, 400));
    honest.goes_on("during the flood");
    let newcomers = Honest::start(vec![runtime.block_on(Client::circuit(&port.server))]);
    newcomers.goes_on("though they came during the flood");
    honest.goes_on("when others came");
}

/// An app that connects now pays a friend of a friend: app, relay and index server all serve.
fn newcomers_are_served(sandbox: &Sandbox, network: &Network) {
    let stctrl = network.printed[0].strip_prefix("node0: ").unwrap();
    let payee = sandbox.public_key("net/node2/node.ident");
    eventually("somebody who connects now is served", || {
        let ran = sandbox.run(&format!("{stctrl} funds send-funds -a 1 -d {payee}"));
        if ran.code == Some(0) { Ok(()) } else { Err(format!("{ran:?}")) }
    });
}

/// Waits until every descriptor that strangers took is closed.
fn back_to(processes: &Processes, before: &Figures) {
    eventually("the descriptors are closed", || {
        processes.look().check(before, MOST_GROWTH_KB, FILES_AFTER)
    });
}

/// Half-open connections of one flood.
const FLOOD: usize = 2_000;
/// Fresh identities at each port.
const IDENTITIES: usize = 200;
/// Files of this process besides those of a flood.
const OWN_FILES: usize = 600;
/// The most by which the memory of a daemon may grow. Half-open connections are at most 1,024, each
/// of some 20 KB once TLS has begun; an unoptimised build and its allocator take their share.
const MOST_GROWTH_KB: u64 = 64 * 1024;
/// The most by which the descriptors of a daemon may grow: half-open connections, and some.
const MOST_FILES: usize = 1_024 + 256;
/// Descriptors that come and go without any stranger.
const FILES_AFTER: usize = 8;
