//! Messages between friends, with proofs, terms and operations.

use super::*;

pub(crate) fn friend_message() -> BoxedStrategy<FriendMessage> {
    let resume = (epoch(), any::<u64>(), hash(), any::<bool>()).prop_map(
        |(epoch, counter, token_id, wants_token)| {
            FriendMessage::Resume(Resume { epoch, counter, token_id, wants_token })
        },
    );
    prop_oneof![
        1 => resume,
        4 => move_token().prop_map(|token| FriendMessage::MoveToken(Box::new(token))),
        1 => any::<u64>().prop_map(|counter| FriendMessage::TokenWanted { counter }),
        2 => inconsistency().prop_map(|message| FriendMessage::Inconsistency(Box::new(message))),
        1 => (hash(), signature()).prop_map(|(reset_token, signature)| {
            FriendMessage::AcceptReset(AcceptReset { reset_token, signature })
        }),
        1 => epoch().prop_map(|epoch| FriendMessage::Removed { epoch }),
        1 => any::<u32>().prop_map(|page| FriendMessage::RequestStateProof { page }),
        1 => proof_page().prop_map(FriendMessage::StateProof),
        1 => (currency(), vec(request_id(), 0..20)).prop_map(|(currency, request_ids)| {
            FriendMessage::Endings(Endings { currency, request_ids })
        }),
        1 => (currency(), vec(collected(), 0..4), vec(request_id(), 0..20)).prop_map(
            |(currency, collected, unknown)| {
                FriendMessage::EndingsAnswer(EndingsAnswer { currency, collected, unknown })
            },
        ),
    ]
    .boxed()
}

pub(super) fn proof_page() -> impl Strategy<Value = ProofPage> {
    (any::<u32>(), 0..=64u32 << 20, vec(any::<u8>(), 0..2_000))
        .prop_map(|(page, total_bytes, bytes)| ProofPage { page, total_bytes, bytes })
}

pub(crate) fn state_proof() -> impl Strategy<Value = StateProof> {
    let pending =
        (any::<bool>(), request(), any::<bool>(), option::of(response()), option::of(lock()))
            .prop_map(|(sent_by_high, request, released, response, src_plain_lock)| PendingState {
                sent_by_high,
                request,
                released,
                response,
                src_plain_lock,
            });
    let open = (any::<bool>(), any::<bool>()).prop_map(|(low, high)| [low, high]);
    let most = (limit(), limit()).prop_map(|(low, high)| [low, high]);
    let active = (balance(), most, open, vec(pending, 0..4)).prop_map(
        |(balance, max_debt, requests_open, pending)| {
            LineState::Active(ActiveState { balance, max_debt, requests_open, pending })
        },
    );
    let proposed = proposals().prop_map(|[low, high]| LineState::Proposed { low, high });
    let state = btree_map(currency(), prop_oneof![active, proposed], 0..4).prop_map(|state| {
        state.into_iter().map(|(currency, line)| CurrencyState { currency, line }).collect()
    });
    let token = (move_token(), state)
        .prop_map(|(token, state)| Signed::Token { token: Box::new(token), state });
    let reset = begun_epoch().prop_map(|begun| Signed::Reset(Box::new(begun)));
    (prop_oneof![token, reset], option::of(move_token()))
        .prop_map(|(signed, my_token)| StateProof { signed, my_token })
}

/// One side's or both sides'.
fn proposals() -> impl Strategy<Value = [Option<Proposal>; 2]> {
    (option::of(proposal()), proposal(), any::<bool>()).prop_map(|(one, other, swapped)| {
        if swapped { [Some(other), one] } else { [one, Some(other)] }
    })
}

fn begun_epoch() -> impl Strategy<Value = BegunEpoch> {
    (any::<bool>(), inconsistency(), hash(), signature()).prop_map(
        |(by_asker, message, reset_token, signature)| {
            let acceptance = AcceptReset { reset_token, signature };
            BegunEpoch { by_asker, terms: message.terms, acceptance }
        },
    )
}

pub(crate) fn last_token() -> impl Strategy<Value = LastToken> {
    let credits = (limit(), limit(), limit(), limit());
    let active = (balance(), credits, any::<[bool; 2]>(), hash()).prop_map(
        |(balance, (a, b, c, d), requests_open, pending_root)| {
            LineSummary::Active(ActiveSummary {
                balance,
                pending_debt: [a, b],
                max_debt: [c, d],
                requests_open,
                pending_root,
            })
        },
    );
    let proposed = proposals().prop_map(|[low, high]| LineSummary::Proposed { low, high });
    let state = btree_map(currency(), prop_oneof![active, proposed], 0..4).prop_map(|state| {
        state.into_iter().map(|(currency, line)| CurrencySummary { currency, line }).collect()
    });
    let token = (move_token(), state)
        .prop_map(|(token, state)| LastSigned::Token { token: Box::new(token), state });
    let reset = begun_epoch().prop_map(|begun| LastSigned::Reset(Box::new(begun)));
    let keys = (key(), key()).prop_filter("two keys", |(a, b)| a != b);
    (keys, prop_oneof![token, reset]).prop_map(|((signer, receiver), signed)| LastToken {
        signer,
        receiver,
        signed,
    })
}

