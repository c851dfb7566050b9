//! The books, and what is frozen.

use offset_crypto::{InvoiceId, PaymentId, RequestId};
use offset_proto::{
    Credits, Timestamp,
    history::{
        Adjustment, Direction, HistoryEntry, HistoryEvent, HistoryPage, HistoryQuery, PendingEntry,
        PendingKey, PendingPage, PendingStage, Turn,
    },
};

use super::{balance, currency, key, large, one_of_each, text};

const TIME: u64 = 1_700_000_000_000;

pub(crate) fn query() -> HistoryQuery {
    HistoryQuery {
        since: Timestamp(TIME),
        until: Timestamp(TIME + 86_400_000),
        friend: Some("bob".parse().unwrap()),
        currency: Some(currency()),
        only_fees: true,
        newest_first: true,
        after: 7,
    }
}

/// An entry for every event.
pub(crate) fn page() -> HistoryPage {
    let mut entries = Vec::new();
    for (sequence, event) in (41..).zip(events()) {
        entries.push(HistoryEntry {
            sequence,
            time: Timestamp(TIME),
            friend: key(2),
            friend_name: "bob".parse().unwrap(),
            currency: currency(),
            delta: balance(-55),
            balance: balance(200),
            event,
        });
    }
    HistoryPage { entries, next: 60 }
}

fn events() -> Vec<HistoryEvent> {
    use HistoryEvent as E;
    let payment_id = PaymentId::from_bytes([0x21; 16]);
    let invoice_id = InvoiceId::from_bytes([0x22; 32]);
    let forward_id = RequestId::from_bytes([0x25; 16]);
    let mut all: Vec<_> = one_of_each!(HistoryEvent {
        "opened": E::Opened => E::Opened,
        "paid": E::Paid { .. } => E::Paid {
            payment_id,
            invoice_id,
            destination: key(3),
            amount: large(),
            fee: Credits(5),
            note: text("bread"),
        },
        "received": E::Received { .. } => E::Received { invoice_id, description: text("two kilos of bananas") },
        "forwardedOut": E::ForwardedOut { .. } => E::ForwardedOut { from: Some(key(3)), forward_id },
        "forwardedIn": E::ForwardedIn { .. } => E::ForwardedIn { to: Some(key(4)), forward_id, fee: Credits(2) },
        "cleared": E::Cleared { .. } => E::Cleared { payment_id, fee: Credits(1) },
        "adjusted": E::Adjusted(_) => E::Adjusted(Adjustment::WrittenOff),
        "closed": E::Closed => E::Closed,
        "carriedForward": E::CarriedForward => E::CarriedForward,
    })
    .into_iter()
    .map(|(_, event)| event)
    .collect();
    let adjustments: Vec<_> = one_of_each!(Adjustment {
        "writtenOff": Adjustment::WrittenOff => Adjustment::WrittenOff,
        "reset": Adjustment::Reset => Adjustment::Reset,
        "recovered": Adjustment::Recovered => Adjustment::Recovered,
    });
    all.extend(adjustments.into_iter().skip(1).map(|(_, kind)| E::Adjusted(kind)));
    all
}

pub(crate) fn pending_key() -> PendingKey {
    PendingKey {
        friend: key(2),
        currency: currency(),
        sent_by_us: true,
        request_id: RequestId::from_bytes([0x24; 16]),
    }
}

/// An entry for every turn, and among them every direction and stage.
pub(crate) fn pending_page() -> PendingPage {
    let directions = one_of_each!(Direction {
        "ours": Direction::Ours => Direction::Ours,
        "theirs": Direction::Theirs => Direction::Theirs,
        "passing": Direction::Passing => Direction::Passing,
    });
    let stages = one_of_each!(PendingStage {
        "requested": PendingStage::Requested => PendingStage::Requested,
        "responded": PendingStage::Responded => PendingStage::Responded,
        "committed": PendingStage::Committed => PendingStage::Committed,
    });
    let turns = one_of_each!(Turn {
        "us": Turn::Us => Turn::Us,
        "friend": Turn::Friend => Turn::Friend,
        "buyer": Turn::Buyer => Turn::Buyer,
        "seller": Turn::Seller => Turn::Seller,
    });
    let mut entries = Vec::new();
    for (n, (_, turn)) in turns.into_iter().enumerate() {
        entries.push(PendingEntry {
            key: pending_key(),
            friend_name: "bob".parse().unwrap(),
            direction: directions[n % directions.len()].1,
            amount: large(),
            since: Timestamp(TIME),
            stage: stages[n % stages.len()].1,
            released: n == 1,
            turn,
            through: (turn != Turn::Us).then(|| "bob".parse().unwrap()),
        });
    }
    PendingPage { now: Timestamp(TIME + 1_000), entries, more: true }
}
