//! Sessions of friends over relays: listening, dialling, circuits, and messages in pieces.

use std::collections::{BTreeMap, VecDeque};

use offset_crypto::PublicKey;
use offset_funder::api::{Contact, Liveness, SessionId};
use offset_proto::{
    friend::FriendMessage,
    relay::{CircuitId, ClientToRelay, CloseReason, FIRST_WINDOW_BYTES, RelayToClient},
    session::{Packet as SessionPacket, Wire as _},
};

use crate::{
    node::Session,
    wire::{Packet, Site, WireId},
    world::{Event, World},
};

/// A connection to a relay.
pub(crate) struct RelayLink {
    wire: WireId,
    listening: bool,
    circuits: BTreeMap<CircuitId, Circuit>,
    next_circuit: u32,
}

struct Circuit {
    friend: PublicKey,
    by_us: bool,
    open: bool,
    /// How many bytes may be sent.
    window: u32,
    outbox: VecDeque<u8>,
    inbox: Vec<u8>,
}

impl Circuit {
    const fn new(friend: PublicKey, by_us: bool) -> Self {
        Self {
            friend,
            by_us,
            open: false,
            window: FIRST_WINDOW_BYTES,
            outbox: VecDeque::new(),
            inbox: Vec::new(),
        }
    }

    /// The next whole message that arrived.
    fn take_message(&mut self) -> Option<FriendMessage> {
        let length = self.inbox.get(..4)?;
        let length = u32::from_be_bytes(length.try_into().ok()?);
        let end = 4 + usize::try_from(length).ok()?;
        let frame = self.inbox.get(4..end)?;
        let packet = FriendMessage::decode(frame).expect("nodes send what decodes");
        self.inbox.drain(..end);
        match packet {
            SessionPacket::Message(message) => Some(message),
            SessionPacket::Control(_) => unreachable!("no control messages are sent here"),
        }
    }
}

impl World {
    /// Listens where it should.
    pub(crate) fn listen(&mut self, node: usize) {
        let Some(process) = self.process(node) else { return };
        for address in process.listen_at.clone() {
            if let Some(relay) = self.relay_named(address.public_key) {
                self.reach_relay(node, relay, true);
            }
        }
    }

    /// A connection to a relay; `None` while there is none.
    fn reach_relay(&mut self, node: usize, relay: usize, listen: bool) -> Option<WireId> {
        let known = self.process(node)?.relays.get(&relay).map(|link| link.wire);
        let wire = match known {
            Some(wire) => wire,
            None => {
                let wire = self.connect(Site::Node(node), Site::Relay(relay))?;
                let (circuits, next_circuit) = (BTreeMap::new(), 1);
                let link = RelayLink { wire, listening: false, circuits, next_circuit };
                self.process(node)?.relays.insert(relay, link);
                wire
            }
        };
        let link = self.process(node)?.relays.get_mut(&relay)?;
        if listen && !std::mem::replace(&mut link.listening, true) {
            self.tell_relay(node, relay, ClientToRelay::Listen);
        }
        Some(wire)
    }

    fn tell_relay(&mut self, node: usize, relay: usize, message: ClientToRelay) {
        let link = self.process(node).and_then(|process| process.relays.get(&relay));
        if let Some(wire) = link.map(|link| link.wire) {
            self.transmit(Site::Node(node), wire, Packet::ToRelay(message));
        }
    }

    pub(crate) fn set_contact(&mut self, node: usize, friend: PublicKey, contact: Option<Contact>) {
        let now = self.now;
        let Some(process) = self.process(node) else { return };
        match contact {
            Some(contact) => {
                process.contacts.insert(friend, contact);
                process.dialling.insert(friend, (now, 250));
            }
            None => {
                process.contacts.remove(&friend);
                process.dialling.remove(&friend);
                self.end_session(node, friend);
            }
        }
    }

    /// Tries everything that a node wants to reach and does not.
    pub(crate) fn dial(&mut self, node: usize, boot: u64) {
        if self.nodes[node].boot != boot || self.nodes[node].process.is_none() {
            return;
        }
        self.listen(node);
        self.reach_index(node);
        let now = self.now;
        let mut due = Vec::new();
        if let Some(process) = self.process(node) {
            for (friend, (at, wait)) in &mut process.dialling {
                if *at <= now && !process.sessions.contains_key(friend) {
                    due.push(*friend);
                    (*at, *wait) = (now + *wait, (*wait * 2).min(8_000));
                }
            }
        }
        for friend in due {
            self.dial_friend(node, friend);
        }
        let again = now + self.draw.between(50, 250);
        self.schedule(again, Event::Dial { node, boot });
    }

