//! Inconsistent channels: terms, what is proven, acceptance (protocol, section 8).
//!
//! While a channel is inconsistent nothing that was forwarded over it ends here. Each side says once,
//! signed, on which terms it would begin again; one side's person accepts the other's; `epoch` then
//! begins the new epoch.

use std::collections::BTreeMap;

use offset_crypto::{HashResult, PublicKey, RequestId};
use offset_proto::{
    Balance, Currency, Name, Text, Timestamp,
    app::{AppError, ErrorCode},
    friend::{
        CancelReason, Collect, CurrencyOps, FriendMessage, FriendOp, MAX_EPOCH, Response, Resume,
    },
    reset::{
        AcceptReset, Collected, Inconsistency, MAX_COLLECTED, ResetBalance, ResetTerms,
        ResetTermsBody,
    },
};

use crate::{
    channel::genesis,
    destination::app_error,
    dirty::Key,
    funder::{Funder, Place, Standing},
    kept::proves,
    side::Side,
    state::{Agreement, Channel, Friend, Inconsistent, Link, Stage},
};

impl Funder {
    /// Stops a channel: something came that cannot be explained. Nothing that was forwarded over it
    /// is cancelled; requests that never went into a token are.
    pub(crate) fn inconsistent(&mut self, now: Timestamp, key: PublicKey, why: &str) {
        let Some(friend) = self.state.friends.get(&key) else {
            return;
        };
        if friend.channel.inconsistent.is_some() {
            return;
        }
        log::warn!("the channel with friend {key:?} is inconsistent: {why}");
        let local = self.new_terms(&key, friend);
        self.set_inconsistent(key, Text::cut(why), local);
        self.availability_changed(key);
        self.cancel_unsent(now, key);
        if let Some(session) = self.live.get_mut(&key).and_then(|live| live.session.as_mut()) {
            session.standing = Standing::Resuming;
        }
        self.send_terms(key);
    }

    /// Ends the requests to a friend that never went into a token.
    pub(crate) fn cancel_unsent(&mut self, now: Timestamp, key: PublicKey) {
        for number in self.queued_requests_of(key, None) {
            if let Some(row) = self.dequeue(key, number) {
                self.request_not_sent(now, key, &row, CancelReason::Offline);
            }
        }
    }

    pub(crate) fn set_inconsistent(&mut self, key: PublicKey, reason: Text, local: ResetTerms) {
        if let Some(friend) = self.state.friends.get_mut(&key) {
            let row = Inconsistent { reason, local, remote: None, accepted: None };
            friend.channel.inconsistent = Some(Box::new(row));
            self.dirty.mark(Key::Channel(key));
        }
    }

    /// On which terms we would begin again now: as if everything of the friend's that is pending were
    /// collected, and nothing of ours.
    pub(crate) fn new_terms(&self, key: &PublicKey, friend: &Friend) -> ResetTerms {
        let channel = &friend.channel;
        let credits = friend
            .lines
            .iter()
            .filter_map(|(currency, line)| line.credit.as_ref().map(|credit| (currency, credit)));
        let balances = credits.clone().map(|(currency, credit)| {
            let numbers = credit.numbers();
            let balance = numbers.balance.checked_add(numbers.pending_debt.remote);
            let balance = balance.unwrap_or(Balance::MAX);
            ResetBalance { currency: currency.clone(), balance }
        });
        let pending = |side: Side| credits.clone().any(|(_, row)| !row.pending(side).is_empty());
        let [last, previous] = channel.own_tokens;
        let body = ResetTermsBody {
            // A friend that claims the last epoch of all leaves none to begin.
            epoch: channel.highest_epoch.saturating_add(1).min(MAX_EPOCH),
            balances: balances.collect(),
            pending: Side::BOTH.into_iter().any(pending),
            last,
            previous,
        };
        body.sign(&self.identity, key)
    }

    /// Tells a friend in a session what there is to tell of an inconsistent channel.
    pub(crate) fn send_terms(&mut self, key: PublicKey) {
        if self.quarantined(&key).is_some() {
            return;
        }
        let Some(row) = self.friend(&key).and_then(|f| f.channel.inconsistent.clone()) else {
            return;
        };
        let terms = row.local;
        let message = Inconsistency { terms, collected: Vec::new() };
        self.send(key, FriendMessage::Inconsistency(Box::new(message)));
        if let Some(accepted) = row.accepted {
            self.send(key, FriendMessage::AcceptReset(accepted));
        }
        self.send_proofs(key);
    }

