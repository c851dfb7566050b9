//! What goes wrong in users' hands: every case ends with the right exit code and one sentence that
//! names the cause and the next step, and never with what only programmers read.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use support::{Daemon, Port, Sandbox, eventually};

const KEY: &str = "TiTqXCEMBDoAyseEiw8t6r3L7do_k0iXOU1_rk4ERqw";

/// A sandbox with an identity, one file of each kind that needs no node, and a node's files.
fn files() -> Sandbox {
    let sandbox = Sandbox::new();
    for line in [
        "stmgr gen-ident -o a.ident",
        "stmgr gen-ident -o app.ident",
        "stmgr node-ticket -i a.ident -a 127.0.0.1:1 -o node.ticket",
        "stmgr relay-ticket -i a.ident -a 127.0.0.1:1 -o relay.ticket",
        "stmgr index-ticket -i a.ident -a 127.0.0.1:1 -o index.ticket",
        "mkdir trusted",
        "stmgr app-ticket -i app.ident --pconfig --pfunds --proutes -o trusted/app.ticket",
        "stmgr init-node-db -i a.ident -o node.db",
        &format!("stregister gen-invoice -a 60 -p {KEY} -o a.invoice"),
    ] {
        sandbox.run(line).success();
    }
    sandbox
}

/// A node that runs in a sandbox of [`files`], with `stctrl` set up for it.
fn node() -> (Sandbox, Daemon) {
    let mut sandbox = files();
    let daemon = start_node(&sandbox);
    let ticket = format!("stmgr node-ticket -i a.ident -a {} -o n.ticket", daemon.addresses[0]);
    sandbox.run(&ticket).success();
    sandbox.set("OFFSET_IDFILE", "app.ident");
    sandbox.set("OFFSET_TICKET", "n.ticket");
    (sandbox, daemon)
}

fn start_node(sandbox: &Sandbox) -> Daemon {
    sandbox.daemon("stnode -i a.ident -l 127.0.0.1:0 -d node.db -t trusted", 1)
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let sandbox = files();
    for (line, part) in [
        ("stmgr", "Usage"),
        ("stmgr gen-identity -o x", "gen-ident"),
        ("stmgr gen-ident", "--output"),
        ("stmgr node-ticket -i a.ident -a nowhere -o x", "host:port"),
        ("stctrl info friends", "OFFSET_TICKET"),
        ("stctrl -I a -T b funds send-funds -a -5 -d x", "amount"),
        ("stctrl -I a -T b funds send-funds -a 5 -d x", "not a public key"),
        ("stctrl -I a -T b config set-spontaneous maybe", "on"),
        ("stctrl -I a -T b config add-currency -n bob -c 'a b'", "not a currency"),
        ("stctrl -I a -T b config set-friend-rate -n bob --add x", "--add"),
        ("stctrl -I a -T b config set-friend-rate -n bob --percent 1.23456", "decimals"),
        ("stctrl -I a -T b funds send-funds -a 5 -d x", "see --help"),
        ("stctrl -I a -T b funds pay-invoice -i a -r b --deadline abc", "expected a whole number"),
        ("stctrl -I a -T b funds pay-invoice -i a -r b --deadline ''", "expected a whole number"),
        ("stctrl -I a -T b funds pay-invoice -i a -r b --deadline=-1", "--deadline"),
        (
            "stctrl -I a -T b funds pay-invoice -i a -r b --deadline 5000000000",
            "from 0 to 4294967295",
        ),
        ("stregister gen-invoice -a 1.5 -o x -p x", "whole number"),
        ("stnode -i a.ident", "--laddr"),
        ("stnet up --topology ring:2", "from 3 to 64"),
    ] {
        sandbox.run(line).failure(2, &[part]);
    }
}

#[test]
fn help_and_version() {
    let sandbox = Sandbox::new();
    for program in ["stmgr", "stctrl", "stregister", "stnode", "strelay", "stindex", "stnet"] {
        let version = sandbox.run(&format!("{program} -V")).success();
        assert_eq!(version, format!("{program} {}\n", env!("CARGO_PKG_VERSION")));
        let help = sandbox.run(&format!("{program} -h")).success();
        assert!(help.contains("Example"), "{help}");
        // A reader that goes away is no error.
        assert_eq!(sandbox.run(&format!("({program} -h; echo $? >&2) | true")).stderr, "0\n");
    }
}

