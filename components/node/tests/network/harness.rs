//! Relays, index servers and nodes in this process, over loopback.

use std::{
    fmt::Debug,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use offset_app::{AppClient, ConnectOptions};
use offset_crypto::{Identity, Nonce, PaymentId, PublicKey, SystemRng};
use offset_net::BackoffConfig;
use offset_node::{Config, Error};
use offset_proto::{
    Balance, Credits, ServerAddress, Text,
    app::{
        ConfigRequest, CreateInvoice, Hold, PayRequest, PaymentReport, PaymentStatus,
        PaymentTarget, Permissions,
    },
    file::{AppTicket, OffsetFile as _},
    payment::Invoice,
    report::{CurrencyStatus, FriendReport, LineReport, NodeReport},
};
use offset_secure_channel::ChannelIdentity;
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep},
};

/// Nothing here takes this long on an idle machine; a busy one may.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) const ALL: Permissions =
    Permissions { routes: true, buyer: true, seller: true, config: true };

/// Looks again until `look` gives something.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not in time");
        sleep(Duration::from_millis(20)).await;
    }
}

fn quick() -> BackoffConfig {
    BackoffConfig {
        first: Duration::from_millis(10),
        longest: Duration::from_millis(200),
        ..BackoffConfig::default()
    }
}

/// A task that runs until it is stopped.
struct Running<T> {
    stop: oneshot::Sender<()>,
    task: JoinHandle<T>,
}

impl<T: Debug> Running<T> {
    async fn stop(self) -> T {
        drop(self.stop);
        self.task.await.unwrap()
    }
}

fn stopper() -> (oneshot::Sender<()>, impl Future<Output = ()> + Send) {
    let (stop, stopped) = oneshot::channel::<()>();
    (stop, async move { drop(stopped.await) })
}

async fn bind(port: u16) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A relay that can be stopped and started again at the same address.
pub(crate) struct Relay {
    identity: Arc<ChannelIdentity>,
    pub(crate) address: ServerAddress,
    port: u16,
    running: Option<Running<Result<(), offset_relay::Error>>>,
}

impl Relay {
    pub(crate) async fn start() -> Self {
        let identity = Identity::random(&mut SystemRng);
        let (listener, at) = bind(0).await;
        let address = ServerAddress {
            public_key: identity.public_key(),
            address: at.to_string().parse().unwrap(),
        };
        let identity = Arc::new(ChannelIdentity::new(&identity));
        let mut relay = Self { identity, address, port: at.port(), running: None };
        relay.run(listener);
        relay
    }

    fn run(&mut self, listener: TcpListener) {
        let identity = Arc::clone(&self.identity);
        let (stop, stopped) = stopper();
        let task = tokio::spawn(async move {
            offset_relay::run(
                offset_relay::RelayConfig::default(),
                identity,
                vec![listener],
                stopped,
            )
            .await
        });
        self.running = Some(Running { stop, task });
    }

    pub(crate) async fn stop(&mut self) {
        self.running.take().unwrap().stop().await.unwrap();
    }

    pub(crate) async fn restart(&mut self) {
        let (listener, _) = bind(self.port).await;
        self.run(listener);
    }
}

/// An index server that can be stopped and started again at the same address.
pub(crate) struct Index {
    identity: Arc<Identity>,
    pub(crate) address: ServerAddress,
    port: u16,
    trusted: TempDir,
    running: Option<Running<Result<(), offset_index_server::Error>>>,
}

impl Index {
    pub(crate) async fn start() -> Self {
        let identity = Arc::new(Identity::random(&mut SystemRng));
        let (listener, at) = bind(0).await;
        let address = ServerAddress {
            public_key: identity.public_key(),
            address: at.to_string().parse().unwrap(),
        };
        let trusted = tempfile::tempdir().unwrap();
        let mut index = Self { identity, address, port: at.port(), trusted, running: None };
        index.run(listener).await;
        index
    }

