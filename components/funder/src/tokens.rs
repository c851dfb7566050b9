//! Composing and applying move tokens (protocol, section 5).

use std::{collections::BTreeMap, sync::Arc};

use offset_crypto::{PublicKey, RequestId, Rng};
use offset_proto::{
    Currency, ServerAddress, Timestamp,
    friend::{
        CancelReason, CurrencyOps, CurrencyTerms, FriendMessage, FriendOp, MAX_OPERATIONS,
        MAX_PENDING, MAX_RELAYS, MAX_TOKEN_BYTES, MoveToken, MoveTokenBody,
    },
};

use crate::{
    change::apply_line,
    channel::{apply_terms, is_any_due, signer, state_hash, terms_due},
    credit::{Applied, Context, Ends, Undo},
    dirty::Key,
    funder::{Funder, Place, Standing, Timer},
    side::Side,
    state::{BeforeSent, Line, LineRow, Link, Pending, QueuedOp},
};

/// What one operation of a received token means for this node.
pub(crate) struct Received {
    at: Place,
    op: FriendOp,
    /// For a request: whether it is within policy (section 6.1).
    allowed: bool,
    /// For a response: what its request belongs to. A later operation of the same token may have
    /// ended that request already.
    link: Link,
    /// For a collect or cancel: the row that ended.
    ended: Option<Box<Pending>>,
}

impl Funder {
    /// Sends what can be sent to a friend now: a token if we hold it, or the wish for it.
    pub(crate) fn flush(&mut self, now: Timestamp, key: PublicKey) {
        if !self.is_online(&key) {
            return self.send_proofs(key);
        }
        let ends = self.ends(key);
        let Some(friend) = self.friend(&key) else {
            return;
        };
        let counter = friend.channel.counter;
        let holder = friend.channel.holder(&ends);
        let something = self.has_something_to_send(&key);
        let Some(session) = self.live.get_mut(&key).and_then(|live| live.session.as_mut()) else {
            return;
        };
        match holder {
            Side::Remote => {
                if something && session.asked != Some(counter) {
                    session.asked = Some(counter);
                    self.send(key, FriendMessage::TokenWanted { counter });
                }
            }
            Side::Local => {
                let wanted = session.remote_wants == Some(counter);
                if (something || wanted)
                    && let Some(token) = self.compose(now, key, wanted)
                {
                    self.send(key, FriendMessage::MoveToken(Box::new(token)));
                }
            }
        }
    }

    /// Whether a token of ours would carry anything.
    pub(crate) fn has_something_to_send(&self, key: &PublicKey) -> bool {
        self.friend(key).is_some_and(|friend| {
            !friend.queue.is_empty()
                || crate::removal::awaits_word(friend)
                || friend.channel.relays_sent.as_deref() != Some(&*self.own_relays())
                || is_any_due(&friend.lines)
        })
    }

    /// Our relays as friends are to know them: sorted, at most 16.
    pub(crate) fn own_relays(&self) -> Vec<ServerAddress> {
        let mut relays: Vec<_> = self.state.relays.values().cloned().collect();
        relays.sort();
        relays.dedup();
        relays.truncate(MAX_RELAYS);
        relays
    }

    fn compose(&mut self, now: Timestamp, key: PublicKey, wanted: bool) -> Option<MoveToken> {
        let mut before = BeforeSent::default();
        let currency_terms = self.compose_terms(now, key, &mut before);
        let currency_ops = self.compose_ops(now, key, &mut before);
        let relays = self.own_relays();
        let ends = self.ends(key);
        let friend = self.state.friends.get(&key)?;
        let relays = (friend.channel.relays_sent.as_ref() != Some(&relays)).then_some(relays);
        let empty = currency_terms.is_empty() && currency_ops.is_empty() && relays.is_none();
        if empty && (!wanted || !self.may_send_empty(now, key)) {
            return None;
        }
        let friend = self.state.friends.get_mut(&key)?;
        let channel = &mut friend.channel;
        let counter = channel.counter.checked_add(1).expect("2^64 tokens are never sent");
        let body = MoveTokenBody {
            epoch: channel.epoch,
            counter,
            prev_token: channel.token_id,
            currency_terms,
            currency_ops,
            relays: relays.clone(),
            state_hash: state_hash(&ends, channel.epoch, counter, &friend.lines),
        };
        let token = body.sign(&self.identity);
        channel.counter = counter;
        channel.token_id = token.id();
        channel.own_tokens = [Some(channel.token_id), channel.own_tokens[0]];
        channel.last_sent = Some(Arc::new(token.clone()));
        if friend.before_sent != before {
            friend.before_sent = before;
            self.dirty.mark(Key::BeforeSent(key));
        }
        if relays.is_some() {
            channel.relays_sent = relays;
            self.dirty.own_relays = true;
        }
        self.dirty.mark(Key::Channel(key));
        if self.has_something_to_send(&key) {
            // What did not fit, or what this token made possible, goes into the next one.
            self.dirty.touch(key);
        }
        Some(token)
    }

