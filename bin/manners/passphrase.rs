//! Passphrases of sealed identities: from a file or file descriptor, a systemd credential, or the
//! terminal. Never from the command line, which other users of the machine can read.

use std::{
    env, fs,
    io::{self, IsTerminal as _, Read as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use zeroize::Zeroizing;

use crate::manners::files::check_private;

/// A passphrase. Wiped when dropped.
pub type Passphrase = Zeroizing<String>;

/// The passphrase that opens the identity in `file`: from the file that `OFFSET_PASSPHRASE_FILE`
/// names (`/dev/fd/3` for a descriptor), else from the systemd credential `offset-passphrase`, else
/// asked for on the terminal.
///
/// # Errors
/// When there is none of these, or it cannot be read.
pub fn to_open(file: &Path) -> anyhow::Result<Passphrase> {
    let named = env::var_os(VARIABLE).map(PathBuf::from);
    if let Some(path) = named.or_else(credential) {
        return read(&path);
    }
    if !io::stdin().is_terminal() {
        bail!(
            "{} is sealed with a passphrase; name a file that holds it in {VARIABLE} (/dev/fd/3 \
             for a file descriptor), pass the systemd credential {CREDENTIAL}, or start it on a \
             terminal",
            file.display()
        );
    }
    ask(&format!("Passphrase of {}: ", file.display()))
}

/// A new passphrase: from a file, or asked for twice on the terminal.
///
/// # Errors
/// When it cannot be read, is empty, or the two differ.
pub fn to_seal(file: Option<&Path>) -> anyhow::Result<Passphrase> {
    if let Some(file) = file {
        return read(file);
    }
    if !io::stdin().is_terminal() {
        bail!("there is no terminal to ask for a passphrase; use --passphrase-file");
    }
    let first = ask("New passphrase: ")?;
    if first != ask("The same again: ")? {
        bail!("the two passphrases differ; nothing was changed, try again");
    }
    Ok(first)
}

/// Reads the first line of a file. A plain file must not be readable by others.
///
/// # Errors
/// When it cannot be read, is empty or too long.
pub fn read(path: &Path) -> anyhow::Result<Passphrase> {
    let shown = path.display();
    let file = fs::File::open(path)
        .map_err(|error| anyhow!("cannot open the passphrase file {shown}: {error}"))?;
    if file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        check_private(&file, path)?;
    }
    // Room for everything, so that no copy is left behind where it grew.
    let mut text = Zeroizing::new(String::with_capacity(LONGEST + 2));
    file.take(u64::try_from(LONGEST + 2).unwrap_or(u64::MAX))
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read the passphrase in {shown}"))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || LONGEST < line.len() || line.contains('\n') {
        bail!("{shown} must hold one line of 1 to {LONGEST} bytes, the passphrase");
    }
    Ok(Zeroizing::new(line.to_owned()))
}

fn ask(prompt: &str) -> anyhow::Result<Passphrase> {
    let passphrase = rpassword::prompt_password(prompt).context("cannot ask for the passphrase")?;
    let passphrase = Zeroizing::new(passphrase);
    if passphrase.is_empty() {
        bail!("a passphrase cannot be empty");
    }
    Ok(passphrase)
}

/// The credential that systemd passed, if it did.
fn credential() -> Option<PathBuf> {
    let path = PathBuf::from(env::var_os("CREDENTIALS_DIRECTORY")?).join(CREDENTIAL);
    path.exists().then_some(path)
}

const VARIABLE: &str = "OFFSET_PASSPHRASE_FILE";
const CREDENTIAL: &str = "offset-passphrase";
/// The longest passphrase, in bytes.
const LONGEST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manners::files::{self, Access};

    #[test]
    fn one_line_is_read_without_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passphrase");
        let read_back = |contents: &str| {
            files::write(&path, Access::Secret, true, contents).unwrap();
            read(&path).map(|passphrase| passphrase.as_str().to_owned())
        };
        assert_eq!(read_back("correct horse\n").unwrap(), "correct horse");
        assert_eq!(read_back("correct horse\r\n").unwrap(), "correct horse");
        assert_eq!(read_back(" spaces count ").unwrap(), " spaces count ");
        for wrong in ["", "\n", "two\nlines\n", &"x".repeat(LONGEST + 1)] {
            assert!(read_back(wrong).unwrap_err().to_string().contains("one line"), "{wrong:?}");
        }
        assert!(read_back(&"x".repeat(LONGEST)).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn a_passphrase_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passphrase");
        files::write(&path, Access::Public, false, "open\n").unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("chmod 600"));
    }
}
