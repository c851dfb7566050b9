//! Scripts that a network of nodes plays while one disk fails at some call. Every step is one that an
//! owner repeats until it is done, as often as processes end meanwhile; the same script can be played
//! again from the beginning over what an earlier run left on the disks.
#![allow(unreachable_pub, reason = "two test binaries share it")]

use offset_crypto::{Nonce, PaymentId, Signature};
use offset_funder::{
    Side,
    api::{Command, Payer},
    state::{InvoicePhase, Phase, State},
};
use offset_proto::{
    Balance, Credits, ServerAddress,
    app::{ConfigRequest, CreateInvoice, Hold, PayRequest, PaymentStatus, PaymentTarget},
    friend::FriendMessage,
    payment::Invoice,
};

use crate::support::{Net, credit, name};

/// What happens, in which network, and what must be so in the end.
pub struct Scenario {
    pub name: &'static str,
    /// Whose disk fails; `None`: each in turn, by one count.
    pub victim: Option<usize>,
    /// The network before anything fails, and the pairs of friends.
    pub set_up: fn() -> Stage,
    pub play: fn(&mut Script),
    /// With `true`: nothing failed, and all that was wanted must have come about.
    pub check: fn(&Net, bool),
}

/// A network at rest, with the pairs of nodes that are friends.
pub type Stage = (Net, Vec<(usize, usize)>);

/// The payments and invoices of all scripts.
pub const PAYMENTS: [PaymentId; 3] = [
    PaymentId::from_bytes([1; 16]),
    PaymentId::from_bytes([2; 16]),
    PaymentId::from_bytes([3; 16]),
];
pub const INVOICES: [Nonce; 1] = [Nonce::from_bytes([4; 16])];

const LIMIT: u128 = 1_000;
const AMOUNT: u128 = 100;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "opening a friendship",
        victim: None,
        set_up: || (Net::new(2, 1), vec![(0, 1)]),
        play: open_friendship,
        check: |net, _| moved(net, &[0, 0]),
    },
    Scenario {
        name: "direct payment",
        victim: None,
        set_up: || line(2),
        play: |script| script.pay_spontaneous(0, 1),
        check: |net, smooth| paid(net, smooth, 0, 1),
    },
    Scenario {
        name: "forwarded payment, buyer",
        victim: Some(0),
        set_up: || line(3),
        play: |script| script.pay_invoice(0, 2, Hold::None),
        check: |net, smooth| paid(net, smooth, 0, 2),
    },
    Scenario {
        name: "forwarded payment, mediator",
        victim: Some(1),
        set_up: || line(3),
        play: |script| script.pay_invoice(0, 2, Hold::None),
        check: |net, smooth| paid(net, smooth, 0, 2),
    },
    Scenario {
        name: "forwarded payment, seller",
        victim: Some(2),
        set_up: || line(3),
        play: |script| script.pay_invoice(0, 2, Hold::None),
        check: |net, smooth| paid(net, smooth, 0, 2),
    },
    Scenario {
        name: "multi-route",
        victim: None,
        set_up: square,
        play: |script| script.pay_invoice(0, 3, Hold::None),
        check: |net, smooth| paid(net, smooth, 0, 3),
    },
    Scenario {
        name: "hold",
        victim: None,
        set_up: || line(3),
        play: |script| script.hold(0, 2, false),
        check: |net, smooth| paid(net, smooth, 0, 2),
    },
    Scenario {
        name: "cancel",
        victim: None,
        set_up: || line(3),
        play: |script| script.hold(0, 2, true),
        check: |net, _| nothing_paid(net, 0),
    },
    Scenario {
        name: "release",
        victim: None,
        set_up: || line(3),
        play: release,
        check: |net, _| nothing_paid(net, 0),
    },
    Scenario { name: "reset", victim: None, set_up: || line(2), play: reset, check: |_, _| {} },
    Scenario {
        name: "recovery",
        victim: Some(0),
        set_up: older_copy,
        play: recover,
        check: |net, _| moved(net, &[-60, 60]),
    },
    Scenario {
        name: "relay change",
        victim: None,
        set_up: || line(2),
        play: change_relays,
        check: |net, _| moved(net, &[0, 0]),
    },
    Scenario {
        name: "clearing",
        victim: None,
        set_up: owing_ring,
        play: clear,
        check: |net, smooth| {
            moved(net, &[0, 0, 0]);
            assert!(!smooth || net.balance(0, 1) == 0, "cleared");
        },
    },
    Scenario {
        name: "removal",
        victim: None,
        set_up: || line(3),
        play: part,
        check: |net, _| assert!(net.nodes[1].disk.friends.len() == 1, "one friend is left"),
    },
];

