//! Settings of connections.

use std::time::Duration;

use offset_proto::Text;

/// Settings of connections. The defaults suit every purpose.
#[derive(Debug, Clone)]
pub struct NetConfig {
    /// The most bytes that may wait to be sent on one connection.
    pub queue_bytes: usize,
    /// The most messages that may wait to be sent on one connection.
    pub queue_messages: usize,
    /// A ping is sent after this long without sending.
    pub ping_after: Duration,
    /// The connection is closed after this long without receiving.
    pub idle_timeout: Duration,
    /// The connection is closed when the peer takes nothing for this long.
    pub write_timeout: Duration,
    /// For resolving, connecting and the handshake together.
    pub dial_timeout: Duration,
    /// For the peer's `Hello`.
    pub hello_timeout: Duration,
    /// Names of optional features that this side knows, told in `Hello`.
    pub features: Vec<Text>,
}

impl NetConfig {
    /// See [`NetConfig::queue_bytes`].
    pub const QUEUE_BYTES: usize = 4 * 1024 * 1024;
    /// See [`NetConfig::queue_messages`].
    pub const QUEUE_MESSAGES: usize = 16 * 1024;
    /// See [`NetConfig::ping_after`] (protocol, section 2).
    pub const PING_AFTER: Duration = Duration::from_secs(10);
    /// See [`NetConfig::idle_timeout`] (protocol, section 2).
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
    /// See [`NetConfig::write_timeout`].
    pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
    /// See [`NetConfig::dial_timeout`].
    pub const DIAL_TIMEOUT: Duration = Duration::from_secs(15);
    /// See [`NetConfig::hello_timeout`].
    pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
}

impl Default for NetConfig {
    fn default() -> Self {
        Self {
            queue_bytes: Self::QUEUE_BYTES,
            queue_messages: Self::QUEUE_MESSAGES,
            ping_after: Self::PING_AFTER,
            idle_timeout: Self::IDLE_TIMEOUT,
            write_timeout: Self::WRITE_TIMEOUT,
            dial_timeout: Self::DIAL_TIMEOUT,
            hello_timeout: Self::HELLO_TIMEOUT,
            features: Vec::new(),
        }
    }
}
