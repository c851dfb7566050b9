//! Our own registered invoices: what the seller asks of them, and their times (protocol, section 7).
//!
//! ```text
//!   open ----- commit ----> committed ----- all parts collected ----> collected
//!    |  \                       |
//!    |   +-- expiry --> expired  | (a held one, before the first collect; or all lost)
//!    +------ cancel ------------>+--> cancelled
//! ```
//!
//! *Requested* and *complete*, which applications see besides, are an open invoice whose sets say
//! that some or all of the amount is reserved.

use offset_crypto::{InvoiceId, Nonce};
use offset_proto::{
    Name, Timestamp,
    app::{
        AppError, AppReply, CreateInvoice, ErrorCode, Hold, InvoiceReport, InvoiceStatus,
        JournalEntry,
    },
    friend::CancelReason,
    payment::{Commit, Invoice},
};

use crate::{
    destination::{Hindrance, app_error},
    dirty::Key,
    funder::{Funder, Timer},
    state::{InvoicePhase, InvoiceRow, SetKey},
};

impl Funder {
    /// The invoice with this nonce, if it has not ended.
    #[must_use]
    pub fn invoice_by_nonce(&self, nonce: &Nonce) -> Option<InvoiceId> {
        self.invoice_nonces.get(nonce).copied()
    }

    /// An invoice as applications see it now: `row` is what is stored of it.
    #[must_use]
    pub fn invoice_report(&self, row: &InvoiceRow) -> InvoiceReport {
        let id = row.invoice.id();
        let row = self.state.invoices.get(&id).unwrap_or(row);
        let sets = self.sets_of(id);
        let sets = || sets.iter().filter_map(|key| self.state.sets.get(key));
        let status = match row.phase {
            InvoicePhase::Open if sets().any(|set| self.sum_of(set, |_| true) == set.total) => {
                InvoiceStatus::Complete
            }
            InvoicePhase::Open if sets().next().is_some() => InvoiceStatus::Requested,
            InvoicePhase::Open => InvoiceStatus::Open,
            InvoicePhase::Committed => InvoiceStatus::Committed,
            InvoicePhase::Collected => InvoiceStatus::Collected,
            InvoicePhase::Cancelled => InvoiceStatus::Cancelled,
            InvoicePhase::Expired => InvoiceStatus::Expired,
        };
        let held = sets().any(|set| set.held);
        InvoiceReport { invoice: row.invoice.clone(), status, held }
    }

    /// Makes an invoice, or gives the one that was made with this nonce; `ended` is what the store
    /// keeps of it.
    pub(crate) fn create_invoice(
        &mut self,
        now: Timestamp,
        create: CreateInvoice,
        ended: Option<&InvoiceRow>,
    ) -> Result<AppReply, AppError> {
        let known = self.invoice_nonces.get(&create.nonce);
        if let Some(row) = known.and_then(|id| self.state.invoices.get(id)).or(ended) {
            if !self.made(row, &create) {
                return Err(app_error(
                    ErrorCode::AlreadyExists,
                    "this nonce was used for another invoice; choose a new random nonce",
                ));
            }
            return Ok(AppReply::Invoice(Box::new(self.invoice_report(row))));
        }
        if self.config.max_invoices <= self.state.invoices.len() {
            return Err(app_error(
                ErrorCode::Busy,
                "too many invoices are open; cancel some first",
            ));
        }
        let currency =
            create.currency.unwrap_or_else(|| self.state.settings.default_currency.clone());
        let expires_at = now.plus_ms(create.expires_in_ms.unwrap_or(self.config.invoice_expiry_ms));
        let invoice = Invoice {
            registered: true,
            currency,
            dest_public_key: self.local,
            dest_payment: create.amount,
            description: create.description,
            created_at: now,
            expires_at,
            hold_until: self.hold_ms(create.hold).map(|ms| expires_at.plus_ms(ms)),
            nonce: create.nonce,
        };
        invoice.check().map_err(|wrong| app_error(ErrorCode::Invalid, &wrong.to_string()))?;
        let id = invoice.id();
        self.timers.insert((invoice.expires_at.plus_ms(1), Timer::Invoice(id)));
        self.invoice_nonces.insert(invoice.nonce, id);
        let row = InvoiceRow { invoice, clears: None, phase: InvoicePhase::Open, accepted: None };
        let report = self.invoice_report(&row);
        self.state.invoices.insert(id, row);
        self.dirty.mark(Key::Invoice(id));
        Ok(AppReply::Invoice(Box::new(report)))
    }

