//! A network of funders in one thread: simulated links, disks, clock and index server. The same
//! seed gives the same run.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::wildcard_enum_match_arm,
    reason = "each test binary uses another part of the harness"
)]

pub mod books;
mod cycles;
pub mod faults;
pub mod lab;
pub mod puppet;
mod routes;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use offset_crypto::{
    HashResult, Identity, InvoiceId, Nonce, PaymentId, PublicKey, RequestId, Rng as _, Seed,
    SeededRng,
};
use offset_funder::{
    Change, Config, Funder, Past, PastQuestion, Side,
    api::{AppId, Batch, Command, Effect, Liveness, Payer, SessionId},
    state::{KeptCollect, State},
};
use offset_proto::{
    Balance, Credits, Currency, Name, Rate, Timestamp,
    app::{
        AppError, AppReply, AppRequestId, ClearRequest, ConfigRequest, CreateInvoice, Hold,
        InvoiceReport, JournalEntry, JournalEvent, PayRequest, PaymentReport, PaymentStatus,
        PaymentTarget,
    },
    friend::{Endings, FriendMessage, FriendOp},
    index::IndexLine,
    payment::Invoice,
    report::FriendRecovery,
};

pub const APP: AppId = AppId(1);

/// One node: its funder, and what its disk holds.
pub struct Node {
    pub identity: Arc<Identity>,
    pub funder: Funder,
    pub disk: State,
    pub replies: BTreeMap<u64, Result<AppReply, AppError>>,
    pub ended_payments: BTreeMap<PaymentId, PaymentReport>,
    pub invoices: BTreeMap<InvoiceId, InvoiceReport>,
    /// Ended payments as the disk keeps them.
    pub archive: BTreeMap<PaymentId, offset_funder::state::PaymentRow>,
    /// The books as the disk keeps them.
    pub books: books::Books,
    /// Collected requests as the disk keeps them.
    pub kept: Kept,
    /// Ended invoices as the disk keeps them.
    pub invoice_archive: BTreeMap<InvoiceId, offset_funder::state::InvoiceRow>,
    /// Where the journal ended when each of them did.
    pub invoice_ends: BTreeMap<InvoiceId, u64>,
    /// Everything that was ever written, in order.
    pub log: Vec<Change>,
    /// Batches that were taken and are not durable yet, see [`Net::lag`].
    writing: VecDeque<Batch>,
    pub lines: BTreeMap<(PublicKey, Currency), IndexLine>,
}

pub struct Net {
    pub nodes: Vec<Node>,
    pub now: Timestamp,
    pub rng: SeededRng,
    /// Messages under way, in order, by sender and receiver.
    links: BTreeMap<(usize, usize), VecDeque<FriendMessage>>,
    /// The session of each connected pair, lower index first.
    sessions: BTreeMap<(usize, usize), SessionId>,
    next_session: u64,
    next_request: u64,
    pub config: Config,
    /// How many tokens were delivered.
    pub tokens: usize,
    /// The operations that arrived: from whom, at whom, and which.
    pub trace: Vec<(usize, usize, &'static str)>,
    /// Whether the index server answers.
    pub index_up: bool,
    /// What finds routes instead of the simple search here.
    pub router: Option<routes::Router>,
    /// Ways that the index server answers with instead of what it finds, each for an equal part.
    pub ways: Vec<Vec<usize>>,
    /// What the nodes write to, if it may fail.
    pub disks: Option<Box<dyn faults::Disks>>,
    /// Nodes whose process has ended, each with the batch that may have become durable or not.
    pub down: BTreeMap<usize, Vec<Change>>,
    /// Whether the disk is compared with the state after each batch, not only where a test asks.
    pub compares: bool,
    /// How many batches of a node may be taken while an earlier one is being made durable.
    pub lag: usize,
    /// The token that was applied for each counter, by signer, receiver, epoch and counter (T3).
    applied: BTreeMap<(usize, usize, u64, u64), HashResult>,
    /// Nodes that go back to what they were without saying so: their tokens and books prove
    /// nothing.
    pub liars: BTreeSet<usize>,
}

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub fn credit() -> Currency {
    Currency::fallback()
}

impl Net {
    /// Nodes without friends.
    pub fn new(count: usize, seed: u64) -> Self {
        let config = Config { check_every: 1, ..Config::default() };
        let now = Timestamp(1_700_000_000_000);
        let nodes = (0..count).map(|n| {
            let mut bytes = [0; 32];
            SeededRng::new(1_000 + u64::try_from(n).unwrap()).fill(&mut bytes);
            let identity = Arc::new(Identity::from_seed(Seed::from_bytes(bytes)));
            let state = State::default();
            let funder = Funder::new(identity.clone(), state.clone(), config.clone(), now).unwrap();
            Node {
                identity,
                funder,
                disk: state,
                replies: BTreeMap::new(),
                ended_payments: BTreeMap::new(),
                invoices: BTreeMap::new(),
                archive: BTreeMap::new(),
                books: books::Books::default(),
                kept: Kept::default(),
                invoice_archive: BTreeMap::new(),
                invoice_ends: BTreeMap::new(),
                log: Vec::new(),
                writing: VecDeque::new(),
                lines: BTreeMap::new(),
            }
        });
        Self {
            nodes: nodes.collect(),
            now,
            rng: SeededRng::new(seed),
            links: BTreeMap::new(),
            sessions: BTreeMap::new(),
            next_session: 1,
            next_request: 1,
            config,
            tokens: 0,
            trace: Vec::new(),
            index_up: true,
            router: None,
            ways: Vec::new(),
            disks: None,
            down: BTreeMap::new(),
            compares: true,
            lag: 0,
            applied: BTreeMap::new(),
            liars: BTreeSet::new(),
        }
    }

