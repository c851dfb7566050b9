//! Connections: two ends, packets in order each way, cut at any time.

use std::collections::BTreeMap;

use offset_proto::{
    index::{ClientToIndex, IndexPeerMessage, IndexToClient},
    relay::{ClientToRelay, RelayToClient},
};

use crate::world::{Event, World};

/// Numbers a connection; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WireId(pub(crate) u64);

/// Where a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Site {
    Node(usize),
    Relay(usize),
    Index(usize),
}

/// What travels.
#[derive(Debug, Clone)]
pub(crate) enum Packet {
    ToRelay(ClientToRelay),
    FromRelay(RelayToClient),
    ToIndex(ClientToIndex),
    FromIndex(IndexToClient),
    Peer(IndexPeerMessage),
}

#[derive(Debug)]
pub(crate) struct Wire {
    /// Who opened it, and to whom.
    pub(crate) ends: [Site; 2],
    /// Which ends still take it for standing.
    pub(crate) open: [bool; 2],
    /// When the last packet to each end arrives: order is kept.
    last: [u64; 2],
    /// Packets that wait for the end of a partition, to each end.
    held: [Vec<Packet>; 2],
}

/// All connections, and who cannot reach whom.
#[derive(Debug, Default)]
pub(crate) struct Wires {
    pub(crate) all: BTreeMap<WireId, Wire>,
    next: u64,
    /// Directed, with the time of the end.
    pub(crate) blocked: BTreeMap<(Site, Site), u64>,
}

impl World {
    /// Opens a connection; the other side hears of it when it arrives there. `None`: not reachable.
    pub(crate) fn connect(&mut self, from: Site, to: Site) -> Option<WireId> {
        if self.is_blocked(from, to) || self.is_blocked(to, from) || !self.is_up(to) {
            return None;
        }
        let id = WireId(self.wires.next);
        self.wires.next += 1;
        let wire = Wire {
            ends: [from, to],
            open: [true, true],
            last: [self.now; 2],
            held: [vec![], vec![]],
        };
        self.wires.all.insert(id, wire);
        self.opened(to, from, id);
        Some(id)
    }

    pub(crate) fn is_blocked(&self, from: Site, to: Site) -> bool {
        self.wires.blocked.get(&(from, to)).is_some_and(|until| self.now < *until)
    }

    /// The end of a connection that is at a site.
    pub(crate) fn end_at(&self, id: WireId, site: Site) -> Option<usize> {
        self.wires.all.get(&id)?.ends.iter().position(|end| *end == site)
    }

    /// Sends from a site over a connection, if that end still takes it for standing.
    pub(crate) fn transmit(&mut self, from: Site, id: WireId, packet: Packet) {
        let Some(end) = self.end_at(id, from) else { return };
        let delay = self.draw.between(self.options.delay_ms.0, self.options.delay_ms.1);
        let now = self.now;
        let blocked = self.wires.all.get(&id).is_some_and(|wire| {
            let [a, b] = wire.ends;
            let (from, to) = if end == 0 { (a, b) } else { (b, a) };
            self.is_blocked(from, to)
        });
        let Some(wire) = self.wires.all.get_mut(&id) else { return };
        if !wire.open[end] {
            return;
        }
        let to = 1 - end;
        if blocked || !wire.held[to].is_empty() {
            wire.held[to].push(packet);
            return;
        }
        let at = (now + delay).max(wire.last[to]);
        wire.last[to] = at;
        self.schedule(at, Event::Arrive { wire: id, end: to, packet: Box::new(packet) });
    }

    /// A packet reaches an end.
    pub(crate) fn arrive(&mut self, id: WireId, end: usize, packet: Packet) {
        let Some(wire) = self.wires.all.get(&id) else { return };
        let (site, open) = (wire.ends[end], wire.open[end]);
        if let (Packet::FromRelay(message), Site::Relay(relay)) = (&packet, wire.ends[1 - end])
            && !self.relays[relay].lies
        {
            self.relay_written(relay, id, message);
        }
        if open {
            self.receive(site, id, packet);
        }
    }

    /// Partitions that are over let through what waited.
    pub(crate) fn unblock(&mut self) {
        let now = self.now;
        self.wires.blocked.retain(|_, until| now < *until);
        let ids: Vec<_> = self.wires.all.keys().copied().collect();
        for id in ids {
            for to in [0, 1] {
                let Some(wire) = self.wires.all.get_mut(&id) else { continue };
                let (from_site, to_site) = (wire.ends[1 - to], wire.ends[to]);
                if wire.held[to].is_empty()
                    || self.wires.blocked.contains_key(&(from_site, to_site))
                {
                    continue;
                }
                let packets = std::mem::take(&mut wire.held[to]);
                for packet in packets {
                    self.transmit(from_site, id, packet);
                }
            }
        }
    }

    /// Cuts a connection: each end hears of it, one perhaps much later. What is under way is lost.
    pub(crate) fn cut(&mut self, id: WireId) {
        let Some(wire) = self.wires.all.get_mut(&id) else { return };
        for to in [0, 1] {
            wire.held[to].clear();
        }
        let late = if self.options.half_open { self.draw.between(0, 30_000) } else { 0 };
        let first = self.draw.index(2);
        let now = self.now;
        self.schedule(now, Event::Gone { wire: id, end: first });
        self.schedule(now + late, Event::Gone { wire: id, end: 1 - first });
        self.cancel_arrivals(id);
    }

    /// One side closes a connection: what it sent before still arrives, then the other end hears.
    pub(crate) fn close(&mut self, site: Site, id: WireId) {
        let Some(end) = self.end_at(id, site) else { return };
        let Some(wire) = self.wires.all.get_mut(&id) else { return };
        wire.open[end] = false;
        let to = 1 - end;
        if !wire.open[to] {
            self.wires.all.remove(&id);
            return;
        }
        let at = wire.last[to].max(self.now) + 1;
        self.schedule(at, Event::Gone { wire: id, end: to });
    }

    /// An end hears that its connection is gone.
    pub(crate) fn gone(&mut self, id: WireId, end: usize) {
        let Some(wire) = self.wires.all.get_mut(&id) else { return };
        let (site, was_open) = (wire.ends[end], wire.open[end]);
        wire.open[end] = false;
        if !wire.open[1 - end] {
            self.wires.all.remove(&id);
        }
        if was_open {
            self.closed(site, id);
        }
    }
}
