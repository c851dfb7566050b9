//! What a node shows its applications: one snapshot, then mutations (protocol, section 10).

use std::collections::BTreeMap;

use offset_crypto::{HashResult, PublicKey};

use crate::{
    Balance, Credits, Currency, Name, Rate, ServerAddress, Text, friend::Proposal,
    reset::ResetBalance,
};

/// The most relays, and the most index servers, in a report.
pub const MAX_SERVERS: usize = 256;
/// The most digits behind the point of a currency.
pub const MAX_DECIMALS: u8 = 18;
/// The most currencies with digits behind the point.
pub const MAX_DECIMALS_ENTRIES: usize = 256;
/// How large a page of friends may become, in bytes as [`FriendReport::size`] counts them.
pub const FRIENDS_PAGE_BYTES: usize = 128 * 1024;
/// The most friends in a page of a report.
pub const MAX_FRIENDS: usize = 4_096;

/// The most nodes that show what this one has forgotten; others are heard when these are friends.
pub const MAX_RECOVERABLE: usize = 64;
/// How large all of them may be together, in bytes as [`RecoverableReport::size`] counts them.
pub const RECOVERABLE_BYTES: usize = 32 * 1024;

/// Everything an application sees of a node's configuration and lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReport {
    /// The node.
    pub public_key: PublicKey,
    /// The currency that is used where none is given.
    pub default_currency: Currency,
    /// Whether payments without a registered invoice are taken.
    pub accepts_spontaneous: bool,
    /// Sorted by name.
    pub relays: Vec<ServerReport>,
    /// In the order in which they are tried.
    pub index_servers: Vec<ServerReport>,
    /// Sorted by name, in a page by key.
    pub friends: Vec<FriendReport>,
    /// Whether there are friends that are not in this page.
    pub more_friends: bool,
    /// With how many digits behind the point people see amounts; the others with none.
    pub decimals: BTreeMap<Currency, u8>,
    /// The newest number of the journal, 0 when it is empty.
    pub last_event: u64,
    /// Whether the node's database was older than what its friends know, and the owner has not
    /// ended the recovery.
    pub recovering: bool,
    /// Sorted by key, at most [`MAX_RECOVERABLE`]; none when the node does not recover.
    pub recoverable: Vec<RecoverableReport>,
}

/// A node that is no friend, and proves with this node's own signature that it was one: this node
/// has forgotten it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoverableReport {
    /// The other node.
    pub public_key: PublicKey,
    /// Names the state that it proves.
    pub token: HashResult,
    /// The state, sorted by currency.
    pub currencies: Vec<CurrencyReport>,
}

/// A relay or index server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerReport {
    /// The user's name for it.
    pub name: Name,
    /// Where it is.
    pub server: ServerAddress,
    /// Whether the node is connected to it (listening, for a relay).
    pub connected: bool,
    /// What went wrong last, empty when nothing did since it was connected.
    pub last_error: Text,
}

/// A friend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FriendReport {
    /// The user's name for the friend.
    pub name: Name,
    /// The friend's node.
    pub public_key: PublicKey,
    /// Where the friend listens.
    pub relays: Vec<ServerAddress>,
    /// Whether we communicate with the friend.
    pub enabled: bool,
    /// Whether a session stands and both sides agree where they are.
    pub online: bool,
    /// What went wrong last with reaching the friend, empty when nothing did.
    pub last_error: Text,
    /// Sorted by currency.
    pub currencies: Vec<CurrencyReport>,
    /// How the friendship stands.
    pub standing: FriendStanding,
    /// Where the friendship stands in a recovery of the node.
    pub recovery: FriendRecovery,
}

/// Where a friendship stands in a recovery of the node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum FriendRecovery {
    /// Nothing was lost, or it was recovered.
    #[default]
    None,
    /// Nothing was agreed with the friend since the node recovers.
    Waiting,
    /// The friend proves, with this node's own signature, that this node has lost state. Nothing
    /// moves until that state is accepted.
    Proven {
        /// The id of this node's own last token.
        token: HashResult,
        /// The state. Rates are those of now.
        currencies: Vec<CurrencyReport>,
    },
}

/// How a friendship stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FriendStanding {
    /// As usual.
    Consistent,
    /// Nothing moves until the channel begins again.
    Inconsistent(Box<InconsistentReport>),
    /// We are about to remove the friend: gone once nothing is pending and nobody owes anything.
    Removing,
    /// The friend removed us: nothing new passes, what is pending stays.
    RemovedByFriend,
}

impl FriendStanding {
    /// The terms of both sides, if the channel is inconsistent.
    #[must_use]
    pub fn inconsistent(&self) -> Option<&InconsistentReport> {
        match self {
            Self::Inconsistent(report) => Some(report),
            Self::Consistent | Self::Removing | Self::RemovedByFriend => None,
        }
    }
}

/// A channel on which something came that cannot be explained (protocol, section 8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InconsistentReport {
    /// What that was.
    pub reason: Text,
    /// On which terms we would begin again.
    pub local: TermsReport,
    /// On which terms the friend would, once it has told.
    pub remote: Option<TermsReport>,
    /// Whether we accepted the friend's terms and wait for its answer.
    pub accepted: bool,
    /// Sorted by currency.
    pub proven: Vec<ProvenReport>,
}

/// On which terms one side would begin a channel again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TermsReport {
    /// Names these terms.
    pub reset_token: HashResult,
    /// The epoch that would begin.
    pub epoch: u64,
    /// Whether anything is pending at the side whose terms these are.
    pub pending: bool,
    /// The balances, as we see them in both sides' terms.
    pub balances: Vec<ResetBalance>,
}

