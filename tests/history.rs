//! The books over real daemons: what a merchant took in, exported, sums to the balances exactly.
//!
//! `OFFSET_INVOICES=5000 cargo test --test history -- --nocapture` plays the month of a busy one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::{collections::BTreeMap, time::Instant};

use futures::{StreamExt as _, stream};
use offset_app::{AppClient, ConnectOptions};
use offset_crypto::{Identity, Nonce, PaymentId, SystemRng};
use offset_proto::{
    Credits, Currency, Text,
    app::{CreateInvoice, Hold, PayRequest, PaymentStatus, PaymentTarget},
    file::{IdentityFile, NodeTicket, OffsetFile as _},
};
use serde_json::Value;
use support::{Sandbox, eventually};

const NODES: [&str; 3] = ["node0", "node1", "node2"];
/// How many payments are under way at the same time.
const AT_ONCE: usize = 64;

fn stctrl(node: &str, rest: &str) -> String {
    format!("stctrl -I net/{node}/app.ident -T net/{node}/node.ticket {rest}")
}

fn json(sandbox: &Sandbox, node: &str, rest: &str) -> Value {
    serde_json::from_str(&sandbox.run(&stctrl(node, &format!("{rest} --json"))).success()).unwrap()
}

async fn client(sandbox: &Sandbox, node: &str) -> AppClient {
    let identity = IdentityFile::parse(&sandbox.read(&format!("net/{node}/app.ident"))).unwrap();
    let ticket = NodeTicket::parse(&sandbox.read(&format!("net/{node}/node.ticket"))).unwrap();
    let IdentityFile::Plain(seed) = identity else { panic!("sealed") };
    let identity = Identity::from_seed(seed);
    AppClient::connect(&identity, &ticket.0, &ConnectOptions::retrying()).await.unwrap()
}

