//! Index servers and clients over real sockets of this computer.
#![allow(clippy::unwrap_used, reason = "a test may fail by unwrapping, in its helpers too")]

use std::{future::Future, path::Path, sync::Arc, time::Duration};

use offset_crypto::{Identity, PublicKey, Seed};
use offset_index_client::{Config, Error, IndexClient};
use offset_net::{BackoffConfig, NetConfig, dial};
use offset_proto::{
    Credits, Currency, NetworkAddress, Rate, ServerAddress, Timestamp,
    file::{IndexTicket, OffsetFile as _},
    index::{
        ClientToIndex, CycleEnd, CycleQuery, Edge, IndexLine, IndexPeerMessage, IndexToClient,
        MultiRoute, Route, RouteQuery, RouteRequestId, UpdateBody, UpdateKind, UpdateMutation,
    },
};
use offset_secure_channel::ChannelIdentity;
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, timeout},
};

fn identity(n: u8) -> Arc<Identity> {
    Arc::new(Identity::from_seed(Seed::from_bytes([n; 32])))
}

fn key(n: u8) -> PublicKey {
    identity(n).public_key()
}

/// Quick, so that a test need not wait for politeness.
fn backoff() -> BackoffConfig {
    let (first, longest) = (Duration::from_millis(20), Duration::from_millis(200));
    BackoffConfig { first, longest, ..BackoffConfig::default() }
}

/// Polls until there is something, for at most ten seconds.
async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

struct Server {
    number: u8,
    trusted: TempDir,
    nodes: NetworkAddress,
    servers: NetworkAddress,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Server {
    async fn start(number: u8) -> Self {
        let mut server = Self {
            number,
            trusted: tempfile::tempdir().unwrap(),
            nodes: "127.0.0.1:0".parse().unwrap(),
            servers: "127.0.0.1:0".parse().unwrap(),
            running: None,
        };
        server.run().await;
        server
    }

    /// Starts on the ports that it had, or on any when it had none.
    async fn run(&mut self) {
        let nodes = TcpListener::bind(self.nodes.as_str()).await.unwrap();
        let servers = TcpListener::bind(self.servers.as_str()).await.unwrap();
        self.nodes = nodes.local_addr().unwrap().to_string().parse().unwrap();
        self.servers = servers.local_addr().unwrap().to_string().parse().unwrap();
        let trusted = self.trusted.path().to_owned();
        let mut config = offset_index_server::Config::new(identity(self.number), trusted);
        // Few enough that a test reaches the limit.
        config.limits.clients.requests_per_key =
            offset_index_server::limits::Pace { per_second: 50, burst: 200 };
        config.backoff = backoff();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            offset_index_server::run(config, nodes, servers, shutdown).await.unwrap();
        });
        self.running = Some((stop, task));
    }

    async fn stop(&mut self) {
        let (stop, task) = self.running.take().unwrap();
        stop.send(()).unwrap();
        task.await.unwrap();
    }

    fn address(&self) -> ServerAddress {
        ServerAddress { public_key: key(self.number), address: self.nodes.clone() }
    }

    fn peer_address(&self) -> ServerAddress {
        ServerAddress { public_key: key(self.number), address: self.servers.clone() }
    }

    fn trust(&self, other: &Self) {
        let ticket = IndexTicket(other.peer_address()).to_toml();
        write_ticket(self.trusted.path(), other.number, &ticket);
    }
}

fn write_ticket(directory: &Path, number: u8, text: &str) {
    let hidden = directory.join(format!(".{number}"));
    std::fs::write(&hidden, text).unwrap();
    std::fs::rename(hidden, directory.join(number.to_string())).unwrap();
}