/// Collected requests that one side has proven to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenReport {
    /// In this currency.
    pub currency: Currency,
    /// We proved: the friend owes this.
    pub local: Credits,
    /// The friend proved: we owe this.
    pub remote: Credits,
}

/// One currency of one friend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrencyReport {
    /// Which.
    pub currency: Currency,
    /// The fee that we ask of this friend.
    pub rate: Rate,
    /// How it stands.
    pub status: CurrencyStatus,
}

/// How a currency stands with a friend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CurrencyStatus {
    /// Both sides proposed the same; payments may pass.
    Active(LineReport),
    /// Waiting for opposite opening balances.
    Proposed {
        /// What we want, whether or not the friend knows it already.
        local: Option<Proposal>,
        /// What the friend proposed.
        remote: Option<Proposal>,
    },
}

/// The numbers of a line, as we see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LineReport {
    /// Positive: the friend owes us.
    pub balance: Balance,
    /// Whether the friend may send us requests.
    pub local_requests_open: bool,
    /// Whether we may send the friend requests.
    pub remote_requests_open: bool,
    /// The most we may owe.
    pub local_max_debt: Credits,
    /// The most the friend may owe.
    pub remote_max_debt: Credits,
    /// Frozen by our requests.
    pub local_pending_debt: Credits,
    /// Frozen by the friend's requests.
    pub remote_pending_debt: Credits,
    /// The part of `local_pending_debt` that nobody will pay us, because its incoming side ended with
    /// a friendship.
    pub exposure: Credits,
}

/// A change of a [`NodeReport`]. Each replaces or removes one entry whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportMutation {
    /// The default currency is now this.
    SetDefaultCurrency(Currency),
    /// The policy for spontaneous payments is now this.
    SetAcceptsSpontaneous(bool),
    /// Amounts of a currency have so many digits behind the point.
    SetDecimals(Currency, u8),
    /// The list of relays, whole.
    SetRelays(Vec<ServerReport>),
    /// The list of index servers, whole.
    SetIndexServers(Vec<ServerReport>),
    /// Adds or replaces the friend with this key.
    SetFriend(FriendReport),
    /// Removes the friend with this key.
    RemoveFriend(PublicKey),
    /// Whether the node recovers.
    SetRecovering(bool),
    /// The nodes that show what this one has forgotten, whole.
    SetRecoverable(Vec<RecoverableReport>),
}

impl NodeReport {
    /// Applies a mutation. Removing what is not there changes nothing.
    pub fn apply(&mut self, mutation: ReportMutation) {
        match mutation {
            ReportMutation::SetDefaultCurrency(currency) => self.default_currency = currency,
            ReportMutation::SetAcceptsSpontaneous(on) => self.accepts_spontaneous = on,
            ReportMutation::SetDecimals(currency, 0) => drop(self.decimals.remove(&currency)),
            ReportMutation::SetDecimals(currency, decimals) => {
                self.decimals.insert(currency, decimals);
            }
            ReportMutation::SetRelays(relays) => self.relays = relays,
            ReportMutation::SetIndexServers(servers) => self.index_servers = servers,
            ReportMutation::SetFriend(friend) => {
                let at = self.friends.partition_point(|other| other.name < friend.name);
                match self.friends.get_mut(at) {
                    Some(same) if same.public_key == friend.public_key => *same = friend,
                    Some(_) | None => {
                        // A new friend, or one with a new name.
                        self.friends.retain(|other| other.public_key != friend.public_key);
                        let at = self.friends.partition_point(|other| other.name < friend.name);
                        self.friends.insert(at, friend);
                    }
                }
            }
            ReportMutation::RemoveFriend(key) => {
                self.friends.retain(|other| other.public_key != key);
            }
            ReportMutation::SetRecovering(on) => self.recovering = on,
            ReportMutation::SetRecoverable(nodes) => self.recoverable = nodes,
        }
    }
}

impl RecoverableReport {
    /// More bytes than this takes in a message.
    #[must_use]
    pub const fn size(&self) -> usize {
        TERMS_BYTES + LINE_BYTES * self.currencies.len()
    }
}

impl FriendReport {
    /// More bytes than this takes in a message.
    #[must_use]
    pub fn size(&self) -> usize {
        let relays = self.relays.iter().map(|relay| RELAY_BYTES + relay.address.as_str().len());
        let terms = |terms: &TermsReport| TERMS_BYTES + BALANCE_BYTES * terms.balances.len();
        let standing = self.standing.inconsistent().map_or(0, |report| {
            let remote = report.remote.as_ref().map_or(0, terms);
            let proven = BALANCE_BYTES * report.proven.len();
            TERMS_BYTES + report.reason.as_str().len() + terms(&report.local) + remote + proven
        });
        let proven = match &self.recovery {
            FriendRecovery::None | FriendRecovery::Waiting => 0,
            FriendRecovery::Proven { currencies, .. } => currencies.len(),
        };
        standing
            + FRIEND_BYTES
            + self.name.as_str().len()
            + self.last_error.as_str().len()
            + relays.sum::<usize>()
            + LINE_BYTES * (self.currencies.len() + proven)
    }
}

/// A friend without its texts, relays and currencies.
const FRIEND_BYTES: usize = 352;
/// A relay without its address.
const RELAY_BYTES: usize = 80;
/// A currency with the longest name, and the line or both proposals.
const LINE_BYTES: usize = 320;
/// Terms without their balances.
const TERMS_BYTES: usize = 128;
/// A currency and what is said of it in terms.
const BALANCE_BYTES: usize = 96;
