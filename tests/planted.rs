//! The planted bugs (`planted/`) can still be planted. That the tests find them, `planted/run` shows.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{collections::BTreeSet, path::Path};

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    bug: Vec<Bug>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bug {
    name: String,
    file: String,
    old: String,
    new: String,
    command: String,
    seconds: u64,
}

#[test]
fn every_bug_can_still_be_planted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("planted/table.toml")).unwrap();
    let table: Table = toml::from_str(&text).unwrap();
    assert!(40 <= table.bug.len(), "the table is not whole");
    let (mut names, mut wrong) = (BTreeSet::new(), Vec::new());
    for bug in &table.bug {
        let Bug { name, file, old, new, command, seconds } = bug;
        let code = std::fs::read_to_string(root.join(file)).unwrap_or_default();
        let found = code.matches(old).count();
        if found != 1 {
            wrong.push(format!("{name}: what it replaces stands {found} times in {file}"));
        }
        let other = names.insert(name) && old != new;
        if !other || !command.starts_with("-p ") || !(1..=600).contains(seconds) {
            wrong.push(format!("{name} is not as the others"));
        }
    }
    assert!(wrong.is_empty(), "see planted/README.md:\n{}", wrong.join("\n"));
}