    fn may_send_empty(&mut self, now: Timestamp, key: PublicKey) -> bool {
        let most = self.config.max_empty_tokens_per_second;
        let live = self.live.entry(key).or_default();
        if 1_000 <= now.ms_since(live.empties.0) || now < live.empties.0 {
            live.empties = (now, 0);
        }
        if live.empties.1 < most {
            live.empties.1 += 1;
            return true;
        }
        self.timers.insert((live.empties.0.plus_ms(1_000), Timer::Touch(key)));
        false
    }

    fn compose_terms(
        &mut self,
        now: Timestamp,
        key: PublicKey,
        before: &mut BeforeSent,
    ) -> Vec<CurrencyTerms> {
        let Some(friend) = self.state.friends.get_mut(&key) else {
            return Vec::new();
        };
        let mut due: Vec<_> =
            friend.lines.iter().filter_map(|(currency, line)| terms_due(currency, line)).collect();
        due.retain(|terms| {
            let row = friend.lines.get(&terms.currency).map(Line::row);
            let applied = apply_terms(&mut friend.lines, Side::Local, terms);
            // Only the bound on the number of currencies can refuse terms of our own; they wait.
            if applied.is_ok() {
                before.terms.push((terms.currency.clone(), row));
            }
            applied.is_ok()
        });
        for terms in &due {
            self.terms_applied(now, key, &terms.currency);
        }
        due
    }

    /// The operations that fit, applied.
    fn compose_ops(
        &mut self,
        now: Timestamp,
        key: PublicKey,
        before: &mut BeforeSent,
    ) -> Vec<CurrencyOps> {
        let mut by_currency: BTreeMap<Currency, Vec<FriendOp>> = BTreeMap::new();
        let (mut count, mut bytes) = (0, 0);
        while let Some(friend) = self.friend(&key) {
            let Some((number, row)) = friend.queue.first_key_value().map(|(n, row)| (*n, row))
            else {
                break;
            };
            let size = op_bytes(&row.op);
            if count == MAX_OPERATIONS || OPS_BUDGET_BYTES < bytes + size {
                break;
            }
            let Some(row) = self.dequeue(key, number) else {
                break;
            };
            let currency = row.currency.clone();
            if let Some(op) = self.compose_op(now, key, row, before) {
                count += 1;
                bytes += size;
                by_currency.entry(currency).or_default().push(op);
            }
        }
        by_currency.into_iter().map(|(currency, ops)| CurrencyOps { currency, ops }).collect()
    }

