//! `report.capnp`: what a node shows its applications.

use std::collections::BTreeMap;

use super::{
    Decoded, balance, check_sorted, count, credits, fixed, invalid, key, limit, list, parse,
    rate_of, server, set_balance, set_credits, set_list, set_rate, set_server,
};
use capnp::struct_list;

use crate::{
    Currency,
    friend::{MAX_CURRENCIES, MAX_RELAYS, Proposal},
    report::{
        CurrencyReport, CurrencyStatus, FriendRecovery, FriendReport, FriendStanding,
        InconsistentReport, LineReport, MAX_DECIMALS, MAX_DECIMALS_ENTRIES, MAX_FRIENDS,
        MAX_RECOVERABLE, MAX_SERVERS, NodeReport, ProvenReport, RecoverableReport, ReportMutation,
        ServerReport, TermsReport,
    },
    reset::ResetBalance,
    schema::report_capnp::{
        currency_decimals, currency_report, friend_report, inconsistent_report, line_report,
        node_report, proposal, recoverable, report_mutation, server_report, terms_report,
    },
};

pub(super) fn report_words(report: &NodeReport) -> usize {
    let servers = report.relays.len() + report.index_servers.len();
    30 + SERVER_WORDS * servers
        + recoverable_words(&report.recoverable)
        + report.friends.iter().map(friend_words).sum::<usize>()
}

pub(super) fn mutation_words(mutation: &ReportMutation) -> usize {
    match mutation {
        ReportMutation::SetDefaultCurrency(_)
        | ReportMutation::SetAcceptsSpontaneous(_)
        | ReportMutation::SetDecimals(..)
        | ReportMutation::RemoveFriend(_)
        | ReportMutation::SetRecovering(_) => 10,
        ReportMutation::SetRelays(servers) | ReportMutation::SetIndexServers(servers) => {
            4 + SERVER_WORDS * servers.len()
        }
        ReportMutation::SetFriend(friend) => 2 + friend_words(friend),
        ReportMutation::SetRecoverable(nodes) => 4 + recoverable_words(nodes),
    }
}

fn recoverable_words(nodes: &[RecoverableReport]) -> usize {
    nodes.iter().map(|node| 20 + 30 * node.currencies.len()).sum()
}

pub(super) fn friends_words(friends: &[FriendReport]) -> usize {
    4 + friends.iter().map(friend_words).sum::<usize>()
}

fn friend_words(friend: &FriendReport) -> usize {
    let proven = match &friend.recovery {
        FriendRecovery::None | FriendRecovery::Waiting => 0,
        FriendRecovery::Proven { currencies, .. } => currencies.len(),
    };
    let terms = |terms: &TermsReport| 16 + 8 * terms.balances.len();
    let standing = friend.standing.inconsistent().map_or(0, |report| {
        let remote = report.remote.as_ref().map_or(0, terms);
        20 + terms(&report.local) + remote + 9 * report.proven.len()
    });
    50 + 12 * friend.relays.len() + 30 * (friend.currencies.len() + proven) + standing
}

pub(super) fn set_report(value: &NodeReport, mut report: node_report::Builder<'_>) {
    report.set_public_key(value.public_key.as_bytes());
    report.set_default_currency(value.default_currency.as_str());
    report.set_accepts_spontaneous(value.accepts_spontaneous);
    report.set_recovering(value.recovering);
    let recoverable = report.reborrow().init_recoverable(count(value.recoverable.len()));
    set_list(recoverable, &value.recoverable, set_recoverable);
    let relays = report.reborrow().init_relays(count(value.relays.len()));
    set_list(relays, &value.relays, set_server_report);
    let servers = report.reborrow().init_index_servers(count(value.index_servers.len()));
    set_list(servers, &value.index_servers, set_server_report);
    let friends = report.reborrow().init_friends(count(value.friends.len()));
    set_list(friends, &value.friends, set_friend);
    report.set_more_friends(value.more_friends);
    let decimals = value.decimals.iter().map(|(currency, digits)| (currency.clone(), *digits));
    let decimals: Vec<_> = decimals.collect();
    let list = report.reborrow().init_decimals(count(decimals.len()));
    set_list(list, &decimals, set_decimals);
    report.set_last_event(value.last_event);
}

