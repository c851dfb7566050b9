//! What waits to be written to one connection, served fairly: each circuit in turn.

use std::collections::{BTreeMap, VecDeque};

use offset_proto::relay::{CircuitId, RelayToClient};

/// The queue of one connection. It does not bound itself: the broker, which is told what is
/// written, closes circuits before more waits than is allowed.
///
/// The messages of one circuit stay in order. Circuits take turns of [`TURN_BYTES`], so that one
/// that moves a lot of data delays another by one turn and no more.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Messages of no circuit.
    control: VecDeque<RelayToClient>,
    /// Never holds an empty queue.
    circuits: BTreeMap<CircuitId, VecDeque<RelayToClient>>,
    /// The circuits that have something, each once, in the order of their turns.
    turns: VecDeque<CircuitId>,
    /// What the circuit in front has used of its turn.
    turn_used_bytes: usize,
}

impl Outbox {
    /// Adds a message. A `window` is added up with one that waits already; what that saves (of
    /// [`waiting_cost`]) is returned.
    pub(crate) fn push(&mut self, message: RelayToClient) -> usize {
        let Some(circuit) = circuit_of(&message) else {
            self.control.push_back(message);
            return 0;
        };
        let queue = self.circuits.entry(circuit).or_default();
        if queue.is_empty() {
            self.turns.push_back(circuit);
        }
        if let (
            RelayToClient::Window { bytes, .. },
            Some(RelayToClient::Window { bytes: waiting, .. }),
        ) = (&message, queue.back_mut())
            && let Some(sum) = waiting.checked_add(*bytes)
        {
            *waiting = sum;
            return waiting_cost(&message);
        }
        queue.push_back(message);
        0
    }

    /// Takes the next message to write.
    pub(crate) fn pop(&mut self) -> Option<RelayToClient> {
        if let Some(message) = self.control.pop_front() {
            return Some(message);
        }
        let circuit = *self.turns.front()?;
        let queue = self.circuits.get_mut(&circuit).expect("a circuit in turn has a queue");
        let message = queue.pop_front().expect("no queue is empty");
        self.turn_used_bytes += waiting_cost(&message);
        if queue.is_empty() {
            self.circuits.remove(&circuit);
            self.turns.pop_front();
            self.turn_used_bytes = 0;
        } else if TURN_BYTES <= self.turn_used_bytes {
            self.turns.rotate_left(1);
            self.turn_used_bytes = 0;
        }
        Some(message)
    }
}

/// What a waiting message counts: its data, and the memory and frame around it, so that a flood of
/// tiny messages is bounded as well as one of large ones.
#[must_use]
pub fn waiting_cost(message: &RelayToClient) -> usize {
    match message {
        RelayToClient::Data { bytes, .. } => MESSAGE_COST_BYTES + bytes.len(),
        RelayToClient::Listening
        | RelayToClient::Incoming { .. }
        | RelayToClient::Connected { .. }
        | RelayToClient::Window { .. }
        | RelayToClient::Close { .. } => MESSAGE_COST_BYTES,
    }
}

fn circuit_of(message: &RelayToClient) -> Option<CircuitId> {
    match message {
        RelayToClient::Listening => None,
        RelayToClient::Incoming { circuit, .. }
        | RelayToClient::Connected { circuit }
        | RelayToClient::Data { circuit, .. }
        | RelayToClient::Window { circuit, .. }
        | RelayToClient::Close { circuit, .. } => Some(*circuit),
    }
}

/// What every message counts beside its data.
pub(crate) const MESSAGE_COST_BYTES: usize = 128;

/// How much a circuit may send before the next one's turn.
const TURN_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn data(circuit: u32, len: usize) -> RelayToClient {
        RelayToClient::Data { circuit: CircuitId(circuit), bytes: vec![0; len] }
    }

    fn drain(outbox: &mut Outbox) -> Vec<RelayToClient> {
        std::iter::from_fn(|| outbox.pop()).collect()
    }

    #[test]
    fn circuits_take_turns_and_keep_their_order() {
        let mut outbox = Outbox::default();
        for _ in 0..3 {
            assert_eq!(outbox.push(data(1, 64 * 1024)), 0);
        }
        for len in [1, 2, 3] {
            assert_eq!(outbox.push(data(2, len)), 0);
        }
        assert_eq!(outbox.push(RelayToClient::Listening), 0);
        let big = || data(1, 64 * 1024);
        let expected =
            [RelayToClient::Listening, big(), data(2, 1), data(2, 2), data(2, 3), big(), big()];
        assert_eq!(drain(&mut outbox), expected);
        assert!(outbox.circuits.is_empty() && outbox.turns.is_empty());
    }

    #[test]
    fn windows_add_up() {
        let window = |bytes| RelayToClient::Window { circuit: CircuitId(1), bytes };
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(window(5)), 0);
        assert_eq!(outbox.push(window(6)), MESSAGE_COST_BYTES);
        assert_eq!(outbox.push(data(1, 1)), 0);
        assert_eq!(outbox.push(window(7)), 0);
        assert_eq!(outbox.push(window(u32::MAX)), 0);
        assert_eq!(drain(&mut outbox), [window(11), data(1, 1), window(7), window(u32::MAX)]);
    }
}
