//! A ledger that predicts the balances of a network: written from the protocol's text, with nothing of
//! the funder's code. It reads the tokens that honest nodes send each other and keeps, for every line,
//! what they add up to; and it reads what applications were told. Then
//!
//! - the state of each side of a line, at any token, is what the ledger says of that token;
//! - an honest node asks its friends for no more than it may (M3);
//! - every credit that moved belongs to a payment of which its buyer's application was told that it
//!   is paid: with amount and fee out of its buyer, the amount into its seller, and never more out of
//!   a mediator than into it.

use std::collections::{BTreeMap, VecDeque};

use offset_crypto::{HashResult, HashedLock, Label, PublicKey, RequestId};
use offset_proto::{
    Currency,
    canonical::Writer,
    friend::{CurrencyTerms, FriendOp, MoveToken, Proposal},
    reset::{ResetBalance, ResetTermsBody},
};

/// What both sides of all lines must see.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pairs: BTreeMap<(PublicKey, PublicKey), Pair>,
    /// Credits that moved, by the lock of the attempt under which they were asked for.
    moves: BTreeMap<HashedLock, Vec<Move>>,
}

/// Credits that moved over a line.
#[derive(Debug, Clone)]
pub(crate) struct Move {
    pub(crate) currency: Currency,
    pub(crate) payer: PublicKey,
    pub(crate) payee: PublicKey,
    pub(crate) credits: u128,
}

/// Two friends. Of whatever there are two, the first is that of the lower key.
#[derive(Debug, Default)]
struct Pair {
    epoch: u64,
    counter: u64,
    lines: BTreeMap<Currency, Line>,
    /// Terms on which either would begin again.
    offers: Vec<(usize, u64, Vec<ResetBalance>)>,
    /// What each of the last tokens led to.
    after: VecDeque<(HashResult, Seen)>,
}

/// The active currencies of two friends: balance of the lower key, and what each has frozen.
pub(crate) type Seen = BTreeMap<Currency, (i128, [u128; 2])>;

#[derive(Debug, Clone, Default)]
struct Line {
    proposals: [Option<Proposal>; 2],
    account: Option<Account>,
}

#[derive(Debug, Clone, Default)]
struct Account {
    balance: i128,
    frozen: [u128; 2],
    may_owe: [u128; 2],
    /// Whether each lets the other ask.
    open: [bool; 2],
    asked: [BTreeMap<RequestId, (HashedLock, u128)>; 2],
}

impl Ledger {
    /// An honest node keeps this as the last token of another.
    pub(crate) fn kept(&mut self, from: PublicKey, to: PublicKey, token: &MoveToken) {
        let (keys, by) = ends(from, to);
        let pair = self.pairs.entry(keys.into()).or_default();
        if (pair.epoch, pair.counter) < (token.body.epoch, token.body.counter) {
            for (lock, moved) in pair.apply(keys, by, token) {
                let moves = self.moves.entry(lock).or_default();
                let same = moves.iter().all(|other| other.currency == moved.currency);
                assert!(same, "one attempt moves two currencies");
                moves.push(moved);
            }
        }
    }

    /// An honest node says on which terms it would begin again.
    pub(crate) fn offered(&mut self, from: PublicKey, to: PublicKey, terms: &ResetTermsBody) {
        let (keys, by) = ends(from, to);
        let pair = self.pairs.entry(keys.into()).or_default();
        let offer = (by, terms.epoch, terms.balances.clone());
        if !pair.offers.contains(&offer) {
            pair.offers.push(offer);
        }
    }

    /// What the lines of two friends come to at a token, if that is one of their last.
    pub(crate) fn at(&self, a: PublicKey, b: PublicKey, token: HashResult) -> Option<&Seen> {
        let pair = self.pairs.get(&(a.min(b), a.max(b)))?;
        pair.after.iter().find(|(of, _)| *of == token).map(|(_, seen)| seen)
    }

