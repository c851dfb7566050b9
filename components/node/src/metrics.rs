//! What a node counts of itself.

use std::{sync::Arc, time::Duration};

use offset_funder::{
    Change,
    state::{Phase, State},
};
use offset_net::metrics::{Counter, Durations, Gauge, ListenerCounts, Page};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

/// The counters of a node; copies are of the same counters.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Counts>);

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) listener: Arc<ListenerCounts>,
    payments: [Counter; OUTCOMES.len()],
    pub(crate) tokens_sent: Counter,
    pub(crate) tokens_received: Counter,
    pub(crate) commits: Durations,
    pub(crate) changes: Counter,
    pub(crate) permission_refused: Counter,
    pub(crate) pace_refused: Counter,
    pub(crate) slow_apps: Counter,
    pub(crate) slow_friends: Counter,
    pub(crate) broken_friends: Counter,
    /// Handshakes with friends that stood at the end, that failed, and that were not begun as too
    /// many were under way.
    pub(crate) greeted: Counter,
    pub(crate) greeting_failed: Counter,
    pub(crate) greeting_refused: Counter,
    /// Circuits of nobody we know that were taken, and that were not as too many came.
    strangers: Counter,
    strangers_refused: Counter,
    looks: Looks,
}

/// What only the core knows, and says when it is asked.
#[derive(Debug, Default)]
struct Looks {
    asked: Notify,
    seen: watch::Sender<u64>,
    friends: Gauge,
    sessions: Gauge,
    lines: Gauge,
    pending: [Gauge; 2],
    queued: Gauge,
    payments: Gauge,
    invoices: Gauge,
    apps: Gauge,
    inputs: Gauge,
    batches: Gauge,
}

/// What the core's shell knows besides the state.
#[derive(Debug)]
pub(crate) struct Depths {
    pub(crate) sessions: usize,
    pub(crate) apps: usize,
    pub(crate) inputs: usize,
    pub(crate) batches: usize,
}

impl Metrics {
    /// Everything, as Prometheus reads it. Asks the core for what only it knows, and goes on with
    /// what it said last when it does not answer soon.
    pub async fn page(&self) -> String {
        let mut seen = self.0.looks.seen.subscribe();
        self.0.looks.asked.notify_one();
        if timeout(PATIENCE, seen.changed()).await.is_err() {
            log::debug!("the core is too busy to be looked at");
        }
        self.write()
    }

    /// The counters, for who raises them.
    pub(crate) fn counts(&self) -> &Counts {
        &self.0
    }

    /// Done when somebody wants to see what only the core knows.
    pub(crate) async fn asked(&self) {
        self.0.looks.asked.notified().await;
    }