    /// Whether a request made this invoice. What it left to the node is as the node chose.
    fn made(&self, row: &InvoiceRow, create: &CreateInvoice) -> bool {
        let invoice = &row.invoice;
        let lived_ms = invoice.expires_at.ms_since(invoice.created_at);
        let held_ms = invoice.hold_until.map(|until| until.ms_since(invoice.expires_at));
        create.amount == invoice.dest_payment
            && create.description == invoice.description
            && create.currency.as_ref().is_none_or(|currency| *currency == invoice.currency)
            && create.expires_in_ms.is_none_or(|ms| ms == lived_ms)
            && self.hold_ms(create.hold) == held_ms
    }

    fn hold_ms(&self, hold: Hold) -> Option<u64> {
        match hold {
            Hold::None => None,
            Hold::Standard => Some(self.config.invoice_hold_ms),
            Hold::ForMs(ms) => Some(ms),
        }
    }

    /// Ends an invoice without payment, or gives back what is held for it.
    pub(crate) fn cancel_invoice(
        &mut self,
        now: Timestamp,
        id: InvoiceId,
        ended: Option<&InvoiceRow>,
    ) -> Result<AppReply, AppError> {
        let held = self.held_set(id);
        match self.sold(id, ended).map(|row| row.phase) {
            None => Err(unknown_invoice()),
            Some(InvoicePhase::Cancelled) => Ok(AppReply::Done),
            Some(InvoicePhase::Open) => {
                for key in self.sets_of(id) {
                    self.cancel_set(now, key, CancelReason::Declined);
                }
                self.invoice_moved(id, InvoicePhase::Cancelled);
                Ok(AppReply::Done)
            }
            Some(InvoicePhase::Committed) if let Some(key) = held => {
                self.give_back(now, key, CancelReason::Declined);
                self.invoice_moved(id, InvoicePhase::Cancelled);
                Ok(AppReply::Done)
            }
            Some(InvoicePhase::Expired) => {
                Err(app_error(ErrorCode::Refused, "this invoice has expired already"))
            }
            Some(InvoicePhase::Committed | InvoicePhase::Collected) => Err(app_error(
                ErrorCode::Refused,
                "this invoice is paid and cannot be cancelled: pay the buyer back instead",
            )),
        }
    }

