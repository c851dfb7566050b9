//! Settings of the daemons and of `stctrl`: the command line, then the environment, then a file. The
//! example files are as true as the programs, and the units of systemd fit them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use support::{Daemon, Sandbox, eventually};

const DAEMONS: [(&str, usize); 3] = [("stnode", 1), ("strelay", 1), ("stindex", 2)];

/// Everything that a daemon of any kind needs.
fn files() -> Sandbox {
    let sandbox = Sandbox::new();
    for line in [
        "stmgr gen-ident -o a.ident",
        "stmgr gen-ident -o app.ident",
        "stmgr init-node-db -i a.ident -o node.db",
        "mkdir trusted etc",
        "stmgr app-ticket -i app.ident --pconfig -o trusted/app.ticket",
    ] {
        sandbox.run(line).success();
    }
    sandbox
}

fn dist(name: &str) -> String {
    std::fs::read_to_string(dist_path(name)).unwrap()
}

fn dist_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dist").join(name)
}

/// The arguments with which a daemon of the example files runs in a sandbox.
fn here(program: &str) -> &'static str {
    match program {
        "stnode" => "-i a.ident -d node.db -t trusted -l 127.0.0.1:0",
        "strelay" => "-i a.ident -l 127.0.0.1:0",
        "stindex" => "-i a.ident -t trusted --state . -c 127.0.0.1:0 -s 127.0.0.1:0",
        other => panic!("{other} is no daemon"),
    }
}

/// An example with its commented settings in force; comments for people have a blank behind the `#`.
fn in_force(example: &str) -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') && !setting.is_empty() => setting.to_owned(),
        Some(_) | None => line.to_owned(),
    };
    example.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_files_start_their_daemons() {
    let sandbox = files();
    for (program, ports) in DAEMONS {
        let example = dist(&format!("{program}.toml"));
        sandbox.write("all.toml", &in_force(&example));
        for file in [dist_path(&format!("{program}.toml")), sandbox.file("all.toml")] {
            let arguments = format!("{} --metrics 127.0.0.1:0", here(program));
            let line = format!("{program} --config {} {arguments}", file.display());
            let daemon = sandbox.daemon(&line, ports);
            assert!(daemon.terminate().success(), "{line}");
        }
    }
}

#[test]
fn the_example_file_of_stctrl_is_found_in_the_users_directory() {
    let mut sandbox = files();
    let node = sandbox.daemon("stnode -i a.ident -d node.db -t trusted -l 127.0.0.1:0", 1);
    sandbox.run("mkdir -p .config/offset && cp app.ident .config/offset/app.ident").success();
    let ticket = format!(
        "stmgr node-ticket -i a.ident -a {} -o .config/offset/node.ticket",
        node.addresses[0]
    );
    sandbox.run(&ticket).success();
    sandbox.run("stctrl info friends").failure(2, &["--config"]);
    sandbox.write(".config/offset/stctrl.toml", &in_force(&dist("stctrl.toml")));
    sandbox.run("stctrl info friends").success();
    sandbox.run("stctrl info balance").success();
    sandbox.run("cd trusted && stctrl --json info status").success();
    // The command line and the environment win.
    sandbox.run("stctrl -T nowhere info friends").failure(1, &["cannot open nowhere"]);
    sandbox.run("OFFSET_IDFILE=nobody stctrl info friends").failure(1, &["cannot open nobody"]);
    // A file that is named is the only one.
    sandbox.write("other.toml", "idfile = \"app.ident\"\ncurrency = \"USD\"\n");
    sandbox.run("stctrl --config other.toml info friends").failure(2, &["--config"]);
    let text = sandbox.run("stmgr show .config/offset/node.ticket --text").success();
    let line = format!("stctrl info --config other.toml balance --json -T {text}");
    assert!(sandbox.run(line.trim_end()).success().contains("USD"));
    sandbox
        .write("other.toml", &format!("idfile = \"app.ident\"\nticket = \"{}\"", text.trim_end()));
    sandbox.run("stctrl --config other.toml info friends").success();
    sandbox.set("OFFSET_CONFIG", "other.toml");
    sandbox.run("stctrl info friends").success();
    sandbox
        .run("stctrl --config nothing.toml info friends")
        .failure(1, &["cannot open nothing.toml"]);
}

