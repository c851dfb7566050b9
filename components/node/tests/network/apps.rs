//! Applications: tickets, permissions, and the end of the node.

use std::sync::Arc;

use offset_app::{AppClient, ConnectOptions, Error};
use offset_crypto::{
    HashResult, Identity, InvoiceId, Nonce, PaymentId, PlainLock, Signature, SystemRng,
};
use offset_net::NetConfig;
use offset_proto::{
    Credits, Text,
    app::{
        AppRequest, AppRequestId, AppToNode, ConfigRequest, CreateInvoice, ErrorCode, Hold,
        NodeToApp, PayRequest, PaymentTarget, Permission, Permissions,
    },
    payment::{Commit, Invoice},
};

use offset_secure_channel::ChannelIdentity;

use crate::harness::{ALL, Node, chain, order, trust, until};

fn identity() -> Identity {
    Identity::random(&mut SystemRng)
}

/// One request of every kind, with the permission it needs.
async fn requests(node: &Node) -> Vec<(AppRequest, Permission)> {
    let invoice = node.invoice(1).await;
    let terms = CreateInvoice {
        nonce: Nonce::random(&mut SystemRng),
        currency: None,
        amount: Credits(1),
        description: Text::cut(""),
        expires_in_ms: None,
        hold: Hold::None,
    };
    let all = vec![
        (AppRequest::Report, Permission::Read),
        (AppRequest::Subscribe, Permission::Read),
        (AppRequest::Config(ConfigRequest::SetSpontaneous { accept: true }), Permission::Config),
        (
            AppRequest::Routes {
                currency: None,
                amount: Credits(1),
                destination: node.key(),
                exclude: Vec::new(),
            },
            Permission::Routes,
        ),
        (AppRequest::Pay(nothing(node)), Permission::Buyer),
        (
            AppRequest::PaymentStatus { payment_id: PaymentId::random(&mut SystemRng) },
            Permission::Buyer,
        ),
        (AppRequest::CreateInvoice(terms), Permission::Seller),
        (AppRequest::CancelInvoice { invoice_id: invoice.id() }, Permission::Seller),
        (
            AppRequest::InvoiceStatus { invoice_id: InvoiceId::from_bytes([0; 32]) },
            Permission::Seller,
        ),
        (AppRequest::CommitInvoice(Box::new(no_commit(&invoice))), Permission::Seller),
        (AppRequest::CollectInvoice { invoice_id: invoice.id() }, Permission::Seller),
        (AppRequest::Invoices { status: None, after: None }, Permission::Seller),
    ];
    for (request, permission) in &all {
        // A new kind of request must be added above.
        let number = match request {
            AppRequest::Report => 0,
            AppRequest::Subscribe => 1,
            AppRequest::Config(_) => 2,
            AppRequest::Routes { .. } => 3,
            AppRequest::Pay(_) => 4,
            AppRequest::PaymentStatus { .. } => 5,
            AppRequest::CreateInvoice(_) => 6,
            AppRequest::CancelInvoice { .. } => 7,
            AppRequest::InvoiceStatus { .. } => 8,
            AppRequest::CommitInvoice(_) => 9,
            AppRequest::CollectInvoice { .. } => 10,
            AppRequest::Invoices { .. } => 11,
        };
        assert_eq!(all[number].0, *request);
        assert_eq!(request.permission(), *permission);
    }
    all
}

/// A commit that nobody made.
fn no_commit(invoice: &Invoice) -> Commit {
    Commit {
        response_hash: HashResult::from_bytes([0; 32]),
        src_plain_lock: PlainLock::from_bytes([0; 32]),
        dest_hashed_lock: PlainLock::from_bytes([0; 32]).hashed(),
        dest_payment: invoice.dest_payment,
        total_dest_payment: invoice.dest_payment,
        invoice_id: invoice.id(),
        currency: invoice.currency.clone(),
        signature: Signature::from_bytes([0; 64]),
    }
}

/// An order that is refused at once for what it is.
fn nothing(node: &Node) -> PayRequest {
    PayRequest {
        payment_id: PaymentId::random(&mut SystemRng),
        target: PaymentTarget::Spontaneous {
            destination: node.key(),
            amount: Credits(0),
            currency: None,
        },
        max_fee: None,
        deadline_ms: None,
        note: Text::cut(""),
    }
}

fn without(permission: Permission) -> Permissions {
    let mut permissions = ALL;
    match permission {
        Permission::Read => {}
        Permission::Routes => permissions.routes = false,
        Permission::Buyer => permissions.buyer = false,
        Permission::Seller => permissions.seller = false,
        Permission::Config => permissions.config = false,
    }
    permissions
}

