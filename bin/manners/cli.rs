//! From the command line to an exit code.

use std::{borrow::Cow, error::Error as _, ffi::OsString, fmt, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{
    Parser,
    error::{ContextKind, ContextValue, ErrorKind},
};
use offset_proto::printable;

use crate::manners::{
    Answer,
    answer::say,
    config::{self, Refused},
    logs,
};

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

    /// With what the names of its environment variables begin. Those settings may stand in a file,
    /// too, that the argument `config` names, see [`config`].
    const PREFIX: Option<&'static str> = None;

    /// The tables that its file may have besides.
    const TABLES: &'static [&'static str] = &[];

    /// The file that is read, if it is there, when none is named.
    #[must_use]
    fn usual_config() -> Option<PathBuf> {
        None
    }

    /// Takes one of [`Arguments::TABLES`].
    ///
    /// # Errors
    /// What is wrong with it.
    fn take_table(&mut self, name: &str, table: &toml::Table) -> Result<(), String> {
        unreachable!("a program with tables takes them: {name}, {table}")
    }
}

/// Runs a program: parses `arguments` (the first is the program's name), calls `run`, prints its
/// answer or its error, and gives the exit code.
pub fn start<A: Arguments>(
    arguments: impl IntoIterator<Item = OsString>,
    run: impl FnOnce(A) -> anyhow::Result<Answer>,
) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let parsed = match A::PREFIX {
        Some(prefix) => config::parse(prefix, arguments),
        None => A::try_parse_from(arguments).map_err(Refused::Arguments),
    };
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(Refused::Arguments(message)) => return refuse(&message),
        Err(Refused::File(error)) => return fail(&error),
    };
    logs::start(A::DAEMON);
    let json = parsed.json();
    let print = |answer: Answer| {
        // Whoever believes that it failed might pay once more.
        answer.print(json).context("it is done, but the answer cannot be written to stdout")
    };
    match run(parsed).and_then(print) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => match error.downcast_ref::<Usage>() {
            Some(usage) => {
                refuse(&A::command().error(ErrorKind::MissingRequiredArgument, &usage.0))
            }
            None => fail(&error),
        },
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    say(&format!("error: {}", sentence(error)));
    ExitCode::from(FAILED)
}

/// Prints help, version or what is wrong with the arguments.
fn refuse(message: &clap::Error) -> ExitCode {
    if let Some(text) = wrong_value(message) {
        say(&format!("error: {text}"));
        return ExitCode::from(WRONG_USAGE);
    }
    let plain = message.render().to_string();
    if plain.lines().all(|line| matches!(printable(line), Cow::Borrowed(_))) {
        // Help whose reader has gone, or an error that nobody reads: nothing to do about either.
        let _ = message.print();
    } else {
        say(plain.lines().map(printable).collect::<Vec<_>>().join("\n").as_str());
    }
    if message.use_stderr() { ExitCode::from(WRONG_USAGE) } else { ExitCode::SUCCESS }
}

/// What is wrong with a value that was typed, or is in an environment variable.
fn wrong_value(error: &clap::Error) -> Option<String> {
    if error.kind() != ErrorKind::ValueValidation {
        return None;
    }
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue) else {
        return None;
    };
    let why = config::plain(error.source()?);
    // What was typed may be anything; it is not for the terminal to act on.
    let value = value.escape_debug();
    Some(format!("\"{value}\" cannot be the value of {argument}: {why}; see --help"))
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
    // One line that no terminal acts on, whatever a library, a file or a peer says.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    printable(&text).into_owned()
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
        let error = anyhow!("no \u{1b}[31mred\u{202e} text");
        assert_eq!(sentence(&error), "no \\u{1b}[31mred\\u{202e} text");
    }
}
