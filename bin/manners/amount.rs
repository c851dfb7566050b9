//! Amounts as people write them: with a point, where the node says so of a currency. Everything
//! else counts in the smallest unit.

use std::str::FromStr;

use anyhow::{anyhow, bail};
pub use offset_proto::decimals::{decimals_of, show};
use offset_proto::{Balance, Credits, InvalidValue, report::MAX_DECIMALS};

/// An amount as it was typed: digits, perhaps with a point in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amount(String);

/// A balance as it was typed: an [`Amount`], perhaps with a minus sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedAmount(String);

/// Whether these digits are an amount.
fn credits(digits: &str) -> Result<(), String> {
    match digits.parse::<Credits>() {
        Ok(_) => Ok(()),
        Err(_) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(format!("it is too large: type at most {}", u128::MAX))
        }
        Err(error) => Err(error.to_string()),
    }
}

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Without its point it is a number in any case, however many digits are behind it.
        match text.split_once('.') {
            Some((whole, rest)) if !whole.is_empty() && is_fraction(rest) => credits(whole)?,
            Some(_) => return Err(InvalidValue::Amount.to_string()),
            None => credits(text)?,
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for SignedAmount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let whole = digits.split_once('.').map_or(digits, |(whole, _)| whole);
        let fits = whole.parse::<Balance>().is_ok();
        if !whole.is_empty() && whole.bytes().all(|byte| byte.is_ascii_digit()) && !fits {
            return Err(format!("it is too large: type at most {0}, or -{0}", i128::MAX));
        }
        digits.parse::<Amount>().map_err(|_| InvalidValue::Balance.to_string())?;
        Ok(Self(text.to_owned()))
    }
}

impl Amount {
    /// The amount in the smallest unit of a currency with so many digits behind the point.
    ///
    /// # Errors
    /// When it has more of them, or is too large.
    pub fn credits(&self, decimals: u8) -> anyhow::Result<Credits> {
        let digits = shifted(&self.0, decimals)?;
        digits.parse().map_err(|_| anyhow!("{} is too large: type less", self.0))
    }
}

impl SignedAmount {
    /// The balance in the smallest unit of a currency with so many digits behind the point.
    ///
    /// # Errors
    /// When it has more of them, or is too large.
    pub fn balance(&self, decimals: u8) -> anyhow::Result<Balance> {
        let digits = shifted(&self.0, decimals)?;
        digits.parse().map_err(|_| anyhow!("{} is too large: type less", self.0))
    }
}

fn is_fraction(text: &str) -> bool {
    (1..=usize::from(MAX_DECIMALS)).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The digits of a number without its point, filled up with zeros.
fn shifted(text: &str, decimals: u8) -> anyhow::Result<String> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let decimals = usize::from(decimals);
    if decimals < rest.len() {
        if decimals == 0 {
            bail!(
                "{text} has digits behind a point, and this currency has none: type a whole \
                 number, or set its decimals with `stctrl config set-decimals`"
            );
        }
        bail!("{text} has more than {decimals} digits behind its point: type fewer");
    }
    Ok(format!("{whole}{rest:0<decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_typed_again() {
        for (text, decimals, number) in [
            ("12", 0, 12),
            ("12.34", 2, 1_234),
            ("12.30", 2, 1_230),
            ("0.05", 2, 5),
            ("0.000000000000000001", 18, 1),
        ] {
            assert_eq!(show(Credits(number), decimals), text);
            assert_eq!(text.parse::<Amount>().unwrap().credits(decimals).unwrap(), Credits(number));
        }
        assert_eq!("12".parse::<Amount>().unwrap().credits(2).unwrap(), Credits(1_200));
        assert_eq!("12.3".parse::<Amount>().unwrap().credits(2).unwrap(), Credits(1_230));
        let balance = |text: &str| text.parse::<SignedAmount>().unwrap().balance(2).unwrap();
        assert_eq!(balance("-0.5").get(), -50);
        assert_eq!(show(balance("-0.5"), 2), "-0.50");
    }

    #[test]
    fn the_largest_amounts_lose_nothing() {
        let largest = Balance::new(i128::MAX).unwrap();
        for decimals in 0..=MAX_DECIMALS {
            for number in [Balance::ZERO, largest, largest.mirrored()] {
                let shown = show(number, decimals);
                let read = shown.parse::<SignedAmount>().unwrap().balance(decimals).unwrap();
                assert_eq!(read, number, "{shown}");
            }
            let shown = show(Credits(u128::MAX), decimals);
            let read = shown.parse::<Amount>().unwrap().credits(decimals).unwrap();
            assert_eq!(read, Credits(u128::MAX));
        }
        assert!(u128::MAX.to_string().parse::<Amount>().unwrap().credits(1).is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in
            ["", ".", "1.", ".5", "1.2.3", "-1", "+1", "1e3", "1,5", "1.0000000000000000000"]
        {
            assert!(text.parse::<Amount>().is_err(), "{text}");
        }
        for text in ["", "-", "--1", "-.5", "1.x"] {
            assert!(text.parse::<SignedAmount>().is_err(), "{text}");
        }
        let error = "9".repeat(44).parse::<Amount>().unwrap_err();
        assert!(error.contains("at most 340282366920938463463374607431768211455"), "{error}");
        let error = "-170141183460469231731687303715884105728".parse::<SignedAmount>().unwrap_err();
        assert!(error.contains("-170141183460469231731687303715884105727"), "{error}");
        let error = "1.25".parse::<Amount>().unwrap().credits(1).unwrap_err().to_string();
        assert!(error.contains("more than 1 digits"), "{error}");
        let error = "1.5".parse::<Amount>().unwrap().credits(0).unwrap_err().to_string();
        assert!(error.contains("whole number"), "{error}");
    }
}
