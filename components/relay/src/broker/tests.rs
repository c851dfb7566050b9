//! Given this input, exactly these effects; and random inputs against a small model.

use offset_crypto::{Identity, SeededRng};
use proptest::prelude::*;

use super::*;
use crate::limits::Allowance;

const A: ConnectionId = ConnectionId(1);
const B: ConnectionId = ConnectionId(2);
const C: ConnectionId = ConnectionId(3);

/// The key of a connection that connects with [`Relay::with`].
fn key(id: ConnectionId) -> PublicKey {
    Identity::random(&mut SeededRng::new(id.0)).public_key()
}

/// A broker at a time, whose effects are taken after each input.
struct Relay {
    broker: Broker,
    now: Timestamp,
}

impl Relay {
    fn new(limits: Limits) -> Self {
        Self { broker: Broker::new(limits, Timestamp(0)), now: Timestamp(0) }
    }

    fn with(limits: Limits, connected: &[ConnectionId]) -> Self {
        let mut relay = Self::new(limits);
        for id in connected {
            assert_eq!(relay.connect(*id, key(*id)), []);
        }
        relay
    }

    /// A opened circuit 1 to the listening B, who accepted it as 2.
    fn with_circuit(limits: Limits) -> Self {
        let mut relay = Self::with(limits, &[A, B]);
        assert_eq!(relay.says(B, ClientToRelay::Listen), [listening(B)]);
        assert_eq!(relay.says(A, connect(1, B)), [incoming(B, 2, A)]);
        assert_eq!(relay.says(B, accept(2)), [connected(A, 1)]);
        relay
    }

    fn connect(&mut self, id: ConnectionId, key: PublicKey) -> Vec<Effect> {
        self.broker.handle_connected(id, key, None, self.now);
        self.effects()
    }

    fn says(&mut self, id: ConnectionId, message: ClientToRelay) -> Vec<Effect> {
        self.broker.handle_message(id, message, self.now);
        self.effects()
    }

    fn leaves(&mut self, id: ConnectionId) -> Vec<Effect> {
        self.broker.handle_disconnected(id, self.now);
        self.effects()
    }

    fn at(&mut self, ms: u64) -> Vec<Effect> {
        self.now = Timestamp(ms);
        self.broker.handle_timeout(self.now);
        self.effects()
    }

    fn effects(&mut self) -> Vec<Effect> {
        std::iter::from_fn(|| self.broker.next_effect()).collect()
    }
}

fn connect(circuit: u32, to: ConnectionId) -> ClientToRelay {
    ClientToRelay::Connect { circuit: CircuitId(circuit), destination: key(to) }
}

fn accept(circuit: u32) -> ClientToRelay {
    ClientToRelay::Accept { circuit: CircuitId(circuit) }
}

fn reject(circuit: u32) -> ClientToRelay {
    ClientToRelay::Reject { circuit: CircuitId(circuit) }
}

fn data(circuit: u32, bytes: &[u8]) -> ClientToRelay {
    ClientToRelay::Data { circuit: CircuitId(circuit), bytes: bytes.to_vec() }
}

fn window(circuit: u32, bytes: u32) -> ClientToRelay {
    ClientToRelay::Window { circuit: CircuitId(circuit), bytes }
}

fn close(circuit: u32) -> ClientToRelay {
    ClientToRelay::Close { circuit: CircuitId(circuit), reason: CloseReason::Closed }
}

fn listening(to: ConnectionId) -> Effect {
    Effect::Send(to, RelayToClient::Listening)
}

fn incoming(to: ConnectionId, circuit: u32, source: ConnectionId) -> Effect {
    let circuit = CircuitId(circuit);
    Effect::Send(to, RelayToClient::Incoming { circuit, source: key(source) })
}

fn connected(to: ConnectionId, circuit: u32) -> Effect {
    Effect::Send(to, RelayToClient::Connected { circuit: CircuitId(circuit) })
}

