//! `cargo xtask chart`: the Helm chart, rendered and judged without a cluster.

mod programs;

use anyhow::Result;

use programs::Programs;

/// Builds and installs what the checks run, so that they later need no network.
pub(crate) fn tools() -> Result<bool> {
    let found = Programs::find();
    for (name, path) in found.named() {
        println!(
            "{name:<20} {}",
            path.as_ref().map_or_else(|| "missing".to_owned(), |path| path.display().to_string())
        );
    }
    Ok(found.named().iter().all(|(_, path)| path.is_some()))
}
