//! What strangers, and clients that break the protocol, do at one port.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use offset_crypto::{Identity, PublicKey, SystemRng};
use offset_proto::{
    Credits, ServerAddress,
    app::{AppRequest, AppRequestId, AppToNode},
    index::{ClientToIndex, IndexPeerMessage, RouteQuery, RouteRequestId},
    relay::{CircuitId, ClientToRelay},
    session::{Control, Hello, PROTOCOL_VERSION, Packet, Purpose, Wire},
};
use offset_secure_channel::{
    ChannelIdentity, Error, FrameReceiver, FrameSender, KNOCK_BYTES, connect,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::support::DEADLINE;

/// Where somebody listens.
#[derive(Clone)]
pub(crate) struct Port {
    /// For messages.
    pub(crate) name: &'static str,
    /// What is served there.
    pub(crate) purpose: Purpose,
    /// Where, and whose key.
    pub(crate) server: ServerAddress,
    /// Whether every key is served.
    pub(crate) open: bool,
    /// A node that is online.
    pub(crate) node: PublicKey,
    /// One that is served.
    pub(crate) known: Arc<ChannelIdentity>,
}

/// Connections that go no further, held until this is dropped.
pub(crate) struct Flood(Vec<TcpStream>);

impl Flood {
    /// Some are silent, some are after a knock, some in the middle of a TLS handshake.
    pub(crate) async fn start(port: &Port, connections: usize) -> Self {
        let mut streams = Vec::new();
        while streams.len() < connections {
            let left = connections - streams.len();
            let batch = (0..left.min(50)).map(|i| half_open(port, i));
            streams.extend(join_all(batch).await);
        }
        Self(streams)
    }

    /// How many there are, on this side.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Ten of each kind at once, each until the server has ended it, and two that never read.
pub(crate) async fn everything(port: Port) {
    let port = &port;
    let rounds = (0..10).map(|_| async move {
        tokio::join!(
            Box::pin(garbage(port)),
            Box::pin(silence(port)),
            Box::pin(knock_and_then(port, &[])),
            Box::pin(knock_and_then(port, &[0xa5; 5000])),
            Box::pin(handshake_and_then(port, &[])),
            Box::pin(handshake_and_then(port, &[0x17; 5000])),
            Box::pin(stranger(port)),
            Box::pin(broken_session(port, Misdeed::GiantFrame)),
            Box::pin(broken_session(port, Misdeed::Undecodable)),
            Box::pin(broken_session(port, Misdeed::NoHello)),
        );
    });
    // Tasks of their own, as they are always ready to send.
    let never_reads = [(); 2].map(|()| tokio::spawn(never_reads(port.clone())));
    join_all(rounds).await;
    for task in never_reads {
        task.await.unwrap();
    }
}

/// Connects with that many new keys, a few at a time.
pub(crate) async fn fresh_identities(port: &Port, count: usize) {
    for _ in 0..count / 10 {
        join_all((0..10).map(|_| stranger(port))).await;
    }
}

async fn garbage(port: &Port) {
    let mut stream = tcp(port).await;
    // It may be closed before everything is sent.
    let _ = stream.write_all(&[0x5a; 4096]).await;
    let answer = until_closed(&mut stream, port).await;
    assert_eq!(answer, 0, "{}: garbage is answered", port.name);
}

async fn silence(port: &Port) {
    let mut stream = tcp(port).await;
    let answer = until_closed(&mut stream, port).await;
    assert_eq!(answer, 0, "{}: silence is answered", port.name);
}

async fn knock_and_then(port: &Port, bytes: &[u8]) {
    // Made first, as a knock is waited for only a few seconds.
    let opening = opening(port).await;
    let mut stream = tcp(port).await;
    stream.write_all(&opening[..KNOCK_BYTES]).await.unwrap();
    let _ = stream.write_all(bytes).await;
    until_closed(&mut stream, port).await;
}

async fn handshake_and_then(port: &Port, bytes: &[u8]) {
    let opening = opening(port).await;
    let mut stream = tcp(port).await;
    stream.write_all(&opening).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let answer = until_closed(&mut stream, port).await;
    assert_ne!(answer, 0, "{}: the handshake goes on", port.name);
}

/// A whole handshake with a new key.
async fn stranger(port: &Port) {
    let session = open(port, &ChannelIdentity::new(&Identity::random(&mut SystemRng))).await;
    if port.open {
        session.unwrap();
    } else {
        let error = session.err().unwrap_or_else(|| panic!("{}: a stranger is in", port.name));
        assert!(matches!(error, Error::Closed | Error::CutOff(_)), "{}: {error}", port.name);
    }
}

#[derive(Clone, Copy, Debug)]
enum Misdeed {
    GiantFrame,
    Undecodable,
    NoHello,
}

/// A key that is served, and what it does ends its session.
async fn broken_session(port: &Port, misdeed: Misdeed) {
    let (mut sender, mut receiver) = if let Misdeed::NoHello = misdeed {
        channel(port, &port.known).await.unwrap()
    } else {
        open(port, &port.known).await.unwrap()
    };
    // The session may end before everything is sent.
    let _ = match misdeed {
        Misdeed::GiantFrame => {
            let mut frame = vec![0xff; 4];
            frame.resize(512 * 1024, 0);
            sender.write_framed(&frame).await
        }
        Misdeed::Undecodable => sender.send(&[0xa5; 1000]).await,
        Misdeed::NoHello => sender.send(&question(port, 1)).await,
    };
    let _ = sender.flush().await;
    let ended = async { while receiver.recv().await.is_ok() {} };
    let in_time = timeout(DEADLINE, ended).await.is_ok();
    assert!(in_time, "{}: {misdeed:?} ends the session", port.name);
}

/// A key that is served asks and asks, and takes no answer. Either it is slowed down or its session
/// is ended; the figures tell whether that costs the server anything.
async fn never_reads(port: Port) {
    let port = &port;
    // Index servers keep one session of each key, so it must be one that nobody else uses.
    let new = ChannelIdentity::new(&Identity::random(&mut SystemRng));
    let who = if port.open { &new } else { &port.known };
    let (mut sender, _receiver) = open(port, who).await.unwrap();
    let asks = async {
        let mut asked = 0_u32;
        while sender.send(&question(port, asked)).await.is_ok() {
            asked += 1;
        }
    };
    let ended = timeout(Duration::from_secs(5), asks).await.is_ok();
    println!("{}: one that never reads is {}", port.name, if ended { "ended" } else { "slowed" });
}

/// One connection that goes no further.
async fn half_open(port: &Port, i: usize) -> TcpStream {
    let opening = if i.is_multiple_of(3) { Vec::new() } else { opening(port).await };
    let mut stream = tcp(port).await;
    let sent = if i % 3 == 1 { &opening[..KNOCK_BYTES] } else { &opening };
    // It may have had to go for a newer one.
    let _ = stream.write_all(sent).await;
    stream
}

pub(crate) async fn tcp(port: &Port) -> TcpStream {
    TcpStream::connect(port.server.address.as_str()).await.unwrap()
}

/// Reads until the server has closed; gives how much it said.
pub(crate) async fn until_closed(stream: &mut TcpStream, port: &Port) -> usize {
    let mut read = Vec::new();
    // A reset is an end as well.
    let closed = timeout(DEADLINE, stream.read_to_end(&mut read)).await;
    assert!(closed.is_ok(), "{}: the connection is closed", port.name);
    read.len()
}

/// A knock and the first message of TLS.
pub(crate) async fn opening(port: &Port) -> Vec<u8> {
    let (here, mut there) = duplex(64 * 1024);
    let identity = Arc::clone(&port.known);
    let (key, purpose) = (port.server.public_key, port.purpose);
    let connecting = tokio::spawn(async move { connect(here, &identity, key, purpose).await });
    let mut opening = vec![0; KNOCK_BYTES + 5];
    there.read_exact(&mut opening).await.unwrap();
    let length = u16::from_be_bytes([opening[KNOCK_BYTES + 3], opening[KNOCK_BYTES + 4]]);
    let start = opening.len();
    opening.resize(start + usize::from(length), 0);
    there.read_exact(&mut opening[start..]).await.unwrap();
    connecting.abort();
    opening
}

async fn channel(
    port: &Port,
    who: &ChannelIdentity,
) -> Result<(FrameSender, FrameReceiver), Error> {
    // A port to which many connect at once may refuse.
    for _ in 0..100 {
        let (key, purpose) = (port.server.public_key, port.purpose);
        match connect(tcp(port).await, who, key, purpose).await {
            Ok(channel) => return Ok(channel.split()),
            Err(Error::Refused | Error::CutOff(_)) => sleep(Duration::from_millis(100)).await,
            Err(error) => return Err(error),
        }
    }
    panic!("{}: nobody gets in", port.name);
}

/// A channel on which both have said hello.
pub(crate) async fn open(
    port: &Port,
    who: &ChannelIdentity,
) -> Result<(FrameSender, FrameReceiver), Error> {
    let (mut sender, mut receiver) = channel(port, who).await?;
    let features = Vec::new();
    let hello = Hello { protocol_version: PROTOCOL_VERSION, purpose: port.purpose, features };
    let hello = match port.purpose {
        Purpose::App => AppToNode::encode(&Packet::Control(Control::Hello(hello))),
        Purpose::Relay => ClientToRelay::encode(&Packet::Control(Control::Hello(hello))),
        Purpose::IndexClient => ClientToIndex::encode(&Packet::Control(Control::Hello(hello))),
        Purpose::IndexServer => IndexPeerMessage::encode(&Packet::Control(Control::Hello(hello))),
        Purpose::Friend => panic!("nobody listens for friends"),
    };
    sender.send(&hello).await?;
    receiver.recv().await?;
    Ok((sender, receiver))
}

/// Something that is answered.
fn question(port: &Port, number: u32) -> Vec<u8> {
    let node = port.node;
    match port.purpose {
        Purpose::App => AppToNode::encode(&Packet::Message(AppToNode {
            request_id: AppRequestId(number.into()),
            request: AppRequest::report(),
        })),
        Purpose::Relay => ClientToRelay::encode(&Packet::Message(ClientToRelay::Connect {
            circuit: CircuitId(number * 2 + 1),
            destination: node,
        })),
        Purpose::IndexClient => {
            ClientToIndex::encode(&Packet::Message(ClientToIndex::RequestRoutes {
                request_id: RouteRequestId(number.into()),
                query: RouteQuery {
                    currency: "FST".parse().unwrap(),
                    amount: Credits(1),
                    source: port.known.public_key(),
                    destination: node,
                    exclude: Vec::new(),
                    max_parts: 1,
                },
            }))
        }
        Purpose::IndexServer => {
            IndexPeerMessage::encode(&Packet::Message(IndexPeerMessage::Wanted { node }))
        }
        Purpose::Friend => panic!("nobody listens for friends"),
    }
}
