//! One funder between friends made by hand ([`Puppet`]).

use std::{collections::BTreeMap, sync::Arc};

use offset_crypto::{
    Identity, InvoiceId, PaymentId, PlainLock, PublicKey, Rng as _, Seed, SeededRng,
};
use offset_funder::{
    Change, Config, Funder, Side,
    api::{AppId, Command, Effect, Liveness, SessionId},
    state::{Friend, InvoiceRow, PaymentRow, State},
};
use offset_proto::{
    Balance, Credits, Currency, Timestamp,
    app::{
        AppError, AppReply, AppRequestId, ConfigRequest, InvoiceStatus, JournalEntry, JournalEvent,
        PayRequest, PaymentTarget,
    },
    friend::{
        Cancel, CancelReason, Collect, Commit, CurrencyTerms, FriendMessage, FriendOp, MoveToken,
        Proposal, Release, Request, Resume,
    },
};

use super::{Kept, books::Books, credit, name, puppet::Puppet, rows};

pub struct Lab {
    pub identity: Arc<Identity>,
    pub funder: Funder,
    pub disk: State,
    pub config: Config,
    pub now: Timestamp,
    pub rng: SeededRng,
    pub puppets: Vec<Puppet>,
    /// Effects other than messages to friends that nobody looked at.
    pub effects: Vec<Effect>,
    pub replies: BTreeMap<u64, Result<AppReply, AppError>>,
    /// Ended invoices and payments as the disk keeps them.
    pub invoice_archive: BTreeMap<InvoiceId, InvoiceRow>,
    pub archive: BTreeMap<PaymentId, PaymentRow>,
    /// The books as the disk keeps them.
    pub books: Books,
    /// Collected requests as the disk keeps them.
    pub kept: Kept,
    /// How invoices that have ended were last reported.
    pub ended_invoices: BTreeMap<InvoiceId, InvoiceStatus>,
    next_request: u64,
    next_session: u64,
}

pub const LIMIT: u128 = 1_000;

impl Lab {
    /// A node with this many friends; each may owe the other [`LIMIT`] in the default currency.
    pub fn new(friends: usize) -> Self {
        let mut lab = Self::alone();
        for _ in 0..friends {
            let at = lab.add_puppet();
            lab.activate(at, &credit(), 0);
        }
        lab.effects.clear();
        lab
    }

    pub fn alone() -> Self {
        let identity = Arc::new(Identity::from_seed(Seed::from_bytes([100; 32])));
        let config = Config { check_every: 1, ..Config::default() };
        let now = Timestamp(1_700_000_000_000);
        let funder = Funder::new(identity.clone(), State::default(), config.clone(), now).unwrap();
        Self {
            identity,
            funder,
            disk: State::default(),
            config,
            now,
            rng: SeededRng::new(7),
            puppets: Vec::new(),
            effects: Vec::new(),
            replies: BTreeMap::new(),
            invoice_archive: BTreeMap::new(),
            archive: BTreeMap::new(),
            books: Books::default(),
            kept: Kept::default(),
            ended_invoices: BTreeMap::new(),
            next_request: 1,
            next_session: 1,
        }
    }

    pub fn key(&self) -> PublicKey {
        self.identity.public_key()
    }

    /// A friend, enabled and in a session, that proposes nothing.
    pub fn add_puppet(&mut self) -> usize {
        let at = self.puppets.len();
        let puppet = Puppet::new(u8::try_from(at).unwrap() + 1, self.key());
        let public_key = puppet.key();
        self.puppets.push(puppet);
        self.set(ConfigRequest::AddFriend {
            name: friend_name(at),
            public_key,
            relays: Vec::new(),
            currency: None,
            opening_balance: Balance::ZERO,
        });
        self.set(ConfigRequest::SetFriendEnabled { friend: friend_name(at), enabled: true });
        self.connect(at);
        at
    }

    /// Makes a currency active, with everything open and the puppet beginning with `opening`.
    pub fn activate(&mut self, at: usize, currency: &Currency, opening: i128) {
        let friend = friend_name(at);
        let opening_balance = Balance::new(-opening).unwrap();
        let currency = currency.clone();
        self.set(ConfigRequest::AddCurrency {
            friend: friend.clone(),
            currency: currency.clone(),
            opening_balance,
        });
        let limit = Credits(LIMIT);
        let wanted = Some(currency.clone());
        self.set(ConfigRequest::SetMaxDebt {
            friend: friend.clone(),
            currency: wanted.clone(),
            max_debt: limit,
        });
        self.set(ConfigRequest::SetRequestsOpen { friend, currency: wanted, open: true });
        self.declare(at, &currency, opening, LIMIT, true);
        assert!(self.puppets[at].lines[&currency].active.is_some());
    }

