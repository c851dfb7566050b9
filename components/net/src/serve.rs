//! Listening: from a TCP listener to authorised channels and typed connections.

use std::{
    collections::BTreeMap,
    future::Future,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use offset_crypto::PublicKey;
use offset_proto::session::{Purpose, Wire};
use offset_secure_channel::{self as channel, Channel, ChannelIdentity, SessionId};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep},
};

use crate::{
    Connection, Error, Limits, NetConfig, Refusal,
    admission::{Admission, ConnectionId},
    metrics::ListenerCounts,
};

/// Settings of a listener.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// What is served; a knock for anything else gets no answer.
    pub purposes: Vec<Purpose>,
    /// Settings of the connections.
    pub net: NetConfig,
    /// Limits of this listener.
    pub limits: Limits,
    /// Where it counts.
    pub counts: Arc<ListenerCounts>,
}

impl ServeConfig {
    /// The defaults, for these purposes.
    #[must_use]
    pub fn new(purposes: impl Into<Vec<Purpose>>) -> Self {
        Self {
            purposes: purposes.into(),
            net: NetConfig::default(),
            limits: Limits::default(),
            counts: Arc::default(),
        }
    }
}

/// A listening port of an identity.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    identity: Arc<ChannelIdentity>,
    config: ServeConfig,
}

impl Listener {
    /// Listens with a socket that is already bound.
    #[must_use]
    pub const fn new(
        listener: TcpListener,
        identity: Arc<ChannelIdentity>,
        config: ServeConfig,
    ) -> Self {
        Self { listener, identity, config }
    }

    /// Binds `address` and listens; with port 0 the system chooses one.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub async fn bind(
        address: SocketAddr,
        identity: Arc<ChannelIdentity>,
        config: ServeConfig,
    ) -> Result<Self, Error> {
        let failed = |error: io::Error| Error::Listen { address, reason: error.to_string() };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        Ok(Self::new(listener, identity, config))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Accepts until `shutdown` is done, then lets go of the port.
    ///
    /// `authorise` is asked for every key and purpose before anything else is set up for it, and must
    /// not wait; what it refuses is closed without a message. Each authorised channel is given to
    /// `handler` in a task of its own, which opens the session ([`Incoming::open`]) and hands the
    /// connection to its owner, or serves it there. Tasks that still run at the shutdown are aborted;
    /// connections that were handed on are not touched.
    pub async fn serve<A, H, F>(
        self,
        authorise: A,
        handler: H,
        shutdown: impl Future<Output = ()> + Send,
    ) where
        A: Fn(&PublicKey, Purpose) -> bool + Send + Sync + 'static,
        H: Fn(Incoming) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let Self { listener, identity, config } = self;
        let limits = config.limits.clone().within(open_files());
        if limits.connections < config.limits.connections {
            log::info!(
                "at most {} connections are served, half of the files that this process may open; \
                 raise that limit (LimitNOFILE of systemd, ulimit -n) to serve more",
                limits.connections
            );
        }
        let counts = Arc::clone(&config.counts);
        let gate = Arc::new(Gate::new(limits, Arc::clone(&counts)));
        let house = Arc::new(House { identity, config, authorise, handler });
        let mut tasks = JoinSet::new();
        let mut refusals = Refusals::new();
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = shutdown.as_mut() => return,
                Some(_done) = tasks.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, from)) => match gate.admit(from) {
                        Ok(permit) => {
                            counts.accepted.raise();
                            let id = permit.id;
                            let task = Arc::clone(&house).welcome(stream, from, permit);
                            gate.set_task(id, tasks.spawn(task));
                        }
                        Err(refusal) => {
                            counts.refuse(refusal);
                            refusals.count(refusal);
                        }
                    },
                    Err(error) => tokio::select! {
                        () = shutdown.as_mut() => return,
                        () = recover(&error, &gate) => {}
                    },
                },
            }
        }
    }
}

/// An authorised channel whose session is not open yet.
#[derive(Debug)]
pub struct Incoming {
    /// Boxed, as handlers keep a place for this as long as they run.
    channel: Box<Channel>,
    net: NetConfig,
    from: SocketAddr,
    permit: Permit,
}

