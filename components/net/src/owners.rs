//! Who may have put a ticket where it is. Whoever can put one into a daemon's directory `trusted` can
//! do with a node what they like, and take part in the federation of an index server.

use std::fs::Metadata;

/// Refuses a ticket that anybody can write; and in a directory into which anybody can put files, one
/// that is neither this user's, nor root's, nor of the directory's owner. `files` are what the name
/// is, and what it leads to.
///
/// # Errors
/// What is wrong with it, and the command that mends it.
#[cfg(unix)]
pub fn check(directory: &Metadata, files: &[&Metadata]) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt as _;
    let seen = |metadata: &Metadata| Seen { mode: metadata.mode(), owner: metadata.uid() };
    let myself = rustix::process::geteuid().as_raw();
    let troubles = files.iter().map(|file| trouble(seen(directory), seen(file), myself));
    match troubles.flatten().next() {
        None => Ok(()),
        Some(Trouble::Mode) => Err("anybody can write it; run chmod o-w on it".to_owned()),
        Some(Trouble::Owner(owner)) => Err(format!(
            "anybody can put files into its directory, and it belongs to another user, number \
             {owner}; run chmod o-w on the directory, or make the ticket yours"
        )),
    }
}

/// Without Unix modes nothing is known of it.
#[cfg(not(unix))]
pub fn check(_directory: &Metadata, _files: &[&Metadata]) -> Result<(), String> {
    Ok(())
}

/// What the system says of a file or directory.
#[cfg(unix)]
#[derive(Debug, Clone, Copy)]
struct Seen {
    mode: u32,
    owner: u32,
}

#[cfg(unix)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// Anybody can write the file.
    Mode,
    /// Anybody could put it there, and this user did.
    Owner(u32),
}

#[cfg(unix)]
fn trouble(directory: Seen, file: Seen, myself: u32) -> Option<Trouble> {
    /// Others may write.
    const OTHERS: u32 = 0o002;
    const KIND: u32 = 0o170_000;
    const LINK: u32 = 0o120_000;
    let ours = [myself, 0, directory.owner].contains(&file.owner);
    if directory.mode & OTHERS != 0 && !ours {
        Some(Trouble::Owner(file.owner))
    } else if file.mode & OTHERS != 0 && file.mode & KIND != LINK {
        // The mode of a link means nothing.
        Some(Trouble::Mode)
    } else {
        None
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_let_may_give_tickets_and_nobody_else() {
        const DIRECTORY: u32 = 0o040_000;
        const FILE: u32 = 0o100_000;
        const LINK: u32 = 0o120_000;
        let owner = |owner| Some(Trouble::Owner(owner));
        for (directory, file, expected) in [
            ((0o755, 7), (FILE | 0o644, 7), None),
            ((0o755, 7), (FILE | 0o646, 7), Some(Trouble::Mode)),
            // Who may write into the directory was let in by its owner: root, or a group.
            ((0o755, 7), (FILE | 0o644, 0), None),
            ((0o775, 7), (FILE | 0o644, 9), None),
            // Anybody may.
            ((0o777, 7), (FILE | 0o644, 7), None),
            ((0o777, 7), (FILE | 0o644, 0), None),
            ((0o777, 5), (FILE | 0o644, 5), None),
            ((0o777, 7), (FILE | 0o644, 9), owner(9)),
            ((0o1777, 7), (FILE | 0o600, 9), owner(9)),
            ((0o1777, 0), (LINK | 0o777, 9), owner(9)),
            ((0o1777, 0), (LINK | 0o777, 7), None),
        ] {
            let directory = Seen { mode: DIRECTORY | directory.0, owner: directory.1 };
            let file = Seen { mode: file.0, owner: file.1 };
            assert_eq!(trouble(directory, file, 7), expected, "{directory:?} {file:?}");
        }
    }
}
