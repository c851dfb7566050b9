//! The client against a stand-in for a node, over loopback.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use offset_app::{AppClient, ConnectOptions, Error};
use offset_crypto::{Identity, InvoiceId, PaymentId, PublicKey, SeededRng, SystemRng};
use offset_net::{Connection, Listener, ServeConfig};
use offset_proto::{
    Currency, ServerAddress, Text,
    app::{AppError, AppEvent, AppReply, AppRequest, AppToNode, ErrorCode, NodeToApp},
    report::{NodeReport, ReportMutation},
    session::Purpose,
};
use offset_secure_channel::ChannelIdentity;
use tokio::task::AbortHandle;

type NodeSide = Connection<NodeToApp, AppToNode>;

/// A node that serves every connection with `serve`, to the apps that `trusts` allows.
async fn node<F: Future<Output = ()> + Send + 'static>(
    trusts: impl Fn(&PublicKey) -> bool + Send + Sync + 'static,
    serve: impl Fn(NodeSide) -> F + Send + Sync + Clone + 'static,
) -> (ServerAddress, AbortHandle) {
    let identity = Identity::random(&mut SystemRng);
    let channel = Arc::new(ChannelIdentity::new(&identity));
    let config = ServeConfig::new([Purpose::App]);
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), channel, config).await.unwrap();
    let address = listener.local_address().unwrap().to_string().parse().unwrap();
    let handler = move |incoming: offset_net::Incoming| {
        let serve = serve.clone();
        async move { serve(incoming.open().await.unwrap()).await }
    };
    let serving = listener.serve(move |key, _| trusts(key), handler, std::future::pending());
    let task = tokio::spawn(serving).abort_handle();
    (ServerAddress { public_key: identity.public_key(), address }, task)
}

fn app() -> Identity {
    Identity::random(&mut SystemRng)
}

fn report() -> NodeReport {
    NodeReport {
        public_key: Identity::random(&mut SeededRng::new(1)).public_key(),
        default_currency: Currency::fallback(),
        accepts_spontaneous: true,
        recovering: false,
        recoverable: Vec::new(),
        relays: Vec::new(),
        index_servers: Vec::new(),
        friends: Vec::new(),
        more_friends: false,
        decimals: Default::default(),
        last_event: 0,
    }
}

fn refusal(message: &str) -> AppError {
    AppError { code: ErrorCode::NotFound, message: Text::cut(message) }
}

async fn answer(connection: &mut NodeSide, to: &AppToNode, result: Result<AppReply, AppError>) {
    let response = NodeToApp::Response { request_id: to.request_id, result };
    connection.sender().send(response).await.unwrap();
}

/// Answers each with its own request id as text, the last first.
async fn backwards(mut connection: NodeSide) {
    loop {
        let mut requests = Vec::new();
        for _ in 0..10 {
            let Ok(request) = connection.recv().await else { return };
            requests.push(request);
        }
        for request in requests.iter().rev() {
            let AppRequest::PaymentStatus { payment_id } = &request.request else {
                panic!("{request:?}")
            };
            answer(&mut connection, request, Err(refusal(&payment_id.to_string()))).await;
        }
    }
}

#[tokio::test]
async fn replies_find_their_requests() {
    let (node, _task) = node(|_| true, backwards).await;
    let client = AppClient::connect(&app(), &node, &ConnectOptions::default()).await.unwrap();
    assert_eq!(client.node(), node.public_key);
    let asks = (0..10u8).map(|n| {
        let client = client.clone();
        async move {
            let id = PaymentId::from_bytes([n; 16]);
            match client.payment_status(id).await {
                Err(Error::Refused(error)) => assert_eq!(error, refusal(&id.to_string())),
                other => panic!("{other:?}"),
            }
        }
    });
    futures::future::join_all(asks).await;
    assert!(client.is_open());
}

#[tokio::test]
async fn a_silent_node_meets_the_deadline_and_a_late_reply_is_dropped() {
    let silent = |mut connection: NodeSide| async move {
        let first = connection.recv().await.unwrap();
        let second = connection.recv().await.unwrap();
        answer(&mut connection, &first, Ok(AppReply::Done)).await;
        answer(&mut connection, &second, Ok(AppReply::Report(Box::new(report())))).await;
        drop(connection.recv().await);
    };
    let (node, _task) = node(|_| true, silent).await;
    let client = AppClient::connect(&app(), &node, &ConnectOptions::default()).await.unwrap();
    let late = client.request_within(AppRequest::report(), Duration::from_millis(1)).await;
    assert!(matches!(late, Err(Error::NoAnswer(_))), "{late:?}");
    assert_eq!(client.report().await.unwrap(), report());
}

