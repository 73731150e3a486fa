//! `qpc demo`: see [`crate::demo`].

use crate::engine::Row;

#[cfg(feature = "embedded")]
pub(crate) const ROW: Row = {
    use clap::Args;

    use crate::engine::{Cli, Run, args, program};

    /// Its arguments.
    #[derive(Args, Debug)]
    struct Demo {}

    Row {
        cli: Some(Cli {
            name: "demo",
            about: "Start a server in this process and let two people talk",
            after: "Examples:\n  qpc demo\n  qpc demo --json | jq .suite",
            args: args::<Demo>,
            run: Run::Program(|matches, settings| {
                program(&matches, settings, |_: Demo, settings| crate::demo::run(settings))
            }),
            aliases: &[],
            mends: false,
        }),
        slash: &[],
    }
};

/// There is no server in this build.
#[cfg(not(feature = "embedded"))]
pub(crate) const ROW: Row = Row { cli: None, slash: &[] };
