//! Relays and index servers that lie. The worst that they may reach is that they are of no use (P4).

use offset_crypto::{Identity, PublicKey, SeededRng};
use offset_proto::{
    Credits,
    index::{
        Cycle, IndexPeerMessage, IndexToClient, MultiRoute, NodeDown, Route, UpdateKind,
        UpdateMutation,
    },
    relay::{CircuitId, RelayToClient},
    session::{Packet as SessionPacket, Wire as _},
};

use crate::world::World;

/// What a liar heard, to be told again elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    bytes: Vec<Vec<u8>>,
    peers: Vec<IndexPeerMessage>,
}

impl World {
    fn stranger(&mut self) -> PublicKey {
        Identity::random(&mut SeededRng::new(self.draw.between(1, 1 << 20))).public_key()
    }

    /// What a relay sends in place of this.
    pub(crate) fn relay_lie(&mut self, relay: usize, message: RelayToClient) -> Vec<RelayToClient> {
        if !self.relays[relay].lies || self.calm || self.draw.index(12) != 0 {
            if let RelayToClient::Data { bytes, .. } = &message {
                self.remember(relay, bytes);
            }
            return vec![message];
        }
        self.lies += 1;
        match message {
            RelayToClient::Data { circuit, mut bytes } => match self.draw.index(6) {
                0 => vec![],
                1 => {
                    let data = RelayToClient::Data { circuit, bytes };
                    vec![data.clone(), data]
                }
                2 => {
                    let at = self.draw.index(bytes.len());
                    bytes[at] ^= 1 << self.draw.index(8);
                    vec![RelayToClient::Data { circuit, bytes }]
                }
                3 => {
                    let circuit = CircuitId(circuit.0 ^ 2);
                    vec![RelayToClient::Data { circuit, bytes }]
                }
                _ => {
                    let heard = &self.relays[relay].heard.bytes;
                    let other = (!heard.is_empty()).then(|| self.draw.of(heard).clone());
                    vec![RelayToClient::Data { circuit, bytes: other.unwrap_or(bytes) }]
                }
            },
            RelayToClient::Incoming { circuit, source } => {
                let other = self.draw.index(self.nodes.len());
                let named = if self.draw.coin() { self.key(other) } else { self.stranger() };
                let invented = CircuitId(circuit.0.wrapping_add(1 << 16));
                vec![
                    RelayToClient::Incoming { circuit, source: named },
                    RelayToClient::Incoming { circuit: invented, source },
                ]
            }
            RelayToClient::Window { circuit, bytes } => {
                vec![RelayToClient::Window { circuit, bytes: bytes.saturating_mul(2) }]
            }
            RelayToClient::Connected { circuit } => {
                vec![RelayToClient::Close {
                    circuit,
                    reason: offset_proto::relay::CloseReason::NotListening,
                }]
            }
            RelayToClient::Listening | RelayToClient::Close { .. } => vec![],
        }
    }

    fn remember(&mut self, relay: usize, bytes: &[u8]) {
        let relay = &mut self.relays[relay];
        if relay.lies && relay.heard.bytes.len() < 64 {
            relay.heard.bytes.push(bytes.to_vec());
        }
    }

    /// What an index server answers in place of this; `None`: nothing at all. What does not decode is
    /// no lie but the end of a connection.
    pub(crate) fn index_lie(
        &mut self,
        index: usize,
        answer: IndexToClient,
    ) -> Option<IndexToClient> {
        if !self.indexes[index].lies || self.draw.index(3) != 0 {
            return Some(answer);
        }
        self.lies += 1;
        let lie = match answer {
            IndexToClient::Routes { request_id, mut multi_routes, cut_short } => {
                match self.draw.index(8) {
                    0 => return None,
                    1 => multi_routes.clear(),
                    2 if !multi_routes.is_empty() => multi_routes.push(multi_routes[0].clone()),
                    _ if multi_routes.is_empty() => multi_routes = self.invented(),
                    _ => {
                        for multi in &mut multi_routes {
                            for route in &mut multi.routes {
                                self.spoil_route(route);
                            }
                            let fees = multi.routes.iter().map(|route| route.fee.0);
                            multi.total_fee = Credits(fees.fold(0, u128::saturating_add));
                        }
                    }
                }
                IndexToClient::Routes { request_id, multi_routes, cut_short }
            }
            IndexToClient::Cycles { request_id, mut cycles, cut_short } => {
                match self.draw.index(4) {
                    0 => return None,
                    1 => cycles.clear(),
                    _ => {
                        for Cycle { route, .. } in &mut cycles {
                            self.spoil_route(route);
                        }
                    }
                }
                IndexToClient::Cycles { request_id, cycles, cut_short }
            }
            IndexToClient::Behind { epoch, counter } => {
                let ahead = self.draw.between(0, 100_000);
                IndexToClient::Behind { epoch, counter: counter.wrapping_add(ahead) }
            }
            other @ (IndexToClient::SnapshotWanted | IndexToClient::Refused { .. }) => other,
        };
        let bytes = IndexToClient::encode(&SessionPacket::Message(lie));
        match IndexToClient::decode(&bytes) {
            Ok(SessionPacket::Message(lie)) => Some(lie),
            Ok(SessionPacket::Control(_)) | Err(_) => None,
        }
    }