    pub fn declare(
        &mut self,
        at: usize,
        currency: &Currency,
        opening: i128,
        max: u128,
        open: bool,
    ) {
        let terms = terms(currency, opening, max, open);
        self.send_all(at, &[terms], &[]);
    }

    /// A configuration request that must succeed.
    pub fn set(&mut self, request: ConfigRequest) {
        let result = self.ask(Command::Config(request.clone()));
        assert_eq!(result, Ok(AppReply::Done), "{request:?}");
    }

    /// A command that is answered at once.
    pub fn ask(&mut self, command: Command) -> Result<AppReply, AppError> {
        let id = self.order(command);
        self.replies.remove(&id).expect("answered at once")
    }

    pub fn order(&mut self, command: Command) -> u64 {
        let id = self.next_request;
        self.next_request += 1;
        self.funder.handle_command(self.now, &mut self.rng, AppId(1), AppRequestId(id), command);
        self.pump();
        id
    }

    /// Orders a spontaneous payment; gives its id and the number of the request.
    pub fn pay(&mut self, destination: PublicKey, amount: u128) -> (PaymentId, u64) {
        let request = PayRequest {
            payment_id: PaymentId::random(&mut self.rng),
            target: PaymentTarget::Spontaneous {
                destination,
                amount: Credits(amount),
                currency: None,
            },
            max_fee: None,
            deadline_ms: None,
            note: "".parse().unwrap(),
            max_parts: None,
        };
        let id = request.payment_id;
        (id, self.order(Command::Pay { request: Box::new(request), ended: None, payer: None }))
    }

    /// A new session, with both sides' `resume`s exchanged.
    pub fn connect(&mut self, at: usize) {
        self.open_session(at);
        let resume = self.resume_of(at);
        self.message(at, FriendMessage::Resume(resume));
    }

    /// A new session in which the puppet has said nothing.
    pub fn open_session(&mut self, at: usize) {
        let session = SessionId(self.next_session);
        self.next_session += 1;
        let puppet = &mut self.puppets[at];
        puppet.session = session;
        puppet.wanted = false;
        let key = puppet.key();
        self.funder.handle_liveness(self.now, key, Liveness::Connected(session));
        self.pump();
    }

    pub fn resume_of(&self, at: usize) -> Resume {
        let puppet = &self.puppets[at];
        let (counter, token_id) = (puppet.counter, puppet.token_id);
        Resume { epoch: puppet.epoch, counter, token_id, wants_token: false }
    }

    pub fn disconnect(&mut self, at: usize) {
        let key = self.puppets[at].key();
        self.puppets[at].session = SessionId(0);
        self.funder.handle_liveness(self.now, key, Liveness::Disconnected);
        self.pump();
    }

    /// What came over a session, with what has to be looked up for it.
    pub fn hear(&mut self, key: PublicKey, session: SessionId, message: FriendMessage) {
        let known = (&self.disk, &self.invoice_archive);
        super::look_up(&mut self.funder, known, &message);
        self.funder.handle_message(self.now, &mut self.rng, key, session, message);
    }

    pub fn message(&mut self, at: usize, message: FriendMessage) {
        let (key, session) = (self.puppets[at].key(), self.puppets[at].session);
        self.hear(key, session, message);
        self.pump();
    }

    /// Lets the puppet hold the token.
    pub fn fetch_token(&mut self, at: usize) {
        if !self.puppets[at].holds_token() {
            // Not faster than empty tokens are given.
            self.pass(100);
        }
        if !self.puppets[at].holds_token() {
            let counter = self.puppets[at].counter;
            self.message(at, FriendMessage::TokenWanted { counter });
        }
        let channel = &self.friend(at).channel;
        let counter = self.puppets[at].counter;
        assert!(
            self.puppets[at].holds_token(),
            "tokenWanted at {counter} not answered: {channel:?}"
        );
    }

    /// The puppet sends terms and operations, right or wrong, in one token.
    pub fn send_all(&mut self, at: usize, terms: &[CurrencyTerms], ops: &[(Currency, FriendOp)]) {
        self.fetch_token(at);
        let token = self.puppets[at].compose(terms, ops);
        self.deliver(at, token);
    }