/// A node with its index client running.
struct Node {
    client: IndexClient,
    servers: watch::Sender<Vec<ServerAddress>>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Node {
    fn start(number: u8, servers: &[&Server]) -> Self {
        Self::start_at(number, servers.iter().map(|server| server.address()).collect())
    }

    fn start_at(number: u8, servers: Vec<ServerAddress>) -> Self {
        let (servers, list) = watch::channel(servers);
        let config = Config { backoff: backoff(), ..Config::new(identity(number), 0) };
        let (client, driver) = IndexClient::new(config, list);
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(driver.run(async {
            let _ = stopped.await;
        }));
        Self { client, servers, stop: Some(stop), task }
    }

    /// A line with a friend: what can be sent and received, and the fee.
    fn line(&self, friend: u8, send: u128, recv: u128, fee: u64) {
        let line = IndexLine {
            send_capacity: Credits(send),
            recv_capacity: Credits(recv),
            rate: Rate { ppm: 0, add: fee },
        };
        let (friend, currency) = (key(friend), Currency::fallback());
        self.client.update_lines(vec![UpdateMutation::Set { friend, currency, line }]);
    }

    async fn connected_to(&self, server: &Server) {
        let mut status = self.client.status();
        let wanted = Some(key(server.number));
        let wait = status.wait_for(|status| status.connected == wanted);
        timeout(Duration::from_secs(10), wait).await.expect("connected in time").unwrap();
    }

    async fn routes(&self, query: RouteQuery) -> Result<Vec<MultiRoute>, Error> {
        self.client.request_routes(query).await
    }

    /// Waits until there is a route with these keys, or none where there are none.
    async fn sees(&self, amount: u128, keys: &[u8]) -> Option<MultiRoute> {
        let (source, destination) = (1, 3);
        let expected: Vec<PublicKey> = keys.iter().map(|n| key(*n)).collect();
        eventually(&format!("route {keys:?}"), || async {
            let found = self.routes(query(amount, source, destination)).await.ok()?;
            let first = found.into_iter().next();
            let keys = first.as_ref().map(|multi| multi.routes[0].keys.clone());
            (keys.unwrap_or_default() == expected).then_some(first)
        })
        .await
    }

    async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.task.await.unwrap();
    }
}

fn query(amount: u128, source: u8, destination: u8) -> RouteQuery {
    RouteQuery {
        currency: Currency::fallback(),
        amount: Credits(amount),
        source: key(source),
        destination: key(destination),
        exclude: vec![],
        max_parts: 1,
    }
}

/// Bob 1 - Alice 2 - Charli 3, each at a server of its own choice.
fn three_nodes(servers: [&[&Server]; 3]) -> [Node; 3] {
    let [bob, alice, charli] = servers;
    let nodes = [Node::start(1, bob), Node::start(2, alice), Node::start(3, charli)];
    nodes[0].line(2, 100, 100, 9);
    nodes[1].line(1, 100, 100, 2);
    nodes[1].line(3, 80, 80, 5);
    nodes[2].line(2, 80, 80, 7);
    nodes
}

#[tokio::test]
async fn nodes_report_and_a_route_is_found() {
    let server = Server::start(100).await;
    let nodes = three_nodes([&[&server]; 3]);
    let route = nodes[0].sees(50, &[1, 2, 3]).await.unwrap();
    assert_eq!((route.total_fee, route.routes[0].fee), (Credits(2), Credits(2)));
    assert!(route.age_ms < 60_000);
    assert_eq!(nodes[0].routes(query(81, 1, 3)).await, Ok(vec![]), "more than the line carries");
    let mut excluded = query(50, 1, 3);
    excluded.exclude.push(Edge { from: key(2), to: key(3) });
    assert_eq!(nodes[0].routes(excluded).await, Ok(vec![]));
    // The capacity that is left falls; the index hears of it.
    nodes[1].line(3, 20, 80, 5);
    nodes[0].sees(50, &[]).await;
    nodes[0].sees(20, &[1, 2, 3]).await;
    // Charli leaves.
    let [bob, _alice, charli] = nodes;
    charli.stop().await;
    bob.sees(20, &[]).await;
}

