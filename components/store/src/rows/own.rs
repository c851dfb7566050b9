//! The node itself: its key, counters, settings and servers.

use offset_crypto::PublicKey;
use offset_funder::state::{IndexServer, Recovery, Settings};
use offset_proto::{Currency, Name, ServerAddress, report::MAX_DECIMALS};
use std::collections::BTreeMap;

use super::Read;
use crate::{
    column::{Reading, Values},
    table::Table,
};

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
