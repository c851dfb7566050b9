//! A pipe in memory whose bytes a test can count, change, cut and slow down, and identities.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use offset_crypto::{Identity, PublicKey, SeededRng};
use offset_proto::session::Purpose;
use offset_secure_channel::{Channel, ChannelIdentity, Error, accept, connect};
use ring::{digest, hmac};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

pub(crate) fn identity(seed: u64) -> ChannelIdentity {
    ChannelIdentity::new(&Identity::random(&mut SeededRng::new(seed)))
}

pub(crate) fn pipe() -> (DuplexStream, DuplexStream) {
    tokio::io::duplex(64 * 1024)
}

/// Identity 2 connects to identity 1.
pub(crate) async fn meet(
    client: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    server: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    purpose: Purpose,
) -> (Result<Channel, Error>, Result<Channel, Error>) {
    let (me, you) = (identity(2), identity(1));
    tokio::join!(
        connect(client, &me, you.public_key(), purpose),
        accept(server, &you, &Purpose::ALL)
    )
}

/// Two ends of a channel.
pub(crate) async fn channels(purpose: Purpose) -> (Channel, Channel) {
    let (client, server) = pipe();
    let (client, server) = meet(client, server, purpose).await;
    (client.unwrap(), server.unwrap())
}

/// A knock, made from the specification and not by the code under test.
pub(crate) fn knock(responder: &PublicKey, purpose: u8, nonce: [u8; 32]) -> Vec<u8> {
    let secret = [b"offset-knock-v1\0", &responder.as_bytes()[..]].concat();
    let secret = digest::digest(&digest::SHA256, &secret);
    let mut knock = [b"OFST\x01", &[purpose, 0, 0][..], &nonce].concat();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref());
    let tag = hmac::sign(&key, &knock);
    knock.extend_from_slice(tag.as_ref());
    knock
}

/// What happens to the bytes of one direction.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tamper {
    /// The byte at this place is changed.
    pub(crate) flip: Option<usize>,
    /// The stream ends here.
    pub(crate) cut: Option<usize>,
    /// So many bytes at once.
    pub(crate) at_once: Option<usize>,
}

/// A stream that tampers with what is read from it and what is written to it, and counts both.
pub(crate) struct Tampered {
    pub(crate) inner: DuplexStream,
    pub(crate) reading: Tamper,
    pub(crate) writing: Tamper,
    pub(crate) read: Arc<AtomicUsize>,
    pub(crate) written: Arc<AtomicUsize>,
}

impl Tampered {
    pub(crate) fn new(inner: DuplexStream, reading: Tamper, writing: Tamper) -> Self {
        Self { inner, reading, writing, read: Arc::default(), written: Arc::default() }
    }
}

impl Tamper {
    /// How many of `bytes` pass from `position` on.
    fn pass(&self, position: usize, bytes: usize) -> usize {
        let before_cut = self.cut.map_or(usize::MAX, |cut| cut.saturating_sub(position));
        bytes.min(before_cut).min(self.at_once.unwrap_or(usize::MAX))
    }

    fn change(&self, position: usize, bytes: &mut [u8]) {
        if let Some(place) = self.flip.and_then(|flip| flip.checked_sub(position))
            && let Some(byte) = bytes.get_mut(place)
        {
            *byte ^= 0x41;
        }
    }
}

impl AsyncRead for Tampered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let position = self.read.load(Ordering::Relaxed);
        let pass = self.reading.pass(position, buf.remaining());
        let mut space = vec![0; pass];
        let mut passed = ReadBuf::new(&mut space);
        if pass == 0 {
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut passed))?;
        self.reading.change(position, passed.filled_mut());
        buf.put_slice(passed.filled());
        self.read.fetch_add(passed.filled().len(), Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tampered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let position = self.written.load(Ordering::Relaxed);
        let pass = self.writing.pass(position, bytes.len());
        if pass == 0 && !bytes.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut changed = bytes[..pass].to_vec();
        self.writing.change(position, &mut changed);
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &changed))?;
        self.written.fetch_add(written, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
