//! `stmgr gen-ident`, `encrypt-ident`, `decrypt-ident`: identities and how they are kept.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use offset_crypto::{SealedSeed, SealingCost, Seed, SystemRng};
use offset_proto::file::{IdentityFile, OffsetFile as _};

use super::Output;
use crate::manners::{
    Access, Answer, files,
    inputs::{self, identity_file},
    passphrase,
};

/// Arguments of `gen-ident`.
#[derive(Debug, Args)]
pub(super) struct GenIdent {
    #[command(flatten)]
    output: Output,
    /// Seal the secret key with a passphrase, asked for on the terminal.
    #[arg(long)]
    encrypt: bool,
    /// File that holds the passphrase (`/dev/fd/3` for a file descriptor).
    #[arg(long, requires = "encrypt")]
    passphrase_file: Option<PathBuf>,
}

/// Arguments of `encrypt-ident`.
#[derive(Debug, Args)]
pub(super) struct EncryptIdent {
    /// Identity file to seal with a passphrase; it is replaced.
    #[arg(short, long)]
    idfile: PathBuf,
    /// File that holds the passphrase; asked for on the terminal if none is given.
    #[arg(long)]
    passphrase_file: Option<PathBuf>,
}

/// Arguments of `decrypt-ident`.
#[derive(Debug, Args)]
pub(super) struct DecryptIdent {
    /// Identity file to open; it is replaced by one that needs no passphrase.
    #[arg(short, long)]
    idfile: PathBuf,
    /// File that holds the passphrase; asked for on the terminal if none is given.
    #[arg(long)]
    passphrase_file: Option<PathBuf>,
}

impl GenIdent {
    pub(super) fn run(&self) -> anyhow::Result<Answer> {
        let seed = Seed::random(&mut SystemRng);
        let file = if self.encrypt {
            seal(&seed, self.passphrase_file.as_deref())?
        } else {
            IdentityFile::Plain(seed)
        };
        self.output.write(Access::Secret, &file.to_toml())
    }
}

impl EncryptIdent {
    pub(super) fn run(&self) -> anyhow::Result<Answer> {
        let IdentityFile::Plain(seed) = identity_file(&self.idfile)? else {
            bail!("{} is sealed already; open it with decrypt-ident first", self.idfile.display());
        };
        replace(&self.idfile, &seal(&seed, self.passphrase_file.as_deref())?)
    }
}

impl DecryptIdent {
    pub(super) fn run(&self) -> anyhow::Result<Answer> {
        let IdentityFile::Sealed(sealed) = identity_file(&self.idfile)? else {
            bail!("{} is not sealed; it needs no passphrase", self.idfile.display());
        };
        let passphrase = match &self.passphrase_file {
            Some(file) => passphrase::read(file)?,
            None => passphrase::to_open(&self.idfile)?,
        };
        replace(
            &self.idfile,
            &IdentityFile::Plain(inputs::open(&self.idfile, &sealed, &passphrase)?),
        )
    }
}

fn seal(seed: &Seed, passphrase_file: Option<&Path>) -> anyhow::Result<IdentityFile> {
    let passphrase = passphrase::to_seal(passphrase_file)?;
    let cost = SealingCost::STANDARD;
    let sealed = SealedSeed::seal(seed, passphrase.as_bytes(), cost, &mut SystemRng)?;
    Ok(IdentityFile::Sealed(Box::new(sealed)))
}

/// The file is whole at every moment: the old one or the new one.
fn replace(path: &Path, file: &IdentityFile) -> anyhow::Result<Answer> {
    files::write(path, Access::Secret, true, &file.to_toml())?;
    Ok(Answer::silent())
}
