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
    /// The mean time between processes of nodes that are stopped for a while.
    pub pause_every_ms: Option<u64>,
    /// The mean time between changes of owners' minds.
    pub change_every_ms: Option<u64>,
    /// The mean time between owners who part from a friend, whatever is under way with it.
    pub part_every_ms: Option<u64>,
    /// Whether friends who parted become friends again.
    pub meets: bool,
    /// The mean time between tokens of honest nodes that arrive as nobody signed them, after which
    /// owners agree on terms to begin again.
    pub spoil_every_ms: Option<u64>,
    /// The node that comes back from older copies of its disk, if one does.
    pub restored: Option<usize>,
    /// The mean time between copies and returns to one.
    pub restore_every_ms: u64,
    /// The node that betrays its friends, if one does.
    pub betrayer: Option<usize>,
    /// How many of a hundred of its messages are no truth.
    pub betrayals_in_100: u64,
    /// Whether it takes care that nobody sees it from what a single message says: then friends go on
    /// with it, and it goes further.
    pub subtle: bool,
    /// Which relays lie.
    pub lying_relays: Vec<bool>,
    /// Which index servers lie.
    pub lying_indexes: Vec<bool>,
    /// Whether clocks jump, forwards while running and any way over a restart.
    pub clock_jumps: bool,
    /// What mediators ask, in millionths and beyond.
    pub fees: (u32, u64),
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
        // Half of the seeds know honest people, servers and disks only: there the most is checked.
        let ill = rng.coin();
        let some_node = |rng: &mut Draw| usize::try_from(rng.between(0, nodes - 1)).unwrap_or(0);
        let betrayer = (ill && 2 < nodes && rng.coin()).then(|| some_node(&mut rng));
        let restored = (ill && rng.coin()).then(|| some_node(&mut rng));
        let spoil_every_ms = rng.maybe(&[2_000, 10_000]).filter(|_| ill);
        let lies = |rng: &mut Draw| (0..2).map(|_| ill && rng.coin()).collect::<Vec<_>>();
        let (lying_relays, lying_indexes) = (lies(&mut rng), lies(&mut rng));
        Self {
            meets: rng.coin(),
            spoil_every_ms,
            restored,
            restore_every_ms: *rng.of(&[1_000, 4_000]),
            betrayer,
            betrayals_in_100: *rng.of(&[2, 10, 40]),
            lying_relays,
            lying_indexes,
            pause_every_ms: rng.maybe(&[1_000, 8_000]),
            nodes: usize::try_from(nodes).unwrap_or(2),
            extra_lines: usize::try_from(rng.between(0, nodes)).unwrap_or(0),
            relays: usize::try_from(rng.between(1, 2)).unwrap_or(1),
            indexes: usize::try_from(rng.between(1, 2)).unwrap_or(1),
            currencies: usize::try_from(rng.between(1, 3)).unwrap_or(1),
            ring: rng.coin(),
            limit: *rng.of(&[1, 100, 1_000, 1 << 100, (1 << 127) - 1]),
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
            part_every_ms: rng.maybe(&[5_000, 20_000]).filter(|_| ill),
            clock_jumps: rng.coin(),
            fees: *rng.of(&[
                (0, 0),
                (0, 0),
                (10_000, 1),
                (10_000, 1),
                (1_000_000, 0),
                (1, u64::MAX),
            ]),
            holds: rng.coin(),
            commits: rng.coin(),
            subtle: rng.coin(),
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

    pub(crate) fn maybe(&mut self, of: &[u64]) -> Option<u64> {
        if self.coin() { Some(*self.of(of)) } else { None }
    }
}