    fn dial_friend(&mut self, node: usize, friend: PublicKey) {
        let Some(process) = self.process(node) else { return };
        let Some(contact) = process.contacts.get(&friend) else { return };
        let mut relays = contact.relays.clone();
        relays.extend(contact.previous_relays.iter().cloned());
        let known = relays.iter().filter_map(|relay| self.relay_named(relay.public_key));
        let relays: Vec<_> = known.collect();
        if relays.is_empty() {
            return;
        }
        let relay = *self.draw.of(&relays);
        if self.reach_relay(node, relay, false).is_none() {
            return;
        }
        let link = self.process(node).and_then(|process| process.relays.get_mut(&relay));
        let Some(link) = link else { return };
        let circuit = CircuitId(link.next_circuit);
        link.next_circuit += 2;
        link.circuits.insert(circuit, Circuit::new(friend, true));
        self.tell_relay(node, relay, ClientToRelay::Connect { circuit, destination: friend });
    }

    pub(crate) fn node_relay_message(&mut self, node: usize, wire: WireId, message: RelayToClient) {
        let Some(process) = self.process(node) else { return };
        let relay = process.relays.iter().find(|(_, link)| link.wire == wire);
        let Some(relay) = relay.map(|(relay, _)| *relay) else { return };
        let Some(link) = process.relays.get_mut(&relay) else { return };
        match message {
            RelayToClient::Listening => {}
            RelayToClient::Incoming { circuit, source } => {
                if process.contacts.contains_key(&source) {
                    link.circuits.insert(circuit, Circuit::new(source, false));
                    self.tell_relay(node, relay, ClientToRelay::Accept { circuit });
                    self.session_opened(node, relay, circuit);
                } else {
                    self.tell_relay(node, relay, ClientToRelay::Reject { circuit });
                }
            }
            RelayToClient::Connected { circuit } => self.session_opened(node, relay, circuit),
            RelayToClient::Data { circuit, bytes } => {
                if let Some(open) = link.circuits.get_mut(&circuit) {
                    let length = u32::try_from(bytes.len()).expect("data is short");
                    open.inbox.extend(bytes);
                    self.tell_relay(node, relay, ClientToRelay::Window { circuit, bytes: length });
                    self.take_messages(node, relay, circuit);
                }
            }
            RelayToClient::Window { circuit, bytes } => {
                if let Some(open) = link.circuits.get_mut(&circuit) {
                    open.window += bytes;
                    self.send_bytes(node, relay, circuit);
                }
            }
            RelayToClient::Close { circuit, .. } => {
                let was = link.circuits.remove(&circuit);
                self.circuit_gone(node, relay, circuit, was.map(|was| was.friend));
            }
        }
    }

    /// A circuit is open: of two sessions with a friend one stays (protocol, section 4).
    fn session_opened(&mut self, node: usize, relay: usize, circuit: CircuitId) {
        let (local, now) = (self.key(node), self.now);
        let clock = self.clock(node);
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let link = process.relays.get_mut(&relay);
        let Some(open) = link.and_then(|link| link.circuits.get_mut(&circuit)) else { return };
        open.open = true;
        let friend = open.friend;
        let opened_by = if open.by_us { local } else { friend };
        if let Some(standing) = process.sessions.get(&friend).copied() {
            let crossing = standing.opened_by != opened_by && now - standing.opened_at < 5_000;
            if crossing && standing.opened_by < opened_by {
                return self.close_circuit(node, relay, circuit);
            }
            self.close_circuit(node, standing.relay, standing.circuit);
        }
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let id = SessionId(process.next_session);
        process.next_session += 1;
        let session = Session { id, relay, circuit, opened_by, opened_at: now };
        process.sessions.insert(friend, session);
        process.dialling.insert(friend, (now, 250));
        process.funder.handle_liveness(clock, friend, Liveness::Connected(id));
        self.flush(node);
        self.take_messages(node, relay, circuit);
    }