fn set_decimals((currency, digits): &(Currency, u8), mut entry: currency_decimals::Builder<'_>) {
    entry.set_currency(currency.as_str());
    entry.set_decimals(*digits);
}

fn decimals_of(entry: currency_decimals::Reader<'_>) -> Decoded<(Currency, u8)> {
    Ok((parse("currency", entry.get_currency())?, decimals(entry.get_decimals())?))
}

fn decimals_by_currency(report: node_report::Reader<'_>) -> Decoded<BTreeMap<Currency, u8>> {
    let entries = list("decimals", report.get_decimals()?, MAX_DECIMALS_ENTRIES, decimals_of)?;
    check_sorted("decimals", entries.iter().map(|(currency, _)| currency))?;
    Ok(entries.into_iter().collect())
}

/// How many digits there may be behind a point.
pub(super) fn decimals(digits: u8) -> Decoded<u8> {
    if digits <= MAX_DECIMALS {
        Ok(digits)
    } else {
        Err(invalid("decimals", "more than 18 digits"))
    }
}

pub(super) fn report(report: node_report::Reader<'_>) -> Decoded<NodeReport> {
    let servers = report.get_index_servers()?;
    Ok(NodeReport {
        public_key: key("publicKey", report.get_public_key())?,
        default_currency: parse("defaultCurrency", report.get_default_currency())?,
        accepts_spontaneous: report.get_accepts_spontaneous(),
        relays: list("relays", report.get_relays()?, MAX_SERVERS, server_report)?,
        index_servers: list("indexServers", servers, MAX_SERVERS, server_report)?,
        friends: list("friends", report.get_friends()?, MAX_FRIENDS, friend_of)?,
        more_friends: report.get_more_friends(),
        decimals: decimals_by_currency(report)?,
        last_event: report.get_last_event(),
        recovering: report.get_recovering(),
        recoverable: recoverable_list(report.get_recoverable()?)?,
    })
}

fn set_recoverable(value: &RecoverableReport, mut node: recoverable::Builder<'_>) {
    node.set_public_key(value.public_key.as_bytes());
    let mut state = node.init_state();
    state.set_token(value.token.as_bytes());
    let currencies = state.init_currencies(count(value.currencies.len()));
    set_list(currencies, &value.currencies, set_currency);
}

fn recoverable_list(
    nodes: struct_list::Reader<'_, recoverable::Owned>,
) -> Decoded<Vec<RecoverableReport>> {
    let nodes = list("recoverable", nodes, MAX_RECOVERABLE, |node| {
        let state = node.get_state()?;
        let currencies = state.get_currencies()?;
        Ok(RecoverableReport {
            public_key: key("publicKey", node.get_public_key())?,
            token: fixed("token", state.get_token())?,
            currencies: list("currencies", currencies, MAX_CURRENCIES, currency_of)?,
        })
    })?;
    check_sorted("recoverable", nodes.iter().map(|node| &node.public_key))?;
    Ok(nodes)
}

