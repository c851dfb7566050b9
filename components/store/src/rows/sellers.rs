//! Invoices of our own and the parts that pay them.

use offset_crypto::{HashResult, InvoiceId};
use offset_funder::state::{InvoiceRow, SetKey, SetRow};
use offset_proto::payment::Invoice;
use rusqlite::Connection;

use super::Read;
use crate::{
    column::{Reading, Values},
    table::Table,
};

pub(crate) mod invoice {
    use super::*;

    /// Those that have not ended: the state's.
    pub(crate) static TABLE: Table = Table::new("invoices", 2, COLUMNS);
    /// Those that have.
    pub(crate) static PAST: Table = Table::past("past_invoices", 2, COLUMNS);

    const COLUMNS: &[&str] = &[
        "created_at",
        "invoice_id",
        "phase",
        "accepted",
        "clears",
        "registered",
        "currency",
        "dest_public_key",
        "dest_payment",
        "description",
        "expires_at",
        "hold_until",
        "nonce",
    ];

    /// Writes a row where it belongs.
    pub(crate) fn put(db: &Connection, id: &InvoiceId, row: &InvoiceRow) -> rusqlite::Result<()> {
        if !row.is_final() {
            return TABLE.put(db, write(id, row));
        }
        if TABLE.remove(db, key(id, row))? == 0 {
            // It may have been written as ended before.
            PAST.delete(db, key(id, row))?;
        }
        PAST.put(db, write(id, row))
    }

    fn key(id: &InvoiceId, row: &InvoiceRow) -> Values {
        Values::default().put(&row.invoice.created_at).put(id)
    }

    pub(crate) fn write(id: &InvoiceId, row: &InvoiceRow) -> Values {
        let InvoiceRow { invoice, phase, accepted, clears } = row;
        let Invoice {
            registered,
            currency,
            dest_public_key,
            dest_payment,
            description,
            created_at,
            expires_at,
            hold_until,
            nonce,
        } = invoice;
        Values::default()
            .put(created_at)
            .put(id)
            .put(phase)
            .put(accepted)
            .put(clears)
            .put(registered)
            .put(currency)
            .put(dest_public_key)
            .put(dest_payment)
            .put(description)
            .put(expires_at)
            .put(hold_until)
            .put(nonce)
    }

    /// A row of [`TABLE`].
    pub(crate) fn read(row: &mut Reading<'_>) -> Read<(InvoiceId, InvoiceRow)> {
        read_any(row).and_then(|found| fits(found, false))
    }

    /// A row of [`PAST`].
    pub(crate) fn read_past(row: &mut Reading<'_>) -> Read<(InvoiceId, InvoiceRow)> {
        read_any(row).and_then(|found| fits(found, true))
    }

    fn fits(found: (InvoiceId, InvoiceRow), ended: bool) -> Read<(InvoiceId, InvoiceRow)> {
        if found.1.is_final() == ended {
            return Ok(found);
        }
        Err("whether it has ended does not fit its phase".to_owned())
    }

    fn read_any(row: &mut Reading<'_>) -> Read<(InvoiceId, InvoiceRow)> {
        let (created_at, id) = (row.take()?, row.take()?);
        let (phase, accepted, clears) = (row.take()?, row.take()?, row.take()?);
        let invoice = Invoice {
            created_at,
            registered: row.take()?,
            currency: row.take()?,
            dest_public_key: row.take()?,
            dest_payment: row.take()?,
            description: row.take()?,
            expires_at: row.take()?,
            hold_until: row.take()?,
            nonce: row.take()?,
        };
        if invoice.id() != id {
            return Err("its terms do not give its id".to_owned());
        }
        Ok((id, InvoiceRow { invoice, phase, accepted, clears }))
    }
}

pub(crate) mod set {
    use super::*;

    pub(crate) static TABLE: Table = Table::new(
        "sets",
        2,
        &[
            "invoice_id",
            "src_hashed_lock",
            "currency",
            "total",
            "spontaneous",
            "since",
            "parts",
            "src_plain_lock",
            "accepted",
            "held",
            "rebuilt",
            "arrived",
        ],
    );

    pub(crate) fn key(key: &SetKey) -> Values {
        let SetKey { invoice_id, src_hashed_lock } = key;
        Values::default().put(invoice_id).put(src_hashed_lock)
    }

    pub(crate) fn write(set: &SetKey, row: &SetRow) -> Values {
        let SetRow {
            currency,
            total,
            spontaneous,
            since,
            parts,
            src_plain_lock,
            accepted,
            held,
            rebuilt,
            arrived,
        } = row;
        key(set)
            .put(currency)
            .put(total)
            .put(spontaneous)
            .put(since)
            .put(parts)
            .put(src_plain_lock)
            .put(accepted)
            .put(held)
            .put(rebuilt)
            .put(arrived)
    }

    pub(crate) fn read(row: &mut Reading<'_>) -> Read<(SetKey, SetRow)> {
        let key = SetKey { invoice_id: row.take()?, src_hashed_lock: row.take()? };
        let set = SetRow {
            currency: row.take()?,
            total: row.take()?,
            spontaneous: row.take()?,
            since: row.take()?,
            parts: row.take()?,
            src_plain_lock: row.take()?,
            accepted: row.take()?,
            held: row.take()?,
            rebuilt: row.take()?,
            arrived: row.take()?,
        };
        Ok((key, set))
    }
}

pub(crate) mod settled {
    use super::*;

    pub(crate) static TABLE: Table = Table::new("settled", 1, &["id"]);

    pub(crate) fn write(id: &HashResult) -> Values {
        Values::default().put(id)
    }

    pub(crate) fn read(row: &mut Reading<'_>) -> Read<HashResult> {
        row.take()
    }
}
