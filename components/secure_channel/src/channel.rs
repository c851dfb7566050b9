//! Making channels.

use std::{fmt, future::Future, io, time::Duration};

use offset_crypto::{PublicKey, SystemRng};
use offset_proto::session::Purpose;
use rustls::{
    CommonState,
    pki_types::{IpAddr, Ipv4Addr, ServerName},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::{Instant, timeout_at},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::{
    ChannelIdentity, Error, FrameReceiver, FrameSender, Framing, KNOCK_BYTES, ahead::Ahead,
    knock::Knocker, verify::key_of,
};

/// What a channel can run over: a TCP connection, a relay circuit, a pipe in memory.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> ByteStream for S {}

/// The TLS stream inside a channel.
pub(crate) type Stream = TlsStream<Ahead>;

/// 32 bytes that only the two ends of a channel know and that no other channel has (TLS exporter
/// `EXPORTER-offset-v1`): for binding things to this channel, and for logs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId([u8; 32]);

impl SessionId {
    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The first 4 bytes, as in logs.
impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "{:08x}", u32::from_be_bytes([a, b, c, d]))
    }
}

/// An open channel: both keys are proven, nothing was exchanged yet.
pub struct Channel {
    stream: Stream,
    peer: PublicKey,
    purpose: Purpose,
    session_id: SessionId,
}

impl Channel {
    /// The key that the other side proved.
    #[must_use]
    pub const fn peer(&self) -> PublicKey {
        self.peer
    }

    /// What the channel is for.
    #[must_use]
    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The channel's own id, the same on both sides.
    #[must_use]
    pub const fn session_id(&self) -> SessionId {
        self.session_id
    }

    /// The two halves. The stream lives as long as one of them.
    #[must_use]
    pub fn split(mut self) -> (FrameSender, FrameReceiver) {
        self.stream.get_mut().0.begin();
        let framing = Framing::new(self.purpose);
        let (read, write) = tokio::io::split(self.stream);
        (FrameSender::new(write, framing), FrameReceiver::new(read, framing))
    }

    /// Checks what TLS agreed on and wraps it.
    fn of(
        stream: Stream,
        purpose: Purpose,
        session_id: Result<[u8; 32], rustls::Error>,
    ) -> Result<Self, Error> {
        let state: &CommonState = stream.get_ref().1;
        if state.alpn_protocol() != Some(purpose.alpn()) {
            return Err(Error::Handshake("the other side did not name the purpose".into()));
        }
        let certificate = state.peer_certificates().and_then(<[_]>::first);
        let certificate =
            certificate.ok_or_else(|| Error::Handshake("no key was proven".into()))?;
        let broken = |error: rustls::Error| Error::Handshake(error.to_string());
        let peer = key_of(certificate).map_err(broken)?;
        let session_id = SessionId(session_id.map_err(broken)?);
        Ok(Self { stream, peer, purpose, session_id })
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, purpose, session_id, .. } = self;
        write!(f, "Channel({purpose:?} with {peer:?}, session {session_id:?})")
    }
}

/// Opens a channel as initiator. The own key is shown to nobody who did not prove `expected`.
///
/// That the responder lets this identity in is known only with its first message: until then it may
/// still close.
///
/// # Errors
/// [`Error::WrongKey`], [`Error::Refused`], [`Error::TimedOut`] after 10 s, [`Error::Handshake`],
/// [`Error::CutOff`].
pub async fn connect<S: ByteStream>(
    stream: S,
    identity: &ChannelIdentity,
    expected: PublicKey,
    purpose: Purpose,
) -> Result<Channel, Error> {
    let mut stream = Ahead::new(stream);
    let knock = Knocker::new(&expected).knock(purpose, &mut SystemRng);
    let connector = TlsConnector::from(identity.client_config(expected, purpose));
    let nobody = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([0; 4])));
    let handshake = Box::pin(async move {
        stream.write_all(&knock).await?;
        connector.connect_with(nobody, stream, |tls| tls.set_buffer_limit(TLS_BUFFER)).await
    });
    let stream = within(Instant::now() + HANDSHAKE_TIME, handshake)
        .await?
        .map_err(|error| Error::of_connecting(&error, expected))?;
    let session_id = stream.get_ref().1.export_keying_material([0; 32], EXPORTER, None);
    Channel::of(TlsStream::Client(stream), purpose, session_id)
}

