//! The admin API of a cluster.

fn main() -> std::process::ExitCode {
    qpc_chassis::run::main("qpc-admin", None, qpc_admin::start_process)
}
