//! Reads the file. What is sealed is ours; it is checked all the same before anything is taken from
//! it, so that not even a fault of this program's own can make it panic.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use offset_crypto::{HashResult, PublicKey, Signature, hash_much};
use offset_proto::{
    Credits, Currency, Rate, Timestamp,
    index::{IndexLine, NodeDown, SignedUpdate, UpdateBody, UpdateKind, UpdateMutation},
};

use super::{
    ALIVE, DELTA, FOOTER, MAGIC, PIECE, REMOVE, SEAL, SET, SET_LARGE, SNAPSHOT, Seal, Secret,
};

/// Why a file is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Its beginning is another.
    #[error("it is not such a file, or one of another version of this program")]
    Other,
    /// The seal does not fit.
    #[error("it was cut short, altered, or written by another index server")]
    Broken,
    /// It is sealed, and does not say what it must.
    #[error("it contradicts itself")]
    Nonsense,
    /// The limits were lowered since it was written.
    #[error("it holds more of a node, or more currencies, than the limits allow now")]
    Limits,
}

/// A file that was read: everything that was known, still packed.
#[derive(Debug)]
pub struct Saved {
    bytes: Vec<u8>,
    keys: Vec<PublicKey>,
    currencies: Vec<Currency>,
    rates: Vec<Rate>,
    gone: Vec<GoneNode>,
    /// Where the record of each node begins, in the order of their keys.
    records: Vec<usize>,
}

/// A node that was gone.
#[derive(Debug, Clone)]
pub(crate) struct GoneNode {
    pub(crate) node: PublicKey,
    pub(crate) newest: (u64, u64),
    pub(crate) until: Timestamp,
    pub(crate) down: Option<(PublicKey, NodeDown)>,
}

/// What one node said, in the file.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    saved: Arc<Saved>,
    at: usize,
}

/// What of an update is known without unpacking what it says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) kind: u8,
    home: u32,
    pub(crate) epoch: u64,
    pub(crate) counter: u64,
    pub(crate) time: Timestamp,
    signature: Signature,
}

/// A change of a line by numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PackedMutation {
    pub(crate) friend: u32,
    pub(crate) currency: u32,
    /// The number of the rate, and the line but for its rate; nothing when it is removed.
    pub(crate) line: Option<(u32, Credits, Credits)>,
}

impl Saved {
    /// Checks a file's seal and tables.
    ///
    /// # Errors
    /// Why it is not read.
    pub fn read(bytes: Vec<u8>, secret: &Secret) -> Result<Self, Unreadable> {
        if !bytes.starts_with(MAGIC) {
            return Err(Unreadable::Other);
        }
        let length = bytes.len().checked_sub(SEAL).ok_or(Unreadable::Broken)?;
        let (content, seal) = bytes.split_at(length);
        if seal_of(content).finish(secret).as_bytes().as_slice() != seal {
            return Err(Unreadable::Broken);
        }
        let mut saved = Self {
            keys: Vec::new(),
            currencies: Vec::new(),
            rates: Vec::new(),
            gone: Vec::new(),
            records: Vec::new(),
            bytes,
        };
        saved.read_tables(length).ok_or(Unreadable::Nonsense)?;
        Ok(saved)
    }

    fn read_tables(&mut self, length: usize) -> Option<()> {
        let mut footer = Cursor { bytes: &self.bytes[..length], at: length.checked_sub(FOOTER)? };
        let (names_at, nodes) = (footer.length()?, footer.length()?);
        let mut names = Cursor { bytes: &self.bytes[..length - FOOTER], at: names_at };
        let keys = names.u32()? as usize;
        let keys =
            names.bytes.get(names.at..).filter(|rest| keys <= rest.len() / 32).map(|_| keys)?;
        self.keys.reserve_exact(keys);
        for _ in 0..keys {
            self.keys.push(PublicKey::from_bytes(names.fixed()?).ok()?);
        }
        for _ in 0..names.u32()? {
            let length = names.u8()?.into();
            let text = std::str::from_utf8(names.take(length)?).ok()?;
            self.currencies.push(text.parse().ok()?);
        }
        for _ in 0..names.u32()? {
            self.rates.push(Rate { ppm: names.u32()?, add: names.u64()? });
        }
        for _ in 0..names.u32()? {
            let node = *self.keys.get(names.u32()? as usize)?;
            let newest = (names.u64()?, names.u64()?);
            let until = Timestamp(names.u64()?);
            let down = match names.u8()? {
                0 => None,
                _ => {
                    let home = *self.keys.get(names.u32()? as usize)?;
                    let (epoch, counter) = (names.u64()?, names.u64()?);
                    let signature = Signature::from_bytes(names.fixed()?);
                    Some((home, NodeDown { node, epoch, counter, signature }))
                }
            };
            self.gone.push(GoneNode { node, newest, until, down });
        }
        let mut records = Cursor { bytes: &self.bytes[..names_at], at: MAGIC.len() };
        while records.at < names_at {
            self.records.push(records.at);
            let length = records.u32()? as usize;
            records.take(length)?;
        }
        (self.records.len() == nodes && names.at == names.bytes.len()).then_some(())
    }

