//! The relay as a server: tasks that move bytes, around one that owns the broker.
//!
//! ```text
//!   connection task ---- Input, bounded queue ----> owner (broker)
//!        ^                                             |
//!        +------- Line: outbox, pause, goodbye --------+
//! ```
//!
//! The owner never waits for a connection: it puts what is to be sent into the connection's outbox
//! (bounded by the broker) and goes on. A connection task waits for the owner when its queue is
//! full, and then reads nothing, so a relay that cannot keep up slows its clients down.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    net::{IpAddr, Ipv6Addr},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use offset_crypto::PublicKey;
use offset_net::{Connection, Incoming, Listener, NetConfig, Receiver, Sender, ServeConfig};
use offset_proto::{
    Timestamp,
    relay::{ClientToRelay, RelayToClient},
    session::Purpose,
};
use offset_secure_channel::ChannelIdentity;
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    Error,
    broker::{Broker, ConnectionId, Effect, Reason},
    limits::Limits,
    metrics::Metrics,
    outbox::{Outbox, waiting_cost},
};

/// Settings of a relay. The defaults suit a public one.
#[derive(Debug, Clone, Default)]
pub struct RelayConfig {
    /// What one client and all of them may use.
    pub limits: Limits,
    /// Times of the connections. The queue lengths in it are not used: the relay has its own.
    pub net: NetConfig,
    /// Limits per network address, and of half-open connections.
    pub addresses: offset_net::Limits,
    /// The keys that are served; None: everybody.
    pub allowed: Option<BTreeSet<PublicKey>>,
    /// Where the relay counts.
    pub metrics: Metrics,
}

/// Runs a relay on sockets that are bound already, until `shutdown` is done; clients are told.
///
/// # Errors
/// [`Error::NoListener`] when `listeners` is empty.
pub async fn run(
    config: RelayConfig,
    identity: Arc<ChannelIdentity>,
    listeners: Vec<TcpListener>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    if listeners.is_empty() {
        return Err(Error::NoListener);
    }
    let RelayConfig { limits, mut net, addresses, allowed, metrics } = config;
    net.queue_bytes = SOCKET_QUEUE_BYTES;
    let report_bytes = limits.max_waiting_bytes / 8;
    let (inputs, from_connections) = mpsc::channel(INPUT_QUEUE);
    let desk = Arc::new(Desk { inputs: inputs.clone(), next_id: AtomicU64::new(1), report_bytes });
    let allowed = Arc::new(allowed);
    let (stopped, stop) = watch::channel(());

    let serving = listeners.into_iter().map(|socket| {
        let (desk, allowed, mut stop) = (Arc::clone(&desk), Arc::clone(&allowed), stop.clone());
        let serve = ServeConfig {
            purposes: vec![Purpose::Relay],
            net: net.clone(),
            limits: addresses.clone(),
            counts: metrics.listener(),
        };
        let listener = Listener::new(socket, Arc::clone(&identity), serve);
        let authorise = move |key: &PublicKey, _: Purpose| {
            allowed.as_ref().as_ref().is_none_or(|allowed| allowed.contains(key))
        };
        let handler = move |incoming| Arc::clone(&desk).attend(incoming);
        // It ends when the owner has: the sender is dropped then.
        listener.serve(authorise, handler, async move { while stop.changed().await.is_ok() {} })
    });
    let serving = join_all(serving.collect::<Vec<_>>());
    let owner = async move {
        Owner::new(limits, metrics.clone()).run(from_connections, shutdown).await;
        drop((stopped, inputs));
    };
    tokio::join!(owner, serving);
    Ok(())
}

/// What a connection's task tells the owner.
enum Input {
    Connected(ConnectionId, PublicKey, Option<IpAddr>, Arc<Line>),
    Message(ConnectionId, ClientToRelay),
    /// Enough was written that the broker should know.
    Written(ConnectionId),
    Left(ConnectionId),
}

/// The task that holds the broker.
struct Owner {
    broker: Broker,
    start: Instant,
    /// Connections that the broker knows.
    lines: BTreeMap<ConnectionId, Arc<Line>>,
    /// Connections whose task has not ended.
    attended: usize,
    stopping: bool,
    metrics: Metrics,
}

impl Owner {
    fn new(limits: Limits, metrics: Metrics) -> Self {
        let broker = Broker::new(limits, Timestamp(0));
        let start = Instant::now();
        Self { broker, start, lines: BTreeMap::new(), attended: 0, stopping: false, metrics }
    }

    async fn run(
        mut self,
        mut inputs: mpsc::Receiver<Input>,
        shutdown: impl Future<Output = ()> + Send,
    ) {
        let mut shutdown = pin!(shutdown);
        loop {
            let timeout = self.broker.next_timeout();
            tokio::select! {
                () = shutdown.as_mut() => break,
                Some(input) = inputs.recv() => self.handle(input),
                () = until(self.start, timeout) => {
                    let now = self.now();
                    self.broker.handle_timeout(now);
                }
            }
            self.perform();
        }
        self.stop();
        let goodbyes = async {
            while 0 < self.attended
                && let Some(input) = inputs.recv().await
            {
                self.handle(input);
                self.perform();
            }
        };
        // Those who have not taken their goodbye by then are cut off.
        let _all_gone = timeout(GOODBYE_TIME, goodbyes).await;
    }

