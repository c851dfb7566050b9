//! A node.

fn main() -> std::process::ExitCode {
    offset::stnode::main(std::env::args_os())
}
