//! The durable state of a node: the rows of [`offset_funder::state::State`] in a SQLite database.
//!
//! It applies the funder's changes to its tables, one transaction a batch, and loads them back. It
//! deliberately does not decide anything about money, does not repair what it finds damaged, and
//! does not know the network.
//!
//! ```text
//! core task                     writer thread                   disk
//!    | submit(ticket, changes)       |                            |
//!    |------------------------------>|  one transaction, synced   |
//!    |   (handles the next inputs)   |--------------------------->|
//!    |           done(Ok(ticket))    |<---------------------------|
//!    |<------------------------------|
//!    | performs the effects          |
//! ```
//!
//! The core hands its batches to a [`Writer`] and goes on; what a batch led to leaves the node when
//! `done` names the batch's ticket. Batches that wait while one is synced are committed together.
//! Rows that change often wait, whole batches at a time, in a table of their own before they reach
//! theirs (`later`). Ended payments and invoices lie in tables of their own, which are never loaded,
//! and are looked up with [`Writer::payment`] and [`Writer::invoice`].
//!
//! Invariants:
//! - *Durable on return*: [`Store::commit`] returns after the sync, and a batch is in the database
//!   as a whole or not at all.
//! - *Stop at the first failure*: after a failed commit nothing is written again; what the system
//!   says about a second sync would mean nothing.
//! - *Store equals state*: the changes applied to a [`offset_funder::state::State`] and the changes
//!   committed and loaded give the same rows.
//! - *Whole or refused*: every row carries a checksum, sums are recomputed, and a database of which
//!   anything that is loaded is not as it was written is not opened. What is over is not loaded: its
//!   rows are checked when they are looked up, and one after the other while the node runs, which
//!   stops it.
//! - *Books agree*: the last entry of every line in the books has the line's balance.
//! - *One process, one identity*: the database is locked and belongs to one key.

mod audit;
pub mod backup;
mod books;
mod changes;
mod column;
mod error;
mod json;
mod later;
mod loading;
mod lock;
mod opening;
mod reader;
mod rows;
mod sqlite;
mod starts;
mod table;
#[cfg(test)]
mod tests;
mod writer;

use offset_crypto::{InvoiceId, PaymentId};
use offset_funder::{
    Change,
    state::{InvoiceRow, PaymentRow, State},
};

use offset_proto::Timestamp;

pub use crate::{
    error::Error,
    opening::init,
    reader::Reader,
    sqlite::SqliteStore,
    writer::{QUEUED_BATCHES, Rejected, Writer},
};

/// How much of what is durable has to be put where a start reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsettled {
    /// Nothing.
    Nothing,
    /// So little that it can wait until there is nothing else to do.
    Some,
    /// So much that it should be done now.
    Much,
}

/// What keeps a node's state: a database, or in simulations a model of one that can crash.
pub trait Store {
    /// Everything that the node must remember.
    ///
    /// # Errors
    /// What cannot be read, or is not as it was written.
    fn load(&mut self) -> Result<State, Error>;

    /// Applies changes as a whole or not at all; they are durable when this returns.
    ///
    /// # Errors
    /// After the first one nothing is written again.
    fn commit(&mut self, changes: &[Change]) -> Result<(), Error>;

    /// Whether changes are durable that would cost a start some time, as they are not where it reads.
    fn is_unsettled(&self) -> Unsettled;

    /// Puts them there.
    ///
    /// # Errors
    /// As [`Store::commit`].
    fn settle(&mut self) -> Result<(), Error>;

    /// A payment of our own that has ended.
    ///
    /// # Errors
    /// What cannot be read, or is not as it was written.
    fn payment(&self, id: &PaymentId) -> Result<Option<PaymentRow>, Error>;

    /// A registered invoice of our own that has ended.
    ///
    /// # Errors
    /// What cannot be read, or is not as it was written.
    fn invoice(&self, id: &InvoiceId) -> Result<Option<InvoiceRow>, Error>;

    /// Drops some entries of the books from before this moment, keeping every line's balance; `true`
    /// when there may be more. Payments and invoices are not touched.
    ///
    /// # Errors
    /// As [`Store::commit`].
    fn forget_history(&mut self, before: Timestamp) -> Result<bool, Error>;

    /// Checks some of the rows that are over, which are not read at a start; `false` when all were
    /// checked since this store was opened.
    ///
    /// # Errors
    /// What cannot be read, is not as it was written, or is not found where it is looked for.
    fn check_some(&mut self) -> Result<bool, Error>;

    /// A fresh epoch for telling index servers of this node: above every earlier one, at least
    /// `at_least`, and durable when this returns (protocol, section 9).
    ///
    /// # Errors
    /// As [`Store::commit`].
    fn next_index_epoch(&mut self, at_least: u64) -> Result<u64, Error>;
}
