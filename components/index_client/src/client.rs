//! The task that keeps a node connected to one of its index servers.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use offset_crypto::{Identity, PublicKey, SystemRng};
use offset_net::{Backoff, BackoffConfig, Connection, NetConfig, SendError, dial};
use offset_proto::{
    Currency, ServerAddress, Timestamp,
    index::{
        ClientToIndex, Cycle, CycleEnd, CycleQuery, IndexLine, IndexToClient, MultiRoute,
        RouteQuery, RouteRequestId, UpdateMutation,
    },
};
use offset_secure_channel::ChannelIdentity;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{Error, reporter::Reporter};

/// Settings of an index client.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node's identity.
    pub identity: Arc<Identity>,
    /// The last epoch that is durable with the node, 0 when there is none. The node makes
    /// [`IndexClient::epoch`] durable before it runs the [`Driver`].
    pub last_epoch: u64,
    /// Settings of the connection.
    pub net: NetConfig,
    /// How long a server that failed is left alone.
    pub backoff: BackoffConfig,
    /// How long a request for routes may take in all.
    pub request_timeout: Duration,
}

impl Config {
    /// See [`Config::request_timeout`].
    pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

    /// The defaults.
    #[must_use]
    pub fn new(identity: Arc<Identity>, last_epoch: u64) -> Self {
        Self {
            identity,
            last_epoch,
            net: NetConfig::default(),
            backoff: BackoffConfig::default(),
            request_timeout: Self::REQUEST_TIMEOUT,
        }
    }
}

/// How the client stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// The server that is connected.
    pub connected: Option<PublicKey>,
    /// What went wrong last, and with which server; nothing once a connection stands.
    pub last_error: Option<(PublicKey, String)>,
    /// Lines that are not reported because there are too many.
    pub unreported_lines: usize,
}

/// A node's handle on its index client: cheap to clone, never blocked by a server.
#[derive(Debug, Clone)]
pub struct IndexClient {
    requests: mpsc::Sender<Request>,
    lines: Arc<LinesInbox>,
    status: watch::Receiver<Status>,
    epoch: u64,
    request_timeout: Duration,
}

impl IndexClient {
    /// A client for the servers in `servers`, tried in this order, and the driver that does its
    /// work. The list may change at any time.
    #[must_use]
    pub fn new(config: Config, servers: watch::Receiver<Vec<ServerAddress>>) -> (Self, Driver) {
        let (request_sender, requests) = mpsc::channel(WAITING_REQUESTS);
        let (status_sender, status) = watch::channel(Status::default());
        let lines = Arc::new(LinesInbox::default());
        let reporter = Reporter::new(config.identity.public_key(), config.last_epoch, now());
        let client = Self {
            requests: request_sender,
            lines: Arc::clone(&lines),
            status,
            epoch: reporter.epoch(),
            request_timeout: config.request_timeout,
        };
        let driver = Driver {
            channel_identity: Arc::new(ChannelIdentity::new(&config.identity)),
            config,
            servers,
            servers_gone: false,
            requests,
            lines,
            status: status_sender,
            reporter,
            backoffs: BTreeMap::new(),
            link: Link::Idle,
            pending: BTreeMap::new(),
            next_request: 0,
        };
        (client, driver)
    }

    /// The epoch of this run's updates; to be made durable before the driver runs.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The node's lines changed; reported as soon as the rules allow. Never waits.
    pub fn update_lines(&self, mutations: Vec<UpdateMutation>) {
        self.lines.put(mutations);
    }

    /// Asks for routes, cheapest first; none when there is no way. Waits for a connection where there
    /// is none, and asks the next server when one is lost, within the deadline
    /// ([`Config::request_timeout`]). An answer is a hint: fees and capacities are the server's word.
    ///
    /// # Errors
    /// [`Error::NotConnected`], [`Error::NoAnswer`], [`Error::Busy`], [`Error::Refused`],
    /// [`Error::Stopped`].
    pub async fn request_routes(&self, query: RouteQuery) -> Result<Vec<MultiRoute>, Error> {
        let (reply, answer) = oneshot::channel();
        self.request(Request::Routes { query, reply }, answer).await
    }

    /// Asks for cycles, feasible together; none when there is none. Otherwise as
    /// [`Self::request_routes`].
    ///
    /// # Errors
    /// As [`Self::request_routes`].
    pub async fn request_cycles(&self, query: CycleQuery) -> Result<Vec<Cycle>, Error> {
        let (reply, answer) = oneshot::channel();
        self.request(Request::Cycles { query, reply }, answer).await
    }

    async fn request<T>(
        &self,
        request: Request,
        answer: oneshot::Receiver<Result<T, Error>>,
    ) -> Result<T, Error> {
        self.requests.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Busy,
            mpsc::error::TrySendError::Closed(_) => Error::Stopped,
        })?;
        match timeout(self.request_timeout, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Error::Stopped),
            Err(_) if self.status.borrow().connected.is_none() => Err(Error::NotConnected),
            Err(_) => Err(Error::NoAnswer),
        }
    }

    /// How the client stands, now and with every change.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }
}

