//! What a relay counts of itself.

use std::sync::Arc;

use offset_net::metrics::{Counter, Gauge, ListenerCounts, Page};
use offset_proto::relay::{CloseReason, RelayToClient};

use crate::broker::{Load, Reason};

/// The counters of a relay; copies are of the same counters.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    listener: Arc<ListenerCounts>,
    clients: Counter,
    connections: Gauge,
    listeners: Gauge,
    circuits: Gauge,
    waiting_bytes: Gauge,
    opened: Counter,
    bytes: Counter,
    pauses: Counter,
    ended: [Counter; 7],
    closed: [Counter; 6],
}

impl Metrics {
    /// Everything, as Prometheus reads it.
    #[must_use]
    pub fn page(&self) -> String {
        let counts = &self.0;
        let mut page = Page::default();
        page.listener("offset_relay", &counts.listener);
        page.counter("offset_relay_clients_total", "Clients that came.", counts.clients.count());
        page.gauge(
            "offset_relay_clients",
            "Clients that are connected.",
            counts.connections.value(),
        );
        page.gauge("offset_relay_listeners", "Keys that listen.", counts.listeners.value());
        page.gauge("offset_relay_circuits", "Circuits, accepted or not.", counts.circuits.value());
        page.gauge(
            "offset_relay_waiting_bytes",
            "Bytes that wait to be written.",
            counts.waiting_bytes.value(),
        );
        page.counter(
            "offset_relay_circuits_opened_total",
            "Circuits that were accepted.",
            counts.opened.count(),
        );
        page.counters(
            "offset_relay_circuit_ends_total",
            "Ends of circuits that were told of their end, by reason; limit is a limit of the relay.",
            "reason",
            ENDS.iter().zip(&counts.ended).map(|(reason, count)| (*reason, count.count())),
        );
        page.counter(
            "offset_relay_bytes_total",
            "Bytes that were passed on.",
            counts.bytes.count(),
        );
        page.counter(
            "offset_relay_pauses_total",
            "Times that reading from a client paused, because it or all sent too much.",
            counts.pauses.count(),
        );
        page.counters(
            "offset_relay_clients_closed_total",
            "Clients that the relay disconnected, by reason.",
            "reason",
            CLOSED.iter().zip(&counts.closed).map(|(reason, count)| (*reason, count.count())),
        );
        page.into_text()
    }

    pub(crate) fn listener(&self) -> Arc<ListenerCounts> {
        Arc::clone(&self.0.listener)
    }

    pub(crate) fn client_came(&self) {
        self.0.clients.raise();
    }

    pub(crate) fn paused(&self) {
        self.0.pauses.raise();
    }

    pub(crate) fn sent(&self, message: &RelayToClient) {
        match message {
            RelayToClient::Data { bytes, .. } => {
                self.0.bytes.add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            }
            RelayToClient::Connected { .. } => self.0.opened.raise(),
            RelayToClient::Close { reason, .. } => self.0.ended[end_of(*reason)].raise(),
            RelayToClient::Listening
            | RelayToClient::Incoming { .. }
            | RelayToClient::Window { .. } => {}
        }
    }

    pub(crate) fn disconnected(&self, reason: Reason) {
        self.0.closed[place_of(reason)].raise();
    }

    pub(crate) fn carries(&self, load: Load) {
        let Load { connections, listeners, circuits, waiting_bytes } = load;
        self.0.connections.set(connections);
        self.0.listeners.set(listeners);
        self.0.circuits.set(circuits);
        self.0.waiting_bytes.set(waiting_bytes);
    }
}

const ENDS: [&str; 7] =
    ["closed", "not_listening", "timeout", "rejected", "gone", "limit", "protocol"];

const fn end_of(reason: CloseReason) -> usize {
    match reason {
        CloseReason::Closed => 0,
        CloseReason::NotListening => 1,
        CloseReason::Timeout => 2,
        CloseReason::Rejected => 3,
        CloseReason::Gone => 4,
        CloseReason::Limit => 5,
        CloseReason::Protocol => 6,
    }
}

const CLOSED: [&str; 6] =
    ["replaced", "violation", "not_reading", "too_many_connections", "full", "stopping"];

const fn place_of(reason: Reason) -> usize {
    match reason {
        Reason::Replaced => 0,
        Reason::Violation(_) => 1,
        Reason::NotReading => 2,
        Reason::TooManyConnections => 3,
        Reason::Full => 4,
        Reason::Stopping => 5,
    }
}
