//! The circuits of one connection to a relay, as the node's side sees them. Pure: it holds bytes,
//! windows and wakers; the connection's task moves messages in and out.
//!
//! Invariants:
//! - *bounded*: a circuit holds at most its window of received bytes and [`MAX_OUTGOING_BYTES`] of
//!   bytes to send; at most [`MAX_INCOMING`] circuits wait to be accepted.
//! - *window by reading*: what is granted to the other end was read out before, so bytes that
//!   nobody reads stop coming.
//! - *fair*: circuits take turns of one message; windows go before data.
//! - *no number twice*: the numbers of own circuits rise.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    task::{Context, Poll, Waker},
};

use offset_crypto::PublicKey;
use offset_proto::relay::{
    CircuitId, ClientToRelay, CloseReason, FIRST_WINDOW_BYTES, MAX_DATA_BYTES, RelayToClient,
};
use tokio::io::ReadBuf;

/// The circuits of one connection.
#[derive(Debug, Default)]
pub(crate) struct Mux {
    circuits: BTreeMap<CircuitId, State>,
    /// The number of the last own circuit.
    last_opened: u32,
    /// Messages that go before those of the circuits' turns.
    control: VecDeque<ClientToRelay>,
    /// The circuits that may have something to send, each once.
    turns: VecDeque<CircuitId>,
    /// Circuits that the relay offered, oldest first; all of them are [`Phase::Offered`].
    incoming: VecDeque<(CircuitId, PublicKey)>,
    /// The connection has ended.
    lost: bool,
}

/// What the connection's task is told about a handled message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handled {
    /// Nothing beyond the circuits.
    Done,
    /// `listen` is in force.
    Listening,
    /// Somebody waits in [`Mux::accept`].
    Incoming,
}

/// The relay broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RelayViolation {
    #[error("it offered a circuit by a number that is not new")]
    Number,
    #[error("it sent more data than the window allows")]
    Window,
    #[error("it sent data or windows for a circuit that is not open")]
    NotOpen,
    #[error("it granted more window than fits")]
    WindowTooLarge,
    #[error("it takes nothing of what it asks for")]
    NotReading,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    inbox: VecDeque<Vec<u8>>,
    /// How much of the first of the inbox was read.
    front_used: usize,
    /// How much the other end may still send.
    receive_window: u32,
    /// Read, and not granted again yet.
    consumed: u32,
    send_window: u32,
    outgoing: Vec<u8>,
    /// To be closed when everything is sent.
    finishing: bool,
    /// The other end closed before everything was sent.
    unsent: bool,
    /// The handle is gone: to be closed now, with what may be sent.
    orphaned: bool,
    in_turns: bool,
    reader: Option<Waker>,
    /// Waits to write, to have finished, or to be connected.
    writer: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opening,
    Offered,
    Open,
    /// Ended; the handle is still there. None: by this side.
    Ended(Option<CloseReason>),
}

impl State {
    fn new(phase: Phase) -> Self {
        Self {
            phase,
            inbox: VecDeque::new(),
            front_used: 0,
            receive_window: FIRST_WINDOW_BYTES,
            consumed: 0,
            send_window: FIRST_WINDOW_BYTES,
            outgoing: Vec::new(),
            finishing: false,
            unsent: false,
            orphaned: false,
            in_turns: false,
            reader: None,
            writer: None,
        }
    }

    fn end(&mut self, reason: Option<CloseReason>) {
        self.phase = Phase::Ended(reason);
        self.unsent = !self.outgoing.is_empty();
        self.outgoing = Vec::new();
        self.wake_all();
    }

    fn wake_all(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }

