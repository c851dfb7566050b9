//! Reading ahead. TLS reads 4 KiB at a time; from a socket each of these reads would be a call of the
//! system. Here one call takes what has arrived, and TLS is served from that.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::ByteStream;

/// A stream under TLS. Until [`Ahead::begin`] it passes every read on, so that it holds nothing for a
/// stranger; from then on it holds at most [`READ_BYTES`], and no memory when nothing waits.
pub(crate) struct Ahead {
    stream: Box<dyn ByteStream>,
    begun: bool,
    /// What was read; that from `taken` on waits.
    waiting: Vec<u8>,
    taken: usize,
}

impl Ahead {
    /// Around a stream.
    pub(crate) fn new(stream: impl ByteStream) -> Self {
        Self { stream: Box::new(stream), begun: false, waiting: Vec::new(), taken: 0 }
    }

    /// Reads ahead from now on.
    pub(crate) const fn begin(&mut self) {
        self.begun = true;
    }

    /// Gives what waits, as much as there is place for.
    fn serve(&mut self, out: &mut ReadBuf<'_>) {
        let waiting = &self.waiting[self.taken..];
        let now = &waiting[..waiting.len().min(out.remaining())];
        out.put_slice(now);
        self.taken += now.len();
        if self.taken == self.waiting.len() {
            (self.waiting, self.taken) = (Vec::new(), 0);
        }
    }
}

impl AsyncRead for Ahead {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.waiting.is_empty() {
            self.serve(out);
            return Poll::Ready(Ok(()));
        }
        if !self.begun || READ_BYTES <= out.remaining() {
            return Pin::new(&mut self.stream).poll_read(cx, out);
        }
        // On the stack, so that one who waits owns no buffer.
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        let mut arrived = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut arrived))?;
        let arrived = arrived.filled();
        let (now, later) = arrived.split_at(arrived.len().min(out.remaining()));
        out.put_slice(now);
        self.waiting = later.to_vec();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Ahead {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// As much as waits at most: two of the longest records of TLS.
const READ_BYTES: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn what_arrives_is_served_in_order_and_nothing_is_held_afterwards() {
        let (mut far, near) = tokio::io::duplex(256 * 1024);
        let mut ahead = Ahead::new(near);
        let sent: Vec<u8> = (0..200_000_u32).map(|n| n.to_be_bytes()[3]).collect();
        far.write_all(&sent).await.unwrap();
        let mut found = vec![0; 4_096];
        ahead.read_exact(&mut found).await.unwrap();
        assert_eq!((ahead.waiting.capacity(), ahead.taken), (0, 0), "not before it begins");
        ahead.begin();
        for size in [1, 4_096, 16 * 1024, 70_000, 3].into_iter().cycle() {
            let mut piece = vec![0; size.min(sent.len() - found.len())];
            ahead.read_exact(&mut piece).await.unwrap();
            found.extend(piece);
            assert!(ahead.waiting.len() < READ_BYTES);
            if found.len() == sent.len() {
                break;
            }
        }
        assert!(found == sent);
        assert_eq!((ahead.waiting.capacity(), ahead.taken), (0, 0));
        drop(far);
        assert_eq!(ahead.read(&mut [0; 8]).await.unwrap(), 0, "the end is the end");
    }
}
