//! What an index server counts of itself.

use std::sync::Arc;

use offset_net::metrics::{Counter, Durations, Gauge, ListenerCounts, Page};

use crate::directory::{Refusal, Verdict};

/// The counters of an index server; copies are of the same counters.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Counts>);

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) node_listener: Arc<ListenerCounts>,
    pub(crate) server_listener: Arc<ListenerCounts>,
    pub(crate) nodes: Gauge,
    pub(crate) edges: Gauge,
    pub(crate) connected: Gauge,
    pub(crate) servers: Gauge,
    pub(crate) trusted: Gauge,
    pub(crate) lacking: Gauge,
    /// Of statements, as estimated.
    pub(crate) stored_bytes: Gauge,
    /// Seconds since the node was heard of which nothing was heard for longest.
    pub(crate) oldest: Gauge,
    /// Edges that searches looked at.
    pub(crate) looked_at: Counter,
    /// The ages of what the best way of each answer relies on, in milliseconds, summed.
    ages: Counter,
    /// Of the searches themselves.
    pub(crate) searching: Durations,
    /// From a request to its answer.
    pub(crate) answering: Durations,
    pub(crate) waiting: Gauge,
    updates: [Counter; UPDATES.len()],
    /// Of federated servers, and not taken.
    not_taken: [Counter; NOT_TAKEN.len()],
    /// Updates of connected nodes that had to wait.
    pub(crate) slowed: Counter,
    found: Counter,
    not_found: Counter,
    cut_short: Counter,
    /// By pace, by crowd, by patience.
    pub(crate) refused: [Counter; REFUSED.len()],
    /// Disconnected, because they do not read what they asked for.
    pub(crate) not_reading: Counter,
    pub(crate) broken: Counter,
}

impl Metrics {
    /// Everything, as Prometheus reads it.
    #[must_use]
    pub fn page(&self) -> String {
        let counts = &self.0;
        let mut page = Page::default();
        page.listener("offset_index_nodes", &counts.node_listener);
        page.listener("offset_index_servers", &counts.server_listener);
        page.gauge("offset_index_nodes", "Nodes that are known.", counts.nodes.value());
        page.gauge("offset_index_edges", "Directed edges of the graph.", counts.edges.value());
        page.gauge("offset_index_clients", "Nodes that are connected.", counts.connected.value());
        page.gauge(
            "offset_index_federated",
            "Index servers that are connected.",
            counts.servers.value(),
        );
        page.gauge(
            "offset_index_trusted",
            "Index servers that are trusted.",
            counts.trusted.value(),
        );
        page.gauge(
            "offset_index_federated_lacking",
            "Nodes of which federated servers are still to be told something, summed over them.",
            counts.lacking.value(),
        );
        page.gauge(
            "offset_index_stored_bytes",
            "Bytes of stored statements, as estimated; the limit is directory.max_stored_bytes.",
            counts.stored_bytes.value(),
        );
        page.gauge(
            "offset_index_oldest_seconds",
            "How long ago the node was heard of which nothing was heard for longest.",
            counts.oldest.value(),
        );
        page.counter(
            "offset_index_answer_age_milliseconds_total",
            "Of every answer with a way the age of the oldest statement that the best way relies on, \
             summed; divide by the searches that found one.",
            counts.ages.count(),
        );
        page.counter(
            "offset_index_search_edges_total",
            "Edges that searches looked at.",
            counts.looked_at.count(),
        );
        page.durations(
            "offset_index_search_seconds",
            "How long searches took, without the time they waited.",
            &counts.searching,
        );
        page.durations(
            "offset_index_answer_seconds",
            "How long requests waited and were searched for.",
            &counts.answering,
        );
        let updates = UPDATES.iter().zip(&counts.updates);
        page.counters(
            "offset_index_updates_total",
            "Updates of connected nodes, by what became of them.",
            "result",
            updates.map(|(result, count)| (*result, count.count())),
        );
        let not_taken = NOT_TAKEN.iter().zip(&counts.not_taken);
        page.counters(
            "offset_index_federated_updates_refused_total",
            "Updates from federated index servers that were not taken, by reason.",
            "reason",
            not_taken.map(|(reason, count)| (*reason, count.count())),
        );
        page.counter(
            "offset_index_updates_slowed_total",
            "Updates of connected nodes that had to wait, as the node sent them faster than they \
             are taken.",
            counts.slowed.count(),
        );
        page.counters(
            "offset_index_searches_total",
            "Searches that ended, by what they found; cut_short counts those that stopped at the \
             limit, whatever they found.",
            "result",
            [
                ("found", counts.found.count()),
                ("not_found", counts.not_found.count()),
                ("cut_short", counts.cut_short.count()),
            ],
        );
        page.gauge("offset_index_searches_waiting", "Searches that wait.", counts.waiting.value());
        let refused = REFUSED.iter().zip(&counts.refused);
        page.counters(
            "offset_index_requests_refused_total",
            "Requests for routes or cycles that were refused, by the limit that was reached.",
            "reason",
            refused.map(|(reason, count)| (*reason, count.count())),
        );
        page.counters(
            "offset_index_clients_closed_total",
            "Nodes that were disconnected, by reason.",
            "reason",
            [("not_reading", counts.not_reading.count()), ("broken_update", counts.broken.count())],
        );
        page.into_text()
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.0
    }
}

impl Counts {
    pub(crate) fn searched(&self, found: bool, cut_short: bool) {
        if found { &self.found } else { &self.not_found }.raise();
        if cut_short {
            self.cut_short.raise();
        }
    }

    /// The age of what the best way of an answer relies on, where there is any.
    pub(crate) fn dated(&self, age_ms: Option<u64>) {
        self.ages.add(age_ms.unwrap_or(0));
    }

    /// An update from a federated server is not taken.
    pub(crate) fn not_taken(&self, refusal: Refusal) {
        let place = match refusal {
            Refusal::Time | Refusal::Epoch => 0,
            Refusal::TooManyLines => 1,
            Refusal::OwnLine => 2,
            Refusal::Full => 3,
        };
        self.not_taken[place].raise();
    }

    pub(crate) fn updated(&self, verdict: &Verdict) {
        let place = match verdict {
            Verdict::Applied { .. } => 0,
            Verdict::NotNewer { .. } => 1,
            Verdict::Gap => 2,
            Verdict::Refused(Refusal::Time | Refusal::Epoch) => 3,
            Verdict::Refused(Refusal::TooManyLines) => 4,
            Verdict::Refused(Refusal::OwnLine) => 5,
            Verdict::Refused(Refusal::Full) => 6,
        };
        self.updates[place].raise();
    }
}

const UPDATES: [&str; 7] =
    ["applied", "not_newer", "gap", "wrong_time", "too_many_lines", "own_line", "full"];

const NOT_TAKEN: [&str; 4] = ["wrong_time", "too_many_lines", "own_line", "full"];

/// Why a request is refused: more than the key or its address may ask, more than may wait, or after
/// having waited too long.
const REFUSED: [&str; 3] = ["pace", "crowd", "patience"];
pub(crate) const PACE: usize = 0;
pub(crate) const CROWD: usize = 1;
pub(crate) const PATIENCE: usize = 2;
