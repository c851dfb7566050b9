//! A node whose database is older than what its friends know: quarantine, installing, and the end
//! of a recovery (protocol, section 8). What is due after a state was installed is in `due`.
//!
//! ```text
//!   started with an old copy                 a friend's proof holds
//!        | --recover, boot counter                |
//!        v                                        v
//!   every friend Waiting                     Quarantined: nothing is signed
//!        |  (agreed: not any more)                | the operator's word, or at once under --recover
//!        |                                        v
//!        '------------------------------>    installed: Waiting until a session agrees
//! ```
//!
//! Invariants: a friendship in quarantine signs nothing; nothing of a proof is installed but what it
//! proves; a payment that was unfinished in the old copy is never retried; a request whose ending
//! this node cannot know is not ended before somebody says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use offset_crypto::{HashResult, PaymentId, PublicKey};
use offset_proto::{
    Credits, Currency, Name, Timestamp,
    app::{AppError, ErrorCode},
    friend::CancelReason,
    history::Adjustment,
    proof::{Signed, StateProof},
};

use crate::{
    api::Effect,
    channel::genesis,
    credit::MutualCredit,
    destination::app_error,
    dirty::Key,
    funder::{Funder, Place, Standing, Timer},
    proof::{self, Lines},
    reset::proofs,
    side::Side,
    state::{BeforeSent, FriendRecovery, KeptCollect, Link, Pending, Phase, Recovery},
};

impl Funder {
    /// The database is known to be an old copy, or the operator says so: from the next session on
    /// everything that friends prove is installed at once.
    pub fn begin_recovery(&mut self, now: Timestamp) {
        self.recovery_begins(now, true);
        let friends: Vec<_> = self.state.friends.keys().copied().collect();
        for key in friends {
            if self.quarantined(&key).is_some() {
                self.install(now, key);
            }
        }
    }

    /// Friends with whom nothing was agreed are waited for, and what was unfinished is unknown.
    fn recovery_begins(&mut self, now: Timestamp, at_once: bool) {
        let known = self.state.recovery;
        // Once more each time: the copy may have been made in an earlier recovery.
        let agreed = |key: &PublicKey| self.live.get(key).is_some_and(|l| l.agreed_since_start);
        let friends = self.state.friends.iter();
        let waiting: Vec<_> = friends
            .filter(|(key, friend)| friend.recovery.is_none() && !agreed(key))
            .map(|(key, _)| *key)
            .collect();
        // Those that agreed in that one may say otherwise now, and nobody has told us at this start to
        // take that over.
        let goes_on = known.is_some_and(|known| known.at_once) && waiting.is_empty();
        self.set_recovery(known.map_or(now, |known| known.since), at_once || goes_on);
        for key in waiting {
            if let Some(friend) = self.state.friends.get_mut(&key) {
                friend.recovery = Some(FriendRecovery::Waiting);
                self.dirty.mark(Key::FriendRecovery(key));
            }
        }
        self.payments_lost(now);
    }

    fn set_recovery(&mut self, since: Timestamp, at_once: bool) {
        if self.state.recovery != Some(Recovery { since, at_once }) {
            log::warn!("this node's database is older than what its friends know: it recovers");
            self.state.recovery = Some(Recovery { since, at_once });
            self.dirty.mark(Key::Recovery);
        }
    }

    /// Whether what a friend proves is to be installed without asking. A friend that has agreed since
    /// the restore has shown its state: if it shows a later one now, it has shown an older one before
    /// and may do so again and again, each time after it has used up its limit. From then on the owner
    /// decides.
    fn installs_at_once(&mut self, key: &PublicKey) -> bool {
        let Some(Recovery { since, at_once: true }) = self.state.recovery else {
            return false;
        };
        let first = self.friend(key).is_some_and(|friend| friend.recovery.is_some());
        if !first {
            log::warn!("friend {key:?} shows a later state than before: the owner has to decide");
            self.set_recovery(since, false);
        }
        first
    }

    /// Payments that were under way in the old copy may have been paid since: they are never tried
    /// again. Those that were ordered since the start go on.
    fn payments_lost(&mut self, now: Timestamp) {
        let under_way =
            |id: &PaymentId| self.state.payments.get(id).is_some_and(|row| !row.phase.is_final());
        let lost = std::mem::take(&mut self.loaded_payments).into_iter().filter(under_way);
        let lost: Vec<_> = lost.collect();
        for id in lost {
            self.release_current(now, id);
            self.end_payment(id, Phase::Unknown);
        }
    }

