//! Frames: round trips of every message, mutated bytes, and the boundary of every limit.

use std::fmt::Debug;

use offset_crypto::{HashResult, Identity, PublicKey, RequestId, SeededRng, Signature};
use offset_proto::{
    Balance, Credits, Currency, Rate, ServerAddress, Text,
    app::{AppEvent, AppReply, AppRequestId, NodeToApp},
    friend::*,
    index::*,
    relay::{CircuitId, ClientToRelay, MAX_DATA_BYTES, RelayToClient},
    report::{
        CurrencyReport, CurrencyStatus, FriendReport, FriendStanding, InconsistentReport,
        LineReport, ProvenReport, TermsReport,
    },
    reset::*,
    session::{Bye, Control, DecodeError, Hello, MAX_FEATURES, Packet, Purpose, Wire},
};
use proptest::{prelude::*, sample::Index, strategy::ValueTree as _};

use crate::{samples, support};

macro_rules! round_trips {
    ($($name:ident: $message:ty;)*) => {$(
        mod $name {
            use super::*;

            proptest! {
                #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

                #[test]
                fn round_trip(packet in support::packet(support::$name())) {
                    assert_round_trip(&packet);
                }

                #[test]
                fn mutated_bytes_never_panic(
                    packet in support::packet(support::$name()),
                    mutations in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..8),
                    cut in any::<Index>(),
                ) {
                    let mut bytes = <$message>::encode(&packet);
                    for (index, byte) in mutations {
                        let index = index.index(bytes.len());
                        bytes[index] = byte;
                        // What decodes is a valid message, so it must survive being sent on.
                        if let Ok(packet) = <$message>::decode(&bytes) {
                            assert_round_trip(&packet);
                        }
                    }
                    let _ = <$message>::decode(&bytes[..cut.index(bytes.len())]);
                }
            }
        }
    )*};
}

round_trips! {
    client_to_relay: ClientToRelay;
    relay_to_client: RelayToClient;
    friend_message: FriendMessage;
    client_to_index: ClientToIndex;
    index_to_client: IndexToClient;
    index_peer_message: IndexPeerMessage;
    app_to_node: offset_proto::app::AppToNode;
    node_to_app: NodeToApp;
}

/// `OFFSET_SEED_CORPUS=fuzz/corpus cargo test -p offset-proto seeds` writes messages of every kind for
/// the fuzzers to begin with.
#[test]
fn seeds_for_fuzzers() {
    write_seeds::<offset_proto::app::AppToNode>(
        "app_to_node",
        &support::packet(support::app_to_node()),
    );
    write_seeds::<ClientToRelay>("client_to_relay", &support::packet(support::client_to_relay()));
    write_seeds::<RelayToClient>("relay_to_client", &support::packet(support::relay_to_client()));
    write_seeds::<FriendMessage>("friend_message", &support::packet(support::friend_message()));
    write_seeds::<ClientToIndex>("client_to_index", &support::packet(support::client_to_index()));
    write_seeds::<IndexToClient>("index_to_client", &support::packet(support::index_to_client()));
    write_seeds::<IndexPeerMessage>("index_peer", &support::packet(support::index_peer_message()));
    write_seeds::<NodeToApp>("node_to_app", &support::packet(support::node_to_app()));
}

fn write_seeds<M: Wire + Debug + Clone>(target: &str, packets: &impl Strategy<Value = Packet<M>>) {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let directory = std::env::var_os("OFFSET_SEED_CORPUS").map(std::path::PathBuf::from);
    for n in 0..100 {
        let bytes = M::encode(&packets.new_tree(&mut runner).unwrap().current());
        assert!(M::decode(&bytes).is_ok());
        // Long ones teach a fuzzer nothing that short ones do not.
        if let Some(directory) = directory.as_ref().filter(|_| bytes.len() <= 4_096) {
            let directory = directory.join(target);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join(format!("seed-{n:02}")), bytes).unwrap();
        }
    }
}

