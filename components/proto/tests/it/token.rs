//! What a side signed last: round trips, mutated bytes, everything that makes it prove nothing, and the
//! boundary of every limit.

use offset_crypto::HashResult;
use offset_proto::{
    Balance, Credits,
    app::{AppReply, AppRequestId, NodeToApp},
    file::{MAX_TOKEN_FILE_BYTES, OffsetFile as _, PublicFile as _, TokenFile},
    friend::{CurrencyOps, FriendOp, MAX_OPERATIONS, MAX_TOKEN_BYTES, Release},
    proof::BegunEpoch,
    session::{DecodeError, Packet, Wire as _},
    token::*,
};
use proptest::{prelude::*, sample::Index};

use crate::{
    samples::{
        balance,
        friend::{last_terms, last_token, move_token_body, request},
        identity, key,
    },
    support,
};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn round_trip(token in support::last_token()) {
        prop_assert_eq!(LastToken::decode(&token.encode()), Ok(token.clone()));
        let file = TokenFile(token);
        for text in [file.to_toml().to_string(), file.to_line()] {
            prop_assert_eq!(TokenFile::parse(&text), Ok(file.clone()));
        }
    }

    #[test]
    fn mutated_bytes_never_panic(
        token in support::last_token(),
        mutations in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..8),
        cut in any::<Index>(),
    ) {
        let mut bytes = token.encode();
        for (index, byte) in mutations {
            let index = index.index(bytes.len());
            bytes[index] = byte;
            if let Ok(token) = LastToken::decode(&bytes) {
                prop_assert!(token.verify().is_err());
                prop_assert_eq!(LastToken::decode(&token.encode()), Ok(token));
            }
        }
        let _ = LastToken::decode(&bytes[..cut.index(bytes.len())]);
    }
}

#[test]
fn what_was_signed_is_valid_and_nothing_else() {
    for token in [last_token(), last_terms()] {
        assert_eq!(token.verify(), Ok(()));
        let text = TokenFile(token).to_toml().to_string();
        // Any other letter anywhere makes it another text, which is refused in one way or another.
        let (start, _) = text.match_indices('"').nth(2).unwrap();
        for at in start + 1..text.rfind('"').unwrap() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            let valid = TokenFile::parse(&changed).is_ok_and(|file| file.0.verify().is_ok());
            assert!(!valid, "the letter at {at} means nothing");
        }
    }
}

type Change = fn(&mut LastToken);

fn token_of(
    token: &mut LastToken,
) -> (&mut offset_proto::friend::MoveTokenBody, &mut ActiveSummary) {
    let LastSigned::Token { token, state } = &mut token.signed else { panic!() };
    let LineSummary::Active(active) = &mut state[0].line else { panic!() };
    (&mut token.body, active)
}

fn begun_of(token: &mut LastToken) -> &mut BegunEpoch {
    let LastSigned::Reset(begun) = &mut token.signed else { panic!() };
    begun
}

#[test]
fn every_field_of_a_token_is_signed() {
    use InvalidToken::{Signature, State, Turn};
    let cases: [(&str, Change, InvalidToken); 19] = [
        ("signer", |it| it.signer = key(3), Signature),
        ("turned round", |it| std::mem::swap(&mut it.signer, &mut it.receiver), Turn),
        ("counter of the other", |it| token_of(it).0.counter += 1, Turn),
        ("counter", |it| token_of(it).0.counter += 2, Signature),
        ("counter of nobody", |it| token_of(it).0.counter = 0, Turn),
        ("epoch", |it| token_of(it).0.epoch += 1, Signature),
        ("previous token", |it| token_of(it).0.prev_token = [1; 32].into(), Signature),
        ("terms", |it| token_of(it).0.currency_terms.clear(), Signature),
        ("operations", |it| token_of(it).0.currency_ops.clear(), Signature),
        ("relays", |it| token_of(it).0.relays = None, Signature),
        ("state hash", |it| token_of(it).0.state_hash = [1; 32].into(), Signature),
        ("balance", |it| token_of(it).1.balance = balance(-109), State),
        ("frozen", |it| token_of(it).1.pending_debt[0] = Credits(2), State),
        ("limit", |it| token_of(it).1.max_debt[0] = Credits(151), State),
        ("open", |it| token_of(it).1.requests_open = [true, true], State),
        ("pending", |it| token_of(it).1.pending_root = [1; 32].into(), State),
        (
            "currency",
            |it| {
                let LastSigned::Token { state, .. } = &mut it.signed else { panic!() };
                state[0].currency = "EUs".parse().unwrap();
            },
            State,
        ),
        (
            "proposal",
            |it| {
                let LastSigned::Token { state, .. } = &mut it.signed else { panic!() };
                let LineSummary::Proposed { low, high } = &mut state[1].line else { panic!() };
                std::mem::swap(low, high);
            },
            State,
        ),
        (
            "a line left out",
            |it| {
                let LastSigned::Token { state, .. } = &mut it.signed else { panic!() };
                state.pop();
            },
            State,
        ),
    ];
    for (name, change, expected) in cases {
        let mut token = last_token();
        change(&mut token);
        assert_eq!(token.verify(), Err(expected), "{name}");
    }
    // Another receiver: the turn may be another then, and if not the state is.
    let others: Vec<_> = (3..=9).map(key).collect();
    for receiver in others {
        let refused = LastToken { receiver, ..last_token() }.verify();
        assert!(matches!(refused, Err(State | Turn)), "{refused:?}");
    }
}

