//! Disks that fail: at the n-th call in one of several ways. What a network of funders does then is
//! decided in [`Net`](super::Net): a node whose disk fails stops itself, and is started again.

use std::{cell::Cell, rc::Rc};

use offset_crypto::{InvoiceId, PaymentId};
use offset_funder::{
    Change,
    state::{InvoiceRow, PaymentRow, State},
};
use offset_proto::{
    Credits,
    index::{MultiRoute, Route, RouteQuery},
};

use super::{Net, rows};

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is durable.
    Durable,
    /// The process ends here; the batch, and whatever is behind it, may be lost.
    Lost,
    /// The process ends here; the batch is durable, and nothing that it led to has left.
    Ended,
}

/// What a start finds.
pub enum Opened {
    /// Nothing: the start fails.
    Fails,
    /// What was written.
    Written,
    /// This.
    Found(Box<State>),
}

/// The disks of all nodes of a network.
pub trait Disks {
    fn write(&mut self, node: usize, changes: &[Change]) -> Fate;
    fn open(&mut self, node: usize) -> Opened;
}

/// How a disk, or the process on it, fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Killed before the batch became durable.
    KillBefore,
    /// Killed after the batch became durable, before anything left.
    KillAfter,
    /// The write fails, and so does the first start; then all is well.
    ErrorOnce,
    /// Every write fails from then on, until after three starts the disk is replaced.
    ErrorForever,
    /// What needs room fails from then on, until after three starts there is room.
    Full,
    /// With two more batches behind it, the write is torn: none of the three is there.
    Torn,
}

impl Mode {
    pub const ALL: [Self; 6] = [
        Self::KillBefore,
        Self::KillAfter,
        Self::ErrorOnce,
        Self::ErrorForever,
        Self::Full,
        Self::Torn,
    ];

    /// Whether the process ends by itself.
    pub const fn kills(self) -> bool {
        match self {
            Self::KillBefore | Self::KillAfter | Self::Torn => true,
            Self::ErrorOnce | Self::ErrorForever | Self::Full => false,
        }
    }
}

/// Modelled disks, of which one fails, or all do.
pub struct Failing {
    pub mode: Mode,
    /// Whose; `None`: all share one count.
    pub victim: Option<usize>,
    /// At which call.
    pub at: u64,
    /// The calls so far.
    pub calls: Rc<Cell<u64>>,
    stops: u32,
    failed_starts: u32,
}

impl Failing {
    pub fn new(mode: Mode, victim: Option<usize>, at: u64) -> Self {
        Self { mode, victim, at, calls: Rc::default(), stops: 0, failed_starts: 0 }
    }

    /// How many changes fit on a disk that is full.
    const ROOM: usize = 2;
    /// After how many stops somebody mends the disk.
    const PATIENCE: u32 = 3;
}

impl Disks for Failing {
    fn write(&mut self, node: usize, changes: &[Change]) -> Fate {
        if self.victim.is_some_and(|victim| victim != node) {
            return Fate::Durable;
        }
        self.calls.set(self.calls.get() + 1);
        let (now, later) = (self.calls.get() == self.at, self.at <= self.calls.get());
        let broken = later && self.stops < Self::PATIENCE;
        let fate = match self.mode {
            Mode::KillBefore | Mode::ErrorOnce | Mode::Torn if now => Fate::Lost,
            Mode::KillAfter if now => Fate::Ended,
            Mode::ErrorForever if broken => Fate::Lost,
            Mode::Full if broken && Self::ROOM < changes.len() => Fate::Lost,
            Mode::KillBefore
            | Mode::KillAfter
            | Mode::ErrorOnce
            | Mode::ErrorForever
            | Mode::Full
            | Mode::Torn => Fate::Durable,
        };
        self.stops += u32::from(fate != Fate::Durable);
        fate
    }

