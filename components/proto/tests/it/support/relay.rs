//! Messages of relays.

use super::*;

pub(crate) fn client_to_relay() -> BoxedStrategy<ClientToRelay> {
    prop_oneof![
        Just(ClientToRelay::Listen),
        Just(ClientToRelay::StopListening),
        (circuit(), key())
            .prop_map(|(circuit, destination)| ClientToRelay::Connect { circuit, destination }),
        circuit().prop_map(|circuit| ClientToRelay::Accept { circuit }),
        circuit().prop_map(|circuit| ClientToRelay::Reject { circuit }),
        (circuit(), vec(any::<u8>(), 0..3_000))
            .prop_map(|(circuit, bytes)| ClientToRelay::Data { circuit, bytes }),
        (circuit(), any::<u32>())
            .prop_map(|(circuit, bytes)| ClientToRelay::Window { circuit, bytes }),
        (circuit(), close_reason())
            .prop_map(|(circuit, reason)| ClientToRelay::Close { circuit, reason }),
    ]
    .boxed()
}

pub(crate) fn relay_to_client() -> BoxedStrategy<RelayToClient> {
    prop_oneof![
        Just(RelayToClient::Listening),
        (circuit(), key())
            .prop_map(|(circuit, source)| RelayToClient::Incoming { circuit, source }),
        circuit().prop_map(|circuit| RelayToClient::Connected { circuit }),
        (circuit(), vec(any::<u8>(), 0..3_000))
            .prop_map(|(circuit, bytes)| RelayToClient::Data { circuit, bytes }),
        (circuit(), any::<u32>())
            .prop_map(|(circuit, bytes)| RelayToClient::Window { circuit, bytes }),
        (circuit(), close_reason())
            .prop_map(|(circuit, reason)| RelayToClient::Close { circuit, reason }),
    ]
    .boxed()
}

pub(super) fn circuit() -> impl Strategy<Value = CircuitId> {
    any::<u32>().prop_map(CircuitId)
}

pub(super) fn close_reason() -> impl Strategy<Value = CloseReason> {
    use CloseReason as R;
    select(vec![
        R::Closed,
        R::NotListening,
        R::Timeout,
        R::Rejected,
        R::Gone,
        R::Limit,
        R::Protocol,
    ])
}
