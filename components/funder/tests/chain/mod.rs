//! A chain of funders that pay each other, without network and disk, for counting and for timing.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "shared by tests and benches, each of which uses a part"
)]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use offset_crypto::{HashResult, Identity, InvoiceId, Nonce, PaymentId, PublicKey, SeededRng};
use offset_funder::{
    Change, Config, Funder, Side,
    api::{AppId, Command, Effect, Liveness, SessionId},
    state::{InvoiceRow, State},
};
use offset_proto::{
    Balance, Credits, Name, Timestamp,
    app::{
        AppReply, AppRequestId, ConfigRequest, CreateInvoice, Hold, PayRequest, PaymentStatus,
        PaymentTarget,
    },
    friend::{FriendMessage, FriendOp},
    index::{MultiRoute, Route},
    payment::Invoice,
    session::{Packet, Wire},
};

pub const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// What a chain has done since it was last asked.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counts {
    /// Batches with changes, of which each is one sync at most.
    pub commits: usize,
    /// Row changes, by what they are.
    pub rows: BTreeMap<&'static str, usize>,
    /// Tokens, one signature each.
    pub tokens: usize,
    /// Responses, one signature each where they are made.
    pub responses: usize,
    /// Bytes of messages between friends.
    pub bytes: usize,
}

impl Counts {
    /// Row changes of every kind.
    pub fn all_rows(&self) -> usize {
        self.rows.values().sum()
    }
}

/// Nodes in a row, of which the first pays the last.
pub struct Chain {
    pub funders: Vec<Funder>,
    pub keys: Vec<PublicKey>,
    pub counts: Counts,
    /// Payments that came back with a receipt.
    pub succeeded: usize,
    /// The changes of every batch of every node, if they are kept.
    pub batches: Option<Vec<Vec<Vec<Change>>>>,
    pub now: Timestamp,
    /// How many nodes are in the row; others may stand beside it.
    length: usize,
    /// What each node has settled and which of its invoices have ended, as its store would know.
    settled: Vec<BTreeSet<HashResult>>,
    ended: Vec<BTreeMap<InvoiceId, InvoiceRow>>,
    rng: SeededRng,
    mail: VecDeque<(usize, usize, FriendMessage)>,
    invoices: VecDeque<Invoice>,
}

impl Chain {
    /// A chain in which everybody trusts each neighbour with 2^60.
    pub fn new(nodes: u64, keep_batches: bool) -> Self {
        let identities: Vec<_> =
            (1..=nodes).map(|seed| Arc::new(Identity::random(&mut SeededRng::new(seed)))).collect();
        let keys = identities.iter().map(|identity| identity.public_key()).collect();
        let mut chain = Self {
            funders: identities.iter().map(funder).collect(),
            length: identities.len(),
            keys,
            counts: Counts::default(),
            succeeded: 0,
            batches: keep_batches.then(|| identities.iter().map(|_| Vec::new()).collect()),
            now: NOW,
            settled: identities.iter().map(|_| BTreeSet::new()).collect(),
            ended: identities.iter().map(|_| BTreeMap::new()).collect(),
            rng: SeededRng::new(4),
            mail: VecDeque::new(),
            invoices: VecDeque::new(),
        };
        for node in 1..chain.length {
            chain.connect(node - 1, node);
        }
        chain
    }

    /// A node beside the row, without friends.
    pub fn add_node(&mut self) -> usize {
        let node = self.funders.len();
        let seed = u64::try_from(node).unwrap() + 1;
        let identity = Arc::new(Identity::random(&mut SeededRng::new(seed)));
        self.keys.push(identity.public_key());
        self.funders.push(funder(&identity));
        self.settled.push(BTreeSet::new());
        self.ended.push(BTreeMap::new());
        node
    }

    /// Makes two nodes friends, and lets them agree.
    pub fn connect(&mut self, a: usize, b: usize) {
        self.befriend(a, b);
        self.befriend(b, a);
        for _ in 0..20 {
            self.round();
        }
        self.counts = Counts::default();
    }

    /// Makes `b` a friend of `a`, and connects them.
    fn befriend(&mut self, a: usize, b: usize) {
        let friend: Name = format!("n{b}").parse().unwrap();
        self.add_friend(a, &friend, self.keys[b]);
        let liveness = Liveness::Connected(session(a, b));
        self.funders[a].handle_liveness(self.now, self.keys[b], liveness);
    }

