//! What an idle connection costs the gateway.

use anyhow::{Context, Result};
use qpc_sdk::transport::Connector;
use qpc_wire::{methods::Ping, v1::PingRequest};

use crate::Scale;

/// Growth of the resident memory of process `pid`, in KiB for each of many connections that have made one call.
pub(crate) async fn kib_per_connection(connector: &Connector, pid: u32, scale: Scale) -> Result<f64> {
    let before = resident_kib(pid)?;
    let mut connections = Vec::with_capacity(scale.idle_connections);
    for _ in 0..scale.idle_connections {
        let connection = connector.connect().await?;
        connection.0.call::<Ping>(&PingRequest::default()).await?;
        connections.push(connection);
    }
    let after = resident_kib(pid)?;
    for (connection, _) in &connections {
        anyhow::ensure!(!connection.is_closed(), "a connection was closed while idle");
    }
    Ok((after - before) / connections.len() as f64)
}

fn resident_kib(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
