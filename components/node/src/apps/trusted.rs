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
        let stamp = Stamp { bytes: metadata.len(), modified: metadata.modified().ok() };
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
                let report =
                    format!("{path} is not the ticket of an application and is ignored: {error}");
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
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    };

    use offset_crypto::{Identity, SeededRng};

    use super::*;

    /// A system that fails with the errors of these numbers; 0 is none.
    #[derive(Default, Clone)]
    struct Failing {
        list: Arc<AtomicI32>,
        metadata: Arc<AtomicI32>,
        open: Arc<AtomicI32>,
    }

    fn check(error: &AtomicI32) -> io::Result<()> {
        match error.load(Ordering::SeqCst) {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }

    impl Files for Failing {
        fn list(&self, path: &Path) -> io::Result<ReadDir> {
            check(&self.list)?;
            System.list(path)
        }

        fn metadata(&self, path: &Path) -> io::Result<Metadata> {
            check(&self.metadata)?;
            System.metadata(path)
        }

        fn open(&self, path: &Path) -> io::Result<File> {
            check(&self.open)?;
            System.open(path)
        }
    }

    /// EIO, ENOMEM, ENFILE, EMFILE.
    #[cfg(unix)]
    const OF_THE_MOMENT: [i32; 4] = [5, 12, 23, 24];
    /// ENOENT, EACCES.
    #[cfg(unix)]
    const LASTING: [i32; 2] = [2, 13];

    fn key(n: u64) -> PublicKey {
        Identity::random(&mut SeededRng::new(n)).public_key()
    }

    fn write(dir: &Path, name: &str, n: u64, permissions: Permissions) {
        let ticket = AppTicket::new(key(n), permissions);
        fs::write(dir.join(name), ticket.to_toml().as_bytes()).unwrap();
    }

    fn trusted<const N: usize>(apps: [(PublicKey, Permissions); N]) -> Trusted {
        let grant = |permissions| Grant { permissions, limits: Vec::new() };
        apps.into_iter().map(|(key, permissions)| (key, grant(permissions))).collect()
    }

    #[test]
    fn limits_of_all_tickets_hold() {
        let dir = tempfile::tempdir().unwrap();
        let mut directory = Directory::new(dir.path().to_owned());
        let buyer = Permissions { buyer: true, ..Permissions::default() };
        let limited = |commands_per_second| AppLimits {
            commands_per_second: Some(commands_per_second),
            ..AppLimits::default()
        };
        let put = |name: &str, limits| {
            let ticket = AppTicket { limits, ..AppTicket::new(key(1), buyer) };
            fs::write(dir.path().join(name), ticket.to_toml().as_bytes()).unwrap();
        };
        put("a", AppLimits::default());
        assert_eq!(directory.scan().unwrap()[&key(1)].pace(), limits::APP_COMMANDS_PER_SECOND);
        put("b", limited(500));
        assert_eq!(directory.scan().unwrap()[&key(1)].pace(), 500);
        put("c", limited(20));
        let grant = directory.scan().unwrap().remove(&key(1)).unwrap();
        assert_eq!((grant.pace(), grant.limits.len()), (20, 2));
        // A ticket that is changed counts at once.
        put("c", AppLimits::default());
        assert_eq!(directory.scan().unwrap()[&key(1)].pace(), 500);
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
        let expected = trusted([(key(1), buyer), (key(2), seller)]);
        assert_eq!(directory.scan().unwrap(), expected);
        assert_eq!(directory.scan().unwrap(), expected);

        write(dir.path(), "c", 1, seller);
        let both = Permissions { buyer: true, seller: true, ..Permissions::default() };
        assert_eq!(directory.scan().unwrap()[&key(1)].permissions, both);

        fs::remove_file(dir.path().join("a")).unwrap();
        fs::remove_file(dir.path().join("b")).unwrap();
        assert_eq!(directory.scan().unwrap(), trusted([(key(1), seller)]));
        write(dir.path(), "bad", 4, both);
        assert_eq!(directory.scan().unwrap().len(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_cannot_be_read_for_a_moment_counts_for_what_it_was() {
        let buyer = Permissions { buyer: true, ..Permissions::default() };
        let dir = tempfile::tempdir().unwrap();
        let system = Failing::default();
        let mut directory = Directory::on(system.clone(), dir.path().to_owned());
        for code in OF_THE_MOMENT {
            for error in [&system.open, &system.metadata] {
                write(dir.path(), "a", 1, buyer);
                let before = directory.scan().unwrap();
                assert_eq!(before, trusted([(key(1), buyer)]));
                // Another file is put in its place, and one beside it, at the wrong moment.
                error.store(code, Ordering::SeqCst);
                write(dir.path(), "a", 2, Permissions { seller: true, ..buyer });
                write(dir.path(), "b", 3, buyer);
                assert_eq!(directory.scan().unwrap(), before, "{code}");
                assert_eq!(directory.scan().unwrap(), before, "{code}");
                error.store(0, Ordering::SeqCst);
                // Both are read, though they are as they were at that moment.
                let after = directory.scan().unwrap();
                assert_eq!(after.keys().copied().collect::<Vec<_>>(), sorted([key(2), key(3)]));
                fs::remove_file(dir.path().join("b")).unwrap();
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_may_not_be_read_counts_for_nothing() {
        let buyer = Permissions { buyer: true, ..Permissions::default() };
        let dir = tempfile::tempdir().unwrap();
        let system = Failing::default();
        let mut directory = Directory::on(system.clone(), dir.path().to_owned());
        write(dir.path(), "a", 1, buyer);
        assert_eq!(directory.scan().unwrap().len(), 1);
        for code in LASTING {
            system.metadata.store(code, Ordering::SeqCst);
            assert_eq!(directory.scan().unwrap(), Trusted::new(), "{code}");
            system.metadata.store(0, Ordering::SeqCst);
            assert_eq!(directory.scan().unwrap().len(), 1, "{code}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_a_directory_that_is_gone_trusts_nobody() {
        let buyer = Permissions { buyer: true, ..Permissions::default() };
        let dir = tempfile::tempdir().unwrap();
        let system = Failing::default();
        let mut directory = Directory::on(system.clone(), dir.path().to_owned());
        write(dir.path(), "a", 1, buyer);
        let trusted = trusted([(key(1), buyer)]);
        assert_eq!(directory.look(), Some(trusted.clone()));
        for code in OF_THE_MOMENT {
            system.list.store(code, Ordering::SeqCst);
            assert_eq!(directory.look(), None, "{code}");
            // What was read before is still known: the file need not be read again.
            system.list.store(0, Ordering::SeqCst);
            system.open.store(code, Ordering::SeqCst);
            assert_eq!(directory.look(), Some(trusted.clone()), "{code}");
            system.open.store(0, Ordering::SeqCst);
        }
        for code in LASTING {
            system.list.store(code, Ordering::SeqCst);
            assert_eq!(directory.look(), Some(Trusted::new()), "{code}");
            system.list.store(0, Ordering::SeqCst);
            assert_eq!(directory.look(), Some(trusted.clone()), "{code}");
        }
        fs::remove_dir_all(dir.path()).unwrap();
        assert_eq!(directory.look(), Some(Trusted::new()));
    }

    fn sorted<const N: usize>(mut keys: [PublicKey; N]) -> Vec<PublicKey> {
        keys.sort_unstable();
        keys.to_vec()
    }

    #[test]
    fn a_missing_directory_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Directory::new(dir.path().join("none")).scan().is_err());
    }
}
