//! Batches that share a transaction: a row that several of them write is written once, as the last of
//! them leaves it.

use std::collections::BTreeSet;

use offset_crypto::{InvoiceId, PaymentId, PublicKey, RequestId};
use offset_funder::{Change, Side, state::SetKey};
use offset_proto::Currency;

/// Leaves of each row its last change only. The others keep their order, and so do rows on which
/// others depend.
pub(crate) fn last_of_each(changes: Vec<Change>) -> Vec<Change> {
    if changes.iter().any(takes_others_along) {
        return changes;
    }
    let mut seen = BTreeSet::new();
    let is_last = |change: &Change| Row::of(change).is_none_or(|row| seen.insert(row));
    let last: Vec<bool> = changes.iter().rev().map(is_last).collect();
    let kept = changes.into_iter().zip(last.into_iter().rev());
    kept.filter_map(|(change, last)| last.then_some(change)).collect()
}

/// Whether a change deletes rows that it does not name, or makes what others need.
const fn takes_others_along(change: &Change) -> bool {
    match change {
        Change::NewFriend(..) | Change::RemovedFriend(_) => true,
        Change::Line(_, _, None) => true,
        Change::Line(_, _, Some(row)) => row.numbers.is_none(),
        Change::Settings(_)
        | Change::Relay(..)
        | Change::IndexServer(..)
        | Change::Archived(..)
        | Change::Friend(..)
        | Change::Channel(..)
        | Change::Pending(..)
        | Change::Queued(..)
        | Change::Invoice(..)
        | Change::Set(..)
        | Change::Payment(..)
        | Change::Journal(..)
        | Change::ForgetJournal(_)
        | Change::Spent(..)
        | Change::Settled(_)
        | Change::Entry(_)
        | Change::Received(..)
        | Change::BeforeSent(..)
        | Change::Collected(_)
        | Change::Alone(..)
        | Change::FriendRecovery(..)
        | Change::Recovery(_) => false,
    }
}

/// Names a row that payments write often.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Row {
    Channel(PublicKey),
    Pending(PublicKey, Currency, Side, RequestId),
    Queued(PublicKey, u64),
    Invoice(InvoiceId),
    Set(SetKey),
    Payment(PaymentId),
    Received(PublicKey),
    BeforeSent(PublicKey),
}

impl Row {
    fn of(change: &Change) -> Option<Self> {
        Some(match change {
            Change::Channel(friend, _) => Self::Channel(*friend),
            Change::Pending(friend, currency, sender, id, _) => {
                Self::Pending(*friend, currency.clone(), *sender, *id)
            }
            Change::Queued(friend, number, _) => Self::Queued(*friend, *number),
            Change::Invoice(id, _) => Self::Invoice(*id),
            Change::Set(key, _) => Self::Set(*key),
            Change::Payment(id, _) => Self::Payment(*id),
            Change::Received(friend, _) => Self::Received(*friend),
            Change::BeforeSent(friend, _) => Self::BeforeSent(*friend),
            Change::Settings(_)
            | Change::Relay(..)
            | Change::IndexServer(..)
            | Change::NewFriend(..)
            | Change::RemovedFriend(_)
            | Change::Archived(..)
            | Change::Friend(..)
            // Requests need their line, so that it must not be written after them.
            | Change::Line(..)
            | Change::Journal(..)
            | Change::ForgetJournal(_)
            | Change::Spent(..)
            | Change::Settled(_)
            | Change::Entry(_)
            | Change::Collected(_)
            | Change::Alone(..)
            | Change::FriendRecovery(..)
            | Change::Recovery(_) => return None,
        })
    }
}
