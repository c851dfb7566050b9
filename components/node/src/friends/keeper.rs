//! The task that keeps one session with one friend (protocol, section 4).
//!
//! Both sides dial. Without a session, this side tries every relay of the friend in turn, at first at
//! once, then after growing waits, which end when a relay of ours is reached again; meanwhile the
//! friend's own circuits are greeted. Of two sessions one is kept, by a rule that gives the same answer
//! on both sides.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, OptionFuture},
    stream::FuturesUnordered,
};
use offset_crypto::{PublicKey, SystemRng};
use offset_funder::api::{Contact, SessionId};
use offset_net::{
    Backoff, Connection, Error as NetError, NetConfig, Receiver, Sender, accept_over, connect_over,
};
use offset_proto::{ServerAddress, Text, friend::FriendMessage};
use offset_relay::Circuit;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    friends::{
        House,
        choice::{Stays, stays},
    },
    input::Input,
    limits,
};

pub(super) type FriendConnection = Connection<FriendMessage, FriendMessage>;

/// Keeps one session with one friend.
pub(super) struct Keeper {
    friend: PublicKey,
    house: Arc<House>,
    session: Option<Session>,
    /// As in `session`, for the dialling that is under way.
    standing: Arc<AtomicBool>,
    dialling: Option<BoxFuture<'static, Dialled>>,
    greeting: FuturesUnordered<BoxFuture<'static, Result<FriendConnection, String>>>,
    backoff: Backoff,
    dial_at: Instant,
    /// See [`House::reached`].
    reached: watch::Receiver<u64>,
    /// There may be a new way since the dialling that is under way began.
    new_way: bool,
    /// As it was told to the core.
    error: Text,
}

struct Session {
    id: SessionId,
    opened_by: PublicKey,
    opened_at: Instant,
    sender: Sender<FriendMessage>,
    /// Ends with the session, and says why.
    reading: BoxFuture<'static, String>,
}

/// What came of dialling.
enum Dialled {
    Connected(Box<FriendConnection>),
    Failed(String),
    /// A session stands meanwhile.
    NotNeeded,
}

enum Event {
    NewWay,
    Gone,
    Circuit(Circuit),
    Greeted(Result<FriendConnection, String>),
    Dialled(Dialled),
    Dial,
    Ended(String),
}

impl Keeper {
    pub(super) fn new(friend: PublicKey, house: Arc<House>) -> Self {
        Self {
            friend,
            session: None,
            standing: Arc::default(),
            dialling: None,
            greeting: FuturesUnordered::new(),
            backoff: Backoff::new(house.backoff),
            dial_at: Instant::now(),
            reached: house.reached.clone(),
            new_way: false,
            error: Text::cut(""),
            house,
        }
    }

    /// Runs until the contact's sender is gone; then closes the session.
    pub(super) async fn run(
        mut self,
        mut contact: watch::Receiver<Contact>,
        mut circuits: mpsc::Receiver<Circuit>,
    ) {
        loop {
            match self.next(&mut contact, &mut circuits).await {
                // No reason to wait for it.
                Event::NewWay => {
                    self.dial_at = Instant::now();
                    self.new_way = self.dialling.is_some();
                }
                Event::Gone => break,
                Event::Circuit(circuit) => {
                    let handshake = greet(Arc::clone(&self.house), self.friend, circuit);
                    self.greeting.push(Box::pin(handshake));
                }
                Event::Greeted(Ok(connection)) => {
                    self.house.metrics.counts().friend_greeted(true);
                    self.handle_session(connection, false).await;
                }
                Event::Greeted(Err(error)) => {
                    self.house.metrics.counts().friend_greeted(false);
                    log::debug!("friend {:?} came but failed: {error}", self.friend);
                }
                Event::Dial => self.dial(&contact.borrow_and_update()),
                Event::Dialled(dialled) => {
                    self.dialling = None;
                    match dialled {
                        Dialled::Connected(connection) => {
                            self.handle_session(*connection, true).await;
                        }
                        Dialled::Failed(error) => self.handle_failure(&error).await,
                        Dialled::NotNeeded => {}
                    }
                }
                Event::Ended(reason) => self.handle_end(&reason).await,
            }
        }
        self.close().await;
    }