    /// The state that a friend proved, while it is not installed.
    pub(crate) fn quarantined(&self, key: &PublicKey) -> Option<&Arc<StateProof>> {
        match self.friend(key)?.recovery.as_ref()? {
            FriendRecovery::Quarantined(proof) => Some(proof),
            FriendRecovery::Waiting => None,
        }
    }

    /// A friend's proof holds: this node is behind.
    pub(crate) fn quarantine(
        &mut self,
        now: Timestamp,
        key: PublicKey,
        proof: StateProof,
        proven: Lines,
    ) {
        if !self.state.friends.contains_key(&key) {
            return;
        }
        if self.quarantined(&key).is_some_and(|known| proof.position() <= known.position()) {
            return self.stand(key, Standing::Quarantined);
        }
        log::warn!("friend {key:?} proves that this node has lost state: nothing is signed for it");
        let at_once = self.installs_at_once(&key);
        self.recovery_begins(now, false);
        if let Some(friend) = self.state.friends.get_mut(&key) {
            friend.recovery = Some(FriendRecovery::Quarantined(Arc::new(proof)));
        }
        self.dirty.mark(Key::FriendRecovery(key));
        let live = self.live.entry(key).or_default();
        live.claim = None;
        live.proven = proven;
        self.stand(key, Standing::Quarantined);
        if at_once {
            self.install(now, key);
        }
    }

    /// What was proven before this start, told again for reports.
    pub(crate) fn rebuild_proven(&mut self, now: Timestamp, key: PublicKey) {
        let ends = self.ends(key);
        let channel = self.friend(&key).map(|friend| &friend.channel);
        if let (Some(proof), Some(channel)) = (self.quarantined(&key), channel)
            && let Ok(lines) = proof::check(&ends, channel, proof, now)
        {
            self.live.entry(key).or_default().proven = lines;
        }
    }

    fn stand(&mut self, key: PublicKey, standing: Standing) {
        if let Some(session) = self.live.get_mut(&key).and_then(|live| live.session.as_mut()) {
            session.standing = standing;
        }
        self.dirty.friends.insert(key);
    }

    /// Whether the terms of a reset must wait: a friend that is asked what we lost, or that has proven
    /// it, is heard on them in the session after that.
    pub(crate) fn withholds(&mut self, key: &PublicKey) -> bool {
        let quarantined = self.quarantined(key).is_some();
        let consistent = self.friend(key).is_some_and(|f| f.channel.inconsistent.is_none());
        let session = self.live.get_mut(key).and_then(|live| live.session.as_mut());
        session.is_some_and(|session| {
            let waits = quarantined || (consistent && session.standing == Standing::Behind);
            session.withheld |= waits;
            waits
        })
    }

    /// The operator accepts the state that was shown, named by the id of our own last token in it.
    pub(crate) fn recover_friend(
        &mut self,
        now: Timestamp,
        name: &Name,
        token: HashResult,
    ) -> Result<(), AppError> {
        let key = self.named(name)?;
        match self.quarantined(&key).map(|proof| proof.signed_id()) {
            Some(shown) if shown == token => {
                self.install(now, key);
                Ok(())
            }
            Some(_) => Err(app_error(
                ErrorCode::Refused,
                &format!("{name} proves another state by now; look at it again first"),
            )),
            None => Err(app_error(
                ErrorCode::Refused,
                &format!("{name} has proven no later state, so there is nothing to recover"),
            )),
        }
    }

