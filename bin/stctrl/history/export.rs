//! `stctrl history export`.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use offset_app::AppClient;
use offset_crypto::PublicKey;
use offset_proto::{Name, history::HistoryQuery};
use serde_json::json;
use tempfile::NamedTempFile;

use super::{Filter, each, formats};
use crate::{
    manners::{Access, Answer, OutputFile},
    stctrl::Session,
};

/// How the books are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For spreadsheets: a header and one line an entry (RFC 4180).
    Csv,
    /// One document.
    Json,
    /// For `ledger` and `hledger`: one balanced transaction an entry.
    Ledger,
}

#[derive(Debug, Args)]
pub(in crate::stctrl) struct Export {
    #[command(flatten)]
    filter: Filter,
    /// How to write them; as JSON with --json.
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,
    /// File to write; standard output if none is given.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
}

impl Export {
    /// Writes all entries, page by page.
    ///
    /// # Errors
    /// When the node cannot be reached or the file cannot be written; then there is no file.
    pub(super) async fn run(self, session: &Session, json: bool) -> anyhow::Result<Answer> {
        let output = self.output.as_deref();
        let output = output.map(|path| OutputFile::prepare(path, Access::Public, self.force));
        let output = output.transpose()?;
        let format = if json && self.output.is_none() { Format::Json } else { self.format };
        let query = self.filter.query()?;
        let client = session.connect().await?;
        let report = client.report().await?;
        let names: BTreeMap<_, _> =
            report.friends.iter().map(|friend| (friend.public_key, friend.name.clone())).collect();
        // Into a file that nobody sees first: what is shown is whole.
        let whole = NamedTempFile::new().context("cannot make a temporary file")?;
        let count = write_all(&client, query, format, &names, whole.as_file()).await?;
        if count == 0 {
            self.filter.check_friend(&report)?;
        }
        match output {
            Some(output) => {
                output.fill(|path| copy(whole.path(), path))?;
                let json = json!({ "entries": count });
                Ok(Answer::new(format!("{count} entries written."), json))
            }
            None => {
                let mut file = whole.reopen().context("cannot read the temporary file")?;
                match io::copy(&mut file, &mut io::stdout().lock()) {
                    Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
                    Ok(_) | Err(_) => Ok(Answer::silent()),
                }
            }
        }
    }
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let mut source = std::fs::File::open(from).context("cannot read the temporary file")?;
    let mut target = OpenOptions::new()
        .write(true)
        .open(to)
        .with_context(|| format!("cannot write {}", to.display()))?;
    io::copy(&mut source, &mut target).context("cannot write the file")?;
    Ok(())
}

async fn write_all(
    client: &AppClient,
    query: HistoryQuery,
    format: Format,
    names: &BTreeMap<PublicKey, Name>,
    out: impl Write,
) -> anyhow::Result<u64> {
    let mut out = BufWriter::new(out);
    let mut count: u64 = 0;
    match format {
        Format::Csv => {
            let mut csv =
                csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(&mut out);
            csv.write_record(formats::CSV_HEADER)?;
            each(client, query, |entry| {
                count = count.saturating_add(1);
                csv.write_record(formats::csv_record(&entry))?;
                Ok(true)
            })
            .await?;
            csv.flush()?;
        }
        Format::Json => {
            write!(out, "{{\"entries\": [")?;
            each(client, query, |entry| {
                let comma = if count == 0 { "" } else { "," };
                count = count.saturating_add(1);
                write!(out, "{comma}\n{}", super::entry_json(&entry))?;
                Ok(true)
            })
            .await?;
            writeln!(out, "\n]}}")?;
        }
        Format::Ledger => {
            each(client, query, |entry| {
                count = count.saturating_add(1);
                let name = names.get(&entry.friend).unwrap_or(&entry.friend_name);
                out.write_all(formats::ledger(&entry, name).as_bytes())?;
                Ok(true)
            })
            .await?;
        }
    }
    out.flush()?;
    Ok(count)
}