    /// Applies one queued operation as its sender, or says to whom it belongs that it came to
    /// nothing.
    fn compose_op(
        &mut self,
        now: Timestamp,
        key: PublicKey,
        row: QueuedOp,
        before: &mut BeforeSent,
    ) -> Option<FriendOp> {
        let ends = self.ends(key);
        let at = Place { friend: key, currency: row.currency.clone(), id: row.op.request_id() };
        if let FriendOp::Request(request) = &row.op {
            let reason = match self.credit(&key, &row.currency) {
                None => Some(CancelReason::NoRoute),
                Some(credit) if MAX_PENDING <= credit.pending(Side::Local).len() => {
                    Some(CancelReason::Busy)
                }
                Some(credit) => {
                    let frozen = request.frozen().unwrap_or(offset_proto::Credits(u128::MAX));
                    (!credit.numbers().allows(Side::Local, frozen)).then_some(CancelReason::NoRoom)
                }
            };
            if let Some(reason) = reason {
                self.request_not_sent(now, key, &row, reason);
                return None;
            }
        }
        let line = self.state.friends.get_mut(&key)?.lines.get_mut(&row.currency)?;
        let credit = line.credit.as_mut()?;
        let ctx = Context { ends: &ends, currency: &row.currency, now };
        match credit.apply(&ctx, Side::Local, &row.op, &mut credit.begin()) {
            Ok(applied) => {
                if matches!(row.op, FriendOp::Request(_)) {
                    credit.annotate(Side::Local, at.id, |pending| pending.link = row.link);
                }
                self.op_applied(&at, Side::Local, &row.op);
                match applied {
                    Applied::Ended(ended) => {
                        self.ended_by_us(now, &at, &ended, &row.op);
                        before.ended.push((row.currency, *ended));
                    }
                    Applied::Changed if matches!(row.op, FriendOp::Response(_)) => {
                        self.response_sent(now, &at);
                    }
                    Applied::Changed => {}
                }
                Some(row.op)
            }
            Err(_) if matches!(row.op, FriendOp::Request(_)) => {
                self.request_not_sent(now, key, &row, CancelReason::Declined);
                None
            }
            // A commit or release whose request moved on meanwhile is dropped; backward operations
            // never become invalid (section 6.0).
            Err(why) => {
                if !matches!(row.op, FriendOp::Commit(_) | FriendOp::Release(_)) {
                    log::error!("a queued operation for friend {key:?} cannot be sent: {why}");
                    debug_assert!(false, "{:?} cannot be sent: {why}", row.op);
                }
                None
            }
        }
    }

    /// Applies a move token of a friend as a whole, or makes the channel inconsistent.
    pub(crate) fn receive(
        &mut self,
        now: Timestamp,
        rng: &mut dyn Rng,
        key: PublicKey,
        token: MoveToken,
    ) {
        let ends = self.ends(key);
        let Some(friend) = self.state.friends.get(&key) else {
            return;
        };
        let session = self.live.get(&key).and_then(|live| live.session.as_ref());
        if session.is_none_or(|session| session.standing != Standing::Agreed)
            || friend.channel.inconsistent.is_some()
            || token.body.counter <= friend.channel.counter
        {
            return;
        }
        let body = &token.body;
        let channel = &friend.channel;
        let follows = body.epoch == channel.epoch
            && channel.counter.checked_add(1) == Some(body.counter)
            && signer(&ends, body.counter) == Side::Remote
            && body.prev_token == channel.token_id;
        if !follows {
            return self.inconsistent(now, key, "a move token does not follow the last one");
        }
        let Some(token_id) = token.verify(&key) else {
            return self.inconsistent(now, key, "a move token is not signed by the friend");
        };
        let received = match self.apply_token(now, key, &token.body) {
            Ok(received) => received,
            Err(why) => return self.inconsistent(now, key, &why),
        };
        let Some(friend) = self.state.friends.get_mut(&key) else {
            return;
        };
        let channel = &mut friend.channel;
        channel.counter = token.body.counter;
        channel.token_id = token_id;
        channel.last_sent = None;
        if !friend.before_sent.is_empty() {
            friend.before_sent = BeforeSent::default();
            self.dirty.mark(Key::BeforeSent(key));
        }
        let token = Arc::new(token);
        friend.received = Some(token.clone());
        self.dirty.mark(Key::Received(key));
        // After a reset ours are still to be sent.
        if channel.relays_sent.is_some() && channel.relays_confirmed != channel.relays_sent {
            channel.relays_confirmed = channel.relays_sent.clone();
            self.dirty.own_relays = true;
        }
        self.dirty.mark(Key::Channel(key));
        self.dirty.touch(key);
        for terms in &token.body.currency_terms {
            self.terms_applied(now, key, &terms.currency);
        }
        if let Some(relays) = &token.body.relays {
            self.friend_moved(key, relays.clone());
        }
        for received in received {
            self.op_received(now, rng, received);
        }
        self.start_payments(now, rng);
    }