fn line(count: usize) -> Stage {
    let mut net = Net::chain(count, LIMIT, 1);
    for mediator in 1..count - 1 {
        net.set_rate(mediator, mediator - 1, 0, 1);
    }
    net.settle();
    (net, (1..count).map(|node| (node - 1, node)).collect())
}

/// Two ways from 0 to 3.
fn square() -> Stage {
    let pairs = vec![(0, 1), (1, 3), (0, 2), (2, 3)];
    let mut net = Net::new(4, 1);
    for (a, b) in &pairs {
        net.befriend(*a, *b, LIMIT);
    }
    net.settle();
    net.ways = vec![vec![0, 1, 3], vec![0, 2, 3]];
    (net, pairs)
}

/// Everybody owes the one before: nothing that could not be set off.
fn owing_ring() -> Stage {
    let mut net = Net::chain(3, LIMIT, 1);
    net.befriend(2, 0, LIMIT);
    net.settle();
    for (buyer, seller) in [(1, 0), (2, 1), (0, 2)] {
        let id = net.send_funds(buyer, seller, 40);
        assert!(matches!(net.outcome(buyer, id), PaymentStatus::Succeeded { .. }));
    }
    net.settle();
    (net, vec![(0, 1), (1, 2), (0, 2)])
}

/// Node 0 has a copy of its disk from before the last of two payments.
fn older_copy() -> Stage {
    let (mut net, pairs) = line(2);
    let pay = |net: &mut Net, amount| {
        let id = net.send_funds(0, 1, amount);
        assert!(matches!(net.outcome(0, id), PaymentStatus::Succeeded { .. }));
        net.settle();
    };
    pay(&mut net, 20);
    let (copy, written) = (net.nodes[0].disk.clone(), net.nodes[0].log.len());
    pay(&mut net, 40);
    net.restore(0, &copy, false);
    net.nodes[0].log.truncate(written);
    (net, pairs)
}

/// Plays a scenario's steps.
pub struct Script {
    pub net: Net,
    pub pairs: Vec<(usize, usize)>,
}

impl Script {
    /// Who is down starts again, friends meet, and everything arrives.
    fn onward(&mut self) {
        self.net.revive();
        for (a, b) in &self.pairs {
            let friends =
                |a: usize, b: usize| self.net.nodes[a].disk.friends.contains_key(&self.net.key(b));
            let connected = self.net.connected_pairs().contains(&(*a.min(b), *a.max(b)));
            if friends(*a, *b) && friends(*b, *a) && !connected {
                self.net.connect(*a, *b);
            }
        }
        self.net.settle();
        self.net.pass(500);
        self.net.settle();
    }

    /// Does something again and again until it is durable.
    fn until(&mut self, what: &str, done: impl Fn(&Net) -> bool, mut act: impl FnMut(&mut Net)) {
        for round in 0..400 {
            if done(&self.net) {
                return;
            }
            act(&mut self.net);
            self.onward();
            // What is slow is waited for in longer steps.
            self.net.pass(if round < 8 { 0 } else { 4_000 });
        }
        panic!("{what} does not come about");
    }

