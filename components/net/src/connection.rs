//! Typed connections and their two halves.

use std::{
    fmt,
    future::poll_fn,
    marker::PhantomData,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use offset_crypto::PublicKey;
use offset_proto::{
    Text,
    session::{Control, Packet, Wire},
};
use offset_secure_channel::{
    self as channel, ByteStream, Channel, ChannelIdentity, FrameReceiver, SessionId,
};
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::{
    Error, NetConfig, SendError,
    hello::{bye, exchange_hellos, say_goodbye},
    outbox::{End, Outbox, QueueLimits, WriteTimes, Writer},
    serve::Permit,
};

/// An open session: both keys proven, `Hello`s exchanged. Dropping it closes it in order.
#[derive(Debug)]
pub struct Connection<Out, In> {
    sender: Sender<Out>,
    receiver: Receiver<In>,
}

impl<Out: Wire, In: Wire> Connection<Out, In> {
    /// The key that the other side proved.
    #[must_use]
    pub fn peer(&self) -> PublicKey {
        self.sender.peer()
    }

    /// The channel's id, the same on both sides.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        self.sender.session_id()
    }

    /// Where the peer connected from or was dialled, where that is a network address.
    #[must_use]
    pub fn remote_address(&self) -> Option<SocketAddr> {
        self.sender.session.remote_address
    }

    /// The features that both sides named.
    #[must_use]
    pub fn features(&self) -> &[Text] {
        self.sender.features()
    }

    /// A handle to send with.
    #[must_use]
    pub fn sender(&self) -> Sender<Out> {
        self.sender.clone()
    }

    /// The halves. The connection stays open as long as a [`Sender`] or the [`Receiver`] lives; only
    /// the receiver hears what the peer says, its goodbye included, so it has to be polled for as
    /// long as the connection matters.
    #[must_use]
    pub fn split(self) -> (Sender<Out>, Receiver<In>) {
        (self.sender, self.receiver)
    }

    /// As [`Sender::try_send`].
    ///
    /// # Errors
    /// As there.
    pub fn try_send(&self, message: Out) -> Result<(), SendError> {
        self.sender.try_send(message)
    }

    /// As [`Sender::send`].
    ///
    /// # Errors
    /// As there.
    pub async fn send(&self, message: Out) -> Result<(), SendError> {
        self.sender.send(message).await
    }

    /// As [`Receiver::recv`].
    ///
    /// # Errors
    /// As there.
    pub async fn recv(&mut self) -> Result<In, Error> {
        self.receiver.recv().await
    }

    /// As [`Sender::close`].
    pub fn close(&self, reason: &str) {
        self.sender.close(reason);
    }

    /// Opens the session on a fresh channel.
    pub(crate) async fn open(
        channel: Channel,
        config: &NetConfig,
        remote_address: Option<SocketAddr>,
        permit: Option<Permit>,
    ) -> Result<Self, Error> {
        const {
            assert!(
                Out::PURPOSE.number() == In::PURPOSE.number(),
                "both directions of one purpose"
            );
        }
        let (peer, session_id) = (channel.peer(), channel.session_id());
        let (mut frames_out, mut frames_in) = channel.split();
        let exchange = exchange_hellos::<Out, In>(&mut frames_out, &mut frames_in, config);
        let features = match timeout(config.hello_timeout, exchange).await {
            Ok(Ok(features)) => features,
            Ok(Err(error)) => {
                if let Error::Protocol(reason) = &error {
                    say_goodbye::<Out>(frames_out, reason, config).await;
                }
                return Err(error);
            }
            Err(_) => return Err(Error::TimedOut("the other side did not say hello")),
        };

        let permit = permit.map(Arc::new);
        if let Some(permit) = &permit {
            permit.establish();
        }
        let limits = QueueLimits { bytes: config.queue_bytes, messages: config.queue_messages };
        let outbox = Outbox::new(frames_out.framing(), limits);
        let session = Arc::new(Session {
            peer,
            session_id,
            remote_address,
            features,
            outbox: Arc::clone(&outbox),
            _permit: permit.clone(),
        });
        let (ping_after, write_timeout) = (config.ping_after, config.write_timeout);
        let times = WriteTimes { ping_after, write_timeout };
        let writer =
            Writer::<Out> { outbox, frames: frames_out, times, permit, messages: PhantomData };
        tokio::spawn(writer.run());
        let receiver = Receiver::new(Arc::clone(&session), frames_in, config.idle_timeout);
        Ok(Self { sender: Sender { session, messages: PhantomData }, receiver })
    }
}