fn passed(to: ConnectionId, circuit: u32, bytes: &[u8]) -> Effect {
    let circuit = CircuitId(circuit);
    Effect::Send(to, RelayToClient::Data { circuit, bytes: bytes.to_vec() })
}

fn granted(to: ConnectionId, circuit: u32, bytes: u32) -> Effect {
    Effect::Send(to, RelayToClient::Window { circuit: CircuitId(circuit), bytes })
}

fn closed(to: ConnectionId, circuit: u32, reason: CloseReason) -> Effect {
    Effect::Send(to, RelayToClient::Close { circuit: CircuitId(circuit), reason })
}

fn violated(by: ConnectionId, violation: Violation) -> Effect {
    Effect::Disconnect(by, Reason::Violation(violation))
}

#[test]
fn a_circuit_from_opening_to_end() {
    let mut relay = Relay::with_circuit(Limits::default());
    assert_eq!(relay.says(A, data(1, b"to b")), [passed(B, 2, b"to b")]);
    assert_eq!(relay.says(B, data(2, b"to a")), [passed(A, 1, b"to a")]);
    assert_eq!(relay.says(B, window(2, 7)), [granted(A, 1, 7)]);
    assert_eq!(relay.says(A, window(1, 9)), [granted(B, 2, 9)]);
    assert_eq!(relay.says(A, connect(3, B)), [incoming(B, 4, A)]);
    assert_eq!(relay.says(A, close(1)), [closed(B, 2, CloseReason::Closed)]);
    // What was on its way when the circuit ended is ignored.
    for late in [data(2, b"x"), window(2, 1), close(2), accept(2), reject(2)] {
        assert_eq!(relay.says(B, late), []);
    }
    assert_eq!(relay.says(B, accept(4)), [connected(A, 3)]);
    assert_eq!(relay.says(B, close(4)), [closed(A, 3, CloseReason::Closed)]);
    assert_eq!(relay.broker.load().circuits, 0);
    // A number that is free again may be used again.
    assert_eq!(relay.says(A, connect(1, B)), [incoming(B, 6, A)]);
}

#[test]
fn circuits_that_do_not_come_to_be() {
    let mut relay = Relay::with(Limits::default(), &[A, B]);
    assert_eq!(relay.says(A, connect(1, B)), [closed(A, 1, CloseReason::NotListening)]);
    assert_eq!(relay.says(A, close(1)), []);
    assert_eq!(relay.says(B, ClientToRelay::Listen), [listening(B)]);
    assert_eq!(relay.says(B, ClientToRelay::Listen), [listening(B)]);

    assert_eq!(relay.says(A, connect(1, B)), [incoming(B, 2, A)]);
    assert_eq!(relay.says(B, reject(2)), [closed(A, 1, CloseReason::Rejected)]);
    assert_eq!(relay.says(A, connect(3, B)), [incoming(B, 4, A)]);
    assert_eq!(relay.says(B, close(4)), [closed(A, 3, CloseReason::Rejected)]);
    assert_eq!(relay.says(A, connect(5, B)), [incoming(B, 6, A)]);
    assert_eq!(relay.says(A, close(5)), [closed(B, 6, CloseReason::Closed)]);

    assert_eq!(relay.says(A, connect(7, B)), [incoming(B, 8, A)]);
    assert_eq!(relay.broker.next_timeout(), Some(Timestamp(10_000)));
    assert_eq!(relay.at(9_999), []);
    let timeouts = [closed(A, 7, CloseReason::Timeout), closed(B, 8, CloseReason::Timeout)];
    assert_eq!(relay.at(10_000), timeouts);
    assert_eq!(relay.says(B, accept(8)), []);
    assert_eq!(relay.broker.next_timeout(), None);

    assert_eq!(relay.says(B, ClientToRelay::StopListening), []);
    assert_eq!(relay.says(A, connect(9, B)), [closed(A, 9, CloseReason::NotListening)]);
}

