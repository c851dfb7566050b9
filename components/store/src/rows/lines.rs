//! Credit lines and the requests pending and queued on them.

use offset_crypto::{PublicKey, RequestId};
use offset_funder::{
    Side, Sided,
    credit::Numbers,
    state::{LineRow, Pending, QueuedOp, Stage},
};
use offset_proto::{
    Credits, Currency, Rate,
    friend::{Request, Response},
};
use std::sync::Arc;

use super::Read;
use crate::{
    column::{Reading, Values},
    table::Table,
};

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
