//! Whether a stored state is one whole: sums against what they are of, and what both sides signed
//! against the rows that it names.

use offset_crypto::PublicKey;
use offset_proto::{Credits, friend::MoveToken, reset::ResetBalance};

use crate::{
    change::CorruptState,
    channel::{genesis, is_shared, signer, state_hash},
    credit::{Ends, Numbers},
    proof,
    side::Side,
    state::{Channel, Friend, State},
};

impl State {
    /// Sums that are stored twice must agree: what the pending requests of each side freeze (M4).
    ///
    /// # Errors
    /// [`CorruptState::PendingDebt`].
    pub fn check_sums(&self) -> Result<(), CorruptState> {
        for (key, friend) in &self.friends {
            for (currency, line) in &friend.lines {
                let Some(credit) = &line.credit else {
                    continue;
                };
                for side in Side::BOTH {
                    let mut frozen = credit.pending(side).values().map(|row| row.request.frozen());
                    let sum = frozen
                        .try_fold(Credits::ZERO, |sum: Credits, frozen| sum.checked_add(frozen?));
                    if sum != Some(credit.numbers().pending_debt[side]) {
                        return Err(CorruptState::PendingDebt(*key, currency.clone()));
                    }
                }
            }
        }
        Ok(())
    }

    /// The rows of each channel must be those that the last token names, and the tokens that are kept
    /// must follow each other. `local` is the node's own key. On an inconsistent channel nothing moves,
    /// and its lines may have been given up: it is left to the next epoch.
    ///
    /// # Errors
    /// [`CorruptState::State`] and [`CorruptState::Tokens`].
    pub fn check_channels(&self, local: PublicKey) -> Result<(), CorruptState> {
        for (key, friend) in &self.friends {
            if friend.channel.inconsistent.is_none() {
                check_channel(&Ends::new(local, *key), friend)?;
            }
        }
        Ok(())
    }

    /// The tokens that are kept must be signed by their signers.
    ///
    /// # Errors
    /// [`CorruptState::Tokens`].
    pub fn check_signatures(&self, local: PublicKey) -> Result<(), CorruptState> {
        for (key, friend) in &self.friends {
            let ends = Ends::new(local, *key);
            let ours = friend.channel.last_sent.as_deref().map(|token| (Side::Local, token));
            let theirs = friend.received.as_deref().map(|token| (Side::Remote, token));
            for (side, token) in ours.into_iter().chain(theirs) {
                token
                    .check(&ends.keys[side], &ends.keys[!side])
                    .map_err(|_| CorruptState::Tokens(*key))?;
            }
        }
        Ok(())
    }
}

fn check_channel(ends: &Ends, friend: &Friend) -> Result<(), CorruptState> {
    let key = ends.keys.remote;
    let channel = &friend.channel;
    let received = friend.received.as_deref();
    if channel.counter == 0 {
        return if received.is_none() && channel.last_sent.is_none() && is_begun(ends, friend) {
            Ok(())
        } else {
            Err(CorruptState::State(key))
        };
    }
    let last = match signer(ends, channel.counter) {
        Side::Local => channel.last_sent.as_deref(),
        Side::Remote => received,
    };
    let Some(last) = last.filter(|last| is_last(last, channel)) else {
        return Err(CorruptState::Tokens(key));
    };
    let hash = state_hash(ends, channel.epoch, channel.counter, &friend.lines);
    if hash != last.body.state_hash {
        return Err(CorruptState::State(key));
    }
    // The friend's token before ours, which is shown to a friend that lost it.
    if let Some(received) = received.filter(|_| signer(ends, channel.counter) == Side::Local) {
        let follows = received.body.epoch == channel.epoch
            && received.body.counter.checked_add(1) == Some(channel.counter)
            && received.id() == last.body.prev_token;
        if !follows {
            return Err(CorruptState::Tokens(key));
        }
        if proof::lines_at(received, friend, ends).is_none() {
            return Err(CorruptState::State(key));
        }
    }
    Ok(())
}

fn is_last(token: &MoveToken, channel: &Channel) -> bool {
    (token.body.epoch, token.body.counter) == (channel.epoch, channel.counter)
        && token.id() == channel.token_id
}

/// Whether the lines are those with which the epoch began: before the first token of all there are
/// none, later the balances of the genesis and nothing else.
fn is_begun(ends: &Ends, friend: &Friend) -> bool {
    let mut balances = Vec::new();
    for (currency, line) in friend.lines.iter().filter(|(_, line)| is_shared(line)) {
        let Some(credit) = &line.credit else {
            return false;
        };
        let balance = credit.numbers().balance;
        let begun = Numbers { balance, ..Numbers::default() };
        if *credit.numbers() != begun || Side::BOTH.iter().any(|it| !credit.pending(*it).is_empty())
        {
            return false;
        }
        balances.push(ResetBalance { currency: currency.clone(), balance });
    }
    let channel = &friend.channel;
    (channel.epoch != 0 || balances.is_empty())
        && genesis(ends, channel.epoch, &balances) == channel.token_id
}
