//! The task of one relay: dials it when that is wanted, serves the connection, redials.

use std::{
    pin::pin,
    sync::{Arc, Weak},
    time::Duration,
};

use offset_crypto::SystemRng;
use offset_net::{Backoff, Connection, NetConfig, Receiver, SendError, Sender};
use offset_proto::{
    ServerAddress, Text,
    relay::{ClientToRelay, RelayToClient},
};
use offset_secure_channel::ChannelIdentity;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::{
    ClientConfig, Pool,
    circuit::Link,
    listener::{Post, RelayStatus},
    mux::{Handled, Mux},
};
use crate::{Error, broker::REPLACED};

/// What the client wants of a relay.
pub(super) enum Request {
    /// The circuits of a connection that stands, for opening one.
    Connect(Reply),
    /// To listen from now on.
    Listen(Post),
}

type Reply = oneshot::Sender<Result<Arc<Link>, Error>>;

/// See the [module](self).
pub(super) struct Line {
    pool: Weak<Pool>,
    relay: ServerAddress,
    identity: Arc<ChannelIdentity>,
    config: ClientConfig,
    requests: mpsc::Receiver<Request>,
    listener: Option<Post>,
    /// Those who wait for a connection.
    waiting: Vec<Reply>,
    backoff: Backoff,
    /// When the listener may have the relay dialled again.
    next_try: Instant,
    /// When dialling failed last, and why.
    failure: Option<(Instant, Error)>,
    last_error: Text,
    listening: bool,
    /// After being replaced: not to listen before the first, the alarm is up until the second.
    replaced: Option<(Instant, Instant)>,
}

enum Event {
    Request(Request),
    ListenerGone,
}

/// Why a connection is served no longer.
enum End {
    /// Nobody needs it.
    Idle,
    Failed(String),
    Replaced,
}

impl Line {
    pub(super) fn new(
        pool: &Arc<Pool>,
        relay: ServerAddress,
        requests: mpsc::Receiver<Request>,
    ) -> Self {
        let mut config = pool.config.clone();
        let net = NetConfig { queue_bytes: SOCKET_QUEUE_BYTES, ..config.net };
        config.net = net;
        Self {
            pool: Arc::downgrade(pool),
            relay,
            identity: Arc::clone(&pool.identity),
            backoff: Backoff::new(config.backoff),
            config,
            requests,
            listener: None,
            waiting: Vec::new(),
            next_try: Instant::now(),
            failure: None,
            last_error: Text::cut(""),
            listening: false,
            replaced: None,
        }
    }

    /// Runs until nobody has needed the relay for a while.
    pub(super) async fn run(mut self) {
        while self.until_wanted().await {
            match self.dial().await {
                Ok(connection) => self.use_connection(connection).await,
                Err(error) => self.handle_failure(&error),
            }
            self.tell();
        }
    }

    /// True when the relay should be dialled now, false when the line has ended.
    async fn until_wanted(&mut self) -> bool {
        let mut unused_until = Instant::now() + self.config.idle_time;
        loop {
            let now = Instant::now();
            self.waiting.retain(|reply| !reply.is_closed());
            if !self.waiting.is_empty() {
                match &self.failure {
                    Some((at, error)) if now < *at + REDIAL_PAUSE => {
                        let error = error.clone();
                        self.fail_waiting(&error);
                    }
                    Some(_) | None => return true,
                }
            }
            let next = if self.listener.is_some() { self.next_try } else { unused_until };
            if next <= now {
                if self.listener.is_some() {
                    return true;
                }
                let pool = self.pool.upgrade();
                if pool.is_none_or(|pool| pool.retire(&self.relay, &self.requests)) {
                    return false;
                }
                unused_until = now + self.config.idle_time;
            }
            tokio::select! {
                event = self.next_event() => self.handle_event(event, None),
                () = sleep_until(next.max(now)) => {}
            }
        }
    }

    async fn dial(&mut self) -> Result<RelayConnection, offset_net::Error> {
        let (identity, relay) = (Arc::clone(&self.identity), self.relay.clone());
        let net = self.config.net.clone();
        let mut dialling = pin!(offset_net::dial(&identity, &relay, &net));
        loop {
            tokio::select! {
                result = dialling.as_mut() => return result,
                event = self.next_event() => self.handle_event(event, None),
            }
        }
    }

