//! Daemons as child processes.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, mpsc},
    time::Instant,
};

use super::{DEADLINE, eventually};

/// A daemon that runs. It is killed when this is dropped.
#[derive(Debug)]
pub struct Daemon {
    /// Where it listens, in the order in which it said so.
    pub addresses: Vec<SocketAddr>,
    /// The lines with which it said so.
    pub lines: Vec<String>,
    child: Child,
    stderr: Arc<Mutex<String>>,
}

impl Daemon {
    pub(super) fn start(mut command: Command, line: &str, ports: usize) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = Arc::new(Mutex::new(String::new()));
        let mut errors = child.stderr.take().unwrap();
        let said = Arc::clone(&stderr);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = errors.read(&mut bytes) {
                said.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
        });
        let (sender, printed) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // The test may have all that it wants.
                let _ = sender.send(line);
            }
        });
        let mut daemon = Self { addresses: Vec::new(), lines: Vec::new(), child, stderr };
        let deadline = Instant::now() + DEADLINE;
        while daemon.lines.len() < ports {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(printed) = printed.recv_timeout(left) else {
                panic!("{line} does not listen; it says: {}", daemon.stderr());
            };
            let rest = printed.strip_prefix("listening on ").expect("it says where it listens");
            daemon.addresses.push(rest.split(' ').next().unwrap().parse().unwrap());
            daemon.lines.push(printed);
        }
        daemon
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said on stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until it has ended by itself; gives its exit code, and what it said on stderr.
    #[track_caller]
    pub fn ended(mut self) -> (Option<i32>, String) {
        let status = eventually("the daemon ends by itself", || {
            let ended = self.child.try_wait().unwrap();
            ended.ok_or_else(|| format!("it runs and says: {}", self.stderr()))
        });
        // The rest of what it said may still be on its way.
        let said = eventually("it says why", || {
            let said = self.stderr();
            if said.contains("error: ") { Ok(said) } else { Err(said) }
        });
        (status.code(), said)
    }

    /// Ends it as a crash would (SIGKILL).
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    pub fn terminate(self) -> ExitStatus {
        self.signal("TERM")
    }

    /// Sends a signal and waits until it has ended.
    pub fn signal(mut self, signal: &str) -> ExitStatus {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap();
        assert!(sent.success());
        eventually("the daemon ends", || {
            let ended = self.child.try_wait().unwrap();
            ended.ok_or_else(|| format!("it runs and says: {}", self.stderr()))
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