#[test]
fn open_circuits_outlive_listening_and_accepted_ones_their_deadline() {
    let mut relay = Relay::with_circuit(Limits::default());
    assert_eq!(relay.says(B, ClientToRelay::StopListening), []);
    assert_eq!(relay.at(20_000), []);
    assert_eq!(relay.says(A, data(1, b"x")), [passed(B, 2, b"x")]);
}

#[test]
fn a_lost_connection_ends_its_circuits() {
    let mut relay = Relay::with_circuit(Limits::default());
    assert_eq!(relay.says(A, connect(3, B)), [incoming(B, 4, A)]);
    let ended = [closed(B, 2, CloseReason::Gone), closed(B, 4, CloseReason::Gone)];
    assert_eq!(relay.leaves(A), ended);
    assert_eq!(relay.leaves(A), []);
    assert_eq!(relay.says(A, ClientToRelay::Listen), []);
    assert_eq!(relay.leaves(B), []);
    assert_eq!(relay.broker.load(), Load::default());
    // The keys are forgotten when their allowances are full again.
    assert_eq!(relay.at(30), []);
    assert_eq!(relay.broker.next_timeout(), None);
}

#[test]
fn a_second_listener_replaces_the_first() {
    let mut relay = Relay::with_circuit(Limits::default());
    assert_eq!(relay.connect(C, key(B)), []);
    assert_eq!(relay.says(A, connect(3, B)), [incoming(B, 4, A)]);
    let replaced = [
        Effect::Disconnect(B, Reason::Replaced),
        closed(A, 1, CloseReason::Gone),
        closed(A, 3, CloseReason::Gone),
        listening(C),
    ];
    assert_eq!(relay.says(C, ClientToRelay::Listen), replaced);
    assert_eq!(relay.says(A, connect(5, B)), [incoming(C, 2, A)]);
    assert_eq!(Reason::Replaced.to_string(), REPLACED);
}

#[test]
fn a_key_may_dial_beside_its_listener_and_reach_itself() {
    let mut relay = Relay::with(Limits::default(), &[B]);
    assert_eq!(relay.connect(C, key(B)), []);
    assert_eq!(relay.says(B, ClientToRelay::Listen), [listening(B)]);
    assert_eq!(relay.says(C, ClientToRelay::StopListening), []);
    assert_eq!(relay.says(C, connect(1, B)), [incoming(B, 2, B)]);
    assert_eq!(relay.says(B, connect(1, B)), [incoming(B, 4, B)]);
    assert_eq!(relay.says(B, accept(4)), [connected(B, 1)]);
    assert_eq!(relay.says(B, data(1, b"x")), [passed(B, 4, b"x")]);
    assert_eq!(relay.leaves(B), [closed(C, 1, CloseReason::Gone)]);
}