#[test]
fn files_of_the_wrong_kind_are_named() {
    let sandbox = files();
    for (line, parts) in [
        (
            "stmgr node-ticket -i relay.ticket -a h:1 -o x",
            ["relay.ticket: this is a relay-ticket, expected an identity", "stmgr gen-ident"],
        ),
        (
            "stctrl -I a -T b config add-relay -n r -r index.ticket",
            ["this is an index-ticket, expected a relay-ticket", "stmgr relay-ticket"],
        ),
        (
            "stctrl -I a -T b config add-index -n i -i a.invoice",
            ["this is an invoice, expected an index-ticket", "stmgr index-ticket"],
        ),
        (
            "stctrl -I a -T b config add-friend -n f -f node.ticket",
            ["expected a friend file", "export-ticket"],
        ),
        (
            "stctrl -I a -T b funds pay-invoice -i relay.ticket -r x",
            ["expected an invoice", "stctrl seller create-invoice"],
        ),
        (
            "stregister verify-receipt -i a.invoice -r a.invoice",
            ["this is an invoice, expected a receipt", "pay-invoice"],
        ),
        (
            "stctrl -I app.ident -T relay.ticket info friends",
            ["expected a node-ticket", "stmgr node-ticket"],
        ),
        ("strelay -i a.invoice -l 127.0.0.1:0", ["expected an identity", "stmgr gen-ident"]),
        ("stnode -i a.ident -l 127.0.0.1:0 -d a.invoice -t trusted", ["is not", "check the path"]),
    ] {
        sandbox.run(line).failure(1, &parts);
    }
}

#[test]
fn missing_cut_and_changed_files() {
    let sandbox = files();
    sandbox.run("stmgr show nothing").failure(1, &["cannot open nothing", "check the name"]);
    sandbox.run("stmgr show trusted").failure(1, &["is a directory", "name a file"]);
    sandbox.run("stmgr gen-ident -o no/a.ident").failure(1, &["no directory no", "make that"]);

    let ticket = sandbox.read("relay.ticket");
    for length in [ticket.len() / 4, ticket.len() / 2, ticket.len() - 3] {
        sandbox.write("cut.ticket", &ticket[..length]);
        let line = "stctrl -I a -T b config add-relay -n r -r cut.ticket";
        sandbox.run(line).failure(1, &["cut.ticket: ", "stmgr relay-ticket"]);
    }
    sandbox.write("more.ticket", &format!("{ticket}colour = \"red\"\n"));
    sandbox.run("stmgr show more.ticket").failure(1, &["more.ticket", "`colour`"]);

    let invoice = sandbox.read("a.invoice").replace("\"60\"", "\"61\"");
    sandbox.write("changed.invoice", &invoice);
    let line = "stctrl -I a -T b funds pay-invoice -i changed.invoice -r x";
    sandbox.run(line).failure(1, &["changed.invoice", "terms", "changed"]);
}

#[test]
fn files_are_not_replaced_and_secrets_stay_private() {
    let sandbox = files();
    let before = sandbox.read("a.ident");
    sandbox.run("stmgr gen-ident -o a.ident").failure(1, &["exists already", "--force"]);
    assert_eq!(sandbox.read("a.ident"), before);
    sandbox.run("stmgr init-node-db -i a.ident -o node.db").failure(1, &["exists", "choose"]);
    sandbox.run("stmgr gen-ident -o app.ident --force").success();

    sandbox.run("chmod 644 a.ident").success();
    let line = "stmgr relay-ticket -i a.ident -a h:1 -o x.ticket";
    sandbox.run(line).failure(1, &["others can read it", "chmod 600 a.ident"]);
    assert!(!sandbox.file("x.ticket").exists());
}

#[test]
fn a_port_in_use() {
    let sandbox = files();
    let first = sandbox.daemon("strelay -i a.ident -l 127.0.0.1:0", 1);
    let address = first.addresses[0];
    for line in [
        format!("strelay -i a.ident -l {address}"),
        format!("stindex -i a.ident -c 127.0.0.1:0 -s {address} -t trusted"),
        format!("stnode -i a.ident -l {address} -d node.db -t trusted"),
    ] {
        sandbox.run(&line).failure(1, &[&address.to_string(), "choose another port"]);
    }
}

