//! The programs of Offset: one module each, with a `main` that the binary of that name calls.
//!
//! The programs parse arguments, build what the crates below need, run it and print. They decide
//! nothing about money, messages or files' contents; that is done in the crates. What all programs
//! promise their users (exit codes, errors of one sentence, tables, JSON, files written whole) is
//! in [`manners`].
//!
//! ```text
//!   stmgr       identities, databases, tickets        no network
//!   stregister  invoices and receipts                 no network, no node
//!   stnode      a node            <--- stctrl         an application of a node
//!   strelay     a relay server
//!   stindex     an index server
//!   stnet       all of them on one machine, each a process of its own
//! ```

pub mod manners;
pub mod stctrl;
pub mod stindex;
pub mod stmgr;
pub mod stnet;
pub mod stnode;
pub mod stregister;
pub mod strelay;

/// The command lines of all programs, as they parse them: for whatever has to know every command.
#[must_use]
pub fn command_lines() -> [clap::Command; 7] {
    [
        stctrl::command_line(),
        stindex::command_line(),
        stmgr::command_line(),
        stnet::command_line(),
        stnode::command_line(),
        stregister::command_line(),
        strelay::command_line(),
    ]
}
