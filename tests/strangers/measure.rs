//! What the daemons use.

use std::{
    collections::BTreeMap,
    fs,
    process::{Command, Stdio},
};

use serde_json::Value;

/// The daemons of a network.
pub(crate) struct Processes(BTreeMap<String, u64>);

/// Of each daemon by name: resident kilobytes, open descriptors.
pub(crate) struct Figures(BTreeMap<String, (u64, usize)>);

impl Processes {
    /// As `stnet status` shows them.
    pub(crate) fn of(status: &Value) -> Self {
        let daemons = status["daemons"].as_array().unwrap().iter();
        let daemons = daemons
            .map(|it| (it["name"].as_str().unwrap().to_owned(), it["pid"].as_u64().unwrap()));
        Self::named(daemons)
    }

    /// By name and process.
    pub(crate) fn named(daemons: impl Iterator<Item = (String, u64)>) -> Self {
        Self(daemons.collect())
    }

    /// What they use now.
    pub(crate) fn look(&self) -> Figures {
        let figures = self.0.iter().map(|(name, pid)| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let resident = resident.unwrap_or_else(|| panic!("{name} has ended"));
            let kilobytes = resident.trim().strip_suffix(" kB").unwrap().parse().unwrap();
            let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
            (name.clone(), (kilobytes, files))
        });
        Figures(figures.collect())
    }

    /// The same, printed.
    pub(crate) fn figures(&self, when: &str) -> Figures {
        let figures = self.look();
        let shown = figures.0.iter().map(|(name, (kilobytes, files))| {
            format!("{name} {:.1} MB {files} files", *kilobytes as f64 / 1000.0)
        });
        println!("{when}: {}", shown.collect::<Vec<_>>().join(", "));
        figures
    }
}

impl Figures {
    /// Whether nothing grew by more than this.
    pub(crate) fn check(&self, before: &Self, kilobytes: u64, files: usize) -> Result<(), String> {
        for (name, (now_kilobytes, now_files)) in &self.0 {
            let (most_kilobytes, most_files) = before.0[name];
            if most_kilobytes + kilobytes < *now_kilobytes || most_files + files < *now_files {
                return Err(format!(
                    "{name} grew from {most_kilobytes} to {now_kilobytes} kB and from {most_files} \
                     to {now_files} files"
                ));
            }
        }
        Ok(())
    }

    /// As [`Figures::check`], failing.
    #[track_caller]
    pub(crate) fn within(&self, before: &Self, kilobytes: u64, files: usize) {
        self.check(before, kilobytes, files).unwrap();
    }
}

/// How many files this process and its children may open, after trying to make it `wanted`.
pub(crate) fn may_open(wanted: usize) -> usize {
    let now = open_files();
    if wanted <= now {
        return now;
    }
    // A process cannot raise its own limit without unsafe code, but this program can do it for it.
    let (pid, limit) = (std::process::id().to_string(), format!("--nofile={wanted}:"));
    let _absent_or_not_allowed =
        Command::new("prlimit").args(["--pid", &pid, &limit]).stderr(Stdio::null()).status();
    open_files()
}

fn open_files() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap_or(usize::MAX)
}
