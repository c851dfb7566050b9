//! A token bucket that is told the time.

use offset_proto::Timestamp;

use crate::limits::Allowance;

/// Lets through so much a second and so much at once. A new bucket is full.
#[derive(Debug, Clone)]
pub(crate) struct TokenBucket {
    allowance: Allowance,
    /// What is left, in thousandths, so that a millisecond adds a whole number; below 0 is debt.
    left_milli: i64,
    filled_at: Timestamp,
}

impl TokenBucket {
    pub(crate) fn new(allowance: Allowance, now: Timestamp) -> Self {
        let allowance =
            Allowance { per_second: allowance.per_second.max(1), burst: allowance.burst.max(1) };
        Self { allowance, left_milli: i64::from(allowance.burst) * MILLI, filled_at: now }
    }

    /// Takes one token, or nothing when there is none.
    pub(crate) fn take(&mut self, now: Timestamp) -> bool {
        self.fill(now);
        let enough = MILLI <= self.left_milli;
        if enough {
            self.left_milli -= MILLI;
        }
        enough
    }

    /// Takes `tokens` whether or not they are there, and says how many milliseconds it takes to pay
    /// the debt back (0 when there is none). Debt ends at [`MAX_DEBT_SECONDS`], so that nobody is
    /// paused for so long that the connection seems dead.
    pub(crate) fn charge(&mut self, tokens: usize, now: Timestamp) -> u64 {
        self.fill(now);
        let tokens = i64::try_from(tokens).unwrap_or(i64::MAX).saturating_mul(MILLI);
        let floor = -i64::from(self.allowance.per_second) * MILLI * MAX_DEBT_SECONDS;
        self.left_milli = self.left_milli.saturating_sub(tokens).max(floor);
        self.ms_until(0)
    }

    /// When the bucket will be full again.
    pub(crate) fn full_at(&mut self, now: Timestamp) -> Timestamp {
        self.fill(now);
        now.plus_ms(self.ms_until(i64::from(self.allowance.burst) * MILLI))
    }

    fn fill(&mut self, now: Timestamp) {
        let elapsed_ms = i64::try_from(now.ms_since(self.filled_at)).unwrap_or(i64::MAX);
        let gained = elapsed_ms.saturating_mul(i64::from(self.allowance.per_second));
        let full = i64::from(self.allowance.burst) * MILLI;
        self.left_milli = self.left_milli.saturating_add(gained).min(full);
        self.filled_at = self.filled_at.max(now);
    }

    fn ms_until(&self, level_milli: i64) -> u64 {
        let missing = u64::try_from(level_milli - self.left_milli).unwrap_or(0);
        missing.div_ceil(u64::from(self.allowance.per_second))
    }
}

const MILLI: i64 = 1_000;

/// The most debt, in seconds of what comes back.
const MAX_DEBT_SECONDS: i64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Allowance = Allowance { per_second: 10, burst: 3 };

    #[test]
    fn burst_then_rate() {
        let mut bucket = TokenBucket::new(SLOW, Timestamp(0));
        assert_eq!([0; 4].map(|at| bucket.take(Timestamp(at))), [true, true, true, false]);
        assert!(!bucket.take(Timestamp(99)));
        assert!(bucket.take(Timestamp(100)));
        assert!(!bucket.take(Timestamp(100)));
        // A clock that goes back gives nothing and takes nothing.
        assert!(!bucket.take(Timestamp(50)));
        assert!(bucket.take(Timestamp(200)));
        assert_eq!(bucket.full_at(Timestamp(200)), Timestamp(500));
    }

    #[test]
    fn debt_is_paid_back_and_bounded() {
        let mut bucket = TokenBucket::new(SLOW, Timestamp(0));
        assert_eq!(bucket.charge(3, Timestamp(0)), 0);
        assert_eq!(bucket.charge(2, Timestamp(0)), 200);
        assert_eq!(bucket.charge(0, Timestamp(150)), 50);
        assert_eq!(bucket.charge(usize::MAX, Timestamp(150)), 5_000);
    }
}
