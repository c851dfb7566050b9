//! How long to wait before the next try. Pure: randomness and elapsed time come in.

use std::time::Duration;

use offset_crypto::Rng;

/// Settings of a [`Backoff`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffConfig {
    /// The shortest wait.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
    /// A connection that stood this long counts as a success.
    pub reset_after: Duration,
}

impl BackoffConfig {
    /// The shortest wait unless configured otherwise (protocol, section 4).
    pub const FIRST: Duration = Duration::from_millis(250);
    /// The longest wait unless configured otherwise (protocol, section 4).
    pub const LONGEST: Duration = Duration::from_mins(1);
    /// What counts as success unless configured otherwise (protocol, section 4).
    pub const RESET_AFTER: Duration = Duration::from_mins(1);
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self { first: Self::FIRST, longest: Self::LONGEST, reset_after: Self::RESET_AFTER }
    }
}

/// Doubling waits with jitter between one party and one other. After failure `n` the wait is random
/// between `first * 2^(n-1)` and twice that, never over the longest, so that many who lost the same
/// server do not come back at the same moment.
#[derive(Debug, Clone)]
pub struct Backoff {
    config: BackoffConfig,
    failures: u32,
}

impl Backoff {
    /// Without failures yet.
    #[must_use]
    pub const fn new(config: BackoffConfig) -> Self {
        Self { config, failures: 0 }
    }

    /// How many failures were counted since the last success.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Counts a failure and gives the wait before the next try, between the shortest and the longest.
    pub fn next_delay(&mut self, rng: &mut dyn Rng) -> Duration {
        let BackoffConfig { first, longest, .. } = self.config;
        let low = first.saturating_mul(2u32.saturating_pow(self.failures)).min(longest);
        let high = low.saturating_mul(2).min(longest);
        let low = low.min(high / 2).max(first.min(longest));
        self.failures = self.failures.saturating_add(1);
        let mut random = [0; 4];
        rng.fill(&mut random);
        let part = f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX);
        low + high.saturating_sub(low).mul_f64(part)
    }

    /// A connection ended after it had stood for `lasted`: forgets the failures if that was long
    /// enough to count as a success.
    pub fn ended_after(&mut self, lasted: Duration) {
        if self.config.reset_after <= lasted {
            self.failures = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use offset_crypto::SeededRng;

    use super::*;

    #[test]
    fn waits_double_with_jitter_within_bounds() {
        let mut rng = SeededRng::new(1);
        let mut backoff = Backoff::new(BackoffConfig::default());
        let mut low = BackoffConfig::FIRST;
        for failure in 0..100 {
            assert_eq!(backoff.failures(), failure);
            let delay = backoff.next_delay(&mut rng);
            let high = (low * 2).min(BackoffConfig::LONGEST);
            assert!((low.min(high / 2)..=high).contains(&delay), "{failure}: {delay:?}");
            low = (low * 2).min(BackoffConfig::LONGEST);
        }
    }

    #[test]
    fn jitter_spreads() {
        let mut rng = SeededRng::new(2);
        let first = |rng: &mut SeededRng| Backoff::new(BackoffConfig::default()).next_delay(rng);
        let delays: std::collections::BTreeSet<_> = (0..100).map(|_| first(&mut rng)).collect();
        assert!(90 < delays.len());
    }

    #[test]
    fn only_a_lasting_connection_resets() {
        let mut rng = SeededRng::new(3);
        let mut backoff = Backoff::new(BackoffConfig::default());
        for _ in 0..10 {
            backoff.next_delay(&mut rng);
        }
        backoff.ended_after(Duration::from_secs(59));
        assert!(Duration::from_secs(30) <= backoff.next_delay(&mut rng));
        backoff.ended_after(Duration::from_secs(60));
        assert!(backoff.next_delay(&mut rng) <= Duration::from_millis(500));
    }

    #[test]
    fn odd_settings_stay_within_bounds() {
        let config = BackoffConfig {
            first: Duration::from_secs(5),
            longest: Duration::from_secs(1),
            ..BackoffConfig::default()
        };
        let mut backoff = Backoff::new(config);
        for _ in 0..50 {
            assert!(backoff.next_delay(&mut SeededRng::new(4)) <= Duration::from_secs(1));
        }
    }
}
