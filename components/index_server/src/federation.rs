//! What federated servers tell each other, so that all come to know the same (protocol, section 9).
//!
//! ```text
//!   connected:   A -- digest pages (node, epoch, counter) --> B      and the other way round
//!   then:        A -- what B's digest lacks ---------------> B
//!   ever after:  A -- each new update, to all but its source -> B
//!   on a gap:    A <-- wanted {node} ----------------------- B
//! ```
//!
//! Nothing is queued as a message. For each peer the federation remembers which nodes it lacks and
//! since which version; the messages are made when the connection has room for them. A slow peer so
//! costs at most one small entry a node, and gets the newest state when it can take it.
//!
//! Invariant: *bounded memory* (per peer at most one entry a node of the directory or of those gone).

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use offset_crypto::PublicKey;
use offset_proto::{
    Timestamp,
    index::{DigestEntry, IndexPeerMessage, MAX_DIGEST_ENTRIES, NodeDown},
};

use crate::directory::{Directory, Refusal, Verdict, VerifiedUpdate, Version, version};

/// What a peer said, updates with their signature checked.
#[derive(Debug, Clone)]
pub enum PeerInput {
    /// As [`IndexPeerMessage::Digest`].
    Digest {
        /// What the peer has.
        entries: Vec<DigestEntry>,
        /// Whether this page ends the digest.
        last: bool,
    },
    /// As [`IndexPeerMessage::Update`].
    Update(VerifiedUpdate),
    /// As [`IndexPeerMessage::Wanted`].
    Wanted(PublicKey),
    /// As [`IndexPeerMessage::NodeDown`].
    NodeDown(NodeDown),
}

impl PeerInput {
    /// Checks the signature where the message is an update.
    ///
    /// # Errors
    /// [`BadSignature`] when it is not the node's.
    pub fn check(message: IndexPeerMessage) -> Result<Self, BadSignature> {
        Ok(match message {
            IndexPeerMessage::Digest { entries, last } => Self::Digest { entries, last },
            IndexPeerMessage::Update(update) => {
                let node = update.body.node;
                Self::Update(VerifiedUpdate::check(*update).ok_or(BadSignature(node))?)
            }
            IndexPeerMessage::Wanted { node } => Self::Wanted(node),
            IndexPeerMessage::NodeDown(down) => Self::NodeDown(down),
        })
    }
}

/// An update that its node did not sign: whoever sends it breaks the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the update of {0:?} is not signed by that node")]
pub struct BadSignature(pub PublicKey);

/// The connected peers and what each lacks.
#[derive(Debug, Default)]
pub struct Federation {
    peers: BTreeMap<PublicKey, Peer>,
}

#[derive(Debug, Default)]
struct Peer {
    /// Where our digest goes on; `None` when it was sent.
    digest_from: Option<DigestPlace>,
    /// Up to where the peer's digest was compared.
    compared: Option<PublicKey>,
    /// The peer's digest has ended. There is one a connection: comparing looks at every node, so
    /// nobody can ask for it as often as they like.
    all_compared: bool,
    lacks: BTreeMap<PublicKey, Lack>,
    /// The node that was last told to its end: the next one's turn comes after it.
    turn: Option<PublicKey>,
    wants: BTreeSet<PublicKey>,
    asked: BTreeMap<PublicKey, Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DigestPlace {
    Start,
    After(PublicKey),
}

/// What a peer is to be told of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lack {
    /// What is stored after this version (everything, when it knows none).
    Updates(Option<Version>),
    /// That it left.
    Down,
}

impl Federation {
    /// A connection with this peer stands, in place of any earlier one.
    pub fn handle_connected(&mut self, peer: PublicKey) {
        let fresh = Peer { digest_from: Some(DigestPlace::Start), ..Peer::default() };
        self.peers.insert(peer, fresh);
    }

    /// The connection is gone.
    pub fn handle_disconnected(&mut self, peer: &PublicKey) {
        self.peers.remove(peer);
    }

