//! Messages of index servers.

use super::*;

pub(crate) fn client_to_index() -> BoxedStrategy<ClientToIndex> {
    let query = (currency(), credits(), key(), key(), vec(edge(), 0..4), 1..=16_u8).prop_map(
        |(currency, amount, source, destination, exclude, max_parts)| RouteQuery {
            currency,
            amount,
            source,
            destination,
            exclude,
            max_parts,
        },
    );
    prop_oneof![
        update().prop_map(|update| ClientToIndex::Update(Box::new(update))),
        (any::<u64>(), query).prop_map(|(id, query)| ClientToIndex::RequestRoutes {
            request_id: RouteRequestId(id),
            query
        }),
        (any::<u64>(), cycle_query()).prop_map(|(id, query)| ClientToIndex::RequestCycles {
            request_id: RouteRequestId(id),
            query
        }),
    ]
    .boxed()
}

pub(crate) fn index_to_client() -> BoxedStrategy<IndexToClient> {
    prop_oneof![
        (any::<u64>(), any::<u64>())
            .prop_map(|(epoch, counter)| IndexToClient::Behind { epoch, counter }),
        Just(IndexToClient::SnapshotWanted),
        (any::<u64>(), multi_routes(), any::<bool>()).prop_map(|(id, multi_routes, cut_short)| {
            IndexToClient::Routes { request_id: RouteRequestId(id), multi_routes, cut_short }
        }),
        (any::<u64>(), text()).prop_map(|(id, reason)| IndexToClient::Refused {
            request_id: RouteRequestId(id),
            reason
        }),
        (any::<u64>(), vec(cycle(), 0..=8), any::<bool>()).prop_map(|(id, cycles, cut_short)| {
            IndexToClient::Cycles { request_id: RouteRequestId(id), cycles, cut_short }
        }),
    ]
    .boxed()
}

pub(super) fn cycle_query() -> impl Strategy<Value = CycleQuery> {
    (currency(), keys(1..=9), vec(credits(), 8), any::<u32>(), vec(edge(), 0..4)).prop_map(
        |(currency, keys, most, max_fee_ppm, exclude)| {
            let ends = keys[1..].iter().zip(most);
            let mut first: Vec<CycleEnd> =
                ends.map(|(friend, most)| CycleEnd { friend: *friend, most }).collect();
            let last = first.split_off(first.len() / 2);
            CycleQuery { currency, node: keys[0], first, last, max_fee_ppm, exclude }
        },
    )
}

pub(super) fn cycle() -> impl Strategy<Value = Cycle> {
    (keys(3..=31), credits(), credits(), any::<u64>()).prop_map(
        |(mut keys, amount, fee, age_ms)| {
            keys.push(keys[0]);
            Cycle { route: Route { keys, amount, fee }, age_ms }
        },
    )
}

pub(crate) fn index_peer_message() -> BoxedStrategy<IndexPeerMessage> {
    let digest = (btree_map(key(), (any::<u64>(), any::<u64>()), 0..5), any::<bool>()).prop_map(
        |(entries, last)| {
            let entries = entries
                .into_iter()
                .map(|(node, (epoch, counter))| DigestEntry { node, epoch, counter })
                .collect();
            IndexPeerMessage::Digest { entries, last }
        },
    );
    prop_oneof![
        digest,
        update().prop_map(|update| IndexPeerMessage::Update(Box::new(update))),
        key().prop_map(|node| IndexPeerMessage::Wanted { node }),
        (key(), any::<u64>(), any::<u64>(), signature()).prop_map(
            |(node, epoch, counter, signature)| IndexPeerMessage::NodeDown(NodeDown {
                node,
                epoch,
                counter,
                signature
            })
        ),
    ]
    .boxed()
}

pub(crate) fn update() -> impl Strategy<Value = SignedUpdate> {
    let set = (key(), currency(), credits(), credits(), rate()).prop_map(
        |(friend, currency, send_capacity, recv_capacity, rate)| UpdateMutation::Set {
            friend,
            currency,
            line: IndexLine { send_capacity, recv_capacity, rate },
        },
    );
    let remove = (key(), currency())
        .prop_map(|(friend, currency)| UpdateMutation::Remove { friend, currency });
    let mutations = vec(prop_oneof![set, remove], 0..6);
    let kind = prop_oneof![
        mutations.clone().prop_map(UpdateKind::Snapshot),
        mutations.prop_map(UpdateKind::Delta),
        hash().prop_map(|table| UpdateKind::Alive { table }),
    ];
    (key(), key(), any::<u64>(), any::<u64>(), any::<u64>(), kind, signature()).prop_map(
        |(node, home_server, epoch, counter, time, kind, signature)| SignedUpdate {
            body: UpdateBody { node, home_server, epoch, counter, time: Timestamp(time), kind },
            signature,
        },
    )
}

pub(super) fn multi_routes() -> impl Strategy<Value = Vec<MultiRoute>> {
    let route = (keys(2..=32), credits(), credits()).prop_map(|(keys, amount, fee)| Route {
        keys,
        amount,
        fee,
    });
    let multi = (vec(route, 1..4), credits(), any::<u64>())
        .prop_map(|(routes, total_fee, age_ms)| MultiRoute { routes, total_fee, age_ms });
    vec(multi, 0..4)
}