    /// The nodes that were gone.
    pub(crate) fn gone(&self) -> &[GoneNode] {
        &self.gone
    }

    /// The records of all nodes, in the order of their keys.
    pub(crate) fn records(self: &Arc<Self>) -> impl Iterator<Item = Record> + '_ {
        self.records.iter().map(|at| self.record(*at))
    }

    /// Where they lie.
    pub(crate) fn places(&self) -> &[usize] {
        &self.records
    }

    /// The record at a place that [`Record::place`] gave.
    pub(crate) fn record(self: &Arc<Self>, at: usize) -> Record {
        Record { saved: Arc::clone(self), at }
    }

    pub(crate) fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    pub(crate) fn currencies(&self) -> &[Currency] {
        &self.currencies
    }

    pub(crate) fn rates(&self) -> &[Rate] {
        &self.rates
    }
}

/// The seal of a file's content, by all cores together.
fn seal_of(content: &[u8]) -> Seal {
    let pieces: Vec<&[u8]> = content.chunks(PIECE).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done: Vec<(usize, HashResult)> = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(piece) = pieces.get(at) else { return done };
            done.push((at, hash_much(piece)));
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from).min(pieces.len());
    let mut hashes: Vec<(usize, HashResult)> = thread::scope(|scope| {
        let others: Vec<_> = (1..cores).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for other in others {
            all.extend(other.join().expect("hashing does not panic"));
        }
        all
    });
    hashes.sort_unstable_by_key(|(at, _)| *at);
    let mut seal = Seal::default();
    for (piece, (_, hash)) in pieces.iter().zip(&hashes) {
        seal.hashed(piece.len(), hash);
    }
    seal
}

impl Record {
    /// Where it lies in the file.
    pub(crate) const fn place(&self) -> usize {
        self.at
    }

    /// The number of the node among the keys, and when it was heard last.
    pub(crate) fn node(&self) -> Option<(u32, Timestamp)> {
        let mut cursor = self.cursor()?;
        let (number, heard_at) = (cursor.u32()?, Timestamp(cursor.u64()?));
        self.saved.keys.get(number as usize)?;
        Some((number, heard_at))
    }

    /// The key behind a number.
    pub(crate) fn key(&self, number: u32) -> Option<PublicKey> {
        self.saved.keys.get(number as usize).copied()
    }

    /// Goes through the updates: each with its head and with how many changes of lines it has.
    /// `None` when they cannot be read.
    pub(crate) fn each(
        &self,
        mut each: impl FnMut(&Head, usize),
        mut change: impl FnMut(PackedMutation),
    ) -> Option<()> {
        let mut updates = self.updates()?;
        while updates.at < updates.bytes.len() {
            let head = updates.head()?;
            self.key(head.home)?;
            let (count, mut mutations) = updates.mutations(head.kind)?;
            each(&head, count);
            for _ in 0..count {
                change(mutations.mutation(&self.saved)?);
            }
            if mutations.at != mutations.bytes.len() {
                return None;
            }
        }
        Some(())
    }

    /// As [`Record::each`], without looking at the changes.
    pub(crate) fn heads(&self, mut each: impl FnMut(&Head, usize)) -> Option<()> {
        let mut updates = self.updates()?;
        while updates.at < updates.bytes.len() {
            let head = updates.head()?;
            self.key(head.home)?;
            let (count, _) = updates.mutations(head.kind)?;
            each(&head, count);
        }
        Some(())
    }

