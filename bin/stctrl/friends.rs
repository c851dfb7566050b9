//! How friends are shown: the table of the tutorial, one friend in detail, JSON.

use std::{collections::BTreeMap, fmt::Write as _};

use offset_proto::{
    Balance, Credits, Currency, Rate, ServerAddress,
    friend::Proposal,
    report::{CurrencyReport, CurrencyStatus, FriendReport, FriendStanding, LineReport},
};
use serde_json::{Value, json};

use super::{recover, repair};
use crate::manners::{
    Answer, amount,
    table::{self, Header},
};

/// With how many digits behind the point people see amounts of a currency; of others with none.
pub type Decimals = BTreeMap<Currency, u8>;

/// The table of friends, sorted by name. The lines of `default` come first and without a heading.
#[must_use]
pub fn table(friends: &[FriendReport], default: &Currency, decimals: &Decimals) -> Answer {
    let mut sorted: Vec<&FriendReport> = friends.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let json =
        json!({ "friends": sorted.iter().map(|friend| to_json(friend)).collect::<Vec<_>>() });
    if sorted.is_empty() {
        return Answer::new("No configured friends.", json);
    }
    let rows = sorted.iter().map(|friend| {
        [status(friend), friend.name.to_string(), balance_cell(friend, default, decimals)]
    });
    Answer::new(table::draw(Header::Double, ["st", "name", "balance"], rows), json)
}

/// Everything about one friend, as `name: value` lines.
#[must_use]
pub fn detail(friend: &FriendReport, decimals: &Decimals) -> Answer {
    let yes = |on| if on { "yes" } else { "no" };
    let mut text = format!(
        "name: {}\npublic key: {}\nenabled: {}\nonline: {}\nconsistent: {}",
        friend.name,
        friend.public_key,
        yes(friend.enabled),
        yes(friend.online),
        yes(friend.standing.inconsistent().is_none())
    );
    match &friend.standing {
        FriendStanding::Consistent => {}
        FriendStanding::Inconsistent(report) => {
            for line in repair::terms_lines(friend, report, decimals) {
                let _ = write!(text, "\n{line}");
            }
        }
        FriendStanding::Removing => text.push_str(
            "\nremoving: the friend goes once it is connected and nothing is pending; enable-friend \
             takes that back",
        ),
        FriendStanding::RemovedByFriend => text.push_str(
            "\nremoved by the friend: nothing new passes; `stctrl config remove-friend` ends it \
             here, too",
        ),
    }
    for line in recover::lines(friend, decimals) {
        let _ = write!(text, "\n{line}");
    }
    if !friend.last_error.as_str().is_empty() {
        let _ = write!(text, "\nlast error: {}", friend.last_error);
    }
    for relay in &friend.relays {
        let _ = write!(text, "\nrelay: {} {}", relay.public_key, relay.address);
    }
    for currency in &friend.currencies {
        let name = &currency.currency;
        let digits = amount::decimals_of(decimals, name);
        let _ = write!(text, "\n{name} rate: {}", rate_text(currency.rate, digits));
        for line in currency_lines(friend, currency, decimals) {
            let _ = write!(text, "\n{name} {line}");
        }
        if let CurrencyStatus::Active(line) = &currency.status
            && line.exposure != Credits::ZERO
        {
            let exposure = amount::show(line.exposure, digits);
            let _ = write!(text, "\n{name} exposure: {exposure}");
        }
    }
    Answer::new(text, to_json(friend))
}

/// A friend as JSON.
#[must_use]
pub fn to_json(friend: &FriendReport) -> Value {
    json!({
        "name": friend.name.as_str(),
        "public_key": friend.public_key.to_string(),
        "enabled": friend.enabled,
        "online": friend.online,
        "standing": match &friend.standing {
            FriendStanding::Consistent => "consistent",
            FriendStanding::Inconsistent(_) => "inconsistent",
            FriendStanding::Removing => "removing",
            FriendStanding::RemovedByFriend => "removed_by_friend",
        },
        "inconsistent": friend.standing.inconsistent().map(repair::to_json),
        "recovery": recover::to_json(&friend.recovery),
        "last_error": friend.last_error.as_str(),
        "relays": friend.relays.iter().map(server_json).collect::<Vec<_>>(),
        "currencies": friend.currencies.iter().map(currency_json).collect::<Vec<_>>(),
    })
}

/// Where a server is, as JSON.
#[must_use]
pub fn server_json(server: &ServerAddress) -> Value {
    json!({
        "public_key": server.public_key.to_string(),
        "address": server.address.as_str(),
    })
}

