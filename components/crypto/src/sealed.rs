//! A seed under a passphrase: Argon2id (RFC 9106) makes a key of the passphrase, ChaCha20-Poly1305
//! (RFC 8439) seals the seed with it.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::aead;
use zeroize::{Zeroize as _, Zeroizing};

use crate::{Identity, PublicKey, Rng, Seed};

/// What a guess at the passphrase costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealingCost {
    memory_kib: u32,
    passes: u32,
}

/// A cost that no honest file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cost of opening it is out of range: 8 to {} KiB of memory and 1 to {} passes are allowed",
    SealingCost::MAX_MEMORY_KIB,
    SealingCost::MAX_PASSES
)]
pub struct InvalidCost;

impl SealingCost {
    /// For identity files: half a second or so on a small machine.
    pub const STANDARD: Self = Self { memory_kib: 64 * 1024, passes: 3 };
    /// The most memory that opening a file may take.
    pub const MAX_MEMORY_KIB: u32 = 1024 * 1024;
    /// The most passes that opening a file may take.
    pub const MAX_PASSES: u32 = 16;

    /// A cost, as a file names it.
    ///
    /// # Errors
    /// [`InvalidCost`] outside what is allowed: a file must not exhaust the machine that opens it.
    pub const fn new(memory_kib: u32, passes: u32) -> Result<Self, InvalidCost> {
        let memory = 8 <= memory_kib && memory_kib <= Self::MAX_MEMORY_KIB;
        if memory && 1 <= passes && passes <= Self::MAX_PASSES {
            Ok(Self { memory_kib, passes })
        } else {
            Err(InvalidCost)
        }
    }

    /// Memory, in KiB.
    #[must_use]
    pub const fn memory_kib(self) -> u32 {
        self.memory_kib
    }

    /// How often the memory is filled.
    #[must_use]
    pub const fn passes(self) -> u32 {
        self.passes
    }
}

/// A seed that only its passphrase opens. The public key is readable, and part of what is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSeed {
    /// Whose seed it is.
    pub public_key: PublicKey,
    /// What a guess costs.
    pub cost: SealingCost,
    /// Random for each sealing.
    pub salt: [u8; 32],
    /// The seed, encrypted, with its tag.
    pub sealed: [u8; 48],
}

/// Why a sealed seed was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The passphrase is another one, or the file was changed.
    #[error("the passphrase does not open it")]
    WrongPassphrase,
    /// The machine does not have the memory.
    #[error("there is not enough memory to open it")]
    NoMemory,
}

impl SealedSeed {
    /// Seals a seed.
    ///
    /// # Errors
    /// [`OpenError::NoMemory`] alone.
    pub fn seal(
        seed: &Seed,
        passphrase: &[u8],
        cost: SealingCost,
        rng: &mut dyn Rng,
    ) -> Result<Self, OpenError> {
        let mut salt = [0; 32];
        rng.fill(&mut salt);
        let public_key = Identity::from_seed(Seed::from_bytes(*seed.expose())).public_key();
        let mut buffer = Zeroizing::new(*seed.expose());
        let tag = key(passphrase, &salt, cost)?
            .seal_in_place_separate_tag(nonce(), associated(&public_key, cost), &mut *buffer)
            .expect("32 bytes are never too many to seal");
        let mut sealed = [0; 48];
        let (text, rest) = sealed.split_at_mut(32);
        text.copy_from_slice(&*buffer);
        rest.copy_from_slice(tag.as_ref());
        Ok(Self { public_key, cost, salt, sealed })
    }

    /// Opens it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, passphrase: &[u8]) -> Result<Seed, OpenError> {
        let mut buffer = Zeroizing::new(self.sealed);
        let opened = key(passphrase, &self.salt, self.cost)?
            .open_in_place(nonce(), associated(&self.public_key, self.cost), &mut *buffer)
            .map_err(|_| OpenError::WrongPassphrase)?;
        let mut seed = Zeroizing::new([0; 32]);
        seed.copy_from_slice(opened);
        let seed = Seed::from_bytes(*seed);
        // Sealed by a program that lied about the key it is for.
        let public_key = Identity::from_seed(Seed::from_bytes(*seed.expose())).public_key();
        (public_key == self.public_key).then_some(seed).ok_or(OpenError::WrongPassphrase)
    }

    /// The salt as text.
    #[must_use]
    pub fn salt_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.salt)
    }

    /// The sealed bytes as text.
    #[must_use]
    pub fn sealed_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.sealed)
    }

    /// Exactly `N` bytes of base64url, for the salt and the sealed bytes; `None` otherwise.
    #[must_use]
    pub fn bytes_of<const N: usize>(text: &str) -> Option<[u8; N]> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
    }
}

