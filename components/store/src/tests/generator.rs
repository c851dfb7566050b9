//! Random changes that fit a state, with every kind of row, value and ending.

use std::collections::{BTreeMap, BTreeSet};

use offset_crypto::{
    HashResult, HashedLock, InvoiceId, Nonce, PaymentId, PlainLock, PublicKey, RequestId, Rng as _,
    SeededRng, Signature,
};
use offset_funder::{
    Change, Side,
    credit::Numbers,
    state::{
        Agreement, AloneKey, ArchivedFriend, Attempt, BeforeSent, Channel, Decision, FriendInfo,
        FriendRecovery, Inconsistent, IndexServer, InvoicePhase, InvoiceRow, JournalRow,
        KeptCollect, LineRow, Link, Part, PartState, PaymentRow, Pending, Phase, QueuedOp,
        Recovery, SetKey, SetRow, Settings, SpentKey, Stage, State,
    },
};
use offset_proto::{
    Balance, Credits, Currency, Name, Rate, ServerAddress, Text, Timestamp,
    app::PaymentFailure,
    friend::{
        Cancel, CancelReason, Collect, Commit, CurrencyOps, CurrencyTerms, FriendOp, MoveToken,
        MoveTokenBody, Proposal, Release, Request, Response,
    },
    history::{Adjustment, HistoryEntry, HistoryEvent},
    index::Edge,
    payment::{Invoice, Receipt},
    proof::{ActiveState, BegunEpoch, CurrencyState, LineState, PendingState, Signed, StateProof},
    reset::{AcceptReset, Collected, ResetBalance, ResetTerms, ResetTermsBody},
};

use super::{key, node};

fn last_event(state: &State) -> u64 {
    state.journal.keys().next_back().copied().unwrap_or(0)
}

pub(super) struct Generator(pub(super) SeededRng);

impl Generator {
    /// A batch of changes that fits the state: what belongs together comes together.
    pub(super) fn batch(&mut self, state: &State) -> Vec<Change> {
        let friends: Vec<_> = state.friends.keys().copied().collect();
        let mut changes = Vec::new();
        match self.below(20) {
            0 => changes.push(self.settings()),
            1 => {
                let relay = self.maybe(Self::server);
                changes.push(Change::Relay(self.name(), relay));
            }
            2 => changes.push(self.index_server(state)),
            3 => {
                let key = key(1 + u8::try_from(self.below(4)).unwrap());
                let (info, channel) = (self.info(&key), self.channel());
                changes.push(Change::NewFriend(key, info, channel));
            }
            4 => changes.push(Change::Invoice(InvoiceId::from_bytes([0; 32]), self.invoice())),
            5 => {
                let set = self.maybe(Self::set);
                changes.push(Change::Set(self.set_key(), set));
            }
            6 => {
                let id = PaymentId::from_bytes([self.byte(4); 16]);
                changes.push(Change::Payment(id, self.payment()));
            }
            7 if self.coin() => changes.push(match self.below(4) {
                0 => Change::ForgetJournal(self.below(1 + last_event(state))),
                1 => Change::Journal(
                    1 + last_event(state),
                    JournalRow::Payment(PaymentId::from_bytes([self.byte(9); 16])),
                ),
                _ => {
                    Change::Journal(1 + last_event(state), JournalRow::Invoice(self.fixed().into()))
                }
            }),
            7 if self.coin() => {
                let hour = self.below(4);
                let key = SpentKey { app: key(self.byte(3)), currency: self.currency(), hour };
                let amount = self.maybe(Self::credits);
                changes.push(Change::Spent(key, amount));
            }
            7 => changes.push(Change::Settled(HashResult::from_bytes([self.byte(9); 32]))),
            16 => {
                let recovery =
                    self.maybe(|some| Recovery { since: some.time(), at_once: some.coin() });
                changes.push(Change::Recovery(recovery));
            }
            17 if self.coin() => {
                let row = self.kept(None);
                changes.push(Change::Collected(Box::new(row)));
            }
            18 if self.coin() => {
                let key = (key(self.byte(4)), self.currency(), self.id());
                let row = self.maybe(|some| Box::new(some.kept(Some(key.clone()))));
                changes.push(Change::Alone(key, row));
            }
            _ if friends.is_empty() => {}
            kind => {
                let friend = self.pick(&friends);
                self.of_friend(kind, state, friend, &mut changes);
            }
        }
        for change in &mut changes {
            if let Change::Invoice(id, row) = change {
                *id = row.invoice.id();
            }
        }
        self.book(state, &mut changes);
        changes
    }

