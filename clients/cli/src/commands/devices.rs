//! `qpc devices`, `/devices`, `/link`: what an account has, from a device that is one of them.

use std::time::Duration;

use clap::{Args, Subcommand};
use qpc_sdk::{Device, DeviceId, Error, Event, EventStream, LinkCode};
use serde_json::json;

use super::push::{self, PushAction};
use crate::{
    args::WaitArgs,
    console::complain,
    engine::{Act, Cli, Effect, On, Outcome, Row, Run, Said, Slash, args},
    exit::Usage,
    records, show, text,
};

/// Time for conversations and history to reach a new device.
const SETTLE_WITHIN: Duration = Duration::from_secs(120);
/// Shortest beginning of an id that names a device.
const MIN_ID: usize = 4;

pub(crate) const ROW: Row = Row {
    cli: Some(Cli {
        name: "devices",
        about: "List, name, revoke and link the devices of an account, and have this one woken",
        after: "Examples:\n  qpc devices -u alice\n  \
            qpc devices add ABCDE-FGHJK-...        the code that qpc link shows\n  \
            qpc devices rename 3f2a \"old laptop\"\n  qpc devices rm \"old laptop\"\n  \
            qpc devices push set https://ntfy.example.org/up1234?up=1",
        args: args::<Devices>,
        run: Run::Act(|matches| {
            let devices = <Devices as clap::FromArgMatches>::from_arg_matches(matches)?;
            // A code that is none needs no password.
            if let Some(DeviceAction::Add { code, .. }) = &devices.action {
                code.join(" ").parse::<LinkCode>().map_err(Error::from)?;
            }
            Ok(Box::new(devices))
        }),
        aliases: &[],
        mends: false,
    }),
    slash: &[
        Slash {
            names: &["devices"],
            form: "/devices [list | add CODE | rm N | rename N NAME | push [show | off | set URL]]",
            about: "your devices, and what can be done with them",
            parse: |words| match words {
                [] | ["list"] => Said::act(Devices { action: None, wait: false }),
                ["add", code @ ..] => link(code),
                ["rm", number] => revoke(number),
                ["rename", number, name @ ..] => rename(number, name),
                ["push", words @ ..] => {
                    Said::act(Devices { action: Some(DeviceAction::Push { action: push::parse(words)? }), wait: false })
                }
                _ => None,
            },
        },
        // Read aloud and typed in groups, or pasted.
        Slash {
            names: &["link"],
            form: "/link CODE",
            about: "make a new device yours: the code that `qpc link` shows on it",
            parse: link,
        },
        Slash {
            names: &["name-device", "rename-device"],
            form: "/name-device NUMBER NAME",
            about: "give a device of /devices a name",
            parse: |words| match words {
                [number, name @ ..] => rename(number, name),
                [] => None,
            },
        },
        Slash {
            names: &["revoke-device", "remove-device"],
            form: "/revoke-device NUMBER",
            about: "log a device of /devices out for ever",
            parse: |words| match words {
                [number] => revoke(number),
                _ => None,
            },
        },
    ],
};

/// Its arguments.
#[derive(Args, Debug)]
struct Devices {
    #[command(subcommand)]
    action: Option<DeviceAction>,
    /// Whether to wait for a person at a new device.
    #[arg(skip = true)]
    wait: bool,
}

/// What to do with the devices.
#[derive(Subcommand, Debug)]
enum DeviceAction {
    /// List them; what happens without a command
    List,
    /// Give one a name that the server cannot read
    Rename {
        /// Its name, or the beginning of its id
        device: String,
        /// What to call it
        name: String,
    },
    /// Log one out for ever: its sessions end at once, and it goes from every conversation
    #[command(name = "rm", visible_alias = "revoke")]
    Revoke {
        /// Its name, or the beginning of its id
        device: String,
    },
    /// Have this device woken by a push service while it is away, by requests that say nothing
    Push {
        #[command(subcommand)]
        action: Option<PushAction>,
    },
    /// Make a device that shows a code one of this account, and wait until it has the conversations
    #[command(visible_alias = "link")]
    Add {
        /// What `qpc link` shows
        #[arg(required = true)]
        code: Vec<String>,
        #[command(flatten)]
        wait: WaitArgs,
    },
}

fn link(code: &[&str]) -> Option<Said> {
    if code.is_empty() {
        return None;
    }
    let code = code.iter().map(|word| (*word).to_owned()).collect();
    Said::act(Devices { action: Some(DeviceAction::Add { code, wait: WaitArgs { wait: 0 } }), wait: false })
}

fn rename(number: &str, name: &[&str]) -> Option<Said> {
    number.parse::<usize>().ok().filter(|_| !name.is_empty())?;
    let action = Some(DeviceAction::Rename { device: number.to_owned(), name: name.join(" ") });
    Said::act(Devices { action, wait: false })
}

fn revoke(number: &str) -> Option<Said> {
    number.parse::<usize>().ok()?;
    Said::act(Devices { action: Some(DeviceAction::Revoke { device: number.to_owned() }), wait: false })
}

impl Act for Devices {
    fn patience(&self) -> Duration {
        match &self.action {
            Some(DeviceAction::Add { wait, .. }) => Duration::from_secs(wait.wait) + SETTLE_WITHIN,
            _ => Duration::ZERO,
        }
    }