#[test]
fn violations_close_the_client() {
    let first = FIRST_WINDOW_BYTES;
    let fill: Vec<ClientToRelay> = (0..4).map(|_| data(1, &[0; MAX_DATA_BYTES])).collect();
    let rows: Vec<(ConnectionId, Vec<ClientToRelay>, ClientToRelay, Violation)> = vec![
        (A, vec![], connect(4, B), Violation::EvenNumber),
        (A, vec![], connect(0, B), Violation::EvenNumber),
        (A, vec![], connect(1, B), Violation::NumberInUse),
        (A, vec![], data(5, b"x"), Violation::UnknownCircuit),
        (A, vec![], data(0, b"x"), Violation::UnknownCircuit),
        (A, vec![], accept(2), Violation::UnknownCircuit),
        (B, vec![], reject(4), Violation::UnknownCircuit),
        (A, vec![], window(2, 1), Violation::UnknownCircuit),
        (A, vec![], close(9), Violation::UnknownCircuit),
        (A, vec![], accept(1), Violation::WrongState),
        (B, vec![], accept(2), Violation::WrongState),
        (B, vec![], reject(2), Violation::WrongState),
        (A, vec![connect(3, B)], data(3, b"x"), Violation::WrongState),
        (A, vec![connect(3, B)], window(3, 1), Violation::WrongState),
        (A, fill, data(1, b"x"), Violation::WindowExceeded),
        (A, vec![], window(1, 4 * 1024 * 1024 - first + 1), Violation::WindowTooLarge),
        (A, vec![], window(1, u32::MAX), Violation::WindowTooLarge),
        (A, vec![], data(1, b""), Violation::MessageSize),
        (A, vec![], data(1, &[0; MAX_DATA_BYTES + 1]), Violation::MessageSize),
        (A, vec![], window(1, 0), Violation::MessageSize),
    ];
    for (who, before, message, violation) in rows {
        let mut relay = Relay::with_circuit(Limits::default());
        for message in before {
            relay.says(who, message);
        }
        let effects = relay.says(who, message);
        assert_eq!(effects[0], violated(who, violation), "{violation:?}");
        let (other, circuit) = if who == A { (B, 2) } else { (A, 1) };
        assert_eq!(effects[1], closed(other, circuit, CloseReason::Gone), "{violation:?}");
        assert_eq!(relay.broker.load().connections, 1);
    }
}

#[test]
fn a_window_may_be_granted_up_to_the_limit_and_used() {
    let mut relay = Relay::with_circuit(Limits::default());
    let rest = 4 * 1024 * 1024 - FIRST_WINDOW_BYTES;
    assert_eq!(relay.says(B, window(2, rest)), [granted(A, 1, rest)]);
    for _ in 0..64 {
        let effects = relay.says(A, data(1, &[7; MAX_DATA_BYTES]));
        assert_eq!(effects, [passed(B, 2, &[7; MAX_DATA_BYTES])]);
        relay.broker.handle_written(B, MAX_DATA_BYTES + MESSAGE_COST_BYTES);
    }
    let effects = relay.says(A, data(1, b"x"));
    assert_eq!(effects[0], violated(A, Violation::WindowExceeded));
}

#[test]
fn limits_of_connections() {
    let mut limits = Limits { max_connections: 3, ..Limits::default() };
    limits.max_connections_per_key = 2;
    let mut relay = Relay::with(limits, &[A]);
    assert_eq!(relay.connect(B, key(A)), []);
    let refused = [Effect::Disconnect(C, Reason::TooManyConnections)];
    assert_eq!(relay.connect(C, key(A)), refused);
    assert_eq!(relay.leaves(C), []);
    assert_eq!(relay.connect(ConnectionId(4), key(B)), []);
    let full = [Effect::Disconnect(ConnectionId(5), Reason::Full)];
    assert_eq!(relay.connect(ConnectionId(5), key(C)), full);
    assert_eq!(relay.leaves(A), []);
    assert_eq!(relay.connect(ConnectionId(6), key(C)), []);
    assert_eq!(relay.broker.load().connections, 3);
    let nobody = Limits { max_connections_per_key: 0, ..Limits::default() };
    assert_eq!(Relay::new(nobody).connect(C, key(C)), refused);
}

