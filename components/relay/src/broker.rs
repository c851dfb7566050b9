//! The pure relay: who is connected, who listens, which circuits there are, what may pass.
//!
//! No input or output, no clock, no randomness. The shell tells it what happened (`handle_*`) and
//! then carries out every effect in order ([`Broker::next_effect`]). All operations cost the
//! logarithm of what is there, except that ending a connection costs its circuits, and that a look at
//! all connections finds the one that is closed when too much waits in all.
//!
//! ```text
//!   opener              broker               listener
//!     |-- connect 1 ------>|                     |
//!     |                    |---- incoming 2 ---->|
//!     |                    |<---- accept 2 ------|
//!     |<--- connected 1 ---|                     |
//!     |-- data 1 --------->|---- data 2 -------->|     as far as 2's window allows
//!     |<---- window 1 -----|<--- window 2 -------|
//! ```
//!
//! Invariants (checked by [`Broker::check_invariants`]):
//! - *paired*: each end of a circuit names the other, which names it; both are open, or one is
//!   opening and the other offered.
//! - *offered in time*: the offered ends are exactly those with a deadline.
//! - *one listener*: a key listens on at most one connection, which is its own.
//! - *counted*: connections, ends, pending offers and waiting bytes equal their sums.
//! - *bounded*: nothing waits beyond its limit, no window is larger than allowed.

mod accounts;
mod invariants;
mod reason;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
};

use offset_crypto::PublicKey;
use offset_proto::{
    Timestamp,
    relay::{
        CircuitId, ClientToRelay, CloseReason, FIRST_WINDOW_BYTES, MAX_DATA_BYTES, RelayToClient,
    },
};

pub use self::reason::{REPLACED, Reason, Violation};

use self::accounts::Accounts;
use crate::{
    limits::Limits,
    outbox::{MESSAGE_COST_BYTES, waiting_cost},
};

/// Names one connection; the shell never uses a number twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What the shell has to do, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Queue this message for the connection, and tell [`Broker::handle_written`] when it is out.
    Send(ConnectionId, RelayToClient),
    /// Say goodbye with the reason and close. The broker has forgotten the connection already.
    Disconnect(ConnectionId, Reason),
    /// Read nothing from the connection before this time: its key, or everybody, sent too much.
    Pause(ConnectionId, Timestamp),
}

/// The relay's state. See the [module](self) for its rules.
#[derive(Debug)]
pub struct Broker {
    limits: Limits,
    connections: BTreeMap<ConnectionId, Connection>,
    listeners: BTreeMap<PublicKey, ConnectionId>,
    accounts: Accounts,
    /// The ends that wait to be accepted, by their deadline.
    offers: BTreeSet<(Timestamp, End)>,
    circuits: usize,
    waiting_bytes: usize,
    /// Connections for which too much waits; they are closed before a `handle_*` returns, as are those
    /// for which most waits when it is too much in all.
    not_reading: Vec<ConnectionId>,
    effects: VecDeque<Effect>,
    inputs_unchecked: u32,
}

#[derive(Debug)]
struct Connection {
    key: PublicKey,
    /// Where it comes from, unless from this computer.
    address: Option<IpAddr>,
    ends: BTreeMap<CircuitId, Leg>,
    /// How many of the ends are offered.
    pending: usize,
    /// Those by who opened them; no entry is 0.
    pending_by: BTreeMap<Source, usize>,
    /// The number of the last circuit that was offered to this client.
    last_offered: u32,
    /// The highest number of a circuit that this client opened.
    highest_opened: u32,
    waiting_bytes: usize,
}

/// Who opens circuits: keys cost nothing, so wherever there is an address it is that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Address(IpAddr),
    Key(PublicKey),
}

impl Connection {
    fn source(&self) -> Source {
        self.address.map_or(Source::Key(self.key), Source::Address)
    }

    /// A circuit that was offered is no longer.
    fn offer_ended(&mut self, by: Source) {
        self.pending -= 1;
        if let Some(pending) = self.pending_by.get_mut(&by) {
            *pending -= 1;
            if *pending == 0 {
                self.pending_by.remove(&by);
            }
        }
    }
}

/// One end of a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    connection: ConnectionId,
    circuit: CircuitId,
}

/// What is known of one end.
#[derive(Debug, Clone, Copy)]
struct Leg {
    other: End,
    phase: Phase,
    /// How many more bytes this end may send.
    send_window_bytes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waits for the other end to accept.
    Opening,
    /// To be accepted by this end in time.
    Offered(Timestamp, Source),
    Open,
}