    /// A chain of friends with open lines: each may owe its neighbours `limit`.
    pub fn chain(count: usize, limit: u128, seed: u64) -> Self {
        let mut net = Self::new(count, seed);
        for n in 1..count {
            net.befriend(n - 1, n, limit);
        }
        net.settle();
        net
    }

    pub fn key(&self, node: usize) -> PublicKey {
        self.nodes[node].identity.public_key()
    }

    pub fn index_of(&self, key: PublicKey) -> usize {
        (0..self.nodes.len()).find(|n| self.key(*n) == key).unwrap()
    }

    /// Makes two nodes friends in the default currency, with everything open.
    pub fn befriend(&mut self, a: usize, b: usize, limit: u128) {
        for (x, y) in [(a, b), (b, a)] {
            let public_key = self.key(y);
            self.config(
                x,
                ConfigRequest::AddFriend {
                    name: name(&format!("n{y}")),
                    public_key,
                    relays: Vec::new(),
                    currency: None,
                    opening_balance: Balance::ZERO,
                },
            );
            let friend = name(&format!("n{y}"));
            self.config(
                x,
                ConfigRequest::SetFriendEnabled { friend: friend.clone(), enabled: true },
            );
            self.config(
                x,
                ConfigRequest::SetMaxDebt {
                    friend: friend.clone(),
                    currency: None,
                    max_debt: Credits(limit),
                },
            );
            self.config(x, ConfigRequest::SetRequestsOpen { friend, currency: None, open: true });
        }
        self.connect(a, b);
    }

    pub fn set_rate(&mut self, node: usize, friend: usize, ppm: u32, add: u64) {
        let friend = name(&format!("n{friend}"));
        let rate = Rate { ppm, add };
        self.config(node, ConfigRequest::SetRate { friend, currency: None, rate });
    }

    /// A configuration request that must succeed.
    pub fn config(&mut self, node: usize, request: ConfigRequest) {
        let reply = self.ask(node, Command::Config(request.clone()));
        assert_eq!(reply, Ok(AppReply::Done), "{request:?}");
    }

    /// A command that is answered at once.
    pub fn ask(&mut self, node: usize, command: Command) -> Result<AppReply, AppError> {
        let id = self.command(node, command);
        self.flush(node);
        self.nodes[node].replies.remove(&id).expect("answered at once")
    }

    /// A command; its reply is filed under the number.
    pub fn command(&mut self, node: usize, command: Command) -> u64 {
        let id = self.next_request;
        self.next_request += 1;
        if self.down.contains_key(&node) {
            return id;
        }
        let (now, rng) = (self.now, &mut self.rng);
        self.nodes[node].funder.handle_command(now, rng, APP, AppRequestId(id), command);
        id
    }

    pub fn invoice(&mut self, seller: usize, amount: u128) -> Invoice {
        self.held_invoice(seller, amount, Hold::None)
    }

