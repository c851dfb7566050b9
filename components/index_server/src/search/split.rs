//! Shares an amount among several routes.

use std::cmp::Reverse;

use offset_proto::Credits;

use super::{
    choice::Pool,
    flow::Flow,
    ground::Ground,
    least_cost::Plan,
    path::{Part, fees, paid},
};

/// How parts are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// Flows of least cost, divided into routes.
    LeastCost,
    /// Cheapest routes for a fair share of what is missing.
    Thresholds,
    /// The same, and where that is stuck, by pushing back what earlier parts take.
    ThresholdsAndBack,
    /// The widest ways only, whatever they cost.
    Width,
}

/// One attempt to share an amount. What its parts carry is held of the ground until it ends.
pub(super) struct Splitter<'g, 'a> {
    ground: &'g mut Ground<'a>,
    amount: Credits,
    max_parts: usize,
    parts: Vec<Part>,
    /// The routes of all attempts.
    pool: &'g mut Pool,
}

impl<'g, 'a> Splitter<'g, 'a> {
    pub(super) const fn new(
        ground: &'g mut Ground<'a>,
        pool: &'g mut Pool,
        amount: Credits,
        max_parts: usize,
    ) -> Self {
        Self { ground, amount, max_parts, parts: Vec::new(), pool }
    }

    /// The parts that pay the amount and their fees, if the method finds any.
    pub(super) fn run(mut self, method: Method) -> Option<(Credits, Vec<Part>)> {
        let (cheapest, back) = match method {
            Method::LeastCost => {
                self.add_flows();
                (true, false)
            }
            Method::Thresholds => (true, false),
            Method::ThresholdsAndBack => (true, true),
            Method::Width => (false, true),
        };
        for _ in 0..ROUNDS_PER_PART * self.max_parts {
            self.fill_up();
            let Some(missing) = self.missing() else { break };
            let free = self.max_parts - self.parts.len();
            let added = cheapest && free != 0 && self.add_cheapest(share(missing, free), missing);
            if !added && (!back || !self.push_back(missing)) {
                break;
            }
        }
        if self.missing().is_some() {
            return None;
        }
        if u64::try_from(self.amount.0).is_err() {
            // Smaller amounts are bettered by exchanges.
            self.polish();
        }
        Some((fees(&self.parts), self.clear()))
    }

    /// Parts that pay the amount, made cheaper where that can be: by choosing anew among all routes
    /// that were found, and by looking for others beside the parts.
    pub(super) fn improve(mut self, parts: Vec<Part>) -> (Credits, Vec<Part>) {
        parts.into_iter().for_each(|part| self.add(part));
        if let Ok(amount) = u64::try_from(self.amount.0) {
            self.choose(amount);
            for round in 0..ROUNDS_OF_EXCHANGE {
                let before = fees(&self.parts);
                if before == Credits::ZERO || self.ground.cut_short {
                    break;
                }
                self.look_beside_parts(round % 2);
                self.choose(amount);
                // What brings little is not worth the work of another round.
                let saved = before.checked_sub(fees(&self.parts)).unwrap_or_default();
                if saved.0 <= before.0 / LEAST_SAVED {
                    break;
                }
            }
        }
        (fees(&self.parts), self.clear())
    }

    /// Chooses anew among all routes that were found. What the parts were stays where that is no
    /// cheaper.
    fn choose(&mut self, amount: u64) {
        let before = self.clear();
        for path in self.pool.choose(self.ground, amount, self.max_parts, &before) {
            let Some(missing) = self.missing() else { break };
            if let Some(part) = self.ground.largest_part(&path, missing) {
                self.add(part);
            }
        }
        self.fill_up();
        if self.missing().is_some() || fees(&before) <= fees(&self.parts) {
            self.clear();
            before.into_iter().for_each(|part| self.add(part));
        }
    }

    /// Lets go of a few parts at a time, those with like rates together, and notes the routes of a
    /// flow of least cost in their place. `offset` says how many are in the first group.
    fn look_beside_parts(&mut self, offset: usize) {
        let mut parts = self.parts.clone();
        parts.sort_by_key(|part| Reverse(part.rate()));
        let free = self.max_parts.saturating_sub(parts.len());
        let (first, others) = parts.split_at(offset.min(parts.len()));
        for group in std::iter::once(first).chain(others.chunks(EXCHANGED)) {
            let Ok(amount) = u64::try_from(paid(group).0) else { continue };
            let share = amount.div_ceil((group.len() + free).max(1) as u64);
            let plan =
                Plan { amount, part: share, least_room: share.div_ceil(NARROWEST).max(1), unit: 1 };
            group.iter().for_each(|part| self.ground.give_back(part));
            if let Some(mut flow) = self.ground.least_cost(plan, PATHS_OF_EXCHANGE) {
                self.note_paths(&mut flow);
            }
            group.iter().for_each(|part| self.ground.take(part));
        }
    }

    /// What the parts do not pay yet; `None` when they pay everything.
    fn missing(&self) -> Option<Credits> {
        let paid = paid(&self.parts);
        self.amount.checked_sub(paid).filter(|missing| *missing != Credits::ZERO)
    }

    /// Adds the widest routes of a flow of least cost for what is missing, on which every path
    /// carries a multiple of an equal share; the same again for what is then missing.
    fn add_flows(&mut self) {
        for _ in 0..ROUNDS_OF_FLOWS {
            let free = self.max_parts - self.parts.len();
            let Some(missing) = self.missing().filter(|_| free != 0) else { return };
            let Ok(amount) = u64::try_from(missing.0) else { return };
            let share = amount.div_ceil(free as u64).max(1);
            let plan = Plan { amount, part: share, least_room: share, unit: share };
            let paths = PATHS_PER_PART * self.max_parts;
            let Some(mut flow) = self.ground.least_cost(plan, paths) else { return };
            let before = self.parts.len();
            self.add_paths(&mut flow, self.max_parts);
            self.fill_up();
            if self.parts.len() == before {
                return;
            }
        }
    }

