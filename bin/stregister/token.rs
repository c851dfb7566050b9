//! `stregister verify-token`: what a friend signed, checked by somebody who trusts neither side.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use offset_proto::file::TokenFile;
use serde_json::Value;

use crate::manners::{Answer, inputs, signed};

/// Arguments of `verify-token`.
#[derive(Debug, Args)]
pub(super) struct VerifyToken {
    /// Token file, as `stctrl info friend-last-token` writes it.
    #[arg(short, long)]
    token: PathBuf,
}

impl VerifyToken {
    pub(super) fn run(&self) -> anyhow::Result<Answer> {
        let token: TokenFile = inputs::read(&self.token)?;
        if let Err(reason) = token.0.verify() {
            bail!(
                "the token proves nothing: {reason}; ask whoever gave it to you for the file as \
                 their node wrote it"
            );
        }
        let (lines, mut json) = signed::describe(&token.0);
        json.insert("valid".to_owned(), Value::Bool(true));
        let text = format!("Token is valid!\n\n{}", lines.join("\n"));
        Ok(Answer::new(text, Value::Object(json)))
    }
}
