//! `qpc link`: this machine becomes a further device of an account that another device has.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use qpc_sdk::{Client, Error, Event, Identification, Linked, Linking, Runtime};
use serde_json::json;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::{
    args::WaitArgs,
    console::complain,
    engine::{Cli, Item, Row, Run, args, program},
    exit::{Usage, of_sdk},
    password::{self, Asked},
    qr,
    render::Render,
    settings::{Place, Settings, is_device},
};

/// Time between two words about the waiting.
const WORD_EVERY: Duration = Duration::from_secs(60);
/// Time for a server that cannot be reached at the moment: the code was typed, which should not have been in vain.
const LOGIN_WITHIN: Duration = Duration::from_secs(60);
/// Passwords that a person may try.
const TRIES: u32 = 3;
/// Exit code of a login that was refused.
const REFUSED: u8 = 3;

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "link",
        about: "Make this machine a further device of an account that another device has",
        after: "Examples:\n  qpc link --server chat.example:7000 --ca-cert ca.pem\n  \
            qpc link --password-file pw.txt --json\n\n\
            Type the code at a device of the account: /link CODE in its chat, or qpc devices add CODE.\n\
            With --json, standard output is two lines: qpc.link_code/1, then qpc.linked/1.",
        args: args::<WaitArgs>,
        run: Run::Program(|matches, settings| program(&matches, settings, run)),
        aliases: &[],
        mends: false,
    }),
    slash: &[],
};

/// Ctrl-C is left to do what it does: until the device is complete there is nothing in its place.
async fn run(wait: WaitArgs, settings: Settings) -> anyhow::Result<ExitCode> {
    // What can fail does so before a person goes to another device.
    let (place, render) = (settings.place()?, Render::new(&settings));
    match password::given(&settings)? {
        Some(password) if password.is_empty() => return Err(Usage::EmptyPassword.into()),
        Some(_) => {}
        None => password::can_ask(&settings)?,
    }
    let wanted = settings.globals.username.clone();
    match (&settings.globals.data_dir, &wanted) {
        (Some(folder), _) => check_free(folder)?,
        (None, Some(name)) => check_free(&settings.folder(name)?)?,
        (None, None) => {}
    }
    let linked = offer(wait, &place, &render).await?;
    if let Some(wanted) = wanted.filter(|wanted| *wanted != linked.username) {
        return Err(Usage::OtherAccount { found: linked.username, wanted }.into());
    }
    let folder = settings.folder(&linked.username)?;
    check_free(&folder)?;
    let who = make(&settings, &place, &linked, &folder).await?;
    let (account, device) = (who.account.to_string(), who.device.to_string());
    let lines = [
        format!("This is a device of {} now.", who.username),
        format!("account   {account}"),
        format!("device    {device}"),
        format!("store     {}", folder.display()),
    ];
    let fields = json!({"username": who.username, "account": account, "device": device, "data": folder});
    render.item(&Item::new("qpc.linked/1", &fields, lines.join("\n")));
    render.note(
        "The other device gives conversations and history while it is online; qpc sync, or a chat, takes them in.",
    );
    Ok(ExitCode::SUCCESS)
}

/// Shows a code and waits until it was typed at a device of the account.
async fn offer(wait: WaitArgs, place: &Place, render: &Render) -> anyhow::Result<Linked> {
    let (server, within) = (&place.server, Duration::from_secs(wait.wait));
    let linking = Linking::begin(server, place.server_name.as_deref(), &place.trust, Runtime::system()).await?;
    let code = linking.code().to_string();
    if render.is_json() {
        render.item(&Item::new("qpc.link_code/1", &json!({"code": code}), ""));
    }
    complain("Type this code at a device of the account (/link CODE in its chat, or: qpc devices add CODE),");
    complain("or scan it. Whoever types it gives this machine the account; show it to nobody else.\n");
    complain(format_args!("    {code}\n"));
    if let Some(picture) = qr::draw(&code) {
        complain(picture);
    }
    let until = Instant::now() + within;
    let mut words = tokio::time::interval(WORD_EVERY);
    let finish = linking.finish(within);
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
async fn make(settings: &Settings, place: &Place, linked: &Linked, folder: &Path) -> anyhow::Result<Identification> {
    let beside = beside(folder);
    // What an interrupted try has left.
    clear(&beside)?;
    let mut tries = 0;
    loop {
        tries += 1;
        let password = password::find(settings, &linked.username, Asked::Known)?;
        match log_in(settings, place, linked, &beside, password).await {
            Ok(who) => {
                fs::rename(&beside, folder).with_context(|| format!("cannot make {}", folder.display()))?;
                return Ok(who);
            }
            Err(error) => {
                clear(&beside)?;
                let by_person = password::given(settings)?.is_none();
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
    settings: &Settings,
    place: &Place,
    linked: &Linked,
    folder: &Path,
    password: Zeroizing<String>,
) -> Result<Identification, Error> {
    let mut options = settings.client_options(folder.to_owned(), &linked.username, password, place.clone());
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
