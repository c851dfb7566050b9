//! What a command has to say when it succeeds.

use std::io::{self, Write as _};

use serde_json::Value;

/// The result of a command: text for people, and the same as JSON for programs.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    text: String,
    json: Value,
}

impl Answer {
    /// For commands that print nothing when they succeed.
    #[must_use]
    pub const fn silent() -> Self {
        Self { text: String::new(), json: Value::Null }
    }

    /// Text without its last line end, and the JSON document that says the same.
    #[must_use]
    pub fn new(text: impl Into<String>, json: Value) -> Self {
        Self { text: text.into(), json }
    }

    /// Says more: behind the text, and under more keys of the JSON object.
    pub fn add(&mut self, text: &str, keys: &[(&str, Value)]) {
        self.text.push_str(text);
        for (key, value) in keys {
            self.json[*key] = value.clone();
        }
    }

    /// What people see.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What programs see; null when there is nothing to say.
    #[must_use]
    pub const fn json(&self) -> &Value {
        &self.json
    }

    /// Writes the answer to stdout.
    ///
    /// # Errors
    /// When stdout cannot be written, but not when its reader has gone.
    pub fn print(&self, as_json: bool) -> io::Result<()> {
        let text = if !as_json {
            self.text.clone()
        } else if self.json.is_null() {
            String::new()
        } else {
            format!("{:#}", self.json)
        };
        if text.is_empty() { Ok(()) } else { print_line(&text) }
    }
}

/// Writes a line to stdout at once. A reader that has gone is no error.
///
/// # Errors
/// Any other failure to write.
pub fn print_line(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes a line to stderr. When that fails there is nobody left to tell.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
