//! Rates by small numbers: many edges have the same one, and most have none.

use std::collections::HashMap;

use offset_proto::{Credits, Rate};

/// The number of a rate. [`FREE`] is the rate that takes nothing.
pub(crate) type RateNumber = u32;

/// The number of the rate that takes nothing, in every graph.
pub(crate) const FREE: RateNumber = 0;

/// The rates that any report of a graph names, each once, with how many name it.
#[derive(Debug, Clone)]
pub(super) struct Rates {
    rates: Vec<(Rate, u32)>,
    numbers: HashMap<Rate, RateNumber>,
    /// Numbers that no report uses.
    unused: Vec<RateNumber>,
}

impl Default for Rates {
    fn default() -> Self {
        Self { rates: vec![(Rate::default(), 0)], numbers: HashMap::new(), unused: Vec::new() }
    }
}

impl Rates {
    pub(super) fn rate(&self, number: RateNumber) -> Rate {
        self.rates[number as usize].0
    }

    /// The fee for an amount, where both fit into 64 bits.
    pub(super) fn small_fee(&self, number: RateNumber, amount: u64) -> Option<u64> {
        let (rate, _) = self.rates[number as usize];
        if let Some(product) = amount.checked_mul(u64::from(rate.ppm)) {
            return product.div_ceil(1_000_000).checked_add(rate.add);
        }
        u64::try_from(rate.fee(Credits(u128::from(amount)))?.0).ok()
    }

    /// One more report names this rate.
    pub(super) fn take(&mut self, rate: Rate) -> RateNumber {
        if rate == Rate::default() {
            return FREE;
        }
        if let Some(number) = self.numbers.get(&rate) {
            self.rates[*number as usize].1 += 1;
            return *number;
        }
        let number = if let Some(number) = self.unused.pop() {
            self.rates[number as usize] = (rate, 1);
            number
        } else {
            self.rates.push((rate, 1));
            RateNumber::try_from(self.rates.len() - 1)
                .expect("there are fewer rates than lines, and those are bounded below 2^32")
        };
        self.numbers.insert(rate, number);
        number
    }

    /// One report more names the rate with this number.
    pub(super) fn take_again(&mut self, number: RateNumber) -> RateNumber {
        if number != FREE {
            self.rates[number as usize].1 += 1;
        }
        number
    }

    /// One report less names this rate.
    pub(super) fn release(&mut self, number: RateNumber) {
        if number == FREE {
            return;
        }
        let (rate, count) = &mut self.rates[number as usize];
        *count -= 1;
        if *count == 0 {
            self.numbers.remove(rate);
            self.unused.push(number);
        }
    }

    /// How often each number is used, for checks.
    pub(super) fn uses(&self) -> impl Iterator<Item = (RateNumber, u32)> + '_ {
        (0..).zip(&self.rates).map(|(number, (_, count))| (number, *count)).skip(1)
    }

    pub(super) fn bytes(&self) -> usize {
        let table = self.numbers.capacity() * (size_of::<(Rate, RateNumber)>() + 1) * 8 / 7;
        self.rates.capacity() * size_of::<(Rate, u32)>() + self.unused.capacity() * 4 + table
    }
}
