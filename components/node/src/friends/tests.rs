//! Two sides that dial each other through a real relay.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use offset_crypto::{HashResult, Identity, PublicKey, SystemRng};
use offset_funder::api::{Contact, SessionId};
use offset_net::{BackoffConfig, NetConfig, Sender};
use offset_proto::{
    ServerAddress,
    friend::{FriendMessage, Resume},
};
use offset_relay::{ClientConfig, RelayClient, RelayConfig};
use offset_secure_channel::ChannelIdentity;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{Contacts, Friends, House, Strangers};
use crate::{input::Input, relays::Relays};

/// What the core would know.
struct Side {
    key: PublicKey,
    inputs: mpsc::Receiver<Input>,
    contacts: watch::Sender<Contacts>,
    /// What its counters say.
    metrics: crate::Metrics,
    _relays: watch::Sender<Vec<ServerAddress>>,
    session: Option<(SessionId, Sender<FriendMessage>)>,
    /// The greatest number that came over the session that stands.
    heard: u64,
    /// Who came and is no friend.
    strangers: Vec<PublicKey>,
    listening: bool,
    /// It was told once that it does not listen any more.
    stopped_listening: bool,
    client: RelayClient,
    _tasks: JoinSet<()>,
}

impl Side {
    fn new(relay: &ServerAddress) -> Self {
        Self::with_patience(relay, FAST)
    }