#[test]
fn every_field_of_terms_and_their_acceptance_is_signed() {
    use InvalidToken::{Acceptance, Terms};
    let cases: [(&str, Change, InvalidToken); 8] = [
        ("signer", |it| it.signer = key(3), Terms),
        ("receiver", |it| it.receiver = key(3), Terms),
        ("turned round", |it| std::mem::swap(&mut it.signer, &mut it.receiver), Terms),
        ("whose terms", |it| begun_of(it).by_asker = false, Terms),
        ("epoch", |it| begun_of(it).terms.body.epoch += 1, Terms),
        ("balance", |it| begun_of(it).terms.body.balances[0].balance = Balance::ZERO, Terms),
        ("accepted terms", |it| begun_of(it).acceptance.reset_token = [1; 32].into(), Acceptance),
        ("acceptance", |it| begun_of(it).acceptance.signature = [1; 64].into(), Acceptance),
    ];
    for (name, change, expected) in cases {
        let mut token = last_terms();
        change(&mut token);
        assert_eq!(token.verify(), Err(expected), "{name}");
    }
    // The one who accepted signed them too.
    let mut accepted = last_terms();
    std::mem::swap(&mut accepted.signer, &mut accepted.receiver);
    begun_of(&mut accepted).by_asker = false;
    assert_eq!(accepted.verify(), Ok(()));
    assert_eq!(accepted.lines(), [("EUR".parse().unwrap(), SignerLine::Begun(balance(70)))]);
    assert_eq!((accepted.position(), accepted.id()), ((3, 0), last_terms().id()));
}

#[test]
fn lines_are_told_as_the_signer_sees_them() {
    let low_signs = key(1) < key(2);
    let lines = last_token().lines();
    let side =
        |max_debt, pending_debt, requests_open| SideLine { max_debt, pending_debt, requests_open };
    let low = side(Credits(150), Credits(1), true);
    let high = side(Credits::LIMIT, crate::samples::large(), false);
    let (signer, receiver) = if low_signs { (low, high) } else { (high, low) };
    let balance = balance(if low_signs { -110 } else { 110 });
    assert_eq!(lines[0].1, SignerLine::Active { balance, signer, receiver });
    let SignerLine::Proposed { signer, receiver } = lines[1].1 else { panic!() };
    assert_eq!((signer.is_some(), receiver.is_some()), (low_signs, !low_signs));
}

#[test]
fn two_tokens_of_one_counter_differ_in_their_id() {
    let (one, mut other) = (last_token(), last_token());
    let LastSigned::Token { token, .. } = &mut other.signed else { panic!() };
    token.body.relays = None;
    **token = token.body.clone().sign(&identity(1));
    assert_eq!((one.verify(), other.verify()), (Ok(()), Ok(())));
    assert_eq!(one.position(), other.position());
    assert_ne!(one.id(), other.id());
}

/// The largest token that can be signed still fits into a file.
#[test]
fn the_largest_tokens_fit_into_a_file() {
    let release = |n: usize| {
        let mut request_id = [0; 16];
        request_id[..8].copy_from_slice(&n.to_be_bytes());
        FriendOp::Release(Release { request_id: request_id.into() })
    };
    let many: Vec<_> = (0..MAX_OPERATIONS).map(release).collect();
    let route: Vec<_> = (10..41).map(key).collect();
    let long = FriendOp::Request(offset_proto::friend::Request { route, ..request() });
    let each = 200 + 31 * 32;
    for ops in [many, vec![long; MAX_TOKEN_BYTES / each]] {
        let mut body = move_token_body(Vec::new());
        body.currency_ops = vec![CurrencyOps { currency: "EUR".parse().unwrap(), ops }];
        let mut largest = last_token();
        let LastSigned::Token { token, .. } = &mut largest.signed else { panic!() };
        **token = body.sign(&identity(1));
        let bytes = largest.encode();
        assert!(bytes.len() <= MAX_LAST_TOKEN_BYTES, "{}", bytes.len());
        assert_eq!(LastToken::decode(&bytes).as_ref(), Ok(&largest));
        let text = TokenFile(largest.clone()).to_toml();
        assert!(text.len() <= MAX_TOKEN_FILE_BYTES);
        assert_eq!(TokenFile::parse(&text), Ok(TokenFile(largest.clone())));
        assert_eq!(TokenFile::parse(&TokenFile(largest.clone()).to_line()), Ok(TokenFile(largest)));
    }
}

#[test]
fn a_page_has_at_most_128_kib_of_at_most_1_mib() {
    let refused = |total_bytes: usize, bytes: usize| {
        let total_bytes = u32::try_from(total_bytes).unwrap();
        let token_id = HashResult::from_bytes([7; 32]);
        let page = TokenPage { token_id, total_bytes, bytes: vec![0; bytes] };
        let result = Ok(AppReply::LastToken(page));
        let response = NodeToApp::Response { request_id: AppRequestId(1), result };
        let frame = NodeToApp::encode(&Packet::Message(response));
        assert!(frame.len() < NodeToApp::PURPOSE.max_frame_bytes());
        match NodeToApp::decode(&frame) {
            Ok(_) => None,
            Err(DecodeError::Invalid { field, .. }) => Some(field),
            Err(DecodeError::Malformed(why)) => panic!("{why}"),
        }
    };
    assert_eq!(refused(MAX_LAST_TOKEN_BYTES, TOKEN_PAGE_BYTES), None);
    assert_eq!(refused(MAX_LAST_TOKEN_BYTES + 1, TOKEN_PAGE_BYTES), Some("totalBytes"));
    assert_eq!(refused(MAX_LAST_TOKEN_BYTES, TOKEN_PAGE_BYTES + 1), Some("bytes"));
}
