//! What applications, index servers and the shell are told of the state.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use offset_crypto::{PublicKey, RequestId};
use offset_proto::{
    Credits, Currency, ServerAddress, Text,
    index::IndexLine,
    report::{
        CurrencyReport, CurrencyStatus, FRIENDS_PAGE_BYTES, FriendRecovery, FriendReport,
        FriendStanding, InconsistentReport, LineReport, MAX_FRIENDS, NodeReport, ProvenReport,
        ReportMutation, ServerReport, TermsReport,
    },
    reset::ResetTerms,
};

use crate::{
    api::{Contact, Effect},
    credit::MutualCredit,
    funder::{Funder, Place, Standing},
    proof::Lines,
    reset::{mirrored, proofs},
    side::Side,
    state::{self, Friend, Line},
};

impl Funder {
    /// The node's report. Connections to servers are the shell's to fill in.
    pub(crate) fn report(&self) -> NodeReport {
        let mut friends: Vec<_> =
            self.state.friends.iter().map(|(key, row)| self.friend_report(*key, row)).collect();
        friends.sort_by(|a, b| a.name.cmp(&b.name));
        self.report_with(friends)
    }

    /// The report with some of the friends, in the order of their keys; all but the first page
    /// without relays and index servers.
    pub(crate) fn report_page(&self, after: Option<PublicKey>, most: u32) -> NodeReport {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.state.friends.range((start, Bound::Unbounded));
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(MAX_FRIENDS);
        let (mut friends, mut size) = (Vec::new(), 0);
        let mut more_friends = false;
        for (key, row) in rows {
            let friend = self.friend_report(*key, row);
            size += friend.size();
            if friends.len() == most || (!friends.is_empty() && FRIENDS_PAGE_BYTES < size) {
                more_friends = true;
                break;
            }
            friends.push(friend);
        }
        let mut report = NodeReport { more_friends, ..self.report_with(friends) };
        if after.is_some() {
            report.relays.clear();
            report.index_servers.clear();
            report.recoverable.clear();
        }
        report
    }

    fn report_with(&self, friends: Vec<FriendReport>) -> NodeReport {
        NodeReport {
            public_key: self.local,
            default_currency: self.state.settings.default_currency.clone(),
            accepts_spontaneous: self.state.settings.accepts_spontaneous,
            relays: self.relay_reports(),
            index_servers: self.index_server_reports(),
            friends,
            more_friends: false,
            decimals: self.state.settings.decimals.clone(),
            last_event: self.last_event(),
            recovering: self.state.recovery.is_some(),
            recoverable: self.recoverable_reports(),
        }
    }

    fn relay_reports(&self) -> Vec<ServerReport> {
        self.state.relays.iter().map(|(name, relay)| server_report(name, relay)).collect()
    }

    fn index_server_reports(&self) -> Vec<ServerReport> {
        let mut rows: Vec<_> = self.state.index_servers.iter().collect();
        rows.sort_by_key(|(_, row)| row.position);
        rows.into_iter().map(|(name, row)| server_report(name, &row.server)).collect()
    }

    fn friend_report(&self, key: PublicKey, friend: &Friend) -> FriendReport {
        FriendReport {
            name: friend.info.name.clone(),
            public_key: key,
            relays: friend.info.relays.clone(),
            enabled: friend.info.enabled,
            online: self.is_online(&key),
            last_error: self.friend_error(&key, friend),
            currencies: self.currency_reports(&key, &friend.lines),
            standing: self.standing(&key, friend),
            recovery: match &friend.recovery {
                None => FriendRecovery::None,
                Some(state::FriendRecovery::Waiting) => FriendRecovery::Waiting,
                Some(state::FriendRecovery::Quarantined(proof)) => FriendRecovery::Proven {
                    token: proof.signed_id(),
                    currencies: self
                        .live
                        .get(&key)
                        .map(|live| self.currency_reports(&key, &live.proven))
                        .unwrap_or_default(),
                },
            },
        }
    }

    /// Lines with a node, as they are or as it proves them.
    pub(crate) fn currency_reports(&self, key: &PublicKey, lines: &Lines) -> Vec<CurrencyReport> {
        let currency = |(currency, line): (&Currency, &Line)| CurrencyReport {
            currency: currency.clone(),
            rate: line.rate,
            status: self.line_status(key, currency, line),
        };
        lines.iter().map(currency).collect()
    }

