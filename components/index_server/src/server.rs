//! The index server: one owner of graph, directory and federation, and the tasks around it.

mod leaving;

use std::{
    collections::BTreeMap,
    future::Future,
    net::IpAddr,
    path::PathBuf,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use offset_crypto::{Identity, PublicKey};
use offset_net::{BackoffConfig, Listener, NetConfig, SendError, Sender, ServeConfig};
use offset_proto::{
    Credits, Text, Timestamp,
    index::{Cycle, IndexToClient, MultiRoute, NodeDown, Route, RouteRequestId},
    session::Purpose,
};
use offset_secure_channel::ChannelIdentity;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    Error,
    absent::Absent,
    directory::{Directory, Refusal, Verdict, VerifiedUpdate, version},
    federation::{Federation, PeerInput},
    keeper::Keeper,
    limits::Limits,
    metrics::{CROWD, Metrics, PACE, PATIENCE},
    pace::{Buckets, address_block},
    peers::{Dialled, Dialling, Peers},
    search::{Cycles, Ways},
    searcher::{Answer, Asker, Found, Party, Question, Searcher},
    sessions::{Desk, Event, PeerConnection, SessionNumber, now, serve_client, welcome_peer},
    trusted::{Trusted, TrustedDirectory, watch_directory},
    view::GraphFeed,
};

/// Settings of an index server.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server's identity; nodes and other servers know its public key.
    pub identity: Arc<Identity>,
    /// The directory of tickets of servers that are trusted, watched while the server runs.
    pub trusted: PathBuf,
    /// Bounds of what is kept and done for others.
    pub limits: Limits,
    /// Limits of the connections of nodes.
    pub client_connections: offset_net::Limits,
    /// Limits of the connections of servers.
    pub server_connections: offset_net::Limits,
    /// Settings of all connections.
    pub net: NetConfig,
    /// How other servers are dialled again.
    pub backoff: BackoffConfig,
    /// The directory in which the server keeps what it knows, if it does.
    pub state: Option<PathBuf>,
    /// Where the server counts.
    pub metrics: Metrics,
}

impl Config {
    /// The defaults.
    #[must_use]
    pub fn new(identity: Arc<Identity>, trusted: PathBuf) -> Self {
        Self {
            identity,
            trusted,
            limits: Limits::default(),
            client_connections: offset_net::Limits::default(),
            server_connections: offset_net::Limits::default(),
            net: NetConfig::default(),
            // Servers that trust each other are few, and what one of them does not hear is missing
            // in its answers: a minute between two tries is too long.
            backoff: BackoffConfig {
                longest: PEER_BACKOFF,
                reset_after: PEER_BACKOFF,
                ..BackoffConfig::default()
            },
            state: None,
            metrics: Metrics::default(),
        }
    }
}

/// Serves nodes on one listener and trusted servers on the other until `shutdown` is done; then
/// tells everybody and ends.
///
/// # Errors
/// [`Error::Trusted`] when the directory of trusted servers cannot be listed at the start, and
/// [`Error::State`] when there is no directory in which to keep what the server knows.
pub async fn run(
    config: Config,
    clients: TcpListener,
    servers: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let own_key = config.identity.public_key();
    let mut directory = TrustedDirectory::new(config.trusted.clone(), own_key);
    let first = directory.read().map_err(|error| Error::Trusted {
        path: config.trusted.clone(),
        reason: error.to_string(),
    })?;
    if let Some(path) = config.state.as_ref().filter(|path| !path.is_dir()) {
        return Err(Error::State { path: path.clone() });
    }
    let (trusted_sender, trusted) = watch::channel(first);
    let (events, inbox) = mpsc::channel(WAITING_EVENTS);
    let desk =
        Arc::new(Desk::new(events, own_key, config.limits.clients.updates, config.metrics.clone()));
    let identity = Arc::new(ChannelIdentity::new(&config.identity));

    let mut tasks = JoinSet::new();
    tasks.spawn(watch_directory(directory, trusted_sender));
    let listener = |listener, purpose: Purpose, limits: &offset_net::Limits| {
        let mut serve = ServeConfig::new([purpose]);
        serve.net = config.net.clone();
        let counts = config.metrics.counts();
        serve.counts = Arc::clone(&counts.server_listener);
        if purpose == Purpose::IndexClient {
            serve.net.queue_bytes = config.limits.clients.queue_bytes;
            serve.counts = Arc::clone(&counts.node_listener);
        }
        serve.limits = limits.clone();
        Listener::new(listener, Arc::clone(&identity), serve)
    };
    let nodes = listener(clients, Purpose::IndexClient, &config.client_connections);
    let others = listener(servers, Purpose::IndexServer, &config.server_connections);
    let client_desk = Arc::clone(&desk);
    tasks.spawn(nodes.serve(
        |_, _| true,
        move |incoming| serve_client(Arc::clone(&client_desk), incoming),
        std::future::pending(),
    ));
    let (server_desk, admitted) = (Arc::clone(&desk), trusted.clone());
    tasks.spawn(others.serve(
        move |key, _| admitted.borrow().contains_key(key),
        move |incoming| welcome_peer(Arc::clone(&server_desk), incoming),
        std::future::pending(),
    ));
    Owner::new(&config, identity, desk, trusted).run(inbox, pin!(shutdown)).await;
    Ok(())
}

