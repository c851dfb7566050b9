//! The lines of all nodes of a graph, in a few large arrays.
//!
//! Each node has a [`Block`] of slots, one for each line, in one piece. A slot holds what a search
//! needs of both directions of the line, and what is needed to change either of them later. The
//! other end of a line has a slot too, its twin, known by its place in the other block, so that
//! blocks can move. The slots of lines that both ends report come first in a block: a search never
//! looks at what only one end claims.

use std::collections::BTreeMap;

use super::{Number, index, rates::RateNumber};

/// An edge, as it lies among those of one of its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Link {
    /// The most that it carries, fees included. [`u64::MAX`] says at least so much.
    pub(crate) capacity: u64,
    /// The other end.
    pub(crate) peer: Number,
    /// What the node at which the edge ends takes for forwarding.
    pub(crate) rate: RateNumber,
}

/// Where a node's slots are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Block {
    pub(super) start: u32,
    /// Slots in use.
    pub(super) len: u32,
    /// Of these the first so many are of lines that both ends report.
    pub(super) live: u32,
    /// Slots that the block has.
    room: u32,
}

impl Block {
    /// Where the slot at this place of the block lies.
    pub(super) const fn at(&self, place: u32) -> usize {
        index(self.start) + index(place)
    }

    pub(super) const fn live_slots(&self) -> std::ops::Range<usize> {
        index(self.start)..index(self.start) + index(self.live)
    }

    pub(super) const fn slots(&self) -> std::ops::Range<usize> {
        index(self.start)..index(self.start) + index(self.len)
    }

    /// A block that is filled at once.
    pub(super) fn laid_out(start: u32, len: u32, live: u32) -> Self {
        if len == 0 { Self::default() } else { Self { start, len, live, room: room_for(len) } }
    }

    /// Where the next block may begin.
    pub(super) const fn end(&self) -> u32 {
        self.start + self.room
    }
}

/// What a slot that is filled at once holds besides what both ends say of its inward edge.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    /// The rate of the inward edge.
    pub(super) rate: RateNumber,
    pub(super) outward: Link,
    /// The place of the twin in the friend's block.
    pub(super) twin: u32,
    /// Whether the node whose slot it is reports the line.
    pub(super) reported: bool,
}

/// What the two ends say of one direction: what the sender could send and the receiver receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) sender: u64,
    pub(super) receiver: u64,
}

/// All slots, as arrays side by side.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool {
    /// From the friend to the node whose block it is.
    pub(super) inward: Vec<Link>,
    /// From the node to the friend.
    pub(super) outward: Vec<Link>,
    /// Of the two reports about the inward edge the larger one; its capacity is the smaller.
    larger: Vec<u64>,
    /// The twin's place in its block, and two flags.
    twins: Vec<u32>,
    /// Blocks that nobody uses, by their room.
    free: BTreeMap<u32, Vec<u32>>,
    free_slots: usize,
}

/// The node whose slot it is reports the line.
const REPORTED: u32 = 1 << 31;
/// Of the two reports about the inward edge the node's own is the smaller one.
const OWN_IS_LESS: u32 = 1 << 30;
const PLACE: u32 = OWN_IS_LESS - 1;

impl Pool {
    /// The place of a slot's twin in the friend's block.
    pub(super) fn twin(&self, slot: usize) -> u32 {
        self.twins[slot] & PLACE
    }

    pub(super) fn is_reported(&self, slot: usize) -> bool {
        self.twins[slot] & REPORTED != 0
    }

    pub(super) fn set_reported(&mut self, slot: usize, reported: bool) {
        self.twins[slot] = self.twins[slot] & !REPORTED | if reported { REPORTED } else { 0 };
    }

    /// What both ends say of a slot's inward edge.
    pub(super) fn said(&self, slot: usize) -> Said {
        let (less, more) = (self.inward[slot].capacity, self.larger[slot]);
        if self.twins[slot] & OWN_IS_LESS != 0 {
            Said { sender: more, receiver: less }
        } else {
            Said { sender: less, receiver: more }
        }
    }