#[test]
fn limits_of_circuits() {
    let few = Limits::default;
    let rows = [
        Limits { max_circuits: 2, ..few() },
        Limits { max_circuits_per_connection: 2, ..few() },
        Limits { max_circuits_per_key: 2, ..few() },
        Limits { max_pending_per_listener: 2, ..few() },
        Limits { max_pending_per_source: 2, ..few() },
        Limits { max_waiting_bytes: 3 * MESSAGE_COST_BYTES, ..few() },
        Limits { opens_per_key: Allowance { per_second: 1, burst: 2 }, ..few() },
        Limits { opens_total: Allowance { per_second: 1, burst: 2 }, ..few() },
    ];
    for limits in rows {
        let mut relay = Relay::with(limits.clone(), &[A, B]);
        assert_eq!(relay.says(B, ClientToRelay::Listen), [listening(B)]);
        assert_eq!(relay.says(A, connect(1, B)), [incoming(B, 2, A)], "{limits:?}");
        assert_eq!(relay.says(A, connect(3, B)), [incoming(B, 4, A)], "{limits:?}");
        let refused = [closed(A, 5, CloseReason::Limit)];
        assert_eq!(relay.says(A, connect(5, B)), refused, "{limits:?}");
    }
    // A circuit with oneself has both ends in one connection.
    let limits = Limits { max_circuits_per_connection: 3, ..few() };
    let mut relay = Relay::with(limits, &[A]);
    assert_eq!(relay.says(A, ClientToRelay::Listen), [listening(A)]);
    assert_eq!(relay.says(A, connect(1, A)), [incoming(A, 2, A)]);
    assert_eq!(relay.says(A, connect(3, A)), [closed(A, 3, CloseReason::Limit)]);
}

#[test]
fn many_keys_of_one_address_are_one_source() {
    let address = |last| Some(IpAddr::from([10, 0, 0, last]));
    for limits in [
        Limits { max_pending_per_source: 2, ..Limits::default() },
        Limits { max_circuits_per_address: 2, ..Limits::default() },
        Limits { opens_per_address: Allowance { per_second: 1, burst: 2 }, ..Limits::default() },
    ] {
        let mut relay = Relay::with(limits, &[B]);
        assert_eq!(relay.says(B, ClientToRelay::Listen), [listening(B)]);
        let mut opens = |id, address| {
            let id = ConnectionId(id);
            relay.broker.handle_connected(id, key(id), address, Timestamp(0));
            let effects = relay.says(id, connect(1, B));
            effects != [closed(id, 1, CloseReason::Limit)]
        };
        assert_eq!([10, 11, 12].map(|id| opens(id, address(1))), [true, true, false]);
        assert!(opens(13, address(2)), "a friend elsewhere");
        assert!(opens(14, None) && opens(15, None), "this computer");
        relay.broker.check_invariants();
        for id in [10, 11] {
            relay.leaves(ConnectionId(id));
        }
        relay.at(1_000);
        relay.broker.handle_connected(C, key(C), address(1), relay.now);
        assert_eq!(relay.says(C, connect(1, B)).len(), 1);
        assert_eq!(relay.broker.load().circuits, 4, "there is room again");
    }
}

#[test]
fn a_flood_of_addresses_is_forgotten() {
    let mut accounts = Accounts::new(&Limits::default(), Timestamp(0));
    accounts.connected(key(A), &Limits::default(), Timestamp(0)).unwrap();
    for last in 0..5_000_u32 {
        let address = Some(IpAddr::from((0x0a00_0000 + last).to_be_bytes()));
        accounts.take_open(key(A), address, Timestamp(u64::from(last) * 100));
    }
    assert!(accounts.addresses_known() <= 1_024);
}

#[test]
fn data_beyond_what_may_wait_closes_its_circuit() {
    let limits = Limits { max_waiting_bytes: 2_000, ..Limits::default() };
    let mut relay = Relay::with_circuit(limits);
    relay.broker.handle_written(B, 2 * MESSAGE_COST_BYTES);
    assert_eq!(relay.says(A, data(1, &[1; 1_800])), [passed(B, 2, &[1; 1_800])]);
    relay.broker.handle_written(B, 1_800 + MESSAGE_COST_BYTES);
    assert_eq!(relay.says(A, data(1, &[1; 1_800])), [passed(B, 2, &[1; 1_800])]);
    let full = [closed(B, 2, CloseReason::Limit), closed(A, 1, CloseReason::Limit)];
    assert_eq!(relay.says(A, data(1, b"x")), full);
}

