//! Three nodes in a ring, of whom bytes say what happens: what owners and apps order, what arrives
//! and what is lost, who crashes and what of its last writes its disk has kept. In the end everything
//! works again, and all must settle: nothing pending, both sides of every line agreed, every payment
//! with its whole effect or none, and over every line a payment passes each way.

use std::{cell::RefCell, collections::BTreeMap};

use offset_crypto::PaymentId;
use offset_funder::{
    Side,
    api::{Command, Payer},
    state::{Phase, State},
};
use offset_proto::{
    Balance, Credits, Currency, Rate,
    app::{ConfigRequest, Hold, PaymentStatus, PaymentTarget},
    payment::Invoice,
};

use super::{
    Bytes,
    support::{Kept, Net, books::Books, credit, name},
};

/// How many nodes there are.
const NODES: usize = 3;
/// The most that each may owe the other.
const LIMIT: u128 = 1_000;

thread_local! {
    /// The ring as it begins: made once, as it costs more than a run.
    static BEGINNING: RefCell<Option<Vec<(State, Books)>>> = const { RefCell::new(None) };
}

/// Plays it.
pub fn network(bytes: &[u8]) {
    let mut run = Run::new();
    let mut bytes = Bytes(bytes);
    // What is longer shows nothing that two short ones do not.
    for _ in 0..400 {
        if bytes.is_empty() {
            break;
        }
        run.step(&mut bytes);
    }
    run.settle_all();
    run.check();
}

struct Run {
    net: Net,
    /// Who pays whom how much.
    payments: BTreeMap<PaymentId, (usize, usize, u128)>,
    invoices: Vec<(usize, Invoice)>,
}

impl Run {
    fn new() -> Self {
        let beginning = BEGINNING.with_borrow_mut(|known| {
            let ring = || {
                let mut net = Net::chain(NODES, LIMIT, 1);
                net.befriend(NODES - 1, 0, LIMIT);
                net.settle();
                net.nodes.iter().map(|it| (it.disk.clone(), it.books.clone())).collect()
            };
            known.get_or_insert_with(ring).clone()
        });
        let mut net = Net::new(NODES, 1);
        net.compares = false;
        net.config.check_every = 64;
        for (node, (disk, books)) in beginning.into_iter().enumerate() {
            net.nodes[node].disk = disk;
            net.nodes[node].books = books;
            net.nodes[node].kept = Kept::default();
            net.crash(node, false);
        }
        for (a, b) in PAIRS {
            net.connect(a, b);
        }
        net.settle();
        net.lag = 2;
        Self { net, payments: BTreeMap::new(), invoices: Vec::new() }
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let (action, choice) = (bytes.byte(), usize::from(bytes.byte()));
        let node = choice % NODES;
        let other = (node + 1 + (choice / NODES) % (NODES - 1)) % NODES;
        let net = &mut self.net;
        match action % 32 {
            0..5 => _ = net.flush(node),
            5..11 => _ = net.deliver(node, other),
            11 => while net.deliver(node, other) {},
            12 => net.settle(),
            13 => net.disconnect(node, other),
            14 | 15 => net.connect(node, other),
            16 | 17 => net.crash_with(node, choice / NODES % 4),
            18 => net.pass(7),
            19 => net.pass(u64::from(bytes.byte()) * 300),
            20 | 21 => self.pay(node, other, bytes),
            22 => self.invoice(node, bytes),
            23 => self.pay_invoice(node, bytes),
            24 => self.end_invoice(bytes, choice),
            25 => self.cancel_payment(node, bytes),
            26 => self.hand_over(bytes),
            27 => self.set_line(node, other, bytes),
            28 => _ = net.clear(node, None),
            29 => net.index_up ^= true,
            30 => self.enable(node, other, bytes.below(2) == 0),
            _ => self.currency(node, other, bytes),
        }
    }

    fn pay(&mut self, buyer: usize, seller: usize, bytes: &mut Bytes<'_>) {
        let amount = amount(bytes);
        let id = self.net.send_funds(buyer, seller, amount);
        self.payments.insert(id, (buyer, seller, amount));
    }