    /// Sets what both ends say of a slot's inward edge, in the twin too.
    pub(super) fn say(&mut self, slot: usize, twin: usize, said: Said) {
        let own_is_less = said.receiver < said.sender;
        let capacity = said.sender.min(said.receiver);
        self.inward[slot].capacity = capacity;
        self.larger[slot] = said.sender.max(said.receiver);
        self.twins[slot] =
            self.twins[slot] & !OWN_IS_LESS | if own_is_less { OWN_IS_LESS } else { 0 };
        self.outward[twin].capacity = capacity;
    }

    /// Makes room for so many slots.
    pub(super) fn reserve(&mut self, slots: usize) {
        self.inward.reserve_exact(slots);
        self.outward.reserve_exact(slots);
        self.larger.reserve_exact(slots);
        self.twins.reserve_exact(slots);
    }

    /// Gives room back that was made for more slots than there are.
    pub(super) fn trim(&mut self) {
        let most = self.inward.len() + self.inward.len() / 32;
        self.inward.shrink_to(most);
        self.outward.shrink_to(most);
        self.larger.shrink_to(most);
        self.twins.shrink_to(most);
    }

    /// Adds a slot at the end of all. Its twin is added for itself.
    pub(super) fn append(&mut self, slot: Slot, said: Said) {
        let Slot { rate, outward, twin, reported } = slot;
        let Said { sender, receiver } = said;
        let own_is_less = if receiver < sender { OWN_IS_LESS } else { 0 };
        self.inward.push(Link { capacity: sender.min(receiver), peer: outward.peer, rate });
        self.outward.push(outward);
        self.larger.push(sender.max(receiver));
        self.twins.push(twin | own_is_less | if reported { REPORTED } else { 0 });
    }

    /// Adds what the last block has in reserve, up to where the next one begins.
    pub(super) fn append_unused(&mut self, end: u32) {
        if index(end) <= self.inward.len() {
            return;
        }
        self.inward.resize(index(end), Link::default());
        self.outward.resize(index(end), Link::default());
        self.larger.resize(index(end), 0);
        self.twins.resize(index(end), 0);
    }

    /// The place of the slot with this friend.
    pub(super) fn place_of(&self, block: &Block, friend: Number) -> Option<u32> {
        let place = self.inward[block.slots()].iter().position(|link| link.peer == friend)?;
        u32::try_from(place).ok()
    }

    /// Adds an empty slot at the end of a block. The twin is to be set by the caller.
    pub(super) fn push(&mut self, block: &mut Block, friend: Number, twin: u32) {
        if block.len == block.room {
            self.resize(block, room_for(block.len + 1));
        }
        let slot = block.at(block.len);
        let link = Link { capacity: 0, peer: friend, rate: super::rates::FREE };
        (self.inward[slot], self.outward[slot]) = (link, link);
        (self.larger[slot], self.twins[slot]) = (0, twin);
        block.len += 1;
    }

    /// Takes away the last slot of a block.
    pub(super) fn pop(&mut self, block: &mut Block) {
        block.len -= 1;
        if block.len == 0 {
            self.release(*block);
            *block = Block::default();
        } else if block.len < block.room / 2 {
            self.resize(block, room_for(block.len));
        }
    }

    /// Swaps two slots of one block. The twins are to be told by the caller.
    pub(super) fn swap(&mut self, one: usize, other: usize) {
        self.inward.swap(one, other);
        self.outward.swap(one, other);
        self.larger.swap(one, other);
        self.twins.swap(one, other);
    }

    pub(super) fn set_twin(&mut self, slot: usize, place: u32) {
        self.twins[slot] = self.twins[slot] & !PLACE | place;
    }

    /// Moves a block to one with another room.
    fn resize(&mut self, block: &mut Block, room: u32) {
        let start = self.take(room);
        let (from, to) = (block.slots(), index(start));
        self.inward.copy_within(from.clone(), to);
        self.outward.copy_within(from.clone(), to);
        self.larger.copy_within(from.clone(), to);
        self.twins.copy_within(from, to);
        self.release(*block);
        (block.start, block.room) = (start, room);
    }

