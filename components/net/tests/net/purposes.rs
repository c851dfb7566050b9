//! The real messages, on one port for several purposes and inside one another.

use std::{net::SocketAddr, sync::Arc};

use offset_net::{Error, Listener, NetConfig, ServeConfig, accept_over, connect_over, dial};
use offset_proto::{
    ServerAddress,
    friend::FriendMessage,
    index::{ClientToIndex, IndexPeerMessage, IndexToClient},
    relay::{CircuitId, ClientToRelay, RelayToClient},
    session::Purpose,
};
use tokio::sync::{mpsc, oneshot};

use crate::support::{identity, soon};

#[tokio::test]
async fn one_port_for_several_purposes() {
    let me = identity(1);
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = ServeConfig::new([Purpose::IndexClient, Purpose::IndexServer]);
    let listener = Listener::bind(any, Arc::clone(&me), config).await.unwrap();
    let address = listener.local_address().unwrap();
    let server = ServerAddress {
        public_key: me.public_key(),
        address: address.to_string().parse().unwrap(),
    };
    let in_use = Listener::bind(address, me, ServeConfig::new([])).await;
    assert!(matches!(in_use, Err(Error::Listen { .. })));

    let (clients, mut client) = mpsc::channel(1);
    let (peers, mut peer) = mpsc::channel(1);
    let trusted = identity(3).public_key();
    let (_stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(listener.serve(
        move |key, purpose| purpose == Purpose::IndexClient || *key == trusted,
        move |incoming| {
            let (clients, peers) = (clients.clone(), peers.clone());
            async move {
                if incoming.purpose() == Purpose::IndexClient {
                    let opened = incoming.open::<IndexToClient, ClientToIndex>().await;
                    clients.send(opened.unwrap()).await.unwrap();
                } else {
                    let opened = incoming.open::<IndexPeerMessage, IndexPeerMessage>().await;
                    peers.send(opened.unwrap()).await.unwrap();
                }
            }
        },
        async move {
            let _never = stopped.await;
        },
    ));

    let (node, other, config) = (identity(2), identity(3), NetConfig::default());
    let mut ours =
        soon(dial::<ClientToIndex, IndexToClient>(&node, &server, &config)).await.unwrap();
    let theirs = soon(client.recv()).await.unwrap();
    let behind = IndexToClient::Behind { epoch: 7, counter: 9 };
    theirs.try_send(behind.clone()).unwrap();
    assert_eq!(soon(ours.recv()).await.unwrap(), behind);

    let stranger = soon(dial::<IndexPeerMessage, IndexPeerMessage>(&node, &server, &config)).await;
    assert!(matches!(stranger, Err(Error::Refused)), "{stranger:?}");
    soon(dial::<IndexPeerMessage, IndexPeerMessage>(&other, &server, &config)).await.unwrap();
    assert_eq!(soon(peer.recv()).await.unwrap().peer(), other.public_key());
}

#[tokio::test(start_paused = true)]
async fn the_largest_data_of_a_circuit_fits_and_friends_talk() {
    let (me, you, config) = (identity(2), identity(1), NetConfig::default());
    let (client, server) = tokio::io::duplex(10_000);
    let (client, server) = tokio::join!(
        connect_over::<ClientToRelay, RelayToClient>(client, &me, you.public_key(), &config),
        accept_over::<RelayToClient, ClientToRelay>(server, &you, &config, |_| true)
    );
    let (client, mut server) = (client.unwrap(), server.unwrap());
    let data = ClientToRelay::Data { circuit: CircuitId(1), bytes: vec![5; 64 * 1024] };
    client.try_send(data.clone()).unwrap();
    assert_eq!(server.recv().await.unwrap(), data);

    let (client, server) = tokio::io::duplex(10_000);
    let (client, server) = tokio::join!(
        connect_over::<FriendMessage, FriendMessage>(client, &me, you.public_key(), &config),
        accept_over::<FriendMessage, FriendMessage>(server, &you, &config, |_| true)
    );
    let wanted = FriendMessage::TokenWanted { counter: 3 };
    client.unwrap().try_send(wanted.clone()).unwrap();
    assert_eq!(server.unwrap().recv().await.unwrap(), wanted);
}
