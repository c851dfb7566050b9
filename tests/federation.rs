//! Index servers in a chain, each a process of its own; their links go through proxies of the test,
//! which can cut them. What they know is asked of each with `stindex query`.
//!
//! ```text
//!   index0 <--proxies--> index1 <--proxies--> index2
//!     |                    |                    |
//!    Ann ------ line ---- Bea ------ line ---- Cyd
//! ```
//!
//! The nodes are the test itself: it says of their lines what nodes would say.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use offset_crypto::{Identity, PublicKey, SystemRng};
use offset_net::{Connection, NetConfig, dial};
use offset_proto::{
    Credits, Currency, Rate, ServerAddress, Timestamp,
    file::{IndexTicket, OffsetFile as _},
    index::{ClientToIndex, IndexLine, IndexToClient, UpdateBody, UpdateKind, UpdateMutation},
};
use offset_secure_channel::ChannelIdentity;
use serde_json::Value;
use support::{DEADLINE, Daemon, Port, Sandbox};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, block_in_place},
    time::{sleep, timeout},
};

/// One direction of dialling between two servers: what comes in goes to `target` unless it is cut.
struct Proxy {
    address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Proxy {
    async fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (open, is_open) = watch::channel(true);
        tokio::spawn(async move {
            loop {
                let (mut one, _) = listener.accept().await.unwrap();
                let mut cut = is_open.clone();
                tokio::spawn(async move {
                    if !*cut.borrow() {
                        return;
                    }
                    let carry = async {
                        if let Ok(mut other) = TcpStream::connect(("127.0.0.1", target)).await {
                            // Either side may end it in any way.
                            let _ = copy_bidirectional(&mut one, &mut other).await;
                        }
                    };
                    tokio::select! {
                        () = carry => {}
                        _ = cut.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { address, open }
    }
}

/// A server that can be ended and started again.
struct Server {
    key: PublicKey,
    line: String,
    nodes: Port,
    daemon: Option<Daemon>,
}

struct Chain {
    servers: Vec<Server>,
    /// Between each two neighbours, both ways.
    links: Vec<[Proxy; 2]>,
    sandbox: Sandbox,
}

impl Chain {
    /// Three servers that drop nodes after so many milliseconds without a sign of life.
    async fn start(alive_for_ms: u64) -> Self {
        let sandbox = Sandbox::new();
        sandbox.write("limits.toml", &format!("[limits]\ndirectory.alive_for_ms = {alive_for_ms}"));
        let (mut servers, mut peers) = (Vec::new(), Vec::new());
        for n in 0..3 {
            let name = format!("index{n}");
            std::fs::create_dir_all(sandbox.file(&format!("{name}/trusted"))).unwrap();
            sandbox.run(&format!("stmgr gen-ident -o {name}/ident")).success();
            let (nodes, others) = (Port::free(), Port::free());
            std::fs::create_dir_all(sandbox.file(&format!("{name}/state"))).unwrap();
            let line = format!(
                "stindex --config limits.toml -i {name}/ident -t {name}/trusted --state {name}/state \
                 -c 127.0.0.1:{} -s 127.0.0.1:{}",
                nodes.number, others.number
            );
            let key = sandbox.public_key(&format!("{name}/ident")).parse().unwrap();
            servers.push(Server { key, line, nodes, daemon: None });
            peers.push(others);
        }
        let mut links = Vec::new();
        for (a, b) in [(0, 1), (1, 2)] {
            let both = [Proxy::to(peers[b].number).await, Proxy::to(peers[a].number).await];
            for (from, to, proxy) in [(a, b, &both[0]), (b, a, &both[1])] {
                let address = proxy.address.to_string().parse().unwrap();
                let ticket = ServerAddress { public_key: servers[to].key, address };
                let file = format!("index{from}/trusted/index{to}");
                sandbox.write(&file, &IndexTicket(ticket).to_toml());
            }
            links.push(both);
        }
        for (n, server) in servers.iter().enumerate() {
            sandbox.write(&format!("index{n}.ticket"), &IndexTicket(server.address()).to_toml());
        }
        let mut chain = Self { servers, links, sandbox };
        (0..3).for_each(|n| chain.start_server(n));
        chain
    }

    fn start_server(&mut self, n: usize) {
        let daemon = block_in_place(|| self.sandbox.daemon(&self.servers[n].line, 2));
        self.servers[n].daemon = Some(daemon);
    }

    fn kill_server(&mut self, n: usize) {
        block_in_place(|| self.servers[n].daemon.take().unwrap().kill());
    }

    fn stop_server(&mut self, n: usize) {
        assert!(block_in_place(|| self.servers[n].daemon.take().unwrap().terminate()).success());
    }

    fn set_link(&self, n: usize, open: bool) {
        for proxy in &self.links[n] {
            proxy.open.send_replace(open);
        }
    }

    /// What a server answers.
    fn query(&self, server: usize, from: &Node, to: &Node, more: &str) -> Value {
        let line = format!(
            "stindex query --json -T index{server}.ticket --from {} --dest {} {more}",
            from.key, to.key
        );
        let answer = block_in_place(|| self.sandbox.run(&line).success());
        serde_json::from_str(&answer).unwrap()
    }

    /// Waits until these servers know this way for the amount, or none.
    async fn until(&self, servers: &[usize], amount: u32, way: &[&Node], known: bool) {
        let keys: Value = way.iter().map(|node| node.key.to_string()).collect();
        let (from, to) = (way[0], way[way.len() - 1]);
        let deadline = Instant::now() + 2 * DEADLINE;
        for server in servers {
            loop {
                let answer = self.query(*server, from, to, &format!("--amount {amount}"));
                let found = &answer["ways"][0]["routes"][0]["keys"];
                if if known { *found == keys } else { found.is_null() } {
                    break;
                }
                assert!(Instant::now() < deadline, "{server}: {answer} instead of {known} {keys}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Server {
    /// Where nodes find it.
    fn address(&self) -> ServerAddress {
        let address = format!("127.0.0.1:{}", self.nodes.number).parse().unwrap();
        ServerAddress { public_key: self.key, address }
    }
}

/// A node that says again and again what its lines are, whenever it is connected.
struct Node {
    key: PublicKey,
    lines: Lines,
    /// When it made its last statement.
    said_at: Arc<Mutex<Instant>>,
    task: JoinHandle<()>,
}

/// How much can move to each friend, and as much back.
type Lines = Arc<Mutex<Vec<(PublicKey, u128)>>>;

impl Node {
    fn start(
        server: &Server,
        identity: Identity,
        lines: Vec<(PublicKey, u128)>,
        every: Duration,
    ) -> Self {
        let lines = Arc::new(Mutex::new(lines));
        let said_at = Arc::new(Mutex::new(Instant::now()));
        let key = identity.public_key();
        let (said, to_say) = (Arc::clone(&said_at), Arc::clone(&lines));
        let task = tokio::spawn(speak(server.address(), identity, to_say, said, every));
        Self { key, lines, said_at, task }
    }

    fn has(&self, friend: &Self, amount: u128) {
        *self.lines.lock().unwrap() = vec![(friend.key, amount)];
    }

    /// Goes offline.
    fn stop(&self) {
        self.task.abort();
    }
}

async fn speak(
    server: ServerAddress,
    identity: Identity,
    lines: Lines,
    said_at: Arc<Mutex<Instant>>,
    every: Duration,
) {
    let channel = Arc::new(ChannelIdentity::new(&identity));
    let now = || u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis());
    let epoch = now().unwrap() / 1_000;
    let mut counter = 0;
    loop {
        let connection: Result<Connection<ClientToIndex, IndexToClient>, _> =
            dial(&channel, &server, &NetConfig::default()).await;
        let Ok(connection) = connection else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (sender, mut receiver) = connection.split();
        loop {
            counter += 1;
            let sets = lines.lock().unwrap().clone().into_iter().map(|(friend, amount)| {
                let capacity = Credits(amount);
                let line = IndexLine {
                    send_capacity: capacity,
                    recv_capacity: capacity,
                    rate: Rate::default(),
                };
                UpdateMutation::Set { friend, currency: Currency::fallback(), line }
            });
            let body = UpdateBody {
                node: identity.public_key(),
                home_server: server.public_key,
                epoch,
                counter,
                time: Timestamp(now().unwrap()),
                kind: UpdateKind::Snapshot(sets.collect()),
            };
            *said_at.lock().unwrap() = Instant::now();
            let update = ClientToIndex::Update(Box::new(body.sign(&identity)));
            if sender.send(update).await.is_err() {
                break;
            }
            // Whatever it is told, the next snapshot is the answer; an error is the end.
            let told = async { while receiver.recv().await.is_ok() {} };
            if timeout(every, told).await.is_ok() {
                break;
            }
        }
    }
}

/// The chain and its three nodes, each of which speaks once in so long.
async fn chain_of_three(alive_for_ms: u64, every: Duration) -> (Chain, [Node; 3]) {
    let chain = Chain::start(alive_for_ms).await;
    let [ann, bea, cyd] = [(); 3].map(|()| Identity::random(&mut SystemRng));
    let keys = [&ann, &bea, &cyd].map(Identity::public_key);
    let node = |n: usize, identity, lines| Node::start(&chain.servers[n], identity, lines, every);
    let nodes = [
        node(0, ann, vec![(keys[1], 1_000)]),
        node(1, bea, vec![(keys[0], 1_000), (keys[2], 1_000)]),
        node(2, cyd, vec![(keys[1], 100)]),
    ];
    (chain, nodes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_heals_and_a_killed_servers_nodes_vanish_and_return() {
    let (mut chain, nodes) = chain_of_three(4_000, Duration::from_millis(300)).await;
    let [ann, bea, cyd] = &nodes;
    let way = [ann, bea, cyd];
    chain.until(&[0, 1, 2], 100, &way, true).await;
    chain.until(&[0, 1, 2], 101, &way, false).await;

    // While the link is cut, each side forgets the other one, and does not see what changes there.
    chain.set_link(1, false);
    chain.until(&[0, 1], 100, &way, false).await;
    chain.until(&[2], 100, &[cyd, bea], false).await;
    chain.until(&[0, 1], 100, &[ann, bea], true).await;
    cyd.has(bea, 700);
    chain.set_link(1, true);
    chain.until(&[0, 1, 2], 700, &way, true).await;

    // The end of the chain dies with its server; both come back.
    chain.kill_server(2);
    chain.until(&[0, 1], 1, &way, false).await;
    chain.until(&[0, 1], 1, &[ann, bea], true).await;
    chain.start_server(2);
    chain.until(&[0, 1, 2], 700, &way, true).await;

    // So does the middle, without which the ends know nothing of each other.
    chain.kill_server(1);
    chain.until(&[0], 1, &[ann, bea], false).await;
    chain.until(&[2], 1, &[bea, cyd], false).await;
    chain.start_server(1);
    chain.until(&[0, 1, 2], 700, &way, true).await;
}

/// Nodes speak once, and are dropped by age after a quarter of an hour only: what vanishes here does
/// because its server says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leaves_vanishes_everywhere_and_answers_have_their_age() {
    let (chain, nodes) = chain_of_three(900_000, Duration::from_secs(600)).await;
    let [ann, bea, cyd] = &nodes;
    let way = [ann, bea, cyd];
    chain.until(&[0, 1, 2], 100, &way, true).await;
    for server in 0..3 {
        let oldest = way.iter().map(|node| *node.said_at.lock().unwrap()).min().unwrap();
        let least = oldest.elapsed().as_millis();
        let answer = chain.query(server, ann, cyd, "--amount 1");
        let age = answer["ways"][0]["age_ms"].as_u64().unwrap();
        // Either is rounded to milliseconds.
        assert!(least <= u128::from(age) + 2, "{age} ms, but nothing was said for {least} ms");
    }

    chain.query(0, ann, cyd, "--amount 1 --svg ways.svg");
    let picture = std::fs::read_to_string(chain.sandbox.file("ways.svg")).unwrap();
    assert!(way.iter().all(|node| picture.contains(&node.key.to_string())), "{picture}");

    let ways = |from: &Node, to: &Node| {
        let excluding = format!("--amount 1 --exclude {}:{}", from.key, to.key);
        chain.query(0, ann, cyd, &excluding)["ways"].as_array().unwrap().len()
    };
    assert_eq!((ways(ann, bea), ways(bea, cyd)), (0, 0), "an excluded edge is not used");
    assert_eq!(ways(bea, ann), 1, "its other direction is another edge");

    cyd.stop();
    chain.until(&[2, 1, 0], 1, &way, false).await;
    chain.until(&[2, 1, 0], 1, &[ann, bea], true).await;
}

/// A server that is told to end says of its nodes that they left, unless they are elsewhere by then;
/// and what it knew it knows again, without any other server.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_takes_its_nodes_along_and_knows_the_others_again() {
    let (mut chain, nodes) = chain_of_three(900_000, Duration::from_secs(600)).await;
    let [ann, bea, cyd] = &nodes;
    let way = [ann, bea, cyd];
    chain.until(&[0, 1, 2], 100, &way, true).await;

    chain.stop_server(2);
    chain.until(&[1, 0], 1, &way, false).await;
    chain.until(&[1, 0], 1, &[ann, bea], true).await;

    // Alone, so that nobody can tell it; and its node is gone for good.
    cyd.stop();
    chain.set_link(1, false);
    chain.start_server(2);
    chain.until(&[2], 1, &[ann, bea], true).await;
    chain.set_link(1, true);
    chain.until(&[2], 1, &way, false).await;

    // A torn file is not used, and said so.
    chain.stop_server(0);
    let file = chain.sandbox.file("index0/state/known");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    chain.start_server(0);
    chain.until(&[0], 1, &[ann, bea], true).await;
    let said = chain.servers[0].daemon.as_ref().unwrap().stderr();
    assert!(said.contains("known is not used"), "{said}");
}
