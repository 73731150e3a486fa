//! `qpc invites`, `/invites`, `/revoke-invite`: the links into a group.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    engine::{Act, Cli, Effect, On, Outcome, Row, Run, Said, Slash, Target, act, args},
    exit::Usage,
    records, show,
};

/// Shortest beginning of a key that names an invite.
const MIN_KEY: usize = 6;

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "invites",
        about: "List the links into a group, or make one void",
        after: "Examples:\n  qpc invites club\n  qpc invites club revoke 1",
        args: args::<Invites>,
        run: Run::Act(act::<Invites>),
        aliases: &[],
        mends: false,
    }),
    slash: &[
        Slash {
            names: &["invites"],
            form: "/invites",
            about: "the invites of this group",
            parse: |words| words.is_empty().then(|| Said::act(Invites { group: Target::Open, action: None })).flatten(),
        },
        Slash {
            names: &["revoke-invite", "uninvite"],
            form: "/revoke-invite NUMBER",
            about: "make an invite of /invites void",
            parse: |words| match words {
                [number] => {
                    number.parse::<usize>().ok()?;
                    let action = Some(InvitesAction::Revoke { invite: (*number).to_owned() });
                    Said::act(Invites { group: Target::Open, action })
                }
                _ => None,
            },
        },
    ],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Invites {
    /// The group: #name, title or id
    group: Target,
    #[command(subcommand)]
    action: Option<InvitesAction>,
}

/// What to do with them.
#[derive(Subcommand, Debug)]
enum InvitesAction {
    /// List them; what happens without a command
    List,
    /// Make one void
    Revoke {
        /// Its number in the list, or the beginning of its key
        invite: String,
    },
}

impl Act for Invites {
    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        let id = self.group.find(on).await?.id;
        let invites = on.client.invites(id).await?;
        let keys: Vec<[u8; 32]> = invites.iter().map(|invite| invite.key).collect();
        let Some(InvitesAction::Revoke { invite }) = &self.action else {
            let outcome = invites.iter().map(records::invite).collect::<Outcome>().then(Effect::Invites(id, keys));
            return Ok(if invites.is_empty() { outcome.note("no invites: /invite makes one") } else { outcome });
        };
        let key = self.choose(on, id, &keys, invite)?;
        let epoch = on.client.revoke_invite(id, key).await?;
        let fields = json!({"key": show::hex(&key), "revoked": true, "epoch": epoch});
        Ok(Outcome::item("qpc.invite_revoked/1", &fields, format!("invite {invite} is void (epoch {epoch})")))
    }
}

impl Invites {
    /// In a chat, a number counts only if its list was looked at.
    fn choose(&self, on: &On, id: qpc_sdk::ConversationId, keys: &[[u8; 32]], wanted: &str) -> Result<[u8; 32], Usage> {
        let listed = on.listed.invites.as_ref().filter(|(of, _)| *of == id).map(|(_, keys)| keys.as_slice());
        let numbered = if self.group == Target::Open { listed.unwrap_or_default() } else { keys };
        let by_number = || numbered.get(wanted.parse::<usize>().ok()?.checked_sub(1)?);
        let by_key = || match wanted.len() >= MIN_KEY {
            true => keys.iter().find(|key| show::hex(&**key).starts_with(&wanted.to_ascii_lowercase())),
            false => None,
        };
        by_number().or_else(by_key).copied().ok_or_else(|| Usage::NoInvite(wanted.to_owned()))
    }
}
