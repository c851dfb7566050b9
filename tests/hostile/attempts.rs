//! Attacks at one port. Those that make no sense there do nothing.

use std::time::{Duration, Instant};

use futures::future::join_all;
use offset_crypto::{Identity, SystemRng};
use offset_proto::{
    Credits,
    index::{ClientToIndex, RouteQuery, RouteRequestId},
    relay::{CircuitId, ClientToRelay},
    session::{Packet, Purpose, Wire as _},
};
use offset_secure_channel::{ChannelIdentity, FrameReceiver, FrameSender};
use tokio::{
    io::AsyncWriteExt as _,
    time::{sleep, timeout},
};

use crate::{
    attacks::{Port, open, opening, tcp, until_closed},
    support::DEADLINE,
};

/// So many connections, over each of which an opening comes a byte at a time: none is waited for
/// longer than for silence.
pub(crate) async fn trickle(port: Port, times: usize) {
    let opening = opening(&port).await;
    let trickles = (0..times).map(async |_| {
        let mut stream = tcp(&port).await;
        let begin = Instant::now();
        for byte in &opening {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            assert!(begin.elapsed() < DEADLINE, "{}: bytes may trickle in", port.name);
            sleep(Duration::from_millis(500)).await;
        }
        panic!("{}: bytes may trickle in", port.name);
    });
    join_all(trickles).await;
}

/// An opening that somebody recorded is not answered when it comes again.
pub(crate) async fn recorded(port: Port, times: usize) {
    let opening = opening(&port).await;
    let mut first = tcp(&port).await;
    first.write_all(&opening).await.unwrap();
    let answered = until_closed(&mut first, &port).await;
    assert_ne!(answered, 0, "{}: a new one is answered", port.name);
    let again = (0..times).map(async |_| {
        let mut stream = tcp(&port).await;
        // It may be closed before everything is sent.
        let _ = stream.write_all(&opening).await;
        assert_eq!(until_closed(&mut stream, &port).await, 0, "{}: it is answered", port.name);
    });
    join_all(again).await;
}

/// Messages that claim more than there is, or are dear to look at: each ends the session.
pub(crate) async fn bombs(port: Port, times: usize) {
    for _ in 0..times {
        for (what, bomb) in all_bombs() {
            let (mut sender, receiver) = open(&port, &port.known).await.unwrap();
            // The session may end before everything is sent.
            let _ = sender.send(&bomb).await;
            let _ = sender.flush().await;
            ended(&port, what, receiver).await;
        }
    }
}

/// Each in one frame of every purpose.
fn all_bombs() -> Vec<(&'static str, Vec<u8>)> {
    let words = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
    // One segment of that many words, that begins with the root pointer.
    let table = |length: usize| u64::try_from(length).unwrap() << 32;
    let one_pointer = 1 << 48;
    let mut deep = vec![table(7_000)];
    deep.resize(7_001, one_pointer);
    let tags = |pointer: u64| words(&[table(3), one_pointer | (1 << 32), 0xffff, pointer]);
    vec![
        ("countless segments", vec![0xff; 64]),
        ("a segment of 60 MiB", words(&[table(60 << 17), one_pointer, 0, 0])),
        ("a segment of 32 GiB", words(&[table(u32::MAX as usize), one_pointer, 0, 0])),
        ("a pointer to itself", words(&[table(1), one_pointer | 0xffff_fffc])),
        ("pointers of pointers", words(&deep)),
        ("a list of 2^29 nothings", tags(1 | (0x1fff_ffff << 35))),
        ("a list beyond the end", tags(1 | (7 << 32) | (1_000 << 35))),
        ("a far pointer to nowhere", words(&[table(1), 2 | (77 << 3) | (5 << 32)])),
        ("nothing", vec![0; 8]),
    ]
}

