//! Fixed-size byte strings, each meaning its own newtype, with one text form: base64url, no padding.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{Rng, hash};

/// A text or bytes that are not what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// Characters outside base64url, or padding.
    #[error("not {what}: expected {expected} characters of base64url")]
    Encoding {
        /// What was expected, with its article.
        what: &'static str,
        /// How many characters it has.
        expected: usize,
    },
    /// More or fewer bytes than it has.
    #[error("not {what}: expected {expected} bytes")]
    Length {
        /// What was expected, with its article.
        what: &'static str,
        /// How many bytes it has.
        expected: usize,
    },
    /// Well-formed bytes that cannot be a public key in use (a point of small order).
    #[error("not a public key: anyone could sign for it")]
    WeakKey,
}

macro_rules! fixed_bytes {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// The bytes, as they are signed and sent.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = InvalidText;

            /// From exactly so many bytes.
            fn try_from(bytes: &[u8]) -> Result<Self, InvalidText> {
                let invalid = InvalidText::Length { what: $what, expected: $len };
                Self::checked(bytes.try_into().map_err(|_| invalid)?)
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0; usize::div_ceil($len * 4, 3)];
                let written = URL_SAFE_NO_PAD.encode_slice(self.0, &mut text);
                written.expect("the text has room for all characters");
                f.write_str(str::from_utf8(&text).expect("base64url is ASCII"))
            }
        }

        impl FromStr for $name {
            type Err = InvalidText;

            fn from_str(text: &str) -> Result<Self, InvalidText> {
                let invalid = InvalidText::Encoding {
                    what: $what,
                    expected: usize::div_ceil($len * 4, 3),
                };
                let mut bytes = [0; $len];
                match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
                    Ok($len) => Self::checked(bytes),
                    Ok(_) | Err(_) => Err(invalid),
                }
            }
        }
    };
}

macro_rules! any_bytes {
    ($($name:ident, $len:literal;)*) => {$(
        impl $name {
            /// Wraps bytes; every value is valid.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            const fn checked(bytes: [u8; $len]) -> Result<Self, InvalidText> {
                Ok(Self(bytes))
            }
        }

        impl From<[u8; $len]> for $name {
            fn from(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }
        }
    )*};
}

macro_rules! short_debug {
    ($($name:ident)*) => {$(
        /// The first 8 characters of the text form, as in logs.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&URL_SAFE_NO_PAD.encode(&self.0[..6]))
            }
        }
    )*};
}

fixed_bytes!(
    /// An Ed25519 public key: the name of a node, relay, index server or app.
    ///
    /// The encodings of points of small order are refused, because any signature scheme over them
    /// is void. Whether the bytes are a point at all shows when a signature is verified.
    PublicKey, 32, "a public key"
);
fixed_bytes!(
    /// An Ed25519 signature.
    Signature, 64, "a signature"
);
fixed_bytes!(
    /// A SHA-512/256 hash.
    HashResult, 32, "a hash"
);
fixed_bytes!(
    /// The hash of a [`PlainLock`]; the one who knows the plain lock can open it.
    HashedLock, 32, "a hashed lock"
);
fixed_bytes!(
    /// A secret that opens a [`HashedLock`]. It is revealed in the course of a payment.
    PlainLock, 32, "a plain lock"
);
fixed_bytes!(
    /// Identifies an invoice: the hash of all its other fields.
    InvoiceId, 32, "an invoice id"
);
fixed_bytes!(
    /// Identifies a request among the pending ones of one sender, friend and currency.
    RequestId, 16, "a request id"
);
fixed_bytes!(
    /// Identifies a payment of the buyer; makes paying idempotent.
    PaymentId, 16, "a payment id"
);
fixed_bytes!(
    /// 16 random bytes that make something unique.
    Nonce, 16, "a nonce"
);

any_bytes! {
    Signature, 64;
    HashResult, 32;
    HashedLock, 32;
    PlainLock, 32;
    InvoiceId, 32;
    RequestId, 16;
    PaymentId, 16;
    Nonce, 16;
}

short_debug!(PublicKey Signature HashResult HashedLock InvoiceId RequestId PaymentId Nonce);

/// Never shows the lock.
impl fmt::Debug for PlainLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainLock(..)")
    }
}

