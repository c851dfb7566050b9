//! The directory with the tickets of trusted applications, watched by looking.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File, Metadata, ReadDir},
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use offset_crypto::PublicKey;
use offset_net::owners;
use offset_proto::{
    app::{AppLimits, Permissions},
    file::{AppTicket, OffsetFile as _},
};
use tokio::sync::watch;

use crate::limits;

/// What each trusted application may do.
pub(crate) type Trusted = BTreeMap<PublicKey, Grant>;

/// What the tickets of one application say. Where there are several, it may do what any of them
/// allows, within the limits of every one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Grant {
    pub(crate) permissions: Permissions,
    /// Those that limit something.
    pub(crate) limits: Vec<AppLimits>,
}

impl Grant {
    /// How many requests a second are taken.
    pub(crate) fn pace(&self) -> u32 {
        let paces = self.limits.iter().filter_map(|limits| limits.commands_per_second);
        paces.min().unwrap_or(limits::APP_COMMANDS_PER_SECOND)
    }
}

/// The directory, and what was read of it. Files whose names begin with a dot are ignored; a file that
/// cannot be read is reported once, and counts for nothing.
///
/// Where only this look failed, as when too many files are open, the file counts for what it last
/// was, and the next look tries again.
#[derive(Debug)]
pub(crate) struct Directory<F = System> {
    system: F,
    path: PathBuf,
    files: BTreeMap<OsString, Read>,
    /// Why the last look failed, as it was reported.
    failed: Option<io::ErrorKind>,
}

/// What the directory asks of the system.
pub(crate) trait Files: Send + 'static {
    /// The entries of a directory.
    fn list(&self, path: &Path) -> io::Result<ReadDir>;
    /// What is known of a file without opening it.
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;
    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<File>;
}

/// The system as it is.
#[derive(Debug)]
pub(crate) struct System;

impl Files for System {
    fn list(&self, path: &Path) -> io::Result<ReadDir> {
        fs::read_dir(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        fs::metadata(path)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        File::open(path)
    }
}

/// What one file held when it was read.
#[derive(Debug)]
struct Read {
    /// None: it is to be read at the next look, whatever it looks like then.
    stamp: Option<Stamp>,
    ticket: Option<AppTicket>,
    /// It was reported that it counts for nothing, or for what it was.
    reported: Option<String>,
}

/// Tells whether a file was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
    /// On Unix device, number and time of the last change of any kind: a file that is put in
    /// another's place may have its length and time (tickets from an archive often do), and one
    /// whose permissions change has both.
    inode: Option<(u64, u64, i64, i64)>,
}

/// Why there is no ticket.
enum NoTicket {
    /// The file is not the ticket of an application.
    Wrong(String),
    /// It may be one; reading failed.
    Failed(io::Error),
}

impl Directory {
    /// The directory at `path`, not yet looked at.
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self::on(System, path)
    }
}

impl<F: Files> Directory<F> {
    const fn on(system: F, path: PathBuf) -> Self {
        Self { system, path, files: BTreeMap::new(), failed: None }
    }

    /// Looks, and reads what is new.
    pub(crate) fn scan(&mut self) -> io::Result<Trusted> {
        // All names first: a look that fails in between must not forget what is known.
        let mut names = Vec::new();
        for entry in self.system.list(&self.path)? {
            let name = entry?.file_name();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if names.len() == limits::TRUSTED_FILES {
                log::error!("more than {} files in {}", names.len(), self.path.display());
                break;
            }
            names.push(name);
        }
        let mut files = BTreeMap::new();
        for name in names {
            let path = self.path.join(&name);
            let known = self.files.remove(&name);
            files.insert(name, self.look_at(&path, known));
        }
        self.files = files;

        let mut trusted = Trusted::new();
        for ticket in self.files.values().filter_map(|read| read.ticket.as_ref()) {
            let grant = trusted.entry(ticket.public_key).or_default();
            if ticket.limits != AppLimits::default() {
                grant.limits.push(ticket.limits.clone());
            }
            let granted = &mut grant.permissions;
            let Permissions { routes, buyer, seller, config } = ticket.permissions;
            granted.routes |= routes;
            granted.buyer |= buyer;
            granted.seller |= seller;
            granted.config |= config;
        }
        Ok(trusted)
    }

