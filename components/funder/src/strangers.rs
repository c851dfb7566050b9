//! Nodes that this one does not know and that show what it signed for them: friends that a database
//! has forgotten (protocol, section 8, *recover with an empty database*).
//!
//! ```text
//!   resume of a stranger --> ours, and the question for one page after the other --> proven:
//!   nothing of ours in it: told that it is no friend                 the owner may name it a friend
//! ```
//!
//! Whoever has a key may come, so all of this has bounds: how many are heard at once, for how long,
//! and how much each may send. A proof is kept only when this node signed it, so junk leaves nothing
//! behind; and nothing here is durable before the owner has named the friend. A stranger is heard only
//! while the node recovers.

use std::collections::BTreeMap;

use offset_crypto::{HashResult, PublicKey};
use offset_proto::{
    Name, Timestamp,
    app::{AppError, ErrorCode},
    friend::{FriendMessage, Resume},
    proof::{PROOF_PAGE_BYTES, ProofPage, StateProof},
    report::{MAX_RECOVERABLE, RECOVERABLE_BYTES, RecoverableReport},
};

use crate::{
    api::{Effect, Greeting, SessionId},
    channel::signer,
    configure::taken,
    destination::app_error,
    dirty::Key,
    funder::{Funder, Timer},
    proof::{self, Lines},
    side::Side,
    state::{Channel, Friend, FriendInfo, FriendRecovery},
};

/// How many that have proven nothing yet are heard at once.
pub(crate) const MAX_HEARD: usize = 16;
/// How long one may take to prove itself.
const PATIENCE_MS: u64 = 20_000;
/// The most bytes of a stranger's proof. Who has more to show must be named a friend first.
const MAX_STRANGER_PROOF_BYTES: usize = 1024 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    /// Those that have proven nothing yet.
    heard: BTreeMap<PublicKey, Heard>,
    /// Those that have.
    proven: BTreeMap<PublicKey, Proven>,
}

#[derive(Debug)]
struct Heard {
    session: SessionId,
    /// Whether it was asked for its proof.
    asked: bool,
    bytes: Vec<u8>,
    /// As the first page said.
    total: Option<usize>,
}

#[derive(Debug)]
struct Proven {
    /// That it came with, while it stands.
    session: Option<SessionId>,
    proof: StateProof,
    lines: Lines,
}

impl Funder {
    /// What to do with somebody who has completed the handshake and is no enabled friend. One that is
    /// to be heard is [`connected`](crate::api::Liveness::Connected) like a friend.
    #[must_use]
    pub fn greeting(&self, key: &PublicKey) -> Greeting {
        if self.state.friends.contains_key(key) {
            // A friend that is disabled hears nothing.
            Greeting::Silence
        } else if self.state.recovery.is_none() {
            Greeting::Removed { epoch: self.archived(key).epoch }
        } else if self.strangers.heard.len() < MAX_HEARD {
            Greeting::Hear
        } else {
            Greeting::Silence
        }
    }

    /// The channel of a key that is no friend: as it was when it was removed, or as a new one.
    fn archived(&self, key: &PublicKey) -> Channel {
        let archived = self.state.archive.get(key).map(|row| row.channel.clone());
        archived.unwrap_or_else(|| Channel::new(&self.ends(*key)))
    }

    pub(crate) fn stranger_connected(&mut self, now: Timestamp, key: PublicKey, id: SessionId) {
        self.stranger_gone(key);
        if self.greeting(&key) == Greeting::Hear {
            let heard = Heard { session: id, asked: false, bytes: Vec::new(), total: None };
            self.strangers.heard.insert(key, heard);
            self.timers.insert((now.plus_ms(PATIENCE_MS), Timer::Stranger(key, id)));
        } else {
            self.effects.push(Effect::Goodbye { friend: key, session: id });
        }
    }

    pub(crate) fn stranger_gone(&mut self, key: PublicKey) {
        self.strangers.heard.remove(&key);
        if let Some(proven) = self.strangers.proven.get_mut(&key) {
            proven.session = None;
        }
    }

