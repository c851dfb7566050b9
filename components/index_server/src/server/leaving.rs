//! The end: nobody is left believing in a node that is gone with its server.

use std::time::Duration;

use offset_crypto::PublicKey;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};

use super::{Owner, WAITING_EVENTS};
use crate::sessions::{Event, GOODBYE};

impl Owner {
    /// Sends the nodes away, keeps what is known, waits a moment until other servers tell that they
    /// are the home of those nodes now, and says of the rest that they left.
    pub(super) async fn say_goodbye(mut self, mut inbox: mpsc::Receiver<Event>) {
        for client in self.clients.values() {
            client.sender.close(GOODBYE);
        }
        let all_closed = async {
            for client in self.clients.values() {
                client.sender.closed().await;
            }
        };
        if timeout(GOODBYE_TIME, all_closed).await.is_err() {
            log::debug!("not every node took the goodbye");
        }
        if let Some(keeper) = &mut self.keeper {
            keeper.finish(&self.directory).await;
        }
        if self.peers.count() != 0 {
            let until = Instant::now() + MOVING_TIME;
            self.wait_for_peers(&mut inbox, until, |owner| owner.left_behind().is_empty()).await;
            for node in self.left_behind() {
                self.say_that_it_left(&node);
            }
            let until = Instant::now() + MOVING_TIME;
            self.wait_for_peers(&mut inbox, until, |owner| owner.federation.lacking() == 0).await;
        }
        self.peers.close_all();
        let closed = self.peers.all_closed();
        if timeout(GOODBYE_TIME, closed).await.is_err() {
            log::debug!("not every index server took the goodbye");
        }
    }

    /// The nodes that were connected when the shutdown began and have no other home yet.
    fn left_behind(&self) -> Vec<PublicKey> {
        let own = Some(self.identity.public_key());
        let at_home = |node: &&PublicKey| self.directory.home_server(node) == own;
        self.clients.keys().filter(at_home).copied().collect()
    }

    /// Goes on with other servers alone, until something is so or for as long as it may take.
    async fn wait_for_peers(
        &mut self,
        inbox: &mut mpsc::Receiver<Event>,
        until: Instant,
        is_so: impl Fn(&Self) -> bool,
    ) {
        loop {
            self.feed_peers();
            // Asked for, as messages that never cease would never let the time run out.
            if is_so(self) || self.peers.count() == 0 || until <= Instant::now() {
                return;
            }
            let Ok(Some(event)) = timeout_at(until, inbox.recv()).await else { return };
            self.handle_last(event);
            // What else waits, before everything is looked at again.
            for _ in 0..WAITING_EVENTS {
                let Ok(event) = inbox.try_recv() else { break };
                self.handle_last(event);
            }
        }
    }

    /// Of nodes nothing is taken any more, and none is let in.
    fn handle_last(&mut self, event: Event) {
        match event {
            Event::ClientJoined { sender, .. } => sender.close(GOODBYE),
            Event::ClientUpdate { .. } | Event::ClientAsks { .. } | Event::ClientLeft { .. } => {}
            event @ (Event::PeerJoined { .. }
            | Event::PeerSaid { .. }
            | Event::PeerHasRoom { .. }
            | Event::PeerLeft { .. }) => self.handle_event(event),
        }
    }
}

/// How long a shutdown waits for nodes to find another home, and for other servers to hear of those
/// that did not.
const MOVING_TIME: Duration = Duration::from_secs(2);
/// How long a shutdown waits for goodbyes to be taken.
const GOODBYE_TIME: Duration = Duration::from_secs(1);
