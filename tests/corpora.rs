//! Plays every file of the fuzzers' corpora through its target, so that what a fuzzer once reached
//! stays right without a fuzzer.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that cannot go on fails")]

#[allow(unreachable_pub, dead_code, reason = "it is the library of another crate")]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::{fs, path::Path};

#[test]
fn corpora_are_played() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    for (name, target) in targets::TARGETS {
        assert!(fuzz.join(format!("fuzz_targets/{name}.rs")).exists(), "{name} has no fuzzer");
        let mut played = 0;
        for entry in fs::read_dir(fuzz.join("corpus").join(name)).unwrap() {
            let path = entry.unwrap().path();
            // Shown when the target panics.
            println!("{}", path.display());
            target(&fs::read(&path).unwrap());
            played += 1;
        }
        assert!(0 < played, "the corpus of {name} is empty");
    }
    let targets = fs::read_dir(fuzz.join("fuzz_targets")).unwrap().count();
    assert_eq!(targets, targets::TARGETS.len(), "a fuzzer is not among the targets");
}