    /// All moves under one lock.
    pub(crate) fn moved(&self, lock: &HashedLock) -> &[Move] {
        self.moves.get(lock).map_or(&[], Vec::as_slice)
    }

    /// The locks under which anything moved.
    pub(crate) fn locks(&self) -> impl Iterator<Item = &HashedLock> {
        self.moves.keys()
    }

    /// What went out of a node under a lock, and what came in.
    pub(crate) fn out_and_in(&self, lock: &HashedLock, node: PublicKey) -> (u128, u128) {
        self.moved(lock).iter().fold((0, 0), |(out, into), moved| {
            let out = if moved.payer == node { out + moved.credits } else { out };
            (out, if moved.payee == node { into + moved.credits } else { into })
        })
    }
}

impl Pair {
    /// A new token: what it moved.
    fn apply(
        &mut self,
        keys: [PublicKey; 2],
        by: usize,
        token: &MoveToken,
    ) -> Vec<(HashedLock, Move)> {
        let body = &token.body;
        if self.epoch != body.epoch {
            assert_eq!(body.counter, 1, "an epoch begins with its first token");
            self.begin(keys, body.epoch, body.prev_token);
        }
        assert_eq!(body.counter, self.counter + 1, "no token is left out between {keys:?}");
        assert_eq!(by == 0, body.counter % 2 == 1, "the lower key signs the odd tokens");
        self.counter = body.counter;
        for terms in &body.currency_terms {
            self.lines.entry(terms.currency.clone()).or_default().declare(by, terms);
        }
        let mut moves = Vec::new();
        for ops in &body.currency_ops {
            let line = self.lines.get_mut(&ops.currency);
            let account = line.and_then(|line| line.account.as_mut());
            let account = account.expect("operations are of active currencies");
            for op in &ops.ops {
                if let Some((lock, payer, credits)) = account.apply(by, op) {
                    let currency = ops.currency.clone();
                    let (payer, payee) = (keys[payer], keys[1 - payer]);
                    moves.push((lock, Move { currency, payer, payee, credits }));
                }
            }
        }
        self.after.push_back((token.id(), self.seen()));
        if AFTER < self.after.len() {
            self.after.pop_front();
        }
        moves
    }

    fn seen(&self) -> Seen {
        let active = |(currency, line): (&Currency, &Line)| {
            let account = line.account.as_ref()?;
            Some((currency.clone(), (account.balance, account.frozen)))
        };
        self.lines.iter().filter_map(active).collect()
    }

    /// An epoch begins on the terms that its genesis names, which one of the two must have offered.
    fn begin(&mut self, keys: [PublicKey; 2], epoch: u64, genesis: HashResult) {
        let of_low = |(by, of, rows): &(usize, u64, Vec<ResetBalance>)| {
            let balance = |row: &ResetBalance| {
                let balance = row.balance.get();
                (row.currency.clone(), if *by == 0 { balance } else { -balance })
            };
            (*of == epoch).then(|| rows.iter().map(balance).collect::<Vec<_>>())
        };
        let offers = self.offers.iter().filter_map(of_low);
        let mut fits = offers.filter(|rows| genesis_id(keys, epoch, rows) == genesis);
        let rows = fits.next().expect("an epoch begins on terms that somebody offered");
        drop(fits);
        let account = |balance| Some(Account { balance, ..Account::default() });
        let line = |(currency, balance)| {
            (currency, Line { proposals: [None; 2], account: account(balance) })
        };
        self.lines = rows.into_iter().map(line).collect();
        (self.epoch, self.counter) = (epoch, 0);
    }
}

/// Both keys, the lower one first, and at which place the first of two stands.
fn ends(from: PublicKey, to: PublicKey) -> ([PublicKey; 2], usize) {
    if from < to { ([from, to], 0) } else { ([to, from], 1) }
}

