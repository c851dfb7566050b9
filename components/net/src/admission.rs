//! Who may connect: counts and rates of connections by address. Pure: time and events come in.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

/// Limits of a listener. An *address* is an IPv4 address or an IPv6 /64, a *network* an IPv4 /24 or
/// an IPv6 /48: what one party usually holds. The defaults suit a public server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all, half-open ones included.
    pub connections: usize,
    /// Connections that have not opened their session yet; when there are more, the oldest is
    /// dropped.
    pub half_open: usize,
    /// Connections of one address.
    pub per_address: usize,
    /// Connections of one network.
    pub per_network: usize,
    /// New connections in all.
    pub rate: Rate,
    /// New connections of one address.
    pub rate_per_address: Rate,
    /// Whether the limits per address and network hold for loopback addresses too, where local
    /// programs and reverse proxies all come from.
    pub limit_loopback: bool,
}

impl Limits {
    /// See [`Limits::connections`].
    pub const CONNECTIONS: usize = 50_000;
    /// See [`Limits::half_open`] (reliability, common controls).
    pub const HALF_OPEN: usize = 1024;
    /// See [`Limits::per_address`].
    pub const PER_ADDRESS: usize = 256;
    /// See [`Limits::per_network`].
    pub const PER_NETWORK: usize = 2048;
    /// See [`Limits::rate`]: about a third of what one core can greet.
    pub const RATE: Rate = Rate { per_second: 1000, burst: 2000 };
    /// See [`Limits::rate_per_address`].
    pub const RATE_PER_ADDRESS: Rate = Rate { per_second: 10, burst: 100 };
}

impl Limits {
    /// The same limits for a process that may have so many files open (None: as many as it likes):
    /// half of them are left for everything that is no connection, and neither half-open connections
    /// nor those of one address or network are ever all that there are.
    #[must_use]
    pub(crate) fn within(self, open_files: Option<usize>) -> Self {
        let most = open_files.map_or(usize::MAX, |files| files / 2);
        let connections = self.connections.min(most);
        let part = |limit: usize, of: usize| limit.min((connections / of).max(1));
        Self {
            connections,
            half_open: part(self.half_open, 2),
            per_address: part(self.per_address, 8),
            per_network: part(self.per_network, 4),
            ..self
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: Self::CONNECTIONS,
            half_open: Self::HALF_OPEN,
            per_address: Self::PER_ADDRESS,
            per_network: Self::PER_NETWORK,
            rate: Self::RATE,
            rate_per_address: Self::RATE_PER_ADDRESS,
            limit_loopback: false,
        }
    }
}

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many a second in the long run; 0 allows none.
    pub per_second: u32,
    /// How many at once after a quiet time.
    pub burst: u32,
}

/// Which limit a new connection met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// [`Limits::connections`].
    Connections,
    /// [`Limits::per_address`].
    PerAddress,
    /// [`Limits::per_network`].
    PerNetwork,
    /// [`Limits::rate`].
    Rate,
    /// [`Limits::rate_per_address`].
    RatePerAddress,
}

impl Refusal {
    /// Every one.
    pub const ALL: [Self; 5] =
        [Self::Connections, Self::PerAddress, Self::PerNetwork, Self::Rate, Self::RatePerAddress];

    /// One word for it, as it is counted.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::PerAddress => "per_address",
            Self::PerNetwork => "per_network",
            Self::Rate => "rate",
            Self::RatePerAddress => "rate_per_address",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connections => "too many connections",
            Self::PerAddress => "too many connections from one address",
            Self::PerNetwork => "too many connections from one network",
            Self::Rate => "new connections come too fast",
            Self::RatePerAddress => "new connections from one address come too fast",
        })
    }
}

/// The number of a connection of one listener, rising.
pub(crate) type ConnectionId = u64;

/// A connection that was let in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Admitted {
    pub(crate) id: ConnectionId,
    /// The half-open connection that must go for it.
    pub(crate) evicted: Option<ConnectionId>,
}

