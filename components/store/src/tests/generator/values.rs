//! Values of every kind, and choices.

use offset_crypto::{RequestId, Rng as _, Signature};
use offset_proto::{Balance, Credits, Currency, Name, ServerAddress, Timestamp};

use super::Generator;
use crate::tests::key;

impl Generator {
    pub(super) fn server(&mut self) -> ServerAddress {
        ServerAddress {
            public_key: key(self.byte(9)),
            address: format!("[::1]:{}", 1 + self.below(9)).parse().unwrap(),
        }
    }

    pub(super) fn name(&mut self) -> Name {
        self.pick(&["a", "b 'quoted\"", "ç"]).parse().unwrap()
    }

    pub(super) fn currency(&mut self) -> Currency {
        self.pick(&["EUR", "FST1"]).parse().unwrap()
    }

    pub(super) fn balance(&mut self) -> Balance {
        let values = [0, -1, i128::MAX, -i128::MAX, 10_000_000_000_000_000_000_000];
        Balance::new(self.pick(&values)).unwrap()
    }

    pub(super) fn credits(&mut self) -> Credits {
        Credits(self.pick(&[0, 1, u128::MAX, 18_446_744_073_709_551_616]))
    }

    pub(super) fn time(&mut self) -> Timestamp {
        Timestamp(self.number())
    }

    pub(super) fn number(&mut self) -> u64 {
        self.pick(&[0, 1, 1_800_000_000_000, 1 << 62, u64::MAX >> 1])
    }

    pub(super) fn id(&mut self) -> RequestId {
        RequestId::random(&mut self.0)
    }

    pub(super) fn signature(&mut self) -> Signature {
        let mut bytes = [0; 64];
        self.0.fill(&mut bytes);
        bytes.into()
    }

    pub(super) fn fixed(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.0.fill(&mut bytes);
        bytes
    }

    pub(super) fn list<T>(&mut self, item: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.below(3)).map(|_| item(self)).collect()
    }

    pub(super) fn maybe<T>(&mut self, item: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.below(3) == 0 { None } else { Some(item(self)) }
    }

    pub(super) fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[usize::try_from(self.below(items.len().try_into().unwrap())).unwrap()].clone()
    }

    pub(super) fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    pub(super) fn byte(&mut self, bound: u64) -> u8 {
        u8::try_from(self.below(bound)).unwrap()
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }
}
