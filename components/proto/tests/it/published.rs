//! The test vectors in `docs/vectors/`, for whoever writes another implementation: every message as
//! bytes and as text, and everything that is hashed or signed, by fixed keys.
//!
//! After a change of the protocol: `OFFSET_REGENERATE=1 cargo test -p offset-proto --test it`, and
//! look at the difference.

use offset_crypto::{Label, LabelHasher, Seed};
use offset_proto::{
    Credits, Rate, Text,
    app::{AppLimits, AppReply, AppRequest, AppRequestId, AppToNode, NodeToApp, Permissions},
    canonical::{Canonical as _, index_table_hash},
    file::{
        AppTicket, CommitFile, FriendFile, IdentityFile, IndexTicket, InvoiceFile, Kind, NodeEntry,
        NodeTicket, OffsetFile, PaymentFile, PublicFile, ReceiptFile, RelayTicket, TokenFile,
    },
    index::{IndexLine, IndexTable},
    payment::ResponseTerms,
    session::{Bye, Control, Hello, Packet, Purpose, Wire},
};

use crate::objects::{Objects, hex, publish};
use crate::samples::{app, currency, friend, identity, index, key, relay, reply, server};

fn messages<M: Wire + Clone + std::fmt::Debug + PartialEq>(
    objects: &mut Objects,
    channel: &str,
    samples: impl IntoIterator<Item = (impl AsRef<str>, M)>,
) {
    for (name, message) in samples {
        packet(objects, channel, name.as_ref(), &Packet::Message(message));
    }
}

fn packet<M: Wire + Clone + std::fmt::Debug + PartialEq>(
    objects: &mut Objects,
    channel: &str,
    name: &str,
    packet: &Packet<M>,
) {
    let bytes = M::encode(packet);
    assert_eq!(M::decode(&bytes).as_ref(), Ok(packet), "{name}");
    objects.push([
        ("channel", channel.to_owned()),
        ("name", name.to_owned()),
        ("text", M::text(&bytes).unwrap()),
        ("bytes", hex(bytes)),
    ]);
}

#[test]
fn every_message() {
    let mut objects = Objects::default();
    for purpose in Purpose::ALL {
        let hello = Hello { protocol_version: 1, purpose, features: vec![Text::cut("example")] };
        let name = format!("hello/{}", purpose.number());
        packet::<AppToNode>(&mut objects, "any", &name, &Packet::Control(Control::Hello(hello)));
    }
    packet::<AppToNode>(&mut objects, "any", "ping", &Packet::Control(Control::Ping));
    let bye = Bye { reason: Text::cut("the node is stopping") };
    packet::<AppToNode>(&mut objects, "any", "bye", &Packet::Control(Control::Bye(bye)));

    let request = |request| AppToNode { request_id: AppRequestId(7), request };
    let requests = app::requests().into_iter().map(|(name, asked)| (name, request(asked)));
    messages(&mut objects, "AppToNode", requests);
    let configs = app::configs()
        .into_iter()
        .map(|(name, change)| (format!("config/{name}"), request(AppRequest::Config(change))));
    messages(&mut objects, "AppToNode", configs);
    messages(&mut objects, "NodeToApp", reply::messages());
    messages(&mut objects, "FriendMessage", friend::messages());
    messages(&mut objects, "ClientToRelay", relay::from_clients());
    messages(&mut objects, "RelayToClient", relay::to_clients());
    messages(&mut objects, "ClientToIndex", index::from_clients());
    messages(&mut objects, "IndexToClient", index::to_clients());
    messages(&mut objects, "IndexPeerMessage", index::between_servers());
    publish("messages.json", &objects);
}

