//! What the fuzz targets do with their bytes. The targets of cargo-fuzz call these functions, and an
//! ordinary test (`tests/corpora.rs`) calls them with every file of the corpora.
//!
//! A target fails by panicking: on a panic in the code itself, or when a property does not hold (what
//! decodes must encode to bytes that decode to the same; what is printed must parse to the same).

pub mod decoders;
pub mod machines;
pub mod texts;

/// Every target by name.
pub const TARGETS: &[(&str, fn(&[u8]))] = &[
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
];
