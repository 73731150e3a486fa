//! `qpc react`, `/react`, `/unreact`: a sign under a message.

use clap::Args;
use serde_json::json;

use super::info::{Wanted, find, wanted};
use crate::{
    engine::{Act, Cli, Effect, Needs, On, Outcome, Row, Run, Said, Slash, Target, act, args},
    show, text,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "react",
        aliases: &[],
        about: "Put a sign under a message, or take it away",
        after: "Examples:\n  qpc react @bob - :thumbsup:\n  qpc react club 3f2a 🎉 --remove",
        args: args::<React>,
        run: Run::Act(act::<React>),
        mends: false,
    }),
    slash: &[
        Slash {
            names: &["react"],
            form: "/react SIGN [N]",
            about: "put SIGN, an emoji or :its name:, under message N, or the last one",
            parse: |words| parse(words, false),
        },
        Slash {
            names: &["unreact"],
            form: "/unreact SIGN [N]",
            about: "take your SIGN away from message N, or the last one",
            parse: |words| parse(words, true),
        },
    ],
};

/// Its arguments.
#[derive(Args, Debug)]
struct React {
    /// The conversation: @user, #name, title or id
    target: Target,
    /// Beginning of the message's id; - for the last one
    #[arg(value_parser = wanted)]
    message: Wanted,
    /// An emoji, its name as :name:, or another short sign
    sign: String,
    /// Take it away
    #[arg(long)]
    remove: bool,
}

fn parse(words: &[&str], remove: bool) -> Option<Said> {
    let (sign, message) = match words {
        [sign] => (sign, Wanted::last()),
        [sign, number] => (sign, Wanted::number(number)?),
        _ => return None,
    };
    Said::act(React { target: Target::Open, message, sign: (*sign).to_owned(), remove })
}

impl Act for React {
    const NEEDS: Needs = Needs::Connection;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let (info, message) = find(on, &self.target, self.message.as_deref()).await?;
        let sign = emoji(&self.sign);
        if self.remove {
            on.client.unreact(info.id, message.reference(), &sign).await?;
        } else {
            on.client.react(info.id, message.reference(), &sign).await?;
        }
        let under = text::short(&show::body(&message));
        let line = match self.remove {
            true => format!("{} is gone from: {under}", text::label(&sign)),
            false => format!("{} under: {under}", text::label(&sign)),
        };
        let fields = json!({"conversation": info.id.to_string(), "message": message.id.to_string(), "sign": sign, "removed": self.remove});
        Ok(Outcome::item("qpc.reaction/1", &fields, line).then(Effect::None))
    }
}

/// The emoji of a `:name:`, or what was typed.
fn emoji(sign: &str) -> String {
    let name = sign.strip_prefix(':').and_then(|rest| rest.strip_suffix(':'));
    name.and_then(emojis::get_by_shortcode).map_or_else(|| sign.to_owned(), |emoji| emoji.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::emoji;

    #[test]
    fn names_stand_for_their_emoji() {
        assert_eq!((emoji(":tada:"), emoji("🎉"), emoji(":nothing:")), ("🎉".into(), "🎉".into(), ":nothing:".into()));
    }
}
