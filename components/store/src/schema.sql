-- The database of an Offset node, schema version 1.
--
-- Keys, hashes, ids and locks are blobs of their bytes, amounts and balances decimal text (they have
-- up to 39 digits), times milliseconds since 1970 UTC, lists and nested values JSON (in which bytes
-- are base64url); tokens and proofs are blobs, the messages as they were sent.
-- `row_check` is the checksum of the row; a row that does not match it keeps the node from starting.

-- Whose database this is.
CREATE TABLE node (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    public_key BLOB NOT NULL,
    row_check INTEGER NOT NULL
) STRICT;

-- The last epoch in which this node told index servers of itself.
CREATE TABLE index_epoch (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    epoch INTEGER NOT NULL,
    row_check INTEGER NOT NULL
) STRICT;

-- How often a node was started on this database; absent before the first time.
CREATE TABLE starts (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    starts INTEGER NOT NULL,
    row_check INTEGER NOT NULL
) STRICT;

-- Absent until something is changed from its default.
CREATE TABLE settings (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    default_currency TEXT NOT NULL,
    accepts_spontaneous INTEGER NOT NULL,
    retention_days INTEGER,
    decimals TEXT NOT NULL,
    row_check INTEGER NOT NULL
) STRICT;

-- Where this node listens.
CREATE TABLE relays (
    name TEXT PRIMARY KEY,
    public_key BLOB NOT NULL,
    address TEXT NOT NULL,
    row_check INTEGER NOT NULL
) STRICT;

CREATE TABLE index_servers (
    name TEXT PRIMARY KEY,
    public_key BLOB NOT NULL,
    address TEXT NOT NULL,
    position INTEGER NOT NULL,
    row_check INTEGER NOT NULL
) STRICT;

CREATE TABLE friends (
    public_key BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    removing INTEGER NOT NULL,
    relays TEXT NOT NULL,
    previous_relays TEXT NOT NULL,
    row_check INTEGER NOT NULL
) STRICT;

-- Friends that were removed: their token channels, so that no token is ever signed twice.
CREATE TABLE archive (
    public_key BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    removed_at INTEGER NOT NULL,
    balances TEXT NOT NULL,
    inconsistent TEXT,
    highest_epoch INTEGER NOT NULL,
    offered_epoch INTEGER NOT NULL,
    removed_by_friend INTEGER NOT NULL,
    reset TEXT,
    epoch INTEGER NOT NULL,
    counter INTEGER NOT NULL,
    token_id BLOB NOT NULL,
    last_token BLOB,
    previous_token BLOB,
    last_sent BLOB,
    relays_sent TEXT,
    relays_confirmed TEXT,
    row_check INTEGER NOT NULL
) STRICT;

-- The token channel of each friend.
CREATE TABLE channels (
    friend BLOB PRIMARY KEY REFERENCES friends ON DELETE CASCADE,
    inconsistent TEXT,
    highest_epoch INTEGER NOT NULL,
    offered_epoch INTEGER NOT NULL,
    removed_by_friend INTEGER NOT NULL,
    reset TEXT,
    epoch INTEGER NOT NULL,
    counter INTEGER NOT NULL,
    token_id BLOB NOT NULL,
    last_token BLOB,
    previous_token BLOB,
    last_sent BLOB,
    relays_sent TEXT,
    relays_confirmed TEXT,
    row_check INTEGER NOT NULL
) STRICT;

-- The last token of each friend, to be shown to one that lost it.
CREATE TABLE received (
    friend BLOB PRIMARY KEY REFERENCES friends ON DELETE CASCADE,
    token BLOB NOT NULL,
    row_check INTEGER NOT NULL
) STRICT;

-- What our own last token to a friend ended and declared; absent when it did neither.
CREATE TABLE before_sent (
    friend BLOB PRIMARY KEY REFERENCES friends ON DELETE CASCADE,
    terms TEXT NOT NULL,
    ended TEXT NOT NULL,
    row_check INTEGER NOT NULL
) STRICT;

-- Present while this node recovers from an old copy.
CREATE TABLE recovery (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    since INTEGER NOT NULL,
    at_once INTEGER NOT NULL,
    row_check INTEGER NOT NULL
) STRICT;

-- The friends of which a recovery waits: until something is agreed, or with what they proved.
CREATE TABLE friend_recovery (
    friend BLOB PRIMARY KEY REFERENCES friends ON DELETE CASCADE,
    proof BLOB,
    row_check INTEGER NOT NULL
) STRICT;

-- Requests that were collected, by whoever sent them, with their response and locks: for 90 days, in
-- the order in which they came. `sender` is local or remote.
CREATE TABLE collected (
    friend BLOB NOT NULL,
    currency TEXT NOT NULL,
    sender TEXT NOT NULL,
    request_id BLOB NOT NULL,
    at INTEGER NOT NULL,
    amount TEXT NOT NULL,
    response TEXT NOT NULL,
    src_plain_lock BLOB NOT NULL,
    dest_plain_lock BLOB NOT NULL,
    row_check INTEGER NOT NULL,
    PRIMARY KEY (friend, currency, sender, request_id)
) STRICT;

