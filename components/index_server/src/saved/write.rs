//! Writes the file.

use std::{collections::HashMap, hash::Hash};

use offset_crypto::PublicKey;
use offset_proto::{
    Currency, Rate, Timestamp,
    index::{IndexLine, NodeDown, SignedUpdate, UpdateKind, UpdateMutation},
};

use super::{ALIVE, DELTA, FOOTER, MAGIC, REMOVE, SET, SET_LARGE, SNAPSHOT};

/// Writes what a server knows, node by node, in the order of their keys. The nodes may change while
/// the file is written: what each says stands for itself.
#[derive(Debug)]
pub struct Encoder {
    bytes: Vec<u8>,
    /// How many bytes were taken out already.
    taken: u64,
    nodes: u64,
    keys: Numbers<PublicKey>,
    currencies: Numbers<Currency>,
    rates: Numbers<Rate>,
    gone: Vec<u8>,
    gone_count: u32,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            bytes: MAGIC.to_vec(),
            taken: 0,
            nodes: 0,
            keys: Numbers::default(),
            currencies: Numbers::default(),
            rates: Numbers::default(),
            gone: Vec::new(),
            gone_count: 0,
        }
    }
}

impl Encoder {
    /// What one node said: its last snapshot and what followed it. It was heard last at `heard_at`.
    pub fn node<'a>(
        &mut self,
        node: &PublicKey,
        heard_at: Timestamp,
        updates: impl Iterator<Item = &'a SignedUpdate>,
    ) {
        let at = self.bytes.len();
        self.u32(0);
        let number = self.keys.of(node);
        self.u32(number);
        self.u64(heard_at.0);
        for update in updates {
            self.update(update);
        }
        let length = self.bytes.len() - at - 4;
        self.bytes[at..at + 4].copy_from_slice(&small(length).to_le_bytes());
        self.nodes += 1;
    }

    /// A node that is gone: its newest version, until when that is remembered, and the word of its
    /// home server, where that is how it went.
    pub fn gone(
        &mut self,
        node: &PublicKey,
        (epoch, counter): (u64, u64),
        until: Timestamp,
        down: Option<(&PublicKey, &NodeDown)>,
    ) {
        let rest = std::mem::take(&mut self.gone);
        let before = std::mem::replace(&mut self.bytes, rest);
        let number = self.keys.of(node);
        self.u32(number);
        self.u64(epoch);
        self.u64(counter);
        self.u64(until.0);
        self.u8(u8::from(down.is_some()));
        if let Some((home, down)) = down {
            let home = self.keys.of(home);
            self.u32(home);
            self.u64(down.epoch);
            self.u64(down.counter);
            self.bytes.extend_from_slice(down.signature.as_bytes());
        }
        self.gone = std::mem::replace(&mut self.bytes, before);
        self.gone_count += 1;
    }

    /// How many bytes wait to be taken.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.bytes.len()
    }

    /// Takes out what was written so far: the next part of the file.
    pub fn take(&mut self) -> Vec<u8> {
        self.taken += self.bytes.len() as u64;
        std::mem::take(&mut self.bytes)
    }

    /// The last part of the file, but for the seal.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let names_at = self.taken + self.bytes.len() as u64;
        let keys = std::mem::take(&mut self.keys.values);
        self.count(keys.len());
        for key in &keys {
            self.bytes.extend_from_slice(key.as_bytes());
        }
        let currencies = std::mem::take(&mut self.currencies.values);
        self.count(currencies.len());
        for currency in &currencies {
            self.u8(u8::try_from(currency.as_str().len()).expect("a currency has 16 bytes at most"));
            self.bytes.extend_from_slice(currency.as_str().as_bytes());
        }
        let rates = std::mem::take(&mut self.rates.values);
        self.count(rates.len());
        for rate in &rates {
            self.u32(rate.ppm);
            self.u64(rate.add);
        }
        self.u32(self.gone_count);
        let gone = std::mem::take(&mut self.gone);
        self.bytes.extend_from_slice(&gone);
        let end = self.bytes.len() + FOOTER;
        self.u64(names_at);
        self.u64(self.nodes);
        debug_assert_eq!(self.bytes.len(), end);
        self.bytes
    }

    fn update(&mut self, update: &SignedUpdate) {
        let body = &update.body;
        let (kind, mutations) = match &body.kind {
            UpdateKind::Snapshot(mutations) => (SNAPSHOT, mutations.as_slice()),
            UpdateKind::Delta(mutations) => (DELTA, mutations.as_slice()),
            UpdateKind::Alive { .. } => (ALIVE, [].as_slice()),
        };
        self.u8(kind);
        let home = self.keys.of(&body.home_server);
        self.u32(home);
        self.u64(body.epoch);
        self.u64(body.counter);
        self.u64(body.time.0);
        self.bytes.extend_from_slice(update.signature.as_bytes());
        if let UpdateKind::Alive { table } = &body.kind {
            self.bytes.extend_from_slice(table.as_bytes());
            return;
        }
        self.count(mutations.len());
        let at = self.bytes.len();
        self.u32(0);
        for mutation in mutations {
            self.mutation(mutation);
        }
        let length = self.bytes.len() - at - 4;
        self.bytes[at..at + 4].copy_from_slice(&small(length).to_le_bytes());
    }

    fn mutation(&mut self, mutation: &UpdateMutation) {
        let (friend, currency, line) = match mutation {
            UpdateMutation::Set { friend, currency, line } => (friend, currency, Some(line)),
            UpdateMutation::Remove { friend, currency } => (friend, currency, None),
        };
        let amounts = |line: &IndexLine| {
            let small = u64::try_from(line.send_capacity.0).ok();
            small.zip(u64::try_from(line.recv_capacity.0).ok())
        };
        let small = line.and_then(amounts);
        self.u8(match (line, small) {
            (None, _) => REMOVE,
            (Some(_), Some(_)) => SET,
            (Some(_), None) => SET_LARGE,
        });
        let (friend, currency) = (self.keys.of(friend), self.currencies.of(currency));
        self.u32(friend);
        self.u32(currency);
        let Some(line) = line else { return };
        let rate = self.rates.of(&line.rate);
        self.u32(rate);
        if let Some((send, receive)) = small {
            self.u64(send);
            self.u64(receive);
        } else {
            self.bytes.extend_from_slice(&line.send_capacity.0.to_le_bytes());
            self.bytes.extend_from_slice(&line.recv_capacity.0.to_le_bytes());
        }
    }

    fn count(&mut self, count: usize) {
        self.u32(small(count));
    }

    fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }
}

fn small(count: usize) -> u32 {
    u32::try_from(count).expect("the directory bounds what it stores far below 2^32 of anything")
}

/// Numbers for values, in the order in which they come.
#[derive(Debug)]
struct Numbers<T> {
    numbers: HashMap<T, u32>,
    values: Vec<T>,
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), values: Vec::new() }
    }
}

impl<T: Clone + Eq + Hash> Numbers<T> {
    fn of(&mut self, value: &T) -> u32 {
        if let Some(number) = self.numbers.get(value) {
            return *number;
        }
        let number = small(self.values.len());
        self.values.push(value.clone());
        self.numbers.insert(value.clone(), number);
        number
    }
}
