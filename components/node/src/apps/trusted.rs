//! The directory with the tickets of trusted applications, watched by looking.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use offset_crypto::PublicKey;
use offset_proto::{
    app::Permissions,
    file::{AppTicket, OffsetFile as _},
};
use tokio::sync::watch;

use crate::limits;

/// What each trusted application may do. Where several tickets name one application, it may do what
/// any of them allows.
pub(crate) type Trusted = BTreeMap<PublicKey, Permissions>;

/// The directory, and what was read of it. Files whose names begin with a dot are ignored; a file that
/// cannot be read is reported once, and counts for nothing.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    files: BTreeMap<OsString, Read>,
    failed: bool,
}

/// What one file held when it was read.
#[derive(Debug, Clone)]
struct Read {
    /// None: it could not be looked at.
    stamp: Option<Stamp>,
    ticket: Option<AppTicket>,
}

/// Tells whether a file was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Directory {
    /// The directory at `path`, not yet looked at.
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path, files: BTreeMap::new(), failed: false }
    }

    /// Looks, and reads what is new.
    pub(crate) fn scan(&mut self) -> io::Result<Trusted> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if files.len() == limits::TRUSTED_FILES {
                log::error!("more than {} files in {}", files.len(), self.path.display());
                break;
            }
            let path = self.path.join(&name);
            let stamp = stamp(&path);
            let read = match self.files.remove(&name) {
                Some(read) if stamp.as_ref().ok() == read.stamp.as_ref() => read,
                Some(_) | None => read(&path, stamp),
            };
            files.insert(name, read);
        }
        self.files = files;

        let mut trusted = Trusted::new();
        for ticket in self.files.values().filter_map(|read| read.ticket.as_ref()) {
            let granted = trusted.entry(ticket.public_key).or_default();
            let Permissions { routes, buyer, seller, config } = ticket.permissions;
            granted.routes |= routes;
            granted.buyer |= buyer;
            granted.seller |= seller;
            granted.config |= config;
        }
        Ok(trusted)
    }

    /// Looks again and again, for ever, and tells what changes. A directory that cannot be read
    /// trusts nobody.
    pub(crate) async fn watch(mut self, trusted: watch::Sender<Trusted>) {
        loop {
            tokio::time::sleep(limits::TRUSTED_EVERY).await;
            let look = tokio::task::spawn_blocking(move || {
                let found = self.scan();
                (self, found)
            });
            // It ends early only when the runtime is shut down.
            let Ok((directory, found)) = look.await else { return };
            self = directory;
            let found = match found {
                Ok(found) => {
                    self.failed = false;
                    found
                }
                Err(error) => {
                    if !self.failed {
                        log::error!("cannot read {}: {error}", self.path.display());
                    }
                    self.failed = true;
                    self.files.clear();
                    Trusted::new()
                }
            };
            trusted.send_if_modified(|old| {
                let changed = *old != found;
                *old = found;
                changed
            });
        }
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let metadata = fs::metadata(path)?;
    Ok(Stamp { bytes: metadata.len(), modified: metadata.modified().ok() })
}

fn read(path: &Path, stamp: io::Result<Stamp>) -> Read {
    let ticket = match &stamp {
        Ok(_) => ticket(path),
        Err(error) => Err(error.to_string()),
    };
    let ticket = ticket.map_err(|error| {
        log::warn!(
            "{} is not the ticket of an application and is ignored: {error}",
            path.display()
        );
    });
    Read { stamp: stamp.ok(), ticket: ticket.ok() }
}

fn ticket(path: &Path) -> Result<AppTicket, String> {
    // Anything but a file could make reading wait for ever.
    if !fs::metadata(path).map_err(|error| error.to_string())?.is_file() {
        return Err("it is not a file".to_owned());
    }
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    let mut file = file.take(limits::TICKET_BYTES + 1);
    file.read_to_string(&mut text).map_err(|error| error.to_string())?;
    if limits::TICKET_BYTES < u64::try_from(text.len()).unwrap_or(u64::MAX) {
        return Err(format!("it is longer than {} bytes", limits::TICKET_BYTES));
    }
    AppTicket::parse(&text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use offset_crypto::{Identity, SeededRng};

    use super::*;

    fn key(n: u64) -> PublicKey {
        Identity::random(&mut SeededRng::new(n)).public_key()
    }

    fn write(dir: &Path, name: &str, n: u64, permissions: Permissions) {
        let ticket = AppTicket { public_key: key(n), permissions };
        fs::write(dir.join(name), ticket.to_toml().as_bytes()).unwrap();
    }

    #[test]
    fn tickets_come_change_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let mut directory = Directory::new(dir.path().to_owned());
        assert_eq!(directory.scan().unwrap(), Trusted::new());

        let buyer = Permissions { buyer: true, ..Permissions::default() };
        let seller = Permissions { seller: true, ..Permissions::default() };
        write(dir.path(), "a", 1, buyer);
        write(dir.path(), "b", 2, seller);
        write(dir.path(), ".hidden", 3, buyer);
        fs::write(dir.path().join("bad"), "kind = \"nonsense\"").unwrap();
        fs::write(dir.path().join("long"), "#".repeat(100_000)).unwrap();
        fs::write(dir.path().join("binary"), [0xff; 10]).unwrap();
        fs::create_dir(dir.path().join("directory")).unwrap();
        let expected = Trusted::from([(key(1), buyer), (key(2), seller)]);
        assert_eq!(directory.scan().unwrap(), expected);
        assert_eq!(directory.scan().unwrap(), expected);

        write(dir.path(), "c", 1, seller);
        let both = Permissions { buyer: true, seller: true, ..Permissions::default() };
        assert_eq!(directory.scan().unwrap()[&key(1)], both);

        fs::remove_file(dir.path().join("a")).unwrap();
        fs::remove_file(dir.path().join("b")).unwrap();
        assert_eq!(directory.scan().unwrap(), Trusted::from([(key(1), seller)]));
        write(dir.path(), "bad", 4, both);
        assert_eq!(directory.scan().unwrap().len(), 2);
    }

    #[test]
    fn a_missing_directory_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Directory::new(dir.path().join("none")).scan().is_err());
    }
}