    /// What this circuit sends next.
    fn next_message(&mut self, circuit: CircuitId) -> Option<ClientToRelay> {
        if self.phase != Phase::Open && !(self.phase == Phase::Opening && self.orphaned) {
            return None;
        }
        if GRANT_BYTES <= self.consumed {
            let bytes = mem::take(&mut self.consumed);
            self.receive_window += bytes;
            return Some(ClientToRelay::Window { circuit, bytes });
        }
        let allowed = usize::try_from(self.send_window).unwrap_or(usize::MAX);
        let len = self.outgoing.len().min(allowed);
        if 0 < len && self.phase == Phase::Open {
            let rest = self.outgoing.split_off(len);
            let bytes = mem::replace(&mut self.outgoing, rest);
            self.send_window -= u32::try_from(len).expect("at most the window");
            if let Some(writer) = self.writer.take() {
                writer.wake();
            }
            return Some(ClientToRelay::Data { circuit, bytes });
        }
        if self.orphaned || (self.finishing && self.outgoing.is_empty()) {
            self.end(None);
            return Some(ClientToRelay::Close { circuit, reason: CloseReason::Closed });
        }
        None
    }
}

impl Mux {
    /// Asks the relay to listen for this node.
    pub(crate) fn listen(&mut self) {
        self.control.push_back(ClientToRelay::Listen);
    }

    /// Ends listening; what waits to be accepted is refused.
    pub(crate) fn stop_listening(&mut self) {
        self.control.push_back(ClientToRelay::StopListening);
        while let Some((circuit, _)) = self.incoming.pop_front() {
            self.circuits.remove(&circuit);
            self.control.push_back(ClientToRelay::Reject { circuit });
        }
    }

    /// Begins to open a circuit; [`Mux::poll_connected`] tells what became of it.
    pub(crate) fn connect(&mut self, destination: PublicKey) -> Result<CircuitId, CloseReason> {
        if self.lost {
            return Err(CloseReason::Gone);
        }
        let number = if self.last_opened == 0 { Some(1) } else { self.last_opened.checked_add(2) };
        let number = number.filter(|_| self.circuits.len() < MAX_CIRCUITS);
        let number = number.ok_or(CloseReason::Limit)?;
        self.last_opened = number;
        let circuit = CircuitId(number);
        self.circuits.insert(circuit, State::new(Phase::Opening));
        self.control.push_back(ClientToRelay::Connect { circuit, destination });
        Ok(circuit)
    }

    /// Whether an own circuit is connected, or why it never will be.
    pub(crate) fn poll_connected(
        &mut self,
        circuit: CircuitId,
        cx: &Context<'_>,
    ) -> Poll<Result<(), CloseReason>> {
        let state = self.state(circuit);
        match state.phase {
            Phase::Opening | Phase::Offered => {
                state.writer = Some(cx.waker().clone());
                Poll::Pending
            }
            Phase::Open => Poll::Ready(Ok(())),
            Phase::Ended(reason) => Poll::Ready(Err(reason.unwrap_or(CloseReason::Closed))),
        }
    }

    /// Takes the circuit that has waited longest.
    pub(crate) fn accept(&mut self) -> Option<(PublicKey, CircuitId)> {
        let (circuit, source) = self.incoming.pop_front()?;
        self.state(circuit).phase = Phase::Open;
        self.control.push_back(ClientToRelay::Accept { circuit });
        Some((source, circuit))
    }

    /// A message of the relay came; `welcome` says whose circuits may wait to be accepted.
    pub(crate) fn handle_message(
        &mut self,
        message: RelayToClient,
        welcome: &dyn Fn(&PublicKey) -> bool,
    ) -> Result<Handled, RelayViolation> {
        match message {
            RelayToClient::Listening => return Ok(Handled::Listening),
            RelayToClient::Incoming { circuit, source } => {
                return self.offered(circuit, source, welcome);
            }
            RelayToClient::Connected { circuit } => {
                if let Some(state) = self.circuits.get_mut(&circuit)
                    && state.phase == Phase::Opening
                {
                    state.phase = Phase::Open;
                    state.wake_all();
                }
            }
            RelayToClient::Data { circuit, bytes } => self.data(circuit, bytes)?,
            RelayToClient::Window { circuit, bytes } => self.window(circuit, bytes)?,
            RelayToClient::Close { circuit, reason } => self.closed(circuit, reason),
        }
        Ok(Handled::Done)
    }

