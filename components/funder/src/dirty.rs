//! Which rows changed since the last batch. The rows themselves are read from the state when the
//! batch is taken, so a row that changed often is written once.

use std::collections::BTreeSet;

use offset_crypto::{HashResult, InvoiceId, PaymentId, PublicKey, RequestId};
use offset_proto::{Currency, Name};

use crate::{
    change::Change,
    funder::Place,
    side::Side,
    state::{AloneKey, SetKey, SpentKey, State},
};

/// A row, by name. The order is the order of changes in a batch: a row comes after the row that it
/// belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Settings,
    Relay(Name),
    IndexServer(Name),
    /// Before the friend that the same key may be again.
    RemovedFriend(PublicKey),
    Archived(PublicKey),
    NewFriend(PublicKey),
    Friend(PublicKey),
    Channel(PublicKey),
    Line(PublicKey, Currency),
    Pending(PublicKey, Currency, Side, RequestId),
    Queued(PublicKey, u64),
    Invoice(InvoiceId),
    Set(SetKey),
    Payment(PaymentId),
    Journal(u64),
    ForgetJournal(u64),
    Spent(SpentKey),
    Settled(HashResult),
    Received(PublicKey),
    BeforeSent(PublicKey),
    FriendRecovery(PublicKey),
    Recovery,
    Alone(AloneKey),
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    keys: BTreeSet<Key>,
    touched: BTreeSet<PublicKey>,
    /// Operations with this number or a later one were queued since the last batch.
    first_queued: u64,
    /// Lines and friends of which observers and index servers may have to hear.
    pub(crate) lines: BTreeSet<(PublicKey, Currency)>,
    pub(crate) friends: BTreeSet<PublicKey>,
    pub(crate) contacts: BTreeSet<PublicKey>,
    pub(crate) own_relays: bool,
    pub(crate) index_servers: bool,
    pub(crate) settings: bool,
    pub(crate) decimals: BTreeSet<Currency>,
    pub(crate) recovery: bool,
    pub(crate) recoverable: bool,
}

impl Dirty {
    /// A row changed.
    pub(crate) fn mark(&mut self, key: Key) {
        match &key {
            Key::NewFriend(friend) | Key::RemovedFriend(friend) | Key::Friend(friend) => {
                self.friends.insert(*friend);
                self.contacts.insert(*friend);
            }
            Key::Line(friend, currency) => {
                self.friends.insert(*friend);
                self.lines.insert((*friend, currency.clone()));
            }
            Key::Relay(_) => self.own_relays = true,
            Key::IndexServer(_) => self.index_servers = true,
            Key::Settings => self.settings = true,
            Key::FriendRecovery(friend) => {
                self.friends.insert(*friend);
            }
            Key::Recovery => self.recovery = true,
            Key::Archived(_)
            | Key::Channel(_)
            | Key::Received(_)
            | Key::BeforeSent(_)
            | Key::Pending(..)
            | Key::Queued(..)
            | Key::Invoice(_)
            | Key::Set(_)
            | Key::Payment(_)
            | Key::Journal(_)
            | Key::ForgetJournal(_)
            | Key::Spent(_)
            | Key::Settled(_)
            | Key::Alone(_) => {}
        }
        self.keys.insert(key);
    }

    /// A pending row changed.
    pub(crate) fn pending(&mut self, at: &Place, sender: Side) {
        self.mark(Key::Pending(at.friend, at.currency.clone(), sender, at.id));
    }

    /// There may be something to send to this friend.
    pub(crate) fn touch(&mut self, friend: PublicKey) {
        self.touched.insert(friend);
    }

    pub(crate) fn take_touched(&mut self) -> BTreeSet<PublicKey> {
        std::mem::take(&mut self.touched)
    }

    /// The changes since the last call, as the rows are now. Operations that were queued and left
    /// the queue in between leave no trace.
    pub(crate) fn take_changes(&mut self, state: &State, next_queued: u64) -> Vec<Change> {
        let first_queued = std::mem::replace(&mut self.first_queued, next_queued);
        let keys = std::mem::take(&mut self.keys);
        keys.into_iter().filter_map(|key| change(state, key, first_queued)).collect()
    }

    /// The number from which operations count as queued since the last batch.
    pub(crate) const fn set_first_queued(&mut self, number: u64) {
        self.first_queued = number;
    }
}

fn change(state: &State, key: Key, first_queued: u64) -> Option<Change> {
    let friend = |friend: &PublicKey| state.friends.get(friend);
    Some(match key {
        Key::Settings => Change::Settings(state.settings.clone()),
        Key::Relay(name) => {
            let row = state.relays.get(&name).cloned();
            Change::Relay(name, row)
        }
        Key::IndexServer(name) => {
            let row = state.index_servers.get(&name).cloned();
            Change::IndexServer(name, row)
        }
        Key::RemovedFriend(key) => Change::RemovedFriend(key),
        Key::Archived(key) => {
            let row = state.archive.get(&key).cloned().map(Box::new);
            Change::Archived(key, row)
        }
        Key::NewFriend(key) => {
            let row = friend(&key)?;
            Change::NewFriend(key, row.info.clone(), row.channel.clone())
        }
        Key::Friend(key) => Change::Friend(key, friend(&key)?.info.clone()),
        Key::Channel(key) => Change::Channel(key, friend(&key)?.channel.clone()),
        Key::Line(key, currency) => {
            let row = friend(&key)?.lines.get(&currency).map(crate::state::Line::row);
            Change::Line(key, currency, row)
        }
        Key::Pending(key, currency, sender, id) => {
            friend(&key)?;
            let row = state.pending(&key, &currency, sender, &id).cloned();
            Change::Pending(key, currency, sender, id, row)
        }
        Key::Queued(key, number) => {
            let row = friend(&key)?.queue.get(&number).cloned();
            if row.is_none() && first_queued <= number {
                return None;
            }
            Change::Queued(key, number, row)
        }
        Key::Invoice(id) => Change::Invoice(id, state.invoices.get(&id)?.clone()),
        Key::Set(key) => Change::Set(key, state.sets.get(&key).cloned()),
        Key::Payment(id) => Change::Payment(id, state.payments.get(&id)?.clone()),
        Key::Journal(number) => Change::Journal(number, *state.journal.get(&number)?),
        Key::ForgetJournal(up_to) => Change::ForgetJournal(up_to),
        Key::Spent(key) => {
            let amount = state.spent.get(&key).copied();
            Change::Spent(key, amount)
        }
        Key::Settled(id) => Change::Settled(id),
        Key::Received(key) => Change::Received(key, friend(&key)?.received.clone()),
        Key::BeforeSent(key) => Change::BeforeSent(key, friend(&key)?.before_sent.clone()),
        Key::FriendRecovery(key) => Change::FriendRecovery(key, friend(&key)?.recovery.clone()),
        Key::Recovery => Change::Recovery(state.recovery),
        Key::Alone(key) => {
            let row = state.alone.get(&key).cloned().map(Box::new);
            Change::Alone(key, row)
        }
    })
}
