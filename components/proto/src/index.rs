//! Messages of the index: a node's signed updates, route requests, federation (protocol, section
//! 9).

use std::collections::BTreeMap;

use offset_crypto::{HashResult, PublicKey, Signature};

use crate::{Credits, Currency, Rate, Text, Timestamp};

/// The most mutations in one update.
pub const MAX_MUTATIONS: usize = 1_000;
/// The most keys in the `exclude` list of a route request (each edge counts as two).
pub const MAX_EXCLUDED_EDGES: usize = 64;
/// The most routes in one multi-route.
pub const MAX_PARTS: usize = 16;
/// The most friends that a request for cycles names on either side.
pub const MAX_CYCLE_ENDS: usize = 128;
/// The most cycles in one answer.
pub const MAX_CYCLES: usize = 8;
/// The most multi-routes in one answer.
pub const MAX_MULTI_ROUTES: usize = 8;
/// The most entries in one digest page.
pub const MAX_DIGEST_ENTRIES: usize = 2_048;

/// A node's statement about its own lines, signed by the node, stored and passed on as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedUpdate {
    /// Everything that is signed.
    pub body: UpdateBody,
    /// The node's signature.
    pub signature: Signature,
}

/// The signed part of a [`SignedUpdate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateBody {
    /// Who speaks.
    pub node: PublicKey,
    /// The index server that the node is connected to; it may say that the node left.
    pub home_server: PublicKey,
    /// Rises with every start of the node.
    pub epoch: u64,
    /// Rises by one with every update of an epoch.
    pub counter: u64,
    /// When it was made.
    pub time: Timestamp,
    /// What it says.
    pub kind: UpdateKind,
}

/// What an update says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateKind {
    /// Forget what was known of this node, then apply these.
    Snapshot(Vec<UpdateMutation>),
    /// Apply these to what is known.
    Delta(Vec<UpdateMutation>),
    /// Nothing changed; the hash of the node's table as it should be known.
    Alive {
        /// `hash(INDEX_TABLE, ..)` of the sorted lines.
        table: HashResult,
    },
}

/// One change of a node's table of lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateMutation {
    /// The line with this friend in this currency is now so.
    Set {
        /// The other end.
        friend: PublicKey,
        /// Which currency.
        currency: Currency,
        /// Its state.
        line: IndexLine,
    },
    /// There is no such line any more.
    Remove {
        /// The other end.
        friend: PublicKey,
        /// Which currency.
        currency: Currency,
    },
}

/// What a node says of one of its lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IndexLine {
    /// How much the node could push to the friend now.
    pub send_capacity: Credits,
    /// How much the friend could push to the node now.
    pub recv_capacity: Credits,
    /// The fee that the node asks of this friend for forwarding.
    pub rate: Rate,
}

/// All lines of one node by friend and currency; [`crate::canonical::index_table_hash`] is its hash.
pub type IndexTable = BTreeMap<(PublicKey, Currency), IndexLine>;

/// A node's home server says that the node left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeDown {
    /// Who left.
    pub node: PublicKey,
    /// The epoch of the newest update that the server has.
    pub epoch: u64,
    /// Its counter.
    pub counter: u64,
    /// The home server's signature.
    pub signature: Signature,
}

/// Matches an answer to its request on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteRequestId(pub u64);

/// Which routes are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteQuery {
    /// In which currency.
    pub currency: Currency,
    /// How much must arrive.
    pub amount: Credits,
    /// Who pays.
    pub source: PublicKey,
    /// Who is paid.
    pub destination: PublicKey,
    /// Directed edges not to use, at most [`MAX_EXCLUDED_EDGES`].
    pub exclude: Vec<Edge>,
    /// How many routes may share the payment, 1 to [`MAX_PARTS`].
    pub max_parts: u8,
}

/// One direction of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// Who would push credits.
    pub from: PublicKey,
    /// To whom.
    pub to: PublicKey,
}

/// One way for one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Source first, destination last: 2 to 32 keys, none twice.
    pub keys: Vec<PublicKey>,
    /// What this part pays to the destination.
    pub amount: Credits,
    /// What the mediators take.
    pub fee: Credits,
}

/// Routes that carry the whole amount together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultiRoute {
    /// 1 to [`MAX_PARTS`] routes.
    pub routes: Vec<Route>,
    /// The sum of their fees.
    pub total_fee: Credits,
    /// The age of the oldest statement used, in milliseconds.
    pub age_ms: u64,
}

