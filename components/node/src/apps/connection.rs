//! One connection of an application: requests in, one answer to each out.
//!
//! Permissions are checked here, at the moment a request is taken, against the directory as it is
//! then.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use log::Level;
use offset_crypto::PublicKey;
use offset_funder::api::{AppId, Payer};
use offset_net::{Connection, Incoming, Receiver, SendError, Sender};
use offset_proto::{
    Text,
    app::{AppError, AppRequest, AppRequestId, AppToNode, ErrorCode, NodeToApp},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{Instant, timeout},
};

use crate::{
    Metrics,
    apps::{Outlet, pace::Pace, trusted::Trusted},
    input::Input,
    limits,
};

/// What every connection needs.
#[derive(Debug)]
pub(crate) struct House {
    pub(crate) trusted: watch::Receiver<Trusted>,
    pub(crate) inputs: mpsc::Sender<Input>,
    /// Numbers connections.
    pub(crate) next_app: AtomicU64,
    pub(crate) metrics: Metrics,
    /// The turns of each application.
    pub(crate) paces: Mutex<BTreeMap<PublicKey, Pace>>,
    /// How many connections each application has; none without any.
    pub(crate) open: Mutex<BTreeMap<PublicKey, usize>>,
}

/// The place of one connection among those of its application; given back when it is dropped.
struct Place<'a> {
    house: &'a House,
    key: PublicKey,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut open = self.house.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.key);
            }
        }
    }
}

impl House {
    /// Whether an application may ask this now, by its tickets as they are now; and who pays, where
    /// something is to be paid.
    fn admit(&self, key: &PublicKey, request: &AppRequest) -> Result<Payer, AppError> {
        let needed = request.permission();
        let grant = self.trusted.borrow().get(key).cloned();
        let Some(grant) = grant.filter(|grant| grant.permissions.allows(needed)) else {
            let sentence = format!(
                "this application lacks the permission '{}': make a ticket that has it, and put \
                 it into the node's directory of trusted applications",
                needed.name()
            );
            self.metrics.counts().permission_refused.raise();
            return Err(error(ErrorCode::PermissionDenied, &sentence));
        };
        let rate = grant.pace();
        if !self.take_turn(key, rate, request) {
            let sentence = format!(
                "this application sends more than {rate} requests a second: wait a moment, or \
                 raise commands_per_second in its ticket"
            );
            self.metrics.counts().pace_refused.raise();
            return Err(error(ErrorCode::Busy, &sentence));
        }
        Ok(Payer { app: *key, limits: grant.limits })
    }

    /// Whether the application has a turn for this request. Orders of payments need none.
    fn take_turn(&self, key: &PublicKey, rate: u32, request: &AppRequest) -> bool {
        if request.waits_for_payment() {
            return true;
        }
        let now = Instant::now();
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Pace::new(rate, limits::APP_BURST_SECONDS, now);
        paces.entry(*key).or_insert_with(new).take(rate, now)
    }

    /// A place for another connection of an application, unless it has as many as it may.
    fn place(&self, key: PublicKey) -> Option<Place<'_>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(key).or_default();
        if limits::CONNECTIONS_OF_AN_APP <= *count {
            return None;
        }
        *count += 1;
        Some(Place { house: self, key })
    }

    /// Forgets the turns of applications that are not trusted any more.
    fn forget_strangers(&self) {
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        let trusted = self.trusted.borrow();
        paces.retain(|key, _| trusted.contains_key(key));
    }
}

/// Requests that were taken and not answered yet. Each holds a place.
#[derive(Debug, Default)]
struct Unanswered(Mutex<BTreeMap<AppRequestId, OwnedSemaphorePermit>>);

/// Serves one application until one side ends it, its ticket is gone, or the node stops.
pub(crate) async fn serve(house: Arc<House>, incoming: Incoming) {
    let key = incoming.peer();
    let connection: Connection<NodeToApp, AppToNode> = match incoming.open().await {
        Ok(connection) => connection,
        Err(error) => return log::debug!("application {key:?}: {error}"),
    };
    let Some(_place) = house.place(key) else {
        log::warn!("application {key:?} has too many connections; another one is refused");
        let (sender, _receiver) = connection.split();
        let most = limits::CONNECTIONS_OF_AN_APP;
        sender.close(&format!("this application has {most} connections already; close some"));
        let _taken = timeout(limits::GOODBYE, sender.closed()).await;
        return;
    };
    house.forget_strangers();
    let app = AppId(house.next_app.fetch_add(1, Ordering::Relaxed));
    let (sender, receiver) = connection.split();
    let (queue, outgoing) = mpsc::channel(Outlet::QUEUE);
    let outlet = Outlet { queue, connection: sender.clone() };
    if house.inputs.send(Input::AppOpened(app, outlet)).await.is_err() {
        return sender.close(STOPPING);
    }
    log::debug!("application {key:?} is connected");
    let unanswered = Unanswered::default();
    let reason = tokio::select! {
        reason = read(&house, (app, key), (&sender, receiver), &unanswered) => reason,
        reason = write(&sender, outgoing, &unanswered) => reason,
        () = revoked(house.trusted.clone(), &key) => {
            log::info!("application {key:?} is no longer trusted");
            "this application's ticket was taken out of the node's directory".to_owned()
        }
    };
    log::debug!("application {key:?} is disconnected: {reason}");
    sender.close(&reason);
    let _stopping = house.inputs.send(Input::AppClosed(app)).await;
    // A peer that takes nothing is left to the connection's own timeout.
    let _taken = timeout(limits::GOODBYE, sender.closed()).await;
}

