//! What a node tells its index server, and when (protocol, section 9). Pure: the time comes in, and
//! the bodies of updates, still to be signed, go out.
//!
//! ```text
//!   connected -----> snapshot (at most 1,000 lines), then deltas with the rest, at once
//!   lines change --> delta, at most one a second; within 0.1 s when a capacity fell under half
//!   5 min quiet ---> alive, with the hash of the table
//!   wanted --------> snapshot again
//!   behind --------> snapshot again, above what the server knows
//! ```
//!
//! Invariants: *rising* (every update is above the one before it), *table* (what was reported is what
//! the updates since the last snapshot say), *bounds* (at most [`MAX_LINES`] lines are reported).

use std::collections::BTreeSet;

use offset_crypto::PublicKey;
use offset_proto::{
    Credits, Currency, Timestamp,
    canonical::index_table_hash,
    index::{IndexLine, IndexTable, MAX_MUTATIONS, UpdateBody, UpdateKind, UpdateMutation},
};

/// The most lines that a node reports (protocol, section 9). Others wait until there is room.
pub const MAX_LINES: usize = 20_000;
/// Deltas are this far apart, unless a capacity fell under half.
pub const DELTA_EVERY_MS: u64 = 1_000;
/// Deltas that are told at once are this far apart nevertheless.
pub const URGENT_EVERY_MS: u64 = 100;
/// A sign of life follows an update after this time.
pub const ALIVE_EVERY_MS: u64 = 5 * 60 * 1_000;
/// A snapshot that a server asks for again is not made sooner after the last one.
pub const SNAPSHOT_EVERY_MS: u64 = 1_000;
/// An epoch that a server claims to know is followed at most this far ahead of the clock.
pub const MAX_EPOCH_AHEAD_S: u64 = 24 * 60 * 60;

/// Keeps a node's table of lines reported to one index server at a time.
#[derive(Debug)]
pub struct Reporter {
    node: PublicKey,
    /// Of the last update made.
    version: (u64, u64),
    lines: IndexTable,
    /// Lines above [`MAX_LINES`].
    waiting: IndexTable,
    reported: IndexTable,
    changed: BTreeSet<(PublicKey, Currency)>,
    /// A changed line can carry less than half of what was reported.
    urgent: bool,
    session: Option<Session>,
}

#[derive(Debug)]
struct Session {
    home: PublicKey,
    snapshot_wanted: bool,
    last_snapshot: Option<Timestamp>,
    last_delta: Option<Timestamp>,
    last_update: Timestamp,
}

impl Session {
    /// A clock that was set back must not silence the node until it is where it was: the index server
    /// would drop it after 15 minutes.
    fn not_after(&mut self, now: Timestamp) {
        self.last_update = self.last_update.min(now);
        self.last_snapshot = self.last_snapshot.map(|last| last.min(now));
        self.last_delta = self.last_delta.map(|last| last.min(now));
    }
}

/// A server claims to know an epoch that is too far ahead: its clock, this node's clock, or the epoch
/// that this node once used is wrong, and the server will not take this node's updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the index server knows updates of this node from more than a day ahead; check the clock of \
     this computer"
)]
pub struct TooFarAhead;

impl Reporter {
    /// A reporter without lines. `last_epoch` is the last epoch that is durable with the node; the
    /// node makes [`Reporter::epoch`] durable before it reports anything.
    #[must_use]
    pub fn new(node: PublicKey, last_epoch: u64, now: Timestamp) -> Self {
        let epoch = last_epoch.saturating_add(1).max(now.0 / 1_000);
        Self {
            node,
            version: (epoch, 0),
            lines: IndexTable::new(),
            waiting: IndexTable::new(),
            reported: IndexTable::new(),
            changed: BTreeSet::new(),
            urgent: false,
            session: None,
        }
    }

