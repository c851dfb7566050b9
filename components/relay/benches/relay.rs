//! What a relay costs, in a process of its own, beside a plain copy of the same bytes.
//!
//! `cargo bench -p offset-relay --bench relay -- --help`
//!
//! It prints and asserts nothing. Processor time is that of the relay's process alone.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking")]

use std::{
    fs,
    future::Future,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use offset_crypto::{Identity, PublicKey, SeededRng};
use offset_net::{Connection, NetConfig, Rate, dial, keep_memory};
use offset_proto::{
    ServerAddress,
    relay::{ClientToRelay, RelayToClient},
};
use offset_relay::{Allowance, ClientConfig, Limits, RelayClient, RelayConfig, run};
use offset_secure_channel::ChannelIdentity;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

const USAGE: &str = "cargo bench -p offset-relay --bench relay -- [MEGABYTES] [HANDSHAKES] [IDLE]

MEGABYTES   through one circuit, and through a plain copy [default: 512]
HANDSHAKES  connections opened and closed [default: 2000]
IDLE        connections held, two descriptors in all for each [default: 4000]";

fn main() {
    // As the programs do.
    keep_memory();
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match arguments.first().map(String::as_str) {
        Some("--help") => println!("{USAGE}"),
        Some("relay") => runtime.block_on(relay()),
        Some("copy") => runtime.block_on(copy()),
        Some(_) | None => {
            let number =
                |at: usize, or| arguments.get(at).map_or(or, |it| it.parse().expect(USAGE));
            runtime.block_on(measure(number(0, 512), number(1, 2_000), number(2, 4_000)));
        }
    }
}

async fn measure(megabytes: usize, handshakes: usize, idle: usize) {
    let [through, plain] = [
        ("relay", one_stream(megabytes)),
        ("plain copy", plain_stream(megabytes)),
    ]
    .map(|(name, stream)| {
        let Stream { rate, between, sender, receiver } = stream;
        println!(
            "one stream of {megabytes} MB, {name}: {rate:.0} MB/s; microseconds of processor a MB: \
             {between:.0} between the ends, {sender:.0} its sender, {receiver:.0} its receiver"
        );
        (rate, between)
    });
    println!(
        "the relay passes {:.2} of the plain copy's rate, with {:.1} times its processor time",
        through.0 / plain.0,
        through.1 / plain.1
    );
    many_handshakes(handshakes).await;
    many_idle(idle).await;
}

/// How a stream went.
struct Stream {
    /// Megabytes a second.
    rate: f64,
    /// Microseconds of processor for a megabyte: the process between the ends, and each end.
    between: f64,
    sender: f64,
    receiver: f64,
}

fn one_stream(megabytes: usize) -> Stream {
    let server = Server::start("relay");
    let (listens, listening) = mpsc::channel();
    let address = server.address();
    let receiver = end(async move {
        let relays = client(2);
        let mut listener = relays.listen(&address, |_| true).unwrap();
        listener.status().wait_for(|status| status.listening).await.unwrap();
        listens.send(()).unwrap();
        let circuit = listener.accept().await.unwrap().1;
        receive(circuit, megabytes).await
    });
    listening.recv().unwrap();
    let address = server.address();
    let sender = end(async move {
        let relays = client(1);
        let circuit = relays.connect(&address, identity(2).1).await.unwrap();
        send(circuit, megabytes).await
    });
    went(&server, sender, receiver, megabytes)
}

fn plain_stream(megabytes: usize) -> Stream {
    let server = Server::start("copy");
    let at = server.at;
    let connect = move || async move { TcpStream::connect(at).await.unwrap() };
    let sender = end(async move { send(connect().await, megabytes).await });
    let receiver = end(async move { receive(connect().await, megabytes).await });
    went(&server, sender, receiver, megabytes)
}

/// When its part began or ended, and what it took of the processor.
type End = JoinHandle<(Instant, Duration)>;

/// Runs an end of a stream on a thread of its own.
fn end(work: impl Future<Output = Instant> + Send + 'static) -> End {
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let at = runtime.block_on(work);
        let used = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        let used = used.split(' ').next().unwrap().parse().unwrap();
        (at, Duration::from_nanos(used))
    })
}

fn went(server: &Server, sender: End, receiver: End, megabytes: usize) -> Stream {
    let (began, sender) = sender.join().unwrap();
    let (ended, receiver) = receiver.join().unwrap();
    let megabytes = f64::from(u32::try_from(megabytes).unwrap());
    let each = |used: Duration| used.as_secs_f64() * 1e6 / megabytes;
    Stream {
        rate: megabytes / (ended - began).as_secs_f64(),
        between: each(server.cpu()),
        sender: each(sender),
        receiver: each(receiver),
    }
}

/// Gives when it began, and lets go of the stream once the other side has closed it.
async fn send(mut stream: impl AsyncRead + AsyncWrite + Unpin, megabytes: usize) -> Instant {
    let began = Instant::now();
    let piece = vec![7; 64 << 10];
    for _ in 0..(megabytes << 20) / piece.len() {
        stream.write_all(&piece).await.unwrap();
    }
    stream.flush().await.unwrap();
    // However it ends.
    let _gone = stream.read(&mut [0; 1]).await;
    began
}

