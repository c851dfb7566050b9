//! A node's side of the index: reports what its lines can carry, and asks for routes.
//!
//! It deliberately trusts no answer: routes, fees and capacities are hints of a stranger, checked by
//! whoever pays and by every friend on the way. It keeps nothing on disk; the node keeps the epoch.
//!
//! ```text
//!   node                       this crate                         index server
//!    | -- update_lines ---------> | -- snapshot, deltas, alive ------> |
//!    |                            | <- snapshot wanted, behind ------- |
//!    | -- request_routes -------> | -- request routes ---------------> |
//!    | <- routes, or an error --- | <- routes, or refused ------------ |
//! ```
//!
//! [`reporter`] is pure and decides what is told when; [`IndexClient`] is the node's handle and
//! [`Driver`] the task that holds one connection at a time, to the first server of the list that
//! answers.
//!
//! Invariants:
//! - *one answer*: every request ends exactly once, with routes or an error, within its deadline,
//!   whatever becomes of the connection.
//! - *never blocked*: neither the node nor the driver waits for a server.
//! - *bounded*: requests that wait, changes that wait, lines that are reported.

mod client;
pub mod reporter;

pub use crate::client::{Config, Driver, IndexClient, Status};

use offset_proto::Text;

/// Why there is no answer about routes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No server of the list could be reached in time.
    #[error("no index server is connected; see `info index`, or add another one")]
    NotConnected,
    /// The connected server did not answer in time.
    #[error("the index server does not answer")]
    NoAnswer,
    /// Too many requests wait for an answer.
    #[error("too many route requests wait for an answer; try again in a moment")]
    Busy,
    /// The server did not look at the request.
    #[error("the index server refused: {}", reason.brief())]
    Refused {
        /// What it said.
        reason: Text,
    },
    /// The node is shutting down.
    #[error("the node is shutting down")]
    Stopped,
}
