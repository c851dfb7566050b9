//! What always holds, counted anew.

use std::collections::BTreeMap;

use super::{Broker, CONTROL_ROOM_BYTES, Connection, ConnectionId, End, FIRST_WINDOW_BYTES, Phase};

impl Broker {
    /// Panics when an invariant of the [module](super) does not hold.
    pub fn check_invariants(&self) {
        let mut circuit_ends = 0;
        let mut offers = 0;
        let mut waiting_bytes = 0;
        for (id, connection) in &self.connections {
            let pending = self.check_connection(*id, connection);
            assert_eq!(pending, connection.pending, "counted: offers of {id:?}");
            offers += pending;
            circuit_ends += connection.ends.len();
            waiting_bytes += connection.waiting_bytes;
        }
        assert_eq!(circuit_ends, 2 * self.circuits, "counted: circuits");
        assert_eq!(offers, self.offers.len(), "offered in time");
        assert_eq!(waiting_bytes, self.waiting_bytes, "counted: waiting bytes");
        assert!(waiting_bytes <= self.limits.max_waiting_bytes_total, "bounded: what waits in all");
        assert!(self.circuits <= self.limits.max_circuits, "bounded: circuits");
        for (key, id) in &self.listeners {
            let listener = self.connections.get(id).expect("one listener: it is connected");
            assert_eq!(listener.key, *key, "one listener: of its own key");
        }
        let ends = self.connections.values().map(|each| (each.key, each.address, each.ends.len()));
        self.accounts.check(ends);
    }

    fn check_connection(&self, id: ConnectionId, connection: &Connection) -> usize {
        let limits = &self.limits;
        assert!(connection.ends.len() <= limits.max_circuits_per_connection, "bounded: {id:?}");
        assert!(connection.pending <= limits.max_pending_per_listener, "bounded: offers");
        assert!(
            connection.waiting_bytes <= limits.max_waiting_bytes + CONTROL_ROOM_BYTES,
            "bounded: what waits for {id:?}"
        );
        let mut pending = 0;
        let mut pending_by = BTreeMap::new();
        for (circuit, leg) in &connection.ends {
            let end = End { connection: id, circuit: *circuit };
            let other = self.connections[&leg.other.connection].ends[&leg.other.circuit];
            assert_eq!(other.other, end, "paired");
            match leg.phase {
                Phase::Open => assert_eq!(other.phase, Phase::Open, "paired"),
                Phase::Opening => assert!(matches!(other.phase, Phase::Offered(..)), "paired"),
                Phase::Offered(deadline, by) => {
                    *pending_by.entry(by).or_insert(0) += 1;
                    assert_eq!(other.phase, Phase::Opening, "paired");
                    assert!(self.offers.contains(&(deadline, end)), "offered in time");
                    pending += 1;
                }
            }
            let max = limits.max_window_bytes.max(FIRST_WINDOW_BYTES);
            assert!(leg.send_window_bytes <= max, "bounded: windows");
        }
        assert_eq!(pending_by, connection.pending_by, "counted: offers by source");
        let most = pending_by.into_values().max().unwrap_or(0);
        assert!(most <= limits.max_pending_per_source, "bounded: offers by source");
        pending
    }
}
