//! What goes into the outlets, and who is cut off.

use std::sync::Arc;

use offset_crypto::{Identity, SeededRng};
use offset_funder::api::AppId;
use offset_net::{Connection, NetConfig, accept_over, connect_over};
use offset_proto::{
    Currency,
    app::{AppEvent, AppReply, AppRequestId, AppToNode, NodeToApp},
    report::{NodeReport, ReportMutation},
};
use offset_secure_channel::ChannelIdentity;
use tokio::sync::mpsc;

use super::{Apps, Outlet, Told};
use crate::{Metrics, limits};

/// An outlet, what comes out of it, and the connection on the node's side.
async fn outlet() -> (Outlet, mpsc::Receiver<NodeToApp>, Connection<NodeToApp, AppToNode>) {
    let [node, app] = [1, 2]
        .map(|seed| Arc::new(ChannelIdentity::new(&Identity::random(&mut SeededRng::new(seed)))));
    let (near, far) = tokio::io::duplex(64 * 1024);
    let expected = node.public_key();
    tokio::spawn(async move {
        let connection =
            connect_over::<AppToNode, NodeToApp>(far, &app, expected, &NetConfig::default()).await;
        drop(connection.unwrap().recv().await);
    });
    let connection = accept_over(near, &node, &NetConfig::default(), |_| true).await.unwrap();
    let (queue, outgoing) = mpsc::channel(Outlet::QUEUE);
    (Outlet { queue, connection: connection.sender() }, outgoing, connection)
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

fn mutation() -> Told {
    Told::Mutation(ReportMutation::SetAcceptsSpontaneous(true))
}

#[tokio::test]
async fn a_subscription_begins_with_the_report_and_counts_on() {
    let (first, second) = (AppId(1), AppId(2));
    let id = AppRequestId(5);
    let mut apps = Apps::new(Metrics::default());
    let (outlet_1, mut out_1, _connection_1) = outlet().await;
    let (outlet_2, mut out_2, _connection_2) = outlet().await;
    apps.open(first, outlet_1);
    apps.open(second, outlet_2);
    apps.tell(&mutation());
    assert!(out_1.try_recv().is_err(), "nobody subscribed");

    apps.subscribe(first, id);
    assert!(apps.is_subscribing(first, id) && !apps.is_subscribing(second, id));
    apps.begin(first, id, report());
    assert!(!apps.is_subscribing(first, id));
    apps.tell(&mutation());
    let done = NodeToApp::Response { request_id: id, result: Ok(AppReply::Done) };
    assert_eq!(out_1.recv().await, Some(done));
    let begin = AppEvent::Report { sequence: 1, report: Box::new(report()) };
    assert_eq!(out_1.recv().await, Some(NodeToApp::Event(begin)));
    match out_1.recv().await {
        Some(NodeToApp::Event(AppEvent::Mutation { sequence, .. })) => assert_eq!(sequence, 2),
        other => panic!("{other:?}"),
    }
    assert!(out_2.try_recv().is_err());

    apps.subscribe(second, id);
    assert!(!apps.remove(first), "another is about to observe");
    assert!(!apps.remove(first), "gone already");
    assert!(apps.remove(second), "the last one");
}

#[tokio::test]
async fn who_reads_no_events_is_cut_off_and_there_is_always_room_for_replies() {
    let (app, id) = (AppId(1), AppRequestId(5));
    let mut apps = Apps::new(Metrics::default());
    let (outlet, mut outgoing, mut connection) = outlet().await;
    apps.open(app, outlet);
    apps.subscribe(app, id);
    apps.begin(app, id, report());
    for _ in 2..limits::APP_EVENTS {
        apps.tell(&mutation());
    }
    assert!(connection.sender().is_open());
    apps.tell(&mutation());
    assert!(!connection.sender().is_open());
    assert!(connection.recv().await.is_err());
    for n in 0..limits::APP_REQUESTS {
        apps.reply(app, AppRequestId(u64::try_from(n).unwrap()), Ok(AppReply::Done));
    }
    let mut replies = 0;
    while let Ok(message) = outgoing.try_recv() {
        replies += usize::from(matches!(message, NodeToApp::Response { .. }));
    }
    assert_eq!(replies, 1 + limits::APP_REQUESTS);
}
