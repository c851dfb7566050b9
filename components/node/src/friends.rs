//! Sessions with friends: who is to be reached, who may reach us, and a task per friend that keeps
//! one session.
//!
//! ```text
//!   core --contacts--> Friends --contact, circuits--> Keeper of a friend --session, messages--> core
//!                         ^                              |
//!   relays --circuits-----'                              '--circuits through the friend's relays
//! ```

mod choice;
mod keeper;
mod strangers;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
};

use offset_crypto::PublicKey;
use offset_funder::api::Contact;
use offset_net::{BackoffConfig, NetConfig};
use offset_relay::{Circuit, RelayClient};
use offset_secure_channel::ChannelIdentity;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

pub(crate) use self::strangers::Strangers;
use crate::{Metrics, friends::keeper::Keeper, input::Input, limits};

/// How every enabled friend is reached.
pub(crate) type Contacts = BTreeMap<PublicKey, Contact>;

/// What every keeper needs.
pub(crate) struct House {
    pub(crate) local: PublicKey,
    pub(crate) identity: Arc<ChannelIdentity>,
    pub(crate) net: NetConfig,
    pub(crate) backoff: BackoffConfig,
    pub(crate) relays: RelayClient,
    /// Changes whenever a relay of ours is reached again, as then friends may be, too.
    pub(crate) reached: watch::Receiver<u64>,
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) metrics: Metrics,
    /// Numbers sessions of all friends.
    pub(crate) next_session: AtomicU64,
}

/// Owner of the keepers.
pub(crate) struct Friends {
    house: Arc<House>,
    strangers: Arc<Strangers>,
    keepers: BTreeMap<PublicKey, Handle>,
    tasks: JoinSet<()>,
}

struct Handle {
    contact: watch::Sender<Contact>,
    circuits: mpsc::Sender<Circuit>,
}

impl Friends {
    pub(crate) fn new(house: House, strangers: Arc<Strangers>) -> Self {
        let house = Arc::new(house);
        Self { house, strangers, keepers: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// Runs until the core lets go of the contacts; then closes every session.
    pub(crate) async fn run(
        mut self,
        mut contacts: watch::Receiver<Contacts>,
        mut circuits: mpsc::Receiver<(PublicKey, Circuit)>,
    ) {
        loop {
            tokio::select! {
                changed = contacts.changed() => match changed {
                    Ok(()) => self.follow(&contacts.borrow_and_update()),
                    Err(_) => break,
                },
                Some((source, circuit)) = circuits.recv() => self.pass_on(source, circuit),
                Some(_done) = self.tasks.join_next() => {}
            }
        }
        self.keepers.clear();
        while self.tasks.join_next().await.is_some() {}
    }

    fn follow(&mut self, contacts: &Contacts) {
        self.keepers.retain(|friend, _| contacts.contains_key(friend));
        for (friend, contact) in contacts {
            match self.keepers.get(friend) {
                Some(keeper) => {
                    keeper.contact.send_if_modified(|old| {
                        let changed = old != contact;
                        old.clone_from(contact);
                        changed
                    });
                }
                None => {
                    let handle = self.keep(*friend, contact.clone());
                    self.keepers.insert(*friend, handle);
                }
            }
        }
    }

    fn keep(&mut self, friend: PublicKey, contact: Contact) -> Handle {
        let (contact, contact_seen) = watch::channel(contact);
        let (circuits, incoming) = mpsc::channel(limits::FRIEND_HANDSHAKES);
        let keeper = Keeper::new(friend, Arc::clone(&self.house));
        self.tasks.spawn(keeper.run(contact_seen, incoming));
        Handle { contact, circuits }
    }

    /// The relay's word for who it is; the keeper proves it before it says anything.
    fn pass_on(&mut self, source: PublicKey, circuit: Circuit) {
        let Some(keeper) = self.keepers.get(&source) else {
            let (strangers, house) = (Arc::clone(&self.strangers), Arc::clone(&self.house));
            self.tasks.spawn(strangers.greet(house, source, circuit));
            return;
        };
        if keeper.circuits.try_send(circuit).is_err() {
            self.house.metrics.counts().greeting_refused.raise();
            log::debug!("friend {source:?} opens circuits faster than they can be greeted");
        }
    }
}
