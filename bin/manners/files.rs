//! Files that users name: read with a limit, secrets only when nobody else can read them, and
//! written whole or not at all.

#[cfg(unix)]
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal as _, Read as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use offset_proto::file::{MAX_FILE_BYTES, MAX_TOKEN_FILE_BYTES, line_bytes};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

/// The longest file that is read, in bytes: its one-line text is longer than the file by a third.
const MAX_BYTES: u64 = 2100 * 1024;
const _: () = assert!(line_bytes(MAX_FILE_BYTES) <= 2100 * 1024);
const _: () = assert!(line_bytes(MAX_TOKEN_FILE_BYTES) <= 2100 * 1024);
/// How the standard input is called in errors.
pub const INPUT: &str = "the standard input";
/// What a terminal cuts a typed or pasted line to (`MAX_CANON` of Linux).
const TERMINAL_LINE: usize = 4_095;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody, as the user's umask allows.
    Public,
    /// The owner alone (mode 0600).
    Secret,
}

/// Reads a short text file and keeps it open. The text may hold a secret and is wiped when it is
/// dropped.
///
/// # Errors
/// When it cannot be read, is too long, or is not text.
pub fn read_limited(path: &Path) -> anyhow::Result<(File, Zeroizing<String>)> {
    read_opened(path, OpenOptions::new().read(true))
}

/// As [`read_limited`], for a file that holds a secret: the name must be the file's own, not that of
/// a symbolic link to it.
///
/// # Errors
/// As [`read_limited`], and when it is a link.
pub fn read_secret(path: &Path) -> anyhow::Result<(File, Zeroizing<String>)> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    }
    read_opened(path, &options)
}

fn read_opened(path: &Path, how: &OpenOptions) -> anyhow::Result<(File, Zeroizing<String>)> {
    let shown = path.display();
    let file = how.open(path).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            anyhow!("cannot open {shown}: {error}; check the name")
        } else if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) {
            anyhow!("{shown} leads elsewhere, and a secret is not read so; name the file itself")
        } else {
            anyhow!("cannot open {shown}: {error}; check its permissions")
        }
    })?;
    let metadata = file.metadata().with_context(|| format!("cannot read {shown}"))?;
    if metadata.is_dir() {
        bail!("{shown} is a directory; name a file");
    }
    let text = read_text(&file, &shown.to_string(), "check the name")?;
    Ok((file, text))
}

/// Reads a short text from the standard input, to its end.
///
/// # Errors
/// When it cannot be read, is too long, is not text, or when there is nothing.
pub fn read_input() -> anyhow::Result<Zeroizing<String>> {
    let text = read_text(io::stdin().lock(), INPUT, "check what is piped in")?;
    if text.trim().is_empty() {
        bail!("there is nothing on {INPUT}; pipe a file or its text in, or name the file");
    }
    if io::stdin().is_terminal() && text.lines().any(|line| TERMINAL_LINE <= line.len()) {
        bail!(
            "a terminal passes no more than {TERMINAL_LINE} characters of a line to a program; \
             put the text into a file, or give it as the argument"
        );
    }
    Ok(text)
}

