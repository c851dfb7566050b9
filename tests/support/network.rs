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

    /// Ends one of its daemons as a crash would.
    pub fn kill(&self, name: &str) {
        self.signal(name, "KILL");
    }

    /// Sends a signal to one of its daemons.
    pub fn signal(&self, name: &str, signal: &str) {
        let pid = self.daemon(name)["pid"].to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Starts a node that was killed again, at its old address and with its old files.
    pub fn start_again(&self, sandbox: &Sandbox, name: &str) -> Daemon {
        let address = self.daemon(name)["addresses"][0].as_str().unwrap();
        sandbox.daemon(
            &format!(
                "stnode -i net/{name}/node.ident -l {address} -d net/{name}/node.db \
                 -t net/{name}/trusted"
            ),
            1,
        )
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