    pub fn held_invoice(&mut self, seller: usize, amount: u128, hold: Hold) -> Invoice {
        let create = CreateInvoice {
            nonce: Nonce::random(&mut self.rng),
            currency: None,
            amount: Credits(amount),
            description: "".parse().unwrap(),
            expires_in_ms: None,
            hold,
        };
        match self.ask(seller, Command::CreateInvoice { create: Box::new(create), ended: None }) {
            Ok(AppReply::Invoice(report)) => report.invoice,
            other => panic!("{other:?}"),
        }
    }

    pub fn pay_request(&mut self, target: PaymentTarget) -> PayRequest {
        PayRequest {
            payment_id: PaymentId::random(&mut self.rng),
            target,
            max_fee: None,
            deadline_ms: None,
            note: "".parse().unwrap(),
            max_parts: None,
        }
    }

    /// Orders a clearing; gives its id.
    pub fn clear(&mut self, node: usize, friend: Option<usize>) -> (PaymentId, u64) {
        let request = ClearRequest {
            payment_id: PaymentId::random(&mut self.rng),
            currency: None,
            friend: friend.map(|friend| name(&format!("n{friend}"))),
            max_fee: None,
            max_fee_ppm: 100_000,
        };
        (request.payment_id, self.order_clearing(node, request))
    }

    /// Orders a clearing; its reply is filed under the number.
    pub fn order_clearing(&mut self, node: usize, request: ClearRequest) -> u64 {
        let ended = self.nodes[node].archive.get(&request.payment_id).cloned().map(Box::new);
        let payer = Some(Payer { app: self.key(node), limits: Vec::new() });
        let number =
            self.command(node, Command::Clear { request: Box::new(request), ended, payer });
        self.flush(node);
        self.flush(node);
        number
    }

    /// Orders a payment; gives its id.
    pub fn pay(&mut self, buyer: usize, request: PayRequest) -> PaymentId {
        let id = request.payment_id;
        let ended = self.nodes[buyer].archive.get(&id).cloned().map(Box::new);
        let payer = Some(Payer { app: self.key(buyer), limits: Vec::new() });
        self.command(buyer, Command::Pay { request: Box::new(request), ended, payer });
        self.flush(buyer);
        id
    }

    pub fn send_funds(&mut self, buyer: usize, seller: usize, amount: u128) -> PaymentId {
        let destination = self.key(seller);
        let target =
            PaymentTarget::Spontaneous { destination, amount: Credits(amount), currency: None };
        let request = self.pay_request(target);
        self.pay(buyer, request)
    }

    /// Runs until nothing is under way, then gives the payment's end, letting time pass as needed.
    pub fn outcome(&mut self, buyer: usize, id: PaymentId) -> PaymentStatus {
        for _ in 0..2_000 {
            self.settle();
            if let Some(report) = self.nodes[buyer].ended_payments.get(&id) {
                return report.status.clone();
            }
            self.pass(50);
        }
        panic!("payment {id:?} does not end");
    }

    pub fn connect(&mut self, a: usize, b: usize) {
        let pair = (a.min(b), a.max(b));
        self.disconnect(a, b);
        if self.down.contains_key(&a) || self.down.contains_key(&b) {
            return;
        }
        let session = SessionId(self.next_session);
        self.next_session += 1;
        self.sessions.insert(pair, session);
        for (x, y) in [(a, b), (b, a)] {
            let (now, friend) = (self.now, self.key(y));
            self.nodes[x].funder.handle_liveness(now, friend, Liveness::Connected(session));
        }
    }

    pub fn disconnect(&mut self, a: usize, b: usize) {
        let pair = (a.min(b), a.max(b));
        if self.sessions.remove(&pair).is_some() {
            for (x, y) in [(a, b), (b, a)] {
                self.links.remove(&(x, y));
                let (now, friend) = (self.now, self.key(y));
                self.nodes[x].funder.handle_liveness(now, friend, Liveness::Disconnected);
            }
        }
    }

    pub fn connected_pairs(&self) -> Vec<(usize, usize)> {
        self.sessions.keys().copied().collect()
    }

    /// Stops a node at once and starts it from its disk. `after_commit`: what it would have sent
    /// had become durable, but did not leave.
    pub fn crash(&mut self, node: usize, after_commit: bool) {
        if after_commit {
            let batch = self.take(node);
            self.write(node, &batch.changes);
        }
        self.restart(node);
    }

