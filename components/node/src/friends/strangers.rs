//! Whoever comes and is no enabled friend (protocol, section 8, *Removal*): it is told so, once a
//! session, at a price that is the same however many come.

use std::sync::{Arc, Mutex};

use offset_crypto::PublicKey;
use offset_relay::Circuit;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{House, keeper::greet};
use crate::{apps::pace::Pace, input::Input, limits, metrics::Metrics};

/// How many may be told, and how fast.
pub(crate) struct Strangers {
    pace: Mutex<Pace>,
    greeted: Arc<Semaphore>,
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

    /// Greets the stranger, and lets the core say what there is to say. Nothing that it sends is
    /// looked at.
    pub(crate) async fn greet(
        self: Arc<Self>,
        house: Arc<House>,
        key: PublicKey,
        circuit: Circuit,
    ) {
        let Ok(_permit) = Arc::clone(&self.greeted).try_acquire_owned() else {
            return;
        };
        match greet(Arc::clone(&house), key, circuit).await {
            Ok(connection) => {
                let (sender, _receiver) = connection.split();
                // The core is gone only when everything stops.
                let _stopping = house.inputs.send(Input::Stranger(key, sender.clone())).await;
                let _taken = timeout(limits::GOODBYE, sender.closed()).await;
            }
            Err(error) => {
                log::debug!("{key:?}, who is no enabled friend, came but failed: {error}")
            }
        }
    }
}
