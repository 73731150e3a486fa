//! `qpc whoami`, `/whoami`: who this device is, from its own store.

use clap::Args;

use crate::{
    engine::{Act, Cli, Needs, On, Outcome, Row, Run, Said, Slash, act, args},
    records,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "whoami",
        about: "Say who this device is, from its own store",
        after: "Example:\n  qpc whoami -u alice --json",
        args: args::<Whoami>,
        run: Run::Act(act::<Whoami>),
        aliases: &[],
        mends: false,
    }),
    slash: &[Slash {
        names: &["whoami"],
        form: "/whoami",
        about: "who you are",
        parse: |words| words.is_empty().then_some(()).and_then(|()| Said::act(Whoami {})),
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Whoami {}

impl Act for Whoami {
    const NEEDS: Needs = Needs::Store;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let (who, stats) = (on.client.whoami().await?, on.client.stats().await?);
        Ok(records::identification(&who, &stats, &on.place.server).into())
    }
}
