//! What a seed does: each has some faults and not others (swarm testing).

use offset_crypto::SeededRng;

/// The shape of a network and what befalls it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Nodes.
    pub nodes: usize,
    /// Friendships beyond those of a chain through all nodes.
    pub extra_lines: usize,
    /// Whether the chain is closed to a ring, so that there are two ways for everything, and cycles.
    pub ring: bool,
    /// Relays.
    pub relays: usize,
    /// Federated index servers.
    pub indexes: usize,
    /// Currencies on every friendship.
    pub currencies: usize,
    /// The most that a side of a line may owe.
    pub limit: u128,
    /// The largest order.
    pub largest_order: u128,
    /// How long the storm lasts, in milliseconds.
    pub storm_ms: u64,
    /// The mean time between orders.
    pub order_every_ms: u64,
    /// How long a message is under way, from and to.
    pub delay_ms: (u64, u64),
    /// How long a sync takes, from and to.
    pub sync_ms: (u64, u64),
    /// The mean time between connections that are cut.
    pub cut_every_ms: Option<u64>,
    /// Whether one end of a cut connection may hear of it late.
    pub half_open: bool,
    /// The mean time between crashes.
    pub crash_every_ms: Option<u64>,
    /// The mean time between partitions, one way or both.
    pub partition_every_ms: Option<u64>,
    /// The mean time between commits that fail.
    pub disk_fails_every_ms: Option<u64>,
    /// The mean time between changes of owners' minds.
    pub change_every_ms: Option<u64>,
    /// The mean time between owners who part from a friend, whatever is under way with it.
    pub part_every_ms: Option<u64>,
    /// Whether clocks jump, forwards while running and any way over a restart.
    pub clock_jumps: bool,
    /// Whether mediators ask fees.
    pub fees: bool,
    /// Whether some invoices hold what pays them.
    pub holds: bool,
    /// Whether some payments are made by commits that buyers hand to sellers.
    pub commits: bool,
}

impl Options {
    /// The options of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut rng = Draw(SeededRng::new(seed ^ 0x6f66_6673_6574_7369));
        let nodes = rng.between(2, 6);
        Self {
            nodes: usize::try_from(nodes).unwrap_or(2),
            extra_lines: usize::try_from(rng.between(0, nodes)).unwrap_or(0),
            relays: usize::try_from(rng.between(1, 2)).unwrap_or(1),
            indexes: usize::try_from(rng.between(1, 2)).unwrap_or(1),
            currencies: usize::try_from(rng.between(1, 2)).unwrap_or(1),
            ring: rng.coin(),
            limit: *rng.of(&[100, 1_000, 1 << 100]),
            largest_order: *rng.of(&[20, 150, 250, 1_200]),
            storm_ms: rng.between(5_000, 40_000),
            order_every_ms: *rng.of(&[20, 100, 400]),
            delay_ms: *rng.of(&[(0, 1), (1, 20), (5, 400)]),
            sync_ms: *rng.of(&[(0, 1), (1, 10), (10, 800)]),
            cut_every_ms: rng.maybe(&[300, 2_000, 10_000]),
            half_open: rng.coin(),
            crash_every_ms: rng.maybe(&[500, 3_000, 10_000]),
            partition_every_ms: rng.maybe(&[2_000, 10_000]),
            disk_fails_every_ms: rng.maybe(&[1_000, 10_000]),
            change_every_ms: rng.maybe(&[100, 1_000]),
            part_every_ms: rng.maybe(&[5_000, 20_000]).filter(|_| rng.coin()),
            clock_jumps: rng.coin(),
            fees: rng.coin(),
            holds: rng.coin(),
            commits: rng.coin(),
        }
    }
}

/// Drawing from a generator.
pub(crate) struct Draw(pub(crate) SeededRng);

impl Draw {
    /// One of `from..=to`.
    pub(crate) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.0.below(to.saturating_sub(from).saturating_add(1))
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.0.below(2) == 0
    }

    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.0.below(u64::try_from(len).unwrap_or(1))).unwrap_or(0)
    }

    /// One of some things, of which there is at least one.
    pub(crate) fn of<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.index(of.len())]
    }

    fn maybe(&mut self, of: &[u64]) -> Option<u64> {
        if self.coin() { Some(*self.of(of)) } else { None }
    }
}
