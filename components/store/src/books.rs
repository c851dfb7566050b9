//! The books in the database: checked against the balances, looked through page by page, and
//! shortened when their owner wants only so much kept.

use std::{collections::BTreeMap, path::Path};

use offset_crypto::PublicKey;
use offset_funder::state::State;
use offset_proto::{
    Balance, Currency, Timestamp,
    history::{HistoryEntry, HistoryEvent, HistoryPage, HistoryQuery, MAX_PAGE},
};
use rusqlite::{Connection, OptionalExtension as _};

use crate::{
    Error,
    column::Values,
    rows::history::{self, End},
};

/// The last entry of every line, checked against the balances of the state: equal for an active
/// line, 0 for any other. Fills in the number of the last entry.
///
/// # Errors
/// What cannot be read, is not as it was written, or does not agree.
pub(crate) fn check_last(db: &Connection, path: &Path, state: &mut State) -> Result<(), Error> {
    let mut ends = ends(db, path)?;
    each(db, path, NEWEST, Values::default(), |entry| {
        state.last_entry = entry.sequence;
        let line = (entry.friend, entry.currency);
        match ends.get(&line) {
            Some((sequence, _)) if *sequence == entry.sequence => Ok(()),
            Some(_) | None => Err("it is not known as the last of its line".to_owned()),
        }
    })?;
    let disagree = |friend: &PublicKey, currency: &Currency, what: String| Error::Damaged {
        path: path.to_owned(),
        why: format!("the books of currency {currency} with friend {friend} {what}"),
    };
    let mut unseen = ends.clone();
    each(db, path, LAST, Values::default(), |entry| {
        let end = (entry.sequence, entry.balance);
        match unseen.remove(&(entry.friend, entry.currency)) {
            Some(known) if known == end => Ok(()),
            Some(_) | None => Err("it is not as the end of its line was noted".to_owned()),
        }
    })?;
    if let Some(((friend, currency), (sequence, _))) = unseen.into_iter().next() {
        return Err(disagree(&friend, &currency, format!("have no entry {sequence}")));
    }
    for (key, friend) in &state.friends {
        for (currency, line) in &friend.lines {
            let Some(credit) = &line.credit else { continue };
            let balance = credit.numbers().balance;
            match ends.remove(&(*key, currency.clone())) {
                Some((_, booked)) if booked == balance => {}
                Some((_, booked)) => {
                    let what = format!("end at {booked}, and its balance is {balance}");
                    return Err(disagree(key, currency, what));
                }
                None => return Err(disagree(key, currency, "have no entry".to_owned())),
            }
        }
    }
    match ends.into_iter().find(|(_, (_, booked))| *booked != Balance::ZERO) {
        Some(((key, currency), (_, booked))) => {
            Err(disagree(&key, &currency, format!("end at {booked}, and the line is gone")))
        }
        None => Ok(()),
    }
}

/// Where the books of each line end.
type Ends = BTreeMap<(PublicKey, Currency), (u64, Balance)>;

fn ends(db: &Connection, path: &Path) -> Result<Ends, Error> {
    let mut ends = Ends::new();
    history::ENDS.each((db, path), "TRUE", Values::default(), |row| {
        let End { friend, currency, sequence, balance } = history::read_end(row)?;
        ends.insert((friend, currency), (sequence, balance));
        Ok(())
    })?;
    Ok(ends)
}

/// Every entry of the books, in order: each must be as it was written, and its balance that of the
/// entry before it on the same line and its change; and the last of every line must be known as such.
///
/// # Errors
/// The first entry of which this is not so.
pub(crate) fn check_all(db: &Connection, path: &Path) -> Result<(), Error> {
    let mut lines = Ends::new();
    each(db, path, "TRUE ORDER BY sequence", Values::default(), |entry| {
        let (last, balance) = lines.entry((entry.friend, entry.currency)).or_default();
        if balance.checked_add_balance(entry.delta) != Some(entry.balance) {
            return Err(format!(
                "its balance {} is not that before it, {balance}, and its change, {}",
                entry.balance, entry.delta
            ));
        }
        (*last, *balance) = (entry.sequence, entry.balance);
        Ok(())
    })?;
    let known = ends(db, path)?;
    match lines.iter().find(|(line, end)| known.get(line) != Some(end)) {
        Some(((friend, currency), (sequence, _))) => Err(Error::Damaged {
            path: path.to_owned(),
            why: format!(
                "entry {sequence} of the books, of currency {currency} with friend {friend}, is not \
                 known as the last of its line"
            ),
        }),
        None => Ok(()),
    }
}

