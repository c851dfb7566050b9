//! A friend made by hand: it keeps a channel by the protocol's text, checks nothing that it sends,
//! and everything that it receives. An implementation of sections 5 and 6 of its own, so that what
//! the funder signs is compared with the text and not with itself.

use std::{collections::BTreeMap, sync::Arc};

use offset_crypto::{
    HashResult, Identity, Label, LabelHasher, PlainLock, PublicKey, RequestId, Seed,
};
use offset_funder::api::SessionId;
use offset_proto::{
    Balance, Currency,
    canonical::{Canonical as _, Writer},
    friend::{
        CurrencyOps, CurrencyTerms, FriendMessage, FriendOp, MoveToken, MoveTokenBody, Proposal,
        Request, Response,
    },
    payment::ResponseTerms,
    reset::{AcceptReset, ResetBalance, ResetTerms, ResetTermsBody},
};

/// Whose: the puppet's, or the node's.
pub const MINE: usize = 0;
pub const THEIRS: usize = 1;

#[derive(Debug, Clone)]
pub struct Row {
    pub request: Request,
    pub stage: u8,
    pub released: bool,
    pub response: Option<Response>,
    pub src_plain_lock: Option<PlainLock>,
}

#[derive(Debug, Clone, Default)]
pub struct Line {
    /// Of the puppet and of the node.
    pub proposals: [Option<Proposal>; 2],
    pub active: Option<Credit>,
}

#[derive(Debug, Clone, Default)]
pub struct Credit {
    /// Positive: the node owes the puppet.
    pub balance: i128,
    pub debt: [u128; 2],
    pub max_debt: [u128; 2],
    pub open: [bool; 2],
    pub pending: [BTreeMap<RequestId, Row>; 2],
}

pub struct Puppet {
    pub identity: Arc<Identity>,
    pub node: PublicKey,
    pub epoch: u64,
    pub counter: u64,
    pub token_id: HashResult,
    pub last_own: Option<MoveToken>,
    /// The ids of the last two tokens of the puppet and of the node, newest first.
    pub last_two: [[Option<HashResult>; 2]; 2],
    pub lines: BTreeMap<Currency, Line>,
    pub session: SessionId,
    /// Operations that came and were not looked at.
    pub got: Vec<FriendOp>,
    /// Terms that came and were not looked at.
    pub got_terms: Vec<CurrencyTerms>,
    /// All messages that came.
    pub raw: Vec<FriendMessage>,
    /// Tokens that came.
    pub tokens: usize,
    pub empty_tokens: usize,
    /// The node asked for the token.
    pub wanted: bool,
    /// Does not answer when the node wants the token.
    pub silent: bool,
    pub relays: Option<Vec<offset_proto::ServerAddress>>,
}

impl Puppet {
    pub fn new(seed: u8, node: PublicKey) -> Self {
        let identity = Arc::new(Identity::from_seed(Seed::from_bytes([seed; 32])));
        let key = identity.public_key();
        let (low, high) = if key < node { (key, node) } else { (node, key) };
        let genesis = LabelHasher::new(Label::GENESIS).chain(low).chain(high).chain([0u8; 8]);
        Self {
            identity,
            node,
            epoch: 0,
            counter: 0,
            token_id: genesis.finish(),
            last_own: None,
            last_two: [[None; 2]; 2],
            lines: BTreeMap::new(),
            session: SessionId(0),
            got: Vec::new(),
            got_terms: Vec::new(),
            raw: Vec::new(),
            tokens: 0,
            empty_tokens: 0,
            wanted: false,
            silent: false,
            relays: None,
        }
    }

    pub fn key(&self) -> PublicKey {
        self.identity.public_key()
    }

    fn is_low(&self) -> bool {
        self.key() < self.node
    }

    /// The low key signs the odd counters.
    pub fn holds_token(&self) -> bool {
        self.is_low() == (self.counter.is_multiple_of(2))
    }

