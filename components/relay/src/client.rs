//! The node's side: one connection per relay for listening and for connecting.
//!
//! ```text
//!   RelayClient --- line (task) --- relay 1      connect, listen
//!       |     \---- line (task) --- relay 2
//!   Circuit, RelayListener -- link (mux) of the line's connection
//! ```
//!
//! A *line* dials its relay when somebody wants something of it, keeps the connection while there
//! is a listener or a circuit, and redials with backoff while there is a listener.

mod circuit;
mod line;
mod listener;
mod mux;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use offset_crypto::PublicKey;
use offset_net::{BackoffConfig, NetConfig};
use offset_proto::ServerAddress;
use offset_secure_channel::ChannelIdentity;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};

pub use self::circuit::Circuit;
pub use self::listener::{RelayListener, RelayStatus};

use self::{
    line::{Line, Request},
    listener::Welcome,
};
use crate::Error;

/// Settings of a [`RelayClient`].
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Times of the connections. The queue length in bytes is not used: circuits have their own.
    pub net: NetConfig,
    /// How a listener comes back to a relay that it lost.
    pub backoff: BackoffConfig,
    /// A connection that nobody listens on is closed when it had no circuit for this long.
    pub idle_time: Duration,
    /// How long a listener stays away from a relay where the same identity listens from elsewhere.
    pub replaced_pause: Duration,
    /// For dialling the relay where needed and opening a circuit, together.
    pub open_timeout: Duration,
}

impl ClientConfig {
    /// See [`ClientConfig::idle_time`].
    pub const IDLE_TIME: Duration = Duration::from_mins(1);
    /// See [`ClientConfig::replaced_pause`] (protocol, section 3).
    pub const REPLACED_PAUSE: Duration = Duration::from_mins(1);
    /// See [`ClientConfig::open_timeout`]: longer than dialling, and longer than a relay waits for
    /// the other side.
    pub const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            net: NetConfig::default(),
            backoff: BackoffConfig::default(),
            idle_time: Self::IDLE_TIME,
            replaced_pause: Self::REPLACED_PAUSE,
            open_timeout: Self::OPEN_TIMEOUT,
        }
    }
}

/// A node's connections to relays; cheap to clone. Circuits and listeners live on while a clone
/// does; the last one takes them all down.
#[derive(Clone)]
pub struct RelayClient {
    pool: Arc<Pool>,
}

impl RelayClient {
    /// A client without connections. It must be used within a tokio runtime.
    #[must_use]
    pub fn new(config: ClientConfig, identity: Arc<ChannelIdentity>) -> Self {
        let lines = Mutex::new(Lines::default());
        Self { pool: Arc::new(Pool { config, identity, lines }) }
    }

    /// Opens a circuit to `destination` at `relay`.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::NotListening`], [`Error::Timeout`], [`Error::Rejected`],
    /// [`Error::Lost`], [`Error::Limit`], [`Error::Stopped`].
    pub async fn connect(
        &self,
        relay: &ServerAddress,
        destination: PublicKey,
    ) -> Result<Circuit, Error> {
        let open = async {
            let (reply, link) = oneshot::channel();
            self.pool.ask(relay, Request::Connect(reply))?;
            let link = link.await.map_err(|_| Error::Stopped)??;
            Ok(Circuit::open(link, destination).await?)
        };
        timeout(self.pool.config.open_timeout, open).await.map_err(|_| Error::Timeout)?
    }

    /// Listens at `relay` until the listener is dropped, across lost connections. Only sources that
    /// `welcome` lets in reach [`RelayListener::accept`]; others are rejected at once. A newer
    /// listener at the same relay takes the place of the older.
    ///
    /// # Errors
    /// [`Error::Limit`] when too many requests wait for the same relay. That the relay cannot be
    /// reached is no error but a [`RelayStatus`].
    pub fn listen(
        &self,
        relay: &ServerAddress,
        welcome: impl Fn(&PublicKey) -> bool + Send + Sync + 'static,
    ) -> Result<RelayListener, Error> {
        let welcome: Welcome = Arc::new(welcome);
        let (listener, post) = listener::pair(welcome);
        self.pool.ask(relay, Request::Listen(post))?;
        Ok(listener)
    }
}

impl fmt::Debug for RelayClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelayClient({} relays)", self.pool.lock().requests.len())
    }
}

/// The lines of one client.
struct Pool {
    config: ClientConfig,
    identity: Arc<ChannelIdentity>,
    lines: Mutex<Lines>,
}

#[derive(Default)]
struct Lines {
    requests: BTreeMap<ServerAddress, mpsc::Sender<Request>>,
    /// Aborted with the pool.
    tasks: JoinSet<()>,
}

impl Pool {
    /// Hands a request to the line of a relay, which is begun if there is none.
    fn ask(self: &Arc<Self>, relay: &ServerAddress, request: Request) -> Result<(), Error> {
        let mut lines = self.lock();
        while lines.tasks.try_join_next().is_some() {}
        let mut request = request;
        if let Some(line) = lines.requests.get(relay) {
            match line.try_send(request) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(_)) => return Err(Error::Limit),
                // Its task failed; another takes its place.
                Err(mpsc::error::TrySendError::Closed(unsent)) => request = unsent,
            }
        }
        let (sender, requests) = mpsc::channel(REQUEST_QUEUE);
        sender.try_send(request).map_err(|_| Error::Limit)?;
        lines.tasks.spawn(Line::new(self, relay.clone(), requests).run());
        lines.requests.insert(relay.clone(), sender);
        Ok(())
    }

    /// Forgets a line that nobody has asked for anything; false when somebody just did.
    fn retire(&self, relay: &ServerAddress, requests: &mpsc::Receiver<Request>) -> bool {
        let mut lines = self.lock();
        let unused = requests.is_empty();
        if unused {
            lines.requests.remove(relay);
        }
        unused
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many requests wait for a line that is busy.
const REQUEST_QUEUE: usize = 1_024;
