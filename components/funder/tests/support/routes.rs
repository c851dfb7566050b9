//! Routes as an index server finds them: the one with the fewest hops that carries the whole amount,
//! or else several that carry it together.

use std::collections::{BTreeMap, VecDeque};

use offset_funder::api::RoutesError;
use offset_proto::{
    Credits, Rate,
    index::{MultiRoute, Route, RouteQuery},
};

use super::Net;

/// What the parts that were found so far carry over each line, by its ends.
type Used = BTreeMap<(usize, usize), u128>;

/// A way to the destination: what goes over each of its lines, in order.
type Path = VecDeque<(usize, usize, u128)>;

/// Answers a request for routes.
pub type Router = fn(&Net, &RouteQuery) -> Vec<MultiRoute>;

impl Net {
    pub(super) fn find(&self, query: &RouteQuery) -> Result<Vec<MultiRoute>, RoutesError> {
        if !self.index_up {
            return Err(RoutesError::NotConnected);
        }
        if let Some(router) = self.router {
            return Ok(router(self, query));
        }
        if !self.ways.is_empty() {
            return Ok(vec![self.split(query)]);
        }
        let mut used = Used::new();
        let mut left = query.amount.0;
        let mut routes = Vec::new();
        while 0 < left && routes.len() < usize::from(query.max_parts) {
            let Some((amount, path)) = self.widest(query, left, &used) else { break };
            left -= amount;
            for (from, to, carried) in &path {
                *used.entry((*from, *to)).or_default() += carried;
            }
            let last = path.back().map(|(_, to, _)| *to);
            let nodes = path.iter().map(|(from, ..)| *from).chain(last);
            let keys = nodes.map(|node| self.key(node)).collect();
            let fee = Credits(path[0].2 - amount);
            routes.push(Route { keys, amount: Credits(amount), fee });
        }
        if 0 < left {
            return Ok(Vec::new());
        }
        let total_fee = Credits(routes.iter().map(|route: &Route| route.fee.0).sum());
        Ok(vec![MultiRoute { routes, total_fee, age_ms: 0 }])
    }

    /// The most, up to `most`, that one way carries beside what is used already.
    fn widest(&self, query: &RouteQuery, most: u128, used: &Used) -> Option<(u128, Path)> {
        let way = |amount: u128| Some((amount, self.shortest(query, amount, used)?));
        if let Some(whole) = way(most) {
            return Some(whole);
        }
        let (mut best, mut works, mut fails) = (None, 0, most);
        while 1 < fails - works {
            let middle = works + (fails - works) / 2;
            match way(middle) {
                Some(found) => (best, works) = (Some(found), middle),
                None => fails = middle,
            }
        }
        best
    }

    /// Breadth-first search from the destination over lines that both ends report, with capacities
    /// checked including fees.
    fn shortest(&self, query: &RouteQuery, amount: u128, used: &Used) -> Option<Path> {
        let (source, destination) = (self.index_of(query.source), self.index_of(query.destination));
        let mut best: BTreeMap<usize, Path> = BTreeMap::from([(destination, Path::new())]);
        let mut wave = VecDeque::from([destination]);
        while let Some(to) = wave.pop_front() {
            let path = best[&to].clone();
            let passed_on = path.front().map_or(amount, |(_, _, carried)| *carried);
            for from in 0..self.nodes.len() {
                let Some((capacity, rate)) = self.capacity(query, from, to) else { continue };
                // What goes over this edge: what `to` passes on, and its fee if it is a mediator.
                let fee = if to == destination { 0 } else { rate.fee(Credits(amount))?.0 };
                let carried = passed_on + fee;
                let free = capacity.0.saturating_sub(used.get(&(from, to)).copied().unwrap_or(0));
                if best.contains_key(&from) || free < carried {
                    continue;
                }
                let mut path = path.clone();
                path.push_front((from, to, carried));
                best.insert(from, path);
                wave.push_back(from);
            }
        }
        best.remove(&source).filter(|path| !path.is_empty())
    }

    /// What a line carries, as both of its ends say, and its rate.
    fn capacity(&self, query: &RouteQuery, from: usize, to: usize) -> Option<(Credits, Rate)> {
        let (a, b) = (self.key(from), self.key(to));
        let sends = self.nodes[from].lines.get(&(b, query.currency.clone()))?;
        let takes = self.nodes[to].lines.get(&(a, query.currency.clone()))?;
        let excluded = query.exclude.iter().any(|edge| edge.from == a && edge.to == b);
        (!excluded).then_some((sends.send_capacity.min(takes.recv_capacity), takes.rate))
    }
}