impl Incoming {
    /// The key that the other side proved.
    #[must_use]
    pub const fn peer(&self) -> PublicKey {
        self.channel.peer()
    }

    /// What it is for: decides the message types to open it with.
    #[must_use]
    pub const fn purpose(&self) -> Purpose {
        self.channel.purpose()
    }

    /// The channel's id.
    #[must_use]
    pub const fn session_id(&self) -> SessionId {
        self.channel.session_id()
    }

    /// Where it comes from.
    #[must_use]
    pub const fn remote_address(&self) -> SocketAddr {
        self.from
    }

    /// Opens the session. The connection counts in the listener's limits until it is closed.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::Bye`], [`Error::Protocol`], [`Error::Refused`] when the peer
    /// closed first, [`Error::CutOff`].
    ///
    /// # Panics
    /// When the message types are not those of [`Incoming::purpose`].
    pub async fn open<Out: Wire, In: Wire>(self) -> Result<Connection<Out, In>, Error> {
        let Self { channel, net, from, permit } = self;
        assert_eq!(channel.purpose(), Out::PURPOSE, "the handler chooses types by purpose");
        // What is needed to open it is freed when it is open.
        Box::pin(Connection::open(*channel, &net, Some(from), Some(permit))).await
    }
}

/// What every task of a listener needs.
struct House<A, H> {
    identity: Arc<ChannelIdentity>,
    config: ServeConfig,
    authorise: A,
    handler: H,
}

impl<A, H, F> House<A, H>
where
    A: Fn(&PublicKey, Purpose) -> bool + Send + Sync + 'static,
    H: Fn(Incoming) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    /// From the first byte to the handler.
    async fn welcome(self: Arc<Self>, stream: TcpStream, from: SocketAddr, permit: Permit) {
        if let Err(error) = stream.set_nodelay(true) {
            log::debug!("{from}: {error}");
            return;
        }
        let accepting = channel::accept(stream, &self.identity, &self.config.purposes);
        let channel = match Box::pin(accepting).await {
            Ok(channel) => Box::new(channel),
            Err(error) => {
                self.config.counts.not_greeted.raise();
                log::debug!("{from}: {error}");
                return;
            }
        };
        let (peer, purpose) = (channel.peer(), channel.purpose());
        if !(self.authorise)(&peer, purpose) {
            self.config.counts.unauthorised.raise();
            log::debug!("{from}: {peer:?} may not use {purpose:?} here");
            return;
        }
        let incoming = Incoming { channel, net: self.config.net.clone(), from, permit };
        let handled = Box::pin((self.handler)(incoming));
        drop(self);
        handled.await;
    }
}

/// The admission of one listener, and the tasks of its half-open connections.
#[derive(Debug)]
struct Gate {
    start: Instant,
    counts: Mutex<Counts>,
    told: Arc<ListenerCounts>,
}

#[derive(Debug)]
struct Counts {
    admission: Admission,
    half_open: BTreeMap<ConnectionId, Option<AbortHandle>>,
}

impl Gate {
    fn new(limits: Limits, told: Arc<ListenerCounts>) -> Self {
        let counts = Counts { admission: Admission::new(limits), half_open: BTreeMap::new() };
        Self { start: Instant::now(), counts: Mutex::new(counts), told }
    }

    fn admit(self: &Arc<Self>, from: SocketAddr) -> Result<Permit, Refusal> {
        let mut counts = self.lock();
        let admitted = counts.admission.handle_new(from.ip(), self.start.elapsed())?;
        counts.half_open.insert(admitted.id, None);
        let evicted = admitted.evicted.and_then(|id| counts.half_open.remove(&id)).flatten();
        drop(counts);
        if let Some(task) = evicted {
            self.told.evicted.raise();
            task.abort();
        }
        Ok(Permit { id: admitted.id, gate: Arc::clone(self) })
    }

