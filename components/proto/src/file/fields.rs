//! Reading and writing the keys of a TOML text, with errors that name them.

use std::{
    fmt::{Display, Write as _},
    str::FromStr,
};

use toml::{Table, Value};
use zeroize::{Zeroize as _, Zeroizing};

use super::{FileError, Kind};
use crate::Text;

/// The keys of a table that were not taken yet. Its strings are wiped when it is dropped.
#[derive(Debug)]
pub struct Fields {
    kind: Kind,
    /// In front of names in errors: empty, or `permissions.`.
    prefix: &'static str,
    table: Table,
}

impl Fields {
    /// Parses a text and takes its kind.
    pub(super) fn parse(text: &str) -> Result<(Kind, Self), FileError> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let at = error.span().map_or(0, |span| span.start);
            let before = text.as_bytes().get(..at).unwrap_or_default();
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            FileError::Syntax { line, message: Text::cut(error.message()) }
        })?;
        let mut fields = Self { kind: Kind::Friend, prefix: "", table };
        fields.kind = if fields.table.contains_key("kind") {
            let name = fields.text("kind")?;
            let known = Kind::from_name(&name).filter(|kind| *kind != Kind::Friend);
            known.ok_or_else(|| FileError::UnknownKind(Text::cut(&name)))?
        } else if fields.table.contains_key("public_key") && !fields.table.contains_key("address") {
            // The one file without a kind.
            Kind::Friend
        } else {
            return Err(FileError::MissingKey("kind".to_owned()));
        };
        Ok((fields.kind, fields))
    }

    /// A text that parses to `T`.
    pub(super) fn parsed<T>(&mut self, key: &str) -> Result<T, FileError>
    where
        T: FromStr<Err: Display>,
    {
        let text = self.text(key)?;
        text.parse().map_err(|error: T::Err| self.invalid(key, error))
    }

    /// A text that is wiped when dropped.
    pub(super) fn text(&mut self, key: &str) -> Result<Zeroizing<String>, FileError> {
        let Value::String(text) = self.take(key)? else {
            return Err(self.invalid(key, "not a text in quotes"));
        };
        Ok(Zeroizing::new(text))
    }

    pub(super) fn bool(&mut self, key: &str) -> Result<bool, FileError> {
        let value = self.take(key)?.as_bool();
        value.ok_or_else(|| self.invalid(key, "neither true nor false"))
    }

    pub(super) fn number(&mut self, key: &str) -> Result<u64, FileError> {
        let value = self.take(key)?.as_integer().and_then(|value| u64::try_from(value).ok());
        value.ok_or_else(|| self.invalid(key, "not a whole number of 0 or more"))
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The keys that were not taken yet.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.table.keys().map(String::as_str)
    }

    /// The table `[key]`; `prefix` is its name and a dot.
    pub(super) fn table(&mut self, key: &str, prefix: &'static str) -> Result<Self, FileError> {
        let Value::Table(table) = self.take(key)? else {
            return Err(self.invalid(key, "not a table"));
        };
        Ok(Self { kind: self.kind, prefix, table })
    }

    /// The tables `[[key]]`, none when there is no such key, at most `most`.
    pub(super) fn tables(
        &mut self,
        key: &str,
        prefix: &'static str,
        most: usize,
    ) -> Result<Vec<Self>, FileError> {
        let array = match self.table.remove(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(array)) => array,
            Some(_) => return Err(self.invalid(key, "not a list of tables")),
        };
        if most < array.len() {
            let reason = format_args!("a list of {}, at most {most} are allowed", array.len());
            return Err(self.invalid(key, reason));
        }
        let kind = self.kind;
        let open = |value| {
            let Value::Table(table) = value else {
                return Err(self.invalid(key, "not a list of tables"));
            };
            Ok(Self { kind, prefix, table })
        };
        array.into_iter().map(open).collect()
    }

    /// Fails when a key was not taken.
    pub(super) fn finish(self) -> Result<(), FileError> {
        match self.table.keys().next() {
            None => Ok(()),
            Some(key) => Err(FileError::UnknownKey {
                key: Text::cut(&format!("{}{key}", self.prefix)),
                kind: self.kind,
            }),
        }
    }

    pub(super) fn invalid(&self, key: &str, reason: impl Display) -> FileError {
        FileError::InvalidValue { key: format!("{}{key}", self.prefix), reason: reason.to_string() }
    }

    fn take(&mut self, key: &str) -> Result<Value, FileError> {
        let missing = || FileError::MissingKey(format!("{}{key}", self.prefix));
        self.table.remove(key).ok_or_else(missing)
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        for (_, value) in &mut self.table {
            if let Value::String(text) = value {
                text.zeroize();
            }
        }
    }
}

/// Writes keys in the order in which they are given.
#[derive(Debug)]
pub struct Writer(Zeroizing<String>);

impl Writer {
    /// Begins a text with its kind, where it has one.
    pub(super) fn new(kind: Kind) -> Self {
        // Room for everything, so that no secret is left behind where the text grew.
        let mut out = Self(Zeroizing::new(String::with_capacity(8 * 1024)));
        if kind != Kind::Friend {
            out.text("kind", kind);
        }
        out
    }

    /// A value in quotes. It has no control characters.
    pub(super) fn text(&mut self, key: &str, value: impl Display) -> &mut Self {
        self.raw(format_args!("{key} = \""));
        let start = self.0.len();
        self.raw(format_args!("{value}"));
        if self.0[start..].contains(['"', '\\']) {
            let escaped = self.0[start..].replace('\\', "\\\\").replace('"', "\\\"");
            self.0.truncate(start);
            self.0.push_str(&escaped);
        }
        self.0.push_str("\"\n");
        self
    }

    /// A boolean or a number.
    pub(super) fn bare(&mut self, key: &str, value: impl Display) -> &mut Self {
        self.raw(format_args!("{key} = {value}\n"));
        self
    }

    /// `[name]` or `[[name]]`, with an empty line in front.
    pub(super) fn header(&mut self, header: &str) -> &mut Self {
        self.raw(format_args!("\n{header}\n"));
        self
    }

    pub(super) fn finish(self) -> Zeroizing<String> {
        self.0
    }

    fn raw(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("a string takes everything");
    }
}
