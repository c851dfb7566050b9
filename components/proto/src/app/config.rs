//! Changes of a node's configuration.

use offset_crypto::{HashResult, PublicKey};

use crate::{Balance, Credits, Currency, Name, Rate, ServerAddress};

/// A change of the node's configuration. Friends, relays and index servers go by the user's names.
/// Asking for what is already so succeeds and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigRequest {
    /// Listen at a relay.
    AddRelay {
        /// The user's name for it, new on this node.
        name: Name,
        /// Where it is.
        relay: ServerAddress,
    },
    /// Stop using a relay.
    RemoveRelay {
        /// Which.
        name: Name,
    },
    /// Use an index server, after those already there.
    AddIndexServer {
        /// The user's name for it, new on this node.
        name: Name,
        /// Where it is.
        server: ServerAddress,
    },
    /// Stop using an index server.
    RemoveIndexServer {
        /// Which.
        name: Name,
    },
    /// A new friend, disabled at first, with a proposal for one currency.
    AddFriend {
        /// The user's name for the friend, new on this node.
        name: Name,
        /// The friend's node.
        public_key: PublicKey,
        /// Where the friend listens.
        relays: Vec<ServerAddress>,
        /// `None`: the node's default.
        currency: Option<Currency>,
        /// Positive: the friend owes us.
        opening_balance: Balance,
    },
    /// Where a friend listens, as the friend told outside of the session.
    SetFriendRelays {
        /// Which friend.
        friend: Name,
        /// Must be the friend's own key.
        public_key: PublicKey,
        /// The new list.
        relays: Vec<ServerAddress>,
    },
    /// Another name for a friend.
    SetFriendName {
        /// Which friend.
        friend: Name,
        /// New on this node.
        new_name: Name,
    },
    /// Whether to communicate with a friend.
    SetFriendEnabled {
        /// Which friend.
        friend: Name,
        /// Or not.
        enabled: bool,
    },
    /// Proposes a currency to a friend.
    AddCurrency {
        /// Which friend.
        friend: Name,
        /// Which currency.
        currency: Currency,
        /// Positive: the friend owes us.
        opening_balance: Balance,
    },
    /// Withdraws a proposal, or disables a currency at balance 0 with nothing pending.
    RemoveCurrency {
        /// Which friend.
        friend: Name,
        /// Which currency.
        currency: Currency,
    },
    /// Whether a friend may send us requests.
    SetRequestsOpen {
        /// Which friend.
        friend: Name,
        /// `None`: the node's default.
        currency: Option<Currency>,
        /// Or not.
        open: bool,
    },
    /// The most that a friend may owe us.
    SetMaxDebt {
        /// Which friend.
        friend: Name,
        /// `None`: the node's default.
        currency: Option<Currency>,
        /// At most [`Credits::LIMIT`].
        max_debt: Credits,
    },
    /// The fee that we ask of a friend for forwarding.
    SetRate {
        /// Which friend.
        friend: Name,
        /// `None`: the node's default.
        currency: Option<Currency>,
        /// The fee.
        rate: Rate,
    },
    /// The currency that is used where none is given.
    SetDefaultCurrency {
        /// Which.
        currency: Currency,
    },
    /// With how many digits behind the point people see amounts of a currency.
    SetDecimals {
        /// `None`: the node's default.
        currency: Option<Currency>,
        /// At most [`MAX_DECIMALS`](crate::report::MAX_DECIMALS).
        decimals: u8,
    },
    /// Whether payments without a registered invoice are taken.
    SetSpontaneous {
        /// Or not.
        accept: bool,
    },
    /// For how long the books keep their entries. What is older is dropped, with one entry for each
    /// line that carries its balance forward.
    SetRetention {
        /// At least 1; `None`: for ever.
        days: Option<u32>,
    },
    /// Accepts the friend's terms to begin an inconsistent channel again.
    ResetFriend {
        /// Which friend.
        friend: Name,
        /// Of the terms that the user was shown.
        reset_token: HashResult,
    },
    /// Ends a friendship: refused while anybody owes, waits while anything is pending.
    RemoveFriend {
        /// Which friend.
        friend: Name,
        /// At once, whatever is owed or pending.
        forfeit: bool,
    },
    /// Takes the state that a friend proves for ours.
    RecoverFriend {
        /// Which friend.
        friend: Name,
        /// The token of the state that the owner looked at, see
        /// [`crate::report::FriendRecovery::Proven`].
        token: HashResult,
        /// Of a node that is no friend (any more), see [`crate::report::NodeReport::recoverable`]: it
        /// becomes one of this name. `None`: it is one.
        public_key: Option<PublicKey>,
    },
    /// Waits for nobody any more after a recovery.
    EndRecovery {
        /// Cancels requests that may have been paid while nobody can say so; without it, such
        /// requests keep the recovery from ending.
        cancel_unknown: bool,
    },
}