    fn invoice(&mut self, seller: usize, bytes: &mut Bytes<'_>) {
        // An invoice is answered when it is durable.
        let hold = [Hold::None, Hold::Standard][usize::from(bytes.byte() % 2)];
        let amount = amount(bytes);
        self.net.lag = 0;
        self.drain(seller);
        let invoice = self.net.held_invoice(seller, amount, hold);
        self.net.lag = 2;
        self.invoices.push((seller, invoice));
    }

    fn drain(&mut self, node: usize) {
        self.net.complete_all(node);
    }

    fn chosen(&self, bytes: &mut Bytes<'_>) -> Option<(usize, Invoice)> {
        let at = usize::from(bytes.byte());
        self.invoices.get(at % self.invoices.len().max(1)).cloned()
    }

    fn pay_invoice(&mut self, buyer: usize, bytes: &mut Bytes<'_>) {
        let by_commit = bytes.below(2) == 0;
        let Some((seller, invoice)) = self.chosen(bytes).filter(|(seller, _)| *seller != buyer)
        else {
            return;
        };
        let amount = invoice.dest_payment.0;
        let request = self.net.pay_request(PaymentTarget::Invoice(Box::new(invoice)));
        let id = request.payment_id;
        if by_commit {
            let payer = Some(Payer { app: self.net.key(buyer), limits: Vec::new() });
            let request = Box::new(request);
            self.net.command(buyer, Command::PayByCommit { request, ended: None, payer });
        } else {
            self.net.pay(buyer, request);
        }
        self.payments.insert(id, (buyer, seller, amount));
    }

    fn end_invoice(&mut self, bytes: &mut Bytes<'_>, choice: usize) {
        let Some((seller, invoice)) = self.chosen(bytes) else { return };
        let invoice_id = invoice.id();
        let ended = self.net.ended_invoice(seller, &invoice_id);
        let command = if choice.is_multiple_of(2) {
            Command::CancelInvoice { invoice_id, ended }
        } else {
            Command::CollectInvoice { invoice_id, ended }
        };
        self.net.command(seller, command);
    }

    fn payment(&self, bytes: &mut Bytes<'_>) -> Option<PaymentId> {
        let at = usize::from(bytes.byte()) % self.payments.len().max(1);
        self.payments.keys().nth(at).copied()
    }

    fn cancel_payment(&mut self, node: usize, bytes: &mut Bytes<'_>) {
        let Some(payment_id) = self.payment(bytes) else { return };
        let ended = self.net.ended_payment(node, &payment_id);
        self.net.command(node, Command::CancelPayment { payment_id, ended });
    }

    /// The buyer's app takes the commit and the seller's brings it.
    fn hand_over(&mut self, bytes: &mut Bytes<'_>) {
        let Some(payment_id) = self.payment(bytes) else { return };
        let (buyer, seller, _) = self.payments[&payment_id];
        let ended = self.net.ended_payment(buyer, &payment_id);
        let number = self.net.command(buyer, Command::PaymentCommit { payment_id, ended });
        self.net.flush(buyer);
        self.drain(buyer);
        let answer = self.net.nodes[buyer].replies.remove(&number);
        if let Some(Ok(offset_proto::app::AppReply::Commit(commit))) = answer {
            let ended = self.net.ended_invoice(seller, &commit.invoice_id);
            self.net.command(seller, Command::CommitInvoice { commit, ended });
        }
    }

    fn set_line(&mut self, node: usize, other: usize, bytes: &mut Bytes<'_>) {
        let friend = name(&format!("n{other}"));
        let (what, value) = (bytes.byte(), bytes.byte());
        let request = match what % 3 {
            0 => ConfigRequest::SetMaxDebt {
                friend,
                currency: None,
                max_debt: Credits(u128::from(value) * 5),
            },
            1 => ConfigRequest::SetRequestsOpen {
                friend,
                currency: None,
                open: value.is_multiple_of(2),
            },
            _ => {
                let rate = Rate { ppm: u32::from(value) * 100, add: u64::from(value % 3) };
                ConfigRequest::SetRate { friend, currency: None, rate }
            }
        };
        self.net.command(node, Command::Config(request));
    }

    fn enable(&mut self, node: usize, other: usize, enabled: bool) {
        let friend = name(&format!("n{other}"));
        let request = ConfigRequest::SetFriendEnabled { friend, enabled };
        self.net.command(node, Command::Config(request));
    }