    /// Starts a node from its disk.
    fn restart(&mut self, node: usize) {
        for other in 0..self.nodes.len() {
            if other != node {
                self.disconnect(node, other);
            }
        }
        let (now, config) = (self.now, self.config.clone());
        let it = &mut self.nodes[node];
        it.lines.clear();
        let disk = it.disk.clone();
        // Whatever is on a disk is what was signed.
        disk.check_channels(it.identity.public_key()).unwrap();
        it.funder = Funder::new(it.identity.clone(), disk, config, now).unwrap();
    }

    /// Stops a node and starts it from an older copy of its disk; `at_once` as `--recover` does.
    pub fn restore(&mut self, node: usize, copy: &State, at_once: bool) {
        self.nodes[node].disk = copy.clone();
        self.nodes[node].books.restore(copy);
        self.nodes[node].kept.restore(copy);
        // The copy does not know what ended later.
        let last = copy.journal.keys().next_back().copied().unwrap_or(0);
        let ended = std::mem::take(&mut self.nodes[node].invoice_ends);
        self.nodes[node]
            .invoice_archive
            .retain(|id, _| ended.get(id).is_some_and(|at| *at <= last));
        self.nodes[node].invoice_ends = ended;
        self.crash(node, false);
        if at_once {
            let now = self.now;
            self.nodes[node].funder.begin_recovery(now);
        }
    }

    /// The owner accepts every state that friends of a node prove.
    pub fn recover_all(&mut self, node: usize) -> usize {
        let Ok(AppReply::Report(report)) = self.ask(node, Command::Report) else {
            panic!("no report");
        };
        let mut recovered = 0;
        for friend in report.friends {
            if let FriendRecovery::Proven { token, .. } = friend.recovery {
                self.config(
                    node,
                    ConfigRequest::RecoverFriend { friend: friend.name, token, public_key: None },
                );
                recovered += 1;
            }
        }
        recovered
    }

    /// Time passes at every node.
    pub fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        for node in 0..self.nodes.len() {
            if self.down.contains_key(&node) {
                continue;
            }
            let (now, rng) = (self.now, &mut self.rng);
            let funder = &mut self.nodes[node].funder;
            if funder.next_timeout().is_some_and(|at| at <= now) {
                funder.handle_timeout(now, rng);
            }
        }
    }

    /// Takes a batch, makes it durable, and performs its effects; with a lag, those of an earlier one.
    pub fn flush(&mut self, node: usize) -> bool {
        if self.down.contains_key(&node) {
            return false;
        }
        let batch = self.take(node);
        let again = self.take(node);
        let rest = (again.changes.is_empty(), again.effects.is_empty());
        assert_eq!(rest, (true, true), "one batch holds all: {again:?}");
        let busy = !batch.changes.is_empty() || !batch.effects.is_empty();
        if self.lag == 0 {
            self.complete(node, batch);
            return busy;
        }
        let writing = &mut self.nodes[node].writing;
        if busy {
            writing.push_back(batch);
        }
        if busy && writing.len() <= self.lag {
            return true;
        }
        let Some(first) = writing.pop_front() else { return false };
        self.complete(node, first);
        true
    }

    /// Makes a batch durable and performs its effects, or loses it with the process.
    fn complete(&mut self, node: usize, batch: Batch) {
        if !batch.changes.is_empty()
            && let Some(disks) = &mut self.disks
        {
            match disks.write(node, &batch.changes) {
                faults::Fate::Durable => {}
                faults::Fate::Lost => return self.stop(node, batch.changes),
                faults::Fate::Ended => {
                    self.write(node, &batch.changes);
                    return self.stop(node, Vec::new());
                }
            }
        }
        self.write(node, &batch.changes);
        self.nodes[node].funder.handle_durable(batch.number);
        if self.compares && self.nodes[node].writing.is_empty() {
            self.compare_disk(node);
        }
        for effect in batch.effects {
            self.perform(node, effect);
        }
    }

    fn take(&mut self, node: usize) -> Batch {
        self.nodes[node].funder.take_batch(self.now, &mut self.rng)
    }