    async fn run(&mut self, clients: TcpListener) {
        let trusted = self.trusted.path().to_owned();
        let config = offset_index_server::Config::new(Arc::clone(&self.identity), trusted);
        let (servers, _) = bind(0).await;
        let (stop, stopped) = stopper();
        let task = tokio::spawn(async move {
            offset_index_server::run(config, clients, servers, stopped).await
        });
        self.running = Some(Running { stop, task });
    }

    pub(crate) async fn stop(&mut self) {
        self.running.take().unwrap().stop().await.unwrap();
    }

    pub(crate) async fn restart(&mut self) {
        let (listener, _) = bind(self.port).await;
        self.run(listener).await;
    }
}

/// A node with an application that may do everything.
pub(crate) struct Node {
    pub(crate) identity: Arc<Identity>,
    pub(crate) address: ServerAddress,
    pub(crate) app: AppClient,
    dir: TempDir,
    app_identity: Identity,
    running: Running<Result<(), Error>>,
}

impl Node {
    pub(crate) async fn start() -> Self {
        let identity = Arc::new(Identity::random(&mut SystemRng));
        let dir = tempfile::tempdir().unwrap();
        offset_store::init(&dir.path().join("node.db"), &identity.public_key()).unwrap();
        std::fs::create_dir(dir.path().join("trusted")).unwrap();
        let app_identity = Identity::random(&mut SystemRng);
        trust(&dir.path().join("trusted"), "app", app_identity.public_key(), ALL);
        Self::run(identity, dir, app_identity).await
    }

    async fn run(identity: Arc<Identity>, dir: TempDir, app_identity: Identity) -> Self {
        let mut config = Config::new(dir.path().join("node.db"), dir.path().join("trusted"));
        config.backoff = quick();
        // Routes are not known at once, on a busy machine even later.
        config.funder.route_patience_ms = 25_000;
        let (listener, at) = bind(0).await;
        let address = ServerAddress {
            public_key: identity.public_key(),
            address: at.to_string().parse().unwrap(),
        };
        let (stop, stopped) = stopper();
        let node = Arc::clone(&identity);
        let task =
            tokio::spawn(async move { offset_node::run(config, node, listener, stopped).await });
        let running = Running { stop, task };
        let app = connect(&app_identity, &address).await;
        Self { identity, address, app, dir, app_identity, running }
    }

    pub(crate) fn key(&self) -> PublicKey {
        self.identity.public_key()
    }

    pub(crate) fn trusted(&self) -> PathBuf {
        self.dir.path().join("trusted")
    }

    pub(crate) async fn stop(self) -> Result<(), Error> {
        self.running.stop().await
    }

    pub(crate) async fn restart(self) -> Self {
        let Self { identity, dir, app_identity, running, .. } = self;
        running.stop().await.unwrap();
        Self::run(identity, dir, app_identity).await
    }

    pub(crate) async fn config(&self, change: ConfigRequest) {
        self.app.config(change.clone()).await.unwrap_or_else(|error| panic!("{change:?}: {error}"));
    }

    pub(crate) async fn report(&self) -> NodeReport {
        self.app.report().await.unwrap()
    }

    pub(crate) async fn friend(&self, name: &str) -> FriendReport {
        let friends = self.report().await.friends;
        friends.into_iter().find(|friend| friend.name.as_str() == name).unwrap()
    }

    /// The line with a friend, once it is active and the friend online.
    pub(crate) async fn line(&self, name: &str) -> LineReport {
        until("an active line", || async {
            let friend = self.friend(name).await;
            match friend.currencies.first().map(|currency| &currency.status) {
                Some(CurrencyStatus::Active(line)) if friend.online => Some(*line),
                Some(CurrencyStatus::Active(_) | CurrencyStatus::Proposed { .. }) | None => None,
            }
        })
        .await
    }

    pub(crate) async fn use_servers(&self, relay: &Relay, index: &Index) {
        let name = || "server".parse().unwrap();
        self.config(ConfigRequest::AddRelay { name: name(), relay: relay.address.clone() }).await;
        let server = index.address.clone();
        self.config(ConfigRequest::AddIndexServer { name: name(), server }).await;
    }

