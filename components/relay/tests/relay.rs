//! A relay and its clients over real sockets on the loopback address.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use offset_crypto::{HashResult, Identity, PublicKey, SeededRng};
use offset_net::{BackoffConfig, NetConfig, dial};
use offset_proto::{
    ServerAddress,
    friend::{FriendMessage, Resume},
    relay::{CircuitId, ClientToRelay, CloseReason, FIRST_WINDOW_BYTES, RelayToClient},
};
use offset_relay::{
    Allowance, Circuit, ClientConfig, Error, Limits, REPLACED, RelayClient, RelayConfig,
    RelayListener, RelayStatus, run,
};
use offset_secure_channel::ChannelIdentity;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

/// A node or relay of a test.
struct Party {
    key: PublicKey,
    identity: Arc<ChannelIdentity>,
}

fn party(seed: u64) -> Party {
    let identity = Identity::random(&mut SeededRng::new(seed));
    let key = identity.public_key();
    Party { key, identity: Arc::new(ChannelIdentity::new(&identity)) }
}

/// A relay that runs until it is stopped.
struct TestRelay {
    server: ServerAddress,
    at: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Error>>,
}

impl TestRelay {
    async fn start(config: RelayConfig) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), config).await
    }

    async fn start_at(at: SocketAddr, config: RelayConfig) -> Self {
        let listener = TcpListener::bind(at).await.unwrap();
        let at = listener.local_addr().unwrap();
        let relay = party(RELAY);
        let server =
            ServerAddress { public_key: relay.key, address: at.to_string().parse().unwrap() };
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            stopped.await.unwrap();
        };
        let task = tokio::spawn(run(config, relay.identity, vec![listener], shutdown));
        Self { server, at, stop, task }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        within(self.task).await.unwrap().unwrap();
    }
}

fn fast() -> ClientConfig {
    let wait = Duration::from_millis(20);
    let backoff = BackoffConfig { first: wait, longest: 2 * wait, reset_after: wait };
    ClientConfig { backoff, ..ClientConfig::default() }
}

fn client(seed: u64) -> RelayClient {
    RelayClient::new(fast(), party(seed).identity)
}

/// A listener that is known to listen.
async fn listen(client: &RelayClient, relay: &TestRelay) -> RelayListener {
    let listener = client.listen(&relay.server, |_| true).unwrap();
    status(&listener, |status| status.listening).await;
    listener
}

async fn status(listener: &RelayListener, wanted: impl Fn(&RelayStatus) -> bool) -> RelayStatus {
    within(listener.status().wait_for(|status| wanted(status))).await.unwrap().clone()
}

/// A circuit from a new node (1) to a listening one (2).
async fn pair(relay: &TestRelay) -> (RelayClient, RelayClient, Circuit, Circuit) {
    let (a, b) = (client(1), client(2));
    let mut listener = listen(&b, relay).await;
    let (opened, accepted) =
        within(async { tokio::join!(a.connect(&relay.server, party(2).key), listener.accept()) })
            .await;
    let (source, accepted) = accepted.unwrap();
    assert_eq!(source, party(1).key);
    (a, b, opened.unwrap(), accepted)
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), work).await.expect("done in time")
}

#[tokio::test]
async fn ten_megabytes_each_way_with_small_reads() {
    let relay = TestRelay::start(RelayConfig::default()).await;
    let (_a, _b, opened, accepted) = pair(&relay).await;
    const TOTAL: usize = 10 * 1024 * 1024;
    let byte = |n: usize, seed: usize| u8::try_from((n + seed) % 251).unwrap();
    let move_all = |circuit: Circuit, out: usize, back: usize| async move {
        let (mut reader, mut writer) = tokio::io::split(circuit);
        let sent = async {
            let all: Vec<u8> = (0..TOTAL).map(|n| byte(n, out)).collect();
            for piece in all.chunks(100_003) {
                writer.write_all(piece).await.unwrap();
            }
        };
        let received = async {
            let mut piece = [0; 1_013];
            let mut received = 0;
            while received < TOTAL {
                let len = reader.read(&mut piece).await.unwrap();
                assert!(0 < len, "no early end");
                for got in &piece[..len] {
                    assert_eq!(*got, byte(received, back));
                    received += 1;
                }
            }
        };
        tokio::join!(sent, received);
        (reader, writer)
    };
    let (first, second) = (move_all(opened, 0, 1), move_all(accepted, 1, 0));
    let ((mut reader, mut writer), (mut other_reader, _writer)) =
        within(async { tokio::join!(first, second) }).await;

    // A graceful end reaches the other side as the end of the stream, with all that was written.
    writer.write_all(b"bye").await.unwrap();
    within(writer.shutdown()).await.unwrap();
    let mut last = Vec::new();
    within(other_reader.read_to_end(&mut last)).await.unwrap();
    assert_eq!(last, b"bye");
    assert_eq!(within(reader.read(&mut [0; 1])).await.unwrap(), 0);
    relay.stop().await;
}

