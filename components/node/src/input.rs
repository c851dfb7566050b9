//! What reaches the core.

use offset_crypto::PublicKey;
use offset_funder::api::{AppId, Payer, SessionId};
use offset_net::Sender;
use offset_proto::{
    Text,
    app::{AppRequest, AppRequestId},
    friend::FriendMessage,
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{apps::Outlet, view::ServerStatuses};

/// Something that happened outside.
#[derive(Debug)]
pub(crate) enum Input {
    /// An application is there; what is for it goes into the outlet.
    AppOpened(AppId, Outlet),
    /// An application asks for what its ticket allows; if it orders a payment, this is who pays.
    AppRequest(AppId, AppRequestId, Box<AppRequest>, Payer),
    /// An application is gone.
    AppClosed(AppId),
    /// A new session with a friend, which replaces the one before.
    SessionOpened(PublicKey, SessionId, Sender<FriendMessage>),
    /// A message of a friend. The permit makes room for the session's next one.
    FriendMessage(PublicKey, SessionId, Box<FriendMessage>, OwnedSemaphorePermit),
    /// A session with a friend ended.
    SessionEnded(PublicKey, SessionId),
    /// Somebody who is no enabled friend has proven its key, in this session. It is told so, or heard:
    /// which of them goes back.
    Stranger(PublicKey, SessionId, Sender<FriendMessage>, oneshot::Sender<bool>),
    /// What went wrong last with reaching a friend; empty: nothing since.
    FriendError(PublicKey, Text),
    /// How listening at the relays stands.
    Relays(ServerStatuses),
}
