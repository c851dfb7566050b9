//! Whoever comes and is no enabled friend (protocol, section 8, *Removal*): it is told so, once a
//! session, at a price that is the same however many come. While the node recovers, it may be a friend
//! that was forgotten: then the core hears what it says.

use std::sync::{Arc, Mutex, atomic::Ordering};

use offset_crypto::PublicKey;
use offset_funder::api::SessionId;
use offset_relay::Circuit;
use tokio::{
    sync::{Semaphore, oneshot},
    time::{Instant, timeout},
};

use super::{
    House,
    keeper::{greet, read},
};
use crate::{apps::pace::Pace, input::Input, limits, metrics::Metrics};

/// How many may be told, and how fast.
pub(crate) struct Strangers {
    pace: Mutex<Pace>,
    greeted: Arc<Semaphore>,
    heard: Arc<Semaphore>,
    metrics: Metrics,
}

impl Strangers {
    /// Nobody has come yet.
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self {
            pace: Mutex::new(Pace::new(
                limits::STRANGERS_PER_SECOND,
                limits::STRANGERS_BURST_SECONDS,
                Instant::now(),
            )),
            greeted: Arc::new(Semaphore::new(limits::STRANGER_HANDSHAKES)),
            heard: Arc::new(Semaphore::new(limits::STRANGERS_HEARD)),
            metrics,
        }
    }

    /// Whether a circuit of somebody unknown is taken now. Few are at once, so that in every queue
    /// which they share with friends' circuits nearly all room is left to those.
    pub(crate) fn may_come(&self) -> bool {
        let mut pace = match self.pace.lock() {
            Ok(pace) => pace,
            Err(poisoned) => poisoned.into_inner(),
        };
        let may_come = 0 < self.greeted.available_permits()
            && pace.take(limits::STRANGERS_PER_SECOND, Instant::now());
        self.metrics.counts().stranger_came(may_come);
        may_come
    }

    /// Greets the stranger, and lets the core say what there is to say. What it sends is looked at
    /// only if the core wants to hear it.
    pub(crate) async fn greet(
        self: Arc<Self>,
        house: Arc<House>,
        key: PublicKey,
        circuit: Circuit,
    ) {
        let Ok(permit) = Arc::clone(&self.greeted).try_acquire_owned() else {
            return;
        };
        match greet(Arc::clone(&house), key, circuit).await {
            Ok(connection) => {
                let Ok(_room) = Arc::clone(&self.heard).try_acquire_owned() else {
                    return connection.close("too many come at once; come again later");
                };
                let id = SessionId(house.next_session.fetch_add(1, Ordering::Relaxed));
                let (sender, receiver) = connection.split();
                let (answer, is_heard) = oneshot::channel();
                let input = Input::Stranger(key, id, sender.clone(), answer);
                // The core is gone only when everything stops.
                let _stopping = house.inputs.send(input).await;
                if is_heard.await != Ok(true) {
                    let _taken = timeout(limits::GOODBYE, sender.closed()).await;
                    return;
                }
                drop(permit);
                let reason = read(key, id, receiver, house.inputs.clone()).await;
                log::debug!("{key:?}, who is no friend, is gone: {reason}");
                let _stopping = house.inputs.send(Input::SessionEnded(key, id)).await;
            }
            Err(error) => {
                log::debug!("{key:?}, who is no enabled friend, came but failed: {error}")
            }
        }
    }
}
