//! `friend.capnp`: between two friends.

use capnp::struct_list;

use super::{
    Decoded, balance, check_count, check_sorted, count, credits, endings, fixed, invalid, key,
    keys, limit, list, mirror, parse, proof, reset, server, session, set_balance, set_credits,
    set_keys, set_list, set_server, wire, words_of,
};
use crate::{
    canonical::Canonical as _,
    friend::{
        Cancel, CancelReason, Collect, Commit, CurrencyOps, CurrencyTerms, FriendMessage, FriendOp,
        MAX_CURRENCIES, MAX_EPOCH, MAX_OPERATIONS, MAX_RELAYS, MAX_REMAINING_KEYS, MAX_TOKEN_BYTES,
        MoveToken, MoveTokenBody, Proposal, Release, Request, Response, Resume,
    },
    schema::friend_capnp::{
        self, currency_ops, currency_terms, friend_message, friend_op, move_token, request,
        response, resume,
    },
    session::{Control, Packet},
};

wire!(FriendMessage, Friend, friend_message, words, set_message, message);

mirror!(
    CancelReason, friend_capnp::CancelReason, schema_reason, cancel_reason,
    NoRoute NoRoom FeeTooLow Offline UnknownInvoice Expired AlreadyPaid Busy Declined Released
);

fn words(message: &FriendMessage) -> usize {
    match message {
        FriendMessage::Resume(_)
        | FriendMessage::TokenWanted { .. }
        | FriendMessage::AcceptReset(_)
        | FriendMessage::Removed { .. }
        | FriendMessage::RequestStateProof { .. } => 0,
        FriendMessage::Inconsistency(message) => reset::words(message),
        FriendMessage::StateProof(page) => 8 + words_of(page.bytes.len()),
        FriendMessage::MoveToken(token) => token_words(token),
        FriendMessage::Endings(question) => endings::words(question),
        FriendMessage::EndingsAnswer(answer) => endings::answer_words(answer),
    }
}

pub(super) fn token_words(token: &MoveToken) -> usize {
    let ops =
        token.body.currency_ops.iter().map(|ops| 4 + ops.ops.iter().map(op_words).sum::<usize>());
    let relays = token.body.relays.as_ref().map_or(0, Vec::len);
    token.body.currency_terms.len() * 16 + ops.sum::<usize>() + relays * 44
}

/// The most that an operation takes: its fields, their pointers, and its place in the list.
fn op_words(op: &FriendOp) -> usize {
    match op {
        FriendOp::Request(op) => 27 + 5 * op.route.len(),
        FriendOp::Response(_) => 26,
        FriendOp::Commit(_) | FriendOp::Collect(_) | FriendOp::Cancel(_) => 16,
        FriendOp::Release(_) => 6,
    }
}

fn set_message(message: &FriendMessage, mut root: friend_message::Builder<'_>) {
    match message {
        FriendMessage::Resume(resume) => set_resume(resume, root.init_resume()),
        FriendMessage::MoveToken(token) => set_token(token, root.init_move_token()),
        FriendMessage::TokenWanted { counter } => root.set_token_wanted(*counter),
        FriendMessage::Inconsistency(message) => {
            reset::set_inconsistency(message, root.init_inconsistency());
        }
        FriendMessage::AcceptReset(accept) => reset::set_accept(accept, root.init_accept_reset()),
        FriendMessage::Removed { epoch } => root.set_removed(*epoch),
        FriendMessage::RequestStateProof { page } => root.set_request_state_proof(*page),
        FriendMessage::StateProof(page) => proof::set_page(page, root.init_state_proof()),
        FriendMessage::Endings(question) => endings::set_question(question, root.init_endings()),
        FriendMessage::EndingsAnswer(answer) => {
            endings::set_answer(answer, root.init_endings_answer());
        }
    }
}

fn message(root: friend_message::Reader<'_>) -> Decoded<Packet<FriendMessage>> {
    use friend_message::Which;
    Ok(Packet::Message(match root.which()? {
        Which::Hello(hello) => return session::hello(hello?),
        Which::Ping(()) => return Ok(Packet::Control(Control::Ping)),
        Which::Bye(bye) => return session::bye(bye?),
        Which::Resume(resume) => FriendMessage::Resume(resume_of(resume?)?),
        Which::MoveToken(token) => FriendMessage::MoveToken(Box::new(token_of(token?)?)),
        Which::TokenWanted(counter) => FriendMessage::TokenWanted { counter },
        Which::Inconsistency(message) => {
            FriendMessage::Inconsistency(Box::new(reset::inconsistency_of(message?)?))
        }
        Which::AcceptReset(accept) => FriendMessage::AcceptReset(reset::accept_of(accept?)?),
        Which::Removed(epoch) => FriendMessage::Removed { epoch: epoch_of("removed", epoch)? },
        Which::RequestStateProof(page) => FriendMessage::RequestStateProof { page },
        Which::StateProof(page) => FriendMessage::StateProof(proof::page_of(page?)?),
        Which::Endings(question) => FriendMessage::Endings(endings::question_of(question?)?),
        Which::EndingsAnswer(answer) => FriendMessage::EndingsAnswer(endings::answer_of(answer?)?),
    }))
}

