//! Between two friends: the keys 1 and 2.

use offset_crypto::{HashResult, HashedLock, InvoiceId, PlainLock, RequestId};
use offset_proto::{
    Credits,
    friend::{
        Cancel, CancelReason, Collect, Commit, CurrencyOps, CurrencyTerms, Endings, EndingsAnswer,
        FriendMessage, FriendOp, MoveToken, MoveTokenBody, Proposal, Release, Request, Response,
        Resume,
    },
    payment::ResponseTerms,
    proof::{BegunEpoch, ProofPage},
    reset::{AcceptReset, Collected, Inconsistency, ResetBalance, ResetTerms, ResetTermsBody},
    token::{ActiveSummary, CurrencySummary, LastSigned, LastToken, LineSummary, state_hash},
};

use super::{balance, currency, identity, key, large, one_of_each, server};

pub(crate) fn messages() -> Vec<(String, FriendMessage)> {
    use FriendMessage as M;
    let inconsistency = Inconsistency {
        terms: reset_terms(),
        collected: vec![Collected::of(currency(), &response(), &collect())],
    };
    let token_id = HashResult::from_bytes([0x11; 32]);
    let messages = one_of_each!(FriendMessage {
        "resume": M::Resume(_) => M::Resume(Resume { epoch: 1, counter: 2, token_id, wants_token: true }),
        "moveToken": M::MoveToken(_) => M::MoveToken(Box::new(move_token(ops().into_iter().map(|(_, op)| op).collect()))),
        "tokenWanted": M::TokenWanted { .. } => M::TokenWanted { counter: 2 },
        "inconsistency": M::Inconsistency(_) => M::Inconsistency(Box::new(inconsistency)),
        "acceptReset": M::AcceptReset(_) => M::AcceptReset(accept_reset()),
        "removed": M::Removed { .. } => M::Removed { epoch: 1 },
        "requestStateProof": M::RequestStateProof { .. } => M::RequestStateProof { page: 1 },
        "stateProof": M::StateProof(_) => M::StateProof(ProofPage {
            page: 1,
            total_bytes: 262_147,
            bytes: vec![1, 2, 3],
        }),
        "endings": M::Endings(_) => M::Endings(Endings {
            currency: currency(),
            request_ids: vec![request_id(), RequestId::from_bytes([0x22; 16])],
        }),
        "endingsAnswer": M::EndingsAnswer(_) => M::EndingsAnswer(EndingsAnswer {
            currency: currency(),
            collected: vec![Collected::of(currency(), &response(), &collect())],
            unknown: vec![RequestId::from_bytes([0x22; 16])],
        }),
    });
    let token = |op| M::MoveToken(Box::new(move_token(vec![op])));
    let ops = ops().into_iter().map(|(name, op)| (format!("moveToken/{name}"), token(op)));
    let cancels = reasons().into_iter().map(|(name, reason)| {
        let cancel = Cancel { request_id: request_id(), reason, reporter: None };
        (format!("moveToken/cancel/{name}"), token(FriendOp::Cancel(cancel)))
    });
    let named = messages.into_iter().map(|(name, message)| (name.to_owned(), message));
    named.chain(ops).chain(cancels).collect()
}

pub(crate) fn ops() -> Vec<(&'static str, FriendOp)> {
    let request_id = request_id();
    let cancel = Cancel { request_id, reason: CancelReason::Busy, reporter: Some(key(3)) };
    one_of_each!(FriendOp {
        "request": FriendOp::Request(_) => FriendOp::Request(request()),
        "response": FriendOp::Response(_) => FriendOp::Response(response()),
        "commit": FriendOp::Commit(_) => FriendOp::Commit(Commit { request_id, src_plain_lock: src_plain_lock() }),
        "collect": FriendOp::Collect(_) => FriendOp::Collect(collect()),
        "cancel": FriendOp::Cancel(_) => FriendOp::Cancel(cancel),
        "release": FriendOp::Release(_) => FriendOp::Release(Release { request_id }),
    })
}

fn reasons() -> Vec<(&'static str, CancelReason)> {
    use CancelReason as R;
    one_of_each!(CancelReason {
        "noRoute": R::NoRoute => R::NoRoute,
        "noRoom": R::NoRoom => R::NoRoom,
        "feeTooLow": R::FeeTooLow => R::FeeTooLow,
        "offline": R::Offline => R::Offline,
        "unknownInvoice": R::UnknownInvoice => R::UnknownInvoice,
        "expired": R::Expired => R::Expired,
        "alreadyPaid": R::AlreadyPaid => R::AlreadyPaid,
        "busy": R::Busy => R::Busy,
        "declined": R::Declined => R::Declined,
        "released": R::Released => R::Released,
    })
}

pub(crate) fn move_token(ops: Vec<FriendOp>) -> MoveToken {
    move_token_body(ops).sign(&identity(1))
}

