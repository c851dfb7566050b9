//! The end of a friendship, and its beginning again (protocol, section 8, *Removal*).

use offset_crypto::PublicKey;
use offset_proto::{
    Balance, Name, Text, Timestamp,
    app::{AppError, ErrorCode},
    friend::{FriendMessage, FriendOp},
    history::Adjustment,
    reset::ResetBalance,
};

use crate::{
    destination::app_error,
    dirty::Key,
    funder::{Funder, Standing},
    side::Side,
    state::{ArchivedFriend, Friend},
};

impl Funder {
    /// A person ends a friendship. Without `forfeit` nobody may owe anything, and what is pending
    /// ends first.
    ///
    /// # Errors
    /// With what is still owed, or why it would never end.
    pub(crate) fn remove_friend(
        &mut self,
        now: Timestamp,
        name: &Name,
        forfeit: bool,
    ) -> Result<(), AppError> {
        let key = self.named(name)?;
        let Some(friend) = self.friend(&key) else {
            return Ok(());
        };
        if forfeit {
            self.archive(now, key);
            return Ok(());
        }
        let refused = |message: &str| Err(app_error(ErrorCode::Refused, message));
        let owed = owed(friend);
        if !owed.is_empty() {
            let sums: Vec<_> = owed.iter().map(|row| self.owed_text(name, row)).collect();
            return refused(&format!(
                "{}; settle it first, or give it up with --forfeit",
                sums.join(", ")
            ));
        }
        if friend.channel.inconsistent.is_some() {
            return refused(&format!(
                "the channel with {name} is inconsistent; reset it first with reset-friend, or end \
                 it with --forfeit"
            ));
        }
        if friend.channel.removed_by_friend && !is_clear(friend) {
            return refused(&format!(
                "{name} has removed this node while something is pending, which only --forfeit ends"
            ));
        }
        let friend = self.state.friends.get_mut(&key);
        if let Some(friend) = friend.filter(|friend| !friend.info.removing) {
            friend.info.removing = true;
            for (currency, line) in &mut friend.lines {
                if let Some(wanted) = &mut line.wanted {
                    wanted.requests_open = false;
                    self.dirty.mark(Key::Line(key, currency.clone()));
                }
            }
            self.dirty.mark(Key::Friend(key));
            self.availability_changed(key);
            self.cancel_unsent(now, key);
        }
        self.dirty.touch(key);
        Ok(())
    }

    /// Removes a friend that is to go, once nothing is in the way.
    pub(crate) fn finish_removal(&mut self, now: Timestamp, key: PublicKey) {
        let done = |friend: &Friend| {
            friend.info.removing
                && is_clear(friend)
                && owed(friend).is_empty()
                && friend.channel.inconsistent.is_none()
                && !awaits_word(friend)
        };
        if self.friend(&key).is_some_and(done) {
            self.archive(now, key);
        }
    }

    /// Ends everything with a friend and keeps what must not be forgotten.
    fn archive(&mut self, now: Timestamp, key: PublicKey) {
        self.end_everything(now, key, false);
        if let Some(epoch) = self.friend(&key).map(|friend| friend.channel.epoch) {
            self.send(key, FriendMessage::Removed { epoch });
        }
        self.proof_over(now, key);
        self.availability_changed(key);
        self.book_end_of_friend(now, key, Adjustment::WrittenOff);
        let Some(friend) = self.state.friends.remove(&key) else {
            return;
        };
        let balances = owed(&friend);
        for row in &balances {
            let (name, currency) = (&friend.info.name, &row.currency);
            log::warn!("friend {name} is removed at a balance of {} {currency}", row.balance);
        }
        let row = ArchivedFriend {
            name: friend.info.name,
            removed_at: now,
            balances,
            channel: friend.channel,
        };
        self.state.archive.insert(key, row);
        self.live.remove(&key);
        self.dirty.mark(Key::RemovedFriend(key));
        self.dirty.mark(Key::Archived(key));
        self.dirty.own_relays = true;
    }

    /// A friend that was removed is added again: its channel goes on where it was, inconsistent, with
    /// terms of no balances. One with which no token was exchanged is as new.
    pub(crate) fn take_up_again(&mut self, key: PublicKey) {
        let Some(archived) = self.state.archive.remove(&key) else {
            return;
        };
        self.dirty.mark(Key::Archived(key));
        let before = archived.channel;
        if (before.highest_epoch, before.epoch, before.counter) == (0, 0, 0) {
            return;
        }
        if let Some(friend) = self.state.friends.get_mut(&key) {
            friend.channel = before;
            friend.channel.removed_by_friend = false;
            friend.channel.settle();
        }
        if let Some(friend) = self.friend(&key) {
            let local = self.new_terms(&key, friend);
            self.set_inconsistent(key, Text::cut("the friendship was removed before"), local);
        }
    }

    /// The friend says that we are none of its friends. What is pending stays: only a person may end
    /// it. A friend that has not added us yet says the same, with nothing to remember.
    pub(crate) fn removed_received(&mut self, now: Timestamp, key: PublicKey, epoch: u64) {
        let Some(friend) = self.state.friends.get_mut(&key) else {
            return;
        };
        let channel = &mut friend.channel;
        let new = channel.epoch == 0 && channel.counter == 0 && epoch == 0;
        if !new && !channel.removed_by_friend {
            channel.removed_by_friend = true;
            self.dirty.mark(Key::Channel(key));
        }
        if let Some(session) = self.live.get_mut(&key).and_then(|live| live.session.as_mut()) {
            session.standing = Standing::Resuming;
        }
        self.availability_changed(key);
        self.cancel_unsent(now, key);
        self.epoch_known(key, epoch);
        self.dirty.touch(key);
    }
}

/// Whether a friend that is to go may not have our last operations yet: then its next token is waited
/// for, and asked for. One that has removed us sends none.
pub(crate) fn awaits_word(friend: &Friend) -> bool {
    let last = friend.channel.last_sent.as_ref();
    let expected = friend.info.removing && !friend.channel.removed_by_friend;
    expected && last.is_some_and(|token| !token.body.currency_ops.is_empty())
}

/// Whether nothing is pending or waits to be sent.
fn is_clear(friend: &Friend) -> bool {
    let credits = friend.lines.values().filter_map(|line| line.credit.as_ref());
    let waits = |op: &FriendOp| !matches!(op, FriendOp::Request(_));
    !friend.queue.values().any(|row| waits(&row.op))
        && credits
            .flat_map(|credit| Side::BOTH.map(|side| credit.pending(side)))
            .all(|pending| pending.is_empty())
}

impl Funder {
    fn owed_text(&self, name: &Name, row: &ResetBalance) -> String {
        let (balance, currency) = (row.balance, &row.currency);
        if Balance::ZERO < balance {
            format!("{name} owes {} {currency}", self.shown(balance, currency))
        } else {
            format!("you owe {name} {} {currency}", self.shown(balance.mirrored(), currency))
        }
    }
}

/// The balances that are not 0.
fn owed(friend: &Friend) -> Vec<ResetBalance> {
    let rows = friend.lines.iter().filter_map(|(currency, line)| {
        let balance = line.credit.as_ref()?.numbers().balance;
        Some(ResetBalance { currency: currency.clone(), balance })
    });
    rows.filter(|row| row.balance != Balance::ZERO).collect()
}
