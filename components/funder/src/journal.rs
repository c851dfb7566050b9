//! The journal: every move of a payment or invoice of ours under a number, so that an application
//! that remembers the last number it has seen misses none (reliability, D7).
//!
//! An entry is written in the batch of what it tells, and leaves the node after it. It names a
//! payment or invoice; how that stands is looked up when the entry is told.

use offset_proto::app::{
    AppError, AppReply, ErrorCode, EventPage, JournalEntry, JournalEvent, MAX_EVENTS,
};

use crate::{
    api::{Effect, Ended},
    buyer,
    destination::app_error,
    dirty::Key,
    funder::Funder,
    state::JournalRow,
};

impl Funder {
    /// Writes an entry and tells it.
    pub(crate) fn journal(&mut self, entry: JournalEntry) {
        let number = self.last_event().saturating_add(1);
        let row = match &entry {
            JournalEntry::Payment(report) => JournalRow::Payment(report.payment_id),
            JournalEntry::Invoice(report) => JournalRow::Invoice(report.invoice.id()),
        };
        self.state.journal.insert(number, row);
        self.dirty.mark(Key::Journal(number));
        self.effects.push(Effect::Journal(JournalEvent { number, entry }));
    }

    /// The newest number; 0 when there is none.
    pub(crate) fn last_event(&self) -> u64 {
        self.state.journal.last_key_value().map_or(0, |(number, _)| *number)
    }

    /// What the page of the journal after this number is about; see
    /// [`Command::Events`](crate::api::Command::Events).
    #[must_use]
    pub fn journal_page(&self, after: u64) -> Vec<JournalRow> {
        self.page(after).map(|(_, row)| row).collect()
    }

    fn page(&self, after: u64) -> impl Iterator<Item = (u64, JournalRow)> {
        let rows = self.state.journal.range(after.saturating_add(1)..);
        rows.take(MAX_EVENTS).map(|(number, row)| (*number, *row))
    }

    /// The page of the journal after this number.
    pub(crate) fn events_after(&self, after: u64, ended: &Ended) -> Result<AppReply, AppError> {
        let last = self.last_event();
        let first = self.state.journal.first_key_value().map_or(1, |(number, _)| *number);
        if last < after {
            return Err(app_error(
                ErrorCode::Invalid,
                &format!(
                    "the journal of this node ends at {last}, before {after}: it is another node, \
                     or its database was restored; begin again without a number"
                ),
            ));
        }
        if after.saturating_add(1) < first {
            return Err(app_error(
                ErrorCode::NotFound,
                &format!(
                    "the journal of this node begins at {first}, what came after {after} is no \
                     longer in it; look at the history, and begin again without a number"
                ),
            ));
        }
        let mut up_to = after;
        let mut events = Vec::new();
        for (number, row) in self.page(after) {
            up_to = number;
            let entry = self.entry(row, ended);
            events.extend(entry.map(|entry| JournalEvent { number, entry }));
        }
        Ok(AppReply::Events(EventPage { events, up_to, last }))
    }

    /// What an entry is about, as it stands.
    fn entry(&self, row: JournalRow, ended: &Ended) -> Option<JournalEntry> {
        match row {
            JournalRow::Payment(id) => {
                let row = self.state.payments.get(&id).or_else(|| ended.payments.get(&id))?;
                Some(JournalEntry::Payment(Box::new(buyer::report(id, row))))
            }
            JournalRow::Invoice(id) => {
                let row = self.state.invoices.get(&id).or_else(|| ended.invoices.get(&id))?;
                Some(JournalEntry::Invoice(Box::new(self.invoice_report(row))))
            }
        }
    }

    /// Forgets the oldest entries, some at a time.
    pub(crate) fn forget_old_entries(&mut self) {
        let most = self.config.journal_entries;
        if self.state.journal.len() < most.saturating_add(most / 16).max(1) {
            return;
        }
        let mut up_to = None;
        while most < self.state.journal.len() {
            up_to = self.state.journal.pop_first().map(|(number, _)| number);
        }
        if let Some(up_to) = up_to {
            self.dirty.mark(Key::ForgetJournal(up_to));
        }
    }
}
