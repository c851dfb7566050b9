//! `history.capnp`: the books and what is frozen.

use super::{
    Decoded, balance, count, credits, fixed, key, list, mirror, parse, set_balance, set_credits,
    set_list,
};
use crate::{
    Timestamp,
    history::{
        Adjustment, Direction, HistoryEntry, HistoryEvent, HistoryPage, HistoryQuery, MAX_PAGE,
        PendingEntry, PendingKey, PendingPage, PendingStage, Turn,
    },
    schema::history_capnp::{
        self, history_entry, history_page, history_query, pending_entry, pending_key, pending_page,
    },
};

mirror!(
    Adjustment, history_capnp::Adjustment, schema_adjustment, adjustment,
    WrittenOff Reset Recovered
);
mirror!(
    Direction, history_capnp::Direction, schema_direction, direction,
    Ours Theirs Passing
);
mirror!(
    PendingStage, history_capnp::PendingStage, schema_stage, pending_stage,
    Requested Responded Committed
);
mirror!(Turn, history_capnp::Turn, schema_turn, turn, Us Friend Buyer Seller);

pub(super) fn set_query(value: &HistoryQuery, mut query: history_query::Builder<'_>) {
    query.set_since(value.since.0);
    query.set_until(value.until.0);
    if let Some(friend) = &value.friend {
        query.set_friend(friend.as_str());
    }
    if let Some(currency) = &value.currency {
        query.set_currency(currency.as_str());
    }
    query.set_only_fees(value.only_fees);
    query.set_newest_first(value.newest_first);
    query.set_after(value.after);
}

pub(super) fn query(query: history_query::Reader<'_>) -> Decoded<HistoryQuery> {
    let friend = query.has_friend().then(|| parse("friend", query.get_friend()));
    let currency = query.has_currency().then(|| parse("currency", query.get_currency()));
    Ok(HistoryQuery {
        since: Timestamp(query.get_since()),
        until: Timestamp(query.get_until()),
        friend: friend.transpose()?,
        currency: currency.transpose()?,
        only_fees: query.get_only_fees(),
        newest_first: query.get_newest_first(),
        after: query.get_after(),
    })
}

pub(super) fn set_page(value: &HistoryPage, mut page: history_page::Builder<'_>) {
    page.set_next(value.next);
    set_list(page.init_entries(count(value.entries.len())), &value.entries, set_entry);
}

pub(super) fn page(page: history_page::Reader<'_>) -> Decoded<HistoryPage> {
    let entries = list("entries", page.get_entries()?, MAX_PAGE, entry)?;
    Ok(HistoryPage { entries, next: page.get_next() })
}

fn set_entry(value: &HistoryEntry, mut entry: history_entry::Builder<'_>) {
    entry.set_sequence(value.sequence);
    entry.set_time(value.time.0);
    entry.set_friend(value.friend.as_bytes());
    entry.set_friend_name(value.friend_name.as_str());
    entry.set_currency(value.currency.as_str());
    set_balance(value.delta, entry.reborrow().init_delta());
    set_balance(value.balance, entry.reborrow().init_balance());
    set_event(&value.event, entry.init_event());
}

fn set_event(value: &HistoryEvent, mut event: history_entry::event::Builder<'_>) {
    match value {
        HistoryEvent::Opened => event.set_opened(()),
        HistoryEvent::Paid { payment_id, invoice_id, destination, amount, fee, note } => {
            let mut paid = event.init_paid();
            paid.set_payment_id(payment_id.as_bytes());
            paid.set_invoice_id(invoice_id.as_bytes());
            paid.set_destination(destination.as_bytes());
            set_credits(*amount, paid.reborrow().init_amount());
            set_credits(*fee, paid.reborrow().init_fee());
            paid.set_note(note.as_str());
        }
        HistoryEvent::Received { invoice_id, description } => {
            let mut received = event.init_received();
            received.set_invoice_id(invoice_id.as_bytes());
            received.set_description(description.as_str());
        }
        HistoryEvent::ForwardedOut { from, forward_id } => {
            let mut out = event.init_forwarded_out();
            if let Some(from) = from {
                out.set_from(from.as_bytes());
            }
            out.set_forward_id(forward_id.as_bytes());
        }
        HistoryEvent::ForwardedIn { to, forward_id, fee } => {
            let mut incoming = event.init_forwarded_in();
            if let Some(to) = to {
                incoming.set_to(to.as_bytes());
            }
            incoming.set_forward_id(forward_id.as_bytes());
            set_credits(*fee, incoming.init_fee());
        }
        HistoryEvent::Cleared { payment_id, fee } => {
            let mut cleared = event.init_cleared();
            cleared.set_payment_id(payment_id.as_bytes());
            set_credits(*fee, cleared.init_fee());
        }
        HistoryEvent::Adjusted(kind) => event.set_adjusted(schema_adjustment(*kind)),
        HistoryEvent::Closed => event.set_closed(()),
        HistoryEvent::CarriedForward => event.set_carried_forward(()),
    }
}

