//! Identities sealed with a passphrase: made, opened by a daemon and an app, wrong passphrases, and
//! back to a file that needs none.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

use support::Sandbox;

fn secret(sandbox: &Sandbox, name: &str, text: &str) {
    sandbox.write(name, text);
    std::fs::set_permissions(sandbox.file(name), Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_node_and_an_app_start_with_sealed_identities() {
    let sandbox = Sandbox::new();
    secret(&sandbox, "words", "correct horse battery\n");
    for line in [
        "stmgr gen-ident --encrypt --passphrase-file words -o node.ident",
        "stmgr gen-ident -o app.ident",
        "stmgr encrypt-ident -i app.ident --passphrase-file words",
        // What needs the public key alone asks for no passphrase.
        "stmgr init-node-db -i node.ident -o node.db",
        "mkdir trusted",
        "stmgr app-ticket -i app.ident --pconfig -o trusted/app.ticket",
    ] {
        sandbox.run(line).success();
    }
    for file in ["node.ident", "app.ident"] {
        assert!(!sandbox.read(file).contains("secret_key"), "the secret is sealed");
        let mode = std::fs::metadata(sandbox.file(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    let line = "stnode -i node.ident -l 127.0.0.1:0 -d node.db -t trusted 3<words";
    let daemon = sandbox.daemon(&format!("env OFFSET_PASSPHRASE_FILE=/dev/fd/3 {line}"), 1);
    let ticket = format!("stmgr node-ticket -i node.ident -a {} -o n.ticket", daemon.addresses[0]);
    sandbox.run(&ticket).success();
    let stctrl = "stctrl -I app.ident -T n.ticket info public-key";
    let shown = sandbox.run(&format!("OFFSET_PASSPHRASE_FILE=words {stctrl}")).success();
    assert_eq!(shown.trim(), sandbox.public_key("node.ident"));

    // Without a terminal nobody is asked, and the sentence says what to do.
    sandbox.run(stctrl).failure(1, &["app.ident is sealed", "OFFSET_PASSPHRASE_FILE"]);
    secret(&sandbox, "wrong", "incorrect horse\n");
    sandbox
        .run(&format!("OFFSET_PASSPHRASE_FILE=wrong {stctrl}"))
        .failure(1, &["app.ident: the passphrase does not open it"]);

    sandbox.run("stmgr decrypt-ident -i app.ident --passphrase-file words").success();
    assert_eq!(sandbox.run(stctrl).success(), shown);
}

#[test]
fn a_systemd_credential_opens_it() {
    let sandbox = Sandbox::new();
    sandbox.run("mkdir -m 700 credentials").success();
    secret(&sandbox, "credentials/offset-passphrase", "correct horse");
    sandbox
        .run("stmgr gen-ident --encrypt --passphrase-file credentials/offset-passphrase -o r.ident")
        .success();
    let daemon = sandbox
        .daemon("env CREDENTIALS_DIRECTORY=credentials strelay -i r.ident -l 127.0.0.1:0", 1);
    assert_eq!(daemon.addresses.len(), 1);
}

#[test]
fn what_is_asked_of_the_wrong_file_is_refused() {
    let sandbox = Sandbox::new();
    secret(&sandbox, "words", "correct horse\n");
    secret(&sandbox, "empty", "\n");
    sandbox.run("stmgr gen-ident -o a.ident").success();
    let before = sandbox.read("a.ident");
    for (line, part) in [
        ("stmgr decrypt-ident -i a.ident --passphrase-file words", "not sealed"),
        ("stmgr encrypt-ident -i a.ident --passphrase-file empty", "one line"),
        ("stmgr encrypt-ident -i a.ident --passphrase-file missing", "cannot open"),
        ("stmgr encrypt-ident -i a.ident", "--passphrase-file"),
        ("stmgr gen-ident --encrypt -o b.ident", "--passphrase-file"),
    ] {
        sandbox.run(line).failure(1, &[part]);
    }
    assert_eq!(sandbox.read("a.ident"), before);
    sandbox.run("stmgr encrypt-ident -i a.ident --passphrase-file words").success();
    let sealed = sandbox.read("a.ident");
    sandbox
        .run("stmgr encrypt-ident -i a.ident --passphrase-file words")
        .failure(1, &["sealed already"]);
    secret(&sandbox, "wrong", "incorrect horse\n");
    sandbox
        .run("stmgr decrypt-ident -i a.ident --passphrase-file wrong")
        .failure(1, &["the passphrase does not open it"]);
    assert_eq!(sandbox.read("a.ident"), sealed);
}