#[test]
fn everything_hashed_and_signed() {
    let mut all = Objects::default();
    for n in 1..=6 {
        all.push([
            ("name", format!("key {n}")),
            ("secret", hex([n; 32])),
            ("public", hex(key(n).as_bytes())),
            ("text", key(n).to_string()),
        ]);
    }
    let signed = |all: &mut Objects, name: &str, label: &str, by: u8, bytes: &[u8], sign: &[u8]| {
        all.push([
            ("name", name.to_owned()),
            ("label", label.to_owned()),
            ("signer", format!("key {by}")),
            ("bytes", hex(bytes)),
            ("signature", hex(sign)),
        ]);
    };
    let hashed = |all: &mut Objects, name: &str, label: &str, bytes: &[u8], hash: &[u8]| {
        all.push([
            ("name", name.to_owned()),
            ("label", label.to_owned()),
            ("bytes", hex(bytes)),
            ("hash", hex(hash)),
        ]);
    };
    let ops = friend::ops().into_iter().map(|(name, op)| (name, vec![op]));
    let every = ("every operation", friend::ops().into_iter().map(|(_, op)| op).collect());
    for (name, ops) in ops.chain([every]) {
        let token = friend::move_token(ops);
        let body = token.body.canonical_bytes();
        let name = format!("move token with {name}");
        signed(&mut all, &name, "MOVE_TOKEN_SIGNATURE", 1, &body, token.signature.as_ref());
        let bytes = [&body[..], token.signature.as_ref()].concat();
        hashed(&mut all, &format!("id of {name}"), "MOVE_TOKEN", &bytes, token.id().as_ref());
    }
    let (low, high) = if key(1) < key(2) { (key(1), key(2)) } else { (key(2), key(1)) };
    let genesis = [&low.as_bytes()[..], high.as_bytes(), &0_u64.to_be_bytes()].concat();
    let id = LabelHasher::new(Label::GENESIS).chain(&genesis).finish();
    hashed(&mut all, "genesis of epoch 0 of keys 1 and 2", "GENESIS", &genesis, id.as_ref());

    let later = [
        &low.as_bytes()[..],
        high.as_bytes(),
        &1_u64.to_be_bytes(),
        &[0, 0, 0, 1, 0, 0, 0, 6],
        b"credit",
        &(-70_i128).to_be_bytes(),
    ]
    .concat();
    let id = LabelHasher::new(Label::GENESIS).chain(&later).finish();
    let name = "genesis of epoch 1 of keys 1 and 2, the lower of whom owes 70 credit";
    hashed(&mut all, name, "GENESIS", &later, id.as_ref());

    let (terms, keys) =
        (friend::reset_terms(), [key(1), key(2)].map(|key| *key.as_bytes()).concat());
    let bytes = [keys, terms.body.canonical_bytes()].concat();
    signed(&mut all, "terms of a reset", "RESET_TERMS", 1, &bytes, terms.signature.as_ref());
    let bytes = [&bytes[..], terms.signature.as_ref()].concat();
    let token = terms.token(&key(1), &key(2));
    hashed(&mut all, "reset token", "RESET_TOKEN", &bytes, token.as_ref());
    let accept = friend::accept_reset();
    let sign = accept.signature;
    signed(&mut all, "acceptance", "ACCEPT_RESET", 2, token.as_ref(), sign.as_ref());

    let invoice = app::invoice();
    hashed(&mut all, "invoice id", "INVOICE", &invoice.canonical_bytes(), invoice.id().as_ref());
    let (request, response, currency) = (friend::request(), friend::response(), currency());
    let terms = ResponseTerms::of(&request, &response, &currency);
    all.push([
        ("name", "response, without a label".to_owned()),
        ("signer", "key 4".to_owned()),
        ("bytes", hex(terms.bytes())),
        ("signature", hex(response.signature)),
    ]);
    let lock = friend::src_plain_lock();
    all.push([
        ("name", "hashed lock, without a label".to_owned()),
        ("bytes", hex(lock.as_bytes())),
        ("hash", hex(lock.hashed())),
    ]);
    for (name, update) in index::updates() {
        let bytes = update.body.canonical_bytes();
        let name = format!("index update: {name}");
        signed(&mut all, &name, "INDEX_UPDATE", 1, &bytes, update.signature.as_ref());
    }
    let down = index::node_down();
    let bytes = [&down.node.as_bytes()[..], &down.epoch.to_be_bytes(), &down.counter.to_be_bytes()]
        .concat();
    signed(&mut all, "node down", "NODE_DOWN", 6, &bytes, down.signature.as_ref());
    let empty = index_table_hash(&IndexTable::new());
    hashed(&mut all, "empty index table", "INDEX_TABLE", &0_u32.to_be_bytes(), empty.as_ref());
    let line = |send, recv, ppm, add| IndexLine {
        send_capacity: Credits(send),
        recv_capacity: Credits(recv),
        rate: Rate { ppm, add },
    };
    let table = IndexTable::from([
        ((key(3), "usd".parse().unwrap()), line(8, 9, 10, 11)),
        ((key(3), "eur".parse().unwrap()), line(1, 2, 3, 4)),
    ]);
    let mut bytes = 2_u32.to_be_bytes().to_vec();
    for ((friend, currency), line) in &table {
        bytes.extend(friend.as_bytes());
        bytes.extend([0, 0, 0, 3]);
        bytes.extend(currency.as_str().as_bytes());
        bytes.extend(line.send_capacity.0.to_be_bytes());
        bytes.extend(line.recv_capacity.0.to_be_bytes());
        bytes.extend(line.rate.ppm.to_be_bytes());
        bytes.extend(line.rate.add.to_be_bytes());
    }
    let hash = index_table_hash(&table);
    assert_eq!(LabelHasher::new(Label::INDEX_TABLE).chain(&bytes).finish(), hash);
    hashed(&mut all, "index table of two lines", "INDEX_TABLE", &bytes, hash.as_ref());
    publish("signatures.json", &all);
}

