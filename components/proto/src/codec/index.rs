//! `index.capnp`: between nodes and index servers, and among index servers.

use super::{
    Decoded, check_count, check_distinct, check_sorted, count, credits, edge_of, fixed, invalid,
    key, keys, list, parse, rate_of, session, set_credits, set_edge, set_keys, set_list, set_rate,
    wire,
};
use crate::{
    Timestamp,
    friend::MAX_ROUTE_KEYS,
    index::{
        ClientToIndex, Cycle, CycleEnd, CycleQuery, DigestEntry, IndexLine, IndexPeerMessage,
        IndexToClient, MAX_CYCLE_ENDS, MAX_CYCLES, MAX_DIGEST_ENTRIES, MAX_EXCLUDED_EDGES,
        MAX_MULTI_ROUTES, MAX_MUTATIONS, MAX_PARTS, MultiRoute, NodeDown, Route, RouteQuery,
        RouteRequestId, SignedUpdate, UpdateBody, UpdateKind, UpdateMutation,
    },
    schema::index_capnp::{
        client_to_index, cycle,
        cycle_query::{self, cycle_end},
        digest_entry, index_peer_message, index_to_client, multi_route, node_down, route,
        route_query,
        signed_update::{self, mutation},
    },
    session::{Control, Packet},
};

wire!(ClientToIndex, IndexClient, client_to_index, client_words, set_client, client);
wire!(IndexToClient, IndexClient, index_to_client, server_words, set_server, server);
wire!(IndexPeerMessage, IndexServer, index_peer_message, peer_words, set_peer, peer);

fn client_words(message: &ClientToIndex) -> usize {
    match message {
        ClientToIndex::Update(update) => update_words(update),
        ClientToIndex::RequestRoutes { query, .. } => 20 + 12 * query.exclude.len(),
        ClientToIndex::RequestCycles { query, .. } => {
            20 + 12 * query.exclude.len() + 9 * (query.first.len() + query.last.len())
        }
    }
}

fn set_client(message: &ClientToIndex, root: client_to_index::Builder<'_>) {
    match message {
        ClientToIndex::Update(update) => set_update(update, root.init_update()),
        ClientToIndex::RequestRoutes { request_id, query } => {
            let mut group = root.init_request_routes();
            group.set_request_id(request_id.0);
            set_query(query, group.init_query());
        }
        ClientToIndex::RequestCycles { request_id, query } => {
            let mut group = root.init_request_cycles();
            group.set_request_id(request_id.0);
            set_cycle_query(query, group.init_query());
        }
    }
}

fn client(root: client_to_index::Reader<'_>) -> Decoded<Packet<ClientToIndex>> {
    use client_to_index::Which;
    Ok(Packet::Message(match root.which()? {
        Which::Hello(hello) => return session::hello(hello?),
        Which::Ping(()) => return Ok(Packet::Control(Control::Ping)),
        Which::Bye(bye) => return session::bye(bye?),
        Which::Update(update) => ClientToIndex::Update(Box::new(update_of(update?)?)),
        Which::RequestRoutes(group) => ClientToIndex::RequestRoutes {
            request_id: RouteRequestId(group.get_request_id()),
            query: query_of(group.get_query()?)?,
        },
        Which::RequestCycles(group) => ClientToIndex::RequestCycles {
            request_id: RouteRequestId(group.get_request_id()),
            query: cycle_query_of(group.get_query()?)?,
        },
    }))
}

fn server_words(message: &IndexToClient) -> usize {
    match message {
        IndexToClient::Behind { .. } | IndexToClient::SnapshotWanted => 0,
        IndexToClient::Routes { multi_routes, .. } => {
            8 + multi_routes.iter().map(multi_route_words).sum::<usize>()
        }
        IndexToClient::Refused { .. } => 36,
        IndexToClient::Cycles { cycles, .. } => {
            8 + cycles.iter().map(|cycle| 14 + 5 * cycle.route.keys.len()).sum::<usize>()
        }
    }
}

fn set_server(message: &IndexToClient, mut root: index_to_client::Builder<'_>) {
    match message {
        IndexToClient::Behind { epoch, counter } => {
            let mut group = root.init_behind();
            group.set_epoch(*epoch);
            group.set_counter(*counter);
        }
        IndexToClient::SnapshotWanted => root.set_snapshot_wanted(()),
        IndexToClient::Routes { request_id, multi_routes, cut_short } => {
            let mut group = root.init_routes();
            group.set_request_id(request_id.0);
            group.set_cut_short(*cut_short);
            let list = group.init_multi_routes(count(multi_routes.len()));
            set_list(list, multi_routes, set_multi_route);
        }
        IndexToClient::Refused { request_id, reason } => {
            let mut group = root.init_refused();
            group.set_request_id(request_id.0);
            group.set_reason(reason.as_str());
        }
        IndexToClient::Cycles { request_id, cycles, cut_short } => {
            let mut group = root.init_cycles();
            group.set_request_id(request_id.0);
            group.set_cut_short(*cut_short);
            set_list(group.init_cycles(count(cycles.len())), cycles, set_cycle);
        }
    }
}