/// What is read, to its end; `what` and `advice` are for errors.
fn read_text(from: impl io::Read, what: &str, advice: &str) -> anyhow::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::new());
    from.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {what}"))?;
    if MAX_BYTES < u64::try_from(bytes.len()).unwrap_or(u64::MAX) {
        bail!("{what} is too long to be an Offset file; {advice}");
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| anyhow!("{what} is not a text file, so not an Offset file; {advice}"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Refuses a file with a secret that others can read, or that belongs to another user than this one
/// or root: whoever wrote the secret knows it. Of a directory in which anybody can replace the file
/// the log warns.
///
/// # Errors
/// Says which command mends it.
#[cfg(unix)]
pub fn check_private(file: &File, path: &Path) -> anyhow::Result<()> {
    let metadata = file.metadata().context("cannot read the file's mode")?;
    let (owner, myself) = (metadata.uid(), rustix::process::geteuid().as_raw());
    // What systemd passes it keeps private itself; the mode of the group then shows who may read.
    let others = if is_credential(path) { 0o007 } else { 0o077 };
    let trouble = private(metadata.permissions().mode(), owner, myself, others);
    let shown = path.display();
    match trouble {
        Some(Trouble::Owner) => bail!(
            "{shown} holds a secret and belongs to another user, number {owner}; if it is yours, \
             run: chown {myself} {shown}"
        ),
        Some(Trouble::Mode) => {
            bail!("{shown} holds a secret and others can read it; run: chmod 600 {shown}")
        }
        None => {}
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    if fs::metadata(directory).is_ok_and(|metadata| anybody_replaces(metadata.permissions().mode()))
    {
        let directory = directory.display();
        log::warn!("anybody can replace the secret in {directory}; run: chmod 700 {directory}");
    }
    Ok(())
}

/// What is wrong with a file that holds a secret.
#[cfg(unix)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Owner,
    Mode,
}

/// What is wrong with a secret file of this mode and owner, for the user `myself`; `others` are the
/// bits that it may not have.
#[cfg(unix)]
fn private(mode: u32, owner: u32, myself: u32, others: u32) -> Option<Trouble> {
    if owner != myself && owner != 0 {
        Some(Trouble::Owner)
    } else if mode & others != 0 {
        Some(Trouble::Mode)
    } else {
        None
    }
}

/// Whether everybody may write there and take away what others wrote.
#[cfg(unix)]
const fn anybody_replaces(mode: u32) -> bool {
    const WRITABLE: u32 = 0o002;
    const STICKY: u32 = 0o1000;
    mode & WRITABLE != 0 && mode & STICKY == 0
}

/// Whether the file is a credential that systemd passed to this service.
#[cfg(unix)]
fn is_credential(path: &Path) -> bool {
    std::env::var_os("CREDENTIALS_DIRECTORY")
        .is_some_and(|directory| path.parent() == Some(Path::new(&directory)))
}

/// Without Unix modes, who may read a file follows from the directory it is in.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn check_private(_file: &File, _path: &Path) -> anyhow::Result<()> {
    Ok(())
}

/// A file that is about to be written. Making one checks everything that can be checked before the
/// contents exist, so that nothing that costs money is done for a file that cannot be written.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    directory: PathBuf,
    temporary: NamedTempFile,
    force: bool,
}

impl OutputFile {
    /// Prepares to write `path`; with `force` an existing file is replaced.
    ///
    /// # Errors
    /// When the file exists and `force` is not given, when what exists is not a file, or when its
    /// directory cannot be written.
    pub fn prepare(path: &Path, access: Access, force: bool) -> anyhow::Result<Self> {
        let shown = path.display();
        match fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.is_file() => {
                bail!("{shown} exists and is not a plain file; choose another name")
            }
            Ok(_) if !force => bail!("{}", exists(path)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot write {shown}")),
        }
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            Some(_) | None => PathBuf::from("."),
        };
        if !directory.is_dir() {
            bail!("there is no directory {}; make that directory first", directory.display());
        }
        // The kind alone: the rest of the text is the name of a temporary file.
        let temporary = temporary_in(&directory, access).map_err(|error| {
            let (shown, kind) = (directory.display(), error.kind());
            anyhow!("cannot write into {shown}: {kind}; check its permissions and its disk")
        })?;
        Ok(Self { path: path.to_owned(), directory, temporary, force })
    }

    /// Writes the contents: after this the file is there, whole and on the disk.
    ///
    /// # Errors
    /// When it cannot be written; then there is no file, or the old one.
    pub fn write(mut self, contents: &[u8]) -> anyhow::Result<()> {
        let shown = self.path.display().to_string();
        // The file itself: the errors of the other name the temporary file.
        let written = self.temporary.as_file_mut().write_all(contents);
        written
            .and_then(|()| self.temporary.as_file().sync_all())
            .with_context(|| format!("cannot write {shown}"))?;
        self.put()
    }

    /// As [`OutputFile::write`], for contents that `fill` puts into the file whose name it is given.
    ///
    /// # Errors
    /// What `fill` says, or when the file cannot be written; then there is no file, or the old one.
    pub fn fill<T>(self, fill: impl FnOnce(&Path) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let filled = fill(self.temporary.path())?;
        let synced = self.temporary.as_file().sync_all();
        synced.with_context(|| format!("cannot write {}", self.path.display()))?;
        self.put()?;
        Ok(filled)
    }

    /// Gives the file, whose contents are written and synced, its name.
    fn put(self) -> anyhow::Result<()> {
        let persisted = if self.force {
            self.temporary.persist(&self.path)
        } else {
            self.temporary.persist_noclobber(&self.path)
        };
        persisted.map_err(|failed| {
            if failed.error.kind() == io::ErrorKind::AlreadyExists {
                anyhow!("{}", exists(&self.path))
            } else {
                anyhow!(failed.error).context(format!("cannot write {}", self.path.display()))
            }
        })?;
        sync_directory(&self.directory)
    }
}

/// Writes a file whole or not at all.
///
/// # Errors
/// As [`OutputFile::prepare`] and [`OutputFile::write`].
pub fn write(path: &Path, access: Access, force: bool, contents: &str) -> anyhow::Result<()> {
    OutputFile::prepare(path, access, force)?.write(contents.as_bytes())
}

