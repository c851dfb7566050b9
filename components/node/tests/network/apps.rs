//! Applications: tickets, permissions, and the end of the node.

use std::sync::Arc;

use offset_app::{AppClient, ConnectOptions, Error};
use offset_crypto::{Identity, PaymentId, SystemRng};
use offset_net::NetConfig;
use offset_proto::{
    Credits, Currency, Text,
    app::{
        AppLimits, AppReply, AppRequest, AppRequestId, AppToNode, ConfigRequest, ErrorCode,
        NodeToApp, PayRequest, PaymentTarget, Permission, Permissions,
    },
    file::AppTicket,
};

use offset_secure_channel::ChannelIdentity;

use crate::{
    harness::{ALL, Node, chain, order, trust, trust_with, until},
    samples,
};

fn identity() -> Identity {
    Identity::random(&mut SystemRng)
}

/// Every request that there is, and every change of configuration.
fn every_request() -> Vec<AppRequest> {
    let requests = samples::app::requests().into_iter().map(|(_, request)| request);
    let configs = samples::app::configs().into_iter();
    requests.chain(configs.map(|(_, change)| AppRequest::Config(change))).collect()
}

/// Connects an application whose ticket was just made.
async fn connect(app: &Identity, node: &Node) -> AppClient {
    until("the new ticket", || async {
        AppClient::connect(app, &node.address, &ConnectOptions::default()).await.ok()
    })
    .await
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

/// A node without friends, so that a payment ends at once. What was asked shows in the report, and
/// in whether it has the payment.
#[tokio::test]
async fn every_request_needs_its_permission() {
    let node = Node::start().await;
    let before = node.report().await;
    let missing = [Permission::Routes, Permission::Buyer, Permission::Seller, Permission::Config];
    let apps = missing.map(async |missing| {
        let app = identity();
        trust(&node.trusted(), missing.name(), app.public_key(), without(missing));
        (missing, connect(&app, &node).await)
    });
    let apps = futures::future::join_all(apps).await;
    let denied = |missing: Permission, result: &Result<AppReply, Error>| {
        matches!(
            result,
            Err(Error::Refused(error)) if error.code == ErrorCode::PermissionDenied
                && error.message.as_str().contains(missing.name())
        )
    };
    // First what must be refused: nothing of it shows.
    let mut refused = 0;
    for (missing, client) in &apps {
        for request in every_request() {
            if request.permission() == *missing {
                let result = client.request(request.clone()).await;
                assert!(denied(*missing, &result), "{request:?} without {missing:?}: {result:?}");
                refused += 1;
            }
        }
    }
    assert!(samples::app::configs().len() < refused, "{refused}");
    assert_eq!(node.report().await, before);
    let payment = node.app.payment_status(samples::app::pay().payment_id).await;
    assert!(matches!(payment, Err(Error::Refused(error)) if error.code == ErrorCode::NotFound));
    // Then that nothing else is refused for want of a permission.
    for (missing, client) in &apps {
        for request in every_request() {
            if request.permission() != *missing {
                let result = client.request(request.clone()).await;
                assert!(!denied(*missing, &result), "{request:?} without {missing:?}: {result:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_revoked_app_is_cut_off_while_it_asks() {
    let node = Node::start().await;
    let app = identity();
    trust(&node.trusted(), "app2", app.public_key(), ALL);
    let client = connect(&app, &node).await;
    // Requests in flight all the time: some wait for an index server, some are answered at once.
    let asking = (0..20).map(|n| {
        let client = client.clone();
        async move {
            loop {
                let request = AppRequest::Routes {
                    currency: None,
                    amount: Credits(1),
                    destination: client.node(),
                    exclude: Vec::new(),
                };
                let request = if n % 2 == 0 { request } else { AppRequest::report() };
                if let Err(error @ (Error::Lost(_) | Error::Protocol(_))) =
                    client.request(request).await
                {
                    return error;
                }
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
        }
    });
    let asking = tokio::spawn(futures::future::join_all(asking));
    std::fs::remove_file(node.trusted().join("app2")).unwrap();
    for error in asking.await.unwrap() {
        assert!(matches!(&error, Error::Lost(reason) if reason.contains("ticket")), "{error:?}");
    }
    assert!(!client.is_open());
    let again = AppClient::connect(&app, &node.address, &ConnectOptions::default()).await;
    assert!(matches!(again, Err(Error::NotTrusted { .. })), "{again:?}");
}

#[tokio::test]
async fn an_app_that_asks_too_fast_is_told_so() {
    let node = Node::start().await;
    let app = identity();
    let limits = AppLimits { commands_per_second: Some(2), ..AppLimits::default() };
    trust_with(
        &node.trusted(),
        "slow",
        &AppTicket { limits, ..AppTicket::new(app.public_key(), ALL) },
    );
    let client = connect(&app, &node).await;
    let asks = (0..100).map(|_| client.report());
    let answers = futures::future::join_all(asks).await;
    let busy = |answer: &&Result<_, Error>| {
        matches!(answer, Err(Error::Refused(error)) if error.code == ErrorCode::Busy
            && error.message.as_str().contains("2 requests a second"))
    };
    let refused = answers.iter().filter(busy).count();
    assert!(0 < refused && refused <= 80, "{refused}");
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 100 - refused);
    // Orders of payments are not counted, and a higher pace counts at once.
    let orders = (0..100).map(|_| client.pay(nothing(&node)));
    for answer in futures::future::join_all(orders).await {
        assert!(matches!(&answer, Err(Error::Refused(error)) if error.code == ErrorCode::Invalid));
    }
    let limits = AppLimits { commands_per_second: Some(100_000), ..AppLimits::default() };
    trust_with(
        &node.trusted(),
        "slow",
        &AppTicket { limits, ..AppTicket::new(app.public_key(), ALL) },
    );
    until("the new pace", || async {
        let asks = (0..100).map(|_| client.report());
        futures::future::try_join_all(asks).await.ok()
    })
    .await;
}

#[tokio::test]
async fn a_limited_app_has_no_part_in_what_others_ordered() {
    let (_relay, _index, nodes) = chain(2).await;
    let (buyer, seller) = (&nodes[0], &nodes[1]);
    let limited = identity();
    let most = [(Currency::fallback(), Credits(5))].into();
    let limits = AppLimits { max_payment: most, ..AppLimits::default() };
    let ticket = AppTicket { limits, ..AppTicket::new(limited.public_key(), ALL) };
    trust_with(&buyer.trusted(), "limited", &ticket);
    let limited = connect(&limited, buyer).await;
    let unlimited = identity();
    trust(&buyer.trusted(), "unlimited", unlimited.public_key(), ALL);
    let unlimited = connect(&unlimited, buyer).await;

    let denied = |result: Result<(), Error>| match result {
        Err(Error::Refused(error)) => error.code == ErrorCode::PermissionDenied,
        Ok(()) | Err(_) => false,
    };
    // A commit of more than it may spend, by which a seller would take it for the buyer.
    let big = order(&seller.invoice(50).await);
    let id = big.payment_id;
    buyer.app.pay_by_commit(big).await.unwrap();
    assert!(denied(limited.payment_commit(id).await.map(drop)));
    assert!(denied(limited.cancel_payment(id).await));
    unlimited.payment_commit(id).await.unwrap();
    // Its own it gets, and so do those without limits.
    let small = order(&seller.invoice(5).await);
    let id = small.payment_id;
    limited.pay_by_commit(small).await.unwrap();
    limited.payment_commit(id).await.unwrap();
    unlimited.payment_commit(id).await.unwrap();
    let unknown = limited.payment_commit(PaymentId::random(&mut SystemRng)).await;
    assert!(matches!(unknown, Err(Error::Refused(error)) if error.code == ErrorCode::NotFound));
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
        max_parts: None,
    }
}

#[tokio::test]
async fn tickets_are_watched() {
    let node = Node::start().await;
    let app = identity();
    let stranger = AppClient::connect(&app, &node.address, &ConnectOptions::default()).await;
    assert!(matches!(stranger, Err(Error::NotTrusted { .. })), "{stranger:?}");

    trust(&node.trusted(), "new", app.public_key(), Permissions::default());
    let client = connect(&app, &node).await;
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
    let limits = AppLimits { commands_per_second: Some(100_000), ..AppLimits::default() };
    let app = identity();
    trust_with(
        &node.trusted(),
        "fast",
        &AppTicket { limits, ..AppTicket::new(app.public_key(), ALL) },
    );
    let app = connect(&app, &node).await;
    let asks = (0..3_000).map(|n| {
        let app = app.clone();
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
async fn one_app_does_not_take_the_places_of_all() {
    let node = Node::start().await;
    let app = identity();
    trust(&node.trusted(), "greedy", app.public_key(), Permissions::default());
    let mut taken = vec![connect(&app, &node).await];
    let refused = loop {
        let next = AppClient::connect(&app, &node.address, &ConnectOptions::default()).await;
        // Its place shows with the first answer.
        let next = match next {
            Ok(next) => next.report().await.map(|_| next),
            Err(error) => Err(error),
        };
        match next {
            Ok(next) => taken.push(next),
            Err(error) => break error,
        }
        assert!(taken.len() <= 256, "there is no end of it");
    };
    assert!(refused.to_string().contains("connections already"), "{refused}");
    // Others are not concerned, and a place that is given back can be taken again.
    let other = identity();
    trust(&node.trusted(), "other", other.public_key(), Permissions::default());
    connect(&other, &node).await.report().await.unwrap();
    taken.truncate(1);
    until("a place", || async {
        let next =
            AppClient::connect(&app, &node.address, &ConnectOptions::default()).await.ok()?;
        next.report().await.ok()
    })
    .await;
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