    /// See [`apply_body`].
    fn apply_token(
        &mut self,
        now: Timestamp,
        key: PublicKey,
        body: &MoveTokenBody,
    ) -> Result<Vec<Received>, String> {
        let ends = self.ends(key);
        let friend = self.state.friends.get_mut(&key).ok_or("the friend is gone")?;
        let received = apply_body(&mut friend.lines, &ends, now, body)?;
        for one in &received {
            self.op_applied(&one.at, Side::Remote, &one.op);
        }
        Ok(received)
    }

    fn op_received(&mut self, now: Timestamp, rng: &mut dyn Rng, received: Received) {
        let Received { at, op, allowed, link, ended } = received;
        match op {
            FriendOp::Request(_) => self.request_received(now, rng, &at, allowed),
            FriendOp::Response(response) => self.response_received(now, &at, link, response),
            FriendOp::Commit(_) => self.commit_received(now, &at),
            FriendOp::Release(_) => self.release_received(now, &at),
            FriendOp::Collect(collect) => {
                if let Some(row) = ended {
                    self.book_sent(now, &at, &row);
                    self.collect_received(now, &at, &row, &collect);
                }
            }
            FriendOp::Cancel(cancel) => {
                if let Some(row) = ended {
                    self.outgoing_cancelled(now, &at, row.link, cancel.reason, cancel.reporter);
                }
            }
        }
    }

    /// Marks the rows that an operation changed.
    fn op_applied(&mut self, at: &Place, from: Side, op: &FriendOp) {
        let sender = match op {
            FriendOp::Request(_) | FriendOp::Commit(_) | FriendOp::Release(_) => from,
            FriendOp::Response(_) | FriendOp::Collect(_) | FriendOp::Cancel(_) => !from,
        };
        self.dirty.pending(at, sender);
        match op {
            FriendOp::Request(_) | FriendOp::Collect(_) | FriendOp::Cancel(_) => {
                self.line_changed(at.friend, &at.currency);
            }
            FriendOp::Response(_) | FriendOp::Commit(_) | FriendOp::Release(_) => {}
        }
    }

    /// Terms changed a line: it is written, and requests that wait for a line that is gone come
    /// back.
    fn terms_applied(&mut self, now: Timestamp, key: PublicKey, currency: &Currency) {
        self.line_changed(key, currency);
        self.book_terms(now, key, currency);
        let Some(friend) = self.state.friends.get_mut(&key) else {
            return;
        };
        if friend.lines.get(currency).is_some_and(is_forgotten) {
            friend.lines.remove(currency);
        }
        if self.credit(&key, currency).is_some() || self.queued(&key, currency).count == 0 {
            return;
        }
        for number in self.queued_requests_of(key, Some(currency)) {
            if let Some(row) = self.dequeue(key, number) {
                self.request_not_sent(now, key, &row, CancelReason::NoRoute);
            }
        }
    }

    /// The numbers of the requests that wait for a friend, in one currency or in all.
    pub(crate) fn queued_requests_of(
        &self,
        key: PublicKey,
        currency: Option<&Currency>,
    ) -> Vec<u64> {
        let rows = self.friend(&key).into_iter().flat_map(|friend| &friend.queue);
        let requests = rows.filter(|(_, row)| {
            matches!(row.op, FriendOp::Request(_)) && currency.is_none_or(|c| *c == row.currency)
        });
        requests.map(|(number, _)| *number).collect()
    }

    fn friend_moved(&mut self, key: PublicKey, relays: Vec<ServerAddress>) {
        if let Some(friend) = self.state.friends.get_mut(&key)
            && friend.info.relays != relays
            && !relays.is_empty()
        {
            friend.info.previous_relays = std::mem::replace(&mut friend.info.relays, relays);
            self.dirty.mark(Key::Friend(key));
        }
    }

    /// A request whose link says where it belongs ended by our own collect or cancel.
    fn ended_by_us(&mut self, now: Timestamp, at: &Place, row: &Pending, op: &FriendOp) {
        if matches!(op, FriendOp::Collect(_)) {
            self.book_received(now, at, row);
            if row.link == Link::Destination {
                self.part_collected(at, row);
            }
        }
    }

    /// A queued request, by the id that it will have.
    pub(crate) fn queued_request(&self, friend: PublicKey, id: RequestId) -> Option<u64> {
        self.queued_requests.get(&(friend, id)).copied()
    }
}