    /// Ends the older half of the half-open connections.
    fn make_room(&self) {
        let mut counts = self.lock();
        let evicted = counts.admission.handle_exhausted();
        let tasks: Vec<_> =
            evicted.iter().filter_map(|id| counts.half_open.remove(id).flatten()).collect();
        drop(counts);
        self.told.evicted.add(u64::try_from(tasks.len()).unwrap_or(u64::MAX));
        tasks.iter().for_each(AbortHandle::abort);
    }

    /// Names the task of a connection, which may already be past this or gone.
    fn set_task(&self, id: ConnectionId, task: AbortHandle) {
        if let Some(place) = self.lock().half_open.get_mut(&id) {
            *place = Some(task);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection in the limits; dropped with it.
#[derive(Debug)]
pub(crate) struct Permit {
    id: ConnectionId,
    gate: Arc<Gate>,
}

impl Permit {
    /// The session is open: the connection is no longer half-open.
    pub(crate) fn establish(&self) {
        let mut counts = self.gate.lock();
        counts.half_open.remove(&self.id);
        counts.admission.handle_open(self.id);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.gate.lock();
        counts.half_open.remove(&self.id);
        counts.admission.handle_gone(self.id);
    }
}

/// Tells the operator about refusals, at most once a minute.
struct Refusals {
    counts: BTreeMap<Refusal, u64>,
    told_at: Option<Instant>,
}

impl Refusals {
    const fn new() -> Self {
        Self { counts: BTreeMap::new(), told_at: None }
    }

    fn count(&mut self, refusal: Refusal) {
        *self.counts.entry(refusal).or_default() += 1;
        if self.told_at.is_none_or(|told_at| TELL_EVERY <= told_at.elapsed()) {
            self.told_at = Some(Instant::now());
            for (refusal, count) in std::mem::take(&mut self.counts) {
                log::warn!("refused {count} connections: {refusal}");
            }
        }
    }
}

/// A failed accept is either that one connection's, or the system is out of something (files,
/// memory), which letting go of half-open connections and waiting mends; neither is a reason to stop.
async fn recover(error: &io::Error, gate: &Gate) {
    let gone = [
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::ConnectionRefused,
        io::ErrorKind::Interrupted,
    ];
    if !gone.contains(&error.kind()) {
        log::warn!("cannot accept a connection, waiting: {error}");
        gate.make_room();
        sleep(ACCEPT_PAUSE).await;
    }
}

/// How many files this process may have open, where the system says so and there is a limit.
fn open_files() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

const TELL_EVERY: Duration = Duration::from_mins(1);
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn being_out_of_files_is_waited_for_and_a_lost_connection_is_not() {
        const EMFILE: i32 = 24;
        let gate = Gate::new(Limits::default(), Arc::default());
        for (error, waits) in [
            (io::Error::from_raw_os_error(EMFILE), true),
            (io::Error::from(io::ErrorKind::OutOfMemory), true),
            (io::Error::from(io::ErrorKind::ConnectionAborted), false),
            (io::Error::from(io::ErrorKind::Interrupted), false),
        ] {
            let start = Instant::now();
            recover(&error, &gate).await;
            assert_eq!(ACCEPT_PAUSE <= start.elapsed(), waits, "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn being_out_of_files_ends_half_open_connections() {
        let gate = Arc::new(Gate::new(Limits::default(), Arc::default()));
        let silent = gate.admit(([127, 0, 0, 1], 1).into()).unwrap();
        let task = tokio::spawn(std::future::pending::<()>());
        gate.set_task(silent.id, task.abort_handle());
        recover(&io::Error::from(io::ErrorKind::OutOfMemory), &gate).await;
        assert!(task.await.unwrap_err().is_cancelled());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_limit_of_open_files_is_read() {
        assert!(std::fs::read_to_string("/proc/self/limits").unwrap().contains("Max open files"));
        assert_ne!(open_files(), Some(0));
    }

    #[test]
    fn an_operator_is_told_of_refusals_once_a_minute() {
        let mut refusals = Refusals::new();
        refusals.count(Refusal::Rate);
        assert!(refusals.counts.is_empty(), "told at once");
        refusals.count(Refusal::Rate);
        refusals.count(Refusal::Rate);
        assert_eq!(refusals.counts[&Refusal::Rate], 2);
    }
}