    pub fn send(&mut self, at: usize, ops: &[FriendOp]) {
        let ops: Vec<_> = ops.iter().map(|op| (credit(), op.clone())).collect();
        self.send_all(at, &[], &ops);
    }

    /// Delivers a token of a puppet, which takes it as sent.
    pub fn deliver(&mut self, at: usize, token: MoveToken) {
        let before = self.friend(at).channel.counter;
        let (key, session) = (self.puppets[at].key(), self.puppets[at].session);
        let message = FriendMessage::MoveToken(Box::new(token.clone()));
        self.hear(key, session, message);
        if self.friend(at).channel.counter != before {
            self.puppets[at].sent(&token);
        }
        self.pump();
    }

    /// Takes batches, makes them durable and performs them until nothing moves.
    pub fn pump(&mut self) {
        for _ in 0..1_000 {
            let mut busy = self.flush();
            for at in 0..self.puppets.len() {
                let puppet = &self.puppets[at];
                if puppet.wanted && puppet.holds_token() && !puppet.silent {
                    let before = self.friend(at).channel.counter;
                    let token = self.puppets[at].compose(&[], &[]);
                    let (key, session) = (self.puppets[at].key(), self.puppets[at].session);
                    let message = FriendMessage::MoveToken(Box::new(token.clone()));
                    self.hear(key, session, message);
                    // Not before both have said where they are.
                    if self.friend(at).channel.counter != before {
                        self.puppets[at].wanted = false;
                        self.puppets[at].sent(&token);
                        busy = true;
                    }
                }
            }
            if !busy {
                return;
            }
        }
        panic!("the node does not come to rest");
    }

    fn flush(&mut self) -> bool {
        let batch = self.funder.take_batch(self.now, &mut self.rng);
        let again = self.funder.take_batch(self.now, &mut self.rng);
        let rest = (again.changes.is_empty(), again.effects.is_empty());
        assert_eq!(rest, (true, true), "one batch holds all: {again:?}");
        let busy = !batch.effects.is_empty() || !batch.changes.is_empty();
        self.write(&batch.changes);
        self.funder.handle_durable(again.number);
        assert_eq!(rows(self.funder.state()), rows(&self.disk), "the disk holds the state");
        for effect in batch.effects {
            self.perform(effect);
        }
        busy
    }