    /// Waits for what happens next. Safe to cancel.
    async fn next(
        &mut self,
        contact: &mut watch::Receiver<Contact>,
        circuits: &mut mpsc::Receiver<Circuit>,
    ) -> Event {
        let may_greet = self.greeting.len() < limits::FRIEND_HANDSHAKES;
        let may_dial = self.session.is_none() && self.dialling.is_none();
        let reading: OptionFuture<_> =
            self.session.as_mut().map(|session| session.reading.as_mut()).into();
        let dialling: OptionFuture<_> = self.dialling.as_mut().map(Pin::as_mut).into();
        tokio::select! {
            changed = contact.changed() => {
                if changed.is_ok() { Event::NewWay } else { Event::Gone }
            }
            // Relays end after friends only when everything stops.
            Ok(()) = self.reached.changed() => Event::NewWay,
            Some(reason) = reading => Event::Ended(reason),
            Some(dialled) = dialling => Event::Dialled(dialled),
            Some(greeted) = self.greeting.next() => Event::Greeted(greeted),
            Some(circuit) = circuits.recv(), if may_greet => Event::Circuit(circuit),
            () = sleep_until(self.dial_at), if may_dial => Event::Dial,
        }
    }

    /// Starts a round over all relays of the friend, the newest list first.
    fn dial(&mut self, contact: &Contact) {
        let mut relays = contact.relays.clone();
        let known = |relay: &&ServerAddress| !contact.relays.contains(relay);
        relays.extend(contact.previous_relays.iter().filter(known).cloned());
        let standing = Arc::clone(&self.standing);
        let round = dial_relays(Arc::clone(&self.house), self.friend, relays, standing);
        self.dialling = Some(round.boxed());
    }

    /// Another session is open: decides which stays.
    async fn handle_session(&mut self, connection: FriendConnection, by_us: bool) {
        let opened_by = if by_us { self.house.local } else { self.friend };
        let now = Instant::now();
        if let Some(session) = &self.session {
            let since = now.duration_since(session.opened_at);
            if stays(session.opened_by, opened_by, since) == Stays::Standing {
                log::debug!("a second session with {:?} is closed", self.friend);
                connection.close("another session stands");
                return;
            }
            log::debug!("the session with {:?} is replaced by a newer", self.friend);
            session.sender.close("a newer session stands");
        }
        self.standing.store(true, Ordering::Relaxed);
        self.set_error("").await;

        let id = SessionId(self.house.next_session.fetch_add(1, Ordering::Relaxed));
        let (sender, receiver) = connection.split();
        let inputs = self.house.inputs.clone();
        let opened = Input::SessionOpened(self.friend, id, sender.clone());
        // The core is gone only when everything stops.
        let _stopping = inputs.send(opened).await;
        log::info!("friend {:?} is connected", self.friend);
        let reading = read(self.friend, id, receiver, inputs).boxed();
        self.session = Some(Session { id, opened_by, opened_at: now, sender, reading });
    }

    /// The session is lost: dialled again at once if it was any good.
    async fn handle_end(&mut self, reason: &str) {
        let Some(session) = self.session.take() else { return };
        log::info!("friend {:?} is disconnected: {reason}", self.friend);
        self.standing.store(false, Ordering::Relaxed);
        let lasted = session.opened_at.elapsed();
        self.backoff.ended_after(lasted);
        let wait = if lasted < limits::REDIAL_AT_ONCE_AFTER {
            self.backoff.next_delay(&mut SystemRng)
        } else {
            Duration::ZERO
        };
        self.dial_at = Instant::now() + wait;
        let _stopping = self.house.inputs.send(Input::SessionEnded(self.friend, session.id)).await;
        self.set_error(reason).await;
    }

