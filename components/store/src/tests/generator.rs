//! Random changes that fit a state, with every kind of row, value and ending.

mod money;
mod rows;
mod values;

use offset_crypto::{HashResult, InvoiceId, PaymentId, PublicKey, RequestId, SeededRng};
use offset_funder::credit::Numbers;
use offset_funder::state::{
    BeforeSent, FriendRecovery, JournalRow, QueuedOp, Recovery, SpentKey, State,
};
use offset_funder::{Change, Side};
use offset_proto::history::{Adjustment, HistoryEntry, HistoryEvent};
use offset_proto::proof::{
    ActiveState, BegunEpoch, CurrencyState, LineState, PendingState, Signed, StateProof,
};
use offset_proto::{Credits, Currency, Text};
use std::collections::{BTreeMap, BTreeSet};

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
}
