//! A second, read-only connection, for looking up what is no longer part of the state.

use std::path::{Path, PathBuf};

use offset_crypto::{InvoiceId, Nonce, PaymentId, PublicKey};
use offset_funder::state::{InvoicePhase, InvoiceRow, PaymentRow};
use offset_proto::{
    Timestamp,
    app::InvoiceCursor,
    history::{HistoryPage, HistoryQuery},
};
use rusqlite::Connection;

use crate::{Error, books, column::Values, rows};

/// Looks up payments and invoices while another thread writes. It sees what is committed.
#[derive(Debug)]
pub struct Reader {
    db: Connection,
    path: PathBuf,
}

impl Reader {
    /// Reads through this connection.
    pub(crate) const fn new(db: Connection, path: PathBuf) -> Self {
        Self { db, path }
    }

    /// A payment of our own, ended or not.
    ///
    /// # Errors
    /// What cannot be read, or is not as it was written.
    pub fn payment(&self, id: &PaymentId) -> Result<Option<PaymentRow>, Error> {
        payment((&self.db, &self.path), id)
    }

    /// A page of the books: what is committed. `friend` is the key of the friend that is asked for by
    /// a name that it has now.
    ///
    /// # Errors
    /// What cannot be read, or is not as it was written.
    pub fn history(
        &self,
        query: &HistoryQuery,
        friend: Option<&PublicKey>,
    ) -> Result<HistoryPage, Error> {
        books::page(&self.db, &self.path, query, friend)
    }

    /// A registered invoice of our own, ended or not.
    ///
    /// # Errors
    /// What cannot be read, or is not as it was written.
    pub fn invoice(&self, id: &InvoiceId) -> Result<Option<InvoiceRow>, Error> {
        invoice((&self.db, &self.path), id)
    }

    /// A registered invoice of our own by the nonce that makes it unique, ended or not.
    ///
    /// # Errors
    /// What cannot be read, or is not as it was written.
    pub fn invoice_by_nonce(&self, nonce: &Nonce) -> Result<Option<InvoiceRow>, Error> {
        let mut found = None;
        let db = (&self.db, self.path.as_path());
        rows::invoice::TABLE.each(db, "nonce = ?", Values::default().put(nonce), |row| {
            found = Some(rows::invoice::read(row)?.1);
            Ok(())
        })?;
        Ok(found)
    }

    /// Registered invoices of our own in the order in which they were made: at most `most`, those
    /// after the place `after`, and only those in `phase` if one is given.
    ///
    /// # Errors
    /// What cannot be read, or is not as it was written.
    pub fn invoices(
        &self,
        phase: Option<InvoicePhase>,
        after: Option<InvoiceCursor>,
        most: usize,
    ) -> Result<Vec<InvoiceRow>, Error> {
        let begin =
            InvoiceCursor { created_at: Timestamp(0), invoice_id: InvoiceId::from_bytes([0; 32]) };
        let InvoiceCursor { created_at, invoice_id } = after.unwrap_or(begin);
        let place = "(created_at, invoice_id) > (?, ?) ORDER BY created_at, invoice_id LIMIT";
        let (condition, values) = match phase {
            None => (format!("{place} {most}"), Values::default()),
            Some(phase) => (format!("phase = ? AND {place} {most}"), Values::default().put(&phase)),
        };
        let values = values.put(&created_at).put(&invoice_id);
        let mut found = Vec::new();
        rows::invoice::TABLE.each((&self.db, &self.path), &condition, values, |row| {
            found.push(rows::invoice::read(row)?.1);
            Ok(())
        })?;
        Ok(found)
    }
}

pub(crate) fn payment(
    db: (&Connection, &Path),
    id: &PaymentId,
) -> Result<Option<PaymentRow>, Error> {
    let found = rows::payment::TABLE.find(db, Values::default().put(id), rows::payment::read)?;
    Ok(found.map(|(_, row)| row))
}

pub(crate) fn invoice(
    db: (&Connection, &Path),
    id: &InvoiceId,
) -> Result<Option<InvoiceRow>, Error> {
    let found = rows::invoice::TABLE.find(db, Values::default().put(id), rows::invoice::read)?;
    Ok(found.map(|(_, row)| row))
}