/// Opens a channel as responder, for any of `purposes` and any client that proves a key. Whether
/// that key may use the purpose is for the caller to decide, before anything else.
///
/// # Errors
/// [`Error::Knock`], [`Error::TimedOut`] after 3 s for the knock and 10 s in all,
/// [`Error::Handshake`], [`Error::CutOff`].
pub async fn accept<S: ByteStream>(
    mut stream: S,
    identity: &ChannelIdentity,
    purposes: &[Purpose],
) -> Result<Channel, Error> {
    let start = Instant::now();
    let mut knock = [0; KNOCK_BYTES];
    within(start + KNOCK_TIME, stream.read_exact(&mut knock))
        .await?
        .map_err(|error| Error::of_accepting(&error))?;
    let purpose = identity.doorkeeper().check(&knock, purposes)?;

    // Boxed only now: what waits for a knock must be small.
    let acceptor = TlsAcceptor::from(identity.server_config(purpose));
    let stream = Ahead::new(stream);
    let handshake = Box::pin(async move {
        acceptor.accept_with(stream, |tls| tls.set_buffer_limit(TLS_BUFFER)).await
    });
    let stream = within(start + HANDSHAKE_TIME, handshake)
        .await?
        .map_err(|error| Error::of_accepting(&error))?;
    let session_id = stream.get_ref().1.export_keying_material([0; 32], EXPORTER, None);
    Channel::of(TlsStream::Server(stream), purpose, session_id)
}

async fn within<T>(
    deadline: Instant,
    io: impl Future<Output = io::Result<T>>,
) -> Result<io::Result<T>, Error> {
    timeout_at(deadline, io).await.map_err(|_| Error::TimedOut)
}

const KNOCK_TIME: Duration = Duration::from_secs(3);
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
const TLS_BUFFER: Option<usize> = Some(64 * 1024);
const EXPORTER: &[u8] = b"EXPORTER-offset-v1";

#[cfg(test)]
mod tests {
    use offset_crypto::{Identity, SeededRng};

    use super::*;

    #[tokio::test]
    async fn aes_is_used_where_both_sides_are_fast_at_it() {
        use rustls::CipherSuite::{TLS13_AES_128_GCM_SHA256, TLS13_CHACHA20_POLY1305_SHA256};
        for (mine, yours) in [(false, false), (false, true), (true, false), (true, true)] {
            let identity = |seed, aes| {
                ChannelIdentity::preferring(&Identity::random(&mut SeededRng::new(seed)), aes)
            };
            let (me, you) = (identity(2, mine), identity(1, yours));
            let (client, server) = tokio::io::duplex(64 * 1024);
            let (client, server) = tokio::join!(
                connect(client, &me, you.public_key(), Purpose::App),
                accept(server, &you, &[Purpose::App])
            );
            let client = client.unwrap();
            let used = client.stream.get_ref().1.negotiated_cipher_suite().unwrap().suite();
            let fast = TLS13_AES_128_GCM_SHA256;
            let expected = if mine && yours { fast } else { TLS13_CHACHA20_POLY1305_SHA256 };
            assert_eq!(used, expected, "{mine} {yours}");
            drop(server);
        }
    }

    #[tokio::test]
    async fn what_is_no_channel_is_named_in_words_for_people() {
        let identity = |seed| ChannelIdentity::new(&Identity::random(&mut SeededRng::new(seed)));
        let (me, you) = (identity(2), identity(1));
        let (client, mut server) = tokio::io::duplex(64 * 1024);
        server.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let error = connect(client, &me, you.public_key(), Purpose::App).await.unwrap_err();
        let said = error.to_string();
        assert!(said.contains("does not speak this protocol; check the address"), "{said}");

        let (client, server) = tokio::io::duplex(64 * 1024);
        let (client, server) = tokio::join!(
            connect(client, &me, you.public_key(), Purpose::App),
            accept(server, &you, &[Purpose::App])
        );
        drop(server.unwrap());
        let error = client.unwrap().split().1.recv().await.unwrap_err();
        assert_eq!(error.to_string(), "the connection was cut off: it ended without a goodbye");
    }

    #[tokio::test]
    async fn keys_can_be_renewed_while_talking() {
        let identity = |seed| ChannelIdentity::new(&Identity::random(&mut SeededRng::new(seed)));
        let (me, you) = (identity(2), identity(1));
        let (client, server) = tokio::io::duplex(64 * 1024);
        let (client, server) = tokio::join!(
            connect(client, &me, you.public_key(), Purpose::App),
            accept(server, &you, &[Purpose::App])
        );
        let (mut client, server) = (client.unwrap(), server.unwrap());
        let TlsStream::Client(tls) = &mut client.stream else { panic!("an initiator") };
        tls.get_mut().1.refresh_traffic_keys().unwrap();
        let (mut client_out, mut client_in) = client.split();
        let (mut server_out, mut server_in) = server.split();
        for _ in 0..3 {
            client_out.send(b"question").await.unwrap();
            assert_eq!(server_in.recv().await.unwrap(), &b"question"[..]);
            server_out.send(b"answer").await.unwrap();
            assert_eq!(client_in.recv().await.unwrap(), &b"answer"[..]);
        }
    }
}
