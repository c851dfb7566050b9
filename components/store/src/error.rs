//! What can go wrong with a database, in sentences for its user.

use std::{
    io,
    path::{Path, PathBuf},
};

use offset_crypto::PublicKey;
use offset_funder::CorruptState;
use rusqlite::ErrorCode;

/// Why a database could not be made, opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Where a database was to be made there is a file.
    #[error("{} exists already; a node's database is never overwritten: choose another path", .0.display())]
    Exists(PathBuf),
    /// What an earlier database left behind would be taken for a part of the new one.
    #[error("{} is left of an earlier database: move it away, and what else begins with the name of that database", .0.display())]
    Leftover(PathBuf),
    /// Where a copy was to be put there is a database that a node uses.
    #[error("{} is the database of a node and no copy; a node's database is never overwritten: choose another path", .0.display())]
    InUse(PathBuf),
    /// The file has another name besides this one, a hard link.
    #[error("{} has more than one name (hard link), so two nodes could write to it at once; remove the other names, which `find DIRECTORY -samefile {}` lists, and start again", .0.display(), .0.display())]
    SeveralNames(PathBuf),
    /// A database whose log is beside it, so that the file alone is not all of it.
    #[error("{} is no copy but a database in use, or one that a crash left: {} belongs to it; make a copy with `stmgr backup`", path.display(), log.display())]
    NotACopy {
        /// Which file.
        path: PathBuf,
        /// Its log.
        log: PathBuf,
    },
    /// A database that nobody finished after a crash, or that was copied while a node used it.
    #[error("{} is no copy but a database that a crash left, or that was copied while a node used it; make a copy of the node's own with `stmgr backup`", .0.display())]
    NotSettled(PathBuf),
    /// The file, or its lock file, cannot be reached.
    #[error("cannot open {}: {error}", path.display())]
    Path {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file may be read but not written.
    #[error("{} is read-only; a node must be able to write its database: check the permissions of the file and its directory", .0.display())]
    ReadOnly(PathBuf),
    /// Some other file.
    #[error("{} is not a database: check the path", .0.display())]
    NotADatabase(PathBuf),
    /// A database of another program, or one that was never finished.
    #[error("{} is not the database of an Offset node: check the path, or make a new one elsewhere with `stmgr init-node-db`", .0.display())]
    NotOurs(PathBuf),
    /// A database of a later release.
    #[error("{} has schema version {found}, and this program knows versions up to {known}: use the newer release that wrote it", path.display())]
    NewerSchema {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// A database of another node.
    #[error("{} belongs to the node {found}, and the identity file is that of {expected}: use the files that belong together", path.display())]
    OtherIdentity {
        /// Which file.
        path: PathBuf,
        /// Whose it is.
        found: PublicKey,
        /// Whose it should be.
        expected: PublicKey,
    },
    /// Another process has the database.
    #[error("{} is in use by {}: stop that process first", path.display(), holder(*pid))]
    Locked {
        /// Which database.
        path: PathBuf,
        /// Who, if it wrote it down.
        pid: Option<u32>,
    },
    /// A program that does not know our lock is writing to the database.
    #[error("{} is locked by a program that is not a node: close whatever else has it open", .0.display())]
    Busy(PathBuf),
    /// No space.
    #[error("no space is left for {}: nothing was lost; free some and start again", .0.display())]
    DiskFull(PathBuf),
    /// What the disk did not do.
    #[error("{} could not be read or written: check its disk, then start the node again; what was not durable was not sent ({error})", path.display())]
    Disk {
        /// Which file.
        path: PathBuf,
        /// What SQLite said.
        error: rusqlite::Error,
    },
    /// A row that is not as it was written.
    #[error("{} is damaged: in table {table}, row {row}: {why}. {ADVICE}", path.display())]
    DamagedRow {
        /// Which file.
        path: PathBuf,
        /// In which table.
        table: &'static str,
        /// The row's key.
        row: String,
        /// What is wrong with it.
        why: String,
    },
    /// Rows that do not belong together.
    #[error("{} is damaged: {error}. {ADVICE}", path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        error: CorruptState,
    },
    /// The file itself, below the rows.
    #[error("{} is damaged: {why}. {ADVICE}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// The file system does not do what durability needs.
    #[error("{} cannot be used durably: {pragma} is {found} instead of {expected}; put it on a local disk", path.display())]
    NotDurable {
        /// Which file.
        path: PathBuf,
        /// Which setting.
        pragma: &'static str,
        /// What it is.
        found: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A commit failed before; nothing more is written.
    #[error("{} failed earlier and is no longer written to: restart the node", .0.display())]
    Stopped(PathBuf),
    /// Everything else that the database says.
    #[error("{}: {error}", path.display())]
    Sqlite {
        /// Which file.
        path: PathBuf,
        /// What it said.
        error: rusqlite::Error,
    },
}

/// What the owner of a damaged database is to do.
const ADVICE: &str = "The node does not start, and nothing was changed. Keep the file; do not put \
                      an older copy in its place, because it would contradict what was signed since";

impl Error {
    /// An error of SQLite, by what the user can do about it.
    pub(crate) fn sqlite(path: &Path, error: rusqlite::Error) -> Self {
        let code = error.sqlite_error_code();
        let is = |wanted| code == Some(wanted);
        let path = path.to_owned();
        if is(ErrorCode::NotADatabase) {
            Self::NotADatabase(path)
        } else if is(ErrorCode::DatabaseCorrupt) {
            Self::Damaged { path, why: error.to_string() }
        } else if is(ErrorCode::DiskFull) {
            Self::DiskFull(path)
        } else if is(ErrorCode::ReadOnly) {
            Self::ReadOnly(path)
        } else if is(ErrorCode::DatabaseBusy) || is(ErrorCode::DatabaseLocked) {
            Self::Busy(path)
        } else if is(ErrorCode::SystemIoFailure) {
            Self::Disk { path, error }
        } else {
            Self::Sqlite { path, error }
        }
    }

    /// An error of the file system.
    pub(crate) fn path(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        if full.contains(&error.kind()) {
            Self::DiskFull(path)
        } else if error.kind() == io::ErrorKind::ReadOnlyFilesystem {
            Self::ReadOnly(path)
        } else {
            Self::Path { path, error }
        }
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("the process with pid {pid}"))
}
