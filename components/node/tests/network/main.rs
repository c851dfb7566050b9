//! Networks of nodes with a real relay, index server and database each, in one process.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod apps;
mod harness;
mod payments;
mod reports;
#[path = "../../../proto/tests/it/samples/mod.rs"]
mod samples;
