//! `qpc invite`, `/invite`, `/add`: more people in a group, by name or by a link.

use std::time::Duration;

use clap::Args;
use qpc_sdk::{ConversationId, Error};
use serde_json::json;

use crate::{
    engine::{Act, Cli, Effect, Item, On, Outcome, Row, Run, Said, Slash, Target, act, args},
    qr, records, show,
};

/// Hours that a link is good for, if nothing else is said.
const HOURS: u32 = 168;
/// A year: whoever wants one for ever wants another one then.
const MAX_HOURS: u32 = 366 * 24;

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "invite",
        aliases: &["add"],
        about: "Let people into a group, with all their devices, or make a link by which they come in",
        after: "Examples:\n  qpc invite \"#Book club\" carol dave\n  qpc invite club --link --uses 1 --hours 24\n\n\
            Exit code 10 if some of several people could not be reached; the others are in then.",
        args: args::<Invite>,
        run: Run::Act(act::<Invite>),
        mends: false,
    }),
    slash: &[Slash {
        names: &["invite"],
        form: "/invite [USER]... | [HOURS] [USES]",
        about: "let people into this group, or make a link by which they come in (168 hours, any number)",
        parse: |words| match words {
            [] => link(HOURS, 0),
            [hours] if is_number(hours) => link(hours.parse().ok()?, 0),
            [hours, uses] if is_number(hours) => link(hours.parse().ok()?, uses.parse().ok()?),
            users if users.iter().all(|user| !is_number(user) && !user.starts_with('-')) => people(users),
            _ => None,
        },
    }],
};

/// Its other name, which takes people alone.
pub(crate) const ADD: Row = Row {
    cli: None,
    slash: &[Slash {
        names: &["add"],
        form: "/add USER...",
        about: "let people into this group",
        parse: |words| if words.is_empty() { None } else { people(words) },
    }],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Invite {
    /// The group: #name, title or id
    group: Target,
    /// Who is to come in
    #[arg(required_unless_present = "link", conflicts_with = "link")]
    users: Vec<String>,
    /// Make a link, and draw its code
    #[arg(long)]
    link: bool,
    /// Time that a link is good for
    #[arg(long, default_value_t = HOURS, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_HOURS)))]
    hours: u32,
    /// Joins that a link is good for; 0 for any number
    #[arg(long, default_value_t = 0)]
    uses: u32,
}

fn link(hours: u32, uses: u32) -> Option<Said> {
    if !(1..=MAX_HOURS).contains(&hours) {
        return None;
    }
    Said::act(Invite { group: Target::Open, users: Vec::new(), link: true, hours, uses })
}

fn people(users: &[&str]) -> Option<Said> {
    let users = users.iter().map(|user| (*user).to_owned()).collect();
    Said::act(Invite { group: Target::Open, users, link: false, hours: HOURS, uses: 0 })
}

/// A user may have a name of digits; here it is `@1` then.
fn is_number(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_digit())
}

impl Act for Invite {
    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let info = self.group.find(on).await?;
        if self.link {
            return self.make_link(on, info.id).await;
        }
        let mut people = People::new(&self.users);
        let epoch = loop {
            match on.client.add(info.id, &people.wanted).await {
                Ok(epoch) => break epoch,
                Err(error) => people.without(error)?,
            }
        };
        let missed = people.missed;
        let after = on.client.conversation(info.id).await?;
        let outcome = if epoch == info.epoch && missed.is_empty() {
            Outcome::from(records::conversation_as(&after, "they are all there already"))
        } else {
            let members = on.client.members(info.id).await?.len();
            Outcome::from(records::conversation_as(&after, show::heading(&after, Some(members), 0))).then(Effect::Told)
        };
        Ok(missed.into_iter().fold(outcome, |outcome, why| outcome.note(why).partly()))
    }
}

impl Invite {
    async fn make_link(&self, on: &On, id: ConversationId) -> anyhow::Result<Outcome> {
        let valid = Duration::from_secs(u64::from(self.hours) * 3_600);
        let link = on.client.invite(id, valid, self.uses).await?.to_string();
        // One piece for the screen, so that nothing comes between the rows of the code.
        let picture = qr::draw(&link).map(|picture| format!("\n{picture}")).unwrap_or_default();
        let fields = json!({"link": link, "hours": self.hours, "max_uses": self.uses, "conversation": id.to_string()});
        let item = Item::new("qpc.invite_link/1", &fields, format!("{link}{picture}"));
        let (uses, hours) = (show::joins(self.uses), self.hours);
        Ok(Outcome::from(item)
            .note(format!("whoever has this can come in: {uses} in {hours} hours. /invites (qpc invites) lists it.")))
    }
}

/// Several people who are wanted, of whom some may turn out to be out of reach.
pub(super) struct People {
    pub(super) wanted: Vec<String>,
    /// A sentence about each who was left out.
    pub(super) missed: Vec<String>,
}

impl People {
    pub(super) fn new(users: &[String]) -> Self {
        let plain = |user: &String| user.strip_prefix('@').unwrap_or(user).to_owned();
        Self { wanted: users.iter().map(plain).collect(), missed: Vec::new() }
    }

    /// Leaves out who cannot be reached, for another try with the others. Each call has one fewer; it is an error if nobody
    /// is left, or it is not about one of them.
    pub(super) fn without(&mut self, error: Error) -> Result<(), Error> {
        let unreachable = match error.root() {
            Error::NoKeyPackage { username, .. } | Error::UnknownUser(username) => username.clone(),
            _ => return Err(error),
        };
        let before = self.wanted.len();
        self.wanted.retain(|user| *user != unreachable);
        if self.wanted.len() == before || self.wanted.is_empty() {
            return Err(error);
        }
        self.missed.push(format!("⚠ not in it: {error}"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_can_be_reached_are_not_held_up_by_the_others() {
        let mut people = People::new(&["@bob", "carol", "dave"].map(str::to_owned));
        let unknown = |user: &str| Error::UnknownUser(user.to_owned());
        people.without(unknown("carol")).unwrap();
        assert_eq!(people.wanted, ["bob", "dave"]);
        assert!(people.missed[0].contains("carol"), "{:?}", people.missed);
        assert!(people.without(unknown("erin")).is_err(), "was not asked for");
        assert!(people.without(Error::NotAllowed("add")).is_err(), "is about something else");
        people.without(unknown("bob")).unwrap();
        assert!(people.without(unknown("dave")).is_err(), "nobody is left");
    }
}
