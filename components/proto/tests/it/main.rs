//! Tests of the public contract: frames, canonical bytes, files.
#![allow(clippy::unwrap_used, reason = "tests")]

mod codec;
mod file;
mod objects;
mod proof;
mod published;
mod samples;
mod support;
mod token;
mod vectors;
