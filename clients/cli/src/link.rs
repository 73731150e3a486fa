//! `qpc link`: this machine becomes a further device of an account that another device has.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use qpc_sdk::{Client, Error, Event, Identification, Linked, Linking, Runtime, transport::Trust};
use serde::Serialize;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::{
    args::{LinkArgs, is_device},
    console::{complain, say},
    exit::{Usage, of_sdk},
    password::{self, Asked},
    qr,
};

/// Time between two words about the waiting.
const WORD_EVERY: Duration = Duration::from_secs(60);
/// Time for a server that cannot be reached at the moment: the code was typed, which should not have been in vain.
const LOGIN_WITHIN: Duration = Duration::from_secs(60);
/// Passwords that a person may try.
const TRIES: u32 = 3;
/// Exit code of a login that was refused.
const REFUSED: u8 = 3;

/// The first line of `--json`.
#[derive(Serialize)]
struct Offered {
    code: String,
}

/// The second one. Fields are only ever added.
#[derive(Serialize)]
struct Made {
    username: String,
    account: String,
    device: String,
    data: PathBuf,
}

/// Ctrl-C is left to do what it does: until the device is complete there is nothing in its place.
pub(crate) async fn run(args: LinkArgs) -> anyhow::Result<ExitCode> {
    // What can fail does so before a person goes to another device.
    let trust = args.device.server.trust()?;
    match password::given(&args.device)? {
        Some(password) if password.is_empty() => return Err(Usage::EmptyPassword.into()),
        Some(_) => {}
        None => password::can_ask()?,
    }
    match (&args.device.data, &args.username) {
        (Some(folder), _) => check_free(folder)?,
        (None, Some(name)) => check_free(&args.device.folder(name)?)?,
        (None, None) => {}
    }
    let linked = offer(&args, &trust).await?;
    if let Some(wanted) = args.username.as_ref().filter(|wanted| **wanted != linked.username) {
        return Err(Usage::OtherAccount { found: linked.username, wanted: wanted.clone() }.into());
    }
    let folder = args.device.folder(&linked.username)?;
    check_free(&folder)?;
    let who = make(&args, &trust, &linked, &folder).await?;
    if args.json {
        let (account, device) = (who.account.to_string(), who.device.to_string());
        say(serde_json::to_string(&Made { username: who.username, account, device, data: folder })?);
    } else {
        say(format_args!("This is a device of {} now.", who.username));
        say(format_args!("account   {}", who.account));
        say(format_args!("device    {}", who.device));
        say(format_args!("store     {}", folder.display()));
        say("Conversations and history come by themselves as long as the other device is online.");
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows a code and waits until it was typed at a device of the account.
async fn offer(args: &LinkArgs, trust: &Trust) -> anyhow::Result<Linked> {
    let server = &args.device.server;
    let linking = Linking::begin(&server.server, server.server_name.as_deref(), trust, Runtime::system()).await?;
    let code = linking.code().to_string();
    if args.json {
        say(serde_json::to_string(&Offered { code: code.clone() })?);
    }
    complain("Type this code at a device of the account (/link CODE in its chat, or: qpc devices link CODE),");
    complain("or scan it. Whoever types it gives this machine the account; show it to nobody else.\n");
    complain(format_args!("    {code}\n"));
    if let Some(picture) = qr::draw(&code) {
        complain(picture);
    }
    let until = Instant::now() + args.wait.time();
    let mut words = tokio::time::interval(WORD_EVERY);
    let finish = linking.finish(args.wait.time());
    tokio::pin!(finish);
    loop {
        tokio::select! {
            linked = &mut finish => return Ok(linked?),
            _ = words.tick() => {
                let left = until.saturating_duration_since(Instant::now()).as_secs_f64();
                complain(format_args!("waiting, {left:.0} s left; Ctrl-C ends it"));
            }
        }
    }
}

/// Makes the device, beside its place; it is put there when it is one.
async fn make(args: &LinkArgs, trust: &Trust, linked: &Linked, folder: &Path) -> anyhow::Result<Identification> {
    let beside = beside(folder);
    // What an interrupted try has left.
    clear(&beside)?;
    let mut tries = 0;
    loop {
        tries += 1;
        let password = password::find(&args.device, &linked.username, Asked::Known)?;
        match log_in(args, trust, linked, &beside, password).await {
            Ok(who) => {
                fs::rename(&beside, folder).with_context(|| format!("cannot make {}", folder.display()))?;
                return Ok(who);
            }
            Err(error) => {
                clear(&beside)?;
                let by_person = password::given(&args.device)?.is_none();
                if of_sdk(&error) == REFUSED && by_person && tries < TRIES {
                    complain(format_args!("{error}; once more"));
                    continue;
                }
                return Err(error.into());
            }
        }
    }
}

async fn log_in(
    args: &LinkArgs,
    trust: &Trust,
    linked: &Linked,
    folder: &Path,
    password: Zeroizing<String>,
) -> Result<Identification, Error> {
    let mut options = args.device.options(folder.to_owned(), &linked.username, password, trust.clone());
    options.account_key = Some(linked.account_key.clone());
    let client = Client::open(options).await?;
    let done = match connect(&client).await {
        Ok(()) => client.whoami().await,
        Err(error) => Err(error),
    };
    client.close().await;
    done
}

/// Connects, with some patience.
async fn connect(client: &Client) -> Result<(), Error> {
    let mut events = client.events();
    let error = match client.connect().await {
        Err(error) if error.is_transient() => error,
        done => return done,
    };
    complain(format_args!("not connected ({error}); trying again"));
    let outcome = async {
        loop {
            match events.next().await {
                Some(Event::Connected) => return Ok(()),
                Some(Event::LoginRefused(error)) => return Err(Error::Failed(error)),
                Some(_) => {}
                None => return Err(Error::Interrupted),
            }
        }
    };
    tokio::time::timeout(LOGIN_WITHIN, outcome).await.unwrap_or(Err(error))
}

/// A store can be made in a folder that is not there, or is empty.
fn check_free(folder: &Path) -> anyhow::Result<()> {
    if is_device(folder) {
        return Err(Usage::DeviceExists(folder.to_owned()).into());
    }
    match fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(Usage::NotEmpty(folder.to_owned()).into()),
            None => Ok(()),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot use {}", folder.display())),
    }
}

/// Where a device is made that is to be in `folder`.
fn beside(folder: &Path) -> PathBuf {
    // Without the slash that some put after a folder.
    let mut name = folder.components().as_path().as_os_str().to_owned();
    name.push(".linking");
    name.into()
}

fn clear(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_made_where_nothing_is() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("alice");
        assert!(check_free(&place).is_ok());
        fs::create_dir(&place).unwrap();
        assert!(check_free(&place).is_ok());
        fs::write(place.join("letter.txt"), "dear bob").unwrap();
        assert!(matches!(check_free(&place).unwrap_err().downcast(), Ok(Usage::NotEmpty(_))));
        fs::write(place.join("store.db"), "").unwrap();
        assert!(matches!(check_free(&place).unwrap_err().downcast(), Ok(Usage::DeviceExists(_))));
        assert_eq!(beside(&place), folder.path().join("alice.linking"));
        assert_eq!(beside(&place.join("")), folder.path().join("alice.linking"));
    }
}
