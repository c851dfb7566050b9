//! One sample of every message, always the same: for test vectors, and for tests that must not
//! forget a kind of message. A new variant without a sample does not compile.
//!
//! The tests of other crates include this directory by its path.

#![allow(dead_code, reason = "not every test uses every sample")]

pub(crate) mod app;
pub(crate) mod friend;
pub(crate) mod history;
pub(crate) mod index;
pub(crate) mod relay;
pub(crate) mod reply;

use offset_crypto::{Identity, PublicKey, Seed};
use offset_proto::{Balance, Credits, Currency, ServerAddress, Text};

/// A name and a sample for each variant. The names are those of the schemas.
macro_rules! one_of_each {
    ($type:ty { $($name:literal: $pattern:pat => $sample:expr,)+ }) => {{
        let samples: Vec<(&'static str, $type)> = vec![$(($name, $sample)),+];
        let name = |value: &$type| match value {
            $($pattern => $name,)+
        };
        for (expected, sample) in &samples {
            assert_eq!(name(sample), *expected, "each sample is of its variant");
        }
        samples
    }};
}
pub(crate) use one_of_each;

/// The identity whose secret is this byte, 32 times.
pub(crate) fn identity(n: u8) -> Identity {
    Identity::from_seed(Seed::from_bytes([n; 32]))
}

pub(crate) fn key(n: u8) -> PublicKey {
    identity(n).public_key()
}

pub(crate) fn server(n: u8) -> ServerAddress {
    let address = format!("host{n}.example:80{n:02}").parse().unwrap();
    ServerAddress { public_key: key(n), address }
}

pub(crate) fn currency() -> Currency {
    "EUR".parse().unwrap()
}

pub(crate) fn text(text: &str) -> Text {
    Text::cut(text)
}

pub(crate) fn balance(value: i128) -> Balance {
    Balance::new(value).unwrap()
}

/// An amount that needs both halves.
pub(crate) fn large() -> Credits {
    Credits((1 << 100) + 7)
}