pub(super) fn set_mutation(value: &ReportMutation, mut mutation: report_mutation::Builder<'_>) {
    match value {
        ReportMutation::SetDefaultCurrency(currency) => {
            mutation.set_set_default_currency(currency.as_str());
        }
        ReportMutation::SetAcceptsSpontaneous(on) => mutation.set_set_accepts_spontaneous(*on),
        ReportMutation::SetDecimals(currency, digits) => {
            set_decimals(&(currency.clone(), *digits), mutation.init_set_decimals());
        }
        ReportMutation::SetRelays(relays) => {
            set_list(mutation.init_set_relays(count(relays.len())), relays, set_server_report);
        }
        ReportMutation::SetIndexServers(servers) => {
            let list = mutation.init_set_index_servers(count(servers.len()));
            set_list(list, servers, set_server_report);
        }
        ReportMutation::SetFriend(friend) => set_friend(friend, mutation.init_set_friend()),
        ReportMutation::RemoveFriend(key) => mutation.set_remove_friend(key.as_bytes()),
        ReportMutation::SetRecovering(on) => mutation.set_set_recovering(*on),
        ReportMutation::SetRecoverable(nodes) => {
            let list = mutation.init_set_recoverable(count(nodes.len()));
            set_list(list, nodes, set_recoverable);
        }
    }
}

pub(super) fn mutation(mutation: report_mutation::Reader<'_>) -> Decoded<ReportMutation> {
    use report_mutation::Which;
    Ok(match mutation.which()? {
        Which::SetDefaultCurrency(currency) => {
            ReportMutation::SetDefaultCurrency(parse("setDefaultCurrency", currency)?)
        }
        Which::SetAcceptsSpontaneous(on) => ReportMutation::SetAcceptsSpontaneous(on),
        Which::SetDecimals(entry) => {
            let (currency, digits) = decimals_of(entry?)?;
            ReportMutation::SetDecimals(currency, digits)
        }
        Which::SetRelays(relays) => {
            ReportMutation::SetRelays(list("setRelays", relays?, MAX_SERVERS, server_report)?)
        }
        Which::SetIndexServers(servers) => ReportMutation::SetIndexServers(list(
            "setIndexServers",
            servers?,
            MAX_SERVERS,
            server_report,
        )?),
        Which::SetFriend(friend) => ReportMutation::SetFriend(friend_of(friend?)?),
        Which::RemoveFriend(friend) => ReportMutation::RemoveFriend(key("removeFriend", friend)?),
        Which::SetRecovering(on) => ReportMutation::SetRecovering(on),
        Which::SetRecoverable(nodes) => ReportMutation::SetRecoverable(recoverable_list(nodes?)?),
    })
}

fn set_server_report(value: &ServerReport, mut report: server_report::Builder<'_>) {
    report.set_name(value.name.as_str());
    set_server(&value.server, report.reborrow().init_server());
    report.set_connected(value.connected);
    report.set_last_error(value.last_error.as_str());
}

fn server_report(report: server_report::Reader<'_>) -> Decoded<ServerReport> {
    Ok(ServerReport {
        name: parse("name", report.get_name())?,
        server: server(report.get_server()?)?,
        connected: report.get_connected(),
        last_error: parse("lastError", report.get_last_error())?,
    })
}

pub(super) fn set_friend(value: &FriendReport, mut friend: friend_report::Builder<'_>) {
    friend.set_name(value.name.as_str());
    friend.set_public_key(value.public_key.as_bytes());
    set_list(friend.reborrow().init_relays(count(value.relays.len())), &value.relays, set_server);
    friend.set_enabled(value.enabled);
    friend.set_online(value.online);
    friend.set_last_error(value.last_error.as_str());
    let currencies = friend.reborrow().init_currencies(count(value.currencies.len()));
    set_list(currencies, &value.currencies, set_currency);
    let mut standing = friend.reborrow().init_standing();
    match &value.standing {
        FriendStanding::Consistent => standing.set_consistent(()),
        FriendStanding::Inconsistent(report) => {
            set_inconsistent(report, standing.init_inconsistent());
        }
        FriendStanding::Removing => standing.set_removing(()),
        FriendStanding::RemovedByFriend => standing.set_removed_by_friend(()),
    }
    let mut recovery = friend.init_recovery();
    match &value.recovery {
        FriendRecovery::None => recovery.set_none(()),
        FriendRecovery::Waiting => recovery.set_waiting(()),
        FriendRecovery::Proven { token, currencies } => {
            let mut proven = recovery.init_proven();
            proven.set_token(token.as_bytes());
            set_list(proven.init_currencies(count(currencies.len())), currencies, set_currency);
        }
    }
}