    /// Adds, enables and opens a friend that may owe us 1,000.
    pub(crate) async fn befriend(&self, name: &str, friend: &Self, relay: &Relay, balance: i128) {
        let name: offset_proto::Name = name.parse().unwrap();
        self.config(ConfigRequest::AddFriend {
            name: name.clone(),
            public_key: friend.key(),
            relays: vec![relay.address.clone()],
            currency: None,
            opening_balance: Balance::new(balance).unwrap(),
        })
        .await;
        let friend = || name.clone();
        let max_debt = Credits(1_000);
        self.config(ConfigRequest::SetMaxDebt { friend: friend(), currency: None, max_debt }).await;
        let open = ConfigRequest::SetRequestsOpen { friend: friend(), currency: None, open: true };
        self.config(open).await;
        self.config(ConfigRequest::SetFriendEnabled { friend: friend(), enabled: true }).await;
    }

    pub(crate) async fn invoice(&self, amount: u128) -> Invoice {
        let terms = CreateInvoice {
            nonce: Nonce::random(&mut SystemRng),
            currency: None,
            amount: Credits(amount),
            description: Text::cut("tea"),
            expires_in_ms: None,
            hold: Hold::None,
        };
        self.app.create_invoice(terms).await.unwrap().invoice
    }

    pub(crate) async fn pay(&self, invoice: &Invoice) -> PaymentReport {
        self.app.pay(order(invoice)).await.unwrap()
    }

    /// Pays, with new payment ids, until it succeeds: routes may not be known yet.
    pub(crate) async fn pay_until_paid(&self, invoice: &Invoice) -> Credits {
        until("a payment", || async {
            match self.pay(invoice).await.status {
                PaymentStatus::Succeeded { receipt, fee } => {
                    receipt.verify(invoice).unwrap();
                    Some(fee)
                }
                PaymentStatus::Failed(_) => None,
                other @ (PaymentStatus::Routing
                | PaymentStatus::Requesting
                | PaymentStatus::Complete
                | PaymentStatus::Committed
                | PaymentStatus::Cancelled
                | PaymentStatus::Unknown) => panic!("{other:?}"),
            }
        })
        .await
    }
}

pub(crate) fn order(invoice: &Invoice) -> PayRequest {
    PayRequest {
        payment_id: PaymentId::random(&mut SystemRng),
        target: PaymentTarget::Invoice(Box::new(invoice.clone())),
        max_fee: None,
        deadline_ms: None,
        note: Text::cut(""),
        max_parts: None,
    }
}

pub(crate) async fn connect(app: &Identity, node: &ServerAddress) -> AppClient {
    AppClient::connect(app, node, &ConnectOptions::retrying()).await.unwrap()
}

pub(crate) fn trust(
    trusted: &std::path::Path,
    name: &str,
    app: PublicKey,
    permissions: Permissions,
) {
    trust_with(trusted, name, &AppTicket::new(app, permissions));
}

pub(crate) fn trust_with(trusted: &std::path::Path, name: &str, ticket: &AppTicket) {
    // Whole or not at all, as a person's tools do it.
    let hidden = trusted.join(format!(".{name}"));
    std::fs::write(&hidden, ticket.to_toml().as_bytes()).unwrap();
    std::fs::rename(hidden, trusted.join(name)).unwrap();
}

/// Nodes in a row, each the friend of the next. Node `i` is called `n<i>` by its neighbours.
pub(crate) async fn chain(length: usize) -> (Relay, Index, Vec<Node>) {
    let (relay, index) = (Relay::start().await, Index::start().await);
    let mut nodes = Vec::new();
    for _ in 0..length {
        let node = Node::start().await;
        node.use_servers(&relay, &index).await;
        nodes.push(node);
    }
    for (i, pair) in nodes.windows(2).enumerate() {
        let [left, right] = pair else { unreachable!("windows of two") };
        left.befriend(&format!("n{}", i + 1), right, &relay, 0).await;
        right.befriend(&format!("n{i}"), left, &relay, 0).await;
    }
    for i in 1..length {
        nodes[i - 1].line(&format!("n{i}")).await;
        nodes[i].line(&format!("n{}", i - 1)).await;
    }
    (relay, index, nodes)
}
