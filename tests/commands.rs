//! Every command of every program: what `--json` prints is documented in `docs/json.md`, and wrong
//! arguments of any kind end in words and an exit code.
//!
//! `OFFSET_WALK=n` tries n command lines of the random walk.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use clap::Command;
use offset_crypto::{Rng as _, SeededRng};
use serde_json::Value;

use support::{Ran, Sandbox};

/// Each command without commands below it, with its words.
fn leaves(command: &Command, above: &str, found: &mut Vec<(String, Command)>) {
    let name = format!("{above}{}", command.get_name());
    if command.get_subcommands().next().is_none() {
        return found.push((name, command.clone()));
    }
    for below in command.get_subcommands() {
        leaves(below, &format!("{name} "), found);
    }
}

fn all_commands() -> Vec<(String, Command)> {
    let mut found = Vec::new();
    for program in &offset::command_lines() {
        leaves(program, "", &mut found);
    }
    found
}

/// `docs/json.md`, read.
struct Documented {
    /// Keys by command.
    keys: BTreeMap<String, BTreeSet<String>>,
    silent: BTreeSet<String>,
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

impl Documented {
    fn read() -> Self {
        let text = include_str!("../docs/json.md");
        let (_, rest) = text.split_once("## Commands\n").unwrap();
        let (commands, rest) = rest.split_once("## Commands that print nothing\n").unwrap();
        let (silent, shapes) = rest.split_once("## Shapes\n").unwrap();
        let shapes: BTreeMap<_, _> = sections(shapes).collect();
        let keys = sections(commands)
            .map(|(name, body)| (name.trim_matches('`').to_owned(), keys_of(body, "", &shapes)))
            .collect();
        Self { keys, silent: quoted(silent).map(str::to_owned).collect() }
    }
}

fn sections(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split("### ").skip(1).map(|section| section.split_once('\n').unwrap())
}

/// The keys of a section; those of a shape below the key that has it.
fn keys_of(body: &str, above: &str, shapes: &BTreeMap<&str, &str>) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for line in format!("\n{body}").split("\n- ").skip(1) {
        // Words after the colon may quote values; keys there belong to an object that may be null.
        let (names, words) = line.split_once("`: ").unwrap_or_else(|| panic!("no words: {line}"));
        let shape = words.split('*').nth(1).filter(|name| shapes.contains_key(name));
        for name in
            quoted(&format!("{names}`")).chain(quoted(words).filter(|name| name.contains('.')))
        {
            let name = if name == "." { String::new() } else { name.to_owned() };
            let dot = if above.is_empty() || name.is_empty() { "" } else { "." };
            let path = format!("{above}{dot}{name}");
            if let Some(shape) = shape {
                keys.extend(keys_of(shapes[shape], &path, shapes));
            }
            keys.insert(path);
        }
    }
    keys
}

/// Whether a documented key is this one, or one below it is.
fn matches(documented: &str, path: &str) -> bool {
    documented == path
        || documented.strip_suffix(".*").is_some_and(|object| {
            path == object || path.strip_prefix(object).is_some_and(|rest| rest.starts_with('.'))
        })
        || documented
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('.') || rest.starts_with("[]"))
}