fn status(friend: &FriendReport) -> String {
    let enabled = if friend.enabled { 'E' } else { 'D' };
    let online = if friend.online { '+' } else { '-' };
    format!("{enabled}{online}")
}

fn balance_cell(friend: &FriendReport, default: &Currency, decimals: &Decimals) -> String {
    let (first, others): (Vec<_>, Vec<_>) =
        friend.currencies.iter().partition(|report| report.currency == *default);
    let mut lines = Vec::new();
    for report in first {
        lines.extend(currency_lines(friend, report, decimals));
    }
    for report in others {
        lines.push(format!("[{}]", report.currency));
        lines.extend(currency_lines(friend, report, decimals));
    }
    lines.join("\n")
}

/// The six lines of a currency.
fn currency_lines(
    friend: &FriendReport,
    report: &CurrencyReport,
    decimals: &Decimals,
) -> Vec<String> {
    let line = numbers(&report.status);
    let decimals = amount::decimals_of(decimals, &report.currency);
    let shown = |credits: Credits| amount::show(credits, decimals);
    let opening = |proposal: Option<&Proposal>| {
        let shown = |proposal: &Proposal| amount::show(proposal.opening_balance, decimals);
        proposal.map_or_else(|| "none".to_owned(), shown)
    };
    let inconsistent = friend.standing.inconsistent();
    let first = match (&report.status, inconsistent) {
        (_, Some(terms)) => format!(
            "I: LT={}, RT={}",
            repair::balance(Some(&terms.local), &report.currency, decimals),
            repair::balance(terms.remote.as_ref(), &report.currency, decimals)
        ),
        (CurrencyStatus::Proposed { local, remote: Some(remote) }, None)
            if !local.is_some_and(|local| agree(&local, remote)) =>
        {
            format!("P: you={}, friend={}", opening(local.as_ref()), opening(Some(remote)))
        }
        (CurrencyStatus::Active(_) | CurrencyStatus::Proposed { .. }, None) => format!(
            "C: LR={}, RR={}",
            sign(line.local_requests_open),
            sign(line.remote_requests_open)
        ),
    };
    vec![
        first,
        format!("B  ={}", amount::show(line.balance, decimals)),
        format!("LMD={}", shown(line.local_max_debt)),
        format!("RMD={}", shown(line.remote_max_debt)),
        format!("LPD={}", shown(line.local_pending_debt)),
        format!("RPD={}", shown(line.remote_pending_debt)),
    ]
}

/// The numbers of an active line; those of a proposal as they would begin, with requests closed,
/// because nothing passes yet.
fn numbers(status: &CurrencyStatus) -> LineReport {
    match status {
        CurrencyStatus::Active(line) => *line,
        CurrencyStatus::Proposed { local, remote } => LineReport {
            balance: local.map_or(Balance::ZERO, |local| local.opening_balance),
            local_max_debt: remote.map_or(Credits::ZERO, |remote| remote.max_debt),
            remote_max_debt: local.map_or(Credits::ZERO, |local| local.max_debt),
            ..LineReport::default()
        },
    }
}

fn agree(local: &Proposal, remote: &Proposal) -> bool {
    local.opening_balance == remote.opening_balance.mirrored()
}

const fn sign(open: bool) -> char {
    if open { '+' } else { '-' }
}

/// A rate as people write it: `0.5% + 1`.
fn rate_text(rate: Rate, decimals: u8) -> String {
    let (whole, rest) = (rate.ppm / PPM_PER_PERCENT, rate.ppm % PPM_PER_PERCENT);
    let percent = if rest == 0 {
        whole.to_string()
    } else {
        format!("{whole}.{rest:04}").trim_end_matches('0').to_owned()
    };
    format!("{percent}% + {}", amount::show(rate.add, decimals))
}

/// Parts per million in one percent.
pub(crate) const PPM_PER_PERCENT: u32 = 10_000;

pub(super) fn currency_json(report: &CurrencyReport) -> Value {
    let mut value = json!({
        "currency": report.currency.as_str(),
        "rate": { "ppm": report.rate.ppm, "add": report.rate.add.to_string() },
    });
    let status = match &report.status {
        CurrencyStatus::Active(line) => json!({
            "active": {
                "balance": line.balance.to_string(),
                "local_requests_open": line.local_requests_open,
                "remote_requests_open": line.remote_requests_open,
                "local_max_debt": line.local_max_debt.to_string(),
                "remote_max_debt": line.remote_max_debt.to_string(),
                "local_pending_debt": line.local_pending_debt.to_string(),
                "remote_pending_debt": line.remote_pending_debt.to_string(),
                "exposure": line.exposure.to_string(),
            }
        }),
        CurrencyStatus::Proposed { local, remote } => json!({
            "proposed": {
                "local": local.as_ref().map(proposal_json),
                "remote": remote.as_ref().map(proposal_json),
            }
        }),
    };
    value["status"] = status;
    value
}