    /// Sends what can be proven and was not sent in this session.
    pub(crate) fn send_proofs(&mut self, key: PublicKey) {
        let Some(friend) = self.friend(&key) else {
            return;
        };
        let Some(row) = &friend.channel.inconsistent else {
            return;
        };
        let Some(session) = self.live.get(&key).and_then(|live| live.session.as_ref()) else {
            return;
        };
        let mut proofs = proofs(friend);
        proofs
            .retain(|proof| !session.proven.contains(&(proof.currency.clone(), proof.request_id)));
        let terms = row.local.clone();
        for chunk in proofs.chunks(MAX_COLLECTED) {
            let message = Inconsistency { terms: terms.clone(), collected: chunk.to_vec() };
            self.send(key, FriendMessage::Inconsistency(Box::new(message)));
        }
        if let Some(session) = self.live.get_mut(&key).and_then(|live| live.session.as_mut()) {
            session.proven.extend(proofs.into_iter().map(|p| (p.currency, p.request_id)));
        }
    }

    /// The friend's terms, and what it proves.
    pub(crate) fn inconsistency_received(
        &mut self,
        now: Timestamp,
        key: PublicKey,
        message: Inconsistency,
    ) {
        if self.withholds(&key) {
            return;
        }
        let Inconsistency { terms, collected } = message;
        let Some(friend) = self.state.friends.get(&key) else {
            return;
        };
        if !terms.verify(&key, &self.local) {
            log::warn!("terms of friend {key:?} that it did not sign are ignored");
            return;
        }
        // Terms of an epoch that we were in are over, whoever still has them under way.
        if terms.body.epoch <= friend.channel.epoch {
            return;
        }
        if friend.channel.inconsistent.is_none() {
            self.inconsistent(now, key, "the friend says that it cannot explain what it received");
        }
        let token = terms.token(&key, &self.local);
        let channel = self.state.friends.get_mut(&key).map(|friend| &mut friend.channel);
        if let Some(channel) = channel
            && let Some(row) = channel.inconsistent.as_mut()
            && row.remote.as_ref() != Some(&terms)
        {
            let before = row.remote.replace(terms);
            let lapsed = row.accepted.take_if(|accepted| accepted.reset_token != token);
            if let (Some(_), Some(before)) = (lapsed, before)
                && row.local.body.epoch < before.body.epoch
            {
                // A friend names no epoch above both sides' highest without a purpose.
                channel.offered_epoch = channel.offered_epoch.max(before.body.epoch);
            }
            self.dirty.mark(Key::Channel(key));
            self.dirty.friends.insert(key);
        }
        for proof in collected {
            if !self.proof_received(now, key, proof) {
                log::warn!("friend {key:?} claims a request collected that is not");
                break;
            }
        }
        self.accept_equal_terms(key);
    }

    /// One of our requests was collected, as the locks say: passed on, whatever becomes of the
    /// channel. `false` when they do not open it.
    fn proof_received(&mut self, now: Timestamp, key: PublicKey, proof: Collected) -> bool {
        let at = Place { friend: key, currency: proof.currency.clone(), id: proof.request_id };
        let Some(row) = self.pending(&at, Side::Local).filter(|row| !row.closing) else {
            return true;
        };
        let response = proof.response();
        if !proves(row, key, &proof) {
            return false;
        }
        let mut row = row.clone();
        let (answered, link) = (row.stage != Stage::Requested, row.link);
        row.response = Some(response.clone().into());
        // The row stays until the channel begins again; its end is known.
        self.annotate(&at, Side::Local, |row| {
            row.closing = true;
            row.link = Link::None;
        });
        self.line_changed(key, &at.currency);
        if !answered && let Link::Upstream(..) = link {
            self.response_received(now, &at, link, response);
        }
        let collect: Collect = proof.collect();
        self.keep_collected(now, &at, Side::Local, (&row, &collect));
        self.collect_received(now, &at, &row, &collect);
        true
    }