impl Broker {
    /// A relay without clients.
    #[must_use]
    pub fn new(limits: Limits, now: Timestamp) -> Self {
        let accounts = Accounts::new(&limits, now);
        Self {
            limits,
            connections: BTreeMap::new(),
            listeners: BTreeMap::new(),
            accounts,
            offers: BTreeSet::new(),
            circuits: 0,
            waiting_bytes: 0,
            not_reading: Vec::new(),
            effects: VecDeque::new(),
            inputs_unchecked: 0,
        }
    }

    /// A client that proved `key` is connected, from `address` (for IPv6 the block that one party
    /// usually holds), or from this computer (None). A key may have several connections.
    pub fn handle_connected(
        &mut self,
        id: ConnectionId,
        key: PublicKey,
        address: Option<IpAddr>,
        now: Timestamp,
    ) {
        assert!(!self.connections.contains_key(&id), "the shell uses a number once");
        match self.accounts.connected(key, &self.limits, now) {
            Ok(()) => {
                let connection = Connection {
                    key,
                    address,
                    ends: BTreeMap::new(),
                    pending: 0,
                    pending_by: BTreeMap::new(),
                    last_offered: 0,
                    highest_opened: 0,
                    waiting_bytes: 0,
                };
                self.connections.insert(id, connection);
            }
            Err(reason) => self.effects.push_back(Effect::Disconnect(id, reason)),
        }
        self.settle(now);
    }

    /// A message came from a client. One from a connection that the broker has closed is ignored.
    pub fn handle_message(&mut self, id: ConnectionId, message: ClientToRelay, now: Timestamp) {
        let Some(connection) = self.connections.get(&id) else { return };
        let pause_ms = self.accounts.charge_bytes(connection.key, received_cost(&message), now);
        if 0 < pause_ms {
            self.effects.push_back(Effect::Pause(id, now.plus_ms(pause_ms)));
        }
        let end = |circuit| End { connection: id, circuit };
        let result = match message {
            ClientToRelay::Listen => {
                self.listen(id, now);
                Ok(())
            }
            ClientToRelay::StopListening => {
                self.stop_listening(id);
                Ok(())
            }
            ClientToRelay::Connect { circuit, destination } => {
                self.connect(end(circuit), destination, now)
            }
            ClientToRelay::Accept { circuit } => self.accept(end(circuit)),
            ClientToRelay::Reject { circuit } => self.reject(end(circuit)),
            ClientToRelay::Data { circuit, bytes } => self.data(end(circuit), bytes),
            ClientToRelay::Window { circuit, bytes } => self.window(end(circuit), bytes),
            ClientToRelay::Close { circuit, reason: _ } => self.close(end(circuit)),
        };
        if let Err(violation) = result {
            self.disconnect(id, Reason::Violation(violation), now);
        }
        self.settle(now);
    }

    /// A connection ended by itself. Its circuits end with it.
    pub fn handle_disconnected(&mut self, id: ConnectionId, now: Timestamp) {
        self.remove(id, now);
        self.settle(now);
    }

