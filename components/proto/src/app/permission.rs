//! What an application may do, and how much.

use std::collections::BTreeMap;

use crate::{Credits, Currency};

/// What an application may do besides reading, which every trusted application may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions {
    /// Ask for routes.
    pub routes: bool,
    /// Pay.
    pub buyer: bool,
    /// Make invoices.
    pub seller: bool,
    /// Change the node's configuration.
    pub config: bool,
}

/// One of the [`Permissions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// Reports and history: every trusted application has it.
    Read,
    /// Ask for routes.
    Routes,
    /// Pay.
    Buyer,
    /// Make invoices.
    Seller,
    /// Change the node's configuration.
    Config,
}

impl Permissions {
    /// Whether `permission` is among these.
    #[must_use]
    pub const fn allows(self, permission: Permission) -> bool {
        match permission {
            Permission::Read => true,
            Permission::Routes => self.routes,
            Permission::Buyer => self.buyer,
            Permission::Seller => self.seller,
            Permission::Config => self.config,
        }
    }
}

impl Permission {
    /// The word for it in tickets and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Routes => "routes",
            Self::Buyer => "buyer",
            Self::Seller => "seller",
            Self::Config => "config",
        }
    }
}

/// What one ticket bounds of an application, besides its permissions. Amounts are in the smallest
/// unit of their currency and count what mediators may take.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppLimits {
    /// The most that one payment may cost.
    pub max_payment: BTreeMap<Currency, Credits>,
    /// The most that all payments of a day may cost together.
    pub budget: BTreeMap<Currency, Credits>,
    /// How many requests a second are taken; `None`: the node's default.
    pub commands_per_second: Option<u32>,
}

/// The most currencies that a ticket may name in one of its limits.
pub const MAX_LIMITS: usize = 64;

impl AppLimits {
    /// Whether money is limited at all. If so, only currencies that are named can be paid.
    #[must_use]
    pub fn limits_money(&self) -> bool {
        !(self.max_payment.is_empty() && self.budget.is_empty())
    }

    /// Whether a currency is named.
    #[must_use]
    pub fn names(&self, currency: &Currency) -> bool {
        self.max_payment.contains_key(currency) || self.budget.contains_key(currency)
    }
}
