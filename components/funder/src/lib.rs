//! The pure core of a node: mutual credit, token channels, payments and invoices (floor 4).
//!
//! A [`Funder`] decides about money. It has no sockets, files, clock or randomness of its own:
//! inputs go in through `handle_*`, and [`Funder::take_batch`] hands out the row changes they led to
//! and the effects that may leave the machine once those changes are durable. The same inputs give
//! the same batches, byte for byte.
//!
//! ```text
//!  commands, messages, sessions, routes, time
//!        |
//!        v                       changes -> store (one transaction)
//!     Funder --- take_batch --->    then
//!                                effects -> friends, apps, index servers
//!
//!  buyer                mediator               destination
//!   | --- request --------> | --- request -------> |   credits are frozen on each line
//!   | <-- response -------- | <-- response ------- |   the destination promises
//!   | --- commit ---------> | --- commit --------> |   the buyer's lock opens
//!   | <-- collect --------- | <-- collect -------- |   credits move, line by line
//!   |                       |                      |
//!   | <-- cancel ---------- | <-- cancel --------- |   instead: credits are unfrozen
//! ```
//!
//! # Invariants
//! - **M1 mirror**: what one side of a line sees is the mirror image of the other's; every move
//!   token proves it with the hash of the whole state.
//! - **M3 limits**: a new request keeps the balance within the limits; nothing else is bound by them.
//! - **M4 sums**: a side's pending debt is the sum of what its pending requests freeze.
//! - **M8 one end**: a request is collected or cancelled, once. A mediator cancels upstream only what
//!   never went into a token downstream or was cancelled to it from there, and infers no end from
//!   time, restarts or anything else.
//! - **books**: every change of a balance is an entry in the same batch.
//! - **T1**: nothing leaves before what it follows from is durable (the shell's duty, by batches).
//! - **T2, T3**: a token is applied whole or not at all, and never are two signed for one counter.

pub mod api;
mod asking;
mod books;
mod buyer;
mod change;
mod channel;
mod clearing;
mod config;
mod configure;
pub mod credit;
mod destination;
mod dirty;
mod due;
mod endings;
mod epoch;
mod funder;
mod guard;
mod invoices;
mod journal;
mod kept;
mod last_token;
mod loading;
mod mediator;
mod past;
mod pending;
mod proof;
mod recovery;
mod removal;
mod reporting;
mod reset;
mod session;
mod side;
mod spending;
pub mod state;
mod stored;
mod strangers;
mod tokens;
mod tree;

pub use crate::{
    change::{Change, CorruptState},
    channel::InvalidTerms,
    config::Config,
    funder::Funder,
    past::{Past, PastQuestion},
    side::{Side, Sided},
};
