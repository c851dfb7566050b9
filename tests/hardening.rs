//! What daemons and files do for their secrets, and what peers' and files' texts do to a terminal.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::{
    fs::{self, Permissions},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, symlink},
        process::ExitStatusExt as _,
    },
};

use support::{Daemon, Sandbox};

/// The limit of core files of a process, soft and hard.
fn core_limits(pid: u32) -> Vec<String> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    line.split_whitespace().take(2).map(str::to_owned).collect()
}

/// Whether other processes of its user may look into it: otherwise its files belong to root, and
/// nobody may read them but root.
fn is_open(pid: u32) -> bool {
    let status = fs::metadata(format!("/proc/{pid}")).unwrap();
    let files = fs::metadata(format!("/proc/{pid}/environ")).unwrap();
    status.uid() == files.uid()
}

fn files() -> Sandbox {
    let sandbox = Sandbox::new();
    for line in [
        "stmgr gen-ident -o a.ident",
        "stmgr gen-ident -o app.ident",
        "stmgr init-node-db -i a.ident -o node.db",
        "mkdir trusted",
    ] {
        sandbox.run(line).success();
    }
    sandbox
}

const DAEMONS: [(&str, usize); 3] = [
    ("stnode -i a.ident -d node.db -t trusted -l 127.0.0.1:0", 1),
    ("strelay -i a.ident -l 127.0.0.1:0", 1),
    ("stindex -i a.ident -t trusted -c 127.0.0.1:0 -s 127.0.0.1:0", 2),
];

/// As a user's shell that has raised the limit before.
fn start(sandbox: &Sandbox, line: &str, ports: usize) -> Daemon {
    let raised = format!("sh -c 'ulimit -S -c $(ulimit -H -c); umask 000; exec {line}'");
    sandbox.daemon(&raised, ports)
}

fn dumps_core(daemon: Daemon) -> bool {
    let ended = daemon.signal("ABRT");
    assert_eq!(ended.signal(), Some(6), "{ended}");
    ended.core_dumped()
}

#[test]
fn a_daemon_leaves_no_core_and_makes_private_files() {
    let sandbox = files();
    for (line, ports) in DAEMONS {
        let daemon = start(&sandbox, line, ports);
        assert_eq!(core_limits(daemon.pid()), ["0", "0"], "{line}");
        let myself = sandbox.run("id -u").success();
        if myself.trim() != "0" {
            assert!(!is_open(daemon.pid()), "{line}");
        }
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
        assert!(status.lines().any(|line| line == "Umask:\t0077"), "{status}");
        assert!(!dumps_core(daemon), "{line}");
    }
    for entry in fs::read_dir(sandbox.path()).unwrap() {
        let (name, mode) = {
            let entry = entry.unwrap();
            (entry.file_name(), entry.metadata().unwrap().permissions().mode())
        };
        let name = name.to_str().unwrap();
        assert!(!name.starts_with("core"), "{name}");
        if name.starts_with("node.db") {
            assert_eq!(mode & 0o077, 0, "{name}");
        }
    }
}

#[test]
fn developers_can_have_core_dumps() {
    let mut sandbox = files();
    let limit = sandbox.run("ulimit -H -c").success();
    let given = if limit.trim() == "unlimited" { "unlimited".to_owned() } else { limit };
    let expected = |daemon: &Daemon| {
        if given == "unlimited" {
            assert_eq!(core_limits(daemon.pid()), ["unlimited", "unlimited"]);
        }
        assert!(is_open(daemon.pid()));
    };
    for (line, ports) in DAEMONS {
        expected(&start(&sandbox, &format!("{line} --allow-core-dumps"), ports));
    }
    // By the file and by the environment, too.
    let (line, ports) = DAEMONS[1];
    sandbox.write("relay.toml", "allow_core_dumps = true\n");
    expected(&start(&sandbox, &format!("{line} --config relay.toml"), ports));
    sandbox.set("STRELAY_ALLOW_CORE_DUMPS", "true");
    expected(&start(&sandbox, line, ports));
}

#[test]
fn a_secret_is_read_from_a_private_file_of_its_own_name() {
    let sandbox = files();
    let (relay, show) = ("strelay -l 127.0.0.1:0 -i", "stmgr show");
    symlink(sandbox.file("a.ident"), sandbox.file("link.ident")).unwrap();
    sandbox.run("stmgr node-entry -n a.ident -p app.ident -a h:1 -o a.rcard").success();
    symlink(sandbox.file("a.rcard"), sandbox.file("link.rcard")).unwrap();
    for (program, file) in [(relay, "link.ident"), (show, "link.ident"), (show, "link.rcard")] {
        let said = [file, "leads elsewhere", "name the file itself"];
        sandbox.run(&format!("{program} {file}")).failure(1, &said);
    }
    // A ticket is no secret.
    sandbox.run("stmgr app-ticket -i app.ident -o a.ticket").success();
    symlink(sandbox.file("a.ticket"), sandbox.file("link.ticket")).unwrap();
    sandbox.run("stmgr show link.ticket").success();
    fs::set_permissions(sandbox.file("a.ident"), Permissions::from_mode(0o604)).unwrap();
    for program in [relay, show] {
        sandbox.run(&format!("{program} a.ident")).failure(1, &["chmod 600 a.ident"]);
    }
    // Only root can give a file away.
    fs::set_permissions(sandbox.file("a.ident"), Permissions::from_mode(0o600)).unwrap();
    if sandbox.run("id -u").success().trim() == "0" {
        sandbox.run("chown 12345 a.ident").success();
        for program in [relay, show] {
            let said = ["another user, number 12345", "chown 0 a.ident"];
            sandbox.run(&format!("{program} a.ident")).failure(1, &said);
        }
    }
    // Where anybody can replace it a daemon says so, and goes on.
    sandbox.run("mkdir -m 777 open && stmgr gen-ident -o open/b.ident").success();
    let daemon = sandbox.daemon(&format!("{relay} open/b.ident"), 1);
    assert!(daemon.stderr().contains("run: chmod 700 open"), "{}", daemon.stderr());
}