#[test]
fn every_file() {
    let mut objects = Objects::default();
    for kind in Kind::ALL {
        let (toml, line) = file(kind);
        objects.push([("kind", kind.to_string()), ("text", toml)].into_iter().chain(line));
    }
    publish("files.json", &objects);
}

type Line = Option<(&'static str, String)>;

fn public<F: PublicFile>(file: &F) -> (String, Line) {
    (file.to_toml().to_string(), Some(("line", file.to_line())))
}

fn file(kind: Kind) -> (String, Line) {
    let secret = || Seed::from_bytes([1; 32]);
    let permissions = Permissions { routes: true, buyer: true, seller: false, config: false };
    let limits = AppLimits {
        max_payment: [(currency(), Credits(50))].into(),
        budget: [(currency(), Credits(500))].into(),
        commands_per_second: Some(20),
    };
    match kind {
        Kind::Identity => (IdentityFile::Plain(secret()).to_toml().to_string(), None),
        Kind::NodeTicket => public(&NodeTicket(server(1))),
        Kind::RelayTicket => public(&RelayTicket(server(5))),
        Kind::IndexTicket => public(&IndexTicket(server(6))),
        Kind::AppTicket => public(&AppTicket { public_key: key(2), permissions, limits }),
        Kind::NodeEntry => {
            (NodeEntry { node: server(1), app: secret() }.to_toml().to_string(), None)
        }
        Kind::Friend => public(&FriendFile { public_key: key(1), relays: vec![server(5)] }),
        Kind::Invoice => public(&InvoiceFile(app::invoice())),
        Kind::Commit => public(&CommitFile(app::commit())),
        Kind::Payment => public(&payment_file()),
        Kind::Receipt => public(&ReceiptFile(reply::receipt())),
        Kind::Token => public(&TokenFile(friend::last_token())),
    }
}

fn payment_file() -> PaymentFile {
    let invoice = app::invoice();
    PaymentFile {
        payment_id: app::pay().payment_id,
        invoice_id: invoice.id(),
        dest_public_key: invoice.dest_public_key,
        currency: invoice.currency,
        dest_payment: invoice.dest_payment,
    }
}

/// The names say which kind of message each is, once each.
#[test]
fn names_are_unique() {
    let names: Vec<_> = reply::messages().into_iter().map(|(name, _)| name).collect();
    let distinct: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), names.len());
    assert!(matches!(
        reply::messages().remove(0).1,
        NodeToApp::Response { result: Ok(AppReply::Done), .. }
    ));
    assert_eq!(identity(1).public_key(), key(1));
}