    /// A message of somebody who is no friend. All but what a proof takes is ignored.
    pub(crate) fn stranger_says(
        &mut self,
        now: Timestamp,
        key: PublicKey,
        session: SessionId,
        message: FriendMessage,
    ) {
        if self.strangers.heard.get(&key).is_none_or(|heard| heard.session != session) {
            return;
        }
        match message {
            FriendMessage::Resume(theirs) => self.stranger_resumes(key, session, &theirs),
            FriendMessage::StateProof(page) => self.stranger_shows(now, key, session, page),
            FriendMessage::MoveToken(_)
            | FriendMessage::TokenWanted { .. }
            | FriendMessage::Inconsistency(_)
            | FriendMessage::AcceptReset(_)
            | FriendMessage::Removed { .. }
            | FriendMessage::RequestStateProof { .. }
            | FriendMessage::Endings(_)
            | FriendMessage::EndingsAnswer(_) => {}
        }
    }

    fn stranger_resumes(&mut self, key: PublicKey, session: SessionId, theirs: &Resume) {
        let known = self.archived(&key);
        let at = (theirs.epoch, theirs.counter);
        let own_news = theirs.epoch == known.epoch
            && known.counter.checked_add(1) == Some(theirs.counter)
            && signer(&self.ends(key), theirs.counter) == Side::Remote;
        if at <= (known.epoch, known.counter) || own_news {
            // It has nothing of ours that we do not know.
            let epoch = known.epoch;
            let message = FriendMessage::Removed { epoch };
            self.effects.push(Effect::Send { friend: key, session, message });
            return self.dismiss(key, session);
        }
        if let Some(proven) = self.strangers.proven.get_mut(&key)
            && at <= proven.proof.position()
        {
            proven.session = Some(session);
            self.strangers.heard.remove(&key);
            return;
        }
        let Some(heard) = self.strangers.heard.get_mut(&key).filter(|heard| !heard.asked) else {
            return;
        };
        heard.asked = true;
        let resume = Resume {
            epoch: known.epoch,
            counter: known.counter,
            token_id: known.token_id,
            wants_token: false,
        };
        for message in [FriendMessage::Resume(resume), FriendMessage::RequestStateProof { page: 0 }]
        {
            self.effects.push(Effect::Send { friend: key, session, message });
        }
    }

    fn stranger_shows(
        &mut self,
        now: Timestamp,
        key: PublicKey,
        session: SessionId,
        page: ProofPage,
    ) {
        let Some(heard) = self.strangers.heard.get_mut(&key).filter(|heard| heard.asked) else {
            return;
        };
        let total = usize::try_from(page.total_bytes).unwrap_or(usize::MAX);
        if MAX_STRANGER_PROOF_BYTES < total {
            log::warn!(
                "{key:?}, who is no friend, would show {total} bytes: only a friend may show that \
                 much, so add it as one if it was one"
            );
            return self.dismiss(key, session);
        }
        let due = heard.bytes.len() / PROOF_PAGE_BYTES;
        let left = total.saturating_sub(heard.bytes.len()).min(PROOF_PAGE_BYTES);
        let fits = heard.total.is_none_or(|known| known == total)
            && 0 < left
            && page.bytes.len() == left
            && usize::try_from(page.page) == Ok(due);
        if !fits {
            return self.dismiss(key, session);
        }
        heard.total = Some(total);
        heard.bytes.extend_from_slice(&page.bytes);
        if heard.bytes.len() < total {
            let message = FriendMessage::RequestStateProof { page: page.page.saturating_add(1) };
            return self.effects.push(Effect::Send { friend: key, session, message });
        }
        let bytes = std::mem::take(&mut heard.bytes);
        if let Err(why) = self.stranger_proves(now, key, session, &bytes) {
            log::info!("{key:?}, who is no friend, does not prove that it was one: {why}");
            self.dismiss(key, session);
        }
    }

