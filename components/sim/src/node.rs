//! A node's process: the real funder over a modelled disk, with as many batches under way as in the
//! real shell, and effects performed only once their batch is durable.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use offset_crypto::{Identity, PaymentId, PublicKey, Rng};
use offset_funder::{
    Change, Config, Funder,
    api::{AppId, Batch, BatchNumber, Command, Contact, Effect, RoutesError, RoutesFor, SessionId},
};
use offset_index_client::reporter::Reporter;
use offset_proto::{
    ServerAddress, Timestamp,
    app::{AppReply, AppRequestId, JournalEntry, JournalEvent},
    friend::FriendMessage,
    index::{ClientToIndex, IndexToClient, RouteRequestId, UpdateMutation},
};

use crate::{
    app::App,
    disk::{Disk, Writing, ended_invoice, ended_payment},
    session::RelayLink,
    wire::{Packet, Site, WireId},
    world::{Event, World},
};

pub(crate) struct Node {
    pub(crate) identity: Arc<Identity>,
    pub(crate) disk: Disk,
    pub(crate) process: Option<Process>,
    pub(crate) boot: u64,
    pub(crate) clock_offset: i64,
    pub(crate) app: App,
    /// Until then its process does nothing.
    pub(crate) paused_until: u64,
    /// Its owner starts it as one that recovers, until it knows itself.
    pub(crate) to_recover: bool,
}

impl Node {
    pub(crate) fn key(&self) -> PublicKey {
        self.identity.public_key()
    }
}

/// What ends with the process.
pub(crate) struct Process {
    pub(crate) funder: Funder,
    /// Batches on their way to the disk, in order.
    pub(crate) writing: VecDeque<Writing>,
    pub(crate) relays: BTreeMap<usize, RelayLink>,
    pub(crate) listen_at: Vec<ServerAddress>,
    pub(crate) contacts: BTreeMap<PublicKey, Contact>,
    pub(crate) sessions: BTreeMap<PublicKey, Session>,
    pub(crate) next_session: u64,
    /// When each friend is dialled next, and the wait after that.
    pub(crate) dialling: BTreeMap<PublicKey, (u64, u64)>,
    index_servers: Vec<ServerAddress>,
    index: Option<(usize, WireId)>,
    reporter: Reporter,
    /// Questions to the index server, with when they were asked.
    queries: BTreeMap<RouteRequestId, (u64, Query)>,
    next_query: u64,
    /// For which a timer is scheduled.
    timer: Option<u64>,
}

/// Who waits for an answer of the index server.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Query {
    Routes(RoutesFor),
    Cycles(PaymentId),
}

/// A session that stands here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) relay: usize,
    pub(crate) circuit: offset_proto::relay::CircuitId,
    pub(crate) opened_by: PublicKey,
    pub(crate) opened_at: u64,
}

/// The one app of each node.
pub(crate) const APP: AppId = AppId(1);

impl World {
    pub(crate) fn start_node(&mut self, node: usize) {
        if self.nodes[node].process.is_some() {
            return;
        }
        let now = self.clock(node);
        let it = &mut self.nodes[node];
        it.boot += 1;
        // Everything is checked after each step of a small network, by the world.
        let config = Config { check_every: u64::MAX, ..Config::default() };
        let state = it.disk.state.clone();
        let mut funder = Funder::new(it.identity.clone(), state, config, now)
            .expect("what was committed is whole");
        if it.to_recover {
            funder.begin_recovery(now);
        }
        let reporter = Reporter::new(it.key(), it.disk.index_epoch, now);
        it.disk.index_epoch = reporter.epoch();
        it.process = Some(Process {
            funder,
            writing: VecDeque::new(),
            relays: BTreeMap::new(),
            listen_at: Vec::new(),
            contacts: BTreeMap::new(),
            sessions: BTreeMap::new(),
            next_session: 1,
            dialling: BTreeMap::new(),
            index_servers: Vec::new(),
            index: None,
            reporter,
            queries: BTreeMap::new(),
            next_query: 1,
            timer: None,
        });
        self.check_nothing_forgotten(node);
        let boot = self.nodes[node].boot;
        self.schedule(self.now, Event::Dial { node, boot });
        self.flush(node);
        self.app_connected(node);
    }