    fn write(&mut self, node: usize, changes: &[Change]) {
        let key = self.key(node);
        for change in changes {
            if let Change::Received(from, Some(token)) = change {
                let (epoch, counter) = (token.body.epoch, token.body.counter);
                let from = self.index_of(*from);
                if [from, node].iter().any(|node| self.liars.contains(node)) {
                    continue;
                }
                let known = self.applied.entry((from, node, epoch, counter)).or_insert(token.id());
                assert_eq!(*known, token.id(), "{from} sent {node} two tokens for one counter");
            }
        }
        let it = &mut self.nodes[node];
        for change in changes {
            it.disk.apply(key, change).unwrap();
            if self.compares {
                it.log.push(change.clone());
            }
            it.books.write(change);
            it.kept.write(change, &it.disk);
            if let Change::Payment(id, row) = change
                && row.is_ended()
            {
                it.archive.insert(*id, row.clone());
            }
            if let Change::Invoice(id, row) = change
                && row.is_final()
            {
                it.invoice_archive.insert(*id, row.clone());
            }
        }
        let last = it.disk.journal.keys().next_back().copied().unwrap_or(0);
        for change in changes {
            if let Change::Invoice(id, row) = change
                && row.is_final()
            {
                it.invoice_ends.insert(*id, last);
            }
        }
        if !self.liars.contains(&node) {
            it.books.check(&it.disk);
        }
    }

    fn perform(&mut self, node: usize, effect: Effect) {
        match effect {
            Effect::Send { friend, session, message } => {
                let to = self.index_of(friend);
                let pair = (node.min(to), node.max(to));
                if self.sessions.get(&pair) == Some(&session) {
                    self.links.entry((node, to)).or_default().push_back(message);
                }
            }
            Effect::Disconnect { friend, session } | Effect::Goodbye { friend, session } => {
                let to = self.index_of(friend);
                if self.sessions.get(&(node.min(to), node.max(to))) == Some(&session) {
                    self.disconnect(node, to);
                }
            }
            Effect::FindRoutes { asker, query } => {
                let answer = self.find(&query);
                let (now, rng) = (self.now, &mut self.rng);
                self.nodes[node].funder.handle_routes(now, rng, asker, answer);
            }
            Effect::FindCycles { payment_id, query } => {
                let answer = self.find_cycles(&query);
                let (now, rng) = (self.now, &mut self.rng);
                self.nodes[node].funder.handle_cycles(now, rng, payment_id, answer);
            }
            Effect::FindCollected { asker, sender, question } => {
                let now = self.now;
                let it = &mut self.nodes[node];
                let found = it.kept.find(asker.friend(), sender, &question);
                it.funder.handle_collected(now, asker, found);
            }
            Effect::FindPast { friend, questions } => {
                let now = self.now;
                let it = &mut self.nodes[node];
                let answers = answers((&it.disk, &it.invoice_archive), questions);
                it.funder.handle_past_found(now, friend, answers);
            }
            Effect::Reply { request_id, result, .. } => {
                self.nodes[node].replies.insert(request_id.0, result);
            }
            Effect::Journal(JournalEvent { entry: JournalEntry::Payment(report), .. }) => {
                let ended = !matches!(
                    report.status,
                    PaymentStatus::Routing
                        | PaymentStatus::Requesting
                        | PaymentStatus::Complete
                        | PaymentStatus::Committed
                );
                if ended {
                    self.nodes[node].ended_payments.insert(report.payment_id, *report);
                }
            }
            Effect::Journal(JournalEvent { entry: JournalEntry::Invoice(report), .. }) => {
                self.nodes[node].invoices.insert(report.invoice.id(), *report);
            }
            Effect::IndexLine { friend, currency, line } => {
                let lines = &mut self.nodes[node].lines;
                match line {
                    Some(line) => drop(lines.insert((friend, currency), line)),
                    None => drop(lines.remove(&(friend, currency))),
                }
            }
            Effect::Mutation(_)
            | Effect::Contact { .. }
            | Effect::Relays(_)
            | Effect::IndexServers(_) => {}
        }
    }

    /// Delivers the first message of a link, if there is one.
    pub fn deliver(&mut self, from: usize, to: usize) -> bool {
        let Some(message) = self.links.get_mut(&(from, to)).and_then(VecDeque::pop_front) else {
            return false;
        };
        let pair = (from.min(to), from.max(to));
        let Some(session) = self.sessions.get(&pair).copied() else {
            return false;
        };
        if let FriendMessage::MoveToken(token) = &message {
            self.tokens += 1;
            let ops = token.body.currency_ops.iter().flat_map(|ops| &ops.ops);
            self.trace.extend(ops.map(|op| (from, to, word(op))));
        }
        let (now, rng, friend) = (self.now, &mut self.rng, self.nodes[from].identity.public_key());
        let it = &mut self.nodes[to];
        look_up(&mut it.funder, (&it.disk, &it.invoice_archive), &message);
        it.funder.handle_message(now, rng, friend, session, message);
        true
    }