    /// An entry for every balance that the changes change, as the funder makes them.
    fn book(&mut self, state: &State, changes: &mut Vec<Change>) {
        let balances = |state: &State| {
            let mut balances = BTreeMap::new();
            for (key, friend) in &state.friends {
                for (currency, line) in &friend.lines {
                    if let Some(credit) = &line.credit {
                        balances.insert((*key, currency.clone()), credit.numbers().balance);
                    }
                }
            }
            balances
        };
        let before = balances(state);
        let mut changed = state.clone();
        changes.iter().for_each(|change| changed.apply(node(), change).unwrap());
        let after = balances(&changed);
        let mut sequence = state.last_entry;
        for line in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
            let (mut was, is) = (before.get(line).copied(), after.get(line).copied());
            while was != is {
                let (from, to) = (was.unwrap_or_default(), is.unwrap_or_default());
                // From one end to the other in two steps.
                let delta = to.checked_add_balance(from.mirrored()).unwrap_or(from.mirrored());
                let balance = from.checked_add_balance(delta).unwrap();
                sequence += 1;
                changes.push(Change::Entry(Box::new(HistoryEntry {
                    sequence,
                    time: self.time(),
                    friend: line.0,
                    friend_name: self.name(),
                    currency: line.1.clone(),
                    delta,
                    balance,
                    event: self.event(),
                })));
                was = if balance == to { is } else { Some(balance) };
            }
        }
    }

    fn event(&mut self) -> HistoryEvent {
        let (payment_id, other) = (PaymentId::from_bytes([self.byte(9); 16]), key(self.byte(9)));
        let (invoice_id, forward_id) = (self.fixed().into(), self.id());
        let (amount, fee) = (self.credits(), self.credits());
        let words = self.pick(&[Text::cut(""), Text::cut("=1+1; \"soup\"")]);
        let events = [
            HistoryEvent::Opened,
            HistoryEvent::Paid {
                payment_id,
                invoice_id,
                destination: other,
                amount,
                fee,
                note: words.clone(),
            },
            HistoryEvent::Received { invoice_id, description: words },
            HistoryEvent::ForwardedOut { from: self.maybe(|_| other), forward_id },
            HistoryEvent::ForwardedIn { to: self.maybe(|_| other), forward_id, fee },
            HistoryEvent::Cleared { payment_id, fee },
            HistoryEvent::Adjusted(Adjustment::WrittenOff),
            HistoryEvent::Adjusted(Adjustment::Reset),
            HistoryEvent::Adjusted(Adjustment::Recovered),
            HistoryEvent::Closed,
        ];
        self.pick(&events)
    }

    fn of_friend(&mut self, kind: u64, state: &State, key: PublicKey, changes: &mut Vec<Change>) {
        match kind {
            8 => changes.push(match self.below(3) {
                0 => Change::RemovedFriend(key),
                1 => {
                    let row = self.maybe(Self::archived);
                    Change::Archived(key, row.map(Box::new))
                }
                _ => Change::Friend(key, self.info(&key)),
            }),
            9 => changes.push(Change::Channel(key, self.channel())),
            10 => {
                let op = self.maybe(|some| QueuedOp {
                    currency: some.currency(),
                    op: some.op(),
                    link: some.link(),
                    since: some.time(),
                });
                changes.push(Change::Queued(key, self.below(5), op));
            }
            11 => {
                let row = self.maybe(|some| some.line(None));
                changes.push(Change::Line(key, self.currency(), row));
            }
            17 => {
                let token = self.maybe(|some| some.token().into());
                changes.push(Change::Received(key, token));
            }
            18 => changes.push(Change::BeforeSent(key, self.before_sent())),
            19 => {
                let row = self.maybe(Self::friend_recovery);
                changes.push(Change::FriendRecovery(key, row));
            }
            _ => {
                let currency = self.currency();
                let line = state.friends[&key].lines.get(&currency);
                let Some(credit) = line.and_then(|line| line.credit.as_ref()) else {
                    let row = self.line(Some(Numbers::default()));
                    changes.push(Change::Line(key, currency, Some(row)));
                    return;
                };
                self.pending_change(key, &currency, credit, changes);
            }
        }
    }

    /// A pending row that comes, changes or goes, and the line with its new sum.
    fn pending_change(
        &mut self,
        key: PublicKey,
        currency: &Currency,
        credit: &offset_funder::credit::MutualCredit,
        changes: &mut Vec<Change>,
    ) {
        let sender = self.pick(&Side::BOTH);
        let id = RequestId::from_bytes([self.byte(4); 16]);
        let mut numbers = *credit.numbers();
        let debt = &mut numbers.pending_debt[sender];
        if let Some(row) = credit.pending(sender).get(&id) {
            *debt = debt.checked_sub(row.request.frozen().unwrap()).unwrap();
        }
        let row = self.maybe(|some| some.pending(id));
        if let Some(row) = &row {
            let debt = &mut numbers.pending_debt[sender];
            *debt = debt.checked_add(row.request.frozen().unwrap()).unwrap();
        }
        numbers.balance = self.balance();
        let line = self.line(Some(numbers));
        changes.push(Change::Pending(key, currency.clone(), sender, id, row));
        changes.push(Change::Line(key, currency.clone(), Some(line)));
    }

    fn before_sent(&mut self) -> BeforeSent {
        let (terms, ended) = (self.below(3), self.below(3));
        let numbers = Numbers { balance: self.balance(), ..Numbers::default() };
        let id = RequestId::from_bytes([self.byte(4); 16]);
        BeforeSent {
            terms: (0..terms)
                .map(|_| (self.currency(), self.maybe(|some| some.line(Some(numbers)))))
                .collect(),
            ended: (0..ended).map(|_| (self.currency(), self.pending(id))).collect(),
        }
    }

    fn friend_recovery(&mut self) -> FriendRecovery {
        if self.coin() {
            return FriendRecovery::Waiting;
        }
        let id = RequestId::from_bytes([self.byte(4); 16]);
        let line = LineState::Active(ActiveState {
            balance: self.balance(),
            max_debt: [Credits(5), Credits::LIMIT],
            requests_open: [self.coin(), self.coin()],
            pending: vec![PendingState {
                sent_by_high: self.coin(),
                request: self.request(id),
                released: self.coin(),
                response: None,
                src_plain_lock: None,
            }],
        });
        let state = vec![CurrencyState { currency: self.currency(), line }];
        let my_token = self.maybe(Self::token);
        let signed = if self.coin() {
            Signed::Token { token: self.token().into(), state }
        } else {
            Signed::Reset(Box::new(BegunEpoch {
                by_asker: self.coin(),
                terms: self.terms(),
                acceptance: self.acceptance(),
            }))
        };
        let proof = StateProof { signed, my_token };
        FriendRecovery::Quarantined(proof.into())
    }

    /// A request that was collected, of ours under this key or any.
    pub(super) fn kept(&mut self, alone: Option<AloneKey>) -> KeptCollect {
        let sender = if alone.is_some() || self.coin() { Side::Local } else { Side::Remote };
        let any = (key(self.byte(4)), self.currency(), self.id());
        let (friend, currency, request_id) = alone.unwrap_or(any);
        let response = Response { request_id, ..self.response() };
        let (src_plain_lock, dest_plain_lock) = (self.fixed().into(), self.fixed().into());
        let collect = Collect { request_id, src_plain_lock, dest_plain_lock };
        let collected = Collected::of(currency, &response, &collect);
        KeptCollect { friend, sender, at: self.time(), amount: self.credits(), collected }
    }

    fn settings(&mut self) -> Change {
        Change::Settings(Settings {
            default_currency: self.currency(),
            accepts_spontaneous: self.coin(),
            retention_days: self.maybe(|some| some.pick(&[1, u32::MAX])),
            decimals: self.list(|some| (some.currency(), 1 + some.byte(18))).into_iter().collect(),
        })
    }

    fn index_server(&mut self, state: &State) -> Change {
        let name = self.name();
        let position = state.index_servers.get(&name).map_or_else(
            || 1 + state.index_servers.values().map(|row| row.position).max().unwrap_or(0),
            |row| row.position,
        );
        let row = self.maybe(|some| IndexServer { server: some.server(), position });
        Change::IndexServer(name, row)
    }

    fn info(&mut self, key: &PublicKey) -> FriendInfo {
        FriendInfo {
            name: format!("friend ünd {key}").parse().unwrap(),
            enabled: self.coin(),
            removing: self.coin(),
            relays: self.list(Self::server),
            previous_relays: self.list(Self::server),
        }
    }

    fn archived(&mut self) -> ArchivedFriend {
        ArchivedFriend {
            name: self.name(),
            removed_at: self.time(),
            balances: self
                .list(|some| ResetBalance { currency: some.currency(), balance: some.balance() }),
            channel: self.channel(),
        }
    }

    fn channel(&mut self) -> Channel {
        Channel {
            inconsistent: self.maybe(|some| {
                Box::new(Inconsistent {
                    reason: Text::cut("it \"cannot\" be explained"),
                    local: some.terms(),
                    remote: some.maybe(Self::terms),
                    accepted: some.maybe(Self::acceptance),
                })
            }),
            highest_epoch: self.number(),
            offered_epoch: self.number(),
            removed_by_friend: self.coin(),
            reset: self.maybe(|some| {
                Box::new(Agreement {
                    proposer: some.pick(&Side::BOTH),
                    terms: some.terms(),
                    acceptance: some.acceptance(),
                })
            }),
            epoch: self.below(3),
            counter: self.number(),
            token_id: self.fixed().into(),
            own_tokens: [
                self.maybe(|some| some.fixed().into()),
                self.maybe(|some| some.fixed().into()),
            ],
            last_sent: self.maybe(|some| some.token().into()),
            relays_sent: self.maybe(|some| some.list(Self::server)),
            relays_confirmed: self.maybe(|some| some.list(Self::server)),
        }
    }

    fn terms(&mut self) -> ResetTerms {
        let body = ResetTermsBody {
            epoch: self.number(),
            balances: self
                .by_currency(|some, currency| ResetBalance { currency, balance: some.balance() }),
            pending: self.coin(),
            last: self.maybe(|some| some.fixed().into()),
            previous: self.maybe(|some| some.fixed().into()),
        };
        ResetTerms { body, signature: self.signature() }
    }

    fn acceptance(&mut self) -> AcceptReset {
        AcceptReset { reset_token: self.fixed().into(), signature: self.signature() }
    }

    fn token(&mut self) -> MoveToken {
        let body = MoveTokenBody {
            epoch: self.below(3),
            counter: self.number(),
            prev_token: self.fixed().into(),
            currency_terms: self.by_currency(|some, currency| CurrencyTerms {
                currency,
                enabled: some.coin(),
                proposal: some.proposal(),
            }),
            currency_ops: self.by_currency(|some, currency| {
                let ops = (0..=some.below(3)).map(|_| some.op()).collect();
                CurrencyOps { currency, ops }
            }),
            relays: self.maybe(|some| some.list(Self::server)),
            state_hash: self.fixed().into(),
        };
        MoveToken { body, signature: self.signature() }
    }

    /// Sorted, each currency at most once, as tokens have to be.
    fn by_currency<T>(&mut self, item: impl Fn(&mut Self, Currency) -> T) -> Vec<T> {
        let currencies = ["EUR", "FST1"].into_iter().filter(|_| self.coin()).collect::<Vec<_>>();
        currencies.into_iter().map(|name| item(self, name.parse().unwrap())).collect()
    }

    fn line(&mut self, numbers: Option<Numbers>) -> LineRow {
        LineRow {
            wanted: self.maybe(Self::proposal),
            rate: Rate { ppm: u32::MAX - u32::from(self.byte(9)), add: self.number() },
            local_proposal: self.maybe(Self::proposal),
            remote_proposal: self.maybe(Self::proposal),
            numbers: numbers.map(|mut numbers| {
                for side in Side::BOTH {
                    numbers.max_debt[side] = self.credits();
                    numbers.requests_open[side] = self.coin();
                }
                numbers
            }),
        }
    }

    fn proposal(&mut self) -> Proposal {
        Proposal {
            opening_balance: self.balance(),
            max_debt: self.pick(&[Credits::ZERO, Credits(1), Credits::LIMIT]),
            requests_open: self.coin(),
        }
    }

    fn pending(&mut self, id: RequestId) -> Pending {
        let lock = PlainLock::from_bytes(self.fixed());
        let request = Request { src_hashed_lock: lock.hashed(), ..self.request(id) };
        let stage = self.pick(&[Stage::Requested, Stage::Responded, Stage::Committed]);
        Pending {
            request: request.into(),
            stage,
            released: self.coin(),
            response: (stage != Stage::Requested).then(|| self.response().into()),
            src_plain_lock: (stage == Stage::Committed).then_some(lock),
            link: self.link(),
            closing: self.coin(),
            passed_on: self.maybe(Self::credits),
            since: self.time(),
        }
    }

    fn request(&mut self, request_id: RequestId) -> Request {
        Request {
            request_id,
            src_hashed_lock: self.fixed().into(),
            route: self.route(),
            dest_payment: Credits(u128::from(self.number()) << 60),
            total_dest_payment: self.credits(),
            invoice_id: self.fixed().into(),
            left_fees: Credits(u128::from(self.number())),
            spontaneous: self.coin(),
            hold_seconds: self.number(),
        }
    }

    /// No key comes twice.
    fn route(&mut self) -> Vec<PublicKey> {
        let first = self.byte(9);
        (first..first + self.byte(4)).map(key).collect()
    }

    fn response(&mut self) -> Response {
        Response {
            request_id: self.id(),
            dest_hashed_lock: self.fixed().into(),
            is_complete: self.coin(),
            response_hash: self.fixed().into(),
            signature: self.signature(),
        }
    }

    fn op(&mut self) -> FriendOp {
        let (request_id, src_plain_lock) = (self.id(), PlainLock::from_bytes(self.fixed()));
        match self.below(6) {
            0 => FriendOp::Request(self.request(request_id)),
            1 => FriendOp::Response(self.response()),
            2 => FriendOp::Commit(Commit { request_id, src_plain_lock }),
            3 => {
                let dest_plain_lock = self.fixed().into();
                FriendOp::Collect(Collect { request_id, src_plain_lock, dest_plain_lock })
            }
            4 => FriendOp::Cancel(Cancel {
                request_id,
                reason: self.reason(),
                reporter: self.maybe(|some| key(some.byte(9))),
            }),
            _ => FriendOp::Release(Release { request_id }),
        }
    }

    fn reason(&mut self) -> CancelReason {
        self.pick(&[
            CancelReason::NoRoute,
            CancelReason::NoRoom,
            CancelReason::FeeTooLow,
            CancelReason::Offline,
            CancelReason::UnknownInvoice,
            CancelReason::Expired,
            CancelReason::AlreadyPaid,
            CancelReason::Busy,
            CancelReason::Declined,
            CancelReason::Released,
        ])
    }

    fn link(&mut self) -> Link {
        let (friend, id) = (key(self.byte(9)), self.id());
        let payment = PaymentId::from_bytes([self.byte(9); 16]);
        self.pick(&[
            Link::None,
            Link::Downstream(friend, id),
            Link::Destination,
            Link::Upstream(friend, id),
            Link::Payment(payment),
        ])
    }

    /// One of a few, so that the same invoice comes in many states.
    fn invoice(&mut self) -> InvoiceRow {
        let number = self.byte(4);
        let invoice = Invoice {
            registered: true,
            currency: Currency::fallback(),
            dest_public_key: key(0),
            dest_payment: Credits(u128::MAX - u128::from(number)),
            description: Text::cut("soup; 'quoted' \u{1F35C}"),
            created_at: Timestamp(1),
            expires_at: Timestamp(u64::MAX),
            hold_until: (number == 1).then_some(Timestamp(5)),
            nonce: Nonce::from_bytes([number; 16]),
        };
        let phase = self.pick(&[
            InvoicePhase::Open,
            InvoicePhase::Committed,
            InvoicePhase::Collected,
            InvoicePhase::Cancelled,
            InvoicePhase::Expired,
        ]);
        let accepted = self.maybe(|some| some.fixed().into());
        let clears = self.maybe(|some| PaymentId::from_bytes([some.byte(4); 16]));
        InvoiceRow { invoice, phase, accepted, clears }
    }

    fn set_key(&mut self) -> SetKey {
        SetKey {
            invoice_id: InvoiceId::from_bytes([self.byte(2); 32]),
            src_hashed_lock: HashedLock::from_bytes([self.byte(3); 32]),
        }
    }

    fn set(&mut self) -> SetRow {
        SetRow {
            currency: self.currency(),
            total: self.credits(),
            spontaneous: self.coin(),
            since: self.time(),
            parts: self.list(|some| (key(some.byte(9)), some.id())),
            src_plain_lock: self.maybe(|some| some.fixed().into()),
            accepted: self.coin(),
            held: self.coin(),
            rebuilt: self.coin(),
        }
    }

    fn payment(&mut self) -> PaymentRow {
        PaymentRow {
            app: self.maybe(|some| key(some.byte(9))),
            contents: self.fixed().into(),
            invoice_id: self.fixed().into(),
            clearing: self.coin(),
            spontaneous: self.coin(),
            destination: key(self.byte(9)),
            currency: self.currency(),
            amount: self.credits(),
            expires_at: self.maybe(Self::time),
            max_fee: self.maybe(Self::credits),
            created_at: self.time(),
            deadline: self.time(),
            note: Text::cut("a note"),
            max_parts: self.byte(9),
            hold_seconds: u64::from(self.byte(9)),
            by_commit: self.coin(),
            exclude: self.list(|some| Edge { from: key(some.byte(9)), to: key(some.byte(9)) }),
            searching_since: self.time(),
            attempts: self.list(|some| Attempt {
                src_plain_lock: some.fixed().into(),
                decision: some.pick(&[Decision::Open, Decision::Committed, Decision::Released]),
                parts: some.list(Self::part),
            }),
            last_failure: self.maybe(Self::failure),
            phase: self.phase(),
        }
    }

    fn part(&mut self) -> Part {
        Part {
            route: self.list(|some| key(some.byte(9))),
            request_id: self.id(),
            amount: self.credits(),
            fee: self.credits(),
            since: self.time(),
            response: self.maybe(|some| Box::new(some.response())),
            state: self.pick(&[
                PartState::Requested,
                PartState::Responded,
                PartState::Cancelled,
                PartState::Collected,
                PartState::Lost,
            ]),
        }
    }

    fn phase(&mut self) -> Phase {
        let receipt = Box::new(Receipt {
            response_hash: self.fixed().into(),
            invoice_id: self.fixed().into(),
            currency: self.currency(),
            src_plain_lock: self.fixed().into(),
            dest_plain_lock: self.fixed().into(),
            is_complete: self.coin(),
            dest_payment: self.credits(),
            total_dest_payment: self.credits(),
            signature: self.signature(),
        });
        let phases = [
            Phase::Routing,
            Phase::Requesting,
            Phase::Complete,
            Phase::Committed,
            Phase::Succeeded { receipt, fee: self.credits() },
            Phase::Failed(self.failure()),
            Phase::Cancelled,
            Phase::Unknown,
        ];
        self.pick(&phases)
    }

    fn failure(&mut self) -> PaymentFailure {
        let failures = [
            PaymentFailure::NoRoom { available: self.credits() },
            PaymentFailure::FriendsOffline,
            PaymentFailure::NoIndexServer,
            PaymentFailure::NoRoute,
            PaymentFailure::FeeTooHigh { fee: self.credits() },
            PaymentFailure::Refused {
                reason: self.reason(),
                reporter: self.maybe(|some| key(some.byte(9))),
            },
            PaymentFailure::Deadline,
            PaymentFailure::Expired,
            PaymentFailure::NoCapacity { available: self.credits() },
            PaymentFailure::TakenBack,
            PaymentFailure::NoAnswer { friend: key(self.byte(9)) },
        ];
        self.pick(&failures)
    }

    fn server(&mut self) -> ServerAddress {
        ServerAddress {
            public_key: key(self.byte(9)),
            address: format!("[::1]:{}", 1 + self.below(9)).parse().unwrap(),
        }
    }

    fn name(&mut self) -> Name {
        self.pick(&["a", "b 'quoted\"", "ç"]).parse().unwrap()
    }

    fn currency(&mut self) -> Currency {
        self.pick(&["EUR", "FST1"]).parse().unwrap()
    }

    fn balance(&mut self) -> Balance {
        let values = [0, -1, i128::MAX, -i128::MAX, 10_000_000_000_000_000_000_000];
        Balance::new(self.pick(&values)).unwrap()
    }

    fn credits(&mut self) -> Credits {
        Credits(self.pick(&[0, 1, u128::MAX, 18_446_744_073_709_551_616]))
    }

    fn time(&mut self) -> Timestamp {
        Timestamp(self.number())
    }

    fn number(&mut self) -> u64 {
        self.pick(&[0, 1, 1_800_000_000_000, 1 << 63, u64::MAX])
    }

    fn id(&mut self) -> RequestId {
        RequestId::random(&mut self.0)
    }

    fn signature(&mut self) -> Signature {
        let mut bytes = [0; 64];
        self.0.fill(&mut bytes);
        bytes.into()
    }

    fn fixed(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.0.fill(&mut bytes);
        bytes
    }

    fn list<T>(&mut self, item: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.below(3)).map(|_| item(self)).collect()
    }

    fn maybe<T>(&mut self, item: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.below(3) == 0 { None } else { Some(item(self)) }
    }

    fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[usize::try_from(self.below(items.len().try_into().unwrap())).unwrap()].clone()
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    fn byte(&mut self, bound: u64) -> u8 {
        u8::try_from(self.below(bound)).unwrap()
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }
}
