//! What daemons count of themselves, and the page on which Prometheus reads it.
//!
//! The shells count; what decides does not know of it. Counters are single numbers that tasks raise
//! without waiting for each other, so that nothing is slower for being counted.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::Refusal;

/// A number that only rises while the daemon runs.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn raise(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that rises and falls.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// What it is now.
    pub fn set(&self, now: usize) {
        self.0.store(u64::try_from(now).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What it was set to last.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long something took, sorted by powers of two of a tenth of a millisecond up to 13 s.
#[derive(Debug, Default)]
pub struct Durations {
    /// Those that took at most `SHORTEST` times two to the power of the place, and longer than the
    /// place before it.
    places: [Counter; PLACES],
    /// In microseconds.
    sum: Counter,
    count: Counter,
}

impl Durations {
    /// Counts one.
    pub fn observe(&self, took: Duration) {
        let place = (0..PLACES).find(|place| took <= limit(*place));
        if let Some(place) = place {
            self.places[place].raise();
        }
        self.sum.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.count.raise();
    }
}

/// What a listener lets in and refuses.
#[derive(Debug, Default)]
pub struct ListenerCounts {
    pub(crate) accepted: Counter,
    pub(crate) evicted: Counter,
    pub(crate) not_greeted: Counter,
    pub(crate) unauthorised: Counter,
    pub(crate) refused: [Counter; Refusal::ALL.len()],
}

impl ListenerCounts {
    /// Counts a refusal.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        let place = Refusal::ALL.iter().position(|known| *known == refusal);
        self.refused[place.expect("every refusal is in the list")].raise();
    }
}

/// Counters as text, in the format of Prometheus (text exposition format 0.0.4).
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

impl Page {
    /// A number that only rises.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "counter");
        self.line(name, "", value);
    }

    /// Numbers that only rise, told apart by a label.
    pub fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, u64)>,
    ) {
        self.head(name, help, "counter");
        for (value, count) in values {
            self.line(name, &format!("{{{label}=\"{value}\"}}"), count);
        }
    }

    /// A number that rises and falls.
    pub fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "gauge");
        self.line(name, "", value);
    }

    /// How long something took.
    pub fn durations(&mut self, name: &str, help: &str, durations: &Durations) {
        self.head(name, help, "histogram");
        // Taken first: a duration that is counted meanwhile may be missing in it, never too much.
        let count = durations.count.count();
        let mut below = 0;
        for (place, counter) in durations.places.iter().enumerate() {
            below += counter.count();
            let limit = limit(place).as_secs_f64();
            self.line(&format!("{name}_bucket"), &format!("{{le=\"{limit}\"}}"), below);
        }
        self.line(&format!("{name}_bucket"), "{le=\"+Inf\"}", count.max(below));
        let sum = Duration::from_micros(durations.sum.count()).as_secs_f64();
        // Writing to a text does not fail.
        let _ = writeln!(self.text, "{name}_sum {sum}");
        self.line(&format!("{name}_count"), "", count.max(below));
    }

    /// What a listener counted; `name` is where it listens for: `offset_relay`.
    pub fn listener(&mut self, name: &str, counts: &ListenerCounts) {
        let text = |what: &str| format!("{name}_{what}");
        let help = "Network connections that were let in.";
        self.counter(&text("connections_accepted_total"), help, counts.accepted.count());
        let refusals = Refusal::ALL.iter().zip(&counts.refused);
        let refusals = refusals.map(|(refusal, count)| (refusal.name(), count.count()));
        let others = [
            ("half_open", counts.evicted.count()),
            ("not_greeted", counts.not_greeted.count()),
            ("unauthorised", counts.unauthorised.count()),
        ];
        self.counters(
            &text("connections_refused_total"),
            "Network connections that were refused, or ended before they were greeted.",
            "reason",
            refusals.chain(others),
        );
    }

    /// The whole text.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: u64) {
        let _ = writeln!(self.text, "{name}{labels} {value}");
    }
}

/// The longest that is counted at a place.
fn limit(place: usize) -> Duration {
    SHORTEST * (1 << place)
}

const PLACES: usize = 18;
const SHORTEST: Duration = Duration::from_micros(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_as_prometheus_reads_it() {
        let mut page = Page::default();
        page.counter("a_total", "What a is.", 3);
        page.counters("b_total", "What b is.", "reason", [("x", 1), ("y", 0)]);
        page.gauge("c", "What c is.", 7);
        assert_eq!(
            page.into_text(),
            "# HELP a_total What a is.\n# TYPE a_total counter\na_total 3\n\
             # HELP b_total What b is.\n# TYPE b_total counter\n\
             b_total{reason=\"x\"} 1\nb_total{reason=\"y\"} 0\n\
             # HELP c What c is.\n# TYPE c gauge\nc 7\n"
        );
    }

    #[test]
    fn durations_are_sorted_by_their_length() {
        let durations = Durations::default();
        for micros in [1, 100, 101, 6_000, 60_000_000] {
            durations.observe(Duration::from_micros(micros));
        }
        let mut page = Page::default();
        page.durations("d", "What d is.", &durations);
        let text = page.into_text();
        for line in [
            "# TYPE d histogram",
            "d_bucket{le=\"0.0001\"} 2",
            "d_bucket{le=\"0.0002\"} 3",
            "d_bucket{le=\"0.0032\"} 3",
            "d_bucket{le=\"0.0064\"} 4",
            "d_bucket{le=\"13.1072\"} 4",
            "d_bucket{le=\"+Inf\"} 5",
            "d_sum 60.006202",
            "d_count 5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
