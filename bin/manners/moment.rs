//! Moments as people write them and as they are printed.

use std::str::FromStr;

use jiff::{SignedDuration, civil::Date, tz::TimeZone};
use offset_proto::Timestamp;

/// A moment on the command line: RFC 3339 (`2026-03-01T12:00:00Z`, or a date alone, its midnight
/// in UTC), or how long ago (`7d`, `12h`, `30m`, `45s`, `2w`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// At this time.
    At(Timestamp),
    /// This many milliseconds ago.
    Ago(u64),
}

impl Moment {
    /// The time that is meant, where it is `now`.
    #[must_use]
    pub const fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Ago(ms) => Timestamp(now.0.saturating_sub(ms)),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text} is no moment; write a time as 2026-03-01T12:00:00Z, a date as 2026-03-01, \
                 or how long ago as 7d, 12h or 30m"
            )
        };
        if let Some(ms) = ago(text) {
            return Ok(Self::Ago(ms));
        }
        let time: jiff::Timestamp = match text.parse::<Date>() {
            // A date also begins a time, which the parser of dates would cut off.
            Ok(date) if text.len() <= "-009999-01-01".len() && !text.contains(['T', 't', ' ']) => {
                date.to_zoned(TimeZone::UTC).map_err(|_| wrong())?.timestamp()
            }
            Ok(_) | Err(_) => text.parse().map_err(|_| wrong())?,
        };
        let ms = u64::try_from(time.as_millisecond()).map_err(|_| wrong())?;
        Ok(Self::At(Timestamp(ms)))
    }
}

fn ago(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = number.parse().ok().filter(|_| digits)?;
    number.checked_mul(seconds)?.checked_mul(1_000)
}

/// A time in RFC 3339, UTC, to the millisecond; one that no calendar holds as its milliseconds.
#[must_use]
pub fn rfc3339(time: Timestamp) -> String {
    let ms = i64::try_from(time.0).ok();
    let time_of = ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time_of.map_or_else(|| time.0.to_string(), |time| format!("{time:.3}"))
}

/// An age, by its two largest units: `3d 4h`.
#[must_use]
pub fn age(ms: u64) -> String {
    let seconds = SignedDuration::from_millis(i64::try_from(ms).unwrap_or(i64::MAX)).as_secs();
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    if 0 < days {
        format!("{days}d {hours}h")
    } else if 0 < hours {
        format!("{hours}h {minutes}m")
    } else if 0 < minutes {
        format!("{minutes}m {rest}s")
    } else {
        format!("{rest}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        const NOW: Timestamp = Timestamp(1_772_366_400_000);
        for (text, expected) in [
            ("2026-03-01T12:00:00Z", NOW.0),
            ("2026-03-01T13:00:00+01:00", NOW.0),
            ("2026-03-01", NOW.0 - 43_200_000),
            ("45s", NOW.0 - 45_000),
            ("30m", NOW.0 - 1_800_000),
            ("12h", NOW.0 - 43_200_000),
            ("7d", NOW.0 - 604_800_000),
            ("2w", NOW.0 - 1_209_600_000),
        ] {
            assert_eq!(text.parse::<Moment>().map(|m| m.at(NOW).0), Ok(expected), "{text}");
        }
        for text in
            ["", "d", "-7d", "+7d", "7", "7y", "yesterday", "1969-01-01", "9999999999999999w"]
        {
            let error = text.parse::<Moment>().unwrap_err();
            assert!(error.contains("2026-03-01T12:00:00Z"), "{text}: {error}");
        }
        assert_eq!(rfc3339(NOW), "2026-03-01T12:00:00.000Z");
        assert_eq!(rfc3339(Timestamp(u64::MAX)), u64::MAX.to_string());
    }

    #[test]
    fn ages() {
        for (ms, shown) in [
            (0, "0s"),
            (59_999, "59s"),
            (61_000, "1m 1s"),
            (7_260_000, "2h 1m"),
            (273_600_000, "3d 4h"),
        ] {
            assert_eq!(age(ms), shown);
        }
        assert!(age(u64::MAX).ends_with('h'));
    }
}