    fn handle(&mut self, input: Input) {
        let now = self.now();
        match input {
            Input::Connected(id, key, address, line) => {
                self.attended += 1;
                self.metrics.client_came();
                if self.stopping {
                    line.say_goodbye(Reason::Stopping);
                    return;
                }
                self.lines.insert(id, line);
                self.broker.handle_connected(id, key, address, now);
            }
            Input::Message(id, message) => self.broker.handle_message(id, message, now),
            Input::Written(id) => {
                if let Some(line) = self.lines.get(&id) {
                    self.broker.handle_written(id, line.take_written());
                }
            }
            Input::Left(id) => {
                self.attended -= 1;
                self.lines.remove(&id);
                self.broker.handle_disconnected(id, now);
            }
        }
    }

    fn perform(&mut self) {
        while let Some(effect) = self.broker.next_effect() {
            match effect {
                Effect::Send(id, message) => {
                    // Not there any more: the connection was lost in the same step.
                    if let Some(line) = self.lines.get(&id) {
                        self.metrics.sent(&message);
                        self.broker.handle_written(id, line.push(message));
                    }
                }
                Effect::Disconnect(id, reason) => {
                    self.metrics.disconnected(reason);
                    log::debug!("closing client {}: {reason}", id.0);
                    if let Some(line) = self.lines.remove(&id) {
                        line.say_goodbye(reason);
                    }
                }
                Effect::Pause(id, until) => {
                    self.metrics.paused();
                    if let Some(line) = self.lines.get(&id) {
                        line.pause(self.start + Duration::from_millis(until.0));
                    }
                }
            }
        }
        self.metrics.carries(self.broker.load());
    }

    fn stop(&mut self) {
        self.stopping = true;
        for (id, line) in std::mem::take(&mut self.lines) {
            line.say_goodbye(Reason::Stopping);
            let now = self.now();
            self.broker.handle_disconnected(id, now);
        }
        self.perform();
    }

