//! SHA-512/256 and the labels that keep purposes apart.

use std::sync::LazyLock;

use ring::digest::{Context, SHA256, SHA512_256};

use crate::HashResult;

/// SHA-512/256 of `bytes`.
#[must_use]
pub fn hash(bytes: &[u8]) -> HashResult {
    hash_parts(&[bytes])
}

/// SHA-512/256 of the parts, one after the other. The caller sees to it that the parts cannot be
/// confused (fixed widths, or a [`LabelHasher`] over canonical bytes).
#[must_use]
pub fn hash_parts(parts: &[&[u8]]) -> HashResult {
    let mut context = Context::new(&SHA512_256);
    for part in parts {
        context.update(part);
    }
    finish(context)
}

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident)*) => {
        /// Where each label stands in [`NAMES`].
        #[allow(
            non_camel_case_types,
            clippy::upper_case_acronyms,
            reason = "named as the protocol names them"
        )]
        enum Place { $($name,)* }

        const NAMES: &[&str] = &[$(stringify!($name),)*];

        impl Label {
            $($(#[$doc])* pub const $name: Self = Self(Place::$name as usize);)*
        }
    };
}

/// 64 bits that tell whether bytes are still what they were, for damage and not for malice: of
/// SHA-256, which processors have instructions for.
#[must_use]
pub fn checksum(parts: &[&[u8]]) -> u64 {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let digest = context.finish();
    let (first, _) = digest.as_ref().split_first_chunk().expect("SHA-256 has 32 bytes");
    u64::from_be_bytes(*first)
}

/// SHA-256 of much that only this program itself reads again: processors have instructions for it.
/// Whatever others see is hashed by [`hash`].
#[must_use]
pub fn hash_much(bytes: &[u8]) -> HashResult {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    finish(context)
}

/// What a hash or signature is for. The label's own hash, over `offset/1/NAME`, comes first in
/// whatever is hashed or signed (protocol, section 0).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Label(usize);

labels! {
    /// The id of a move token.
    MOVE_TOKEN
    /// The signature of a move token.
    MOVE_TOKEN_SIGNATURE
    /// The token id at counter 0 of an epoch.
    GENESIS
    /// The signature of the terms of a reset.
    RESET_TERMS
    /// What names the terms of a reset.
    RESET_TOKEN
    /// The signature of the acceptance of a reset.
    ACCEPT_RESET
    /// The state of a channel.
    STATE
    /// The key of a pending request in the pending tree.
    PENDING_KEY
    /// The contents of a pending request.
    PENDING
    /// A leaf of the pending tree.
    LEAF
    /// A branch of the pending tree.
    BRANCH
    /// The id of an invoice.
    INVOICE
    /// The invoice id of a spontaneous payment.
    SPONTANEOUS
    /// A node's update to its index server.
    INDEX_UPDATE
    /// A node's table of lines, named by an `alive` update.
    INDEX_TABLE
    /// An index server's word that a node left.
    NODE_DOWN
}

/// The prefixes, computed once: there are more hashes than anything else.
static PREFIXES: LazyLock<Vec<HashResult>> = LazyLock::new(|| {
    NAMES.iter().map(|name| hash_parts(&[b"offset/1/", name.as_bytes()])).collect()
});

impl std::fmt::Debug for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(NAMES[self.0])
    }
}

impl Label {
    /// The prefix of the hashed or signed bytes: `hash("offset/1/" + NAME)`.
    #[must_use]
    pub fn prefix(self) -> HashResult {
        PREFIXES[self.0]
    }

    /// `hash(LABEL, bytes)` of the protocol.
    #[must_use]
    pub fn hash(self, bytes: &[u8]) -> HashResult {
        LabelHasher::new(self).chain(bytes).finish()
    }
}

/// Computes `hash(LABEL, x...)` piece by piece.
#[derive(Clone)]
pub struct LabelHasher(Context);

impl LabelHasher {
    /// Begins with the label's prefix.
    #[must_use]
    pub fn new(label: Label) -> Self {
        let mut context = Context::new(&SHA512_256);
        context.update(label.prefix().as_bytes());
        Self(context)
    }

    /// Adds bytes.
    #[must_use]
    pub fn chain(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.update(bytes.as_ref());
        self
    }

    /// The hash of all that was added.
    #[must_use]
    pub fn finish(self) -> HashResult {
        finish(self.0)
    }
}

fn finish(context: Context) -> HashResult {
    let digest = context.finish();
    let bytes = digest.as_ref().try_into().expect("SHA-512/256 has 32 bytes");
    HashResult::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answer() {
        // FIPS 180-4 example: SHA-512/256("abc").
        let expected = [
            0x53, 0x04, 0x8e, 0x26, 0x81, 0x94, 0x1e, 0xf9, 0x9b, 0x2e, 0x29, 0xb7, 0x6b, 0x4c,
            0x7d, 0xab, 0xe4, 0xc2, 0xd0, 0xc6, 0x34, 0xfc, 0x6d, 0x46, 0xe0, 0xe2, 0xf1, 0x31,
            0x07, 0xe7, 0xaf, 0x23,
        ];
        assert_eq!(hash(b"abc").as_bytes(), &expected);
        assert_eq!(hash_parts(&[b"a", b"bc"]), hash(b"abc"));
    }

    #[test]
    fn labels_separate() {
        let x = b"same bytes";
        assert_ne!(Label::LEAF.hash(x), Label::BRANCH.hash(x));
        let by_hand = hash_parts(&[hash(b"offset/1/LEAF").as_bytes(), x]);
        assert_eq!(Label::LEAF.hash(x), by_hand);
    }
}
