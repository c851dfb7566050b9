//! An entry of the books as a line of CSV and as a transaction of plain text accounting.

use std::fmt::Write as _;

use offset_proto::{
    Balance, Name,
    history::{HistoryEntry, HistoryEvent},
};

use super::kind;
use crate::manners::moment::rfc3339;

/// The columns of the CSV.
pub(super) const CSV_HEADER: [&str; 15] = [
    "sequence",
    "time",
    "friend",
    "friend_key",
    "currency",
    "kind",
    "delta",
    "balance",
    "amount",
    "fee",
    "payment_id",
    "invoice_id",
    "forward_id",
    "other_node",
    "note",
];

/// An entry as the values of those columns.
pub(super) fn csv_record(entry: &HistoryEntry) -> [String; 15] {
    let (mut amount, mut fee, mut payment, mut invoice) = Default::default();
    let (mut forward, mut other, mut words): (String, String, String) = Default::default();
    match &entry.event {
        HistoryEvent::Paid {
            payment_id,
            invoice_id,
            destination,
            amount: arrives,
            fee: f,
            note,
        } => {
            (payment, invoice) = (payment_id.to_string(), invoice_id.to_string());
            (amount, fee) = (arrives.to_string(), f.to_string());
            (other, words) = (destination.to_string(), note.to_string());
        }
        HistoryEvent::Received { invoice_id, description } => {
            (invoice, words) = (invoice_id.to_string(), description.to_string());
        }
        HistoryEvent::ForwardedOut { from, forward_id } => {
            (forward, other) =
                (forward_id.to_string(), from.map_or_else(String::new, |key| key.to_string()));
        }
        HistoryEvent::ForwardedIn { to, forward_id, fee: earned } => {
            (forward, other) =
                (forward_id.to_string(), to.map_or_else(String::new, |key| key.to_string()));
            fee = earned.to_string();
        }
        HistoryEvent::Cleared { payment_id, fee: paid } => {
            (payment, fee) = (payment_id.to_string(), paid.to_string());
        }
        HistoryEvent::Opened
        | HistoryEvent::Adjusted(_)
        | HistoryEvent::Closed
        | HistoryEvent::CarriedForward => {}
    }
    [
        entry.sequence.to_string(),
        rfc3339(entry.time),
        text(entry.friend_name.as_str()),
        text(&entry.friend.to_string()),
        text(entry.currency.as_str()),
        kind(&entry.event).to_owned(),
        entry.delta.to_string(),
        entry.balance.to_string(),
        amount,
        fee,
        text(&payment),
        text(&invoice),
        text(&forward),
        text(&other),
        text(&words),
    ]
}