    pub fn credit(&self, currency: &Currency) -> &Credit {
        self.lines[currency].active.as_ref().unwrap()
    }

    /// The next token, signed, as if its contents were right; nothing is changed yet.
    pub fn compose(&self, terms: &[CurrencyTerms], ops: &[(Currency, FriendOp)]) -> MoveToken {
        let mut after = self.lines.clone();
        for terms in terms {
            declare(&mut after, MINE, terms);
        }
        let mut by_currency: BTreeMap<Currency, Vec<FriendOp>> = BTreeMap::new();
        for (currency, op) in ops {
            apply(&mut after, MINE, currency, op);
            by_currency.entry(currency.clone()).or_default().push(op.clone());
        }
        let currency_ops =
            by_currency.into_iter().map(|(currency, ops)| CurrencyOps { currency, ops }).collect();
        let body = MoveTokenBody {
            epoch: self.epoch,
            counter: self.counter + 1,
            prev_token: self.token_id,
            currency_terms: terms.to_vec(),
            currency_ops,
            relays: None,
            state_hash: self.state_hash(self.counter + 1, &after),
        };
        body.sign(&self.identity)
    }

    /// Takes a token that was composed here as sent.
    pub fn sent(&mut self, token: &MoveToken) {
        for terms in &token.body.currency_terms {
            declare(&mut self.lines, MINE, terms);
        }
        for CurrencyOps { currency, ops } in &token.body.currency_ops {
            for op in ops {
                apply(&mut self.lines, MINE, currency, op);
            }
        }
        self.counter = token.body.counter;
        self.token_id = token.id();
        self.last_two[MINE] = [Some(self.token_id), self.last_two[MINE][0]];
        self.last_own = Some(token.clone());
    }

    /// Takes a token of the node, which must follow the text in everything.
    pub fn receive(&mut self, token: &MoveToken) {
        if (token.body.epoch, token.body.counter) <= (self.epoch, self.counter) {
            return;
        }
        assert!(!self.holds_token(), "the node sends only when it holds the token");
        assert_eq!((token.body.epoch, token.body.counter), (self.epoch, self.counter + 1));
        assert_eq!(token.body.prev_token, self.token_id);
        assert_eq!(token.verify(&self.node), Some(token.id()));
        for terms in &token.body.currency_terms {
            declare(&mut self.lines, THEIRS, terms);
            self.got_terms.push(terms.clone());
        }
        let mut count = 0;
        for CurrencyOps { currency, ops } in &token.body.currency_ops {
            for op in ops {
                apply(&mut self.lines, THEIRS, currency, op);
                self.got.push(op.clone());
                count += 1;
            }
        }
        if let Some(relays) = &token.body.relays {
            self.relays = Some(relays.clone());
        }
        let state_hash = self.state_hash(token.body.counter, &self.lines);
        assert_eq!(token.body.state_hash, state_hash, "the text says another state");
        self.counter = token.body.counter;
        self.token_id = token.id();
        self.last_two[THEIRS] = [Some(self.token_id), self.last_two[THEIRS][0]];
        self.tokens += 1;
        let empty = count == 0 && token.body.currency_terms.is_empty();
        self.empty_tokens += usize::from(empty && token.body.relays.is_none());
        self.wanted = false;
    }

    /// The token id at counter 0 of an epoch, with balances as the puppet sees them.
    pub fn genesis(&self, epoch: u64, balances: &[(Currency, i128)]) -> HashResult {
        let (low, high) =
            if self.is_low() { (self.key(), self.node) } else { (self.node, self.key()) };
        let mut out = Writer::default();
        out.fixed(&low).fixed(&high).u64(epoch).u32(u32::try_from(balances.len()).unwrap());
        for (currency, balance) in balances {
            out.text(currency.as_str()).i128(if self.is_low() { *balance } else { -*balance });
        }
        Label::GENESIS.hash(&out.into_bytes())
    }

