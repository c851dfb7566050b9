//! The limits of a node by name.

use crate::{limit, listener_limits, manners::limits::Limit};

/// What the file's `[limits]` sets.
#[derive(Debug, Clone)]
pub(super) struct NodeLimits {
    pub(super) funder: offset_funder::Config,
    pub(super) apps: offset_net::Limits,
}

impl Default for NodeLimits {
    fn default() -> Self {
        let usual = offset_node::Config::new("", "");
        Self { funder: usual.funder, apps: usual.app_limits }
    }
}

/// Every limit, in the order in which the example file has them.
pub(super) fn known() -> Vec<Limit<NodeLimits>> {
    let mut known = vec![
        limit!(NodeLimits, "max_friends", funder.max_friends, 1..=1_000_000),
        limit!(NodeLimits, "max_payments", funder.max_payments, 1..=1_000_000),
        limit!(NodeLimits, "max_invoices", funder.max_invoices, 1..=100_000_000),
        limit!(NodeLimits, "max_hold_seconds", funder.max_hold_seconds, 0..=90 * 24 * 3_600),
    ];
    known.extend(listener_limits!(NodeLimits, "apps", apps));
    known
}

/// As they are when nothing is said.
#[cfg(test)]
pub(super) fn lines() -> Vec<String> {
    crate::manners::limits::lines(&known(), &NodeLimits::default())
}
