//! Settings from a file: whatever can come from an environment variable of a program can also
//! stand in a TOML file, under the same name without the program's prefix and in small letters.
//!
//! ```text
//!   --laddr 0.0.0.0:4567        the command line wins,
//!   STRELAY_LADDR=0.0.0.0:4567  then the environment,
//!   laddr = "0.0.0.0:4567"      then the file that --config (STRELAY_CONFIG) names
//! ```
//!
//! Paths in a file are relative to its directory. A key that the program does not know is an error.

use std::{
    any::TypeId,
    error::Error as _,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use anyhow::{anyhow, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::{Table, Value};

use crate::manners::{
    cli::Arguments,
    files::{INPUT, read_limited},
    inputs, names,
};

/// Why the settings of a program are not known.
#[derive(Debug)]
pub enum Refused {
    /// The command line is wrong, or asks for help.
    Arguments(clap::Error),
    /// The file is.
    File(anyhow::Error),
}

/// The settings of a program whose environment variables begin with `prefix`.
///
/// # Errors
/// What is wrong with the command line, the environment or the file.
pub fn parse<A: Arguments>(prefix: &str, arguments: Vec<OsString>) -> Result<A, Refused> {
    let usual = A::usual_config().filter(|path| path.is_file());
    let mut command = A::command();
    // Mostly there is no file, and nothing is to be looked at twice.
    if usual.is_none()
        && let Ok(mut matches) = command.try_get_matches_from_mut(arguments.clone())
        && !matches.contains_id(CONFIG)
    {
        return from_matches(&mut matches, &mut command).map_err(Refused::Arguments);
    }
    let matches = optional(A::command()).try_get_matches_from(arguments.clone());
    let matches = matches.map_err(Refused::Arguments)?;
    let path = matches.get_one::<PathBuf>(CONFIG).cloned().or(usual);
    let (command, tables) = match &path {
        Some(path) => with_file(A::command(), prefix, path, A::TABLES).map_err(Refused::File)?,
        None => (A::command(), Vec::new()),
    };
    let mut command = command;
    let mut matches = command.try_get_matches_from_mut(arguments).map_err(Refused::Arguments)?;
    let parsed = from_matches::<A>(&mut matches, &mut command);
    let mut parsed = parsed.map_err(Refused::Arguments)?;
    for (name, table) in tables {
        parsed.take_table(&name, &table).map_err(|error| {
            let shown = path.as_deref().unwrap_or(Path::new(INPUT)).display();
            Refused::File(anyhow!("{shown}: {error}"))
        })?;
    }
    Ok(parsed)
}

fn from_matches<A: Arguments>(
    matches: &mut ArgMatches,
    command: &mut Command,
) -> Result<A, clap::Error> {
    A::from_arg_matches_mut(matches).map_err(|error| error.format(command))
}

/// The directory in which a user keeps settings, if the system says so.
#[must_use]
pub fn user_directory() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let directory = if cfg!(windows) {
        variable("APPDATA").map(PathBuf::from)
    } else {
        let home = || variable("HOME").map(|home| Path::new(&home).join(".config"));
        variable("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home)
    };
    // A relative one is to be ignored (XDG Base Directory Specification).
    directory.filter(|directory| directory.is_absolute()).map(|directory| directory.join("offset"))
}

/// The same command without what must be given: the file may give it.
fn optional(command: Command) -> Command {
    command.mut_args(|arg| arg.required(false))
}

/// The command with the file's values as defaults, and the tables of the file that are no flags.
fn with_file(
    mut command: Command,
    prefix: &str,
    path: &Path,
    tables: &[&str],
) -> anyhow::Result<(Command, Vec<(String, Table)>)> {
    let shown = path.display();
    let (_, text) = read_limited(path)?;
    let parsed: Table = text.parse().map_err(|error: toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        anyhow!("{shown}, line {line}: {}; correct the file", error.message())
    })?;
    let directory = path.parent().unwrap_or(Path::new(""));
    let mut taken = Vec::new();
    for (key, value) in parsed {
        if let (Value::Table(table), true) = (&value, tables.contains(&key.as_str())) {
            taken.push((key, table.clone()));
            continue;
        }
        let variable = OsString::from(format!("{prefix}{}", key.to_uppercase()));
        let is_key = key != CONFIG && key.to_lowercase() == key;
        let Some(arg) = find(&command, &variable).filter(|_| is_key) else {
            let mut known: Vec<String> = tables.iter().map(|name| (*name).to_owned()).collect();
            collect_keys(&command, prefix, &mut known);
            bail!("{shown}: {}", unknown(&key, &known));
        };
        let values = texts(&arg, &value, directory)
            .map_err(|why| anyhow!("{shown}: the value of `{key}` {why}"))?;
        check(&arg, &values).map_err(|why| anyhow!("{shown}: the value of `{key}`: {why}"))?;
        command = with_default(command, &variable, &values);
    }
    Ok((command, taken))
}

/// What is said of a key that a file should not have.
#[must_use]
pub fn unknown(key: &str, known: &[String]) -> String {
    let all = || format!("the keys are {}", known.join(", "));
    let near = names::near(key, known.iter().map(String::as_str));
    let advice =
        if near.is_empty() { all() } else { format!("did you mean {}?", near.join(" or ")) };
    format!("the key `{}` is not known; {advice}", key.escape_debug())
}

/// The argument that this variable can set, in a command or below it.
fn find(command: &Command, variable: &OsStr) -> Option<Arg> {
    let here = command.get_arguments().find(|arg| arg.get_env() == Some(variable));
    here.cloned().or_else(|| command.get_subcommands().find_map(|below| find(below, variable)))
}

fn collect_keys(command: &Command, prefix: &str, keys: &mut Vec<String>) {
    for arg in command.get_arguments() {
        let variable = arg.get_env().and_then(OsStr::to_str).unwrap_or_default();
        let key = variable.strip_prefix(prefix).unwrap_or_default().to_lowercase();
        if !key.is_empty() && key != CONFIG && !keys.contains(&key) {
            keys.push(key);
        }
    }
    command.get_subcommands().for_each(|below| collect_keys(below, prefix, keys));
}

/// A value as it would be typed, or a list of them.
fn texts(arg: &Arg, value: &Value, directory: &Path) -> Result<Vec<OsString>, &'static str> {
    let is_path = arg.get_value_parser().type_id() == TypeId::of::<PathBuf>();
    Ok(match value {
        // A one-line text stands for a file, and has no directory.
        Value::String(text) if is_path && inputs::line(Path::new(text)).is_none() => {
            vec![directory.join(text).into_os_string()]
        }
        Value::String(text) => vec![text.into()],
        Value::Integer(number) => vec![number.to_string().into()],
        Value::Boolean(on) => vec![on.to_string().into()],
        Value::Array(values) if matches!(arg.get_action(), ArgAction::Append) => {
            let each = values.iter().map(|value| texts(arg, value, directory));
            each.collect::<Result<Vec<_>, _>>()?.concat()
        }
        Value::Array(_) => return Err("must be one value, not a list"),
        Value::Float(_) => return Err("must be a whole number or a text in quotes"),
        Value::Datetime(_) => return Err("must be a text in quotes"),
        Value::Table(_) => return Err("must be one value, not a table"),
    })
}