    /// The epoch of the updates.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.version.0
    }

    /// How many lines are not reported because there are too many.
    #[must_use]
    pub fn unreported(&self) -> usize {
        self.waiting.len()
    }

    /// The node's lines changed.
    pub fn handle_lines(&mut self, mutations: Vec<UpdateMutation>) {
        for mutation in mutations {
            match mutation {
                UpdateMutation::Set { friend, currency, line } => {
                    self.set_line((friend, currency), line);
                }
                UpdateMutation::Remove { friend, currency } => {
                    self.remove_line((friend, currency));
                }
            }
        }
        self.check_invariants();
    }

    /// A connection with this index server stands.
    pub fn handle_connected(&mut self, now: Timestamp, home: PublicKey) {
        self.session = Some(Session {
            home,
            snapshot_wanted: true,
            last_snapshot: None,
            last_delta: None,
            last_update: now,
        });
    }

    /// The connection is gone.
    pub fn handle_disconnected(&mut self) {
        self.session = None;
    }

    /// The server wants a snapshot.
    pub const fn handle_snapshot_wanted(&mut self) {
        if let Some(session) = &mut self.session {
            session.snapshot_wanted = true;
        }
    }

    /// The server knows something newer of this node: the updates go on above it.
    ///
    /// # Errors
    /// [`TooFarAhead`] when what the server knows is more than a day ahead of the clock.
    pub fn handle_behind(
        &mut self,
        now: Timestamp,
        epoch: u64,
        counter: u64,
    ) -> Result<(), TooFarAhead> {
        if (epoch, counter) < self.version {
            // The answer to an update that was overtaken by later ones.
            return Ok(());
        }
        let above = match counter.checked_add(1) {
            // The next update takes the number after this one.
            Some(_) => (epoch, counter),
            None => (epoch.saturating_add(1), 0),
        };
        if (now.0 / 1_000).saturating_add(MAX_EPOCH_AHEAD_S) < above.0 {
            return Err(TooFarAhead);
        }
        self.version = above;
        self.handle_snapshot_wanted();
        Ok(())
    }

    /// The updates that are due.
    #[must_use]
    pub fn take_updates(&mut self, now: Timestamp) -> Vec<UpdateBody> {
        if let Some(session) = &mut self.session {
            session.not_after(now);
        }
        let due = self.next_timeout().is_some_and(|due| due <= now);
        let Some(session) = self.session.as_mut().filter(|_| due) else { return Vec::new() };
        let home = session.home;
        session.last_update = now;
        let kinds = if session.snapshot_wanted {
            session.snapshot_wanted = false;
            session.last_snapshot = Some(now);
            self.snapshot()
        } else if self.changed.is_empty() {
            vec![UpdateKind::Alive { table: index_table_hash(&self.reported) }]
        } else {
            session.last_delta = Some(now);
            self.deltas()
        };
        self.urgent = false;
        let updates = kinds.into_iter().map(|kind| self.body(now, home, kind)).collect();
        self.check_invariants();
        updates
    }

    /// When [`Reporter::take_updates`] has something.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Timestamp> {
        let session = self.session.as_ref()?;
        Some(if session.snapshot_wanted {
            session.last_snapshot.map_or(Timestamp(0), |last| last.plus_ms(SNAPSHOT_EVERY_MS))
        } else if self.urgent {
            session.last_delta.map_or(Timestamp(0), |last| last.plus_ms(URGENT_EVERY_MS))
        } else if self.changed.is_empty() {
            session.last_update.plus_ms(ALIVE_EVERY_MS)
        } else {
            session.last_update.plus_ms(DELTA_EVERY_MS)
        })
    }

    /// Whether the module's invariants hold; looks at everything, so only small tables are checked
    /// at every step.
    fn check_invariants(&self) {
        if cfg!(debug_assertions) && self.lines.len() < 100 {
            assert!(self.lines.len() <= MAX_LINES, "bounds");
            let full = self.lines.len() == MAX_LINES;
            assert!(full || self.waiting.is_empty(), "nothing waits while there is room");
            let snapshot_due = self.session.as_ref().is_none_or(|session| session.snapshot_wanted);
            let differs = |key| self.lines.get(key) != self.reported.get(key);
            let keys = self.lines.keys().chain(self.reported.keys());
            for key in keys.filter(|key| differs(key)) {
                assert!(snapshot_due || self.changed.contains(key), "table");
            }
        }
    }

    fn set_line(&mut self, key: (PublicKey, Currency), line: IndexLine) {
        if self.lines.len() < MAX_LINES || self.lines.contains_key(&key) {
            self.lines.insert(key.clone(), line);
            self.mark(key);
        } else {
            self.waiting.insert(key, line);
        }
    }

    fn remove_line(&mut self, key: (PublicKey, Currency)) {
        self.waiting.remove(&key);
        if self.lines.remove(&key).is_some() {
            self.mark(key);
            if let Some((key, line)) = self.waiting.pop_first() {
                self.set_line(key, line);
            }
        }
    }

    /// Notes whether a line differs from what was reported.
    fn mark(&mut self, key: (PublicKey, Currency)) {
        let (line, reported) = (self.lines.get(&key), self.reported.get(&key));
        if line == reported {
            self.changed.remove(&key);
            return;
        }
        if let Some(reported) = reported {
            let nothing = IndexLine::default();
            let line = line.unwrap_or(&nothing);
            self.urgent |= fell_under_half(reported.send_capacity, line.send_capacity)
                || fell_under_half(reported.recv_capacity, line.recv_capacity);
        }
        self.changed.insert(key);
    }

    fn snapshot(&mut self) -> Vec<UpdateKind> {
        self.reported.clone_from(&self.lines);
        self.changed.clear();
        let sets = self.lines.iter().map(|((friend, currency), line)| UpdateMutation::Set {
            friend: *friend,
            currency: currency.clone(),
            line: *line,
        });
        let mut chunks = in_chunks(sets.collect()).into_iter();
        let first = UpdateKind::Snapshot(chunks.next().unwrap_or_default());
        std::iter::once(first).chain(chunks.map(UpdateKind::Delta)).collect()
    }

    fn deltas(&mut self) -> Vec<UpdateKind> {
        let mut mutations = Vec::new();
        // Removals first, so that no server ever counts more lines than there are.
        let changed = std::mem::take(&mut self.changed);
        let (kept, gone): (Vec<_>, Vec<_>) =
            changed.into_iter().partition(|key| self.lines.contains_key(key));
        for key in gone {
            self.reported.remove(&key);
            let (friend, currency) = key;
            mutations.push(UpdateMutation::Remove { friend, currency });
        }
        for key in kept {
            let Some(line) = self.lines.get(&key).copied() else { continue };
            self.reported.insert(key.clone(), line);
            let (friend, currency) = key;
            mutations.push(UpdateMutation::Set { friend, currency, line });
        }
        in_chunks(mutations).into_iter().map(UpdateKind::Delta).collect()
    }

    fn body(&mut self, now: Timestamp, home_server: PublicKey, kind: UpdateKind) -> UpdateBody {
        let (epoch, counter) = self.version;
        let (epoch, counter) =
            counter.checked_add(1).map_or((epoch.saturating_add(1), 1), |next| (epoch, next));
        self.version = (epoch, counter);
        UpdateBody { node: self.node, home_server, epoch, counter, time: now, kind }
    }
}

fn fell_under_half(reported: Credits, now: Credits) -> bool {
    now.0 < reported.0 / 2 || (now == Credits::ZERO && reported != Credits::ZERO)
}

fn in_chunks(mut mutations: Vec<UpdateMutation>) -> Vec<Vec<UpdateMutation>> {
    let mut chunks = Vec::new();
    while MAX_MUTATIONS < mutations.len() {
        let rest = mutations.split_off(MAX_MUTATIONS);
        chunks.push(std::mem::replace(&mut mutations, rest));
    }
    chunks.push(mutations);
    chunks
}

#[cfg(test)]
mod tests;
