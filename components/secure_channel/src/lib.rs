//! Authenticated, encrypted, framed channels between two Ed25519 keys, over any byte stream.
//!
//! The encryption is TLS 1.3 by `rustls`; there is no certificate authority, and a certificate is
//! only the envelope of a key. This crate opens no sockets, keeps no connections and knows no
//! message: dialling, limits and keepalive are `offset-net`'s, messages are `offset-proto`'s. Who
//! may do what is decided above, with the key that [`Channel::peer`] gives.
//!
//! ```text
//!   initiator                                     responder
//!      | -- knock, 72 bytes: "OFST", purpose, tag --> |   wrong: closed without a byte
//!      | -- ClientHello, ALPN = purpose ------------> |
//!      | <----- ServerHello, certificate, proof ----- |
//!      | -- certificate, proof ---------------------> |   both keys proven
//!      | <== frames: length u32, message, padding ==> |
//! ```
//!
//! The *knock* comes before TLS, so that a port is dead to whoever does not know the responder's
//! key. It is a filter, not authentication: that is TLS's own proof of possession in both
//! directions.
//!
//! Invariants:
//! - *key or nothing*: [`connect`] gives a channel only to the expected key, and sends its own
//!   identity to no other; [`accept`] gives a channel only to a proven key.
//! - *one purpose*: knock, ALPN name and frame limit belong to the same [`offset_proto::session::Purpose`].
//! - *silence*: [`accept`] writes nothing before a valid, fresh knock.
//! - *bounded*: no allocation follows a number of the peer's; a receiving half holds what has
//!   arrived of one frame, at most the limit of the purpose and two reads, and nothing when idle.
//! - *clean end*: an end without TLS's `close_notify` is [`Error::CutOff`], never a normal end.

mod ahead;
mod channel;
mod error;
mod frame;
mod identity;
mod knock;
#[cfg(test)]
mod vectors;
mod verify;

pub use crate::channel::{ByteStream, Channel, SessionId, accept, connect};
pub use crate::error::Error;
pub use crate::frame::{FrameReceiver, FrameSender, Framing};
pub use crate::identity::ChannelIdentity;
pub use crate::knock::{KNOCK_BYTES, knock, knock_purpose};
pub use crate::verify::certificate_key;
