//! Where the password comes from: a file descriptor, a file, a flag or the environment, the file that the configuration
//! names, or a person.

use std::{
    fs,
    io::{self, IsTerminal as _},
    path::Path,
};

use anyhow::Context as _;
use zeroize::Zeroizing;

use crate::{console::complain, exit::Usage, settings::Settings};

/// What kind of password a person is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// One that exists.
    Known,
    /// One that is made up now.
    New,
}

/// The password of `username`.
pub(crate) fn find(settings: &Settings, username: &str, asked: Asked) -> anyhow::Result<Zeroizing<String>> {
    let password = match given(settings)? {
        Some(password) => password,
        None => ask(settings, username, asked)?,
    };
    if password.is_empty() {
        return Err(Usage::EmptyPassword.into());
    }
    Ok(password)
}

/// The password that nobody has to be asked for.
pub(crate) fn given(settings: &Settings) -> anyhow::Result<Option<Zeroizing<String>>> {
    let globals = &settings.globals;
    if let Some(descriptor) = globals.password_fd {
        return read(Path::new(&format!("/dev/fd/{descriptor}"))).map(Some);
    }
    if let Some(path) = &globals.password_file {
        return read(path).map(Some);
    }
    if let Some(password) = &globals.password {
        return Ok(Some(Zeroizing::new(password.clone())));
    }
    settings.configured("password_file").map(|path| read(Path::new(&path))).transpose()
}

/// Says so if the password stands where others can see it.
pub(crate) fn warn_of_flag(by_flag: bool, quiet: bool) {
    if by_flag && !quiet {
        complain("qpc: warning: others on this machine can see --password; a file or a prompt is safer");
    }
}

/// Whether there is somebody to ask.
pub(crate) fn can_ask(settings: &Settings) -> Result<(), Usage> {
    if !settings.globals.no_input && io::stdin().is_terminal() { Ok(()) } else { Err(Usage::NoPassword) }
}

fn read(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let content = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let content = Zeroizing::new(content);
    Ok(Zeroizing::new(content.lines().next().unwrap_or_default().to_owned()))
}

/// A new one is asked for twice: a slip would lock its owner out.
fn ask(settings: &Settings, username: &str, asked: Asked) -> anyhow::Result<Zeroizing<String>> {
    can_ask(settings)?;
    let prompt = |text: String| rpassword::prompt_password(text).map(Zeroizing::new);
    if asked == Asked::Known {
        return Ok(prompt(format!("Password of {username}: "))?);
    }
    let password = prompt(format!("Choose a password for {username} on this device: "))?;
    if prompt("Once more: ".to_owned())? != password {
        return Err(Usage::PasswordsDiffer.into());
    }
    Ok(password)
}
