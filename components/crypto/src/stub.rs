//! Signatures for fuzzers: of the message and the public key, without a secret.

use crate::{PublicKey, Signature, hash_parts};

/// What stands for a key's signature of a message.
pub(crate) fn signature(key: &PublicKey, message: &[u8]) -> Signature {
    let half = hash_parts(&[key.as_bytes(), message]);
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(half.as_bytes());
    bytes[32..].copy_from_slice(half.as_bytes());
    Signature::from_bytes(bytes)
}
