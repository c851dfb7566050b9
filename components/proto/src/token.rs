//! What the signature of a move token covers, and who can check it: the state of a channel as a hash
//! (protocol, section 5), and what a side signed last as a thing of its own, which proves itself to
//! anybody.
//!
//! ```text
//!   signer --signs--> move token --names--> state hash --is that of--> keys of both sides, epoch,
//!          \                                                           counter, every line
//!           `-signs--> terms of a reset, or their acceptance --name--> keys of both sides, balances
//! ```

use offset_crypto::{HashResult, Label, PublicKey};

use crate::{
    Balance, Credits, Currency,
    canonical::{Canonical as _, Writer},
    codec,
    friend::{MoveToken, Proposal},
    proof::BegunEpoch,
    session::DecodeError,
};

/// The bytes of a page of a [`LastToken`] on its way to an application; the last one has what is left.
pub const TOKEN_PAGE_BYTES: usize = 128 * 1024;
/// The most bytes of an encoded [`LastToken`].
pub const MAX_LAST_TOKEN_BYTES: usize = 1024 * 1024;

/// How a currency stands between two friends, as the state hash has it. *Low* is the side with the
/// lower public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineSummary {
    /// Proposed by one side or both.
    Proposed {
        /// By the low side.
        low: Option<Proposal>,
        /// By the high side.
        high: Option<Proposal>,
    },
    /// Both sides agreed on it.
    Active(ActiveSummary),
}

/// The numbers of an active currency. Pairs are the low side's and then the high side's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveSummary {
    /// As the low side sees it: positive when the high side owes.
    pub balance: Balance,
    /// What each side's requests freeze.
    pub pending_debt: [Credits; 2],
    /// The most that each side may owe.
    pub max_debt: [Credits; 2],
    /// Whether each side lets the other send requests.
    pub requests_open: [bool; 2],
    /// The root of the tree of pending requests.
    pub pending_root: HashResult,
}

/// A currency with how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrencySummary {
    /// Which.
    pub currency: Currency,
    /// How it stands.
    pub line: LineSummary,
}

/// `hash(STATE, lowKey, highKey, epoch, counter, currencies)`: what a move token commits to. `lines`
/// are those that are active or proposed by either side, sorted by currency.
#[must_use]
pub fn state_hash(
    low: &PublicKey,
    high: &PublicKey,
    (epoch, counter): (u64, u64),
    lines: &[(&Currency, LineSummary)],
) -> HashResult {
    let mut out = Writer::default();
    out.fixed(low).fixed(high).u64(epoch).u64(counter);
    out.list(lines, |out, (currency, line)| {
        out.text(currency.as_str());
        match line {
            LineSummary::Proposed { low, high } => {
                out.bool(false);
                for proposal in [low, high] {
                    out.option(*proposal, |out, proposal| proposal.write(out));
                }
            }
            LineSummary::Active(active) => {
                out.bool(true).i128(active.balance.get());
                for credits in active.pending_debt.into_iter().chain(active.max_debt) {
                    out.u128(credits.0);
                }
                for open in active.requests_open {
                    out.bool(open);
                }
                out.fixed(&active.pending_root);
            }
        }
    });
    Label::STATE.hash(&out.into_bytes())
}

/// Whether the side with the lower key signs the token with this counter: it signs the odd ones.
#[must_use]
pub const fn is_low_turn(counter: u64) -> bool {
    counter % 2 == 1
}

/// Why something proves nothing about what somebody signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// The counter is one of the other side.
    #[error("the token with its counter is not its signer's to sign")]
    Turn,
    /// Signed by somebody else, or changed.
    #[error("it is not signed by its signer, or was changed since")]
    Signature,
    /// Another state, or one between other keys.
    #[error("its balances and limits are not those that were signed")]
    State,
    /// Of the terms with which an epoch began.
    #[error("the terms of its epoch are not signed by who is said to have made them")]
    Terms,
    /// Of these terms.
    #[error("the terms of its epoch are not those that were accepted")]
    Acceptance,
}

impl MoveToken {
    /// Checks that `signer` signed this token for its channel with `receiver`, as far as the token
    /// alone shows; gives its id. That the channel is that of these two shows in the state.
    ///
    /// # Errors
    /// [`InvalidToken::Turn`] and [`InvalidToken::Signature`].
    pub fn check(
        &self,
        signer: &PublicKey,
        receiver: &PublicKey,
    ) -> Result<HashResult, InvalidToken> {
        if is_low_turn(self.body.counter) != (signer < receiver) || self.body.counter == 0 {
            return Err(InvalidToken::Turn);
        }
        self.verify(signer).ok_or(InvalidToken::Signature)
    }
}

impl BegunEpoch {
    /// Checks that one of the two made these terms for the other, who accepted them.
    ///
    /// # Errors
    /// [`InvalidToken::Terms`] and [`InvalidToken::Acceptance`].
    pub fn check(&self, asker: &PublicKey, prover: &PublicKey) -> Result<(), InvalidToken> {
        let (proposer, acceptor) = if self.by_asker { (asker, prover) } else { (prover, asker) };
        if !self.terms.verify(proposer, acceptor) {
            return Err(InvalidToken::Terms);
        }
        let token = self.terms.token(proposer, acceptor);
        if self.acceptance.reset_token != token || !self.acceptance.verify(acceptor) {
            return Err(InvalidToken::Acceptance);
        }
        Ok(())
    }
}