/// Gives when it had everything.
async fn receive(mut stream: impl AsyncRead + Unpin, megabytes: usize) -> Instant {
    let mut piece = vec![0; 64 << 10];
    let mut received = 0;
    while received < megabytes << 20 {
        let len = stream.read(&mut piece).await.unwrap();
        assert!(0 < len, "the stream ended early");
        received += len;
    }
    Instant::now()
}

async fn many_handshakes(count: usize) {
    let server = Server::start("relay");
    let (address, before, began) = (server.address(), server.cpu(), Instant::now());
    let opened = stream::iter(0..count).map(|n| connect(&address, n)).buffer_unordered(32);
    opened.for_each(|connection| async { drop(connection) }).await;
    let cpu = (server.cpu() - before).as_secs_f64();
    let count = f64::from(u32::try_from(count).unwrap());
    println!(
        "\nhandshakes: {:.0} us of the relay's processor each, {:.0} a second and core; {:.0} a \
         second with both sides here",
        cpu * 1e6 / count,
        count / cpu,
        count / began.elapsed().as_secs_f64()
    );
}

async fn many_idle(count: usize) {
    let server = Server::start("relay");
    let address = server.address();
    let _first = connect(&address, 0).await;
    let (resident, kernel) = (server.resident(), kernel_bytes());
    let opened = stream::iter(1..=count).map(|n| connect(&address, n)).buffer_unordered(32);
    let open: Vec<_> = opened.collect().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let count = u64::try_from(open.len()).unwrap();
    let each = server.resident().saturating_sub(resident) / count;
    // Both ends of a connection are this machine's.
    let kernel = kernel_bytes().saturating_sub(kernel) / count / 2;
    println!(
        "\nidle: {count} connections, {each} bytes of the relay and {kernel} of the kernel's \
         sockets and caches each: {} in a GB",
        (1 << 30) / (each + kernel).max(1)
    );
}

async fn connect(relay: &ServerAddress, n: usize) -> Connection<ClientToRelay, RelayToClient> {
    let (identity, _) = identity(u64::try_from(n).unwrap() + 10);
    dial(&identity, relay, &NetConfig::default()).await.unwrap()
}

fn client(seed: u64) -> RelayClient {
    RelayClient::new(ClientConfig::default(), identity(seed).0)
}

fn identity(seed: u64) -> (Arc<ChannelIdentity>, PublicKey) {
    let identity = Identity::random(&mut SeededRng::new(seed));
    (Arc::new(ChannelIdentity::new(&identity)), identity.public_key())
}

/// A process of its own: a relay, or the plain copy.
struct Server {
    child: Child,
    at: SocketAddr,
}

impl Server {
    fn start(role: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command.arg(role).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, at: line.trim().parse().unwrap() }
    }

    fn address(&self) -> ServerAddress {
        let address = self.at.to_string().parse().unwrap();
        ServerAddress { public_key: identity(RELAY).1, address }
    }

    /// In ticks of 10 ms.
    fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks = fields.split_whitespace().skip(11).take(2).map(|it| it.parse::<u64>().unwrap());
        Duration::from_millis(10 * ticks.sum::<u64>())
    }

    fn resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        kilobytes(&fs::read_to_string(path).unwrap(), "VmRSS:")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// What the kernel holds for objects such as sockets, and for what waits in them.
fn kernel_bytes() -> u64 {
    let sockets = fs::read_to_string("/proc/net/sockstat").unwrap();
    let waiting = sockets.lines().find(|line| line.starts_with("TCP:")).unwrap();
    let pages: u64 = waiting.split_whitespace().last().unwrap().parse().unwrap();
    pages * 4096 + kilobytes(&fs::read_to_string("/proc/meminfo").unwrap(), "SUnreclaim:")
}

fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

async fn bound() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    listener
}

/// A relay without limits on bytes and rates, which are not what is measured.
async fn relay() {
    let any = Allowance { per_second: u32::MAX, burst: u32::MAX };
    let limits = Limits {
        max_connections: 1_000_000,
        bytes_per_key: any,
        bytes_total: any,
        ..Limits::default()
    };
    let often = Rate { per_second: 1_000_000, burst: 1_000_000 };
    let addresses = offset_net::Limits { rate: often, ..offset_net::Limits::default() };
    let config = RelayConfig { limits, addresses, ..RelayConfig::default() };
    let listener = bound().await;
    run(config, identity(RELAY).0, vec![listener], std::future::pending()).await.unwrap();
}

async fn copy() {
    let listener = bound().await;
    let (mut first, _) = listener.accept().await.unwrap();
    let (mut second, _) = listener.accept().await.unwrap();
    copy_bidirectional(&mut first, &mut second).await.unwrap();
}

const RELAY: u64 = 1 << 40;
