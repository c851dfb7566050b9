//! A node whose disk fails.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use offset_app::{AppClient, ConnectOptions};
use offset_crypto::{Identity, InvoiceId, PaymentId, SystemRng};
use offset_funder::{
    Change,
    state::{InvoiceRow, PaymentRow, State},
};
use offset_proto::{
    ServerAddress,
    app::{ConfigRequest, ErrorCode, Permissions},
    file::{AppTicket, OffsetFile as _},
};
use offset_store::{Error as StoreError, SqliteStore, Store};
use tokio::net::TcpListener;

use crate::{Config, Error, run_on};

/// A store on a disk that may become full.
struct Fragile {
    store: SqliteStore,
    full: Arc<AtomicBool>,
}

impl Store for Fragile {
    fn load(&self) -> Result<State, StoreError> {
        self.store.load()
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        if self.full.load(Ordering::SeqCst) {
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

    fn next_index_epoch(&mut self, at_least: u64) -> Result<u64, StoreError> {
        self.store.next_index_epoch(at_least)
    }
}

#[tokio::test]
async fn a_failing_store_stops_the_node_and_nothing_more_leaves() {
    let identity = Arc::new(Identity::random(&mut SystemRng));
    let app = Identity::random(&mut SystemRng);
    let dir = tempfile::tempdir().unwrap();
    let (database, trusted) = (dir.path().join("node.db"), dir.path().join("trusted"));
    offset_store::init(&database, &identity.public_key()).unwrap();
    std::fs::create_dir(&trusted).unwrap();
    let permissions = Permissions { config: true, ..Permissions::default() };
    let ticket = AppTicket { public_key: app.public_key(), permissions };
    std::fs::write(trusted.join("app"), ticket.to_toml().as_bytes()).unwrap();

    let store = SqliteStore::open(&database, &identity.public_key()).unwrap();
    let reader = store.reader().unwrap();
    let full = Arc::new(AtomicBool::new(false));
    let store = Fragile { store, full: Arc::clone(&full) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = ServerAddress {
        public_key: identity.public_key(),
        address: listener.local_addr().unwrap().to_string().parse().unwrap(),
    };
    let config = Config::new(&database, &trusted);
    let running = tokio::spawn(run_on(
        (store, reader),
        config,
        Arc::clone(&identity),
        (listener, std::future::pending()),
    ));

    let client = AppClient::connect(&app, &node, &ConnectOptions::retrying()).await.unwrap();
    let change = |accept| client.config(ConfigRequest::SetSpontaneous { accept });
    change(false).await.unwrap();
    full.store(true, Ordering::SeqCst);
    match change(true).await {
        Err(offset_app::Error::Refused(error)) => assert_eq!(error.code, ErrorCode::Stopping),
        result => panic!("{result:?}"),
    }
    let result = running.await.unwrap();
    assert!(matches!(result, Err(Error::Store(StoreError::DiskFull(_)))), "{result:?}");

    let store = SqliteStore::open(&database, &identity.public_key()).unwrap();
    assert!(!store.load().unwrap().settings.accepts_spontaneous, "the last durable word");
}