    fn currency(&mut self, node: usize, other: usize, bytes: &mut Bytes<'_>) {
        let currency: Currency = "extra".parse().expect("a currency");
        let friend = name(&format!("n{other}"));
        let value = bytes.byte();
        let request = if value.is_multiple_of(2) {
            let opening = i128::from(value / 2 % 3) - 1;
            let opening_balance = Balance::new(opening).expect("small");
            ConfigRequest::AddCurrency { friend, currency, opening_balance }
        } else {
            ConfigRequest::RemoveCurrency { friend, currency }
        };
        // May be refused, and then changes nothing.
        self.net.command(node, Command::Config(request));
    }

    /// Everything works again, until nothing is left that could end.
    fn settle_all(&mut self) {
        let net = &mut self.net;
        net.index_up = true;
        for node in 0..NODES {
            net.complete_all(node);
        }
        net.lag = 0;
        for (a, b) in PAIRS {
            for (node, other) in [(a, b), (b, a)] {
                let friend = name(&format!("n{other}"));
                // More than all payments of a run together.
                let (currency, max_debt) = (Some(credit()), Credits(1_000_000));
                for request in [
                    ConfigRequest::SetFriendEnabled { friend: friend.clone(), enabled: true },
                    ConfigRequest::SetMaxDebt { friend: friend.clone(), currency, max_debt },
                    ConfigRequest::SetRequestsOpen { friend, currency: None, open: true },
                ] {
                    net.config(node, request);
                }
            }
        }
        for round in 0..300 {
            for (a, b) in PAIRS {
                if !net.connected_pairs().contains(&(a.min(b), a.max(b))) {
                    net.connect(a, b);
                }
            }
            net.settle();
            if 3 < round && at_rest(net) {
                break;
            }
            // First what sessions wait for, then what invoices and holds do.
            net.pass(if round < 100 { 1_000 } else { 3_600_000 });
        }
        net.settle();
        for node in 0..NODES {
            net.compare_disk(node);
            net.nodes[node].funder.check_invariants();
        }
    }

    fn check(&mut self) {
        let net = &mut self.net;
        net.check_at_rest(true);
        assert_eq!((0..NODES).map(|node| net.total(node)).sum::<i128>(), 0, "conservation");
        let mut expected = [0i128; NODES];
        for (id, (buyer, seller, amount)) in &self.payments {
            // One that was lost with a crash never was.
            let Some(row) = net.nodes[*buyer].archive.get(id) else { continue };
            if let Phase::Succeeded { fee, .. } = &row.phase {
                let amount = i128::try_from(*amount).expect("small");
                expected[*buyer] -= amount + i128::try_from(fee.0).expect("small");
                expected[*seller] += amount;
            }
        }
        for (node, expected) in expected.iter_mut().enumerate() {
            for row in net.nodes[node].archive.values().filter(|row| row.clearing) {
                if let Phase::Succeeded { fee, .. } = &row.phase {
                    *expected -= i128::try_from(fee.0).expect("small");
                }
            }
            let fees = net.total(node) - *expected;
            assert_eq!(net.nodes[node].books.fees(), fees, "node {node} earned what it forwarded");
        }
        for (a, b) in PAIRS {
            for (buyer, seller) in [(a, b), (b, a)] {
                let id = net.send_funds(buyer, seller, 1);
                let outcome = net.outcome(buyer, id);
                let paid = matches!(outcome, PaymentStatus::Succeeded { .. });
                assert!(paid, "{buyer} pays {seller}: {outcome:?}");
            }
        }
    }
}

const PAIRS: [(usize, usize); NODES] = [(0, 1), (1, 2), (0, 2)];

fn amount(bytes: &mut Bytes<'_>) -> u128 {
    1 + u128::from(bytes.byte()) * 3
}

fn at_rest(net: &Net) -> bool {
    net.nodes.iter().all(|node| {
        let state = &node.disk;
        let mut friends = state.friends.values();
        let invoices = state.invoices.values().all(|row| row.accepted.is_none());
        let clear = friends.all(|friend| {
            let mut credits = friend.lines.values().filter_map(|line| line.credit.as_ref());
            friend.queue.is_empty() && credits.all(|it| it.pending(Side::Local).is_empty())
        });
        state.payments.is_empty() && state.sets.is_empty() && invoices && clear
    })
}