    fn config(&mut self, node: usize, request: ConfigRequest, done: impl Fn(&State) -> bool) {
        let what = format!("{request:?}");
        self.until(
            &what,
            |net| done(&net.nodes[node].disk),
            |net| _ = net.command(node, Command::Config(request.clone())),
        );
    }

    fn invoice(&mut self, seller: usize, hold: Hold) -> Invoice {
        let nonce = INVOICES[0];
        let create = CreateInvoice {
            nonce,
            currency: None,
            amount: Credits(AMOUNT),
            description: "".parse().unwrap(),
            expires_in_ms: None,
            hold,
        };
        let find = |net: &Net| {
            let node = &net.nodes[seller];
            let mut rows = node.disk.invoices.values().chain(node.invoice_archive.values());
            rows.find(|row| row.invoice.nonce == nonce).map(|row| row.invoice.clone())
        };
        let create = || Command::CreateInvoice { create: Box::new(create.clone()), ended: None };
        self.until(
            "the invoice",
            |net| find(net).is_some(),
            |net| _ = net.command(seller, create()),
        );
        find(&self.net).unwrap()
    }

    fn pay_invoice(&mut self, buyer: usize, seller: usize, hold: Hold) {
        let invoice = self.invoice(seller, hold);
        self.pay(buyer, PaymentTarget::Invoice(Box::new(invoice)));
    }

    fn pay_spontaneous(&mut self, buyer: usize, seller: usize) {
        let destination = self.net.key(seller);
        let amount = Credits(AMOUNT);
        self.pay(buyer, PaymentTarget::Spontaneous { destination, amount, currency: None });
    }

    fn pay(&mut self, buyer: usize, target: PaymentTarget) {
        let request = request(target);
        let done = |net: &Net| net.nodes[buyer].archive.contains_key(&request.payment_id);
        self.until("the payment's end", done, |net| _ = net.pay(buyer, request.clone()));
    }

    /// A payment that the seller holds, and then collects or cancels.
    fn hold(&mut self, buyer: usize, seller: usize, cancel: bool) {
        let invoice = self.invoice(seller, Hold::Standard);
        let (id, request) = (invoice.id(), request(PaymentTarget::Invoice(Box::new(invoice))));
        let phase = |net: &Net| {
            let node = &net.nodes[seller];
            let row = node.disk.invoices.get(&id).or_else(|| node.invoice_archive.get(&id));
            row.map(|row| row.phase)
        };
        let gone = |net: &Net| net.nodes[buyer].archive.contains_key(&request.payment_id);
        self.until(
            "the commit",
            |net| phase(net) != Some(InvoicePhase::Open) || gone(net),
            |net| _ = net.pay(buyer, request.clone()),
        );
        // A payment that a crash kept from its end in time has failed: nothing is to be decided.
        let decided = |net: &Net| phase(net) != Some(InvoicePhase::Committed) || gone(net);
        self.until("the seller's word", decided, |net| {
            let command = if cancel {
                Command::CancelInvoice { invoice_id: id, ended: None }
            } else {
                Command::CollectInvoice { invoice_id: id, ended: None }
            };
            _ = net.command(seller, command);
        });
        self.until("the payment's end", gone, |_| {});
        self.until(
            "the invoice's end",
            |net| phase(net) != Some(InvoicePhase::Open),
            |net| {
                _ = net.command(seller, Command::CancelInvoice { invoice_id: id, ended: None });
            },
        );
    }

    /// Everything ends, however long it takes; then all is as it must be.
    pub fn finish(&mut self) {
        for round in 0..120 {
            self.onward();
            if self.at_rest() {
                break;
            }
            // The first rounds in the time of a session, the last in that of an invoice.
            self.net.pass(if round < 60 { 1_000 } else { 200_000 });
        }
        assert!(self.net.down.is_empty(), "everybody is up");
        self.net.check_at_rest(true);
        let sum: i128 = (0..self.net.nodes.len()).map(|node| self.net.total(node)).sum();
        assert_eq!(sum, 0, "conservation");
    }

