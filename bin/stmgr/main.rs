//! Identities, databases and tickets.

fn main() -> std::process::ExitCode {
    offset::stmgr::main(std::env::args_os())
}
