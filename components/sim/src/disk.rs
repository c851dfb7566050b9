//! A model of a node's store: batches wait for their sync, in order; a crash loses those that were
//! not synced, a failed commit stops the process.

use std::collections::{BTreeMap, VecDeque};

use offset_crypto::{InvoiceId, PaymentId, PublicKey, RequestId};
use offset_funder::{
    Change, Past, PastQuestion, Side,
    api::{BatchNumber, Effect},
    state::{InvoiceRow, KeptCollect, PaymentRow, State},
};
use offset_proto::Currency;

/// What survives a process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    pub(crate) state: State,
    /// Ended payments and invoices, which leave the state.
    pub(crate) payments: BTreeMap<PaymentId, PaymentRow>,
    pub(crate) invoices: BTreeMap<InvoiceId, InvoiceRow>,
    /// Requests that were collected.
    pub(crate) collected: BTreeMap<(PublicKey, Currency, Side, RequestId), KeptCollect>,
    pub(crate) index_epoch: u64,
    /// Until then every commit fails.
    pub(crate) failing_until: u64,
}

/// A batch that was handed to the disk.
#[derive(Debug)]
pub(crate) struct Writing {
    pub(crate) number: BatchNumber,
    pub(crate) changes: Vec<Change>,
    pub(crate) effects: Vec<Effect>,
}

impl Disk {
    /// Makes a batch durable.
    pub(crate) fn commit(&mut self, local: PublicKey, changes: &[Change]) {
        for change in changes {
            self.state.apply(local, change).expect("a change fits the state it was made for");
            if let Change::Payment(id, row) = change
                && row.phase.is_final()
            {
                self.payments.insert(*id, row.clone());
            } else if let Change::Invoice(id, row) = change
                && row.is_final()
            {
                self.invoices.insert(*id, row.clone());
            } else if let Change::Collected(row) = change {
                let (currency, id) = (row.collected.currency.clone(), row.collected.request_id);
                self.collected.insert((row.friend, currency, row.sender, id), (**row).clone());
            }
        }
    }
}

impl Disk {
    /// What became of what these questions name, as far as it is durable.
    pub(crate) fn past(&self, questions: Vec<PastQuestion>) -> Vec<(PastQuestion, Past)> {
        let answer = |question: PastQuestion| {
            let is_settled = self.state.settled.contains(&question.settled_id());
            let past = question.answer(is_settled, self.invoices.get(&question.invoice_id));
            (question, past)
        };
        questions.into_iter().map(answer).collect()
    }
}

/// An ended payment, on the disk or on its way there.
pub(crate) fn ended_payment(
    disk: &Disk,
    writing: &VecDeque<Writing>,
    id: &PaymentId,
) -> Option<PaymentRow> {
    let changes = writing.iter().rev().flat_map(|batch| batch.changes.iter().rev());
    let mut recent = changes.filter_map(|change| match change {
        Change::Payment(found, row) if found == id && row.phase.is_final() => Some(row),
        _ => None,
    });
    recent.next().cloned().or_else(|| disk.payments.get(id).cloned())
}

/// An ended invoice that has left the state, on the disk or on its way there.
pub(crate) fn ended_invoice(
    disk: &Disk,
    writing: &VecDeque<Writing>,
    state: &State,
    id: &InvoiceId,
) -> Option<InvoiceRow> {
    if state.invoices.contains_key(id) {
        return None;
    }
    let changes = writing.iter().rev().flat_map(|batch| batch.changes.iter().rev());
    let mut recent = changes.filter_map(|change| match change {
        Change::Invoice(found, row) if found == id && row.is_final() => Some(row),
        _ => None,
    });
    recent.next().cloned().or_else(|| disk.invoices.get(id).cloned())
}
