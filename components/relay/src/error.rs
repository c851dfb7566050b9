//! What can go wrong with a relay, seen from a node or from its operator.

use offset_proto::{NetworkAddress, relay::CloseReason};

/// Why there is no circuit, or no relay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The relay cannot be reached, or closed the connection.
    #[error("cannot reach the relay at {relay}: {reason}")]
    Unreachable {
        /// Where it should be.
        relay: NetworkAddress,
        /// What happened.
        reason: String,
    },
    /// The destination is not at this relay.
    #[error("the other side is not listening at this relay")]
    NotListening,
    /// The destination did not accept in time.
    #[error("the other side did not accept the circuit in time")]
    Timeout,
    /// The destination does not want a circuit from this key.
    #[error("the other side rejected the circuit: it may not know this node")]
    Rejected,
    /// The connection of one of the two ends was lost meanwhile.
    #[error("the connection to the relay was lost while the circuit was opened")]
    Lost,
    /// The relay, or this node, has too many circuits or opens them too fast.
    #[error("the relay has no room for another circuit now, try again later")]
    Limit,
    /// The [`RelayClient`](crate::RelayClient) is gone.
    #[error("this node is being stopped")]
    Stopped,
    /// A relay was started without an address to listen on.
    #[error("the relay has nothing to listen on: give it at least one address")]
    NoListener,
}

impl From<CloseReason> for Error {
    fn from(reason: CloseReason) -> Self {
        match reason {
            CloseReason::NotListening => Self::NotListening,
            CloseReason::Timeout => Self::Timeout,
            CloseReason::Rejected => Self::Rejected,
            CloseReason::Closed | CloseReason::Gone | CloseReason::Protocol => Self::Lost,
            CloseReason::Limit => Self::Limit,
        }
    }
}
