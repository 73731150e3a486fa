//! How things look on a line.

use qpc_sdk::{
    AccountId, ConversationId, ConversationInfo, ConversationKind, Device, Invite, Member, Message, MessageKind,
    MessageState, PeerTrust, Reaction, Role, Standing,
};

use crate::text;

/// What a conversation is called here: by this account, by its admins, or by who is in it.
pub(crate) fn title(info: &ConversationInfo) -> String {
    match (&info.petname, &info.name, info.kind) {
        (Some(petname), ..) => text::label(petname),
        (None, _, ConversationKind::Notes) => "notes".to_owned(),
        (None, Some(name), ConversationKind::Group) => text::label(name),
        (None, _, ConversationKind::Direct) => direct(info),
        (None, ..) => text::name(None, &info.id.to_string()),
    }
}

fn direct(info: &ConversationInfo) -> String {
    let peer = info.peer.map_or_else(|| info.id.to_string(), |peer| peer.to_string());
    text::name(info.peer_name.as_deref(), &peer)
}

/// The title as a prompt has it.
pub(crate) fn prompt(username: &str, open: Option<(&str, ConversationKind)>) -> String {
    match open {
        Some((title, ConversationKind::Direct)) => format!("{username} @{title}"),
        Some((title, _)) => format!("{username} #{title}"),
        None => username.to_owned(),
    }
}

/// A conversation in the list, without its number.
pub(crate) fn list_line(info: &ConversationInfo) -> String {
    let mut parts = vec![title(info)];
    let given = match info.kind {
        ConversationKind::Direct => Some(direct(info)),
        _ => info.name.as_deref().map(text::label),
    };
    if let (Some(_), Some(given)) = (&info.petname, given) {
        parts[0].push_str(&format!(" ({given})"));
    }
    parts.push(kind(info.kind).to_owned());
    parts.extend(trust(info.trust).map(str::to_owned));
    parts.push(if info.messages == 1 { "1 message".to_owned() } else { format!("{} messages", info.messages) });
    if info.unread > 0 {
        parts.push(format!("{} unread", info.unread));
    }
    if info.for_us > 0 {
        parts.push(format!("{} to you", info.for_us));
    }
    if info.missing > 0 {
        parts.push(format!("⚠ {} missing", info.missing));
    }
    if info.expires_after_ms > 0 {
        parts.push(format!("⏱ {}", span(info.expires_after_ms)));
    }
    if info.standing == Standing::Requested {
        parts.push("asks you: accept or decline".to_owned());
    }
    if info.blocked {
        parts.push("blocked".to_owned());
    }
    parts.push(format!("last {}", text::time(info.last_at_ms)));
    if info.kind != ConversationKind::Notes {
        parts.push(format!("epoch {}", info.epoch));
    }
    match standing(info) {
        Some(standing) => parts.push(standing.to_owned()),
        None if info.stuck => parts.push("being repaired".to_owned()),
        None => {}
    }
    parts.join(" · ")
}

/// Why nothing can be written in a conversation.
fn standing(info: &ConversationInfo) -> Option<&'static str> {
    match info {
        _ if info.active => None,
        _ if info.left => Some("you have left"),
        _ if info.awaited => Some("your other device is yet to let this one in"),
        _ => Some("you are not in it"),
    }
}

/// Whether somebody has looked into whose key it is; what is the rule needs no word.
pub(crate) fn trust(trust: PeerTrust) -> Option<&'static str> {
    match trust {
        PeerTrust::Unverified => None,
        PeerTrust::Verified => Some("✔ verified"),
        PeerTrust::Changed => Some("⚠ another key is shown: verify"),
        PeerTrust::Former => Some("had the name before"),
    }
}

pub(crate) fn kind(kind: ConversationKind) -> &'static str {
    match kind {
        ConversationKind::Direct => "direct",
        ConversationKind::Group => "group",
        ConversationKind::Own => "devices",
        ConversationKind::Notes => "notes",
    }
}

