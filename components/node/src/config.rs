//! The settings of a node.

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use offset_net::{BackoffConfig, Limits, NetConfig};
use offset_proto::Timestamp;

use crate::limits;

/// The settings of a node. The defaults are the protocol's and those of [`limits`].
#[derive(Debug, Clone)]
pub struct Config {
    /// The node's database, made with [`offset_store::init`].
    pub database: PathBuf,
    /// The directory with the tickets of the applications that may use the node. It is watched.
    pub trusted: PathBuf,
    /// What decides about money.
    pub funder: offset_funder::Config,
    /// Settings of all connections: keepalive, timeouts, features. Queue lengths are set apart.
    pub net: NetConfig,
    /// How lost friends, relays and index servers are dialled again.
    pub backoff: BackoffConfig,
    /// Who may connect to the port of the applications.
    pub app_limits: Limits,
    /// The time.
    pub clock: Clock,
}

impl Config {
    /// The defaults, for these paths.
    #[must_use]
    pub fn new(database: impl Into<PathBuf>, trusted: impl Into<PathBuf>) -> Self {
        Self {
            database: database.into(),
            trusted: trusted.into(),
            funder: offset_funder::Config::default(),
            net: NetConfig::default(),
            backoff: BackoffConfig::default(),
            app_limits: Limits { connections: limits::APP_CONNECTIONS, ..Limits::default() },
            clock: Clock::system(),
        }
    }
}

/// Where a node takes the time from.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The time of this computer.
    #[must_use]
    pub fn system() -> Self {
        Self::new(|| {
            // A clock before 1970 is as wrong as one that shows 1970.
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
        })
    }

    /// A clock of one's own.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// What it shows.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({:?})", self.now())
    }
}