/// So many new keys that say hello and go: a herd after a restart looks like that.
pub(crate) async fn come_and_go(port: Port, times: usize) {
    for _ in 0..times / 20 {
        let some = (0..20).map(async |_| {
            let new = ChannelIdentity::new(&Identity::random(&mut SystemRng));
            // Only some ports let everybody in.
            assert_eq!(open(&port, &new).await.is_ok(), port.open, "{}", port.name);
        });
        join_all(some).await;
    }
}

/// Whoever names circuits that do not exist is ended, or told that they are closed, and gets none
/// of anybody else.
pub(crate) async fn invented_circuits(port: Port, times: usize) {
    if port.purpose != Purpose::Relay {
        return;
    }
    let guesses = (0..times).map(async |_| {
        // The same key every time, over connections at the same time.
        let Ok((mut sender, receiver)) = open(&port, &port.known).await else { return };
        let circuit = CircuitId(2);
        for message in [
            ClientToRelay::Window { circuit, bytes: u32::MAX },
            ClientToRelay::Data { circuit, bytes: vec![7; 1_000] },
            ClientToRelay::Accept { circuit },
        ] {
            let _ = sender.send(&ClientToRelay::encode(&Packet::Message(message))).await;
        }
        let _ = sender.flush().await;
        ended(&port, "a circuit that does not exist", receiver).await;
    });
    join_all(guesses).await;
}

/// One key opens circuits to a node that is online, and to some that are not, and never says a word
/// on them.
pub(crate) async fn circuits(port: Port, times: usize) {
    if port.purpose != Purpose::Relay {
        return;
    }
    let (mut sender, mut receiver) = stranger(&port).await;
    let asks = async {
        for i in 0..u32::try_from(times).unwrap() {
            let nobody = || Identity::random(&mut SystemRng).public_key();
            let destination = if i.is_multiple_of(2) { port.node } else { nobody() };
            let message = ClientToRelay::Connect { circuit: CircuitId(i * 2 + 1), destination };
            if sender.send(&ClientToRelay::encode(&Packet::Message(message))).await.is_err() {
                return;
            }
        }
        let _ = sender.flush().await;
    };
    let reads = async { while receiver.recv().await.is_ok() {} };
    // It is told of each, until it has asked too much.
    let all = async { tokio::join!(asks, timeout(Duration::from_secs(3), reads)) };
    assert!(timeout(DEADLINE, all).await.is_ok(), "{}: it is answered or ended", port.name);
}

/// New keys that search for all they are worth.
pub(crate) async fn searches(port: Port, times: usize) {
    if port.purpose != Purpose::IndexClient {
        return;
    }
    let askers = (0..10).map(async |_| {
        let (mut sender, mut receiver) = stranger(&port).await;
        let asks = async {
            for i in 0..u64::try_from(times).unwrap() {
                let query = RouteQuery {
                    currency: "FST".parse().unwrap(),
                    amount: Credits(u128::MAX / 2),
                    source: port.node,
                    destination: port.known.public_key(),
                    exclude: Vec::new(),
                    max_parts: 8,
                };
                let request_id = RouteRequestId(i);
                let message = ClientToIndex::RequestRoutes { request_id, query };
                if sender.send(&ClientToIndex::encode(&Packet::Message(message))).await.is_err() {
                    return;
                }
            }
            let _ = sender.flush().await;
        };
        let reads = async {
            let mut answers = 0;
            while answers < times && receiver.recv().await.is_ok() {
                answers += 1;
            }
        };
        let all = async { tokio::join!(asks, reads) };
        assert!(timeout(DEADLINE, all).await.is_ok(), "{}: each is answered", port.name);
    });
    join_all(askers).await;
}

async fn stranger(port: &Port) -> (FrameSender, FrameReceiver) {
    open(port, &ChannelIdentity::new(&Identity::random(&mut SystemRng))).await.unwrap()
}

async fn ended(port: &Port, what: &str, mut receiver: FrameReceiver) {
    let ended = async { while receiver.recv().await.is_ok() {} };
    let in_time = timeout(DEADLINE, ended).await.is_ok();
    assert!(in_time, "{}: {what} ends the session", port.name);
}
