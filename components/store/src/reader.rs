//! A second, read-only connection, for looking up what is no longer part of the state.

use std::path::{Path, PathBuf};

use offset_crypto::{InvoiceId, Nonce, PaymentId, PublicKey};
use offset_funder::{
    Past, PastQuestion, Side,
    state::{InvoicePhase, InvoiceRow, KeptCollect, PaymentRow},
};
use offset_proto::{
    Timestamp,
    app::InvoiceCursor,
    friend::Endings,
    history::{HistoryPage, HistoryQuery},
};
use rusqlite::Connection;

use crate::{
    Error, books,
    column::{Reading, Values},
    rows,
    table::Table,
};

/// Looks up payments and invoices that have ended while another thread writes. It sees what is
/// committed.
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

    /// A payment of our own that has ended.
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

    /// A registered invoice of our own that has ended.
    ///
    /// # Errors
    /// What cannot be read, or is not as it was written.
    pub fn invoice(&self, id: &InvoiceId) -> Result<Option<InvoiceRow>, Error> {
        invoice((&self.db, &self.path), id)
    }

    /// A registered invoice of our own that has ended, by the nonce that makes it unique.
    ///
    /// # Errors
    /// What cannot be read, or is not as it was written.
    pub fn invoice_by_nonce(&self, nonce: &Nonce) -> Result<Option<InvoiceRow>, Error> {
        past_invoice((&self.db, &self.path), "nonce", Values::default().put(nonce))
    }

    /// What became of what these questions name, each with its answer.
    ///
    /// # Errors
    /// What cannot be read, or is not as it was written.
    pub fn past(&self, questions: Vec<PastQuestion>) -> Result<Vec<(PastQuestion, Past)>, Error> {
        if questions.is_empty() {
            return Ok(Vec::new());
        }
        let sqlite = |error| Error::sqlite(&self.path, error);
        // One snapshot costs less than one for each.
        let snapshot = self.db.unchecked_transaction().map_err(sqlite)?;
        let db = (&self.db, self.path.as_path());
        let mut answered = Vec::with_capacity(questions.len());
        for question in questions {
            let id = Values::default().put(&question.settled_id());
            let settled = rows::settled::TABLE.find(db, id, rows::settled::read)?;
            let ended = invoice(db, &question.invoice_id)?;
            let past = question.answer(settled.is_some(), ended.as_ref());
            answered.push((question, past));
        }
        snapshot.commit().map_err(sqlite)?;
        Ok(answered)
    }

    /// Those of these requests on a friend's line that were collected.
    ///
    /// # Errors
    /// What cannot be read, or is not as it was written.
    pub fn collected(
        &self,
        friend: &PublicKey,
        sender: Side,
        question: &Endings,
    ) -> Result<Vec<KeptCollect>, Error> {
        let mut found = Vec::new();
        for id in &question.request_ids {
            let key = rows::collected::line(friend, &question.currency, sender).put(id);
            let db = (&self.db, self.path.as_path());
            found.extend(rows::collected::TABLE.find(db, key, rows::collected::read)?);
        }
        Ok(found)
    }

    /// Registered invoices of our own in the order in which they were made: at most `most`, those
    /// after the place `after`, and only those in `phase` if one is given. The internal invoices of
    /// clearings are not among them.
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
        let sqlite = |error| Error::sqlite(&self.path, error);
        // One snapshot, so that an invoice that ends just now is found once.
        let snapshot = self.db.unchecked_transaction().map_err(sqlite)?;
        let condition = format!(
            "phase = ? AND clears IS NULL AND created_at >= ? AND (created_at, invoice_id) > (?, ?) \
             ORDER BY created_at, invoice_id LIMIT {most}"
        );
        let mut found = Vec::new();
        for (source, read, of) in SOURCES {
            for wanted in of.iter().filter(|of| phase.is_none_or(|phase| phase == **of)) {
                let values = Values::default().put(wanted).put(&created_at).put(&created_at);
                let values = values.put(&invoice_id);
                source.each((&self.db, &self.path), &condition, values, |row| {
                    found.push(read(row)?);
                    Ok(())
                })?;
            }
        }
        snapshot.commit().map_err(sqlite)?;
        found.sort_by_key(|(id, row)| (row.invoice.created_at, *id));
        found.truncate(most);
        Ok(found.into_iter().map(|(_, row)| row).collect())
    }
}

/// Where invoices of each phase are, in their order by time.
static SOURCES: &[(&Table, ReadInvoice, &[InvoicePhase])] = &[
    (&rows::invoice::TABLE, rows::invoice::read, &[InvoicePhase::Open, InvoicePhase::Committed]),
    (
        &rows::invoice::PAST,
        rows::invoice::read_past,
        &[InvoicePhase::Collected, InvoicePhase::Cancelled, InvoicePhase::Expired],
    ),
];

type ReadInvoice = fn(&mut Reading<'_>) -> Result<(InvoiceId, InvoiceRow), String>;

pub(crate) fn payment(
    db: (&Connection, &Path),
    id: &PaymentId,
) -> Result<Option<PaymentRow>, Error> {
    let key = Values::default().put(id);
    let found = rows::payment::PAST.find(db, key, rows::payment::read_past)?;
    Ok(found.map(|(_, row)| row))
}

pub(crate) fn invoice(
    db: (&Connection, &Path),
    id: &InvoiceId,
) -> Result<Option<InvoiceRow>, Error> {
    past_invoice(db, "invoice_id", Values::default().put(id))
}

fn past_invoice(
    db: (&Connection, &Path),
    column: &str,
    value: Values,
) -> Result<Option<InvoiceRow>, Error> {
    let mut found = None;
    let condition = format!("{column} = ? ORDER BY rowid DESC LIMIT 1");
    rows::invoice::PAST.each(db, &condition, value, |row| {
        found = Some(rows::invoice::read_past(row)?.1);
        Ok(())
    })?;
    Ok(found)
}
