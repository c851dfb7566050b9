//! The queue between those who send and the task that writes.

use std::{
    marker::PhantomData,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
    time::Duration,
};

use futures::task::AtomicWaker;
use offset_proto::session::{Control, Packet, Wire};
use offset_secure_channel::{FrameSender, Framing};
use tokio::{
    sync::Notify,
    time::{Instant, error::Elapsed, sleep, timeout},
};

use crate::{Error, SendError, serve::Permit};

/// Frames that wait, and whether more may come. Shared by the senders, the receiver and the writing
/// task of one connection.
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    framing: Framing,
    limits: QueueLimits,
    /// Wakes the writing task.
    work: Notify,
    /// Wakes those who wait for room.
    room: Notify,
    /// Tells the writing task that nothing more is added.
    closing: Notify,
    /// Wakes the receiver when the connection ended from this side.
    receiver: AtomicWaker,
    /// Senders and receiver that are alive.
    handles: AtomicUsize,
}

/// How much may wait.
#[derive(Clone, Copy)]
pub(crate) struct QueueLimits {
    pub(crate) bytes: usize,
    pub(crate) messages: usize,
}

/// When the writing task acts by itself.
pub(crate) struct WriteTimes {
    pub(crate) ping_after: Duration,
    pub(crate) write_timeout: Duration,
}

struct Queue {
    waiting: Vec<u8>,
    waiting_messages: usize,
    /// What the writing task took and has not written yet.
    writing_bytes: usize,
    writing_messages: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// What waits is still sent, nothing is added.
    Closing,
    /// Nothing is sent any more.
    Ended(End),
}

/// How the sending side ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// In order, by this side.
    Closed,
    /// The peer took nothing for too long.
    TimedOut,
    /// The stream failed.
    CutOff,
}

impl From<End> for Error {
    fn from(end: End) -> Self {
        match end {
            End::Closed => Self::Closed,
            End::TimedOut => Self::TimedOut("the other side takes nothing"),
            End::CutOff => Self::CutOff("writing failed".into()),
        }
    }
}

/// What the writing task is to do next.
enum Work {
    Write(Vec<u8>),
    WriteAndClose(Vec<u8>),
    Stop,
    Nothing,
}

impl Outbox {
    /// An empty one with one handle.
    pub(crate) fn new(framing: Framing, limits: QueueLimits) -> Arc<Self> {
        let queue = Queue {
            waiting: Vec::new(),
            waiting_messages: 0,
            writing_bytes: 0,
            writing_messages: 0,
            state: State::Open,
        };
        Arc::new(Self {
            queue: Mutex::new(queue),
            framing,
            limits,
            work: Notify::new(),
            room: Notify::new(),
            closing: Notify::new(),
            receiver: AtomicWaker::new(),
            handles: AtomicUsize::new(1),
        })
    }

    /// Queues an encoded message.
    pub(crate) fn push(&self, message: &[u8]) -> Result<(), SendError> {
        let mut queue = self.lock();
        if queue.state != State::Open {
            return Err(SendError::Closed);
        }
        if self.framing.max_message_bytes() < message.len() {
            return Err(SendError::TooLong);
        }
        let messages = queue.waiting_messages + queue.writing_messages;
        let bytes = queue.waiting.len() + queue.writing_bytes;
        let more = self.framing.frame_bytes(message.len());
        // One message always fits into an empty queue, whatever the limit.
        if 0 < messages && (self.limits.messages <= messages || self.limits.bytes < bytes + more) {
            return Err(SendError::Full);
        }
        self.append(&mut queue, message)
    }

    /// Queues an encoded message as soon as there is room.
    pub(crate) async fn push_waiting(&self, message: &[u8]) -> Result<(), SendError> {
        loop {
            let room = self.room.notified();
            match self.push(message) {
                Err(SendError::Full) => room.await,
                result => return result,
            }
        }
    }

    /// Queues a sign of life.
    fn ping<Out: Wire>(&self) {
        // The queue is empty, so only a connection that just closed refuses it.
        let _closing = self.push(&Out::encode(&Packet::Control(Control::Ping)));
    }

    /// Sends what waits, then `last`, then ends in order. Does nothing when already closing.
    pub(crate) fn close(&self, last: Option<&[u8]>) {
        let mut queue = self.lock();
        if queue.state == State::Open {
            if let Some(last) = last {
                // Beyond the limits: it is the last one, and short.
                let _too_long = self.append(&mut queue, last);
            }
            queue.state = State::Closing;
            self.work.notify_one();
            self.closing.notify_one();
            self.room.notify_waiters();
            self.receiver.wake();
        }
    }

    /// Ends without sending what waits.
    pub(crate) fn end(&self, end: End) {
        let mut queue = self.lock();
        if !matches!(queue.state, State::Ended(_)) {
            queue.state = State::Ended(end);
            queue.waiting = Vec::new();
            self.work.notify_one();
            self.room.notify_waiters();
            self.receiver.wake();
        }
    }

