//! `stmgr backup`, `restore` and `verify-backup`: copies of a node's database.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use offset_funder::state::{Friend, Line};
use offset_store::{
    Error,
    backup::{self, Contents},
};
use serde_json::{Value, json};

use super::Output;
use crate::manners::{Access, Answer, OutputFile};

/// Arguments of `backup`.
#[derive(Debug, Args)]
pub(super) struct Backup {
    /// Database of the node. The node may run on it.
    #[arg(short, long)]
    database: PathBuf,
    #[command(flatten)]
    output: Output,
}

/// Arguments of `restore`.
#[derive(Debug, Args)]
pub(super) struct Restore {
    /// Backup, as `stmgr backup` made it.
    #[arg(short, long)]
    backup: PathBuf,
    /// Database to make of it. A database is never replaced.
    #[arg(short, long)]
    database: PathBuf,
}

/// Arguments of `verify-backup`.
#[derive(Debug, Args)]
pub(super) struct VerifyBackup {
    /// Backup to look at. It is not changed.
    file: PathBuf,
}

impl Backup {
    pub(super) fn run(&self) -> anyhow::Result<Answer> {
        // Not even with --force.
        backup::check_replaceable(&self.database, &self.output.output)?;
        // Everything about friends and payments is in it.
        let file = OutputFile::prepare(&self.output.output, Access::Secret, self.output.force)?;
        let contents = file.fill(|copy| {
            let copied = backup::copy(&self.database, copy);
            copied.and_then(signed).map_err(|error| not_copied(&self.database, error))
        })?;
        let described = describe("", &contents);
        Ok(Answer::new("", described.json().clone()))
    }
}

impl Restore {
    pub(super) fn run(&self) -> anyhow::Result<Answer> {
        backup::check_free(&self.database)?;
        let file = OutputFile::prepare(&self.database, Access::Secret, false)?;
        let contents = file.fill(|database| {
            let restored = backup::restore(&self.backup, database);
            restored.and_then(signed).map_err(|error| unusable(&self.backup, error))
        })?;
        let shown = self.database.display();
        let mut answer = describe(&format!("Database restored: {shown}"), &contents);
        answer.add(&format!("\n\n{WARNING}"), &[("warning", json!(WARNING))]);
        Ok(answer)
    }
}

impl VerifyBackup {
    pub(super) fn run(&self) -> anyhow::Result<Answer> {
        let contents = backup::verify(&self.file)
            .and_then(signed)
            .map_err(|error| unusable(&self.file, error))?;
        let mut answer = describe("Backup is valid!", &contents);
        answer.add("", &[("valid", json!(true))]);
        Ok(answer)
    }
}

/// A database whose rows are those that the node and its friends signed.
fn signed(contents: Contents) -> Result<Contents, Error> {
    let Contents { path, public_key, state, .. } = &contents;
    state
        .check_channels(*public_key)
        .and_then(|()| state.check_signatures(*public_key))
        .map_err(|error| Error::Corrupt { path: path.clone(), error })?;
    Ok(contents)
}

/// What is in a database, under a headline.
fn describe(headline: &str, contents: &Contents) -> Answer {
    let Contents { public_key, schema_version, state, rows, .. } = contents;
    let mut text = format!(
        "{headline}\n\nnode: {public_key}\nschema version: {schema_version}\nfriends: {}",
        state.friends.len()
    );
    let mut friends: Vec<&Friend> = state.friends.values().collect();
    friends.sort_by(|a, b| a.info.name.cmp(&b.info.name));
    for friend in &friends {
        let lines = friend.lines.iter().map(|(currency, line)| match &line.credit {
            Some(credit) => format!("{currency} {}", credit.numbers().balance),
            None => format!("{currency} proposed"),
        });
        let lines = lines.collect::<Vec<_>>().join(", ");
        let lines = if lines.is_empty() { "no currency".to_owned() } else { lines };
        text.push_str(&format!("\n  {}: {lines}", friend.info.name));
    }
    // Those that have ended lie in a table of their own.
    let all = |tables: [&str; 2]| tables.iter().filter_map(|table| rows.get(table)).sum::<u64>();
    text.push_str(&format!(
        "\npayments: {} ({} under way)\ninvoices: {} ({} open)",
        all(["payments", "past_payments"]),
        state.payments.len(),
        all(["invoices", "past_invoices"]),
        state.invoices.len(),
    ));
    let json = json!({
        "public_key": public_key.to_string(),
        "schema_version": schema_version,
        "friends": state.friends.iter().map(|(key, friend)| json!({
            "name": friend.info.name.as_str(),
            "public_key": key.to_string(),
            "lines": friend.lines.iter().map(|(currency, line)| json!({
                "currency": currency.as_str(),
                "balance": balance(line),
            })).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "rows": rows,
    });
    Answer::new(text, json)
}

/// Null for a currency that is only proposed.
fn balance(line: &Line) -> Value {
    line.credit.as_ref().map_or(Value::Null, |credit| json!(credit.numbers().balance.to_string()))
}

/// A database that is damaged cannot be copied; that it was not is good to know, too.
fn not_copied(database: &Path, error: Error) -> anyhow::Error {
    match damage(&error) {
        Some(what) => anyhow!(
            "{} is damaged: {what}; no backup was written: keep this file and your earlier \
             backups, and see what the node says when it is started",
            database.display()
        ),
        None => error.into(),
    }
}

/// Why a backup is no good, and what to do instead of what one does with a damaged database.
fn unusable(file: &Path, error: Error) -> anyhow::Error {
    match damage(&error) {
        Some(what) => anyhow!(
            "{} is damaged: {what}; it cannot be restored: take another backup, or make a new one \
             of the running node with `stmgr backup`",
            file.display()
        ),
        None => error.into(),
    }
}

/// What is damaged, if the error says so.
fn damage(error: &Error) -> Option<String> {
    match error {
        Error::DamagedRow { table, row, why, .. } => {
            Some(format!("table {table}, row {row}: {why}"))
        }
        Error::Corrupt { error, .. } => Some(error.to_string()),
        Error::Damaged { why, .. } => Some(why.clone()),
        Error::Exists(_)
        | Error::Leftover(_)
        | Error::InUse(_)
        | Error::SeveralNames(_)
        | Error::NotACopy { .. }
        | Error::NotSettled(_)
        | Error::Path { .. }
        | Error::ReadOnly(_)
        | Error::NotADatabase(_)
        | Error::NotOurs(_)
        | Error::NewerSchema { .. }
        | Error::OtherIdentity { .. }
        | Error::Locked { .. }
        | Error::Busy(_)
        | Error::DiskFull(_)
        | Error::Disk { .. }
        | Error::NotDurable { .. }
        | Error::Stopped(_)
        | Error::Sqlite { .. } => None,
    }
}

const WARNING: &str = "\
ATTENTION: this is an old copy. What the node signed since it was made is not in it. Start it with
`stnode --recover`, so that it takes the newest state from its friends before it signs anything; and
only when the node of the lost database will never run again.";