#[tokio::test]
async fn what_nobody_reads_stops_coming() {
    let relay = TestRelay::start(RelayConfig::default()).await;
    let (_a, _b, mut opened, mut accepted) = pair(&relay).await;
    let window = usize::try_from(FIRST_WINDOW_BYTES).unwrap();
    let mut taken = 0;
    while taken < window {
        taken += within(opened.write(&[1; 50_000])).await.unwrap();
    }
    while let Ok(len) = timeout(Duration::from_millis(100), opened.write(&[1; 50_000])).await {
        taken += len.unwrap();
        assert!(taken <= window + 64 * 1024, "{taken}");
    }
    let mut bytes = vec![0; taken];
    within(accepted.read_exact(&mut bytes)).await.unwrap();
    within(opened.write_all(b"goes on")).await.unwrap();
    within(accepted.read_exact(&mut bytes[..7])).await.unwrap();
    assert_eq!(&bytes[..7], b"goes on");
}

#[tokio::test]
async fn friends_talk_end_to_end() {
    let relay = TestRelay::start(RelayConfig::default()).await;
    let (_a, _b, opened, accepted) = pair(&relay).await;
    let (one, two) = (party(1), party(2));
    let net = NetConfig::default();
    type Friends = offset_net::Connection<FriendMessage, FriendMessage>;
    let connecting = offset_net::connect_over(opened, &one.identity, two.key, &net);
    let accepting = offset_net::accept_over(accepted, &two.identity, &net, |key| *key == one.key);
    let (connected, accepted) = within(async { tokio::join!(connecting, accepting) }).await;
    let (mut first, mut second): (Friends, Friends) = (connected.unwrap(), accepted.unwrap());
    assert_eq!((first.peer(), second.peer()), (two.key, one.key));
    for counter in 0..100 {
        let message = FriendMessage::TokenWanted { counter };
        first.try_send(message.clone()).unwrap();
        assert_eq!(within(second.recv()).await.unwrap(), message);
        second.try_send(message.clone()).unwrap();
        assert_eq!(within(first.recv()).await.unwrap(), message);
    }
    first.close("done");
    assert!(matches!(within(second.recv()).await, Err(offset_net::Error::Bye(_))));
}

/// A client that says what it likes.
async fn raw(seed: u64, relay: &TestRelay) -> RawClient {
    dial(&party(seed).identity, &relay.server, &NetConfig::default()).await.unwrap()
}

type RawClient = offset_net::Connection<ClientToRelay, RelayToClient>;