/// Whether the argument takes the values.
fn check(arg: &Arg, values: &[OsString]) -> Result<(), String> {
    for value in values {
        if matches!(arg.get_action(), ArgAction::SetTrue) {
            if value != "true" && value != "false" {
                return Err("expected true or false, without quotes".to_owned());
            }
            continue;
        }
        let mut typed = OsString::from(format!("--{}=", arg.get_long().unwrap_or_default()));
        typed.push(value);
        let alone = Command::new("alone").no_binary_name(true).arg(arg.clone().required(false));
        if let Err(error) = alone.try_get_matches_from([typed]) {
            return Err(error
                .source()
                .map_or_else(|| "it is not one that is possible".to_owned(), plain));
        }
    }
    Ok(())
}

/// What a library says of a value, in words.
pub(super) fn plain(error: &(dyn std::error::Error + 'static)) -> String {
    use std::num::IntErrorKind;
    let said = error.to_string();
    let numbers = error.downcast_ref::<std::num::ParseIntError>().map(|error| *error.kind());
    match numbers {
        Some(IntErrorKind::PosOverflow | IntErrorKind::NegOverflow) => {
            return "expected a smaller number".to_owned();
        }
        Some(_) => return "expected a whole number".to_owned(),
        None => {}
    }
    if let Some((_, range)) = said.split_once(" is not in ")
        && let Some((least, most)) = range.split_once("..")
    {
        return format!("expected a whole number from {least} to {}", most.trim_start_matches('='));
    }
    match said.as_str() {
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "expected a whole number".to_owned()
        }
        _ => said,
    }
}