    /// Takes a proven state for ours: the queue to that friend and what we wanted of its lines are
    /// forgotten, and so is everything that hangs on requests which are not in it.
    pub(crate) fn install(&mut self, now: Timestamp, key: PublicKey) {
        let ends = self.ends(key);
        let Some(proof) = self.quarantined(&key).cloned() else {
            return;
        };
        let Some(lines) = proof::signed_lines(&proof.signed, &ends) else {
            log::error!("the proof of friend {key:?} was checked and is not one");
            return;
        };
        log::info!("the state that friend {key:?} proves is installed");
        self.recovery_begins(now, false);
        let collected = self.not_passed_on(key);
        self.forget_queue(now, key);
        self.replace_lines(now, key, lines);
        self.pass_on_later(now, collected);
        let Some(friend) = self.state.friends.get_mut(&key) else {
            return;
        };
        let channel = &mut friend.channel;
        channel.settle();
        match &proof.signed {
            Signed::Token { token, .. } => {
                channel.epoch = token.body.epoch;
                channel.counter = token.body.counter;
                channel.token_id = token.id();
                channel.own_tokens = [Some(token.id()), None];
                channel.last_sent = Some(Arc::new(token.as_ref().clone()));
                // How the epoch began is known only if the copy is of this epoch.
                let epoch = channel.epoch;
                channel.reset =
                    channel.reset.take().filter(|known| known.terms.body.epoch == epoch);
            }
            Signed::Reset(begun) => {
                let agreement = proof::agreement_of(begun);
                channel.epoch = agreement.terms.body.epoch;
                channel.counter = 0;
                channel.token_id =
                    genesis(&ends, channel.epoch, &proof::agreed_balances(&agreement));
                channel.last_sent = None;
                channel.reset = Some(Box::new(agreement));
            }
        }
        channel.highest_epoch = channel.highest_epoch.max(channel.epoch);
        // Told once more, so that the next token proves that we are there again.
        channel.relays_sent = None;
        channel.relays_confirmed = None;
        friend.received = None;
        friend.before_sent = BeforeSent::default();
        friend.recovery = Some(FriendRecovery::Waiting);
        for row in
            [Key::Channel(key), Key::Received(key), Key::BeforeSent(key), Key::FriendRecovery(key)]
        {
            self.dirty.mark(row);
        }
        self.dirty.own_relays = true;
        self.live.entry(key).or_default().proven = Lines::new();
        self.book_adjustments(now, key, Adjustment::Recovered);
        self.mend_links(now);
        let session = self.live.get(&key).and_then(|live| live.session.as_ref());
        if let Some(session) = session.filter(|session| session.withheld) {
            let session = session.id;
            self.effects.push(Effect::Disconnect { friend: key, session });
        } else if session.is_some() {
            // What was said of this node in this session is over, even if the friend has not yet
            // said where it is itself.
            self.send_resume(key);
            self.compare_resumes(now, key);
        }
    }

    /// What was collected of us for requests of a friend, as far as that waits in its queue: the
    /// request, and what to keep until it can be passed on all the same.
    fn not_passed_on(&self, key: PublicKey) -> Vec<(Place, KeptCollect)> {
        let proofs = self.friend(&key).map(proofs).unwrap_or_default();
        let found = proofs.into_iter().filter_map(|mut collected| {
            let currency = collected.currency.clone();
            let at = Place { friend: key, currency, id: collected.request_id };
            let row = self.pending(&at, Side::Remote)?;
            let Link::Downstream(friend, id) = row.link else {
                return None;
            };
            collected.request_id = id;
            let amount = row.passed_on.or_else(|| row.request.frozen())?;
            let kept =
                KeptCollect { friend, sender: Side::Local, at: row.since, amount, collected };
            Some((at, kept))
        });
        found.collect()
    }

    /// Keeps what was collected for requests that the proven state holds: the friend that collected
    /// may be away or hostile, and need not be asked.
    fn pass_on_later(&mut self, now: Timestamp, collected: Vec<(Place, KeptCollect)>) {
        for (at, kept) in collected {
            if self.pending(&at, Side::Remote).is_some_and(|row| !row.closing) {
                let key = (kept.friend, at.currency, kept.collected.request_id);
                self.state.alone.insert(key.clone(), KeptCollect { at: now, ..kept });
                self.dirty.mark(Key::Alone(key));
            }
        }
    }

    fn forget_queue(&mut self, now: Timestamp, key: PublicKey) {
        let numbers: Vec<_> =
            self.friend(&key).into_iter().flat_map(|friend| friend.queue.keys().copied()).collect();
        for number in numbers {
            let Some(row) = self.dequeue(key, number) else {
                continue;
            };
            let id = row.op.request_id();
            match row.link {
                Link::Upstream(from, _) => {
                    self.guard.remove(&Place { friend: key, currency: row.currency, id }, from);
                }
                Link::Payment(payment) => self.part_lost(now, payment, id),
                Link::None | Link::Destination | Link::Downstream(..) => {}
            }
        }
    }

