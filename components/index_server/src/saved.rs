//! What a server knows, as a file of its own: with it a server that starts again knows at once what
//! it knew, and need not be told everything anew.
//!
//! ```text
//!   magic | what a node said | what the next one said | ... | names | footer | seal
//! ```
//!
//! The words of nodes are kept as they were signed, so they can be passed on to others. Keys,
//! currencies and rates that they name are numbers into the tables of names, so the graph can be laid
//! out without looking a key up. Nodes that are gone stand among the names, with their versions.
//!
//! The seal is a hash over the pieces of the file and a secret that only this server's identity
//! gives. Signatures need not be checked again: the server checked them before it wrote, and nobody
//! else can write a file that it takes for its own. Whoever can write the directory can only put an
//! older file of this server there; what is older than the age at which nodes are dropped counts for
//! nothing. A file that was cut short, altered or written by another server is not read at all.
//!
//! Everything is little-endian.

mod read;
mod write;

use offset_crypto::{HashResult, Identity, hash_much, hash_parts};

pub(crate) use read::{PackedMutation, Record};
pub use read::{Saved, Unreadable};
pub use write::Encoder;

/// What the files of one server are sealed with.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl Secret {
    /// That of the server with this identity.
    #[must_use]
    pub fn of(identity: &Identity) -> Self {
        Self(identity.derive(&[b"offset/1/index-state"]))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Computes the seal of a file from the hashes of its pieces.
#[derive(Debug, Default)]
pub struct Seal {
    hashes: Vec<u8>,
    length: u64,
}

impl Seal {
    /// The next piece: of [`PIECE`] bytes, the last one perhaps of fewer.
    pub fn piece(&mut self, bytes: &[u8]) {
        self.hashed(bytes.len(), &hash_much(bytes));
    }

    fn hashed(&mut self, length: usize, hash: &HashResult) {
        self.hashes.extend_from_slice(hash.as_bytes());
        self.length += length as u64;
    }

    /// The seal.
    #[must_use]
    pub fn finish(&self, secret: &Secret) -> HashResult {
        // Hashed once more, so that all parts have a fixed width.
        let pieces = hash_much(&self.hashes);
        hash_parts(&[&secret.0, &self.length.to_le_bytes(), pieces.as_bytes()])
    }
}

/// How long the pieces are that are hashed one by one, on all cores when a file is read.
pub const PIECE: usize = 1 << 22;

const MAGIC: &[u8; 24] = b"offset index knowledge 1";
/// Where the names begin, and how many nodes there are.
const FOOTER: usize = 16;
const SEAL: usize = HashResult::LEN;

const SNAPSHOT: u8 = 0;
const DELTA: u8 = 1;
const ALIVE: u8 = 2;

const SET: u8 = 0;
/// A set with amounts that need 128 bits.
const SET_LARGE: u8 = 1;
const REMOVE: u8 = 2;

#[cfg(test)]
mod tests;
