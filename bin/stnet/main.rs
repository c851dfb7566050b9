//! A whole network on one machine.

fn main() -> std::process::ExitCode {
    offset::stnet::main(std::env::args_os())
}
