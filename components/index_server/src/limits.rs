//! Every bound of an index server, with its default.

use std::time::Duration;

/// A node without a sign of life for this long is dropped, unless less is set (protocol, section 9).
pub const ALIVE_FOR_MS: u64 = 15 * 60 * 1_000;
/// An update whose time is further away from the server's clock does not count as fresh.
pub const MAX_AGE_MS: u64 = 60 * 60 * 1_000;
/// An epoch further ahead of the server's clock is refused.
pub const MAX_EPOCH_AHEAD_S: u64 = 24 * 60 * 60;
/// How long the newest version of a node that is gone is remembered.
pub const REMEMBER_MS: u64 = 24 * 60 * 60 * 1_000;
/// The hash of a node's table is compared with what the node says at most this often.
pub const COMPARE_EVERY_MS: u64 = 60 * 1_000;
/// How long a chain of old updates may wait for a fresh one.
pub const STAGED_FOR_MS: u64 = 60 * 1_000;

/// Bounds of everything that an index server keeps or does for others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of the stored statements.
    pub directory: DirectoryLimits,
    /// Of the service to nodes.
    pub clients: ClientLimits,
    /// Of route searches.
    pub search: SearchLimits,
}

/// Bounds of the stored statements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryLimits {
    /// The most nodes at a time; further ones are refused until others are gone. 100,000.
    pub max_nodes: usize,
    /// The most lines kept of one node; an honest node reports at most 20,000. 65,536.
    pub max_lines_per_node: usize,
    /// The most currencies of all nodes together; lines in further ones are refused. 65,536.
    pub max_currencies: usize,
    /// The most currencies in which one node reports lines. 512.
    pub max_currencies_per_node: usize,
    /// The most bytes of stored updates of all nodes together, as estimated; tables and graph take
    /// about twice as much again. When it is more, the node of which most is stored gives way to a
    /// smaller one. 512 MiB.
    pub max_stored_bytes: usize,
    /// Bytes of updates that may be stored of any node, besides four times its table, before a new
    /// snapshot is wanted of it; at twice as much its updates are dropped until it comes. 64 KiB.
    pub min_chain_bytes: usize,
    /// A node without a sign of life for so many milliseconds is dropped; nodes give one every 5
    /// minutes. [`ALIVE_FOR_MS`], and never more.
    pub alive_for_ms: u64,
}

impl Default for DirectoryLimits {
    fn default() -> Self {
        Self {
            max_nodes: 100_000,
            max_lines_per_node: 65_536,
            max_currencies: 65_536,
            max_currencies_per_node: 512,
            max_stored_bytes: 512 << 20,
            min_chain_bytes: 64 << 10,
            alive_for_ms: ALIVE_FOR_MS,
        }
    }
}

/// Bounds of the service to nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientLimits {
    /// Route requests of one key. A hub asks once a payment, so this only bounds what reading and
    /// refusing cost; the searches themselves are shared fairly by turns.
    pub requests_per_key: Pace,
    /// Route requests from one address, whatever the keys.
    pub requests_per_address: Pace,
    /// Updates of one connection, each counted as its mutations and ten more; a node that sends more
    /// is read more slowly.
    pub updates: Pace,
    /// The most bytes of answers that may wait for one node; a node that reads more slowly is
    /// disconnected. 512 KiB.
    pub queue_bytes: usize,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            requests_per_key: Pace { per_second: 10_000, burst: 20_000 },
            requests_per_address: Pace { per_second: 20_000, burst: 40_000 },
            updates: Pace { per_second: 2_000, burst: 70_000 },
            queue_bytes: 512 << 10,
        }
    }
}

/// How many of something a second in the long run, and how many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// In the long run.
    pub per_second: u32,
    /// At once, after a rest.
    pub burst: u32,
}

/// Bounds of route searches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchLimits {
    /// The most edges that the search for a single route looks at. 200,000, about 25 ms in an
    /// unoptimised build.
    pub max_edges: usize,
    /// The most edges that all searches together look at which share an amount among several
    /// routes, where no single one carries it. 800,000.
    pub max_split_edges: usize,
    /// Searches at a time. As many as there are cores.
    pub at_once: usize,
    /// Searches that wait for their turn; of more, the newest of whoever has most is refused. 4,096.
    pub waiting: usize,
    /// A request that has waited this long is refused: its node has given up. 2 s.
    pub patience: Duration,
}

impl Default for SearchLimits {
    fn default() -> Self {
        Self {
            max_edges: 200_000,
            max_split_edges: 800_000,
            at_once: std::thread::available_parallelism().map_or(1, usize::from),
            waiting: 4_096,
            patience: Duration::from_secs(2),
        }
    }
}