pub(super) fn inconsistency() -> impl Strategy<Value = Inconsistency> {
    let balances = btree_map(currency(), balance(), 0..4).prop_map(|balances| {
        balances
            .into_iter()
            .map(|(currency, balance)| ResetBalance { currency, balance })
            .collect::<Vec<_>>()
    });
    let ids = (option::of(hash()), option::of(hash()));
    let terms = (epoch(), balances, any::<bool>(), ids, signature()).prop_map(
        |(epoch, balances, pending, (last, previous), signature)| ResetTerms {
            body: ResetTermsBody { epoch, balances, pending, last, previous },
            signature,
        },
    );
    (terms, vec(collected(), 0..4))
        .prop_map(|(terms, collected)| Inconsistency { terms, collected })
}

pub(super) fn collected() -> impl Strategy<Value = Collected> {
    let collect =
        (request_id(), lock(), lock()).prop_map(|(request_id, src_plain_lock, dest_plain_lock)| {
            Collect { request_id, src_plain_lock, dest_plain_lock }
        });
    (currency(), response(), collect)
        .prop_map(|(currency, response, collect)| Collected::of(currency, &response, &collect))
}

pub(crate) fn move_token() -> impl Strategy<Value = MoveToken> {
    let terms = btree_map(currency(), (any::<bool>(), proposal()), 0..4).prop_map(|terms| {
        terms
            .into_iter()
            .map(|(currency, (enabled, proposal))| CurrencyTerms { currency, enabled, proposal })
            .collect::<Vec<_>>()
    });
    let ops = btree_map(currency(), vec(op(), 1..6), 0..4).prop_map(|ops| {
        ops.into_iter().map(|(currency, ops)| CurrencyOps { currency, ops }).collect::<Vec<_>>()
    });
    let fixed = (epoch(), any::<u64>(), hash(), hash(), signature());
    (fixed, terms, ops, option::of(vec(server(), 0..4))).prop_map(
        |((epoch, counter, prev_token, state_hash, signature), terms, ops, relays)| MoveToken {
            body: MoveTokenBody {
                epoch,
                counter,
                prev_token,
                currency_terms: terms,
                currency_ops: ops,
                relays,
                state_hash,
            },
            signature,
        },
    )
}

pub(super) fn op() -> BoxedStrategy<FriendOp> {
    prop_oneof![
        request().prop_map(FriendOp::Request),
        response().prop_map(FriendOp::Response),
        (request_id(), lock()).prop_map(|(request_id, src_plain_lock)| FriendOp::Commit(Commit {
            request_id,
            src_plain_lock
        })),
        (request_id(), lock(), lock()).prop_map(|(request_id, src_plain_lock, dest_plain_lock)| {
            FriendOp::Collect(Collect { request_id, src_plain_lock, dest_plain_lock })
        }),
        (request_id(), cancel_reason(), option::of(key())).prop_map(
            |(request_id, reason, reporter)| FriendOp::Cancel(Cancel {
                request_id,
                reason,
                reporter
            })
        ),
        request_id().prop_map(|request_id| FriendOp::Release(Release { request_id })),
    ]
    .boxed()
}

pub(crate) fn request() -> impl Strategy<Value = Request> {
    let ids = (request_id(), hash(), invoice_id());
    let amounts = (credits(), credits(), credits());
    (ids, keys(0..=31), amounts, any::<bool>(), any::<u64>()).prop_map(
        |((request_id, lock, invoice_id), route, amounts, spontaneous, hold_seconds)| Request {
            request_id,
            src_hashed_lock: HashedLock::from_bytes(*lock.as_bytes()),
            route,
            dest_payment: amounts.0,
            total_dest_payment: amounts.1,
            invoice_id,
            left_fees: amounts.2,
            spontaneous,
            hold_seconds,
        },
    )
}

pub(super) fn response() -> impl Strategy<Value = Response> {
    (request_id(), hash(), any::<bool>(), hash(), signature()).prop_map(
        |(request_id, lock, is_complete, response_hash, signature)| Response {
            request_id,
            dest_hashed_lock: HashedLock::from_bytes(*lock.as_bytes()),
            is_complete,
            response_hash,
            signature,
        },
    )
}

pub(super) fn cancel_reason() -> impl Strategy<Value = CancelReason> {
    use CancelReason as R;
    select(vec![
        R::NoRoute,
        R::NoRoom,
        R::FeeTooLow,
        R::Offline,
        R::UnknownInvoice,
        R::Expired,
        R::AlreadyPaid,
        R::Busy,
        R::Declined,
        R::Released,
    ])
}

pub(super) fn proposal() -> impl Strategy<Value = Proposal> {
    (balance(), limit(), any::<bool>()).prop_map(|(opening_balance, max_debt, requests_open)| {
        Proposal { opening_balance, max_debt, requests_open }
    })
}

/// Of a channel.
fn epoch() -> impl Strategy<Value = u64> {
    0..=MAX_EPOCH
}
