//! `stctrl info status`: in one look, what is connected and what is wrong.

use offset_proto::{
    Credits,
    report::{
        CurrencyStatus, FriendRecovery, FriendReport, FriendStanding, NodeReport, ServerReport,
    },
};
use serde_json::{Value, json};

use super::friends::Decimals;
use crate::manners::{
    Answer,
    amount::{decimals_of, show},
};

/// The status as lines and as JSON.
pub(super) fn answer(report: &NodeReport) -> Answer {
    let mut lines = vec![
        format!("node: {}", report.public_key),
        format!("default currency: {}", report.default_currency),
    ];
    servers("relays", &report.relays, &mut lines);
    servers("index servers", &report.index_servers, &mut lines);

    if report.recovering {
        lines.push(
            "recovering: this node's database was older than what its friends know; when all are \
             recovered, `stctrl config end-recovery`"
                .to_owned(),
        );
    }
    let online = report.friends.iter().filter(|friend| friend.online).count();
    lines.push(format!("friends: {online} of {} online", report.friends.len()));
    for friend in &report.friends {
        let trouble = trouble(friend);
        if !trouble.is_empty() {
            lines.push(format!("  {}: {trouble}", friend.name));
        }
    }
    let pending: Vec<Value> = report
        .friends
        .iter()
        .flat_map(|friend| frozen(friend, &report.decimals, &mut lines))
        .collect();

    let connected = |servers: &[ServerReport]| servers.iter().filter(|s| s.connected).count();
    let json = json!({
        "public_key": report.public_key.to_string(),
        "default_currency": report.default_currency.as_str(),
        "accepts_spontaneous": report.accepts_spontaneous,
        "recovering": report.recovering,
        "relays": report.relays.len(),
        "relays_connected": connected(&report.relays),
        "index_servers": report.index_servers.len(),
        "index_servers_connected": connected(&report.index_servers),
        "friends": report.friends.len(),
        "friends_online": online,
        "pending": pending,
    });
    Answer::new(lines.join("\n"), json)
}

fn servers(what: &str, servers: &[ServerReport], lines: &mut Vec<String>) {
    let connected = servers.iter().filter(|server| server.connected).count();
    lines.push(format!("{what}: {connected} of {} connected", servers.len()));
    for server in servers {
        if !server.last_error.as_str().is_empty() {
            lines.push(format!("  {}: {}", server.name, server.last_error));
        }
    }
}

/// Why nothing passes with a friend, or empty.
fn trouble(friend: &FriendReport) -> String {
    let state = if !friend.enabled {
        "disabled"
    } else if let FriendRecovery::Proven { .. } = friend.recovery {
        "proves that this node lost state, see `stctrl config recover-friend`"
    } else {
        match &friend.standing {
            FriendStanding::Inconsistent(_) => "inconsistent",
            FriendStanding::Removing => "removing",
            FriendStanding::RemovedByFriend => "removed by the friend",
            FriendStanding::Consistent if friend.online => return String::new(),
            FriendStanding::Consistent => "offline",
        }
    };
    match friend.last_error.as_str() {
        "" => state.to_owned(),
        error => format!("{state}: {error}"),
    }
}

/// The lines on which something is frozen.
fn frozen(friend: &FriendReport, decimals: &Decimals, lines: &mut Vec<String>) -> Vec<Value> {
    let mut values = Vec::new();
    for currency in &friend.currencies {
        let CurrencyStatus::Active(line) = &currency.status else { continue };
        let (ours, theirs) = (line.local_pending_debt, line.remote_pending_debt);
        if ours == Credits::ZERO && theirs == Credits::ZERO {
            continue;
        }
        let name = &currency.currency;
        let shown = |credits: Credits| show(credits, decimals_of(decimals, name));
        lines.push(format!(
            "pending: {} {name} with {} by our requests, {} by theirs",
            shown(ours),
            friend.name,
            shown(theirs)
        ));
        values.push(json!({
            "friend": friend.name.as_str(),
            "currency": name.as_str(),
            "local_pending_debt": ours.to_string(),
            "remote_pending_debt": theirs.to_string(),
        }));
    }
    values
}

#[cfg(test)]
mod tests {
    use offset_crypto::{Identity, SeededRng};
    use offset_proto::{
        Currency, Rate, ServerAddress,
        report::{CurrencyReport, LineReport},
    };

    use super::*;

    #[test]
    fn says_what_is_wrong_and_what_waits() {
        let public_key = Identity::random(&mut SeededRng::new(1)).public_key();
        let relay = ServerReport {
            name: "r".parse().unwrap(),
            server: ServerAddress { public_key, address: "localhost:1".parse().unwrap() },
            connected: false,
            last_error: "connection refused".parse().unwrap(),
        };
        let line = LineReport { local_pending_debt: Credits(5), ..LineReport::default() };
        let bob = FriendReport {
            name: "bob".parse().unwrap(),
            public_key,
            relays: Vec::new(),
            enabled: true,
            online: false,
            standing: FriendStanding::Consistent,
            recovery: FriendRecovery::None,
            last_error: "not at its relay".parse().unwrap(),
            currencies: vec![CurrencyReport {
                currency: Currency::fallback(),
                rate: Rate::default(),
                status: CurrencyStatus::Active(line),
            }],
        };
        let mut report = NodeReport {
            public_key,
            default_currency: Currency::fallback(),
            accepts_spontaneous: true,
            recovering: false,
            relays: vec![relay],
            index_servers: Vec::new(),
            friends: vec![bob],
            more_friends: false,
            decimals: Default::default(),
            last_event: 0,
        };
        let shown = |report: &NodeReport| answer(report).text().lines().last().map(str::to_owned);
        let pending = shown(&report).unwrap();
        report.decimals.insert(Currency::fallback(), 2);
        assert_eq!(
            shown(&report),
            Some(pending.replace("5", "0.05").replace(", 0 by", ", 0.00 by"))
        );
        report.decimals.clear();
        let answer = answer(&report);
        let lines: Vec<&str> = answer.text().lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "default currency: credit",
                "relays: 0 of 1 connected",
                "  r: connection refused",
                "index servers: 0 of 0 connected",
                "friends: 0 of 1 online",
                "  bob: offline: not at its relay",
                "pending: 5 credit with bob by our requests, 0 by theirs",
            ]
        );
        assert_eq!(answer.json()["friends_online"], 0);
    }
}
