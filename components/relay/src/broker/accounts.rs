//! What each key, each address and all together use of the relay.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use offset_crypto::PublicKey;
use offset_proto::Timestamp;

use super::Reason;
use crate::{
    limits::{Allowance, Limits},
    rate::TokenBucket,
};

/// Counts and token buckets, per key, per address and in total. A key without connections is
/// remembered until its buckets are full again, so that connecting anew gives nobody a fresh
/// allowance; an address likewise, as keys cost nothing.
#[derive(Debug)]
pub(super) struct Accounts {
    keys: BTreeMap<PublicKey, Account>,
    addresses: BTreeMap<IpAddr, Address>,
    opens_per_address: Allowance,
    /// Addresses are looked through for full buckets when there are so many.
    sweep_at: usize,
    /// When accounts without connections are forgotten.
    forget: BTreeSet<(Timestamp, PublicKey)>,
    connections: usize,
    opens: TokenBucket,
    bytes: TokenBucket,
}

#[derive(Debug)]
struct Account {
    connections: usize,
    circuit_ends: usize,
    opens: TokenBucket,
    bytes: TokenBucket,
    forget_at: Option<Timestamp>,
}

#[derive(Debug)]
struct Address {
    circuit_ends: usize,
    opens: TokenBucket,
}

impl Accounts {
    pub(super) fn new(limits: &Limits, now: Timestamp) -> Self {
        Self {
            keys: BTreeMap::new(),
            addresses: BTreeMap::new(),
            opens_per_address: limits.opens_per_address,
            sweep_at: SWEEP_AT,
            forget: BTreeSet::new(),
            connections: 0,
            opens: TokenBucket::new(limits.opens_total, now),
            bytes: TokenBucket::new(limits.bytes_total, now),
        }
    }