/// What one side of a channel signed last, with everything that its signature covers: it shows to
/// somebody who trusts neither side on which balances and limits the two agreed. Of pending requests it
/// holds sums and a hash alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastToken {
    /// Who signed.
    pub signer: PublicKey,
    /// For whom.
    pub receiver: PublicKey,
    /// What.
    pub signed: LastSigned,
}

/// What was signed last in the epoch in which a channel is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LastSigned {
    /// A token.
    Token {
        /// The token.
        token: Box<MoveToken>,
        /// The state that it commits to. Sorted by currency, each named once, at most
        /// [`MAX_CURRENCIES`](crate::friend::MAX_CURRENCIES).
        state: Vec<CurrencySummary>,
    },
    /// No token yet: the terms with which the epoch began, or their acceptance. The *asker* is the
    /// signer.
    Reset(Box<BegunEpoch>),
}

/// A page of an encoded [`LastToken`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenPage {
    /// Names the whole: pages of one name belong together.
    pub token_id: HashResult,
    /// Of the whole, at most [`MAX_LAST_TOKEN_BYTES`].
    pub total_bytes: u32,
    /// At most [`TOKEN_PAGE_BYTES`].
    pub bytes: Vec<u8>,
}

impl LastToken {
    /// Checks that the signer signed this for the receiver.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn verify(&self) -> Result<(), InvalidToken> {
        let (signer, receiver) = (&self.signer, &self.receiver);
        match &self.signed {
            LastSigned::Reset(begun) => begun.check(signer, receiver),
            LastSigned::Token { token, state } => {
                token.check(signer, receiver)?;
                let (low, high) = (signer.min(receiver), signer.max(receiver));
                let lines: Vec<_> = state.iter().map(|row| (&row.currency, row.line)).collect();
                let position = (token.body.epoch, token.body.counter);
                if state_hash(low, high, position, &lines) != token.body.state_hash {
                    return Err(InvalidToken::State);
                }
                Ok(())
            }
        }
    }

    /// Epoch and counter. Of a channel each pair is signed once: two tokens with the same pair and
    /// different ids prove that their signer said two things about one state.
    #[must_use]
    pub fn position(&self) -> (u64, u64) {
        match &self.signed {
            LastSigned::Token { token, .. } => (token.body.epoch, token.body.counter),
            LastSigned::Reset(begun) => (begun.terms.body.epoch, 0),
        }
    }

    /// Names what was signed: the id of the token, or the reset token of the terms.
    #[must_use]
    pub fn id(&self) -> HashResult {
        match &self.signed {
            LastSigned::Token { token, .. } => token.id(),
            LastSigned::Reset(begun) => begun.acceptance.reset_token,
        }
    }

    /// Each line as the signer sees it.
    #[must_use]
    pub fn lines(&self) -> Vec<(Currency, SignerLine)> {
        let signer_is_low = self.signer < self.receiver;
        match &self.signed {
            LastSigned::Token { state, .. } => state
                .iter()
                .map(|row| (row.currency.clone(), SignerLine::of(&row.line, signer_is_low)))
                .collect(),
            LastSigned::Reset(begun) => {
                let balances = begun.terms.body.balances.iter();
                let seen = |balance: Balance| {
                    if begun.by_asker { balance } else { balance.mirrored() }
                };
                balances
                    .map(|row| (row.currency.clone(), SignerLine::Begun(seen(row.balance))))
                    .collect()
            }
        }
    }

    /// The bytes that are kept in a file. The same thing gives the same bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        codec::encode_last_token(self)
    }

    /// What these bytes say. Nothing of it is believed yet, see [`LastToken::verify`].
    ///
    /// # Errors
    /// [`DecodeError`] for anything else. Work and allocation are bounded by a small multiple of
    /// `bytes.len()`.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if MAX_LAST_TOKEN_BYTES < bytes.len() {
            return Err(DecodeError::Malformed(format!(
                "{} bytes, at most {MAX_LAST_TOKEN_BYTES} are allowed",
                bytes.len()
            )));
        }
        codec::decode_last_token(bytes)
    }
}

/// A line of a [`LastToken`] as its signer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignerLine {
    /// Active, with what a token says of it.
    Active {
        /// Positive: the receiver owes the signer.
        balance: Balance,
        /// The signer's side.
        signer: SideLine,
        /// The receiver's side.
        receiver: SideLine,
    },
    /// Proposed by one side or both.
    Proposed {
        /// By the signer.
        signer: Option<Proposal>,
        /// By the receiver.
        receiver: Option<Proposal>,
    },
    /// The balance with which an epoch began. Positive: the receiver owes the signer.
    Begun(Balance),
}

/// What one side of an active line may do, and has under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SideLine {
    /// The most that it may owe.
    pub max_debt: Credits,
    /// What its requests freeze.
    pub pending_debt: Credits,
    /// Whether it lets the other side send requests.
    pub requests_open: bool,
}

impl SignerLine {
    fn of(line: &LineSummary, signer_is_low: bool) -> Self {
        let (signer, receiver) = if signer_is_low { (0, 1) } else { (1, 0) };
        match line {
            LineSummary::Proposed { low, high } => {
                let both = [*low, *high];
                Self::Proposed { signer: both[signer], receiver: both[receiver] }
            }
            LineSummary::Active(active) => {
                let side = |side: usize| SideLine {
                    max_debt: active.max_debt[side],
                    pending_debt: active.pending_debt[side],
                    requests_open: active.requests_open[side],
                };
                let balance =
                    if signer_is_low { active.balance } else { active.balance.mirrored() };
                Self::Active { balance, signer: side(signer), receiver: side(receiver) }
            }
        }
    }
}