fn server(root: index_to_client::Reader<'_>) -> Decoded<Packet<IndexToClient>> {
    use index_to_client::Which;
    Ok(Packet::Message(match root.which()? {
        Which::Hello(hello) => return session::hello(hello?),
        Which::Ping(()) => return Ok(Packet::Control(Control::Ping)),
        Which::Bye(bye) => return session::bye(bye?),
        Which::Behind(group) => {
            IndexToClient::Behind { epoch: group.get_epoch(), counter: group.get_counter() }
        }
        Which::SnapshotWanted(()) => IndexToClient::SnapshotWanted,
        Which::Routes(group) => IndexToClient::Routes {
            request_id: RouteRequestId(group.get_request_id()),
            multi_routes: multi_routes(group.get_multi_routes()?)?,
            cut_short: group.get_cut_short(),
        },
        Which::Refused(group) => IndexToClient::Refused {
            request_id: RouteRequestId(group.get_request_id()),
            reason: parse("reason", group.get_reason())?,
        },
        Which::Cycles(group) => IndexToClient::Cycles {
            request_id: RouteRequestId(group.get_request_id()),
            cycles: list("cycles", group.get_cycles()?, MAX_CYCLES, cycle_of)?,
            cut_short: group.get_cut_short(),
        },
    }))
}

fn peer_words(message: &IndexPeerMessage) -> usize {
    match message {
        IndexPeerMessage::Digest { entries, .. } => 4 + 7 * entries.len(),
        IndexPeerMessage::Update(update) => update_words(update),
        IndexPeerMessage::Wanted { .. } | IndexPeerMessage::NodeDown(_) => 20,
    }
}

fn set_peer(message: &IndexPeerMessage, mut root: index_peer_message::Builder<'_>) {
    match message {
        IndexPeerMessage::Digest { entries, last } => {
            let mut group = root.init_digest();
            group.set_last(*last);
            set_list(group.init_entries(count(entries.len())), entries, set_entry);
        }
        IndexPeerMessage::Update(update) => set_update(update, root.init_update()),
        IndexPeerMessage::Wanted { node } => root.set_wanted(node.as_bytes()),
        IndexPeerMessage::NodeDown(down) => set_down(down, root.init_node_down()),
    }
}

fn peer(root: index_peer_message::Reader<'_>) -> Decoded<Packet<IndexPeerMessage>> {
    use index_peer_message::Which;
    Ok(Packet::Message(match root.which()? {
        Which::Hello(hello) => return session::hello(hello?),
        Which::Ping(()) => return Ok(Packet::Control(Control::Ping)),
        Which::Bye(bye) => return session::bye(bye?),
        Which::Digest(group) => {
            let entries = list("entries", group.get_entries()?, MAX_DIGEST_ENTRIES, entry_of)?;
            check_sorted("entries", entries.iter().map(|entry| entry.node))?;
            IndexPeerMessage::Digest { entries, last: group.get_last() }
        }
        Which::Update(update) => IndexPeerMessage::Update(Box::new(update_of(update?)?)),
        Which::Wanted(node) => IndexPeerMessage::Wanted { node: key("wanted", node)? },
        Which::NodeDown(down) => IndexPeerMessage::NodeDown(down_of(down?)?),
    }))
}

fn update_words(update: &SignedUpdate) -> usize {
    let mutations = match &update.body.kind {
        UpdateKind::Snapshot(mutations) | UpdateKind::Delta(mutations) => mutations.len(),
        UpdateKind::Alive { .. } => 0,
    };
    40 + 20 * mutations
}

fn set_update(value: &SignedUpdate, mut update: signed_update::Builder<'_>) {
    let body = &value.body;
    update.set_node(body.node.as_bytes());
    update.set_home_server(body.home_server.as_bytes());
    update.set_epoch(body.epoch);
    update.set_counter(body.counter);
    update.set_time(body.time.0);
    let mut kind = update.reborrow().init_kind();
    match &body.kind {
        UpdateKind::Snapshot(mutations) => {
            set_list(kind.init_snapshot(count(mutations.len())), mutations, set_mutation);
        }
        UpdateKind::Delta(mutations) => {
            set_list(kind.init_delta(count(mutations.len())), mutations, set_mutation);
        }
        UpdateKind::Alive { table } => kind.set_alive(table.as_bytes()),
    }
    update.set_signature(value.signature.as_bytes());
}