fn assert_round_trip<M: Wire + Debug + PartialEq>(packet: &Packet<M>) {
    let bytes = M::encode(packet);
    // One segment: the segment table says "1 - 1 more" and the length of the rest.
    assert_eq!(bytes[..4], [0; 4]);
    assert_eq!(M::decode(&bytes).as_ref(), Ok(packet));
}

/// The field that a packet of ours is refused for.
fn refused<M: Wire + Debug>(message: M) -> &'static str {
    match M::decode(&M::encode(&Packet::Message(message))).unwrap_err() {
        DecodeError::Invalid { field, .. } => field,
        DecodeError::Malformed(reason) => panic!("malformed: {reason}"),
    }
}

fn accepted<M: Wire + Debug + PartialEq>(message: M) {
    let packet = Packet::Message(message);
    assert_round_trip(&packet);
    let frame = M::encode(&packet).len();
    assert!(frame <= M::PURPOSE.max_frame_bytes(), "{frame} bytes do not fit a frame");
}

fn key(number: u64) -> PublicKey {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    PublicKey::from_bytes(bytes).unwrap()
}

fn some_keys(count: u64) -> Vec<PublicKey> {
    (0..count).map(key).collect()
}

fn relays(count: u64) -> Vec<ServerAddress> {
    let address = format!("{}:65535", "h".repeat(250)).parse().unwrap();
    let server = |public_key| ServerAddress { public_key, address: Clone::clone(&address) };
    some_keys(count).into_iter().map(server).collect()
}

fn token(change: impl FnOnce(&mut MoveTokenBody)) -> FriendMessage {
    let hash = HashResult::from_bytes([1; 32]);
    let mut body = MoveTokenBody {
        epoch: 0,
        counter: 1,
        prev_token: hash,
        currency_terms: Vec::new(),
        currency_ops: Vec::new(),
        relays: None,
        state_hash: hash,
    };
    change(&mut body);
    FriendMessage::MoveToken(Box::new(MoveToken { body, signature: Signature::from([2; 64]) }))
}

#[test]
fn an_epoch_is_below_2_to_the_63() {
    let all = |epoch| {
        let token_id = HashResult::from_bytes([1; 32]);
        let body = ResetTermsBody { epoch, ..ResetTermsBody::default() };
        let terms = ResetTerms { body, signature: Signature::from([2; 64]) };
        [
            FriendMessage::Resume(Resume { epoch, counter: 1, token_id, wants_token: true }),
            FriendMessage::Removed { epoch },
            token(|body| body.epoch = epoch),
            FriendMessage::Inconsistency(Box::new(Inconsistency { terms, collected: Vec::new() })),
        ]
    };
    for message in all(MAX_EPOCH) {
        accepted(message);
    }
    for epoch in [MAX_EPOCH + 1, u64::MAX] {
        let fields = all(epoch).map(refused);
        assert_eq!(fields, ["epoch", "removed", "epoch", "epoch"]);
    }
}

fn terms(currency: &str) -> CurrencyTerms {
    let proposal = Proposal::default();
    CurrencyTerms { currency: currency.parse().unwrap(), enabled: true, proposal }
}

fn ops(currency: &str, ops: Vec<FriendOp>) -> CurrencyOps {
    CurrencyOps { currency: currency.parse().unwrap(), ops }
}

fn release() -> FriendOp {
    FriendOp::Release(Release { request_id: [3; 16].into() })
}

fn request(route: Vec<PublicKey>) -> FriendOp {
    FriendOp::Request(Request {
        request_id: [1; 16].into(),
        src_hashed_lock: [2; 32].into(),
        route,
        dest_payment: Credits(u128::MAX),
        total_dest_payment: Credits(u128::MAX),
        invoice_id: [3; 32].into(),
        left_fees: Credits(u128::MAX),
        spontaneous: true,
        hold_seconds: u64::MAX,
    })
}

