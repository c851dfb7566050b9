//! What was paid here long ago. Ended invoices and what was collected without one are kept by the
//! store alone, and may be millions. So before a friend's message is handled, its questions are asked
//! ([`Funder::past_wanted`]), looked up, and answered ([`Funder::handle_past`]).
//!
//! The answers are forgotten with the next batch. What was not looked up is never taken for unpaid.

use offset_crypto::{InvoiceId, PublicKey};
use offset_proto::{
    Credits, Currency, Timestamp,
    friend::{FriendMessage, FriendOp, Request},
};

use crate::{
    api::Effect,
    funder::Funder,
    state::{InvoicePhase, InvoiceRow, settled_id},
};

/// Asks what became here of an invoice of which the state knows nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PastQuestion {
    /// Which invoice, of our own or one that no node knows.
    pub invoice_id: InvoiceId,
    /// In which currency it is to be paid.
    pub currency: Currency,
    /// How much is to be paid for it.
    pub total: Credits,
}

/// The answer to a [`PastQuestion`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// Nothing was paid for it, and it is no invoice of ours that has ended.
    Nothing,
    /// Just this was paid for it.
    Paid,
    /// It is an invoice of ours that has ended otherwise.
    Ended,
}

impl PastQuestion {
    /// A part of a payment to us.
    pub(crate) fn about(currency: &Currency, request: &Request) -> Self {
        Self {
            invoice_id: request.invoice_id,
            currency: currency.clone(),
            total: request.total_dest_payment,
        }
    }

    /// What [`Change::Settled`](crate::Change::Settled) names if this was paid without an invoice of
    /// ours.
    #[must_use]
    pub fn settled_id(&self) -> offset_crypto::HashResult {
        settled_id(&self.invoice_id, &self.currency, self.total)
    }

    /// The answer: whether the store has it as settled, and the invoice of ours with its id if that
    /// has ended.
    #[must_use]
    pub fn answer(&self, is_settled: bool, ended: Option<&InvoiceRow>) -> Past {
        let collected = |row: &InvoiceRow| {
            row.phase == InvoicePhase::Collected
                && row.invoice.currency == self.currency
                && row.invoice.dest_payment == self.total
        };
        match ended {
            _ if is_settled => Past::Paid,
            None => Past::Nothing,
            Some(row) if collected(row) => Past::Paid,
            Some(_) => Past::Ended,
        }
    }
}

impl Funder {
    /// What must be looked up before this message of a friend is handled.
    #[must_use]
    pub fn past_wanted(&self, message: &FriendMessage) -> Vec<PastQuestion> {
        let mut wanted = Vec::new();
        let FriendMessage::MoveToken(token) = message else {
            return wanted;
        };
        for ops in &token.body.currency_ops {
            for op in &ops.ops {
                if let FriendOp::Request(request) = op
                    && request.route.is_empty()
                    && !self.state.invoices.contains_key(&request.invoice_id)
                {
                    wanted.push(PastQuestion::about(&ops.currency, request));
                }
            }
        }
        wanted
    }

    /// The answer to a question of [`Funder::past_wanted`], which holds until the next batch is taken.
    pub fn handle_past(&mut self, question: PastQuestion, past: Past) {
        self.looked_up.insert(question, past);
    }

    /// The answers to an [`Effect::FindPast`]: what is due to a friend is derived again.
    pub fn handle_past_found(
        &mut self,
        now: Timestamp,
        friend: PublicKey,
        answers: Vec<(PastQuestion, Past)>,
    ) {
        self.looked_up.extend(answers);
        self.derive_due(now, friend);
        self.stepped();
    }

    /// A part of a payment to us whose past is to be looked up before anything is decided about it.
    pub(crate) fn past_unknown(&mut self, friend: PublicKey, currency: &Currency, of: &Request) {
        let question = PastQuestion::about(currency, of);
        self.unknown_past.entry(friend).or_default().insert(question);
    }

    /// Asks for what was found to be unknown since the last batch.
    pub(crate) fn ask_past(&mut self) {
        for (friend, questions) in std::mem::take(&mut self.unknown_past) {
            let questions = questions.into_iter().collect();
            self.effects.push(Effect::FindPast { friend, questions });
        }
    }

    /// What became of what a request pays; `None`: it was not looked up.
    pub(crate) fn past_of(&self, currency: &Currency, request: &Request) -> Option<Past> {
        let question = PastQuestion::about(currency, request);
        if self.state.settled.contains(&question.settled_id()) {
            return Some(Past::Paid);
        }
        self.looked_up.get(&question).copied()
    }
}