pub(crate) fn move_token_body(ops: Vec<FriendOp>) -> MoveTokenBody {
    let proposal =
        Proposal { opening_balance: balance(-5), max_debt: Credits(100), requests_open: true };
    MoveTokenBody {
        epoch: 1,
        counter: 3,
        prev_token: HashResult::from_bytes([0x11; 32]),
        currency_terms: vec![CurrencyTerms {
            currency: "hours".parse().unwrap(),
            enabled: true,
            proposal,
        }],
        currency_ops: vec![CurrencyOps { currency: currency(), ops }],
        relays: Some(vec![server(5)]),
        state_hash: HashResult::from_bytes([0x12; 32]),
    }
}

pub(crate) fn request_id() -> RequestId {
    RequestId::from_bytes([0x31; 16])
}

pub(crate) fn src_plain_lock() -> PlainLock {
    PlainLock::from_bytes([0x37; 32])
}

pub(crate) fn dest_plain_lock() -> PlainLock {
    PlainLock::from_bytes([0x38; 32])
}

pub(crate) fn request() -> Request {
    Request {
        request_id: request_id(),
        src_hashed_lock: src_plain_lock().hashed(),
        route: vec![key(3), key(4)],
        dest_payment: Credits(10),
        total_dest_payment: large(),
        invoice_id: InvoiceId::from_bytes([0x33; 32]),
        left_fees: Credits(3),
        spontaneous: false,
        hold_seconds: 60,
    }
}

/// The response of the destination, the key 4, to [`request`].
pub(crate) fn response() -> Response {
    let unsigned = Response {
        request_id: request_id(),
        dest_hashed_lock: HashedLock::from(*dest_plain_lock().hashed().as_bytes()),
        is_complete: true,
        response_hash: HashResult::from_bytes([0x35; 32]),
        signature: [0; 64].into(),
    };
    let signature = ResponseTerms::of(&request(), &unsigned, &currency()).sign(&identity(4));
    Response { signature, ..unsigned }
}

pub(crate) fn collect() -> Collect {
    let (src_plain_lock, dest_plain_lock) = (src_plain_lock(), dest_plain_lock());
    Collect { request_id: request_id(), src_plain_lock, dest_plain_lock }
}

/// Proposed by the key 1 to the key 2.
pub(crate) fn reset_terms() -> ResetTerms {
    reset_terms_body().sign(&identity(1), &key(2))
}

pub(crate) fn reset_terms_body() -> ResetTermsBody {
    ResetTermsBody {
        epoch: 3,
        balances: vec![ResetBalance { currency: currency(), balance: balance(-70) }],
        pending: true,
        last: Some(HashResult::from_bytes([0x13; 32])),
        previous: None,
    }
}

pub(crate) fn accept_reset() -> AcceptReset {
    AcceptReset::sign(reset_terms().token(&key(1), &key(2)), &identity(2))
}

/// What the key 1 signed last for the key 2: a token with every operation, and its state.
pub(crate) fn last_token() -> LastToken {
    let state = last_state();
    let lines: Vec<_> = state.iter().map(|row| (&row.currency, row.line)).collect();
    let (low, high) = (key(1).min(key(2)), key(1).max(key(2)));
    // Odd counters are the lower key's to sign.
    let counter = if low == key(1) { 3 } else { 4 };
    let body = MoveTokenBody {
        counter,
        state_hash: state_hash(&low, &high, (1, counter), &lines),
        ..move_token_body(ops().into_iter().map(|(_, op)| op).collect())
    };
    let token = Box::new(body.sign(&identity(1)));
    LastToken { signer: key(1), receiver: key(2), signed: LastSigned::Token { token, state } }
}

fn last_state() -> Vec<CurrencySummary> {
    let proposal =
        Proposal { opening_balance: balance(-5), max_debt: Credits(100), requests_open: true };
    let active = ActiveSummary {
        balance: balance(-110),
        pending_debt: [Credits(1), large()],
        max_debt: [Credits(150), Credits::LIMIT],
        requests_open: [true, false],
        pending_root: HashResult::from_bytes([0x14; 32]),
    };
    let row = |currency: &str, line| CurrencySummary { currency: currency.parse().unwrap(), line };
    vec![
        row("EUR", LineSummary::Active(active)),
        row("hours", LineSummary::Proposed { low: Some(proposal), high: None }),
    ]
}

/// What the key 1 signed last for the key 2 in an epoch without tokens: the terms.
pub(crate) fn last_terms() -> LastToken {
    let (terms, acceptance) = (reset_terms(), accept_reset());
    let begun = BegunEpoch { by_asker: true, terms, acceptance };
    LastToken { signer: key(1), receiver: key(2), signed: LastSigned::Reset(Box::new(begun)) }
}