    /// What keeps a friend's channel from moving, though a session may stand.
    fn friend_error(&self, key: &PublicKey, friend: &Friend) -> Text {
        if let Some(why) = &friend.channel.inconsistent {
            return why.reason.clone();
        }
        let live = self.live.get(key);
        let standing = live.and_then(|live| live.session.as_ref()).map(|session| session.standing);
        match (live.and_then(|live| live.claim.clone()), standing) {
            (Some(claim), _) => claim,
            (None, Some(Standing::Ahead)) => Text::cut(
                "the friend's node has lost state: nothing moves until its owner recovers it",
            ),
            (None, _) => Text::cut(""),
        }
    }

    fn standing(&self, key: &PublicKey, friend: &Friend) -> FriendStanding {
        let channel = &friend.channel;
        match &channel.inconsistent {
            Some(row) => {
                let ours = terms_report(&row.local, &self.local, key, false);
                let theirs = |terms| terms_report(terms, key, &self.local, true);
                FriendStanding::Inconsistent(Box::new(InconsistentReport {
                    reason: row.reason.clone(),
                    local: ours,
                    remote: row.remote.as_ref().map(theirs),
                    accepted: row.accepted.is_some(),
                    proven: proven(friend),
                }))
            }
            None if friend.info.removing => FriendStanding::Removing,
            None if channel.removed_by_friend => FriendStanding::RemovedByFriend,
            None => FriendStanding::Consistent,
        }
    }

    fn line_status(&self, key: &PublicKey, currency: &Currency, line: &Line) -> CurrencyStatus {
        match &line.credit {
            Some(credit) => {
                let numbers = credit.numbers();
                CurrencyStatus::Active(LineReport {
                    balance: numbers.balance,
                    local_requests_open: numbers.requests_open.local,
                    remote_requests_open: numbers.requests_open.remote,
                    local_max_debt: numbers.max_debt.local,
                    remote_max_debt: numbers.max_debt.remote,
                    local_pending_debt: numbers.pending_debt.local,
                    remote_pending_debt: numbers.pending_debt.remote,
                    exposure: self.exposure(key, currency, credit),
                })
            }
            None => CurrencyStatus::Proposed {
                local: line.wanted.or(line.local_proposal),
                remote: line.remote_proposal,
            },
        }
    }

    /// What is frozen on a line by requests whose incoming side ended with a friendship.
    fn exposure(&self, friend: &PublicKey, currency: &Currency, credit: &MutualCredit) -> Credits {
        let first = Place {
            friend: *friend,
            currency: currency.clone(),
            id: RequestId::from_bytes([0; 16]),
        };
        let here = self.exposed.range(first.clone()..);
        let here = here.take_while(|at| at.friend == first.friend && at.currency == first.currency);
        let frozen =
            here.filter_map(|at| credit.pending(Side::Local).get(&at.id)?.request.frozen());
        frozen.fold(Credits::ZERO, plus)
    }

    /// Turns what changed since the last batch into effects.
    pub(crate) fn notify(&mut self) {
        for friend in std::mem::take(&mut self.dirty.contacts) {
            let info = self.state.friends.get(&friend).map(|row| &row.info);
            let contact = info.filter(|info| info.enabled).map(|info| Contact {
                relays: info.relays.clone(),
                previous_relays: info.previous_relays.clone(),
            });
            self.effects.push(Effect::Contact { friend, contact });
        }
        if std::mem::take(&mut self.dirty.own_relays) {
            self.effects.push(Effect::Relays(self.listening_relays()));
            self.mutation(ReportMutation::SetRelays(self.relay_reports()));
        }
        if std::mem::take(&mut self.dirty.index_servers) {
            let reports = self.index_server_reports();
            let servers = reports.iter().map(|row| (row.name.clone(), row.server.clone()));
            self.effects.push(Effect::IndexServers(servers.collect()));
            self.mutation(ReportMutation::SetIndexServers(reports));
        }
        if std::mem::take(&mut self.dirty.recovery) {
            self.mutation(ReportMutation::SetRecovering(self.state.recovery.is_some()));
        }
        if std::mem::take(&mut self.dirty.recoverable) && self.observed {
            self.mutation(ReportMutation::SetRecoverable(self.recoverable_reports()));
        }
        if std::mem::take(&mut self.dirty.settings) {
            let settings = self.state.settings.clone();
            self.mutation(ReportMutation::SetDefaultCurrency(settings.default_currency));
            self.mutation(ReportMutation::SetAcceptsSpontaneous(settings.accepts_spontaneous));
        }
        for currency in std::mem::take(&mut self.dirty.decimals) {
            let digits = self.state.settings.decimals.get(&currency).copied().unwrap_or(0);
            self.mutation(ReportMutation::SetDecimals(currency, digits));
        }
        for (friend, currency) in std::mem::take(&mut self.dirty.lines) {
            self.notify_line(friend, currency);
        }
        let friends = std::mem::take(&mut self.dirty.friends);
        if self.observed {
            for key in friends {
                let mutation = match self.state.friends.get(&key) {
                    Some(friend) => ReportMutation::SetFriend(self.friend_report(key, friend)),
                    None => ReportMutation::RemoveFriend(key),
                };
                self.mutation(mutation);
            }
        }
    }