/// Decides and counts. Its size is bounded by the open connections and by what the rates let in
/// within [`SWEEP_EVERY`].
#[derive(Debug)]
pub(crate) struct Admission {
    limits: Limits,
    next_id: ConnectionId,
    connections: BTreeMap<ConnectionId, IpAddr>,
    half_open: BTreeSet<ConnectionId>,
    addresses: BTreeMap<Prefix, Address>,
    networks: BTreeMap<Prefix, usize>,
    bucket: Bucket,
    swept_at: Duration,
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            next_id: 0,
            connections: BTreeMap::new(),
            half_open: BTreeSet::new(),
            addresses: BTreeMap::new(),
            networks: BTreeMap::new(),
            bucket: Bucket::default(),
            swept_at: Duration::ZERO,
        }
    }

    /// A new connection at `now`, a time that starts anywhere.
    pub(crate) fn handle_new(&mut self, from: IpAddr, now: Duration) -> Result<Admitted, Refusal> {
        self.sweep(now);
        let from = from.to_canonical();
        if self.limits.connections <= self.connections.len() {
            return Err(Refusal::Connections);
        }
        if self.is_limited(from) {
            let address = self.addresses.entry(Prefix::address(from)).or_default();
            if self.limits.per_address <= address.connections {
                return Err(Refusal::PerAddress);
            }
            let network = self.networks.get(&Prefix::network(from));
            if self.limits.per_network <= network.copied().unwrap_or(0) {
                return Err(Refusal::PerNetwork);
            }
            if !address.bucket.take(self.limits.rate_per_address, now) {
                return Err(Refusal::RatePerAddress);
            }
        }
        if !self.bucket.take(self.limits.rate, now) {
            return Err(Refusal::Rate);
        }
        Ok(self.admit(from))
    }

    /// The connection's session is open.
    pub(crate) fn handle_open(&mut self, id: ConnectionId) {
        self.half_open.remove(&id);
        self.check_invariants();
    }

    /// The system is out of files or memory: gives the older half of the half-open connections, which
    /// must go.
    pub(crate) fn handle_exhausted(&mut self) -> Vec<ConnectionId> {
        let count = self.half_open.len().div_ceil(2);
        let evicted = std::iter::from_fn(|| self.half_open.pop_first()).take(count).collect();
        self.check_invariants();
        evicted
    }

    /// The connection is gone.
    pub(crate) fn handle_gone(&mut self, id: ConnectionId) {
        self.half_open.remove(&id);
        let Some(from) = self.connections.remove(&id) else { return };
        if self.is_limited(from) {
            if let Some(address) = self.addresses.get_mut(&Prefix::address(from)) {
                address.connections = address.connections.saturating_sub(1);
            }
            let network = Prefix::network(from);
            match self.networks.get_mut(&network) {
                Some(connections) if 1 < *connections => *connections -= 1,
                _ => {
                    self.networks.remove(&network);
                }
            }
        }
        self.check_invariants();
    }

    fn admit(&mut self, from: IpAddr) -> Admitted {
        let id = self.next_id;
        self.next_id += 1;
        self.connections.insert(id, from);
        if self.is_limited(from) {
            self.addresses.entry(Prefix::address(from)).or_default().connections += 1;
            *self.networks.entry(Prefix::network(from)).or_default() += 1;
        }
        self.half_open.insert(id);
        let too_many = self.limits.half_open < self.half_open.len();
        let evicted = if too_many { self.half_open.pop_first() } else { None };
        self.check_invariants();
        Admitted { id, evicted }
    }

    /// Forgets addresses that have no connection and a full bucket.
    fn sweep(&mut self, now: Duration) {
        if SWEEP_EVERY <= now.saturating_sub(self.swept_at) {
            self.swept_at = now;
            self.addresses
                .retain(|_, address| 0 < address.connections || !address.bucket.is_full(now));
        }
    }

    fn is_limited(&self, from: IpAddr) -> bool {
        self.limits.limit_loopback || !from.is_loopback()
    }

    fn check_invariants(&self) {
        if cfg!(debug_assertions) && self.connections.len() < 1000 {
            assert!(self.half_open.iter().all(|id| self.connections.contains_key(id)));
            assert!(self.half_open.len() <= self.limits.half_open);
            assert!(self.connections.len() <= self.limits.connections);
            let limited = self.connections.values().filter(|from| self.is_limited(**from)).count();
            let addresses: usize = self.addresses.values().map(|each| each.connections).sum();
            assert_eq!(limited, addresses);
            assert_eq!(limited, self.networks.values().sum::<usize>());
        }
    }
}

