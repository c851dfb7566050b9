//! Sums of many balances, each of which may be as large as a balance can be.

use std::ops::{AddAssign, SubAssign};

/// A sum of numbers of 128 bits that does not overflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sum {
    /// In units of 2^64, and the rest, which is not negative.
    high: i128,
    low: i128,
}

impl Sum {
    pub(crate) const fn is_negative(self) -> bool {
        self.high < 0
    }
}

impl AddAssign<i128> for Sum {
    fn add_assign(&mut self, other: i128) {
        *self += Self { high: other >> 64, low: other & LOW };
    }
}

impl SubAssign<i128> for Sum {
    fn sub_assign(&mut self, other: i128) {
        *self -= Self { high: other >> 64, low: other & LOW };
    }
}

impl AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        let low = self.low + other.low;
        *self = Self { high: self.high + other.high + (low >> 64), low: low & LOW };
    }
}

impl SubAssign for Sum {
    fn sub_assign(&mut self, other: Self) {
        let low = self.low - other.low;
        *self = Self { high: self.high - other.high + (low >> 64), low: low & LOW };
    }
}

const LOW: i128 = (1 << 64) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_and_taken_away_is_nothing() {
        let mut sum = Sum::default();
        for number in [i128::MAX, i128::MIN, 1, -1, 1 << 64, -(1 << 64) - 1] {
            sum += number;
            sum += number;
            let mut negative = Sum::default();
            negative -= number;
            assert_eq!(negative.is_negative(), 0 < number, "{number}");
        }
        for number in [i128::MAX, i128::MIN, 1, -1, 1 << 64, -(1 << 64) - 1] {
            sum -= number;
            sum -= number;
        }
        assert_eq!(sum, Sum::default());
    }
}