fn proposal_json(proposal: &Proposal) -> Value {
    json!({
        "opening_balance": proposal.opening_balance.to_string(),
        "max_debt": proposal.max_debt.to_string(),
        "requests_open": proposal.requests_open,
    })
}

#[cfg(test)]
mod tests {
    use offset_crypto::{Identity, SeededRng};
    use offset_proto::{
        report::{InconsistentReport, TermsReport},
        reset::ResetBalance,
    };

    use super::*;

    fn balance(value: i128) -> Balance {
        Balance::new(value).unwrap()
    }

    fn proposal(opening: i128, max_debt: u128) -> Proposal {
        Proposal {
            opening_balance: balance(opening),
            max_debt: Credits(max_debt),
            requests_open: false,
        }
    }

    fn currency(name: &str, status: CurrencyStatus) -> CurrencyReport {
        CurrencyReport { currency: name.parse().unwrap(), rate: Rate::default(), status }
    }

    fn friend(name: &str, currencies: Vec<CurrencyReport>) -> FriendReport {
        FriendReport {
            name: name.parse().unwrap(),
            public_key: Identity::random(&mut SeededRng::new(1)).public_key(),
            relays: Vec::new(),
            enabled: true,
            online: true,
            standing: FriendStanding::Consistent,
            recovery: Default::default(),
            last_error: "".parse().unwrap(),
            currencies,
        }
    }

    fn open_line() -> CurrencyStatus {
        CurrencyStatus::Active(LineReport {
            balance: balance(100),
            local_requests_open: true,
            remote_requests_open: true,
            local_max_debt: Credits(150),
            remote_max_debt: Credits(200),
            ..LineReport::default()
        })
    }

    fn shown(friends: &[FriendReport]) -> String {
        table(friends, &Currency::fallback(), &Decimals::new()).text().to_owned()
    }

    #[test]
    fn no_friends() {
        assert_eq!(shown(&[]), "No configured friends.");
    }

    #[test]
    fn an_open_line_as_in_the_tutorial() {
        let expected = "\
+----+-------+---------------+
| st | name  | balance       |
+====+=======+===============+
| E+ | node1 | C: LR=+, RR=+ |
|    |       | B  =100       |
|    |       | LMD=150       |
|    |       | RMD=200       |
|    |       | LPD=0         |
|    |       | RPD=0         |
+----+-------+---------------+";
        assert_eq!(shown(&[friend("node1", vec![currency("credit", open_line())])]), expected);
    }

    #[test]
    fn amounts_have_the_points_of_their_currencies() {
        let mismatch = CurrencyStatus::Proposed {
            local: Some(proposal(100, 7)),
            remote: Some(proposal(-50, 9)),
        };
        let bob = friend("bob", vec![currency("credit", open_line()), currency("EUR", mismatch)]);
        let decimals = Decimals::from([("EUR".parse().unwrap(), 2)]);
        let text = table(std::slice::from_ref(&bob), &Currency::fallback(), &decimals);
        for part in ["B  =100 ", "P: you=1.00, friend=-0.50", "B  =1.00 ", "RMD=0.07"] {
            assert!(text.text().contains(part), "{part}: {}", text.text());
        }
        assert!(detail(&bob, &decimals).text().contains("EUR LMD=0.09"));
        assert_eq!(
            text.json()["friends"][0]["currencies"][0]["status"]["active"]["balance"],
            "100"
        );
    }

    #[test]
    fn a_proposal_that_nobody_answered_yet() {
        let status = CurrencyStatus::Proposed { local: Some(proposal(100, 0)), remote: None };
        let mut node1 = friend("node1", vec![currency("credit", status)]);
        (node1.enabled, node1.online) = (false, false);
        let expected = "\
+----+-------+---------------+
| st | name  | balance       |
+====+=======+===============+
| D- | node1 | C: LR=-, RR=- |
|    |       | B  =100       |
|    |       | LMD=0         |
|    |       | RMD=0         |
|    |       | LPD=0         |
|    |       | RPD=0         |
+----+-------+---------------+";
        assert_eq!(shown(&[node1]), expected);
    }

