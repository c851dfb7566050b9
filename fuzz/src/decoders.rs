//! Bytes from the network.

use bytes::BytesMut;
use offset_crypto::{Identity, PublicKey, SeededRng};
use offset_proto::{
    app::{AppToNode, NodeToApp},
    friend::FriendMessage,
    index::{ClientToIndex, IndexPeerMessage, IndexToClient},
    relay::{ClientToRelay, RelayToClient},
    session::{Packet, Purpose, Wire},
};
use offset_secure_channel::{Framing, KNOCK_BYTES, certificate_key, knock_purpose};

/// What decodes survives being sent on.
fn round_trip<M: Wire + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(packet) = M::decode(bytes) {
        let again = M::encode(&packet);
        let decoded: Packet<M> = M::decode(&again).expect("what was encoded decodes");
        assert_eq!(packet, decoded);
    }
}

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident: $message:ty;)*) => {$(
        $(#[$doc])*
        pub fn $name(bytes: &[u8]) {
            round_trip::<$message>(bytes);
        }
    )*};
}

messages! {
    /// From an app.
    app_to_node: AppToNode;
    /// To an app.
    node_to_app: NodeToApp;
    /// Between friends.
    friend_message: FriendMessage;
    /// To a relay.
    client_to_relay: ClientToRelay;
    /// From a relay.
    relay_to_client: RelayToClient;
    /// To an index server.
    client_to_index: ClientToIndex;
    /// From an index server.
    index_to_client: IndexToClient;
    /// Between index servers.
    index_peer: IndexPeerMessage;
}

/// The first byte chooses the purpose, the rest is what arrives, in pieces as long as the second
/// byte says. What is taken out of the stream is bounded by what came in.
pub fn frames(bytes: &[u8]) {
    let [purpose, piece, rest @ ..] = bytes else { return };
    let purpose = Purpose::ALL[usize::from(*purpose) % Purpose::ALL.len()];
    let framing = Framing::new(purpose);
    let mut buffer = BytesMut::new();
    let mut taken = 0;
    for piece in rest.chunks(usize::from(*piece).max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            match framing.take(&mut buffer) {
                Err(_) => return,
                Ok(None) => break,
                Ok(Some(message)) => {
                    taken += message.len();
                    assert!(!message.is_empty() && message.len() <= framing.max_message_bytes());
                    let mut again = Vec::new();
                    framing.append(&message, &mut again).expect("what was framed fits");
                    let mut again = BytesMut::from(&again[..]);
                    let second = framing.take(&mut again).expect("a frame").expect("whole");
                    assert_eq!(second, message);
                }
            }
        }
    }
    assert!(taken <= rest.len());
}

/// A peer's certificate.
pub fn certificate(bytes: &[u8]) {
    if let Some(key) = certificate_key(bytes) {
        assert!(bytes.windows(32).any(|window| window == key.as_bytes()), "a key of its own");
    }
}

/// What a stranger says to a port before anything else: as it comes, and a right knock that was
/// changed in some places, as pairs of bytes say. Only the right one opens.
pub fn knock(bytes: &[u8]) {
    static PORT: std::sync::OnceLock<PublicKey> = std::sync::OnceLock::new();
    let port = PORT.get_or_init(|| Identity::random(&mut SeededRng::new(1)).public_key());
    if let Ok(knock) = bytes.try_into() {
        assert_eq!(knock_purpose(port, knock), None, "nobody guesses a code of 32 bytes");
    }
    let [purpose, changes @ ..] = bytes else { return };
    let purpose = Purpose::ALL[usize::from(*purpose) % Purpose::ALL.len()];
    let right = offset_secure_channel::knock(port, purpose, &mut SeededRng::new(2));
    assert_eq!(knock_purpose(port, &right), Some(purpose));
    let mut changed = right;
    for change in changes.chunks_exact(2) {
        changed[usize::from(change[0]) % KNOCK_BYTES] ^= change[1];
    }
    let opens = knock_purpose(port, &changed).is_some();
    assert_eq!(opens, changed == right, "a changed knock opens");
}
