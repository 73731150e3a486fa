//! `qpc config`: the configuration file.

use std::{fs, process::ExitCode};

use clap::{Args, Subcommand};
use serde_json::json;

use super::send::run_editor;
use crate::{
    config::{Config, KEYS},
    engine::{Cli, Item, Row, Run, args, program},
    exit::Usage,
    render::Render,
    settings::Settings,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "config",
        aliases: &[],
        about: "Look at the configuration file, or change it",
        after: "Examples:\n  qpc config set server chat.example:7000\n  qpc -P work config set username alice\n  \
            qpc config get\n  qpc config edit\n\n\
            With -P a value is of that profile alone. Keys: see qpc config get.",
        args: args::<Configure>,
        run: Run::Program(|matches, settings| program(&matches, settings, run)),
        mends: true,
    }),
    slash: &[],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Configure {
    #[command(subcommand)]
    action: ConfigAction,
}

/// What to do with the file.
#[derive(Subcommand, Debug)]
enum ConfigAction {
    /// Print what a key is set to, or all keys
    Get {
        /// Which one
        key: Option<String>,
    },
    /// Set a key
    Set {
        /// Which one
        key: String,
        /// To what
        value: String,
    },
    /// Take a key away
    Unset {
        /// Which one
        key: String,
    },
    /// Print where the file is
    Path,
    /// Open the file in an editor (VISUAL, EDITOR), and check it afterwards
    Edit,
}

async fn run(args: Configure, mut settings: Settings) -> anyhow::Result<ExitCode> {
    let render = Render::new(&settings);
    let profile = settings.globals.profile.clone();
    match args.action {
        ConfigAction::Get { key } => {
            settings.config.check()?;
            let one = key.is_some();
            let wanted = |name: &str| key.as_ref().is_none_or(|key| key == name);
            let keys: Vec<_> = KEYS.iter().filter(|known| wanted(known.name)).collect();
            if keys.is_empty() {
                return Err(Usage::Key(key.unwrap_or_default()).into());
            }
            for key in keys {
                let value = settings.configured(key.name);
                let shown = value.as_deref().unwrap_or("-");
                let line = if one { shown.to_owned() } else { format!("{:<14} {shown:<24} {}", key.name, key.about) };
                let fields = json!({"key": key.name, "value": value, "about": key.about});
                render.item(&Item::new("qpc.setting/1", &fields, line));
            }
        }
        ConfigAction::Set { key, value } => {
            settings.config.set(profile.as_deref(), &key, Some(&value))?;
            settings.config.save()?;
            let line = format!("{key} = {value}");
            render.item(&Item::new("qpc.setting/1", &json!({"key": key, "value": value, "profile": profile}), line));
        }
        ConfigAction::Unset { key } => {
            settings.config.set(profile.as_deref(), &key, None)?;
            settings.config.save()?;
            let fields = json!({"key": key, "value": null, "profile": profile});
            render.item(&Item::new("qpc.setting/1", &fields, format!("{key} is not set any more")));
        }
        ConfigAction::Path => {
            let path = &settings.config.path;
            render.item(&Item::new("qpc.path/1", &json!({ "path": path }), path.display().to_string()));
        }
        ConfigAction::Edit => edit(&settings, &render)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn edit(settings: &Settings, render: &Render) -> anyhow::Result<()> {
    let path = settings.config.path.clone();
    if !path.exists() {
        // Made as everywhere: its folder, and for its owner alone.
        settings.config.save()?;
    }
    let editor = settings.globals.around.editor();
    let editor = editor.filter(|editor| !editor.is_empty()).ok_or(Usage::NoEditor)?;
    run_editor(editor, &path)?;
    let edited = Config::load(path.clone())?;
    edited.check()?;
    let mistakes = edited.mistakes();
    mistakes.iter().for_each(|mistake| render.note(format_args!("⚠ {mistake}")));
    let fields = json!({"path": path, "mistakes": mistakes, "bytes": fs::metadata(&path)?.len()});
    render.item(&Item::new("qpc.path/1", &fields, path.display().to_string()));
    Ok(())
}
