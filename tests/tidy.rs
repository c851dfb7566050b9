//! What can be said of the tree itself: floors, licences, sources of dependencies, leftovers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Each crate with its floor (ARCHITECTURE.md). A crate may use those on floors below its own, and
/// beside it only what is named here: each such edge was a decision.
const FLOORS: &[(&str, u8)] = &[
    ("offset-crypto", 0),
    ("offset-proto", 1),
    ("offset-secure-channel", 2),
    ("offset-net", 3),
    ("offset-funder", 4),
    ("offset-index-server", 4),
    ("offset-index-client", 4),
    ("offset-relay", 4),
    ("offset-app", 4),
    ("offset-store", 5),
    ("offset-node", 6),
    // Beside the floors, for tests only: nothing uses it.
    ("offset-sim", 7),
    ("offset", 7),
];

/// Crates that must stay free of sockets, runtimes and clocks.
const PURE: &[&str] = &["offset-crypto", "offset-proto", "offset-funder"];

const LICENCES: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "AGPL-3.0-only",
    "CC0-1.0",
];

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[test]
fn crates_use_only_floors_below_their_own() {
    let metadata = metadata();
    let floors: BTreeMap<_, _> = FLOORS.iter().copied().collect();
    let mut seen = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        if !package["source"].is_null() {
            continue;
        }
        let name = text(package, "name");
        let floor = floors.get(name).unwrap_or_else(|| panic!("{name} has no floor"));
        seen.insert(name);
        for dependency in package["dependencies"].as_array().unwrap() {
            let other = text(dependency, "name");
            // Tests may look down from anywhere.
            if text(dependency, "kind") == "dev" {
                continue;
            }
            if let Some(below) = floors.get(other) {
                assert!(below < floor, "{name} must not use {other}");
            }
            let shell = ["tokio", "rusqlite", "rustls", "futures"].contains(&other);
            assert!(!(PURE.contains(&name) && shell), "{name} is pure and must not use {other}");
        }
    }
    assert_eq!(seen.len(), FLOORS.len(), "FLOORS names a crate that is not there");
}

#[test]
fn dependencies_come_from_the_registry_under_known_licences() {
    for package in metadata()["packages"].as_array().unwrap() {
        let name = text(package, "name");
        let source = text(package, "source");
        assert!(
            source.is_empty() || source.starts_with("registry+"),
            "{name} comes from {source}, not from the registry"
        );
        let licence = text(package, "license");
        let allowed = |term: &str| {
            LICENCES.contains(&term.trim().trim_matches(|c| c == '(' || c == ')').trim())
        };
        // One alternative of an OR suffices; every part of an AND is needed.
        let fits =
            licence.split(" AND ").all(|part| part.replace('/', " OR ").split(" OR ").any(allowed));
        assert!(fits, "{name} has licence {licence:?}");
    }
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" && name != "schema" {
                sources(&path, found);
            }
        } else if name.ends_with(".rs") || name.ends_with(".capnp") || name.ends_with(".md") {
            found.push(path);
        }
    }
}

#[test]
fn nothing_is_left_over() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    sources(root, &mut found);
    let banned = ["TO\x44O", "FIX\x4dE", "XX\x58", "db\x67!(", "todo\x21(", "#[ignor\x65"];
    let mut wrong = Vec::new();
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        let shown = path.strip_prefix(root).unwrap().display().to_string();
        for (number, line) in text.lines().enumerate() {
            for word in banned {
                if line.contains(word) {
                    wrong.push(format!("{shown}:{}: {word}", number + 1));
                }
            }
            if line.ends_with([' ', '\t']) && !shown.ends_with(".md") {
                wrong.push(format!("{shown}:{}: ends with blanks", number + 1));
            }
        }
        let is_lib = shown.starts_with("components/") && shown.ends_with("src/lib.rs");
        if is_lib && !text.starts_with("//!") {
            wrong.push(format!("{shown}: a crate opens with what it is"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