#[test]
fn databases_of_others() {
    let sandbox = files();
    sandbox
        .run("stnode -i app.ident -l 127.0.0.1:0 -d node.db -t trusted")
        .failure(1, &["belongs to the node", "use the files that belong together"]);
    sandbox
        .run("stnode -i a.ident -l 127.0.0.1:0 -d nothing.db -t trusted")
        .failure(1, &["nothing.db"]);
    let first = start_node(&sandbox);
    sandbox
        .run("stnode -i a.ident -l 127.0.0.1:0 -d node.db -t trusted")
        .failure(1, &["in use", &format!("pid {}", first.pid()), "stop that process first"]);
}

#[test]
fn databases_that_are_newer_or_damaged() {
    let sandbox = files();
    let whole = std::fs::read(sandbox.file("node.db")).unwrap();
    // The schema version is in the header of an SQLite file, at byte 60.
    let mut newer = whole.clone();
    newer[60..64].copy_from_slice(&99u32.to_be_bytes());
    let mut damaged = whole.clone();
    damaged[4096..].fill(0x55);
    for (bytes, parts) in [
        (newer, ["schema version 99", "use the newer release"]),
        (damaged, ["damaged", "Keep the file"]),
        (whole[..whole.len() / 2].to_vec(), ["damaged", "Keep the file"]),
        (b"not a database at all".to_vec(), ["not a database", "check the path"]),
    ] {
        std::fs::write(sandbox.file("node.db"), bytes).unwrap();
        sandbox.run("stnode -i a.ident -l 127.0.0.1:0 -d node.db -t trusted").failure(1, &parts);
    }
}

#[test]
fn apps_that_may_not() {
    let (sandbox, _daemon) = node();
    sandbox.run("stmgr gen-ident -o other.ident").success();
    sandbox.run("stctrl -I other.ident info friends").failure(1, &["trusted"]);

    sandbox.run("stmgr app-ticket -i other.ident -o trusted/other.ticket").success();
    eventually("the new ticket counts", || {
        let ran = sandbox.run("stctrl -I other.ident info friends");
        if ran.code == Some(0) { Ok(()) } else { Err(ran.stderr) }
    });
    for (line, permission) in [
        ("config add-relay -n r -r relay.ticket", "config"),
        ("config set-spontaneous off", "config"),
        (&format!("funds send-funds -a 1 -d {KEY}"), "buyer"),
        ("funds pay-invoice -i a.invoice -r x.receipt", "buyer"),
    ] {
        sandbox
            .run(&format!("stctrl -I other.ident {line}"))
            .failure(1, &["permission", permission, "make a ticket"]);
    }
    assert!(!sandbox.file("x.receipt").exists());
}

#[test]
fn nodes_that_are_not_there() {
    let (sandbox, _daemon) = node();
    sandbox.run("stctrl -T node.ticket info friends").failure(1, &["127.0.0.1:1", "is it running"]);
    let address = sandbox.read("n.ticket");
    let address = address.split('"').find(|part| part.starts_with("127.")).unwrap();
    let line = format!("stmgr node-ticket -i app.ident -a {address} -o wrong.ticket");
    sandbox.run(&line).success();
    sandbox.run("stctrl -T wrong.ticket info friends").failure(1, &["node", "ticket"]);
}

#[test]
fn a_node_that_is_just_starting_is_waited_for() {
    let sandbox = files();
    let port = Port::free().number;
    sandbox.run(&format!("stmgr node-ticket -i a.ident -a 127.0.0.1:{port} -o n.ticket")).success();
    let node = format!("exec stnode -i a.ident -l 127.0.0.1:{port} -d node.db -t trusted");
    let app = "stctrl -I app.ident -T n.ticket info friends";
    let line = format!("(sleep 0.3; {node}) >/dev/null & {app}; code=$?; kill $!; exit $code");
    assert_eq!(sandbox.run(&line).success(), "No configured friends.\n");
}

#[test]
fn names_that_nobody_has() {
    let (sandbox, _daemon) = node();
    sandbox.run("stctrl config add-relay -n my_relay -r relay.ticket").success();
    // The same again changes nothing; another relay under the name is refused.
    sandbox.run("stctrl config add-relay -n my_relay -r relay.ticket").success();
    sandbox.run("stmgr relay-ticket -i app.ident -a h:1 -o other.ticket").success();
    sandbox
        .run("stctrl config add-relay -n my_relay -r other.ticket")
        .failure(1, &["my_relay", "in use", "choose another name"]);
    sandbox
        .run("stctrl config remove-relay -n my_relai")
        .failure(1, &["no relay named my_relai", "my_relay"]);
    sandbox.run("stctrl config enable-friend -n bob").failure(1, &["no friend named bob"]);
    sandbox.run("stctrl info friends -n bob").failure(1, &["no friend named bob", "info friends"]);
}