#[test]
fn who_fills_the_relay_is_closed_and_not_who_sends_next() {
    let mut relay =
        Relay::with_circuit(Limits { max_waiting_bytes_total: 10_000, ..Limits::default() });
    let hog = ConnectionId(4);
    for id in [C, hog] {
        assert_eq!(relay.connect(id, key(id)), []);
    }
    assert_eq!(relay.says(hog, ClientToRelay::Listen), [listening(hog)]);
    assert_eq!(relay.says(C, connect(1, hog)), [incoming(hog, 2, C)]);
    assert_eq!(relay.says(hog, accept(2)), [connected(C, 1)]);
    // The hog reads nothing of what its accomplice sends.
    assert_eq!(relay.says(C, data(1, &[1; 8_000])), [passed(hog, 2, &[1; 8_000])]);
    let effects = relay.says(A, data(1, &[1; 2_000]));
    let expected = [
        passed(B, 2, &[1; 2_000]),
        Effect::Disconnect(hog, Reason::NotReading),
        closed(C, 1, CloseReason::Gone),
    ];
    assert_eq!(effects, expected);
    assert_eq!(relay.says(A, data(1, &[1; 2_000])), [passed(B, 2, &[1; 2_000])]);
}

#[test]
fn a_client_that_leaves_everything_unread_is_closed() {
    let limits = Limits { max_waiting_bytes: 1_000, ..Limits::default() };
    let mut relay = Relay::with_circuit(limits);
    let mut told = 0;
    let effects = loop {
        let effects = relay.says(A, window(1, 1));
        if effects != [granted(B, 2, 1)] {
            break effects;
        }
        told += 1;
    };
    assert!(CONTROL_ROOM_BYTES / MESSAGE_COST_BYTES <= told, "{told}");
    let unread = [
        granted(B, 2, 1),
        Effect::Disconnect(B, Reason::NotReading),
        closed(A, 1, CloseReason::Gone),
    ];
    assert_eq!(effects, unread);
}

#[test]
fn who_sends_too_much_is_paused() {
    let slow = Allowance { per_second: 1_000, burst: 5_000 };
    for limits in [
        Limits { bytes_per_key: slow, ..Limits::default() },
        Limits { bytes_total: slow, ..Limits::default() },
    ] {
        let mut relay = Relay::with_circuit(limits);
        // Listen, connect and accept counted as well where the allowance is everybody's.
        let bytes = [0; 5_000];
        let effects = relay.says(A, data(1, &bytes));
        assert_eq!(effects.len(), 2);
        assert!(matches!(effects[0], Effect::Pause(A, until) if Timestamp(0) < until));
        assert_eq!(effects[1], passed(B, 2, &bytes));
        // A key that leaves does not lose its debt by it.
        relay.leaves(A);
        assert_eq!(relay.connect(C, key(A)), []);
        let effects = relay.says(C, ClientToRelay::StopListening);
        assert!(matches!(effects[..], [Effect::Pause(C, _)]));
    }
}

/// What a client of the model believes about one end of a circuit.
#[derive(Debug)]
struct ModelEnd {
    other: (ConnectionId, u32),
    accepted: bool,
    window: u32,
}

/// A model without limits: ends, windows, listeners.
#[derive(Debug, Default)]
struct Model {
    keys: BTreeMap<ConnectionId, ConnectionId>,
    listeners: BTreeMap<ConnectionId, ConnectionId>,
    ends: BTreeMap<(ConnectionId, u32), ModelEnd>,
    next: u64,
}

#[derive(Debug, Clone)]
enum Op {
    Arrive(u64),
    Leave(usize),
    Listen(usize),
    Stop(usize),
    Connect(usize, u64, u32),
    On(usize, usize, EndOp),
    Time(u64),
}

#[derive(Debug, Clone)]
enum EndOp {
    Accept,
    Reject,
    Close,
    Data(usize),
    Window(u32),
}