    async fn handle_failure(&mut self, error: &str) {
        if self.session.is_some() {
            return;
        }
        let wait = if std::mem::take(&mut self.new_way) {
            Duration::ZERO
        } else {
            self.backoff.next_delay(&mut SystemRng)
        };
        log::debug!("friend {:?}: {error}; next try in {wait:?}", self.friend);
        self.dial_at = Instant::now() + wait;
        self.set_error(error).await;
    }

    async fn set_error(&mut self, error: &str) {
        let error = Text::cut(error);
        if self.error != error {
            self.error = error.clone();
            let _stopping = self.house.inputs.send(Input::FriendError(self.friend, error)).await;
        }
    }

    async fn close(mut self) {
        if let Some(session) = self.session.take() {
            session.sender.close("this friend is not contacted any more, or the node is stopping");
            // A peer that takes nothing is left to the connection's own timeout.
            let _taken = timeout(limits::GOODBYE, session.sender.closed()).await;
            let _stopping =
                self.house.inputs.send(Input::SessionEnded(self.friend, session.id)).await;
        }
        self.set_error("").await;
    }
}

/// Tries the relays in turn, until one leads to the friend or a session stands without it.
async fn dial_relays(
    house: Arc<House>,
    friend: PublicKey,
    relays: Vec<ServerAddress>,
    standing: Arc<AtomicBool>,
) -> Dialled {
    let mut failure = "no relay of this friend is known; ask for a new friend file".to_owned();
    for relay in relays {
        if standing.load(Ordering::Relaxed) {
            return Dialled::NotNeeded;
        }
        let opening = timeout(limits::CIRCUIT_TIMEOUT, house.relays.connect(&relay, friend)).await;
        let circuit = match opening {
            Ok(Ok(circuit)) => circuit,
            Ok(Err(error)) => {
                failure = error.to_string();
                continue;
            }
            Err(_) => {
                failure = format!("the relay at {} does not answer", relay.address);
                continue;
            }
        };
        // From here on the friend may see a session, so it is carried through.
        if standing.load(Ordering::Relaxed) {
            return Dialled::NotNeeded;
        }
        let net = friend_net(&house.net);
        let handshake = connect_over(circuit, &house.identity, friend, &net);
        let result = within_handshake(handshake).await;
        house.metrics.counts().friend_greeted(result.is_ok());
        match result {
            Ok(connection) => return Dialled::Connected(Box::new(connection)),
            Err(error) => failure = error,
        }
    }
    Dialled::Failed(failure)
}

/// The friend's circuit: whoever is at its end must prove to be the friend.
pub(super) async fn greet(
    house: Arc<House>,
    friend: PublicKey,
    circuit: Circuit,
) -> Result<FriendConnection, String> {
    let net = friend_net(&house.net);
    let is_friend = move |key: &PublicKey| *key == friend;
    within_handshake(accept_over(circuit, &house.identity, &net, is_friend)).await
}

async fn within_handshake(
    handshake: impl Future<Output = Result<FriendConnection, NetError>>,
) -> Result<FriendConnection, String> {
    match timeout(limits::FRIEND_HANDSHAKE_TIMEOUT, handshake).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the friend did not answer the handshake in time".to_owned()),
    }
}

/// Hands messages to the core, as fast as the core takes them. Says why it ended.
async fn read(
    friend: PublicKey,
    id: SessionId,
    mut receiver: Receiver<FriendMessage>,
    inputs: mpsc::Sender<Input>,
) -> String {
    let room = Arc::new(Semaphore::new(limits::FRIEND_INPUTS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return "the node is stopping".to_owned();
        };
        match receiver.recv().await {
            Ok(message) => {
                let input = Input::FriendMessage(friend, id, Box::new(message), permit);
                if inputs.send(input).await.is_err() {
                    return "the node is stopping".to_owned();
                }
            }
            Err(error) => return error.to_string(),
        }
    }
}

fn friend_net(net: &NetConfig) -> NetConfig {
    NetConfig {
        queue_bytes: limits::FRIEND_QUEUE_BYTES,
        queue_messages: limits::FRIEND_QUEUE_MESSAGES,
        ..net.clone()
    }
}
