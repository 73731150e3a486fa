//! Answers of the admin API, as JSON and as lines.

use qpc_admin_api::{
    tonic::Code,
    v1::{AuditEntry, Device, Gateway, Invite, Quota, Report, StatsResponse, User},
};
use serde_json::{Value, json};

use crate::text;

/// Hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 0 stands for never.
fn time(ms: u64) -> Value {
    if ms == 0 { Value::Null } else { json!(ms) }
}

pub(super) fn user(user: &User) -> Value {
    json!({
        "username": user.username,
        "account": hex(&user.account_id),
        "created_at_ms": user.created_at_ms,
        "devices": user.devices,
        "banned_at_ms": time(user.banned_at_ms),
        "ban_reason": user.ban_reason,
        "deletion_requested_at_ms": time(user.deletion_requested_at_ms),
    })
}

pub(super) fn quotas(quotas: &[Quota]) -> Value {
    quotas.iter().map(|quota| (quota.name.clone(), json!(quota.value))).collect::<serde_json::Map<_, _>>().into()
}

pub(super) fn device(device: &Device) -> Value {
    json!({
        "device": hex(&device.device_id),
        "added_at_ms": device.added_at_ms,
        "revoked_at_ms": time(device.revoked_at_ms),
        "sessions": device.sessions,
    })
}

pub(super) fn gateway(gateway: &Gateway) -> Value {
    json!({
        "gateway": gateway.gateway_id,
        "version": gateway.version,
        "connections": gateway.connections,
        "sessions": gateway.sessions,
        "draining": gateway.draining,
        "heard_at_ms": gateway.heard_at_ms,
    })
}

pub(super) fn stats(stats: &StatsResponse) -> Value {
    json!({
        "version": stats.version,
        "users": stats.users,
        "banned": stats.banned,
        "devices": stats.devices,
        "sessions": stats.sessions,
        "open_reports": stats.open_reports,
        "groups": stats.groups,
        "messages_waiting": stats.messages_waiting,
        "gateways": stats.gateways.iter().map(gateway).collect::<Vec<_>>(),
    })
}

pub(super) fn report(report: &Report) -> Value {
    json!({
        "report": hex(&report.report_id),
        "reporter": hex(&report.reporter),
        "accused": hex(&report.accused),
        "group": hex(&report.group_id),
        "verdict": report.verdict,
        "reported_at_ms": report.reported_at_ms,
        "resolved_at_ms": time(report.resolved_at_ms),
        "resolution": report.resolution,
    })
}

pub(super) fn invite(invite: &Invite) -> Value {
    json!({
        "invite": hex(&invite.invite_id),
        "uses": invite.uses,
        "used": invite.used,
        "created_at_ms": invite.created_at_ms,
        "expires_at_ms": invite.expires_at_ms,
        "note": invite.note,
    })
}

pub(super) fn entry(entry: &AuditEntry) -> Value {
    json!({
        "seq": entry.seq,
        "at_ms": entry.at_ms,
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "code": i32::try_from(entry.code).map_or(Code::Unknown, Code::from).to_string(),
    })
}

/// An answer for people: an item of a list is a line, and so is a number by itself.
pub(super) fn lines(answer: &Value) -> Vec<String> {
    let Value::Object(fields) = answer else { return vec![plain(answer)] };
    let mut lines = Vec::new();
    for (name, value) in fields {
        match value {
            Value::Array(items) if items.is_empty() => lines.push(format!("no {name}")),
            Value::Array(items) => lines.extend(items.iter().map(plain)),
            Value::Object(_) => lines.push(format!("{name}: {}", plain(value))),
            Value::Bool(true) if name == "done" => lines.push("done".to_owned()),
            value => lines.push(format!("{}: {}", name.trim_end_matches("_ms"), field(name, value))),
        }
    }
    lines
}

/// A time is a date.
fn field(name: &str, value: &Value) -> String {
    match value.as_u64() {
        Some(unix_ms) if name.ends_with("_ms") => text::utc(unix_ms),
        _ => plain(value),
    }
}

/// What is not there, and what is nothing, is left out.
fn plain(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let said = |value: &Value| !value.is_null() && *value != "" && *value != false;
            let fields = fields.iter().filter(|(_, value)| said(value));
            let shown = |(name, value): (&String, &Value)| {
                format!("{} {}", name.trim_end_matches("_at_ms"), field(name, value))
            };
            fields.map(shown).collect::<Vec<_>>().join("  ")
        }
        Value::String(text) => text::safe(&text.replace('\n', " ")),
        Value::Null => "none".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_lines_without_what_is_not_there() {
        let users = json!({ "users": [{ "username": "bob", "banned_at_ms": null, "ban_reason": "", "devices": 2 }] });
        assert_eq!(lines(&users), ["devices 2  username bob"]);
        assert_eq!(lines(&json!({ "users": [] })), ["no users"]);
        assert_eq!(lines(&json!({ "done": true })), ["done"]);
        assert_eq!(lines(&json!({ "entries": 5, "broken_at": null })), ["broken_at: none", "entries: 5"]);
    }

    #[test]
    fn what_others_wrote_moves_no_cursor() {
        let shown = lines(&json!({ "reports": [{ "verdict": "a\u{1b}[2Jb\n" }] }));
        assert!(!shown[0].contains(['\u{1b}', '\n']), "{shown:?}");
    }
}
