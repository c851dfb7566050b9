//! Why a relay closes a connection, in sentences that are told to the client.

/// Why a relay closes a connection; the text is told to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The same key listens on a newer connection.
    #[error("{REPLACED}")]
    Replaced,
    /// The client broke the protocol.
    #[error("this client broke the protocol: {0}")]
    Violation(Violation),
    /// More waits for the client than it is allowed to leave unread.
    #[error("this client does not read what is sent to it")]
    NotReading,
    /// [`crate::Limits::max_connections_per_key`] is reached.
    #[error("this key has too many connections to this relay")]
    TooManyConnections,
    /// [`crate::Limits::max_connections`] is reached.
    #[error("this relay is full, try another one or try later")]
    Full,
    /// The relay is being stopped.
    #[error("this relay is being stopped")]
    Stopping,
}

/// Which rule of the protocol (section 3) a client broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Circuits that a client opens have odd numbers.
    #[error("a client opens circuits with odd numbers")]
    EvenNumber,
    /// The number of an open circuit cannot be used for another.
    #[error("the number of the circuit is in use")]
    NumberInUse,
    /// A message about a circuit that there has never been.
    #[error("there has never been a circuit of this number")]
    UnknownCircuit,
    /// `data` or `window` for a circuit that is not accepted yet, or `accept` or `reject` for one
    /// that does not wait for it.
    #[error("the circuit is not in the state for this message")]
    WrongState,
    /// More data than the other end allowed.
    #[error("more data than the window allows")]
    WindowExceeded,
    /// More window than [`crate::Limits::max_window_bytes`].
    #[error("the window is larger than this relay allows")]
    WindowTooLarge,
    /// `data` or `window` of nothing, or more in one message than 64 KiB.
    #[error("a message is empty or too large")]
    MessageSize,
}

/// The text of [`Reason::Replaced`], by which a client recognises that its identity listens from
/// elsewhere.
pub const REPLACED: &str = "replaced: this key listens on a newer connection";
