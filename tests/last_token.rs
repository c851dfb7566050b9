//! What a friend signed last, as a file: whoever has it can check it, over real daemons.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use support::{
    Sandbox, eventually,
    pair::{ALICE, BOB, Pair},
};

/// What a token file says, once Bob has signed this.
fn token(pair: &Pair, file: &str, signed: impl Fn(&Value) -> bool) -> Value {
    let export = format!("info friend-last-token -n bob -o {file} --force");
    eventually(file, || {
        pair.ctl(ALICE, &export).success();
        let shown = verify(&pair.sandbox, file);
        if signed(&shown) { Ok(shown) } else { Err(shown.to_string()) }
    })
}

fn verify(sandbox: &Sandbox, file: &str) -> Value {
    let shown = sandbox.run(&format!("stregister verify-token -t {file} --json")).success();
    serde_json::from_str(&shown).unwrap()
}

#[test]
fn what_a_friend_signed_can_be_checked_by_anybody() {
    let pair = Pair::start();
    // Alice alone believes in the friendship: Bob has signed nothing.
    pair.befriend(ALICE, -100);
    pair.ctl(ALICE, "info friend-last-token -n bob -o bob.token")
        .failure(1, &["bob has signed nothing yet", "online at the same time"]);
    assert!(!pair.sandbox.file("bob.token").exists());
    pair.ctl(ALICE, "info friend-last-token -n bert -o bob.token")
        .failure(1, &["no friend named bert", "bob"]);
    pair.befriend(BOB, 100);
    pair.until_online();
    pair.pay(BOB, 30);

    let sandbox = &pair.sandbox;
    let bobs = sandbox.public_key("bob/node.ident");
    let alices = sandbox.public_key("alice/node.ident");
    // What Bob collected he has signed; what Alice collected he has not yet.
    pair.pay(ALICE, 5);
    let first = token(&pair, "first.token", |token| token["lines"][0]["balance"] == "75");
    assert_eq!((&first["signer"], &first["receiver"]), (&bobs.into(), &alices.into()));
    assert_eq!((&first["epoch"], &first["signed"]), (&0.into(), &"token".into()));
    assert_eq!(first["lines"][0]["signer"]["max_debt"], "1000");
    let text = sandbox.run("stregister verify-token -t first.token").success();
    assert!(text.starts_with("Token is valid!\n\nsigned by: "), "{text}");
    assert!(text.contains("\ncredit receiver owes: 75\ncredit signer may owe: 1000\n"), "{text}");
    let shown = sandbox.run("stmgr show first.token").success();
    assert!(shown.contains("credit receiver owes: 75"), "{shown}");
    // A file that is there stays as it is.
    pair.ctl(ALICE, "info friend-last-token -n bob -o first.token")
        .failure(1, &["first.token", "--force"]);
    let mode = std::fs::metadata(sandbox.file("first.token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o400, 0o400);
    // As a text, and from a pipe.
    let line = sandbox.run("stmgr show first.token --text").success();
    assert!(line.starts_with("offset:token:"), "{line}");
    let piped = format!("stregister verify-token -t {} --json", line.trim());
    assert_eq!(
        sandbox.run(&piped).success(),
        sandbox.run("stregister verify-token --json -t - < first.token").success()
    );

    // Later ones have higher counters, in a new epoch too.
    pair.pay(ALICE, 5);
    let second = token(&pair, "second.token", |token| token["lines"][0]["balance"] == "80");
    assert!(second["counter"].as_u64() > first["counter"].as_u64());
    assert_ne!(second["id"], first["id"]);
    pair.ctl(ALICE, "config remove-friend -n bob --forfeit --yes").success();
    pair.until(BOB, "Bob hears of it", |friend| friend["standing"] == "removed_by_friend");
    pair.befriend(ALICE, 0);
    pair.until(ALICE, "both know both terms", |friend| {
        friend["inconsistent"]["remote_terms"].is_object()
    });
    pair.ctl(ALICE, "config reset-friend -n bob --yes").success();
    pair.until_online();
    let third = token(&pair, "third.token", |token| token["signed"] == "token");
    assert_eq!((&third["epoch"], &third["lines"][0]["balance"]), (&1.into(), &"80".into()));
    tampered(sandbox);
}

/// No letter of the file can be another.
fn tampered(sandbox: &Sandbox) {
    let text = sandbox.read("third.token");
    let start = text.find("signed = \"").unwrap() + "signed = \"".len();
    let letters = text.rfind('"').unwrap() - start;
    let refused = |name: &str, text: &str| {
        sandbox.write(name, text);
        let ran = sandbox.run(&format!("stregister verify-token -t {name}"));
        ran.failure(1, &[]);
    };
    for part in 0..16 {
        let at = start + letters * part / 16;
        let mut changed = text.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        refused("tampered.token", &String::from_utf8(changed).unwrap());
    }
    refused("cut.token", &text[..start + letters / 2]);
    refused("cut.token", &format!("{}\"\n", &text[..start + letters / 2]));
    refused("kind.token", &text.replace("\"token\"", "\"receipt\""));
    refused("more.token", &format!("{text}note = \"x\"\n"));
}
