//! The pure machines of servers, driven by bytes as by hostile clients.

use super::Bytes;
use offset_crypto::{Identity, PublicKey, Seed};
use offset_index_server::{
    directory::{Directory, VerifiedUpdate},
    graph::Graph,
    limits::DirectoryLimits,
};
use offset_proto::{
    Credits, Rate, Timestamp,
    index::{IndexLine, NodeDown, UpdateBody, UpdateKind, UpdateMutation},
    relay::{CircuitId, ClientToRelay, CloseReason},
};
use offset_relay::{
    Broker, Limits,
    broker::{ConnectionId, Effect},
    waiting_cost,
};

fn identity(n: u8) -> Identity {
    Identity::from_seed(Seed::from_bytes([n.wrapping_add(1); 32]))
}

fn key(n: u8) -> PublicKey {
    // Made once: a key costs more than everything else here.
    static KEYS: std::sync::OnceLock<Vec<PublicKey>> = std::sync::OnceLock::new();
    let keys = KEYS.get_or_init(|| (0..8).map(|n| identity(n).public_key()).collect());
    keys[usize::from(n) % keys.len()]
}

/// A relay with clients that say anything in any order. Its invariants hold, and what waits is
/// bounded.
pub fn broker(bytes: &[u8]) {
    let mut choices = Bytes(bytes);
    let mut now = Timestamp(1_000_000);
    let limits = Limits {
        max_circuits_per_connection: 6,
        max_pending_per_listener: 4,
        max_waiting_bytes: 4_096,
        max_waiting_bytes_total: 16_384,
        ..Limits::default()
    };
    let mut broker = Broker::new(limits.clone(), now);
    let mut next = 0;
    let mut connections: Vec<ConnectionId> = Vec::new();
    let mut unwritten: Vec<(ConnectionId, usize)> = Vec::new();
    while !choices.is_empty() {
        let action = choices.below(8);
        let at = usize::from(choices.byte());
        let chosen = connections.get(at % connections.len().max(1)).copied();
        match (action, chosen) {
            (0, _) if connections.len() < 12 => {
                next += 1;
                connections.push(ConnectionId(next));
                broker.handle_connected(ConnectionId(next), key(choices.byte()), None, now);
            }
            (1, Some(id)) => {
                connections.retain(|known| *known != id);
                broker.handle_disconnected(id, now);
            }
            (2, _) => {
                now = now.plus_ms(u64::from(choices.byte()) * 100);
                broker.handle_timeout(now);
            }
            (3, _) if !unwritten.is_empty() => {
                let (id, cost) = unwritten.swap_remove(at % unwritten.len());
                broker.handle_written(id, cost);
            }
            (_, Some(id)) => broker.handle_message(id, client_message(&mut choices), now),
            (_, None) => {}
        }
        while let Some(effect) = broker.next_effect() {
            match effect {
                Effect::Send(id, message) => {
                    assert!(connections.contains(&id), "nothing is sent to who is gone");
                    unwritten.push((id, waiting_cost(&message)));
                }
                Effect::Disconnect(id, _) => {
                    connections.retain(|known| *known != id);
                    unwritten.retain(|(of, _)| *of != id);
                }
                Effect::Pause(_, until) => assert!(now <= until),
            }
        }
        unwritten.retain(|(of, _)| connections.contains(of));
        broker.check_invariants();
        assert!(broker.load().waiting_bytes <= limits.max_waiting_bytes_total);
    }
}

fn client_message(choices: &mut Bytes<'_>) -> ClientToRelay {
    let circuit = CircuitId(u32::from(choices.below(16)));
    match choices.below(8) {
        0 => ClientToRelay::Listen,
        1 => ClientToRelay::StopListening,
        2 => ClientToRelay::Connect { circuit, destination: key(choices.byte()) },
        3 => ClientToRelay::Accept { circuit },
        4 => ClientToRelay::Reject { circuit },
        5 => ClientToRelay::Data { circuit, bytes: vec![0; usize::from(choices.byte()) * 8 + 1] },
        6 => {
            ClientToRelay::Window { circuit, bytes: u32::from(choices.byte()) << choices.below(25) }
        }
        _ => ClientToRelay::Close { circuit, reason: CloseReason::Closed },
    }
}

/// An index directory and the graph it feeds, given updates that are signed and lie in every other
/// way.
pub fn directory(bytes: &[u8]) {
    let mut choices = Bytes(bytes);
    let mut now = Timestamp(1_700_000_000_000);
    let limits = DirectoryLimits {
        max_nodes: 4,
        max_lines_per_node: 8,
        max_currencies: 3,
        max_currencies_per_node: 2,
        max_stored_bytes: 8 << 10,
        min_chain_bytes: 1 << 10,
        ..DirectoryLimits::default()
    };
    let mut directory = Directory::new(limits);
    let mut graph = Graph::default();
    while !choices.is_empty() {
        match choices.below(8) {
            0 => {
                now = now.plus_ms(u64::from(choices.byte()) << choices.below(14));
                directory.handle_timeout(now);
            }
            1 => {
                let before = now;
                now =
                    Timestamp(now.0.saturating_sub(u64::from(choices.byte()) << choices.below(20)));
                directory.handle_clock_set(before, now);
            }
            2 => {
                let (node, home) = (key(choices.byte()), identity(choices.below(8)));
                let counter = u64::from(choices.below(8));
                let epoch = now.0 / 1_000 + u64::from(choices.below(3));
                directory.handle_node_down(now, NodeDown::sign(node, epoch, counter, &home));
            }
            _ => {
                let node = choices.below(8);
                let update = update(&mut choices, now, node).sign(&identity(node));
                let update = VerifiedUpdate::check(update).expect("signed by its node");
                let _ = directory.handle_update(now, update, choices.below(2) == 0);
            }
        }
        for change in directory.take_changes() {
            match change.line {
                Some(line) => graph.set_line(change.node, change.friend, &change.currency, line),
                None => graph.remove_line(change.node, change.friend, &change.currency),
            }
        }
        directory.check_invariants();
        graph.check_invariants();
        assert!(directory.node_count() <= 4);
    }
}

fn update(choices: &mut Bytes<'_>, now: Timestamp, node: u8) -> UpdateBody {
    let mutations = |choices: &mut Bytes<'_>| {
        (0..choices.below(6))
            .map(|_| {
                let friend = key(choices.byte());
                let currency = ["a", "b", "c", "d"][usize::from(choices.below(4))];
                let currency = currency.parse().expect("a currency");
                if choices.below(4) == 0 {
                    return UpdateMutation::Remove { friend, currency };
                }
                let line = IndexLine {
                    send_capacity: Credits(u128::from(choices.byte())),
                    recv_capacity: Credits(u128::from(choices.byte())),
                    rate: Rate { ppm: u32::from(choices.byte()), add: 0 },
                };
                UpdateMutation::Set { friend, currency, line }
            })
            .collect()
    };
    let kind = match choices.below(4) {
        0 | 1 => UpdateKind::Snapshot(mutations(choices)),
        2 => UpdateKind::Delta(mutations(choices)),
        _ => UpdateKind::Alive { table: offset_crypto::hash(&[choices.byte()]) },
    };
    UpdateBody {
        node: key(node),
        home_server: key(choices.byte()),
        epoch: now.0 / 1_000 + u64::from(choices.below(3)),
        counter: u64::from(choices.below(8)),
        time: Timestamp(now.0.saturating_sub(u64::from(choices.byte()) << choices.below(16))),
        kind,
    }
}
