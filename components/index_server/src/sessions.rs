//! The tasks of single connections: they read, check signatures and tell the owner. The owner
//! never waits for them; they wait for the owner, so a flood is slowed where it comes from.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use offset_crypto::PublicKey;
use offset_net::{Connection, Incoming, Receiver, Sender};
use offset_proto::{
    Timestamp,
    index::{
        ClientToIndex, IndexPeerMessage, IndexToClient, RouteRequestId, SignedUpdate, UpdateKind,
    },
};
use tokio::{sync::mpsc, time::sleep};

use crate::{
    directory::VerifiedUpdate, federation::PeerInput, limits::Pace, metrics::Metrics, pace::Bucket,
    searcher::Question,
};

/// Numbers sessions, so that what comes late from a replaced one is known as such.
pub(crate) type SessionNumber = u64;

/// A connected server, as the owner sees it.
pub(crate) type PeerConnection = Connection<IndexPeerMessage, IndexPeerMessage>;

/// What the tasks of connections tell the owner.
#[derive(Debug)]
pub(crate) enum Event {
    /// A node connected.
    ClientJoined { session: SessionNumber, sender: Sender<IndexToClient>, address: Option<IpAddr> },
    /// A node said something about itself.
    ClientUpdate { key: PublicKey, session: SessionNumber, update: VerifiedUpdate },
    /// A node asks for routes or cycles.
    ClientAsks {
        key: PublicKey,
        session: SessionNumber,
        request_id: RouteRequestId,
        question: Question,
    },
    /// A node's connection ended.
    ClientLeft { key: PublicKey, session: SessionNumber },
    /// A server connected, or was reached.
    PeerJoined { connection: PeerConnection, dialled: bool },
    /// A server said something.
    PeerSaid { key: PublicKey, session: SessionNumber, input: PeerInput },
    /// All that was given to a server's connection is on its way.
    PeerHasRoom { key: PublicKey, session: SessionNumber },
    /// A server's connection ended.
    PeerLeft { key: PublicKey, session: SessionNumber },
}

/// What every task of a connection needs.
#[derive(Debug)]
pub(crate) struct Desk {
    /// To the owner.
    pub(crate) events: mpsc::Sender<Event>,
    /// This server.
    pub(crate) own_key: PublicKey,
    /// Of the updates of one connection.
    pub(crate) update_pace: Pace,
    pub(crate) metrics: Metrics,
    sessions: AtomicU64,
}

impl Desk {
    pub(crate) const fn new(
        events: mpsc::Sender<Event>,
        own_key: PublicKey,
        update_pace: Pace,
        metrics: Metrics,
    ) -> Self {
        Self { events, own_key, update_pace, metrics, sessions: AtomicU64::new(0) }
    }

    /// A number that no session had before.
    pub(crate) fn next_session(&self) -> SessionNumber {
        self.sessions.fetch_add(1, Ordering::Relaxed)
    }

    /// To the owner; it is gone only when everything ends.
    async fn tell(&self, event: Event) {
        let _owner_is_gone = self.events.send(event).await;
    }
}

/// The time of this computer.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Serves a node's connection until it ends.
pub(crate) async fn serve_client(desk: Arc<Desk>, incoming: Incoming) {
    let key = incoming.peer();
    let address = incoming.remote_address().ip();
    let connection = match incoming.open::<IndexToClient, ClientToIndex>().await {
        Ok(connection) => connection,
        Err(error) => {
            log::debug!("node {key:?}: {error}");
            return;
        }
    };
    let (sender, mut receiver) = connection.split();
    let session = desk.next_session();
    let joined = Event::ClientJoined { session, sender: sender.clone(), address: Some(address) };
    desk.tell(joined).await;
    let mut pace = Bucket::default();
    loop {
        let event = match receiver.recv().await {
            Ok(ClientToIndex::Update(update)) => {
                let cost = update_cost(&update);
                let mut taken = pace.take(desk.update_pace, cost, now());
                if taken.is_err() {
                    desk.metrics.counts().slowed.raise();
                }
                while let Err(wait) = taken {
                    sleep(Duration::from_millis(wait)).await;
                    taken = pace.take(desk.update_pace, cost, now());
                }
                match check_first_hand(&desk, &key, *update) {
                    Ok(update) => Event::ClientUpdate { key, session, update },
                    Err(reason) => {
                        desk.metrics.counts().broken.raise();
                        log::warn!("node {key:?} is disconnected: {reason}");
                        sender.close(reason);
                        break;
                    }
                }
            }
            Ok(ClientToIndex::RequestRoutes { request_id, query }) => {
                let question = Question::Routes(query);
                Event::ClientAsks { key, session, request_id, question }
            }
            Ok(ClientToIndex::RequestCycles { request_id, query }) => {
                let question = Question::Cycles(query);
                Event::ClientAsks { key, session, request_id, question }
            }
            Err(error) => {
                log::debug!("node {key:?}: {error}");
                break;
            }
        };
        desk.tell(event).await;
    }
    desk.tell(Event::ClientLeft { key, session }).await;
}

