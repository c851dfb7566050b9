//! The connections with trusted servers: dialled again and again until one stands, one at a time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use offset_crypto::{PublicKey, SystemRng};
use offset_net::{Backoff, BackoffConfig, Error, NetConfig, Sender, dial};
use offset_proto::{NetworkAddress, ServerAddress, index::IndexPeerMessage};
use offset_secure_channel::ChannelIdentity;
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::Instant,
};

use crate::{
    sessions::{Desk, PeerConnection, SessionNumber, serve_peer},
    trusted::Trusted,
};

/// How a server is dialled.
#[derive(Debug)]
pub(crate) struct Dialling {
    pub(crate) identity: Arc<ChannelIdentity>,
    pub(crate) net: NetConfig,
    pub(crate) backoff: BackoffConfig,
}

/// What came of dialling a server.
pub(crate) type Dialled = (PublicKey, Result<PeerConnection, Error>);

/// The trusted servers and their connections.
#[derive(Debug)]
pub(crate) struct Peers {
    dialling: Arc<Dialling>,
    desk: Arc<Desk>,
    peers: BTreeMap<PublicKey, Peer>,
    dials: JoinSet<Dialled>,
    sessions: JoinSet<()>,
}

#[derive(Debug)]
struct Peer {
    address: NetworkAddress,
    backoff: Backoff,
    state: PeerState,
}

#[derive(Debug)]
enum PeerState {
    Waiting { until: Instant },
    Dialling(AbortHandle),
    Connected(Session),
}

#[derive(Debug)]
struct Session {
    number: SessionNumber,
    dialled: bool,
    since: Instant,
    sender: Sender<IndexPeerMessage>,
    /// Nothing when there will be no more: the connection is closed after the last one.
    messages: Option<mpsc::Sender<IndexPeerMessage>>,
}

impl Peers {
    pub(crate) fn new(dialling: Dialling, desk: Arc<Desk>) -> Self {
        Self {
            dialling: Arc::new(dialling),
            desk,
            peers: BTreeMap::new(),
            dials: JoinSet::new(),
            sessions: JoinSet::new(),
        }
    }

    /// Other servers are trusted from now on; gives those whose connection was closed for it.
    pub(crate) fn set_trusted(&mut self, trusted: &Trusted) -> Vec<PublicKey> {
        let mut closed = Vec::new();
        self.peers.retain(|key, peer| {
            let stays = trusted.contains_key(key);
            if !stays {
                log::info!("index server {key:?} is no longer trusted");
                if peer.stop("this server no longer trusts the other one") {
                    closed.push(*key);
                }
            }
            stays
        });
        for (key, address) in trusted {
            match self.peers.get_mut(key) {
                Some(peer) if peer.address == *address => {}
                Some(peer) => {
                    peer.address = address.clone();
                    if !matches!(peer.state, PeerState::Connected(_)) {
                        peer.stop("");
                        peer.state = PeerState::Waiting { until: Instant::now() };
                    }
                }
                None => {
                    log::info!("index server {key:?} at {address} is trusted");
                    let peer = Peer {
                        address: address.clone(),
                        backoff: Backoff::new(self.dialling.backoff),
                        state: PeerState::Waiting { until: Instant::now() },
                    };
                    self.peers.insert(*key, peer);
                }
            }
        }
        closed
    }

    /// A connection with a server opened; gives its key when it is the one that counts from now on.
    pub(crate) fn join(&mut self, connection: PeerConnection, dialled: bool) -> Option<PublicKey> {
        while self.sessions.try_join_next().is_some() {}
        let key = connection.peer();
        let Some(peer) = self.peers.get_mut(&key) else {
            connection.close("this server does not trust the other one");
            return None;
        };
        let own_is_lower = self.desk.own_key < key;
        if let PeerState::Connected(old) = &peer.state
            && !replaces(own_is_lower, dialled, old.dialled, old.since.elapsed())
        {
            connection.close("another connection with this server stands");
            return None;
        }
        // If the other server dialled too, and its key is higher, it prefers the connection that we
        // are just opening; so that one goes on and takes the place of this.
        if !(matches!(peer.state, PeerState::Dialling(_)) && own_is_lower) {
            peer.stop("a newer connection with this server stands");
        }
        let number = self.desk.next_session();
        let (messages, given) = mpsc::channel(WAITING_MESSAGES);
        peer.state = PeerState::Connected(Session {
            number,
            dialled,
            since: Instant::now(),
            sender: connection.sender(),
            messages: Some(messages),
        });
        self.sessions.spawn(serve_peer(Arc::clone(&self.desk), connection, number, given));
        log::info!("index server {key:?} is connected");
        Some(key)
    }

    /// A connection ended; whether it was the one that counts.
    pub(crate) fn leave(&mut self, key: &PublicKey, session: SessionNumber) -> bool {
        let Some(peer) = self.peers.get_mut(key) else { return false };
        let PeerState::Connected(ended) = &peer.state else { return false };
        if ended.number != session {
            return false;
        }
        peer.backoff.ended_after(ended.since.elapsed());
        peer.wait();
        log::info!("index server {key:?} is disconnected");
        true
    }

    /// Whether this session is the one that counts.
    pub(crate) fn is_current(&self, key: &PublicKey, session: SessionNumber) -> bool {
        self.session(key).is_some_and(|current| current.number == session)
    }

