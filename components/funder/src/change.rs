//! Row-level changes: what a batch did to the state, for the store.
//!
//! A change names a row by its key and gives its new contents, or says that it is gone. The same
//! changes, applied to a copy of the state as it was, give the state as it is; so a store that
//! applies them to its tables holds the node's state.

use std::{collections::BTreeMap, sync::Arc};

use offset_crypto::{HashResult, InvoiceId, PaymentId, PublicKey, RequestId};
use offset_proto::{
    Credits, Currency, Name, ServerAddress, friend::MoveToken, history::HistoryEntry,
};

use crate::{
    credit::Ends,
    side::Side,
    state::{
        AloneKey, ArchivedFriend, BeforeSent, Channel, Friend, FriendInfo, FriendRecovery,
        IndexServer, InvoiceRow, JournalRow, KeptCollect, Line, LineRow, PaymentRow, Pending,
        QueuedOp, Recovery, SetKey, SetRow, Settings, SpentKey, State,
    },
};

/// The new contents of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The settings.
    Settings(Settings),
    /// A relay; `None`: gone.
    Relay(Name, Option<ServerAddress>),
    /// An index server; `None`: gone.
    IndexServer(Name, Option<IndexServer>),
    /// A new friend, with its channel.
    NewFriend(PublicKey, FriendInfo, Channel),
    /// A friend is gone, with everything that belongs to it.
    RemovedFriend(PublicKey),
    /// A friend that was removed; `None`: it was added again.
    Archived(PublicKey, Option<Box<ArchivedFriend>>),
    /// A friend's information.
    Friend(PublicKey, FriendInfo),
    /// A friend's channel.
    Channel(PublicKey, Channel),
    /// A line; `None`: gone, with everything pending on it.
    Line(PublicKey, Currency, Option<LineRow>),
    /// A pending request that `Side` sent; `None`: gone.
    Pending(PublicKey, Currency, Side, RequestId, Option<Pending>),
    /// A queued operation; `None`: gone.
    Queued(PublicKey, u64, Option<QueuedOp>),
    /// An invoice. One that has ended is kept by the store but no longer part of the state.
    Invoice(InvoiceId, InvoiceRow),
    /// A set; `None`: gone.
    Set(SetKey, Option<SetRow>),
    /// A payment. One that has ended is kept by the store but no longer part of the state.
    Payment(PaymentId, PaymentRow),
    /// A new entry of the journal.
    Journal(u64, JournalRow),
    /// The entries of the journal up to this number are forgotten.
    ForgetJournal(u64),
    /// What an application spent in an hour; `None`: forgotten.
    Spent(SpentKey, Option<Credits>),
    /// Something can be paid no more; see [`State::settled`].
    Settled(HashResult),
    /// A new entry of the books. The store keeps it; it is no part of the state.
    Entry(Box<HistoryEntry>),
    /// The last token of a friend; `None`: it sent none in this epoch.
    Received(PublicKey, Option<Arc<MoveToken>>),
    /// What our own last token to a friend ended and declared.
    BeforeSent(PublicKey, BeforeSent),
    /// A request was collected. The store keeps it; it is no part of the state.
    Collected(Box<KeptCollect>),
    /// What was collected without a partner; `None`: forgotten, or its request came.
    Alone(AloneKey, Option<Box<KeptCollect>>),
    /// Where a friendship stands in a recovery.
    FriendRecovery(PublicKey, Option<FriendRecovery>),
    /// Whether this node recovers what it lost.
    Recovery(Option<Recovery>),
}

/// A change that does not fit the state it is applied to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CorruptState {
    /// A row of a friend that is not there.
    #[error("a row belongs to friend {0}, of whom there is no row")]
    NoFriend(PublicKey),
    /// A pending request of a line that is not active.
    #[error("a pending request belongs to currency {1} of friend {0}, which is not active")]
    NoLine(PublicKey, Currency),
    /// A pending debt that is not the sum of what is pending.
    #[error("the pending debt of currency {1} of friend {0} is not the sum of its requests")]
    PendingDebt(PublicKey, Currency),
    /// Lines that are not those of the last token, or of the genesis.
    #[error("the balances, limits and requests of friend {0} are not those that were signed last")]
    State(PublicKey),
    /// Tokens that do not follow each other, or that nobody signed.
    #[error("the tokens of friend {0} are not the last ones that were signed")]
    Tokens(PublicKey),
}