    /// Gives a node one more friend, who may owe 2^60 and is trusted with requests.
    pub fn add_friend(&mut self, node: usize, friend: &Name, public_key: PublicKey) {
        let (name, max_debt) = (friend.clone(), Credits(1 << 60));
        let requests = [
            ConfigRequest::AddFriend {
                name,
                public_key,
                relays: Vec::new(),
                currency: None,
                opening_balance: Balance::ZERO,
            },
            ConfigRequest::SetFriendEnabled { friend: friend.clone(), enabled: true },
            ConfigRequest::SetMaxDebt { friend: friend.clone(), currency: None, max_debt },
            ConfigRequest::SetRequestsOpen { friend: friend.clone(), currency: None, open: true },
        ];
        for request in requests {
            self.command(node, Command::Config(request));
        }
    }

    /// Gives a node a friend that never comes online.
    pub fn add_stranger(&mut self, node: usize, number: u16) {
        let identity = Identity::random(&mut SeededRng::new(1_000 + u64::from(number)));
        self.add_friend(node, &format!("s{number}").parse().unwrap(), identity.public_key());
    }

    /// How many requests are pending at a node.
    pub fn pending(&self, node: usize) -> usize {
        let friends = self.funders[node].state().friends.values();
        let credits =
            friends.flat_map(|friend| friend.lines.values()).filter_map(|l| l.credit.as_ref());
        credits.map(|it| Side::BOTH.map(|side| it.pending(side).len()).iter().sum::<usize>()).sum()
    }

    /// The invoices that were made stay open: nobody pays them.
    pub fn forget_invoices(&mut self) {
        self.invoices.clear();
    }

    fn command(&mut self, node: usize, command: Command) {
        let (app, id) = (AppId(0), AppRequestId(0));
        self.funders[node].handle_command(self.now, &mut self.rng, app, id, command);
    }

    /// The last node makes an invoice.
    pub fn invoice(&mut self, hold: Hold) {
        self.invoice_of(self.length - 1, hold);
    }

    /// A node makes an invoice.
    pub fn invoice_of(&mut self, seller: usize, hold: Hold) {
        let create = CreateInvoice {
            nonce: Nonce::random(&mut self.rng),
            currency: None,
            amount: Credits(1),
            description: "".parse().unwrap(),
            expires_in_ms: None,
            hold,
        };
        self.command(seller, Command::CreateInvoice { create: Box::new(create), ended: None });
    }

    /// The first node pays the invoice that was made first and not paid.
    pub fn pay_invoice(&mut self) -> bool {
        let Some(invoice) = self.invoices.pop_front() else { return false };
        self.pay_to(PaymentTarget::Invoice(Box::new(invoice)));
        true
    }

    /// The first node pays the last without an invoice.
    pub fn pay(&mut self) {
        let destination = self.keys[self.length - 1];
        let amount = Credits(1);
        self.pay_to(PaymentTarget::Spontaneous { destination, amount, currency: None });
    }

    fn pay_to(&mut self, target: PaymentTarget) {
        let request = PayRequest {
            payment_id: PaymentId::random(&mut self.rng),
            target,
            max_fee: None,
            deadline_ms: None,
            note: "".parse().unwrap(),
            max_parts: None,
        };
        self.command(0, Command::Pay { request: Box::new(request), ended: None, payer: None });
    }

    /// Every node takes a batch; then everything sent is delivered.
    pub fn round(&mut self) {
        for node in 0..self.funders.len() {
            let batch = self.funders[node].take_batch(self.now, &mut self.rng);
            self.counts.commits += usize::from(!batch.changes.is_empty());
            for change in &batch.changes {
                match change {
                    Change::Settled(id) => drop(self.settled[node].insert(*id)),
                    Change::Invoice(id, row) if row.is_final() => {
                        drop(self.ended[node].insert(*id, row.clone()));
                    }
                    _ => {}
                }
                *self.counts.rows.entry(kind(change)).or_default() += 1;
            }
            self.funders[node].handle_durable(batch.number);
            for effect in batch.effects {
                self.perform(node, effect);
            }
            if let Some(batches) = &mut self.batches
                && !batch.changes.is_empty()
            {
                batches[node].push(batch.changes);
            }
        }
        for (from, to, message) in std::mem::take(&mut self.mail) {
            let session = session(from, to);
            let (friend, rng) = (self.keys[from], &mut self.rng);
            for question in self.funders[to].past_wanted(&message) {
                let is_settled = self.settled[to].contains(&question.settled_id());
                let ended = self.ended[to].get(&question.invoice_id);
                let past = question.answer(is_settled, ended);
                self.funders[to].handle_past(question, past);
            }
            self.funders[to].handle_message(self.now, rng, friend, session, message);
        }
    }

