//! What every program promises, in one place.
//!
//! - Exit code 0: done; 1: failed; 2: wrong usage. A reader that closes the pipe is no failure.
//! - Success prints an [`Answer`] on stdout, as text or, with `--json`, as one JSON document; an
//!   error is one sentence on stderr that says what is wrong and what to do next.
//! - `RUST_LOG` adds logs on stderr.
//! - Settings come from the command line, the environment or a file, see [`config`].
//! - Files are written whole or not at all, see [`files`]; wrong ones are named, see [`inputs`].

pub mod amount;
pub mod answer;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod files;
pub mod inputs;
pub mod limits;
pub mod logs;
pub mod metrics;
pub mod moment;
pub mod names;
pub mod passphrase;
pub mod protect;
pub mod qr;
pub mod signed;
pub mod table;
pub mod time;

pub use crate::manners::{
    answer::Answer,
    cli::{Usage, start},
    files::{Access, OutputFile},
};
