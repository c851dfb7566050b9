//! Asking a friend to prove that we lost state, and proving it to a friend that did: pages over a
//! session (protocol, section 8, *state proof*).
//!
//! A page is sent only when it is asked for, and one proof is taken at a time, so that what friends
//! can make this node hold is the size of one proof. A friend that is slow loses its turn while
//! others wait.

use std::collections::VecDeque;

use offset_crypto::PublicKey;
use offset_proto::{
    Text, Timestamp,
    friend::FriendMessage,
    proof::{MAX_PROOF_BYTES, PROOF_PAGE_BYTES, ProofPage, StateProof},
};

use crate::{
    api::{Effect, SessionId},
    funder::{Funder, Standing, Timer},
    proof,
};

/// Proofs under way.
#[derive(Debug, Default)]
pub(crate) struct Proofs {
    /// The one that is being taken.
    asking: Option<Asking>,
    /// Friends that are to be asked next.
    waiting: VecDeque<PublicKey>,
    /// The one that was shown last, to whom, so that its next page need not be made again. Two friends
    /// that ask by turns make it anew each time, but not faster than [`PROOF_PACE_MS`].
    showing: Option<(PublicKey, Vec<u8>)>,
}

#[derive(Debug)]
struct Asking {
    friend: PublicKey,
    session: SessionId,
    bytes: Vec<u8>,
    /// As the first page said.
    total: Option<usize>,
}

impl Funder {
    /// A friend's `resume` says that we may be behind: it is asked to prove it, in its turn.
    pub(crate) fn ask_for_proof(&mut self, now: Timestamp, key: PublicKey) {
        if !self.proofs.waiting.contains(&key) {
            self.proofs.waiting.push_back(key);
        }
        self.ask_next(now);
    }

    fn ask_next(&mut self, now: Timestamp) {
        while self.proofs.asking.is_none() {
            let Some(key) = self.proofs.waiting.pop_front() else {
                return;
            };
            let session = self.live.get(&key).and_then(|live| live.session.as_ref());
            let Some(session) = session.filter(|session| session.standing == Standing::Behind)
            else {
                continue;
            };
            let (friend, session) = (key, session.id);
            self.proofs.asking = Some(Asking { friend, session, bytes: Vec::new(), total: None });
            self.timers.insert((now.plus_ms(PROOF_TURN_MS), Timer::Proof(session)));
            self.send(key, FriendMessage::RequestStateProof { page: 0 });
        }
    }

    /// The session with a friend is over: nothing more comes of it.
    pub(crate) fn proof_over(&mut self, now: Timestamp, key: PublicKey) {
        self.proofs.waiting.retain(|waiting| *waiting != key);
        if self.proofs.asking.as_ref().is_some_and(|asking| asking.friend == key) {
            self.proofs.asking = None;
            self.ask_next(now);
        }
        self.forget_shown(key);
    }

    /// A friend that had its turn and has not finished makes way for others.
    pub(crate) fn proof_timer(&mut self, now: Timestamp, session: SessionId) {
        let Some(asking) = self.proofs.asking.as_ref().filter(|asking| asking.session == session)
        else {
            return;
        };
        if self.proofs.waiting.is_empty() {
            self.timers.insert((now.plus_ms(PROOF_TURN_MS), Timer::Proof(session)));
        } else {
            let friend = asking.friend;
            self.proofs.asking = None;
            self.proofs.waiting.push_back(friend);
            self.ask_next(now);
        }
    }

    /// A page of a friend's proof.
    pub(crate) fn proof_page(&mut self, now: Timestamp, key: PublicKey, page: ProofPage) {
        let Some(asking) = self.proofs.asking.as_mut().filter(|asking| asking.friend == key) else {
            // One that was asked for before its friend lost its turn.
            return;
        };
        if (page.page, page.total_bytes) == (0, 0)
            && asking.bytes.is_empty()
            && page.bytes.is_empty()
        {
            self.proofs.asking = None;
            // It would wait for ever otherwise: what was lost is nowhere, so the owners decide.
            let why = "this node has lost state, and the friend removed it before and kept none";
            self.inconsistent(now, key, why);
            return self.ask_next(now);
        }
        let total = usize::try_from(page.total_bytes).unwrap_or(usize::MAX);
        let due = asking.bytes.len() / PROOF_PAGE_BYTES;
        let left = total.saturating_sub(asking.bytes.len()).min(PROOF_PAGE_BYTES);
        let fits = MAX_PROOF_BYTES.checked_sub(total).is_some()
            && asking.total.is_none_or(|known| known == total)
            && 0 < left
            && page.bytes.len() == left
            && usize::try_from(page.page) == Ok(due);
        if !fits {
            let session = asking.session;
            self.proofs.asking = None;
            self.effects.push(Effect::Disconnect { friend: key, session });
            return self.ask_next(now);
        }
        asking.total = Some(total);
        asking.bytes.extend_from_slice(&page.bytes);
        if asking.bytes.len() < total {
            let page = page.page.saturating_add(1);
            return self.send(key, FriendMessage::RequestStateProof { page });
        }
        let bytes = std::mem::take(&mut asking.bytes);
        self.proofs.asking = None;
        self.proof_complete(now, key, &bytes);
        self.ask_next(now);
    }

