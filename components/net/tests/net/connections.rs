//! Typed connections over real sockets: dialling, sessions, queues, closing.

use offset_net::{Error, NetConfig, SendError, dial};

use crate::support::{Letter, Note, identity, notes_server, pair, soon};

#[tokio::test]
async fn messages_both_ways_and_goodbye() {
    let mut server = notes_server().await;
    let (mut ours, mut theirs) = pair(&mut server, &NetConfig::default()).await;
    assert_eq!(ours.peer(), identity(1).public_key());
    assert_eq!(theirs.peer(), identity(2).public_key());
    assert_eq!(ours.session_id(), theirs.session_id());

    for number in 0..1000 {
        ours.try_send(Note(number, vec![7; 100])).unwrap();
        theirs.send(Note(number, Vec::new())).await.unwrap();
    }
    for number in 0..1000 {
        assert_eq!(soon(theirs.recv()).await.unwrap(), Note(number, vec![7; 100]));
        assert_eq!(soon(ours.recv()).await.unwrap(), Note(number, Vec::new()));
    }
    ours.try_send(Note(1, Vec::new())).unwrap();
    ours.close("enough");
    assert_eq!(ours.try_send(Note(2, Vec::new())), Err(SendError::Closed));
    assert_eq!(soon(theirs.recv()).await.unwrap().0, 1);
    assert!(
        matches!(soon(theirs.recv()).await, Err(Error::Bye(reason)) if reason.as_str() == "enough")
    );
    assert!(matches!(soon(ours.recv()).await, Err(Error::Closed)));
    assert!(matches!(soon(theirs.recv()).await, Err(Error::Closed)));
    soon(ours.sender().closed()).await;
}

#[tokio::test]
async fn what_dialling_can_meet() {
    let server = notes_server().await;
    let config = NetConfig::default();
    let dialled = soon(dial::<Note, Note>(&identity(66), &server.address, &config)).await;
    assert!(matches!(dialled, Err(Error::Refused)), "{dialled:?}");
    let dialled = soon(dial::<Letter, Letter>(&identity(2), &server.address, &config)).await;
    assert!(matches!(dialled, Err(Error::Refused)), "{dialled:?}");

    let mut wrong = server.address.clone();
    wrong.public_key = identity(3).public_key();
    let dialled = soon(dial::<Note, Note>(&identity(2), &wrong, &config)).await;
    assert!(matches!(dialled, Err(Error::Refused)), "{dialled:?}");

    let mut nowhere = server.address.clone();
    nowhere.address = "no..host:1".parse().unwrap();
    let dialled = soon(dial::<Note, Note>(&identity(2), &nowhere, &config)).await;
    assert!(matches!(dialled, Err(Error::Resolve { .. })), "{dialled:?}");

    let mut nobody = server.address.clone();
    nobody.address = "127.0.0.1:1".parse().unwrap();
    let dialled = soon(dial::<Note, Note>(&identity(2), &nobody, &config)).await;
    assert!(matches!(dialled, Err(Error::Connect { .. })), "{dialled:?}");
}

#[tokio::test]
async fn shutdown_frees_the_port_and_leaves_connections_alone() {
    let mut server = notes_server().await;
    let (ours, mut theirs) = pair(&mut server, &NetConfig::default()).await;
    server.stop.send(()).unwrap();
    soon(server.task).await.unwrap();
    ours.try_send(Note(5, Vec::new())).unwrap();
    assert_eq!(soon(theirs.recv()).await.unwrap().0, 5);
    let dialled =
        soon(dial::<Note, Note>(&identity(2), &server.address, &NetConfig::default())).await;
    assert!(matches!(dialled, Err(Error::Connect { .. })), "{dialled:?}");
}
