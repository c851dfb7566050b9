//! Transcripts: commands as a tutorial prints them, and what they print.
//!
//! A transcript is a text of sections:
//! ```text
//! == relay
//! # A comment.
//! $ stmgr gen-ident --output relay/relay.ident
//! $ stctrl ... info balance
//! 0
//! ```
//! Lines that begin with `$ ` are commands, with continuation lines after a `\` at the end; the
//! other lines up to the next command, comment or empty line that is followed by one of these, are
//! what the command prints.
//!
//! A guide is a Markdown text instead: its plain code blocks hold commands, one a line, and a block
//! that is marked as `text` holds what the last command before it prints.

use std::{collections::BTreeMap, iter::Peekable, str::Lines};

use super::{Daemon, Ran, Sandbox, eventually};

/// A parsed transcript.
#[derive(Debug)]
pub struct Transcript {
    sections: BTreeMap<String, Vec<Step>>,
}

/// A command and what it prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The command, continuation lines joined.
    pub command: String,
    /// All of what it prints, without the last line end.
    pub output: String,
}

impl Transcript {
    /// Parses a transcript.
    pub fn parse(text: &str) -> Self {
        let mut sections = BTreeMap::new();
        let mut steps: &mut Vec<Step> = sections.entry(String::new()).or_default();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(name) = line.strip_prefix("== ") {
                steps = sections.entry(name.to_owned()).or_default();
            } else if let Some(command) = line.strip_prefix("$ ") {
                let command = continued(command, &mut lines);
                steps.push(Step { command, output: printed(&mut lines) });
            } else {
                assert!(line.is_empty() || line.starts_with("# "), "not a transcript: {line}");
            }
        }
        Self { sections }
    }

    /// The commands of a guide, in its order, and what it shows them to print.
    pub fn guide(markdown: &str) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        let mut lines = markdown.lines().peekable();
        while let Some(line) = lines.next() {
            let Some(kind) = line.strip_prefix("```") else { continue };
            let mut block = Vec::new();
            while let Some(line) = lines.next_if(|line| *line != "```") {
                block.push(line);
            }
            assert_eq!(lines.next(), Some("```"), "the block ends: {block:?}");
            if kind == "text" {
                steps.last_mut().expect("a command printed this").output = block.join("\n");
                continue;
            }
            assert_eq!(kind, "", "a block of commands, or of text that one prints");
            let block = block.join("\n");
            let mut lines = block.lines().peekable();
            while let Some(line) = lines.next() {
                if !line.is_empty() {
                    let command = continued(line, &mut lines);
                    steps.push(Step { command, output: String::new() });
                }
            }
        }
        steps
    }

    /// The steps of a section.
    #[track_caller]
    pub fn section(&self, name: &str) -> &[Step] {
        self.sections.get(name).unwrap_or_else(|| panic!("there is no section {name}"))
    }
}

fn continued(first: &str, lines: &mut Peekable<Lines<'_>>) -> String {
    let mut command = first.to_owned();
    while let Some(part) = command.strip_suffix('\\') {
        let next = lines.next().expect("a line continues in the next one");
        command = format!("{} {}", part.trim_end(), next.trim_start());
    }
    command
}

fn printed(lines: &mut Peekable<Lines<'_>>) -> String {
    let is_output = |line: &&str| !["$ ", "# ", "== "].iter().any(|start| line.starts_with(start));
    let mut output = Vec::new();
    while let Some(line) = lines.next_if(is_output) {
        output.push(line);
    }
    output.join("\n").trim_end().to_owned()
}

/// Plays steps in a sandbox.
#[derive(Debug)]
pub struct Player {
    /// Where.
    pub sandbox: Sandbox,
    /// The daemons that were started.
    pub daemons: Vec<Daemon>,
    substitutions: Vec<(String, String)>,
    instead: BTreeMap<(String, String), String>,
}

impl Player {
    /// In an empty directory.
    pub fn new() -> Self {
        Self {
            sandbox: Sandbox::new(),
            daemons: Vec::new(),
            substitutions: Vec::new(),
            instead: BTreeMap::new(),
        }
    }

    /// From here on, `text` stands for `replacement` in commands and in what they print.
    pub fn substitute(&mut self, text: &str, replacement: &str) {
        self.substitutions.push((text.to_owned(), replacement.to_owned()));
    }

    /// Where `command` is shown to print `printed`, `instead` is what it must print.
    pub fn expect_instead(&mut self, command: &str, printed: &str, instead: &str) {
        self.instead.insert((command.to_owned(), printed.to_owned()), instead.to_owned());
    }

    /// Plays steps, one after the other.
    #[track_caller]
    pub fn play(&mut self, steps: &[Step]) {
        for step in steps {
            let command = self.with_substitutions(&step.command);
            let output = self.with_substitutions(&step.output);
            let key = (command, output);
            let output = self.instead.get(&key).unwrap_or(&key.1).clone();
            self.step(&key.0, &output);
        }
    }

    #[track_caller]
    fn step(&mut self, command: &str, output: &str) {
        if let Some(directory) = command.strip_prefix("cd ") {
            self.sandbox.enter(directory);
        } else if let Some(assignments) = command.strip_prefix("export ") {
            for each in assignments.split(' ') {
                let (name, value) = assignment(each).expect("NAME=VALUE");
                self.sandbox.set(name, value);
            }
        } else if let Some((name, value)) = assignment(command) {
            self.sandbox.set(name, value);
        } else if let Some(daemon) = command.strip_suffix(" &") {
            let ports = if daemon.starts_with("stindex") { 2 } else { 1 };
            self.daemons.push(self.sandbox.daemon(daemon, ports));
        } else if is_look(command) {
            // Where a person would look again until it is so.
            eventually(command, || {
                let ran = self.sandbox.run(command);
                if ran.prints(output) { Ok(()) } else { Err(differs(output, &ran)) }
            });
        } else {
            let ran = self.sandbox.run(command);
            assert!(ran.prints(output), "{}", differs(output, &ran));
        }
    }

    fn with_substitutions(&self, text: &str) -> String {
        self.substitutions.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }
}

/// Whether a command only looks, so that it may be typed again.
fn is_look(command: &str) -> bool {
    let info = command.contains(" info ") && !command.contains(" export-ticket ");
    info || command.contains(" buyer payment-status ")
}

fn differs(expected: &str, ran: &Ran) -> String {
    let Ran { command, code, stdout, stderr } = ran;
    format!("{command}\nexpected\n{expected}\nbut printed\n{stdout}{stderr}exit code {code:?}")
}

fn assignment(command: &str) -> Option<(&str, &str)> {
    let (name, value) = command.split_once('=')?;
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    is_name.then(|| (name, value.trim_matches('"')))
}
