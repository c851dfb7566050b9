//! The books, and what is pending.

use super::*;

pub(super) fn history_query() -> impl Strategy<Value = HistoryQuery> {
    let filters = (option::of(name()), option::of(currency()), any::<bool>(), any::<bool>());
    (any::<[u64; 3]>(), filters).prop_map(
        |([since, until, after], (friend, currency, only_fees, newest_first))| HistoryQuery {
            since: Timestamp(since),
            until: Timestamp(until),
            friend,
            currency,
            only_fees,
            newest_first,
            after,
        },
    )
}

pub(super) fn history_event() -> impl Strategy<Value = HistoryEvent> {
    use HistoryEvent as E;
    let adjustment = select(vec![Adjustment::WrittenOff, Adjustment::Reset, Adjustment::Recovered]);
    prop_oneof![
        Just(E::Opened),
        (payment_id(), invoice_id(), key(), credits(), credits(), text()).prop_map(
            |(payment_id, invoice_id, destination, amount, fee, note)| E::Paid {
                payment_id,
                invoice_id,
                destination,
                amount,
                fee,
                note
            }
        ),
        (invoice_id(), text())
            .prop_map(|(invoice_id, description)| E::Received { invoice_id, description }),
        (option::of(key()), request_id())
            .prop_map(|(from, forward_id)| E::ForwardedOut { from, forward_id }),
        (option::of(key()), request_id(), credits())
            .prop_map(|(to, forward_id, fee)| E::ForwardedIn { to, forward_id, fee }),
        (payment_id(), credits()).prop_map(|(payment_id, fee)| E::Cleared { payment_id, fee }),
        adjustment.prop_map(E::Adjusted),
        Just(E::Closed),
        Just(E::CarriedForward),
    ]
}

pub(super) fn history_entry() -> impl Strategy<Value = HistoryEntry> {
    let place = (key(), name(), currency());
    (any::<[u64; 2]>(), place, balance(), balance(), history_event()).prop_map(
        |([sequence, time], (friend, friend_name, currency), delta, balance, event)| HistoryEntry {
            sequence,
            time: Timestamp(time),
            friend,
            friend_name,
            currency,
            delta,
            balance,
            event,
        },
    )
}

pub(super) fn pending_key() -> impl Strategy<Value = PendingKey> {
    (key(), currency(), any::<bool>(), request_id()).prop_map(
        |(friend, currency, sent_by_us, request_id)| PendingKey {
            friend,
            currency,
            sent_by_us,
            request_id,
        },
    )
}

pub(super) fn pending_entry() -> impl Strategy<Value = PendingEntry> {
    let words = (
        select(vec![Direction::Ours, Direction::Theirs, Direction::Passing]),
        select(vec![PendingStage::Requested, PendingStage::Responded, PendingStage::Committed]),
        select(vec![Turn::Us, Turn::Friend, Turn::Buyer, Turn::Seller]),
    );
    let names = (name(), option::of(name()));
    (pending_key(), names, words, credits(), any::<u64>(), any::<bool>()).prop_map(
        |(key, (friend_name, through), (direction, stage, turn), amount, since, released)| {
            let since = Timestamp(since);
            PendingEntry {
                key,
                friend_name,
                direction,
                amount,
                since,
                stage,
                released,
                turn,
                through,
            }
        },
    )
}