    /// So many bytes of what [`Effect::Send`] counted ([`waiting_cost`]) wait no longer for the
    /// connection.
    pub fn handle_written(&mut self, id: ConnectionId, cost_bytes: usize) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        debug_assert!(cost_bytes <= connection.waiting_bytes, "only what waited is written");
        let written = cost_bytes.min(connection.waiting_bytes);
        connection.waiting_bytes -= written;
        self.waiting_bytes -= written;
    }

    /// Ends what is overdue: to be called at [`Broker::next_timeout`].
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.accounts.handle_timeout(now);
        while let Some((deadline, end)) = self.offers.first().copied() {
            if now < deadline {
                break;
            }
            let leg = self.unlink(end).expect("an offer is the offer of a circuit");
            self.send_close(leg.other, CloseReason::Timeout);
            self.send_close(end, CloseReason::Timeout);
        }
        self.settle(now);
    }

    /// When [`Broker::handle_timeout`] has something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        let offer = self.offers.first().map(|(deadline, _)| *deadline);
        [offer, self.accounts.next_timeout()].into_iter().flatten().min()
    }

    /// The next thing to do; none is left out.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// How many connections, listeners and circuits there are.
    #[must_use]
    pub fn load(&self) -> Load {
        Load {
            connections: self.connections.len(),
            listeners: self.listeners.len(),
            circuits: self.circuits,
            waiting_bytes: self.waiting_bytes,
        }
    }

    fn listen(&mut self, id: ConnectionId, now: Timestamp) {
        let key = self.connection(id).key;
        if let Some(older) = self.listeners.insert(key, id)
            && older != id
        {
            self.disconnect(older, Reason::Replaced, now);
        }
        self.send(id, RelayToClient::Listening);
    }

    fn stop_listening(&mut self, id: ConnectionId) {
        let key = self.connection(id).key;
        if self.listeners.get(&key) == Some(&id) {
            self.listeners.remove(&key);
        }
    }

    fn connect(
        &mut self,
        opener: End,
        destination: PublicKey,
        now: Timestamp,
    ) -> Result<(), Violation> {
        if opener.circuit.0.is_multiple_of(2) {
            return Err(Violation::EvenNumber);
        }
        let connection = self.connection(opener.connection);
        if connection.ends.contains_key(&opener.circuit) {
            return Err(Violation::NumberInUse);
        }
        connection.highest_opened = connection.highest_opened.max(opener.circuit.0);
        if let Err(reason) = self.offer(opener, destination, now) {
            self.send_close(opener, reason);
        }
        Ok(())
    }

    /// Offers a circuit to the destination, or says why that cannot be.
    fn offer(
        &mut self,
        opener: End,
        destination: PublicKey,
        now: Timestamp,
    ) -> Result<(), CloseReason> {
        let from = self.connection(opener.connection);
        let (source, address, by) = (from.key, from.address, from.source());
        if !self.accounts.take_open(source, address, now) {
            return Err(CloseReason::Limit);
        }
        let to = *self.listeners.get(&destination).ok_or(CloseReason::NotListening)?;
        if !self.has_room(opener.connection, to) || !self.fits(to, MESSAGE_COST_BYTES) {
            return Err(CloseReason::Limit);
        }
        let listener = self.connection(to);
        let number = listener.last_offered.checked_add(2).ok_or(CloseReason::Limit)?;
        listener.last_offered = number;
        listener.pending += 1;
        *listener.pending_by.entry(by).or_default() += 1;

        let deadline = now.plus_ms(self.limits.accept_timeout_ms);
        let offered = End { connection: to, circuit: CircuitId(number) };
        self.link(opener, offered, Phase::Offered(deadline, by), now);
        self.send(to, RelayToClient::Incoming { circuit: offered.circuit, source });
        Ok(())
    }

    /// Whether one more circuit from `opener` to `to` keeps within the limits.
    fn has_room(&self, opener: ConnectionId, to: ConnectionId) -> bool {
        let (Some(from), Some(listener)) =
            (self.connections.get(&opener), self.connections.get(&to))
        else {
            return false;
        };
        let limits = &self.limits;
        let new_ends = |same: bool| if same { 2 } else { 1 };
        let same_connection = new_ends(opener == to);
        let same_key = new_ends(from.key == listener.key);
        let same_address = new_ends(from.address == listener.address);
        self.circuits < limits.max_circuits
            && listener.pending < limits.max_pending_per_listener
            && listener
                .pending_by
                .get(&from.source())
                .is_none_or(|pending| *pending < limits.max_pending_per_source)
            && [from, listener].into_iter().all(|side| {
                side.ends.len() + same_connection <= limits.max_circuits_per_connection
                    && self.accounts.circuit_ends(side.key) + same_key
                        <= limits.max_circuits_per_key
                    && self.accounts.circuit_ends_from(side.address) + same_address
                        <= limits.max_circuits_per_address
            })
    }

    fn accept(&mut self, end: End) -> Result<(), Violation> {
        let Some(leg) = self.leg(end)? else { return Ok(()) };
        let Phase::Offered(deadline, by) = leg.phase else { return Err(Violation::WrongState) };
        leg.phase = Phase::Open;
        let other = leg.other;
        self.offers.remove(&(deadline, end));
        self.connection(end.connection).offer_ended(by);
        self.existing_leg(other).phase = Phase::Open;
        self.send(other.connection, RelayToClient::Connected { circuit: other.circuit });
        Ok(())
    }

    fn reject(&mut self, end: End) -> Result<(), Violation> {
        let Some(leg) = self.leg(end)? else { return Ok(()) };
        let Phase::Offered(..) = leg.phase else { return Err(Violation::WrongState) };
        let other = leg.other;
        self.unlink(end);
        self.send_close(other, CloseReason::Rejected);
        Ok(())
    }

    fn data(&mut self, end: End, bytes: Vec<u8>) -> Result<(), Violation> {
        if bytes.is_empty() || MAX_DATA_BYTES < bytes.len() {
            return Err(Violation::MessageSize);
        }
        let Some(leg) = self.leg(end)? else { return Ok(()) };
        if leg.phase != Phase::Open {
            return Err(Violation::WrongState);
        }
        let len = u32::try_from(bytes.len()).expect("checked to be at most 64 KiB");
        let left = leg.send_window_bytes.checked_sub(len).ok_or(Violation::WindowExceeded)?;
        leg.send_window_bytes = left;
        let other = leg.other;
        if self.fits(other.connection, MESSAGE_COST_BYTES + bytes.len()) {
            self.send(other.connection, RelayToClient::Data { circuit: other.circuit, bytes });
        } else {
            self.unlink(end);
            self.send_close(other, CloseReason::Limit);
            self.send_close(end, CloseReason::Limit);
        }
        Ok(())
    }

    fn window(&mut self, end: End, bytes: u32) -> Result<(), Violation> {
        if bytes == 0 {
            return Err(Violation::MessageSize);
        }
        let Some(leg) = self.leg(end)? else { return Ok(()) };
        if leg.phase != Phase::Open {
            return Err(Violation::WrongState);
        }
        let other = leg.other;
        let max = self.limits.max_window_bytes.max(FIRST_WINDOW_BYTES);
        let sender = self.existing_leg(other);
        sender.send_window_bytes = sender
            .send_window_bytes
            .checked_add(bytes)
            .filter(|window| *window <= max)
            .ok_or(Violation::WindowTooLarge)?;
        self.send(other.connection, RelayToClient::Window { circuit: other.circuit, bytes });
        Ok(())
    }

    fn close(&mut self, end: End) -> Result<(), Violation> {
        let Some(leg) = self.leg(end)? else { return Ok(()) };
        let reason = match leg.phase {
            Phase::Offered(..) => CloseReason::Rejected,
            Phase::Opening | Phase::Open => CloseReason::Closed,
        };
        let other = leg.other;
        self.unlink(end);
        self.send_close(other, reason);
        Ok(())
    }

    fn disconnect(&mut self, id: ConnectionId, reason: Reason, now: Timestamp) {
        self.effects.push_back(Effect::Disconnect(id, reason));
        self.remove(id, now);
    }

    /// Forgets a connection and ends its circuits.
    fn remove(&mut self, id: ConnectionId, now: Timestamp) {
        let Some(connection) = self.connections.get(&id) else { return };
        let key = connection.key;
        let circuits: Vec<CircuitId> = connection.ends.keys().copied().collect();
        for circuit in circuits {
            let end = End { connection: id, circuit };
            // The other end of a circuit with itself is gone with the first of the two.
            if let Some(leg) = self.unlink(end)
                && leg.other.connection != id
            {
                self.send_close(leg.other, CloseReason::Gone);
            }
        }
        self.stop_listening(id);
        let connection = self.connections.remove(&id).expect("was there before");
        self.waiting_bytes -= connection.waiting_bytes;
        self.accounts.disconnected(key, now);
    }

    /// Closes whoever does not read, until nobody is left who must be told, and not too much waits.
    fn settle(&mut self, now: Timestamp) {
        while let Some(id) = self.not_reading.pop().or_else(|| self.too_much_for()) {
            if self.connections.contains_key(&id) {
                self.disconnect(id, Reason::NotReading, now);
            }
        }
        self.inputs_unchecked += 1;
        if cfg!(test) || (cfg!(debug_assertions) && INPUTS_PER_CHECK <= self.inputs_unchecked) {
            self.inputs_unchecked = 0;
            self.check_invariants();
        }
    }

    /// The connection for which most waits, when too much waits in all: who fills the relay's memory
    /// pays for it, not whoever sends next.
    fn too_much_for(&self) -> Option<ConnectionId> {
        if self.waiting_bytes <= self.limits.max_waiting_bytes_total {
            return None;
        }
        let most = self.connections.iter().max_by_key(|(_, connection)| connection.waiting_bytes);
        most.map(|(id, _)| *id)
    }

    fn send_close(&mut self, end: End, reason: CloseReason) {
        self.send(end.connection, RelayToClient::Close { circuit: end.circuit, reason });
    }

    fn send(&mut self, to: ConnectionId, message: RelayToClient) {
        let cost = waiting_cost(&message);
        let hard_limit = self.limits.max_waiting_bytes + CONTROL_ROOM_BYTES;
        let connection = self.connection(to);
        connection.waiting_bytes += cost;
        if hard_limit < connection.waiting_bytes {
            self.not_reading.push(to);
        }
        self.waiting_bytes += cost;
        self.effects.push_back(Effect::Send(to, message));
    }

    /// Whether so much more may wait for the connection.
    fn fits(&self, to: ConnectionId, cost: usize) -> bool {
        let waiting = self.connections.get(&to).map_or(0, |connection| connection.waiting_bytes);
        waiting + cost <= self.limits.max_waiting_bytes
    }

    fn link(&mut self, opener: End, offered: End, offer: Phase, now: Timestamp) {
        let leg = |other, phase| Leg { other, phase, send_window_bytes: FIRST_WINDOW_BYTES };
        for (end, leg) in [(opener, leg(offered, Phase::Opening)), (offered, leg(opener, offer))] {
            let connection = self.connection(end.connection);
            connection.ends.insert(end.circuit, leg);
            let (key, address) = (connection.key, connection.address);
            self.accounts.circuit_opened(key, address, now);
        }
        if let Phase::Offered(deadline, _) = offer {
            self.offers.insert((deadline, offered));
        }
        self.circuits += 1;
    }

    /// Removes both ends of a circuit and returns the given one, if it is there.
    fn unlink(&mut self, end: End) -> Option<Leg> {
        let leg = *self.connections.get(&end.connection)?.ends.get(&end.circuit)?;
        for each in [end, leg.other] {
            let connection = self.connection(each.connection);
            let removed = connection.ends.remove(&each.circuit).expect("ends are paired");
            let (key, address) = (connection.key, connection.address);
            if let Phase::Offered(deadline, by) = removed.phase {
                connection.offer_ended(by);
                self.offers.remove(&(deadline, each));
            }
            self.accounts.circuit_closed(key, address);
        }
        self.circuits -= 1;
        Some(leg)
    }

    /// The end that a client names. None when it is closed, which the client may not know yet.
    fn leg(&mut self, end: End) -> Result<Option<&mut Leg>, Violation> {
        let connection = self.connection(end.connection);
        let CircuitId(number) = end.circuit;
        let highest = if number.is_multiple_of(2) {
            connection.last_offered
        } else {
            connection.highest_opened
        };
        if number == 0 || highest < number {
            return Err(Violation::UnknownCircuit);
        }
        Ok(connection.ends.get_mut(&end.circuit))
    }

    fn existing_leg(&mut self, end: End) -> &mut Leg {
        self.connection(end.connection).ends.get_mut(&end.circuit).expect("ends are paired")
    }

    fn connection(&mut self, id: ConnectionId) -> &mut Connection {
        self.connections.get_mut(&id).expect("only connections that are there are used")
    }
}

