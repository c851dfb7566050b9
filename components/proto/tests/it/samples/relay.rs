//! Between nodes and relays.

use offset_proto::relay::{CircuitId, ClientToRelay, CloseReason, RelayToClient};

use super::{key, one_of_each};

pub(crate) fn from_clients() -> Vec<(String, ClientToRelay)> {
    use ClientToRelay as M;
    let circuit = CircuitId(3);
    let messages = one_of_each!(ClientToRelay {
        "listen": M::Listen => M::Listen,
        "stopListening": M::StopListening => M::StopListening,
        "connect": M::Connect { .. } => M::Connect { circuit, destination: key(2) },
        "accept": M::Accept { .. } => M::Accept { circuit: CircuitId(4) },
        "reject": M::Reject { .. } => M::Reject { circuit: CircuitId(4) },
        "data": M::Data { .. } => M::Data { circuit, bytes: b"ciphertext".to_vec() },
        "window": M::Window { .. } => M::Window { circuit, bytes: 65_536 },
        "close": M::Close { .. } => M::Close { circuit, reason: CloseReason::Closed },
    });
    let closes = reasons()
        .into_iter()
        .map(|(name, reason)| (format!("close/{name}"), M::Close { circuit, reason }));
    messages.into_iter().map(|(name, message)| (name.to_owned(), message)).chain(closes).collect()
}

pub(crate) fn to_clients() -> Vec<(&'static str, RelayToClient)> {
    use RelayToClient as M;
    let circuit = CircuitId(4);
    one_of_each!(RelayToClient {
        "listening": M::Listening => M::Listening,
        "incoming": M::Incoming { .. } => M::Incoming { circuit, source: key(1) },
        "connected": M::Connected { .. } => M::Connected { circuit: CircuitId(3) },
        "data": M::Data { .. } => M::Data { circuit, bytes: b"ciphertext".to_vec() },
        "window": M::Window { .. } => M::Window { circuit, bytes: 65_536 },
        "close": M::Close { .. } => M::Close { circuit, reason: CloseReason::NotListening },
    })
}

fn reasons() -> Vec<(&'static str, CloseReason)> {
    use CloseReason as R;
    one_of_each!(CloseReason {
        "closed": R::Closed => R::Closed,
        "notListening": R::NotListening => R::NotListening,
        "timeout": R::Timeout => R::Timeout,
        "rejected": R::Rejected => R::Rejected,
        "gone": R::Gone => R::Gone,
        "limit": R::Limit => R::Limit,
        "protocol": R::Protocol => R::Protocol,
    })
}
