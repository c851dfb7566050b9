//! Between nodes and index servers, and between index servers.

use offset_crypto::HashResult;
use offset_proto::{
    Credits, Rate, Timestamp,
    index::{
        ClientToIndex, Cycle, CycleEnd, CycleQuery, DigestEntry, Edge, IndexLine, IndexPeerMessage,
        IndexToClient, MultiRoute, NodeDown, Route, RouteQuery, RouteRequestId, SignedUpdate,
        UpdateBody, UpdateKind, UpdateMutation,
    },
};

use super::{currency, identity, key, large, one_of_each, text};

pub(crate) fn from_clients() -> Vec<(String, ClientToIndex)> {
    let request_id = RouteRequestId(9);
    let route_query = RouteQuery {
        currency: currency(),
        amount: large(),
        source: key(1),
        destination: key(2),
        exclude: vec![Edge { from: key(3), to: key(4) }],
        max_parts: 8,
    };
    let cycle_query = CycleQuery {
        currency: currency(),
        node: key(1),
        first: vec![CycleEnd { friend: key(2), most: Credits(40) }],
        last: vec![CycleEnd { friend: key(3), most: Credits(30) }],
        max_fee_ppm: 10_000,
        exclude: Vec::new(),
    };
    let updates = updates()
        .into_iter()
        .map(|(name, update)| (format!("update/{name}"), ClientToIndex::Update(Box::new(update))));
    let [(_, delta), ..] = &self::updates()[..] else { panic!("there are updates") };
    let messages = one_of_each!(ClientToIndex {
        "update": ClientToIndex::Update(_) => ClientToIndex::Update(Box::new(delta.clone())),
        "requestRoutes": ClientToIndex::RequestRoutes { .. } => ClientToIndex::RequestRoutes { request_id, query: route_query },
        "requestCycles": ClientToIndex::RequestCycles { .. } => ClientToIndex::RequestCycles { request_id, query: cycle_query },
    });
    messages.into_iter().map(|(name, message)| (name.to_owned(), message)).chain(updates).collect()
}

pub(crate) fn to_clients() -> Vec<(&'static str, IndexToClient)> {
    use IndexToClient as M;
    let request_id = RouteRequestId(9);
    let keys = vec![key(1), key(2), key(3), key(1)];
    let route = Route { keys, amount: Credits(30), fee: Credits(1) };
    let cycles = vec![Cycle { route, age_ms: 1_500 }];
    one_of_each!(IndexToClient {
        "behind": M::Behind { .. } => M::Behind { epoch: 1_700_000_000, counter: 12 },
        "snapshotWanted": M::SnapshotWanted => M::SnapshotWanted,
        "routes": M::Routes { .. } => M::Routes { request_id, multi_routes: vec![multi_route()], cut_short: false },
        "refused": M::Refused { .. } => M::Refused { request_id, reason: text("too many requests") },
        "cycles": M::Cycles { .. } => M::Cycles { request_id, cycles, cut_short: false },
    })
}

pub(crate) fn between_servers() -> Vec<(&'static str, IndexPeerMessage)> {
    use IndexPeerMessage as M;
    let entries = vec![DigestEntry { node: key(1), epoch: 1_700_000_000, counter: 12 }];
    let (_, update) = updates().remove(0);
    one_of_each!(IndexPeerMessage {
        "digest": M::Digest { .. } => M::Digest { entries, last: true },
        "update": M::Update(_) => M::Update(Box::new(update)),
        "wanted": M::Wanted { .. } => M::Wanted { node: key(1) },
        "nodeDown": M::NodeDown(_) => M::NodeDown(node_down()),
    })
}

/// The node 1 says, the server 6 is its home.
pub(crate) fn updates() -> Vec<(&'static str, SignedUpdate)> {
    bodies().into_iter().map(|(name, body)| (name, body.sign(&identity(1)))).collect()
}

pub(crate) fn bodies() -> Vec<(&'static str, UpdateBody)> {
    let line = IndexLine {
        send_capacity: large(),
        recv_capacity: Credits(9),
        rate: Rate { ppm: 5_000, add: 1 },
    };
    let mutations = || {
        let all = one_of_each!(UpdateMutation {
            "set": UpdateMutation::Set { .. } => UpdateMutation::Set { friend: key(2), currency: currency(), line },
            "remove": UpdateMutation::Remove { .. } => UpdateMutation::Remove { friend: key(3), currency: currency() },
        });
        all.into_iter().map(|(_, mutation)| mutation).collect::<Vec<_>>()
    };
    let table = HashResult::from_bytes([0x51; 32]);
    let kinds = one_of_each!(UpdateKind {
        "snapshot": UpdateKind::Snapshot(_) => UpdateKind::Snapshot(mutations()),
        "delta": UpdateKind::Delta(_) => UpdateKind::Delta(mutations()),
        "alive": UpdateKind::Alive { .. } => UpdateKind::Alive { table },
    });
    let body = |kind| UpdateBody {
        node: key(1),
        home_server: key(6),
        epoch: 1_700_000_000,
        counter: 12,
        time: Timestamp(1_700_000_000_000),
        kind,
    };
    kinds.into_iter().map(|(name, kind)| (name, body(kind))).collect()
}

pub(crate) fn node_down() -> NodeDown {
    NodeDown::sign(key(1), 1_700_000_000, 12, &identity(6))
}

pub(crate) fn multi_route() -> MultiRoute {
    let keys = vec![key(1), key(3), key(2)];
    let route = Route { keys, amount: Credits(100), fee: Credits(2) };
    MultiRoute { routes: vec![route], total_fee: Credits(2), age_ms: 1_500 }
}