/// What a relay carries at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Connected clients.
    pub connections: usize,
    /// Keys that listen.
    pub listeners: usize,
    /// Circuits, accepted or not.
    pub circuits: usize,
    /// Bytes that wait to be written.
    pub waiting_bytes: usize,
}

/// What a received message counts against the allowance of its key.
fn received_cost(message: &ClientToRelay) -> usize {
    match message {
        ClientToRelay::Data { bytes, .. } => MESSAGE_COST_BYTES + bytes.len(),
        ClientToRelay::Listen
        | ClientToRelay::StopListening
        | ClientToRelay::Connect { .. }
        | ClientToRelay::Accept { .. }
        | ClientToRelay::Reject { .. }
        | ClientToRelay::Window { .. }
        | ClientToRelay::Close { .. } => MESSAGE_COST_BYTES,
    }
}

/// What may wait beyond [`Limits::max_waiting_bytes`] so that a client that reads slowly still
/// learns which of its circuits ended: a `connected`, a `window` and a `close` for each.
const CONTROL_ROOM_BYTES: usize = 3 * 4_096 * MESSAGE_COST_BYTES;

/// How often a debug build checks the invariants outside the unit tests, which check always.
const INPUTS_PER_CHECK: u32 = 1_024;

#[cfg(test)]
mod tests;