#[test]
fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
    let mut sandbox = files();
    let start = |sandbox: &Sandbox, more: &str| -> Daemon {
        sandbox.daemon(&format!("strelay --config etc/strelay.toml {more}"), 1)
    };
    sandbox.write("etc/strelay.toml", "idfile = \"../a.ident\"\nladdr = \"127.0.0.2:0\"\n");
    assert!(start(&sandbox, "").lines[0].contains("127.0.0.2:"));
    sandbox.set("STRELAY_LADDR", "127.0.0.3:0");
    assert!(start(&sandbox, "").lines[0].contains("127.0.0.3:"));
    assert!(start(&sandbox, "-l 127.0.0.4:0").lines[0].contains("127.0.0.4:"));
    // The environment alone does, too.
    sandbox.set("STRELAY_IDFILE", "a.ident");
    assert!(sandbox.daemon("strelay", 1).lines[0].contains("127.0.0.3:"));
    sandbox.set("STRELAY_CONFIG", "etc/strelay.toml");
    assert!(sandbox.daemon("strelay -l 127.0.0.4:0", 1).lines[0].contains("127.0.0.4:"));
}

#[test]
fn limits_of_the_file_are_in_force() {
    let sandbox = files();
    let keys = |limits: &str| format!("[limits]\n{limits}\n");
    // A node that cannot have friends.
    sandbox.write("stnode.toml", &keys("max_friends = 1"));
    let node = sandbox.daemon(&format!("stnode --config stnode.toml {}", here("stnode")), 1);
    let ticket = format!("stmgr node-ticket -i a.ident -a {} -o n.ticket", node.addresses[0]);
    sandbox.run(&ticket).success();
    let add = |name: &str| {
        sandbox.run(&format!("stmgr gen-ident -o {name}.ident")).success();
        let key = sandbox.public_key(&format!("{name}.ident"));
        sandbox.write(&format!("{name}.friend"), &format!("public_key = \"{key}\"\n"));
        let line = format!("config add-friend -n {name} -f {name}.friend");
        sandbox.run(&format!("stctrl -I app.ident -T n.ticket {line}"))
    };
    add("bob").success();
    add("charli").failure(1, &["friends"]);
}

#[test]
fn wrong_settings_are_named() {
    let mut sandbox = files();
    for (program, _) in DAEMONS {
        let run = |file: &str| {
            sandbox.write("x.toml", file);
            sandbox.run(&format!("{program} --config x.toml {}", here(program)))
        };
        run("colour = \"red\"").failure(1, &["x.toml", "`colour` is not known", "idfile"]);
        run("idfil = \"a\"").failure(1, &["`idfil`", "did you mean idfile?"]);
        run("idfile = ").failure(1, &["x.toml, line 1", "correct the file"]);
        run("idfile = 1.5").failure(1, &["`idfile`", "text in quotes"]);
        run("[limits]\nmax_everything = 1").failure(1, &["x.toml: in limits", "`max_everything`"]);
        run("[limit]\nx = 1").failure(1, &["`limit` is not known", "did you mean limits?"]);
        run("until_stdin_ends = true").failure(1, &["`until_stdin_ends` is not known"]);
        sandbox
            .run(&format!("{program} --config nothing.toml"))
            .failure(1, &["cannot open nothing.toml", "check the name"]);
        sandbox.run(&format!("{program} --config trusted")).failure(1, &["is a directory"]);
    }
    for (line, file, parts) in [
        ("strelay", "laddr = \"nowhere\"", ["the value of `laddr`", "host:port"]),
        ("strelay", "allow = [\"me\"]", ["the value of `allow`", "public key"]),
        ("strelay", "[limits]\nmax_circuits = 0", ["`limits.max_circuits`", "from 1 to"]),
        ("strelay", "[limits]\naddresses.limit_loopback = 1", ["limit_loopback`", "true or false"]),
        ("stindex", "[limits.search]\nat_once = 1000", ["`limits.search.at_once`", "to 256"]),
        ("stnode", "[limits]\nmax_hold_seconds = -1", ["`limits.max_hold_seconds`", "from 0"]),
    ] {
        sandbox.write("x.toml", file);
        let line = format!("{line} --config x.toml {}", here(line));
        sandbox.run(&line).failure(1, &parts);
    }
    // In the environment and on the command line it is wrong usage.
    sandbox.set("STRELAY_LADDR", "nowhere");
    sandbox
        .run("strelay -i a.ident")
        .failure(2, &["\"nowhere\" cannot be", "--laddr", "host:port"]);
}

