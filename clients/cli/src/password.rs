//! Where the password comes from: a file, a flag or the environment, or a person.

use std::{
    fs,
    io::{self, IsTerminal as _},
    path::Path,
};

use anyhow::Context as _;
use zeroize::Zeroizing;

use crate::{args::DeviceArgs, exit::Usage};

/// What kind of password a person is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// One that exists.
    Known,
    /// One that is made up now.
    New,
}

/// The password of `username`.
pub(crate) fn find(args: &DeviceArgs, username: &str, asked: Asked) -> anyhow::Result<Zeroizing<String>> {
    let password = match given(args)? {
        Some(password) => password,
        None => ask(username, asked)?,
    };
    if password.is_empty() {
        return Err(Usage::EmptyPassword.into());
    }
    Ok(password)
}

/// The password that nobody has to be asked for.
pub(crate) fn given(args: &DeviceArgs) -> anyhow::Result<Option<Zeroizing<String>>> {
    match (&args.password_file, &args.password) {
        (Some(path), _) => Ok(Some(read(path)?)),
        (None, password) => Ok(password.clone().map(Zeroizing::new)),
    }
}

/// Whether there is somebody to ask.
pub(crate) fn can_ask() -> Result<(), Usage> {
    if io::stdin().is_terminal() { Ok(()) } else { Err(Usage::NoPassword) }
}

fn read(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let content = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let content = Zeroizing::new(content);
    Ok(Zeroizing::new(content.lines().next().unwrap_or_default().to_owned()))
}

/// A new one is asked for twice: a slip would lock its owner out.
fn ask(username: &str, asked: Asked) -> anyhow::Result<Zeroizing<String>> {
    can_ask()?;
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