/// Sends messages; cheap to clone.
pub struct Sender<Out> {
    session: Arc<Session>,
    messages: PhantomData<fn(Out)>,
}

impl<Out: Wire> Sender<Out> {
    /// Queues a message; never waits.
    ///
    /// # Errors
    /// [`SendError`]; the message is not queued.
    pub fn try_send(&self, message: Out) -> Result<(), SendError> {
        self.session.outbox.push(&Out::encode(&Packet::Message(message)))
    }

    /// Queues a message as soon as there is room. Cancelling it leaves the message unsent.
    ///
    /// # Errors
    /// [`SendError::Closed`], [`SendError::TooLong`].
    pub async fn send(&self, message: Out) -> Result<(), SendError> {
        let encoded = Out::encode(&Packet::Message(message));
        self.session.outbox.push_waiting(&encoded).await
    }

    /// Sends what is queued, says [`Bye`](offset_proto::session::Bye) with the reason, and ends the
    /// connection in order. Returns at once; [`Sender::closed`] waits for it. The receiver gives
    /// [`Error::Closed`] from now on.
    pub fn close(&self, reason: &str) {
        self.session.outbox.close(Some(&bye::<Out>(reason)));
    }

    /// Waits until the connection has ended, with all that was queued before [`Sender::close`] handed
    /// to the system where the peer took it.
    pub async fn closed(&self) {
        self.session.outbox.wait_end().await;
    }

    /// Whether messages are still taken.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.session.outbox.is_open()
    }

    /// The key that the other side proved.
    #[must_use]
    pub fn peer(&self) -> PublicKey {
        self.session.peer
    }

    /// The channel's id, the same on both sides.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        self.session.session_id
    }

    /// The features that both sides named.
    #[must_use]
    pub fn features(&self) -> &[Text] {
        &self.session.features
    }
}

impl<Out> Clone for Sender<Out> {
    fn clone(&self) -> Self {
        self.session.outbox.add_handle();
        Self { session: Arc::clone(&self.session), messages: PhantomData }
    }
}

impl<Out> Drop for Sender<Out> {
    fn drop(&mut self) {
        self.session.outbox.drop_handle();
    }
}

impl<Out> fmt::Debug for Sender<Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sender({:?})", self.session)
    }
}

/// Receives messages, and watches that the peer is alive while it is polled.
pub struct Receiver<In> {
    session: Arc<Session>,
    /// None when the connection has ended.
    frames: Option<FrameReceiver>,
    idle_timeout: Duration,
    last_sign: Instant,
    bytes_at_last_sign: u64,
    alarm: Pin<Box<Sleep>>,
    goodbye: fn(&str) -> Vec<u8>,
    messages: PhantomData<fn() -> In>,
}

impl<In: Wire> Receiver<In> {
    fn new(session: Arc<Session>, frames: FrameReceiver, idle_timeout: Duration) -> Self {
        session.outbox.add_handle();
        Self {
            session,
            frames: Some(frames),
            idle_timeout,
            last_sign: Instant::now(),
            bytes_at_last_sign: 0,
            alarm: Box::pin(sleep(idle_timeout)),
            goodbye: bye::<In>,
            messages: PhantomData,
        }
    }

    /// The next message. Safe to cancel: nothing is lost.
    ///
    /// # Errors
    /// Any of [`Error::Bye`], [`Error::Closed`], [`Error::CutOff`], [`Error::Protocol`],
    /// [`Error::TimedOut`]; the connection has then ended, and every later call gives
    /// [`Error::Closed`]. A peer that broke the protocol is told so.
    pub async fn recv(&mut self) -> Result<In, Error> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// [`Receiver::recv`] as a poll.
    ///
    /// # Errors
    /// As [`Receiver::recv`].
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<In, Error>> {
        let result = ready!(self.poll_message(cx));
        if let Err(error) = &result {
            self.frames = None;
            match error {
                Error::Protocol(reason) => {
                    self.session.outbox.close(Some(&(self.goodbye)(reason)));
                }
                Error::TimedOut(_) => self.session.outbox.end(End::TimedOut),
                Error::CutOff(_) => self.session.outbox.end(End::CutOff),
                Error::Resolve { .. }
                | Error::Connect { .. }
                | Error::WrongKey { .. }
                | Error::Refused
                | Error::Bye(_)
                | Error::Closed
                | Error::Listen { .. } => self.session.outbox.close(None),
            }
        }
        Poll::Ready(result)
    }