/// What is said when a conversation is opened.
pub(crate) fn heading(info: &ConversationInfo, members: Option<usize>, unread: u64) -> String {
    let mut parts = vec![format!("— {}", title(info))];
    if info.kind == ConversationKind::Notes {
        parts.push("they stay on this device".to_owned());
    } else if let Some(standing) = standing(info) {
        parts.push(standing.to_owned());
    } else {
        if let Some(count) = members.filter(|_| info.kind == ConversationKind::Group) {
            parts.push(format!("{count} members"));
        }
        parts.extend(trust(info.trust).map(str::to_owned));
        parts.push(format!("{} · epoch {}", info.suite, info.epoch));
    }
    if unread > 0 {
        parts.push(format!("{unread} unread: /history {unread}"));
    }
    if info.missing > 0 {
        parts.push(missing(info.missing));
    }
    parts.join(" · ")
}

/// What is said about a conversation with holes.
pub(crate) fn missing(count: u64) -> String {
    match count {
        1 => "⚠ 1 message is missing; nobody who was asked has it".to_owned(),
        count => format!("⚠ {count} messages are missing; nobody who was asked has them"),
    }
}

/// What is said of a receipt that does not hold, where no message fails by it.
pub(crate) fn receipt_refused(error: &qpc_sdk::Error) -> String {
    format!("the server's receipt does not hold: {error}; qpc receipts export keeps the proof")
}

/// What is said when the server has gone back in time.
pub(crate) const RESTORED: &str = "the server was put back from a copy; messages of the time since then may be missing";

/// What is said when another key is shown under a name.
pub(crate) fn key_changed(username: &str) -> String {
    let name = text::label(username);
    format!("{name}: the server shows another key; nothing is sent before you decide: /verify {name}")
}

/// Who wrote a message: the name that the directory has confirmed, or the beginning of the account id.
pub(crate) fn sender(message: &Message) -> String {
    text::name(message.sender_name.as_deref(), &message.sender.to_string())
}

/// A message in a history.
pub(crate) fn history_line(message: &Message, kind: ConversationKind) -> String {
    let time = text::time(message.sent_at_ms);
    format!("{time} {}: {}{}{}", sender(message), body(message), signs(message), mark(message, kind))
}

/// What a message says.
pub(crate) fn body(message: &Message) -> String {
    match message.kind {
        MessageKind::Deleted => return "(deleted)".to_owned(),
        MessageKind::Expired => return "(gone)".to_owned(),
        MessageKind::Unknown => return "(something that this version does not understand)".to_owned(),
        MessageKind::Text => {}
    }
    let mut parts = Vec::new();
    if message.reply_to.is_some() {
        parts.push("↪".to_owned());
    }
    for file in &message.attachments {
        parts.push(format!("📎 {} ({})", text::label(&file.name), text::size(file.size)));
    }
    if !message.text.is_empty() {
        parts.push(text::safe(&message.text));
    }
    if message.edited_at_ms.is_some() {
        parts.push("(edited)".to_owned());
    }
    if message.expires_after_ms > 0 {
        parts.push(format!("⏱ {}", span(message.expires_after_ms)));
    }
    parts.join(" ")
}

/// The signs under a message.
fn signs(message: &Message) -> String {
    let sign = |reaction: &Reaction| match reaction.accounts.len() {
        1 => text::label(&reaction.emoji),
        count => format!("{} {count}", text::label(&reaction.emoji)),
    };
    match message.reactions.as_slice() {
        [] => String::new(),
        reactions => format!("   [{}]", reactions.iter().map(sign).collect::<Vec<_>>().join(" · ")),
    }
}

/// A time in its largest whole unit.
pub(crate) fn span(ms: u64) -> String {
    let seconds = ms.div_ceil(1_000);
    let units = [(604_800, "w"), (86_400, "d"), (3_600, "h"), (60, "m")];
    let unit = units.into_iter().find(|(size, _)| seconds.is_multiple_of(*size));
    unit.map_or_else(|| format!("{seconds}s"), |(size, name)| format!("{}{name}", seconds / size))
}