/// Every key in a document.
fn paths(value: &Value, above: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let dot = if above.is_empty() { "" } else { "." };
                let path = format!("{above}{dot}{key}");
                paths(value, &path, found);
                found.insert(path);
            }
        }
        Value::Array(values) => {
            for value in values {
                let path = format!("{above}[]");
                paths(value, &path, found);
                found.insert(path);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_command_is_in_the_description_of_json_and_nothing_else() {
    let documented = Documented::read();
    let mut expected = BTreeSet::new();
    for (name, command) in all_commands() {
        let json = command.get_arguments().any(|argument| argument.get_long() == Some("json"));
        let daemon = ["stnode", "strelay", "stindex"].contains(&name.as_str());
        assert!(!json || !daemon, "{name}");
        if !daemon {
            let known = documented.keys.contains_key(&name) || documented.silent.contains(&name);
            assert!(known, "docs/json.md says nothing of `{name}`");
            expected.insert(name);
        }
    }
    let said: BTreeSet<_> =
        documented.keys.keys().chain(&documented.silent).map(String::as_str).collect();
    for name in said {
        assert!(expected.contains(name), "docs/json.md has `{name}`, which is no command");
    }
    for name in &documented.silent {
        assert!(!documented.keys.contains_key(name), "`{name}` prints something or nothing");
    }
    for program in &offset::command_lines() {
        if !["stnode", "strelay", "stindex"].contains(&program.get_name()) {
            let json = |argument: &clap::Arg| {
                argument.get_long() == Some("json") && argument.is_global_set()
            };
            assert!(program.get_arguments().any(json), "{} has no --json", program.get_name());
        }
    }
}

/// Checks what a command prints with `--json` against its description.
struct Checked<'a> {
    sandbox: &'a Sandbox,
    documented: Documented,
    /// The nodes' own command lines.
    prefixes: Vec<String>,
    seen: BTreeSet<String>,
}

impl Checked<'_> {
    /// Runs commands of a node, or of none.
    fn run_all(&mut self, node: usize, commands: &[(&str, &str)]) {
        for (command, arguments) in commands {
            self.run(node, command, arguments);
        }
    }

    fn run(&mut self, node: usize, command: &str, arguments: &str) {
        let prefix = &self.prefixes[node];
        let rest = command.strip_prefix("stctrl ").map(|rest| format!("{prefix} {rest}"));
        let line = format!("{} {arguments} --json", rest.as_deref().unwrap_or(command));
        let printed = self.sandbox.run(&line).success();
        self.seen.insert(command.to_owned());
        if self.documented.silent.contains(command) {
            assert_eq!(printed, "", "{command}");
            return;
        }
        let value: Value = serde_json::from_str(&printed).unwrap();
        let (mut found, keys) = (BTreeSet::new(), &self.documented.keys[command]);
        paths(&value, "", &mut found);
        assert!(!found.is_empty(), "{command}");
        for path in found {
            let known = keys.iter().any(|key| matches(key, &path));
            assert!(known, "docs/json.md does not have `{path}` of `{command}`: {printed}");
        }
    }
}

/// What needs two minds, a loss, or a network of its own is run by other tests.
const ELSEWHERE: [&str; 6] = [
    "stctrl buyer cancel-payment",
    "stctrl config recover-friend",
    "stctrl config reset-friend",
    "stindex query",
    "stnet demo",
    "stnet up",
];

#[test]
fn what_json_prints_is_described() {
    let sandbox = Sandbox::new();
    let network = sandbox.network("line:3");
    let prefixes: Vec<_> =
        network.printed.iter().map(|line| line.split_once(": ").unwrap().1.to_owned()).collect();
    let key = sandbox.public_key("net/node2/node.ident");
    support::eventually("the payment goes through", || {
        let line = format!("{} funds send-funds -a 1 -d {key}", prefixes[0]);
        let ran = sandbox.run(&line);
        if ran.code == Some(0) { Ok(()) } else { Err(format!("{ran:?}")) }
    });
    let documented = Documented::read();
    let mut checked = Checked { sandbox: &sandbox, documented, prefixes, seen: BTreeSet::new() };
    pay(&mut checked, &key);
    sandbox.run("(umask 077; echo correct horse > words)").success();
    checked.run_all(0, &FILES);
    checked.run_all(0, &CONFIG);
    checked.run_all(0, &[("stnet status", "--dir net"), ("stnet down", "--dir net")]);
    let mut seen = checked.seen;
    seen.extend(ELSEWHERE.map(str::to_owned));
    let all: BTreeSet<_> =
        checked.documented.keys.into_keys().chain(checked.documented.silent).collect();
    assert_eq!(seen, all, "each command is run here, or known to be run elsewhere");
}

/// Node 0 pays node 2, whose key this is, in all ways.
fn pay(checked: &mut Checked<'_>, key: &str) {
    for (name, how) in [("a", "--description bananas"), ("b", ""), ("c", ""), ("h", "--hold 1h")] {
        let arguments = format!("-a 7 -i {name}.invoice {how}");
        checked.run(2, "stctrl seller create-invoice", &arguments);
    }
    let to = format!("-a 5 -d {key}");
    checked.run_all(
        0,
        &[
            ("stctrl funds quote", &to),
            ("stctrl funds send-funds", &to),
            ("stctrl funds pay-invoice", "-i a.invoice -r a.receipt"),
            ("stctrl funds pay-invoice", "-i h.invoice -r h.receipt"),
            ("stctrl buyer pay-invoice", "-i b.invoice -p b.payment -c b.commit"),
            ("stctrl buyer payment-status", "-p b.payment"),
            ("stctrl funds rebalance", ""),
            ("stregister gen-invoice", &format!("-a 1 -p {key} -o g.invoice")),
            ("stregister verify-commit", "-i b.invoice -c b.commit"),
            ("stregister verify-receipt", "-i a.invoice -r a.receipt"),
        ],
    );
    checked.run_all(
        2,
        &[
            ("stctrl seller commit-invoice", "-i b.invoice -c b.commit"),
            ("stctrl seller collect-invoice", "-i h.invoice"),
            ("stctrl seller cancel-invoice", "-i c.invoice"),
            ("stctrl seller invoice-status", "-i a.invoice"),
            ("stctrl seller list", ""),
            ("stctrl info export-ticket", "-o you.friend"),
        ],
    );
    checked.run_all(
        1,
        &[
            ("stctrl info pending", ""),
            ("stctrl history list", ""),
            ("stctrl history fees", ""),
            ("stctrl history export", "-o books.csv"),
            ("stctrl history export", ""),
        ],
    );
}

