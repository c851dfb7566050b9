//! Dialling and listening: typed connections with limits, backoff and keepalive.
//!
//! A [`Connection`] carries the messages of one purpose over an `offset-secure-channel`. This crate
//! does not know what the messages mean, does not decide whom to talk to and does not redial by
//! itself: whoever owns a connection does, with a [`Backoff`].
//!
//! ```text
//!    dial / connect_over                      Listener / accept_over
//!      | ============ secure channel ================== |  authorise(key, purpose)
//!      | -- Hello {version, purpose, features} -------> |
//!      | <------- Hello {version, purpose, features} -- |
//!      | <== messages, Ping after 10 s of silence ====> |
//!      | -- Bye {reason}, end of stream --------------> |
//! ```
//!
//! A connection is one task that writes, and whoever calls [`Receiver::recv`]. [`Sender`]s put
//! encoded frames into one queue, bounded in bytes and messages; the task takes all that waits, and
//! writes and flushes it at once.
//!
//! Invariants:
//! - *typed*: a message of another purpose, or bytes that do not decode, end the connection with a
//!   [`Error::Protocol`], and change nothing.
//! - *bounded*: no queue, wait or number of connections without a limit ([`NetConfig`], [`Limits`]).
//! - *never blocked by a peer*: [`Sender::try_send`] never waits; a peer that takes nothing for the
//!   write timeout, or shows no life for the idle timeout, loses the connection.
//! - *in order*: what one sender queued is sent in that order, and before a later
//!   [`Sender::close`].

mod admission;
mod backoff;
mod config;
mod connection;
mod dial;
mod error;
mod hello;
mod memory;
pub mod metrics;
mod outbox;
pub mod owners;
mod serve;

pub use crate::admission::{Limits, Rate, Refusal};
pub use crate::backoff::{Backoff, BackoffConfig};
pub use crate::config::NetConfig;
pub use crate::connection::{Connection, Receiver, Sender, accept_over, connect_over};
pub use crate::dial::dial;
pub use crate::error::{Error, SendError};
pub use crate::memory::keep_memory;
pub use crate::serve::{Incoming, Listener, ServeConfig};