/// The epoch of a channel. A claim above all that can be would leave no epoch to go on with.
pub(super) fn epoch_of(field: &'static str, epoch: u64) -> Decoded<u64> {
    if epoch <= MAX_EPOCH { Ok(epoch) } else { Err(invalid(field, "not below 2^63")) }
}

fn set_resume(value: &Resume, mut resume: resume::Builder<'_>) {
    resume.set_epoch(value.epoch);
    resume.set_counter(value.counter);
    resume.set_token_id(value.token_id.as_bytes());
    resume.set_wants_token(value.wants_token);
}

fn resume_of(resume: resume::Reader<'_>) -> Decoded<Resume> {
    Ok(Resume {
        epoch: epoch_of("epoch", resume.get_epoch())?,
        counter: resume.get_counter(),
        token_id: fixed("tokenId", resume.get_token_id())?,
        wants_token: resume.get_wants_token(),
    })
}

pub(super) fn set_token(value: &MoveToken, mut token: move_token::Builder<'_>) {
    let body = &value.body;
    token.set_epoch(body.epoch);
    token.set_counter(body.counter);
    token.set_prev_token(body.prev_token.as_bytes());
    let terms = token.reborrow().init_currency_terms(count(body.currency_terms.len()));
    set_list(terms, &body.currency_terms, set_terms);
    let ops = token.reborrow().init_currency_ops(count(body.currency_ops.len()));
    set_list(ops, &body.currency_ops, set_ops);
    if let Some(relays) = &body.relays {
        set_list(token.reborrow().init_relays(count(relays.len())), relays, set_server);
    }
    token.set_state_hash(body.state_hash.as_bytes());
    token.set_signature(value.signature.as_bytes());
}

pub(super) fn token_of(token: move_token::Reader<'_>) -> Decoded<MoveToken> {
    let relays = if token.has_relays() {
        Some(list("relays", token.get_relays()?, MAX_RELAYS, server)?)
    } else {
        None
    };
    let terms = token.get_currency_terms()?;
    let currency_terms = list("currencyTerms", terms, MAX_CURRENCIES, terms_of)?;
    check_sorted("currencyTerms", currency_terms.iter().map(|terms| &terms.currency))?;
    let currency_ops = ops_by_currency(token.get_currency_ops()?)?;
    check_sorted("currencyOps", currency_ops.iter().map(|ops| &ops.currency))?;
    let body = MoveTokenBody {
        epoch: epoch_of("epoch", token.get_epoch())?,
        counter: token.get_counter(),
        prev_token: fixed("prevToken", token.get_prev_token())?,
        currency_terms,
        currency_ops,
        relays,
        state_hash: fixed("stateHash", token.get_state_hash())?,
    };
    let canonical = body.canonical_bytes().len();
    if MAX_TOKEN_BYTES < canonical {
        let reason =
            format_args!("{canonical} canonical bytes, at most {MAX_TOKEN_BYTES} are allowed");
        return Err(invalid("moveToken", reason));
    }
    Ok(MoveToken { body, signature: fixed("signature", token.get_signature())? })
}

fn set_terms(value: &CurrencyTerms, mut terms: currency_terms::Builder<'_>) {
    terms.set_currency(value.currency.as_str());
    terms.set_enabled(value.enabled);
    set_balance(value.proposal.opening_balance, terms.reborrow().init_opening_balance());
    set_credits(value.proposal.max_debt, terms.reborrow().init_max_debt());
    terms.set_requests_open(value.proposal.requests_open);
}

fn terms_of(terms: currency_terms::Reader<'_>) -> Decoded<CurrencyTerms> {
    Ok(CurrencyTerms {
        currency: parse("currency", terms.get_currency())?,
        enabled: terms.get_enabled(),
        proposal: Proposal {
            opening_balance: balance("openingBalance", terms.get_opening_balance()?)?,
            max_debt: limit("maxDebt", terms.get_max_debt()?)?,
            requests_open: terms.get_requests_open(),
        },
    })
}

fn set_ops(value: &CurrencyOps, mut ops: currency_ops::Builder<'_>) {
    ops.set_currency(value.currency.as_str());
    set_list(ops.init_ops(count(value.ops.len())), &value.ops, set_op);
}

fn ops_by_currency(
    list: struct_list::Reader<'_, currency_ops::Owned>,
) -> Decoded<Vec<CurrencyOps>> {
    check_count("currencyOps", list.len(), MAX_CURRENCIES)?;
    let mut total = 0_u32;
    let mut by_currency = Vec::new();
    for entry in list.iter() {
        // Counted over all currencies before the operations of this one are decoded. Each list is
        // asked for once, as every look at it counts towards the traversal limit.
        let ops = entry.get_ops()?;
        total = total.saturating_add(ops.len());
        check_count("currencyOps", total, MAX_OPERATIONS)?;
        if ops.is_empty() {
            return Err(invalid("ops", "a currency without operations"));
        }
        by_currency.push(CurrencyOps {
            currency: parse("currency", entry.get_currency())?,
            ops: ops.iter().map(op_of).collect::<Decoded<_>>()?,
        });
    }
    Ok(by_currency)
}