    /// Rounds until nothing moves any more.
    pub fn settle(&mut self) {
        loop {
            let before = self.counts.clone();
            self.round();
            if self.mail.is_empty() && before == self.counts {
                break;
            }
        }
    }

    fn perform(&mut self, node: usize, effect: Effect) {
        match effect {
            Effect::Send { friend, message, .. } => {
                let Some(to) = self.keys.iter().position(|key| *key == friend) else { return };
                if let FriendMessage::MoveToken(token) = &message {
                    self.counts.tokens += 1;
                    let ops = token.body.currency_ops.iter().flat_map(|ops| &ops.ops);
                    let made = node + 1 == self.length;
                    let responses = ops.filter(|op| made && matches!(op, FriendOp::Response(_)));
                    self.counts.responses += responses.count();
                }
                let wire = Wire::encode(&Packet::Message(message.clone()));
                self.counts.bytes += AsRef::<[u8]>::as_ref(&wire).len();
                self.mail.push_back((node, to, message));
            }
            Effect::FindRoutes { asker, query } => {
                let keys = self.keys[..self.length].to_vec();
                let route = Route { keys, amount: query.amount, fee: Credits::ZERO };
                let routes =
                    vec![MultiRoute { routes: vec![route], total_fee: Credits::ZERO, age_ms: 0 }];
                self.funders[node].handle_routes(self.now, &mut self.rng, asker, Ok(routes));
            }
            Effect::Reply { result: Ok(AppReply::Payment(report)), .. } => match report.status {
                PaymentStatus::Succeeded { .. } => self.succeeded += 1,
                // Its seller holds it.
                PaymentStatus::Committed => {}
                other => panic!("{other:?}"),
            },
            Effect::Reply { result: Ok(AppReply::Invoice(report)), .. } => {
                self.invoices.push_back(report.invoice);
            }
            _ => {}
        }
    }
}

fn funder(identity: &Arc<Identity>) -> Funder {
    let config = Config { check_every: u64::MAX, ..Config::default() };
    Funder::new(identity.clone(), State::default(), config, NOW).unwrap()
}

/// The session of two nodes, for both the same.
fn session(a: usize, b: usize) -> SessionId {
    SessionId(u64::try_from(a.min(b) * 1_000 + a.max(b)).unwrap())
}

/// The kind of a row change.
pub const fn kind(change: &Change) -> &'static str {
    match change {
        Change::Entry(_) => "entry",
        Change::Collected(_) => "collected",
        Change::Journal(..) => "journal",
        Change::ForgetJournal(_) => "forget journal",
        Change::Received(..) => "received",
        Change::BeforeSent(..) => "before sent",
        Change::Pending(_, _, _, _, Some(_)) => "pending",
        Change::Pending(_, _, _, _, None) => "pending gone",
        Change::Queued(_, _, Some(_)) => "queued",
        Change::Queued(_, _, None) => "queued gone",
        Change::Channel(..) => "channel",
        Change::Line(..) => "line",
        Change::Payment(..) => "payment",
        Change::Invoice(..) => "invoice",
        Change::Set(_, Some(_)) => "set",
        Change::Set(_, None) => "set gone",
        Change::Settled(_) => "settled",
        Change::Settings(_)
        | Change::Relay(..)
        | Change::IndexServer(..)
        | Change::NewFriend(..)
        | Change::RemovedFriend(_)
        | Change::Archived(..)
        | Change::Friend(..)
        | Change::FriendRecovery(..)
        | Change::Recovery(_)
        | Change::Spent(..)
        | Change::Alone(..) => "other",
    }
}
