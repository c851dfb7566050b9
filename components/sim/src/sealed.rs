//! A model of the secure channel between two friends: who holds a circuit knows with whom, and what
//! comes out of it is what the other put in, in order and once, or the circuit ends. A relay that
//! changes, drops, repeats or exchanges bytes, or names somebody else, can only end it.
//!
//! ```text
//!   dialler  -- nonce -->            acceptor
//!            <-- nonce --
//!            -- done -->             each frame: length, content, code over all of the above,
//!            <== frames ==>          the direction, its number and its content
//! ```
//!
//! A code is a hash that includes a word of the simulation, which no relay knows.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use offset_crypto::PublicKey;

/// One end of a channel.
#[derive(Debug)]
pub(crate) struct Sealed {
    word: u64,
    /// The dialler first.
    keys: [PublicKey; 2],
    /// Which of the two we are.
    side: usize,
    nonces: [u64; 2],
    /// The handshake is over.
    open: bool,
    /// Frames that we sent and took.
    count: [u64; 2],
    inbox: VecDeque<u8>,
}

/// What came out of a channel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Out {
    /// A part of the handshake is to be sent.
    Answer(Vec<u8>),
    /// The channel stands from now on; this is sent first.
    Opened(Vec<u8>),
    /// What the other side sent.
    Content(Vec<u8>),
    /// Somebody broke it.
    Broken,
}

impl Sealed {
    /// The side that dials, and what it sends first.
    pub(crate) fn dial(
        word: u64,
        local: PublicKey,
        remote: PublicKey,
        nonce: u64,
    ) -> (Self, Vec<u8>) {
        let mut it = Self::new(word, [local, remote], 0, nonce);
        let first = it.seal(&nonce.to_be_bytes());
        (it, first)
    }

    /// The side that is dialled.
    pub(crate) fn accept(word: u64, local: PublicKey, remote: PublicKey, nonce: u64) -> Self {
        Self::new(word, [remote, local], 1, nonce)
    }

    fn new(word: u64, keys: [PublicKey; 2], side: usize, nonce: u64) -> Self {
        let nonces = if side == 0 { [nonce, 0] } else { [0, nonce] };
        let (count, inbox) = ([0, 0], VecDeque::new());
        Self { word, keys, side, nonces, open: false, count, inbox }
    }

    fn code(&self, by: usize, number: u64, content: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        // What was said before the nonces were known is under those that were.
        let nonces = match (by, number) {
            (0, 0) => [self.nonces[0], 0],
            _ => self.nonces,
        };
        (self.word, self.keys, nonces, by, number, content).hash(&mut hasher);
        hasher.finish()
    }

    /// What is sent for this content.
    pub(crate) fn seal(&mut self, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).expect("a message is short");
        let code = self.code(self.side, self.count[self.side], content);
        self.count[self.side] += 1;
        [&length.to_be_bytes()[..], content, &code.to_be_bytes()].concat()
    }

    /// Bytes that arrived.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.inbox.extend(bytes);
    }

    /// What they come to.
    pub(crate) fn take(&mut self) -> Option<Out> {
        let by = 1 - self.side;
        let (content, code) = match self.take_frame()? {
            Ok(frame) => frame,
            Err(Broken) => return Some(Out::Broken),
        };
        let number = self.count[by];
        if number == 0 {
            let Ok(nonce) = content.as_slice().try_into() else { return Some(Out::Broken) };
            self.nonces[by] = u64::from_be_bytes(nonce);
        }
        if CHECKED && self.code(by, number, &content) != code {
            return Some(Out::Broken);
        }
        self.count[by] += 1;
        Some(match (self.side, number) {
            // The nonce of the other side.
            (0, 0) => {
                self.open = true;
                Out::Opened(self.seal(&[]))
            }
            (_, 0) => {
                let nonce = self.nonces[1].to_be_bytes();
                Out::Answer(self.seal(&nonce))
            }
            (1, 1) => {
                self.open = true;
                Out::Opened(Vec::new())
            }
            (_, _) => Out::Content(content),
        })
    }

    fn take_frame(&mut self) -> Option<Result<(Vec<u8>, u64), Broken>> {
        if self.inbox.len() < 4 {
            return None;
        }
        let length = self.inbox.iter().take(4).fold(0usize, |n, byte| n << 8 | usize::from(*byte));
        if MOST < length {
            return Some(Err(Broken));
        }
        if self.inbox.len() < 4 + length + 8 {
            return None;
        }
        let frame: Vec<u8> = self.inbox.drain(..4 + length + 8).skip(4).collect();
        let (content, code) = frame.split_at(length);
        let code = u64::from_be_bytes(code.try_into().expect("eight bytes"));
        Some(Ok((content.to_vec(), code)))
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.open
    }
}

struct Broken;

/// The longest content.
const MOST: usize = 1 << 20;

/// Whether codes are looked at: without, relays that lie break honest nodes, which shows that they do.
const CHECKED: bool = true;

#[cfg(test)]
mod tests {
    use offset_crypto::{Identity, SeededRng};

    use super::*;

    fn pair() -> (Sealed, Sealed) {
        let keys = [1, 2].map(|n| Identity::random(&mut SeededRng::new(n)).public_key());
        let (mut a, first) = Sealed::dial(9, keys[0], keys[1], 77);
        let mut b = Sealed::accept(9, keys[1], keys[0], 78);
        b.put(&first);
        let Some(Out::Answer(answer)) = b.take() else { panic!("no answer") };
        a.put(&answer);
        let Some(Out::Opened(done)) = a.take() else { panic!("not opened") };
        b.put(&done);
        assert_eq!(b.take(), Some(Out::Opened(Vec::new())));
        assert!(a.is_open() && b.is_open());
        (a, b)
    }

    #[test]
    fn what_is_sealed_comes_out_once_and_in_order() {
        let (mut a, mut b) = pair();
        let (one, two) = (a.seal(b"one"), a.seal(b"two"));
        for byte in [&one[..], &two[..]].concat() {
            b.put(&[byte]);
        }
        assert_eq!(b.take(), Some(Out::Content(b"one".to_vec())));
        assert_eq!(b.take(), Some(Out::Content(b"two".to_vec())));
        assert_eq!(b.take(), None);
        let back = b.seal(b"three");
        a.put(&back);
        assert_eq!(a.take(), Some(Out::Content(b"three".to_vec())));
    }

    #[test]
    fn what_was_changed_repeated_left_out_or_exchanged_breaks_it() {
        for what in 0..4 {
            let (mut a, mut b) = pair();
            let (one, two) = (a.seal(b"one"), a.seal(b"two"));
            let mut changed = one.clone();
            changed[5] ^= 1;
            let bytes = match what {
                0 => changed,
                1 => [&one[..], &one[..]].concat(),
                2 => two,
                _ => [two, one].concat(),
            };
            b.put(&bytes);
            let out: Vec<_> = std::iter::from_fn(|| b.take()).take(2).collect();
            assert!(out.contains(&Out::Broken), "{what}");
        }
    }

    #[test]
    fn a_relay_that_names_somebody_else_connects_nobody() {
        let keys = [1, 2, 3].map(|n| Identity::random(&mut SeededRng::new(n)).public_key());
        let (_, first) = Sealed::dial(9, keys[0], keys[1], 77);
        let mut b = Sealed::accept(9, keys[1], keys[2], 78);
        b.put(&first);
        assert_eq!(b.take(), Some(Out::Broken));
    }
}
