//! The settings of a node.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use offset_net::{BackoffConfig, Limits, NetConfig};
use offset_proto::Timestamp;

use crate::{Metrics, limits};

/// The settings of a node. The defaults are the protocol's and those of [`limits`].
#[derive(Debug, Clone)]
pub struct Config {
    /// The node's database, made with [`offset_store::init`].
    pub database: PathBuf,
    /// The directory with the tickets of the applications that may use the node. It is watched.
    pub trusted: PathBuf,
    /// The database is an older copy, or empty though the node had friends: what friends prove is
    /// installed at once. A database that shows by itself that it is older starts so, too.
    pub recover: bool,
    /// What decides about money.
    pub funder: offset_funder::Config,
    /// Settings of all connections: keepalive, timeouts, features. Queue lengths are set apart.
    pub net: NetConfig,
    /// How lost friends, relays and index servers are dialled again.
    pub backoff: BackoffConfig,
    /// Who may connect to the port of the applications.
    pub app_limits: Limits,
    /// The time.
    pub clock: Clock,
    /// Where the node counts.
    pub metrics: Metrics,
}

impl Config {
    /// The defaults, for these paths.
    #[must_use]
    pub fn new(database: impl Into<PathBuf>, trusted: impl Into<PathBuf>) -> Self {
        Self {
            database: database.into(),
            trusted: trusted.into(),
            recover: false,
            funder: offset_funder::Config::default(),
            net: NetConfig::default(),
            backoff: BackoffConfig::default(),
            app_limits: Limits { connections: limits::APP_CONNECTIONS, ..Limits::default() },
            clock: Clock::system(),
            metrics: Metrics::default(),
        }
    }
}

/// Where a node takes the time from.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The time of this computer, made steady, for deadlines are measured with it: it never goes
    /// back, and never runs more than a twentieth slower or faster than time does.
    ///
    /// It begins with what the computer's clock shows and follows it at that pace, so the two do not
    /// drift apart however long the process runs. It jumps only forward, and only when it is more
    /// than ten seconds behind, as after a sleep of the computer. A clock that was set back is
    /// waited for at that pace: twenty hours for one; to be right at once, start the node again.
    #[must_use]
    pub fn system() -> Self {
        let start = Instant::now();
        let steady = Mutex::new(Steady { shown: wall(), at: Duration::ZERO });
        Self::new(move || {
            let mut steady = steady.lock().unwrap_or_else(PoisonError::into_inner);
            let shown = steady.show(wall(), start.elapsed());
            Timestamp(u64::try_from(shown.as_millis()).unwrap_or(u64::MAX))
        })
    }

    /// A clock of one's own.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// What it shows.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({:?})", self.now())
    }
}

/// What the computer's clock shows, since 1970. One before that is as wrong as one that shows 1970.
fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A clock that follows another without its steps. Pure.
#[derive(Debug)]
struct Steady {
    /// What it showed last.
    shown: Duration,
    /// When that was, since the start of the process.
    at: Duration,
}

impl Steady {
    /// What it shows when the other clock shows `wall`, at `now` since the start of the process.
    fn show(&mut self, wall: Duration, now: Duration) -> Duration {
        let elapsed = now.saturating_sub(self.at);
        let expected = self.shown.saturating_add(elapsed);
        let correction = elapsed / PACE;
        self.shown = if expected.saturating_add(JUMP) < wall {
            wall
        } else if expected < wall {
            expected.saturating_add(correction).min(wall)
        } else {
            // Never back: the correction is a part of what has passed.
            expected.saturating_sub(correction).max(wall)
        };
        self.at = self.at.max(now);
        self.shown
    }
}

/// The steady clock is corrected by one part in this many of the time that passes.
const PACE: u32 = 20;
/// A steady clock that is further behind than this jumps.
const JUMP: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_hours(1);
    const START: Duration = Duration::from_secs(1_700_000_000);

    /// Looks every second for so long, and checks that time passes as it should; `wall` is what the
    /// other clock shows then. Returns what is shown at the end.
    fn follow(
        steady: &mut Steady,
        long: Duration,
        wall: impl Fn(Duration) -> Duration,
    ) -> Duration {
        let end = steady.at + long;
        while steady.at < end {
            let (before, now) = (steady.shown, steady.at + SECOND);
            let passed = steady.show(wall(now), now) - before;
            assert!(SECOND * 19 / 20 <= passed && passed <= SECOND * 21 / 20, "{passed:?}");
        }
        steady.shown
    }

    #[test]
    fn it_keeps_to_a_clock_that_drifts() {
        let mut steady = Steady { shown: START, at: Duration::ZERO };
        // A second and a half a minute fast, then as much slow, as seen from this process.
        for (numerator, denominator) in [(41, 40), (39, 40)] {
            let (from, offset) = (steady.at, steady.shown);
            let wall = |now: Duration| offset + (now - from) * numerator / denominator;
            let shown = follow(&mut steady, HOUR * 100, wall);
            assert_eq!(shown, wall(steady.at));
        }
    }

    #[test]
    fn a_clock_that_is_set_back_is_waited_for() {
        let mut steady = Steady { shown: START + HOUR, at: Duration::ZERO };
        let wall = |now: Duration| START + now;
        let shown = follow(&mut steady, HOUR * 19, wall);
        assert!(wall(steady.at) < shown);
        let shown = follow(&mut steady, HOUR * 2, wall);
        assert_eq!(shown, wall(steady.at));
    }

    #[test]
    fn a_clock_that_is_set_forward_a_little_is_caught_up_with() {
        let mut steady = Steady { shown: START, at: Duration::ZERO };
        let wall = |now: Duration| START + JUMP + now;
        let shown = follow(&mut steady, HOUR, wall);
        assert_eq!(shown, wall(steady.at));
    }

    #[test]
    fn after_a_sleep_it_jumps_forward() {
        let mut steady = Steady { shown: START, at: Duration::ZERO };
        assert_eq!(steady.show(START + HOUR, SECOND), START + HOUR);
        let shown = follow(&mut steady, HOUR, |now| START + HOUR + now);
        assert_eq!(shown, START + HOUR * 2 + SECOND);
    }

    #[test]
    fn it_never_goes_back_however_often_it_is_looked_at() {
        let mut steady = Steady { shown: START, at: Duration::ZERO };
        for nanos in (0..10_000).rev().chain(0..100_000) {
            let before = steady.shown;
            assert!(before <= steady.show(Duration::ZERO, Duration::from_nanos(nanos)));
        }
        let clock = Clock::system();
        let mut last = clock.now();
        for _ in 0..1_000 {
            let now = clock.now();
            assert!(last <= now);
            last = now;
        }
    }
}