-- Those of them that this node sent for nobody it knew: answered when their request comes.
CREATE TABLE alone (
    friend BLOB NOT NULL,
    currency TEXT NOT NULL,
    sender TEXT NOT NULL,
    request_id BLOB NOT NULL,
    at INTEGER NOT NULL,
    amount TEXT NOT NULL,
    response TEXT NOT NULL,
    src_plain_lock BLOB NOT NULL,
    dest_plain_lock BLOB NOT NULL,
    row_check INTEGER NOT NULL,
    PRIMARY KEY (friend, currency, sender, request_id)
) STRICT;

-- One currency with one friend. Everything from `balance` on is null until the currency is active.
CREATE TABLE lines (
    friend BLOB NOT NULL REFERENCES friends ON DELETE CASCADE,
    currency TEXT NOT NULL,
    wanted TEXT,
    rate_ppm INTEGER NOT NULL,
    rate_add INTEGER NOT NULL,
    local_proposal TEXT,
    remote_proposal TEXT,
    balance TEXT,
    local_pending_debt TEXT,
    remote_pending_debt TEXT,
    local_max_debt TEXT,
    remote_max_debt TEXT,
    local_requests_open INTEGER,
    remote_requests_open INTEGER,
    row_check INTEGER NOT NULL,
    PRIMARY KEY (friend, currency)
) STRICT;