fn entry(entry: history_entry::Reader<'_>) -> Decoded<HistoryEntry> {
    Ok(HistoryEntry {
        sequence: entry.get_sequence(),
        time: Timestamp(entry.get_time()),
        friend: key("friend", entry.get_friend())?,
        friend_name: parse("friendName", entry.get_friend_name())?,
        currency: parse("currency", entry.get_currency())?,
        delta: balance("delta", entry.get_delta()?)?,
        balance: balance("balance", entry.get_balance()?)?,
        event: event(entry.get_event())?,
    })
}

fn event(event: history_entry::event::Reader<'_>) -> Decoded<HistoryEvent> {
    use history_entry::event::Which;
    Ok(match event.which()? {
        Which::Opened(()) => HistoryEvent::Opened,
        Which::Paid(paid) => HistoryEvent::Paid {
            payment_id: fixed("paymentId", paid.get_payment_id())?,
            invoice_id: fixed("invoiceId", paid.get_invoice_id())?,
            destination: key("destination", paid.get_destination())?,
            amount: credits(paid.get_amount()?),
            fee: credits(paid.get_fee()?),
            note: parse("note", paid.get_note())?,
        },
        Which::Received(received) => HistoryEvent::Received {
            invoice_id: fixed("invoiceId", received.get_invoice_id())?,
            description: parse("description", received.get_description())?,
        },
        Which::ForwardedOut(out) => HistoryEvent::ForwardedOut {
            from: out.has_from().then(|| key("from", out.get_from())).transpose()?,
            forward_id: fixed("forwardId", out.get_forward_id())?,
        },
        Which::ForwardedIn(incoming) => HistoryEvent::ForwardedIn {
            to: incoming.has_to().then(|| key("to", incoming.get_to())).transpose()?,
            forward_id: fixed("forwardId", incoming.get_forward_id())?,
            fee: credits(incoming.get_fee()?),
        },
        Which::Cleared(cleared) => HistoryEvent::Cleared {
            payment_id: fixed("paymentId", cleared.get_payment_id())?,
            fee: credits(cleared.get_fee()?),
        },
        Which::Adjusted(kind) => HistoryEvent::Adjusted(adjustment(kind)?),
        Which::Closed(()) => HistoryEvent::Closed,
        Which::CarriedForward(()) => HistoryEvent::CarriedForward,
    })
}

pub(super) fn set_pending_after(value: Option<&PendingKey>, builder: pending_key::Builder<'_>) {
    if let Some(value) = value {
        set_key(value, builder);
    }
}

pub(super) fn pending_after(value: pending_key::Reader<'_>) -> Decoded<Option<PendingKey>> {
    value.has_friend().then(|| key_of(value)).transpose()
}

fn set_key(value: &PendingKey, mut builder: pending_key::Builder<'_>) {
    builder.set_friend(value.friend.as_bytes());
    builder.set_currency(value.currency.as_str());
    builder.set_sent_by_us(value.sent_by_us);
    builder.set_request_id(value.request_id.as_bytes());
}

fn key_of(value: pending_key::Reader<'_>) -> Decoded<PendingKey> {
    Ok(PendingKey {
        friend: key("friend", value.get_friend())?,
        currency: parse("currency", value.get_currency())?,
        sent_by_us: value.get_sent_by_us(),
        request_id: fixed("requestId", value.get_request_id())?,
    })
}

pub(super) fn set_pending_page(value: &PendingPage, mut page: pending_page::Builder<'_>) {
    page.set_now(value.now.0);
    page.set_more(value.more);
    set_list(page.init_entries(count(value.entries.len())), &value.entries, set_pending);
}

pub(super) fn pending_page(page: pending_page::Reader<'_>) -> Decoded<PendingPage> {
    Ok(PendingPage {
        now: Timestamp(page.get_now()),
        entries: list("entries", page.get_entries()?, MAX_PAGE, pending)?,
        more: page.get_more(),
    })
}

fn set_pending(value: &PendingEntry, mut entry: pending_entry::Builder<'_>) {
    set_key(&value.key, entry.reborrow().init_key());
    entry.set_friend_name(value.friend_name.as_str());
    entry.set_direction(schema_direction(value.direction));
    set_credits(value.amount, entry.reborrow().init_amount());
    entry.set_since(value.since.0);
    entry.set_stage(schema_stage(value.stage));
    entry.set_released(value.released);
    entry.set_turn(schema_turn(value.turn));
    if let Some(through) = &value.through {
        entry.set_through(through.as_str());
    }
}

fn pending(entry: pending_entry::Reader<'_>) -> Decoded<PendingEntry> {
    let through = entry.has_through().then(|| parse("through", entry.get_through()));
    Ok(PendingEntry {
        key: key_of(entry.get_key()?)?,
        friend_name: parse("friendName", entry.get_friend_name())?,
        direction: direction(entry.get_direction())?,
        amount: credits(entry.get_amount()?),
        since: Timestamp(entry.get_since()),
        stage: pending_stage(entry.get_stage())?,
        released: entry.get_released(),
        turn: turn(entry.get_turn())?,
        through: through.transpose()?,
    })
}

/// Of an entry with short texts, at a guess.
pub(super) const ENTRY_WORDS: usize = 80;
