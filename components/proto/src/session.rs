//! What every connection speaks besides its own messages: purposes, `Hello`, `Ping`, `Bye`
//! (protocol, section 2).

use crate::Text;

/// The protocol version that this code speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// The most features that a [`Hello`] names.
pub const MAX_FEATURES: usize = 64;

/// What a connection is for. It decides the ALPN name, the messages and the frame limit, and a
/// connection of one purpose can never be taken for one of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// An application and its node.
    App,
    /// Two friends, end to end.
    Friend,
    /// A node and a relay.
    Relay,
    /// A node and an index server.
    IndexClient,
    /// Two federated index servers.
    IndexServer,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 5] =
        [Self::App, Self::Friend, Self::Relay, Self::IndexClient, Self::IndexServer];

    /// The number in the knock and in `Hello`.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::App => 1,
            Self::Friend => 2,
            Self::Relay => 3,
            Self::IndexClient => 4,
            Self::IndexServer => 5,
        }
    }

    /// The purpose with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.number() == number)
    }

    /// The ALPN protocol name.
    #[must_use]
    pub const fn alpn(self) -> &'static [u8] {
        match self {
            Self::App => b"offset/1/app",
            Self::Friend => b"offset/1/friend",
            Self::Relay => b"offset/1/relay",
            Self::IndexClient => b"offset/1/index-client",
            Self::IndexServer => b"offset/1/index-server",
        }
    }

    /// The most bytes in one frame, padding included (secure channel, frames).
    #[must_use]
    pub const fn max_frame_bytes(self) -> usize {
        match self {
            Self::App | Self::IndexClient | Self::IndexServer => 256 * 1024,
            Self::Friend => 1024 * 1024,
            Self::Relay => 65 * 1024,
        }
    }
}

/// The first message each way. A version or purpose that is not ours is answered with [`Bye`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`] of the sender.
    pub protocol_version: u32,
    /// Must equal the purpose of the channel.
    pub purpose: Purpose,
    /// Names of optional features, sorted, none twice, at most [`MAX_FEATURES`].
    pub features: Vec<Text>,
}

/// The last message of a side that closes for a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bye {
    /// A sentence for the other side's log.
    pub reason: Text,
}

/// What keeps a session alive and ends it; the same on every purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Opens the session.
    Hello(Hello),
    /// Sent after 10 s of silence.
    Ping,
    /// Ends the session.
    Bye(Bye),
}

/// One frame's content: session control, or a message of the connection's purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<M> {
    /// Session control.
    Control(Control),
    /// A message of the purpose.
    Message(M),
}

/// Bytes that do not decode to a valid packet: the peer broke the protocol, or the frame was not
/// for this purpose. Nothing was changed; the session is to be closed with this as log line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not a Cap'n Proto message of the schema.
    #[error("not a message of this protocol: {0}")]
    Malformed(String),
    /// A field whose value breaks a rule.
    #[error("invalid {field}: {reason}")]
    Invalid {
        /// The field's name in the schema.
        field: &'static str,
        /// Which rule it breaks.
        reason: String,
    },
}

/// A message type that travels in the frames of one purpose.
pub trait Wire: Sized + Send + 'static {
    /// The purpose of the connections that carry this type.
    const PURPOSE: Purpose;

    /// The frame content of a packet.
    fn encode(packet: &Packet<Self>) -> Vec<u8>;

    /// The packet in a frame's content.
    ///
    /// # Errors
    /// [`DecodeError`] for anything that is not a valid packet. Work and allocation are bounded by
    /// a small multiple of `bytes.len()`.
    fn decode(bytes: &[u8]) -> Result<Packet<Self>, DecodeError>;

    /// A frame's content as Cap'n Proto's tools write it: every field by its name in the schema.
    /// Only what they check is checked.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] for what is not a message of the schema.
    fn text(bytes: &[u8]) -> Result<String, DecodeError>;
}
