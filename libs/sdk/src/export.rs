//! Everything that is kept of an account, here and at the server, as JSON: for its owner to read, and to take elsewhere.
//!
//! One object, written as it is read, so that it may be larger than memory:
//!
//! | field | what |
//! |---|---|
//! | `format`, `exported_at_ms` | `qpc account export v1`, Unix milliseconds |
//! | `account` | `username`, `account_id`, `account_key` (public), `device_id` of this device |
//! | `keys` | seeds of account, device and queue key as hexadecimal; only when asked for |
//! | `server` | what the services keep: when the account was made, devices with sessions, mailbox and stock, groups, recovery, quotas and what is used of them, a ban, files |
//! | `contacts` | `username`, `account_id`, `account_key`, `trust` |
//! | `shared` | what the devices of the account share: `name`, `value` (base64), `at_ms` |
//! | `conversations` | `id`, `kind`, `name`, `petname`, `peer`, `active`, and `messages` |
//! | `messages` | `id`, `sender`, `sender_name`, `device`, `text`, `files` (`name`, `media_type`, `size`), `sent_at_ms`, `state`, oldest first |
//!
//! Ids and keys are hexadecimal.

use std::io::Write;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use qpc_crypto::account_id;
use qpc_wire::{methods::AccountReport, v1};
use serde_json::{Value, json};

use crate::{ConversationInfo, Error, Message, client::Inner, retry};

/// The name of the format.
const FORMAT: &str = "qpc account export v1";
/// Messages, and shared values, that are read at a time.
const PAGE: usize = 500;

/// What is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExportOptions {
    /// The secret keys too: whoever has the file is this account then.
    pub keys: bool,
}

/// Writes everything. Needs a connection.
pub(crate) async fn export(inner: &Inner, options: ExportOptions, out: &mut (impl Write + Send)) -> Result<(), Error> {
    let connection = inner.connection()?;
    let report = retry::call::<AccountReport>(&inner.runtime, &connection, &v1::AccountReportRequest {}).await?;
    let identity = &inner.identity;
    let account = json!({
        "username": identity.username,
        "account_id": identity.account().to_string(),
        "account_key": hex::encode(identity.account_key.public()),
        "device_id": identity.device().to_string(),
    });
    write!(out, "{{\"format\":{},\"exported_at_ms\":{}", json!(FORMAT), inner.runtime.now_ms()).map_err(failed)?;
    write!(out, ",\"account\":{account}").map_err(failed)?;
    if options.keys {
        let keys = json!({
            "account": hex::encode(identity.account_key.to_bytes()),
            "device": hex::encode(identity.device_key.to_bytes()),
            "queue": hex::encode(identity.queue_key.to_bytes()),
        });
        write!(out, ",\"keys\":{keys}").map_err(failed)?;
    }
    write!(out, ",\"server\":{}", server(&report)).map_err(failed)?;
    contacts(inner, out).await?;
    shared(inner, out).await?;
    conversations(inner, out).await?;
    out.write_all(b"}\n").and_then(|()| out.flush()).map_err(failed)
}

/// Writes a list, item by item.
struct List<'a, W> {
    out: &'a mut W,
    first: bool,
}

impl<'a, W: Write> List<'a, W> {
    fn begin(out: &'a mut W, name: &str) -> Result<Self, Error> {
        write!(out, ",\"{name}\":[").map_err(failed)?;
        Ok(Self { out, first: true })
    }

    fn add(&mut self, item: &Value) -> Result<(), Error> {
        let comma = if std::mem::take(&mut self.first) { "" } else { "," };
        write!(self.out, "{comma}{item}").map_err(failed)
    }