/// Takes requests while there is room for their answers. Says why it ended.
async fn read(
    house: &House,
    (app, key): (AppId, PublicKey),
    (sender, mut receiver): (&Sender<NodeToApp>, Receiver<AppToNode>),
    unanswered: &Unanswered,
) -> String {
    let places = Arc::new(Semaphore::new(limits::APP_REQUESTS));
    let mut warned = BTreeSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return STOPPING.to_owned();
        };
        let AppToNode { request_id, request } = match receiver.recv().await {
            Ok(message) => message,
            Err(error) => return error.to_string(),
        };
        if !unanswered.add(request_id, place) {
            return format!("the number {} is that of a request that still waits", request_id.0);
        }
        let payer = match house.admit(&key, &request) {
            Ok(payer) => payer,
            Err(refused) => {
                // An application that insists does not fill the log.
                let first = warned.insert((refused.code, request.permission()));
                let level = if first { Level::Warn } else { Level::Debug };
                log::log!(level, "application {key:?}: {refused}");
                unanswered.remove(request_id);
                let response = NodeToApp::Response { request_id, result: Err(refused) };
                if sender.send(response).await.is_err() {
                    return "the application does not read".to_owned();
                }
                continue;
            }
        };
        let input = Input::AppRequest(app, request_id, Box::new(request), payer);
        if house.inputs.send(input).await.is_err() {
            // The goodbye is the writing half's.
            std::future::pending::<()>().await;
        }
    }
}

/// Sends replies and events. When the core lets go, what is unanswered is answered. Says why it
/// ended.
async fn write(
    sender: &Sender<NodeToApp>,
    mut outgoing: mpsc::Receiver<NodeToApp>,
    unanswered: &Unanswered,
) -> String {
    while let Some(message) = outgoing.recv().await {
        let answered = match &message {
            NodeToApp::Response { request_id, .. } => match unanswered.remove(*request_id) {
                Some(place) => Some((*request_id, place)),
                None => continue,
            },
            NodeToApp::Event(_) => None,
        };
        let result = match (sender.send(message).await, &answered) {
            (Err(SendError::TooLong), Some((request_id, _))) => {
                let result = Err(error(ErrorCode::Refused, "the answer is too long for a message"));
                sender.send(NodeToApp::Response { request_id: *request_id, result }).await
            }
            (result, _) => result,
        };
        if let Err(error) = result {
            return error.to_string();
        }
    }
    for request_id in unanswered.take_all() {
        let result = Err(error(ErrorCode::Stopping, STOPPING));
        if sender.send(NodeToApp::Response { request_id, result }).await.is_err() {
            break;
        }
    }
    STOPPING.to_owned()
}

/// Waits until the application has no ticket any more.
async fn revoked(mut trusted: watch::Receiver<Trusted>, key: &PublicKey) {
    while trusted.borrow_and_update().contains_key(key) {
        if trusted.changed().await.is_err() {
            // Nobody watches the directory any more: the node is stopping.
            std::future::pending::<()>().await;
        }
    }
}

fn error(code: ErrorCode, message: &str) -> AppError {
    AppError { code, message: Text::cut(message) }
}

impl Unanswered {
    /// False when there is one with this number.
    fn add(&self, id: AppRequestId, place: OwnedSemaphorePermit) -> bool {
        self.lock().insert(id, place).is_none()
    }

    fn remove(&self, id: AppRequestId) -> Option<OwnedSemaphorePermit> {
        self.lock().remove(&id)
    }

    fn take_all(&self) -> Vec<AppRequestId> {
        std::mem::take(&mut *self.lock()).into_keys().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AppRequestId, OwnedSemaphorePermit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const STOPPING: &str = "the node is stopping";
