//! The delivery service as a process of its own.

fn main() -> std::process::ExitCode {
    qpc_chassis::run::main("qpc-delivery", Some(qpc_delivery::SCHEMA), qpc_delivery::start)
}
