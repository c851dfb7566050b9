//! Runs many seeds: `cargo run --profile sim -p offset-sim -- --seeds 1000`.
#![allow(clippy::print_stdout, reason = "a program that prints what it found")]

use std::{panic::catch_unwind, process::ExitCode, time::Instant};

use clap::Parser;

/// Simulates networks, one a seed, and checks what must be true.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Go on after a seed that fails.
    #[arg(long)]
    keep_going: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let begin = Instant::now();
    let (mut failed, mut totals) = (0, [0; 14]);
    for seed in arguments.from..arguments.from.saturating_add(arguments.seeds) {
        let run = || {
            let summary = offset_sim::run(seed);
            // That a run can be repeated to the byte is what makes a failure worth something.
            if seed.is_multiple_of(100) {
                assert_eq!(summary, offset_sim::run(seed), "two runs of one seed differ");
            }
            summary
        };
        match catch_unwind(run) {
            Ok(summary) => {
                let counts = [
                    usize::try_from(summary.events).unwrap_or(usize::MAX),
                    summary.ordered,
                    summary.paid,
                    summary.in_parts,
                    summary.given_back,
                    summary.cleared,
                    summary.parted,
                    summary.crashes,
                    summary.restores,
                    summary.spoils,
                    summary.met_again,
                    summary.betrayals,
                    summary.lies,
                    summary.lies_found,
                ];
                for (total, count) in totals.iter_mut().zip(counts) {
                    *total += count;
                }
            }
            Err(_) => {
                failed += 1;
                println!("{}", offset_sim::describe(seed));
                println!(
                    "replay: cargo run --profile sim -p offset-sim -- --seeds 1 --from {seed}"
                );
                if !arguments.keep_going {
                    break;
                }
            }
        }
    }
    let [events, ordered, paid, in_parts, given_back, cleared, parted, crashes, ..] = totals;
    let [.., restores, spoils, met_again, betrayals, lies, found] = totals;
    println!(
        "{} seeds, {failed} failed, {events} events, {paid} of {ordered} payments paid, {in_parts} \
         of them over several routes, {given_back} given back, {cleared} clearings, {parted} \
         nodes parted, {met_again} friends added again, {crashes} crashes, {restores} returns to \
         older disks, {spoils} spoilt tokens, {betrayals} betrayals, {lies} lies of servers of \
         which {found} were found out at once, {:.0} s",
        arguments.seeds,
        begin.elapsed().as_secs_f64()
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
