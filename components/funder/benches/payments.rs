//! What the pure core costs: payments over a chain of three funders, without network and disk.
//!
//! `cargo bench -p offset-funder --bench payments`
//!
//! Prints the time a payment takes of one core beside what its signatures alone take, measured in
//! the same run, and what it writes.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "../tests/chain/mod.rs"]
mod chain;

use std::time::{Duration, Instant};

use chain::Chain;
use offset_crypto::{Identity, SeededRng};

const PAYMENTS: usize = 20_000;

fn main() {
    let signature = signature_time();
    for in_flight in [1, 16, 128, 512] {
        let mut chain = Chain::new(3, false);
        let began = Instant::now();
        let mut ordered = 0;
        while chain.succeeded < PAYMENTS {
            while ordered < PAYMENTS && ordered - chain.succeeded < in_flight {
                chain.pay();
                ordered += 1;
            }
            chain.round();
        }
        let each = began.elapsed() / u32::try_from(PAYMENTS).unwrap_or(u32::MAX);
        let per = |count: usize| count * 100 / PAYMENTS;
        println!(
            "{in_flight:>4} in flight: {each:>9.1?} a payment, {:.1} times its signatures; \
             commits {}/100 payments, tokens {}/100 payments, row changes {}/100 payments",
            each.as_secs_f64() / signature.as_secs_f64(),
            per(chain.counts.commits),
            per(chain.counts.tokens),
            per(chain.counts.all_rows()),
        );
        let kinds = chain.counts.rows.iter();
        let kinds: Vec<_> = kinds.map(|(what, rows)| format!("{what} {}", per(*rows))).collect();
        println!("               rows/100 payments at all three nodes: {}", kinds.join(", "));
    }
}

/// A payment without any batching signs one response and checks it twice.
fn signature_time() -> Duration {
    let identity = Identity::random(&mut SeededRng::new(9));
    let message = [7; 200];
    let began = Instant::now();
    for _ in 0..2_000 {
        let signature = identity.sign(&message);
        for _ in 0..2 {
            assert!(identity.public_key().verify(&message, &signature));
        }
    }
    let each = began.elapsed() / 2_000;
    println!("one signature and two verifications: {each:.1?}");
    each
}