    /// With another backoff for dialling the friend than for the relay.
    fn with_patience(relay: &ServerAddress, patience: BackoffConfig) -> Self {
        let identity = Identity::random(&mut SystemRng);
        let key = identity.public_key();
        let channel = Arc::new(ChannelIdentity::new(&identity));
        let (inputs_sender, inputs) = mpsc::channel(64);
        let (contacts, contacts_seen) = watch::channel(BTreeMap::new());
        let (relays, wanted) = watch::channel(Vec::new());
        let (circuits_sender, circuits) = mpsc::channel(8);
        let (reached_sender, reached) = watch::channel(0);
        let config = ClientConfig { backoff: FAST, ..ClientConfig::default() };
        let client = RelayClient::new(config, Arc::clone(&channel));
        let house = House {
            local: key,
            identity: channel,
            net: NetConfig::default(),
            backoff: patience,
            relays: client.clone(),
            reached,
            inputs: inputs_sender.clone(),
            metrics: crate::Metrics::default(),
            next_session: AtomicU64::new(1),
        };
        let strangers = Arc::new(Strangers::new(house.metrics.clone()));
        let metrics = house.metrics.clone();
        let listening = Relays {
            client: client.clone(),
            contacts: contacts_seen.clone(),
            strangers: Arc::clone(&strangers),
            circuits: circuits_sender,
            reached: reached_sender,
            inputs: inputs_sender,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(Friends::new(house, strangers).run(contacts_seen, circuits));
        tasks.spawn(listening.run(wanted));
        relays.send_replace(vec![relay.clone()]);
        Self {
            key,
            inputs,
            contacts,
            metrics,
            _relays: relays,
            session: None,
            heard: 0,
            strangers: Vec::new(),
            listening: false,
            stopped_listening: false,
            client,
            _tasks: tasks,
        }
    }

    fn befriend(&self, friend: PublicKey, relay: &ServerAddress) {
        let contact = Contact { relays: vec![relay.clone()], previous_relays: Vec::new() };
        self.contacts.send_modify(|contacts| drop(contacts.insert(friend, contact)));
    }

    fn handle_all(&mut self) {
        while let Ok(input) = self.inputs.try_recv() {
            match input {
                Input::SessionOpened(_, id, sender) => {
                    self.session = Some((id, sender));
                    self.heard = 0;
                }
                Input::SessionEnded(_, id) => {
                    self.session = self.session.take().filter(|(current, _)| *current != id);
                    self.heard = if self.session.is_some() { self.heard } else { 0 };
                }
                Input::FriendMessage(_, id, message, _) => {
                    if self.session.as_ref().is_some_and(|(current, _)| *current == id)
                        && let FriendMessage::Resume(resume) = *message
                    {
                        self.heard = resume.counter;
                    }
                }
                Input::Relays(statuses) => {
                    let listening = statuses.values().any(|status| status.connected);
                    self.stopped_listening |= self.listening && !listening;
                    self.listening = listening;
                }
                Input::Stranger(key, sender) => {
                    self.strangers.push(key);
                    sender.close("you are a stranger");
                }
                Input::FriendError(..)
                | Input::AppOpened(..)
                | Input::AppRequest(..)
                | Input::AppClosed(..) => {}
            }
        }
    }

    fn say(&self, counter: u64) {
        if let Some((_, sender)) = &self.session {
            let resume = Resume {
                epoch: 0,
                counter,
                token_id: HashResult::from_bytes([0; 32]),
                wants_token: false,
            };
            // A session that ends now is followed by another.
            let _ended = sender.try_send(FriendMessage::Resume(resume));
        }
    }
}

/// Until `done`, looking at what happened on both sides.
async fn until(sides: &mut [Side; 2], what: &str, mut done: impl FnMut(&mut [Side; 2]) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        sides.iter_mut().for_each(Side::handle_all);
        if done(sides) {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: not in time");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Until what each side says over its session is heard on the other's.
async fn until_they_hear_each_other(sides: &mut [Side; 2]) {
    let mut counter = 0;
    until(sides, "one session", |[a, b]| {
        counter += 1;
        a.say(counter);
        b.say(counter);
        // More than one message, so that it was not the last of a session that goes.
        2 < a.heard && 2 < b.heard
    })
    .await;
}

async fn relay(tasks: &mut JoinSet<()>) -> ServerAddress {
    relay_at(tasks, &Identity::random(&mut SystemRng), "127.0.0.1:0").await
}

async fn relay_at(tasks: &mut JoinSet<()>, identity: &Identity, address: &str) -> ServerAddress {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap().to_string().parse().unwrap();
    let channel = Arc::new(ChannelIdentity::new(identity));
    tasks.spawn(async move {
        let never = std::future::pending();
        offset_relay::run(RelayConfig::default(), channel, vec![listener], never).await.unwrap();
    });
    ServerAddress { public_key: identity.public_key(), address }
}

const FAST: BackoffConfig = BackoffConfig {
    first: Duration::from_millis(10),
    longest: Duration::from_millis(200),
    reset_after: BackoffConfig::RESET_AFTER,
};

#[tokio::test]
async fn both_dial_and_one_session_stays() {
    let mut tasks = JoinSet::new();
    let relay = relay(&mut tasks).await;
    for _ in 0..8 {
        let mut sides = [Side::new(&relay), Side::new(&relay)];
        until(&mut sides, "listening", |sides| sides.iter().all(|side| side.listening)).await;
        let [a, b] = &sides;
        a.befriend(b.key, &relay);
        b.befriend(a.key, &relay);
        until_they_hear_each_other(&mut sides).await;

        // Lost on both sides at once, it is dialled again from both.
        for side in &sides {
            if let Some((_, sender)) = &side.session {
                sender.close("lost");
            }
        }
        let before = sides.each_ref().map(|side| side.session.as_ref().map(|(id, _)| *id));
        until(&mut sides, "new sessions", |sides| {
            let now = sides.each_ref().map(|side| side.session.as_ref().map(|(id, _)| *id));
            now[0] != before[0] && now[1] != before[1]
        })
        .await;
        until_they_hear_each_other(&mut sides).await;

        // A friend who is given up is told, and not let in again.
        sides[0].contacts.send_modify(Contacts::clear);
        until(&mut sides, "the end", |sides| sides.iter().all(|side| side.session.is_none())).await;
    }
}

#[tokio::test]
async fn strangers_do_not_delay_friends() {
    let mut tasks = JoinSet::new();
    let relay = relay(&mut tasks).await;
    let mut sides = [Side::new(&relay), Side::new(&relay)];
    until(&mut sides, "listening", |sides| sides.iter().all(|side| side.listening)).await;

    // Whoever is let in stays silent, so that all handshakes for strangers are under way.
    let identity = Identity::random(&mut SystemRng);
    let channel = Arc::new(ChannelIdentity::new(&identity));
    let stranger = RelayClient::new(ClientConfig::default(), channel);
    let key = sides[0].key;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.extend(stranger.connect(&relay, key).await.ok());
    }
    assert!(!silent.is_empty() && silent.len() < 100, "{} of 100 are let in", silent.len());
    let page = sides[0].metrics.page().await;
    let counts: Vec<usize> = ["taken", "refused"]
        .iter()
        .map(|result| {
            let name = format!("offset_node_strangers_total{{result=\"{result}\"}} ");
            let line = page.lines().find_map(|line| line.strip_prefix(&name)).unwrap();
            line.parse().unwrap()
        })
        .collect();
    assert!(silent.len() <= counts[0] && 0 < counts[1], "who came is counted: {counts:?}");

    // Only the other side dials, and it goes on coming while strangers try.
    let knocking = async {
        loop {
            silent.extend(stranger.connect(&relay, key).await.ok());
        }
    };
    let friends = async {
        let [a, b] = &sides;
        a.befriend(
            b.key,
            &ServerAddress { address: "127.0.0.1:1".parse().unwrap(), ..relay.clone() },
        );
        b.befriend(a.key, &relay);
        for _ in 0..5 {
            until_they_hear_each_other(&mut sides).await;
            let id = |side: &Side| side.session.as_ref().map(|(id, _)| *id);
            let before = id(&sides[1]);
            if let Some((_, sender)) = &sides[1].session {
                sender.close("again");
            }
            until(&mut sides, "another session", |[_, b]| id(b).is_some() && id(b) != before).await;
        }
    };
    tokio::select! {
        () = knocking => {}
        () = friends => {}
    }
    assert!(sides[0].strangers.is_empty(), "they said nothing");
}

#[tokio::test]
async fn a_relay_that_is_back_brings_friends_back_at_once() {
    let mut tasks = JoinSet::new();
    let identity = Identity::random(&mut SystemRng);
    let relay = relay_at(&mut tasks, &identity, "127.0.0.1:0").await;
    // Whoever waits out a backoff is not back in the time of this test.
    let hour = Duration::from_hours(1);
    let patience = BackoffConfig { first: hour, longest: hour, ..FAST };
    let mut sides = [(); 2].map(|()| Side::with_patience(&relay, patience));
    until(&mut sides, "listening", |sides| sides.iter().all(|side| side.listening)).await;
    let [a, b] = &sides;
    a.befriend(b.key, &relay);
    b.befriend(a.key, &relay);
    until_they_hear_each_other(&mut sides).await;

    tasks.shutdown().await;
    until(&mut sides, "the loss", |sides| sides.iter().all(|side| side.session.is_none())).await;
    relay_at(&mut tasks, &identity, &relay.address.to_string()).await;
    until_they_hear_each_other(&mut sides).await;
}

#[tokio::test]
async fn listening_that_ended_begins_again() {
    let mut tasks = JoinSet::new();
    let relay = relay(&mut tasks).await;
    let mut sides = [Side::new(&relay), Side::new(&relay)];
    until(&mut sides, "listening", |sides| sides.iter().all(|side| side.listening)).await;
    // Another listener of the same client takes the place of the first, and is gone.
    drop(sides[0].client.listen(&relay, |_| false).unwrap());
    until(&mut sides, "the end", |[a, _]| a.stopped_listening).await;
    until(&mut sides, "listening again", |[a, _]| a.listening).await;
    let [a, b] = &sides;
    a.befriend(b.key, &relay);
    b.befriend(a.key, &relay);
    until_they_hear_each_other(&mut sides).await;
}

#[tokio::test]
async fn a_flooding_friend_is_not_read() {
    const MESSAGES: u64 = 100;
    let mut tasks = JoinSet::new();
    let relay = relay(&mut tasks).await;
    let mut sides = [Side::new(&relay), Side::new(&relay)];
    until(&mut sides, "listening", |sides| sides.iter().all(|side| side.listening)).await;
    let [a, b] = &sides;
    a.befriend(b.key, &relay);
    b.befriend(a.key, &relay);
    until_they_hear_each_other(&mut sides).await;
    until(&mut sides, "quiet", |[a, b]| a.inputs.is_empty() && b.inputs.is_empty()).await;

    let [a, b] = &mut sides;
    let last = b.heard + MESSAGES;
    for counter in b.heard + 1..=last {
        a.say(counter);
    }
    let mut taken = Vec::new();
    let mut counters = Vec::new();
    while counters.last() != Some(&last) {
        let Some(Input::FriendMessage(_, _, message, permit)) = b.inputs.recv().await else {
            panic!("the session ended");
        };
        let FriendMessage::Resume(resume) = *message else { panic!("{message:?}") };
        counters.push(resume.counter);
        taken.push(permit);
        if taken.len() == crate::limits::FRIEND_INPUTS {
            // As long as these are not handled, no more come.
            tokio::task::yield_now().await;
            assert!(b.inputs.is_empty());
            taken.clear();
        }
    }
    assert!(counters.is_sorted());
}
