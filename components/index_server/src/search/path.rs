//! Ways, and what goes over them.

use offset_proto::Credits;

use crate::graph::{Edge, Number};

/// A way from the source to the destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    /// Source first; none twice.
    pub(super) nodes: Vec<Number>,
    /// From each node but the last to the next one.
    pub(super) edges: Vec<Edge>,
}

impl Path {
    /// What all mediators take for an amount; `None` when it does not fit.
    pub(super) fn fee(&self, amount: Credits) -> Option<Credits> {
        // The last edge ends at the destination, which takes nothing.
        let (_, to_mediators) = self.edges.split_last()?;
        to_mediators
            .iter()
            .try_fold(Credits::ZERO, |sum, edge| sum.checked_add(edge.rate.fee(amount)?))
    }

    /// What all mediators take of each million, besides the fixed part.
    pub(super) fn ppm(&self) -> u64 {
        let to_mediators = self.edges.split_last().map(|(_, rest)| rest).unwrap_or_default();
        to_mediators.iter().map(|edge| u64::from(edge.rate.ppm)).sum()
    }

    /// The ends and the edge of every hop.
    pub(super) fn hops(&self) -> impl Iterator<Item = (Number, Number, &Edge)> {
        self.nodes.windows(2).zip(&self.edges).filter_map(|(step, edge)| match step {
            [from, to] => Some((*from, *to, edge)),
            _ => None,
        })
    }

    /// Whether no node is on it twice.
    pub(super) fn is_simple(&self) -> bool {
        let mut nodes = self.nodes.clone();
        nodes.sort_unstable();
        nodes.windows(2).all(|pair| pair[0] != pair[1])
    }
}

/// What goes over one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) path: Path,
    pub(super) amount: Credits,
    pub(super) fee: Credits,
}

impl Part {
    /// What mediators take of each 2^32 credits that are paid.
    pub(super) fn rate(&self) -> u128 {
        self.fee.0.saturating_mul(1 << 32) / self.amount.0.max(1)
    }

    /// What each edge carries: the amount, and the fees of every mediator from its end on.
    pub(super) fn carried(&self) -> impl Iterator<Item = (Number, Number, Credits)> + '_ {
        let mut carried = self.amount.checked_add(self.fee).unwrap_or(Credits(u128::MAX));
        self.path.hops().map(move |(from, to, edge)| {
            let here = carried;
            // After the last edge nothing is carried on, so its rate makes no difference.
            let fee = edge.rate.fee(self.amount).unwrap_or_default();
            carried = carried.checked_sub(fee).unwrap_or_default();
            (from, to, here)
        })
    }
}

/// What all parts pay together, or everything when it does not fit.
pub(super) fn paid(parts: &[Part]) -> Credits {
    total(parts.iter().map(|part| part.amount))
}

/// What the mediators of all parts take together, or everything when it does not fit.
pub(super) fn fees(parts: &[Part]) -> Credits {
    total(parts.iter().map(|part| part.fee))
}

/// The sum, or everything when it does not fit.
pub(super) fn total(credits: impl Iterator<Item = Credits>) -> Credits {
    credits.fold(Credits::ZERO, |sum, more| sum.checked_add(more).unwrap_or(Credits(u128::MAX)))
}