#[test]
fn features_are_few_sorted_and_distinct() {
    let hello = |features: Vec<Text>| -> Packet<ClientToRelay> {
        let purpose = Purpose::Relay;
        Packet::Control(Control::Hello(Hello { protocol_version: 1, purpose, features }))
    };
    let named = |count| (0..count).map(|n| format!("f{n:03}").parse().unwrap()).collect();
    assert_round_trip(&hello(named(MAX_FEATURES)));
    let unsorted = vec!["b".parse().unwrap(), "a".parse().unwrap()];
    let twice = vec!["a".parse().unwrap(), "a".parse().unwrap()];
    for bad in [named(MAX_FEATURES + 1), unsorted, twice] {
        let error = ClientToRelay::decode(&ClientToRelay::encode(&hello(bad))).unwrap_err();
        assert!(matches!(error, DecodeError::Invalid { field: "features", .. }), "{error}");
    }
}

#[test]
fn data_fits_its_limit_and_the_frame() {
    let data = |length| ClientToRelay::Data { circuit: CircuitId(1), bytes: vec![9; length] };
    accepted(data(MAX_DATA_BYTES));
    assert_eq!(refused(data(MAX_DATA_BYTES + 1)), "bytes");
    let back = |length| RelayToClient::Data { circuit: CircuitId(2), bytes: vec![9; length] };
    accepted(back(MAX_DATA_BYTES));
    assert_eq!(refused(back(MAX_DATA_BYTES + 1)), "bytes");
}

#[test]
fn token_currencies_are_sorted_and_few() {
    let many = |count| (0..count).map(|n| format!("c{n:03}")).collect::<Vec<_>>();
    let terms_of =
        |count| token(|body| body.currency_terms = many(count).iter().map(|c| terms(c)).collect());
    accepted(terms_of(MAX_CURRENCIES));
    assert_eq!(refused(terms_of(MAX_CURRENCIES + 1)), "currencyTerms");
    let ops_of = |count| {
        let entry = |c: &String| ops(c, vec![release()]);
        token(|body| body.currency_ops = many(count).iter().map(entry).collect())
    };
    accepted(ops_of(MAX_CURRENCIES));
    assert_eq!(refused(ops_of(MAX_CURRENCIES + 1)), "currencyOps");
    for (first, second) in [("b", "a"), ("a", "a")] {
        let bad = token(|body| body.currency_terms = vec![terms(first), terms(second)]);
        assert_eq!(refused(bad), "currencyTerms");
        let entries = vec![ops(first, vec![release()]), ops(second, vec![release()])];
        assert_eq!(refused(token(|body| body.currency_ops = entries)), "currencyOps");
    }
    assert_eq!(refused(token(|body| body.currency_ops = vec![ops("a", Vec::new())])), "ops");
}

#[test]
fn token_operations_are_counted_over_all_currencies() {
    let split = |first, second| {
        token(|body| {
            body.currency_ops =
                vec![ops("a", vec![release(); first]), ops("b", vec![release(); second])];
        })
    };
    accepted(split(MAX_OPERATIONS / 2, MAX_OPERATIONS / 2));
    assert_eq!(refused(split(MAX_OPERATIONS / 2, MAX_OPERATIONS / 2 + 1)), "currencyOps");
    assert_eq!(refused(split(MAX_OPERATIONS + 1, 1)), "currencyOps");
}

#[test]
fn the_largest_tokens_fit_a_frame() {
    // The operations whose wire form is largest beside their canonical form, and the largest.
    for op in [request(Vec::new()), request(some_keys(31))] {
        let size = |count: usize| {
            use offset_proto::canonical::Canonical as _;
            let message = token(|body| body.currency_ops = vec![ops("a", vec![op.clone(); count])]);
            let FriendMessage::MoveToken(token) = &message else { unreachable!() };
            (token.body.canonical_bytes().len(), message)
        };
        let one = size(2).0 - size(1).0;
        let most = (MAX_TOKEN_BYTES - size(0).0 - 32) / one;
        accepted(size(most).1);
        assert_eq!(refused(size(most + 1).1), "moveToken");
    }
}

