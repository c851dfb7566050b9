//! Listening at one relay.

use std::sync::Arc;

use offset_crypto::PublicKey;
use offset_proto::Text;
use tokio::sync::watch;

use super::{
    circuit::{Circuit, Link},
    mux::Mux,
};
use crate::Error;

/// How listening at a relay goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayStatus {
    /// Whether others can reach this node at the relay now.
    pub listening: bool,
    /// What went wrong last; empty when nothing did since it has been listening.
    pub last_error: Text,
    /// Alarm: the relay said that the same identity listens from elsewhere. It stays up for three
    /// times [`ClientConfig::replaced_pause`](crate::ClientConfig::replaced_pause), so that of two
    /// that replace each other both show it all the time.
    pub replaced: bool,
}

/// Listens at one relay, across lost connections, until it is dropped.
#[derive(Debug)]
pub struct RelayListener {
    links: watch::Receiver<Option<Arc<Link>>>,
    status: watch::Receiver<RelayStatus>,
}

impl RelayListener {
    /// The next incoming circuit and the key that opened it, as proven to the relay; who needs to be
    /// sure proves it again over the circuit. A relay gives up a circuit that nobody accepts within
    /// 10 s. Safe to cancel.
    ///
    /// # Errors
    /// [`Error::Stopped`] when the client is gone or a newer listener has taken this one's place.
    pub async fn accept(&mut self) -> Result<(PublicKey, Circuit), Error> {
        loop {
            let link = self.links.borrow_and_update().clone();
            let Some(link) = link else {
                self.links.changed().await.map_err(|_| Error::Stopped)?;
                continue;
            };
            if let Some((source, id)) = link.with(Mux::accept) {
                return Ok((source, Circuit::accepted(link, id)));
            }
            tokio::select! {
                () = link.incoming.notified() => {}
                changed = self.links.changed() => changed.map_err(|_| Error::Stopped)?,
            }
        }
    }

    /// How it goes, now and whenever that changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<RelayStatus> {
        self.status.clone()
    }
}

/// Whose circuits may reach a listener.
pub(super) type Welcome = Arc<dyn Fn(&PublicKey) -> bool + Send + Sync>;

/// The line's end of a listener.
pub(super) struct Post {
    pub(super) welcome: Welcome,
    links: watch::Sender<Option<Arc<Link>>>,
    status: watch::Sender<RelayStatus>,
}

impl Post {
    /// Hands over the circuits of the connection that stands, if one does.
    pub(super) fn publish(&self, link: Option<&Arc<Link>>) {
        self.links.send_replace(link.cloned());
    }

    /// Tells a status; the same one is not told twice.
    pub(super) fn tell(&self, status: RelayStatus) {
        self.status.send_if_modified(|last| {
            let changed = *last != status;
            *last = status;
            changed
        });
    }

    /// Until the listener is dropped.
    pub(super) async fn gone(&self) {
        self.links.closed().await;
    }
}

pub(super) fn pair(welcome: Welcome) -> (RelayListener, Post) {
    let (link_sender, links) = watch::channel(None);
    let idle = RelayStatus { listening: false, last_error: Text::cut(""), replaced: false };
    let (status_sender, status) = watch::channel(idle);
    let post = Post { welcome, links: link_sender, status: status_sender };
    (RelayListener { links, status }, post)
}