    /// Reads a file unless it is as it was.
    fn look_at(&self, path: &Path, known: Option<Read>) -> Read {
        let metadata = match self.system.metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => return Read::after(NoTicket::of(error), None, path, known),
        };
        let stamp = Stamp::of(&metadata);
        // Looked at each time, for the directory may change and the file not.
        if let Err(error) = self.check_owners(path, &metadata) {
            return Read::after(error, None, path, known);
        }
        match known {
            Some(known) if known.stamp == Some(stamp) => known,
            // Anything but a file could make reading wait for ever.
            known if !metadata.is_file() => {
                let wrong = NoTicket::Wrong("it is not a file".to_owned());
                Read::after(wrong, Some(stamp), path, known)
            }
            known => match self.ticket(path) {
                Ok(ticket) => Read { stamp: Some(stamp), ticket: Some(ticket), reported: None },
                Err(error) => Read::after(error, Some(stamp), path, known),
            },
        }
    }

    /// A ticket that a stranger to the node may have written or put there gives away the node.
    fn check_owners(&self, path: &Path, file: &Metadata) -> Result<(), NoTicket> {
        let directory = self.system.metadata(&self.path).map_err(NoTicket::of)?;
        // The name may be a link that somebody else made.
        let name = fs::symlink_metadata(path).map_err(NoTicket::of)?;
        owners::check(&directory, &[&name, file]).map_err(NoTicket::Wrong)
    }

    fn ticket(&self, path: &Path) -> Result<AppTicket, NoTicket> {
        let mut text = Vec::new();
        let mut file = self.system.open(path).map_err(NoTicket::of)?.take(limits::TICKET_BYTES + 1);
        file.read_to_end(&mut text).map_err(NoTicket::of)?;
        if limits::TICKET_BYTES < u64::try_from(text.len()).unwrap_or(u64::MAX) {
            let limit = limits::TICKET_BYTES;
            return Err(NoTicket::Wrong(format!("it is longer than {limit} bytes")));
        }
        let text = str::from_utf8(&text).map_err(|error| NoTicket::Wrong(error.to_string()))?;
        AppTicket::parse(text).map_err(|error| NoTicket::Wrong(error.to_string()))
    }

    /// Looks again. None: this look failed, and what was found before holds on. A directory that is
    /// gone, or that the node may not read any more, trusts nobody.
    fn look(&mut self) -> Option<Trusted> {
        let error = match self.scan() {
            Ok(trusted) => {
                self.failed = None;
                return Some(trusted);
            }
            Err(error) => error,
        };
        let (lasting, path) = (is_lasting(&error), self.path.display());
        if self.failed.replace(error.kind()) != Some(error.kind()) {
            if lasting {
                log::error!("cannot read {path}, so no application is trusted: {error}");
            } else {
                log::warn!("cannot read {path}, so the applications stay as they were: {error}");
            }
        }
        if !lasting {
            return None;
        }
        self.files.clear();
        Some(Trusted::new())
    }

    /// Looks again and again, for ever, and tells what changes.
    pub(crate) async fn watch(mut self, trusted: watch::Sender<Trusted>) {
        loop {
            tokio::time::sleep(limits::TRUSTED_EVERY).await;
            let look = tokio::task::spawn_blocking(move || {
                let found = self.look();
                (self, found)
            });
            // It ends early only when the runtime is shut down.
            let Ok((directory, found)) = look.await else { return };
            self = directory;
            let Some(found) = found else { continue };
            trusted.send_if_modified(|old| {
                let changed = *old != found;
                *old = found;
                changed
            });
        }
    }
}

impl Read {
    /// After a look that found no ticket. Where it failed, what was `known` holds on.
    fn after(no: NoTicket, stamp: Option<Stamp>, path: &Path, known: Option<Self>) -> Self {
        let (ticket, reported) = known.map(|read| (read.ticket, read.reported)).unwrap_or_default();
        let path = path.display();
        let (stamp, ticket, report) = match no {
            NoTicket::Wrong(error) => {
                let report = format!(
                    "{path} is ignored, as no ticket of an application that counts: {error}"
                );
                (stamp, None, report)
            }
            NoTicket::Failed(error) => {
                (None, ticket, format!("cannot read {path}, which counts for what it was: {error}"))
            }
        };
        if reported.as_ref() != Some(&report) {
            log::warn!("{report}");
        }
        Self { stamp, ticket, reported: Some(report) }
    }
}

impl Stamp {
    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let (number, changed) = ((metadata.dev(), metadata.ino()), metadata.ctime());
        let inode = Some((number.0, number.1, changed, metadata.ctime_nsec()));
        Self { bytes: metadata.len(), modified: metadata.modified().ok(), inode }
    }

    #[cfg(not(unix))]
    fn of(metadata: &Metadata) -> Self {
        Self { bytes: metadata.len(), modified: metadata.modified().ok(), inode: None }
    }
}

impl NoTicket {
    fn of(error: io::Error) -> Self {
        if is_lasting(&error) { Self::Wrong(error.to_string()) } else { Self::Failed(error) }
    }
}

/// Whether an error says something about the file or directory, as that it is gone or that the node
/// may not read it. Any other, such as too many open files, no memory or a disk that stumbles, says
/// something about this moment only.
fn is_lasting(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::InvalidFilename
    )
}

#[cfg(test)]
mod tests;
