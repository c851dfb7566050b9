//! The report of a node.

use super::*;

pub(super) fn report() -> impl Strategy<Value = NodeReport> {
    let servers = || vec(server_report(), 0..3);
    let rest = (
        vec(friend_report(), 0..4),
        any::<bool>(),
        btree_map(currency(), 0..=MAX_DECIMALS, 0..4),
        any::<u64>(),
    );
    (key(), currency(), any::<bool>(), servers(), servers(), rest).prop_map(
        |(public_key, default_currency, accepts_spontaneous, relays, index_servers, rest)| {
            let (friends, more_friends, decimals, last_event) = rest;
            NodeReport {
                public_key,
                default_currency,
                accepts_spontaneous,
                relays,
                index_servers,
                friends,
                more_friends,
                decimals,
                last_event,
                recovering: more_friends,
            }
        },
    )
}

pub(super) fn mutation() -> BoxedStrategy<ReportMutation> {
    use ReportMutation as M;
    prop_oneof![
        currency().prop_map(M::SetDefaultCurrency),
        any::<bool>().prop_map(M::SetAcceptsSpontaneous),
        (currency(), 0..=MAX_DECIMALS).prop_map(|(currency, n)| M::SetDecimals(currency, n)),
        vec(server_report(), 0..3).prop_map(M::SetRelays),
        vec(server_report(), 0..3).prop_map(M::SetIndexServers),
        friend_report().prop_map(M::SetFriend),
        key().prop_map(M::RemoveFriend),
        any::<bool>().prop_map(M::SetRecovering),
    ]
    .boxed()
}

pub(super) fn server_report() -> impl Strategy<Value = ServerReport> {
    (name(), server(), any::<bool>(), text()).prop_map(|(name, server, connected, last_error)| {
        ServerReport { name, server, connected, last_error }
    })
}

pub(super) fn friend_report() -> impl Strategy<Value = FriendReport> {
    let flags = (any::<bool>(), any::<bool>());
    let currencies = vec(currency_report(), 0..4);
    let proven = (hash(), vec(currency_report(), 0..4))
        .prop_map(|(token, currencies)| FriendRecovery::Proven { token, currencies });
    let recovery = prop_oneof![Just(FriendRecovery::None), Just(FriendRecovery::Waiting), proven];
    let standing = (standing(), recovery);
    (name(), key(), vec(server(), 0..3), flags, text(), currencies, standing).prop_map(
        |(name, public_key, relays, flags, last_error, currencies, standing)| FriendReport {
            name,
            public_key,
            relays,
            enabled: flags.0,
            online: flags.1,
            last_error,
            currencies,
            standing: standing.0,
            recovery: standing.1,
        },
    )
}

pub(super) fn standing() -> BoxedStrategy<FriendStanding> {
    let proven = vec((currency(), credits(), credits()), 0..3).prop_map(|rows| {
        let row = |(currency, local, remote)| ProvenReport { currency, local, remote };
        rows.into_iter().map(row).collect()
    });
    let inconsistent = (text(), terms(), option::of(terms()), any::<bool>(), proven).prop_map(
        |(reason, local, remote, accepted, proven)| {
            let report = InconsistentReport { reason, local, remote, accepted, proven };
            FriendStanding::Inconsistent(Box::new(report))
        },
    );
    prop_oneof![
        Just(FriendStanding::Consistent),
        inconsistent,
        Just(FriendStanding::Removing),
        Just(FriendStanding::RemovedByFriend),
    ]
    .boxed()
}

pub(super) fn terms() -> impl Strategy<Value = TermsReport> {
    let balances = vec((currency(), balance()), 0..3).prop_map(|rows| {
        rows.into_iter().map(|(currency, balance)| ResetBalance { currency, balance }).collect()
    });
    (hash(), any::<u64>(), any::<bool>(), balances).prop_map(
        |(reset_token, epoch, pending, balances)| TermsReport {
            reset_token,
            epoch,
            pending,
            balances,
        },
    )
}

pub(super) fn currency_report() -> impl Strategy<Value = CurrencyReport> {
    let flags = (any::<bool>(), any::<bool>());
    let frozen = (credits(), credits(), credits());
    let line = (balance(), flags, limit(), limit(), frozen).prop_map(
        |(balance, flags, local_max_debt, remote_max_debt, frozen)| {
            CurrencyStatus::Active(LineReport {
                balance,
                local_requests_open: flags.0,
                remote_requests_open: flags.1,
                local_max_debt,
                remote_max_debt,
                local_pending_debt: frozen.0,
                remote_pending_debt: frozen.1,
                exposure: frozen.2,
            })
        },
    );
    let proposed = (option::of(proposal()), option::of(proposal()))
        .prop_map(|(local, remote)| CurrencyStatus::Proposed { local, remote });
    (currency(), rate(), prop_oneof![line, proposed])
        .prop_map(|(currency, rate, status)| CurrencyReport { currency, rate, status })
}