async fn goodbye(client: &mut RawClient) -> String {
    loop {
        match within(client.recv()).await {
            Ok(_) => {}
            Err(offset_net::Error::Bye(reason)) => return reason.as_str().to_owned(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// A raw connection and a node, with circuit 1 between them.
async fn raw_pair(relay: &TestRelay) -> (RawClient, RelayClient, Circuit) {
    let b = client(2);
    let mut listener = listen(&b, relay).await;
    let mut raw = raw(1, relay).await;
    let destination = party(2).key;
    raw.try_send(ClientToRelay::Connect { circuit: CircuitId(1), destination }).unwrap();
    let (_, circuit) = within(listener.accept()).await.unwrap();
    let connected = RelayToClient::Connected { circuit: CircuitId(1) };
    assert_eq!(within(raw.recv()).await.unwrap(), connected);
    (raw, b, circuit)
}

#[tokio::test]
async fn a_relay_sees_only_ciphertext() {
    let relay = TestRelay::start(RelayConfig::default()).await;
    let (mut raw, _b, circuit) = raw_pair(&relay).await;
    // The raw client sees what a relay sees. The node opens a channel and sends a secret.
    let (one, two) = (party(1), party(2));
    let (mut ours, theirs) = tokio::io::duplex(1 << 20);
    let node = tokio::spawn(async move {
        let connection: offset_net::Connection<FriendMessage, FriendMessage> =
            offset_net::connect_over(circuit, &two.identity, one.key, &NetConfig::default())
                .await
                .unwrap();
        connection.try_send(secret_message()).unwrap();
        connection
    });
    let friend = tokio::spawn(async move {
        let one = party(1);
        let mut connection: offset_net::Connection<FriendMessage, FriendMessage> =
            offset_net::accept_over(theirs, &one.identity, &NetConfig::default(), |_| true)
                .await
                .unwrap();
        connection.recv().await.unwrap()
    });
    let mut seen = Vec::new();
    let mut from_friend = vec![0; 32 * 1024];
    while !friend.is_finished() {
        tokio::select! {
            message = raw.recv() => {
                if let RelayToClient::Data { bytes, .. } = message.unwrap() {
                    ours.write_all(&bytes).await.unwrap();
                    seen.extend(bytes);
                }
            }
            len = ours.read(&mut from_friend) => {
                let Ok(len @ 1..) = len else { break };
                let bytes = from_friend[..len].to_vec();
                raw.send(ClientToRelay::Data { circuit: CircuitId(1), bytes }).await.unwrap();
            }
        }
    }
    assert_eq!(within(friend).await.unwrap(), secret_message());
    assert!(SECRET.len() < seen.len());
    for secret in [&SECRET, party(1).key.as_bytes(), party(2).key.as_bytes()] {
        assert!(!seen.windows(secret.len()).any(|window| window == secret));
    }
    node.abort();
}

const SECRET: [u8; 32] = *b"nobody in between may read this.";

fn secret_message() -> FriendMessage {
    let token_id = HashResult::from_bytes(SECRET);
    FriendMessage::Resume(Resume { epoch: 0, counter: 1, token_id, wants_token: false })
}

#[tokio::test]
async fn a_listener_survives_a_restart_of_the_relay() {
    let relay = TestRelay::start(RelayConfig::default()).await;
    let at = relay.at;
    let (a, _b, mut opened, mut accepted) = pair(&relay).await;
    let b = client(3);
    let mut listener = listen(&b, &relay).await;
    relay.stop().await;
    for circuit in [&mut opened, &mut accepted] {
        let error = within(circuit.read(&mut [0; 1])).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    let down = status(&listener, |status| !status.listening).await;
    assert!(!down.replaced);
    status(&listener, |status| !status.last_error.as_str().is_empty()).await;

    let relay = TestRelay::start_at(at, RelayConfig::default()).await;
    let up = status(&listener, |status| status.listening).await;
    assert_eq!((up.last_error.as_str(), up.replaced), ("", false));
    let opening = async {
        // The pause after a failed dial may still hold.
        loop {
            match a.connect(&relay.server, party(3).key).await {
                Ok(circuit) => return circuit,
                Err(Error::Unreachable { .. }) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    let (mut opened, accepted) = within(async { tokio::join!(opening, listener.accept()) }).await;
    let (_, mut accepted) = accepted.unwrap();
    opened.write_all(b"again").await.unwrap();
    let mut bytes = [0; 5];
    within(accepted.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(&bytes, b"again");
}

#[tokio::test]
async fn circuits_that_cannot_be() {
    let config = RelayConfig {
        limits: Limits { accept_timeout_ms: 100, ..Limits::default() },
        ..RelayConfig::default()
    };
    let relay = TestRelay::start(config).await;
    let (a, b) = (client(1), client(2));
    let to_b = || within(a.connect(&relay.server, party(2).key));
    assert_eq!(to_b().await.unwrap_err(), Error::NotListening);
    // A stranger is rejected at once, others wait in vain.
    let stranger = party(1).key;
    let listener = b.listen(&relay.server, move |key| *key != stranger).unwrap();
    status(&listener, |status| status.listening).await;
    assert_eq!(to_b().await.unwrap_err(), Error::Rejected);
    let c = client(3);
    let unanswered = within(c.connect(&relay.server, party(2).key)).await;
    assert_eq!(unanswered.unwrap_err(), Error::Timeout);
    drop(listener);
    let stopped = async { while to_b().await.unwrap_err() != Error::NotListening {} };
    within(stopped).await;

    let server = relay.server.clone();
    relay.stop().await;
    let gone = within(client(4).connect(&server, party(2).key)).await;
    assert!(matches!(gone, Err(Error::Unreachable { .. })));
    let wrong = ServerAddress { public_key: party(9).key, ..server };
    let gone = within(client(4).connect(&wrong, party(2).key)).await;
    assert!(matches!(gone, Err(Error::Unreachable { .. })));
    let nothing = run(RelayConfig::default(), party(RELAY).identity, vec![], async {}).await;
    assert_eq!(nothing, Err(Error::NoListener));
}

#[tokio::test]
async fn one_connection_serves_listening_and_connecting() {
    let limits = Limits { max_connections_per_key: 1, ..Limits::default() };
    let relay = TestRelay::start(RelayConfig { limits, ..RelayConfig::default() }).await;
    let (a, b) = (client(1), client(2));
    let mut at_a = listen(&a, &relay).await;
    let mut at_b = listen(&b, &relay).await;
    for _ in 0..20 {
        let there =
            within(async { tokio::join!(a.connect(&relay.server, party(2).key), at_b.accept()) });
        let back =
            within(async { tokio::join!(b.connect(&relay.server, party(1).key), at_a.accept()) });
        let ((opened, accepted), (opened_back, accepted_back)) = tokio::join!(there, back);
        assert_eq!(accepted.unwrap().0, party(1).key);
        assert_eq!(accepted_back.unwrap().0, party(2).key);
        assert!(opened.is_ok() && opened_back.is_ok());
    }
    assert!(at_a.status().borrow().listening && at_b.status().borrow().listening);
}

#[tokio::test]
async fn a_connection_without_circuits_is_let_go() {
    let limits = Limits { max_connections: 1, ..Limits::default() };
    let relay = TestRelay::start(RelayConfig { limits, ..RelayConfig::default() }).await;
    let idle_time = Duration::from_millis(50);
    let a = RelayClient::new(ClientConfig { idle_time, ..fast() }, party(1).identity);
    let nobody = within(a.connect(&relay.server, party(2).key)).await;
    assert_eq!(nobody.unwrap_err(), Error::NotListening);
    // There is room for another as soon as the first has gone.
    let b = client(2);
    let _listener = listen(&b, &relay).await;
}

#[tokio::test]
async fn a_replaced_listener_raises_the_alarm_and_comes_back() {
    let relay = TestRelay::start(RelayConfig::default()).await;
    let replaced_pause = Duration::from_millis(500);
    let original = RelayClient::new(ClientConfig { replaced_pause, ..fast() }, party(1).identity);
    let listener = listen(&original, &relay).await;
    let mut copy = raw(1, &relay).await;
    copy.try_send(ClientToRelay::Listen).unwrap();
    assert_eq!(within(copy.recv()).await.unwrap(), RelayToClient::Listening);

    let alarm = status(&listener, |status| status.replaced).await;
    assert!(!alarm.listening && alarm.last_error.as_str().contains("runs twice"));
    assert_eq!(goodbye(&mut copy).await, REPLACED);
    let back = status(&listener, |status| status.listening).await;
    assert!(back.replaced);
    status(&listener, |status| status.listening && !status.replaced).await;
}

#[tokio::test]
async fn a_client_that_exceeds_the_window_is_closed() {
    let relay = TestRelay::start(RelayConfig::default()).await;
    let (mut raw, _b, mut circuit) = raw_pair(&relay).await;
    for _ in 0..5 {
        let bytes = vec![1; 64 * 1024];
        within(raw.send(ClientToRelay::Data { circuit: CircuitId(1), bytes })).await.unwrap();
    }
    assert!(goodbye(&mut raw).await.contains("window"));
    let mut received = Vec::new();
    let error = within(circuit.read_to_end(&mut received)).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(received.len(), usize::try_from(FIRST_WINDOW_BYTES).unwrap());
}

#[tokio::test]
async fn a_flood_of_circuits_is_bounded_and_harms_nobody() {
    let relay = TestRelay::start(RelayConfig::default()).await;
    let (_a, _b, mut opened, mut accepted) = pair(&relay).await;
    let victim = client(3);
    let mut listener = listen(&victim, &relay).await;
    let mut flooder = raw(4, &relay).await;
    let (mut refused, mut sent) = (0, 0);
    while sent < 5_000 {
        for _ in 0..100 {
            let circuit = CircuitId(2 * sent + 1);
            let destination = party(3).key;
            within(flooder.send(ClientToRelay::Connect { circuit, destination })).await.unwrap();
            sent += 1;
        }
        while refused + 100 < sent {
            let RelayToClient::Close { reason, .. } = within(flooder.recv()).await.unwrap() else {
                panic!("nobody accepts")
            };
            assert_eq!(reason, CloseReason::Limit);
            refused += 1;
        }
    }
    // An honest circuit goes on, and the victim is offered no more than may be pending.
    opened.write_all(b"honest").await.unwrap();
    let mut bytes = [0; 6];
    within(accepted.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(&bytes, b"honest");
    flooder.close("done");
    for _ in 0..64 {
        // Those that are still there are gone with the flooder.
        let Ok(next) = timeout(Duration::from_millis(50), listener.accept()).await else { break };
        let (source, _) = next.unwrap();
        assert_eq!(source, party(4).key);
    }
}

#[tokio::test]
async fn who_sends_too_fast_is_slowed_down_and_not_harmed() {
    let slow = Allowance { per_second: 4 * 1024 * 1024, burst: 64 * 1024 };
    let limits = Limits { bytes_per_key: slow, ..Limits::default() };
    let relay = TestRelay::start(RelayConfig { limits, ..RelayConfig::default() }).await;
    let (_a, _b, mut opened, mut accepted) = pair(&relay).await;
    let sent = vec![9; 1024 * 1024];
    let mut received = vec![0; sent.len()];
    let start = std::time::Instant::now();
    let both = async { tokio::join!(opened.write_all(&sent), accepted.read_exact(&mut received)) };
    let (written, read) = within(both).await;
    written.unwrap();
    read.unwrap();
    assert_eq!(received, sent);
    // Only a lower bound: a busy machine may be slower, the relay must not be faster.
    assert!(Duration::from_millis(100) < start.elapsed());
}

#[tokio::test]
async fn only_allowed_keys_are_served() {
    let allowed = Some([party(1).key].into());
    let relay = TestRelay::start(RelayConfig { allowed, ..RelayConfig::default() }).await;
    let a = client(1);
    let _listener = listen(&a, &relay).await;
    let refused = within(client(2).connect(&relay.server, party(1).key)).await;
    assert!(matches!(refused, Err(Error::Unreachable { .. })));
}

#[tokio::test]
async fn a_stopped_relay_says_goodbye_and_a_stopped_client_ends_its_circuits() {
    let relay = TestRelay::start(RelayConfig::default()).await;
    let (a, _b, mut opened, mut accepted) = pair(&relay).await;
    drop(a);
    for circuit in [&mut opened, &mut accepted] {
        let error = within(circuit.read(&mut [0; 1])).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    let mut raw = raw(4, &relay).await;
    raw.try_send(ClientToRelay::Listen).unwrap();
    assert_eq!(within(raw.recv()).await.unwrap(), RelayToClient::Listening);
    relay.stop().await;
    assert!(goodbye(&mut raw).await.contains("stopped"));
}

/// The seed of the relay's identity.
const RELAY: u64 = 100;