/// What became of a message, for those written by this account. The word says what the ticks cannot.
fn mark(message: &Message, kind: ConversationKind) -> String {
    let state = match message.state {
        MessageState::Queued => " … queued",
        MessageState::Sent => " ↑ sent",
        MessageState::Accepted => " ✓ accepted",
        MessageState::Delivered => " ✓✓ delivered",
        MessageState::Read => " ✓✓ read",
        MessageState::Failed => " ⚠ not sent",
        MessageState::ReceiptRefused => " ⚠ receipt refused",
        MessageState::Received | MessageState::Local => "",
    };
    // In a group, some may have it before all do.
    let some = match message.state {
        MessageState::Accepted if kind == ConversationKind::Group => match (message.delivered_to, message.read_by) {
            (0, _) => String::new(),
            (have, 0) => format!(" ({have} have it)"),
            (have, read) => format!(" ({have} have it, {read} read it)"),
        },
        MessageState::Delivered if kind == ConversationKind::Group && message.read_by > 0 => {
            format!(" ({} read it)", message.read_by)
        }
        _ => String::new(),
    };
    format!("{state}{some}")
}

/// A member in a list.
pub(crate) fn member(member: &Member, own: AccountId) -> String {
    let name = text::name(member.name.as_deref(), &member.account.to_string());
    let you = if member.account == own { " (you)" } else { "" };
    let devices = match member.devices.len() {
        1 => String::new(),
        count => format!(" · {count} devices"),
    };
    let trust = trust(member.trust).map(|trust| format!(" · {trust}")).unwrap_or_default();
    format!("{:<10} {name}{you}{devices}{trust}", role(member.role))
}

/// The word for a role, as `/role` takes it.
pub(crate) fn role(role: Role) -> &'static str {
    match role {
        Role::ReadOnly => "read-only",
        Role::Member => "member",
        Role::Admin => "admin",
        Role::Owner => "owner",
    }
}

/// What a person calls a device, and its id.
pub(crate) fn device(device: &Device) -> String {
    match device.name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => format!("{} ({})", text::label(name), device.id),
        None => device.id.to_string(),
    }
}

/// An invite in a list.
pub(crate) fn invite(invite: &Invite) -> String {
    let (uses, until) = (joins(invite.max_uses), text::time(invite.expires_ms));
    match &invite.link {
        Some(link) => format!("until {until} · {uses} · {link}"),
        None => format!("until {until} · {uses} · made on another device"),
    }
}

/// How many joins an invite is good for.
pub(crate) fn joins(max_uses: u32) -> String {
    match max_uses {
        0 => "any number of joins".to_owned(),
        1 => "1 join".to_owned(),
        uses => format!("{uses} joins"),
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why a conversation was not found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// There is none.
    None,
    /// There are several of that name.
    Several,
}

/// The conversation of a title, in any case if it is the only one, or of a number of the list that was last shown.
pub(crate) fn find<'a>(
    all: &'a [ConversationInfo],
    listed: &[ConversationId],
    target: &str,
) -> Result<&'a ConversationInfo, Miss> {
    let called = |same: &dyn Fn(&str) -> bool| -> Vec<&'a ConversationInfo> {
        let names = |info: &ConversationInfo| {
            [Some(title(info)), info.name.clone(), info.peer_name.clone()].into_iter().flatten().any(|name| same(&name))
        };
        all.iter().filter(|info| names(info)).collect()
    };
    let mut found = called(&|name| name == target);
    if found.is_empty() {
        found = called(&|name| name.to_lowercase() == target.to_lowercase());
    }
    if found.len() > 1 && found.iter().any(|info| info.active) {
        found.retain(|info| info.active);
    }
    match found.as_slice() {
        [one] => return Ok(one),
        [] => {}
        _ => return Err(Miss::Several),
    }
    let index = target.parse::<usize>().ok().and_then(|number| number.checked_sub(1)).ok_or(Miss::None)?;
    match listed {
        [] => all.get(index),
        listed => listed.get(index).and_then(|id| all.iter().find(|info| info.id == *id)),
    }
    .ok_or(Miss::None)
}