/// 2 owes 1, and 1 owes 3: a way from 2 to 3 closes the cycle.
#[tokio::test]
async fn a_cycle_through_the_asking_node_is_found() {
    let server = Server::start(100).await;
    let nodes = three_nodes([&[&server]; 3]);
    // 1 and 3 are friends too.
    nodes[0].line(3, 90, 70, 0);
    nodes[2].line(1, 70, 90, 0);
    let end = |friend, most| CycleEnd { friend: key(friend), most: Credits(most) };
    let query = |first, last| CycleQuery {
        currency: Currency::fallback(),
        node: key(1),
        first: vec![first],
        last: vec![last],
        max_fee_ppm: 500_000,
        exclude: vec![],
    };
    let found = eventually("a cycle", || async {
        let cycles = nodes[0].client.request_cycles(query(end(2, 30), end(3, 20))).await.ok()?;
        cycles.into_iter().next()
    })
    .await;
    assert_eq!(found.route.keys, [key(1), key(2), key(3), key(1)]);
    // The fees of 2 and of 3 count on the first line.
    assert_eq!((found.route.amount, found.route.fee), (Credits(20), Credits(9)));
    let elsewhere = query(end(2, 30), end(9, 20));
    assert_eq!(nodes[0].client.request_cycles(elsewhere).await, Ok(vec![]));
}

#[tokio::test]
async fn a_restarted_server_learns_everything_again() {
    let mut server = Server::start(100).await;
    let nodes = three_nodes([&[&server]; 3]);
    nodes[0].sees(50, &[1, 2, 3]).await;
    server.stop().await;
    let mut status = nodes[0].client.status();
    let lost = status.wait_for(|status| status.connected.is_none());
    let status = timeout(Duration::from_secs(10), lost).await.unwrap().unwrap().clone();
    assert_eq!(status.last_error.unwrap().0, key(100));
    // A request that is made meanwhile waits, and is answered when the server is back.
    let waiting = nodes[0].client.clone();
    let request = tokio::spawn(async move { waiting.request_routes(query(50, 1, 3)).await });
    server.run().await;
    let answer = request.await.unwrap();
    assert!(answer.is_ok() || answer == Err(Error::NotConnected), "{answer:?}");
    nodes[0].sees(50, &[1, 2, 3]).await;
    assert_eq!(nodes[0].client.status().borrow().last_error, None);
}

#[tokio::test]
async fn the_next_server_takes_over() {
    let mut first = Server::start(100).await;
    let second = Server::start(101).await;
    let nodes = three_nodes([&[&first, &second]; 3]);
    nodes[0].sees(50, &[1, 2, 3]).await;
    nodes[0].connected_to(&first).await;
    first.stop().await;
    for node in &nodes {
        node.connected_to(&second).await;
    }
    nodes[0].sees(50, &[1, 2, 3]).await;
    // Another list: the old server is left at once.
    let third = Server::start(102).await;
    for node in &nodes {
        node.servers.send(vec![third.address()]).unwrap();
        node.connected_to(&third).await;
    }
    nodes[0].sees(50, &[1, 2, 3]).await;
}

#[tokio::test]
async fn federated_servers_know_the_same_and_forget_at_once() {
    let servers = [Server::start(100).await, Server::start(101).await, Server::start(102).await];
    let [first, second, third] = &servers;
    for (one, other) in [(first, second), (second, third)] {
        one.trust(other);
        other.trust(one);
    }
    let nodes = three_nodes([&[first], &[second], &[third]]);
    nodes[0].sees(50, &[1, 2, 3]).await;
    nodes[2].sees(50, &[1, 2, 3]).await;
    let [bob, alice, charli] = nodes;
    alice.stop().await;
    bob.sees(50, &[]).await;
    charli.sees(50, &[]).await;
    // She comes back at another server.
    let alice = Node::start(2, &[first]);
    alice.line(1, 100, 100, 2);
    alice.line(3, 80, 80, 5);
    bob.sees(50, &[1, 2, 3]).await;
    charli.sees(50, &[1, 2, 3]).await;
    // The server in the middle is away for a while; then the last one is told what it missed.
    let [_first, mut second, _third] = servers;
    second.stop().await;
    alice.line(3, 10, 80, 5);
    bob.sees(50, &[]).await;
    assert!(!charli.routes(query(50, 1, 3)).await.unwrap().is_empty());
    second.run().await;
    charli.sees(50, &[]).await;
}