#[derive(Debug, Default)]
struct Address {
    connections: usize,
    bucket: Bucket,
}

/// A token bucket as the time at which it will be full again.
#[derive(Debug, Default)]
struct Bucket {
    full_at: Duration,
}

impl Bucket {
    fn take(&mut self, rate: Rate, now: Duration) -> bool {
        let Some(step) = Duration::from_secs(1).checked_div(rate.per_second) else { return false };
        let full_at = self.full_at.max(now) + step;
        if step * rate.burst < full_at.saturating_sub(now) {
            return false;
        }
        self.full_at = full_at;
        true
    }

    fn is_full(&self, now: Duration) -> bool {
        self.full_at <= now
    }
}

/// The leading bits of an address; IPv4 ones in the mapped range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Prefix(Ipv6Addr);

impl Prefix {
    fn address(from: IpAddr) -> Self {
        Self::cut(from, 32, 64)
    }

    fn network(from: IpAddr) -> Self {
        Self::cut(from, 24, 48)
    }

    fn cut(from: IpAddr, v4_bits: u32, v6_bits: u32) -> Self {
        let (address, bits) = match from {
            IpAddr::V4(v4) => (v4.to_ipv6_mapped(), 96 + v4_bits),
            IpAddr::V6(v6) => (v6, v6_bits),
        };
        let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
        Self(Ipv6Addr::from_bits(address.to_bits() & mask))
    }
}

