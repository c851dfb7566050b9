pub mod broker;
pub mod limits;
mod outbox;
mod rate;