    /// The connection has ended: every circuit is gone, with what was received still to be read.
    pub(crate) fn handle_lost(&mut self) {
        self.lost = true;
        self.control.clear();
        self.incoming.clear();
        self.circuits.retain(|_, state| {
            let has_handle = !state.orphaned && state.phase != Phase::Offered;
            if !matches!(state.phase, Phase::Ended(_)) {
                state.end(Some(CloseReason::Gone));
            }
            has_handle
        });
    }

    /// Whether [`Mux::next_message`] may have one.
    pub(crate) fn has_work(&self) -> bool {
        !self.control.is_empty() || !self.turns.is_empty()
    }

    /// Whether there is no circuit at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.circuits.is_empty()
    }

    /// The next message for the relay.
    pub(crate) fn next_message(&mut self) -> Option<ClientToRelay> {
        if let Some(message) = self.control.pop_front() {
            return Some(message);
        }
        while let Some(circuit) = self.turns.pop_front() {
            let Some(state) = self.circuits.get_mut(&circuit) else { continue };
            let Some(message) = state.next_message(circuit) else {
                state.in_turns = false;
                continue;
            };
            if state.orphaned && matches!(state.phase, Phase::Ended(_)) {
                self.circuits.remove(&circuit);
            } else {
                self.turns.push_back(circuit);
            }
            return Some(message);
        }
        None
    }

    /// Moves received bytes out; nothing moved means the end.
    pub(crate) fn poll_read(
        &mut self,
        circuit: CircuitId,
        cx: &Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), CloseReason>> {
        let state = self.state(circuit);
        if state.inbox.is_empty() {
            return match state.phase {
                Phase::Ended(None | Some(CloseReason::Closed)) => Poll::Ready(Ok(())),
                Phase::Ended(Some(reason)) => Poll::Ready(Err(reason)),
                Phase::Opening | Phase::Offered | Phase::Open => {
                    state.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            };
        }
        while let Some(front) = state.inbox.front()
            && 0 < buf.remaining()
        {
            let unread = &front[state.front_used..];
            let len = unread.len().min(buf.remaining());
            buf.put_slice(&unread[..len]);
            state.front_used += len;
            state.consumed += u32::try_from(len).expect("at most a window was received");
            if state.front_used == front.len() {
                state.inbox.pop_front();
                state.front_used = 0;
            }
        }
        if GRANT_BYTES <= state.consumed {
            self.take_turn(circuit);
        }
        Poll::Ready(Ok(()))
    }

    /// Takes as many bytes to send as there is room for.
    pub(crate) fn poll_write(
        &mut self,
        circuit: CircuitId,
        cx: &Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, CloseReason>> {
        let state = self.state(circuit);
        if let Phase::Ended(reason) = state.phase {
            return Poll::Ready(Err(reason.unwrap_or(CloseReason::Closed)));
        }
        if state.finishing {
            return Poll::Ready(Err(CloseReason::Closed));
        }
        let len = bytes.len().min(MAX_OUTGOING_BYTES - state.outgoing.len());
        if len == 0 && !bytes.is_empty() {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.outgoing.extend_from_slice(&bytes[..len]);
        self.take_turn(circuit);
        Poll::Ready(Ok(len))
    }

    /// Sends what waits and closes; ready when that is done.
    pub(crate) fn poll_finish(
        &mut self,
        circuit: CircuitId,
        cx: &Context<'_>,
    ) -> Poll<Result<(), CloseReason>> {
        let state = self.state(circuit);
        match state.phase {
            Phase::Ended(None) => Poll::Ready(Ok(())),
            Phase::Ended(Some(CloseReason::Closed)) if !state.unsent => Poll::Ready(Ok(())),
            Phase::Ended(Some(reason)) => Poll::Ready(Err(reason)),
            Phase::Opening | Phase::Offered | Phase::Open => {
                state.finishing = true;
                state.writer = Some(cx.waker().clone());
                self.take_turn(circuit);
                Poll::Pending
            }
        }
    }

    /// The handle is gone: what the window allows is still sent, then the circuit is closed.
    pub(crate) fn drop_handle(&mut self, circuit: CircuitId) {
        let state = self.state(circuit);
        if matches!(state.phase, Phase::Ended(_)) {
            self.circuits.remove(&circuit);
            return;
        }
        state.orphaned = true;
        state.inbox.clear();
        self.take_turn(circuit);
    }

    fn offered(
        &mut self,
        circuit: CircuitId,
        source: PublicKey,
        welcome: &dyn Fn(&PublicKey) -> bool,
    ) -> Result<Handled, RelayViolation> {
        if !circuit.0.is_multiple_of(2) || self.circuits.contains_key(&circuit) {
            return Err(RelayViolation::Number);
        }
        if MAX_CONTROL <= self.control.len() {
            return Err(RelayViolation::NotReading);
        }
        let room = self.incoming.len() < MAX_INCOMING && self.circuits.len() < MAX_CIRCUITS;
        if !room || !welcome(&source) {
            self.control.push_back(ClientToRelay::Reject { circuit });
            return Ok(Handled::Done);
        }
        self.circuits.insert(circuit, State::new(Phase::Offered));
        self.incoming.push_back((circuit, source));
        Ok(Handled::Incoming)
    }

    fn data(&mut self, circuit: CircuitId, bytes: Vec<u8>) -> Result<(), RelayViolation> {
        let Some(state) = self.circuits.get_mut(&circuit) else { return Ok(()) };
        match state.phase {
            Phase::Opening | Phase::Offered => return Err(RelayViolation::NotOpen),
            Phase::Ended(_) => return Ok(()),
            Phase::Open => {}
        }
        let len = u32::try_from(bytes.len()).map_err(|_| RelayViolation::Window)?;
        let left = state.receive_window.checked_sub(len).ok_or(RelayViolation::Window)?;
        state.receive_window = left;
        if !bytes.is_empty() && !state.orphaned {
            state.inbox.push_back(bytes);
            if let Some(reader) = state.reader.take() {
                reader.wake();
            }
        }
        Ok(())
    }

    fn window(&mut self, circuit: CircuitId, bytes: u32) -> Result<(), RelayViolation> {
        let Some(state) = self.circuits.get_mut(&circuit) else { return Ok(()) };
        match state.phase {
            Phase::Opening | Phase::Offered => return Err(RelayViolation::NotOpen),
            Phase::Ended(_) => return Ok(()),
            Phase::Open => {}
        }
        let sum = state.send_window.checked_add(bytes);
        state.send_window = sum.ok_or(RelayViolation::WindowTooLarge)?;
        self.take_turn(circuit);
        Ok(())
    }

    fn closed(&mut self, circuit: CircuitId, reason: CloseReason) {
        let Some(state) = self.circuits.get_mut(&circuit) else { return };
        let has_handle = state.phase != Phase::Offered && !state.orphaned;
        if !matches!(state.phase, Phase::Ended(_)) {
            state.end(Some(reason));
        }
        if !has_handle {
            self.circuits.remove(&circuit);
            self.incoming.retain(|(offered, _)| *offered != circuit);
        }
    }

    fn take_turn(&mut self, circuit: CircuitId) {
        let state = self.state(circuit);
        if !mem::replace(&mut state.in_turns, true) {
            self.turns.push_back(circuit);
        }
    }

    /// A circuit that has a handle, or is known to be there.
    fn state(&mut self, circuit: CircuitId) -> &mut State {
        self.circuits.get_mut(&circuit).expect("a circuit stays as long as its handle")
    }
}

/// The most bytes of one circuit that wait to be sent: one message.
const MAX_OUTGOING_BYTES: usize = MAX_DATA_BYTES;

/// Window is granted when this much was read: seldom, and long before the other end runs dry.
const GRANT_BYTES: u32 = FIRST_WINDOW_BYTES / 4;

/// The most circuits of one connection (protocol, section 3).
const MAX_CIRCUITS: usize = 4_096;

/// The most circuits that wait to be accepted; another is refused.
const MAX_INCOMING: usize = 64;

/// The most refusals and the like that wait for a relay that does not read.
const MAX_CONTROL: usize = 4 * MAX_CIRCUITS;

#[cfg(test)]
mod tests;
