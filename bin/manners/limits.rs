//! Limits of a daemon as settings: each with its name, its range, and where it is kept.

use std::ops::RangeInclusive;

use toml::{Table, Value};

use crate::manners::config::unknown;

/// A limit of a daemon whose limits are an `L`.
pub struct Limit<L> {
    /// As in the file, with the tables that it is in: `opens_total.burst`.
    pub name: &'static str,
    /// What makes sense.
    pub range: RangeInclusive<u64>,
    /// What it is.
    pub get: fn(&L) -> u64,
    /// Sets it to a number within the range.
    pub set: fn(&mut L, u64),
}

impl<L> Limit<L> {
    /// Whether it is true or false rather than a number.
    fn is_switch(&self) -> bool {
        self.range == (0..=1)
    }

    fn expected(&self) -> String {
        if self.is_switch() {
            return "true or false, without quotes".to_owned();
        }
        format!("a whole number from {} to {}", self.range.start(), self.range.end())
    }
}

/// A number of any width that a limit is kept as. A range keeps what is set within the width.
pub trait Number: Copy {
    /// The nearest that there is.
    fn of(number: u64) -> Self;
    /// What it is.
    fn number(self) -> u64;
}

impl Number for u64 {
    fn of(number: u64) -> Self {
        number
    }

    fn number(self) -> u64 {
        self
    }
}

impl Number for u32 {
    fn of(number: u64) -> Self {
        Self::try_from(number).unwrap_or(Self::MAX)
    }

    fn number(self) -> u64 {
        self.into()
    }
}

impl Number for usize {
    fn of(number: u64) -> Self {
        Self::try_from(number).unwrap_or(Self::MAX)
    }

    fn number(self) -> u64 {
        u64::try_from(self).unwrap_or(u64::MAX)
    }
}

/// Off or on.
impl Number for bool {
    fn of(number: u64) -> Self {
        number != 0
    }

    fn number(self) -> u64 {
        self.into()
    }
}

/// A [`Limit`] by the path of its field, which is also its name unless one is given.
#[macro_export]
#[doc(hidden)]
macro_rules! limit {
    ($all:ty, $name:expr, $($field:ident).+, $range:expr) => {
        $crate::manners::limits::Limit {
            name: $name,
            range: $range,
            get: |limits: &$all| $crate::manners::limits::Number::number(limits.$($field).+),
            set: |limits: &mut $all, number| {
                limits.$($field).+ = $crate::manners::limits::Number::of(number);
            },
        }
    };
}

/// The [`Limit`]s of a listener's connections ([`offset_net::Limits`]), which are in `$field`.
#[macro_export]
#[doc(hidden)]
macro_rules! listener_limits {
    ($all:ty, $name:literal, $field:ident) => {
        [
            $crate::limit!($all, concat!($name, ".connections"), $field.connections, 1..=1_000_000),
            $crate::limit!($all, concat!($name, ".half_open"), $field.half_open, 1..=100_000),
            $crate::limit!($all, concat!($name, ".per_address"), $field.per_address, 1..=1_000_000),
            $crate::limit!($all, concat!($name, ".per_network"), $field.per_network, 1..=1_000_000),
            $crate::limit!(
                $all,
                concat!($name, ".rate.per_second"),
                $field.rate.per_second,
                1..=1_000_000
            ),
            $crate::limit!($all, concat!($name, ".rate.burst"), $field.rate.burst, 1..=1_000_000),
            $crate::limit!(
                $all,
                concat!($name, ".rate_per_address.per_second"),
                $field.rate_per_address.per_second,
                1..=1_000_000
            ),
            $crate::limit!(
                $all,
                concat!($name, ".rate_per_address.burst"),
                $field.rate_per_address.burst,
                1..=1_000_000
            ),
            $crate::limit!($all, concat!($name, ".limit_loopback"), $field.limit_loopback, 0..=1),
        ]
    };
}

/// Takes the limits of a table; those that it does not name stay as they are.
///
/// # Errors
/// Names a key that is not known, or whose value is out of its range.
pub fn take<L>(known: &[Limit<L>], limits: &mut L, table: &Table) -> Result<(), String> {
    take_below(known, limits, "", table)
}

fn take_below<L>(
    known: &[Limit<L>],
    limits: &mut L,
    above: &str,
    table: &Table,
) -> Result<(), String> {
    for (key, value) in table {
        let name = format!("{above}{key}");
        if let Value::Table(below) = value {
            take_below(known, limits, &format!("{name}."), below)?;
            continue;
        }
        let Some(limit) = known.iter().find(|limit| limit.name == name) else {
            let names: Vec<String> = known.iter().map(|limit| limit.name.to_owned()).collect();
            return Err(format!("in limits, {}", unknown(&name, &names)));
        };
        let number = if limit.is_switch() {
            value.as_bool().map(u64::from)
        } else {
            value.as_integer().and_then(|number| u64::try_from(number).ok())
        };
        let number = number
            .filter(|number| limit.range.contains(number))
            .ok_or_else(|| format!("the value of `limits.{name}` must be {}", limit.expected()))?;
        (limit.set)(limits, number);
    }
    Ok(())
}

/// Checks that an example file has exactly these lines in `[limits]`, commented out.
#[cfg(test)]
pub(crate) fn check_example(example: &str, lines: &[String]) {
    let (_, limits) = example.split_once("[limits]\n").expect("it has limits");
    let found: Vec<&str> = limits
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| !line.is_empty() && !line.starts_with(' '))
        .collect();
    assert_eq!(found, lines);
}

/// Every limit as a line of a file, with the value it has.
#[cfg(test)]
pub(crate) fn lines<L>(known: &[Limit<L>], limits: &L) -> Vec<String> {
    let line = |limit: &Limit<L>| {
        let value = (limit.get)(limits);
        if limit.is_switch() {
            format!("{} = {}", limit.name, value != 0)
        } else {
            format!("{} = {value}", limit.name)
        }
    };
    known.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq)]
    struct Both {
        connections: usize,
        rate: Rate,
    }

    #[derive(Debug, Default, PartialEq)]
    struct Rate {
        burst: u32,
    }

    fn known() -> [Limit<Both>; 2] {
        [
            limit!(Both, "connections", connections, 1..=100),
            limit!(Both, "rate.burst", rate.burst, 1..=u64::from(u32::MAX)),
        ]
    }

    #[test]
    fn limits_are_taken_within_their_ranges() {
        let mut limits = Both::default();
        let table = "connections = 5\nrate.burst = 4294967295".parse().unwrap();
        take(&known(), &mut limits, &table).unwrap();
        assert_eq!(limits, Both { connections: 5, rate: Rate { burst: u32::MAX } });
        assert_eq!(lines(&known(), &limits), ["connections = 5", "rate.burst = 4294967295"]);
        for (text, part) in [
            ("connections = 0", "`limits.connections` must be a whole number from 1 to 100"),
            ("connections = -1", "from 1 to 100"),
            ("connections = \"5\"", "from 1 to 100"),
            ("[rate]\nburst = 4294967296", "`limits.rate.burst`"),
            ("conections = 5", "did you mean connections?"),
            ("[rate]\nsize = 5", "`rate.size` is not known"),
        ] {
            let error = take(&known(), &mut limits, &text.parse().unwrap()).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