/// `hash(GENESIS, lowKey, highKey, epoch, sorted (currency, low side's balance))`.
fn genesis_id(keys: [PublicKey; 2], epoch: u64, rows: &[(Currency, i128)]) -> HashResult {
    let mut out = Writer::default();
    out.fixed(&keys[0]).fixed(&keys[1]).u64(epoch).list(rows, |out, (currency, balance)| {
        out.text(currency.as_str()).i128(*balance);
    });
    Label::GENESIS.hash(&out.into_bytes())
}

impl Line {
    /// Section 5, *currency terms*.
    fn declare(&mut self, by: usize, terms: &CurrencyTerms) {
        match (&mut self.account, terms.enabled) {
            (Some(account), true) => {
                account.may_owe[1 - by] = terms.proposal.max_debt.0;
                account.open[by] = terms.proposal.requests_open;
            }
            (Some(account), false) => {
                let clear = account.balance == 0 && account.asked.iter().all(BTreeMap::is_empty);
                assert!(clear, "a currency is given up in which somebody owes");
                *self = Self::default();
            }
            (None, enabled) => {
                self.proposals[by] = enabled.then_some(terms.proposal);
                let [Some(low), Some(high)] = self.proposals else { return };
                if low.opening_balance.get() == -high.opening_balance.get() {
                    self.proposals = [None; 2];
                    self.account = Some(Account {
                        balance: low.opening_balance.get(),
                        may_owe: [high.max_debt.0, low.max_debt.0],
                        open: [low.requests_open, high.requests_open],
                        ..Account::default()
                    });
                }
            }
        }
    }
}

impl Account {
    /// Section 6: under which lock the sender of a request paid how much, if it did.
    fn apply(&mut self, by: usize, op: &FriendOp) -> Option<(HashedLock, usize, u128)> {
        match op {
            FriendOp::Request(request) => {
                let freezes = request.dest_payment.0 + request.left_fees.0;
                let balance = if by == 0 { self.balance } else { -self.balance };
                assert!(self.open[1 - by], "M3: a request where none is let through");
                // What it would owe if all that it asked for were collected.
                let owed = i128::try_from(self.frozen[by] + freezes).expect("at most 2^127");
                let least = balance.checked_sub(owed).expect("small enough");
                let most = i128::try_from(self.may_owe[by]).unwrap_or(i128::MAX);
                assert!(-most <= least, "M3: {least} is asked for where {most} may be owed");
                self.frozen[by] += freezes;
                let lock = (request.src_hashed_lock, freezes);
                let before = self.asked[by].insert(request.request_id, lock);
                assert!(before.is_none(), "one id for two requests");
                None
            }
            FriendOp::Collect(collect) => {
                let (lock, credits) = self.end(1 - by, collect.request_id);
                assert!(collect.src_plain_lock.opens(&lock), "collected with another lock");
                let moved = i128::try_from(credits).expect("at most 2^127");
                self.balance += if by == 0 { moved } else { -moved };
                Some((lock, 1 - by, credits))
            }
            FriendOp::Cancel(cancel) => {
                self.end(1 - by, cancel.request_id);
                None
            }
            FriendOp::Response(_) | FriendOp::Commit(_) | FriendOp::Release(_) => None,
        }
    }

    fn end(&mut self, sender: usize, id: RequestId) -> (HashedLock, u128) {
        let (lock, credits) = self.asked[sender].remove(&id).expect("M8: a request ends once");
        self.frozen[sender] -= credits;
        (lock, credits)
    }
}

/// Two sides are at most one token apart, and a crash takes one back.
const AFTER: usize = 4;

#[cfg(test)]
mod tests {
    use offset_crypto::{Identity, PlainLock, SeededRng, Signature};
    use offset_proto::{
        Balance, Credits,
        friend::{Collect, CurrencyOps, MoveTokenBody, Request},
    };

    use super::*;

    fn keys() -> [PublicKey; 2] {
        let mut keys = [1, 2].map(|n| Identity::random(&mut SeededRng::new(n)).public_key());
        keys.sort();
        keys
    }

