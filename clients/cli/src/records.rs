//! What there is, as [`Item`]s: the fields of their JSON, and their lines. Ids are hexadecimal, times Unix milliseconds.

use qpc_sdk::{
    ConversationInfo, Device, Identification, Invite, Member, Message, MessageKind, MessageState, PeerTrust, Reaction,
    Role, Standing, Stats,
};
use serde::Serialize;

use crate::{
    engine::{Item, On},
    show, text,
};

#[derive(Serialize)]
struct ConversationRecord<'a> {
    id: String,
    title: String,
    kind: &'static str,
    name: Option<&'a str>,
    petname: Option<&'a str>,
    peer: Option<String>,
    peer_name: Option<&'a str>,
    suite: String,
    epoch: u64,
    active: bool,
    left: bool,
    awaited: bool,
    stuck: bool,
    messages: u64,
    unread: u64,
    unread_to_you: u64,
    missing: u64,
    last_at_ms: u64,
    expires_after_ms: u64,
    standing: &'static str,
    blocked: bool,
    trust: &'static str,
}

/// A conversation of a list.
pub(crate) fn conversation(info: &ConversationInfo) -> Item {
    conversation_as(info, show::list_line(info))
}

/// A conversation of which something else is to be said.
pub(crate) fn conversation_as(info: &ConversationInfo, line: impl Into<String>) -> Item {
    let record = ConversationRecord {
        id: info.id.to_string(),
        title: show::title(info),
        kind: show::kind(info.kind),
        name: info.name.as_deref(),
        petname: info.petname.as_deref(),
        peer: info.peer.map(|peer| peer.to_string()),
        peer_name: info.peer_name.as_deref(),
        suite: info.suite.to_string(),
        epoch: info.epoch,
        active: info.active,
        left: info.left,
        awaited: info.awaited,
        stuck: info.stuck,
        messages: info.messages,
        unread: info.unread,
        unread_to_you: info.for_us,
        missing: info.missing,
        last_at_ms: info.last_at_ms,
        expires_after_ms: info.expires_after_ms,
        standing: match info.standing {
            Standing::Accepted => "accepted",
            Standing::Requested => "requested",
            Standing::Declined => "declined",
        },
        blocked: info.blocked,
        trust: trust(info.trust),
    };
    Item::new("qpc.conversation/1", &record, line)
}

#[derive(Serialize)]
struct MessageRecord<'a> {
    id: String,
    conversation: String,
    sender: String,
    sender_name: Option<&'a str>,
    device: String,
    own: bool,
    text: &'a str,
    sent_at_ms: u64,
    state: &'static str,
    epoch: u64,
    delivered_to: u32,
    read_by: u32,
    kind: &'static str,
    reply_to: Option<RefRecord>,
    to_you: bool,
    edited_at_ms: Option<u64>,
    reactions: Vec<ReactionRecord<'a>>,
    files: Vec<FileRecord<'a>>,
    expires_at_ms: Option<u64>,
}

#[derive(Serialize)]
struct RefRecord {
    sender: String,
    id: String,
}

#[derive(Serialize)]
struct ReactionRecord<'a> {
    sign: &'a str,
    accounts: Vec<String>,
}

#[derive(Serialize)]
struct FileRecord<'a> {
    blob: String,
    name: &'a str,
    media_type: &'a str,
    size: u64,
}

/// A message, and a line about it.
pub(crate) fn message(on: &On, message: &Message, line: impl Into<String>) -> Item {
    let record = MessageRecord {
        id: message.id.to_string(),
        conversation: message.conversation.to_string(),
        sender: message.sender.to_string(),
        sender_name: message.sender_name.as_deref(),
        device: message.device.to_string(),
        own: message.sender == on.who.account,
        text: &message.text,
        sent_at_ms: message.sent_at_ms,
        state: state(message.state),
        epoch: message.epoch,
        delivered_to: message.delivered_to,
        read_by: message.read_by,
        kind: match message.kind {
            MessageKind::Text => "text",
            MessageKind::Unknown => "unknown",
            MessageKind::Deleted => "deleted",
            MessageKind::Expired => "expired",
        },
        reply_to: message.reply_to.map(|to| RefRecord { sender: to.author.to_string(), id: to.id.to_string() }),
        to_you: message.for_us,
        edited_at_ms: message.edited_at_ms,
        reactions: message.reactions.iter().map(reaction).collect(),
        files: message.attachments.iter().map(file).collect(),
        expires_at_ms: message.expires_at_ms,
    };
    Item::new("qpc.message/1", &record, line)
}

fn reaction(reaction: &Reaction) -> ReactionRecord<'_> {
    let accounts = reaction.accounts.iter().map(ToString::to_string).collect();
    ReactionRecord { sign: &reaction.emoji, accounts }
}

