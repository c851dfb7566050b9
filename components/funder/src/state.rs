//! Everything a node must remember, as rows: what the store keeps and the funder works on.

mod friend;
mod invoice;
mod payment;

use std::collections::BTreeMap;

use offset_crypto::{HashResult, InvoiceId, PaymentId, PublicKey, RequestId};
use offset_proto::{Credits, Currency, Name, ServerAddress, Timestamp, reset::Collected};

use crate::side::Side;

pub use friend::{
    Agreement, ArchivedFriend, BeforeSent, Channel, Friend, FriendInfo, FriendRecovery,
    Inconsistent, Line, LineRow, Link, Pending, QueuedOp, Stage,
};
pub use invoice::{InvoicePhase, InvoiceRow, SetKey, SetRow};
pub(crate) use payment::sum;
pub use payment::{Attempt, Decision, Part, PartState, PaymentRow, Phase};

/// The durable state of a node.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Settings of the whole node.
    pub settings: Settings,
    /// Where we listen, by the user's name.
    pub relays: BTreeMap<Name, ServerAddress>,
    /// Index servers by the user's name.
    pub index_servers: BTreeMap<Name, IndexServer>,
    /// Friends by key.
    pub friends: BTreeMap<PublicKey, Friend>,
    /// Friends that were removed, by key.
    pub archive: BTreeMap<PublicKey, ArchivedFriend>,
    /// Our own registered invoices that have not ended.
    pub invoices: BTreeMap<InvoiceId, InvoiceRow>,
    /// What arrived for invoices, by invoice and buyer's lock.
    pub sets: BTreeMap<SetKey, SetRow>,
    /// Our own payments that have not ended.
    pub payments: BTreeMap<PaymentId, PaymentRow>,
    /// The newest entries of the journal, by number.
    pub journal: BTreeMap<u64, JournalRow>,
    /// What apps spent lately, by hour; what is under way is in [`State::payments`].
    pub spent: BTreeMap<SpentKey, Credits>,
    /// What was collected here for no invoice of ours, see [`settled_id`], and can be paid no more.
    /// A running node holds what is not durable yet, and looks up the rest
    /// ([`Funder::past_wanted`](crate::Funder::past_wanted)).
    pub settled: std::collections::BTreeSet<HashResult>,
    /// The sequence number of the last entry of the books, 0 when there is none. The entries
    /// themselves are kept by the store alone.
    pub last_entry: u64,
    /// What was collected of us while nothing here knew for whom it had been sent, by friend,
    /// currency and id there: answered when its request comes (protocol, section 6.1).
    pub alone: BTreeMap<AloneKey, KeptCollect>,
    /// Since this database turned out not to be the newest, until the operator ends the recovery.
    pub recovery: Option<Recovery>,
}

/// A node whose database is older than what its friends know of it (protocol, section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// Since when.
    pub since: Timestamp,
    /// Whether what friends prove is installed at once, and unknown endings are cancelled
    /// (`stnode --recover`); else each waits for the operator's word.
    pub at_once: bool,
}

/// Names a request that we sent: friend, currency and id.
pub type AloneKey = (PublicKey, Currency, RequestId);

/// A request that was collected: its response and locks, kept beyond its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptCollect {
    /// On whose line.
    pub friend: PublicKey,
    /// Who sent the request.
    pub sender: Side,
    /// When it was collected.
    pub at: Timestamp,
    /// What moved.
    pub amount: Credits,
    /// The line's currency, the id, response and locks.
    pub collected: Collected,
}

/// For how long a [`KeptCollect`] is kept at least: 90 days (protocol, section 6.6).
pub const KEPT_MS: u64 = 90 * 24 * 3_600_000;

/// Settings of the whole node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The currency that is used where none is given.
    pub default_currency: Currency,
    /// Whether payments without a registered invoice are taken.
    pub accepts_spontaneous: bool,
    /// For how many days the books keep their entries; `None`: for ever.
    pub retention_days: Option<u32>,
    /// With how many digits behind the point people see amounts; currencies that are not named are
    /// seen as they are.
    pub decimals: BTreeMap<Currency, u8>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_currency: Currency::fallback(),
            accepts_spontaneous: true,
            retention_days: None,
            decimals: BTreeMap::new(),
        }
    }
}

/// A configured index server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexServer {
    /// Where it is.
    pub server: ServerAddress,
    /// Lower ones are tried first; unique.
    pub position: u64,
}

/// What an entry of the journal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum JournalRow {
    /// A payment of our own moved on.
    Payment(PaymentId),
    /// A registered invoice of our own moved on.
    Invoice(InvoiceId),
}

/// Names what an application spent in one hour in one currency.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpentKey {
    /// The application.
    pub app: PublicKey,
    /// In which currency.
    pub currency: Currency,
    /// In which hour since 1970 the payments were ordered.
    pub hour: u64,
}

/// What [`State::settled`] holds: the hash of an invoice id, currency and total.
#[must_use]
pub fn settled_id(invoice_id: &InvoiceId, currency: &Currency, total: Credits) -> HashResult {
    let mut out = offset_proto::canonical::Writer::default();
    out.fixed(invoice_id).text(currency.as_str()).u128(total.0);
    offset_crypto::hash(&out.into_bytes())
}

impl State {
    /// The friend with this name.
    #[must_use]
    pub fn friend_named(&self, name: &Name) -> Option<(&PublicKey, &Friend)> {
        self.friends.iter().find(|(_, friend)| friend.info.name == *name)
    }

    /// A pending request.
    #[must_use]
    pub fn pending(
        &self,
        friend: &PublicKey,
        currency: &Currency,
        sender: Side,
        id: &RequestId,
    ) -> Option<&Pending> {
        let credit = self.friends.get(friend)?.lines.get(currency)?.credit.as_ref()?;
        credit.pending(sender).get(id)
    }
}