#[test]
fn routes_and_relays_have_limits() {
    let routed = |route| token(|body| body.currency_ops = vec![ops("a", vec![request(route)])]);
    accepted(routed(some_keys(31)));
    assert_eq!(refused(routed(some_keys(32))), "route");
    assert_eq!(refused(routed(vec![key(1), key(2), key(1)])), "route");
    accepted(token(|body| body.relays = Some(relays(16))));
    accepted(token(|body| body.relays = Some(Vec::new())));
    assert_eq!(refused(token(|body| body.relays = Some(relays(17)))), "relays");
}

#[test]
fn limits_are_below_two_to_the_127() {
    let limited = |max_debt| {
        let mut terms = terms("a");
        terms.proposal.max_debt = max_debt;
        terms.proposal.opening_balance = Balance::new(-i128::MAX).unwrap();
        token(|body| body.currency_terms = vec![terms])
    };
    accepted(limited(Credits::LIMIT));
    assert_eq!(refused(limited(Credits(Credits::LIMIT.0 + 1))), "maxDebt");
}

fn inconsistency(change: impl FnOnce(&mut Inconsistency)) -> FriendMessage {
    let body = ResetTermsBody { epoch: 1, ..ResetTermsBody::default() };
    let terms = ResetTerms { body, signature: Signature::from([2; 64]) };
    let mut message = Inconsistency { terms, collected: Vec::new() };
    change(&mut message);
    FriendMessage::Inconsistency(Box::new(message))
}

#[test]
fn terms_of_a_reset_have_limits() {
    let rows = |names: Vec<String>| {
        let row = |name: String| ResetBalance {
            currency: name.parse().unwrap(),
            balance: Balance::new(-i128::MAX).unwrap(),
        };
        inconsistency(|message| message.terms.body.balances = names.into_iter().map(row).collect())
    };
    let many = |count| rows((0..count).map(|n| format!("a-longer-name{n:03}")).collect());
    accepted(many(MAX_CURRENCIES));
    assert_eq!(refused(many(MAX_CURRENCIES + 1)), "balances");
    assert_eq!(refused(rows(vec!["b".to_owned(), "a".to_owned()])), "balances");
    assert_eq!(refused(rows(vec!["a".to_owned(), "a".to_owned()])), "balances");

    let collected = |count| inconsistency(|message| message.collected = vec![entry(); count]);
    accepted(collected(MAX_COLLECTED));
    assert_eq!(refused(collected(MAX_COLLECTED + 1)), "collected");
}

fn entry() -> Collected {
    Collected {
        currency: "a-longer-name123".parse().unwrap(),
        request_id: [1; 16].into(),
        dest_hashed_lock: [2; 32].into(),
        is_complete: true,
        response_hash: [3; 32].into(),
        signature: [4; 64].into(),
        src_plain_lock: [5; 32].into(),
        dest_plain_lock: [6; 32].into(),
    }
}

#[test]
fn questions_about_endings_have_limits() {
    let currency: Currency = "a-longer-name123".parse().unwrap();
    let ids = |count| vec![RequestId::from_bytes([7; 16]); count];
    let question = |count| {
        FriendMessage::Endings(Endings { currency: currency.clone(), request_ids: ids(count) })
    };
    accepted(question(MAX_ENDINGS));
    assert_eq!(refused(question(MAX_ENDINGS + 1)), "requestIds");
    let answer = |collected, unknown| {
        FriendMessage::EndingsAnswer(EndingsAnswer {
            currency: currency.clone(),
            collected: vec![entry(); collected],
            unknown: ids(unknown),
        })
    };
    accepted(answer(MAX_ENDINGS, 0));
    accepted(answer(1, MAX_ENDINGS - 1));
    assert_eq!(refused(answer(MAX_ENDINGS + 1, 0)), "collected");
    assert_eq!(refused(answer(0, MAX_ENDINGS + 1)), "unknown");
    assert_eq!(refused(answer(1, MAX_ENDINGS)), "unknown");
}