    /// The key that the other side proved.
    #[must_use]
    pub fn peer(&self) -> PublicKey {
        self.session.peer
    }

    /// The channel's id, the same on both sides.
    #[must_use]
    pub fn session_id(&self) -> SessionId {
        self.session.session_id
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<In, Error>> {
        let Some(frames) = &mut self.frames else { return Poll::Ready(Err(Error::Closed)) };
        let end = self.session.outbox.poll_end(cx.waker());
        if end == Some(End::Closed) {
            return Poll::Ready(Err(Error::Closed));
        }
        while let Poll::Ready(frame) = frames.poll_recv(cx) {
            match In::decode(&frame?) {
                Ok(Packet::Message(message)) => return Poll::Ready(Ok(message)),
                Ok(Packet::Control(Control::Ping)) => {}
                Ok(Packet::Control(Control::Bye(bye))) => {
                    return Poll::Ready(Err(Error::Bye(bye.reason)));
                }
                Ok(Packet::Control(Control::Hello(_))) => {
                    return Poll::Ready(Err(Error::Protocol("a second hello".into())));
                }
                Err(error) => return Poll::Ready(Err(Error::Protocol(error.to_string()))),
            }
        }
        // Only now, so that a goodbye that arrived before writing failed is still heard.
        if let Some(end) = end {
            return Poll::Ready(Err(end.into()));
        }
        let bytes = frames.bytes_received();
        self.poll_idle(cx, bytes)
    }

    /// Everything that arrived is a sign of life, part of a long message too. The time of the sign is
    /// taken when the receiver has to wait, so an owner that was busy does not blame the peer.
    fn poll_idle(&mut self, cx: &mut Context<'_>, bytes: u64) -> Poll<Result<In, Error>> {
        if bytes != self.bytes_at_last_sign {
            self.bytes_at_last_sign = bytes;
            self.last_sign = Instant::now();
        }
        while self.alarm.as_mut().poll(cx).is_ready() {
            let due = self.last_sign + self.idle_timeout;
            if due <= Instant::now() {
                return Poll::Ready(Err(Error::TimedOut("the other side shows no life")));
            }
            self.alarm.as_mut().reset(due);
        }
        Poll::Pending
    }
}

impl<In> Drop for Receiver<In> {
    fn drop(&mut self) {
        self.session.outbox.drop_handle();
    }
}

impl<In> fmt::Debug for Receiver<In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receiver({:?})", self.session)
    }
}

/// What the halves of one connection share.
struct Session {
    peer: PublicKey,
    session_id: SessionId,
    remote_address: Option<SocketAddr>,
    features: Vec<Text>,
    outbox: Arc<Outbox>,
    _permit: Option<Arc<Permit>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, session {:?}", self.peer, self.session_id)
    }
}

/// Opens a connection as initiator over a stream that is already there, for example a relay circuit.
///
/// # Errors
/// [`Error::WrongKey`], [`Error::Refused`], [`Error::TimedOut`], [`Error::Bye`],
/// [`Error::Protocol`], [`Error::CutOff`].
pub async fn connect_over<Out: Wire, In: Wire>(
    stream: impl ByteStream,
    identity: &ChannelIdentity,
    expected: PublicKey,
    config: &NetConfig,
) -> Result<Connection<Out, In>, Error> {
    let channel = channel::connect(stream, identity, expected, Out::PURPOSE).await?;
    Connection::open(channel, config, None, None).await
}

/// Opens a connection as responder over a stream that is already there, from a key that `authorise`
/// lets in; another is closed without a message.
///
/// # Errors
/// [`Error::Refused`] for a key that was not let in, [`Error::TimedOut`], [`Error::Bye`],
/// [`Error::Protocol`], [`Error::CutOff`].
pub async fn accept_over<Out: Wire, In: Wire>(
    stream: impl ByteStream,
    identity: &ChannelIdentity,
    config: &NetConfig,
    authorise: impl FnOnce(&PublicKey) -> bool,
) -> Result<Connection<Out, In>, Error> {
    let channel = channel::accept(stream, identity, &[Out::PURPOSE]).await?;
    if !authorise(&channel.peer()) {
        return Err(Error::Refused);
    }
    Connection::open(channel, config, None, None).await
}