    /// Begins a new epoch with these balances, as the puppet sees them.
    pub fn begin_epoch(&mut self, epoch: u64, balances: &[(Currency, i128)]) {
        self.epoch = epoch;
        self.counter = 0;
        self.token_id = self.genesis(epoch, balances);
        self.wanted = false;
        let active = |balance| Some(Credit { balance, ..Credit::default() });
        let line = |(currency, balance): &(Currency, i128)| {
            (currency.clone(), Line { proposals: [None, None], active: active(*balance) })
        };
        self.lines = balances.iter().map(line).collect();
    }

    /// Terms of the puppet, signed by the text of the protocol.
    pub fn terms(&self, epoch: u64, rows: &[(Currency, i128)], pending: bool) -> ResetTerms {
        let balances = rows.iter().map(|(currency, balance)| ResetBalance {
            currency: currency.clone(),
            balance: Balance::new(*balance).unwrap(),
        });
        let [last, previous] = self.last_two[MINE];
        let body = ResetTermsBody { epoch, balances: balances.collect(), pending, last, previous };
        let signed = signed_terms(&body, &self.key(), &self.node);
        ResetTerms { signature: self.identity.sign_labelled(Label::RESET_TERMS, &signed), body }
    }

    /// Whether the node signed these terms for the puppet.
    pub fn verify_terms(&self, terms: &ResetTerms) -> bool {
        let signed = signed_terms(&terms.body, &self.node, &self.key());
        self.node.verify_labelled(Label::RESET_TERMS, &signed, &terms.signature)
    }

    /// What names terms, the puppet's own or the node's.
    pub fn token_of(&self, terms: &ResetTerms, own: bool) -> HashResult {
        let (from, to) = if own { (self.key(), self.node) } else { (self.node, self.key()) };
        let signed = signed_terms(&terms.body, &from, &to);
        LabelHasher::new(Label::RESET_TOKEN).chain(signed).chain(terms.signature).finish()
    }

    /// Accepts the node's terms.
    pub fn acceptance(&self, terms: &ResetTerms) -> AcceptReset {
        let reset_token = self.token_of(terms, false);
        let signature = self.identity.sign_labelled(Label::ACCEPT_RESET, reset_token.as_bytes());
        AcceptReset { reset_token, signature }
    }

    /// Whether the node signed this acceptance.
    pub fn verify_acceptance(&self, acceptance: &AcceptReset) -> bool {
        let token = acceptance.reset_token;
        self.node.verify_labelled(Label::ACCEPT_RESET, token.as_bytes(), &acceptance.signature)
    }

    fn state_hash(&self, counter: u64, lines: &BTreeMap<Currency, Line>) -> HashResult {
        Label::STATE.hash(&self.state_bytes(counter, lines))
    }

    /// Everything that is hashed for the state as it is, innermost first.
    pub fn state_vectors(&self) -> Vec<Hashed> {
        let mut vectors = Vec::new();
        for (currency, line) in &self.lines {
            if let Some(credit) = &line.active {
                let root = pending_root(credit, self.sides(), &mut vectors);
                vectors.push(Hashed {
                    name: format!("pending root of {currency}, of the hashes above"),
                    ..vectors.last().cloned().unwrap()
                });
                assert_eq!(vectors.last().unwrap().hash, root);
            }
        }
        let bytes = self.state_bytes(self.counter, &self.lines);
        let hash = Label::STATE.hash(&bytes);
        vectors.push(Hashed { name: "state".to_owned(), label: "STATE", bytes, hash });
        vectors
    }

    fn sides(&self) -> [usize; 2] {
        if self.is_low() { [MINE, THEIRS] } else { [THEIRS, MINE] }
    }

