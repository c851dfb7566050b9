//! Commits that the buyer hands to the seller, and taking back what was not committed (protocol,
//! sections 6.5 and 6.8).

use offset_crypto::PaymentId;
use offset_proto::{
    Timestamp,
    app::{AppError, AppReply, ErrorCode, PaymentFailure},
    payment::Commit,
};

use crate::{
    destination::app_error,
    funder::Funder,
    state::{PaymentRow, Phase},
};

impl Funder {
    /// The commit of a payment that was made for it. It is durable before it leaves, like every
    /// answer, and the payment is never released, retried or replaced from then on.
    pub(crate) fn payment_commit(
        &self,
        id: PaymentId,
        ended: Option<&PaymentRow>,
    ) -> Result<AppReply, AppError> {
        let row = self.state.payments.get(&id).or(ended).ok_or_else(unknown_payment)?;
        let refused = |message| Err(app_error(ErrorCode::Refused, message));
        if !row.by_commit {
            return refused("the commit of this payment went to the seller's node by itself");
        }
        match row.phase {
            Phase::Routing | Phase::Requesting | Phase::Complete => Err(app_error(
                ErrorCode::NotYet,
                "this payment is not complete, so there is no commit yet; ask again",
            )),
            Phase::Succeeded { .. } => refused("this payment has arrived; its receipt proves it"),
            Phase::Failed(_) | Phase::Cancelled | Phase::Unknown => {
                refused("this payment has ended, so its commit is worth nothing; look at its state")
            }
            Phase::Committed => match commit_of(row) {
                Some(commit) => Ok(AppReply::Commit(Box::new(commit))),
                None => refused("this payment is being given back; look at its state"),
            },
        }
    }

    /// Takes back a payment, as long as it is not committed.
    pub(crate) fn cancel_payment(
        &mut self,
        now: Timestamp,
        id: PaymentId,
        ended: Option<&PaymentRow>,
    ) -> Result<AppReply, AppError> {
        let row = self.state.payments.get(&id).or(ended).ok_or_else(unknown_payment)?;
        let refused = |message| Err(app_error(ErrorCode::Refused, message));
        match row.phase {
            Phase::Routing | Phase::Requesting | Phase::Complete => {
                self.fail(now, id, PaymentFailure::TakenBack);
                Ok(AppReply::Done)
            }
            Phase::Failed(_) | Phase::Cancelled => Ok(AppReply::Done),
            Phase::Committed => refused(
                "this payment is committed and cannot be taken back; ask the seller to cancel the \
                 invoice, or wait until it expires",
            ),
            Phase::Succeeded { .. } => {
                refused("this payment has arrived and cannot be taken back; ask the seller")
            }
            Phase::Unknown => refused(
                "whether this payment arrived is not known, and it cannot be taken back; ask the \
                 seller",
            ),
        }
    }
}

/// What the seller is handed: the lock, and the answer that completed the payment.
fn commit_of(row: &PaymentRow) -> Option<Commit> {
    let attempt = row.current()?;
    let complete = attempt.parts.iter().find_map(|part| {
        let response = part.response.as_deref().filter(|response| response.is_complete)?;
        Some((part, response))
    });
    complete.map(|(part, response)| Commit {
        response_hash: response.response_hash,
        src_plain_lock: attempt.src_plain_lock,
        dest_hashed_lock: response.dest_hashed_lock,
        dest_payment: part.amount,
        total_dest_payment: row.amount,
        invoice_id: row.invoice_id,
        currency: row.currency.clone(),
        signature: response.signature,
    })
}

pub(super) fn unknown_payment() -> AppError {
    app_error(
        ErrorCode::NotFound,
        "this node has no such payment: ask the node that ordered it, or look for it in the history",
    )
}
