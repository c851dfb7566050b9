//! A short run of the simulator; the long one is `cargo run --profile sim -p offset-sim -- --seeds N`.
#![allow(clippy::print_stdout, reason = "a test that fails says how to repeat it")]

/// `OFFSET_SIM_SEED=7` runs just that seed, `OFFSET_SIM_SEEDS=500` so many.
#[test]
fn networks_survive_the_storm() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (first, count) = match number("OFFSET_SIM_SEED") {
        Some(seed) => (seed, 1),
        None => (1, number("OFFSET_SIM_SEEDS").unwrap_or(20)),
    };
    let (mut paid, mut in_parts, mut given_back, mut cleared, mut parted) = (0, 0, 0, 0, 0);
    let (mut restores, mut spoils, mut met_again) = (0, 0, 0);
    let (mut betrayals, mut lies, mut lies_found) = (0, 0, 0);
    for seed in first..first + count {
        println!("repeat with OFFSET_SIM_SEED={seed}");
        let summary = offset_sim::run(seed);
        paid += summary.paid;
        in_parts += summary.in_parts;
        given_back += summary.given_back;
        cleared += summary.cleared;
        parted += summary.parted;
        restores += summary.restores;
        spoils += summary.spoils;
        met_again += summary.met_again;
        betrayals += summary.betrayals;
        lies += summary.lies;
        lies_found += summary.lies_found;
    }
    println!(
        "{paid} payments, {in_parts} of them over several routes, {given_back} given back, \
         {cleared} clearings, {parted} nodes parted, {restores} returns to older disks, {spoils} \
         spoilt tokens, {met_again} friends added again, {betrayals} betrayals, {lies} lies, \
         {lies_found} found out at once"
    );
    for (what, times) in [
        ("clears", cleared),
        ("pays over several routes", in_parts),
        ("gives back", given_back),
        ("parts", parted),
        ("returns to an older disk", restores),
        ("spoils a token", spoils),
        ("adds a friend again", met_again),
        ("betrays", betrayals),
        ("lies", lies),
        ("finds out a lie", lies_found),
    ] {
        assert!(0 < times || count < 20, "a simulation in which nobody {what} shows nothing");
    }
    assert!(0 < paid, "a simulation in which nobody pays shows nothing");
}

#[test]
fn a_run_can_be_repeated_to_the_byte() {
    for seed in [3, 4] {
        assert_eq!(offset_sim::run(seed), offset_sim::run(seed));
    }
}