/// The command in which the argument of this variable has these values unless others are given.
fn with_default(command: Command, variable: &OsStr, values: &[OsString]) -> Command {
    let below: Vec<String> =
        command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    let command = command.mut_args(|arg| {
        if arg.get_env() == Some(variable) {
            arg.required(false).default_values(values.to_vec())
        } else {
            arg
        }
    });
    below.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, |below| with_default(below, variable, values))
    })
}

/// The argument that names the file, in every program.
const CONFIG: &str = "config";

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[arg(long, env = "OFFSET_TEST_CONFIG")]
        config: Option<PathBuf>,
        #[arg(long, env = "OFFSET_TEST_DATABASE")]
        database: PathBuf,
        #[arg(long, env = "OFFSET_TEST_LADDR")]
        laddr: offset_proto::NetworkAddress,
        #[arg(long, env = "OFFSET_TEST_ON")]
        on: bool,
        #[arg(long, env = "OFFSET_TEST_COUNT", default_value_t = 7)]
        count: u16,
        #[arg(long)]
        not_a_setting: bool,
        #[arg(skip)]
        limits: Table,
    }

    impl Arguments for Program {
        const PREFIX: Option<&'static str> = Some("OFFSET_TEST_");
        const TABLES: &'static [&'static str] = &["limits"];

        fn json(&self) -> bool {
            false
        }

        fn take_table(&mut self, _name: &str, table: &Table) -> Result<(), String> {
            self.limits = table.clone();
            Ok(())
        }
    }

    fn run(file: &str, arguments: &[&str]) -> Result<Program, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.toml");
        fs::write(&path, file).unwrap();
        let mut line = vec![OsString::from("program"), "--config".into(), path.into()];
        line.extend(arguments.iter().map(OsString::from));
        let shown = directory.path().display().to_string();
        parse("OFFSET_TEST_", line).map_err(|refused| match refused {
            Refused::Arguments(error) => error.to_string(),
            Refused::File(error) => error.to_string().replace(&shown, "DIR"),
        })
    }

    #[test]
    fn the_command_line_wins_over_the_file_and_the_file_over_what_is_usual() {
        let file = "database = \"a.db\"\nladdr = \"h:1\"\non = true\ncount = 9\n[limits]\nx = 1\n";
        let program = run(file, &[]).unwrap();
        assert!(program.config.unwrap().ends_with("test.toml"));
        assert!(program.database.is_absolute() && program.database.ends_with("a.db"));
        assert_eq!((program.laddr.as_str(), program.on, program.count), ("h:1", true, 9));
        assert_eq!(program.limits["x"].as_integer(), Some(1));
        let program = run(file, &["--database", "b.db", "--count", "3"]).unwrap();
        assert_eq!((program.database, program.count), (PathBuf::from("b.db"), 3));
        let program = run("laddr = \"h:1\"", &["--database", "/b.db", "--not-a-setting"]).unwrap();
        assert_eq!((program.on, program.count, program.not_a_setting), (false, 7, true));
        let refused = run("laddr = \"h:1\"", &[]).unwrap_err();
        assert!(refused.contains("--database"), "{refused}");
    }

    #[test]
    fn what_is_wrong_in_a_file_is_named() {
        for (file, parts) in [
            ("laddr = ", ["DIR/test.toml, line 1: ", "correct the file"]),
            ("adr = \"h:1\"", ["DIR/test.toml: the key `adr`", "the keys are limits, database"]),
            ("ladr = \"h:1\"", ["the key `ladr` is not known", "did you mean laddr?"]),
            ("Laddr = \"h:1\"", ["the key `Laddr` is not known", "did you mean laddr?"]),
            ("not_a_setting = true", ["`not_a_setting`", "not known"]),
            ("config = \"x\"", ["`config`", "not known"]),
            ("laddr = \"nowhere\"", ["the value of `laddr`: ", "host:port"]),
            ("count = 70000", ["the value of `count`", "from 0 to 65535"]),
            ("count = \"many\"", ["the value of `count`", "whole number"]),
            ("count = 1.5", ["the value of `count`", "whole number"]),
            ("count = [1, 2]", ["the value of `count`", "not a list"]),
            ("on = \"yes\"", ["the value of `on`", "true or false"]),
            ("[laddr]\nx = 1", ["the value of `laddr`", "not a table"]),
            ("database = \"a\"\ndatabase = \"b\"", ["line 2", "duplicate key"]),
        ] {
            let error = run(file, &["--database", "x", "--laddr", "h:2"]).unwrap_err();
            for part in parts {
                assert!(error.contains(part), "{file}: {error}");
            }
        }
    }
}
