//! `cargo xtask sim`: simulations of whole installations (`libs/testkit/src/sim`), optimised.

use std::time::Duration;

use anyhow::Result;

use crate::{
    reaper::Reaper,
    repo,
    step::{self, Show},
};

/// Building everything on a slow machine, and millions of seeds.
const WITHIN: Duration = Duration::from_secs(24 * 3600);

/// What to simulate.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many seeds
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first one; `--seeds 1` prints all that happens
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// One JSON object on stdout
    #[arg(long)]
    json: bool,
    /// Without optimisation: slower to run, quicker to build
    #[arg(long)]
    dev: bool,
}

/// Returns whether nothing was found.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let mut reaper = Reaper::start()?;
    let mut args: Vec<String> =
        ["run", "--quiet", "--package", "qpc-testkit", "--example", "sim"].map(Into::into).into();
    if !options.dev {
        args.push("--release".into());
    }
    args.extend(["--", "--seeds", &options.seeds.to_string(), "--from", &options.from.to_string()].map(Into::into));
    if options.json {
        args.push("--json".into());
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    Ok(step::run(&mut reaper, "sim", &mut repo::cargo(&args), WITHIN, Show::Yes)?.success)
}
