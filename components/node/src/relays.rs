//! Listening at our own relays: circuits of friends in, the state of each relay out.

use std::{collections::BTreeMap, sync::Arc};

use offset_crypto::PublicKey;
use offset_proto::{ServerAddress, Text};
use offset_relay::{Circuit, RelayClient, RelayListener, RelayStatus};
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
    time::{Duration, sleep},
};

use crate::{
    friends::{Contacts, Strangers},
    input::Input,
    limits,
    view::{ServerStatus, ServerStatuses},
};

/// Keeps listening at the relays that the core names.
pub(crate) struct Relays {
    pub(crate) client: RelayClient,
    /// Whose circuits are let in.
    pub(crate) contacts: watch::Receiver<Contacts>,
    /// Others come when they may.
    pub(crate) strangers: Arc<Strangers>,
    pub(crate) circuits: mpsc::Sender<(PublicKey, Circuit)>,
    /// Counts how often a relay was reached, for those who wait to dial through it.
    pub(crate) reached: watch::Sender<u64>,
    pub(crate) inputs: mpsc::Sender<Input>,
}

/// What a listening task tells.
type Told = (ServerAddress, RelayStatus);

impl Relays {
    /// Runs until the core lets go of the list.
    pub(crate) async fn run(self, mut wanted: watch::Receiver<Vec<ServerAddress>>) {
        let (tell, mut told) = mpsc::channel::<Told>(limits::WAITING_STATUSES);
        let mut statuses = ServerStatuses::new();
        let mut tasks = JoinSet::new();
        let mut listening = BTreeMap::<ServerAddress, AbortHandle>::new();
        loop {
            tokio::select! {
                changed = wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let wanted = wanted.borrow_and_update().clone();
                    statuses.retain(|relay, _| wanted.contains(relay));
                    listening.retain(|relay, task| {
                        let keep = wanted.contains(relay);
                        if !keep {
                            task.abort();
                        }
                        keep
                    });
                    for relay in wanted {
                        listening.entry(relay).or_insert_with_key(|relay| {
                            tasks.spawn(self.listen(relay.clone(), tell.clone(), Duration::ZERO))
                        });
                    }
                }
                Some((relay, status)) = told.recv() => {
                    if !listening.contains_key(&relay) {
                        continue;
                    }
                    let status = shown(status);
                    let is_reached = status.connected;
                    let before = statuses.insert(relay, status);
                    if is_reached && before.is_none_or(|before| !before.connected) {
                        self.reached.send_modify(|count| *count += 1);
                    }
                }
                Some(done) = tasks.join_next_with_id() => {
                    let id = done.map_or_else(|error| error.id(), |(id, ())| id);
                    // One that was aborted is not there any more.
                    let ended = listening.iter_mut().find(|(_, task)| task.id() == id);
                    let Some((relay, task)) = ended else { continue };
                    *task = tasks.spawn(self.listen(relay.clone(), tell.clone(), AGAIN_AFTER));
                    if let Some(status) = statuses.get_mut(relay) {
                        status.connected = false;
                    }
                }
            }
            // The core is gone only when everything stops.
            let _stopping = self.inputs.send(Input::Relays(statuses.clone())).await;
        }
    }

    /// Listens at one relay after a while, until it is aborted or another listener has taken its
    /// place.
    fn listen(
        &self,
        relay: ServerAddress,
        tell: mpsc::Sender<Told>,
        after: Duration,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (contacts, strangers) = (self.contacts.clone(), Arc::clone(&self.strangers));
        let welcome =
            move |key: &PublicKey| contacts.borrow().contains_key(key) || strangers.may_come();
        let client = self.client.clone();
        let circuits = self.circuits.clone();
        async move {
            sleep(after).await;
            match client.listen(&relay, welcome) {
                Ok(listener) => serve(relay, listener, circuits, tell).await,
                Err(error) => {
                    log::warn!("cannot listen at the relay {}: {error}", relay.address);
                    let last_error = Text::cut(&error.to_string());
                    let status = RelayStatus { listening: false, last_error, replaced: false };
                    let _stopping = tell.send((relay, status)).await;
                }
            }
        }
    }
}

async fn serve(
    relay: ServerAddress,
    mut listener: RelayListener,
    circuits: mpsc::Sender<(PublicKey, Circuit)>,
    tell: mpsc::Sender<Told>,
) {
    let mut status = listener.status();
    status.mark_changed();
    loop {
        tokio::select! {
            Ok(()) = status.changed() => {
                let status = status.borrow_and_update().clone();
                if status.replaced {
                    log::error!(
                        "this identity also listens at the relay {} from elsewhere: stop the \
                         other copy of this node at once",
                        relay.address
                    );
                }
                if tell.send((relay.clone(), status)).await.is_err() {
                    return;
                }
            }
            accepted = listener.accept() => match accepted {
                Ok(circuit) => {
                    if circuits.send(circuit).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    log::debug!("no longer listening at the relay {}: {error}", relay.address);
                    return;
                }
            },
        }
    }
}

fn shown(status: RelayStatus) -> ServerStatus {
    let last_error = if status.replaced {
        Text::cut(
            "this identity also listens there from elsewhere: stop the other copy of this node",
        )
    } else {
        status.last_error
    };
    ServerStatus { connected: status.listening, last_error }
}

/// Listening that has ended by itself, though it is wanted, begins again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
