//! The messages of `friend.capnp` with which a node asks how its requests ended.

use capnp::data_list;
use offset_crypto::RequestId;

use super::{
    Decoded, check_count, count, fixed, invalid, list, parse,
    reset::{COLLECTED_WORDS, collected_of, set_collected},
    set_list,
};
use crate::{
    friend::{Endings, EndingsAnswer, MAX_ENDINGS},
    schema::friend_capnp::{endings, endings_answer},
};

pub(super) fn words(question: &Endings) -> usize {
    12 + 3 * question.request_ids.len()
}

pub(super) fn answer_words(answer: &EndingsAnswer) -> usize {
    16 + COLLECTED_WORDS * answer.collected.len() + 3 * answer.unknown.len()
}

pub(super) fn set_question(value: &Endings, mut question: endings::Builder<'_>) {
    question.set_currency(value.currency.as_str());
    let ids = question.init_request_ids(count(value.request_ids.len()));
    set_ids(ids, &value.request_ids);
}

pub(super) fn question_of(question: endings::Reader<'_>) -> Decoded<Endings> {
    Ok(Endings {
        currency: parse("currency", question.get_currency())?,
        request_ids: ids("requestIds", question.get_request_ids()?)?,
    })
}

pub(super) fn set_answer(value: &EndingsAnswer, mut answer: endings_answer::Builder<'_>) {
    answer.set_currency(value.currency.as_str());
    let collected = answer.reborrow().init_collected(count(value.collected.len()));
    set_list(collected, &value.collected, set_collected);
    set_ids(answer.init_unknown(count(value.unknown.len())), &value.unknown);
}

pub(super) fn answer_of(answer: endings_answer::Reader<'_>) -> Decoded<EndingsAnswer> {
    let collected = list("collected", answer.get_collected()?, MAX_ENDINGS, collected_of)?;
    let unknown = ids("unknown", answer.get_unknown()?)?;
    if MAX_ENDINGS < collected.len() + unknown.len() {
        return Err(invalid("unknown", "an answer is about at most 256 requests"));
    }
    Ok(EndingsAnswer { currency: parse("currency", answer.get_currency())?, collected, unknown })
}

fn set_ids(mut list: data_list::Builder<'_>, ids: &[RequestId]) {
    for (at, id) in (0..).zip(ids) {
        list.set(at, id.as_bytes());
    }
}

fn ids(field: &'static str, list: data_list::Reader<'_>) -> Decoded<Vec<RequestId>> {
    check_count(field, list.len(), MAX_ENDINGS)?;
    list.iter().map(|id| fixed(field, id)).collect()
}
