//! Hostile peers: attacks on running daemons that `tests/strangers.rs` does not make, with honest
//! clients measured beside them. After each, every daemon runs, has answered honest clients all the
//! time, and uses hardly more memory ([`MOST_GROWTH_KB`]) and descriptors than before.
//!
//! Where each attack is made:
//!
//! | attack | where |
//! | --- | --- |
//! | half-open and silent connections, garbage, giant and undecodable frames, sessions without hello, clients that never read, fresh identities | `strangers`, all ports; `net` tests of floods and admission |
//! | bytes that trickle in | here, all ports; `secure_channel` tests of strangers |
//! | recorded openings sent again | here, all ports; `secure_channel` tests of strangers |
//! | Cap'n Proto bombs | here, all ports; `proto` tests of codecs, the fuzzers |
//! | connections that come and go at once | here, all ports |
//! | relay: invented circuits, one key over many connections, circuits to everybody | here; `relay` tests of the broker and of `relay.rs` |
//! | index server: searches without end, statements of others | here; `index_server` tests of searcher, directory, federation |
//! | tokens, locks, amounts, routes, replays by friends | `funder` tests (`hostile`, `channel`, `endings`, `multi`), the simulator |
//! | apps without rights, revoked, too fast | `node` tests of apps, `tests/app_limits.rs` |
//! | files of others: open identities, links, databases in use, long tickets | `tests/bad_input.rs`, `tests/hardening.rs`, `bin/manners/files.rs` |
//!
//! `OFFSET_HOSTILE=n` makes each attack n times as large. The figures are printed with `--nocapture`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "the figures are for whoever runs it")]

#[path = "strangers/attacks.rs"]
#[allow(dead_code, reason = "the strangers use all of it")]
mod attacks;
#[path = "hostile/attempts.rs"]
mod attempts;
#[path = "strangers/honest.rs"]
#[allow(dead_code, reason = "the strangers use all of it")]
mod honest;
#[path = "strangers/measure.rs"]
#[allow(dead_code, reason = "the strangers use all of it")]
mod measure;
#[path = "strangers/ports.rs"]
mod ports;
mod support;

use std::{pin::Pin, time::Duration};

use futures::future::join_all;
use tokio::runtime::Runtime;

use attacks::Port;
use honest::{Client, Honest};
use measure::{Processes, may_open};
use support::{Sandbox, eventually};

type Attempt = fn(Port, usize) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// Every attack, with how often it is made at each port.
const ATTACKS: [(&str, Attempt, usize); 7] = [
    ("trickling bytes", |port, times| Box::pin(attempts::trickle(port, times)), 100),
    ("recorded openings", |port, times| Box::pin(attempts::recorded(port, times)), 20),
    ("bombs", |port, times| Box::pin(attempts::bombs(port, times)), 1),
    ("coming and going", |port, times| Box::pin(attempts::come_and_go(port, times)), 100),
    ("invented circuits", |port, times| Box::pin(attempts::invented_circuits(port, times)), 10),
    ("circuits to everybody", |port, times| Box::pin(attempts::circuits(port, times)), 2_000),
    ("searches", |port, times| Box::pin(attempts::searches(port, times)), 300),
];

#[test]
fn honest_clients_are_served_beside_hostile_ones() {
    let times: usize = std::env::var("OFFSET_HOSTILE").map_or(1, |times| times.parse().unwrap());
    may_open(8_192);
    let mut sandbox = Sandbox::new();
    // Otherwise nobody but root may count the files that a daemon has open.
    for daemon in ["STNODE", "STRELAY", "STINDEX"] {
        sandbox.set(&format!("{daemon}_ALLOW_CORE_DUMPS"), "true");
    }
    let network = sandbox.network("line:3");
    let processes = Processes::of(&network.status);
    let runtime = Runtime::new().unwrap();
    let _guard = runtime.enter();
    ports::another_app(&sandbox);
    let ports = ports::ports(&sandbox);
    let app = ports::identity(&sandbox, "net/node0/app.ident");
    let payee = ports::identity(&sandbox, "net/node2/node.ident").public_key();
    let (node, relay) = (&ports[0].server, &ports[1].server);
    let honest = Honest::start(runtime.block_on(async {
        vec![
            Client::reports(&app, node).await,
            Client::routes(&app, node, payee).await,
            Client::circuit(relay).await,
        ]
    }));
    honest.goes_on("before");
    println!("alone: slowest answers {:?}", honest.slowest());
    let before = processes.figures("before");
    for (what, attempt, count) in ATTACKS {
        let each = ports.iter().cloned().map(|port| attempt(port, count * times));
        let all = runtime.spawn(join_all(each));
        while !all.is_finished() {
            honest.goes_on(what);
            processes.look().within(&before, MOST_GROWTH_KB, MOST_FILES);
            std::thread::sleep(Duration::from_millis(100));
        }
        runtime.block_on(all).unwrap();
        println!("{what}: slowest answers {:?}", honest.slowest());
        processes.figures(what).within(&before, MOST_GROWTH_KB, MOST_FILES);
    }
    honest.goes_on("after");
    eventually("the descriptors are closed", || {
        processes.look().check(&before, MOST_GROWTH_KB, FILES_AFTER)
    });
}

/// The most by which the memory of a daemon may grow, in an unoptimised build.
const MOST_GROWTH_KB: u64 = 32 * 1024;
/// The most by which the descriptors of a daemon may grow meanwhile.
const MOST_FILES: usize = 1_024 + 256;
/// Descriptors that come and go without anybody hostile.
const FILES_AFTER: usize = 8;
