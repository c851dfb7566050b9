//! A network that `stnet up` runs.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use super::{Daemon, Sandbox, eventually};

/// A network in the directory `net` of a sandbox. It ends when this is dropped.
#[derive(Debug)]
pub struct Network {
    child: Child,
    /// What it printed: how to talk to each node.
    pub printed: Vec<String>,
    /// As `stnet status` shows it.
    pub status: Value,
}

impl Network {
    pub(super) fn start(sandbox: &Sandbox, topology: &str) -> Self {
        let nodes = match topology.split_once(':') {
            Some((_, count)) => count.parse().unwrap(),
            None => sandbox.read(topology).parse::<toml::Table>().unwrap()["nodes"]
                .as_array()
                .unwrap()
                .len(),
        };
        let mut child = sandbox
            .shell(&format!("exec stnet up --dir net --topology {topology}"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let printed: Vec<String> = output.lines().take(nodes).map(Result::unwrap).collect();
        assert_eq!(printed.len(), nodes, "it starts: {printed:?}");
        let status = sandbox.run("stnet status --dir net --json").success();
        Self { child, printed, status: serde_json::from_str(&status).unwrap() }
    }

    /// Ends one of its daemons as a crash would, and waits until nothing of it is left: until then
    /// its files are locked.
    pub fn kill(&self, name: &str) {
        self.signal(name, "KILL");
        let process = format!("/proc/{}", self.daemon(name)["pid"]);
        eventually("it is gone", || match std::path::Path::new(&process).exists() {
            true => Err(format!("{name} still ends")),
            false => Ok(()),
        });
    }

    /// Sends a signal to one of its daemons.
    pub fn signal(&self, name: &str, signal: &str) {
        let pid = self.daemon(name)["pid"].to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Starts a node that was killed again, with its old files: where there is room, as anybody may
    /// have taken its port meanwhile, and with a ticket that says so.
    pub fn start_again(&self, sandbox: &Sandbox, name: &str) -> Daemon {
        let daemon = sandbox.daemon(
            &format!(
                "stnode -i net/{name}/node.ident -l 127.0.0.1:0 -d net/{name}/node.db \
                 -t net/{name}/trusted"
            ),
            1,
        );
        let ticket = format!("net/{name}/node.ticket");
        let address = format!("address = \"{}\"", daemon.addresses[0]);
        let text = sandbox.read(&ticket);
        let moved = text.lines().map(|line| match line.starts_with("address = ") {
            true => address.as_str(),
            false => line,
        });
        sandbox.write(&ticket, &(moved.collect::<Vec<_>>().join("\n") + "\n"));
        daemon
    }

    fn daemon(&self, name: &str) -> &Value {
        let daemons = self.status["daemons"].as_array().unwrap();
        daemons.iter().find(|daemon| daemon["name"] == name).unwrap()
    }

    /// Whether `stnet up` still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until `stnet up` has ended by itself; gives its exit code.
    pub fn ended(mut self) -> Option<i32> {
        eventually("the network ends", || match self.child.try_wait().unwrap() {
            Some(status) => Ok(status.code()),
            None => Err("it runs".to_owned()),
        })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Its daemons end with their standard input. It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