/// What makes, shows and checks files.
const FILES: [(&str, &str); 28] = [
    ("stctrl info export-ticket", "-o me.friend"),
    ("stctrl info friend-last-token", "-n node1 -o a.token"),
    ("stregister verify-token", "-t a.token"),
    ("stmgr backup", "--database net/node0/node.db -o a.db"),
    ("stmgr verify-backup", "a.db"),
    ("stmgr restore", "--backup a.db --database b.db"),
    ("stmgr gen-ident", "-o b.ident"),
    ("stmgr gen-ident", "-o c.ident"),
    ("stmgr encrypt-ident", "-i c.ident --passphrase-file words"),
    ("stmgr decrypt-ident", "-i c.ident --passphrase-file words"),
    ("stmgr init-node-db", "-i b.ident -o c.db"),
    ("stmgr app-ticket", "-i b.ident -o b.ticket --budget USD=5/day --commands-per-second 7"),
    ("stmgr node-ticket", "-i b.ident -a h:1 -o node.ticket"),
    ("stmgr relay-ticket", "-i b.ident -a 127.0.0.1:1 -o relay.ticket"),
    ("stmgr index-ticket", "-i b.ident -a 127.0.0.1:1 -o index.ticket"),
    ("stmgr node-entry", "-n b.ident -p b.ident -a h:1 -o b.rcard"),
    ("stmgr show", "a.invoice"),
    ("stmgr show", "a.receipt"),
    ("stmgr show", "a.token"),
    ("stmgr show", "b.payment"),
    ("stmgr show", "b.commit"),
    ("stmgr show", "h.invoice"),
    ("stmgr show", "b.ident"),
    ("stmgr show", "b.ticket"),
    ("stmgr show", "b.rcard"),
    ("stmgr show", "me.friend"),
    ("stmgr show", "node.ticket"),
    ("stmgr show", "net/relay/relay.ticket"),
];

/// What changes the configuration of a node, and shows it.
const CONFIG: [(&str, &str); 37] = [
    ("stctrl config add-relay", "-n other -r relay.ticket"),
    ("stctrl config add-index", "-n other -i index.ticket"),
    ("stctrl config add-friend", "-n bob -f you.friend"),
    ("stctrl config set-friend-relays", "-n bob -f you.friend"),
    ("stctrl config set-friend-name", "-n bob -N carol"),
    ("stctrl config enable-friend", "-n carol"),
    ("stctrl config disable-friend", "-n carol"),
    ("stctrl config remove-friend", "-n carol"),
    ("stctrl config add-currency", "-n node1 -c USD"),
    ("stctrl config set-friend-rate", "-n node1 --percent 1 --add 2"),
    ("stctrl config set-friend-max-debt", "-n node1 -m 50"),
    ("stctrl config close-friend", "-n node1"),
    ("stctrl config open-friend", "-n node1"),
    ("stctrl config set-default-currency", "-c credit"),
    ("stctrl config set-decimals", "-d 0"),
    ("stctrl config set-spontaneous", "on"),
    ("stctrl config set-retention", "forever"),
    ("stctrl config end-recovery", ""),
    ("stctrl info recoverable", ""),
    ("stctrl info public-key", ""),
    ("stctrl info balance", ""),
    ("stctrl info balance", "--all"),
    ("stctrl info relays", ""),
    ("stctrl info index", ""),
    ("stctrl info friends", ""),
    ("stctrl info friends", "-n node1"),
    ("stctrl info status", ""),
    ("stctrl info pending", ""),
    ("stctrl info max-send", ""),
    ("stctrl info max-receive", ""),
    ("stctrl history list", "--limit 2"),
    ("stctrl config remove-currency", "-n node1 -c USD"),
    ("stctrl config remove-relay", "-n other"),
    ("stctrl config remove-index", "-n other"),
    // The friend is given up with what it owes.
    ("stctrl config remove-friend", "-n node1 --forfeit --yes"),
    ("stctrl info friends", ""),
    ("stctrl info status", ""),
];