    /// The process is gone. The first of the batches under way may have become durable.
    pub(crate) fn crash_node(&mut self, node: usize) {
        let Some(process) = self.nodes[node].process.take() else { return };
        self.crashes += 1;
        let survived = self.draw.index(process.writing.len() + 1);
        let local = self.key(node);
        let failing = self.now < self.nodes[node].disk.failing_until;
        for batch in process.writing.iter().take(if failing { 0 } else { survived }) {
            self.commit(node, local, &batch.changes);
        }
        self.nodes[node].app.disconnected();
        self.cut_all(Site::Node(node));
    }

    /// A command of the node's app.
    pub(crate) fn command(&mut self, node: usize, command: Command) -> Option<AppRequestId> {
        let now = self.clock(node);
        if self.now < self.nodes[node].paused_until {
            return None;
        }
        let it = &mut self.nodes[node];
        let process = it.process.as_mut()?;
        let id = it.app.next_request();
        let (writing, disk, state) = (&process.writing, &it.disk, process.funder.state());
        let command = match command {
            Command::Pay { request, payer, .. } => {
                let known = state.payments.contains_key(&request.payment_id);
                let ended = ended_payment(disk, writing, &request.payment_id);
                Command::Pay { request, ended: ended.filter(|_| !known).map(Box::new), payer }
            }
            Command::Clear { request, payer, .. } => {
                let known = state.payments.contains_key(&request.payment_id);
                let ended = ended_payment(disk, writing, &request.payment_id);
                Command::Clear { request, ended: ended.filter(|_| !known).map(Box::new), payer }
            }
            Command::PayByCommit { request, payer, .. } => {
                let known = state.payments.contains_key(&request.payment_id);
                let ended = ended_payment(disk, writing, &request.payment_id);
                let ended = ended.filter(|_| !known).map(Box::new);
                Command::PayByCommit { request, ended, payer }
            }
            Command::PaymentCommit { payment_id, .. } => {
                let known = state.payments.contains_key(&payment_id);
                let ended = ended_payment(disk, writing, &payment_id);
                Command::PaymentCommit { payment_id, ended: ended.filter(|_| !known).map(Box::new) }
            }
            Command::CancelInvoice { invoice_id, .. } => {
                let ended = ended_invoice(disk, writing, state, &invoice_id).map(Box::new);
                Command::CancelInvoice { invoice_id, ended }
            }
            Command::CollectInvoice { invoice_id, .. } => {
                let ended = ended_invoice(disk, writing, state, &invoice_id).map(Box::new);
                Command::CollectInvoice { invoice_id, ended }
            }
            Command::CommitInvoice { commit, .. } => {
                let ended = ended_invoice(disk, writing, state, &commit.invoice_id).map(Box::new);
                Command::CommitInvoice { commit, ended }
            }
            other => other,
        };
        process.funder.handle_command(now, &mut self.draw.0, APP, id, command);
        self.flush(node);
        Some(id)
    }

    pub(crate) fn friend_message(
        &mut self,
        node: usize,
        friend: PublicKey,
        session: SessionId,
        message: FriendMessage,
    ) {
        if !self.is_honest(node) && self.deceive(friend, session, &message) {
            return;
        }
        let now = self.clock(node);
        let it = &mut self.nodes[node];
        let Some(process) = it.process.as_mut() else { return };
        let wanted = process.funder.past_wanted(&message);
        for (question, past) in it.disk.past(wanted) {
            process.funder.handle_past(question, past);
        }
        process.funder.handle_message(now, &mut self.draw.0, friend, session, message);
        self.flush(node);
    }

