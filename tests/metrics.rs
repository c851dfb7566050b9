//! Counters of the daemons, read as Prometheus reads them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use support::{Daemon, Sandbox, eventually};

/// Sends a request as it is; gives the head and the body of the answer.
fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    (head.to_owned(), body.to_owned())
}

/// The numbers of a page by name and labels; checks its form.
fn scrape(address: SocketAddr) -> BTreeMap<String, f64> {
    let (head, body) = ask(address, "GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    let mut numbers = BTreeMap::new();
    let mut described = "";
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            described = rest.split(' ').next().unwrap();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, described, "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        } else {
            let (name, number) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with(described), "{line} is described by {described}");
            let before = numbers.insert(name.to_owned(), number.parse().unwrap());
            assert_eq!(before, None, "{line} stands once");
        }
    }
    numbers
}

/// Looks until a number is as wanted.
fn until(address: SocketAddr, name: &str, wanted: f64) {
    eventually(name, || {
        let numbers = scrape(address);
        let found = numbers.get(name).copied();
        // They are small whole numbers.
        if found.is_some_and(|found| (found - wanted).abs() < 0.5) {
            Ok(())
        } else {
            Err(format!("{found:?} instead of {wanted}"))
        }
    });
}

struct Net {
    sandbox: Sandbox,
    relay: Daemon,
    index: Daemon,
    alice: Daemon,
    _bob: Daemon,
}

/// Two friends with a relay and an index server, each with its counters.
fn net() -> Net {
    let mut sandbox = Sandbox::new();
    sandbox.set("STRELAY_METRICS", "127.0.0.1:0");
    sandbox.set("STINDEX_METRICS", "127.0.0.1:0");
    sandbox.set("STNODE_METRICS", "127.0.0.1:0");
    for line in
        ["mkdir trusted", "stmgr gen-ident -o relay.ident", "stmgr gen-ident -o index.ident"]
    {
        sandbox.run(line).success();
    }
    let relay = sandbox.daemon("strelay -i relay.ident -l 127.0.0.1:0", 2);
    assert!(relay.lines[1].ends_with(" (metrics)"), "{:?}", relay.lines);
    let index = "stindex -i index.ident -c 127.0.0.1:0 -s 127.0.0.1:0 -t trusted";
    let index = sandbox.daemon(index, 3);
    let ticket = |kind: &str, address: SocketAddr| {
        let line = format!("stmgr {kind}-ticket -i {kind}.ident -a {address} -o {kind}.ticket");
        sandbox.run(&line).success();
    };
    ticket("relay", relay.addresses[0]);
    ticket("index", index.addresses[0]);
    let node = |name: &str| {
        for line in [
            format!("mkdir -p {name}/trusted"),
            format!("stmgr gen-ident -o {name}/node.ident"),
            format!("stmgr gen-ident -o {name}/app.ident"),
            format!("stmgr init-node-db -i {name}/node.ident -o {name}/node.db"),
            format!(
                "stmgr app-ticket -i {name}/app.ident --pconfig --pfunds --proutes -o {name}/trusted/app.ticket"
            ),
        ] {
            sandbox.run(&line).success();
        }
        let line = format!(
            "stnode -i {name}/node.ident -d {name}/node.db -t {name}/trusted -l 127.0.0.1:0"
        );
        let daemon = sandbox.daemon(&line, 2);
        let address = daemon.addresses[0];
        for line in [
            format!("stmgr node-ticket -i {name}/node.ident -a {address} -o {name}/node.ticket"),
            stctrl(name, "config add-relay -n r -r relay.ticket"),
            stctrl(name, "config add-index -n i -i index.ticket"),
            stctrl(name, &format!("info export-ticket -o {name}.friend")),
        ] {
            sandbox.run(&line).success();
        }
        daemon
    };
    let (alice, bob) = (node("alice"), node("bob"));
    for (name, friend) in [("alice", "bob"), ("bob", "alice")] {
        for command in [
            format!("config add-friend -n {friend} -f {friend}.friend"),
            format!("config enable-friend -n {friend}"),
            format!("config set-friend-max-debt -n {friend} -m 100"),
            format!("config open-friend -n {friend}"),
        ] {
            sandbox.run(&stctrl(name, &command)).success();
        }
    }
    Net { sandbox, relay, index, alice, _bob: bob }
}

fn stctrl(name: &str, command: &str) -> String {
    format!("stctrl -I {name}/app.ident -T {name}/node.ticket {command}")
}

/// A connection is what a command waits for longest: more of them would be needless.
#[test]
fn every_command_makes_one_connection() {
    let Net { sandbox, relay: _relay, index: _index, alice, _bob } = net();
    let node = alice.addresses[1];
    until(node, "offset_node_lines", 1.0);
    let connections = || scrape(node)["offset_node_apps_connections_accepted_total"];
    let bob = sandbox.public_key("bob/node.ident");
    for command in [
        "info balance",
        "info status",
        "info max-send",
        "info friends -n bob",
        "config set-friend-max-debt -n bob -m 200",
        "seller create-invoice -a 5 -i alice.invoice",
        "seller list",
        "funds quote -a 5 -d BOB",
        "funds send-funds -a 5 -d BOB --note lunch",
        "history list",
    ] {
        let before = connections();
        sandbox.run(&stctrl("alice", &command.replace("BOB", &bob))).success();
        let made = connections() - before;
        assert!((0.5..1.5).contains(&made), "{command}: {made}");
    }
}