    /// Whether nothing is left that could still end.
    fn at_rest(&self) -> bool {
        let net = &self.net;
        net.down.is_empty()
            && net.nodes.iter().all(|node| {
                let state = &node.disk;
                let mut friends = state.friends.values();
                state.payments.is_empty()
                    && state.sets.is_empty()
                    && friends.all(|friend| {
                        let mut credits = friend.lines.values().filter_map(|it| it.credit.as_ref());
                        friend.queue.is_empty()
                            && credits.all(|it| it.pending(Side::Local).is_empty())
                    })
            })
    }

    /// Over every line a payment passes, each way.
    pub fn check_lines_work(&mut self) {
        self.net.ways.clear();
        for (a, b) in self.net.connected_pairs() {
            // Some have parted.
            if !self.net.nodes[a].disk.friends.contains_key(&self.net.key(b)) {
                continue;
            }
            for (buyer, seller) in [(a, b), (b, a)] {
                let id = self.net.send_funds(buyer, seller, 1);
                let outcome = self.net.outcome(buyer, id);
                let paid = matches!(outcome, PaymentStatus::Succeeded { .. });
                assert!(paid, "{buyer} pays {seller}: {outcome:?}");
            }
        }
    }
}

fn request(target: PaymentTarget) -> PayRequest {
    PayRequest {
        payment_id: PAYMENTS[0],
        target,
        max_fee: None,
        deadline_ms: None,
        note: "".parse().unwrap(),
        max_parts: None,
    }
}

fn open_friendship(script: &mut Script) {
    for (x, y) in [(0, 1), (1, 0)] {
        let key = script.net.key(y);
        let friend = name(&format!("n{y}"));
        let info = move |state: &State| state.friends.get(&key).map(|friend| friend.info.clone());
        let wanted = move |state: &State| {
            let line = state.friends.get(&key)?.lines.get(&credit())?;
            line.credit.as_ref().map(|_| ()).or(line.wanted.map(|_| ()))?;
            Some(line.row())
        };
        let add = ConfigRequest::AddFriend {
            name: friend.clone(),
            public_key: key,
            relays: Vec::new(),
            currency: None,
            opening_balance: Balance::ZERO,
        };
        script.config(x, add, move |state| info(state).is_some());
        let enable = ConfigRequest::SetFriendEnabled { friend: friend.clone(), enabled: true };
        script.config(x, enable, move |state| info(state).is_some_and(|info| info.enabled));
        open_line(script, x, &friend);
        assert!(wanted(&script.net.nodes[x].disk).is_some(), "the line is wanted");
    }
    script.until(
        "the line",
        |net| {
            (0..2).all(|node| {
                let mut friends = net.nodes[node].disk.friends.values();
                friends.all(|friend| friend.lines.values().all(|line| line.credit.is_some()))
            })
        },
        |_| {},
    );
}

/// Sets limit and openness; these may be repeated as they are.
fn open_line(script: &mut Script, node: usize, friend: &offset_proto::Name) {
    let (friend, currency) = (friend.clone(), None);
    let limit =
        ConfigRequest::SetMaxDebt { friend: friend.clone(), currency, max_debt: Credits(LIMIT) };
    let open = ConfigRequest::SetRequestsOpen { friend, currency: None, open: true };
    for request in [limit, open] {
        let number = std::cell::Cell::new(None);
        script.until(
            "the setting",
            |net| number.get().is_some_and(|number| net.nodes[node].replies.contains_key(&number)),
            |net| number.set(Some(net.command(node, Command::Config(request.clone())))),
        );
    }
}

