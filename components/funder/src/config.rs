//! The funder's own limits and times, as one plain structure.

/// What an operator could tune; the defaults are the protocol's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How long a request may wait for the token before it is cancelled (section 6.1).
    pub queue_timeout_ms: u64,
    /// How long a payment may stay undecided when the buyer names no deadline (section 7).
    pub payment_deadline_ms: u64,
    /// How long after it was ordered a payment without a route is tried again (section 7).
    pub route_patience_ms: u64,
    /// How long to wait before asking for routes again.
    pub route_retry_ms: u64,
    /// How long a request of our own may stay without an answer before its whole attempt is released
    /// and another one begins (section 6.5); at most a third of the time that the payment has.
    pub part_patience_ms: u64,
    /// Over how many routes at once a payment goes when the buyer does not say (section 7).
    pub max_parts: u8,
    /// How long an invoice lives when the seller does not say (section 7).
    pub invoice_expiry_ms: u64,
    /// How long after its expiry a committed invoice is held when the seller does not say (section
    /// 7).
    pub invoice_hold_ms: u64,
    /// How long a spontaneous or incomplete set is kept without a commit (section 6.3).
    pub set_patience_ms: u64,
    /// The longest hold that we mediate (section 6.1).
    pub max_hold_seconds: u64,
    /// How many payments of our own may be under way at once.
    pub max_payments: usize,
    /// How many invoices of our own may be open at once.
    pub max_invoices: usize,
    /// How many friends there may be.
    pub max_friends: usize,
    /// How many empty move tokens a friend may ask for in a second (section 5).
    pub max_empty_tokens_per_second: u32,
    /// How many entries the journal keeps at least (section 10).
    pub journal_entries: usize,
    /// In debug builds: after how many steps all invariants are checked.
    pub check_every: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            queue_timeout_ms: 10_000,
            payment_deadline_ms: 30_000,
            route_patience_ms: 3_000,
            route_retry_ms: 250,
            part_patience_ms: 10_000,
            max_parts: 8,
            invoice_expiry_ms: 3_600_000,
            invoice_hold_ms: 24 * 3_600_000,
            set_patience_ms: 60_000,
            max_hold_seconds: 24 * 3600,
            max_payments: 65_536,
            max_invoices: 1_000_000,
            max_friends: 65_536,
            max_empty_tokens_per_second: 20,
            journal_entries: 65_536,
            check_every: 256,
        }
    }
}
