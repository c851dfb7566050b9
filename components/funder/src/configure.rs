//! Configuration by the node's owner. Everything goes by the user's names; asking for what is
//! already so succeeds and changes nothing.

use std::fmt::Display;

use offset_crypto::PublicKey;
use offset_proto::{
    Balance, Credits, Currency, Name, Rate, ServerAddress, Timestamp,
    app::{AppError, ConfigRequest, ErrorCode},
    decimals::{decimals_of, show},
    friend::{MAX_CURRENCIES, MAX_RELAYS, Proposal},
    report::{MAX_DECIMALS, MAX_DECIMALS_ENTRIES},
};

use crate::{
    api::Effect,
    channel::is_shared,
    credit::Ends,
    destination::app_error,
    dirty::Key,
    funder::Funder,
    side::Side,
    state::{Channel, Friend, FriendInfo, FriendRecovery, IndexServer, Line},
};

type Outcome = Result<(), AppError>;

impl Funder {
    pub(crate) fn configure(&mut self, now: Timestamp, request: ConfigRequest) -> Outcome {
        match request {
            ConfigRequest::AddRelay { name, relay } => self.add_relay(name, relay),
            ConfigRequest::RemoveRelay { name } => {
                let known = self.state.relays.keys();
                self.state
                    .relays
                    .contains_key(&name)
                    .then_some(())
                    .ok_or_else(|| unknown("relay", &name, known))?;
                self.state.relays.remove(&name);
                self.own_relays_changed(name);
                Ok(())
            }
            ConfigRequest::AddIndexServer { name, server } => self.add_index_server(name, server),
            ConfigRequest::RemoveIndexServer { name } => {
                if self.state.index_servers.remove(&name).is_none() {
                    return Err(unknown("index server", &name, self.state.index_servers.keys()));
                }
                self.dirty.mark(Key::IndexServer(name));
                Ok(())
            }
            ConfigRequest::AddFriend { name, public_key, relays, currency, opening_balance } => {
                let currency = self.currency_or_default(currency);
                self.add_friend(name, public_key, relays, currency, opening_balance)
            }
            ConfigRequest::SetFriendRelays { friend, public_key, relays } => {
                self.set_friend_relays(&friend, public_key, relays)
            }
            ConfigRequest::SetFriendName { friend, new_name } => {
                self.set_friend_name(&friend, new_name)
            }
            ConfigRequest::SetFriendEnabled { friend, enabled } => {
                self.set_friend_enabled(now, &friend, enabled)
            }
            ConfigRequest::AddCurrency { friend, currency, opening_balance } => {
                let key = self.named(&friend)?;
                self.add_currency(key, currency, opening_balance)
            }
            ConfigRequest::RemoveCurrency { friend, currency } => {
                self.remove_currency(&friend, &currency)
            }
            ConfigRequest::SetRequestsOpen { friend, currency, open } => {
                self.change_wanted(&friend, currency, |wanted| wanted.requests_open = open)
            }
            ConfigRequest::SetMaxDebt { friend, currency, max_debt } => {
                if Credits::LIMIT < max_debt {
                    let message = "a credit limit is at most 2^127-1";
                    return Err(app_error(ErrorCode::Invalid, message));
                }
                self.change_wanted(&friend, currency, |wanted| wanted.max_debt = max_debt)
            }
            ConfigRequest::SetRate { friend, currency, rate } => {
                self.set_rate(&friend, currency, rate)
            }
            ConfigRequest::ResetFriend { friend, reset_token } => {
                self.reset_friend(&friend, reset_token)
            }
            ConfigRequest::RemoveFriend { friend, forfeit } => {
                self.remove_friend(now, &friend, forfeit)
            }
            ConfigRequest::SetDefaultCurrency { currency } => {
                if self.state.settings.default_currency != currency {
                    self.state.settings.default_currency = currency;
                    self.dirty.mark(Key::Settings);
                }
                Ok(())
            }
            ConfigRequest::SetDecimals { currency, decimals } => {
                self.set_decimals(currency, decimals)
            }
            ConfigRequest::RecoverFriend { friend, token, public_key } => match public_key {
                None => self.recover_friend(now, &friend, token),
                Some(key) => self.recover_stranger(now, &friend, key, token),
            },
            ConfigRequest::EndRecovery { cancel_unknown } => self.end_recovery(now, cancel_unknown),
            ConfigRequest::SetSpontaneous { accept } => {
                if self.state.settings.accepts_spontaneous != accept {
                    self.state.settings.accepts_spontaneous = accept;
                    self.dirty.mark(Key::Settings);
                }
                Ok(())
            }
            ConfigRequest::SetRetention { days } => {
                if self.state.settings.retention_days != days {
                    self.state.settings.retention_days = days;
                    self.dirty.mark(Key::Settings);
                }
                Ok(())
            }
        }
    }