    /// Takes what the inputs led to and hands it to the disk, unless enough is under way.
    pub(crate) fn flush(&mut self, node: usize) {
        self.touched.insert(node);
        let now = self.clock(node);
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        if process.writing.len() < BATCHES_UNDER_WAY {
            if process.funder.next_timeout().is_some_and(|at| at <= now) {
                process.funder.handle_timeout(now, &mut self.draw.0);
            }
            let Batch { number, changes, effects } =
                process.funder.take_batch(now, &mut self.draw.0);
            let question = |effect: &Effect| {
                matches!(effect, Effect::FindRoutes { .. } | Effect::FindCycles { .. })
            };
            let (questions, effects): (Vec<_>, Vec<_>) = effects.into_iter().partition(question);
            self.hand_over(node, number, changes, effects);
            for question in questions {
                self.perform(node, question);
            }
        }
        self.set_node_timer(node);
    }

    fn hand_over(
        &mut self,
        node: usize,
        number: BatchNumber,
        changes: Vec<Change>,
        effects: Vec<Effect>,
    ) {
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        if changes.is_empty() {
            if let Some(last) = process.writing.back_mut() {
                last.number = number;
                last.effects.extend(effects);
            } else {
                process.funder.handle_durable(number);
                for effect in effects {
                    self.perform(node, effect);
                }
            }
            return;
        }
        process.writing.push_back(Writing { number, changes, effects });
        if process.writing.len() == 1 {
            self.begin_sync(node);
        }
    }

    fn begin_sync(&mut self, node: usize) {
        let (from, to) = self.options.sync_ms;
        let ms = if self.calm { 1 } else { self.draw.between(from, to) };
        let boot = self.nodes[node].boot;
        self.schedule(self.now + ms, Event::Synced { node, boot });
    }

    /// The oldest batch is durable, or the disk failed and the process stops itself.
    pub(crate) fn synced(&mut self, node: usize, boot: u64) {
        if self.nodes[node].boot != boot || self.nodes[node].process.is_none() {
            return;
        }
        if self.now < self.nodes[node].disk.failing_until {
            self.crash_node(node);
            let again = self.now + self.draw.between(50, 3_000);
            return self.schedule(again, Event::Start(Site::Node(node)));
        }
        let local = self.key(node);
        let Some(process) = self.process(node) else { return };
        let Some(batch) = process.writing.pop_front() else { return };
        self.commit(node, local, &batch.changes);
        let Some(process) = self.process(node) else { return };
        process.funder.handle_durable(batch.number);
        let more = !process.writing.is_empty();
        for effect in batch.effects {
            self.perform(node, effect);
        }
        if more {
            self.begin_sync(node);
        }
        self.flush(node);
    }

    fn set_node_timer(&mut self, node: usize) {
        let offset = self.nodes[node].clock_offset;
        let boot = self.nodes[node].boot;
        let now = self.now;
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        // While enough is under way the end of a sync leads here again.
        let may_flush = process.writing.len() < BATCHES_UNDER_WAY;
        let funder = process.funder.next_timeout().filter(|_| may_flush);
        let next = [funder, process.reporter.next_timeout()];
        let Some(at) = next.into_iter().flatten().min() else { return };
        // Never in the same moment again without an end.
        let at = at.0.saturating_add_signed(-offset).max(now + 1);
        if process.timer.is_none_or(|timer| at < timer) {
            process.timer = Some(at);
            self.schedule(at, Event::NodeTimer { node, boot });
        }
    }

    pub(crate) fn node_timer(&mut self, node: usize, boot: u64) {
        let now = self.now;
        let Some(process) = self.process(node) else { return };
        // One that was overtaken by an earlier one is nothing.
        if process.timer.is_none_or(|at| now < at) || self.nodes[node].boot != boot {
            return;
        }
        if let Some(process) = self.process(node) {
            process.timer = None;
        }
        self.flush(node);
        self.report(node);
        self.set_node_timer(node);
    }