#[test]
fn help_names_the_variables() {
    let sandbox = Sandbox::new();
    for (program, _) in DAEMONS {
        let help = sandbox.run(&format!("{program} --help")).success();
        let upper = program.to_uppercase();
        for name in ["IDFILE", "CONFIG", "METRICS"] {
            assert!(help.contains(&format!("{upper}_{name}")), "{help}");
        }
    }
    let help = sandbox.run("stctrl info friends --help").success();
    for name in ["OFFSET_IDFILE", "OFFSET_TICKET", "OFFSET_CURRENCY", "OFFSET_CONFIG"] {
        assert!(help.contains(name), "{help}");
    }
}

/// The settings of a unit, by name.
fn unit(name: &str) -> BTreeMap<String, Vec<String>> {
    let mut settings: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut sections = BTreeSet::new();
    for line in dist(&format!("systemd/{name}.service")).lines() {
        if let Some(section) = line.strip_prefix('[') {
            assert!(sections.insert(section.strip_suffix(']').unwrap().to_owned()), "{line}");
        } else if !line.is_empty() && !line.starts_with('#') {
            let (key, value) = line.split_once('=').unwrap();
            assert!(key.chars().all(char::is_alphanumeric), "{line}");
            settings.entry(key.to_owned()).or_default().push(value.to_owned());
        }
    }
    assert_eq!(sections.into_iter().collect::<Vec<_>>(), ["Install", "Service", "Unit"]);
    settings
}

#[test]
fn the_units_fit_the_programs_and_their_files() {
    let users = dist("systemd/offset.sysusers");
    for (program, _) in DAEMONS {
        let unit = unit(program);
        let one = |key: &str| {
            let values = unit.get(key).unwrap_or_else(|| panic!("{program}: no {key}"));
            assert_eq!(values.len(), 1, "{program}: {key} stands once");
            values[0].clone()
        };
        let start = format!("/usr/bin/{program} --config /etc/offset/{program}.toml");
        assert_eq!(one("ExecStart"), start);
        assert_eq!(one("Type"), "notify");
        assert!(users.contains(&format!("u {} ", one("User"))), "{users}");
        assert!(
            dist(&format!("{program}.toml"))
                .contains(&format!("/var/lib/{}/", one("StateDirectory")))
        );
        for (key, value) in [
            ("NoNewPrivileges", "yes"),
            ("ProtectSystem", "strict"),
            ("ProtectHome", "yes"),
            ("PrivateTmp", "yes"),
            ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
            ("CapabilityBoundingSet", ""),
            ("LimitCORE", "0"),
            ("UMask", "0077"),
        ] {
            assert_eq!(one(key), value, "{program}");
        }
        assert!(unit["SystemCallFilter"].contains(&"@system-service".to_owned()));
        assert!(unit.contains_key("MemoryMax") && unit.contains_key("LimitNOFILE"));
    }
    // Where systemd is, it says what it thinks of them; programs that are not installed are no fault.
    let verify = |program: &str| {
        let path = dist_path(&format!("systemd/{program}.service"));
        std::process::Command::new("systemd-analyze").arg("verify").arg(path).output()
    };
    for (program, _) in DAEMONS {
        if let Ok(output) = verify(program) {
            let said = String::from_utf8_lossy(&output.stderr);
            let unknown =
                said.lines().find(|line| line.contains("Unknown") || line.contains("Invalid"));
            assert_eq!(unknown, None);
        }
    }
}

#[cfg(unix)]
#[test]
fn systemd_is_told_when_a_daemon_is_ready_and_when_it_stops() {
    use std::os::unix::net::UnixDatagram;
    let mut sandbox = files();
    let socket = UnixDatagram::bind(sandbox.file("notify")).unwrap();
    socket.set_nonblocking(true).unwrap();
    sandbox.set("NOTIFY_SOCKET", sandbox.file("notify").to_str().unwrap());
    let told = |what: &str| {
        eventually(what, || {
            let mut bytes = [0; 256];
            let length = socket.recv(&mut bytes).map_err(|error| error.to_string())?;
            let said = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if said.lines().any(|line| line == what) { Ok(()) } else { Err(said) }
        });
    };
    for (program, ports) in DAEMONS {
        let daemon = sandbox.daemon(&format!("{program} {}", here(program)), ports);
        told("READY=1");
        assert!(daemon.terminate().success());
        told("STOPPING=1");
    }
}