    async fn act(&self, on: &On) -> anyhow::Result<Outcome> {
        match &self.action {
            None | Some(DeviceAction::List) => {
                let devices = on.client.devices().await?;
                let items = devices.iter().map(records::device);
                Ok(items.collect::<Outcome>().then(Effect::Devices(devices)))
            }
            Some(DeviceAction::Rename { device, name }) => {
                let id = self.choose(on, device).await?.id;
                on.client.rename_device(id, name).await?;
                let line = format!("device {device} is called {} now", text::label(name));
                Ok(Outcome::item("qpc.device_named/1", &json!({"id": id.to_string(), "name": name}), line))
            }
            Some(DeviceAction::Revoke { device }) => {
                let device = self.choose(on, device).await?;
                on.client.revoke_device(device.id).await?;
                let line =
                    format!("revoked {}: it is logged out and goes from every conversation", show::device(&device));
                let fields = json!({"id": device.id.to_string(), "revoked": true});
                // The numbers have changed: they are to be looked at before the next one.
                Ok(Outcome::item("qpc.device_revoked/1", &fields, line).then(Effect::Devices(Vec::new())))
            }
            Some(DeviceAction::Push { action }) => push::act(on, action.as_ref()).await,
            Some(DeviceAction::Add { code, wait }) => self.link(on, &code.join(" "), *wait).await,
        }
    }
}

impl Devices {
    /// In a chat, by the numbers that were shown.
    async fn choose(&self, on: &On, wanted: &str) -> anyhow::Result<Device> {
        if !self.wait {
            let found = wanted.parse::<usize>().ok().and_then(|number| on.listed.devices.get(number.checked_sub(1)?));
            return Ok(found.cloned().ok_or_else(|| Usage::NoDevice(wanted.to_owned()))?);
        }
        Ok(choose(&on.client.devices().await?, wanted).cloned()?)
    }

    async fn link(&self, on: &On, code: &str, wait: WaitArgs) -> anyhow::Result<Outcome> {
        let code: LinkCode = code.parse().map_err(Error::from)?;
        let mut events = on.client.events();
        on.client.link_device(&code).await?;
        if !self.wait {
            let told = "the new device was told; it asks for your password, and then gets your conversations";
            return Ok(Outcome::default().note(told));
        }
        complain("The new device was told. It asks for the password now, and logs in.");
        let id = appears(&mut events, Duration::from_secs(wait.wait)).await?;
        complain("It is there; giving it conversations and history.");
        if !on.client.settle(SETTLE_WITHIN).await {
            anyhow::bail!("the new device has not got everything yet; that goes on whenever this one is online");
        }
        Ok(Outcome::item(
            "qpc.device_linked/1",
            &json!({"id": id.to_string(), "linked": true}),
            format!("linked: {id}"),
        ))
    }
}

/// The device of that name, or whose id begins so.
fn choose<'a>(devices: &'a [Device], wanted: &str) -> Result<&'a Device, Usage> {
    let named: Vec<&Device> = devices.iter().filter(|device| device.name.as_deref() == Some(wanted)).collect();
    let begins = wanted.to_ascii_lowercase();
    let found = if named.is_empty() && wanted.len() >= MIN_ID {
        devices.iter().filter(|device| device.id.to_string().starts_with(&begins)).collect()
    } else {
        named
    };
    match found.as_slice() {
        [device] => Ok(device),
        [] => Err(Usage::NoDevice(wanted.to_owned())),
        _ => Err(Usage::SeveralDevices(wanted.to_owned())),
    }
}

/// Waits for a new device.
async fn appears(events: &mut EventStream, within: Duration) -> anyhow::Result<DeviceId> {
    let search = async {
        loop {
            match events.next().await {
                Some(Event::DeviceLinked(device)) => return Ok(device),
                Some(Event::LoginRefused(error)) => return Err(Error::Failed(error)),
                Some(_) => {}
                None => return Err(Error::Interrupted),
            }
        }
    };
    match tokio::time::timeout(within, search).await {
        Ok(found) => Ok(found?),
        Err(_) => anyhow::bail!("no new device has logged in yet; one that does is let in while this one is online"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(first: u8, name: Option<&str>) -> Device {
        let mut id = [0xaa; 16];
        id[0] = first;
        Device { id: DeviceId(id), name: name.map(str::to_owned), added_at_ms: 0, is_this: first == 1 }
    }

    #[test]
    fn devices_are_chosen_by_name_or_beginning_of_their_id() {
        let devices = [device(1, Some("phone")), device(2, Some("phone")), device(3, Some("0aaa")), device(0x0a, None)];
        assert_eq!(choose(&devices, "01aa").unwrap().id, devices[0].id);
        assert_eq!(choose(&devices, "02AA").unwrap().id, devices[1].id);
        assert_eq!(choose(&devices, "0aaa").unwrap().id, devices[2].id, "a name goes before an id");
        assert!(matches!(choose(&devices, "phone"), Err(Usage::SeveralDevices(_))));
        for wanted in ["0a", "", "laptop"] {
            assert!(matches!(choose(&devices, wanted), Err(Usage::NoDevice(_))), "{wanted}");
        }
    }
}
