//! Sessions over pipes in memory, as over relay circuits, with the clock paused: hello, keepalive,
//! queues, and peers that misbehave.

use std::time::Duration;

use offset_net::{Error, NetConfig, SendError, accept_over, connect_over};
use offset_proto::{
    Text,
    session::{Control, Hello, PROTOCOL_VERSION, Packet, Purpose, Wire},
};
use offset_secure_channel::{FrameReceiver, FrameSender, accept};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    time::{Instant, sleep},
};

use crate::support::{Letter, Note, NoteConnection, identity};

#[tokio::test(start_paused = true)]
async fn features_are_those_of_both() {
    let features = |names: &[&str]| NetConfig {
        features: names.iter().map(|name| name.parse().unwrap()).collect(),
        ..NetConfig::default()
    };
    let (ours, theirs) = over_pipe(&features(&["b", "c", "a"]), &features(&["d", "c", "b"])).await;
    let both: Vec<Text> = vec!["b".parse().unwrap(), "c".parse().unwrap()];
    assert_eq!(ours.features(), both);
    assert_eq!(theirs.features(), both);
    assert_eq!(ours.remote_address(), None);
}

#[tokio::test(start_paused = true)]
async fn unknown_clients_and_wrong_servers_over_circuits() {
    let (me, you, config) = (identity(2), identity(1), NetConfig::default());
    let (client, server) = pipe();
    let (client, server) = tokio::join!(
        connect_over::<Letter, Letter>(client, &me, you.public_key(), &config),
        accept_over::<Letter, Letter>(server, &you, &config, |key| *key
            == identity(9).public_key())
    );
    assert!(matches!(client, Err(Error::Refused)), "{client:?}");
    assert!(matches!(server, Err(Error::Refused)), "{server:?}");
}

