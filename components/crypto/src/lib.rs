//! Keys, signatures, hashes, hash locks and the newtypes of ids: floor 0 of Offset.
//!
//! Everything here is a thin, typed layer over `ring`. It does not know any message, file or
//! socket, and it holds no state of its own.
//!
//! - [`Identity`] is a long-lived Ed25519 key pair; [`PublicKey`] and [`Signature`] are what others
//!   see of it. Verification follows RFC 8032 without the cofactor, with `s < L`, so that no node
//!   accepts what the next refuses.
//! - [`hash`] is SHA-512/256. [`LabelHasher`] separates purposes: one [`Label`] for each thing that
//!   is signed or hashed, so that no signature can stand for another (protocol, section 0).
//! - [`PlainLock`] opens the [`HashedLock`] that is its hash.
//! - [`Rng`] is the randomness of the pure crates: the system's in a daemon, a seeded one in tests.
//!
//! Secrets ([`Identity`], its seed) cannot be cloned or printed and are wiped when dropped.
#![allow(unexpected_cfgs, reason = "`fuzzing` is set by cargo-fuzz and known to nobody else")]

mod fixed;
mod hashing;
mod identity;
mod rng;
mod sealed;
#[cfg(feature = "stub-signatures")]
mod stub;

#[cfg(all(feature = "stub-signatures", not(fuzzing)))]
compile_error!("signatures that anybody can make are for fuzzers alone: build with cargo-fuzz");

pub use crate::fixed::{
    HashResult, HashedLock, InvalidText, InvoiceId, Nonce, PaymentId, PlainLock, PublicKey,
    RequestId, Signature,
};
pub use crate::hashing::{Label, LabelHasher, checksum, hash, hash_much, hash_parts};
pub use crate::identity::{Identity, InvalidSeed, Seed};
pub use crate::rng::{Rng, SeededRng, SystemRng};
pub use crate::sealed::{InvalidCost, OpenError, SealedSeed, SealingCost};
