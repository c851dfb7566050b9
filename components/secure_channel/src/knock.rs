//! The 72 bytes before TLS that keep a port dead to strangers.

use std::{
    collections::HashSet,
    fmt, mem,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use offset_crypto::{PublicKey, Rng};
use offset_proto::session::Purpose;
use ring::{digest, hmac};
use tokio::time::Instant;

use crate::Error;

/// Length of a knock in bytes: magic 4, version 1, purpose 1, zeros 2, nonce 32, tag 32.
pub const KNOCK_BYTES: usize = 72;

/// A knock at the port of a key.
pub fn knock(responder: &PublicKey, purpose: Purpose, rng: &mut dyn Rng) -> [u8; KNOCK_BYTES] {
    Knocker::new(responder).knock(purpose, rng)
}

/// For what a knock asks, if it is one at the port of this key. (The port itself also remembers what
/// it has heard.)
#[must_use]
pub fn knock_purpose(responder: &PublicKey, knock: &[u8; KNOCK_BYTES]) -> Option<Purpose> {
    Knocker::new(responder).purpose(knock)
}

/// Makes and checks the tags of knocks for one responder.
pub(crate) struct Knocker(hmac::Key);

impl Knocker {
    /// For knocks at `responder`.
    pub(crate) fn new(responder: &PublicKey) -> Self {
        let mut secret = digest::Context::new(&digest::SHA256);
        secret.update(b"offset-knock-v1\0");
        secret.update(responder.as_bytes());
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.finish().as_ref()))
    }

    /// A fresh knock.
    pub(crate) fn knock(&self, purpose: Purpose, rng: &mut dyn Rng) -> [u8; KNOCK_BYTES] {
        let mut knock = [0; KNOCK_BYTES];
        knock[..4].copy_from_slice(MAGIC);
        knock[4] = VERSION;
        knock[5] = purpose.number();
        rng.fill(&mut knock[NONCE_START..TAG_START]);
        let tag = hmac::sign(&self.0, &knock[..TAG_START]);
        knock[TAG_START..].copy_from_slice(tag.as_ref());
        knock
    }

    /// The purpose of a knock with a valid tag.
    fn purpose(&self, knock: &[u8; KNOCK_BYTES]) -> Option<Purpose> {
        let (signed, tag) = knock.split_at(TAG_START);
        hmac::verify(&self.0, signed, tag).ok()?;
        let fixed = signed[..4] == *MAGIC && signed[4] == VERSION && signed[6..8] == [0, 0];
        if fixed { Purpose::from_number(signed[5]) } else { None }
    }
}

/// Checks knocks and remembers their nonces for a minute or two, so that a recorded knock opens
/// nothing.
pub(crate) struct Doorkeeper {
    knocker: Knocker,
    used: Mutex<UsedNonces>,
}

impl Doorkeeper {
    /// With an empty memory.
    pub(crate) fn new(knocker: Knocker) -> Self {
        Self { knocker, used: Mutex::new(UsedNonces::new(Instant::now())) }
    }

    /// The purpose that was knocked for.
    ///
    /// # Errors
    /// [`Error::Knock`] when the tag is wrong, the purpose is not among `served` or the nonce was
    /// used before.
    pub(crate) fn check(
        &self,
        knock: &[u8; KNOCK_BYTES],
        served: &[Purpose],
    ) -> Result<Purpose, Error> {
        let purpose = self.knocker.purpose(knock).ok_or(Error::Knock)?;
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&knock[NONCE_START..TAG_START]);
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if served.contains(&purpose) && used.insert(nonce, Instant::now()) {
            Ok(purpose)
        } else {
            Err(Error::Knock)
        }
    }
}

impl fmt::Debug for Doorkeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Doorkeeper")
    }
}

/// Two generations of nonces. Only who knows the key can add to it, and no more than twice
/// [`MAX_GENERATION`] nonces (about 4 MB) are held: under a flood the oldest are forgotten first.
struct UsedNonces {
    since: Instant,
    current: HashSet<[u8; NONCE_BYTES]>,
    previous: HashSet<[u8; NONCE_BYTES]>,
}

