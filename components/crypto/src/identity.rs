//! A long-lived key pair and the secrets derived from it.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    hkdf,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{Label, PublicKey, Rng, Signature};

/// The 32 secret bytes that an identity is made from (RFC 8032's private key). Cannot be cloned or
/// printed; wiped on drop. [`Seed::to_text`] is for the identity file alone.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Seed([u8; 32]);

/// The secret text of an identity file is not 32 bytes of base64url.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a secret key: expected 43 characters of base64url")]
pub struct InvalidSeed;

impl Seed {
    /// A fresh seed.
    pub fn random(rng: &mut dyn Rng) -> Self {
        let mut seed = Self([0; 32]);
        rng.fill(&mut seed.0);
        seed
    }

    /// Wraps secret bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret bytes, for key stores and TLS set-up.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads the text of an identity file.
    ///
    /// # Errors
    /// [`InvalidSeed`] when it is not 43 characters of base64url.
    pub fn from_text(text: &str) -> Result<Self, InvalidSeed> {
        let mut seed = Self([0; 32]);
        match URL_SAFE_NO_PAD.decode_slice(text, &mut seed.0) {
            Ok(32) => Ok(seed),
            Ok(_) | Err(_) => Err(InvalidSeed),
        }
    }

    /// The text for an identity file.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// A key pair that signs, and derives secrets that only it can derive again.
pub struct Identity {
    seed: Seed,
    #[cfg_attr(
        feature = "stub-signatures",
        allow(dead_code, reason = "nothing is signed with it")
    )]
    key_pair: Ed25519KeyPair,
    public_key: PublicKey,
    derive: hkdf::Prk,
}

impl Identity {
    /// The identity of a seed.
    #[must_use]
    pub fn from_seed(seed: Seed) -> Self {
        let key_pair = Ed25519KeyPair::from_seed_unchecked(seed.expose())
            .expect("a seed of 32 bytes is always accepted");
        let bytes = key_pair.public_key().as_ref().try_into();
        let public_key = PublicKey::from_key_pair(bytes.expect("an Ed25519 key has 32 bytes"));
        let derive = hkdf::Salt::new(hkdf::HKDF_SHA512, b"offset/1/derive").extract(seed.expose());
        Self { seed, key_pair, public_key, derive }
    }

    /// A fresh identity.
    pub fn random(rng: &mut dyn Rng) -> Self {
        Self::from_seed(Seed::random(rng))
    }

    /// The public half.
    #[must_use]
    pub const fn public_key(&self) -> PublicKey {
        self.public_key
    }

    /// The secret half, for writing an identity file and for TLS.
    #[must_use]
    pub const fn seed(&self) -> &Seed {
        &self.seed
    }

    /// Signs bare bytes. Everything but the exceptions named in the protocol goes through
    /// [`Identity::sign_labelled`].
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        #[cfg(feature = "stub-signatures")]
        return crate::stub::signature(&self.public_key, message);
        #[cfg(not(feature = "stub-signatures"))]
        {
            let bytes = self.key_pair.sign(message).as_ref().try_into();
            Signature::from_bytes(bytes.expect("an Ed25519 signature has 64 bytes"))
        }
    }

    /// Signs `hash("offset/1/" + LABEL) || canonical`.
    #[must_use]
    pub fn sign_labelled(&self, label: Label, canonical: &[u8]) -> Signature {
        self.sign(&labelled(label, canonical))
    }

    /// HKDF-SHA-512 of the identity secret over `info`: a secret of `N` bytes (at most 64) that only
    /// this identity can derive, now and after losing everything else.
    #[must_use]
    pub fn derive<const N: usize>(&self, info: &[&[u8]]) -> [u8; N] {
        struct Length(usize);
        impl hkdf::KeyType for Length {
            fn len(&self) -> usize {
                self.0
            }
        }
        let mut bytes = [0; N];
        self.derive
            .expand(info, Length(N))
            .and_then(|okm| okm.fill(&mut bytes))
            .expect("HKDF gives this few bytes");
        bytes
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?})", self.public_key)
    }
}

impl PublicKey {
    /// Whether `signature` is this key's signature under `label` of the canonical bytes.
    #[must_use]
    pub fn verify_labelled(&self, label: Label, canonical: &[u8], signature: &Signature) -> bool {
        self.verify(&labelled(label, canonical), signature)
    }
}

