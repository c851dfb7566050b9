//! The command line application of a node.

fn main() -> std::process::ExitCode {
    offset::stctrl::main(std::env::args_os())
}
