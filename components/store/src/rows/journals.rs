//! The journal of events and what applications spent.

use offset_crypto::{InvoiceId, PaymentId};
use offset_funder::state::{JournalRow, SpentKey};
use offset_proto::Credits;

use super::Read;
use crate::{
    column::{Reading, Values},
    table::Table,
};

pub(crate) mod journal {
    use super::*;

    pub(crate) static TABLE: Table =
        Table::new("journal", 1, &["number", "payment_id", "invoice_id"]);

    pub(crate) fn write(number: u64, row: &JournalRow) -> Values {
        let (payment, invoice) = match row {
            JournalRow::Payment(id) => (Some(id), None),
            JournalRow::Invoice(id) => (None, Some(id)),
        };
        Values::default().put(&number).put_option(payment).put_option(invoice)
    }

    pub(crate) fn read(row: &mut Reading<'_>) -> Read<(u64, JournalRow)> {
        let number = row.take()?;
        let about = (row.take::<Option<PaymentId>>()?, row.take::<Option<InvoiceId>>()?);
        match about {
            (Some(id), None) => Ok((number, JournalRow::Payment(id))),
            (None, Some(id)) => Ok((number, JournalRow::Invoice(id))),
            (Some(_), Some(_)) | (None, None) => {
                Err("it is about neither one payment nor one invoice".to_owned())
            }
        }
    }
}

pub(crate) mod spent {
    use super::*;

    pub(crate) static TABLE: Table = Table::new("spent", 3, &["app", "currency", "hour", "amount"]);

    pub(crate) fn key(key: &SpentKey) -> Values {
        Values::default().put(&key.app).put(&key.currency).put(&key.hour)
    }

    pub(crate) fn write(key: &SpentKey, amount: &Credits) -> Values {
        self::key(key).put(amount)
    }

    pub(crate) fn read(row: &mut Reading<'_>) -> Read<(SpentKey, Credits)> {
        let key = SpentKey { app: row.take()?, currency: row.take()?, hour: row.take()? };
        Ok((key, row.take()?))
    }
}