impl PublicKey {
    /// Checks and wraps the bytes of a key.
    ///
    /// # Errors
    /// [`InvalidText::WeakKey`] for a point of small order.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, InvalidText> {
        Self::checked(bytes)
    }

    fn checked(bytes: [u8; 32]) -> Result<Self, InvalidText> {
        let mut unsigned = bytes;
        unsigned[31] &= 0x7f;
        if SMALL_ORDER.contains(&unsigned) {
            return Err(InvalidText::WeakKey);
        }
        Ok(Self(bytes))
    }

    /// Wraps bytes that come from a key pair of our own.
    pub(crate) const fn from_key_pair(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Whether `signature` is this key's signature of `message` (RFC 8032, no cofactor, s < L).
    ///
    /// It says the same as *ring*, with which is signed, in two thirds of the time.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        #[cfg(feature = "stub-signatures")]
        return crate::stub::signature(self, message) == *signature;
        #[cfg(not(feature = "stub-signatures"))]
        {
            use ed25519_dalek::Verifier as _;
            let key = ed25519_dalek::VerifyingKey::from_bytes(&self.0);
            let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
            key.is_ok_and(|key| key.verify(message, &signature).is_ok())
        }
    }
}

impl PlainLock {
    /// A fresh random lock.
    pub fn random(rng: &mut dyn Rng) -> Self {
        Self(random_array(rng))
    }

    /// The lock that this one opens.
    #[must_use]
    pub fn hashed(&self) -> HashedLock {
        HashedLock(*hash(&self.0).as_bytes())
    }

    /// Whether this lock opens `hashed`.
    #[must_use]
    pub fn opens(&self, hashed: &HashedLock) -> bool {
        self.hashed() == *hashed
    }
}

macro_rules! random_ids {
    ($($name:ident)*) => {$(
        impl $name {
            /// A fresh random value.
            pub fn random(rng: &mut dyn Rng) -> Self {
                Self(random_array(rng))
            }
        }
    )*};
}

random_ids!(RequestId PaymentId Nonce);

fn random_array<const N: usize>(rng: &mut dyn Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill(&mut bytes);
    bytes
}

/// The y coordinates of the points of order 1, 2, 4 and 8, with their non-canonical forms, the sign
/// bit cleared (the list of libsodium's and other implementations' documentation).
const SMALL_ORDER: [[u8; 32]; 7] = {
    let mut one = [0; 32];
    one[0] = 1;
    let mut p = [0xff; 32];
    p[31] = 0x7f;
    let (mut p_minus_1, mut p_plus_0, mut p_plus_1) = (p, p, p);
    p_minus_1[0] = 0xec;
    p_plus_0[0] = 0xed;
    p_plus_1[0] = 0xee;
    [
        [0; 32],
        one,
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef,
            0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88,
            0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10,
            0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77,
            0x92, 0xac, 0x03, 0x7a,
        ],
        p_minus_1,
        p_plus_0,
        p_plus_1,
    ]
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededRng;

    #[test]
    fn text_round_trip_and_lengths() {
        let mut rng = SeededRng::new(1);
        let id = RequestId::random(&mut rng);
        assert_eq!(id.to_string().len(), 22);
        assert_eq!(id.to_string().parse::<RequestId>(), Ok(id));
        let lock = PlainLock::random(&mut rng);
        assert_eq!(lock.to_string().len(), 43);
        for bad in ["", "a", "AAAA=", "!!!!!!!!!!!!!!!!!!!!!!"] {
            assert!(bad.parse::<RequestId>().is_err(), "{bad}");
        }
        let too_long = format!("{id}AAAA");
        assert!(too_long.parse::<RequestId>().is_err());
    }

    #[test]
    fn trailing_bits_are_refused() {
        // 32 bytes need 43 characters, of which the last carries 4 bits: 'B' sets an unused bit.
        let text = format!("{}B", "A".repeat(42));
        assert!(text.parse::<HashResult>().is_err());
    }

    #[test]
    fn weak_keys_are_refused() {
        for weak in SMALL_ORDER {
            let mut signed = weak;
            signed[31] |= 0x80;
            assert_eq!(PublicKey::from_bytes(weak), Err(InvalidText::WeakKey));
            assert_eq!(PublicKey::from_bytes(signed), Err(InvalidText::WeakKey));
        }
    }

    #[test]
    fn locks_open_their_hash_only() {
        let mut rng = SeededRng::new(2);
        let (a, b) = (PlainLock::random(&mut rng), PlainLock::random(&mut rng));
        assert!(a.opens(&a.hashed()));
        assert!(!a.opens(&b.hashed()));
        assert_eq!(format!("{a:?}"), "PlainLock(..)");
    }
}
