//! The funder.

pub mod api;
mod change;
pub mod credit;
mod side;
pub mod state;
mod tree;

pub use crate::{
    change::{Change, CorruptState},
    side::{Side, Sided},
};