#[test]
fn the_lowest_balance_is_refused() {
    // -2^127 cannot be built, so it is made of the bytes of -(2^127-1).
    let mut terms = terms("a");
    terms.proposal.opening_balance = Balance::new(-i128::MAX).unwrap();
    let packet = Packet::Message(token(|body| body.currency_terms = vec![terms]));
    let mut bytes = FriendMessage::encode(&packet);
    let lowest = [0, 0, 0, 0, 0, 0, 0, 0x80, 1, 0, 0, 0, 0, 0, 0, 0];
    let at = bytes.windows(16).position(|window| window == lowest).unwrap();
    bytes[at + 8] = 0;
    let error = FriendMessage::decode(&bytes).unwrap_err();
    assert!(matches!(error, DecodeError::Invalid { field: "openingBalance", .. }), "{error}");
}

fn update(kind: UpdateKind) -> SignedUpdate {
    let mut rng = SeededRng::new(1);
    let node = Identity::random(&mut rng);
    let body = UpdateBody {
        node: node.public_key(),
        home_server: key(1),
        epoch: 1,
        counter: 2,
        time: offset_proto::Timestamp(3),
        kind,
    };
    body.sign(&node)
}

#[test]
fn index_lists_have_limits() {
    let line = IndexLine {
        send_capacity: Credits(u128::MAX),
        recv_capacity: Credits(u128::MAX),
        rate: Rate { ppm: u32::MAX, add: u64::MAX },
    };
    let currency: Currency = "0123456789abcdef".parse().unwrap();
    let set = |n| UpdateMutation::Set { friend: key(n), currency: currency.clone(), line };
    let mutations = |count: usize| (0..).take(count).map(set).collect::<Vec<_>>();
    let sent = |kind| ClientToIndex::Update(Box::new(update(kind)));
    accepted(sent(UpdateKind::Snapshot(mutations(MAX_MUTATIONS))));
    assert_eq!(refused(sent(UpdateKind::Snapshot(mutations(MAX_MUTATIONS + 1)))), "snapshot");
    accepted(sent(UpdateKind::Delta(mutations(MAX_MUTATIONS))));
    assert_eq!(refused(sent(UpdateKind::Delta(mutations(MAX_MUTATIONS + 1)))), "delta");

    let query = |edges: usize, max_parts| ClientToIndex::RequestRoutes {
        request_id: RouteRequestId(1),
        query: RouteQuery {
            currency: currency.clone(),
            amount: Credits(1),
            source: key(1),
            destination: key(2),
            exclude: vec![Edge { from: key(3), to: key(4) }; edges],
            max_parts,
        },
    };
    accepted(query(MAX_EXCLUDED_EDGES, 1));
    accepted(query(0, u8::try_from(MAX_PARTS).unwrap()));
    assert_eq!(refused(query(MAX_EXCLUDED_EDGES + 1, 1)), "exclude");
    assert_eq!(refused(query(0, 0)), "maxParts");
    assert_eq!(refused(query(0, u8::try_from(MAX_PARTS).unwrap() + 1)), "maxParts");

    let cycles = |first: Vec<PublicKey>, last: Vec<PublicKey>, edges: usize| {
        let ends = |keys: Vec<PublicKey>| {
            keys.into_iter().map(|friend| CycleEnd { friend, most: Credits(1) }).collect()
        };
        ClientToIndex::RequestCycles {
            request_id: RouteRequestId(1),
            query: CycleQuery {
                currency: currency.clone(),
                node: key(1_000),
                first: ends(first),
                last: ends(last),
                max_fee_ppm: 1,
                exclude: vec![Edge { from: key(3), to: key(4) }; edges],
            },
        }
    };
    let most = u64::try_from(MAX_CYCLE_ENDS).unwrap();
    let others = |count: u64| (0..count).map(|n| key(2_000 + n)).collect::<Vec<_>>();
    accepted(cycles(some_keys(most), others(most), MAX_EXCLUDED_EDGES));
    assert_eq!(refused(cycles(some_keys(most + 1), vec![], 0)), "first");
    assert_eq!(refused(cycles(vec![], some_keys(most + 1), 0)), "last");
    assert_eq!(refused(cycles(vec![], vec![], MAX_EXCLUDED_EDGES + 1)), "exclude");
    assert_eq!(refused(cycles(vec![key(1), key(1)], vec![], 0)), "first, last");
    assert_eq!(refused(cycles(vec![key(1)], vec![key(1)], 0)), "first, last");
    assert_eq!(refused(cycles(vec![key(1_000)], vec![], 0)), "first, last");

    let digest = |nodes: Vec<PublicKey>| {
        let entry = |node| DigestEntry { node, epoch: 1, counter: 1 };
        IndexPeerMessage::Digest { entries: nodes.into_iter().map(entry).collect(), last: true }
    };
    let most = u64::try_from(MAX_DIGEST_ENTRIES).unwrap();
    accepted(digest(some_keys(most)));
    assert_eq!(refused(digest(some_keys(most + 1))), "entries");
    assert_eq!(refused(digest(vec![key(2), key(1)])), "entries");
    assert_eq!(refused(digest(vec![key(1), key(1)])), "entries");
}

