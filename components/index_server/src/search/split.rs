//! Shares an amount among several routes.

use std::cmp::Reverse;

use offset_proto::Credits;

use super::{
    flow::Flow,
    ground::Ground,
    least_cost::Plan,
    path::{Part, fees, paid},
};

/// How parts are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// Flows of least cost, divided into routes.
    LeastCost(Flows),
    /// Cheapest routes for a fair share of what is missing.
    Thresholds,
    /// The same, and where that is stuck, by pushing back what earlier parts take.
    ThresholdsAndBack,
    /// The widest ways only, whatever they cost.
    Width,
}

/// How flows of least cost are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flows {
    /// Paths may carry down to the so manieth part of what a part must pay on average.
    pub(super) narrow: u64,
    /// Whether every path carries a multiple of that.
    pub(super) in_units: bool,
}

/// One attempt to share an amount. What its parts carry is held of the ground until it ends.
pub(super) struct Splitter<'g, 'a> {
    ground: &'g mut Ground<'a>,
    amount: Credits,
    max_parts: usize,
    parts: Vec<Part>,
}

impl<'g, 'a> Splitter<'g, 'a> {
    pub(super) const fn new(ground: &'g mut Ground<'a>, amount: Credits, max_parts: usize) -> Self {
        Self { ground, amount, max_parts, parts: Vec::new() }
    }

    /// The parts that pay the amount and their fees, if the method finds any.
    pub(super) fn run(mut self, method: Method) -> Option<(Credits, Vec<Part>)> {
        let (cheapest, back) = match method {
            Method::LeastCost(flows) => {
                self.add_flows(flows);
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
        self.polish();
        Some((fees(&self.parts), self.clear()))
    }

    /// Parts that pay the amount, made cheaper where that can be.
    pub(super) fn improve(mut self, parts: Vec<Part>) -> (Credits, Vec<Part>) {
        parts.into_iter().for_each(|part| self.add(part));
        self.exchange_dearest();
        (fees(&self.parts), self.clear())
    }

    /// Lets go of the dearest parts and looks for flows of least cost in their place, while that makes
    /// all cheaper.
    fn exchange_dearest(&mut self) {
        for share in [2, 1] {
            let fee_before = fees(&self.parts);
            if fee_before == Credits::ZERO || self.parts.len() < 2 || self.ground.cut_short {
                return;
            }
            let before = self.clear();
            let mut kept = before.clone();
            kept.sort_by_key(|part| Reverse(part.rate()));
            kept.drain(..kept.len().div_ceil(share));
            kept.into_iter().for_each(|part| self.add(part));
            self.add_flows(Flows { narrow: 2, in_units: true });
            if self.missing().is_none() {
                self.polish();
            }
            if self.missing().is_some() || fee_before <= fees(&self.parts) {
                self.clear();
                before.into_iter().for_each(|part| self.add(part));
            }
        }
    }

    /// What the parts do not pay yet; `None` when they pay everything.
    fn missing(&self) -> Option<Credits> {
        let paid = paid(&self.parts);
        self.amount.checked_sub(paid).filter(|missing| *missing != Credits::ZERO)
    }

    /// Adds the widest routes of a flow of least cost for what is missing; where these do not pay
    /// all, some fewer, and those of a coarser flow for the rest.
    fn add_flows(&mut self, mut flows: Flows) {
        for _ in 0..ROUNDS_OF_FLOWS {
            let free = self.max_parts - self.parts.len();
            let Some(missing) = self.missing().filter(|_| free != 0) else { return };
            let Ok(amount) = u64::try_from(missing.0) else { return };
            let least = amount.div_ceil(free as u64 * flows.narrow).max(1);
            let plan = Plan {
                amount,
                part: amount.div_ceil(free as u64).max(1),
                least_room: least,
                unit: if flows.in_units { least } else { 1 },
            };
            let paths = PATHS_PER_PART * self.max_parts;
            let Some(mut flow) = self.ground.least_cost(plan, paths) else { return };
            let before = self.parts.len();
            self.add_paths(&mut flow, self.max_parts);
            self.fill_up();
            if self.missing().is_none() {
                return;
            }
            let keep =
                before + if flows.narrow == 1 { free } else { free - free.div_ceil(KEPT_FREE) };
            for part in self.parts.drain(keep.min(self.parts.len())..) {
                self.ground.give_back(&part);
            }
            if self.parts.len() == before {
                return;
            }
            flows.narrow = (flows.narrow / 2).max(1);
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
    }

    /// Adds the cheapest route for `share`, with as much as it carries of what is missing.
    fn add_cheapest(&mut self, share: Credits, missing: Credits) -> bool {
        let Some(path) = self.ground.cheapest(share) else { return false };
        let Some(part) = self.ground.largest_part(&path, missing) else { return false };
        self.add(part);
        true
    }

    fn add(&mut self, part: Part) {
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
/// Where a flow does not pay everything, one route in so many is left for the next one.
const KEPT_FREE: usize = 4;
/// How often the parts may be divided anew, for each part that is allowed.
const ROUNDS_PER_PART: usize = 4;
