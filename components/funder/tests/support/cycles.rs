//! Cycles as an index server finds them: all are tried, which only small networks allow.

use offset_crypto::PublicKey;
use offset_funder::api::RoutesError;
use offset_proto::{
    Credits,
    index::{Cycle, CycleEnd, CycleQuery, Edge, Route},
};

use super::Net;

impl Net {
    /// The cycles over which anything can move, widest first.
    pub(super) fn find_cycles(&self, query: &CycleQuery) -> Result<Vec<Cycle>, RoutesError> {
        if !self.index_up {
            return Err(RoutesError::NotConnected);
        }
        let mut found = Vec::new();
        self.extend(query, &mut vec![query.node], &mut found);
        found.sort_by_key(|cycle: &Cycle| std::cmp::Reverse(cycle.route.amount));
        found.truncate(8);
        Ok(found)
    }

    fn extend(&self, query: &CycleQuery, keys: &mut Vec<PublicKey>, found: &mut Vec<Cycle>) {
        let here = *keys.last().unwrap();
        for end in (0..self.nodes.len()).map(|node| self.key(node)) {
            let closes = end == query.node && 3 <= keys.len();
            if self.line(query, here, end).is_none() || (keys.contains(&end) && !closes) {
                continue;
            }
            keys.push(end);
            if closes {
                let rooms = keys.windows(2).filter_map(|pair| self.line(query, pair[0], pair[1]));
                let most = rooms.map(|(capacity, _)| capacity.0).min().unwrap_or_default();
                let route = (1..=most).rev().find_map(|amount| self.fit(query, keys, amount));
                found.extend(route.map(|route| Cycle { route, age_ms: 0 }));
            } else {
                self.extend(query, keys, found);
            }
            keys.pop();
        }
    }

    /// The cycle with this amount, if all its lines carry it within the share for fees.
    fn fit(&self, query: &CycleQuery, keys: &[PublicKey], amount: u128) -> Option<Route> {
        let mut carried = amount;
        for (at, pair) in keys.windows(2).enumerate().rev() {
            let (capacity, rate) = self.line(query, pair[0], pair[1])?;
            if at + 2 != keys.len() {
                carried += rate.fee(Credits(amount))?.0;
            }
            if capacity.0 < carried || amount == 0 {
                return None;
            }
        }
        let (amount, fee) = (Credits(amount), Credits(carried - amount));
        (fee <= query.max_fee(amount)).then(|| Route { keys: keys.to_vec(), amount, fee })
    }

    fn line(
        &self,
        query: &CycleQuery,
        from: PublicKey,
        to: PublicKey,
    ) -> Option<(Credits, offset_proto::Rate)> {
        let lines = |of: PublicKey| &self.nodes[self.index_of(of)].lines;
        let sends = lines(from).get(&(to, query.currency.clone()))?;
        let takes = lines(to).get(&(from, query.currency.clone()))?;
        let most = |ends: &[CycleEnd], friend: PublicKey| {
            ends.iter().find(|end| end.friend == friend).map_or(Credits::ZERO, |end| end.most)
        };
        let mut capacity = sends.send_capacity.min(takes.recv_capacity);
        if from == query.node {
            capacity = capacity.min(most(&query.first, to));
        }
        if to == query.node {
            capacity = capacity.min(most(&query.last, from));
        }
        (!query.exclude.contains(&Edge { from, to })).then_some((capacity, takes.rate))
    }
}