    /// How this side ended, if it did or is about to; otherwise `waker` is woken when it does.
    pub(crate) fn poll_end(&self, waker: &Waker) -> Option<End> {
        self.receiver.register(waker);
        match self.lock().state {
            State::Open => None,
            State::Closing => Some(End::Closed),
            State::Ended(end) => Some(end),
        }
    }

    /// Waits until everything was sent and the connection ended, or failed.
    pub(crate) async fn wait_end(&self) -> End {
        loop {
            let changed = self.room.notified();
            if let State::Ended(end) = self.lock().state {
                return end;
            }
            changed.await;
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.lock().state == State::Open
    }

    pub(crate) fn add_handle(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    /// The last handle closes in order.
    pub(crate) fn drop_handle(&self) {
        if self.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.close(None);
        }
    }

    fn append(&self, queue: &mut Queue, message: &[u8]) -> Result<(), SendError> {
        let was_empty = queue.waiting_messages == 0;
        self.framing.append(message, &mut queue.waiting).map_err(|_| SendError::TooLong)?;
        queue.waiting_messages += 1;
        if was_empty {
            self.work.notify_one();
        }
        Ok(())
    }

    fn take(&self) -> Work {
        let mut queue = self.lock();
        queue.writing_bytes = queue.waiting.len();
        queue.writing_messages = mem::take(&mut queue.waiting_messages);
        let bytes = mem::take(&mut queue.waiting);
        match queue.state {
            State::Open if bytes.is_empty() => Work::Nothing,
            State::Open => Work::Write(bytes),
            State::Closing => Work::WriteAndClose(bytes),
            State::Ended(_) => Work::Stop,
        }
    }

    /// What is left of what the writing task took.
    fn written(&self, bytes_left: usize) {
        let mut queue = self.lock();
        queue.writing_bytes = bytes_left;
        if bytes_left == 0 {
            queue.writing_messages = 0;
        }
        drop(queue);
        self.room.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writing task of one connection.
pub(crate) struct Writer<Out> {
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) frames: FrameSender,
    pub(crate) times: WriteTimes,
    /// The connection counts for as long as its socket is open.
    pub(crate) permit: Option<Arc<Permit>>,
    pub(crate) messages: PhantomData<fn(Out)>,
}

impl<Out: Wire> Writer<Out> {
    /// Writes until the outbox ends or the stream fails. Once the connection is closing, a peer that
    /// takes a little now and then cannot keep socket and queue for longer than one write timeout.
    pub(crate) async fn run(mut self) {
        let (outbox, write_timeout) = (Arc::clone(&self.outbox), self.times.write_timeout);
        let overdue = async {
            outbox.closing.notified().await;
            sleep(write_timeout).await;
        };
        let end = tokio::select! {
            end = self.write_all() => end,
            () = overdue => Err(End::TimedOut),
        };
        let end = match end {
            Ok(()) => {
                let closed = timeout(write_timeout, self.frames.close()).await;
                ended(closed).err().unwrap_or(End::Closed)
            }
            Err(end) => end,
        };
        drop(self.permit);
        self.outbox.end(end);
    }

    async fn write_all(&mut self) -> Result<(), End> {
        let mut last_sent = Instant::now();
        // Moved on only when it fires, not with every write.
        let mut alarm = Box::pin(sleep(self.times.ping_after));
        loop {
            match self.outbox.take() {
                Work::Write(bytes) => {
                    self.write(&bytes).await?;
                    last_sent = Instant::now();
                }
                Work::WriteAndClose(bytes) => return self.write(&bytes).await,
                Work::Stop => return Err(End::Closed),
                Work::Nothing => tokio::select! {
                    () = self.outbox.work.notified() => {}
                    () = alarm.as_mut() => {
                        let mut due = last_sent + self.times.ping_after;
                        if due <= Instant::now() {
                            self.outbox.ping::<Out>();
                            due = Instant::now() + self.times.ping_after;
                        }
                        alarm.as_mut().reset(due);
                    }
                },
            }
        }
    }

    /// Writes and flushes; every piece must be taken within the timeout.
    async fn write(&mut self, bytes: &[u8]) -> Result<(), End> {
        let mut left = bytes.len();
        for piece in bytes.chunks(PIECE_BYTES) {
            let written = timeout(self.times.write_timeout, self.frames.write_framed(piece));
            ended(written.await)?;
            left -= piece.len();
            if 0 < left {
                self.outbox.written(left);
            }
        }
        let flushed = timeout(self.times.write_timeout, self.frames.flush()).await;
        self.outbox.written(0);
        ended(flushed)
    }
}

fn ended(result: Result<Result<(), offset_secure_channel::Error>, Elapsed>) -> Result<(), End> {
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::CutOff),
        Err(_) => Err(End::TimedOut),
    }
}

/// As much as TLS holds at once.
const PIECE_BYTES: usize = 64 * 1024;