    fn write(&mut self, changes: &[Change]) {
        let key = self.key();
        for change in changes {
            self.disk.apply(key, change).unwrap();
            self.books.write(change);
            self.kept.write(change, &self.disk);
            match change {
                Change::Payment(id, row) if row.is_ended() => {
                    drop(self.archive.insert(*id, row.clone()));
                }
                Change::Invoice(id, row) if row.is_final() => {
                    drop(self.invoice_archive.insert(*id, row.clone()));
                }
                _ => {}
            }
        }
        self.books.check(&self.disk);
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Send { friend, session, message } => {
                let puppet = self.puppets.iter_mut().find(|p| p.key() == friend).unwrap();
                if puppet.session != session {
                    return;
                }
                puppet.raw.push(message.clone());
                match message {
                    FriendMessage::MoveToken(token) => puppet.receive(&token),
                    FriendMessage::TokenWanted { counter } => {
                        assert!(!puppet.wanted, "asked twice for one token");
                        puppet.wanted = counter == puppet.counter;
                    }
                    FriendMessage::Resume(resume) => puppet.wanted = resume.wants_token,
                    FriendMessage::Inconsistency(_)
                    | FriendMessage::AcceptReset(_)
                    | FriendMessage::Removed { .. }
                    | FriendMessage::RequestStateProof { .. }
                    | FriendMessage::StateProof(_)
                    | FriendMessage::Endings(_)
                    | FriendMessage::EndingsAnswer(_) => {}
                }
            }
            Effect::FindCollected { asker, sender, question } => {
                let found = self.kept.find(asker.friend(), sender, &question);
                self.funder.handle_collected(self.now, asker, found);
            }
            Effect::FindPast { friend, questions } => {
                let known = (&self.disk, &self.invoice_archive);
                let answers = super::answers(known, questions);
                self.funder.handle_past_found(self.now, friend, answers);
            }
            Effect::Reply { request_id, result, .. } => {
                assert!(self.replies.insert(request_id.0, result).is_none(), "answered twice");
            }
            Effect::Journal(JournalEvent { entry: JournalEntry::Invoice(report), .. }) => {
                self.ended_invoices.insert(report.invoice.id(), report.status);
            }
            other => self.effects.push(other),
        }
    }

    /// Stops the node and starts it from its disk; all sessions are over.
    pub fn restart(&mut self) {
        let (identity, config) = (self.identity.clone(), self.config.clone());
        self.funder = Funder::new(identity, self.disk.clone(), config, self.now).unwrap();
        for puppet in &mut self.puppets {
            puppet.session = SessionId(0);
            puppet.wanted = false;
        }
        self.pump();
    }

    /// Time passes.
    pub fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.funder.handle_timeout(self.now, &mut self.rng);
        self.pump();
    }

    pub fn funder_report(&mut self) -> offset_proto::report::NodeReport {
        match self.ask(Command::Report) {
            Ok(AppReply::Report(report)) => *report,
            other => panic!("{other:?}"),
        }
    }

    pub fn friend(&self, at: usize) -> &Friend {
        &self.funder.state().friends[&self.puppets[at].key()]
    }

    pub fn inconsistent(&self, at: usize) -> Option<String> {
        self.friend(at).channel.inconsistent.as_ref().map(|row| row.reason.to_string())
    }

    /// The puppet pays the node, so that the node sees `amount` more.
    pub fn balance_by_payment(&mut self, at: usize, amount: u128) {
        let (mut request, lock) = self.request(&[]);
        (request.dest_payment, request.total_dest_payment) = (Credits(amount), Credits(amount));
        self.send(at, &[FriendOp::Request(request.clone())]);
        self.send(at, &[commit(&request, lock)]);
        self.got(at);
    }

    /// What came to a puppet since last asked.
    pub fn got(&mut self, at: usize) -> Vec<FriendOp> {
        std::mem::take(&mut self.puppets[at].got)
    }

    pub fn got_one(&mut self, at: usize) -> FriendOp {
        let got = self.got(at);
        assert_eq!(got.len(), 1, "{got:?}");
        got.into_iter().next().unwrap()
    }

    pub fn balance(&self, at: usize) -> i128 {
        let credit = self.friend(at).lines[&credit()].credit.as_ref().unwrap();
        credit.numbers().balance.get()
    }

    /// What the node's requests freeze with a friend, and the friend's with it.
    pub fn frozen(&self, at: usize) -> (u128, u128) {
        let credit = self.friend(at).lines[&credit()].credit.as_ref().unwrap();
        let debt = credit.numbers().pending_debt;
        (debt[Side::Local].0, debt[Side::Remote].0)
    }

    /// A spontaneous request of 100 for the last key of the route, or for the node itself.
    pub fn request(&mut self, route: &[PublicKey]) -> (Request, PlainLock) {
        let lock = PlainLock::random(&mut self.rng);
        let mut id = [0; 32];
        self.rng.fill(&mut id);
        let request = Request {
            request_id: offset_crypto::RequestId::random(&mut self.rng),
            src_hashed_lock: lock.hashed(),
            route: route.to_vec(),
            dest_payment: Credits(100),
            total_dest_payment: Credits(100),
            invoice_id: InvoiceId::from_bytes(id),
            left_fees: Credits(0),
            spontaneous: true,
            hold_seconds: 0,
        };
        (request, lock)
    }
}

pub fn friend_name(at: usize) -> offset_proto::Name {
    name(&format!("p{at}"))
}

pub fn terms(currency: &Currency, opening: i128, max: u128, open: bool) -> CurrencyTerms {
    let proposal = Proposal {
        opening_balance: Balance::new(opening).unwrap(),
        max_debt: Credits(max),
        requests_open: open,
    };
    CurrencyTerms { currency: currency.clone(), enabled: true, proposal }
}

pub fn disable(currency: &Currency) -> CurrencyTerms {
    CurrencyTerms { currency: currency.clone(), enabled: false, proposal: Proposal::default() }
}

pub fn commit(request: &Request, lock: PlainLock) -> FriendOp {
    FriendOp::Commit(Commit { request_id: request.request_id, src_plain_lock: lock })
}

pub fn collect(request: &Request, src: PlainLock, dest: PlainLock) -> FriendOp {
    let request_id = request.request_id;
    FriendOp::Collect(Collect { request_id, src_plain_lock: src, dest_plain_lock: dest })
}

pub fn release(request: &Request) -> FriendOp {
    FriendOp::Release(Release { request_id: request.request_id })
}

pub fn cancel(request: &Request, reason: CancelReason, reporter: Option<PublicKey>) -> FriendOp {
    FriendOp::Cancel(Cancel { request_id: request.request_id, reason, reporter })
}
