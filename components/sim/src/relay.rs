//! Relays: the real broker, and the moving of what it decides.

use std::collections::BTreeMap;

use offset_crypto::PublicKey;
use offset_proto::{
    Timestamp,
    relay::{ClientToRelay, RelayToClient},
};
use offset_relay::{
    Broker, Limits,
    broker::{ConnectionId, Effect},
    waiting_cost,
};

use crate::{
    liars::Heard,
    wire::{Packet, Site, WireId},
    world::{Event, World},
};

pub(crate) struct RelaySite {
    pub(crate) key: PublicKey,
    pub(crate) broker: Option<Broker>,
    boot: u64,
    wires: BTreeMap<ConnectionId, WireId>,
    /// Whether it tells its clients anything but the truth.
    pub(crate) lies: bool,
    pub(crate) heard: Heard,
}

impl RelaySite {
    pub(crate) fn new(key: PublicKey, lies: bool) -> Self {
        let (wires, heard) = (BTreeMap::new(), Heard::default());
        Self { key, broker: None, boot: 0, wires, lies, heard }
    }
}

impl World {
    pub(crate) fn start_relay(&mut self, relay: usize) {
        let now = Timestamp(self.now);
        let site = &mut self.relays[relay];
        if site.broker.is_some() {
            return;
        }
        site.boot += 1;
        site.broker = Some(Broker::new(Limits::default(), now));
    }

    pub(crate) fn stop_relay(&mut self, relay: usize) {
        self.relays[relay].broker = None;
        self.relays[relay].wires.clear();
        self.cut_all(Site::Relay(relay));
    }

    pub(crate) fn relay_opened(&mut self, relay: usize, node: usize, wire: WireId) {
        let (now, key) = (Timestamp(self.now), self.key(node));
        let id = ConnectionId(wire.0);
        self.relays[relay].wires.insert(id, wire);
        if let Some(broker) = &mut self.relays[relay].broker {
            broker.handle_connected(id, key, None, now);
        }
        self.perform_relay(relay);
    }

    pub(crate) fn relay_message(&mut self, relay: usize, wire: WireId, message: ClientToRelay) {
        let now = Timestamp(self.now);
        if let Some(broker) = &mut self.relays[relay].broker {
            broker.handle_message(ConnectionId(wire.0), message, now);
        }
        self.perform_relay(relay);
    }

    /// What the broker sent has left.
    pub(crate) fn relay_written(&mut self, relay: usize, wire: WireId, message: &RelayToClient) {
        if let Some(broker) = &mut self.relays[relay].broker {
            broker.handle_written(ConnectionId(wire.0), waiting_cost(message));
        }
    }

    pub(crate) fn relay_lost(&mut self, relay: usize, wire: WireId) {
        let now = Timestamp(self.now);
        self.relays[relay].wires.remove(&ConnectionId(wire.0));
        if let Some(broker) = &mut self.relays[relay].broker {
            broker.handle_disconnected(ConnectionId(wire.0), now);
        }
        self.perform_relay(relay);
    }

    pub(crate) fn relay_timer(&mut self, relay: usize, boot: u64) {
        let now = Timestamp(self.now);
        if self.relays[relay].boot == boot
            && let Some(broker) = &mut self.relays[relay].broker
        {
            broker.handle_timeout(now);
            self.perform_relay(relay);
        }
    }

    fn perform_relay(&mut self, relay: usize) {
        while let Some(effect) = self.relays[relay].broker.as_mut().and_then(Broker::next_effect) {
            match effect {
                Effect::Send(id, message) => {
                    let Some(wire) = self.relays[relay].wires.get(&id).copied() else { continue };
                    if self.relays[relay].lies {
                        // What it says instead is not what was charged for.
                        self.relay_written(relay, wire, &message);
                    }
                    for message in self.relay_lie(relay, message) {
                        self.transmit(Site::Relay(relay), wire, Packet::FromRelay(message));
                    }
                }
                Effect::Disconnect(id, _) => {
                    if let Some(wire) = self.relays[relay].wires.remove(&id) {
                        self.close(Site::Relay(relay), wire);
                    }
                }
                // Nothing here sends as much.
                Effect::Pause(..) => {}
            }
        }
        let boot = self.relays[relay].boot;
        let next = self.relays[relay].broker.as_ref().and_then(Broker::next_timeout);
        if let Some(at) = next {
            self.schedule(at.0, Event::RelayTimer { relay, boot });
        }
    }
}
