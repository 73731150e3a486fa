//! Where the password comes from: a file, a flag or the environment, or a person.

use std::{
    fs,
    io::{self, IsTerminal as _},
    path::Path,
};

use anyhow::Context as _;
use zeroize::Zeroizing;

use crate::{args::AccountArgs, exit::Usage};

/// The password of an account whose store is, or will be, in `folder`.
pub(crate) fn find(args: &AccountArgs, folder: &Path) -> anyhow::Result<Zeroizing<String>> {
    let password = match (&args.password_file, &args.password) {
        (Some(path), _) => read(path)?,
        (None, Some(password)) => Zeroizing::new(password.clone()),
        (None, None) => ask(&args.username, !folder.join("store.db").exists())?,
    };
    if password.is_empty() {
        return Err(Usage::EmptyPassword.into());
    }
    Ok(password)
}

fn read(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let content = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let content = Zeroizing::new(content);
    Ok(Zeroizing::new(content.lines().next().unwrap_or_default().to_owned()))
}

/// A new one is asked for twice: a slip would lock its owner out.
fn ask(username: &str, new: bool) -> anyhow::Result<Zeroizing<String>> {
    if !io::stdin().is_terminal() {
        return Err(Usage::NoPassword.into());
    }
    let prompt = |text: String| rpassword::prompt_password(text).map(Zeroizing::new);
    if !new {
        return Ok(prompt(format!("Password of {username}: "))?);
    }
    let password = prompt(format!("Choose a password for {username} on this device: "))?;
    if prompt("Once more: ".to_owned())? != password {
        return Err(Usage::PasswordsDiffer.into());
    }
    Ok(password)
}