#[cfg(test)]
mod tests {
    use qpc_sdk::{DeviceId, MessageId, MessageKind, Standing, Suite};

    use super::*;

    fn group(id: u8, name: &str) -> ConversationInfo {
        ConversationInfo {
            id: ConversationId([id; 16]),
            kind: ConversationKind::Group,
            name: Some(name.to_owned()),
            petname: None,
            peer: None,
            peer_name: None,
            trust: PeerTrust::default(),
            suite: Suite::Hybrid,
            epoch: 7,
            active: true,
            left: false,
            awaited: false,
            stuck: false,
            messages: 4,
            unread: 0,
            for_us: 0,
            standing: Standing::Accepted,
            blocked: false,
            expires_after_ms: 0,
            missing: 0,
            last_at_ms: 0,
        }
    }

    fn with(id: u8, peer_name: Option<&str>) -> ConversationInfo {
        let kind = ConversationKind::Direct;
        let (peer, peer_name) = (Some(AccountId([0xab; 16])), peer_name.map(str::to_owned));
        ConversationInfo { kind, name: None, peer, peer_name, ..group(id, "") }
    }

    fn own(state: MessageState, delivered_to: u32, read_by: u32) -> Message {
        Message {
            id: MessageId([1; 16]),
            conversation: ConversationId([1; 16]),
            sender: AccountId([2; 16]),
            sender_name: Some("alice".into()),
            device: DeviceId([3; 16]),
            kind: MessageKind::Text,
            text: "hello".into(),
            mentions: Vec::new(),
            reply_to: None,
            attachments: Vec::new(),
            for_us: false,
            edited_at_ms: None,
            deleted_by: None,
            reactions: Vec::new(),
            expires_after_ms: 0,
            expires_at_ms: None,
            sent_at_ms: 0,
            seq: None,
            epoch: 1,
            state,
            delivered_to,
            read_by,
        }
    }

    #[test]
    fn what_this_account_calls_it_goes_first() {
        let mut info = group(1, "Book club");
        assert_eq!(title(&info), "Book club");
        info.petname = Some("readers".into());
        assert_eq!(title(&info), "readers");
        assert!(list_line(&info).starts_with("readers (Book club) · group · 4 messages · last"));
        assert_eq!(title(&with(1, Some("bob"))), "bob");
        assert_eq!(title(&with(1, None)), "?abababab");
        assert_eq!(title(&ConversationInfo { name: None, ..group(1, "") }), "?01010101");
        assert_eq!(title(&group(1, "a\u{1b}[2J\nb")), "a·[2J b");
        assert_eq!(prompt("alice", Some(("bob", ConversationKind::Direct))), "alice @bob");
        assert_eq!(prompt("alice", Some(("Book club", ConversationKind::Group))), "alice #Book club");
    }

    #[test]
    fn the_list_says_what_is_wrong_and_nothing_else() {
        let healthy = list_line(&group(1, "Book club"));
        assert_eq!(healthy, "Book club · group · 4 messages · last 1970-01-01 00:00 · epoch 7");
        let ill = ConversationInfo { unread: 2, missing: 3, stuck: true, ..group(1, "Book club") };
        let line = list_line(&ill);
        for word in ["2 unread", "⚠ 3 missing", "being repaired"] {
            assert!(line.contains(word), "{line}");
        }
        let gone = ConversationInfo { active: false, stuck: true, ..group(1, "Book club") };
        assert!(list_line(&gone).ends_with("you are not in it"));
        let awaited = ConversationInfo { awaited: true, ..gone.clone() };
        assert!(list_line(&awaited).ends_with("yet to let this one in"));
        let left = ConversationInfo { left: true, ..gone };
        assert!(list_line(&left).ends_with("you have left"));
        let heading = heading(&ill, Some(3), 2);
        assert!(
            heading.contains("3 members")
                && heading.contains("/history 2")
                && heading.contains("3 messages are missing")
        );
    }

