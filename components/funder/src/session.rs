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
    dirty::Key,
    funder::{Funder, Session, Standing},
    side::Side,
    state::{Channel, FriendRecovery},
};

/// What comparing two `resume`s says.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Agree {
        send_again: bool,
    },
    /// We may have lost state.
    Behind,
    /// The friend may have.
    Ahead,
    Inconsistent,
}

impl Funder {
    pub(crate) fn connected(&mut self, now: Timestamp, key: PublicKey, id: SessionId) {
        self.disconnected(now, key);
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
            theirs: None,
            withheld: false,
            remote_wants: None,
            asked: None,
            proven: Default::default(),
            proof_not_before: Timestamp(0),
            proof_page: None,
            asking: Default::default(),
        };
        let live = self.live.entry(key).or_default();
        live.session = Some(session);
        live.claim = None;
        self.send_resume(key);
        self.send_terms(key);
    }

    /// Says where we are: first on every session, and again when an epoch has begun in it. The
    /// session agrees when the friend has done the same.
    pub(crate) fn send_resume(&mut self, key: PublicKey) {
        self.forget_shown(key);
        let ends = self.ends(key);
        let Some(friend) = self.friend(&key) else {
            return;
        };
        let channel = &friend.channel;
        let wants_token = channel.inconsistent.is_none()
            && self.quarantined(&key).is_none()
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

    pub(crate) fn disconnected(&mut self, now: Timestamp, key: PublicKey) {
        self.proof_over(now, key);
        self.forget_question(key);
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
        let inconsistent =
            self.friend(&key).is_some_and(|friend| friend.channel.inconsistent.is_some());
        let Some(current) = self.live.get_mut(&key).and_then(|live| live.session.as_mut()) else {
            return;
        };
        match current.standing {
            // A friend says it again when an epoch has begun, or when it recovered what it lost.
            Standing::Resuming | Standing::Ahead => current.theirs = Some(theirs.clone()),
            Standing::Behind if inconsistent => current.theirs = Some(theirs.clone()),
            Standing::Agreed | Standing::Behind | Standing::Quarantined => {
                self.effects.push(Effect::Disconnect { friend: key, session });
                return;
            }
        }
        if self.quarantined(&key).is_none() {
            self.epoch_shown(now, key, theirs);
        }
        self.compare_resumes(now, key);
    }

    /// Compares both sides' `resume`s.
    pub(crate) fn compare_resumes(&mut self, now: Timestamp, key: PublicKey) {
        let ends = self.ends(key);
        let Some(friend) = self.state.friends.get(&key) else {
            return;
        };
        let Some(current) = self.live.get_mut(&key).and_then(|live| live.session.as_mut()) else {
            return;
        };
        let Some(theirs) = current.theirs.clone() else {
            return;
        };
        if let Some(FriendRecovery::Quarantined(proof)) = &friend.recovery {
            let known = proof.my_token.as_ref().unwrap_or(&proof.your_token);
            let known = (known.body.epoch, known.body.counter);
            let more = known < (theirs.epoch, theirs.counter);
            current.standing = if more { Standing::Behind } else { Standing::Quarantined };
            if more {
                self.ask_for_proof(now, key);
            }
            return;
        }
        let channel = &friend.channel;
        let mirrored = channel.counter.checked_add(1) == Some(theirs.counter)
            && signer(&ends, theirs.counter) == Side::Remote;
        let verdict = compare(channel, signer(&ends, channel.counter), &theirs, mirrored);
        // What one side lost is shown to it though the channel is inconsistent; nothing else moves.
        let inconsistent = channel.inconsistent.is_some();
        match verdict {
            Verdict::Agree { .. } | Verdict::Inconsistent if inconsistent => {}
            Verdict::Agree { send_again } => self.agreed(now, key, &theirs, send_again),
            Verdict::Behind => {
                current.standing = Standing::Behind;
                self.dirty.friends.insert(key);
                self.ask_for_proof(now, key);
            }
            Verdict::Ahead => {
                current.standing = Standing::Ahead;
                self.dirty.friends.insert(key);
            }
            Verdict::Inconsistent => {
                self.inconsistent(now, key, "what the two sides remember differs")
            }
        }
    }

    /// The friend is online from here on.
    fn agreed(&mut self, now: Timestamp, key: PublicKey, theirs: &Resume, send_again: bool) {
        let live = self.live.entry(key).or_default();
        if let Some(session) = live.session.as_mut() {
            session.standing = Standing::Agreed;
            session.remote_wants = theirs.wants_token.then_some(theirs.counter);
        }
        let first = !std::mem::replace(&mut live.agreed_since_start, true);
        let Some(friend) = self.state.friends.get_mut(&key) else {
            return;
        };
        let again = friend.channel.last_sent.clone().filter(|_| send_again);
        if friend.recovery.take().is_some() {
            self.dirty.mark(Key::FriendRecovery(key));
        }
        if let Some(token) = again {
            self.send(key, FriendMessage::MoveToken(Box::new((*token).clone())));
        }
        self.availability_changed(key);
        self.dirty.touch(key);
        if self.state.recovery.is_some() {
            self.derive_due(now, key);
        }
        if first {
            self.retry_accepting(now, key);
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
        return if mine.epoch < theirs.epoch { Verdict::Behind } else { Verdict::Ahead };
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
    } else if mine.counter < theirs.counter {
        Verdict::Behind
    } else {
        Verdict::Ahead
    }
}
