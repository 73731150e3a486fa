//! The auth service of a cluster.

fn main() -> std::process::ExitCode {
    qpc_chassis::run::main("qpc-auth", qpc_auth::start)
}
