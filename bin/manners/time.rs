//! Moments and lengths of time as people write and read them.

use std::{fmt, str::FromStr};

use offset_proto::Timestamp;

/// A length of time: a whole number with its unit, as `90s`, `30m`, `1h` or `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Length {
    /// In milliseconds.
    pub ms: u64,
}

/// What is not a length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotALength;

impl fmt::Display for NotALength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a whole number and its unit, for example 90s, 30m, 1h or 7d")
    }
}

impl std::error::Error for NotALength {}

impl FromStr for Length {
    type Err = NotALength;

    fn from_str(text: &str) -> Result<Self, NotALength> {
        let unit = text.chars().last().ok_or(NotALength)?;
        let number = text.strip_suffix(unit).ok_or(NotALength)?;
        let seconds = UNITS.iter().find(|(name, _)| *name == unit).ok_or(NotALength)?.1;
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NotALength);
        }
        let ms = number.parse::<u64>().ok().and_then(|n| n.checked_mul(seconds * 1_000));
        ms.map(|ms| Self { ms }).ok_or(NotALength)
    }
}

/// A moment in Greenwich, to the second: `2026-11-21T12:00:00Z`.
#[must_use]
pub fn moment(time: Timestamp) -> impl fmt::Display {
    let seconds = i64::try_from(time.0 / 1_000).unwrap_or(i64::MAX);
    // What lies beyond the calendar is shown as its last moment.
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX)
}

const UNITS: [(char, u64); 4] = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_a_number_and_a_unit() {
        for (text, ms) in [("0s", 0), ("90s", 90_000), ("2m", 120_000), ("1h", 3_600_000)] {
            assert_eq!(text.parse(), Ok(Length { ms }), "{text}");
        }
        assert_eq!("30d".parse(), Ok(Length { ms: 30 * 86_400_000 }));
        let bad =
            ["", "1", "h", "-1h", "+1h", "1.5h", "1 h", "1w", "1ä", "99999999999999999999d", "1hh"];
        for text in bad {
            assert_eq!(text.parse::<Length>(), Err(NotALength), "{text}");
        }
    }

    #[test]
    fn moments_are_those_of_the_calendar() {
        let shown = |ms| moment(Timestamp(ms)).to_string();
        assert_eq!(shown(1_700_000_000_999), "2023-11-14T22:13:20Z");
        assert_eq!(shown(0), "1970-01-01T00:00:00Z");
        assert!(shown(u64::MAX).starts_with("9999-12-"));
    }
}
