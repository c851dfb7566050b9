//! Friends, their token channels and what is kept of ended ones.

use offset_crypto::PublicKey;
use offset_funder::state::{ArchivedFriend, BeforeSent, Channel, FriendInfo, FriendRecovery};
use offset_proto::friend::MoveToken;
use std::sync::Arc;

use super::Read;
use crate::{
    column::{Reading, Values},
    table::Table,
};

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
            "offered_epoch",
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
            offered_epoch,
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
            .put(offered_epoch)
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
            offered_epoch: row.take()?,
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
            "offered_epoch",
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