fn update_of(update: signed_update::Reader<'_>) -> Decoded<SignedUpdate> {
    use signed_update::kind::Which;
    let kind = match update.get_kind().which()? {
        Which::Snapshot(mutations) => {
            UpdateKind::Snapshot(list("snapshot", mutations?, MAX_MUTATIONS, mutation_of)?)
        }
        Which::Delta(mutations) => {
            UpdateKind::Delta(list("delta", mutations?, MAX_MUTATIONS, mutation_of)?)
        }
        Which::Alive(table) => UpdateKind::Alive { table: fixed("alive", table)? },
    };
    let body = UpdateBody {
        node: key("node", update.get_node())?,
        home_server: key("homeServer", update.get_home_server())?,
        epoch: update.get_epoch(),
        counter: update.get_counter(),
        time: Timestamp(update.get_time()),
        kind,
    };
    Ok(SignedUpdate { body, signature: fixed("signature", update.get_signature())? })
}

fn set_mutation(value: &UpdateMutation, builder: mutation::Builder<'_>) {
    match value {
        UpdateMutation::Set { friend, currency, line } => {
            let mut set = builder.init_set();
            set.set_friend(friend.as_bytes());
            set.set_currency(currency.as_str());
            set_credits(line.send_capacity, set.reborrow().init_send_capacity());
            set_credits(line.recv_capacity, set.reborrow().init_recv_capacity());
            set_rate(line.rate, set.init_rate());
        }
        UpdateMutation::Remove { friend, currency } => {
            let mut remove = builder.init_remove();
            remove.set_friend(friend.as_bytes());
            remove.set_currency(currency.as_str());
        }
    }
}

fn mutation_of(value: mutation::Reader<'_>) -> Decoded<UpdateMutation> {
    use mutation::Which;
    Ok(match value.which()? {
        Which::Set(set) => UpdateMutation::Set {
            friend: key("friend", set.get_friend())?,
            currency: parse("currency", set.get_currency())?,
            line: IndexLine {
                send_capacity: credits(set.get_send_capacity()?),
                recv_capacity: credits(set.get_recv_capacity()?),
                rate: rate_of(set.get_rate()?),
            },
        },
        Which::Remove(remove) => UpdateMutation::Remove {
            friend: key("friend", remove.get_friend())?,
            currency: parse("currency", remove.get_currency())?,
        },
    })
}

fn set_down(value: &NodeDown, mut down: node_down::Builder<'_>) {
    down.set_node(value.node.as_bytes());
    down.set_epoch(value.epoch);
    down.set_counter(value.counter);
    down.set_signature(value.signature.as_bytes());
}

fn down_of(down: node_down::Reader<'_>) -> Decoded<NodeDown> {
    Ok(NodeDown {
        node: key("node", down.get_node())?,
        epoch: down.get_epoch(),
        counter: down.get_counter(),
        signature: fixed("signature", down.get_signature())?,
    })
}

fn set_entry(value: &DigestEntry, mut entry: digest_entry::Builder<'_>) {
    entry.set_node(value.node.as_bytes());
    entry.set_epoch(value.epoch);
    entry.set_counter(value.counter);
}

fn entry_of(entry: digest_entry::Reader<'_>) -> Decoded<DigestEntry> {
    Ok(DigestEntry {
        node: key("node", entry.get_node())?,
        epoch: entry.get_epoch(),
        counter: entry.get_counter(),
    })
}

fn set_query(value: &RouteQuery, mut query: route_query::Builder<'_>) {
    query.set_currency(value.currency.as_str());
    set_credits(value.amount, query.reborrow().init_amount());
    query.set_source(value.source.as_bytes());
    query.set_destination(value.destination.as_bytes());
    query.set_max_parts(value.max_parts);
    set_list(query.init_exclude(count(value.exclude.len())), &value.exclude, set_edge);
}

fn query_of(query: route_query::Reader<'_>) -> Decoded<RouteQuery> {
    let max_parts = query.get_max_parts();
    if !(1..=MAX_PARTS).contains(&usize::from(max_parts)) {
        return Err(invalid("maxParts", format_args!("{max_parts} is not 1 to {MAX_PARTS}")));
    }
    Ok(RouteQuery {
        currency: parse("currency", query.get_currency())?,
        amount: credits(query.get_amount()?),
        source: key("source", query.get_source())?,
        destination: key("destination", query.get_destination())?,
        exclude: list("exclude", query.get_exclude()?, MAX_EXCLUDED_EDGES, edge_of)?,
        max_parts,
    })
}