/// The key of a passphrase.
fn key(
    passphrase: &[u8],
    salt: &[u8; 32],
    cost: SealingCost,
) -> Result<aead::LessSafeKey, OpenError> {
    let params = Params::new(cost.memory_kib, cost.passes, 1, Some(32));
    let params = params.expect("a cost is within what Argon2 takes");
    let mut memory: Vec<Block> = Vec::new();
    memory.try_reserve_exact(params.block_count()).map_err(|_| OpenError::NoMemory)?;
    memory.resize(params.block_count(), Block::default());
    let mut key = Zeroizing::new([0; 32]);
    let made = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(passphrase, salt, &mut *key, memory.as_mut_slice());
    memory.iter_mut().for_each(Block::zeroize);
    // Nothing but a passphrase of more than 4 GiB is refused.
    made.map_err(|_| OpenError::WrongPassphrase)?;
    let key = aead::UnboundKey::new(&aead::CHACHA20_POLY1305, &*key);
    Ok(aead::LessSafeKey::new(key.expect("the key has the length that the cipher wants")))
}

/// Every sealing has a salt, and so a key, of its own: a nonce adds nothing.
fn nonce() -> aead::Nonce {
    aead::Nonce::assume_unique_for_key([0; aead::NONCE_LEN])
}

/// What is authenticated beside the seed.
fn associated(public_key: &PublicKey, cost: SealingCost) -> aead::Aad<Vec<u8>> {
    let mut bytes = b"offset/1/IDENTITY".to_vec();
    bytes.extend_from_slice(public_key.as_bytes());
    bytes.extend_from_slice(&cost.memory_kib.to_be_bytes());
    bytes.extend_from_slice(&cost.passes.to_be_bytes());
    aead::Aad::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededRng;

    fn sealed() -> SealedSeed {
        let cost = SealingCost::new(8, 1).unwrap();
        SealedSeed::seal(&Seed::from_bytes([7; 32]), b"open", cost, &mut SeededRng::new(1)).unwrap()
    }

    #[test]
    fn only_the_passphrase_opens_it() {
        let sealed = sealed();
        assert_eq!(sealed.open(b"open").unwrap().expose(), &[7; 32]);
        for wrong in [&b""[..], b"Open", b"open ", b"open\n"] {
            assert_eq!(sealed.open(wrong).unwrap_err(), OpenError::WrongPassphrase);
        }
    }

    #[test]
    fn a_change_anywhere_is_seen() {
        let changed = |change: fn(&mut SealedSeed)| {
            let mut sealed = sealed();
            change(&mut sealed);
            sealed.open(b"open").unwrap_err()
        };
        let other = Identity::from_seed(Seed::from_bytes([8; 32])).public_key();
        assert_eq!(changed(|s| s.salt[0] ^= 1), OpenError::WrongPassphrase);
        assert_eq!(changed(|s| s.sealed[0] ^= 1), OpenError::WrongPassphrase);
        assert_eq!(changed(|s| s.sealed[47] ^= 1), OpenError::WrongPassphrase);
        assert_eq!(changed(|s| s.cost.passes = 2), OpenError::WrongPassphrase);
        let stolen = SealedSeed { public_key: other, ..sealed() };
        assert_eq!(stolen.open(b"open").unwrap_err(), OpenError::WrongPassphrase);
    }

    #[test]
    fn no_two_sealings_are_alike() {
        let cost = SealingCost::new(8, 1).unwrap();
        let mut rng = SeededRng::new(1);
        let seed = Seed::from_bytes([7; 32]);
        let a = SealedSeed::seal(&seed, b"open", cost, &mut rng).unwrap();
        let b = SealedSeed::seal(&seed, b"open", cost, &mut rng).unwrap();
        assert_ne!((a.salt, a.sealed), (b.salt, b.sealed));
    }

    #[test]
    fn costs_are_bounded() {
        assert!(SealingCost::new(7, 1).is_err());
        assert!(SealingCost::new(8, 0).is_err());
        assert!(SealingCost::new(SealingCost::MAX_MEMORY_KIB + 1, 1).is_err());
        assert!(SealingCost::new(8, SealingCost::MAX_PASSES + 1).is_err());
        assert!(SealingCost::new(SealingCost::MAX_MEMORY_KIB, SealingCost::MAX_PASSES).is_ok());
    }
}
