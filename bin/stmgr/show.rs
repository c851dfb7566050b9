//! `stmgr show`: what a file is and holds.

use std::{fmt::Display, path::PathBuf};

use anyhow::{anyhow, bail};
use clap::Args;
use offset_crypto::{Identity, Seed};
use offset_proto::{
    ServerAddress,
    app::{AppLimits, Permissions},
    file::{AnyFile, FriendFile, IdentityFile, Kind, PaymentFile},
    payment::{Commit, Invoice, Receipt},
};
use serde_json::{Map, Value, json};

use crate::manners::{
    Access, Answer, OutputFile,
    files::{INPUT, check_private, read_input, read_limited, read_secret},
    inputs,
    qr::Qr,
    signed,
};

/// Arguments of `show`.
#[derive(Debug, Args)]
pub(super) struct ShowArguments {
    /// File to look at, or its one-line text, or - for either on the standard input.
    file: PathBuf,
    /// Print the file as one line of text, for chats; every command that takes the file takes it.
    #[arg(long, conflicts_with = "qr")]
    text: bool,
    /// Draw the one-line text as a QR code.
    #[arg(long)]
    qr: bool,
    /// Draw it as a picture into this PNG file.
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
    /// Draw it as a picture into this SVG file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Replace the pictures' files if they exist.
    #[arg(long)]
    force: bool,
}

impl ShowArguments {
    pub(super) fn run(&self) -> anyhow::Result<Answer> {
        let file = self.read()?;
        if !(self.text || self.qr || self.png.is_some() || self.svg.is_some()) {
            return Ok(describe(file));
        }
        let kind = file.kind();
        let Some(line) = file.to_line() else {
            bail!(
                "this is {}: it holds a secret, and is shown neither as text nor as a QR code; \
                 copy the file itself to where only you can read it",
                kind.with_article()
            );
        };
        let json = describe(file).json().clone();
        if self.text {
            return Ok(Answer::new(line, json));
        }
        let qr = Qr::of(&line)?;
        // Who has a commit is taken for the buyer, so its picture is as private as the file.
        let access = if kind == Kind::Commit { Access::Secret } else { Access::Public };
        let prepare = |path| OutputFile::prepare(path, access, self.force);
        let png = self.png.as_deref().map(prepare).transpose()?;
        let svg = self.svg.as_deref().map(prepare).transpose()?;
        if let Some(file) = png {
            file.write(&qr.png()?)?;
        }
        if let Some(file) = svg {
            file.write(qr.svg().as_bytes())?;
        }
        Ok(Answer::new(if self.qr { qr.for_stdout()? } else { String::new() }, json))
    }

    fn read(&self) -> anyhow::Result<AnyFile> {
        if let Some(line) = inputs::line(&self.file) {
            return AnyFile::parse(line).map_err(|error| anyhow!("the text: {error}"));
        }
        if inputs::is_input(&self.file) {
            return AnyFile::parse(&read_input()?).map_err(|error| anyhow!("{INPUT}: {error}"));
        }
        let (_, text) = read_limited(&self.file)?;
        let shown = self.file.display();
        let parse = |text| AnyFile::parse(text).map_err(|error| anyhow!("{shown}: {error}"));
        let parsed = parse(&text)?;
        if !parsed.kind().is_secret() {
            return Ok(parsed);
        }
        let (file, text) = read_secret(&self.file)?;
        check_private(&file, &self.file)?;
        parse(&text)
    }
}

/// The `name: value` lines and the JSON object of a file.
struct Description {
    lines: Vec<String>,
    json: Map<String, Value>,
}

fn describe(file: AnyFile) -> Answer {
    let mut out = Description { lines: Vec::new(), json: Map::new() };
    out.add("kind", file.kind());
    let text = file.to_line();
    match file {
        AnyFile::Identity(IdentityFile::Plain(seed)) => {
            out.key_of(seed);
            out.add_as("sealed", false, Value::Bool(false));
        }
        AnyFile::Identity(IdentityFile::Sealed(sealed)) => {
            out.add("public_key", sealed.public_key);
            out.add_as("sealed", true, Value::Bool(true));
        }
        AnyFile::NodeTicket(ticket) => out.server(&ticket.0),
        AnyFile::RelayTicket(ticket) => out.server(&ticket.0),
        AnyFile::IndexTicket(ticket) => out.server(&ticket.0),
        AnyFile::AppTicket(ticket) => {
            out.add("public_key", ticket.public_key);
            out.permissions(ticket.permissions);
            out.limits(&ticket.limits);
        }
        AnyFile::NodeEntry(entry) => {
            out.server(&entry.node);
            out.add("app_public_key", Identity::from_seed(entry.app).public_key());
        }
        AnyFile::Friend(friend) => out.friend(&friend),
        AnyFile::Invoice(invoice) => out.invoice(&invoice.0),
        AnyFile::Commit(commit) => out.commit(&commit.0),
        AnyFile::Receipt(receipt) => out.receipt(&receipt.0),
        AnyFile::Payment(payment) => out.payment(&payment),
        AnyFile::Token(token) => {
            let (lines, json) = signed::describe(&token.0);
            out.lines.extend(lines);
            out.json.extend(json);
        }
    }
    if let Some(text) = text {
        // For programs: people ask for it with --text.
        out.json.insert("text".to_owned(), Value::String(text));
    }
    Answer::new(out.lines.join("\n"), Value::Object(out.json))
}