    fn end(self) -> Result<(), Error> {
        self.out.write_all(b"]").map_err(failed)
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::Export(error)
}

fn server(report: &v1::AccountReportResponse) -> Value {
    let device = |report: &v1::DeviceReport| {
        let device = report.device.clone().unwrap_or_default();
        let mailbox = report.mailbox.clone().unwrap_or_default();
        let keys = report.keys.iter().map(
            |keys| json!({ "suite": keys.suite, "key_packages": keys.key_packages, "last_resort": keys.last_resort }),
        );
        json!({
            "device_id": hex::encode(&device.device_id),
            "certificate": hex::encode(&device.device_certificate),
            "added_at_ms": device.added_at_ms,
            "sealed_name": hex::encode(&device.name),
            "sessions": report.sessions,
            "mailbox": {
                "head": mailbox.head, "acked": mailbox.acked, "entries": mailbox.entries, "bytes": mailbox.bytes,
                "push_host": mailbox.push_host,
            },
            "keys": keys.collect::<Vec<_>>(),
            "queue_key": report.queue_key,
        })
    };
    let group = |group: &v1::GroupReport| {
        json!({
            "group_id": hex::encode(&group.group_id),
            "kind": group.kind,
            "epoch": group.epoch,
            "role": group.role,
        })
    };
    let recovery = report.recovery.as_ref().map(|recovery| {
        json!({
            "codes_left": recovery.codes_left,
            "created_at_ms": recovery.created_at_ms,
            "updated_at_ms": recovery.updated_at_ms,
        })
    });
    let ban = report.ban.as_ref().map(|ban| {
        json!({
            "banned_at_ms": ban.banned_at_ms,
            "reason": ban.reason,
            "deletion_requested_at_ms": ban.deletion_requested_at_ms,
        })
    });
    json!({
        "username": report.username,
        "created_at_ms": report.created_at_ms,
        "devices": report.devices.iter().map(device).collect::<Vec<_>>(),
        "groups": report.groups.iter().map(group).collect::<Vec<_>>(),
        "recovery": recovery,
        "quotas": report.quotas.iter().map(quota).collect::<Vec<_>>(),
        "ban": ban,
        "files": files(&report.files.clone().unwrap_or_default()),
    })
}

fn quota(quota: &v1::QuotaReport) -> Value {
    json!({ "name": quota.name, "used": quota.used, "limit": quota.limit, "set": quota.set })
}

fn files(files: &v1::FilesReport) -> Value {
    let blob = |blob: &v1::BlobReport| json!({ "blob_id": hex::encode(&blob.blob_id), "size": blob.size, "expires_at_ms": blob.expires_at_ms });
    let upload = |upload: &v1::UploadReport| {
        json!({
            "upload_id": hex::encode(&upload.upload_id),
            "device_id": hex::encode(&upload.device_id),
            "size": upload.size,
            "parts": upload.parts,
            "expires_at_ms": upload.expires_at_ms,
        })
    };
    json!({
        "blobs": files.blobs,
        "blob_bytes": files.blob_bytes,
        "uploads": files.uploads,
        "blob_rows": files.blob_rows.iter().map(blob).collect::<Vec<_>>(),
        "upload_rows": files.upload_rows.iter().map(upload).collect::<Vec<_>>(),
    })
}

async fn contacts(inner: &Inner, out: &mut (impl Write + Send)) -> Result<(), Error> {
    let mut list = List::begin(out, "contacts")?;
    for (username, key) in inner.store.run(|tx| tx.peers()).await? {
        let account = account_id(&key);
        let trust = inner.store.run(move |tx| tx.peer_trust(account)).await?;
        list.add(&json!({
            "username": username,
            "account_id": account.to_string(),
            "account_key": hex::encode(key),
            "trust": format!("{trust:?}").to_lowercase(),
        }))?;
    }
    list.end()
}

async fn shared(inner: &Inner, out: &mut (impl Write + Send)) -> Result<(), Error> {
    let (mut list, mut after) = (List::begin(out, "shared")?, String::new());
    loop {
        let values = inner.store.run(move |tx| tx.synced_after(&after, PAGE)).await?;
        let Some(last) = values.last() else { return list.end() };
        after = last.name.clone();
        for item in &values {
            let value = BASE64_STANDARD.encode(&item.value);
            list.add(&json!({ "name": item.name, "value": value, "at_ms": item.at_ms }))?;
        }
    }
}

async fn conversations(inner: &Inner, out: &mut (impl Write + Send)) -> Result<(), Error> {
    out.write_all(b",\"conversations\":[").map_err(failed)?;
    for (place, info) in inner.store.run(|tx| tx.conversations()).await?.into_iter().enumerate() {
        let head = conversation(&info).to_string();
        // The messages are the last field of the object, which is therefore closed here.
        let head = head.strip_suffix('}').unwrap_or(&head);
        write!(out, "{}{head}", if place > 0 { "," } else { "" }).map_err(failed)?;
        let (mut list, mut after) = (List::begin(&mut *out, "messages")?, 0);
        loop {
            let id = info.id;
            let page = inner.store.run(move |tx| tx.messages_after(id, after, PAGE)).await?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            for item in page.iter().filter_map(|(_, message)| message.as_ref()) {
                list.add(&message(item))?;
            }
        }
        list.end()?;
        out.write_all(b"}").map_err(failed)?;
    }
    out.write_all(b"]").map_err(failed)
}

fn conversation(info: &ConversationInfo) -> Value {
    json!({
        "id": info.id.to_string(),
        "kind": format!("{:?}", info.kind).to_lowercase(),
        "name": info.name,
        "petname": info.petname,
        "peer": info.peer.map(|peer| peer.to_string()),
        "active": info.active,
    })
}

fn message(message: &Message) -> Value {
    // Without their keys, which are in the message for its readers.
    let file = |file: &qpc_wire::content::Attachment| json!({ "name": file.name, "media_type": file.media_type, "size": file.size });
    json!({
        "id": hex::encode(message.id.0),
        "sender": message.sender.to_string(),
        "sender_name": message.sender_name,
        "device": message.device.to_string(),
        "text": message.text,
        "files": message.attachments.iter().map(file).collect::<Vec<_>>(),
        "sent_at_ms": message.sent_at_ms,
        "state": format!("{:?}", message.state).to_lowercase(),
    })
}