#[test]
fn a_systemd_credential_may_have_a_list_of_readers() {
    let sandbox = Sandbox::new();
    sandbox.run("mkdir -m 700 credentials").success();
    sandbox.write("credentials/offset-passphrase", "correct horse");
    let mode = |mode| {
        let file = sandbox.file("credentials/offset-passphrase");
        fs::set_permissions(file, Permissions::from_mode(mode)).unwrap();
    };
    mode(0o600);
    sandbox
        .run("stmgr gen-ident --encrypt --passphrase-file credentials/offset-passphrase -o r.ident")
        .success();
    let line = "env CREDENTIALS_DIRECTORY=credentials strelay -i r.ident -l 127.0.0.1:0";
    // As systemd shows it: the group's bit stands for the service's own entry in the list.
    mode(0o440);
    assert_eq!(sandbox.daemon(line, 1).addresses.len(), 1);
    mode(0o444);
    sandbox.run(line).failure(1, &["chmod 600"]);
}

/// Texts that move the cursor, colour, ring, reorder, hide or break lines.
const NASTY: [&str; 12] = [
    "\u{1b}[2J",
    "\u{1b}]0;x\u{7}",
    "\u{9b}31m",
    "\r",
    "\n",
    "\u{8}",
    "\u{202e}",
    "\u{2066}",
    "\u{200b}",
    "\u{feff}",
    "\u{2028}",
    "\u{e0041}",
];

/// Whether a terminal acts on something in what a command said.
fn acts(said: &str) -> bool {
    let lines = said.strip_suffix('\n').unwrap_or(said).lines();
    lines.into_iter().any(|line| {
        line.chars().any(|c| c.is_control()) || NASTY.iter().any(|nasty| line.contains(nasty))
    })
}

#[test]
fn nothing_that_somebody_wrote_acts_on_a_terminal() {
    let sandbox = files();
    sandbox.run("stmgr app-ticket -i app.ident --pconfig --pseller -o trusted/a.ticket").success();
    let node = sandbox.daemon(DAEMONS[0].0, 1);
    let ticket = format!("stmgr node-ticket -i a.ident -a {} -o n.ticket", node.addresses[0]);
    sandbox.run(&ticket).success();
    let stctrl = "stctrl -I app.ident -T n.ticket";
    let key = sandbox.public_key("app.ident");
    sandbox.write("b.friend", &format!("public_key = \"{key}\"\n"));
    for nasty in NASTY {
        // As an argument of each kind, and in files of strangers: refused in one harmless sentence.
        let argument = format!("'b{nasty}b'");
        let escaped = format!("b\\u{:04X}b", u32::from(nasty.chars().next().unwrap()));
        sandbox.write(
            "evil.invoice",
            &format!("kind = \"invoice\"\ndescription = \"{escaped}\"\n\"{escaped}\" = 1\n"),
        );
        sandbox.write("evil.friend", &format!("\"{escaped}\" = 1\npublic_key = \"{key}\"\n"));
        sandbox.write(
            "evil.ticket",
            &format!("kind = \"{escaped}\"\npublic_key = \"{key}\"\naddress = \"{escaped}\"\n"),
        );
        for line in [
            format!("{stctrl} config add-friend -n {argument} -f b.friend"),
            format!("{stctrl} config add-friend -n bob -f evil.friend"),
            format!("{stctrl} config add-relay -n relay -r evil.ticket"),
            format!("{stctrl} config remove-relay -n {argument}"),
            format!("{stctrl} seller create-invoice -a 1 -i x --description {argument}"),
            format!("{stctrl} info friends -n {argument}"),
            format!("stctrl {argument}"),
            format!("stctrl --{argument}"),
            format!("{stctrl} -I {argument} info balance"),
            format!("stregister gen-invoice -a 1 -p {argument} -o x"),
            "stregister verify-receipt -i evil.invoice -r evil.ticket".to_owned(),
            "stmgr show evil.invoice".to_owned(),
            "stmgr show evil.ticket".to_owned(),
            format!("stmgr show {argument}"),
        ] {
            let ran = sandbox.run(&line);
            assert_ne!(ran.code, Some(0), "{ran:?}");
            assert!(!ran.stderr.contains("does not let"), "{ran:?}");
            assert!(!acts(&ran.stdout) && !acts(&ran.stderr), "{ran:?}");
        }
        // In the node's watched directory: reported in its log.
        let evil =
            format!("kind = \"app-ticket\"\npublic_key = \"{escaped}\"\n\"{escaped}\" = 1\n");
        let name = format!(
            "trusted/evil-{}.ticket",
            nasty.chars().map(|c| format!("{:x}", u32::from(c))).collect::<String>()
        );
        sandbox.write(&name, &evil);
        sandbox.write(&format!("trusted/b{nasty}b.ticket"), &evil);
    }
    support::eventually("the bad tickets are reported", || {
        let said = node.stderr();
        if said.matches(".ticket").count() < NASTY.len() { Err(said) } else { Ok(()) }
    });
    assert!(!acts(&node.stderr()), "{}", node.stderr());
    // Nothing of it was taken.
    assert_eq!(
        sandbox.run(&format!("{stctrl} info friends")).success().trim(),
        "No configured friends."
    );
}
