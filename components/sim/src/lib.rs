//! Whole networks in one thread, deterministic by seed: real funders, a modelled disk under each,
//! the real relay broker, index directory, graph, search, federation and reporter; simulated
//! connections, clocks and processes. It is for tests and finds what order, loss, crashes and slow
//! or failing disks break.
//!
//! ```text
//!   storm: orders of apps, changes of owners, crashes, pauses, cuts, partitions, slow and failing
//!          disks, clocks that jump, friends who part and meet again, spoilt tokens, a node that
//!          comes back from older disks, one that betrays its friends, relays and index servers
//!          that lie; after every event the invariants that hold at all times are checked
//!   calm:  everything works again, owners mend what only they can, nobody is a friend of the
//!          betrayer any more; all must settle, every payment with its whole effect or none, and
//!          over every line a payment must pass
//! ```
//!
//! Beside it runs a `ledger` of its own that predicts every line at every token, and who must have
//! what in the end (`balances`).
//!
//! The same seed gives the same run, to the byte: [`run`] returns the hash of everything that
//! happened, and a run that is repeated must give it again. What a seed does is drawn in
//! [`Options`]; each seed has some faults and not others, so that rare combinations are reached.
//!
//! What it does not model: the bytes of TLS and frames (`sealed` stands for the secure channel), the
//! node's tokio shell (a smaller one stands here), and several threads.
#![allow(clippy::wildcard_enum_match_arm, reason = "a simulator looks at some of many kinds")]

mod app;
mod balances;
mod betrayer;
mod chaos;
mod check;
mod disk;
mod index;
mod ledger;
mod liars;
mod misfortune;
mod node;
mod options;
#[path = "../../funder/tests/support/puppet.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "shared with the tests of the funder"
)]
mod puppet;
mod relay;
mod sealed;
mod session;
mod sum;
mod wire;
mod world;

pub use crate::{options::Options, world::Summary};

/// What a seed draws, as text.
#[must_use]
pub fn describe(seed: u64) -> String {
    format!("{:?}", Options::draw(seed))
}

/// Runs one seed to its end.
///
/// # Panics
/// When an invariant does not hold; the message says which.
#[must_use]
pub fn run(seed: u64) -> Summary {
    world::World::new(seed, Options::draw(seed)).run()
}
