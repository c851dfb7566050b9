//! What the pure core costs: payments over a chain of three funders, without network and disk.
//!
//! `cargo bench -p offset-funder --bench payments`
//!
//! Prints the time a payment takes of one core beside what its signatures alone take, measured in
//! the same run.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking")]

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use offset_crypto::{Identity, PaymentId, PublicKey, SeededRng};
use offset_funder::{
    Change, Config, Funder,
    api::{AppId, Command, Effect, Liveness, SessionId},
    state::State,
};
use offset_proto::{
    Balance, Credits, Name, Timestamp,
    app::{AppReply, AppRequestId, ConfigRequest, PayRequest, PaymentStatus, PaymentTarget},
    friend::FriendMessage,
    index::{MultiRoute, Route},
};

const PAYMENTS: usize = 20_000;
const NOW: Timestamp = Timestamp(1_700_000_000_000);

struct Chain {
    funders: Vec<Funder>,
    keys: Vec<PublicKey>,
    rng: SeededRng,
    mail: VecDeque<(usize, usize, FriendMessage)>,
    tokens: usize,
    succeeded: usize,
    changes: usize,
    rows: BTreeMap<&'static str, usize>,
}

/// What a row is for: what moves payments, and what is kept of them beside.
const fn purpose(change: &Change) -> &'static str {
    match change {
        Change::Entry(_) => "books",
        Change::Collected(_) => "kept locks",
        Change::Journal(..) | Change::ForgetJournal(_) => "journal",
        Change::Received(..) | Change::BeforeSent(..) => "for state proofs",
        Change::Pending(..) | Change::Queued(..) => "requests",
        Change::Channel(..) | Change::Line(..) => "channels and lines",
        Change::Payment(..) | Change::Invoice(..) | Change::Set(..) | Change::Settled(_) => {
            "payments and sets"
        }
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

fn main() {
    let signature = signature_time();
    for in_flight in [1, 16, 128, 512] {
        let mut chain = Chain::new();
        let began = Instant::now();
        let mut ordered = 0;
        while chain.succeeded < PAYMENTS {
            while ordered < PAYMENTS && ordered - chain.succeeded < in_flight {
                chain.pay();
                ordered += 1;
            }
            chain.round();
        }
        let each = began.elapsed() / u32::try_from(PAYMENTS).unwrap();
        let kinds = chain.rows.iter();
        let kinds: Vec<_> =
            kinds.map(|(what, rows)| format!("{what} {}", rows * 100 / PAYMENTS)).collect();
        let per = |count: usize| count * 100 / PAYMENTS;
        println!(
            "{in_flight:>4} in flight: {each:>9.1?} a payment, {:.1} times its signatures; \
             tokens {}/100 payments, row changes {}/100 payments",
            each.as_secs_f64() / signature.as_secs_f64(),
            per(chain.tokens),
            per(chain.changes),
        );
        println!("               rows/100 payments at all three nodes: {}", kinds.join(", "));
    }
}

/// A payment without any batching signs one response and checks it twice.
fn signature_time() -> Duration {
    let identity = Identity::random(&mut SeededRng::new(9));
    let message = [7; 200];
    let began = Instant::now();
    for _ in 0..2_000 {
        let signature = identity.sign(&message);
        for _ in 0..2 {
            assert!(identity.public_key().verify(&message, &signature));
        }
    }
    let each = began.elapsed() / 2_000;
    println!("one signature and two verifications: {each:.1?}");
    each
}

impl Chain {
    fn new() -> Self {
        let identities: Vec<_> =
            (1..4).map(|seed| Arc::new(Identity::random(&mut SeededRng::new(seed)))).collect();
        let keys = identities.iter().map(|identity| identity.public_key()).collect();
        let config = Config { check_every: u64::MAX, ..Config::default() };
        let funder = |identity: &Arc<Identity>| {
            Funder::new(identity.clone(), State::default(), config.clone(), NOW).unwrap()
        };
        let mut chain = Self {
            funders: identities.iter().map(funder).collect(),
            keys,
            rng: SeededRng::new(4),
            mail: VecDeque::new(),
            tokens: 0,
            succeeded: 0,
            changes: 0,
            rows: BTreeMap::new(),
        };
        for (a, b) in [(0, 1), (1, 0), (1, 2), (2, 1)] {
            chain.befriend(a, b);
        }
        for _ in 0..20 {
            chain.round();
        }
        chain.rows.clear();
        chain
    }

    fn befriend(&mut self, a: usize, b: usize) {
        let friend: Name = format!("n{b}").parse().unwrap();
        let (name, public_key, max_debt) = (friend.clone(), self.keys[b], Credits(1 << 60));
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
            ConfigRequest::SetRequestsOpen { friend, currency: None, open: true },
        ];
        for request in requests {
            self.command(a, Command::Config(request));
        }
        let session = SessionId(u64::try_from(a.min(b)).unwrap());
        let liveness = Liveness::Connected(session);
        self.funders[a].handle_liveness(NOW, self.keys[b], liveness);
    }

    fn command(&mut self, node: usize, command: Command) {
        let (app, id) = (AppId(0), AppRequestId(0));
        self.funders[node].handle_command(NOW, &mut self.rng, app, id, command);
    }

    fn pay(&mut self) {
        let request = PayRequest {
            payment_id: PaymentId::random(&mut self.rng),
            target: PaymentTarget::Spontaneous {
                destination: self.keys[2],
                amount: Credits(1),
                currency: None,
            },
            max_fee: None,
            deadline_ms: None,
            note: "".parse().unwrap(),
            max_parts: None,
        };
        self.command(0, Command::Pay { request: Box::new(request), ended: None, payer: None });
    }

    /// Every node takes a batch; then everything sent is delivered.
    fn round(&mut self) {
        for node in 0..3 {
            let batch = self.funders[node].take_batch(NOW, &mut self.rng);
            self.changes += batch.changes.len();
            for change in &batch.changes {
                *self.rows.entry(purpose(change)).or_default() += 1;
            }
            self.funders[node].handle_durable(batch.number);
            for effect in batch.effects {
                self.perform(node, effect);
            }
        }
        for (from, to, message) in std::mem::take(&mut self.mail) {
            let session = SessionId(u64::try_from(from.min(to)).unwrap());
            let (friend, rng) = (self.keys[from], &mut self.rng);
            self.funders[to].handle_message(NOW, rng, friend, session, message);
        }
    }

    fn perform(&mut self, node: usize, effect: Effect) {
        if let Effect::Send { friend, message, .. } = effect {
            let to = self.keys.iter().position(|key| *key == friend).unwrap();
            self.tokens += usize::from(matches!(message, FriendMessage::MoveToken(_)));
            self.mail.push_back((node, to, message));
        } else if let Effect::FindRoutes { asker, query } = effect {
            let route = Route { keys: self.keys.clone(), amount: query.amount, fee: Credits::ZERO };
            let routes =
                vec![MultiRoute { routes: vec![route], total_fee: Credits::ZERO, age_ms: 0 }];
            self.funders[node].handle_routes(NOW, &mut self.rng, asker, Ok(routes));
        } else if let Effect::Reply { result: Ok(AppReply::Payment(report)), .. } = effect {
            assert!(matches!(report.status, PaymentStatus::Succeeded { .. }), "{report:?}");
            self.succeeded += 1;
        }
    }
}
