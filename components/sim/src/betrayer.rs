//! A node that betrays its friends. It runs the real funder, with somebody in between who repeats,
//! forges, alters, withholds and reorders what it says, and brings back old copies of its disk; and
//! with some of its friends it puts a hand-made side in its own place, whose tokens are right to the
//! last hash and ask for anything.
//!
//! Whatever it does, honest nodes lose no more than what they let it owe, and only those that are its
//! friends.

use std::collections::BTreeMap;

use offset_crypto::{HashedLock, InvoiceId, PlainLock, PublicKey, RequestId, Rng as _, Signature};
use offset_funder::{api::SessionId, state::Friend};
use offset_proto::{
    Balance, Credits, Currency,
    friend::{
        Cancel, CancelReason, Collect, Commit, Endings, EndingsAnswer, FriendMessage, FriendOp,
        MoveToken, Release, Request, Resume,
    },
    reset::{AcceptReset, Inconsistency, ResetBalance, ResetTermsBody},
};

use crate::{
    disk::Disk,
    puppet::{self, MINE, Puppet, Row, THEIRS, response_by},
    world::World,
};

/// Somebody whom nobody should have trusted.
#[derive(Default)]
pub(crate) struct Betrayer {
    pub(crate) node: usize,
    /// What it said to anybody.
    said: Vec<FriendMessage>,
    /// Told after what is said next.
    kept_back: BTreeMap<PublicKey, FriendMessage>,
    /// Nothing is said before.
    silent_until: u64,
    /// The hand-made sides, by friend.
    puppets: BTreeMap<PublicKey, Puppet>,
    /// Locks that it chose, or saw open.
    locks: BTreeMap<HashedLock, PlainLock>,
    /// An older copy of its disk.
    old: Option<Disk>,
}

impl Betrayer {
    pub(crate) fn new(node: usize) -> Self {
        Self { node, ..Self::default() }
    }

    fn learn(&mut self, token: &MoveToken) {
        for op in token.body.currency_ops.iter().flat_map(|ops| &ops.ops) {
            let locks = match op {
                FriendOp::Commit(commit) => vec![commit.src_plain_lock],
                FriendOp::Collect(collect) => {
                    vec![collect.src_plain_lock, collect.dest_plain_lock]
                }
                _ => vec![],
            };
            self.locks.extend(locks.into_iter().map(|lock| (lock.hashed(), lock)));
        }
    }
}

impl World {
    /// Whether a node keeps the rules.
    pub(crate) fn is_honest(&self, node: usize) -> bool {
        self.betrayer.as_ref().is_none_or(|betrayer| betrayer.node != node)
    }

