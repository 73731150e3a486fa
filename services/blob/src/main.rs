//! The blob service of a cluster.

fn main() -> std::process::ExitCode {
    qpc_chassis::run::main("qpc-blob", Some(qpc_blob::SCHEMA), qpc_blob::start)
}