/// A second currency on every line, and a fee for what node1 passes on.
fn set_up(sandbox: &Sandbox) {
    for (node, friend) in
        [("node0", "node1"), ("node1", "node0"), ("node1", "node2"), ("node2", "node1")]
    {
        let set = |rest: &str| sandbox.run(&stctrl(node, rest)).success();
        set(&format!("config add-currency -n {friend} -c gold"));
        for currency in ["credit", "gold"] {
            set(&format!("config set-friend-max-debt -n {friend} -m 100000000 -c {currency}"));
            set(&format!("config open-friend -n {friend} -c {currency}"));
        }
    }
    sandbox.run(&stctrl("node1", "config set-friend-rate -n node0 --percent 1 --add 2")).success();
    for node in NODES {
        eventually("gold is open everywhere", || {
            let shown = sandbox.run(&stctrl(node, "info friends -c gold")).success();
            let lines = if node == "node1" { 2 } else { 1 };
            let open = shown.matches("LMD=100000000").count();
            if open == 2 * lines { Ok(()) } else { Err(shown) }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_of_a_merchant_sums_to_the_balances() {
    let count = std::env::var("OFFSET_INVOICES").map_or(150, |count| count.parse().unwrap());
    let sandbox = Sandbox::new();
    let _network = tokio::task::block_in_place(|| sandbox.network("line:3"));
    tokio::task::block_in_place(|| set_up(&sandbox));
    let (buyer, seller) = (client(&sandbox, "node0").await, client(&sandbox, "node2").await);
    let begin = Instant::now();
    let (buyer, seller) = (&buyer, &seller);
    let paid: Vec<Option<(Currency, u128)>> = stream::iter(0..count)
        .map(|n| async move { one_sale(buyer, seller, n).await })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    println!("{count} invoices in {:?}", begin.elapsed());
    let mut sales: BTreeMap<String, u128> = BTreeMap::new();
    for (currency, amount) in paid.into_iter().flatten() {
        *sales.entry(currency.to_string()).or_default() += amount;
    }
    assert_eq!(sales.len(), 2, "{sales:?}");
    tokio::task::block_in_place(|| check(&sandbox, &sales));
}

/// An invoice that is paid, or cancelled, or left to expire.
async fn one_sale(buyer: &AppClient, seller: &AppClient, n: u64) -> Option<(Currency, u128)> {
    let amount = Credits(u128::from(1 + n % 97));
    let currency: Currency = if n.is_multiple_of(3) { "gold" } else { "credit" }.parse().unwrap();
    let terms = CreateInvoice {
        currency: Some(currency.clone()),
        amount,
        description: Text::cut(&format!("=sale; \"{n}\", and more")),
        expires_in_ms: n.is_multiple_of(17).then_some(1),
        hold: Hold::None,
        nonce: Nonce::random(&mut SystemRng),
    };
    let invoice = seller.create_invoice(terms).await.unwrap().invoice;
    // One that expires at once can no longer be cancelled.
    if n % 13 == 5 && !n.is_multiple_of(17) {
        seller.cancel_invoice(invoice.id()).await.unwrap();
    }
    let report = buyer
        .pay(PayRequest {
            payment_id: PaymentId::random(&mut SystemRng),
            target: PaymentTarget::Invoice(Box::new(invoice)),
            max_fee: None,
            deadline_ms: Some(300_000),
            note: Text::cut("bread"),
            max_parts: None,
        })
        .await;
    let ended = n.is_multiple_of(17) || n % 13 == 5;
    match report {
        Ok(report) if matches!(report.status, PaymentStatus::Succeeded { .. }) => {
            assert!(!ended, "an invoice that has ended was paid");
            Some((currency, amount.0))
        }
        other => {
            assert!(ended, "{other:?}");
            None
        }
    }
}

fn check(sandbox: &Sandbox, sales: &BTreeMap<String, u128>) {
    for node in NODES {
        // The last collects may still be on their way.
        eventually("nothing is pending", || {
            let shown = sandbox.run(&stctrl(node, "info pending")).success();
            if shown == "Nothing is pending.\n" { Ok(()) } else { Err(shown) }
        });
        let file = format!("{node}.csv");
        let export = format!("history export --format csv -o {file}");
        sandbox.run(&stctrl(node, &export)).success();
        let mut sums: BTreeMap<String, i128> = BTreeMap::new();
        let (mut taken, mut fees) = (BTreeMap::<String, u128>::new(), BTreeMap::new());
        let text = sandbox.read(&file);
        let mut rows = csv::Reader::from_reader(text.as_bytes());
        for row in rows.deserialize() {
            let row: BTreeMap<String, String> = row.unwrap();
            let delta: i128 = row["delta"].parse().unwrap();
            *sums.entry(row["currency"].clone()).or_default() += delta;
            if row["kind"] == "received" {
                assert!(row["note"].starts_with("'=sale; \""), "{row:?}");
                *taken.entry(row["currency"].clone()).or_default() += delta.unsigned_abs();
            } else if row["kind"] == "forwarded-in" {
                let fee: u128 = row["fee"].parse().unwrap();
                *fees.entry(row["currency"].clone()).or_insert(0) += fee;
            }
        }
        let balances = json(sandbox, node, "info balance --all");
        for row in balances["balances"].as_array().unwrap() {
            let currency = row["currency"].as_str().unwrap();
            assert_eq!(sums[currency].to_string(), row["balance"], "{currency} of {node}");
        }
        assert_eq!(sums.len(), 2);
        if node == "node2" {
            assert_eq!(&taken, sales);
        }
        // The fee is for the default currency alone.
        let shown = json(sandbox, node, "history fees");
        let shown = shown["fees"].as_array().unwrap();
        let earned: Vec<_> = shown.iter().map(|row| row["fees"].as_str().unwrap()).collect();
        if node == "node1" {
            assert_eq!(earned, [fees["credit"].to_string()]);
            assert_eq!((&shown[0]["friend"], fees["gold"]), (&Value::from("node0"), 0));
            assert_eq!(sums["credit"], i128::try_from(fees["credit"]).unwrap());
        } else {
            assert!(earned.is_empty());
        }
    }
    let last = json(sandbox, "node0", "history list --limit 3 --currency gold --since 1d");
    let last = last["entries"].as_array().unwrap();
    assert_eq!(last.len(), 3);
    assert!(last.iter().all(|entry| entry["kind"] == "paid" && entry["note"] == "bread"));
    let refused = sandbox.run(&stctrl("node0", "history list --friend nodeO"));
    refused.failure(1, &["no friend named nodeO", "node1"]);
    sandbox.run(&stctrl("node0", "history list --since yesterday")).failure(2, &["7d"]);
    let all: Value = serde_json::from_str(
        &sandbox.run(&stctrl("node2", "history export --format json")).success(),
    )
    .unwrap();
    assert!(all["entries"].as_array().unwrap().len() > 20);
    let ledger = sandbox.run(&stctrl("node2", "history export --format ledger")).success();
    assert!(ledger.contains("Income:Offset:Payments  -"), "{ledger}");
    sandbox.run(&stctrl("node2", "config set-retention 0")).failure(2, &["forever"]);
    sandbox.run(&stctrl("node2", "config set-retention 30")).success();
    sandbox.run(&stctrl("node2", "config set-retention forever")).success();
}
