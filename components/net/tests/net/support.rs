//! What the tests of this crate share: a message type of their own and a listener to talk to.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use offset_crypto::{Identity, SeededRng};
use offset_net::{Connection, Listener, NetConfig, ServeConfig};
use offset_proto::{
    ServerAddress, Text,
    session::{Bye, Control, DecodeError, Hello, Packet, Purpose, Wire},
};
use offset_secure_channel::ChannelIdentity;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

/// A message of the relay's purpose: a number and filling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note(pub(crate) u32, pub(crate) Vec<u8>);

/// The same for the purpose of friends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter(pub(crate) u32);

impl Wire for Note {
    const PURPOSE: Purpose = Purpose::Relay;

    fn encode(packet: &Packet<Self>) -> Vec<u8> {
        encode(packet, |Self(number, filling)| [&number.to_be_bytes()[..], filling].concat())
    }

    fn decode(bytes: &[u8]) -> Result<Packet<Self>, DecodeError> {
        decode(bytes, |number, filling| Self(number, filling.to_vec()))
    }

    fn text(bytes: &[u8]) -> Result<String, DecodeError> {
        Self::decode(bytes).map(|packet| format!("{packet:?}"))
    }
}

impl Wire for Letter {
    const PURPOSE: Purpose = Purpose::Friend;

    fn encode(packet: &Packet<Self>) -> Vec<u8> {
        encode(packet, |Self(number)| number.to_be_bytes().to_vec())
    }

    fn decode(bytes: &[u8]) -> Result<Packet<Self>, DecodeError> {
        decode(bytes, |number, _| Self(number))
    }

    fn text(bytes: &[u8]) -> Result<String, DecodeError> {
        Self::decode(bytes).map(|packet| format!("{packet:?}"))
    }
}

fn encode<M>(packet: &Packet<M>, message: impl Fn(&M) -> Vec<u8>) -> Vec<u8> {
    match packet {
        Packet::Control(Control::Hello(hello)) => {
            let mut bytes = vec![0, hello.purpose.number()];
            bytes.extend_from_slice(&hello.protocol_version.to_be_bytes());
            for feature in &hello.features {
                bytes.extend_from_slice(feature.as_str().as_bytes());
                bytes.push(b'\n');
            }
            bytes
        }
        Packet::Control(Control::Ping) => vec![1],
        Packet::Control(Control::Bye(bye)) => [&[2][..], bye.reason.as_str().as_bytes()].concat(),
        Packet::Message(content) => [&[3][..], &message(content)].concat(),
    }
}

fn decode<M>(bytes: &[u8], message: impl Fn(u32, &[u8]) -> M) -> Result<Packet<M>, DecodeError> {
    let malformed = || DecodeError::Malformed("not a test message".into());
    let text = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec()).ok().and_then(|text| Text::try_from(text).ok())
    };
    match bytes {
        [0, purpose, a, b, c, d, features @ ..] => Ok(Packet::Control(Control::Hello(Hello {
            protocol_version: u32::from_be_bytes([*a, *b, *c, *d]),
            purpose: Purpose::from_number(*purpose).ok_or_else(malformed)?,
            features: features
                .split(|byte| *byte == b'\n')
                .filter(|feature| !feature.is_empty())
                .map(|feature| text(feature).ok_or_else(malformed))
                .collect::<Result<_, _>>()?,
        }))),
        [1] => Ok(Packet::Control(Control::Ping)),
        [2, reason @ ..] => {
            Ok(Packet::Control(Control::Bye(Bye { reason: text(reason).ok_or_else(malformed)? })))
        }
        [3, a, b, c, d, filling @ ..] => {
            Ok(Packet::Message(message(u32::from_be_bytes([*a, *b, *c, *d]), filling)))
        }
        _ => Err(malformed()),
    }
}

pub(crate) type NoteConnection = Connection<Note, Note>;

pub(crate) fn identity(seed: u64) -> Arc<ChannelIdentity> {
    Arc::new(ChannelIdentity::new(&Identity::random(&mut SeededRng::new(seed))))
}

/// A running listener of identity 1 that lets in everybody but identity 66.
pub(crate) struct Server {
    pub(crate) address: ServerAddress,
    pub(crate) accepted: mpsc::Receiver<NoteConnection>,
    pub(crate) stop: tokio::sync::oneshot::Sender<()>,
    pub(crate) task: JoinHandle<()>,
}

pub(crate) async fn server(config: ServeConfig) -> Server {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let me = identity(1);
    let public_key = me.public_key();
    let listener = Listener::bind(any, me, config).await.unwrap();
    let address = listener.local_address().unwrap().to_string().parse().unwrap();
    let (accept, accepted) = mpsc::channel(1000);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let denied = identity(66).public_key();
    let task = tokio::spawn(listener.serve(
        move |key, _purpose| *key != denied,
        move |incoming| {
            let accept = accept.clone();
            async move {
                if let Ok(connection) = incoming.open().await {
                    let _test_over = accept.send(connection).await;
                }
            }
        },
        async move {
            let _ = stopped.await;
        },
    ));
    Server { address: ServerAddress { public_key, address }, accepted, stop, task }
}

pub(crate) async fn notes_server() -> Server {
    server(ServeConfig::new([Purpose::Relay])).await
}

pub(crate) async fn pair(
    server: &mut Server,
    config: &NetConfig,
) -> (NoteConnection, NoteConnection) {
    let me = identity(2);
    let ours = soon(offset_net::dial::<Note, Note>(&me, &server.address, config));
    let (ours, theirs) = tokio::join!(ours, soon(server.accepted.recv()));
    (ours.unwrap(), theirs.unwrap())
}

/// No wait of a test is longer than this.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future).await.expect("done in time")
}