/// Opens a server's connection and gives it to the owner.
pub(crate) async fn welcome_peer(desk: Arc<Desk>, incoming: Incoming) {
    let key = incoming.peer();
    match incoming.open().await {
        Ok(connection) => desk.tell(Event::PeerJoined { connection, dialled: false }).await,
        Err(error) => log::debug!("index server {key:?}: {error}"),
    }
}

/// Serves the connection with another server until it ends.
pub(crate) async fn serve_peer(
    desk: Arc<Desk>,
    connection: PeerConnection,
    session: SessionNumber,
    messages: mpsc::Receiver<IndexPeerMessage>,
) {
    let key = connection.peer();
    let (sender, receiver) = connection.split();
    tokio::select! {
        () = read_peer(&desk, &sender, receiver, session) => {}
        () = write_peer(&desk, &sender, messages, session) => {}
    }
    desk.tell(Event::PeerLeft { key, session }).await;
}

async fn read_peer(
    desk: &Desk,
    sender: &Sender<IndexPeerMessage>,
    mut receiver: Receiver<IndexPeerMessage>,
    session: SessionNumber,
) {
    let key = sender.peer();
    loop {
        let message = match receiver.recv().await {
            Ok(message) => message,
            Err(error) => {
                log::info!("index server {key:?}: {error}");
                return;
            }
        };
        match PeerInput::check(message) {
            Ok(input) => desk.tell(Event::PeerSaid { key, session, input }).await,
            Err(error) => {
                log::warn!("index server {key:?} is disconnected: {error}");
                sender.close(&error.to_string());
                return;
            }
        }
    }
}

async fn write_peer(
    desk: &Desk,
    sender: &Sender<IndexPeerMessage>,
    mut messages: mpsc::Receiver<IndexPeerMessage>,
    session: SessionNumber,
) {
    let key = sender.peer();
    while let Some(message) = messages.recv().await {
        if let Err(error) = sender.send(message).await {
            log::debug!("index server {key:?}: {error}");
            return;
        }
        if messages.is_empty() {
            desk.tell(Event::PeerHasRoom { key, session }).await;
        }
    }
    // There will be no more. Where the owner closed the connection, it is closed already.
    sender.close(GOODBYE);
    sender.closed().await;
}

/// What everybody is told at the end.
pub(crate) const GOODBYE: &str = "the index server is shutting down";

/// What an update counts against the pace: its mutations, and ten for the signature.
fn update_cost(update: &SignedUpdate) -> u32 {
    let mutations = match &update.body.kind {
        UpdateKind::Snapshot(mutations) | UpdateKind::Delta(mutations) => mutations.len(),
        UpdateKind::Alive { .. } => 0,
    };
    u32::try_from(mutations).unwrap_or(u32::MAX).saturating_add(10)
}

/// A node speaks for itself, and names the server that it is connected to.
fn check_first_hand(
    desk: &Desk,
    key: &PublicKey,
    update: SignedUpdate,
) -> Result<VerifiedUpdate, &'static str> {
    if update.body.node != *key {
        return Err("a node reports its own lines only");
    }
    if update.body.home_server != desk.own_key {
        return Err("the update names another index server as the node's own");
    }
    VerifiedUpdate::check(update).ok_or("the update's signature is wrong")
}
