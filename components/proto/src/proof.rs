//! What a side that lost its latest state is shown: its own last token, and the state that it signed
//! with it (protocol, section 8, *state proof*).

use offset_crypto::{HashResult, PlainLock};

use crate::{
    Balance, Credits, Currency, codec,
    friend::{MAX_PENDING, MoveToken, Proposal, Request, Response},
    reset::{AcceptReset, ResetTerms},
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

/// Shows the asker what it signed last. It proves itself: the token, or what began the epoch, is
/// signed by the asker, and the state hashes to what the token names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateProof {
    /// What the asker signed last.
    pub signed: Signed,
    /// The token of the side that proves, after that.
    pub my_token: Option<MoveToken>,
}

/// What the asker of a proof signed last in the epoch that is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signed {
    /// A token.
    Token {
        /// The token.
        token: Box<MoveToken>,
        /// The state that it commits to. Sorted by currency, each named once.
        state: Vec<CurrencyState>,
    },
    /// No token yet: the terms with which the epoch began, or their acceptance.
    Reset(Box<BegunEpoch>),
}

/// What both sides agreed on when an epoch began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BegunEpoch {
    /// Whether the terms are the asker's, and the acceptance that of the side that proves.
    pub by_asker: bool,
    /// The terms.
    pub terms: ResetTerms,
    /// The other side's acceptance of them.
    pub acceptance: AcceptReset,
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
    /// Epoch and counter at which the channel stands with everything that this proves.
    #[must_use]
    pub fn position(&self) -> (u64, u64) {
        let token = match (&self.my_token, &self.signed) {
            (Some(token), _) => token,
            (None, Signed::Token { token, .. }) => token.as_ref(),
            (None, Signed::Reset(begun)) => return (begun.terms.body.epoch, 0),
        };
        (token.body.epoch, token.body.counter)
    }

    /// Names what the asker signed.
    #[must_use]
    pub fn signed_id(&self) -> HashResult {
        match &self.signed {
            Signed::Token { token, .. } => token.id(),
            Signed::Reset(begun) => begun.acceptance.reset_token,
        }
    }

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