/// A payment that is taken back while its request is on the way.
fn release(script: &mut Script) {
    let invoice = script.invoice(2, Hold::None);
    let id = PAYMENTS[0];
    let request = request(PaymentTarget::Invoice(Box::new(invoice)));
    let ended = |net: &Net| net.nodes[0].archive.get(&id).cloned().map(Box::new);
    script.until(
        "the order",
        |net| net.nodes[0].disk.payments.contains_key(&id) || ended(net).is_some(),
        |net| {
            let payer = Some(Payer { app: net.key(0), limits: Vec::new() });
            let order = Command::PayByCommit {
                request: Box::new(request.clone()),
                ended: ended(net),
                payer,
            };
            net.command(0, order);
            // The answer stays away.
            net.settle_but((2, 1));
            net.command(0, Command::CancelPayment { payment_id: id, ended: ended(net) });
            net.settle();
        },
    );
    script.until(
        "the payment's end",
        |net| ended(net).is_some(),
        |net| {
            net.command(0, Command::CancelPayment { payment_id: id, ended: ended(net) });
            // If it was complete, it ends with the invoice.
            net.pass(60_000);
        },
    );
}

/// A token comes as nobody signed it; the owners agree to begin again, and open their line again.
fn reset(script: &mut Script) {
    let epochs = |net: &Net| {
        let channel = |a: usize, b: usize| &net.nodes[a].disk.friends[&net.key(b)].channel;
        [channel(0, 1), channel(1, 0)].map(|it| (it.epoch, it.inconsistent.is_some()))
    };
    script.until(
        "the inconsistency",
        |net| epochs(net).iter().any(|(epoch, inconsistent)| *inconsistent || 0 < *epoch),
        |net| {
            if net.down.is_empty() {
                net.send_funds(0, 1, 5);
                net.flush(0);
                for message in net.link(0, 1) {
                    if let FriendMessage::MoveToken(token) = message {
                        token.signature = Signature::from_bytes([3; 64]);
                    }
                }
                net.settle();
            }
        },
    );
    script.until(
        "the reset",
        |net| epochs(net).iter().all(|(epoch, inconsistent)| !inconsistent && 0 < *epoch),
        |net| {
            let (local, key) = (net.key(0), net.key(1));
            let row = net.nodes[0].funder.state().friends[&key].channel.inconsistent.as_ref();
            if let Some(remote) = row.and_then(|row| row.remote.as_ref()) {
                let reset_token = remote.token(&key, &local);
                let reset = ConfigRequest::ResetFriend { friend: name("n1"), reset_token };
                net.command(0, Command::Config(reset));
            }
        },
    );
    for (node, friend) in [(0, "n1"), (1, "n0")] {
        open_line(script, node, &name(friend));
    }
}

fn recover(script: &mut Script) {
    let counters = |net: &Net| {
        let channel = |a: usize, b: usize| &net.nodes[a].disk.friends[&net.key(b)].channel;
        (channel(0, 1).counter, channel(1, 0).counter)
    };
    script.until(
        "the proven state",
        |net| {
            let (own, friends) = counters(net);
            let friend = &net.nodes[0].disk.friends[&net.key(1)];
            own == friends && friend.recovery.is_none()
        },
        |net| {
            if net.down.is_empty() {
                // May find nothing to accept yet.
                let (key, local) = (net.key(1), name("n1"));
                if let Some(token) = proven(net, key) {
                    let recover = ConfigRequest::RecoverFriend { friend: local, token };
                    net.command(0, Command::Config(recover));
                }
            }
        },
    );
    let end = ConfigRequest::EndRecovery { cancel_unknown: false };
    script.config(0, end, |state| state.recovery.is_none());
}

fn proven(net: &mut Net, key: offset_crypto::PublicKey) -> Option<offset_crypto::HashResult> {
    use offset_proto::{app::AppReply, report::FriendRecovery};
    let number = net.command(0, Command::Report);
    net.settle();
    let Some(Ok(AppReply::Report(report))) = net.nodes[0].replies.remove(&number) else {
        return None;
    };
    let friend = report.friends.into_iter().find(|friend| friend.public_key == key)?;
    match friend.recovery {
        FriendRecovery::Proven { token, .. } => Some(token),
        FriendRecovery::None | FriendRecovery::Waiting => None,
    }
}

