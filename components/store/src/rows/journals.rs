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

    pub(crate) static TABLE: Table = Table::new("journal", 1, &["first", "entries"]);

    /// Entries in a row, from a number on.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) struct Run {
        pub(crate) first: u64,
        pub(crate) entries: Vec<JournalRow>,
    }

    /// How many entries share a row: it is written again for every batch that adds to it, so it has to
    /// stay small, and a node that starts reads them all.
    const MOST: usize = 64;

    impl Run {
        /// The run that this entry begins.
        pub(crate) fn beginning(number: u64, row: JournalRow) -> Self {
            Self { first: number, entries: vec![row] }
        }

        /// Whether the entry with this number goes into the same row.
        pub(crate) fn takes(&self, number: u64) -> bool {
            self.entries.len() < MOST && self.after() == Some(number)
        }

        /// The number after those of its entries.
        fn after(&self) -> Option<u64> {
            self.first.checked_add(u64::try_from(self.entries.len()).ok()?)
        }

        /// What is left of it without the entries up to this number.
        pub(crate) fn cut(mut self, up_to: u64) -> Option<Self> {
            let forgotten = up_to.checked_add(1)?.saturating_sub(self.first);
            let forgotten = usize::try_from(forgotten).unwrap_or(usize::MAX);
            if self.entries.len() <= forgotten {
                return None;
            }
            self.entries.drain(..forgotten);
            self.first = self.first.checked_add(u64::try_from(forgotten).ok()?)?;
            Some(self)
        }

        /// Its entries with their numbers.
        pub(crate) fn numbered(self) -> impl Iterator<Item = (u64, JournalRow)> {
            (self.first..).zip(self.entries)
        }
    }

    pub(crate) fn key(first: u64) -> Values {
        Values::default().put(&first)
    }

    pub(crate) fn write(run: &Run) -> Values {
        let mut bytes = Vec::with_capacity(run.entries.len().saturating_mul(1 + InvoiceId::LEN));
        for entry in &run.entries {
            match entry {
                JournalRow::Payment(id) => {
                    bytes.push(PAYMENT);
                    bytes.extend_from_slice(id.as_bytes());
                }
                JournalRow::Invoice(id) => {
                    bytes.push(INVOICE);
                    bytes.extend_from_slice(id.as_bytes());
                }
            }
        }
        key(run.first).put_blob(&bytes)
    }

    pub(crate) fn read(row: &mut Reading<'_>) -> Read<Run> {
        let first = row.take()?;
        let bytes = row.take_blob()?;
        let mut run = Run { first, entries: Vec::with_capacity(MOST) };
        let mut rest = bytes;
        while let Some((kind, after)) = rest.split_first() {
            let length = match *kind {
                PAYMENT => PaymentId::LEN,
                INVOICE => InvoiceId::LEN,
                other => return Err(format!("an entry is of kind {other}, which there is not")),
            };
            let (id, next) = after.split_at_checked(length).ok_or("an entry is cut off")?;
            let wrong = |_| "an id has another length".to_owned();
            run.entries.push(match *kind {
                PAYMENT => JournalRow::Payment(PaymentId::try_from(id).map_err(wrong)?),
                _ => JournalRow::Invoice(InvoiceId::try_from(id).map_err(wrong)?),
            });
            rest = next;
        }
        if run.entries.is_empty() || run.after().is_none() {
            return Err("it has no entries, or their numbers are out of range".to_owned());
        }
        Ok(run)
    }

    const PAYMENT: u8 = 1;
    const INVOICE: u8 = 2;
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
