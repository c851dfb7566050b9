//! How requests ended that were passed on and lost their partner (protocol, section 8, *endings*): a
//! node that recovers asks the friend that received them, after its own store.
//!
//! ```text
//!   orphans of a friend --> own store --> collected: response and collect go upstream
//!                               |
//!                               v unknown here
//!                           the friend --> collected: the same
//!                                    '--> unknown: cancelled upstream under --recover, else the
//!                                         operator's word
//! ```
//!
//! A friend can ask one question at a time, and its questions are answered at a fixed pace, so that
//! nobody makes this node read its disk without end.

use std::collections::{BTreeMap, BTreeSet};

use offset_crypto::{PublicKey, RequestId};
use offset_proto::{
    Credits, Currency, Timestamp,
    friend::{
        CancelReason, Endings, EndingsAnswer, FriendMessage, FriendOp, MAX_ENDINGS, Response,
    },
    reset::Collected,
};

use crate::{
    api::{CollectedFor, Effect, SessionId},
    funder::{Funder, Place, Timer},
    kept::proves,
    side::Side,
    state::{KeptCollect, Link},
};

/// How long after one question of a friend the next one is answered.
pub(crate) const PACE_MS: u64 = 100;

/// What this node asks a friend in one session.
#[derive(Debug, Default)]
pub(crate) struct Asking {
    /// Incoming requests whose end is still to be asked for.
    due: BTreeSet<Place>,
    /// Those that are being asked about, by the id that they have at the friend.
    asked: Option<(Currency, BTreeMap<RequestId, Place>)>,
    /// Whether the friend was asked about them, and not only our own store.
    told: bool,
    /// Those of which the friend knew nothing.
    unknown: BTreeSet<Place>,
}

/// What a friend asks this node.
#[derive(Debug, Default)]
pub(crate) struct Answering {
    /// The question whose answer is being looked up.
    under_way: Option<Endings>,
    /// The next one.
    waiting: Option<Endings>,
    /// Not before this is the next one answered.
    not_before: Timestamp,
}

impl Funder {
    /// An incoming request has no partner: the friend that was to receive it is asked how it ended.
    pub(crate) fn ending_wanted(&mut self, at: &Place) -> Option<PublicKey> {
        let next = *self.pending(at, Side::Remote)?.request.route.first()?;
        if self.state.recovery.is_none() || !self.is_online(&next) || !self.is_orphan(at, next) {
            return None;
        }
        let asking = self.asking(&next)?;
        let asked = asking.asked.as_ref().is_some_and(|(_, ids)| ids.values().any(|it| it == at));
        if asked || asking.unknown.contains(at) {
            return None;
        }
        asking.due.insert(at.clone()).then_some(next)
    }

    fn asking(&mut self, key: &PublicKey) -> Option<&mut Asking> {
        let session = self.live.get_mut(key)?.session.as_mut()?;
        Some(&mut session.asking)
    }

    /// Whether nothing here says how an incoming request ended at the next friend.
    fn is_orphan(&self, at: &Place, next: PublicKey) -> bool {
        let id = self.hop_id(at);
        let out = Place { friend: next, currency: at.currency.clone(), id };
        self.pending(at, Side::Remote).is_some_and(|row| row.link == Link::None && !row.closing)
            && self.pending(&out, Side::Local).is_none()
            && self.queued_request(next, id).is_none()
    }

    /// Looks for the next requests in our own store, if nothing is under way.
    pub(crate) fn ask_endings(&mut self, key: PublicKey) {
        let Some(asking) = self.asking(&key).filter(|asking| asking.asked.is_none()) else {
            return;
        };
        let Some(currency) = asking.due.first().map(|at| at.currency.clone()) else {
            return;
        };
        let fits = asking.due.iter().filter(|at| at.currency == currency);
        let chosen: Vec<_> = fits.take(MAX_ENDINGS).cloned().collect();
        for at in &chosen {
            asking.due.remove(at);
        }
        let asked: BTreeMap<_, _> = chosen.into_iter().map(|at| (self.hop_id(&at), at)).collect();
        let request_ids = asked.keys().copied().collect();
        if let Some(asking) = self.asking(&key) {
            asking.asked = Some((currency.clone(), asked));
            asking.told = false;
        }
        let Some(session) = self.session_of(&key) else {
            return;
        };
        self.effects.push(Effect::FindCollected {
            asker: CollectedFor::Recovery(key, session),
            sender: Side::Local,
            question: Endings { currency, request_ids },
        });
    }