/// Applies a friend's token to lines: all terms and operations, then the state hash. When anything
/// is invalid, the lines are as they were.
pub(crate) fn apply_body(
    lines: &mut BTreeMap<Currency, Line>,
    ends: &Ends,
    now: Timestamp,
    body: &MoveTokenBody,
) -> Result<Vec<Received>, String> {
    let mut undo = TokenUndo::default();
    let result = apply_all(lines, ends, now, (body, &mut undo));
    if result.is_err() {
        undo.roll_back(lines, ends);
    }
    result
}

fn apply_all(
    lines: &mut BTreeMap<Currency, Line>,
    ends: &Ends,
    now: Timestamp,
    (body, undo): (&MoveTokenBody, &mut TokenUndo),
) -> Result<Vec<Received>, String> {
    for terms in &body.currency_terms {
        undo.line(lines, &terms.currency);
        apply_terms(lines, Side::Remote, terms).map_err(|e| e.to_string())?;
    }
    let mut received = Vec::new();
    for CurrencyOps { currency, ops } in &body.currency_ops {
        let credit = lines.get_mut(currency).and_then(|line| line.credit.as_mut());
        let credit = credit.ok_or("operations in a currency that is not active")?;
        let ctx = Context { ends, currency, now };
        let undo = undo.ops.entry(currency.clone()).or_insert_with(|| credit.begin());
        for op in ops {
            let allowed = match op {
                FriendOp::Request(request) => request
                    .frozen()
                    .is_some_and(|frozen| credit.numbers().allows(Side::Remote, frozen)),
                FriendOp::Response(_)
                | FriendOp::Commit(_)
                | FriendOp::Collect(_)
                | FriendOp::Cancel(_)
                | FriendOp::Release(_) => true,
            };
            let applied = credit.apply(&ctx, Side::Remote, op, undo);
            let ended = match applied.map_err(|invalid| invalid.to_string())? {
                Applied::Changed => None,
                Applied::Ended(row) => Some(row),
            };
            let id = op.request_id();
            let link = credit.pending(Side::Local).get(&id).map_or(Link::None, |p| p.link);
            let at = Place { friend: ends.keys.remote, currency: currency.clone(), id };
            received.push(Received { at, op: op.clone(), allowed, link, ended });
        }
    }
    if state_hash(ends, body.epoch, body.counter, lines) == body.state_hash {
        Ok(received)
    } else {
        Err("the two sides do not reach the same state".to_owned())
    }
}

/// Nobody wants this line, and nobody proposed it.
const fn is_forgotten(line: &Line) -> bool {
    line.wanted.is_none() && !crate::channel::is_shared(line)
}

/// What it takes to undo a token.
#[derive(Default)]
struct TokenUndo {
    /// Lines whose terms changed, as they were. Pending requests are not among it: terms change
    /// none of them, and a line that is disabled has none.
    terms: BTreeMap<Currency, Option<LineRow>>,
    ops: BTreeMap<Currency, Undo>,
}

impl TokenUndo {
    fn line(&mut self, lines: &BTreeMap<Currency, Line>, currency: &Currency) {
        self.terms.insert(currency.clone(), lines.get(currency).map(Line::row));
    }

    fn roll_back(self, lines: &mut BTreeMap<Currency, Line>, ends: &Ends) {
        for (currency, undo) in self.ops {
            if let Some(credit) = lines.get_mut(&currency).and_then(|line| line.credit.as_mut()) {
                credit.roll_back(undo, ends);
            }
        }
        for (currency, line) in self.terms {
            match line {
                Some(row) => apply_line(lines, &currency, &row),
                None => drop(lines.remove(&currency)),
            }
        }
    }
}

/// At least as many canonical bytes as the operation takes.
const fn op_bytes(op: &FriendOp) -> usize {
    match op {
        FriendOp::Request(request) => 192 + 32 * request.route.len(),
        FriendOp::Response(_) => 160,
        FriendOp::Commit(_) | FriendOp::Collect(_) | FriendOp::Cancel(_) | FriendOp::Release(_) => {
            96
        }
    }
}

/// What operations may take of a token; terms, relays and names of currencies get the rest.
const OPS_BUDGET_BYTES: usize = MAX_TOKEN_BYTES - 64 * 1024;