#[tokio::test]
async fn the_wrong_kind_of_reply_and_a_lost_connection_are_told() {
    let serve = |mut connection: NodeSide| async move {
        let first = connection.recv().await.unwrap();
        answer(&mut connection, &first, Ok(AppReply::Done)).await;
        connection.recv().await.unwrap();
        connection.close("the node is stopping");
    };
    let (node, _task) = node(|_| true, serve).await;
    let client = AppClient::connect(&app(), &node, &ConnectOptions::default()).await.unwrap();
    assert!(matches!(client.report().await, Err(Error::Protocol(_))));
    let invoice_id = InvoiceId::from_bytes([0; 32]);
    match client.cancel_invoice(invoice_id).await {
        Err(Error::Lost(reason)) => assert!(reason.contains("stopping"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(!client.is_open());
    assert!(matches!(client.report().await, Err(Error::Lost(_))));
    assert!(matches!(client.subscribe().await, Err(Error::Lost(_))));
}

#[tokio::test]
async fn a_subscription_follows_the_report() {
    let serve = |mut connection: NodeSide| async move {
        let request = connection.recv().await.unwrap();
        assert_eq!(request.request, AppRequest::Subscribe);
        answer(&mut connection, &request, Ok(AppReply::Done)).await;
        let first = AppEvent::Report { sequence: 0, report: Box::new(report()) };
        connection.sender().send(NodeToApp::Event(first)).await.unwrap();
        for sequence in [1, 2, 4] {
            let mutation = Box::new(ReportMutation::SetAcceptsSpontaneous(sequence == 2));
            let event = AppEvent::Mutation { sequence, mutation };
            connection.sender().send(NodeToApp::Event(event)).await.unwrap();
        }
        drop(connection.recv().await);
    };
    let (node, _task) = node(|_| true, serve).await;
    let client = AppClient::connect(&app(), &node, &ConnectOptions::default()).await.unwrap();
    let mut events = client.subscribe().await.unwrap();
    assert_eq!(*events.report(), report());
    events.next().await.unwrap();
    assert!(!events.report().accepts_spontaneous);
    events.next().await.unwrap();
    assert!(events.report().accepts_spontaneous);
    assert!(matches!(StreamExt::next(&mut events).await, Some(Err(Error::Protocol(_)))));
    assert!(StreamExt::next(&mut events).await.is_none());
}

#[tokio::test]
async fn strangers_and_wrong_keys_are_told_apart_from_silence() {
    let (node, task) = node(|_| false, backwards).await;
    let options = ConnectOptions::default();
    let stranger = AppClient::connect(&app(), &node, &options).await;
    assert!(matches!(stranger, Err(Error::NotTrusted { .. })), "{stranger:?}");

    let wrong = ServerAddress { public_key: app().public_key(), ..node.clone() };
    let result = AppClient::connect(&app(), &wrong, &options).await;
    assert!(matches!(result, Err(Error::NotTrusted { .. } | Error::WrongKey { .. })), "{result:?}");

    task.abort();
    let gone = loop {
        match AppClient::connect(&app(), &node, &options).await {
            // The aborted task lets go of the port when the runtime gets to it.
            Err(Error::NotTrusted { .. }) => tokio::task::yield_now().await,
            other => break other,
        }
    };
    assert!(matches!(gone, Err(Error::Unreachable(_))), "{gone:?}");
}

#[tokio::test]
async fn a_node_that_is_just_starting_is_waited_for() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let identity = Identity::random(&mut SystemRng);
    let public_key = identity.public_key();
    let node = ServerAddress { public_key, address: address.to_string().parse().unwrap() };
    let options = ConnectOptions { retry_for: Duration::from_secs(20), ..Default::default() };
    let connecting = tokio::spawn({
        let node = node.clone();
        async move { AppClient::connect(&app(), &node, &options).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let channel = Arc::new(ChannelIdentity::new(&identity));
    let config = ServeConfig::new([Purpose::App]);
    let listener = Listener::bind(address, channel, config).await.unwrap();
    let handler = |incoming: offset_net::Incoming| async move {
        backwards(incoming.open().await.unwrap()).await;
    };
    tokio::spawn(listener.serve(|_, _| true, handler, std::future::pending()));
    connecting.await.unwrap().unwrap();
}
