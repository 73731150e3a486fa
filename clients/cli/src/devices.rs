//! `qpc devices`: what an account has, from a device that is one of them.

use std::{process::ExitCode, time::Duration};

use qpc_sdk::{Client, Device, DeviceId, Error, Event, EventStream, LinkCode};
use serde::Serialize;
use serde_json::json;

use crate::{
    args::{DeviceAction, DevicesArgs},
    console::{complain, say},
    exit::Usage,
    text,
};

/// Time for conversations and history to reach a new device.
const SETTLE_WITHIN: Duration = Duration::from_secs(120);
/// Shortest beginning of an id that names a device.
const MIN_ID: usize = 4;

/// A device of `--json`. Fields are only ever added.
#[derive(Serialize)]
struct Listed<'a> {
    id: String,
    name: Option<&'a str>,
    added_at_ms: u64,
    is_this: bool,
}

pub(crate) async fn run(args: DevicesArgs) -> anyhow::Result<ExitCode> {
    // A code that is none needs no password.
    let code = match &args.action {
        Some(DeviceAction::Link { code, .. }) => Some(code.join(" ").parse::<LinkCode>().map_err(Error::from)?),
        _ => None,
    };
    let client = Client::open(args.account.existing()?).await?;
    let done = act(&client, &args, code).await;
    client.close().await;
    done?;
    Ok(ExitCode::SUCCESS)
}

async fn act(client: &Client, args: &DevicesArgs, code: Option<LinkCode>) -> anyhow::Result<()> {
    client.connect().await?;
    let devices = client.devices().await?;
    let json = args.json;
    match (&args.action, code) {
        (Some(DeviceAction::Rename { device, name }), _) => {
            let id = choose(&devices, device)?.id;
            client.rename_device(id, name).await?;
            tell(json, &json!({"id": id.to_string(), "name": name}), &format!("{id} is {name:?} now"));
        }
        (Some(DeviceAction::Revoke { device }), _) => {
            let device = choose(&devices, device)?;
            client.revoke_device(device.id).await?;
            let line = format!("revoked: {}", name_and_id(device));
            tell(json, &json!({"id": device.id.to_string(), "revoked": true}), &line);
        }
        (Some(DeviceAction::Link { wait, .. }), Some(code)) => {
            let mut events = client.events();
            client.link_device(&code).await?;
            complain("The new device was told. It asks for the password now, and logs in.");
            let id = appears(&mut events, wait.time()).await?;
            complain("It is there; giving it conversations and history.");
            if !client.settle(SETTLE_WITHIN).await {
                anyhow::bail!("the new device has not got everything yet; that goes on whenever this one is online");
            }
            tell(json, &json!({"id": id.to_string(), "linked": true}), &format!("linked: {id}"));
        }
        (None | Some(DeviceAction::List | DeviceAction::Link { .. }), _) if json => {
            let devices: Vec<Listed<'_>> = devices.iter().map(listed).collect();
            say(json!({ "devices": devices }));
        }
        (None | Some(DeviceAction::List | DeviceAction::Link { .. }), _) => {
            devices.iter().map(describe).for_each(say);
        }
    }
    Ok(())
}

/// A device in a list.
pub(crate) fn describe(device: &Device) -> String {
    let this = if device.is_this { " · this device" } else { "" };
    format!("{} · added {}{this}", name_and_id(device), text::utc(device.added_at_ms))
}

/// What a person calls a device, and its id.
pub(crate) fn name_and_id(device: &Device) -> String {
    match device.name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => format!("{} ({})", text::label(name), device.id),
        None => device.id.to_string(),
    }
}

fn listed(device: &Device) -> Listed<'_> {
    Listed {
        id: device.id.to_string(),
        name: device.name.as_deref(),
        added_at_ms: device.added_at_ms,
        is_this: device.is_this,
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

fn tell(json: bool, object: &serde_json::Value, line: &str) {
    if json { say(object) } else { say(line) }
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

    #[test]
    fn a_name_cannot_pretend_to_be_a_line() {
        let line = describe(&device(1, Some("phone\n02 tablet")));
        assert_eq!(line.lines().count(), 1);
        assert!(
            line.starts_with("phone 02 tablet (01aa") && line.ends_with("1970-01-01 00:00Z · this device"),
            "{line}"
        );
    }
}