impl UsedNonces {
    fn new(now: Instant) -> Self {
        Self { since: now, current: HashSet::new(), previous: HashSet::new() }
    }

    /// Whether `nonce` is new; remembers it.
    fn insert(&mut self, nonce: [u8; NONCE_BYTES], now: Instant) -> bool {
        let age = now.saturating_duration_since(self.since);
        if REMEMBERED * 2 <= age {
            self.current = HashSet::new();
        }
        if REMEMBERED <= age || MAX_GENERATION <= self.current.len() {
            self.previous = mem::take(&mut self.current);
            self.since = now;
        }
        !self.previous.contains(&nonce) && self.current.insert(nonce)
    }
}

const MAGIC: &[u8; 4] = b"OFST";
const VERSION: u8 = 1;
const NONCE_BYTES: usize = 32;
const NONCE_START: usize = 8;
const TAG_START: usize = NONCE_START + NONCE_BYTES;
/// How long a nonce is remembered at least, except under a flood.
const REMEMBERED: Duration = Duration::from_secs(60);
const MAX_GENERATION: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use offset_crypto::{Identity, SeededRng};

    use super::*;

    fn key(seed: u64) -> PublicKey {
        Identity::random(&mut SeededRng::new(seed)).public_key()
    }

    #[test]
    fn a_knock_is_for_one_key_one_purpose_and_one_time() {
        let mut rng = SeededRng::new(9);
        let keeper = Doorkeeper::new(Knocker::new(&key(1)));
        let knocker = Knocker::new(&key(1));
        for purpose in Purpose::ALL {
            let knock = knocker.knock(purpose, &mut rng);
            let others: Vec<_> = Purpose::ALL.into_iter().filter(|each| *each != purpose).collect();
            assert!(keeper.check(&knock, &others).is_err());
            assert_eq!(keeper.check(&knock, &[purpose]).unwrap(), purpose);
            assert!(matches!(keeper.check(&knock, &[purpose]), Err(Error::Knock)), "replayed");
        }
        let stranger = Knocker::new(&key(2)).knock(Purpose::Relay, &mut rng);
        assert!(keeper.check(&stranger, &Purpose::ALL).is_err());
    }

    #[test]
    fn every_changed_bit_is_refused() {
        let keeper = Doorkeeper::new(Knocker::new(&key(1)));
        let knock = Knocker::new(&key(1)).knock(Purpose::App, &mut SeededRng::new(1));
        for bit in 0..KNOCK_BYTES * 8 {
            let mut changed = knock;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(keeper.check(&changed, &Purpose::ALL).is_err(), "bit {bit}");
        }
        assert!(keeper.check(&knock, &Purpose::ALL).is_ok());
    }

    #[test]
    fn fixed_fields_are_checked_under_a_valid_tag_too() {
        let knocker = Knocker::new(&key(1));
        for (place, value) in [(0, b'X'), (4, 2), (5, 0), (5, 6), (6, 1), (7, 1)] {
            let mut knock = knocker.knock(Purpose::App, &mut SeededRng::new(1));
            knock[place] = value;
            let tag = hmac::sign(&knocker.0, &knock[..TAG_START]);
            knock[TAG_START..].copy_from_slice(tag.as_ref());
            assert_eq!(knocker.purpose(&knock), None, "byte {place} = {value}");
        }
    }

    #[test]
    fn nonces_are_remembered_for_a_minute_and_bounded() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut used = UsedNonces::new(start);
        assert!(used.insert([1; 32], start));
        assert!(!used.insert([1; 32], after(59)));
        assert!(!used.insert([1; 32], after(119)), "moved to the previous generation at 119 s");
        assert!(used.insert([2; 32], after(120)));
        assert!(used.insert([1; 32], after(1000)), "forgotten");

        let mut rng = SeededRng::new(5);
        for _ in 0..3 * MAX_GENERATION {
            let mut nonce = [0; 32];
            rng.fill(&mut nonce);
            assert!(used.insert(nonce, after(1001)));
        }
        assert!(used.current.len() + used.previous.len() <= 2 * MAX_GENERATION);
    }
}
