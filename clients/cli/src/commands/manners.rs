//! `qpc privacy`, `/privacy`, `/typing`: what others are told of this account.

use clap::{Args, ValueEnum};
use qpc_sdk::Settings;
use serde_json::json;

use crate::engine::{Act, Cli, Needs, On, Outcome, Row, Run, Said, Slash, Target, act, args};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "privacy",
        aliases: &[],
        about: "Say what others are told of you, on all your devices",
        after: "Examples:\n  qpc privacy\n  qpc privacy typing off\n  qpc privacy requests off\n\n\
            typing: that you write, and you see that of others. read: what you have read. requests: conversations that\n\
            strangers begin wait until you accept them, and strangers are told nothing before.",
        args: args::<Privacy>,
        run: Run::Act(act::<Privacy>),
        mends: false,
    }),
    slash: &[
        Slash {
            names: &["privacy"],
            form: "/privacy [typing|read|requests on|off]",
            about: "what others are told of you: that you write, what you have read, whether strangers have to ask",
            parse: |words| match words {
                [] => Said::act(Privacy { what: None, value: None }),
                [what, value] => Said::act(Privacy {
                    what: Some(What::from_str(what, true).ok()?),
                    value: Some(OnOff::from_str(value, true).ok()?),
                }),
                _ => None,
            },
        },
        Slash {
            names: &["typing-notify"],
            form: "/typing-notify on|off",
            about: "tell others that you write, and see that of others, or neither",
            parse: |words| match words {
                [value] => {
                    let value = Some(OnOff::from_str(value, true).ok()?);
                    Said::act(Privacy { what: Some(What::Typing), value })
                }
                _ => None,
            },
        },
        Slash {
            names: &["typing"],
            form: "/typing",
            about: "tell the others that you are writing, for 10 seconds",
            parse: |words| if words.is_empty() { Said::act(Typing) } else { None },
        },
    ],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Privacy {
    /// Of what [default: say how it is]
    #[arg(requires = "value")]
    what: Option<What>,
    /// Whether they are told; of requests, whether strangers have to ask
    value: Option<OnOff>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    Typing,
    Read,
    Requests,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnOff {
    On,
    Off,
}

impl Act for Privacy {
    const NEEDS: Needs = Needs::Store;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let mut settings = on.client.settings().await?;
        if let (Some(what), Some(value)) = (self.what, self.value) {
            let field = match what {
                What::Typing => &mut settings.typing,
                What::Read => &mut settings.read_receipts,
                What::Requests => &mut settings.ask,
            };
            *field = value == OnOff::On;
            on.client.set_settings(settings).await?;
        }
        let Settings { typing, read_receipts, ask } = settings;
        let word = |on| if on { "on" } else { "off" };
        let line = format!("typing {} · read {} · requests {}", word(typing), word(read_receipts), word(ask));
        let fields = json!({"typing": typing, "read_receipts": read_receipts, "requests": ask});
        Ok(Outcome::item("qpc.privacy/1", &fields, line))
    }
}

#[derive(Debug)]
struct Typing;

impl Act for Typing {
    const NEEDS: Needs = Needs::Connection;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        on.client.typing(Target::Open.find(on).await?.id, true).await?;
        Ok(Outcome::default())
    }
}