#[tokio::test(start_paused = true)]
async fn hellos_that_are_answered_with_goodbye() {
    let hello = |protocol_version, purpose| {
        let hello = Hello { protocol_version, purpose, features: Vec::new() };
        Note::encode(&Packet::Control(Control::Hello(hello)))
    };
    let cases = [
        (hello(PROTOCOL_VERSION + 1, Purpose::Relay), "version 2"),
        (hello(PROTOCOL_VERSION, Purpose::App), "App"),
        (vec![0, 99, 0, 0, 0, 1], "not a test message"),
        (vec![1], "not hello"),
        (Note::encode(&Packet::Message(Note(1, Vec::new()))), "not hello"),
    ];
    for (first, expected) in cases {
        let (result, said) = meet_raw(&first).await;
        let Err(Error::Protocol(reason)) = result else { panic!("{result:?}") };
        assert!(reason.contains(expected), "{reason}");
        let Some(Control::Bye(bye)) = said else { panic!("{said:?}") };
        assert!(bye.reason.as_str().contains(expected), "{bye:?}");
    }
    let (result, said) = meet_raw(&[2, b'n', b'o']).await;
    assert!(matches!(result, Err(Error::Bye(reason)) if reason.as_str() == "no"));
    assert_eq!(said, None);
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_gets_no_session() {
    let (ours, _raw) = raw_peer(None).await;
    let result = ours;
    assert!(matches!(result, Err(Error::TimedOut(_))), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn pings_keep_an_idle_session() {
    let (mut ours, mut theirs) = over_pipe(&NetConfig::default(), &NetConfig::default()).await;
    let start = Instant::now();
    let sender = theirs.sender();
    tokio::select! {
        result = ours.recv() => assert_eq!(result.unwrap(), Note(1, Vec::new())),
        result = theirs.recv() => panic!("{result:?}"),
        () = async {
            sleep(Duration::from_hours(1)).await;
            sender.try_send(Note(1, Vec::new())).unwrap();
            sleep(Duration::from_hours(1)).await;
        } => panic!("nothing came"),
    }
    assert!(Duration::from_hours(1) <= start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_dead_peer_is_noticed_after_the_idle_timeout() {
    let (ours, raw) = raw_peer(Some(&good_hello())).await;
    let mut ours = ours.unwrap();
    let start = Instant::now();
    let result = ours.recv().await;
    assert!(matches!(result, Err(Error::TimedOut(_))), "{result:?}");
    assert_eq!(start.elapsed().as_secs(), 30);
    assert_eq!(ours.try_send(Note(1, Vec::new())), Err(SendError::Closed));
    drop(raw);
}

#[tokio::test(start_paused = true)]
async fn part_of_a_long_message_is_a_sign_of_life() {
    let (ours, raw) = raw_peer(Some(&good_hello())).await;
    let mut ours = ours.unwrap();
    let (mut out, _raw_in) = raw;
    let mut framed = Vec::new();
    let note = Note(7, vec![7; 1000]);
    out.framing().append(&Note::encode(&Packet::Message(note.clone())), &mut framed).unwrap();
    let slowly = async {
        for piece in framed.chunks(100) {
            sleep(Duration::from_secs(20)).await;
            out.write_framed(piece).await.unwrap();
            out.flush().await.unwrap();
        }
    };
    let (received, ()) = tokio::join!(ours.recv(), slowly);
    assert_eq!(received.unwrap(), note);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_breaks_the_protocol_is_told() {
    for bytes in [vec![99], vec![3, 0], good_hello()] {
        let (ours, raw) = raw_peer(Some(&good_hello())).await;
        let mut ours = ours.unwrap();
        let (mut out, mut raw_in) = raw;
        out.send(&bytes).await.unwrap();
        let result = ours.recv().await;
        assert!(matches!(result, Err(Error::Protocol(_))), "{result:?}");
        let said = raw_in.recv().await.unwrap();
        assert!(matches!(Note::decode(&said), Ok(Packet::Control(Control::Bye(_)))), "{said:?}");
        assert!(raw_in.recv().await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_is_said_and_waited_for() {
    let config = NetConfig { queue_bytes: 10_000, ..NetConfig::default() };
    let (ours, mut theirs) = over_pipe(&config, &config).await;
    let mut queued = 0;
    let refused = loop {
        // Nothing is awaited, so nothing is written.
        match ours.try_send(Note(queued, vec![0; 995])) {
            Ok(()) => queued += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((queued, refused), (9, SendError::Full));
    let sending = async {
        for number in queued..100 {
            ours.send(Note(number, vec![0; 995])).await.unwrap();
        }
    };
    let receiving = async {
        for number in 0..100 {
            assert_eq!(theirs.recv().await.unwrap().0, number);
        }
    };
    tokio::join!(sending, receiving);
    // One message fits whatever the limit, but not one that no frame holds.
    ours.try_send(Note(0, vec![0; 60_000])).unwrap();
    assert_eq!(ours.send(Note(0, vec![0; 70_000])).await, Err(SendError::TooLong));

    let config = NetConfig { queue_messages: 3, ..NetConfig::default() };
    let (ours, _theirs) = over_pipe(&config, &config).await;
    let sent: Vec<_> = (0..4).map(|number| ours.try_send(Note(number, Vec::new()))).collect();
    assert_eq!(sent, [Ok(()), Ok(()), Ok(()), Err(SendError::Full)]);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_is_given_up() {
    let config = NetConfig::default();
    let (ours, theirs) = over_pipe(&config, &config).await;
    let start = Instant::now();
    for number in 0..20 {
        ours.try_send(Note(number, vec![0; 60_000])).unwrap();
    }
    let (sender, mut receiver) = ours.split();
    let result = receiver.recv().await;
    assert!(matches!(result, Err(Error::TimedOut(_))), "{result:?}");
    assert!(start.elapsed() <= Duration::from_secs(30));
    sender.closed().await;
    assert!(!sender.is_open());
    drop(theirs);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_a_little_cannot_keep_what_is_closed() {
    let (me, you, config) = (identity(2), identity(1), NetConfig::default());
    let ((client, proxy_in), (proxy_out, server)) = (pipe(), pipe());
    let (mut from_client, mut to_client) = tokio::io::split(proxy_in);
    let (mut from_server, mut to_server) = tokio::io::split(proxy_out);
    tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    // The client's line takes 4 KiB every half second: never nothing for as long as the timeout.
    tokio::spawn(async move {
        let mut bytes = vec![0; 4096];
        while let Ok(read @ 1..) = from_server.read(&mut bytes).await {
            if to_client.write_all(&bytes[..read]).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(500)).await;
        }
    });
    let (client, server) = tokio::join!(
        connect_over::<Note, Note>(client, &me, you.public_key(), &config),
        accept_over::<Note, Note>(server, &you, &config, |_| true)
    );
    let (mut client, server) = (client.unwrap(), server.unwrap());
    tokio::spawn(async move { while client.recv().await.is_ok() {} });
    while server.try_send(Note(1, vec![0; 60_000])).is_ok() {}
    sleep(Duration::from_secs(5)).await;
    server.close("reads too slowly");
    let start = Instant::now();
    server.sender().closed().await;
    assert!(start.elapsed() <= 2 * config.write_timeout, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn dropping_everything_closes_in_order() {
    let (ours, mut theirs) = over_pipe(&NetConfig::default(), &NetConfig::default()).await;
    let (sender, receiver) = ours.split();
    let second = sender.clone();
    sender.try_send(Note(1, Vec::new())).unwrap();
    drop((receiver, sender));
    second.try_send(Note(2, Vec::new())).unwrap();
    drop(second);
    assert_eq!(theirs.recv().await.unwrap().0, 1);
    assert_eq!(theirs.recv().await.unwrap().0, 2);
    let result = theirs.recv().await;
    assert!(matches!(result, Err(Error::Closed)), "{result:?}");
    assert_eq!(theirs.try_send(Note(3, Vec::new())), Err(SendError::Closed));
}

#[tokio::test(start_paused = true)]
async fn receiving_can_be_cancelled() {
    let (ours, mut theirs) = over_pipe(&NetConfig::default(), &NetConfig::default()).await;
    let sending = async {
        for number in 0..100 {
            ours.send(Note(number, vec![1; 5000])).await.unwrap();
            sleep(Duration::from_millis(2)).await;
        }
    };
    let receiving = async {
        let mut number = 0;
        while number < 100 {
            tokio::select! {
                biased;
                () = sleep(Duration::from_millis(1)) => {}
                message = theirs.recv() => {
                    assert_eq!(message.unwrap(), Note(number, vec![1; 5000]));
                    number += 1;
                }
            }
        }
    };
    tokio::join!(sending, receiving);
}

/// Two ends of a session.
async fn over_pipe(ours: &NetConfig, theirs: &NetConfig) -> (NoteConnection, NoteConnection) {
    let (me, you) = (identity(2), identity(1));
    let (client, server) = pipe();
    let (client, server) = tokio::join!(
        connect_over(client, &me, you.public_key(), ours),
        accept_over(server, &you, theirs, |_| true)
    );
    (client.unwrap(), server.unwrap())
}

type Raw = (FrameSender, FrameReceiver);

/// Our end, and a peer that said `first` and acts as the test wants.
async fn raw_peer(first: Option<&[u8]>) -> (Result<NoteConnection, Error>, Raw) {
    let (me, you) = (identity(2), identity(1));
    let (client, server) = pipe();
    let config = NetConfig::default();
    let peer = async {
        let (mut out, mut received) =
            accept(server, &you, &[Purpose::Relay]).await.unwrap().split();
        received.recv().await.unwrap();
        if let Some(first) = first {
            out.send(first).await.unwrap();
        }
        (out, received)
    };
    let (ours, raw) = tokio::join!(connect_over(client, &me, you.public_key(), &config), peer);
    (ours, raw)
}

/// What we make of a first message, and what we say to it.
async fn meet_raw(first: &[u8]) -> (Result<NoteConnection, Error>, Option<Control>) {
    let (ours, (_out, mut received)) = raw_peer(Some(first)).await;
    let said = match received.recv().await.ok().map(|frame| Note::decode(&frame).unwrap()) {
        Some(Packet::Control(control)) => Some(control),
        Some(Packet::Message(_)) | None => None,
    };
    (ours, said)
}

fn good_hello() -> Vec<u8> {
    let (protocol_version, purpose) = (PROTOCOL_VERSION, Purpose::Relay);
    let hello = Hello { protocol_version, purpose, features: Vec::new() };
    Note::encode(&Packet::Control(Control::Hello(hello)))
}

fn pipe() -> (DuplexStream, DuplexStream) {
    tokio::io::duplex(64 * 1024)
}