    /// An amount or balance in an error text, with the point that the currency has here.
    pub(crate) fn shown(&self, number: impl Display, currency: &Currency) -> String {
        show(number, decimals_of(&self.state.settings.decimals, currency))
    }

    fn set_decimals(&mut self, currency: Option<Currency>, decimals: u8) -> Result<(), AppError> {
        let currency = self.currency_or_default(currency);
        let all = &mut self.state.settings.decimals;
        if MAX_DECIMALS < decimals {
            let message = format!("an amount has at most {MAX_DECIMALS} digits behind its point");
            return Err(app_error(ErrorCode::Invalid, &message));
        }
        if all.get(&currency).copied().unwrap_or(0) == decimals {
            return Ok(());
        }
        if decimals == 0 {
            all.remove(&currency);
        } else if all.len() < MAX_DECIMALS_ENTRIES || all.contains_key(&currency) {
            all.insert(currency.clone(), decimals);
        } else {
            let message = "too many currencies have digits behind the point: set others to 0";
            return Err(app_error(ErrorCode::Refused, message));
        }
        self.dirty.mark(Key::Settings);
        self.dirty.decimals.insert(currency);
        Ok(())
    }

    fn currency_or_default(&self, currency: Option<Currency>) -> Currency {
        currency.unwrap_or_else(|| self.state.settings.default_currency.clone())
    }

    pub(crate) fn named(&self, name: &Name) -> Result<PublicKey, AppError> {
        let found = self.state.friend_named(name).map(|(key, _)| *key);
        found.ok_or_else(|| {
            unknown("friend", name, self.state.friends.values().map(|friend| &friend.info.name))
        })
    }

    fn add_relay(&mut self, name: Name, relay: ServerAddress) -> Outcome {
        match self.state.relays.get(&name) {
            Some(known) if *known == relay => return Ok(()),
            Some(_) => return Err(taken("relay", &name)),
            None if MAX_RELAYS <= self.state.relays.len() => {
                return Err(app_error(
                    ErrorCode::Refused,
                    "a node has at most 16 relays; remove one first",
                ));
            }
            None => {}
        }
        self.state.relays.insert(name.clone(), relay);
        self.own_relays_changed(name);
        Ok(())
    }

    /// Our relays go into the next token to every friend.
    fn own_relays_changed(&mut self, name: Name) {
        self.dirty.mark(Key::Relay(name));
        for key in self.state.friends.keys() {
            self.dirty.touch(*key);
        }
    }

    fn add_index_server(&mut self, name: Name, server: ServerAddress) -> Outcome {
        match self.state.index_servers.get(&name) {
            Some(known) if known.server == server => return Ok(()),
            Some(_) => return Err(taken("index server", &name)),
            None if MAX_INDEX_SERVERS <= self.state.index_servers.len() => {
                return Err(app_error(
                    ErrorCode::Refused,
                    "a node has at most 64 index servers; remove one first",
                ));
            }
            None => {}
        }
        let last = self.state.index_servers.values().map(|row| row.position).max();
        let position = last.map_or(0, |last| last.saturating_add(1));
        self.state.index_servers.insert(name.clone(), IndexServer { server, position });
        self.dirty.mark(Key::IndexServer(name));
        Ok(())
    }

    fn add_friend(
        &mut self,
        name: Name,
        key: PublicKey,
        relays: Vec<ServerAddress>,
        currency: Currency,
        opening_balance: Balance,
    ) -> Outcome {
        if key == self.local {
            return Err(app_error(
                ErrorCode::Invalid,
                "this is the node's own friend file; add that of another node",
            ));
        }
        check_relays(&relays)?;
        if let Some((known, friend)) = self.state.friend_named(&name) {
            let line = friend.lines.get(&currency);
            if *known == key && line.is_some_and(|line| begins_with(line, opening_balance)) {
                return Ok(());
            }
            if *known != key {
                return Err(taken("friend", &name));
            }
            let message = format!(
                "{name} is a friend already; for another currency, or to propose another balance \
                 for one that has not begun, use add-currency -n {name}"
            );
            return Err(app_error(ErrorCode::AlreadyExists, &message));
        }
        if let Some(friend) = self.state.friends.get(&key) {
            let message = format!(
                "this node is a friend already, named {}; see set-friend-name and set-friend-relays",
                friend.info.name
            );
            return Err(app_error(ErrorCode::AlreadyExists, &message));
        }
        if self.config.max_friends <= self.state.friends.len() {
            return Err(app_error(ErrorCode::Refused, "this node has too many friends"));
        }
        let info = FriendInfo {
            name,
            enabled: false,
            removing: false,
            relays,
            previous_relays: Vec::new(),
        };
        let mut friend = Friend::new(info, Channel::new(&Ends::new(self.local, key)));
        if self.state.recovery.is_some() {
            // It may be one that was forgotten, and prove more than a new friend could know.
            friend.recovery = Some(FriendRecovery::Waiting);
            self.dirty.mark(Key::FriendRecovery(key));
        }
        self.no_stranger(key);
        self.state.friends.insert(key, friend);
        self.dirty.mark(Key::NewFriend(key));
        self.take_up_again(key);
        self.add_currency(key, currency, opening_balance)
    }