    /// The rows of a friend become those of the proven state. What only we know of a request that
    /// is in both stays with it.
    fn replace_lines(&mut self, now: Timestamp, key: PublicKey, mut lines: Lines) {
        let Some(friend) = self.state.friends.get_mut(&key) else {
            return;
        };
        let old = std::mem::take(&mut friend.lines);
        let mut passing = Vec::new();
        for (currency, line) in &mut lines {
            let before = old.get(currency);
            line.rate = before.map(|line| line.rate).unwrap_or_default();
            let before = before.and_then(|line| line.credit.as_ref());
            if let Some(credit) = line.credit.as_mut() {
                inherit(credit, before, now);
                for (id, row) in credit.pending(Side::Local) {
                    if let Link::Upstream(from, _) = row.link {
                        let at = Place { friend: key, currency: currency.clone(), id: *id };
                        passing.push((
                            at,
                            from,
                            row.request.frozen().unwrap_or_default(),
                            row.since,
                        ));
                    }
                }
            }
        }
        friend.lines = lines;
        let rows = |lines: &Lines| {
            let mut rows = BTreeSet::new();
            for (currency, line) in lines {
                for side in Side::BOTH {
                    let ids = line.credit.iter().flat_map(|credit| credit.pending(side).keys());
                    rows.extend(ids.map(|id| (currency.clone(), side, *id)));
                }
            }
            rows
        };
        let pending = rows(&old).into_iter().chain(rows(&friend.lines));
        let pending: Vec<_> = pending.collect();
        let currencies: BTreeSet<_> = old.keys().chain(friend.lines.keys()).cloned().collect();
        for currency in currencies {
            self.line_changed(key, &currency);
        }
        for (currency, side, id) in pending {
            self.dirty.mark(Key::Pending(key, currency, side, id));
        }
        for (currency, line) in &old {
            for (id, row) in line.credit.iter().flat_map(|credit| credit.pending(Side::Local)) {
                let at = Place { friend: key, currency: currency.clone(), id: *id };
                match row.link {
                    Link::Upstream(from, _) => self.guard.remove(&at, from),
                    Link::Payment(payment) if self.pending(&at, Side::Local).is_none() => {
                        self.part_lost(now, payment, *id);
                    }
                    Link::Payment(_) | Link::None | Link::Destination | Link::Downstream(..) => {}
                }
            }
        }
        for (at, from, frozen, since) in passing {
            self.guard.add(&at, from, frozen, since);
        }
    }

    /// Forgets pairs of which one half is gone, and parts of sets that are gone.
    fn mend_links(&mut self, now: Timestamp) {
        let mut alone = Vec::new();
        for (key, friend) in &self.state.friends {
            for (currency, line) in &friend.lines {
                let Some(credit) = &line.credit else { continue };
                for side in Side::BOTH {
                    for (id, row) in credit.pending(side) {
                        let at = Place { friend: *key, currency: currency.clone(), id: *id };
                        if self.lost_its_partner(&at, row) {
                            alone.push((at, side, row.link));
                        }
                    }
                }
            }
        }
        for (at, side, link) in alone {
            if let Link::Upstream(from, _) = link {
                self.guard.remove(&at, from);
                self.exposed.insert(at.clone());
            }
            self.annotate(&at, side, |row| row.link = Link::None);
        }
        self.drop_queued_for_nobody();
        self.mend_sets(now);
    }

    fn lost_its_partner(&self, at: &Place, row: &Pending) -> bool {
        let currency = at.currency.clone();
        match row.link {
            Link::Downstream(friend, id) => {
                let out = Place { friend, currency, id };
                let waits = self.queued_request(friend, id).is_some();
                // In the copy it may have waited in the queue, and be proven as sent: then it does not
                // know yet for whom, and both find each other again by its id.
                let back = Link::Upstream(at.friend, at.id);
                let partner = self.pending(&out, Side::Local);
                let gone = partner.is_none_or(|sent| sent.closing || sent.link != back);
                !row.closing && !waits && gone
            }
            Link::Upstream(friend, id) => {
                let incoming = Place { friend, currency, id };
                let back = Link::Downstream(at.friend, at.id);
                self.pending(&incoming, Side::Remote).is_none_or(|row| row.link != back)
            }
            Link::None | Link::Destination | Link::Payment(_) => false,
        }
    }

    /// Requests that never left, for incoming ones that are gone.
    fn drop_queued_for_nobody(&mut self) {
        let mut dropped = Vec::new();
        for (key, friend) in &self.state.friends {
            for (number, row) in &friend.queue {
                if let Link::Upstream(from, id) = row.link {
                    let at = Place { friend: from, currency: row.currency.clone(), id };
                    if self.pending(&at, Side::Remote).is_none() {
                        dropped.push((*key, *number, from));
                    }
                }
            }
        }
        for (key, number, from) in dropped {
            if let Some(row) = self.dequeue(key, number) {
                let id = row.op.request_id();
                self.guard.remove(&Place { friend: key, currency: row.currency, id }, from);
            }
        }
    }

