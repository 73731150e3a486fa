//! The gateway as a process of the cluster.

use std::process::ExitCode;

use qpc_gateway::Config;

fn main() -> ExitCode {
    qpc_chassis::run::main("qpc-gateway", None, async |deps, config: Config| {
        qpc_gateway::start(deps, config).await.map(|_running| ())
    })
}
