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

use crate::{column::Reading, later, table::Table};

type Read<T> = Result<T, String>;

pub(crate) use friendship::{archived, before_sent, channel, friend, friend_recovery, received};
pub(crate) use journals::{journal, spent};
pub(crate) use lines::{line, pending, queued};
pub(crate) use own::{index_epoch, index_server, node, recovery, relay, settings, starts};
pub(crate) use sellers::{invoice, set, settled};

/// Reads a row for its checks alone.
pub(crate) type ReadOnly = fn(&mut Reading<'_>) -> Read<()>;

/// A table, and what its rows are read with.
pub(crate) struct Known {
    pub(crate) table: &'static Table,
    pub(crate) read: ReadOnly,
    /// Whether all of it is loaded at every start. The others hold what is over: they grow, and are
    /// checked while the node runs.
    pub(crate) is_live: bool,
    /// The column by which its rows are gone through, and its indexes with their columns: for those
    /// tables that are checked while the node runs.
    pub(crate) order: &'static str,
    pub(crate) indexes: &'static [(&'static str, &'static [&'static str])],
}

const fn live(table: &'static Table, read: ReadOnly) -> Known {
    Known { table, read, is_live: true, order: "", indexes: &[] }
}

const fn past(
    table: &'static Table,
    read: ReadOnly,
    order: &'static str,
    indexes: &'static [(&'static str, &'static [&'static str])],
) -> Known {
    Known { table, read, is_live: false, order, indexes }
}

/// Every table.
pub(crate) static ALL: &[Known] = &[
    live(&node::TABLE, |row| node::read(row).map(drop)),
    live(&index_epoch::TABLE, |row| index_epoch::read(row).map(drop)),
    live(&settings::TABLE, |row| settings::read(row).map(drop)),
    live(&relay::TABLE, |row| relay::read(row).map(drop)),
    live(&index_server::TABLE, |row| index_server::read(row).map(drop)),
    live(&friend::TABLE, |row| friend::read(row).map(drop)),
    live(&channel::TABLE, |row| channel::read(row).map(drop)),
    live(&archived::TABLE, |row| archived::read(row).map(drop)),
    live(&line::TABLE, |row| line::read(row).map(drop)),
    live(&pending::TABLE, |row| pending::read(row).map(drop)),
    live(&queued::TABLE, |row| queued::read(row).map(drop)),
    live(&invoice::TABLE, |row| invoice::read(row).map(drop)),
    past(
        &invoice::PAST,
        |row| invoice::read_past(row).map(drop),
        "rowid",
        &[
            ("past_invoices_by_id", &["invoice_id", "created_at"]),
            ("past_invoices_by_nonce", &["nonce"]),
            ("past_invoices_by_time", &["phase", "created_at"]),
        ],
    ),
    live(&set::TABLE, |row| set::read(row).map(drop)),
    live(&payment::TABLE, |row| payment::read(row).map(drop)),
    past(
        &payment::PAST,
        |row| payment::read_past(row).map(drop),
        "rowid",
        &[("past_payments_by_id", &["payment_id"])],
    ),
    live(&journal::TABLE, |row| journal::read(row).map(drop)),
    live(&spent::TABLE, |row| spent::read(row).map(drop)),
    past(&settled::TABLE, |row| settled::read(row).map(drop), "id", &[]),
    past(&history::TABLE, |row| history::read(row).map(drop), "sequence", &[]),
    live(&history::ENDS, |row| history::read_end(row).map(drop)),
    live(&starts::TABLE, |row| starts::read(row).map(drop)),
    live(&received::TABLE, |row| received::read(row).map(drop)),
    live(&before_sent::TABLE, |row| before_sent::read(row).map(drop)),
    live(&recovery::TABLE, |row| recovery::read(row).map(drop)),
    live(&friend_recovery::TABLE, |row| friend_recovery::read(row).map(drop)),
    past(
        &collected::TABLE,
        |row| collected::read(row).map(drop),
        "rowid",
        &[("sqlite_autoindex_collected_1", &["friend", "currency", "sender", "request_id"])],
    ),
    live(&collected::ALONE, |row| collected::read(row).map(drop)),
    live(&later::TABLE, |row| later::read(row).map(drop)),
];
