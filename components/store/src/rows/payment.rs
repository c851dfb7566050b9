//! Payments of our own.

use offset_crypto::PaymentId;
use offset_funder::state::{PaymentRow, Phase};
use offset_proto::{Credits, app::PaymentFailure, payment::Receipt};

use super::Read;
use crate::{
    column::{Reading, Values},
    later::Target,
    table::Table,
};

/// Those that have not ended: the state's.
pub(crate) static TABLE: Table = Table::new("payments", 1, COLUMNS);
/// Those that have.
pub(crate) static PAST: Table = Table::past("past_payments", 1, COLUMNS);

const COLUMNS: &[&str] = &[
    "payment_id",
    "phase",
    "receipt",
    "fee",
    "failure",
    "app",
    "contents",
    "invoice_id",
    "clearing",
    "spontaneous",
    "destination",
    "currency",
    "amount",
    "expires_at",
    "max_fee",
    "created_at",
    "deadline",
    "note",
    "max_parts",
    "hold_seconds",
    "by_commit",
    "exclude",
    "searching_since",
    "attempts",
    "last_failure",
];

/// Writes a row where it belongs.
pub(crate) fn put(to: &mut Target<'_>, id: &PaymentId, row: &PaymentRow) -> rusqlite::Result<()> {
    if !row.is_ended() {
        return to.put(&TABLE, write(id, row));
    }
    let key = || Values::default().put(id);
    if !to.remove(&TABLE, key())? {
        // It may have been written as ended before.
        PAST.delete(to.db, key())?;
    }
    PAST.put(to.db, write(id, row))
}

pub(crate) fn write(id: &PaymentId, row: &PaymentRow) -> Values {
    let PaymentRow {
        app,
        contents,
        invoice_id,
        clearing,
        spontaneous,
        destination,
        currency,
        amount,
        expires_at,
        max_fee,
        created_at,
        deadline,
        note,
        max_parts,
        hold_seconds,
        by_commit,
        exclude,
        searching_since,
        attempts,
        last_failure,
        phase,
    } = row;
    write_phase(Values::default().put(id), phase)
        .put(app)
        .put(contents)
        .put(invoice_id)
        .put(clearing)
        .put(spontaneous)
        .put(destination)
        .put(currency)
        .put(amount)
        .put(expires_at)
        .put(max_fee)
        .put(created_at)
        .put(deadline)
        .put(note)
        .put(max_parts)
        .put(hold_seconds)
        .put(by_commit)
        .put(exclude)
        .put(searching_since)
        .put(attempts)
        .put(last_failure)
}

/// A row of [`TABLE`].
pub(crate) fn read(row: &mut Reading<'_>) -> Read<(PaymentId, PaymentRow)> {
    read_any(row).and_then(|found| fits(found, false))
}

/// A row of [`PAST`].
pub(crate) fn read_past(row: &mut Reading<'_>) -> Read<(PaymentId, PaymentRow)> {
    read_any(row).and_then(|found| fits(found, true))
}

fn fits(found: (PaymentId, PaymentRow), ended: bool) -> Read<(PaymentId, PaymentRow)> {
    if found.1.is_ended() == ended {
        return Ok(found);
    }
    Err("whether it has ended does not fit its phase and parts".to_owned())
}

fn read_any(row: &mut Reading<'_>) -> Read<(PaymentId, PaymentRow)> {
    let id = row.take()?;
    let phase = read_phase(row)?;
    let payment = PaymentRow {
        phase,
        app: row.take()?,
        contents: row.take()?,
        invoice_id: row.take()?,
        clearing: row.take()?,
        spontaneous: row.take()?,
        destination: row.take()?,
        currency: row.take()?,
        amount: row.take()?,
        expires_at: row.take()?,
        max_fee: row.take()?,
        created_at: row.take()?,
        deadline: row.take()?,
        note: row.take()?,
        max_parts: row.take()?,
        hold_seconds: row.take()?,
        by_commit: row.take()?,
        exclude: row.take()?,
        searching_since: row.take()?,
        attempts: row.take()?,
        last_failure: row.take()?,
    };
    Ok((id, payment))
}

fn write_phase(values: Values, phase: &Phase) -> Values {
    let (word, paid, failure) = match phase {
        Phase::Routing => ("routing", None, None),
        Phase::Requesting => ("requesting", None, None),
        Phase::Complete => ("complete", None, None),
        Phase::Committed => ("committed", None, None),
        Phase::Succeeded { receipt, fee } => ("succeeded", Some((receipt, fee)), None),
        Phase::Failed(failure) => ("failed", None, Some(failure)),
        Phase::Cancelled => ("cancelled", None, None),
        Phase::Unknown => ("unknown", None, None),
    };
    values
        .put_word(word)
        .put_option(paid.map(|(receipt, _)| receipt))
        .put_option(paid.map(|(_, fee)| fee))
        .put_option(failure)
}

fn read_phase(row: &mut Reading<'_>) -> Read<Phase> {
    let word: String = row.take()?;
    let (receipt, fee) = (row.take::<Option<Box<Receipt>>>()?, row.take::<Option<Credits>>()?);
    let failure = row.take::<Option<PaymentFailure>>()?;
    Ok(match (word.as_str(), receipt, fee, failure) {
        ("routing", None, None, None) => Phase::Routing,
        ("requesting", None, None, None) => Phase::Requesting,
        ("complete", None, None, None) => Phase::Complete,
        ("committed", None, None, None) => Phase::Committed,
        ("succeeded", Some(receipt), Some(fee), None) => Phase::Succeeded { receipt, fee },
        ("failed", None, None, Some(failure)) => Phase::Failed(failure),
        ("cancelled", None, None, None) => Phase::Cancelled,
        ("unknown", None, None, None) => Phase::Unknown,
        _ => return Err(format!("its phase \"{word}\" does not fit its receipt or failure")),
    })
}