fn set_op(value: &FriendOp, builder: friend_op::Builder<'_>) {
    match value {
        FriendOp::Request(op) => set_request(op, builder.init_request()),
        FriendOp::Response(op) => set_response(op, builder.init_response()),
        FriendOp::Commit(op) => {
            let mut commit = builder.init_commit();
            commit.set_request_id(op.request_id.as_bytes());
            commit.set_src_plain_lock(op.src_plain_lock.as_bytes());
        }
        FriendOp::Collect(op) => {
            let mut collect = builder.init_collect();
            collect.set_request_id(op.request_id.as_bytes());
            collect.set_src_plain_lock(op.src_plain_lock.as_bytes());
            collect.set_dest_plain_lock(op.dest_plain_lock.as_bytes());
        }
        FriendOp::Cancel(op) => {
            let mut cancel = builder.init_cancel();
            cancel.set_request_id(op.request_id.as_bytes());
            cancel.set_reason(schema_reason(op.reason));
            if let Some(reporter) = &op.reporter {
                cancel.set_reporter(reporter.as_bytes());
            }
        }
        FriendOp::Release(op) => builder.init_release().set_request_id(op.request_id.as_bytes()),
    }
}

fn op_of(value: friend_op::Reader<'_>) -> Decoded<FriendOp> {
    use friend_op::Which;
    Ok(match value.which()? {
        Which::Request(request) => FriendOp::Request(request_of(request?)?),
        Which::Response(response) => FriendOp::Response(response_of(response?)?),
        Which::Commit(commit) => {
            let commit = commit?;
            FriendOp::Commit(Commit {
                request_id: fixed("requestId", commit.get_request_id())?,
                src_plain_lock: fixed("srcPlainLock", commit.get_src_plain_lock())?,
            })
        }
        Which::Collect(collect) => {
            let collect = collect?;
            FriendOp::Collect(Collect {
                request_id: fixed("requestId", collect.get_request_id())?,
                src_plain_lock: fixed("srcPlainLock", collect.get_src_plain_lock())?,
                dest_plain_lock: fixed("destPlainLock", collect.get_dest_plain_lock())?,
            })
        }
        Which::Cancel(cancel) => {
            let cancel = cancel?;
            let reporter = cancel.has_reporter().then(|| key("reporter", cancel.get_reporter()));
            FriendOp::Cancel(Cancel {
                request_id: fixed("requestId", cancel.get_request_id())?,
                reason: cancel_reason(cancel.get_reason())?,
                reporter: reporter.transpose()?,
            })
        }
        Which::Release(release) => {
            let request_id = fixed("requestId", release?.get_request_id())?;
            FriendOp::Release(Release { request_id })
        }
    })
}

pub(super) fn set_request(value: &Request, mut request: request::Builder<'_>) {
    request.set_request_id(value.request_id.as_bytes());
    request.set_src_hashed_lock(value.src_hashed_lock.as_bytes());
    set_keys(request.reborrow().init_route(count(value.route.len())), &value.route);
    set_credits(value.dest_payment, request.reborrow().init_dest_payment());
    set_credits(value.total_dest_payment, request.reborrow().init_total_dest_payment());
    request.set_invoice_id(value.invoice_id.as_bytes());
    set_credits(value.left_fees, request.reborrow().init_left_fees());
    request.set_spontaneous(value.spontaneous);
    request.set_hold_seconds(value.hold_seconds);
}

pub(super) fn request_of(request: request::Reader<'_>) -> Decoded<Request> {
    Ok(Request {
        request_id: fixed("requestId", request.get_request_id())?,
        src_hashed_lock: fixed("srcHashedLock", request.get_src_hashed_lock())?,
        route: keys("route", request.get_route()?, MAX_REMAINING_KEYS)?,
        dest_payment: credits(request.get_dest_payment()?),
        total_dest_payment: credits(request.get_total_dest_payment()?),
        invoice_id: fixed("invoiceId", request.get_invoice_id())?,
        left_fees: credits(request.get_left_fees()?),
        spontaneous: request.get_spontaneous(),
        hold_seconds: request.get_hold_seconds(),
    })
}

pub(super) fn set_response(value: &Response, mut response: response::Builder<'_>) {
    response.set_request_id(value.request_id.as_bytes());
    response.set_dest_hashed_lock(value.dest_hashed_lock.as_bytes());
    response.set_is_complete(value.is_complete);
    response.set_response_hash(value.response_hash.as_bytes());
    response.set_signature(value.signature.as_bytes());
}

pub(super) fn response_of(response: response::Reader<'_>) -> Decoded<Response> {
    Ok(Response {
        request_id: fixed("requestId", response.get_request_id())?,
        dest_hashed_lock: fixed("destHashedLock", response.get_dest_hashed_lock())?,
        is_complete: response.get_is_complete(),
        response_hash: fixed("responseHash", response.get_response_hash())?,
        signature: fixed("signature", response.get_signature())?,
    })
}
