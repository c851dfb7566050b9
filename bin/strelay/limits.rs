//! The limits of a relay by name.

use offset_relay::RelayConfig;

use crate::{limit, listener_limits, manners::limits::Limit};

/// Every limit, in the order in which the example file has them.
pub(super) fn known() -> Vec<Limit<RelayConfig>> {
    let mut known = vec![
        limit!(RelayConfig, "max_connections", limits.max_connections, 1..=1_000_000),
        // One stands while the one before it is dying.
        limit!(RelayConfig, "max_connections_per_key", limits.max_connections_per_key, 2..=10_000),
        limit!(RelayConfig, "max_circuits", limits.max_circuits, 1..=10_000_000),
        limit!(
            RelayConfig,
            "max_circuits_per_connection",
            limits.max_circuits_per_connection,
            1..=4_096
        ),
        limit!(RelayConfig, "max_circuits_per_key", limits.max_circuits_per_key, 1..=1_000_000),
        limit!(
            RelayConfig,
            "max_circuits_per_address",
            limits.max_circuits_per_address,
            1..=10_000_000
        ),
        limit!(RelayConfig, "max_pending_per_listener", limits.max_pending_per_listener, 1..=4_096),
        limit!(RelayConfig, "max_pending_per_source", limits.max_pending_per_source, 1..=4_096),
        limit!(RelayConfig, "accept_timeout_ms", limits.accept_timeout_ms, 1_000..=60_000),
        // A circuit's first window must fit, and the protocol has an upper bound.
        limit!(RelayConfig, "max_waiting_bytes", limits.max_waiting_bytes, 512 * KIB..=4 * MIB),
        limit!(
            RelayConfig,
            "max_waiting_bytes_total",
            limits.max_waiting_bytes_total,
            4 * MIB..=MIB * MIB
        ),
        limit!(RelayConfig, "max_window_bytes", limits.max_window_bytes, 256 * KIB..=4 * MIB),
        limit!(
            RelayConfig,
            "opens_per_key.per_second",
            limits.opens_per_key.per_second,
            1..=1_000_000
        ),
        limit!(RelayConfig, "opens_per_key.burst", limits.opens_per_key.burst, 1..=1_000_000),
        limit!(
            RelayConfig,
            "opens_per_address.per_second",
            limits.opens_per_address.per_second,
            1..=1_000_000
        ),
        limit!(
            RelayConfig,
            "opens_per_address.burst",
            limits.opens_per_address.burst,
            1..=1_000_000
        ),
        limit!(RelayConfig, "opens_total.per_second", limits.opens_total.per_second, 1..=1_000_000),
        limit!(RelayConfig, "opens_total.burst", limits.opens_total.burst, 1..=1_000_000),
        // A message of the greatest length must be affordable.
        limit!(
            RelayConfig,
            "bytes_per_key.per_second",
            limits.bytes_per_key.per_second,
            KIB..=4_000 * MIB
        ),
        limit!(
            RelayConfig,
            "bytes_per_key.burst",
            limits.bytes_per_key.burst,
            256 * KIB..=4_000 * MIB
        ),
        limit!(
            RelayConfig,
            "bytes_total.per_second",
            limits.bytes_total.per_second,
            KIB..=4_000 * MIB
        ),
        limit!(RelayConfig, "bytes_total.burst", limits.bytes_total.burst, 256 * KIB..=4_000 * MIB),
    ];
    known.extend(listener_limits!(RelayConfig, "addresses", addresses));
    known
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// As they are when nothing is said.
#[cfg(test)]
pub(super) fn lines() -> Vec<String> {
    crate::manners::limits::lines(&known(), &RelayConfig::default())
}
