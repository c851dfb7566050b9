//! Logs on stderr. What a peer, a file or a library says in a line is shown so that no terminal acts
//! on it, lines are cut, and one place in the code that has much to say does not fill the disk.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use env_logger::Logger;
use log::{Level, Log, Metadata, Record};
use offset_proto::printable;

/// Starts logging as `RUST_LOG` says; without it daemons log warnings, other programs nothing.
pub fn start(daemon: bool) {
    let quiet = if daemon { "warn" } else { "off" };
    let env = env_logger::Env::default().default_filter_or(quiet);
    let inner = env_logger::Builder::from_env(env).format_target(false).build();
    let most = inner.filter();
    let lines = Lines { inner, sites: Mutex::default(), started: Instant::now() };
    // A second logger in one process (tests) keeps the first.
    if log::set_boxed_logger(Box::new(lines)).is_ok() {
        log::set_max_level(most);
    }
}

/// A call in the code, by file and line.
type Place = (Option<&'static str>, Option<u32>);

/// The logger.
struct Lines {
    inner: Logger,
    /// There are as many as the program has calls, whatever its peers do.
    sites: Mutex<HashMap<Place, Site>>,
    started: Instant,
}

impl Lines {
    /// How many lines of this place were left out before this one, or nothing when this one is, too.
    fn admit(&self, record: &Record<'_>) -> Option<u64> {
        // Whoever asks for these wants them all.
        if record.level() >= Level::Debug {
            return Some(0);
        }
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        let site = sites.entry((record.file_static(), record.line())).or_default();
        site.admit(self.started.elapsed())
    }
}

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.inner.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.inner.matches(record) {
            return;
        }
        let Some(left_out) = self.admit(record) else { return };
        let line = shown(&record.args().to_string(), left_out);
        let mut copy = Record::builder();
        copy.metadata(record.metadata().clone())
            .module_path(record.module_path())
            .file(record.file())
            .line(record.line());
        self.inner.log(&copy.args(format_args!("{line}")).build());
    }

    fn flush(&self) {
        self.inner.flush();
    }
}

/// A line as it is written.
fn shown(text: &str, left_out: u64) -> String {
    let mut line = printable(text).into_owned();
    if LONGEST < line.len() {
        line.truncate(line.floor_char_boundary(LONGEST));
        line.push_str("...");
    }
    if 0 < left_out {
        line.push_str(&format!(" (left out before this: {left_out} lines of this kind)"));
    }
    line
}

/// How much one place in the code has said.
#[derive(Debug, Default, PartialEq)]
struct Site {
    /// Lines that are not made up for by time yet.
    said: u32,
    /// Up to when time was counted, since the start.
    counted: Duration,
    left_out: u64,
}

impl Site {
    /// As [`Lines::admit`], at a time since the start.
    fn admit(&mut self, now: Duration) -> Option<u64> {
        let periods = now.saturating_sub(self.counted).as_secs() / EACH.as_secs();
        let periods = u32::try_from(periods).unwrap_or(u32::MAX);
        self.said = self.said.saturating_sub(periods);
        self.counted = if self.said == 0 { now } else { self.counted + EACH * periods };
        if AT_ONCE <= self.said {
            self.left_out += 1;
            return None;
        }
        self.said += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// Lines of one place that are written at once.
const AT_ONCE: u32 = 100;
/// And then one in this time: at most 17,000 a day.
const EACH: Duration = Duration::from_secs(5);
/// Of a line, in bytes, without time and level.
const LONGEST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_says_much_is_cut_short_and_counted() {
        let mut site = Site::default();
        let at = Duration::from_millis;
        assert!((0..100).all(|_| site.admit(at(10)) == Some(0)));
        assert!((0..1_000_000).all(|_| site.admit(at(4_000)).is_none()));
        assert_eq!(site.admit(at(5_100)), Some(1_000_000));
        assert_eq!(site.admit(at(5_100)), None);
        // Time counts to the end, however often it is asked.
        assert!((5_100..10_000).all(|now| site.admit(at(now)).is_none()));
        assert_eq!(site.admit(at(10_100)), Some(4_901));
        // After a long rest it may say as much as at first, and no more.
        let later = Duration::from_secs(100_000);
        assert!((0..100).all(|_| site.admit(later).is_some()));
        assert_eq!(site.admit(later), None);
    }

    #[test]
    fn a_line_is_one_line_of_bounded_length_that_no_terminal_acts_on() {
        assert_eq!(shown("a\nb\u{1b}[31m\u{202e}", 0), "a\\u{a}b\\u{1b}[31m\\u{202e}");
        let long = shown(&"ä".repeat(10_000), 7);
        assert!(long.starts_with(&"ä".repeat(512)), "{long}");
        assert!(long.ends_with("ä... (left out before this: 7 lines of this kind)"), "{long}");
        assert_eq!(long.matches('ä').count(), 512);
    }

    #[test]
    fn only_what_is_logged_unasked_is_cut_short() {
        let inner = env_logger::Builder::new().filter_level(log::LevelFilter::Trace).build();
        let lines = Lines { inner, sites: Mutex::default(), started: Instant::now() };
        let admitted = |level, line| {
            let args = format_args!("x");
            let record = Record::builder().args(args).level(level).line(Some(line)).build();
            (0..1_000).filter(|_| lines.admit(&record).is_some()).count()
        };
        assert!(admitted(Level::Warn, 1) < 1_000);
        // Another place has a say of its own.
        assert!(100 <= admitted(Level::Error, 2));
        assert_eq!(admitted(Level::Debug, 3), 1_000);
    }
}
