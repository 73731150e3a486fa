//! The operator of an installation on Kubernetes.

fn main() -> std::process::ExitCode {
    qpc_operator::main()
}