    fn token(counter: u64, terms: Vec<CurrencyTerms>, ops: Vec<FriendOp>) -> MoveToken {
        let zero = HashResult::from_bytes([0; 32]);
        let ops = CurrencyOps { currency: Currency::fallback(), ops };
        let body = MoveTokenBody {
            epoch: 0,
            counter,
            prev_token: zero,
            currency_terms: terms,
            currency_ops: if ops.ops.is_empty() { vec![] } else { vec![ops] },
            relays: None,
            state_hash: zero,
        };
        let signature = Signature::from_bytes([0; 64]);
        MoveToken { body, signature }
    }

    fn terms(max_debt: u128) -> Vec<CurrencyTerms> {
        let proposal = Proposal {
            opening_balance: Balance::ZERO,
            max_debt: Credits(max_debt),
            requests_open: true,
        };
        vec![CurrencyTerms { currency: Currency::fallback(), enabled: true, proposal }]
    }

    fn request(lock: PlainLock, amount: u128, fees: u128) -> FriendOp {
        FriendOp::Request(Request {
            request_id: RequestId::from_bytes([7; 16]),
            src_hashed_lock: lock.hashed(),
            route: vec![],
            dest_payment: Credits(amount),
            total_dest_payment: Credits(amount),
            invoice_id: offset_crypto::InvoiceId::from_bytes([1; 32]),
            left_fees: Credits(fees),
            spontaneous: true,
            hold_seconds: 0,
        })
    }

    fn opened() -> ([PublicKey; 2], Ledger) {
        let ([low, high], mut ledger) = (keys(), Ledger::default());
        ledger.kept(low, high, &token(1, terms(50), vec![]));
        ledger.kept(high, low, &token(2, terms(100), vec![]));
        ([low, high], ledger)
    }

    #[test]
    fn what_is_collected_moves_with_its_fee() {
        let ([low, high], mut ledger) = opened();
        let lock = PlainLock::from_bytes([3; 32]);
        let asked = token(3, vec![], vec![request(lock, 90, 10)]);
        ledger.kept(low, high, &asked);
        ledger.kept(low, high, &asked);
        let frozen = ledger.at(low, high, asked.id()).expect("just sent");
        assert_eq!(frozen[&Currency::fallback()], (0, [100, 0]));
        let collect = FriendOp::Collect(Collect {
            request_id: RequestId::from_bytes([7; 16]),
            src_plain_lock: lock,
            dest_plain_lock: lock,
        });
        let collected = token(4, vec![], vec![collect]);
        ledger.kept(high, low, &collected);
        let after = ledger.at(high, low, collected.id()).expect("just sent");
        assert_eq!(after[&Currency::fallback()], (-100, [0, 0]));
        assert_eq!(ledger.out_and_in(&lock.hashed(), low), (100, 0));
        assert_eq!(ledger.out_and_in(&lock.hashed(), high), (0, 100));
    }

    #[test]
    #[should_panic(expected = "M3")]
    fn a_request_beyond_the_limit_is_seen() {
        let ([low, high], mut ledger) = opened();
        let lock = PlainLock::from_bytes([3; 32]);
        ledger.kept(low, high, &token(3, vec![], vec![request(lock, 90, 11)]));
    }

    #[test]
    #[should_panic(expected = "M8")]
    fn a_second_end_is_seen() {
        let ([low, high], mut ledger) = opened();
        let lock = PlainLock::from_bytes([3; 32]);
        ledger.kept(low, high, &token(3, vec![], vec![request(lock, 1, 0)]));
        let collect = FriendOp::Collect(Collect {
            request_id: RequestId::from_bytes([7; 16]),
            src_plain_lock: lock,
            dest_plain_lock: lock,
        });
        ledger.kept(high, low, &token(4, vec![], vec![collect.clone(), collect]));
    }

    #[test]
    #[should_panic(expected = "left out")]
    fn a_token_left_out_is_seen() {
        let ([low, high], mut ledger) = opened();
        ledger.kept(low, high, &token(5, vec![], vec![]));
    }
}
