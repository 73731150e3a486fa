//! `qpc disappear`, `/disappear`: how long messages stay after they were read.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::{
    engine::{Act, Cli, Needs, On, Outcome, Row, Run, Said, Slash, Target, act, args},
    show,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "disappear",
        aliases: &[],
        about: "Have messages that are written from now on disappear after they were read",
        after: "Examples:\n  qpc disappear @bob 1d\n  qpc disappear @bob off\n  qpc disappear @bob        says how it is\n\n\
            30s, 5m, 1h, 1d, 1w. In a group that takes an admin. Who has read a message can have kept it.",
        args: args::<Disappear>,
        run: Run::Act(act::<Disappear>),
        mends: false,
    }),
    slash: &[Slash {
        names: &["disappear", "timer"],
        form: "/disappear [TIME|off]",
        about: "have messages disappear so long (30s, 5m, 1h, 1d, 1w) after they were read",
        parse: |words| match words {
            [] => Said::act(Disappear { target: Target::Open, time: None }),
            [time] => Said::act(Disappear { target: Target::Open, time: Some(parse(time).ok()?) }),
            _ => None,
        },
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Disappear {
    /// The conversation: @user, #name, title or id
    target: Target,
    /// How long they stay: a number with s, m, h, d or w; off for ever
    #[arg(value_parser = parse)]
    time: Option<Timer>,
}

/// A time, or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Timer(Option<Duration>);

fn parse(text: &str) -> Result<Timer, String> {
    if text == "off" {
        return Ok(Timer(None));
    }
    let wrong = || format!("{text:?} is no time: 30s, 5m, 1h, 1d, 1w or off");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return Err(wrong()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    // Ten years: whoever wants more wants none.
    match count.checked_mul(seconds) {
        Some(total @ 1..=315_360_000) => Ok(Timer(Some(Duration::from_secs(total)))),
        _ => Err(wrong()),
    }
}

impl Act for Disappear {
    const NEEDS: Needs = Needs::Connection;

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let id = self.target.find(on).await?.id;
        if let Some(Timer(time)) = self.time {
            on.client.set_timer(id, time).await?;
        }
        let after_ms = on.client.conversation(id).await?.expires_after_ms;
        let line = match after_ms {
            0 => "messages stay".to_owned(),
            ms => format!("messages disappear {} after they were read", show::span(ms)),
        };
        let fields = json!({"conversation": id.to_string(), "expires_after_ms": after_ms});
        Ok(Outcome::item("qpc.timer/1", &fields, line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(parse("90s"), Ok(Timer(Some(Duration::from_secs(90)))));
        assert_eq!(parse("1w"), Ok(Timer(Some(Duration::from_secs(604_800)))));
        assert_eq!(parse("off"), Ok(Timer(None)));
        for bad in ["", "5", "0s", "m", "-1h", "99999999w", "1y", "5ü"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
