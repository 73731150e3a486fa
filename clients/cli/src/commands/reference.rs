//! `qpc reference`: the page of the documentation that lists commands. Hidden; `cargo xtask docs` calls it.

use std::{fmt::Write as _, process::ExitCode};

use clap::{Arg, Args, Command};

use crate::{
    args::shown,
    config::KEYS,
    console::say,
    engine::{Cli, Row, Run, program},
    exit::CODES,
    repl,
    settings::Settings,
};

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "reference",
        about: "Write the reference of all commands as Markdown",
        after: "",
        args: |command| Reference::augment_args(command).hide(true),
        run: Run::Program(|matches, settings| program(&matches, settings, run)),
        aliases: &[],
        mends: false,
    }),
    slash: &[],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Reference {}

async fn run(_: Reference, _: Settings) -> anyhow::Result<ExitCode> {
    say(page()?.trim_end());
    Ok(ExitCode::SUCCESS)
}

/// The page.
fn page() -> Result<String, std::fmt::Error> {
    let mut page = String::from(
        "# Commands of `qpc`\n\n\
         <!-- Made by `cargo xtask docs` from the tables of clients/cli. Do not edit. -->\n\n\
         `qpc COMMAND --help` says the same with examples, `qpc man` makes manual pages, `qpc completions` the completions of\n\
         a shell. A conversation is named `@user`, `#name`, by its title, or by the beginning of its id; `notes` are those to\n\
         oneself.\n",
    );
    let mut root = shown();
    root.build();
    page.push_str("\n## Subcommands\n\n| command | what it does |\n|---|---|\n");
    let shown = || root.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help");
    for command in shown() {
        let aliases: Vec<_> = command.get_visible_aliases().map(|alias| format!("`{alias}`")).collect();
        let aliases = if aliases.is_empty() { String::new() } else { format!(" ({})", aliases.join(", ")) };
        writeln!(page, "| [`qpc {}`](#qpc-{0}){aliases} | {} |", command.get_name(), cell(&about(command)))?;
    }
    page.push_str("\n## Options of every command\n\n| option | variable | |\n|---|---|---|\n");
    for arg in root.get_arguments().filter(|arg| !arg.is_hide_set() && arg.is_global_set()) {
        let variable = arg.get_env().map(|name| format!("`{}`", name.to_string_lossy())).unwrap_or_default();
        writeln!(page, "| `{}` | {variable} | {} |", spelled(arg), cell(&help(arg)))?;
    }
    for command in shown() {
        one(&mut page, command, &format!("qpc {}", command.get_name()), 3)?;
    }
    page.push_str("\n## Commands of the chat\n\n`qpc repl --help-commands` lists them, too.\n\n| command | also | |\n|---|---|---|\n");
    for slash in repl::slashes() {
        let also: Vec<_> = slash.names[1..].iter().map(|name| format!("`/{name}`")).collect();
        writeln!(page, "| `{}` | {} | {} |", slash.form.replace('|', "\\|"), also.join(", "), cell(slash.about))?;
    }
    page.push_str("\n## Keys of the configuration file\n\n`qpc config path` says where it is. A key at the top is for every profile, one below `[profiles.NAME]` for that\none; `[aliases]` are commands of the chat by other names.\n\n| key | |\n|---|---|\n");
    for key in KEYS {
        writeln!(page, "| `{}` | {} |", key.name, cell(key.about))?;
    }
    page.push_str("\n## Exit codes\n\n| code | name | |\n|---|---|---|\n");
    for (code, name, meaning) in CODES {
        writeln!(page, "| {code} | {name} | {meaning} |")?;
    }
    Ok(page)
}

fn one(page: &mut String, command: &Command, name: &str, level: usize) -> std::fmt::Result {
    writeln!(page, "\n{} {name}\n\n{}.\n", "#".repeat(level), about(command))?;
    let usage = command.clone().render_usage().to_string();
    writeln!(page, "```text\n{}\n```", usage.trim_start_matches("Usage: ").replace(" [OPTIONS]", ""))?;
    let own: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| !arg.is_global_set() && !arg.is_hide_set() && arg.get_id() != "help")
        .collect();
    if !own.is_empty() {
        page.push_str("\n| argument | |\n|---|---|\n");
        for arg in own {
            writeln!(page, "| `{}` | {} |", spelled(arg).replace('|', "\\|"), cell(&help(arg)))?;
        }
    }
    if let Some(after) = command.get_after_help().map(ToString::to_string).filter(|after| !after.is_empty()) {
        writeln!(page, "\n```text\n{after}\n```")?;
    }
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        one(page, sub, &format!("{name} {}", sub.get_name()), level + 1)?;
    }
    Ok(())
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

fn help(arg: &Arg) -> String {
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let takes = arg.get_num_args().is_some_and(|range| range.takes_values());
    if defaults.is_empty() || arg.is_hide_default_value_set() || !takes {
        return help;
    }
    format!("{help} [default: {}]", defaults.join(" "))
}

/// `-u, --username <NAME>` or `[TEXT]`.
fn spelled(arg: &Arg) -> String {
    if arg.is_positional() {
        return arg.to_string();
    }
    match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(_)) => format!("-{short}, {arg}"),
        _ => arg.to_string(),
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