impl State {
    /// Applies a change. `local` is the node's own key.
    ///
    /// # Errors
    /// [`CorruptState`] when the change belongs to a row that is not there.
    pub fn apply(&mut self, local: PublicKey, change: &Change) -> Result<(), CorruptState> {
        match change {
            Change::Settings(settings) => self.settings = settings.clone(),
            Change::Relay(name, relay) => put(&mut self.relays, name, relay.as_ref()),
            Change::IndexServer(name, row) => put(&mut self.index_servers, name, row.as_ref()),
            Change::NewFriend(key, info, channel) => {
                self.friends.insert(*key, Friend::new(info.clone(), channel.clone()));
            }
            Change::RemovedFriend(key) => drop(self.friends.remove(key)),
            Change::Archived(key, row) => put(&mut self.archive, key, row.as_deref()),
            Change::Friend(key, info) => self.friend_mut(key)?.info = info.clone(),
            Change::Channel(key, channel) => self.friend_mut(key)?.channel = channel.clone(),
            Change::Line(key, currency, row) => {
                let friend = self.friend_mut(key)?;
                match row {
                    Some(row) => apply_line(&mut friend.lines, currency, row),
                    None => drop(friend.lines.remove(currency)),
                }
            }
            Change::Pending(key, currency, sender, id, row) => {
                let line = self.friend_mut(key)?.lines.get_mut(currency);
                match line.and_then(|line| line.credit.as_mut()) {
                    Some(credit) => {
                        credit.put(&Ends::new(local, *key), *sender, *id, row.clone());
                    }
                    // The line went first, with everything pending on it.
                    None if row.is_none() => {}
                    None => return Err(CorruptState::NoLine(*key, currency.clone())),
                }
            }
            Change::Queued(key, at, op) => put(&mut self.friend_mut(key)?.queue, at, op.as_ref()),
            Change::Invoice(id, row) => {
                put(&mut self.invoices, id, Some(row).filter(|row| !row.is_final()));
            }
            Change::Set(key, row) => put(&mut self.sets, key, row.as_ref()),
            Change::Payment(id, row) => {
                put(&mut self.payments, id, Some(row).filter(|row| !row.is_ended()));
            }
            Change::Journal(number, row) => {
                self.journal.insert(*number, *row);
            }
            Change::ForgetJournal(up_to) => self.journal.retain(|number, _| *up_to < *number),
            Change::Spent(key, amount) => put(&mut self.spent, key, amount.as_ref()),
            Change::Settled(id) => {
                self.settled.insert(*id);
            }
            Change::Entry(entry) => self.last_entry = entry.sequence,
            Change::Received(key, token) => self.friend_mut(key)?.received.clone_from(token),
            Change::BeforeSent(key, rows) => self.friend_mut(key)?.before_sent = rows.clone(),
            Change::FriendRecovery(key, row) => self.friend_mut(key)?.recovery.clone_from(row),
            Change::Recovery(row) => self.recovery = *row,
            Change::Collected(_) => {}
            Change::Alone(key, row) => put(&mut self.alone, key, row.as_deref()),
        }
        Ok(())
    }

    fn friend_mut(&mut self, key: &PublicKey) -> Result<&mut Friend, CorruptState> {
        self.friends.get_mut(key).ok_or(CorruptState::NoFriend(*key))
    }
}

/// Gives a line the contents of a row; what is pending on it stays.
pub(crate) fn apply_line(lines: &mut BTreeMap<Currency, Line>, currency: &Currency, row: &LineRow) {
    let before = lines.remove(currency).and_then(|line| line.credit);
    let credit = row.numbers.map(|numbers| {
        let mut credit = before.unwrap_or_default();
        credit.set_numbers(numbers);
        credit
    });
    let line = Line {
        wanted: row.wanted,
        rate: row.rate,
        local_proposal: row.local_proposal,
        remote_proposal: row.remote_proposal,
        credit,
    };
    lines.insert(currency.clone(), line);
}

fn put<K: Ord + Clone, V: Clone>(map: &mut BTreeMap<K, V>, key: &K, value: Option<&V>) {
    match value {
        Some(value) => drop(map.insert(key.clone(), value.clone())),
        None => drop(map.remove(key)),
    }
}
