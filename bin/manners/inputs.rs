//! Reading Offset's files, with errors that name the file and what to do.

use std::path::Path;

use anyhow::{anyhow, bail};
use offset_crypto::{Identity, PublicKey, SealedSeed, Seed};
use offset_proto::file::{FileError, IdentityFile, Kind, OffsetFile, PublicFile};

use crate::manners::{
    files::{INPUT, check_private, read_input, read_limited, read_secret},
    passphrase::{self, Passphrase},
};

/// Reads a file without a secret. The argument may also be the one-line form of its contents, or
/// `-` for either on the standard input.
///
/// # Errors
/// When it cannot be read or is not such a file.
pub fn read<F: PublicFile>(path: &Path) -> anyhow::Result<F> {
    if let Some(line) = line(path) {
        return F::parse(line).map_err(|error| explain("the text", &error, F::KIND));
    }
    if is_input(path) {
        return F::parse(&read_input()?).map_err(|error| explain(INPUT, &error, F::KIND));
    }
    let (_, text) = read_limited(path)?;
    F::parse(&text).map_err(|error| explain(&path.display().to_string(), &error, F::KIND))
}

/// Reads an identity file.
///
/// # Errors
/// When it cannot be read, is not an identity, or others can read it.
pub fn identity(path: &Path) -> anyhow::Result<Identity> {
    seed(path).map(Identity::from_seed)
}

/// The public key of an identity file; a sealed one needs no passphrase for it.
///
/// # Errors
/// As [`identity`].
pub fn public_key(path: &Path) -> anyhow::Result<PublicKey> {
    Ok(match identity_file(path)? {
        IdentityFile::Plain(seed) => Identity::from_seed(seed).public_key(),
        IdentityFile::Sealed(sealed) => sealed.public_key,
    })
}

/// The secret of an identity file. One that is sealed is opened, see [`passphrase::to_open`].
///
/// # Errors
/// As [`identity`].
pub fn seed(path: &Path) -> anyhow::Result<Seed> {
    match identity_file(path)? {
        IdentityFile::Plain(seed) => Ok(seed),
        IdentityFile::Sealed(sealed) => open(path, &sealed, &passphrase::to_open(path)?),
    }
}

/// Opens the sealed identity that was read from `path`.
///
/// # Errors
/// When the passphrase is another one.
pub fn open(path: &Path, sealed: &SealedSeed, passphrase: &Passphrase) -> anyhow::Result<Seed> {
    sealed
        .open(passphrase.as_bytes())
        .map_err(|error| anyhow!("{}: {error}; check the passphrase", path.display()))
}

/// Reads an identity file as it is kept.
///
/// # Errors
/// As [`identity`].
pub fn identity_file(path: &Path) -> anyhow::Result<IdentityFile> {
    if line(path).is_some() {
        bail!("a secret key is only read from a file; name the identity file");
    }
    let (file, text) = read_secret(path)?;
    let identity = IdentityFile::parse(&text)
        .map_err(|error| explain(&path.display().to_string(), &error, Kind::Identity))?;
    check_private(&file, path)?;
    Ok(identity)
}

/// The argument, if it is the one-line form of a file.
#[must_use]
pub fn line(path: &Path) -> Option<&str> {
    path.to_str().map(str::trim).filter(|text| text.starts_with("offset:"))
}

/// Whether the argument names the standard input.
#[must_use]
pub fn is_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn explain(what: &str, error: &FileError, expected: Kind) -> anyhow::Error {
    let maker = match expected {
        Kind::Identity => "stmgr gen-ident",
        Kind::NodeTicket => "stmgr node-ticket",
        Kind::RelayTicket => "stmgr relay-ticket",
        Kind::IndexTicket => "stmgr index-ticket",
        Kind::AppTicket => "stmgr app-ticket",
        Kind::NodeEntry => "stmgr node-entry",
        Kind::Friend => "stctrl info export-ticket",
        Kind::Invoice => "stctrl seller create-invoice",
        Kind::Commit => "stctrl buyer pay-invoice",
        Kind::Payment => "stctrl buyer pay-invoice",
        Kind::Receipt => "stctrl funds pay-invoice",
        Kind::Token => "stctrl info friend-last-token",
    };
    anyhow!("{what}: {error}; check the name, or get the file again as `{maker}` makes it")
}

#[cfg(test)]
mod tests {
    use offset_proto::file::{FriendFile, RelayTicket};

    use super::*;
    use crate::manners::files::{self, Access};

    const KEY: &str = "Brvo3Fo0O2svzU1rFdcBL6FtLVNL6b8xJNAWgZc7ll0";

    fn friend() -> FriendFile {
        FriendFile { public_key: KEY.parse().unwrap(), relays: Vec::new() }
    }

    #[test]
    fn a_file_or_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.friend");
        files::write(&path, Access::Public, false, &friend().to_toml()).unwrap();
        assert_eq!(read::<FriendFile>(&path).unwrap(), friend());
        assert_eq!(read::<FriendFile>(Path::new(&friend().to_line())).unwrap(), friend());
        // As it is pasted: with blanks around it.
        let pasted = format!(" {}\n", friend().to_line());
        assert_eq!(read::<FriendFile>(Path::new(&pasted)).unwrap(), friend());
    }

    #[test]
    fn errors_name_the_file_its_kind_and_who_makes_the_right_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.friend");
        files::write(&path, Access::Public, false, &friend().to_toml()).unwrap();
        let error = read::<RelayTicket>(&path).unwrap_err().to_string();
        for part in
            ["a.friend: this is a friend file, expected a relay-ticket", "stmgr relay-ticket"]
        {
            assert!(error.contains(part), "{error}");
        }
        // Of a wrong kind rather than readable by others: the kind is what helps.
        let error = identity(&path).unwrap_err().to_string();
        assert!(error.contains("expected an identity"), "{error}");
        let error = identity(Path::new("offset:identity:x")).unwrap_err().to_string();
        assert!(error.contains("only read from a file"), "{error}");
    }
}
