//! A relay server.

fn main() -> std::process::ExitCode {
    offset::strelay::main(std::env::args_os())
}