-- Requests whose credits are frozen; `sender` is local or remote.
CREATE TABLE pending (
    friend BLOB NOT NULL,
    currency TEXT NOT NULL,
    sender TEXT NOT NULL,
    request_id BLOB NOT NULL,
    src_hashed_lock BLOB NOT NULL,
    route BLOB NOT NULL,
    dest_payment TEXT NOT NULL,
    total_dest_payment TEXT NOT NULL,
    invoice_id BLOB NOT NULL,
    left_fees TEXT NOT NULL,
    spontaneous INTEGER NOT NULL,
    hold_seconds INTEGER NOT NULL,
    stage TEXT NOT NULL,
    released INTEGER NOT NULL,
    response TEXT,
    src_plain_lock BLOB,
    link TEXT NOT NULL,
    closing INTEGER NOT NULL,
    passed_on TEXT,
    since INTEGER NOT NULL,
    row_check INTEGER NOT NULL,
    PRIMARY KEY (friend, currency, sender, request_id),
    FOREIGN KEY (friend, currency) REFERENCES lines ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- Operations that wait for the token.
CREATE TABLE queued (
    friend BLOB NOT NULL REFERENCES friends ON DELETE CASCADE,
    position INTEGER NOT NULL,
    currency TEXT NOT NULL,
    op TEXT NOT NULL,
    link TEXT NOT NULL,
    since INTEGER NOT NULL,
    row_check INTEGER NOT NULL,
    PRIMARY KEY (friend, position)
) STRICT, WITHOUT ROWID;

-- Registered invoices of this node that have not ended.
CREATE TABLE invoices (
    created_at INTEGER NOT NULL,
    invoice_id BLOB NOT NULL,
    phase TEXT NOT NULL,
    accepted BLOB,
    -- The payment whose internal invoice it is, if it is one.
    clears BLOB,
    registered INTEGER NOT NULL,
    currency TEXT NOT NULL,
    dest_public_key BLOB NOT NULL,
    dest_payment TEXT NOT NULL,
    description TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    hold_until INTEGER,
    nonce BLOB NOT NULL,
    row_check INTEGER NOT NULL,
    PRIMARY KEY (created_at, invoice_id)
) STRICT, WITHOUT ROWID;

-- Those that have ended, in the order in which they did. Of two with one id the later counts.
CREATE TABLE past_invoices (
    created_at INTEGER NOT NULL,
    invoice_id BLOB NOT NULL,
    phase TEXT NOT NULL,
    accepted BLOB,
    -- The payment whose internal invoice it is, if it is one.
    clears BLOB,
    registered INTEGER NOT NULL,
    currency TEXT NOT NULL,
    dest_public_key BLOB NOT NULL,
    dest_payment TEXT NOT NULL,
    description TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    hold_until INTEGER,
    nonce BLOB NOT NULL,
    row_check INTEGER NOT NULL
) STRICT;
CREATE INDEX past_invoices_by_id ON past_invoices (invoice_id, created_at);
CREATE INDEX past_invoices_by_nonce ON past_invoices (nonce);
CREATE INDEX past_invoices_by_time ON past_invoices (phase, created_at);

-- Parts of payments to this node that belong together.
CREATE TABLE sets (
    invoice_id BLOB NOT NULL,
    src_hashed_lock BLOB NOT NULL,
    currency TEXT NOT NULL,
    total TEXT NOT NULL,
    spontaneous INTEGER NOT NULL,
    since INTEGER NOT NULL,
    parts TEXT NOT NULL,
    src_plain_lock BLOB,
    accepted INTEGER NOT NULL,
    rebuilt INTEGER NOT NULL,
    held INTEGER NOT NULL,
    arrived INTEGER NOT NULL,
    row_check INTEGER NOT NULL,
    PRIMARY KEY (invoice_id, src_hashed_lock)
) STRICT, WITHOUT ROWID;

-- Payments of this node that have not ended: without an answer, or with something pending.
CREATE TABLE payments (
    payment_id BLOB NOT NULL,
    phase TEXT NOT NULL,
    receipt TEXT,
    fee TEXT,
    failure TEXT,
    app BLOB,
    contents BLOB NOT NULL,
    invoice_id BLOB NOT NULL,
    -- It is a payment to this node itself along a cycle.
    clearing INTEGER NOT NULL,
    spontaneous INTEGER NOT NULL,
    destination BLOB NOT NULL,
    currency TEXT NOT NULL,
    amount TEXT NOT NULL,
    expires_at INTEGER,
    max_fee TEXT,
    created_at INTEGER NOT NULL,
    deadline INTEGER NOT NULL,
    note TEXT NOT NULL,
    max_parts INTEGER NOT NULL,
    hold_seconds INTEGER NOT NULL,
    by_commit INTEGER NOT NULL,
    exclude TEXT NOT NULL,
    searching_since INTEGER NOT NULL,
    attempts TEXT NOT NULL,
    last_failure TEXT,
    row_check INTEGER NOT NULL,
    PRIMARY KEY (payment_id)
) STRICT, WITHOUT ROWID;

-- Those that have ended, in the order in which they did. Of two with one id the later counts.
CREATE TABLE past_payments (
    payment_id BLOB NOT NULL,
    phase TEXT NOT NULL,
    receipt TEXT,
    fee TEXT,
    failure TEXT,
    app BLOB,
    contents BLOB NOT NULL,
    invoice_id BLOB NOT NULL,
    -- It is a payment to this node itself along a cycle.
    clearing INTEGER NOT NULL,
    spontaneous INTEGER NOT NULL,
    destination BLOB NOT NULL,
    currency TEXT NOT NULL,
    amount TEXT NOT NULL,
    expires_at INTEGER,
    max_fee TEXT,
    created_at INTEGER NOT NULL,
    deadline INTEGER NOT NULL,
    note TEXT NOT NULL,
    max_parts INTEGER NOT NULL,
    hold_seconds INTEGER NOT NULL,
    by_commit INTEGER NOT NULL,
    exclude TEXT NOT NULL,
    searching_since INTEGER NOT NULL,
    attempts TEXT NOT NULL,
    last_failure TEXT,
    row_check INTEGER NOT NULL
) STRICT;
CREATE INDEX past_payments_by_id ON past_payments (payment_id);

-- The newest entries of the journal, some in a row, one behind the other from the number `first` on:
-- 1 and the id of a payment, or 2 and that of an invoice.
CREATE TABLE journal (
    first INTEGER PRIMARY KEY,
    entries BLOB NOT NULL,
    row_check INTEGER NOT NULL
) STRICT;

-- What each app spent lately, by the hour in which its payments were ordered.
CREATE TABLE spent (
    app BLOB NOT NULL,
    currency TEXT NOT NULL,
    hour INTEGER NOT NULL,
    amount TEXT NOT NULL,
    row_check INTEGER NOT NULL,
    PRIMARY KEY (app, currency, hour)
) STRICT;

-- What was collected here, so that nothing is taken twice.
CREATE TABLE settled (
    id BLOB PRIMARY KEY,
    row_check INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The books: one row for every change of a balance. What a row tells besides depends on its kind.
CREATE TABLE history (
    sequence INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    friend BLOB NOT NULL,
    friend_name TEXT NOT NULL,
    currency TEXT NOT NULL,
    delta TEXT NOT NULL,
    balance TEXT NOT NULL,
    kind TEXT NOT NULL,
    payment_id BLOB,
    invoice_id BLOB,
    other_node BLOB,
    forward_id BLOB,
    amount TEXT,
    fee TEXT,
    words TEXT,
    row_check INTEGER NOT NULL
) STRICT;

-- The last entry of the books of every line, those of lines that are gone included.
CREATE TABLE book_ends (
    friend BLOB NOT NULL,
    currency TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    balance TEXT NOT NULL,
    row_check INTEGER NOT NULL,
    PRIMARY KEY (friend, currency)
) STRICT, WITHOUT ROWID;

-- What batches did to tables of which rows change often, where it is not in these tables yet: the rows
-- of a batch one behind the other, each with its table and whether it is written or deleted.
CREATE TABLE batches (
    number INTEGER PRIMARY KEY,
    rows BLOB NOT NULL,
    row_check INTEGER NOT NULL
) STRICT;
