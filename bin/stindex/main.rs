//! An index server.

fn main() -> std::process::ExitCode {
    offset::stindex::main(std::env::args_os())
}