fn any_op() -> impl Strategy<Value = Op> {
    let end_op = prop_oneof![
        3 => Just(EndOp::Accept),
        1 => Just(EndOp::Reject),
        1 => Just(EndOp::Close),
        8 => (1_usize..=MAX_DATA_BYTES).prop_map(EndOp::Data),
        3 => (1_u32..200_000).prop_map(EndOp::Window),
    ];
    prop_oneof![
        2 => (0_u64..4).prop_map(Op::Arrive),
        1 => (0_usize..8).prop_map(Op::Leave),
        3 => (0_usize..8).prop_map(Op::Listen),
        1 => (0_usize..8).prop_map(Op::Stop),
        6 => (0_usize..8, 0_u64..4, 0_u32..20).prop_map(|(at, to, n)| Op::Connect(at, to, 2 * n + 1)),
        24 => (0_usize..8, 0_usize..8, end_op).prop_map(|(at, end, op)| Op::On(at, end, op)),
        2 => (1_u64..4_000).prop_map(Op::Time),
    ]
}

impl Model {
    fn pick(&self, at: usize) -> Option<ConnectionId> {
        self.keys.keys().nth(at % self.keys.len().max(1)).copied()
    }

    fn pick_end(&self, at: usize, end: usize) -> Option<(ConnectionId, u32)> {
        let id = self.pick(at)?;
        let own: Vec<_> = self.ends.keys().filter(|(connection, _)| *connection == id).collect();
        own.get(end % own.len().max(1)).map(|end| **end)
    }

    fn unlink(&mut self, end: (ConnectionId, u32)) -> bool {
        let Some(removed) = self.ends.remove(&end) else { return false };
        assert!(self.ends.remove(&removed.other).is_some());
        true
    }

    fn gone(&mut self, id: ConnectionId) {
        while let Some(end) = self.ends.keys().find(|(connection, _)| *connection == id).copied() {
            self.unlink(end);
        }
        self.listeners.retain(|_, listener| *listener != id);
        self.keys.remove(&id);
    }

    /// What an end's message must cause where the rules allow it; None: the client is closed.
    fn expect(&mut self, end: (ConnectionId, u32), op: &EndOp) -> Option<Vec<Effect>> {
        let state = self.ends.get_mut(&end).unwrap();
        let ((to, circuit), offered) = (state.other, !state.accepted && end.1.is_multiple_of(2));
        let open = state.accepted;
        match op {
            EndOp::Accept if offered => {
                state.accepted = true;
                self.ends.get_mut(&(to, circuit)).unwrap().accepted = true;
                Some(vec![connected(to, circuit)])
            }
            EndOp::Reject if offered => {
                self.unlink(end);
                Some(vec![closed(to, circuit, CloseReason::Rejected)])
            }
            EndOp::Close => {
                self.unlink(end);
                let reason = if offered { CloseReason::Rejected } else { CloseReason::Closed };
                Some(vec![closed(to, circuit, reason)])
            }
            EndOp::Data(len) if open => {
                state.window = state.window.checked_sub(u32::try_from(*len).unwrap())?;
                Some(vec![passed(to, circuit, &vec![1; *len])])
            }
            EndOp::Window(bytes) if open => {
                let other = self.ends.get_mut(&(to, circuit)).unwrap();
                other.window += bytes;
                if 4 * 1024 * 1024 < other.window {
                    return None;
                }
                Some(vec![granted(to, circuit, *bytes)])
            }
            EndOp::Accept | EndOp::Reject | EndOp::Data(_) | EndOp::Window(_) => None,
        }
    }
}

fn run(ops: Vec<Op>) {
    let mut limits = Limits { max_connections_per_key: 100, ..Limits::default() };
    limits.accept_timeout_ms = 20_000;
    let mut relay = Relay::new(limits);
    let mut model = Model::default();
    for op in ops {
        let effects = step(&mut relay, &mut model, op);
        for effect in effects {
            let (Effect::Send(to, _) | Effect::Disconnect(to, _) | Effect::Pause(to, _)) = &effect;
            assert!(to.0 <= model.next, "{effect:?} to one who never was");
            if let Effect::Send(to, message) = effect {
                assert!(model.keys.contains_key(&to), "{message:?} to one who is gone");
                relay.broker.handle_written(to, waiting_cost(&message));
            }
        }
        let load = relay.broker.load();
        assert_eq!(load.connections, model.keys.len());
        assert_eq!(load.listeners, model.listeners.len());
        assert_eq!(2 * load.circuits, model.ends.len());
        assert_eq!(load.waiting_bytes, 0);
    }
}

