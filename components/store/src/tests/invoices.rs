//! Looking up invoices: page by page, by state, and by nonce.

use offset_crypto::{Nonce, PaymentId};
use offset_funder::{
    Change, Past, PastQuestion,
    state::{InvoicePhase, InvoiceRow},
};
use offset_proto::{Credits, Currency, Text, Timestamp, app::InvoiceCursor, payment::Invoice};
use rusqlite::StatementStatus;

use super::{key, made, open};
use crate::Store as _;

fn row(number: u8) -> InvoiceRow {
    let invoice = Invoice {
        registered: true,
        currency: Currency::fallback(),
        dest_public_key: key(0),
        dest_payment: Credits(5),
        description: Text::cut(""),
        // Several of each moment, and not in the order of their ids.
        created_at: Timestamp(u64::from(number / 4)),
        expires_at: Timestamp(99),
        hold_until: None,
        nonce: Nonce::from_bytes([number; 16]),
    };
    let phase = match number % 3 {
        0 => InvoicePhase::Open,
        1 => InvoicePhase::Committed,
        _ => InvoicePhase::Expired,
    };
    // Some are of clearings.
    let clears = number.is_multiple_of(5).then(|| PaymentId::from_bytes([number; 16]));
    InvoiceRow { invoice, clears, phase, accepted: None }
}

#[test]
fn every_invoice_of_the_seller_is_on_one_page() {
    let (_directory, path) = made();
    let mut store = open(&path);
    let rows: Vec<_> = (0..50).map(row).collect();
    let changes: Vec<_> =
        rows.iter().map(|row| Change::Invoice(row.invoice.id(), row.clone())).collect();
    store.commit(&changes).unwrap();
    let reader = store.reader().unwrap();
    let place = |row: &InvoiceRow| InvoiceCursor {
        created_at: row.invoice.created_at,
        invoice_id: row.invoice.id(),
    };
    for phase in [None, Some(InvoicePhase::Committed), Some(InvoicePhase::Cancelled)] {
        let wanted = |row: &&InvoiceRow| {
            row.clears.is_none() && phase.is_none_or(|phase| row.phase == phase)
        };
        let mut expected: Vec<_> = rows.iter().filter(wanted).collect();
        expected.sort_by_key(|row| (row.invoice.created_at, row.invoice.id()));
        let (mut after, mut found) = (None, Vec::new());
        loop {
            let page = reader.invoices(phase, after, 7).unwrap();
            let Some(last) = page.last() else { break };
            assert!(page.len() <= 7);
            after = Some(place(last));
            found.extend(page);
        }
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{phase:?}");
    }
    for row in rows.iter().filter(|row| row.is_final()) {
        let found = reader.invoice_by_nonce(&row.invoice.nonce).unwrap();
        assert_eq!(found.as_ref(), Some(row));
    }
    assert_eq!(reader.invoice_by_nonce(&Nonce::from_bytes([99; 16])).unwrap(), None);
}

/// What a node asks of its past before it takes a payment.
#[test]
fn what_was_paid_is_known_for_ever() {
    let (_directory, path) = made();
    let mut store = open(&path);
    let of = |row: &InvoiceRow| PastQuestion {
        invoice_id: row.invoice.id(),
        currency: row.invoice.currency.clone(),
        total: row.invoice.dest_payment,
    };
    let (open_one, cancelled, mut collected, never) = (row(0), row(2), row(3), row(4));
    let cancelled = InvoiceRow { phase: InvoicePhase::Cancelled, ..cancelled };
    collected.phase = InvoicePhase::Collected;
    let without_invoice = PastQuestion { total: Credits(77), ..of(&row(9)) };
    let mut changes = vec![Change::Settled(without_invoice.settled_id())];
    for row in [&open_one, &cancelled, &collected] {
        changes.push(Change::Invoice(row.invoice.id(), row.clone()));
    }
    store.commit(&changes).unwrap();
    drop(store);
    let mut store = open(&path);
    assert!(store.load().unwrap().settled.is_empty(), "it is not loaded");
    let reader = store.reader().unwrap();
    let more = PastQuestion { total: Credits(6), ..of(&collected) };
    let other = PastQuestion { currency: "EUR".parse().unwrap(), ..without_invoice.clone() };
    for (question, past) in [
        (without_invoice, Past::Paid),
        (other, Past::Nothing),
        (of(&collected), Past::Paid),
        (more, Past::Ended),
        (of(&cancelled), Past::Ended),
        (of(&open_one), Past::Nothing),
        (of(&never), Past::Nothing),
    ] {
        assert_eq!(reader.past(vec![question.clone()]).unwrap(), [(question, past)]);
    }
    assert!(reader.past(Vec::new()).unwrap().is_empty());
}

/// What looks up one thing after the other is planned once.
#[test]
fn lookups_are_planned_once() {
    let (_directory, path) = made();
    let store = open(&path);
    let sql = "SELECT phase FROM past_payments WHERE payment_id = ? ORDER BY rowid DESC LIMIT 1";
    for number in 0..10_u8 {
        let mut statement = store.connection().prepare_cached(sql).unwrap();
        assert!(!statement.exists([[number; 16]]).unwrap());
    }
    let statement = store.connection().prepare_cached(sql).unwrap();
    assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
}
