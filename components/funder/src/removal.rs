//! The end of a friendship (protocol, section 8, *Removal*).

use offset_crypto::PublicKey;
use offset_proto::Timestamp;

use crate::{
    dirty::Key,
    funder::{Funder, Standing},
};

impl Funder {
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
    }
}
