//! The books over real daemons: what a merchant took in, exported, sums to the balances exactly.
//!
//! `OFFSET_INVOICES=5000 cargo test --test history -- --nocapture` plays the month of a busy one.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on fails")]

mod support;

use std::{collections::BTreeMap, time::Instant};

use futures::{StreamExt as _, stream};
use offset_app::{AppClient, ConnectOptions};
use offset_crypto::{Identity, Nonce, PaymentId, SystemRng};
use offset_proto::{
    Credits, Text,
    app::{CreateInvoice, Hold, PayRequest, PaymentStatus, PaymentTarget},
    file::{IdentityFile, NodeTicket, OffsetFile as _},
    payment::Invoice,
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
    // A busy shop asks more often than the usual application.
    for node in ["node0", "node2"] {
        let ticket = format!("-i net/{node}/app.ident -o net/{node}/trusted/app.ticket --force");
        let may = "--proutes --pfunds --pconfig --commands-per-second 10000";
        sandbox.run(&format!("stmgr app-ticket {ticket} {may}")).success();
    }
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
    // Who pays by an older fee is refused by the mediator.
    let key = sandbox.public_key("net/node2/node.ident");
    for (currency, fee) in [("credit", "3"), ("gold", "0")] {
        eventually("the index server knows the fees", || {
            let quote = format!("funds quote -d {key} -a 100 -c {currency} --json");
            let ran = sandbox.run(&stctrl("node0", &quote));
            let shown: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
            if shown["fee"] == fee { Ok(()) } else { Err(format!("{ran:?}")) }
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
    let invoices: Vec<Invoice> = stream::iter(0..count)
        .map(|n| async move { one_sale(buyer, seller, n).await })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    println!("{count} invoices in {:?}", begin.elapsed());
    tokio::task::block_in_place(|| check_what_is_held(&sandbox, count));
    // The goods arrive, or do not, when nobody thinks of the other payments any more.
    stream::iter(invoices)
        .for_each_concurrent(AT_ONCE, |invoice| async move {
            match fate(number_of(&invoice)) {
                Fate::CollectedLate => seller.collect_invoice(invoice.id()).await.unwrap(),
                Fate::GivenBack => seller.cancel_invoice(invoice.id()).await.unwrap(),
                Fate::Paid | Fate::Cancelled | Fate::Expired => {}
            }
        })
        .await;
    println!("and what was held in {:?}", begin.elapsed());
    tokio::task::block_in_place(|| check(&sandbox, count));
}

/// What becomes of an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Paid,
    /// Before anybody pays it.
    Cancelled,
    Expired,
    /// Held until all others are paid.
    CollectedLate,
    GivenBack,
}

fn fate(n: u64) -> Fate {
    match n {
        n if n.is_multiple_of(17) => Fate::Expired,
        n if n % 13 == 5 => Fate::Cancelled,
        n if n % 11 == 3 => Fate::CollectedLate,
        n if n % 11 == 7 => Fate::GivenBack,
        _ => Fate::Paid,
    }
}

/// The currency and amount of an invoice.
fn price(n: u64) -> (&'static str, u128) {
    (if n.is_multiple_of(3) { "gold" } else { "credit" }, u128::from(1 + n % 97))
}

/// The sums of the invoices with some fates, by currency.
fn sums_of(count: u64, fates: &[Fate]) -> BTreeMap<String, u128> {
    let mut sums: BTreeMap<String, u128> = BTreeMap::new();
    for n in (0..count).filter(|n| fates.contains(&fate(*n))) {
        let (currency, amount) = price(n);
        *sums.entry(currency.to_owned()).or_default() += amount;
    }
    assert_eq!(sums.len(), 2, "{sums:?}");
    sums
}

/// An invoice that is paid, or cancelled, or left to expire, or held.
async fn one_sale(buyer: &AppClient, seller: &AppClient, n: u64) -> Invoice {
    let (fate, (currency, amount)) = (fate(n), price(n));
    let held = matches!(fate, Fate::CollectedLate | Fate::GivenBack);
    let terms = CreateInvoice {
        currency: Some(currency.parse().unwrap()),
        amount: Credits(amount),
        description: Text::cut(&format!(
            "=sale; \"{n}\", and more, date:2026-13-45 [2026-13-45] :x:"
        )),
        expires_in_ms: (fate == Fate::Expired).then_some(1),
        hold: if held { Hold::Standard } else { Hold::None },
        nonce: Nonce::random(&mut SystemRng),
    };
    let invoice = seller.create_invoice(terms).await.unwrap().invoice;
    if fate == Fate::Cancelled {
        seller.cancel_invoice(invoice.id()).await.unwrap();
    }
    let report = buyer
        .pay(PayRequest {
            payment_id: PaymentId::random(&mut SystemRng),
            target: PaymentTarget::Invoice(Box::new(invoice.clone())),
            max_fee: Some(Credits(10)),
            deadline_ms: Some(300_000),
            note: Text::cut(&format!("bread {n}")),
            max_parts: None,
        })
        .await;
    let as_it_should = match &report {
        Ok(report) => match report.status {
            PaymentStatus::Succeeded { .. } => fate == Fate::Paid,
            PaymentStatus::Committed => held,
            PaymentStatus::Failed(_) => matches!(fate, Fate::Cancelled | Fate::Expired),
            PaymentStatus::Routing
            | PaymentStatus::Requesting
            | PaymentStatus::Complete
            | PaymentStatus::Cancelled
            | PaymentStatus::Unknown => false,
        },
        Err(_) => fate == Fate::Expired,
    };
    assert!(as_it_should, "invoice {n}, {fate:?}: {report:?}");
    invoice
}

/// The number in the description.
fn number_of(invoice: &Invoice) -> u64 {
    invoice.description.as_str().split('"').nth(1).unwrap().parse().unwrap()
}

/// What the seller has not decided on is frozen, and no more.
fn check_what_is_held(sandbox: &Sandbox, count: u64) {
    let held = sums_of(count, &[Fate::CollectedLate, Fate::GivenBack]);
    eventually("only what is held is pending", || {
        let shown = json(sandbox, "node2", "info pending");
        let mut frozen: BTreeMap<String, u128> = BTreeMap::new();
        for entry in shown["pending"].as_array().unwrap() {
            let amount: u128 = entry["amount"].as_str().unwrap().parse().unwrap();
            let currency = entry["currency"].as_str().unwrap();
            *frozen.entry(currency.to_owned()).or_default() += amount;
            assert_eq!(entry["friend"], "node1");
        }
        if frozen == held { Ok(()) } else { Err(format!("{frozen:?}, not {held:?}")) }
    });
}

/// The numbers of the notes that the buyer made.
fn check_note(row: &BTreeMap<String, String>) {
    let n: u64 = row["note"].strip_prefix("bread ").unwrap().parse().unwrap();
    let (currency, amount) = price(n);
    assert!(matches!(fate(n), Fate::Paid | Fate::CollectedLate), "{row:?}");
    assert_eq!((row["currency"].as_str(), &row["amount"]), (currency, &amount.to_string()));
}

/// What bookkeeping programs make of an export, where there are such programs: the assets are the
/// balances, and every transaction balances.
fn check_ledger(sandbox: &Sandbox, node: &str) {
    let export = format!("history export --format ledger -o {node}.ledger");
    sandbox.run(&stctrl(node, &export)).success();
    let balances = json(sandbox, node, "info balance --all");
    let balances = balances["balances"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let expected: BTreeMap<String, String> = balances
        .map(|row| (text(&row["currency"]), text(&row["balance"])))
        .filter(|(_, balance)| balance != "0")
        .collect();
    let file = format!("{node}.ledger");
    for (program, show) in [
        ("hledger", format!("hledger -f {file} balance Assets --depth 1 --no-total -O csv")),
        ("ledger", format!("ledger -f {file} balance Assets --depth 1 --no-total")),
    ] {
        if sandbox.run(&format!("{program} --version")).code != Some(0) {
            println!("{program} is not installed: what it makes of the export is not checked");
            continue;
        }
        let shown = sandbox.run(&show).success().replace("\"account\",\"balance\"", "");
        let words = shown.replace(['"', ',', '\n'], " ").replace("Assets", " ");
        let words: Vec<_> = words.split_whitespace().collect();
        let found: BTreeMap<String, String> =
            words.chunks(2).map(|pair| (pair[1].to_owned(), pair[0].to_owned())).collect();
        assert_eq!(found, expected, "{program} of {node}: {shown}");
    }
}

fn check(sandbox: &Sandbox, count: u64) {
    let sales = sums_of(count, &[Fate::Paid, Fate::CollectedLate]);
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
            } else if row["kind"] == "paid" {
                check_note(&row);
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
            assert_eq!(taken, sales);
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
    let note = |entry: &Value| entry["note"].as_str().unwrap().starts_with("bread ");
    assert!(last.iter().all(|entry| entry["kind"] == "paid" && note(entry)));
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
    for node in NODES {
        check_ledger(sandbox, node);
    }
    sandbox.run(&stctrl("node2", "config set-retention 0")).failure(2, &["forever"]);
    sandbox.run(&stctrl("node2", "config set-retention 30")).success();
    sandbox.run(&stctrl("node2", "config set-retention forever")).success();
}
