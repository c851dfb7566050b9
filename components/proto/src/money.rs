//! Amounts, balances, fee rates and time. Money has checked operations only.
#![deny(clippy::arithmetic_side_effects)]

use std::{fmt, str::FromStr};

use crate::InvalidValue;

/// An unsigned amount of credits, in the smallest unit of its currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Credits(pub u128);

impl Credits {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest limit, opening balance and frozen amount: 2^127 - 1.
    pub const LIMIT: Self = Self(i128::MAX.unsigned_abs());

    /// The sum, or `None` when it does not fit.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The difference, or `None` below zero.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// The same amount with a sign, or `None` above [`Credits::LIMIT`].
    #[must_use]
    pub fn to_balance(self) -> Option<Balance> {
        i128::try_from(self.0).ok().map(Balance)
    }
}

impl fmt::Display for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Credits {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        decimal(text).and_then(|digits| digits.parse().ok()).map(Self).ok_or(InvalidValue::Amount)
    }
}

/// A signed number of credits between two friends. Positive: the friend owes us. Never -2^127, so
/// that the friend's view (the negation) always exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Balance(i128);

impl Balance {
    /// Nobody owes anything.
    pub const ZERO: Self = Self(0);
    /// The most that a friend can owe: 2^127 - 1.
    pub const MAX: Self = Self(i128::MAX);

    /// Wraps a number, or `None` for -2^127.
    #[must_use]
    pub const fn new(value: i128) -> Option<Self> {
        if value == i128::MIN { None } else { Some(Self(value)) }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> i128 {
        self.0
    }

    /// The same balance seen by the other side.
    #[must_use]
    pub const fn mirrored(self) -> Self {
        // `new` excludes the one value without a negation.
        Self(self.0.wrapping_neg())
    }

    /// Moves credits towards us, or `None` when it does not fit.
    #[must_use]
    pub fn checked_add(self, credits: Credits) -> Option<Self> {
        self.0.checked_add_unsigned(credits.0).and_then(Self::new)
    }

    /// Moves credits away from us, or `None` when it does not fit.
    #[must_use]
    pub fn checked_sub(self, credits: Credits) -> Option<Self> {
        self.0.checked_sub_unsigned(credits.0).and_then(Self::new)
    }

    /// The sum of two balances, or `None` when it does not fit.
    #[must_use]
    pub fn checked_add_balance(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).and_then(Self::new)
    }

    /// How far this balance is above `-max_debt`: what could still be pushed away from us when
    /// nothing is pending. Zero when the balance is already at or below it.
    #[must_use]
    pub fn room_above(self, max_debt: Credits) -> Credits {
        let Some(debt) = max_debt.to_balance() else {
            // Above 2^127 - 1 there is no limit that a balance could reach; count up to the largest.
            return Self::room_above(self, Credits::LIMIT);
        };
        match self.0.checked_add(debt.0) {
            Some(room) => Credits(u128::try_from(room).unwrap_or(0)),
            None if self.0 > 0 => {
                Credits(self.0.unsigned_abs().saturating_add(debt.0.unsigned_abs()))
            }
            None => Credits::ZERO,
        }
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Balance {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        decimal(digits)
            .and_then(|_| text.parse().ok())
            .and_then(Self::new)
            .ok_or(InvalidValue::Balance)
    }
}

/// The fee that a node asks of a friend for forwarding: `ceil(amount * ppm / 1,000,000) + add`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Rate {
    /// Parts per million of the amount paid to the destination.
    pub ppm: u32,
    /// A fixed part, in credits.
    pub add: u64,
}

impl Rate {
    /// The fee for forwarding a part that pays `amount` to its destination, rounded up; `None` when
    /// it does not fit, which counts as too expensive (protocol, section 6.2).
    #[must_use]
    pub fn fee(self, amount: Credits) -> Option<Credits> {
        const MILLION: u128 = 1_000_000;
        let ppm = u128::from(self.ppm);
        // amount = whole * 1,000,000 + rest, so no product needs more than 128 bits unless the
        // result does.
        let whole = amount.0.checked_div(MILLION)?.checked_mul(ppm)?;
        let rest = amount.0.checked_rem(MILLION)?.checked_mul(ppm)?.div_ceil(MILLION);
        whole.checked_add(rest)?.checked_add(u128::from(self.add)).map(Credits)
    }
}

/// Milliseconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This moment and `ms` milliseconds (the end of time when that does not fit).
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this moment, 0 when the clock went back.
    #[must_use]
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A decimal number without sign, spaces or leading `+`.
fn decimal(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fee_rounds_up_and_never_wraps() {
        let rate = Rate { ppm: 5_000, add: 1 };
        let cases = [(0, 1), (1, 2), (199, 2), (200, 2), (201, 3), (1_000_000, 5_001)];
        for (amount, fee) in cases {
            assert_eq!(rate.fee(Credits(amount)), Some(Credits(fee)), "{amount}");
        }
        assert_eq!(Rate::default().fee(Credits(u128::MAX)), Some(Credits::ZERO));
        assert_eq!(
            Rate { ppm: 1_000_000, add: 0 }.fee(Credits(u128::MAX)),
            Some(Credits(u128::MAX))
        );
        assert_eq!(Rate { ppm: 1_000_000, add: 1 }.fee(Credits(u128::MAX)), None);
        assert_eq!(Rate { ppm: u32::MAX, add: 0 }.fee(Credits(u128::MAX)), None);
    }

    #[test]
    fn balances_mirror_and_stay_in_range() {
        assert_eq!(Balance::new(i128::MIN), None);
        let lowest = Balance::new(i128::MIN + 1).expect("in range");
        assert_eq!(lowest.mirrored().get(), i128::MAX);
        assert_eq!(lowest.checked_sub(Credits(1)), None);
        assert_eq!(lowest.mirrored().checked_add(Credits(1)), None);
        assert_eq!(lowest.checked_add(Credits(u128::MAX)), None);
    }

    #[test]
    fn room_is_what_may_still_be_owed() {
        let balance = |n| Balance::new(n).expect("in range");
        assert_eq!(balance(0).room_above(Credits(5)), Credits(5));
        assert_eq!(balance(-5).room_above(Credits(5)), Credits(0));
        assert_eq!(balance(-6).room_above(Credits(5)), Credits(0));
        assert_eq!(balance(7).room_above(Credits(5)), Credits(12));
        let most = balance(i128::MAX).room_above(Credits::LIMIT);
        assert_eq!(most, Credits(i128::MAX.unsigned_abs() * 2));
        assert_eq!(balance(0).room_above(Credits(u128::MAX)), Credits::LIMIT);
    }

    #[test]
    fn amounts_are_plain_decimals() {
        assert_eq!("0".parse(), Ok(Credits(0)));
        let largest = u128::MAX.to_string();
        assert_eq!(largest.parse(), Ok(Credits(u128::MAX)));
        for bad in ["", "-1", "+1", "1.5", " 1", "1e3", "340282366920938463463374607431768211456"] {
            assert_eq!(bad.parse::<Credits>(), Err(InvalidValue::Amount), "{bad}");
        }
        assert_eq!("-100".parse(), Ok(Balance(-100)));
        for bad in ["", "-", "+1", "--1", "-170141183460469231731687303715884105728"] {
            assert_eq!(bad.parse::<Balance>(), Err(InvalidValue::Balance), "{bad}");
        }
    }
}
