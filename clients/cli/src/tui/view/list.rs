//! The list of conversations, and that of members.

use qpc_sdk::{ConversationInfo, ConversationKind, PeerTrust, Role as Rank, Standing};
use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::{in_list, put, span};
use crate::{
    show::title,
    text,
    tui::{glyph, model::Model, theme::Role},
};

/// The first conversation of the list that is seen in so many rows, the title among them.
pub(crate) fn first_row(model: &Model, height: u16) -> usize {
    let rows = usize::from(height.saturating_sub(1)).max(1);
    (model.choice + 1).saturating_sub(rows)
}

pub(super) fn draw(model: &Model, area: Rect, buffer: &mut Buffer) {
    let width = usize::from(area.width);
    let link = if model.online { "●" } else { "○ offline" };
    let name = glyph::cut(&model.username, width.saturating_sub(glyph::width(link) + 1));
    let head = Line::from(vec![span(model, name, Role::Strong), span(model, format!(" {link}"), Role::Faint)]);
    put(buffer, area, 0, &head);
    if model.conversations.is_empty() {
        put(buffer, area, 1, &Line::from(span(model, glyph::cut("no conversations", width), Role::Faint)));
    }
    let rows = model.conversations.iter().enumerate().skip(first_row(model, area.height));
    for (row, (index, info)) in (1..area.height).zip(rows) {
        let chosen = in_list(model) && index == model.choice;
        let line = self::row(model, info, chosen, width);
        put(buffer, area, row, &line);
    }
}

fn row(model: &Model, info: &ConversationInfo, chosen: bool, width: usize) -> Line<'static> {
    let open = model.open.as_ref().is_some_and(|open| open.id == info.id);
    let sign = match info.kind {
        ConversationKind::Direct => '@',
        ConversationKind::Group => '#',
        ConversationKind::Own | ConversationKind::Notes => '=',
    };
    let (marks, role) = marks(model, info);
    let mark_width = glyph::width(&marks);
    let room = width.saturating_sub(mark_width + 3);
    let name = glyph::cut(&title(info), room);
    let gap = " ".repeat(room.saturating_sub(glyph::width(&name)));
    let lead = if open { "▸" } else { " " };
    let name_role = match () {
        () if chosen => Role::Chosen,
        () if open || info.unread > 0 => Role::Strong,
        () if !info.active => Role::Faint,
        () => Role::Text,
    };
    Line::from(vec![
        span(model, lead, Role::Key),
        span(model, format!("{sign}{name}{gap}"), name_role),
        Span::raw(" "),
        span(model, marks, role),
    ])
}

/// What stands at the right: how many are unread and how many name this account, whether something was begun, what is wrong.
fn marks(model: &Model, info: &ConversationInfo) -> (String, Role) {
    let mut marks = Vec::new();
    if model.typing_in(info.id).next().is_some() {
        marks.push("…".to_owned());
    }
    if model.writings.get(&info.id).is_some_and(|writing| !writing.draft().text.is_empty()) {
        marks.push("✎".to_owned());
    }
    if info.trust == PeerTrust::Verified {
        marks.push("✔".to_owned());
    }
    if info.expires_after_ms > 0 {
        marks.push("⏲".to_owned());
    }
    if info.standing == Standing::Requested {
        marks.push("?".to_owned());
    }
    if info.blocked {
        marks.push("⊘".to_owned());
    }
    if !info.active {
        marks.push("×".to_owned());
    }
    if info.stuck || info.missing > 0 || info.trust == PeerTrust::Changed {
        marks.push("⚠".to_owned());
    }
    if info.for_us > 0 {
        marks.push(format!("@{}", info.for_us.min(999)));
    }
    if info.unread > 0 {
        marks.push(info.unread.min(999).to_string());
    }
    (marks.join(" "), if info.unread > 0 { Role::New } else { Role::Faint })
}

pub(super) fn members(model: &Model, area: Rect, buffer: &mut Buffer) {
    let Some(open) = &model.open else { return };
    let width = usize::from(area.width);
    put(buffer, area, 0, &Line::from(span(model, format!("{} members", open.members.len()), Role::Faint)));
    for (row, member) in (1..area.height).zip(&open.members) {
        let rank = match member.role {
            Rank::Owner => " owner",
            Rank::Admin => " admin",
            Rank::Member => "",
            Rank::ReadOnly => " reads",
        };
        let mark = match member.trust {
            PeerTrust::Verified => " ✔",
            PeerTrust::Changed => " ⚠",
            PeerTrust::Unverified | PeerTrust::Former => "",
        };
        let name = match member.account == model.account {
            true => model.username.clone(),
            false => text::label(&model.name(member.account)),
        };
        let role = if member.account == model.account { Role::Own } else { Role::Name(member.account.0[0]) };
        let name = glyph::cut(&name, width.saturating_sub(rank.len() + glyph::width(mark)));
        let spans = vec![span(model, name, role), span(model, mark, Role::Key), span(model, rank, Role::Faint)];
        put(buffer, area, row, &Line::from(spans));
    }
}
