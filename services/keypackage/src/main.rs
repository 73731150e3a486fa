//! The keypackage service of a cluster.

fn main() -> std::process::ExitCode {
    qpc_chassis::run::main("qpc-keypackage", Some(qpc_keypackage::SCHEMA), qpc_keypackage::start)
}