    /// Ends the recovery: requests that waited for a friend's state are cancelled, if the operator
    /// says so, and what this node sent for requests that are gone is released.
    pub(crate) fn end_recovery(
        &mut self,
        now: Timestamp,
        cancel_unknown: bool,
    ) -> Result<(), AppError> {
        if self.state.recovery.is_none() {
            return Ok(());
        }
        let unknown = self.orphans();
        let promised = self.promised_sets();
        if !cancel_unknown {
            self.check_no_unknown(&unknown, &promised)?;
        }
        self.state.recovery = None;
        self.dirty.mark(Key::Recovery);
        self.forget_strangers();
        for at in unknown {
            self.cancel_incoming(now, &at, CancelReason::Offline, Some(self.local));
        }
        for key in promised {
            self.cancel_set(now, key, CancelReason::Expired);
        }
        let friends: Vec<_> = self.state.friends.keys().copied().collect();
        for key in friends {
            if let Some(friend) = self.state.friends.get_mut(&key)
                && friend.recovery == Some(FriendRecovery::Waiting)
            {
                friend.recovery = None;
                self.dirty.mark(Key::FriendRecovery(key));
            }
        }
        for at in self.outgoing_alone() {
            self.release_outgoing(now, &at);
        }
        self.start_set_timers(now);
        Ok(())
    }

    fn check_no_unknown(
        &self,
        unknown: &[Place],
        promised: &[crate::state::SetKey],
    ) -> Result<(), AppError> {
        let mut sums: BTreeMap<Currency, Credits> = BTreeMap::new();
        let add = |sum: &mut Credits, amount: Credits| {
            *sum = sum.checked_add(amount).unwrap_or(Credits(u128::MAX));
        };
        for at in unknown {
            let frozen = self.pending(at, Side::Remote).and_then(|row| row.request.frozen());
            add(sums.entry(at.currency.clone()).or_default(), frozen.unwrap_or_default());
        }
        for set in promised.iter().filter_map(|key| self.state.sets.get(key)) {
            add(sums.entry(set.currency.clone()).or_default(), set.total);
        }
        if sums.is_empty() {
            return Ok(());
        }
        let sums: Vec<_> = sums
            .iter()
            .map(|(currency, sum)| format!("{} {currency}", self.shown(*sum, currency)))
            .collect();
        let message = format!(
            "{} requests of {} in all may have been paid already, and nobody says how they ended; \
             wait for the other friends, or lose what was paid with --cancel-unknown",
            unknown.len() + promised.len(),
            sums.join(" and ")
        );
        Err(app_error(ErrorCode::Refused, &message))
    }

    /// Incoming requests that were passed on by nobody knows whom.
    fn orphans(&self) -> Vec<Place> {
        self.rows(Side::Remote, |row| {
            row.link == Link::None && !row.closing && !row.request.route.is_empty()
        })
    }

    /// Outgoing requests whose incoming one is gone, or of payments that are.
    fn outgoing_alone(&self) -> Vec<Place> {
        self.rows(Side::Local, |row| row.link == Link::None)
    }

    pub(crate) fn rows(&self, side: Side, wanted: impl Fn(&Pending) -> bool) -> Vec<Place> {
        let mut found = Vec::new();
        for (key, friend) in &self.state.friends {
            for (currency, line) in &friend.lines {
                for (id, row) in line.credit.iter().flat_map(|credit| credit.pending(side)) {
                    if wanted(row) {
                        found.push(Place { friend: *key, currency: currency.clone(), id: *id });
                    }
                }
            }
        }
        found
    }

    /// Whether a request to pass on to `next` must wait for what that friend shows (section 6.2).
    pub(crate) fn waits_for(&self, next: &PublicKey) -> bool {
        self.state.recovery.is_some()
            && self.friend(next).is_none_or(|friend| friend.recovery.is_some())
    }

    /// Timers of sets that waited for the end of the recovery.
    fn start_set_timers(&mut self, now: Timestamp) {
        let rebuilt: Vec<_> = self
            .state
            .sets
            .iter()
            .filter(|(_, set)| set.rebuilt && !set.accepted)
            .map(|(key, _)| *key)
            .collect();
        for key in rebuilt {
            self.timers.insert((now.plus_ms(self.config.set_patience_ms), Timer::Set(key)));
        }
    }
}

/// What only we know of the requests that are in both.
fn inherit(credit: &mut MutualCredit, before: Option<&MutualCredit>, now: Timestamp) {
    for side in Side::BOTH {
        let ids: Vec<_> = credit.pending(side).keys().copied().collect();
        for id in ids {
            let known = before.and_then(|before| before.pending(side).get(&id));
            credit.annotate(side, id, |row| {
                row.since = now;
                if let Some(known) = known.filter(|known| known.request == row.request) {
                    row.since = known.since;
                    row.link = known.link;
                }
            });
        }
    }
}
