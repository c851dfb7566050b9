//! Token buckets by key: how often somebody may ask for something. Pure: the time comes in.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
};

use offset_proto::Timestamp;

use crate::limits::Pace;

/// One bucket, as the time at which it will be full again, in microseconds since 1970.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bucket {
    full_at: u64,
}

impl Bucket {
    /// Takes `count` at once, or says how many milliseconds to wait until there will be so many. More
    /// than a burst counts as a burst.
    ///
    /// # Errors
    /// The time to wait; nothing was taken.
    pub fn take(&mut self, pace: Pace, count: u32, now: Timestamp) -> Result<(), u64> {
        let now = now.0.saturating_mul(MICROS);
        let step = SECOND / u64::from(pace.per_second.max(1));
        let room = step.saturating_mul(u64::from(pace.burst.max(1)));
        // A clock that went back must not lock anybody out.
        self.full_at = self.full_at.min(now.saturating_add(room));
        let more = step.saturating_mul(u64::from(count.min(pace.burst.max(1))));
        let full_at = self.full_at.max(now).saturating_add(more);
        let over = full_at.saturating_sub(now).saturating_sub(room);
        if 0 < over {
            return Err(over.div_ceil(MICROS));
        }
        self.full_at = full_at;
        Ok(())
    }

    const fn is_full(&self, now: Timestamp) -> bool {
        self.full_at <= now.0.saturating_mul(MICROS)
    }
}

/// Buckets by key. Full ones are forgotten, so there are no more than were used lately.
#[derive(Debug)]
pub struct Buckets<K> {
    pace: Pace,
    buckets: BTreeMap<K, Bucket>,
    sweep_at: usize,
}

impl<K: Ord> Buckets<K> {
    /// All full.
    #[must_use]
    pub const fn new(pace: Pace) -> Self {
        Self { pace, buckets: BTreeMap::new(), sweep_at: SWEEP_AT }
    }

    /// Takes one of this key's, if there is one.
    #[must_use]
    pub fn take(&mut self, key: K, now: Timestamp) -> bool {
        if self.sweep_at <= self.buckets.len() {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            self.sweep_at = SWEEP_AT.max(2 * self.buckets.len());
        }
        self.buckets.entry(key).or_default().take(self.pace, 1, now).is_ok()
    }
}

/// What one party usually holds: an IPv4 address, or an IPv6 /64.
#[must_use]
pub fn address_block(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

const MICROS: u64 = 1_000;
const SECOND: u64 = 1_000_000;
/// Fewer buckets are not worth looking through.
const SWEEP_AT: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    #[test]
    fn a_burst_then_the_pace() {
        let mut buckets = Buckets::new(Pace { per_second: 10, burst: 3 });
        let mut took = |key, ms| buckets.take(key, NOW.plus_ms(ms));
        assert_eq!([0, 0, 0, 0].map(|ms| took('a', ms)), [true, true, true, false]);
        assert!(took('b', 0), "each key has its own");
        assert_eq!([99, 100, 100, 200].map(|ms| took('a', ms)), [false, true, false, true]);
    }

    #[test]
    fn the_wait_is_told() {
        let (mut bucket, pace) = (Bucket::default(), Pace { per_second: 4, burst: 1 });
        assert_eq!(bucket.take(pace, 1, NOW), Ok(()));
        assert_eq!(bucket.take(pace, 1, NOW.plus_ms(50)), Err(200));
        assert_eq!(bucket.take(pace, 1, NOW.plus_ms(250)), Ok(()));
        // The clock goes back by an hour.
        assert_eq!(bucket.take(pace, 1, Timestamp(NOW.0 - 3_600)), Err(250));
        assert_eq!(bucket.take(pace, 1, Timestamp(NOW.0 - 3_600 + 250)), Ok(()));
    }

    #[test]
    fn several_at_once() {
        let (mut bucket, pace) = (Bucket::default(), Pace { per_second: 10, burst: 5 });
        assert_eq!(bucket.take(pace, 4, NOW), Ok(()));
        assert_eq!(bucket.take(pace, 3, NOW), Err(200));
        assert_eq!(bucket.take(pace, 1_000, NOW), Err(400));
        assert_eq!(bucket.take(pace, 1_000, NOW.plus_ms(400)), Ok(()));
    }

    #[test]
    fn full_buckets_are_forgotten() {
        let mut buckets = Buckets::new(Pace { per_second: 10, burst: 3 });
        for key in 0..SWEEP_AT {
            assert!(buckets.take(key, NOW));
        }
        assert!(buckets.take(0, NOW.plus_ms(1_000)));
        assert_eq!(buckets.buckets.len(), 1);
    }

    #[test]
    fn blocks_of_addresses() {
        let block = |text: &str| address_block(text.parse().unwrap()).to_string();
        assert_eq!(block("10.1.2.3"), "10.1.2.3");
        assert_eq!(block("::ffff:10.1.2.3"), "10.1.2.3");
        assert_eq!(block("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
