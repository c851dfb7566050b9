//! Single rules, and two nodes with a broker between them.

use offset_crypto::{Identity, SeededRng};
use offset_proto::Timestamp;

use super::*;
use crate::{
    broker::{Broker, ConnectionId, Effect},
    limits::Limits,
};

fn key(seed: u64) -> PublicKey {
    Identity::random(&mut SeededRng::new(seed)).public_key()
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn everybody(_: &PublicKey) -> bool {
    true
}

fn incoming(circuit: u32) -> RelayToClient {
    RelayToClient::Incoming { circuit: CircuitId(circuit), source: key(1) }
}

fn data(circuit: u32, len: usize) -> RelayToClient {
    RelayToClient::Data { circuit: CircuitId(circuit), bytes: vec![5; len] }
}

fn close(circuit: u32, reason: CloseReason) -> RelayToClient {
    RelayToClient::Close { circuit: CircuitId(circuit), reason }
}

fn tell(mux: &mut Mux, message: RelayToClient) -> Result<Handled, RelayViolation> {
    mux.handle_message(message, &everybody)
}

fn drain(mux: &mut Mux) -> Vec<ClientToRelay> {
    std::iter::from_fn(|| mux.next_message()).collect()
}

/// With an open circuit 1.
fn connected() -> (Mux, CircuitId) {
    let mut mux = Mux::default();
    let id = mux.connect(key(2)).unwrap();
    assert!(mux.poll_connected(id, &cx()).is_pending());
    let connect = ClientToRelay::Connect { circuit: CircuitId(1), destination: key(2) };
    assert_eq!(drain(&mut mux), [connect]);
    assert_eq!(tell(&mut mux, RelayToClient::Connected { circuit: id }), Ok(Handled::Done));
    assert_eq!(mux.poll_connected(id, &cx()), Poll::Ready(Ok(())));
    (mux, id)
}

fn read(mux: &mut Mux, id: CircuitId, max: usize) -> Poll<Result<usize, CloseReason>> {
    let mut bytes = vec![0; max];
    let mut buf = ReadBuf::new(&mut bytes);
    mux.poll_read(id, &cx(), &mut buf).map_ok(|()| buf.filled().len())
}

#[test]
fn window_is_granted_for_what_was_read_and_no_more() {
    let (mut mux, id) = connected();
    for _ in 0..4 {
        assert_eq!(tell(&mut mux, data(1, MAX_DATA_BYTES)), Ok(Handled::Done));
    }
    assert_eq!(drain(&mut mux), []);
    let grant = usize::try_from(GRANT_BYTES).unwrap();
    assert_eq!(read(&mut mux, id, grant - 1), Poll::Ready(Ok(grant - 1)));
    assert_eq!(drain(&mut mux), []);
    assert_eq!(read(&mut mux, id, 1), Poll::Ready(Ok(1)));
    assert_eq!(drain(&mut mux), [ClientToRelay::Window { circuit: id, bytes: GRANT_BYTES }]);
    assert_eq!(tell(&mut mux, data(1, grant)), Ok(Handled::Done));
    assert_eq!(tell(&mut mux, data(1, 1)), Err(RelayViolation::Window));
}

#[test]
fn writing_is_bounded_and_waits_for_window() {
    let (mut mux, id) = connected();
    let much = vec![7; 2 * MAX_OUTGOING_BYTES];
    for _ in 0..4 {
        assert_eq!(mux.poll_write(id, &cx(), &much), Poll::Ready(Ok(MAX_OUTGOING_BYTES)));
        assert!(mux.poll_write(id, &cx(), &much).is_pending());
        let bytes = vec![7; MAX_DATA_BYTES];
        assert_eq!(drain(&mut mux), [ClientToRelay::Data { circuit: id, bytes }]);
    }
    assert_eq!(mux.poll_write(id, &cx(), b"abc"), Poll::Ready(Ok(3)));
    assert_eq!(drain(&mut mux), []);
    tell(&mut mux, RelayToClient::Window { circuit: id, bytes: 2 }).unwrap();
    assert_eq!(drain(&mut mux), [ClientToRelay::Data { circuit: id, bytes: b"ab".to_vec() }]);
    let too_much = RelayToClient::Window { circuit: id, bytes: u32::MAX };
    assert_eq!(tell(&mut mux, too_much.clone()), Ok(Handled::Done));
    drain(&mut mux);
    assert_eq!(tell(&mut mux, too_much), Err(RelayViolation::WindowTooLarge));
}

#[test]
fn finishing_sends_all_and_dropping_what_it_may() {
    let (mut mux, id) = connected();
    let closing = ClientToRelay::Close { circuit: id, reason: CloseReason::Closed };
    assert_eq!(mux.poll_write(id, &cx(), b"last"), Poll::Ready(Ok(4)));
    assert!(mux.poll_finish(id, &cx()).is_pending());
    assert_eq!(mux.poll_write(id, &cx(), b"x"), Poll::Ready(Err(CloseReason::Closed)));
    let last = ClientToRelay::Data { circuit: id, bytes: b"last".to_vec() };
    assert_eq!(drain(&mut mux), [last.clone(), closing.clone()]);
    assert_eq!(mux.poll_finish(id, &cx()), Poll::Ready(Ok(())));
    assert_eq!(read(&mut mux, id, 1), Poll::Ready(Ok(0)));
    mux.drop_handle(id);
    assert!(mux.is_empty());

    let (mut mux, id) = connected();
    assert_eq!(mux.poll_write(id, &cx(), b"last"), Poll::Ready(Ok(4)));
    mux.drop_handle(id);
    assert_eq!(tell(&mut mux, data(1, 1)), Ok(Handled::Done));
    assert_eq!(drain(&mut mux), [last, closing]);
    assert!(mux.is_empty());
}

#[test]
fn what_was_received_is_read_before_the_end() {
    let rows = [
        (CloseReason::Closed, Ok(0), Err(CloseReason::Closed)),
        (CloseReason::Gone, Err(CloseReason::Gone), Err(CloseReason::Gone)),
        (CloseReason::Limit, Err(CloseReason::Limit), Err(CloseReason::Limit)),
    ];
    for (reason, end, finish) in rows {
        let (mut mux, id) = connected();
        tell(&mut mux, data(1, 3)).unwrap();
        assert_eq!(mux.poll_write(id, &cx(), b"unsent"), Poll::Ready(Ok(6)));
        tell(&mut mux, close(1, reason)).unwrap();
        assert_eq!(read(&mut mux, id, 2), Poll::Ready(Ok(2)));
        assert_eq!(read(&mut mux, id, 2), Poll::Ready(Ok(1)));
        assert_eq!(read(&mut mux, id, 2), Poll::Ready(end));
        assert_eq!(mux.poll_write(id, &cx(), b"x"), Poll::Ready(Err(reason)));
        assert_eq!(mux.poll_finish(id, &cx()), Poll::Ready(finish));
        assert_eq!(drain(&mut mux), []);
    }
    let (mut mux, id) = connected();
    tell(&mut mux, close(1, CloseReason::Closed)).unwrap();
    assert_eq!(mux.poll_finish(id, &cx()), Poll::Ready(Ok(())));
}

#[test]
fn incoming_circuits_are_bounded_and_may_vanish() {
    let mut mux = Mux::default();
    assert_eq!(tell(&mut mux, incoming(2)), Ok(Handled::Incoming));
    assert_eq!(tell(&mut mux, incoming(2)), Err(RelayViolation::Number));
    assert_eq!(tell(&mut mux, incoming(3)), Err(RelayViolation::Number));
    assert_eq!(tell(&mut mux, data(2, 1)), Err(RelayViolation::NotOpen));
    let early = RelayToClient::Window { circuit: CircuitId(2), bytes: 1 };
    assert_eq!(tell(&mut mux, early), Err(RelayViolation::NotOpen));
    tell(&mut mux, close(2, CloseReason::Timeout)).unwrap();
    assert_eq!(mux.accept(), None);

    assert_eq!(mux.handle_message(incoming(4), &|_| false), Ok(Handled::Done));
    assert_eq!(drain(&mut mux), [ClientToRelay::Reject { circuit: CircuitId(4) }]);
    for n in 0..MAX_INCOMING {
        let circuit = u32::try_from(6 + 2 * n).unwrap();
        assert_eq!(tell(&mut mux, incoming(circuit)), Ok(Handled::Incoming));
    }
    assert_eq!(tell(&mut mux, incoming(1_000)), Ok(Handled::Done));
    assert_eq!(drain(&mut mux), [ClientToRelay::Reject { circuit: CircuitId(1_000) }]);
    assert_eq!(mux.accept(), Some((key(1), CircuitId(6))));
    assert_eq!(drain(&mut mux), [ClientToRelay::Accept { circuit: CircuitId(6) }]);

    mux.stop_listening();
    assert_eq!(drain(&mut mux).len(), MAX_INCOMING);
    let flood = (0..).map(|n| tell(&mut mux, incoming(10_000 + 2 * n)));
    let refused = flood.into_iter().find(Result::is_err);
    assert_eq!(refused, Some(Err(RelayViolation::NotReading)));
}

#[test]
fn a_lost_connection_ends_everything() {
    let (mut mux, id) = connected();
    let opening = mux.connect(key(3)).unwrap();
    tell(&mut mux, incoming(2)).unwrap();
    mux.handle_lost();
    assert_eq!(read(&mut mux, id, 1), Poll::Ready(Err(CloseReason::Gone)));
    assert_eq!(mux.poll_connected(opening, &cx()), Poll::Ready(Err(CloseReason::Gone)));
    assert_eq!(mux.accept(), None);
    assert_eq!(mux.connect(key(3)), Err(CloseReason::Gone));
    mux.drop_handle(id);
    mux.drop_handle(opening);
    assert!(mux.is_empty());
    assert_eq!(drain(&mut mux), []);
}

#[test]
fn a_circuit_given_up_while_opening_is_closed() {
    let mut mux = Mux::default();
    let id = mux.connect(key(2)).unwrap();
    mux.drop_handle(id);
    let closing = ClientToRelay::Close { circuit: id, reason: CloseReason::Closed };
    assert_eq!(drain(&mut mux)[1..], [closing]);
    assert_eq!(tell(&mut mux, RelayToClient::Connected { circuit: id }), Ok(Handled::Done));
    assert!(mux.is_empty());
}

/// Two nodes and a broker; messages move at once, but in a random order of the nodes.
struct World {
    broker: Broker,
    nodes: [Mux; 2],
}

impl World {
    /// Moves what `node` has to send, `most` messages of it.
    fn step(&mut self, node: usize, most: usize) {
        for _ in 0..most {
            let Some(message) = self.nodes[node].next_message() else { return };
            let id = ConnectionId(u64::try_from(node).unwrap());
            self.broker.handle_message(id, message, Timestamp(0));
            while let Some(effect) = self.broker.next_effect() {
                let Effect::Send(to, message) = effect else { panic!("{effect:?}") };
                self.broker.handle_written(to, crate::outbox::waiting_cost(&message));
                tell(&mut self.nodes[usize::try_from(to.0).unwrap()], message).unwrap();
            }
        }
    }
}

#[test]
fn two_nodes_exchange_every_byte_in_order() {
    for seed in 0..20 {
        let mut rng = SeededRng::new(seed);
        let mut world = World {
            broker: Broker::new(Limits::default(), Timestamp(0)),
            nodes: [Mux::default(), Mux::default()],
        };
        for node in 0..2 {
            world.broker.handle_connected(ConnectionId(node), key(node), None, Timestamp(0));
        }
        world.nodes[1].listen();
        world.step(1, 9);
        let opened = world.nodes[0].connect(key(1)).unwrap();
        world.step(0, 9);
        let (source, accepted) = world.nodes[1].accept().unwrap();
        assert_eq!(source, key(0));
        world.step(1, 9);
        let ends = [opened, accepted];

        // Byte n of a direction is n modulo a prime, so that order and place show.
        let byte = |n: usize| u8::try_from(n % 251).unwrap();
        let total = 600_000;
        let (mut sent, mut received) = ([0; 2], [0; 2]);
        while received != [total; 2] {
            let node = usize::try_from(rng.below(2)).unwrap();
            let most = usize::try_from(rng.below(40_000)).unwrap() + 1;
            match rng.below(3) {
                0 => {
                    let len = most.min(total - sent[node]);
                    let bytes: Vec<u8> = (sent[node]..sent[node] + len).map(byte).collect();
                    let written = world.nodes[node].poll_write(ends[node], &cx(), &bytes);
                    if let Poll::Ready(written) = written {
                        sent[node] += written.unwrap();
                    }
                }
                1 => {
                    let mut bytes = vec![0; most];
                    let mut buf = ReadBuf::new(&mut bytes);
                    let read = world.nodes[node].poll_read(ends[node], &cx(), &mut buf);
                    if let Poll::Ready(read) = read {
                        read.unwrap();
                        for got in buf.filled() {
                            assert_eq!(*got, byte(received[node]));
                            received[node] += 1;
                        }
                    }
                }
                _ => world.step(node, most % 4),
            }
            for mux in &world.nodes {
                let held: usize = mux.circuits.values().map(State::held_bytes).sum();
                let window = usize::try_from(FIRST_WINDOW_BYTES).unwrap();
                assert!(held <= window + MAX_OUTGOING_BYTES, "bounded");
            }
        }
    }
}

impl State {
    fn held_bytes(&self) -> usize {
        let received: usize = self.inbox.iter().map(Vec::len).sum();
        received - self.front_used + self.outgoing.len()
    }
}