    fn set_friend_relays(
        &mut self,
        name: &Name,
        public_key: PublicKey,
        relays: Vec<ServerAddress>,
    ) -> Outcome {
        let key = self.named(name)?;
        if key != public_key {
            let message = format!("this is the friend file of another node than {name}'s");
            return Err(app_error(ErrorCode::Invalid, &message));
        }
        check_relays(&relays)?;
        self.change_info(key, |info| {
            if info.relays != relays {
                info.previous_relays = std::mem::replace(&mut info.relays, relays);
            }
        });
        Ok(())
    }

    fn set_friend_name(&mut self, name: &Name, new_name: Name) -> Outcome {
        let key = self.named(name)?;
        if *name != new_name && self.state.friend_named(&new_name).is_some() {
            return Err(taken("friend", &new_name));
        }
        self.change_info(key, |info| info.name = new_name);
        Ok(())
    }

    fn set_friend_enabled(&mut self, now: Timestamp, name: &Name, enabled: bool) -> Outcome {
        let key = self.named(name)?;
        self.change_info(key, |info| {
            info.enabled = enabled;
            // Who enables a friend that is to go takes that back.
            info.removing &= !enabled;
        });
        let session = self.live.get(&key).and_then(|live| live.session.as_ref());
        if let Some(session) = session.map(|session| session.id).filter(|_| !enabled) {
            self.effects.push(Effect::Disconnect { friend: key, session });
            self.disconnected(now, key);
        }
        // The friend may know us by relays that the others have forgotten.
        self.dirty.own_relays = true;
        Ok(())
    }

    fn change_info(&mut self, key: PublicKey, change: impl FnOnce(&mut FriendInfo)) {
        if let Some(friend) = self.state.friends.get_mut(&key) {
            let before = friend.info.clone();
            change(&mut friend.info);
            if friend.info != before {
                self.dirty.mark(Key::Friend(key));
                self.availability_changed(key);
                self.dirty.touch(key);
            }
        }
    }

    fn add_currency(&mut self, key: PublicKey, currency: Currency, opening: Balance) -> Outcome {
        let Some(friend) = self.state.friends.get_mut(&key) else {
            return Ok(());
        };
        if let Some(line) = friend.lines.get_mut(&currency) {
            if line.credit.is_some() && line.wanted.is_some() {
                if begins_with(line, opening) {
                    return Ok(());
                }
                let message = format!(
                    "{currency} has begun with this friend, and not with that balance: it changes by \
                     payments alone, or by agreeing anew with reset-friend"
                );
                return Err(app_error(ErrorCode::AlreadyExists, &message));
            }
            line.wanted = Some(match &line.credit {
                // A removal that could not be sent yet is taken back: the line stays as it is.
                Some(credit) => Proposal {
                    opening_balance: Balance::ZERO,
                    max_debt: credit.numbers().max_debt[Side::Remote],
                    requests_open: credit.numbers().requests_open[Side::Local],
                },
                None => Proposal { opening_balance: opening, ..line.wanted.unwrap_or_default() },
            });
        } else {
            let count =
                friend.lines.values().filter(|line| is_shared(line) || line.wanted.is_some());
            if MAX_CURRENCIES <= count.count() {
                return Err(app_error(
                    ErrorCode::Refused,
                    "a friendship has at most 64 currencies; remove one first",
                ));
            }
            let wanted = Proposal { opening_balance: opening, ..Proposal::default() };
            let line = Line {
                wanted: Some(wanted),
                rate: Rate::default(),
                local_proposal: None,
                remote_proposal: None,
                credit: None,
            };
            friend.lines.insert(currency.clone(), line);
        }
        self.line_changed(key, &currency);
        self.dirty.touch(key);
        Ok(())
    }