    fn stranger_proves(
        &mut self,
        now: Timestamp,
        key: PublicKey,
        session: SessionId,
        bytes: &[u8],
    ) -> Result<(), &'static str> {
        let known = self.archived(&key);
        let proof = StateProof::decode(bytes).map_err(|_| "it is not a proof")?;
        let ends = self.ends(key);
        let lines = proof::check(&ends, &known, &proof, now)?;
        let proven = Proven { session: Some(session), proof, lines };
        let others = self.strangers.proven.iter().filter(|(other, _)| **other != key);
        let room = others.clone().count() < MAX_RECOVERABLE;
        let size: usize = others.map(|(key, row)| self.recoverable_report(key, row).size()).sum();
        if !room || RECOVERABLE_BYTES < size + self.recoverable_report(&key, &proven).size() {
            return Err("it is, but others come first: recover those, then it shows itself again");
        }
        log::warn!("{key:?} proves that it is a friend whom this node has forgotten");
        self.strangers.heard.remove(&key);
        self.strangers.proven.insert(key, proven);
        self.dirty.recoverable = true;
        Ok(())
    }

    /// One that is heard has had its time.
    pub(crate) fn stranger_timer(&mut self, key: PublicKey, session: SessionId) {
        if self.strangers.heard.get(&key).is_some_and(|heard| heard.session == session) {
            self.dismiss(key, session);
        }
    }

    fn dismiss(&mut self, key: PublicKey, session: SessionId) {
        self.strangers.heard.remove(&key);
        self.effects.push(Effect::Goodbye { friend: key, session });
    }

    /// A key is a friend from now on: it comes again, as one.
    pub(crate) fn no_stranger(&mut self, key: PublicKey) {
        let heard = self.strangers.heard.remove(&key).map(|heard| heard.session);
        let proven = self.strangers.proven.remove(&key);
        self.dirty.recoverable |= proven.is_some();
        if let Some(session) = heard.or(proven.and_then(|proven| proven.session)) {
            self.effects.push(Effect::Goodbye { friend: key, session });
        }
    }

    /// The recovery is over: nobody is heard any more.
    pub(crate) fn forget_strangers(&mut self) {
        let heard = self.strangers.heard.keys();
        let keys: Vec<_> = heard.chain(self.strangers.proven.keys()).copied().collect();
        for key in keys {
            self.no_stranger(key);
        }
    }

    pub(crate) fn recoverable_reports(&self) -> Vec<RecoverableReport> {
        let proven = self.strangers.proven.iter();
        proven.map(|(key, row)| self.recoverable_report(key, row)).collect()
    }

    fn recoverable_report(&self, key: &PublicKey, proven: &Proven) -> RecoverableReport {
        RecoverableReport {
            public_key: *key,
            token: proven.proof.signed_id(),
            currencies: self.currency_reports(key, &proven.lines),
        }
    }

    /// The owner takes a node that proves that it was a friend for one, under this name, with the
    /// state that was shown.
    pub(crate) fn recover_stranger(
        &mut self,
        now: Timestamp,
        name: &Name,
        key: PublicKey,
        token: HashResult,
    ) -> Result<(), AppError> {
        let refused = |message: &str| Err(app_error(ErrorCode::Refused, message));
        if let Some(friend) = self.friend(&key) {
            let message = format!("this node is a friend already, named {}", friend.info.name);
            return Err(app_error(ErrorCode::AlreadyExists, &message));
        }
        if self.state.friend_named(name).is_some() {
            return Err(taken("friend", name));
        }
        let Some(proven) = self.strangers.proven.get(&key) else {
            return refused(
                "this node proves nothing that was signed here; it does when it is connected next, \
                 see `stctrl info recoverable`",
            );
        };
        if proven.proof.signed_id() != token {
            return refused("this node proves another state by now; look at it again first");
        }
        if self.config.max_friends <= self.state.friends.len() {
            return refused("this node has too many friends");
        }
        let (proof, lines) = (proven.proof.clone(), proven.lines.clone());
        let mut channel = Channel { removed_by_friend: false, ..self.archived(&key) };
        channel.settle();
        let info = FriendInfo {
            name: name.clone(),
            enabled: true,
            removing: false,
            relays: Vec::new(),
            previous_relays: Vec::new(),
        };
        let friend = Friend {
            recovery: Some(FriendRecovery::Quarantined(proof.into())),
            ..Friend::new(info, channel)
        };
        self.no_stranger(key);
        if self.state.archive.remove(&key).is_some() {
            self.dirty.mark(Key::Archived(key));
        }
        self.state.friends.insert(key, friend);
        self.dirty.mark(Key::NewFriend(key));
        self.live.entry(key).or_default().proven = lines;
        self.install(now, key);
        Ok(())
    }
}
