//! The directory of tickets of the servers that this one federates with, watched for changes.
//!
//! A file is an index ticket. Names that begin with a dot are ignored, because files are written
//! under such a name and then moved into place. A file that cannot be read is reported once and
//! skipped; the others count.

use std::{
    collections::BTreeMap,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use offset_crypto::PublicKey;
use offset_net::owners;
use offset_proto::{
    NetworkAddress, ServerAddress,
    file::{IndexTicket, MAX_FILE_BYTES, OffsetFile as _},
};
use tokio::{sync::watch, time::sleep};

/// The trusted servers and where they listen for other servers.
pub(crate) type Trusted = BTreeMap<PublicKey, NetworkAddress>;

/// One look after the other at the directory.
#[derive(Debug)]
pub(crate) struct TrustedDirectory {
    path: PathBuf,
    own_key: PublicKey,
    /// What was said of which file, so that nothing is said twice.
    reported: BTreeMap<PathBuf, String>,
}

impl TrustedDirectory {
    pub(crate) const fn new(path: PathBuf, own_key: PublicKey) -> Self {
        Self { path, own_key, reported: BTreeMap::new() }
    }

    /// What the directory says now. A directory that is not there says that nobody is trusted.
    ///
    /// # Errors
    /// When the directory cannot be listed, or this computer is out of files or memory: what a file
    /// says then is not known, so nobody loses trust by it.
    pub(crate) fn read(&mut self) -> io::Result<Trusted> {
        let mut trusted = Trusted::new();
        let mut troubles = BTreeMap::new();
        let entries = match std::fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(trusted),
            entries => entries?,
        };
        let mut paths = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if paths.len() == MAX_FILES {
                log::error!("more than {MAX_FILES} files in {}", self.path.display());
                break;
            }
            paths.push(entry.path());
        }
        paths.sort();
        for path in paths {
            match self.read_ticket(&path) {
                Ok(ticket) => {
                    trusted.insert(ticket.public_key, ticket.address);
                }
                Err(Trouble::Computer(error)) => return Err(error),
                Err(Trouble::File(trouble)) => {
                    troubles.insert(path, trouble);
                }
            }
        }
        for (path, trouble) in &troubles {
            if self.reported.get(path) != Some(trouble) {
                log::warn!("{} is skipped: {trouble}", path.display());
            }
        }
        self.reported = troubles;
        Ok(trusted)
    }

    fn read_ticket(&self, path: &Path) -> Result<ServerAddress, Trouble> {
        let file = std::fs::metadata(path)?;
        // The name may be a link that somebody else made.
        let (directory, name) = (std::fs::metadata(&self.path)?, std::fs::symlink_metadata(path)?);
        owners::check(&directory, &[&name, &file]).map_err(Trouble::File)?;
        // Not a pipe or a device, which could block or never end.
        if !file.is_file() {
            return Err(Trouble::File("not a regular file".into()));
        }
        let mut text = String::new();
        std::fs::File::open(path)?.take(MAX_FILE_BYTES as u64 + 1).read_to_string(&mut text)?;
        let ticket = IndexTicket::parse(&text);
        let IndexTicket(ticket) = ticket.map_err(|error| Trouble::File(error.to_string()))?;
        if ticket.public_key == self.own_key {
            return Err(Trouble::File("it is this server's own ticket".into()));
        }
        Ok(ticket)
    }
}

/// Why a ticket was not read.
#[derive(Debug)]
enum Trouble {
    /// It is no ticket, or may not be read.
    File(String),
    /// This computer cannot read any file now.
    Computer(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        // ENOMEM has a kind; that there are too many open files (ENFILE, EMFILE) has none.
        let out = error.kind() == io::ErrorKind::OutOfMemory
            || matches!(error.raw_os_error(), Some(23 | 24));
        if out { Self::Computer(error) } else { Self::File(error.to_string()) }
    }
}

