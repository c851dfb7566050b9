//! The cheapest ways for an amount.
//!
//! # One route
//!
//! For a given amount the fee of each mediator is a constant (it is reckoned on what arrives, not on
//! what passes), so fees only add up towards the source. An edge must carry the amount and the fees
//! of every mediator from its end on:
//!
//! ```text
//!   source --- edge ---> u --- edge ---> v ---- ... ---> destination
//!              amount + fee(u) + fee(v)..  amount + fee(v)..       amount
//! ```
//!
//! So the cheapest way from a node is also the one that asks least of the edges before it, and
//! Dijkstra's search backwards from the destination is exact (`exact`). The search that is used
//! (`meet`) goes on from both ends, is as exact, and looks at a small part of the edges; where it
//! cannot decide, the backward one does. Among equally cheap routes the shortest wins. A route has at
//! most [`MAX_ROUTE_KEYS`] keys; where the cheapest one is longer, every label of a node is kept that
//! no other beats in both fee and length. Work is bounded by the number of edges looked at.
//!
//! # Several routes
//!
//! Where no single route carries the amount, parts share it ([`multi_routes`]). With the fixed part
//! of fees and a bound on the number of parts the best split is a hard problem, so this is a method
//! that finds good ones, in this order:
//!
//! 1. *Flows of least cost* (`least_cost`), where anybody takes fees: successive shortest paths on
//!    which every part carries a multiple of an equal share, so that there are never too many, divided
//!    into as few and wide routes as possible. Then the dearer half of the parts gives way to finer
//!    flows, where that is cheaper.
//! 2. *Thresholds.* If `k` parts pay an amount, one of them pays at least a `k`-th. So the cheapest
//!    route for a `k`-th is found, exactly, and filled up; then the same for the rest with `k - 1`.
//!    First with few parts, then with as many as allowed.
//! 3. *Pushing back.* Where that is stuck, the widest way is found on which what earlier parts take
//!    may be pushed back, as in any method for maximum flows, and the flow is divided anew into as
//!    few and wide routes as possible.
//! 4. *Exchanging* (`choice`). What the best of these paid over is bettered: a few parts at a time
//!    give way to a finer flow of least cost while the others stay, and among all routes that any
//!    method came upon those are chosen that pay together at the least fee.
//!
//! Every part and every edge is checked with the fees that the mediators will really take, so what
//! is found is feasible as far as the graph is true. What is not found may exist all the same; the
//! tests say how often.

mod choice;
mod cycles;
mod exact;
mod flow;
mod ground;
mod least_cost;
mod meet;
mod path;
mod scratch;
mod split;

use offset_proto::{
    Credits,
    index::{MAX_MULTI_ROUTES, Route, RouteQuery},
};

use crate::graph::CurrencyGraph;
use choice::Pool;
pub use cycles::{Cycles, cycles};
use ground::Ground;
use path::Part;
pub use scratch::Scratch;
use split::{Method, Splitter};

/// The most keys of a route, source and destination included (protocol, section 6.1).
pub const MAX_ROUTE_KEYS: u32 = 32;

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// The cheapest route, if there is any.
    pub route: Option<Route>,
    /// The bound of work ended the search: the route need not be the cheapest, and where there is
    /// none there may be one.
    pub cut_short: bool,
}

/// What the answer to a request is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ways {
    /// Each carries the whole amount by routes that are feasible together; cheapest first, at most
    /// [`MAX_MULTI_ROUTES`].
    pub multi_routes: Vec<Vec<Route>>,
    /// The bound of work ended a search: there may be cheaper ways, and where there is none there
    /// may be one.
    pub cut_short: bool,
}

/// How many edges the searches of one request may look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// The search for a single route.
    pub single: usize,
    /// Everything that follows where no single route carries the amount.
    pub split: usize,
}

/// The cheapest route that carries the query's whole amount, looking at no more than `max_edges`
/// edges. A route from a node to itself is not found here.
#[must_use]
pub fn cheapest_route(
    scratch: &mut Scratch,
    graph: &CurrencyGraph,
    query: &RouteQuery,
    max_edges: usize,
) -> Found {
    cheapest_route_within(scratch, graph, query, max_edges, MAX_ROUTE_KEYS)
}

