//! The auth service of a cluster.

fn main() -> std::process::ExitCode {
    qpc_chassis::run::main("qpc-auth", Some(qpc_auth::SCHEMA), qpc_auth::start)
}
