//! `stctrl info friend-last-token`: what a friend signed last, to be kept.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use offset_proto::file::{OffsetFile as _, TokenFile};

use super::{FriendName, Session};
use crate::manners::{Access, Answer, OutputFile};

#[derive(Debug, Args)]
pub(super) struct LastTokenArguments {
    #[command(flatten)]
    friend: FriendName,
    /// Token file to write.
    #[arg(short, long)]
    output: PathBuf,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
}

impl LastTokenArguments {
    /// # Errors
    /// When the friend is unknown or has signed nothing, or the file cannot be written.
    pub(super) async fn run(self, session: &Session) -> anyhow::Result<Answer> {
        let output = OutputFile::prepare(&self.output, Access::Public, self.force)?;
        let client = session.connect().await?;
        let token = client.last_token(self.friend.friend).await;
        let token = token?;
        token.verify().context(
            "the node gave a token that proves nothing; update the node and this program to the \
             same version",
        )?;
        output.write(TokenFile(token).to_toml().as_bytes())?;
        Ok(Answer::silent())
    }
}