/// Looks at the directory again and again, until nobody wants to know any more.
pub(crate) async fn watch_directory(
    mut directory: TrustedDirectory,
    trusted: watch::Sender<Trusted>,
) {
    let mut trouble = None;
    while !trusted.is_closed() {
        sleep(LOOK_EVERY).await;
        let look = tokio::task::spawn_blocking(move || {
            let result = directory.read();
            (directory, result)
        });
        let Ok((back, result)) = look.await else { return };
        directory = back;
        match result {
            Ok(now) => {
                trouble = None;
                trusted.send_if_modified(|known| {
                    let changed = *known != now;
                    *known = now;
                    changed
                });
            }
            // What was trusted stays so: a full table of files must not end every session.
            Err(error) => {
                let text = error.to_string();
                if trouble.as_ref() != Some(&text) {
                    log::warn!("cannot read {}: {text}", directory.path.display());
                }
                trouble = Some(text);
            }
        }
    }
}

/// So many files are looked at; who federates with more servers than that floods its links.
const MAX_FILES: usize = 1_024;
/// A revoked server's session is closed within a second.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::tests::key;

    fn ticket(n: u8, address: &str) -> String {
        let (public_key, address) = (key(n), address.parse().unwrap());
        IndexTicket(ServerAddress { public_key, address }).to_toml().to_string()
    }

    #[test]
    fn good_tickets_count_and_others_are_skipped() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(directory.path().join(name), text).unwrap();
        };
        let mut trusted = TrustedDirectory::new(directory.path().to_owned(), key(9));
        assert_eq!(trusted.read().unwrap(), Trusted::new());
        write("one", &ticket(1, "127.0.0.1:1"));
        write("two.txt", &ticket(2, "two.example:2"));
        write(".three", &ticket(3, "127.0.0.1:3"));
        write("own", &ticket(9, "127.0.0.1:9"));
        write("torn", "kind = \"index-ticket\"");
        write("long", &"#".repeat(MAX_FILE_BYTES + 1));
        std::fs::write(directory.path().join("bytes"), [0xff, 0xfe]).unwrap();
        std::fs::create_dir(directory.path().join("four")).unwrap();
        let expected = Trusted::from([
            (key(1), "127.0.0.1:1".parse().unwrap()),
            (key(2), "two.example:2".parse().unwrap()),
        ]);
        assert_eq!(trusted.read().unwrap(), expected);
        assert_eq!(trusted.reported.len(), 5, "{:?}", trusted.reported);
        std::fs::remove_file(directory.path().join("one")).unwrap();
        assert_eq!(trusted.read().unwrap().into_keys().collect::<Vec<_>>(), [key(2)]);
        drop(directory);
        assert_eq!(trusted.read().unwrap(), Trusted::new());
    }

    #[cfg(unix)]
    #[test]
    fn a_ticket_that_anybody_could_have_written_does_not_count() {
        use std::{fs, os::unix::fs::PermissionsExt as _};
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (directory.path().join("one"), directory.path().join("two"));
        fs::write(&one, ticket(1, "127.0.0.1:1")).unwrap();
        fs::write(&two, ticket(2, "127.0.0.1:2")).unwrap();
        let mut trusted = TrustedDirectory::new(directory.path().to_owned(), key(9));
        fs::set_permissions(&two, fs::Permissions::from_mode(0o646)).unwrap();
        assert_eq!(trusted.read().unwrap().into_keys().collect::<Vec<_>>(), [key(1)]);
        assert!(trusted.reported[&two].contains("chmod o-w"), "{:?}", trusted.reported);
        fs::set_permissions(&two, fs::Permissions::from_mode(0o664)).unwrap();
        assert_eq!(trusted.read().unwrap().len(), 2);
        assert!(trusted.reported.is_empty());
    }

    #[test]
    fn being_out_of_files_says_nothing_of_a_ticket() {
        for errno in [23, 24, 12] {
            let trouble = Trouble::from(io::Error::from_raw_os_error(errno));
            assert!(matches!(trouble, Trouble::Computer(_)), "{errno}");
        }
        let denied = Trouble::from(io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(matches!(denied, Trouble::File(_)));
    }

    #[test]
    fn what_is_no_directory_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(TrustedDirectory::new(file.path().to_owned(), key(9)).read().is_err());
    }
}
