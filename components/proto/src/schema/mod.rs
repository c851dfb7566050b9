//! What the schema compiler makes of `capnp/`; committed, so that a build needs no compiler. The
//! test `schema_fresh` says how it is made again. Nothing outside of [`crate::codec`] uses it.
#![allow(
    clippy::all,
    clippy::nursery,
    clippy::pedantic,
    clippy::restriction,
    dead_code,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code"
)]

#[rustfmt::skip]
pub(crate) mod app_capnp;
#[rustfmt::skip]
pub(crate) mod common_capnp;
#[rustfmt::skip]
pub(crate) mod friend_capnp;
#[rustfmt::skip]
pub(crate) mod history_capnp;
#[rustfmt::skip]
pub(crate) mod index_capnp;
#[rustfmt::skip]
pub(crate) mod payment_capnp;
#[rustfmt::skip]
pub(crate) mod proof_capnp;
#[rustfmt::skip]
pub(crate) mod relay_capnp;
#[rustfmt::skip]
pub(crate) mod report_capnp;
#[rustfmt::skip]
pub(crate) mod session_capnp;
