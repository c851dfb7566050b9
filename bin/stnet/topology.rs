//! Who is a friend of whom.

use std::{collections::BTreeSet, fmt::Write as _, path::Path, str::FromStr};

use anyhow::{Context as _, anyhow, bail};
use offset_proto::{Balance, Credits, Name};
use serde::Deserialize;

use crate::manners::files::read_limited;

/// The nodes of a network and the lines between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Names, which are also names of directories.
    pub nodes: Vec<Name>,
    /// Between two different nodes, no pair twice.
    pub lines: Vec<Line>,
}

/// A line of mutual credit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Places in the list of nodes.
    pub between: (usize, usize),
    /// As the first of the two sees it.
    pub opening_balance: Balance,
    /// The most that each may owe the other.
    pub max_debt: Credits,
}

/// What `--topology` says: a pattern, or a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// `line:N`, `ring:N` or `star:N`.
    Pattern(Pattern, usize),
    /// A TOML file.
    File(std::path::PathBuf),
}

/// The shape of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// Each node is a friend of the next.
    Line,
    /// A line whose ends are friends.
    Ring,
    /// The first node is a friend of all others.
    Star,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((pattern, count)) = text.split_once(':') else {
            return Ok(Self::File(text.into()));
        };
        let (pattern, least) = match pattern {
            "line" => (Pattern::Line, 2),
            "ring" => (Pattern::Ring, 3),
            "star" => (Pattern::Star, 2),
            _ => return Err("expected line:N, ring:N, star:N or the name of a file".to_owned()),
        };
        match count.parse() {
            Ok(count) if (least..=MAX_NODES).contains(&count) => Ok(Self::Pattern(pattern, count)),
            Ok(_) | Err(_) => {
                Err(format!("expected a number of nodes from {least} to {MAX_NODES}"))
            }
        }
    }
}

impl Choice {
    /// The topology that was chosen.
    ///
    /// # Errors
    /// When the file cannot be read or contradicts itself.
    pub fn topology(&self) -> anyhow::Result<Topology> {
        match self {
            Self::Pattern(pattern, count) => Ok(Topology::of(*pattern, *count)),
            Self::File(path) => Topology::read(path),
        }
    }
}

impl Topology {
    fn of(pattern: Pattern, count: usize) -> Self {
        let name = |i| format!("node{i}").parse().expect("a short printable name");
        let mut pairs: Vec<(usize, usize)> = match pattern {
            Pattern::Line | Pattern::Ring => (1..count).map(|i| (i - 1, i)).collect(),
            Pattern::Star => (1..count).map(|i| (0, i)).collect(),
        };
        if pattern == Pattern::Ring {
            pairs.push((count - 1, 0));
        }
        let lines = pairs.into_iter().map(|between| Line {
            between,
            opening_balance: Balance::ZERO,
            max_debt: DEFAULT_MAX_DEBT,
        });
        Self { nodes: (0..count).map(name).collect(), lines: lines.collect() }
    }