/// A text that no spreadsheet takes for a formula: one that begins as a formula does, or with an
/// apostrophe, gets an apostrophe in front, which a spreadsheet shows as no part of the text.
fn text(text: &str) -> String {
    let formula = |c: char| matches!(c, '=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '\'');
    // Forms of full width are read as the plain ones.
    let wide = |c: char| matches!(c, '\u{ff1d}' | '\u{ff0b}' | '\u{ff0d}' | '\u{ff20}');
    if text.trim_start().starts_with(|c| formula(c) || wide(c)) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

/// An entry as a balanced transaction, `friend` being what the friend is called now. Entries that
/// change nothing are comments.
pub(super) fn ledger(entry: &HistoryEntry, friend: &Name) -> String {
    let date = rfc3339(entry.time).chars().take(10).collect::<String>();
    let what = kind(&entry.event);
    let mut out = String::new();
    let key: String = entry.friend.to_string().chars().take(8).collect();
    let line = format!("Assets:Offset:{}_{key}", account(friend.as_str()));
    if entry.delta == Balance::ZERO {
        // Writing to a text does not fail.
        let _ = writeln!(out, "; {date} {what} {line} {}\n", entry.currency);
        return out;
    }
    let commodity = commodity(entry.currency.as_str());
    let _ = writeln!(out, "{date} * {what} | {}", account(entry.friend_name.as_str()));
    let _ = writeln!(out, "    ; time: {}", rfc3339(entry.time));
    let _ = writeln!(out, "    ; sequence: {}", entry.sequence);
    let mut posting = |account: &str, amount: i128| {
        if amount != 0 {
            let _ = writeln!(out, "    {account}  {amount} {commodity}");
        }
    };
    let delta = entry.delta.get();
    posting(&line, delta);
    // What balances the change, and the fee that is part of it.
    let (other, fee) = match &entry.event {
        HistoryEvent::Paid { fee, .. } => ("Expenses:Offset:Payments", Some(fee)),
        HistoryEvent::Cleared { fee, .. } => ("Equity:Offset:Clearing", Some(fee)),
        HistoryEvent::Received { .. } => ("Income:Offset:Payments", None),
        HistoryEvent::ForwardedOut { .. } => ("Equity:Offset:Passing", None),
        HistoryEvent::ForwardedIn { fee, .. } => ("Equity:Offset:Passing", Some(fee)),
        HistoryEvent::Opened | HistoryEvent::CarriedForward => ("Equity:Offset:Opening", None),
        HistoryEvent::Adjusted(_) | HistoryEvent::Closed => ("Equity:Offset:Adjustments", None),
    };
    let fee = fee.and_then(|fee| i128::try_from(fee.0).ok()).unwrap_or(0);
    // A fee that came in is an income, one that went out an expense.
    let (fees, signed) = if matches!(entry.event, HistoryEvent::ForwardedIn { .. }) {
        ("Income:Offset:Fees", -fee)
    } else {
        ("Expenses:Offset:Fees", fee)
    };
    posting(fees, signed);
    posting(other, 0_i128.saturating_sub(delta).saturating_sub(signed));
    let words = match &entry.event {
        HistoryEvent::Paid { note, .. } => note.as_str(),
        HistoryEvent::Received { description, .. } => description.as_str(),
        HistoryEvent::Opened
        | HistoryEvent::ForwardedOut { .. }
        | HistoryEvent::ForwardedIn { .. }
        | HistoryEvent::Cleared { .. }
        | HistoryEvent::Adjusted(_)
        | HistoryEvent::Closed
        | HistoryEvent::CarriedForward => "",
    };
    if !words.is_empty() {
        let _ = writeln!(out, "    ; note: {}", comment(words));
    }
    out + "\n"
}

/// Words of somebody else as part of a comment: signs by which programs find tags and dates in
/// comments are others, so that no text makes an export unreadable or moves a posting to another day.
fn comment(words: &str) -> String {
    let plain = |c| match c {
        '[' => '(',
        ']' => ')',
        ':' => ';',
        c => c,
    };
    words.chars().map(plain).collect()
}

/// A name as part of an account: signs that mean something there are underscores.
fn account(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

/// A commodity of other signs than letters has to be quoted.
fn commodity(currency: &str) -> String {
    if currency.chars().all(|c| c.is_ascii_alphabetic()) {
        currency.to_owned()
    } else {
        format!("\"{currency}\"")
    }
}

#[cfg(test)]
mod tests {
    use offset_crypto::{Identity, InvoiceId, PaymentId, RequestId, SeededRng};
    use offset_proto::{Credits, Text, Timestamp, history::Adjustment};

    use super::*;

    fn entry(delta: i128, currency: &str, event: HistoryEvent) -> HistoryEntry {
        HistoryEntry {
            sequence: 7,
            time: Timestamp(1_772_366_400_000),
            friend: Identity::random(&mut SeededRng::new(1)).public_key(),
            friend_name: "=Bob; the  baker".parse().unwrap(),
            currency: currency.parse().unwrap(),
            delta: Balance::new(delta).unwrap(),
            balance: Balance::new(delta).unwrap(),
            event,
        }
    }

    fn paid(note: &str) -> HistoryEvent {
        HistoryEvent::Paid {
            payment_id: PaymentId::from_bytes([0xfb; 16]),
            invoice_id: InvoiceId::from_bytes([1; 32]),
            destination: Identity::random(&mut SeededRng::new(2)).public_key(),
            amount: Credits(300),
            fee: Credits(5),
            note: Text::cut(note),
        }
    }

    #[test]
    fn texts_are_no_formulas() {
        for (given, written) in [
            ("bananas", "bananas"),
            ("=1+1", "'=1+1"),
            ("+49", "'+49"),
            ("-x", "'-x"),
            ("@SUM(A1)", "'@SUM(A1)"),
            (" =1", "' =1"),
            ("'tis", "''tis"),
            ("\u{ff1d}1", "'\u{ff1d}1"),
            ("a=b", "a=b"),
            ("", ""),
        ] {
            assert_eq!(text(given), written);
        }
        let record = csv_record(&entry(-305, "credit", paid("=cmd|' /C calc'!A0")));
        assert_eq!(record[2], "'=Bob; the  baker");
        assert_eq!((record[6].as_str(), record[7].as_str()), ("-305", "-305"), "numbers stay");
        assert!(record[10].starts_with("'-"), "{record:?}");
        assert_eq!(record[14], "'=cmd|' /C calc'!A0");
    }

    #[test]
    fn every_transaction_balances() {
        let forward_id = RequestId::from_bytes([3; 16]);
        let fee = Credits(5);
        let payment_id = PaymentId::from_bytes([4; 16]);
        let cases = [
            (70, HistoryEvent::Opened),
            (-305, paid("for soup")),
            (
                300,
                HistoryEvent::Received {
                    invoice_id: InvoiceId::from_bytes([1; 32]),
                    description: Text::cut("soup"),
                },
            ),
            (-300, HistoryEvent::ForwardedOut { from: None, forward_id }),
            (305, HistoryEvent::ForwardedIn { to: None, forward_id, fee }),
            (-305, HistoryEvent::Cleared { payment_id, fee }),
            (300, HistoryEvent::Cleared { payment_id, fee: Credits(0) }),
            (-9, HistoryEvent::Adjusted(Adjustment::WrittenOff)),
            (-i128::MAX, HistoryEvent::CarriedForward),
        ];
        for (delta, event) in cases {
            let entry = entry(delta, "FST-1", event);
            let text = ledger(&entry, &entry.friend_name);
            let mut sum = 0;
            for line in text.lines().skip(1).filter(|line| !line.trim().starts_with(';')) {
                let Some((account, amount)) = line.trim().split_once("  ") else {
                    assert!(line.is_empty(), "{text}");
                    continue;
                };
                assert!(!account.contains([' ', ';']), "{text}");
                sum += amount.strip_suffix(" \"FST-1\"").unwrap().parse::<i128>().unwrap();
            }
            assert_eq!(sum, 0, "{text}");
            assert!(text.starts_with("2026-03-01 * "), "{text}");
        }
        let hostile = entry(-305, "credit", paid("soup, date:2024-13-45 [2024-13-45] :tag: a:: b"));
        let text = ledger(&hostile, &hostile.friend_name);
        assert!(
            text.contains("; note: soup, date;2024-13-45 (2024-13-45) ;tag; a;; b\n"),
            "{text}"
        );
        let nothing = entry(0, "credit", HistoryEvent::Closed);
        assert!(ledger(&nothing, &nothing.friend_name).starts_with("; 2026-03-01 closed"));
        assert_eq!(commodity("credit"), "credit");
    }
}