    fn handle_failure(&mut self, error: &offset_net::Error) {
        let relay = self.relay.address.clone();
        let error = Error::Unreachable { relay, reason: error.to_string() };
        log::debug!("{error}");
        self.fail_waiting(&error);
        self.last_error = Text::cut(&error.to_string());
        let now = Instant::now();
        self.failure = Some((now, error));
        // Dialled for a circuit before the listener's time had come, as when a relay restarts and
        // everyone wants the circuits back at once: the listener keeps its time.
        if self.next_try <= now {
            self.plan_next_try();
        }
    }

    /// Serves a connection and draws the lesson from its end.
    async fn use_connection(&mut self, connection: RelayConnection) {
        let (start, ends) = (Instant::now(), Guard(Link::new()));
        self.failure = None;
        for reply in self.waiting.drain(..) {
            // Who does not wait any more does not need it.
            let _late = reply.send(Ok(Arc::clone(&ends.0)));
        }
        if let Some(post) = &self.listener {
            post.publish(Some(&ends.0));
        }
        let (sender, receiver) = connection.split();
        let end = self.serve(&ends.0, &sender, receiver).await;
        drop(ends);
        self.listening = false;
        if let Some(post) = &self.listener {
            post.publish(None);
        }
        self.backoff.ended_after(start.elapsed());
        self.plan_next_try();
        match end {
            End::Idle => {}
            End::Failed(reason) => {
                log::info!("lost the relay {:?}: {reason}", self.relay.public_key);
                self.last_error = Text::cut(&reason);
            }
            End::Replaced => self.note_replaced(),
        }
    }

    async fn serve(
        &mut self,
        link: &Arc<Link>,
        sender: &Sender<ClientToRelay>,
        mut receiver: Receiver<RelayToClient>,
    ) -> End {
        let mut pump = pin!(pump(link, sender));
        let mut pumping = true;
        let mut asked = false;
        loop {
            let now = Instant::now();
            if self.listener.is_none() {
                asked = false;
                if link.idle_since().is_some_and(|at| at + self.config.idle_time <= now) {
                    sender.close("not needed any more");
                    return End::Idle;
                }
            } else if !asked && self.replaced.is_none_or(|(listen_from, _)| listen_from <= now) {
                asked = true;
                link.with(Mux::listen);
            }
            let alarm = self.next_alarm(link, asked);
            tokio::select! {
                message = receiver.recv() => match message {
                    Ok(message) => if let Err(reason) = self.handle_message(link, message) {
                        sender.close(&reason);
                        return End::Failed(reason);
                    },
                    Err(offset_net::Error::Bye(reason)) if reason.as_str() == REPLACED => {
                        return End::Replaced;
                    }
                    Err(error) => return End::Failed(error.to_string()),
                },
                // The receiver tells why.
                _closed = pump.as_mut(), if pumping => pumping = false,
                event = self.next_event() => self.handle_event(event, Some(link)),
                () = sleep_until(alarm) => self.tell(),
            }
        }
    }

    fn handle_message(&mut self, link: &Link, message: RelayToClient) -> Result<(), String> {
        let nobody = |_: &_| false;
        let listener = self.listener.as_ref();
        let handled = link.with(|mux| match listener {
            Some(post) => mux.handle_message(message, &*post.welcome),
            None => mux.handle_message(message, &nobody),
        });
        match handled.map_err(|violation| format!("the relay broke the protocol: {violation}"))? {
            Handled::Done => {}
            Handled::Incoming => link.incoming.notify_one(),
            Handled::Listening => {
                self.listening = self.listener.is_some();
                self.last_error = Text::cut("");
                self.tell();
            }
        }
        Ok(())
    }

    fn handle_event(&mut self, event: Event, link: Option<&Arc<Link>>) {
        match (event, link) {
            (Event::Request(Request::Connect(reply)), Some(link)) => {
                let _late = reply.send(Ok(Arc::clone(link)));
            }
            (Event::Request(Request::Connect(reply)), None) => {
                if self.waiting.len() < MAX_WAITING {
                    self.waiting.push(reply);
                } else {
                    let _late = reply.send(Err(Error::Limit));
                }
            }
            (Event::Request(Request::Listen(post)), link) => {
                post.publish(link);
                self.listener = Some(post);
                self.tell();
            }
            (Event::ListenerGone, link) => {
                self.listener = None;
                self.listening = false;
                if let Some(link) = link {
                    link.with(Mux::stop_listening);
                }
            }
        }
    }