    /// Equal terms of two sides with nothing pending need no person: the lower key accepts.
    pub(crate) fn accept_equal_terms(&mut self, key: PublicKey) {
        let ends = self.ends(key);
        let Some(friend) = self.state.friends.get(&key) else {
            return;
        };
        let Some(row) = &friend.channel.inconsistent else {
            return;
        };
        let Some(remote) = acceptable(&friend.channel, row) else {
            return;
        };
        let (mine, theirs) = (&row.local.body, &remote.body);
        let equal = sums(&mine.balances)
            == sums(&theirs.balances)
                .into_iter()
                .map(|(currency, balance)| (currency, balance.mirrored()))
                .collect::<BTreeMap<_, _>>();
        // Currencies that this node does not have are for a person to take, at a balance of 0 too: each
        // would be booked as begun, and as ended when the friend disables it, time and again.
        let known = theirs.balances.iter().all(|row| friend.lines.contains_key(&row.currency));
        if ends.low() == Side::Local && equal && known && !mine.pending && !theirs.pending {
            let token = remote.token(&key, &self.local);
            self.accept_terms(key, token);
        }
    }

    /// Accepts the friend's terms, on record first.
    fn accept_terms(&mut self, key: PublicKey, token: HashResult) {
        let accept = AcceptReset::sign(token, &self.identity);
        let channel = self.state.friends.get_mut(&key).map(|friend| &mut friend.channel);
        if let Some(row) = channel.and_then(|channel| channel.inconsistent.as_mut())
            && row.accepted != Some(accept)
        {
            row.accepted = Some(accept);
            self.dirty.mark(Key::Channel(key));
            self.dirty.friends.insert(key);
            self.send(key, FriendMessage::AcceptReset(accept));
        }
    }

    /// A person accepts the friend's terms that were shown, by their reset token.
    ///
    /// # Errors
    /// When there are no such terms (any more).
    pub(crate) fn reset_friend(
        &mut self,
        name: &Name,
        reset_token: HashResult,
    ) -> Result<(), AppError> {
        let refused = |message: &str| Err(app_error(ErrorCode::Refused, message));
        let key = self.named(name)?;
        let Some(friend) = self.friend(&key) else {
            return Ok(());
        };
        if self.quarantined(&key).is_some() {
            return refused(&format!(
                "{name} proves that this node lost state; accept that first with recover-friend"
            ));
        }
        let Some(row) = &friend.channel.inconsistent else {
            return refused(&format!(
                "the channel with {name} is consistent; there is nothing to reset"
            ));
        };
        let Some(remote) = acceptable(&friend.channel, row) else {
            let message = format!(
                "{name} has not told its terms yet; it does when it is connected next, then try again"
            );
            return refused(&message);
        };
        if remote.token(&key, &self.local) != reset_token {
            let message =
                format!("{name} has made new terms meanwhile; look at them and decide again");
            return refused(&message);
        }
        self.accept_terms(key, reset_token);
        Ok(())
    }

    /// The friend accepts terms: when they are ours and stand, the new epoch begins here.
    pub(crate) fn acceptance_received(
        &mut self,
        now: Timestamp,
        key: PublicKey,
        acceptance: AcceptReset,
    ) {
        if self.withholds(&key) {
            return;
        }
        let ends = self.ends(key);
        let Some(friend) = self.state.friends.get(&key) else {
            return;
        };
        let Some(row) = &friend.channel.inconsistent else {
            return;
        };
        // Of two acceptances that cross, that of the lower key counts.
        let ours_counts = row.accepted.is_some() && ends.low() == Side::Local;
        if ours_counts
            || acceptance.reset_token != row.local.token(&self.local, &key)
            || !acceptance.verify(&key)
        {
            return;
        }
        let terms = row.local.clone();
        self.begin_epoch(now, key, Agreement { proposer: Side::Local, terms, acceptance });
        self.send_resume(key);
    }

    /// What a `resume` says about epochs, before it is compared. An inconsistent channel whose terms
    /// the friend has installed is installed here, too.
    pub(crate) fn epoch_shown(&mut self, now: Timestamp, key: PublicKey, theirs: &Resume) {
        let ends = self.ends(key);
        let Some(friend) = self.state.friends.get_mut(&key) else {
            return;
        };
        let channel = &mut friend.channel;
        if std::mem::take(&mut channel.removed_by_friend) {
            self.dirty.mark(Key::Channel(key));
            self.dirty.friends.insert(key);
        }
        if let Some(row) = channel.inconsistent.as_mut()
            && let (Some(accepted), Some(remote)) = (row.accepted, row.remote.clone())
        {
            let epoch = remote.body.epoch;
            let expected = genesis(&ends, epoch, &mirrored(&remote.body.balances));
            let begun = theirs.epoch == epoch;
            if begun && (theirs.counter != 0 || theirs.token_id == expected) {
                let agreement =
                    Agreement { proposer: Side::Remote, terms: remote, acceptance: accepted };
                self.begin_epoch(now, key, agreement);
                return self.send_resume(key);
            }
            if begun || epoch < theirs.epoch {
                row.accepted = None;
                self.dirty.mark(Key::Channel(key));
                self.dirty.friends.insert(key);
            }
        }
        self.epoch_known(key, theirs.epoch);
    }