    /// Looks at what a link carries, and may change it.
    pub fn link(&mut self, from: usize, to: usize) -> &mut VecDeque<FriendMessage> {
        self.links.entry((from, to)).or_default()
    }

    pub fn busy_links(&self) -> Vec<(usize, usize)> {
        self.links.iter().filter(|(_, link)| !link.is_empty()).map(|(pair, _)| *pair).collect()
    }

    /// Runs until nothing moves, without time passing.
    pub fn settle(&mut self) {
        for _ in 0..100_000 {
            let mut busy = false;
            for node in 0..self.nodes.len() {
                busy |= self.flush(node);
            }
            for (from, to) in self.busy_links() {
                busy |= self.deliver(from, to);
            }
            if !busy {
                return;
            }
        }
        panic!("the network does not come to rest");
    }

    /// As [`Net::settle`], with nothing delivered over one link.
    pub fn settle_but(&mut self, held: (usize, usize)) {
        for _ in 0..100_000 {
            let mut busy = false;
            for node in 0..self.nodes.len() {
                busy |= self.flush(node);
            }
            for (from, to) in self.busy_links() {
                busy |= (from, to) != held && self.deliver(from, to);
            }
            if !busy {
                return;
            }
        }
        panic!("the network does not come to rest");
    }

    pub fn balance(&self, node: usize, friend: usize) -> i128 {
        self.balance_in(node, friend, &credit())
    }

    pub fn balance_in(&self, node: usize, friend: usize, currency: &Currency) -> i128 {
        let line = &self.nodes[node].funder.state().friends[&self.key(friend)].lines[currency];
        line.credit.as_ref().unwrap().numbers().balance.get()
    }

    /// What a node has in all, over its friends, in the default currency.
    pub fn total(&self, node: usize) -> i128 {
        self.debts(node).iter().sum()
    }

    /// What each friend owes a node, or is owed if negative, in the default currency.
    pub fn debts(&self, node: usize) -> Vec<i128> {
        let friends = self.nodes[node].funder.state().friends.values();
        friends
            .filter_map(|friend| friend.lines.get(&credit())?.credit.as_ref())
            .map(|credit| credit.numbers().balance.get())
            .collect()
    }

    /// M1 and M2 for every pair, in a network at rest; and with `clear`, that nothing is pending.
    pub fn check_at_rest(&self, clear: bool) {
        for a in 0..self.nodes.len() {
            for (key, friend) in &self.nodes[a].funder.state().friends {
                let b = self.index_of(*key);
                let theirs = &self.nodes[b].funder.state().friends[&self.key(a)];
                assert_eq!(friend.channel.counter, theirs.channel.counter, "{a}-{b}");
                assert_eq!(friend.channel.token_id, theirs.channel.token_id, "{a}-{b}");
                assert_eq!(friend.channel.inconsistent, None, "{a}-{b}");
                for (currency, line) in &friend.lines {
                    let Some(mine) = &line.credit else {
                        let other = theirs.lines.get(currency);
                        assert!(other.is_none_or(|other| other.credit.is_none()), "{a}-{b}");
                        let proposed = other.and_then(|other| other.remote_proposal);
                        assert_eq!(line.local_proposal, proposed, "{a}-{b} proposal");
                        assert_eq!(line.local_proposal, line.wanted, "{a}-{b} told");
                        continue;
                    };
                    let other = theirs.lines[currency].credit.as_ref().unwrap();
                    let (m, o) = (mine.numbers(), other.numbers());
                    assert_eq!(m.balance, o.balance.mirrored(), "{a}-{b} mirror");
                    assert_eq!(m.pending_debt.local, o.pending_debt.remote, "{a}-{b} pending");
                    assert_eq!(mine.pending_root(), other.pending_root(), "{a}-{b} root");
                    if clear {
                        assert!(mine.pending(Side::Local).is_empty(), "{a}-{b} has pending");
                        assert!(friend.queue.is_empty(), "{a}-{b} has queued");
                    }
                }
            }
        }
        if clear {
            for node in &self.nodes {
                assert!(node.funder.state().sets.is_empty());
                assert!(node.funder.state().payments.is_empty());
            }
        }
    }

