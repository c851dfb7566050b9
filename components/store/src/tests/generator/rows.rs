//! Rows of friends, lines and requests.

use offset_crypto::{PaymentId, PlainLock, PublicKey, RequestId};
use offset_funder::credit::Numbers;
use offset_funder::state::{
    Agreement, AloneKey, ArchivedFriend, Channel, FriendInfo, Inconsistent, IndexServer,
    KeptCollect, LineRow, Link, Pending, Settings, Stage, State,
};
use offset_funder::{Change, Side};
use offset_proto::friend::{
    Cancel, CancelReason, Collect, Commit, CurrencyOps, CurrencyTerms, FriendOp, MoveToken,
    MoveTokenBody, Proposal, Release, Request, Response,
};
use offset_proto::reset::{AcceptReset, Collected, ResetBalance, ResetTerms, ResetTermsBody};
use offset_proto::{Credits, Currency, Rate, Text};

use super::Generator;
use crate::tests::key;

impl Generator {
    /// A request that was collected, of ours under this key or any.
    pub(in crate::tests) fn kept(&mut self, alone: Option<AloneKey>) -> KeptCollect {
        let sender = if alone.is_some() || self.coin() { Side::Local } else { Side::Remote };
        let any = (key(self.byte(4)), self.currency(), self.id());
        let (friend, currency, request_id) = alone.unwrap_or(any);
        let response = Response { request_id, ..self.response() };
        let (src_plain_lock, dest_plain_lock) = (self.fixed().into(), self.fixed().into());
        let collect = Collect { request_id, src_plain_lock, dest_plain_lock };
        let collected = Collected::of(currency, &response, &collect);
        KeptCollect { friend, sender, at: self.time(), amount: self.credits(), collected }
    }

    pub(super) fn settings(&mut self) -> Change {
        Change::Settings(Settings {
            default_currency: self.currency(),
            accepts_spontaneous: self.coin(),
            retention_days: self.maybe(|some| some.pick(&[1, u32::MAX])),
            decimals: self.list(|some| (some.currency(), 1 + some.byte(18))).into_iter().collect(),
        })
    }

    pub(super) fn index_server(&mut self, state: &State) -> Change {
        let name = self.name();
        let position = state.index_servers.get(&name).map_or_else(
            || 1 + state.index_servers.values().map(|row| row.position).max().unwrap_or(0),
            |row| row.position,
        );
        let row = self.maybe(|some| IndexServer { server: some.server(), position });
        Change::IndexServer(name, row)
    }

    pub(super) fn info(&mut self, key: &PublicKey) -> FriendInfo {
        FriendInfo {
            name: format!("friend ünd {key}").parse().unwrap(),
            enabled: self.coin(),
            removing: self.coin(),
            relays: self.list(Self::server),
            previous_relays: self.list(Self::server),
        }
    }

    pub(super) fn archived(&mut self) -> ArchivedFriend {
        ArchivedFriend {
            name: self.name(),
            removed_at: self.time(),
            balances: self
                .list(|some| ResetBalance { currency: some.currency(), balance: some.balance() }),
            channel: self.channel(),
        }
    }

    pub(super) fn channel(&mut self) -> Channel {
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

    pub(super) fn terms(&mut self) -> ResetTerms {
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

    pub(super) fn acceptance(&mut self) -> AcceptReset {
        AcceptReset { reset_token: self.fixed().into(), signature: self.signature() }
    }

    pub(super) fn token(&mut self) -> MoveToken {
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
    pub(super) fn by_currency<T>(&mut self, item: impl Fn(&mut Self, Currency) -> T) -> Vec<T> {
        let currencies = ["EUR", "FST1"].into_iter().filter(|_| self.coin()).collect::<Vec<_>>();
        currencies.into_iter().map(|name| item(self, name.parse().unwrap())).collect()
    }

    pub(super) fn line(&mut self, numbers: Option<Numbers>) -> LineRow {
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

    pub(super) fn proposal(&mut self) -> Proposal {
        Proposal {
            opening_balance: self.balance(),
            max_debt: self.pick(&[Credits::ZERO, Credits(1), Credits::LIMIT]),
            requests_open: self.coin(),
        }
    }

    pub(super) fn pending(&mut self, id: RequestId) -> Pending {
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

    pub(super) fn request(&mut self, request_id: RequestId) -> Request {
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
    pub(super) fn route(&mut self) -> Vec<PublicKey> {
        let first = self.byte(9);
        (first..first + self.byte(4)).map(key).collect()
    }

    pub(super) fn response(&mut self) -> Response {
        Response {
            request_id: self.id(),
            dest_hashed_lock: self.fixed().into(),
            is_complete: self.coin(),
            response_hash: self.fixed().into(),
            signature: self.signature(),
        }
    }

    pub(super) fn op(&mut self) -> FriendOp {
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

    pub(super) fn reason(&mut self) -> CancelReason {
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

    pub(super) fn link(&mut self) -> Link {
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
}