    fn remove_currency(&mut self, name: &Name, currency: &Currency) -> Outcome {
        let key = self.named(name)?;
        let decimals = decimals_of(&self.state.settings.decimals, currency);
        let friend = self.state.friends.get_mut(&key);
        let Some(line) = friend.and_then(|friend| friend.lines.get_mut(currency)) else {
            return Err(no_currency(name, currency));
        };
        if let Some(credit) = &line.credit
            && !credit.is_clear()
        {
            let message = format!(
                "currency {currency} with {name} has balance {}; it can be removed at balance 0 \
                 with nothing pending",
                show(credit.numbers().balance, decimals)
            );
            return Err(app_error(ErrorCode::Refused, &message));
        }
        line.wanted = None;
        let gone = !is_shared(line);
        if gone && let Some(friend) = self.state.friends.get_mut(&key) {
            friend.lines.remove(currency);
        }
        self.line_changed(key, currency);
        self.dirty.touch(key);
        Ok(())
    }

    fn change_wanted(
        &mut self,
        name: &Name,
        currency: Option<Currency>,
        change: impl FnOnce(&mut Proposal),
    ) -> Outcome {
        let currency = self.currency_or_default(currency);
        let key = self.named(name)?;
        let friend = self.state.friends.get_mut(&key);
        let line = friend.and_then(|friend| friend.lines.get_mut(&currency));
        let wanted = line.and_then(|line| line.wanted.as_mut());
        let wanted = wanted.ok_or_else(|| no_currency(name, &currency))?;
        let before = *wanted;
        change(wanted);
        if *wanted != before {
            self.line_changed(key, &currency);
            self.dirty.touch(key);
        }
        Ok(())
    }

    fn set_rate(&mut self, name: &Name, currency: Option<Currency>, rate: Rate) -> Outcome {
        let currency = self.currency_or_default(currency);
        let key = self.named(name)?;
        let friend = self.state.friends.get_mut(&key);
        let line = friend.and_then(|friend| friend.lines.get_mut(&currency));
        let line = line.ok_or_else(|| no_currency(name, &currency))?;
        if line.rate != rate {
            line.rate = rate;
            self.line_changed(key, &currency);
        }
        Ok(())
    }
}

/// Whether this is with what the line was asked to begin. One that has begun says nothing against
/// zero, which is what an owner has who names no balance.
fn begins_with(line: &Line, opening: Balance) -> bool {
    let asked = line.wanted.is_some_and(|wanted| wanted.opening_balance == opening);
    asked || line.credit.is_some() && opening == Balance::ZERO
}

fn check_relays(relays: &[ServerAddress]) -> Outcome {
    if MAX_RELAYS < relays.len() {
        return Err(app_error(ErrorCode::Invalid, "a friend has at most 16 relays"));
    }
    Ok(())
}

pub(crate) fn taken(what: &str, name: &Name) -> AppError {
    let message = format!("the name {name} is in use for another {what}; choose another name");
    app_error(ErrorCode::AlreadyExists, &message)
}

fn no_currency(name: &Name, currency: &Currency) -> AppError {
    let message = format!("{name} has no currency {currency}; add it with add-currency");
    app_error(ErrorCode::NotFound, &message)
}

/// An unknown name, with the near ones that are known.
pub(crate) fn unknown<'a>(
    what: &str,
    name: &Name,
    known: impl Iterator<Item = &'a Name>,
) -> AppError {
    let mut near: Vec<_> =
        known.map(|other| (distance(name.as_str(), other.as_str()), other)).collect();
    near.sort();
    let longest = name.as_str().chars().count().div_ceil(2).max(2);
    let names: Vec<_> = near
        .iter()
        .filter(|(distance, _)| *distance <= longest)
        .take(3)
        .map(|(_, name)| name.as_str())
        .collect();
    let hint = match (names.as_slice(), near.is_empty()) {
        ([], true) => format!("; there is no {what} yet"),
        ([], false) => {
            let all: Vec<_> = near.iter().take(5).map(|(_, name)| name.as_str()).collect();
            format!("; known: {}", all.join(", "))
        }
        (names, _) => format!("; did you mean {}?", names.join(" or ")),
    };
    app_error(ErrorCode::NotFound, &format!("there is no {what} named {name}{hint}"))
}

/// How many characters must be added, removed or replaced to make one text the other
/// (Levenshtein's distance).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// The most index servers of a node.
const MAX_INDEX_SERVERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_offered() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        let name = |text: &str| text.parse::<Name>().unwrap();
        let known = [name("alice"), name("bob"), name("charli")];
        let error = unknown("friend", &name("alcie"), known.iter());
        assert_eq!(error.message.as_str(), "there is no friend named alcie; did you mean alice?");
        let error = unknown("friend", &name("zzzzzz"), [].iter());
        assert_eq!(
            error.message.as_str(),
            "there is no friend named zzzzzz; there is no friend yet"
        );
    }
}