    #[test]
    fn each_state_of_an_own_message_reads_differently() {
        use MessageState::{Accepted, Delivered, Failed, Local, Queued, Read, ReceiptRefused, Received, Sent};
        let line = |state| history_line(&own(state, 1, 1), ConversationKind::Direct);
        let begin = "1970-01-01 00:00 alice: hello";
        for (state, mark) in [
            (Queued, " … queued"),
            (Sent, " ↑ sent"),
            (Accepted, " ✓ accepted"),
            (Delivered, " ✓✓ delivered"),
            (Read, " ✓✓ read"),
            (Failed, " ⚠ not sent"),
            (ReceiptRefused, " ⚠ receipt refused"),
            (Received, ""),
            (Local, ""),
        ] {
            assert_eq!(line(state), format!("{begin}{mark}"));
        }
    }

    #[test]
    fn a_group_says_how_many_have_it() {
        let line = |message: &Message| history_line(message, ConversationKind::Group);
        assert!(line(&own(MessageState::Accepted, 0, 0)).ends_with("✓ accepted"));
        assert!(line(&own(MessageState::Accepted, 2, 0)).ends_with("✓ accepted (2 have it)"));
        assert!(line(&own(MessageState::Accepted, 2, 1)).ends_with("✓ accepted (2 have it, 1 read it)"));
        assert!(line(&own(MessageState::Delivered, 3, 1)).ends_with("✓✓ delivered (1 read it)"));
        assert!(line(&own(MessageState::Read, 3, 3)).ends_with("✓✓ read"));
    }

    #[test]
    fn conversations_are_found_by_title_then_by_number() {
        let petnamed = ConversationInfo { petname: Some("Mum".into()), ..with(4, Some("margaret")) };
        let all = [group(1, "Book club"), group(2, "book club"), group(3, "2"), petnamed];
        let found = |target: &str| find(&all, &[], target).map(|info| info.id.0[0]);
        assert_eq!(found("Book club"), Ok(1));
        assert_eq!(found("BOOK CLUB"), Err(Miss::Several));
        assert_eq!(found("2"), Ok(3), "a title goes before a number");
        assert_eq!(found("1"), Ok(1));
        assert_eq!(found("mum"), Ok(4));
        assert_eq!(found("margaret"), Ok(4));
        for target in ["0", "5", "carol", ""] {
            assert_eq!(found(target), Err(Miss::None), "{target}");
        }
        let listed = [ConversationId([4; 16]), ConversationId([9; 16])];
        assert_eq!(find(&all, &listed, "1").map(|info| info.id.0[0]), Ok(4), "as it was listed");
        assert_eq!(find(&all[..2], &listed, "2"), Err(Miss::None));
        let gone = [ConversationInfo { active: false, ..group(1, "Club") }, group(2, "Club")];
        assert_eq!(find(&gone, &[], "Club").map(|info| info.id.0[0]), Ok(2));
    }

    #[test]
    fn invites_and_members_say_what_they_are_good_for() {
        let mut info = Invite { key: [1; 32], expires_ms: 0, max_uses: 0, link: None };
        assert_eq!(invite(&info), "until 1970-01-01 00:00 · any number of joins · made on another device");
        info.max_uses = 3;
        assert!(invite(&info).contains("· 3 joins ·"));
        let account = AccountId([2; 16]);
        let mut bob = Member {
            account,
            name: Some("bob".into()),
            trust: PeerTrust::default(),
            role: Role::ReadOnly,
            devices: vec![DeviceId([1; 16])],
        };
        assert_eq!(member(&bob, AccountId([1; 16])), "read-only  bob");
        bob.devices.push(DeviceId([2; 16]));
        assert_eq!(member(&bob, account), "read-only  bob (you) · 2 devices");
    }

    #[test]
    fn a_device_cannot_pretend_to_be_a_line() {
        let mut id = [0xaa; 16];
        id[0] = 1;
        let named =
            Device { id: DeviceId(id), name: Some("phone\n02 tablet".to_owned()), added_at_ms: 0, is_this: true };
        assert!(device(&named).starts_with("phone 02 tablet (01aa"));
    }
}
