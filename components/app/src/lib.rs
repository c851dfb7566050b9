//! Client library for applications that talk to a node.
//!
//! An application has an identity of its own and is known to the node by a ticket, which also says
//! what it may do. This crate does not read files and keeps no state: the node keeps the payments,
//! and a payment id makes it safe to ask again after a lost connection. It does not reconnect by
//! itself.
//!
//! ```text
//!   app                                                    node
//!    | ===== secure channel, both keys proven ============= |
//!    | -- request 0, request 1, ... ----------------------> |
//!    | <------------- response 1, response 0, ... --------- |
//!    | -- subscribe --------------------------------------> |
//!    | <--------- report, mutation, payment, mutation, ... - |
//! ```
//!
//! Invariants:
//! - *matched*: a reply goes to the request with its number and to no other; what nobody awaits is
//!   dropped.
//! - *no gap*: [`Events::report`] is the node's report as of the last event, or the subscription
//!   has ended with an error.
//! - *bounded*: an application that takes its events too slowly loses the subscription, not memory.
//!
//! ```
//! use offset_app::{AppClient, ConnectOptions};
//! use offset_crypto::{Identity, SystemRng};
//! # use std::sync::Arc;
//! # use offset_net::{Listener, ServeConfig};
//! # use offset_proto::{Currency, ServerAddress, app::*, report::NodeReport, session::Purpose};
//! # use offset_secure_channel::ChannelIdentity;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # // A stand-in for the node: answers every request with an empty report.
//! # let node_identity = Identity::random(&mut SystemRng);
//! # let public_key = node_identity.public_key();
//! # let config = ServeConfig::new([Purpose::App]);
//! # let identity = Arc::new(ChannelIdentity::new(&node_identity));
//! # let listener = Listener::bind("127.0.0.1:0".parse()?, identity, config).await?;
//! # let node = ServerAddress { public_key, address: listener.local_address()?.to_string().parse()? };
//! # tokio::spawn(listener.serve(|_, _| true, move |incoming| async move {
//! #     let mut connection = incoming.open::<NodeToApp, AppToNode>().await.unwrap();
//! #     while let Ok(AppToNode { request_id, .. }) = connection.recv().await {
//! #         let report = NodeReport {
//! #             public_key, default_currency: Currency::fallback(), accepts_spontaneous: true,
//! #             recovering: false, recoverable: vec![], relays: vec![], index_servers: vec![], friends: vec![],
//! #             more_friends: false, decimals: Default::default(), last_event: 0,
//! #         };
//! #         let result = Ok(AppReply::Report(Box::new(report)));
//! #         connection.sender().send(NodeToApp::Response { request_id, result }).await.unwrap();
//! #     }
//! # }, std::future::pending()));
//! // The application's identity and the node's ticket usually come from files.
//! let identity = Identity::random(&mut SystemRng);
//! let client = AppClient::connect(&identity, &node, &ConnectOptions::retrying()).await?;
//! let report = client.report().await?;
//! assert_eq!(report.public_key, node.public_key);
//! assert!(report.friends.is_empty());
//! client.close().await;
//! # Ok(())
//! # }
//! ```

mod client;
mod error;
mod events;

pub use crate::client::{AppClient, ConnectOptions};
pub use crate::error::Error;
pub use crate::events::Events;