    /// The core lets itself be looked at.
    pub(crate) fn look(&self, state: &State, depths: &Depths) {
        let looks = &self.0.looks;
        let lines = || {
            let lines = state.friends.values().flat_map(|friend| friend.lines.values());
            lines.filter_map(|line| line.credit.as_ref())
        };
        looks.friends.set(state.friends.len());
        looks.sessions.set(depths.sessions);
        looks.lines.set(lines().count());
        for (gauge, side) in looks.pending.iter().zip(offset_funder::Side::BOTH) {
            gauge.set(lines().map(|credit| credit.pending(side).len()).sum());
        }
        looks.queued.set(state.friends.values().map(|friend| friend.queue.len()).sum());
        looks.payments.set(state.payments.len());
        looks.invoices.set(state.invoices.len());
        looks.apps.set(depths.apps);
        looks.inputs.set(depths.inputs);
        looks.batches.set(depths.batches);
        looks.seen.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn write(&self) -> String {
        let Counts { looks, .. } = &*self.0;
        let mut page = Page::default();
        page.listener("offset_node_apps", &self.0.listener);
        let outcomes = OUTCOMES.iter().zip(&self.0.payments);
        page.counters(
            "offset_node_payments_total",
            "Own payments that ended, by outcome.",
            "outcome",
            outcomes.map(|(outcome, count)| (*outcome, count.count())),
        );
        page.counter(
            "offset_node_tokens_sent_total",
            "Move tokens sent to friends, repetitions included.",
            self.0.tokens_sent.count(),
        );
        page.counter(
            "offset_node_tokens_received_total",
            "Move tokens that came from friends.",
            self.0.tokens_received.count(),
        );
        page.durations(
            "offset_node_commit_seconds",
            "From handing a batch to the disk until it is durable.",
            &self.0.commits,
        );
        page.counter("offset_node_rows_total", "Rows written.", self.0.changes.count());
        for (name, help, gauge) in [
            ("friends", "Friends.", &looks.friends),
            ("sessions", "Friends with whom a session stands.", &looks.sessions),
            ("lines", "Active currencies over all friends.", &looks.lines),
            (
                "pending_local",
                "Requests of this node or passed on by it that have not ended.",
                &looks.pending[0],
            ),
            ("pending_remote", "Requests of friends that have not ended.", &looks.pending[1]),
            ("queued", "Operations that wait for a token.", &looks.queued),
            ("payments_open", "Own payments under way.", &looks.payments),
            ("invoices_open", "Own invoices that have not ended.", &looks.invoices),
            ("apps", "Applications that are connected.", &looks.apps),
            ("inputs_waiting", "Inputs that wait for the core.", &looks.inputs),
            ("batches_waiting", "Batches that wait for the disk.", &looks.batches),
        ] {
            page.gauge(&format!("offset_node_{name}"), help, gauge.value());
        }
        page.counters(
            "offset_node_requests_refused_total",
            "Requests of applications that were refused before they were looked at.",
            "reason",
            [
                ("permission", self.0.permission_refused.count()),
                ("pace", self.0.pace_refused.count()),
            ],
        );
        page.counters(
            "offset_node_sessions_closed_total",
            "Sessions that this node closed because the other side broke a limit or the protocol.",
            "reason",
            [
                ("slow_app", self.0.slow_apps.count()),
                ("slow_friend", self.0.slow_friends.count()),
                ("friend_broke_protocol", self.0.broken_friends.count()),
            ],
        );
        page.counters(
            "offset_node_friend_handshakes_total",
            "Handshakes with friends over circuits; refused are those that a friend asked for while \
             too many of its own were under way.",
            "result",
            [
                ("established", self.0.greeted.count()),
                ("failed", self.0.greeting_failed.count()),
                ("refused", self.0.greeting_refused.count()),
            ],
        );
        page.counters(
            "offset_node_strangers_total",
            "Circuits of nodes that are no enabled friends; refused are those beyond what is taken \
             of them all.",
            "result",
            [("taken", self.0.strangers.count()), ("refused", self.0.strangers_refused.count())],
        );
        page.into_text()
    }
}

impl Counts {
    /// A handshake with a friend ended, well or not.
    pub(crate) fn friend_greeted(&self, well: bool) {
        if well { &self.greeted } else { &self.greeting_failed }.raise();
    }

    /// A circuit of nobody we know came, and was taken or not.
    pub(crate) fn stranger_came(&self, taken: bool) {
        if taken { &self.strangers } else { &self.strangers_refused }.raise();
    }

    /// Counts what a batch ends.
    pub(crate) fn batch(&self, changes: &[Change]) {
        self.changes.add(u64::try_from(changes.len()).unwrap_or(u64::MAX));
        for change in changes {
            if let Change::Payment(_, row) = change
                && let Some(place) = outcome(&row.phase)
            {
                self.payments[place].raise();
            }
        }
    }
}

const OUTCOMES: [&str; 4] = ["succeeded", "failed", "cancelled", "unknown"];

const fn outcome(phase: &Phase) -> Option<usize> {
    match phase {
        Phase::Routing | Phase::Requesting | Phase::Complete | Phase::Committed => None,
        Phase::Succeeded { .. } => Some(0),
        Phase::Failed(_) => Some(1),
        Phase::Cancelled => Some(2),
        Phase::Unknown => Some(3),
    }
}

/// How long a look waits for the core.
const PATIENCE: Duration = Duration::from_secs(1);
