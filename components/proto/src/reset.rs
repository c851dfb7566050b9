//! Beginning a channel again: terms, what is proven, and acceptance (protocol, section 8).

use offset_crypto::{
    HashResult, HashedLock, Identity, Label, LabelHasher, PlainLock, PublicKey, RequestId,
    Signature,
};

use crate::{
    Balance, Currency,
    canonical::{Canonical, Writer},
    friend::{Collect, Response},
};

/// The most entries of [`Inconsistency::collected`] in one message.
pub const MAX_COLLECTED: usize = 1_024;

/// Says that a channel is inconsistent, on which terms the sender would begin it again, and what it
/// can prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inconsistency {
    /// The sender's terms.
    pub terms: ResetTerms,
    /// At most [`MAX_COLLECTED`].
    pub collected: Vec<Collected>,
}

/// Terms with the signature of the side that proposes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResetTerms {
    /// What is signed, besides the keys of both sides.
    pub body: ResetTermsBody,
    /// The proposer's.
    pub signature: Signature,
}

/// On what one side would begin a channel again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResetTermsBody {
    /// The epoch that would begin: above the highest that either side has been in.
    pub epoch: u64,
    /// The currencies that would be active. Sorted by currency, each named once, at most
    /// [`crate::friend::MAX_CURRENCIES`].
    pub balances: Vec<ResetBalance>,
    /// Whether anything is pending at the proposer.
    pub pending: bool,
    /// The id of the proposer's last token, if it signed any.
    pub last: Option<HashResult>,
    /// The id of the proposer's token before that, if there is one.
    pub previous: Option<HashResult>,
}

/// One balance of a [`ResetTermsBody`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResetBalance {
    /// Which currency.
    pub currency: Currency,
    /// As the proposer sees it: positive when the other side owes.
    pub balance: Balance,
}

/// A request of the receiver that the sender has collected, or will: response and locks, which
/// prove themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// The line of the request.
    pub currency: Currency,
    /// As the receiver sent it.
    pub request_id: RequestId,
    /// Of the response.
    pub dest_hashed_lock: HashedLock,
    /// Of the response.
    pub is_complete: bool,
    /// Of the response.
    pub response_hash: HashResult,
    /// Of the response.
    pub signature: Signature,
    /// Opens the request's `src_hashed_lock`.
    pub src_plain_lock: PlainLock,
    /// Opens `dest_hashed_lock`.
    pub dest_plain_lock: PlainLock,
}

/// Accepts the other side's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptReset {
    /// See [`ResetTerms::token`].
    pub reset_token: HashResult,
    /// Of the side that accepts.
    pub signature: Signature,
}

impl Canonical for ResetTermsBody {
    fn write(&self, out: &mut Writer) {
        let id = |out: &mut Writer, id: HashResult| {
            out.fixed(&id);
        };
        out.u64(self.epoch)
            .list(&self.balances, |out, row| {
                out.text(row.currency.as_str()).i128(row.balance.get());
            })
            .bool(self.pending)
            .option(self.last, id)
            .option(self.previous, id);
    }
}

impl ResetTermsBody {
    /// Signs the terms for one friend: for another they mean nothing.
    #[must_use]
    pub fn sign(self, identity: &Identity, friend: &PublicKey) -> ResetTerms {
        let bytes = self.signed_bytes(&identity.public_key(), friend);
        ResetTerms { signature: identity.sign_labelled(Label::RESET_TERMS, &bytes), body: self }
    }

    fn signed_bytes(&self, proposer: &PublicKey, friend: &PublicKey) -> Vec<u8> {
        let mut out = Writer::default();
        out.fixed(proposer).fixed(friend);
        self.write(&mut out);
        out.into_bytes()
    }
}

impl ResetTerms {
    /// Names the terms: `hash(RESET_TOKEN, proposer, friend, all fields, signature)`.
    #[must_use]
    pub fn token(&self, proposer: &PublicKey, friend: &PublicKey) -> HashResult {
        LabelHasher::new(Label::RESET_TOKEN)
            .chain(self.body.signed_bytes(proposer, friend))
            .chain(self.signature)
            .finish()
    }

    /// Whether `proposer` signed these terms for `friend`.
    #[must_use]
    pub fn verify(&self, proposer: &PublicKey, friend: &PublicKey) -> bool {
        let bytes = self.body.signed_bytes(proposer, friend);
        proposer.verify_labelled(Label::RESET_TERMS, &bytes, &self.signature)
    }
}

impl AcceptReset {
    /// Accepts the terms of this name.
    #[must_use]
    pub fn sign(reset_token: HashResult, identity: &Identity) -> Self {
        let signature = identity.sign_labelled(Label::ACCEPT_RESET, reset_token.as_bytes());
        Self { reset_token, signature }
    }

    /// Whether `acceptor` said so.
    #[must_use]
    pub fn verify(&self, acceptor: &PublicKey) -> bool {
        let token = self.reset_token.as_bytes();
        acceptor.verify_labelled(Label::ACCEPT_RESET, token, &self.signature)
    }
}

impl Collected {
    /// The response that the entry carries.
    #[must_use]
    pub const fn response(&self) -> Response {
        Response {
            request_id: self.request_id,
            dest_hashed_lock: self.dest_hashed_lock,
            is_complete: self.is_complete,
            response_hash: self.response_hash,
            signature: self.signature,
        }
    }

    /// The collect that the entry carries.
    #[must_use]
    pub const fn collect(&self) -> Collect {
        Collect {
            request_id: self.request_id,
            src_plain_lock: self.src_plain_lock,
            dest_plain_lock: self.dest_plain_lock,
        }
    }

    /// The entry for a response and the collect that follows it.
    #[must_use]
    pub const fn of(currency: Currency, response: &Response, collect: &Collect) -> Self {
        Self {
            currency,
            request_id: collect.request_id,
            dest_hashed_lock: response.dest_hashed_lock,
            is_complete: response.is_complete,
            response_hash: response.response_hash,
            signature: response.signature,
            src_plain_lock: collect.src_plain_lock,
            dest_plain_lock: collect.dest_plain_lock,
        }
    }
}
