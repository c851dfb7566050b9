//! The journal: every move of a payment or invoice under a number, before and after a restart.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, and picks out what it looks at"
)]

mod support;

use offset_crypto::Nonce;
use offset_funder::{
    Config,
    api::{Command, Effect, Ended},
    state::JournalRow,
};
use offset_proto::{
    Credits,
    app::{
        AppReply, CreateInvoice, ErrorCode, EventPage, Hold, InvoiceStatus, JournalEntry,
        JournalEvent, MAX_EVENTS, PaymentStatus,
    },
};
use support::lab::Lab;

/// What was told as it happened.
fn told(lab: &mut Lab) -> Vec<JournalEvent> {
    let effects = lab.effects.drain(..);
    effects
        .filter_map(|effect| match effect {
            Effect::Journal(event) => Some(event),
            _ => None,
        })
        .collect()
}

fn page(lab: &mut Lab, after: u64) -> Result<EventPage, ErrorCode> {
    let mut ended = Ended::default();
    for row in lab.funder.journal_page(after) {
        match row {
            JournalRow::Payment(id) => {
                ended.payments.extend(lab.archive.get(&id).map(|row| (id, row.clone())));
            }
            JournalRow::Invoice(id) => {
                ended.invoices.extend(lab.invoice_archive.get(&id).map(|row| (id, row.clone())));
            }
        }
    }
    match lab.ask(Command::Events { after, ended }) {
        Ok(AppReply::Events(page)) => Ok(page),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.code),
    }
}

fn cancelled_invoice(lab: &mut Lab) {
    let create = CreateInvoice {
        nonce: Nonce::random(&mut lab.rng),
        currency: None,
        amount: Credits(1),
        description: "".parse().unwrap(),
        expires_in_ms: None,
        hold: Hold::None,
    };
    let Ok(AppReply::Invoice(report)) =
        lab.ask(Command::CreateInvoice { create: Box::new(create), ended: None })
    else {
        panic!()
    };
    let invoice_id = report.invoice.id();
    lab.ask(Command::CancelInvoice { invoice_id, ended: None }).unwrap();
}

#[test]
fn what_was_told_is_in_the_journal_and_stays_there() {
    let mut lab = Lab::new(1);
    let seller = lab.puppets[0].key();
    assert_eq!(page(&mut lab, 0), Ok(EventPage { events: Vec::new(), up_to: 0, last: 0 }));
    // Too much for the line, so the payment fails at once or after its patience.
    lab.pay(seller, 5_000);
    lab.pass(60_000);
    let live = told(&mut lab);
    let Some(JournalEvent { number, entry: JournalEntry::Payment(report) }) = live.last() else {
        panic!("{live:?}")
    };
    assert_eq!(*number, u64::try_from(live.len()).unwrap());
    assert!(matches!(report.status, PaymentStatus::Failed(_)));
    cancelled_invoice(&mut lab);
    let before = page(&mut lab, 0).unwrap();
    assert_eq!(before.events.first(), live.first());
    let Some(JournalEvent { entry: JournalEntry::Invoice(report), .. }) = before.events.last()
    else {
        panic!("{before:?}")
    };
    assert_eq!(report.status, InvoiceStatus::Cancelled);
    assert_eq!((before.up_to, before.last), (before.last, lab.funder_report().last_event));
    lab.restart();
    assert_eq!(page(&mut lab, 0), Ok(before.clone()));
    assert_eq!(page(&mut lab, before.last).unwrap().events, []);
    // Numbers go on, and one that was never given is of another journal.
    cancelled_invoice(&mut lab);
    let more = page(&mut lab, before.last).unwrap();
    assert_eq!(more.events.first().unwrap().number, before.last + 1);
    assert_eq!(page(&mut lab, more.last + 1), Err(ErrorCode::Invalid));
    assert_eq!(page(&mut lab, u64::MAX), Err(ErrorCode::Invalid));
}

#[test]
fn it_comes_in_pages_and_forgets_the_oldest() {
    let mut lab = Lab::alone();
    lab.config = Config { journal_entries: 160, ..lab.config.clone() };
    lab.restart();
    for _ in 0..65 {
        cancelled_invoice(&mut lab);
    }
    let last = lab.funder_report().last_event;
    let (mut after, mut numbers) = (0, Vec::new());
    while after < last {
        let page = page(&mut lab, after).unwrap();
        assert!(page.events.len() <= MAX_EVENTS && after < page.up_to);
        numbers.extend(page.events.iter().map(|event| event.number));
        after = page.up_to;
    }
    assert_eq!(numbers, (1..=last).collect::<Vec<_>>());
    while lab.funder.state().journal.len() as u64 == lab.funder_report().last_event {
        cancelled_invoice(&mut lab);
    }
    assert!((160..170).contains(&lab.funder.state().journal.len()));
    assert_eq!(lab.disk.journal, lab.funder.state().journal);
    assert_eq!(page(&mut lab, 0), Err(ErrorCode::NotFound));
    let first = *lab.funder.state().journal.first_key_value().unwrap().0;
    assert_eq!(page(&mut lab, first - 1).unwrap().events[0].number, first);
    lab.restart();
    assert_eq!(page(&mut lab, 0), Err(ErrorCode::NotFound));
    // What the store no longer keeps is left out, and the page goes on behind it.
    let ended = Ended::default();
    match lab.ask(Command::Events { after: first, ended }) {
        Ok(AppReply::Events(page)) => {
            assert!(page.events.is_empty() && page.up_to == first + MAX_EVENTS as u64);
        }
        other => panic!("{other:?}"),
    }
}
