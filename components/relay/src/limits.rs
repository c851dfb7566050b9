//! How much a relay gives to one client and to all of them.

/// The limits of a relay. Every field has a safe default ([`Limits::default`]); all of them are
/// settings of the operator, because a relay for a village and one for a country differ.
///
/// Limits of connections per network address (how many, half-open handshakes, accepts per second) are
/// the listener's and stand in its own configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all. One more is closed with the reason.
    pub max_connections: usize,
    /// Connections of one key. A node needs one; a second one stands while the first is dying.
    pub max_connections_per_key: usize,
    /// Circuits in all.
    pub max_circuits: usize,
    /// Ends of circuits of one connection (protocol, section 3).
    pub max_circuits_per_connection: usize,
    /// Ends of circuits of one key, over all its connections.
    pub max_circuits_per_key: usize,
    /// Ends of circuits of all keys of one address: keys cost nothing. Not for those of this computer
    /// itself, where proxies are.
    pub max_circuits_per_address: usize,
    /// Incoming circuits of one listener that wait to be accepted.
    pub max_pending_per_listener: usize,
    /// Those of them that come from one address (or, from this computer itself, from one key), so
    /// that a flood from one place leaves room for friends.
    pub max_pending_per_source: usize,
    /// How long an incoming circuit waits to be accepted, in milliseconds (protocol, section 3).
    pub accept_timeout_ms: u64,
    /// Bytes that may wait to be written to one connection (protocol, section 3). What would be
    /// more closes the circuit that it belongs to.
    pub max_waiting_bytes: usize,
    /// Bytes that may wait in all. When it is more, the connection for which most waits is closed.
    pub max_waiting_bytes_total: usize,
    /// The most window that one direction of a circuit may have been granted and not used.
    pub max_window_bytes: u32,
    /// Circuits that one key may open.
    pub opens_per_key: Allowance,
    /// Circuits that all keys of one address may open: keys cost nothing. Not for those of this
    /// computer itself, where proxies are.
    pub opens_per_address: Allowance,
    /// Circuits that all keys together may open.
    pub opens_total: Allowance,
    /// Bytes that one key may send. Beyond it, reading from the client pauses.
    pub bytes_per_key: Allowance,
    /// Bytes that all keys together may send. Beyond it, reading from the senders pauses.
    pub bytes_total: Allowance,
}

/// So much a second, and so much at once after a silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// What comes back each second; at least 1 is assumed.
    pub per_second: u32,
    /// The most that is saved up; at least 1 is assumed.
    pub burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_connections_per_key: 4,
            max_circuits: 100_000,
            max_circuits_per_connection: 4_096,
            max_circuits_per_key: 4_096,
            max_circuits_per_address: 4_096,
            max_pending_per_listener: 64,
            max_pending_per_source: 16,
            accept_timeout_ms: 10_000,
            max_waiting_bytes: 4 * MIB as usize,
            max_waiting_bytes_total: 1024 * MIB as usize,
            max_window_bytes: 4 * MIB,
            opens_per_key: Allowance { per_second: 100, burst: 1_024 },
            opens_per_address: Allowance { per_second: 200, burst: 2_048 },
            opens_total: Allowance { per_second: 5_000, burst: 20_000 },
            bytes_per_key: Allowance { per_second: 64 * MIB, burst: 64 * MIB },
            bytes_total: Allowance { per_second: 512 * MIB, burst: 512 * MIB },
        }
    }
}

const MIB: u32 = 1024 * 1024;