impl Description {
    fn add(&mut self, name: &str, value: impl Display) {
        let value = value.to_string();
        self.add_as(name, value.clone(), Value::String(value));
    }

    fn add_as(&mut self, name: &str, text: impl Display, json: Value) {
        self.lines.push(format!("{}: {text}", name.replace('_', " ")));
        self.json.insert(name.to_owned(), json);
    }

    fn key_of(&mut self, secret: Seed) {
        self.add("public_key", Identity::from_seed(secret).public_key());
    }

    fn server(&mut self, server: &ServerAddress) {
        self.add("public_key", server.public_key);
        self.add("address", &server.address);
    }

    fn permissions(&mut self, permissions: Permissions) {
        let Permissions { routes, buyer, seller, config } = permissions;
        let all = [("routes", routes), ("buyer", buyer), ("seller", seller), ("config", config)];
        let names: Vec<&str> = all.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        let text = if names.is_empty() { "read only".to_owned() } else { names.join(", ") };
        let json = json!({
            "routes": routes, "buyer": buyer, "seller": seller, "config": config,
        });
        self.add_as("permissions", text, json);
    }

    fn limits(&mut self, limits: &AppLimits) {
        for (name, per, amounts) in
            [("max_payment", "", &limits.max_payment), ("budget", "/day", &limits.budget)]
        {
            let mut json = Map::new();
            for (currency, most) in amounts {
                self.lines.push(format!("{}: {currency}={most}{per}", name.replace('_', " ")));
                json.insert(currency.to_string(), Value::String(most.to_string()));
            }
            if !json.is_empty() {
                self.json.insert(name.to_owned(), Value::Object(json));
            }
        }
        if let Some(pace) = limits.commands_per_second {
            self.add_as("commands_per_second", pace, pace.into());
        }
    }

    fn friend(&mut self, friend: &FriendFile) {
        self.add("public_key", friend.public_key);
        let mut relays = Vec::new();
        for relay in &friend.relays {
            self.lines.push(format!("relay: {} {}", relay.public_key, relay.address));
            relays.push(json!({
                "public_key": relay.public_key.to_string(),
                "address": relay.address.as_str(),
            }));
        }
        self.json.insert("relays".to_owned(), Value::Array(relays));
    }

    fn invoice(&mut self, invoice: &Invoice) {
        self.add("invoice_id", invoice.id());
        self.add_as("registered", invoice.registered, Value::Bool(invoice.registered));
        self.add("dest_public_key", invoice.dest_public_key);
        self.add("dest_payment", invoice.dest_payment);
        self.add("currency", &invoice.currency);
        self.add("description", &invoice.description);
        self.add_as("created_at", invoice.created_at.0, invoice.created_at.0.into());
        self.add_as("expires_at", invoice.expires_at.0, invoice.expires_at.0.into());
        if let Some(until) = invoice.hold_until {
            self.add_as("hold_until", until.0, until.0.into());
        }
    }

    fn commit(&mut self, commit: &Commit) {
        self.add("invoice_id", commit.invoice_id);
        self.add("total_dest_payment", commit.total_dest_payment);
        self.add("currency", &commit.currency);
    }

    fn payment(&mut self, payment: &PaymentFile) {
        self.add("payment_id", payment.payment_id);
        self.add("invoice_id", payment.invoice_id);
        self.add("dest_public_key", payment.dest_public_key);
        self.add("dest_payment", payment.dest_payment);
        self.add("currency", &payment.currency);
    }

    fn receipt(&mut self, receipt: &Receipt) {
        self.add("invoice_id", receipt.invoice_id);
        self.add("total_dest_payment", receipt.total_dest_payment);
        self.add("currency", &receipt.currency);
    }
}

#[cfg(test)]
mod tests {
    use offset_crypto::SeededRng;
    use offset_proto::{Credits, file::OffsetFile as _};

    use super::*;

    #[test]
    fn an_identity_is_shown_without_its_secret() {
        let seed = Seed::random(&mut SeededRng::new(1));
        let secret = seed.to_text().as_str().to_owned();
        let file = AnyFile::parse(&IdentityFile::Plain(seed).to_toml()).unwrap();
        let answer = describe(file);
        assert!(answer.text().starts_with("kind: identity\npublic key: "), "{}", answer.text());
        assert!(!answer.text().contains(&secret));
        assert!(!answer.json().to_string().contains(&secret));
    }

    #[test]
    fn permissions_are_named() {
        let mut out = Description { lines: Vec::new(), json: Map::new() };
        out.permissions(Permissions { buyer: true, config: true, ..Permissions::default() });
        out.permissions(Permissions::default());
        assert_eq!(out.lines, ["permissions: buyer, config", "permissions: read only"]);
    }

    #[test]
    fn limits_are_shown_as_they_are_typed() {
        let mut out = Description { lines: Vec::new(), json: Map::new() };
        out.limits(&AppLimits::default());
        assert!(out.lines.is_empty() && out.json.is_empty());
        let amounts = |most| [("USD".parse().unwrap(), Credits(most))].into();
        out.limits(&AppLimits {
            max_payment: amounts(5),
            budget: amounts(90),
            commands_per_second: Some(7),
        });
        assert_eq!(
            out.lines,
            ["max payment: USD=5", "budget: USD=90/day", "commands per second: 7"]
        );
        assert_eq!(out.json["budget"]["USD"], "90");
    }
}
