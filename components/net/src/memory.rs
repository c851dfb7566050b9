//! What a process does with memory that it let go of.

use std::hint::black_box;

/// Lets this process keep memory that it let go of, for when it needs some again: up to 8 MiB for each
/// pool of the C library. Whatever moves much (messages, batches) takes and gives back pieces of some
/// 64 KiB all the time. By itself glibc gives what is above 128 KiB back to the system each time, and
/// has it back page by page, each of them cleared: a quarter of a relay's work for a stream.
///
/// glibc takes the largest piece that was ever freed for what this process usually needs (`mallopt(3)`,
/// `M_MMAP_THRESHOLD`). Such a piece is taken and freed here, untouched. Elsewhere that does nothing.
/// For the first lines of a daemon.
pub fn keep_memory() {
    drop(black_box(Vec::<u8>::with_capacity(black_box(LARGE_BYTES))));
}

/// Memory in pieces of this size and more is still taken from the system and given back each time.
const LARGE_BYTES: usize = 4 * 1024 * 1024;

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    #[test]
    fn memory_that_was_let_go_of_is_used_again() {
        // That this thread got from the system so far.
        let pages = || -> u64 {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let (_, fields) = stat.rsplit_once(')').unwrap();
            fields.split_whitespace().nth(7).unwrap().parse().unwrap()
        };
        keep_memory();
        let use_some = || drop(black_box((0..16).map(|_| vec![7_u8; 60_000]).collect::<Vec<_>>()));
        use_some();
        let before = pages();
        for _ in 0..100 {
            use_some();
        }
        let each = (pages() - before) / 100;
        assert!(each < 20, "{each} pages each time, of some 235");
    }
}
