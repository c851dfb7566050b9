//! Relays: a meeting point for nodes that cannot reach each other, and the node's way to use one.
//!
//! A relay passes bytes between two of its clients and knows nothing of them but who is connected
//! with whom, when and how much. It stores nothing, it is trusted with nothing: what runs inside a
//! circuit is a secure channel of its own, and the worst that a relay can do is not to serve. This
//! crate does not dial friends, does not encrypt and does not decide whose circuits are wanted.
//!
//! ```text
//!   opener                relay               listener
//!     |                     |<------ listen -----|
//!     |                     |----- listening --->|
//!     |-- connect 1, key -->|                    |
//!     |                     |--- incoming 2 ---->|   accepted within 10 s
//!     |                     |<---- accept 2 -----|
//!     |<--- connected 1 ----|                    |
//!     |---- data 1 -------->|----- data 2 ------>|   256 KiB, then as far as window allows
//!     |<--- window 1 -------|<---- window 2 -----|   as much as was read
//!     |---- close 1 ------->|----- close 2 ----->|
//! ```
//!
//! One connection per node and relay carries any number of circuits. Numbers belong to one
//! connection; who opens a circuit chooses (clients odd, relay even).
//!
//! Invariants:
//! - *window*: what an end of a circuit sends was granted by the other; a relay holds at most the
//!   window of each circuit, at most [`Limits::max_waiting_bytes`] for one connection, and closes
//!   the circuit that would be more. A client that sends more than its window is closed.
//! - *read, then granted*: a [`Circuit`] grants window for what was read out of it, never before.
//! - *fair*: circuits of one connection take turns, at the relay and in the client.
//! - *one listener*: a key listens on one connection of a relay; a newer one replaces it, and the
//!   older is told [`REPLACED`].
//! - *pure broker*: everything that a relay decides is decided in [`Broker`], without input,
//!   output or clock.

pub mod broker;
mod client;
mod error;
mod limits;
mod metrics;
mod outbox;
mod rate;
mod server;

pub use crate::broker::{Broker, REPLACED};
pub use crate::client::{Circuit, ClientConfig, RelayClient, RelayListener, RelayStatus};
pub use crate::error::Error;
pub use crate::limits::{Allowance, Limits};
pub use crate::metrics::Metrics;
pub use crate::outbox::waiting_cost;
pub use crate::server::{RelayConfig, run};