fn labelled(label: Label, canonical: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(32 + canonical.len());
    message.extend_from_slice(label.prefix().as_bytes());
    message.extend_from_slice(canonical);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededRng;

    #[test]
    fn signatures_verify_under_their_label_only() {
        let identity = Identity::random(&mut SeededRng::new(1));
        let signature = identity.sign_labelled(Label::MOVE_TOKEN_SIGNATURE, b"x");
        let key = identity.public_key();
        assert!(key.verify_labelled(Label::MOVE_TOKEN_SIGNATURE, b"x", &signature));
        assert!(!key.verify_labelled(Label::STATE, b"x", &signature));
        assert!(!key.verify_labelled(Label::MOVE_TOKEN_SIGNATURE, b"y", &signature));
        let other = Identity::random(&mut SeededRng::new(2)).public_key();
        assert!(!other.verify_labelled(Label::MOVE_TOKEN_SIGNATURE, b"x", &signature));
    }

    #[test]
    fn malleable_signatures_are_refused() {
        // s + L is the same scalar modulo L, and RFC 8032 wants s < L.
        const L: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9,
            0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let identity = Identity::random(&mut SeededRng::new(1));
        let mut bytes = *identity.sign(b"x").as_bytes();
        let mut carry = 0u16;
        for (byte, l) in bytes[32..].iter_mut().zip(L) {
            let sum = u16::from(*byte) + u16::from(l) + carry;
            *byte = sum.to_le_bytes()[0];
            carry = sum >> 8;
        }
        assert!(!identity.public_key().verify(b"x", &Signature::from_bytes(bytes)));
    }

    /// What is accepted is what *ring* accepts, for honest, spoilt and contrived signatures.
    #[test]
    fn verification_agrees_with_ring() {
        let mut rng = SeededRng::new(4);
        let ring = |key: &PublicKey, message: &[u8], signature: &Signature| {
            let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, key);
            key.verify(message, signature.as_bytes()).is_ok()
        };
        let mut random = |most: usize| {
            let mut bytes = [0; 8];
            rng.fill(&mut bytes);
            usize::try_from(u64::from_le_bytes(bytes) % most as u64).expect("far below")
        };
        // Encodings that only some programs take: small orders, y of at least the prime, x = 0 with a sign.
        let mut odd = vec![[0; 32], [0xff; 32]];
        for low in [0_u8, 1, 2, 0xec, 0xed, 0xee, 0xef] {
            for fill in [0_u8, 0xff] {
                for top in [0_u8, 0x7f, 0x80, 0xff] {
                    let mut bytes = [fill; 32];
                    (bytes[0], bytes[31]) = (low, top);
                    odd.push(bytes);
                }
            }
        }
        let (mut accepted, mut refused) = (0, 0);
        let mut compare = |key: &PublicKey, message: &[u8], signature: &Signature| {
            let ours = key.verify(message, signature);
            assert_eq!(ours, ring(key, message, signature), "{key} {message:?} {signature:?}");
            if ours { accepted += 1 } else { refused += 1 }
        };
        for number in 0..400_u64 {
            let identity = Identity::random(&mut SeededRng::new(number));
            let (key, message) = (identity.public_key(), number.to_be_bytes());
            let signature = identity.sign(&message);
            compare(&key, &message, &signature);
            let mut spoilt = *signature.as_bytes();
            spoilt[random(64)] ^= 1 << random(8);
            compare(&key, &message, &Signature::from_bytes(spoilt));
            let mut key_bytes = *key.as_bytes();
            key_bytes[random(32)] ^= 1 << random(8);
            if let Ok(other) = PublicKey::from_bytes(key_bytes) {
                compare(&other, &message, &signature);
            }
            let contrived = odd[random(odd.len())];
            let mut half = *signature.as_bytes();
            half[..32].copy_from_slice(&contrived);
            compare(&key, &message, &Signature::from_bytes(half));
            half[32..].copy_from_slice(&odd[random(odd.len())]);
            compare(&key, &message, &Signature::from_bytes(half));
            if let Ok(other) = PublicKey::from_bytes(contrived) {
                compare(&other, &message, &signature);
                compare(&other, &message, &Signature::from_bytes([0; 64]));
            }
        }
        assert!(400 <= accepted && 1_000 < refused, "{accepted} {refused}");
    }

    #[test]
    fn seed_text_round_trip_and_silence() {
        let identity = Identity::random(&mut SeededRng::new(3));
        let again = Identity::from_seed(Seed::from_text(&identity.seed().to_text()).expect("text"));
        assert_eq!(identity.public_key(), again.public_key());
        assert!(Seed::from_text("short").is_err());
        assert_eq!(format!("{:?}", identity.seed()), "Seed(..)");
    }

    #[test]
    fn derived_secrets_depend_on_identity_and_info() {
        let (a, b) =
            (Identity::random(&mut SeededRng::new(1)), Identity::random(&mut SeededRng::new(2)));
        assert_eq!(a.derive::<16>(&[b"i"]), a.derive::<16>(&[b"i"]));
        assert_ne!(a.derive::<16>(&[b"i"]), a.derive::<16>(&[b"j"]));
        assert_ne!(a.derive::<16>(&[b"i"]), b.derive::<16>(&[b"i"]));
    }
}
