//! Whether a payment costs more where there is more: friends, open invoices, requests that are pending.
//!
//! `cargo bench -p offset-funder --bench scale`
//!
//! Prints the processor time of a payment over a chain of three funders, first while they have nothing else and
//! then while the buyer has all of it, and the rows that it writes.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints, and fails by panicking"
)]

#[path = "../tests/chain/mod.rs"]
mod chain;

use std::time::{Duration, Instant};

use chain::{Chain, Counts};
use offset_proto::app::Hold;

const FRIENDS: u16 = 1_000;
const INVOICES: usize = 10_000;
/// A node has at most 65,536 payments of its own under way.
const PENDING: usize = 64_000;
/// What one line carries at most, and some room.
const A_LINE: usize = 8_000;
const PAYMENTS: usize = 2_000;
const IN_FLIGHT: usize = 64;

fn main() {
    let mut chain = Chain::new(3, false);
    measure(&mut chain, "nothing else");
    for number in 0..FRIENDS {
        chain.add_stranger(0, number);
    }
    chain.settle();
    measure(&mut chain, "1,000 friends");
    for _ in 0..INVOICES {
        chain.invoice_of(0, Hold::None);
    }
    chain.settle();
    chain.forget_invoices();
    measure(&mut chain, "10,000 open invoices as well");
    let mut pending = 0;
    while pending < PENDING {
        let seller = chain.add_node();
        chain.connect(0, seller);
        let began = Instant::now();
        while pending < PENDING && chain.pending(seller) < A_LINE {
            for _ in 0..500 {
                chain.invoice_of(seller, Hold::Standard);
            }
            chain.settle();
            while chain.pay_invoice() {}
            chain.settle();
            pending = chain.pending(0);
        }
        println!(
            "{pending} requests are pending; the last {A_LINE} took {:.1?} to make",
            began.elapsed()
        );
    }
    measure(&mut chain, "64,000 pending requests as well");
}

fn measure(chain: &mut Chain, with: &str) {
    chain.counts = Counts::default();
    let first = chain.succeeded;
    let began = processor();
    let mut ordered = 0;
    while chain.succeeded - first < PAYMENTS {
        while ordered < PAYMENTS && first + ordered - chain.succeeded < IN_FLIGHT {
            chain.pay();
            ordered += 1;
        }
        chain.round();
    }
    let each = (processor() - began) / u32::try_from(PAYMENTS).unwrap();
    let per = |count: usize| count * 100 / PAYMENTS;
    println!(
        "with {with}: {each:.1?} a payment; per 100 payments {} commits, {} tokens, {} rows",
        per(chain.counts.commits),
        per(chain.counts.tokens),
        per(chain.counts.all_rows()),
    );
}

/// What this thread has taken of a processor. Only Linux tells.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}
