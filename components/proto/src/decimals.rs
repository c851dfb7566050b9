//! How people read amounts: with a point, where a node says so of a currency. The one place that
//! puts it in; everything that is not for people's eyes counts in the smallest unit.

use std::{collections::BTreeMap, fmt::Display};

use crate::Currency;

/// How many digits behind the point a currency has at a node that says so of these.
#[must_use]
pub fn decimals_of(all: &BTreeMap<Currency, u8>, currency: &Currency) -> u8 {
    all.get(currency).copied().unwrap_or(0)
}

/// An amount or balance in the smallest unit, as people see it with so many digits behind the point.
pub fn show(number: impl Display, decimals: u8) -> String {
    let text = number.to_string();
    let decimals = usize::from(decimals);
    if decimals == 0 {
        return text;
    }
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
    let digits = format!("{digits:0>width$}", width = decimals.saturating_add(1));
    let (whole, rest) = digits.split_at(digits.len().saturating_sub(decimals));
    format!("{sign}{whole}.{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_put_in_and_nothing_is_lost() {
        for (number, decimals, shown) in [
            (12, 0, "12"),
            (-12, 0, "-12"),
            (1_234, 2, "12.34"),
            (-5, 2, "-0.05"),
            (0, 3, "0.000"),
            (1, 18, "0.000000000000000001"),
            (i128::MAX, 18, "170141183460469231731.687303715884105727"),
        ] {
            assert_eq!(show(number, decimals), shown);
        }
    }

    #[test]
    fn a_currency_of_which_nothing_is_said_has_no_point() {
        let euro: Currency = "EUR".parse().unwrap();
        let all = BTreeMap::from([(euro.clone(), 2)]);
        assert_eq!(decimals_of(&all, &euro), 2);
        assert_eq!(decimals_of(&all, &Currency::fallback()), 0);
    }
}