/// What the owner is told.
enum Input {
    Event(Event),
    Trusted,
    Answer(Answer),
    Dialled(Dialled),
    Timeout,
    Shutdown,
}

struct Owner {
    identity: Arc<Identity>,
    directory: Directory,
    federation: Federation,
    graph: GraphFeed,
    keeper: Option<Keeper>,
    searcher: Searcher,
    clients: BTreeMap<PublicKey, Client>,
    absent: Absent,
    peers: Peers,
    trusted: watch::Receiver<Trusted>,
    requests_by_key: Buckets<PublicKey>,
    requests_by_address: Buckets<IpAddr>,
    /// What the computer's clock showed, and when that was.
    clock: (Timestamp, Instant),
    metrics: Metrics,
}

struct Client {
    session: SessionNumber,
    sender: Sender<IndexToClient>,
    address: Option<IpAddr>,
}

impl Owner {
    fn new(
        config: &Config,
        channel_identity: Arc<ChannelIdentity>,
        desk: Arc<Desk>,
        trusted: watch::Receiver<Trusted>,
    ) -> Self {
        let limits = &config.limits;
        let mut graph = GraphFeed::default();
        let keeper = config.state.clone().map(|path| Keeper::new(path, &config.identity));
        let known = keeper.as_ref().and_then(|keeper| keeper.load(&limits.directory, now()));
        let mut absent = Absent::default();
        let directory = match known {
            Some((directory, known)) => {
                graph.begin_with(known);
                absent.extend(directory.at_home(&config.identity.public_key()));
                directory
            }
            None => Directory::new(limits.directory.clone()),
        };
        let dialling = Dialling {
            identity: channel_identity,
            net: config.net.clone(),
            backoff: config.backoff,
        };
        Self {
            identity: Arc::clone(&config.identity),
            directory,
            federation: Federation::default(),
            searcher: Searcher::new(limits.search.clone(), graph.view()),
            graph,
            keeper,
            clients: BTreeMap::new(),
            absent,
            peers: Peers::new(dialling, desk),
            trusted,
            requests_by_key: Buckets::new(limits.clients.requests_per_key),
            requests_by_address: Buckets::new(limits.clients.requests_per_address),
            clock: (now(), Instant::now()),
            metrics: config.metrics.clone(),
        }
    }

