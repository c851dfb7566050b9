//! The public contract of Offset: messages, canonical bytes and file formats as typed, checked
//! values (floor 1).
//!
//! Untrusted bytes become typed values here and nowhere else: lengths, counts, duplicates and
//! ranges are checked by the decoders, so nothing above ever sees raw bytes. The schemas in
//! `capnp/` are the wire form, [`canonical`] is what is signed and hashed, [`file`](mod@file) is what people
//! store and exchange. This crate does no input or output.
//!
//! ```text
//!   frame bytes --decode--> Packet<M> { Control | Message(M) } --encode--> frame bytes
//!   a thing     --canonical bytes--> signature, hash
//!   TOML text   --parse--> ticket, invoice, receipt, ... --render--> TOML text
//! ```

pub mod app;
pub mod canonical;
mod codec;
pub mod decimals;
pub mod file;
pub mod friend;
pub mod history;
pub mod index;
pub mod money;
pub mod payment;
pub mod proof;
pub mod relay;
pub mod report;
pub mod reset;
mod schema;
pub mod session;
pub mod text;
pub mod token;

pub use crate::money::{Balance, Credits, Rate, Timestamp};
pub use crate::text::{Currency, InvalidValue, Name, NetworkAddress, Text, printable};

use offset_crypto::PublicKey;

/// Where a relay or an index server is reached, and the key that it must prove.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerAddress {
    /// The server's identity.
    pub public_key: PublicKey,
    /// Where it listens.
    pub address: NetworkAddress,
}