    fn mutation(&mut self, mutation: ReportMutation) {
        if self.observed {
            self.effects.push(Effect::Mutation(mutation));
        }
    }

    fn notify_line(&mut self, friend: PublicKey, currency: Currency) {
        let line = self.index_line(&friend, &currency);
        let key = (friend, currency);
        let known = match line {
            Some(line) => self.reported.insert(key.clone(), line),
            None => self.reported.remove(&key),
        };
        if known != line {
            self.effects.push(Effect::IndexLine { friend, currency: key.1, line });
        }
    }

    /// What index servers are to know: lines of friends who are online, in active currencies; a
    /// direction whose requests are closed has capacity 0 (protocol, section 9).
    fn index_line(&self, friend: &PublicKey, currency: &Currency) -> Option<IndexLine> {
        let line = self.friend(friend)?.lines.get(currency).filter(|_| self.is_serving(friend))?;
        let numbers = line.credit.as_ref()?.numbers();
        let capacity = |side: Side| {
            if numbers.requests_open[!side] { numbers.room(side) } else { Credits::ZERO }
        };
        Some(IndexLine {
            send_capacity: capacity(Side::Local),
            recv_capacity: capacity(Side::Remote),
            rate: line.rate,
        })
    }

    /// Our relays, and those that some enabled friend may still know us by.
    fn listening_relays(&self) -> Vec<ServerAddress> {
        let own = self.own_relays();
        let mut relays: BTreeSet<_> = own.iter().cloned().collect();
        for friend in self.state.friends.values().filter(|friend| friend.info.enabled) {
            let channel = &friend.channel;
            if channel.relays_sent != channel.relays_confirmed
                || channel.relays_sent.as_ref() != Some(&own)
            {
                relays.extend(channel.relays_sent.iter().flatten().cloned());
                relays.extend(channel.relays_confirmed.iter().flatten().cloned());
            }
        }
        relays.into_iter().collect()
    }
}

fn server_report(name: &offset_proto::Name, server: &ServerAddress) -> ServerReport {
    ServerReport {
        name: name.clone(),
        server: server.clone(),
        connected: false,
        last_error: Text::cut(""),
    }
}

fn terms_report(
    terms: &ResetTerms,
    proposer: &PublicKey,
    friend: &PublicKey,
    mirror: bool,
) -> TermsReport {
    let body = &terms.body;
    TermsReport {
        reset_token: terms.token(proposer, friend),
        epoch: body.epoch,
        pending: body.pending,
        balances: if mirror { mirrored(&body.balances) } else { body.balances.clone() },
    }
}

/// What the two sides of an inconsistent channel have proven to each other.
fn proven(friend: &Friend) -> Vec<ProvenReport> {
    let mut sums: BTreeMap<&Currency, (Credits, Credits)> = BTreeMap::new();
    let ours = proofs(friend);
    for proof in &ours {
        let line = friend.lines.get_key_value(&proof.currency);
        if let Some((currency, Line { credit: Some(credit), .. })) = line {
            let row = credit.pending(Side::Remote).get(&proof.request_id);
            if let Some(frozen) = row.and_then(|row| row.request.frozen()) {
                let sum = sums.entry(currency).or_default();
                sum.0 = plus(sum.0, frozen);
            }
        }
    }
    for (currency, line) in &friend.lines {
        let rows = line.credit.iter().flat_map(|credit| credit.pending(Side::Local).values());
        for row in rows.filter(|row| row.closing) {
            let sum = sums.entry(currency).or_default();
            sum.1 = plus(sum.1, row.request.frozen().unwrap_or_default());
        }
    }
    let report = |(currency, (local, remote)): (&Currency, _)| ProvenReport {
        currency: currency.clone(),
        local,
        remote,
    };
    sums.into_iter().map(report).collect()
}

fn plus(sum: Credits, credits: Credits) -> Credits {
    sum.checked_add(credits).unwrap_or(Credits(u128::MAX))
}
