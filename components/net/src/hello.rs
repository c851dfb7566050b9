//! How a session opens, and how it is refused (protocol, section 2).

use offset_proto::{
    Text,
    session::{Bye, Control, Hello, PROTOCOL_VERSION, Packet, Purpose, Wire},
};
use offset_secure_channel::{self as channel, FrameReceiver, FrameSender};
use tokio::time::timeout;

use crate::{Error, NetConfig};

/// Sends ours, reads theirs; gives the features of both.
pub(crate) async fn exchange_hellos<Out: Wire, In: Wire>(
    frames_out: &mut FrameSender,
    frames_in: &mut FrameReceiver,
    config: &NetConfig,
) -> Result<Vec<Text>, Error> {
    let mut features = config.features.clone();
    features.sort();
    features.dedup();
    let purpose = Out::PURPOSE;
    let hello = Hello { protocol_version: PROTOCOL_VERSION, purpose, features: features.clone() };
    let hello = Out::encode(&Packet::Control(Control::Hello(hello)));
    frames_out.send(&hello).await.map_err(before_hello)?;
    let frame = frames_in.recv().await.map_err(before_hello)?;
    match In::decode(&frame).map_err(|error| Error::Protocol(error.to_string()))? {
        Packet::Control(Control::Hello(theirs)) => {
            check_hello(&theirs, purpose)?;
            features.retain(|feature| theirs.features.contains(feature));
            Ok(features)
        }
        Packet::Control(Control::Bye(bye)) => Err(Error::Bye(bye.reason)),
        Packet::Control(Control::Ping) | Packet::Message(_) => {
            Err(Error::Protocol("the first message is not hello".into()))
        }
    }
}

fn check_hello(hello: &Hello, purpose: Purpose) -> Result<(), Error> {
    let Hello { protocol_version, purpose: named, .. } = hello;
    if *protocol_version != PROTOCOL_VERSION {
        return Err(Error::Protocol(format!(
            "protocol version {protocol_version} is not spoken here, only {PROTOCOL_VERSION}"
        )));
    }
    if *named != purpose {
        return Err(Error::Protocol(format!("hello for {named:?} on a channel for {purpose:?}")));
    }
    Ok(())
}

/// An end before `Hello` is how a responder shows that it does not know our key.
fn before_hello(error: channel::Error) -> Error {
    if matches!(error, channel::Error::Closed | channel::Error::CutOff(_)) {
        Error::Refused
    } else {
        error.into()
    }
}

pub(crate) async fn say_goodbye<Out: Wire>(
    mut frames: FrameSender,
    reason: &str,
    config: &NetConfig,
) {
    let goodbye = async {
        frames.send(&bye::<Out>(reason)).await?;
        frames.close().await
    };
    // Nothing more can be done for a peer that does not take it.
    let _untold = timeout(config.write_timeout, goodbye).await;
}

pub(crate) fn bye<M: Wire>(reason: &str) -> Vec<u8> {
    M::encode(&Packet::Control(Control::Bye(Bye { reason: Text::cut(reason) })))
}
