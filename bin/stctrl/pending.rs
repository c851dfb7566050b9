//! `stctrl info pending`: what is frozen, since when, and whose turn it is.

use offset_proto::{
    Timestamp,
    history::{Direction, PendingEntry, PendingStage, Turn},
};
use serde_json::json;

use super::{Session, friends::Decimals};
use crate::manners::{
    Answer,
    amount::{decimals_of, show},
    moment::{age, rfc3339},
    table::{Header, draw},
};

/// Asks for all pages.
///
/// # Errors
/// When the node cannot be reached.
pub(super) async fn run(session: &Session) -> anyhow::Result<Answer> {
    let client = session.connect().await?;
    let (mut entries, mut after) = (Vec::new(), None);
    let now = loop {
        let page = client.pending(after).await?;
        after = page.entries.last().map(|entry| entry.key.clone());
        entries.extend(page.entries);
        if !page.more {
            break page.now;
        }
    };
    let decimals = client.report_without_friends().await?.decimals;
    Ok(answer(&entries, &decimals, now))
}

fn answer(entries: &[PendingEntry], decimals: &Decimals, now: Timestamp) -> Answer {
    let values: Vec<_> = entries
        .iter()
        .map(|entry| {
            json!({
                "friend": entry.friend_name.as_str(),
                "friend_key": entry.key.friend.to_string(),
                "currency": entry.key.currency.as_str(),
                "frozen_by": if entry.key.sent_by_us { "us" } else { "friend" },
                "request_id": entry.key.request_id.to_string(),
                "direction": direction(entry.direction),
                "amount": entry.amount.to_string(),
                "since": rfc3339(entry.since),
                "age_ms": now.ms_since(entry.since),
                "stage": stage(entry),
                "turn": turn(entry.turn),
                "through": entry.through.as_ref().map(|name| name.as_str()),
            })
        })
        .collect();
    let text = if entries.is_empty() {
        "Nothing is pending.".to_owned()
    } else {
        let titles = ["friend", "currency", "amount", "frozen by", "whose", "age", "stage", "turn"];
        let row = |entry: &PendingEntry| {
            let by = if entry.key.sent_by_us { "us" } else { "friend" };
            let turn = match &entry.through {
                Some(name) if entry.turn == Turn::Friend => name.to_string(),
                Some(name) => format!("{}, through {name}", turn(entry.turn)),
                None => turn(entry.turn).to_owned(),
            };
            [
                entry.friend_name.to_string(),
                entry.key.currency.to_string(),
                show(entry.amount, decimals_of(decimals, &entry.key.currency)),
                by.to_owned(),
                direction(entry.direction).to_owned(),
                age(now.ms_since(entry.since)),
                stage(entry).to_owned(),
                turn,
            ]
        };
        draw(Header::Plain, titles, entries.iter().map(row))
    };
    Answer::new(text, json!({ "pending": values }))
}

const fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Ours => "ours",
        Direction::Theirs => "theirs",
        Direction::Passing => "passing",
    }
}

const fn stage(entry: &PendingEntry) -> &'static str {
    match entry.stage {
        _ if entry.released => "released",
        PendingStage::Requested => "requested",
        PendingStage::Responded => "responded",
        PendingStage::Committed => "committed",
    }
}

const fn turn(turn: Turn) -> &'static str {
    match turn {
        Turn::Us => "us",
        Turn::Friend => "friend",
        Turn::Buyer => "buyer",
        Turn::Seller => "seller",
    }
}
