//! How often somebody outside may want something: a bucket of turns that fills up steadily. Pure.

use tokio::time::Instant;

/// The turns of one application over all its connections, or of all strangers.
#[derive(Debug)]
pub(crate) struct Pace {
    /// In millionths of a turn.
    left: u64,
    at: Instant,
    /// So many seconds' worth of turns may be taken at once.
    burst_seconds: u64,
}

impl Pace {
    /// Full.
    pub(crate) fn new(rate: u32, burst_seconds: u64, now: Instant) -> Self {
        Self { left: capacity(rate, burst_seconds), at: now, burst_seconds }
    }

    /// Takes a turn, if there is one, at so many turns a second.
    pub(crate) fn take(&mut self, rate: u32, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_micros();
        let filled = u64::try_from(passed).unwrap_or(u64::MAX).saturating_mul(u64::from(rate));
        self.left = self.left.saturating_add(filled).min(capacity(rate, self.burst_seconds));
        self.at = self.at.max(now);
        match self.left.checked_sub(TURN) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

fn capacity(rate: u32, burst_seconds: u64) -> u64 {
    u64::from(rate).saturating_mul(burst_seconds).saturating_mul(TURN)
}

const TURN: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(5, 10, start);
        let burst = 50;
        for _ in 0..burst {
            assert!(pace.take(5, start));
        }
        assert!(!pace.take(5, start));
        let mut taken = 0;
        for ms in 0..10_000 {
            taken += u64::from(pace.take(5, start + Duration::from_millis(ms)));
        }
        assert!((49..=50).contains(&taken), "{taken}");
        // A clock that goes back gives nothing, and a long rest no more than a burst.
        assert!(!pace.take(5, start));
        let later = start + Duration::from_hours(1_000);
        assert_eq!((0..2 * burst).filter(|_| pace.take(5, later)).count() as u64, burst);
    }

    #[test]
    fn a_lower_rate_counts_at_once() {
        let start = Instant::now();
        let mut pace = Pace::new(1_000, 10, start);
        let taken = (0..1_000).filter(|_| pace.take(1, start)).count() as u64;
        assert_eq!(taken, 10);
    }
}
