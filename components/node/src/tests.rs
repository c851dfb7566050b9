//! A node whose disk is slow, or fails.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use offset_app::{AppClient, ConnectOptions};
use offset_crypto::{Identity, InvoiceId, PaymentId, SystemRng};
use offset_funder::{
    Change, Funder,
    api::{AppId, Command},
    state::{InvoiceRow, PaymentRow, State},
};
use offset_proto::{
    ServerAddress,
    app::{AppRequestId, ConfigRequest, ErrorCode, Permissions},
    file::{AppTicket, OffsetFile as _},
};
use offset_store::{Error as StoreError, SqliteStore, Store, Unsettled, Writer};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle, time::timeout};

use crate::{Config, Error, Shell, apps::Trusted, core::Core, limits};

/// A store on a disk that may become full, or slow.
struct Fragile {
    store: SqliteStore,
    disk: Arc<Disk>,
}

#[derive(Default)]
struct Disk {
    full: AtomicBool,
    stuck: Mutex<bool>,
    changed: Condvar,
}

impl Disk {
    fn set_stuck(&self, stuck: bool) {
        *self.stuck.lock().unwrap() = stuck;
        self.changed.notify_all();
    }
}

impl Store for Fragile {
    fn load(&mut self) -> Result<State, StoreError> {
        self.store.load()
    }

    fn is_unsettled(&self) -> Unsettled {
        self.store.is_unsettled()
    }

    fn settle(&mut self) -> Result<(), StoreError> {
        self.store.settle()
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let stuck = self.disk.stuck.lock().unwrap();
        drop(self.disk.changed.wait_while(stuck, |stuck| *stuck).unwrap());
        if self.disk.full.load(Ordering::SeqCst) {
            return Err(StoreError::DiskFull(PathBuf::from("node.db")));
        }
        self.store.commit(changes)
    }

    fn payment(&self, id: &PaymentId) -> Result<Option<PaymentRow>, StoreError> {
        self.store.payment(id)
    }

    fn invoice(&self, id: &InvoiceId) -> Result<Option<InvoiceRow>, StoreError> {
        self.store.invoice(id)
    }

    fn forget_history(
        &mut self,
        before: offset_proto::Timestamp,
    ) -> Result<bool, offset_store::Error> {
        self.store.forget_history(before)
    }

    fn check_some(&mut self) -> Result<bool, StoreError> {
        self.store.check_some()
    }

    fn next_index_epoch(&mut self, at_least: u64) -> Result<u64, StoreError> {
        self.store.next_index_epoch(at_least)
    }
}

/// A node on such a disk, with an application that may configure it.
struct Node {
    identity: Arc<Identity>,
    client: AppClient,
    disk: Arc<Disk>,
    dir: TempDir,
    running: JoinHandle<Result<(), Error>>,
}

