//! `qpc accept`, `/accept`, `qpc decline`, `/decline`: conversations that strangers have begun.

use clap::Args;

use crate::{
    engine::{Act, Cli, Effect, Needs, On, Outcome, Row, Run, Said, Slash, Target, act, args},
    records, show,
};

pub(crate) const ACCEPT: Row = Row {
    cli: Some(Cli {
        name: "accept",
        aliases: &[],
        about: "Take part in a conversation that a stranger has begun",
        after: "Example:\n  qpc accept @eve\n\nWriting there does the same. qpc privacy requests off lets strangers in without asking.",
        args: args::<Accept>,
        run: Run::Act(act::<Accept>),
        mends: false,
    }),
    slash: &[Slash {
        names: &["accept"],
        form: "/accept [CONVERSATION]",
        about: "take part in a conversation that a stranger has begun",
        parse: |words| Said::act(Accept { target: target(words) }),
    }],
};

pub(crate) const DECLINE: Row = Row {
    cli: Some(Cli {
        name: "decline",
        aliases: &[],
        about: "Leave a conversation that a stranger has begun, and show it no more",
        after: "Example:\n  qpc decline @eve && qpc block eve",
        args: args::<Decline>,
        run: Run::Act(act::<Decline>),
        mends: false,
    }),
    slash: &[Slash {
        names: &["decline"],
        form: "/decline [CONVERSATION]",
        about: "leave a conversation that a stranger has begun, and show it no more",
        parse: |words| Said::act(Decline { target: target(words) }),
    }],
};

fn target(words: &[&str]) -> Target {
    match words {
        [] => Target::Open,
        words => Target::typed(&words.join(" ")),
    }
}

/// Its arguments.
#[derive(Args, Debug)]
struct Accept {
    /// The conversation: @user, #name, title or id
    target: Target,
}

/// Its arguments.
#[derive(Args, Debug)]
struct Decline {
    /// The conversation: @user, #name, title or id
    target: Target,
}

impl Act for Accept {
    const NEEDS: Needs = Needs::Connection;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let id = self.target.find(on).await?.id;
        on.client.accept(id).await?;
        let info = on.client.conversation(id).await?;
        Ok(records::conversation_as(&info, format!("you take part in {} now", show::title(&info))).into())
    }
}

impl Act for Decline {
    const NEEDS: Needs = Needs::Connection;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let id = self.target.find(on).await?.id;
        on.client.decline(id).await?;
        let info = on.client.conversation(id).await?;
        let outcome = Outcome::from(records::conversation_as(&info, format!("{} was declined", show::title(&info))));
        Ok(outcome.then(Effect::Gone(id)))
    }
}
