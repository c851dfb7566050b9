//! What can go wrong with a connection.

use std::net::SocketAddr;

use offset_crypto::PublicKey;
use offset_proto::{NetworkAddress, Text};
use offset_secure_channel as channel;

/// Why there is no connection, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name of an address leads nowhere.
    #[error("cannot find the address {address}: {reason}")]
    Resolve {
        /// What was to be resolved.
        address: NetworkAddress,
        /// What the resolver said.
        reason: String,
    },
    /// Nobody answers at the address.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// Where.
        address: NetworkAddress,
        /// What the system said of the last of its addresses.
        reason: String,
    },
    /// The peer did not answer, read or show life in time.
    #[error("timed out: {0}")]
    TimedOut(&'static str),
    /// The server proved another key.
    #[error(
        "the server is not the one that was expected: it did not prove the key {expected}; check \
         the address and the key"
    )]
    WrongKey {
        /// The key that was asked for.
        expected: PublicKey,
    },
    /// The other side closed before the session began.
    #[error(
        "the other side refused the connection: it may have another key, not know this one, or not \
         serve this purpose"
    )]
    Refused,
    /// The other side ended the session and said why.
    #[error("the other side ended the connection: {}", .0.brief())]
    Bye(Text),
    /// The peer broke the protocol; the connection is closed.
    #[error("the other side broke the protocol: {0}")]
    Protocol(String),
    /// The connection ended in order, from this side or the other.
    #[error("the connection is closed")]
    Closed,
    /// The connection failed.
    #[error("the connection was cut off: {0}")]
    CutOff(String),
    /// The port cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        reason: String,
    },
}

impl From<channel::Error> for Error {
    fn from(error: channel::Error) -> Self {
        match error {
            channel::Error::TimedOut => Self::TimedOut("the handshake was not completed"),
            channel::Error::WrongKey { expected } => Self::WrongKey { expected },
            channel::Error::Refused => Self::Refused,
            channel::Error::Closed => Self::Closed,
            channel::Error::CutOff(reason) => Self::CutOff(reason),
            channel::Error::Frame(reason) => Self::Protocol(reason),
            error @ (channel::Error::Knock
            | channel::Error::Handshake(_)
            | channel::Error::MessageTooLong { .. }) => Self::Protocol(error.to_string()),
        }
    }
}

/// Why a message was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The queue is full: the peer reads more slowly than messages come. For most owners a reason
    /// to close.
    #[error("too much waits to be sent to a peer that reads slowly")]
    Full,
    /// The connection is closed or closing.
    #[error("the connection is closed")]
    Closed,
    /// The message does not fit into a frame of its purpose.
    #[error("the message is longer than its purpose allows")]
    TooLong,
}