    fn state_bytes(&self, counter: u64, lines: &BTreeMap<Currency, Line>) -> Vec<u8> {
        let sides = self.sides();
        let (low, high) =
            if self.is_low() { (self.key(), self.node) } else { (self.node, self.key()) };
        let shared: Vec<_> = lines
            .iter()
            .filter(|(_, line)| line.active.is_some() || line.proposals.iter().any(Option::is_some))
            .collect();
        let mut out = Writer::default();
        out.fixed(&low).fixed(&high).u64(self.epoch).u64(counter);
        out.u32(u32::try_from(shared.len()).unwrap());
        for (currency, line) in shared {
            out.text(currency.as_str()).bool(line.active.is_some());
            if let Some(credit) = &line.active {
                let sign = if self.is_low() { 1 } else { -1 };
                out.i128(credit.balance * sign);
                for side in sides {
                    out.u128(credit.debt[side]);
                }
                for side in sides {
                    out.u128(credit.max_debt[side]);
                }
                for side in sides {
                    out.bool(credit.open[side]);
                }
                out.fixed(&pending_root(credit, sides, &mut Vec::new()));
            } else {
                for side in sides {
                    out.option(line.proposals[side], |out, proposal| {
                        out.i128(proposal.opening_balance.get());
                        out.u128(proposal.max_debt.0).bool(proposal.requests_open);
                    });
                }
            }
        }
        out.into_bytes()
    }
}

/// Bytes, and what they hash to under a label.
#[derive(Debug, Clone)]
pub struct Hashed {
    pub name: String,
    pub label: &'static str,
    pub bytes: Vec<u8>,
    pub hash: HashResult,
}

/// The keys of proposer and receiver, then the fields.
fn signed_terms(body: &ResetTermsBody, proposer: &PublicKey, receiver: &PublicKey) -> Vec<u8> {
    let mut out = Writer::default();
    out.fixed(proposer).fixed(receiver).u64(body.epoch);
    out.u32(u32::try_from(body.balances.len()).unwrap());
    for row in &body.balances {
        out.text(row.currency.as_str()).i128(row.balance.get());
    }
    out.bool(body.pending);
    for id in [body.last, body.previous] {
        out.bool(id.is_some());
        if let Some(id) = id {
            out.fixed(&id);
        }
    }
    out.into_bytes()
}

/// A response that the identity signs.
pub fn response_by(
    identity: &Identity,
    request: &Request,
    dest_lock: &PlainLock,
    is_complete: bool,
    currency: &Currency,
) -> Response {
    let mut response = Response {
        request_id: request.request_id,
        dest_hashed_lock: dest_lock.hashed(),
        is_complete,
        response_hash: offset_crypto::hash(request.request_id.as_bytes()),
        signature: offset_crypto::Signature::from_bytes([0; 64]),
    };
    response.signature = ResponseTerms::of(request, &response, currency).sign(identity);
    response
}

fn declare(lines: &mut BTreeMap<Currency, Line>, by: usize, terms: &CurrencyTerms) {
    let line = lines.entry(terms.currency.clone()).or_default();
    match (&mut line.active, terms.enabled) {
        (Some(credit), true) => {
            credit.max_debt[1 - by] = terms.proposal.max_debt.0;
            credit.open[by] = terms.proposal.requests_open;
        }
        (Some(_), false) => *line = Line::default(),
        (None, enabled) => {
            line.proposals[by] = enabled.then_some(terms.proposal);
            if let [Some(mine), Some(theirs)] = line.proposals
                && mine.opening_balance == theirs.opening_balance.mirrored()
            {
                line.proposals = [None, None];
                line.active = Some(Credit {
                    balance: mine.opening_balance.get(),
                    max_debt: [theirs.max_debt.0, mine.max_debt.0],
                    open: [mine.requests_open, theirs.requests_open],
                    ..Credit::default()
                });
            }
        }
    }
}

