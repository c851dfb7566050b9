//! What a payment writes, signs and sends, counted exactly. Whoever makes a payment dearer or cheaper
//! has to change a number here, and to say why.

mod chain;

use chain::{Chain, Counts};
use offset_proto::app::Hold;

const NODES: u64 = 3;

/// Pays so many invoices at once over the chain, and counts until all is quiet.
fn counted(chain: &mut Chain, payments: usize) -> Counts {
    for _ in 0..payments {
        chain.invoice(Hold::None);
    }
    chain.settle();
    // So that tokens are where a payment leaves them.
    chain.pay();
    chain.settle();
    chain.counts = Counts::default();
    let before = chain.succeeded;
    while chain.pay_invoice() {}
    chain.settle();
    assert_eq!(chain.succeeded - before, payments);
    std::mem::take(&mut chain.counts)
}

fn rows(counts: &Counts) -> Vec<(&'static str, usize)> {
    counts.rows.iter().map(|(kind, rows)| (*kind, *rows)).collect()
}

fn totals(counts: &Counts) -> [usize; 5] {
    [counts.commits, counts.tokens, counts.responses, counts.all_rows(), counts.bytes]
}

/// A payment alone, over three nodes.
#[test]
fn one_payment_writes_signs_and_sends_just_this() {
    let counts = counted(&mut Chain::new(NODES, false), 1);
    assert_eq!(totals(&counts), ONE, "{WHAT}: {:?}", rows(&counts));
    assert_eq!(rows(&counts), ONE_ROWS);
}

/// Many at once share commits and tokens; what belongs to each of them stays.
#[test]
fn many_payments_share_commits_and_signatures() {
    let counts = counted(&mut Chain::new(NODES, false), 64);
    assert_eq!(totals(&counts), MANY, "{WHAT}: {:?}", rows(&counts));
    assert_eq!(rows(&counts), MANY_ROWS);
}

/// However many friends, invoices and requests there are, a payment costs the same.
#[test]
fn a_payment_costs_the_same_however_much_there_is() {
    let mut chain = Chain::new(NODES, false);
    let small = counted(&mut chain, 1);
    for friend in 0..300_u16 {
        for node in 0..3 {
            chain.add_stranger(node, friend);
        }
    }
    for _ in 0..1_000 {
        chain.invoice(Hold::None);
    }
    chain.settle();
    chain.forget_invoices();
    // These stay pending: their seller decides.
    for _ in 0..500 {
        chain.invoice(Hold::Standard);
    }
    chain.settle();
    while chain.pay_invoice() {}
    chain.settle();
    let pending = chain.pending(1);
    assert!(1_000 <= pending, "{pending} pending at the mediator");
    let large = counted(&mut chain, 1);
    assert_eq!(large.rows, small.rows);
    assert_eq!((large.commits, large.tokens), (small.commits, small.tokens));
    // Numbers have more digits, nothing more.
    assert_eq!(large.bytes, small.bytes);
}

const WHAT: &str = "commits, tokens, responses, row changes, bytes between friends";

const ONE: [usize; 5] = [10, 8, 1, 67, 3_512];
const ONE_ROWS: &[(&str, usize)] = &[
    ("before sent", 4),
    ("channel", 13),
    ("collected", 4),
    ("entry", 4),
    ("invoice", 1),
    ("journal", 6),
    ("line", 8),
    ("payment", 4),
    ("pending", 9),
    ("pending gone", 4),
    ("received", 8),
    ("set", 1),
    ("set gone", 1),
];
const MANY: [usize; 5] = [10, 8, 64, 2_209, 83_648];
const MANY_ROWS: &[(&str, usize)] = &[
    ("before sent", 4),
    ("channel", 13),
    ("collected", 256),
    ("entry", 256),
    ("invoice", 64),
    ("journal", 384),
    ("line", 8),
    ("payment", 256),
    ("pending", 576),
    ("pending gone", 256),
    ("received", 8),
    ("set", 64),
    ("set gone", 64),
];
