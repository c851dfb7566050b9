//! What a friend signed last, in words and as JSON.

use offset_proto::{
    Currency,
    friend::Proposal,
    token::{LastSigned, LastToken, SideLine, SignerLine},
};
use serde_json::{Map, Value, json};

/// Says what the file holds: `name: value` lines, and the keys of a JSON object. Amounts are in the
/// smallest unit of their currency.
#[must_use]
pub fn describe(token: &LastToken) -> (Vec<String>, Map<String, Value>) {
    let (epoch, counter) = token.position();
    let (signed, previous) = match &token.signed {
        LastSigned::Token { token, .. } => ("token", Some(token.body.prev_token.to_string())),
        LastSigned::Reset(_) => ("reset", None),
    };
    let mut lines = vec![
        format!("signed by: {}", token.signer),
        format!("signed for: {}", token.receiver),
        format!("signed: {}", if signed == "token" { "a token" } else { "how an epoch began" }),
        format!("epoch: {epoch}"),
        format!("counter: {counter}"),
        format!("id: {}", token.id()),
    ];
    lines.extend(previous.iter().map(|id| format!("previous: {id}")));
    let mut values = Vec::new();
    for (currency, line) in token.lines() {
        let (words, value) = match line {
            SignerLine::Active { balance, signer, receiver } => {
                let sides = [("signer", signer), ("receiver", receiver)];
                let mut words = vec![owes(balance.get())];
                words.extend(sides.iter().flat_map(|(side, line)| of_side(side, line)));
                let value = json!({
                    "balance": balance.to_string(),
                    "signer": side_json(&signer),
                    "receiver": side_json(&receiver),
                });
                (words, value)
            }
            SignerLine::Begun(balance) => {
                (vec![owes(balance.get())], json!({ "balance": balance.to_string() }))
            }
            SignerLine::Proposed { signer, receiver } => {
                let sides = [("signer", signer), ("receiver", receiver)];
                let words = sides.iter().flat_map(|(side, proposal)| of_proposal(side, *proposal));
                let proposed = json!({
                    "signer": signer.as_ref().map(proposal_json),
                    "receiver": receiver.as_ref().map(proposal_json),
                });
                (words.collect(), json!({ "proposed": proposed }))
            }
        };
        lines.extend(words.iter().map(|word| format!("{currency} {word}")));
        values.push(named(&currency, value));
    }
    let mut json = Map::new();
    for (key, value) in [
        ("signer", json!(token.signer.to_string())),
        ("receiver", json!(token.receiver.to_string())),
        ("signed", json!(signed)),
        ("epoch", json!(epoch)),
        ("counter", json!(counter)),
        ("id", json!(token.id().to_string())),
        ("previous", json!(previous)),
        ("lines", Value::Array(values)),
    ] {
        json.insert(key.to_owned(), value);
    }
    (lines, json)
}

fn named(currency: &Currency, mut line: Value) -> Value {
    line["currency"] = json!(currency.as_str());
    line
}

/// Who owes, by a balance as the signer sees it.
fn owes(balance: i128) -> String {
    let who = if balance <= 0 { "signer" } else { "receiver" };
    format!("{who} owes: {}", balance.unsigned_abs())
}

fn of_side(side: &str, line: &SideLine) -> [String; 3] {
    [
        format!("{side} may owe: {}", line.max_debt),
        format!("{side} has frozen: {}", line.pending_debt),
        format!("{side} takes requests: {}", yes_or_no(line.requests_open)),
    ]
}

fn side_json(line: &SideLine) -> Value {
    json!({
        "max_debt": line.max_debt.to_string(),
        "pending_debt": line.pending_debt.to_string(),
        "requests_open": line.requests_open,
    })
}

fn of_proposal(side: &str, proposal: Option<Proposal>) -> Vec<String> {
    let Some(Proposal { opening_balance, max_debt, requests_open }) = proposal else {
        return vec![format!("{side} proposes: nothing")];
    };
    vec![
        format!("{side} proposes to begin at: {opening_balance}"),
        format!("{side} proposes that the other may owe: {max_debt}"),
        format!("{side} proposes to take requests: {}", yes_or_no(requests_open)),
    ]
}

fn proposal_json(proposal: &Proposal) -> Value {
    json!({
        "opening_balance": proposal.opening_balance.to_string(),
        "max_debt": proposal.max_debt.to_string(),
        "requests_open": proposal.requests_open,
    })
}

const fn yes_or_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use offset_crypto::{Identity, Seed};
    use offset_proto::{
        Balance, Credits,
        friend::MoveTokenBody,
        token::{ActiveSummary, CurrencySummary, LineSummary},
    };

    use super::*;

    /// A token that the lower or the higher of two keys signed. The low side owes 50.
    fn token(low_signs: bool) -> LastToken {
        let [a, b] = [1, 2].map(|n| Identity::from_seed(Seed::from_bytes([n; 32])));
        let a_signs = (a.public_key() < b.public_key()) == low_signs;
        let (signer, receiver) = if a_signs { (a, b) } else { (b, a) };
        let body = MoveTokenBody {
            epoch: 2,
            counter: if low_signs { 7 } else { 8 },
            prev_token: [3; 32].into(),
            currency_terms: Vec::new(),
            currency_ops: Vec::new(),
            relays: None,
            state_hash: [4; 32].into(),
        };
        let active = ActiveSummary {
            balance: Balance::new(-50).unwrap(),
            pending_debt: [Credits(1), Credits(2)],
            max_debt: [Credits(100), Credits(200)],
            requests_open: [true, false],
            pending_root: [5; 32].into(),
        };
        let low = Proposal {
            opening_balance: Balance::new(-3).unwrap(),
            max_debt: Credits(4),
            requests_open: true,
        };
        let row = |name: &str, line| CurrencySummary { currency: name.parse().unwrap(), line };
        let state = vec![
            row("EUR", LineSummary::Active(active)),
            row("hours", LineSummary::Proposed { low: Some(low), high: None }),
        ];
        let token = Box::new(body.sign(&signer));
        LastToken {
            signer: signer.public_key(),
            receiver: receiver.public_key(),
            signed: LastSigned::Token { token, state },
        }
    }

    #[test]
    fn lines_say_who_owes_and_may_owe() {
        let (lines, json) = describe(&token(true));
        assert_eq!(lines[2..5], ["signed: a token", "epoch: 2", "counter: 7"]);
        assert_eq!(
            lines[7..],
            [
                "EUR signer owes: 50",
                "EUR signer may owe: 100",
                "EUR signer has frozen: 1",
                "EUR signer takes requests: yes",
                "EUR receiver may owe: 200",
                "EUR receiver has frozen: 2",
                "EUR receiver takes requests: no",
                "hours signer proposes to begin at: -3",
                "hours signer proposes that the other may owe: 4",
                "hours signer proposes to take requests: yes",
                "hours receiver proposes: nothing",
            ]
        );
        assert_eq!(json["lines"][0]["balance"], "-50");
        assert_eq!(json["lines"][0]["receiver"]["max_debt"], "200");
        assert_eq!(json["lines"][1]["proposed"]["receiver"], Value::Null);
        // The same state, signed by the other side.
        let (lines, json) = describe(&token(false));
        assert_eq!(lines[7..9], ["EUR receiver owes: 50", "EUR signer may owe: 200"]);
        assert_eq!(json["lines"][0]["balance"], "50");
        assert_eq!(json["lines"][1]["proposed"]["signer"], Value::Null);
    }
}