fn step(relay: &mut Relay, model: &mut Model, op: Op) -> Vec<Effect> {
    match op {
        Op::Arrive(owner) => {
            model.next += 1;
            let id = ConnectionId(model.next);
            model.keys.insert(id, ConnectionId(owner));
            relay.connect(id, key(ConnectionId(owner)))
        }
        Op::Leave(at) => {
            let Some(id) = model.pick(at) else { return vec![] };
            model.gone(id);
            relay.leaves(id)
        }
        Op::Listen(at) => {
            let Some(id) = model.pick(at) else { return vec![] };
            let owner = model.keys[&id];
            let effects = relay.says(id, ClientToRelay::Listen);
            if let Some(older) = model.listeners.insert(owner, id).filter(|older| *older != id) {
                assert_eq!(effects[0], Effect::Disconnect(older, Reason::Replaced));
                model.gone(older);
            }
            assert_eq!(effects.last(), Some(&listening(id)));
            effects
        }
        Op::Stop(at) => {
            let Some(id) = model.pick(at) else { return vec![] };
            model.listeners.retain(|_, listener| *listener != id);
            relay.says(id, ClientToRelay::StopListening)
        }
        Op::Connect(at, to, circuit) => {
            let Some(id) = model.pick(at) else { return vec![] };
            let effects = relay.says(id, connect(circuit, ConnectionId(to)));
            let listener = model.listeners.get(&ConnectionId(to));
            if model.ends.contains_key(&(id, circuit)) {
                assert_eq!(effects[0], violated(id, Violation::NumberInUse));
                model.gone(id);
            } else if let Some(listener) = listener {
                let [Effect::Send(to, RelayToClient::Incoming { circuit: offered, source })] =
                    effects[..]
                else {
                    panic!("{effects:?}")
                };
                assert_eq!((to, source), (*listener, key(model.keys[&id])));
                let end = |other| ModelEnd { other, accepted: false, window: FIRST_WINDOW_BYTES };
                model.ends.insert((id, circuit), end((to, offered.0)));
                model.ends.insert((to, offered.0), end((id, circuit)));
            } else {
                assert_eq!(effects, [closed(id, circuit, CloseReason::NotListening)]);
            }
            effects
        }
        Op::On(at, end, op) => {
            let Some(end) = model.pick_end(at, end) else { return vec![] };
            let message = match &op {
                EndOp::Accept => accept(end.1),
                EndOp::Reject => reject(end.1),
                EndOp::Close => close(end.1),
                EndOp::Data(len) => data(end.1, &vec![1; *len]),
                EndOp::Window(bytes) => window(end.1, *bytes),
            };
            let effects = relay.says(end.0, message);
            match model.expect(end, &op) {
                Some(expected) => assert_eq!(effects, expected),
                None => {
                    let first = &effects[0];
                    let closed = matches!(first, Effect::Disconnect(id, Reason::Violation(_)) if *id == end.0);
                    assert!(closed, "{first:?} for {op:?}");
                    model.gone(end.0);
                }
            }
            effects
        }
        Op::Time(ms) => {
            let effects = relay.at(relay.now.0 + ms);
            for effect in &effects {
                let Effect::Send(id, RelayToClient::Close { circuit, reason }) = effect else {
                    panic!("{effect:?}")
                };
                assert_eq!(*reason, CloseReason::Timeout);
                model.unlink((*id, circuit.0));
            }
            effects
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn random_clients_agree_with_the_model(
        ops in prop::collection::vec(any_op(), 1..300),
    ) {
        run(ops);
    }
}
