//! What can go wrong with a channel.

use std::io;

use offset_crypto::PublicKey;

/// Why there is no channel, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The handshake took longer than it may.
    #[error("the other side did not complete the handshake in time")]
    TimedOut,
    /// The server proved another key than the one asked for, or none.
    #[error(
        "the server is not the one that was expected: it did not prove the key {expected}; check \
         the address and the key"
    )]
    WrongKey {
        /// The key that was asked for.
        expected: PublicKey,
    },
    /// The responder closed during the handshake.
    #[error(
        "the server closed the connection during the handshake: it may have another key, or not \
         serve this purpose"
    )]
    Refused,
    /// What came in is no knock for this key and a served purpose, or one that was used before.
    #[error("a stranger: the knock is not for this key and purpose, or was used before")]
    Knock,
    /// TLS failed; the peer speaks another dialect, or somebody changed bytes on the way.
    #[error("the handshake failed: {0}")]
    Handshake(String),
    /// The peer broke the rules of frames.
    #[error("the other side broke the protocol: {0}")]
    Frame(String),
    /// A message of our own is longer than its purpose allows.
    #[error("a message of {bytes} bytes is longer than the {limit} bytes that its purpose allows")]
    MessageTooLong {
        /// The message's length.
        bytes: usize,
        /// The most that fits.
        limit: usize,
    },
    /// The peer closed the channel in order.
    #[error("the other side closed the connection")]
    Closed,
    /// The stream ended, failed or was tampered with while the channel stood.
    #[error("the connection was cut off: {0}")]
    CutOff(String),
}

impl Error {
    /// What an error of the stream means once the channel stands.
    pub(crate) fn of_stream(error: &io::Error) -> Self {
        Self::CutOff(plain(error))
    }

    /// What an error of the stream means to an initiator in the handshake.
    pub(crate) fn of_connecting(error: &io::Error, expected: PublicKey) -> Self {
        match tls_error(error) {
            Some(rustls::Error::InvalidCertificate(_)) => Self::WrongKey { expected },
            Some(tls) => Self::Handshake(plain_tls(tls).to_owned()),
            None if is_hang_up(error) => Self::Refused,
            None => Self::CutOff(plain(error)),
        }
    }

    /// What an error of the stream means to a responder in the handshake.
    pub(crate) fn of_accepting(error: &io::Error) -> Self {
        match tls_error(error) {
            Some(tls) => Self::Handshake(plain_tls(tls).to_owned()),
            None => Self::CutOff(plain(error)),
        }
    }
}

/// An error of the stream in words for people; what the library says of it is for the log.
fn plain(error: &io::Error) -> String {
    match tls_error(error) {
        Some(tls) => plain_tls(tls).to_owned(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "it ended without a goodbye".into(),
        None => error.to_string(),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library adds to its errors")]
fn plain_tls(error: &rustls::Error) -> &'static str {
    log::debug!("TLS: {error}");
    match error {
        rustls::Error::InvalidMessage(_)
        | rustls::Error::InappropriateMessage { .. }
        | rustls::Error::InappropriateHandshakeMessage { .. } => {
            "the other side does not speak this protocol; check the address"
        }
        rustls::Error::AlertReceived(_) => "the other side gave up",
        rustls::Error::NoApplicationProtocol => "the other side does not serve this",
        rustls::Error::DecryptError => "what came was changed on its way",
        _ => "the other side does not keep to TLS",
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

fn is_hang_up(error: &io::Error) -> bool {
    [
        io::ErrorKind::UnexpectedEof,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::BrokenPipe,
    ]
    .contains(&error.kind())
}
