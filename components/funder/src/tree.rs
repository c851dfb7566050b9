//! The pending tree: one hash for all pending requests of a currency (protocol, section 5, *pending
//! root*).
//!
//! A compressed binary radix tree over 32-byte keys. Its shape, and so its root, depends on what it
//! holds and not on the order in which it was filled. Hashes are recomputed only along paths that
//! changed since the last [`PendingTree::root`], so a move token costs what it carries and not what
//! is pending.

use std::cell::Cell;

use offset_crypto::{HashResult, Label, LabelHasher};

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct PendingTree {
    root: Option<Box<Node>>,
}

#[derive(Debug, Clone)]
enum Node {
    Leaf {
        key: HashResult,
        hash: HashResult,
    },
    Branch {
        bit: usize,
        key: HashResult,
        zero: Box<Self>,
        one: Box<Self>,
        hash: Cell<Option<HashResult>>,
    },
}

impl PendingTree {
    /// Sets the content hash of a key, new or not.
    pub(crate) fn insert(&mut self, key: HashResult, content: HashResult) {
        let hash = LabelHasher::new(Label::LEAF).chain(key).chain(content).finish();
        let leaf = Node::Leaf { key, hash };
        self.root = Some(match self.root.take() {
            None => Box::new(leaf),
            Some(root) => insert(root, leaf, &key),
        });
    }

    /// Removes a key. Removing what is not there changes nothing.
    pub(crate) fn remove(&mut self, key: &HashResult) {
        self.root = self.root.take().and_then(|root| remove(root, key));
    }

    /// The root hash; 32 zero bytes when the tree is empty.
    pub(crate) fn root(&self) -> HashResult {
        self.root.as_ref().map_or(HashResult::from_bytes([0; 32]), |node| node.hash())
    }
}

impl Node {
    /// Any key below this node: all of them agree before a branch's bit.
    const fn key(&self) -> &HashResult {
        match self {
            Self::Leaf { key, .. } | Self::Branch { key, .. } => key,
        }
    }

    fn hash(&self) -> HashResult {
        match self {
            Self::Leaf { hash, .. } => *hash,
            Self::Branch { zero, one, hash, .. } => hash.get().unwrap_or_else(|| {
                let (zero, one) = (zero.hash(), one.hash());
                let fresh = LabelHasher::new(Label::BRANCH).chain(zero).chain(one).finish();
                hash.set(Some(fresh));
                fresh
            }),
        }
    }
}

fn branch(bit: usize, a: Box<Node>, b: Box<Node>) -> Box<Node> {
    let key = *a.key();
    let (zero, one) = if bit_of(&key, bit) { (b, a) } else { (a, b) };
    Box::new(Node::Branch { bit, key, zero, one, hash: Cell::new(None) })
}

fn insert(mut node: Box<Node>, leaf: Node, key: &HashResult) -> Box<Node> {
    let differs = first_difference(node.key(), key);
    match &mut *node {
        Node::Leaf { .. } => match differs {
            None => Box::new(leaf),
            Some(bit) => branch(bit, node, Box::new(leaf)),
        },
        Node::Branch { bit, zero, one, hash, .. } => {
            if let Some(differs) = differs.filter(|differs| differs < bit) {
                return branch(differs, node, Box::new(leaf));
            }
            hash.set(None);
            let child = if bit_of(key, *bit) { one } else { zero };
            let old = std::mem::replace(child, Box::new(Node::Leaf { key: *key, hash: *key }));
            *child = insert(old, leaf, key);
            node
        }
    }
}

fn remove(node: Box<Node>, key: &HashResult) -> Option<Box<Node>> {
    match *node {
        Node::Leaf { key: ref own, .. } => (own != key).then_some(node),
        Node::Branch { bit, key: own, zero, one, hash } => {
            if first_difference(&own, key).is_some_and(|differs| differs < bit) {
                return Some(Box::new(Node::Branch { bit, key: own, zero, one, hash }));
            }
            let (zero, one) = if bit_of(key, bit) {
                (Some(zero), remove(one, key))
            } else {
                (remove(zero, key), Some(one))
            };
            match (zero, one) {
                (Some(zero), Some(one)) => Some(branch(bit, zero, one)),
                (Some(only), None) | (None, Some(only)) => Some(only),
                (None, None) => None,
            }
        }
    }
}

/// The first bit, counted from the most significant of the first byte, in which two keys differ.
fn first_difference(a: &HashResult, b: &HashResult) -> Option<usize> {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let byte = a.iter().zip(b).position(|(a, b)| a != b)?;
    Some(byte * 8 + (a[byte] ^ b[byte]).leading_zeros() as usize)
}

fn bit_of(key: &HashResult, bit: usize) -> bool {
    key.as_bytes()[bit / 8] & (0x80 >> (bit % 8)) != 0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use offset_crypto::{SeededRng, hash};
    use proptest::prelude::*;

    use super::*;

    /// The definition, written down once more without any sharing: split at the first differing bit.
    fn by_definition(entries: &BTreeMap<HashResult, HashResult>) -> HashResult {
        let entries: Vec<_> = entries.iter().collect();
        fn build(entries: &[(&HashResult, &HashResult)]) -> HashResult {
            match entries {
                [] => HashResult::from_bytes([0; 32]),
                [(key, content)] => {
                    LabelHasher::new(Label::LEAF).chain(key).chain(content).finish()
                }
                [first, .., last] => {
                    let bit = first_difference(first.0, last.0).unwrap();
                    let middle = entries.partition_point(|(key, _)| !bit_of(key, bit));
                    let (zero, one) = (build(&entries[..middle]), build(&entries[middle..]));
                    LabelHasher::new(Label::BRANCH).chain(zero).chain(one).finish()
                }
            }
        }
        build(&entries)
    }

    proptest! {
        #[test]
        fn root_follows_the_definition(ops in prop::collection::vec((any::<bool>(), 0u8..24, any::<u8>()), 0..120)) {
            let mut tree = PendingTree::default();
            let mut model = BTreeMap::new();
            for (add, key, content) in ops {
                // Few distinct keys, some of which share long prefixes.
                let mut bytes = *hash(&[key / 4]).as_bytes();
                bytes[31] ^= key % 4;
                let key = HashResult::from_bytes(bytes);
                if add {
                    tree.insert(key, hash(&[content]));
                    model.insert(key, hash(&[content]));
                } else {
                    tree.remove(&key);
                    model.remove(&key);
                }
                prop_assert_eq!(tree.root(), by_definition(&model));
            }
        }
    }

    #[test]
    fn order_does_not_matter() {
        let keys: Vec<_> = (0u8..50).map(|n| hash(&[n])).collect();
        let (mut a, mut b) = (PendingTree::default(), PendingTree::default());
        for key in &keys {
            a.insert(*key, *key);
        }
        for key in keys.iter().rev() {
            b.insert(*key, *key);
        }
        assert_eq!(a.root(), b.root());
        let mut rng = SeededRng::new(1);
        for _ in 0..50 {
            let index = usize::try_from(rng.below(50)).unwrap();
            a.remove(&keys[index]);
            b.remove(&keys[index]);
        }
        assert_eq!(a.root(), b.root());
    }
}