/// Which cycles are wanted (protocol, section 7, clearing).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CycleQuery {
    /// In which currency.
    pub currency: Currency,
    /// Where cycles begin and end.
    pub node: PublicKey,
    /// Friends that owe the node, at most [`MAX_CYCLE_ENDS`]: a cycle begins with one of them. None
    /// is named twice, in neither list nor in both.
    pub first: Vec<CycleEnd>,
    /// Friends whom the node owes, at most [`MAX_CYCLE_ENDS`]: a cycle ends with one of them.
    pub last: Vec<CycleEnd>,
    /// The most that mediators may take, of each million that moves.
    pub max_fee_ppm: u32,
    /// Directed edges not to use, at most [`MAX_EXCLUDED_EDGES`].
    pub exclude: Vec<Edge>,
}

impl CycleQuery {
    /// The most that mediators may take of a cycle that pays `amount`.
    #[must_use]
    pub fn max_fee(&self, amount: Credits) -> Credits {
        share_of(amount, self.max_fee_ppm)
    }
}

/// So many millionths of an amount, rounded down; the largest amount when that does not fit.
#[must_use]
pub fn share_of(amount: Credits, ppm: u32) -> Credits {
    const MILLION: u128 = 1_000_000;
    let (whole, rest) = (amount.0 / MILLION, amount.0 % MILLION);
    let share = whole.checked_mul(u128::from(ppm));
    let share = share.and_then(|share| share.checked_add(rest * u128::from(ppm) / MILLION));
    Credits(share.unwrap_or(u128::MAX))
}

/// A friend with whom a cycle may begin or end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CycleEnd {
    /// Who.
    pub friend: PublicKey,
    /// What may move over the line with this friend, fees included.
    pub most: Credits,
}

/// A way back to where it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycle {
    /// Its keys begin and end with the node; no other is named twice: 4 to 32.
    pub route: Route,
    /// The age of the oldest statement used, in milliseconds.
    pub age_ms: u64,
}

/// What a node tells its index server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientToIndex {
    /// About the node's own lines.
    Update(Box<SignedUpdate>),
    /// Asks for routes.
    RequestRoutes {
        /// Names the answer.
        request_id: RouteRequestId,
        /// Which routes.
        query: RouteQuery,
    },
    /// Asks for cycles.
    RequestCycles {
        /// Names the answer; one row of numbers for both kinds of request.
        request_id: RouteRequestId,
        /// Which cycles.
        query: CycleQuery,
    },
}

/// What an index server tells a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexToClient {
    /// The node's update was not newer than what is known: go on above this.
    Behind {
        /// The newest known.
        epoch: u64,
        /// The newest known.
        counter: u64,
    },
    /// An update was missed or the table differs: a snapshot is wanted.
    SnapshotWanted,
    /// The answer, cheapest first; empty when there is no way.
    Routes {
        /// As in the request.
        request_id: RouteRequestId,
        /// At most [`MAX_MULTI_ROUTES`].
        multi_routes: Vec<MultiRoute>,
        /// Whether the search stopped at its bound of work.
        cut_short: bool,
    },
    /// The request was not looked at (too many of them, or nonsense).
    Refused {
        /// As in the request.
        request_id: RouteRequestId,
        /// Why.
        reason: Text,
    },
    /// The answer to a request for cycles: feasible together; empty when there is none.
    Cycles {
        /// As in the request.
        request_id: RouteRequestId,
        /// At most [`MAX_CYCLES`].
        cycles: Vec<Cycle>,
        /// Whether the search stopped at its bound of work.
        cut_short: bool,
    },
}

/// What is newest of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DigestEntry {
    /// Which node.
    pub node: PublicKey,
    /// The newest update's epoch.
    pub epoch: u64,
    /// Its counter.
    pub counter: u64,
}

/// What two federated index servers tell each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexPeerMessage {
    /// A page of what the sender has, sorted by node; sent on connecting.
    Digest {
        /// At most [`MAX_DIGEST_ENTRIES`].
        entries: Vec<DigestEntry>,
        /// Whether this page ends the digest.
        last: bool,
    },
    /// A node's update, passed on as signed.
    Update(Box<SignedUpdate>),
    /// Asks for the last snapshot of a node and what followed it.
    Wanted {
        /// Which node.
        node: PublicKey,
    },
    /// A node left, in the words of its home server.
    NodeDown(NodeDown),
}