    fn open(&mut self, _: usize) -> Opened {
        if self.mode == Mode::ErrorOnce && self.failed_starts == 0 {
            self.failed_starts += 1;
            return Opened::Fails;
        }
        Opened::Written
    }
}

impl Net {
    /// A node's process ends, with a batch that may have become durable or not.
    pub(super) fn stop(&mut self, node: usize, doubt: Vec<Change>) {
        for other in 0..self.nodes.len() {
            if other != node {
                self.disconnect(node, other);
            }
        }
        self.nodes[node].writing.clear();
        self.nodes[node].lines.clear();
        self.down.insert(node, doubt);
    }

    /// Makes everything durable that a node's funder has given.
    pub fn complete_all(&mut self, node: usize) {
        while let Some(first) = self.nodes[node].writing.pop_front() {
            self.complete(node, first);
        }
    }

    /// What the disk, or what is on its way there, keeps of a payment that has ended.
    pub fn ended_payment(&self, node: usize, id: &PaymentId) -> Option<Box<PaymentRow>> {
        let it = &self.nodes[node];
        let known = it.funder.state().payments.contains_key(id);
        let mut writing = it.writing.iter().rev().flat_map(|batch| batch.changes.iter().rev());
        let recent = writing.find_map(|change| match change {
            Change::Payment(found, row) if found == id && row.is_ended() => Some(row),
            _ => None,
        });
        recent.or_else(|| it.archive.get(id)).filter(|_| !known).cloned().map(Box::new)
    }

    /// As [`Net::ended_payment`], of an invoice.
    pub fn ended_invoice(&self, node: usize, id: &InvoiceId) -> Option<Box<InvoiceRow>> {
        let it = &self.nodes[node];
        let known = it.funder.state().invoices.contains_key(id);
        let mut writing = it.writing.iter().rev().flat_map(|batch| batch.changes.iter().rev());
        let recent = writing.find_map(|change| match change {
            Change::Invoice(found, row) if found == id && row.is_final() => Some(row),
            _ => None,
        });
        recent.or_else(|| it.invoice_archive.get(id)).filter(|_| !known).cloned().map(Box::new)
    }

    /// Stops a node at once and starts it from a disk that has the first `survivors` of the batches
    /// that were being made durable.
    pub fn crash_with(&mut self, node: usize, survivors: usize) {
        for batch in std::mem::take(&mut self.nodes[node].writing).into_iter().take(survivors) {
            self.write(node, &batch.changes);
        }
        self.restart(node);
    }

    /// Starts every node whose process has ended, from what its disk holds: all that was reported
    /// durable, with the batch that was being written or without it.
    pub fn revive(&mut self) {
        for node in self.down.keys().copied().collect::<Vec<_>>() {
            let opened = match &mut self.disks {
                Some(disks) => disks.open(node),
                None => Opened::Written,
            };
            match opened {
                Opened::Fails => continue,
                Opened::Written => drop(self.down.remove(&node)),
                Opened::Found(state) => {
                    let doubt = self.down.remove(&node).unwrap();
                    if rows(&state) != rows(&self.nodes[node].disk) {
                        self.write(node, &doubt);
                    }
                    assert_eq!(rows(&state), rows(&self.nodes[node].disk), "disk of node {node}");
                }
            }
            self.restart(node);
        }
    }

    /// The ways that a test has laid down, each with an equal part, without fees.
    pub(super) fn split(&self, query: &RouteQuery) -> MultiRoute {
        let parts = u128::try_from(self.ways.len()).unwrap();
        let routes = self.ways.iter().enumerate().map(|(at, way)| {
            let rest = if at == 0 { query.amount.0 % parts } else { 0 };
            let amount = Credits(query.amount.0 / parts + rest);
            Route {
                keys: way.iter().map(|node| self.key(*node)).collect(),
                amount,
                fee: Credits(0),
            }
        });
        MultiRoute { routes: routes.collect(), total_fee: Credits(0), age_ms: 0 }
    }
}