/// Wrong values of every kind, and some that are right somewhere else.
const VALUES: [&str; 40] = [
    "",
    "-",
    "--",
    "-1",
    "0",
    "1",
    "18446744073709551616",
    "340282366920938463463374607431768211456",
    "99999999999999999999999999999999999999999999",
    "1.5",
    "1e9",
    "nan",
    "0x10",
    "²",
    "٣",
    "a",
    "bob",
    ".",
    "..",
    "/",
    "/nowhere/x",
    "a.invoice",
    "a.ident",
    "a.ticket",
    "empty",
    "binary",
    "directory",
    "offset:",
    "offset:invoice:",
    "offset:invoice:AAAA",
    "offset:identity:x",
    "h:1",
    "h:65536",
    "[::1]:1",
    "credit",
    "credit=5",
    "USD=5/day",
    "100%",
    "1h",
    "\u{1b}[31m",
];

/// Something that was printed for programmers.
fn is_debug(said: &str) -> bool {
    let forms = [
        "panicked",
        "RUST_BACKTRACE",
        "Some(",
        "Err(",
        "Ok(",
        "None)",
        "Os {",
        "kind: ",
        "Error {",
        "::",
        "ParseIntError",
        "InvalidDigit",
        "Utf8Error",
        "unwrap",
        " at line ",
        "PathBuf",
        "\\\"",
    ];
    // Addresses of IPv6 have two colons, and so has a sentence behind a value that ends in one.
    let said = said.replace("[::1]", "").replace("offset:invoice::", "").replace("offset::", "");
    forms.iter().any(|form| said.contains(form))
}

fn is_in_words(ran: &Ran) {
    assert!(matches!(ran.code, Some(0..=2)), "{ran:?}");
    assert!(!is_debug(&ran.stderr) && !is_debug(&ran.stdout), "{ran:?}");
    if ran.code == Some(0) {
        return;
    }
    assert!(ran.stderr.starts_with("error: "), "{ran:?}");
    assert_eq!(ran.stdout, "", "{ran:?}");
    if ran.code == Some(1) {
        assert_eq!(ran.stderr.trim_end().lines().count(), 1, "one sentence: {ran:?}");
    }
}

#[test]
fn wrong_arguments_end_in_words_and_an_exit_code() {
    let walks = std::env::var("OFFSET_WALK").map_or(400, |walks| walks.parse().unwrap());
    let sandbox = Sandbox::new();
    sandbox.run("stmgr gen-ident -o a.ident").success();
    let key = sandbox.public_key("a.ident");
    sandbox.run("stmgr relay-ticket -i a.ident -a 127.0.0.1:1 -o a.ticket").success();
    sandbox.run(&format!("stregister gen-invoice -a 1 -p {key} -o a.invoice")).success();
    sandbox.run("mkdir directory && : > empty && printf '\\377\\376' > binary").success();
    let commands = all_commands();
    let mut rng = SeededRng::new(1);
    let mut draw = |below: usize| {
        let mut bytes = [0; 4];
        rng.fill(&mut bytes);
        u32::from_be_bytes(bytes) as usize % below
    };
    let mut codes = [0_u32; 3];
    for walk in 0..walks {
        // Each command once, then at random.
        let (name, command) =
            &commands[if walk < commands.len() { walk } else { draw(commands.len()) }];
        let mut words = vec![name.clone()];
        let mut value = |words: &mut Vec<String>| {
            let value = match draw(VALUES.len() + 2) {
                index if index < VALUES.len() => VALUES[index],
                _ => key.as_str(),
            };
            words.push(format!("'{value}'"));
        };
        for argument in command.get_arguments() {
            if argument.get_id() == "help" || argument.get_id() == "version" || walk % 5 == 0 {
                continue;
            }
            if let Some(long) = argument.get_long() {
                words.push(format!("--{long}"));
            }
            if argument.get_action().takes_values() {
                value(&mut words);
            }
        }
        if walk % 7 == 0 {
            value(&mut words);
        }
        // What would start daemons and wait is always wrong.
        if ["stnet", "stnode", "strelay", "stindex"].iter().any(|wrong| name.starts_with(wrong)) {
            words.push("--no-such-option".to_owned());
        }
        let ran = sandbox.run(&words.join(" "));
        is_in_words(&ran);
        codes[usize::try_from(ran.code.unwrap()).unwrap()] += 1;
    }
    assert!(codes[1] > 0 && codes[2] > 0, "{codes:?}");
}
