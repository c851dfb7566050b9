//! The limits of an index server by name.

use std::time::Duration;

use offset_index_server::limits::Limits;

use crate::{limit, listener_limits, manners::limits::Limit};

/// What the file's `[limits]` sets.
#[derive(Debug, Clone, Default)]
pub(super) struct IndexLimits {
    pub(super) limits: Limits,
    pub(super) nodes: offset_net::Limits,
    pub(super) servers: offset_net::Limits,
}

/// Every limit, in the order in which the example file has them.
pub(super) fn known() -> Vec<Limit<IndexLimits>> {
    let mut known = vec![
        limit!(IndexLimits, "directory.max_nodes", limits.directory.max_nodes, 1..=100_000_000),
        // An honest node reports at most 20,000.
        limit!(
            IndexLimits,
            "directory.max_lines_per_node",
            limits.directory.max_lines_per_node,
            20_000..=1_000_000
        ),
        limit!(
            IndexLimits,
            "directory.max_currencies",
            limits.directory.max_currencies,
            1..=16_000_000
        ),
        limit!(
            IndexLimits,
            "directory.max_currencies_per_node",
            limits.directory.max_currencies_per_node,
            1..=20_000
        ),
        limit!(
            IndexLimits,
            "directory.max_stored_bytes",
            limits.directory.max_stored_bytes,
            MIB..=MIB * MIB
        ),
        limit!(
            IndexLimits,
            "directory.min_chain_bytes",
            limits.directory.min_chain_bytes,
            4 * KIB..=16 * MIB
        ),
        // Nodes give a sign of life every five minutes; less is for networks of tests.
        limit!(
            IndexLimits,
            "directory.alive_for_ms",
            limits.directory.alive_for_ms,
            1_000..=offset_index_server::limits::ALIVE_FOR_MS
        ),
        limit!(
            IndexLimits,
            "clients.requests_per_key.per_second",
            limits.clients.requests_per_key.per_second,
            1..=1_000_000
        ),
        limit!(
            IndexLimits,
            "clients.requests_per_key.burst",
            limits.clients.requests_per_key.burst,
            1..=1_000_000
        ),
        limit!(
            IndexLimits,
            "clients.requests_per_address.per_second",
            limits.clients.requests_per_address.per_second,
            1..=1_000_000
        ),
        limit!(
            IndexLimits,
            "clients.requests_per_address.burst",
            limits.clients.requests_per_address.burst,
            1..=1_000_000
        ),
        limit!(
            IndexLimits,
            "clients.updates.per_second",
            limits.clients.updates.per_second,
            10..=10_000_000
        ),
        // A snapshot of all that a node may report must be affordable.
        limit!(
            IndexLimits,
            "clients.updates.burst",
            limits.clients.updates.burst,
            21_000..=10_000_000
        ),
        limit!(IndexLimits, "clients.queue_bytes", limits.clients.queue_bytes, 64 * KIB..=64 * MIB),
        limit!(IndexLimits, "search.max_edges", limits.search.max_edges, 1_000..=100_000_000),
        limit!(
            IndexLimits,
            "search.max_split_edges",
            limits.search.max_split_edges,
            1_000..=100_000_000
        ),
        limit!(IndexLimits, "search.at_once", limits.search.at_once, 1..=256),
        limit!(IndexLimits, "search.waiting", limits.search.waiting, 1..=1_000_000),
        Limit {
            name: "search.patience_ms",
            range: 100..=60_000,
            get: |all: &IndexLimits| number_of(all.limits.search.patience),
            set: |all, number| all.limits.search.patience = Duration::from_millis(number),
        },
    ];
    known.extend(listener_limits!(IndexLimits, "nodes", nodes));
    known.extend(listener_limits!(IndexLimits, "servers", servers));
    known
}

fn number_of(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// As they are when nothing is said.
#[cfg(test)]
pub(super) fn lines() -> Vec<String> {
    crate::manners::limits::lines(&known(), &IndexLimits::default())
}