    async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Event>,
        mut shutdown: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) {
        self.handle_trusted();
        loop {
            let input = self.next_input(&mut inbox, shutdown.as_mut()).await;
            self.look_at_clock();
            match input {
                Input::Event(event) => {
                    self.handle_event(event);
                    // What else waits is handled before anything is sent on.
                    for _ in 0..WAITING_EVENTS {
                        let Ok(event) = inbox.try_recv() else { break };
                        self.handle_event(event);
                    }
                }
                Input::Trusted => self.handle_trusted(),
                Input::Answer(answer) => self.handle_answer(answer),
                Input::Dialled((_, Ok(connection))) => self.handle_peer(connection, true),
                Input::Dialled((key, Err(error))) => self.peers.dialling_failed(&key, &error),
                Input::Timeout => self.handle_timeout(),
                Input::Shutdown => break,
            }
            self.graph.apply(self.directory.take_changes());
            self.feed_peers();
            if let Some(keeper) = &mut self.keeper {
                keeper.step(&self.directory);
            }
            self.measure();
        }
        self.say_goodbye(inbox).await;
    }

    fn handle_timeout(&mut self) {
        // Also woken for other things, many times a second.
        if self.directory.next_timeout().is_some_and(|at| at <= now()) {
            self.directory.handle_timeout(now());
            self.federation.forget_gone(&self.directory);
        }
        for node in self.absent.due() {
            if !self.clients.contains_key(&node) {
                self.say_that_it_left(&node);
            }
        }
        self.peers.dial_due();
    }

    fn measure(&self) {
        let counts = self.metrics.counts();
        counts.nodes.set(self.directory.node_count());
        counts.connected.set(self.clients.len());
        counts.servers.set(self.peers.count());
        counts.trusted.set(self.peers.trusted_count());
        counts.lacking.set(self.federation.lacking());
        counts.edges.set(self.graph.view().graph().edge_count());
        counts.waiting.set(self.searcher.waiting());
        counts.stored_bytes.set(self.directory.stored_bytes());
        let oldest = self.directory.oldest().map_or(0, |heard_at| now().ms_since(heard_at) / 1_000);
        counts.oldest.set(usize::try_from(oldest).unwrap_or(usize::MAX));
    }

    async fn next_input(
        &mut self,
        inbox: &mut mpsc::Receiver<Event>,
        shutdown: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Input {
        let wake_at = self.wake_at();
        tokio::select! {
            () = shutdown => Input::Shutdown,
            Some(event) = inbox.recv() => Input::Event(event),
            Ok(()) = self.trusted.changed() => Input::Trusted,
            answer = self.searcher.next() => Input::Answer(answer),
            dialled = self.peers.next_dialled() => Input::Dialled(dialled),
            () = sleep_until(wake_at) => Input::Timeout,
        }
    }

    /// Notices when the computer's clock was set.
    fn look_at_clock(&mut self) {
        let (shown, at) = self.clock;
        self.clock = (now(), Instant::now());
        let passed = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
        let expected = shown.plus_ms(passed);
        if CLOCK_SET_MS < expected.0.abs_diff(self.clock.0.0) {
            log::warn!("the clock of this computer was set");
            self.directory.handle_clock_set(expected, self.clock.0);
        }
    }

    fn wake_at(&self) -> Instant {
        // The computer's clock may be set while we sleep, so never for long.
        let expiry = self.directory.next_timeout().map_or(LONGEST_SLEEP, |at| {
            Duration::from_millis(at.ms_since(now())).min(LONGEST_SLEEP)
        });
        // Changes that wait for a search are shown as soon as it has ended.
        let expiry = if self.graph.is_behind() { expiry.min(PUBLISH_AGAIN) } else { expiry };
        let expiry = Instant::now() + expiry;
        let keeping = self.keeper.as_ref().map(Keeper::wake_at);
        let others = [self.peers.next_dial(), keeping, self.absent.next()];
        others.into_iter().flatten().fold(expiry, Instant::min)
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::ClientJoined { session, sender, address } => {
                let key = sender.peer();
                log::info!("node {key:?} is connected");
                let client = Client { session, sender, address };
                if let Some(old) = self.clients.insert(key, client) {
                    old.sender.close("this node has connected anew");
                }
            }
            Event::ClientUpdate { key, session, update } => {
                if self.is_client(&key, session) {
                    self.handle_client_update(&key, update);
                }
            }
            Event::ClientAsks { key, session, request_id, question } => {
                if self.is_client(&key, session) {
                    self.handle_request(Asker { key, session, request_id }, question);
                }
            }
            Event::ClientLeft { key, session } => {
                if self.is_client(&key, session) {
                    self.handle_client_left(&key);
                }
            }
            Event::PeerJoined { connection, dialled } => self.handle_peer(connection, dialled),
            Event::PeerSaid { key, session, input } => {
                if self.peers.is_current(&key, session) {
                    self.handle_peer_said(&key, input);
                }
            }
            // Every round ends with feeding whoever has room.
            Event::PeerHasRoom { key, session } => {
                log::trace!("index server {key:?} has room in session {session}");
            }
            Event::PeerLeft { key, session } => {
                if self.peers.leave(&key, session) {
                    self.federation.handle_disconnected(&key);
                }
            }
        }
    }

    fn is_client(&self, key: &PublicKey, session: SessionNumber) -> bool {
        self.clients.get(key).is_some_and(|client| client.session == session)
    }

    fn handle_client_update(&mut self, key: &PublicKey, update: VerifiedUpdate) {
        let new = version(update.update());
        let verdict = self.directory.handle_update(now(), update, true);
        self.metrics.counts().updated(&verdict);
        match verdict {
            Verdict::Applied { refresh } => {
                self.federation.updated(key, new, None);
                if refresh {
                    self.send(key, IndexToClient::SnapshotWanted);
                }
            }
            Verdict::Gap => self.send(key, IndexToClient::SnapshotWanted),
            Verdict::NotNewer { newest: (epoch, counter) } => {
                self.send(key, IndexToClient::Behind { epoch, counter });
            }
            Verdict::Refused(refusal) => self.refuse(key, refusal),
        }
    }

    /// A node whose updates cannot be taken is told why and goes elsewhere.
    fn refuse(&mut self, key: &PublicKey, refusal: Refusal) {
        log::warn!("node {key:?} is disconnected: {refusal}");
        if let Some(client) = self.clients.get(key) {
            client.sender.close(&refusal.to_string());
        }
        self.handle_client_left(key);
    }

    fn handle_client_left(&mut self, key: &PublicKey) {
        self.clients.remove(key);
        log::info!("node {key:?} is disconnected");
        self.say_that_it_left(key);
    }

    /// A node whose home this server is went away.
    fn say_that_it_left(&mut self, key: &PublicKey) {
        // Another server may have become its home meanwhile; then it is that one's to speak.
        if self.directory.home_server(key) != Some(self.identity.public_key()) {
            return;
        }
        let Some((epoch, counter)) = self.directory.version(key) else { return };
        let down = NodeDown::sign(*key, epoch, counter, &self.identity);
        if self.directory.handle_node_down(now(), down) {
            self.federation.node_left(key, None);
        }
    }

    fn handle_request(&mut self, asker: Asker, question: Question) {
        let now = now();
        let address = self.clients.get(&asker.key).and_then(|client| client.address);
        // Programs of this computer and those behind a proxy on it share an address.
        let block = address.map(address_block).filter(|address| !address.is_loopback());
        let allowed = self.requests_by_key.take(asker.key, now)
            && block.is_none_or(|block| self.requests_by_address.take(block, now));
        let refused_by = &self.metrics.counts().refused;
        let refusal = if allowed {
            let party = block.map_or(Party::Key(asker.key), Party::Address);
            self.searcher.ask(party, asker, question).inspect(|_| refused_by[CROWD].raise())
        } else {
            refused_by[PACE].raise();
            Some(asker)
        };
        if let Some(asker) = refusal
            && self.is_client(&asker.key, asker.session)
        {
            self.send(&asker.key, refused(asker.request_id));
        }
    }

    fn handle_answer(&mut self, answer: Answer) {
        let Answer { asker, found, asked_at, searched_for, edges } = answer;
        let counts = self.metrics.counts();
        if found.is_some() {
            counts.searching.observe(searched_for);
            counts.looked_at.add(edges as u64);
        }
        counts.answering.observe(asked_at.elapsed());
        if !self.is_client(&asker.key, asker.session) {
            return;
        }
        let request_id = asker.request_id;
        let answer = match found {
            None => {
                counts.refused[PATIENCE].raise();
                refused(request_id)
            }
            Some(Found::Routes(Ways { multi_routes, cut_short })) => {
                let dated = multi_routes.into_iter().filter_map(|routes| self.dated(routes));
                let multi_routes: Vec<MultiRoute> = dated.collect();
                counts.dated(multi_routes.first().map(|way| way.age_ms));
                counts.searched(!multi_routes.is_empty(), cut_short);
                IndexToClient::Routes { request_id, multi_routes, cut_short }
            }
            Some(Found::Cycles(Cycles { routes, cut_short })) => {
                let dated = routes.into_iter().filter_map(|route| {
                    let age_ms = self.age(std::slice::from_ref(&route))?;
                    Some(Cycle { route, age_ms })
                });
                let cycles: Vec<Cycle> = dated.collect();
                counts.dated(cycles.first().map(|cycle| cycle.age_ms));
                counts.searched(!cycles.is_empty(), cut_short);
                IndexToClient::Cycles { request_id, cycles, cut_short }
            }
        };
        self.send(&asker.key, answer);
    }

    fn dated(&self, routes: Vec<Route>) -> Option<MultiRoute> {
        let age_ms = self.age(&routes)?;
        let mut fees = routes.iter().map(|route| route.fee);
        let total_fee = fees.try_fold(Credits::ZERO, Credits::checked_add)?;
        Some(MultiRoute { routes, total_fee, age_ms })
    }

    /// The age of the oldest statement that routes rely on; `None` where a node has left since.
    fn age(&self, routes: &[Route]) -> Option<u64> {
        let keys = routes.iter().flat_map(|route| &route.keys);
        let times = keys.map(|key| self.directory.stated_at(key));
        let oldest = times.collect::<Option<Vec<Timestamp>>>()?.into_iter().min()?;
        Some(now().ms_since(oldest))
    }

    fn handle_trusted(&mut self) {
        let trusted = self.trusted.borrow_and_update().clone();
        for closed in self.peers.set_trusted(&trusted) {
            self.federation.handle_disconnected(&closed);
        }
        self.peers.dial_due();
    }

    fn handle_peer(&mut self, connection: PeerConnection, dialled: bool) {
        if let Some(key) = self.peers.join(connection, dialled) {
            self.federation.handle_connected(key);
        }
    }

    fn handle_peer_said(&mut self, key: &PublicKey, input: PeerInput) {
        let about = match &input {
            PeerInput::Update(update) => Some(update.update().body.node),
            PeerInput::Digest { .. } | PeerInput::Wanted(_) | PeerInput::NodeDown(_) => None,
        };
        let result = self.federation.handle_message(now(), &mut self.directory, key, input);
        if let Err(refusal) = result {
            self.metrics.counts().not_taken(refusal);
            log::debug!("an update from index server {key:?} is not taken: {refusal}");
        }
        // A node that this server was the home of before it started again, as others know it. Only what
        // the directory took counts, so there are no more than it holds.
        if let Some(node) = about
            && !self.clients.contains_key(&node)
            && self.directory.home_server(&node) == Some(self.identity.public_key())
            && self.absent.len() <= self.directory.node_count()
        {
            self.absent.extend([node]);
        }
    }

    fn feed_peers(&mut self) {
        for key in self.peers.connected() {
            let (federation, directory) = (&mut self.federation, &self.directory);
            self.peers.feed(&key, || federation.next_message(directory, &key));
        }
    }

    /// Never waits: a node that does not read what it asked for is disconnected.
    fn send(&self, key: &PublicKey, message: IndexToClient) {
        let Some(client) = self.clients.get(key) else { return };
        match client.sender.try_send(message) {
            // Closed: its task is about to tell.
            Ok(()) | Err(SendError::Closed) => {}
            Err(error @ (SendError::Full | SendError::TooLong)) => {
                self.metrics.counts().not_reading.raise();
                log::warn!("node {key:?} is disconnected: {error}");
                client.sender.close(&error.to_string());
            }
        }
    }
}

fn refused(request_id: RouteRequestId) -> IndexToClient {
    IndexToClient::Refused { request_id, reason: Text::cut(TOO_MANY) }
}

/// Events that wait for the owner; whoever has more waits itself.
const WAITING_EVENTS: usize = 256;
/// How soon it is tried again to show changes to searches.
const PUBLISH_AGAIN: Duration = Duration::from_millis(5);
/// The owner looks at its clock at least this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);
/// A clock that is off by more than this from one look to the next was set; less is correction.
const CLOCK_SET_MS: u64 = 10_000;
/// How long two tries of reaching another server lie apart at most.
const PEER_BACKOFF: Duration = Duration::from_secs(10);
const TOO_MANY: &str = "too many route requests at this index server; ask again in a moment";