    fn session_of(&self, key: &PublicKey) -> Option<SessionId> {
        Some(self.live.get(key)?.session.as_ref()?.id)
    }

    /// What the store keeps of the requests of an [`Effect::FindCollected`].
    pub fn handle_collected(
        &mut self,
        now: Timestamp,
        asker: CollectedFor,
        found: Vec<KeptCollect>,
    ) {
        match asker {
            CollectedFor::Recovery(key, session) if self.session_of(&key) == Some(session) => {
                self.own_found(now, key, found);
            }
            CollectedFor::Friend(key, session) => self.answer_endings(key, session, found),
            CollectedFor::Recovery(..) => {}
        }
        self.stepped();
    }

    /// What our own store knew is passed on; the friend is asked for the rest.
    fn own_found(&mut self, now: Timestamp, key: PublicKey, found: Vec<KeptCollect>) {
        let Some((currency, mut asked)) = self.asking(&key).and_then(|it| it.asked.take()) else {
            return;
        };
        for kept in found {
            let id = kept.collected.request_id;
            if let Some(at) = asked.get(&id).cloned()
                && self.settle_incoming(now, &at, key, (&kept.collected, Some(kept.amount)))
            {
                asked.remove(&id);
            }
        }
        if asked.is_empty() {
            return self.ask_endings(key);
        }
        let request_ids = asked.keys().copied().collect();
        if let Some(asking) = self.asking(&key) {
            asking.asked = Some((currency.clone(), asked));
            asking.told = true;
        }
        self.send(key, FriendMessage::Endings(Endings { currency, request_ids }));
    }

    /// A friend says how requests of ours ended. Before it is asked it has nothing to say: our own
    /// store may know better.
    pub(crate) fn endings_told(&mut self, now: Timestamp, key: PublicKey, answer: EndingsAnswer) {
        let asking = self.asking(&key).filter(|asking| asking.told);
        let Some((currency, mut asked)) = asking.and_then(|it| it.asked.take()) else {
            return;
        };
        if currency == answer.currency {
            for proof in &answer.collected {
                if let Some(at) = asked.get(&proof.request_id).cloned()
                    && proof.currency == currency
                {
                    if self.settle_incoming(now, &at, key, (proof, None)) {
                        asked.remove(&proof.request_id);
                    } else {
                        log::warn!("friend {key:?} claims a request collected that is not");
                    }
                }
            }
            for id in &answer.unknown {
                let at_once = self.state.recovery.is_some_and(|recovery| recovery.at_once);
                if let Some(at) = asked.get(id).cloned()
                    && at_once
                    && self.is_orphan(&at, key)
                {
                    asked.remove(id);
                    self.cancel_incoming(now, &at, CancelReason::Offline, Some(self.local));
                }
            }
        }
        if let Some(asking) = self.asking(&key) {
            // The operator decides, or the friend in another session.
            asking.unknown.extend(asked.into_values());
        }
        self.ask_endings(key);
    }

