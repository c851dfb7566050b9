//! What applications see of a node: reports of any size, events that none is missed of.

use futures::StreamExt as _;
use offset_app::Error;
use offset_crypto::{Identity, Nonce, SeededRng, SystemRng};
use offset_proto::{
    Balance, ServerAddress,
    app::{AppEvent, ConfigRequest, CreateInvoice, ErrorCode, Hold, JournalEntry, JournalEvent},
    report::{NodeReport, ReportMutation},
};

use crate::harness::{Node, trust_with, until};

/// More than fit into a message several times over.
const FRIENDS: u64 = 1_000;
const CURRENCIES: [&str; 3] = ["credit", "EUR", "hours"];

fn name(n: u64) -> offset_proto::Name {
    format!("friend {n:04}").parse().unwrap()
}

/// An application that may send as many requests as it likes.
async fn busy_app(node: &Node) -> offset_app::AppClient {
    use offset_proto::{app::AppLimits, file::AppTicket};
    let app = Identity::random(&mut SeededRng::new(99));
    let limits = AppLimits { commands_per_second: Some(1_000_000), ..AppLimits::default() };
    let ticket = AppTicket { limits, ..AppTicket::new(app.public_key(), crate::harness::ALL) };
    trust_with(&node.trusted(), "busy", &ticket);
    until("the new ticket", || async {
        let options = offset_app::ConnectOptions::default();
        offset_app::AppClient::connect(&app, &node.address, &options).await.ok()
    })
    .await
}

async fn add_friends(node: &Node) {
    let app = busy_app(node).await;
    let add = |n: u64| {
        let public_key = Identity::random(&mut SeededRng::new(n)).public_key();
        let address = format!("relay{n}.example:8000").parse().unwrap();
        let app = app.clone();
        async move {
            app.config(ConfigRequest::AddFriend {
                name: name(n),
                public_key,
                relays: vec![ServerAddress { public_key, address }],
                currency: None,
                opening_balance: Balance::ZERO,
            })
            .await?;
            for currency in &CURRENCIES[1..] {
                let (friend, currency) = (name(n), currency.parse().unwrap());
                let opening_balance = Balance::new(7).unwrap();
                app.config(ConfigRequest::AddCurrency { friend, currency, opening_balance })
                    .await?;
            }
            Ok::<_, Error>(())
        }
    };
    let mut adding = futures::stream::iter((0..FRIENDS).map(add)).buffer_unordered(200);
    while let Some(added) = adding.next().await {
        added.unwrap();
    }
}

fn check(report: &NodeReport) {
    assert!(!report.more_friends);
    let names: Vec<_> = report.friends.iter().map(|friend| friend.name.clone()).collect();
    assert_eq!(names, (0..FRIENDS).map(name).collect::<Vec<_>>());
    assert!(report.friends.iter().all(|friend| friend.currencies.len() == CURRENCIES.len()));
}

#[tokio::test]
async fn a_thousand_friends_are_reported_and_followed() {
    let node = Node::start().await;
    add_friends(&node).await;
    check(&node.app.report().await.unwrap());
    let settings = node.app.report_without_friends().await.unwrap();
    assert!(settings.friends.is_empty() && settings.more_friends);

    let mut events = node.app.subscribe().await.unwrap();
    check(events.report());
    let (friend, new_name) = (name(500), name(500_000));
    node.config(ConfigRequest::SetFriendName { friend, new_name: new_name.clone() }).await;
    let event = events.next().await.unwrap();
    let renamed = |mutation: &ReportMutation| matches!(mutation, ReportMutation::SetFriend(friend) if friend.name == new_name);
    assert!(
        matches!(&event, AppEvent::Mutation { mutation, .. } if renamed(mutation)),
        "{event:?}"
    );
    assert_eq!(events.report(), &node.report().await);
}

async fn cancelled_invoices(node: &Node, count: usize) {
    let terms = || CreateInvoice {
        nonce: Nonce::random(&mut SystemRng),
        currency: None,
        amount: offset_proto::Credits(1),
        description: "tea".parse().unwrap(),
        expires_in_ms: None,
        hold: Hold::None,
    };
    for _ in 0..count {
        let report = node.app.create_invoice(terms()).await.unwrap();
        node.app.cancel_invoice(report.invoice.id()).await.unwrap();
    }
}

/// The numbers of what comes until the number `last`.
async fn numbers(events: &mut offset_app::Events, last: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&last) {
        if let AppEvent::Journal(JournalEvent { number, entry }) = events.next().await.unwrap() {
            assert!(matches!(entry, JournalEntry::Invoice(_)));
            numbers.push(number);
        }
    }
    numbers
}

#[tokio::test]
async fn an_app_that_remembers_a_number_misses_no_event() {
    let node = Node::start().await;
    let mut events = node.app.subscribe().await.unwrap();
    assert_eq!(events.report().last_event, 0);
    cancelled_invoices(&node, 1).await;
    let seen = node.report().await.last_event;
    assert_eq!(numbers(&mut events, seen).await, (1..=seen).collect::<Vec<_>>());
    drop(events);

    // More than a page of the journal while nobody listens, and a restart.
    cancelled_invoices(&node, 100).await;
    let node = node.restart().await;
    cancelled_invoices(&node, 1).await;
    let before = node.report().await.last_event;
    assert!(seen + 100 < before);
    let mut events = node.app.subscribe_after(seen).await.unwrap();
    cancelled_invoices(&node, 1).await;
    let last = node.report().await.last_event;
    assert_eq!(numbers(&mut events, last).await, (seen + 1..=last).collect::<Vec<_>>());
    assert_eq!(events.report().last_event, last);

    let mut nothing_missed = node.app.subscribe_after(last).await.unwrap();
    cancelled_invoices(&node, 1).await;
    let newest = node.report().await.last_event;
    assert_eq!(numbers(&mut nothing_missed, newest).await, (last + 1..=newest).collect::<Vec<_>>());

    let mut of_another = node.app.subscribe_after(newest + 5).await.unwrap();
    match of_another.next().await {
        Err(Error::Refused(error)) => assert_eq!(error.code, ErrorCode::Invalid),
        other => panic!("{other:?}"),
    }
}