    /// The friend has been in this epoch: our terms are made anew when it is a new highest.
    pub(crate) fn epoch_known(&mut self, key: PublicKey, epoch: u64) {
        let Some(friend) = self.state.friends.get_mut(&key) else {
            return;
        };
        if epoch <= friend.channel.highest_epoch {
            return;
        }
        friend.channel.highest_epoch = epoch;
        self.dirty.mark(Key::Channel(key));
        let Some(friend) = self.state.friends.get(&key) else {
            return;
        };
        if friend.channel.inconsistent.is_some() {
            let local = self.new_terms(&key, friend);
            let channel = self.state.friends.get_mut(&key).map(|friend| &mut friend.channel);
            if let Some(row) = channel.and_then(|channel| channel.inconsistent.as_mut()) {
                row.local = local;
            }
            self.dirty.friends.insert(key);
            self.send_terms(key);
            self.accept_equal_terms(key);
        }
    }
}

/// The friend's requests that we collected, as far as the friend may not know: what waits in the
/// queue, and what went out with our last token.
pub(crate) fn proofs(friend: &Friend) -> Vec<Collected> {
    let sent = friend.channel.last_sent.iter().flat_map(|token| &token.body.currency_ops);
    let sent =
        sent.flat_map(|CurrencyOps { currency, ops }| ops.iter().map(move |op| (currency, op)));
    let queued = friend.queue.values().map(|row| (&row.currency, &row.op));
    let mut responses: BTreeMap<(&Currency, RequestId), &Response> = BTreeMap::new();
    let mut proofs = Vec::new();
    for (currency, op) in sent.chain(queued) {
        match op {
            FriendOp::Response(response) => {
                responses.insert((currency, response.request_id), response);
            }
            FriendOp::Collect(collect) => {
                let id = collect.request_id;
                let line = friend.lines.get(currency).and_then(|line| line.credit.as_ref());
                let row = line.and_then(|credit| credit.pending(Side::Remote).get(&id));
                let response = row.and_then(|row| row.response.as_deref());
                let response = response.or_else(|| responses.get(&(currency, id)).copied());
                let response = response.or_else(|| answered_before(friend, currency, id));
                let proof = response.map(|r| Collected::of(currency.clone(), r, collect));
                proofs.extend(proof);
            }
            FriendOp::Request(_)
            | FriendOp::Commit(_)
            | FriendOp::Cancel(_)
            | FriendOp::Release(_) => {}
        }
    }
    proofs
}

/// The response to a request that our last token collected, when an earlier one carried it.
fn answered_before<'a>(
    friend: &'a Friend,
    currency: &Currency,
    id: RequestId,
) -> Option<&'a Response> {
    let mut ended = friend.before_sent.ended.iter();
    let ended = ended.find(|(of, row)| of == currency && row.request.request_id == id);
    ended.and_then(|(_, row)| row.response.as_deref())
}

/// The friend's terms, when they are of an epoch above every one that we were in.
fn acceptable<'a>(channel: &Channel, row: &'a Inconsistent) -> Option<&'a ResetTerms> {
    row.remote.as_ref().filter(|terms| channel.epoch < terms.body.epoch)
}

/// Balances as the other side sees them.
pub(crate) fn mirrored(balances: &[ResetBalance]) -> Vec<ResetBalance> {
    let mirror = |row: &ResetBalance| ResetBalance {
        currency: row.currency.clone(),
        balance: row.balance.mirrored(),
    };
    balances.iter().map(mirror).collect()
}

/// Balances other than 0: a currency that is not named stands at 0.
fn sums(balances: &[ResetBalance]) -> BTreeMap<&Currency, Balance> {
    let rows = balances.iter().map(|row| (&row.currency, row.balance));
    rows.filter(|(_, balance)| *balance != Balance::ZERO).collect()
}