impl Node {
    async fn start() -> Self {
        let identity = Arc::new(Identity::random(&mut SystemRng));
        let app = Identity::random(&mut SystemRng);
        let dir = tempfile::tempdir().unwrap();
        let (database, trusted) = (dir.path().join("node.db"), dir.path().join("trusted"));
        offset_store::init(&database, &identity.public_key()).unwrap();
        std::fs::create_dir(&trusted).unwrap();
        let permissions = Permissions { config: true, ..Permissions::default() };
        let ticket = AppTicket::new(app.public_key(), permissions);
        std::fs::write(trusted.join("app"), ticket.to_toml().as_bytes()).unwrap();

        let store = SqliteStore::open(&database, &identity.public_key()).unwrap();
        let reader = store.reader().unwrap();
        let disk = Arc::new(Disk::default());
        let store = Fragile { store, disk: Arc::clone(&disk) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = ServerAddress {
            public_key: identity.public_key(),
            address: listener.local_addr().unwrap().to_string().parse().unwrap(),
        };
        let config = Config::new(&database, &trusted);
        let node = Arc::clone(&identity);
        let never = std::future::pending();
        let running = tokio::spawn(
            crate::Node::on((store, reader, 1), config, node).unwrap().run(listener, never),
        );
        let options = ConnectOptions::retrying();
        let client = AppClient::connect(&app, &address, &options).await.unwrap();
        Self { identity, client, disk, dir, running }
    }

    async fn accept_spontaneous(&self, accept: bool) -> Result<(), offset_app::Error> {
        self.client.config(ConfigRequest::SetSpontaneous { accept }).await
    }
}

#[tokio::test]
async fn a_failing_store_stops_the_node_and_nothing_more_leaves() {
    let node = Node::start().await;
    node.accept_spontaneous(false).await.unwrap();
    node.disk.full.store(true, Ordering::SeqCst);
    match node.accept_spontaneous(true).await {
        Err(offset_app::Error::Refused(error)) => assert_eq!(error.code, ErrorCode::Stopping),
        result => panic!("{result:?}"),
    }
    let result = node.running.await.unwrap();
    assert!(matches!(result, Err(Error::Store(StoreError::DiskFull(_)))), "{result:?}");

    let database = node.dir.path().join("node.db");
    let mut store = SqliteStore::open(&database, &node.identity.public_key()).unwrap();
    assert!(!store.load().unwrap().settings.accepts_spontaneous, "the last durable word");
}

#[tokio::test]
async fn nothing_leaves_before_the_disk_has_it() {
    let node = Node::start().await;
    node.accept_spontaneous(false).await.unwrap();
    node.disk.set_stuck(true);
    let mut change = Box::pin(node.accept_spontaneous(true));
    assert!(timeout(Duration::from_millis(300), &mut change).await.is_err());
    // The report changes nothing, but tells what is not durable. It must wait by itself: its batch is
    // another one.
    let mut report = Box::pin(node.client.report());
    assert!(timeout(Duration::from_millis(300), &mut report).await.is_err());
    node.disk.set_stuck(false);
    let (changed, report) = tokio::join!(change, report);
    changed.unwrap();
    assert!(report.unwrap().accepts_spontaneous);
    assert!(!node.running.is_finished());
}

#[tokio::test]
async fn what_waits_for_a_slow_disk_is_done_together() {
    let node = Node::start().await;
    node.disk.set_stuck(true);
    let changes = futures::future::join_all((0..500).map(|n| node.accept_spontaneous(n % 2 == 0)));
    let mut changes = Box::pin(changes);
    assert!(timeout(Duration::from_millis(100), &mut changes).await.is_err());
    node.disk.set_stuck(false);
    for result in changes.await {
        result.unwrap();
    }
    assert!(!node.client.report().await.unwrap().accepts_spontaneous);
}

#[tokio::test]
async fn however_often_it_flushes_no_more_is_handed_to_a_stuck_disk_than_it_takes() {
    let identity = Arc::new(Identity::random(&mut SystemRng));
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("node.db");
    offset_store::init(&database, &identity.public_key()).unwrap();
    let mut store = SqliteStore::open(&database, &identity.public_key()).unwrap();
    let (state, reader) = (store.load().unwrap(), store.reader().unwrap());
    let disk = Arc::new(Disk::default());
    disk.set_stuck(true);
    let (sender, durable) = mpsc::channel(limits::WAITING_BATCHES + 1);
    let done = move |result| sender.try_send(result).unwrap();
    let writer = Writer::spawn(Fragile { store, disk: Arc::clone(&disk) }, reader, done).unwrap();

    let config = Config::new(&database, dir.path());
    let clock = config.clock.clone();
    let funder =
        Funder::new(Arc::clone(&identity), state, config.funder.clone(), clock.now()).unwrap();
    let (outside, inputs, _shell) = Shell::build(&config, &identity, 1, Trusted::new());
    let waiting = VecDeque::new();
    let mut core = Core {
        funder,
        clock,
        writer,
        durable,
        inputs,
        outside,
        waiting,
        found: false,
        metrics: config.metrics.clone(),
    };

    for n in 0..50 {
        // As a timeout would, that is due while the state of an index server changes.
        let command = Command::Config(ConfigRequest::SetSpontaneous { accept: n % 2 == 0 });
        let (now, id) = (core.clock.now(), AppRequestId(n));
        core.funder.handle_command(now, &mut SystemRng, AppId(1), id, command);
        timeout(Duration::from_secs(60), core.flush()).await.expect("it never waits").unwrap();
        assert!(core.waiting.len() <= limits::WAITING_BATCHES);
    }
    assert_eq!(core.waiting.len(), limits::WAITING_BATCHES);

    disk.set_stuck(false);
    while !core.waiting.is_empty() {
        let durable = timeout(Duration::from_secs(60), core.durable.recv()).await.unwrap();
        core.handle_durable(durable).unwrap();
        core.flush().await.unwrap();
    }
    core.writer.close();
    let mut store = SqliteStore::open(&database, &identity.public_key()).unwrap();
    assert!(!store.load().unwrap().settings.accepts_spontaneous, "the last word");
}
