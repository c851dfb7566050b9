//! Known answers for hashes and signatures, computed from the text of the protocol by another
//! program (Python's hashlib and cryptography). They may never change.

use offset_crypto::{Identity, Seed, hash};
use offset_proto::{
    Balance, Credits, Rate, ServerAddress, Timestamp,
    canonical::{Canonical as _, index_table_hash},
    friend::*,
    index::*,
    payment::{Invoice, ResponseTerms},
    reset::{AcceptReset, ResetBalance, ResetTermsBody},
};

fn identity(number: u8) -> Identity {
    Identity::from_seed(Seed::from_bytes([number; 32]))
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn request() -> Request {
    Request {
        request_id: [0x31; 16].into(),
        src_hashed_lock: [0x32; 32].into(),
        route: vec![identity(2).public_key(), identity(3).public_key()],
        dest_payment: Credits(10),
        total_dest_payment: Credits(20),
        invoice_id: [0x33; 32].into(),
        left_fees: Credits(3),
        spontaneous: true,
        hold_seconds: 60,
    }
}

fn response() -> Response {
    Response {
        request_id: [0x31; 16].into(),
        dest_hashed_lock: [0x34; 32].into(),
        is_complete: true,
        response_hash: [0x35; 32].into(),
        signature: [0x36; 64].into(),
    }
}

fn every_operation() -> Vec<FriendOp> {
    let request_id = [0x31; 16].into();
    let (src_plain_lock, dest_plain_lock) = ([0x37; 32].into(), [0x38; 32].into());
    vec![
        FriendOp::Request(request()),
        FriendOp::Response(response()),
        FriendOp::Commit(Commit { request_id, src_plain_lock }),
        FriendOp::Collect(Collect { request_id, src_plain_lock, dest_plain_lock }),
        FriendOp::Cancel(Cancel {
            request_id,
            reason: CancelReason::Busy,
            reporter: Some(identity(3).public_key()),
        }),
        FriendOp::Release(Release { request_id }),
    ]
}

#[test]
fn move_token() {
    let proposal = Proposal {
        opening_balance: Balance::new(-5).unwrap(),
        max_debt: Credits(100),
        requests_open: true,
    };
    let body = MoveTokenBody {
        epoch: 1,
        counter: 2,
        prev_token: [0x11; 32].into(),
        currency_terms: vec![CurrencyTerms {
            currency: "usd".parse().unwrap(),
            enabled: true,
            proposal,
        }],
        currency_ops: vec![CurrencyOps {
            currency: "credit".parse().unwrap(),
            ops: every_operation(),
        }],
        relays: Some(vec![ServerAddress {
            public_key: identity(2).public_key(),
            address: "127.0.0.1:8000".parse().unwrap(),
        }]),
        state_hash: [0x22; 32].into(),
    };
    assert_eq!(
        hex(hash(&body.canonical_bytes())),
        "a65470e013041b0897fcd4205b6b669f3fd52f04b02ef983c838df6debb36c90"
    );
    let token = body.sign(&identity(1));
    assert_eq!(
        hex(token.signature),
        "fadb18d77559c7eff878f34e51763cd5fdff02731ddd37bb9163ec7e25d59a6f\
         8efa6c30c5db13ed97354ed86678024bc66c21506832c24f80988295509cb70d"
    );
    assert_eq!(hex(token.id()), "256016b502e5efc8c583086a9ba53f6061902cdfc90c2f6932ecdd7a9ad46e16");
    assert_eq!(token.verify(&identity(1).public_key()), Some(token.id()));
    assert_eq!(token.verify(&identity(2).public_key()), None);
}

#[test]
fn terms_of_a_reset() {
    let row = |currency: &str, balance| ResetBalance {
        currency: currency.parse().unwrap(),
        balance: Balance::new(balance).unwrap(),
    };
    let body = ResetTermsBody {
        epoch: 3,
        balances: vec![row("credit", -70), row("usd", 5)],
        pending: true,
        last: Some([0x11; 32].into()),
        previous: None,
    };
    assert_eq!(
        hex(hash(&body.canonical_bytes())),
        "00eb31183ff618efd55381d45c262dd09f63568febbe69f2fea24888e9b5823d"
    );
    let (proposer, friend) = (identity(1).public_key(), identity(2).public_key());
    let terms = body.sign(&identity(1), &friend);
    assert_eq!(
        hex(terms.signature),
        "e96091683774ba3daf61a8ddb2cf7aae57ae3f5b740b31e59408962012e7d6e1\
         bc50bb3f12551e6f0fbb69f22273e0a4e8b5e5c47fc76b2082032d4642333108"
    );
    let token = terms.token(&proposer, &friend);
    assert_eq!(hex(token), "afc26fe84a256fefaaa42275240046860d18606a87eee2517e1a4499bf3f4a3b");
    assert!(terms.verify(&proposer, &friend));
    assert!(!terms.verify(&friend, &proposer), "another's terms");
    assert!(!terms.verify(&proposer, &identity(3).public_key()), "terms for another friend");
    assert_ne!(terms.token(&proposer, &identity(3).public_key()), token);

    let accept = AcceptReset::sign(token, &identity(2));
    assert_eq!(
        hex(accept.signature),
        "65bf683cbcf46eaf53bcb9cbcc9724a31d621bb659bf34047cae80563861e6dd\
         f32d8565018ba1a25c29edc03d3766c581ce3e155ab83323ce667c1365268c0f"
    );
    assert!(accept.verify(&friend) && !accept.verify(&proposer));
    assert!(!AcceptReset { reset_token: [0; 32].into(), ..accept }.verify(&friend));
}

#[test]
fn invoice_id() {
    let mut invoice = Invoice {
        registered: true,
        currency: "credit".parse().unwrap(),
        dest_public_key: identity(1).public_key(),
        dest_payment: Credits(150),
        description: "Fahrräder".parse().unwrap(),
        created_at: Timestamp(1_000),
        expires_at: Timestamp(2_000),
        hold_until: Some(Timestamp(3_000)),
        nonce: [0x41; 16].into(),
    };
    assert_eq!(
        hex(invoice.id()),
        "c72cc186057a9ca599d2037d82ce13bb8a0286024e7cf44a79c6cffb26470b71"
    );
    invoice.hold_until = None;
    assert_eq!(
        hex(invoice.id()),
        "45e377ac99b21412fe3e401bbeee54a7d528962b058e27e6548ffe896599e079"
    );
}

#[test]
fn response_terms() {
    let currency = "credit".parse().unwrap();
    let terms = ResponseTerms::of(&request(), &response(), &currency);
    assert_eq!(
        hex(hash(&terms.bytes())),
        "cf059f096b017fa891fb0fcb2e192e96628a86de23d584c57c51d239c75806be"
    );
    let signature = terms.sign(&identity(3));
    assert_eq!(
        hex(signature),
        "27c4ace39544c179d2f409336720541ef63a874717a0f50fb9e211242c7fb293\
         153592273f1206c9a1ec45be23bfe2c786a203137cf3fbc46899cba10e09a50d"
    );
    assert!(terms.verify(&identity(3).public_key(), &signature));
}

#[test]
fn node_down() {
    let down = NodeDown::sign(identity(1).public_key(), 5, 6, &identity(2));
    assert_eq!(
        hex(down.signature),
        "d831929372a9434cac9f4f6ba97574c50e6fd22c76dcfb9e77b837d2d61d71be\
         176e4bcadfdd8e18b86fac344c528232a9615ef7d25eb11d69bc710d28f0df02"
    );
    assert!(down.verify(&identity(2).public_key()));
}

#[test]
fn index_updates() {
    let friend = identity(3).public_key();
    let set = UpdateMutation::Set {
        friend,
        currency: "usd".parse().unwrap(),
        line: IndexLine {
            send_capacity: Credits(8),
            recv_capacity: Credits(9),
            rate: Rate { ppm: 10, add: 11 },
        },
    };
    let remove = UpdateMutation::Remove { friend, currency: "eur".parse().unwrap() };
    let mut body = UpdateBody {
        node: identity(1).public_key(),
        home_server: identity(2).public_key(),
        epoch: 5,
        counter: 6,
        time: Timestamp(7),
        kind: UpdateKind::Snapshot(vec![set, remove]),
    };
    let update = body.clone().sign(&identity(1));
    assert_eq!(
        hex(update.signature),
        "2f82f9c3bd60cfcf11815b5109a885379960ecb39683428f1c5a08fd87924a49\
         add4fbb8e808556b1c868e269b437773a6e25722e33f897c48cb6fbc40d15900"
    );
    assert!(update.verify());
    body.counter = 7;
    body.time = Timestamp(8);
    body.kind = UpdateKind::Alive { table: [0x51; 32].into() };
    assert_eq!(
        hex(body.sign(&identity(1)).signature),
        "2ff483122f0a8f6dcc7df157155789061d96acd9b6c29d62e469dbdc7e48d86e\
         21e2ca7b1dc4aaf6cec0426fd99fd95caa39ba26421312575f61331b9e85290f"
    );
}

#[test]
fn index_tables() {
    assert_eq!(
        hex(index_table_hash(&IndexTable::new())),
        "5d70fc76f11bd6c5b668ebc5e404f05c8d9b942f1b88f89a470da74af9641f5c"
    );
    let line = |send, recv, ppm, add| IndexLine {
        send_capacity: Credits(send),
        recv_capacity: Credits(recv),
        rate: Rate { ppm, add },
    };
    let key = |n, currency: &str| (identity(n).public_key(), currency.parse().unwrap());
    let table = IndexTable::from([
        (key(3, "usd"), line(8, 9, 10, 11)),
        (key(3, "eur"), line(1, 2, 3, 4)),
        (key(4, "usd"), line(1 << 100, 0, 0, 0)),
    ]);
    assert_eq!(
        hex(index_table_hash(&table)),
        "c18335127577f4bc31e014a9ac6b0e54d3c321e1b8033786597d099eb4022c70"
    );
}
