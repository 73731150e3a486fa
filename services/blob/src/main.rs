//! The blob service of a cluster.

fn main() -> std::process::ExitCode {
    qpc_chassis::run::main("qpc-blob", qpc_blob::start)
}