    /// The buyer's commit, handed to the seller: it is the same as one that came over the line.
    pub(crate) fn commit_invoice(
        &mut self,
        now: Timestamp,
        commit: &Commit,
        ended: Option<&InvoiceRow>,
    ) -> Result<AppReply, AppError> {
        let id = commit.invoice_id;
        let row = self.sold(id, ended).ok_or_else(unknown_invoice)?;
        if let Err(reason) = commit.verify(&row.invoice) {
            let message = format!("this commit does not fit the invoice: {reason}");
            return Err(app_error(ErrorCode::Invalid, &message));
        }
        let key = SetKey { invoice_id: id, src_hashed_lock: commit.src_plain_lock.hashed() };
        let refused = |message| Err(app_error(ErrorCode::Refused, message));
        match (row.phase, row.accepted) {
            (InvoicePhase::Cancelled, Some(accepted)) if accepted == key.src_hashed_lock => {
                return refused(
                    "this commit was accepted, then the payment was given back, or ended with the \
                     friendship that carried it",
                );
            }
            (InvoicePhase::Committed | InvoicePhase::Collected, Some(accepted))
                if accepted == key.src_hashed_lock =>
            {
                return Ok(AppReply::Invoice(Box::new(self.invoice_report(row))));
            }
            (_, Some(_)) | (InvoicePhase::Committed | InvoicePhase::Collected, None) => {
                return refused("this invoice was paid by another commit; this one pays nothing");
            }
            (InvoicePhase::Cancelled, None) => {
                return refused("this invoice was cancelled; the commit pays nothing");
            }
            (InvoicePhase::Expired, None) => {
                return refused("this invoice has expired; the commit pays nothing");
            }
            (InvoicePhase::Open, None) => {}
        }
        let Some(set) = self.state.sets.get_mut(&key) else {
            return refused(NOTHING_RESERVED);
        };
        if set.src_plain_lock.is_none() {
            // From here on it is as if it had come over the line: what hinders it now may pass.
            set.src_plain_lock = Some(commit.src_plain_lock);
            self.dirty.mark(Key::Set(key));
        }
        self.accept(now, key);
        match self.state.sets.get(&key) {
            Some(set) if !set.accepted => match self.hindrance(now, key, set) {
                Some(Hindrance::FriendAway) => Err(app_error(ErrorCode::NotYet, NOT_YET)),
                Some(Hindrance::Ended) => {
                    refused("this invoice has expired; the commit pays nothing")
                }
                Some(Hindrance::Incomplete) | None => refused(NOTHING_RESERVED),
            },
            Some(_) | None => self.invoice_status(id, ended),
        }
    }

    /// Ends the hold of an invoice, so that it is collected.
    pub(crate) fn collect_invoice(
        &mut self,
        now: Timestamp,
        id: InvoiceId,
        ended: Option<&InvoiceRow>,
    ) -> Result<AppReply, AppError> {
        let refused = |message: &str| Err(app_error(ErrorCode::Refused, message));
        let row = self.sold(id, ended);
        let complete =
            row.is_some_and(|row| self.invoice_report(row).status == InvoiceStatus::Complete);
        match row.map(|row| row.phase) {
            None => Err(unknown_invoice()),
            Some(InvoicePhase::Committed) => match self.cut_off(id) {
                Some(name) => refused(&format!(
                    "friend {name}, over whom this payment or a part of it comes, has removed this \
                     node, so that cannot be collected: ask to be added again, or give the payment \
                     back with `stctrl seller cancel-invoice`"
                )),
                None => {
                    self.end_hold(now, id);
                    Ok(AppReply::Done)
                }
            },
            Some(InvoicePhase::Collected) => Ok(AppReply::Done),
            // The buyer may have committed, and the commit be on its way.
            Some(InvoicePhase::Open) if complete => Err(app_error(
                ErrorCode::NotYet,
                "all of the amount is reserved for this invoice, but no commit has come yet; ask \
                 again when it has, see `invoice-status`",
            )),
            Some(InvoicePhase::Open) => {
                refused("nobody has committed to pay this invoice yet; wait for the commit")
            }
            Some(InvoicePhase::Cancelled) => {
                refused("this invoice was cancelled; there is nothing to collect")
            }
            Some(InvoicePhase::Expired) => {
                refused("this invoice has expired; there is nothing to collect")
            }
        }
    }

    /// How an invoice stands.
    pub(crate) fn invoice_status(
        &self,
        id: InvoiceId,
        ended: Option<&InvoiceRow>,
    ) -> Result<AppReply, AppError> {
        let row = self.sold(id, ended).ok_or_else(unknown_invoice)?;
        Ok(AppReply::Invoice(Box::new(self.invoice_report(row))))
    }

    /// An invoice that applications may name. That of a clearing belongs to the clearing alone: no
    /// seller's command knows it.
    fn sold<'a>(&'a self, id: InvoiceId, ended: Option<&'a InvoiceRow>) -> Option<&'a InvoiceRow> {
        self.state.invoices.get(&id).or(ended).filter(|row| row.clears.is_none())
    }

