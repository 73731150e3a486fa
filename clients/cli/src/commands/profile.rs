//! `qpc profile`: several lives on one machine.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    engine::{Cli, Item, Row, Run, args, program},
    exit::Usage,
    render::Render,
    settings::Settings,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "profile",
        aliases: &[],
        about: "List the profiles of the configuration file, or choose the one that is used without -P",
        after: "Examples:\n  qpc -P work config set server chat.example:7000\n  qpc profile use work\n  qpc profile list\n\n\
            A profile has settings of its own, and a folder of its own for its accounts.",
        args: args::<Profile>,
        run: Run::Program(|matches, settings| program(&matches, settings, run)),
        mends: false,
    }),
    slash: &[],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Profile {
    #[command(subcommand)]
    action: Option<ProfileAction>,
}

/// What to do with profiles.
#[derive(Subcommand, Debug)]
enum ProfileAction {
    /// List them; what happens without a command
    List,
    /// Use one from now on
    Use {
        /// Its name
        name: String,
    },
}

async fn run(args: Profile, mut settings: Settings) -> anyhow::Result<ExitCode> {
    let render = Render::new(&settings);
    let mut names = settings.config.profiles();
    match args.action {
        None | Some(ProfileAction::List) => {
            if !names.contains(&settings.profile) {
                names.push(settings.profile.clone());
            }
            names.sort();
            for name in names {
                let current = name == settings.profile;
                let of = Settings { profile: name.clone(), ..settings.clone() };
                let (server, username) = (of.server(), of.configured("username"));
                let mark = if current { '*' } else { ' ' };
                let line = format!("{mark} {name} · {} at {server}", username.as_deref().unwrap_or("nobody yet"));
                let fields = json!({"name": name, "current": current, "server": server, "username": username});
                render.item(&Item::new("qpc.profile/1", &fields, line));
            }
        }
        Some(ProfileAction::Use { name }) => {
            if !names.contains(&name) && name != "default" {
                return Err(Usage::NoProfile(name).into());
            }
            settings.config.set(None, "profile", Some(&name))?;
            settings.config.save()?;
            let fields = json!({"name": name, "current": true});
            render.item(&Item::new("qpc.profile/1", &fields, format!("{name} is used from now on")));
        }
    }
    Ok(ExitCode::SUCCESS)
}