    fn perform(&mut self, node: usize, effect: Effect) {
        match effect {
            Effect::Send { friend, session, message } => {
                self.send_to_friend(node, friend, session, message);
            }
            Effect::Disconnect { friend, session } | Effect::Goodbye { friend, session } => {
                let standing = self.process(node).and_then(|process| process.sessions.get(&friend));
                if standing.is_some_and(|standing| standing.id == session) {
                    self.end_session(node, friend);
                }
            }
            Effect::FindRoutes { asker, query } => {
                self.ask_index(node, Query::Routes(asker), |request_id| {
                    ClientToIndex::RequestRoutes { request_id, query }
                });
            }
            Effect::FindCycles { payment_id, query } => {
                self.ask_index(node, Query::Cycles(payment_id), |request_id| {
                    ClientToIndex::RequestCycles { request_id, query }
                });
            }
            Effect::FindPast { friend, questions } => {
                let now = self.clock(node);
                let it = &mut self.nodes[node];
                let answers = it.disk.past(questions);
                if let Some(process) = it.process.as_mut() {
                    process.funder.handle_past_found(now, friend, answers);
                    self.flush(node);
                }
            }
            Effect::FindCollected { asker, sender, question } => {
                // Performed when its batch, and with it every earlier one, is durable.
                let now = self.clock(node);
                let it = &mut self.nodes[node];
                let (disk, friend) = (&it.disk, asker.friend());
                let keys = question
                    .request_ids
                    .iter()
                    .map(|id| (friend, question.currency.clone(), sender, *id));
                let found = keys.filter_map(|key| disk.collected.get(&key).cloned()).collect();
                if let Some(process) = it.process.as_mut() {
                    process.funder.handle_collected(now, asker, found);
                    self.flush(node);
                }
            }
            Effect::Reply { request_id, result, .. } => {
                if let Ok(AppReply::Payment(report)) = &result {
                    self.nodes[node].app.payment_reported(report);
                }
                self.nodes[node].app.replied(request_id, result);
            }
            Effect::Mutation(_) => {}
            Effect::Journal(JournalEvent { entry: JournalEntry::Payment(report), .. }) => {
                self.nodes[node].app.payment_reported(&report);
            }
            Effect::Journal(JournalEvent { entry: JournalEntry::Invoice(_), .. }) => {}
            Effect::IndexLine { friend, currency, line } => {
                let mutation = match line {
                    Some(line) => UpdateMutation::Set { friend, currency, line },
                    None => UpdateMutation::Remove { friend, currency },
                };
                if let Some(process) = self.process(node) {
                    process.reporter.handle_lines(vec![mutation]);
                }
                self.report(node);
            }
            Effect::Contact { friend, contact } => self.set_contact(node, friend, contact),
            Effect::Relays(relays) => {
                if let Some(process) = self.process(node) {
                    process.listen_at = relays;
                }
                self.listen(node);
            }
            Effect::IndexServers(servers) => {
                if let Some(process) = self.process(node) {
                    process.index_servers = servers.into_iter().map(|(_, server)| server).collect();
                }
            }
        }
    }

    fn ask_index(
        &mut self,
        node: usize,
        asker: Query,
        message: impl FnOnce(RouteRequestId) -> ClientToIndex,
    ) {
        let asked = self.now;
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let Some((_, wire)) = process.index else {
            return self.no_answer(node, asker, RoutesError::NotConnected);
        };
        let request_id = RouteRequestId(process.next_query);
        process.next_query += 1;
        process.queries.insert(request_id, (asked, asker));
        self.transmit(Site::Node(node), wire, Packet::ToIndex(message(request_id)));
    }

    /// Questions that no server answers in time are answered here.
    pub(crate) fn give_up_queries(&mut self, node: usize) {
        let now = self.now;
        let Some(process) = self.process(node) else { return };
        let late = |(asked, _): &(u64, Query)| asked + ANSWER_MS < now;
        let late: Vec<_> =
            process.queries.iter().filter(|(_, row)| late(row)).map(|(id, _)| *id).collect();
        for id in late {
            let asker = self.process(node).and_then(|process| process.queries.remove(&id));
            if let Some((_, asker)) = asker {
                self.no_answer(node, asker, RoutesError::NoAnswer);
            }
        }
    }

