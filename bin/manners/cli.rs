//! From the command line to an exit code.

use std::{ffi::OsString, fmt, process::ExitCode};

use clap::{Parser, error::ErrorKind};

use crate::manners::{Answer, answer::say};

/// Wrong usage that only shows after parsing; ends the program with exit code 2.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// The command line of a program.
pub trait Arguments: Parser {
    /// Whether the answer is printed as JSON.
    fn json(&self) -> bool;

    /// Whether the program runs until it is stopped. Its warnings are then logged even without
    /// `RUST_LOG`.
    const DAEMON: bool = false;
}

/// Runs a program: parses `arguments` (the first is the program's name), calls `run`, prints its
/// answer or its error, and gives the exit code.
pub fn start<A: Arguments>(
    arguments: impl IntoIterator<Item = OsString>,
    run: impl FnOnce(A) -> anyhow::Result<Answer>,
) -> ExitCode {
    let parsed = match A::try_parse_from(arguments) {
        Ok(parsed) => parsed,
        Err(message) => return refuse(&message),
    };
    start_logs(A::DAEMON);
    let json = parsed.json();
    match run(parsed).and_then(|answer| Ok(answer.print(json)?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref::<Usage>() {
            Some(usage) => {
                refuse(&A::command().error(ErrorKind::MissingRequiredArgument, &usage.0))
            }
            None => {
                say(&format!("error: {}", sentence(&error)));
                ExitCode::from(FAILED)
            }
        },
    }
}

/// Prints help, version or what is wrong with the arguments.
fn refuse(message: &clap::Error) -> ExitCode {
    // Help whose reader has gone, or an error that nobody reads: nothing to do about either.
    let _ = message.print();
    if message.use_stderr() { ExitCode::from(WRONG_USAGE) } else { ExitCode::SUCCESS }
}

/// An error and its causes in one line, without those that its text names already.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for part in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = part;
        } else if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
    }
    // One line, whatever a library says.
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn start_logs(daemon: bool) {
    let quiet = if daemon { "warn" } else { "off" };
    let env = env_logger::Env::default().default_filter_or(quiet);
    // A second logger in one process (tests) keeps the first.
    let _ = env_logger::Builder::from_env(env).format_target(false).try_init();
}

const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn causes_are_named_once_and_in_one_line() {
        let error = anyhow!("refused").context("cannot reach the node: refused; is it running?");
        assert_eq!(sentence(&error), "cannot reach the node: refused; is it running?");
        let error = anyhow!("no such\nfile").context("cannot open x");
        assert_eq!(sentence(&error), "cannot open x: no such file");
    }
}
