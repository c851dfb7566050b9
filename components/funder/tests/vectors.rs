//! The test vectors `docs/vectors/states.json`: what a node and a friend agree on after some tokens.
//!
//! The friend is made by hand from the text of the protocol, and takes no token whose `stateHash` is
//! another than its own; what is published are its bytes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../proto/tests/it/objects.rs"]
mod objects;
mod support;

use objects::{Objects, hex, publish};
use offset_crypto::{HashResult, Label, LabelHasher, PlainLock, hash};
use offset_proto::{
    Currency,
    app::ConfigRequest,
    friend::{FriendOp, Request},
};
use support::{
    credit,
    lab::{Lab, friend_name, terms},
    puppet::{Hashed, MINE, THEIRS, response_by},
};

/// Says of what it is the hash, and that `hash(hash("offset/1/" + LABEL) || bytes)` is it.
fn push(objects: &mut Objects, name: &str, label: &str, bytes: &[u8], result: &HashResult) {
    let prefix = hash(format!("offset/1/{label}").as_bytes());
    assert_eq!(hash(&[prefix.as_bytes(), bytes].concat()), *result, "{name}");
    objects.push([
        ("name", name.to_owned()),
        ("label", label.to_owned()),
        ("bytes", hex(bytes)),
        ("hash", hex(result)),
    ]);
}

/// A request with ids that are easy to tell.
fn request(lab: &mut Lab, id: u8, route: &[offset_crypto::PublicKey]) -> (Request, PlainLock) {
    let lock = PlainLock::from_bytes([id; 32]);
    let (request, _) = lab.request(route);
    let request_id = [id; 16].into();
    let invoice_id = [0x33; 32].into();
    (Request { request_id, src_hashed_lock: lock.hashed(), invoice_id, ..request }, lock)
}

#[test]
fn states() {
    let mut lab = Lab::new(2);
    let proposed: Currency = "usd".parse().unwrap();
    // One request each way on the first line, at different stages, and a currency that only the
    // friend has proposed.
    let [first, second] = [0, 1].map(|at| lab.puppets[at].key());
    let (incoming, _) = request(&mut lab, 0x41, &[second]);
    lab.send(0, &[FriendOp::Request(incoming.clone())]);
    let FriendOp::Request(passed_on) = lab.got_one(1) else { panic!() };
    let (outgoing, _) = request(&mut lab, 0x42, &[first]);
    lab.send(1, &[FriendOp::Request(outgoing)]);
    let FriendOp::Request(outgoing) = lab.got_one(0) else { panic!() };
    let seller = lab.puppets[0].identity.clone();
    let dest_lock = PlainLock::from_bytes([9; 32]);
    let response = response_by(&seller, &outgoing, &dest_lock, true, &credit());
    let proposal = terms(&proposed, -70, 500, true);
    lab.send_all(0, &[proposal], &[(credit(), FriendOp::Response(response))]);
    // The last word is the node's, so it says this state too.
    lab.set(ConfigRequest::SetMaxDebt {
        friend: friend_name(0),
        currency: None,
        max_debt: offset_proto::Credits(900),
    });
    lab.fetch_token(0);

    let mut objects = Objects::default();
    for (name, key) in [("the node", lab.key()), ("the friend", lab.puppets[0].key())] {
        objects.push([("name", format!("public key of {name}")), ("public", hex(key.as_bytes()))]);
    }
    for Hashed { name, label, bytes, hash } in lab.puppets[0].state_vectors() {
        push(&mut objects, &name, label, &bytes, &hash);
    }
    let credit_line = lab.puppets[0].credit(&credit());
    assert_eq!([MINE, THEIRS].map(|side| credit_line.pending[side].len()), [1, 1]);
    assert_eq!(lab.inconsistent(0), None);
    derived(&mut lab, &mut objects, &incoming, &passed_on);
    publish("states.json", &objects);
}

/// Ids that a node makes of its secret.
fn derived(lab: &mut Lab, objects: &mut Objects, incoming: &Request, passed_on: &Request) {
    objects.push([
        ("name", "id of a passed on request".to_owned()),
        ("secret", hex([100; 32])),
        ("friend", hex(lab.puppets[0].key().as_bytes())),
        ("currency", credit().to_string()),
        ("id", hex(incoming.request_id)),
        ("result", hex(passed_on.request_id)),
    ]);
    let (payment_id, _) = lab.pay(lab.puppets[1].key(), 5);
    let mut paid = lab.got(1).into_iter().filter_map(|op| match op {
        FriendOp::Request(request) => Some(request),
        FriendOp::Response(_)
        | FriendOp::Commit(_)
        | FriendOp::Collect(_)
        | FriendOp::Cancel(_)
        | FriendOp::Release(_) => None,
    });
    let paid = paid.next().unwrap();
    let info = [&b"offset/1/SPONTANEOUS"[..], payment_id.as_bytes()].concat();
    let secret: [u8; 32] = lab.identity.derive(&[&info]);
    let result = LabelHasher::new(Label::SPONTANEOUS).chain(secret).finish();
    assert_eq!(paid.invoice_id.as_bytes(), result.as_bytes());
    objects.push([
        ("name", "invoice id of a spontaneous payment".to_owned()),
        ("secret", hex([100; 32])),
        ("payment id", hex(payment_id)),
        ("derived", hex(secret)),
        ("hash", hex(result)),
    ]);
}