#[test]
fn each_daemon_counts_what_it_does_and_what_it_refuses() {
    let Net { sandbox, relay, index, alice, _bob } = net();
    let (relay, index, node) = (relay.addresses[1], index.addresses[2], alice.addresses[1]);
    until(index, "offset_index_edges", 2.0);
    until(index, "offset_index_nodes", 2.0);
    until(index, "offset_index_clients", 2.0);
    until(node, "offset_node_sessions", 1.0);
    until(node, "offset_node_lines", 1.0);

    let bob = sandbox.public_key("bob/node.ident");
    let pay = |amount: u32| {
        sandbox.run(&stctrl("alice", &format!("funds send-funds -a {amount} -d {bob}")))
    };
    pay(7).success();
    pay(1_000).failure(1, &["nothing is owed"]);
    let nobody = sandbox.public_key("relay.ident");
    let line = stctrl("alice", &format!("funds send-funds -a 1 -d {nobody} --deadline 5"));
    sandbox.run(&line).failure(1, &["nothing is owed"]);
    until(node, "offset_node_payments_total{outcome=\"succeeded\"}", 1.0);
    until(node, "offset_node_pending_local", 0.0);
    let numbers = scrape(node);
    assert!(1.0 <= numbers["offset_node_payments_total{outcome=\"failed\"}"], "{numbers:#?}");
    for name in [
        "offset_node_tokens_sent_total",
        "offset_node_tokens_received_total",
        "offset_node_commit_seconds_count",
        "offset_node_commit_seconds_sum",
        "offset_node_rows_total",
        "offset_node_apps_connections_accepted_total",
        "offset_node_friend_handshakes_total{result=\"established\"}",
    ] {
        assert!(0.0 < numbers[name], "{name}: {numbers:#?}");
    }
    let numbers = scrape(index);
    assert!(2.0 <= numbers["offset_index_updates_total{result=\"applied\"}"], "{numbers:#?}");
    for name in [
        "offset_index_searches_total{result=\"not_found\"}",
        "offset_index_search_seconds_count",
        "offset_index_answer_seconds_count",
        "offset_index_stored_bytes",
    ] {
        assert!(1.0 <= numbers[name], "{name}: {numbers:#?}");
    }
    for name in [
        "offset_index_federated_updates_refused_total{reason=\"wrong_time\"}",
        "offset_index_updates_slowed_total",
        "offset_index_trusted",
        "offset_index_federated_lacking",
        "offset_index_oldest_seconds",
        "offset_index_answer_age_milliseconds_total",
        "offset_index_search_edges_total",
    ] {
        assert!(numbers.contains_key(name), "{name}: {numbers:#?}");
    }
    let numbers = scrape(relay);
    assert!(2.0 <= numbers["offset_relay_clients"], "{numbers:#?}");
    assert!(1.0 <= numbers["offset_relay_circuits"], "{numbers:#?}");
    assert!(0.0 < numbers["offset_relay_bytes_total"], "{numbers:#?}");

    // Refusals: an application without a ticket, and one without a permission.
    sandbox.run("stmgr gen-ident -o other.ident").success();
    sandbox.run("stctrl -I other.ident -T alice/node.ticket info friends").failure(1, &["trusted"]);
    until(node, "offset_node_apps_connections_refused_total{reason=\"unauthorised\"}", 1.0);
    sandbox.run("stmgr app-ticket -i other.ident -o alice/trusted/other.ticket").success();
    eventually("the ticket counts", || {
        let ran = sandbox.run("stctrl -I other.ident -T alice/node.ticket info friends");
        if ran.code == Some(0) { Ok(()) } else { Err(ran.stderr) }
    });
    sandbox
        .run("stctrl -I other.ident -T alice/node.ticket config set-spontaneous off")
        .failure(1, &["permission"]);
    until(node, "offset_node_requests_refused_total{reason=\"permission\"}", 1.0);
    // A stranger that says nothing sensible.
    let mut stream = TcpStream::connect(alice.addresses[0]).unwrap();
    stream.write_all(&[7; 200]).unwrap();
    drop(stream);
    until(node, "offset_node_apps_connections_refused_total{reason=\"not_greeted\"}", 1.0);
}

#[test]
fn a_page_is_all_that_there_is_to_get() {
    let sandbox = Sandbox::new();
    sandbox.run("stmgr gen-ident -o a.ident").success();
    let relay = sandbox.daemon("strelay -i a.ident -l 127.0.0.1:0 --metrics 127.0.0.1:0", 2);
    let address = relay.addresses[1];
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        ("GET /metrics/x HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "405"),
        ("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "200"),
        ("nonsense\r\n\r\n", "400"),
        ("GET /metrics?x=1 HTTP/1.0\r\n\r\n", "200"),
    ] {
        let (head, _) = ask(address, request);
        assert!(head.split(' ').nth(1) == Some(status), "{request}: {head}");
    }
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(9_000));
    let mut stream = TcpStream::connect(address).unwrap();
    // It may be closed before all is written.
    let _ = stream.write_all(long.as_bytes());
    let mut answer = String::new();
    if stream.read_to_string(&mut answer).is_ok() && !answer.is_empty() {
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    // Readers that say nothing are few, and do not keep others out for ever.
    let _silent: Vec<TcpStream> = (0..12).map(|_| TcpStream::connect(address).unwrap()).collect();
    scrape(address);
    let text = "strelay -i a.ident -l 127.0.0.1:0 --metrics";
    sandbox.run(&format!("{text} {address}")).failure(1, &[&address.to_string(), "another port"]);
    sandbox.run(&format!("{text} nowhere")).failure(2, &["--metrics", "host:port"]);
    assert!(relay.terminate().success());
}