    fn take(&mut self, room: u32) -> u32 {
        let fitting = self.free.range_mut(room..).next();
        if let Some((found, starts)) = fitting.map(|(found, starts)| (*found, starts))
            && let Some(start) = starts.pop()
        {
            if starts.is_empty() {
                self.free.remove(&found);
            }
            if room < found {
                self.free.entry(found - room).or_default().push(start + room);
            }
            self.free_slots -= index(room);
            return start;
        }
        let start = self.inward.len();
        let end = start + index(room);
        extend(&mut self.inward, end);
        extend(&mut self.outward, end);
        extend(&mut self.larger, end);
        extend(&mut self.twins, end);
        u32::try_from(start).expect("the directory bounds the lines far below 2^32")
    }

    fn release(&mut self, block: Block) {
        if block.room != 0 {
            self.free.entry(block.room).or_default().push(block.start);
            self.free_slots += index(block.room);
        }
    }

    /// Whether a good part of the arrays is unused: nodes grew, or lines went.
    pub(super) fn is_sparse(&self) -> bool {
        SPARSE_SLOTS < self.free_slots && self.inward.len() / 24 < self.free_slots
    }

    /// Moves all blocks together, in the order given.
    pub(super) fn compact<'a>(&mut self, blocks: impl Iterator<Item = &'a mut Block>) {
        let used = self.inward.len() - self.free_slots;
        let mut compact = Self::default();
        compact.inward.reserve_exact(used);
        compact.outward.reserve_exact(used);
        compact.larger.reserve_exact(used);
        compact.twins.reserve_exact(used);
        for block in blocks.filter(|block| block.room != 0) {
            let from = block.slots();
            block.start = compact.take(block.room);
            let to = block.slots();
            compact.inward[to.clone()].copy_from_slice(&self.inward[from.clone()]);
            compact.outward[to.clone()].copy_from_slice(&self.outward[from.clone()]);
            compact.larger[to.clone()].copy_from_slice(&self.larger[from.clone()]);
            compact.twins[to].copy_from_slice(&self.twins[from]);
        }
        *self = compact;
    }

    /// Slots in blocks, used and unused.
    pub(super) fn check_invariants(&self, blocks: impl Iterator<Item = Block>) {
        let mut spans: Vec<(u32, u32)> =
            blocks.filter(|block| block.room != 0).map(|block| (block.start, block.room)).collect();
        let free: usize = self.free.iter().map(|(room, all)| index(*room) * all.len()).sum();
        assert_eq!(free, self.free_slots);
        for (room, starts) in &self.free {
            spans.extend(starts.iter().map(|start| (*start, *room)));
        }
        spans.sort_unstable();
        let end = spans.iter().fold(0, |end, (start, room)| {
            assert_eq!(end, *start, "blocks lie side by side");
            start + room
        });
        assert_eq!(index(end), self.inward.len());
    }

    pub(super) fn bytes(&self) -> usize {
        let links = self.inward.capacity() + self.outward.capacity();
        links * size_of::<Link>() + self.larger.capacity() * 8 + self.twins.capacity() * 4
    }
}

/// The room of the smallest block for so many slots: exact for few, in steps of a sixteenth for many.
fn room_for(slots: u32) -> u32 {
    let step = (slots.max(1).ilog2().saturating_sub(4)).min(24);
    slots.next_multiple_of(1 << step)
}

/// Lengthens an array in steps of a thirty-second: doubling would leave half of it unused.
fn extend<T: Clone + Default>(array: &mut Vec<T>, len: usize) {
    if array.capacity() < len {
        array.reserve_exact((len - array.len()).max(array.len() / 32));
    }
    array.resize(len, T::default());
}

/// Fewer unused slots are not worth moving blocks.
const SPARSE_SLOTS: usize = 1 << 10;
