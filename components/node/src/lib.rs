//! A node: the shell around the funder.
//!
//! It wires the funder to the store, to friends over relays, to index servers and to applications. It
//! does not decide anything about money (that is `offset-funder`), and does not read identity files,
//! arguments or signals (that is the program `stnode`).
//!
//! ```text
//!   apps --requests--> [ App server ]--.                        .--> [ store's thread ] --> disk
//!                                      |                        |
//!   friends --------> [ Keepers ] -----+--> inputs --> [ Core ]-+--> replies, messages, events
//!      ^                               |    (bounded)           |       (never waits)
//!      '-- relays --> [ Relays ] ------'                        '--> [ Index client ] --> servers
//! ```
//!
//! The **core** is one task that owns the funder. It takes all inputs that wait, handles each, takes
//! one batch, hands its changes to the store's thread, and goes on with the next while the first is
//! being synced. A batch's effects leave when it is durable, in order.
//!
//! Invariants:
//! - *durable first* (T1): nothing that follows from a change leaves before the change is durable.
//! - *stop at the first failure* (D2): when the store fails, the node ends at once; what was not
//!   durable was not sent.
//! - *one answer*: every request of an application that was taken gets exactly one response, as long
//!   as its connection stands.
//! - *permission at execution* (P1, P2, P3): each request is checked against the tickets as they are
//!   then; an application whose ticket is taken away is disconnected within a second.
//! - *one session a friend*: of two, a rule keeps one on both sides; what comes out of the other is
//!   dropped.
//! - *bounded*: see [`limits`]. A friend or application that sends too much is not read; one that reads
//!   too little is disconnected.

mod apps;
mod config;
mod core;
mod error;
mod friends;
mod input;
pub mod limits;
mod metrics;
mod outside;
mod relays;
#[cfg(test)]
mod tests;
mod view;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, atomic::AtomicU64},
};

use futures::stream::FuturesUnordered;
use offset_crypto::{Identity, SystemRng};
use offset_funder::Funder;
use offset_index_client::{Driver, IndexClient};
use offset_net::{Listener, NetConfig, ServeConfig};
use offset_proto::session::Purpose;
use offset_relay::{ClientConfig, RelayClient};
use offset_secure_channel::ChannelIdentity;
use offset_store::{Reader, SqliteStore, Store, Writer};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};

pub use crate::config::{Clock, Config};
pub use crate::error::Error;
pub use crate::metrics::Metrics;

use crate::{
    apps::{Apps, Directory, Trusted},
    core::Core,
    friends::{Contacts, Friends, Strangers},
    input::Input,
    outside::Outside,
    relays::Relays,
    view::View,
};

/// Runs a node until `shutdown` is done: then the batch in hand is finished, applications that wait
/// are answered with `Stopping`, everyone is told goodbye, and the database is closed.
///
/// Applications connect to `listener`, which may be bound to port 0. The database was made with
/// [`offset_store::init`] for this identity.
///
/// # Errors
/// What keeps the node from starting, or the failure of its store, see [`Error`].
pub async fn run(
    config: Config,
    identity: Arc<Identity>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    Node::open(config, identity)?.run(listener, shutdown).await
}

/// A node that is there and does nothing yet: its database is open and all of it is loaded.
pub struct Node<S = SqliteStore> {
    store: S,
    reader: Reader,
    /// Fresh, for index servers.
    epoch: u64,
    funder: Funder,
    directory: Directory,
    trusted: Trusted,
    config: Config,
    identity: Arc<Identity>,
}

impl<S> fmt::Debug for Node<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({:?})", self.identity.public_key())
    }
}

impl Node {
    /// Opens and loads the database, which was made with [`offset_store::init`] for this identity, and
    /// counts the start. Blocks.
    ///
    /// # Errors
    /// What keeps the node from starting, see [`Error`].
    pub fn open(config: Config, identity: Arc<Identity>) -> Result<Self, Error> {
        let mut store = SqliteStore::open(&config.database, &identity.public_key())?;
        let is_older = store.is_older()?;
        if is_older && !config.recover {
            log::warn!(
                "the database {} is not the one that this node was started with last: it starts as with \
                 --recover, and takes over what friends prove",
                config.database.display()
            );
        }
        if is_older || config.recover {
            begin_recovery(&mut store, &config, &identity)?;
        }
        // The index client's epoch follows the clock (protocol, section 9).
        let epoch = store.count_start(config.clock.now().0 / 1_000)?;
        let reader = store.reader()?;
        Self::on((store, reader, epoch), config, identity)
    }
}