fn change_relays(script: &mut Script) {
    let public_key = script.net.key(1);
    let relay = |number: u32| {
        let address = format!("r{number}.example:1").parse().unwrap();
        (name(&format!("r{number}")), ServerAddress { public_key, address })
    };
    for number in 1..=2 {
        let (name, relay) = relay(number);
        let known = name.clone();
        let gone_on =
            |state: &State| state.relays.len() == 1 && state.relays.contains_key(&self::name("r2"));
        let add = ConfigRequest::AddRelay { name, relay };
        script.config(0, add, move |state| state.relays.contains_key(&known) || gone_on(state));
    }
    let known = |net: &Net| {
        let friend = &net.nodes[1].disk.friends[&net.key(0)];
        friend.info.relays.iter().map(|relay| relay.address.to_string()).collect::<Vec<_>>()
    };
    script.until("the longer list", |net| known(net).contains(&"r2.example:1".to_owned()), |_| {});
    let remove = ConfigRequest::RemoveRelay { name: name("r1") };
    script.config(0, remove, |state| !state.relays.contains_key(&name("r1")));
    script.until("the shorter list", |net| known(net) == ["r2.example:1"], |_| {});
}

fn clear(script: &mut Script) {
    use offset_proto::app::ClearRequest;
    let request = ClearRequest {
        payment_id: PAYMENTS[0],
        currency: None,
        friend: None,
        max_fee: None,
        max_fee_ppm: 100_000,
    };
    // One that found nothing leaves nothing behind; one whose node was killed is ordered again.
    script.until(
        "the clearing's end",
        |net| net.nodes[0].archive.contains_key(&PAYMENTS[0]),
        |net| _ = net.order_clearing(0, request.clone()),
    );
}

fn part(script: &mut Script) {
    for (node, friend) in [(0, 1), (1, 0)] {
        let key = script.net.key(friend);
        let request =
            ConfigRequest::RemoveFriend { friend: name(&format!("n{friend}")), forfeit: false };
        script.config(node, request, move |state| {
            state.friends.get(&key).is_none_or(|friend| friend.info.removing)
        });
    }
    script.until("the end of the friendship", |net| net.nodes[0].disk.friends.is_empty(), |_| {});
    script.until(
        "the end of the friendship, there",
        |net| net.nodes[1].disk.friends.len() == 1,
        |_| {},
    );
}

/// What each node has, compared with the beginning, but for fees.
fn moved(net: &Net, expected: &[i128]) {
    let totals: Vec<_> = (0..net.nodes.len()).map(|node| net.total(node)).collect();
    assert_eq!(totals, expected);
}

/// The one payment had its whole effect or none; its whole, if nothing failed.
fn paid(net: &Net, smooth: bool, buyer: usize, seller: usize) {
    let row = &net.nodes[buyer].archive[&PAYMENTS[0]];
    let (amount, succeeded) =
        (i128::try_from(AMOUNT).unwrap(), matches!(row.phase, Phase::Succeeded { .. }));
    assert!(succeeded || !smooth, "undisturbed, yet {:?}", row.phase);
    let (amount, fee) = match &row.phase {
        Phase::Succeeded { fee, .. } => (amount, i128::try_from(fee.0).unwrap()),
        _ => (0, 0),
    };
    for node in 0..net.nodes.len() {
        let total = net.total(node);
        if node == buyer {
            assert_eq!(total, -amount - fee, "{:?}", row.phase);
        } else if node == seller {
            assert_eq!(total, amount, "{:?}", row.phase);
        } else {
            assert!(total == 0 || total == fee, "mediator {node} has {total}");
        }
    }
}

fn nothing_paid(net: &Net, buyer: usize) {
    let row = &net.nodes[buyer].archive[&PAYMENTS[0]];
    assert!(!matches!(row.phase, Phase::Succeeded { .. }), "{:?}", row.phase);
    moved(net, &vec![0; net.nodes.len()]);
}
