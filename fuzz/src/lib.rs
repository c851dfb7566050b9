//! What the fuzz targets do with their bytes. The targets of cargo-fuzz call these functions, and an
//! ordinary test (`tests/corpora.rs`) calls them with every file of the corpora.
//!
//! A target fails by panicking: on a panic in the code itself, or when a property does not hold (what
//! decodes must encode to bytes that decode to the same; what is printed must parse to the same).

#[path = "../../bin/manners/amount.rs"]
#[allow(dead_code, unused_imports, reason = "it is a part of the programs")]
mod amount;
pub mod decoders;
pub mod machines;
pub mod network;
pub mod rows;
#[path = "../../components/funder/tests/support/mod.rs"]
mod support;
pub mod texts;

/// Bytes as a source of choices; zeros when they are used up.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, bound: u8) -> u8 {
        self.byte() % bound
    }

    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What is done with bytes.
pub type Target = fn(&[u8]);

/// Every target by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("app_to_node", decoders::app_to_node),
    ("node_to_app", decoders::node_to_app),
    ("friend_message", decoders::friend_message),
    ("client_to_relay", decoders::client_to_relay),
    ("relay_to_client", decoders::relay_to_client),
    ("client_to_index", decoders::client_to_index),
    ("index_to_client", decoders::index_to_client),
    ("index_peer", decoders::index_peer),
    ("frames", decoders::frames),
    ("certificate", decoders::certificate),
    ("files", texts::files),
    ("values", texts::values),
    ("broker", machines::broker),
    ("directory", machines::directory),
    ("network", network::network),
    ("stored_rows", rows::stored_rows),
    ("knock", decoders::knock),
    ("amounts", texts::amounts),
];