/// Makes it durable that the node recovers, before the start counts: a crash between the two must not
/// make an older copy look like the newest.
fn begin_recovery(
    store: &mut SqliteStore,
    config: &Config,
    identity: &Arc<Identity>,
) -> Result<(), Error> {
    let now = config.clock.now();
    let mut funder = Funder::new(Arc::clone(identity), store.load()?, config.funder.clone(), now)?;
    funder.begin_recovery(now);
    // Nobody is connected: there is nothing to perform.
    let batch = funder.take_batch(now, &mut SystemRng);
    Ok(store.commit(&batch.changes)?)
}

impl<S: Store + Send + 'static> Node<S> {
    /// On a store that is open and counted its start, with a fresh epoch for index servers.
    fn on(
        (mut store, reader, epoch): (S, Reader, u64),
        config: Config,
        identity: Arc<Identity>,
    ) -> Result<Self, Error> {
        let now = config.clock.now();
        let state = store.load()?;
        let funder = Funder::new(Arc::clone(&identity), state, config.funder.clone(), now)?;
        let mut directory = Directory::new(config.trusted.clone());
        let trusted = directory
            .scan()
            .map_err(|error| Error::Trusted { path: config.trusted.clone(), error })?;
        Ok(Self { store, reader, epoch, funder, directory, trusted, config, identity })
    }

    /// See [`run`].
    ///
    /// # Errors
    /// What keeps the node from starting, or the failure of its store, see [`Error`].
    pub async fn run(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), Error> {
        let Self { mut store, reader, epoch, funder, directory, trusted, config, identity } = self;
        let (outside, inputs, shell) = Shell::build(&config, &identity, epoch, trusted);
        if epoch < outside.index.epoch() {
            // The clock went on meanwhile; that too is durable before the first update leaves.
            store.next_index_epoch(outside.index.epoch())?;
        }
        let (durable_sender, durable) = mpsc::channel(limits::WAITING_BATCHES + 1);
        let done = move |result| {
            // There is a place for each batch, and one for an error.
            drop(durable_sender.try_send(result));
        };
        let writer = Writer::spawn(store, reader, done).map_err(Error::Thread)?;

        let mut core = Core {
            funder,
            clock: config.clock.clone(),
            writer,
            durable,
            inputs,
            outside,
            waiting: VecDeque::new(),
            found: false,
            metrics: config.metrics.clone(),
        };
        let servers = shell.serve(&config, directory, listener);
        let result = core.run(pin!(shutdown)).await;

        let Core { writer, inputs, outside, .. } = core;
        // Whoever wants to tell the core something hears that it is gone.
        drop(inputs);
        drop(outside);
        servers.finish().await;
        writer.close();
        result
    }
}

/// What runs beside the core, before it does.
struct Shell {
    friends: Friends,
    contacts: watch::Receiver<Contacts>,
    circuits: mpsc::Receiver<(offset_crypto::PublicKey, offset_relay::Circuit)>,
    relays: Relays,
    wanted_relays: watch::Receiver<Vec<offset_proto::ServerAddress>>,
    index: Driver,
    apps: apps::House,
    trusted: watch::Sender<Trusted>,
    identity: Arc<ChannelIdentity>,
}