type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// A question that waits for its answer. Whoever asked may have stopped waiting.
#[derive(Debug)]
enum Request {
    Routes { query: RouteQuery, reply: Reply<Vec<MultiRoute>> },
    Cycles { query: CycleQuery, reply: Reply<Vec<Cycle>> },
}

impl Request {
    fn is_given_up(&self) -> bool {
        match self {
            Self::Routes { reply, .. } => reply.is_closed(),
            Self::Cycles { reply, .. } => reply.is_closed(),
        }
    }

    fn message(&self, request_id: RouteRequestId) -> ClientToIndex {
        match self {
            Self::Routes { query, .. } => {
                ClientToIndex::RequestRoutes { request_id, query: query.clone() }
            }
            Self::Cycles { query, .. } => {
                ClientToIndex::RequestCycles { request_id, query: query.clone() }
            }
        }
    }

    fn fail(self, error: Error) {
        match self {
            Self::Routes { reply, .. } => drop(reply.send(Err(error))),
            Self::Cycles { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

/// Changes that the driver has not taken yet; never more than there are lines.
#[derive(Debug, Default)]
struct LinesInbox {
    changes: Mutex<BTreeMap<(PublicKey, Currency), Option<IndexLine>>>,
    changed: Notify,
}

impl LinesInbox {
    fn put(&self, mutations: Vec<UpdateMutation>) {
        let mut changes = self.lock();
        for mutation in mutations {
            match mutation {
                UpdateMutation::Set { friend, currency, line } => {
                    changes.insert((friend, currency), Some(line));
                }
                UpdateMutation::Remove { friend, currency } => {
                    changes.insert((friend, currency), None);
                }
            }
        }
        drop(changes);
        self.changed.notify_one();
    }

    fn take(&self) -> Vec<UpdateMutation> {
        let changes = std::mem::take(&mut *self.lock());
        let mutation = |((friend, currency), line)| match line {
            Some(line) => UpdateMutation::Set { friend, currency, line },
            None => UpdateMutation::Remove { friend, currency },
        };
        changes.into_iter().map(mutation).collect()
    }

    // Whatever panicked, the map is whole.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(PublicKey, Currency), Option<IndexLine>>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does the work of one [`IndexClient`].
#[derive(Debug)]
pub struct Driver {
    config: Config,
    channel_identity: Arc<ChannelIdentity>,
    servers: watch::Receiver<Vec<ServerAddress>>,
    servers_gone: bool,
    requests: mpsc::Receiver<Request>,
    lines: Arc<LinesInbox>,
    status: watch::Sender<Status>,
    reporter: Reporter,
    backoffs: BTreeMap<PublicKey, ServerBackoff>,
    link: Link,
    pending: BTreeMap<RouteRequestId, Request>,
    next_request: u64,
}

type ServerConnection = Connection<ClientToIndex, IndexToClient>;
type DialResult = Result<ServerConnection, offset_net::Error>;

#[derive(Debug)]
struct ServerBackoff {
    backoff: Backoff,
    not_before: Instant,
}

/// The one server that the client deals with.
#[derive(Debug)]
enum Link {
    Idle,
    Dialling { server: ServerAddress, task: JoinSet<DialResult> },
    Connected { server: ServerAddress, connection: Box<ServerConnection>, since: Instant },
}

enum Input {
    Request(Request),
    NoMoreRequests,
    Lines,
    Servers(bool),
    Dialled(DialResult),
    Received(Result<IndexToClient, offset_net::Error>),
    Timeout,
    Shutdown,
}

impl Driver {
    /// Runs until `shutdown` is done or every [`IndexClient`] is gone. Requests that wait then end
    /// with [`Error::Stopped`].
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send) {
        let mut shutdown = pin!(shutdown);
        loop {
            self.dial_next();
            match self.next_input(shutdown.as_mut()).await {
                Input::Request(request) => self.handle_request(request),
                Input::Lines => {
                    self.reporter.handle_lines(self.lines.take());
                    let unreported = self.reporter.unreported();
                    self.set_status(|status| status.unreported_lines = unreported);
                }
                Input::Servers(there) => self.handle_servers(there),
                Input::Dialled(Ok(connection)) => self.handle_connected(connection),
                Input::Dialled(Err(error)) => self.handle_lost(&error.to_string()),
                Input::Received(Ok(message)) => self.handle_message(message),
                Input::Received(Err(error)) => self.handle_lost(&error.to_string()),
                Input::Timeout => {}
                Input::NoMoreRequests | Input::Shutdown => break,
            }
            self.pending.retain(|_, request| !request.is_given_up());
            self.report();
        }
        if let Link::Connected { connection, .. } = &self.link {
            connection.close("the node is shutting down");
            let closed = connection.sender();
            if timeout(GOODBYE_TIME, closed.closed()).await.is_err() {
                log::debug!("the index server did not take the goodbye");
            }
        }
    }

    async fn next_input(&mut self, shutdown: Pin<&mut (impl Future<Output = ()> + Send)>) -> Input {
        let wake_at = self.wake_at();
        tokio::select! {
            () = shutdown => Input::Shutdown,
            request = self.requests.recv() => request.map_or(Input::NoMoreRequests, Input::Request),
            () = self.lines.changed.notified() => Input::Lines,
            changed = self.servers.changed(), if !self.servers_gone => {
                Input::Servers(changed.is_ok())
            }
            input = self.link.next_input() => input,
            () = sleep_until(wake_at) => Input::Timeout,
        }
    }

    fn wake_at(&self) -> Instant {
        let longest = Instant::now() + LONGEST_SLEEP;
        let update = self.reporter.next_timeout().map(|at| {
            // The computer's clock may be set while we sleep, so never for long.
            Instant::now() + Duration::from_millis(at.ms_since(now())).min(LONGEST_SLEEP)
        });
        let retry = match &self.link {
            Link::Idle => {
                self.servers.borrow().iter().filter_map(|server| self.left_alone(server)).min()
            }
            Link::Dialling { .. } | Link::Connected { .. } => None,
        };
        [update, retry].into_iter().flatten().fold(longest, Instant::min)
    }

    /// Until when a server that failed is left alone.
    fn left_alone(&self, server: &ServerAddress) -> Option<Instant> {
        self.backoffs.get(&server.public_key).map(|backoff| backoff.not_before)
    }

    /// Dials the first server of the list that did not fail a moment ago.
    fn dial_next(&mut self) {
        if !matches!(self.link, Link::Idle) {
            return;
        }
        let now = Instant::now();
        let ready =
            |server: &&ServerAddress| self.left_alone(server).is_none_or(|until| until <= now);
        let Some(server) = self.servers.borrow().iter().find(ready).cloned() else { return };
        let identity = Arc::clone(&self.channel_identity);
        let (net, target) = (self.config.net.clone(), server.clone());
        let mut task = JoinSet::new();
        task.spawn(async move { dial(&identity, &target, &net).await });
        self.link = Link::Dialling { server, task };
    }

    fn handle_servers(&mut self, there: bool) {
        self.servers_gone = !there;
        let servers = self.servers.borrow_and_update().clone();
        self.backoffs.retain(|key, _| servers.iter().any(|server| server.public_key == *key));
        if self.link.server().is_some_and(|server| !servers.contains(server)) {
            if let Link::Connected { connection, .. } = &self.link {
                connection.close("the node does not use this index server any more");
            }
            self.unlink();
        }
    }

    fn handle_connected(&mut self, connection: ServerConnection) {
        let Link::Dialling { server, .. } = &self.link else { return };
        let server = server.clone();
        log::info!("index server {:?} is connected", server.public_key);
        self.reporter.handle_connected(now(), server.public_key);
        self.set_status(|status| {
            status.connected = Some(server.public_key);
            status.last_error = None;
        });
        let since = Instant::now();
        self.link = Link::Connected { server, connection: Box::new(connection), since };
        // What was asked before is asked again: a question changes nothing.
        let waiting: Vec<RouteRequestId> = self.pending.keys().copied().collect();
        for request_id in waiting {
            self.ask(request_id);
        }
    }

    /// The server could not be reached, or its connection ended.
    fn handle_lost(&mut self, reason: &str) {
        let Some(server) = self.link.server().map(|server| server.public_key) else { return };
        let backoff = self.backoffs.entry(server).or_insert_with(|| ServerBackoff {
            backoff: Backoff::new(self.config.backoff),
            not_before: Instant::now(),
        });
        if let Link::Connected { since, .. } = &self.link {
            backoff.backoff.ended_after(since.elapsed());
        }
        if backoff.backoff.failures() == 0 {
            log::warn!("index server {server:?}: {reason}");
        } else {
            log::debug!("index server {server:?}: {reason}");
        }
        backoff.not_before = Instant::now() + backoff.backoff.next_delay(&mut SystemRng);
        self.unlink();
        self.set_status(|status| status.last_error = Some((server, reason.to_owned())));
    }

    fn unlink(&mut self) {
        self.link = Link::Idle;
        self.reporter.handle_disconnected();
        self.set_status(|status| status.connected = None);
    }

    fn handle_request(&mut self, request: Request) {
        if WAITING_REQUESTS <= self.pending.len() {
            request.fail(Error::Busy);
            return;
        }
        let request_id = RouteRequestId(self.next_request);
        self.next_request += 1;
        self.pending.insert(request_id, request);
        self.ask(request_id);
    }

    /// Sends a request that waits, where a server is connected.
    fn ask(&mut self, request_id: RouteRequestId) {
        if let Some(request) = self.pending.get(&request_id) {
            self.send(request.message(request_id));
        }
    }

    fn handle_message(&mut self, message: IndexToClient) {
        match message {
            IndexToClient::Routes { request_id, multi_routes, cut_short } => {
                // A late answer to a request that has ended is nothing.
                match self.pending.remove(&request_id) {
                    Some(Request::Routes { query, reply }) => {
                        log::debug!("{} routes, cut short: {cut_short}", multi_routes.len());
                        drop(reply.send(Ok(fitting(&query, multi_routes))));
                    }
                    Some(request @ Request::Cycles { .. }) => request.fail(Error::NoAnswer),
                    None => {}
                }
            }
            IndexToClient::Cycles { request_id, cycles, cut_short } => {
                match self.pending.remove(&request_id) {
                    Some(Request::Cycles { query, reply }) => {
                        log::debug!("{} cycles, cut short: {cut_short}", cycles.len());
                        drop(reply.send(Ok(fitting_cycles(&query, cycles))));
                    }
                    Some(request @ Request::Routes { .. }) => request.fail(Error::NoAnswer),
                    None => {}
                }
            }
            IndexToClient::Refused { request_id, reason } => {
                if let Some(request) = self.pending.remove(&request_id) {
                    request.fail(Error::Refused { reason });
                }
            }
            IndexToClient::SnapshotWanted => self.reporter.handle_snapshot_wanted(),
            IndexToClient::Behind { epoch, counter } => {
                let result = self.reporter.handle_behind(now(), epoch, counter);
                if let (Err(error), Some(server)) = (result, self.link.server()) {
                    log::warn!("index server {:?}: {error}", server.public_key);
                    let trouble = Some((server.public_key, error.to_string()));
                    self.set_status(|status| status.last_error = trouble);
                }
            }
        }
    }

    /// Sends the updates that are due.
    fn report(&mut self) {
        for body in self.reporter.take_updates(now()) {
            let update = body.sign(&self.config.identity);
            self.send(ClientToIndex::Update(Box::new(update)));
        }
    }

    /// Never waits: a server that does not read is as good as none.
    fn send(&mut self, message: ClientToIndex) {
        let Link::Connected { connection, .. } = &self.link else { return };
        match connection.try_send(message) {
            // Closed: the receiving half is about to say why.
            Ok(()) | Err(SendError::Closed) => {}
            Err(error @ (SendError::Full | SendError::TooLong)) => {
                connection.close(&error.to_string());
                self.handle_lost(&error.to_string());
            }
        }
    }

    fn set_status(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            *status != before
        });
    }
}

impl Link {
    const fn server(&self) -> Option<&ServerAddress> {
        match self {
            Self::Idle => None,
            Self::Dialling { server, .. } | Self::Connected { server, .. } => Some(server),
        }
    }

    /// What the server does next; never when there is none. Safe to cancel.
    async fn next_input(&mut self) -> Input {
        match self {
            Self::Idle => std::future::pending().await,
            Self::Dialling { task, .. } => match task.join_next().await {
                Some(Ok(result)) => Input::Dialled(result),
                Some(Err(_)) | None => Input::Dialled(Err(offset_net::Error::Closed)),
            },
            Self::Connected { connection, .. } => Input::Received(connection.recv().await),
        }
    }
}

/// The multi-routes that lead from where to where they were asked for.
fn fitting(query: &RouteQuery, multi_routes: Vec<MultiRoute>) -> Vec<MultiRoute> {
    let fits = |multi_route: &MultiRoute| {
        multi_route.routes.iter().all(|route| {
            route.keys.first() == Some(&query.source)
                && route.keys.last() == Some(&query.destination)
        })
    };
    multi_routes.into_iter().filter(fits).collect()
}

/// The cycles that begin and end as they were asked for.
fn fitting_cycles(query: &CycleQuery, cycles: Vec<Cycle>) -> Vec<Cycle> {
    let named = |ends: &[CycleEnd], key: &PublicKey| ends.iter().any(|end| end.friend == *key);
    let fits = |cycle: &Cycle| match cycle.route.keys.as_slice() {
        [origin, first, .., last, _] => {
            *origin == query.node && named(&query.first, first) && named(&query.last, last)
        }
        _ => false,
    };
    cycles.into_iter().filter(fits).collect()
}

/// The time of this computer.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Requests that wait for an answer, and as many that wait to be taken.
const WAITING_REQUESTS: usize = 1_024;
/// The driver looks at its clock at least this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// How long a shutdown waits for the goodbye to be taken.
const GOODBYE_TIME: Duration = Duration::from_secs(1);