    /// Routes over lines that nobody has.
    fn invented(&mut self) -> Vec<MultiRoute> {
        let mut keys: Vec<_> = self.nodes.iter().map(|node| node.key()).collect();
        for at in (1..keys.len()).rev() {
            keys.swap(at, self.draw.index(at + 1));
        }
        if self.draw.coin() {
            keys.push(self.stranger());
        }
        let amount = Credits(self.draw.between(1, 300).into());
        let fee = Credits(self.draw.between(0, 5).into());
        let route = Route { keys, amount, fee };
        vec![MultiRoute { routes: vec![route], total_fee: fee, age_ms: 0 }]
    }

    fn spoil_route(&mut self, route: &mut Route) {
        let (at, other) = (self.draw.index(route.keys.len()), self.draw.index(self.nodes.len()));
        match self.draw.index(6) {
            0 => route.keys[at] = self.key(other),
            1 => route.keys[at] = self.stranger(),
            2 => route.keys.insert(at, self.key(other)),
            3 => route.amount = Credits(route.amount.0.wrapping_add(1).max(1)),
            4 => route.fee = Credits::ZERO,
            _ => route.fee = Credits(*self.draw.of(&[1, 1_000, 1 << 90])),
        }
    }

    /// What an index server tells a federated one in place of this.
    pub(crate) fn peer_lie(
        &mut self,
        index: usize,
        message: IndexPeerMessage,
    ) -> Vec<IndexPeerMessage> {
        if !self.indexes[index].lies {
            return vec![message];
        }
        if self.draw.index(6) != 0 {
            let heard = &mut self.indexes[index].heard.peers;
            if heard.len() < 64 {
                heard.push(message.clone());
            }
            return vec![message];
        }
        self.lies += 1;
        let again = &self.indexes[index].heard.peers;
        let again = (!again.is_empty()).then(|| self.draw.of(again).clone());
        match (message, again) {
            (IndexPeerMessage::Update(mut update), _) if self.draw.coin() => {
                // A line that its ends did not speak of, or not so.
                let (a, b) = (self.draw.index(self.nodes.len()), self.draw.index(self.nodes.len()));
                update.body.counter += u64::from(self.draw.coin());
                match &mut update.body.kind {
                    UpdateKind::Snapshot(mutations) | UpdateKind::Delta(mutations) => {
                        for mutation in mutations.iter_mut() {
                            if let UpdateMutation::Set { line, .. } = mutation {
                                line.send_capacity = Credits(line.send_capacity.0 + 1);
                                line.recv_capacity = Credits(line.recv_capacity.0 + 1);
                            }
                        }
                        if a != b {
                            update.body.node = self.key(a);
                        }
                    }
                    UpdateKind::Alive { .. } => update.body.counter += 1,
                }
                vec![IndexPeerMessage::Update(update)]
            }
            (IndexPeerMessage::Update(update), _) => {
                // Somebody else's word that a node has left.
                let identity = std::sync::Arc::clone(&self.indexes[index].identity);
                let (epoch, counter) = (update.body.epoch, update.body.counter + 1);
                let down = NodeDown::sign(update.body.node, epoch, counter, &identity);
                vec![IndexPeerMessage::Update(update), IndexPeerMessage::NodeDown(down)]
            }
            (_, Some(again)) => vec![again],
            (message, None) => vec![message],
        }
    }

    /// What a node signed of its lines: an honest index server knows nothing else.
    pub(crate) fn remember_said(&mut self, node: PublicKey, kind: &UpdateKind) {
        let (UpdateKind::Snapshot(mutations) | UpdateKind::Delta(mutations)) = kind else {
            return;
        };
        for mutation in mutations {
            if let UpdateMutation::Set { friend, currency, line } = mutation {
                let known = self.said.entry((node, *friend, currency.clone())).or_default();
                if !known.contains(line) {
                    known.push(*line);
                }
            }
        }
    }
}