fn exists(path: &Path) -> String {
    format!("{} exists already; choose another name, or replace it with --force", path.display())
}

fn temporary_in(directory: &Path, access: Access) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    // A leading dot keeps half-written files out of watched directories.
    builder.prefix(".offset-");
    set_mode(&mut builder, access);
    builder.tempfile_in(directory)
}

#[cfg(unix)]
fn set_mode(builder: &mut tempfile::Builder<'_, '_>, access: Access) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = match access {
        Access::Public => 0o666,
        Access::Secret => 0o600,
    };
    builder.permissions(fs::Permissions::from_mode(mode));
}

#[cfg(not(unix))]
fn set_mode(_builder: &mut tempfile::Builder<'_, '_>, _access: Access) {}

/// Makes the new name of a file durable.
#[cfg(unix)]
fn sync_directory(directory: &Path) -> anyhow::Result<()> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .with_context(|| format!("cannot sync the directory {}", directory.display()))
}

#[cfg(not(unix))]
fn sync_directory(_directory: &Path) -> anyhow::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_in(directory: &Path) -> Vec<String> {
        fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    fn text(path: &Path) -> String {
        read_limited(path).unwrap().1.as_str().to_owned()
    }

    #[test]
    fn files_are_not_replaced_without_force() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.ticket");
        write(&path, Access::Public, false, "one").unwrap();
        let refused = write(&path, Access::Public, false, "two").unwrap_err().to_string();
        assert!(refused.contains("a.ticket exists already"), "{refused}");
        assert!(refused.contains("--force"), "{refused}");
        assert_eq!(text(&path), "one");
        write(&path, Access::Public, true, "two").unwrap();
        assert_eq!(text(&path), "two");
        assert_eq!(names_in(directory.path()), ["a.ticket"]);
    }

    #[test]
    fn a_name_taken_meanwhile_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.ticket");
        let output = OutputFile::prepare(&path, Access::Public, false).unwrap();
        fs::write(&path, "other").unwrap();
        assert!(output.write(b"ours").unwrap_err().to_string().contains("exists already"));
        assert_eq!(text(&path), "other");
        assert_eq!(names_in(directory.path()), ["a.ticket"]);
    }

    #[test]
    fn only_plain_files_in_directories_that_exist_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let refused = write(directory.path(), Access::Public, true, "x").unwrap_err().to_string();
        assert!(refused.contains("not a plain file"), "{refused}");
        let missing = directory.path().join("no/where");
        let refused = write(&missing, Access::Public, false, "x").unwrap_err().to_string();
        assert!(refused.contains("make that directory first"), "{refused}");
    }

    #[cfg(unix)]
    #[test]
    fn secrets_are_private_and_refused_when_they_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.ident");
        write(&path, Access::Secret, false, "secret").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let check = |path: &Path| check_private(&File::open(path).unwrap(), path);
        check(&path).unwrap();
        let link = directory.path().join("link.ident");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let refused = read_secret(&link).unwrap_err().to_string();
        assert!(refused.contains("link.ident leads elsewhere"), "{refused}");
        assert_eq!(read_secret(&path).unwrap().1.as_str(), "secret");
        assert_eq!(text(&link), "secret");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = check(&path).unwrap_err().to_string();
        assert!(refused.contains(&format!("chmod 600 {}", path.display())), "{refused}");
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_is_ones_own_or_roots_and_nobody_elses() {
        for (mode, owner, myself, expected) in [
            (0o100_600, 7, 7, None),
            (0o100_400, 0, 7, None),
            (0o100_600, 0, 0, None),
            (0o100_600, 8, 7, Some(Trouble::Owner)),
            // Root reads everything, but what a user made that user knows.
            (0o100_600, 8, 0, Some(Trouble::Owner)),
            (0o100_640, 7, 7, Some(Trouble::Mode)),
            (0o100_604, 7, 7, Some(Trouble::Mode)),
            (0o100_620, 7, 7, Some(Trouble::Mode)),
        ] {
            assert_eq!(private(mode, owner, myself, 0o077), expected, "{mode:o} {owner} {myself}");
        }
        assert!(anybody_replaces(0o777));
        assert!(!anybody_replaces(0o1777));
        assert!(!anybody_replaces(0o775));
    }

    #[test]
    fn what_is_not_a_short_text_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        let error = |path: &Path| format!("{:#}", read_limited(path).unwrap_err());
        assert!(error(&path).contains("cannot open"));
        assert!(error(directory.path()).contains("is a directory"));
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(error(&path).contains("not a text file"));
        fs::write(&path, vec![b'x'; 2100 * 1024 + 1]).unwrap();
        assert!(error(&path).contains("too long"));
    }
}
