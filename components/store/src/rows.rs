//! How each row of the state lies in its table: the one place that knows.
//!
//! Each table has a `write` that gives a row's values in the order of its columns and a `read` that
//! takes them in the same order and checks what can be checked within the row.

pub(crate) mod history;

use offset_crypto::{HashResult, InvoiceId, PaymentId, PublicKey, RequestId};
use offset_funder::{
    Side, Sided,
    credit::Numbers,
    state::{
        ArchivedFriend, BeforeSent, Channel, FriendInfo, FriendRecovery, IndexServer, InvoiceRow,
        JournalRow, LineRow, PaymentRow, Pending, Phase, QueuedOp, Recovery, SetKey, SetRow,
        Settings, SpentKey, Stage,
    },
};
use offset_proto::{
    Credits, Currency, Name, Rate, ServerAddress,
    app::PaymentFailure,
    friend::{MoveToken, Request, Response},
    payment::{Invoice, Receipt},
    report::MAX_DECIMALS,
};
use std::{collections::BTreeMap, sync::Arc};

use crate::{
    column::{Reading, Values},
    table::Table,
};

type Read<T> = Result<T, String>;

/// Reads a row for its checks alone.
pub(crate) type ReadOnly = fn(&mut Reading<'_>) -> Read<()>;

/// Every table, and what its rows are read with, for whoever checks all that there is.
pub(crate) static ALL: &[(&Table, ReadOnly)] = &[
    (&node::TABLE, |row| node::read(row).map(drop)),
    (&index_epoch::TABLE, |row| index_epoch::read(row).map(drop)),
    (&settings::TABLE, |row| settings::read(row).map(drop)),
    (&relay::TABLE, |row| relay::read(row).map(drop)),
    (&index_server::TABLE, |row| index_server::read(row).map(drop)),
    (&friend::TABLE, |row| friend::read(row).map(drop)),
    (&channel::TABLE, |row| channel::read(row).map(drop)),
    (&archived::TABLE, |row| archived::read(row).map(drop)),
    (&line::TABLE, |row| line::read(row).map(drop)),
    (&pending::TABLE, |row| pending::read(row).map(drop)),
    (&queued::TABLE, |row| queued::read(row).map(drop)),
    (&invoice::TABLE, |row| invoice::read(row).map(drop)),
    (&set::TABLE, |row| set::read(row).map(drop)),
    (&payment::TABLE, |row| payment::read(row).map(drop)),
    (&journal::TABLE, |row| journal::read(row).map(drop)),
    (&spent::TABLE, |row| spent::read(row).map(drop)),
    (&settled::TABLE, |row| settled::read(row).map(drop)),
    (&history::TABLE, |row| history::read(row).map(drop)),
    (&starts::TABLE, |row| starts::read(row).map(drop)),
    (&received::TABLE, |row| received::read(row).map(drop)),
    (&before_sent::TABLE, |row| before_sent::read(row).map(drop)),
    (&recovery::TABLE, |row| recovery::read(row).map(drop)),
    (&friend_recovery::TABLE, |row| friend_recovery::read(row).map(drop)),
];

pub(crate) mod node {
    use super::*;

    pub(crate) static TABLE: Table = Table::new("node", 1, &["one", "public_key"]);

    pub(crate) fn write(public_key: &PublicKey) -> Values {
        Values::default().put(&1u32).put(public_key)
    }

    pub(crate) fn read(row: &mut Reading<'_>) -> Read<PublicKey> {
        row.take::<u32>()?;
        row.take()
    }
}

pub(crate) mod index_epoch {
    use super::*;

    pub(crate) static TABLE: Table = Table::new("index_epoch", 1, &["one", "epoch"]);

    pub(crate) fn write(epoch: u64) -> Values {
        Values::default().put(&1u32).put(&epoch)
    }

    pub(crate) fn read(row: &mut Reading<'_>) -> Read<u64> {
        row.take::<u32>()?;
        row.take()
    }
}

pub(crate) mod starts {
    use super::*;

    pub(crate) static TABLE: Table = Table::new("starts", 1, &["one", "starts"]);

    pub(crate) fn write(starts: u64) -> Values {
        Values::default().put(&1u32).put(&starts)
    }

    pub(crate) fn read(row: &mut Reading<'_>) -> Read<u64> {
        row.take::<u32>()?;
        row.take()
    }
}

pub(crate) mod settings {
    use super::*;

    pub(crate) static TABLE: Table = Table::new(
        "settings",
        1,
        &["one", "default_currency", "accepts_spontaneous", "retention_days", "decimals"],
    );

    pub(crate) fn write(row: &Settings) -> Values {
        let Settings { default_currency, accepts_spontaneous, retention_days, decimals } = row;
        let decimals: Vec<(Currency, u64)> = decimals
            .iter()
            .map(|(currency, digits)| (currency.clone(), (*digits).into()))
            .collect();
        Values::default()
            .put(&1u32)
            .put(default_currency)
            .put(accepts_spontaneous)
            .put(retention_days)
            .put(&decimals)
    }

    pub(crate) fn read(row: &mut Reading<'_>) -> Read<Settings> {
        row.take::<u32>()?;
        let (default_currency, accepts_spontaneous) = (row.take()?, row.take()?);
        let retention_days = row.take()?;
        let mut decimals = BTreeMap::new();
        for (currency, digits) in row.take::<Vec<(Currency, u64)>>()? {
            let digits = u8::try_from(digits).ok().filter(|digits| *digits <= MAX_DECIMALS);
            decimals.insert(currency, digits.ok_or("more than 18 digits behind the point")?);
        }
        Ok(Settings { default_currency, accepts_spontaneous, retention_days, decimals })
    }
}

pub(crate) mod relay {
    use super::*;

    pub(crate) static TABLE: Table = Table::new("relays", 1, &["name", "public_key", "address"]);

    pub(crate) fn write(name: &Name, relay: &ServerAddress) -> Values {
        let ServerAddress { public_key, address } = relay;
        Values::default().put(name).put(public_key).put(address)
    }

    pub(crate) fn read(row: &mut Reading<'_>) -> Read<(Name, ServerAddress)> {
        Ok((row.take()?, ServerAddress { public_key: row.take()?, address: row.take()? }))
    }
}

pub(crate) mod index_server {
    use super::*;

    pub(crate) static TABLE: Table =
        Table::new("index_servers", 1, &["name", "public_key", "address", "position"]);

    pub(crate) fn write(name: &Name, row: &IndexServer) -> Values {
        let IndexServer { server: ServerAddress { public_key, address }, position } = row;
        Values::default().put(name).put(public_key).put(address).put(position)
    }

    pub(crate) fn read(row: &mut Reading<'_>) -> Read<(Name, IndexServer)> {
        let name = row.take()?;
        let server = ServerAddress { public_key: row.take()?, address: row.take()? };
        Ok((name, IndexServer { server, position: row.take()? }))
    }
}

pub(crate) mod friend {
    use super::*;

    pub(crate) static TABLE: Table = Table::new(
        "friends",
        1,
        &["public_key", "name", "enabled", "removing", "relays", "previous_relays"],
    );

    pub(crate) fn write(key: &PublicKey, row: &FriendInfo) -> Values {
        let FriendInfo { name, enabled, removing, relays, previous_relays } = row;
        Values::default()
            .put(key)
            .put(name)
            .put(enabled)
            .put(removing)
            .put(relays)
            .put(previous_relays)
    }

    pub(crate) fn read(row: &mut Reading<'_>) -> Read<(PublicKey, FriendInfo)> {
        let key = row.take()?;
        let info = FriendInfo {
            name: row.take()?,
            enabled: row.take()?,
            removing: row.take()?,
            relays: row.take()?,
            previous_relays: row.take()?,
        };
        Ok((key, info))
    }
}

pub(crate) mod channel {
    use super::*;

    pub(crate) static TABLE: Table = Table::new(
        "channels",
        1,
        &[
            "friend",
            "inconsistent",
            "highest_epoch",
            "removed_by_friend",
            "reset",
            "epoch",
            "counter",
            "token_id",
            "last_token",
            "previous_token",
            "last_sent",
            "relays_sent",
            "relays_confirmed",
        ],
    );

    pub(crate) fn write(key: &PublicKey, row: &Channel) -> Values {
        write_columns(Values::default().put(key), row)
    }

    /// All columns but the key.
    pub(crate) fn write_columns(values: Values, row: &Channel) -> Values {
        let Channel {
            inconsistent,
            highest_epoch,
            removed_by_friend,
            reset,
            epoch,
            counter,
            token_id,
            own_tokens: [last, previous],
            last_sent,
            relays_sent,
            relays_confirmed,
        } = row;
        values
            .put(inconsistent)
            .put(highest_epoch)
            .put(removed_by_friend)
            .put(reset)
            .put(epoch)
            .put(counter)
            .put(token_id)
            .put(last)
            .put(previous)
            .put(last_sent)
            .put(relays_sent)
            .put(relays_confirmed)
    }

    pub(crate) fn read(row: &mut Reading<'_>) -> Read<(PublicKey, Channel)> {
        Ok((row.take()?, read_columns(row)?))
    }

    /// All columns but the key.
    pub(crate) fn read_columns(row: &mut Reading<'_>) -> Read<Channel> {
        Ok(Channel {
            inconsistent: row.take()?,
            highest_epoch: row.take()?,
            removed_by_friend: row.take()?,
            reset: row.take()?,
            epoch: row.take()?,
            counter: row.take()?,
            token_id: row.take()?,
            own_tokens: [row.take()?, row.take()?],
            last_sent: row.take()?,
            relays_sent: row.take()?,
            relays_confirmed: row.take()?,
        })
    }
}

pub(crate) mod archived {
    use super::*;

    pub(crate) static TABLE: Table = Table::new(
        "archive",
        1,
        &[
            "public_key",
            "name",
            "removed_at",
            "balances",
            "inconsistent",
            "highest_epoch",
            "removed_by_friend",
            "reset",
            "epoch",
            "counter",
            "token_id",
            "last_token",
            "previous_token",
            "last_sent",
            "relays_sent",
            "relays_confirmed",
        ],
    );

    pub(crate) fn write(key: &PublicKey, row: &ArchivedFriend) -> Values {
        let ArchivedFriend { name, removed_at, balances, channel } = row;
        let values = Values::default().put(key).put(name).put(removed_at).put(balances);
        channel::write_columns(values, channel)
    }

    pub(crate) fn read(row: &mut Reading<'_>) -> Read<(PublicKey, ArchivedFriend)> {
        let key = row.take()?;
        let archived = ArchivedFriend {
            name: row.take()?,
            removed_at: row.take()?,
            balances: row.take()?,
            channel: channel::read_columns(row)?,
        };
        Ok((key, archived))
    }
}

pub(crate) mod received {
    use super::*;

    pub(crate) static TABLE: Table = Table::new("received", 1, &["friend", "token"]);

    pub(crate) fn write(friend: &PublicKey, token: &Arc<MoveToken>) -> Values {
        Values::default().put(friend).put(token)
    }

    pub(crate) fn read(row: &mut Reading<'_>) -> Read<(PublicKey, Arc<MoveToken>)> {
        Ok((row.take()?, row.take()?))
    }
}

pub(crate) mod before_sent {
    use super::*;

    pub(crate) static TABLE: Table = Table::new("before_sent", 1, &["friend", "terms", "ended"]);

    pub(crate) fn write(friend: &PublicKey, row: &BeforeSent) -> Values {
        let BeforeSent { terms, ended } = row;
        Values::default().put(friend).put(terms).put(ended)
    }

    pub(crate) fn read(row: &mut Reading<'_>) -> Read<(PublicKey, BeforeSent)> {
        Ok((row.take()?, BeforeSent { terms: row.take()?, ended: row.take()? }))
    }
}

pub(crate) mod recovery {
    use super::*;

    pub(crate) static TABLE: Table = Table::new("recovery", 1, &["one", "since", "at_once"]);

    pub(crate) fn write(row: &Recovery) -> Values {
        let Recovery { since, at_once } = row;
        Values::default().put(&1u32).put(since).put(at_once)
    }

    pub(crate) fn read(row: &mut Reading<'_>) -> Read<Recovery> {
        row.take::<u32>()?;
        Ok(Recovery { since: row.take()?, at_once: row.take()? })
    }
}

pub(crate) mod friend_recovery {
    use super::*;

    pub(crate) static TABLE: Table = Table::new("friend_recovery", 1, &["friend", "proof"]);

    pub(crate) fn write(friend: &PublicKey, row: &FriendRecovery) -> Values {
        let proof = match row {
            FriendRecovery::Waiting => None,
            FriendRecovery::Quarantined(proof) => Some(proof),
        };
        Values::default().put(friend).put_option(proof)
    }

    pub(crate) fn read(row: &mut Reading<'_>) -> Read<(PublicKey, FriendRecovery)> {
        let friend = row.take()?;
        let proof = row.take::<Option<_>>()?;
        Ok((friend, proof.map_or(FriendRecovery::Waiting, FriendRecovery::Quarantined)))
    }
}

pub(crate) mod line {
    use super::*;

    pub(crate) static TABLE: Table = Table::new(
        "lines",
        2,
        &[
            "friend",
            "currency",
            "wanted",
            "rate_ppm",
            "rate_add",
            "local_proposal",
            "remote_proposal",
            "balance",
            "local_pending_debt",
            "remote_pending_debt",
            "local_max_debt",
            "remote_max_debt",
            "local_requests_open",
            "remote_requests_open",
        ],
    );

    pub(crate) fn write(friend: &PublicKey, currency: &Currency, row: &LineRow) -> Values {
        let LineRow { wanted, rate: Rate { ppm, add }, local_proposal, remote_proposal, numbers } =
            row;
        let values = Values::default()
            .put(friend)
            .put(currency)
            .put(wanted)
            .put(ppm)
            .put(add)
            .put(local_proposal)
            .put(remote_proposal);
        let of = |take: fn(&Numbers) -> Sided<Credits>| numbers.as_ref().map(take);
        let debt = of(|numbers| numbers.pending_debt);
        let max = of(|numbers| numbers.max_debt);
        let open = numbers.as_ref().map(|numbers| numbers.requests_open);
        values
            .put(&numbers.as_ref().map(|numbers| numbers.balance))
            .put(&debt.map(|debt| debt.local))
            .put(&debt.map(|debt| debt.remote))
            .put(&max.map(|max| max.local))
            .put(&max.map(|max| max.remote))
            .put(&open.map(|open| open.local))
            .put(&open.map(|open| open.remote))
    }

    pub(crate) fn read(row: &mut Reading<'_>) -> Read<(PublicKey, Currency, LineRow)> {
        let (friend, currency) = (row.take()?, row.take()?);
        let line = LineRow {
            wanted: row.take()?,
            rate: Rate { ppm: row.take()?, add: row.take()? },
            local_proposal: row.take()?,
            remote_proposal: row.take()?,
            numbers: read_numbers(row)?,
        };
        Ok((friend, currency, line))
    }

    fn read_numbers(row: &mut Reading<'_>) -> Read<Option<Numbers>> {
        let Some(balance) = row.take()? else {
            return Ok(None);
        };
        Ok(Some(Numbers {
            balance,
            pending_debt: Sided { local: row.take()?, remote: row.take()? },
            max_debt: Sided { local: row.take()?, remote: row.take()? },
            requests_open: Sided { local: row.take()?, remote: row.take()? },
        }))
    }
}

pub(crate) mod pending {
    use super::*;

    pub(crate) static TABLE: Table = Table::new(
        "pending",
        4,
        &[
            "friend",
            "currency",
            "sender",
            "request_id",
            "src_hashed_lock",
            "route",
            "dest_payment",
            "total_dest_payment",
            "invoice_id",
            "left_fees",
            "spontaneous",
            "hold_seconds",
            "stage",
            "released",
            "response",
            "src_plain_lock",
            "link",
            "closing",
            "passed_on",
            "since",
        ],
    );

    /// What names a pending request.
    pub(crate) type Key = (PublicKey, Currency, Side, RequestId);

    pub(crate) fn key(friend: &PublicKey, currency: &Currency, sender: Side) -> Values {
        Values::default().put(friend).put(currency).put(&sender)
    }

    /// `key` without the request id, which is the row's own.
    pub(crate) fn write(key: Values, row: &Pending) -> Values {
        let Pending {
            request,
            stage,
            released,
            response,
            src_plain_lock,
            link,
            closing,
            passed_on,
            since,
        } = row;
        let Request {
            request_id,
            src_hashed_lock,
            route,
            dest_payment,
            total_dest_payment,
            invoice_id,
            left_fees,
            spontaneous,
            hold_seconds,
        } = request.as_ref();
        key.put(request_id)
            .put(src_hashed_lock)
            .put(route)
            .put(dest_payment)
            .put(total_dest_payment)
            .put(invoice_id)
            .put(left_fees)
            .put(spontaneous)
            .put(hold_seconds)
            .put(stage)
            .put(released)
            .put(response)
            .put(src_plain_lock)
            .put(link)
            .put(closing)
            .put(passed_on)
            .put(since)
    }

    pub(crate) fn read(row: &mut Reading<'_>) -> Read<(Key, Pending)> {
        let (friend, currency, sender) = (row.take()?, row.take()?, row.take()?);
        let request = Request {
            request_id: row.take()?,
            src_hashed_lock: row.take()?,
            route: row.take()?,
            dest_payment: row.take()?,
            total_dest_payment: row.take()?,
            invoice_id: row.take()?,
            left_fees: row.take()?,
            spontaneous: row.take()?,
            hold_seconds: row.take()?,
        };
        let id = request.request_id;
        let pending = Pending {
            request: request.into(),
            stage: row.take()?,
            released: row.take()?,
            response: row.take::<Option<Arc<Response>>>()?,
            src_plain_lock: row.take()?,
            link: row.take()?,
            closing: row.take()?,
            passed_on: row.take()?,
            since: row.take()?,
        };
        check(&pending)?;
        Ok(((friend, currency, sender, id), pending))
    }

    fn check(row: &Pending) -> Read<()> {
        if row.request.frozen().is_none() {
            return Err("the amount that it freezes is out of range".to_owned());
        }
        if row.response.is_some() != (row.stage != Stage::Requested) {
            return Err("its stage and its response contradict each other".to_owned());
        }
        if row.src_plain_lock.is_some() != (row.stage == Stage::Committed) {
            return Err("its stage and its lock contradict each other".to_owned());
        }
        match &row.src_plain_lock {
            Some(lock) if !lock.opens(&row.request.src_hashed_lock) => {
                Err("its lock does not open".to_owned())
            }
            Some(_) | None => Ok(()),
        }
    }
}

pub(crate) mod queued {
    use super::*;

    pub(crate) static TABLE: Table =
        Table::new("queued", 2, &["friend", "position", "currency", "op", "link", "since"]);

    pub(crate) fn write(friend: &PublicKey, position: u64, row: &QueuedOp) -> Values {
        let QueuedOp { currency, op, link, since } = row;
        Values::default().put(friend).put(&position).put(currency).put(op).put(link).put(since)
    }

    pub(crate) fn read(row: &mut Reading<'_>) -> Read<(PublicKey, u64, QueuedOp)> {
        let (friend, position) = (row.take()?, row.take()?);
        let op = QueuedOp {
            currency: row.take()?,
            op: row.take()?,
            link: row.take()?,
            since: row.take()?,
        };
        Ok((friend, position, op))
    }
}

pub(crate) mod invoice {
    use super::*;

    pub(crate) static TABLE: Table = Table::new(
        "invoices",
        1,
        &[
            "invoice_id",
            "phase",
            "accepted",
            "registered",
            "currency",
            "dest_public_key",
            "dest_payment",
            "description",
            "created_at",
            "expires_at",
            "hold_until",
            "nonce",
        ],
    );
    /// The rows that are part of the state.
    pub(crate) const NOT_ENDED: &str = "phase IN ('open', 'committed')";

    pub(crate) fn write(id: &InvoiceId, row: &InvoiceRow) -> Values {
        let InvoiceRow { invoice, phase, accepted } = row;
        let Invoice {
            registered,
            currency,
            dest_public_key,
            dest_payment,
            description,
            created_at,
            expires_at,
            hold_until,
            nonce,
        } = invoice;
        Values::default()
            .put(id)
            .put(phase)
            .put(accepted)
            .put(registered)
            .put(currency)
            .put(dest_public_key)
            .put(dest_payment)
            .put(description)
            .put(created_at)
            .put(expires_at)
            .put(hold_until)
            .put(nonce)
    }

    pub(crate) fn read(row: &mut Reading<'_>) -> Read<(InvoiceId, InvoiceRow)> {
        let (id, phase, accepted) = (row.take()?, row.take()?, row.take()?);
        let invoice = Invoice {
            registered: row.take()?,
            currency: row.take()?,
            dest_public_key: row.take()?,
            dest_payment: row.take()?,
            description: row.take()?,
            created_at: row.take()?,
            expires_at: row.take()?,
            hold_until: row.take()?,
            nonce: row.take()?,
        };
        if invoice.id() != id {
            return Err("its terms do not give its id".to_owned());
        }
        Ok((id, InvoiceRow { invoice, phase, accepted }))
    }
}

pub(crate) mod set {
    use super::*;

    pub(crate) static TABLE: Table = Table::new(
        "sets",
        2,
        &[
            "invoice_id",
            "src_hashed_lock",
            "currency",
            "total",
            "spontaneous",
            "since",
            "parts",
            "src_plain_lock",
            "accepted",
            "held",
            "rebuilt",
        ],
    );

    pub(crate) fn key(key: &SetKey) -> Values {
        let SetKey { invoice_id, src_hashed_lock } = key;
        Values::default().put(invoice_id).put(src_hashed_lock)
    }

    pub(crate) fn write(set: &SetKey, row: &SetRow) -> Values {
        let SetRow {
            currency,
            total,
            spontaneous,
            since,
            parts,
            src_plain_lock,
            accepted,
            held,
            rebuilt,
        } = row;
        key(set)
            .put(currency)
            .put(total)
            .put(spontaneous)
            .put(since)
            .put(parts)
            .put(src_plain_lock)
            .put(accepted)
            .put(held)
            .put(rebuilt)
    }

    pub(crate) fn read(row: &mut Reading<'_>) -> Read<(SetKey, SetRow)> {
        let key = SetKey { invoice_id: row.take()?, src_hashed_lock: row.take()? };
        let set = SetRow {
            currency: row.take()?,
            total: row.take()?,
            spontaneous: row.take()?,
            since: row.take()?,
            parts: row.take()?,
            src_plain_lock: row.take()?,
            accepted: row.take()?,
            held: row.take()?,
            rebuilt: row.take()?,
        };
        Ok((key, set))
    }
}

pub(crate) mod payment {
    use super::*;

    pub(crate) static TABLE: Table = Table::new(
        "payments",
        1,
        &[
            "payment_id",
            "ended",
            "phase",
            "receipt",
            "fee",
            "failure",
            "app",
            "contents",
            "invoice_id",
            "spontaneous",
            "destination",
            "currency",
            "amount",
            "expires_at",
            "max_fee",
            "created_at",
            "deadline",
            "note",
            "max_parts",
            "hold_seconds",
            "by_commit",
            "exclude",
            "searching_since",
            "attempts",
            "last_failure",
        ],
    );
    /// The rows that are part of the state, in the words of the table's partial index.
    pub(crate) const NOT_ENDED: &str = "ended = 0";

    pub(crate) fn write(id: &PaymentId, row: &PaymentRow) -> Values {
        let PaymentRow {
            app,
            contents,
            invoice_id,
            spontaneous,
            destination,
            currency,
            amount,
            expires_at,
            max_fee,
            created_at,
            deadline,
            note,
            max_parts,
            hold_seconds,
            by_commit,
            exclude,
            searching_since,
            attempts,
            last_failure,
            phase,
        } = row;
        write_phase(Values::default().put(id).put(&row.is_ended()), phase)
            .put(app)
            .put(contents)
            .put(invoice_id)
            .put(spontaneous)
            .put(destination)
            .put(currency)
            .put(amount)
            .put(expires_at)
            .put(max_fee)
            .put(created_at)
            .put(deadline)
            .put(note)
            .put(max_parts)
            .put(hold_seconds)
            .put(by_commit)
            .put(exclude)
            .put(searching_since)
            .put(attempts)
            .put(last_failure)
    }

    pub(crate) fn read(row: &mut Reading<'_>) -> Read<(PaymentId, PaymentRow)> {
        let id = row.take()?;
        let ended: bool = row.take()?;
        let phase = read_phase(row)?;
        let payment = PaymentRow {
            phase,
            app: row.take()?,
            contents: row.take()?,
            invoice_id: row.take()?,
            spontaneous: row.take()?,
            destination: row.take()?,
            currency: row.take()?,
            amount: row.take()?,
            expires_at: row.take()?,
            max_fee: row.take()?,
            created_at: row.take()?,
            deadline: row.take()?,
            note: row.take()?,
            max_parts: row.take()?,
            hold_seconds: row.take()?,
            by_commit: row.take()?,
            exclude: row.take()?,
            searching_since: row.take()?,
            attempts: row.take()?,
            last_failure: row.take()?,
        };
        if ended != payment.is_ended() {
            return Err("whether it has ended does not fit its phase and parts".to_owned());
        }
        Ok((id, payment))
    }

    fn write_phase(values: Values, phase: &Phase) -> Values {
        let (word, paid, failure) = match phase {
            Phase::Routing => ("routing", None, None),
            Phase::Requesting => ("requesting", None, None),
            Phase::Complete => ("complete", None, None),
            Phase::Committed => ("committed", None, None),
            Phase::Succeeded { receipt, fee } => ("succeeded", Some((receipt, fee)), None),
            Phase::Failed(failure) => ("failed", None, Some(failure)),
            Phase::Cancelled => ("cancelled", None, None),
            Phase::Unknown => ("unknown", None, None),
        };
        values
            .put_word(word)
            .put_option(paid.map(|(receipt, _)| receipt))
            .put_option(paid.map(|(_, fee)| fee))
            .put_option(failure)
    }

    fn read_phase(row: &mut Reading<'_>) -> Read<Phase> {
        let word: String = row.take()?;
        let (receipt, fee) = (row.take::<Option<Box<Receipt>>>()?, row.take::<Option<Credits>>()?);
        let failure = row.take::<Option<PaymentFailure>>()?;
        Ok(match (word.as_str(), receipt, fee, failure) {
            ("routing", None, None, None) => Phase::Routing,
            ("requesting", None, None, None) => Phase::Requesting,
            ("complete", None, None, None) => Phase::Complete,
            ("committed", None, None, None) => Phase::Committed,
            ("succeeded", Some(receipt), Some(fee), None) => Phase::Succeeded { receipt, fee },
            ("failed", None, None, Some(failure)) => Phase::Failed(failure),
            ("cancelled", None, None, None) => Phase::Cancelled,
            ("unknown", None, None, None) => Phase::Unknown,
            _ => return Err(format!("its phase \"{word}\" does not fit its receipt or failure")),
        })
    }
}

pub(crate) mod journal {
    use super::*;

    pub(crate) static TABLE: Table =
        Table::new("journal", 1, &["number", "payment_id", "invoice_id"]);

    pub(crate) fn write(number: u64, row: &JournalRow) -> Values {
        let (payment, invoice) = match row {
            JournalRow::Payment(id) => (Some(id), None),
            JournalRow::Invoice(id) => (None, Some(id)),
        };
        Values::default().put(&number).put_option(payment).put_option(invoice)
    }

    pub(crate) fn read(row: &mut Reading<'_>) -> Read<(u64, JournalRow)> {
        let number = row.take()?;
        let about = (row.take::<Option<PaymentId>>()?, row.take::<Option<InvoiceId>>()?);
        match about {
            (Some(id), None) => Ok((number, JournalRow::Payment(id))),
            (None, Some(id)) => Ok((number, JournalRow::Invoice(id))),
            (Some(_), Some(_)) | (None, None) => {
                Err("it is about neither one payment nor one invoice".to_owned())
            }
        }
    }
}

pub(crate) mod spent {
    use super::*;

    pub(crate) static TABLE: Table = Table::new("spent", 3, &["app", "currency", "hour", "amount"]);

    pub(crate) fn key(key: &SpentKey) -> Values {
        Values::default().put(&key.app).put(&key.currency).put(&key.hour)
    }

    pub(crate) fn write(key: &SpentKey, amount: &Credits) -> Values {
        self::key(key).put(amount)
    }

    pub(crate) fn read(row: &mut Reading<'_>) -> Read<(SpentKey, Credits)> {
        let key = SpentKey { app: row.take()?, currency: row.take()?, hour: row.take()? };
        Ok((key, row.take()?))
    }
}

pub(crate) mod settled {
    use super::*;

    pub(crate) static TABLE: Table = Table::new("settled", 1, &["id"]);

    pub(crate) fn write(id: &HashResult) -> Values {
        Values::default().put(id)
    }

    pub(crate) fn read(row: &mut Reading<'_>) -> Read<HashResult> {
        row.take()
    }
}