    /// Safe to cancel.
    async fn next_event(&mut self) -> Event {
        let gone = async {
            match &self.listener {
                Some(post) => post.gone().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(request) = self.requests.recv() => Event::Request(request),
            () = gone => Event::ListenerGone,
        }
    }

    /// When [`Line::serve`] has something to do by itself.
    fn next_alarm(&self, link: &Link, asked: bool) -> Instant {
        let now = Instant::now();
        let unused = now + self.config.idle_time;
        if self.listener.is_none() {
            return link.idle_since().map_or(unused, |at| at + self.config.idle_time);
        }
        match self.replaced {
            Some((listen_from, _)) if !asked => listen_from,
            Some((_, alarm_until)) if now < alarm_until => alarm_until,
            Some(_) | None => unused,
        }
    }

    fn note_replaced(&mut self) {
        log::warn!(
            "this identity listens at the relay {:?} from elsewhere as well: is a second copy of \
             this node running?",
            self.relay.public_key
        );
        let (now, pause) = (Instant::now(), self.config.replaced_pause);
        self.replaced = Some((now + pause, now + 3 * pause));
        self.next_try = self.next_try.max(now + pause);
        self.last_error = Text::cut(
            "this identity listens from elsewhere too: it runs twice; stop one of the two and start \
             the other with `stnode --recover`",
        );
    }

    fn plan_next_try(&mut self) {
        self.next_try = Instant::now() + self.backoff.next_delay(&mut SystemRng);
        if let Some((listen_from, _)) = self.replaced {
            self.next_try = self.next_try.max(listen_from);
        }
    }

    fn fail_waiting(&mut self, error: &Error) {
        for reply in self.waiting.drain(..) {
            let _late = reply.send(Err(error.clone()));
        }
    }

    fn tell(&self) {
        if let Some(post) = &self.listener {
            let replaced = self.replaced.is_some_and(|(_, until)| Instant::now() < until);
            let (listening, last_error) = (self.listening, self.last_error.clone());
            post.tell(RelayStatus { listening, last_error, replaced });
        }
    }
}

type RelayConnection = Connection<ClientToRelay, RelayToClient>;

/// Ends the circuits of a connection, also when the line's task is aborted.
struct Guard(Arc<Link>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.with(Mux::handle_lost);
    }
}

/// Sends what the circuits have to send, until the connection is closed.
async fn pump(link: &Link, sender: &Sender<ClientToRelay>) -> SendError {
    loop {
        while let Some(message) = link.next_message() {
            if let Err(error) = sender.send(message).await {
                return error;
            }
        }
        link.work.notified().await;
    }
}

/// A relay that could not be reached is not dialled for a circuit again so soon.
const REDIAL_PAUSE: Duration = Duration::from_secs(1);

/// The most who wait for a connection.
const MAX_WAITING: usize = 4_096;

/// What waits in the connection beyond the circuits' own buffers, where they no longer take turns.
const SOCKET_QUEUE_BYTES: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use offset_crypto::Identity;

    use super::{super::RelayClient, *};

    #[tokio::test]
    async fn a_circuit_that_nobody_got_does_not_put_the_listener_off() {
        let identity = Identity::random(&mut SystemRng);
        let address = "127.0.0.1:1".parse().expect("an address");
        let relay = ServerAddress { public_key: identity.public_key(), address };
        let identity = Arc::new(ChannelIdentity::new(&identity));
        let client = RelayClient::new(ClientConfig::default(), identity);
        let (_requests, taken) = mpsc::channel(1);
        let mut line = Line::new(&client.pool, relay, taken);

        let planned = Instant::now() + Duration::from_hours(1);
        line.next_try = planned;
        line.handle_failure(&offset_net::Error::Closed);
        assert_eq!(line.next_try, planned);
        assert_eq!(line.backoff.failures(), 0);

        line.next_try = Instant::now();
        line.handle_failure(&offset_net::Error::Closed);
        assert!(Instant::now() < line.next_try);
        assert_eq!(line.backoff.failures(), 1);
    }
}