fn file(file: &qpc_wire::content::Attachment) -> FileRecord<'_> {
    let (name, media_type) = (file.name.as_str(), file.media_type.as_str());
    FileRecord { blob: show::hex(&file.blob_id), name, media_type, size: file.size }
}

/// The word for how far somebody's key is believed to be theirs.
pub(crate) fn trust(trust: PeerTrust) -> &'static str {
    match trust {
        PeerTrust::Unverified => "unverified",
        PeerTrust::Verified => "verified",
        PeerTrust::Changed => "changed",
        PeerTrust::Former => "former",
    }
}

/// The word for a state.
pub(crate) fn state(state: MessageState) -> &'static str {
    match state {
        MessageState::Queued => "queued",
        MessageState::Sent => "sent",
        MessageState::Accepted => "accepted",
        MessageState::Delivered => "delivered",
        MessageState::Read => "read",
        MessageState::Failed => "failed",
        MessageState::ReceiptRefused => "receipt-refused",
        MessageState::Received => "received",
        MessageState::Local => "local",
    }
}

#[derive(Serialize)]
struct MemberRecord<'a> {
    account: String,
    name: Option<&'a str>,
    role: &'static str,
    devices: Vec<String>,
    own: bool,
    trust: &'static str,
}

/// Somebody in a conversation.
pub(crate) fn member(on: &On, member: &Member) -> Item {
    let record = MemberRecord {
        account: member.account.to_string(),
        name: member.name.as_deref(),
        role: show::role(member.role),
        devices: member.devices.iter().map(ToString::to_string).collect(),
        own: member.account == on.who.account,
        trust: trust(member.trust),
    };
    Item::new("qpc.member/1", &record, show::member(member, on.who.account))
}

#[derive(Serialize)]
struct DeviceRecord<'a> {
    id: String,
    name: Option<&'a str>,
    added_at_ms: u64,
    is_this: bool,
}

/// A device of the account.
pub(crate) fn device(device: &Device) -> Item {
    let record = DeviceRecord {
        id: device.id.to_string(),
        name: device.name.as_deref(),
        added_at_ms: device.added_at_ms,
        is_this: device.is_this,
    };
    let this = if device.is_this { " · this device" } else { "" };
    let line = format!("{} · added {}{this}", show::device(device), text::time(device.added_at_ms));
    Item::new("qpc.device/1", &record, line)
}

#[derive(Serialize)]
struct InviteRecord {
    key: String,
    expires_ms: u64,
    max_uses: u32,
    link: Option<String>,
}

/// An invite into a group.
pub(crate) fn invite(invite: &Invite) -> Item {
    let link = invite.link.as_ref().map(ToString::to_string);
    let key = show::hex(&invite.key);
    let record = InviteRecord { key, expires_ms: invite.expires_ms, max_uses: invite.max_uses, link };
    Item::new("qpc.invite/1", &record, show::invite(invite))
}

#[derive(Serialize)]
struct WhoRecord<'a> {
    username: &'a str,
    account: String,
    device: String,
    registered: bool,
    connected: bool,
    server: &'a str,
    cursor: u64,
    undecryptable: u64,
    receipts_verified: u64,
    outbox: u64,
}

/// This device, one item of several lines.
pub(crate) fn identification(who: &Identification, stats: &Stats, server: &str) -> Item {
    let record = WhoRecord {
        username: &who.username,
        account: who.account.to_string(),
        device: who.device.to_string(),
        registered: who.registered,
        connected: who.connected,
        server,
        cursor: stats.cursor,
        undecryptable: stats.undecryptable,
        receipts_verified: stats.receipts_verified,
        outbox: stats.outbox,
    };
    let registered = if who.registered { "registered" } else { "not registered yet" };
    let lines = [
        format!("user      {} ({registered})", who.username),
        format!("account   {}", who.account),
        format!("device    {}", who.device),
        format!("server    {server}"),
        format!("mailbox   read up to {}, {} unreadable", stats.cursor, stats.undecryptable),
        format!("receipts  {} verified", stats.receipts_verified),
        format!("outbox    {} waiting", stats.outbox),
    ];
    Item::new("qpc.identity/1", &record, lines.join("\n"))
}

/// What somebody may do, as it is typed.
pub(crate) fn parse_role(word: &str) -> Result<Role, String> {
    Ok(match word {
        "owner" => Role::Owner,
        "admin" => Role::Admin,
        "member" => Role::Member,
        "read-only" | "readonly" | "reader" => Role::ReadOnly,
        _ => return Err("a role is owner, admin, member or read-only".to_owned()),
    })
}