#[tokio::test]
async fn every_request_needs_its_permission() {
    let (_relay, _index, nodes) = chain(1).await;
    let node = &nodes[0];
    let requests = requests(node).await;
    let missing = [Permission::Routes, Permission::Buyer, Permission::Seller, Permission::Config];
    let apps = missing.map(async |missing| {
        let app = identity();
        trust(&node.trusted(), missing.name(), app.public_key(), without(missing));
        let client = until("the new ticket", || async {
            AppClient::connect(&app, &node.address, &ConnectOptions::default()).await.ok()
        })
        .await;
        for (request, needed) in &requests {
            let result = client.request(request.clone()).await;
            let denied = matches!(
                &result,
                Err(Error::Refused(error)) if error.code == ErrorCode::PermissionDenied
                    && error.message.as_str().contains(missing.name())
            );
            assert_eq!(denied, *needed == missing, "{request:?} without {missing:?}: {result:?}");
        }
    });
    futures::future::join_all(apps).await;
}

#[tokio::test]
async fn tickets_are_watched() {
    let node = Node::start().await;
    let app = identity();
    let stranger = AppClient::connect(&app, &node.address, &ConnectOptions::default()).await;
    assert!(matches!(stranger, Err(Error::NotTrusted { .. })), "{stranger:?}");

    trust(&node.trusted(), "new", app.public_key(), Permissions::default());
    let client = until("the new ticket", || async {
        AppClient::connect(&app, &node.address, &ConnectOptions::default()).await.ok()
    })
    .await;
    let change = || ConfigRequest::SetSpontaneous { accept: false };
    assert!(matches!(client.config(change()).await, Err(Error::Refused(_))));
    assert!(node.report().await.accepts_spontaneous);

    trust(&node.trusted(), "new", app.public_key(), ALL);
    until("the changed ticket", || async { client.config(change()).await.ok() }).await;

    std::fs::remove_file(node.trusted().join("new")).unwrap();
    until("the end", || async { client.report().await.is_err().then_some(()) }).await;
    assert!(!client.is_open());
    assert!(node.app.is_open());
}

#[tokio::test]
async fn many_requests_at_once_are_all_answered() {
    let node = Node::start().await;
    let asks = (0..3_000).map(|n| {
        let app = node.app.clone();
        async move {
            if n % 2 == 0 {
                app.report().await.map(drop)
            } else {
                app.config(ConfigRequest::SetSpontaneous { accept: n % 3 == 0 }).await
            }
        }
    });
    for result in futures::future::join_all(asks).await {
        result.unwrap();
    }
}

#[tokio::test]
async fn a_number_in_use_ends_the_connection() {
    let node = Node::start().await;
    let app = identity();
    trust(&node.trusted(), "raw", app.public_key(), ALL);
    let channel = Arc::new(ChannelIdentity::new(&app));
    let mut connection = until("the new ticket", || async {
        let net = NetConfig::default();
        offset_net::dial::<AppToNode, NodeToApp>(&channel, &node.address, &net).await.ok()
    })
    .await;
    // Without an index server the answer takes a while.
    let request = || AppToNode {
        request_id: AppRequestId(7),
        request: AppRequest::Routes {
            currency: None,
            amount: Credits(1),
            destination: node.key(),
            exclude: Vec::new(),
        },
    };
    connection.try_send(request()).unwrap();
    connection.try_send(request()).unwrap();
    match connection.recv().await {
        Err(offset_net::Error::Bye(reason)) => assert!(reason.as_str().contains('7'), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(node.app.is_open());
}

#[tokio::test]
async fn a_stopping_node_answers_who_waits() {
    let (_relay, mut index, mut nodes) = chain(2).await;
    let invoice = nodes[1].invoice(1).await;
    // Without an index server the payment waits for one.
    index.stop().await;
    let buyer = nodes.remove(0);
    let (app, order) = (buyer.app.clone(), order(&invoice));
    let waiting = tokio::spawn(async move { app.pay(order).await });
    // Requests of a connection are taken in order, so after this answer the payment waits.
    tokio::task::yield_now().await;
    buyer.report().await;
    let stopped = buyer.stop().await;
    assert!(stopped.is_ok(), "{stopped:?}");
    match waiting.await.unwrap() {
        Err(Error::Refused(error)) => assert_eq!(error.code, ErrorCode::Stopping),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_node_refuses_what_it_cannot_run_with() {
    let node = Node::start().await;
    let app = identity();
    trust(&node.trusted(), "a", app.public_key(), ALL);
    let key = node.key();
    assert_eq!(node.report().await.public_key, key);
    let stopped = node.stop().await;
    assert!(stopped.is_ok(), "{stopped:?}");

    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("db");
    let identity = Arc::new(identity());
    offset_store::init(&database, &identity.public_key()).unwrap();
    let config = offset_node::Config::new(&database, dir.path().join("none"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let result = offset_node::run(config, identity, listener, std::future::pending()).await;
    assert!(matches!(result, Err(offset_node::Error::Trusted { .. })), "{result:?}");

    let other = Arc::new(Identity::random(&mut SystemRng));
    let config = offset_node::Config::new(&database, dir.path());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let result = offset_node::run(config, other, listener, std::future::pending()).await;
    assert!(matches!(result, Err(offset_node::Error::Store(_))), "{result:?}");
}
