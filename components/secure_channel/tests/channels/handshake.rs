//! Who gets a channel to whom, and what tampering does. The clock is paused, so that waiting for a
//! deadline takes no time.

use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};

use offset_proto::session::Purpose;
use offset_secure_channel::{Channel, Error, accept, connect};
use tokio::time::timeout;

use crate::pipe::{Tamper, Tampered, identity, meet, pipe};

#[tokio::test(start_paused = true)]
async fn both_ends_agree_on_keys_purpose_and_session() {
    let mut sessions = BTreeSet::new();
    for purpose in Purpose::ALL {
        let (client, server) = pipe();
        let (client, server) = meet(client, server, purpose).await;
        let (client, server) = (client.unwrap(), server.unwrap());
        assert_eq!(client.peer(), identity(1).public_key());
        assert_eq!(server.peer(), identity(2).public_key());
        assert_eq!((client.purpose(), server.purpose()), (purpose, purpose));
        assert_eq!(client.session_id(), server.session_id());
        sessions.insert(client.session_id());
        say_hello(client, server).await.unwrap();
    }
    assert_eq!(sessions.len(), Purpose::ALL.len());
}

#[tokio::test(start_paused = true)]
async fn every_purpose_against_every_other() {
    let (me, you) = (identity(2), identity(1));
    for asked in Purpose::ALL {
        for served in Purpose::ALL {
            let (client, server) = pipe();
            let served_only = [served];
            let (client, server) = tokio::join!(
                connect(client, &me, you.public_key(), asked),
                accept(server, &you, &served_only)
            );
            if asked == served {
                assert_eq!(server.unwrap().purpose(), client.unwrap().purpose());
            } else {
                assert!(matches!(client, Err(Error::Refused)), "{asked:?} {served:?} {client:?}");
                assert!(matches!(server, Err(Error::Knock)), "{asked:?} {served:?} {server:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn another_servers_key_is_refused() {
    let (me, you, other) = (identity(2), identity(1), identity(3));
    let (client, server) = pipe();
    let (client, server) = tokio::join!(
        connect(client, &me, other.public_key(), Purpose::Relay),
        accept(server, &you, &Purpose::ALL)
    );
    assert!(matches!(client, Err(Error::Refused)), "{client:?}");
    assert!(matches!(server, Err(Error::Knock)), "{server:?}");
}

#[tokio::test(start_paused = true)]
async fn one_byte_at_a_time() {
    for direction in [(Some(1), None), (None, Some(1)), (Some(1), Some(1))] {
        let (client, server) = pipe();
        let tamper = |at_once| Tamper { at_once, ..Tamper::default() };
        let client = Tampered::new(client, tamper(direction.0), tamper(direction.1));
        let (client, server) = meet(client, server, Purpose::Friend).await;
        say_hello(client.unwrap(), server.unwrap()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn every_byte_changed() {
    let (to_client, to_server) = undisturbed().await;
    for place in 0..to_client {
        tampered(Tamper { flip: Some(place), ..Tamper::default() }, Tamper::default()).await;
    }
    for place in 0..to_server {
        tampered(Tamper::default(), Tamper { flip: Some(place), ..Tamper::default() }).await;
    }
}

#[tokio::test(start_paused = true)]
async fn cut_at_every_length() {
    let (to_client, to_server) = undisturbed().await;
    for place in 0..to_client {
        tampered(Tamper { cut: Some(place), ..Tamper::default() }, Tamper::default()).await;
    }
    for place in 0..to_server {
        tampered(Tamper::default(), Tamper { cut: Some(place), ..Tamper::default() }).await;
    }
}

/// How many bytes a handshake and a short talk have in each direction.
async fn undisturbed() -> (usize, usize) {
    let (client, server) = pipe();
    let client = Tampered::new(client, Tamper::default(), Tamper::default());
    let (read, written) = (client.read.clone(), client.written.clone());
    let (client, server) = meet(client, server, Purpose::Relay).await;
    say_hello(client.unwrap(), server.unwrap()).await.unwrap();
    (read.load(Ordering::Relaxed), written.load(Ordering::Relaxed))
}

/// Whatever was done to the bytes, no end accepts what the other did not say.
async fn tampered(reading: Tamper, writing: Tamper) {
    let (client, server) = pipe();
    let client = Tampered::new(client, reading, writing);
    let (client, server) = meet(client, server, Purpose::Relay).await;
    let what = format!("{reading:?} {writing:?} {client:?} {server:?}");
    // The initiator is done first: only the responder's word means that both are.
    match (client, server) {
        (Ok(client), Ok(server)) => {
            assert_eq!(client.session_id(), server.session_id(), "{what}");
            // A changed length makes the receiver wait for bytes that never come.
            let talk = timeout(Duration::from_secs(60), say_hello(client, server)).await;
            let understood = matches!(talk, Ok(Ok(())));
            assert!(!understood || reading.cut.is_none(), "{what}");
            assert!(!understood || writing.cut.is_none(), "{what}");
        }
        (Ok(_) | Err(_), Err(_)) => {}
        (Err(_), Ok(_)) => panic!("the responder alone believes in a channel: {what}"),
    }
}

/// A message each way; what arrives must be what was sent.
async fn say_hello(client: Channel, server: Channel) -> Result<(), Error> {
    let (mut client_out, mut client_in) = client.split();
    let (mut server_out, mut server_in) = server.split();
    client_out.send(b"hello").await?;
    assert_eq!(server_in.recv().await?, &b"hello"[..]);
    server_out.send(b"good day").await?;
    assert_eq!(client_in.recv().await?, &b"good day"[..]);
    Ok(())
}
