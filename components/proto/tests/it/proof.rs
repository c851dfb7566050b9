//! State proofs: round trips, mutated bytes, and the boundary of every limit.

use offset_proto::{
    friend::FriendMessage,
    proof::{MAX_PROOF_BYTES, PROOF_PAGE_BYTES, ProofPage, StateProof},
    session::{DecodeError, Packet, Wire as _},
};
use proptest::{prelude::*, sample::Index};

use crate::support;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn round_trip(proof in support::state_proof()) {
        prop_assert_eq!(StateProof::decode(&proof.encode()), Ok(proof));
    }

    #[test]
    fn mutated_bytes_never_panic(
        proof in support::state_proof(),
        mutations in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..8),
        cut in any::<Index>(),
    ) {
        let mut bytes = proof.encode();
        for (index, byte) in mutations {
            let index = index.index(bytes.len());
            bytes[index] = byte;
            if let Ok(proof) = StateProof::decode(&bytes) {
                prop_assert_eq!(StateProof::decode(&proof.encode()), Ok(proof));
            }
        }
        let _ = StateProof::decode(&bytes[..cut.index(bytes.len())]);
    }
}

#[test]
fn a_page_has_at_most_256_kib_of_at_most_64_mib() {
    let refused = |total_bytes: usize, bytes: usize| {
        let total_bytes = u32::try_from(total_bytes).unwrap();
        let page = ProofPage { page: 0, total_bytes, bytes: vec![0; bytes] };
        let frame = FriendMessage::encode(&Packet::Message(FriendMessage::StateProof(page)));
        assert!(frame.len() < FriendMessage::PURPOSE.max_frame_bytes());
        match FriendMessage::decode(&frame) {
            Ok(_) => None,
            Err(DecodeError::Invalid { field, .. }) => Some(field),
            Err(DecodeError::Malformed(why)) => panic!("{why}"),
        }
    };
    assert_eq!(refused(MAX_PROOF_BYTES, PROOF_PAGE_BYTES), None);
    assert_eq!(refused(MAX_PROOF_BYTES + 1, PROOF_PAGE_BYTES), Some("totalBytes"));
    assert_eq!(refused(MAX_PROOF_BYTES, PROOF_PAGE_BYTES + 1), Some("bytes"));
}