    /// Reads a topology file.
    ///
    /// # Errors
    /// When it cannot be read or contradicts itself.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let (_, text) = read_limited(path)?;
        Self::parse(&text).with_context(|| {
            format!("{} is no topology; `nodes` and `[[lines]]` make one", path.display())
        })
    }

    /// Reads the text of a topology file.
    ///
    /// # Errors
    /// When it contradicts itself.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let file: File = toml::from_str(text).map_err(|error| anyhow!("{}", error.message()))?;
        let mut seen = BTreeSet::new();
        for node in &file.nodes {
            let usable = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            if node.is_empty() || !node.bytes().all(usable) || RESERVED.contains(&node.as_str()) {
                bail!("{node:?} cannot name a node: use letters, digits, - and _");
            }
            if !seen.insert(node) {
                bail!("there are two nodes named {node}");
            }
        }
        if !(2..=MAX_NODES).contains(&file.nodes.len()) {
            bail!("a network has 2 to {MAX_NODES} nodes");
        }
        let nodes: Vec<Name> =
            file.nodes.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
        let mut pairs = BTreeSet::new();
        let mut lines = Vec::new();
        for line in file.lines {
            let place = |name: &String| {
                let place = file.nodes.iter().position(|node| node == name);
                place.with_context(|| format!("a line names {name}, which is not among the nodes"))
            };
            let between = (place(&line.between[0])?, place(&line.between[1])?);
            let sorted = (between.0.min(between.1), between.0.max(between.1));
            if between.0 == between.1 || !pairs.insert(sorted) {
                bail!(
                    "the line between {} and {} is one too many",
                    line.between[0],
                    line.between[1]
                );
            }
            lines.push(Line {
                between,
                opening_balance: line.balance.map_or(Ok(Balance::ZERO), |text| text.parse())?,
                max_debt: line.max_debt.map_or(Ok(DEFAULT_MAX_DEBT), |text| text.parse())?,
            });
        }
        Ok(Self { nodes, lines })
    }

    /// The text of a topology file that says the same.
    pub fn to_toml(&self) -> String {
        let names: Vec<String> = self.nodes.iter().map(|name| format!("\"{name}\"")).collect();
        let mut text = format!("nodes = [{}]\n", names.join(", "));
        for line in &self.lines {
            let (a, b) = line.between;
            let _ = write!(
                text,
                "\n[[lines]]\nbetween = [{}, {}]\nbalance = \"{}\"\nmax_debt = \"{}\"\n",
                names[a], names[b], line.opening_balance, line.max_debt
            );
        }
        text
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    nodes: Vec<String>,
    #[serde(default)]
    lines: Vec<FileLine>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileLine {
    between: [String; 2],
    balance: Option<String>,
    max_debt: Option<String>,
}

/// More processes than this help nobody on one machine.
const MAX_NODES: usize = 64;
/// The most that each side of a line may owe where nothing else is said.
const DEFAULT_MAX_DEBT: Credits = Credits(1_000);
/// Directories of the network that are no nodes.
const RESERVED: [&str; 4] = ["relay", "index0", "index1", "log"];

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(choice: &str) -> Vec<(usize, usize)> {
        let topology = choice.parse::<Choice>().unwrap().topology().unwrap();
        topology.lines.iter().map(|line| line.between).collect()
    }

    #[test]
    fn patterns() {
        assert_eq!(pairs("line:3"), [(0, 1), (1, 2)]);
        assert_eq!(pairs("ring:3"), [(0, 1), (1, 2), (2, 0)]);
        assert_eq!(pairs("star:4"), [(0, 1), (0, 2), (0, 3)]);
        for bad in ["line:1", "ring:2", "star:65", "line:x", "mesh:4", "line:"] {
            assert!(bad.parse::<Choice>().is_err(), "{bad}");
        }
        assert_eq!("net.toml".parse(), Ok(Choice::File("net.toml".into())));
    }

    #[test]
    fn files_say_the_same_again() {
        let text = "nodes = [\"bob\", \"alice\"]\n\n[[lines]]\nbetween = [\"bob\", \"alice\"]\n\
                    balance = \"-50\"\nmax_debt = \"100\"\n";
        let topology = Topology::parse(text).unwrap();
        assert_eq!(topology.lines[0].opening_balance.get(), -50);
        assert_eq!(topology.to_toml(), text);
    }

    #[test]
    fn contradictions_are_named() {
        for (text, part) in [
            ("nodes = [\"a\"]", "2 to 64"),
            ("nodes = [\"a\", \"a\"]", "two nodes named a"),
            ("nodes = [\"a\", \"../b\"]", "cannot name a node"),
            ("nodes = [\"a\", \"relay\"]", "cannot name a node"),
            ("nodes = [\"a\", \"b\"]\nx = 1", "unknown field"),
            ("nodes = [\"a\", \"b\"]\n[[lines]]\nbetween = [\"a\", \"c\"]", "names c"),
            ("nodes = [\"a\", \"b\"]\n[[lines]]\nbetween = [\"a\", \"a\"]", "one too many"),
            (
                "nodes = [\"a\", \"b\"]\n[[lines]]\nbetween = [\"a\", \"b\"]\nmax_debt = \"x\"",
                "not an amount",
            ),
        ] {
            let error = format!("{:#}", Topology::parse(text).unwrap_err());
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