    fn no_answer(&mut self, node: usize, asker: Query, why: RoutesError) {
        self.answered(node, |funder, now, rng| match asker {
            Query::Routes(asker) => funder.handle_routes(now, rng, asker, Err(why)),
            Query::Cycles(id) => funder.handle_cycles(now, rng, id, Err(why)),
        });
    }

    /// An answer of an index server is for the funder.
    fn answered(&mut self, node: usize, handle: impl FnOnce(&mut Funder, Timestamp, &mut dyn Rng)) {
        let now = self.clock(node);
        if let Some(process) = self.nodes[node].process.as_mut() {
            handle(&mut process.funder, now, &mut self.draw.0);
            let boot = self.nodes[node].boot;
            // Handled with what else is there, not inside of what asked.
            self.schedule(self.now, Event::Flush { node, boot });
        }
    }

    /// Connects to the first index server that is there.
    pub(crate) fn reach_index(&mut self, node: usize) {
        let now = self.clock(node);
        let Some(process) = self.process(node) else { return };
        if process.index.is_some() {
            return;
        }
        for server in process.index_servers.clone() {
            let found =
                self.indexes.iter().position(|i| i.identity.public_key() == server.public_key);
            let Some(index) = found else { continue };
            if let Some(wire) = self.connect(Site::Node(node), Site::Index(index)) {
                if let Some(process) = self.process(node) {
                    process.index = Some((index, wire));
                    process.reporter.handle_connected(now, server.public_key);
                }
                self.report(node);
                return;
            }
        }
    }

    /// Sends the updates that are due.
    fn report(&mut self, node: usize) {
        let now = self.clock(node);
        let identity = Arc::clone(&self.nodes[node].identity);
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let Some((_, wire)) = process.index else { return };
        let key = identity.public_key();
        for body in process.reporter.take_updates(now) {
            self.remember_said(key, &body.kind);
            let message = ClientToIndex::Update(Box::new(body.sign(&identity)));
            self.transmit(Site::Node(node), wire, Packet::ToIndex(message));
        }
        self.set_node_timer(node);
    }

    pub(crate) fn node_index_message(&mut self, node: usize, wire: WireId, message: IndexToClient) {
        let now = self.clock(node);
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        if process.index.is_none_or(|(_, current)| current != wire) {
            return;
        }
        match message {
            IndexToClient::Behind { epoch, counter } => {
                // Too far ahead: this server is of no use to us, until its clock is right.
                let _ = process.reporter.handle_behind(now, epoch, counter);
            }
            IndexToClient::SnapshotWanted => process.reporter.handle_snapshot_wanted(),
            IndexToClient::Routes { request_id, multi_routes, .. } => {
                if let Some((_, Query::Routes(asker))) = process.queries.remove(&request_id) {
                    self.answered(node, |funder, now, rng| {
                        funder.handle_routes(now, rng, asker, Ok(multi_routes));
                    });
                }
            }
            IndexToClient::Cycles { request_id, cycles, .. } => {
                if let Some((_, Query::Cycles(id))) = process.queries.remove(&request_id) {
                    self.answered(node, |funder, now, rng| {
                        funder.handle_cycles(now, rng, id, Ok(cycles));
                    });
                }
            }
            IndexToClient::Refused { request_id, .. } => {
                if let Some((_, asker)) = process.queries.remove(&request_id) {
                    self.no_answer(node, asker, RoutesError::NoAnswer);
                }
            }
        }
        self.report(node);
    }

    /// A connection of a node is gone.
    pub(crate) fn node_lost(&mut self, node: usize, wire: WireId) {
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        if process.index.is_some_and(|(_, current)| current == wire) {
            process.index = None;
            process.reporter.handle_disconnected();
            for (_, (_, asker)) in std::mem::take(&mut process.queries) {
                self.no_answer(node, asker, RoutesError::NoAnswer);
            }
            return;
        }
        self.relay_link_lost(node, wire);
    }
}

/// How long a node waits for an answer of an index server, as in the index client.
const ANSWER_MS: u64 = 2_000;
/// As many as the node's shell lets wait.
const BATCHES_UNDER_WAY: usize = 3;
