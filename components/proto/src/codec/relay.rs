//! `relay.capnp`: between a node and a relay.

use super::{Decoded, invalid, key, mirror, session, wire, words_of};
use crate::{
    relay::{CircuitId, ClientToRelay, CloseReason, MAX_DATA_BYTES, RelayToClient},
    schema::relay_capnp::{self, client_to_relay, relay_to_client},
    session::{Control, Packet},
};

wire!(ClientToRelay, Relay, client_to_relay, client_words, set_client, client);
wire!(RelayToClient, Relay, relay_to_client, relay_words, set_relay, relay);

mirror!(
    CloseReason, relay_capnp::CloseReason, schema_reason, close_reason,
    Closed NotListening Timeout Rejected Gone Limit Protocol
);

fn client_words(message: &ClientToRelay) -> usize {
    match message {
        ClientToRelay::Data { bytes, .. } => words_of(bytes.len()),
        ClientToRelay::Listen
        | ClientToRelay::StopListening
        | ClientToRelay::Connect { .. }
        | ClientToRelay::Accept { .. }
        | ClientToRelay::Reject { .. }
        | ClientToRelay::Window { .. }
        | ClientToRelay::Close { .. } => 0,
    }
}

fn set_client(message: &ClientToRelay, mut root: client_to_relay::Builder<'_>) {
    match message {
        ClientToRelay::Listen => root.set_listen(()),
        ClientToRelay::StopListening => root.set_stop_listening(()),
        ClientToRelay::Connect { circuit, destination } => {
            let mut group = root.init_connect();
            group.set_circuit(circuit.0);
            group.set_destination(destination.as_bytes());
        }
        ClientToRelay::Accept { circuit } => root.set_accept(circuit.0),
        ClientToRelay::Reject { circuit } => root.set_reject(circuit.0),
        ClientToRelay::Data { circuit, bytes } => {
            let mut group = root.init_data();
            group.set_circuit(circuit.0);
            group.set_bytes(bytes);
        }
        ClientToRelay::Window { circuit, bytes } => {
            let mut group = root.init_window();
            group.set_circuit(circuit.0);
            group.set_bytes(*bytes);
        }
        ClientToRelay::Close { circuit, reason } => {
            let mut group = root.init_close();
            group.set_circuit(circuit.0);
            group.set_reason(schema_reason(*reason));
        }
    }
}

fn client(root: client_to_relay::Reader<'_>) -> Decoded<Packet<ClientToRelay>> {
    use client_to_relay::Which;
    Ok(Packet::Message(match root.which()? {
        Which::Hello(hello) => return session::hello(hello?),
        Which::Ping(()) => return Ok(Packet::Control(Control::Ping)),
        Which::Bye(bye) => return session::bye(bye?),
        Which::Listen(()) => ClientToRelay::Listen,
        Which::StopListening(()) => ClientToRelay::StopListening,
        Which::Connect(group) => ClientToRelay::Connect {
            circuit: CircuitId(group.get_circuit()),
            destination: key("destination", group.get_destination())?,
        },
        Which::Accept(circuit) => ClientToRelay::Accept { circuit: CircuitId(circuit) },
        Which::Reject(circuit) => ClientToRelay::Reject { circuit: CircuitId(circuit) },
        Which::Data(group) => ClientToRelay::Data {
            circuit: CircuitId(group.get_circuit()),
            bytes: data(group.get_bytes())?,
        },
        Which::Window(group) => ClientToRelay::Window {
            circuit: CircuitId(group.get_circuit()),
            bytes: group.get_bytes(),
        },
        Which::Close(group) => ClientToRelay::Close {
            circuit: CircuitId(group.get_circuit()),
            reason: close_reason(group.get_reason())?,
        },
    }))
}

fn relay_words(message: &RelayToClient) -> usize {
    match message {
        RelayToClient::Data { bytes, .. } => words_of(bytes.len()),
        RelayToClient::Listening
        | RelayToClient::Incoming { .. }
        | RelayToClient::Connected { .. }
        | RelayToClient::Window { .. }
        | RelayToClient::Close { .. } => 0,
    }
}

fn set_relay(message: &RelayToClient, mut root: relay_to_client::Builder<'_>) {
    match message {
        RelayToClient::Listening => root.set_listening(()),
        RelayToClient::Incoming { circuit, source } => {
            let mut group = root.init_incoming();
            group.set_circuit(circuit.0);
            group.set_source(source.as_bytes());
        }
        RelayToClient::Connected { circuit } => root.set_connected(circuit.0),
        RelayToClient::Data { circuit, bytes } => {
            let mut group = root.init_data();
            group.set_circuit(circuit.0);
            group.set_bytes(bytes);
        }
        RelayToClient::Window { circuit, bytes } => {
            let mut group = root.init_window();
            group.set_circuit(circuit.0);
            group.set_bytes(*bytes);
        }
        RelayToClient::Close { circuit, reason } => {
            let mut group = root.init_close();
            group.set_circuit(circuit.0);
            group.set_reason(schema_reason(*reason));
        }
    }
}

fn relay(root: relay_to_client::Reader<'_>) -> Decoded<Packet<RelayToClient>> {
    use relay_to_client::Which;
    Ok(Packet::Message(match root.which()? {
        Which::Hello(hello) => return session::hello(hello?),
        Which::Ping(()) => return Ok(Packet::Control(Control::Ping)),
        Which::Bye(bye) => return session::bye(bye?),
        Which::Listening(()) => RelayToClient::Listening,
        Which::Incoming(group) => RelayToClient::Incoming {
            circuit: CircuitId(group.get_circuit()),
            source: key("source", group.get_source())?,
        },
        Which::Connected(circuit) => RelayToClient::Connected { circuit: CircuitId(circuit) },
        Which::Data(group) => RelayToClient::Data {
            circuit: CircuitId(group.get_circuit()),
            bytes: data(group.get_bytes())?,
        },
        Which::Window(group) => RelayToClient::Window {
            circuit: CircuitId(group.get_circuit()),
            bytes: group.get_bytes(),
        },
        Which::Close(group) => RelayToClient::Close {
            circuit: CircuitId(group.get_circuit()),
            reason: close_reason(group.get_reason())?,
        },
    }))
}

fn data(bytes: capnp::Result<&[u8]>) -> Decoded<Vec<u8>> {
    let bytes = bytes?;
    if MAX_DATA_BYTES < bytes.len() {
        let reason = format_args!("{} bytes, at most {MAX_DATA_BYTES} are allowed", bytes.len());
        return Err(invalid("bytes", reason));
    }
    Ok(bytes.to_vec())
}