#[test]
fn routes_of_an_answer_have_limits() {
    let route = |keys| Route { keys, amount: Credits(1), fee: Credits(1) };
    let answer = |multis: usize, routes: usize, keys: Vec<PublicKey>| IndexToClient::Routes {
        request_id: RouteRequestId(1),
        multi_routes: vec![
            MultiRoute {
                routes: vec![route(keys); routes],
                total_fee: Credits(1),
                age_ms: 1
            };
            multis
        ],
        cut_short: true,
    };
    accepted(answer(MAX_MULTI_ROUTES, MAX_PARTS, some_keys(32)));
    accepted(answer(1, 1, some_keys(2)));
    assert_eq!(refused(answer(MAX_MULTI_ROUTES + 1, 1, some_keys(2))), "multiRoutes");
    assert_eq!(refused(answer(1, MAX_PARTS + 1, some_keys(2))), "routes");
    assert_eq!(refused(answer(1, 0, some_keys(2))), "routes");
    assert_eq!(refused(answer(1, 1, some_keys(33))), "keys");
    assert_eq!(refused(answer(1, 1, some_keys(1))), "keys");
    assert_eq!(refused(answer(1, 1, vec![key(1), key(2), key(1)])), "keys");
    let IndexToClient::Routes { multi_routes, .. } = answer(MAX_MULTI_ROUTES + 1, 1, some_keys(2))
    else {
        unreachable!()
    };
    let reply = NodeToApp::Response {
        request_id: AppRequestId(1),
        result: Ok(AppReply::Routes(multi_routes)),
    };
    assert_eq!(refused(reply), "multiRoutes");
}

