//! Lists of objects in `docs/vectors/`, shared by the tests of the crates that publish some.
#![allow(clippy::unwrap_used, unreachable_pub, dead_code, reason = "tests")]

use std::{fmt::Write as _, fs, path::Path};

/// A list of objects whose values are texts.
#[derive(Default)]
pub struct Objects(Vec<Vec<(&'static str, String)>>);

impl Objects {
    pub fn push(&mut self, fields: impl IntoIterator<Item = (&'static str, String)>) {
        self.0.push(fields.into_iter().collect());
    }

    fn json(&self) -> String {
        let object = |fields: &Vec<(&'static str, String)>| {
            let field =
                |(name, value): &(&str, String)| format!("    \"{name}\": {}", quoted(value));
            format!("  {{\n{}\n  }}", fields.iter().map(field).collect::<Vec<_>>().join(",\n"))
        };
        format!("[\n{}\n]\n", self.0.iter().map(object).collect::<Vec<_>>().join(",\n"))
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out + "\""
}

pub fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The file is as it would be written now, or is written.
pub fn publish(name: &str, objects: &Objects) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/vectors").join(name);
    let json = objects.json();
    if std::env::var_os("OFFSET_REGENERATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &json).unwrap();
    }
    let published = fs::read_to_string(&path).unwrap_or_default();
    for (new, old) in json.lines().zip(published.lines()) {
        assert_eq!(new, old, "{name} is stale: CONTRIBUTING.md says how it is made again");
    }
    assert_eq!(json.lines().count(), published.lines().count(), "{name} is stale");
}
