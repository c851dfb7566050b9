//! An index server: the graph of credit lines as nodes report it, and the search for routes in it.
//!
//! It deliberately knows nothing of payments and holds no secret of anybody's. A server that starts
//! anew is told everything again, or knows it from a file of its own ([`saved`]). Nodes trust it for
//! nothing but hints; what it says wrongly costs a failed attempt and no credits.
//!
//! ```text
//!   node A -- update (signed: my lines, what they carry) --> index server <-- update -- node B
//!                                                             |     ^
//!   node A -- request routes {to C, 100} -------------------> |     | digests, updates, node down
//!          <- routes {A, B, C}, fee 2 ----------------------- |     v
//!                                                            another index server
//! ```
//!
//! The parts, from the inside out: [`graph`] (capacities in arrays) and [`search`] (the cheapest
//! ways), [`view`] (one graph for many searches while it changes), [`directory`] (who said what last,
//! as it was signed), [`saved`] (all that as a file), [`federation`] (what other servers lack), all
//! pure; around them [`run`], the server's tasks. Every bound is in [`limits`].
//!
//! Invariants:
//! - *both ends*: an edge exists only while both of its ends report it, so nobody can invent a
//!   friend.
//! - *signed*: whatever is known of a node was signed by that node, and is passed on as signed.
//! - *newest only*: what is not above the newest known (epoch, counter) of its node is not applied.
//! - *bounded*: memory per node, nodes, work per search, searches at a time, messages that wait.
//! - *mutual*: servers federate only when each has the other's ticket.

mod absent;
pub mod directory;
pub mod federation;
pub mod graph;
mod keeper;
pub mod limits;
mod metrics;
pub mod pace;
mod peers;
pub mod saved;
pub mod search;
mod searcher;
mod server;
mod sessions;
mod trusted;
pub mod view;

use std::path::PathBuf;

pub use crate::metrics::Metrics;
pub use crate::server::{Config, run};

/// Why an index server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory of trusted servers cannot be listed.
    #[error("cannot read the directory of trusted index servers {path}: {reason}")]
    Trusted {
        /// Which directory.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// There is no directory for what the server knows.
    #[error("there is no directory {path} to keep what is known in; make it, or name another one")]
    State {
        /// Which directory.
        path: PathBuf,
    },
}
