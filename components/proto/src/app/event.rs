//! What a node tells an application unasked, and the journal of it.

use super::*;
use crate::report::{FriendReport, NodeReport, ReportMutation};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppEvent {
    /// The report, first of all. Where friends are missing, [`AppEvent::Friends`] follow.
    Report {
        /// The sequence number of the first mutation that follows, minus 1.
        sequence: u64,
        /// The report.
        report: Box<NodeReport>,
    },
    /// A change of the report.
    Mutation {
        /// Rises by one with every mutation.
        sequence: u64,
        /// The change.
        mutation: Box<ReportMutation>,
    },
    /// More friends of the report that has just begun, before any mutation.
    Friends {
        /// The friends.
        friends: Vec<FriendReport>,
        /// Whether more follow.
        more: bool,
    },
    /// A payment or invoice of ours moved on.
    Journal(JournalEvent),
}

/// An entry of the journal. The node keeps the last ones, so that an application that remembers the
/// last number it has seen misses none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEvent {
    /// Rises by one with every entry.
    pub number: u64,
    /// What moved.
    pub entry: JournalEntry,
}

/// What moved, as it stands when it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalEntry {
    /// A payment of ours.
    Payment(Box<PaymentReport>),
    /// An invoice of ours.
    Invoice(Box<InvoiceReport>),
}

/// A page of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    /// In the order of their numbers, at most [`MAX_EVENTS`]. A payment or invoice that is no longer
    /// kept is left out.
    pub events: Vec<JournalEvent>,
    /// The page tells everything up to this number.
    pub up_to: u64,
    /// The newest number. More follows while it is above `up_to`.
    pub last: u64,
}

/// The most entries in a page of the journal.
pub const MAX_EVENTS: usize = 64;