    /// An invoice reached its expiry, or the end of its hold.
    pub(crate) fn invoice_timer(&mut self, now: Timestamp, id: InvoiceId) {
        match self.state.invoices.get(&id).map(|row| row.phase) {
            Some(InvoicePhase::Open) => {
                for key in self.sets_of(id) {
                    self.cancel_set(now, key, CancelReason::Expired);
                }
                self.invoice_moved(id, InvoicePhase::Expired);
            }
            Some(InvoicePhase::Committed) => self.end_hold(now, id),
            Some(InvoicePhase::Collected | InvoicePhase::Cancelled | InvoicePhase::Expired)
            | None => {}
        }
    }

    fn end_hold(&mut self, now: Timestamp, id: InvoiceId) {
        if let Some(key) = self.held_set(id) {
            self.collect_set(now, key);
            self.forget_invoice_timer(id);
            self.tell_invoice(id);
        }
    }

    /// The friend that carries a part of what is held, and has removed us: only if it adds us again
    /// can the part be collected.
    fn cut_off(&self, id: InvoiceId) -> Option<&Name> {
        let set = self.state.sets.get(&self.held_set(id)?)?;
        let mut friends = set.parts.iter().filter_map(|(friend, _)| self.friend(friend));
        friends.find(|friend| friend.channel.removed_by_friend).map(|friend| &friend.info.name)
    }

    fn held_set(&self, id: InvoiceId) -> Option<SetKey> {
        let held = |key: &SetKey| self.state.sets.get(key).is_some_and(|set| set.held);
        self.sets_of(id).into_iter().find(held)
    }

    /// An invoice is somewhere else now: it is written, and applications hear of it.
    pub(crate) fn invoice_moved(&mut self, id: InvoiceId, phase: InvoicePhase) {
        self.forget_invoice_timer(id);
        let Some(row) = self.state.invoices.get_mut(&id) else {
            return;
        };
        row.phase = phase;
        self.dirty.mark(Key::Invoice(id));
        self.tell_invoice(id);
    }

    fn tell_invoice(&mut self, id: InvoiceId) {
        // The invoice of a clearing is nobody's business.
        if let Some(row) = self.state.invoices.get(&id).filter(|row| row.clears.is_none()) {
            let report = self.invoice_report(row);
            self.journal(JournalEntry::Invoice(Box::new(report)));
        }
    }

    fn forget_invoice_timer(&mut self, id: InvoiceId) {
        if let Some(row) = self.state.invoices.get(&id) {
            let expiry = (row.invoice.expires_at.plus_ms(1), Timer::Invoice(id));
            let hold = row.invoice.hold_until.map(|until| (until, Timer::Invoice(id)));
            self.timers.remove(&expiry);
            if let Some(hold) = hold {
                self.timers.remove(&hold);
            }
        }
    }

    /// The invoices' times and nonces, which follow from the rows.
    pub(crate) fn rebuild_invoices(&mut self) {
        for (id, row) in &self.state.invoices {
            self.invoice_nonces.insert(row.invoice.nonce, *id);
            if row.phase == InvoicePhase::Open {
                let at = row.invoice.expires_at.plus_ms(1);
                self.timers.insert((at, Timer::Invoice(*id)));
            }
        }
        for (key, set) in &self.state.sets {
            let row = self.state.invoices.get(&key.invoice_id);
            if let Some(until) = row.and_then(|row| row.invoice.hold_until)
                && set.held
            {
                self.timers.insert((until, Timer::Invoice(key.invoice_id)));
            }
        }
    }

    /// An ended invoice leaves memory: the store keeps it.
    pub(crate) fn forget_invoice(&mut self, id: &InvoiceId) {
        if let Some(row) = self.state.invoices.remove(id) {
            self.invoice_nonces.remove(&row.invoice.nonce);
        }
    }
}

fn unknown_invoice() -> AppError {
    app_error(ErrorCode::NotFound, "this node has no such invoice: ask the node that made it")
}

const NOTHING_RESERVED: &str = "nothing is reserved here for this commit: it was given back, so the \
     commit pays nothing; ask the buyer to pay again";
const NOT_YET: &str = "a friend over whom a part of this payment comes has not been online since this \
     node started: the commit is kept and accepted when the friend is back; ask again then";