    fn close_circuit(&mut self, node: usize, relay: usize, circuit: CircuitId) {
        let link = self.process(node).and_then(|process| process.relays.get_mut(&relay));
        if link.and_then(|link| link.circuits.remove(&circuit)).is_some() {
            let reason = CloseReason::Closed;
            self.tell_relay(node, relay, ClientToRelay::Close { circuit, reason });
        }
    }

    /// Ends the session with a friend from this side.
    pub(crate) fn end_session(&mut self, node: usize, friend: PublicKey) {
        let Some(process) = self.process(node) else { return };
        if let Some(session) = process.sessions.get(&friend).copied() {
            self.close_circuit(node, session.relay, session.circuit);
            self.circuit_gone(node, session.relay, session.circuit, Some(friend));
        }
    }

    fn circuit_gone(
        &mut self,
        node: usize,
        relay: usize,
        circuit: CircuitId,
        friend: Option<PublicKey>,
    ) {
        let (clock, now) = (self.clock(node), self.now);
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let Some(friend) = friend else { return };
        let session = process.sessions.get(&friend);
        if session.is_some_and(|session| session.relay == relay && session.circuit == circuit) {
            process.sessions.remove(&friend);
            if process.contacts.contains_key(&friend) {
                process.dialling.insert(friend, (now, 250));
            }
            process.funder.handle_liveness(clock, friend, Liveness::Disconnected);
            self.flush(node);
        }
    }

    pub(crate) fn relay_link_lost(&mut self, node: usize, wire: WireId) {
        let Some(process) = self.process(node) else { return };
        let relay = process.relays.iter().find(|(_, link)| link.wire == wire);
        let Some(relay) = relay.map(|(relay, _)| *relay) else { return };
        let Some(link) = process.relays.remove(&relay) else { return };
        for (circuit, open) in link.circuits {
            self.circuit_gone(node, relay, circuit, Some(open.friend));
        }
    }

    /// Sends a message over a session, if it still stands.
    pub(crate) fn send_to_friend(
        &mut self,
        node: usize,
        friend: PublicKey,
        id: SessionId,
        message: FriendMessage,
    ) {
        self.remember_sent(node, friend, &message);
        let Some(process) = self.process(node) else { return };
        let Some(session) = process.sessions.get(&friend).copied() else { return };
        let link = process.relays.get_mut(&session.relay);
        let Some(open) = link.and_then(|link| link.circuits.get_mut(&session.circuit)) else {
            return;
        };
        if session.id != id {
            return;
        }
        let frame = FriendMessage::encode(&SessionPacket::Message(message));
        let length = u32::try_from(frame.len()).expect("a message is short");
        open.outbox.extend(length.to_be_bytes());
        open.outbox.extend(frame);
        self.send_bytes(node, session.relay, session.circuit);
    }

    fn send_bytes(&mut self, node: usize, relay: usize, circuit: CircuitId) {
        loop {
            let link = self.process(node).and_then(|process| process.relays.get_mut(&relay));
            let Some(open) = link.and_then(|link| link.circuits.get_mut(&circuit)) else { return };
            let window = usize::try_from(open.window).unwrap_or(0);
            let count = open.outbox.len().min(window).min(PIECE);
            if count == 0 || !open.open {
                return;
            }
            let bytes: Vec<_> = open.outbox.drain(..count).collect();
            open.window -= u32::try_from(count).expect("a piece is short");
            self.tell_relay(node, relay, ClientToRelay::Data { circuit, bytes });
        }
    }

    fn take_messages(&mut self, node: usize, relay: usize, circuit: CircuitId) {
        loop {
            let Some(process) = self.process(node) else { return };
            let link = process.relays.get_mut(&relay);
            let Some(open) = link.and_then(|link| link.circuits.get_mut(&circuit)) else { return };
            let friend = open.friend;
            let session = process.sessions.get(&friend).copied();
            let of_session = |s: &Session| s.relay == relay && s.circuit == circuit;
            let Some(session) = session.filter(of_session) else { return };
            let Some(message) = open.take_message() else { return };
            self.friend_message(node, friend, session.id, message);
        }
    }
}

/// Messages travel in pieces of at most this many bytes, so that cuts fall into them.
const PIECE: usize = 700;
