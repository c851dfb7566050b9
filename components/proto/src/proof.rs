//! What a side that lost its latest state is shown: its own last token, and the state that it signed
//! with it (protocol, section 8, *state proof*).

use offset_crypto::PlainLock;

use crate::{
    Balance, Credits, Currency, codec,
    friend::{MAX_PENDING, MoveToken, Proposal, Request, Response},
    session::DecodeError,
};

/// The bytes of a page of a proof; the last one has what is left.
pub const PROOF_PAGE_BYTES: usize = 256 * 1024;
/// The most bytes of a proof.
pub const MAX_PROOF_BYTES: usize = 64 * 1024 * 1024;
/// The most pending requests of one currency in a proof: both directions.
pub const MAX_PROVEN_PENDING: usize = 2 * MAX_PENDING;

/// A page of an encoded [`StateProof`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofPage {
    /// From 0 on.
    pub page: u32,
    /// Of the whole proof, at most [`MAX_PROOF_BYTES`].
    pub total_bytes: u32,
    /// At most [`PROOF_PAGE_BYTES`].
    pub bytes: Vec<u8>,
}

/// Shows the asker what it signed last. It proves itself: the token is signed by the asker, and the
/// state hashes to what the token names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateProof {
    /// The asker's own last token.
    pub your_token: MoveToken,
    /// The state that it commits to. Sorted by currency, each named once.
    pub state: Vec<CurrencyState>,
    /// The token of the side that proves, after the asker's.
    pub my_token: Option<MoveToken>,
}

/// One currency of a channel's state. *Low* is the side with the lower public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrencyState {
    /// Which.
    pub currency: Currency,
    /// How it stands.
    pub line: LineState,
}

/// How a currency stands between two friends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineState {
    /// Proposed by one side or both.
    Proposed {
        /// By the low side.
        low: Option<Proposal>,
        /// By the high side.
        high: Option<Proposal>,
    },
    /// Both sides agreed on it.
    Active(ActiveState),
}

/// An active currency. What each side's requests freeze is the sum of its pending ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveState {
    /// As the low side sees it: positive when the high side owes.
    pub balance: Balance,
    /// The most that the low side may owe, then the high side.
    pub max_debt: [Credits; 2],
    /// Whether the low side lets the other send requests, then the high side.
    pub requests_open: [bool; 2],
    /// At most [`MAX_PROVEN_PENDING`].
    pub pending: Vec<PendingState>,
}

/// A pending request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingState {
    /// Whether the high side sent it.
    pub sent_by_high: bool,
    /// As it was received.
    pub request: Request,
    /// Whether the buyer gave it up.
    pub released: bool,
    /// From stage 1 on.
    pub response: Option<Response>,
    /// At stage 2.
    pub src_plain_lock: Option<PlainLock>,
}

impl StateProof {
    /// The bytes that are sent in pages. The same proof gives the same bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode_proof(self)
    }

    /// The proof in these bytes. Nothing of it is believed yet.
    ///
    /// # Errors
    /// [`DecodeError`] for anything that is no proof. Work and allocation are bounded by a small
    /// multiple of `bytes.len()`.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode_proof(bytes)
    }
}
