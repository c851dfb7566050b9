//! How each row of the state lies in its table: the one place that knows.
//!
//! Each table has a `write` that gives a row's values in the order of its columns and a `read` that
//! takes them in the same order and checks what can be checked within the row.

pub(crate) mod collected;
mod friendship;
pub(crate) mod history;
mod journals;
mod lines;
mod own;
pub(crate) mod payment;
mod sellers;

use crate::{column::Reading, table::Table};

type Read<T> = Result<T, String>;

pub(crate) use friendship::{archived, before_sent, channel, friend, friend_recovery, received};
pub(crate) use journals::{journal, spent};
pub(crate) use lines::{line, pending, queued};
pub(crate) use own::{index_epoch, index_server, node, recovery, relay, settings, starts};
pub(crate) use sellers::{invoice, set, settled};

/// Reads a row for its checks alone.
pub(crate) type ReadOnly = fn(&mut Reading<'_>) -> Read<()>;

/// Every table, and what its rows are read with, for whoever checks all that there is.
pub(crate) static ALL: &[(&Table, ReadOnly)] = &[
    (&node::TABLE, |row| node::read(row).map(drop)),
    (&index_epoch::TABLE, |row| index_epoch::read(row).map(drop)),
    (&settings::TABLE, |row| settings::read(row).map(drop)),
    (&relay::TABLE, |row| relay::read(row).map(drop)),
    (&index_server::TABLE, |row| index_server::read(row).map(drop)),
    (&friend::TABLE, |row| friend::read(row).map(drop)),
    (&channel::TABLE, |row| channel::read(row).map(drop)),
    (&archived::TABLE, |row| archived::read(row).map(drop)),
    (&line::TABLE, |row| line::read(row).map(drop)),
    (&pending::TABLE, |row| pending::read(row).map(drop)),
    (&queued::TABLE, |row| queued::read(row).map(drop)),
    (&invoice::TABLE, |row| invoice::read(row).map(drop)),
    (&set::TABLE, |row| set::read(row).map(drop)),
    (&payment::TABLE, |row| payment::read(row).map(drop)),
    (&journal::TABLE, |row| journal::read(row).map(drop)),
    (&spent::TABLE, |row| spent::read(row).map(drop)),
    (&settled::TABLE, |row| settled::read(row).map(drop)),
    (&history::TABLE, |row| history::read(row).map(drop)),
    (&starts::TABLE, |row| starts::read(row).map(drop)),
    (&received::TABLE, |row| received::read(row).map(drop)),
    (&before_sent::TABLE, |row| before_sent::read(row).map(drop)),
    (&recovery::TABLE, |row| recovery::read(row).map(drop)),
    (&friend_recovery::TABLE, |row| friend_recovery::read(row).map(drop)),
    (&collected::TABLE, |row| collected::read(row).map(drop)),
    (&collected::ALONE, |row| collected::read(row).map(drop)),
];
