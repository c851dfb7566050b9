//! Invoices and receipts without a node.

fn main() -> std::process::ExitCode {
    offset::stregister::main(std::env::args_os())
}
