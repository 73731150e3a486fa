//! The installation on one machine, by the loader that `docker compose` has, without an engine.

use anyhow::Result;

use super::{argument, promtool, script, skipped};
use crate::{reaper::Reaper, report::Count, tools};

/// The specification's own; its program is named after its folder.
const LOADER: &str = "github.com/compose-spec/compose-go/v2/cmd@v2.16.2";
const PACKAGES: [&str; 1] = ["PyYAML==6.0.3"];

pub(super) fn check(reaper: &mut Reaper) -> Result<Count> {
    let Some(loader) = tools::go_tool("cmd", LOADER) else { return Ok(skipped("compose-go, which is built by Go")) };
    script(reaper, "compose.py", &PACKAGES, &[&argument(Some(&loader)), &argument(promtool().as_deref())])
}