    /// All updates of the record, as they were signed; only the one at `only` where that is given.
    pub(crate) fn unpack(&self, only: Option<usize>) -> Option<Vec<SignedUpdate>> {
        let node = self.key(self.node()?.0)?;
        let mut updates = self.updates()?;
        let mut all = Vec::new();
        for at in 0.. {
            if updates.at == updates.bytes.len() {
                break;
            }
            let head = updates.head()?;
            if head.kind == ALIVE {
                let table = HashResult::from_bytes(updates.fixed()?);
                if only.is_none_or(|only| only == at) {
                    all.push(self.signed(node, &head, UpdateKind::Alive { table })?);
                }
                continue;
            }
            let (count, mut mutations) = updates.mutations(head.kind)?;
            if only.is_some_and(|only| only != at) {
                continue;
            }
            let mut said = Vec::with_capacity(count);
            for _ in 0..count {
                said.push(self.named(mutations.mutation(&self.saved)?)?);
            }
            let kind = if head.kind == SNAPSHOT {
                UpdateKind::Snapshot(said)
            } else {
                UpdateKind::Delta(said)
            };
            all.push(self.signed(node, &head, kind)?);
        }
        Some(all)
    }

    fn signed(&self, node: PublicKey, head: &Head, kind: UpdateKind) -> Option<SignedUpdate> {
        let Head { home, epoch, counter, time, signature, .. } = *head;
        let home_server = self.key(home)?;
        let body = UpdateBody { node, home_server, epoch, counter, time, kind };
        Some(SignedUpdate { body, signature })
    }

    fn named(&self, mutation: PackedMutation) -> Option<UpdateMutation> {
        let friend = self.key(mutation.friend)?;
        let currency = self.saved.currencies.get(mutation.currency as usize)?.clone();
        Some(match mutation.line {
            None => UpdateMutation::Remove { friend, currency },
            Some((rate, send_capacity, recv_capacity)) => {
                let rate = *self.saved.rates.get(rate as usize)?;
                let line = IndexLine { send_capacity, recv_capacity, rate };
                UpdateMutation::Set { friend, currency, line }
            }
        })
    }

    fn cursor(&self) -> Option<Cursor<'_>> {
        let mut cursor = Cursor { bytes: &self.saved.bytes, at: self.at };
        let length = cursor.u32()? as usize;
        Some(Cursor { bytes: cursor.take(length)?, at: 0 })
    }

    fn updates(&self) -> Option<Cursor<'_>> {
        let mut cursor = self.cursor()?;
        cursor.take(12)?;
        Some(cursor)
    }
}

impl Head {
    /// The home server's number among the keys.
    pub(crate) const fn home(&self) -> u32 {
        self.home
    }

    pub(crate) const fn is_snapshot(&self) -> bool {
        self.kind == SNAPSHOT
    }
}

/// A place in the file.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = self.bytes.get(self.at..)?.first_chunk()?;
        self.at += N;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.fixed().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.fixed().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.fixed().map(u64::from_le_bytes)
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.u64()?).ok()
    }

    fn head(&mut self) -> Option<Head> {
        let kind = self.u8().filter(|kind| matches!(*kind, SNAPSHOT | DELTA | ALIVE))?;
        let home = self.u32()?;
        let (epoch, counter) = (self.u64()?, self.u64()?);
        let time = Timestamp(self.u64()?);
        let signature = Signature::from_bytes(self.fixed()?);
        Some(Head { kind, home, epoch, counter, time, signature })
    }

    /// How many changes of lines follow, and where they lie; passes over them.
    fn mutations(&mut self, kind: u8) -> Option<(usize, Self)> {
        if kind == ALIVE {
            self.take(HashResult::LEN)?;
            return Some((0, Self { bytes: &[], at: 0 }));
        }
        let count = self.u32()? as usize;
        let length = self.u32()? as usize;
        let bytes = self.take(length)?;
        // The shortest change has nine bytes.
        (count <= length / 9).then_some((count, Self { bytes, at: 0 }))
    }

    fn mutation(&mut self, saved: &Saved) -> Option<PackedMutation> {
        let kind = self.u8()?;
        let (friend, currency) = (self.u32()?, self.u32()?);
        if saved.keys.len() <= friend as usize || saved.currencies.len() <= currency as usize {
            return None;
        }
        let rate =
            |cursor: &mut Self| cursor.u32().filter(|rate| (*rate as usize) < saved.rates.len());
        let line = match kind {
            SET => {
                let rate = rate(self)?;
                let (send, receive) = (self.u64()?, self.u64()?);
                Some((rate, Credits(send.into()), Credits(receive.into())))
            }
            SET_LARGE => {
                let rate = rate(self)?;
                let [send, receive] = [self.fixed()?, self.fixed()?].map(u128::from_le_bytes);
                Some((rate, Credits(send), Credits(receive)))
            }
            REMOVE => None,
            _ => return None,
        };
        Some(PackedMutation { friend, currency, line })
    }
}
