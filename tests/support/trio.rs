//! Three nodes in a line (Bob, Alice, Charli) with a relay and two index servers: real daemons that
//! can be ended and started again, driven as applications drive them.

use std::{
    collections::BTreeMap,
    fs::Permissions,
    future::Future,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    process::ExitStatus,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::future::{join_all, try_join_all};
use offset_app::{AppClient, ConnectOptions, Error};
use offset_crypto::{Identity, Nonce, PaymentId, Seed, SeededRng, SystemRng};
use offset_proto::{
    Balance, Credits, Rate, ServerAddress, Text, Timestamp,
    app::{
        self, ConfigRequest, CreateInvoice, ErrorCode, Hold, InvoiceStatus, PayRequest,
        PaymentFailure, PaymentReport, PaymentStatus, PaymentTarget,
    },
    file::{AppTicket, IdentityFile, IndexTicket, OffsetFile},
    payment::Invoice,
    report::{CurrencyStatus, LineReport, NodeReport},
};
use tokio::time::{sleep, timeout};

use super::{
    DEADLINE, Daemon, Port, Sandbox,
    payments::{FEE, Ledger, Order, is_paid, unregistered},
};

/// Places of the nodes in [`Trio::nodes`].
pub const BOB: usize = 0;
/// The mediator.
pub const ALICE: usize = 1;
/// The other end.
pub const CHARLI: usize = 2;

/// The network.
#[derive(Debug)]
pub struct Trio {
    /// Ends with its daemons, so they are named before it.
    pub relay: Server,
    /// In the order in which Bob and Charli try them; Alice tries the second first.
    pub index_servers: [Server; 2],
    /// Bob, Alice, Charli.
    pub nodes: [Node; 3],
    sandbox: Sandbox,
}

/// A daemon that can be ended and started again at the same addresses.
#[derive(Debug)]
pub struct Server {
    /// Its directory in the sandbox.
    pub name: &'static str,
    /// Where and as whom clients reach it.
    pub address: ServerAddress,
    line: String,
    ports: Vec<Port>,
    /// While it runs.
    pub daemon: Mutex<Option<Daemon>>,
}

/// A node and the application that drives it.
#[derive(Debug)]
pub struct Node {
    /// The daemon.
    pub server: Server,
    app: Identity,
    client: tokio::sync::Mutex<Option<AppClient>>,
}

impl Trio {
    /// Starts everything; done when all lines are open and all friends online.
    pub async fn start() -> Self {
        let sandbox = Sandbox::new();
        let relay = Server::new(&sandbox, "relay", 1, "strelay --idfile relay/ident --laddr {0}");
        let index_servers = ["index0", "index1"].map(|name| {
            let line = "stindex --idfile {name}/ident --lclient {0} --lserver {1} \
                        --trusted {name}/trusted";
            Server::new(&sandbox, name, 2, line)
        });
        let [first, second] = &index_servers;
        sandbox.write("index0/trusted/index1", &IndexTicket(second.peers()).to_toml());
        sandbox.write("index1/trusted/index0", &IndexTicket(first.peers()).to_toml());
        let nodes = ["bob", "alice", "charli"].map(|name| Node::new(&sandbox, name));
        let trio = Self { relay, index_servers, nodes, sandbox };
        for server in trio.servers() {
            trio.start_again(server);
        }
        trio.set_up().await;
        trio.until_online("the first start").await;
        trio
    }

    /// All daemons.
    pub fn servers(&self) -> impl Iterator<Item = &Server> {
        let nodes = self.nodes.iter().map(|node| &node.server);
        std::iter::once(&self.relay).chain(&self.index_servers).chain(nodes)
    }

    /// Starts a daemon; done when it listens.
    pub fn start_again(&self, server: &Server) {
        server.start(&self.sandbox);
    }

    /// Starts a daemon with more options.
    pub fn start_with(&self, server: &Server, options: &str) {
        let line = format!("{} {options}", server.line);
        let daemon = tokio::task::block_in_place(|| self.sandbox.daemon(&line, server.ports.len()));
        *lock(&server.daemon) = Some(daemon);
    }

    /// A file of a daemon.
    pub fn file(&self, server: &Server, name: &str) -> std::path::PathBuf {
        self.sandbox.file(&format!("{}/{name}", server.name))
    }

    /// What a daemon that runs has said on its standard error.
    pub fn said(server: &Server) -> String {
        lock(&server.daemon).as_ref().map(Daemon::stderr).unwrap_or_default()
    }

    /// Waits until every friend of everyone is online; gives how long that took.
    pub async fn until_online(&self, after: &str) -> Duration {
        let begin = Instant::now();
        let online = self.nodes.iter().map(|node| async {
            node.until(after, |report| {
                let offline = report.friends.iter().find(|friend| !friend.online);
                let closed = || lines(report).any(|(_, line)| !line.remote_requests_open);
                match offline {
                    Some(friend) => {
                        Err(format!("{} is offline: {}", friend.name, friend.last_error))
                    }
                    None if report.friends.is_empty() || closed() => Err("not open".to_owned()),
                    None => Ok(()),
                }
            })
            .await;
        });
        join_all(online).await;
        begin.elapsed()
    }

    /// Waits until nothing is pending, and checks that balances are what these payments made of
    /// them, with those of each pair summing to zero.
    pub async fn check(&self, ledger: &Ledger) {
        let quiet = self.nodes.iter().map(|node| {
            node.until("nothing is pending", |report| {
                let pending = lines(report).find(|(_, line)| {
                    line.local_pending_debt != Credits::ZERO
                        || line.remote_pending_debt != Credits::ZERO
                });
                match pending {
                    Some(pending) => Err(format!("{pending:?}")),
                    None => Ok(lines(report)
                        .map(|(friend, line)| (friend, line.balance.get()))
                        .collect::<BTreeMap<_, _>>()),
                }
            })
        });
        let balances = join_all(quiet).await;
        let [bob, charli] = ledger.ends();
        let seen = |by: usize, friend: &str| balances[by][friend];
        assert_eq!(seen(BOB, "alice"), bob, "Bob's balance");
        assert_eq!(seen(CHARLI, "alice"), charli, "Charli's balance");
        assert_eq!(seen(ALICE, "bob"), -bob, "Alice's balance with Bob");
        assert_eq!(seen(ALICE, "charli"), -charli, "Alice's balance with Charli");
    }

    /// Asks for everything that ended once more, with the same ids: nothing else comes of it, and
    /// sellers know of their invoices what buyers have receipts for.
    pub async fn check_answers(&self, ledger: &Ledger) {
        for (order, report) in &ledger.ended {
            let again = self.settle(order).await;
            assert_eq!(again, *report, "the same order gives the same payment");
            let Some(invoice) = order.invoice.as_ref().filter(|invoice| invoice.registered) else {
                continue;
            };
            let paid = matches!(report.status, PaymentStatus::Succeeded { .. });
            let id = invoice.id();
            let client = self.nodes[order.to].client().await.unwrap();
            let status = client.invoice_status(id).await.unwrap().status;
            assert_eq!(status == InvoiceStatus::Collected, paid, "{status:?} {report:?}");
        }
    }

    /// Thinks up a payment: to a key, of an invoice that the seller does not know, or of one that it
    /// does.
    pub async fn order(&self, rng: &mut SeededRng, from: usize, to: usize) -> Order {
        let amount = Credits(u128::from(1 + rng.below(500)));
        let destination = self.nodes[to].server.address.public_key;
        let invoice = match rng.below(4) {
            0 => Some(unregistered(destination, amount)),
            1 | 2 => Some(self.nodes[to].invoice(amount).await),
            _ => None,
        };
        let target = match &invoice {
            Some(invoice) => PaymentTarget::Invoice(Box::new(invoice.clone())),
            None => PaymentTarget::Spontaneous { destination, amount, currency: None },
        };
        let request = PayRequest {
            payment_id: PaymentId::random(&mut SystemRng),
            target,
            max_fee: None,
            deadline_ms: Some(PAYMENT_DEADLINE_MS),
            note: Text::cut(""),
            max_parts: None,
        };
        Order { from, to, amount, request, invoice }
    }

    /// Orders a payment again and again, with the same id, until it is known how it ended. What the
    /// report says is checked.
    pub async fn settle(&self, order: &Order) -> PaymentReport {
        let request = || order.request.clone();
        let pay = async |client: AppClient| client.pay(request()).await;
        let report = self.nodes[order.from].ask("a payment ends", pay).await;
        assert_eq!(report.payment_id, order.request.payment_id);
        assert_eq!(report.amount, order.amount);
        match &report.status {
            PaymentStatus::Succeeded { receipt, fee } => {
                assert_eq!(*fee, order.fee(), "{order:?}");
                assert_eq!(receipt.invoice_id, report.invoice_id);
                assert_eq!(receipt.total_dest_payment, order.amount);
                if let Some(invoice) = &order.invoice {
                    receipt.verify(invoice).unwrap();
                }
            }
            PaymentStatus::Failed(_) | PaymentStatus::Cancelled => {}
            PaymentStatus::Routing
            | PaymentStatus::Requesting
            | PaymentStatus::Complete
            | PaymentStatus::Committed
            | PaymentStatus::Unknown => panic!("not an end: {report:?}"),
        }
        report
    }

    /// Makes payments until one arrives; gives how long that took.
    pub async fn until_paid(
        &self,
        rng: &mut SeededRng,
        (from, to): (usize, usize),
        ledger: &mut Ledger,
    ) -> Duration {
        let begin = Instant::now();
        loop {
            let order = self.order(rng, from, to).await;
            let report = self.settle(&order).await;
            let (status, paid) = (report.status.clone(), is_paid(&report));
            ledger.ended(order, report);
            if paid {
                return begin.elapsed();
            }
            assert!(begin.elapsed() < DEADLINE, "no payment arrives: {status:?}");
            sleep(LOOK_EVERY).await;
        }
    }

    async fn set_up(&self) {
        let relay = &self.relay.address;
        let configured = self.nodes.iter().enumerate().map(|(i, node)| async move {
            let relay_request =
                ConfigRequest::AddRelay { name: named("relay"), relay: relay.clone() };
            node.config(relay_request).await?;
            for j in [i % 2, (i + 1) % 2] {
                let index = &self.index_servers[j];
                let (name, server) = (named(index.name), index.address.clone());
                node.config(ConfigRequest::AddIndexServer { name, server }).await?;
            }
            let friends: &[usize] = if i == ALICE { &[BOB, CHARLI] } else { &[ALICE] };
            for friend in friends {
                let name = named(self.nodes[*friend].server.name);
                let rate = if i == ALICE { FEE } else { Rate::default() };
                let (public_key, relays) =
                    (self.nodes[*friend].server.address.public_key, vec![relay.clone()]);
                let (currency, opening_balance) = (None, Balance::ZERO);
                let friend = || name.clone();
                for request in [
                    ConfigRequest::AddFriend {
                        name: friend(),
                        public_key,
                        relays,
                        currency,
                        opening_balance,
                    },
                    ConfigRequest::SetMaxDebt {
                        friend: friend(),
                        currency: None,
                        max_debt: MAX_DEBT,
                    },
                    ConfigRequest::SetRate { friend: friend(), currency: None, rate },
                    ConfigRequest::SetRequestsOpen { friend: friend(), currency: None, open: true },
                    ConfigRequest::SetFriendEnabled { friend: friend(), enabled: true },
                ] {
                    node.config(request).await?;
                }
            }
            Ok::<_, Error>(())
        });
        try_join_all(configured).await.unwrap();
    }
}

impl Server {
    /// With a new identity and free ports, which stand for `{0}` and `{1}` in its line, as its name
    /// does for `{name}`. It does not run yet.
    pub fn new(sandbox: &Sandbox, name: &'static str, ports: usize, line: &str) -> Self {
        std::fs::create_dir_all(sandbox.file(&format!("{name}/trusted"))).unwrap();
        let file = IdentityFile::Plain(Seed::random(&mut SystemRng)).to_toml();
        let identity =
            Identity::from_seed(IdentityFile::from_toml(&file).unwrap().into_seed().unwrap());
        let path = format!("{name}/ident");
        sandbox.write(&path, &file);
        std::fs::set_permissions(sandbox.file(&path), Permissions::from_mode(0o600)).unwrap();
        let ports: Vec<Port> = (0..ports).map(|_| Port::free()).collect();
        let mut line = line.replace("{name}", name);
        for (i, port) in ports.iter().enumerate() {
            line = line.replace(&format!("{{{i}}}"), &local(port).to_string());
        }
        let address = server_address(&identity, &ports[0]);
        Self { name, address, line, ports, daemon: Mutex::new(None) }
    }

    /// Starts it; done when it listens.
    pub fn start(&self, sandbox: &Sandbox) {
        let daemon = tokio::task::block_in_place(|| sandbox.daemon(&self.line, self.ports.len()));
        *lock(&self.daemon) = Some(daemon);
    }

    /// Where and as whom other index servers reach it.
    pub fn peers(&self) -> ServerAddress {
        let address = local(&self.ports[1]).to_string().parse().unwrap();
        ServerAddress { public_key: self.address.public_key, address }
    }

    /// Ends it as a crash would.
    pub fn kill(&self) {
        if let Some(daemon) = lock(&self.daemon).take() {
            daemon.kill();
        }
    }

    /// Asks it to end and waits until it has; `None` when it did not run.
    pub fn terminate(&self) -> Option<ExitStatus> {
        let daemon = lock(&self.daemon).take()?;
        Some(tokio::task::block_in_place(|| daemon.terminate()))
    }
}

impl Node {
    /// With its database, and the ticket of the application that drives it. It does not run yet.
    pub fn new(sandbox: &Sandbox, name: &'static str) -> Self {
        let line = "stnode --idfile {name}/ident --laddr {0} --database {name}/db \
                    --trusted {name}/trusted";
        let server = Server::new(sandbox, name, 1, line);
        let database = sandbox.file(&format!("{name}/db"));
        offset_store::init(&database, &server.address.public_key).unwrap();
        let app = Identity::random(&mut SystemRng);
        let all = app::Permissions { routes: true, buyer: true, seller: true, config: true };
        let ticket = AppTicket::new(app.public_key(), all);
        sandbox.write(&format!("{name}/trusted/app"), &ticket.to_toml());
        Self { server, app, client: tokio::sync::Mutex::new(None) }
    }

    /// A connection to the node: that which stands, or else a new one.
    pub async fn client(&self) -> Result<AppClient, Error> {
        let mut client = self.client.lock().await;
        if let Some(open) = client.as_ref().filter(|client| client.is_open()) {
            return Ok(open.clone());
        }
        let options = ConnectOptions::default();
        let new = AppClient::connect(&self.app, &self.server.address, &options).await?;
        *client = Some(new.clone());
        Ok(new)
    }

    /// Asks again and again while the node is away, stops or is busy.
    pub async fn ask<T, F: Future<Output = Result<T, Error>>>(
        &self,
        what: &str,
        mut request: impl FnMut(AppClient) -> F,
    ) -> T {
        let begin = Instant::now();
        loop {
            let left = DEADLINE.saturating_sub(begin.elapsed());
            let answer = timeout(left, async { request(self.client().await?).await }).await;
            let error = match answer {
                Ok(Ok(answer)) => return answer,
                Ok(Err(error)) => error,
                Err(_) => panic!("{}: {what}: no answer", self.server.name),
            };
            match &error {
                Error::Refused(refusal) => assert!(
                    matches!(refusal.code, ErrorCode::Stopping | ErrorCode::Busy),
                    "{}: {what}: {refusal:?}",
                    self.server.name
                ),
                Error::Unreachable(_) | Error::Lost(_) | Error::NotTrusted { .. } => {}
                Error::WrongKey { .. }
                | Error::NoAnswer(_)
                | Error::TooLong
                | Error::TooSlow
                | Error::Protocol(_) => panic!("{}: {what}: {error}", self.server.name),
            }
            assert!(begin.elapsed() < DEADLINE, "{}: {what}: {error}", self.server.name);
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until a report is as wanted.
    pub async fn until<T>(
        &self,
        what: &str,
        mut look: impl FnMut(&NodeReport) -> Result<T, String>,
    ) -> T {
        let begin = Instant::now();
        loop {
            let report = self.ask(what, async |client| client.report().await).await;
            match look(&report) {
                Ok(value) => return value,
                Err(last) => {
                    assert!(begin.elapsed() < DEADLINE, "{}: {what}: {last}", self.server.name)
                }
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// A change of the node's configuration.
    pub async fn config(&self, change: ConfigRequest) -> Result<(), Error> {
        self.client().await?.config(change).await
    }

    /// An invoice that the node knows of.
    pub async fn invoice(&self, amount: Credits) -> Invoice {
        let terms = CreateInvoice {
            nonce: Nonce::random(&mut SystemRng),
            currency: None,
            amount,
            description: Text::cut("bananas"),
            expires_in_ms: None,
            hold: Hold::None,
        };
        let create = async |client: AppClient| client.create_invoice(terms.clone()).await;
        self.ask("an invoice", create).await.invoice
    }
}

/// A seed from the variable `OFFSET_SEED`, or of the clock. Tests print it.
pub fn seed() -> u64 {
    std::env::var("OFFSET_SEED").map_or_else(|_| now().0, |seed| seed.parse().unwrap())
}

/// The lines of a node, each with the friend's name.
pub fn lines(report: &NodeReport) -> impl Iterator<Item = (String, &LineReport)> {
    report.friends.iter().flat_map(|friend| {
        friend.currencies.iter().filter_map(|currency| match &currency.status {
            CurrencyStatus::Active(line) => Some((friend.name.to_string(), line)),
            CurrencyStatus::Proposed { .. } => None,
        })
    })
}

pub(super) fn now() -> Timestamp {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    Timestamp(u64::try_from(since.as_millis()).unwrap())
}

/// A name that a test made up.
pub fn named(name: &str) -> offset_proto::Name {
    name.parse().unwrap()
}

fn local(port: &Port) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port.number))
}

fn server_address(identity: &Identity, port: &Port) -> ServerAddress {
    let address = local(port).to_string().parse().unwrap();
    ServerAddress { public_key: identity.public_key(), address }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const MAX_DEBT: Credits = Credits(1_000_000_000);
const PAYMENT_DEADLINE_MS: u64 = 10_000;
const LOOK_EVERY: Duration = Duration::from_millis(20);