    /// Nothing of it is believed before it is checked; a claim that is not proven changes nothing.
    fn proof_complete(&mut self, now: Timestamp, key: PublicKey, bytes: &[u8]) {
        let ends = self.ends(key);
        let Some(channel) = self.friend(&key).map(|friend| &friend.channel) else {
            return;
        };
        let proof = StateProof::decode(bytes).map_err(|_| "it is not a proof");
        let checked = proof.and_then(|proof| {
            let lines = proof::check(&ends, channel, &proof, now)?;
            Ok((proof, lines))
        });
        match checked {
            Ok((proof, lines)) => self.quarantine(now, key, proof, lines),
            Err(why) => {
                log::warn!("friend {key:?} does not prove that this node lost state: {why}");
                let claim =
                    format!("claims that this node lost state and does not prove it: {why}");
                self.live.entry(key).or_default().claim = Some(Text::cut(&claim));
                self.dirty.friends.insert(key);
            }
        }
    }

    /// A friend that lost state asks for a page of what it signed.
    pub(crate) fn proof_wanted(&mut self, now: Timestamp, key: PublicKey, page: u32) {
        let session = self.live.get_mut(&key).and_then(|live| live.session.as_mut());
        let Some(session) = session.filter(|session| session.standing == Standing::Ahead) else {
            return;
        };
        let shows = self.proofs.showing.as_ref().is_some_and(|(friend, _)| *friend == key);
        // A clock that was set back makes nobody wait longer.
        let not_before = session.proof_not_before.min(now.plus_ms(PROOF_PACE_MS));
        if !shows && now < not_before {
            session.proof_page = Some(page);
            self.timers.insert((not_before, Timer::ProofPage(key)));
            return;
        }
        if !shows {
            session.proof_not_before = now.plus_ms(PROOF_PACE_MS);
            let ends = self.ends(key);
            let shown = self.friend(&key).and_then(|friend| proof::shown(friend, &ends));
            let Some(shown) = shown else {
                log::warn!("friend {key:?} lost state, and this node has nothing to show it");
                return self.show_nothing(key);
            };
            self.proofs.showing = Some((key, shown.encode()));
        }
        if let Some(content) = self.shown_page(page) {
            self.live.entry(key).or_default().shown = true;
            self.send(key, FriendMessage::StateProof(content));
        }
    }

    /// A friend that was removed and added again lost state, and what it was is in no row any more.
    /// It hears so, and the terms once more that it was not to look at before.
    fn show_nothing(&mut self, key: PublicKey) {
        if self.friend(&key).is_some_and(|friend| friend.channel.inconsistent.is_some()) {
            let nothing = ProofPage { page: 0, total_bytes: 0, bytes: Vec::new() };
            self.send(key, FriendMessage::StateProof(nothing));
            self.send_terms(key);
        }
    }

    /// A friend asked for a page sooner than the proof was to be made again.
    pub(crate) fn proof_page_timer(&mut self, now: Timestamp, key: PublicKey) {
        let session = self.live.get_mut(&key).and_then(|live| live.session.as_mut());
        if let Some(page) = session.and_then(|session| session.proof_page.take()) {
            self.proof_wanted(now, key, page);
        }
    }

    /// What is shown may be another state by now.
    pub(crate) fn forget_shown(&mut self, key: PublicKey) {
        if self.proofs.showing.as_ref().is_some_and(|(friend, _)| *friend == key) {
            self.proofs.showing = None;
        }
    }

    /// A page of the proof that is shown; `None` when it has no such page, or is too large.
    fn shown_page(&self, page: u32) -> Option<ProofPage> {
        let (key, bytes) = self.proofs.showing.as_ref()?;
        let total = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= MAX_PROOF_BYTES);
        let Some(total_bytes) = total else {
            log::warn!("what friend {key:?} lost is more than a proof can show: reset the channel");
            return None;
        };
        let content = bytes.chunks(PROOF_PAGE_BYTES).nth(usize::try_from(page).ok()?)?;
        Some(ProofPage { page, total_bytes, bytes: content.to_vec() })
    }
}

/// How often a friend's proof is made at most in a session: each time takes as long as all that is pending with it.
const PROOF_PACE_MS: u64 = 1_000;
/// How long one friend may take to show its proof while others wait to be asked.
const PROOF_TURN_MS: u64 = 60_000;