    /// The disk holds exactly the state.
    pub fn compare_disk(&self, node: usize) {
        let it = &self.nodes[node];
        assert_eq!(rows(it.funder.state()), rows(&it.disk), "disk of node {node}");
    }
}

/// Collected requests as a disk keeps them, each with the last entry of the books after it.
#[derive(Default)]
pub struct Kept(BTreeMap<(PublicKey, Currency, Side, RequestId), (u64, KeptCollect)>);

impl Kept {
    pub fn write(&mut self, change: &Change, disk: &State) {
        if let Change::Collected(row) = change {
            let (currency, id) = (row.collected.currency.clone(), row.collected.request_id);
            let row = (disk.last_entry, (**row).clone());
            self.0.insert((row.1.friend, currency, row.1.sender, id), row);
        }
    }

    /// As it was at an older copy of the disk.
    pub fn restore(&mut self, disk: &State) {
        self.0.retain(|_, (entry, _)| *entry <= disk.last_entry);
    }

    pub fn find(&self, friend: PublicKey, sender: Side, question: &Endings) -> Vec<KeptCollect> {
        let key = |id: &RequestId| (friend, question.currency.clone(), sender, *id);
        let found = question.request_ids.iter().filter_map(|id| self.0.get(&key(id)));
        found.map(|(_, row)| row.clone()).collect()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn ids(&self) -> Vec<RequestId> {
        self.0.keys().map(|(.., id)| *id).collect()
    }
}

/// What a disk holds of the past.
type KnownPast<'a> = (&'a State, &'a BTreeMap<InvoiceId, offset_funder::state::InvoiceRow>);

/// Answers what a funder has to know of its past before it handles a message.
pub fn look_up(funder: &mut Funder, known: KnownPast<'_>, message: &FriendMessage) {
    for (question, past) in answers(known, funder.past_wanted(message)) {
        funder.handle_past(question, past);
    }
}

pub fn answers(
    (disk, invoices): KnownPast<'_>,
    questions: Vec<PastQuestion>,
) -> Vec<(PastQuestion, Past)> {
    let answer = |question: PastQuestion| {
        let is_settled = disk.settled.contains(&question.settled_id());
        let past = question.answer(is_settled, invoices.get(&question.invoice_id));
        (question, past)
    };
    questions.into_iter().map(answer).collect()
}

/// A state as text, row by row, without what is derived.
pub fn rows(state: &State) -> BTreeSet<String> {
    let mut rows = BTreeSet::new();
    rows.insert(format!("{:?} {:?} {:?}", state.settings, state.relays, state.index_servers));
    rows.insert(format!("{:?} {:?} {:?}", state.invoices, state.sets, state.payments));
    // What was settled is looked up, and not held by whoever runs on it.
    rows.insert(format!("{:?} {:?}", state.spent, state.journal));
    rows.insert(format!("{}", state.last_entry));
    rows.insert(format!("{:?} {:?}", state.archive, state.alone));
    rows.insert(format!("{:?}", state.recovery));
    for (key, friend) in &state.friends {
        rows.insert(format!("{key:?} {:?} {:?}", friend.info, friend.channel));
        rows.insert(format!("{key:?} {:?} {:?}", friend.received, friend.before_sent));
        rows.insert(format!("{key:?} {:?}", friend.recovery));
        for (currency, line) in &friend.lines {
            rows.insert(format!("{key:?} {currency} {:?}", line.row()));
            for side in Side::BOTH {
                for row in line.credit.iter().flat_map(|credit| credit.pending(side)) {
                    rows.insert(format!("{key:?} {currency} {side:?} {row:?}"));
                }
            }
        }
        for row in &friend.queue {
            rows.insert(format!("{key:?} {row:?}"));
        }
    }
    rows
}

/// The seeds of a random test: the first `usual`, as many as `OFFSET_SEEDS` says, or the one that
/// `OFFSET_SEED` names.
pub fn seeds(usual: u64) -> std::ops::Range<u64> {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    match number("OFFSET_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("OFFSET_SEEDS").unwrap_or(usual),
    }
}

/// What the seeds call an operation.
pub const fn word(op: &FriendOp) -> &'static str {
    match op {
        FriendOp::Request(_) => "request",
        FriendOp::Response(_) => "response",
        FriendOp::Commit(_) => "commit",
        FriendOp::Collect(_) => "collect",
        FriendOp::Cancel(_) => "cancel",
        FriendOp::Release(_) => "release",
    }
}