    /// A message of a connected peer. A refusal is for the log only: servers may differ in their
    /// limits and clocks without breaking the protocol.
    ///
    /// # Errors
    /// The [`Refusal`] of an update that was not taken.
    pub fn handle_message(
        &mut self,
        now: Timestamp,
        directory: &mut Directory,
        peer: &PublicKey,
        input: PeerInput,
    ) -> Result<(), Refusal> {
        match input {
            PeerInput::Digest { entries, last } => {
                self.compare(directory, peer, &entries, last);
            }
            PeerInput::Wanted(node) => {
                if let Some(peer) = self.peers.get_mut(peer)
                    && directory.home_server(&node).is_some()
                {
                    peer.lacks.insert(node, Lack::Updates(None));
                }
            }
            PeerInput::NodeDown(down) => {
                let node = down.node;
                if directory.handle_node_down(now, down) {
                    self.node_left(&node, Some(peer));
                }
            }
            PeerInput::Update(update) => {
                let (node, new) = (update.update().body.node, version(update.update()));
                match directory.handle_update(now, update, false) {
                    Verdict::Applied { .. } => self.updated(&node, new, Some(peer)),
                    Verdict::NotNewer { .. } => self.peer_has(peer, &node, new),
                    Verdict::Gap => self.ask(now, peer, node),
                    Verdict::Refused(refusal) => return Err(refusal),
                }
            }
        }
        Ok(())
    }

    /// The directory took an update of a node: every peer but its source lacks it.
    pub fn updated(&mut self, node: &PublicKey, new: Version, source: Option<&PublicKey>) {
        for (key, peer) in &mut self.peers {
            if Some(key) == source {
                peer.has(node, new);
                continue;
            }
            let before = (new.0, new.1.saturating_sub(1));
            let lack = peer.lacks.entry(*node).or_insert(Lack::Updates(Some(before)));
            if *lack == Lack::Down {
                *lack = Lack::Updates(Some(before));
            }
        }
    }

    /// The directory took a home server's word that a node left.
    pub fn node_left(&mut self, node: &PublicKey, source: Option<&PublicKey>) {
        for (key, peer) in &mut self.peers {
            if Some(key) == source {
                peer.lacks.remove(node);
            } else {
                peer.lacks.insert(*node, Lack::Down);
            }
        }
    }

    /// Forgets what peers lack of nodes that are no longer known; to be called now and then.
    pub fn forget_gone(&mut self, directory: &Directory) {
        for peer in self.peers.values_mut() {
            peer.lacks.retain(|node, _| directory.version(node).is_some());
        }
    }

    /// The next message for a peer, made from what the directory holds now; `None` when it lacks
    /// nothing.
    #[must_use]
    pub fn next_message(
        &mut self,
        directory: &Directory,
        peer: &PublicKey,
    ) -> Option<IndexPeerMessage> {
        let peer = self.peers.get_mut(peer)?;
        if let Some(node) = peer.wants.pop_first() {
            return Some(IndexPeerMessage::Wanted { node });
        }
        if let Some(place) = peer.digest_from {
            return Some(peer.digest_page(directory, place));
        }
        loop {
            let node = peer.next_lacking()?;
            let message = match *peer.lacks.get(&node)? {
                Lack::Down => {
                    peer.done(node);
                    directory.down(&node).cloned().map(IndexPeerMessage::NodeDown)
                }
                Lack::Updates(after) => {
                    let update = directory.update_after(&node, after);
                    let sent = update.as_ref().map(|update| version(update.update()));
                    if sent == directory.version(&node) || sent.is_none() {
                        peer.done(node);
                    } else {
                        peer.lacks.insert(node, Lack::Updates(sent));
                    }
                    update.map(|update| IndexPeerMessage::Update(Box::new(update.update().clone())))
                }
            };
            if message.is_some() {
                return message;
            }
        }
    }

    /// Of how many nodes peers are still to be told something, summed over the peers.
    #[must_use]
    pub fn lacking(&self) -> usize {
        self.peers.values().map(|peer| peer.lacks.len()).sum()
    }

