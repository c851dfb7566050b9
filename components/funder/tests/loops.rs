//! Crash and I/O loops: scripts of what owners do, each with the n-th write of a disk failing, for
//! n = 1, 2, 3 and so on until the script passes undisturbed, in every mode of [`Mode`]. Whatever
//! fails, in the end everything has settled: payments had their whole effect or none, both sides of
//! every line agree, and over every line a payment passes.
//!
//! An ordinary run plays every third place of the modes that kill, and every sixth of the others;
//! `OFFSET_LOOPS=all cargo test --test loops` plays them all, and
//! `OFFSET_LOOP="direct payment" OFFSET_LOOP_AT=7 cargo test --test loops` one place again.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, and picks out what it looks at"
)]

#[path = "loops/scenarios.rs"]
mod scenarios;
mod support;

use scenarios::{SCENARIOS, Scenario, Script};
use support::faults::{Failing, Mode};

/// Plays it with one failure; gives how many calls there were.
fn play(scenario: &Scenario, mode: Mode, at: u64) -> u64 {
    println!("OFFSET_LOOP={:?} OFFSET_LOOP_AT={at}, {mode:?}", scenario.name);
    let (mut net, pairs) = (scenario.set_up)();
    let failing = Failing::new(mode, scenario.victim, at);
    let calls = failing.calls.clone();
    net.disks = Some(Box::new(failing));
    net.lag = if mode == Mode::Torn { 2 } else { 0 };
    let mut script = Script { net, pairs };
    (scenario.play)(&mut script);
    script.finish();
    let passed = calls.get() < at;
    // Nothing more fails.
    script.net.disks = None;
    script.net.lag = 0;
    (scenario.check)(&script.net, passed);
    script.check_lines_work();
    calls.get()
}

#[test]
fn a_disk_may_fail_at_every_write() {
    let name = std::env::var("OFFSET_LOOP").ok();
    let at: Option<u64> = std::env::var("OFFSET_LOOP_AT").ok().map(|at| at.parse().unwrap());
    let all = std::env::var_os("OFFSET_LOOPS").is_some() || at.is_some();
    let (mut played, mut scenarios) = (0, 0);
    for scenario in SCENARIOS.iter().filter(|it| name.as_ref().is_none_or(|name| name == it.name)) {
        scenarios += 1;
        let mut calls = 0;
        for (row, mode) in (1..).zip(Mode::ALL) {
            // Each mode has its own places, so that together they miss few.
            let step = if all { 1 } else { 3 * if mode.kills() { 1 } else { 2 } };
            let mut n = at.unwrap_or(if all { 1 } else { 1 + (row + scenarios) % step });
            loop {
                calls = play(scenario, mode, n);
                played += 1;
                if at.is_some() || calls < n {
                    break;
                }
                n += step;
            }
        }
        println!("{}: passes at call {calls}", scenario.name);
        assert!(2 < calls, "{} writes hardly anything", scenario.name);
    }
    println!("{scenarios} scenarios, {played} runs");
    assert!(0 < scenarios, "no scenario has this name");
}
