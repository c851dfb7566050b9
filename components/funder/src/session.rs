//! Sessions with friends: who is online, and whether both sides agree where the channel stands
//! (protocol, section 4).

use offset_crypto::PublicKey;
use offset_proto::{
    Timestamp,
    friend::{FriendMessage, Resume},
};

use crate::{
    api::{Effect, SessionId},
    channel::signer,
    funder::{Funder, Session, Standing},
    side::Side,
    state::Channel,
};

/// What comparing two `resume`s says.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Agree {
        send_again: bool,
    },
    /// One of us may have lost state.
    Apart,
    Inconsistent,
}

impl Funder {
    pub(crate) fn connected(&mut self, key: PublicKey, id: SessionId) {
        self.disconnected(key);
        let Some(friend) = self.friend(&key) else {
            return;
        };
        if !friend.info.enabled {
            self.effects.push(Effect::Disconnect { friend: key, session: id });
            return;
        }
        let session = Session {
            id,
            standing: Standing::Resuming,
            remote_wants: None,
            asked: None,
            proven: Default::default(),
        };
        self.live.entry(key).or_default().session = Some(session);
        self.send_resume(key);
        self.send_terms(key);
    }

    /// Says where we are: first on every session, and again when an epoch has begun in it. The
    /// session agrees when the friend has done the same.
    pub(crate) fn send_resume(&mut self, key: PublicKey) {
        let ends = self.ends(key);
        let Some(friend) = self.friend(&key) else {
            return;
        };
        let channel = &friend.channel;
        let wants_token = channel.inconsistent.is_none()
            && channel.holder(&ends) == Side::Remote
            && self.has_something_to_send(&key);
        let resume = Resume {
            epoch: channel.epoch,
            counter: channel.counter,
            token_id: channel.token_id,
            wants_token,
        };
        if let Some(session) = self.live.get_mut(&key).and_then(|live| live.session.as_mut()) {
            session.standing = Standing::Resuming;
            session.asked = wants_token.then_some(resume.counter);
            self.send(key, FriendMessage::Resume(resume));
        }
    }

    pub(crate) fn disconnected(&mut self, key: PublicKey) {
        let live = self.live.entry(key).or_default();
        if live.session.take().is_some_and(|session| session.standing == Standing::Agreed) {
            self.availability_changed(key);
        }
    }

    /// The friend came online or went offline: observers and index servers are to hear of it.
    pub(crate) fn availability_changed(&mut self, key: PublicKey) {
        self.dirty.friends.insert(key);
        if let Some(friend) = self.state.friends.get(&key) {
            self.dirty.lines.extend(friend.lines.keys().map(|currency| (key, currency.clone())));
        }
    }

    pub(crate) fn resume(
        &mut self,
        now: Timestamp,
        key: PublicKey,
        session: SessionId,
        theirs: &Resume,
    ) {
        let ends = self.ends(key);
        if self.live.get(&key).and_then(|live| live.session.as_ref()).map(|s| s.standing)
            == Some(Standing::Agreed)
        {
            self.effects.push(Effect::Disconnect { friend: key, session });
            return;
        }
        self.epoch_shown(now, key, theirs);
        let Some(friend) = self.state.friends.get(&key) else {
            return;
        };
        let Some(current) = self.live.get_mut(&key).and_then(|live| live.session.as_mut()) else {
            return;
        };
        if friend.channel.inconsistent.is_some() {
            return;
        }
        let mirrored = friend.channel.counter.checked_add(1) == Some(theirs.counter)
            && signer(&ends, theirs.counter) == Side::Remote;
        match compare(&friend.channel, signer(&ends, friend.channel.counter), theirs, mirrored) {
            Verdict::Agree { send_again } => {
                current.standing = Standing::Agreed;
                current.remote_wants = theirs.wants_token.then_some(theirs.counter);
                let again = friend.channel.last_sent.clone().filter(|_| send_again);
                let live = self.live.entry(key).or_default();
                let first = !std::mem::replace(&mut live.agreed_since_start, true);
                if let Some(token) = again {
                    self.send(key, FriendMessage::MoveToken(Box::new((*token).clone())));
                }
                self.availability_changed(key);
                self.dirty.touch(key);
                if first {
                    self.retry_accepting(now, key);
                }
            }
            Verdict::Apart => {
                current.standing = Standing::Apart;
                self.dirty.friends.insert(key);
            }
            Verdict::Inconsistent => {
                self.inconsistent(now, key, "what the two sides remember differs")
            }
        }
    }

    pub(crate) fn token_wanted(&mut self, key: PublicKey, counter: u64) {
        let Some(friend) = self.state.friends.get(&key) else {
            return;
        };
        let current = friend.channel.counter;
        let session = self.live.get_mut(&key).and_then(|live| live.session.as_mut());
        // An older counter was answered by the token that moved it on.
        if let Some(session) = session
            && session.standing == Standing::Agreed
            && counter == current
        {
            session.remote_wants = Some(counter);
            self.dirty.touch(key);
        }
    }

    /// Sends over the session that stands, if one does.
    pub(crate) fn send(&mut self, friend: PublicKey, message: FriendMessage) {
        let session = self.live.get(&friend).and_then(|live| live.session.as_ref());
        if let Some(session) = session.map(|session| session.id) {
            self.effects.push(Effect::Send { friend, session, message });
        }
    }
}

/// Section 4, *resume*. `last_signer` signed our channel's last token; `mirrored`: theirs is one
/// ahead and would be their own.
fn compare(mine: &Channel, last_signer: Side, theirs: &Resume, mirrored: bool) -> Verdict {
    if mine.epoch != theirs.epoch {
        return Verdict::Apart;
    }
    let we_are_ahead = theirs.counter.checked_add(1) == Some(mine.counter);
    let ours_is_news = we_are_ahead
        && last_signer == Side::Local
        && mine.last_sent.as_ref().is_some_and(|token| token.body.prev_token == theirs.token_id);
    if mine.counter == theirs.counter {
        if mine.token_id == theirs.token_id {
            Verdict::Agree { send_again: false }
        } else {
            Verdict::Inconsistent
        }
    } else if ours_is_news {
        Verdict::Agree { send_again: true }
    } else if mirrored {
        Verdict::Agree { send_again: false }
    } else if we_are_ahead && last_signer == Side::Local {
        // Our last token does not follow the one that they remember.
        Verdict::Inconsistent
    } else {
        Verdict::Apart
    }
}
