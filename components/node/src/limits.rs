//! The bounds of a node's shell. Those of the protocol itself are in `offset-proto` and
//! `offset-funder`.

use std::time::Duration;

/// The most inputs that the core handles in one batch. What arrives meanwhile is the next one.
pub const BATCH_INPUTS: usize = 1_024;
/// The most inputs that wait for the core, of all sources together.
pub const WAITING_INPUTS: usize = 4_096;
/// The most batches that wait for the disk. While that many do, inputs wait, and make a bigger
/// batch.
pub const WAITING_BATCHES: usize = 2;
/// The most effects that wait for the disk before the core stops taking inputs.
pub const WAITING_EFFECTS: usize = 64 * 1_024;
/// The core looks at the clock at least this often while something is due, in case it was set.
pub const LONGEST_SLEEP: Duration = Duration::from_mins(1);

/// The most messages of one friend's session that wait for the core; then the session is not read.
pub const FRIEND_INPUTS: usize = 4;
/// The most bytes that wait to be sent to one friend; more closes the session.
pub const FRIEND_QUEUE_BYTES: usize = 8 * 1024 * 1024;
/// The most messages that wait to be sent to one friend; more closes the session.
pub const FRIEND_QUEUE_MESSAGES: usize = 1_024;
/// The most circuits of one friend whose handshake is under way; more are refused.
pub const FRIEND_HANDSHAKES: usize = 2;
/// The most circuits of nobody we know whose handshake is under way; more are refused.
pub const STRANGER_HANDSHAKES: usize = 4;
/// How many circuits of nobody we know are taken in a second: each costs a handshake.
pub const STRANGERS_PER_SECOND: u32 = 4;
/// So many seconds' worth of them may come at once.
pub const STRANGERS_BURST_SECONDS: u64 = 1;
/// The most circuits that wait to be given to a friend's keeper. Their relays give them up after
/// 10 s.
pub const WAITING_CIRCUITS: usize = 64;
/// The most changes of relays that wait to be told.
pub const WAITING_STATUSES: usize = 16;
/// The longest that a relay may take to open a circuit to a friend.
pub const CIRCUIT_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest that the handshake with a friend may take, over a circuit that is open.
pub const FRIEND_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// A session that stood this long and is lost is dialled again at once, else after a backoff.
pub const REDIAL_AT_ONCE_AFTER: Duration = Duration::from_secs(5);

/// The most requests of one app that are not answered; then its connection is not read.
pub const APP_REQUESTS: usize = 1_024;
/// How many requests of one app are taken in a second, over all its connections, where its ticket
/// does not say: more are refused as *busy*. Orders of payments do not count: each is under way
/// until it is answered, so [`APP_REQUESTS`] bounds them, and the ticket's limits what they cost.
pub const APP_COMMANDS_PER_SECOND: u32 = 100;
/// So many seconds' worth of requests may come at once.
pub const APP_BURST_SECONDS: u64 = 10;
/// The most events that wait for one app; more closes its connection.
pub const APP_EVENTS: usize = 4_096;
/// The most bytes that wait to be sent to one app.
pub const APP_QUEUE_BYTES: usize = 1024 * 1024;
/// The most connections of apps.
pub const APP_CONNECTIONS: usize = 1_024;
/// The most connections of one app: whatever it does, others find a place.
pub const CONNECTIONS_OF_AN_APP: usize = 128;
/// How often the directory of trusted apps is looked at.
pub const TRUSTED_EVERY: Duration = Duration::from_millis(500);
/// The most files in the directory of trusted apps that are looked at.
pub const TRUSTED_FILES: usize = 4_096;
/// The longest ticket file.
pub const TICKET_BYTES: u64 = 64 * 1024;

/// The longest that saying goodbye may take when the node stops.
pub const GOODBYE: Duration = Duration::from_secs(2);
