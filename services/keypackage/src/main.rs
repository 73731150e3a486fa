//! The keypackage service of a cluster.

fn main() -> std::process::ExitCode {
    qpc_chassis::run::main("qpc-keypackage", qpc_keypackage::start)
}
