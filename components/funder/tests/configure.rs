//! Configuration by the node's owner: what is refused and why, and what the node then tells.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, and picks out what it looks at"
)]

mod support;

use offset_crypto::{Identity, SeededRng};
use offset_funder::api::{Command, Effect};
use offset_proto::{
    Balance, Credits, Rate, ServerAddress,
    app::{ConfigRequest, ErrorCode},
    friend::{FriendOp, MAX_RELAYS},
    index::IndexLine,
    report::{FriendStanding, ReportMutation},
};
use support::{
    credit,
    lab::{LIMIT, Lab, friend_name},
    name,
};

fn server(n: u64) -> ServerAddress {
    let public_key = Identity::random(&mut SeededRng::new(n)).public_key();
    ServerAddress { public_key, address: format!("server{n}.example:1").parse().unwrap() }
}

fn add_friend(at: &str, key: u64) -> ConfigRequest {
    ConfigRequest::AddFriend {
        name: name(at),
        public_key: server(key).public_key,
        relays: Vec::new(),
        currency: None,
        opening_balance: Balance::ZERO,
    }
}

#[test]
fn what_cannot_be_done_is_refused_and_changes_nothing() {
    use ErrorCode::{AlreadyExists, Invalid, NotFound, Refused};
    let mut lab = Lab::new(2);
    lab.set(ConfigRequest::AddRelay { name: name("relay"), relay: server(1) });
    lab.set(ConfigRequest::AddIndexServer { name: name("index"), server: server(2) });
    lab.set(add_friend("bob", 3));
    let (p0, unknown) = (friend_name(0), name("nobody"));
    let many: Vec<_> = (0..17).map(server).collect();
    let (other, own) = ("other".parse().unwrap(), lab.key());
    let with_key = |request: ConfigRequest, key| match request {
        ConfigRequest::AddFriend { name, relays, currency, opening_balance, .. } => {
            ConfigRequest::AddFriend { name, public_key: key, relays, currency, opening_balance }
        }
        other => other,
    };
    let puppet = lab.puppets[0].key();
    let other_balance = match add_friend("bob", 3) {
        ConfigRequest::AddFriend { name, public_key, relays, currency, .. } => {
            let opening_balance = Balance::new(5).unwrap();
            ConfigRequest::AddFriend { name, public_key, relays, currency, opening_balance }
        }
        other => other,
    };
    let error = lab.ask(Command::Config(other_balance.clone())).unwrap_err();
    for part in ["bob is a friend already", "another balance", "add-currency -n bob"] {
        assert!(error.message.as_str().contains(part), "{error}");
    }
    // A line that has begun keeps the balance that it has.
    let begun = |opening| ConfigRequest::AddCurrency {
        friend: p0.clone(),
        currency: offset_proto::Currency::fallback(),
        opening_balance: Balance::new(opening).unwrap(),
    };
    lab.set(begun(0));
    let cases = [
        (AlreadyExists, ConfigRequest::AddRelay { name: name("relay"), relay: server(9) }),
        (NotFound, ConfigRequest::RemoveRelay { name: unknown.clone() }),
        (AlreadyExists, ConfigRequest::AddIndexServer { name: name("index"), server: server(9) }),
        (NotFound, ConfigRequest::RemoveIndexServer { name: unknown.clone() }),
        (Invalid, with_key(add_friend("me", 0), own)),
        (AlreadyExists, add_friend("bob", 4)),
        (AlreadyExists, add_friend("bobby", 3)),
        (AlreadyExists, other_balance.clone()),
        (AlreadyExists, begun(5)),
        (AlreadyExists, ConfigRequest::SetFriendName { friend: p0.clone(), new_name: name("bob") }),
        (NotFound, ConfigRequest::SetFriendEnabled { friend: unknown, enabled: true }),
        (
            Invalid,
            ConfigRequest::SetFriendRelays {
                friend: p0.clone(),
                public_key: own,
                relays: Vec::new(),
            },
        ),
        (
            Invalid,
            ConfigRequest::SetFriendRelays { friend: p0.clone(), public_key: puppet, relays: many },
        ),
        (NotFound, ConfigRequest::RemoveCurrency { friend: p0.clone(), currency: other }),
        (
            Invalid,
            ConfigRequest::SetMaxDebt {
                friend: p0.clone(),
                currency: None,
                max_debt: Credits(Credits::LIMIT.0 + 1),
            },
        ),
        (
            NotFound,
            ConfigRequest::SetRate {
                friend: p0,
                currency: Some("no".parse().unwrap()),
                rate: Rate::default(),
            },
        ),
    ];
    let before = support::rows(lab.funder.state());
    for (code, request) in cases {
        let result = lab.ask(Command::Config(request.clone()));
        assert_eq!(result.map_err(|error| error.code), Err(code), "{request:?}");
    }
    assert_eq!(support::rows(lab.funder.state()), before);
    // Bounds: 16 relays, 64 index servers, and as many friends as the node is set to.
    for n in 1..MAX_RELAYS {
        let (name, relay) = (name(&format!("relay{n}")), server(u64::try_from(n).unwrap()));
        lab.set(ConfigRequest::AddRelay { name, relay });
    }
    for n in 1..64 {
        lab.set(ConfigRequest::AddIndexServer { name: name(&format!("i{n}")), server: server(n) });
    }
    lab.config.max_friends = 3;
    lab.restart();
    for request in [
        ConfigRequest::AddRelay { name: name("more"), relay: server(99) },
        ConfigRequest::AddIndexServer { name: name("more"), server: server(99) },
        add_friend("more", 99),
    ] {
        let result = lab.ask(Command::Config(request.clone()));
        assert_eq!(result.unwrap_err().code, Refused, "{request:?}");
    }
    // What is so already succeeds.
    lab.set(add_friend("bob", 3));
    lab.set(ConfigRequest::AddRelay { name: name("relay"), relay: server(1) });
}