impl Shell {
    /// Everything around the core, and what the core holds of it.
    fn build(
        config: &Config,
        identity: &Arc<Identity>,
        epoch: u64,
        trusted: Trusted,
    ) -> (Outside, mpsc::Receiver<Input>, Self) {
        let channel = Arc::new(ChannelIdentity::new(identity));
        let (inputs, inputs_taken) = mpsc::channel(limits::WAITING_INPUTS);
        let (contacts_sender, contacts) = watch::channel(Contacts::new());
        let (relays_sender, wanted_relays) = watch::channel(Vec::new());
        let (index_servers, index_servers_seen) = watch::channel(Vec::new());
        let (trusted_sender, trusted) = watch::channel(trusted);
        let (circuits_sender, circuits) = mpsc::channel(limits::WAITING_CIRCUITS);
        let (reached_sender, reached) = watch::channel(0);

        let relay_config =
            ClientConfig { net: config.net.clone(), backoff: config.backoff, ..Default::default() };
        let client = RelayClient::new(relay_config, Arc::clone(&channel));
        let index_config = offset_index_client::Config {
            net: config.net.clone(),
            backoff: config.backoff,
            ..offset_index_client::Config::new(Arc::clone(identity), epoch.saturating_sub(1))
        };
        let (index_client, index) = IndexClient::new(index_config, index_servers_seen);
        let house = friends::House {
            local: identity.public_key(),
            identity: Arc::clone(&channel),
            net: config.net.clone(),
            backoff: config.backoff,
            relays: client.clone(),
            reached,
            inputs: inputs.clone(),
            metrics: config.metrics.clone(),
            next_session: AtomicU64::new(1),
        };
        let outside = Outside {
            local: identity.public_key(),
            apps: Apps::new(config.metrics.clone()),
            metrics: config.metrics.clone(),
            view: View::default(),
            sessions: BTreeMap::new(),
            contacts: contacts_sender,
            relays: relays_sender,
            index_status: index_client.status(),
            index: index_client,
            index_servers,
            searches: FuturesUnordered::new(),
        };
        let strangers = Arc::new(Strangers::new(config.metrics.clone()));
        let shell = Self {
            friends: Friends::new(house, Arc::clone(&strangers)),
            relays: Relays {
                client,
                contacts: contacts.clone(),
                strangers,
                circuits: circuits_sender,
                reached: reached_sender,
                inputs: inputs.clone(),
            },
            contacts,
            circuits,
            wanted_relays,
            index,
            apps: apps::House {
                trusted,
                inputs,
                next_app: AtomicU64::new(1),
                paces: Mutex::default(),
                open: Mutex::default(),
                metrics: config.metrics.clone(),
            },
            trusted: trusted_sender,
            identity: channel,
        };
        (outside, inputs_taken, shell)
    }

    /// Starts it all.
    fn serve(self, config: &Config, directory: Directory, listener: TcpListener) -> Servers {
        let (connected, connections) = watch::channel(0_usize);
        let net = NetConfig { queue_bytes: limits::APP_QUEUE_BYTES, ..config.net.clone() };
        let limits = config.app_limits.clone();
        let serve = ServeConfig {
            net,
            limits,
            counts: Arc::clone(&config.metrics.counts().listener),
            ..ServeConfig::new([Purpose::App])
        };
        let listener = Listener::new(listener, self.identity, serve);
        let trusted = self.apps.trusted.clone();
        let house = Arc::new(self.apps);
        let handler = move |incoming| {
            let (house, connected) = (Arc::clone(&house), connected.clone());
            async move {
                connected.send_modify(|count| *count += 1);
                apps::serve(house, incoming).await;
                connected.send_modify(|count| *count -= 1);
            }
        };

        let mut tasks = JoinSet::new();
        tasks.spawn(self.friends.run(self.contacts, self.circuits));
        tasks.spawn(self.relays.run(self.wanted_relays));
        tasks.spawn(self.index.run(std::future::pending()));
        let mut watching = JoinSet::new();
        watching.spawn(directory.watch(self.trusted));
        watching.spawn(listener.serve(
            move |key, _| trusted.borrow().contains_key(key),
            handler,
            std::future::pending(),
        ));
        Servers { tasks, watching, connections }
    }
}

/// What runs beside the core.
struct Servers {
    /// They end by themselves when the core is gone.
    tasks: JoinSet<()>,
    /// The directory and the port.
    watching: JoinSet<()>,
    /// How many connections of applications there are.
    connections: watch::Receiver<usize>,
}

impl Servers {
    /// Waits until everybody was told goodbye, for a short while.
    async fn finish(self) {
        let Self { mut tasks, mut watching, mut connections } = self;
        let goodbyes = async { while tasks.join_next().await.is_some() {} };
        let apps = async { drop(connections.wait_for(|count| *count == 0).await) };
        let both = async { tokio::join!(goodbyes, apps) };
        if timeout(limits::GOODBYE * 2, both).await.is_err() {
            log::debug!("not everybody took the goodbye");
        }
        watching.shutdown().await;
    }
}
