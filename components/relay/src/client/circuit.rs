//! A circuit as a stream of bytes.

use std::{
    fmt,
    future::poll_fn,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use offset_crypto::PublicKey;
use offset_proto::relay::{CircuitId, ClientToRelay, CloseReason};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    time::Instant,
};

use super::mux::Mux;

/// One circuit: bytes to and from the other end, through a relay that can read them unless they
/// are encrypted. Run a secure channel over it.
///
/// What the other end sends and nobody reads here stops coming after 256 KiB. Writing is buffered
/// up to 64 KiB and then waits for the other end to read. [`AsyncWrite::poll_shutdown`] sends what
/// is buffered and closes *both* directions; there is no half-closed circuit. Dropping it closes
/// at once, with what the window allows to send.
///
/// Reading ends without an error when the other end closed, with
/// [`io::ErrorKind::ConnectionReset`] when the circuit was lost.
pub struct Circuit {
    link: Arc<Link>,
    id: CircuitId,
}

impl Circuit {
    /// Opens a circuit over a connection that stands.
    pub(super) async fn open(link: Arc<Link>, destination: PublicKey) -> Result<Self, CloseReason> {
        let id = link.with(|mux| mux.connect(destination))?;
        let circuit = Self { link, id };
        poll_fn(|cx| circuit.link.with(|mux| mux.poll_connected(id, cx))).await?;
        Ok(circuit)
    }

    pub(super) const fn accepted(link: Arc<Link>, id: CircuitId) -> Self {
        Self { link, id }
    }
}

impl AsyncRead for Circuit {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.link.with(|mux| mux.poll_read(self.id, cx, buf)).map_err(io_error)
    }
}

impl AsyncWrite for Circuit {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.link.with(|mux| mux.poll_write(self.id, cx, bytes)).map_err(io_error)
    }

    /// Nothing to do: what is written goes out as soon as the window allows.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.with(|mux| mux.poll_finish(self.id, cx)).map_err(io_error)
    }
}

impl Drop for Circuit {
    fn drop(&mut self) {
        self.link.with(|mux| mux.drop_handle(self.id));
    }
}

impl fmt::Debug for Circuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Circuit({})", self.id.0)
    }
}

/// The circuits of one connection, shared by their handles and the connection's task.
#[derive(Debug)]
pub(super) struct Link {
    shared: Mutex<Shared>,
    /// Wakes the connection's task: there may be something to send.
    pub(super) work: Notify,
    /// Wakes the one who accepts.
    pub(super) incoming: Notify,
}

#[derive(Debug)]
struct Shared {
    mux: Mux,
    last_use: Instant,
}

impl Link {
    pub(super) fn new() -> Arc<Self> {
        let shared = Shared { mux: Mux::default(), last_use: Instant::now() };
        Arc::new(Self { shared: Mutex::new(shared), work: Notify::new(), incoming: Notify::new() })
    }

    /// Uses the circuits, then lets the connection's task look whether there is something to send.
    pub(super) fn with<T>(&self, action: impl FnOnce(&mut Mux) -> T) -> T {
        let mut shared = self.lock();
        shared.last_use = Instant::now();
        let result = action(&mut shared.mux);
        let has_work = shared.mux.has_work();
        drop(shared);
        if has_work {
            self.work.notify_one();
        }
        result
    }

    /// What the connection's task is to send next.
    pub(super) fn next_message(&self) -> Option<ClientToRelay> {
        self.lock().mux.next_message()
    }

    /// Since when there has been no circuit; None while there is one.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let shared = self.lock();
        shared.mux.is_empty().then_some(shared.last_use)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn io_error(reason: CloseReason) -> io::Error {
    match reason {
        CloseReason::Closed => {
            io::Error::new(io::ErrorKind::BrokenPipe, "the other end closed the circuit")
        }
        CloseReason::Gone => io::Error::new(io::ErrorKind::ConnectionReset, "the circuit was lost"),
        CloseReason::Limit => io::Error::new(
            io::ErrorKind::ConnectionReset,
            "the relay closed the circuit: too much waited for the other end",
        ),
        CloseReason::NotListening
        | CloseReason::Timeout
        | CloseReason::Rejected
        | CloseReason::Protocol => io::Error::new(
            io::ErrorKind::ConnectionReset,
            format!("the relay closed the circuit: {reason:?}"),
        ),
    }
}
