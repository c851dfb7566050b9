//! Why a node stopped, or did not start.

use std::{io, path::PathBuf};

use offset_funder::CorruptState;

/// Why a node stopped, or did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be opened, read or written. What was not durable was not sent.
    #[error(transparent)]
    Store(#[from] offset_store::Error),
    /// The database was read but contradicts itself.
    #[error(
        "the node's database contradicts itself: {0}. The node does not start, and nothing was \
         changed; keep the file, and do not put an older copy in its place"
    )]
    Corrupt(#[from] CorruptState),
    /// The directory of trusted applications cannot be read.
    #[error("cannot read the directory of trusted applications {}: {error}; make it, or name another one", path.display())]
    Trusted {
        /// Which directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The system gave no thread for the database.
    #[error("cannot start the thread that writes the database: {0}")]
    Thread(io::Error),
    /// The thread that writes the database ended without saying why.
    #[error("the thread that writes the database has failed; start the node again")]
    WriterGone,
}