#[tokio::test]
async fn a_server_that_is_no_longer_trusted_is_disconnected() {
    let server = Server::start(100).await;
    let nobody = ServerAddress { public_key: key(7), address: "127.0.0.1:1".parse().unwrap() };
    write_ticket(server.trusted.path(), 7, &IndexTicket(nobody).to_toml());
    let (peer, net) = (Arc::new(ChannelIdentity::new(&identity(7))), NetConfig::default());
    let mut connection = eventually("the ticket is noticed", || async {
        let address = server.peer_address();
        dial::<IndexPeerMessage, IndexPeerMessage>(&peer, &address, &net).await.ok()
    })
    .await;
    let digest = timeout(Duration::from_secs(10), connection.recv()).await.unwrap();
    assert_eq!(digest.unwrap(), IndexPeerMessage::Digest { entries: vec![], last: true });
    std::fs::remove_file(server.trusted.path().join("7")).unwrap();
    let end = timeout(Duration::from_secs(10), connection.recv()).await.unwrap();
    let Err(offset_net::Error::Bye(reason)) = end else { panic!("{end:?}") };
    assert!(reason.as_str().contains("no longer trusts"), "{reason}");
}

#[tokio::test]
async fn a_server_that_passes_on_forgeries_is_disconnected() {
    let server = Server::start(100).await;
    let nobody = ServerAddress { public_key: key(7), address: "127.0.0.1:1".parse().unwrap() };
    write_ticket(server.trusted.path(), 7, &IndexTicket(nobody).to_toml());
    let (peer, net) = (Arc::new(ChannelIdentity::new(&identity(7))), NetConfig::default());
    let mut connection = eventually("the ticket is noticed", || async {
        let address = server.peer_address();
        dial::<IndexPeerMessage, IndexPeerMessage>(&peer, &address, &net).await.ok()
    })
    .await;
    let forged = body(1, 7, 1, UpdateKind::Snapshot(vec![])).sign(&identity(2));
    connection.send(IndexPeerMessage::Update(Box::new(forged))).await.unwrap();
    let end = loop {
        match timeout(Duration::from_secs(10), connection.recv()).await.unwrap() {
            Ok(_digest) => {}
            Err(end) => break end,
        }
    };
    assert!(matches!(end, offset_net::Error::Bye(_)), "{end:?}");
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_refused() {
    let server = Server::start(100).await;
    let stranger = Arc::new(ChannelIdentity::new(&identity(7)));
    let net = NetConfig::default();
    let refused =
        dial::<IndexPeerMessage, IndexPeerMessage>(&stranger, &server.peer_address(), &net).await;
    assert!(matches!(refused, Err(offset_net::Error::Refused)), "{refused:?}");
    // Trust must be mutual: one ticket alone connects nothing.
    let other = Server::start(101).await;
    other.trust(&server);
    let nodes = three_nodes([&[&server], &[&server], &[&server]]);
    nodes[0].sees(50, &[1, 2, 3]).await;
    let elsewhere = Node::start(4, &[&other]);
    elsewhere.connected_to(&other).await;
    assert_eq!(elsewhere.routes(query(50, 1, 3)).await, Ok(vec![]));
    server.trust(&other);
    elsewhere.sees(50, &[1, 2, 3]).await;
}

/// A connection that says what it likes.
async fn raw(number: u8, server: &Server) -> offset_net::Connection<ClientToIndex, IndexToClient> {
    let identity = Arc::new(ChannelIdentity::new(&identity(number)));
    dial(&identity, &server.address(), &NetConfig::default()).await.unwrap()
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp(u64::try_from(since.as_millis()).unwrap())
}

fn body(node: u8, home: u8, counter: u64, kind: UpdateKind) -> UpdateBody {
    let (node, home_server, time) = (key(node), key(home), now());
    UpdateBody { node, home_server, epoch: time.0 / 1_000, counter, time, kind }
}

#[tokio::test]
async fn nodes_that_break_the_rules_are_disconnected() {
    let server = Server::start(100).await;
    let empty = || UpdateKind::Snapshot(vec![]);
    let own_line = UpdateMutation::Remove { friend: key(1), currency: Currency::fallback() };
    let old = UpdateBody { time: Timestamp(1), ..body(1, 100, 1, empty()) };
    let rows = [
        (body(2, 100, 1, empty()).sign(&identity(2)), "its own lines only"),
        (body(1, 101, 1, empty()).sign(&identity(1)), "another index server"),
        (body(1, 100, 1, empty()).sign(&identity(2)), "signature is wrong"),
        (old.sign(&identity(1)), "check the clocks"),
        (
            body(1, 100, 1, UpdateKind::Snapshot(vec![own_line])).sign(&identity(1)),
            "a line of the node with itself",
        ),
    ];
    for (update, reason) in rows {
        let mut connection = raw(1, &server).await;
        connection.send(ClientToIndex::Update(Box::new(update))).await.unwrap();
        let end = timeout(Duration::from_secs(10), connection.recv()).await.unwrap();
        let Err(offset_net::Error::Bye(said)) = end else { panic!("{end:?}") };
        assert!(said.as_str().contains(reason), "{said} does not say {reason}");
    }
}

#[tokio::test]
async fn the_server_says_what_it_lacks_and_what_it_knows() {
    let server = Server::start(100).await;
    let mut connection = raw(1, &server).await;
    let update = |counter, kind| {
        let update = body(1, 100, counter, kind).sign(&identity(1));
        ClientToIndex::Update(Box::new(update))
    };
    connection.send(update(5, UpdateKind::Delta(vec![]))).await.unwrap();
    assert_eq!(connection.recv().await.unwrap(), IndexToClient::SnapshotWanted);
    connection.send(update(6, UpdateKind::Snapshot(vec![]))).await.unwrap();
    connection.send(update(6, UpdateKind::Snapshot(vec![]))).await.unwrap();
    let answer = connection.recv().await.unwrap();
    // A second may have passed between the two, which makes the epoch of the second newer.
    if answer != IndexToClient::SnapshotWanted {
        assert!(matches!(answer, IndexToClient::Behind { counter: 6, .. }), "{answer:?}");
    }
    // A second connection of the same node takes the place of the first.
    let second = raw(1, &server).await;
    let end = timeout(Duration::from_secs(10), connection.recv()).await.unwrap();
    assert!(matches!(end, Err(offset_net::Error::Bye(_))), "{end:?}");
    assert!(second.sender().is_open());
}

#[tokio::test]
async fn too_many_requests_are_refused_and_each_is_answered() {
    let server = Server::start(100).await;
    let mut connection = raw(1, &server).await;
    let count = 1_000;
    for n in 0..count {
        let request_id = RouteRequestId(n);
        let request = ClientToIndex::RequestRoutes { request_id, query: query(1, 1, 2) };
        connection.send(request).await.unwrap();
    }
    let (mut answered, mut refused) = (0, 0);
    for _ in 0..count {
        match timeout(Duration::from_secs(10), connection.recv()).await.unwrap().unwrap() {
            IndexToClient::Routes { .. } => answered += 1,
            IndexToClient::Refused { .. } => refused += 1,
            other @ (IndexToClient::Behind { .. }
            | IndexToClient::Cycles { .. }
            | IndexToClient::SnapshotWanted) => {
                panic!("{other:?}")
            }
        }
    }
    assert!(0 < answered && 0 < refused, "{answered} answered, {refused} refused");
}

#[tokio::test]
async fn requests_end_without_a_server_too() {
    let nobody = "127.0.0.1:1".parse().unwrap();
    let server = ServerAddress { public_key: key(100), address: nobody };
    let node = Node::start_at(1, vec![server]);
    assert_eq!(node.routes(query(1, 1, 2)).await, Err(Error::NotConnected));
    let client = node.client.clone();
    let waiting = tokio::spawn(async move { client.request_routes(query(1, 1, 2)).await });
    // The request is on its way to the driver when this one's turn comes.
    tokio::task::yield_now().await;
    let client = node.client.clone();
    node.stop().await;
    assert_eq!(waiting.await.unwrap(), Err(Error::Stopped));
    assert_eq!(client.request_routes(query(1, 1, 2)).await, Err(Error::Stopped));
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string().parse().unwrap();
    let silent = Arc::new(ChannelIdentity::new(&identity(100)));
    let mut serve = offset_net::ServeConfig::new([offset_proto::session::Purpose::IndexClient]);
    serve.limits = offset_net::Limits::default();
    let listener = offset_net::Listener::new(listener, silent, serve);
    let task = tokio::spawn(listener.serve(
        |_, _| true,
        |incoming| async {
            let mut connection = incoming.open::<IndexToClient, ClientToIndex>().await.unwrap();
            while connection.recv().await.is_ok() {}
        },
        std::future::pending(),
    ));
    let node = Node::start_at(1, vec![ServerAddress { public_key: key(100), address }]);
    let mut status = node.client.status();
    status.wait_for(|status| status.connected.is_some()).await.unwrap();
    assert_eq!(node.routes(query(1, 1, 2)).await, Err(Error::NoAnswer));
    task.abort();
}

#[tokio::test]
async fn a_node_that_asks_too_much_is_told() {
    let server = Server::start(100).await;
    let node = Node::start(1, &[&server]);
    node.connected_to(&server).await;
    let mut asking = JoinSet::new();
    for _ in 0..900 {
        let client = node.client.clone();
        asking.spawn(async move { client.request_routes(query(1, 1, 2)).await });
    }
    let answers = asking.join_all().await;
    let refused = |answer: &&Result<_, Error>| matches!(answer, Err(Error::Refused { .. }));
    assert!(answers.iter().any(|answer| *answer == Ok(vec![])), "{answers:?}");
    assert!(0 < answers.iter().filter(refused).count(), "{answers:?}");
    // Nobody takes these: they wait in the queue until there is no more room.
    let (_servers, list) = watch::channel(vec![]);
    let request_timeout = Duration::from_millis(100);
    let config = Config { request_timeout, ..Config::new(identity(1), 0) };
    let (client, _driver) = IndexClient::new(config, list);
    let mut asking = JoinSet::new();
    for _ in 0..1_100 {
        let client = client.clone();
        asking.spawn(async move { client.request_routes(query(1, 1, 2)).await });
    }
    let answers = asking.join_all().await;
    let busy = answers.iter().filter(|answer| **answer == Err(Error::Busy)).count();
    let waited = answers.iter().filter(|answer| **answer == Err(Error::NotConnected)).count();
    assert_eq!((busy, waited), (76, 1_024));
}

#[tokio::test]
async fn routes_that_lead_elsewhere_are_not_passed_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string().parse().unwrap();
    let liar = Arc::new(ChannelIdentity::new(&identity(100)));
    let serve = offset_net::ServeConfig::new([offset_proto::session::Purpose::IndexClient]);
    let listener = offset_net::Listener::new(listener, liar, serve);
    let task = tokio::spawn(listener.serve(
        |_, _| true,
        |incoming| async {
            let mut connection = incoming.open::<IndexToClient, ClientToIndex>().await.unwrap();
            while let Ok(message) = connection.recv().await {
                let ClientToIndex::RequestRoutes { request_id, .. } = message else { continue };
                let multi_routes = [[1, 3], [2, 3], [1, 2]].map(|[from, to]| {
                    let keys = vec![key(from), key(to)];
                    let route = Route { keys, amount: Credits(1), fee: Credits(0) };
                    MultiRoute { routes: vec![route], total_fee: Credits(0), age_ms: 0 }
                });
                let multi_routes = multi_routes.into();
                let routes = IndexToClient::Routes { request_id, multi_routes, cut_short: false };
                connection.try_send(routes).unwrap();
            }
        },
        std::future::pending(),
    ));
    let node = Node::start_at(1, vec![ServerAddress { public_key: key(100), address }]);
    let routes = node.routes(query(1, 1, 2)).await.unwrap();
    assert_eq!(routes.len(), 1);
    assert_eq!(routes[0].routes[0].keys, [key(1), key(2)]);
    task.abort();
}

#[tokio::test]
async fn a_server_needs_a_directory_of_tickets() {
    let bind = || TcpListener::bind("127.0.0.1:0");
    let file = tempfile::NamedTempFile::new().unwrap();
    let config = offset_index_server::Config::new(identity(100), file.path().to_owned());
    let (nodes, servers) = (bind().await.unwrap(), bind().await.unwrap());
    let result = offset_index_server::run(config, nodes, servers, std::future::pending()).await;
    assert!(matches!(result, Err(offset_index_server::Error::Trusted { .. })), "{result:?}");
}