#[test]
fn a_frame_is_one_message_and_nothing_else() {
    let bye = Control::Bye(Bye { reason: "a reason".parse().unwrap() });
    let bytes = FriendMessage::encode(&Packet::Control(bye));
    let mut longer = bytes.clone();
    longer.extend_from_slice(&[0; 8]);
    for bad in [&longer[..], &bytes[..bytes.len() - 8], &[], &[0; 4], &[0xff; 64]] {
        let error = FriendMessage::decode(bad).unwrap_err();
        assert!(matches!(error, DecodeError::Malformed(_)), "{error}");
    }
    // A message that an older schema would call empty: its root is a null pointer, a `hello` of no
    // known purpose.
    let empty = [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let error = FriendMessage::decode(&empty).unwrap_err();
    assert!(matches!(error, DecodeError::Invalid { field: "purpose", .. }), "{error}");
}

#[test]
fn a_claimed_list_is_counted_before_it_is_walked() {
    // A list of 2^29-1 elements of no size in a frame of a few words.
    let mut bytes = FriendMessage::encode(&Packet::Message(token(|body| {
        body.currency_ops = vec![ops("a", vec![release()])];
    })));
    let tags: Vec<usize> = (8..bytes.len()).step_by(8).collect();
    for at in tags {
        let saved: [u8; 8] = bytes[at..at + 8].try_into().unwrap();
        bytes[at..at + 8].copy_from_slice(&[0xfc, 0xff, 0xff, 0x7f, 0, 0, 0, 0]);
        let _ = FriendMessage::decode(&bytes);
        bytes[at..at + 8].copy_from_slice(&saved);
    }
}

/// Pages of friends are filled by [`FriendReport::size`], so that must never be too low.
#[test]
fn a_friend_takes_no_more_than_its_size() {
    let proposal =
        Proposal { opening_balance: Balance::ZERO, max_debt: Credits::LIMIT, requests_open: true };
    let text = |length: usize| "x".repeat(length);
    let address = format!("{}:65535", text(250)).parse().unwrap();
    let relay = ServerAddress { public_key: samples::key(1), address };
    let statuses = [
        CurrencyStatus::Active(LineReport::default()),
        CurrencyStatus::Proposed { local: Some(proposal), remote: Some(proposal) },
    ];
    let terms = |count: usize| TermsReport {
        reset_token: HashResult::from_bytes([1; 32]),
        epoch: 1,
        pending: true,
        balances: (0..count)
            .map(|n| ResetBalance {
                currency: format!("{n:016}").parse().unwrap(),
                balance: Balance::ZERO,
            })
            .collect(),
    };
    let inconsistent = |count: usize| InconsistentReport {
        reason: Text::cut(&text(256)),
        local: terms(count),
        remote: Some(terms(count)),
        accepted: true,
        proven: (0..count)
            .map(|n| ProvenReport {
                currency: format!("{n:016}").parse().unwrap(),
                local: Credits::LIMIT,
                remote: Credits::LIMIT,
            })
            .collect(),
    };
    for (relays, currencies) in [(0, 0), (1, 1), (16, 64)] {
        for (status, standing) in statuses.iter().zip([
            FriendStanding::Consistent,
            FriendStanding::Inconsistent(Box::new(inconsistent(currencies))),
        ]) {
            let currency = |n: usize| CurrencyReport {
                currency: format!("{n:016}").parse().unwrap(),
                rate: Rate::default(),
                status: status.clone(),
            };
            let friend = FriendReport {
                name: text(64).parse().unwrap(),
                public_key: samples::key(2),
                relays: vec![relay.clone(); relays],
                enabled: true,
                online: true,
                standing: standing.clone(),
                recovery: Default::default(),
                last_error: Text::cut(&text(256)),
                currencies: (0..currencies).map(currency).collect(),
            };
            let length = |friends: Vec<FriendReport>| {
                let event = AppEvent::Friends { friends, more: true };
                NodeToApp::encode(&Packet::Message(NodeToApp::Event(event))).len()
            };
            let takes = length(vec![friend.clone(); 2]) - length(vec![friend.clone()]);
            assert!(takes <= friend.size(), "{takes} above {}", friend.size());
            assert!(friend.size() < 2 * takes, "{takes} far below {}", friend.size());
        }
    }
}

#[test]
fn a_cycle_ends_where_it_began_and_names_nobody_else_twice() {
    let answer = |count: usize, keys: Vec<PublicKey>| {
        let route = Route { keys, amount: Credits(1), fee: Credits(1) };
        IndexToClient::Cycles {
            request_id: RouteRequestId(1),
            cycles: vec![Cycle { route, age_ms: 1 }; count],
            cut_short: false,
        }
    };
    let closed = |count: u64| {
        let mut keys = some_keys(count);
        keys.push(keys[0]);
        keys
    };
    accepted(answer(MAX_CYCLES, closed(31)));
    accepted(answer(1, closed(3)));
    assert_eq!(refused(answer(MAX_CYCLES + 1, closed(3))), "cycles");
    assert_eq!(refused(answer(1, closed(32))), "keys");
    assert_eq!(refused(answer(1, closed(2))), "keys");
    assert_eq!(refused(answer(1, vec![])), "keys");
    assert_eq!(refused(answer(1, some_keys(4))), "keys");
    let [a, b, c] = [key(1), key(2), key(3)];
    assert_eq!(refused(answer(1, vec![a, b, b, c, a])), "keys");
    assert_eq!(refused(answer(1, vec![a, b, a, c, a])), "keys");
}