#[test]
fn index_servers_hear_of_lines_that_can_be_used() {
    let mut lab = Lab::new(1);
    let line = |lab: &mut Lab| {
        let lines = lab.effects.drain(..).filter_map(|effect| match effect {
            Effect::IndexLine { line, .. } => Some(line),
            _ => None,
        });
        lines.fold(None, |_, last| Some(last))
    };
    let usable = |send: u128, recv: u128| {
        let (send_capacity, recv_capacity) = (Credits(send), Credits(recv));
        Some(Some(IndexLine { send_capacity, recv_capacity, rate: Rate::default() }))
    };
    let request = lab.request(&[]).0;
    lab.send(0, &[FriendOp::Request(request)]);
    assert_eq!(line(&mut lab), usable(LIMIT, LIMIT - 100));
    let (friend, currency) = (friend_name(0), None);
    let close = |open| ConfigRequest::SetRequestsOpen {
        friend: friend.clone(),
        currency: currency.clone(),
        open,
    };
    lab.set(close(false));
    lab.fetch_token(0);
    assert_eq!(line(&mut lab), usable(LIMIT, 0), "closed");
    lab.declare(0, &credit(), 0, 500, false);
    assert_eq!(line(&mut lab), usable(0, 0), "closed both ways");
    lab.disconnect(0);
    assert_eq!(line(&mut lab), Some(None), "offline");
}

#[test]
fn observers_hear_of_changes_and_nobody_else_does() {
    let mut lab = Lab::new(1);
    let mutations = |lab: &mut Lab| {
        let effects = lab.effects.drain(..);
        effects
            .filter_map(|effect| match effect {
                Effect::Mutation(mutation) => Some(mutation),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    let currency = "other".parse().unwrap();
    lab.set(ConfigRequest::SetDefaultCurrency { currency });
    assert_eq!(mutations(&mut lab), []);
    lab.funder.observe(true);
    lab.set(ConfigRequest::SetDefaultCurrency { currency: credit() });
    lab.set(ConfigRequest::SetDefaultCurrency { currency: credit() });
    let told = mutations(&mut lab);
    assert_eq!(told.len(), 2, "default currency and spontaneous, once: {told:?}");
    lab.disconnect(0);
    let [ReportMutation::SetFriend(report)] = &mutations(&mut lab)[..] else { panic!() };
    assert!(!report.online && report.standing == FriendStanding::Consistent);
    let report = lab.funder_report();
    assert_eq!((report.friends.len(), report.public_key), (1, lab.key()));
}