    /// Milliseconds since the start: steady, whatever happens to the clock on the wall.
    fn now(&self) -> Timestamp {
        Timestamp(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// Where the connections' tasks report.
struct Desk {
    inputs: mpsc::Sender<Input>,
    next_id: AtomicU64,
    /// The owner is told when this much was written.
    report_bytes: usize,
}

impl Desk {
    /// One connection, from its opening to its end. What is kept of it while it is idle is one future,
    /// written so that nothing lies in it twice: what an `async fn` is given does, and so does what is
    /// moved out of a variable.
    fn attend(self: Arc<Self>, incoming: Incoming) -> impl Future<Output = ()> + Send {
        let (key, from) = (incoming.peer(), incoming.remote_address());
        let address = address_block(from.ip());
        let id = ConnectionId(self.next_id.fetch_add(1, Ordering::Relaxed));
        log::debug!("client {} is {key:?} from {from}", id.0);
        async move {
            // Freed when it is open.
            let opened = Box::pin(incoming.open()).await;
            let (sender, mut receiver) = match opened.map(Connection::split) {
                Ok(halves) => halves,
                Err(error) => return log::debug!("client {} was not opened: {error}", id.0),
            };
            let line = Arc::new(Line::default());
            let Ok(place) = self.inputs.reserve().await else { return };
            place.send(Input::Connected(id, key, address, Arc::clone(&line)));
            let end = tokio::select! {
                end = self.read(id, &line, &mut receiver) => end,
                end = self.write(id, &line, &sender) => end,
            };
            log::debug!("client {} left: {end}", id.0);
            drop((sender, receiver));
            // Nobody to tell: the relay is being stopped.
            let Ok(place) = self.inputs.reserve().await else { return };
            place.send(Input::Left(id));
        }
    }

    async fn read(
        &self,
        id: ConnectionId,
        line: &Line,
        receiver: &mut Receiver<ClientToRelay>,
    ) -> String {
        loop {
            if let Some(until) = line.paused_until() {
                sleep_until(until).await;
            }
            match receiver.recv().await {
                Ok(message) => match self.inputs.reserve().await {
                    Ok(place) => place.send(Input::Message(id, message)),
                    Err(_) => return Reason::Stopping.to_string(),
                },
                // The writing side says goodbye, and knows why.
                Err(_) if line.has_goodbye() => std::future::pending().await,
                Err(error) => return error.to_string(),
            }
        }
    }

    async fn write(&self, id: ConnectionId, line: &Line, sender: &Sender<RelayToClient>) -> String {
        loop {
            match line.next_task() {
                LineTask::Send(message) => {
                    let cost = waiting_cost(&message);
                    if let Err(error) = sender.send(message).await {
                        return error.to_string();
                    }
                    if line.wrote(cost, self.report_bytes)
                        && self.inputs.send(Input::Written(id)).await.is_err()
                    {
                        return Reason::Stopping.to_string();
                    }
                }
                LineTask::Close(reason) => {
                    let reason = reason.to_string();
                    sender.close(&reason);
                    sender.closed().await;
                    return reason;
                }
                LineTask::Wait => line.work.notified().await,
            }
        }
    }
}

/// What the owner and the task of one connection share.
#[derive(Default)]
struct Line {
    state: Mutex<LineState>,
    /// Wakes the writing side.
    work: Notify,
}

#[derive(Default)]
struct LineState {
    outbox: Outbox,
    /// Written, and not told to the broker yet.
    written_bytes: usize,
    waiting_messages: usize,
    paused_until: Option<Instant>,
    goodbye: Option<Reason>,
}

enum LineTask {
    Send(RelayToClient),
    Close(Reason),
    Wait,
}

impl Line {
    /// Queues a message; gives what the broker is to count as written.
    fn push(&self, message: RelayToClient) -> usize {
        let mut state = self.lock();
        let saved = state.outbox.push(message);
        if saved == 0 {
            state.waiting_messages += 1;
        }
        let written = std::mem::take(&mut state.written_bytes);
        drop(state);
        self.work.notify_one();
        saved + written
    }

    fn next_task(&self) -> LineTask {
        let mut state = self.lock();
        if let Some(reason) = state.goodbye {
            return LineTask::Close(reason);
        }
        match state.outbox.pop() {
            Some(message) => {
                state.waiting_messages -= 1;
                LineTask::Send(message)
            }
            None => LineTask::Wait,
        }
    }

    /// Counts what was written; whether the owner should be told now. It also finds out with the
    /// next [`Line::push`].
    fn wrote(&self, cost: usize, report_bytes: usize) -> bool {
        let mut state = self.lock();
        state.written_bytes += cost;
        let small = if state.waiting_messages == 0 { REPORT_WHEN_EMPTY_BYTES } else { usize::MAX };
        small.min(report_bytes) <= state.written_bytes
    }

    fn take_written(&self) -> usize {
        std::mem::take(&mut self.lock().written_bytes)
    }

    /// Nothing else is said from now on, so what waits is freed at once: the goodbye may take long.
    fn say_goodbye(&self, reason: Reason) {
        let mut state = self.lock();
        state.goodbye = Some(reason);
        state.outbox = Outbox::default();
        drop(state);
        self.work.notify_one();
    }

    fn has_goodbye(&self) -> bool {
        self.lock().goodbye.is_some()
    }

    fn pause(&self, until: Instant) {
        let mut state = self.lock();
        state.paused_until = state.paused_until.max(Some(until));
    }

    /// Until when to pause, if that is not over. Told once.
    fn paused_until(&self) -> Option<Instant> {
        self.lock().paused_until.take()
    }

    fn lock(&self) -> MutexGuard<'_, LineState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one party usually holds, an IPv4 address or an IPv6 /64; None for this computer.
fn address_block(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        local if local.is_loopback() => None,
        v4 @ IpAddr::V4(_) => Some(v4),
        IpAddr::V6(v6) => Some(IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64))),
    }
}

/// Waits for a moment of the broker's clock, for ever when there is none.
async fn until(start: Instant, at: Option<Timestamp>) {
    match at {
        Some(at) => sleep_until(start + Duration::from_millis(at.0)).await,
        None => std::future::pending().await,
    }
}

/// How many inputs wait for the owner: at most 16 MiB of data.
const INPUT_QUEUE: usize = 256;

/// What waits in a connection beyond the relay's own outbox, where circuits no longer take turns.
const SOCKET_QUEUE_BYTES: usize = 128 * 1024;

/// What is written to a connection for which nothing waits is told to the broker from here on.
const REPORT_WHEN_EMPTY_BYTES: usize = 8 * 1024;

/// How long clients have to take their goodbye at a stop.
const GOODBYE_TIME: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use offset_proto::relay::CircuitId;

    use super::*;

    #[test]
    fn blocks_of_addresses() {
        let block = |text: &str| address_block(text.parse().unwrap()).map(|ip| ip.to_string());
        assert_eq!(block("10.1.2.3").unwrap(), "10.1.2.3");
        assert_eq!(block("::ffff:10.1.2.3").unwrap(), "10.1.2.3");
        assert_eq!(block("2001:db8:1:2:3:4:5:6").unwrap(), "2001:db8:1:2::");
        assert_eq!(
            [block("127.0.0.1"), block("::1"), block("::ffff:127.0.0.1")],
            [None, None, None]
        );
    }

    #[test]
    fn a_goodbye_frees_what_waits() {
        let line = Line::default();
        line.push(RelayToClient::Data { circuit: CircuitId(1), bytes: vec![0; 1_000] });
        line.say_goodbye(Reason::NotReading);
        assert!(line.lock().outbox.pop().is_none());
        assert!(matches!(line.next_task(), LineTask::Close(Reason::NotReading)));
    }
}