    pub(super) fn connected(
        &mut self,
        key: PublicKey,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<(), Reason> {
        if limits.max_connections <= self.connections {
            return Err(Reason::Full);
        }
        let account = self.keys.entry(key).or_insert_with(|| Account {
            connections: 0,
            circuit_ends: 0,
            opens: TokenBucket::new(limits.opens_per_key, now),
            bytes: TokenBucket::new(limits.bytes_per_key, now),
            forget_at: None,
        });
        // A key that is here has a connection or a time to be forgotten, so a refused one that
        // was just made (the limit is 0) must not stay.
        if limits.max_connections_per_key <= account.connections {
            if account.connections == 0 && account.forget_at.is_none() {
                self.keys.remove(&key);
            }
            return Err(Reason::TooManyConnections);
        }
        if let Some(at) = account.forget_at.take() {
            self.forget.remove(&(at, key));
        }
        account.connections += 1;
        self.connections += 1;
        Ok(())
    }

    pub(super) fn disconnected(&mut self, key: PublicKey, now: Timestamp) {
        let account = self.keys.get_mut(&key).expect("a connected key has an account");
        account.connections -= 1;
        self.connections -= 1;
        if account.connections == 0 {
            let at = account.opens.full_at(now).max(account.bytes.full_at(now));
            account.forget_at = Some(at);
            self.forget.insert((at, key));
        }
    }

    /// Counts an end of a circuit of `key`, connected from `address`.
    pub(super) fn circuit_opened(
        &mut self,
        key: PublicKey,
        address: Option<IpAddr>,
        now: Timestamp,
    ) {
        self.account(key).circuit_ends += 1;
        if let Some(address) = address {
            self.address(address, now).circuit_ends += 1;
        }
    }

    pub(super) fn circuit_closed(&mut self, key: PublicKey, address: Option<IpAddr>) {
        self.account(key).circuit_ends -= 1;
        if let Some(address) = address.and_then(|address| self.addresses.get_mut(&address)) {
            address.circuit_ends -= 1;
        }
    }

    /// How many ends of circuits all keys of an address have; 0 for this computer.
    pub(super) fn circuit_ends_from(&self, address: Option<IpAddr>) -> usize {
        let address = address.and_then(|address| self.addresses.get(&address));
        address.map_or(0, |address| address.circuit_ends)
    }

    pub(super) fn circuit_ends(&self, key: PublicKey) -> usize {
        self.keys.get(&key).map_or(0, |account| account.circuit_ends)
    }

    /// Whether `key`, connected from `address`, may try to open a circuit now.
    pub(super) fn take_open(
        &mut self,
        key: PublicKey,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> bool {
        self.account(key).opens.take(now)
            && address.is_none_or(|address| self.address(address, now).opens.take(now))
            && self.opens.take(now)
    }

    fn address(&mut self, address: IpAddr, now: Timestamp) -> &mut Address {
        if self.sweep_at <= self.addresses.len() {
            self.addresses
                .retain(|_, address| 0 < address.circuit_ends || now < address.opens.full_at(now));
            self.sweep_at = SWEEP_AT.max(2 * self.addresses.len());
        }
        self.addresses.entry(address).or_insert_with(|| Address {
            circuit_ends: 0,
            opens: TokenBucket::new(self.opens_per_address, now),
        })
    }

    /// Charges received bytes; the milliseconds for which reading from the key should pause.
    pub(super) fn charge_bytes(&mut self, key: PublicKey, bytes: usize, now: Timestamp) -> u64 {
        let own_ms = self.account(key).bytes.charge(bytes, now);
        own_ms.max(self.bytes.charge(bytes, now))
    }

    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        self.forget.first().map(|(at, _)| *at)
    }

    pub(super) fn handle_timeout(&mut self, now: Timestamp) {
        while let Some((at, key)) = self.forget.first().copied() {
            if now < at {
                break;
            }
            self.forget.remove(&(at, key));
            self.keys.remove(&key);
        }
    }

    /// Panics when the counts differ from those counted anew: `ends` holds, for each connection,
    /// its key and address, and how many ends of circuits it has.
    pub(super) fn check(&self, ends: impl Iterator<Item = (PublicKey, Option<IpAddr>, usize)>) {
        let mut counted: BTreeMap<PublicKey, (usize, usize)> = BTreeMap::new();
        let mut by_address: BTreeMap<Option<IpAddr>, usize> = BTreeMap::new();
        for (key, address, circuit_ends) in ends {
            *by_address.entry(address).or_default() += circuit_ends;
            let entry = counted.entry(key).or_default();
            entry.0 += 1;
            entry.1 += circuit_ends;
        }
        let connections: usize = counted.values().map(|(connections, _)| connections).sum();
        assert_eq!(connections, self.connections, "connections are counted");
        for (key, account) in &self.keys {
            let expected = counted.remove(key).unwrap_or_default();
            assert_eq!(expected, (account.connections, account.circuit_ends), "{key:?} is counted");
            assert_eq!(account.connections == 0, account.forget_at.is_some(), "idle keys go");
            if let Some(at) = account.forget_at {
                assert!(self.forget.contains(&(at, *key)), "what goes has its time");
            }
        }
        for (address, known) in &self.addresses {
            let expected = by_address.remove(&Some(*address)).unwrap_or_default();
            assert_eq!(expected, known.circuit_ends, "{address} is counted");
        }
        by_address.remove(&None);
        assert!(by_address.into_values().all(|ends| ends == 0), "addresses in use are known");
        assert!(counted.is_empty(), "every connected key has an account");
        assert!(self.forget.len() <= self.keys.len(), "nothing goes twice");
    }

    #[cfg(test)]
    pub(super) fn addresses_known(&self) -> usize {
        self.addresses.len()
    }

    fn account(&mut self, key: PublicKey) -> &mut Account {
        self.keys.get_mut(&key).expect("a connected key has an account")
    }
}

/// Fewer addresses are not worth looking through.
const SWEEP_AT: usize = 1_024;