/// A page of the books. `friend` is the key behind the name that is asked for, if anybody has it
/// now; otherwise the name is that of the time. No more than [`LOOKED_THROUGH`] entries are looked
/// at, so that a page costs little whatever is asked.
///
/// # Errors
/// What cannot be read, or is not as it was written.
pub(crate) fn page(
    db: &Connection,
    path: &Path,
    query: &HistoryQuery,
    friend: Option<&PublicKey>,
) -> Result<HistoryPage, Error> {
    let order = if query.newest_first { "DESC" } else { "ASC" };
    let after = match (query.newest_first, query.after) {
        (true, 0) => LARGEST,
        (true | false, after) => after.min(LARGEST),
    };
    // The last entry that is looked at, if there are more behind it.
    let beyond = if query.newest_first { "<" } else { ">" };
    let sql = format!(
        "SELECT sequence FROM history WHERE sequence {beyond} ? ORDER BY sequence {order} \
         LIMIT 1 OFFSET {LOOKED_THROUGH}"
    );
    let sqlite = |error| Error::sqlite(path, error);
    let mut statement = db.prepare_cached(&sql).map_err(sqlite)?;
    let bound: Option<u64> = statement
        .query_row([after.cast_signed()], |row| row.get(0).map(i64::cast_unsigned))
        .optional()
        .map_err(sqlite)?;

    let mut condition = format!("sequence {beyond} ?");
    let mut parameters = Values::default().put(&after);
    if let Some(bound) = bound {
        condition += if query.newest_first { " AND sequence > ?" } else { " AND sequence < ?" };
        parameters = parameters.put(&bound);
    }
    condition += " AND time >= ? AND time < ?";
    parameters = parameters.put(&query.since.0.min(LARGEST)).put(&query.until.0.min(LARGEST));
    match (friend, &query.friend) {
        (Some(key), _) => {
            condition += " AND friend = ?";
            parameters = parameters.put(key);
        }
        (None, Some(name)) => {
            condition += " AND friend_name = ?";
            parameters = parameters.put(name);
        }
        (None, None) => {}
    }
    if let Some(currency) = &query.currency {
        condition += " AND currency = ?";
        parameters = parameters.put(currency);
    }
    if query.only_fees {
        condition += " AND kind = 'forwarded_in' AND fee <> '0'";
    }
    condition += &format!(" ORDER BY sequence {order} LIMIT {MAX_PAGE}");
    let mut entries = Vec::new();
    history::TABLE.each((db, path), &condition, parameters, |row| {
        entries.push(history::read(row)?);
        Ok(())
    })?;
    let next = match entries.last() {
        Some(last) if entries.len() == MAX_PAGE => last.sequence,
        // From before the bound, which is still to be looked at.
        Some(_) | None => bound.map_or(0, |bound| {
            if query.newest_first { bound.saturating_add(1) } else { bound.saturating_sub(1) }
        }),
    };
    Ok(HistoryPage { entries, next })
}

/// Drops some of the entries before `before`, oldest first; of each line the last of them stays, and
/// carries the line's balance forward. Says whether there may be more to drop.
///
/// # Errors
/// What cannot be read or written, or is not as it was written.
pub(crate) fn forget(db: &Connection, path: &Path, before: Timestamp) -> Result<bool, Error> {
    let mut last: BTreeMap<(PublicKey, Currency), HistoryEntry> = BTreeMap::new();
    let (mut gone, mut dropped, mut newest) = (Vec::new(), 0, 0);
    let mut reached = false;
    each(db, path, OLDEST, Values::default(), |entry| {
        reached = reached || before <= entry.time;
        if !reached {
            (dropped, newest) = (dropped + 1, entry.sequence);
            let earlier = last.insert((entry.friend, entry.currency.clone()), entry);
            gone.extend(earlier.map(|entry| entry.sequence));
        }
        Ok(())
    })?;
    // What stood for earlier entries of the same lines.
    each(db, path, CARRIED, Values::default().put(&newest), |entry| {
        if last.contains_key(&(entry.friend, entry.currency)) {
            gone.push(entry.sequence);
        }
        Ok(())
    })?;
    let sqlite = |error| Error::sqlite(path, error);
    for sequence in gone {
        history::TABLE.delete(db, Values::default().put(&sequence)).map_err(sqlite)?;
    }
    for mut entry in last.into_values() {
        entry.delta = entry.balance;
        entry.event = HistoryEvent::CarriedForward;
        history::TABLE.put(db, history::write(&entry)).map_err(sqlite)?;
    }
    Ok(dropped == DROPPED_AT_ONCE)
}

fn each(
    db: &Connection,
    path: &Path,
    condition: &str,
    parameters: Values,
    mut each: impl FnMut(HistoryEntry) -> Result<(), String>,
) -> Result<(), Error> {
    history::TABLE
        .each((db, path), condition, parameters, |row| history::read(row).and_then(&mut each))
}

const NEWEST: &str = "sequence = (SELECT max(sequence) FROM history)";
const LAST: &str = "sequence IN (SELECT sequence FROM book_ends)";
const OLDEST: &str = "kind <> 'carried_forward' ORDER BY sequence LIMIT 200";
const CARRIED: &str = "kind = 'carried_forward' AND sequence < ?";
/// As many as [`OLDEST`] gives: what a transaction drops, so that no payment waits long for it.
const DROPPED_AT_ONCE: usize = 200;
/// How many entries are looked at for one page.
const LOOKED_THROUGH: usize = 1_000;
/// The largest number that a column holds with its sign.
const LARGEST: u64 = i64::MAX.cast_unsigned();
