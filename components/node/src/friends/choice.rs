//! Which of two sessions with one friend stays (protocol, section 4). Pure.

use std::time::Duration;

use offset_crypto::PublicKey;

/// The session that stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stays {
    /// The one that stood already.
    Standing,
    /// The one that just opened.
    New,
}

/// Two sessions that different sides opened this close together crossed each other.
pub(crate) const CROSSING: Duration = Duration::from_secs(5);

/// Of two sessions opened by the same side the newer stays; of two opened by different sides within
/// 5 s the one that the lower key opened, so that both sides keep the same; otherwise the newer.
/// `since` is the time between the two openings.
pub(crate) fn stays(standing: PublicKey, new: PublicKey, since: Duration) -> Stays {
    if standing != new && since < CROSSING && standing < new { Stays::Standing } else { Stays::New }
}

#[cfg(test)]
mod tests {
    use offset_crypto::{Identity, SeededRng};

    use super::*;

    #[test]
    fn every_case() {
        let mut keys = [1, 2].map(|n| Identity::random(&mut SeededRng::new(n)).public_key());
        keys.sort_unstable();
        let [low, high] = keys;
        let (crossing, later) = (CROSSING - Duration::from_millis(1), CROSSING);
        for (standing, new, since, expected) in [
            (low, low, crossing, Stays::New),
            (low, low, later, Stays::New),
            (high, high, crossing, Stays::New),
            (high, high, later, Stays::New),
            (low, high, crossing, Stays::Standing),
            (high, low, crossing, Stays::New),
            (low, high, later, Stays::New),
            (high, low, later, Stays::New),
        ] {
            assert_eq!(stays(standing, new, since), expected, "{standing:?} {new:?} {since:?}");
        }
    }

    #[test]
    fn both_sides_keep_the_same_of_two_that_crossed() {
        let mut keys = [1, 2].map(|n| Identity::random(&mut SeededRng::new(n)).public_key());
        keys.sort_unstable();
        let [low, high] = keys;
        let since = Duration::from_millis(1);
        // Whichever opened first on a side, the low one's stays.
        assert_eq!(stays(low, high, since), Stays::Standing);
        assert_eq!(stays(high, low, since), Stays::New);
    }
}
