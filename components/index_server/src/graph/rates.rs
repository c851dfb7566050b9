//! Rates by small numbers: many edges have the same one, and most have none.

use std::hash::{BuildHasher as _, RandomState};

use hashbrown::HashTable;
use offset_proto::{Credits, Rate};

/// The number of a rate. [`FREE`] is the rate that takes nothing.
pub(crate) type RateNumber = u32;

/// The number of the rate that takes nothing, in every graph.
pub(crate) const FREE: RateNumber = 0;

/// The rates that any report of a graph names, each once, with how many name it.
#[derive(Debug, Clone)]
pub(super) struct Rates {
    rates: Vec<(Rate, u32)>,
    /// Where to find the number of a rate; that of [`FREE`] is not among them.
    numbers: HashTable<RateNumber>,
    hasher: RandomState,
    /// Numbers that no report uses.
    unused: Vec<RateNumber>,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            rates: vec![(Rate::default(), 0)],
            numbers: HashTable::new(),
            hasher: RandomState::new(),
            unused: Vec::new(),
        }
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
        let hash = self.hasher.hash_one(rate);
        let is_it = |number: &RateNumber| self.rates[*number as usize].0 == rate;
        if let Some(number) = self.numbers.find(hash, is_it).copied() {
            self.rates[number as usize].1 += 1;
            return number;
        }
        let number = if let Some(number) = self.unused.pop() {
            self.rates[number as usize] = (rate, 1);
            number
        } else {
            self.rates.push((rate, 1));
            RateNumber::try_from(self.rates.len() - 1)
                .expect("there are fewer rates than lines, and those are bounded below 2^32")
        };
        let rehash = |number: &RateNumber| self.hasher.hash_one(self.rates[*number as usize].0);
        self.numbers.insert_unique(hash, number, rehash);
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
            let hash = self.hasher.hash_one(*rate);
            if let Ok(entry) = self.numbers.find_entry(hash, |other| *other == number) {
                entry.remove();
            }
            self.unused.push(number);
        }
    }

    /// How often each number is used, for checks.
    pub(super) fn uses(&self) -> impl Iterator<Item = (RateNumber, u32)> + '_ {
        (0..).zip(&self.rates).map(|(number, (_, count))| (number, *count)).skip(1)
    }

    pub(super) fn bytes(&self) -> usize {
        self.rates.capacity() * size_of::<(Rate, u32)>()
            + self.unused.capacity() * 4
            + self.numbers.allocation_size()
    }
}