    #[test]
    fn other_currencies_follow_under_their_names_and_friends_are_sorted() {
        let mismatch = CurrencyStatus::Proposed {
            local: Some(proposal(100, 7)),
            remote: Some(proposal(-50, 9)),
        };
        let friends = [
            friend("zoe", vec![currency("credit", open_line())]),
            friend("bob", vec![currency("USD", mismatch), currency("credit", open_line())]),
        ];
        let expected = "\
+----+------+------------------------+
| st | name | balance                |
+====+======+========================+
| E+ | bob  | C: LR=+, RR=+          |
|    |      | B  =100                |
|    |      | LMD=150                |
|    |      | RMD=200                |
|    |      | LPD=0                  |
|    |      | RPD=0                  |
|    |      | [USD]                  |
|    |      | P: you=100, friend=-50 |
|    |      | B  =100                |
|    |      | LMD=9                  |
|    |      | RMD=7                  |
|    |      | LPD=0                  |
|    |      | RPD=0                  |
+----+------+------------------------+
| E+ | zoe  | C: LR=+, RR=+          |
|    |      | B  =100                |
|    |      | LMD=150                |
|    |      | RMD=200                |
|    |      | LPD=0                  |
|    |      | RPD=0                  |
+----+------+------------------------+";
        assert_eq!(shown(&friends), expected);
    }

    #[test]
    fn a_friend_that_proposed_alone_and_one_that_is_inconsistent() {
        let theirs = CurrencyStatus::Proposed { local: None, remote: Some(proposal(-50, 0)) };
        let text = shown(&[friend("bob", vec![currency("credit", theirs)])]);
        assert!(text.contains("P: you=none, friend=-50"), "{text}");
        let mut broken = friend("bob", vec![currency("credit", open_line())]);
        let terms = |value| TermsReport {
            reset_token: [1; 32].into(),
            epoch: 1,
            pending: false,
            balances: vec![ResetBalance {
                currency: Currency::fallback(),
                balance: balance(value),
            }],
        };
        let mut report = InconsistentReport {
            reason: "something odd came".parse().unwrap(),
            local: terms(120),
            remote: None,
            accepted: false,
            proven: Vec::new(),
        };
        broken.standing = FriendStanding::Inconsistent(Box::new(report.clone()));
        assert!(shown(&[broken.clone()]).contains("I: LT=120, RT=?"));
        report.remote = Some(terms(-70));
        broken.standing = FriendStanding::Inconsistent(Box::new(report));
        assert!(shown(&[broken.clone()]).contains("I: LT=120, RT=-70"));
        let text = detail(&broken, &Decimals::new()).text().to_owned();
        let line = "credit balance: 100 now, 120 by our terms, -70 by bob's";
        assert!(text.lines().any(|have| have == line), "{text}");
        let decimals = Decimals::from([(Currency::fallback(), 2)]);
        let text = table(&[broken.clone()], &Currency::fallback(), &decimals).text().to_owned();
        assert!(text.contains("I: LT=1.20, RT=-0.70"), "{text}");
        let text = detail(&broken, &decimals).text().to_owned();
        let line = "credit balance: 1.00 now, 1.20 by our terms, -0.70 by bob's";
        assert!(text.lines().any(|have| have == line), "{text}");
    }

    #[test]
    fn exposure_is_shown_while_there_is_some() {
        let bob = friend("bob", vec![currency("credit", open_line())]);
        let decimals = Decimals::from([(Currency::fallback(), 1)]);
        assert!(!detail(&bob, &decimals).text().contains("exposure"));
        let line = LineReport { exposure: Credits(55), ..numbers(&open_line()) };
        let bob = friend("bob", vec![currency("credit", CurrencyStatus::Active(line))]);
        let text = detail(&bob, &decimals).text().to_owned();
        assert!(text.lines().any(|have| have == "credit exposure: 5.5"), "{text}");
        assert_eq!(to_json(&bob)["currencies"][0]["status"]["active"]["exposure"], "55");
    }

    #[test]
    fn json_has_amounts_as_decimal_strings() {
        let value = to_json(&friend("bob", vec![currency("credit", open_line())]));
        assert_eq!(value["currencies"][0]["status"]["active"]["balance"], "100");
        assert_eq!(value["currencies"][0]["rate"]["add"], "0");
        assert_eq!(value["name"], "bob");
    }

    #[test]
    fn detail_names_everything() {
        let mut bob = friend("bob", vec![currency("credit", open_line())]);
        bob.currencies[0].rate = Rate { ppm: 5_050, add: 2 };
        bob.last_error = "no relay answers".parse().unwrap();
        let text = detail(&bob, &Decimals::new()).text().to_owned();
        for line in
            ["name: bob", "online: yes", "last error: no relay answers", "credit rate: 0.505% + 2"]
        {
            assert!(text.lines().any(|have| have == line), "{line}: {text}");
        }
    }
}
