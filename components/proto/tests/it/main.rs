//! Tests of the public contract: frames, canonical bytes.
#![allow(clippy::unwrap_used, reason = "tests")]

mod codec;
mod support;