const SWEEP_EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO: Duration = Duration::ZERO;

    fn loose() -> Limits {
        let rate = Rate { per_second: 1_000_000, burst: 1_000_000 };
        Limits { rate, rate_per_address: rate, ..Limits::default() }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn counts_in_all_per_address_and_per_network() {
        let limits = Limits { connections: 7, per_address: 2, per_network: 3, ..loose() };
        let mut admission = Admission::new(limits);
        let mut ids = Vec::new();
        let cases = [
            ("10.0.0.1", None),
            ("10.0.0.1", None),
            ("10.0.0.1", Some(Refusal::PerAddress)),
            ("::ffff:10.0.0.1", Some(Refusal::PerAddress)),
            ("10.0.0.2", None),
            ("10.0.0.3", Some(Refusal::PerNetwork)),
            ("10.0.1.3", None),
            ("2001:db8:0:1::1", None),
            ("2001:db8:0:1::2", None),
            ("2001:db8:0:1:8000::3", Some(Refusal::PerAddress)),
            ("2001:db8:0:2::1", None),
            ("10.9.9.9", Some(Refusal::Connections)),
        ];
        for (from, refusal) in cases {
            let result = admission.handle_new(ip(from), ZERO);
            assert_eq!(result.as_ref().err().copied(), refusal, "{from}");
            ids.extend(result.ok().map(|admitted| admitted.id));
        }
        for id in ids {
            admission.handle_gone(id);
            admission.handle_gone(id);
        }
        assert!(admission.networks.is_empty());
        assert!(admission.handle_new(ip("10.0.0.1"), ZERO).is_ok());
    }

    #[test]
    fn loopback_is_exempt_unless_the_flag_says_otherwise() {
        for limit_loopback in [false, true] {
            let mut admission =
                Admission::new(Limits { per_address: 1, limit_loopback, ..loose() });
            for from in ["127.0.0.1", "::1"] {
                assert!(admission.handle_new(ip(from), ZERO).is_ok());
                assert_eq!(admission.handle_new(ip(from), ZERO).is_err(), limit_loopback);
            }
        }
    }

    #[test]
    fn the_oldest_half_open_goes_first() {
        let mut admission = Admission::new(Limits { half_open: 2, ..loose() });
        let evicted = |admission: &mut Admission| {
            let admitted = admission.handle_new(ip("127.0.0.1"), ZERO).unwrap();
            (admitted.id, admitted.evicted)
        };
        assert_eq!(evicted(&mut admission), (0, None));
        assert_eq!(evicted(&mut admission), (1, None));
        admission.handle_open(0);
        assert_eq!(evicted(&mut admission), (2, None));
        assert_eq!(evicted(&mut admission), (3, Some(1)));
        admission.handle_gone(1);
        admission.handle_gone(2);
        assert_eq!(evicted(&mut admission), (4, None));
        assert_eq!(evicted(&mut admission), (5, Some(3)));
        assert_eq!(admission.connections.len(), 4);
    }

    #[test]
    fn connections_leave_files_for_others_and_for_each_other() {
        let limits = Limits { connections: 1_000, half_open: 100, ..Limits::default() };
        let rows = [
            (None, [1_000, 100, 125, 250]),
            (Some(5_000), [1_000, 100, 125, 250]),
            (Some(1_024), [512, 100, 64, 128]),
            (Some(100), [50, 25, 6, 12]),
            (Some(0), [0, 1, 1, 1]),
        ];
        for (files, expected) in rows {
            let Limits { connections, half_open, per_address, per_network, .. } =
                limits.clone().within(files);
            assert_eq!([connections, half_open, per_address, per_network], expected);
        }
    }

    #[test]
    fn without_files_the_older_half_open_connections_go() {
        let mut admission = Admission::new(loose());
        for id in 0..5 {
            assert_eq!(admission.handle_new(ip("127.0.0.1"), ZERO).unwrap().id, id);
        }
        admission.handle_open(1);
        assert_eq!(admission.handle_exhausted(), [0, 2]);
        assert_eq!(admission.handle_exhausted(), [3]);
        assert_eq!(admission.handle_exhausted(), [4]);
        assert!(admission.handle_exhausted().is_empty());
    }

    #[test]
    fn rates_per_address_and_in_all() {
        let mut admission = Admission::new(Limits {
            rate: Rate { per_second: 4, burst: 6 },
            rate_per_address: Rate { per_second: 1, burst: 3 },
            ..Limits::default()
        });
        let (a, b, local) = (ip("10.0.0.1"), ip("10.0.0.2"), ip("127.0.0.1"));
        let mut new =
            |from, millis| admission.handle_new(from, Duration::from_millis(millis)).map(|_| ());
        for _ in 0..3 {
            assert_eq!(new(a, 0), Ok(()));
        }
        assert_eq!(new(a, 0), Err(Refusal::RatePerAddress));
        for _ in 0..3 {
            assert_eq!(new(b, 0), Ok(()));
        }
        assert_eq!(new(local, 0), Err(Refusal::Rate));
        assert_eq!(new(local, 250), Ok(()));
        assert_eq!(new(a, 999), Err(Refusal::RatePerAddress));
        assert_eq!(new(a, 1000), Ok(()));
        let mut none =
            Admission::new(Limits { rate: Rate { per_second: 0, burst: 5 }, ..Limits::default() });
        assert_eq!(none.handle_new(a, ZERO), Err(Refusal::Rate));
    }

    #[test]
    fn addresses_are_forgotten() {
        let mut admission = Admission::new(loose());
        for last in 0..1000u32 {
            let from = IpAddr::V4((0x0a00_0000 + last).into());
            let admitted = admission.handle_new(from, ZERO).unwrap();
            admission.handle_gone(admitted.id);
        }
        assert_eq!(admission.addresses.len(), 1000);
        admission.handle_new(ip("10.0.0.1"), SWEEP_EVERY).unwrap();
        assert_eq!(admission.addresses.len(), 1);
    }
}