#[test]
fn payments_that_cannot_work() {
    let (sandbox, _daemon) = node();
    let send = |amount: &str| sandbox.run(&format!("stctrl funds send-funds -a {amount} -d {KEY}"));
    send("0").failure(1, &["at least 1"]);
    // Nobody to pay through: says so, and that nothing is owed.
    send("5").failure(1, &["nothing is owed"]);
    let own = sandbox.public_key("a.ident");
    sandbox
        .run(&format!("stctrl funds send-funds -a 5 -d {own}"))
        .failure(1, &["this node itself", "pay somebody else"]);
    sandbox.write("r.receipt", "mine");
    sandbox
        .run("stctrl funds pay-invoice -i a.invoice -r r.receipt")
        .failure(1, &["r.receipt exists already", "--force"]);
    assert_eq!(sandbox.read("r.receipt"), "mine");
}

#[test]
fn payments_between_friends_that_cannot_work() {
    let mut sandbox = Sandbox::new();
    let network = sandbox.network("line:2");
    sandbox.set("OFFSET_IDFILE", "net/node0/app.ident");
    sandbox.set("OFFSET_TICKET", "net/node0/node.ticket");
    let friend = sandbox.public_key("net/node1/node.ident");
    let send = |sandbox: &Sandbox, amount: u32, to: &str| {
        sandbox.run(&format!("stctrl funds send-funds -a {amount} -d {to} --deadline 10"))
    };
    // A key may begin with a dash, and this one is nobody's.
    let nobody = "-iTqXCEMBDoAyseEiw8t6r3L7do_k0iXOU1_rk4ERqw";
    send(&sandbox, 5, nobody).failure(1, &["no route", "nothing is owed"]);
    send(&sandbox, 1_001, &friend).failure(1, &["1000 could be sent at most", "nothing is owed"]);
    send(&sandbox, 1_000, &friend).success();
    // One more than there can be of anything.
    let limit = "stctrl config set-friend-max-debt -n node1 -m";
    sandbox
        .run(&format!("{limit} 170141183460469231731687303715884105728"))
        .failure(1, &["at most 2^127-1", "type less"]);
    sandbox.run(&format!("{limit} 170141183460469231731687303715884105727")).success();

    // Node 1 is gone: its process, not its friendship.
    network.kill("node1");
    eventually("the friend is offline", || {
        let shown = sandbox.run("stctrl info friends -n node1").success();
        if shown.contains("online: no") { Ok(()) } else { Err(shown) }
    });
    send(&sandbox, 5, &friend).failure(1, &["online", "nothing is owed"]);
}

#[cfg(target_os = "linux")]
#[test]
fn an_answer_that_cannot_be_written_says_that_it_is_done() {
    let sandbox = files();
    sandbox
        .run("stmgr show a.ident >/dev/full")
        .failure(1, &["it is done, but the answer cannot be written", "No space left"]);
}

#[test]
fn receipts_that_prove_nothing() {
    let mut sandbox = Sandbox::new();
    let _network = sandbox.network("line:2");
    sandbox.set("OFFSET_IDFILE", "net/node0/app.ident");
    sandbox.set("OFFSET_TICKET", "net/node0/node.ticket");
    let seller = sandbox.public_key("net/node1/node.ident");
    for invoice in ["a.invoice", "b.invoice"] {
        sandbox.run(&format!("stregister gen-invoice -a 7 -p {seller} -o {invoice}")).success();
    }
    sandbox.run("stctrl funds pay-invoice -i a.invoice -r a.receipt").success();
    sandbox.run("stregister verify-receipt -i a.invoice -r a.receipt").success();
    sandbox
        .run("stregister verify-receipt -i b.invoice -r a.receipt")
        .failure(1, &["another invoice", "ask the buyer"]);
    let forged = sandbox.read("a.receipt").replace("dest_payment = \"7\"", "dest_payment = \"6\"");
    sandbox.write("forged.receipt", &forged);
    sandbox
        .run("stregister verify-receipt -i a.invoice -r forged.receipt")
        .failure(1, &["does not prove", "ask the buyer"]);
    // An invoice is paid once.
    sandbox
        .run("stctrl funds pay-invoice -i a.invoice -r again.receipt")
        .failure(1, &["paid already", "nothing is owed"]);
    assert!(!sandbox.file("again.receipt").exists());
}
