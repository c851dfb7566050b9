//! The books: what each kind of entry tells besides is a column of its own, null for the others.

use offset_crypto::{InvoiceId, PaymentId, PublicKey, RequestId};
use offset_proto::{
    Balance, Credits, Currency, Text,
    history::{Adjustment, HistoryEntry, HistoryEvent},
};

use super::Read;
use crate::{
    column::{Reading, Values},
    table::Table,
};

pub(crate) static TABLE: Table = Table::new(
    "history",
    1,
    &[
        "sequence",
        "time",
        "friend",
        "friend_name",
        "currency",
        "delta",
        "balance",
        "kind",
        "payment_id",
        "invoice_id",
        "other_node",
        "forward_id",
        "amount",
        "fee",
        "words",
    ],
);

/// What the kinds tell, column by column.
#[derive(Default)]
struct Details {
    payment_id: Option<PaymentId>,
    invoice_id: Option<InvoiceId>,
    other_node: Option<PublicKey>,
    forward_id: Option<RequestId>,
    amount: Option<Credits>,
    fee: Option<Credits>,
    words: Option<Text>,
}

pub(crate) fn write(entry: &HistoryEntry) -> Values {
    let HistoryEntry { sequence, time, friend, friend_name, currency, delta, balance, event } =
        entry;
    let values = Values::default()
        .put(sequence)
        .put(time)
        .put(friend)
        .put(friend_name)
        .put(currency)
        .put(delta)
        .put(balance);
    let (kind, details) = parts(event);
    let Details { payment_id, invoice_id, other_node, forward_id, amount, fee, words } = details;
    values
        .put_word(kind)
        .put(&payment_id)
        .put(&invoice_id)
        .put(&other_node)
        .put(&forward_id)
        .put(&amount)
        .put(&fee)
        .put(&words)
}

fn parts(event: &HistoryEvent) -> (&'static str, Details) {
    let none = Details::default();
    match event.clone() {
        HistoryEvent::Opened => ("opened", none),
        HistoryEvent::Paid { payment_id, invoice_id, destination, amount, fee, note } => {
            let details = Details {
                payment_id: Some(payment_id),
                invoice_id: Some(invoice_id),
                other_node: Some(destination),
                amount: Some(amount),
                fee: Some(fee),
                words: Some(note),
                ..none
            };
            ("paid", details)
        }
        HistoryEvent::Received { invoice_id, description } => {
            let invoice_id = Some(invoice_id);
            ("received", Details { invoice_id, words: Some(description), ..none })
        }
        HistoryEvent::ForwardedOut { from, forward_id } => {
            let forward_id = Some(forward_id);
            ("forwarded_out", Details { other_node: from, forward_id, ..none })
        }
        HistoryEvent::ForwardedIn { to, forward_id, fee } => {
            let forward_id = Some(forward_id);
            ("forwarded_in", Details { other_node: to, forward_id, fee: Some(fee), ..none })
        }
        HistoryEvent::Cleared { payment_id, fee } => {
            let payment_id = Some(payment_id);
            ("cleared", Details { payment_id, fee: Some(fee), ..none })
        }
        HistoryEvent::Adjusted(Adjustment::WrittenOff) => ("written_off", none),
        HistoryEvent::Adjusted(Adjustment::Reset) => ("reset", none),
        HistoryEvent::Adjusted(Adjustment::Recovered) => ("recovered", none),
        HistoryEvent::Closed => ("closed", none),
        HistoryEvent::CarriedForward => (CARRIED_FORWARD, none),
    }
}

pub(crate) fn read(row: &mut Reading<'_>) -> Read<HistoryEntry> {
    Ok(HistoryEntry {
        sequence: row.take()?,
        time: row.take()?,
        friend: row.take()?,
        friend_name: row.take()?,
        currency: row.take()?,
        delta: row.take()?,
        balance: row.take()?,
        event: read_event(row)?,
    })
}

fn read_event(row: &mut Reading<'_>) -> Read<HistoryEvent> {
    let kind: String = row.take()?;
    let details = Details {
        payment_id: row.take()?,
        invoice_id: row.take()?,
        other_node: row.take()?,
        forward_id: row.take()?,
        amount: row.take()?,
        fee: row.take()?,
        words: row.take()?,
    };
    event(&kind, details).ok_or_else(|| format!("its kind \"{kind}\" does not fit what it tells"))
}

fn event(kind: &str, details: Details) -> Option<HistoryEvent> {
    let Details { payment_id, invoice_id, other_node, forward_id, amount, fee, words } = details;
    Some(match kind {
        "opened" => HistoryEvent::Opened,
        "paid" => HistoryEvent::Paid {
            payment_id: payment_id?,
            invoice_id: invoice_id?,
            destination: other_node?,
            amount: amount?,
            fee: fee?,
            note: words?,
        },
        "received" => HistoryEvent::Received { invoice_id: invoice_id?, description: words? },
        "forwarded_out" => HistoryEvent::ForwardedOut { from: other_node, forward_id: forward_id? },
        "forwarded_in" => {
            HistoryEvent::ForwardedIn { to: other_node, forward_id: forward_id?, fee: fee? }
        }
        "cleared" => HistoryEvent::Cleared { payment_id: payment_id?, fee: fee? },
        "written_off" => HistoryEvent::Adjusted(Adjustment::WrittenOff),
        "reset" => HistoryEvent::Adjusted(Adjustment::Reset),
        "recovered" => HistoryEvent::Adjusted(Adjustment::Recovered),
        "closed" => HistoryEvent::Closed,
        CARRIED_FORWARD => HistoryEvent::CarriedForward,
        _ => return None,
    })
}

/// The kind of [`HistoryEvent::CarriedForward`].
pub(crate) const CARRIED_FORWARD: &str = "carried_forward";

/// The last entry of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) friend: PublicKey,
    pub(crate) currency: Currency,
    pub(crate) sequence: u64,
    pub(crate) balance: Balance,
}

pub(crate) static ENDS: Table =
    Table::new("book_ends", 2, &["friend", "currency", "sequence", "balance"]);

pub(crate) fn write_end(entry: &HistoryEntry) -> Values {
    let HistoryEntry { friend, currency, sequence, balance, .. } = entry;
    Values::default().put(friend).put(currency).put(sequence).put(balance)
}

pub(crate) fn read_end(row: &mut Reading<'_>) -> Read<End> {
    let (friend, currency) = (row.take()?, row.take()?);
    Ok(End { friend, currency, sequence: row.take()?, balance: row.take()? })
}