    /// How many servers are connected.
    pub(crate) fn count(&self) -> usize {
        self.peers.values().filter(|peer| matches!(peer.state, PeerState::Connected(_))).count()
    }

    /// How many servers are trusted.
    pub(crate) fn trusted_count(&self) -> usize {
        self.peers.len()
    }

    /// The servers that are connected.
    pub(crate) fn connected(&self) -> Vec<PublicKey> {
        let connected = |peer: &Peer| matches!(peer.state, PeerState::Connected(_));
        self.peers.iter().filter(|(_, peer)| connected(peer)).map(|(key, _)| *key).collect()
    }

    /// Gives messages to a server's connection, as many as it has room for.
    pub(crate) fn feed(&self, key: &PublicKey, mut next: impl FnMut() -> Option<IndexPeerMessage>) {
        let session = self.session(key);
        let Some(messages) = session.and_then(|session| session.messages.as_ref()) else { return };
        while let Ok(room) = messages.try_reserve() {
            let Some(message) = next() else { return };
            room.send(message);
        }
    }

    /// Dials whoever is due.
    pub(crate) fn dial_due(&mut self) {
        let now = Instant::now();
        for (key, peer) in &mut self.peers {
            if matches!(peer.state, PeerState::Waiting { until } if until <= now) {
                let (dialling, key) = (Arc::clone(&self.dialling), *key);
                let server = ServerAddress { public_key: key, address: peer.address.clone() };
                peer.state = PeerState::Dialling(self.dials.spawn(async move {
                    (key, dial(&dialling.identity, &server, &dialling.net).await)
                }));
            }
        }
    }

    /// When somebody is due to be dialled.
    pub(crate) fn next_dial(&self) -> Option<Instant> {
        let due = self.peers.values().map(|peer| match &peer.state {
            PeerState::Waiting { until } => Some(*until),
            PeerState::Dialling(_) | PeerState::Connected(_) => None,
        });
        due.flatten().min()
    }

    /// What came of the next dialling; never when nobody is being dialled. Safe to cancel.
    pub(crate) async fn next_dialled(&mut self) -> Dialled {
        loop {
            match self.dials.join_next().await {
                Some(Ok(dialled)) => return dialled,
                // Stopped, because the server connected by itself or is no longer trusted.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Dialling failed.
    pub(crate) fn dialling_failed(&mut self, key: &PublicKey, error: &Error) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if matches!(peer.state, PeerState::Dialling(_)) {
            if peer.backoff.failures() == 0 {
                log::warn!("index server {key:?}: {error}");
            } else {
                log::debug!("index server {key:?}: {error}");
            }
            peer.wait();
        }
    }

    /// Closes every connection after what was given to it.
    pub(crate) fn close_all(&mut self) {
        for peer in self.peers.values_mut() {
            match &mut peer.state {
                PeerState::Waiting { .. } => {}
                PeerState::Dialling(task) => task.abort(),
                PeerState::Connected(session) => session.messages = None,
            }
        }
    }

    /// Waits until all connections have ended.
    pub(crate) async fn all_closed(&self) {
        for key in self.connected() {
            if let Some(session) = self.session(&key) {
                session.sender.closed().await;
            }
        }
    }

    fn session(&self, key: &PublicKey) -> Option<&Session> {
        match &self.peers.get(key)?.state {
            PeerState::Connected(session) => Some(session),
            PeerState::Waiting { .. } | PeerState::Dialling(_) => None,
        }
    }
}

impl Peer {
    fn wait(&mut self) {
        let delay = self.backoff.next_delay(&mut SystemRng);
        self.state = PeerState::Waiting { until: Instant::now() + delay };
    }

    /// Ends what is going on; whether that was a connection.
    fn stop(&self, reason: &str) -> bool {
        match &self.state {
            PeerState::Waiting { .. } => false,
            PeerState::Dialling(task) => {
                task.abort();
                false
            }
            PeerState::Connected(session) => {
                session.sender.close(reason);
                true
            }
        }
    }
}

/// Whether a new connection takes the place of one that stands. Both servers dial, so two may open
/// at once; then both must let go of the same one: of two opened by different sides within 5 s the
/// one that the lower key opened stays, otherwise the newer.
fn replaces(own_is_lower: bool, dialled: bool, old_dialled: bool, old_age: Duration) -> bool {
    dialled == old_dialled || AT_ONCE < old_age || dialled == own_is_lower
}

/// Messages that wait for a server's connection, besides what the connection itself holds.
const WAITING_MESSAGES: usize = 16;
/// Two connections opened within this time were opened at once.
const AT_ONCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_keep_the_same_of_two_connections() {
        let (young, old) = (Duration::from_secs(1), Duration::from_secs(6));
        // The one that the lower side opened, and the one that the higher side opened, in both
        // orders, as the lower side (true) and as the higher side (false) sees them.
        for lower in [true, false] {
            let by_lower = lower;
            let by_higher = !lower;
            assert!(replaces(lower, by_lower, by_higher, young));
            assert!(!replaces(lower, by_higher, by_lower, young));
            assert!(replaces(lower, by_higher, by_lower, old));
            assert!(replaces(lower, by_higher, by_higher, young));
            assert!(replaces(lower, by_lower, by_lower, young));
        }
    }
}