pub(super) fn friend_of(friend: friend_report::Reader<'_>) -> Decoded<FriendReport> {
    use friend_report::standing::Which;
    let standing = match friend.get_standing().which()? {
        Which::Consistent(()) => FriendStanding::Consistent,
        Which::Inconsistent(report) => {
            FriendStanding::Inconsistent(Box::new(inconsistent_of(report?)?))
        }
        Which::Removing(()) => FriendStanding::Removing,
        Which::RemovedByFriend(()) => FriendStanding::RemovedByFriend,
    };
    Ok(FriendReport {
        name: parse("name", friend.get_name())?,
        public_key: key("publicKey", friend.get_public_key())?,
        relays: list("relays", friend.get_relays()?, MAX_RELAYS, server)?,
        enabled: friend.get_enabled(),
        online: friend.get_online(),
        last_error: parse("lastError", friend.get_last_error())?,
        currencies: list("currencies", friend.get_currencies()?, MAX_CURRENCIES, currency_of)?,
        standing,
        recovery: recovery_of(friend.get_recovery())?,
    })
}

fn recovery_of(recovery: friend_report::recovery::Reader<'_>) -> Decoded<FriendRecovery> {
    use friend_report::recovery::Which;
    Ok(match recovery.which()? {
        Which::None(()) => FriendRecovery::None,
        Which::Waiting(()) => FriendRecovery::Waiting,
        Which::Proven(proven) => {
            let proven = proven?;
            let currencies = proven.get_currencies()?;
            FriendRecovery::Proven {
                token: fixed("token", proven.get_token())?,
                currencies: list("currencies", currencies, MAX_CURRENCIES, currency_of)?,
            }
        }
    })
}

fn set_inconsistent(value: &InconsistentReport, mut report: inconsistent_report::Builder<'_>) {
    report.set_reason(value.reason.as_str());
    set_terms(&value.local, report.reborrow().init_local());
    if let Some(remote) = &value.remote {
        set_terms(remote, report.reborrow().init_remote());
    }
    report.set_accepted(value.accepted);
    let proven = report.init_proven(count(value.proven.len()));
    set_list(proven, &value.proven, |value, mut proven| {
        proven.set_currency(value.currency.as_str());
        set_credits(value.local, proven.reborrow().init_local());
        set_credits(value.remote, proven.init_remote());
    });
}

fn inconsistent_of(report: inconsistent_report::Reader<'_>) -> Decoded<InconsistentReport> {
    let remote = report.has_remote().then(|| terms_of(report.get_remote()?));
    let proven = list("proven", report.get_proven()?, MAX_CURRENCIES, |proven| {
        Ok(ProvenReport {
            currency: parse("currency", proven.get_currency())?,
            local: credits(proven.get_local()?),
            remote: credits(proven.get_remote()?),
        })
    })?;
    Ok(InconsistentReport {
        reason: parse("reason", report.get_reason())?,
        local: terms_of(report.get_local()?)?,
        remote: remote.transpose()?,
        accepted: report.get_accepted(),
        proven,
    })
}

fn set_terms(value: &TermsReport, mut terms: terms_report::Builder<'_>) {
    terms.set_reset_token(value.reset_token.as_bytes());
    terms.set_epoch(value.epoch);
    terms.set_pending(value.pending);
    let balances = terms.init_balances(count(value.balances.len()));
    set_list(balances, &value.balances, |value, mut row| {
        row.set_currency(value.currency.as_str());
        set_balance(value.balance, row.init_balance());
    });
}

