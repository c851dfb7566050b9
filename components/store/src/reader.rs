//! A second, read-only connection, for looking up what is no longer part of the state.

use std::path::{Path, PathBuf};

use offset_crypto::{InvoiceId, PaymentId, PublicKey};
use offset_funder::state::{InvoiceRow, PaymentRow};
use offset_proto::history::{HistoryPage, HistoryQuery};
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