    /// Whether there is anything for a peer.
    #[must_use]
    pub fn has_messages(&self, peer: &PublicKey) -> bool {
        self.peers.get(peer).is_some_and(|peer| {
            peer.digest_from.is_some() || !peer.lacks.is_empty() || !peer.wants.is_empty()
        })
    }

    /// Compares a page of the peer's digest with the directory: what the peer lacks will be sent.
    fn compare(
        &mut self,
        directory: &Directory,
        peer: &PublicKey,
        entries: &[DigestEntry],
        last: bool,
    ) {
        let Some(peer) = self.peers.get_mut(peer) else { return };
        if peer.all_compared || (entries.is_empty() && !last) {
            return;
        }
        peer.all_compared = last;
        let theirs: BTreeMap<PublicKey, Version> =
            entries.iter().map(|entry| (entry.node, (entry.epoch, entry.counter))).collect();
        let end = if last { None } else { theirs.keys().next_back().copied() };
        let in_page = |entry: &DigestEntry| end.is_none_or(|end| entry.node <= end);
        for mine in directory.digest(peer.compared).take_while(in_page) {
            let known = theirs.get(&mine.node).copied();
            if known.is_none_or(|known| known < (mine.epoch, mine.counter)) {
                peer.lacks.insert(mine.node, Lack::Updates(known));
            }
        }
        for (node, known) in &theirs {
            let down = directory.down(node);
            if down.is_some_and(|down| *known <= (down.epoch, down.counter)) {
                peer.lacks.insert(*node, Lack::Down);
            }
        }
        peer.compared = end.or(peer.compared);
    }

    fn peer_has(&mut self, peer: &PublicKey, node: &PublicKey, version: Version) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.has(node, version);
        }
    }

    /// Asks a peer for all of a node, unless it was asked a moment ago.
    fn ask(&mut self, now: Timestamp, peer: &PublicKey, node: PublicKey) {
        let Some(peer) = self.peers.get_mut(peer) else { return };
        peer.asked.retain(|_, asked_at| now.ms_since(*asked_at) < ASK_AGAIN_MS);
        if peer.asked.len() < MAX_ASKED && !peer.asked.contains_key(&node) {
            peer.asked.insert(node, now);
            peer.wants.insert(node);
        }
    }
}

impl Peer {
    /// The peer knows this version, as it sent it.
    fn has(&mut self, node: &PublicKey, version: Version) {
        if let Some(Lack::Updates(after)) = self.lacks.get_mut(node)
            && after.is_none_or(|after| after < version)
        {
            *after = Some(version);
        }
    }

    /// The peer was told all of a node.
    fn done(&mut self, node: PublicKey) {
        self.lacks.remove(&node);
        self.turn = Some(node);
    }

    fn digest_page(&mut self, directory: &Directory, place: DigestPlace) -> IndexPeerMessage {
        let after = match place {
            DigestPlace::Start => None,
            DigestPlace::After(node) => Some(node),
        };
        let mut rest = directory.digest(after);
        let entries: Vec<DigestEntry> = rest.by_ref().take(MAX_DIGEST_ENTRIES).collect();
        let last = rest.next().is_none();
        self.digest_from = match entries.last() {
            Some(entry) if !last => Some(DigestPlace::After(entry.node)),
            Some(_) | None => None,
        };
        IndexPeerMessage::Digest { entries, last }
    }

    /// The node whose turn it is among those of which the peer lacks something.
    fn next_lacking(&self) -> Option<PublicKey> {
        let from = self.turn.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.lacks.range((from, Bound::Unbounded)).next();
        next.or_else(|| self.lacks.first_key_value()).map(|(node, _)| *node)
    }
}

/// A peer is not asked again for the same node sooner.
const ASK_AGAIN_MS: u64 = 5_000;
/// The most nodes that one peer is asked for in that time.
const MAX_ASKED: usize = 1_024;

#[cfg(test)]
mod tests;