    /// A request that lost its partner was collected at `next`: response and collect go upstream.
    /// `false` when that is not what the locks say.
    pub(crate) fn settle_incoming(
        &mut self,
        now: Timestamp,
        at: &Place,
        next: PublicKey,
        (proof, amount): (&Collected, Option<Credits>),
    ) -> bool {
        let Some(row) = self.pending(at, Side::Remote) else {
            return true;
        };
        if row.link != Link::None || row.closing {
            return true;
        }
        let waits = self.queued_response(at);
        let other = |response: &Response| response.dest_hashed_lock != proof.dest_hashed_lock;
        if !proves(row, self.local, proof) || waits.is_some_and(other) {
            return false;
        }
        let answered = row.response.is_some() || waits.is_some();
        let passed_on = amount.or_else(|| {
            let rate = self.friend(&at.friend)?.lines.get(&at.currency)?.rate;
            row.request.frozen()?.checked_sub(rate.fee(row.request.dest_payment)?)
        });
        let link = Link::Downstream(next, self.hop_id(at));
        self.annotate(at, Side::Remote, |row| {
            row.link = link;
            row.closing = true;
            row.passed_on = passed_on;
        });
        if !answered {
            let response = Response { request_id: at.id, ..proof.response() };
            self.enqueue(now, at, FriendOp::Response(response), Link::None);
        }
        let mut collect = proof.collect();
        collect.request_id = at.id;
        self.enqueue(now, at, FriendOp::Collect(collect), Link::None);
        true
    }

    fn queued_response(&self, at: &Place) -> Option<&Response> {
        let rows = self.friend(&at.friend)?.queue.values();
        rows.filter(|row| row.currency == at.currency).find_map(|row| match &row.op {
            FriendOp::Response(response) if response.request_id == at.id => Some(response),
            FriendOp::Response(_)
            | FriendOp::Request(_)
            | FriendOp::Commit(_)
            | FriendOp::Collect(_)
            | FriendOp::Cancel(_)
            | FriendOp::Release(_) => None,
        })
    }

    /// A friend asks how its requests ended.
    pub(crate) fn endings_wanted(&mut self, now: Timestamp, key: PublicKey, question: Endings) {
        let Some(session) = self.session_of(&key).filter(|_| self.is_online(&key)) else {
            return;
        };
        let answering = &mut self.live.entry(key).or_default().answering;
        if answering.waiting.is_some() {
            self.effects.push(Effect::Disconnect { friend: key, session });
            return;
        }
        answering.waiting = Some(question);
        self.look_up(now, key);
    }

    /// Looks up the answer to the question that waits, when its time has come.
    pub(crate) fn look_up(&mut self, now: Timestamp, key: PublicKey) {
        let Some(session) = self.session_of(&key) else {
            return;
        };
        let answering = &mut self.live.entry(key).or_default().answering;
        if answering.under_way.is_some() {
            return;
        }
        // A clock that was set back makes nobody wait longer.
        let not_before = answering.not_before.min(now.plus_ms(PACE_MS));
        if now < not_before {
            self.timers.insert((not_before, Timer::Endings(key)));
            return;
        }
        let Some(mut question) = answering.waiting.take() else {
            return;
        };
        question.request_ids.sort();
        question.request_ids.dedup();
        answering.not_before = now.plus_ms(PACE_MS);
        answering.under_way = Some(question.clone());
        let asker = CollectedFor::Friend(key, session);
        self.effects.push(Effect::FindCollected { asker, sender: Side::Remote, question });
    }

    fn answer_endings(&mut self, key: PublicKey, session: SessionId, found: Vec<KeptCollect>) {
        let current = self.session_of(&key);
        let Some(live) = self.live.get_mut(&key) else {
            return;
        };
        let Some(question) = live.answering.under_way.take() else {
            return;
        };
        if live.answering.waiting.is_some() {
            self.timers.insert((live.answering.not_before, Timer::Endings(key)));
        }
        if current != Some(session) {
            return;
        }
        let collected: Vec<_> = found.into_iter().map(|kept| kept.collected).collect();
        let known: BTreeSet<_> = collected.iter().map(|proof| proof.request_id).collect();
        let mut unknown = question.request_ids;
        unknown.retain(|id| !known.contains(id));
        let answer = EndingsAnswer { currency: question.currency, collected, unknown };
        self.send(key, FriendMessage::EndingsAnswer(answer));
    }

    /// The session in which a friend asked is over.
    pub(crate) fn forget_question(&mut self, key: PublicKey) {
        if let Some(live) = self.live.get_mut(&key) {
            live.answering.waiting = None;
        }
    }
}