    /// Adds the widest routes of a flow, with as much as they carry.
    fn add_paths(&mut self, flow: &mut Flow, most: usize) {
        while self.parts.len() < most {
            let Some(missing) = self.missing() else { break };
            let ends = (self.ground.source, self.ground.destination);
            let Some((path, width)) = flow.take_path(ends.0, ends.1) else { break };
            let short = path.nodes.len() <= self.ground.max_keys as usize;
            let part = self.ground.largest_part(&path, width.min(missing));
            if let Some(part) = part.filter(|_| short) {
                self.add(part);
            }
        }
        self.note_paths(flow);
    }

    /// Notes the routes of a flow.
    fn note_paths(&mut self, flow: &mut Flow) {
        let ends = (self.ground.source, self.ground.destination);
        while let Some((path, _)) = flow.take_path(ends.0, ends.1) {
            if path.nodes.len() <= self.ground.max_keys as usize {
                self.pool.note(path);
            }
        }
    }

    /// Adds the cheapest route for `share`, with as much as it carries of what is missing.
    fn add_cheapest(&mut self, share: Credits, missing: Credits) -> bool {
        let Some(path) = self.ground.cheapest(share) else { return false };
        let Some(part) = self.ground.largest_part(&path, missing) else { return false };
        self.add(part);
        true
    }

    fn add(&mut self, part: Part) {
        self.pool.note(part.path.clone());
        self.ground.take(&part);
        self.parts.push(part);
    }

    fn clear(&mut self) -> Vec<Part> {
        for part in &self.parts {
            self.ground.give_back(part);
        }
        std::mem::take(&mut self.parts)
    }

    /// Raises parts over whose edges there is room again.
    fn fill_up(&mut self) {
        for at in 0..self.parts.len() {
            let Some(missing) = self.missing() else { return };
            let part = &self.parts[at];
            let most = part.amount.checked_add(missing).unwrap_or(self.amount);
            self.ground.give_back(part);
            if let Some(larger) = self.ground.largest_part(&part.path, most) {
                self.parts[at] = larger;
            }
            self.ground.take(&self.parts[at]);
        }
    }

    /// Sends more over the widest way on which what the parts take may be pushed back, and divides
    /// what flows then into parts anew. Gives whether they pay more than before.
    fn push_back(&mut self, missing: Credits) -> bool {
        let mut flow = Flow::of(&self.parts);
        let Some((hops, width)) = self.ground.widest(&flow, missing) else { return false };
        for hop in hops {
            flow.push(hop, width);
        }
        let before = self.clear();
        self.add_paths(&mut flow, self.max_parts);
        self.fill_up();
        if paid(&before) < paid(&self.parts) {
            return true;
        }
        self.clear();
        before.into_iter().for_each(|part| self.add(part));
        false
    }

    /// Makes parts that pay everything cheaper where that is easy.
    fn polish(&mut self) {
        if fees(&self.parts) == Credits::ZERO {
            return;
        }
        self.fill_cheapest_first();
        for at in 0..self.parts.len() {
            let part = self.parts[at].clone();
            if part.fee == Credits::ZERO {
                continue;
            }
            self.ground.give_back(&part);
            let other = self.ground.cheapest(part.amount);
            let other = other.and_then(|path| self.ground.part(&path, part.amount));
            let part = other.filter(|other| other.fee < part.fee).unwrap_or(part);
            self.ground.take(&part);
            self.parts[at] = part;
        }
        self.fill_cheapest_first();
    }

    /// Uses the same routes again, those with the lowest rates first and as far as they carry, if
    /// that is cheaper. Routes that are not needed fall away.
    fn fill_cheapest_first(&mut self) {
        let fee_before = fees(&self.parts);
        let before = self.clear();
        let mut paths: Vec<_> = before.iter().map(|part| &part.path).collect();
        paths.sort_by_key(|path| (path.ppm(), path.fee(Credits(1)), path.nodes.len()));
        for path in paths {
            let Some(missing) = self.missing() else { break };
            if let Some(part) = self.ground.largest_part(path, missing) {
                self.add(part);
            }
        }
        let cheaper = fees(&self.parts) < fee_before
            || fees(&self.parts) == fee_before && self.parts.len() < before.len();
        if self.missing().is_some() || !cheaper {
            self.clear();
            before.into_iter().for_each(|part| self.add(part));
        }
    }
}

impl Drop for Splitter<'_, '_> {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What at least one of `parts` parts pays of an amount.
fn share(amount: Credits, parts: usize) -> Credits {
    Credits(amount.0.div_ceil((parts as u128).max(1)))
}

/// A flow of least cost is made of at most so many paths for each part that is allowed: many of them
/// become one.
const PATHS_PER_PART: usize = 4;
/// So many flows one after the other may be made.
const ROUNDS_OF_FLOWS: usize = 4;
/// How often the parts may be divided anew, for each part that is allowed.
const ROUNDS_PER_PART: usize = 4;
/// So often routes are looked for beside the parts.
const ROUNDS_OF_EXCHANGE: usize = 2;
/// Another round follows when one saved more than one in so many of the fees.
const LEAST_SAVED: u128 = 32;
/// In the place of so many parts at a time.
const EXCHANGED: usize = 3;
/// These may carry down to the so manieth part of what a part must pay on average.
const NARROWEST: u64 = 4;
/// A flow in the place of some parts is made of at most so many paths.
const PATHS_OF_EXCHANGE: usize = 16;
