//! Sessions of friends over relays: listening, dialling, circuits, channels, keepalive, and messages
//! in pieces.

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
    sealed::{Out, Sealed},
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
    /// The relay has connected it.
    connected: bool,
    channel: Sealed,
    /// When it began, when something last came out of it, and when something last went in.
    since: u64,
    heard: u64,
    said: u64,
    /// How many bytes may be sent.
    window: u32,
    outbox: VecDeque<u8>,
}

impl Circuit {
    fn new(friend: PublicKey, by_us: bool, channel: Sealed, now: u64) -> Self {
        Self {
            friend,
            by_us,
            connected: !by_us,
            channel,
            since: now,
            heard: now,
            said: now,
            window: FIRST_WINDOW_BYTES,
            outbox: VecDeque::new(),
        }
    }

    /// Whether its handshake takes too long, or nothing has come out of it for too long.
    fn is_dead(&self, now: u64) -> bool {
        let since = if self.channel.is_open() { self.heard } else { self.since };
        since + if self.channel.is_open() { SILENCE_MS } else { HANDSHAKE_MS } < now
    }

    /// Says something where nothing was said for a while.
    fn keep_alive(&mut self, now: u64) {
        if self.channel.is_open() && self.said + PING_MS <= now {
            self.said = now;
            let ping = self.channel.seal(&[]);
            self.outbox.extend(ping);
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
        self.tend_circuits(node);
        self.give_up_queries(node);
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
        let (nonce, local, now) = (self.draw.between(0, u64::MAX - 1), self.key(node), self.now);
        let (channel, first) = Sealed::dial(self.word, local, friend, nonce);
        let link = self.process(node).and_then(|process| process.relays.get_mut(&relay));
        let Some(link) = link else { return };
        let circuit = CircuitId(link.next_circuit);
        link.next_circuit += 2;
        let mut new = Circuit::new(friend, true, channel, now);
        new.outbox.extend(first);
        link.circuits.insert(circuit, new);
        self.tell_relay(node, relay, ClientToRelay::Connect { circuit, destination: friend });
    }

    /// Ends circuits out of which nothing comes, and keeps the others alive.
    fn tend_circuits(&mut self, node: usize) {
        let now = self.now;
        let Some(process) = self.process(node) else { return };
        let (mut dead, mut alive) = (Vec::new(), Vec::new());
        for (relay, link) in &mut process.relays {
            for (id, circuit) in &mut link.circuits {
                if circuit.is_dead(now) {
                    dead.push((*relay, *id, circuit.friend));
                } else {
                    circuit.keep_alive(now);
                    alive.push((*relay, *id));
                }
            }
        }
        for (relay, circuit, friend) in dead {
            self.close_circuit(node, relay, circuit);
            self.circuit_gone(node, relay, circuit, Some(friend));
        }
        for (relay, circuit) in alive {
            self.send_bytes(node, relay, circuit);
        }
    }

    pub(crate) fn node_relay_message(&mut self, node: usize, wire: WireId, message: RelayToClient) {
        let (nonce, local, now) = (self.draw.between(0, u64::MAX - 1), self.key(node), self.now);
        let word = self.word;
        let Some(process) = self.process(node) else { return };
        let relay = process.relays.iter().find(|(_, link)| link.wire == wire);
        let Some(relay) = relay.map(|(relay, _)| *relay) else { return };
        let Some(link) = process.relays.get_mut(&relay) else { return };
        match message {
            RelayToClient::Listening => {}
            RelayToClient::Incoming { circuit, source } => {
                // Odd numbers are ours.
                let new = circuit.0 % 2 == 0 && !link.circuits.contains_key(&circuit);
                if process.contacts.contains_key(&source) && new {
                    let channel = Sealed::accept(word, local, source, nonce);
                    link.circuits.insert(circuit, Circuit::new(source, false, channel, now));
                    self.tell_relay(node, relay, ClientToRelay::Accept { circuit });
                } else {
                    self.tell_relay(node, relay, ClientToRelay::Reject { circuit });
                }
            }
            RelayToClient::Connected { circuit } => {
                if let Some(open) = link.circuits.get_mut(&circuit) {
                    open.connected = true;
                    self.send_bytes(node, relay, circuit);
                }
            }
            RelayToClient::Data { circuit, bytes } => {
                if let Some(open) = link.circuits.get_mut(&circuit) {
                    let length = u32::try_from(bytes.len()).expect("data is short");
                    open.channel.put(&bytes);
                    self.tell_relay(node, relay, ClientToRelay::Window { circuit, bytes: length });
                    self.take_messages(node, relay, circuit);
                }
            }
            RelayToClient::Window { circuit, bytes } => {
                if let Some(open) = link.circuits.get_mut(&circuit) {
                    open.window = open.window.saturating_add(bytes);
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
        if !self.is_honest(node) {
            self.deceive_from_the_start(friend, id);
        }
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
        if !self.calm && !self.is_honest(node) && self.betray(friend, id, &message) {
            return;
        }
        self.remember_sent(node, friend, &message);
        let mut message = message;
        if self.spoilt == Some((node, friend))
            && !self.calm
            && let FriendMessage::MoveToken(token) = &mut message
        {
            token.signature = offset_crypto::Signature::from_bytes([3; 64]);
            self.spoilt = None;
            self.spoils += 1;
            self.mistrust(node, friend);
        }
        self.say(node, friend, id, message);
    }

    /// Sends a message over a session, if it still stands.
    pub(crate) fn say(
        &mut self,
        node: usize,
        friend: PublicKey,
        id: SessionId,
        message: FriendMessage,
    ) {
        let now = self.now;
        let Some(process) = self.process(node) else { return };
        let Some(session) = process.sessions.get(&friend).copied() else { return };
        let link = process.relays.get_mut(&session.relay);
        let Some(open) = link.and_then(|link| link.circuits.get_mut(&session.circuit)) else {
            return;
        };
        if session.id != id {
            return;
        }
        let frame = open.channel.seal(&FriendMessage::encode(&SessionPacket::Message(message)));
        open.outbox.extend(frame);
        open.said = now;
        self.send_bytes(node, session.relay, session.circuit);
    }

    fn send_bytes(&mut self, node: usize, relay: usize, circuit: CircuitId) {
        loop {
            let link = self.process(node).and_then(|process| process.relays.get_mut(&relay));
            let Some(open) = link.and_then(|link| link.circuits.get_mut(&circuit)) else { return };
            let window = usize::try_from(open.window).unwrap_or(0);
            let count = open.outbox.len().min(window).min(PIECE);
            if count == 0 || !open.connected {
                return;
            }
            let bytes: Vec<_> = open.outbox.drain(..count).collect();
            open.window -= u32::try_from(count).expect("a piece is short");
            self.tell_relay(node, relay, ClientToRelay::Data { circuit, bytes });
        }
    }

    fn take_messages(&mut self, node: usize, relay: usize, circuit: CircuitId) {
        let now = self.now;
        loop {
            let Some(process) = self.process(node) else { return };
            let link = process.relays.get_mut(&relay);
            let Some(open) = link.and_then(|link| link.circuits.get_mut(&circuit)) else { return };
            let friend = open.friend;
            let Some(out) = open.channel.take() else { return };
            match out {
                Out::Answer(bytes) => {
                    open.outbox.extend(bytes);
                    self.send_bytes(node, relay, circuit);
                }
                Out::Opened(bytes) => {
                    open.heard = now;
                    open.outbox.extend(bytes);
                    self.send_bytes(node, relay, circuit);
                    self.session_opened(node, relay, circuit);
                }
                Out::Content(content) => {
                    open.heard = now;
                    let session = process.sessions.get(&friend).copied();
                    let of_session = |s: &Session| s.relay == relay && s.circuit == circuit;
                    if let Some(session) = session.filter(of_session)
                        && !content.is_empty()
                    {
                        let packet = FriendMessage::decode(&content);
                        let Ok(SessionPacket::Message(message)) = packet else {
                            panic!("friends send what decodes: {packet:?}");
                        };
                        self.friend_message(node, friend, session.id, message);
                    }
                }
                Out::Broken => {
                    self.broken_channels += 1;
                    self.close_circuit(node, relay, circuit);
                    return self.circuit_gone(node, relay, circuit, Some(friend));
                }
            }
        }
    }
}

/// How long a handshake may take, as in the node.
const HANDSHAKE_MS: u64 = 10_000;
/// After how long without hearing anything a session is over, and after how long without saying
/// anything something is said (protocol, section 2).
pub(crate) const SILENCE_MS: u64 = 30_000;
const PING_MS: u64 = 10_000;

/// Messages travel in pieces of at most this many bytes, so that cuts fall into them.
const PIECE: usize = 700;