/// The effect of an operation, if there is anything to have one on.
fn apply(lines: &mut BTreeMap<Currency, Line>, by: usize, currency: &Currency, op: &FriendOp) {
    let Some(credit) = lines.get_mut(currency).and_then(|line| line.active.as_mut()) else {
        return;
    };
    let id = op.request_id();
    if let FriendOp::Request(request) = op {
        let row = Row {
            request: request.clone(),
            stage: 0,
            released: false,
            response: None,
            src_plain_lock: None,
        };
        let frozen = request.dest_payment.0.wrapping_add(request.left_fees.0);
        credit.debt[by] = credit.debt[by].wrapping_add(frozen);
        credit.pending[by].insert(id, row);
        return;
    }
    let forward = matches!(op, FriendOp::Commit(_) | FriendOp::Release(_));
    let sender = if forward { by } else { 1 - by };
    let Some(row) = credit.pending[sender].get_mut(&id) else {
        return;
    };
    match op {
        FriendOp::Response(response) => {
            row.stage = 1;
            row.response = Some(response.clone());
        }
        FriendOp::Commit(commit) => {
            row.stage = 2;
            row.src_plain_lock = Some(commit.src_plain_lock);
        }
        FriendOp::Release(_) => row.released = true,
        FriendOp::Collect(_) | FriendOp::Cancel(_) | FriendOp::Request(_) => {
            let frozen = row.request.dest_payment.0 + row.request.left_fees.0;
            credit.debt[sender] -= frozen;
            if matches!(op, FriendOp::Collect(_)) {
                let moved = i128::try_from(frozen).unwrap();
                credit.balance += if sender == MINE { -moved } else { moved };
            }
            credit.pending[sender].remove(&id);
        }
    }
}

/// Section 5, *pending root*, by its definition; all that was hashed for it is noted.
fn pending_root(credit: &Credit, sides: [usize; 2], noted: &mut Vec<Hashed>) -> HashResult {
    let mut leaves = Vec::new();
    for (number, side) in (0u8..).zip(sides) {
        for (id, row) in &credit.pending[side] {
            let id_text =
                format!("the request {} of the {} side", id, ["low", "high"][usize::from(number)]);
            let bytes = [&[number][..], id.as_ref()].concat();
            let key =
                note(noted, format!("key of {id_text}"), "PENDING_KEY", Label::PENDING_KEY, bytes);
            let mut out = Writer::default();
            row.request.write(&mut out);
            out.u8(row.stage).bool(row.released);
            out.option(row.response.as_ref(), |out, response| response.write(out));
            out.option(row.src_plain_lock, |out, lock| {
                out.fixed(&lock);
            });
            let name = format!("contents of {id_text}");
            let content = note(noted, name, "PENDING", Label::PENDING, out.into_bytes());
            leaves.push((key, content));
        }
    }
    leaves.sort();
    subtree(&leaves, noted)
}

/// Hashes and notes.
fn note(
    noted: &mut Vec<Hashed>,
    name: String,
    text: &'static str,
    label: Label,
    bytes: Vec<u8>,
) -> HashResult {
    let hash = label.hash(&bytes);
    noted.push(Hashed { name, label: text, bytes, hash });
    hash
}

fn subtree(leaves: &[(HashResult, HashResult)], noted: &mut Vec<Hashed>) -> HashResult {
    match leaves {
        [] => HashResult::from_bytes([0; 32]),
        [(key, content)] => {
            let bytes = [&key.as_bytes()[..], content.as_bytes()].concat();
            note(noted, "leaf of key and contents".to_owned(), "LEAF", Label::LEAF, bytes)
        }
        [(first, _), .., (last, _)] => {
            let bit = |key: &HashResult, at: usize| key.as_bytes()[at / 8] >> (7 - at % 8) & 1;
            let at = (0..256).find(|at| bit(first, *at) != bit(last, *at)).unwrap();
            let middle = leaves.partition_point(|(key, _)| bit(key, at) == 0);
            let zero = subtree(&leaves[..middle], noted);
            let one = subtree(&leaves[middle..], noted);
            let bytes = [&zero.as_bytes()[..], one.as_bytes()].concat();
            note(noted, format!("branch at bit {at}"), "BRANCH", Label::BRANCH, bytes)
        }
    }
}