/// As [`cheapest_route`], with another limit of keys.
fn cheapest_route_within(
    scratch: &mut Scratch,
    graph: &CurrencyGraph,
    query: &RouteQuery,
    max_edges: usize,
    max_keys: u32,
) -> Found {
    let Some(mut ground) = Ground::for_route(scratch, graph, query, max_edges) else {
        return Found::default();
    };
    ground.max_keys = max_keys;
    let path = ground.cheapest(query.amount);
    let part = path.and_then(|path| ground.part(&path, query.amount));
    Found { route: part.map(|part| ground.route(&part)), cut_short: ground.cut_short }
}

/// The ways for a query's amount: a single route where one carries it, and one that avoids its
/// narrowest edge where that costs little work; otherwise at most `query.max_parts` routes together.
#[must_use]
pub fn multi_routes(
    scratch: &mut Scratch,
    graph: &CurrencyGraph,
    query: &RouteQuery,
    work: Work,
) -> Ways {
    let Some(mut ground) = Ground::for_route(scratch, graph, query, work.single) else {
        return Ways::default();
    };
    let mut ways = Vec::new();
    if let Some(path) = ground.cheapest(query.amount) {
        let first = ground.part(&path, query.amount);
        let spent = work.single - ground.edges_left;
        let cut_short = ground.cut_short;
        if let Some(first) = &first
            && spent <= work.single / CHEAP_SHARE
            && let Some((from, to)) = ground.narrowest(first)
        {
            ground.hold(from, to, Credits(u128::MAX));
            let other = ground.cheapest(query.amount);
            ways.extend(other.and_then(|path| ground.part(&path, query.amount)).map(|p| vec![p]));
            // That an alternative was not looked for to the end concerns nobody.
            ground.cut_short = cut_short;
        }
        ways.splice(0..0, first.map(|part| vec![part]));
    } else if 1 < query.max_parts {
        ground.edges_left = work.split;
        ways = split(&mut ground, query.amount, usize::from(query.max_parts));
    }
    ways.truncate(MAX_MULTI_ROUTES);
    let routes = |parts: &Vec<Part>| parts.iter().map(|part| ground.route(part)).collect();
    Ways { multi_routes: ways.iter().map(routes).collect(), cut_short: ground.cut_short }
}

/// The best splits that are found of an amount that no single route carries, cheapest first.
fn split(ground: &mut Ground<'_>, amount: Credits, max_parts: usize) -> Vec<Vec<Part>> {
    if !ground.ends_carry(amount) {
        return Vec::new();
    }
    let mut found: Vec<(Credits, Vec<Part>)> = Vec::new();
    let mut pool = Pool::default();
    for (method, parts) in methods(ground, amount, max_parts) {
        let done = match (found.first(), method) {
            (None, _) => false,
            // What is free cannot be bettered.
            (Some((fee, _)), Method::LeastCost | Method::ThresholdsAndBack) => {
                *fee == Credits::ZERO
            }
            // The widest ways are taken only where there is nothing else.
            (Some(_), Method::Thresholds | Method::Width) => true,
        };
        if !done {
            found.extend(Splitter::new(ground, &mut pool, amount, parts).run(method));
        }
    }
    found.sort_by_key(|(fee, parts)| (*fee, parts.len()));
    if let Some((fee, parts)) = found.first().cloned()
        && fee != Credits::ZERO
    {
        found.push(Splitter::new(ground, &mut pool, amount, max_parts).improve(parts));
    }
    found.sort_by_key(|(fee, parts)| (*fee, parts.len()));
    found.dedup();
    found.into_iter().map(|(_, parts)| parts).collect()
}

/// What is tried, with how many parts, in this order.
fn methods(ground: &Ground<'_>, amount: Credits, max_parts: usize) -> Vec<(Method, usize)> {
    let mut methods = Vec::new();
    if ground.graph.dear_count() != 0 && amount.0 <= u128::from(u64::MAX) {
        methods.push((Method::LeastCost, max_parts));
    }
    let few = FEW_PARTS.into_iter().filter(|parts| *parts < max_parts);
    methods.extend(few.map(|parts| (Method::Thresholds, parts)));
    methods.extend([(Method::ThresholdsAndBack, max_parts), (Method::Width, max_parts)]);
    methods
}

/// How few parts are tried first.
const FEW_PARTS: [usize; 3] = [2, 4, 8];
/// An alternative is looked for where the first search took at most this share of its work.
const CHEAP_SHARE: usize = 8;

#[cfg(test)]
mod split_tests;
#[cfg(test)]
mod tests;
