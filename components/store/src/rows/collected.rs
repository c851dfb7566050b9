//! Requests that were collected, kept beyond their end.

use std::sync::Arc;

use offset_crypto::{PlainLock, PublicKey};
use offset_funder::{
    Side,
    state::{AloneKey, KEPT_MS, KeptCollect},
};
use offset_proto::{
    Currency, Timestamp,
    friend::{Collect, Response},
    reset::Collected,
};
use rusqlite::Connection;

use super::Read;
use crate::{
    column::{Reading, Values},
    table::Table,
};

const COLUMNS: &[&str] = &[
    "friend",
    "currency",
    "sender",
    "request_id",
    "at",
    "amount",
    "response",
    "src_plain_lock",
    "dest_plain_lock",
];

/// All of them, for a while.
pub(crate) static TABLE: Table = Table::new("collected", 4, COLUMNS);
/// Those that belong to the state.
pub(crate) static ALONE: Table = Table::new("alone", 4, COLUMNS);

/// After how many new rows old ones are dropped, and how many: more than came, so that the table
/// shrinks to its time.
const EVERY: i64 = 16;
const DROPPED: usize = 32;

pub(crate) fn line(friend: &PublicKey, currency: &Currency, sender: Side) -> Values {
    Values::default().put(friend).put(currency).put(&sender)
}

pub(crate) fn alone_key((friend, currency, id): &AloneKey) -> Values {
    line(friend, currency, Side::Local).put(id)
}

pub(crate) fn write(row: &KeptCollect) -> Values {
    let KeptCollect { friend, sender, at, amount, collected } = row;
    line(friend, &collected.currency, *sender)
        .put(&collected.request_id)
        .put(at)
        .put(amount)
        .put(&Arc::new(collected.response()))
        .put(&collected.src_plain_lock)
        .put(&collected.dest_plain_lock)
}

pub(crate) fn read(row: &mut Reading<'_>) -> Read<KeptCollect> {
    let (friend, currency, sender, request_id) =
        (row.take()?, row.take::<Currency>()?, row.take()?, row.take()?);
    let (at, amount) = (row.take()?, row.take()?);
    let response = row.take::<Arc<Response>>()?;
    if response.request_id != request_id {
        return Err("its response is to another request".to_owned());
    }
    let (src_plain_lock, dest_plain_lock) = (row.take::<PlainLock>()?, row.take::<PlainLock>()?);
    let collect = Collect { request_id, src_plain_lock, dest_plain_lock };
    let collected = Collected::of(currency, &response, &collect);
    Ok(KeptCollect { friend, sender, at, amount, collected })
}

/// Writes a row, and now and then drops the oldest ones if their time is over: never more than a few
/// at once, so that no commit waits for it.
pub(crate) fn keep(db: &Connection, row: &KeptCollect) -> rusqlite::Result<()> {
    TABLE.put(db, write(row))?;
    if db.last_insert_rowid() % EVERY != 0 {
        return Ok(());
    }
    let over = Timestamp(row.at.0.saturating_sub(KEPT_MS));
    TABLE.delete_oldest(db, DROPPED, "at < ?", Values::default().put(&over))
}
