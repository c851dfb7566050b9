//! Messages between a node and a relay (protocol, section 3).

use offset_crypto::PublicKey;

/// Numbers a circuit within one connection. Chosen by whoever opens it: clients odd, relay even.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CircuitId(pub u32);

/// The most bytes of one `data` message.
pub const MAX_DATA_BYTES: usize = 64 * 1024;

/// The window with which each direction of a circuit begins, in bytes.
pub const FIRST_WINDOW_BYTES: u32 = 256 * 1024;

/// Why a circuit was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The other end closed it.
    Closed,
    /// The destination is not listening at this relay.
    NotListening,
    /// The destination did not accept it within 10 s.
    Timeout,
    /// The destination rejected it.
    Rejected,
    /// The other end's connection to the relay is gone.
    Gone,
    /// A limit of the relay was reached.
    Limit,
    /// This side broke a rule (window, unknown circuit, number in use).
    Protocol,
}

/// What a node tells a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientToRelay {
    /// From now on others may connect to this key.
    Listen,
    /// Ends `Listen`; open circuits stay.
    StopListening,
    /// Opens a circuit to a listening key.
    Connect {
        /// An odd number that is not in use.
        circuit: CircuitId,
        /// Whom to reach.
        destination: PublicKey,
    },
    /// Takes an incoming circuit.
    Accept {
        /// As in `Incoming`.
        circuit: CircuitId,
    },
    /// Refuses an incoming circuit.
    Reject {
        /// As in `Incoming`.
        circuit: CircuitId,
    },
    /// Bytes for the other end, at most [`MAX_DATA_BYTES`] and no more than the window allows.
    Data {
        /// The circuit.
        circuit: CircuitId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Allows the other end that many more bytes.
    Window {
        /// The circuit.
        circuit: CircuitId,
        /// How many more.
        bytes: u32,
    },
    /// Ends a circuit.
    Close {
        /// The circuit.
        circuit: CircuitId,
        /// Why.
        reason: CloseReason,
    },
}

/// What a relay tells a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayToClient {
    /// `Listen` is in force.
    Listening,
    /// Somebody wants a circuit; to be accepted within 10 s.
    Incoming {
        /// An even number.
        circuit: CircuitId,
        /// Who asks (as proven to the relay; the end-to-end channel proves it again).
        source: PublicKey,
    },
    /// `Connect` succeeded.
    Connected {
        /// As in `Connect`.
        circuit: CircuitId,
    },
    /// Bytes from the other end.
    Data {
        /// The circuit.
        circuit: CircuitId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The other end takes that many more bytes.
    Window {
        /// The circuit.
        circuit: CircuitId,
        /// How many more.
        bytes: u32,
    },
    /// A circuit ended.
    Close {
        /// The circuit.
        circuit: CircuitId,
        /// Why.
        reason: CloseReason,
    },
}