    /// The nodes that do.
    pub(crate) fn honest(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| self.is_honest(*node)).collect()
    }

    /// Whether a node's friends all do.
    pub(crate) fn is_far_from_betrayal(&self, node: usize) -> bool {
        self.is_honest(node) && !self.betrayed.contains(&node)
    }

    /// Whether the betrayer has friends and lines with them: before, there is nothing to betray.
    fn is_trusted(&self) -> bool {
        !self.betrayed.is_empty()
    }

    /// In place of what the betrayer's node would say. Whether it was dealt with.
    pub(crate) fn betray(
        &mut self,
        friend: PublicKey,
        session: SessionId,
        message: &FriendMessage,
    ) -> bool {
        let badness = self.options.betrayals_in_100;
        if !self.is_trusted() {
            return false;
        }
        let (now, bad) = (self.now, self.draw.between(0, 99) < badness);
        let Some(mut betrayer) = self.betrayer.take() else { return false };
        if let FriendMessage::MoveToken(token) = message {
            betrayer.learn(token);
        }
        let node = betrayer.node;
        let spoken = if betrayer.puppets.contains_key(&friend) || now < betrayer.silent_until {
            vec![]
        } else if bad {
            self.betrayals += 1;
            self.falsehoods(&mut betrayer, friend, message)
        } else {
            vec![message.clone()]
        };
        if betrayer.said.len() < 200 {
            betrayer.said.push(message.clone());
        }
        let after = if spoken.is_empty() { None } else { betrayer.kept_back.remove(&friend) };
        self.betrayer = Some(betrayer);
        for message in spoken.into_iter().chain(after) {
            self.say(node, friend, session, message);
        }
        true
    }

    fn falsehoods(
        &mut self,
        betrayer: &mut Betrayer,
        friend: PublicKey,
        message: &FriendMessage,
    ) -> Vec<FriendMessage> {
        let truth = message.clone();
        // The last three are seen at once.
        match self.draw.index(if self.options.subtle { 5 } else { 8 }) {
            0 => vec![],
            1 => vec![truth.clone(), truth],
            2 if !betrayer.said.is_empty() => {
                let again = self.draw.of(&betrayer.said).clone();
                vec![again, truth]
            }
            3 => {
                betrayer.kept_back.insert(friend, truth);
                vec![]
            }
            4 => {
                betrayer.silent_until = self.now + self.draw.between(100, 15_000);
                vec![]
            }
            5 => match truth {
                FriendMessage::MoveToken(mut token) => {
                    token.signature = Signature::from_bytes([7; 64]);
                    vec![FriendMessage::MoveToken(token)]
                }
                truth => vec![truth],
            },
            6 => vec![self.invent(betrayer.node, friend), truth],
            _ => match truth {
                FriendMessage::MoveToken(token) => vec![self.alter(betrayer.node, *token)],
                truth => vec![truth],
            },
        }
    }

    /// A token that says something else, signed again.
    fn alter(&mut self, node: usize, token: MoveToken) -> FriendMessage {
        let mut body = token.body;
        match (self.draw.index(6), body.currency_ops.first_mut()) {
            (0, _) => body.counter += self.draw.between(1, 3),
            (1, _) => body.epoch += 1,
            (2, Some(list)) => list.ops.push(list.ops[0].clone()),
            (3, Some(list)) if 1 < list.ops.len() => drop(list.ops.remove(0)),
            (4, Some(list)) => {
                for op in &mut list.ops {
                    if let FriendOp::Request(request) = op {
                        request.left_fees = Credits(request.left_fees.0 + 1);
                    }
                }
            }
            _ => body.state_hash = offset_crypto::hash(b"wrong"),
        }
        let token = body.sign(&self.nodes[node].identity);
        FriendMessage::MoveToken(Box::new(token))
    }

    /// Something that nobody asked for.
    fn invent(&mut self, node: usize, friend: PublicKey) -> FriendMessage {
        let near = self.draw.between(0, 5);
        let id = offset_crypto::hash(&near.to_be_bytes());
        let currency = Currency::fallback();
        let mut request = [0; 16];
        self.draw.0.fill(&mut request);
        let request = RequestId::from_bytes(request);
        match self.draw.index(8) {
            0 => FriendMessage::Resume(Resume {
                epoch: near / 2,
                counter: near * 3,
                token_id: id,
                wants_token: true,
            }),
            1 => FriendMessage::TokenWanted { counter: near * 10 },
            2 => FriendMessage::Removed { epoch: near },
            3 => {
                let identity = &self.nodes[node].identity;
                FriendMessage::AcceptReset(AcceptReset::sign(id, identity))
            }
            4 => {
                let balance = Balance::new(i128::from(near) * 1_000).expect("small");
                let body = ResetTermsBody {
                    epoch: near + 1,
                    balances: vec![ResetBalance { currency, balance }],
                    pending: false,
                    last: None,
                    previous: None,
                };
                let terms = body.sign(&self.nodes[node].identity, &friend);
                FriendMessage::Inconsistency(Box::new(Inconsistency { terms, collected: vec![] }))
            }
            5 => FriendMessage::RequestStateProof { page: u32::try_from(near).unwrap_or(0) },
            6 => FriendMessage::Endings(Endings { currency, request_ids: vec![request] }),
            _ => FriendMessage::EndingsAnswer(EndingsAnswer {
                currency,
                collected: vec![],
                unknown: vec![request],
            }),
        }
    }

    /// What its friends say to the betrayer. Whether its node is to hear nothing of it.
    pub(crate) fn deceive(
        &mut self,
        friend: PublicKey,
        session: SessionId,
        message: &FriendMessage,
    ) -> bool {
        if !self.is_trusted() {
            return false;
        }
        let Some(mut betrayer) = self.betrayer.take() else { return false };
        let node = betrayer.node;
        if let FriendMessage::MoveToken(token) = message {
            betrayer.learn(token);
            let takes_over = self.draw.between(0, 99) < self.options.betrayals_in_100
                && !betrayer.puppets.contains_key(&friend);
            let state = self.nodes[node].process.as_ref().map(|process| process.funder.state());
            if let Some(row) = state.and_then(|state| state.friends.get(&friend))
                && takes_over
                && row.channel.inconsistent.is_none()
                && row.channel.token_id == token.body.prev_token
            {
                let identity = self.nodes[node].identity.clone();
                betrayer.puppets.insert(friend, hand_made(identity, friend, row));
                self.betrayals += 1;
            }
        }
        let Some(mut puppet) = betrayer.puppets.remove(&friend) else {
            self.betrayer = Some(betrayer);
            return false;
        };
        let mut answers = Vec::new();
        match message {
            FriendMessage::Resume(resume) => {
                let missed = puppet.last_own.clone().filter(|token| {
                    resume.token_id == token.body.prev_token && puppet.counter == resume.counter + 1
                });
                answers.extend(missed);
            }
            FriendMessage::MoveToken(token) if token.body.epoch == puppet.epoch => {
                puppet.receive(token);
                answers.extend(self.plot(&mut betrayer, &mut puppet));
            }
            FriendMessage::TokenWanted { .. } => {
                answers.extend(self.plot(&mut betrayer, &mut puppet));
            }
            FriendMessage::MoveToken(_)
            | FriendMessage::Inconsistency(_)
            | FriendMessage::AcceptReset(_)
            | FriendMessage::Removed { .. }
            | FriendMessage::RequestStateProof { .. }
            | FriendMessage::StateProof(_)
            | FriendMessage::Endings(_)
            | FriendMessage::EndingsAnswer(_) => {}
        }
        // It goes on as soon as it may.
        let counter = puppet.counter;
        let wanted = (!answers.is_empty()).then_some(FriendMessage::TokenWanted { counter });
        betrayer.puppets.insert(friend, puppet);
        self.betrayer = Some(betrayer);
        let answers = answers.into_iter().map(|token| FriendMessage::MoveToken(Box::new(token)));
        for message in answers.chain(wanted) {
            self.say(node, friend, session, message);
        }
        true
    }

    /// The hand-made side begins a session.
    pub(crate) fn deceive_from_the_start(&mut self, friend: PublicKey, session: SessionId) {
        let Some(betrayer) = &self.betrayer else { return };
        let Some(puppet) = betrayer.puppets.get(&friend) else { return };
        let resume = Resume {
            epoch: puppet.epoch,
            counter: puppet.counter,
            token_id: puppet.token_id,
            wants_token: !puppet.holds_token(),
        };
        self.say(betrayer.node, friend, session, FriendMessage::Resume(resume));
    }

    /// A token of the hand-made side, if it holds the token; now and then two for one counter.
    fn plot(&mut self, betrayer: &mut Betrayer, puppet: &mut Puppet) -> Vec<MoveToken> {
        if !puppet.holds_token() || self.draw.index(20) == 0 {
            return vec![];
        }
        let mut ops: Vec<(Currency, FriendOp)> = Vec::new();
        let active = puppet.lines.iter().filter(|(_, line)| line.active.is_some());
        let currencies: Vec<_> = active.map(|(currency, _)| currency.clone()).collect();
        for _ in 0..self.draw.index(5) {
            if currencies.is_empty() {
                break;
            }
            let currency = self.draw.of(&currencies).clone();
            let op = self.operation(betrayer, puppet, &currency);
            // Two requests may freeze more together than there can be.
            let subtle = self.options.subtle;
            let is_request = |op: &FriendOp| subtle && matches!(op, FriendOp::Request(_));
            let again = |op: &FriendOp| {
                let same = |o: &FriendOp| o.request_id() == op.request_id();
                ops.iter().any(|(_, o)| same(o) || (is_request(o) && is_request(op)))
            };
            if let Some(op) = op.filter(|op| !again(op)) {
                ops.push((currency, op));
            }
        }
        let token = puppet.compose(&[], &ops);
        let other = puppet.compose(&[], &[]);
        puppet.sent(&token);
        self.betrayals += 1;
        let both = !self.options.subtle && self.draw.index(8) == 0;
        if both { vec![token, other] } else { vec![token] }
    }

    fn operation(
        &mut self,
        betrayer: &mut Betrayer,
        puppet: &Puppet,
        currency: &Currency,
    ) -> Option<FriendOp> {
        let pending = &puppet.credit(currency).pending;
        let theirs: Vec<&Row> = pending[THEIRS].values().collect();
        let mine: Vec<&Row> = pending[MINE].values().collect();
        match self.draw.index(10) {
            0..4 => Some(FriendOp::Request(self.request(betrayer, puppet, currency))),
            4..8 if !theirs.is_empty() => {
                let row = *self.draw.of(&theirs);
                let request_id = row.request.request_id;
                if self.draw.index(4) == 0 {
                    let reason = CancelReason::Busy;
                    return Some(FriendOp::Cancel(Cancel { request_id, reason, reporter: None }));
                }
                let Some(response) = &row.response else {
                    let own = row.request.destination(puppet.key()) == puppet.key();
                    let lock = PlainLock::from_bytes([200; 32]);
                    betrayer.locks.insert(lock.hashed(), lock);
                    let complete = self.draw.index(8) != 0;
                    let response =
                        response_by(&puppet.identity, &row.request, &lock, complete, currency);
                    // Now and then in the name of somebody else.
                    let answers = own || self.is_careless();
                    return answers.then_some(FriendOp::Response(response));
                };
                let src_plain_lock = self.opening(betrayer, &row.request.src_hashed_lock)?;
                let dest_plain_lock = self.opening(betrayer, &response.dest_hashed_lock)?;
                Some(FriendOp::Collect(Collect { request_id, src_plain_lock, dest_plain_lock }))
            }
            8.. if !mine.is_empty() => {
                let row = *self.draw.of(&mine);
                let request_id = row.request.request_id;
                match (row.stage, row.released, self.draw.index(4)) {
                    (0 | 1, false, 0) => Some(FriendOp::Release(Release { request_id })),
                    (1, false, _) => {
                        let src_plain_lock =
                            self.opening(betrayer, &row.request.src_hashed_lock)?;
                        Some(FriendOp::Commit(Commit { request_id, src_plain_lock }))
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Now and then, if nothing is hidden, what is invalid by itself.
    fn is_careless(&mut self) -> bool {
        !self.options.subtle && self.draw.index(4) == 0
    }

    /// What opens a lock, if it is known; now and then what does not.
    fn opening(&mut self, betrayer: &Betrayer, lock: &HashedLock) -> Option<PlainLock> {
        if self.is_careless() {
            Some(PlainLock::from_bytes([100; 32]))
        } else {
            betrayer.locks.get(lock).copied()
        }
    }

    /// A request for anything: as much as may be, one more, or far too much; to anybody.
    fn request(
        &mut self,
        betrayer: &mut Betrayer,
        puppet: &Puppet,
        currency: &Currency,
    ) -> Request {
        let lock = PlainLock::random(&mut self.draw.0);
        betrayer.locks.insert(lock.hashed(), lock);
        let mut keys: Vec<_> = (0..self.nodes.len()).map(|node| self.key(node)).collect();
        keys.retain(|key| *key != puppet.node && *key != puppet.key());
        let mut route = Vec::new();
        for _ in 0..self.draw.index(4).min(keys.len()) {
            route.push(keys.swap_remove(self.draw.index(keys.len())));
        }
        let credit = puppet.credit(currency);
        let room = i128::try_from(credit.max_debt[MINE]).unwrap_or(i128::MAX);
        let room = room.saturating_add(credit.balance);
        let room = u128::try_from(room).unwrap_or(0).saturating_sub(credit.debt[MINE]);
        let most = Credits::LIMIT.0 - credit.debt[MINE].min(Credits::LIMIT.0);
        let amount = match self.draw.index(8) {
            0 => room,
            1 => room.saturating_add(1),
            2 => most,
            _ => u128::from(self.draw.between(1, 300)),
        };
        let left_fees = Credits(u128::from(self.draw.between(0, 20)).min(amount / 2));
        let amount = Credits(amount.min(most).saturating_sub(left_fees.0).max(1));
        let at = self.by_key[&route.last().copied().unwrap_or(puppet.node)];
        let state = self.nodes[at].process.as_ref().map(|process| process.funder.state());
        let open = state.into_iter().flat_map(|state| state.invoices.iter());
        let open: Vec<_> = open.map(|(id, row)| (*id, row.invoice.dest_payment)).collect();
        let mut id = [0; 32];
        self.draw.0.fill(&mut id);
        let spontaneous = open.is_empty() || self.draw.coin();
        let (invoice_id, total) =
            if spontaneous { (InvoiceId::from_bytes(id), amount) } else { *self.draw.of(&open) };
        let mut id = [0; 16];
        self.draw.0.fill(&mut id);
        Request {
            request_id: RequestId::from_bytes(id),
            src_hashed_lock: lock.hashed(),
            route,
            dest_payment: amount.min(total),
            total_dest_payment: total,
            invoice_id,
            left_fees,
            spontaneous,
            hold_seconds: self.draw.between(0, 2),
        }
    }

    /// The betrayer comes back with an older disk, and says nothing of it.
    pub(crate) fn roll_back(&mut self) {
        let Some(node) = self.betrayer.as_ref().map(|betrayer| betrayer.node) else { return };
        if self.options.subtle {
            return;
        }
        let copy = self.nodes[node].disk.clone();
        let old = self.betrayer.as_mut().and_then(|betrayer| betrayer.old.replace(copy));
        let Some(old) = old.filter(|_| self.nodes[node].process.is_some()) else { return };
        self.betrayals += 1;
        self.crash_node(node);
        self.nodes[node].disk = old;
        self.nodes[node].app.forget_open();
        self.start_node(node);
    }
}

/// A side that goes on where a node stands.
fn hand_made(
    identity: std::sync::Arc<offset_crypto::Identity>,
    friend: PublicKey,
    row: &Friend,
) -> Puppet {
    let mut puppet = Puppet::new(0, friend);
    puppet.identity = identity;
    puppet.epoch = row.channel.epoch;
    puppet.counter = row.channel.counter;
    puppet.token_id = row.channel.token_id;
    for (currency, line) in &row.lines {
        let active = line.credit.as_ref().map(|credit| {
            let numbers = credit.numbers();
            let pending = [offset_funder::Side::Local, offset_funder::Side::Remote].map(|side| {
                let row = |(id, row): (&RequestId, &offset_funder::state::Pending)| {
                    let row = Row {
                        request: (*row.request).clone(),
                        stage: row.stage.number(),
                        released: row.released,
                        response: row.response.as_deref().cloned(),
                        src_plain_lock: row.src_plain_lock,
                    };
                    (*id, row)
                };
                credit.pending(side).iter().map(row).collect()
            });
            puppet::Credit {
                balance: numbers.balance.get(),
                debt: [numbers.pending_debt.local.0, numbers.pending_debt.remote.0],
                max_debt: [numbers.max_debt.local.0, numbers.max_debt.remote.0],
                open: [numbers.requests_open.local, numbers.requests_open.remote],
                pending,
            }
        });
        let proposals = [line.local_proposal, line.remote_proposal];
        puppet.lines.insert(currency.clone(), puppet::Line { proposals, active });
    }
    puppet
}
