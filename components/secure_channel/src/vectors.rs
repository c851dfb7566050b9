//! The test vectors `docs/vectors/channel.json`: a knock, and frames.

use offset_crypto::{Identity, Seed, SeededRng};
use offset_proto::session::Purpose;

use self::objects::{Objects, hex, publish};
use crate::{
    frame::Framing,
    knock::{KNOCK_BYTES, Knocker},
};

#[path = "../../proto/tests/it/objects.rs"]
mod objects;

#[test]
fn knocks_and_frames() {
    let mut objects = Objects::default();
    let responder = Identity::from_seed(Seed::from_bytes([1; 32])).public_key();
    let mut rng = SeededRng::new(7);
    for purpose in Purpose::ALL {
        let knock = Knocker::new(&responder).knock(purpose, &mut rng);
        assert_eq!(knock[..8], [b'O', b'F', b'S', b'T', 1, purpose.number(), 0, 0]);
        objects.push([
            ("name", format!("knock for purpose {}", purpose.number())),
            ("responder", hex(responder.as_bytes())),
            ("nonce", hex(&knock[8..40])),
            ("tag", hex(&knock[40..KNOCK_BYTES])),
            ("bytes", hex(knock)),
        ]);
    }
    for (purpose, length) in
        [(Purpose::App, 5), (Purpose::Friend, 5), (Purpose::Friend, 252), (Purpose::Friend, 253)]
    {
        let message = vec![0xab; length];
        let mut frame = Vec::new();
        Framing::new(purpose).append(&message, &mut frame).unwrap();
        objects.push([
            ("name", format!("frame of {length} bytes for purpose {}", purpose.number())),
            ("message", hex(&message)),
            ("bytes", hex(frame)),
        ]);
    }
    publish("channel.json", &objects);
}
