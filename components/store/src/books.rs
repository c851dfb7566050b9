//! The books in the database: checked against the balances, looked through page by page, and
//! shortened when their owner wants only so much kept.

use std::{collections::BTreeMap, path::Path};

use offset_crypto::PublicKey;
use offset_funder::state::State;
use offset_proto::{Balance, Currency, history::HistoryEntry};
use rusqlite::Connection;

use crate::{Error, column::Values, rows::history};

/// The last entry of every line, checked against the balances of the state: equal for an active
/// line, 0 for any other. Fills in the number of the last entry.
///
/// # Errors
/// What cannot be read, is not as it was written, or does not agree.
pub(crate) fn check_last(db: &Connection, path: &Path, state: &mut State) -> Result<(), Error> {
    let mut last: BTreeMap<(PublicKey, Currency), Balance> = BTreeMap::new();
    each(db, path, LAST_OF_LINES, |entry| {
        state.last_entry = state.last_entry.max(entry.sequence);
        last.insert((entry.friend, entry.currency), entry.balance);
        Ok(())
    })?;
    let disagree = |friend: &PublicKey, currency: &Currency, what: String| Error::Damaged {
        path: path.to_owned(),
        why: format!("the books of currency {currency} with friend {friend} {what}"),
    };
    for (key, friend) in &state.friends {
        for (currency, line) in &friend.lines {
            let Some(credit) = &line.credit else { continue };
            let balance = credit.numbers().balance;
            match last.remove(&(*key, currency.clone())) {
                Some(booked) if booked == balance => {}
                Some(booked) => {
                    let what = format!("end at {booked}, and its balance is {balance}");
                    return Err(disagree(key, currency, what));
                }
                None => return Err(disagree(key, currency, "have no entry".to_owned())),
            }
        }
    }
    match last.into_iter().find(|(_, booked)| *booked != Balance::ZERO) {
        Some(((key, currency), booked)) => {
            Err(disagree(&key, &currency, format!("end at {booked}, and the line is gone")))
        }
        None => Ok(()),
    }
}

/// Every entry of the books, in order: each must be as it was written, and its balance that of the
/// entry before it on the same line and its change.
///
/// # Errors
/// The first entry of which this is not so.
pub(crate) fn check_all(db: &Connection, path: &Path) -> Result<(), Error> {
    let mut lines: BTreeMap<(PublicKey, Currency), Balance> = BTreeMap::new();
    each(db, path, "TRUE ORDER BY sequence", |entry| {
        let balance = lines.entry((entry.friend, entry.currency)).or_default();
        if balance.checked_add_balance(entry.delta) != Some(entry.balance) {
            return Err(format!(
                "its balance {} is not that before it, {balance}, and its change, {}",
                entry.balance, entry.delta
            ));
        }
        *balance = entry.balance;
        Ok(())
    })
}

fn each(
    db: &Connection,
    path: &Path,
    condition: &str,
    mut each: impl FnMut(HistoryEntry) -> Result<(), String>,
) -> Result<(), Error> {
    history::TABLE.each((db, path), condition, Values::default(), |row| {
        history::read(row).and_then(&mut each)
    })
}

const LAST_OF_LINES: &str =
    "sequence IN (SELECT max(sequence) FROM history GROUP BY friend, currency)";