fn set_cycle_query(value: &CycleQuery, mut query: cycle_query::Builder<'_>) {
    query.set_currency(value.currency.as_str());
    query.set_node(value.node.as_bytes());
    query.set_max_fee_ppm(value.max_fee_ppm);
    set_list(query.reborrow().init_first(count(value.first.len())), &value.first, set_cycle_end);
    set_list(query.reborrow().init_last(count(value.last.len())), &value.last, set_cycle_end);
    set_list(query.init_exclude(count(value.exclude.len())), &value.exclude, set_edge);
}

fn cycle_query_of(query: cycle_query::Reader<'_>) -> Decoded<CycleQuery> {
    let node = key("node", query.get_node())?;
    let first = list("first", query.get_first()?, MAX_CYCLE_ENDS, cycle_end_of)?;
    let last = list("last", query.get_last()?, MAX_CYCLE_ENDS, cycle_end_of)?;
    let friends = first.iter().chain(&last).map(|end| end.friend);
    check_distinct("first, last", &std::iter::once(node).chain(friends).collect::<Vec<_>>())?;
    Ok(CycleQuery {
        currency: parse("currency", query.get_currency())?,
        node,
        first,
        last,
        max_fee_ppm: query.get_max_fee_ppm(),
        exclude: list("exclude", query.get_exclude()?, MAX_EXCLUDED_EDGES, edge_of)?,
    })
}

fn set_cycle_end(value: &CycleEnd, mut end: cycle_end::Builder<'_>) {
    end.set_friend(value.friend.as_bytes());
    set_credits(value.most, end.init_most());
}

fn cycle_end_of(end: cycle_end::Reader<'_>) -> Decoded<CycleEnd> {
    Ok(CycleEnd { friend: key("friend", end.get_friend())?, most: credits(end.get_most()?) })
}

fn set_cycle(value: &Cycle, mut cycle: cycle::Builder<'_>) {
    cycle.set_age_ms(value.age_ms);
    set_route(&value.route, cycle.init_route());
}

fn cycle_of(cycle: cycle::Reader<'_>) -> Decoded<Cycle> {
    let route = cycle.get_route()?;
    let list = route.get_keys()?;
    check_count("keys", list.len(), MAX_ROUTE_KEYS)?;
    let keys = list.iter().map(|data| key("keys", data)).collect::<Decoded<Vec<_>>>()?;
    // A cycle ends at its origin: the one key that comes twice (protocol, section 6.1).
    let Some((origin, rest)) = keys.split_first().filter(|(_, rest)| 3 <= rest.len()) else {
        return Err(invalid("keys", "a cycle leads over at least two friends"));
    };
    if rest.last() != Some(origin) {
        return Err(invalid("keys", "a cycle ends where it began"));
    }
    check_distinct("keys", rest)?;
    let (amount, fee) = (credits(route.get_amount()?), credits(route.get_fee()?));
    Ok(Cycle { route: Route { keys, amount, fee }, age_ms: cycle.get_age_ms() })
}

pub(super) fn multi_route_words(value: &MultiRoute) -> usize {
    8 + value.routes.iter().map(|route| 10 + 5 * route.keys.len()).sum::<usize>()
}

pub(super) fn set_multi_route(value: &MultiRoute, mut multi: multi_route::Builder<'_>) {
    set_credits(value.total_fee, multi.reborrow().init_total_fee());
    multi.set_age_ms(value.age_ms);
    set_list(multi.init_routes(count(value.routes.len())), &value.routes, set_route);
}

/// The multi-routes of an answer, in whatever message it comes.
pub(super) fn multi_routes(
    multi_routes: capnp::struct_list::Reader<'_, multi_route::Owned>,
) -> Decoded<Vec<MultiRoute>> {
    list("multiRoutes", multi_routes, MAX_MULTI_ROUTES, multi_route_of)
}

pub(super) fn multi_route_of(multi: multi_route::Reader<'_>) -> Decoded<MultiRoute> {
    let routes = list("routes", multi.get_routes()?, MAX_PARTS, route_of)?;
    if routes.is_empty() {
        return Err(invalid("routes", "a multi-route without routes"));
    }
    Ok(MultiRoute {
        routes,
        total_fee: credits(multi.get_total_fee()?),
        age_ms: multi.get_age_ms(),
    })
}

fn set_route(value: &Route, mut route: route::Builder<'_>) {
    set_keys(route.reborrow().init_keys(count(value.keys.len())), &value.keys);
    set_credits(value.amount, route.reborrow().init_amount());
    set_credits(value.fee, route.init_fee());
}

fn route_of(route: route::Reader<'_>) -> Decoded<Route> {
    let keys = keys("keys", route.get_keys()?, MAX_ROUTE_KEYS)?;
    if keys.len() < 2 {
        return Err(invalid("keys", "a route names its source and its destination"));
    }
    Ok(Route { keys, amount: credits(route.get_amount()?), fee: credits(route.get_fee()?) })
}