fn terms_of(terms: terms_report::Reader<'_>) -> Decoded<TermsReport> {
    let balances = list("balances", terms.get_balances()?, MAX_CURRENCIES, |row| {
        Ok(ResetBalance {
            currency: parse("currency", row.get_currency())?,
            balance: balance("balance", row.get_balance()?)?,
        })
    })?;
    Ok(TermsReport {
        reset_token: fixed("resetToken", terms.get_reset_token())?,
        epoch: terms.get_epoch(),
        pending: terms.get_pending(),
        balances,
    })
}

fn set_currency(value: &CurrencyReport, mut report: currency_report::Builder<'_>) {
    report.set_currency(value.currency.as_str());
    set_rate(value.rate, report.reborrow().init_rate());
    let status = report.init_status();
    match &value.status {
        CurrencyStatus::Active(line) => set_line(line, status.init_active()),
        CurrencyStatus::Proposed { local, remote } => {
            let mut proposed = status.init_proposed();
            if let Some(local) = local {
                set_proposal(local, proposed.reborrow().init_local());
            }
            if let Some(remote) = remote {
                set_proposal(remote, proposed.init_remote());
            }
        }
    }
}

fn currency_of(report: currency_report::Reader<'_>) -> Decoded<CurrencyReport> {
    use currency_report::status::Which;
    let status = match report.get_status().which()? {
        Which::Active(line) => CurrencyStatus::Active(line_of(line?)?),
        Which::Proposed(proposed) => {
            let local = proposed.has_local().then(|| proposal_of(proposed.get_local()?));
            let remote = proposed.has_remote().then(|| proposal_of(proposed.get_remote()?));
            CurrencyStatus::Proposed { local: local.transpose()?, remote: remote.transpose()? }
        }
    };
    Ok(CurrencyReport {
        currency: parse("currency", report.get_currency())?,
        rate: rate_of(report.get_rate()?),
        status,
    })
}

fn set_proposal(value: &Proposal, mut proposal: proposal::Builder<'_>) {
    set_balance(value.opening_balance, proposal.reborrow().init_opening_balance());
    set_credits(value.max_debt, proposal.reborrow().init_max_debt());
    proposal.set_requests_open(value.requests_open);
}

fn proposal_of(proposal: proposal::Reader<'_>) -> Decoded<Proposal> {
    Ok(Proposal {
        opening_balance: balance("openingBalance", proposal.get_opening_balance()?)?,
        max_debt: limit("maxDebt", proposal.get_max_debt()?)?,
        requests_open: proposal.get_requests_open(),
    })
}

fn set_line(value: &LineReport, mut line: line_report::Builder<'_>) {
    set_balance(value.balance, line.reborrow().init_balance());
    line.set_local_requests_open(value.local_requests_open);
    line.set_remote_requests_open(value.remote_requests_open);
    set_credits(value.local_max_debt, line.reborrow().init_local_max_debt());
    set_credits(value.remote_max_debt, line.reborrow().init_remote_max_debt());
    set_credits(value.local_pending_debt, line.reborrow().init_local_pending_debt());
    set_credits(value.remote_pending_debt, line.reborrow().init_remote_pending_debt());
    set_credits(value.exposure, line.init_exposure());
}

fn line_of(line: line_report::Reader<'_>) -> Decoded<LineReport> {
    Ok(LineReport {
        balance: balance("balance", line.get_balance()?)?,
        local_requests_open: line.get_local_requests_open(),
        remote_requests_open: line.get_remote_requests_open(),
        local_max_debt: limit("localMaxDebt", line.get_local_max_debt()?)?,
        remote_max_debt: limit("remoteMaxDebt", line.get_remote_max_debt()?)?,
        local_pending_debt: credits(line.get_local_pending_debt()?),
        remote_pending_debt: credits(line.get_remote_pending_debt()?),
        exposure: credits(line.get_exposure()?),
    })
}

/// An ordinary server report; names, addresses and errors are mostly short.
const SERVER_WORDS: usize = 30;
